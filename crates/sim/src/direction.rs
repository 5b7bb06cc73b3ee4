//! The way from one address to another, and the faults planted on it.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use hedgerow_core::Instant;

use crate::account::bytes;
use crate::conditions::{Copied, below};
use crate::{Account, Address, Conditions, Fate, TestRng};

/// A fault planted on a chosen datagram. Planted faults work beside chance, not instead of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The datagram is dropped.
    Drop,
    /// A second copy arrives.
    Duplicate,
    /// The datagram, with its copy if there is one, takes this much longer.
    Delay(Duration),
    /// A bit is flipped: counted from the first byte's most significant bit, modulo the length.
    FlipBit(usize),
}

/// The way from one address to another.
///
/// A datagram belongs to the direction of the addresses that its ends have themselves, whatever a
/// NAT makes of them.
#[derive(Default)]
pub struct Direction {
    conditions: Option<Conditions>,
    partitions: Vec<Range<Instant>>,
    planted: Vec<Planted>,
    rewrites: Vec<Rewrite>,
    rng: Option<TestRng>,
    pub(crate) account: Account,
}

impl Direction {
    /// Sets conditions that replace the world's.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.conditions = Some(conditions);
    }

    /// Cuts the direction: nothing sent within `times` arrives. What is under way still does.
    pub fn partition(&mut self, times: Range<Instant>) {
        self.partitions.push(times);
    }

    /// Plants a fault on the `n`-th datagram, counted from 0, that is sent from now on.
    pub fn fault(&mut self, n: u64, fault: Fault) {
        self.fault_where(n, fault, |_| true);
    }

    /// Plants a fault on the `n`-th datagram, counted from 0, among those sent from now on that
    /// `matches` chooses by their bytes.
    pub fn fault_where(
        &mut self,
        n: u64,
        fault: Fault,
        matches: impl FnMut(&[u8]) -> bool + 'static,
    ) {
        self.plant(Some(n), fault, Box::new(matches));
    }

    /// Plants a fault on every datagram sent from now on that `matches` chooses by its bytes.
    pub fn fault_each(&mut self, fault: Fault, matches: impl FnMut(&[u8]) -> bool + 'static) {
        self.plant(None, fault, Box::new(matches));
    }

    /// Puts an attacker on the path, who may change every datagram and returns whether he did.
    pub fn rewrite(&mut self, rewrite: impl FnMut(&mut Vec<u8>) -> bool + 'static) {
        self.rewrites.push(Box::new(rewrite));
    }

    /// Returns the counts so far.
    pub const fn account(&self) -> Account {
        self.account
    }

    fn plant(&mut self, n: Option<u64>, fault: Fault, matches: Predicate) {
        self.planted.push(Planted {
            n,
            seen: 0,
            matches,
            fault,
        });
    }

    /// Decides what happens to a datagram sent now.
    pub(crate) fn judge(
        &mut self,
        seed: u64,
        (from, to): (Address, Address),
        now: Instant,
        default: &Conditions,
        datagram: &mut Vec<u8>,
    ) -> Verdict {
        self.account.sent += 1;
        self.account.sent_bytes += bytes(datagram.len());
        // Faults and luck are worked out for every datagram, also for one that is dropped for
        // another reason, so that counting and drawing don't depend on that reason.
        let planted = self.apply_planted(datagram);
        let conditions = self.conditions.as_ref().unwrap_or(default);
        let luck = conditions.draw(|| TestRng::direction(seed, from, to), &mut self.rng);

        let dropped = |fate| Verdict::Dropped {
            fate,
            is_altered: planted.is_altered,
        };
        if self.partitions.iter().any(|times| times.contains(&now)) {
            self.account.partitioned += 1;
            return dropped(Fate::Partitioned);
        }
        if planted.is_dropped {
            self.account.dropped += 1;
            return dropped(Fate::Dropped);
        }
        if datagram.len() > conditions.max_datagram_len {
            self.account.too_long += 1;
            return dropped(Fate::TooLong);
        }
        if luck.is_lost {
            self.account.lost += 1;
            return dropped(Fate::Lost);
        }

        let bits = bytes(datagram.len()).saturating_mul(8);
        let is_corrupted = match luck.flipped {
            Some(place) if bits > 0 => flip(
                datagram,
                usize::try_from(below(place, bits)).unwrap_or_default(),
            ),
            _ => false,
        };
        self.account.corrupted += u64::from(is_corrupted);
        let is_duplicated = luck.is_duplicated || planted.is_duplicated;
        self.account.duplicated += u64::from(is_duplicated);
        let [original, copy] = luck.copies;
        let mut arrival = |copied: Copied| {
            self.account.reordered += u64::from(copied.is_reordered);
            now.saturating_add(copied.delay.saturating_add(planted.delay))
        };
        Verdict::Passed {
            original: arrival(original),
            copy: is_duplicated.then(|| arrival(copy)),
            is_altered: planted.is_altered || is_corrupted,
        }
    }

    fn apply_planted(&mut self, datagram: &mut Vec<u8>) -> Effect {
        let mut effect = Effect::default();
        for planted in &mut self.planted {
            if !planted.fires(datagram) {
                continue;
            }
            self.account.planted += 1;
            match planted.fault {
                Fault::Drop => effect.is_dropped = true,
                Fault::Duplicate => effect.is_duplicated = true,
                Fault::Delay(delay) => effect.delay = effect.delay.saturating_add(delay),
                Fault::FlipBit(bit) => effect.is_altered |= flip(datagram, bit),
            }
        }
        for rewrite in &mut self.rewrites {
            if rewrite(datagram) {
                self.account.planted += 1;
                effect.is_altered = true;
            }
        }
        effect
    }
}

impl fmt::Debug for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direction")
            .field("conditions", &self.conditions)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

/// What a direction makes of a datagram.
pub(crate) enum Verdict {
    Dropped {
        fate: Fate,
        is_altered: bool,
    },
    /// It arrives at `original`, and once more at `copy`.
    Passed {
        original: Instant,
        copy: Option<Instant>,
        is_altered: bool,
    },
}

type Predicate = Box<dyn FnMut(&[u8]) -> bool>;
type Rewrite = Box<dyn FnMut(&mut Vec<u8>) -> bool>;

struct Planted {
    /// The match to fire on, counted from 0; all of them if `None`.
    n: Option<u64>,
    seen: u64,
    matches: Predicate,
    fault: Fault,
}

impl Planted {
    fn fires(&mut self, datagram: &[u8]) -> bool {
        if self.n.is_some_and(|n| self.seen > n) || !(self.matches)(datagram) {
            return false;
        }
        let place = self.seen;
        self.seen += 1;
        self.n.is_none_or(|n| place == n)
    }
}

/// What the faults planted on one datagram come to.
#[derive(Default)]
struct Effect {
    is_dropped: bool,
    is_duplicated: bool,
    is_altered: bool,
    delay: Duration,
}

/// Flips a bit and tells whether there was one.
fn flip(datagram: &mut [u8], bit: usize) -> bool {
    let len = datagram.len();
    if len == 0 {
        return false;
    }
    match datagram.get_mut((bit / 8) % len) {
        Some(byte) => {
            *byte ^= 0x80 >> (bit % 8);
            true
        }
        None => false,
    }
}
