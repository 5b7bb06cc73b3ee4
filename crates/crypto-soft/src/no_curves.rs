//! What the provider says where key agreement and signatures are left out of the build.

use hedgerow_core::{
    CryptoError, CryptoRng, KeyAgreement, NamedGroup, NoAgreementKey, NoSigningKey, SHA256_LEN,
    SignatureScheme, Signatures,
};

use crate::SoftCrypto;

impl KeyAgreement for SoftCrypto {
    type AgreementKey = NoAgreementKey;

    fn offers_group(&self, _group: NamedGroup) -> bool {
        false
    }

    fn generate_agreement_key(
        &self,
        _group: NamedGroup,
        _rng: &mut dyn CryptoRng,
    ) -> Result<NoAgreementKey, CryptoError> {
        Err(CryptoError::NotOffered)
    }

    fn agreement_key(
        &self,
        _group: NamedGroup,
        _private_key: &[u8],
    ) -> Result<NoAgreementKey, CryptoError> {
        Err(CryptoError::NotOffered)
    }
}

impl Signatures for SoftCrypto {
    type SigningKey = NoSigningKey;

    fn generate_signing_key(
        &self,
        _scheme: SignatureScheme,
        _rng: &mut dyn CryptoRng,
    ) -> Result<NoSigningKey, CryptoError> {
        Err(CryptoError::NotOffered)
    }

    fn signing_key(
        &self,
        _scheme: SignatureScheme,
        _private_key: &[u8],
    ) -> Result<NoSigningKey, CryptoError> {
        Err(CryptoError::NotOffered)
    }

    fn verify(
        &self,
        _scheme: SignatureScheme,
        _public_key: &[u8],
        _message: &[u8],
        _signature: &[u8],
    ) -> Result<(), CryptoError> {
        Err(CryptoError::NotOffered)
    }

    fn verify_digest(
        &self,
        _scheme: SignatureScheme,
        _public_key: &[u8],
        _digest: &[u8; SHA256_LEN],
        _signature: &[u8],
    ) -> Result<(), CryptoError> {
        Err(CryptoError::NotOffered)
    }
}
