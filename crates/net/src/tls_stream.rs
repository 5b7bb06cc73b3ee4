//! TLS as a byte stream of the runtime, for protocols that read and write one.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hedgerow_core::{ChannelError, Env, Misuse, Peer, PeerFault, ServerCredentials};
use hedgerow_endpoint::{SecurityPolicy, TlsConnection, TlsEvent};
use hedgerow_handshake::Settings;
use hedgerow_record::CipherSuite;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout_at;

use crate::buffered_stream::{BufferedStream, StreamCodec};
use crate::clock::{Clock, os_random};
use crate::credentials::SharedCredentials;
use crate::provider::{NodeCrypto, with_key_log};
use crate::{Credentials, KeyStore};

type Connection<S> = TlsConnection<NodeCrypto, S, SharedCredentials>;

/// TLS 1.2 over a stream such as a TCP connection. `S` is what a server has for its clients.
///
/// Reading ends only where the peer closed in order; a stream that was cut off is an error of the
/// kind [`io::ErrorKind::UnexpectedEof`]. Shutting down ends this end's direction in order and tells the peer so
/// (RFC 5246 §7.2.1). Dropping it is giving up: nothing more is sent, no close_notify either, and a peer that waited for
/// one takes the end of the stream below for a truncation.
pub struct TlsStream<IO, S = KeyStore> {
    stream: BufferedStream<IO, Tls<S>>,
}

/// What makes plaintext of records and records of plaintext.
struct Tls<S> {
    connection: Connection<S>,
    clock: Clock,
    is_closed_by_peer: bool,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> TlsStream<IO> {
    /// Shakes hands as the client of `io`, with what `policy` permits.
    ///
    /// # Errors
    ///
    /// As [`Self::accept`].
    pub async fn connect(
        io: IO,
        credentials: Arc<Credentials>,
        settings: Settings,
        policy: &Arc<SecurityPolicy>,
    ) -> io::Result<Self> {
        let shown = SharedCredentials(credentials);
        let begun = Self::begin(io, |env| {
            TlsConnection::client(with_key_log(None), shown, settings, policy, env)
        });
        begun?.shake_hands().await
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin, S: ServerCredentials + Clone> TlsStream<IO, S> {
    /// Shakes hands as the server of `io`, with the keys that `store` has now and as far as `policy`
    /// permits them.
    ///
    /// # Errors
    ///
    /// Those of `io`; with a [`ChannelError`] inside what went wrong in the handshake, of kind
    /// [`io::ErrorKind::TimedOut`] if its deadline came.
    pub async fn accept(
        io: IO,
        store: &S,
        settings: Settings,
        policy: &Arc<SecurityPolicy>,
    ) -> io::Result<Self> {
        let begun = Self::begin(io, |env| {
            TlsConnection::server(with_key_log(None), store.clone(), settings, policy, env)
        });
        begun?.shake_hands().await
    }

    fn begin(
        io: IO,
        begin: impl FnOnce(&mut Env<'_>) -> Result<Connection<S>, Misuse>,
    ) -> io::Result<Self> {
        let clock = Clock::start();
        let mut rng = os_random();
        let mut env = clock.env(&mut rng);
        let connection = begin(&mut env).map_err(io::Error::other)?;
        let tls = Tls {
            connection,
            clock,
            is_closed_by_peer: false,
        };
        Ok(Self {
            stream: BufferedStream::new(io, tls),
        })
    }

    async fn shake_hands(mut self) -> io::Result<Self> {
        let outcome = loop {
            if let Err(error) = self.flush_outgoing().await {
                break Err(error);
            }
            let Tls {
                connection, clock, ..
            } = &self.stream.codec;
            if connection.peer().is_some() {
                break Ok(());
            }
            let wake_at = clock.wake_at(connection.poll_timeout().unwrap_or_default());
            let mut bytes = [0; READ_LEN];
            let outcome = match timeout_at(wake_at, self.stream.io.read(&mut bytes)).await {
                Ok(Ok(len)) => {
                    let taken = self.stream.take_in(bytes.get(..len).unwrap_or_default());
                    taken.and_then(|()| self.stream.make_data())
                }
                Ok(Err(error)) => Err(error),
                Err(_) => {
                    let tls = &mut self.stream.codec;
                    tls.with_env(|connection, env| connection.handle_timeout(env))
                }
            };
            if let Err(error) = outcome {
                break Err(error);
            }
        };
        if let Err(error) = outcome {
            // The peer may be told why. It needn't listen any more.
            let _ = self.flush_outgoing().await;
            return Err(error);
        }
        Ok(self)
    }

    async fn flush_outgoing(&mut self) -> io::Result<()> {
        self.stream.fill_outgoing()?;
        self.stream.flush().await
    }
}

impl<IO, S: ServerCredentials> TlsStream<IO, S> {
    /// Gives back the stream below, after [`AsyncWrite::poll_shutdown`] for instance. What was read from it and not
    /// from here is gone.
    pub fn into_inner(self) -> IO {
        self.stream.io
    }

    /// Returns who is at the other end.
    pub fn peer(&self) -> Peer {
        let peer = self.stream.codec.connection.peer();
        peer.unwrap_or(Peer::Anonymous)
    }

    /// Returns the suite that was negotiated.
    pub fn suite(&self) -> Option<CipherSuite> {
        self.stream.codec.connection.suite()
    }

    /// Returns the application protocol that was agreed on by name, if any (RFC 7301).
    pub fn application_protocol(&self) -> Option<&'static [u8]> {
        self.stream.codec.connection.application_protocol()
    }
}

impl<S: ServerCredentials> Tls<S> {
    fn with_env<R>(
        &mut self,
        call: impl FnOnce(&mut Connection<S>, &mut Env<'_>) -> Result<R, ChannelError>,
    ) -> io::Result<R> {
        let mut rng = os_random();
        let mut env = self.clock.env(&mut rng);
        call(&mut self.connection, &mut env).map_err(to_io)
    }
}

impl<S: ServerCredentials> StreamCodec for Tls<S> {
    const MAX_WAITING_LEN: usize = READ_LEN;

    /// Takes records that have arrived until there is plaintext or more has to arrive.
    fn handle_bytes(
        &mut self,
        arrived: &mut Vec<u8>,
        data: &mut Vec<u8>,
        outgoing: &mut Vec<u8>,
    ) -> io::Result<()> {
        while data.is_empty() && !self.is_closed_by_peer {
            let taken = self.connection.push(arrived);
            arrived.drain(..taken);
            let mut rng = os_random();
            let mut env = self.clock.env(&mut rng);
            match self.connection.poll(&mut env) {
                Ok(None) if taken == 0 => return Ok(()),
                Ok(Some(TlsEvent::Plaintext(text))) => data.extend_from_slice(text),
                Ok(Some(TlsEvent::Closed)) => self.is_closed_by_peer = true,
                Ok(_) => {}
                Err(error) => {
                    // The alert that says so to the peer.
                    let _ = self.fill_outgoing(outgoing);
                    return Err(to_io(error));
                }
            }
            self.fill_outgoing(outgoing)?;
        }
        Ok(())
    }

    fn is_closed_by_peer(&self) -> bool {
        self.is_closed_by_peer
    }

    fn handle_end(&mut self) -> io::Result<()> {
        self.connection.handle_end().map_err(to_io)
    }

    fn fill_outgoing(&mut self, outgoing: &mut Vec<u8>) -> io::Result<()> {
        let mut bytes = [0; READ_LEN];
        while let Some(len) =
            self.with_env(|connection, env| connection.poll_transmit(env, &mut bytes))?
        {
            outgoing.extend_from_slice(bytes.get(..len).unwrap_or_default());
        }
        Ok(())
    }

    /// Seals one record, in an `outgoing` where nothing waits.
    fn handle_data(&mut self, data: &[u8], outgoing: &mut Vec<u8>) -> io::Result<usize> {
        let part_len = data.len().min(self.connection.max_plaintext_len());
        let part = data.get(..part_len).unwrap_or_default();
        let needed = part_len.saturating_add(self.connection.overhead());
        outgoing.resize(needed, 0);
        if let Err(error) = self.connection.seal(part, outgoing) {
            outgoing.clear();
            return Err(to_io(error));
        }
        Ok(part_len)
    }

    fn close(&mut self) {
        self.connection.close();
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin, S: ServerCredentials> AsyncRead for TlsStream<IO, S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, out)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin, S: ServerCredentials> AsyncWrite for TlsStream<IO, S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// Who is at the other end and by what suite, and no more.
impl<IO, S: ServerCredentials> std::fmt::Debug for TlsStream<IO, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsStream")
            .field("peer", &self.peer())
            .field("suite", &self.suite())
            .finish_non_exhaustive()
    }
}

fn to_io(error: ChannelError) -> io::Error {
    let kind = match error {
        ChannelError::Peer(PeerFault::Truncated) => io::ErrorKind::UnexpectedEof,
        ChannelError::Peer(PeerFault::HandshakeTimeout) => io::ErrorKind::TimedOut,
        ChannelError::Peer(PeerFault::CredentialsRefused) => io::ErrorKind::PermissionDenied,
        ChannelError::Peer(_) => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

/// Bytes read, or of the connection's own sent, at a time.
const READ_LEN: usize = 4_096;
