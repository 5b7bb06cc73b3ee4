//! A network in virtual time, for tests: seeded faults, accounts of bytes and datagrams, and a
//! trace. Hedgerow's machines take time and randomness from outside, so that a [`World`] can run
//! hours of retransmission in milliseconds, and the same way each time.
//!
//! - [`World`] holds [`Node`]s of the test's own type, each at one or more [`Address`]es.
//! - [`Conditions`] say what chance does: loss, duplication, reordering, delay, corruption, a
//!   longest datagram. [`Direction`] plants faults on chosen datagrams, cuts the way for a time,
//!   or puts an attacker on it; [`World::rebind`] is a NAT that forgets.
//! - [`for_each_seed`] names the seed of a failing run; [`TestRng`] is the randomness of a seed.
//! - [`NonceLedger`] wraps a `CryptoProvider` and panics when a nonce seals twice under one key.
//!   Each world has a [`Ledger`] and takes no node that seals without it.
//! - [`Recorder`] wraps a provider and lists the calls made of it.
//!
//! It leaves out, for now, IEEE 802.15.4 frames with 6LoWPAN headers and fragments, and with them
//! airtime; bandwidth and queues; multicast. It has no part in a product: everything in it can be
//! foretold from the seed.
//!
//! # Example
//!
//! A client asks every two seconds until an answer gets through a network that loses 20 %.
//!
//! ```
//! use std::time::Duration;
//!
//! use hedgerow_core::{Env, Instant};
//! use hedgerow_sim::{Address, Conditions, Node, Outbox, SealsNothing, World, for_each_seed};
//!
//! const CLIENT: Address = Address::new(1, 40000);
//! const SERVER: Address = Address::new(2, 5683);
//!
//! enum Host {
//!     Client { retransmit_at: Option<Instant> },
//!     Server,
//! }
//!
//! impl Node for Host {
//!     type Provider = SealsNothing;
//!
//!     fn handle_datagram(
//!         &mut self,
//!         _env: &mut Env<'_>,
//!         from: Address,
//!         to: Address,
//!         datagram: &mut [u8],
//!         out: &mut Outbox,
//!     ) {
//!         match self {
//!             Self::Client { retransmit_at } => *retransmit_at = None,
//!             Self::Server => out.send(to, from, datagram),
//!         }
//!     }
//!
//!     fn handle_timeout(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
//!         if let Self::Client { retransmit_at } = self {
//!             out.send(CLIENT, SERVER, b"ping");
//!             *retransmit_at = Some(env.now + Duration::from_secs(2));
//!         }
//!     }
//!
//!     fn poll_timeout(&self) -> Option<Instant> {
//!         match self {
//!             Self::Client { retransmit_at } => *retransmit_at,
//!             Self::Server => None,
//!         }
//!     }
//! }
//!
//! for_each_seed(0..100, |seed| {
//!     let mut world = World::new(seed);
//!     world.set_conditions(Conditions { loss: 0.2, ..Conditions::default() });
//!     world.add(Host::Client { retransmit_at: Some(Instant::ZERO) }, &[CLIENT]);
//!     world.add(Host::Server, &[SERVER]);
//!     world.run_until_idle().unwrap();
//!     assert_ne!(world.account(SERVER, CLIENT).delivered, 0);
//! });
//! ```
//!
//! # Features
//!
//! None. The crate needs std.
#![cfg_attr(test, allow(clippy::as_conversions))]

mod account;
mod address;
mod conditions;
mod direction;
mod error;
mod ledger;
mod network;
mod node;
mod recorder;
mod rng;
mod seeds;
mod trace;
mod world;

pub use account::Account;
pub use address::Address;
pub use conditions::Conditions;
pub use direction::{Direction, Fault};
pub use error::Error;
pub use ledger::{Ledger, LedgerAead, Ledgered, NonceLedger, SealsNothing};
pub use node::{Node, Outbox, Responder};
pub use recorder::{Call, Recorded, Recorder};
pub use rng::TestRng;
pub use seeds::for_each_seed;
pub use trace::{Fate, Trace, TraceEntry, Tracing};
pub use world::{Limits, NodeId, World};
