//! TLS 1.2 with pre-shared keys against OpenSSL and GnuTLS, both directions.

use std::net::TcpListener;

use hedgerow_record::{CipherSuite, KeyExchange};

use super::cell::{enter, limitation};
use super::dtls_end::{Dialogue, Identity, Report};
use super::handshakes::{
    FROM_PEER, FROM_US, IDENTITY, LIMIT, UNKNOWN, WRONG_KEY, accepts_any_identity, check_refusal,
    check_success, dialogue_with, expect_output, feed, gnutls_client_ends, settings,
};
use super::peers::{Peer, SUITES, Transport, free_address};
use super::tls_end::{run_client, run_server};
use crate::table::Table;

/// Enters every cell.
pub(super) fn run(table: &mut Table) {
    for peer in Peer::ALL {
        for suite in SUITES {
            let name = format!("TLS client -> {} {suite}", peer.name());
            enter(table, &name, || {
                check_success(&as_client(peer, suite, IDENTITY)?, suite)
            });
            let name = format!("TLS server <- {} {suite}", peer.name());
            if peer == Peer::GnuTls && suite.key_exchange() == Some(KeyExchange::EcdhePsk) {
                limitation(table, &name, || gnutls_client_ends(Transport::Tls, suite));
            } else {
                enter(table, &name, || {
                    check_success(&as_server(peer, suite, IDENTITY)?, suite)
                });
            }
        }
        let suite = CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256;
        for (what, shown) in [("wrong key", WRONG_KEY), ("unknown identity", UNKNOWN)] {
            let name = format!("TLS client -> {} {what}", peer.name());
            if peer == Peer::OpenSsl && shown.psk_identity == UNKNOWN.psk_identity {
                limitation(table, &name, || accepts_any_identity(Transport::Tls, suite));
            } else {
                enter(table, &name, || {
                    check_refusal(&as_client(peer, suite, shown)?)
                });
            }
            let name = format!("TLS server <- {} {what}", peer.name());
            enter(table, &name, || {
                let report = as_server(peer, suite, shown)?;
                let refused = check_refusal(&report)?;
                // `decisions` have both look alike: bad_record_mac, at once.
                match refused.contains("alert 20") {
                    true => Ok(refused),
                    false => Err(refused),
                }
            });
        }
    }
}

fn as_client(peer: Peer, suite: CipherSuite, shown: Identity<'_>) -> Result<Report, String> {
    let (mut server, address) = peer.start_server(Transport::Tls, suite, IDENTITY)?;
    let dialogue = dialogue_with(peer, &mut server)?;
    let report = run_client(address, shown, settings(suite), &dialogue, LIMIT)?;
    if report.outcome.is_ok() && peer == Peer::OpenSsl {
        expect_output(&mut server, FROM_US)?;
    }
    server.kill();
    Ok(report)
}

fn as_server(peer: Peer, suite: CipherSuite, shown: Identity<'_>) -> Result<Report, String> {
    let address = free_address()?;
    let listener = TcpListener::bind(address).map_err(|error| error.to_string())?;
    let mut client = peer.start_client(Transport::Tls, suite, shown, address)?;
    feed(&mut client)?;
    let dialogue = Dialogue {
        says: FROM_US.to_vec(),
        expects: FROM_PEER.to_vec(),
    };
    let report = run_server(&listener, IDENTITY, settings(suite), &dialogue, LIMIT)?;
    if report.outcome.is_ok() {
        expect_output(&mut client, FROM_US)?;
    }
    client.kill();
    Ok(report)
}
