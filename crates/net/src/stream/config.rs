//! What connections over streams may use.

use core::time::Duration;
use std::sync::Arc;

use hedgerow_endpoint::{Resumption, SecurityPolicy};

use crate::KeyLogFile;
use crate::provider::{NodeCrypto, with_key_log};

/// The configuration of a [`StreamClient`](crate::StreamClient) or a
/// [`StreamServer`](crate::StreamServer).
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// Handshakes, and what each connection's exchange may use. A client overrides
    /// `requires_protocol_name` by [`Self::protocol_name`].
    pub endpoint: hedgerow_endpoint::StreamConfig,
    /// Whether a client leaves servers that agree on no application protocol by name.
    pub protocol_name: ProtocolName,
    /// Connections at the same time. A client closes one that is idle to open another; a server
    /// closes what comes beyond as soon as it is established.
    pub max_connections: usize,
    /// Connections of a server that aren't established yet, beside those that are. One that stalls
    /// delays none, and the deadline of the handshake or of the CSM frees its place.
    pub max_handshakes: usize,
    /// Connections of a server from one [`Source`](hedgerow_endpoint::Source). What comes beyond is closed
    /// at once.
    pub max_connections_per_source: usize,
    /// The same of those that aren't established yet.
    pub max_handshakes_per_source: usize,
    /// The name that a client asks every server for (SNI, RFC 6066 §3) where its certificates name none, such as
    /// that of a device at an address which devices share; `None` for no name. What can't be a
    /// [`ServerName`](hedgerow_core::ServerName) fails each request.
    pub server_name: Option<Arc<str>>,
    /// Requests of a client under way or queued, on all connections together.
    pub max_requests: usize,
    /// Handlers running at the same time, on all connections together. What comes beyond is answered
    /// with 5.03.
    pub max_handlers: usize,
    /// How long the system may take to connect.
    pub connect_timeout: Duration,
    /// How long a connection without a message is kept. It is then released in order. A server waits for the first
    /// request 2 s at least.
    pub idle_timeout: Duration,
    /// How long a peer may take for each KiB that waits for it, or for less if that is all.
    pub stall_timeout: Duration,
    /// How long an orderly end may take.
    pub shutdown_timeout: Duration,
    /// Whether sessions are resumed: by default not.
    pub resumption: Resumption,
    /// Where master secrets are written for whoever debugs with recordings; `None`, as it should be,
    /// for nowhere.
    pub key_log: Option<KeyLogFile>,
}

impl StreamConfig {
    /// Sets which security modes may be used, and by whom; MultiKey and above if nothing is said.
    #[must_use]
    pub fn with_security(mut self, policy: SecurityPolicy) -> Self {
        self.endpoint.security = Arc::new(policy);
        self
    }

    pub(crate) fn provider(&self) -> NodeCrypto {
        with_key_log(self.key_log.clone())
    }
}

/// Whether a server has to agree on the protocol `coap` by name (ALPN, RFC 8323 §8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ProtocolName {
    /// At any port but 5684, as RFC 8323 §8.2 has it.
    #[default]
    ByPort,
    /// Nowhere; for servers without ALPN at other ports.
    Optional,
}

impl ProtocolName {
    pub(crate) const fn is_required(self, port: u16) -> bool {
        match self {
            Self::ByPort => port != COAPS_PORT,
            Self::Optional => false,
        }
    }
}

impl Default for StreamConfig {
    /// The endpoint's defaults; 1,024 connections, 256 handshakes, a quarter of
    /// either for one source, 1,024 requests and handlers; 10 s to
    /// connect, ten minutes of idleness, 30 s of unread bytes, a second for the end.
    fn default() -> Self {
        Self {
            endpoint: hedgerow_endpoint::StreamConfig::default(),
            protocol_name: ProtocolName::default(),
            max_connections: 1_024,
            max_handshakes: 256,
            max_connections_per_source: 256,
            max_handshakes_per_source: 64,
            server_name: None,
            max_requests: 1_024,
            max_handlers: 1_024,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(600),
            stall_timeout: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(1),
            resumption: Resumption::default(),
            key_log: None,
        }
    }
}

/// Where TLS without a name is CoAP (RFC 8323 §8.2).
const COAPS_PORT: u16 = 5684;
