//! How often something may happen.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use hedgerow_endpoint::Source;
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

/// A rate for each source, that is an IPv4 address or an IPv6 network of 64 bits. The table is bounded: while it is
/// full, all that aren't in it share one.
#[derive(Debug)]
pub(crate) struct SourceRates {
    each: Rate,
    of_source: HashMap<Source, Rate>,
    of_others: Rate,
}

impl SourceRates {
    /// Gives each source the rate `each`, of which nothing is used yet.
    pub(crate) fn new(each: Rate) -> Self {
        Self {
            of_source: HashMap::new(),
            of_others: each.clone(),
            each,
        }
    }

    /// Says whether one more of a source may go, and takes it.
    pub(crate) fn take(&mut self, from: IpAddr, now: Instant) -> bool {
        let source = Source::of(from);
        if let Some(rate) = self.of_source.get_mut(&source) {
            return rate.take(now);
        }
        if self.of_source.len() >= MAX_SOURCES {
            self.of_source.retain(|_, rate| !rate.is_whole(now));
        }
        if self.of_source.len() >= MAX_SOURCES {
            return self.of_others.take(now);
        }
        let rate = self.of_source.entry(source);
        rate.or_insert_with(|| self.each.clone()).take(now)
    }
}

/// Sources that are counted by themselves.
const MAX_SOURCES: usize = 1_024;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn sources_have_a_rate_each_as_long_as_the_table_has_room() {
        let start = Instant::now();
        let mut rates = SourceRates::new(Rate::new(2, Duration::from_secs(1), start));
        let address = |number: usize| Ipv4Addr::from(u32::try_from(number).unwrap()).into();
        for _ in 0..3 {
            rates.take(address(0), start);
        }
        assert!(!rates.take(address(0), start));
        for number in 1..MAX_SOURCES {
            assert!(rates.take(address(number), start), "{number}");
        }
        // Two more come at once, whoever they are of.
        let beyond = (MAX_SOURCES..).take(9);
        let taken = beyond.filter(|&number| rates.take(address(number), start));
        assert_eq!(taken.count(), 2);
        assert_eq!(rates.of_source.len(), MAX_SOURCES);
        // Those who have theirs back give their places up, the first one not yet.
        let later = start + Duration::from_secs(1);
        assert!(rates.take(address(MAX_SOURCES), later));
        assert_eq!(rates.of_source.len(), 2);
    }

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
