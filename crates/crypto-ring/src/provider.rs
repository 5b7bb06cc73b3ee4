//! The provider itself.

use hedgerow_core::{AeadAlgorithm, CryptoError, CryptoProvider, HmacSha256, SHA256_LEN};
use ring::hkdf;

use crate::{RingAead, RingHmacSha256, RingSha256};

/// ring's algorithms, and AES-CCM from `hedgerow-crypto-soft`. It holds nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct RingCrypto;

impl CryptoProvider for RingCrypto {
    type Aead = RingAead;
    type Sha256 = RingSha256;
    type HmacSha256 = RingHmacSha256;

    fn aead(&self, algorithm: AeadAlgorithm, key: &[u8]) -> Result<RingAead, CryptoError> {
        RingAead::new(algorithm, key)
    }

    fn sha256(&self) -> RingSha256 {
        RingSha256::new()
    }

    fn hmac_sha256(&self, key: &[u8]) -> RingHmacSha256 {
        RingHmacSha256::new(key)
    }

    fn hkdf_extract(&self, salt: &[u8], input_key: &[u8], key: &mut [u8; SHA256_LEN]) {
        // RFC 5869 §2.2: Extract is one HMAC, keyed by the salt. ring's own type for it doesn't
        // hand out the key.
        let mut hmac = self.hmac_sha256(salt);
        hmac.update(input_key);
        *key = hmac.finish();
    }

    fn hkdf_expand(
        &self,
        key: &[u8; SHA256_LEN],
        info: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        let too_long = CryptoError::OutputTooLong {
            len: output.len(),
            max: 255 * SHA256_LEN,
        };
        hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, key)
            .expand(&[info], OutputLen(output.len()))
            .and_then(|keying_material| keying_material.fill(output))
            .map_err(|_| too_long)
    }
}

/// How many bytes ring is asked for.
struct OutputLen(usize);

impl hkdf::KeyType for OutputLen {
    fn len(&self) -> usize {
        self.0
    }
}
