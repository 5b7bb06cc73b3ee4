//! The devices of what is measured in `src/bin/modes.rs`: each has one reading.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_coap::{Code, ContentFormat, OptionNumber};
use hedgerow_core::PeerId;
use hedgerow_endpoint::{AdaptedConfig, InnerConfig, StreamConfig};
use hedgerow_handshake::Settings;
use hedgerow_itls::End;
use hedgerow_leg::Role;
use hedgerow_net::{
    AdaptedServer, Credentials, KeyStore, LegConfig, Node, ResponseMessage, ServerRequest,
    StreamServer, Target,
};

use crate::ends;
use crate::forwarding::{
    BODY, END_IDENTITY, LANES, SUITE, Surroundings, device_name, end_key, hop_key, leg_key,
    loopback, node, stream_hop_key,
};
use crate::handshake::IDENTITY;

/// All that a gateway stands before, for as long as this is there.
pub struct Neighbours {
    devices: Vec<Node>,
    stream_devices: Vec<StreamServer>,
    service: SocketAddr,
}

impl Neighbours {
    /// Starts them.
    pub async fn start() -> Self {
        let (mut devices, mut stream_devices) = (Vec::new(), Vec::new());
        for number in 0..LANES {
            devices.push(device(number).await);
            stream_devices.push(stream_device(number).await);
        }
        Self {
            devices,
            stream_devices,
            service: ends::service().await,
        }
    }

    /// Returns where they are.
    pub fn surroundings(&self) -> Surroundings {
        let stream_devices = self.stream_devices.iter();
        Surroundings {
            service: self.service,
            devices: self.devices.iter().map(Node::local_addr).collect(),
            stream_devices: stream_devices.map(StreamServer::local_addr).collect(),
        }
    }
}

/// Starts a device that has one reading, a key of the gateway's and one of an end's, for every mode.
async fn device(number: usize) -> Node {
    let keys = KeyStore::new();
    keys.insert(IDENTITY, hop_key(number), PeerId(1)).unwrap();
    keys.insert(END_IDENTITY, end_key(number), PeerId(2))
        .unwrap();
    let mut config = node();
    // An end has a session for each row, and all of them come from this host.
    config.endpoint.max_associations_per_source = 1_000;
    let inner = hedgerow_itls::Settings::new(End::Device).without_forward_secrecy();
    config.endpoint.inner = Some(InnerConfig::new(inner));
    // Which of its gateways has it decides.
    config.endpoint.light_layer = true;
    config.endpoint.legs = Some(LegConfig::new(Role::Device));
    let node = Node::bind_server(loopback(), config, keys, answer).await;
    let node = node.unwrap();
    let ends = KeyStore::new();
    ends.insert(END_IDENTITY, end_key(number), PeerId(2))
        .unwrap();
    let serving = node.clone();
    tokio::spawn(async move { adapted().serve(&serving, ends, answer).await });
    node
}

/// Starts the same device over TLS, for the gateway alone.
async fn stream_device(number: usize) -> StreamServer {
    let keys = KeyStore::new();
    keys.insert(IDENTITY, stream_hop_key(number), PeerId(1))
        .unwrap();
    let mut config = hedgerow_net::StreamConfig {
        idle_timeout: Duration::from_secs(3_600),
        ..hedgerow_net::StreamConfig::default()
    };
    let suite = Settings::new(&[SUITE]);
    config.endpoint.handshake = suite.with_application_protocols(&[b"coap"]);
    let server = StreamServer::bind(loopback(), config, keys, answer).await;
    server.unwrap()
}

/// Returns the node of a device that calls the gateway itself, and whom it calls.
pub async fn caller(number: usize, gateway: SocketAddr) -> (Node, Target) {
    let mut config = node();
    config.endpoint.legs = Some(LegConfig::new(Role::Device));
    let node = Node::bind_client(loopback(), config).await.unwrap();
    let credentials = Credentials::new(device_name(number), leg_key(number), PeerId(1));
    let target = Target {
        address: gateway,
        credentials: Some(Arc::new(credentials.unwrap())),
    };
    (node, target)
}

async fn answer(_: ServerRequest) -> ResponseMessage {
    let format = ContentFormat::TEXT_PLAIN.encode();
    ResponseMessage::new(Code::CONTENT)
        .option(OptionNumber::CONTENT_FORMAT, format.as_bytes())
        .payload(BODY)
}

/// A device's server for TLS clients, with the one suite, which has no forward secrecy.
fn adapted() -> AdaptedServer {
    let defaults = AdaptedConfig::default();
    let names: &[&[u8]] = &[b"coap", b"http/1.1"];
    let stream = StreamConfig {
        handshake: Settings::new(&[SUITE]).with_application_protocols(names),
        ..defaults.stream
    };
    AdaptedServer {
        connections: Arc::new(AdaptedConfig { stream, ..defaults }),
        max_connections: 16,
        idle_timeout: Duration::from_secs(600),
        ..AdaptedServer::default()
    }
}
