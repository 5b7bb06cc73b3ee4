//! The target `connection`.

use std::collections::BTreeMap;
use std::time::Duration;

use hedgerow_coap::{Code, Frame, MessageOption, OptionNumber, Release};
use hedgerow_core::{Env, Instant};
use hedgerow_exchange::{
    ConnectionConfig, Event, HeapConnection, OutgoingRequest, Received, Request, Response,
};
use hedgerow_sim::TestRng;

/// Two connections with each other over two byte streams, or one with the input itself.
///
/// An input that begins with a zero is a stream: the second byte says in what pieces it comes.
/// Another is a script of pairs, an operation and its argument. Nothing panics and nothing grows past
/// its bound, whatever arrives. As long as no byte was changed, neither end aborts, each request is
/// handed out once, and each response is the one that belongs to its request.
pub fn connection(input: &[u8]) {
    match input {
        [0, piece, stream @ ..] => any_stream(usize::from(*piece).max(1), stream),
        _ => {
            let mut pair = Pair::new();
            let (script, _) = input.as_chunks::<2>();
            for &[operation, argument] in script.iter().take(MAX_OPERATIONS) {
                pair.step(operation, argument);
                pair.check();
            }
        }
    }
}

const MAX_OPERATIONS: usize = 300;

/// The longest message that either end takes: room for one BERT block of 2,048 bytes.
const MAX_MESSAGE: usize = 2_304;

/// Bytes under way in one direction: less than a message, so that a transport takes it in parts.
const MAX_UNDER_WAY: usize = 6_000;

fn config() -> ConnectionConfig {
    let mut config = ConnectionConfig {
        max_message_size: u32::try_from(MAX_MESSAGE).expect("short"),
        // A script that lets time pass before it delivers anything is no fault of an end's.
        csm_timeout: Duration::from_secs(3_600),
        ..ConnectionConfig::default()
    };
    config.exchange.max_message_len = MAX_MESSAGE;
    config.exchange.max_body_len = 20_000;
    config.exchange.max_outgoing = 6;
    config.exchange.max_incoming = 6;
    config.exchange.max_replies = 4;
    // None is given up while its blocks are fetched: the handler would rightly run again.
    config.exchange.max_representations = MAX_OPERATIONS;
    config
}

fn any_stream(piece: usize, stream: &[u8]) {
    let mut rng = TestRng::new(1);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let mut connection = HeapConnection::new(config(), env);
    let mut out = [0; MAX_MESSAGE];
    for piece in stream.chunks(piece) {
        let mut rest = piece;
        while !rest.is_empty() {
            let (received, after) = connection.handle_bytes(env, rest);
            assert!(after.len() < rest.len() || matches!(received, Received::Blocked));
            let request = match received {
                Received::Request { request, .. } => Some(request),
                _ => None,
            };
            rest = after;
            if let Some(request) = request {
                let response = Response::new(Code::CONTENT).payload(&[9; 3_000]);
                let _ = connection.respond(env, request, &response);
            }
            while let Ok(Some(len)) = connection.poll_transmit(env, &mut out) {
                assert!(matches!(Frame::decode(&out[..len]), Ok((_, []))));
            }
            assert_bounded(&connection);
        }
    }
    while connection.poll_event().is_some() {}
}

fn assert_bounded(connection: &HeapConnection) {
    let (usage, config) = (connection.usage(), connection.config());
    assert!(usage.outgoing <= config.exchange.max_outgoing);
    assert!(usage.incoming <= config.exchange.max_incoming);
    // A Release has its place beside the answers.
    assert!(usage.replies <= config.exchange.max_replies + 1);
    assert!(usage.bodies_len <= config.exchange.max_bodies_len);
    assert!(usage.buffered_len <= MAX_MESSAGE);
}

struct End {
    connection: HeapConnection,
    /// What it has sent and the other hasn't taken.
    sent: Vec<u8>,
    asked: BTreeMap<OutgoingRequest, Vec<u8>>,
    handled: BTreeMap<Vec<u8>, u32>,
}

struct Pair {
    ends: [End; 2],
    rng: TestRng,
    now: Instant,
    next: u16,
    is_changed: bool,
}

impl Pair {
    fn new() -> Self {
        let mut rng = TestRng::new(1);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let ends = [(), ()].map(|()| End {
            connection: HeapConnection::new(config(), env),
            sent: Vec::new(),
            asked: BTreeMap::new(),
            handled: BTreeMap::new(),
        });
        Self {
            ends,
            rng,
            now: Instant::ZERO,
            next: 0,
            is_changed: false,
        }
    }

    /// The lowest bit of the argument says which end.
    fn step(&mut self, operation: u8, argument: u8) {
        let which = usize::from(argument % 2);
        let size = usize::from(argument / 2);
        match operation % 9 {
            0 => self.ask(which, Code::GET, 4),
            1 => self.ask(which, Code::POST, size * 150),
            2 | 3 => self.fetch(which),
            4 => self.deliver(which, size + 1),
            5 => self.deliver(which, usize::MAX),
            6 => drop(self.ends[which].connection.ping(size % 2 == 1)),
            7 => match size {
                0..120 => {
                    self.now = self.now + Duration::from_millis(u64::from(argument) * 10);
                    let env = &mut Env::new(self.now, &mut self.rng);
                    for end in &mut self.ends {
                        end.connection.handle_timeout(env);
                    }
                }
                120..126 => {
                    let release = Release::new().with_hold_off(1);
                    let _ = self.ends[which].connection.release(&release);
                }
                _ => self.ends[which].connection.handle_transport_closed(),
            },
            _ => {
                let sent = &mut self.ends[which].sent;
                if let Some(byte) = sent.get_mut(size) {
                    *byte ^= 1 << (argument % 8);
                    self.is_changed = true;
                }
            }
        }
    }

    /// Every payload begins with a number of its own.
    fn ask(&mut self, which: usize, code: Code, len: usize) {
        let mut payload = vec![0x5a; len.clamp(4, 20_000)];
        payload[..2].copy_from_slice(&self.next.to_be_bytes());
        let path = [MessageOption::new(OptionNumber::URI_PATH, &payload[..2])];
        let request = Request::new(code).options(&path).payload(&payload);
        let end = &mut self.ends[which];
        if let Ok(name) = end.connection.request(&request) {
            self.next += 1;
            end.asked.insert(name, payload);
        }
    }

    /// Puts the next message on the stream, if there is room.
    fn fetch(&mut self, which: usize) {
        let end = &mut self.ends[which];
        let env = &mut Env::new(self.now, &mut self.rng);
        let mut out = [0; MAX_MESSAGE];
        while end.sent.len() < MAX_UNDER_WAY
            && let Ok(Some(len)) = end.connection.poll_transmit(env, &mut out)
        {
            end.sent.extend_from_slice(&out[..len]);
        }
    }

    /// Gives some of what the other end has sent to this one.
    fn deliver(&mut self, which: usize, most: usize) {
        let [one, other] = &mut self.ends;
        let (to, from) = match which {
            0 => (one, other),
            _ => (other, one),
        };
        let len = from.sent.len().min(most);
        let bytes: Vec<u8> = from.sent.drain(..len).collect();
        let mut rest = bytes.as_slice();
        let env = &mut Env::new(self.now, &mut self.rng);
        while !rest.is_empty() {
            let (received, after) = to.connection.handle_bytes(env, rest);
            match received {
                Received::Blocked => {
                    let waiting = [after, &from.sent].concat();
                    from.sent = waiting;
                    return;
                }
                Received::Request { request, message } => {
                    let is_safe = message.code() == Code::GET;
                    let payload = message.payload().to_vec();
                    let count = to.handled.entry(payload.clone()).or_default();
                    *count += 1;
                    // A GET may rightly be asked again for a block of a response that expired.
                    assert!(
                        self.is_changed || is_safe || *count == 1,
                        "handed out twice"
                    );
                    let body = answer(&payload);
                    let response = Response::new(Code::CONTENT).payload(&body);
                    let _ = to.connection.respond(env, request, &response);
                }
                Received::Response { request, message } => {
                    let asked = to.asked.remove(&request).expect("asked, and not answered");
                    let is_right = message.payload() == answer(&asked);
                    let is_success = message.code() == Code::CONTENT;
                    assert!(
                        self.is_changed || is_right || !is_success,
                        "another's answer"
                    );
                }
                Received::Abort { .. } => assert!(self.is_changed, "aborted"),
                _ => {}
            }
            rest = after;
        }
    }

    fn check(&mut self) {
        for end in &mut self.ends {
            assert_bounded(&end.connection);
            while let Some(event) = end.connection.poll_event() {
                match event {
                    Event::RequestFailed { request, .. } => {
                        end.asked.remove(&request);
                    }
                    Event::Closed { .. } => assert!(end.asked.is_empty(), "left without an end"),
                    _ => {}
                }
            }
        }
    }
}

/// What the server answers: the question's number, and long enough for blocks every other time.
fn answer(payload: &[u8]) -> Vec<u8> {
    let mut body = payload.get(..2).unwrap_or(payload).to_vec();
    if body.last().is_some_and(|last| last % 2 == 1) {
        body.resize(7_000, 0xa5);
    }
    body
}
