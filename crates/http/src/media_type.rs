//! Content formats of media types, and what a client accepts (RFC 8075 §6, RFC 9110 §12.5.1).

use hedgerow_coap::ContentFormat;

use crate::head::{Head, list};
use crate::refusal::Refusal;

/// Finds the content format of a media type. US-ASCII, which text is without a charset, is UTF-8 too.
fn content_format(media_type: &str) -> Option<ContentFormat> {
    match media_type.trim().eq_ignore_ascii_case("text/plain") {
        true => Some(ContentFormat::TEXT_PLAIN),
        false => ContentFormat::from_media_type(media_type, None),
    }
}

/// Returns the format of a request's body, if it says one.
pub(crate) fn body_format(head: &Head<'_>) -> Result<Option<ContentFormat>, Refusal> {
    if head.values("content-encoding").next().is_some() {
        return Err(Refusal::UnsupportedMediaType);
    }
    let mut types = head.values("content-type");
    match (types.next(), types.next()) {
        (None, _) => Ok(None),
        (Some(media_type), None) => content_format(media_type)
            .map(Some)
            .ok_or(Refusal::UnsupportedMediaType),
        (Some(_), Some(_)) => Err(Refusal::BadRequest),
    }
}

/// Returns the one format that CoAP's Accept can ask for: the first one known; `None` where anything, or any of
/// a kind, is acceptable.
pub(crate) fn accepted_format(head: &Head<'_>) -> Result<Option<ContentFormat>, Refusal> {
    let mut asked = false;
    let mut first = None;
    for item in head.values("accept").flat_map(list) {
        asked = true;
        let (media_type, weight) = match weight_at(item) {
            Some(at) => item.split_at_checked(at).unwrap_or((item, "")),
            None => (item, ""),
        };
        if is_zero(weight) {
            continue;
        }
        if media_type.trim().ends_with("/*") {
            return Ok(None);
        }
        first = first.or_else(|| content_format(media_type));
    }
    match (asked, first) {
        (true, None) => Err(Refusal::NotAcceptable),
        (_, first) => Ok(first),
    }
}

/// Finds where an item's weight begins (RFC 9110 §12.4.2).
fn weight_at(item: &str) -> Option<usize> {
    let mut at = 0_usize;
    for part in item.split(';') {
        let name = part.trim_start().get(..2).unwrap_or_default();
        if at > 0 && name.eq_ignore_ascii_case("q=") {
            return Some(at.saturating_sub(1));
        }
        at = at.saturating_add(part.len()).saturating_add(1);
    }
    None
}

/// Says whether a weight is zero: not acceptable.
fn is_zero(weight: &str) -> bool {
    let digits = weight.trim_start_matches([';', ' ', '\t', 'q', 'Q', '=']);
    !digits.is_empty()
        && digits
            .trim_end()
            .bytes()
            .all(|byte| matches!(byte, b'0' | b'.'))
}
