//! The congestion window of a leg, in bytes: RFC 5681's, in the form that docs/specs/leg.md gives it.

use core::time::Duration;

use hedgerow_core::Instant;

/// How much may be in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Congestion {
    window: u32,
    threshold: u32,
    /// Bytes acknowledged since the window last grew above the threshold.
    acknowledged: u32,
    reduced_at: Option<Instant>,
    growth: Growth,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Growth {
    Additive,
    None,
}

impl Congestion {
    /// Begins with `segments` of `segment` bytes, and grows.
    pub(crate) fn new(segments: u8, segment: u32) -> Self {
        Self {
            window: segment.saturating_mul(u32::from(segments.max(1))),
            threshold: MAX_WINDOW,
            acknowledged: 0,
            reduced_at: None,
            growth: Growth::Additive,
        }
    }

    /// One segment, always.
    pub(crate) fn one_segment(segment: u32) -> Self {
        Self {
            growth: Growth::None,
            ..Self::new(1, segment)
        }
    }

    pub(crate) const fn window(&self) -> u32 {
        self.window
    }

    /// Grows, unless the window wasn't what held the sender back: `in_flight` is what was under way.
    pub(crate) fn acknowledged(&mut self, bytes: u32, in_flight: u32, segment: u32) {
        if self.growth == Growth::None || in_flight < self.window / 2 {
            return;
        }
        if self.window < self.threshold {
            // Two segments at most, since every second one is acknowledged (RFC 3465).
            let grown = bytes.min(segment.saturating_mul(2));
            self.window = self.window.saturating_add(grown);
        } else {
            self.acknowledged = self.acknowledged.saturating_add(bytes);
            if self.acknowledged >= self.window {
                self.acknowledged = 0;
                self.window = self.window.saturating_add(segment);
            }
        }
        self.window = self.window.min(MAX_WINDOW);
    }

    /// Halves after a loss, once per round trip.
    pub(crate) fn lost(
        &mut self,
        now: Instant,
        in_flight: u32,
        segment: u32,
        round_trip: Duration,
    ) {
        let is_recent = self
            .reduced_at
            .is_some_and(|at| now < at.saturating_add(round_trip));
        if self.growth == Growth::None || is_recent {
            return;
        }
        self.reduced_at = Some(now);
        self.threshold = (in_flight / 2).max(segment.saturating_mul(2));
        self.window = self.threshold;
        self.acknowledged = 0;
    }

    /// Falls to one segment after a timeout; the threshold is set at the first one in a row.
    pub(crate) fn timed_out(&mut self, is_first: bool, in_flight: u32, segment: u32) {
        if is_first {
            self.threshold = (in_flight / 2).max(segment.saturating_mul(2));
        }
        self.window = segment;
        self.acknowledged = 0;
    }

    /// Falls back to the initial window after a pause, as in RFC 5681.
    pub(crate) fn idle(&mut self, segments: u8, segment: u32) {
        let initial = segment.saturating_mul(u32::from(segments.max(1)));
        self.window = self.window.min(initial);
    }
}

/// 4 MiB, more than the streams of a leg can fill.
const MAX_WINDOW: u32 = 1 << 22;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_doubles_then_grows_by_a_segment_and_halves_at_a_loss() {
        let (mut congestion, now) = (Congestion::new(2, 100), Instant::from_micros(5));
        let round = |congestion: &mut Congestion| {
            let in_flight = congestion.window();
            for _ in 0..in_flight / 100 {
                congestion.acknowledged(100, in_flight, 100);
            }
            congestion.window()
        };
        assert_eq!(round(&mut congestion), 400);
        assert_eq!(round(&mut congestion), 800);
        congestion.lost(now, 800, 100, Duration::from_secs(1));
        assert_eq!(congestion.window(), 400);
        congestion.lost(now, 400, 100, Duration::from_secs(1));
        assert_eq!(congestion.window(), 400, "once per round trip");
        assert_eq!(round(&mut congestion), 500);
        congestion.timed_out(true, 500, 100);
        assert_eq!(congestion.window(), 100);
        congestion.timed_out(false, 100, 100);
        assert_eq!(round(&mut congestion), 200);
        assert_eq!(round(&mut congestion), 300, "above the threshold of 250");
    }

    #[test]
    fn sender_that_lacks_bytes_earns_no_window() {
        let mut congestion = Congestion::new(4, 100);
        congestion.acknowledged(100, 100, 100);
        assert_eq!(congestion.window(), 400);
    }

    #[test]
    fn one_segment_stays_one_segment() {
        let mut congestion = Congestion::one_segment(100);
        congestion.acknowledged(100, 100, 100);
        congestion.lost(Instant::ZERO, 100, 100, Duration::ZERO);
        congestion.timed_out(true, 100, 100);
        assert_eq!(congestion.window(), 100);
    }
}
