//! Mode `translate`, the device adapts: OpenSSL's, GnuTLS's and libcoap's TLS clients, which know of no gateway, through
//! the program to a device (docs/specs/translate-device.md).

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_core::{PeerId, Psk};
use hedgerow_endpoint::AdaptedConfig;
use hedgerow_handshake::Settings;
use hedgerow_leg::Role;
use hedgerow_net::{
    AdaptedServer, KeyStore, LegConfig, Node, NodeConfig, ResponseMessage, ServerRequest,
};
use hedgerow_record::CipherSuite;

use super::cell::{enter, hex, limitation};
use super::coap::Build;
use super::dtls_end::Identity;
use super::gateway::start_gateway;
use super::handshakes::gnutls_client_ends;
use super::peers::{Peer, Transport, free_address, wait_for_port};
use super::program;
use crate::child::{self, Echo, Ending, Finished, Running};
use crate::table::Table;

/// For one command.
const LIMIT: Duration = Duration::from_secs(20);

/// Of the gateway and the device.
const HOP_KEY: &[u8] = b"interop's hop key";

/// Of the two ends: the gateway hasn't got it.
const USER: Identity<'static> = Identity {
    psk_identity: b"user",
    psk: b"interop's end key",
};

/// Enters every cell.
pub(super) fn run(table: &mut Table) {
    let program = match program::build() {
        Ok(program) => program,
        Err(error) => {
            enter(table, "adapt", || Err(error));
            return;
        }
    };
    match Simulated::start(&program) {
        Ok(simulated) => with_simulated_devices(table, &simulated),
        Err(error) => enter(table, "simulated devices", || Err(error)),
    }
    // Each with a gateway of its own: a client has 10 connections to a device at once, and then 5 a second.
    for build in Build::SECURE {
        let name = format!("libcoap/{} -> simulated device, coaps+tcp", build.suffix());
        enter(table, &name, || {
            Simulated::start(&program)?.with_libcoap(build)
        });
    }
    // What else there is needs a device that isn't as careful as the simulated ones.
    for form in ["dtls", "tls"] {
        let name = format!("GnuTLS with a plain key -> device, HTTP, form {form}");
        enter(table, &name, || Scene::start(&program, form)?.with_gnutls());
    }
    for build in Build::SECURE {
        let name = format!("libcoap/{} -> device, by port and by name", build.suffix());
        enter(table, &name, || {
            Scene::start(&program, "dtls")?.with_libcoap(build)
        });
    }
    limitation(table, "GnuTLS with an ephemeral key, HTTP", || {
        let suite = CipherSuite::TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256;
        gnutls_client_ends(Transport::Tls, suite)
    });
    enter(table, "OpenSSL led astray to another device", || {
        Scene::start(&program, "dtls")?.astray()
    });
}

fn with_simulated_devices(table: &mut Table, devices: &Simulated) {
    enter(table, "OpenSSL -> simulated device, HTTP", || {
        let key = devices.key("thermometer")?;
        let client = devices.s_client(&key, &["-ign_eof"], "/temperature")?;
        let answer = expect_page(&client, "200 OK", "\r\n\r\n2")
            .or_else(|_| expect_page(&client, "200 OK", "\r\n\r\n1"))?;
        match client.output.contains("Cipher is ECDHE-PSK-") {
            true => Ok(answer),
            false => Err(format!("another suite: {}", client.output)),
        }
    });
    enter(table, "OpenSSL -> simulated device, HTTP, by name", || {
        let key = devices.key("lamp")?;
        for name in ["lamp", "LAMP"] {
            let client = devices.s_client(&key, &["-quiet", "-servername", name], "/state")?;
            expect_page(&client, "200 OK", "\r\n\r\noff")?;
        }
        let missing = devices.s_client(&key, &["-quiet", "-servername", "lamp"], "/nowhere")?;
        expect_page(&missing, "404", "")?;
        Ok("the lamp is off; 404".to_owned())
    });
    enter(table, "OpenSSL -> simulated device, wrong key", || {
        let wrong = devices.s_client("another key", &["-quiet"], "/temperature")?;
        expect_refusal(&wrong, "alert bad record mac")?;
        // The right device's name, and the key of another one.
        let other = devices.key("thermometer")?;
        let wrong = devices.s_client(&other, &["-quiet", "-servername", "lamp"], "/state")?;
        expect_refusal(&wrong, "alert bad record mac")?;
        // A key that the device knows, but for clients without a gateway in between.
        let hop = fs::read(devices.folder.join("thermometer.key"));
        let hop = Identity {
            psk_identity: b"demo",
            psk: &hop.map_err(|error| error.to_string())?,
        };
        let wrong = s_client(devices.http, hop, &["-quiet"], "/temperature")?;
        expect_refusal(&wrong, "alert bad record mac")?;
        Ok("bad_record_mac, also with another device's key".to_owned())
    });
    enter(table, "OpenSSL -> simulated device, wrong name", || {
        let key = devices.key("lamp")?;
        let name = ["-quiet", "-servername", "elsewhere.example"];
        let wrong = devices.s_client(&key, &name, "/state")?;
        expect_refusal(&wrong, "alert number 112")?;
        Ok("unrecognized_name".to_owned())
    });
}

/// The demonstration, with its devices and its gateway.
struct Simulated {
    _running: Running,
    http: SocketAddr,
    coap: SocketAddr,
    /// Where its keys are.
    folder: PathBuf,
}

impl Simulated {
    fn start(program: &Path) -> Result<Self, String> {
        let running = program::start_demonstration(program)?;
        let printed = running.output();
        let behind = |text: &str| {
            let (_, rest) = printed.split_once(text)?;
            let word = rest.split([' ', '/']).next()?;
            word.parse().ok()
        };
        let http = behind("s_client -quiet -tls1_2 -connect ").ok_or("no address for HTTP")?;
        let coap = printed.lines().find_map(|line| {
            let is_meant = line.contains("-u demo-end-to-end");
            line.split_once("coaps+tcp://").filter(|_| is_meant)
        });
        let coap = coap.and_then(|(_, rest)| rest.split('/').next()?.parse().ok());
        let keys = PathBuf::from(program::value(&printed, "keys")?);
        Ok(Self {
            _running: running,
            http,
            coap: coap.ok_or("no address for CoAP")?,
            folder: keys.parent().ok_or("no folder")?.to_owned(),
        })
    }

    /// The key of a user and a device, which the gateway hasn't.
    fn key(&self, device: &str) -> Result<String, String> {
        let file = self.folder.join(format!("{device}.end-to-end.key"));
        fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))
    }

    fn s_client(&self, key: &str, more: &[&str], path: &str) -> Result<Finished, String> {
        let identity = Identity {
            psk_identity: b"demo-end-to-end",
            psk: key.as_bytes(),
        };
        s_client(self.http, identity, more, path)
    }

    fn with_libcoap(&self, build: Build) -> Result<String, String> {
        let key = self.key("thermometer")?;
        let ask = |host: &str, key: &str, path: &str| {
            let uri = format!("coaps+tcp://{host}:{}/{path}", self.coap.port());
            coap_client(build, "demo-end-to-end", key, &uri)
        };
        let read = ask("127.0.0.1", &key, "temperature")?;
        let degrees = number(&read).ok_or_else(|| read.clone())?;
        if !(18.0..=24.0).contains(&degrees) {
            return Err(format!("{degrees} degrees"));
        }
        let list = ask("127.0.0.1", &key, ".well-known/core")?;
        if !list.contains("</temperature>") {
            return Err(format!("resources: {list}"));
        }
        let missing = ask("127.0.0.1", &key, "nowhere")?;
        if !missing.contains("4.04") {
            return Err(format!("GET nowhere: {missing}"));
        }
        // It asks for the name in its URI.
        let by_name = ask("localhost", &key, "temperature")?;
        if number(&by_name).is_none() {
            return Err(format!("by name: {by_name}"));
        }
        let refused = ask("127.0.0.1", "another key", "temperature")?;
        if number(&refused).is_some() {
            return Err(format!("another key: {refused}"));
        }
        Ok(format!(
            "{degrees} degrees, resources, 4.04, by name too; wrong key refused"
        ))
    }
}

/// A gateway that has a configuration, and a device of ours that takes plain keys too.
struct Scene {
    gateway: Running,
    /// The listener for HTTP, which has names and a default.
    listen: SocketAddr,
    /// The listener for CoAP, which has names alone.
    named: SocketAddr,
    /// The same with the device alone.
    port: SocketAddr,
}

impl Scene {
    fn start(program: &Path, form: &str) -> Result<Self, String> {
        let device = start_device()?;
        let (http, listen) = (free_address()?, free_address()?);
        let (named, port) = (free_address()?, free_address()?);
        let folder = std::env::temp_dir().join(format!("hedgerow-adapt-{}", listen.port()));
        let key = hex(HOP_KEY);
        let text = format!(
            r#"
[http]
listen = "{http}"

[[tls_listener]]
listen = "{listen}"
application = "http"
form = "{form}"
device = "meter"
names = ["meter.example=meter", "lamp.example=meter"]

[[tls_listener]]
listen = "{named}"
application = "coap"
names = ["meter.example=meter"]

[[tls_listener]]
listen = "{port}"
application = "coap"
device = "meter"

[[device]]
name = "meter"
uri = "coaps://{device}"
modes = ["translate-device"]
security = "psk"
psk_identity = "gateway"
psk = "0x{key}"
"#
        );
        let gateway = start_gateway(program, &folder, &text, listen.port())?;
        for listener in [named, port] {
            wait_for_port(Transport::Tls, listener.port(), &gateway)?;
        }
        Ok(Self {
            gateway,
            listen,
            named,
            port,
        })
    }

    fn with_libcoap(self, build: Build) -> Result<String, String> {
        let key = String::from_utf8_lossy(USER.psk);
        let ask = |host: &str, listener: SocketAddr, key: &str| {
            let uri = format!("coaps+tcp://{host}:{}/reading", listener.port());
            coap_client(build, "user", key, &uri)
        };
        let read = ask("127.0.0.1", self.port, &key)?;
        if !read.contains("21.5") {
            return Err(format!("by port: {read}"));
        }
        // An address counts as no name, which leads nowhere at the other listener; a wrong key; and the name of its URI, which
        // the gateway doesn't know there, and the device refuses here.
        for (host, listener, key) in [
            ("127.0.0.1", self.named, key.as_ref()),
            ("127.0.0.1", self.port, "another key of two"),
            ("localhost", self.named, key.as_ref()),
            ("localhost", self.port, key.as_ref()),
        ] {
            let refused = ask(host, listener, key)?;
            if refused.contains("21.5") {
                return Err(format!("{host} at {listener}, {key}: {refused}"));
            }
        }
        let log = self.gateway.output();
        let counted = ["connection opened", "connection refused"].map(|it| log.matches(it).count());
        match counted {
            // The device said no to two of three.
            [3, 2] => Ok("21.5 by port; wrong key and wrong names refused".to_owned()),
            _ => Err(format!("opened, refused: {counted:?}: {log}")),
        }
    }

    fn with_gnutls(mut self) -> Result<String, String> {
        let suite = CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256;
        let wrong = Identity {
            psk: b"some other end key",
            ..USER
        };
        let ask = |shown, more: &[&str]| {
            let client = Peer::GnuTls;
            let client = client.start_client_with(Transport::Tls, suite, shown, self.listen, more);
            let mut client = client?;
            let mut input = client.take_stdin().ok_or("no standard input")?;
            // A client that is refused has closed its input by then.
            let _ = input.write_all(request("/reading").as_bytes());
            let is_served = client.wait_for("21.5", Duration::from_secs(5));
            Ok::<_, String>((is_served, client.output()))
        };
        for more in [&[][..], &["--sni-hostname", "meter.example"]] {
            let (is_served, output) = ask(USER, more)?;
            if !is_served || !output.contains("HTTP/1.1 200 OK") {
                return Err(format!("{more:?}: {output}"));
            }
        }
        for (shown, more) in [
            (wrong, &[][..]),
            (USER, &["--sni-hostname", "elsewhere.example"]),
        ] {
            let (is_served, output) = ask(shown, more)?;
            if is_served || output.contains("HTTP/1.1") {
                return Err(format!("served: {output}"));
            }
        }
        if !self.gateway.wait_for("connection opened", LIMIT) {
            return Err(format!("not in the log: {}", self.gateway.output()));
        }
        Ok("200 with and without a name; nothing for a wrong key or name".to_owned())
    }

    /// The gateway takes one device's name for another's. The device says so itself.
    fn astray(mut self) -> Result<String, String> {
        let named = |name| s_client(self.listen, USER, &["-quiet", "-servername", name], "/");
        expect_page(&named("meter.example")?, "200 OK", "21.5")?;
        expect_refusal(&named("lamp.example")?, "alert number 112")?;
        // Both were the device's to answer.
        let opened = "connection opened";
        if !self.gateway.wait_for("connection ended", LIMIT)
            || self.gateway.output().matches(opened).count() != 2
        {
            return Err(format!("not by the device: {}", self.gateway.output()));
        }
        Ok("unrecognized_name, by the device itself".to_owned())
    }
}

/// Starts a device that adapts; it serves as long as this program runs.
fn start_device() -> Result<SocketAddr, String> {
    let (told, heard) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return told.send(Err(error.to_string())).unwrap_or_default(),
        };
        runtime.block_on(async {
            match bind_device().await {
                Ok((node, ends)) => {
                    let _ = told.send(Ok(node.local_addr()));
                    serve(&node, ends).await;
                }
                Err(error) => told.send(Err(error)).unwrap_or_default(),
            }
        });
    });
    let heard = heard.recv_timeout(LIMIT);
    heard.map_err(|error| error.to_string())?
}

async fn bind_device() -> Result<(Node, KeyStore), String> {
    let psk = |key: &[u8]| Psk::new(key).map_err(|error| error.to_string());
    let hops = KeyStore::new();
    hops.insert(b"gateway".to_vec(), psk(HOP_KEY)?, PeerId(1))
        .map_err(|error| error.to_string())?;
    let ends = KeyStore::new();
    let end = psk(USER.psk)?.into_end_to_end();
    let end = end.map_err(|error| error.to_string())?;
    ends.insert(USER.psk_identity.to_vec(), end, PeerId(2))
        .map_err(|error| error.to_string())?;
    let mut config = NodeConfig::default();
    config.endpoint.legs = Some(LegConfig::new(Role::Device));
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let node = Node::bind_server(local, config, hops, reading).await;
    Ok((node.map_err(|error| error.to_string())?, ends))
}

async fn serve(node: &Node, ends: KeyStore) {
    let mut connections = AdaptedConfig {
        names: Arc::new(["meter.example".to_owned()]),
        ..AdaptedConfig::default()
    };
    // The explicit setting for clients that have no ephemeral key to offer.
    connections.stream.handshake =
        Settings::default().with_application_protocols(&[b"coap", b"http/1.1"]);
    let server = AdaptedServer {
        connections: Arc::new(connections),
        ..AdaptedServer::default()
    };
    server.serve(node, ends, reading).await;
}

async fn reading(_: ServerRequest) -> ResponseMessage {
    ResponseMessage::new(Code::CONTENT).payload("21.5")
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: device\r\nConnection: close\r\n\r\n")
}

/// Asks with libcoap's client.
fn coap_client(build: Build, identity: &str, key: &str, uri: &str) -> Result<String, String> {
    let mut command = Command::new(format!("coap-client-{}", build.suffix()));
    command.args(["-u", identity, "-k", key, "-B", "8", uri]);
    child::run(&mut command, LIMIT, Echo::Hidden).map(|finished| finished.output)
}

/// Returns the first line that is a number.
fn number(text: &str) -> Option<f64> {
    text.lines().find_map(|it| it.trim().parse().ok())
}

/// Asks with OpenSSL's client, until one of the two ends is done.
fn s_client(
    at: SocketAddr,
    shown: Identity<'_>,
    more: &[&str],
    path: &str,
) -> Result<Finished, String> {
    let mut command = Command::new("openssl");
    command
        .args(["s_client", "-tls1_2", "-connect", &at.to_string()])
        .args(["-psk", &hex(shown.psk), "-psk_identity"])
        .arg(String::from_utf8_lossy(shown.psk_identity).as_ref())
        .args(more)
        .stdin(Stdio::piped());
    let mut client = Running::start(&mut command, Echo::Hidden)?;
    let mut input = client.take_stdin().ok_or("no standard input")?;
    // A client that is refused has closed its input by then.
    let _ = input.write_all(request(path).as_bytes());
    client.wait(LIMIT)
}

/// An answer, and an end in order behind it.
fn expect_page(finished: &Finished, status: &str, text: &str) -> Result<String, String> {
    let output = &finished.output;
    let is_right = output.contains(&format!("HTTP/1.1 {status}")) && output.contains(text);
    match (is_right, finished.ending) {
        (true, Ending::Exited(0)) => Ok(format!("{status}, closed in order")),
        _ => Err(format!("{}: {output}", finished.ending_text())),
    }
}

fn expect_refusal(finished: &Finished, alert: &str) -> Result<(), String> {
    let output = &finished.output;
    let is_refused = !output.contains("HTTP/1.1") && output.contains(alert);
    match (is_refused, finished.ending) {
        (true, Ending::Exited(code)) if code != 0 => Ok(()),
        _ => Err(format!("{}: {output}", finished.ending_text())),
    }
}
