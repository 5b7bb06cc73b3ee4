//! `hedgerow-crypto-soft`: every cipher both ways, digests, key derivation, and the curves.

use hedgerow_core::{
    Aead, AeadAlgorithm, AgreementKey, CryptoError, CryptoProvider, HmacSha256, KeyAgreement,
    MAX_TAG_LEN, NamedGroup, Sha256, SignatureScheme, Signatures, SigningKey,
};
use hedgerow_crypto_soft::SoftCrypto;

use crate::counting_rng::CountingRng;

pub(crate) fn enter(bytes: &mut [u8]) -> usize {
    [protect(bytes), derive(bytes), agree(bytes), sign(bytes)]
        .into_iter()
        .map(Result::unwrap_or_default)
        .sum()
}

fn protect(bytes: &mut [u8]) -> Result<usize, CryptoError> {
    let key = [7; 32];
    for algorithm in AeadAlgorithm::ALL {
        let cipher = SoftCrypto.aead(algorithm, key.get(..algorithm.key_len()).unwrap_or(&key))?;
        let mut tag = [0; MAX_TAG_LEN];
        let tag = tag.get_mut(..algorithm.tag_len()).unwrap_or_default();
        cipher.seal_in_place(&[1; 12], b"header", bytes, tag)?;
        cipher.open_in_place(&[1; 12], b"header", bytes, tag)?;
    }
    Ok(bytes.len())
}

fn derive(bytes: &mut [u8]) -> Result<usize, CryptoError> {
    let mut digest = SoftCrypto.sha256();
    digest.update(bytes);
    let mut hmac = SoftCrypto.hmac_sha256(&digest.finish());
    hmac.update(bytes);
    let mut key = [0; 32];
    SoftCrypto.hkdf_extract(&hmac.finish(), bytes, &mut key);
    SoftCrypto.hkdf_expand(&key, b"label", bytes)?;
    Ok(bytes.len())
}

fn agree(bytes: &mut [u8]) -> Result<usize, CryptoError> {
    let mut len = 0;
    for group in [NamedGroup::Secp256r1, NamedGroup::X25519] {
        let key = SoftCrypto.generate_agreement_key(group, &mut CountingRng(1))?;
        let secret = key.agree(bytes)?;
        len += key.write_public_key(bytes)? + secret.expose().len();
    }
    Ok(len)
}

fn sign(bytes: &mut [u8]) -> Result<usize, CryptoError> {
    let mut len = 0;
    for scheme in [
        SignatureScheme::EcdsaSecp256r1Sha256,
        SignatureScheme::Ed25519,
    ] {
        let key = SoftCrypto.generate_signing_key(scheme, &mut CountingRng(1))?;
        let mut signature = [0; 80];
        let signed = key.sign(bytes, &mut signature)?;
        let signature = signature.get(..signed).unwrap_or_default();
        let public_key = key.write_public_key(bytes)?;
        let public_key = bytes.get(..public_key).unwrap_or_default();
        SoftCrypto.verify(scheme, public_key, b"message", signature)?;
        len += signed;
    }
    Ok(len)
}
