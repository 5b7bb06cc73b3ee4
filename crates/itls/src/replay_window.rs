//! The window against replay, as DTLS has it (RFC 6347 §4.1.2.6).
//!
//! Rooms of one floor don't know each other, so that this isn't the one in `record`.

use hedgerow_core::DropReason;

/// Remembers which of the last 64 numbers were verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct ReplayWindow {
    /// One past the highest number verified; 0 before the first.
    next: u64,
    /// Bit n: the number `next - 1 - n` was verified.
    seen: u64,
}

impl ReplayWindow {
    /// Runs `verify` for a number that is neither seen nor too old, and marks the number once
    /// `verify` has succeeded: a forged number moves nothing. Returns whether it is the highest.
    pub(crate) fn verify(
        &mut self,
        number: u64,
        verify: impl FnOnce() -> Result<(), DropReason>,
    ) -> Result<bool, DropReason> {
        let after = number.saturating_add(1);
        if after > self.next {
            verify()?;
            let advance = u32::try_from(after.saturating_sub(self.next)).ok();
            let kept = advance.and_then(|advance| self.seen.checked_shl(advance));
            self.seen = kept.unwrap_or_default() | 1;
            self.next = after;
            return Ok(true);
        }
        let age = u32::try_from(self.next.saturating_sub(after)).ok();
        let bit = age
            .and_then(|age| 1_u64.checked_shl(age))
            .ok_or(DropReason::TooOld)?;
        if self.seen & bit != 0 {
            return Err(DropReason::Replayed);
        }
        verify()?;
        self.seen |= bit;
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forged_number_moves_nothing() {
        let mut window = ReplayWindow::default();
        assert_eq!(window.verify(5, || Ok(())), Ok(true));
        let before = window;
        for number in [4, 6, 1 << 40] {
            let forged = window.verify(number, || Err(DropReason::AuthenticationFailed));
            assert_eq!(forged, Err(DropReason::AuthenticationFailed));
            assert_eq!(window, before);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn window_agrees_with_a_set_of_everything_seen(
            numbers in proptest::collection::vec(0_u64..300, 0..200),
        ) {
            let mut window = ReplayWindow::default();
            let mut seen = BTreeSet::new();
            for number in numbers {
                let highest = seen.last().copied();
                let expected = match highest {
                    Some(highest) if highest >= number + 64 => Err(DropReason::TooOld),
                    _ if seen.contains(&number) => Err(DropReason::Replayed),
                    _ => Ok(highest.is_none_or(|highest| number > highest)),
                };
                prop_assert_eq!(window.verify(number, || Ok(())), expected);
                if expected.is_ok() {
                    seen.insert(number);
                }
            }
        }
    }
}
