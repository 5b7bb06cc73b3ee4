//! AES-128 in CCM (RFC 3610) with every nonce and tag length that the RFC allows.

use core::fmt;

use aes::Aes128Enc;
use ccm::aead::array::{Array, ArraySize};
use ccm::{AeadInOut, Ccm, KeyInit, consts};
use hedgerow_core::CryptoError;
use zeroize::Zeroize;

/// AES-128-CCM with a tag of `TAG` bytes (4, 6, ... 16) and a nonce of `NONCE` bytes (7 to 13).
///
/// Protocols ask [`SoftCrypto`](crate::SoftCrypto) for the shapes in
/// [`AeadAlgorithm`](hedgerow_core::AeadAlgorithm); this type is the code behind them and serves
/// other shapes, such as `AesCcm<8, 13>`. What holds for [`Aead`](hedgerow_core::Aead) holds here:
/// the same nonce must never seal twice under one key.
pub struct AesCcm<const TAG: usize, const NONCE: usize>
where
    CcmLength<TAG>: CcmTagLength,
    CcmLength<NONCE>: CcmNonceLength,
{
    ccm: Ccm<Aes128Enc, TagSize<TAG>, NonceSize<NONCE>>,
}

impl<const TAG: usize, const NONCE: usize> AesCcm<TAG, NONCE>
where
    CcmLength<TAG>: CcmTagLength,
    CcmLength<NONCE>: CcmNonceLength,
{
    /// Length of a key, in bytes.
    pub const KEY_LEN: usize = 16;

    /// The longest input that one nonce can seal, in bytes: the length field of the first block
    /// has the bytes that flags and nonce leave of 16 (RFC 3610 §2.2).
    pub const MAX_INPUT_LEN: u64 = match 15usize.saturating_sub(NONCE) {
        2 => (1 << 16) - 1,
        3 => (1 << 24) - 1,
        4 => (1 << 32) - 1,
        5 => (1 << 40) - 1,
        6 => (1 << 48) - 1,
        7 => (1 << 56) - 1,
        _ => u64::MAX,
    };

    /// Puts `key` into the cipher.
    ///
    /// # Errors
    ///
    /// [`CryptoError::KeyLength`] if `key` isn't [`Self::KEY_LEN`] long.
    pub fn new(key: &[u8]) -> Result<Self, CryptoError> {
        let cipher = Aes128Enc::new_from_slice(key).map_err(|_| CryptoError::KeyLength {
            len: key.len(),
            expected: Self::KEY_LEN,
        })?;
        Ok(Self {
            ccm: Ccm::from(cipher),
        })
    }

    /// Encrypts `in_out` in place and writes the tag.
    ///
    /// # Errors
    ///
    /// [`CryptoError::NonceLength`], [`CryptoError::TagLength`] or [`CryptoError::InputTooLong`];
    /// `in_out` is then as it was.
    pub fn seal_in_place(
        &self,
        nonce: &[u8],
        additional_data: &[u8],
        in_out: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), CryptoError> {
        let nonce = Self::check(nonce, tag, in_out)?;
        let len = in_out.len();
        let sealed = self
            .ccm
            .encrypt_inout_detached(nonce, additional_data, in_out.into())
            .map_err(|_| CryptoError::InputTooLong { len })?;
        tag.copy_from_slice(&sealed);
        Ok(())
    }

    /// Verifies `tag` and decrypts `in_out` in place.
    ///
    /// # Errors
    ///
    /// [`CryptoError::AuthenticationFailed`] if anything differs from what was sealed; `in_out` is
    /// then all zeros. The lengths are checked as in [`Self::seal_in_place`].
    pub fn open_in_place(
        &self,
        nonce: &[u8],
        additional_data: &[u8],
        in_out: &mut [u8],
        tag: &[u8],
    ) -> Result<(), CryptoError> {
        // The length has to be checked before the library is called: it decrypts first, and for an
        // input that is too long it would return with the plaintext left in the buffer.
        let nonce = Self::check(nonce, tag, in_out)?;
        let tag = fit(tag).ok_or(CryptoError::TagLength {
            len: tag.len(),
            expected: TAG,
        })?;
        let opened =
            self.ccm
                .decrypt_inout_detached(nonce, additional_data, (&mut *in_out).into(), tag);
        opened.map_err(|_| {
            in_out.zeroize();
            CryptoError::AuthenticationFailed
        })
    }

    /// Checks the lengths, nonce first, then tag, then input, and returns the nonce in its type.
    fn check<'n>(
        nonce: &'n [u8],
        tag: &[u8],
        input: &[u8],
    ) -> Result<&'n Array<u8, NonceSize<NONCE>>, CryptoError> {
        let nonce = fit(nonce).ok_or(CryptoError::NonceLength {
            len: nonce.len(),
            expected: NONCE,
        })?;
        if tag.len() != TAG {
            return Err(CryptoError::TagLength {
                len: tag.len(),
                expected: TAG,
            });
        }
        match u64::try_from(input.len()) {
            Ok(len) if len <= Self::MAX_INPUT_LEN => Ok(nonce),
            _ => Err(CryptoError::InputTooLong { len: input.len() }),
        }
    }
}

impl<const TAG: usize, const NONCE: usize> fmt::Debug for AesCcm<TAG, NONCE>
where
    CcmLength<TAG>: CcmTagLength,
    CcmLength<NONCE>: CcmNonceLength,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AesCcm<{TAG}, {NONCE}>(..)")
    }
}

/// A length in bytes, as a type: `CcmLength<8>` can be a tag's and a nonce's.
#[derive(Debug)]
pub struct CcmLength<const N: usize>;

/// A length that RFC 3610 §2.1 allows for a tag: 4, 6, 8, 10, 12, 14 or 16 bytes.
pub trait CcmTagLength: sealed::Tag {}

/// A length that RFC 3610 §2.1 allows for a nonce: 7 to 13 bytes.
pub trait CcmNonceLength: sealed::Nonce {}

mod sealed {
    use super::ArraySize;

    pub trait Tag {
        type Size: ArraySize + ccm::TagSize;
    }

    pub trait Nonce {
        type Size: ArraySize + ccm::NonceSize;
    }
}

type TagSize<const N: usize> = <CcmLength<N> as sealed::Tag>::Size;
type NonceSize<const N: usize> = <CcmLength<N> as sealed::Nonce>::Size;

macro_rules! lengths {
    ($public:ident, $sealed:ident: $($len:literal = $size:ident),+) => {
        $(
            impl sealed::$sealed for CcmLength<$len> {
                type Size = consts::$size;
            }

            impl $public for CcmLength<$len> {}
        )+
    };
}

lengths!(CcmTagLength, Tag: 4 = U4, 6 = U6, 8 = U8, 10 = U10, 12 = U12, 14 = U14, 16 = U16);
lengths!(CcmNonceLength, Nonce: 7 = U7, 8 = U8, 9 = U9, 10 = U10, 11 = U11, 12 = U12, 13 = U13);

/// Returns `bytes` as an array if it has the array's length.
fn fit<Size: ArraySize>(bytes: &[u8]) -> Option<&Array<u8, Size>> {
    bytes.try_into().ok()
}
