//! Time, as the caller's clocks give it: monotonic for timers, wall-clock time for certificates.

use core::ops::Add;
use core::time::Duration;

/// A point on the caller's monotonic clock, in microseconds since an origin of the caller's choice.
///
/// Two instants of different clocks must not be compared. Wall-clock time is another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The clock's origin.
    pub const ZERO: Self = Self(0);

    /// Makes an instant `micros` microseconds after the clock's origin.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Returns the microseconds since the clock's origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Returns how long after `earlier` this instant is, or zero if it is not later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Returns the instant `duration` later; past the end of the clock it stays at the end.
    pub fn saturating_add(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        self.saturating_add(duration)
    }
}

/// A point in wall-clock time, in seconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(u64);

impl UnixTime {
    /// Makes a time `secs` seconds after 1970 began.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs)
    }

    /// Returns the seconds since 1970 began.
    pub const fn as_secs(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difference_of_instants_is_a_duration_and_never_negative() {
        let early = Instant::from_micros(1_000);
        let late = early + Duration::from_millis(2);
        assert_eq!(late.saturating_since(early), Duration::from_millis(2));
        assert_eq!(early.saturating_since(late), Duration::ZERO);
    }

    #[test]
    fn adding_past_the_end_of_the_clock_saturates() {
        assert_eq!(
            Instant::from_micros(u64::MAX) + Duration::MAX,
            Instant::from_micros(u64::MAX)
        );
    }
}
