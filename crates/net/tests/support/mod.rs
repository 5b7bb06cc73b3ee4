//! Nodes on the loopback interface.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_core::{PeerId, Psk, SecurityMode};
use hedgerow_handshake::{Settings, Timers};
use hedgerow_net::{
    Credentials, Handler, KeyStore, Node, NodeConfig, RequestMessage, ResponseMessage,
    SecurityPolicy, ServerRequest, Target,
};

pub(crate) const KEY: &[u8] = b"sixteen byte key";

/// Runs a test with real sockets; one that hangs fails.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), test)
            .await
            .expect("test hangs");
    });
}

pub(crate) fn psk(key: &[u8]) -> Psk {
    Psk::new(key).unwrap()
}

pub(crate) fn keys() -> KeyStore {
    let keys = KeyStore::new();
    keys.insert("reader", psk(KEY), PeerId(7)).unwrap();
    keys
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Permits any security mode.
pub(crate) fn any() -> NodeConfig {
    NodeConfig::default().with_security(SecurityPolicy::new(SecurityMode::NoSec))
}

pub(crate) async fn client() -> Node {
    Node::bind_client(address("127.0.0.1:0"), any())
        .await
        .unwrap()
}

pub(crate) async fn server(handler: impl Handler) -> Node {
    Node::bind_server(address("127.0.0.1:0"), any(), keys(), handler)
        .await
        .unwrap()
}

pub(crate) fn target(address: SocketAddr, key: &[u8]) -> Target {
    let credentials = Credentials::new("reader", psk(key), PeerId(1)).unwrap();
    Target {
        address,
        credentials: Some(Arc::new(credentials)),
    }
}

pub(crate) fn get(path: &str) -> RequestMessage {
    RequestMessage::new(Code::GET).path(path)
}

/// Answers with the request's payload.
pub(crate) async fn echo(request: ServerRequest) -> ResponseMessage {
    ResponseMessage::new(Code::CONTENT).payload(request.message.payload)
}

/// A configuration whose handshakes end soon, yet not before a busy machine has made one: after so many
/// transmissions, of which a pause of the machine costs one, and not by the deadline.
pub(crate) fn hasty() -> NodeConfig {
    let mut config = NodeConfig::default();
    config.endpoint.handshake = Settings::default().with_timers(Timers {
        initial_timeout: Duration::from_millis(50),
        max_timeout: Duration::from_millis(100),
        max_transmissions: 16,
        deadline: Duration::from_secs(5),
    });
    config
}

/// Waits until `condition` holds, which something under way brings about.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}
