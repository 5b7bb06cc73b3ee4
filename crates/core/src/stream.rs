//! The secure stream: the verbs of a channel over bytes that arrive whole and in order (TLS).

use crate::{ChannelError, Env, Event, Instant};

/// The outcome of one record of a stream, and the bytes behind it.
#[derive(Debug, PartialEq, Eq)]
pub struct StreamReceived<'d> {
    /// What happened; `None` where a record only moved a handshake on.
    pub event: Option<Event<'d>>,
    /// The bytes behind the record. While they hold a whole one, call again with them.
    pub rest: &'d mut [u8],
}

/// Protection of application data over a byte stream.
///
/// The caller collects what arrives in a buffer of its own and lends its front; the machine keeps
/// no bytes. Unlike over datagrams, whatever doesn't verify ends the stream (RFC 5246 §7.2.2), and
/// everything sealed must be sent, in its order.
///
/// After any call, errors included, the caller asks [`Self::poll_transmit`] until it returns
/// `None`, and calls [`Self::handle_timeout`] no earlier than [`Self::poll_timeout`] says.
pub trait SecureStream {
    /// Takes in the first record of `bytes`, in place; `None` if it isn't there as a whole, in which
    /// case nothing is taken and the caller comes back with the same bytes and more behind them.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Peer`] where the record ends the stream.
    fn handle_bytes<'d>(
        &mut self,
        env: &mut Env<'_>,
        bytes: &'d mut [u8],
    ) -> Result<Option<StreamReceived<'d>>, ChannelError>;

    /// Takes in the end of the stream below.
    ///
    /// # Errors
    ///
    /// [`PeerFault::Truncated`](crate::PeerFault::Truncated) if the peer hadn't closed in order:
    /// anybody on the path can end a TCP connection.
    fn handle_end(&mut self) -> Result<(), ChannelError>;

    /// Does what has become due at `env.now`.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Peer`] where the peer's silence ends the stream.
    fn handle_timeout(&mut self, env: &mut Env<'_>) -> Result<(), ChannelError>;

    /// Protects `plaintext` as one record at the front of `out` and returns the record's length,
    /// which is `plaintext.len() + self.overhead()`. The record must be sent next.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Misuse`] before the stream is established, while [`Self::poll_transmit`] has
    /// something that goes first, after it is closed, or if `out` is too small;
    /// [`ChannelError::Limit`] if `plaintext` is longer than [`Self::max_plaintext_len`] or the key
    /// has no number left. Nothing is sealed then.
    fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) -> Result<usize, ChannelError>;

    /// Writes the next bytes that the stream itself has to send, and returns their number.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Misuse`] if `out` can't hold even one record.
    fn poll_transmit(
        &mut self,
        env: &mut Env<'_>,
        out: &mut [u8],
    ) -> Result<Option<usize>, ChannelError>;

    /// Returns when [`Self::handle_timeout`] is due, if ever.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Closes the stream in order; [`Self::poll_transmit`] then writes what tells the peer.
    fn close(&mut self);

    /// Returns by how many bytes a record is longer than its plaintext.
    fn overhead(&self) -> usize;

    /// Returns the longest plaintext that one record carries to this peer, in bytes.
    fn max_plaintext_len(&self) -> usize;
}
