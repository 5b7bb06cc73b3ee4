//! What a node may use.

use core::time::Duration;
use std::sync::Arc;

use hedgerow_endpoint::SecurityPolicy;

use crate::KeyLogFile;

/// The configuration of a node.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The endpoint's tables and timers. Its `max_events` has no meaning here: events are fetched
    /// after every call, so that the other tables bound them.
    pub endpoint: hedgerow_endpoint::Config,
    /// Requests of this end under way or queued, to all peers together.
    pub max_requests: usize,
    /// Handlers running at the same time. What comes beyond is answered with 5.03.
    pub max_handlers: usize,
    /// How long an orderly shutdown may take.
    pub shutdown_timeout: Duration,
    /// How long the other end of a stream may take once this end has left it in order: for what is still to be
    /// sent, and for its own end.
    pub stream_patience: Duration,
    /// Where master secrets, and keys of inner sessions, are written for whoever debugs with recordings; `None`, as it
    /// should be, for nowhere.
    pub key_log: Option<KeyLogFile>,
}

impl NodeConfig {
    /// Sets which security modes may be used, and by whom; MultiKey and above if nothing is said.
    #[must_use]
    pub fn with_security(mut self, policy: SecurityPolicy) -> Self {
        self.endpoint.security = Arc::new(policy);
        self
    }
}

impl Default for NodeConfig {
    /// The endpoint's defaults, 1,024 requests, 1,024 handlers, a second to shut down, half a minute for streams.
    fn default() -> Self {
        Self {
            endpoint: hedgerow_endpoint::Config::default(),
            max_requests: 1_024,
            max_handlers: 1_024,
            shutdown_timeout: Duration::from_secs(1),
            stream_patience: Duration::from_secs(30),
            key_log: None,
        }
    }
}
