//! Mode `itls` over loopback: an Internet end over TLS, a gateway, and a device's hop, with ends made by hand.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_coap::{Code, OptionNumber};
use hedgerow_core::{
    Credentials as Shown, DropReason, Env, Event, Instant, Peer, PeerId, Psk, Writer,
};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::InnerConfig;
use hedgerow_gateway::{Config, Device, Gateway, Itls, ItlsCaller, Mode, Running, Security, User};
use hedgerow_itls::{
    CloseReason, Control, End, Initiator, InitiatorKey, InitiatorStep, OUTER_BINDING_LABEL, Open,
    OuterBinding, Responder, ResponderStep, RoutingHeader, Settings, User as ItlsUser,
};
use hedgerow_net::{
    Authorities, Credentials, ForwardSecrecy, GatewayTls, GatewayUser, HopEvent, HopEvents, HopId,
    ItlsConfig, KeyStore, LinkedNode, Node, NodeConfig, RequestMessage, ResponseMessage,
    SecurityPolicy, ServerRequest, Target, itls_link,
};
use hedgerow_sim::TestRng;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use support::{KEY, Resources, loopback, short_config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const TOKEN: &str = "Bearer 0123456789abcdef";
/// What the ends have, and nobody between them.
const END_TO_END: &[u8] = b"the ends' own 16";
const CALLERS_KEY: &[u8] = b"the other 16 way";

const HELLO: &[u8] = b"\x01hello";
const DATA: &[u8] = b"\x81\x00sealed";

fn message(flow: u16, control: Option<&Control<'_>>, inner: &[u8]) -> Vec<u8> {
    let mut out = vec![0; inner.len() + 2_000];
    let mut writer = Writer::new(&mut out);
    let is_control = control.is_some();
    let header = RoutingHeader { flow, is_control };
    header.encode(&mut writer).unwrap();
    match control {
        Some(control) => control.encode(&mut writer).unwrap(),
        None => writer.bytes(inner).unwrap(),
    }
    writer.written().to_vec()
}

fn inner(flow: u16, inner: &[u8]) -> Vec<u8> {
    message(flow, None, inner)
}

fn open(flow: u16, name: &str, hello: &[u8]) -> Vec<u8> {
    let open = Open {
        wants_light_layer: false,
        name: name.as_bytes(),
        message: hello,
    };
    message(flow, Some(&Control::Open(open)), &[])
}

fn close(flow: u16, reason: CloseReason) -> Vec<u8> {
    message(flow, Some(&Control::Close(reason)), &[])
}

/// Nobody is there.
fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

type Pair = rcgen::CertifiedKey<rcgen::KeyPair>;

fn itls() -> (Itls, Pair) {
    let pair =
        rcgen::generate_simple_self_signed(["gateway.example".to_owned(), "localhost".to_owned()])
            .unwrap();
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let itls = Itls::from_pem(loopback(), certificate.as_bytes(), key.as_bytes());
    (itls.unwrap(), pair)
}

/// A gateway with a device in this mode, and one that isn't, for two users.
fn config(lamp: SocketAddr) -> Config {
    let security = Security::psk("gateway", KEY).unwrap();
    let lamp = Device::new("lamp", format!("coaps://{lamp}"), security)
        .with_modes(&[Mode::Terminate, Mode::Itls])
        .with_call("robot");
    let security = Security::psk("gateway", b"another 16 bytes").unwrap();
    let meter = Device::new("meter", "coaps://127.0.0.2:5684", security);
    short_config()
        .with_user(User::with_token("robot", b"0123456789abcdef"))
        .with_user(User::with_password("alice", b"correct horse"))
        .with_device(lamp)
        .with_device(meter)
}

struct Started {
    gateway: Running,
    pair: Pair,
}

async fn start_with(config: Config, change: impl FnOnce(Itls) -> Itls) -> Started {
    let (itls, pair) = itls();
    let gateway = Gateway::start(config.with_itls(change(itls))).await;
    let gateway = gateway.unwrap();
    Started { gateway, pair }
}

async fn start(lamp: SocketAddr) -> Started {
    start_with(config(lamp), |itls| itls).await
}

/// An Internet end with its outer session.
struct InternetEnd {
    stream: TlsStream<TcpStream>,
}

impl InternetEnd {
    async fn connect(started: &Started, alpn: &[u8]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(started.pair.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        if !alpn.is_empty() {
            config.alpn_protocols = vec![alpn.to_vec()];
        }
        let at = started.gateway.itls_addr().unwrap();
        let stream = TcpStream::connect(at).await.unwrap();
        let name = ServerName::try_from("gateway.example").unwrap();
        let connected = TlsConnector::from(Arc::new(config)).connect(name, stream);
        Self {
            stream: connected.await.unwrap(),
        }
    }

    /// One that has shown who it is.
    async fn user(started: &Started, shown: &str) -> Self {
        let mut end = Self::connect(started, b"hedgerow-itls").await;
        let user = ItlsUser {
            takes_flows: true,
            shown: shown.as_bytes(),
        };
        end.send(&message(0, Some(&Control::User(user)), &[])).await;
        end
    }

    async fn send(&mut self, message: &[u8]) {
        let len = u16::try_from(message.len()).unwrap();
        let framed = [&len.to_be_bytes(), message].concat();
        self.stream.write_all(&framed).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next message; `None` at the end of the stream.
    async fn receive(&mut self) -> Option<Vec<u8>> {
        let received = async {
            let len = self.stream.read_u16().await.ok()?;
            let mut message = vec![0; len.into()];
            self.stream.read_exact(&mut message).await.ok()?;
            Some(message)
        };
        timeout(PATIENCE, received).await.expect("in time")
    }

    fn binding(&self) -> OuterBinding {
        let (_, tls) = self.stream.get_ref();
        let exported = tls.export_keying_material([0; 32], OUTER_BINDING_LABEL, None);
        OuterBinding::new(exported.unwrap())
    }
}

/// The device's side of the hop.
struct Hop {
    node: Node,
    events: HopEvents,
    hop: Option<HopId>,
}

impl Hop {
    async fn listening() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut NodeConfig)) -> Self {
        let mut config = hop_config();
        change(&mut config);
        let keys = KeyStore::new();
        let psk = Psk::new(KEY).unwrap();
        keys.insert("gateway", psk, PeerId(1)).unwrap();
        let node = Node::bind_server(loopback(), config, keys, nothing).await;
        Self::of(node.unwrap())
    }

    fn of(node: Node) -> Self {
        let events = node.hop_events().unwrap();
        Self {
            node,
            events,
            hop: None,
        }
    }

    async fn event(&mut self) -> HopEvent {
        let event = timeout(PATIENCE, self.events.next()).await;
        event.expect("in time").expect("the node is there")
    }

    async fn established(&mut self) {
        match self.event().await {
            HopEvent::Established { hop, .. } => self.hop = Some(hop),
            event => panic!("{event:?}"),
        }
    }

    async fn receive(&mut self) -> Vec<u8> {
        match self.event().await {
            HopEvent::Message { message, .. } => message,
            event => panic!("{event:?}"),
        }
    }

    fn send(&self, message: Vec<u8>) {
        self.node
            .forward(self.hop.unwrap(), (0, 0), message)
            .unwrap();
    }
}

async fn nothing(_: ServerRequest) -> ResponseMessage {
    ResponseMessage::new(Code::NOT_FOUND)
}

fn hop_config() -> NodeConfig {
    let mut config = NodeConfig::default();
    config.endpoint.forwards = true;
    config
}

/// Two ends that talk: the Internet end's flow 2, the device's flow 1.
async fn talking(lamp: &mut Hop) -> (Started, InternetEnd) {
    let started = start(lamp.node.local_addr()).await;
    let mut end = InternetEnd::user(&started, TOKEN).await;
    end.send(&open(2, "lamp", HELLO)).await;
    lamp.established().await;
    assert_eq!(lamp.receive().await, open(1, "robot", HELLO));
    (started, end)
}

/// Runs a whole inner handshake and a message each way, over whatever carries messages between the two.
struct Inner {
    rng: TestRng,
}

impl Inner {
    fn env(&mut self) -> Env<'_> {
        Env::new(Instant::ZERO, &mut self.rng)
    }

    fn initiator(&mut self, end: End, binding: OuterBinding) -> Initiator<SoftCrypto> {
        let psk = end_to_end();
        let shown = Shown {
            psk_identity: b"pair",
            psk: &psk,
            peer: PeerId(2),
        };
        let key = InitiatorKey::EndToEnd(shown);
        let settings = Settings::new(end);
        Initiator::new(SoftCrypto, settings, key, binding, &mut self.env()).unwrap()
    }
}

fn end_to_end() -> Psk {
    Psk::new(END_TO_END).and_then(Psk::into_end_to_end).unwrap()
}

fn binding(of: u8) -> OuterBinding {
    OuterBinding::new([of; 32])
}

fn payload(received: Vec<u8>) -> Vec<u8> {
    let (header, rest) = RoutingHeader::decode(&received).unwrap();
    if !header.is_control {
        return rest.to_vec();
    }
    let Ok(Control::Open(open)) = Control::decode(rest) else {
        panic!("{received:02x?}");
    };
    open.message.to_vec()
}

#[tokio::test]
async fn internet_end_begins_an_inner_session_and_the_gateway_has_no_part_in_it() {
    let mut lamp = Hop::listening().await;
    let started = start(lamp.node.local_addr()).await;
    let mut end = InternetEnd::user(&started, TOKEN).await;
    let mut inner_ends = Inner {
        rng: TestRng::new(1),
    };
    let own = || end.binding();
    let initiator = inner_ends.initiator(End::Internet, own());
    end.send(&open(2, "lamp", initiator.hello())).await;
    lamp.established().await;
    let hello = payload(lamp.receive().await);
    assert_eq!(hello, initiator.hello());
    let store = (b"pair".as_slice(), end_to_end(), PeerId(1));
    let responder = Responder::new(SoftCrypto, Settings::new(End::Device));
    let answered = responder.handle_hello(&mut inner_ends.env(), &store, &[], binding(2), &hello);
    let Ok(half_open) = answered else {
        panic!("refused");
    };
    lamp.send(inner(1, half_open.answer()));
    let answer = payload(end.receive().await.unwrap());
    let InitiatorStep::Established(mut envelope) =
        initiator.handle_message(&end.binding(), &answer)
    else {
        panic!("not established");
    };
    let mut out = [0; 100];
    let len = envelope.seal(b"GET", &mut out).unwrap();
    end.send(&inner(2, &out[..len])).await;
    let mut sealed = payload(lamp.receive().await);
    let ResponderStep::Established(mut device, Ok(received)) =
        half_open.handle_message(&binding(2), &mut sealed)
    else {
        panic!("not confirmed");
    };
    assert!(matches!(received.event, Some(Event::Plaintext(text)) if text == b"GET"));
    let len = device.seal(b"21.5", &mut out).unwrap();
    lamp.send(inner(1, &out[..len]));
    let mut sealed = payload(end.receive().await.unwrap());
    let received = envelope.open(&end.binding(), &mut sealed).unwrap();
    assert!(matches!(received.event, Some(Event::Plaintext(text)) if text == b"21.5"));
    let statistics = started.gateway.itls_statistics();
    assert_eq!((statistics.opened, statistics.open), (1, 1));
    assert_eq!((statistics.to_devices, statistics.to_users), (2, 2));
    for &reason in DropReason::ALL {
        assert_eq!(statistics.dropped(reason), 0, "{}", reason.label());
    }
    started.gateway.shutdown().await;
    // The end of the stream is no word of the other end's.
    assert_eq!(end.receive().await, None);
}

#[tokio::test]
async fn messages_go_beside_the_records_where_gateway_and_device_agree() {
    for (at_gateway, at_device) in [(true, true), (true, false), (false, true)] {
        let mut lamp = Hop::with(|config| config.endpoint.light_layer = at_device).await;
        let config = config(lamp.node.local_addr());
        let started = start_with(config, |mut itls| {
            itls.light = at_gateway;
            itls
        });
        let started = started.await;
        let mut end = InternetEnd::user(&started, TOKEN).await;
        end.send(&open(2, "lamp", HELLO)).await;
        lamp.established().await;
        let asked = Control::Open(Open {
            wants_light_layer: at_gateway,
            name: b"robot",
            message: HELLO,
        });
        assert_eq!(lamp.receive().await, message(1, Some(&asked), &[]));
        // The device agrees by the first one, if it has the layer.
        let is_light = at_gateway && at_device;
        let (hop, sealed) = (lamp.hop.unwrap(), inner(1, b"\x81sealed for the other"));
        match at_gateway {
            true => lamp.node.forward_lightly(hop, (0, 0), sealed).unwrap(),
            false => lamp.send(sealed),
        }
        let received = end.receive().await.unwrap();
        assert_eq!(received, inner(2, b"\x81sealed for the other"));
        end.send(&inner(2, b"\x81answer")).await;
        let expected = HopEvent::Message {
            hop,
            message: inner(1, b"\x81answer"),
            is_light,
        };
        assert_eq!(lamp.event().await, expected);
        let statistics = started.gateway.itls_statistics();
        assert_eq!(statistics.light, u64::from(is_light));
        assert_eq!((statistics.to_devices, statistics.to_users), (2, 1));
        started.gateway.shutdown().await;
    }
    // A device that wasn't asked to, and does it all the same.
    let mut lamp = Hop::with(|config| config.endpoint.light_layer = true).await;
    let config = config(lamp.node.local_addr());
    let started = start_with(config, |mut itls| {
        itls.light = true;
        itls
    });
    let started = started.await;
    let mut end = InternetEnd::user(&started, TOKEN).await;
    end.send(&open(2, "lamp", HELLO)).await;
    lamp.established().await;
    lamp.receive().await;
    lamp.send(open(2, "robot", HELLO));
    let opened = end.receive().await.unwrap();
    assert_eq!(opened, open(1, "lamp", HELLO));
    let hop = lamp.hop.unwrap();
    let unasked = inner(2, b"\x81unasked");
    lamp.node.forward_lightly(hop, (0, 0), unasked).unwrap();
    lamp.send(inner(2, b"\x81asked"));
    assert_eq!(end.receive().await.unwrap(), inner(1, b"\x81asked"));
    let dropped = started.gateway.itls_statistics();
    assert_eq!(dropped.dropped(DropReason::UnexpectedMessage), 1);
    assert_eq!(dropped.light, 0);
    started.gateway.shutdown().await;
}

/// A device that comes by itself, and begins.
#[tokio::test]
async fn device_begins_a_session_and_a_flow_to_the_user_that_it_may_call() {
    let caller = ItlsCaller {
        device: "lamp".to_owned(),
        psk_identity: b"lamp".to_vec(),
        psk: Psk::new(CALLERS_KEY).unwrap(),
    };
    let started = start_with(config(nowhere()), |itls| {
        itls.with_caller(loopback(), caller)
    })
    .await;
    let node = Node::bind_client(loopback(), hop_config()).await.unwrap();
    let mut lamp = Hop::of(node);
    let shown = Credentials::new("lamp", Psk::new(CALLERS_KEY).unwrap(), PeerId(3));
    let target = Target {
        address: started.gateway.itls_devices_addr().unwrap(),
        credentials: Some(Arc::new(shown.unwrap())),
    };
    lamp.node.begin_hop(&target).unwrap();
    lamp.established().await;
    // Nobody is there yet; one that it may not call is refused as one that there isn't.
    lamp.send(open(2, "robot", HELLO));
    assert_eq!(lamp.receive().await, close(2, CloseReason::Gone));
    lamp.send(open(2, "alice", HELLO));
    assert_eq!(lamp.receive().await, close(2, CloseReason::Refused));
    lamp.send(open(2, "nobody", HELLO));
    assert_eq!(lamp.receive().await, close(2, CloseReason::Refused));
    let mut end = InternetEnd::user(&started, TOKEN).await;
    // The Internet end reaches the device by the session that the device has begun, which shows that both
    // are there.
    end.send(&open(2, "lamp", HELLO)).await;
    assert_eq!(lamp.receive().await, open(1, "robot", HELLO));
    let mut ends = Inner {
        rng: TestRng::new(2),
    };
    let initiator = ends.initiator(End::Device, binding(2));
    lamp.send(open(4, "robot", initiator.hello()));
    let opened = end.receive().await.unwrap();
    assert_eq!(opened, open(1, "lamp", initiator.hello()));
    let responder = Responder::new(SoftCrypto, Settings::new(End::Internet));
    let store = (b"pair".as_slice(), end_to_end(), PeerId(1));
    let hello = payload(opened);
    let own = end.binding();
    let Ok(half_open) = responder.handle_hello(&mut ends.env(), &store, &[], own, &hello) else {
        panic!("refused");
    };
    end.send(&inner(1, half_open.answer())).await;
    let answer = payload(lamp.receive().await);
    assert!(matches!(
        initiator.handle_message(&binding(2), &answer),
        InitiatorStep::Established(_)
    ));
    started.gateway.shutdown().await;
}

#[tokio::test]
async fn device_in_another_mode_and_one_that_is_unknown_are_refused_alike() {
    let started = start(nowhere()).await;
    let mut end = InternetEnd::user(&started, TOKEN).await;
    for name in ["meter", "nobody", "alice", "Lamp", ""] {
        end.send(&open(2, name, HELLO)).await;
        assert_eq!(end.receive().await, Some(close(2, CloseReason::Refused)));
    }
    let statistics = started.gateway.itls_statistics();
    assert_eq!((statistics.refused, statistics.opened), (5, 0));
    started.gateway.shutdown().await;
}

#[tokio::test]
async fn nobody_but_users_is_let_in_and_nothing_is_taken_before() {
    let started = start(nowhere()).await;
    for shown in ["Bearer fedcba9876543210", "Basic YWxpY2U6d3Jvbmc=", ""] {
        let mut end = InternetEnd::user(&started, shown).await;
        assert_eq!(end.receive().await, Some(close(0, CloseReason::Refused)));
        assert_eq!(end.receive().await, None);
    }
    let by_password = "Basic YWxpY2U6Y29ycmVjdCBob3JzZQ==";
    let mut end = InternetEnd::user(&started, by_password).await;
    end.send(&open(2, "nobody", HELLO)).await;
    assert_eq!(end.receive().await, Some(close(2, CloseReason::Refused)));
    // Another first message, one of another flow, and one that is too long.
    let user = Control::User(ItlsUser {
        takes_flows: false,
        shown: TOKEN.as_bytes(),
    });
    for first in [
        open(2, "lamp", HELLO),
        message(2, Some(&user), &[]),
        vec![0xe0; 1_100],
        Vec::new(),
    ] {
        let mut end = InternetEnd::connect(&started, b"hedgerow-itls").await;
        end.send(&first).await;
        assert_eq!(end.receive().await, None);
    }
    // Without the application protocol agreed on.
    let mut end = InternetEnd::connect(&started, b"").await;
    let _ = end.stream.write_all(&[0, 3]).await;
    assert_eq!(end.receive().await, None);
    assert_eq!(started.gateway.itls_statistics().opened, 0);
    started.gateway.shutdown().await;
}

#[tokio::test]
async fn connections_of_a_user_and_flows_that_it_opens_are_bounded() {
    let mut lamp = Hop::listening().await;
    let change = |mut itls: Itls| {
        itls.connections_per_user = 2;
        itls
    };
    let started = start_with(config(lamp.node.local_addr()), change).await;
    let mut first = InternetEnd::user(&started, TOKEN).await;
    first.send(&open(2, "nobody", HELLO)).await;
    assert!(first.receive().await.is_some());
    let mut second = InternetEnd::user(&started, TOKEN).await;
    second.send(&open(2, "nobody", HELLO)).await;
    assert!(second.receive().await.is_some());
    let mut third = InternetEnd::user(&started, TOKEN).await;
    assert_eq!(third.receive().await, Some(close(0, CloseReason::Busy)));
    // Its place is free once the gateway has seen the end.
    drop(second);
    loop {
        let mut end = InternetEnd::user(&started, TOKEN).await;
        let asked = [&[0, 16], open(2, "nobody", HELLO).as_slice()].concat();
        assert_eq!(asked.len(), 18);
        // One that is refused may be closed already.
        let _ = end.stream.write_all(&asked).await;
        if end.receive().await == Some(close(2, CloseReason::Refused)) {
            break;
        }
    }
    // Four with one device, and ten in a while on all its connections, of which three were asked for.
    for flow in 1..=10 {
        first.send(&open(2 * flow, "lamp", HELLO)).await;
    }
    for flow in 5..=10 {
        let busy = close(2 * flow, CloseReason::Busy);
        assert_eq!(first.receive().await, Some(busy));
    }
    lamp.established().await;
    for number in 0..4 {
        let expected = open(2 * number + 1, "robot", HELLO);
        assert_eq!(lamp.receive().await, expected);
    }
    started.gateway.shutdown().await;
}

#[tokio::test]
async fn close_passes_in_either_direction_and_ends_one_flow() {
    let mut lamp = Hop::listening().await;
    let (started, mut end) = talking(&mut lamp).await;
    end.send(&open(4, "lamp", HELLO)).await;
    assert_eq!(lamp.receive().await, open(3, "robot", HELLO));
    end.send(&close(2, CloseReason::Done)).await;
    assert_eq!(lamp.receive().await, close(1, CloseReason::Done));
    lamp.send(inner(1, DATA));
    assert_eq!(lamp.receive().await, close(1, CloseReason::UnknownFlow));
    lamp.send(inner(3, DATA));
    assert_eq!(end.receive().await, Some(inner(4, DATA)));
    lamp.send(close(3, CloseReason::Busy));
    assert_eq!(end.receive().await, Some(close(4, CloseReason::Busy)));
    assert_eq!(started.gateway.itls_statistics().open, 0);
    started.gateway.shutdown().await;
}

#[tokio::test]
async fn end_of_either_outer_session_is_told_to_the_other_end() {
    let mut lamp = Hop::listening().await;
    let (started, mut end) = talking(&mut lamp).await;
    let mut second = InternetEnd::user(&started, TOKEN).await;
    second.send(&open(2, "lamp", HELLO)).await;
    assert_eq!(lamp.receive().await, open(3, "robot", HELLO));
    // One connection breaks off.
    drop(second);
    assert_eq!(lamp.receive().await, close(3, CloseReason::Gone));
    // The device's session ends.
    lamp.node.close().await;
    assert_eq!(end.receive().await, Some(close(2, CloseReason::Gone)));
    end.send(&inner(2, DATA)).await;
    let unknown = close(2, CloseReason::UnknownFlow);
    assert_eq!(end.receive().await, Some(unknown));
    // And no new one comes about.
    end.send(&open(4, "lamp", HELLO)).await;
    assert_eq!(end.receive().await, Some(close(4, CloseReason::Gone)));
    let statistics = started.gateway.itls_statistics();
    assert_eq!((statistics.open, statistics.gone), (0, 1));
    started.gateway.shutdown().await;
}

/// A new handshake is another outer session, though the address is the same.
#[tokio::test]
async fn device_that_restarts_has_another_outer_session() {
    let mut lamp = Hop::listening().await;
    let (started, mut end) = talking(&mut lamp).await;
    let at = lamp.node.local_addr();
    lamp.node.close().await;
    assert_eq!(end.receive().await, Some(close(2, CloseReason::Gone)));
    let keys = KeyStore::new();
    let psk = Psk::new(KEY).unwrap();
    keys.insert("gateway", psk, PeerId(1)).unwrap();
    let node = Node::bind_server(at, hop_config(), keys, nothing).await;
    let mut lamp = Hop::of(node.unwrap());
    end.send(&open(4, "lamp", HELLO)).await;
    lamp.established().await;
    // Numbers begin anew there.
    assert_eq!(lamp.receive().await, open(1, "robot", HELLO));
    started.gateway.shutdown().await;
}

#[tokio::test]
async fn what_does_not_fit_the_other_hop_is_told_to_its_sender() {
    let mut lamp = Hop::listening().await;
    let (started, mut end) = talking(&mut lamp).await;
    let long = vec![0x81; 20_000];
    end.send(&inner(2, &long)).await;
    let told = message(2, Some(&Control::TooLong(20_000)), &[]);
    assert_eq!(end.receive().await, Some(told));
    end.send(&inner(2, DATA)).await;
    assert_eq!(lamp.receive().await, inner(1, DATA));
    let statistics = started.gateway.itls_statistics();
    assert_eq!(statistics.dropped(DropReason::TooLong), 1);
    started.gateway.shutdown().await;
}

#[tokio::test]
async fn internet_end_that_does_not_read_loses_messages_and_nobody_else_does() {
    let mut lamp = Hop::listening().await;
    let (started, mut slow) = talking(&mut lamp).await;
    let mut other = InternetEnd::user(&started, TOKEN).await;
    other.send(&open(2, "lamp", HELLO)).await;
    assert_eq!(lamp.receive().await, open(3, "robot", HELLO));
    let big = [&[0x81][..], &[7; 1_200]].concat();
    // More than what waits, and what the system buffers.
    while started.gateway.itls_statistics().undelivered == 0 {
        for _ in 0..64 {
            let _ = lamp.node.forward(lamp.hop.unwrap(), (0, 0), inner(1, &big));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    lamp.send(inner(3, DATA));
    assert_eq!(other.receive().await, Some(inner(2, DATA)));
    // Once it reads, the flow goes on.
    let reading = async { while slow.receive().await == Some(inner(2, &big)) {} };
    let ending = async {
        loop {
            // What waits may have no room for it yet.
            lamp.send(inner(1, DATA));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = reading => {}
        () = ending => {}
    }
    started.gateway.shutdown().await;
}

#[tokio::test]
async fn flow_without_a_message_is_closed_at_both_ends() {
    let mut lamp = Hop::listening().await;
    let change = |mut itls: Itls| {
        itls.idle_timeout = Duration::from_millis(200);
        itls
    };
    let started = start_with(config(lamp.node.local_addr()), change).await;
    let mut end = InternetEnd::user(&started, TOKEN).await;
    end.send(&open(2, "lamp", HELLO)).await;
    lamp.established().await;
    assert_eq!(lamp.receive().await, open(1, "robot", HELLO));
    assert_eq!(lamp.receive().await, close(1, CloseReason::Done));
    assert_eq!(end.receive().await, Some(close(2, CloseReason::Done)));
    started.gateway.shutdown().await;
}

#[test]
fn configuration_names_listeners_users_and_keys_of_the_hop() {
    let (_, pair) = itls();
    let folder = std::env::temp_dir().join(format!("hedgerow-itls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("cert.pem"), pair.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), pair.signing_key.serialize_pem()).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(folder.join("key.pem"), private).unwrap();
    }
    let text = r#"
        [http]
        enabled = false
        [itls]
        listen = "127.0.0.1:0"
        certificate = "cert.pem"
        private_key = "key.pem"
        connections_per_user = 3
        flows = 32
        flows_per_pair = 2
        messages_per_second = 5
        device_messages_per_second = 8
        idle_timeout = "10min"
        light = true
        listen_devices = "127.0.0.1:0"
        [[itls.caller]]
        device = "lamp"
        psk_identity = "lamp"
        psk = "0x000102030405060708090a0b0c0d0e0f"
        [[user]]
        name = "robot"
        token = "0123456789abcdef"
        [[device]]
        name = "lamp"
        uri = "coaps://192.0.2.9"
        modes = ["itls"]
        security = "psk"
        psk_identity = "gateway"
        psk = "0x101112131415161718191a1b1c1d1e1f"
        calls = ["robot"]
    "#;
    let read = |text: &str| Config::from_toml(text, "t", &folder);
    let config = read(text).unwrap();
    let itls = config.itls.unwrap();
    assert_eq!((itls.connections_per_user, itls.flows), (3, 32));
    let rates = (itls.messages_per_second, itls.device_messages_per_second);
    assert_eq!((itls.flows_per_pair, rates), (2, (5, 8)));
    assert_eq!(itls.idle_timeout, Duration::from_secs(600));
    assert_eq!(itls.callers[0].device, "lamp");
    assert!(itls.light && !self::itls().0.light);
    for (from, to, expected) in [
        (
            "calls = [\"robot\"]",
            "calls = [\"nobody\"]",
            "device.calls",
        ),
        ("device = \"lamp\"", "device = \"meter\"", "caller.device"),
        ("light = true", "light = \"yes\"", "itls.light"),
        // The key of a device that opens streams.
        (
            "[[user]]",
            "[leg]\nlisten = \"127.0.0.1:0\"\n[[leg.peer]]\nname = \"a\"\npsk_identity = \"a\"\n\
             psk = \"0x000102030405060708090a0b0c0d0e0f\"\nservices = [\"b\"]\n[[leg.service]]\n\
             name = \"b\"\nhost = \"c\"\nport = 1\n[[user]]",
            "caller.psk",
        ),
        // One key for both directions.
        ("0x0001020304", "0x1011121314", ""),
        (
            "0x000102030405060708090a0b0c0d0e0f",
            "0x101112131415161718191a1b1c1d1e1f",
            "caller.psk",
        ),
        (
            "listen_devices = \"127.0.0.1:0\"",
            "",
            "itls.listen_devices",
        ),
        ("coaps:", "coaps+tcp:", "device.modes"),
        (
            "security = \"psk\"",
            "security = \"sharedkey\"",
            "device.security",
        ),
        ("name = \"robot\"", "name = \"alice\"", "device.calls"),
        (
            "modes = [\"itls\"]",
            "modes = [\"terminate\"]",
            "device.calls",
        ),
        (
            "certificate = \"cert.pem\"",
            "certificate = \"none.pem\"",
            "itls.certificate",
        ),
        (
            "connections_per_user = 3",
            "connections_per_user = 0",
            "itls.connections_per_user",
        ),
        (
            "flows_per_pair = 2",
            "flows_per_pair = 17",
            "itls.flows_per_pair",
        ),
        (
            "device_messages_per_second = 8",
            "device_messages_per_second = 10001",
            "itls.device_messages_per_second",
        ),
        // One user would have all of the device's, with and without the other line.
        (
            "        messages_per_second = 5",
            "        messages_per_second = 7",
            "",
        ),
        (
            "        messages_per_second = 5",
            "        messages_per_second = 8",
            "itls.messages_per_second",
        ),
        ("device_messages_per_second = 8", "", ""),
        (
            "        messages_per_second = 5",
            "",
            "itls.messages_per_second",
        ),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from}");
        match read(&changed) {
            Ok(_) => assert_eq!(expected, "", "{to}"),
            Err(error) => assert!(
                !expected.is_empty() && error.to_string().contains(expected),
                "{error}"
            ),
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The ends as they are shipped, with a gateway between them that also holds a `terminate` key for the device.
#[tokio::test]
async fn requests_of_a_node_are_answered_by_a_device_through_the_gateway() {
    let keys = KeyStore::new();
    let psk = Psk::new(KEY).unwrap();
    keys.insert("gateway", psk, PeerId(1)).unwrap();
    keys.insert("pair", end_to_end(), PeerId(2)).unwrap();
    let mut device = NodeConfig::default();
    device.endpoint.inner = Some(InnerConfig::new(Settings::new(End::Device)));
    let (resources, _) = Resources::new();
    let device = Node::bind_server(loopback(), device, keys, resources).await;
    let device = device.unwrap();
    let started = start(device.local_addr()).await;
    let authorities = Authorities::new(started.pair.cert.pem().as_bytes()).unwrap();
    let tls = GatewayTls::authorities(&authorities).unwrap();
    let port = started.gateway.itls_addr().unwrap().port();
    let uri = format!("https://localhost:{port}").parse().unwrap();
    let mut config = ItlsConfig::new(uri, tls);
    config.user = Some(GatewayUser::with_token("0123456789abcdef").unwrap());
    let opened = itls_link(&config, "lamp").await.unwrap();
    let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required);
    let end = LinkedNode::new(opened.link, NodeConfig::default().with_security(policy));
    let shown = Credentials::new("pair", end_to_end(), PeerId(9)).unwrap();
    let shown = Arc::new(shown);
    for (path, expected) in [
        ("temperature", b"21.5".to_vec()),
        ("history", support::history()),
    ] {
        let get = RequestMessage::new(Code::GET).option(OptionNumber::URI_PATH, path);
        let response = end.request(Some(&shown), get).await.unwrap();
        assert_eq!(response.payload, expected);
    }
    assert_eq!(end.peer().await, Some(Peer::EndToEndPsk(PeerId(9))));
    // CoAP of the gateway's own goes beside it in the same session.
    let reply = support::get(&started.gateway, "/devices/lamp/temperature").await;
    assert_eq!(reply.text(), "21.5");
    assert_eq!(started.gateway.statistics().established, 1);
    let statistics = started.gateway.itls_statistics();
    assert_eq!((statistics.opened, statistics.undelivered), (1, 0));
    assert!(statistics.to_devices > 30 && statistics.to_users > 30);
    end.close().await;
    started.gateway.shutdown().await;
}
