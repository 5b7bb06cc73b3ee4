//! A leg: acknowledged, ordered delivery of bytes over datagrams, between one gateway and one device,
//! for sealed TLS records (`docs/specs/leg.md`, experimental: no RFC defines it).
//!
//! A [`Leg`] has streams, each with bytes in two directions. It numbers bytes, acknowledges, sends
//! again byte for byte, keeps to the other end's window and to a congestion window, gives up in
//! time, and tells an orderly end from every other. Its [`Segment`]s are the plaintext of a DTLS session
//! between gateway and device, which authenticates them: the crate has no cryptography.
//!
//! It leaves out sockets, clocks, TLS, and the session below.
//!
//! # Example
//!
//! ```
//! use hedgerow_core::{Env, Instant};
//! use hedgerow_leg::{Config, Event, FixedLeg, Name, Offer, Read, Role};
//!
//! # struct Rng(u64);
//! # impl rand_core::TryRng for Rng {
//! #     type Error = core::convert::Infallible;
//! #     fn try_next_u32(&mut self) -> Result<u32, Self::Error> { self.0 += 1; Ok(self.0 as u32) }
//! #     fn try_next_u64(&mut self) -> Result<u64, Self::Error> { self.0 += 1; Ok(self.0) }
//! #     fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Self::Error> {
//! #         dst.fill(7); Ok(())
//! #     }
//! # }
//! # impl rand_core::TryCryptoRng for Rng {}
//! # let mut rng = Rng(0);
//! let mut env = Env::new(Instant::ZERO, &mut rng);
//! let config = Config::default();
//! // 2 streams, with 1,024 bytes in each direction.
//! let mut device = FixedLeg::<2, 1024, _>::new(Role::Device, &config, &mut env)?;
//! let mut gateway = FixedLeg::<2, 1024, _>::new(Role::Gateway, &config, &mut env)?;
//! let mut segment = [0; 1024];
//!
//! let offer = Offer { name: Name::new(b"backend").expect("a name"), ..Offer::default() };
//! let stream = device.open(env.now, &offer)?;
//! device.write(stream, b"hello")?;
//! // The segment goes through the hop session: sealed here, opened there.
//! let len = device.poll_transmit(&mut env, &mut segment)?.expect("a segment");
//! gateway.handle_segment(env.now, &segment[..len]);
//!
//! assert_eq!(gateway.poll_event(), Some(Event::Opened(stream)));
//! assert_eq!(gateway.offer(stream)?.name.as_bytes(), b"backend");
//! let mut bytes = [0; 16];
//! assert_eq!(gateway.read(stream, &mut bytes)?, Read::Bytes(5));
//! # Ok::<(), hedgerow_leg::Error>(())
//! ```
//!
//! # Features
//!
//! - none: [`FixedLeg`], whose streams and bytes are arrays in the machine itself.
//! - `alloc`: `HeapLeg`, whose streams own no heap memory while they have no bytes.
#![no_std]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod config;
mod congestion;
mod error;
mod event;
mod incoming;
mod leg;
mod outgoing;
mod own_streams;
mod peer_streams;
mod ranges;
mod receive;
mod reset_reason;
mod ring;
mod round_trip;
mod segment;
mod send;
mod storage;
mod stream;
mod stream_id;

pub use config::{Config, MIN_RECEIVE_BUFFER, MIN_SEGMENT_LEN, Recovery};
pub use error::Error;
pub use event::{Event, Read, Received, ResetBy};
pub use leg::Leg;
pub use ranges::{MAX_RANGES, Ranges};
pub use reset_reason::ResetReason;
pub use segment::{Ack, Body, Data, Name, Open, Parts, Segment, SegmentError};
#[cfg(feature = "alloc")]
pub use storage::heap::Heap;
pub use storage::{Fixed, Storage};
pub use stream::Offer;
pub use stream_id::{Role, StreamId};

/// A leg of fixed capacity, without an allocator; see [`Fixed`] for the numbers.
pub type FixedLeg<const STREAMS: usize, const BYTES: usize, C = Config> =
    Leg<Fixed<STREAMS, BYTES>, C>;

/// A leg that keeps its streams on the heap.
#[cfg(feature = "alloc")]
pub type HeapLeg<C = Config> = Leg<Heap, C>;
