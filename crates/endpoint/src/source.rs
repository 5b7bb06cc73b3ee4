//! What counts as one source where each has a share.

use core::net::IpAddr;

/// Where somebody comes from, as far as he can't choose it: an IPv4 address, or the 64 bits that name
/// an IPv6 network, since the rest of the address is its user's to choose (RFC 4291 §2.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(u128);

impl Source {
    /// Returns the source that an address belongs to.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(u128::from(address.to_ipv6_mapped())),
            IpAddr::V6(address) => Self(u128::from(address) & (u128::MAX << 64)),
        }
    }
}
