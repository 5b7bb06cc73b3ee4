//! The decisions of a proxy between HTTP and CoAP: RFC 8075, RFC 7252 §10.2, UDP tunnels by RFC 9298,
//! and the problems of RFC 7807 for what goes wrong between them.
//!
//! Four questions are answered, each by a plain function of its arguments and the configuration:
//!
//! - Which device is meant, and may it be asked? [`HcProxy::resolve`], and for what a name resolved
//!   to [`HcProxy::check_address`]. Nothing may be asked that isn't configured.
//! - Which CoAP request is it? [`HcProxy::map_request`] before the body is read,
//!   [`CoapRequest::set_body`] after.
//! - What does the client get? [`HcProxy::map_response`].
//! - And if no device answered? [`Failure::to_response`].
//!
//! Two mappings of URIs exist: `/hc/` with the target URI appended verbatim (RFC 8075 §5.3; a
//! request target that is a CoAP URI itself works like it), and `/devices/NAME/path` for devices
//! that the configuration names. What two readers of a path could resolve differently is refused:
//! dot segments, empty segments but the last, encoded slashes, control characters, user
//! information, fragments, and other spellings of addresses.
//!
//! Entity tags of CoAP become strong HTTP tags of lower-case hexadecimal digits. Problems have the
//! types that [`Failure::problem_type`] lists; `about:blank` says that the device itself gave the
//! status.
//!
//! Beside the mapping stand the decisions of the mode `tunnel` (RFC 9297, RFC 9298 and
//! `docs/specs/tunnel.md`): [`ConnectUdpRequest::decide`] says which tunnel is asked for,
//! [`TunnelForm::to_response`] and [`TunnelRefusal::to_response`] what the client gets, and
//! [`TunnelDecoder`] and [`encode_udp_capsule`] turn its stream into UDP payloads and back.
//! In the mode `auto` (docs/specs/auto.md) [`TunnelCarriers`] is one end of a tunnel with two carriers, [`CarrierSelector`] says
//! on which of them each datagram goes, [`CarrierMessage`] is what both carry, and [`UdpCarrierOffer`] how a client learns of the second.
//! And two that aren't about HTTP: in the mode `translate` (docs/specs/translate.md) [`Translator`] rewrites
//! the headers of DTLS records between an Internet end's TCP connection and a device's datagrams; and where a device
//! adapts itself to TLS clients as they are (docs/specs/translate-device.md), [`StreamRoutes`] says which one is meant.
//!
//! In the mode `itls` (docs/specs/itls.md) [`ItlsForwarder`] has the flows: who may open one to whom, which
//! message goes where, and when one ends.
//!
//! It leaves out all that acts: sockets, names' resolution, sessions, retransmission, block-wise
//! transfer, caching and the number of requests under way. It follows no redirects, since CoAP has
//! none, and transcodes no content.
//!
//! # Example
//!
//! ```
//! use hedgerow_coap::{Code, ContentFormat, MessageOption, OptionNumber};
//! use hedgerow_proxy::{CoapResponse, HcProxy, HttpRequest, Methods};
//! use http::{HeaderMap, Method, StatusCode, Uri};
//!
//! let proxy = HcProxy::new()
//!     .with_device("thermometer", "coap://[2001:db8::7]", Methods::GET)?;
//!
//! let (method, headers) = (Method::GET, HeaderMap::new());
//! let uri: Uri = "/devices/thermometer/temperature?unit=C".parse()?;
//! let http = HttpRequest {
//!     method: &method,
//!     uri: &uri,
//!     headers: &headers,
//!     body_len: Some(0),
//!     is_https: true,
//! };
//! let mapped = proxy.map_request(&http)?;
//! assert_eq!(mapped.request.method(), Code::GET);
//! assert_eq!(mapped.request.target().uri_path(), ["temperature"]);
//!
//! let format = ContentFormat::TEXT_PLAIN.encode();
//! let option = MessageOption::new(OptionNumber::CONTENT_FORMAT, format.as_bytes());
//! let response = CoapResponse::new(Code::CONTENT, [option], b"21.5");
//! let answer = proxy.map_response(&mapped.context, &response);
//! assert_eq!(answer.status(), StatusCode::OK);
//! assert_eq!(answer.headers()["content-type"], "text/plain;charset=utf-8");
//! assert_eq!(answer.body().as_ref(), b"21.5");
//!
//! // Nothing else is reached, whatever the client asks for.
//! let elsewhere: Uri = "/hc/coap://192.0.2.1/".parse()?;
//! let denied = proxy.map_request(&HttpRequest { uri: &elsewhere, ..http }).unwrap_err();
//! assert_eq!(denied.to_response(&method, elsewhere.path()).status(), StatusCode::FORBIDDEN);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! None. The crate needs the standard library, because the `http` crate does.

mod accept;
mod capsule;
mod carrier_message;
mod carrier_selector;
mod coap_request;
mod coap_response;
mod connect_udp;
mod destination;
mod entity_tag;
mod failure;
mod fields;
mod gateway_refusal;
mod hc_proxy;
mod itls;
mod media_type;
mod methods;
mod percent;
mod probe_history;
mod problem;
mod request;
mod response;
mod stream_routing;
mod target;
mod target_error;
mod tcp_probes;
mod translator;
mod tunnel_carriers;
mod tunnel_refusal;
mod udp_carrier_offer;
mod udp_tunnel;
mod varint;

pub use capsule::{Capsule, CapsuleDecoder, CapsuleEncodeError, CapsuleType, TruncatedCapsule};
pub use carrier_message::{
    CarrierMessage, CarrierMessageError, MAX_UDP_CARRIER_MESSAGE_LEN, MAX_UDP_CARRIER_PAYLOAD_LEN,
    MIN_PROBE_LEN, ProbeNumber, encode_echo, encode_probe, encode_udp_payload,
};
pub use carrier_selector::{
    CarrierChoice, CarrierKind, CarrierRole, CarrierSelector, CarrierState,
};
pub use coap_request::{CoapRequest, IfMatch};
pub use coap_response::CoapResponse;
pub use connect_udp::{
    CAPSULE_PROTOCOL, CONNECT_UDP, ConnectUdp, ConnectUdpError, ConnectUdpRequest,
    MASQUE_UDP_PREFIX, TunnelForm, UdpTarget,
};
pub use destination::{Destination, Host};
pub use entity_tag::EntityTag;
pub use failure::{Body, Failure};
pub use gateway_refusal::GatewayRefusal;
pub use hc_proxy::{ConfigError, HcProxy, Limits};
pub use itls::{
    FlowEnd, FlowRecord, ItlsContent, ItlsDelivery, ItlsEvent, ItlsForwarder, ItlsLimits,
    ItlsOutcome, ItlsParty, ItlsPolicy, ItlsStatistics, OuterSession,
};
pub use media_type::LooseMapping;
pub use methods::{Methods, PatchMapping};
pub use request::{HttpRequest, MappedRequest};
pub use response::{ReasonPhrase, ResponseContext};
pub use stream_routing::{
    MAX_ROUTED_HELLO_LEN, MAX_ROUTED_LEN, StreamRefusal, StreamRoute, StreamRoutes,
};
pub use target::{DEVICES_PREFIX, HC_PREFIX, Target};
pub use target_error::TargetError;
pub use translator::{NotPermitted, Opening, ToDevice, Translator};
pub use tunnel_carriers::{TunnelCarriers, udp_payload_message};
pub use tunnel_refusal::TunnelRefusal;
pub use udp_carrier_offer::{
    UDP_CARRIER, UDP_CARRIER_IDENTITY_LEN, UDP_CARRIER_KEY_LEN, UdpCarrierOffer,
    asks_for_udp_carrier,
};
pub use udp_tunnel::{
    ContextId, MAX_UDP_CAPSULE_OVERHEAD, MAX_UDP_PAYLOAD_LEN, TunnelDecoder, TunnelDrop,
    TunnelEvent, TunnelFault, encode_datagram_capsule, encode_message_capsule, encode_udp_capsule,
};

use response::guard;
