//! Two exchanges over a lossy link in virtual time. A run is its seed: nothing else varies.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use hedgerow_coap::{Code, Message, MessageOption, OptionNumber};
use hedgerow_core::{DropReason, Env, Instant};
use hedgerow_exchange::{
    Config, Event, Exchange, IncomingRequest, OutgoingRequest, Received, Request, RequestError,
    Response, Storage,
};
use rand_core::{TryCryptoRng, TryRng};

/// SplitMix64.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn percent(&mut self, share: u64) -> bool {
        self.next() % 100 < share
    }
}

impl TryRng for Rng {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.next() as u32)
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next())
    }
    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        dst.fill_with(|| self.next() as u8);
        Ok(())
    }
}

impl TryCryptoRng for Rng {}

/// What the link does to datagrams.
#[derive(Clone, Copy, Default)]
pub struct Link {
    pub loss_percent: u64,
    pub duplication_percent: u64,
    /// Delays differ by up to this much, which reorders.
    pub jitter: Duration,
    /// The datagram with this number, from 0 on, is lost.
    pub lost: Option<usize>,
}

/// What the server's application answers, after what time.
pub struct Answer {
    pub code: Code,
    pub payload: Vec<u8>,
    pub after: Duration,
}

pub type Handler = fn(&Message<'_>) -> Answer;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    ToClient,
    ToServer,
    Answer,
}

/// A client and a server, and what happened to them.
pub struct World<S: Storage> {
    pub now: Instant,
    pub rng: Rng,
    pub link: Link,
    pub client: Exchange<S, Rc<Config>>,
    pub server: Exchange<S, Rc<Config>>,
    handler: Handler,
    queue: BTreeMap<(Instant, u64, Happening), Vec<u8>>,
    answers: HashMap<u64, (IncomingRequest, Answer)>,
    sequence: u64,
    pub datagrams: usize,
    /// The longest datagram to the client, and to the server.
    pub longest: [usize; 2],
    pub responses: HashMap<OutgoingRequest, (Code, Vec<u8>)>,
    pub failures: HashMap<OutgoingRequest, RequestError>,
    pub events: Vec<Event>,
    /// How often the handler ran, by the Uri-Path of the request.
    pub handled: HashMap<Vec<u8>, usize>,
    /// The bodies that the handler saw, by the Uri-Path of the request.
    pub bodies: HashMap<Vec<u8>, Vec<u8>>,
    pub drops: HashMap<DropReason, usize>,
}

impl<S: Storage> World<S> {
    pub fn new(seed: u64, config: Config, link: Link, handler: Handler) -> Self {
        let mut rng = Rng(seed);
        let now = Instant::from_micros(1);
        let config = Rc::new(config);
        let mut env = Env::new(now, &mut rng);
        let client = Exchange::new(config.clone(), &mut env);
        let server = Exchange::new(config, &mut env);
        Self {
            now,
            rng,
            link,
            client,
            server,
            handler,
            queue: BTreeMap::new(),
            answers: HashMap::new(),
            sequence: 0,
            datagrams: 0,
            longest: [0; 2],
            responses: HashMap::new(),
            failures: HashMap::new(),
            events: Vec::new(),
            handled: HashMap::new(),
            bodies: HashMap::new(),
            drops: HashMap::new(),
        }
    }

    pub fn request(&mut self, method: Code, path: &str, payload: &[u8]) -> OutgoingRequest {
        let options = [MessageOption::new(OptionNumber::URI_PATH, path.as_bytes())];
        let request = Request::new(method).options(&options).payload(payload);
        let mut env = Env::new(self.now, &mut self.rng);
        self.client.request(&mut env, &request).unwrap()
    }

    /// Runs until nothing is under way; it fails the test if something hangs.
    pub fn run(&mut self) {
        for _ in 0..1_000_000 {
            self.flush();
            if self.client.usage().outgoing == 0
                && self.server.usage().incoming == 0
                && self.queue.is_empty()
            {
                return;
            }
            self.step();
        }
        panic!("the run doesn't end");
    }

    /// Runs for so many steps, or to the end if that comes first; it says whether it came.
    pub fn run_steps(&mut self, steps: usize) -> bool {
        for _ in 0..steps {
            self.flush();
            if self.client.usage().outgoing == 0 {
                return true;
            }
            self.step();
        }
        false
    }

    /// Puts a new session between both; what is on the way belongs to the old one.
    pub fn restart(&mut self) {
        self.queue.clear();
        self.answers.clear();
        let mut env = Env::new(self.now, &mut self.rng);
        self.client.restart_association(&mut env);
        self.server.restart_association(&mut env);
    }

    /// Fetches what both want to say and puts it on the link.
    pub fn flush(&mut self) {
        let mut out = vec![0; 2_048];
        loop {
            let mut env = Env::new(self.now, &mut self.rng);
            let (to, len) = match self.client.poll_transmit(&mut env, &mut out).unwrap() {
                Some(len) => (Happening::ToServer, len),
                None => match self.server.poll_transmit(&mut env, &mut out).unwrap() {
                    Some(len) => (Happening::ToClient, len),
                    None => break,
                },
            };
            self.send(to, &out[..len]);
        }
        while let Some(event) = self.client.poll_event() {
            if let Event::RequestFailed { request, error } = event {
                assert!(self.failures.insert(request, error).is_none());
            }
            self.events.push(event);
        }
        while let Some(event) = self.server.poll_event() {
            self.events.push(event);
        }
    }

    fn send(&mut self, to: Happening, datagram: &[u8]) {
        let number = self.datagrams;
        self.datagrams += 1;
        let longest = &mut self.longest[usize::from(to == Happening::ToServer)];
        *longest = datagram.len().max(*longest);
        if self.link.lost == Some(number) || self.rng.percent(self.link.loss_percent) {
            return;
        }
        let copies = 1 + usize::from(self.rng.percent(self.link.duplication_percent));
        for _ in 0..copies {
            let jitter = self.link.jitter.as_micros() as u64;
            let delay = 10_000 + self.rng.next() % (jitter + 1);
            let at = self.now + Duration::from_micros(delay);
            self.sequence += 1;
            self.queue
                .insert((at, self.sequence, to), datagram.to_vec());
        }
    }

    fn step(&mut self) {
        let timeouts = [self.client.poll_timeout(), self.server.poll_timeout()];
        let timeout = timeouts.into_iter().flatten().min();
        let first = self.queue.keys().next().copied();
        match (first, timeout) {
            (Some((at, ..)), timeout) if timeout.is_none_or(|timeout| at <= timeout) => {
                self.now = self.now.max(at);
                let (key, datagram) = self.queue.pop_first().unwrap();
                self.happen(key, &datagram);
            }
            (_, Some(timeout)) => {
                self.now = self.now.max(timeout);
                let mut env = Env::new(self.now, &mut self.rng);
                self.client.handle_timeout(&mut env);
                self.server.handle_timeout(&mut env);
            }
            (_, None) => panic!("something is under way, and nothing will ever happen"),
        }
    }

    fn happen(&mut self, (_, sequence, what): (Instant, u64, Happening), datagram: &[u8]) {
        let mut env = Env::new(self.now, &mut self.rng);
        match what {
            Happening::Answer => {
                let (request, answer) = self.answers.remove(&sequence).unwrap();
                let response = Response::new(answer.code).payload(&answer.payload);
                self.server.respond(&mut env, request, &response).unwrap();
            }
            Happening::ToClient => match self.client.handle_message(&mut env, datagram) {
                Received::Response { request, message } => {
                    let response = (message.code(), message.payload().to_vec());
                    assert!(self.responses.insert(request, response).is_none());
                }
                Received::Dropped(reason) => *self.drops.entry(reason).or_default() += 1,
                _ => {}
            },
            Happening::ToServer => match self.server.handle_message(&mut env, datagram) {
                Received::Request { request, message } => {
                    let path = message.option(OptionNumber::URI_PATH).unwrap();
                    let path = path.value().to_vec();
                    *self.handled.entry(path.clone()).or_default() += 1;
                    self.bodies.insert(path, message.payload().to_vec());
                    let answer = (self.handler)(&message);
                    self.sequence += 1;
                    let at = self.now + answer.after;
                    let key = (at, self.sequence, Happening::Answer);
                    self.answers.insert(self.sequence, (request, answer));
                    self.queue.insert(key, Vec::new());
                }
                Received::Dropped(reason) => *self.drops.entry(reason).or_default() += 1,
                _ => {}
            },
        }
    }
}

/// A body whose bytes all differ from their neighbours.
pub fn body(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|index| (index as u8).wrapping_mul(31) ^ ((index >> 8) as u8) ^ seed)
        .collect()
}
