//! UDP tunnels over HTTP/1.1 and HTTP/2, with clients that pump datagrams by hand.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hedgerow_coap::Code;
use hedgerow_core::{KeyPurpose, PeerId, Psk};
use hedgerow_gateway::{
    CoapsOverHttp, Config, Device, Https, HttpsClient, HttpsPsk, Mode, Running, Security, User,
};
use hedgerow_handshake::Settings;
use hedgerow_net::{
    Credentials, ForwardSecrecy, KeyStore, Node, NodeConfig, RequestMessage, SecurityPolicy,
    Target, TlsStream,
};
use hedgerow_proxy::{TunnelDecoder, TunnelEvent, encode_udp_capsule};
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use support::lines::Lines;
use support::{KEY, Reply, Resources, get, loopback, psk_device, request, short_config, start};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, copy_bidirectional,
    duplex, split,
};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

const TOKEN: &str = "0123456789abcdef";

/// A device that is reached end to end alone.
fn lamp(at: SocketAddr) -> Device {
    let device = Device::new("lamp", format!("coaps://{at}"), Security::EndToEnd);
    device.with_modes(&[Mode::Tunnel])
}

fn config(at: SocketAddr) -> Config {
    let robot = User::with_token("robot", TOKEN.as_bytes());
    let alice = User::with_password("alice", b"correct horse");
    let config = short_config().with_user(robot).with_user(alice);
    config.with_device(lamp(at))
}

async fn udp() -> UdpSocket {
    UdpSocket::bind(loopback()).await.unwrap()
}

fn head(target: &str, fields: &str) -> String {
    format!(
        "GET /.well-known/masque/udp/{target}/\r\nhost: localhost\r\nupgrade: connect-udp\r\n\
         capsule-protocol: ?1{fields}"
    )
}

/// Asks as a client does that isn't served: `support::request` wants the connection closed.
async fn refusal(gateway: &Running, target: &str, fields: &str) -> Reply {
    let head = head(target, &format!("\r\nconnection: upgrade{fields}"));
    let reply = request(gateway.http_addr().unwrap(), &head, b"");
    // A tunnel that is opened by mistake would be waited for until it is idle.
    let reply = tokio::time::timeout(Duration::from_secs(10), reply).await;
    reply.expect("an answer, and no tunnel")
}

/// The stream of a tunnel.
struct Client<S> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    decoder: TunnelDecoder,
    unread: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite> Client<S> {
    fn new(stream: S) -> Self {
        let (reader, writer) = split(stream);
        Self {
            reader,
            writer,
            decoder: TunnelDecoder::new(65_527),
            unread: Vec::new(),
        }
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.writer.write_all(bytes).await.unwrap();
        self.writer.flush().await.unwrap();
    }

    async fn send(&mut self, payload: &[u8]) {
        let mut capsule = vec![0; payload.len() + 16];
        let len = encode_udp_capsule(payload, &mut capsule).unwrap();
        self.write(&capsule[..len]).await;
    }

    /// The next payload; `None` at the end of the stream.
    async fn receive(&mut self) -> Option<Vec<u8>> {
        loop {
            let mut bytes = self.unread.as_slice();
            let event = self.decoder.next_event(&mut bytes).unwrap();
            let payload = match event {
                Some(TunnelEvent::UdpPayload(payload)) => Some(payload.to_vec()),
                Some(other) => panic!("{other:?}"),
                None => None,
            };
            self.unread = bytes.to_vec();
            if payload.is_some() {
                return payload;
            }
            let mut buffer = [0; 2_048];
            match self.reader.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(len) => self.unread.extend_from_slice(&buffer[..len]),
            }
        }
    }
}

/// Opens a tunnel over HTTP/1.1.
async fn open(gateway: &Running, target: &str, fields: &str) -> Client<TcpStream> {
    let stream = TcpStream::connect(gateway.http_addr().unwrap());
    open_on(stream.await.unwrap(), target, fields).await
}

async fn open_on(mut stream: TcpStream, target: &str, fields: &str) -> Client<TcpStream> {
    let (line, rest) = head(target, fields)
        .split_once("\r\n")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let text = format!("{line} HTTP/1.1\r\nconnection: Upgrade\r\n{rest}\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    for field in [
        "connection: upgrade",
        "upgrade: connect-udp",
        "capsule-protocol: ?1",
    ] {
        assert!(head.lines().any(|line| line == field), "{head}");
    }
    for field in ["content-length", "content-type", "transfer-encoding"] {
        assert!(!head.contains(field), "{head}");
    }
    Client::new(stream)
}

fn bearer() -> String {
    format!("\r\nauthorization: Bearer {TOKEN}")
}

async fn echo_once(device: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 5_000];
    let (len, from) = device.recv_from(&mut buffer).await.unwrap();
    device.send_to(&buffer[..len], from).await.unwrap();
    buffer[..len].to_vec()
}

/// Waits for what the tunnel's end does to the counters, without a clock.
async fn ended(gateway: &Running, tunnels: u64) {
    loop {
        let statistics = gateway.tunnel_statistics();
        if statistics.opened == tunnels && statistics.open == 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// RFC 9298 §3.2, §3.3 and §5, RFC 9297 §3.5.
#[tokio::test]
async fn datagrams_pass_both_ways_over_http1() {
    let device = udp().await;
    let at = device.local_addr().unwrap();
    let gateway = start(config(at)).await;
    // By name and by address, with a token and with a password, in either field.
    let basic = "\r\nproxy-authorization: Basic YWxpY2U6Y29ycmVjdCBob3JzZQ==";
    for (target, fields) in [
        (format!("lamp/{}", at.port()), bearer()),
        (format!("{}/{}", at.ip(), at.port()), basic.to_owned()),
    ] {
        let mut client = open(&gateway, &target, &fields).await;
        for payload in [b"hello".as_slice(), b"", &[7; 1_400]] {
            client.send(payload).await;
            assert_eq!(echo_once(&device).await, payload);
            assert_eq!(client.receive().await.unwrap(), payload);
        }
        client.writer.shutdown().await.unwrap();
        assert_eq!(client.receive().await, None);
    }
    ended(&gateway, 2).await;
    let traffic = gateway.tunnel_statistics().traffic;
    assert_eq!((traffic.datagrams_up, traffic.bytes_up), (6, 2 * 1_405));
    assert_eq!((traffic.datagrams_down, traffic.bytes_down), (6, 2 * 1_405));
    assert_eq!(traffic.dropped(), 0);
    gateway.shutdown().await;
}

/// RFC 9110 §15.5.2, RFC 9298 §3.2 and §7: known users and listed targets only.
#[tokio::test]
async fn nobody_else_gets_a_tunnel_and_none_goes_elsewhere() {
    let (device, other) = (udp().await, udp().await);
    let at = device.local_addr().unwrap();
    let elsewhere = other.local_addr().unwrap();
    let mut config = config(at);
    // Asked by the gateway, and not to be reached through it.
    let security = Security::psk("gateway", support::KEY).unwrap();
    config = config.with_device(Device::new(
        "meter",
        format!("coaps://{elsewhere}"),
        security,
    ));
    let gateway = start(config).await;
    let lamp = format!("lamp/{}", at.port());
    for fields in [
        "",
        "\r\nauthorization: Bearer 0123456789abcdeF",
        "\r\nauthorization: Basic YWxpY2U6d3Jvbmc=",
        "\r\nauthorization: Bearer 0123456789abcdef\r\nauthorization: Bearer 0123456789abcdef",
    ] {
        for target in [lamp.as_str(), "nobody/5684"] {
            let reply = refusal(&gateway, target, fields).await;
            assert_eq!(reply.status, 401, "{reply:?}");
            assert!(reply.head.contains("Basic realm="), "{reply:?}");
            assert!(reply.head.contains("Bearer realm="), "{reply:?}");
            assert!(!reply.head.contains("capsule-protocol"));
        }
    }
    for target in [
        format!("lamp/{}", elsewhere.port()),
        format!("meter/{}", elsewhere.port()),
        format!("{}/{}", elsewhere.ip(), elsewhere.port()),
        format!("localhost/{}", at.port()),
        "%3A%3A1/5684".to_owned(),
        "169.254.169.254/80".to_owned(),
    ] {
        let reply = refusal(&gateway, &target, &bearer()).await;
        assert_eq!(reply.status, 403, "{target} {reply:?}");
        let proxy_status = Some("hedgerow; error=destination_ip_prohibited");
        assert_eq!(reply.field("proxy-status"), proxy_status, "{target}");
    }
    for target in ["lamp/0", "lamp/x", "lamp", "a%20b/1", "%5B%3A%3A1%5D/5684"] {
        let reply = refusal(&gateway, target, &bearer()).await;
        assert_eq!(reply.status, 400, "{target} {reply:?}");
    }
    let foreign = format!("{}\r\norigin: http://evil.example", bearer());
    let reply = refusal(&gateway, &lamp, &foreign).await;
    assert_eq!(reply.status, 403);
    assert!(
        reply.problem().contains("/problems/cross-site"),
        "{reply:?}"
    );
    // The mode is the device's: it isn't asked in the clear of this gateway.
    let reply = support::get(&gateway, "/devices/lamp/on").await;
    assert_eq!(reply.status, 403);
    assert!(
        reply.problem().contains("/problems/mode-denied"),
        "{reply:?}"
    );
    let statistics = gateway.tunnel_statistics();
    assert_eq!((statistics.opened, statistics.refused), (0, 8 + 6 + 5 + 1));
    gateway.shutdown().await;
}

#[tokio::test]
async fn tunnels_are_counted_for_each_user_and_for_all() {
    let device = udp().await;
    let at = device.local_addr().unwrap();
    let mut config = config(at);
    (config.tunnel.tunnels, config.tunnel.tunnels_per_user) = (2, 1);
    let third = User::with_token("third", b"fedcba9876543210");
    let gateway = start(config.with_user(third)).await;
    let target = format!("lamp/{}", at.port());
    let alice = "\r\nauthorization: Basic YWxpY2U6Y29ycmVjdCBob3JzZQ==";
    let first = open(&gateway, &target, &bearer()).await;
    let reply = refusal(&gateway, &target, &bearer()).await;
    assert_eq!((reply.status, reply.field("retry-after")), (429, Some("2")));
    let mut second = open(&gateway, &target, alice).await;
    let third = "\r\nauthorization: Bearer fedcba9876543210";
    let reply = refusal(&gateway, &target, third).await;
    assert_eq!((reply.status, reply.field("retry-after")), (503, Some("2")));
    drop(first);
    while gateway.tunnel_statistics().open == 2 {
        tokio::task::yield_now().await;
    }
    // There is a place again, and the other tunnel didn't notice.
    let _third = open(&gateway, &target, third).await;
    second.send(b"still here").await;
    assert_eq!(echo_once(&device).await, b"still here");
    assert_eq!(second.receive().await.unwrap(), b"still here");
    gateway.shutdown().await;
    assert_eq!(second.receive().await, None);
}

/// RFC 9297 §3.2 and §3.5, RFC 9298 §5: what can't be passed on is skipped.
#[tokio::test]
async fn what_is_unknown_or_too_long_is_skipped_and_counted() {
    let device = udp().await;
    let at = device.local_addr().unwrap();
    let mut config = config(at);
    config.tunnel.max_datagram = 1_000;
    let gateway = start(config).await;
    let mut client = open(&gateway, &format!("lamp/{}", at.port()), &bearer()).await;
    // An unknown type, an unknown context, and a payload of 1,001 bytes in pieces.
    client
        .write(&[0x17, 0x03, 1, 2, 3, 0x00, 0x02, 0x02, 9])
        .await;
    client.send(&[5; 1_001]).await;
    client.send(&[6; 1_000]).await;
    assert_eq!(echo_once(&device).await, [6; 1_000]);
    assert_eq!(client.receive().await.unwrap(), [6; 1_000]);
    drop(client);
    ended(&gateway, 1).await;
    let traffic = gateway.tunnel_statistics().traffic;
    let dropped = (
        traffic.unknown_capsule,
        traffic.unknown_context,
        traffic.too_long,
    );
    assert_eq!((dropped, traffic.dropped()), ((1, 1, 1), 3));
}

/// RFC 9297 §3.3, RFC 9298 §5: half a capsule, no context, a payload that can't be.
#[tokio::test]
async fn malformed_and_truncated_streams_end_the_tunnel() {
    let device = udp().await;
    let at = device.local_addr().unwrap();
    let gateway = start(config(at)).await;
    let target = format!("lamp/{}", at.port());
    let broken: [&[u8]; 3] = [
        &[0x00, 0x00],
        &[0x00, 0x80, 0x00, 0xff, 0xf9, 0, 0, 0, 0, 0, 0, 0, 0],
        // Half, and then the end.
        &[0x00, 0x05, 0x00, 0x01],
    ];
    for (number, bytes) in (1..).zip(broken) {
        let mut client = open(&gateway, &target, &bearer()).await;
        client.write(bytes).await;
        if number == 3 {
            client.writer.shutdown().await.unwrap();
        }
        assert_eq!(client.receive().await, None);
        ended(&gateway, number).await;
    }
    let statistics = gateway.tunnel_statistics();
    assert_eq!((statistics.malformed, statistics.truncated), (2, 1));
    let mut buffer = [0; 10];
    let nothing = device.try_recv(&mut buffer).unwrap_err();
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
}

/// RFC 9298 §3.1: from the target alone; ICMP is told and isn't the end.
#[tokio::test]
async fn strangers_are_not_heard_and_icmp_ends_nothing() {
    let device = udp().await;
    let at = device.local_addr().unwrap();
    let gateway = start(config(at)).await;
    let mut client = open(&gateway, &format!("lamp/{}", at.port()), &bearer()).await;
    client.send(b"hello").await;
    let mut buffer = [0; 100];
    let (_, gateway_side) = device.recv_from(&mut buffer).await.unwrap();
    let stranger = udp().await;
    stranger.send_to(b"boo", gateway_side).await.unwrap();
    device.send_to(b"hi", gateway_side).await.unwrap();
    assert_eq!(client.receive().await.unwrap(), b"hi");
    drop(device);
    client.send(b"is anybody there?").await;
    while gateway.tunnel_statistics().traffic.icmp_refused == 0 {
        tokio::task::yield_now().await;
    }
    // A restarted device.
    let device = UdpSocket::bind(at).await.unwrap();
    device.send_to(b"again", gateway_side).await.unwrap();
    assert_eq!(client.receive().await.unwrap(), b"again");
    drop(client);
    ended(&gateway, 1).await;
    let traffic = gateway.tunnel_statistics().traffic;
    assert_eq!((traffic.icmp_refused, traffic.datagrams_down), (1, 2));
}

#[tokio::test]
async fn tunnel_without_datagrams_ends_whatever_else_comes() {
    let device = udp().await;
    let at = device.local_addr().unwrap();
    let mut config = config(at);
    config.tunnel.idle_timeout = Duration::from_millis(50);
    let gateway = start(config).await;
    let mut client = open(&gateway, &format!("lamp/{}", at.port()), &bearer()).await;
    client.write(&[0x17, 0x00]).await;
    assert_eq!(client.receive().await, None);
    ended(&gateway, 1).await;
}

/// A client that doesn't read holds no more than its queue.
#[tokio::test]
async fn slow_client_loses_datagrams_and_holds_no_more() {
    let device = udp().await;
    let at = device.local_addr().unwrap();
    let mut config = config(at);
    (config.tunnel.queue_datagrams, config.tunnel.queue_bytes) = (4, 8 << 10);
    let gateway = start(config).await;
    let mut client = open(&gateway, &format!("lamp/{}", at.port()), &bearer()).await;
    client.send(b"hello").await;
    let mut buffer = [0; 100];
    let (_, gateway_side) = device.recv_from(&mut buffer).await.unwrap();
    // More than the socket buffers of both ends take.
    let mut sent = 0_u64;
    for _ in 0..40_000 {
        device.send_to(&[1; 1_200], gateway_side).await.unwrap();
        sent += 1;
        tokio::task::yield_now().await;
    }
    drop(client);
    ended(&gateway, 1).await;
    let traffic = gateway.tunnel_statistics().traffic;
    assert!(traffic.queue_full > 0, "{traffic:?}");
    assert!(traffic.queue_full + traffic.datagrams_down <= sent);
}

/// Where credentials would lie open, nobody gets a tunnel by them.
#[tokio::test]
async fn plain_http_opens_tunnels_only_where_it_is_permitted() {
    let device = udp().await;
    let at = device.local_addr().unwrap();
    let mut config = config(at);
    config.http.as_mut().unwrap().coaps = CoapsOverHttp::Never;
    let gateway = start(config).await;
    let reply = refusal(&gateway, &format!("lamp/{}", at.port()), &bearer()).await;
    assert_eq!(reply.status, 403);
    assert!(reply.problem().contains("/problems/https-needed"));
    assert_eq!(gateway.tunnel_statistics().opened, 0);
}

/// RFC 9298 §5: a client may send before it is answered.
#[tokio::test]
async fn capsules_behind_the_request_are_not_lost() {
    let device = udp().await;
    let at = device.local_addr().unwrap();
    let gateway = start(config(at)).await;
    let text = format!(
        "GET /.well-known/masque/udp/lamp/{}/ HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
         upgrade: connect-udp{}\r\n\r\n",
        at.port(),
        bearer()
    );
    let mut stream = TcpStream::connect(gateway.http_addr().unwrap())
        .await
        .unwrap();
    let early = [text.as_bytes(), &[0x00, 0x03, 0x00, b'h', b'i']].concat();
    stream.write_all(&early).await.unwrap();
    assert_eq!(echo_once(&device).await, b"hi");
}

/// A client that has proved itself by its key needs no credentials, and wrong ones count all the same.
#[tokio::test]
async fn https_client_with_a_key_may_be_a_user() {
    let device = udp().await;
    let at = device.local_addr().unwrap();
    let mut config = config(at).with_user(User::with_psk_identity("panel", "dashboard"));
    let client = |identity: &str, key: &[u8]| HttpsClient {
        psk_identity: identity.as_bytes().to_vec(),
        psk: Psk::new(key).unwrap(),
    };
    config.https_psk = Some(HttpsPsk {
        listen: loopback(),
        clients: vec![
            client("stranger", b"a stranger's key"),
            client("dashboard", b"a browser's key!"),
        ],
    });
    let gateway = start(config).await;
    let target = format!("lamp/{}", at.port());
    let wrong = "\r\nauthorization: Bearer fedcba9876543210";
    for (identity, key, fields, status) in [
        ("dashboard", b"a browser's key!", "", "101"),
        ("dashboard", b"a browser's key!", wrong, "401"),
        ("stranger", b"a stranger's key", "", "401"),
    ] {
        let stream = TcpStream::connect(gateway.https_psk_addr().unwrap());
        let credentials = Credentials::new(identity, Psk::new(key).unwrap(), PeerId(1)).unwrap();
        let (credentials, settings) = (Arc::new(credentials), Settings::default());
        let stream = stream.await.unwrap();
        let policy = Arc::default();
        let stream = TlsStream::connect(stream, credentials, settings, &policy);
        let mut stream = stream.await.unwrap();
        let text = format!(
            "GET /.well-known/masque/udp/{target}/ HTTP/1.1\r\nhost: localhost\r\n\
             connection: upgrade\r\nupgrade: connect-udp{fields}\r\n\r\n"
        );
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut line = [0; 12];
        stream.read_exact(&mut line).await.unwrap();
        assert_eq!(&line[9..], status.as_bytes(), "{identity}");
    }
    gateway.shutdown().await;
}

type Pair = rcgen::CertifiedKey<rcgen::KeyPair>;

async fn http2(gateway: &Running, pair: &Pair) -> SendRequest<Empty<Bytes>> {
    http2_until_cut(gateway, pair).await.0
}

/// A connection that is cut off, without a word of TLS or HTTP/2, when what relays it is aborted.
async fn http2_until_cut(
    gateway: &Running,
    pair: &Pair,
) -> (SendRequest<Empty<Bytes>>, JoinHandle<()>) {
    let mut roots = RootCertStore::empty();
    roots.add(pair.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(gateway.https_addr().unwrap());
    let (mut stream, (near, mut far)) = (stream.await.unwrap(), duplex(1 << 16));
    let relay = tokio::spawn(async move {
        let _ = copy_bidirectional(&mut far, &mut stream).await;
    });
    let name = ServerName::try_from("gateway.example").unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, near)
        .await
        .unwrap();
    let io = TokioIo::new(stream);
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    sender.ready().await.unwrap();
    (sender, relay)
}

fn connect(target: &str, token: &str) -> Request<Empty<Bytes>> {
    let uri = format!("https://gateway.example/.well-known/masque/udp/{target}/");
    Request::connect(uri)
        .extension(hyper::ext::Protocol::from_static("connect-udp"))
        .header("capsule-protocol", "?1")
        .header("authorization", format!("Bearer {token}"))
        .body(Empty::new())
        .unwrap()
}

async fn over_https(mut config: Config) -> (Running, Pair) {
    let pair = rcgen::generate_simple_self_signed(["gateway.example".to_owned()]).unwrap();
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let https = Https::from_pem(loopback(), certificate.as_bytes(), key.as_bytes());
    config.https = Some(https.unwrap());
    (start(config).await, pair)
}

/// RFC 8441, RFC 9298 §3.4 and §3.5: two tunnels and a request on one connection.
#[tokio::test]
async fn datagrams_pass_both_ways_over_http2() {
    let device = udp().await;
    let at = device.local_addr().unwrap();
    let (gateway, pair) = over_https(config(at)).await;
    let mut sender = http2(&gateway, &pair).await;
    let target = format!("lamp/{}", at.port());
    let mut clients = Vec::new();
    for _ in 0..2 {
        let reply = sender.send_request(connect(&target, TOKEN)).await.unwrap();
        assert_eq!(reply.status(), 200);
        assert_eq!(reply.headers()["capsule-protocol"], "?1");
        for field in ["content-length", "content-type", "connection", "upgrade"] {
            assert!(!reply.headers().contains_key(field), "{reply:?}");
        }
        let stream = hyper::upgrade::on(reply).await.unwrap();
        clients.push(Client::new(TokioIo::new(stream)));
    }
    for client in &mut clients {
        for payload in [b"hello".as_slice(), &[7; 1_400]] {
            client.send(payload).await;
            assert_eq!(echo_once(&device).await, payload);
            assert_eq!(client.receive().await.unwrap(), payload);
        }
    }
    let get = Request::get("https://gateway.example/healthz").body(Empty::new());
    let reply = sender.send_request(get.unwrap()).await.unwrap();
    assert_eq!(reply.status(), 200);
    // One ends, the other goes on.
    let mut first = clients.remove(0);
    first.writer.shutdown().await.unwrap();
    assert_eq!(first.receive().await, None);
    clients[0].send(b"hello").await;
    echo_once(&device).await;
    assert_eq!(clients[0].receive().await.unwrap(), b"hello");
    // A stop ends what is left.
    gateway.shutdown().await;
    assert_eq!(clients[0].receive().await, None);
}

/// Whatever ends a connection, each tunnel on it leaves its line: who had it, and what it carried.
#[tokio::test]
async fn connection_that_is_cut_off_leaves_the_audit_trail_whole() {
    let lines = Lines::of_process();
    let device = udp().await;
    let at = device.local_addr().unwrap();
    let token = "a-token-of-its-own";
    let carol = User::with_token("carol", token.as_bytes());
    let (gateway, pair) = over_https(config(at).with_user(carol)).await;
    let (mut sender, relay) = http2_until_cut(&gateway, &pair).await;
    let target = format!("lamp/{}", at.port());
    let mut clients = Vec::new();
    for _ in 0..2 {
        let reply = sender.send_request(connect(&target, token)).await.unwrap();
        let stream = hyper::upgrade::on(reply).await.unwrap();
        let mut client = Client::new(TokioIo::new(stream));
        client.send(b"hello").await;
        echo_once(&device).await;
        assert_eq!(client.receive().await.unwrap(), b"hello");
        clients.push(client);
    }
    relay.abort();
    ended(&gateway, 2).await;
    let told = lines.audited("tunnel ended", "carol");
    assert_eq!(told.len(), 2, "{told:#?}");
    for line in told {
        assert!(line.contains("bytes_up=5 datagrams_down=1"), "{line}");
        assert!(line.contains("end=connection broken"), "{line}");
    }
    gateway.shutdown().await;
}

/// A gateway that is dropped ends everything at once, and says so.
#[tokio::test]
async fn gateway_that_is_dropped_leaves_the_audit_trail_whole() {
    let lines = Lines::of_process();
    let device = udp().await;
    let at = device.local_addr().unwrap();
    let dave = User::with_token("dave", b"another-of-its-own");
    let gateway = start(config(at).with_user(dave)).await;
    let target = format!("lamp/{}", at.port());
    let shown = "\r\nauthorization: Bearer another-of-its-own";
    let mut client = open(&gateway, &target, shown).await;
    client.send(b"hello").await;
    echo_once(&device).await;
    assert_eq!(client.receive().await.unwrap(), b"hello");
    drop(gateway);
    assert_eq!(client.receive().await, None);
    while lines.audited("tunnel ended", "dave").is_empty() {
        tokio::task::yield_now().await;
    }
    let told = lines.audited("tunnel ended", "dave");
    assert!(told[0].contains("end=gateway stopping"), "{told:#?}");
}

/// RFC 6585 §4: whoever guesses is answered no more for a while, and nobody else is concerned.
#[tokio::test]
async fn guesses_are_few_from_one_place() {
    let device = udp().await;
    let at = device.local_addr().unwrap();
    let gateway = start(config(at)).await;
    let target = format!("lamp/{}", at.port());
    for number in 0..10 {
        let guess = format!("\r\nauthorization: Bearer 0123456789abcde{number}");
        let reply = refusal(&gateway, &target, &guess).await;
        assert_eq!(reply.status, 401);
        // Nothing shown is nothing guessed.
        assert_eq!(refusal(&gateway, &target, "").await.status, 401);
    }
    let reply = refusal(&gateway, &target, &bearer()).await;
    assert_eq!(reply.status, 429, "{reply:?}");
    assert!(reply.problem().contains("/problems/too-many-guesses"));
    let wait: u32 = reply.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(gateway.tunnel_statistics().opened, 0);
    // From elsewhere.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let stream = socket.connect(gateway.http_addr().unwrap()).await.unwrap();
    let mut client = open_on(stream, &target, &bearer()).await;
    client.send(b"hello").await;
    assert_eq!(echo_once(&device).await, b"hello");
    gateway.shutdown().await;
}

#[tokio::test]
async fn http2_refusals_have_the_same_causes() {
    let device = udp().await;
    let at = device.local_addr().unwrap();
    let (gateway, pair) = over_https(config(at)).await;
    let mut sender = http2(&gateway, &pair).await;
    let lamp = format!("lamp/{}", at.port());
    for (target, token, status) in [
        (lamp.as_str(), "0123456789abcdeF", 401),
        ("nobody/5684", TOKEN, 403),
        ("lamp/0", TOKEN, 400),
    ] {
        let reply = sender.send_request(connect(target, token)).await.unwrap();
        assert_eq!(reply.status().as_u16(), status);
        assert!(!reply.headers().contains_key("capsule-protocol"));
        assert!(!reply.collect().await.unwrap().to_bytes().is_empty());
    }
    let uri = format!("https://gateway.example/.well-known/masque/udp/{lamp}/");
    let get = Request::get(uri).body(Empty::new()).unwrap();
    assert_eq!(sender.send_request(get).await.unwrap().status(), 400);
    assert_eq!(gateway.tunnel_statistics().opened, 0);
}

/// The mode's promise: a DTLS session from the client to the device, through a gateway that has a key of its
/// own for `terminate`, and none of this session.
#[tokio::test]
async fn dtls_session_goes_end_to_end() {
    let (resources, _told) = Resources::new();
    let keys = KeyStore::new();
    let key = || Psk::new(b"end-to-end key!!").unwrap();
    let end_to_end = || key().into_end_to_end().unwrap();
    keys.insert("operator", end_to_end(), PeerId(1)).unwrap();
    let hop = Psk::new(KEY).unwrap();
    keys.insert("gateway", hop, PeerId(3)).unwrap();
    let config_of_node = NodeConfig::default();
    let device = Node::bind_server(loopback(), config_of_node, keys, resources)
        .await
        .unwrap();
    let at = device.local_addr();
    let lamp = psk_device("lamp", at).with_modes(&[Mode::Terminate, Mode::Tunnel]);
    let robot = User::with_token("robot", TOKEN.as_bytes());
    let gateway = start(short_config().with_user(robot).with_device(lamp)).await;
    let reply = get(&gateway, "/devices/lamp/temperature").await;
    assert_eq!((reply.status, &*reply.body), (200, &b"21.5"[..]));
    assert_eq!(gateway.statistics().established, 1);
    let mut tunnel = open(&gateway, &format!("lamp/{}", at.port()), &bearer()).await;

    // What stands for the client's carrier: a socket that its DTLS end takes for the device.
    let near = udp().await;
    let near_at = near.local_addr().unwrap();
    tokio::spawn(async move {
        let mut peer = None;
        let mut buffer = [0; 2_048];
        loop {
            tokio::select! {
                received = near.recv_from(&mut buffer) => {
                    let Ok((len, from)) = received else { return };
                    peer = Some(from);
                    tunnel.send(&buffer[..len]).await;
                }
                payload = tunnel.receive() => {
                    let (Some(payload), Some(peer)) = (payload, peer) else { return };
                    near.send_to(&payload, peer).await.unwrap();
                }
            }
        }
    });
    let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required);
    let client = Node::bind_client(loopback(), NodeConfig::default().with_security(policy))
        .await
        .unwrap();
    let target = |identity: &str, key: Psk| Target {
        address: near_at,
        credentials: Some(Arc::new(
            Credentials::new(identity, key, PeerId(2)).unwrap(),
        )),
    };
    // The gateway's key isn't for this, nor is the end-to-end key where nobody has said that it is one.
    for (identity, key) in [("gateway", Psk::new(KEY).unwrap()), ("operator", key())] {
        let target = target(identity, key);
        let refused = client.request(&target, RequestMessage::new(Code::GET));
        assert!(refused.await.is_err(), "{identity}");
    }
    let target = target("operator", end_to_end());
    let asked = || RequestMessage::new(Code::GET).path("/temperature");
    let response = client.request(&target, asked()).await.unwrap();
    assert_eq!(response.payload, b"21.5");
    assert_eq!(
        client.request(&target, asked()).await.unwrap().payload,
        b"21.5"
    );
    let peer = client.peer(near_at).await.unwrap();
    assert_eq!(peer.key_purpose(), Some(KeyPurpose::EndToEnd));
    // The gateway made no other session of its own.
    assert_eq!(gateway.statistics().established, 1);
    client.close().await;
    gateway.shutdown().await;
}
