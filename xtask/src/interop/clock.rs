//! The real clock, for ends that talk to real peers.

use std::time::{Duration, Instant};

/// Time since this clock was made, as the machines take it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "a peer that nobody here wrote runs in real time"
    )]
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    pub(super) fn now(self) -> hedgerow_core::Instant {
        hedgerow_core::Instant::ZERO + self.elapsed()
    }
}
