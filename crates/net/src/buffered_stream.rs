//! A byte stream over another one: how it is read, written and ended, whatever stands between the two.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What makes data of the bytes below and bytes of the data.
pub(crate) trait StreamCodec {
    /// How many bytes that a peer has made this end say may wait to be written before no more is read.
    const MAX_WAITING_LEN: usize;

    /// Takes bytes that have arrived until there is data or more has to arrive, and leaves what it has no room for.
    /// What they make this end say goes to `outgoing`.
    fn handle_bytes(
        &mut self,
        arrived: &mut Vec<u8>,
        data: &mut Vec<u8>,
        outgoing: &mut Vec<u8>,
    ) -> io::Result<()>;

    /// Says whether the peer has ended its direction in order, so that nothing more is read.
    fn is_closed_by_peer(&self) -> bool;

    /// Takes in that the stream below has ended; an error where that is no orderly end of this one.
    fn handle_end(&mut self) -> io::Result<()>;

    /// Fetches what this end has to say beside data.
    fn fill_outgoing(&mut self, outgoing: &mut Vec<u8>) -> io::Result<()>;

    /// Takes some of the data to be written, and returns how many bytes of it.
    fn handle_data(&mut self, data: &[u8], outgoing: &mut Vec<u8>) -> io::Result<usize>;

    /// Ends this end's direction in order.
    fn close(&mut self);
}

/// A stream of data over `io`, which carries what the codec makes of it.
pub(crate) struct BufferedStream<IO, C> {
    pub(crate) io: IO,
    pub(crate) codec: C,
    /// Bytes that were read and that the codec has no room for yet.
    arrived: Vec<u8>,
    /// Data that wasn't fetched yet, and how much of it was.
    data: Vec<u8>,
    fetched: usize,
    /// Bytes to be written below, and how many of them are.
    outgoing: Vec<u8>,
    written: usize,
    /// How many of them the peer has made this end say. Data don't count: two ends that both write much would each wait
    /// for the other one to read.
    said: usize,
    writers: Arc<Writers>,
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
        // The lock is free again before anybody wakes: a waker may poll in its place.
        let waiting = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *waiting)
        };
        for waker in waiting.into_iter().flatten() {
            waker.wake();
        }
    }
}

impl<IO, C: StreamCodec> BufferedStream<IO, C> {
    pub(crate) fn new(io: IO, codec: C) -> Self {
        Self {
            io,
            codec,
            arrived: Vec::new(),
            data: Vec::new(),
            fetched: 0,
            outgoing: Vec::new(),
            written: 0,
            said: 0,
            writers: Arc::default(),
        }
    }

    /// Takes in what was read below, or its end if that is nothing.
    pub(crate) fn take_in(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return self.codec.handle_end();
        }
        self.arrived.extend_from_slice(bytes);
        Ok(())
    }

    /// Makes data of what has arrived, unless there is some that wasn't fetched yet.
    pub(crate) fn make_data(&mut self) -> io::Result<()> {
        if self.fetched < self.data.len() {
            return Ok(());
        }
        let before = self.outgoing.len();
        let made = self
            .codec
            .handle_bytes(&mut self.arrived, &mut self.data, &mut self.outgoing);
        let said = self.outgoing.len().saturating_sub(before);
        self.said = self.said.saturating_add(said);
        made
    }

    /// Fetches what the codec has to say beside data.
    pub(crate) fn fill_outgoing(&mut self) -> io::Result<()> {
        self.codec.fill_outgoing(&mut self.outgoing)
    }

    /// Moves data to who reads, and says whether there was any.
    fn fetch(&mut self, out: &mut ReadBuf<'_>) -> bool {
        let rest = self.data.get(self.fetched..).unwrap_or_default();
        if rest.is_empty() {
            return false;
        }
        let part = rest.get(..out.remaining()).unwrap_or(rest);
        out.put_slice(part);
        self.fetched = self.fetched.saturating_add(part.len());
        if self.fetched >= self.data.len() {
            self.data = Vec::new();
            self.fetched = 0;
        }
        true
    }
}

impl<IO: AsyncWrite + Unpin, C> BufferedStream<IO, C> {
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
        // A stream on which nothing waits has no buffer.
        self.outgoing = Vec::new();
        self.written = 0;
        self.said = 0;
        Poll::Ready(Ok(()))
    }
}

impl<IO, C> AsyncRead for BufferedStream<IO, C>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    C: StreamCodec + Unpin,
{
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            // What a peer makes this end say has to leave before more is read from it.
            if this.said > C::MAX_WAITING_LEN {
                ready!(this.poll_outgoing(Half::Reader, context))?;
            }
            let made = this.make_data();
            if made.is_ok() && this.fetch(out) {
                return Poll::Ready(Ok(()));
            }
            // What waits goes out as soon as it can, also while nobody writes any more; a peer that doesn't read
            // doesn't keep this end from reading.
            let sent = this.poll_outgoing(Half::Reader, context);
            made?;
            if this.codec.is_closed_by_peer() {
                return Poll::Ready(Ok(()));
            }
            if let Poll::Ready(Err(error)) = sent {
                return Poll::Ready(Err(error));
            }
            let mut bytes = [0; READ_LEN];
            let mut buffer = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.io).poll_read(context, &mut buffer))?;
            this.take_in(buffer.filled())?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<IO, C> AsyncWrite for BufferedStream<IO, C>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    C: StreamCodec + Unpin,
{
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.fill_outgoing()?;
        // What is taken has to be sent, so that no more is taken before, and what waits is bounded.
        ready!(this.poll_outgoing(Half::Writer, context))?;
        let taken = this.codec.handle_data(bytes, &mut this.outgoing)?;
        // The bytes are taken; what can't be written now is written with the next call.
        match this.poll_outgoing(Half::Writer, context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(taken)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_outgoing(Half::Writer, context))?;
        Pin::new(&mut this.io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.codec.close();
        this.fill_outgoing()?;
        ready!(this.poll_outgoing(Half::Writer, context))?;
        Pin::new(&mut this.io).poll_shutdown(context)
    }
}

/// Bytes that are read at a time.
const READ_LEN: usize = 4_096;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
    use tokio::time::timeout;

    use super::*;

    /// Data as they are. Each question mark makes this end say 8 bytes.
    struct Plain;

    impl StreamCodec for Plain {
        const MAX_WAITING_LEN: usize = 16;

        fn handle_bytes(
            &mut self,
            arrived: &mut Vec<u8>,
            data: &mut Vec<u8>,
            outgoing: &mut Vec<u8>,
        ) -> io::Result<()> {
            for byte in arrived.drain(..) {
                match byte {
                    b'?' => outgoing.extend([b'!'; 8]),
                    other => data.push(other),
                }
            }
            Ok(())
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
            let part = data.get(..100).unwrap_or(data);
            outgoing.extend_from_slice(part);
            Ok(part.len())
        }

        fn close(&mut self) {}
    }

    async fn write_and_read(io: DuplexStream) {
        let (mut reader, mut writer) = split(BufferedStream::new(io, Plain));
        let mut received = [0; 1_000];
        let writing = async {
            writer.write_all(&[7; 1_000]).await?;
            writer.flush().await
        };
        let (written, read) = tokio::join!(writing, reader.read_exact(&mut received));
        assert!(written.is_ok() && read.is_ok());
        assert_eq!(received, [7; 1_000]);
    }

    /// Neither has room for what the other one writes, unless it reads meanwhile.
    #[tokio::test(start_paused = true)]
    async fn ends_that_both_write_much_both_read() {
        let (near, far) = duplex(16);
        let both = async { tokio::join!(write_and_read(near), write_and_read(far)) };
        let done = timeout(Duration::from_secs(60), both).await;
        done.expect("each waits for the other one to read");
    }

    /// What it is made to say is bounded, whoever asks and doesn't listen.
    #[tokio::test(start_paused = true)]
    async fn peer_that_asks_and_does_not_listen_is_read_no_further() {
        let (near, mut far) = duplex(8);
        let mut near = BufferedStream::new(near, Plain);
        let asking = async {
            let mut asked = 0;
            while far.write_all(b"?").await.is_ok() {
                asked += 1;
                assert!(asked < 100, "it is read without end");
            }
        };
        let reading = async { near.read_u8().await };
        let both = async { tokio::join!(asking, reading) };
        assert!(timeout(Duration::from_secs(60), both).await.is_err());
        assert!(near.outgoing.len() < 100, "{}", near.outgoing.len());
    }
}
