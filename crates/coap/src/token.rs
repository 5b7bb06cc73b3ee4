//! Tokens, RFC 7252 §5.3.1.

use core::fmt;

/// The longest token, in bytes.
pub const MAX_TOKEN_LEN: usize = 8;

/// A token of 0 to 8 bytes, by which a client matches a response to its request.
///
/// Bytes behind the length are zero, so that equal tokens are equal values.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    bytes: [u8; MAX_TOKEN_LEN],
    len: u8,
}

impl Token {
    /// The token without bytes.
    pub const EMPTY: Self = Self {
        bytes: [0; MAX_TOKEN_LEN],
        len: 0,
    };

    /// Copies a token; `None` if `bytes` is longer than [`MAX_TOKEN_LEN`].
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut token = Self::EMPTY;
        token.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        token.len = u8::try_from(bytes.len()).ok()?;
        Some(token)
    }

    /// Takes the first `len` bytes of `bytes`, which are more than the token: no loop, no call.
    pub(crate) fn from_prefix(bytes: [u8; MAX_TOKEN_LEN], len: u8) -> Self {
        let len = len.min(8);
        let mask = match len {
            8 => u64::MAX,
            _ => (1 << (8 * len)) - 1,
        };
        Self {
            bytes: (u64::from_le_bytes(bytes) & mask).to_le_bytes(),
            len,
        }
    }

    /// Lends the token's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len()).unwrap_or_default()
    }

    /// Returns the token's length, 0 to 8 bytes.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Says whether the token has no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) const fn len_u8(self) -> u8 {
        self.len
    }

    /// Returns the token's bytes, filled up with zeros.
    pub(crate) const fn padded(self) -> [u8; MAX_TOKEN_LEN] {
        self.bytes
    }
}

/// Makes a token from an array whose length is known to fit.
macro_rules! from_array {
    ($($len:literal),*) => {
        $(impl From<[u8; $len]> for Token {
            fn from(array: [u8; $len]) -> Self {
                let mut bytes = [0; MAX_TOKEN_LEN];
                for (to, from) in bytes.iter_mut().zip(array) {
                    *to = from;
                }
                Self { bytes, len: $len }
            }
        })*
    };
}

from_array!(1, 2, 3, 4, 5, 6, 7, 8);

impl AsRef<[u8]> for Token {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(")?;
        for byte in self.as_bytes() {
            write!(formatter, "{byte:02x}")?;
        }
        formatter.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_hold_zero_to_eight_bytes() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        for len in 0..=8 {
            let token = Token::new(&bytes[..len]).unwrap();
            assert_eq!(token.as_bytes(), &bytes[..len]);
            assert_eq!(token.len(), len);
        }
        assert_eq!(Token::new(&bytes), None);
    }

    #[test]
    fn trailing_zero_byte_makes_another_token() {
        assert_ne!(Token::from([1]), Token::from([1, 0]));
        assert_ne!(Token::EMPTY, Token::from([0]));
    }

    #[test]
    fn prefix_equals_copy_for_every_length() {
        let bytes = [9, 8, 7, 6, 5, 4, 3, 2];
        for len in 0..=8_u8 {
            let copied = Token::new(&bytes[..usize::from(len)]).unwrap();
            assert_eq!(Token::from_prefix(bytes, len), copied);
        }
    }
}
