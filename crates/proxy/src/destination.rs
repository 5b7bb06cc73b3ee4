//! Where a request goes, in the one spelling that is compared and used.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hedgerow_coap::{CoapUri, Scheme, UriHost};

use crate::TargetError;

/// The host of a [`Destination`], normalised.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A domain name in lower case that can't be taken for an address.
    Name(String),
    /// An address; never an IPv4 address in IPv6's clothes.
    Address(IpAddr),
}

/// Scheme, host and port: what is looked up in the list of permitted destinations, and what the
/// request is then sent to.
///
/// Two spellings of one destination are equal, and what has no single meaning isn't a destination.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    scheme: Scheme,
    host: Host,
    port: u16,
}

impl Destination {
    /// Returns the scheme, one of CoAP's four.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the host.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// Returns the port, never 0.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Reads a scheme name and an authority, IPv6 addresses standing in brackets.
    pub(crate) fn parse(scheme: &str, authority: &str) -> Result<Self, TargetError> {
        let scheme = Scheme::from_name(scheme).ok_or(TargetError::UnknownScheme)?;
        // What would end the authority must not begin another component unseen.
        if authority.contains(['/', '?', '#', '\\']) {
            return Err(TargetError::Character);
        }
        let text = format!("{scheme}://{authority}");
        let uri = CoapUri::parse(&text).map_err(TargetError::Authority)?;
        let host = match uri.host() {
            UriHost::Ipv6 { zone: Some(_), .. } => return Err(TargetError::ZoneIdentifier),
            UriHost::Ipv4(address) => Host::Address(IpAddr::V4(address)),
            UriHost::Ipv6 { address, .. } => Host::Address(address.to_canonical()),
            UriHost::Name(_) => Host::Name(checked_name(uri.host().to_string())?),
        };
        let port = uri.port();
        if port == 0 {
            return Err(TargetError::Authority(hedgerow_coap::UriError::InvalidPort));
        }
        let destination = Self { scheme, host, port };
        match destination.host {
            Host::Address(address) if is_multicast(address) => Err(TargetError::Multicast),
            _ => Ok(destination),
        }
    }

    /// Says whether a request for this destination may be sent to `address`.
    ///
    /// A literal address is its own answer. A name is somebody else's: whoever runs its zone could
    /// point it at the proxy itself, at a group or at a cloud's metadata service, so that the name
    /// on the list would open what isn't on it.
    pub(crate) fn may_be_at(&self, address: IpAddr) -> Result<(), TargetError> {
        let address = address.to_canonical();
        let name = match &self.host {
            Host::Address(own) if *own == address => return Ok(()),
            Host::Address(_) => return Err(TargetError::DestinationDenied),
            Host::Name(name) => name,
        };
        if is_multicast(address) {
            return Err(TargetError::Multicast);
        }
        // RFC 6761 §6.3: localhost is loopback, and by our own rule nothing else is.
        let is_localhost = name == "localhost" || name.ends_with(".localhost");
        let permitted = address.is_loopback() == is_localhost && !is_special(address);
        permitted
            .then_some(())
            .ok_or(TargetError::DestinationDenied)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://", self.scheme)?;
        match &self.host {
            Host::Name(name) => formatter.write_str(name)?,
            Host::Address(IpAddr::V4(address)) => write!(formatter, "{address}")?,
            Host::Address(IpAddr::V6(address)) => write!(formatter, "[{address}]")?,
        }
        if self.port == self.scheme.default_port() {
            Ok(())
        } else {
            write!(formatter, ":{}", self.port)
        }
    }
}

/// Checks a name in lower case.
///
/// `127.1`, `0x7f000001`, `2130706433` and `0177.0.0.1` are names to RFC 3986 and loopback to many
/// resolvers; no domain name's last label is a number.
fn checked_name(name: String) -> Result<String, TargetError> {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err(TargetError::HostName);
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
    let is_hexadecimal = last
        .strip_prefix("0x")
        .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if is_number || is_hexadecimal {
        return Err(TargetError::NumericHost);
    }
    Ok(name)
}

/// Says whether `address`, or the IPv4 address that a translator would make of it, is multicast or
/// broadcast.
fn is_multicast(address: IpAddr) -> bool {
    let is_group = |address: Ipv4Addr| address.is_multicast() || address.is_broadcast();
    match address {
        IpAddr::V4(address) => is_group(address),
        IpAddr::V6(address) => address.is_multicast() || embedded(address).is_some_and(is_group),
    }
}

/// Says whether `address` means this host or network (RFC 1122 §3.2.1.3), or is link-local in IPv4,
/// where metadata services live.
fn is_special(address: IpAddr) -> bool {
    let is_special = |address: Ipv4Addr| matches!(address.octets(), [0, ..] | [169, 254, ..]);
    match address {
        IpAddr::V4(address) => is_special(address),
        IpAddr::V6(address) => {
            address.is_unspecified()
                || embedded(address).is_some_and(|inner| inner.is_loopback() || is_special(inner))
        }
    }
}

/// Returns the IPv4 address inside an IPv6 one: IPv4-compatible (RFC 4291 §2.5.5.1), NAT64
/// (RFC 6052 §2.1) and 6to4 (RFC 3056 §2). Mapped ones were turned into IPv4 before.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.octets() {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, _] => None,
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]
        | [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]
        | [0x20, 0x02, a, b, c, d, ..] => Some(Ipv4Addr::new(a, b, c, d)),
        _ => None,
    }
}
