//! A few ranges of positions, in order: what arrived out of order, and what was acknowledged so.

use core::ops::Range;

/// Up to [`MAX_RANGES`] ranges, sorted, neither empty nor touching each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(heapless::Vec<Range<u32>, MAX_RANGES>);

impl Ranges {
    /// No range.
    pub const fn new() -> Self {
        Self(heapless::Vec::new())
    }

    /// Adds the positions from `start` to before `end`. It says whether there was room; if not,
    /// nothing changed. An empty range changes nothing.
    pub fn insert(&mut self, start: u32, end: u32) -> bool {
        if start >= end {
            return true;
        }
        let mut merged = start..end;
        let mut others = Self::new();
        for range in &self.0 {
            if range.end < merged.start || merged.end < range.start {
                // It was in a list of this size, so it fits.
                let _ = others.0.push(range.clone());
            } else {
                merged = merged.start.min(range.start)..merged.end.max(range.end);
            }
        }
        let at = others.0.iter().position(|range| range.start > merged.end);
        let at = at.unwrap_or(others.0.len());
        if others.0.insert(at, merged).is_err() {
            return false;
        }
        *self = others;
        true
    }

    /// Forgets what lies before `position`.
    pub fn remove_before(&mut self, position: u32) {
        self.0.retain(|range| range.end > position);
        if let Some(first) = self.0.first_mut() {
            first.start = first.start.max(position);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Lends the ranges, lowest first.
    pub fn as_slice(&self) -> &[Range<u32>] {
        &self.0
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns how many positions from `start` to before `end` are covered.
    pub fn covered(&self, start: u32, end: u32) -> u32 {
        let within = self.0.iter().map(|range| {
            let low = range.start.max(start);
            range.end.min(end).saturating_sub(low)
        });
        within.fold(0, u32::saturating_add)
    }

    /// Returns the first stretch from `start` to before `end` that isn't covered, if there is one.
    pub fn first_missing(&self, start: u32, end: u32) -> Option<Range<u32>> {
        let mut from = start;
        for range in &self.0 {
            if range.end <= from {
                continue;
            }
            if range.start > from {
                let until = range.start.min(end);
                return (from < until).then_some(from..until);
            }
            from = range.end;
        }
        (from < end).then_some(from..end)
    }
}

/// The most ranges kept, and the most blocks of an acknowledgement.
pub const MAX_RANGES: usize = 4;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fifth_range_is_refused_and_one_that_joins_two_is_not() {
        let mut ranges = Ranges::new();
        for start in [10, 20, 30, 40] {
            assert!(ranges.insert(start, start + 5));
        }
        let before = ranges.clone();
        assert!(!ranges.insert(50, 55));
        assert_eq!(ranges, before);
        assert!(ranges.insert(15, 20));
        assert_eq!(ranges.as_slice(), [10..25, 30..35, 40..45]);
        assert!(ranges.insert(50, 50));
        assert_eq!(ranges.first_missing(10, 50), Some(25..30));
        assert_eq!(ranges.first_missing(12, 25), None);
        assert_eq!(ranges.covered(20, 42), 5 + 5 + 2);
        ranges.remove_before(32);
        assert_eq!(ranges.as_slice(), [32..35, 40..45]);
    }

    proptest! {
        #[test]
        fn ranges_are_the_set_of_their_positions(
            inserts in proptest::collection::vec((0_u32..60, 0_u32..12), 0..12),
            cut in 0_u32..60,
            (from, len) in (0_u32..60, 0_u32..30),
        ) {
            let mut ranges = Ranges::new();
            let mut set = BTreeSet::new();
            for (start, len) in inserts {
                if ranges.insert(start, start + len) {
                    set.extend(start..start + len);
                }
            }
            ranges.remove_before(cut);
            set.retain(|position| *position >= cut);
            let positions: BTreeSet<u32> =
                ranges.as_slice().iter().flat_map(Clone::clone).collect();
            prop_assert_eq!(&positions, &set);
            prop_assert!(ranges.as_slice().windows(2).all(|pair| pair[0].end < pair[1].start));
            let until = from + len;
            let covered = (from..until).filter(|position| set.contains(position)).count();
            prop_assert_eq!(ranges.covered(from, until), u32::try_from(covered).unwrap());
            let first = (from..until).find(|position| !set.contains(position));
            let missing = ranges.first_missing(from, until);
            prop_assert_eq!(missing.as_ref().map(|range| range.start), first);
            if let Some(missing) = missing {
                prop_assert!(missing.clone().all(|position| !set.contains(&position)));
                prop_assert!(missing.end == until || set.contains(&missing.end));
            }
        }
    }
}
