//! Percent-encoding of components, RFC 3986 §2.1 and §3.3.

use std::fmt::Write;

use crate::TargetError;

/// The longest value of Uri-Path and Uri-Query, in bytes (RFC 7252 §5.10).
pub(crate) const MAX_COMPONENT_LEN: usize = 255;

/// Says whether `byte` may stand in a path segment as it is.
pub(crate) const fn is_segment_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
        )
}

/// Says whether `byte` may stand in a query as it is.
pub(crate) const fn is_query_char(byte: u8) -> bool {
    is_segment_char(byte) || matches!(byte, b'/' | b'?')
}

/// Decodes one component, once, and refuses what could mean something else further on.
///
/// Control characters are well-formed URI text and well-formed option values, but a device that
/// handles its paths as C strings stops at a NUL, and one that logs them splits lines at a CR.
pub(crate) fn decode(text: &str, allowed: impl Fn(u8) -> bool) -> Result<String, TargetError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let (byte, after) = match (byte, after) {
            (b'%', [high, low, after @ ..]) => match (hex_value(*high), hex_value(*low)) {
                (Some(high), Some(low)) => ((high << 4) | low, after),
                _ => return Err(TargetError::PercentEncoding),
            },
            (b'%', _) => return Err(TargetError::PercentEncoding),
            (b'#', _) => return Err(TargetError::Fragment),
            _ if allowed(byte) => (byte, after),
            _ => return Err(TargetError::Character),
        };
        if byte.is_ascii_control() {
            return Err(TargetError::ControlCharacter);
        }
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| TargetError::NotUtf8)
}

/// Appends `value` with every byte percent-encoded that `allowed` doesn't name.
pub(crate) fn encode(out: &mut String, value: &str, allowed: impl Fn(u8) -> bool) {
    for byte in value.bytes() {
        if allowed(byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

const fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
