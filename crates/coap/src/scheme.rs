//! URI schemes of CoAP, RFC 7252 §6 and RFC 8323 §8.

use core::fmt;

/// A URI scheme of CoAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// `coap`: UDP (RFC 7252 §6.1).
    Coap,
    /// `coaps`: UDP secured by DTLS (RFC 7252 §6.2).
    Coaps,
    /// `coap+tcp`: TCP (RFC 8323 §8.1).
    CoapTcp,
    /// `coaps+tcp`: TCP secured by TLS (RFC 8323 §8.2).
    CoapsTcp,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Self; 4] = [Self::Coap, Self::Coaps, Self::CoapTcp, Self::CoapsTcp];

    /// Finds a scheme by its name, in any letter case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|scheme| scheme.name().eq_ignore_ascii_case(name))
    }

    /// Returns the scheme's name in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Coap => "coap",
            Self::Coaps => "coaps",
            Self::CoapTcp => "coap+tcp",
            Self::CoapsTcp => "coaps+tcp",
        }
    }

    /// Returns the port that is assumed where a URI names none.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Coap | Self::CoapTcp => 5683,
            Self::Coaps | Self::CoapsTcp => 5684,
        }
    }

    /// Says whether DTLS or TLS secures the transport.
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Coaps | Self::CoapsTcp)
    }

    /// Says whether the transport is TCP.
    pub const fn is_tcp(self) -> bool {
        matches!(self, Self::CoapTcp | Self::CoapsTcp)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
