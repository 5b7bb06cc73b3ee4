//! Sessions of `hedgerow-itls` with an active gateway between the ends.
//!
//! Both ends hold the right key, or in some scripts the initiator a wrong one; the gateway holds none.
//! The input is a script:
//!
//! ```text
//! config(1)  key agreement (bit 0), tag of 16 bytes (bit 1), wrong key (bit 2)
//! then steps, each with what it takes:
//! op(1)      what to do (4 bits), way: 0 to the responder, 1 to the initiator (bit 4)
//! ```
//!
//! | op | takes | does |
//! | --- | --- | --- |
//! | 0 | | delivers the first message |
//! | 1 | | takes it out |
//! | 2 | bit(2) | changes a bit of it |
//! | 3 | n(1) | puts a copy of the n-th message that was ever sent, in either direction, before the others |
//! | 4 | length(1) bytes | puts bytes before the others |
//! | 5 | | swaps the first two |
//! | 6 | length(1) | the way's sender sends data |
//! | 7 | | the way's sender closes |
//! | 8 | | the initiator sends its hello again |
//! | 9 | | delivers the first message over another outer session |
//! | 10 | | delivers all |

use std::collections::{BTreeSet, VecDeque};

use hedgerow_core::{
    Credentials, DropReason, Env, Event, Instant, PeerId, Psk, Reader, Received, Secret, Writer,
};
use hedgerow_crypto_soft::{SoftAead, SoftCrypto};
use hedgerow_itls::{
    Control, End, Envelope, HalfOpen, Initiator, InitiatorKey, InitiatorStep, LightLayer,
    OuterBinding, OuterRole, Responder, ResponderStep, RoutingHeader, Settings, Suite,
};
use hedgerow_sim::TestRng;

/// Reads the input as what a gateway reads and as a light datagram, and runs it as a script.
pub fn itls(input: &[u8]) {
    reads(input);
    let mut script = Reader::new(input);
    let Ok(config) = script.u8() else {
        return;
    };
    let mut world = World::new(config);
    // A script is as long as the attacker likes, but an input should not take long.
    for _ in 0..MAX_STEPS {
        if world.step(&mut script).is_none() {
            break;
        }
    }
    world.conclude();
}

/// What reads is written again, and what was never sealed stays shut.
fn reads(input: &[u8]) {
    if let Ok((header, rest)) = RoutingHeader::decode(input) {
        let mut out = vec![0; input.len()];
        let mut writer = Writer::new(&mut out);
        header.encode(&mut writer).expect("it was that long");
        assert_eq!(writer.written(), &input[..header.encoded_len()]);
        assert!(!rest.is_empty());
        if let Ok(control) = Control::decode(rest) {
            control.encode(&mut writer).expect("it was that long");
            let again = &writer.written()[header.encoded_len()..];
            assert_eq!(Control::decode(again), Ok(control));
        }
    }
    let material = Secret::fill_with(|bytes| bytes.fill(0x5a));
    let layer = |role| LightLayer::new(&SoftCrypto, &material, role).expect("it is offered");
    let (mut client, mut server) = (layer(OuterRole::Client), layer(OuterRole::Server));
    assert!(server.open(&mut input.to_vec()).is_err());
    let Some((&flow, message)) = input.split_first() else {
        return;
    };
    let mut out = vec![0; message.len() + 16];
    if let Ok(len) = client.seal(flow.into(), message, &mut out) {
        let datagram = &mut out[..len];
        let mut copy = datagram.to_vec();
        let opened = server.open(datagram).map(|(flow, text)| (flow, &*text));
        assert_eq!(opened, Ok((u16::from(flow), message)));
        assert_eq!(server.open(&mut copy).err(), Some(DropReason::Replayed));
    }
}

/// What an end has come to.
enum State {
    Begun(Box<Initiator<SoftCrypto>>),
    Idle,
    HalfOpen(Box<HalfOpen<SoftAead>>),
    Established(Box<Envelope<SoftAead>>),
    GivenUp,
}

struct Side {
    state: State,
    binding: OuterBinding,
    /// What it has sealed, and how often it closed.
    sent: Vec<Vec<u8>>,
    has_closed: bool,
    /// What came to it from the other side.
    received: BTreeSet<Vec<u8>>,
}

impl Side {
    const fn new(state: State, binding: OuterBinding) -> Self {
        Self {
            state,
            binding,
            sent: Vec::new(),
            has_closed: false,
            received: BTreeSet::new(),
        }
    }
}

struct World {
    sides: [Side; 2],
    /// To the responder, to the initiator.
    ways: [VecDeque<Vec<u8>>; 2],
    history: Vec<Vec<u8>>,
    responder: Responder<SoftCrypto>,
    store: (&'static [u8], Psk, PeerId),
    hello: Vec<u8>,
    is_key_right: bool,
    has_interfered: bool,
    rng: TestRng,
}

impl World {
    fn new(config: u8) -> Self {
        let mut rng = TestRng::new(config.into());
        let suite = match config & 2 {
            0 => Suite::Aes128Ccm8,
            _ => Suite::Aes128Ccm,
        };
        let settings = |end| {
            let settings = Settings::new(end).with_preferred_suite(suite);
            match config & 1 {
                0 => settings.without_forward_secrecy(),
                _ => settings,
            }
        };
        let key = |byte| {
            Psk::new(&[byte; 16])
                .and_then(Psk::into_end_to_end)
                .expect("long enough")
        };
        let is_key_right = config & 4 == 0;
        let psk = key(if is_key_right { 7 } else { 8 });
        let credentials = Credentials {
            psk_identity: b"lamp",
            psk: &psk,
            peer: PeerId(2),
        };
        let [mine, theirs] = [OuterBinding::new([1; 32]), OuterBinding::new([2; 32])];
        let initiator = Initiator::new(
            SoftCrypto,
            settings(End::Internet),
            InitiatorKey::EndToEnd(credentials),
            mine,
            &mut Env::new(Instant::ZERO, &mut rng),
        );
        let initiator = initiator.expect("everything is offered");
        let hello = initiator.hello().to_vec();
        let mut world = Self {
            sides: [
                Side::new(State::Begun(Box::new(initiator)), mine),
                Side::new(State::Idle, theirs),
            ],
            ways: [VecDeque::new(), VecDeque::new()],
            history: Vec::new(),
            responder: Responder::new(SoftCrypto, settings(End::Device)),
            store: (b"lamp", key(7), PeerId(1)),
            hello: hello.clone(),
            is_key_right,
            has_interfered: false,
            rng,
        };
        world.send(0, hello);
        world
    }

    /// `None` at the script's end.
    fn step(&mut self, script: &mut Reader<'_>) -> Option<()> {
        let op = script.u8().ok()?;
        let way = usize::from(op >> 4 & 1);
        match op & 0x0f {
            0 => self.deliver(way, None),
            1 => drop(self.ways[way].pop_front()),
            2 => {
                let bit = usize::from(script.u16().ok()?);
                self.has_interfered = true;
                if let Some(first) = self.ways[way].front_mut().filter(|first| !first.is_empty()) {
                    let bit = bit % (first.len() * 8);
                    first[bit / 8] ^= 1 << (bit % 8);
                }
            }
            3 => {
                let at = usize::from(script.u8().ok()?) % self.history.len();
                self.inject(way, self.history[at].clone());
            }
            4 => {
                let bytes = script.vector8().ok()?.to_vec();
                self.inject(way, bytes);
            }
            5 if self.ways[way].len() > 1 => self.ways[way].swap(0, 1),
            6 => self.seal(way, script.u8().ok()?),
            7 => self.close(way),
            8 => self.send(0, self.hello.clone()),
            9 => self.deliver(way, Some(OuterBinding::new([9; 32]))),
            10 => self.deliver_all(),
            _ => {}
        }
        Some(())
    }

    fn inject(&mut self, way: usize, message: Vec<u8>) {
        self.has_interfered = true;
        self.ways[way].push_front(message);
    }

    fn send(&mut self, way: usize, message: Vec<u8>) {
        self.history.push(message.clone());
        self.ways[way].push_back(message);
    }

    fn seal(&mut self, way: usize, len: u8) {
        let side = &mut self.sides[way];
        let State::Established(envelope) = &mut side.state else {
            return;
        };
        // Each text once, so that a second delivery shows.
        let mut text = side.sent.len().to_be_bytes().to_vec();
        text.resize(text.len() + usize::from(len), 0x61);
        let mut out = vec![0; text.len() + envelope.overhead()];
        match envelope.seal(&text, &mut out) {
            Ok(sealed) => {
                assert_eq!(sealed, out.len());
                side.sent.push(text);
                self.send(way, out);
            }
            Err(_) => assert!(!envelope.is_open()),
        }
    }

    fn close(&mut self, way: usize) {
        let side = &mut self.sides[way];
        if let State::Established(envelope) = &mut side.state {
            let mut out = vec![0; envelope.overhead() + 1];
            if envelope.close(&mut out).is_ok() {
                side.has_closed = true;
                self.send(way, out);
            }
        }
    }

    fn deliver_all(&mut self) {
        // An answer comes back at most once for each message.
        for _ in 0..2 {
            for way in [0, 1] {
                while !self.ways[way].is_empty() {
                    self.deliver(way, None);
                }
            }
        }
    }

    /// Gives the first message of a way to its receiver, whose number is the other way's.
    fn deliver(&mut self, way: usize, over: Option<OuterBinding>) {
        let Some(mut message) = self.ways[way].pop_front() else {
            return;
        };
        let to = 1 - way;
        let own = self.sides[to].binding;
        let is_own = over.is_none();
        let over = over.unwrap_or(own);
        let state = std::mem::replace(&mut self.sides[to].state, State::GivenUp);
        let next = match state {
            State::Begun(initiator) => match initiator.handle_message(&over, &message) {
                InitiatorStep::Established(envelope) => {
                    assert!(is_own && self.is_key_right);
                    State::Established(Box::new(envelope))
                }
                InitiatorStep::Waiting(initiator, _) => State::Begun(Box::new(initiator)),
                InitiatorStep::GivenUp(_) => State::GivenUp,
            },
            State::Idle => self.answer(is_own, &message),
            State::HalfOpen(half_open) => {
                if self.responder.is_answered_by(&half_open, &message) {
                    self.send(1, half_open.answer().to_vec());
                    State::HalfOpen(half_open)
                } else {
                    match half_open.handle_message(&over, &mut message) {
                        ResponderStep::Established(envelope, received) => {
                            assert!(is_own && self.is_key_right);
                            let received = received.expect("only close_notify is ever sealed");
                            self.check(to, &received);
                            State::Established(Box::new(envelope))
                        }
                        ResponderStep::Waiting(half_open, _) => {
                            State::HalfOpen(Box::new(half_open))
                        }
                        ResponderStep::GivenUp(_) => State::GivenUp,
                    }
                }
            }
            State::Established(mut envelope) => {
                let received = envelope
                    .open(&over, &mut message)
                    .expect("no other alert is sealed, and forgeries are few");
                if !is_own {
                    assert!(matches!(received.event, Some(Event::Dropped(_))));
                }
                self.check(to, &received);
                State::Established(envelope)
            }
            State::GivenUp => State::GivenUp,
        };
        self.sides[to].state = next;
    }

    fn answer(&mut self, is_own: bool, message: &[u8]) -> State {
        if !is_own {
            return State::Idle;
        }
        let env = &mut Env::new(Instant::ZERO, &mut self.rng);
        let binding = self.sides[1].binding;
        let answered = self
            .responder
            .handle_hello(env, &self.store, &[], binding, message);
        match answered {
            Ok(half_open) => {
                assert!(self.is_key_right && message == self.hello);
                self.send(1, half_open.answer().to_vec());
                State::HalfOpen(Box::new(half_open))
            }
            Err(reason) => {
                if message == self.hello {
                    assert!(!self.is_key_right);
                    assert_eq!(reason, DropReason::AuthenticationFailed);
                }
                State::Idle
            }
        }
    }

    /// What comes out of an envelope went into the other one, comes once, and a close was meant.
    fn check(&mut self, to: usize, received: &Received<'_>) {
        match &received.event {
            Some(Event::Plaintext(text)) => {
                assert!(self.sides[1 - to].sent.iter().any(|sent| sent == *text));
                let is_new = self.sides[to].received.insert(text.to_vec());
                assert!(is_new, "the same message came twice");
            }
            Some(Event::Closed) => assert!(self.sides[1 - to].has_closed),
            Some(Event::Dropped(_)) | None => {}
            Some(other) => unreachable!("{other:?}"),
        }
    }

    /// Once the gateway lets everything through, the ends talk, unless one gave up or closed.
    fn conclude(mut self) {
        self.deliver_all();
        self.send(0, self.hello.clone());
        self.deliver_all();
        self.seal(0, 1);
        self.deliver_all();
        let [initiator, responder] = &self.sides;
        match (&initiator.state, &responder.state) {
            (State::Established(left), State::Established(right)) => {
                assert_eq!(left.session_id(), right.session_id());
                assert_eq!(left.suite(), right.suite());
                if left.is_open() && right.is_open() {
                    let last = initiator.sent.last().expect("it sent just now");
                    assert!(responder.received.contains(last));
                }
            }
            (State::Begun(_), State::Idle) => assert!(!self.is_key_right),
            (State::GivenUp, _) | (_, State::GivenUp) => assert!(self.has_interfered),
            (State::Established(left), State::HalfOpen(_)) => assert!(!left.is_open()),
            _ => unreachable!("a state that nothing leads to"),
        }
    }
}

const MAX_STEPS: usize = 200;
