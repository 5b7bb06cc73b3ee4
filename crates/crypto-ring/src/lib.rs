//! Hedgerow's [`CryptoProvider`] on `ring`, for hosts: AES-128-GCM, ChaCha20-Poly1305, SHA-256,
//! HMAC-SHA-256 and HKDF by ring's assembly.
//!
//! ring has no AES-CCM and no bare AES block to build it on, so CCM and CCM_8, without which no
//! CoAP peer is met, come from [`hedgerow_crypto_soft`]. The crate holds no protocol and draws no
//! randomness. It needs a C compiler to build and is not for bare metal.
//!
//! ring doesn't zero keys or hash states on drop: what must not outlive its use in memory belongs
//! to [`SoftCrypto`](hedgerow_crypto_soft::SoftCrypto). ring's keys are large and live on the heap.
//!
//! # Example
//!
//! ```
//! use hedgerow_core::{Aead, AeadAlgorithm, CryptoError, CryptoProvider};
//! use hedgerow_crypto_ring::RingCrypto;
//!
//! let cipher = RingCrypto.aead(AeadAlgorithm::Aes128Gcm, &[0x2b; 16])?;
//! // The caller's counter: one number, one record.
//! let nonce = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 7];
//! let mut record = *b"21.5 C";
//! let mut tag = [0; 16];
//! cipher.seal_in_place(&nonce, b"header", &mut record, &mut tag)?;
//!
//! cipher.open_in_place(&nonce, b"header", &mut record, &tag)?;
//! assert_eq!(&record, b"21.5 C");
//! # Ok::<(), CryptoError>(())
//! ```
//!
//! # Features
//!
//! - `curves`: key agreement and signing, whose randomness ring would draw from the operating system
//!   itself, from `hedgerow-crypto-soft` with its tables. Verification is ring's, with or without it.
//!
//! [`CryptoProvider`]: hedgerow_core::CryptoProvider
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod aead;
mod curves;
mod hash;
mod provider;

pub use crate::aead::RingAead;
pub use crate::hash::{RingHmacSha256, RingSha256};
pub use crate::provider::RingCrypto;
