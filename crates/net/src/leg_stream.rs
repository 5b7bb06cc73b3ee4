//! A stream of a leg as a byte stream of the runtime.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use hedgerow_core::Peer;
use hedgerow_endpoint::AssociationId;
use hedgerow_leg::{ResetBy, ResetReason, StreamId};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::RequestFailure;
use crate::shared::Shared;

/// A stream to the other end of a hop, inside the hop's DTLS session (docs/specs/leg.md). What travels
/// in it is secured by whoever uses it, such as a [`TlsStream`](crate::TlsStream) over it.
///
/// Shutting down ends this end's direction in order; reading ends only where the other end did so.
/// Everything else is an error with a [`StreamFailure`] inside. Dropping it before both is giving it up, and the other
/// end is told; after shutting down, the other end has [`NodeConfig::stream_patience`](crate::NodeConfig) from the
/// last bytes that it took for the rest and its own end, and 20 times that in all.
pub struct LegStream {
    state: Arc<StreamState>,
    shared: Arc<Shared>,
}

/// A stream that the other end of a hop has opened.
#[derive(Debug)]
pub struct IncomingStream {
    /// The stream. Dropping it gives it up.
    pub stream: LegStream,
    /// Who has opened it, by the hop's session.
    pub peer: Peer,
    /// Where that was then.
    pub remote: SocketAddr,
    /// What it was opened for.
    pub offer: StreamOffer,
}

/// What a stream is opened for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamOffer {
    /// The service that a device wants to reach: up to 15 characters from 0x21 to 0x7e. Empty from a
    /// gateway.
    pub name: String,
    /// The port where the connection came in at a gateway; 0 from a device.
    pub port: u16,
    /// Where it came from at a gateway, which a device can't check.
    pub address: Option<SocketAddr>,
}

/// Why a stream has ended otherwise than in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamFailure {
    /// One end gave it up.
    #[error("stream given up: {reason}")]
    Reset {
        /// Why.
        reason: ResetReason,
        /// Who.
        by: ResetBy,
    },
    /// The hop's session is gone, or didn't come about.
    #[error("hop's session lost: {0}")]
    Hop(RequestFailure),
}

impl From<StreamFailure> for io::Error {
    fn from(failure: StreamFailure) -> Self {
        let kind = match failure {
            StreamFailure::Reset { reason, .. } => match reason {
                ResetReason::Refused => io::ErrorKind::PermissionDenied,
                ResetReason::ConnectFailed => io::ErrorKind::ConnectionRefused,
                ResetReason::ConnectionLost | ResetReason::Application => {
                    io::ErrorKind::ConnectionReset
                }
                ResetReason::Timeout => io::ErrorKind::TimedOut,
                _ => io::ErrorKind::ConnectionAborted,
            },
            StreamFailure::Hop(_) => io::ErrorKind::NotConnected,
        };
        Self::new(kind, failure)
    }
}

/// A stream's name at its node.
pub(crate) type StreamKey = (AssociationId, StreamId);

/// What a stream's handle and the node's task share.
pub(crate) struct StreamState {
    pub(crate) key: StreamKey,
    inner: Mutex<Halves>,
}

/// Both directions.
#[derive(Default)]
pub(crate) struct Halves {
    /// Bytes that have arrived and weren't read.
    pub(crate) incoming: VecDeque<u8>,
    /// Whether the other end's orderly end has arrived.
    pub(crate) has_end: bool,
    /// Bytes that wait for room in the leg.
    pub(crate) outgoing: VecDeque<u8>,
    /// Whether this end's direction ends behind them.
    pub(crate) is_finished: bool,
    /// Why the handle gives the stream up.
    pub(crate) reset: Option<ResetReason>,
    /// Whether the handle is gone.
    pub(crate) is_dropped: bool,
    /// Whether the handle waits for the stream's end, and for nothing else.
    pub(crate) is_closing: bool,
    /// Whether the stream has ended in order, in both directions.
    pub(crate) is_over: bool,
    pub(crate) failure: Option<StreamFailure>,
    /// Whether the task is to look after it.
    is_noted: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Waits for a failure alone.
    watcher: Option<Waker>,
}

impl Halves {
    /// Returns how many bytes more may be kept for the reader.
    pub(crate) fn room_to_read(&self) -> usize {
        match self.is_dropped || self.is_closing {
            // What arrives is of no use to anybody.
            true => CAPACITY,
            false => CAPACITY.saturating_sub(self.incoming.len()),
        }
    }

    pub(crate) fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    pub(crate) fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }

    /// Ends it otherwise than in order, unless it has ended.
    pub(crate) fn fail(&mut self, failure: StreamFailure) {
        if !self.is_over && self.failure.is_none() {
            self.failure = Some(failure);
            self.incoming = VecDeque::new();
            self.outgoing = VecDeque::new();
        }
        self.wake_reader();
        self.wake_writer();
        if let Some(watcher) = self.watcher.take() {
            watcher.wake();
        }
    }
}

impl StreamState {
    pub(crate) fn new(key: StreamKey) -> Self {
        Self {
            key,
            inner: Mutex::default(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Halves> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note that the task has come to look after it.
    pub(crate) fn take_note(&self) {
        self.lock().is_noted = false;
    }
}

impl LegStream {
    pub(crate) const fn new(state: Arc<StreamState>, shared: Arc<Shared>) -> Self {
        Self { state, shared }
    }

    /// Gives the stream up and tells the other end why.
    pub fn reset(self, reason: ResetReason) {
        self.state.lock().reset = Some(reason);
        // The drop does the rest.
    }

    /// Ends this end's direction in order, and waits until the other end has done so and has everything. What
    /// still arrives is discarded. The other end has [`NodeConfig::stream_patience`](crate::NodeConfig) from the last
    /// bytes that it took, and 20 times that in all.
    ///
    /// # Errors
    ///
    /// With a [`StreamFailure`] inside where the stream ends otherwise; its reason is [`ResetReason::Timeout`] where
    /// the other end took too long.
    pub async fn close(self) -> io::Result<()> {
        poll_fn(|context| {
            let mut halves = self.state.lock();
            halves.is_finished = true;
            halves.is_closing = true;
            halves.incoming.clear();
            if halves.is_over {
                return Poll::Ready(Ok(()));
            }
            if let Some(failure) = halves.failure {
                return Poll::Ready(Err(failure.into()));
            }
            halves.reader = Some(context.waker().clone());
            self.note(&mut halves);
            Poll::Pending
        })
        .await
    }

    /// Waits until the stream fails, with a [`StreamFailure`] inside: also where the other end's orderly end has
    /// come, so that reading says nothing more. One task waits at a time; a stream that ends in order never fails.
    pub async fn failed(&self) -> io::Error {
        poll_fn(|context| {
            let mut halves = self.state.lock();
            if let Some(failure) = halves.failure {
                return Poll::Ready(failure.into());
            }
            halves.watcher = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Has the task look after the stream.
    fn note(&self, halves: &mut Halves) {
        if !halves.is_noted {
            halves.is_noted = true;
            self.shared.signals.note_stream(self.state.key);
        }
    }
}

impl AsyncRead for LegStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_read(context, out)
    }
}

impl AsyncWrite for LegStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_shutdown(context)
    }
}

/// As with a socket: one task reads and one writes at the same time.
impl AsyncRead for &LegStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut halves = self.state.lock();
        if let Some(failure) = halves.failure {
            return Poll::Ready(Err(failure.into()));
        }
        if halves.incoming.is_empty() {
            if halves.has_end {
                return Poll::Ready(Ok(()));
            }
            halves.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        while out.remaining() > 0 {
            let (front, _) = halves.incoming.as_slices();
            let part = front.get(..out.remaining()).unwrap_or(front);
            let len = part.len();
            if len == 0 {
                break;
            }
            out.put_slice(part);
            halves.incoming.drain(..len);
        }
        // The leg is asked for more, and the other end with it.
        if !halves.has_end {
            self.note(&mut halves);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for &LegStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut halves = self.state.lock();
        if let Some(failure) = halves.failure {
            return Poll::Ready(Err(failure.into()));
        }
        if halves.is_finished || halves.is_over {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = CAPACITY.saturating_sub(halves.outgoing.len());
        let part = bytes.get(..room).unwrap_or(bytes);
        if part.is_empty() && !bytes.is_empty() {
            halves.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        halves.outgoing.extend(part);
        self.note(&mut halves);
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Bytes leave as the leg takes them, as from a TCP socket.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut halves = self.state.lock();
        if let Some(failure) = halves.failure {
            return Poll::Ready(Err(failure.into()));
        }
        halves.is_finished = true;
        self.note(&mut halves);
        Poll::Ready(Ok(()))
    }
}

impl Drop for LegStream {
    fn drop(&mut self) {
        let mut halves = self.state.lock();
        halves.is_dropped = true;
        halves.incoming = VecDeque::new();
        self.note(&mut halves);
    }
}

impl std::fmt::Debug for LegStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (_, stream) = self.state.key;
        f.debug_tuple("LegStream").field(&stream).finish()
    }
}

/// Bytes that wait between handle and task, in each direction, beside the leg's own buffers.
pub(crate) const CAPACITY: usize = 8_192;
