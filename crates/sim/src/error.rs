//! Why a run ended before what it waited for.

use hedgerow_core::Instant;

use crate::NodeId;

/// Why a run was given up. Each carries the world's seed and the virtual time, which repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// More happened than [`Limits::events`](crate::Limits::events) allows one run.
    #[error("seed {seed}: still busy after {events} events, at {} us", .now.as_micros())]
    EventLimit {
        /// The world's seed.
        seed: u64,
        /// Events that the run saw.
        events: u64,
        /// Virtual time at the last of them.
        now: Instant,
    },
    /// The next thing to happen lies beyond [`Limits::time`](crate::Limits::time).
    #[error("seed {seed}: not done at {} us, next event at {} us", .now.as_micros(), .next.as_micros())]
    TimeLimit {
        /// The world's seed.
        seed: u64,
        /// Virtual time at the last event.
        now: Instant,
        /// When the next event would have been.
        next: Instant,
    },
    /// Nothing is left to happen, and what the run waited for isn't there.
    #[error("seed {seed}: nothing left to happen at {} us", .now.as_micros())]
    Idle {
        /// The world's seed.
        seed: u64,
        /// Virtual time at the last event.
        now: Instant,
    },
    /// A node's timeout stays due however often it is handled.
    #[error("seed {seed}: the timeout of {node} stays due at {} us", .now.as_micros())]
    TimeoutStuck {
        /// The world's seed.
        seed: u64,
        /// The node.
        node: NodeId,
        /// Virtual time, which doesn't move on.
        now: Instant,
    },
}
