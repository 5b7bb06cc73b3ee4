//! How often something may happen.

use std::time::Duration;

use tokio::time::Instant;

/// A burst at once, and one in each interval after that.
#[derive(Clone, Debug)]
pub(crate) struct Rate {
    /// How long one takes of what there is.
    interval: Duration,
    /// How far ahead of the time it may be used.
    ahead: Duration,
    /// Until when it is used.
    used_until: Instant,
}

impl Rate {
    pub(crate) fn new(burst: u32, interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            ahead: interval.saturating_mul(burst.saturating_sub(1)),
            used_until: now,
        }
    }

    /// Says whether one more may go, and takes it.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        if !self.wait(now).is_zero() {
            return false;
        }
        let used_until = self.used_until.max(now);
        self.used_until = used_until.checked_add(self.interval).unwrap_or(used_until);
        true
    }

    /// Returns how long it takes until one more may go.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        let used = self.used_until.saturating_duration_since(now);
        used.saturating_sub(self.ahead)
    }

    /// Says whether there is a whole burst again, so that nothing is lost with it.
    pub(crate) fn is_whole(&self, now: Instant) -> bool {
        self.used_until <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_goes_at_once_and_the_rest_at_the_rate() {
        let start = Instant::now();
        let mut rate = Rate::new(20, Duration::from_millis(100), start);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!((0..30).filter(|_| rate.take(start)).count(), 20);
        assert!(!rate.take(at(99)) && rate.take(at(100)) && !rate.take(at(100)));
        assert_eq!(rate.wait(at(150)), Duration::from_millis(50));
        assert!(!rate.is_whole(at(2_099)) && rate.is_whole(at(2_100)));
        // An hour later there is no more than a burst.
        assert_eq!((0..30).filter(|_| rate.take(at(3_600_000))).count(), 20);
    }
}
