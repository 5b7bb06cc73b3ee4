//! Two ends of a connection over a stream in memory: the test plays the transport and the
//! applications.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_core::{
    ChannelError, DropReason, Env, Instant, Peer, PeerId, Psk, PskCredentials, PskEntry,
    PskRequest, PskStore, SecurityMode,
};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{SecurityPolicy, StreamConfig, StreamConnection, StreamEvent};
use hedgerow_exchange::{
    Event, IncomingRequest, OutgoingRequest, Received, Request, RequestError, Response,
};
use hedgerow_sim::{Ledger, NonceLedger, TestRng};

pub const IDENTITY: &[u8] = b"thermometer";
pub const PSK: &[u8] = b"sixteen byte key";

/// Credentials and a store of one key.
pub struct Key {
    identity: &'static [u8],
    psk: Psk,
    number: u32,
}

impl Key {
    pub fn new(identity: &'static [u8], psk: &[u8], number: u32) -> Self {
        Self {
            identity,
            psk: Psk::new(psk).unwrap(),
            number,
        }
    }
}

impl PskCredentials for Key {
    fn psk_identity(&self) -> &[u8] {
        self.identity
    }
    fn psk(&self) -> &Psk {
        &self.psk
    }
    fn peer(&self) -> PeerId {
        PeerId(self.number)
    }
}

impl PskStore for Key {
    fn lookup(&self, request: &PskRequest<'_>) -> Option<PskEntry<'_>> {
        (request.psk_identity == self.identity).then_some(PskEntry {
            psk: &self.psk,
            peer: PeerId(self.number),
        })
    }
}

pub type Connection = StreamConnection<NonceLedger<SoftCrypto>, Key, Key>;

/// What a message of the peer was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    Request(IncomingRequest, Code, Vec<u8>),
    Response(OutgoingRequest, Code, Vec<u8>),
    Released,
    Aborted,
    Dropped(DropReason),
}

/// One end, with all that it was told.
pub struct End {
    pub connection: Connection,
    pub came: Vec<Came>,
    pub events: Vec<Event>,
    pub established: Option<Peer>,
    pub is_tls_closed: bool,
    pub failure: Option<ChannelError>,
    /// What it sent and the transport hasn't taken on.
    pub wire: VecDeque<u8>,
    pub sent: usize,
    message: Vec<u8>,
}

impl End {
    fn new(connection: Connection) -> Self {
        Self {
            connection,
            came: Vec::new(),
            events: Vec::new(),
            established: None,
            is_tls_closed: false,
            failure: None,
            wire: VecDeque::new(),
            sent: 0,
            message: Vec::new(),
        }
    }

    /// Goes through what has arrived, and asks for all there is.
    pub fn advance(&mut self, env: &mut Env<'_>, window: usize) {
        loop {
            let before = (self.sent, self.came.len(), self.events.len());
            while self.failure.is_none() {
                match self.connection.poll(env) {
                    Ok(Some(event)) => match event {
                        StreamEvent::Established(peer) => self.established = Some(peer),
                        StreamEvent::Closed => self.is_tls_closed = true,
                        StreamEvent::Received(received) => match received {
                            Received::Request { request, message } => self.came.push(
                                Came::Request(request, message.code(), message.payload().to_vec()),
                            ),
                            Received::Response { request, message } => self.came.push(
                                Came::Response(request, message.code(), message.payload().to_vec()),
                            ),
                            Received::Release { .. } => self.came.push(Came::Released),
                            Received::Abort { .. } => self.came.push(Came::Aborted),
                            Received::Dropped(reason) => self.came.push(Came::Dropped(reason)),
                            _ => {}
                        },
                        _ => {}
                    },
                    Ok(None) => break,
                    Err(error) => self.failure = Some(error),
                }
            }
            while let Some(event) = self.connection.poll_event() {
                self.events.push(event);
            }
            while self.wire.len() < window {
                let mut out = Vec::new();
                match self
                    .connection
                    .poll_transmit(env, &mut self.message, &mut out)
                {
                    Ok(true) => {
                        self.sent += out.len();
                        self.wire.extend(out);
                    }
                    Ok(false) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            if before == (self.sent, self.came.len(), self.events.len()) {
                return;
            }
        }
    }

    pub fn end(&mut self, env: &mut Env<'_>) {
        if let Err(error) = self.connection.handle_end() {
            self.failure.get_or_insert(error);
        }
        self.advance(env, usize::MAX);
    }

    pub fn ask(&mut self, method: Code, payload: &[u8]) -> OutgoingRequest {
        let request = Request::new(method).payload(payload);
        self.connection.request(&request).unwrap()
    }

    pub fn requests(&self) -> Vec<(IncomingRequest, Vec<u8>)> {
        let came = self.came.iter();
        came.filter_map(|came| match came {
            Came::Request(request, _, payload) => Some((*request, payload.clone())),
            _ => None,
        })
        .collect()
    }

    pub fn responses(&self) -> Vec<(OutgoingRequest, Vec<u8>)> {
        let came = self.came.iter();
        came.filter_map(|came| match came {
            Came::Response(request, _, payload) => Some((*request, payload.clone())),
            _ => None,
        })
        .collect()
    }

    pub fn failed(&self) -> Vec<(OutgoingRequest, RequestError)> {
        let events = self.events.iter();
        events
            .filter_map(|event| match event {
                Event::RequestFailed { request, error } => Some((*request, *error)),
                _ => None,
            })
            .collect()
    }
}

/// Both ends and the stream between them.
pub struct Pair {
    pub client: End,
    pub server: End,
    pub now: Instant,
    pub rng: TestRng,
    pub ledger: Ledger,
    /// At most so many bytes are handed over at a time.
    pub piece: usize,
    /// How many bytes the stream holds in each direction before it takes no more.
    pub window: usize,
    /// What each response carries, once it is there.
    pub answer: Option<Vec<u8>>,
    answered: usize,
}

impl Pair {
    pub fn clear(config: &StreamConfig) -> Self {
        let config = StreamConfig {
            security: Arc::new(SecurityPolicy::new(SecurityMode::NoSec)),
            ..config.clone()
        };
        Self::new(5, &config, &config, None)
    }

    pub fn tls(config: &StreamConfig) -> Self {
        Self::new(5, config, config, Some((IDENTITY, PSK)))
    }

    /// Makes a pair whose client shows these credentials, if any. The server knows `IDENTITY` with
    /// `PSK`.
    pub fn new(
        seed: u64,
        client: &StreamConfig,
        server: &StreamConfig,
        shown: Option<(&'static [u8], &[u8])>,
    ) -> Self {
        let ledger = Ledger::new(seed);
        let mut rng = TestRng::new(seed);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let provider = |node| NonceLedger::new(SoftCrypto, &ledger, node);
        let credentials = shown.map(|(identity, psk)| Key::new(identity, psk, 1));
        let store = shown.map(|_| Key::new(IDENTITY, PSK, 2));
        let client = Connection::client(provider("client"), credentials, client, env).unwrap();
        let server = Connection::server(provider("server"), store, server, env).unwrap();
        Self {
            client: End::new(client),
            server: End::new(server),
            now: Instant::ZERO,
            rng,
            ledger,
            piece: usize::MAX,
            window: usize::MAX,
            answer: Some(b"21.5".to_vec()),
            answered: 0,
        }
    }

    /// Lends the client with time and randomness.
    pub fn client(&mut self) -> (&mut End, Env<'_>) {
        (&mut self.client, Env::new(self.now, &mut self.rng))
    }

    /// Lends the server with time and randomness.
    pub fn server(&mut self) -> (&mut End, Env<'_>) {
        (&mut self.server, Env::new(self.now, &mut self.rng))
    }

    /// Hands over a piece each way and says whether anything moved.
    pub fn step(&mut self) -> bool {
        let env = &mut Env::new(self.now, &mut self.rng);
        let before = (self.client.sent, self.server.sent);
        self.client.advance(env, self.window);
        self.server.advance(env, self.window);
        if let Some(answer) = &self.answer {
            for (request, _) in self.server.requests().into_iter().skip(self.answered) {
                let response = Response::new(Code::CONTENT).payload(answer);
                // The client may have gone meanwhile.
                let _ = self.server.connection.respond(env, request, &response);
                self.answered += 1;
            }
        }
        self.server.advance(env, self.window);
        let mut moved = before != (self.client.sent, self.server.sent);
        moved |= hand_over(&mut self.client, &mut self.server, self.piece);
        moved |= hand_over(&mut self.server, &mut self.client, self.piece);
        moved
    }

    /// Goes on until nothing moves any more.
    pub fn settle(&mut self) {
        while self.step() {}
    }

    /// Lets time pass from one timeout to the next until `at`, and settles.
    pub fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        loop {
            self.settle();
            let due = [&self.client, &self.server].map(|end| end.connection.poll_timeout());
            let next = due
                .into_iter()
                .flatten()
                .min()
                .map_or(until, |at| at.min(until));
            self.now = next.max(self.now);
            let env = &mut Env::new(self.now, &mut self.rng);
            for end in [&mut self.client, &mut self.server] {
                if end
                    .connection
                    .poll_timeout()
                    .is_some_and(|at| at <= self.now)
                    && let Err(error) = end.connection.handle_timeout(env)
                {
                    end.failure.get_or_insert(error);
                }
            }
            self.settle();
            if self.now == until {
                return;
            }
        }
    }
}

/// Moves a piece of what `from` sent to `to`, as far as that has room.
pub fn hand_over(from: &mut End, to: &mut End, piece: usize) -> bool {
    if to.failure.is_some() {
        let is_empty = from.wire.is_empty();
        from.wire.clear();
        return !is_empty;
    }
    let len = from.wire.len().min(piece).min(to.connection.room());
    let bytes: Vec<u8> = from.wire.drain(..len).collect();
    assert_eq!(to.connection.push(&bytes), len);
    len > 0
}

pub fn body(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}
