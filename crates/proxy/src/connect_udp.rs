//! Requests for a UDP tunnel and their responses, RFC 9298 §2 and §3.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hedgerow_coap::Scheme;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, Version};

use crate::destination::{Destination, Host};
use crate::percent::{self, is_segment_char};

/// Where the default template begins (RFC 9298 §2); host, port and a slash follow.
pub const MASQUE_UDP_PREFIX: &str = "/.well-known/masque/udp/";

/// The upgrade token (RFC 9298 §8.1).
pub const CONNECT_UDP: &str = "connect-udp";

/// The field that says that capsules follow (RFC 9297 §3.4).
pub const CAPSULE_PROTOCOL: HeaderName = HeaderName::from_static("capsule-protocol");

/// The head of an HTTP request, as far as a tunnel is concerned.
#[derive(Clone, Copy, Debug)]
pub struct ConnectUdpRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// The request target.
    pub uri: &'a Uri,
    /// The version of HTTP.
    pub version: Version,
    /// The fields.
    pub headers: &'a HeaderMap,
    /// The pseudo-header field `:protocol` of HTTP/2 (RFC 8441 §4).
    pub protocol: Option<&'a str>,
}

/// How a tunnel was asked for, and so how it is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TunnelForm {
    /// By `Upgrade` in HTTP/1.1.
    Upgrade,
    /// By extended CONNECT in HTTP/2.
    ExtendedConnect,
}

/// A tunnel that a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectUdp {
    /// How it was asked for.
    pub form: TunnelForm,
    /// Where it is to go.
    pub target: UdpTarget,
}

/// The target of a tunnel, as a client names it. It is looked for in a configuration, and never asked
/// of a resolver.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UdpTarget {
    host: TargetHost,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum TargetHost {
    Address(IpAddr),
    Name(String),
}

impl UdpTarget {
    /// Returns the port, never 0.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Says whether this is the device that the configuration calls `name` and that is at
    /// `destination`.
    pub fn is_device(&self, name: &str, destination: &Destination) -> bool {
        let is_named = matches!(&self.host, TargetHost::Name(own) if own == name);
        is_named && self.is_port_of(destination)
    }

    /// Says whether this is the host and the port of `destination`, letter by letter.
    pub fn is_at(&self, destination: &Destination) -> bool {
        let is_host = match (&self.host, destination.host()) {
            (TargetHost::Address(own), Host::Address(address)) => own == address,
            // Names of hosts are kept in lower case.
            (TargetHost::Name(own), Host::Name(name)) => own.eq_ignore_ascii_case(name),
            _ => false,
        };
        is_host && self.is_port_of(destination)
    }

    /// A tunnel of datagrams leads to the UDP port of a secured device: to what is in clear there is
    /// no end-to-end way, and TCP has a port of its own.
    fn is_port_of(&self, destination: &Destination) -> bool {
        destination.scheme() == Scheme::Coaps && destination.port() == self.port
    }

    /// Reads what follows the prefix.
    fn parse(text: &str) -> Result<Self, ConnectUdpError> {
        let mut parts = text.split('/');
        let (Some(host), Some(port), Some(""), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(ConnectUdpError::Template);
        };
        Ok(Self {
            host: TargetHost::parse(host)?,
            port: parse_port(port)?,
        })
    }
}

impl TargetHost {
    fn parse(text: &str) -> Result<Self, ConnectUdpError> {
        // MUST (RFC 9298 §3): the colons of an IPv6 address are percent-encoded.
        let host = percent::decode(text, |byte| is_segment_char(byte) && byte != b':')
            .map_err(|_| ConnectUdpError::TargetHost)?;
        if let Ok(address) = host.parse::<Ipv4Addr>() {
            return Ok(Self::Address(IpAddr::V4(address)));
        }
        // Neither brackets nor a zone (RFC 9298 §3): the parser takes none of them.
        if let Ok(address) = host.parse::<Ipv6Addr>() {
            return Ok(Self::Address(IpAddr::V6(address).to_canonical()));
        }
        // What a host's name and a device's name may hold. It is only compared.
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        if host.is_empty() || host.len() > MAX_NAME_LEN || !host.bytes().all(is_name) {
            return Err(ConnectUdpError::TargetHost);
        }
        Ok(Self::Name(host))
    }
}

fn parse_port(text: &str) -> Result<u16, ConnectUdpError> {
    let digits = percent::decode(text, is_segment_char).map_err(|_| ConnectUdpError::TargetPort)?;
    // A sign is no digit, which `parse` would overlook.
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.parse().ok().filter(|port| is_number && *port != 0);
    port.ok_or(ConnectUdpError::TargetPort)
}

/// Why a request for a tunnel is malformed: 400 (RFC 9298 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectUdpError {
    /// Not HTTP/1.1 or HTTP/2.
    #[error("tunnels are asked for in HTTP/1.1 or HTTP/2")]
    Version,
    /// Not GET in HTTP/1.1 or CONNECT in HTTP/2.
    #[error("a tunnel is asked for by GET in HTTP/1.1 and by CONNECT in HTTP/2")]
    Method,
    /// Not one Host field in HTTP/1.1, or no `:authority` or `:scheme` in HTTP/2.
    #[error("a request for a tunnel names one host")]
    Host,
    /// Connection hasn't `Upgrade` in HTTP/1.1.
    #[error("the Connection field has no Upgrade")]
    Connection,
    /// Upgrade isn't `connect-udp` alone in HTTP/1.1, or `:protocol` isn't in HTTP/2.
    #[error("the protocol asked for is not connect-udp alone")]
    Protocol,
    /// There is a field that goes with content (RFC 9297 §3.2).
    #[error("a request for a tunnel has no content, and so no {name} field")]
    ContentField {
        /// The field's name.
        name: &'static str,
    },
    /// The path isn't that of the default template.
    #[error("the path is not /.well-known/masque/udp/HOST/PORT/")]
    Template,
    /// The host is neither a name nor an address in its usual form.
    #[error("target_host is neither a name nor an address in its usual form")]
    TargetHost,
    /// The port isn't a number from 1 to 65535.
    #[error("target_port is not a number from 1 to 65535")]
    TargetPort,
}

impl ConnectUdpRequest<'_> {
    /// Decides what tunnel is asked for; `None` if it is another request, which has neither the
    /// upgrade token nor a path below [`MASQUE_UDP_PREFIX`].
    ///
    /// # Errors
    ///
    /// Each variant of [`ConnectUdpError`].
    pub fn decide(&self) -> Option<Result<ConnectUdp, ConnectUdpError>> {
        let is_token = |token: &str| token.trim().eq_ignore_ascii_case(CONNECT_UDP);
        let mut upgrades = tokens(self.headers, &UPGRADE);
        let is_asked = match self.version {
            Version::HTTP_2 => self.protocol.is_some_and(is_token),
            _ => upgrades.any(is_token),
        };
        let is_place = self.uri.path().starts_with(MASQUE_UDP_PREFIX);
        (is_asked || is_place).then(|| self.check())
    }

    fn check(&self) -> Result<ConnectUdp, ConnectUdpError> {
        let form = match self.version {
            Version::HTTP_11 => self.check_upgrade().map(|()| TunnelForm::Upgrade)?,
            Version::HTTP_2 => self.check_connect().map(|()| TunnelForm::ExtendedConnect)?,
            _ => return Err(ConnectUdpError::Version),
        };
        // MUST (RFC 9297 §3.2): a message with capsules has none of these.
        for (field, name) in [
            (CONTENT_LENGTH, "Content-Length"),
            (CONTENT_TYPE, "Content-Type"),
            (TRANSFER_ENCODING, "Transfer-Encoding"),
        ] {
            if self.headers.contains_key(field) {
                return Err(ConnectUdpError::ContentField { name });
            }
        }
        if self.uri.query().is_some() {
            return Err(ConnectUdpError::Template);
        }
        let rest = self.uri.path().strip_prefix(MASQUE_UDP_PREFIX);
        let target = UdpTarget::parse(rest.ok_or(ConnectUdpError::Template)?)?;
        Ok(ConnectUdp { form, target })
    }

    /// MUST (RFC 9298 §3.2): what isn't like this is malformed, and answered with an error.
    fn check_upgrade(&self) -> Result<(), ConnectUdpError> {
        if self.method != Method::GET {
            return Err(ConnectUdpError::Method);
        }
        if self.headers.get_all(HOST).iter().count() != 1 {
            return Err(ConnectUdpError::Host);
        }
        let is_upgrade = |token: &str| token.trim().eq_ignore_ascii_case("upgrade");
        if !tokens(self.headers, &CONNECTION).any(is_upgrade) {
            return Err(ConnectUdpError::Connection);
        }
        let mut asked = tokens(self.headers, &UPGRADE);
        match (asked.next(), asked.next()) {
            (Some(token), None) if token.trim().eq_ignore_ascii_case(CONNECT_UDP) => Ok(()),
            _ => Err(ConnectUdpError::Protocol),
        }
    }

    /// MUST (RFC 9298 §3.4): likewise.
    fn check_connect(&self) -> Result<(), ConnectUdpError> {
        if self.method != Method::CONNECT {
            return Err(ConnectUdpError::Method);
        }
        if self.protocol != Some(CONNECT_UDP) {
            return Err(ConnectUdpError::Protocol);
        }
        let has_origin = self.uri.authority().is_some() && self.uri.scheme().is_some();
        has_origin.then_some(()).ok_or(ConnectUdpError::Host)
    }
}

/// Returns the elements of a list field, those of values that aren't ASCII left out.
fn tokens<'h>(headers: &'h HeaderMap, field: &HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(field).into_iter();
    values
        .map(|value| value.to_str().unwrap_or("?"))
        .flat_map(|value| value.split(','))
}

impl TunnelForm {
    /// Makes the response that grants a tunnel (RFC 9298 §3.3 and §3.5).
    pub fn to_response(self) -> Response<()> {
        let mut response = Response::new(());
        let headers = response.headers_mut();
        // RFC 9297 §3.4: a true Boolean.
        headers.insert(CAPSULE_PROTOCOL, HeaderValue::from_static("?1"));
        if self == Self::Upgrade {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static(CONNECT_UDP));
        }
        // MUST (RFC 9298 §3.3): 101 in HTTP/1.1. HTTP/2 has no such status (RFC 9113 §8.6).
        *response.status_mut() = match self {
            Self::Upgrade => StatusCode::SWITCHING_PROTOCOLS,
            Self::ExtendedConnect => StatusCode::OK,
        };
        response
    }
}

/// The longest name that is looked for, in bytes (RFC 1035 §2.3.4).
const MAX_NAME_LEN: usize = 253;
