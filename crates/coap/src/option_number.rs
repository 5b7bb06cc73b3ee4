//! Option numbers and what the registry says about each, RFC 7252 §5.4.6 and §5.10.

use core::fmt;

/// An option number. Any of the 65,536 can be held; three properties follow from the number alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OptionNumber(pub u16);

/// The format of an option's value (RFC 7252 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OptionFormat {
    /// No bytes.
    Empty,
    /// Bytes without a meaning to the message layer.
    Opaque,
    /// An unsigned number in network byte order.
    Uint,
    /// UTF-8 text.
    String,
}

/// What the registry says about an option beyond what its number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptionDefinition {
    /// The option's name.
    pub name: &'static str,
    /// The format of its value.
    pub format: OptionFormat,
    /// The shortest value, in bytes.
    pub min_len: u16,
    /// The longest value, in bytes.
    pub max_len: u16,
    /// Whether it may occur more than once (RFC 7252 §5.4.5).
    pub repeatable: bool,
}

impl OptionDefinition {
    /// Says whether a value of `len` bytes has a defined length (RFC 7252 §5.4.3).
    pub fn allows_len(&self, len: usize) -> bool {
        usize::from(self.min_len) <= len && len <= usize::from(self.max_len)
    }
}

/// Declares the options once: constant, number, name, format, lengths and repeatability.
macro_rules! options {
    ($($(#[$doc:meta])*
        $const:ident = $number:literal, $name:literal, $format:ident, $min:literal..=$max:literal,
        $repeatable:literal;)*) => {
        impl OptionNumber {
            $($(#[$doc])* pub const $const: Self = Self($number);)*

            /// Every option that this crate knows by name, in the order of numbers.
            pub const KNOWN: &'static [Self] = &[$(Self::$const,)*];

            /// Returns what the registry says about the option, if this crate knows it.
            pub const fn definition(self) -> Option<OptionDefinition> {
                match self.0 {
                    $($number => Some(OptionDefinition {
                        name: $name,
                        format: OptionFormat::$format,
                        min_len: $min,
                        max_len: $max,
                        repeatable: $repeatable,
                    }),)*
                    _ => None,
                }
            }
        }
    };
}

options! {
    /// RFC 7252 §5.10.8.1.
    IF_MATCH = 1, "If-Match", Opaque, 0..=8, true;
    /// RFC 7252 §5.10.1.
    URI_HOST = 3, "Uri-Host", String, 1..=255, false;
    /// RFC 7252 §5.10.6.
    ETAG = 4, "ETag", Opaque, 1..=8, true;
    /// RFC 7252 §5.10.8.2.
    IF_NONE_MATCH = 5, "If-None-Match", Empty, 0..=0, false;
    /// RFC 7641 §2.
    OBSERVE = 6, "Observe", Uint, 0..=3, false;
    /// RFC 7252 §5.10.1.
    URI_PORT = 7, "Uri-Port", Uint, 0..=2, false;
    /// RFC 7252 §5.10.7.
    LOCATION_PATH = 8, "Location-Path", String, 0..=255, true;
    /// RFC 8613 §2.
    OSCORE = 9, "OSCORE", Opaque, 0..=255, false;
    /// RFC 7252 §5.10.1.
    URI_PATH = 11, "Uri-Path", String, 0..=255, true;
    /// RFC 7252 §5.10.3.
    CONTENT_FORMAT = 12, "Content-Format", Uint, 0..=2, false;
    /// RFC 7252 §5.10.5: seconds, 60 where it is absent.
    MAX_AGE = 14, "Max-Age", Uint, 0..=4, false;
    /// RFC 7252 §5.10.1.
    URI_QUERY = 15, "Uri-Query", String, 0..=255, true;
    /// RFC 8768 §3: 16 where it is absent.
    HOP_LIMIT = 16, "Hop-Limit", Uint, 1..=1, false;
    /// RFC 7252 §5.10.4.
    ACCEPT = 17, "Accept", Uint, 0..=2, false;
    /// RFC 9177 §4.1.
    Q_BLOCK1 = 19, "Q-Block1", Uint, 0..=3, false;
    /// RFC 7252 §5.10.7.
    LOCATION_QUERY = 20, "Location-Query", String, 0..=255, true;
    /// RFC 7959 §2.1.
    BLOCK2 = 23, "Block2", Uint, 0..=3, false;
    /// RFC 7959 §2.1.
    BLOCK1 = 27, "Block1", Uint, 0..=3, false;
    /// RFC 7959 §4.
    SIZE2 = 28, "Size2", Uint, 0..=4, false;
    /// RFC 9177 §4.1.
    Q_BLOCK2 = 31, "Q-Block2", Uint, 0..=3, true;
    /// RFC 7252 §5.10.2.
    PROXY_URI = 35, "Proxy-Uri", String, 1..=1034, false;
    /// RFC 7252 §5.10.2.
    PROXY_SCHEME = 39, "Proxy-Scheme", String, 1..=255, false;
    /// RFC 7252 §5.10.9 and RFC 7959 §4.
    SIZE1 = 60, "Size1", Uint, 0..=4, false;
    /// RFC 9175 §2.2.1.
    ECHO = 252, "Echo", Opaque, 1..=40, false;
    /// RFC 7967 §2.
    NO_RESPONSE = 258, "No-Response", Uint, 0..=1, false;
    /// RFC 9175 §3.2.1.
    REQUEST_TAG = 292, "Request-Tag", Opaque, 0..=8, true;
}

impl OptionNumber {
    /// Says whether the option is critical: not to be ignored if it isn't recognised
    /// (RFC 7252 §5.4.1).
    pub const fn is_critical(self) -> bool {
        self.0 & 0x01 != 0
    }

    /// Says whether the option is unsafe: not to be forwarded by a proxy that doesn't recognise it
    /// (RFC 7252 §5.4.2).
    pub const fn is_unsafe(self) -> bool {
        self.0 & 0x02 != 0
    }

    /// Says whether the option is safe to forward and marked to be no part of the cache key
    /// (RFC 7252 §5.4.6).
    pub const fn is_no_cache_key(self) -> bool {
        self.0 & 0x1e == 0x1c
    }

    /// Says whether the option may occur more than once. An option that this crate doesn't know
    /// may: whoever recognises it decides.
    pub const fn is_repeatable(self) -> bool {
        match self.definition() {
            Some(definition) => definition.repeatable,
            None => true,
        }
    }

    /// Returns the option's name, if this crate knows it.
    pub const fn name(self) -> Option<&'static str> {
        match self.definition() {
            Some(definition) => Some(definition.name),
            None => None,
        }
    }
}

impl fmt::Display for OptionNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => formatter.write_str(name),
            None => write!(formatter, "{}", self.0),
        }
    }
}

impl fmt::Debug for OptionNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "OptionNumber({self})")
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn properties_are_those_that_the_rfcs_print() {
        // Number, C, U, N (None where unsafe), R, as in the tables of the RFCs that define them.
        let table = [
            (1, true, false, Some(false), true),
            (3, true, true, None, false),
            (4, false, false, Some(false), true),
            (5, true, false, Some(false), false),
            (6, false, true, None, false),
            (7, true, true, None, false),
            (8, false, false, Some(false), true),
            (9, true, false, Some(false), false),
            (11, true, true, None, true),
            (12, false, false, Some(false), false),
            (14, false, true, None, false),
            (15, true, true, None, true),
            (16, false, false, Some(false), false),
            (17, true, false, Some(false), false),
            (19, true, true, None, false),
            (20, false, false, Some(false), true),
            (23, true, true, None, false),
            (27, true, true, None, false),
            (28, false, false, Some(true), false),
            (31, true, true, None, true),
            (35, true, true, None, false),
            (39, true, true, None, false),
            (60, false, false, Some(true), false),
            (252, false, false, Some(true), false),
            (258, false, true, None, false),
            (292, false, false, Some(false), true),
        ];
        assert_eq!(table.len(), OptionNumber::KNOWN.len());
        for (number, critical, is_unsafe, no_cache_key, repeatable) in table {
            let number = OptionNumber(number);
            assert!(OptionNumber::KNOWN.contains(&number));
            assert_eq!(number.is_critical(), critical, "{number}");
            assert_eq!(number.is_unsafe(), is_unsafe, "{number}");
            assert_eq!(
                number.is_no_cache_key(),
                no_cache_key.unwrap_or(false),
                "{number}"
            );
            assert_eq!(number.is_repeatable(), repeatable, "{number}");
        }
    }

    #[test]
    fn lengths_outside_the_definition_are_not_allowed() {
        let host = OptionNumber::URI_HOST.definition().unwrap();
        assert!(!host.allows_len(0));
        assert!(host.allows_len(1));
        assert!(host.allows_len(255));
        assert!(!host.allows_len(256));
        assert!(
            OptionNumber::PROXY_URI
                .definition()
                .unwrap()
                .allows_len(1034)
        );
    }

    #[test]
    fn known_options_print_their_name_and_others_their_number() {
        assert_eq!(OptionNumber::URI_PATH.to_string(), "Uri-Path");
        assert_eq!(OptionNumber(65001).to_string(), "65001");
        assert!(OptionNumber::KNOWN.is_sorted());
    }
}
