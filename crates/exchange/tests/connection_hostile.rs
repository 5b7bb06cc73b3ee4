//! Whatever bytes come in, in whatever pieces, nothing panics and nothing outgrows its bound.
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

mod stream;

use std::time::Duration;

use hedgerow_coap::{Code, Frame, MessageOption, OptionNumber, Release};
use hedgerow_core::{DropReason, Env, Instant};
use hedgerow_exchange::{
    Connection, ConnectionConfig, Event, Fixed, Heap, Received, Request, Response, Storage,
};
use proptest::prelude::*;
use stream::{Owned, Rng, csm};

/// One step of a peer that knows the protocol and of an application that goes on meanwhile.
#[derive(Clone, Debug)]
enum Step {
    Bytes(Vec<u8>),
    Message(Owned),
    /// A message with one byte changed.
    Mutated(Owned, usize, u8),
    /// What the connection sent last, answered under its token.
    Answer(u8, Vec<(u16, Vec<u8>)>, Vec<u8>),
    Csm(u32),
    Request(u8, usize),
    Respond(u8, usize),
    Ignore,
    Cancel,
    Ping(bool),
    Fetch(u8),
    Wait(u32),
    Release,
    Abort,
    TransportClosed,
}

fn options() -> impl Strategy<Value = Vec<(u16, Vec<u8>)>> {
    let number = prop_oneof![
        Just(OptionNumber::BLOCK1.0),
        Just(OptionNumber::BLOCK2.0),
        Just(OptionNumber::SIZE1.0),
        Just(OptionNumber::ETAG.0),
        Just(OptionNumber::URI_PATH.0),
        (0_u16..6).prop_map(|number| number * 2),
        any::<u16>(),
    ];
    // Block values of small numbers, so that sequences come about; BERT among them.
    let value = prop_oneof![
        (
            0_u8..4,
            any::<bool>(),
            prop::sample::select(vec![0_u8, 1, 6, 7])
        )
            .prop_map(|(num, more, szx)| vec![(num << 4) | (u8::from(more) << 3) | szx]),
        prop::collection::vec(any::<u8>(), 0..5),
    ];
    prop::collection::vec((number, value), 0..3).prop_map(|mut options| {
        options.sort_by_key(|(number, _)| *number);
        options
    })
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::sample::select(vec![0_usize, 1, 16, 32, 1_024, 2_048]).prop_map(|len| vec![5; len]),
        prop::collection::vec(any::<u8>(), 0..80),
    ]
}

fn message() -> impl Strategy<Value = Owned> {
    let code = prop_oneof![
        4 => 1_u8..5,
        4 => prop::sample::select(vec![0x45_u8, 0x44, 0x5f, 0x84, 0x88, 0x8d]),
        2 => 0xe1_u8..0xe4,
    ];
    let ends = prop::sample::select(vec![0xe4_u8, 0xe5, 0xe6]);
    let code = prop_oneof![50 => code, 1 => ends];
    (code, 0_u8..12, options(), payload()).prop_map(|(code, token, mut options, payload)| {
        // Most of what is critical in a signaling message would end the run at once.
        if code > 0xe0 && token > 0 {
            options.retain(|(number, value)| number % 2 == 0 && value.is_empty());
        }
        Owned {
            options,
            payload,
            ..Owned::new(Code::from(code), &[token])
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let answer = prop::sample::select(vec![0x45_u8, 0x44, 0x5f, 0x88, 0x8d, 0xe3]);
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..24).prop_map(Step::Bytes),
        30 => message().prop_map(Step::Message),
        1 => (message(), any::<usize>(), any::<u8>()).prop_map(|(m, at, b)| Step::Mutated(m, at, b)),
        40 => (answer, options(), payload()).prop_map(|(c, o, p)| Step::Answer(c, o, p)),
        2 => prop_oneof![Just(0_u32), 30..300_u32, 1_000..5_000_u32].prop_map(Step::Csm),
        16 => (1_u8..5, 0_usize..4_000).prop_map(|(method, len)| Step::Request(method, len)),
        16 => (any::<u8>(), 0_usize..4_000).prop_map(|(code, len)| Step::Respond(code, len)),
        1 => Just(Step::Ignore),
        1 => Just(Step::Cancel),
        1 => any::<bool>().prop_map(Step::Ping),
        30 => (0_u8..6).prop_map(Step::Fetch),
        4 => (0_u32..100_000).prop_map(Step::Wait),
        1 => prop::sample::select(vec![Step::Release, Step::Abort, Step::TransportClosed]),
    ]
}

fn config() -> ConnectionConfig {
    let mut config = ConnectionConfig {
        max_message_size: 2_500,
        ..ConnectionConfig::default()
    };
    config.exchange.max_message_len = 2_400;
    config.exchange.max_body_len = 5_000;
    config.exchange.max_bodies_len = 20_000;
    config.exchange.max_outgoing = 3;
    config.exchange.max_incoming = 3;
    config.exchange.max_replies = 3;
    config.exchange.max_reassemblies = 2;
    config.exchange.max_representations = 2;
    config
}

fn assert_bounded<S: Storage>(connection: &Connection<S>) {
    let usage = connection.usage();
    let config = connection.config();
    assert!(usage.outgoing <= config.exchange.max_outgoing);
    assert!(usage.incoming <= config.exchange.max_incoming);
    // A Release has its place beside the answers.
    assert!(usage.replies <= config.exchange.max_replies + 1);
    assert!(usage.reassemblies <= config.exchange.max_reassemblies);
    assert!(usage.representations <= config.exchange.max_representations);
    assert!(usage.bodies_len <= config.exchange.max_bodies_len);
    assert!(usage.buffered_len <= config.max_message_size as usize);
}

/// Runs a script, the peer's bytes in pieces of up to `piece`, and returns what was handed out.
fn run<S: Storage>(steps: Vec<Step>, piece: usize) -> Vec<String> {
    let mut rng = Rng(1);
    let mut now = Instant::from_micros(1);
    let mut connection = Connection::<S>::new(config(), &mut Env::new(now, &mut rng));
    let mut log = Vec::new();
    let (mut waiting, mut asked, mut last) = (Vec::new(), Vec::new(), Vec::new());
    let (mut closed, mut sent) = (0, 0);
    for step in std::iter::once(Step::Csm(2_500)).chain(steps) {
        let mut data = Vec::new();
        let mut fetch = 0;
        let mut env = Env::new(now, &mut rng);
        match step {
            Step::Bytes(bytes) => data = bytes,
            Step::Message(message) => data = message.encode(),
            Step::Mutated(message, at, byte) => {
                data = message.encode();
                let at = at % data.len();
                data[at] ^= byte;
            }
            Step::Answer(code, options, payload) => {
                if let Ok((Frame::Message(sent), _)) = Frame::decode(&last) {
                    let token = sent.token();
                    let mut answer = Owned::new(Code::from(code), token.as_bytes());
                    answer.options = options;
                    answer.payload = payload;
                    data = answer.encode();
                }
            }
            Step::Csm(size) => data = csm(size),
            Step::Request(method, len) => {
                let payload = vec![3; len];
                let options = [MessageOption::new(OptionNumber::URI_PATH, b"a")];
                let request = Request::new(Code::from(method))
                    .options(&options)
                    .payload(&payload);
                asked.extend(connection.request(&request));
            }
            Step::Respond(code, len) => {
                if let Some(request) = waiting.pop() {
                    let payload = vec![4; len];
                    let response = Response::new(Code::from(code)).payload(&payload);
                    if connection.respond(&mut env, request, &response).is_err() {
                        waiting.push(request);
                    }
                }
            }
            Step::Ignore => drop(waiting.pop().map(|request| connection.ignore(request))),
            Step::Cancel => drop(asked.pop().map(|request| connection.cancel(request))),
            Step::Ping(custody) => asked.extend(connection.ping(custody)),
            Step::Fetch(count) => fetch = count,
            Step::Wait(millis) => {
                now = now + Duration::from_millis(u64::from(millis));
                connection.handle_timeout(&mut Env::new(now, &mut rng));
            }
            Step::Release => drop(connection.release(&Release::new().with_hold_off(9))),
            Step::Abort => connection.abort("enough"),
            Step::TransportClosed => connection.handle_transport_closed(),
        }
        for piece in data.chunks(piece) {
            let mut rest = piece;
            while !rest.is_empty() {
                let mut env = Env::new(now, &mut rng);
                let (received, after) = connection.handle_bytes(&mut env, rest);
                let is_blocked = matches!(received, Received::Blocked);
                match received {
                    // As often as there are pieces.
                    Received::Handled | Received::Dropped(DropReason::AfterClose) => {}
                    Received::Request { request, .. } => {
                        waiting.push(request);
                        log.push(format!("{received:?}"));
                    }
                    Received::Blocked => {}
                    _ => log.push(format!("{received:?}")),
                }
                if is_blocked {
                    assert_eq!(after, rest);
                    let mut out = [0; 2_500];
                    let len = connection.poll_transmit(&mut env, &mut out).unwrap();
                    sent += usize::from(len.is_some());
                    assert!(len.is_some(), "blocked, and nothing to send");
                }
                assert!(is_blocked || after.len() < rest.len());
                rest = after;
            }
        }
        assert_bounded(&connection);
        let mut env = Env::new(now, &mut rng);
        let mut out = [0; 2_500];
        for _ in 0..fetch {
            let Some(len) = connection.poll_transmit(&mut env, &mut out).unwrap() else {
                break;
            };
            // What goes out is one message that a peer can decode, a CSM first.
            let (frame, rest) = Frame::decode(&out[..len]).unwrap();
            assert!(rest.is_empty());
            assert!(len <= config().exchange.max_message_len);
            let is_csm = matches!(&frame, Frame::Signaling(m) if m.code() == Code::CSM);
            assert_eq!(is_csm, sent == 0, "{frame:?}");
            sent += 1;
            last = out[..len].to_vec();
        }
        while let Some(event) = connection.poll_event() {
            assert_eq!(closed, 0, "{event:?} after the end");
            closed += usize::from(matches!(event, Event::Closed { .. }));
            log.push(format!("{event:?}"));
        }
        assert_bounded(&connection);
    }
    // Whatever went before, closing leaves nothing.
    connection.handle_transport_closed();
    while let Some(event) = connection.poll_event() {
        closed += usize::from(matches!(event, Event::Closed { .. }));
    }
    assert_eq!(closed, 1);
    let usage = connection.usage();
    assert_eq!((usage.outgoing, usage.incoming, usage.replies), (0, 0, 0));
    assert_eq!((usage.bodies_len, usage.buffered_len), (0, 0));
    log
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 192,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn heap_form_stays_within_its_bounds(
        steps in prop::collection::vec(step(), 0..80),
        piece in prop::sample::select(vec![1_usize, 2, 7, 100, 10_000]),
    ) {
        run::<Heap>(steps, piece);
    }

    #[test]
    fn fixed_form_stays_within_its_bounds(
        steps in prop::collection::vec(step(), 0..80),
        piece in prop::sample::select(vec![1_usize, 7, 10_000]),
    ) {
        run::<Fixed<4, 0, 2_500, 5, 4_000>>(steps, piece);
    }

    #[test]
    fn pieces_make_no_difference(
        messages in prop::collection::vec(message(), 0..12),
        piece in 1_usize..60,
    ) {
        let steps: Vec<_> = messages.into_iter().map(Step::Message).collect();
        let fetched = || steps.iter().flat_map(|step| [step.clone(), Step::Fetch(9)]).collect();
        prop_assert_eq!(run::<Heap>(fetched(), piece), run::<Heap>(fetched(), usize::MAX));
    }

    #[test]
    fn any_bytes_are_taken(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        piece in 1_usize..60,
    ) {
        run::<Heap>(vec![Step::Bytes(bytes)], piece);
    }
}
