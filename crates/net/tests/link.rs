//! A node over a link: a request end to end, and how the link's end reaches whoever waits.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    dead_code
)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use hedgerow_coap::Code;
use hedgerow_core::{ChannelError, KeyPurpose, Misuse, Peer, PeerFault, PeerId, Psk, SecurityMode};
use hedgerow_net::{
    CarrierFailure, Credentials, ForwardSecrecy, KeyStore, LinkCarrier, LinkedNode, Node,
    NodeConfig, RequestFailure, Requester, ResponseMessage, SecurityPolicy, ServerRequest,
    datagram_link,
};
use hedgerow_record::KeyExchange;
use support::{KEY, address, get, hasty, psk, run};
use tokio::net::UdpSocket;
use tokio::sync::oneshot;

fn end_to_end(key: &[u8]) -> Psk {
    psk(key).into_end_to_end().unwrap()
}

fn across() -> NodeConfig {
    let policy = SecurityPolicy::new(SecurityMode::MultiKey);
    hasty().with_security(policy.for_end_to_end(ForwardSecrecy::Required))
}

fn credentials(psk: Psk) -> Arc<Credentials> {
    Arc::new(Credentials::new("reader", psk, PeerId(1)).unwrap())
}

/// Carries datagrams of a link to an address and back, until it is told to end.
async fn carry(
    mut carrier: LinkCarrier,
    to: SocketAddr,
    ending: oneshot::Receiver<CarrierFailure>,
) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(to).await.unwrap();
    let mut datagram = [0; 2_000];
    tokio::pin!(ending);
    loop {
        tokio::select! {
            outgoing = carrier.outgoing() => match outgoing {
                Some(outgoing) => {
                    let _ = socket.send(&outgoing).await;
                }
                None => return,
            },
            Ok(len) = socket.recv(&mut datagram) => carrier.deliver(&datagram[..len]),
            failure = &mut ending => {
                match failure {
                    Ok(failure) => carrier.end(failure),
                    Err(_) => drop(carrier),
                }
                return;
            }
        }
    }
}

/// Says who asks.
async fn who(request: ServerRequest) -> ResponseMessage {
    let text = match request.requester {
        Requester::Client(peer) => format!("{peer:?}"),
        other => format!("{other:?}"),
    };
    ResponseMessage::new(Code::CONTENT).payload(text)
}

/// A device with a key of the gateway's and one of the reader's.
async fn device() -> Node {
    let keys = KeyStore::new();
    keys.insert("gateway", psk(b"key of the gateway"), PeerId(1))
        .unwrap();
    keys.insert("reader", end_to_end(KEY), PeerId(7)).unwrap();
    Node::bind_server(address("127.0.0.1:0"), NodeConfig::default(), keys, who)
        .await
        .unwrap()
}

#[test]
fn request_goes_end_to_end_over_a_link() {
    run(async {
        let device = device().await;
        let (link, carrier) = datagram_link(64, 1_200);
        let (_ending, ended) = oneshot::channel();
        tokio::spawn(carry(carrier, device.local_addr(), ended));
        let node = LinkedNode::new(link, across());
        let key = credentials(end_to_end(KEY));
        let response = node.request(Some(&key), get("/who")).await.unwrap();
        let asked = format!("{:?}", Peer::EndToEndPsk(PeerId(7)));
        assert_eq!(response.payload, asked.as_bytes());
        let suite = node.suite().await.unwrap();
        assert_eq!(suite.key_exchange(), Some(KeyExchange::EcdhePsk));
        assert_eq!(node.peer().await, Some(Peer::EndToEndPsk(PeerId(1))));
        assert_eq!(node.statistics().established, 1);
        node.close().await;
        assert!(node.suite().await.is_none());
        device.close().await;
    });
}

#[test]
fn hop_s_key_is_refused_before_anything_is_carried() {
    run(async {
        let (link, carrier) = datagram_link(64, 1_200);
        let node = LinkedNode::new(link, across());
        let refused = node.request(Some(&credentials(psk(KEY))), get("/")).await;
        let expected = Misuse::KeyPurpose {
            given: KeyPurpose::Hop,
            wanted: KeyPurpose::EndToEnd,
        };
        assert_eq!(refused, Err(RequestFailure::Refused(expected.into())));
        assert!(carrier.split().0.next_now().is_none());
    });
}

#[test]
fn end_of_the_link_reaches_whoever_waits_and_whoever_asks_later() {
    for failure in [CarrierFailure::Closed, CarrierFailure::Truncated] {
        run(async move {
            let (link, mut carrier) = datagram_link(64, 1_200);
            let node = LinkedNode::new(
                link,
                NodeConfig::default().with_security(
                    SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required),
                ),
            );
            let key = credentials(end_to_end(KEY));
            let asking = tokio::spawn({
                let (node, key) = (node.clone(), key.clone());
                async move { node.request(Some(&key), get("/")).await }
            });
            // A handshake is under way.
            assert!(carrier.outgoing().await.is_some());
            carrier.end(failure);
            let told = Err(RequestFailure::Carrier(failure));
            assert_eq!(asking.await.unwrap(), told);
            assert_eq!(node.request(Some(&key), get("/")).await, told);
            node.close().await;
        });
    }
}

#[test]
fn end_of_the_link_ends_an_established_session_too() {
    run(async {
        let device = device().await;
        let (link, carrier) = datagram_link(64, 1_200);
        let (ending, ended) = oneshot::channel();
        let carrying = tokio::spawn(carry(carrier, device.local_addr(), ended));
        let node = LinkedNode::new(link, across());
        let key = credentials(end_to_end(KEY));
        node.request(Some(&key), get("/who")).await.unwrap();
        ending.send(CarrierFailure::Truncated).unwrap();
        carrying.await.unwrap();
        let told = Err(RequestFailure::Carrier(CarrierFailure::Truncated));
        assert_eq!(node.request(Some(&key), get("/who")).await, told);
        node.close().await;
        device.close().await;
    });
}

#[test]
fn peer_that_does_not_answer_is_not_the_carrier_s_fault() {
    run(async {
        let (link, carrier) = datagram_link(64, 1_200);
        let node = LinkedNode::new(link, across());
        let key = credentials(end_to_end(KEY));
        let outcome = node.request(Some(&key), get("/")).await;
        let timeout = ChannelError::Peer(PeerFault::HandshakeTimeout);
        assert_eq!(outcome, Err(RequestFailure::Channel(timeout)));
        assert!(carrier.split().0.next_now().is_some());
    });
}
