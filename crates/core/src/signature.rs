//! Where signatures come in. A provider without them has [`NoSigningKey`] for its keys, so that a
//! PSK-only build brings no curves in.

use rand_core::CryptoRng;

use crate::{CryptoError, SHA256_LEN};

/// A kind of signature, with its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignatureScheme {
    /// ECDSA on P-256 with SHA-256, as the DER sequence of r and s that TLS carries
    /// (RFC 8422 §5.4). A public key is an uncompressed point.
    EcdsaSecp256r1Sha256,
    /// ECDSA on P-256 with SHA-256, as r and s of 32 bytes each, the way COSE carries it
    /// (RFC 9053 §2.1). A public key is an uncompressed point.
    EcdsaSecp256r1Sha256Fixed,
    /// Ed25519 (RFC 8032 §5.1). Verification is the one without the cofactor, and a public key of
    /// small order isn't refused: keys are to be trusted before they are used here.
    Ed25519,
}

impl SignatureScheme {
    /// Every scheme.
    pub const ALL: [Self; 3] = [
        Self::EcdsaSecp256r1Sha256,
        Self::EcdsaSecp256r1Sha256Fixed,
        Self::Ed25519,
    ];

    /// Returns the length of a public key, in bytes.
    pub const fn public_key_len(self) -> usize {
        match self {
            Self::EcdsaSecp256r1Sha256 | Self::EcdsaSecp256r1Sha256Fixed => 65,
            Self::Ed25519 => 32,
        }
    }

    /// Returns the length of a private key, in bytes.
    pub const fn private_key_len(self) -> usize {
        match self {
            Self::EcdsaSecp256r1Sha256 | Self::EcdsaSecp256r1Sha256Fixed | Self::Ed25519 => 32,
        }
    }

    /// Returns the length of the longest signature, in bytes.
    pub const fn max_signature_len(self) -> usize {
        match self {
            Self::EcdsaSecp256r1Sha256 => 72,
            Self::EcdsaSecp256r1Sha256Fixed | Self::Ed25519 => 64,
        }
    }
}

/// A private key that signs; it is zeroed on drop where the library allows.
pub trait SigningKey {
    /// Returns the scheme, and with it the lengths.
    fn scheme(&self) -> SignatureScheme;

    /// Writes the public key at the start of `out` and returns its length in bytes.
    ///
    /// # Errors
    ///
    /// [`CryptoError::BufferTooShort`]; `out` is then as it was.
    fn write_public_key(&self, out: &mut [u8]) -> Result<usize, CryptoError>;

    /// Signs `message`, writes the signature at the start of `out` and returns its length in
    /// bytes. It needs no randomness: ECDSA's nonce is derived (RFC 6979), as Ed25519's is.
    ///
    /// # Errors
    ///
    /// [`CryptoError::BufferTooShort`]; `out` is then as it was.
    fn sign(&self, message: &[u8], out: &mut [u8]) -> Result<usize, CryptoError>;

    /// Signs the message whose SHA-256 digest is given, like [`Self::sign`]: for messages that are
    /// not kept, such as a handshake's.
    ///
    /// # Errors
    ///
    /// Those of [`Self::sign`]; [`CryptoError::NotOffered`] for Ed25519, which hashes a message
    /// twice.
    fn sign_digest(&self, digest: &[u8; SHA256_LEN], out: &mut [u8]) -> Result<usize, CryptoError>;
}

/// The key of a provider that has no signatures: there is none.
#[derive(Clone, Copy, Debug)]
pub enum NoSigningKey {}

impl SigningKey for NoSigningKey {
    fn scheme(&self) -> SignatureScheme {
        match *self {}
    }

    fn write_public_key(&self, _out: &mut [u8]) -> Result<usize, CryptoError> {
        match *self {}
    }

    fn sign(&self, _message: &[u8], _out: &mut [u8]) -> Result<usize, CryptoError> {
        match *self {}
    }

    fn sign_digest(
        &self,
        _digest: &[u8; SHA256_LEN],
        _out: &mut [u8],
    ) -> Result<usize, CryptoError> {
        match *self {}
    }
}

/// A set of signature schemes.
pub trait Signatures {
    /// A private key of one of the schemes.
    type SigningKey: SigningKey;

    /// Draws a private key.
    ///
    /// # Errors
    ///
    /// [`CryptoError::InvalidPrivateKey`] if `rng` gives no usable key in several draws, which a
    /// working one doesn't do; [`CryptoError::NotOffered`] if the provider lacks the scheme.
    fn generate_signing_key(
        &self,
        scheme: SignatureScheme,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self::SigningKey, CryptoError>;

    /// Takes over a private key: big-endian for P-256, RFC 8032's 32-byte seed for Ed25519.
    ///
    /// # Errors
    ///
    /// [`CryptoError::KeyLength`], [`CryptoError::InvalidPrivateKey`] if a P-256 key is zero or
    /// not below the group's order, [`CryptoError::NotOffered`] if the provider lacks the scheme.
    fn signing_key(
        &self,
        scheme: SignatureScheme,
        private_key: &[u8],
    ) -> Result<Self::SigningKey, CryptoError>;

    /// Verifies that the owner of `public_key` signed `message`.
    ///
    /// # Errors
    ///
    /// [`CryptoError::InvalidSignature`], whether key, message or signature is at fault;
    /// [`CryptoError::NotOffered`] if the provider lacks the scheme.
    fn verify(
        &self,
        scheme: SignatureScheme,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError>;

    /// Verifies that the owner of `public_key` signed the message whose SHA-256 digest is given.
    ///
    /// # Errors
    ///
    /// Those of [`Self::verify`]; [`CryptoError::NotOffered`] for Ed25519.
    fn verify_digest(
        &self,
        scheme: SignatureScheme,
        public_key: &[u8],
        digest: &[u8; SHA256_LEN],
        signature: &[u8],
    ) -> Result<(), CryptoError>;
}

impl<P: Signatures> Signatures for &P {
    type SigningKey = P::SigningKey;

    fn generate_signing_key(
        &self,
        scheme: SignatureScheme,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self::SigningKey, CryptoError> {
        (**self).generate_signing_key(scheme, rng)
    }

    fn signing_key(
        &self,
        scheme: SignatureScheme,
        private_key: &[u8],
    ) -> Result<Self::SigningKey, CryptoError> {
        (**self).signing_key(scheme, private_key)
    }

    fn verify(
        &self,
        scheme: SignatureScheme,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        (**self).verify(scheme, public_key, message, signature)
    }

    fn verify_digest(
        &self,
        scheme: SignatureScheme,
        public_key: &[u8],
        digest: &[u8; SHA256_LEN],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        (**self).verify_digest(scheme, public_key, digest, signature)
    }
}
