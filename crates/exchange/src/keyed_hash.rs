//! A keyed hash for cache keys and entity-tags.

use hedgerow_core::CryptoRng;

/// The key of an association's hashes, drawn at random.
///
/// What is hashed can be chosen by third parties (behind a proxy), so an unkeyed hash would let
/// one make its upload collide with somebody else's.
#[derive(Clone, Copy)]
pub(crate) struct HashKey(u64, u64);

impl core::fmt::Debug for HashKey {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("HashKey(..)")
    }
}

impl HashKey {
    pub(crate) fn new(rng: &mut dyn CryptoRng) -> Self {
        Self(rng.next_u64(), rng.next_u64())
    }

    /// Starts a hash.
    pub(crate) fn hasher(self) -> KeyedHasher {
        KeyedHasher {
            v: [
                self.0 ^ 0x736f_6d65_7073_6575,
                self.1 ^ 0x646f_7261_6e64_6f6d,
                self.0 ^ 0x6c79_6765_6e65_7261,
                self.1 ^ 0x7465_6462_7974_6573,
            ],
            tail: 0,
            len: 0,
        }
    }
}

/// SipHash-2-4 (Aumasson and Bernstein, 2012) over input that comes in pieces.
#[derive(Clone, Debug)]
pub(crate) struct KeyedHasher {
    v: [u64; 4],
    /// Bytes that don't fill a word yet, the first one lowest.
    tail: u64,
    len: u8,
}

impl KeyedHasher {
    /// Takes in `bytes`.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        while !self.len.is_multiple_of(8)
            && let Some((first, rest)) = bytes.split_first()
        {
            self.byte(*first);
            bytes = rest;
        }
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
            self.len = self.len.wrapping_add(8);
        }
        for byte in rest {
            self.byte(*byte);
        }
    }

    /// Takes in a number of four bytes.
    pub(crate) fn update_u32(&mut self, number: u32) {
        self.update(&number.to_le_bytes());
    }

    /// Returns the hash of everything taken in.
    pub(crate) fn finish(mut self) -> u64 {
        self.word(self.tail | (u64::from(self.len) << 56));
        let [_, _, third, _] = &mut self.v;
        *third ^= 0xff;
        for _ in 0..4 {
            self.round();
        }
        let [a, b, c, d] = self.v;
        a ^ b ^ c ^ d
    }

    fn byte(&mut self, byte: u8) {
        self.tail |= u64::from(byte) << (8 * (self.len % 8));
        self.len = self.len.wrapping_add(1);
        if self.len.is_multiple_of(8) {
            self.word(self.tail);
            self.tail = 0;
        }
    }

    fn word(&mut self, word: u64) {
        let [_, _, _, fourth] = &mut self.v;
        *fourth ^= word;
        self.round();
        self.round();
        let [first, ..] = &mut self.v;
        *first ^= word;
    }

    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.v;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.v = [a, b, c, d];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_that_of_the_papers_appendix() {
        // Key 00 01 .. 0f, input 00 01 .. 0e.
        let key = HashKey(0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        let input: std::vec::Vec<u8> = (0..15).collect();
        for split in 0..=15 {
            let mut hasher = key.hasher();
            hasher.update(&input[..split]);
            hasher.update(&input[split..]);
            assert_eq!(hasher.finish(), 0xa129_ca61_49be_45e5);
        }
    }
}
