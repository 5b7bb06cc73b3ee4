//! The target `exchange`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hedgerow_coap::{Code, MessageOption, OptionNumber};
use hedgerow_core::{Env, Instant};
use hedgerow_exchange::{
    Config, HeapExchange, OutgoingRequest, Received, Request, Response, TransmissionParameters,
};
use hedgerow_sim::TestRng;

/// Two exchanges with each other, the input as a script: pairs of an operation and its argument.
///
/// Nothing panics and no table grows past its bound, whatever arrives. As long as no message was
/// changed, as under a secure session, each POST is handed out at most once and each response is the
/// one that belongs to its request.
pub fn exchange(input: &[u8]) {
    let mut pair = Pair::new();
    let (script, _) = input.as_chunks::<2>();
    for &[operation, argument] in script.iter().take(MAX_OPERATIONS) {
        pair.step(operation, argument);
        pair.settle();
    }
}

const MAX_OPERATIONS: usize = 200;

/// Below NON_LIFETIME of 145 s, after which the message ID of a Non-confirmable request may be used
/// again, and a copy that is later still counts as a new request (RFC 7252 §4.8.2).
const MAX_TIME: Duration = Duration::from_secs(140);

/// Datagrams under way in one direction.
const MAX_QUEUED: usize = 32;

struct Pair {
    config: Config,
    client: HeapExchange,
    server: HeapExchange,
    rng: TestRng,
    now: Instant,
    to_server: VecDeque<Vec<u8>>,
    to_client: VecDeque<Vec<u8>>,
    asked: BTreeMap<OutgoingRequest, Vec<u8>>,
    handled: BTreeMap<Vec<u8>, u32>,
    next: u16,
    is_changed: bool,
}

impl Pair {
    fn new() -> Self {
        let mut rng = TestRng::new(1);
        let config = Config {
            max_message_len: 160,
            max_block_szx: 2,
            max_body_len: 2_048,
            max_outgoing: 6,
            max_incoming: 4,
            // None is given up while its blocks are fetched: the handler would rightly run again.
            max_representations: MAX_OPERATIONS,
            ..Config::new(TransmissionParameters {
                nstart: 3,
                ..TransmissionParameters::default()
            })
        };
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        Self {
            client: HeapExchange::new(config.clone(), env),
            server: HeapExchange::new(config.clone(), env),
            config,
            rng,
            now: Instant::ZERO,
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            asked: BTreeMap::new(),
            handled: BTreeMap::new(),
            next: 0,
            is_changed: false,
        }
    }

    fn step(&mut self, operation: u8, argument: u8) {
        match operation % 10 {
            0 => self.ask(Code::GET, 4, true),
            1 => self.ask(Code::POST, usize::from(argument) * 8, true),
            2 => self.ask(Code::GET, 4, false),
            3 => self.deliver_to_server(),
            4 => self.deliver_to_client(),
            5 => {
                let queue = self.queue(argument);
                queue.pop_front();
            }
            6 => {
                let queue = self.queue(argument);
                if let Some(first) = queue.front().cloned() {
                    queue.push_back(first);
                }
            }
            7 => {
                let queue = self.queue(argument);
                if let Some(first) = queue.front_mut().filter(|first| !first.is_empty()) {
                    let at = usize::from(argument / 2) % first.len();
                    first[at] ^= 1 << (argument % 8);
                    self.is_changed = true;
                }
            }
            8 => {
                let later = self.now + Duration::from_millis(u64::from(argument) * 100);
                if later.saturating_since(Instant::ZERO) < MAX_TIME {
                    self.now = later;
                    let env = &mut Env::new(self.now, &mut self.rng);
                    self.client.handle_timeout(env);
                    self.server.handle_timeout(env);
                }
            }
            _ => {
                let queue = self.queue(argument);
                let by = queue.len().min(1);
                queue.rotate_left(by);
            }
        }
    }

    fn queue(&mut self, argument: u8) -> &mut VecDeque<Vec<u8>> {
        match argument % 2 {
            0 => &mut self.to_server,
            _ => &mut self.to_client,
        }
    }

    /// Every payload begins with a number of its own.
    fn ask(&mut self, code: Code, len: usize, is_confirmable: bool) {
        let mut payload = vec![0x5a; len.clamp(4, 1_500)];
        payload[..2].copy_from_slice(&self.next.to_be_bytes());
        let path = [MessageOption::new(OptionNumber::URI_PATH, &payload[..2])];
        let mut request = Request::new(code).options(&path).payload(&payload);
        if !is_confirmable {
            request = request.non_confirmable();
        }
        let env = &mut Env::new(self.now, &mut self.rng);
        if let Ok(name) = self.client.request(env, &request) {
            self.next += 1;
            self.asked.insert(name, payload);
        }
    }

    fn deliver_to_server(&mut self) {
        let Some(datagram) = self.to_server.pop_front() else {
            return;
        };
        let env = &mut Env::new(self.now, &mut self.rng);
        let (name, code, payload) = match self.server.handle_message(env, &datagram) {
            Received::Request { request, message } => {
                (request, message.code(), message.payload().to_vec())
            }
            _ => return,
        };
        let count = self.handled.entry(payload.clone()).or_default();
        *count += 1;
        // A GET may rightly be asked again for a block of a response that is no longer kept.
        let is_safe = code == Code::GET;
        assert!(
            self.is_changed || is_safe || *count == 1,
            "handed out twice"
        );
        let body = answer(&payload);
        let response = Response::new(Code::CONTENT).payload(&body);
        let _ = self.server.respond(env, name, &response);
    }

    fn deliver_to_client(&mut self) {
        let Some(datagram) = self.to_client.pop_front() else {
            return;
        };
        let env = &mut Env::new(self.now, &mut self.rng);
        if let Received::Response { request, message } = self.client.handle_message(env, &datagram)
        {
            let asked = self
                .asked
                .remove(&request)
                .expect("asked, and not answered");
            let is_right = message.payload() == answer(&asked);
            let is_success = message.code() == Code::CONTENT;
            assert!(
                self.is_changed || is_right || !is_success,
                "another's answer"
            );
        }
    }

    /// Sends what there is to send, and checks the bounds.
    fn settle(&mut self) {
        let env = &mut Env::new(self.now, &mut self.rng);
        let mut out = [0; 160];
        for (from, queue) in [
            (&mut self.client, &mut self.to_server),
            (&mut self.server, &mut self.to_client),
        ] {
            while let Ok(Some(len)) = from.poll_transmit(env, &mut out) {
                if queue.len() < MAX_QUEUED {
                    queue.push_back(out[..len].to_vec());
                }
            }
            while let Some(event) = from.poll_event() {
                if let hedgerow_exchange::Event::RequestFailed { request, .. } = event {
                    self.asked.remove(&request);
                }
            }
            let usage = from.usage();
            assert!(usage.outgoing <= self.config.max_outgoing);
            assert!(usage.incoming <= self.config.max_incoming);
            assert!(usage.seen <= self.config.max_seen);
            assert!(usage.bodies_len <= self.config.max_bodies_len);
        }
    }
}

/// What the server answers: the question's number, and long enough for blocks every other time.
fn answer(payload: &[u8]) -> Vec<u8> {
    let mut body = payload.get(..2).unwrap_or(payload).to_vec();
    if body.last().is_some_and(|last| last % 2 == 1) {
        body.resize(400, 0xa5);
    }
    body
}
