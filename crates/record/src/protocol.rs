//! The two protocols and their version fields.

/// A version field. Unknown versions are kept as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProtocolVersion(pub u16);

/// DTLS 1.0, which first ClientHellos and HelloVerifyRequests carry (RFC 6347 §4.2.1).
pub const DTLS_1_0: ProtocolVersion = ProtocolVersion(0xfeff);

/// DTLS 1.2.
pub const DTLS_1_2: ProtocolVersion = ProtocolVersion(0xfefd);

/// TLS 1.2.
pub const TLS_1_2: ProtocolVersion = ProtocolVersion(0x0303);

/// Which of the two protocols bytes belong to. Messages are the same in both but for the handshake
/// header, the cookie in ClientHello and the version fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// DTLS 1.2 over datagrams (RFC 6347).
    Dtls,
    /// TLS 1.2 over a stream (RFC 5246).
    Tls,
}

impl Protocol {
    /// Returns what the hellos and the protected records have in their version fields.
    pub const fn version(self) -> ProtocolVersion {
        match self {
            Self::Dtls => DTLS_1_2,
            Self::Tls => TLS_1_2,
        }
    }
}
