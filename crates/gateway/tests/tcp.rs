//! Devices over TCP and TLS behind the gateway.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::net::{SocketAddr, TcpListener};

use hedgerow_core::{PeerId, Psk, SecurityMode};
use hedgerow_gateway::{Config, Device, Security};
use hedgerow_net::{Handler, KeyStore, SecurityPolicy, StreamConfig, StreamServer};
use hedgerow_proxy::Methods;
use support::{KEY, Resources, get, history, loopback, numbered, request, short_config, start};

fn keys() -> KeyStore {
    let keys = KeyStore::new();
    keys.insert("gateway", Psk::new(KEY).unwrap(), PeerId(1))
        .unwrap();
    keys
}

async fn tls_device(at: SocketAddr, handler: impl Handler) -> StreamServer {
    let config = StreamConfig::default();
    StreamServer::bind(at, config, keys(), handler)
        .await
        .unwrap()
}

fn over_tls(name: &str, at: SocketAddr, key: &[u8]) -> Device {
    let security = Security::psk("gateway", key).unwrap();
    Device::new(name, format!("coaps+tcp://{at}"), security).with_methods(Methods::ALL)
}

#[tokio::test]
async fn devices_over_tls_and_in_clear_are_read_and_written() {
    let (resources, _told) = Resources::new();
    let tls = tls_device(loopback(), resources.clone()).await;
    let any = SecurityPolicy::new(SecurityMode::NoSec);
    let config = StreamConfig::default().with_security(any);
    let clear = StreamServer::bind_without_security(loopback(), config, resources);
    let clear = clear.await.unwrap();
    let uri = format!("coap+tcp://{}", clear.local_addr());
    let in_clear = Device::new("clear", uri.clone(), Security::None).with_methods(Methods::ALL);
    let secured = over_tls("secured", tls.local_addr(), KEY);
    let config = short_config().with_device(secured).with_device(in_clear);
    let gateway = start(config).await;
    let image = numbered(100_000);
    for name in ["secured", "clear"] {
        let at = |path: &str| format!("/devices/{name}/{path}");
        assert_eq!(get(&gateway, &at("temperature")).await.body, b"21.5");
        assert_eq!(get(&gateway, &at("history")).await.body, history());
        let http = gateway.http_addr().unwrap();
        let put = request(http, &format!("PUT {}", at("image")), &image).await;
        assert_eq!(put.status, 204, "{put:?}");
        assert_eq!(get(&gateway, &at("image")).await.body, image);
        assert_eq!(get(&gateway, &at("nothing")).await.status, 404);
    }
    assert_eq!(gateway.stream_statistics().established, 2);
    assert_eq!(gateway.statistics().established, 0);
    gateway.shutdown().await;
}

#[tokio::test]
async fn failures_over_tcp_are_told_by_cause() {
    let (resources, _told) = Resources::new();
    let tls = tls_device(loopback(), resources).await;
    let nobody = TcpListener::bind(loopback()).unwrap().local_addr().unwrap();
    let config = short_config()
        .with_device(over_tls("stranger", tls.local_addr(), b"another key"))
        .with_device(over_tls("nobody", nobody, b"a third key"));
    let gateway = start(config).await;
    let refused = get(&gateway, "/devices/stranger/temperature").await;
    assert_eq!(refused.status, 502, "{refused:?}");
    assert!(refused.problem().contains("/problems/credentials-refused"));
    let nobody = get(&gateway, "/devices/nobody/temperature").await;
    assert_eq!(nobody.status, 502, "{nobody:?}");
    assert!(nobody.problem().contains("can't be reached"), "{nobody:?}");
    gateway.shutdown().await;
}

/// The session of before is gone, and what may be repeated doesn't show it.
#[tokio::test]
async fn device_that_was_restarted_is_met_again() {
    let (resources, _told) = Resources::new();
    let device = tls_device(loopback(), resources.clone()).await;
    let at = device.local_addr();
    let gateway = start(short_config().with_device(over_tls("lamp", at, KEY))).await;
    assert_eq!(get(&gateway, "/devices/lamp/temperature").await.status, 200);
    device.close().await;
    let _again = tls_device(at, resources).await;
    assert_eq!(get(&gateway, "/devices/lamp/temperature").await.status, 200);
    assert_eq!(gateway.stream_statistics().established, 2);
    gateway.shutdown().await;
}

#[test]
fn security_and_scheme_have_to_fit() {
    let at = SocketAddr::from(([192, 0, 2, 7], 5_684));
    let without = Device::new("lamp", format!("coaps+tcp://{at}"), Security::None);
    let error = Config::default().with_device(without).check().unwrap_err();
    let expected = "no security for coaps+tcp://: expected security = \"multikey\" or";
    assert!(error.to_string().contains(expected), "{error}");
    let both = Config::default()
        .with_device(over_tls("one", at, KEY))
        .with_device(over_tls("other", at, b"another"));
    let error = both.check().unwrap_err();
    assert!(
        error.to_string().contains("the same destination"),
        "{error}"
    );
}
