//! Option values that are unsigned numbers, RFC 7252 §3.2.

/// Decodes an unsigned number of any length. Leading zero bytes are tolerated and the empty value
/// is 0 (RFC 7252 §3.2).
///
/// `None` if the number needs more than 32 bits, which no defined option has.
pub fn decode_uint(value: &[u8]) -> Option<u32> {
    // Values of up to four bytes are nearly all there are; a peer may still pad with zeros.
    match *value {
        [] => Some(0),
        [a] => Some(u32::from(a)),
        [a, b] => Some(u32::from_be_bytes([0, 0, a, b])),
        [a, b, c] => Some(u32::from_be_bytes([0, a, b, c])),
        [a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d])),
        [0, ref rest @ ..] => {
            let (zeros, last) = rest.split_last_chunk::<4>()?;
            zeros
                .iter()
                .all(|byte| *byte == 0)
                .then(|| u32::from_be_bytes(*last))
        }
        _ => None,
    }
}

/// An unsigned number as an option value: as short as it can be, and empty for 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UintValue {
    bytes: [u8; 4],
    len: u8,
}

impl UintValue {
    /// Encodes `value` in the smallest number of bytes (RFC 7252 §3.2).
    pub const fn new(value: u32) -> Self {
        let len: u8 = match value {
            0 => 0,
            1..=0xff => 1,
            0x100..=0xffff => 2,
            0x1_0000..=0xff_ffff => 3,
            _ => 4,
        };
        let shift: u32 = match len {
            0 | 4 => 0,
            1 => 24,
            2 => 16,
            _ => 8,
        };
        Self {
            bytes: (value << shift).to_be_bytes(),
            len,
        }
    }

    /// Lends the value's bytes, 0 to 4 of them.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl AsRef<[u8]> for UintValue {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_the_fewest_bytes() {
        let cases: [(u32, &[u8]); 9] = [
            (0, &[]),
            (1, &[1]),
            (0xff, &[0xff]),
            (0x100, &[1, 0]),
            (0xffff, &[0xff, 0xff]),
            (0x1_0000, &[1, 0, 0]),
            (0xff_ffff, &[0xff, 0xff, 0xff]),
            (0x100_0000, &[1, 0, 0, 0]),
            (u32::MAX, &[0xff, 0xff, 0xff, 0xff]),
        ];
        for (value, bytes) in cases {
            assert_eq!(UintValue::new(value).as_bytes(), bytes);
            assert_eq!(decode_uint(bytes), Some(value));
        }
    }

    #[test]
    fn leading_zeros_change_nothing() {
        assert_eq!(decode_uint(&[0]), Some(0));
        assert_eq!(decode_uint(&[0, 0, 7]), Some(7));
        assert_eq!(decode_uint(&[0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(decode_uint(&[0, 0xff, 0xff, 0xff, 0xff]), Some(u32::MAX));
    }

    #[test]
    fn numbers_over_32_bits_are_none() {
        assert_eq!(decode_uint(&[1, 0, 0, 0, 0]), None);
        assert_eq!(decode_uint(&[0, 1, 0, 0, 0, 0]), None);
    }
}
