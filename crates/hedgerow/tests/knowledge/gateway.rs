//! The gateway's program and its configuration.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use super::scene::{CALLER, COMER, DEVICE, Drawn, SERVICE, USER, hex};
use crate::support::private_file;

/// The gateway knows a user and one key, and reaches the device in every mode.
pub fn configuration(
    drawn: &Drawn,
    device: SocketAddr,
    server: SocketAddr,
    [certificate, private_key, hop_key, public_key]: &[PathBuf; 4],
) -> String {
    // ChaCha20-Poly1305's key stands in memory as it is, on every processor; the other suite is for a device that is
    // never asked.
    format!(
        r#"
[http]
listen = "127.0.0.1:0"

[translate]
listen = "127.0.0.1:0"

[tunnel]
udp = "127.0.0.1:0"

[dtls]
suites = ["TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]

[[user]]
name = "{USER}"
token = "{token}"

[[device]]
name = "{DEVICE}"
uri = "coaps://{device}"
modes = ["terminate", "tunnel", "translate", "translate-device", "itls"]
psk_identity = "gateway"
psk = "0x{key}"
methods = ["GET", "POST"]
calls = ["{USER}"]

[certificate]
private_key = {hop_key:?}

[[device]]
name = "keyed"
uri = "coaps://127.0.0.1:9"
security = "certificate"
raw_public_key = {public_key:?}

[[tls_listener]]
listen = "127.0.0.1:0"
application = "coap"
device = "{DEVICE}"

[[tls_listener]]
listen = "127.0.0.1:0"
application = "coap"
form = "tls"
device = "{DEVICE}"

[[tls_listener]]
listen = "127.0.0.1:0"
application = "http"
device = "{DEVICE}"

[itls]
listen = "127.0.0.1:0"
certificate = {certificate:?}
private_key = {private_key:?}
listen_devices = "127.0.0.1:0"

[[itls.caller]]
device = "{DEVICE}"
psk_identity = "{CALLER}"
psk = "0x{inner_calling_key}"

[leg]
listen = "127.0.0.1:0"

[[leg.peer]]
name = "{CALLER}"
psk_identity = "{CALLER}"
psk = "0x{calling_key}"
services = ["{SERVICE}"]

[[leg.peer]]
name = "{DEVICE}"
psk_identity = "{COMER}"
psk = "0x{coming_key}"
services = []

[[leg.service]]
name = "{SERVICE}"
host = "{host}"
port = {port}
"#,
        token = drawn.token,
        key = hex(&drawn.hop_key),
        calling_key = hex(&drawn.calling_key),
        coming_key = hex(&drawn.coming_key),
        inner_calling_key = hex(&drawn.inner_calling_key),
        host = server.ip(),
        port = server.port(),
    )
}

/// The program `hedgerow gateway`, which is ended with this.
pub struct Program {
    child: Child,
    /// What it has said of where it listens.
    lines: Vec<String>,
}

impl Program {
    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn start(mode: &str, configuration: &str) -> Self {
        let file = private_file(&format!("{mode}.toml"), configuration);
        let mut child = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
            .args(["gateway", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut lines = Vec::new();
        while lines.len() < LISTENERS {
            let mut line = String::new();
            let len = log.read_line(&mut line).unwrap();
            assert!(len > 0, "the gateway ended");
            if line.contains("listening for ") {
                lines.push(line);
            }
        }
        // Whatever else it says must not fill the pipe.
        thread::spawn(move || log.read_to_end(&mut Vec::new()));
        Self { child, lines }
    }

    pub fn address(&self, listener: &str) -> SocketAddr {
        self.addresses(listener)[0]
    }

    /// In the order of the configuration.
    pub fn addresses(&self, listener: &str) -> Vec<SocketAddr> {
        let lines = self.lines.iter().filter(|line| line.contains(listener));
        let addresses = lines.map(|line| {
            let address = line.split("address=").nth(1).unwrap();
            let address = address.split_whitespace().next().unwrap();
            address.parse().unwrap()
        });
        addresses.collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// HTTP, UDP carriers, records over TCP, streams of devices, Internet ends, devices that reach those, and three for
/// TLS clients.
const LISTENERS: usize = 9;
