//! Devices that reach servers through the gateway, each TLS connection in a stream of the hop's session.
#![allow(
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod support;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_core::{KeyPurpose, PeerId, Psk};
use hedgerow_gateway::{Config, Leg, LegPeer, LegService, LegStatistics, Running};
use hedgerow_handshake::Settings;
use hedgerow_leg::Role;
use hedgerow_net::{
    Credentials, ForwardSecrecy, KeyStore, LegConfig, LegStream, Node, NodeConfig, ResetReason,
    ResponseMessage, SecurityPolicy, StreamFailure, StreamOffer, Target, TlsStream,
};
use support::{loopback, psk_device, short_config, start};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const HOP_KEY: &[u8] = b"a hop's own key.";
const END_TO_END: &[u8] = b"end-to-end bytes";

fn peer(name: &str, key: &[u8], services: &[&str]) -> LegPeer {
    LegPeer {
        name: name.to_owned(),
        psk_identity: name.as_bytes().to_vec(),
        psk: Psk::new(key).unwrap(),
        services: services.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn service(name: &str, at: SocketAddr) -> LegService {
    LegService {
        name: name.to_owned(),
        host: at.ip().to_string(),
        port: at.port(),
    }
}

fn leg(at: SocketAddr) -> Leg {
    let mut leg = Leg::new(loopback());
    leg.peers.push(peer("meter", HOP_KEY, &["backend", "dead"]));
    leg.peers.push(peer("lamp", b"the lamp's own key", &[]));
    leg.services.push(service("backend", at));
    leg.services.push(service("other", at));
    // Nothing listens there: the port of a socket that is gone.
    leg.services
        .push(service("dead", "127.0.0.1:1".parse().unwrap()));
    leg
}

/// The gateway also has a key of its own for the device, which it calls with it: `terminate` beside.
fn config(leg: Leg) -> Config {
    let device = psk_device("meter", "127.0.0.1:5684".parse().unwrap());
    short_config().with_device(device).with_leg(leg)
}

struct Device {
    node: Node,
    target: Target,
}

impl Device {
    async fn new(gateway: &Running, identity: &str, key: &[u8]) -> Self {
        Self::at(gateway.leg_addr().unwrap(), identity, key).await
    }

    async fn at(address: SocketAddr, identity: &str, key: &[u8]) -> Self {
        let mut config = NodeConfig::default();
        config.endpoint.legs = Some(LegConfig::new(Role::Device));
        let node = Node::bind_client(loopback(), config).await.unwrap();
        let key = Psk::new(key).unwrap();
        let credentials = Credentials::new(identity, key, PeerId(1)).unwrap();
        let target = Target {
            address,
            credentials: Some(Arc::new(credentials)),
        };
        Self { node, target }
    }

    async fn open(&self, name: &str) -> LegStream {
        let offer = StreamOffer {
            name: name.to_owned(),
            ..StreamOffer::default()
        };
        self.node.open_stream(&self.target, offer).await.unwrap()
    }

    /// Opens a stream and returns how it ended.
    async fn failure(&self, name: &str) -> ResetReason {
        reason(&self.open(name).await.read_u8().await.unwrap_err())
    }
}

fn reason(error: &io::Error) -> ResetReason {
    match error.get_ref().unwrap().downcast_ref() {
        Some(StreamFailure::Reset { reason, .. }) => *reason,
        other => panic!("{other:?}"),
    }
}

async fn with_backend() -> (Running, Device, TcpListener) {
    let backend = TcpListener::bind(loopback()).await.unwrap();
    let gateway = start(config(leg(backend.local_addr().unwrap()))).await;
    let device = Device::new(&gateway, "meter", HOP_KEY).await;
    (gateway, device, backend)
}

/// A stream and its TCP connection, both of which know that it stands.
async fn carried(device: &Device, backend: &TcpListener) -> (LegStream, TcpStream) {
    let mut stream = device.open("backend").await;
    let (mut tcp, _) = backend.accept().await.unwrap();
    tcp.write_all(b"x").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
    (stream, tcp)
}

/// Waits until the counters of streams say so.
async fn until(gateway: &Running, is_so: impl Fn(&LegStatistics) -> bool) {
    let mut statistics = gateway.follow_leg_statistics().unwrap();
    let waiting = statistics.wait_for(is_so);
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    waited.expect("it never became so").unwrap();
}

fn policy() -> Arc<SecurityPolicy> {
    Arc::new(SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required))
}

fn end_to_end() -> Psk {
    Psk::new(END_TO_END).unwrap().into_end_to_end().unwrap()
}

#[tokio::test]
async fn device_speaks_tls_with_a_listed_service_and_both_close_in_order() {
    let (gateway, device, backend) = with_backend().await;
    let serving = tokio::spawn(async move {
        let (tcp, _) = backend.accept().await.unwrap();
        let store = KeyStore::new();
        store.insert("meter", end_to_end(), PeerId(5)).unwrap();
        let settings = Settings::default();
        let mut tls = TlsStream::accept(tcp, &store, settings, &policy())
            .await
            .unwrap();
        let mut question = [0; 8];
        tls.read_exact(&mut question).await.unwrap();
        assert_eq!(&question, b"question");
        tls.write_all(&b"answer ".repeat(10_000)).await.unwrap();
        tls.shutdown().await.unwrap();
    });
    let stream = device.open("backend").await;
    let credentials = Credentials::new("meter", end_to_end(), PeerId(6)).unwrap();
    let settings = Settings::default();
    let mut tls = TlsStream::connect(stream, Arc::new(credentials), settings, &policy())
        .await
        .unwrap();
    assert_eq!(tls.peer().key_purpose(), Some(KeyPurpose::EndToEnd));
    tls.write_all(b"question").await.unwrap();
    let mut answer = Vec::new();
    tls.read_to_end(&mut answer).await.unwrap();
    tls.shutdown().await.unwrap();
    assert!(answer == b"answer ".repeat(10_000));
    serving.await.unwrap();
    drop(tls);
    until(&gateway, |statistics| statistics.closed == 1).await;
    let statistics = gateway.leg_statistics();
    assert_eq!((statistics.connected, statistics.open), (1, 0));
    assert_eq!(statistics.broken, 0);
    assert!(statistics.bytes_to_devices > 70_000);
    gateway.shutdown().await;
}

#[tokio::test]
async fn what_is_not_listed_for_a_device_is_refused() {
    let (gateway, device, _backend) = with_backend().await;
    for name in ["other", "unknown", ""] {
        assert_eq!(device.failure(name).await, ResetReason::Refused, "{name:?}");
    }
    let lamp = Device::new(&gateway, "lamp", b"the lamp's own key").await;
    assert_eq!(lamp.failure("backend").await, ResetReason::Refused);
    assert_eq!(device.failure("dead").await, ResetReason::ConnectFailed);
    let statistics = gateway.leg_statistics();
    assert_eq!((statistics.refused, statistics.connect_failed), (4, 1));
    assert_eq!(statistics.connected, 0);
    // Who doesn't have the key has no session, and no stream.
    let stranger = Device::new(&gateway, "meter", b"some other bytes").await;
    let error = stranger.open("backend").await.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    gateway.shutdown().await;
}

#[tokio::test]
async fn each_way_to_end_one_side_ends_the_other_likewise() {
    let (gateway, device, backend) = with_backend().await;
    // TCP's FIN is FIN, and the other direction goes on.
    let mut stream = device.open("backend").await;
    let (mut tcp, _) = backend.accept().await.unwrap();
    tcp.write_all(b"bye").await.unwrap();
    tcp.shutdown().await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "bye");
    stream.write_all(b"still here").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    tcp.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "still here");

    // A reset connection is no end.
    let (mut stream, tcp) = carried(&device, &backend).await;
    tcp.set_zero_linger().unwrap();
    drop(tcp);
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(reason(&error), ResetReason::ConnectionLost);

    // A stream that is given up is no end.
    let (stream, mut tcp) = carried(&device, &backend).await;
    stream.reset(ResetReason::Application);
    let error = tcp.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

    // Nor is the end of the hop's session.
    let (_stream, mut tcp) = carried(&device, &backend).await;
    assert!(device.node.disconnect(device.target.address).await);
    let error = tcp.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

    // Nor that of the gateway.
    let (mut stream, mut tcp) = carried(&device, &backend).await;
    gateway.shutdown().await;
    let error = tcp.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(stream.read_u8().await.is_err());
}

/// What TLS makes of the end of the hop's session: a failure at both ends, whoever ends it, and never an end in order.
#[tokio::test]
async fn end_of_the_hop_session_is_no_end_of_the_tls_in_it() {
    for ends_at_gateway in [true, false] {
        let (gateway, device, backend) = with_backend().await;
        let serving = tokio::spawn(async move {
            let (tcp, _) = backend.accept().await.unwrap();
            left_off(accepted(tcp).await).await
        });
        let mut tls = connected(device.open("backend").await).await;
        until_half_is_read(&mut tls).await;
        if ends_at_gateway {
            gateway.shutdown().await;
        } else {
            assert!(device.node.disconnect(device.target.address).await);
        }
        let of_device = tls.read(&mut [0]).await.unwrap_err().kind();
        let of_server = serving.await.unwrap();
        assert_eq!(of_server, io::ErrorKind::ConnectionReset);
        let lost = [io::ErrorKind::ConnectionReset, io::ErrorKind::NotConnected];
        assert!(lost.contains(&of_device), "{of_device:?}");
    }
}

/// The same where the gateway ends the session without a word about its streams. That it hands bytes on is left out: the
/// server's end of TLS is where the gateway's end of the stream is.
#[tokio::test]
async fn hop_session_closed_under_a_stream_is_no_end_of_the_tls_in_it() {
    let keys = KeyStore::new();
    let hop = Psk::new(HOP_KEY).unwrap();
    keys.insert("meter", hop, PeerId(7)).unwrap();
    let mut config = NodeConfig::default();
    config.endpoint.legs = Some(LegConfig::new(Role::Gateway));
    let nothing = |_| async { ResponseMessage::new(Code::NOT_FOUND) };
    let hostile = Node::bind_server(loopback(), config, keys, nothing)
        .await
        .unwrap();
    let device = Device::at(hostile.local_addr(), "meter", HOP_KEY).await;
    let serving = {
        let hostile = hostile.clone();
        tokio::spawn(async move {
            let incoming = hostile.accept_stream().await.unwrap();
            left_off(accepted(incoming.stream).await).await
        })
    };
    let mut tls = connected(device.open("backend").await).await;
    until_half_is_read(&mut tls).await;
    hostile.close().await;
    let error = tls.read(&mut [0]).await.unwrap_err();
    let of_server = serving.await.unwrap();
    for kind in [error.kind(), of_server] {
        assert_eq!(kind, io::ErrorKind::NotConnected);
    }
}

async fn connected(stream: LegStream) -> TlsStream<LegStream> {
    let (settings, policy) = (Settings::default(), policy());
    let credentials = Credentials::new("meter", end_to_end(), PeerId(6)).unwrap();
    let tls = TlsStream::connect(stream, Arc::new(credentials), settings, &policy);
    tls.await.unwrap()
}

async fn accepted<IO: AsyncRead + AsyncWrite + Unpin>(io: IO) -> TlsStream<IO> {
    let (settings, policy) = (Settings::default(), policy());
    let store = KeyStore::new();
    store.insert("meter", end_to_end(), PeerId(5)).unwrap();
    let tls = TlsStream::accept(io, &store, settings, &policy);
    tls.await.unwrap()
}

/// Says half of an answer, and returns how the connection failed then.
async fn left_off<IO: AsyncRead + AsyncWrite + Unpin>(mut tls: TlsStream<IO>) -> io::ErrorKind {
    tls.write_all(HALF).await.unwrap();
    tls.flush().await.unwrap();
    tls.read(&mut [0]).await.unwrap_err().kind()
}

async fn until_half_is_read(tls: &mut TlsStream<LegStream>) {
    let mut half = [0; HALF.len()];
    tls.read_exact(&mut half).await.unwrap();
    assert_eq!(half, HALF);
}

const HALF: &[u8] = b"half of an answer";

#[tokio::test]
async fn limits_hold_and_places_come_back() {
    let backend = TcpListener::bind(loopback()).await.unwrap();
    let one_place = || {
        let mut leg = leg(backend.local_addr().unwrap());
        leg.streams_per_device = 1;
        leg
    };
    let gateway = start(config(one_place())).await;
    let device = Device::new(&gateway, "meter", HOP_KEY).await;
    let first = device.open("backend").await;
    backend.accept().await.unwrap();
    assert_eq!(device.failure("backend").await, ResetReason::Limit);
    drop(first);
    gateway.shutdown().await;
    // Silence ends both sides, and frees the place.
    let mut leg = one_place();
    leg.idle_timeout = Duration::from_millis(300);
    let gateway = start(config(leg)).await;
    let device = Device::new(&gateway, "meter", HOP_KEY).await;
    let mut first = device.open("backend").await;
    let (mut tcp, _) = backend.accept().await.unwrap();
    let error = first.read_u8().await.unwrap_err();
    assert_eq!(reason(&error), ResetReason::Timeout);
    let error = tcp.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    until(&gateway, |statistics| statistics.open == 0).await;
    let _again = device.open("backend").await;
    backend.accept().await.unwrap();
    gateway.shutdown().await;
}

/// It has a leg in its newest session with a stream, and its places with it: what it had before is over.
#[tokio::test]
async fn device_that_comes_back_elsewhere_has_its_places_there_and_no_others() {
    let backend = TcpListener::bind(loopback()).await.unwrap();
    let mut leg = leg(backend.local_addr().unwrap());
    leg.streams_per_device = 1;
    let gateway = start(config(leg)).await;
    let mut before = Device::new(&gateway, "meter", HOP_KEY).await;
    let (mut old, mut old_tcp) = carried(&before, &backend).await;
    for _ in 0..10 {
        let after = Device::new(&gateway, "meter", HOP_KEY).await;
        let (stream, tcp) = carried(&after, &backend).await;
        // No end in order, on neither side.
        let error = old_tcp.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(old.read_u8().await.is_err());
        (before, old, old_tcp) = (after, stream, tcp);
        // One place is one place in whichever session.
        assert_eq!(before.failure("backend").await, ResetReason::Limit);
    }
    until(&gateway, |statistics| statistics.broken == 10).await;
    assert_eq!(gateway.leg_statistics().open, 1);
    gateway.shutdown().await;
}

#[test]
fn mistakes_of_the_configuration_are_found() {
    let at: SocketAddr = "192.0.2.7:443".parse().unwrap();
    let mistakes = |change: &dyn Fn(&mut Leg)| {
        let mut leg = leg(at);
        change(&mut leg);
        match config(leg).check() {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(mistakes(&|_| {}), "");
    let again = |leg: &mut Leg, key: &[u8]| leg.peers.push(peer("meter", key, &["backend"]));
    for (change, expected) in [
        (
            Box::new(move |leg: &mut Leg| again(leg, b"another one's key"))
                as Box<dyn Fn(&mut Leg)>,
            "stands here twice",
        ),
        (
            // The key with which the gateway calls the device: one key, two directions.
            Box::new(|leg: &mut Leg| leg.peers.push(peer("x", support::KEY, &[]))),
            "another device, client or direction has this key",
        ),
        (
            Box::new(|leg: &mut Leg| leg.peers[0].psk = end_to_end()),
            "an end-to-end key",
        ),
        (
            Box::new(|leg: &mut Leg| leg.peers[0].services.push("nowhere".to_owned())),
            "no such service",
        ),
        (
            Box::new(|leg: &mut Leg| leg.services[0].name = "a name too long".repeat(2)),
            "expected 1 to 15 visible ASCII characters",
        ),
        (
            Box::new(|leg: &mut Leg| leg.peers.clear()),
            "nobody is let in",
        ),
        (
            Box::new(|leg: &mut Leg| leg.services.clear()),
            "nothing is reached",
        ),
        (
            Box::new(|leg: &mut Leg| leg.streams = 0),
            "expected 1 to 65536",
        ),
        (
            Box::new(|leg: &mut Leg| leg.stream_patience = Duration::ZERO),
            "expected 10ms to 24h",
        ),
    ] {
        let found = mistakes(&change);
        assert!(found.contains(expected), "{expected}: {found}");
    }
}

#[test]
fn file_says_the_same() {
    let text = r#"
        [leg]
        listen = "127.0.0.1:0"
        streams = 10
        idle_timeout = "2min"
        stream_patience = "5s"

        [[leg.peer]]
        name = "meter"
        psk_identity = "meter"
        psk = "0x8f2b0d4f1c6a97e35b1fd0c2a94e7786"
        services = ["backend"]

        [[leg.service]]
        name = "backend"
        host = "backend.example"
        port = 443
    "#;
    let folder = std::path::Path::new(".");
    let config = Config::from_toml(text, "hedgerow.toml", folder).unwrap();
    let leg = config.leg.unwrap();
    assert_eq!(leg.streams, 10);
    assert_eq!(leg.idle_timeout, Duration::from_secs(120));
    assert_eq!(leg.stream_patience, Duration::from_secs(5));
    assert_eq!(leg.peers[0].services, ["backend"]);
    assert_eq!(leg.services[0].port, 443);
    let shown = format!("{:?}", leg.peers[0]);
    assert!(
        !shown.contains("8f2b") && !shown.contains("143, 43"),
        "{shown}"
    );
    for (from, to, expected) in [
        ("port = 443", "prot = 443", "unknown key"),
        (
            "services = [\"backend\"]",
            "",
            "missing: expected a list of names",
        ),
        ("[\"backend\"]", "[\"backed\"]", "no such service"),
        ("psk = ", "end_to_end = true\npsk = ", "an end-to-end key"),
        ("\"5s\"", "\"9ms\"", "9ms found, expected 10ms to"),
    ] {
        let text = text.replacen(from, to, 1);
        let error = Config::from_toml(&text, "hedgerow.toml", folder).unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}

/// A device may come to be reached, and reach nothing: then there is no `[[leg.service]]`.
#[test]
fn file_without_a_service_is_for_devices_that_are_reached() {
    let text = r#"
        [leg]
        listen = "127.0.0.1:0"

        [[leg.peer]]
        name = "meter"
        psk_identity = "meter"
        psk = "0x8f2b0d4f1c6a97e35b1fd0c2a94e7786"
        services = []
    "#;
    let reached = r#"
        [[device]]
        name = "meter"
        uri = "coaps://192.0.2.7"
        modes = ["translate-device"]
        psk_identity = "gateway"
        psk = "0x7d3a95c10e8b42f6a1d05c3e9b764812"
    "#;
    let folder = std::path::Path::new(".");
    let read = |text: &str| Config::from_toml(text, "hedgerow.toml", folder);
    let leg = read(&format!("{text}{reached}")).unwrap().leg.unwrap();
    assert_eq!((leg.services.len(), leg.peers.len()), (0, 1));
    assert!(leg.peers[0].services.is_empty());
    assert_eq!(leg.stream_patience, Duration::from_secs(30));
    let other = reached.replacen("meter", "lamp", 1);
    for text in [text, &format!("{text}{other}")] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains("nothing is reached"), "{error}");
    }
}
