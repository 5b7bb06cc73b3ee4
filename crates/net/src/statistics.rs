//! What a node counts.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use hedgerow_core::DropReason;

/// A node's counters and the sizes of its tables, at about the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Associations with peers now.
    pub associations: usize,
    /// Handshakes under way now.
    pub handshakes: usize,
    /// Requests of this end under way or queued now.
    pub requests: usize,
    /// Handlers running now.
    pub handlers: usize,
    /// Handshakes that ended well since the node began.
    pub established: u64,
    /// How many of those resumed a session that there was before.
    pub resumed: u64,
    /// Handshakes that ended otherwise since the node began.
    pub failed_handshakes: u64,
    /// How often a peer with a connection ID has moved to another address since the node began.
    pub moved: u64,
    /// Requests answered with 5.03 because too many handlers ran.
    pub refused_requests: u64,
    /// Streams of legs now.
    pub streams: usize,
    /// Streams that peers have opened since the node began.
    pub streams_accepted: u64,
    /// Streams that peers have given up, or that ended by a timer or a broken rule.
    pub streams_reset: u64,
    /// Datagrams received since the node began.
    pub datagrams_received: u64,
    /// Datagrams sent since the node began.
    pub datagrams_sent: u64,
    /// Datagrams that the system refused to send.
    pub send_errors: u64,
    drops: Vec<u64>,
}

impl Statistics {
    /// Returns how often something was dropped for `reason` since the node began.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.get(reason.index()).copied().unwrap_or_default()
    }
}

/// The counters themselves: written by the node's task, read by anyone.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) associations: AtomicUsize,
    pub(crate) handshakes: AtomicUsize,
    pub(crate) handlers: AtomicUsize,
    pub(crate) established: AtomicU64,
    pub(crate) resumed: AtomicU64,
    pub(crate) failed_handshakes: AtomicU64,
    pub(crate) moved: AtomicU64,
    pub(crate) refused_requests: AtomicU64,
    pub(crate) streams: AtomicUsize,
    pub(crate) streams_accepted: AtomicU64,
    pub(crate) streams_reset: AtomicU64,
    pub(crate) datagrams_received: AtomicU64,
    pub(crate) datagrams_sent: AtomicU64,
    pub(crate) send_errors: AtomicU64,
    drops: Drops,
}

/// One counter for each reason.
#[derive(Debug)]
struct Drops([AtomicU64; DropReason::ALL.len()]);

impl Default for Drops {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::default()))
    }
}

impl Counters {
    pub(crate) fn count_drop(&self, reason: DropReason) {
        if let Some(counter) = self.drops.0.get(reason.index()) {
            count(counter);
        }
    }

    pub(crate) fn snapshot(&self, requests: usize) -> Statistics {
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let size = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        Statistics {
            associations: size(&self.associations),
            handshakes: size(&self.handshakes),
            requests,
            handlers: size(&self.handlers),
            established: number(&self.established),
            resumed: number(&self.resumed),
            failed_handshakes: number(&self.failed_handshakes),
            moved: number(&self.moved),
            refused_requests: number(&self.refused_requests),
            streams: size(&self.streams),
            streams_accepted: number(&self.streams_accepted),
            streams_reset: number(&self.streams_reset),
            datagrams_received: number(&self.datagrams_received),
            datagrams_sent: number(&self.datagrams_sent),
            send_errors: number(&self.send_errors),
            drops: self.drops.0.iter().map(number).collect(),
        }
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
