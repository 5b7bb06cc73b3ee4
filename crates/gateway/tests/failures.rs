//! What a client is told when a device doesn't answer, and what happens then.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hedgerow_gateway::{Device, Security};
use hedgerow_proxy::Methods;
use support::{KEY, Resources, device, get, loopback, psk_device, request, short_config, start};
use tokio::net::UdpSocket;
use tokio::runtime::Runtime;

/// A device that can lose its power: its node ends without a word.
struct Powered {
    runtime: Runtime,
    at: SocketAddr,
}

impl Powered {
    fn on(at: SocketAddr, resources: Resources) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        // The node ends with its runtime, so its handle must not close it before.
        let node = tokio::task::block_in_place(|| runtime.block_on(device(at, resources)));
        let at = node.local_addr();
        std::mem::forget(node);
        Self { runtime, at }
    }

    fn off(self) {
        tokio::task::block_in_place(|| self.runtime.shutdown_timeout(Duration::from_secs(10)));
    }
}

#[tokio::test]
async fn wrong_key_is_502_and_says_so() {
    let (resources, _told) = Resources::new();
    let node = device(loopback(), resources).await;
    let at = node.local_addr();
    for (identity, key) in [("gateway", b"another key".as_slice()), ("stranger", KEY)] {
        let security = Security::psk(identity, key).unwrap();
        let lamp = Device::new("lamp", format!("coaps://{at}"), security);
        let gateway = start(short_config().with_device(lamp)).await;
        let reply = get(&gateway, "/devices/lamp/temperature").await;
        assert_eq!(reply.status, 502, "{reply:?}");
        let text = reply.problem();
        assert!(text.contains("/problems/credentials-refused"), "{text}");
        assert!(
            text.contains("the device refused the gateway's credentials, or did not"),
            "{text}"
        );
        assert!(
            !text.contains("stranger") && !text.contains("key"),
            "{text}"
        );
        gateway.shutdown().await;
    }
}

#[tokio::test]
async fn device_that_sleeps_is_504() {
    // A socket that is bound and never read: datagrams arrive and nothing comes back.
    let asleep = UdpSocket::bind(loopback()).await.unwrap();
    let at = asleep.local_addr().unwrap();
    let gateway = start(short_config().with_device(psk_device("lamp", at))).await;
    let reply = get(&gateway, "/devices/lamp/temperature").await;
    assert_eq!(reply.status, 504, "{reply:?}");
    assert!(
        reply.problem().contains("/problems/handshake-timeout"),
        "{reply:?}"
    );
}

#[tokio::test]
async fn device_without_security_that_sleeps_is_504() {
    let asleep = UdpSocket::bind(loopback()).await.unwrap();
    let uri = format!("coap://{}", asleep.local_addr().unwrap());
    let lamp = Device::new("lamp", uri, Security::None);
    let gateway = start(short_config().with_device(lamp)).await;
    let reply = get(&gateway, "/devices/lamp/temperature").await;
    assert_eq!(reply.status, 504, "{reply:?}");
    assert!(
        reply.problem().contains("/problems/device-timeout"),
        "{reply:?}"
    );
}

#[tokio::test]
async fn the_gateways_own_time_ends_a_request() {
    let (resources, mut told) = Resources::new();
    let node = device(loopback(), resources).await;
    let mut config = short_config().with_device(psk_device("lamp", node.local_addr()));
    config.coap.transmission.ack_timeout = Duration::from_millis(50);
    config.timeouts.request = Duration::from_secs(3);
    let gateway = start(config).await;
    // The handshake is over before the time counts.
    assert_eq!(get(&gateway, "/devices/lamp/temperature").await.status, 200);
    let reply = get(&gateway, "/devices/lamp/slow").await;
    assert!(told.try_recv().is_ok());
    assert_eq!(reply.status, 504, "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn device_that_restarted_is_met_again_and_reads_and_writes_are_sent_anew() {
    let (resources, _told) = Resources::new();
    let lamp = Powered::on(loopback(), resources.clone());
    let at = lamp.at;
    let gateway = start(short_config().with_device(psk_device("lamp", at))).await;
    assert_eq!(get(&gateway, "/devices/lamp/temperature").await.status, 200);
    lamp.off();
    let lamp = Powered::on(at, resources.clone());
    let reply = get(&gateway, "/devices/lamp/temperature").await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "21.5"));
    lamp.off();
    let lamp = Powered::on(at, resources);
    let put = request(gateway.http_addr().unwrap(), "PUT /devices/lamp/a", b"on").await;
    assert_eq!(put.status, 204, "{put:?}");
    assert_eq!(get(&gateway, "/devices/lamp/a").await.body, b"on");
    assert_eq!(gateway.statistics().established, 3);
    lamp.off();
}

#[tokio::test(flavor = "multi_thread")]
async fn post_that_a_restart_interrupted_is_504_and_not_sent_twice() {
    let (resources, _told) = Resources::new();
    let lamp = Powered::on(loopback(), resources.clone());
    let at = lamp.at;
    let gateway = start(short_config().with_device(psk_device("lamp", at))).await;
    assert_eq!(get(&gateway, "/devices/lamp/temperature").await.status, 200);
    lamp.off();
    let lamp = Powered::on(at, resources.clone());
    let reply = request(
        gateway.http_addr().unwrap(),
        "POST /devices/lamp/items",
        b"x",
    )
    .await;
    assert_eq!(reply.status, 504, "{reply:?}");
    assert!(
        reply.problem().contains("/problems/outcome-unknown"),
        "{reply:?}"
    );
    assert_eq!(resources.posts.load(Ordering::SeqCst), 0);
    let reply = request(
        gateway.http_addr().unwrap(),
        "POST /devices/lamp/items",
        b"x",
    )
    .await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(resources.posts.load(Ordering::SeqCst), 1);
    lamp.off();
}

#[tokio::test]
async fn device_that_closed_its_session_gets_a_new_one() {
    let (resources, _told) = Resources::new();
    let node = device(loopback(), resources.clone()).await;
    let at = node.local_addr();
    let gateway = start(short_config().with_device(psk_device("lamp", at))).await;
    assert_eq!(get(&gateway, "/devices/lamp/temperature").await.status, 200);
    node.close().await;
    let _node = device(at, resources).await;
    assert_eq!(get(&gateway, "/devices/lamp/temperature").await.status, 200);
    assert_eq!(gateway.statistics().established, 2);
}

#[tokio::test]
async fn name_that_does_not_resolve_is_502() {
    // RFC 6761 §6.4: no resolver knows a name below invalid.
    let security = Security::psk("gateway", KEY).unwrap();
    let lamp = Device::new("lamp", "coaps://lamp.invalid", security).with_methods(Methods::GET);
    let gateway = start(short_config().with_device(lamp)).await;
    let reply = get(&gateway, "/devices/lamp/temperature").await;
    assert_eq!(reply.status, 502, "{reply:?}");
    assert!(
        reply.problem().contains("/problems/name-not-resolved"),
        "{reply:?}"
    );
}

#[tokio::test]
async fn two_devices_are_never_one_address() {
    let (resources, _told) = Resources::new();
    let node = device(loopback(), resources).await;
    let at = node.local_addr();
    let other = Security::psk("gateway", b"another key").unwrap();
    let by_name = Device::new("other", format!("coaps://localhost:{}", at.port()), other);
    let config = short_config()
        .with_device(by_name)
        .with_device(psk_device("lamp", at));
    let gateway = start(config).await;
    assert_eq!(get(&gateway, "/devices/lamp/temperature").await.status, 200);
    // Under the lamp's session it would be answered, with the lamp's reading. If the name also
    // stands for ::1, nobody answers there.
    let reply = get(&gateway, "/devices/other/temperature").await;
    assert!(matches!(reply.status, 403 | 504), "{reply:?}");
}
