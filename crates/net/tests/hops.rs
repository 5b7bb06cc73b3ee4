//! Sessions of a gateway's node that carry messages of mode `itls`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_core::{Peer, PeerId, Psk, SecurityMode};
use hedgerow_endpoint::SecurityPolicy;
use hedgerow_handshake::Timers;
use hedgerow_net::{
    Credentials, HopEvent, HopEvents, HopId, KeyStore, Node, NodeConfig, RequestFailure,
    RequestMessage, ResponseMessage, ServerRequest, Target,
};
use tokio::time::timeout;

const KEY: &[u8] = b"sixteen byte key";
const MESSAGE: &[u8] = b"\xc1\x81\x00sealed by an end";

fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

fn config() -> NodeConfig {
    let mut config = NodeConfig::default();
    config.endpoint.forwards = true;
    config.endpoint.handshake = config.endpoint.handshake.with_timers(Timers {
        initial_timeout: Duration::from_millis(50),
        max_transmissions: 5,
        deadline: Duration::from_secs(30),
        ..Timers::default()
    });
    config
}

async fn answer(_: ServerRequest) -> ResponseMessage {
    ResponseMessage::new(Code::CONTENT).payload("21.5")
}

async fn device(at: SocketAddr) -> (Node, HopEvents) {
    let keys = KeyStore::new();
    let psk = Psk::new(KEY).unwrap();
    keys.insert("gateway", psk, PeerId(1)).unwrap();
    let node = Node::bind_server(at, config(), keys, answer).await.unwrap();
    let events = node.hop_events().unwrap();
    (node, events)
}

fn target(address: SocketAddr) -> Target {
    let credentials = Credentials::new("gateway", Psk::new(KEY).unwrap(), PeerId(7));
    Target {
        address,
        credentials: Some(Arc::new(credentials.unwrap())),
    }
}

async fn next(events: &mut HopEvents) -> HopEvent {
    let next = timeout(Duration::from_secs(20), events.next()).await;
    next.unwrap().unwrap()
}

async fn established(events: &mut HopEvents, expected: PeerId) -> HopId {
    let event = next(events).await;
    let HopEvent::Established { hop, peer, .. } = event else {
        panic!("{event:?}");
    };
    assert_eq!(peer, Peer::Psk(expected));
    hop
}

#[tokio::test]
async fn messages_pass_both_ways_beside_coap() {
    let (device, mut at_device) = device(loopback()).await;
    let gateway = Node::bind_client(loopback(), config()).await.unwrap();
    let mut at_gateway = gateway.hop_events().unwrap();
    let target = target(device.local_addr());
    gateway.begin_hop(&target).unwrap();
    let down = established(&mut at_gateway, PeerId(7)).await;
    let up = established(&mut at_device, PeerId(1)).await;
    for (node, hop, other, events) in [
        (&gateway, down, up, &mut at_device),
        (&device, up, down, &mut at_gateway),
    ] {
        node.forward(hop, (1, 9), MESSAGE.to_vec()).unwrap();
        let message = MESSAGE.to_vec();
        let expected = HopEvent::Message {
            is_light: false,
            hop: other,
            message,
        };
        assert_eq!(next(events).await, expected);
    }
    let get = RequestMessage::new(Code::GET);
    let response = gateway.request(&target, get).await.unwrap();
    assert_eq!(response.payload, b"21.5");
    // It was there already, so that nothing is begun.
    gateway.begin_hop(&target).unwrap();
    let mut long = vec![0; 20_000];
    long[0] = 0xc1;
    gateway.forward(down, (3, 19_999), long).unwrap();
    let (hop, flow, len) = (down, 3, 19_999);
    assert_eq!(
        next(&mut at_gateway).await,
        HopEvent::TooLong { hop, flow, len }
    );
    // The end of a session, on either side.
    assert!(gateway.disconnect(device.local_addr()).await);
    assert_eq!(next(&mut at_gateway).await, HopEvent::Ended { hop: down });
    assert_eq!(next(&mut at_device).await, HopEvent::Ended { hop: up });
    gateway.forward(down, (1, 9), MESSAGE.to_vec()).unwrap();
    // The next one has another name.
    gateway.begin_hop(&target).unwrap();
    assert_ne!(established(&mut at_gateway, PeerId(7)).await, down);
    gateway.close().await;
    assert!(gateway.begin_hop(&target).is_err());
    let event = next(&mut at_gateway).await;
    assert!(matches!(event, HopEvent::Ended { .. }), "{event:?}");
    assert_eq!(at_gateway.next().await, None);
}

#[tokio::test]
async fn device_that_cannot_be_reached_is_told_and_one_that_restarts_has_another_session() {
    let (device_node, _) = device(loopback()).await;
    let at = device_node.local_addr();
    device_node.close().await;
    let gateway = Node::bind_client(loopback(), config()).await.unwrap();
    let mut events = gateway.hop_events().unwrap();
    gateway.begin_hop(&target(at)).unwrap();
    assert_eq!(next(&mut events).await, HopEvent::Failed { remote: at });
    let (device_node, _) = device(at).await;
    gateway.begin_hop(&target(at)).unwrap();
    let first = established(&mut events, PeerId(7)).await;
    device_node.close().await;
    assert_eq!(next(&mut events).await, HopEvent::Ended { hop: first });
    let (_device_node, _) = device(at).await;
    gateway.begin_hop(&target(at)).unwrap();
    let second = established(&mut events, PeerId(7)).await;
    assert_ne!(first, second);
}

/// Sessions that there are already are told first.
#[tokio::test]
async fn whoever_asks_late_hears_of_the_sessions_that_there_are() {
    let (device, _) = device(loopback()).await;
    let gateway = Node::bind_client(loopback(), config()).await.unwrap();
    let target = target(device.local_addr());
    let get = RequestMessage::new(Code::GET);
    gateway.request(&target, get).await.unwrap();
    let mut events = gateway.hop_events().unwrap();
    established(&mut events, PeerId(7)).await;
    // Wrong credentials make no hop there.
    let other = Credentials::new("gateway", Psk::new(b"another 16 bytes").unwrap(), PeerId(8));
    let other = Target {
        credentials: Some(Arc::new(other.unwrap())),
        ..target
    };
    let failure = gateway
        .request(&other, RequestMessage::new(Code::GET))
        .await;
    assert!(!matches!(failure, Err(RequestFailure::NodeStopped) | Ok(_)));
}

/// What was begun for a request, or without security, is nobody's hop.
#[tokio::test]
async fn end_of_what_was_never_to_be_a_hop_is_not_told() {
    let open = |config: NodeConfig| {
        let mut config = config;
        config.endpoint.security = SecurityPolicy::new(SecurityMode::NoSec).into();
        config
    };
    let clear = Node::bind_server_without_security(loopback(), open(config()), answer);
    let clear = clear.await.unwrap();
    let (device, _) = device(loopback()).await;
    let gateway = Node::bind_client(loopback(), open(config())).await.unwrap();
    let mut events = gateway.hop_events().unwrap();
    let in_clear = Target {
        address: clear.local_addr(),
        credentials: None,
    };
    let get = || RequestMessage::new(Code::GET);
    gateway.request(&in_clear, get()).await.unwrap();
    assert!(gateway.disconnect(in_clear.address).await);
    // A request to where nobody answers.
    let silent = std::net::UdpSocket::bind(loopback()).unwrap();
    let nobody = target(silent.local_addr().unwrap());
    gateway.request(&nobody, get()).await.unwrap_err();
    // The same called as a hop.
    gateway.begin_hop(&nobody).unwrap();
    let failed = HopEvent::Failed {
        remote: nobody.address,
    };
    assert_eq!(next(&mut events).await, failed);
    gateway.begin_hop(&target(device.local_addr())).unwrap();
    established(&mut events, PeerId(7)).await;
}
