//! The dual-key envelope (`docs/specs/itls.md`, experimental: no RFC defines it): messages sealed end to
//! end that travel inside a session with a gateway, and the handshake that makes their keys.
//!
//! [`Initiator`] and [`Responder`] exchange two hellos, which are TLS 1.3's exchange with a pre-shared
//! key in a fixed form; an [`Envelope`] comes of it. [`RoutingHeader`] and [`Control`] are what the
//! gateway reads, [`LightLayer`] is the outer layer for a hop that needn't encrypt twice.
//!
//! It leaves out sockets, clocks, the outer sessions, who retransmits a hello and when, the table of
//! half-open sessions, and forwarding.
//!
//! # Example
//!
//! ```
//! use hedgerow_core::{Credentials, Env, Event, Instant, PeerId, Psk};
//! use hedgerow_crypto_soft::SoftCrypto;
//! use hedgerow_itls::{
//!     End, Initiator, InitiatorKey, InitiatorStep, OuterBinding, Responder, ResponderStep, Settings,
//! };
//! # let mut rng = hedgerow_sim::TestRng::new(1);
//! # let env = &mut Env::new(Instant::ZERO, &mut rng);
//! let key = || Psk::new(&[7; 16]).and_then(Psk::into_end_to_end);
//! let (psk, store) = (key()?, (b"lamp".as_slice(), key()?, PeerId(1)));
//! // What the exporters of the two outer sessions gave.
//! let (mine, devices) = (OuterBinding::new([1; 32]), OuterBinding::new([2; 32]));
//!
//! let credentials = Credentials { psk_identity: b"lamp", psk: &psk, peer: PeerId(2) };
//! let key = InitiatorKey::EndToEnd(credentials);
//! let settings = Settings::new(End::Internet);
//! let initiator = Initiator::new(SoftCrypto, settings, key, mine, env)?;
//!
//! let device = Responder::new(SoftCrypto, Settings::new(End::Device));
//! let Ok(half_open) = device.handle_hello(env, &store, &[], devices, initiator.hello()) else {
//!     panic!("refused");
//! };
//! let InitiatorStep::Established(mut envelope) = initiator.handle_message(&mine, half_open.answer())
//! else {
//!     panic!("not established");
//! };
//! let mut message = [0; 64];
//! let len = envelope.seal(b"hello", &mut message)?;
//! let ResponderStep::Established(_, Ok(received)) =
//!     half_open.handle_message(&devices, &mut message[..len])
//! else {
//!     panic!("not confirmed");
//! };
//! assert_eq!(received.event, Some(Event::Plaintext(&mut b"hello".to_owned())));
//! # Ok::<(), hedgerow_core::ChannelError>(())
//! ```
//!
//! # Features
//!
//! None. The crate never needs an allocator.
#![no_std]

#[cfg(test)]
extern crate std;

mod control;
mod envelope;
mod hello;
mod initiator;
mod inner_message;
mod key_schedule;
mod light_layer;
mod number;
mod outer_binding;
mod replay_window;
mod responder;
mod resumption;
mod routing_header;
mod settings;
mod suite;

pub use control::{CloseReason, Control, MAX_FLOW_NAME_LEN, MAX_USER_LEN, Open, User};
pub use envelope::Envelope;
pub use hello::{
    End, MAX_INITIATOR_HELLO_LEN, MAX_RESPONDER_HELLO_LEN, is_initiator_hello, is_responder_hello,
    resumed_session,
};
pub use initiator::{Initiator, InitiatorKey, InitiatorStep, MAX_HANDSHAKE_FAILURES};
pub use inner_message::{MAX_PLAINTEXT_LEN, Role, SESSION_ID_LEN, SessionId};
pub use light_layer::{LIGHT_LAYER_LABEL, LIGHT_LAYER_MATERIAL_LEN, LightLayer, OuterRole};
pub use outer_binding::{OUTER_BINDING_LABEL, OUTER_BINDING_LEN, OuterBinding};
pub use responder::{HalfOpen, Responder, ResponderStep};
pub use resumption::Resumption;
pub use routing_header::RoutingHeader;
pub use settings::Settings;
pub use suite::{MAX_MESSAGES, Suite};
