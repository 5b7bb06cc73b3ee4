//! DTLS 1.2 with pre-shared keys against OpenSSL and GnuTLS, both directions.

use std::io::Write as _;
use std::net::UdpSocket;
use std::time::Duration;

use hedgerow_handshake::{Settings, Timers};
use hedgerow_record::{CipherSuite, KeyExchange};

use super::cell::{enter, limitation, suite_text};
use super::dtls_end::{Dialogue, Identity, Losses, Report, run_client, run_server};
use super::peers::{Peer, SUITES, Transport, free_address};
use crate::child::{Ending, Running};
use crate::table::Table;

pub(super) const IDENTITY: Identity<'static> = Identity {
    psk_identity: b"Client_identity",
    psk: b"secretPSK",
};

pub(super) const WRONG_KEY: Identity<'static> = Identity {
    psk_identity: b"Client_identity",
    psk: b"otherwise",
};

pub(super) const UNKNOWN: Identity<'static> = Identity {
    psk_identity: b"Somebody_else",
    psk: b"secretPSK",
};

pub(super) const FROM_US: &[u8] = b"hedgerow speaks first\n";
pub(super) const FROM_PEER: &[u8] = b"peer speaks as well\n";

pub(super) const LIMIT: Duration = Duration::from_secs(20);

/// Enters every cell.
pub(super) fn run(table: &mut Table) {
    for peer in Peer::ALL {
        for suite in SUITES {
            let name = format!("client -> {} {suite}", peer.name());
            enter(table, &name, || {
                let report = as_client(peer, suite, IDENTITY, Losses::default())?;
                check_success(&report, suite)
            });
            let name = format!("server <- {} {suite}", peer.name());
            if peer == Peer::GnuTls && suite.key_exchange() == Some(KeyExchange::EcdhePsk) {
                limitation(table, &name, || gnutls_client_ends(Transport::Dtls, suite));
                continue;
            }
            enter(table, &name, || {
                let report = as_server(peer, suite, IDENTITY, Losses::default())?;
                check_success(&report, suite)
            });
        }
        for (what, shown) in [("wrong key", WRONG_KEY), ("unknown identity", UNKNOWN)] {
            let suite = CipherSuite::TLS_PSK_WITH_AES_128_CCM_8;
            let name = format!("client -> {} {what}", peer.name());
            if peer == Peer::OpenSsl && shown.psk_identity == UNKNOWN.psk_identity {
                limitation(table, &name, || {
                    accepts_any_identity(Transport::Dtls, suite)
                });
            } else {
                enter(table, &name, || {
                    check_refusal(&as_client(peer, suite, shown, Losses::default())?)
                });
            }
            enter(table, &format!("server <- {} {what}", peer.name()), || {
                check_refusal(&as_server(peer, suite, shown, Losses::default())?)
            });
        }
        enter(
            table,
            &format!("client -> {} each datagram lost", peer.name()),
            || {
                each_lost(|losses| {
                    as_client(
                        peer,
                        CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
                        IDENTITY,
                        losses,
                    )
                })
            },
        );
        enter(
            table,
            &format!("server <- {} each datagram lost", peer.name()),
            || {
                each_lost(|losses| {
                    as_server(
                        peer,
                        CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
                        IDENTITY,
                        losses,
                    )
                })
            },
        );
    }
}

/// OpenSSL's s_server only warns of an identity that it doesn't know: s_client gets through as well.
pub(super) fn accepts_any_identity(
    transport: Transport,
    suite: CipherSuite,
) -> Result<String, String> {
    let (mut server, address) = Peer::OpenSsl.start_server(transport, suite, IDENTITY)?;
    let mut client = Peer::OpenSsl.start_client(transport, suite, UNKNOWN, address)?;
    feed(&mut client)?;
    expect_output(&mut server, FROM_PEER)?;
    Ok("the server takes any identity; OpenSSL's own client gets through as well".to_owned())
}

/// A signal ends GnuTLS's command line in a handshake with an ephemeral key and a pre-shared one, also
/// where OpenSSL is the server. libcoap on GnuTLS's library goes on; its cells have the suite.
pub(super) fn gnutls_client_ends(
    transport: Transport,
    suite: CipherSuite,
) -> Result<String, String> {
    let (mut server, address) = Peer::OpenSsl.start_server(transport, suite, IDENTITY)?;
    let mut client = Peer::GnuTls.start_client(transport, suite, IDENTITY, address)?;
    feed(&mut client)?;
    let reached = expect_output(&mut server, FROM_PEER);
    let ended = client.wait(Duration::from_secs(5))?;
    match (reached, ended.ending) {
        (Err(_), Ending::Signalled) => {
            Ok("a signal ends gnutls-cli in the handshake with OpenSSL's server too".to_owned())
        }
        (Ok(()), _) => Err("gnutls-cli reaches OpenSSL's server".to_owned()),
        (Err(error), _) => Err(format!("{error}: {}", ended.ending_text())),
    }
}

/// TD_COAP_DTLS_01.
pub(super) fn check_success(report: &Report, suite: CipherSuite) -> Result<String, String> {
    report.outcome.clone()?;
    if report.suite != Some(suite) {
        return Err(format!("negotiated {}", suite_text(report.suite)));
    }
    Ok(format!(
        "{} negotiated, data both ways, {} ms",
        suite_text(report.suite),
        report.elapsed.as_millis()
    ))
}

/// TD_COAP_DTLS_02: it fails within a bounded time, with a clear error at our end.
pub(super) fn check_refusal(report: &Report) -> Result<String, String> {
    match &report.outcome {
        Ok(()) => Err("data went through under a wrong key".to_owned()),
        Err(error) if report.suite.is_some() => Err(format!("established, then {error}")),
        Err(error) => Ok(format!("{error}, {} ms", report.elapsed.as_millis())),
    }
}

/// TD_COAP_DTLS_03: each datagram of the handshake and of the dialogue's first record lost once.
fn each_lost(run: impl Fn(Losses) -> Result<Report, String>) -> Result<String, String> {
    let calm = run(Losses::default())?;
    calm.outcome
        .clone()
        .map_err(|error| format!("without loss: {error}"))?;
    // What is counted without loss holds the records of the dialogue too; DTLS doesn't recover
    // those, so that only the three datagrams of each side's handshake are lost here.
    let handshake = 3;
    let mut runs = 0;
    for n in 0..handshake {
        for losses in [
            Losses {
                sent: Some(n),
                received: None,
            },
            Losses {
                sent: None,
                received: Some(n),
            },
        ] {
            let report = run(losses)?;
            report
                .outcome
                .map_err(|error| format!("{losses:?}: {error}"))?;
            runs += 1;
        }
    }
    Ok(format!(
        "{runs} handshakes completed, one datagram lost in each"
    ))
}

pub(super) fn settings(suite: CipherSuite) -> Settings {
    Settings::new(&[suite]).with_timers(Timers {
        deadline: Duration::from_secs(5),
        ..Timers::default()
    })
}

fn as_client(
    peer: Peer,
    suite: CipherSuite,
    shown: Identity<'_>,
    losses: Losses,
) -> Result<Report, String> {
    let (mut server, address) = peer.start_server(Transport::Dtls, suite, IDENTITY)?;
    let dialogue = dialogue_with(peer, &mut server)?;
    let report = run_client(address, shown, settings(suite), &dialogue, losses, LIMIT)?;
    if report.outcome.is_ok() && peer == Peer::OpenSsl {
        expect_output(&mut server, FROM_US)?;
    }
    server.kill();
    Ok(report)
}

fn as_server(
    peer: Peer,
    suite: CipherSuite,
    shown: Identity<'_>,
    losses: Losses,
) -> Result<Report, String> {
    let address = free_address()?;
    let socket = UdpSocket::bind(address).map_err(|error| error.to_string())?;
    let mut client = peer.start_client(Transport::Dtls, suite, shown, address)?;
    feed(&mut client)?;
    let dialogue = Dialogue {
        says: FROM_US.to_vec(),
        expects: FROM_PEER.to_vec(),
    };
    let report = run_server(&socket, IDENTITY, settings(suite), &dialogue, losses, LIMIT)?;
    if report.outcome.is_ok() {
        expect_output(&mut client, FROM_US)?;
    }
    client.kill();
    Ok(report)
}

/// What is said with a peer's server: GnuTLS's echoes; OpenSSL's sends what its standard input has, once
/// there is a session.
pub(super) fn dialogue_with(peer: Peer, server: &mut Running) -> Result<Dialogue, String> {
    let expects = match peer {
        Peer::OpenSsl => {
            feed(server)?;
            FROM_PEER
        }
        Peer::GnuTls => FROM_US,
    };
    Ok(Dialogue {
        says: FROM_US.to_vec(),
        expects: expects.to_vec(),
    })
}

/// Lets a peer say its piece again and again while it lives: what it says before our end has
/// received its last flight is lost, and DTLS doesn't send data twice. Both programs also end when
/// their standard input does.
pub(super) fn feed(peer: &mut Running) -> Result<(), String> {
    feed_with(peer, FROM_PEER.to_vec())
}

/// Does the same with another text.
pub(super) fn feed_with(peer: &mut Running, text: Vec<u8>) -> Result<(), String> {
    let mut input = peer.take_stdin().ok_or("no standard input")?;
    std::thread::spawn(move || {
        while input.write_all(&text).and_then(|()| input.flush()).is_ok() {
            std::thread::sleep(Duration::from_millis(300));
        }
    });
    Ok(())
}

pub(super) fn expect_output(peer: &mut Running, text: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(text);
    if peer.wait_for(text.trim_end(), Duration::from_secs(10)) {
        Ok(())
    } else {
        Err(format!("peer didn't show what we said: {}", peer.output()))
    }
}
