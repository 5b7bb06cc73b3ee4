//! Two ends of mode `itls` without a network: each has an outer stream to each of two gateways, which hand
//! on what they get.

#![allow(dead_code, unreachable_pub)]

use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_core::{DropReason, Env, Instant};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{Address, AssociationId, Config, Endpoint, Event, OuterStream, Source};
use hedgerow_exchange::{Request, Response};
use hedgerow_itls::{End as Which, OuterBinding, RoutingHeader};
use hedgerow_sim::TestRng;

use super::common::{Known, Shown};
use super::inner::{END_KEY, NAME, routed, shown, with_inner};

/// A gateway, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At(pub u8);

impl Address for At {
    fn with_bytes<R>(&self, lend: impl FnOnce(&[u8]) -> R) -> R {
        lend(&[self.0])
    }

    fn source(&self) -> Option<Source> {
        Some(Source::of([10, 0, 0, self.0].into()))
    }
}

pub type End = Endpoint<At, SoftCrypto, Known, Shown>;

pub const INTERNET: usize = 0;
pub const DEVICE: usize = 1;

pub struct Ends {
    pub ends: [End; 2],
    pub rng: TestRng,
    pub now: Instant,
    /// What each end dropped.
    pub drops: [Vec<DropReason>; 2],
    /// The inner sessions of each, and whether they were resumed.
    pub established: [Vec<(AssociationId, bool)>; 2],
    /// How many requests were answered.
    pub answered: usize,
    /// The length of each message that was handed on.
    pub lens: Vec<usize>,
    /// The longest that the gateways hand on.
    pub max_len: usize,
    streams: u8,
}

impl Ends {
    pub fn new(config: &Config) -> Self {
        let mut rng = TestRng::new(5);
        let here = with_inner(config.clone(), Which::Internet);
        let there = with_inner(config.clone(), Which::Device);
        let known = Known::with_end_to_end(&[], &[(b"end", END_KEY)]);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let mut ends = Self {
            ends: [
                Endpoint::client(SoftCrypto, Known::new(&[]), here),
                Endpoint::server(SoftCrypto, known, there, env),
            ],
            rng,
            now: Instant::ZERO,
            drops: [Vec::new(), Vec::new()],
            established: [Vec::new(), Vec::new()],
            answered: 0,
            lens: Vec::new(),
            max_len: usize::MAX,
            streams: 0,
        };
        for end in [INTERNET, DEVICE] {
            for gateway in [At(0), At(1)] {
                ends.open(end, gateway);
            }
        }
        ends
    }

    /// Gives an end a new outer stream with a gateway.
    pub fn open(&mut self, end: usize, gateway: At) {
        self.streams += 1;
        let stream = OuterStream {
            binding: OuterBinding::new([self.streams; 32]),
            name: NAME.to_vec(),
            max_message_len: 1_400,
        };
        self.ends[end].open_outer_stream(gateway, stream).unwrap();
    }

    /// Has the Internet end begin a session through a gateway, without a message being carried.
    pub fn connect(&mut self, gateway: At) -> AssociationId {
        self.connect_as(gateway, NAME)
    }

    /// The same under another name that the gateway has for the device.
    pub fn connect_as(&mut self, gateway: At, name: &[u8]) -> AssociationId {
        let env = &mut Env::new(self.now, &mut self.rng);
        let connected = self.ends[INTERNET].connect_inner(env, gateway, name, &shown());
        connected.unwrap()
    }

    /// Asks in a session of the Internet end and says whether that was answered at once.
    pub fn ask(&mut self, association: AssociationId, payload: &[u8]) -> bool {
        let request = Request::new(Code::POST).payload(payload);
        let env = &mut Env::new(self.now, &mut self.rng);
        let asked = self.ends[INTERNET].request(env, association, &request);
        asked.unwrap();
        let before = self.answered;
        self.carry();
        self.answered == before + 1
    }

    /// Takes the next message of an end, and the gateway that it is for.
    pub fn poll(&mut self, end: usize) -> Option<(At, Vec<u8>)> {
        let mut out = [0; 1_500];
        let env = &mut Env::new(self.now, &mut self.rng);
        let (gateway, len) = self.ends[end].poll_transmit(env, &mut out)?;
        Some((gateway, out[..len].to_vec()))
    }

    /// Carries messages until there are none.
    pub fn carry(&mut self) {
        loop {
            let mut is_quiet = true;
            for from in [INTERNET, DEVICE] {
                while let Some((gateway, message)) = self.poll(from) {
                    is_quiet = false;
                    self.lens.push(message.len());
                    if message.len() <= self.max_len {
                        self.deliver(1 - from, gateway, &handed_on(&message));
                    }
                }
            }
            if is_quiet {
                return;
            }
        }
    }

    /// Gives an end a message of a gateway's.
    pub fn deliver(&mut self, to: usize, gateway: At, message: &[u8]) {
        let mut message = message.to_vec();
        let env = &mut Env::new(self.now, &mut self.rng);
        let end = &mut self.ends[to];
        let handled = end.handle_datagram(env, gateway, &mut message, &mut [0; 64]);
        let mut asked = None;
        match handled.event {
            Some(Event::Request {
                association,
                request,
                ..
            }) => asked = Some((association, request)),
            Some(Event::Response { .. }) => self.answered += 1,
            Some(Event::InnerEstablished {
                association,
                is_resumed,
                ..
            }) => self.established[to].push((association, is_resumed)),
            Some(Event::Dropped { reason, .. }) => self.drops[to].push(reason),
            _ => {}
        }
        if let Some((association, request)) = asked {
            let response = Response::new(Code::CHANGED);
            end.respond(env, association, request, &response).unwrap();
        }
        while let Some(event) = end.poll_event() {
            if let Event::InnerEstablished {
                association,
                is_resumed,
                ..
            } = event
            {
                self.established[to].push((association, is_resumed));
            }
        }
    }

    /// Lets time pass, and both ends do what is due.
    pub fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        let env = &mut Env::new(self.now, &mut self.rng);
        for end in &mut self.ends {
            end.handle_timeout(env);
        }
    }

    pub fn dropped(&self, end: usize, reason: DropReason) -> usize {
        let drops = self.drops[end].iter();
        drops.filter(|&&other| other == reason).count()
    }
}

/// What the gateway makes of a message: one end's even number of a flow is the other one's odd one.
fn handed_on(message: &[u8]) -> Vec<u8> {
    let (header, rest) = RoutingHeader::decode(message).unwrap();
    let flow = match header.flow % 2 {
        0 => header.flow - 1,
        _ => header.flow + 1,
    };
    let mut handed_on = routed(flow, rest);
    if header.is_control {
        handed_on[0] |= 0x20;
    }
    handed_on
}
