//! Time and randomness of the operating system.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use getrandom::SysRng;
use hedgerow_core::{CryptoRng, Env, UnixTime};
use rand_core::UnwrapErr;

/// The monotonic clock of the operating system, as the machines take it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the adapter that reads the clock for everything below"
    )]
    pub(crate) fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    pub(crate) fn now(self) -> hedgerow_core::Instant {
        hedgerow_core::Instant::ZERO + self.origin.elapsed()
    }

    /// Returns what one call to a machine needs of the world: time, also by the wall clock, and
    /// randomness.
    pub(crate) fn env(self, rng: &mut dyn CryptoRng) -> Env<'_> {
        let mut env = Env::new(self.now(), rng);
        env.unix_time = unix_time();
        env
    }

    /// Returns when the runtime is to come back for `at`.
    pub(crate) fn wake_at(self, at: hedgerow_core::Instant) -> tokio::time::Instant {
        let since = Duration::from_micros(at.as_micros());
        // What this clock can't express lies beyond any uptime, and coming back early is harmless.
        let at = self.origin.checked_add(since);
        let at = at.or_else(|| self.origin.checked_add(A_YEAR));
        tokio::time::Instant::from_std(at.unwrap_or(self.origin))
    }
}

/// Returns the time by the wall clock, which certificates are judged by; `None` before 1970, where it
/// isn't set.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the adapter that reads the clock for everything below"
)]
pub(crate) fn unix_time() -> Option<UnixTime> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(UnixTime::from_secs(since.as_secs()))
}

/// The random source of the operating system.
///
/// Nothing can go on without it: if it fails, the node's task ends with a panic.
pub(crate) const fn os_random() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);
