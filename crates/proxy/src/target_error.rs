//! Why a request's URI names no target.

use hedgerow_coap::UriError;

/// Why a request's URI names no target that may be asked. None of them shows more than the URI
/// itself does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The path lies below neither `/hc/` nor `/devices/`.
    #[error("no resource of the proxy has this path")]
    NotMapped,
    /// The name behind `/devices/` isn't configured.
    #[error("no device is configured under this name")]
    DeviceNotConfigured,
    /// The destination isn't on the list of those that may be asked.
    #[error("the destination is not one that this proxy is configured for")]
    DestinationDenied,
    /// The destination is a multicast address (RFC 8075 §8.4).
    #[error("this proxy sends no multicast requests")]
    Multicast,
    /// The target URI has no scheme (RFC 8075 §5.3.1).
    #[error("the target URI has no scheme: coap:// or coaps:// is needed")]
    SchemeMissing,
    /// The target URI's scheme is none of CoAP's.
    #[error("the target URI's scheme is none of coap, coaps, coap+tcp and coaps+tcp")]
    UnknownScheme,
    /// The target URI's authority is wrong.
    #[error("the target URI's authority is wrong: {0}")]
    Authority(UriError),
    /// The host's name isn't one of letters, digits, `-` and `_` between dots.
    #[error("the host is neither a domain name nor an address in its usual form")]
    HostName,
    /// The host's name ends in a number, as some spellings of addresses do.
    #[error("the host is a number that some resolvers take for an address")]
    NumericHost,
    /// The address has a zone, which means something on this host only.
    #[error("the address has a zone identifier")]
    ZoneIdentifier,
    /// There is a fragment, which belongs to the client alone.
    #[error("the URI has a fragment")]
    Fragment,
    /// A character that has to be percent-encoded.
    #[error("the URI has a character that has to be percent-encoded")]
    Character,
    /// A percent sign that two hexadecimal digits don't follow.
    #[error("the URI has an invalid percent-encoding")]
    PercentEncoding,
    /// A component that isn't UTF-8 once it is decoded.
    #[error("the URI has a component that is not UTF-8")]
    NotUtf8,
    /// A control character, percent-encoded.
    #[error("the URI has a percent-encoded control character")]
    ControlCharacter,
    /// A segment `.` or `..`, also percent-encoded.
    #[error("the path has a dot segment")]
    DotSegment,
    /// A segment without characters before the last one.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// A percent-encoded `/` or `\` in the path.
    #[error("the path has a percent-encoded slash or backslash")]
    EncodedSlash,
    /// A path segment longer than Uri-Path can be.
    #[error("the path has a segment of {len} bytes: 255 is the most")]
    SegmentTooLong {
        /// Length of the decoded segment, in bytes.
        len: usize,
    },
    /// A query argument longer than Uri-Query can be.
    #[error("the query has an argument of {len} bytes: 255 is the most")]
    ArgumentTooLong {
        /// Length of the decoded argument, in bytes.
        len: usize,
    },
    /// Path and query together are longer than configured.
    #[error("path and query come to {len} bytes as options: {max} is the most")]
    UriTooLong {
        /// Length of their options, in bytes, one being counted for each header.
        len: usize,
        /// The most, in bytes.
        max: usize,
    },
}
