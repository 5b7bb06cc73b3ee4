//! The HTTPS listener whose clients prove themselves with pre-shared keys.

use std::fmt;
use std::net::SocketAddr;

use hedgerow_core::Psk;
use hedgerow_handshake::Settings;

/// The listener for HTTPS without certificates: TLS 1.2 with pre-shared keys, HTTP/1.1. Client and
/// gateway prove themselves to each other.
#[derive(Debug)]
pub struct HttpsPsk {
    /// Address and port.
    pub listen: SocketAddr,
    /// Who is let in.
    pub clients: Vec<HttpsClient>,
}

/// A client of [`HttpsPsk`].
pub struct HttpsClient {
    /// The identity that it shows, at most 128 bytes.
    pub psk_identity: Vec<u8>,
    /// Its key.
    pub psk: Psk,
}

/// The identity, and no more.
impl fmt::Debug for HttpsClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HttpsClient")
            .field(
                "psk_identity",
                &self.psk_identity.escape_ascii().to_string(),
            )
            .finish_non_exhaustive()
    }
}

impl HttpsPsk {
    /// HTTP/2 asks for suites that plain PSK isn't among (RFC 9113 §9.2.2), so that only HTTP/1.1 has
    /// a name here.
    pub(crate) fn settings() -> Settings {
        Settings::default().with_application_protocols(&[b"http/1.1"])
    }
}
