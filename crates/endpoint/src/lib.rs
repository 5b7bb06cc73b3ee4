//! The driver of a CoAP node without sockets: one [`Endpoint`] for clients, servers and gateways.
//!
//! It owns the tables of peers by address and by connection ID, the stateless acceptor, the
//! handshakes under way, the sessions and the exchanges, and decides which of them a datagram is
//! for and which speaks next. A request comes out as an event and a response goes in; resources are
//! the application's.
//!
//! What it adds to the machines below: a peer that doesn't answer gets a new handshake beside its
//! old session (it may have restarted), a ClientHello from the address of a live session is met
//! statelessly and replaces the session only once its handshake is verified (RFC 6347 §4.2.8),
//! every table is bounded, and nothing is kept of an address that has not proved itself.
//!
//! With connection IDs (RFC 9146) a peer that shows up elsewhere goes on without a handshake. Its
//! address moves once a record from there is verified and newer than every earlier one, *and* a
//! ping that was sent there is answered; until then the old address stays, and the new one gets at
//! most three times the bytes that came from it.
//!
//! Who may come in is said by [`Config::security`]: a [`SecurityPolicy`] that permits pre-shared keys
//! of one peer each, raw public keys and certificates unless it is told otherwise. NoSec and keys that
//! many share are used where they are permitted, and never instead of anything else.
//!
//! Over streams there is one [`StreamConnection`] for each: TLS or nothing below, RFC 8323 above.
//! [`TlsConnection`] is the lower half alone, for other protocols over TLS.
//!
//! To a device behind a gateway that isn't trusted an endpoint's datagrams go over TCP in the framing of a
//! [`TranslatedStream`] (mode `translate`, docs/specs/translate.md).
//!
//! With [`Config::legs`] a session carries streams of bytes beside CoAP: a leg between a gateway and a device, for
//! TLS connections that end elsewhere (docs/specs/leg.md). A session's plaintexts are told apart by their first octet.
//! With [`Config::inner`] an endpoint is an end of mode `itls` (docs/specs/itls.md): associations whose messages are sealed for
//! the far end travel inside the session with a gateway. [`Endpoint::connect_inner`] begins one, and those that
//! others begin come as any association does.
//!
//! Beside a tunnel a UDP carrier is a DTLS session for messages of others (mode `auto`, docs/specs/auto.md):
//! [`UdpCarrierClient`], and [`UdpCarrierServer`] for all of a gateway's.
//!
//! A device that adapts to unmodified TLS clients has an [`AdaptedConnection`] for each, over a stream of its leg: CoAP or
//! HTTP/1.1 over TLS (docs/specs/translate-device.md).
//!
//! A server without security ([`Endpoint::server_without_security`]) is made on purpose and nothing falls back to
//! it. It makes an association of an address once that has answered a challenge (RFC 9175 §2.3).
//!
//! # Example
//!
//! A client asks a server in the same place, every datagram handed over by hand:
//!
//! ```
//! use hedgerow_coap::Code;
//! use hedgerow_core::{Credentials, Env, Instant, PeerId, Psk};
//! use hedgerow_crypto_soft::SoftCrypto;
//! use hedgerow_endpoint::{Address, Config, Endpoint, Event};
//! use hedgerow_exchange::{Request, Response};
//!
//! #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
//! struct Host(u8);
//!
//! impl Address for Host {
//!     fn with_bytes<R>(&self, lend: impl FnOnce(&[u8]) -> R) -> R {
//!         lend(&[self.0])
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut rng = hedgerow_sim::TestRng::new(7);
//! let env = &mut Env::new(Instant::ZERO, &mut rng);
//! let psk = Psk::new(b"sixteen byte key")?;
//! let credentials = Credentials { psk_identity: b"lamp", psk: &psk, peer: PeerId(1) };
//! let store = (b"lamp".as_slice(), Psk::new(b"sixteen byte key")?, PeerId(2));
//! let mut server: Endpoint<Host, _, _, Credentials<'_>> =
//!     Endpoint::server(SoftCrypto, &store, Config::default(), env);
//! let mut client = Endpoint::client(SoftCrypto, &store, Config::default());
//!
//! let association = client.connect(env, Host(2), Some(&credentials))?;
//! client.request(env, association, &Request::new(Code::GET))?;
//!
//! let (mut datagram, mut answer) = ([0; 1500], [0; 64]);
//! let mut reading = None;
//! for _ in 0..10 {
//!     while let Some((_, len)) = client.poll_transmit(env, &mut datagram) {
//!         let mut at = 0;
//!         while at < len {
//!             let handled =
//!                 server.handle_datagram(env, Host(1), &mut datagram[at..len], &mut answer);
//!             at += handled.consumed;
//!             let back = handled.answer;
//!             if let Some(Event::Request { association, request, .. }) = handled.event {
//!                 let response = Response::new(Code::CONTENT).payload(b"21.5");
//!                 server.respond(env, association, request, &response)?;
//!             }
//!             if back > 0 {
//!                 client.handle_datagram(env, Host(2), &mut answer[..back], &mut [0; 64]);
//!             }
//!         }
//!     }
//!     while let Some((_, len)) = server.poll_transmit(env, &mut datagram) {
//!         let mut at = 0;
//!         while at < len {
//!             let handled =
//!                 client.handle_datagram(env, Host(2), &mut datagram[at..len], &mut answer);
//!             at += handled.consumed;
//!             if let Some(Event::Response { message, .. }) = handled.event {
//!                 reading = Some(message.payload().to_vec());
//!             }
//!         }
//!     }
//! }
//! assert_eq!(reading.as_deref(), Some(b"21.5".as_slice()));
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! None. The crate needs an allocator and no operating system.
#![no_std]

extern crate alloc;

mod adapted_connection;
mod adapted_framing;
mod address;
mod association;
mod candidate;
mod config;
mod connection_id_format;
mod endpoint;
mod error;
mod event;
mod forwarding;
mod handshaking;
mod inner;
mod legs;
mod liveness;
mod moving;
mod nosec;
mod peek;
mod plaintext;
mod resumption;
mod routing;
mod security_policy;
mod source;
mod stream_connection;
mod tables;
mod timers;
mod tls_connection;
mod translated_stream;
mod udp_carrier;

pub use adapted_connection::{
    AdaptedConfig, AdaptedConnection, AdaptedEvent, AdaptedFault, AdaptedRequest,
};
pub use adapted_framing::AdaptedFraming;
pub use address::Address;
pub use config::{Config, ConnectionIds};
pub use connection_id_format::ConnectionIdFormat;
pub use endpoint::{Endpoint, Handled};
pub use error::Error;
pub use event::{AssociationId, Event};
pub use inner::{InnerConfig, InnerSessions, InnerTimers, OuterStream};
pub use legs::LegConfig;
pub use resumption::{ClientSessions, Resumption, ServerSessions};
pub use security_policy::{ForwardSecrecy, SecurityPolicy};
pub use source::Source;
pub use stream_connection::{StreamConfig, StreamConnection, StreamEvent};
pub use tls_connection::{TlsConnection, TlsEvent};
pub use translated_stream::{TranslateError, TranslatedEvent, TranslatedStream};
pub use udp_carrier::{
    UdpCarrierClient, UdpCarrierHandled, UdpCarrierId, UdpCarrierReceived, UdpCarrierServer,
    UdpCarrierServerEvent,
};
