//! TLS inside DTLS: the program as a device, the program as the gateway, and behind it OpenSSL's and GnuTLS's servers,
//! which know nothing of it (docs/specs/leg.md).

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::cell::{enter, hex};
use super::certificate_files::{Files, SERVER_NAME};
use super::peers::{Peer, Transport, free_address, wait_for_port};
use super::program;
use super::tunnel::make_private;
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
            let scene = Scene::start(&program, peer, None)?;
            scene.page(&with_key(KEY), SERVER_NAME)
        });
        // The gateway maps what the device's engine reads and writes: mode `translate`, the device adapts, turned round.
        enter(table, &name("a key, records in form dtls"), || {
            let scene = Scene::start(&program, peer, None)?;
            let form = ["--form", "dtls"].map(str::to_owned);
            scene.page(&[&with_key(KEY)[..], &form].concat(), SERVER_NAME)
        });
        enter(table, &name("an ECDSA certificate"), || {
            let files = Files::make()?;
            let scene = Scene::start(&program, peer, Some(&files))?;
            let authority = ["-C".to_owned(), files.path("ca", "pem")];
            scene.page(&authority, SERVER_NAME)
        });
        enter(table, &name("another key, another name"), || {
            let scene = Scene::start(&program, peer, None)?;
            let wrong = scene.fetch(&with_key(b"some other end key"), SERVER_NAME)?;
            expect_code(&wrong, &[5, 6])?;
            let files = Files::make()?;
            let scene = Scene::start(&program, peer, Some(&files))?;
            let authority = ["-C".to_owned(), files.path("ca", "pem")];
            let wrong = scene.fetch(&authority, "elsewhere.example")?;
            expect_code(&wrong, &[5])?;
            Ok("refused by both ends".to_owned())
        });
    }
}

/// A server, and a gateway that has no key of it.
struct Scene {
    program: PathBuf,
    _server: Running,
    gateway: Running,
    listen: SocketAddr,
}

impl Scene {
    fn start(program: &Path, peer: Peer, files: Option<&Files>) -> Result<Self, String> {
        let (server, address) = start_server(peer, files)?;
        let (http, listen) = (free_address()?, free_address()?);
        let folder = std::env::temp_dir().join(format!("hedgerow-leg-{}", listen.port()));
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let file = folder.join("hedgerow.toml");
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
        fs::write(&file, text).map_err(|error| error.to_string())?;
        make_private(&file)?;
        let mut command = Command::new(program);
        command
            .args(["gateway", "--config"])
            .arg(&file)
            .stdin(Stdio::null());
        let gateway = Running::start(&mut command, Echo::Hidden)?;
        wait_for_port(Transport::Tls, http.port(), &gateway)?;
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

/// Starts a server whose page tells of the connection, and which knows TLS 1.2 alone.
fn start_server(peer: Peer, files: Option<&Files>) -> Result<(Running, SocketAddr), String> {
    let address = free_address()?;
    let mut command = match peer {
        Peer::OpenSsl => {
            let mut command = Command::new("openssl");
            command
                .args(["s_server", "-www", "-tls1_2", "-accept"])
                .arg(address.to_string());
            match files {
                Some(files) => command
                    .args(["-cert", &files.path("server", "pem")])
                    .args(["-key", &files.path("server", "key")]),
                None => command
                    .args(["-nocert", "-psk", &hex(KEY), "-psk_identity", "device"])
                    .args(["-cipher", "ECDHE-PSK-CHACHA20-POLY1305"]),
            };
            command
        }
        Peer::GnuTls => {
            let mut command = Command::new("gnutls-serv");
            command
                .args(["--http", "--port"])
                .arg(address.port().to_string());
            match files {
                Some(files) => command
                    .args(["--x509certfile", &files.path("server", "pem")])
                    .args(["--x509keyfile", &files.path("server", "key")])
                    .args(["--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.2"]),
                None => {
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
    command.stdin(Stdio::piped());
    let server = Running::start(&mut command, Echo::Hidden)?;
    wait_for_port(Transport::Tls, address.port(), &server)?;
    Ok((server, address))
}

fn expect_code(finished: &Finished, codes: &[i32]) -> Result<(), String> {
    match finished.ending {
        child::Ending::Exited(code) if codes.contains(&code) => Ok(()),
        _ => Err(format!("{}: {}", finished.ending_text(), finished.tail(5))),
    }
}
