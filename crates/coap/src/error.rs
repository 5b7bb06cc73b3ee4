//! Why bytes are no message, and why a message can't be written.

use hedgerow_core::DropReason;

use crate::{Header, OptionNumber};

/// Why a datagram is no message.
///
/// The three cases differ in what the receiver does: the first two are ignored silently
/// (RFC 7252 §3), the third is rejected, which for a Confirmable message means a Reset
/// (RFC 7252 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Fewer than four bytes: there is no message ID to answer to.
    #[error("datagram of {len} bytes is shorter than a header")]
    TooShort {
        /// Length of the datagram, in bytes.
        len: usize,
    },
    /// A version other than 1.
    #[error("unknown version {version}")]
    UnknownVersion {
        /// The version that the datagram names.
        version: u8,
    },
    /// A header that can be read, and behind it a message format error.
    #[error("message format error: {reason}")]
    Format {
        /// The header, for the Reset.
        header: Header,
        /// What is wrong behind it.
        reason: FormatError,
    },
}

impl DecodeError {
    /// Returns the header of the message if the message is to be rejected; `None` if it must be
    /// ignored silently.
    ///
    /// MUST (RFC 7252 §4.2): a Confirmable message is rejected with a matching Reset, an
    /// Acknowledgement or Reset by ignoring it; for a Non-confirmable message a Reset is allowed
    /// (§4.3).
    pub const fn rejectable(self) -> Option<Header> {
        match self {
            Self::Format { header, .. } => Some(header),
            Self::TooShort { .. } | Self::UnknownVersion { .. } => None,
        }
    }

    /// Returns the reason under which a dropped datagram is counted.
    pub const fn drop_reason(self) -> DropReason {
        match self {
            Self::UnknownVersion { .. } => DropReason::UnsupportedVersion,
            Self::TooShort { .. } | Self::Format { .. } => DropReason::Malformed,
        }
    }
}

/// A message format error: the header is good, what follows isn't.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// A code of class 1, 6 or 7 (RFC 7252 §4.2).
    #[error("code of the reserved class {class}")]
    ReservedCodeClass {
        /// The class.
        class: u8,
    },
    /// An Empty message that isn't four bytes long or has a token length (RFC 7252 §4.1).
    #[error("empty message with a token, options or a payload")]
    EmptyWithContent,
    /// A token length of 9 to 15 (RFC 7252 §3).
    #[error("reserved token length {len}")]
    ReservedTokenLength {
        /// The length that the message names.
        len: u8,
    },
    /// The message ended inside the token.
    #[error("token cut off")]
    TokenCutOff,
    /// An option delta of 15 where no payload marker stands (RFC 7252 §3.1).
    #[error("reserved option delta 15")]
    ReservedOptionDelta,
    /// An option length of 15 (RFC 7252 §3.1).
    #[error("reserved option length 15")]
    ReservedOptionLength,
    /// The message ended inside an option.
    #[error("option cut off")]
    OptionCutOff,
    /// The deltas add up to more than 65,535.
    #[error("option number over 65535")]
    OptionNumberTooLarge,
    /// A payload marker at the end of the message (RFC 7252 §3).
    #[error("payload marker without payload")]
    EmptyPayload,
}

/// Why a message can't be written. What was written before stays as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The output buffer is too small.
    #[error("output full: {needed} bytes needed, {available} left")]
    BufferTooSmall {
        /// Length of the part that did not fit, in bytes.
        needed: usize,
        /// Bytes that were left in the output.
        available: usize,
    },
    /// An option whose number is smaller than that of the option before it.
    #[error("option {} after option {}", .number.0, .previous.0)]
    OptionOutOfOrder {
        /// The option refused.
        number: OptionNumber,
        /// The option written last.
        previous: OptionNumber,
    },
    /// An option value longer than [`MAX_OPTION_LEN`](crate::MAX_OPTION_LEN).
    #[error("option value of {len} bytes: the format ends at 65804")]
    OptionTooLong {
        /// Length of the value, in bytes.
        len: usize,
    },
    /// A token, an option or a payload in an Empty message (RFC 7252 §4.1).
    #[error("an empty message carries no token, options or payload")]
    EmptyWithContent,
    /// A code of class 1, 6 or 7.
    #[error("code of the reserved class {class}")]
    ReservedCodeClass {
        /// The class.
        class: u8,
    },
}
