//! Randomness that a seed repeats.

use std::convert::Infallible;
use std::fmt;

use chacha20::ChaCha8Rng;
use rand_core::{SeedableRng, TryCryptoRng, TryRng};

use crate::Address;

/// A `CryptoRng` whose whole output follows from a seed: for tests, never for keys in use.
///
/// Whoever knows the 64-bit seed knows every byte. Different streams of one seed are independent.
pub struct TestRng(ChaCha8Rng);

impl TestRng {
    /// Makes the generator of `seed`, which shares nothing with the streams of [`Self::stream`].
    pub fn new(seed: u64) -> Self {
        Self::keyed(seed, Purpose::Plain, [0; 16])
    }

    /// Makes one of 2^64 generators that belong to the same seed. A [`World`](crate::World) gives
    /// its n-th node, counted from 0, the stream n.
    pub fn stream(seed: u64, stream: u64) -> Self {
        Self::keyed(seed, Purpose::Stream, u128::from(stream).to_be_bytes())
    }

    pub(crate) fn direction(seed: u64, from: Address, to: Address) -> Self {
        let [a, b, c, d, e, f] = *from.as_bytes();
        let [g, h, i, j, k, l] = *to.as_bytes();
        let label = [a, b, c, d, e, f, g, h, i, j, k, l, 0, 0, 0, 0];
        Self::keyed(seed, Purpose::Direction, label)
    }

    /// Puts seed, purpose and label side by side into the cipher's key, so that no two generators
    /// that differ in any of them share a key.
    fn keyed(seed: u64, purpose: Purpose, label: [u8; 16]) -> Self {
        let mut key = [0; 32];
        let (left, right) = key.split_at_mut(16);
        right.copy_from_slice(&label);
        let (number, rest) = left.split_at_mut(8);
        number.copy_from_slice(&seed.to_be_bytes());
        rest.fill(match purpose {
            Purpose::Plain => 1,
            Purpose::Stream => 2,
            Purpose::Direction => 3,
        });
        Self(ChaCha8Rng::from_seed(key))
    }
}

impl TryRng for TestRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.0.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0.try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.try_fill_bytes(bytes)
    }
}

impl TryCryptoRng for TestRng {}

impl fmt::Debug for TestRng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TestRng(..)")
    }
}

enum Purpose {
    Plain,
    Stream,
    Direction,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand_core::Rng;

    use super::{Address, TestRng};

    #[test]
    fn a_seed_repeats_and_everything_else_differs() {
        let (a, b) = (Address::new(1, 1), Address::new(2, 2));
        let first = |mut rng: TestRng| rng.next_u64();
        assert_eq!(first(TestRng::new(7)), first(TestRng::new(7)));
        assert_eq!(first(TestRng::stream(7, 3)), first(TestRng::stream(7, 3)));
        let distinct: BTreeSet<u64> = [
            first(TestRng::new(7)),
            first(TestRng::new(8)),
            first(TestRng::stream(7, 0)),
            first(TestRng::stream(7, 1)),
            first(TestRng::stream(8, 0)),
            first(TestRng::direction(7, a, b)),
            first(TestRng::direction(7, b, a)),
            first(TestRng::direction(8, a, b)),
        ]
        .into();
        assert_eq!(distinct.len(), 8);
    }

    #[test]
    fn it_serves_as_the_randomness_of_an_env() {
        let mut rng = TestRng::new(1);
        let env = hedgerow_core::Env::new(hedgerow_core::Instant::ZERO, &mut rng);
        let mut bytes = [0; 32];
        env.rng.fill_bytes(&mut bytes);
        assert_ne!(bytes, [0; 32]);
    }
}
