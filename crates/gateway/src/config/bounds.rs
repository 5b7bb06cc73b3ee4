//! Counts and times: what may be said of them, in a file and by a program alike.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::file::set;
use super::table::{Findings, Table};

impl Table<'_> {
    /// Reads a count of places or of anything else that is bounded.
    pub(super) fn count(
        &mut self,
        findings: &mut Findings<'_>,
        name: &'static str,
    ) -> Option<usize> {
        let count = self.integer(findings, name, 1..=65_536);
        count.and_then(|count| usize::try_from(count).ok())
    }

    /// Reads counts over what counts without such lines.
    pub(super) fn counts<const N: usize>(
        &mut self,
        findings: &mut Findings<'_>,
        places: [(&'static str, &mut usize); N],
    ) {
        for (name, place) in places {
            set(place, self.count(findings, name));
        }
    }

    /// Reads times over what counts without such lines.
    pub(super) fn durations<const N: usize>(
        &mut self,
        findings: &mut Findings<'_>,
        places: [(&'static str, &mut Duration); N],
    ) {
        for (name, place) in places {
            set(place, self.duration(findings, name, DURATIONS));
        }
    }
}

/// Checks counts that a program has set.
pub(super) fn check_counts<const N: usize>(
    counts: [(&'static str, usize); N],
    mut fault: impl FnMut(&'static str, &str),
) {
    for (name, count) in counts {
        if !(1..=MAX_COUNT).contains(&count) {
            fault(name, "expected 1 to 65536");
        }
    }
}

/// Checks times that a program has set.
pub(super) fn check_durations<const N: usize>(
    durations: [(&'static str, Duration); N],
    mut fault: impl FnMut(&'static str, &str),
) {
    for (name, duration) in durations {
        if !DURATIONS.contains(&duration) {
            fault(name, "expected 10ms to 24h");
        }
    }
}

/// As many as semaphores, sockets and message IDs can have with room to spare.
const MAX_COUNT: usize = 65_536;

pub(super) const MAX_DURATION: Duration = Duration::from_secs(24 * 3_600);

pub(super) const DURATIONS: RangeInclusive<Duration> = Duration::from_millis(10)..=MAX_DURATION;
