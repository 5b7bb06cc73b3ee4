//! How often credentials may be tried that are nobody's.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use hedgerow_endpoint::Source;
use tokio::time::Instant;

use crate::rate::Rate;

/// Counts wrong credentials by where they come from, an IPv4 address or an IPv6 network of 64 bits.
///
/// Each source has some at once and few after that. The table is bounded: while it is full, all sources that
/// aren't in it share one count, so that more sources never have more guesses than a table of them.
pub(crate) struct Guesses {
    of_source: HashMap<Source, Rate>,
    of_others: Rate,
}

impl Guesses {
    pub(crate) fn new() -> Self {
        Self {
            of_source: HashMap::new(),
            of_others: fresh(Instant::now()),
        }
    }

    /// Checks what somebody shows, unless too much from there was wrong: then nothing is compared, and the
    /// time until something will be is the error's. Right credentials cost nothing.
    pub(crate) fn check<T>(
        &mut self,
        from: IpAddr,
        now: Instant,
        check: impl FnOnce() -> Option<T>,
    ) -> Result<Option<T>, Duration> {
        let source = Source::of(from);
        let has_room = self.has_room(now);
        let wait = match self.of_source.get(&source) {
            Some(rate) => rate.wait(now),
            None if has_room => Duration::ZERO,
            None => self.of_others.wait(now),
        };
        if !wait.is_zero() {
            return Err(wait);
        }
        let checked = check();
        if checked.is_none() {
            self.note(source, now);
        }
        Ok(checked)
    }

    fn note(&mut self, source: Source, now: Instant) {
        if let Some(rate) = self.of_source.get_mut(&source) {
            rate.take(now);
        } else if self.has_room(now) {
            let mut rate = fresh(now);
            rate.take(now);
            self.of_source.insert(source, rate);
        } else {
            self.of_others.take(now);
        }
    }

    /// Says whether another source has a place, after the sources without a count gave theirs up.
    fn has_room(&mut self, now: Instant) -> bool {
        if self.of_source.len() >= MAX_SOURCES {
            self.of_source.retain(|_, rate| !rate.is_whole(now));
        }
        self.of_source.len() < MAX_SOURCES
    }
}

fn fresh(now: Instant) -> Rate {
    Rate::new(AT_ONCE, INTERVAL, now)
}

/// Wrong credentials that one source may show at once, and how long each takes after that.
const AT_ONCE: u32 = 10;
const INTERVAL: Duration = Duration::from_secs(30);

/// Sources that are counted at the same time.
const MAX_SOURCES: usize = 1_024;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const WRONG: Result<Option<u8>, Duration> = Ok(None);

    fn source(number: u32) -> IpAddr {
        Ipv4Addr::from(0x0a00_0000 + number).into()
    }

    #[test]
    fn source_has_ten_guesses_and_one_more_each_half_minute() {
        let (mut guesses, start) = (Guesses::new(), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        for _ in 0..10 {
            assert_eq!(guesses.check(source(1), start, || None::<u8>), WRONG);
        }
        // Right or wrong, nothing is compared.
        let refused = guesses.check(source(1), start, || -> Option<u8> { unreachable!() });
        assert_eq!(refused, Err(INTERVAL));
        assert_eq!(guesses.check(source(2), start, || Some(1)), Ok(Some(1)));
        assert_eq!(guesses.check(source(1), at(30), || Some(1)), Ok(Some(1)));
        assert_eq!(guesses.check(source(1), at(30), || None::<u8>), WRONG);
        let refused = guesses.check(source(1), at(45), || Some(1));
        assert_eq!(refused, Err(Duration::from_secs(15)));
        // Right ones cost nothing.
        for _ in 0..20 {
            assert_eq!(guesses.check(source(3), start, || Some(1)), Ok(Some(1)));
        }
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source() {
        let (mut guesses, now) = (Guesses::new(), Instant::now());
        let network = |network, host| Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host);
        for host in 0..10 {
            let from = network(1, host).into();
            assert_eq!(guesses.check(from, now, || None::<u8>), WRONG);
        }
        assert!(
            guesses
                .check(network(1, 99).into(), now, || Some(1))
                .is_err()
        );
        assert!(
            guesses
                .check(network(2, 99).into(), now, || Some(1))
                .is_ok()
        );
    }

    #[test]
    fn more_sources_than_are_counted_share_one_count() {
        let (mut guesses, start) = (Guesses::new(), Instant::now());
        let most = u32::try_from(MAX_SOURCES).unwrap();
        for number in 0..most + 10 {
            assert_eq!(guesses.check(source(number), start, || None::<u8>), WRONG);
        }
        assert_eq!(guesses.of_source.len(), MAX_SOURCES);
        assert!(guesses.check(source(most + 10), start, || Some(1)).is_err());
        // Who has a place of its own isn't concerned.
        assert!(guesses.check(source(0), start, || Some(1)).is_ok());
        // Places come free with time.
        let later = start + INTERVAL;
        assert_eq!(
            guesses.check(source(most + 11), later, || None::<u8>),
            WRONG
        );
        assert_eq!(guesses.of_source.len(), 1);
    }
}
