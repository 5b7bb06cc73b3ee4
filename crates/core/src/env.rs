//! What a machine is told about the world at each call.

use core::fmt;

use rand_core::CryptoRng;

use crate::{Instant, UnixTime};

/// The time of a call and the source of its randomness.
///
/// Machines keep neither: a run is repeated by giving the same times and the same random bytes.
pub struct Env<'e> {
    /// The caller's clock at this call.
    pub now: Instant,
    /// The caller's random source, which must be cryptographically secure.
    pub rng: &'e mut dyn CryptoRng,
    /// The wall-clock time, where the caller has one it trusts: certificates are compared with it.
    pub unix_time: Option<UnixTime>,
}

impl<'e> Env<'e> {
    /// Puts the time of a call and its random source together, without wall-clock time.
    pub fn new(now: Instant, rng: &'e mut dyn CryptoRng) -> Self {
        Self {
            now,
            rng,
            unix_time: None,
        }
    }

    /// Adds the wall-clock time.
    #[must_use]
    pub const fn with_unix_time(mut self, unix_time: UnixTime) -> Self {
        self.unix_time = Some(unix_time);
        self
    }
}

impl fmt::Debug for Env<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env")
            .field("now", &self.now)
            .field("unix_time", &self.unix_time)
            .finish_non_exhaustive()
    }
}
