//! P-256 keys as bytes.

use hedgerow_core::{CryptoError, CryptoRng, Secret};
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{PublicKey, SecretKey};

const PRIVATE_KEY_LEN: usize = 32;
/// One byte for the form, then both coordinates.
const UNCOMPRESSED_POINT_LEN: usize = 65;
const UNCOMPRESSED: u8 = 0x04;
/// A draw is out of range once in 2^32, so that a source which fails this often is broken.
const DRAWS: usize = 8;

/// Draws a private key by rejection, in a bounded number of tries.
pub(crate) fn generate(rng: &mut dyn CryptoRng) -> Result<SecretKey, CryptoError> {
    for _ in 0..DRAWS {
        let candidate = Secret::<PRIVATE_KEY_LEN>::fill_with(|bytes| rng.fill_bytes(bytes));
        if let Ok(key) = private(candidate.expose()) {
            return Ok(key);
        }
    }
    Err(CryptoError::InvalidPrivateKey)
}

/// Reads a private key: 32 bytes, big-endian, in 1 to the group's order - 1.
pub(crate) fn private(bytes: &[u8]) -> Result<SecretKey, CryptoError> {
    // The library would also take shorter ones.
    if bytes.len() != PRIVATE_KEY_LEN {
        return Err(CryptoError::KeyLength {
            len: bytes.len(),
            expected: PRIVATE_KEY_LEN,
        });
    }
    SecretKey::from_slice(bytes).map_err(|_| CryptoError::InvalidPrivateKey)
}

/// Reads a public key and checks that it is a point of the curve.
pub(crate) fn public(bytes: &[u8]) -> Result<PublicKey, CryptoError> {
    // RFC 8422 §5.1.2: uncompressed only. The library would also take the other forms of SEC 1.
    if bytes.len() != UNCOMPRESSED_POINT_LEN || bytes.first() != Some(&UNCOMPRESSED) {
        return Err(CryptoError::InvalidPublicKey);
    }
    // MUST (RFC 8422 §5.11): the point is on the curve, or the private key leaks bit by bit.
    PublicKey::from_sec1_bytes(bytes).map_err(|_| CryptoError::InvalidPublicKey)
}

/// Writes a public key as an uncompressed point.
pub(crate) fn write_public(key: &PublicKey, out: &mut [u8]) -> Result<usize, CryptoError> {
    crate::write(key.to_sec1_point(false).as_bytes(), out)
}
