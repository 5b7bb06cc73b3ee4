//! Sessions resumed by ticket and by session ID against OpenSSL and GnuTLS, over DTLS and TLS, both
//! directions.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use getrandom::SysRng;
use hedgerow_core::{Credentials, Env, PeerId, Psk};
use hedgerow_crypto_ring::RingCrypto;
use hedgerow_endpoint::{
    Address, ClientSessions, Config, Endpoint, Event, Resumption, ServerSessions, TlsConnection,
};
use hedgerow_record::CipherSuite;
use rand_core::UnwrapErr;

use super::cell::enter;
use super::clock::Clock;
use super::handshakes::{FROM_US, IDENTITY, LIMIT, feed, feed_with, settings};
use super::peers::{Peer, Transport, free_address};
use crate::child::Running;
use crate::table::Table;

type Store = &'static (&'static [u8], Psk, PeerId);
type Tls = TlsConnection<RingCrypto, Store, Credentials<'static>>;

const SUITE: CipherSuite = CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256;

/// Enters every cell.
pub(super) fn run(table: &mut Table) {
    for (transport, protocol) in [(Transport::Tls, "TLS"), (Transport::Dtls, "DTLS")] {
        for peer in Peer::ALL {
            for (by_ticket, way) in [(true, "ticket"), (false, "session ID")] {
                let name = format!("{protocol} client -> {} resumes by {way}", peer.name());
                enter(table, &name, || as_client(peer, transport, by_ticket));
                let name = format!("{protocol} server <- {} resumes by {way}", peer.name());
                enter(table, &name, || as_server(peer, transport, by_ticket));
            }
        }
    }
}

/// Two connections to a peer's server: the second one resumes the first one's session.
fn as_client(peer: Peer, transport: Transport, by_ticket: bool) -> Result<String, String> {
    let more: &[&str] = match (peer, by_ticket) {
        (_, true) => &[],
        (Peer::OpenSsl, false) => &["-no_ticket"],
        (Peer::GnuTls, false) => &["--noticket"],
    };
    let (mut server, address) = peer.start_server_with(transport, SUITE, IDENTITY, more)?;
    if peer == Peer::OpenSsl {
        feed(&mut server)?;
    }
    let seen = match transport {
        Transport::Tls => tls_clients(address),
        Transport::Dtls => dtls_clients(address),
    };
    let output = server.output();
    server.kill();
    let Seen {
        resumed,
        ticket_len,
    } = seen.map_err(|error| format!("{error}: {output}"))?;
    let has_ticket = ticket_len.is_some_and(|len| len > 0);
    match (resumed.as_slice(), has_ticket == by_ticket) {
        ([false, true], true) => Ok(match ticket_len {
            Some(len) if by_ticket => format!("{SUITE}, ticket of {len} bytes"),
            _ => SUITE.to_string(),
        }),
        _ => Err(format!(
            "resumed {resumed:?}, ticket {ticket_len:?}: {output}"
        )),
    }
}

/// Two connections of a peer's client.
fn as_server(peer: Peer, transport: Transport, by_ticket: bool) -> Result<String, String> {
    let address = free_address()?;
    let sessions = std::env::temp_dir().join(format!("hedgerow-session-{}", address.port()));
    let sessions = sessions.to_string_lossy().into_owned();
    let no_ticket: &[&str] = match (peer, by_ticket) {
        (_, true) => &[],
        (Peer::OpenSsl, false) => &["-no_ticket"],
        (Peer::GnuTls, false) => &["--noticket"],
    };
    // OpenSSL's client keeps the session in a file between two runs; GnuTLS's connects twice in one.
    let runs: Vec<Vec<&str>> = match peer {
        Peer::OpenSsl => vec![
            [no_ticket, &["-sess_out", &sessions]].concat(),
            [no_ticket, &["-sess_in", &sessions]].concat(),
        ],
        Peer::GnuTls => vec![[no_ticket, &["--resume"]].concat()],
    };
    let mut server = OwnServer::bind(transport, address, by_ticket)?;
    let mut resumed = Vec::new();
    let mut output = String::new();
    for more in runs {
        let mut client = peer.start_client_with(transport, SUITE, IDENTITY, address, &more)?;
        let count = if peer == Peer::GnuTls { 2 } else { 1 };
        let outcome = server.serve(count, || leave(peer, &mut client));
        resumed.extend(outcome.map_err(|error| format!("{error}: {}", client.output()))?);
        let marker = match peer {
            Peer::OpenSsl => "SSL-Session:",
            Peer::GnuTls => "resumed session",
        };
        let _ = client.wait_for(marker, Duration::from_secs(3));
        output = client.output();
        client.kill();
    }
    let says_so = match peer {
        Peer::OpenSsl => output.contains("Reused, TLSv1.2") || output.contains("Reused, DTLSv1.2"),
        Peer::GnuTls => output.contains("This is a resumed session"),
    };
    match (resumed.as_slice(), says_so) {
        ([false, true], true) => Ok(format!("{SUITE}, the peer says so too")),
        _ => Err(format!(
            "resumed {resumed:?}, peer agrees: {says_so}: {output}"
        )),
    }
}

/// Has the peer's client end its connection; it keeps the session only then.
fn leave(peer: Peer, client: &mut Running) -> Result<(), String> {
    match peer {
        Peer::OpenSsl => feed_with(client, b"Q\n".to_vec()),
        Peer::GnuTls => Ok(()),
    }
}

/// What two connections of our client came to.
struct Seen {
    resumed: Vec<bool>,
    ticket_len: Option<usize>,
}

fn shown() -> Result<Credentials<'static>, String> {
    let psk = Psk::new(IDENTITY.psk).map_err(|error| error.to_string())?;
    Ok(Credentials {
        psk_identity: IDENTITY.psk_identity,
        psk: Box::leak(Box::new(psk)),
        peer: PeerId(0),
    })
}

fn store() -> Result<Store, String> {
    let psk = Psk::new(IDENTITY.psk).map_err(|error| error.to_string())?;
    Ok(Box::leak(Box::new((IDENTITY.psk_identity, psk, PeerId(0)))))
}

fn tls_clients(address: SocketAddr) -> Result<Seen, String> {
    let shown = shown()?;
    let clock = Clock::start();
    let mut kept = ClientSessions::new(1);
    let mut seen = Seen {
        resumed: Vec::new(),
        ticket_len: None,
    };
    for _ in 0..2 {
        let stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        let mut rng = UnwrapErr(SysRng);
        let env = &mut Env::new(clock.now(), &mut rng);
        let session = kept.take(address, &shown);
        let policy = Arc::default();
        let connection =
            Tls::client_resuming(RingCrypto, shown, settings(SUITE), &policy, session, env);
        let mut end = TlsEnd {
            stream,
            connection: connection.map_err(|error| error.to_string())?,
            clock,
        };
        end.establish(None)?;
        seen.resumed.push(end.connection.is_resumed());
        if let Some(session) = end.connection.take_resumable() {
            seen.ticket_len = Some(session.ticket().len());
            kept.keep(address, shown, session);
        }
        let mut record = vec![0; FROM_US.len() + end.connection.overhead()];
        let len = end.connection.seal(FROM_US, &mut record);
        let len = len.map_err(|error| error.to_string())?;
        end.write(record.get(..len).unwrap_or_default())?;
        end.connection.close();
        end.flush()?;
    }
    Ok(seen)
}

/// One TLS connection of ours.
struct TlsEnd {
    stream: TcpStream,
    connection: Tls,
    clock: Clock,
}

impl TlsEnd {
    /// Goes on until the session is there.
    fn establish(&mut self, mut sessions: Option<&mut ServerSessions>) -> Result<(), String> {
        let begun = self.clock.elapsed();
        while self.clock.elapsed() < begun + LIMIT {
            self.flush()?;
            if self.connection.is_open() {
                if let (Some(sessions), Some(session)) =
                    (&mut sessions, self.connection.take_cacheable())
                {
                    sessions.keep(session);
                }
                return Ok(());
            }
            if !self.take_in(sessions.as_deref())? {
                return Err("closed by the peer".to_owned());
            }
        }
        Err(format!("no session within {LIMIT:?}"))
    }

    /// Reads what comes; `false` at the stream's end.
    fn take_in(&mut self, sessions: Option<&ServerSessions>) -> Result<bool, String> {
        let mut buffer = [0; 2_048];
        self.stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .map_err(|error| error.to_string())?;
        let len = match self.stream.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(len) => len,
            Err(_) => return Ok(true),
        };
        let mut bytes = buffer.get(..len).unwrap_or_default();
        while !bytes.is_empty() {
            let pushed = self.connection.push(bytes);
            bytes = bytes.get(pushed..).unwrap_or_default();
            loop {
                let mut rng = UnwrapErr(SysRng);
                let env = &mut Env::new(self.clock.now(), &mut rng);
                if let (Some(sessions), Some(wanted)) = (sessions, self.connection.wanted_session())
                {
                    let found = sessions.find(&wanted, env.now);
                    self.connection.offer_session(found);
                }
                match self.connection.poll(env) {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) => {
                        self.flush()?;
                        return Err(error.to_string());
                    }
                }
            }
        }
        Ok(true)
    }

    fn flush(&mut self) -> Result<(), String> {
        let mut buffer = [0; 1_024];
        loop {
            let mut rng = UnwrapErr(SysRng);
            let env = &mut Env::new(self.clock.now(), &mut rng);
            let written = self.connection.poll_transmit(env, &mut buffer);
            match written.map_err(|error| error.to_string())? {
                Some(len) => self.write(buffer.get(..len).unwrap_or_default())?,
                None => return Ok(()),
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let written = self.stream.write_all(bytes);
        written.map_err(|error| format!("sending: {error}"))
    }
}

/// Where a peer of an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(SocketAddr);

impl Address for Place {
    fn with_bytes<R>(&self, lend: impl FnOnce(&[u8]) -> R) -> R {
        lend(self.0.to_string().as_bytes())
    }
}

type Driver = Endpoint<Place, RingCrypto, Store, Credentials<'static>>;

/// An endpoint on a socket of its own.
struct DtlsEnd {
    socket: UdpSocket,
    endpoint: Driver,
    clock: Clock,
    resumed: Vec<bool>,
    /// Associations that have ended.
    closed: usize,
}

fn config(by_ticket: bool) -> Config {
    Config {
        handshake: settings(SUITE),
        resumption: Resumption {
            has_tickets: by_ticket,
            ..Resumption::ON
        },
        ..Config::default()
    }
}

fn dtls_clients(address: SocketAddr) -> Result<Seen, String> {
    let shown = shown()?;
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let endpoint = Endpoint::client(RingCrypto, store()?, config(true));
    let mut end = DtlsEnd {
        socket,
        endpoint,
        clock: Clock::start(),
        resumed: Vec::new(),
        closed: 0,
    };
    let mut ticket_len = None;
    for n in 1..=2 {
        let mut rng = UnwrapErr(SysRng);
        let env = &mut Env::new(end.clock.now(), &mut rng);
        let id = end.endpoint.connect(env, Place(address), Some(&shown));
        let id = id.map_err(|error| error.to_string())?;
        end.run_until(|end| end.resumed.len() >= n)?;
        let lens = end.endpoint.resumable_tickets();
        ticket_len = lens.max().or(ticket_len);
        let mut rng = UnwrapErr(SysRng);
        let env = &mut Env::new(end.clock.now(), &mut rng);
        let closed = end.endpoint.close(env, id);
        closed.map_err(|error| error.to_string())?;
        end.flush()?;
        // The peer goes back to listening.
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(Seen {
        resumed: end.resumed,
        ticket_len,
    })
}

impl DtlsEnd {
    fn run_until(&mut self, is_done: impl Fn(&Self) -> bool) -> Result<(), String> {
        let begun = self.clock.elapsed();
        while self.clock.elapsed() < begun + LIMIT {
            self.flush()?;
            if is_done(self) {
                return Ok(());
            }
            self.take_in()?;
        }
        Err(format!(
            "nothing within {LIMIT:?}, resumed {:?}",
            self.resumed
        ))
    }

    fn take_in(&mut self) -> Result<(), String> {
        let mut datagram = [0; 2_048];
        self.socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .map_err(|error| error.to_string())?;
        let received = self.socket.recv_from(&mut datagram);
        let mut rng = UnwrapErr(SysRng);
        let env = &mut Env::new(self.clock.now(), &mut rng);
        if let Ok((len, from)) = received {
            let mut at = 0;
            while at < len {
                let mut answer = [0; 128];
                let rest = datagram.get_mut(at..len).unwrap_or_default();
                let handled = self
                    .endpoint
                    .handle_datagram(env, Place(from), rest, &mut answer);
                at += handled.consumed.max(1);
                match handled.event {
                    Some(Event::Established { is_resumed, .. }) => self.resumed.push(is_resumed),
                    Some(Event::Closed { .. }) => self.closed += 1,
                    _ => {}
                }
                let answer = answer.get(..handled.answer).unwrap_or_default();
                if !answer.is_empty() {
                    let sent = self.socket.send_to(answer, from);
                    sent.map_err(|error| error.to_string())?;
                }
            }
        }
        self.endpoint.handle_timeout(env);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), String> {
        let mut datagram = [0; 2_048];
        let mut rng = UnwrapErr(SysRng);
        let env = &mut Env::new(self.clock.now(), &mut rng);
        while let Some((to, len)) = self.endpoint.poll_transmit(env, &mut datagram) {
            let sent = self
                .socket
                .send_to(datagram.get(..len).unwrap_or_default(), to.0);
            sent.map_err(|error| error.to_string())?;
        }
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Failed { error, .. } | Event::HandshakeFailed { error, .. } => {
                    return Err(error.to_string());
                }
                Event::Closed { .. } => self.closed += 1,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Our server, over several connections.
enum OwnServer {
    Tls {
        listener: TcpListener,
        sessions: ServerSessions,
        store: Store,
        clock: Clock,
    },
    Dtls(Box<DtlsEnd>),
}

impl OwnServer {
    fn bind(transport: Transport, address: SocketAddr, by_ticket: bool) -> Result<Self, String> {
        let clock = Clock::start();
        let mut rng = UnwrapErr(SysRng);
        let env = &mut Env::new(clock.now(), &mut rng);
        let config = config(by_ticket);
        Ok(match transport {
            Transport::Tls => Self::Tls {
                listener: TcpListener::bind(address).map_err(|error| error.to_string())?,
                sessions: ServerSessions::draw(&config.resumption, env).ok_or("no sessions")?,
                store: store()?,
                clock,
            },
            Transport::Dtls => Self::Dtls(Box::new(DtlsEnd {
                socket: UdpSocket::bind(address).map_err(|error| error.to_string())?,
                endpoint: Endpoint::server(RingCrypto, store()?, config, env),
                clock,
                resumed: Vec::new(),
                closed: 0,
            })),
        })
    }

    /// Serves so many connections and returns which of them were resumed ones. `leave` is called once
    /// the first one stands, and each goes on until the peer has gone.
    fn serve(
        &mut self,
        count: usize,
        leave: impl FnOnce() -> Result<(), String>,
    ) -> Result<Vec<bool>, String> {
        let mut leave = Some(leave);
        let mut resumed = Vec::new();
        match self {
            Self::Tls {
                listener,
                sessions,
                store,
                clock,
            } => {
                for _ in 0..count {
                    let (stream, _) = listener.accept().map_err(|error| error.to_string())?;
                    let mut rng = UnwrapErr(SysRng);
                    let env = &mut Env::new(clock.now(), &mut rng);
                    let lease = sessions.lease(None, env);
                    let policy = Arc::default();
                    let connection = Tls::server_resuming(
                        RingCrypto,
                        store,
                        settings(SUITE),
                        &policy,
                        lease,
                        env,
                    );
                    let mut end = TlsEnd {
                        stream,
                        connection: connection.map_err(|error| error.to_string())?,
                        clock: *clock,
                    };
                    end.establish(Some(sessions))?;
                    resumed.push(end.connection.is_resumed());
                    if let Some(leave) = leave.take() {
                        leave()?;
                    }
                    let begun = clock.elapsed();
                    // GnuTLS's client stays with its last connection.
                    while resumed.len() < count && clock.elapsed() < begun + LIMIT {
                        end.flush()?;
                        if !end.take_in(None).unwrap_or(false) || !end.connection.is_open() {
                            break;
                        }
                    }
                    let _ = end.flush();
                }
            }
            Self::Dtls(end) => {
                let (before, closed) = (end.resumed.len(), end.closed);
                end.run_until(|end| end.resumed.len() > before)?;
                if let Some(leave) = leave.take() {
                    leave()?;
                }
                if count == 1 {
                    end.run_until(|end| end.closed > closed)?;
                }
                end.run_until(|end| end.resumed.len() >= before + count)?;
                resumed.extend(end.resumed.get(before..).unwrap_or_default());
            }
        }
        Ok(resumed)
    }
}
