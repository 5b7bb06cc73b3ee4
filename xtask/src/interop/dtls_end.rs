//! Our end of a DTLS association on a loopback socket: blocking, one peer, for interop only.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use getrandom::SysRng;
use hedgerow_core::{
    ChannelError, ClientCredentials, Credentials, Event, Instant, PeerId, Psk, Received,
    SecureChannel, ServerCredentials,
};
use hedgerow_crypto_ring::{RingAead, RingCrypto};
use hedgerow_handshake::{
    Acceptance, Acceptor, Buffers, ClientHandshake, ServerHandshake, Session, Settings,
};
use hedgerow_record::CipherSuite;
use rand_core::UnwrapErr;

use super::clock::Clock;

/// What an end does once it is established.
#[derive(Clone, Debug)]
pub(super) struct Dialogue {
    /// What this end says: at once as a client, in answer as a server.
    pub(super) says: Vec<u8>,
    /// What has to be in the peer's data.
    pub(super) expects: Vec<u8>,
}

/// Datagrams that are lost on purpose, counted from 0 in each direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Losses {
    /// The n-th that this end sends.
    pub(super) sent: Option<u32>,
    /// The n-th that this end receives.
    pub(super) received: Option<u32>,
}

/// How an association went.
#[derive(Debug)]
pub(super) struct Report {
    /// The suite, once there was a session.
    pub(super) suite: Option<CipherSuite>,
    /// The most plaintext that a record of this end could have, once there was a session.
    pub(super) max_plaintext_len: usize,
    /// The most plaintext that came in one record.
    pub(super) longest_received: usize,
    /// Whether the peer went on from another address, which its records' connection ID stands for.
    pub(super) has_peer_moved: bool,
    /// `Ok` once the dialogue is through.
    pub(super) outcome: Result<(), String>,
    /// Datagrams that this end sent.
    pub(super) sent: u32,
    /// Datagrams that this end received.
    pub(super) received: u32,
    /// How long it took.
    pub(super) elapsed: Duration,
}

/// A key and the name that goes with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity<'a> {
    pub(super) psk_identity: &'a [u8],
    pub(super) psk: &'a [u8],
}

type Bytes = Box<[u8]>;
/// A server's store with one key.
pub(super) type OneKey<'s> = &'s (&'s [u8], Psk, PeerId);

enum Phase<C: ClientCredentials, S: ServerCredentials> {
    Listening,
    Client(Box<ClientHandshake<RingCrypto, C, Bytes>>),
    Server(Box<ServerHandshake<RingCrypto, S, Bytes>>),
    Session(Box<Session<RingAead>>),
}

/// Peers send more than what this end needs at least.
fn buffers(needed: usize) -> Buffers<Bytes> {
    let len = needed.max(1_024);
    Buffers {
        incoming: vec![0; len].into(),
        outgoing: vec![0; len].into(),
    }
}

/// Connects to `server`, speaks, and closes.
pub(super) fn run_client(
    server: SocketAddr,
    identity: Identity<'_>,
    settings: Settings,
    dialogue: &Dialogue,
    losses: Losses,
    limit: Duration,
) -> Result<Report, String> {
    run_moving_client(server, identity, settings, dialogue, losses, limit, 1)
}

/// Does the same, and once all is said says it again from another port, so that there are `rounds`.
pub(super) fn run_moving_client(
    server: SocketAddr,
    identity: Identity<'_>,
    settings: Settings,
    dialogue: &Dialogue,
    losses: Losses,
    limit: Duration,
    rounds: u32,
) -> Result<Report, String> {
    let psk = Psk::new(identity.psk).map_err(|error| error.to_string())?;
    let credentials = Credentials {
        psk_identity: identity.psk_identity,
        psk: &psk,
        peer: PeerId(0),
    };
    run_client_with(
        server,
        credentials,
        settings,
        dialogue,
        losses,
        limit,
        rounds,
    )
}

/// Does the same with any credentials.
pub(super) fn run_client_with<C: ClientCredentials>(
    server: SocketAddr,
    credentials: C,
    settings: Settings,
    dialogue: &Dialogue,
    losses: Losses,
    limit: Duration,
    rounds: u32,
) -> Result<Report, String> {
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let clock = Clock::start();
    let mut rng = UnwrapErr(SysRng);
    let len = Buffers::<Bytes>::client_len(&settings, &credentials);
    let client = ClientHandshake::new(
        RingCrypto,
        credentials,
        settings,
        buffers(len),
        &mut clock.env(&mut rng),
    )
    .map_err(|error| error.to_string())?;
    let end: End<C, OneKey<'_>> = End {
        socket,
        rounds,
        peer: Some(server),
        phase: Phase::Client(Box::new(client)),
        clock,
        rng,
        losses,
        report: Report::new(),
        has_spoken: false,
    };
    Ok(end.run(None, dialogue, limit))
}

/// Waits on `socket` for one client, answers it, and ends when it has gone or all is said.
pub(super) fn run_server(
    socket: &UdpSocket,
    identity: Identity<'_>,
    settings: Settings,
    dialogue: &Dialogue,
    losses: Losses,
    limit: Duration,
) -> Result<Report, String> {
    run_server_for(socket, identity, settings, dialogue, losses, limit, 1)
}

/// Does the same until all has been said so many times.
pub(super) fn run_server_for(
    socket: &UdpSocket,
    identity: Identity<'_>,
    settings: Settings,
    dialogue: &Dialogue,
    losses: Losses,
    limit: Duration,
    rounds: u32,
) -> Result<Report, String> {
    let psk = Psk::new(identity.psk).map_err(|error| error.to_string())?;
    let store = (identity.psk_identity, psk, PeerId(0));
    run_server_with(socket, &&store, settings, dialogue, losses, limit, rounds)
}

/// Does the same with any credentials.
pub(super) fn run_server_with<S: ServerCredentials + Clone>(
    socket: &UdpSocket,
    store: &S,
    settings: Settings,
    dialogue: &Dialogue,
    losses: Losses,
    limit: Duration,
    rounds: u32,
) -> Result<Report, String> {
    let clock = Clock::start();
    let mut rng = UnwrapErr(SysRng);
    let acceptor = Acceptor::new(RingCrypto, settings, &mut clock.env(&mut rng));
    let end: End<Credentials<'_>, S> = End {
        socket: socket.try_clone().map_err(|error| error.to_string())?,
        rounds,
        peer: None,
        phase: Phase::Listening,
        clock,
        rng,
        losses,
        report: Report::new(),
        has_spoken: false,
    };
    Ok(end.run(Some((&acceptor, store)), dialogue, limit))
}

impl Report {
    pub(super) const fn new() -> Self {
        Self {
            suite: None,
            max_plaintext_len: 0,
            longest_received: 0,
            has_peer_moved: false,
            outcome: Ok(()),
            sent: 0,
            received: 0,
            elapsed: Duration::ZERO,
        }
    }
}

type Accepting<'s, S> = (&'s Acceptor<RingCrypto>, &'s S);

struct End<C: ClientCredentials, S: ServerCredentials> {
    socket: UdpSocket,
    /// How often all is to be said.
    rounds: u32,
    peer: Option<SocketAddr>,
    phase: Phase<C, S>,
    clock: Clock,
    rng: UnwrapErr<SysRng>,
    losses: Losses,
    report: Report,
    has_spoken: bool,
}

impl<C: ClientCredentials, S: ServerCredentials + Clone> End<C, S> {
    fn run(
        mut self,
        accepting: Option<Accepting<'_, S>>,
        dialogue: &Dialogue,
        limit: Duration,
    ) -> Report {
        let result = self.talk(accepting, dialogue, limit);
        self.report.elapsed = self.clock.elapsed();
        self.report.outcome = result;
        self.report
    }

    fn talk(
        &mut self,
        accepting: Option<Accepting<'_, S>>,
        dialogue: &Dialogue,
        limit: Duration,
    ) -> Result<(), String> {
        let mut heard = Vec::new();
        let mut buffer = [0; 2048];
        loop {
            self.flush()?;
            let is_client = accepting.is_none();
            let has_heard = contains(&heard, &dialogue.expects);
            if let Phase::Session(session) = &mut self.phase {
                self.report.suite = Some(session.suite());
                self.report.max_plaintext_len = session.max_plaintext_len();
                if !self.has_spoken && (is_client || has_heard) {
                    let mut record = vec![0; dialogue.says.len() + 64];
                    let len = session
                        .seal(&dialogue.says, &mut record)
                        .map_err(|error| error.to_string())?;
                    self.has_spoken = true;
                    self.send(record.get(..len).unwrap_or_default())?;
                }
            }
            if has_heard && self.has_spoken && self.rounds > 1 {
                self.rounds -= 1;
                self.has_spoken = false;
                heard.clear();
                if is_client {
                    let socket = UdpSocket::bind("127.0.0.1:0");
                    self.socket = socket.map_err(|error| error.to_string())?;
                }
                continue;
            }
            if has_heard && self.has_spoken {
                if let Phase::Session(session) = &mut self.phase {
                    session.close();
                }
                return self.flush();
            }
            let left = limit
                .checked_sub(self.clock.elapsed())
                .ok_or_else(|| format!("no end within {limit:?}"))?;
            let due = self
                .poll_timeout()
                .map(|at| at.saturating_since(self.clock.now()));
            let wait = due.unwrap_or(left).min(left).max(Duration::from_millis(1));
            self.socket
                .set_read_timeout(Some(wait))
                .map_err(|error| error.to_string())?;
            match self.socket.recv_from(&mut buffer) {
                Ok((len, from)) => {
                    let number = self.report.received;
                    self.report.received += 1;
                    if self.losses.received != Some(number) {
                        let datagram = buffer.get_mut(..len).unwrap_or_default();
                        self.receive(accepting, from, datagram, &mut heard)?;
                    }
                }
                Err(_) => self.handle_timeout()?,
            }
        }
    }

    fn receive(
        &mut self,
        accepting: Option<Accepting<'_, S>>,
        from: SocketAddr,
        datagram: &mut [u8],
        heard: &mut Vec<u8>,
    ) -> Result<(), String> {
        if let (Phase::Listening, Some((acceptor, store))) = (&self.phase, accepting) {
            let env = &mut self.clock.env(&mut self.rng);
            let mut answer = [0; 256];
            let address = from.to_string();
            match acceptor.handle_datagram_with(
                store,
                env,
                address.as_bytes(),
                datagram,
                &mut answer,
            ) {
                Acceptance::Answer(len) => {
                    self.peer = Some(from);
                    return self.send(answer.get(..len).unwrap_or_default());
                }
                Acceptance::Accept(hello) => {
                    self.peer = Some(from);
                    let len = hello.buffer_len(acceptor.settings(), store);
                    let server = ServerHandshake::new(
                        RingCrypto,
                        store.clone(),
                        *acceptor.settings(),
                        hello,
                        buffers(len),
                        env,
                    );
                    self.phase =
                        Phase::Server(Box::new(server.map_err(|error| error.to_string())?));
                    return Ok(());
                }
                Acceptance::Refuse { len, description } => {
                    self.peer = Some(from);
                    self.send(answer.get(..len).unwrap_or_default())?;
                    return Err(format!("offer refused with alert {description}"));
                }
                Acceptance::Drop(_) => return Ok(()),
            }
        }
        let mut rest = datagram;
        while !rest.is_empty() {
            let env = &mut self.clock.env(&mut self.rng);
            let received: Result<Received<'_>, ChannelError> = match &mut self.phase {
                Phase::Client(client) => client.handle_datagram(env, rest),
                Phase::Server(server) => server.handle_datagram(env, rest),
                Phase::Session(session) => session.handle_datagram(env, rest),
                Phase::Listening => return Ok(()),
            };
            let received = match received {
                Ok(received) => received,
                Err(error) => {
                    self.flush()?;
                    return Err(error.to_string());
                }
            };
            let has_moved = received.newest && self.peer != Some(from);
            if has_moved
                && let Phase::Session(session) = &self.phase
                && !session.receive_connection_id().is_empty()
            {
                // Here a verified record is enough; the endpoint also asks for an answer from there.
                self.peer = Some(from);
                self.report.has_peer_moved = true;
            }
            match received.event {
                Some(Event::Plaintext(text)) => {
                    self.report.longest_received = text.len().max(self.report.longest_received);
                    heard.extend_from_slice(text);
                }
                Some(Event::Established(_)) => {
                    self.phase = match std::mem::replace(&mut self.phase, Phase::Listening) {
                        Phase::Client(client) => {
                            client.into_session().map_or(Phase::Listening, |end| {
                                Phase::Session(Box::new(end.session))
                            })
                        }
                        Phase::Server(server) => {
                            server.into_session().map_or(Phase::Listening, |end| {
                                Phase::Session(Box::new(end.session))
                            })
                        }
                        other => other,
                    };
                }
                Some(Event::Closed) => {
                    self.flush()?;
                    return Err("closed by the peer before all was said".to_owned());
                }
                _ => {}
            }
            rest = received.rest;
        }
        Ok(())
    }

    fn handle_timeout(&mut self) -> Result<(), String> {
        let env = &mut self.clock.env(&mut self.rng);
        let due = match &mut self.phase {
            Phase::Client(client) => client.handle_timeout(env),
            Phase::Server(server) => server.handle_timeout(env),
            Phase::Session(_) | Phase::Listening => Ok(()),
        };
        due.map_err(|error| {
            let _ = self.flush();
            error.to_string()
        })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Client(client) => client.poll_timeout(),
            Phase::Server(server) => server.poll_timeout(),
            Phase::Session(_) | Phase::Listening => None,
        }
    }

    fn flush(&mut self) -> Result<(), String> {
        let mut buffer = [0; 1500];
        loop {
            let env = &mut self.clock.env(&mut self.rng);
            let len = match &mut self.phase {
                Phase::Client(client) => client.poll_transmit(env, &mut buffer),
                Phase::Server(server) => server.poll_transmit(env, &mut buffer),
                Phase::Session(session) => session.poll_transmit(env, &mut buffer),
                Phase::Listening => Ok(None),
            };
            match len.map_err(|error| error.to_string())? {
                Some(len) => self.send(buffer.get(..len).unwrap_or_default())?,
                None => return Ok(()),
            }
        }
    }

    fn send(&mut self, datagram: &[u8]) -> Result<(), String> {
        let number = self.report.sent;
        self.report.sent += 1;
        let peer = self.peer.ok_or("no peer yet")?;
        if self.losses.sent != Some(number) {
            // A peer that is gone answers with an ICMP error, which is silence to DTLS.
            let _ = self.socket.send_to(datagram, peer);
        }
        Ok(())
    }
}

pub(super) fn contains(heard: &[u8], expected: &[u8]) -> bool {
    expected.is_empty() || heard.windows(expected.len()).any(|part| part == expected)
}
