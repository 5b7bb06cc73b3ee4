//! The authenticated ciphers with their keys inside.

use alloc::boxed::Box;
use core::fmt;

use hedgerow_core::{Aead, AeadAlgorithm, CryptoError, CryptoProvider};
use hedgerow_crypto_soft::{SoftAead, SoftCrypto};
use ring::aead::{AES_128_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, Tag, UnboundKey};

/// A cipher of [`RingCrypto`](crate::RingCrypto).
///
/// "Less safe" is ring's name for a key whose nonces come from outside: here each protocol builds
/// them in one place from a counter. It takes 192 bytes on x86-64, and ring's ciphers another 544 on
/// the heap.
pub struct RingAead(Keyed);

enum Keyed {
    Soft(SoftAead),
    // Boxed, because a gateway's sessions are mostly CCM and would carry the room for ring's keys.
    Gcm(Box<LessSafeKey>),
    Chacha(Box<LessSafeKey>),
}

impl RingAead {
    /// Puts `key` into a cipher.
    pub(crate) fn new(algorithm: AeadAlgorithm, key: &[u8]) -> Result<Self, CryptoError> {
        algorithm.check_key(key)?;
        let bind = |ring_algorithm| {
            UnboundKey::new(ring_algorithm, key)
                .map(|key| Box::new(LessSafeKey::new(key)))
                .map_err(|_| CryptoError::KeyLength {
                    len: key.len(),
                    expected: algorithm.key_len(),
                })
        };
        Ok(Self(match algorithm {
            AeadAlgorithm::Aes128Gcm => Keyed::Gcm(bind(&AES_128_GCM)?),
            AeadAlgorithm::Chacha20Poly1305 => Keyed::Chacha(bind(&CHACHA20_POLY1305)?),
            _ => Keyed::Soft(SoftCrypto.aead(algorithm, key)?),
        }))
    }
}

impl Aead for RingAead {
    fn algorithm(&self) -> AeadAlgorithm {
        match &self.0 {
            Keyed::Soft(cipher) => cipher.algorithm(),
            Keyed::Gcm(_) => AeadAlgorithm::Aes128Gcm,
            Keyed::Chacha(_) => AeadAlgorithm::Chacha20Poly1305,
        }
    }

    fn seal_in_place(
        &self,
        nonce: &[u8],
        additional_data: &[u8],
        in_out: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), CryptoError> {
        let key = match &self.0 {
            Keyed::Soft(cipher) => {
                return cipher.seal_in_place(nonce, additional_data, in_out, tag);
            }
            Keyed::Gcm(key) | Keyed::Chacha(key) => key,
        };
        self.algorithm().check_lengths(nonce, tag, in_out)?;
        let len = in_out.len();
        let sealed = key
            .seal_in_place_separate_tag(fit_nonce(nonce)?, Aad::from(additional_data), in_out)
            .map_err(|_| CryptoError::InputTooLong { len })?;
        tag.copy_from_slice(sealed.as_ref());
        Ok(())
    }

    fn open_in_place(
        &self,
        nonce: &[u8],
        additional_data: &[u8],
        in_out: &mut [u8],
        tag: &[u8],
    ) -> Result<(), CryptoError> {
        let key = match &self.0 {
            Keyed::Soft(cipher) => {
                return cipher.open_in_place(nonce, additional_data, in_out, tag);
            }
            Keyed::Gcm(key) | Keyed::Chacha(key) => key,
        };
        self.algorithm().check_lengths(nonce, tag, in_out)?;
        let received = Tag::try_from(tag).map_err(|_| CryptoError::TagLength {
            len: tag.len(),
            expected: self.algorithm().tag_len(),
        })?;
        let (nonce, data) = (fit_nonce(nonce)?, Aad::from(additional_data));
        let opened = key.open_in_place_separate_tag(nonce, data, received, in_out, 0..);
        if opened.is_err() {
            // ring zeroes today, but documents the content as unspecified.
            in_out.fill(0);
            return Err(CryptoError::AuthenticationFailed);
        }
        Ok(())
    }
}

impl fmt::Debug for RingAead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RingAead({:?}, ..)", self.algorithm())
    }
}

fn fit_nonce(nonce: &[u8]) -> Result<Nonce, CryptoError> {
    Nonce::try_assume_unique_for_key(nonce).map_err(|_| CryptoError::NonceLength {
        len: nonce.len(),
        expected: ring::aead::NONCE_LEN,
    })
}

#[cfg(test)]
mod tests {
    use std::format;

    use hedgerow_core::AeadAlgorithm;

    use super::RingAead;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn keyed_cipher_takes_192_bytes_and_rings_key_544() {
        assert_eq!(size_of::<RingAead>(), 192);
        assert_eq!(size_of::<ring::aead::LessSafeKey>(), 544);
    }

    #[test]
    fn cipher_prints_its_algorithm_and_no_key() {
        for algorithm in AeadAlgorithm::ALL {
            let key = [0xab; 32];
            let cipher = RingAead::new(algorithm, &key[..algorithm.key_len()]).unwrap();
            assert_eq!(
                format!("{cipher:?}"),
                format!("RingAead({algorithm:?}, ..)")
            );
        }
    }
}
