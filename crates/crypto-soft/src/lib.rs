//! Hedgerow's [`CryptoProvider`] on the RustCrypto crates: AES-128-CCM and CCM_8 (RFC 3610,
//! RFC 6655), AES-128-GCM (RFC 5288), ChaCha20-Poly1305 (RFC 8439), SHA-256, HMAC (RFC 2104) and
//! HKDF (RFC 5869). Of these CCM alone is a mode of our own, over the `aes` crate.
//!
//! It holds no protocol: nonces, additional data and key schedules are the callers'. It draws no
//! randomness and keeps no counter. [`AesCcm`] stands apart from the provider for formats whose
//! nonce or tag has another length, such as OSCORE's.
//!
//! Keys, hash states and keystream are zeroed on drop. What the libraries leave behind are copies
//! that the compiler makes when a value moves, and the last block of an HKDF-Expand.
//!
//! # Example
//!
//! ```
//! use hedgerow_core::{Aead, AeadAlgorithm, CryptoError, CryptoProvider};
//! use hedgerow_crypto_soft::SoftCrypto;
//!
//! let cipher = SoftCrypto.aead(AeadAlgorithm::Aes128Ccm8, &[0x2b; 16])?;
//! // The caller's counter: one number, one record.
//! let nonce = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 7];
//! let mut record = *b"21.5 C";
//! let mut tag = [0; 8];
//! cipher.seal_in_place(&nonce, b"header", &mut record, &mut tag)?;
//!
//! cipher.open_in_place(&nonce, b"header", &mut record, &tag)?;
//! assert_eq!(&record, b"21.5 C");
//!
//! let forged = cipher.open_in_place(&nonce, b"hEader", &mut record, &tag);
//! assert_eq!(forged, Err(CryptoError::AuthenticationFailed));
//! assert_eq!(record, [0; 6]);
//! # Ok::<(), CryptoError>(())
//! ```
//!
//! # Features
//!
//! - `curves`: key agreement by [`KeyAgreement`] (P-256, X25519) and signatures by [`Signatures`]
//!   (ECDSA on P-256, Ed25519).
//! - `precomputed-tables`: with `curves`, faster X25519 and Ed25519 at the price of some tens of
//!   kilobytes of code.
//! - `std-tables`: those, and P-256's for its public keys and signing, made on the first use.
//!
//! But for `std-tables`, which needs std, the crate never needs an allocator.
//!
//! [`CryptoProvider`]: hedgerow_core::CryptoProvider
//! [`KeyAgreement`]: hedgerow_core::KeyAgreement
//! [`Signatures`]: hedgerow_core::Signatures
#![no_std]

#[cfg(test)]
extern crate std;

mod aead;
#[cfg(feature = "curves")]
mod agreement;
mod ccm;
mod hash;
#[cfg(not(feature = "curves"))]
mod no_curves;
#[cfg(feature = "curves")]
mod p256_key;
mod provider;
#[cfg(feature = "curves")]
mod signature;

pub use crate::aead::SoftAead;
#[cfg(feature = "curves")]
pub use crate::agreement::SoftAgreementKey;
pub use crate::ccm::{AesCcm, CcmLength, CcmNonceLength, CcmTagLength};
pub use crate::hash::{SoftHmacSha256, SoftSha256};
pub use crate::provider::SoftCrypto;
#[cfg(feature = "curves")]
pub use crate::signature::SoftSigningKey;

/// Writes `bytes` at the start of `out` and returns their number.
#[cfg(feature = "curves")]
fn write(bytes: &[u8], out: &mut [u8]) -> Result<usize, hedgerow_core::CryptoError> {
    let len = out.len();
    out.get_mut(..bytes.len())
        .ok_or(hedgerow_core::CryptoError::BufferTooShort {
            len,
            needed: bytes.len(),
        })?
        .copy_from_slice(bytes);
    Ok(bytes.len())
}
