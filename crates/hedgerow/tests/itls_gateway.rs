//! Mode `itls` as a whole: the program, a gateway that has another key for the device, and the device.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, dead_code)]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use hedgerow::core::{PeerId, Psk};
use hedgerow::devices::{Device as Simulated, DeviceServer, Lamp, Thermometer};
use hedgerow::gateway::{Config, Device, Gateway, Itls, Mode, Running, Security, User};
use hedgerow::net::{KeyStore, Node};
use hedgerow::presets;
use support::facade::{facade, key_entry};
use support::http::{http, http_get};
use support::{Finished, IDENTITY, KEY, hedgerow, loopback};
use tokio::runtime::Runtime;

const GATEWAY_KEY: &str = "the gateway's own key";
const TOKEN: &str = "0123456789abcdef";

struct Setup {
    runtime: Runtime,
    gateway: Option<Running>,
    itls: SocketAddr,
    authority: String,
    _node: Node,
}

impl Setup {
    fn new() -> Self {
        Self::with_device(Thermometer)
    }

    fn with_device(device: impl Simulated + Send + 'static) -> Self {
        let runtime = Runtime::new().unwrap();
        let keys = KeyStore::new();
        let gateway_key = Psk::new(GATEWAY_KEY.as_bytes()).unwrap();
        keys.insert("gateway", gateway_key, PeerId(1)).unwrap();
        let key = Psk::new(KEY.as_bytes()).unwrap().into_end_to_end().unwrap();
        keys.insert(IDENTITY, key, PeerId(2)).unwrap();
        let handler = DeviceServer::new(device);
        let node = Node::bind_server(loopback(), presets::device(), keys, handler);
        let node = runtime.block_on(node).unwrap();
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        let itls = Itls::from_pem(loopback(), certificate.as_bytes(), key.as_bytes()).unwrap();
        let security = Security::psk("gateway", GATEWAY_KEY.as_bytes()).unwrap();
        let device = Device::new("it", format!("coaps://{}", node.local_addr()), security)
            .with_modes(&[Mode::Terminate, Mode::Itls]);
        let other = Security::psk("gateway", b"one more key of its own").unwrap();
        let config = Config::default()
            .with_http(loopback())
            .with_device(device)
            .with_device(Device::new("shut", "coaps://127.0.0.1:9", other))
            .with_user(User::with_token("robot", TOKEN.as_bytes()))
            .with_itls(itls);
        let gateway = runtime.block_on(Gateway::start(config)).unwrap();
        let itls = gateway.itls_addr().unwrap();
        Self {
            runtime,
            itls,
            gateway: Some(gateway),
            authority: file(&format!("itls-authority-{}.pem", itls.port()), &certificate),
            _node: node,
        }
    }

    fn ask(&self, uri: &str, key: &str, token: &str, more: &[&str]) -> Finished {
        let shown = ["-u", IDENTITY, "-k", key, "--end-to-end"];
        let way = self.way(token);
        let way: Vec<_> = way.iter().map(String::as_str).collect();
        hedgerow(&[&["get", uri], &shown[..], &way, more].concat())
    }

    /// The flags that lead to the gateway.
    fn way(&self, token: &str) -> [String; 8] {
        let port = self.itls.port();
        let token = file(&format!("itls-token-{token}-{port}"), token);
        let gateway = format!("https://localhost:{port}");
        let trust = ["--gateway-authority", &self.authority];
        let [trust, authority] = trust.map(str::to_owned);
        let [via, mode, itls, file] =
            ["--via", "--mode", "itls", "--token-file"].map(str::to_owned);
        [via, gateway, mode, itls, file, token, trust, authority]
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            self.runtime.block_on(gateway.shutdown());
        }
    }
}

/// A private file of this test's own.
fn file(name: &str, content: &str) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).unwrap();
    #[cfg(unix)]
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn device_answers_inside_the_sessions_with_the_gateway() {
    let setup = Setup::new();
    let finished = setup.ask("coaps://it/temperature", KEY, TOKEN, &["--json"]);
    assert_eq!(finished.code(), 0, "{finished:?}");
    let report: serde_json::Value = serde_json::from_str(finished.stdout()).unwrap();
    assert_eq!(report["code"], "2.05");
    assert_eq!(report["security"]["mode"], "itls-psk");
    assert_eq!(report["security"]["suite"], "AES_128_CCM_8");
    assert_eq!(report["security"]["forward_secrecy"], true);
    assert_eq!(report["via"]["mode"], "itls");
    assert_eq!(report["via"]["carrier"], "tls");
}

#[test]
fn what_goes_wrong_on_the_way_is_told_apart() {
    let setup = Setup::new();
    let (it, wrong) = (
        "coaps://it/temperature",
        "0x00112233445566778899aabbccddeeff",
    );
    for (uri, key, token, code, told) in [
        (
            it,
            KEY,
            "another-token-of-somebody",
            5,
            "doesn't know this token",
        ),
        ("coaps://shut/", KEY, TOKEN, 7, "no device called shut"),
        ("coaps://nobody/", KEY, TOKEN, 7, "no device called nobody"),
        (it, wrong, TOKEN, 4, "didn't answer"),
    ] {
        let finished = setup.ask(uri, key, token, &["-B", "4"]);
        assert!(finished.stderr().contains(told), "{finished:?}");
        assert_eq!(finished.code(), code, "{finished:?}");
        // There is no DTLS between here and the device.
        assert!(!finished.stderr().contains("DTLS"), "{finished:?}");
        let is_the_devices = told == "didn't answer";
        // Nor has a port a part in it.
        assert!(!finished.stderr().contains("is the port"), "{finished:?}");
        let named = finished
            .stderr()
            .contains("(an inner session with a pre-shared key as");
        assert_eq!(named, is_the_devices, "{finished:?}");
    }
}

/// Any HTTP program reaches the device so: HTTP ends on the user's own machine.
#[test]
fn facade_maps_http_for_the_user_and_the_gateway_forwards_messages() {
    let setup = Setup::with_device(Lamp::new());
    let end_to_end = "end_to_end = true";
    let text = key_entry("coaps://it", IDENTITY, KEY, end_to_end)
        + &key_entry(
            "coaps://nobody",
            IDENTITY,
            "some other sixteen bytes",
            end_to_end,
        );
    let keys = file(&format!("itls-facade-{}.toml", setup.itls.port()), &text);
    let way = setup.way(TOKEN);
    let way: Vec<_> = way.iter().map(String::as_str).collect();
    let (_child, address, lines) = facade(&[&way[..], &["--keys", &keys]].concat(), 2);
    assert!(lines[0].contains("/devices/it/  coaps://it"), "{lines:?}");
    let text = "Content-Type: text/plain\r\n";
    let put = http(address, "PUT", "/devices/it/state", text, b"on");
    assert_eq!(put.status, 204, "{}", put.text());
    let get = http_get(address, "/devices/it/state");
    assert_eq!((get.status, get.text()), (200, "on"));
    let refused = http_get(address, "/devices/nobody/state");
    assert_eq!(refused.status, 502);
    let told = "the gateway before the device has no such device";
    assert!(refused.text().contains(told), "{}", refused.text());
    let statistics = setup.gateway.as_ref().unwrap().itls_statistics();
    // One flow serves both requests, and the gateway asked nothing itself.
    assert_eq!(statistics.opened, 1, "{statistics:?}");
}
