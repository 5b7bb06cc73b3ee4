//! Why text is no URI, and why options make none.

use crate::OptionNumber;

/// Why text is no CoAP URI, or options don't make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// There is no scheme: it isn't an absolute URI.
    #[error("URI without a scheme")]
    NotAbsolute,
    /// The scheme is none of CoAP's.
    #[error("URI scheme is not one of CoAP's")]
    UnknownScheme,
    /// There is no authority, or its host is empty (RFC 7252 §6.1).
    #[error("URI without a host")]
    MissingHost,
    /// There is a fragment (RFC 7252 §6.4).
    #[error("URI with a fragment")]
    Fragment,
    /// There is user information before the host, which CoAP's schemes don't have.
    #[error("URI with user information")]
    UserInformation,
    /// The host is neither a name nor an address.
    #[error("URI with an invalid host")]
    InvalidHost,
    /// The host's name is longer than 255 bytes.
    #[error("host of {len} bytes: Uri-Host ends at 255")]
    HostTooLong {
        /// Length of the decoded name, in bytes.
        len: usize,
    },
    /// The port isn't a decimal number up to 65,535.
    #[error("URI with an invalid port")]
    InvalidPort,
    /// A character that has to be percent-encoded, or isn't ASCII.
    #[error("URI with a character that has to be percent-encoded")]
    InvalidCharacter,
    /// A percent sign that two hexadecimal digits don't follow.
    #[error("URI with an invalid percent-encoding")]
    InvalidPercentEncoding,
    /// A component that isn't UTF-8 when it is decoded (RFC 7252 §3.2).
    #[error("URI component is not UTF-8")]
    NotUtf8,
    /// A path segment longer than 255 bytes.
    #[error("path segment of {len} bytes: Uri-Path ends at 255")]
    SegmentTooLong {
        /// Length of the decoded segment, in bytes.
        len: usize,
    },
    /// A query argument longer than 255 bytes.
    #[error("query argument of {len} bytes: Uri-Query ends at 255")]
    ArgumentTooLong {
        /// Length of the decoded argument, in bytes.
        len: usize,
    },
    /// A path with `..` in it that is too deep to be resolved without an allocator.
    #[error("path with dot segments is deeper than {max} segments")]
    PathTooDeep {
        /// The most segments.
        max: usize,
    },
    /// A Uri-Path option of `.` or `..` (RFC 7252 §5.10.1).
    #[error("Uri-Path option is a dot segment")]
    DotSegment,
    /// An option that no URI can be composed from.
    #[error("option {0} has an invalid value")]
    InvalidOption(OptionNumber),
    /// The output is too small, or refused the text.
    #[error("output for the URI is too small")]
    OutputFull,
}
