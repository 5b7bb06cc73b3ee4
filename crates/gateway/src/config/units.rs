//! Durations, sizes and keys as people write them.

use std::time::Duration;

use hedgerow_core::{MAX_PSK_LEN, Psk, Secret};

/// What a duration looks like, for messages.
pub(super) const DURATION: &str = "a duration such as \"250ms\", \"30s\", \"2min\" or \"1h\"";

/// What a size looks like, for messages.
pub(super) const SIZE: &str = "a number of bytes, or a text such as \"64 KiB\" or \"1 MiB\"";

/// Reads a duration: a whole number and `ms`, `s`, `min` or `h`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(factor).map(Duration::from_millis)
}

/// Reads a size: a whole number and nothing, `B`, `KiB` or `MiB`.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Why a text is no key. None of them holds a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyError {
    #[error("the hexadecimal digits behind 0x are not an even number of 0-9 and a-f")]
    Hexadecimal,
    #[error("the key is empty: expected 1 to {MAX_PSK_LEN} bytes")]
    Empty,
    #[error("the key has {0} bytes: expected 1 to {MAX_PSK_LEN}")]
    Length(usize),
}

/// Reads a key: `0x` and hexadecimal digits, or the text itself.
pub(super) fn key(text: &[u8]) -> Result<Psk, KeyError> {
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

/// Returns the value of a hexadecimal digit.
const fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit.wrapping_sub(b'0'),
        _ => (digit | 0x20).wrapping_sub(b'a').wrapping_add(10),
    }
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim_start_matches(' ')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_have_units() {
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("30 s"), Some(Duration::from_secs(30)));
        assert_eq!(duration("2min"), Some(Duration::from_secs(120)));
        assert_eq!(duration("1h"), Some(Duration::from_secs(3_600)));
        for text in ["", "s", "30", "-1s", "1.5s", "1 d", "99999999999999999999s"] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(duration("18446744073709551615h"), None);
        assert_eq!(size("512"), Some(512));
        assert_eq!(size("64 KiB"), Some(65_536));
        assert_eq!(size("1MiB"), Some(1 << 20));
        for text in ["", "MiB", "1 MB", "1.5 MiB", "18446744073709551615 KiB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn keys_are_hexadecimal_or_text() {
        assert_eq!(key(b"0x00fFa1").unwrap().expose(), [0x00, 0xff, 0xa1]);
        assert_eq!(key(b"secretPSK").unwrap().expose(), b"secretPSK");
        assert_eq!(key(&[b'a'; 64]).unwrap().expose(), [b'a'; 64]);
        for (text, error) in [
            (b"".as_slice(), KeyError::Empty),
            (b"0x", KeyError::Empty),
            (b"0x0", KeyError::Hexadecimal),
            (b"0x0g", KeyError::Hexadecimal),
            (&[b'a'; 65], KeyError::Length(65)),
        ] {
            assert_eq!(key(text).unwrap_err(), error);
        }
        let long = [b"0x".as_slice(), &[b'0'; 130]].concat();
        assert_eq!(key(&long).unwrap_err(), KeyError::Length(65));
    }
}
