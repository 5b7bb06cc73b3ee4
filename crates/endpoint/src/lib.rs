//! The driver of a CoAP node without sockets: one [`Endpoint`] for clients, servers and gateways.
//!
//! It owns the table of peers by address, the stateless acceptor, the handshakes under way, the
//! sessions and the exchanges, and decides which of them a datagram is for and which speaks next.
//! A request comes out as an event and a response goes in; resources are the application's.
//!
//! What it adds to the machines below: a peer that doesn't answer gets a new handshake beside its
//! old session (it may have restarted), a ClientHello from the address of a live session is met
//! statelessly and replaces the session only once its handshake is verified (RFC 6347 §4.2.8),
//! every table is bounded, and nothing is kept of an address that has not proved itself.
//!
//! A server without security, connection IDs and streams belong here and are not there yet.
//!
//! # Features
//!
//! None. The crate needs an allocator and no operating system.
#![no_std]

extern crate alloc;

mod address;
mod association;
mod config;
mod endpoint;
mod error;
mod event;
mod handshaking;
mod peek;
mod routing;
mod tables;
mod timers;

pub use address::Address;
pub use config::Config;
pub use endpoint::{Endpoint, Handled};
pub use error::Error;
pub use event::{AssociationId, Event};
