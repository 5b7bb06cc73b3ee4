//! Where a peer is, and from which address of this end it is answered.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use hedgerow_endpoint::{Address, Source};

/// Where a peer is.
///
/// Addresses are canonical: no IPv4-mapped IPv6 address, no flow label, a scope only where it says
/// something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Remote {
    /// At an address of the socket's network.
    At(SocketAddr),
    /// At the other end of the node's link. There is one, and where it is the carrier knows.
    Linked,
}

impl Remote {
    /// Where an address leads to.
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self::At(canonical(address))
    }

    pub(crate) const fn address(self) -> Option<SocketAddr> {
        match self {
            Self::At(address) => Some(address),
            Self::Linked => None,
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(formatter),
            Self::Linked => formatter.write_str("link"),
        }
    }
}

/// Where a peer is, and the local address that it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Path {
    pub(crate) remote: Remote,
    /// `None` where the system chooses: for peers that this end called, and where the socket has
    /// one address only.
    pub(crate) local: Option<IpAddr>,
}

impl Path {
    /// The path to a peer that this end calls.
    pub(crate) const fn to(remote: Remote) -> Self {
        Self {
            remote,
            local: None,
        }
    }
}

impl Address for Path {
    fn with_bytes<R>(&self, lend: impl FnOnce(&[u8]) -> R) -> R {
        let Remote::At(remote) = self.remote else {
            return lend(b"link");
        };
        let scope = match remote {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(remote) => remote.scope_id(),
        };
        let local = self
            .local
            .map_or(Ipv6Addr::UNSPECIFIED.octets(), wide_octets);
        let mut bytes = Vec::with_capacity(38);
        bytes.extend_from_slice(&wide_octets(remote.ip()));
        bytes.extend_from_slice(&remote.port().to_be_bytes());
        bytes.extend_from_slice(&scope.to_be_bytes());
        bytes.extend_from_slice(&local);
        lend(&bytes)
    }

    fn source(&self) -> Option<Source> {
        self.remote.address().map(|remote| Source::of(remote.ip()))
    }
}

/// Returns the one form in which an address is compared.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    let SocketAddr::V6(address) = address else {
        return address;
    };
    match address.ip().to_ipv4_mapped() {
        Some(ip) => SocketAddr::new(IpAddr::V4(ip), address.port()),
        None => {
            let is_local = address.ip().is_unicast_link_local();
            let scope = if is_local { address.scope_id() } else { 0 };
            SocketAddrV6::new(*address.ip(), address.port(), 0, scope).into()
        }
    }
}

/// Returns an address as an IPv6 socket has it.
pub(crate) fn mapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::V6(ip.to_ipv6_mapped()),
        IpAddr::V6(_) => ip,
    }
}

const fn wide_octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn mapped_address_is_its_ipv4_address() {
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:5684".parse().unwrap();
        assert_eq!(canonical(mapped), "192.0.2.1:5684".parse().unwrap());
    }

    #[test]
    fn scope_counts_for_link_local_addresses_alone() {
        let global: SocketAddr = SocketAddrV6::new("2001:db8::1".parse().unwrap(), 1, 7, 3).into();
        assert_eq!(canonical(global), "[2001:db8::1]:1".parse().unwrap());
        let local: SocketAddr = SocketAddrV6::new("fe80::1".parse().unwrap(), 1, 7, 3).into();
        let without_flow = SocketAddrV6::new("fe80::1".parse().unwrap(), 1, 0, 3);
        assert_eq!(canonical(local), without_flow.into());
    }

    #[test]
    fn each_part_of_a_path_is_bound_into_the_cookie() {
        let bytes = |remote: &str, local: Option<&str>| {
            let path = Path {
                remote: Remote::At(remote.parse().unwrap()),
                local: local.map(|local| local.parse().unwrap()),
            };
            path.with_bytes(<[u8]>::to_vec)
        };
        let all = BTreeSet::from([
            bytes("192.0.2.1:1", None),
            bytes("192.0.2.1:2", None),
            bytes("192.0.2.2:1", None),
            bytes("192.0.2.1:1", Some("192.0.2.9")),
            bytes("[fe80::1%1]:1", None),
            bytes("[fe80::1%2]:1", None),
        ]);
        assert_eq!(all.len(), 6);
    }
}
