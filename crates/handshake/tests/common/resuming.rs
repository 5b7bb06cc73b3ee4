//! Whole handshakes by hand in either protocol, with everything that resumption goes by.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub
)]

use std::time::Duration;

use hedgerow_core::{
    ChannelError, ClientCredentials, CryptoProvider, CryptoRng, Env, Instant, Peer, SecureChannel,
    SecureStream, ServerCredentials, UnixTime,
};
use hedgerow_handshake::{
    Acceptance, Acceptor, Buffers, CachedSession, ClientHandshake, ResumableSession,
    ServerHandshake, ServerResumption, ServerState, SessionId, SessionSlot, SessionTable, Settings,
    TicketKeys, TlsClientHandshake, TlsServerHandshake,
};
use hedgerow_record::{CipherSuite, Protocol};
use hedgerow_sim::TestRng;

pub const PROTOCOLS: [Protocol; 2] = [Protocol::Dtls, Protocol::Tls];

type Bytes = Box<[u8]>;

fn buffers() -> Buffers<Bytes> {
    Buffers {
        incoming: vec![0; 5_000].into(),
        outgoing: vec![0; 5_000].into(),
    }
}

/// A server and its sessions over several connections; `change` may alter a datagram, or the bytes
/// of a flight, on its way.
pub struct Stand<P: CryptoProvider> {
    pub provider: P,
    pub protocol: Protocol,
    pub keys: Option<TicketKeys>,
    pub table: Option<SessionTable<Vec<SessionSlot>>>,
    pub now: Instant,
    pub rng: TestRng,
    pub unix_time: Option<UnixTime>,
    /// Whether the client takes part.
    pub client_resumes: bool,
}

/// What a connection came to.
pub struct Outcome {
    pub peer_of_client: Peer,
    pub peer_of_server: Peer,
    pub suite: CipherSuite,
    pub resumable: Option<ResumableSession>,
    pub is_cached: Option<SessionId>,
    /// The flights as they were sent, the client's first.
    pub flights: Vec<(Sender, Vec<u8>)>,
    /// What both ends exported under one label.
    pub exported: [u8; 32],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    Client,
    Server,
}

/// Which end failed, and how; `None` where a datagram was dropped and nothing more came.
#[derive(Debug)]
pub struct Failure(pub Sender, pub Option<ChannelError>);

pub type Change<'c> = &'c mut dyn FnMut(Sender, usize, &mut Vec<u8>);

impl Outcome {
    /// An abbreviated handshake has the server's Finished before the client's.
    pub fn is_resumed(&self) -> bool {
        let by_server = self.flights.iter();
        let by_server = by_server.filter(|(sender, _)| *sender == Sender::Server);
        let finishes = by_server
            .clone()
            .filter(|(_, bytes)| change_cipher_spec(bytes));
        assert_eq!(finishes.count(), 1);
        self.flights.last().unwrap().0 == Sender::Client
    }
}

/// Says whether a flight has a ChangeCipherSpec, in either protocol.
fn change_cipher_spec(bytes: &[u8]) -> bool {
    let header = match bytes[1] {
        0xfe => 13,
        _ => 5,
    };
    let mut rest = bytes;
    while rest.len() > header {
        if rest[0] == 20 {
            return true;
        }
        let len = usize::from(u16::from_be_bytes([rest[header - 2], rest[header - 1]]));
        rest = &rest[header + len..];
    }
    false
}

impl<P: CryptoProvider + Clone> Stand<P> {
    /// A server that takes part in resumption by tickets, or by ID.
    pub fn new(provider: P, protocol: Protocol, by_ticket: bool) -> Self {
        let mut rng = TestRng::new(77);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let keys = TicketKeys::draw(Duration::from_secs(3_600), env);
        let slots = (0..4).map(|_| SessionSlot::default()).collect();
        Self {
            provider,
            protocol,
            keys: Some(if by_ticket {
                keys
            } else {
                keys.without_tickets()
            }),
            table: (!by_ticket).then(|| SessionTable::new(slots)),
            now: Instant::ZERO,
            rng,
            unix_time: None,
            client_resumes: true,
        }
    }

    pub fn draw_new_keys(&mut self) {
        let env = &mut Env::new(self.now, &mut self.rng);
        self.keys = Some(TicketKeys::draw(Duration::from_secs(3_600), env));
    }

    pub fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// Every connection has random bytes of its own.
    fn next_seed(&mut self) -> u64 {
        let mut seed = [0; 8];
        let rng: &mut dyn CryptoRng = &mut self.rng;
        rng.fill_bytes(&mut seed);
        u64::from_be_bytes(seed)
    }

    fn resumption(&mut self, id: Option<&SessionId>) -> Option<ServerResumption> {
        let env = &mut Env::new(self.now, &mut self.rng);
        let lease = self.keys.as_mut()?.lease(env);
        let resumption = ServerResumption::new(lease);
        Some(match &self.table {
            None => resumption,
            Some(table) => resumption.with_session_ids(id.and_then(|id| table.find(id, self.now))),
        })
    }

    fn keep(&mut self, cacheable: Option<CachedSession>) -> Option<SessionId> {
        let session = cacheable?;
        let id = *session.id();
        self.table.as_mut().unwrap().insert(session);
        Some(id)
    }

    pub fn connect<C: ClientCredentials, S: ServerCredentials>(
        &mut self,
        client: C,
        server: S,
        settings: (Settings, Settings),
        session: Option<ResumableSession>,
        change: Change<'_>,
    ) -> Result<Outcome, Failure> {
        match self.protocol {
            Protocol::Dtls => self.connect_dtls(client, server, settings, session, change),
            Protocol::Tls => self.connect_tls(client, server, settings, session, change),
        }
    }

    fn connect_dtls<C: ClientCredentials, S: ServerCredentials>(
        &mut self,
        client: C,
        server: S,
        (of_client, of_server): (Settings, Settings),
        session: Option<ResumableSession>,
        change: Change<'_>,
    ) -> Result<Outcome, Failure> {
        let provider = self.provider.clone();
        let mut rng = TestRng::new(self.next_seed());
        let env = &mut Env::new(self.now, &mut rng);
        env.unix_time = self.unix_time;
        let client = if self.client_resumes {
            ClientHandshake::resuming(provider, client, of_client, session, buffers(), env)
        } else {
            ClientHandshake::new(provider, client, of_client, buffers(), env)
        };
        let mut client = client.unwrap();
        let acceptor = Acceptor::new(self.provider.clone(), of_server, env);
        let mut flights = Vec::new();
        let mut sent = |sender, bytes: &[u8], change: &mut Change<'_>| {
            let mut bytes = bytes.to_vec();
            change(sender, flights.len(), &mut bytes);
            flights.push((sender, bytes.clone()));
            bytes
        };
        let mut change = change;
        let (mut a, mut b) = ([0; 1500], [0; 1500]);
        let len = client.poll_transmit(env, &mut a).unwrap().unwrap();
        let mut datagram = sent(Sender::Client, &a[..len], &mut change);
        let answer = acceptor.handle_datagram_with(&server, env, b"x", &mut datagram, &mut b);
        let Acceptance::Answer(len) = answer else {
            return Err(Failure(Sender::Server, None));
        };
        let mut datagram = sent(Sender::Server, &b[..len], &mut change);
        client
            .handle_datagram(env, &mut datagram)
            .map_err(|error| Failure(Sender::Client, Some(error)))?;
        let len = client.poll_transmit(env, &mut a).unwrap();
        let len = len.ok_or(Failure(Sender::Client, None))?;
        let mut datagram = sent(Sender::Client, &a[..len], &mut change);
        let accepted = acceptor.handle_datagram_with(&server, env, b"x", &mut datagram, &mut b);
        let Acceptance::Accept(hello) = accepted else {
            return Err(Failure(Sender::Server, None));
        };
        let provider = self.provider.clone();
        let mut server = match self.resumption(Some(hello.session_id())) {
            Some(resumption) => ServerHandshake::resuming(
                provider,
                server,
                of_server,
                resumption,
                hello,
                buffers(),
                env,
            ),
            None => ServerHandshake::new(provider, server, of_server, hello, buffers(), env),
        }
        .unwrap();
        if server.state() == ServerState::Failed {
            let len = server.poll_transmit(env, &mut b).unwrap().unwrap();
            let mut alert = sent(Sender::Server, &b[..len], &mut change);
            let error = client.handle_datagram(env, &mut alert).err();
            return Err(Failure(Sender::Client, error));
        }
        // Flights to and fro until both are established.
        let mut turn = Sender::Server;
        let mut done: (Option<_>, Option<_>) = (None, None);
        let (mut client, mut server) = (Some(client), Some(server));
        for _ in 0..8 {
            let mut out = Vec::new();
            loop {
                let len = match (turn, &mut client, &mut server) {
                    (Sender::Client, Some(client), _) => client.poll_transmit(env, &mut a).unwrap(),
                    (Sender::Server, _, Some(server)) => server.poll_transmit(env, &mut a).unwrap(),
                    (Sender::Client, None, _) => {
                        let done: &mut hedgerow_handshake::Established<P, Bytes> =
                            done.0.as_mut().unwrap();
                        done.session.poll_transmit(env, &mut a).unwrap()
                    }
                    (Sender::Server, _, None) => {
                        let done: &mut hedgerow_handshake::Established<P, Bytes> =
                            done.1.as_mut().unwrap();
                        let ticket = done.ticket.as_ref();
                        done.session.poll_transmit_with(ticket, &mut a).unwrap()
                    }
                };
                let Some(len) = len else { break };
                out.extend(&a[..len]);
            }
            if out.is_empty() {
                break;
            }
            let mut bytes = sent(turn, &out, &mut change);
            let mut rest = &mut bytes[..];
            while !rest.is_empty() {
                rest = match (turn, &mut client, &mut server) {
                    (Sender::Server, Some(machine), _) => {
                        let received = machine
                            .handle_datagram(env, rest)
                            .map_err(|error| Failure(Sender::Client, Some(error)))?;
                        received.rest
                    }
                    (Sender::Client, _, Some(machine)) => {
                        let received = machine
                            .handle_datagram(env, rest)
                            .map_err(|error| Failure(Sender::Server, Some(error)))?;
                        received.rest
                    }
                    _ => break,
                };
            }
            if client.as_ref().is_some_and(ClientHandshake::is_established) {
                done.0 = client.take().unwrap().into_session();
            }
            if server.as_ref().is_some_and(ServerHandshake::is_established) {
                done.1 = server.take().unwrap().into_session();
            }
            turn = match turn {
                Sender::Client => Sender::Server,
                Sender::Server => Sender::Client,
            };
        }
        let (client, server) = match done {
            (Some(client), Some(server)) => (client, server),
            (None, _) => return Err(Failure(Sender::Client, None)),
            (_, None) => return Err(Failure(Sender::Server, None)),
        };
        let (mut client_session, mut server_session) = (client.session, server.session);
        for _ in 0..2 {
            let len = client_session.seal(b"there", &mut a).unwrap();
            let received = server_session.handle_datagram(env, &mut a[..len]).unwrap();
            assert_eq!(text(received.event), b"there");
            let len = server_session.seal(b"and back", &mut a).unwrap();
            let received = client_session.handle_datagram(env, &mut a[..len]).unwrap();
            assert_eq!(text(received.event), b"and back");
        }
        assert_eq!(client_session.suite(), server_session.suite());
        Ok(Outcome {
            peer_of_client: client_session.peer(),
            peer_of_server: server_session.peer(),
            suite: client_session.suite(),
            resumable: client.resumable,
            is_cached: self.keep(server.cacheable),
            flights,
            exported: exported(&client.exporter, &server.exporter),
        })
    }

    fn connect_tls<C: ClientCredentials, S: ServerCredentials>(
        &mut self,
        client: C,
        server: S,
        (of_client, of_server): (Settings, Settings),
        session: Option<ResumableSession>,
        change: Change<'_>,
    ) -> Result<Outcome, Failure> {
        let provider = self.provider.clone();
        let mut rng = TestRng::new(self.next_seed());
        let env = &mut Env::new(self.now, &mut rng);
        env.unix_time = self.unix_time;
        let client = if self.client_resumes {
            TlsClientHandshake::resuming(provider, client, of_client, session, buffers(), env)
        } else {
            TlsClientHandshake::new(provider, client, of_client, buffers(), env)
        };
        let provider = self.provider.clone();
        let server = match self.resumption(None) {
            Some(resumption) => TlsServerHandshake::resuming(
                provider,
                server,
                of_server,
                resumption,
                buffers(),
                env,
            ),
            None => TlsServerHandshake::new(provider, server, of_server, buffers(), env),
        };
        let mut flights = Vec::new();
        let mut turn = Sender::Client;
        let mut done: (Option<_>, Option<_>) = (None, None);
        let (mut client, mut server) = (Some(client.unwrap()), Some(server.unwrap()));
        let mut a = [0; 1500];
        for _ in 0..8 {
            let mut out = Vec::new();
            loop {
                // A handshake that has sent everything goes over to its session.
                let is_over = |established: bool, sent: bool| established && sent;
                if client
                    .as_ref()
                    .is_some_and(|end| is_over(end.is_established(), end.is_sent()))
                {
                    done.0 = client.take().unwrap().into_session();
                }
                if server
                    .as_ref()
                    .is_some_and(|end| is_over(end.is_established(), end.is_sent()))
                {
                    done.1 = server.take().unwrap().into_session();
                }
                let len = match (turn, &mut client, &mut server) {
                    (Sender::Client, Some(client), _) => client.poll_transmit(env, &mut a).unwrap(),
                    (Sender::Server, _, Some(server)) => server.poll_transmit(env, &mut a).unwrap(),
                    (Sender::Client, None, _) => {
                        let done: &mut hedgerow_handshake::TlsEstablished<P, Bytes> =
                            done.0.as_mut().unwrap();
                        done.session.poll_transmit(env, &mut a).unwrap()
                    }
                    (Sender::Server, _, None) => {
                        let done: &mut hedgerow_handshake::TlsEstablished<P, Bytes> =
                            done.1.as_mut().unwrap();
                        done.session.poll_transmit(env, &mut a).unwrap()
                    }
                };
                let Some(len) = len else { break };
                out.extend(&a[..len]);
            }
            if out.is_empty() {
                break;
            }
            change(turn, flights.len(), &mut out);
            flights.push((turn, out.clone()));
            let mut rest = &mut out[..];
            loop {
                let received = match (turn, &mut client, &mut server) {
                    (Sender::Server, Some(machine), _) => machine
                        .handle_bytes(env, rest)
                        .map_err(|error| Failure(Sender::Client, Some(error)))?,
                    (Sender::Client, _, Some(machine)) => {
                        if let Some(id) = machine.peek_session_id(rest)
                            && let Some(table) = &self.table
                        {
                            machine.offer_session(table.find(&id, self.now));
                        }
                        machine
                            .handle_bytes(env, rest)
                            .map_err(|error| Failure(Sender::Server, Some(error)))?
                    }
                    _ => None,
                };
                let Some(received) = received else { break };
                rest = received.rest;
            }
            turn = match turn {
                Sender::Client => Sender::Server,
                Sender::Server => Sender::Client,
            };
        }
        let (client, server) = match done {
            (Some(client), Some(server)) => (client, server),
            (None, _) => return Err(Failure(Sender::Client, None)),
            (_, None) => return Err(Failure(Sender::Server, None)),
        };
        let (mut client_session, mut server_session) = (client.session, server.session);
        let len = client_session.seal(b"there", &mut a).unwrap();
        let received = server_session.handle_bytes(env, &mut a[..len]).unwrap();
        assert_eq!(text(received.unwrap().event), b"there");
        let len = server_session.seal(b"and back", &mut a).unwrap();
        let received = client_session.handle_bytes(env, &mut a[..len]).unwrap();
        assert_eq!(text(received.unwrap().event), b"and back");
        Ok(Outcome {
            peer_of_client: client_session.peer(),
            peer_of_server: server_session.peer(),
            suite: client_session.suite(),
            resumable: client.resumable,
            is_cached: self.keep(server.cacheable),
            flights,
            exported: exported(&client.exporter, &server.exporter),
        })
    }
}

fn text(event: Option<hedgerow_core::Event<'_>>) -> Vec<u8> {
    match event {
        Some(hedgerow_core::Event::Plaintext(text)) => text.to_vec(),
        other => panic!("{other:?}"),
    }
}

fn exported<P: CryptoProvider>(
    client: &hedgerow_handshake::Exporter<P>,
    server: &hedgerow_handshake::Exporter<P>,
) -> [u8; 32] {
    let (mut a, mut b) = ([0; 32], [0; 32]);
    client
        .export(b"EXPERIMENTAL hedgerow", None, &mut a)
        .unwrap();
    server
        .export(b"EXPERIMENTAL hedgerow", None, &mut b)
        .unwrap();
    assert_eq!(a, b);
    a
}
