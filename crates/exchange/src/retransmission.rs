//! The timer of one Confirmable message, RFC 7252 §4.2.

use core::time::Duration;

use hedgerow_core::{CryptoRng, Instant};

use crate::TransmissionParameters;

/// How often a Confirmable message was sent and when it is due again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retransmission {
    transmissions: u16,
    timeout: Duration,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// To be sent at the next chance.
    Due,
    /// Sent; the wait ends then.
    ExpectAcknowledgement(Instant),
}

/// What the end of a wait means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// The wait isn't over.
    Waiting,
    /// The message is due again.
    Due,
    /// The message was sent as often as it may be.
    GivenUp,
}

impl Retransmission {
    /// Begins with a message that is due for the first time.
    pub(crate) fn new(parameters: &TransmissionParameters, rng: &mut dyn CryptoRng) -> Self {
        Self {
            transmissions: 0,
            timeout: parameters.initial_timeout(rng),
            state: State::Due,
        }
    }

    /// Says whether the message is to be sent.
    pub(crate) const fn is_due(&self) -> bool {
        matches!(self.state, State::Due)
    }

    /// Notes that the message was sent.
    pub(crate) fn sent(&mut self, now: Instant) {
        // MUST (RFC 7252 §4.2): the wait doubles with every retransmission.
        if self.transmissions > 0 {
            self.timeout = self.timeout.saturating_mul(2);
        }
        self.transmissions = self.transmissions.saturating_add(1);
        self.state = State::ExpectAcknowledgement(now.saturating_add(self.timeout));
    }

    /// Looks whether the wait is over at `now`.
    pub(crate) fn expire(&mut self, now: Instant, max_retransmit: u8) -> Expiry {
        match self.state {
            State::ExpectAcknowledgement(until) if until <= now => {
                if self.transmissions > u16::from(max_retransmit) {
                    return Expiry::GivenUp;
                }
                self.state = State::Due;
                Expiry::Due
            }
            State::Due | State::ExpectAcknowledgement(_) => Expiry::Waiting,
        }
    }

    /// Returns when the wait is over.
    pub(crate) const fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Due => None,
            State::ExpectAcknowledgement(until) => Some(until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_rng::TestRng;

    #[test]
    fn waits_double_and_end_after_max_retransmit() {
        let parameters = TransmissionParameters {
            ack_random_percent: 100,
            ..TransmissionParameters::default()
        };
        let mut timer = Retransmission::new(&parameters, &mut TestRng::new(1));
        let mut now = Instant::ZERO;
        let mut waits = std::vec::Vec::new();
        loop {
            assert!(timer.is_due());
            timer.sent(now);
            let until = timer.poll_timeout().unwrap();
            waits.push(until.saturating_since(now).as_secs());
            let early = Instant::from_micros(until.as_micros() - 1);
            assert_eq!(timer.expire(early, 4), Expiry::Waiting);
            now = until;
            if timer.expire(now, 4) == Expiry::GivenUp {
                break;
            }
        }
        assert_eq!(waits, [2, 4, 8, 16, 32]);
    }

    #[test]
    fn even_the_largest_max_retransmit_ends() {
        let parameters = TransmissionParameters::default();
        let mut timer = Retransmission::new(&parameters, &mut TestRng::new(1));
        let late = Instant::from_micros(u64::MAX);
        for _ in 0..u8::MAX {
            timer.sent(Instant::ZERO);
            assert_eq!(timer.expire(late, u8::MAX), Expiry::Due);
        }
        timer.sent(Instant::ZERO);
        assert_eq!(timer.expire(late, u8::MAX), Expiry::GivenUp);
    }

    #[test]
    fn without_retransmission_one_transmission_is_all() {
        let parameters = TransmissionParameters::default();
        let mut timer = Retransmission::new(&parameters, &mut TestRng::new(1));
        timer.sent(Instant::ZERO);
        let late = Instant::ZERO + Duration::from_secs(4);
        assert_eq!(timer.expire(late, 0), Expiry::GivenUp);
    }
}
