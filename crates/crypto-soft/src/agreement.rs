//! Key agreement on P-256 and X25519.

use core::fmt;

use hedgerow_core::{
    AgreementKey, CryptoError, CryptoRng, KeyAgreement, NamedGroup, SHARED_SECRET_LEN, Secret,
};
use x25519_dalek::StaticSecret;

use crate::SoftCrypto;
use crate::p256_key;

/// A private key of [`SoftCrypto`] for key agreement. It is zeroed on drop.
pub struct SoftAgreementKey(Private);

enum Private {
    Secp256r1(p256::SecretKey),
    X25519(StaticSecret),
}

impl KeyAgreement for SoftCrypto {
    type AgreementKey = SoftAgreementKey;

    fn offers_group(&self, group: NamedGroup) -> bool {
        matches!(group, NamedGroup::Secp256r1 | NamedGroup::X25519)
    }

    fn generate_agreement_key(
        &self,
        group: NamedGroup,
        rng: &mut dyn CryptoRng,
    ) -> Result<SoftAgreementKey, CryptoError> {
        Ok(SoftAgreementKey(match group {
            NamedGroup::Secp256r1 => Private::Secp256r1(p256_key::generate(rng)?),
            NamedGroup::X25519 => Private::X25519(StaticSecret::random_from_rng(rng)),
            _ => return Err(CryptoError::NotOffered),
        }))
    }

    fn agreement_key(
        &self,
        group: NamedGroup,
        private_key: &[u8],
    ) -> Result<SoftAgreementKey, CryptoError> {
        Ok(SoftAgreementKey(match group {
            NamedGroup::Secp256r1 => Private::Secp256r1(p256_key::private(private_key)?),
            NamedGroup::X25519 => {
                let bytes: &[u8; 32] =
                    private_key.try_into().map_err(|_| CryptoError::KeyLength {
                        len: private_key.len(),
                        expected: 32,
                    })?;
                Private::X25519(StaticSecret::from(*bytes))
            }
            _ => return Err(CryptoError::NotOffered),
        }))
    }
}

impl AgreementKey for SoftAgreementKey {
    fn group(&self) -> NamedGroup {
        match self.0 {
            Private::Secp256r1(_) => NamedGroup::Secp256r1,
            Private::X25519(_) => NamedGroup::X25519,
        }
    }

    fn write_public_key(&self, out: &mut [u8]) -> Result<usize, CryptoError> {
        match &self.0 {
            Private::Secp256r1(key) => p256_key::write_public(&key.public_key(), out),
            Private::X25519(key) => {
                crate::write(x25519_dalek::PublicKey::from(key).as_bytes(), out)
            }
        }
    }

    fn agree(&self, peer_public_key: &[u8]) -> Result<Secret<SHARED_SECRET_LEN>, CryptoError> {
        match &self.0 {
            Private::Secp256r1(key) => {
                let shared = key.diffie_hellman(&p256_key::public(peer_public_key)?);
                Ok(Secret::fill_with(|bytes| {
                    bytes.copy_from_slice(shared.raw_secret_bytes());
                }))
            }
            Private::X25519(key) => {
                let peer: &[u8; 32] = peer_public_key
                    .try_into()
                    .map_err(|_| CryptoError::InvalidPublicKey)?;
                let shared = key.diffie_hellman(&x25519_dalek::PublicKey::from(*peer));
                // MUST (RFC 8422 §5.11): an all-zero secret is refused. The peer has then sent a
                // point of small order, and the secret would be one that everybody knows.
                if !shared.was_contributory() {
                    return Err(CryptoError::InvalidPublicKey);
                }
                Ok(Secret::fill_with(|bytes| {
                    bytes.copy_from_slice(shared.as_bytes());
                }))
            }
        }
    }
}

impl fmt::Debug for SoftAgreementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftAgreementKey({:?}, ..)", self.group())
    }
}
