//! Why a call is refused, and why an exchange failed.

use hedgerow_coap::{Code, EncodeError, FormatError, OptionNumber, SignalingError};
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
    /// The connection is ending, or has ended: it takes no more requests.
    #[error("the connection takes no more requests")]
    ConnectionEnding,
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
    /// The options don't fit a message of the length that the peer takes (RFC 8323 §5.3.1, RFC 8449
    /// §4).
    #[error("too long for the peer")]
    TooLongForPeer,
    /// The peer released the connection before any message of the request went out (RFC 8323 §5.5).
    #[error("connection released by the peer")]
    ConnectionReleased,
    /// The connection was aborted, by this end or by the peer (RFC 8323 §5.6).
    #[error("connection aborted")]
    ConnectionAborted,
    /// The connection was closed before the response came.
    #[error("connection closed")]
    ConnectionClosed,
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
    /// The connection was aborted or closed.
    #[error("connection closed")]
    ConnectionClosed,
}

/// Why a connection over a reliable transport has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This end released the connection (RFC 8323 §5.5).
    #[error("released")]
    Released,
    /// The peer released the connection (RFC 8323 §5.5).
    #[error("released by the peer")]
    ReleasedByPeer,
    /// The peer aborted the connection (RFC 8323 §5.6).
    #[error("aborted by the peer")]
    AbortedByPeer,
    /// The application aborted the connection.
    #[error("aborted")]
    Aborted,
    /// The transport was closed without a Release or an Abort.
    #[error("transport closed")]
    TransportClosed,
    /// The peer's first message wasn't a CSM (RFC 8323 §3.3): this end aborted.
    #[error("no CSM first")]
    MissingCsm,
    /// No CSM came in time (RFC 8323 §3.3): this end aborted.
    #[error("no CSM in time")]
    CsmTimeout,
    /// A message longer than this end's Max-Message-Size (RFC 8323 §5.3.1): this end aborted.
    #[error("message of {len} bytes, at most {max} taken")]
    MessageTooLong {
        /// The message's length, in bytes.
        len: u64,
        /// Max-Message-Size, in bytes.
        max: u32,
    },
    /// A message format error (RFC 8323 §5.6): this end aborted.
    #[error("{0}")]
    Format(FormatError),
    /// A signaling message that can't be acted on (RFC 8323 §5.2): this end aborted.
    #[error("{0}")]
    Signaling(SignalingError),
}
