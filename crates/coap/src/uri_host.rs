//! The authority of a URI, RFC 3986 §3.2 and RFC 7252 §6.1.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::UriError;
use crate::percent::{self, check, check_component};

/// The host of a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UriHost<'a> {
    /// An IPv4 address.
    Ipv4(Ipv4Addr),
    /// An IPv6 address, and the zone that it is meant in, percent-encoded (RFC 6874).
    Ipv6 {
        /// The address.
        address: Ipv6Addr,
        /// The zone on this host, such as an interface's name.
        zone: Option<&'a str>,
    },
    /// A registered name as it stands in the URI: percent-encoded, in any letter case.
    ///
    /// Names that look like numbers (`127.1`, `0x7f000001`) are names here, as RFC 3986 has it,
    /// but some resolvers take them for addresses: a policy must look at what they resolve to.
    Name(&'a str),
}

impl UriHost<'_> {
    /// Returns the address, if the host is one; an IPv4-mapped one as the IPv4 address it means.
    pub const fn address(&self) -> Option<IpAddr> {
        match *self {
            Self::Ipv4(address) => Some(IpAddr::V4(address)),
            Self::Ipv6 { address, .. } => Some(address.to_canonical()),
            Self::Name(_) => None,
        }
    }
}

/// The host in normal form (RFC 7252 §6.3), without a zone, which means nothing elsewhere.
impl fmt::Display for UriHost<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Ipv4(address) => write!(formatter, "{address}"),
            Self::Ipv6 { address, .. } => write!(formatter, "[{address}]"),
            Self::Name(name) => percent::encode(formatter, host_bytes(name), percent::is_name_char),
        }
    }
}

/// The bytes of a registered name in the form that Uri-Host has.
///
/// Letters are lowered behind the percent-decoding too, since `%41` is but another form of `A`
/// (RFC 7252 §6.3), and the same host must not have two names.
pub(crate) fn host_bytes(name: &str) -> impl Iterator<Item = u8> + Clone {
    percent::decoded(name).map(|byte| byte.to_ascii_lowercase())
}

/// Parses `host [ ":" port ]`.
pub(crate) fn parse_authority(authority: &str) -> Result<(UriHost<'_>, Option<u16>), UriError> {
    if authority.contains('@') {
        return Err(UriError::UserInformation);
    }
    if let Some(literal) = authority.strip_prefix('[') {
        let (literal, port) = literal.split_once(']').ok_or(UriError::InvalidHost)?;
        let port = match port.strip_prefix(':') {
            Some(port) => parse_port(port)?,
            None if port.is_empty() => None,
            None => return Err(UriError::InvalidHost),
        };
        return Ok((parse_ipv6(literal)?, port));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, parse_port(port)?),
        None => (authority, None),
    };
    Ok((parse_name(host)?, port))
}

fn parse_port(port: &str) -> Result<Option<u16>, UriError> {
    if port.is_empty() {
        return Ok(None);
    }
    // `parse` alone would accept a plus sign.
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(UriError::InvalidPort);
    }
    port.parse().map(Some).map_err(|_| UriError::InvalidPort)
}

/// Parses what stands in brackets: an IPv6 address, with a zone behind `%25` (RFC 6874 §2).
fn parse_ipv6(literal: &str) -> Result<UriHost<'_>, UriError> {
    let (address, zone) = match literal.split_once('%') {
        Some((address, zone)) => {
            let zone = zone.strip_prefix("25").ok_or(UriError::InvalidHost)?;
            check(zone, percent::is_unreserved)?;
            if zone.is_empty() {
                return Err(UriError::InvalidHost);
            }
            (address, Some(zone))
        }
        None => (literal, None),
    };
    let address = address.parse().map_err(|_| UriError::InvalidHost)?;
    Ok(UriHost::Ipv6 { address, zone })
}

/// Parses a registered name or an IPv4 address.
fn parse_name(host: &str) -> Result<UriHost<'_>, UriError> {
    if host.is_empty() {
        return Err(UriError::MissingHost);
    }
    check_component(host, percent::is_name_char, |len| UriError::HostTooLong {
        len,
    })?;
    // No URI could be composed from such a host again (RFC 7252 §6.5, step 2), and a name with a
    // slash or a NUL inside could pass for another one further on.
    if !host_bytes(host).all(is_host_byte) {
        return Err(UriError::InvalidHost);
    }
    // Unreserved characters may be percent-encoded, so an address is looked for behind that.
    let mut room = [0; MAX_IPV4_LEN];
    let address = percent::fill(&mut room, host_bytes(host))
        .and_then(|text| core::str::from_utf8(text).ok())
        .and_then(|text| text.parse().ok());
    Ok(match address {
        Some(address) => UriHost::Ipv4(address),
        None => UriHost::Name(host),
    })
}

/// Says whether a decoded byte may stand in a registered name.
pub(crate) const fn is_host_byte(byte: u8) -> bool {
    !byte.is_ascii() || percent::is_name_char(byte)
}

/// Length of `255.255.255.255`.
const MAX_IPV4_LEN: usize = 15;
