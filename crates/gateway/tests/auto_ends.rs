//! How a tunnel with two carriers ends, and with whom it doesn't begin, over real sockets (`docs/specs/auto.md`). The
//! gateway has a `terminate` key for the same device.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "support/carriers.rs"]
mod carriers;
mod support;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carriers::{KEY, Relay, TOKEN, across, open_in_clear, post, try_post, until};
use hedgerow_coap::Code;
use hedgerow_core::{Peer, PeerFault, PeerId, Psk};
use hedgerow_gateway::{Config, Mode, Running, User};
use hedgerow_handshake::Timers;
use hedgerow_net::{
    CarrierFailure, KeyStore, LinkedNode, Node, NodeConfig, RequestFailure, ResponseMessage,
    ServerRequest,
};
use hedgerow_proxy::CarrierState;
use support::{loopback, psk_device, request, short_config, start};
use tokio::time::timeout;

/// What the device has done, and who had it done.
type Done = Arc<Mutex<Vec<(Vec<u8>, Peer)>>>;

const GATEWAY: Peer = Peer::Psk(PeerId(1));
const END: Peer = Peer::EndToEndPsk(PeerId(7));

/// A device with the gateway's key, and with the other end's if it has one.
async fn device(has_end_to_end: bool) -> (Node, Done) {
    let keys = KeyStore::new();
    let gateways = Psk::new(support::KEY).unwrap();
    keys.insert("gateway", gateways, PeerId(1)).unwrap();
    if has_end_to_end {
        let psk = Psk::new(KEY).unwrap().into_end_to_end().unwrap();
        keys.insert("reader", psk, PeerId(7)).unwrap();
    }
    let done = Done::default();
    let note = Arc::clone(&done);
    let handler = move |request: ServerRequest| {
        let note = Arc::clone(&note);
        async move {
            let peer = request.requester.peer();
            let payload = request.message.payload.clone();
            note.lock().unwrap().push((payload.clone(), peer));
            ResponseMessage::new(Code::CHANGED).payload(payload)
        }
    };
    let node = Node::bind_server(loopback(), NodeConfig::default(), keys, handler);
    (node.await.unwrap(), done)
}

/// A gateway that asks the device itself, and lets tunnels to it through.
fn both_modes(device: SocketAddr) -> Config {
    let lamp = psk_device("lamp", device).with_modes(&[Mode::Terminate, Mode::Tunnel]);
    let config = short_config().with_user(User::with_token("robot", TOKEN.as_bytes()));
    config.with_device(lamp).with_udp_carriers(loopback())
}

async fn ask_by_the_gateway(gateway: &Running) {
    let head = "POST /devices/lamp/do\r\ncontent-type: application/octet-stream";
    let reply = request(gateway.http_addr().unwrap(), head, b"by the gateway").await;
    assert_eq!(reply.status / 100, 2, "{reply:?}");
}

/// The TCP connection ends within a capsule, and between two, while UDP carries everything. The node is told which, and
/// the device's session isn't closed by either.
#[tokio::test]
async fn tunnel_that_is_cut_or_closed_is_no_close_of_the_session() {
    for (within_capsule, expected) in [
        (true, CarrierFailure::Truncated),
        (false, CarrierFailure::Closed),
    ] {
        let (device, done) = device(true).await;
        let at = device.local_addr();
        let gateway = start(both_modes(at)).await;
        // The gateway's own session with the same device goes on beside.
        ask_by_the_gateway(&gateway).await;
        let relay = Relay::start(&gateway, gateway.http_addr().unwrap()).await;
        let tunnel = open_in_clear(relay.tcp, at, true).await;
        let mut states = tunnel.carriers.unwrap();
        let node = LinkedNode::new(tunnel.link, across());
        until(&mut states, CarrierState::UdpActive).await;
        post(&node, "over udp").await;
        relay.end_tcp(within_capsule);
        let ended = async {
            while !node.has_ended() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), ended).await.unwrap();
        let asked = try_post(&node, "too late").await;
        assert_eq!(asked.unwrap_err(), RequestFailure::Carrier(expected));
        // Nobody has closed anything at the device, which waits for more.
        assert_eq!(device.statistics().associations, 2);
        let expected = [(&b"by the gateway"[..], GATEWAY), (b"over udp", END)];
        let done = done.lock().unwrap().clone();
        assert_eq!(done, expected.map(|it| (it.0.to_vec(), it.1)));
        gateway.shutdown().await;
        device.close().await;
    }
}

/// The gateway's key is good for the gateway: who asks for the end-to-end key gets no session with a device that hasn't
/// got it, whatever else the gateway could do there.
#[tokio::test]
async fn gateway_with_a_terminate_key_is_not_the_device() {
    let (device, done) = device(false).await;
    let at = device.local_addr();
    let gateway = start(both_modes(at)).await;
    ask_by_the_gateway(&gateway).await;
    let tunnel = open_in_clear(gateway.http_addr().unwrap(), at, true).await;
    let mut config = across();
    config.endpoint.handshake = config.endpoint.handshake.with_timers(Timers {
        initial_timeout: Duration::from_millis(200),
        max_transmissions: 3,
        deadline: Duration::from_secs(30),
        ..Timers::default()
    });
    let node = LinkedNode::new(tunnel.link, config);
    let failed = try_post(&node, "for the device alone").await.unwrap_err();
    assert_eq!(
        failed,
        RequestFailure::Channel(PeerFault::CredentialsRefused.into())
    );
    assert_eq!(done.lock().unwrap().len(), 1);
    gateway.shutdown().await;
    device.close().await;
}
