//! Where a gateway is.

use core::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::Authority;

/// The URI of a gateway: `https://HOST[:PORT]`, or `http://HOST[:PORT]`, with no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayUri {
    is_https: bool,
    authority: Authority,
}

/// Why a text is no URI of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected https://HOST:PORT, or http://HOST:PORT, and nothing behind it")]
#[non_exhaustive]
pub struct GatewayUriError;

impl GatewayUri {
    /// Says whether TLS is spoken with the gateway.
    pub const fn is_https(&self) -> bool {
        self.is_https
    }

    /// Returns the host, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        let host = self.authority.host();
        let inner = host.strip_prefix('[');
        inner
            .and_then(|inner| inner.strip_suffix(']'))
            .unwrap_or(host)
    }

    /// Returns the port: the scheme's, if none is written.
    pub fn port(&self) -> u16 {
        let default = if self.is_https { 443 } else { 80 };
        self.authority.port_u16().unwrap_or(default)
    }

    pub(super) const fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(super) const fn scheme(&self) -> &'static str {
        if self.is_https { "https" } else { "http" }
    }
}

impl FromStr for GatewayUri {
    type Err = GatewayUriError;

    fn from_str(text: &str) -> Result<Self, GatewayUriError> {
        let uri: Uri = text.parse().map_err(|_| GatewayUriError)?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(GatewayUriError),
        };
        let authority = uri.authority().cloned().ok_or(GatewayUriError)?;
        let port = authority.port_u16();
        // Whoever writes credentials there shows them on the command line.
        let is_plain = !authority.as_str().contains('@')
            && !authority.host().is_empty()
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none()
            && !text.contains('#')
            && port != Some(0)
            && (port.is_some() || authority.as_str() == authority.host());
        is_plain
            .then_some(Self {
                is_https,
                authority,
            })
            .ok_or(GatewayUriError)
    }
}

impl fmt::Display for GatewayUri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.scheme(), self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateway_is_a_scheme_a_host_and_a_port() {
        for (text, host, port, is_https) in [
            ("https://gateway.example", "gateway.example", 443, true),
            (
                "https://gateway.example:8443/",
                "gateway.example",
                8443,
                true,
            ),
            ("http://127.0.0.1", "127.0.0.1", 80, false),
            ("https://[2001:db8::1]:8443", "2001:db8::1", 8443, true),
        ] {
            let uri: GatewayUri = text.parse().unwrap();
            assert_eq!((uri.host(), uri.port()), (host, port), "{text}");
            assert_eq!(uri.is_https(), is_https);
        }
        for text in [
            "",
            "gateway.example",
            "gateway.example:8443",
            "coaps://gateway.example",
            "https://",
            "https://me:secret@gateway.example",
            "https://gateway.example/devices",
            "https://gateway.example/?a",
            "https://gateway.example/#a",
            "https://gateway.example:0",
            "https://gateway.example:65536",
            "https://gateway.example:",
        ] {
            assert_eq!(text.parse::<GatewayUri>(), Err(GatewayUriError), "{text}");
        }
    }
}
