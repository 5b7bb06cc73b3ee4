//! Block option values, RFC 7959 §2.2.

use crate::{UintValue, decode_uint};

/// The value of Block1, Block2, Q-Block1 or Q-Block2: which block, whether more follow, how large
/// blocks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockValue {
    num: u32,
    more: bool,
    szx: u8,
}

impl BlockValue {
    /// The largest block number.
    pub const MAX_NUM: u32 = 0xf_ffff;

    /// The largest size exponent: blocks of 1,024 bytes.
    pub const MAX_SZX: u8 = 6;

    /// Makes a value; `None` if `num` is over [`Self::MAX_NUM`] or `szx` over [`Self::MAX_SZX`].
    pub const fn new(num: u32, more: bool, szx: u8) -> Option<Self> {
        if num > Self::MAX_NUM || szx > Self::MAX_SZX {
            return None;
        }
        Some(Self { num, more, szx })
    }

    /// Decodes an option value of 0 to 3 bytes.
    ///
    /// # Errors
    ///
    /// [`BlockError::TooLong`] if it has more bytes: the option then counts as unrecognised
    /// (RFC 7252 §5.4.3). [`BlockError::ReservedSize`] if the size exponent is 7: a request is then
    /// answered with 4.00 (RFC 7959 §2.2).
    pub fn decode(value: &[u8]) -> Result<Self, BlockError> {
        let bits = match decode_uint(value) {
            Some(bits) if value.len() <= 3 => bits,
            _ => return Err(BlockError::TooLong { len: value.len() }),
        };
        let szx = match bits & 0b111 {
            0 => 0,
            1 => 1,
            2 => 2,
            3 => 3,
            4 => 4,
            5 => 5,
            6 => 6,
            // MUST (RFC 7959 §2.2): SZX 7 is reserved and leads to 4.00 in a request.
            _ => return Err(BlockError::ReservedSize),
        };
        Ok(Self {
            num: bits >> 4,
            more: bits & 0b1000 != 0,
            szx,
        })
    }

    /// Encodes the value in the fewest bytes, 0 to 3.
    pub fn encode(self) -> UintValue {
        UintValue::new(self.to_uint())
    }

    /// Returns the value as the number that the option carries.
    pub fn to_uint(self) -> u32 {
        (self.num << 4) | (u32::from(self.more) << 3) | u32::from(self.szx)
    }

    /// Returns the block number, 0 to [`Self::MAX_NUM`].
    pub const fn num(self) -> u32 {
        self.num
    }

    /// Says whether more blocks follow, or in a request for a later block what RFC 7959 §2.3 says.
    pub const fn more(self) -> bool {
        self.more
    }

    /// Returns the size exponent, 0 to [`Self::MAX_SZX`].
    pub const fn szx(self) -> u8 {
        self.szx
    }

    /// Returns the size of a block, 16 to 1,024 bytes.
    pub const fn size(self) -> usize {
        16 << self.szx
    }

    /// Returns where the block begins in the body, in bytes: below 2^30.
    pub const fn offset(self) -> u32 {
        self.num << (self.szx + 4)
    }
}

/// Why an option value is no block value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// More than three bytes.
    #[error("block option of {len} bytes: at most 3 are defined")]
    TooLong {
        /// Length of the value, in bytes.
        len: usize,
    },
    /// The size exponent is 7.
    #[error("block option with the reserved size exponent 7")]
    ReservedSize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_decode_as_rfc_7959_prints_them() {
        // RFC 7959 §3: 2:1/1/128 means option 23 with NUM 1, M set and 128 bytes.
        let value = BlockValue::new(1, true, 3).unwrap();
        assert_eq!(value.encode().as_bytes(), &[0x1b]);
        assert_eq!(BlockValue::decode(&[0x1b]), Ok(value));
        assert_eq!((value.size(), value.offset()), (128, 128));
    }

    #[test]
    fn empty_value_is_block_0_of_16_bytes() {
        let value = BlockValue::new(0, false, 0).unwrap();
        assert_eq!(BlockValue::decode(&[]), Ok(value));
        assert_eq!(value.encode().as_bytes(), &[]);
    }

    #[test]
    fn boundaries_of_the_number_round_trip() {
        for num in [0, 15, 16, 4095, 4096, BlockValue::MAX_NUM] {
            for szx in 0..=BlockValue::MAX_SZX {
                for more in [false, true] {
                    let value = BlockValue::new(num, more, szx).unwrap();
                    assert_eq!(BlockValue::decode(value.encode().as_bytes()), Ok(value));
                }
            }
        }
        let last = BlockValue::new(BlockValue::MAX_NUM, false, 6).unwrap();
        assert_eq!(last.offset(), 1_073_740_800);
    }

    #[test]
    fn reserved_size_and_long_values_are_refused() {
        assert_eq!(BlockValue::decode(&[0x07]), Err(BlockError::ReservedSize));
        assert_eq!(
            BlockValue::decode(&[0, 0, 0, 6]),
            Err(BlockError::TooLong { len: 4 })
        );
        assert_eq!(BlockValue::new(0, false, 7), None);
        assert_eq!(BlockValue::new(0x10_0000, false, 0), None);
    }
}
