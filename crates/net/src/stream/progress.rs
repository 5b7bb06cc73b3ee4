//! Whether a peer takes what waits for it, and not one byte at a time.

use core::time::Duration;

use hedgerow_core::Instant;

/// What a peer takes counts as progress once it comes to this many bytes. Any byte that did would let
/// a peer hold a connection for ever, and what waits for it, at a byte for each stall timeout.
const LEAST_PROGRESS: usize = 1_024;

/// Since when a peer owes progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    since: Instant,
    taken: usize,
}

impl Progress {
    /// Begins when something waits for the peer that has taken everything before.
    pub(super) const fn begin(now: Instant) -> Self {
        Self {
            since: now,
            taken: 0,
        }
    }

    /// Notes that the peer has taken `len` bytes and more is left.
    pub(super) const fn take(&mut self, now: Instant, len: usize) {
        self.taken = self.taken.saturating_add(len);
        if self.taken >= LEAST_PROGRESS {
            *self = Self::begin(now);
        }
    }

    /// Returns when the peer is given up, if it goes on like this.
    pub(super) fn stalled_at(&self, stall_timeout: Duration) -> Instant {
        self.since.saturating_add(stall_timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trickle_is_no_progress_and_a_kibibyte_is() {
        let timeout = Duration::from_secs(30);
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        let mut progress = Progress::begin(at(0));
        for seconds in [1, 15, 29] {
            progress.take(at(seconds), 1);
        }
        assert_eq!(progress.stalled_at(timeout), at(30));
        progress.take(at(29), LEAST_PROGRESS - 3);
        assert_eq!(progress.stalled_at(timeout), at(59));
        progress.take(at(50), LEAST_PROGRESS - 1);
        assert_eq!(progress.stalled_at(timeout), at(59));
    }
}
