//! From a request target to CoAP's options (RFC 9112 §3.2, RFC 7252 §6.4).

use alloc::vec::Vec;

use hedgerow_coap::OptionNumber;

use crate::refusal::Refusal;

/// An option's number and value.
pub(crate) type OwnedOption = (OptionNumber, Vec<u8>);

/// The longest value of Uri-Path and Uri-Query, in bytes (RFC 7252 §5.10).
const MAX_VALUE_LEN: usize = 255;

/// Writes the target's path and query as options. Its authority names this device, whatever it is: the key
/// that the client proved says which device it talks to.
///
/// # Errors
///
/// [`Refusal::TargetTooLong`] for more than `max` options, before any above that is made.
pub(crate) fn map_target(
    target: &str,
    max: usize,
    options: &mut Vec<OwnedOption>,
) -> Result<(), Refusal> {
    let origin = origin_form(target).ok_or(Refusal::BadRequest)?;
    let (path, query) = match origin.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (origin, None),
    };
    if path != "/" {
        let mut segments = path.split('/').skip(1).peekable();
        while let Some(segment) = segments.next() {
            let value = decode(segment, PATH_SIGNS)?;
            // Two readers could resolve these differently. An empty segment may be the last one.
            let is_last = segments.peek().is_none();
            if matches!(value.as_slice(), b"." | b"..")
                || value.contains(&b'/')
                || (value.is_empty() && !is_last)
            {
                return Err(Refusal::BadRequest);
            }
            push(options, max, OptionNumber::URI_PATH, value)?;
        }
    }
    for argument in query.into_iter().flat_map(|query| query.split('&')) {
        let value = decode(argument, QUERY_SIGNS)?;
        push(options, max, OptionNumber::URI_QUERY, value)?;
    }
    Ok(())
}

fn push(
    options: &mut Vec<OwnedOption>,
    max: usize,
    number: OptionNumber,
    value: Vec<u8>,
) -> Result<(), Refusal> {
    if options.len() >= max {
        return Err(Refusal::TargetTooLong);
    }
    options.push((number, value));
    Ok(())
}

/// Returns path and query of an origin form, or of an absolute form (MUST, RFC 9112 §3.2.2).
fn origin_form(target: &str) -> Option<&str> {
    if target.starts_with('/') {
        return Some(target);
    }
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let (authority, origin) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at_checked(at)?,
        None => (rest, "/"),
    };
    // RFC 9110 §4.2.4: a user's name there is an error.
    let is_authority = !authority.is_empty()
        && authority
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || AUTHORITY_SIGNS.contains(char::from(byte)));
    (is_authority && origin.starts_with('/')).then_some(origin)
}

/// Decodes percent signs; other characters have to be those that may stand as they are (RFC 3986 §3.3, §3.4).
fn decode(text: &str, signs: &str) -> Result<Vec<u8>, Refusal> {
    let mut value = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        value.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| {
                    byte.and_then(|byte| char::from(byte).to_digit(16))
                        .and_then(|digit| u8::try_from(digit).ok())
                };
                let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
                    return Err(Refusal::BadRequest);
                };
                (high << 4) | low
            }
            _ if byte.is_ascii_alphanumeric() || signs.contains(char::from(byte)) => byte,
            _ => return Err(Refusal::BadRequest),
        });
    }
    if value.len() > MAX_VALUE_LEN {
        return Err(Refusal::TargetTooLong);
    }
    // MUST (RFC 7252 §3.2): these options are UTF-8, and no control character helps anybody.
    match core::str::from_utf8(&value) {
        Ok(text) if !text.chars().any(char::is_control) => Ok(value),
        _ => Err(Refusal::BadRequest),
    }
}

/// What a segment may have beside letters and digits.
const PATH_SIGNS: &str = "-._~!$&'()*+,;=:@";
/// What a host and a port may have (RFC 3986 §3.2.2).
const AUTHORITY_SIGNS: &str = "-._~%!$&'()*+,;=:[]";
const QUERY_SIGNS: &str = "-._~!$'()*+,;=:@/?";
