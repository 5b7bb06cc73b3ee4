//! TLS inside DTLS: the program as a device, the program as the gateway, and behind it OpenSSL's, GnuTLS's and Python's
//! servers, which know nothing of it (docs/specs/leg.md).

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::cell::{enter, hex};
use super::certificate_files::{Files, SERVER_NAME};
use super::gateway::start_gateway;
use super::peers::{Peer, Transport, free_address, wait_for_port};
use super::program;
use crate::child::{self, Echo, Finished, Running};
use crate::table::Table;

/// For one command.
const LIMIT: Duration = Duration::from_secs(40);

const HOP_KEY: &[u8] = b"interop's hop key";

/// Of the two ends: the gateway hasn't got it.
const KEY: &[u8] = b"interop's end key";

/// Enters every cell.
pub(super) fn run(table: &mut Table) {
    let program = match program::build() {
        Ok(program) => program,
        Err(error) => {
            enter(table, "leg", || Err(error));
            return;
        }
    };
    for peer in Peer::ALL {
        let name = |how: &str| format!("device -> gateway -> {} with {how}", peer.name());
        enter(table, &name("a key"), || {
            let scene = Scene::start(&program, start_server(peer, Shown::Key)?)?;
            scene.page(&with_key(KEY), SERVER_NAME)
        });
        // The gateway maps what the device's engine reads and writes: mode `translate`, the device adapts, turned round.
        enter(table, &name("a key, records in form dtls"), || {
            let scene = Scene::start(&program, start_server(peer, Shown::Key)?)?;
            let form = ["--form", "dtls"].map(str::to_owned);
            scene.page(&[&with_key(KEY)[..], &form].concat(), SERVER_NAME)
        });
        enter(table, &name("an ECDSA certificate"), || {
            let files = Files::make()?;
            let scene = Scene::start(&program, start_server(peer, Shown::Ecdsa(&files))?)?;
            scene.page(&authority(&files, "ca"), SERVER_NAME)
        });
        for protocol in Protocol::ALL {
            let how = format!("an RSA certificate, {}", protocol.name());
            enter(table, &name(&how), || {
                let files = rsa_files()?;
                let shown = Shown::Rsa(&files, protocol);
                let scene = Scene::start(&program, start_server(peer, shown)?)?;
                scene.page(&authority(&files, "rsa-ca"), SERVER_NAME)
            });
        }
        enter(table, &name("another key, another name"), || {
            let scene = Scene::start(&program, start_server(peer, Shown::Key)?)?;
            let wrong = scene.fetch(&with_key(b"some other end key"), SERVER_NAME)?;
            expect_code(&wrong, &[5, 6])?;
            let files = Files::make()?;
            let scene = Scene::start(&program, start_server(peer, Shown::Ecdsa(&files))?)?;
            let wrong = scene.fetch(&authority(&files, "ca"), "elsewhere.example")?;
            expect_code(&wrong, &[5])?;
            Ok("refused by both ends".to_owned())
        });
        enter(table, &name("no suite in common"), || {
            let files = rsa_files()?;
            let shown = Shown::Rsa(&files, Protocol::FiniteField);
            let scene = Scene::start(&program, start_server(peer, shown)?)?;
            let finished = scene.fetch(&authority(&files, "rsa-ca"), SERVER_NAME)?;
            expect_code(&finished, &[6])?;
            match finished.output.contains("no suite in common") {
                true => Ok("said so".to_owned()),
                false => Err(finished.tail(5)),
            }
        });
    }
    enter(
        table,
        "device -> gateway -> Python's http.server with an RSA certificate, TLS 1.2",
        || {
            let files = rsa_files()?;
            let scene = Scene::start(&program, start_python(&files)?)?;
            scene.page(&authority(&files, "rsa-ca"), SERVER_NAME)
        },
    );
}

/// How a server proves itself.
#[derive(Clone, Copy)]
enum Shown<'f> {
    Key,
    Ecdsa(&'f Files),
    Rsa(&'f Files, Protocol),
}

/// What a server with an RSA certificate speaks.
#[derive(Clone, Copy)]
enum Protocol {
    AesGcm,
    ChaCha20,
    Tls13,
    /// Ephemeral keys that are on no curve, which the device hasn't got.
    FiniteField,
}

impl Protocol {
    /// Those that lead to a page.
    const ALL: [Self; 3] = [Self::AesGcm, Self::ChaCha20, Self::Tls13];

    const fn name(self) -> &'static str {
        match self {
            Self::AesGcm => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            Self::ChaCha20 => "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            Self::Tls13 => "TLS 1.3",
            Self::FiniteField => "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256",
        }
    }

    const fn openssl(self) -> &'static [&'static str] {
        match self {
            Self::AesGcm => &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
            Self::ChaCha20 => &["-tls1_2", "-cipher", "ECDHE-RSA-CHACHA20-POLY1305"],
            Self::Tls13 => &["-tls1_3"],
            Self::FiniteField => &["-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"],
        }
    }

    const fn gnutls(self) -> &'static str {
        match self {
            Self::AesGcm => {
                "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ECDHE-RSA:-CIPHER-ALL:+AES-128-GCM"
            }
            Self::ChaCha20 => {
                "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ECDHE-RSA:-CIPHER-ALL:+CHACHA20-POLY1305"
            }
            Self::Tls13 => "NORMAL:-VERS-ALL:+VERS-TLS1.3",
            Self::FiniteField => {
                "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+DHE-RSA:-CIPHER-ALL:+AES-128-GCM"
            }
        }
    }
}

fn rsa_files() -> Result<Files, String> {
    let files = Files::make()?;
    files.make_rsa()?;
    Ok(files)
}

fn authority(files: &Files, name: &str) -> [String; 2] {
    ["-C".to_owned(), files.path(name, "pem")]
}

/// A server, and a gateway that has no key of it.
struct Scene {
    program: PathBuf,
    _server: Running,
    gateway: Running,
    listen: SocketAddr,
}

impl Scene {
    fn start(program: &Path, (server, address): (Running, SocketAddr)) -> Result<Self, String> {
        let (http, listen) = (free_address()?, free_address()?);
        let folder = std::env::temp_dir().join(format!("hedgerow-leg-{}", listen.port()));
        let text = format!(
            r#"
[http]
listen = "{http}"

[leg]
listen = "{listen}"

[[leg.peer]]
name = "meter"
psk_identity = "meter"
psk = "0x{}"
services = ["backend"]

[[leg.service]]
name = "backend"
host = "127.0.0.1"
port = {}
"#,
            hex(HOP_KEY),
            address.port()
        );
        let gateway = start_gateway(program, &folder, &text, http.port())?;
        Ok(Self {
            program: program.to_owned(),
            _server: server,
            gateway,
            listen,
        })
    }

    fn fetch(&self, shown: &[String], host: &str) -> Result<Finished, String> {
        let mut command = Command::new(&self.program);
        command
            .args(["fetch", "--service", "backend", "-B", "20"])
            .args(["--via", &format!("coaps://{}", self.listen)])
            .args(["--hop-user", "meter", "--hop-key"])
            .arg(format!("0x{}", hex(HOP_KEY)))
            .args(shown)
            .arg(format!("https://{host}/"))
            .stdin(Stdio::null());
        child::run(&mut command, LIMIT, Echo::Hidden)
    }

    /// Fetches the page that the server has about the connection.
    fn page(mut self, shown: &[String], host: &str) -> Result<String, String> {
        let finished = self.fetch(shown, host)?;
        expect_code(&finished, &[0])?;
        if !finished.output.contains("<HTML>") {
            return Err(format!("no page: {}", finished.tail(5)));
        }
        if !self.gateway.wait_for("closed in order", LIMIT) {
            return Err(format!("not in order: {}", self.gateway.output()));
        }
        Ok(format!("a page of {} bytes", finished.output.len()))
    }
}

fn with_key(key: &[u8]) -> [String; 4] {
    let key = format!("0x{}", hex(key));
    ["-u".to_owned(), "device".to_owned(), "-k".to_owned(), key]
}

/// Starts a server whose page tells of the connection, and which knows one version of TLS.
fn start_server(peer: Peer, shown: Shown<'_>) -> Result<(Running, SocketAddr), String> {
    let address = free_address()?;
    let mut command = match peer {
        Peer::OpenSsl => {
            let mut command = Command::new("openssl");
            command
                .args(["s_server", "-www", "-accept"])
                .arg(address.to_string());
            match shown {
                Shown::Ecdsa(files) => command
                    .arg("-tls1_2")
                    .args(["-cert", &files.path("server", "pem")])
                    .args(["-key", &files.path("server", "key")]),
                Shown::Rsa(files, protocol) => command
                    .args(protocol.openssl())
                    .args(["-cert", &files.path("rsa-server", "pem")])
                    .args(["-key", &files.path("rsa-server", "key")]),
                Shown::Key => command
                    .args(["-tls1_2", "-nocert", "-psk", &hex(KEY)])
                    .args(["-psk_identity", "device"])
                    .args(["-cipher", "ECDHE-PSK-CHACHA20-POLY1305"]),
            };
            command
        }
        Peer::GnuTls => {
            let mut command = Command::new("gnutls-serv");
            command
                .args(["--http", "--port"])
                .arg(address.port().to_string());
            match shown {
                Shown::Ecdsa(files) => command
                    .args(["--x509certfile", &files.path("server", "pem")])
                    .args(["--x509keyfile", &files.path("server", "key")])
                    .args(["--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.2"]),
                Shown::Rsa(files, protocol) => command
                    .args(["--x509certfile", &files.path("rsa-server", "pem")])
                    .args(["--x509keyfile", &files.path("rsa-server", "key")])
                    .args(["--priority", protocol.gnutls()]),
                Shown::Key => {
                    let keys =
                        std::env::temp_dir().join(format!("hedgerow-psk-{}", address.port()));
                    let line = format!("device:{}\n", hex(KEY));
                    fs::write(&keys, line).map_err(|error| error.to_string())?;
                    command.arg("--pskpasswd").arg(keys).args([
                        "--priority",
                        "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ECDHE-PSK",
                    ])
                }
            };
            command
        }
    };
    serving(&mut command, address)
}

/// Starts a server of Python's, whose connections end without its word: what its answers are long is in their heads.
fn start_python(files: &Files) -> Result<(Running, SocketAddr), String> {
    const SERVER: &str = "\
import http.server, ssl, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'<HTML>' + b'page ' * 1000 + b'</HTML>'
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.maximum_version = ssl.TLSVersion.TLSv1_2
context.load_cert_chain(sys.argv[2], sys.argv[3])
server = http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Page)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
";
    let address = free_address()?;
    let mut command = Command::new("python3");
    command
        .args(["-c", SERVER, &address.port().to_string()])
        .args([
            files.path("rsa-server", "pem"),
            files.path("rsa-server", "key"),
        ]);
    serving(&mut command, address)
}

fn serving(command: &mut Command, address: SocketAddr) -> Result<(Running, SocketAddr), String> {
    command.stdin(Stdio::piped());
    let server = Running::start(command, Echo::Hidden)?;
    wait_for_port(Transport::Tls, address.port(), &server)?;
    Ok((server, address))
}

fn expect_code(finished: &Finished, codes: &[i32]) -> Result<(), String> {
    match finished.ending {
        child::Ending::Exited(code) if codes.contains(&code) => Ok(()),
        _ => Err(format!("{}: {}", finished.ending_text(), finished.tail(5))),
    }
}
