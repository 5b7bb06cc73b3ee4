//! The peers' programs: where they come from, how they are started.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use hedgerow_record::{CipherSuite, KeyExchange};

use super::cell::hex;
use super::clock::Clock;
use super::dtls_end::Identity;
use crate::child::{self, Echo, Running};

/// The suites that both peers and this project have.
pub(super) const SUITES: [CipherSuite; 5] = [
    CipherSuite::TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_PSK_WITH_AES_128_CCM,
    CipherSuite::TLS_PSK_WITH_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
];

/// What a peer's records travel in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// DTLS 1.2 over UDP.
    Dtls,
    /// TLS 1.2 over TCP.
    Tls,
}

impl Transport {
    /// Returns where the system lists who listens.
    const fn tables(self) -> [&'static str; 2] {
        match self {
            Self::Dtls => ["/proc/net/udp", "/proc/net/udp6"],
            Self::Tls => ["/proc/net/tcp", "/proc/net/tcp6"],
        }
    }
}

/// A program that speaks DTLS 1.2 and TLS 1.2 with pre-shared keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    OpenSsl,
    GnuTls,
}

impl Peer {
    pub(super) const ALL: [Self; 2] = [Self::OpenSsl, Self::GnuTls];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::OpenSsl => "OpenSSL",
            Self::GnuTls => "GnuTLS",
        }
    }

    /// The peer's name for a suite.
    pub(super) const fn suite(self, suite: CipherSuite) -> &'static str {
        match (self, suite) {
            (Self::OpenSsl, CipherSuite::TLS_PSK_WITH_AES_128_CCM_8) => "PSK-AES128-CCM8",
            (Self::OpenSsl, CipherSuite::TLS_PSK_WITH_AES_128_CCM) => "PSK-AES128-CCM",
            (Self::OpenSsl, CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256) => {
                "PSK-AES128-GCM-SHA256"
            }
            (Self::OpenSsl, CipherSuite::TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256) => {
                "ECDHE-PSK-CHACHA20-POLY1305"
            }
            (Self::OpenSsl, _) => "PSK-CHACHA20-POLY1305",
            (Self::GnuTls, CipherSuite::TLS_PSK_WITH_AES_128_CCM_8) => "AES-128-CCM-8",
            (Self::GnuTls, CipherSuite::TLS_PSK_WITH_AES_128_CCM) => "AES-128-CCM",
            (Self::GnuTls, CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256) => "AES-128-GCM",
            (Self::GnuTls, _) => "CHACHA20-POLY1305",
        }
    }

    /// Starts the peer as a server on a port of its own.
    pub(super) fn start_server(
        self,
        transport: Transport,
        suite: CipherSuite,
        identity: Identity<'_>,
    ) -> Result<(Running, SocketAddr), String> {
        self.start_server_with(transport, suite, identity, &[])
    }

    /// Does the same with further arguments.
    pub(super) fn start_server_with(
        self,
        transport: Transport,
        suite: CipherSuite,
        identity: Identity<'_>,
        more: &[&str],
    ) -> Result<(Running, SocketAddr), String> {
        let address = free_address()?;
        let name = String::from_utf8_lossy(identity.psk_identity).into_owned();
        let key = hex(identity.psk);
        let mut command = match self {
            Self::OpenSsl => {
                let mut command = Command::new("openssl");
                command
                    .args(["s_server", "-nocert", "-quiet"])
                    .args(match transport {
                        Transport::Dtls => &["-dtls1_2", "-listen"][..],
                        Transport::Tls => &["-tls1_2"],
                    })
                    .args(["-accept", &address.to_string()])
                    .args(["-psk", &key, "-psk_identity", &name, "-psk_hint", "hint"])
                    .args(["-cipher", self.suite(suite)])
                    .args(more);
                command
            }
            Self::GnuTls => {
                let keys = std::env::temp_dir().join(format!("hedgerow-psk-{}", address.port()));
                fs::write(&keys, format!("{name}:{key}\n")).map_err(|error| error.to_string())?;
                let mut command = Command::new("gnutls-serv");
                command
                    .args(["--echo", "--pskhint", "hint"])
                    .args((transport == Transport::Dtls).then_some("--udp"))
                    .args(["--port", &address.port().to_string()])
                    .arg("--pskpasswd")
                    .arg(keys)
                    .args(["--priority", &self.priority(transport, suite)])
                    .args(more);
                command
            }
        };
        command.stdin(Stdio::piped());
        let server = Running::start(&mut command, Echo::Hidden)?;
        wait_for_port(transport, address.port(), &server)?;
        Ok((server, address))
    }

    /// Starts the peer as a client of `server`.
    pub(super) fn start_client(
        self,
        transport: Transport,
        suite: CipherSuite,
        identity: Identity<'_>,
        server: SocketAddr,
    ) -> Result<Running, String> {
        self.start_client_with(transport, suite, identity, server, &[])
    }

    /// Does the same with further arguments.
    pub(super) fn start_client_with(
        self,
        transport: Transport,
        suite: CipherSuite,
        identity: Identity<'_>,
        server: SocketAddr,
        more: &[&str],
    ) -> Result<Running, String> {
        let name = String::from_utf8_lossy(identity.psk_identity).into_owned();
        let key = hex(identity.psk);
        let mut command = match self {
            Self::OpenSsl => {
                let mut command = Command::new("openssl");
                command
                    .args(["s_client", "-connect", &server.to_string()])
                    .arg(match transport {
                        Transport::Dtls => "-dtls1_2",
                        Transport::Tls => "-tls1_2",
                    })
                    .args(["-psk", &key, "-psk_identity", &name])
                    .args(["-cipher", self.suite(suite)])
                    .args(more);
                command
            }
            Self::GnuTls => {
                let mut command = Command::new("gnutls-cli");
                command
                    .args(more)
                    .args(["--port", &server.port().to_string()])
                    .args((transport == Transport::Dtls).then_some("--udp"))
                    .args(["--pskusername", &name, "--pskkey", &key])
                    .args(["--priority", &self.priority(transport, suite), "127.0.0.1"]);
                command
            }
        };
        command.stdin(Stdio::piped());
        Running::start(&mut command, Echo::Hidden)
    }

    fn priority(self, transport: Transport, suite: CipherSuite) -> String {
        let version = match transport {
            Transport::Dtls => "DTLS1.2",
            Transport::Tls => "TLS1.2",
        };
        let exchange = match suite.key_exchange() {
            Some(KeyExchange::EcdhePsk) => "ECDHE-PSK",
            _ => "PSK",
        };
        format!(
            "NORMAL:-VERS-ALL:+VERS-{version}:-KX-ALL:+{exchange}:-CIPHER-ALL:+{}:-MAC-ALL:+AEAD",
            self.suite(suite)
        )
    }
}

/// Returns name and version of each peer.
///
/// # Errors
///
/// The name of the package that is missing.
pub(super) fn versions() -> Result<Vec<String>, String> {
    let programs = [
        ("openssl", Some("version"), "OpenSSL", "openssl"),
        (
            "gnutls-serv",
            Some("--version"),
            "gnutls-serv",
            "gnutls-bin",
        ),
        ("gnutls-cli", Some("--version"), "gnutls-cli", "gnutls-bin"),
        // libcoap's programs name their version with their usage.
        ("coap-client-openssl", None, " v", "libcoap3-bin"),
        ("coap-client-gnutls", None, " v", "libcoap3-bin"),
        ("coap-server-notls", Some("--help"), " v", "libcoap3-bin"),
        ("tshark", Some("--version"), "TShark", "tshark"),
        ("dumpcap", Some("--version"), "Dumpcap", "tshark"),
    ];
    programs
        .into_iter()
        .map(|(program, arg, marker, package)| {
            let mut command = Command::new(program);
            command.args(arg).stdin(Stdio::null());
            let output = child::run(&mut command, Duration::from_secs(10), Echo::Hidden)
                .map(|finished| finished.output)
                .unwrap_or_default();
            let line = output.lines().find(|line| line.contains(marker));
            line.map(str::to_owned)
                .ok_or_else(|| format!("{program} isn't installed; Debian's package is {package}"))
        })
        .collect()
}

/// Returns an address whose port nobody uses. Each is given out once: several peers bind with
/// address reuse, so that one left over from another cell would answer unnoticed.
pub(super) fn free_address() -> Result<SocketAddr, String> {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    for _ in 0..1_000 {
        let port = NEXT.fetch_add(2, Ordering::Relaxed);
        let is_free = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
            && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
        if is_free {
            return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        }
    }
    Err("no free port".to_owned())
}

/// Waits until somebody listens on a port.
pub(super) fn wait_for_port(
    transport: Transport,
    port: u16,
    server: &Running,
) -> Result<(), String> {
    let clock = Clock::start();
    let suffix = format!(":{port:04X}");
    while clock.elapsed() < Duration::from_secs(30) {
        let is_there = transport.tables().into_iter().any(|file| {
            fs::read_to_string(file).is_ok_and(|table| {
                table.lines().any(|line| {
                    line.split_whitespace()
                        .nth(1)
                        .is_some_and(|local| local.ends_with(&suffix))
                })
            })
        });
        if is_there {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(format!("server doesn't listen: {}", server.output()))
}
