//! The seams that Hedgerow's rooms meet through: time, randomness, secrets, byte cursors, the
//! [`SecureChannel`], [`SecureStream`] and [`CryptoProvider`] traits, error groups and drop reasons.
//!
//! It holds no protocol and no algorithm. A protocol crate takes time and randomness from an
//! [`Env`], algorithms from a [`CryptoProvider`], keys from a [`PskStore`] or
//! [`CertificateCredentials`], and hands bytes on through a [`SecureChannel`]; it reads no clock, no
//! socket and no operating system.
//!
//! # Example
//!
//! ```
//! use hedgerow_core::{Reader, Writer};
//!
//! let mut out = [0u8; 8];
//! let mut writer = Writer::new(&mut out);
//! writer.u16(0xfefd)?;
//! writer.bytes(b"abc")?;
//! let len = writer.len();
//!
//! let mut reader = Reader::new(&out[..len]);
//! assert_eq!(reader.u16(), Ok(0xfefd));
//! assert_eq!(reader.rest(), b"abc");
//! # Ok::<(), hedgerow_core::EncodeError>(())
//! ```
//!
//! # Features
//!
//! None. The crate never needs an allocator.
#![no_std]
#![cfg_attr(test, allow(clippy::as_conversions))]

#[cfg(test)]
extern crate std;

mod address_proof;
mod certificate;
mod channel;
mod constant_time;
mod credentials;
mod crypto;
mod cursor;
mod drop_reason;
mod env;
mod error;
mod key_agreement;
mod key_log;
mod psk;
mod secret;
mod security_mode;
mod signature;
mod stream;
mod time;

pub use address_proof::{AddressProofKey, ProofPeriod};
pub use certificate::{
    CertificateChain, CertificateCredentials, CertificateFault, CertificateOwner, CertificateType,
    ChainRequest, ClientCertificates, Identity, IdentityRequest, P256_PUBLIC_KEY_LEN,
    RawPublicKeyRequest, RawPublicKeys, ServerName, VerifiedChain,
};
pub use channel::{Event, Peer, PeerId, Received, SecureChannel};
pub use constant_time::ct_eq;
pub use credentials::{CertificatesOnly, ClientCredentials, PskAndCertificates, ServerCredentials};
pub use crypto::{
    Aead, AeadAlgorithm, CryptoError, CryptoProvider, HmacSha256, MAX_TAG_LEN, SHA256_LEN, Sha256,
};
pub use cursor::{DecodeError, EncodeError, Reader, Writer};
pub use drop_reason::DropReason;
pub use env::Env;
pub use error::{ChannelError, Limit, Misuse, PeerFault, WayRefusal};
pub use key_agreement::{
    AgreementKey, KeyAgreement, MAX_PUBLIC_KEY_LEN, NamedGroup, NoAgreementKey, SHARED_SECRET_LEN,
};
pub use key_log::{KeyLog, KeyLogging};
pub use psk::{
    Credentials, KeyPurpose, KeyScope, MAX_PSK_IDENTITY_LEN, MAX_PSK_LEN, MIN_END_TO_END_PSK_LEN,
    Psk, PskCredentials, PskEntry, PskRequest, PskStore,
};
pub use rand_core::CryptoRng;
pub use secret::Secret;
pub use security_mode::SecurityMode;
pub use signature::{NoSigningKey, SignatureScheme, Signatures, SigningKey};
pub use stream::{SecureStream, StreamReceived};
pub use time::{Instant, UnixTime};
