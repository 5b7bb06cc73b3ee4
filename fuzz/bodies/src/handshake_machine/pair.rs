//! A client, a server and the two ways between them.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use hedgerow_core::{
    ChannelError, Credentials, DropReason, Env, Event, Instant, PeerFault, PeerId, Psk,
    SecureChannel,
};
use hedgerow_crypto_soft::{SoftAead, SoftCrypto};
use hedgerow_handshake::{
    Acceptance, Acceptor, Buffers, ClientHandshake, ClientState, ResumableSession, SentTicket,
    ServerHandshake, ServerResumption, ServerState, Session, SessionSlot, SessionTable, Settings,
    TicketKeys, peek_client_random,
};
use hedgerow_record::{AlertDescription, RECORD_HEADER_LEN};
use hedgerow_sim::{LedgerAead, NonceLedger};

use super::reached::{Reached, note_client, note_server};
use super::script::records;

pub(super) type Crypto = NonceLedger<SoftCrypto>;
type Store = (&'static [u8], Psk, PeerId);
type Client = ClientHandshake<Crypto, Credentials<'static>, Vec<u8>>;
type Server = ServerHandshake<Crypto, Store, Vec<u8>>;
pub(super) type Established = Box<Session<LedgerAead<SoftAead>>>;

/// The way from client to server is 0, the way back is 1; an end has the number of the way on which
/// it sends.
pub(super) const CLIENT: usize = 0;
pub(super) const SERVER: usize = 1;

/// What one end is.
pub(super) enum Phase<H> {
    /// A server that knows of no client.
    Idle,
    Handshaking(Box<H>),
    Session(Established),
    Failed,
}

impl<H> Phase<H> {
    pub(super) fn session(&mut self) -> Option<&mut Established> {
        match self {
            Self::Session(session) => Some(session),
            _ => None,
        }
    }

    pub(super) const fn is_handshaking(&self) -> bool {
        matches!(self, Self::Handshaking(_))
    }
}

/// What makes one pair differ from the other, and from one script to the next.
pub(super) struct Setup {
    pub(super) name: &'static [u8],
    pub(super) credentials: Credentials<'static>,
    pub(super) known_identity: &'static [u8],
    pub(super) known_psk: &'static [u8],
    pub(super) client: Settings,
    pub(super) server: Settings,
    pub(super) resumes: Resumes,
}

/// Which part a pair takes in resumption.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Resumes {
    No,
    ByTicket,
    BySessionId,
}

/// What a server resumes sessions from.
struct ServerSessions {
    keys: TicketKeys,
    table: SessionTable<[SessionSlot; 2]>,
}

impl ServerSessions {
    fn new(resumes: Resumes, env: &mut Env<'_>) -> Self {
        let keys = TicketKeys::draw(LIFETIME, env);
        Self {
            keys: match resumes {
                Resumes::BySessionId => keys.without_tickets(),
                Resumes::ByTicket | Resumes::No => keys,
            },
            table: SessionTable::new([SessionSlot::default(), SessionSlot::default()]),
        }
    }
}

pub(super) struct Pair {
    setup: Setup,
    providers: [Crypto; 2],
    acceptor: Acceptor<Crypto>,
    pub(super) client: Phase<Client>,
    pub(super) server: Phase<Server>,
    client_state: Option<ClientState>,
    server_state: Option<ServerState>,
    server_sessions: ServerSessions,
    /// What the server's last flight carries.
    sent_ticket: Option<SentTicket>,
    /// What the client could resume its session by.
    resumable: Option<ResumableSession>,
    /// Which end has resumed a session; the ends agree where both are established.
    was_resumed: [Option<bool>; 2],
    pub(super) ways: [VecDeque<Vec<u8>>; 2],
    /// What each end has sealed and the other has not yet delivered.
    said: [BTreeSet<Vec<u8>>; 2],
    next_text: u32,
    /// Bytes from and to the client's address as long as that has proved nothing.
    heard: usize,
    answered: usize,
    has_proved: bool,
    is_closing: bool,
    /// Whether one end has ended a handshake with an alert.
    has_broken_off: bool,
    /// The ClientHellos that the client sent, and the one that the server goes on with.
    hellos: Vec<Vec<u8>>,
    accepted_hello: Vec<u8>,
}

impl Pair {
    pub(super) fn new(setup: Setup, providers: [Crypto; 2], env: &mut Env<'_>) -> Self {
        let server_sessions = ServerSessions::new(setup.resumes, env);
        Self::with(setup, providers, server_sessions, None, env)
    }

    /// The same two ends later: what they may resume is there, unless the server `has_restarted`.
    pub(super) fn meet_again(self, has_restarted: bool, env: &mut Env<'_>) -> Self {
        let server_sessions = match has_restarted {
            true => ServerSessions::new(self.setup.resumes, env),
            false => self.server_sessions,
        };
        let session = self.resumable;
        Self::with(self.setup, self.providers, server_sessions, session, env)
    }

    fn with(
        setup: Setup,
        providers: [Crypto; 2],
        server_sessions: ServerSessions,
        session: Option<ResumableSession>,
        env: &mut Env<'_>,
    ) -> Self {
        let [client_provider, server_provider] = &providers;
        let acceptor = Acceptor::new(server_provider.clone(), setup.server, env);
        let provider = client_provider.clone();
        let buffers = buffers(setup.resumes);
        let client = if setup.resumes == Resumes::No {
            ClientHandshake::new(provider, setup.credentials, setup.client, buffers, env)
        } else {
            let (shown, settings) = (setup.credentials, setup.client);
            ClientHandshake::resuming(provider, shown, settings, session, buffers, env)
        };
        Self {
            setup,
            providers,
            acceptor,
            client: Phase::Handshaking(Box::new(client.expect("there are buffers"))),
            server: Phase::Idle,
            client_state: None,
            server_state: None,
            server_sessions,
            sent_ticket: None,
            resumable: None,
            was_resumed: [None, None],
            ways: [VecDeque::new(), VecDeque::new()],
            said: [BTreeSet::new(), BTreeSet::new()],
            next_text: 0,
            heard: 0,
            answered: 0,
            has_proved: false,
            is_closing: false,
            has_broken_off: false,
            hellos: Vec::new(),
            accepted_hello: Vec::new(),
        }
    }

    /// Hands a datagram to the end at which `way` ends.
    pub(super) fn deliver(&mut self, way: usize, datagram: &[u8], env: &mut Env<'_>) {
        let mut datagram = datagram.to_vec();
        if way == SERVER {
            self.deliver_to_client(&mut datagram, env);
        } else {
            self.deliver_to_server(&mut datagram, env);
        }
    }

    fn deliver_to_client(&mut self, datagram: &mut [u8], env: &mut Env<'_>) {
        let mut rest = datagram;
        while !rest.is_empty() {
            let is_session = self.client.session().is_some();
            let received = match &mut self.client {
                Phase::Handshaking(handshake) => {
                    let received = handshake.handle_datagram(env, rest);
                    note_client(&mut self.client_state, handshake.state());
                    received
                }
                Phase::Session(session) => session.handle_datagram(env, rest),
                Phase::Idle | Phase::Failed => break,
            };
            let event = match received {
                Ok(received) => {
                    rest = received.rest;
                    received.event
                }
                Err(error) => {
                    self.flush_client(env);
                    self.client_failed(error);
                    return;
                }
            };
            if let Some(Event::Established(_)) = event {
                assert!(!self.is_hopeless(), "established without the right key");
                let phase = std::mem::replace(&mut self.client, Phase::Failed);
                if let Phase::Handshaking(handshake) = phase {
                    let established = handshake.into_session().expect("it said so");
                    if established.is_resumed {
                        Reached::ClientResumed.count();
                    }
                    self.was_resumed[CLIENT] = Some(established.is_resumed);
                    self.resumable = established.resumable;
                    self.client = Phase::Session(Box::new(established.session));
                }
            } else {
                note_event(event, is_session, &mut self.said[SERVER]);
            }
        }
        self.flush_client(env);
    }

    fn deliver_to_server(&mut self, datagram: &mut [u8], env: &mut Env<'_>) {
        if !self.has_proved {
            self.heard = self.heard.saturating_add(datagram.len());
        }
        let hello = peek_client_random(datagram);
        let is_for_acceptor = match &self.server {
            Phase::Idle => true,
            Phase::Handshaking(handshake) => {
                hello.is_some_and(|random| random != *handshake.client_random())
            }
            Phase::Session(_) | Phase::Failed => false,
        };
        if is_for_acceptor {
            self.accept(datagram, env);
            self.flush_server(env);
            self.forget_refused();
            return;
        }
        let mut rest = datagram;
        while !rest.is_empty() {
            let is_session = self.server.session().is_some();
            let received = match &mut self.server {
                Phase::Handshaking(handshake) => {
                    let received = handshake.handle_datagram(env, rest);
                    note_server(&mut self.server_state, handshake.state());
                    received
                }
                Phase::Session(session) => session.handle_datagram(env, rest),
                Phase::Idle | Phase::Failed => break,
            };
            let event = match received {
                Ok(received) => {
                    rest = received.rest;
                    received.event
                }
                Err(error) => {
                    self.flush_server(env);
                    self.server_failed(error, false);
                    return;
                }
            };
            if let Some(Event::Established(_)) = event {
                assert!(!self.is_hopeless(), "established without the right key");
                assert!(
                    self.hellos.contains(&self.accepted_hello),
                    "established with a hello that the client didn't send"
                );
                let phase = std::mem::replace(&mut self.server, Phase::Failed);
                if let Phase::Handshaking(handshake) = phase {
                    let established = handshake.into_session().expect("it said so");
                    if established.is_resumed {
                        Reached::ServerResumed.count();
                    }
                    self.was_resumed[SERVER] = Some(established.is_resumed);
                    if let Some(session) = established.cacheable {
                        self.server_sessions.table.insert(session);
                    }
                    self.sent_ticket = established.ticket;
                    self.server = Phase::Session(Box::new(established.session));
                }
            } else {
                if is_session && matches!(event, Some(Event::Dropped(DropReason::Duplicate))) {
                    Reached::SessionFinalFlightAgain.count();
                }
                note_event(event, is_session, &mut self.said[CLIENT]);
            }
        }
        self.flush_server(env);
    }

    fn accept(&mut self, datagram: &mut [u8], env: &mut Env<'_>) {
        let mut answer = [0; 64];
        let first = records(datagram).swap_remove(0);
        let acceptance = self
            .acceptor
            .handle_datagram(env, self.setup.name, datagram, &mut answer);
        match acceptance {
            Acceptance::Answer(len) => {
                Reached::AcceptorAnswer.count();
                self.send_to_client(answer.get(..len).unwrap_or_default());
            }
            Acceptance::Refuse { len, .. } => {
                Reached::AcceptorRefuse.count();
                self.has_proved = true;
                self.send_to_client(answer.get(..len).unwrap_or_default());
            }
            Acceptance::Accept(hello) => {
                Reached::AcceptorAccept.count();
                self.has_proved = true;
                let psk = Psk::new(self.setup.known_psk).expect("a key of some bytes");
                let store = (self.setup.known_identity, psk, PeerId(1));
                let provider = self.providers[SERVER].clone();
                let settings = self.setup.server;
                let buffers = buffers(self.setup.resumes);
                let handshake = if self.setup.resumes == Resumes::No {
                    ServerHandshake::new(provider, store, settings, hello, buffers, env)
                } else {
                    let ServerSessions { keys, table } = &mut self.server_sessions;
                    let found = table.find(hello.session_id(), env.now);
                    let mut resumption = ServerResumption::new(keys.lease(env));
                    if self.setup.resumes == Resumes::BySessionId {
                        resumption = resumption.with_session_ids(found);
                    }
                    ServerHandshake::resuming(
                        provider, store, settings, resumption, hello, buffers, env,
                    )
                };
                let handshake = handshake.expect("there are buffers");
                self.accepted_hello = first.get(RECORD_HEADER_LEN..).unwrap_or_default().to_vec();
                self.server_state = None;
                note_server(&mut self.server_state, handshake.state());
                self.server = Phase::Handshaking(Box::new(handshake));
            }
            Acceptance::Drop(_) => Reached::AcceptorDrop.count(),
        }
    }

    /// Lets both ends do what is due, and says whether one of them did something.
    pub(super) fn handle_timeouts(&mut self, env: &mut Env<'_>) -> bool {
        let is_due = self.poll_timeout().is_some_and(|at| at <= env.now);
        if let Phase::Handshaking(handshake) = &mut self.client {
            let outcome = handshake.handle_timeout(env);
            note_client(&mut self.client_state, handshake.state());
            self.flush_client(env);
            if let Err(error) = outcome {
                self.client_failed(error);
            }
        }
        if let Phase::Handshaking(handshake) = &mut self.server {
            let outcome = handshake.handle_timeout(env);
            note_server(&mut self.server_state, handshake.state());
            self.flush_server(env);
            if let Err(error) = outcome {
                self.server_failed(error, true);
            }
        }
        is_due
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let client = match &self.client {
            Phase::Handshaking(handshake) => handshake.poll_timeout(),
            _ => None,
        };
        let server = match &self.server {
            Phase::Handshaking(handshake) => handshake.poll_timeout(),
            _ => None,
        };
        [client, server].into_iter().flatten().min()
    }

    /// Lets an end that is established seal a text of its own and send it.
    pub(super) fn say(&mut self, end: usize, len: usize) -> bool {
        let number = self.next_text;
        let session = match end {
            CLIENT => self.client.session(),
            _ => self.server.session(),
        };
        let Some(session) = session.filter(|session| session.is_open()) else {
            return false;
        };
        let mut text = vec![u8::try_from(end).unwrap_or_default()];
        text.extend(number.to_be_bytes());
        text.resize(len.max(text.len()), 0x5a);
        let mut record = vec![0; text.len().saturating_add(session.overhead())];
        session.seal(&text, &mut record).expect("there is room");
        self.next_text = number.saturating_add(1);
        self.said[end].insert(text);
        self.ways[end].push_back(record);
        true
    }

    /// Closes an end that is established.
    pub(super) fn close(&mut self, end: usize, env: &mut Env<'_>) {
        self.is_closing = true;
        match end {
            CLIENT => {
                if let Some(session) = self.client.session() {
                    session.close();
                }
                self.flush_client(env);
            }
            _ => {
                if let Some(session) = self.server.session() {
                    session.close();
                }
                self.flush_server(env);
            }
        }
    }

    /// What must hold once the attacker has left and time has passed.
    pub(super) fn conclude(&mut self, mut deliver_all: impl FnMut(&mut Self)) {
        assert!(!self.client.is_handshaking(), "the client hangs");
        assert!(!self.server.is_handshaking(), "the server hangs");
        // Whoever sends the last flight can't know whether it arrived; the other end always does.
        let is_client_established = self.client.session().is_some();
        let is_server_established = self.server.session().is_some();
        match self.was_resumed {
            [Some(true), _] | [None, Some(true)] => assert!(
                is_client_established || !is_server_established,
                "established alone"
            ),
            _ => assert!(
                is_server_established || !is_client_established,
                "established alone"
            ),
        }
        if let [Some(client), Some(server)] = self.was_resumed
            && is_client_established
            && is_server_established
        {
            assert_eq!(client, server, "only one end has resumed");
        }
        let are_open = [self.client.session(), self.server.session()]
            .into_iter()
            .all(|session| session.is_some_and(|session| session.is_open()));
        if are_open {
            // What one seals the other opens: they have the same keys.
            assert!(self.say(CLIENT, 20) && self.say(SERVER, 20));
            let last: Vec<Vec<u8>> = (0..2)
                .filter_map(|end| self.said[end].last().cloned())
                .collect();
            deliver_all(self);
            for text in &last {
                assert!(
                    !self.said.iter().any(|said| said.contains(text)),
                    "what one end sealed, the other didn't open"
                );
            }
        } else if is_client_established && is_server_established {
            assert!(self.is_closing, "a session ended by itself");
        }
    }

    /// Whether no handshake can succeed, since what one end holds the other doesn't know.
    fn is_hopeless(&self) -> bool {
        self.setup.credentials.psk_identity != self.setup.known_identity
            || self.setup.credentials.psk.expose() != self.setup.known_psk
    }

    pub(super) fn flush_client(&mut self, env: &mut Env<'_>) {
        let mut out = [0; 1200];
        while let Some(len) = match &mut self.client {
            Phase::Handshaking(handshake) => handshake.poll_transmit(env, &mut out),
            Phase::Session(session) => session.poll_transmit(env, &mut out),
            Phase::Idle | Phase::Failed => Ok(None),
        }
        .expect("there is room")
        {
            let datagram = out.get(..len).unwrap_or_default();
            if peek_client_random(datagram).is_some() {
                let hello = datagram.get(RECORD_HEADER_LEN..).unwrap_or_default();
                self.hellos.push(hello.to_vec());
            }
            self.ways[CLIENT].push_back(datagram.to_vec());
        }
        if let Phase::Handshaking(handshake) = &self.client {
            note_client(&mut self.client_state, handshake.state());
        }
    }

    fn flush_server(&mut self, env: &mut Env<'_>) {
        let mut out = [0; 1200];
        while let Some(len) = match &mut self.server {
            Phase::Handshaking(handshake) => handshake.poll_transmit(env, &mut out),
            Phase::Session(session) => {
                session.poll_transmit_with(self.sent_ticket.as_ref(), &mut out)
            }
            Phase::Idle | Phase::Failed => Ok(None),
        }
        .expect("there is room")
        {
            self.send_to_client(out.get(..len).unwrap_or_default());
        }
    }

    /// Forgets a handshake that was over with its first flight, an alert (RFC 7627 §5.3).
    fn forget_refused(&mut self) {
        if matches!(&self.server, Phase::Handshaking(machine) if machine.state() == ServerState::Failed)
        {
            Reached::ServerRefusedResumption.count();
            self.server = Phase::Idle;
            self.server_state = None;
        }
    }

    /// Nobody without the keys can make an honest end of a session seal a fatal alert, and nothing else
    /// ends a session but its close. The end of a handshake can be made to: where a ticket is awaited,
    /// and where a session is resumed, it has keys while it still takes messages in clear, and its peer
    /// may be established by then.
    fn session_failed(&mut self, fault: PeerFault) {
        let is_of_handshake = matches!(
            fault,
            PeerFault::AlertReceived {
                authenticated: true,
                ..
            }
        ) && self.has_broken_off;
        assert!(
            self.setup.resumes != Resumes::No && is_of_handshake,
            "{fault} ended a session"
        );
        self.is_closing = true;
        Reached::SessionEndedByHandshake.count();
    }

    fn send_to_client(&mut self, datagram: &[u8]) {
        if !self.has_proved {
            self.answered = self.answered.saturating_add(datagram.len());
            assert!(
                self.answered <= self.heard.saturating_mul(3),
                "more than three times the bytes of an address that has proved nothing"
            );
        }
        self.ways[SERVER].push_back(datagram.to_vec());
    }

    fn client_failed(&mut self, error: ChannelError) {
        let ChannelError::Peer(fault) = error else {
            unreachable!("{error}");
        };
        let is_session = self.client.session().is_some();
        match (is_session, fault) {
            (true, fault) => self.session_failed(fault),
            (false, PeerFault::AlertSent { .. }) => {
                self.has_broken_off = true;
                Reached::ClientAlertSent.count();
            }
            (false, PeerFault::AlertReceived { authenticated, .. }) => match authenticated {
                true => Reached::ClientAlertVerified.count(),
                false => Reached::ClientAlertInClear.count(),
            },
            (false, PeerFault::HandshakeTimeout) => Reached::ClientHandshakeTimeout.count(),
            (false, PeerFault::CredentialsRefused) => Reached::ClientCredentialsRefused.count(),
            (false, other) => unreachable!("{other}"),
        }
        if !is_session {
            self.client = Phase::Failed;
        }
    }

    fn server_failed(&mut self, error: ChannelError, by_timeout: bool) {
        let ChannelError::Peer(fault) = error else {
            unreachable!("{error}");
        };
        let is_session = self.server.session().is_some();
        match (is_session, fault) {
            (true, fault) => self.session_failed(fault),
            (false, PeerFault::AlertSent { description }) if by_timeout => {
                assert_eq!(description, AlertDescription::DECRYPT_ERROR.0);
                self.has_broken_off = true;
                Reached::ServerCredentialsRefused.count();
            }
            (false, PeerFault::AlertSent { .. }) => {
                self.has_broken_off = true;
                Reached::ServerAlertSent.count();
            }
            // Alerts in clear a server ignores; a client has keys first where it resumes a session.
            (
                false,
                PeerFault::AlertReceived {
                    authenticated: true,
                    ..
                },
            ) if self.setup.resumes != Resumes::No => Reached::ServerAlertVerified.count(),
            (false, PeerFault::HandshakeTimeout) => Reached::ServerHandshakeTimeout.count(),
            (false, other) => unreachable!("{other}"),
        }
        // A server forgets a handshake that failed, and may meet the client anew.
        if !is_session {
            self.server = Phase::Idle;
            self.server_state = None;
        }
    }
}

/// Checks what came up from a channel against what the other end `said`.
fn note_event(event: Option<Event<'_>>, is_session: bool, said: &mut BTreeSet<Vec<u8>>) {
    match event {
        Some(Event::Plaintext(text)) => {
            assert!(said.remove(text), "delivered twice, or never sealed");
            Reached::SessionPlaintext.count();
        }
        Some(Event::Closed) => Reached::SessionClosed.count(),
        Some(Event::Dropped(DropReason::AuthenticationFailed)) if is_session => {
            Reached::SessionForgery.count()
        }
        Some(Event::Dropped(DropReason::Replayed)) if is_session => Reached::SessionReplay.count(),
        _ => {}
    }
}

/// How long what a server issues is good for: longer than any script takes.
const LIFETIME: Duration = Duration::from_secs(3_600);

/// As long as they must be, with a ticket and without.
fn buffers(resumes: Resumes) -> Buffers<Vec<u8>> {
    let len = match resumes {
        Resumes::No => Buffers::<Vec<u8>>::MIN_LEN,
        Resumes::ByTicket | Resumes::BySessionId => 1024,
    };
    Buffers {
        incoming: vec![0; len],
        outgoing: vec![0; len],
    }
}
