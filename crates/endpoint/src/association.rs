//! One peer: its channel and its exchange.

use alloc::boxed::Box;
use alloc::sync::Arc;

use hedgerow_core::{Aead, ChannelError, Env, Instant, Peer, SecureChannel};
use hedgerow_exchange::HeapExchange;
use hedgerow_handshake::Session;

/// What protects the messages of an association.
pub(crate) enum Channel<A> {
    /// Nothing does, as configured.
    NoSec,
    /// A handshake is under way, and nothing is sent or taken.
    Expected,
    /// A session.
    Session(Box<Session<A>>),
}

/// Which end began an association, and what it takes to begin it again.
pub(crate) enum Role<K> {
    /// This end, with these credentials; `None` without security.
    Client(Option<K>),
    /// The peer.
    Server,
}

/// One peer.
pub(crate) struct Association<A, C, K> {
    pub(crate) address: A,
    pub(crate) role: Role<K>,
    pub(crate) channel: Channel<C>,
    pub(crate) peer: Peer,
    pub(crate) exchange: HeapExchange<Arc<hedgerow_exchange::Config>>,
    pub(crate) last_used: Instant,
    /// The time under which the timers have it.
    pub(crate) armed: Option<Instant>,
    /// Whether it stands in the queue of those that may have something to send.
    pub(crate) is_queued: bool,
}

impl<A, C: Aead, K> Association<A, C, K> {
    /// Says whether messages can be sent and taken.
    pub(crate) const fn is_open(&self) -> bool {
        !matches!(self.channel, Channel::Expected)
    }

    /// Returns when something is due, before idleness ends the association.
    pub(crate) fn poll_timeout(&self, idle_at: Instant) -> Instant {
        if !self.is_open() {
            // The handshake has a timer of its own, and ends one way or the other.
            return idle_at;
        }
        self.exchange
            .poll_timeout()
            .map_or(idle_at, |at| at.min(idle_at))
    }

    /// Writes the next datagram, if there is one. `scratch` holds the message before it is sealed.
    pub(crate) fn poll_transmit(
        &mut self,
        env: &mut Env<'_>,
        scratch: &mut [u8],
        out: &mut [u8],
    ) -> Result<Option<usize>, ChannelError> {
        match &mut self.channel {
            Channel::Expected => Ok(None),
            Channel::NoSec => Ok(self.exchange.poll_transmit(env, out).ok().flatten()),
            Channel::Session(session) => {
                if let Some(len) = session.poll_transmit(env, out)? {
                    return Ok(Some(len));
                }
                match self.exchange.poll_transmit(env, scratch) {
                    Ok(Some(len)) => {
                        let message = scratch.get(..len).unwrap_or_default();
                        session.seal(message, out).map(Some)
                    }
                    Ok(None) | Err(_) => Ok(None),
                }
            }
        }
    }
}
