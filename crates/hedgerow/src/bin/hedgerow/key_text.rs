//! Keys as people write them.

use std::fs;
use std::path::Path;

use hedgerow_core::{MAX_PSK_LEN, Psk, Secret};
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::private_file;

/// Reads the value of `-k`: `@` and the name of a file, or what [`parse`] takes.
pub(crate) fn parse_argument(text: &str) -> Result<Psk, Failure> {
    let Some(path) = text.strip_prefix('@') else {
        return parse(text.as_bytes()).map_err(|error| Failure::usage(format!("-k: {error}")));
    };
    let path = Path::new(path);
    private_file::warn_if_readable_by_others(path);
    let content = fs::read(path).map_err(|error| Failure::file(path, &error))?;
    let content = Zeroizing::new(content);
    let line = content.strip_suffix(b"\n").unwrap_or(&content);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    parse(line).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

/// Reads a key: `0x` and hexadecimal digits, or the bytes of the text.
pub(crate) fn parse(text: &[u8]) -> Result<Psk, KeyError> {
    let Some(digits) = text.strip_prefix(b"0x") else {
        return Psk::new(text).map_err(|_| KeyError::Length(text.len()));
    };
    let (pairs, odd) = digits.as_chunks::<2>();
    let mut bytes = Secret::<MAX_PSK_LEN>::zeroed();
    let place = bytes
        .expose_mut()
        .get_mut(..pairs.len())
        .ok_or(KeyError::Length(pairs.len()))?;
    for (byte, [high, low]) in place.iter_mut().zip(pairs) {
        let high = nibble(*high).ok_or(KeyError::Hexadecimal)?;
        *byte = (high << 4) | nibble(*low).ok_or(KeyError::Hexadecimal)?;
    }
    if !odd.is_empty() {
        return Err(KeyError::Hexadecimal);
    }
    Psk::new(place).map_err(|_| KeyError::Length(pairs.len()))
}

/// Why a text is no key. None of them holds a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("what follows 0x in the key is not an even number of hexadecimal digits")]
    Hexadecimal,
    #[error("the key has {0} bytes: 1 to {MAX_PSK_LEN} needed")]
    Length(usize),
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(digit.wrapping_sub(b'a').wrapping_add(10)),
        b'A'..=b'F' => Some(digit.wrapping_sub(b'A').wrapping_add(10)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_text_or_hexadecimal_digits() {
        assert_eq!(parse(b"secretPSK").unwrap().expose(), b"secretPSK");
        assert_eq!(parse(b"0x00FfA0").unwrap().expose(), [0, 0xff, 0xa0]);
        assert_eq!(parse(b"0X00").unwrap().expose(), b"0X00");
        assert_eq!(parse(&[b'k'; 64]).unwrap().expose(), [b'k'; 64]);
        let too_long = [b"0x".as_slice(), &[b'0'; 130]].concat();
        for (text, error) in [
            (b"".as_slice(), KeyError::Length(0)),
            (b"0x", KeyError::Length(0)),
            (b"0x123", KeyError::Hexadecimal),
            (b"0x1g", KeyError::Hexadecimal),
            (&[b'k'; 65], KeyError::Length(65)),
            (&too_long, KeyError::Length(65)),
        ] {
            assert_eq!(parse(text).unwrap_err(), error);
        }
    }

    #[test]
    fn failures_do_not_repeat_the_key() {
        let failure = parse_argument("0xsecret").unwrap_err();
        assert!(!failure.message.contains("secret"), "{failure}");
    }
}
