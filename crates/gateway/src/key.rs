//! Keys as people write them.

use hedgerow_core::{MAX_PSK_LEN, Psk, Secret};

/// Why a text is no key. None of these errors holds a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// `0x` is followed by something else than pairs of hexadecimal digits.
    #[error("the hexadecimal digits behind 0x are not an even number of 0-9 and a-f")]
    Hexadecimal,
    /// There is nothing, or nothing behind `0x`.
    #[error("the key is empty: expected 1 to {MAX_PSK_LEN} bytes")]
    Empty,
    /// The key is too long. The number is its length in bytes.
    #[error("the key has {0} bytes: expected 1 to {MAX_PSK_LEN}")]
    Length(usize),
    /// A file with a key has more than one line.
    #[error("there is more than one line: expected the key alone")]
    Lines,
}

/// Reads a key of 1 to [`MAX_PSK_LEN`] bytes: `0x` and pairs of hexadecimal digits, or the text as
/// it stands. This is the form of every key in Hedgerow's configurations, files and arguments.
///
/// ```
/// let key = hedgerow_gateway::parse_key(b"0x00ffA1")?;
/// assert_eq!(key.expose(), [0x00, 0xff, 0xa1]);
/// # Ok::<(), hedgerow_gateway::KeyError>(())
/// ```
///
/// # Errors
///
/// [`KeyError::Hexadecimal`], [`KeyError::Empty`] and [`KeyError::Length`].
pub fn parse_key(text: &[u8]) -> Result<Psk, KeyError> {
    let length = |len| match len {
        0 => KeyError::Empty,
        len => KeyError::Length(len),
    };
    let Some(digits) = text.strip_prefix(b"0x") else {
        return Psk::new(text).map_err(|_| length(text.len()));
    };
    let (pairs, odd) = digits.as_chunks::<2>();
    let is_hexadecimal = digits.iter().all(u8::is_ascii_hexdigit);
    if !odd.is_empty() || !is_hexadecimal {
        return Err(KeyError::Hexadecimal);
    }
    let mut bytes = Secret::<MAX_PSK_LEN>::zeroed();
    let place = bytes
        .expose_mut()
        .get_mut(..pairs.len())
        .ok_or(length(pairs.len()))?;
    for (byte, [high, low]) in place.iter_mut().zip(pairs) {
        *byte = (nibble(*high) << 4) | nibble(*low);
    }
    Psk::new(place).map_err(|_| length(pairs.len()))
}

/// Reads a key from what a file of its own holds: one line, whose end may be there or not.
///
/// # Errors
///
/// Those of [`parse_key`], and [`KeyError::Lines`].
pub fn parse_key_file(content: &[u8]) -> Result<Psk, KeyError> {
    let line = content.strip_suffix(b"\n").unwrap_or(content);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.contains(&b'\n') {
        return Err(KeyError::Lines);
    }
    parse_key(line)
}

/// Returns the value of a hexadecimal digit.
const fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit.wrapping_sub(b'0'),
        _ => (digit | 0x20).wrapping_sub(b'a').wrapping_add(10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_hexadecimal_or_text() {
        assert_eq!(parse_key(b"0x00fFa1").unwrap().expose(), [0x00, 0xff, 0xa1]);
        assert_eq!(parse_key(b"0X00").unwrap().expose(), b"0X00");
        assert_eq!(parse_key(b"secretPSK").unwrap().expose(), b"secretPSK");
        assert_eq!(parse_key(&[b'a'; 64]).unwrap().expose(), [b'a'; 64]);
        for (text, error) in [
            (b"".as_slice(), KeyError::Empty),
            (b"0x", KeyError::Empty),
            (b"0x0", KeyError::Hexadecimal),
            (b"0x0g", KeyError::Hexadecimal),
            (&[b'a'; 65], KeyError::Length(65)),
        ] {
            assert_eq!(parse_key(text).unwrap_err(), error);
        }
        let long = [b"0x".as_slice(), &[b'0'; 130]].concat();
        assert_eq!(parse_key(&long).unwrap_err(), KeyError::Length(65));
    }

    #[test]
    fn file_has_one_line() {
        for content in [b"0x616b".as_slice(), b"ak", b"ak\n", b"ak\r\n"] {
            assert_eq!(parse_key_file(content).unwrap().expose(), b"ak");
        }
        for (content, error) in [
            (b"a\nk\n".as_slice(), KeyError::Lines),
            (b"ak\n\n", KeyError::Lines),
            (b"\n", KeyError::Empty),
        ] {
            assert_eq!(parse_key_file(content).unwrap_err(), error);
        }
    }
}
