//! Whether the peers of idle associations are still there: CoAP's ping under the session (RFC 7252
//! §4.3).

use core::time::Duration;

use hedgerow_core::Instant;
use hedgerow_exchange::OutgoingRequest;

/// What is known of an association's peer being there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Liveness {
    /// When the peer was heard last, or asked in vain to be.
    since: Instant,
    /// The ping that waits for its answer, and when it was given.
    asked: Option<(OutgoingRequest, Instant)>,
}

impl Liveness {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            since: now,
            asked: None,
        }
    }

    /// Notes a message of the peer's.
    pub(crate) const fn hear(&mut self, now: Instant) {
        self.since = now;
    }

    /// Returns when the peer is to be asked.
    pub(crate) fn due_at(&self, ping_idle_after: Option<Duration>) -> Option<Instant> {
        let after = ping_idle_after.filter(|_| self.asked.is_none())?;
        Some(self.since.saturating_add(after))
    }

    pub(crate) const fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Notes that the peer was asked, or couldn't be: then it is asked later.
    pub(crate) fn ask(&mut self, now: Instant, ping: Option<OutgoingRequest>) {
        self.asked = ping.map(|ping| (ping, now));
        if ping.is_none() {
            self.since = now;
        }
    }

    /// Takes in the end of a request; `None` if it isn't the ping, otherwise whether the peer has
    /// said nothing since it was asked.
    pub(crate) fn end(&mut self, request: OutgoingRequest) -> Option<bool> {
        let (_, asked_at) = self.asked.filter(|&(ping, _)| ping == request)?;
        self.asked = None;
        let is_silent = self.since <= asked_at;
        Some(is_silent)
    }
}
