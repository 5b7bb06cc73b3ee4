//! When a flight is sent again, and when it is given up (RFC 6347 §4.2.4).

use core::time::Duration;

use hedgerow_core::Instant;

use crate::Timers;

/// What has become due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    Retransmit,
    GiveUp,
}

/// When a flight is sent again, and when the handshake is given up.
#[derive(Debug)]
pub(crate) struct FlightTimer {
    timers: Timers,
    timeout: Duration,
    transmissions: u8,
    last_sent: Option<Instant>,
    retransmit_at: Option<Instant>,
    deadline: Instant,
    is_stopped: bool,
    is_answer: bool,
    /// How often the flight was sent again because the peer's came again.
    answers: u8,
}

impl FlightTimer {
    pub(crate) fn new(timers: Timers, now: Instant) -> Self {
        Self {
            timers,
            timeout: timers.initial_timeout,
            transmissions: 0,
            last_sent: None,
            retransmit_at: None,
            deadline: now + timers.deadline,
            is_stopped: false,
            is_answer: false,
            answers: 0,
        }
    }

    pub(crate) fn restart(&mut self) {
        self.timeout = self.timers.initial_timeout;
        self.transmissions = 0;
        self.last_sent = None;
        self.retransmit_at = None;
        self.is_stopped = false;
        self.is_answer = false;
        self.answers = 0;
    }

    pub(crate) fn stop(&mut self) {
        self.retransmit_at = None;
        self.is_stopped = true;
    }

    /// Returns how often the flight was sent by this timer.
    pub(crate) const fn transmissions(&self) -> u8 {
        self.transmissions
    }

    /// Says whether the flight may be sent again because it was packed into datagrams that are too long:
    /// as often as for duplicates, of which these count as some.
    pub(crate) const fn may_repack(&self) -> bool {
        self.answers < self.timers.max_transmissions
    }

    /// Says whether the flight's answer has begun to arrive.
    pub(crate) const fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    pub(crate) const fn answering_duplicate(&mut self) {
        self.is_answer = true;
        self.answers = self.answers.saturating_add(1);
    }

    pub(crate) fn flight_sent(&mut self, now: Instant) {
        // An answer to a duplicate is the peer's attempt, not one of this end's.
        if !core::mem::take(&mut self.is_answer) {
            self.transmissions = self.transmissions.saturating_add(1);
        }
        self.last_sent = Some(now);
        if !self.is_stopped {
            self.retransmit_at = Some(now + self.timeout);
        }
    }

    /// An answer to a duplicate doesn't come more often than every half initial timeout, so that a
    /// burst of duplicates isn't multiplied; and no more often than a peer that goes by the same timers
    /// repeats its flight, since nobody has proved that the duplicates are the peer's.
    pub(crate) fn may_answer_duplicate(&self, now: Instant) -> bool {
        self.answers < self.timers.max_transmissions
            && self
                .last_sent
                .is_none_or(|sent| now.saturating_since(sent) >= self.timers.initial_timeout / 2)
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Due {
        if now >= self.deadline {
            return Due::GiveUp;
        }
        match self.retransmit_at {
            Some(at) if now >= at => {
                if self.transmissions >= self.timers.max_transmissions {
                    return Due::GiveUp;
                }
                // RFC 6347 §4.2.4.1: the timeout doubles, up to a cap.
                self.timeout = self.timeout.saturating_mul(2).min(self.timers.max_timeout);
                self.retransmit_at = None;
                Due::Retransmit
            }
            _ => Due::Nothing,
        }
    }

    /// Returns when [`Self::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Instant {
        self.retransmit_at
            .map_or(self.deadline, |at| at.min(self.deadline))
    }
}
