//! Hedgerow in one import: security for CoAP (RFC 7252) over DTLS with pre-shared keys (RFC 6347,
//! RFC 4279), and a gateway from HTTP (RFC 8075).
//!
//! It re-exports the workspace's crates under short names, adds [`presets`] for what hosts usually
//! do, and has the [simulated devices](devices) of the program `hedgerow`, which is in this package
//! too: a gateway, a client on the command line, and a demonstration of both.
//!
//! It leaves out nothing that is below it, and so it needs an operating system and tokio. A device
//! without them depends on the crates that it uses, each of which says how little it needs.
//!
//! # Example
//!
//! A lamp, and whoever switches it on:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use hedgerow::coap::Code;
//! use hedgerow::core::{PeerId, Psk};
//! use hedgerow::devices::{DeviceServer, Lamp};
//! use hedgerow::net::{Credentials, KeyStore, Node, RequestMessage, Target};
//! use hedgerow::presets;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let keys = KeyStore::new();
//! keys.insert("switch", Psk::new(b"a key of two only")?, PeerId(1))?;
//! let local = "127.0.0.1:0".parse()?;
//! let device = DeviceServer::new(Lamp::new());
//! let lamp = Node::bind_server(local, presets::device(), keys, device).await?;
//!
//! let switch = Node::bind_client(local, presets::client(Duration::from_secs(30))).await?;
//! let credentials = Credentials::new("switch", Psk::new(b"a key of two only")?, PeerId(1))?;
//! let target = Target {
//!     address: lamp.local_addr(),
//!     credentials: Some(Arc::new(credentials)),
//! };
//! let request = RequestMessage::new(Code::PUT).path("/state").payload("on");
//! let response = switch.request(&target, request).await?;
//! assert_eq!(response.code, Code::CHANGED);
//! # switch.close().await;
//! # lamp.close().await;
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # Features
//!
//! None.

pub mod devices;
pub mod presets;

pub use hedgerow_coap as coap;
pub use hedgerow_core as core;
pub use hedgerow_crypto_ring as crypto_ring;
pub use hedgerow_crypto_soft as crypto_soft;
pub use hedgerow_endpoint as endpoint;
pub use hedgerow_exchange as exchange;
pub use hedgerow_gateway as gateway;
pub use hedgerow_handshake as handshake;
pub use hedgerow_itls as itls;
pub use hedgerow_leg as leg;
pub use hedgerow_net as net;
pub use hedgerow_proxy as proxy;
pub use hedgerow_record as record;
