//! Our end of a TLS connection on a loopback socket: blocking, one peer, for interop only.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use getrandom::SysRng;
use hedgerow_core::{ClientCredentials, Credentials, PeerId, Psk, ServerCredentials};
use hedgerow_crypto_ring::RingCrypto;
use hedgerow_endpoint::{TlsConnection, TlsEvent};
use hedgerow_handshake::Settings;
use rand_core::UnwrapErr;

use super::clock::Clock;
use super::dtls_end::{Dialogue, Identity, OneKey, Report, contains};

type Connection<S, C> = TlsConnection<RingCrypto, S, C>;

/// Connects to `server`, speaks, and closes.
pub(super) fn run_client(
    server: SocketAddr,
    identity: Identity<'_>,
    settings: Settings,
    dialogue: &Dialogue,
    limit: Duration,
) -> Result<Report, String> {
    let psk = Psk::new(identity.psk).map_err(|error| error.to_string())?;
    let credentials = Credentials {
        psk_identity: identity.psk_identity,
        psk: &psk,
        peer: PeerId(0),
    };
    run_client_with(server, credentials, settings, dialogue, limit)
}

/// Does the same with any credentials.
pub(super) fn run_client_with<C: ClientCredentials>(
    server: SocketAddr,
    credentials: C,
    settings: Settings,
    dialogue: &Dialogue,
    limit: Duration,
) -> Result<Report, String> {
    let stream = TcpStream::connect(server).map_err(|error| error.to_string())?;
    let clock = Clock::start();
    let mut rng = UnwrapErr(SysRng);
    let env = &mut clock.env(&mut rng);
    let connection: Result<Connection<OneKey<'_>, C>, _> =
        TlsConnection::client(RingCrypto, credentials, settings, &Arc::default(), env);
    let connection = connection.map_err(|error| error.to_string())?;
    Ok(End::new(stream, connection, clock, true).run(dialogue, limit))
}

/// Waits for one client, answers it, and ends when it has gone or all is said.
pub(super) fn run_server(
    listener: &TcpListener,
    identity: Identity<'_>,
    settings: Settings,
    dialogue: &Dialogue,
    limit: Duration,
) -> Result<Report, String> {
    let psk = Psk::new(identity.psk).map_err(|error| error.to_string())?;
    let store = (identity.psk_identity, psk, PeerId(0));
    run_server_with(listener, &store, settings, dialogue, limit)
}

/// Does the same with any credentials.
pub(super) fn run_server_with<S: ServerCredentials>(
    listener: &TcpListener,
    store: S,
    settings: Settings,
    dialogue: &Dialogue,
    limit: Duration,
) -> Result<Report, String> {
    let (stream, _) = listener.accept().map_err(|error| error.to_string())?;
    let clock = Clock::start();
    let mut rng = UnwrapErr(SysRng);
    let env = &mut clock.env(&mut rng);
    let connection: Result<Connection<S, Credentials<'_>>, _> =
        TlsConnection::server(RingCrypto, store, settings, &Arc::default(), env);
    let connection = connection.map_err(|error| error.to_string())?;
    Ok(End::new(stream, connection, clock, false).run(dialogue, limit))
}

struct End<S: ServerCredentials, C: ClientCredentials> {
    stream: TcpStream,
    connection: Connection<S, C>,
    clock: Clock,
    rng: UnwrapErr<SysRng>,
    is_client: bool,
    report: Report,
    heard: Vec<u8>,
}

impl<S: ServerCredentials, C: ClientCredentials> End<S, C> {
    fn new(stream: TcpStream, connection: Connection<S, C>, clock: Clock, is_client: bool) -> Self {
        Self {
            stream,
            connection,
            clock,
            rng: UnwrapErr(SysRng),
            is_client,
            report: Report::new(),
            heard: Vec::new(),
        }
    }

    fn run(mut self, dialogue: &Dialogue, limit: Duration) -> Report {
        self.report.outcome = self.talk(dialogue, limit);
        self.report.elapsed = self.clock.elapsed();
        self.report
    }

    fn talk(&mut self, dialogue: &Dialogue, limit: Duration) -> Result<(), String> {
        let mut has_spoken = false;
        let mut buffer = [0; 2_048];
        loop {
            self.flush()?;
            let has_heard = contains(&self.heard, &dialogue.expects);
            self.report.suite = self.report.suite.or(self.connection.suite());
            self.report.max_plaintext_len = self.connection.max_plaintext_len();
            if self.connection.is_open() && !has_spoken && (self.is_client || has_heard) {
                has_spoken = true;
                self.say(&dialogue.says)?;
            }
            if has_heard && has_spoken {
                self.connection.close();
                return self.flush();
            }
            let left = limit.checked_sub(self.clock.elapsed());
            let left = left.ok_or_else(|| format!("no end within {limit:?}"))?;
            let due = self.connection.poll_timeout();
            let due = due.map(|at| at.saturating_since(self.clock.now()));
            let wait = due.unwrap_or(left).min(left).max(Duration::from_millis(1));
            self.stream
                .set_read_timeout(Some(wait))
                .map_err(|error| error.to_string())?;
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.connection
                        .handle_end()
                        .map_err(|error| error.to_string())?;
                    return Err("closed by the peer before all was said".to_owned());
                }
                Ok(len) => {
                    self.report.received += 1;
                    self.receive(buffer.get(..len).unwrap_or_default(), dialogue)?;
                }
                Err(_) => {
                    let env = &mut self.clock.env(&mut self.rng);
                    let due = self.connection.handle_timeout(env);
                    due.map_err(|error| error.to_string())?;
                }
            }
        }
    }

    fn say(&mut self, text: &[u8]) -> Result<(), String> {
        let mut record = vec![0; text.len() + self.connection.overhead()];
        let len = self.connection.seal(text, &mut record);
        let len = len.map_err(|error| error.to_string())?;
        self.write(record.get(..len).unwrap_or_default())
    }

    fn receive(&mut self, mut bytes: &[u8], dialogue: &Dialogue) -> Result<(), String> {
        while !bytes.is_empty() {
            let len = self.connection.push(bytes);
            bytes = bytes.get(len..).unwrap_or_default();
            loop {
                let env = &mut self.clock.env(&mut self.rng);
                match self.connection.poll(env) {
                    Ok(Some(TlsEvent::Plaintext(text))) => {
                        let longest = &mut self.report.longest_received;
                        *longest = text.len().max(*longest);
                        self.heard.extend_from_slice(text);
                    }
                    Ok(Some(TlsEvent::Closed)) => {
                        self.flush()?;
                        // The last record and the close may come in one piece.
                        if contains(&self.heard, &dialogue.expects) {
                            return Ok(());
                        }
                        return Err("closed by the peer before all was said".to_owned());
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) => {
                        self.flush()?;
                        return Err(error.to_string());
                    }
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), String> {
        let mut buffer = [0; 512];
        loop {
            let env = &mut self.clock.env(&mut self.rng);
            let written = self.connection.poll_transmit(env, &mut buffer);
            match written.map_err(|error| error.to_string())? {
                Some(len) => self.write(buffer.get(..len).unwrap_or_default())?,
                None => return Ok(()),
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.report.sent += 1;
        let written = self.stream.write_all(bytes);
        written.map_err(|error| format!("sending: {error}"))
    }
}
