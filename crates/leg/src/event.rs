//! What a leg tells its application.

use hedgerow_core::DropReason;

use crate::{ResetReason, StreamId};

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// It was taken in. [`Leg::poll_event`](crate::Leg::poll_event) tells what follows from it.
    Handled(StreamId),
    /// It was dropped.
    Dropped(DropReason),
}

/// Something that happened to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The other end opened it. [`Leg::offer`](crate::Leg::offer) says for what.
    Opened(StreamId),
    /// There are bytes to read, or the end.
    Readable(StreamId),
    /// There is room again, after a write found too little.
    Writable(StreamId),
    /// Both directions ended in order, and everything was acknowledged and read, the end itself
    /// ([`Read::End`]) included.
    Closed(StreamId),
    /// It was given up. What wasn't read is gone.
    Reset {
        /// Which stream.
        stream: StreamId,
        /// Why.
        reason: ResetReason,
        /// Who gave it up.
        by: ResetBy,
    },
}

/// Who gave a stream up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetBy {
    /// The other end.
    Peer,
    /// This end's leg: the other end broke a rule or fell silent.
    Leg,
}

/// What reading found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// So many bytes.
    Bytes(usize),
    /// None now.
    Blocked,
    /// The orderly end: the peer finished, and all its bytes were read.
    End,
}
