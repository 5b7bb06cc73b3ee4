//! Message IDs of this end, RFC 7252 §4.4.

use core::time::Duration;

use hedgerow_coap::MessageId;
use hedgerow_core::{CryptoRng, Instant};

/// Hands out message IDs: a random one first, then one after the other, none twice within a
/// lifetime.
///
/// Random IDs would collide after some 300 (the birthday bound of 16 bits). When an ID was used is
/// remembered per run of 4,096 IDs, by the newest of the run: so none comes back too early, and a
/// whole turn of 65,536 is had at once where the peer is quick.
#[derive(Debug)]
pub(crate) struct MessageIds {
    start: MessageId,
    /// How far the next ID lies behind `start`.
    offset: u16,
    /// When the IDs of each run are free again.
    free_at: [Instant; RUNS],
}

impl MessageIds {
    pub(crate) fn new(rng: &mut dyn CryptoRng) -> Self {
        let [a, b, ..] = rng.next_u64().to_le_bytes();
        Self {
            start: MessageId(u16::from_le_bytes([a, b])),
            offset: 0,
            free_at: [Instant::ZERO; RUNS],
        }
    }

    /// Returns when the next ID is free, which may be in the past.
    pub(crate) fn next_free_at(&self) -> Instant {
        // Within a run the IDs ahead of the offset are older than a whole turn.
        if self.offset.is_multiple_of(RUN_LEN) {
            self.run().copied().unwrap_or_default()
        } else {
            Instant::ZERO
        }
    }

    /// Takes the next ID for `lifetime`; `None` if all were used within theirs.
    ///
    /// MUST (RFC 7252 §4.4): an ID isn't reused within EXCHANGE_LIFETIME.
    pub(crate) fn allocate(&mut self, now: Instant, lifetime: Duration) -> Option<MessageId> {
        if now < self.next_free_at() {
            return None;
        }
        let id = MessageId(self.start.0.wrapping_add(self.offset));
        let index = usize::from(self.offset / RUN_LEN);
        if let Some(free_at) = self.free_at.get_mut(index) {
            *free_at = now.saturating_add(lifetime);
        }
        self.offset = self.offset.wrapping_add(1);
        Some(id)
    }

    /// Takes one of the next 2,048 IDs at random, so that the peer can't tell it beforehand; those
    /// before it stay unused. `None` as in [`Self::allocate`].
    pub(crate) fn allocate_unpredictable(
        &mut self,
        now: Instant,
        lifetime: Duration,
        rng: &mut dyn CryptoRng,
    ) -> Option<MessageId> {
        let [low, high, ..] = rng.next_u64().to_le_bytes();
        let skipped = u16::from_le_bytes([low, high]) % MAX_SKIPPED;
        let before = self.offset;
        let after = before.wrapping_add(skipped);
        // What is skipped to may be another run, or the first of this one.
        let is_begun = before / RUN_LEN == after / RUN_LEN && !before.is_multiple_of(RUN_LEN);
        self.offset = after;
        let is_free = is_begun || self.run().is_none_or(|&free_at| now >= free_at);
        let id = is_free.then(|| self.allocate(now, lifetime)).flatten();
        if id.is_none() {
            self.offset = before;
        }
        id
    }

    fn run(&self) -> Option<&Instant> {
        self.free_at.get(usize::from(self.offset / RUN_LEN))
    }
}

const RUN_LEN: u16 = 4_096;

const RUNS: usize = 16;

/// How many IDs an unpredictable one is drawn from; no more than a run has.
const MAX_SKIPPED: u16 = 2_048;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::test_rng::TestRng;

    const LIFETIME: Duration = Duration::from_secs(247);

    #[test]
    fn all_65536_ids_are_had_at_once_and_then_none_until_the_lifetime_ends() {
        let mut ids = MessageIds::new(&mut TestRng::new(1));
        let now = Instant::from_micros(5);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..65_536 {
            assert!(seen.insert(ids.allocate(now, LIFETIME).unwrap()));
        }
        assert_eq!(ids.allocate(now, LIFETIME), None);
        let free = ids.next_free_at();
        assert_eq!(free, now + LIFETIME);
        let before = Instant::from_micros(free.as_micros() - 1);
        assert_eq!(ids.allocate(before, LIFETIME), None);
        assert!(ids.allocate(free, LIFETIME).is_some());
    }

    #[test]
    fn no_id_is_reused_within_its_lifetime_at_any_rate() {
        for step_micros in [100, 3_000, 4_000, 10_000] {
            let mut ids = MessageIds::new(&mut TestRng::new(step_micros));
            let mut used: HashMap<MessageId, Instant> = HashMap::new();
            let mut now = Instant::ZERO;
            for _ in 0..200_000 {
                now = now + Duration::from_micros(step_micros);
                if let Some(id) = ids.allocate(now, LIFETIME)
                    && let Some(earlier) = used.insert(id, now)
                {
                    assert!(now.saturating_since(earlier) >= LIFETIME);
                }
            }
        }
    }

    #[test]
    fn unpredictable_ids_are_ahead_and_none_is_reused_within_its_lifetime() {
        let mut rng = TestRng::new(7);
        for step_micros in [100, 4_000, 50_000, 8_000_000] {
            let mut ids = MessageIds::new(&mut TestRng::new(step_micros));
            let mut used: HashMap<MessageId, Instant> = HashMap::new();
            let mut now = Instant::ZERO;
            let mut refused = 0;
            for n in 0..20_000 {
                now = now + Duration::from_micros(step_micros);
                let before = ids.start.0.wrapping_add(ids.offset);
                let id = match n % 3 {
                    0 => ids.allocate_unpredictable(now, LIFETIME, &mut rng),
                    _ => ids.allocate(now, LIFETIME),
                };
                let Some(id) = id else {
                    assert_eq!(ids.start.0.wrapping_add(ids.offset), before);
                    refused += 1;
                    continue;
                };
                assert!(id.0.wrapping_sub(before) < MAX_SKIPPED);
                if let Some(earlier) = used.insert(id, now) {
                    assert!(now.saturating_since(earlier) >= LIFETIME);
                }
            }
            // At eight seconds each there is room for all of them.
            assert_eq!(refused == 0, step_micros == 8_000_000);
        }
    }

    #[test]
    fn ids_start_at_random_and_then_count() {
        let mut first = MessageIds::new(&mut TestRng::new(1));
        let mut second = MessageIds::new(&mut TestRng::new(2));
        let id = first.allocate(Instant::ZERO, LIFETIME).unwrap();
        assert_ne!(Some(id), second.allocate(Instant::ZERO, LIFETIME));
        assert_eq!(first.allocate(Instant::ZERO, LIFETIME), Some(id.next()));
    }
}
