//! The sliding window against replay (RFC 6347 §4.1.2.6).

use hedgerow_core::DropReason;

/// Remembers which of the last 64 sequence numbers were verified.
///
/// The window can only be asked and moved together with the verification of a record, so that a
/// forged number can't move it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ReplayWindow {
    /// One past the highest sequence number verified; 0 before the first.
    next: u64,
    /// Bit n: the sequence number `next - 1 - n` was verified.
    seen: u64,
}

/// What the window says of a record that was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified<T> {
    /// What the verification returned.
    pub value: T,
    /// Whether the number is higher than every one before.
    pub newest: bool,
}

impl ReplayWindow {
    /// Width of the window, in sequence numbers.
    pub const WIDTH: u64 = 64;

    /// An empty window.
    pub const fn new() -> Self {
        Self { next: 0, seen: 0 }
    }

    /// Runs `verify` for a record whose number is neither seen nor too old, and marks the number
    /// once `verify` has succeeded.
    ///
    /// # Errors
    ///
    /// [`DropReason::Replayed`] and [`DropReason::TooOld`] without a call of `verify`; otherwise
    /// the reason that `verify` returns, and the window is as it was.
    pub fn verify<T>(
        &mut self,
        sequence_number: u64,
        verify: impl FnOnce() -> Result<T, DropReason>,
    ) -> Result<Verified<T>, DropReason> {
        let highest_plus_one = sequence_number.saturating_add(1);
        if highest_plus_one > self.next {
            let value = verify()?;
            // MUST (RFC 6347 §4.1.2.6): the window moves only once the record is verified;
            // otherwise a forged high number would lock the real peer out.
            let advance = highest_plus_one.saturating_sub(self.next);
            let kept = u32::try_from(advance)
                .ok()
                .and_then(|shift| self.seen.checked_shl(shift))
                .unwrap_or_default();
            self.seen = kept | 1;
            self.next = highest_plus_one;
            return Ok(Verified {
                value,
                newest: true,
            });
        }
        let age = self.next.saturating_sub(highest_plus_one);
        let bit = u32::try_from(age)
            .ok()
            .and_then(|shift| 1_u64.checked_shl(shift))
            .ok_or(DropReason::TooOld)?;
        // MUST (RFC 6347 §4.1.2.6): a number that was verified before is not taken again.
        if self.seen & bit != 0 {
            return Err(DropReason::Replayed);
        }
        let value = verify()?;
        self.seen |= bit;
        Ok(Verified {
            value,
            newest: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn mark(window: &mut ReplayWindow, number: u64) -> Result<bool, DropReason> {
        window.verify(number, || Ok(())).map(|done| done.newest)
    }

    /// RFC 6347 §4.1.2.6.
    #[test]
    fn replayed_number_is_refused_and_a_late_one_accepted_once() {
        let mut window = ReplayWindow::new();
        assert_eq!(mark(&mut window, 0), Ok(true));
        assert_eq!(mark(&mut window, 0), Err(DropReason::Replayed));
        assert_eq!(mark(&mut window, 10), Ok(true));
        assert_eq!(mark(&mut window, 3), Ok(false));
        assert_eq!(mark(&mut window, 3), Err(DropReason::Replayed));
        assert_eq!(mark(&mut window, 10), Err(DropReason::Replayed));
    }

    #[test]
    fn window_is_64_numbers_wide() {
        let mut window = ReplayWindow::new();
        assert_eq!(mark(&mut window, 100), Ok(true));
        assert_eq!(mark(&mut window, 37), Ok(false));
        assert_eq!(mark(&mut window, 36), Err(DropReason::TooOld));
        assert_eq!(mark(&mut window, 164), Ok(true));
        assert_eq!(mark(&mut window, 100), Err(DropReason::TooOld));
        assert_eq!(mark(&mut window, 101), Ok(false));
    }

    /// RFC 6347 §4.1.2.6.
    #[test]
    fn forged_number_moves_nothing() {
        let mut window = ReplayWindow::new();
        mark(&mut window, 5).unwrap();
        let before = window;
        for number in [6, 1_000_000, 4] {
            let forged: Result<Verified<()>, _> =
                window.verify(number, || Err(DropReason::AuthenticationFailed));
            assert_eq!(forged, Err(DropReason::AuthenticationFailed));
            assert_eq!(window, before);
        }
        assert_eq!(mark(&mut window, 6), Ok(true));
    }

    #[test]
    fn highest_number_is_accepted_once() {
        let mut window = ReplayWindow::new();
        assert_eq!(mark(&mut window, crate::MAX_SEQUENCE_NUMBER), Ok(true));
        assert_eq!(
            mark(&mut window, crate::MAX_SEQUENCE_NUMBER),
            Err(DropReason::Replayed)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn window_agrees_with_a_set_of_everything_seen(
            numbers in proptest::collection::vec(0_u64..300, 0..200),
        ) {
            let mut window = ReplayWindow::new();
            let mut seen = BTreeSet::new();
            for number in numbers {
                let highest = seen.last().copied();
                let expected = if seen.contains(&number) && highest.is_some_and(|h| h - number < 64) {
                    Err(DropReason::Replayed)
                } else if highest.is_some_and(|h| h >= number + 64) {
                    Err(DropReason::TooOld)
                } else {
                    seen.insert(number);
                    Ok(highest.is_none_or(|h| number > h))
                };
                prop_assert_eq!(mark(&mut window, number), expected);
            }
        }
    }
}
