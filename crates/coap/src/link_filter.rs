//! Filtering links by a query, RFC 6690 §4.1.

use crate::{AttributeValue, Link};

/// A filter such as `rt=light-lux` or `href=/sensors*`, taken from a request's Uri-Query option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkFilter<'a> {
    name: &'a str,
    value: &'a str,
    is_prefix: bool,
}

impl<'a> LinkFilter<'a> {
    /// Decodes the value of one Uri-Query option; `None` if it has no `=` or isn't UTF-8, and so
    /// is no filter.
    pub fn decode(argument: &'a [u8]) -> Option<Self> {
        let (name, value) = core::str::from_utf8(argument).ok()?.split_once('=')?;
        let (value, is_prefix) = match value.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (value, false),
        };
        Some(Self {
            name,
            value,
            is_prefix,
        })
    }

    /// Says whether the filter selects `link`.
    pub fn matches(&self, link: &Link<'_>) -> bool {
        if self.name == "href" {
            return match self.is_prefix {
                true => link.target().starts_with(self.value),
                false => link.target() == self.value,
            };
        }
        // MUST (RFC 6690 §4.1): each value of an attribute with several is matched by itself.
        let is_list = matches!(self.name, "rel" | "rev" | "rt" | "if" | "ct");
        link.attributes()
            .filter(|attribute| attribute.name() == self.name)
            .map(|attribute| attribute.value())
            .any(|value| match is_list {
                true => value.items().any(|item| self.matches_value(item)),
                false => self.matches_value(value),
            })
    }

    fn matches_value(&self, value: AttributeValue<'_>) -> bool {
        match self.is_prefix {
            true => value.starts_with(self.value),
            false => value == *self.value,
        }
    }
}
