//! Where key agreement comes in. A provider without it has [`NoAgreementKey`] for its keys, so that a
//! PSK-only build brings no curves in.

use rand_core::CryptoRng;

use crate::{CryptoError, Secret};

/// Length of the shared secret of every [`NamedGroup`], in bytes.
pub const SHARED_SECRET_LEN: usize = 32;

/// Length of the longest public key, in bytes.
pub const MAX_PUBLIC_KEY_LEN: usize = 65;

/// A group that two parties agree on a secret in, by its name in TLS (RFC 8422 §5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NamedGroup {
    /// NIST P-256. A public key is an uncompressed point (RFC 8422 §5.4.1), the shared secret its
    /// x-coordinate (RFC 8422 §5.10).
    Secp256r1,
    /// X25519 (RFC 7748 §5).
    X25519,
}

impl NamedGroup {
    /// Every group.
    pub const ALL: [Self; 2] = [Self::Secp256r1, Self::X25519];

    /// Returns the group's code point (RFC 8422 §5.1.1).
    pub const fn code_point(self) -> u16 {
        match self {
            Self::Secp256r1 => 0x0017,
            Self::X25519 => 0x001d,
        }
    }

    /// Returns the group of a code point, if there is one.
    pub fn from_code_point(code_point: u16) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|group| group.code_point() == code_point)
    }

    /// Returns the length of a public key, in bytes.
    pub const fn public_key_len(self) -> usize {
        match self {
            Self::Secp256r1 => 65,
            Self::X25519 => 32,
        }
    }

    /// Returns the length of a private key, in bytes.
    pub const fn private_key_len(self) -> usize {
        match self {
            Self::Secp256r1 | Self::X25519 => 32,
        }
    }
}

/// One party's private key in a group; it is zeroed on drop where the library allows.
pub trait AgreementKey {
    /// Returns the group, and with it the lengths.
    fn group(&self) -> NamedGroup;

    /// Writes the public key at the start of `out` and returns its length in bytes.
    ///
    /// # Errors
    ///
    /// [`CryptoError::BufferTooShort`]; `out` is then as it was.
    fn write_public_key(&self, out: &mut [u8]) -> Result<usize, CryptoError>;

    /// Agrees on a secret with the owner of `peer_public_key`.
    ///
    /// # Errors
    ///
    /// [`CryptoError::InvalidPublicKey`] if it isn't a public key of the group, or if the secret
    /// would be all zeros whatever this private key is (RFC 7748 §6.1, RFC 8422 §5.11).
    fn agree(&self, peer_public_key: &[u8]) -> Result<Secret<SHARED_SECRET_LEN>, CryptoError>;
}

/// A set of groups.
pub trait KeyAgreement {
    /// A private key in one of the groups.
    type AgreementKey: AgreementKey;

    /// Says whether keys of `group` can be had.
    fn offers_group(&self, group: NamedGroup) -> bool;

    /// Draws a private key.
    ///
    /// # Errors
    ///
    /// [`CryptoError::InvalidPrivateKey`] if `rng` gives no usable key in several draws, which a
    /// working one doesn't do; [`CryptoError::NotOffered`] if the provider lacks the group.
    fn generate_agreement_key(
        &self,
        group: NamedGroup,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self::AgreementKey, CryptoError>;

    /// Takes over a private key: big-endian for P-256, as in RFC 7748 §5 for X25519.
    ///
    /// # Errors
    ///
    /// [`CryptoError::KeyLength`], [`CryptoError::InvalidPrivateKey`] if a P-256 key is zero or
    /// not below the group's order, [`CryptoError::NotOffered`] if the provider lacks the group.
    fn agreement_key(
        &self,
        group: NamedGroup,
        private_key: &[u8],
    ) -> Result<Self::AgreementKey, CryptoError>;
}

/// The key of a provider that has no key agreement: there is none.
#[derive(Clone, Copy, Debug)]
pub enum NoAgreementKey {}

impl AgreementKey for NoAgreementKey {
    fn group(&self) -> NamedGroup {
        match *self {}
    }

    fn write_public_key(&self, _out: &mut [u8]) -> Result<usize, CryptoError> {
        match *self {}
    }

    fn agree(&self, _peer_public_key: &[u8]) -> Result<Secret<SHARED_SECRET_LEN>, CryptoError> {
        match *self {}
    }
}

impl<P: KeyAgreement> KeyAgreement for &P {
    type AgreementKey = P::AgreementKey;

    fn offers_group(&self, group: NamedGroup) -> bool {
        (**self).offers_group(group)
    }

    fn generate_agreement_key(
        &self,
        group: NamedGroup,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self::AgreementKey, CryptoError> {
        (**self).generate_agreement_key(group, rng)
    }

    fn agreement_key(
        &self,
        group: NamedGroup,
        private_key: &[u8],
    ) -> Result<Self::AgreementKey, CryptoError> {
        (**self).agreement_key(group, private_key)
    }
}
