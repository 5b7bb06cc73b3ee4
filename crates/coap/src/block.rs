//! Block option values, RFC 7959 §2.2 and RFC 8323 §6.

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

    /// The size exponent of BERT, by which one message of a reliable transport carries any number of
    /// blocks of 1,024 bytes (RFC 8323 §6).
    pub const BERT_SZX: u8 = 7;

    /// Makes a value; `None` if `num` is over [`Self::MAX_NUM`] or `szx` over [`Self::MAX_SZX`].
    pub const fn new(num: u32, more: bool, szx: u8) -> Option<Self> {
        if num > Self::MAX_NUM || szx > Self::MAX_SZX {
            return None;
        }
        Some(Self { num, more, szx })
    }

    /// Makes a value for BERT, or any other as [`Self::new`] does; `None` if `num` is over
    /// [`Self::MAX_NUM`] or `szx` over [`Self::BERT_SZX`].
    pub const fn new_reliable(num: u32, more: bool, szx: u8) -> Option<Self> {
        if num > Self::MAX_NUM || szx > Self::BERT_SZX {
            return None;
        }
        Some(Self { num, more, szx })
    }

    /// Decodes an option value of a message over a reliable transport, where the size exponent 7
    /// stands for BERT (RFC 8323 §6).
    ///
    /// # Errors
    ///
    /// [`BlockError::TooLong`] as for [`Self::decode`].
    pub fn decode_reliable(value: &[u8]) -> Result<Self, BlockError> {
        let bits = match decode_uint(value) {
            Some(bits) if value.len() <= 3 => bits,
            _ => return Err(BlockError::TooLong { len: value.len() }),
        };
        let [.., low] = bits.to_be_bytes();
        Ok(Self {
            num: bits >> 4,
            more: bits & 0b1000 != 0,
            szx: low & 0b111,
        })
    }

    /// Decodes an option value of 0 to 3 bytes.
    ///
    /// # Errors
    ///
    /// [`BlockError::TooLong`] if it has more bytes: the option then counts as unrecognised
    /// (RFC 7252 §5.4.3). [`BlockError::ReservedSize`] if the size exponent is 7: a request is then
    /// answered with 4.00 (RFC 7959 §2.2).
    pub fn decode(value: &[u8]) -> Result<Self, BlockError> {
        match Self::decode_reliable(value)? {
            // MUST (RFC 7959 §2.2): SZX 7 is reserved and leads to 4.00 in a request.
            block if block.is_bert() => Err(BlockError::ReservedSize),
            block => Ok(block),
        }
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

    /// Returns the size exponent, 0 to [`Self::MAX_SZX`], or [`Self::BERT_SZX`].
    pub const fn szx(self) -> u8 {
        self.szx
    }

    /// Says whether a message may carry any number of blocks (RFC 8323 §6).
    pub const fn is_bert(self) -> bool {
        self.szx == Self::BERT_SZX
    }

    /// Returns the size of a block, 16 to 1,024 bytes.
    pub const fn size(self) -> usize {
        16 << self.size_shift()
    }

    /// Returns where the block begins in the body, in bytes: below 2^30.
    pub const fn offset(self) -> u32 {
        self.num << (self.size_shift() + 4)
    }

    /// Says whether a message with this value in descriptive usage may have a payload of `len`
    /// bytes: all of the block if more follow, and for BERT any number of whole ones.
    ///
    /// MUST (RFC 7959 §2.3): with M set the payload is exactly as long as a block.
    pub const fn allows_len(self, len: usize) -> bool {
        match (self.more, self.is_bert()) {
            (true, false) => len == self.size(),
            (false, false) => len <= self.size(),
            // RFC 8323 §6: a multiple of 1,024 bytes. None at all would get nowhere.
            (true, true) => len != 0 && len.is_multiple_of(self.size()),
            (false, true) => true,
        }
    }

    /// BERT's blocks are those of the largest size.
    const fn size_shift(self) -> u8 {
        if self.is_bert() {
            Self::MAX_SZX
        } else {
            self.szx
        }
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
    fn bert_counts_in_blocks_of_1024_bytes() {
        // RFC 8323 figure 13: the third message begins 8 blocks into the body.
        let value = BlockValue::new_reliable(8, false, 7).unwrap();
        assert_eq!(value.encode().as_bytes(), &[0x87]);
        assert_eq!(BlockValue::decode_reliable(&[0x87]), Ok(value));
        assert_eq!(BlockValue::decode(&[0x87]), Err(BlockError::ReservedSize));
        assert!(value.is_bert());
        assert_eq!((value.size(), value.offset()), (1_024, 8_192));
        assert!(value.allows_len(4_711) && value.allows_len(0));
        let more = BlockValue::new_reliable(3, true, 7).unwrap();
        assert!(more.allows_len(5_120));
        assert!(!more.allows_len(0) && !more.allows_len(5_119));
        assert_eq!(BlockValue::new_reliable(0, false, 8), None);
        let last = BlockValue::new_reliable(BlockValue::MAX_NUM, true, 7).unwrap();
        assert_eq!(last.offset(), 1_073_740_800);
    }

    /// RFC 7959 §2.3.
    #[test]
    fn descriptive_values_bind_the_payload() {
        let more = BlockValue::new(0, true, 0).unwrap();
        assert!(more.allows_len(16) && !more.allows_len(15) && !more.allows_len(32));
        let last = BlockValue::new(0, false, 0).unwrap();
        assert!(last.allows_len(0) && last.allows_len(16) && !last.allows_len(17));
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
