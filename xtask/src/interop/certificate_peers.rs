//! OpenSSL's and GnuTLS's programs in certificate mode.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use hedgerow_record::CipherSuite;

use super::certificate_files::{Files, SERVER_NAME};
use super::peers::{Peer, Transport, free_address, wait_for_port};
use crate::child::{Echo, Running};

/// What the ends show each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    X509,
    /// RFC 7250. OpenSSL has it from version 3.2 on.
    RawPublicKey,
}

/// The suites of certificate mode.
pub(super) const SUITES: [CipherSuite; 3] = [
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8,
];

/// Starts a peer as a server that wants a certificate of its client.
pub(super) fn start_server(
    peer: Peer,
    transport: Transport,
    kind: Kind,
    suite: CipherSuite,
    files: &Files,
) -> Result<(Running, SocketAddr), String> {
    let address = free_address()?;
    let (key, certificate) = (files.path("server", "key"), files.path("server", "pem"));
    let mut command = match peer {
        Peer::OpenSsl => {
            let mut command = Command::new("openssl");
            command
                .args(["s_server", "-quiet", "-Verify", "1", "-verify_return_error"])
                .args(match transport {
                    Transport::Dtls => &["-dtls1_2", "-listen"][..],
                    Transport::Tls => &["-tls1_2"],
                })
                .args(["-accept", &address.to_string()])
                .args(["-cert", &certificate, "-key", &key])
                .args(["-CAfile", &files.path("ca", "pem")])
                .args(["-cipher", openssl_suite(suite)]);
            command
        }
        Peer::GnuTls => {
            let mut command = Command::new("gnutls-serv");
            command
                .args(["--echo", "--require-client-cert"])
                .args((transport == Transport::Dtls).then_some("--udp"))
                .args(["--port", &address.port().to_string()])
                .args(["--priority", &priority(transport, kind, suite)]);
            match kind {
                Kind::X509 => command
                    .args(["--x509keyfile", &key, "--x509certfile", &certificate])
                    .args(["--x509cafile", &files.path("ca", "pem")])
                    .arg("--verify-client-cert"),
                Kind::RawPublicKey => command
                    .args(["--rawpkkeyfile", &key])
                    .args(["--rawpkfile", &files.path("server", "pub")]),
            };
            command
        }
    };
    command.stdin(Stdio::piped());
    let server = Running::start(&mut command, Echo::Hidden)?;
    wait_for_port(transport, address.port(), &server)?;
    Ok((server, address))
}

/// Starts a peer as a client that shows what `shown` names, and verifies the server's certificate.
pub(super) fn start_client(
    peer: Peer,
    transport: Transport,
    kind: Kind,
    suite: CipherSuite,
    files: &Files,
    (shown, server): (&str, SocketAddr),
) -> Result<Running, String> {
    let (key, certificate) = (files.path(shown, "key"), files.path(shown, "pem"));
    let mut command = match peer {
        Peer::OpenSsl => {
            let mut command = Command::new("openssl");
            command
                .args(["s_client", "-verify_return_error", "-connect"])
                .arg(server.to_string())
                .arg(match transport {
                    Transport::Dtls => "-dtls1_2",
                    Transport::Tls => "-tls1_2",
                })
                .args(["-servername", SERVER_NAME, "-verify_hostname", SERVER_NAME])
                .args(["-cert", &certificate, "-key", &key])
                .args(["-CAfile", &files.path("ca", "pem")])
                .args(["-cipher", openssl_suite(suite)]);
            command
        }
        Peer::GnuTls => {
            let mut command = Command::new("gnutls-cli");
            command
                .args(["--port", &server.port().to_string()])
                .args((transport == Transport::Dtls).then_some("--udp"))
                .args(["--priority", &priority(transport, kind, suite)]);
            match kind {
                Kind::X509 => command
                    .args(["--x509keyfile", &key, "--x509certfile", &certificate])
                    .args(["--x509cafile", &files.path("ca", "pem")])
                    .args(["--verify-hostname", SERVER_NAME])
                    .args(["--sni-hostname", SERVER_NAME]),
                // It has no way to say which key is expected.
                Kind::RawPublicKey => command
                    .args(["--rawpkkeyfile", &key, "--no-ca-verification"])
                    .args(["--rawpkfile", &files.path(shown, "pub")]),
            };
            command.arg("127.0.0.1");
            command
        }
    };
    command.stdin(Stdio::piped());
    Running::start(&mut command, Echo::Hidden)
}

const fn openssl_suite(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8 => "ECDHE-ECDSA-AES128-CCM8",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM => "ECDHE-ECDSA-AES128-CCM",
        _ => "ECDHE-ECDSA-AES128-GCM-SHA256",
    }
}

fn priority(transport: Transport, kind: Kind, suite: CipherSuite) -> String {
    let version = match transport {
        Transport::Dtls => "DTLS1.2",
        Transport::Tls => "TLS1.2",
    };
    let cipher = match suite {
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8 => "AES-128-CCM-8",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM => "AES-128-CCM",
        _ => "AES-128-GCM",
    };
    let types = match kind {
        Kind::X509 => "",
        Kind::RawPublicKey => ":-CTYPE-ALL:+CTYPE-SRV-RAWPK:+CTYPE-CLI-RAWPK",
    };
    format!(
        "NORMAL:-VERS-ALL:+VERS-{version}:-KX-ALL:+ECDHE-ECDSA:-CIPHER-ALL:+{cipher}:-MAC-ALL:+AEAD\
         {types}"
    )
}
