//! Numbers of messages: how they travel, and the one place where a nonce is built.

use hedgerow_core::{
    Aead, AeadAlgorithm, CryptoError, CryptoProvider, EncodeError, Reader, Secret, Writer,
};

/// The most octets that a number has.
pub(crate) const MAX_NUMBER_LEN: usize = 6;

const NONCE_LEN: usize = 12;

/// Returns how many octets a number below 2^48 travels in: the fewest, and at least 1.
pub(crate) fn number_len(number: u64) -> usize {
    let bits = u64::BITS.saturating_sub(number.leading_zeros());
    usize::try_from(bits.div_ceil(8).max(1)).unwrap_or(MAX_NUMBER_LEN)
}

/// Writes a number below 2^48 in [`number_len`] octets.
pub(crate) fn write_number(number: u64, out: &mut Writer<'_>) -> Result<(), EncodeError> {
    let octets = number.to_be_bytes();
    let skipped = octets.len().saturating_sub(number_len(number));
    out.bytes(octets.get(skipped..).unwrap_or_default())
}

/// Reads a number of `len` octets; `None` if there are none, too many, or more than it needs.
pub(crate) fn read_number(reader: &mut Reader<'_>, len: usize) -> Option<u64> {
    if len > MAX_NUMBER_LEN {
        return None;
    }
    let octets = reader.take(len).ok()?;
    let number = octets
        .iter()
        .fold(0, |number: u64, &octet| number << 8 | u64::from(octet));
    (number_len(number) == len).then_some(number)
}

/// A cipher with its key, and the IV that its nonces come from.
pub(crate) struct NumberedKey<A> {
    aead: A,
    iv: Secret<NONCE_LEN>,
}

impl<A: Aead> NumberedKey<A> {
    pub(crate) fn new<P: CryptoProvider<Aead = A>>(
        provider: &P,
        algorithm: AeadAlgorithm,
        key: &[u8],
        iv: &[u8],
    ) -> Result<Self, CryptoError> {
        let iv: &[u8; NONCE_LEN] = iv.try_into().map_err(|_| CryptoError::NonceLength {
            len: iv.len(),
            expected: NONCE_LEN,
        })?;
        Ok(Self {
            aead: provider.aead(algorithm, key)?,
            iv: Secret::fill_with(|bytes| *bytes = *iv),
        })
    }

    /// A key for tests of what doesn't depend on one.
    #[cfg(test)]
    pub(crate) const fn of(aead: A) -> Self {
        Self {
            aead,
            iv: Secret::zeroed(),
        }
    }

    pub(crate) fn tag_len(&self) -> usize {
        self.aead.algorithm().tag_len()
    }

    /// Seals under a number that must never come again.
    pub(crate) fn seal(
        &self,
        number: u64,
        additional_data: &[u8],
        in_out: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.aead
            .seal_in_place(&self.nonce(number), additional_data, in_out, tag)
    }

    pub(crate) fn open(
        &self,
        number: u64,
        additional_data: &[u8],
        in_out: &mut [u8],
        tag: &[u8],
    ) -> Result<(), CryptoError> {
        self.aead
            .open_in_place(&self.nonce(number), additional_data, in_out, tag)
    }

    /// The IV, exclusive-or the number in its last octets.
    fn nonce(&self, number: u64) -> [u8; NONCE_LEN] {
        let mut nonce = *self.iv.expose();
        for (place, octet) in nonce.iter_mut().skip(4).zip(number.to_be_bytes()) {
            *place ^= octet;
        }
        nonce
    }
}
