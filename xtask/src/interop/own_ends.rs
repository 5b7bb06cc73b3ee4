//! Both ends of ours over sockets on the loopback interface, so that a program that records it has
//! something to read: one association or connection, its secrets in a key log, a question and an
//! answer.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use getrandom::SysRng;
use hedgerow_core::{
    Credentials, Env, Event, KeyLogging, P256_PUBLIC_KEY_LEN, PeerId, Psk, PskAndCertificates,
    RawPublicKeys, Received, SecureChannel, SecureStream, SignatureScheme, Signatures, SigningKey,
    StreamReceived,
};
use hedgerow_crypto_ring::{RingAead, RingCrypto};
use hedgerow_handshake::{
    Acceptance, Acceptor, Buffers, ClientHandshake, ServerHandshake, Session, Settings,
    TlsClientHandshake, TlsServerHandshake, TlsSession,
};
use hedgerow_net::KeyLogFile;
use hedgerow_record::{CipherSuite, encode_p256_spki};
use rand_core::UnwrapErr;

use super::clock::Clock;
use super::handshakes::{IDENTITY, LIMIT};
use super::peers::Transport;

type Provider = KeyLogging<RingCrypto, KeyLogFile>;
type Keys<'k> = RawPublicKeys<'k, <RingCrypto as Signatures>::SigningKey>;
type Shown<'k> = PskAndCertificates<Credentials<'k>, Keys<'k>>;
type Known<'k> = PskAndCertificates<&'k (&'k [u8], Psk, PeerId), Keys<'k>>;
type Buffer = [u8; 1024];

/// What goes through between the two ends.
pub(super) struct Talk<'t> {
    pub(super) transport: Transport,
    /// Where the server stands.
    pub(super) address: SocketAddr,
    pub(super) client: Settings,
    pub(super) server: Settings,
    /// What each end seals, one record each, the client's first.
    pub(super) question: &'t [u8],
    pub(super) answer: &'t [u8],
}

/// Has both ends talk; the client's secrets go into `log`. Both have a pre-shared key and a raw public
/// key, and the suites of the settings decide.
pub(super) fn run(talk: &Talk<'_>, log: &KeyLogFile) -> Result<CipherSuite, String> {
    let mut rng = UnwrapErr(SysRng);
    let scheme = SignatureScheme::EcdsaSecp256r1Sha256;
    let mut key = || RingCrypto.generate_signing_key(scheme, &mut rng);
    let (client_key, server_key) = (key().map_err(text)?, key().map_err(text)?);
    let (client_spki, server_spki) = (spki(&client_key)?, spki(&server_key)?);
    let psk = Psk::new(IDENTITY.psk).map_err(text)?;
    let store = (
        IDENTITY.psk_identity,
        Psk::new(IDENTITY.psk).map_err(text)?,
        PeerId(1),
    );
    let shown = PskAndCertificates {
        psk: Credentials {
            psk_identity: IDENTITY.psk_identity,
            psk: &psk,
            peer: PeerId(2),
        },
        certificates: RawPublicKeys::client(client_key, &server_spki, PeerId(2)),
    };
    let clients = [(client_spki.as_slice(), PeerId(1))];
    let known = PskAndCertificates {
        psk: &store,
        certificates: RawPublicKeys::server(server_key, &clients),
    };
    let clock = Clock::start();
    let env = &mut Env::new(clock.now(), &mut rng);
    let provider = KeyLogging::new(RingCrypto, Some(log.clone()));
    let silent = KeyLogging::new(RingCrypto, None);
    let (client, server) = match talk.transport {
        Transport::Dtls => (
            Stage::DtlsClient(Box::new(
                ClientHandshake::new(provider, shown, talk.client, buffers(), env).map_err(text)?,
            )),
            Stage::Listening(
                Box::new(Acceptor::new(silent, talk.server, env)),
                Box::new(known),
            ),
        ),
        Transport::Tls => (
            Stage::TlsClient(Box::new(
                TlsClientHandshake::new(provider, shown, talk.client, buffers(), env)
                    .map_err(text)?,
            )),
            Stage::TlsServer(Box::new(
                TlsServerHandshake::new(silent, known, talk.server, buffers(), env)
                    .map_err(text)?,
            )),
        ),
    };
    let (to_server, to_client) = Socket::pair(talk.transport, talk.address)?;
    let mut client = End::new(to_server, client);
    let mut server = End::new(to_client, server);
    while clock.elapsed() < LIMIT {
        let has_asked = server.heard == talk.question;
        client.step(clock, talk.question, true)?;
        server.step(clock, talk.answer, has_asked)?;
        if client.heard == talk.answer {
            return client.suite().ok_or_else(|| "no suite".to_owned());
        }
    }
    Err(format!("no end within {LIMIT:?}"))
}

fn spki(key: &impl SigningKey) -> Result<[u8; 91], String> {
    let mut public_key = [0; P256_PUBLIC_KEY_LEN];
    key.write_public_key(&mut public_key).map_err(text)?;
    Ok(encode_p256_spki(&public_key))
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

const fn buffers() -> Buffers<Buffer> {
    Buffers {
        incoming: [0; 1024],
        outgoing: [0; 1024],
    }
}

/// One end's way to the other.
enum Socket {
    Udp(UdpSocket, Option<SocketAddr>),
    Tcp(TcpStream),
}

impl Socket {
    /// Returns the client's and the server's.
    fn pair(transport: Transport, address: SocketAddr) -> Result<(Self, Self), String> {
        let pause = Some(Duration::from_millis(5));
        match transport {
            Transport::Dtls => {
                let server = UdpSocket::bind(address).map_err(text)?;
                let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(text)?;
                for socket in [&server, &client] {
                    socket.set_read_timeout(pause).map_err(text)?;
                }
                Ok((Self::Udp(client, Some(address)), Self::Udp(server, None)))
            }
            Transport::Tls => {
                let listener = TcpListener::bind(address).map_err(text)?;
                let client = TcpStream::connect(address).map_err(text)?;
                let (server, _) = listener.accept().map_err(text)?;
                for stream in [&server, &client] {
                    stream.set_read_timeout(pause).map_err(text)?;
                    stream.set_nodelay(true).map_err(text)?;
                }
                Ok((Self::Tcp(client), Self::Tcp(server)))
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        match self {
            Self::Udp(socket, Some(peer)) => socket.send_to(bytes, *peer).map(|_| ()),
            Self::Udp(_, None) => return Err("nobody to send to".to_owned()),
            Self::Tcp(stream) => stream.write_all(bytes),
        }
        .map_err(text)
    }

    /// Returns how many bytes have come within a moment.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, String> {
        let received = match self {
            Self::Udp(socket, peer) => socket.recv_from(buffer).map(|(len, from)| {
                *peer = Some(from);
                len
            }),
            Self::Tcp(stream) => stream.read(buffer),
        };
        match received {
            Ok(len) => Ok(len),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(0)
            }
            Err(error) => Err(text(error)),
        }
    }
}

enum Stage<'k> {
    Listening(Box<Acceptor<Provider>>, Box<Known<'k>>),
    DtlsClient(Box<ClientHandshake<Provider, Shown<'k>, Buffer>>),
    DtlsServer(Box<ServerHandshake<Provider, Known<'k>, Buffer>>),
    DtlsSession(Box<Session<RingAead>>),
    TlsClient(Box<TlsClientHandshake<Provider, Shown<'k>, Buffer>>),
    TlsServer(Box<TlsServerHandshake<Provider, Known<'k>, Buffer>>),
    TlsSession(Box<TlsSession<RingAead>>),
    /// Between two stages; no call finds it so.
    Gone,
}

/// One end, from its first datagram or byte on.
struct End<'k> {
    socket: Socket,
    stage: Stage<'k>,
    rng: UnwrapErr<SysRng>,
    arrived: Vec<u8>,
    heard: Vec<u8>,
    has_spoken: bool,
}

impl<'k> End<'k> {
    const fn new(socket: Socket, stage: Stage<'k>) -> Self {
        Self {
            socket,
            stage,
            rng: UnwrapErr(SysRng),
            arrived: Vec::new(),
            heard: Vec::new(),
            has_spoken: false,
        }
    }

    const fn suite(&self) -> Option<CipherSuite> {
        match &self.stage {
            Stage::DtlsSession(session) => Some(session.suite()),
            Stage::TlsSession(session) => Some(session.suite()),
            _ => None,
        }
    }

    /// Sends what there is, speaks once it may, and takes in what has come.
    fn step(&mut self, clock: Clock, words: &[u8], may_speak: bool) -> Result<(), String> {
        self.flush(clock)?;
        if may_speak && !self.has_spoken && self.suite().is_some() {
            let mut record = vec![0; words.len() + 64];
            let len = match &mut self.stage {
                Stage::DtlsSession(session) => session.seal(words, &mut record),
                Stage::TlsSession(session) => session.seal(words, &mut record),
                _ => Ok(0),
            }
            .map_err(text)?;
            self.socket.send(record.get(..len).unwrap_or_default())?;
            self.has_spoken = true;
        }
        let mut buffer = [0; 2048];
        let len = self.socket.receive(&mut buffer)?;
        self.arrived
            .extend_from_slice(buffer.get(..len).unwrap_or_default());
        while !self.arrived.is_empty() && self.take(clock)? {}
        self.flush(clock)
    }

    /// Takes in one record, or a first hello; `false` if more has to come.
    fn take(&mut self, clock: Clock) -> Result<bool, String> {
        if matches!(self.stage, Stage::Listening(..)) {
            return self.accept(clock).map(|()| true);
        }
        let env = &mut Env::new(clock.now(), &mut self.rng);
        let before = self.arrived.len();
        let bytes = &mut self.arrived;
        let taken = match &mut self.stage {
            Stage::DtlsClient(end) => end.handle_datagram(env, bytes).map(event_and_rest),
            Stage::DtlsServer(end) => end.handle_datagram(env, bytes).map(event_and_rest),
            Stage::DtlsSession(end) => end.handle_datagram(env, bytes).map(event_and_rest),
            Stage::TlsClient(end) => end.handle_bytes(env, bytes).map(record_or(before)),
            Stage::TlsServer(end) => end.handle_bytes(env, bytes).map(record_or(before)),
            Stage::TlsSession(end) => end.handle_bytes(env, bytes).map(record_or(before)),
            Stage::Listening(..) | Stage::Gone => return Ok(false),
        };
        let (event, rest) = taken.map_err(text)?;
        if let Some(Event::Plaintext(plaintext)) = event {
            self.heard.extend_from_slice(plaintext);
        }
        self.arrived.drain(..before - rest);
        self.become_session();
        Ok(rest < before)
    }

    fn accept(&mut self, clock: Clock) -> Result<(), String> {
        let Stage::Listening(acceptor, known) = std::mem::replace(&mut self.stage, Stage::Gone)
        else {
            return Err("not listening".to_owned());
        };
        let mut datagram = std::mem::take(&mut self.arrived);
        let mut answer = [0; 64];
        let env = &mut Env::new(clock.now(), &mut self.rng);
        match acceptor.handle_datagram_with(&*known, env, b"client", &mut datagram, &mut answer) {
            Acceptance::Answer(len) => {
                self.socket.send(answer.get(..len).unwrap_or_default())?;
                self.stage = Stage::Listening(acceptor, known);
            }
            Acceptance::Accept(hello) => {
                let silent = KeyLogging::new(RingCrypto, None);
                let settings = *acceptor.settings();
                let server = ServerHandshake::new(silent, *known, settings, hello, buffers(), env);
                self.stage = Stage::DtlsServer(Box::new(server.map_err(text)?));
            }
            Acceptance::Refuse { description, .. } => {
                return Err(format!("offer refused with alert {description}"));
            }
            Acceptance::Drop(reason) => return Err(format!("hello dropped: {reason:?}")),
        }
        Ok(())
    }

    fn become_session(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::DtlsClient(end) if end.is_established() => end
                .into_session()
                .map_or(Stage::Gone, |end| Stage::DtlsSession(Box::new(end.session))),
            Stage::DtlsServer(end) if end.is_established() => end
                .into_session()
                .map_or(Stage::Gone, |end| Stage::DtlsSession(Box::new(end.session))),
            Stage::TlsClient(end) if end.is_established() && end.is_sent() => end
                .into_session()
                .map_or(Stage::Gone, |end| Stage::TlsSession(Box::new(end.session))),
            Stage::TlsServer(end) if end.is_established() && end.is_sent() => end
                .into_session()
                .map_or(Stage::Gone, |end| Stage::TlsSession(Box::new(end.session))),
            other => other,
        };
    }

    fn flush(&mut self, clock: Clock) -> Result<(), String> {
        let mut buffer = [0; 1500];
        loop {
            let env = &mut Env::new(clock.now(), &mut self.rng);
            let written = match &mut self.stage {
                Stage::DtlsClient(end) => end.poll_transmit(env, &mut buffer),
                Stage::DtlsServer(end) => end.poll_transmit(env, &mut buffer),
                Stage::DtlsSession(end) => end.poll_transmit(env, &mut buffer),
                Stage::TlsClient(end) => end.poll_transmit(env, &mut buffer),
                Stage::TlsServer(end) => end.poll_transmit(env, &mut buffer),
                Stage::TlsSession(end) => end.poll_transmit(env, &mut buffer),
                Stage::Listening(..) | Stage::Gone => Ok(None),
            };
            match written.map_err(text)? {
                Some(len) => self.socket.send(buffer.get(..len).unwrap_or_default())?,
                None if matches!(self.stage, Stage::TlsSession(_)) => return Ok(()),
                None => {
                    // A server's Finished leaves from its session.
                    self.become_session();
                    if !matches!(self.stage, Stage::TlsSession(_)) {
                        return Ok(());
                    }
                }
            }
        }
    }
}

fn event_and_rest(received: Received<'_>) -> (Option<Event<'_>>, usize) {
    (received.event, received.rest.len())
}

/// Without a whole record nothing of the bytes there is taken.
fn record_or<'d>(
    available: usize,
) -> impl FnOnce(Option<StreamReceived<'d>>) -> (Option<Event<'d>>, usize) {
    move |received| {
        received.map_or((None, available), |received| {
            (received.event, received.rest.len())
        })
    }
}
