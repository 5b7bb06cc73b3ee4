//! DTLS 1.2 and TLS 1.2 handshakes with pre-shared keys, raw public keys and certificates (RFC 6347
//! §4.2, RFC 5246 §7, RFC 4279, RFC 5489, RFC 8422, RFC 7250, RFC 7627, RFC 5746) as machines without
//! socket, clock or allocator. Over datagrams: the stateless
//! [`Acceptor`], the [`ClientHandshake`], the [`ServerHandshake`] and the [`Session`] that is left
//! of them; over a stream the [`TlsClientHandshake`], the [`TlsServerHandshake`] and the
//! [`TlsSession`]. Messages, transcript and key schedule are the same code for both.
//!
//! Over datagrams, records can carry connection IDs (RFC 9146): [`Settings::with_connection_id`].
//!
//! What an end shows and accepts comes in by [`ClientCredentials`](hedgerow_core::ClientCredentials)
//! and [`ServerCredentials`](hedgerow_core::ServerCredentials), which is a
//! [`PskCredentials`](hedgerow_core::PskCredentials) or a [`PskStore`](hedgerow_core::PskStore) where
//! there are pre-shared keys alone. Certificates are verified there and not here.
//!
//! Sessions are resumed by ticket (RFC 5077) and by session ID (RFC 5246 §7.3) where both ends take part:
//! a client by a [`ResumableSession`], a server by its [`TicketKeys`] and, for IDs, a [`SessionTable`]. What
//! a session is bound to stands in `docs/specs/session-ticket.md`. Renegotiation is refused (RFC 5246
//! §7.2.2).
//!
//! # Example
//!
//! A client and a server in one place, every datagram handed over by hand:
//!
//! ```
//! use hedgerow_core::{
//!     CryptoRng, Credentials, Env, Event, Instant, PeerId, Psk, SecureChannel,
//! };
//! use hedgerow_crypto_soft::SoftCrypto;
//! use hedgerow_handshake::{
//!     Acceptance, Acceptor, Buffers, ClientHandshake, ServerHandshake, Settings,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut rng = hedgerow_sim::TestRng::new(7);
//! let env = &mut Env::new(Instant::ZERO, &mut rng);
//! let buffers = || Buffers { incoming: [0; 512], outgoing: [0; 512] };
//! let settings = Settings::default();
//! let (mut a, mut b) = ([0; 1200], [0; 1200]);
//!
//! let psk = Psk::new(b"sixteen byte key")?;
//! let credentials = Credentials { psk_identity: b"lamp", psk: &psk, peer: PeerId(1) };
//! let mut client = ClientHandshake::new(SoftCrypto, credentials, settings, buffers(), env)?;
//! let acceptor = Acceptor::new(SoftCrypto, settings, env);
//! let store = (b"lamp".as_slice(), Psk::new(b"sixteen byte key")?, PeerId(2));
//!
//! // The first hello gets a cookie back and leaves nothing behind.
//! let len = client.poll_transmit(env, &mut a)?.ok_or("no hello")?;
//! let Acceptance::Answer(len) = acceptor.handle_datagram(env, b"address", &mut a[..len], &mut b)
//! else {
//!     return Err("no cookie".into());
//! };
//! client.handle_datagram(env, &mut b[..len])?;
//!
//! // The second one proves the address, and a handshake begins.
//! let len = client.poll_transmit(env, &mut a)?.ok_or("no hello")?;
//! let Acceptance::Accept(hello) = acceptor.handle_datagram(env, b"address", &mut a[..len], &mut b)
//! else {
//!     return Err("not accepted".into());
//! };
//! let mut server = ServerHandshake::new(SoftCrypto, &store, settings, hello, buffers(), env)?;
//! let len = server.poll_transmit(env, &mut b)?.ok_or("no flight")?;
//! let mut rest = &mut b[..len];
//! while !rest.is_empty() {
//!     rest = client.handle_datagram(env, rest)?.rest;
//! }
//!
//! // The client's last flight establishes the server's session, and its answer the client's.
//! let len = client.poll_transmit(env, &mut a)?.ok_or("no flight")?;
//! let mut rest = &mut a[..len];
//! while !rest.is_empty() {
//!     rest = server.handle_datagram(env, rest)?.rest;
//! }
//! let mut server = server.into_session().ok_or("server not established")?.session;
//! let len = server.poll_transmit(env, &mut b)?.ok_or("no flight")?;
//! let mut rest = &mut b[..len];
//! while !rest.is_empty() {
//!     rest = client.handle_datagram(env, rest)?.rest;
//! }
//! let mut client = client.into_session().ok_or("client not established")?.session;
//!
//! let len = client.seal(b"over the hedge", &mut a)?;
//! let received = server.handle_datagram(env, &mut a[..len])?;
//! assert!(matches!(received.event, Some(Event::Plaintext(text)) if text == b"over the hedge"));
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! - `x509`: `X509Credentials`, which verify chains of X.509 certificates by
//!   `rustls-webpki`. This alone needs an allocator.
#![no_std]
#![cfg_attr(test, allow(clippy::as_conversions))]

#[cfg(feature = "x509")]
extern crate alloc;

#[cfg(test)]
extern crate std;

mod acceptor;
mod buffers;
mod certificates;
mod client;
mod client_certificates;
mod connection_ids;
mod cookie;
mod dtls_client;
mod dtls_incoming;
mod dtls_machine;
mod dtls_outgoing;
mod dtls_server;
mod dtls_session;
mod early_finished;
mod exporter;
mod final_flight;
mod flight_buffer;
mod flight_timer;
mod handshake_state;
mod key_exchange;
mod key_schedule;
mod message;
mod negotiation;
mod outgoing;
mod phase;
mod prf;
mod reassembly;
mod record_limits;
mod resumable_session;
mod server;
mod server_certificates;
mod server_resumption;
mod session_state;
mod session_table;
mod settings;
mod ticket_keys;
mod tls_client;
mod tls_incoming;
mod tls_machine;
mod tls_outgoing;
mod tls_server;
mod tls_session;
#[cfg(test)]
mod toy_provider;
mod transcript;
#[cfg(test)]
mod usage_limits;
#[cfg(test)]
mod wire_bytes;
#[cfg(feature = "x509")]
mod x509;

pub use acceptor::{Acceptance, AcceptedHello, Acceptor, peek_client_random};
pub use buffers::Buffers;
pub use dtls_client::ClientHandshake;
pub use dtls_outgoing::smaller_datagram_len;
pub use dtls_server::ServerHandshake;
pub use dtls_session::{Established, Session};
pub use exporter::Exporter;
pub use handshake_state::{ClientState, ServerState};
pub use resumable_session::ResumableSession;
pub use server_resumption::{SentTicket, ServerResumption};
pub use session_state::{SessionId, SessionState};
pub use session_table::{CachedSession, SessionSlot, SessionTable};
pub use settings::{
    DEFAULT_CERTIFICATE_SUITES, DEFAULT_GROUPS, DEFAULT_SUITES, ExtendedMasterSecret, MAX_SUITES,
    MIN_DATAGRAM_LEN, Settings, Timers,
};
pub use ticket_keys::{TicketKeys, TicketLease};
pub use tls_client::TlsClientHandshake;
pub use tls_server::TlsServerHandshake;
pub use tls_session::{TlsEstablished, TlsSession};
#[cfg(feature = "x509")]
pub use x509::{CertificateName, X509Credentials, X509Error, certificate_public_key};
