//! What became of the probes on one carrier.

use std::collections::VecDeque;
use std::time::Duration;

use hedgerow_core::Instant;

use crate::carrier_message::ProbeNumber;

/// The last probes on a UDP carrier: which were lost, and how long the others took.
#[derive(Debug, Default)]
pub(crate) struct ProbeHistory {
    round_trip: RoundTrip,
    /// In the order of their numbers, those that nothing is known of yet and a few late ones.
    under_way: VecDeque<Probe>,
    /// The last that something is known of, the newest last: whether it was lost.
    outcomes: VecDeque<bool>,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    number: ProbeNumber,
    at: Instant,
    /// When it counts as lost; `None` once it does.
    end: Option<Instant>,
}

/// The smoothed round trip and its variation (RFC 6298 §2).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RoundTrip {
    measured: Option<(Duration, Duration)>,
}

impl RoundTrip {
    pub(crate) fn add(&mut self, sample: Duration) {
        self.measured = Some(match self.measured {
            None => (sample, sample / 2),
            Some((smoothed, variation)) => (
                smoothed.saturating_mul(7).saturating_add(sample) / 8,
                variation
                    .saturating_mul(3)
                    .saturating_add(smoothed.abs_diff(sample))
                    / 4,
            ),
        });
    }

    pub(crate) fn smoothed(&self) -> Option<Duration> {
        self.measured.map(|(smoothed, _)| smoothed)
    }

    /// Returns how long an echo is waited for.
    fn timeout(&self) -> Duration {
        self.measured
            .map_or(FIRST_TIMEOUT, |(smoothed, variation)| {
                let timeout =
                    smoothed.saturating_add(variation.saturating_mul(4).max(LEAST_MARGIN));
                timeout.clamp(MIN_TIMEOUT, MAX_TIMEOUT)
            })
    }
}

impl ProbeHistory {
    /// Forgets what became of earlier probes, but not how long they took.
    pub(crate) fn begin(&mut self) {
        self.outcomes.clear();
        for probe in &mut self.under_way {
            probe.end = None;
        }
    }

    pub(crate) fn sent(&mut self, number: ProbeNumber, now: Instant) {
        if self.under_way.len() >= MAX_UNDER_WAY {
            self.under_way.pop_front();
        }
        let end = Some(now + self.round_trip.timeout());
        let at = now;
        self.under_way.push_back(Probe { number, at, end });
    }

    /// Takes an echo in and says whether it came in time; `None` if it answers nothing. One that is
    /// late still tells how slow the way is.
    pub(crate) fn handle_echo(&mut self, now: Instant, number: ProbeNumber) -> Option<bool> {
        let at = self.under_way.iter().position(|it| it.number == number)?;
        let probe = self.under_way.remove(at)?;
        self.round_trip.add(now.saturating_since(probe.at));
        if probe.end.is_some() {
            self.note(false);
        }
        Some(probe.end.is_some())
    }

    /// Counts what is overdue as lost, and says whether there was something.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        let overdue = self
            .under_way
            .iter_mut()
            .filter(|probe| probe.end.is_some_and(|end| end <= now));
        let lost = overdue.map(|probe| probe.end = None).count();
        (0..lost).for_each(|_| self.note(true));
        lost > 0
    }

    /// Returns when the next probe counts as lost.
    pub(crate) fn next_end(&self) -> Option<Instant> {
        self.under_way.iter().filter_map(|probe| probe.end).min()
    }

    /// Returns of how many probes it is known what became of them, 32 at most.
    pub(crate) fn judged(&self) -> usize {
        self.outcomes.len()
    }

    /// Returns how many of those were lost.
    pub(crate) fn lost(&self) -> usize {
        self.outcomes.iter().filter(|&&is_lost| is_lost).count()
    }

    /// Returns how many of them were lost since the last one that wasn't.
    pub(crate) fn lost_in_a_row(&self) -> usize {
        let newest_first = self.outcomes.iter().rev();
        newest_first.take_while(|&&is_lost| is_lost).count()
    }

    pub(crate) fn smoothed(&self) -> Option<Duration> {
        self.round_trip.smoothed()
    }

    fn note(&mut self, is_lost: bool) {
        if self.outcomes.len() >= WINDOW {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back(is_lost);
    }
}

/// How many outcomes are remembered.
const WINDOW: usize = 32;
/// How many probes are waited for, late ones included: more than are sent within the longest timeout.
const MAX_UNDER_WAY: usize = 32;
/// How long an echo is waited for before the first measurement; the least above the round trip, and the
/// bounds, after it.
const FIRST_TIMEOUT: Duration = Duration::from_secs(1);
/// RFC 6298 §2.3 has the granularity of a clock in its place: a steady way isn't overdue at once.
const LEAST_MARGIN: Duration = Duration::from_millis(100);
const MIN_TIMEOUT: Duration = Duration::from_millis(500);
const MAX_TIMEOUT: Duration = Duration::from_secs(2);
