//! Reading from a connection's socket, and writing to it as far as the peer reads.

use std::io::ErrorKind;
use std::net::Shutdown;
use std::time::Duration;

use hedgerow_core::ServerCredentials;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

use crate::Handler;
use crate::stream::connection::Connection;

impl<S, H> Connection<S, H>
where
    S: ServerCredentials,
    H: Handler,
{
    pub(super) fn wants_bytes(&self) -> bool {
        !self.is_at_end
            && self.ending.error.is_none()
            && self.ending.reason.is_none()
            && self.backlog() < MAX_BACKLOG
            && self.parts.machine.room() > 0
    }

    pub(super) fn read(&mut self) {
        let mut buffer = [0; READ_LEN];
        let room = self.parts.machine.room().min(READ_LEN);
        let buffer = buffer.get_mut(..room).unwrap_or_default();
        match self.parts.stream.try_read(buffer) {
            Ok(0) => self.handle_end(),
            Ok(len) => {
                let bytes = buffer.get(..len).unwrap_or_default();
                // All of it is taken: no more was read than there is room for.
                self.parts.machine.push(bytes);
            }
            Err(error) if is_transient(error.kind()) => {}
            Err(error) => {
                debug!(remote = %self.parts.remote, %error, "receiving failed");
                self.ending.is_cut = true;
                self.handle_end();
            }
        }
    }

    /// Reads what the peer sent before it went: it may say why.
    pub(super) fn read_rest(&mut self) {
        for _ in 0..MAX_LAST_READS {
            if self.wants_bytes() {
                self.read();
                self.take_in();
            }
        }
        self.handle_end();
    }

    /// The peer has ended the stream. Whoever closes one half of it has closed the connection: CoAP has
    /// its Release for what is under way (RFC 8323 §5.5).
    pub(super) fn handle_end(&mut self) {
        self.is_at_end = true;
        if let Err(error) = self.parts.machine.handle_end() {
            self.ending.error.get_or_insert(error);
        }
    }

    pub(super) fn has_output(&self) -> bool {
        self.backlog() > 0 && !self.ending.is_cut
    }

    pub(super) fn backlog(&self) -> usize {
        self.out.len().saturating_sub(self.written)
    }

    /// Writes as much as the system takes now.
    pub(super) fn write(&mut self) {
        while self.has_output() {
            let left = self.out.get(self.written..).unwrap_or_default();
            match self.parts.stream.try_write(left) {
                Ok(len) => {
                    self.written = self.written.saturating_add(len);
                    self.progress.take(self.parts.clock.now(), len);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if is_transient(error.kind()) => {}
                Err(error) => {
                    debug!(remote = %self.parts.remote, %error, "sending failed");
                    self.ending.is_cut = true;
                    self.read_rest();
                }
            }
        }
        if self.backlog() == 0 {
            self.written = 0;
            self.out.clear();
            self.out.shrink_to(IDLE_LEN);
            if self.parts.machine.is_idle() {
                self.message = Vec::new();
            }
        }
    }
}

/// Closes a stream so that what was said last gets through.
pub(super) async fn close(stream: &TcpStream) {
    // Bytes that nobody reads would make the system reset the connection, and the peer lose what was
    // said last.
    let _ = SockRef::from(stream).shutdown(Shutdown::Write);
    let _ = timeout(LINGER, drain(stream)).await;
}

/// Reads to the end of a stream, within bounds.
async fn drain(stream: &TcpStream) {
    let mut left = MAX_DRAINED_LEN;
    let mut buffer = [0; 1_024];
    while left > 0 && stream.readable().await.is_ok() {
        match stream.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(len) => left = left.saturating_sub(len),
            Err(error) if is_transient(error.kind()) => {}
            Err(_) => return,
        }
    }
}

const fn is_transient(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// How much is read at a time, in bytes.
const READ_LEN: usize = 8_192;

/// How much may wait to be written, in bytes, before the machine is asked for no more.
pub(super) const MAX_BACKLOG: usize = 64 * 1_024;

/// How often a stream is read from that can't be written to any more.
const MAX_LAST_READS: usize = 16;

/// What an idle connection keeps room for, in bytes.
const IDLE_LEN: usize = 1_024;

/// How long the last words may take to get through.
const LINGER: Duration = Duration::from_millis(500);

/// How much is read meanwhile, in bytes.
const MAX_DRAINED_LEN: usize = 256 * 1_024;
