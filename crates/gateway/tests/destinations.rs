//! Nothing is asked that isn't configured, in whatever way a client spells it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use hedgerow_gateway::{CoapsOverHttp, Device, PathPattern, Security};
use support::{Resources, device, get, loopback, psk_device, request, short_config, start};
use tokio::net::UdpSocket;

#[tokio::test]
async fn configured_destination_is_reached_by_its_uri_in_any_spelling() {
    let (resources, _told) = Resources::new();
    let node = device(loopback(), resources).await;
    let (at, port) = (node.local_addr(), node.local_addr().port());
    let mut config = short_config()
        .with_device(psk_device("lamp", at).with_path(PathPattern::parse("/temperature").unwrap()));
    config.hc_devices.push("lamp".to_owned());
    let gateway = start(config).await;
    for path in [
        format!("/hc/coaps://{at}/temperature"),
        format!("/hc/COAPS://127.0.0.1:{port}/temperature"),
        format!("/hc/coaps://%5B::ffff:127.0.0.1%5D:{port}/temperature"),
        format!("coaps://{at}/temperature"),
    ] {
        let reply = get(&gateway, &path).await;
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (200, "21.5"),
            "{path}"
        );
    }
    // The list of paths holds whichever way the device is named.
    let reply = get(&gateway, &format!("/hc/coaps://{at}/history")).await;
    assert_eq!(reply.status, 403);
    assert_eq!(gateway.statistics().established, 1);
}

#[tokio::test]
async fn destinations_that_are_not_configured_get_not_one_datagram() {
    let victim = UdpSocket::bind(loopback()).await.unwrap();
    let (at, port) = (
        victim.local_addr().unwrap(),
        victim.local_addr().unwrap().port(),
    );
    let (resources, _told) = Resources::new();
    let node = device(loopback(), resources).await;
    // The device is known by name, and only that way.
    let config = short_config().with_device(psk_device("lamp", node.local_addr()));
    let gateway = start(config).await;
    for (path, status) in [
        (format!("/hc/coap://{at}/"), 403),
        (format!("/hc/coaps://{at}/"), 403),
        (format!("coap://{at}/"), 403),
        (
            format!("/hc/coaps://{}/temperature", node.local_addr()),
            403,
        ),
        (format!("/hc/coap://localhost:{port}/"), 403),
        (format!("/hc/coap://127.1:{port}/"), 400),
        (format!("/hc/coap://2130706433:{port}/"), 400),
        (format!("/hc/coap://0x7f000001:{port}/"), 400),
        (format!("/hc/coap://0177.0.0.1:{port}/"), 400),
        (format!("/hc/coap://%5B::ffff:127.0.0.1%5D:{port}/"), 403),
        (format!("/hc/coap://%5B::1%5D:{port}/"), 403),
        (format!("/hc/coap://lamp@127.0.0.1:{port}/"), 400),
        (format!("/hc/coap:/127.0.0.1:{port}/"), 400),
        (format!("/hc/http://127.0.0.1:{port}/"), 400),
        ("/hc/coap://224.0.1.187/.well-known/core".to_owned(), 403),
        ("/hc/coap://%5Bff02::fd%5D/.well-known/core".to_owned(), 403),
        (
            "/hc/coap://169.254.169.254/latest/meta-data".to_owned(),
            403,
        ),
        (
            format!("/devices/lamp/..%2f..%2fhc/coap:%2f%2f127.0.0.1:{port}/"),
            400,
        ),
        (
            format!("/devices/lamp/../../hc/coap://127.0.0.1:{port}/"),
            400,
        ),
        (format!("/devices/127.0.0.1:{port}/"), 404),
        (format!("http://127.0.0.1:{port}/devices/nobody/"), 404),
    ] {
        let reply = get(&gateway, &path).await;
        assert_eq!(reply.status, status, "{path}: {reply:?}");
    }
    let mut buffer = [0; 16];
    let nothing = victim.try_recv_from(&mut buffer).unwrap_err();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    // Not even the device that is known was asked.
    assert_eq!(gateway.statistics().datagrams_sent, 0);
}

#[tokio::test]
async fn coaps_is_for_https_only_where_it_is_configured_so() {
    let (resources, _told) = Resources::new();
    let node = device(loopback(), resources).await;
    let mut config = short_config().with_device(psk_device("lamp", node.local_addr()));
    config.http.as_mut().unwrap().coaps = CoapsOverHttp::Never;
    let gateway = start(config).await;
    let reply = get(&gateway, "/devices/lamp/temperature").await;
    assert_eq!(reply.status, 403);
    assert!(
        reply.problem().contains("/problems/https-needed"),
        "{reply:?}"
    );
    assert_eq!(gateway.statistics().datagrams_sent, 0);
}

#[tokio::test]
async fn device_without_security_is_asked_in_clear_and_only_then() {
    let socket = UdpSocket::bind(loopback()).await.unwrap();
    let uri = format!("coap://{}", socket.local_addr().unwrap());
    let gateway = start(short_config().with_device(Device::new("lamp", uri, Security::None))).await;
    let at = gateway.http_addr().unwrap();
    let asked = tokio::spawn(request(at, "GET /devices/lamp/light?x=1", b""));
    let mut buffer = [0; 1_152];
    let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
    let message = hedgerow_coap::Message::decode(&buffer[..len]).unwrap();
    let path = message
        .option(hedgerow_coap::OptionNumber::URI_PATH)
        .unwrap();
    assert_eq!(path.value(), b"light");
    // Eight bytes that nobody can guess (RFC 7252 §11.4).
    assert_eq!(message.token().as_bytes().len(), 8);
    // 2.05, acknowledged and piggybacked: version 1, type 2, the token's length.
    let mut answer = vec![0x68, 0x45];
    answer.extend_from_slice(&buffer[2..12]);
    answer.extend_from_slice(b"\xffon");
    socket.send_to(&answer, from).await.unwrap();
    let reply = asked.await.unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (200, "on"));
}
