//! Both ends against what `docs/specs/vectors/itls.py` computed from the specification.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod second_reader;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::rc::Rc;

use hedgerow_core::{
    Credentials, Env, Event, Instant, KeyLog, KeyLogging, NamedGroup, PeerId, Psk, Secret,
};
use hedgerow_crypto_soft::{SoftAead, SoftCrypto};
use hedgerow_itls::{
    End, Envelope, Initiator, InitiatorKey, InitiatorStep, LightLayer, OuterBinding, OuterRole,
    Responder, ResponderStep, Resumption, Settings, Suite,
};
use second_reader::{VECTORS, bytes, lines};

/// Sender, kind, number, plaintext, sealed.
type Message = (u8, u8, u64, Vec<u8>, Vec<u8>);

/// Label, random bytes and secret.
type Line = (String, Vec<u8>, Vec<u8>);

#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<Line>>>);

impl KeyLog for Log {
    fn log(&self, label: &str, client_random: &[u8; 32], secret: &[u8]) {
        let line = (label.to_owned(), client_random.to_vec(), secret.to_vec());
        self.0.borrow_mut().push(line);
    }
}

struct Case {
    values: BTreeMap<&'static str, Vec<u8>>,
    messages: Vec<Message>,
}

impl Case {
    fn of(name: &str) -> Self {
        let mut lines = VECTORS
            .lines()
            .skip_while(|line| *line != format!("handshake {name}"));
        assert!(lines.next().is_some(), "{name}");
        let (mut values, mut messages) = (BTreeMap::new(), Vec::new());
        for line in lines {
            let Some((key, value)) = line.split_once(" =") else {
                break;
            };
            let value = value.strip_prefix(' ').unwrap_or_default();
            match key.strip_prefix("message ") {
                None if key.contains(' ') => break,
                None => drop(values.insert(key, bytes(value))),
                Some(which) => {
                    let parts: Vec<u64> =
                        which.split(' ').map(|part| part.parse().unwrap()).collect();
                    let (plaintext, sealed) = value.split_once(' ').unwrap();
                    let sender = u8::try_from(parts[0]).unwrap();
                    let kind = u8::try_from(parts[1]).unwrap();
                    messages.push((sender, kind, parts[2], bytes(plaintext), bytes(sealed)));
                }
            }
        }
        assert_eq!(messages.len(), 9, "{name}");
        Self { values, messages }
    }

    fn get(&self, name: &str) -> &[u8] {
        &self.values[name]
    }

    fn binding(&self, name: &str) -> OuterBinding {
        OuterBinding::new(self.get(name).try_into().unwrap())
    }

    fn settings(&self, is_initiator: bool) -> Settings {
        let internet = (self.get("end") == [1]) == is_initiator;
        let settings = Settings::new(if internet { End::Internet } else { End::Device });
        let settings = match self.get("suites") {
            [1, 2] => settings,
            [one] => settings.with_only_suite(Suite::from_code_point(*one).unwrap()),
            other => panic!("{other:?}"),
        };
        match self.get("group") {
            [0, 0] => settings.without_forward_secrecy(),
            _ => settings.with_group(NamedGroup::X25519),
        }
    }

    /// Runs the handshake with the vector's randomness and compares both hellos.
    fn run(&self, session: Option<[&Resumption; 2]>) -> [Envelope<SoftAead>; 2] {
        let psk = || {
            Psk::new(self.get("psk"))
                .unwrap()
                .into_end_to_end()
                .unwrap()
        };
        let has_group = self.get("group") != [0, 0];
        let private = |name| if has_group { self.get(name) } else { &[] };
        let (mine, theirs) = (
            self.binding("initiator_binding"),
            self.binding("responder_binding"),
        );
        let key = psk();
        let key = match &session {
            Some([own, _]) => InitiatorKey::Session(own),
            None => InitiatorKey::EndToEnd(Credentials {
                psk_identity: self.get("identity"),
                psk: &key,
                peer: PeerId(2),
            }),
        };
        let mut script = Script::new(&[private("initiator_private"), self.get("initiator_random")]);
        let env = &mut Env::new(Instant::ZERO, &mut script);
        let log = Log::default();
        let provider = KeyLogging::new(SoftCrypto, Some(log.clone()));
        let initiator = Initiator::new(provider.clone(), self.settings(true), key, mine, env);
        let initiator = initiator.unwrap();
        assert_eq!(initiator.hello(), self.get("initiator_hello"));

        let responder = Responder::new(provider, self.settings(false));
        let store = (self.get("identity").to_vec(), psk(), PeerId(1));
        let store = (store.0.as_slice(), store.1, store.2);
        let dummy = [0; 64];
        let random = self.get("responder_random");
        let mut script = Script::new(&[&dummy, private("responder_private"), random]);
        let env = &mut Env::new(Instant::ZERO, &mut script);
        let sessions: Vec<&Resumption> = session.iter().map(|[_, peers]| *peers).collect();
        let half_open = responder
            .handle_hello(env, &store, &sessions, theirs, initiator.hello())
            .unwrap();
        assert_eq!(half_open.answer(), self.get("responder_hello"));
        assert!(responder.is_answered_by(&half_open, self.get("initiator_hello")));
        let InitiatorStep::Established(initiator) =
            initiator.handle_message(&mine, half_open.answer())
        else {
            panic!("not established");
        };
        let random = self.get("initiator_random").to_vec();
        let logged = (
            "ITLS_INNER_KEYS".to_owned(),
            random,
            self.get("key_log").to_vec(),
        );
        assert_eq!(log.0.take(), [logged.clone(), logged], "both ends'");
        // The first message of the vectors is the initiator's and confirms.
        let (1, 0, 0, plaintext, mut first) = self.messages[0].clone() else {
            panic!("another first message");
        };
        let ResponderStep::Established(responder, Ok(received)) =
            half_open.handle_message(&theirs, &mut first)
        else {
            panic!("not confirmed");
        };
        let mut plaintext = plaintext;
        assert_eq!(received.event, Some(Event::Plaintext(&mut plaintext)));
        assert_eq!(responder.session_id().0, self.get("session"));
        assert_eq!(responder.session_id(), initiator.session_id());
        [initiator, responder]
    }

    /// Opens all messages of the vectors at the other end.
    fn check_messages(&self, ends: &mut [Envelope<SoftAead>; 2]) {
        let [mine, theirs] = [
            self.binding("initiator_binding"),
            self.binding("responder_binding"),
        ];
        for (sender, kind, number, plaintext, sealed) in self.messages.iter().skip(1) {
            let (to, over) = match sender {
                1 => (1, &theirs),
                _ => (0, &mine),
            };
            let mut copy = sealed.clone();
            let received = ends[to].open(over, &mut copy).unwrap();
            let mut plaintext = plaintext.clone();
            let expected = match kind {
                0 => Some(Event::Plaintext(&mut plaintext)),
                1 => Some(Event::Closed),
                _ => None,
            };
            assert_eq!(received.event, expected, "{number}");
        }
        assert!(ends[1].is_open());
        assert!(!ends[0].is_open(), "the responder closed");
    }
}

#[test]
fn sessions_of_the_second_reader_come_out() {
    let first = Case::of("x25519_ccm_8");
    let mut ends = first.run(None);
    assert!(ends.iter().all(Envelope::has_forward_secrecy));
    seals_as_in_the_vectors(&first, &mut first.run(None));
    first.check_messages(&mut ends);

    let plain = Case::of("plain_ccm");
    let mut others = plain.run(None);
    assert!(!others.iter().any(Envelope::has_forward_secrecy));
    seals_as_in_the_vectors(&plain, &mut plain.run(None));
    plain.check_messages(&mut others);

    // The responder of the first session begins the next one.
    let resumed = Case::of("resumed_by_the_responder");
    let [initiator, responder] = &ends;
    let session = Some([responder.resumption(), initiator.resumption()]);
    let mut next = resumed.run(session);
    assert!(next.iter().all(Envelope::has_forward_secrecy));
    seals_as_in_the_vectors(&resumed, &mut resumed.run(session));
    resumed.check_messages(&mut next);
}

/// Seals up to number 256 at both ends; where the vectors have a message, it is the same.
fn seals_as_in_the_vectors(case: &Case, ends: &mut [Envelope<SoftAead>; 2]) {
    let mut compared = 0;
    for (end, sender) in ends.iter_mut().zip([1, 2]) {
        for number in 0..=256 {
            let expected = case
                .messages
                .iter()
                .find(|m| (m.0, m.2) == (sender, number));
            let mut out = [0; 128];
            let len = match expected {
                None => end.seal(b"anything", &mut out).unwrap(),
                Some((_, 0, _, plaintext, _)) => end.seal(plaintext, &mut out).unwrap(),
                Some(_) => end.seal_confirmation(&mut out).unwrap(),
            };
            if let Some((.., sealed)) = expected {
                assert_eq!(out[..len], **sealed, "{sender} {number}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 6);
}

#[test]
fn light_datagrams_of_the_second_reader_are_opened_and_sealed() {
    let mut cases = lines("light");
    let (name, material) = cases.remove(0);
    assert_eq!((name.as_str(), cases.len()), ("material", 3));
    let material = bytes(&material);
    let material = Secret::fill_with(|place| place.copy_from_slice(&material));
    let layer = |role| LightLayer::new(&SoftCrypto, &material, role).unwrap();
    let mut openers = [layer(OuterRole::Client), layer(OuterRole::Server)];
    for (name, value) in cases {
        let name: Vec<&str> = name.split(' ').collect();
        let (flow, number): (u16, u64) = (name[1].parse().unwrap(), name[2].parse().unwrap());
        let (role, to) = match name[0] {
            "client" => (OuterRole::Client, 1),
            _ => (OuterRole::Server, 0),
        };
        let (inner, datagram) = value.split_once(' ').unwrap();
        let (mut inner, datagram) = (bytes(inner), bytes(datagram));
        let mut copy = datagram.clone();
        assert_eq!(
            openers[to].open(&mut copy),
            Ok((flow, inner.as_mut_slice()))
        );
        let mut sealer = layer(role);
        let mut out = [0; 64];
        for _ in 0..number {
            sealer.seal(flow, &inner, &mut out).unwrap();
        }
        assert_eq!(sealer.overhead(flow) + inner.len(), datagram.len());
        let len = sealer.seal(flow, &inner, &mut out).unwrap();
        assert_eq!(out[..len], datagram);
    }
}

/// Gives the bytes that it was told, and no others.
struct Script {
    bytes: Vec<u8>,
    at: usize,
}

impl Script {
    fn new(parts: &[&[u8]]) -> Self {
        Self {
            bytes: parts.concat(),
            at: 0,
        }
    }
}

impl rand_core::TryRng for Script {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        panic!("whole fields are drawn")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        panic!("whole fields are drawn")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.bytes[self.at..self.at + out.len()]);
        self.at += out.len();
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Script {}
