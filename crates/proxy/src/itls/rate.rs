//! How often something may be done.

use std::time::Duration;

use hedgerow_core::Instant;

/// So many at once, and one more after each interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    interval: Duration,
    /// How far ahead of the time it may be used.
    ahead: Duration,
    /// Until when it is used.
    used_until: Instant,
}

impl Rate {
    pub(super) fn new(burst: u32, interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            ahead: interval.saturating_mul(burst.saturating_sub(1)),
            used_until: now,
        }
    }

    pub(super) fn per_second(burst: u32, per_second: u32, now: Instant) -> Self {
        Self::new(burst, Duration::from_secs(1) / per_second.max(1), now)
    }

    /// Says whether it may be done once more, and takes that.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let used_until = self.used_until.max(now);
        if used_until.saturating_since(now) > self.ahead {
            return false;
        }
        self.used_until = used_until.saturating_add(self.interval);
        true
    }

    /// Says whether there is a whole burst again, so that nothing is lost with it.
    pub(super) fn is_whole(&self, now: Instant) -> bool {
        self.used_until <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_goes_at_once_and_the_rest_at_the_rate() {
        let at = |secs: u64| Instant::from_micros(secs * 1_000_000);
        let mut rate = Rate::new(10, Duration::from_secs(10), at(5));
        assert_eq!((0..20).filter(|_| rate.take(at(5))).count(), 10);
        assert!(!rate.take(at(14)) && rate.take(at(15)) && !rate.take(at(15)));
        assert!(!rate.is_whole(at(114)) && rate.is_whole(at(115)));
        // However long nothing was taken, there is no more than a burst.
        assert_eq!((0..20).filter(|_| rate.take(at(9_999))).count(), 10);
    }
}
