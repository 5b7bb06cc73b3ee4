//! Simulated devices: what small CoAP servers answer, without sockets.
//!
//! A [`Device`] says what it has ([`Resource`]), what that looks like now, and what becomes of a
//! write. [`Device::handle`] holds all of them to RFC 7252: which resource, which method, which
//! representation, which precondition; and to RFC 6690, whose `/.well-known/core` it answers.
//! They are deterministic: equal times and equal requests give equal responses.

mod conditions;
mod lamp;
mod meter;
mod resource;
mod server;
mod thermometer;
mod well_known_core;

pub use lamp::Lamp;
pub use meter::{MAX_FIRMWARE_LEN, Meter};
pub use resource::{Device, Resource, Write};
pub use server::DeviceServer;
pub use thermometer::Thermometer;
