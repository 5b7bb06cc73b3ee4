//! A provider without any security, for tests inside this crate: every length is right and every
//! result is the same at both ends.

use hedgerow_core::{
    Aead, AeadAlgorithm, AgreementKey, CryptoError, CryptoProvider, CryptoRng, HmacSha256,
    KeyAgreement, NamedGroup, NoSigningKey, SHA256_LEN, SHARED_SECRET_LEN, Secret, Sha256,
    SignatureScheme, Signatures,
};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Toy;

pub(crate) struct ToyAead(AeadAlgorithm);

/// Adds up what it takes in.
#[derive(Clone)]
pub(crate) struct ToyHash(u8);

pub(crate) struct ToyKey(NamedGroup);

impl Aead for ToyAead {
    fn algorithm(&self) -> AeadAlgorithm {
        self.0
    }

    fn seal_in_place(
        &self,
        _nonce: &[u8],
        _additional_data: &[u8],
        _in_out: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), CryptoError> {
        tag.fill(0);
        Ok(())
    }

    fn open_in_place(
        &self,
        _nonce: &[u8],
        _additional_data: &[u8],
        _in_out: &mut [u8],
        tag: &[u8],
    ) -> Result<(), CryptoError> {
        match tag.iter().all(|byte| *byte == 0) {
            true => Ok(()),
            false => Err(CryptoError::AuthenticationFailed),
        }
    }
}

impl Sha256 for ToyHash {
    fn update(&mut self, bytes: &[u8]) {
        self.0 = bytes
            .iter()
            .fold(self.0, |sum, byte| sum.wrapping_add(*byte));
    }

    fn finish(self) -> [u8; SHA256_LEN] {
        [self.0; SHA256_LEN]
    }
}

impl HmacSha256 for ToyHash {
    fn update(&mut self, bytes: &[u8]) {
        Sha256::update(self, bytes);
    }

    fn finish(self) -> [u8; SHA256_LEN] {
        Sha256::finish(self)
    }
}

impl AgreementKey for ToyKey {
    fn group(&self) -> NamedGroup {
        self.0
    }

    fn write_public_key(&self, out: &mut [u8]) -> Result<usize, CryptoError> {
        let len = self.0.public_key_len();
        out[..len].fill(4);
        Ok(len)
    }

    fn agree(&self, _peer_public_key: &[u8]) -> Result<Secret<SHARED_SECRET_LEN>, CryptoError> {
        Ok(Secret::zeroed())
    }
}

impl KeyAgreement for Toy {
    type AgreementKey = ToyKey;

    fn offers_group(&self, _group: NamedGroup) -> bool {
        true
    }

    fn generate_agreement_key(
        &self,
        group: NamedGroup,
        _rng: &mut dyn CryptoRng,
    ) -> Result<ToyKey, CryptoError> {
        Ok(ToyKey(group))
    }

    fn agreement_key(&self, group: NamedGroup, _key: &[u8]) -> Result<ToyKey, CryptoError> {
        Ok(ToyKey(group))
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
    type HmacSha256 = ToyHash;

    fn aead(&self, algorithm: AeadAlgorithm, _key: &[u8]) -> Result<ToyAead, CryptoError> {
        Ok(ToyAead(algorithm))
    }

    fn sha256(&self) -> ToyHash {
        ToyHash(0)
    }

    fn hmac_sha256(&self, _key: &[u8]) -> ToyHash {
        ToyHash(1)
    }

    fn hkdf_extract(&self, _salt: &[u8], _input_key: &[u8], key: &mut [u8; SHA256_LEN]) {
        key.fill(1);
    }

    fn hkdf_expand(
        &self,
        _key: &[u8; SHA256_LEN],
        _info: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        output.fill(2);
        Ok(())
    }
}

/// Draws the same byte for ever.
pub(crate) struct ToyRng;

impl rand_core::TryRng for ToyRng {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(7)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(7)
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Self::Error> {
        dst.fill(7);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for ToyRng {}
