//! A stream of TLS records in the form that a leg has them: a device that is a client of an unmodified TLS server.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hedgerow_endpoint::AdaptedFraming;
use hedgerow_record::LegForm;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::buffered_stream::{BufferedStream, StreamCodec};

/// A device's stream through a gateway to a TLS server that knows of none (docs/specs/translate-device.md): what is read and
/// written here are TLS's records, for a [`TlsStream`](crate::TlsStream) on it, and below they have the form that the
/// device has chosen.
///
/// A record that can't be followed is an error of the kind [`io::ErrorKind::InvalidData`].
pub struct AdaptedStream<IO> {
    stream: BufferedStream<IO, AdaptedFraming>,
}

impl<IO> AdaptedStream<IO> {
    /// Begins as TLS's client, over a stream that has carried nothing.
    pub fn client(io: IO, form: LegForm) -> Self {
        Self {
            stream: BufferedStream::new(io, AdaptedFraming::device_client(form)),
        }
    }

    /// Gives back the stream below. What was read from it and not from here is gone.
    pub fn into_inner(self) -> IO {
        self.stream.io
    }
}

/// Ends are TLS's affair: what the stream below says of them is told above, and nothing of its own.
impl StreamCodec for AdaptedFraming {
    /// It says nothing by itself.
    const MAX_WAITING_LEN: usize = 0;

    fn handle_bytes(
        &mut self,
        arrived: &mut Vec<u8>,
        data: &mut Vec<u8>,
        _outgoing: &mut Vec<u8>,
    ) -> io::Result<()> {
        self.from_leg(&std::mem::take(arrived), data).map_err(to_io)
    }

    fn is_closed_by_peer(&self) -> bool {
        false
    }

    fn handle_end(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn fill_outgoing(&mut self, _outgoing: &mut Vec<u8>) -> io::Result<()> {
        Ok(())
    }

    fn handle_data(&mut self, data: &[u8], outgoing: &mut Vec<u8>) -> io::Result<usize> {
        let part = data.get(..PART_LEN).unwrap_or(data);
        self.to_leg(part, outgoing).map_err(to_io)?;
        Ok(part.len())
    }

    fn close(&mut self) {}
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for AdaptedStream<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, out)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for AdaptedStream<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

fn to_io(error: hedgerow_record::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Bytes that are mapped to be written at a time.
const PART_LEN: usize = 2_048;
