//! Entity tags: `"` hexadecimal digits `"` in HTTP, 1 to 8 bytes in CoAP.

use std::fmt;

use http::HeaderValue;

/// The longest entity tag of CoAP, in bytes (RFC 7252 §5.10.6).
const MAX_LEN: usize = 8;

/// An entity tag of a CoAP resource (RFC 7252 §5.10.6).
///
/// In HTTP it is a strong tag of two lower-case hexadecimal digits for each byte, in quotes. Only
/// what the proxy writes itself is read back, so that one tag has one spelling.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EntityTag {
    bytes: [u8; MAX_LEN],
    len: usize,
}

impl EntityTag {
    /// Makes a tag of 1 to 8 bytes; `None` for other lengths.
    pub fn new(value: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_LEN];
        let room = bytes
            .get_mut(..value.len())
            .filter(|room| !room.is_empty())?;
        room.copy_from_slice(value);
        Some(Self {
            bytes,
            len: value.len(),
        })
    }

    /// Lends the tag's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Writes the value of an HTTP ETag field.
    pub(crate) fn to_header(self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.to_string()).ok()
    }

    /// Reads what stands between the quotes of an HTTP entity tag.
    fn from_opaque(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if !rest.is_empty() || pairs.len() > MAX_LEN {
            return None;
        }
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let bytes = pairs
            .iter()
            .map(|[high, low]| Some((digit(*high)? << 4) | digit(*low)?));
        Self::new(&bytes.collect::<Option<Vec<_>>>()?)
    }
}

impl fmt::Display for EntityTag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("\"")?;
        for byte in self.as_bytes() {
            write!(formatter, "{byte:02x}")?;
        }
        formatter.write_str("\"")
    }
}

impl fmt::Debug for EntityTag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "EntityTag({self})")
    }
}

/// What an If-Match or If-None-Match field says (RFC 9110 §13.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// `*`.
    Any,
    /// The tags that a CoAP resource can have, with the weak ones marked; others are left out,
    /// since they match nothing.
    Tags(Vec<(EntityTag, Weakness)>),
}

/// Whether a tag is weak (RFC 9110 §8.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weakness {
    Strong,
    Weak,
}

impl Condition {
    /// Parses a field's value; `None` if it is malformed. A backslash is a character like others
    /// here (RFC 9110 §8.8.3).
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let blank = [' ', '\t', ','];
        let mut rest = text.trim_matches(blank);
        if rest == "*" {
            return Some(Self::Any);
        }
        let mut tags = Vec::new();
        if rest.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            let (weakness, quoted) = match rest.strip_prefix("W/") {
                Some(quoted) => (Weakness::Weak, quoted),
                None => (Weakness::Strong, rest),
            };
            let (opaque, after) = quoted.strip_prefix('"')?.split_once('"')?;
            let is_etag_char = |byte: u8| byte == 0x21 || (0x23..=0x7e).contains(&byte);
            if !opaque.bytes().all(is_etag_char) {
                return None;
            }
            if let Some(tag) = EntityTag::from_opaque(opaque) {
                tags.push((tag, weakness));
            }
            let next = after.trim_start_matches(blank);
            // Two tags have a comma between them.
            let gap = after.len().saturating_sub(next.len());
            if !next.is_empty() && !after.get(..gap)?.contains(',') {
                return None;
            }
            rest = next;
        }
        Some(Self::Tags(tags))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(bytes: &[u8]) -> EntityTag {
        EntityTag::new(bytes).unwrap()
    }

    #[test]
    fn tags_are_hexadecimal_digits_in_quotes() {
        assert_eq!(tag(&[0x0a, 0xff]).to_string(), "\"0aff\"");
        assert_eq!(tag(&[0]).to_string(), "\"00\"");
        assert_eq!(EntityTag::new(&[]), None);
        assert_eq!(EntityTag::new(&[1; 9]), None);
        assert_ne!(tag(&[0]), tag(&[0, 0]));
    }

    #[test]
    fn conditions_keep_the_tags_that_a_resource_can_have() {
        let strong = |bytes| (tag(bytes), Weakness::Strong);
        let weak = |bytes| (tag(bytes), Weakness::Weak);
        for (text, expected) in [
            ("*", Some(Condition::Any)),
            (" \"0a\" ", Some(Condition::Tags(vec![strong(&[10])]))),
            (
                "\"0a\", W/\"0b\" ,,\"0c\"",
                Some(Condition::Tags(vec![
                    strong(&[10]),
                    weak(&[11]),
                    strong(&[12]),
                ])),
            ),
            ("\"0A\"", Some(Condition::Tags(vec![]))),
            ("\"\"", Some(Condition::Tags(vec![]))),
            ("\"0\"", Some(Condition::Tags(vec![]))),
            ("\"112233445566778899\"", Some(Condition::Tags(vec![]))),
            ("\"a,b\\\"", Some(Condition::Tags(vec![]))),
            ("", None),
            ("0a", None),
            ("w/\"0a\"", None),
            ("\"0a", None),
            ("\"0a\"\"0b\"", None),
            ("\"0a\" \"0b\"", None),
            ("*, \"0a\"", None),
        ] {
            assert_eq!(Condition::parse(text), expected, "{text}");
        }
    }
}
