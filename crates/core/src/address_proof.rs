//! The key of values that prove an address without being remembered.

use core::time::Duration;

use rand_core::CryptoRng;

use crate::{CryptoProvider, HmacSha256, Instant, SHA256_LEN, Secret};

/// How long one key is used. A value is accepted in its own period and the one after it.
const PERIOD: Duration = Duration::from_secs(60);

/// Makes digests over an address and the time that only it can make again.
///
/// Whoever sends such a digest back receives at that address, and nothing was kept of it meanwhile:
/// this is behind DTLS's cookies (RFC 6347 §4.2.1) and Echo values for reachability (RFC 9175 §2.4).
pub struct AddressProofKey(Secret<32>);

impl AddressProofKey {
    /// Draws a key.
    pub fn draw(rng: &mut dyn CryptoRng) -> Self {
        Self(Secret::fill_with(|bytes| rng.fill_bytes(bytes)))
    }

    /// Makes the digest over `parts` in `period`: each counts with its length, so that bytes can't
    /// wander from one to the next. `purpose` is a name of the protocol's own.
    ///
    /// Compare it with [`ct_eq`](crate::ct_eq).
    pub fn digest<P: CryptoProvider>(
        &self,
        provider: &P,
        purpose: &[u8],
        period: ProofPeriod,
        parts: &[&[u8]],
    ) -> [u8; SHA256_LEN] {
        // The key of a period is derived, so that a rotation needs no state that changes.
        let mut hmac = provider.hmac_sha256(self.0.expose());
        hmac.update(purpose);
        hmac.update(&period.0.to_be_bytes());
        let period_key = Secret::<SHA256_LEN>::fill_with(|bytes| *bytes = hmac.finish());

        let mut hmac = provider.hmac_sha256(period_key.expose());
        for part in parts {
            let len = u64::try_from(part.len()).unwrap_or(u64::MAX);
            hmac.update(&len.to_be_bytes());
            hmac.update(part);
        }
        hmac.finish()
    }
}

impl core::fmt::Debug for AddressProofKey {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("AddressProofKey(..)")
    }
}

/// A stretch of 60 seconds in which one key is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProofPeriod(u64);

impl ProofPeriod {
    /// Returns the period of `now`.
    pub fn at(now: Instant) -> Self {
        let micros = u64::try_from(PERIOD.as_micros()).unwrap_or(u64::MAX);
        Self(now.as_micros() / micros)
    }

    /// Returns those whose digests are accepted at `now`, the current one first.
    pub fn accepted(now: Instant) -> [Self; 2] {
        let current = Self::at(now);
        [current, Self(current.0.wrapping_sub(1))]
    }

    /// Returns the lowest byte of the period's number, by which two neighbours are told apart.
    pub const fn low_byte(self) -> u8 {
        let [.., low] = self.0.to_be_bytes();
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn period_is_accepted_until_the_next_one_ends() {
        let made = ProofPeriod::at(Instant::from_micros(59_999_999));
        assert!(ProofPeriod::accepted(Instant::from_micros(119_999_999)).contains(&made));
        assert!(!ProofPeriod::accepted(Instant::from_micros(120_000_000)).contains(&made));
        assert_eq!(
            ProofPeriod::at(Instant::from_micros(60_000_000)).low_byte(),
            1
        );
    }
}
