//! What a machine is told about the world at each call.

use core::fmt;

use rand_core::CryptoRng;

use crate::Instant;

/// The time of a call and the source of its randomness.
///
/// Machines keep neither: a run is repeated by giving the same times and the same random bytes.
pub struct Env<'e> {
    /// The caller's clock at this call.
    pub now: Instant,
    /// The caller's random source, which must be cryptographically secure.
    pub rng: &'e mut dyn CryptoRng,
}

impl<'e> Env<'e> {
    /// Puts the time of a call and its random source together.
    pub fn new(now: Instant, rng: &'e mut dyn CryptoRng) -> Self {
        Self { now, rng }
    }
}

impl fmt::Debug for Env<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env")
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}
