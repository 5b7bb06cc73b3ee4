//! Where algorithms come in.

use crate::{KeyAgreement, KeyLog, Signatures};

/// Length of a SHA-256 digest and of an HMAC-SHA-256 tag, in bytes.
pub const SHA256_LEN: usize = 32;

/// The longest AEAD tag in use, in bytes.
pub const MAX_TAG_LEN: usize = 16;

/// An authenticated cipher that protocols ask a provider for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AeadAlgorithm {
    /// AES-128 in CCM, 12-byte nonce, 16-byte tag (RFC 6655).
    Aes128Ccm,
    /// AES-128 in CCM, 12-byte nonce, 8-byte tag (RFC 6655).
    Aes128Ccm8,
    /// AES-128 in GCM, 12-byte nonce, 16-byte tag (RFC 5288).
    Aes128Gcm,
    /// ChaCha20-Poly1305, 12-byte nonce, 16-byte tag (RFC 8439).
    Chacha20Poly1305,
}

impl AeadAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 4] = [
        Self::Aes128Ccm,
        Self::Aes128Ccm8,
        Self::Aes128Gcm,
        Self::Chacha20Poly1305,
    ];

    /// Returns the length of a key, in bytes.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128Ccm | Self::Aes128Ccm8 | Self::Aes128Gcm => 16,
            Self::Chacha20Poly1305 => 32,
        }
    }

    /// Returns the length of a nonce, in bytes.
    pub const fn nonce_len(self) -> usize {
        match self {
            Self::Aes128Ccm | Self::Aes128Ccm8 | Self::Aes128Gcm | Self::Chacha20Poly1305 => 12,
        }
    }

    /// Returns the length of a tag, in bytes: at most [`MAX_TAG_LEN`].
    pub const fn tag_len(self) -> usize {
        match self {
            Self::Aes128Ccm8 => 8,
            Self::Aes128Ccm | Self::Aes128Gcm | Self::Chacha20Poly1305 => 16,
        }
    }

    /// Returns the longest input that one nonce can seal, in bytes: what all providers take.
    ///
    /// RFC 3610 §2.1 for CCM with a 12-byte nonce. For the others it is the least that a library
    /// in use grants, a few bytes below RFC 5116 §5.1 and RFC 8439 §2.8.
    pub const fn max_input_len(self) -> u64 {
        match self {
            Self::Aes128Ccm | Self::Aes128Ccm8 => (1 << 24) - 1,
            Self::Aes128Gcm => (1 << 36) - 32,
            Self::Chacha20Poly1305 => (1 << 38) - 65,
        }
    }

    /// Compares the length of a key with [`Self::key_len`], for providers.
    ///
    /// # Errors
    ///
    /// [`CryptoError::KeyLength`] if they differ.
    pub const fn check_key(self, key: &[u8]) -> Result<(), CryptoError> {
        if key.len() == self.key_len() {
            Ok(())
        } else {
            Err(CryptoError::KeyLength {
                len: key.len(),
                expected: self.key_len(),
            })
        }
    }

    /// Compares the lengths of one call's arguments with the algorithm's, for providers: nonce
    /// first, then tag, then input, so that all providers give the same error.
    ///
    /// # Errors
    ///
    /// [`CryptoError::NonceLength`], [`CryptoError::TagLength`] or [`CryptoError::InputTooLong`].
    pub fn check_lengths(self, nonce: &[u8], tag: &[u8], input: &[u8]) -> Result<(), CryptoError> {
        if nonce.len() != self.nonce_len() {
            return Err(CryptoError::NonceLength {
                len: nonce.len(),
                expected: self.nonce_len(),
            });
        }
        if tag.len() != self.tag_len() {
            return Err(CryptoError::TagLength {
                len: tag.len(),
                expected: self.tag_len(),
            });
        }
        match u64::try_from(input.len()) {
            Ok(len) if len <= self.max_input_len() => Ok(()),
            _ => Err(CryptoError::InputTooLong { len: input.len() }),
        }
    }
}

/// Why a provider refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CryptoError {
    /// The tag doesn't fit key, nonce, additional data and ciphertext. It doesn't say which.
    #[error("authentication failed")]
    AuthenticationFailed,
    /// A key of the wrong length.
    #[error("key of {len} bytes where {expected} are needed")]
    KeyLength {
        /// Length given, in bytes.
        len: usize,
        /// Length needed, in bytes.
        expected: usize,
    },
    /// A nonce of the wrong length.
    #[error("nonce of {len} bytes where {expected} are needed")]
    NonceLength {
        /// Length given, in bytes.
        len: usize,
        /// Length needed, in bytes.
        expected: usize,
    },
    /// A tag of the wrong length.
    #[error("tag of {len} bytes where {expected} are needed")]
    TagLength {
        /// Length given, in bytes.
        len: usize,
        /// Length needed, in bytes.
        expected: usize,
    },
    /// More input than the algorithm can take under one nonce.
    #[error("input of {len} bytes is too long for the algorithm")]
    InputTooLong {
        /// Length given, in bytes.
        len: usize,
    },
    /// More output asked for than the algorithm can give.
    #[error("output of {len} bytes asked for where {max} is the most")]
    OutputTooLong {
        /// Length asked for, in bytes.
        len: usize,
        /// The most that can be had, in bytes.
        max: usize,
    },
    /// A buffer too short for the key or signature that it should take.
    #[error("buffer of {len} bytes where {needed} are needed")]
    BufferTooShort {
        /// Length given, in bytes.
        len: usize,
        /// Length needed, in bytes.
        needed: usize,
    },
    /// Not a public key of the group, or one that no secret can be shared with.
    #[error("public key refused")]
    InvalidPublicKey,
    /// Not a private key of the group, or a random source that gives none.
    #[error("private key refused")]
    InvalidPrivateKey,
    /// The signature doesn't fit key and message. It doesn't say which.
    #[error("signature refused")]
    InvalidSignature,
    /// The provider doesn't have this algorithm.
    #[error("algorithm not offered by this provider")]
    NotOffered,
}

/// An authenticated cipher with its key inside; the key is zeroed on drop where the library allows.
///
/// The same nonce must never seal twice under one key. Callers build nonces in one place per
/// protocol from a counter that the key's owner holds.
pub trait Aead {
    /// Returns the algorithm, and with it the lengths of nonce and tag.
    fn algorithm(&self) -> AeadAlgorithm;

    /// Encrypts `in_out` in place and writes the tag.
    ///
    /// # Errors
    ///
    /// [`CryptoError::NonceLength`], [`CryptoError::TagLength`] or [`CryptoError::InputTooLong`];
    /// `in_out` is then as it was.
    fn seal_in_place(
        &self,
        nonce: &[u8],
        additional_data: &[u8],
        in_out: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), CryptoError>;

    /// Verifies `tag` and decrypts `in_out` in place.
    ///
    /// # Errors
    ///
    /// [`CryptoError::AuthenticationFailed`] if anything differs from what was sealed; `in_out`
    /// is then all zeros, with every provider, so that nothing comes to depend on what one of them
    /// would leave there. The lengths are checked as in [`Self::seal_in_place`].
    fn open_in_place(
        &self,
        nonce: &[u8],
        additional_data: &[u8],
        in_out: &mut [u8],
        tag: &[u8],
    ) -> Result<(), CryptoError>;
}

/// SHA-256 over input that comes in pieces. A clone goes on from the same input.
pub trait Sha256: Clone {
    /// Takes in `bytes`.
    fn update(&mut self, bytes: &[u8]);

    /// Returns the digest of everything taken in.
    fn finish(self) -> [u8; SHA256_LEN];
}

/// HMAC-SHA-256 over input that comes in pieces. A clone goes on from the same key and input, so
/// that a key's blocks are hashed once for many tags.
pub trait HmacSha256: Clone {
    /// Takes in `bytes`.
    fn update(&mut self, bytes: &[u8]);

    /// Returns the tag of everything taken in.
    fn finish(self) -> [u8; SHA256_LEN];
}

/// A set of algorithms.
///
/// It is passed as a value, so that a wrapper can carry a ledger or a recorder.
///
/// Key agreement and signatures are traits of their own because few callers need them; a provider
/// without them says so ([`NoAgreementKey`](crate::NoAgreementKey),
/// [`NoSigningKey`](crate::NoSigningKey)).
pub trait CryptoProvider: KeyAgreement + Signatures {
    /// The authenticated ciphers.
    type Aead: Aead;
    /// SHA-256.
    type Sha256: Sha256;
    /// HMAC-SHA-256.
    type HmacSha256: HmacSha256;

    /// Puts `key` into a cipher.
    ///
    /// # Errors
    ///
    /// [`CryptoError::KeyLength`] if the key's length isn't the algorithm's,
    /// [`CryptoError::NotOffered`] if the provider doesn't have it.
    fn aead(&self, algorithm: AeadAlgorithm, key: &[u8]) -> Result<Self::Aead, CryptoError>;

    /// Returns where master secrets are to be logged; by default nowhere.
    ///
    /// A provider that has a log is for debugging: it is the application that wraps another one and
    /// answers for it.
    fn key_log(&self) -> Option<&dyn KeyLog> {
        None
    }

    /// Starts a SHA-256 digest.
    fn sha256(&self) -> Self::Sha256;

    /// Starts an HMAC-SHA-256 tag under a key of any length.
    fn hmac_sha256(&self, key: &[u8]) -> Self::HmacSha256;

    /// HKDF-Extract (RFC 5869 §2.2) with SHA-256: writes a pseudorandom key.
    fn hkdf_extract(&self, salt: &[u8], input_key: &[u8], key: &mut [u8; SHA256_LEN]);

    /// HKDF-Expand (RFC 5869 §2.3) with SHA-256: fills `output`.
    ///
    /// # Errors
    ///
    /// [`CryptoError::OutputTooLong`] if more than 255 x 32 bytes are asked for.
    fn hkdf_expand(
        &self,
        key: &[u8; SHA256_LEN],
        info: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError>;
}

impl<P: CryptoProvider> CryptoProvider for &P {
    type Aead = P::Aead;
    type Sha256 = P::Sha256;
    type HmacSha256 = P::HmacSha256;

    fn aead(&self, algorithm: AeadAlgorithm, key: &[u8]) -> Result<Self::Aead, CryptoError> {
        (**self).aead(algorithm, key)
    }

    fn key_log(&self) -> Option<&dyn KeyLog> {
        (**self).key_log()
    }

    fn sha256(&self) -> Self::Sha256 {
        (**self).sha256()
    }

    fn hmac_sha256(&self, key: &[u8]) -> Self::HmacSha256 {
        (**self).hmac_sha256(key)
    }

    fn hkdf_extract(&self, salt: &[u8], input_key: &[u8], key: &mut [u8; SHA256_LEN]) {
        (**self).hkdf_extract(salt, input_key, key);
    }

    fn hkdf_expand(
        &self,
        key: &[u8; SHA256_LEN],
        info: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        (**self).hkdf_expand(key, info, output)
    }
}

#[cfg(test)]
mod tests {
    use super::{AeadAlgorithm, CryptoError, MAX_TAG_LEN};

    #[test]
    fn every_length_is_named_in_its_error_and_nonce_comes_before_tag() {
        for algorithm in AeadAlgorithm::ALL {
            let (nonce, tag) = ([0; 13], [0; MAX_TAG_LEN + 1]);
            let (nonce_len, tag_len) = (algorithm.nonce_len(), algorithm.tag_len());
            assert!(tag_len <= MAX_TAG_LEN);
            assert_eq!(
                algorithm.check_lengths(&nonce[..nonce_len], &tag[..tag_len], b"x"),
                Ok(())
            );
            assert_eq!(
                algorithm.check_lengths(&nonce[..nonce_len], &tag[..tag_len + 1], b"x"),
                Err(CryptoError::TagLength {
                    len: tag_len + 1,
                    expected: tag_len
                })
            );
            assert_eq!(
                algorithm.check_lengths(&nonce, &tag, b"x"),
                Err(CryptoError::NonceLength {
                    len: 13,
                    expected: nonce_len
                })
            );
            assert_eq!(
                algorithm.check_key(&[0; 5]),
                Err(CryptoError::KeyLength {
                    len: 5,
                    expected: algorithm.key_len()
                })
            );
        }
    }
}
