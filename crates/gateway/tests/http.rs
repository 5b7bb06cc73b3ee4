//! An HTTP client reads and writes devices through the gateway.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use hedgerow_gateway::{Config, PathPattern, Running};
use hedgerow_net::Node;
use hedgerow_proxy::Methods;
use support::{
    Reply, Resources, device, get, history, loopback, numbered, psk_device, request, short_config,
    start,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn with_device(change: impl FnOnce(Config) -> Config) -> (Running, Node, Resources) {
    let (resources, _told) = Resources::new();
    let node = device(loopback(), resources.clone()).await;
    let config = short_config().with_device(psk_device("meter", node.local_addr()));
    (start(change(config)).await, node, resources)
}

async fn send(gateway: &Running, head: &str, body: &[u8]) -> Reply {
    request(gateway.http_addr().unwrap(), head, body).await
}

#[tokio::test]
async fn get_answers_the_reading_with_its_type() {
    let (gateway, _node, _) = with_device(|config| config).await;
    let reply = get(&gateway, "/devices/meter/temperature").await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "21.5"));
    assert_eq!(
        reply.field("content-type"),
        Some("text/plain;charset=utf-8")
    );
    assert_eq!(reply.field("x-content-type-options"), Some("nosniff"));
    let reply = get(&gateway, "/devices/meter/temperature?unit=F").await;
    assert_eq!(reply.text(), "70.7");
    let reply = send(&gateway, "HEAD /devices/meter/temperature", b"").await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    assert_eq!(reply.field("content-length"), Some("4"));
    // One session serves all of them.
    assert_eq!(gateway.statistics().established, 1);
    gateway.shutdown().await;
}

#[tokio::test]
async fn put_get_delete_and_post_change_what_they_should() {
    let (gateway, _node, resources) = with_device(|config| config).await;
    let reply = send(&gateway, "PUT /devices/meter/note", b"hello").await;
    assert_eq!(reply.status, 204);
    assert_eq!(get(&gateway, "/devices/meter/note").await.body, b"hello");
    assert_eq!(
        send(&gateway, "DELETE /devices/meter/note", b"")
            .await
            .status,
        204
    );
    assert_eq!(get(&gateway, "/devices/meter/note").await.status, 404);
    let reply = send(&gateway, "POST /devices/meter/items", b"").await;
    assert_eq!(reply.status, 201);
    assert_eq!(reply.field("location"), Some("/devices/meter/items/1"));
    assert_eq!(resources.posts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn bodies_pass_block_by_block_in_both_directions() {
    let (gateway, _node, _) = with_device(|config| config).await;
    assert_eq!(
        get(&gateway, "/devices/meter/history").await.body,
        history()
    );
    let image = numbered(100_000);
    assert_eq!(
        send(&gateway, "PUT /devices/meter/image", &image)
            .await
            .status,
        204
    );
    assert_eq!(get(&gateway, "/devices/meter/image").await.body, image);
}

#[tokio::test]
async fn what_a_device_refuses_keeps_its_meaning() {
    let (gateway, _node, _) = with_device(|config| config).await;
    let reply = get(&gateway, "/devices/meter/nothing").await;
    assert_eq!(reply.status, 404);
    assert!(
        reply.problem().contains("the device answered 4.04"),
        "{reply:?}"
    );
    // RFC 8075 §7, note 7: 405 would need a list of methods that nobody has.
    let reply = send(&gateway, "PUT /devices/meter/temperature", b"1").await;
    assert_eq!(reply.status, 400);
    assert!(
        reply
            .head
            .starts_with("HTTP/1.1 400 CoAP server returned 4.05"),
        "{reply:?}"
    );
    let json = "POST /devices/meter/json\r\ncontent-type: application/json";
    assert_eq!(send(&gateway, json, b"{}").await.status, 204);
    let cbor = "POST /devices/meter/json\r\ncontent-type: application/cbor";
    assert_eq!(send(&gateway, cbor, b"\xa0").await.status, 415);
    let unknown = "POST /devices/meter/json\r\ncontent-type: application/x-unknown";
    let reply = send(&gateway, unknown, b"{}").await;
    assert_eq!(reply.status, 415);
    assert!(reply.problem().contains("/problems/media-type"));
}

#[tokio::test]
async fn device_is_asked_for_each_format_that_the_client_takes() {
    let (gateway, _node, _) = with_device(|config| config).await;
    let both = "GET /devices/meter/formats\r\naccept: application/json, text/plain;q=0.5";
    let reply = send(&gateway, both, b"").await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "no JSON"));
    let json = "GET /devices/meter/formats\r\naccept: application/json";
    assert_eq!(send(&gateway, json, b"").await.status, 406);
}

#[tokio::test]
async fn only_configured_methods_paths_and_devices_are_reached() {
    let (resources, _told) = Resources::new();
    let node = device(loopback(), resources).await;
    let meter = psk_device("meter", node.local_addr())
        .with_methods(Methods::GET)
        .with_path(PathPattern::parse("/temperature").unwrap());
    let gateway = start(short_config().with_device(meter)).await;
    assert_eq!(
        get(&gateway, "/devices/meter/temperature").await.status,
        200
    );
    let reply = get(&gateway, "/devices/meter/history").await;
    assert_eq!(reply.status, 403);
    assert!(reply.problem().contains("/problems/path-denied"));
    let reply = send(&gateway, "PUT /devices/meter/temperature", b"1").await;
    assert_eq!(
        (reply.status, reply.field("allow")),
        (405, Some("GET, HEAD"))
    );
    let reply = get(&gateway, "/devices/other/temperature").await;
    assert_eq!(reply.status, 404);
    assert!(
        reply
            .problem()
            .contains("no device is configured under this name")
    );
    let reply = send(&gateway, "OPTIONS /devices/meter/temperature", b"").await;
    assert_eq!(reply.status, 501);
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused() {
    let (gateway, _node, _) = with_device(|mut config| {
        config.limits.request_body = 1_000;
        config.limits.response_body = 20_000;
        config
    })
    .await;
    // The client waits for a 100 that never comes, and its body is never read.
    let head = "PUT /devices/meter/a\r\nexpect: 100-continue\r\ncontent-length: 1001";
    let reply = send(&gateway, head, b"").await;
    assert_eq!(reply.status, 413, "{reply:?}");
    assert!(reply.problem().contains("longer than 1000 bytes"));
    let chunk = format!("3e9\r\n{}\r\n0\r\n\r\n", "a".repeat(1_001));
    let mut stream = TcpStream::connect(gateway.http_addr().unwrap())
        .await
        .unwrap();
    let head = "PUT /devices/meter/a HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                transfer-encoding: chunked\r\n\r\n";
    stream
        .write_all(format!("{head}{chunk}").as_bytes())
        .await
        .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
    assert_eq!(
        send(&gateway, "PUT /devices/meter/a", &[b'a'; 1_000])
            .await
            .status,
        204
    );
    let reply = get(&gateway, "/devices/meter/history").await;
    assert_eq!(reply.status, 502);
    assert!(
        reply.problem().contains("longer than 20000 bytes"),
        "{reply:?}"
    );
}

#[tokio::test]
async fn more_than_the_limit_at_the_same_time_comes_again_later() {
    for (requests, per_device, text) in [(8, 1, "this device"), (1, 1, "the gateway has as many")] {
        let (resources, mut told) = Resources::new();
        let node = device(loopback(), resources.clone()).await;
        let mut config = short_config().with_device(psk_device("meter", node.local_addr()));
        config.limits.requests = requests;
        config.limits.requests_per_device = per_device;
        let gateway = start(config).await;
        let at = gateway.http_addr().unwrap();
        let first = tokio::spawn(request(at, "GET /devices/meter/slow", b""));
        told.recv().await.unwrap();
        let reply = get(&gateway, "/devices/meter/temperature").await;
        assert_eq!(reply.status, 503);
        assert!(reply.field("retry-after").is_some(), "{reply:?}");
        assert!(reply.problem().contains(text), "{reply:?}");
        resources.go_on.add_permits(1);
        assert_eq!(first.await.unwrap().text(), "at last");
        assert_eq!(
            get(&gateway, "/devices/meter/temperature").await.status,
            200
        );
    }
}

#[tokio::test]
async fn client_that_goes_away_frees_its_place() {
    let (resources, mut told) = Resources::new();
    let node = device(loopback(), resources).await;
    let mut config = short_config().with_device(psk_device("meter", node.local_addr()));
    config.limits.requests = 1;
    let gateway = start(config).await;
    let mut stream = TcpStream::connect(gateway.http_addr().unwrap())
        .await
        .unwrap();
    let ask = b"GET /devices/meter/slow HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    told.recv().await.unwrap();
    drop(stream);
    while get(&gateway, "/devices/meter/nothing").await.status == 503 {}
    assert_eq!(gateway.statistics().requests, 0);
}

#[tokio::test]
async fn slow_body_keeps_nobody_else_from_the_device() {
    let (gateway, _node, _) = with_device(|mut config| {
        config.limits.requests = 1;
        config.limits.requests_per_device = 1;
        config
    })
    .await;
    let mut slow = TcpStream::connect(gateway.http_addr().unwrap())
        .await
        .unwrap();
    let head = b"PUT /devices/meter/a HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
                 content-length: 5\r\n\r\n";
    slow.write_all(head).await.unwrap();
    // The gateway asks for the body, so it has got as far as to wait for it.
    let mut start = [0; 12];
    slow.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 100");
    let reply = get(&gateway, "/devices/meter/temperature").await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn page_and_health_are_answered_without_a_device() {
    let config = short_config()
        .with_device(psk_device("meter", "127.0.0.1:9".parse().unwrap()).with_example("/history"));
    let gateway = start(config).await;
    let reply = get(&gateway, "/").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.field("content-type"), Some("text/html;charset=utf-8"));
    let line = "<pre>curl http://localhost/devices/meter/history</pre>";
    assert!(reply.text().contains(line), "{}", reply.text());
    assert!(!reply.text().contains("sixteen byte key"));
    let reply = get(&gateway, "/healthz").await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "ok\n"));
    assert_eq!(send(&gateway, "POST /", b"x").await.status, 405);
    assert_eq!(get(&gateway, "/favicon.ico").await.status, 404);
}

#[tokio::test]
async fn pages_of_strangers_are_kept_out() {
    let (gateway, _node, resources) = with_device(|config| config).await;
    let reply = send(&gateway, "GET /\r\nhost: evil.example", b"").await;
    assert_eq!(reply.status, 421);
    assert!(reply.problem().contains("http.host_names"));
    let post = "POST /devices/meter/items\r\norigin: http://evil.example";
    let reply = send(&gateway, post, b"").await;
    assert_eq!(reply.status, 403);
    assert!(reply.problem().contains("/problems/cross-site"));
    assert_eq!(resources.posts.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn slow_clients_are_cut_off() {
    let (gateway, _node, _) = with_device(|mut config| {
        config.timeouts.head = Duration::from_millis(50);
        config
    })
    .await;
    let at = gateway.http_addr().unwrap();
    for head in ["", "GET / HTTP/1.1\r\nhost: local"] {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
    // Another gateway, since a head that comes after 50 ms would be too late as well.
    let (gateway, _node, _) = with_device(|mut config| {
        config.timeouts.body = Duration::from_millis(50);
        config
    })
    .await;
    let head = "PUT /devices/meter/a\r\ncontent-length: 10";
    let reply = send(&gateway, head, b"").await;
    assert_eq!(reply.status, 408);
}

#[tokio::test]
async fn connections_over_the_limit_are_closed() {
    let (gateway, _node, _) = with_device(|mut config| {
        config.limits.connections = 1;
        config
    })
    .await;
    let at = gateway.http_addr().unwrap();
    let mut first = TcpStream::connect(at).await.unwrap();
    let ask = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    first.write_all(ask).await.unwrap();
    let mut start = [0; 12];
    first.read_exact(&mut start).await.unwrap();
    let mut second = TcpStream::connect(at).await.unwrap();
    let mut rest = Vec::new();
    // Closed in order or with a reset, but never answered.
    let _ = second.write_all(ask).await;
    let _ = second.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn shutdown_lets_requests_under_way_end() {
    let (resources, mut told) = Resources::new();
    let node = device(loopback(), resources.clone()).await;
    let config = short_config().with_device(psk_device("meter", node.local_addr()));
    let gateway = start(config).await;
    let at = gateway.http_addr().unwrap();
    let slow = tokio::spawn(request(at, "GET /devices/meter/slow", b""));
    told.recv().await.unwrap();
    let shutdown = tokio::spawn(gateway.shutdown());
    // The listener is gone before the request has ended.
    while TcpStream::connect(at).await.is_ok() {
        tokio::task::yield_now().await;
    }
    resources.go_on.add_permits(1);
    assert_eq!(slow.await.unwrap().text(), "at last");
    shutdown.await.unwrap();
}

#[tokio::test]
async fn requests_that_outlast_a_shutdown_are_dropped() {
    let (resources, mut told) = Resources::new();
    let node = device(loopback(), resources).await;
    let mut config = short_config().with_device(psk_device("meter", node.local_addr()));
    config.timeouts.shutdown = Duration::from_millis(50);
    let gateway = start(config).await;
    let at = gateway.http_addr().unwrap();
    let mut stream = TcpStream::connect(at).await.unwrap();
    let ask = b"GET /devices/meter/slow HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    told.recv().await.unwrap();
    gateway.shutdown().await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn connections_of_one_client_are_bounded() {
    let (gateway, _node, _) = with_device(|mut config| {
        config.limits.connections_per_client = 1;
        config
    })
    .await;
    let address = gateway.http_addr().unwrap();
    let mut first = TcpStream::connect(address).await.unwrap();
    let question = b"GET /devices/meter/temperature HTTP/1.1\r\nHost: localhost\r\n\r\n";
    first.write_all(question).await.unwrap();
    assert_eq!(first.read_u8().await.unwrap(), b'H');
    // Closed at once, before anything is asked.
    let mut second = TcpStream::connect(address).await.unwrap();
    assert_eq!(second.read(&mut [0]).await.unwrap_or(0), 0);
    let statistics = gateway.http_statistics();
    assert_eq!((statistics.busy, statistics.busy_client), (0, 1));
    gateway.shutdown().await;
}
