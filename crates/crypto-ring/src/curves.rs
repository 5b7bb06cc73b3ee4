//! Key agreement and signatures: ring verifies, `hedgerow-crypto-soft` does what needs a key.

use hedgerow_core::{
    CryptoError, CryptoRng, KeyAgreement, NamedGroup, SHA256_LEN, SignatureScheme, Signatures,
};
use hedgerow_crypto_soft::SoftCrypto;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey,
    VerificationAlgorithm,
};

use crate::RingCrypto;

impl KeyAgreement for RingCrypto {
    type AgreementKey = <SoftCrypto as KeyAgreement>::AgreementKey;

    fn offers_group(&self, group: NamedGroup) -> bool {
        SoftCrypto.offers_group(group)
    }

    fn generate_agreement_key(
        &self,
        group: NamedGroup,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self::AgreementKey, CryptoError> {
        SoftCrypto.generate_agreement_key(group, rng)
    }

    fn agreement_key(
        &self,
        group: NamedGroup,
        private_key: &[u8],
    ) -> Result<Self::AgreementKey, CryptoError> {
        SoftCrypto.agreement_key(group, private_key)
    }
}

impl Signatures for RingCrypto {
    type SigningKey = <SoftCrypto as Signatures>::SigningKey;

    fn generate_signing_key(
        &self,
        scheme: SignatureScheme,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self::SigningKey, CryptoError> {
        SoftCrypto.generate_signing_key(scheme, rng)
    }

    fn signing_key(
        &self,
        scheme: SignatureScheme,
        private_key: &[u8],
    ) -> Result<Self::SigningKey, CryptoError> {
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

    fn verify_digest(
        &self,
        scheme: SignatureScheme,
        public_key: &[u8],
        digest: &[u8; SHA256_LEN],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        // ring hashes the message itself and takes no digest.
        SoftCrypto.verify_digest(scheme, public_key, digest, signature)
    }
}
