//! A provider whose ephemeral keys and cookies are given beforehand, as known answers need them.
#![allow(clippy::unwrap_used, unreachable_pub)]

use hedgerow_core::{
    AeadAlgorithm, CryptoError, CryptoProvider, CryptoRng, HmacSha256, KeyAgreement, NamedGroup,
    SHA256_LEN, SignatureScheme, Signatures,
};
use hedgerow_crypto_soft::SoftCrypto;

/// The address whose cookie is the one that the vectors have: its first byte counts 60 s since the
/// clock's origin, and these follow.
pub const COOKIE_ADDRESS: &[u8] = b"the vectors' client";

/// HMAC, but over an address it gives what the vectors have for a cookie.
#[derive(Clone)]
pub struct FixedHmac {
    inner: <SoftCrypto as CryptoProvider>::HmacSha256,
    is_cookie: bool,
}

impl HmacSha256 for FixedHmac {
    fn update(&mut self, bytes: &[u8]) {
        self.is_cookie |= bytes == COOKIE_ADDRESS;
        self.inner.update(bytes);
    }

    fn finish(self) -> [u8; SHA256_LEN] {
        let mut cookie = [0; SHA256_LEN];
        for (byte, value) in cookie.iter_mut().zip(0xc1..) {
            *byte = value;
        }
        if self.is_cookie {
            cookie
        } else {
            self.inner.finish()
        }
    }
}

/// `SoftCrypto`, but every key that it draws is the one given.
#[derive(Clone)]
pub struct FixedKey(pub Vec<u8>);

impl KeyAgreement for FixedKey {
    type AgreementKey = <SoftCrypto as KeyAgreement>::AgreementKey;

    fn offers_group(&self, group: NamedGroup) -> bool {
        SoftCrypto.offers_group(group)
    }

    fn generate_agreement_key(
        &self,
        group: NamedGroup,
        _rng: &mut dyn CryptoRng,
    ) -> Result<Self::AgreementKey, CryptoError> {
        SoftCrypto.agreement_key(group, &self.0)
    }

    fn agreement_key(
        &self,
        group: NamedGroup,
        private_key: &[u8],
    ) -> Result<Self::AgreementKey, CryptoError> {
        SoftCrypto.agreement_key(group, private_key)
    }
}

impl Signatures for FixedKey {
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
        SoftCrypto.verify(scheme, public_key, message, signature)
    }

    fn verify_digest(
        &self,
        scheme: SignatureScheme,
        public_key: &[u8],
        digest: &[u8; SHA256_LEN],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        SoftCrypto.verify_digest(scheme, public_key, digest, signature)
    }
}

impl CryptoProvider for FixedKey {
    type Aead = <SoftCrypto as CryptoProvider>::Aead;
    type Sha256 = <SoftCrypto as CryptoProvider>::Sha256;
    type HmacSha256 = FixedHmac;

    fn aead(&self, algorithm: AeadAlgorithm, key: &[u8]) -> Result<Self::Aead, CryptoError> {
        SoftCrypto.aead(algorithm, key)
    }

    fn sha256(&self) -> Self::Sha256 {
        SoftCrypto.sha256()
    }

    fn hmac_sha256(&self, key: &[u8]) -> Self::HmacSha256 {
        FixedHmac {
            inner: SoftCrypto.hmac_sha256(key),
            is_cookie: false,
        }
    }

    fn hkdf_extract(&self, salt: &[u8], input_key: &[u8], key: &mut [u8; SHA256_LEN]) {
        SoftCrypto.hkdf_extract(salt, input_key, key);
    }

    fn hkdf_expand(
        &self,
        key: &[u8; SHA256_LEN],
        info: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        SoftCrypto.hkdf_expand(key, info, output)
    }
}
