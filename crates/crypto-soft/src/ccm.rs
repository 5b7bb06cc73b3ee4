//! AES-128 in CCM (RFC 3610) with every nonce and tag length that the RFC allows.
//!
//! The block cipher is a library's, the mode is ours: docs/PERFORMANCE.md says why.

mod one_pass;

use core::fmt;

use aes::Aes128Enc;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use hedgerow_core::{CryptoError, ct_eq};
use zeroize::Zeroize;

use one_pass::{AdditionalData, BLOCK_LEN, Direction, OnePass};

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
    cipher: Aes128Enc,
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
        Ok(Self { cipher })
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
        let mut computed = [0; BLOCK_LEN];
        let nonce = Self::check(nonce, tag)?;
        self.pass(
            Direction::Seal,
            nonce,
            additional_data,
            in_out,
            &mut computed,
        )?;
        for (to, from) in tag.iter_mut().zip(&computed) {
            *to = *from;
        }
        computed.as_mut_slice().zeroize();
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
        let mut computed = [0; BLOCK_LEN];
        let nonce = Self::check(nonce, tag)?;
        self.pass(
            Direction::Open,
            nonce,
            additional_data,
            in_out,
            &mut computed,
        )?;
        let authentic = computed
            .first_chunk::<TAG>()
            .is_some_and(|computed| ct_eq(computed, tag));
        // MUST (RFC 3610 §2.5): neither the message nor the right tag outlives a wrong tag.
        computed.as_mut_slice().zeroize();
        if authentic {
            Ok(())
        } else {
            in_out.zeroize();
            Err(CryptoError::AuthenticationFailed)
        }
    }

    /// Checks the lengths of nonce and tag, in this order, and returns the nonce in its type.
    fn check<'n>(nonce: &'n [u8], tag: &[u8]) -> Result<&'n [u8; NONCE], CryptoError> {
        let nonce = nonce.try_into().map_err(|_| CryptoError::NonceLength {
            len: nonce.len(),
            expected: NONCE,
        })?;
        if tag.len() != TAG {
            return Err(CryptoError::TagLength {
                len: tag.len(),
                expected: TAG,
            });
        }
        Ok(nonce)
    }

    /// Encrypts or decrypts `in_out` and writes the right tag in its whole length, once the lengths
    /// of the input and of the additional data are checked.
    fn pass(
        &self,
        direction: Direction,
        nonce: &[u8; NONCE],
        additional_data: &[u8],
        in_out: &mut [u8],
        tag: &mut [u8; BLOCK_LEN],
    ) -> Result<(), CryptoError> {
        let len = match u64::try_from(in_out.len()) {
            Ok(len) if len <= Self::MAX_INPUT_LEN => len,
            _ => return Err(CryptoError::InputTooLong { len: in_out.len() }),
        };
        let data_len = additional_data.len();
        let additional_data = AdditionalData::new(additional_data)
            .ok_or(CryptoError::InputTooLong { len: data_len })?;

        // RFC 3610 §2.2 and §2.3: a byte of flags and the nonce begin the first block and the
        // counter blocks alike; a length or a counter fills them up.
        let mut block = [0; BLOCK_LEN];
        for (to, from) in block.iter_mut().skip(1).zip(nonce) {
            *to = *from;
        }
        let nonce = u128::from_be_bytes(block);
        let data_flag = if additional_data.is_empty() { 0 } else { 64 };
        let tag_flags = 8 * ((<CcmLength<TAG> as sealed::Tag>::LEN - 2) / 2);
        let length_flags = 15 - <CcmLength<NONCE> as sealed::Nonce>::LEN - 1;
        self.cipher.encrypt_with_backend(OnePass {
            direction,
            b_0: (data_flag + tag_flags + length_flags) << 120 | nonce | u128::from(len),
            a_0: length_flags << 120 | nonce,
            blocks: len.div_ceil(16),
            additional_data,
            in_out,
            tag,
        });
        Ok(())
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
    /// `M` of RFC 3610 §2.1.
    pub trait Tag {
        const LEN: u128;
    }

    /// 15 less `L` of RFC 3610 §2.1.
    pub trait Nonce {
        const LEN: u128;
    }
}

macro_rules! lengths {
    ($public:ident, $sealed:ident: $($len:literal),+) => {
        $(
            impl sealed::$sealed for CcmLength<$len> {
                const LEN: u128 = $len;
            }

            impl $public for CcmLength<$len> {}
        )+
    };
}

lengths!(CcmTagLength, Tag: 4, 6, 8, 10, 12, 14, 16);
lengths!(CcmNonceLength, Nonce: 7, 8, 9, 10, 11, 12, 13);
