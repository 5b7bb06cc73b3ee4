//! How often credentials may be tried that are nobody's.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use hedgerow_endpoint::Source;
use tokio::time::Instant;

use crate::rate::Rate;

/// Counts wrong credentials by where they come from, an IPv4 address or an IPv6 network of 64 bits, by the IPv6 network of
/// 48 bits, which one holder has many of the others in, and by the name that they are shown for.
///
/// Each has some at once and few after that. The tables are bounded: while that of sources is full, all that
/// aren't in it share one count, so that more sources never have more guesses than a table of them. Where a name's
/// right credentials came from lately, wrong ones from elsewhere shut that name out of nothing. For every other name
/// nothing is known of that place: whoever has credentials may guess at no others by them.
pub(crate) struct Guesses {
    of_source: HashMap<Source, Rate>,
    of_network: HashMap<u64, Rate>,
    of_others: Rate,
    /// Names by their hash, of users or not: who is a user doesn't show.
    of_name: Vec<Rate>,
    known: HashMap<Shown, Known>,
}

/// Where something is shown from, and the hash of the name that it is shown for; a token is for none.
type Shown = (Source, Option<u64>);

/// A source that has shown right credentials for a name.
struct Known {
    of_itself: Rate,
    until: Instant,
}

impl Guesses {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let of_name = || Rate::new(NAME_AT_ONCE, NAME_INTERVAL, now);
        Self {
            of_source: HashMap::new(),
            of_network: HashMap::new(),
            of_others: fresh(now),
            of_name: std::iter::repeat_with(of_name).take(NAMES).collect(),
            known: HashMap::new(),
        }
    }

    /// Checks what somebody shows for a name, if there is one, unless too much before it was wrong: then nothing
    /// is compared, and the time until something will be is the error's. Right credentials cost nothing.
    pub(crate) fn check<T>(
        &mut self,
        from: IpAddr,
        name: Option<&[u8]>,
        now: Instant,
        check: impl FnOnce() -> Option<T>,
    ) -> Result<Option<T>, Duration> {
        let source = Source::of(from);
        let shown = (source, name.map(hash));
        let known = self.known.get(&shown).filter(|known| now < known.until);
        let wait = match known {
            Some(known) => known.of_itself.wait(now),
            None => self.wait(source, from, name, now),
        };
        if !wait.is_zero() {
            return Err(wait);
        }
        let checked = check();
        match checked {
            Some(_) => self.remember(shown, now),
            None => self.note(shown, from, name, now),
        }
        Ok(checked)
    }

    /// Returns how long somebody has to wait of whom nothing right is known.
    fn wait(
        &mut self,
        source: Source,
        from: IpAddr,
        name: Option<&[u8]>,
        now: Instant,
    ) -> Duration {
        let has_room = has_room(&mut self.of_source, MAX_SOURCES, now);
        let of_source = match self.of_source.get(&source) {
            Some(rate) => Some(rate),
            None if has_room => None,
            None => Some(&self.of_others),
        };
        let of_network = network(from).and_then(|network| self.of_network.get(&network));
        let of_name = name.and_then(|name| self.of_name.get(place(name)));
        let rates = [of_source, of_network, of_name].into_iter().flatten();
        rates.map(|rate| rate.wait(now)).max().unwrap_or_default()
    }

    fn note(&mut self, shown: Shown, from: IpAddr, name: Option<&[u8]>, now: Instant) {
        let (source, _) = shown;
        if let Some(rate) = name.and_then(|name| self.of_name.get_mut(place(name))) {
            rate.take(now);
        }
        if let Some(known) = self.known.get_mut(&shown) {
            known.of_itself.take(now);
        }
        if let Some(network) = network(from)
            && (self.of_network.contains_key(&network)
                || has_room(&mut self.of_network, MAX_NETWORKS, now))
        {
            let rate = self.of_network.entry(network);
            rate.or_insert_with(|| Rate::new(NETWORK_AT_ONCE, NETWORK_INTERVAL, now))
                .take(now);
        }
        if let Some(rate) = self.of_source.get_mut(&source) {
            rate.take(now);
        } else if has_room(&mut self.of_source, MAX_SOURCES, now) {
            let mut rate = fresh(now);
            rate.take(now);
            self.of_source.insert(source, rate);
        } else {
            self.of_others.take(now);
        }
    }

    /// Keeps a source whose credentials were right, instead of the one that was right longest ago. What was wrong
    /// from there before counts, so that being forgotten and right again wins no guesses.
    fn remember(&mut self, shown: Shown, now: Instant) {
        let until = now.checked_add(LATELY).unwrap_or(now);
        if let Some(known) = self.known.get_mut(&shown) {
            known.until = until;
            return;
        }
        if self.known.len() >= MAX_KNOWN {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.until);
            if let Some(oldest) = oldest.map(|(shown, _)| *shown) {
                self.known.remove(&oldest);
            }
        }
        let of_itself = self.of_source.get(&shown.0).cloned();
        let of_itself = of_itself.unwrap_or_else(|| fresh(now));
        self.known.insert(shown, Known { of_itself, until });
    }
}

/// Says whether a table has a place, after those without a count gave theirs up.
fn has_room<K: Eq + Hash>(table: &mut HashMap<K, Rate>, max: usize, now: Instant) -> bool {
    if table.len() >= max {
        table.retain(|_, rate| !rate.is_whole(now));
    }
    table.len() < max
}

/// Returns the first 48 bits of an IPv6 address.
fn network(from: IpAddr) -> Option<u64> {
    match from.to_canonical() {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => u64::try_from(u128::from(address) >> 80).ok(),
    }
}

/// Returns where a name is counted. Whoever finds another one for the same place could have tried the first.
fn place(name: &[u8]) -> usize {
    usize::from(hash(name).to_be_bytes()[0])
}

fn hash(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(name);
    hasher.finish()
}

fn fresh(now: Instant) -> Rate {
    Rate::new(AT_ONCE, INTERVAL, now)
}

/// Wrong credentials that one source may show at once, and how long each takes after that.
const AT_ONCE: u32 = 10;
const INTERVAL: Duration = Duration::from_secs(30);

/// The same for an IPv6 network of 48 bits.
const NETWORK_AT_ONCE: u32 = 40;
const NETWORK_INTERVAL: Duration = Duration::from_millis(7_500);

/// The same for a name, from wherever nothing right came lately.
const NAME_AT_ONCE: u32 = 100;
const NAME_INTERVAL: Duration = Duration::from_secs(10);

/// Places for names: as many as one octet of a hash has values.
const NAMES: usize = 256;

/// Sources that are counted at the same time, and networks.
const MAX_SOURCES: usize = 1_024;
const MAX_NETWORKS: usize = 1_024;

/// Sources that are kept for what they showed, each name at each for itself, and for how long.
const MAX_KNOWN: usize = 256;
const LATELY: Duration = Duration::from_secs(24 * 3_600);

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
            assert_eq!(guesses.check(source(1), None, start, || None::<u8>), WRONG);
        }
        // Right or wrong, nothing is compared.
        let refused = guesses.check(source(1), None, start, || -> Option<u8> { unreachable!() });
        assert_eq!(refused, Err(INTERVAL));
        assert_eq!(
            guesses.check(source(2), None, start, || Some(1)),
            Ok(Some(1))
        );
        assert_eq!(
            guesses.check(source(1), None, at(30), || Some(1)),
            Ok(Some(1))
        );
        assert_eq!(guesses.check(source(1), None, at(30), || None::<u8>), WRONG);
        let refused = guesses.check(source(1), None, at(45), || Some(1));
        assert_eq!(refused, Err(Duration::from_secs(15)));
        // Right ones cost nothing.
        for _ in 0..20 {
            assert_eq!(
                guesses.check(source(3), None, start, || Some(1)),
                Ok(Some(1))
            );
        }
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source() {
        let (mut guesses, now) = (Guesses::new(), Instant::now());
        let network = |network, host| Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host);
        for host in 0..10 {
            let from = network(1, host).into();
            assert_eq!(guesses.check(from, None, now, || None::<u8>), WRONG);
        }
        assert!(
            guesses
                .check(network(1, 99).into(), None, now, || Some(1))
                .is_err()
        );
        assert!(
            guesses
                .check(network(2, 99).into(), None, now, || Some(1))
                .is_ok()
        );
    }

    #[test]
    fn more_sources_than_are_counted_share_one_count() {
        let (mut guesses, start) = (Guesses::new(), Instant::now());
        let most = u32::try_from(MAX_SOURCES).unwrap();
        for number in 0..most + 10 {
            assert_eq!(
                guesses.check(source(number), None, start, || None::<u8>),
                WRONG
            );
        }
        assert_eq!(guesses.of_source.len(), MAX_SOURCES);
        assert!(
            guesses
                .check(source(most + 10), None, start, || Some(1))
                .is_err()
        );
        // Who has a place of its own isn't concerned.
        assert!(guesses.check(source(0), None, start, || Some(1)).is_ok());
        // Places come free with time.
        let later = start + INTERVAL;
        assert_eq!(
            guesses.check(source(most + 11), None, later, || None::<u8>),
            WRONG
        );
        assert_eq!(guesses.of_source.len(), 1);
    }

    /// Guesses from everywhere fill the table and use up what is left for others: who showed the right ones before
    /// isn't told to wait for somebody else's.
    #[test]
    fn guesses_from_elsewhere_shut_nobody_out_who_was_right() {
        let (mut guesses, start) = (Guesses::new(), Instant::now());
        let right = source(1_000_000);
        assert_eq!(guesses.check(right, None, start, || Some(1)), Ok(Some(1)));
        for number in 0..u32::try_from(MAX_SOURCES).unwrap() + 10 {
            assert_eq!(
                guesses.check(source(number), None, start, || None::<u8>),
                WRONG
            );
        }
        let stranger = source(2_000_000);
        assert!(guesses.check(stranger, None, start, || Some(1)).is_err());
        assert_eq!(guesses.check(right, None, start, || Some(1)), Ok(Some(1)));
        // Its own wrong ones count, and it isn't kept for ever.
        for _ in 0..10 {
            assert_eq!(guesses.check(right, None, start, || None::<u8>), WRONG);
        }
        assert!(guesses.check(right, None, start, || Some(1)).is_err());
        let later = start + LATELY;
        assert_eq!(guesses.check(right, None, later, || None::<u8>), WRONG);
        for number in 0..1_000 {
            assert!(
                guesses
                    .check(source(number), None, later, || Some(1))
                    .is_ok()
            );
        }
        assert_eq!(guesses.known.len(), MAX_KNOWN);
        assert!(!guesses.known.contains_key(&(Source::of(right), None)));
    }

    #[test]
    fn networks_of_one_holder_have_a_count_together() {
        let (mut guesses, now) = (Guesses::new(), Instant::now());
        let at =
            |site, network| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, site, network, 0, 0, 0, 1));
        assert_eq!(
            guesses.check(at(1, 999), None, now, || Some(1)),
            Ok(Some(1))
        );
        for network in 0..40 {
            assert_eq!(
                guesses.check(at(1, network), None, now, || None::<u8>),
                WRONG
            );
        }
        let refused = guesses.check(at(1, 40), None, now, || Some(1));
        assert_eq!(refused, Err(NETWORK_INTERVAL));
        assert!(guesses.check(at(2, 40), None, now, || Some(1)).is_ok());
        assert!(guesses.check(at(1, 999), None, now, || Some(1)).is_ok());
        assert_eq!((guesses.of_source.len(), guesses.of_network.len()), (40, 1));
    }

    /// Mallory is a user, and tries Alice's password from where her own was right.
    #[test]
    fn right_credentials_of_one_name_win_no_guesses_at_another() {
        let (mut guesses, now) = (Guesses::new(), Instant::now());
        let (alice, mallory) = (Some(&b"alice"[..]), Some(&b"mallory"[..]));
        let at = |network| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 1, network, 0, 0, 0, 1));
        let right = |guesses: &mut Guesses, from| guesses.check(from, mallory, now, || Some(1));
        assert_eq!(right(&mut guesses, at(0)), Ok(Some(1)));
        // From elsewhere until nobody may try.
        for number in 0..100 {
            let from = source(number);
            assert_eq!(guesses.check(from, alice, now, || None::<u8>), WRONG);
        }
        let refused = guesses.check(at(0), alice, now, || Some(1));
        assert_eq!(refused, Err(NAME_INTERVAL));
        assert_eq!(right(&mut guesses, at(0)), Ok(Some(1)));

        // From many networks of one holder, each of them known: no more than from networks that aren't.
        let mut guesses = Guesses::new();
        for network in 0..20 {
            assert_eq!(right(&mut guesses, at(network)), Ok(Some(1)));
        }
        let mut compared = 0;
        for try_at in (0..20).flat_map(|network| [at(network); 20]) {
            let checked = guesses.check(try_at, alice, now, || None::<u8>);
            compared += usize::from(checked.is_ok());
        }
        assert_eq!(compared, 40);
        assert_eq!(right(&mut guesses, at(3)), Ok(Some(1)));
    }

    /// Wrong ones for the own name count where others' do, so that being forgotten forgives none.
    #[test]
    fn who_is_forgotten_and_right_again_has_no_more_guesses() {
        let (mut guesses, now) = (Guesses::new(), Instant::now());
        let mallory = Some(&b"mallory"[..]);
        assert!(guesses.check(source(0), mallory, now, || Some(1)).is_ok());
        for _ in 0..9 {
            assert_eq!(guesses.check(source(0), mallory, now, || None::<u8>), WRONG);
        }
        let later = now + Duration::from_secs(1);
        let right = |guesses: &mut Guesses, from| guesses.check(from, mallory, later, || Some(1));
        for number in 1..=u32::try_from(MAX_KNOWN).unwrap() {
            assert_eq!(right(&mut guesses, source(number)), Ok(Some(1)));
        }
        let shown = (Source::of(source(0)), mallory.map(hash));
        assert!(!guesses.known.contains_key(&shown));
        assert_eq!(right(&mut guesses, source(0)), Ok(Some(1)));
        let wrong = guesses.check(source(0), mallory, later, || None::<u8>);
        assert_eq!(wrong, WRONG);
        assert!(right(&mut guesses, source(0)).is_err());
    }

    /// One user's password is tried from as many places as there are tries.
    #[test]
    fn name_has_a_count_from_wherever_it_is_tried() {
        let (mut guesses, now) = (Guesses::new(), Instant::now());
        let (alice, right) = (Some(&b"alice"[..]), source(1_000_000));
        assert_eq!(guesses.check(right, alice, now, || Some(1)), Ok(Some(1)));
        for number in 0..100 {
            assert_eq!(
                guesses.check(source(number), alice, now, || None::<u8>),
                WRONG
            );
        }
        let refused = guesses.check(source(100), alice, now, || Some(1));
        assert_eq!(refused, Err(NAME_INTERVAL));
        assert_eq!(guesses.check(right, alice, now, || Some(1)), Ok(Some(1)));
        let other = (0..=u8::MAX).map(|byte| [byte]);
        let other = other
            .into_iter()
            .find(|name| place(name) != place(b"alice"));
        for name in [None, other.as_ref().map(|name| &name[..])] {
            assert!(guesses.check(source(100), name, now, || None::<u8>).is_ok());
        }
    }
}
