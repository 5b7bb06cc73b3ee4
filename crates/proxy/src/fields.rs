//! Reading the few fields of an HTTP request that reach a device, and refusing those that two
//! readers could take differently.

use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, IF_MATCH,
    IF_NONE_MATCH, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName};

use crate::Failure;

/// Fields that decide what a request means. None of them is hop-by-hop.
const END_TO_END: [HeaderName; 6] = [
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    IF_MATCH,
    IF_NONE_MATCH,
];

/// Checks how the request is framed and returns the length that Content-Length names.
///
/// An HTTP library has read the body already, and another hop may have read it differently: the
/// contradictions of RFC 9112 §6.3 are refused here too, whatever the library makes of them.
pub(crate) fn check_framing(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    // MUST (RFC 9110 §7.6.1): a field that Connection names isn't forwarded. One that decides the
    // meaning can't be left out, so the request is refused.
    for value in headers.get_all(CONNECTION) {
        let names = value.to_str().map_err(|_| invalid("Connection"))?;
        let is_end_to_end = |name: &str| {
            let mut fields = END_TO_END.iter();
            fields.any(|field| name.trim().eq_ignore_ascii_case(field.as_str()))
        };
        if names.split(',').any(is_end_to_end) {
            return Err(invalid("Connection"));
        }
    }
    // RFC 9110 §14.5: a partial PUT that isn't supported mustn't be taken for a whole one.
    if headers.contains_key(CONTENT_RANGE) {
        return Err(invalid("Content-Range"));
    }
    let Some(length) = only(headers, &CONTENT_LENGTH, "Content-Length")? else {
        return Ok(None);
    };
    let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || headers.contains_key(TRANSFER_ENCODING) {
        return Err(invalid("Content-Length"));
    }
    // More digits than a u64 has are a number over every limit.
    Ok(Some(length.parse().unwrap_or(u64::MAX)))
}

/// Returns the value of a field that may stand once.
pub(crate) fn only<'h>(
    headers: &'h HeaderMap,
    field: &HeaderName,
    name: &'static str,
) -> Result<Option<&'h str>, Failure> {
    let mut values = headers.get_all(field).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(invalid(name));
    }
    value
        .map(|value| value.to_str().map_err(|_| invalid(name)))
        .transpose()
}

/// Returns a list field's value, its lines joined (RFC 9110 §5.3).
pub(crate) fn list(
    headers: &HeaderMap,
    field: &HeaderName,
    name: &'static str,
) -> Result<Option<String>, Failure> {
    let values = headers.get_all(field).iter();
    let lines = values
        .map(|value| value.to_str().map_err(|_| invalid(name)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok((!lines.is_empty()).then(|| lines.join(", ")))
}

pub(crate) const fn invalid(name: &'static str) -> Failure {
    Failure::InvalidField { name }
}
