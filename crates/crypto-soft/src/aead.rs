//! The authenticated ciphers with their keys inside.

use core::fmt;

use aes::Aes128Enc;
use aes_gcm::AesGcm;
use aes_gcm::aead::array::Array;
use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::{AeadCore, AeadInOut, KeyInit};
use chacha20poly1305::ChaCha20Poly1305;
use hedgerow_core::{Aead, AeadAlgorithm, CryptoError};
use zeroize::Zeroize;

use crate::AesCcm;

/// A cipher of [`SoftCrypto`](crate::SoftCrypto). Its key is zeroed on drop.
///
/// It takes 192 bytes on x86-64, 176 of them AES's round keys.
pub struct SoftAead(Keyed);

enum Keyed {
    Ccm(AesCcm<16, 12>),
    Ccm8(AesCcm<8, 12>),
    // GHASH's key isn't kept but derived at each call: it would add 144 bytes to every session,
    // whatever its suite, and saves about 80 ns a record on x86-64. `crypto-ring` keeps it.
    Gcm(Aes128Enc),
    Chacha(ChaCha20Poly1305),
}

impl SoftAead {
    /// Puts `key` into a cipher.
    pub(crate) fn new(algorithm: AeadAlgorithm, key: &[u8]) -> Result<Self, CryptoError> {
        algorithm.check_key(key)?;
        let refused = |_| CryptoError::KeyLength {
            len: key.len(),
            expected: algorithm.key_len(),
        };
        Ok(Self(match algorithm {
            AeadAlgorithm::Aes128Ccm => Keyed::Ccm(AesCcm::new(key)?),
            AeadAlgorithm::Aes128Ccm8 => Keyed::Ccm8(AesCcm::new(key)?),
            AeadAlgorithm::Aes128Gcm => {
                Keyed::Gcm(Aes128Enc::new_from_slice(key).map_err(refused)?)
            }
            AeadAlgorithm::Chacha20Poly1305 => {
                Keyed::Chacha(ChaCha20Poly1305::new_from_slice(key).map_err(refused)?)
            }
            _ => return Err(CryptoError::NotOffered),
        }))
    }
}

impl Aead for SoftAead {
    fn algorithm(&self) -> AeadAlgorithm {
        match self.0 {
            Keyed::Ccm(_) => AeadAlgorithm::Aes128Ccm,
            Keyed::Ccm8(_) => AeadAlgorithm::Aes128Ccm8,
            Keyed::Gcm(_) => AeadAlgorithm::Aes128Gcm,
            Keyed::Chacha(_) => AeadAlgorithm::Chacha20Poly1305,
        }
    }

    fn seal_in_place(
        &self,
        nonce: &[u8],
        additional_data: &[u8],
        in_out: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.algorithm().check_lengths(nonce, tag, in_out)?;
        match &self.0 {
            Keyed::Ccm(ccm) => ccm.seal_in_place(nonce, additional_data, in_out, tag),
            Keyed::Ccm8(ccm) => ccm.seal_in_place(nonce, additional_data, in_out, tag),
            Keyed::Gcm(aes) => seal(&gcm(aes), nonce, additional_data, in_out, tag),
            Keyed::Chacha(chacha) => seal(chacha, nonce, additional_data, in_out, tag),
        }
    }

    fn open_in_place(
        &self,
        nonce: &[u8],
        additional_data: &[u8],
        in_out: &mut [u8],
        tag: &[u8],
    ) -> Result<(), CryptoError> {
        self.algorithm().check_lengths(nonce, tag, in_out)?;
        match &self.0 {
            Keyed::Ccm(ccm) => ccm.open_in_place(nonce, additional_data, in_out, tag),
            Keyed::Ccm8(ccm) => ccm.open_in_place(nonce, additional_data, in_out, tag),
            Keyed::Gcm(aes) => open(&gcm(aes), nonce, additional_data, in_out, tag),
            Keyed::Chacha(chacha) => open(chacha, nonce, additional_data, in_out, tag),
        }
    }
}

impl fmt::Debug for SoftAead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftAead({:?}, ..)", self.algorithm())
    }
}

type Gcm<'a> = AesGcm<&'a Aes128Enc, U12>;

fn gcm(aes: &Aes128Enc) -> Gcm<'_> {
    Gcm::from(aes)
}

fn seal<C>(
    cipher: &C,
    nonce: &[u8],
    additional_data: &[u8],
    in_out: &mut [u8],
    tag: &mut [u8],
) -> Result<(), CryptoError>
where
    C: AeadInOut + AeadCore<NonceSize = U12, TagSize = U16>,
{
    let len = in_out.len();
    let sealed = cipher
        .encrypt_inout_detached(fit_nonce(nonce)?, additional_data, in_out.into())
        .map_err(|_| CryptoError::InputTooLong { len })?;
    tag.copy_from_slice(&sealed);
    Ok(())
}

fn open<C>(
    cipher: &C,
    nonce: &[u8],
    additional_data: &[u8],
    in_out: &mut [u8],
    tag: &[u8],
) -> Result<(), CryptoError>
where
    C: AeadInOut + AeadCore<NonceSize = U12, TagSize = U16>,
{
    let expected: &Array<u8, U16> = tag.try_into().map_err(|_| CryptoError::TagLength {
        len: tag.len(),
        expected: 16,
    })?;
    let nonce = fit_nonce(nonce)?;
    let opened =
        cipher.decrypt_inout_detached(nonce, additional_data, (&mut *in_out).into(), expected);
    opened.map_err(|_| {
        in_out.zeroize();
        CryptoError::AuthenticationFailed
    })
}

fn fit_nonce(nonce: &[u8]) -> Result<&Array<u8, U12>, CryptoError> {
    nonce.try_into().map_err(|_| CryptoError::NonceLength {
        len: nonce.len(),
        expected: 12,
    })
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::SoftAead;
    use hedgerow_core::AeadAlgorithm;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn keyed_cipher_takes_192_bytes() {
        assert_eq!(size_of::<SoftAead>(), 192);
    }

    #[test]
    fn cipher_prints_its_algorithm_and_no_key() {
        let cipher = SoftAead::new(AeadAlgorithm::Aes128Gcm, &[0xab; 16]).unwrap();
        assert_eq!(format!("{cipher:?}"), "SoftAead(Aes128Gcm, ..)");
    }
}
