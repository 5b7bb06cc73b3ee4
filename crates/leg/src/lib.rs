//! A leg: acknowledged, ordered delivery of bytes over datagrams, between one gateway and one device,
//! for sealed TLS records (`docs/specs/leg.md`, experimental: no RFC defines it).
//!
//! What there is so far are [`Segment`]s. They are the plaintext of a DTLS session between gateway and
//! device, which authenticates them; the crate has no cryptography.
//!
//! It leaves out sockets, clocks, TLS, and the session below.
//!
//! # Example
//!
//! ```
//! use hedgerow_leg::{Body, Data, Parts, Role, Segment, StreamId};
//!
//! let data = Data::new(0, b"hello", false)?;
//! let segment = Segment {
//!     stream: StreamId::new(Role::Device, 0x1234, 0),
//!     body: Body::Parts(Parts { data: Some(data), ..Parts::default() }),
//! };
//! let mut out = [0; 64];
//! let len = segment.encode(&mut out)?;
//! assert_eq!(Segment::decode(&out[..len])?, segment);
//! # Ok::<(), hedgerow_leg::SegmentError>(())
//! ```
//!
//! # Features
//!
//! None.
#![no_std]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

#[cfg(test)]
extern crate std;

mod ranges;
mod reset_reason;
mod segment;
mod stream_id;

pub use ranges::{MAX_RANGES, Ranges};
pub use reset_reason::ResetReason;
pub use segment::{Ack, Body, Data, Name, Open, Parts, Segment, SegmentError};
pub use stream_id::{Role, StreamId};
