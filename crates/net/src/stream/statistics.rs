//! What connections over streams count.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The counters of a client or a server over streams, at about the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamStatistics {
    /// Connections that are open now, established or not.
    pub connections: usize,
    /// Requests of this end under way or queued now.
    pub requests: usize,
    /// Connections established since the beginning: TLS, if there is to be any, and the peer's CSM.
    pub established: u64,
    /// How many of those resumed a session that there was before.
    pub resumed: u64,
    /// Connections that ended before that.
    pub failed: u64,
    /// Requests answered with 5.03 because too many handlers ran.
    pub refused_requests: u64,
    /// Connections that a server refused because too many were open, from that source or at all.
    pub refused_connections: u64,
}

/// The counters themselves: written by the tasks, read by anyone.
#[derive(Debug, Default)]
pub(crate) struct StreamCounters {
    pub(crate) connections: AtomicUsize,
    pub(crate) established: AtomicU64,
    pub(crate) resumed: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) refused_requests: AtomicU64,
    pub(crate) refused_connections: AtomicU64,
}

impl StreamCounters {
    pub(crate) fn snapshot(&self, requests: usize) -> StreamStatistics {
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StreamStatistics {
            connections: self.connections.load(Ordering::Relaxed),
            requests,
            established: number(&self.established),
            resumed: number(&self.resumed),
            failed: number(&self.failed),
            refused_requests: number(&self.refused_requests),
            refused_connections: number(&self.refused_connections),
        }
    }
}
