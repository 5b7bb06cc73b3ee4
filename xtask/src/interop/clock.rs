//! The real clock, for ends that talk to real peers.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hedgerow_core::{CryptoRng, Env, UnixTime};

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

    /// What one call to a machine needs, with the wall-clock time that certificates are judged by.
    #[expect(
        clippy::disallowed_methods,
        reason = "a peer that nobody here wrote makes certificates for today"
    )]
    pub(super) fn env(self, rng: &mut dyn CryptoRng) -> Env<'_> {
        let mut env = Env::new(self.now(), rng);
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        env.unix_time = since.ok().map(|since| UnixTime::from_secs(since.as_secs()));
        env
    }
}
