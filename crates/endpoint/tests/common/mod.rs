//! Endpoints as nodes of a simulated network, with an application that counts.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub
)]

pub mod legs;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hedgerow_coap::{
    Code, MessageId, MessageOption, MessageType, MessageWriter, OptionNumber, Token,
};
use hedgerow_core::{
    ChannelError, ClientCredentials, CryptoProvider, DropReason, Env, Instant, KeyScope, Peer,
    PeerId, Psk, PskCredentials, PskEntry, PskRequest, PskStore, ServerCredentials,
};
use hedgerow_endpoint::{Address as _, AssociationId, Config, Endpoint, Event};
use hedgerow_exchange::{OutgoingRequest, Request, RequestError, Response, TransmissionParameters};
use hedgerow_handshake::{Settings, Timers};
use hedgerow_sim::{Address, Node, NonceLedger, Outbox, World};

pub const CLIENT: Address = Address::new(1, 40_000);
pub const SERVER: Address = Address::new(2, 5684);
pub const PSK: &[u8] = b"a key of 16 byte";
pub const IDENTITY: &[u8] = b"gateway";

/// A simulated address where an endpoint wants one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub Address);

impl hedgerow_endpoint::Address for Place {
    fn with_bytes<R>(&self, lend: impl FnOnce(&[u8]) -> R) -> R {
        lend(self.0.as_bytes())
    }
}

#[derive(Clone)]
pub struct Shown(Arc<(Vec<u8>, Psk)>);

impl Shown {
    pub fn new(identity: &[u8], psk: &[u8]) -> Self {
        Self(Arc::new((identity.to_vec(), Psk::new(psk).unwrap())))
    }

    /// The same for a key that nobody between the ends has.
    pub fn end_to_end(identity: &[u8], psk: &[u8]) -> Self {
        let psk = Psk::new(psk).unwrap().into_end_to_end().unwrap();
        Self(Arc::new((identity.to_vec(), psk)))
    }
}

impl PskCredentials for Shown {
    fn psk_identity(&self) -> &[u8] {
        &self.0.0
    }

    fn psk(&self) -> &Psk {
        &self.0.1
    }

    fn peer(&self) -> PeerId {
        PeerId(2)
    }
}

#[derive(Clone)]
pub struct Known(Arc<Vec<(Vec<u8>, Psk)>>, Arc<AtomicBool>);

impl Known {
    pub fn new(entries: &[(&[u8], &[u8])]) -> Self {
        let entries = entries
            .iter()
            .map(|(identity, psk)| (identity.to_vec(), Psk::new(psk).unwrap()));
        Self(Arc::new(entries.collect()), Arc::default())
    }

    /// The same keys, which nobody between the ends has.
    pub fn end_to_end(entries: &[(&[u8], &[u8])]) -> Self {
        let entries = entries.iter().map(|(identity, psk)| {
            let psk = Psk::new(psk).unwrap().into_end_to_end().unwrap();
            (identity.to_vec(), psk)
        });
        Self(Arc::new(entries.collect()), Arc::default())
    }

    /// The same keys, of which each has many holders.
    pub fn shared(entries: &[(&[u8], &[u8])]) -> Self {
        let entries = entries.iter().map(|(identity, psk)| {
            let psk = Psk::new(psk).unwrap().with_scope(KeyScope::Shared);
            (identity.to_vec(), psk)
        });
        Self(Arc::new(entries.collect()), Arc::default())
    }

    /// The same keys, of which nobody between the ends has any, beside those of hops.
    pub fn with_end_to_end(hops: &[(&[u8], &[u8])], ends: &[(&[u8], &[u8])]) -> Self {
        let hops = hops.iter().map(|(identity, psk)| {
            let psk = Psk::new(psk).unwrap();
            (identity.to_vec(), psk)
        });
        let ends = ends.iter().map(|(identity, psk)| {
            let psk = Psk::new(psk).unwrap().into_end_to_end().unwrap();
            (identity.to_vec(), psk)
        });
        Self(Arc::new(hops.chain(ends).collect()), Arc::default())
    }

    /// Knows nobody from now on.
    pub fn forget_all(&self) {
        self.1.store(true, Ordering::Relaxed);
    }
}

impl PskStore for Known {
    fn lookup(&self, request: &PskRequest<'_>) -> Option<PskEntry<'_>> {
        if self.1.load(Ordering::Relaxed) {
            return None;
        }
        let index = self
            .0
            .iter()
            .position(|(identity, _)| identity == request.psk_identity)?;
        Some(PskEntry {
            psk: &self.0[index].1,
            peer: PeerId(u32::try_from(index).unwrap()),
        })
    }
}

pub type Driver<P, S = Known, C = Shown> = Endpoint<Place, P, S, C>;

/// An endpoint with an application: as a server it answers `POST` with the length of the body and
/// `GET` with a body of the length that the payload names, and counts each payload.
pub struct Host<P: CryptoProvider, S = Known, C = Shown> {
    pub address: Address,
    pub provider: NonceLedger<P>,
    pub endpoint: Driver<NonceLedger<P>, S, C>,
    pub handled: BTreeMap<Vec<u8>, u32>,
    pub responses: BTreeMap<(AssociationId, OutgoingRequest), (Code, Vec<u8>)>,
    pub failures: Vec<RequestError>,
    pub failed: Vec<ChannelError>,
    pub handshakes_failed: Vec<ChannelError>,
    pub established: Vec<Peer>,
    pub closed: u32,
    pub moves: Vec<(Address, Address)>,
    pub drops: Vec<DropReason>,
    /// The longest datagram that the system sends.
    pub sends: usize,
    pub refused: u32,
    due: Option<Instant>,
}

impl<P, S, C> Host<P, S, C>
where
    P: CryptoProvider + Clone,
    S: ServerCredentials + Clone,
    C: ClientCredentials + Clone,
{
    pub fn new(
        address: Address,
        provider: NonceLedger<P>,
        endpoint: Driver<NonceLedger<P>, S, C>,
    ) -> Self {
        Self {
            address,
            provider,
            endpoint,
            handled: BTreeMap::new(),
            responses: BTreeMap::new(),
            failures: Vec::new(),
            failed: Vec::new(),
            handshakes_failed: Vec::new(),
            established: Vec::new(),
            closed: 0,
            moves: Vec::new(),
            drops: Vec::new(),
            sends: usize::MAX,
            refused: 0,
            due: None,
        }
    }

    fn note(&mut self, event: &Event<'_, Place>) {
        match event {
            Event::Established { peer, .. } | Event::InnerEstablished { peer, .. } => {
                self.established.push(*peer);
            }
            Event::RequestFailed { error, .. } => self.failures.push(*error),
            Event::Failed { error, .. } => self.failed.push(*error),
            Event::HandshakeFailed { error, .. } => self.handshakes_failed.push(*error),
            Event::Closed { .. } => self.closed += 1,
            Event::AddressMoved { from, to, .. } => self.moves.push((from.0, to.0)),
            Event::Dropped { reason, .. } => self.drops.push(*reason),
            _ => {}
        }
    }

    fn take_in(&mut self, env: &mut Env<'_>, from: Address, datagram: &mut [u8], out: &mut Outbox) {
        let mut rest = datagram;
        while !rest.is_empty() {
            let mut answer = [0; 64];
            let arrived = rest.len();
            let handled = self
                .endpoint
                .handle_datagram(env, Place(from), rest, &mut answer);
            let (consumed, len) = (handled.consumed, handled.answer);
            assert!(len <= 3 * arrived);
            let mut request = None;
            let mut noted = None;
            match handled.event {
                Some(Event::Request {
                    association,
                    request: name,
                    message,
                    ..
                }) => {
                    let payload = message.payload().to_vec();
                    request = Some((association, name, message.code(), payload));
                }
                Some(Event::Response {
                    association,
                    request,
                    message,
                }) => {
                    let body = message.payload().to_vec();
                    let before = self
                        .responses
                        .insert((association, request), (message.code(), body));
                    assert!(before.is_none(), "a response came twice");
                }
                Some(Event::Established { peer, .. } | Event::InnerEstablished { peer, .. }) => {
                    self.established.push(peer);
                }
                Some(Event::Closed { .. }) => self.closed += 1,
                Some(Event::AddressMoved { from, to, .. }) => self.moves.push((from.0, to.0)),
                Some(Event::Dropped { reason, .. }) => noted = Some(reason),
                _ => {}
            }
            self.drops.extend(noted);
            if len > 0 {
                out.send(self.address, from, &answer[..len]);
            }
            if let Some((association, name, code, payload)) = request {
                let (code, body) = if code == Code::GET {
                    let len = String::from_utf8_lossy(&payload).parse().unwrap_or(4);
                    (Code::CONTENT, body(len))
                } else {
                    (Code::CHANGED, payload.len().to_string().into_bytes())
                };
                *self.handled.entry(payload).or_default() += 1;
                let response = Response::new(code).payload(&body);
                self.endpoint
                    .respond(env, association, name, &response)
                    .unwrap();
            }
            rest = &mut rest[consumed..];
        }
    }

    /// Sends what there is to send and fetches what there is to know.
    pub fn flush(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        let mut datagram = [0; 1_500];
        while let Some((to, len)) = self.endpoint.poll_transmit(env, &mut datagram) {
            if len > self.sends {
                self.refused += 1;
                self.endpoint.datagram_refused(to, len);
                continue;
            }
            out.send(self.address, to.0, &datagram[..len]);
        }
        while let Some(event) = self.endpoint.poll_event() {
            self.note(&event);
        }
        self.due = self.endpoint.poll_timeout();
    }

    /// Sends a request to the server over DTLS and returns its name.
    pub fn ask(
        &mut self,
        env: &mut Env<'_>,
        out: &mut Outbox,
        shown: &C,
        code: Code,
        payload: &[u8],
    ) -> (AssociationId, OutgoingRequest) {
        let path = [MessageOption::new(OptionNumber::URI_PATH, b"x")];
        let request = Request::new(code).options(&path).payload(payload);
        self.send(env, out, shown, &request)
    }

    /// Sends any request to the server over DTLS and returns its name.
    pub fn send(
        &mut self,
        env: &mut Env<'_>,
        out: &mut Outbox,
        shown: &C,
        request: &Request<'_>,
    ) -> (AssociationId, OutgoingRequest) {
        let association = self
            .endpoint
            .connect(env, Place(SERVER), Some(shown))
            .unwrap();
        let name = self.endpoint.request(env, association, request).unwrap();
        self.flush(env, out);
        (association, name)
    }
}

impl<P, S, C> Node for Host<P, S, C>
where
    P: CryptoProvider + Clone,
    S: ServerCredentials + Clone,
    C: ClientCredentials + Clone,
{
    type Provider = NonceLedger<P>;

    fn handle_datagram(
        &mut self,
        env: &mut Env<'_>,
        from: Address,
        _to: Address,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) {
        self.take_in(env, from, datagram, out);
        self.flush(env, out);
    }

    fn handle_timeout(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        self.endpoint.handle_timeout(env);
        self.flush(env, out);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }
}

/// A body of a given length whose bytes say where they stand.
pub fn body(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251).to_le_bytes()[0]).collect()
}

/// RFC 7252's parameters, and handshakes with five transmissions.
pub fn defaults() -> Config {
    Config::default()
}

/// MAX_RETRANSMIT and handshake tries at 15.
pub fn patient() -> Config {
    let transmission = TransmissionParameters {
        max_retransmit: 15,
        ..TransmissionParameters::default()
    };
    Config {
        handshake: Settings::default().with_timers(patient_timers()),
        exchange: Arc::new(hedgerow_exchange::Config {
            // Nothing restarts here, and a needless new session would ask idempotent requests
            // twice, as it should: what is measured is loss alone.
            unanswered_threshold: u8::MAX,
            ..hedgerow_exchange::Config::new(transmission)
        }),
        idle_timeout: Duration::from_secs(10_000_000),
        ..Config::default()
    }
}

/// With a server that asks for requests other than a GET which are younger than `within` (RFC 9175 §2.3).
pub fn fresh(config: Config, within: Option<Duration>) -> Config {
    Config {
        exchange: Arc::new(hedgerow_exchange::Config {
            fresh_within: within,
            ..hedgerow_exchange::Config::clone(&config.exchange)
        }),
        ..config
    }
}

pub fn patient_timers() -> Timers {
    Timers {
        max_transmissions: 15,
        deadline: Duration::from_secs(100_000),
        ..Timers::default()
    }
}

pub struct Pair {
    pub client: hedgerow_sim::NodeId,
    pub server: hedgerow_sim::NodeId,
}

/// Puts a server and a client into a world.
pub fn pair<P: CryptoProvider + Clone>(
    world: &mut World<Host<P>>,
    provider: &P,
    config: &Config,
) -> Pair {
    let mut rng = hedgerow_sim::TestRng::stream(world.seed(), 77);
    let env = &mut Env::new(world.now(), &mut rng);
    let known = Known::new(&[(IDENTITY, PSK)]);
    let [at_server, at_client] =
        ["server", "client"].map(|name| world.provider(provider.clone(), name));
    let server = Endpoint::server(at_server.clone(), known, config.clone(), env);
    let client = Endpoint::client(at_client.clone(), Known::new(&[]), config.clone());
    Pair {
        server: world.add(Host::new(SERVER, at_server, server), &[SERVER]),
        client: world.add(Host::new(CLIENT, at_client, client), &[CLIENT]),
    }
}

pub fn shown() -> Shown {
    Shown::new(IDENTITY, PSK)
}

const _: fn(&Place) = |place| place.with_bytes(|_| ());

/// A Confirmable GET with an Echo value, if one is given.
pub fn get(id: u16, echo: Option<&[u8]>) -> Vec<u8> {
    let mut out = [0; 64];
    let (kind, token) = (MessageType::Confirmable, Token::from([5]));
    let mut writer = MessageWriter::new(&mut out, kind, Code::GET, MessageId(id), token).unwrap();
    writer.option(OptionNumber::URI_PATH, b"x").unwrap();
    if let Some(echo) = echo {
        writer.option(OptionNumber::ECHO, echo).unwrap();
    }
    let len = writer.finish();
    out[..len].to_vec()
}
