//! Why a call is refused, and why an exchange failed.

use hedgerow_coap::{Code, EncodeError, OptionNumber};
use hedgerow_core::Instant;

/// Why a call was refused. Nothing changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// As many requests are under way or waiting as the configuration allows.
    #[error("too many requests under way")]
    TooManyRequests,
    /// Every message ID was used within EXCHANGE_LIFETIME (RFC 7252 §4.4).
    #[error("no message ID is free")]
    MessageIdsExhausted {
        /// When one will be.
        until: Instant,
    },
    /// The body is longer than the configuration allows.
    #[error("body of {len} bytes: at most {max} allowed")]
    BodyTooLong {
        /// Length given, in bytes.
        len: usize,
        /// Longest length, in bytes.
        max: usize,
    },
    /// The pool of bodies has no room now.
    #[error("no room for a body of {len} bytes")]
    NoRoomForBody {
        /// Length needed, in bytes.
        len: usize,
    },
    /// The options leave no room for a block in a message.
    #[error("options of {len} bytes leave no room for a block")]
    OptionsTooLong {
        /// Length of the options, in bytes.
        len: usize,
    },
    /// The exchange itself writes this option.
    #[error("option {number} is written by the exchange")]
    ReservedOption {
        /// The option given.
        number: OptionNumber,
    },
    /// A code that isn't one of a request, or not one of a response.
    #[error("code {code} has no place here")]
    UnexpectedCode {
        /// The code given.
        code: Code,
    },
    /// The handle names nothing that is waiting: it was answered, or a new association began.
    #[error("no such exchange")]
    UnknownHandle,
    /// The message can't be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// Why a request of this end got no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Nothing came back after MAX_RETRANSMIT retransmissions (RFC 7252 §4.2).
    #[error("not acknowledged")]
    AcknowledgementTimeout,
    /// The request needed no more retransmission, and no response came.
    #[error("no response in time")]
    ResponseTimeout,
    /// The peer answered with a Reset.
    #[error("reset by the peer")]
    Reset,
    /// The response has a critical option that isn't understood (RFC 7252 §5.4.1).
    #[error("response with a critical option that is not understood")]
    UnrecognisedCriticalOption,
    /// The response's body is longer than the configuration allows.
    #[error("response too large")]
    ResponseTooLarge,
    /// The pool of bodies had no room for the response.
    #[error("no room for the response")]
    NoRoomForBody,
    /// The representation changed while it was fetched, more often than the configuration allows.
    #[error("representation changed during the transfer")]
    RepresentationChanged,
    /// The peer broke the rules of block-wise transfer (RFC 7959 §2.3).
    #[error("unexpected block")]
    UnexpectedBlock,
    /// A new association began, and a request with this method must not be sent twice.
    #[error("association was restarted")]
    AssociationRestarted,
    /// The application cancelled the request.
    #[error("cancelled")]
    Cancelled,
}

/// Why the peer didn't get a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// A separate response wasn't acknowledged after MAX_RETRANSMIT retransmissions.
    #[error("response not acknowledged")]
    AcknowledgementTimeout,
    /// The peer answered the separate response with a Reset.
    #[error("response reset by the peer")]
    Reset,
    /// A new association began; the request belongs to the old one (RFC 7252 §9.1.2).
    #[error("association was restarted")]
    AssociationRestarted,
}
