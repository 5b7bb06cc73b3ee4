//! Content formats as people name them.

use hedgerow_coap::ContentFormat;

/// Reads a content format: its number, its media type, or a short name.
pub(crate) fn parse(text: &str) -> Result<ContentFormat, String> {
    let short = SHORT_NAMES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text));
    if let Some((_, format)) = short {
        return Ok(*format);
    }
    // `parse` alone would accept a plus sign.
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text
            .parse()
            .map(ContentFormat)
            .map_err(|_| "numbers of content formats end at 65535".to_owned());
    }
    ContentFormat::from_media_type(text, None).ok_or_else(|| {
        "expected a number, a registered media type such as application/json, or a short name: \
         text, link, xml, binary, exi, json, cbor, senml-json, senml-cbor"
            .to_owned()
    })
}

/// Names that libcoap's client has, and a few more.
const SHORT_NAMES: &[(&str, ContentFormat)] = &[
    ("text", ContentFormat::TEXT_PLAIN),
    ("plain", ContentFormat::TEXT_PLAIN),
    ("text/plain", ContentFormat::TEXT_PLAIN),
    ("link", ContentFormat::LINK_FORMAT),
    ("link-format", ContentFormat::LINK_FORMAT),
    ("xml", ContentFormat::XML),
    ("binary", ContentFormat::OCTET_STREAM),
    ("octet-stream", ContentFormat::OCTET_STREAM),
    ("exi", ContentFormat::EXI),
    ("json", ContentFormat::JSON),
    ("cbor", ContentFormat::CBOR),
    ("senml-json", ContentFormat::SENML_JSON),
    ("senml+json", ContentFormat::SENML_JSON),
    ("senml-cbor", ContentFormat::SENML_CBOR),
    ("senml+cbor", ContentFormat::SENML_CBOR),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_named_by_number_media_type_and_short_name() {
        for (text, number) in [
            ("0", 0),
            ("50", 50),
            ("65535", 65_535),
            ("text/plain", 0),
            ("text/plain;charset=utf-8", 0),
            ("application/json", 50),
            ("JSON", 50),
            ("binary", 42),
            ("link", 40),
        ] {
            assert_eq!(parse(text), Ok(ContentFormat(number)), "{text}");
        }
        for text in ["", "65536", "+1", "-1", "jsonn", "application/unheard-of"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
