//! The dual-key envelope (`docs/specs/itls.md`, experimental: no RFC defines it): messages sealed end to
//! end that travel inside a session with a gateway.
//!
//! What there is so far is what the gateway reads: [`RoutingHeader`] and [`Control`].
//!
//! It leaves out sockets, clocks, the outer sessions and forwarding.
//!
//! # Example
//!
//! ```
//! use hedgerow_core::Writer;
//! use hedgerow_itls::RoutingHeader;
//!
//! let mut out = [0; 16];
//! let mut writer = Writer::new(&mut out);
//! RoutingHeader { flow: 2, is_control: false }.encode(&mut writer)?;
//! writer.bytes(b"inner message")?;
//! let (header, message) = RoutingHeader::decode(writer.written()).expect("as written");
//! assert_eq!((header.flow, message), (2, &b"inner message"[..]));
//! # Ok::<(), hedgerow_core::EncodeError>(())
//! ```
//!
//! # Features
//!
//! None. The crate never needs an allocator.
#![no_std]

mod control;
mod routing_header;

pub use control::{CloseReason, Control, MAX_FLOW_NAME_LEN, Open};
pub use routing_header::RoutingHeader;
