//! TLS as a byte stream of the runtime, for protocols that read and write one.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use hedgerow_core::{ChannelError, Env, Misuse, Peer, PeerFault, ServerCredentials};
use hedgerow_endpoint::{SecurityPolicy, TlsConnection, TlsEvent};
use hedgerow_handshake::Settings;
use hedgerow_record::CipherSuite;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout_at;

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
    io: IO,
    connection: Connection<S>,
    clock: Clock,
    /// Bytes that were read and that the connection has no room for yet.
    arrived: Vec<u8>,
    /// Plaintext that wasn't fetched yet, and how much of it was.
    plaintext: Vec<u8>,
    fetched: usize,
    /// Bytes to be written, and how many of them are.
    outgoing: Vec<u8>,
    written: usize,
    writers: Arc<Writers>,
    is_closed_by_peer: bool,
}

/// Who waits until something can be written: the half that reads has alerts and answers to send too.
/// A stream such as a TCP connection wakes the last one that asked, so that this asks for both.
#[derive(Default)]
struct Writers {
    waiting: Mutex<[Option<Waker>; 2]>,
}

/// The half of a stream that waits.
#[derive(Clone, Copy)]
enum Half {
    Reader,
    Writer,
}

impl Writers {
    fn register(&self, half: Half, waker: &Waker) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let [reader, writer] = &mut *waiting;
        let place = match half {
            Half::Reader => reader,
            Half::Writer => writer,
        };
        match place {
            Some(known) => known.clone_from(waker),
            None => *place = Some(waker.clone()),
        }
    }
}

impl Wake for Writers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = std::mem::take(&mut *waiting);
        for waker in waiting.into_iter().flatten() {
            waker.wake();
        }
    }
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
        Ok(Self {
            io,
            connection,
            clock,
            arrived: Vec::new(),
            plaintext: Vec::new(),
            fetched: 0,
            outgoing: Vec::new(),
            written: 0,
            writers: Arc::default(),
            is_closed_by_peer: false,
        })
    }

    async fn shake_hands(mut self) -> io::Result<Self> {
        let outcome = loop {
            if let Err(error) = self.flush_outgoing().await {
                break Err(error);
            }
            if self.connection.peer().is_some() {
                break Ok(());
            }
            let due = self.connection.poll_timeout();
            let wake_at = self.clock.wake_at(due.unwrap_or_default());
            let mut bytes = [0; READ_LEN];
            let outcome = match timeout_at(wake_at, self.io.read(&mut bytes)).await {
                Ok(Ok(len)) => self.take_in(bytes.get(..len).unwrap_or_default()),
                Ok(Err(error)) => Err(error),
                Err(_) => self.with_env(|connection, env| connection.handle_timeout(env)),
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
        self.fill_outgoing()?;
        let outgoing = self.outgoing.get(self.written..).unwrap_or_default();
        self.io.write_all(outgoing).await?;
        self.io.flush().await?;
        self.outgoing.clear();
        self.written = 0;
        Ok(())
    }
}

impl<IO, S: ServerCredentials> TlsStream<IO, S> {
    /// Gives back the stream below, after [`AsyncWrite::poll_shutdown`] for instance. What was read from it and not
    /// from here is gone.
    pub fn into_inner(self) -> IO {
        self.io
    }

    /// Returns who is at the other end.
    pub fn peer(&self) -> Peer {
        self.connection.peer().unwrap_or(Peer::Anonymous)
    }

    /// Returns the suite that was negotiated.
    pub fn suite(&self) -> Option<CipherSuite> {
        self.connection.suite()
    }

    /// Returns the application protocol that was agreed on by name, if any (RFC 7301).
    pub fn application_protocol(&self) -> Option<&'static [u8]> {
        self.connection.application_protocol()
    }

    fn with_env<R>(
        &mut self,
        call: impl FnOnce(&mut Connection<S>, &mut Env<'_>) -> Result<R, ChannelError>,
    ) -> io::Result<R> {
        let mut rng = os_random();
        let mut env = self.clock.env(&mut rng);
        call(&mut self.connection, &mut env).map_err(to_io)
    }

    /// Takes in bytes, or the end of the stream if there are none, up to the next plaintext.
    fn take_in(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return self.connection.handle_end().map_err(to_io);
        }
        self.arrived.extend_from_slice(bytes);
        self.take_records()
    }

    /// Takes records that have arrived until there is plaintext or more has to arrive.
    fn take_records(&mut self) -> io::Result<()> {
        while self.fetched >= self.plaintext.len() && !self.is_closed_by_peer {
            let taken = self.connection.push(&self.arrived);
            self.arrived.drain(..taken);
            let Self {
                connection,
                clock,
                plaintext,
                fetched,
                is_closed_by_peer,
                ..
            } = self;
            let mut rng = os_random();
            let mut env = clock.env(&mut rng);
            match connection.poll(&mut env) {
                Ok(None) if taken == 0 => return Ok(()),
                Ok(Some(TlsEvent::Plaintext(text))) => {
                    plaintext.clear();
                    *fetched = 0;
                    plaintext.extend_from_slice(text);
                }
                Ok(Some(TlsEvent::Closed)) => *is_closed_by_peer = true,
                Ok(_) => {}
                Err(error) => {
                    // The alert that says so to the peer.
                    let _ = self.fill_outgoing();
                    return Err(to_io(error));
                }
            }
            self.fill_outgoing()?;
        }
        Ok(())
    }

    /// Fetches what the connection itself has to send.
    fn fill_outgoing(&mut self) -> io::Result<()> {
        let mut bytes = [0; READ_LEN];
        while let Some(len) =
            self.with_env(|connection, env| connection.poll_transmit(env, &mut bytes))?
        {
            self.outgoing
                .extend_from_slice(bytes.get(..len).unwrap_or_default());
        }
        Ok(())
    }
}

impl<IO: AsyncWrite + Unpin, S: ServerCredentials> TlsStream<IO, S> {
    /// Writes until nothing is left to be written.
    fn poll_outgoing(&mut self, half: Half, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writers.register(half, context.waker());
        let both = Waker::from(Arc::clone(&self.writers));
        let context = &mut Context::from_waker(&both);
        while self.written < self.outgoing.len() {
            let rest = self.outgoing.get(self.written..).unwrap_or_default();
            let len = ready!(Pin::new(&mut self.io).poll_write(context, rest))?;
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written = self.written.saturating_add(len);
        }
        self.outgoing.clear();
        self.outgoing.shrink_to(READ_LEN);
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin, S: ServerCredentials> AsyncRead for TlsStream<IO, S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            // What a peer makes this end say has to leave before more is read from it.
            if this.outgoing.len().saturating_sub(this.written) > READ_LEN {
                ready!(this.poll_outgoing(Half::Reader, context))?;
            }
            let taken = this.take_records();
            if this.fetched < this.plaintext.len() {
                let rest = this.plaintext.get(this.fetched..).unwrap_or_default();
                let part = rest.get(..out.remaining()).unwrap_or(rest);
                out.put_slice(part);
                this.fetched = this.fetched.saturating_add(part.len());
                if this.fetched >= this.plaintext.len() {
                    this.plaintext = Vec::new();
                    this.fetched = 0;
                }
                return Poll::Ready(Ok(()));
            }
            // An alert or an answer to a close goes out as soon as it can; a peer that doesn't read
            // doesn't keep this end from reading.
            let sent = this.poll_outgoing(Half::Reader, context);
            taken?;
            if this.is_closed_by_peer {
                return Poll::Ready(Ok(()));
            }
            if let Poll::Ready(Err(error)) = sent {
                return Poll::Ready(Err(error));
            }
            let mut bytes = [0; READ_LEN];
            let mut buffer = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.io).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                this.connection.handle_end().map_err(to_io)?;
                return Poll::Ready(Ok(()));
            }
            this.arrived.extend_from_slice(buffer.filled());
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin, S: ServerCredentials> AsyncWrite for TlsStream<IO, S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        this.fill_outgoing()?;
        // One record at a time: what is sealed has to be sent, and so is bounded.
        ready!(this.poll_outgoing(Half::Writer, context))?;
        let part_len = bytes.len().min(this.connection.max_plaintext_len());
        let part = bytes.get(..part_len).unwrap_or_default();
        let needed = part_len.saturating_add(this.connection.overhead());
        this.outgoing.resize(needed, 0);
        let Self {
            connection,
            outgoing,
            ..
        } = this;
        if let Err(error) = connection.seal(part, outgoing) {
            outgoing.clear();
            return Poll::Ready(Err(to_io(error)));
        }
        // The bytes are taken; what can't be written now is written with the next call.
        match this.poll_outgoing(Half::Writer, context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(part_len)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_outgoing(Half::Writer, context))?;
        Pin::new(&mut this.io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.connection.close();
        this.fill_outgoing()?;
        ready!(this.poll_outgoing(Half::Writer, context))?;
        Pin::new(&mut this.io).poll_shutdown(context)
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
