//! CoAP's message layer and request/response layer (RFC 7252 §4, §5.2 and §5.3) and block-wise
//! transfer (RFC 7959), in both roles, for one association with one peer: over datagrams an
//! [`Exchange`], over a reliable transport a [`Connection`] (RFC 8323 §3, §5 and §6).
//!
//! An [`Exchange`] retransmits and gives up, acknowledges and resets, hands every request out at
//! most once and replays its response to duplicates, matches responses with requests, holds to
//! NSTART, never reuses a message ID within EXCHANGE_LIFETIME nor a token within a session, and
//! splits and assembles bodies, so that its application sees whole requests and whole responses.
//! Whatever it holds is bounded by a [`Config`]; whatever it drops it says why.
//!
//! A [`Connection`] has the same requests, responses and events. It has no message layer: the
//! transport delivers everything once and in order. Instead it exchanges settings, pings, releases
//! and aborts, takes the stream in pieces of any size, keeps to the length of messages that the peer
//! takes, refuses longer ones than it takes itself before they are kept, and stops taking bytes in
//! where the peer doesn't take its answers.
//!
//! An [`EchoAcceptor`] stands before both where there is no security: whoever hasn't shown that it
//! receives at its address is challenged (RFC 9175 §2.3), and nothing is kept of it. A client's
//! exchange answers such challenges by itself. Under a session [`Config::fresh_within`] has an exchange challenge
//! requests that may change something, so that none is carried out that was held back for longer.
//!
//! The crate leaves out sockets, clocks and security (it takes plaintext in and gives plaintext out,
//! one message a datagram, or a stream), WebSockets, resources and URIs, observation, multicast and
//! caching. An Observe option passes through untouched.
//!
//! # Example
//!
//! A client asks, a server answers, and both are driven by hand:
//!
//! ```
//! use hedgerow_coap::{Code, MessageOption, OptionNumber};
//! use hedgerow_core::{Env, Instant};
//! use hedgerow_exchange::{Config, FixedExchange, Received, Request, Response};
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
//! let config = Config { max_message_len: 256, max_block_szx: 3, ..Config::default() };
//! // 4 entries a table, 8 message IDs, messages of 256 bytes, 4 bodies of 512 bytes.
//! type Device<'c> = FixedExchange<4, 8, 256, 4, 512, &'c Config>;
//! let mut client = Device::new(&config, &mut env);
//! let mut server = Device::new(&config, &mut env);
//! let mut datagram = [0; 256];
//!
//! let path = [MessageOption::new(OptionNumber::URI_PATH, b"temperature")];
//! let sent = client.request(&mut env, &Request::new(Code::GET).options(&path))?;
//! let len = client.poll_transmit(&mut env, &mut datagram)?.expect("a request");
//!
//! let Received::Request { request, message } = server.handle_message(&mut env, &datagram[..len])
//! else { panic!("a request") };
//! assert_eq!(message.code(), Code::GET);
//! server.respond(&mut env, request, &Response::new(Code::CONTENT).payload(b"21.5"))?;
//! let len = server.poll_transmit(&mut env, &mut datagram)?.expect("a response");
//!
//! let Received::Response { request, message } = client.handle_message(&mut env, &datagram[..len])
//! else { panic!("a response") };
//! assert_eq!(request, sent);
//! assert_eq!(message.payload(), b"21.5");
//! # Ok::<(), hedgerow_exchange::Error>(())
//! ```
//!
//! # Features
//!
//! - none: [`FixedExchange`] and [`FixedConnection`], whose tables and bodies are arrays in the
//!   machine itself.
//! - `alloc`: `HeapExchange` and `HeapConnection`, which own no heap memory while idle.
#![no_std]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod block_message;
mod blocks;
mod client;
mod client_blocks;
mod config;
mod connection;
mod deduplication;
mod echo;
mod echo_acceptor;
mod error;
mod event;
mod exchange;
mod freshness;
mod keyed_hash;
mod liveness;
mod message_content;
mod message_ids;
mod message_limit;
mod reassembly;
mod representation;
mod restart;
mod retransmission;
mod server;
mod server_blocks;
mod storage;
#[cfg(test)]
mod test_rng;
mod tokens;
mod transmission_parameters;
mod transmit;

pub use config::Config;
pub use connection::Connection;
pub use connection::config::ConnectionConfig;
pub use echo_acceptor::{EchoAcceptance, EchoAcceptor, Echoed};
pub use error::{CloseReason, Error, RequestError, ResponseError};
pub use event::{Event, IncomingRequest, OutgoingRequest, Received};
pub use exchange::{Exchange, Usage};
pub use message_content::{Request, Response};
pub use storage::Storage;
pub use storage::fixed::Fixed;
#[cfg(feature = "alloc")]
pub use storage::heap::Heap;
pub use tokens::TokenKind;
pub use transmission_parameters::TransmissionParameters;

/// An exchange that keeps what it remembers on the heap.
#[cfg(feature = "alloc")]
pub type HeapExchange<C = Config> = Exchange<Heap, C>;

/// An exchange of fixed capacity, without an allocator; see [`Fixed`] for the numbers.
pub type FixedExchange<
    const ENTRIES: usize,
    const SEEN: usize,
    const MESSAGE: usize,
    const BODIES: usize,
    const BODY: usize,
    C = Config,
> = Exchange<Fixed<ENTRIES, SEEN, MESSAGE, BODIES, BODY>, C>;

/// A connection that keeps what it remembers on the heap.
#[cfg(feature = "alloc")]
pub type HeapConnection<C = ConnectionConfig> = Connection<Heap, C>;

/// A connection of fixed capacity, without an allocator; see [`Fixed`] for the numbers.
pub type FixedConnection<
    const ENTRIES: usize,
    const MESSAGE: usize,
    const BODIES: usize,
    const BODY: usize,
    C = ConnectionConfig,
> = Connection<Fixed<ENTRIES, 0, MESSAGE, BODIES, BODY>, C>;
