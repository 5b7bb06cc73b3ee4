//! How a server knows that a request is fresh, RFC 9175 §2.3.

use core::time::Duration;

use hedgerow_coap::{Code, Message, OptionNumber};
use hedgerow_core::{Env, Instant, ct_eq};

use crate::echo::EchoValue;

/// The Echo values that a server has given out under a session, and when: those that can still be young
/// enough, which two are. They are random (RFC 9175 appendix A, item 1), so they tell a client nothing.
///
/// A message with a value was made after the value was. What the session's protection and its replay window
/// don't tell, how long it was held back since, is so known to be less than the value's age.
#[derive(Default)]
pub(crate) struct Freshness {
    current: Option<Made>,
    previous: Option<Made>,
}

#[derive(Clone, Copy)]
struct Made {
    value: [u8; VALUE_LEN],
    at: Instant,
}

impl Freshness {
    /// Says whether a request has a value that is younger than `within`.
    pub(crate) fn shows(&self, now: Instant, within: Duration, message: &Message<'_>) -> bool {
        let Some(echo) = message.option(OptionNumber::ECHO) else {
            return false;
        };
        [self.current, self.previous]
            .into_iter()
            .flatten()
            .filter(|made| made.age(now) < within)
            .any(|made| ct_eq(&made.value, echo.value()))
    }

    /// Returns a value for a challenge. It is good for half of `within` at least.
    pub(crate) fn challenge(&mut self, env: &mut Env<'_>, within: Duration) -> EchoValue {
        let is_young = |made: &Made| made.age(env.now) < within / 2;
        if let Some(current) = self.current.filter(is_young) {
            return EchoValue::own(current.value);
        }
        // Whatever leaves here is older than two halves.
        let mut value = [0; VALUE_LEN];
        env.rng.fill_bytes(&mut value);
        self.previous = self.current.replace(Made { value, at: env.now });
        EchoValue::own(value)
    }
}

impl Made {
    const fn age(&self, now: Instant) -> Duration {
        now.saturating_since(self.at)
    }
}

/// Says whether a method may change something (RFC 7252 §5.1, RFC 8132 §2).
pub(crate) const fn is_unsafe(code: Code) -> bool {
    !matches!(code, Code::GET | Code::FETCH)
}

/// Length of a value, in bytes. Whoever guesses has one chance in 2^64, and needs the session's keys to try.
pub(crate) const VALUE_LEN: usize = 8;
