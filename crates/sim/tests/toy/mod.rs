//! A provider without any security, to see the wrappers at work.

use hedgerow_core::{
    Aead, AeadAlgorithm, CryptoError, CryptoProvider, CryptoRng, HmacSha256, KeyAgreement,
    NamedGroup, NoAgreementKey, NoSigningKey, SHA256_LEN, Sha256, SignatureScheme, Signatures,
};

/// Offers all but ChaCha20-Poly1305. Its "cipher" adds the key's first byte, its "tag" is zeros.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Toy;

#[derive(Debug)]
pub(crate) struct ToyAead(AeadAlgorithm, u8);

/// Adds up what it takes in.
#[derive(Clone, Debug)]
pub(crate) struct ToyHash(u8);

#[derive(Clone, Debug)]
pub(crate) struct ToyMac(ToyHash);

impl Aead for ToyAead {
    fn algorithm(&self) -> AeadAlgorithm {
        self.0
    }

    fn seal_in_place(
        &self,
        nonce: &[u8],
        _: &[u8],
        in_out: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), CryptoError> {
        if nonce.len() != self.0.nonce_len() {
            return Err(CryptoError::NonceLength {
                len: nonce.len(),
                expected: self.0.nonce_len(),
            });
        }
        for byte in in_out {
            *byte = byte.wrapping_add(self.1);
        }
        tag.fill(0);
        Ok(())
    }

    fn open_in_place(
        &self,
        _: &[u8],
        _: &[u8],
        in_out: &mut [u8],
        tag: &[u8],
    ) -> Result<(), CryptoError> {
        if tag.iter().any(|&byte| byte != 0) {
            return Err(CryptoError::AuthenticationFailed);
        }
        for byte in in_out {
            *byte = byte.wrapping_sub(self.1);
        }
        Ok(())
    }
}

impl Sha256 for ToyHash {
    fn update(&mut self, bytes: &[u8]) {
        self.0 = bytes
            .iter()
            .fold(self.0, |sum, &byte| sum.wrapping_add(byte));
    }

    fn finish(self) -> [u8; SHA256_LEN] {
        [self.0; SHA256_LEN]
    }
}

impl HmacSha256 for ToyMac {
    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(self) -> [u8; SHA256_LEN] {
        self.0.finish()
    }
}

impl KeyAgreement for Toy {
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

impl Signatures for Toy {
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

impl CryptoProvider for Toy {
    type Aead = ToyAead;
    type Sha256 = ToyHash;
    type HmacSha256 = ToyMac;

    fn aead(&self, algorithm: AeadAlgorithm, key: &[u8]) -> Result<ToyAead, CryptoError> {
        if algorithm == AeadAlgorithm::Chacha20Poly1305 {
            return Err(CryptoError::NotOffered);
        }
        Ok(ToyAead(algorithm, key.first().copied().unwrap_or(0)))
    }

    fn sha256(&self) -> ToyHash {
        ToyHash(0)
    }

    fn hmac_sha256(&self, key: &[u8]) -> ToyMac {
        ToyMac(ToyHash(key.first().copied().unwrap_or(0)))
    }

    fn hkdf_extract(&self, _: &[u8], _: &[u8], key: &mut [u8; SHA256_LEN]) {
        key.fill(1);
    }

    fn hkdf_expand(
        &self,
        _: &[u8; SHA256_LEN],
        _: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        output.fill(2);
        Ok(())
    }
}
