//! Whatever bytes come in, nothing panics and nothing outgrows its bound.
#![cfg(feature = "alloc")]
#![allow(
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    missing_docs
)]

mod peer;

use std::time::Duration;

use hedgerow_coap::{Code, MessageOption, OptionNumber};
use hedgerow_core::{Env, Instant};
use hedgerow_exchange::{
    Config, Exchange, Fixed, Heap, Received, Request, Response, Storage, TransmissionParameters,
};
use peer::{Owned, Rng};
use proptest::prelude::*;

/// One step of a peer that knows the protocol and of an application that goes on meanwhile.
#[derive(Clone, Debug)]
enum Step {
    Bytes(Vec<u8>),
    Message(Owned),
    /// A message with one byte changed or cut off.
    Mutated(Owned, usize, u8),
    /// What the exchange sent last, answered or sent back with another type and code.
    Echo(u8, u8, Vec<(u16, Vec<u8>)>, Vec<u8>),
    Request(u8, usize),
    Respond(u8, usize),
    Ignore,
    Cancel,
    Ping,
    Wait(u32),
    Restart,
}

fn options() -> impl Strategy<Value = Vec<(u16, Vec<u8>)>> {
    let number = prop_oneof![
        Just(OptionNumber::BLOCK1.0),
        Just(OptionNumber::BLOCK2.0),
        Just(OptionNumber::SIZE1.0),
        Just(OptionNumber::SIZE2.0),
        Just(OptionNumber::ETAG.0),
        Just(OptionNumber::URI_PATH.0),
        Just(OptionNumber::REQUEST_TAG.0),
        Just(OptionNumber::OBSERVE.0),
        any::<u16>(),
    ];
    // Block values of small numbers, so that sequences come about.
    let value = prop_oneof![
        (0_u8..4, any::<bool>(), 0_u8..3)
            .prop_map(|(num, more, szx)| vec![(num << 4) | (u8::from(more) << 3) | szx]),
        prop::collection::vec(any::<u8>(), 0..5),
    ];
    prop::collection::vec((number, value), 0..4).prop_map(|mut options| {
        options.sort_by_key(|(number, _)| *number);
        options
    })
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::sample::select(vec![0_usize, 1, 16, 32, 64]).prop_map(|len| vec![5; len]),
        prop::collection::vec(any::<u8>(), 0..80),
    ]
}

fn message() -> impl Strategy<Value = Owned> {
    let code = prop_oneof![
        1_u8..5,
        prop::sample::select(vec![0x45_u8, 0x44, 0x5f, 0x84, 0x88, 0x8d]),
    ];
    let message_type = prop::sample::select(vec![peer::CON, peer::NON, peer::ACK, peer::RST]);
    (
        message_type,
        code,
        0_u16..40,
        0_u8..12,
        options(),
        payload(),
    )
        .prop_map(|(message_type, code, id, token, options, payload)| Owned {
            options,
            payload,
            ..Owned::new(message_type, Code::from(code), id, &[token])
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => prop::collection::vec(any::<u8>(), 0..64).prop_map(Step::Bytes),
        6 => message().prop_map(Step::Message),
        4 => (message(), any::<usize>(), any::<u8>()).prop_map(|(m, at, b)| Step::Mutated(m, at, b)),
        8 => (0_u8..4, prop::sample::select(vec![0_u8, 0x45, 0x44, 0x5f, 0x88, 0x8d]), options(),
            payload()).prop_map(|(t, c, o, p)| Step::Echo(t, c, o, p)),
        3 => (1_u8..5, 0_usize..200).prop_map(|(method, len)| Step::Request(method, len)),
        4 => (any::<u8>(), 0_usize..300).prop_map(|(code, len)| Step::Respond(code, len)),
        1 => Just(Step::Ignore),
        1 => Just(Step::Cancel),
        1 => Just(Step::Ping),
        2 => (0_u32..100_000).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

fn config() -> Config {
    Config {
        max_message_len: 128,
        max_block_szx: 1,
        max_body_len: 150,
        max_bodies_len: 900,
        max_outgoing: 3,
        max_incoming: 3,
        max_replies: 3,
        max_reassemblies: 2,
        max_representations: 2,
        max_seen: 8,
        max_seen_bytes: 1_000,
        ..Config::new(TransmissionParameters {
            nstart: 2,
            ..TransmissionParameters::default()
        })
    }
}

fn assert_bounded<S: Storage>(exchange: &Exchange<S>) {
    let usage = exchange.usage();
    let config = exchange.config();
    assert!(usage.outgoing <= config.max_outgoing);
    assert!(usage.incoming <= config.max_incoming);
    assert!(usage.replies <= config.max_replies + 1);
    assert!(usage.reassemblies <= config.max_reassemblies);
    assert!(usage.representations <= config.max_representations);
    assert!(usage.seen <= config.max_seen);
    assert!(usage.seen_bytes <= config.max_seen_bytes);
    assert!(usage.bodies_len <= config.max_bodies_len);
}

fn run<S: Storage>(steps: Vec<Step>) {
    let mut rng = Rng(1);
    let mut now = Instant::from_micros(1);
    let mut exchange = Exchange::<S>::new(config(), &mut Env::new(now, &mut rng));
    let mut waiting = Vec::new();
    let mut asked = Vec::new();
    let mut last = Vec::new();
    for step in steps {
        let mut env = Env::new(now, &mut rng);
        let datagram = match step {
            Step::Bytes(bytes) => Some(bytes),
            Step::Message(message) => Some(encode(&message)),
            Step::Mutated(message, at, byte) => {
                let mut bytes = encode(&message);
                let at = at % bytes.len();
                bytes[at] ^= byte;
                if byte.is_multiple_of(5) {
                    bytes.truncate(at);
                }
                Some(bytes)
            }
            Step::Echo(kind, code, options, payload) => {
                hedgerow_coap::Message::decode(&last).ok().map(|sent| {
                    let types = [peer::CON, peer::NON, peer::ACK, peer::RST];
                    let mut answer =
                        Owned::from_view(&sent).answer(types[usize::from(kind)], Code::from(code));
                    if code != 0 {
                        answer.options = options;
                        answer.payload = payload;
                    }
                    encode(&answer)
                })
            }
            Step::Request(method, len) => {
                let payload = vec![3; len];
                let options = [MessageOption::new(OptionNumber::URI_PATH, b"a")];
                let request = Request::new(Code::from(method))
                    .options(&options)
                    .payload(&payload);
                asked.extend(exchange.request(&mut env, &request));
                None
            }
            Step::Respond(code, len) => {
                if let Some(request) = waiting.pop() {
                    let payload = vec![4; len];
                    let response = Response::new(Code::from(code)).payload(&payload);
                    if exchange.respond(&mut env, request, &response).is_err() {
                        waiting.push(request);
                    }
                }
                None
            }
            Step::Ignore => {
                let _ = waiting.pop().map(|request| exchange.ignore(request));
                None
            }
            Step::Cancel => {
                let _ = asked.pop().map(|request| exchange.cancel(request));
                None
            }
            Step::Ping => {
                asked.extend(exchange.ping(&mut env));
                None
            }
            Step::Wait(millis) => {
                now = now + Duration::from_millis(u64::from(millis));
                exchange.handle_timeout(&mut Env::new(now, &mut rng));
                None
            }
            Step::Restart => {
                exchange.restart_association(&mut env);
                None
            }
        };
        let mut env = Env::new(now, &mut rng);
        if let Some(datagram) = datagram
            && let Received::Request { request, .. } = exchange.handle_message(&mut env, &datagram)
        {
            waiting.push(request);
        }
        assert_bounded(&exchange);
        let mut out = [0; 128];
        while let Some(len) = exchange.poll_transmit(&mut env, &mut out).unwrap() {
            // What goes out is a message that a peer can decode, and no longer than allowed.
            hedgerow_coap::Message::decode(&out[..len]).unwrap();
            last = out[..len].to_vec();
        }
        while exchange.poll_event().is_some() {}
        assert_bounded(&exchange);
    }
    // Whatever went before, waiting long enough leaves nothing but what the application owes.
    for _ in 0..100 {
        now = now + Duration::from_secs(300);
        let mut env = Env::new(now, &mut rng);
        exchange.handle_timeout(&mut env);
        while exchange
            .poll_transmit(&mut env, &mut [0; 128])
            .unwrap()
            .is_some()
        {}
        while exchange.poll_event().is_some() {}
    }
    let usage = exchange.usage();
    assert_eq!((usage.outgoing, usage.seen, usage.bodies_len), (0, 0, 0));
    assert!(usage.incoming <= waiting.len());
}

/// Encodes what the codec refuses to write (an Empty message with content) as an Empty message.
fn encode(message: &Owned) -> Vec<u8> {
    match message.code.is_empty() {
        true => Owned::new(message.message_type, message.code, message.id.0, &[]).encode(),
        false => message.encode(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn heap_form_stays_within_its_bounds(steps in prop::collection::vec(step(), 0..120)) {
        run::<Heap>(steps);
    }

    #[test]
    fn fixed_form_stays_within_its_bounds(steps in prop::collection::vec(step(), 0..120)) {
        run::<Fixed<3, 8, 128, 5, 220>>(steps);
    }

    #[test]
    fn any_bytes_are_taken(datagrams in prop::collection::vec(
        prop::collection::vec(any::<u8>(), 0..1_500), 0..8))
    {
        run::<Heap>(datagrams.into_iter().map(Step::Bytes).collect());
    }
}
