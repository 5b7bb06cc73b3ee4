//! A client and a server as nodes of a simulated network.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::large_enum_variant,
    unreachable_pub
)]

use std::cell::RefCell;
use std::rc::Rc;

use hedgerow_core::{
    CertificateCredentials, ChannelError, CryptoProvider, DropReason, Env, Event, Instant, Peer,
    PeerId, Psk, PskCredentials, PskEntry, PskRequest, PskStore, SecureChannel, ServerCredentials,
};
use hedgerow_handshake::{
    Acceptance, Acceptor, Buffers, ClientHandshake, ResumableSession, SentTicket, ServerHandshake,
    ServerResumption, Session, SessionSlot, SessionTable, Settings, TicketKeys, peek_client_random,
};
use hedgerow_sim::{Address, LedgerAead, Node, NonceLedger, Outbox, World};

pub const CLIENT: Address = Address::new(1, 40_000);
pub const SERVER: Address = Address::new(2, 5684);
pub const PSK: &[u8] = b"a key of 16 byte";
pub const IDENTITY: &[u8] = b"thermometer";

pub type Bytes = Box<[u8]>;

pub fn buffers() -> Buffers<Bytes> {
    Buffers {
        incoming: vec![0; 512 + ResumableSession::MAX_TICKET_LEN].into(),
        outgoing: vec![0; 512 + ResumableSession::MAX_TICKET_LEN].into(),
    }
}

/// What a client shows.
pub struct Shown {
    pub identity: Vec<u8>,
    pub psk: Psk,
}

impl Shown {
    pub fn new(identity: &[u8], psk: &[u8]) -> Self {
        Self {
            identity: identity.to_vec(),
            psk: Psk::new(psk).unwrap(),
        }
    }
}

impl PskCredentials for Shown {
    fn psk_identity(&self) -> &[u8] {
        &self.identity
    }

    fn psk(&self) -> &Psk {
        &self.psk
    }

    fn peer(&self) -> PeerId {
        PeerId(2)
    }
}

/// What a server knows: one identity, which policy may forbid.
pub struct Known {
    pub identity: Vec<u8>,
    pub psk: Psk,
    /// What the store says of it.
    pub is_forbidden: bool,
    /// What policy says of it.
    pub is_permitted: bool,
}

impl Known {
    pub fn new(identity: &[u8], psk: &[u8]) -> Rc<Self> {
        Rc::new(Self {
            identity: identity.to_vec(),
            psk: Psk::new(psk).unwrap(),
            is_forbidden: false,
            is_permitted: true,
        })
    }
}

#[derive(Clone)]
pub struct Store(pub Rc<Known>);

impl ServerCredentials for Store {
    fn psk_store(&self) -> Option<&dyn PskStore> {
        Some(&*self.0)
    }

    fn certificates(&self) -> Option<&dyn CertificateCredentials> {
        None
    }

    fn permits(&self, _peer: Peer) -> bool {
        self.0.is_permitted
    }
}

impl PskStore for Known {
    fn lookup(&self, request: &PskRequest<'_>) -> Option<PskEntry<'_>> {
        let is_known = self.identity == request.psk_identity && !self.is_forbidden;
        is_known.then_some(PskEntry {
            psk: &self.psk,
            peer: PeerId(1),
        })
    }

    fn usual_psk_len(&self) -> usize {
        self.psk.expose().len()
    }
}

/// What a server resumes sessions with, over all its handshakes.
pub struct Sessions {
    pub keys: TicketKeys,
    pub table: SessionTable<Vec<SessionSlot>>,
}

impl Sessions {
    pub fn new(keys: TicketKeys) -> Shared {
        let slots = (0..4).map(|_| SessionSlot::default()).collect();
        let table = SessionTable::new(slots);
        Rc::new(RefCell::new(Self { keys, table }))
    }
}

pub type Shared = Rc<RefCell<Sessions>>;

/// Either end, once its handshake is over or before.
pub enum Phase<H, A> {
    Idle,
    Handshaking(Box<H>),
    Established(Session<A>),
    Failed(ChannelError),
}

type Aead<P> = LedgerAead<<P as CryptoProvider>::Aead>;
type ClientPhase<P> = Phase<ClientHandshake<NonceLedger<P>, Shown, Bytes>, Aead<P>>;
type ServerPhase<P> = Phase<ServerHandshake<NonceLedger<P>, Store, Bytes>, Aead<P>>;

pub struct ClientNode<P: CryptoProvider> {
    pub phase: ClientPhase<P>,
    /// What the session can be resumed by.
    pub resumable: Option<ResumableSession>,
    pub seen: Seen,
}

pub struct ServerNode<P: CryptoProvider> {
    pub provider: NonceLedger<P>,
    pub store: Store,
    pub acceptor: Acceptor<NonceLedger<P>>,
    pub phase: ServerPhase<P>,
    pub sessions: Option<Shared>,
    pub ticket: Option<SentTicket>,
    pub seen: Seen,
}

/// What came up from a channel.
#[derive(Default)]
pub struct Seen {
    pub established: u32,
    pub plaintexts: Vec<Vec<u8>>,
    pub drops: Vec<DropReason>,
    pub closed: bool,
    pub alerts_sent: u32,
    /// What the flights were packed into in the end.
    pub datagram_len: usize,
}

pub enum End<P: CryptoProvider> {
    Client(ClientNode<P>),
    Server(ServerNode<P>),
}

impl<P: CryptoProvider + Clone> End<P> {
    pub fn client(&mut self) -> &mut ClientNode<P> {
        match self {
            Self::Client(client) => client,
            Self::Server(_) => panic!("not the client"),
        }
    }

    pub fn server(&mut self) -> &mut ServerNode<P> {
        match self {
            Self::Server(server) => server,
            Self::Client(_) => panic!("not the server"),
        }
    }

    pub fn seen(&self) -> &Seen {
        match self {
            Self::Client(client) => &client.seen,
            Self::Server(server) => &server.seen,
        }
    }

    pub fn is_established(&self) -> bool {
        match self {
            Self::Client(client) => matches!(client.phase, Phase::Established(_)),
            Self::Server(server) => matches!(server.phase, Phase::Established(_)),
        }
    }

    pub fn error(&self) -> Option<ChannelError> {
        match self {
            Self::Client(ClientNode {
                phase: Phase::Failed(error),
                ..
            })
            | Self::Server(ServerNode {
                phase: Phase::Failed(error),
                ..
            }) => Some(*error),
            _ => None,
        }
    }

    pub fn session(&mut self) -> &mut Session<Aead<P>> {
        match self {
            Self::Client(ClientNode {
                phase: Phase::Established(session),
                ..
            })
            | Self::Server(ServerNode {
                phase: Phase::Established(session),
                ..
            }) => session,
            _ => panic!("not established"),
        }
    }

    /// Seals application data and sends it.
    pub fn say(&mut self, text: &[u8], out: &mut Outbox) {
        let mut record = vec![0; text.len() + 128];
        let (from, to) = match self {
            Self::Client(_) => (CLIENT, SERVER),
            Self::Server(_) => (SERVER, CLIENT),
        };
        let len = self.session().seal(text, &mut record).unwrap();
        out.send(from, to, &record[..len]);
    }
}

/// The verbs that both handshakes and the session have in common.
macro_rules! drive {
    ($phase:expr, $env:expr, $datagram:expr, $seen:expr, $keep:expr) => {{
        let mut rest: &mut [u8] = $datagram;
        while !rest.is_empty() {
            let received = match &mut $phase {
                Phase::Handshaking(handshake) => handshake.handle_datagram($env, rest),
                Phase::Established(session) => session.handle_datagram($env, rest),
                Phase::Idle | Phase::Failed(_) => break,
            };
            match received {
                Ok(received) => {
                    rest = received.rest;
                    match received.event {
                        Some(Event::Established(_)) => {
                            $seen.established += 1;
                            $phase = match std::mem::replace(&mut $phase, Phase::Idle) {
                                Phase::Handshaking(handshake) => {
                                    let established = handshake.into_session().unwrap();
                                    $keep(
                                        established.ticket,
                                        established.resumable,
                                        established.cacheable,
                                    );
                                    $seen.datagram_len = established.datagram_len;
                                    Phase::Established(established.session)
                                }
                                other => other,
                            };
                        }
                        Some(Event::Plaintext(text)) => $seen.plaintexts.push(text.to_vec()),
                        Some(Event::Closed) => $seen.closed = true,
                        Some(Event::Dropped(reason)) => $seen.drops.push(reason),
                        Some(_) | None => {}
                    }
                }
                Err(error) => return Some(error),
            }
        }
        None
    }};
}

impl<P: CryptoProvider> ClientNode<P> {
    fn feed(&mut self, env: &mut Env<'_>, datagram: &mut [u8]) -> Option<ChannelError> {
        drive!(self.phase, env, datagram, self.seen, |_, resumable, _| {
            self.resumable = resumable;
        })
    }

    fn flush(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        let mut buffer = [0; 1500];
        while let Some(len) = match &mut self.phase {
            Phase::Handshaking(handshake) => handshake.poll_transmit(env, &mut buffer).unwrap(),
            Phase::Established(session) => session.poll_transmit(env, &mut buffer).unwrap(),
            Phase::Idle | Phase::Failed(_) => None,
        } {
            out.send(CLIENT, SERVER, &buffer[..len]);
        }
    }

    fn conclude(&mut self, env: &mut Env<'_>, out: &mut Outbox, error: Option<ChannelError>) {
        self.flush(env, out);
        if let Some(error) = error {
            self.phase = Phase::Failed(error);
        }
    }
}

impl<P: CryptoProvider + Clone> ServerNode<P> {
    fn feed(&mut self, env: &mut Env<'_>, datagram: &mut [u8]) -> Option<ChannelError> {
        drive!(
            self.phase,
            env,
            datagram,
            self.seen,
            |ticket, _, cacheable| {
                self.ticket = ticket;
                if let (Some(sessions), Some(cacheable)) = (&self.sessions, cacheable) {
                    sessions.borrow_mut().table.insert(cacheable);
                }
            }
        )
    }

    fn accept(&mut self, env: &mut Env<'_>, datagram: &mut [u8], out: &mut Outbox) {
        let mut answer = [0; 256];
        match self
            .acceptor
            .handle_datagram(env, CLIENT.as_bytes(), datagram, &mut answer)
        {
            Acceptance::Answer(len) => out.send(SERVER, CLIENT, &answer[..len]),
            Acceptance::Refuse { len, .. } => {
                self.seen.alerts_sent += 1;
                out.send(SERVER, CLIENT, &answer[..len]);
            }
            Acceptance::Accept(hello) => {
                let (provider, store) = (self.provider.clone(), self.store.clone());
                let settings = *self.acceptor.settings();
                let handshake = match &self.sessions {
                    None => ServerHandshake::new(provider, store, settings, hello, buffers(), env),
                    Some(sessions) => {
                        let mut sessions = sessions.borrow_mut();
                        let found = sessions.table.find(hello.session_id(), env.now);
                        let lease = sessions.keys.lease(env);
                        let resumption = ServerResumption::new(lease).with_session_ids(found);
                        ServerHandshake::resuming(
                            provider,
                            store,
                            settings,
                            resumption,
                            hello,
                            buffers(),
                            env,
                        )
                    }
                };
                self.phase = Phase::Handshaking(Box::new(handshake.unwrap()));
            }
            Acceptance::Drop(reason) => self.seen.drops.push(reason),
        }
    }

    fn flush(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        let mut buffer = [0; 1500];
        while let Some(len) = match &mut self.phase {
            Phase::Handshaking(handshake) => handshake.poll_transmit(env, &mut buffer).unwrap(),
            Phase::Established(session) => session
                .poll_transmit_with(self.ticket.as_ref(), &mut buffer)
                .unwrap(),
            Phase::Idle | Phase::Failed(_) => None,
        } {
            out.send(SERVER, CLIENT, &buffer[..len]);
        }
    }

    fn conclude(&mut self, env: &mut Env<'_>, out: &mut Outbox, error: Option<ChannelError>) {
        self.flush(env, out);
        if let Some(error) = error {
            self.phase = Phase::Failed(error);
        }
    }
}

impl<P: CryptoProvider + Clone> Node for End<P> {
    type Provider = NonceLedger<P>;

    fn handle_datagram(
        &mut self,
        env: &mut Env<'_>,
        _from: Address,
        _to: Address,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) {
        match self {
            Self::Client(client) => {
                let error = client.feed(env, datagram);
                client.conclude(env, out, error);
            }
            Self::Server(server) => {
                let hello = peek_client_random(datagram);
                let repeats = matches!((&server.phase, hello),
                    (Phase::Handshaking(handshake), Some(random)) if *handshake.client_random() == random);
                let is_new = match server.phase {
                    Phase::Idle => true,
                    Phase::Handshaking(_) => hello.is_some() && !repeats,
                    Phase::Established(_) | Phase::Failed(_) => false,
                };
                if is_new {
                    server.accept(env, datagram, out);
                    server.conclude(env, out, None);
                } else {
                    let error = server.feed(env, datagram);
                    server.conclude(env, out, error);
                }
            }
        }
    }

    fn handle_timeout(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        match self {
            Self::Client(client) => {
                let error = match &mut client.phase {
                    Phase::Handshaking(handshake) => handshake.handle_timeout(env).err(),
                    _ => None,
                };
                client.conclude(env, out, error);
            }
            Self::Server(server) => {
                let error = match &mut server.phase {
                    Phase::Handshaking(handshake) => handshake.handle_timeout(env).err(),
                    _ => None,
                };
                server.conclude(env, out, error);
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Client(ClientNode {
                phase: Phase::Handshaking(handshake),
                ..
            }) => handshake.poll_timeout(),
            Self::Server(ServerNode {
                phase: Phase::Handshaking(handshake),
                ..
            }) => handshake.poll_timeout(),
            _ => None,
        }
    }
}

/// What both ends of a world are made with.
pub struct Setup<P> {
    pub client_provider: P,
    pub server_provider: P,
    pub client: Settings,
    pub server: Settings,
    pub shown: Shown,
    pub known: Rc<Known>,
    /// Whether the client takes part in resumption, and with which session.
    pub resuming: Option<Option<ResumableSession>>,
    pub sessions: Option<Shared>,
}

impl<P: Clone> Setup<P> {
    pub fn new(provider: P, settings: Settings) -> Self {
        Self {
            client_provider: provider.clone(),
            server_provider: provider,
            client: settings,
            server: settings,
            shown: Shown::new(IDENTITY, PSK),
            known: Known::new(IDENTITY, PSK),
            resuming: None,
            sessions: None,
        }
    }

    /// Has both ends take part in resumption.
    pub fn resuming(mut self, session: Option<ResumableSession>, sessions: &Shared) -> Self {
        self.resuming = Some(session);
        self.sessions = Some(Rc::clone(sessions));
        self
    }
}

pub type Net<P> = World<End<P>>;

/// Puts a server and a client into a world; the client's first flight leaves.
pub fn start<P: CryptoProvider + Clone>(
    world: &mut Net<P>,
    setup: Setup<P>,
) -> (hedgerow_sim::NodeId, hedgerow_sim::NodeId) {
    let client_provider = world.provider(setup.client_provider, "client");
    let server_provider = world.provider(setup.server_provider, "server");
    let mut rng = hedgerow_sim::TestRng::stream(world.seed(), 1000);
    let mut env = Env::new(world.now(), &mut rng);
    let server = End::Server(ServerNode {
        acceptor: Acceptor::new(server_provider.clone(), setup.server, &mut env),
        provider: server_provider,
        store: Store(setup.known),
        phase: Phase::Idle,
        sessions: setup.sessions,
        ticket: None,
        seen: Seen::default(),
    });
    let (provider, shown, settings) = (client_provider, setup.shown, setup.client);
    let env = &mut env;
    let handshake = match setup.resuming {
        None => ClientHandshake::new(provider, shown, settings, buffers(), env),
        Some(session) => {
            ClientHandshake::resuming(provider, shown, settings, session, buffers(), env)
        }
    };
    let client = End::Client(ClientNode {
        phase: Phase::Handshaking(Box::new(handshake.unwrap())),
        resumable: None,
        seen: Seen::default(),
    });
    let server = world.add(server, &[SERVER]);
    let client = world.add(client, &[CLIENT]);
    world.act(client, |node, env, out| node.client().flush(env, out));
    (client, server)
}

/// Lets both ends say something and checks that it arrives.
pub fn talk<P: CryptoProvider + Clone>(
    world: &mut Net<P>,
    client: hedgerow_sim::NodeId,
    server: hedgerow_sim::NodeId,
) {
    world.act(client, |node, _, out| node.say(b"over the hedge", out));
    world.act(server, |node, _, out| node.say(b"and back", out));
    world.run_until_idle().unwrap();
    assert_eq!(
        world.node(server).seen().plaintexts.last().unwrap(),
        b"over the hedge"
    );
    assert_eq!(
        world.node(client).seen().plaintexts.last().unwrap(),
        b"and back"
    );
}

pub fn peer<P: CryptoProvider + Clone>(world: &mut Net<P>, node: hedgerow_sim::NodeId) -> Peer {
    world.act(node, |node, _, _| node.session().peer())
}
