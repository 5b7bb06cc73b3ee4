//! Percent-encoding and the character classes of RFC 3986 §2.

use core::fmt;

use crate::UriError;

/// The longest value of Uri-Host, Uri-Path and Uri-Query, in bytes.
pub(crate) const MAX_COMPONENT_LEN: usize = 255;

/// Says whether `byte` is in the "unreserved" set (RFC 3986 §2.3).
pub(crate) const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Says whether `byte` is in the "sub-delims" set (RFC 3986 §2.2).
pub(crate) const fn is_sub_delim(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
    )
}

/// Says whether `byte` may stand in a path segment without percent-encoding (RFC 3986 §3.3).
pub(crate) const fn is_segment_char(byte: u8) -> bool {
    is_unreserved(byte) || is_sub_delim(byte) || matches!(byte, b':' | b'@')
}

/// Says whether `byte` may stand in a query without percent-encoding (RFC 3986 §3.4).
pub(crate) const fn is_query_char(byte: u8) -> bool {
    is_segment_char(byte) || matches!(byte, b'/' | b'?')
}

/// Says whether `byte` may stand in a registered name without percent-encoding (RFC 3986 §3.2.2).
pub(crate) const fn is_name_char(byte: u8) -> bool {
    is_unreserved(byte) || is_sub_delim(byte)
}

/// Checks that `text` consists of characters that `allowed` names and percent-encodings.
pub(crate) fn check(text: &str, allowed: impl Fn(u8) -> bool) -> Result<(), UriError> {
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = match (byte, after) {
            (b'%', [high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                after
            }
            (b'%', _) => return Err(UriError::InvalidPercentEncoding),
            _ if allowed(byte) => after,
            _ => return Err(UriError::InvalidCharacter),
        };
    }
    Ok(())
}

/// Checks that a component's text is well encoded and makes a UTF-8 value that fits its option.
pub(crate) fn check_component(
    text: &str,
    allowed: impl Fn(u8) -> bool,
    too_long: impl Fn(usize) -> UriError,
) -> Result<(), UriError> {
    check(text, allowed)?;
    // What is allowed is ASCII, so without percent-encodings the length is all that is left.
    if !text.contains('%') {
        return match text.len() {
            0..=MAX_COMPONENT_LEN => Ok(()),
            len => Err(too_long(len)),
        };
    }
    let mut room = [0; MAX_COMPONENT_LEN];
    let value = fill(&mut room, decoded(text)).ok_or_else(|| too_long(decoded(text).count()))?;
    core::str::from_utf8(value).map_err(|_| UriError::NotUtf8)?;
    Ok(())
}

/// Iterates over the bytes that checked text stands for. Percent-decoding happens here, once.
pub(crate) fn decoded(text: &str) -> impl Iterator<Item = u8> + Clone {
    let mut bytes = text.bytes();
    core::iter::from_fn(move || match bytes.next()? {
        b'%' => {
            let high = hex_value(bytes.next()?)?;
            let low = hex_value(bytes.next()?)?;
            Some((high << 4) | low)
        }
        byte => Some(byte),
    })
}

/// Writes what `bytes` decode to into the front of `room`; `None` if it doesn't fit.
pub(crate) fn fill(room: &mut [u8], bytes: impl Iterator<Item = u8>) -> Option<&[u8]> {
    let mut len = 0;
    for byte in bytes {
        *room.get_mut(len)? = byte;
        len += 1;
    }
    room.get(..len)
}

/// Writes `value` with every byte percent-encoded that `allowed` doesn't name, in upper-case
/// digits.
///
/// MUST (RFC 7252 §6.5): the hexadecimal digits are upper-case letters.
pub(crate) fn encode(
    out: &mut impl fmt::Write,
    value: impl Iterator<Item = u8>,
    allowed: impl Fn(u8) -> bool,
) -> fmt::Result {
    for byte in value {
        if allowed(byte) {
            out.write_char(char::from(byte))?;
        } else {
            write!(out, "%{byte:02X}")?;
        }
    }
    Ok(())
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
