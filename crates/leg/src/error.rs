//! Why a call is refused.

/// Why a call was refused. Nothing changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such stream, or it was given up.
    #[error("no such stream")]
    UnknownStream,
    /// As many streams as the configuration or the storage allows.
    #[error("too many streams")]
    TooManyStreams,
    /// Every ID of this incarnation was used, and the other end is still to hear of a stream.
    #[error("stream ids exhausted")]
    StreamIdsExhausted,
    /// The direction was finished.
    #[error("stream is finished")]
    Finished,
    /// A direction has no position left (2^32 - 2 bytes).
    #[error("no position left")]
    Exhausted,
    /// The longest segment, or the output, is too short.
    #[error("segments of {len} bytes: at least {min} needed")]
    SegmentTooShort {
        /// Length given, in bytes.
        len: usize,
        /// Shortest length, in bytes.
        min: usize,
    },
    /// The receive buffer is too small.
    #[error("receive buffer of {len} bytes: at least {min} needed")]
    ReceiveBufferTooSmall {
        /// Size given, in bytes.
        len: u16,
        /// Smallest size, in bytes.
        min: u16,
    },
}
