//! Two keys, over real outer sessions (`docs/specs/itls.md`): an Internet end on TLS, a device on DTLS, and a
//! gateway that takes one outer layer off and puts the other one on.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs
)]

use hedgerow_core::{
    Credentials, Env, Event, Instant, PeerId, Psk, Secret, SecureChannel, SecureStream, Writer,
};
use hedgerow_crypto_soft::{SoftAead, SoftCrypto};
use hedgerow_handshake::{
    Acceptance, Acceptor, Buffers, ClientHandshake, Exporter, ServerHandshake, Session, Settings,
    TlsClientHandshake, TlsServerHandshake, TlsSession,
};
use hedgerow_itls::{
    End, Envelope, Initiator, InitiatorKey, InitiatorStep, LIGHT_LAYER_LABEL, LightLayer,
    OUTER_BINDING_LABEL, OuterBinding, OuterRole, Responder, ResponderStep, RoutingHeader,
};
use hedgerow_record::CipherSuite;
use hedgerow_sim::TestRng;

const SECRET: &[u8] = b"what the gateway must not read";
/// What the gateway has: the key of its hop with the device, as for `terminate`.
const HOP_KEY: &[u8] = b"the gateway's one";
const END_KEY: &[u8] = b"the two ends' one";
/// A flow's number on each hop.
const INTERNETS_FLOW: u16 = 2;
const DEVICES_FLOW: u16 = 1;

fn settings() -> Settings {
    Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM_8])
}

fn buffers() -> Buffers<[u8; 512]> {
    Buffers {
        incoming: [0; 512],
        outgoing: [0; 512],
    }
}

/// One side of an outer session, and what names the session.
struct Outer<S> {
    session: S,
    exporter: Exporter<SoftCrypto>,
}

impl<S> Outer<S> {
    fn binding(&self) -> OuterBinding {
        let mut exported = [0; 32];
        let exporter = &self.exporter;
        exporter
            .export(OUTER_BINDING_LABEL, None, &mut exported)
            .unwrap();
        OuterBinding::new(exported)
    }
}

type TlsPair = [Outer<TlsSession<SoftAead>>; 2];
type DtlsPair = [Outer<Session<SoftAead>>; 2];

/// The Internet end's side and the gateway's.
fn tls(env: &mut Env<'_>) -> TlsPair {
    let psk = Psk::new(HOP_KEY).unwrap();
    let shown = Credentials {
        psk_identity: b"hop",
        psk: &psk,
        peer: PeerId(1),
    };
    let store = (b"hop".as_slice(), Psk::new(HOP_KEY).unwrap(), PeerId(2));
    let client = TlsClientHandshake::new(SoftCrypto, shown, settings(), buffers(), env);
    let server = TlsServerHandshake::new(SoftCrypto, &store, settings(), buffers(), env);
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    let mut bytes = [0; 1024];
    let len = client.poll_transmit(env, &mut bytes).unwrap().unwrap();
    server.handle_bytes(env, &mut bytes[..len]).unwrap();
    let len = server.poll_transmit(env, &mut bytes).unwrap().unwrap();
    let mut rest = &mut bytes[..len];
    while let Some(received) = client.handle_bytes(env, rest).unwrap() {
        rest = received.rest;
    }
    let len = client.poll_transmit(env, &mut bytes).unwrap().unwrap();
    let mut rest = &mut bytes[..len];
    while let Some(received) = server.handle_bytes(env, rest).unwrap() {
        rest = received.rest;
    }
    let mut server = server.into_session().unwrap();
    let len = server
        .session
        .poll_transmit(env, &mut bytes)
        .unwrap()
        .unwrap();
    let mut rest = &mut bytes[..len];
    while let Some(received) = client.handle_bytes(env, rest).unwrap() {
        rest = received.rest;
    }
    let client = client.into_session().unwrap();
    [
        Outer {
            session: client.session,
            exporter: client.exporter,
        },
        Outer {
            session: server.session,
            exporter: server.exporter,
        },
    ]
}

/// The gateway's side, which is the client, and the device's.
fn dtls(env: &mut Env<'_>) -> DtlsPair {
    let psk = Psk::new(HOP_KEY).unwrap();
    let shown = Credentials {
        psk_identity: b"hop",
        psk: &psk,
        peer: PeerId(1),
    };
    let store = (b"hop".as_slice(), Psk::new(HOP_KEY).unwrap(), PeerId(2));
    let (mut up, mut down) = ([0; 1200], [0; 1200]);
    let acceptor = Acceptor::new(SoftCrypto, settings(), env);
    let mut client = ClientHandshake::new(SoftCrypto, shown, settings(), buffers(), env).unwrap();
    let hello = loop {
        let len = client.poll_transmit(env, &mut up).unwrap().unwrap();
        match acceptor.handle_datagram(env, b"address", &mut up[..len], &mut down) {
            Acceptance::Accept(hello) => break hello,
            Acceptance::Answer(len) => drop(client.handle_datagram(env, &mut down[..len])),
            _ => panic!("refused"),
        }
    };
    let mut server =
        ServerHandshake::new(SoftCrypto, &store, settings(), hello, buffers(), env).unwrap();
    let len = server.poll_transmit(env, &mut down).unwrap().unwrap();
    let mut rest = &mut down[..len];
    while !rest.is_empty() {
        rest = client.handle_datagram(env, rest).unwrap().rest;
    }
    let len = client.poll_transmit(env, &mut up).unwrap().unwrap();
    let mut rest = &mut up[..len];
    while !rest.is_empty() {
        rest = server.handle_datagram(env, rest).unwrap().rest;
    }
    let mut server = server.into_session().unwrap();
    let len = server
        .session
        .poll_transmit(env, &mut down)
        .unwrap()
        .unwrap();
    let mut rest = &mut down[..len];
    while !rest.is_empty() {
        rest = client.handle_datagram(env, rest).unwrap().rest;
    }
    let client = client.into_session().unwrap();
    [
        Outer {
            session: client.session,
            exporter: client.exporter,
        },
        Outer {
            session: server.session,
            exporter: server.exporter,
        },
    ]
}

/// Both hops, and what passed the gateway without its outer layers.
struct Path {
    rng: TestRng,
    tls: TlsPair,
    dtls: DtlsPair,
    seen: Vec<u8>,
    /// Octets of the last message on the TLS and on the DTLS hop.
    lens: (usize, usize),
}

impl Path {
    fn new() -> Self {
        let mut rng = TestRng::new(1);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let (tls, dtls) = (tls(env), dtls(env));
        Self {
            rng,
            tls,
            dtls,
            seen: Vec::new(),
            lens: (0, 0),
        }
    }

    fn routed(flow: u16, message: &[u8]) -> Vec<u8> {
        let mut out = [0; 1024];
        let mut writer = Writer::new(&mut out);
        let is_control = false;
        RoutingHeader { flow, is_control }
            .encode(&mut writer)
            .unwrap();
        writer.bytes(message).unwrap();
        writer.written().to_vec()
    }

    /// What the gateway does with a message: nothing but another header.
    fn forward(&mut self, from: u16, to: u16, plaintext: &[u8]) -> Vec<u8> {
        self.seen.extend_from_slice(plaintext);
        let (header, message) = RoutingHeader::decode(plaintext).unwrap();
        assert_eq!((header.flow, header.is_control), (from, false));
        Self::routed(to, message)
    }

    fn carry_to_device(&mut self, message: &[u8]) -> Vec<u8> {
        // On a stream each message has its length before it.
        let mut out = [0; 1024];
        let mut writer = Writer::new(&mut out);
        writer
            .vector16(&Self::routed(INTERNETS_FLOW, message))
            .unwrap();
        let mut sealed = [0; 1024];
        let tls_len = self.tls[0]
            .session
            .seal(writer.written(), &mut sealed)
            .unwrap();
        let framed = self.open_tls(1, &mut sealed[..tls_len]);
        let routed = self.forward(INTERNETS_FLOW, DEVICES_FLOW, &framed[2..]);
        let dtls_len = self.dtls[0].session.seal(&routed, &mut sealed).unwrap();
        let opened = self.open_dtls(1, &mut sealed[..dtls_len]);
        self.lens = (tls_len, dtls_len);
        RoutingHeader::decode(&opened).unwrap().1.to_vec()
    }

    fn carry_to_internet(&mut self, message: &[u8]) -> Vec<u8> {
        let mut sealed = [0; 1024];
        let routed = Self::routed(DEVICES_FLOW, message);
        let dtls_len = self.dtls[1].session.seal(&routed, &mut sealed).unwrap();
        let opened = self.open_dtls(0, &mut sealed[..dtls_len]);
        let routed = self.forward(DEVICES_FLOW, INTERNETS_FLOW, &opened);
        let mut out = [0; 1024];
        let mut writer = Writer::new(&mut out);
        writer.vector16(&routed).unwrap();
        let tls_len = self.tls[1]
            .session
            .seal(writer.written(), &mut sealed)
            .unwrap();
        let framed = self.open_tls(0, &mut sealed[..tls_len]);
        self.lens = (tls_len, dtls_len);
        RoutingHeader::decode(&framed[2..]).unwrap().1.to_vec()
    }

    fn open_tls(&mut self, side: usize, bytes: &mut [u8]) -> Vec<u8> {
        let env = &mut Env::new(Instant::ZERO, &mut self.rng);
        let received = self.tls[side].session.handle_bytes(env, bytes).unwrap();
        match received.unwrap().event {
            Some(Event::Plaintext(text)) => text.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    fn open_dtls(&mut self, side: usize, datagram: &mut [u8]) -> Vec<u8> {
        let env = &mut Env::new(Instant::ZERO, &mut self.rng);
        let received = self.dtls[side].session.handle_datagram(env, datagram);
        match received.unwrap().event {
            Some(Event::Plaintext(text)) => text.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    /// One round trip over both hops, and a first message.
    fn establish(&mut self) -> (Envelope<SoftAead>, Envelope<SoftAead>) {
        let key = || Psk::new(END_KEY).unwrap().into_end_to_end().unwrap();
        let (psk, store) = (key(), (b"end".as_slice(), key(), PeerId(1)));
        let credentials = Credentials {
            psk_identity: b"end",
            psk: &psk,
            peer: PeerId(2),
        };
        let key = InitiatorKey::EndToEnd(credentials);
        let (mine, theirs) = (self.tls[0].binding(), self.dtls[1].binding());
        let initiator = {
            let env = &mut Env::new(Instant::ZERO, &mut self.rng);
            let settings = hedgerow_itls::Settings::new(End::Internet);
            Initiator::new(SoftCrypto, settings, key, mine, env).unwrap()
        };
        let hello = self.carry_to_device(initiator.hello());
        let responder = Responder::new(SoftCrypto, hedgerow_itls::Settings::new(End::Device));
        let half_open = {
            let env = &mut Env::new(Instant::ZERO, &mut self.rng);
            responder
                .handle_hello(env, &store, &[], theirs, &hello)
                .unwrap()
        };
        let answer = self.carry_to_internet(half_open.answer());
        let InitiatorStep::Established(mut left) = initiator.handle_message(&mine, &answer) else {
            panic!("not established");
        };
        let mut out = [0; 64];
        let len = left.seal_confirmation(&mut out).unwrap();
        let mut first = self.carry_to_device(&out[..len]);
        match half_open.handle_message(&theirs, &mut first) {
            ResponderStep::Established(right, Ok(_)) => (left, right),
            other => panic!("{other:?}"),
        }
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The costs that the specification states: 34 octets on TLS, 40 on DTLS.
#[test]
fn messages_pass_a_gateway_that_reads_nothing_at_the_stated_cost() {
    let mut path = Path::new();
    let (mut left, mut right) = path.establish();
    assert!(left.has_forward_secrecy());
    let mut out = [0; 128];
    for _ in 0..10 {
        let len = left.seal(SECRET, &mut out).unwrap();
        let mut message = path.carry_to_device(&out[..len]);
        assert_eq!(path.lens, (SECRET.len() + 34, SECRET.len() + 40));
        let over = path.dtls[1].binding();
        let received = right.open(&over, &mut message).unwrap();
        assert_eq!(received.event, Some(Event::Plaintext(&mut SECRET.to_vec())));

        let len = right.seal(SECRET, &mut out).unwrap();
        let mut message = path.carry_to_internet(&out[..len]);
        assert_eq!(path.lens, (SECRET.len() + 34, SECRET.len() + 40));
        let over = path.tls[0].binding();
        let received = left.open(&over, &mut message).unwrap();
        assert_eq!(received.event, Some(Event::Plaintext(&mut SECRET.to_vec())));
    }
    // The identity in the hello is the positive control for the search.
    assert!(contains(&path.seen, b"end"));
    assert!(!contains(&path.seen, &SECRET[..8]));
}

/// Both sides of a hop know its binding, and the two hops have different ones.
#[test]
fn bindings_are_those_of_the_hops() {
    let path = Path::new();
    let [tls, dtls] = [
        [0, 1].map(|n| path.tls[n].binding()),
        [0, 1].map(|n| path.dtls[n].binding()),
    ];
    assert!(tls[0].is_same(&tls[1]) && dtls[0].is_same(&dtls[1]));
    assert!(!tls[0].is_same(&dtls[0]));
}

/// 21 octets instead of 40, with keys from the exporter of the same DTLS session.
#[test]
fn light_layer_carries_messages_beside_the_records_at_the_stated_cost() {
    let mut path = Path::new();
    let (mut left, mut right) = path.establish();
    let layer = |outer: &Outer<_>, role| {
        let material = Secret::fill_with(|bytes| {
            outer
                .exporter
                .export(LIGHT_LAYER_LABEL, None, bytes)
                .unwrap();
        });
        LightLayer::new(&SoftCrypto, &material, role).unwrap()
    };
    let mut gateways = layer(&path.dtls[0], OuterRole::Client);
    let mut devices = layer(&path.dtls[1], OuterRole::Server);
    let (mut message, mut datagram) = ([0; 128], [0; 128]);
    let len = left.seal(SECRET, &mut message).unwrap();
    let len = gateways
        .seal(DEVICES_FLOW, &message[..len], &mut datagram)
        .unwrap();
    assert_eq!(len, SECRET.len() + 21);
    assert!(datagram[0] >= 0xc0, "neither a record nor CoAP");
    let (flow, inner) = devices.open(&mut datagram[..len]).unwrap();
    assert_eq!(flow, DEVICES_FLOW);
    let received = right.open(&path.dtls[1].binding(), inner).unwrap();
    assert_eq!(received.event, Some(Event::Plaintext(&mut SECRET.to_vec())));
}
