//! The weather of one direction.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand_core::Rng;

use crate::TestRng;

/// What chance does to the datagrams of one direction.
///
/// Probabilities lie between 0 (never) and 1 (always) and are independent of each other. The
/// default is a calm network: a delay of exactly 10 ms and nothing else.
#[derive(Clone, Debug, PartialEq)]
pub struct Conditions {
    /// Time under way, drawn evenly and per copy. A range whose ends differ reorders by itself.
    pub delay: RangeInclusive<Duration>,
    /// Probability that a datagram is lost.
    pub loss: f64,
    /// Probability that a second copy arrives, with a delay of its own.
    pub duplication: f64,
    /// Probability that a copy is held back by [`Self::reordering_delay`].
    pub reordering: f64,
    /// How much longer a copy that is held back takes.
    pub reordering_delay: Duration,
    /// Probability that one bit, anywhere in the datagram, is flipped. No checksum stands between
    /// it and the receiver.
    pub corruption: f64,
    /// The longest UDP payload that gets through, in bytes. The sender isn't told.
    pub max_datagram_len: usize,
}

impl Conditions {
    /// Returns the rough weather that machines are tested in: 20 % loss, 20 % duplication, 20 % of
    /// the copies held back by 500 ms, 10 to 60 ms of delay.
    pub const fn rough() -> Self {
        Self {
            delay: Duration::from_millis(10)..=Duration::from_millis(60),
            loss: 0.2,
            duplication: 0.2,
            reordering: 0.2,
            reordering_delay: Duration::from_millis(500),
            corruption: 0.0,
            max_datagram_len: MAX_UDP_PAYLOAD_LEN,
        }
    }

    /// Tells whether chance has no say.
    fn is_certain(&self) -> bool {
        self.delay.start() >= self.delay.end()
            && [
                self.loss,
                self.duplication,
                self.reordering,
                self.corruption,
            ]
            .iter()
            .all(|&probability| probability <= 0.0)
    }

    /// Draws what happens to the next datagram.
    ///
    /// Every datagram takes the same number of draws, so that its luck depends on its place in its
    /// direction alone: a fault planted on an earlier one doesn't reshuffle it.
    pub(crate) fn draw(&self, rng: impl FnOnce() -> TestRng, slot: &mut Option<TestRng>) -> Luck {
        if self.is_certain() {
            return Luck {
                is_lost: false,
                is_duplicated: false,
                flipped: None,
                copies: [self.copy(0, 0); 2],
            };
        }
        let rng = slot.get_or_insert_with(rng);
        let is_lost = happens(rng.next_u32(), self.loss);
        let is_duplicated = happens(rng.next_u32(), self.duplication);
        let is_corrupted = happens(rng.next_u32(), self.corruption);
        let place = rng.next_u64();
        Luck {
            is_lost,
            is_duplicated,
            flipped: is_corrupted.then_some(place),
            copies: [
                self.copy(rng.next_u64(), rng.next_u32()),
                self.copy(rng.next_u64(), rng.next_u32()),
            ],
        }
    }

    fn copy(&self, delay: u64, reordering: u32) -> Copied {
        let span = self.delay.end().saturating_sub(*self.delay.start());
        let span = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let extra = Duration::from_micros(below(delay, span.saturating_add(1)));
        let is_reordered = happens(reordering, self.reordering);
        let held = if is_reordered {
            self.reordering_delay
        } else {
            Duration::ZERO
        };
        Copied {
            delay: self
                .delay
                .start()
                .saturating_add(extra)
                .saturating_add(held),
            is_reordered,
        }
    }
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(10)..=Duration::from_millis(10),
            loss: 0.0,
            duplication: 0.0,
            reordering: 0.0,
            reordering_delay: Duration::from_millis(500),
            corruption: 0.0,
            max_datagram_len: MAX_UDP_PAYLOAD_LEN,
        }
    }
}

/// What chance has decided for one datagram.
pub(crate) struct Luck {
    pub(crate) is_lost: bool,
    pub(crate) is_duplicated: bool,
    /// Where a bit is flipped: a number to be scaled to the length.
    pub(crate) flipped: Option<u64>,
    /// The original and the copy that may be made of it.
    pub(crate) copies: [Copied; 2],
}

#[derive(Clone, Copy)]
pub(crate) struct Copied {
    pub(crate) delay: Duration,
    pub(crate) is_reordered: bool,
}

/// Scales a draw to 0 up to, not including, `bound`, which is at least 1.
pub(crate) fn below(draw: u64, bound: u64) -> u64 {
    let scaled = (u128::from(draw) * u128::from(bound)) >> 64;
    u64::try_from(scaled).unwrap_or_default()
}

fn happens(draw: u32, probability: f64) -> bool {
    f64::from(draw) < probability * 4_294_967_296.0
}

/// What IPv4 leaves of 65,535 bytes after its own and UDP's header.
const MAX_UDP_PAYLOAD_LEN: usize = 65_507;

#[cfg(test)]
mod tests {
    use super::{below, happens};

    #[test]
    fn probabilities_of_none_and_all_are_exact() {
        assert!(!happens(0, 0.0) && !happens(0, f64::NAN) && !happens(0, -1.0));
        assert!(happens(u32::MAX, 1.0) && happens(0, 1.0));
    }

    #[test]
    fn scaled_draws_reach_both_ends() {
        assert_eq!((below(0, 10), below(u64::MAX, 10)), (0, 9));
        assert_eq!(below(u64::MAX, 1), 0);
    }
}
