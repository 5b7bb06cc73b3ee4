//! Where secrets go that a user wants to see: a log for Wireshark.

use crate::{
    AeadAlgorithm, CryptoError, CryptoProvider, CryptoRng, KeyAgreement, NamedGroup, SHA256_LEN,
    SignatureScheme, Signatures,
};

/// Takes in the secrets of connections, so that recordings can be read by whoever debugs them.
///
/// Whoever has the log reads every connection in it. There is none unless the application puts one
/// in, and it should say so loudly.
pub trait KeyLog {
    /// Takes in the secret called `label` of the connection whose ClientHello has `client_random`.
    ///
    /// The label of a TLS 1.2 or DTLS 1.2 master secret is `CLIENT_RANDOM`, as in the format of NSS
    /// that Wireshark reads: one line of label, random bytes and secret, both in hexadecimal. That of an
    /// inner session (mode `itls`) is `ITLS_INNER_KEYS`, with the random bytes of the initiator's hello.
    fn log(&self, label: &str, client_random: &[u8; 32], secret: &[u8]);
}

/// The algorithms of a provider, and a log beside them.
#[derive(Clone, Debug)]
pub struct KeyLogging<P, L> {
    provider: P,
    log: Option<L>,
}

impl<P, L> KeyLogging<P, L> {
    /// Puts a log beside a provider; `None`, as it should be, for nowhere.
    pub const fn new(provider: P, log: Option<L>) -> Self {
        Self { provider, log }
    }
}

impl<P: KeyAgreement, L> KeyAgreement for KeyLogging<P, L> {
    type AgreementKey = P::AgreementKey;

    fn offers_group(&self, group: NamedGroup) -> bool {
        self.provider.offers_group(group)
    }

    fn generate_agreement_key(
        &self,
        group: NamedGroup,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self::AgreementKey, CryptoError> {
        self.provider.generate_agreement_key(group, rng)
    }

    fn agreement_key(
        &self,
        group: NamedGroup,
        private_key: &[u8],
    ) -> Result<Self::AgreementKey, CryptoError> {
        self.provider.agreement_key(group, private_key)
    }
}

impl<P: Signatures, L> Signatures for KeyLogging<P, L> {
    type SigningKey = P::SigningKey;

    fn generate_signing_key(
        &self,
        scheme: SignatureScheme,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self::SigningKey, CryptoError> {
        self.provider.generate_signing_key(scheme, rng)
    }

    fn signing_key(
        &self,
        scheme: SignatureScheme,
        private_key: &[u8],
    ) -> Result<Self::SigningKey, CryptoError> {
        self.provider.signing_key(scheme, private_key)
    }

    fn verify(
        &self,
        scheme: SignatureScheme,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.provider.verify(scheme, public_key, message, signature)
    }

    fn verify_digest(
        &self,
        scheme: SignatureScheme,
        public_key: &[u8],
        digest: &[u8; SHA256_LEN],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.provider
            .verify_digest(scheme, public_key, digest, signature)
    }
}

impl<P: CryptoProvider, L: KeyLog> CryptoProvider for KeyLogging<P, L> {
    type Aead = P::Aead;
    type Sha256 = P::Sha256;
    type HmacSha256 = P::HmacSha256;

    fn aead(&self, algorithm: AeadAlgorithm, key: &[u8]) -> Result<Self::Aead, CryptoError> {
        self.provider.aead(algorithm, key)
    }

    fn key_log(&self) -> Option<&dyn KeyLog> {
        let log = self.log.as_ref()?;
        Some(log)
    }

    fn sha256(&self) -> Self::Sha256 {
        self.provider.sha256()
    }

    fn hmac_sha256(&self, key: &[u8]) -> Self::HmacSha256 {
        self.provider.hmac_sha256(key)
    }

    fn hkdf_extract(&self, salt: &[u8], input_key: &[u8], key: &mut [u8; SHA256_LEN]) {
        self.provider.hkdf_extract(salt, input_key, key);
    }

    fn hkdf_expand(
        &self,
        key: &[u8; SHA256_LEN],
        info: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.provider.hkdf_expand(key, info, output)
    }
}
