//! Which device a tunnel is to lead to.

use core::fmt;
use std::net::IpAddr;

use hedgerow_proxy::MASQUE_UDP_PREFIX;

/// A device as the gateway knows it: by the name or the host of its configuration, and by the port that
/// is configured there. It is no name of this host's resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelTarget {
    host: String,
    port: u16,
}

/// Why a device can't be named so to a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a device behind a gateway is a name of letters, digits and - _ . ~, or an address without a zone, and a port"
)]
#[non_exhaustive]
pub struct TunnelTargetError;

impl TunnelTarget {
    /// Names a device; an IPv6 address may stand in brackets.
    ///
    /// # Errors
    ///
    /// [`TunnelTargetError`] if host or port can't be told to a gateway.
    pub fn new(host: &str, port: u16) -> Result<Self, TunnelTargetError> {
        let inner = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        let is_host = inner.parse::<IpAddr>().is_ok()
            || (!inner.is_empty() && inner.len() <= 253 && inner.bytes().all(is_name));
        (is_host && port != 0)
            .then(|| Self {
                host: inner.to_owned(),
                port,
            })
            .ok_or(TunnelTargetError)
    }

    /// Returns the path of the default template (RFC 9298 §2).
    pub(super) fn path(&self) -> String {
        // MUST (RFC 9298 §3): the colons of an IPv6 address are percent-encoded.
        let host = self.host.replace(':', "%3A");
        format!("{MASQUE_UDP_PREFIX}{host}/{}/", self.port)
    }
}

impl fmt::Display for TunnelTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(formatter, "[{}]:{}", self.host, self.port),
            false => write!(formatter, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_that_of_the_template() {
        for (host, path) in [
            ("192.0.2.6", "/.well-known/masque/udp/192.0.2.6/443/"),
            (
                "2001:db8::42",
                "/.well-known/masque/udp/2001%3Adb8%3A%3A42/443/",
            ),
            (
                "[2001:db8::42]",
                "/.well-known/masque/udp/2001%3Adb8%3A%3A42/443/",
            ),
            ("thermometer", "/.well-known/masque/udp/thermometer/443/"),
        ] {
            assert_eq!(TunnelTarget::new(host, 443).unwrap().path(), path);
        }
        for host in [
            "",
            "a/b",
            "a b",
            "a%2Fb",
            "fe80::1%eth0",
            "a:b",
            "[a]",
            "b\u{fc}ro",
        ] {
            let found = TunnelTarget::new(host, 1);
            // A name in brackets is one without them.
            assert_eq!(found.is_ok(), host == "[a]", "{host}");
        }
        assert!(TunnelTarget::new("a", 0).is_err());
    }
}
