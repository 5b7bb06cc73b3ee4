//! How many datagrams a second go to a device.

use std::time::Duration;

use tokio::time::Instant;

/// A burst at once, and so many a second after that.
#[derive(Debug)]
pub(crate) struct Rate {
    /// How long one datagram takes of what there is.
    interval: Duration,
    /// How far ahead of the time it may be used.
    ahead: Duration,
    /// Until when it is used.
    used_until: Instant,
}

impl Rate {
    pub(crate) fn new(burst: u32, per_second: u32, now: Instant) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self {
            interval,
            ahead: interval.saturating_mul(burst.saturating_sub(1)),
            used_until: now,
        }
    }

    /// Says whether one more may go, and takes it.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let used_until = self.used_until.max(now);
        if used_until.duration_since(now) > self.ahead {
            return false;
        }
        self.used_until = used_until.checked_add(self.interval).unwrap_or(used_until);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_goes_at_once_and_the_rest_at_the_rate() {
        let start = Instant::now();
        let mut rate = Rate::new(20, 10, start);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!((0..30).filter(|_| rate.take(start)).count(), 20);
        assert!(!rate.take(at(99)) && rate.take(at(100)) && !rate.take(at(100)));
        // An hour later there is no more than a burst.
        assert_eq!((0..30).filter(|_| rate.take(at(3_600_000))).count(), 20);
    }
}
