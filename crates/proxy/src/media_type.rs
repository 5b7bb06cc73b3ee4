//! Media types and content formats, RFC 8075 §6.

use std::borrow::Cow;

use hedgerow_coap::ContentFormat;

/// A media type, taken apart and checked (RFC 9110 §8.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MediaType<'a> {
    /// Type and subtype in lower case.
    pub(crate) essence: String,
    /// Names in lower case, values without their quotes.
    pub(crate) parameters: Vec<(String, Cow<'a, str>)>,
}

impl<'a> MediaType<'a> {
    /// Parses a media type, or a range if `*` stands for a part.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let mut parts = split_unquoted(text, ';')?.into_iter();
        let (kind, subtype) = parts.next()?.trim_matches(OWS).split_once('/')?;
        if !is_token(kind) || !is_token(subtype) {
            return None;
        }
        let essence = format!("{kind}/{subtype}").to_ascii_lowercase();
        let mut parameters = Vec::new();
        for part in parts.map(|part| part.trim_matches(OWS)) {
            if part.is_empty() {
                continue;
            }
            let (name, value) = part.split_once('=')?;
            let value = unquote(value)?;
            if !is_token(name) {
                return None;
            }
            parameters.push((name.to_ascii_lowercase(), value));
        }
        Some(Self {
            essence,
            parameters,
        })
    }

    /// Says whether a `*` stands for a part.
    pub(crate) fn is_range(&self) -> bool {
        self.essence.ends_with("/*") || self.essence.starts_with("*/")
    }

    /// Returns the one parameter, if there is exactly one.
    fn only_parameter(&self) -> Option<(&str, &str)> {
        match self.parameters.as_slice() {
            [(name, value)] => Some((name, value)),
            _ => None,
        }
    }

    /// Says whether the type is `application/coap-payload`, whatever its parameters are.
    pub(crate) fn is_coap_payload(&self) -> bool {
        self.essence == "application/coap-payload"
    }

    /// Returns the number in `application/coap-payload;cf=N` (RFC 8075 §9.2).
    pub(crate) fn coap_payload(&self) -> Option<ContentFormat> {
        let ("cf", number) = self.only_parameter()? else {
            return None;
        };
        // `parse` alone would accept a plus sign.
        let is_number = self.is_coap_payload() && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number
            .then(|| number.parse().ok().map(ContentFormat))
            .flatten()
    }

    /// Says whether there is no charset, or one whose texts are UTF-8.
    fn is_utf8(&self) -> bool {
        self.parameters
            .iter()
            .filter(|(name, _)| name == "charset")
            .all(|(_, value)| {
                value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("us-ascii")
            })
    }

    /// Finds the content format (RFC 8075 §6.4), `loose` being tried last.
    pub(crate) fn content_format(
        &self,
        coding: Option<&str>,
        loose: Option<&LooseMapping>,
    ) -> Option<ContentFormat> {
        let find = |media_type: &str| ContentFormat::from_media_type(media_type, coding);
        let mut full = self.essence.clone();
        for (name, value) in &self.parameters {
            full = format!("{full};{name}=\"{value}\"");
        }
        // A value that only quotes hold together is in no registered type.
        let is_plain = |value: &str| !value.contains(['"', ';', '\\']);
        if self.parameters.iter().all(|(_, value)| is_plain(value))
            && let Some(format) = find(&full)
        {
            return Some(format);
        }
        if self.parameters.is_empty() || (self.only_parameter().is_some() && self.has_utf8_only()) {
            // US-ASCII, which text/plain is without a charset (RFC 2046 §4.1.2), is UTF-8 too, and
            // to the other formats a charset of UTF-8 adds nothing.
            let found = match self.essence.as_str() {
                "text/plain" => find("text/plain;charset=utf-8"),
                essence => find(essence),
            };
            if found.is_some() {
                return found;
            }
        }
        let general = loose?.generalise(self)?;
        match general {
            "text/plain" => find("text/plain;charset=utf-8"),
            other => find(other),
        }
    }

    fn has_utf8_only(&self) -> bool {
        self.only_parameter()
            .is_some_and(|(name, _)| name == "charset")
            && self.is_utf8()
    }
}

/// The media types that stand for more special ones when a body is sent to a device
/// (RFC 8075 §6.3).
///
/// It isn't used for Accept: a device that is asked for a general type wouldn't send the special
/// one, while without an Accept option it sends what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LooseMapping(Vec<(Cow<'static, str>, Cow<'static, str>)>);

impl LooseMapping {
    /// The table of RFC 8075 §6.3.
    pub fn rfc8075() -> Self {
        let table = [
            ("application/*+xml", "application/xml"),
            ("application/*+json", "application/json"),
            ("application/*+cbor", "application/cbor"),
            ("text/xml", "application/xml"),
            ("text/*", "text/plain"),
            ("*/*", "application/octet-stream"),
        ];
        Self(table.map(|(from, to)| (from.into(), to.into())).into())
    }

    /// Makes a table of pairs of a pattern and the media type that it becomes; the first pattern
    /// that matches decides. Patterns are a media type, `type/*`, `type/*+suffix` and `*/*`, all in
    /// lower case.
    pub fn new(rows: impl IntoIterator<Item = (String, String)>) -> Self {
        let rows = rows.into_iter();
        Self(rows.map(|(from, to)| (from.into(), to.into())).collect())
    }

    fn generalise(&self, media_type: &MediaType<'_>) -> Option<&str> {
        let essence = media_type.essence.as_str();
        let rows = self.0.iter();
        rows.map(|(pattern, general)| (pattern.as_ref(), general.as_ref()))
            .find(|(pattern, general)| {
                // Text of another charset doesn't become UTF-8 by being called so.
                matches(pattern, essence) && (*general != "text/plain" || media_type.is_utf8())
            })
            .map(|(_, general)| general)
    }
}

fn matches(pattern: &str, essence: &str) -> bool {
    match pattern.split_once('*') {
        _ if pattern == "*/*" => true,
        // At least one character stands before the suffix.
        Some((start, end)) => {
            essence.starts_with(start)
                && essence.ends_with(end)
                && essence.len() > start.len().saturating_add(end.len())
        }
        None => pattern == essence,
    }
}

/// Writes Content-Type and Content-Encoding of a content format (RFC 8075 §6.2): a number without a
/// name becomes `application/coap-payload;cf=N`.
pub(crate) fn map_content_format(
    format: ContentFormat,
) -> (Cow<'static, str>, Option<&'static str>) {
    match format.media_type() {
        Some(media_type) => (media_type.into(), format.content_coding()),
        None => (
            format!("application/coap-payload;cf={}", format.0).into(),
            None,
        ),
    }
}

/// Optional white space (RFC 9110 §5.6.3).
pub(crate) const OWS: [char; 2] = [' ', '\t'];

/// Splits at `separator` outside quoted strings; `None` if a quoted string doesn't end.
pub(crate) fn split_unquoted(text: &str, separator: char) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    let (mut start, mut is_quoted, mut is_escaped) = (0, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            other if other == separator && !is_quoted => {
                parts.push(text.get(start..at)?);
                start = at.saturating_add(separator.len_utf8());
            }
            _ => {}
        }
    }
    parts.push(text.get(start..)?);
    (!is_quoted).then_some(parts)
}

/// Says whether `text` is a token (RFC 9110 §5.6.2).
pub(crate) fn is_token(text: &str) -> bool {
    let is_char = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_char)
}

/// Reads a token or a quoted string (RFC 9110 §5.6.4).
fn unquote(value: &str) -> Option<Cow<'_, str>> {
    let Some(inner) = value.strip_prefix('"') else {
        return is_token(value).then_some(Cow::Borrowed(value));
    };
    let inner = inner.strip_suffix('"')?;
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.push(characters.next()?),
            // A quote inside would make another string of it when it is put together again.
            '"' => return None,
            other => text.push(other),
        }
    }
    Some(Cow::Owned(text))
}
