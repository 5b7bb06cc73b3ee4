//! The whole path in one process: HTTP, the gateway, DTLS, a device.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::net::SocketAddr;

use hedgerow::devices::{Device, Lamp, Meter, Thermometer};
use hedgerow::gateway::{Config, Device as Behind, Gateway, Running, Security};
use hedgerow::proxy::Methods;
use support::http::{http, http_get};
use support::{IDENTITY, KEY, Server, loopback};
use tokio::runtime::Runtime;

struct Setup {
    runtime: Runtime,
    gateway: Option<Running>,
    http: SocketAddr,
    _device: Server,
}

impl Setup {
    /// Puts a gateway that knows `key` in front of a device, by the name `it`.
    fn with_key(device: impl Device + Send + 'static, key: &str) -> Self {
        let device = Server::device(device);
        let security = Security::psk(IDENTITY, key.as_bytes()).unwrap();
        let behind = Behind::new("it", device.uri(""), security).with_methods(Methods::ALL);
        let mut config = Config::default().with_http(loopback()).with_device(behind);
        config.dtls.timers.deadline = std::time::Duration::from_secs(2);
        let runtime = Runtime::new().unwrap();
        let gateway = runtime.block_on(Gateway::start(config)).unwrap();
        let http = gateway.http_addr().unwrap();
        Self {
            runtime,
            gateway: Some(gateway),
            http,
            _device: device,
        }
    }

    fn new(device: impl Device + Send + 'static) -> Self {
        Self::with_key(device, KEY)
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            self.runtime.block_on(gateway.shutdown());
        }
    }
}

#[test]
fn http_client_reads_a_device() {
    let setup = Setup::new(Thermometer);
    let read = http_get(setup.http, "/devices/it/temperature");
    assert_eq!((read.status, read.text()), (200, "21.0"));
    assert!(read.head.contains("content-type: text/plain;charset=utf-8"));
    assert!(read.head.contains("cache-control: max-age=10"));
    let accept = "Accept: application/json\r\n";
    let json = http(setup.http, "GET", "/devices/it/temperature", accept, b"");
    assert_eq!(json.text(), r#"{"temperature":21.0,"unit":"Cel"}"#);
    let accept = "Accept: image/png\r\n";
    let image = http(setup.http, "GET", "/devices/it/temperature", accept, b"");
    assert_eq!(image.status, 406);
    assert_eq!(http_get(setup.http, "/devices/it/nothing").status, 404);
    let put = http(setup.http, "PUT", "/devices/it/temperature", "", b"");
    // RFC 8075 §7: a method that the device lacks is no 405, which would need a list of methods.
    assert_eq!(put.status, 400);
    assert_eq!(http_get(setup.http, "/devices/other/x").status, 404);
}

#[test]
fn http_client_writes_a_device_on_its_own_terms() {
    let setup = Setup::new(Lamp::new());
    let text = "Content-Type: text/plain\r\n";
    let state = "/devices/it/state";
    assert_eq!(http(setup.http, "PUT", state, text, b"on").status, 204);
    let on = http_get(setup.http, state);
    assert_eq!(on.text(), "on");
    let nonsense = http(setup.http, "PUT", state, text, b"perhaps");
    assert_eq!(nonsense.status, 400);
    assert!(nonsense.text().starts_with("expected on, off"));
    let tag = on.head.split("etag: ").nth(1).unwrap();
    let tag = tag.split("\r\n").next().unwrap();
    let if_on = format!("{text}If-Match: {tag}\r\n");
    assert_eq!(http(setup.http, "PUT", state, &if_on, b"off").status, 204);
    assert_eq!(http(setup.http, "PUT", state, &if_on, b"off").status, 412);
    let toggled = http(setup.http, "POST", "/devices/it/toggle", "", b"");
    assert_eq!((toggled.status, toggled.text()), (200, "on"));
}

#[test]
fn bodies_of_many_blocks_pass_both_ways() {
    let setup = Setup::new(Meter::new());
    let history = http_get(setup.http, "/devices/it/history");
    assert_eq!(history.status, 200);
    assert!(history.body.len() > 30_000);
    assert_eq!(history.text().lines().count(), 1_601);
    let image: Vec<u8> = (0..100_000_u32)
        .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1])
        .collect();
    let octets = "Content-Type: application/octet-stream\r\n";
    let put = http(setup.http, "PUT", "/devices/it/firmware", octets, &image);
    assert_eq!(put.status, 201);
    let mut hash = hedgerow::core::CryptoProvider::sha256(&hedgerow::crypto_soft::SoftCrypto);
    hedgerow::core::Sha256::update(&mut hash, &image);
    let digest = hedgerow::core::Sha256::finish(hash);
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let told = http_get(setup.http, "/devices/it/firmware");
    assert_eq!(told.text(), format!("{digest} 100000"));
}

#[test]
fn device_that_refuses_the_gateways_key_is_a_bad_gateway() {
    let setup = Setup::with_key(Thermometer, "a key of another device");
    let refused = http_get(setup.http, "/devices/it/temperature");
    assert!(matches!(refused.status, 502 | 504), "{refused:?}");
    assert!(refused.head.contains("application/problem+json"));
    assert!(!refused.text().contains("21.0"));
}
