//! The secure channel: what a DTLS session, a group session and no security at all have in common.

use crate::{ChannelError, DropReason, Env, Instant, KeyPurpose, KeyScope, Psk, SecurityMode};

/// The application's own number for a peer, given by its [`PskStore`](crate::PskStore)
/// or its [`CertificateCredentials`](crate::CertificateCredentials).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

/// Who is at the other end of an established channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Peer {
    /// Nobody proved anything.
    Anonymous,
    /// Whoever holds the key that the store, or the configuration, knows under this number, and that
    /// nobody else has.
    Psk(PeerId),
    /// One of those who hold the shared key known under this number. Which one, nobody can tell.
    SharedPsk(PeerId),
    /// Whoever holds the key known under this number, which is for end-to-end security: nobody else has
    /// it, and no gateway between.
    EndToEndPsk(PeerId),
    /// Whoever has the private key of the raw public key that the credentials know under this number.
    RawPublicKey(PeerId),
    /// The owner of a certificate, which was verified up to a trusted authority and belongs to whom
    /// the credentials know under this number.
    Certificate(PeerId),
}

impl Peer {
    /// Who has proved to have a pre-shared key.
    pub const fn of_psk(psk: &Psk, peer: PeerId) -> Self {
        match (psk.purpose(), psk.scope()) {
            (KeyPurpose::EndToEnd, _) => Self::EndToEndPsk(peer),
            (KeyPurpose::Hop, KeyScope::OnePeer) => Self::Psk(peer),
            (KeyPurpose::Hop, KeyScope::Shared) => Self::SharedPsk(peer),
        }
    }

    /// Returns what the key is for by which the peer is known; `None` without a pre-shared key. A
    /// private key is nobody else's, so that the number alone says what its owner may do.
    pub const fn key_purpose(self) -> Option<KeyPurpose> {
        match self {
            Self::Psk(_) | Self::SharedPsk(_) => Some(KeyPurpose::Hop),
            Self::EndToEndPsk(_) => Some(KeyPurpose::EndToEnd),
            Self::Anonymous | Self::RawPublicKey(_) | Self::Certificate(_) => None,
        }
    }

    /// Returns the application's own number for the peer; `None` if nobody proved anything.
    pub const fn id(self) -> Option<PeerId> {
        match self {
            Self::Anonymous => None,
            Self::Psk(peer)
            | Self::SharedPsk(peer)
            | Self::EndToEndPsk(peer)
            | Self::RawPublicKey(peer)
            | Self::Certificate(peer) => Some(peer),
        }
    }

    /// Returns the security mode that the peer is known in.
    pub const fn security_mode(self) -> SecurityMode {
        match self {
            Self::Anonymous => SecurityMode::NoSec,
            Self::SharedPsk(_) => SecurityMode::SharedKey,
            Self::Psk(_) | Self::EndToEndPsk(_) => SecurityMode::MultiKey,
            Self::RawPublicKey(_) | Self::Certificate(_) => SecurityMode::Certificate,
        }
    }
}

/// What one record of a datagram was.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'d> {
    /// The channel is established: from now on it seals and opens.
    Established(Peer),
    /// Authenticated plaintext, in the place where the datagram had the record.
    Plaintext(&'d mut [u8]),
    /// The peer closed the channel in order.
    Closed,
    /// The record was dropped, and nothing changed but a counter.
    Dropped(DropReason),
}

/// The outcome of one record, and what is left of its datagram.
#[derive(Debug, PartialEq, Eq)]
pub struct Received<'d> {
    /// What happened; `None` where a record only moved a handshake on.
    pub event: Option<Event<'d>>,
    /// Whether the record was authenticated and its number is the highest so far: the only licence
    /// to move a peer's address (RFC 9146 §6).
    pub newest: bool,
    /// The datagram's bytes behind the record. While they are not empty, call again with them.
    pub rest: &'d mut [u8],
}

impl<'d> Received<'d> {
    /// A record that was dropped; `rest` is what follows it.
    pub const fn dropped(reason: DropReason, rest: &'d mut [u8]) -> Self {
        Self {
            event: Some(Event::Dropped(reason)),
            newest: false,
            rest,
        }
    }
}

/// Protection of application data over datagrams.
///
/// Bytes go up by borrowing and down by writing into the caller's buffer. A machine never calls
/// upwards and never waits: its caller gives it datagrams and the time, and asks it what to send
/// and when to come back.
///
/// After any call, the caller asks [`Self::poll_transmit`] until it returns `None`, and calls
/// [`Self::handle_timeout`] no earlier than [`Self::poll_timeout`] says.
pub trait SecureChannel {
    /// Takes in the first record of `datagram`, in place.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Peer`] where the record ends the channel. What is malformed, replayed or
    /// forged is no error but [`Event::Dropped`].
    fn handle_datagram<'d>(
        &mut self,
        env: &mut Env<'_>,
        datagram: &'d mut [u8],
    ) -> Result<Received<'d>, ChannelError>;

    /// Does what has become due at `env.now`: retransmits, gives up.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Peer`] where the peer's silence ends the channel.
    fn handle_timeout(&mut self, env: &mut Env<'_>) -> Result<(), ChannelError>;

    /// Protects `plaintext` as one record at the front of `out` and returns the record's length,
    /// which is `plaintext.len() + self.overhead()`.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Misuse`] before the channel is established, after it is closed, or if `out`
    /// is too small; [`ChannelError::Limit`] if `plaintext` is too long for one record or the key
    /// has no number left. Nothing is sealed then.
    fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) -> Result<usize, ChannelError>;

    /// Writes the next datagram that the channel itself has to send, and returns its length.
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

    /// Closes the channel in order; [`Self::poll_transmit`] then writes what tells the peer.
    fn close(&mut self);

    /// Returns by how many bytes a record is longer than its plaintext.
    fn overhead(&self) -> usize;
}
