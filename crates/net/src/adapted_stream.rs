//! A stream of TLS records in the form that a leg has them: a device that is a client of an unmodified TLS server.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use hedgerow_endpoint::AdaptedFraming;
use hedgerow_record::LegForm;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tls_stream::{Half, Writers};

/// A device's stream through a gateway to a TLS server that knows of none (docs/specs/translate-device.md): what is read and
/// written here are TLS's records, for a [`TlsStream`](crate::TlsStream) on it, and below they have the form that the
/// device has chosen.
///
/// A record that can't be followed is an error of the kind [`io::ErrorKind::InvalidData`].
pub struct AdaptedStream<IO> {
    io: IO,
    framing: AdaptedFraming,
    /// TLS's bytes that weren't fetched yet, and how many of them were.
    arrived: Vec<u8>,
    fetched: usize,
    /// Bytes to be written below, and how many of them are.
    outgoing: Vec<u8>,
    written: usize,
    writers: Arc<Writers>,
}

impl<IO> AdaptedStream<IO> {
    /// Begins as TLS's client, over a stream that has carried nothing.
    pub fn client(io: IO, form: LegForm) -> Self {
        Self {
            io,
            framing: AdaptedFraming::device_client(form),
            arrived: Vec::new(),
            fetched: 0,
            outgoing: Vec::new(),
            written: 0,
            writers: Arc::default(),
        }
    }

    /// Gives back the stream below. What was read from it and not from here is gone.
    pub fn into_inner(self) -> IO {
        self.io
    }
}

impl<IO: AsyncWrite + Unpin> AdaptedStream<IO> {
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
        self.outgoing = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for AdaptedStream<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.fetched < this.arrived.len() {
                let rest = this.arrived.get(this.fetched..).unwrap_or_default();
                let part = rest.get(..out.remaining()).unwrap_or(rest);
                out.put_slice(part);
                this.fetched = this.fetched.saturating_add(part.len());
                if this.fetched >= this.arrived.len() {
                    this.arrived = Vec::new();
                    this.fetched = 0;
                }
                return Poll::Ready(Ok(()));
            }
            // What was taken to be written goes out also while nobody writes any more.
            if !this.outgoing.is_empty()
                && let Poll::Ready(Err(error)) = this.poll_outgoing(Half::Reader, context)
            {
                return Poll::Ready(Err(error));
            }
            let mut bytes = [0; PART_LEN];
            let mut buffer = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.io).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            let mapped = this.framing.from_leg(buffer.filled(), &mut this.arrived);
            mapped.map_err(to_io)?;
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for AdaptedStream<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_outgoing(Half::Writer, context))?;
        let part = bytes.get(..PART_LEN).unwrap_or(bytes);
        let mapped = this.framing.to_leg(part, &mut this.outgoing);
        mapped.map_err(to_io)?;
        // The bytes are taken; what can't be written now is written with the next call.
        match this.poll_outgoing(Half::Writer, context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(part.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_outgoing(Half::Writer, context))?;
        Pin::new(&mut this.io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_outgoing(Half::Writer, context))?;
        Pin::new(&mut this.io).poll_shutdown(context)
    }
}

fn to_io(error: hedgerow_record::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Bytes that are mapped at a time.
const PART_LEN: usize = 2_048;
