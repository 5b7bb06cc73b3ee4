//! Content negotiation, RFC 8075 §6.1 and RFC 7252 §10.2.2.

use hedgerow_coap::ContentFormat;

use crate::Failure;
use crate::media_type::{MediaType, OWS, split_unquoted};

/// The most content formats that are tried one after the other.
const MAX_ALTERNATIVES: usize = 4;

/// Maps Accept and Accept-Encoding to the Accept options to try, the most preferred first; `None`
/// stands for no Accept option. There is at least one.
///
/// CoAP's Accept is one format, and critical: a device that hasn't got it answers 4.06. A range is
/// no format, so from the first range on nothing is asked for; what can't be mapped is passed over.
pub(crate) fn map_accept(
    accept: Option<&str>,
    accept_encoding: Option<&str>,
    passes_coap_payload: bool,
) -> Result<Vec<Option<ContentFormat>>, Failure> {
    let codings = codings(accept_encoding);
    let mut alternatives = Vec::new();
    let mut was_refused = false;
    for media_type in preferred_types(accept.unwrap_or_default()) {
        // MUST (RFC 8075 §6.1): Accept */* is mapped to a request without an Accept option.
        if media_type.is_range() {
            alternatives.push(None);
            break;
        }
        if media_type.is_coap_payload() && !passes_coap_payload {
            was_refused = true;
            continue;
        }
        let format = media_type.coap_payload().or_else(|| {
            let mut formats = codings
                .iter()
                .filter_map(|coding| media_type.content_format(*coding, None));
            formats.next()
        });
        if format.is_some() && !alternatives.contains(&format) {
            alternatives.push(format);
        }
        if alternatives.len() == MAX_ALTERNATIVES {
            break;
        }
    }
    match (alternatives.is_empty(), was_refused) {
        (false, _) => Ok(alternatives),
        (true, false) => Ok(vec![None]),
        // RFC 8075 §6.2: a client error unless pass-through is configured.
        (true, true) => Err(Failure::CoapPayloadNotAcceptable),
    }
}

/// Lists the media types and ranges that are acceptable, by falling weight; ranges come behind
/// types of the same weight (RFC 9110 §12.5.1). What is malformed is passed over.
fn preferred_types(accept: &str) -> Vec<MediaType<'_>> {
    let parts = split_unquoted(accept, ',').unwrap_or_default();
    let mut types: Vec<_> = parts
        .into_iter()
        .filter_map(|part| {
            let mut media_type = MediaType::parse(part)?;
            let mut weight = Some(1000);
            media_type.parameters.retain(|(name, value)| {
                let is_weight = name == "q";
                if is_weight {
                    weight = parse_weight(value);
                }
                !is_weight
            });
            let weight = weight.filter(|weight| *weight > 0)?;
            Some((weight, media_type))
        })
        .collect();
    types.sort_by_key(|(weight, media_type)| (std::cmp::Reverse(*weight), media_type.is_range()));
    types
        .into_iter()
        .map(|(_, media_type)| media_type)
        .collect()
}

/// Lists the content codings to look for, `None` being none: that one unless it is refused, and
/// otherwise those named, by falling weight (RFC 9110 §12.5.3).
fn codings(accept_encoding: Option<&str>) -> Vec<Option<&str>> {
    let mut weighted: Vec<_> = accept_encoding
        .unwrap_or_default()
        .split(',')
        .filter_map(|part| {
            let (coding, weight) = match part.split_once(';') {
                Some((coding, parameter)) => {
                    let weight = parameter.trim_matches(OWS).strip_prefix("q=")?;
                    (coding, parse_weight(weight)?)
                }
                None => (part, 1000),
            };
            Some((weight, coding.trim_matches(OWS)))
        })
        .filter(|(_, coding)| !coding.is_empty())
        .collect();
    let weight_of = |name: &str| {
        let mut found = weighted
            .iter()
            .filter(|(_, coding)| coding.eq_ignore_ascii_case(name));
        found.next().map(|(weight, _)| *weight)
    };
    if weight_of("identity").or(weight_of("*")) != Some(0) {
        return vec![None];
    }
    weighted.retain(|(weight, coding)| *weight > 0 && *coding != "*");
    weighted.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    weighted
        .into_iter()
        .map(|(_, coding)| Some(coding))
        .collect()
}

/// Parses a weight into thousandths (RFC 9110 §12.4.2).
fn parse_weight(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_maps_to_the_formats_to_try() {
        let json = Some(ContentFormat::JSON);
        let cbor = Some(ContentFormat::CBOR);
        let text = Some(ContentFormat::TEXT_PLAIN);
        let xml = Some(ContentFormat::XML);
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        let many = "application/json,application/cbor,application/xml,text/plain,image/png";
        for (accept, expected) in [
            ("", vec![None]),
            ("*/*", vec![None]),
            ("application/json", vec![json]),
            ("Application/JSON; Q=1.0", vec![json]),
            ("application/json;q=0.5, application/cbor", vec![cbor, json]),
            ("application/json, application/cbor", vec![json, cbor]),
            ("*/*, application/json", vec![json, None]),
            ("*/*, application/json;q=0.9", vec![None]),
            ("application/*", vec![None]),
            (browser, vec![xml, None]),
            ("text/html", vec![None]),
            ("text/html, text/plain;q=0.1", vec![text]),
            ("text/plain; charset=utf-8", vec![text]),
            ("text/plain; charset=iso-8859-1", vec![None]),
            ("application/json;q=0", vec![None]),
            ("application/json;q=2, application/cbor", vec![cbor]),
            ("application/json;q=0.1234", vec![None]),
            ("application/json;q=", vec![None]),
            ("application/json;q=+1", vec![None]),
            ("\"application/json", vec![None]),
            ("*", vec![None]),
            ("application/json,,application/json", vec![json]),
            (many, vec![json, cbor, xml, text]),
        ] {
            assert_eq!(
                map_accept(Some(accept), None, false),
                Ok(expected),
                "{accept}"
            );
        }
        assert_eq!(map_accept(None, None, false), Ok(vec![None]));
    }

    #[test]
    fn coap_payload_is_asked_for_only_where_configured() {
        let accept = "application/coap-payload;cf=65001";
        assert_eq!(
            map_accept(Some(accept), None, false),
            Err(Failure::CoapPayloadNotAcceptable)
        );
        assert_eq!(
            map_accept(Some(accept), None, true),
            Ok(vec![Some(ContentFormat(65001))])
        );
        let with_other = format!("{accept}, application/json;q=0.1");
        assert_eq!(
            map_accept(Some(&with_other), None, false),
            Ok(vec![Some(ContentFormat::JSON)])
        );
        for wrong in ["cf=65536", "cf=+1", "cf=", "cf=1;x=2", "x=1", "cf=\"\""] {
            let accept = format!("application/coap-payload;{wrong}");
            assert_eq!(
                map_accept(Some(&accept), None, true),
                Ok(vec![None]),
                "{wrong}"
            );
        }
    }

    #[test]
    fn coding_counts_where_the_plain_form_is_refused() {
        let json = |encoding| map_accept(Some("application/json"), Some(encoding), false).unwrap();
        assert_eq!(json("gzip, deflate, br"), [Some(ContentFormat::JSON)]);
        assert_eq!(json(""), [Some(ContentFormat::JSON)]);
        for refused in [
            "identity;q=0, gzip, deflate",
            "deflate, *;q=0",
            "deflate;q=0.1,identity;q=0.000",
        ] {
            assert_eq!(
                json(refused),
                [Some(ContentFormat::JSON_DEFLATE)],
                "{refused}"
            );
        }
        assert_eq!(json("gzip, identity;q=0"), [None]);
        assert_eq!(json("identity, *;q=0"), [Some(ContentFormat::JSON)]);
    }
}
