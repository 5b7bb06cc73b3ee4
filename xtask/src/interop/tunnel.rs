//! The mode `tunnel` (RFC 9298) with clients and devices that nobody here wrote: a libcoap server as the
//! device, HTTP/1.1 by Python's sockets and HTTP/2 by its package h2, and inside the tunnel libcoap's client
//! and OpenSSL, whose DTLS sessions the gateway has no key of.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::cell::{enter, hex};
use super::coap::{Build, IDENTITY, PSK, start_server};
use super::gateway::start_gateway;
use super::peers::free_address;
use super::program;
use crate::child::{self, Echo, Finished, Running};
use crate::table::Table;
use crate::workspace::Workspace;

/// For one command.
const LIMIT: Duration = Duration::from_secs(40);

const TOKEN: &str = "interop-token-0123456789";

/// Debian's own, for which Debian has the package h2.
const PYTHON: &str = "/usr/bin/python3";

/// The versions of HTTP, as the script names them.
const VERSIONS: [(&str, &str); 2] = [("1", "HTTP/1.1"), ("2", "HTTP/2 (h2)")];

/// What is written through the tunnel, in blocks.
const BODY_LEN: usize = 5_000;

/// Enters every cell.
pub(super) fn run(table: &mut Table) {
    let ready = program::build().and_then(|program| {
        let script = Workspace::load()?.root.join("peers/masque/forward.py");
        Ok((program, script))
    });
    let (program, script) = match ready {
        Ok(ready) => ready,
        Err(error) => {
            enter(table, "tunnel", || Err(error));
            return;
        }
    };
    for (version, name) in VERSIONS {
        let name = |what: &str| format!("{what} in {name} -> gateway");
        enter(table, &name("libcoap client"), || {
            Scene::start(&program, &script)?.coap_client(version)
        });
        enter(table, &name("OpenSSL s_client"), || {
            Scene::start(&program, &script)?.s_client(version)
        });
        enter(table, &name("what gets no tunnel"), || {
            Scene::start(&program, &script)?.refusals(version)
        });
    }
    for at in [
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
    ] {
        let name = format!(
            "gateway fragments nothing on a path of {PATH_MTU} bytes, {}",
            at.ip()
        );
        enter(table, &name, || fragments_nothing(&program, &script, at));
    }
}

/// What this namespace's interface passes on in a cell, in bytes: IPv6's least.
const PATH_MTU: usize = 1_280;

/// RFC 9298 §3.1: a datagram that just fits arrives, one that has a byte more is dropped
/// and counted, and the tunnel goes on.
fn fragments_nothing(program: &Path, script: &Path, at: SocketAddr) -> Result<String, String> {
    let device = UdpSocket::bind(at).map_err(|error| error.to_string())?;
    let wait = device.set_read_timeout(Some(LIMIT));
    wait.map_err(|error| error.to_string())?;
    let address = device.local_addr().map_err(|error| error.to_string())?;
    let scene = Scene::before(program, script, None, address)?;
    let (tunnel, listen) = scene.open("1")?;
    let headers = if at.is_ipv4() { 20 + 8 } else { 40 + 8 };
    let fits = PATH_MTU.saturating_sub(headers);
    let narrow = NarrowPath::make()?;
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
    let mut seen = Vec::new();
    // In order, for the tunnel is a stream. What the client sends may be in fragments: that isn't the gateway.
    for len in [fits, fits.saturating_add(1), 1] {
        let sent = client.send_to(&vec![7; len], listen);
        sent.map_err(|error| error.to_string())?;
    }
    let mut buffer = vec![0; 2 * PATH_MTU];
    while seen.last() != Some(&1) {
        let received = device.recv(&mut buffer);
        seen.push(received.map_err(|error| format!("{error}; came: {seen:?}"))?);
    }
    drop(narrow);
    if seen != [fits, 1] {
        return Err(format!("lengths that came: {seen:?}"));
    }
    let (told, log) = scene.told(tunnel)?;
    if !log.contains("too_big_for_path=1 ") {
        return Err(format!("not counted: {log}"));
    }
    Ok(format!(
        "{fits} bytes arrive, one more is dropped and counted; {told}"
    ))
}

/// As long as it lives, nothing longer than [`PATH_MTU`] passes in this namespace.
struct NarrowPath;

impl NarrowPath {
    fn make() -> Result<Self, String> {
        set_mtu(PATH_MTU)?;
        Ok(Self)
    }
}

impl Drop for NarrowPath {
    fn drop(&mut self) {
        // Linux's own value for the loopback interface.
        let _ = set_mtu(65_536);
    }
}

fn set_mtu(mtu: usize) -> Result<(), String> {
    let mut command = Command::new("ip");
    command.args(["link", "set", "lo", "mtu", &mtu.to_string()]);
    let finished = child::run(&mut command, LIMIT, Echo::Hidden)?;
    match finished.is_success() {
        true => Ok(()),
        false => Err(finished.tail(3)),
    }
}

/// A libcoap server, and a gateway that has no key of it.
struct Scene {
    _server: Option<Running>,
    gateway: Running,
    device: SocketAddr,
    https: SocketAddr,
    certificate: PathBuf,
    script: PathBuf,
}

impl Scene {
    fn start(program: &Path, script: &Path) -> Result<Self, String> {
        let (server, _plain, device) = start_server(Build::OpenSsl)?;
        Self::before(program, script, Some(server), device)
    }

    /// A gateway before a device that is there.
    fn before(
        program: &Path,
        script: &Path,
        server: Option<Running>,
        device: SocketAddr,
    ) -> Result<Self, String> {
        let (http, https) = (free_address()?, free_address()?);
        let folder = std::env::temp_dir().join(format!("hedgerow-tunnel-{}", https.port()));
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let certificate = folder.join("gateway.pem");
        let mut make = Command::new("openssl");
        make.args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
            .args([
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-subj",
                "/CN=gateway",
            ])
            .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
            .arg(folder.join("gateway.key"))
            .arg("-out")
            .arg(&certificate);
        let made = child::run(&mut make, LIMIT, Echo::Hidden)?;
        if !made.is_success() {
            return Err(format!("openssl req: {}", made.tail(3)));
        }
        let text = format!(
            r#"
[http]
listen = "{http}"

[https]
listen = "{https}"
certificate = "gateway.pem"
private_key = "gateway.key"

[[user]]
name = "interop"
token = "{TOKEN}"

[[device]]
name = "real"
uri = "coaps://{device}"
modes = ["tunnel"]
"#
        );
        let gateway = start_gateway(program, &folder, &text, https.port())?;
        Ok(Self {
            _server: server,
            gateway,
            device,
            https,
            certificate,
            script: script.to_owned(),
        })
    }

    /// Starts the client of the tunnel, and returns where it takes datagrams.
    fn forward(
        &self,
        version: &str,
        authorization: &str,
        target: &str,
    ) -> Result<(Running, SocketAddr), String> {
        let listen = free_address()?;
        let mut command = Command::new(PYTHON);
        command
            .arg(&self.script)
            .args([version, &self.https.to_string()])
            .arg(&self.certificate)
            .args([authorization, target, &listen.to_string()])
            .stdin(Stdio::null());
        Ok((Running::start(&mut command, Echo::Hidden)?, listen))
    }

    fn open(&self, version: &str) -> Result<(Running, SocketAddr), String> {
        let target = format!("real/{}", self.device.port());
        let (mut running, listen) = self.forward(version, &format!("Bearer {TOKEN}"), &target)?;
        if running.wait_for("open\n", LIMIT) {
            Ok((running, listen))
        } else {
            let gateway = self.gateway.output();
            Err(format!("no tunnel: {} {gateway}", running.output()))
        }
    }

    /// Ends the gateway in order, so that the tunnel's client sees the end, and returns what is told of the tunnel, here and
    /// in the gateway's log.
    fn told(mut self, tunnel: Running) -> Result<(String, String), String> {
        let stop = format!("kill -s INT {}", self.gateway.id());
        let mut command = Command::new("sh");
        child::run(command.args(["-c", &stop]), LIMIT, Echo::Hidden)?;
        let ended = tunnel.wait(LIMIT)?;
        let counts = ended.output.lines().find(|line| line.starts_with("ended "));
        let counts = match counts {
            Some(counts) if ended.is_success() => counts.to_owned(),
            _ => return Err(format!("{}: {}", ended.ending_text(), ended.output)),
        };
        if !self.gateway.wait_for("tunnel ended", LIMIT) {
            return Err(format!("no line for the tunnel: {}", self.gateway.output()));
        }
        let log = self.gateway.output();
        if log.contains(PSK) || log.contains(TOKEN) {
            return Err(format!("a secret in the log: {log}"));
        }
        Ok((counts, log))
    }

    fn coap_client(self, version: &str) -> Result<String, String> {
        let (tunnel, at) = self.open(version)?;
        let ask = |path: &str, more: &[&str]| -> Result<Finished, String> {
            let mut command = Command::new(format!("coap-client-{}", Build::OpenSsl.suffix()));
            command
                .args(["-u", IDENTITY, "-k", PSK, "-B", "10"])
                .args(more)
                .arg(format!("coaps://{at}/{path}"));
            child::run(&mut command, LIMIT, Echo::Hidden)
        };
        // One session, for libcoap's server keeps it: each client has a handshake of its own.
        let body: String = "hedgerow ".chars().cycle().take(BODY_LEN).collect();
        let file = self.certificate.with_file_name("body");
        fs::write(&file, &body).map_err(|error| error.to_string())?;
        let file = file.display().to_string();
        let written = ask("example_data", &["-m", "put", "-b", "512", "-f", &file])?;
        let read = ask("example_data", &["-b", "512"])?;
        if !read.output.contains(&body) {
            let (written, read) = (written.tail(3), read.tail(3));
            return Err(format!("written: {written}; read: {read}"));
        }
        let (told, _) = self.told(tunnel)?;
        Ok(format!(
            "{BODY_LEN} bytes written and read in blocks; {told}"
        ))
    }

    fn s_client(self, version: &str) -> Result<String, String> {
        let (tunnel, at) = self.open(version)?;
        let mut command = Command::new("openssl");
        command
            .args(["s_client", "-dtls1_2", "-connect", &at.to_string()])
            .args(["-psk", &hex(PSK.as_bytes()), "-psk_identity", IDENTITY])
            .args(["-cipher", "PSK-AES128-CCM8"]);
        let finished = child::run(&mut command, LIMIT, Echo::Hidden)?;
        let cipher = "Cipher is PSK-AES128-CCM8";
        if !finished.output.contains(cipher) {
            return Err(format!("no session: {}", finished.tail(12)));
        }
        let (told, _) = self.told(tunnel)?;
        Ok(format!("{cipher}; {told}"))
    }

    fn refusals(self, version: &str) -> Result<String, String> {
        let port = self.device.port();
        let real = format!("real/{port}");
        let bearer = format!("Bearer {TOKEN}");
        let mut seen = Vec::new();
        for (authorization, target, status, field) in [
            (
                "Bearer another-token-0123456789",
                real.as_str(),
                401,
                "www-authenticate: Bearer realm=",
            ),
            (
                &bearer,
                "real/1",
                403,
                "proxy-status: hedgerow; error=destination_ip_prohibited",
            ),
            (
                &bearer,
                "192.0.2.1/5684",
                403,
                "proxy-status: hedgerow; error=destination_ip_prohibited",
            ),
            (
                &bearer,
                "real/0",
                400,
                "content-type: application/problem+json",
            ),
        ] {
            let (running, _) = self.forward(version, authorization, target)?;
            let finished = running.wait(LIMIT)?;
            let is_refused = finished.output.contains(&format!("refused {status}\n"));
            if !finished.is_success() || !is_refused || !finished.output.contains(field) {
                return Err(format!("{target}: {}", finished.output));
            }
            seen.push(status.to_string());
        }
        Ok(seen.join(", "))
    }
}
