//! The provider itself.

use hedgerow_core::{AeadAlgorithm, CryptoError, CryptoProvider, HmacSha256, SHA256_LEN};
use hkdf::Hkdf;

use crate::{SoftAead, SoftHmacSha256, SoftSha256};

/// Every algorithm of [`CryptoProvider`] in Rust, with AES and SHA instructions where the
/// processor has them. It holds nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct SoftCrypto;

impl CryptoProvider for SoftCrypto {
    type Aead = SoftAead;
    type Sha256 = SoftSha256;
    type HmacSha256 = SoftHmacSha256;

    fn aead(&self, algorithm: AeadAlgorithm, key: &[u8]) -> Result<SoftAead, CryptoError> {
        SoftAead::new(algorithm, key)
    }

    fn sha256(&self) -> SoftSha256 {
        SoftSha256::default()
    }

    fn hmac_sha256(&self, key: &[u8]) -> SoftHmacSha256 {
        SoftHmacSha256::new(key)
    }

    fn hkdf_extract(&self, salt: &[u8], input_key: &[u8], key: &mut [u8; SHA256_LEN]) {
        // RFC 5869 §2.2: Extract is one HMAC, keyed by the salt. An empty salt counts as zeros,
        // which is what HMAC makes of it.
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
        // A key as long as the hash is never too short for the library (RFC 5869 §2.3).
        Hkdf::<sha2::Sha256>::from_prk(key)
            .map_err(|_| CryptoError::KeyLength {
                len: key.len(),
                expected: SHA256_LEN,
            })?
            .expand(info, output)
            .map_err(|_| too_long)
    }
}
