//! Mode `itls` as a whole: the program, a gateway that has another key for the device, and the device.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, dead_code)]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use hedgerow::core::{PeerId, Psk};
use hedgerow::devices::{DeviceServer, Thermometer};
use hedgerow::gateway::{Config, Device, Gateway, Itls, Mode, Running, Security, User};
use hedgerow::net::{KeyStore, Node};
use hedgerow::presets;
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
        let runtime = Runtime::new().unwrap();
        let keys = KeyStore::new();
        let gateway_key = Psk::new(GATEWAY_KEY.as_bytes()).unwrap();
        keys.insert("gateway", gateway_key, PeerId(1)).unwrap();
        let key = Psk::new(KEY.as_bytes()).unwrap().into_end_to_end().unwrap();
        keys.insert(IDENTITY, key, PeerId(2)).unwrap();
        let handler = DeviceServer::new(Thermometer);
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
        let gateway = format!("https://localhost:{}", self.itls.port());
        let token = file(&format!("itls-token-{token}-{}", self.itls.port()), token);
        let shown = ["-u", IDENTITY, "-k", key, "--end-to-end"];
        let way = ["--via", &gateway, "--mode", "itls", "--token-file", &token];
        let trust = ["--gateway-authority", &self.authority];
        hedgerow(&[&["get", uri], &shown[..], &way[..], &trust[..], more].concat())
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
        let named = finished
            .stderr()
            .contains("(an inner session with a pre-shared key as");
        assert_eq!(named, is_the_devices, "{finished:?}");
    }
}
