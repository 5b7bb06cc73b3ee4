//! Key agreement and signatures: ring verifies, `hedgerow-crypto-soft` does what needs a key.

use hedgerow_core::{
    CryptoError, CryptoRng, KeyAgreement, NamedGroup, SignatureScheme, Signatures,
};
use hedgerow_crypto_soft::{SoftAgreementKey, SoftCrypto, SoftSigningKey};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey,
    VerificationAlgorithm,
};

use crate::RingCrypto;

impl KeyAgreement for RingCrypto {
    type AgreementKey = SoftAgreementKey;

    fn generate_agreement_key(
        &self,
        group: NamedGroup,
        rng: &mut dyn CryptoRng,
    ) -> Result<SoftAgreementKey, CryptoError> {
        SoftCrypto.generate_agreement_key(group, rng)
    }

    fn agreement_key(
        &self,
        group: NamedGroup,
        private_key: &[u8],
    ) -> Result<SoftAgreementKey, CryptoError> {
        SoftCrypto.agreement_key(group, private_key)
    }
}

impl Signatures for RingCrypto {
    type SigningKey = SoftSigningKey;

    fn generate_signing_key(
        &self,
        scheme: SignatureScheme,
        rng: &mut dyn CryptoRng,
    ) -> Result<SoftSigningKey, CryptoError> {
        SoftCrypto.generate_signing_key(scheme, rng)
    }

    fn signing_key(
        &self,
        scheme: SignatureScheme,
        private_key: &[u8],
    ) -> Result<SoftSigningKey, CryptoError> {
        SoftCrypto.signing_key(scheme, private_key)
    }

    fn verify(
        &self,
        scheme: SignatureScheme,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        let algorithm: &dyn VerificationAlgorithm = match scheme {
            SignatureScheme::EcdsaSecp256r1Sha256 => &ECDSA_P256_SHA256_ASN1,
            SignatureScheme::EcdsaSecp256r1Sha256Fixed => &ECDSA_P256_SHA256_FIXED,
            SignatureScheme::Ed25519 => &ED25519,
            _ => return Err(CryptoError::NotOffered),
        };
        UnparsedPublicKey::new(algorithm, public_key)
            .verify(message, signature)
            .map_err(|_| CryptoError::InvalidSignature)
    }
}
