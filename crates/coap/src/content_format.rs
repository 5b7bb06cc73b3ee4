//! Content formats, RFC 7252 §12.3 and the registry that it opened.

use core::fmt;

use crate::{UintValue, decode_uint};

/// A content format: a media type and a content coding as one number (RFC 7252 §12.3). Any of the
/// 65,536 can be held.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentFormat(pub u16);

/// Declares the registered formats once: constant, number, media type and content coding.
macro_rules! content_formats {
    ($($const:ident = $number:literal, $media_type:literal $(, $coding:literal)?;)*) => {
        impl ContentFormat {
            $(#[doc = concat!("`", $media_type, "`" $(, " in ", $coding)?, ".")]
            pub const $const: Self = Self($number);)*

            /// Every format that this crate knows, in the order of numbers.
            pub const KNOWN: &'static [Self] = &[$(Self::$const,)*];

            /// Returns the media type as the registry writes it, if this crate knows the number.
            pub const fn media_type(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($media_type),)*
                    _ => None,
                }
            }

            /// Returns the content coding, if the format has one.
            pub const fn content_coding(self) -> Option<&'static str> {
                match self.0 {
                    $($($number => Some($coding),)?)*
                    _ => None,
                }
            }
        }
    };
}

content_formats! {
    TEXT_PLAIN = 0, "text/plain;charset=utf-8";
    COSE_ENCRYPT0 = 16, "application/cose;cose-type=\"cose-encrypt0\"";
    COSE_MAC0 = 17, "application/cose;cose-type=\"cose-mac0\"";
    COSE_SIGN1 = 18, "application/cose;cose-type=\"cose-sign1\"";
    ACE_CBOR = 19, "application/ace+cbor";
    GIF = 21, "image/gif";
    JPEG = 22, "image/jpeg";
    PNG = 23, "image/png";
    LINK_FORMAT = 40, "application/link-format";
    XML = 41, "application/xml";
    OCTET_STREAM = 42, "application/octet-stream";
    EXI = 47, "application/exi";
    JSON = 50, "application/json";
    JSON_PATCH = 51, "application/json-patch+json";
    MERGE_PATCH = 52, "application/merge-patch+json";
    CBOR = 60, "application/cbor";
    CWT = 61, "application/cwt";
    MULTIPART_CORE = 62, "application/multipart-core";
    CBOR_SEQ = 63, "application/cbor-seq";
    EDHOC = 64, "application/edhoc+cbor-seq";
    CID_EDHOC = 65, "application/cid-edhoc+cbor-seq";
    COSE_ENCRYPT = 96, "application/cose;cose-type=\"cose-encrypt\"";
    COSE_MAC = 97, "application/cose;cose-type=\"cose-mac\"";
    COSE_SIGN = 98, "application/cose;cose-type=\"cose-sign\"";
    COSE_KEY = 101, "application/cose-key";
    COSE_KEY_SET = 102, "application/cose-key-set";
    SENML_JSON = 110, "application/senml+json";
    SENSML_JSON = 111, "application/sensml+json";
    SENML_CBOR = 112, "application/senml+cbor";
    SENSML_CBOR = 113, "application/sensml+cbor";
    SENML_EXI = 114, "application/senml-exi";
    SENSML_EXI = 115, "application/sensml-exi";
    COAP_GROUP_JSON = 256, "application/coap-group+json";
    PROBLEM_DETAILS = 257, "application/concise-problem-details+cbor";
    MISSING_BLOCKS = 272, "application/missing-blocks+cbor-seq";
    SENML_XML = 310, "application/senml+xml";
    SENSML_XML = 311, "application/sensml+xml";
    SENML_ETCH_JSON = 320, "application/senml-etch+json";
    SENML_ETCH_CBOR = 322, "application/senml-etch+cbor";
    OCF_CBOR = 10000, "application/vnd.ocf+cbor";
    OSCORE = 10001, "application/oscore";
    JAVASCRIPT = 10002, "application/javascript";
    JSON_DEFLATE = 11050, "application/json", "deflate";
    CBOR_DEFLATE = 11060, "application/cbor", "deflate";
    LWM2M_TLV = 11542, "application/vnd.oma.lwm2m+tlv";
    LWM2M_JSON = 11543, "application/vnd.oma.lwm2m+json";
    LWM2M_CBOR = 11544, "application/vnd.oma.lwm2m+cbor";
    CSS = 20000, "text/css";
    SVG = 30000, "image/svg+xml";
}

impl ContentFormat {
    /// Finds the format of a media type and a content coding, `None` being no coding.
    ///
    /// Letter case of type, subtype, parameter names, charset and coding, spaces around `;` and
    /// quotes don't matter; the parameters do: `text/plain` without charset isn't format 0.
    pub fn from_media_type(media_type: &str, content_coding: Option<&str>) -> Option<Self> {
        Self::KNOWN.iter().copied().find(|format| {
            let same_coding = match (format.content_coding(), content_coding) {
                (None, None) => true,
                (Some(one), Some(other)) => one.eq_ignore_ascii_case(other.trim()),
                _ => false,
            };
            same_coding
                && format
                    .media_type()
                    .is_some_and(|known| same_media_type(known, media_type))
        })
    }

    /// Decodes the value of a Content-Format or Accept option; `None` if it is over 65,535.
    pub fn decode(value: &[u8]) -> Option<Self> {
        decode_uint(value)
            .and_then(|number| u16::try_from(number).ok())
            .map(Self)
    }

    /// Encodes the value of a Content-Format or Accept option.
    pub fn encode(self) -> UintValue {
        UintValue::new(u32::from(self.0))
    }
}

impl fmt::Display for ContentFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.media_type(), self.content_coding()) {
            (Some(media_type), None) => formatter.write_str(media_type),
            (Some(media_type), Some(coding)) => write!(formatter, "{media_type} in {coding}"),
            _ => write!(formatter, "{}", self.0),
        }
    }
}

impl fmt::Debug for ContentFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ContentFormat({})", self.0)
    }
}

/// Compares media types: no known one has more than one parameter, so order isn't a question.
fn same_media_type(one: &str, other: &str) -> bool {
    let mut others = other.split(';').map(str::trim);
    one.split(';').all(|part| {
        let other = others.next().unwrap_or_default();
        match (part.split_once('='), other.split_once('=')) {
            (Some((name, value)), Some((other_name, other_value))) => {
                let (value, other_value) = (value.trim_matches('"'), other_value.trim_matches('"'));
                let same_value = if name == "charset" {
                    value.eq_ignore_ascii_case(other_value)
                } else {
                    value == other_value
                };
                name.eq_ignore_ascii_case(other_name) && same_value
            }
            (None, None) => part.eq_ignore_ascii_case(other),
            _ => false,
        }
    }) && others.next().is_none()
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn numbers_are_those_of_the_registry() {
        for (number, media_type) in [
            (0, "text/plain;charset=utf-8"),
            (40, "application/link-format"),
            (41, "application/xml"),
            (42, "application/octet-stream"),
            (47, "application/exi"),
            (50, "application/json"),
            (60, "application/cbor"),
            (10001, "application/oscore"),
        ] {
            assert_eq!(ContentFormat(number).media_type(), Some(media_type));
        }
        assert!(ContentFormat::KNOWN.is_sorted());
    }

    #[test]
    fn every_known_format_is_found_by_its_media_type_and_coding() {
        for format in ContentFormat::KNOWN.iter().copied() {
            let media_type = format.media_type().unwrap();
            let found = ContentFormat::from_media_type(media_type, format.content_coding());
            assert_eq!(found, Some(format));
        }
    }

    #[test]
    fn media_types_match_without_regard_to_case_spaces_and_quotes() {
        let find = |media_type| ContentFormat::from_media_type(media_type, None);
        assert_eq!(
            find("Text/Plain; Charset=\"UTF-8\""),
            Some(ContentFormat::TEXT_PLAIN)
        );
        assert_eq!(
            find("application/cose; cose-type=cose-sign1"),
            Some(ContentFormat::COSE_SIGN1)
        );
        assert_eq!(find("text/plain"), None);
        assert_eq!(find("application/json;charset=utf-8"), None);
        assert_eq!(find("application/json"), Some(ContentFormat::JSON));
        let deflated = ContentFormat::from_media_type("application/json", Some("Deflate"));
        assert_eq!(deflated, Some(ContentFormat::JSON_DEFLATE));
        assert_eq!(
            ContentFormat::from_media_type("application/json", Some("gzip")),
            None
        );
    }

    #[test]
    fn unknown_formats_keep_their_number() {
        let format = ContentFormat::decode(&[0xfd, 0xe9]).unwrap();
        assert_eq!(format, ContentFormat(65001));
        assert_eq!(format.to_string(), "65001");
        assert_eq!(format.encode().as_bytes(), &[0xfd, 0xe9]);
        assert_eq!(ContentFormat::decode(&[1, 0, 0]), None);
        assert_eq!(ContentFormat::TEXT_PLAIN.encode().as_bytes(), &[]);
    }
}
