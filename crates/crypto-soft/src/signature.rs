//! Signatures: ECDSA on P-256 and Ed25519.

use core::fmt;

use ed25519_dalek::Verifier;
use hedgerow_core::{
    CryptoError, CryptoRng, SHA256_LEN, Secret, SignatureScheme, Signatures, SigningKey,
};
use p256::ecdsa;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};

use crate::{SoftCrypto, p256_key, write};

/// A private key of [`SoftCrypto`] that signs. It is zeroed on drop.
pub struct SoftSigningKey(Private);

enum Private {
    EcdsaDer(ecdsa::SigningKey),
    EcdsaFixed(ecdsa::SigningKey),
    Ed25519(ed25519_dalek::SigningKey),
}

impl Signatures for SoftCrypto {
    type SigningKey = SoftSigningKey;

    fn generate_signing_key(
        &self,
        scheme: SignatureScheme,
        rng: &mut dyn CryptoRng,
    ) -> Result<SoftSigningKey, CryptoError> {
        Ok(SoftSigningKey(match scheme {
            SignatureScheme::EcdsaSecp256r1Sha256 => {
                Private::EcdsaDer(p256_key::generate(rng)?.into())
            }
            SignatureScheme::EcdsaSecp256r1Sha256Fixed => {
                Private::EcdsaFixed(p256_key::generate(rng)?.into())
            }
            SignatureScheme::Ed25519 => {
                let seed = Secret::<32>::fill_with(|bytes| rng.fill_bytes(bytes));
                Private::Ed25519(ed25519_dalek::SigningKey::from_bytes(seed.expose()))
            }
            _ => return Err(CryptoError::NotOffered),
        }))
    }

    fn signing_key(
        &self,
        scheme: SignatureScheme,
        private_key: &[u8],
    ) -> Result<SoftSigningKey, CryptoError> {
        Ok(SoftSigningKey(match scheme {
            SignatureScheme::EcdsaSecp256r1Sha256 => {
                Private::EcdsaDer(p256_key::private(private_key)?.into())
            }
            SignatureScheme::EcdsaSecp256r1Sha256Fixed => {
                Private::EcdsaFixed(p256_key::private(private_key)?.into())
            }
            SignatureScheme::Ed25519 => {
                let seed = private_key.try_into().map_err(|_| CryptoError::KeyLength {
                    len: private_key.len(),
                    expected: scheme.private_key_len(),
                })?;
                Private::Ed25519(ed25519_dalek::SigningKey::from_bytes(seed))
            }
            _ => return Err(CryptoError::NotOffered),
        }))
    }

    fn verify(
        &self,
        scheme: SignatureScheme,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        let verified = match scheme {
            SignatureScheme::EcdsaSecp256r1Sha256 => verify_ecdsa(
                public_key,
                message,
                ecdsa::Signature::from_der(signature).ok(),
            ),
            SignatureScheme::EcdsaSecp256r1Sha256Fixed => verify_ecdsa(
                public_key,
                message,
                ecdsa::Signature::from_slice(signature).ok(),
            ),
            SignatureScheme::Ed25519 => verify_ed25519(public_key, message, signature),
            _ => return Err(CryptoError::NotOffered),
        };
        verified.ok_or(CryptoError::InvalidSignature)
    }

    fn verify_digest(
        &self,
        scheme: SignatureScheme,
        public_key: &[u8],
        digest: &[u8; SHA256_LEN],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        let signature = match scheme {
            SignatureScheme::EcdsaSecp256r1Sha256 => ecdsa::Signature::from_der(signature),
            SignatureScheme::EcdsaSecp256r1Sha256Fixed => ecdsa::Signature::from_slice(signature),
            _ => return Err(CryptoError::NotOffered),
        };
        (|| {
            let key = ecdsa::VerifyingKey::from(p256_key::public(public_key).ok()?);
            key.verify_prehash(digest, &signature.ok()?).ok()
        })()
        .ok_or(CryptoError::InvalidSignature)
    }
}

impl SigningKey for SoftSigningKey {
    fn scheme(&self) -> SignatureScheme {
        match self.0 {
            Private::EcdsaDer(_) => SignatureScheme::EcdsaSecp256r1Sha256,
            Private::EcdsaFixed(_) => SignatureScheme::EcdsaSecp256r1Sha256Fixed,
            Private::Ed25519(_) => SignatureScheme::Ed25519,
        }
    }

    fn write_public_key(&self, out: &mut [u8]) -> Result<usize, CryptoError> {
        match &self.0 {
            Private::EcdsaDer(key) | Private::EcdsaFixed(key) => {
                p256_key::write_public(&key.verifying_key().into(), out)
            }
            Private::Ed25519(key) => write(key.verifying_key().as_bytes(), out),
        }
    }

    fn sign(&self, message: &[u8], out: &mut [u8]) -> Result<usize, CryptoError> {
        match &self.0 {
            Private::EcdsaDer(key) => {
                let signature: ecdsa::Signature = key
                    .try_sign(message)
                    .map_err(|_| CryptoError::InvalidPrivateKey)?;
                write(signature.to_der().as_bytes(), out)
            }
            Private::EcdsaFixed(key) => {
                let signature: ecdsa::Signature = key
                    .try_sign(message)
                    .map_err(|_| CryptoError::InvalidPrivateKey)?;
                write(&signature.to_bytes(), out)
            }
            Private::Ed25519(key) => {
                let signature = key
                    .try_sign(message)
                    .map_err(|_| CryptoError::InvalidPrivateKey)?;
                write(&signature.to_bytes(), out)
            }
        }
    }

    fn sign_digest(&self, digest: &[u8; SHA256_LEN], out: &mut [u8]) -> Result<usize, CryptoError> {
        let (Private::EcdsaDer(key) | Private::EcdsaFixed(key)) = &self.0 else {
            return Err(CryptoError::NotOffered);
        };
        let signature: ecdsa::Signature = key
            .sign_prehash(digest)
            .map_err(|_| CryptoError::InvalidPrivateKey)?;
        match self.0 {
            Private::EcdsaDer(_) => write(signature.to_der().as_bytes(), out),
            _ => write(&signature.to_bytes(), out),
        }
    }
}

impl fmt::Debug for SoftSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftSigningKey({:?}, ..)", self.scheme())
    }
}

fn verify_ecdsa(
    public_key: &[u8],
    message: &[u8],
    signature: Option<ecdsa::Signature>,
) -> Option<()> {
    let key = ecdsa::VerifyingKey::from(p256_key::public(public_key).ok()?);
    key.verify(message, &signature?).ok()
}

fn verify_ed25519(public_key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = ed25519_dalek::VerifyingKey::from_bytes(public_key.try_into().ok()?).ok()?;
    let signature = ed25519_dalek::Signature::from_slice(signature).ok()?;
    key.verify(message, &signature).ok()
}
