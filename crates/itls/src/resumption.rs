//! What is left of a session for the next one.

use core::fmt;

use hedgerow_core::{Peer, SHA256_LEN, Secret};

use crate::inner_message::SessionId;

/// The secrets by which the two ends of a session make another one over a new outer session, with
/// new keys: each begins with its own.
///
/// Its owner forgets it 24 h after the last handshake with an end-to-end key, however many sessions came
/// between, and when the session that replaced it is confirmed.
pub struct Resumption {
    pub(crate) id: SessionId,
    /// Under which this end begins.
    pub(crate) own: Secret<SHA256_LEN>,
    /// Under which the other end does.
    pub(crate) peers: Secret<SHA256_LEN>,
    pub(crate) peer: Peer,
    pub(crate) has_forward_secrecy: bool,
}

impl Resumption {
    /// Returns the session's ID, by which its hellos name it.
    pub const fn session_id(&self) -> SessionId {
        self.id
    }

    /// Returns who the other end is.
    pub const fn peer(&self) -> Peer {
        self.peer
    }
}

impl fmt::Debug for Resumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resumption")
            .field("id", &self.id)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
