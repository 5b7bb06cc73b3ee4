//! Connections in memory and in paused time: no client keeps what it doesn't use.

use std::net::Ipv4Addr;

use http::StatusCode;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{self as client, SendRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::Instant;

use super::*;
use crate::config::{Config, Device, Security};
use crate::registry::Registry;
use crate::site::HostNames;

const SOMEBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const SOMEBODY_ELSE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

struct Gateway {
    front: Arc<Front>,
    service: Arc<Service>,
    stop: watch::Sender<bool>,
}

impl Gateway {
    /// A gateway whose page is longer than what HTTP/2 sends unasked, and whose devices nobody asks.
    async fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        for port in 1..=600 {
            let uri = format!("coap://192.0.2.7:{port}");
            let device = Device::new(format!("device-{port}"), uri, Security::None);
            config = config.with_device(device.with_methods(hedgerow_proxy::Methods::ALL));
        }
        change(&mut config);
        let proxy = Arc::new(config.proxy().unwrap());
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let node = hedgerow_net::Node::bind_client(local, hedgerow_net::NodeConfig::default());
        let node = node.await.unwrap();
        let limits = config.limits;
        let registry = Registry::new(config.devices, Arc::clone(&proxy), node, 16, None).unwrap();
        Self {
            front: Arc::new(Front {
                is_https: false,
                opens_tunnels: true,
                proxy,
                host_names: HostNames::Any,
                base: "http://localhost".to_owned(),
            }),
            service: Arc::new(Service {
                tunnels: crate::tunnels::Tunnels::new(config.users, config.tunnel, None, None),
                registry: Arc::new(registry),
                timeouts: config.timeouts,
                places: Arc::new(Semaphore::new(limits.requests)),
                bodies: Semaphore::new(limits.requests),
                clients: Arc::new(hedgerow_net::Shares::new(limits.requests_per_client)),
            }),
            stop: watch::Sender::new(false),
        }
    }

    fn connection(&self, client: IpAddr) -> Connection {
        Connection {
            security: Protection::None,
            front: Arc::clone(&self.front),
            service: Arc::clone(&self.service),
            client,
            psk_client: None,
            stop: self.stop.subscribe(),
        }
    }

    fn connect_http1(&self, client: IpAddr) -> (DuplexStream, JoinHandle<io::Result<()>>) {
        let (near, far) = duplex(1_024);
        let connection = self.connection(client);
        let served = tokio::spawn(async move { connection.serve_http1(far).await });
        (near, served)
    }

    fn connect_http2(&self) -> (DuplexStream, JoinHandle<io::Result<()>>) {
        let (near, far) = duplex(1_024);
        let connection = self.connection(SOMEBODY);
        let served = tokio::spawn(async move { connection.serve_http2(far).await });
        (near, served)
    }

    /// A client that lets 100 bytes of each answer come unasked.
    async fn http2_client(&self) -> (SendRequest<Empty<Bytes>>, JoinHandle<io::Result<()>>) {
        let (near, served) = self.connect_http2();
        let (sender, connection) = client::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(100)
            .handshake(TokioIo::new(near))
            .await
            .unwrap();
        tokio::spawn(connection);
        (sender, served)
    }

    fn free_places(&self) -> usize {
        self.service.places.available_permits()
    }
}

fn get_page() -> Request<Empty<Bytes>> {
    let uri = "http://localhost/";
    Request::get(uri).body(Empty::new()).unwrap()
}

/// Asks for a device with a body that doesn't come, and returns what is answered first.
async fn put_slowly(gateway: &Gateway, client: IpAddr) -> (String, DuplexStream) {
    let (mut stream, _) = gateway.connect_http1(client);
    let head = b"PUT /devices/device-1/a HTTP/1.1\r\nhost: localhost\r\n\
                 expect: 100-continue\r\ncontent-length: 5\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let mut status = vec![0; 12];
    stream.read_exact(&mut status).await.unwrap();
    (String::from_utf8(status).unwrap(), stream)
}

#[tokio::test(start_paused = true)]
async fn bodies_that_do_not_come_take_no_place_of_requests() {
    let gateway = Gateway::new(|config| config.limits.requests = 2).await;
    let (first, stream) = put_slowly(&gateway, SOMEBODY).await;
    let (second, _stream) = put_slowly(&gateway, SOMEBODY).await;
    assert_eq!([&*first, &*second], ["HTTP/1.1 100"; 2]);
    assert_eq!(gateway.free_places(), 2);
    // They are bounded all the same.
    let (third, _stream) = put_slowly(&gateway, SOMEBODY_ELSE).await;
    assert_eq!(third, "HTTP/1.1 503");
    // A client that goes away, or is too slow, makes room.
    drop(stream);
    while gateway.service.bodies.available_permits() == 0 {
        yield_now().await;
    }
    let (fourth, _stream) = put_slowly(&gateway, SOMEBODY_ELSE).await;
    assert_eq!(fourth, "HTTP/1.1 100");
    tokio::time::sleep(gateway.service.timeouts.body * 2).await;
    assert_eq!(gateway.service.bodies.available_permits(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_client_leaves_room_for_others() {
    let gateway = Gateway::new(|config| config.limits.requests_per_client = 1).await;
    let (first, stream) = put_slowly(&gateway, SOMEBODY).await;
    let (second, _stream) = put_slowly(&gateway, SOMEBODY).await;
    let (other, _stream) = put_slowly(&gateway, SOMEBODY_ELSE).await;
    assert_eq!(
        [&*first, &*second, &*other],
        ["HTTP/1.1 100", "HTTP/1.1 429", "HTTP/1.1 100"]
    );
    drop(stream);
    while put_slowly(&gateway, SOMEBODY).await.0 != "HTTP/1.1 100" {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn http2_answer_keeps_its_place_until_it_is_read_or_given_up() {
    let gateway = Gateway::new(|config| config.limits.requests = 1).await;
    let (mut sender, _served) = gateway.http2_client().await;
    for is_read in [true, false] {
        let unread = sender.send_request(get_page()).await.unwrap();
        assert_eq!(unread.status(), StatusCode::OK);
        let refused = sender.send_request(get_page()).await.unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(gateway.free_places(), 0);
        if is_read {
            let page = unread.collect().await.unwrap().to_bytes();
            assert!(page.len() > 65_535, "{}", page.len());
        } else {
            drop(unread);
        }
        while gateway.free_places() == 0 {
            yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn http2_client_that_does_not_read_is_cut_off() {
    let gateway = Gateway::new(|_| ()).await;
    let all = gateway.free_places();
    let (mut sender, served) = gateway.http2_client().await;
    let start = Instant::now();
    let _unread = sender.send_request(get_page()).await.unwrap();
    assert_eq!(gateway.free_places(), all - 1);
    // Whatever else it asks for and reads meanwhile.
    let others = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let Ok(answer) = sender.send_request(get_page()).await else {
                return;
            };
            let _ = answer.collect().await;
        }
    });
    let error = served.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(start.elapsed(), gateway.service.timeouts.answer);
    others.await.unwrap();
    while gateway.free_places() < all {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn http1_client_that_does_not_read_is_cut_off() {
    let gateway = Gateway::new(|_| ()).await;
    let all = gateway.free_places();
    let (mut stream, served) = gateway.connect_http1(SOMEBODY);
    let start = Instant::now();
    let head = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    assert_eq!(gateway.free_places(), all - 1);
    let error = served.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(start.elapsed(), gateway.service.timeouts.answer);
    assert_eq!(gateway.free_places(), all);
}

#[tokio::test(start_paused = true)]
async fn http2_client_that_only_pings_is_cut_off() {
    let gateway = Gateway::new(|_| ()).await;
    let (mut stream, served) = gateway.connect_http2();
    let start = Instant::now();
    let pings = tokio::spawn(async move {
        // The preface and empty SETTINGS (RFC 9113 §3.4), then PING (§6.7) after PING.
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        stream.write_all(preface).await.unwrap();
        let ping = b"\0\0\x08\x06\0\0\0\0\0alive???";
        let mut answers = [0; 256];
        while stream.write_all(ping).await.is_ok() {
            if !matches!(stream.read(&mut answers).await, Ok(1..)) {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let hour = Duration::from_secs(3_600);
    let ended = timeout(hour, served).await.expect("an end");
    assert!(ended.unwrap().is_err());
    // Once to be told, and once to end.
    assert_eq!(start.elapsed(), 2 * gateway.service.timeouts.head);
    pings.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn requests_keep_a_connection() {
    let gateway = Gateway::new(|_| ()).await;
    let (mut sender, served) = gateway.http2_client().await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(14)).await;
        let answer = sender.send_request(get_page()).await.unwrap();
        answer.collect().await.unwrap();
    }
    assert!(!served.is_finished());
}
