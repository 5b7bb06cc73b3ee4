//! The retransmission timer, RFC 6298 §2.

use core::time::Duration;

/// Smoothed round-trip time and its variation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RoundTrip(Option<Measured>);

#[derive(Clone, Copy, Debug)]
struct Measured {
    smoothed: Duration,
    variation: Duration,
}

impl RoundTrip {
    /// Takes in a measurement, of a segment that was sent once (RFC 6298 §3).
    pub(crate) fn sample(&mut self, time: Duration) {
        let measured = match self.0 {
            // MUST (RFC 6298 §2.2): the first measurement, and half of it as variation.
            None => Measured {
                smoothed: time,
                variation: time / 2,
            },
            // MUST (RFC 6298 §2.3): variation first, with the old smoothed time.
            Some(Measured {
                smoothed,
                variation,
            }) => Measured {
                variation: (variation / 4).saturating_mul(3) + smoothed.abs_diff(time) / 4,
                smoothed: (smoothed / 8).saturating_mul(7) + time / 8,
            },
        };
        self.0 = Some(measured);
    }

    /// Returns the timer before any back-off; `None` if nothing was measured.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        let measured = self.0?;
        let variation = measured.variation.saturating_mul(4).max(GRANULARITY);
        Some(measured.smoothed.saturating_add(variation))
    }

    /// Returns the smoothed round-trip time.
    pub(crate) fn smoothed(&self) -> Option<Duration> {
        self.0.map(|measured| measured.smoothed)
    }
}

const GRANULARITY: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6298 §2.2 and §2.3, by hand.
    #[test]
    fn timeout_follows_the_measurements() {
        let mut round_trip = RoundTrip::default();
        assert_eq!(round_trip.timeout(), None);
        round_trip.sample(Duration::from_millis(800));
        assert_eq!(
            round_trip.timeout(),
            Some(Duration::from_millis(800 + 4 * 400))
        );
        round_trip.sample(Duration::from_millis(1_600));
        // Variation 3/4 * 400 + 1/4 * 800 = 500; smoothed 7/8 * 800 + 1/8 * 1600 = 900.
        assert_eq!(round_trip.smoothed(), Some(Duration::from_millis(900)));
        assert_eq!(
            round_trip.timeout(),
            Some(Duration::from_millis(900 + 4 * 500))
        );
        for _ in 0..200 {
            round_trip.sample(Duration::from_millis(100));
        }
        let timeout = round_trip.timeout().unwrap();
        assert!(timeout > Duration::from_millis(100) && timeout < Duration::from_millis(110));
    }
}
