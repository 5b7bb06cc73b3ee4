//! Reading link format, RFC 6690 §2.

use core::fmt;
use core::iter::FusedIterator;

use nom::branch::alt;
use nom::bytes::complete::{take_while, take_while1};
use nom::character::complete::{char, none_of, satisfy};
use nom::combinator::{opt, recognize};
use nom::multi::many0_count;
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser};

/// The links of a document in link format, in its order.
///
/// The iteration ends with the first link that is malformed. Spaces and line ends around `,` and
/// `;`, which the grammar doesn't have, are passed over.
#[derive(Clone, Debug)]
pub struct Links<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Links<'a> {
    /// Starts at the front of a document.
    pub const fn new(text: &'a str) -> Self {
        Self { text, rest: text }
    }

    /// Starts at the front of a payload of the format 40.
    ///
    /// # Errors
    ///
    /// [`LinkError::NotUtf8`].
    pub fn decode(payload: &'a [u8]) -> Result<Self, LinkError> {
        let text = core::str::from_utf8(payload).map_err(|error| LinkError::NotUtf8 {
            at: error.valid_up_to(),
        })?;
        Ok(Self::new(text))
    }

    /// Takes the next link and the comma behind it.
    fn split(&self) -> Option<(Link<'a>, &'a str)> {
        let (rest, link) = link(self.rest).ok()?;
        let rest = skip_space(rest);
        if rest.is_empty() {
            return Some((link, rest));
        }
        let rest = skip_space(rest.strip_prefix(',')?);
        // Behind a comma there is another link.
        (!rest.is_empty()).then_some((link, rest))
    }
}

impl<'a> Iterator for Links<'a> {
    type Item = Result<Link<'a>, LinkError>;

    fn next(&mut self) -> Option<Self::Item> {
        if skip_space(self.rest).is_empty() {
            return None;
        }
        let Some((link, rest)) = self.split() else {
            let at = self.text.len().saturating_sub(self.rest.len());
            self.rest = "";
            return Some(Err(LinkError::Malformed { at }));
        };
        self.rest = rest;
        Some(Ok(link))
    }
}

impl FusedIterator for Links<'_> {}

/// One link: a target and its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link<'a> {
    text: &'a str,
    target: &'a str,
    attributes: &'a str,
}

impl<'a> Link<'a> {
    /// Returns the link as it stands in the document.
    pub const fn as_str(&self) -> &'a str {
        self.text
    }

    /// Returns the URI reference between the angle brackets.
    pub const fn target(&self) -> &'a str {
        self.target
    }

    /// Iterates over the attributes in their order.
    pub const fn attributes(&self) -> Attributes<'a> {
        Attributes {
            rest: self.attributes,
        }
    }

    /// Returns the value of the first attribute with this name; that of an attribute without a
    /// value is empty.
    pub fn attribute(&self, name: &str) -> Option<AttributeValue<'a>> {
        self.attributes()
            .find(|attribute| attribute.name == name)
            .map(|attribute| attribute.value())
    }

    /// Says whether `item` is among the values that the attribute `name` lists, separated by
    /// spaces, as `rt`, `if` and `rel` do (RFC 6690 §3).
    pub fn lists(&self, name: &str, item: &str) -> bool {
        self.attribute(name)
            .is_some_and(|value| value.items().any(|one| one == *item))
    }
}

/// The attributes of a link.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        // The text was checked as part of its link; at its end nothing parses.
        let (rest, attribute) = attribute(self.rest).ok()?;
        self.rest = rest;
        Some(attribute)
    }
}

impl FusedIterator for Attributes<'_> {}

/// A target attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    name: &'a str,
    value: Option<AttributeValue<'a>>,
}

impl<'a> Attribute<'a> {
    /// Returns the name.
    pub const fn name(&self) -> &'a str {
        self.name
    }

    /// Says whether there is a value, if only an empty one.
    pub const fn has_value(&self) -> bool {
        self.value.is_some()
    }

    /// Returns the value, empty if there is none.
    pub const fn value(&self) -> AttributeValue<'a> {
        match self.value {
            Some(value) => value,
            None => AttributeValue {
                raw: "",
                is_quoted: false,
            },
        }
    }
}

/// The value of an attribute. Displayed and compared, it is what its quotes and backslashes mean.
#[derive(Clone, Copy, Debug)]
pub struct AttributeValue<'a> {
    /// What stands between the quotes, if there are any.
    raw: &'a str,
    is_quoted: bool,
}

impl<'a> AttributeValue<'a> {
    /// Returns the value as text, if that needs no change, which is so unless a backslash is in it.
    pub fn as_str(&self) -> Option<&'a str> {
        (!self.is_quoted || !self.raw.contains('\\')).then_some(self.raw)
    }

    /// Iterates over the characters that the value means.
    pub fn chars(&self) -> impl Iterator<Item = char> + use<'a> {
        let is_quoted = self.is_quoted;
        let mut chars = self.raw.chars();
        core::iter::from_fn(move || match chars.next()? {
            '\\' if is_quoted => chars.next(),
            plain => Some(plain),
        })
    }

    /// Iterates over the values in a list separated by spaces.
    pub fn items(&self) -> impl Iterator<Item = AttributeValue<'a>> + use<'a> {
        let is_quoted = self.is_quoted;
        self.raw
            .split(' ')
            .filter(|item| !item.is_empty())
            .map(move |raw| AttributeValue { raw, is_quoted })
    }

    /// Returns the value as a number, as `sz` and a single `ct` have it (RFC 6690 §3.3).
    pub fn as_number(&self) -> Option<u32> {
        let text = self.as_str()?;
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten()
    }

    /// Says whether the value begins with `prefix`.
    pub fn starts_with(&self, prefix: &str) -> bool {
        let mut chars = self.chars();
        prefix
            .chars()
            .all(|expected| chars.next() == Some(expected))
    }
}

impl PartialEq<str> for AttributeValue<'_> {
    fn eq(&self, other: &str) -> bool {
        self.chars().eq(other.chars())
    }
}

impl PartialEq for AttributeValue<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.chars().eq(other.chars())
    }
}

impl Eq for AttributeValue<'_> {}

impl fmt::Display for AttributeValue<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chars()
            .try_for_each(|char| fmt::Write::write_char(formatter, char))
    }
}

/// Why a document is not in link format, or a link can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The link that begins here is malformed.
    #[error("malformed link at byte {at}")]
    Malformed {
        /// Where the link begins, in bytes from the front.
        at: usize,
    },
    /// The payload isn't UTF-8.
    #[error("link format is not UTF-8 from byte {at} on")]
    NotUtf8 {
        /// Where the first character that isn't begins, in bytes from the front.
        at: usize,
    },
    /// A target, a name or a value with a character that has no place there.
    #[error("character without a place in link format")]
    InvalidCharacter,
    /// An attribute was written before any link.
    #[error("attribute without a link")]
    NoLink,
    /// The output buffer is too small.
    #[error("output full: {available} bytes left")]
    BufferTooSmall {
        /// Bytes that were left in the output.
        available: usize,
    },
}

/// Says whether a character may stand between angle brackets: what ends them, quotes, spaces and
/// control characters are in no URI reference.
pub(crate) fn is_target_char(char: char) -> bool {
    !matches!(char, '<' | '>' | '"' | ' ') && !char.is_control()
}

/// Says whether a character is one of a parameter name (attr-char, RFC 5987 §3.2.1).
pub(crate) fn is_name_char(char: char) -> bool {
    char.is_ascii_alphanumeric() || "!#$&+-.^_`|~".contains(char)
}

/// Says whether a character is one of a ptoken (RFC 6690 §2).
pub(crate) fn is_token_char(char: char) -> bool {
    char.is_ascii_graphic() && !matches!(char, '"' | ',' | ';' | '\\')
}

/// Says whether a character may stand between quotes.
pub(crate) fn is_quoted_char(char: char) -> bool {
    char == '\t' || !char.is_control()
}

/// link-value, RFC 6690 §2.
fn link(input: &str) -> IResult<&str, Link<'_>> {
    let input = skip_space(input);
    let target = delimited(char('<'), take_while(is_target_char), char('>'));
    let attributes = recognize(many0_count(attribute));
    let (rest, (target, attributes)) = (target, attributes).parse(input)?;
    let len = input.len().saturating_sub(rest.len());
    let link = Link {
        text: input.get(..len).unwrap_or_default(),
        target,
        attributes,
    };
    Ok((rest, link))
}

/// A semicolon and link-param, RFC 6690 §2.
fn attribute(input: &str) -> IResult<&str, Attribute<'_>> {
    let (rest, _) = char(';').parse(skip_space(input))?;
    let name = recognize((take_while1(is_name_char), opt(char('*'))));
    let value = opt(preceded(char('='), alt((quoted, token))));
    let (rest, (name, value)) = (name, value).parse(skip_space(rest))?;
    Ok((rest, Attribute { name, value }))
}

/// quoted-string, RFC 2616 §2.2.
fn quoted(input: &str) -> IResult<&str, AttributeValue<'_>> {
    let plain = none_of("\\\"").map(is_quoted_char);
    let escaped = preceded(char('\\'), satisfy(is_quoted_char)).map(|_| true);
    let character = alt((plain, escaped));
    let inner = recognize(many0_count(nom::combinator::verify(character, |ok| *ok)));
    delimited(char('"'), inner, char('"'))
        .map(|raw| AttributeValue {
            raw,
            is_quoted: true,
        })
        .parse(input)
}

/// ptoken, RFC 6690 §2.
fn token(input: &str) -> IResult<&str, AttributeValue<'_>> {
    take_while1(is_token_char)
        .map(|raw| AttributeValue {
            raw,
            is_quoted: false,
        })
        .parse(input)
}

fn skip_space(input: &str) -> &str {
    input.trim_start_matches([' ', '\t', '\r', '\n'])
}
