//! The algorithms of a node: those of `hedgerow-crypto-ring`, and a key log where there is one.

use hedgerow_core::{
    AeadAlgorithm, CryptoError, CryptoProvider, CryptoRng, KeyAgreement, KeyLog, NamedGroup,
    SHA256_LEN, SignatureScheme, Signatures,
};
use hedgerow_crypto_ring::RingCrypto;

use crate::KeyLogFile;

/// `RingCrypto`, with the node's key log.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeCrypto {
    pub(crate) key_log: Option<KeyLogFile>,
}

impl CryptoProvider for NodeCrypto {
    type Aead = <RingCrypto as CryptoProvider>::Aead;
    type Sha256 = <RingCrypto as CryptoProvider>::Sha256;
    type HmacSha256 = <RingCrypto as CryptoProvider>::HmacSha256;

    fn aead(&self, algorithm: AeadAlgorithm, key: &[u8]) -> Result<Self::Aead, CryptoError> {
        RingCrypto.aead(algorithm, key)
    }

    fn key_log(&self) -> Option<&dyn KeyLog> {
        let log = self.key_log.as_ref()?;
        Some(log)
    }

    fn sha256(&self) -> Self::Sha256 {
        RingCrypto.sha256()
    }

    fn hmac_sha256(&self, key: &[u8]) -> Self::HmacSha256 {
        RingCrypto.hmac_sha256(key)
    }

    fn hkdf_extract(&self, salt: &[u8], input_key: &[u8], key: &mut [u8; SHA256_LEN]) {
        RingCrypto.hkdf_extract(salt, input_key, key);
    }

    fn hkdf_expand(
        &self,
        key: &[u8; SHA256_LEN],
        info: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        RingCrypto.hkdf_expand(key, info, output)
    }
}

impl KeyAgreement for NodeCrypto {
    type AgreementKey = <RingCrypto as KeyAgreement>::AgreementKey;

    fn offers_group(&self, group: NamedGroup) -> bool {
        RingCrypto.offers_group(group)
    }

    fn generate_agreement_key(
        &self,
        group: NamedGroup,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self::AgreementKey, CryptoError> {
        RingCrypto.generate_agreement_key(group, rng)
    }

    fn agreement_key(
        &self,
        group: NamedGroup,
        private_key: &[u8],
    ) -> Result<Self::AgreementKey, CryptoError> {
        RingCrypto.agreement_key(group, private_key)
    }
}

impl Signatures for NodeCrypto {
    type SigningKey = <RingCrypto as Signatures>::SigningKey;

    fn generate_signing_key(
        &self,
        scheme: SignatureScheme,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self::SigningKey, CryptoError> {
        RingCrypto.generate_signing_key(scheme, rng)
    }

    fn signing_key(
        &self,
        scheme: SignatureScheme,
        private_key: &[u8],
    ) -> Result<Self::SigningKey, CryptoError> {
        RingCrypto.signing_key(scheme, private_key)
    }

    fn verify(
        &self,
        scheme: SignatureScheme,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        RingCrypto.verify(scheme, public_key, message, signature)
    }

    fn verify_digest(
        &self,
        scheme: SignatureScheme,
        public_key: &[u8],
        digest: &[u8; SHA256_LEN],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        RingCrypto.verify_digest(scheme, public_key, digest, signature)
    }
}
