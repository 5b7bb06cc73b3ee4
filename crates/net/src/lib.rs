//! CoAP nodes on tokio: the sockets, the clock and the randomness that [`hedgerow_endpoint`] leaves
//! out.
//!
//! A [`Node`] is a handle to a task that owns one socket and one endpoint. It sends requests over
//! DTLS or in clear and, bound as a server of one kind or the other, gives those of its peers to a
//! [`Handler`]. Answers
//! leave from the address that the question came to (RFC 7252 §5.3.2 matches by it), whatever other
//! addresses the host has. Requests, handlers and queues are bounded; beyond that there are typed
//! refusals, 5.03 for peers. Whatever the network reports of datagrams sent counts as loss.
//!
//! Peers are known by pre-shared keys ([`KeyStore`]), by raw public keys or by X.509 certificates
//! ([`CertificateStore`], [`Identity`]). Keys that many share, and no security at all, have to be
//! permitted by a [`SecurityPolicy`].
//!
//! A peer without an address here, such as a device behind a gateway that hands datagrams on, is
//! spoken to by a [`LinkedNode`] over a [`DatagramLink`]; what carries it ends in typed ways that
//! reach whoever waits for a response.
//!
//! Where legs are configured ([`LegConfig`]), a node opens and accepts streams of bytes inside the DTLS sessions
//! with its peers ([`LegStream`]): a device reaches a TLS server through a gateway by them, and the other
//! way round (docs/specs/leg.md).
//!
//! A gateway in mode `itls` (docs/specs/itls.md) is told of a node's sessions and of the messages in them that go on
//! elsewhere by [`Node::hop_events`], and sends its own by [`Node::forward`].
//!
//! An Internet end of that mode is a [`LinkedNode`] over an [`itls_link`], which asks devices and answers those that begin; a
//! device that begins asks by [`Node::request_inside`].
//!
//! An [`AdaptedServer`] serves TLS clients that know of no gateway over such streams, with CoAP or HTTP
//! (docs/specs/translate-device.md).
//!
//! Over TCP, in clear or under TLS (RFC 8323), there are [`StreamClient`] and [`StreamServer`],
//! with the same messages, keys, targets and [`Handler`]s, and a task for each connection. NoSec is
//! spoken where it is asked for, and never instead of anything else.
//!
//! It leaves out resources and URIs (the application's), policy about destinations (the gateway's),
//! multicast, and storage of keys.
//!
//! Logs go to `tracing`: associations and connections established and failed at `info`, with the
//! kind of session (`dtls-psk`, `tls-certificate`, `nosec` and others) and the security mode in force
//! (NoSec, SharedKey, MultiKey, Certificate); closed, handshakes failed
//! and errors of the socket at `debug`; drops at `trace` with their reason's label. A PSK identity
//! shows at `debug` alone and escaped; keys, options' values and payloads never do.
//!
//! # Example
//!
//! A thermometer and whoever reads it:
//!
//! ```
//! use std::sync::Arc;
//!
//! use hedgerow_coap::Code;
//! use hedgerow_core::{PeerId, Psk};
//! use hedgerow_net::{
//!     Credentials, KeyStore, Node, NodeConfig, RequestMessage, ResponseMessage, ServerRequest,
//!     Target,
//! };
//!
//! async fn thermometer(request: ServerRequest) -> ResponseMessage {
//!     match request.message.method {
//!         Code::GET => ResponseMessage::new(Code::CONTENT).payload("21.5"),
//!         _ => ResponseMessage::new(Code::METHOD_NOT_ALLOWED),
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let keys = KeyStore::new();
//! keys.insert("reader", Psk::new(b"sixteen byte key")?, PeerId(1))?;
//! let local = "127.0.0.1:0".parse()?;
//! let server = Node::bind_server(local, NodeConfig::default(), keys, thermometer).await?;
//!
//! let client = Node::bind_client(local, NodeConfig::default()).await?;
//! let credentials = Credentials::new("reader", Psk::new(b"sixteen byte key")?, PeerId(2))?;
//! let target = Target {
//!     address: server.local_addr(),
//!     credentials: Some(Arc::new(credentials)),
//! };
//! let request = RequestMessage::new(Code::GET).path("/temperature");
//! let response = client.request(&target, request).await?;
//! assert_eq!(response.payload, b"21.5");
//! client.close().await;
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # Features
//!
//! None. The crate needs an operating system and a tokio runtime with I/O and time.

mod adapted;
mod adapted_stream;
mod auto;
mod buffered_stream;
mod carrier;
mod certificates;
mod clock;
mod config;
mod connect;
mod connected_socket;
mod credentials;
mod desk;
mod driver;
mod error;
mod events;
mod handler;
mod handlers;
mod hop_queue;
mod hops;
mod identity;
mod inner_session;
mod inside;
mod itls_link;
mod itls_sessions;
mod keep_alive;
mod key_log;
mod key_store;
mod leg_stream;
mod legs;
mod link;
mod link_stream;
mod linked_node;
mod message;
mod mode_label;
mod node;
mod passage;
mod passage_node;
mod path;
mod provider;
mod requests;
mod resolve;
mod server_tls;
mod shared;
mod shares;
mod socket;
mod statistics;
mod stream;
mod tls_stream;
mod translated_link;
mod tunnel;

pub use adapted::AdaptedServer;
pub use adapted_stream::AdaptedStream;
pub use auto::{UdpCarrier, UdpCarrierEvent, UdpCarrierSender, UdpCarrierStatistics, UdpCarriers};
pub use certificates::{AcceptedServer, CertificateStore, ServerCertificates};
pub use config::NodeConfig;
pub use connect::connect_in_turn;
pub use connected_socket::{ConnectedSocket, ReceivedDatagrams, SocketFault};
pub use credentials::{Credentials, Target};
pub use error::RequestFailure;
pub use handler::{Handler, Requester, ServerRequest};
pub use hedgerow_endpoint::{ForwardSecrecy, LegConfig, Resumption, SecurityPolicy};
pub use hedgerow_leg::{ResetBy, ResetReason};
pub use hops::{HopEvent, HopEvents, HopId};
pub use identity::{Authorities, Identity, IdentityError, RawPublicKey};
pub use inner_session::InnerSession;
pub use inside::InnerTarget;
pub use itls_link::{ITLS_ALPN, ItlsConfig, ItlsLink, itls_link};
pub use itls_sessions::ItlsSessions;
pub use keep_alive::{SILENCE_TIMEOUT, give_up_after};
pub use key_log::KeyLogFile;
pub use key_store::{KeyStore, KeyStoreError};
pub use leg_stream::{IncomingStream, LegStream, StreamFailure, StreamOffer};
pub use link::{
    CarrierFailure, CertificateReason, DatagramLink, LinkCarrier, LinkDrops, LinkIncoming,
    LinkOutgoing, datagram_link,
};
pub use linked_node::LinkedNode;
pub use message::{OwnedOption, RequestMessage, ResponseMessage};
pub use node::Node;
pub use passage::{AdaptedGateway, OpenPassage, Passage, TranslateGateway};
pub use passage_node::PassageNode;
pub use resolve::resolve;
pub use server_tls::{ServerTls, ServerTlsFailure, ServerTlsStream};
pub use shares::{Share, Shares};
pub use statistics::Statistics;
pub use stream::{ProtocolName, StreamClient, StreamConfig, StreamServer, StreamStatistics};
pub use tls_stream::TlsStream;
pub use translated_link::{TranslateConfig, translated_link};
pub use tunnel::{
    GatewayTls, GatewayTlsError, GatewayUri, GatewayUriError, GatewayUser, GatewayUserError,
    Tunnel, TunnelConfig, TunnelHttp, TunnelTarget, TunnelTargetError,
};
