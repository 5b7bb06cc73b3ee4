//! Certificate mode against OpenSSL and GnuTLS, and through CoAP against libcoap: both directions,
//! both ends proving who they are, with certificates that OpenSSL has made.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use hedgerow_core::{CertificatesOnly, PeerId};
use hedgerow_net::{AcceptedServer, CertificateStore, Credentials, ServerCertificates};
use hedgerow_record::CipherSuite;

use super::cell::{enter, limitation};
use super::certificate_coap;
use super::certificate_files::{CLIENT_NAME, Files, SERVER_NAME};
use super::certificate_peers::{Kind, SUITES, start_client, start_server};
use super::dtls_end::{self, Dialogue, Losses, Report};
use super::handshakes::{
    FROM_PEER, FROM_US, LIMIT, check_success, dialogue_with, expect_output, feed, settings,
};
use super::peers::{Peer, Transport, free_address};
use super::tls_end;
use crate::table::{Status, Table};

/// Enters every cell.
pub(super) fn run(table: &mut Table) {
    let files = match Files::make() {
        Ok(files) => files,
        Err(error) => return table.row("certificates of the run", Status::Failed, error),
    };
    for transport in [Transport::Dtls, Transport::Tls] {
        let carrier = match transport {
            Transport::Dtls => "DTLS",
            Transport::Tls => "TLS",
        };
        for peer in Peer::ALL {
            for kind in [Kind::X509, Kind::RawPublicKey] {
                for suite in SUITES {
                    let what = match kind {
                        Kind::X509 => "X.509",
                        Kind::RawPublicKey => "raw public keys",
                    };
                    let to = format!("{carrier} client -> {} {what} {suite}", peer.name());
                    let from = format!("{carrier} server <- {} {what} {suite}", peer.name());
                    if (peer, kind) == (Peer::OpenSsl, Kind::RawPublicKey) {
                        for name in [&to, &from] {
                            limitation(table, name, openssl_has_no_raw_public_keys);
                        }
                        break;
                    }
                    let cell = Cell {
                        peer,
                        transport,
                        kind,
                        suite,
                        files: &files,
                    };
                    enter(table, &to, || {
                        check_success(&cell.as_client("ca", SERVER_NAME)?, suite)
                    });
                    enter(table, &from, || {
                        check_success(&cell.as_server("client")?, suite)
                    });
                }
            }
            let cell = Cell {
                peer,
                transport,
                kind: Kind::X509,
                suite: CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8,
                files: &files,
            };
            for (what, authority, name, alert) in [
                ("unknown authority", "other", SERVER_NAME, "alert 48 sent"),
                ("another name", "ca", "other.example", "alert 46 sent"),
            ] {
                let title = format!("{carrier} client -> {} {what}", peer.name());
                enter(table, &title, || {
                    check_refusal(&cell.as_client(authority, name)?, alert)
                });
            }
            let title = format!("{carrier} server <- {} unknown authority", peer.name());
            enter(table, &title, || {
                check_refusal(&cell.as_server("stranger")?, "alert 48 sent")
            });
        }
    }
    certificate_coap::run(table, &files);
}

/// Two ends, and what they agree on.
#[derive(Clone, Copy)]
struct Cell<'f> {
    peer: Peer,
    transport: Transport,
    kind: Kind,
    suite: CipherSuite,
    files: &'f Files,
}

impl Cell<'_> {
    /// Runs our end as a client that trusts an authority and wants a name.
    fn as_client(self, authority: &str, name: &str) -> Result<Report, String> {
        let Self {
            peer,
            transport,
            kind,
            suite,
            files,
        } = self;
        let is_raw = kind == Kind::RawPublicKey;
        let server = match kind {
            Kind::X509 => AcceptedServer::Certificate {
                authorities: files.authority(authority)?,
                name: name.to_owned(),
            },
            Kind::RawPublicKey => AcceptedServer::RawPublicKey(files.raw_public_key("server")?),
        };
        let shown = files.identity("client", is_raw)?;
        let credentials = Credentials::certificates(Some(shown), server, PeerId(0));
        let credentials = credentials.map_err(|error| error.to_string())?;
        let (mut end, address) = start_server(peer, transport, kind, suite, files)?;
        let dialogue = dialogue_with(peer, &mut end)?;
        let settings = settings(suite);
        let report = match transport {
            Transport::Dtls => {
                let losses = Losses::default();
                dtls_end::run_client_with(
                    address,
                    credentials,
                    settings,
                    &dialogue,
                    losses,
                    LIMIT,
                    1,
                )
            }
            Transport::Tls => {
                tls_end::run_client_with(address, credentials, settings, &dialogue, LIMIT)
            }
        }?;
        if report.outcome.is_ok() && peer == Peer::OpenSsl {
            expect_output(&mut end, FROM_US)?;
        }
        end.kill();
        Ok(report)
    }

    /// Runs our end as a server, for a client that shows what a name stands for.
    fn as_server(self, shown: &str) -> Result<Report, String> {
        let Self {
            peer,
            transport,
            kind,
            suite,
            files,
        } = self;
        let store = store(files, kind)?;
        let address = free_address()?;
        let dialogue = Dialogue {
            says: FROM_US.to_vec(),
            expects: FROM_PEER.to_vec(),
        };
        let start = |address: SocketAddr| {
            let mut client = start_client(peer, transport, kind, suite, files, (shown, address))?;
            feed(&mut client)?;
            Ok::<_, String>(client)
        };
        let settings = settings(suite);
        let (mut client, report) = match transport {
            Transport::Dtls => {
                let socket = UdpSocket::bind(address).map_err(|error| error.to_string())?;
                let client = start(address)?;
                let losses = Losses::default();
                let report = dtls_end::run_server_with(
                    &socket, &store, settings, &dialogue, losses, LIMIT, 1,
                );
                (client, report?)
            }
            Transport::Tls => {
                let listener = TcpListener::bind(address).map_err(|error| error.to_string())?;
                let client = start(address)?;
                let report = tls_end::run_server_with(&listener, store, settings, &dialogue, LIMIT);
                (client, report?)
            }
        };
        if report.outcome.is_ok() {
            expect_output(&mut client, FROM_US)?;
        }
        client.kill();
        Ok(report)
    }
}

/// What our server has.
pub(super) fn store(
    files: &Files,
    kind: Kind,
) -> Result<CertificatesOnly<CertificateStore>, String> {
    let identity = files.identity("server", kind == Kind::RawPublicKey)?;
    let certificates = ServerCertificates::new(Arc::clone(&identity));
    let certificates = match kind {
        Kind::X509 => certificates
            .with_names(&files.authority("ca")?, [(CLIENT_NAME, PeerId(1))])
            .map_err(|error| error.to_string())?,
        Kind::RawPublicKey => {
            certificates.with_raw_public_key(files.raw_public_key("client")?, PeerId(1))
        }
    };
    Ok(CertificatesOnly(CertificateStore::new(certificates)))
}

fn check_refusal(report: &Report, expected: &str) -> Result<String, String> {
    match &report.outcome {
        Err(error) if error.contains(expected) => Ok(error.clone()),
        Err(error) => Err(format!("{error}, expected {expected}")),
        Ok(()) => Err("let in".to_owned()),
    }
}

/// RFC 7250 came to OpenSSL with version 3.2.
fn openssl_has_no_raw_public_keys() -> Result<String, String> {
    let mut command = std::process::Command::new("openssl");
    command
        .args(["s_client", "-help"])
        .stdin(std::process::Stdio::null());
    let finished = crate::child::run(&mut command, LIMIT, crate::child::Echo::Hidden)?;
    match finished.output.contains("-enable_server_rpk") {
        false => Ok("this s_client has no -enable_server_rpk".to_owned()),
        true => Err("s_client has -enable_server_rpk".to_owned()),
    }
}
