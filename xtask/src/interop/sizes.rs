//! `record_size_limit` and `max_fragment_length` against OpenSSL and GnuTLS, over DTLS and TLS, both
//! directions.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use hedgerow_handshake::Settings;
use hedgerow_record::{CipherSuite, MaxFragmentLength, RecordSizeLimit};

use super::cell::enter;
use super::dtls_end::{Dialogue, Losses, Report};
use super::handshakes::{FROM_US, IDENTITY, LIMIT, check_success, feed_with, settings};
use super::peers::{Peer, Transport, free_address};
use super::{dtls_end, tls_end};
use crate::table::Table;

const SUITE: CipherSuite = CipherSuite::TLS_PSK_WITH_AES_128_CCM_8;

/// What either side asks for in these cells, in bytes.
const ASKED: usize = 512;

/// What the protocol allows, in bytes.
const UNLIMITED: usize = 1 << 14;

/// What has to come of a line, whose rest may come in another record, or not at all: gnutls-cli sends
/// no more than one record of it.
const PART: &[u8] = &[b'h'; 200];

/// What comes back from a server that echoes lines.
const ECHO: &[u8] = b"over the hedge, over the hedge, over the hedge, over the hedge and back\n";

/// What is to be seen at our end.
struct Expected {
    /// The most that our records may have.
    sends: usize,
    /// The most that the peer's records may have.
    receives: usize,
}

/// Enters every cell.
pub(super) fn run(table: &mut Table) {
    for transport in [Transport::Dtls, Transport::Tls] {
        let both_ways = Expected {
            sends: ASKED,
            receives: ASKED,
        };
        let ours = Expected {
            sends: UNLIMITED,
            receives: ASKED,
        };
        let length = settings(SUITE).with_max_fragment_length(Some(MaxFragmentLength::Len512));
        let limit = settings(SUITE).with_record_size_limit(RecordSizeLimit::new(512));
        let both = length.with_record_size_limit(RecordSizeLimit::new(512));
        let client_cells = [
            (Peer::OpenSsl, "max_fragment_length", length, &both_ways),
            // OpenSSL doesn't know the newer one, which is why a client may offer both.
            (Peer::OpenSsl, "both extensions", both, &both_ways),
            (Peer::GnuTls, "max_fragment_length", length, &both_ways),
            (Peer::GnuTls, "record_size_limit", limit, &ours),
            (Peer::GnuTls, "both extensions", both, &ours),
        ];
        for (peer, what, settings, expected) in client_cells {
            let name = format!("{transport:?} client -> {} {what}", peer.name());
            enter(table, &name, || {
                check(&as_client(peer, transport, settings)?, expected)
            });
        }
        let usual = settings(SUITE);
        // GnuTLS refuses what is below 512 unless its user allows it.
        let narrow = usual.with_record_size_limit(RecordSizeLimit::new(600));
        let server_cells = [
            (
                Peer::OpenSsl,
                "max_fragment_length",
                &["-maxfraglen", "512"][..],
                usual,
                &both_ways,
            ),
            (
                Peer::GnuTls,
                "record_size_limit",
                &["--recordsize=512"],
                usual,
                &Expected {
                    sends: ASKED,
                    receives: UNLIMITED,
                },
            ),
            (
                Peer::GnuTls,
                "record_size_limit of ours",
                &[],
                narrow,
                &Expected {
                    sends: UNLIMITED,
                    receives: 600,
                },
            ),
        ];
        for (peer, what, more, settings, expected) in server_cells {
            let name = format!("{transport:?} server <- {} {what}", peer.name());
            enter(table, &name, || {
                check(&as_server(peer, transport, more, settings)?, expected)
            });
        }
    }
}

fn check(report: &Report, expected: &Expected) -> Result<String, String> {
    check_success(report, SUITE)?;
    let Report {
        max_plaintext_len,
        longest_received,
        ..
    } = *report;
    if max_plaintext_len != expected.sends || longest_received > expected.receives {
        return Err(format!(
            "ours up to {max_plaintext_len}, its longest {longest_received}"
        ));
    }
    Ok(format!(
        "records of ours up to {max_plaintext_len} bytes, its longest had {longest_received}"
    ))
}

/// A line that a stream has to cut; over datagrams nobody cuts what an application writes.
fn line(transport: Transport) -> Vec<u8> {
    let len = match transport {
        Transport::Dtls => 200,
        Transport::Tls => 1_500,
    };
    let mut line = vec![b'h'; len];
    line.push(b'\n');
    line
}

fn as_client(peer: Peer, transport: Transport, settings: Settings) -> Result<Report, String> {
    let (mut server, address) = peer.start_server(transport, SUITE, IDENTITY)?;
    // GnuTLS's server echoes, in records as long as they came, unless they are too long.
    let (says, expects) = match peer {
        Peer::OpenSsl => {
            feed_with(&mut server, line(transport))?;
            (FROM_US.to_vec(), PART.to_vec())
        }
        Peer::GnuTls => (ECHO.to_vec(), ECHO.to_vec()),
    };
    let dialogue = Dialogue { says, expects };
    let report = run_client(transport, address, settings, &dialogue)?;
    server.kill();
    Ok(report)
}

fn run_client(
    transport: Transport,
    address: SocketAddr,
    settings: Settings,
    dialogue: &Dialogue,
) -> Result<Report, String> {
    match transport {
        Transport::Dtls => {
            let losses = Losses::default();
            dtls_end::run_client(address, IDENTITY, settings, dialogue, losses, LIMIT)
        }
        Transport::Tls => tls_end::run_client(address, IDENTITY, settings, dialogue, LIMIT),
    }
}

fn as_server(
    peer: Peer,
    transport: Transport,
    more: &[&str],
    settings: Settings,
) -> Result<Report, String> {
    let address = free_address()?;
    let dialogue = Dialogue {
        says: FROM_US.to_vec(),
        expects: PART.to_vec(),
    };
    let start = || {
        let mut client = peer.start_client_with(transport, SUITE, IDENTITY, address, more)?;
        feed_with(&mut client, line(transport))?;
        Ok::<_, String>(client)
    };
    let (report, mut client) = match transport {
        Transport::Dtls => {
            let socket = UdpSocket::bind(address).map_err(|error| error.to_string())?;
            let client = start()?;
            let losses = Losses::default();
            let report =
                dtls_end::run_server(&socket, IDENTITY, settings, &dialogue, losses, LIMIT);
            (report?, client)
        }
        Transport::Tls => {
            let listener = TcpListener::bind(address).map_err(|error| error.to_string())?;
            let client = start()?;
            let report = tls_end::run_server(&listener, IDENTITY, settings, &dialogue, LIMIT);
            (report?, client)
        }
    };
    client.kill();
    Ok(report)
}
