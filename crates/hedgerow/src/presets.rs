//! Configurations of nodes for what hosts usually do.

use std::sync::Arc;
use std::time::Duration;

use hedgerow_endpoint::{AdaptedConfig, ConnectionIdFormat, ConnectionIds, InnerConfig, LegConfig};
use hedgerow_exchange::ConnectionConfig;
use hedgerow_handshake::{Settings, Timers};
use hedgerow_itls::{End, Settings as InnerSettings};
use hedgerow_leg::Role;
use hedgerow_net::{AdaptedServer, NodeConfig, Resumption, StreamConfig};

/// Configures a node for one request after the other to servers that the user names, each with
/// `limit` to end in.
///
/// A handshake ends before `limit`, by a tenth of it and at least a tenth of a second, since its own end says
/// why it failed.
/// Bodies may have 16 MiB.
pub fn client(limit: Duration) -> NodeConfig {
    let exchange = with_large_bodies(hedgerow_exchange::Config::default());
    node(Settings::default().with_timers(timers(limit)), exchange)
}

/// Configures the same over streams (`coap+tcp`, `coaps+tcp`).
pub fn stream_client(limit: Duration) -> StreamConfig {
    let mut config = StreamConfig {
        connect_timeout: limit.saturating_sub(margin(limit)),
        ..StreamConfig::default()
    };
    let endpoint = &mut config.endpoint;
    endpoint.handshake = endpoint.handshake.with_timers(timers(limit));
    let connection = ConnectionConfig::default();
    endpoint.connection = Arc::new(ConnectionConfig {
        exchange: with_large_bodies(connection.exchange.clone()),
        // A server that says nothing is given up by the limit, and said to be silent.
        csm_timeout: limit,
        ..connection
    });
    config
}

/// Configures a node that plays one device: RFC 7252's parameters, bodies of up to 128 KiB, 64
/// peers, whose sessions can be resumed, a connection ID for each that wants one (RFC 9146), inner sessions
/// of mode `itls` for whoever has an end-to-end key, beside the records of a gateway that wants it so, and streams
/// that gateways open, for [`adapted_device`].
pub fn device() -> NodeConfig {
    let exchange = hedgerow_exchange::Config::default();
    let mut config = node(Settings::default(), exchange);
    config.endpoint.max_associations = MAX_DEVICE_PEERS;
    config.endpoint.max_handshakes = MAX_DEVICE_PEERS;
    config.endpoint.resumption = device_resumption();
    // Whoever sees them learns nothing: there is one node, and its number is 0.
    config.endpoint.connection_ids = ConnectionIds::Both(ConnectionIdFormat::new(0));
    config.endpoint.inner = Some(InnerConfig::new(InnerSettings::new(End::Device)));
    config.endpoint.legs = Some(LegConfig {
        max_legs: MAX_DEVICE_PEERS,
        ..LegConfig::new(Role::Device)
    });
    config.endpoint.light_layer = true;
    config
}

/// Configures what serves TLS clients that know of no gateway, over the streams of a node with [`device`]: mode `translate`,
/// the device adapts (docs/specs/translate-device.md). Clients that ask for a name which isn't among `names` are refused,
/// and keys have to be end-to-end.
pub fn adapted_device(names: Vec<String>) -> AdaptedServer {
    let connections = AdaptedConfig {
        names: names.into(),
        ..AdaptedConfig::default()
    };
    AdaptedServer {
        connections: Arc::new(connections),
        ..AdaptedServer::default()
    }
}

/// Configures a device's server over streams, to stand beside one with [`device`].
pub fn stream_device() -> StreamConfig {
    StreamConfig {
        max_connections: MAX_DEVICE_PEERS,
        max_handshakes: MAX_DEVICE_PEERS,
        resumption: device_resumption(),
        ..StreamConfig::default()
    }
}

/// Tickets, and as many sessions by ID as there are peers.
const fn device_resumption() -> Resumption {
    Resumption {
        max_server_sessions: MAX_DEVICE_PEERS,
        ..Resumption::ON
    }
}

fn timers(limit: Duration) -> Timers {
    let timers = Timers::default();
    Timers {
        deadline: timers.deadline.min(limit.saturating_sub(margin(limit))),
        ..timers
    }
}

/// What is left of a limit once a handshake has ended, to say why: enough for a machine that is busy just then.
fn margin(limit: Duration) -> Duration {
    (limit / 10).max(Duration::from_millis(100))
}

const fn with_large_bodies(exchange: hedgerow_exchange::Config) -> hedgerow_exchange::Config {
    hedgerow_exchange::Config {
        max_body_len: MAX_CLIENT_BODY_LEN,
        max_bodies_len: MAX_CLIENT_BODY_LEN * 2,
        ..exchange
    }
}

fn node(handshake: Settings, exchange: hedgerow_exchange::Config) -> NodeConfig {
    NodeConfig {
        endpoint: hedgerow_endpoint::Config {
            handshake,
            exchange: Arc::new(exchange),
            ..hedgerow_endpoint::Config::default()
        },
        ..NodeConfig::default()
    }
}

const MAX_CLIENT_BODY_LEN: usize = 16 * 1_024 * 1_024;
const MAX_DEVICE_PEERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshake_of_a_client_ends_before_its_limit() {
        let deadline = |limit| client(limit).endpoint.handshake.timers.deadline;
        assert_eq!(
            deadline(Duration::from_secs(3)),
            Duration::from_millis(2_700)
        );
        assert_eq!(
            deadline(Duration::from_millis(500)),
            Duration::from_millis(400)
        );
        assert_eq!(
            deadline(Duration::from_secs(90)),
            Timers::default().deadline
        );
        assert_eq!(deadline(Duration::ZERO), Duration::ZERO);
    }
}
