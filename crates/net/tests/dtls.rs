//! Nodes that speak DTLS with each other over the loopback interface.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code
)]

mod support;

use std::sync::{Arc, Mutex};

use hedgerow_coap::{Code, OptionNumber};
use hedgerow_core::{ChannelError, Peer, PeerFault, PeerId};
use hedgerow_handshake::{DEFAULT_SUITES, Settings};
use hedgerow_net::{
    Credentials, Node, NodeConfig, RequestFailure, RequestMessage, Requester, ResponseMessage,
    ServerRequest, Target,
};
use support::*;
use tokio::task::JoinSet;

#[test]
fn each_suite_carries_a_request_and_its_response() {
    run(async {
        for suite in DEFAULT_SUITES {
            let mut config = NodeConfig::default();
            config.endpoint.handshake = Settings::new(&[suite]);
            let local = address("127.0.0.1:0");
            let answer = async |request: ServerRequest| {
                let reader = Peer::Psk(PeerId(7));
                assert_eq!(request.requester, Requester::Client(reader));
                assert!(request.message.is_confirmable);
                let path: Vec<_> = request.message.values(OptionNumber::URI_PATH).collect();
                ResponseMessage::new(Code::CONTENT)
                    .option(OptionNumber::CONTENT_FORMAT, [])
                    .payload(path.join(&b'|'))
            };
            let server = Node::bind_server(local, config.clone(), keys(), answer)
                .await
                .unwrap();
            let client = Node::bind_client(local, config).await.unwrap();
            let target = target(server.local_addr(), KEY);
            assert_eq!(client.suite(target.address).await, None);
            let response = client.request(&target, get("/a/b")).await.unwrap();
            assert_eq!(client.suite(target.address).await, Some(suite));
            assert_eq!(server.suite(client.local_addr()).await, Some(suite));
            assert_eq!(response.code, Code::CONTENT, "{suite}");
            assert_eq!(response.payload, b"a|b", "{suite}");
            let formats = response.values(OptionNumber::CONTENT_FORMAT);
            assert_eq!(formats.count(), 1, "{suite}");
            assert_eq!(client.statistics().established, 1, "{suite}");
        }
    });
}

#[test]
fn wrong_key_and_unknown_identity_end_in_the_same_error() {
    run(async {
        let local = address("127.0.0.1:0");
        let server = Node::bind_server(local, hasty(), keys(), echo)
            .await
            .unwrap();
        for (psk_identity, key) in [("reader", &b"another key"[..]), ("stranger", KEY)] {
            let client = Node::bind_client(local, hasty()).await.unwrap();
            let credentials = Credentials::new(psk_identity, psk(key), PeerId(1)).unwrap();
            let target = Target {
                address: server.local_addr(),
                credentials: Some(Arc::new(credentials)),
            };
            let failure = client.request(&target, get("/")).await.unwrap_err();
            let refused = ChannelError::Peer(PeerFault::CredentialsRefused);
            assert_eq!(failure, RequestFailure::Channel(refused));
            let text = failure.to_string();
            assert_eq!(text, "credentials refused or not answered");
            assert_eq!(client.statistics().failed_handshakes, 1);
            assert_eq!(client.statistics().requests, 0);
        }
        assert_eq!(server.statistics().established, 0);
    });
}

#[test]
fn nobody_there_ends_in_a_handshake_timeout() {
    run(async {
        let local = address("127.0.0.1:0");
        // A port that was free a moment ago; the system answers with ICMP, which is silence here.
        let free = std::net::UdpSocket::bind(local)
            .unwrap()
            .local_addr()
            .unwrap();
        let client = Node::bind_client(local, hasty()).await.unwrap();
        let failure = client.request(&target(free, KEY), get("/")).await;
        let timeout = ChannelError::Peer(PeerFault::HandshakeTimeout);
        assert_eq!(failure, Err(RequestFailure::Channel(timeout)));
    });
}

#[test]
fn bodies_of_100_kilobytes_go_both_ways() {
    run(async {
        let image: Vec<u8> = (0..100_000_u32)
            .map(|n| n.to_be_bytes()[3] ^ n.to_be_bytes()[2])
            .collect();
        let stored = Arc::new(Mutex::new(Vec::new()));
        let storage = Arc::clone(&stored);
        let server = server(move |request: ServerRequest| {
            let storage = Arc::clone(&storage);
            async move {
                let mut storage = storage.lock().unwrap();
                if request.message.method == Code::PUT {
                    *storage = request.message.payload;
                    return ResponseMessage::new(Code::CHANGED);
                }
                ResponseMessage::new(Code::CONTENT).payload(storage.clone())
            }
        })
        .await;
        let client = client().await;
        let target = target(server.local_addr(), KEY);
        let put = RequestMessage::new(Code::PUT)
            .path("/image")
            .payload(image.clone());
        let response = client.request(&target, put).await.unwrap();
        assert_eq!(response.code, Code::CHANGED);
        assert!(*stored.lock().unwrap() == image, "image arrived changed");
        let response = client.request(&target, get("/image")).await.unwrap();
        assert!(response.payload == image, "image came back changed");
    });
}

#[test]
fn fifty_requests_at_once_each_get_their_own_response() {
    run(async {
        let mut config = NodeConfig::default();
        let mut exchange = (*config.endpoint.exchange).clone();
        exchange.transmission.nstart = 16;
        config.endpoint.exchange = Arc::new(exchange);
        let local = address("127.0.0.1:0");
        let server = server(echo).await;
        let client = Node::bind_client(local, config).await.unwrap();
        let target = target(server.local_addr(), KEY);
        let mut requests = JoinSet::new();
        for number in 0..50_u8 {
            let (client, target) = (client.clone(), target.clone());
            requests.spawn(async move {
                let request = RequestMessage::new(Code::POST).payload([number]);
                let response = client.request(&target, request).await.unwrap();
                assert_eq!(response.payload, [number]);
            });
        }
        while let Some(ended) = requests.join_next().await {
            ended.unwrap();
        }
        assert_eq!(client.statistics().requests, 0);
        assert_eq!(client.statistics().established, 1);
        assert_eq!(server.statistics().associations, 1);
    });
}

#[test]
fn replaced_key_counts_for_new_handshakes_and_sessions_keep_theirs() {
    run(async {
        let local = address("127.0.0.1:0");
        let keys = keys();
        let server = Node::bind_server(local, hasty(), keys.clone(), echo)
            .await
            .unwrap();
        let old = target(server.local_addr(), KEY);
        let new = target(server.local_addr(), b"another key");
        let early = Node::bind_client(local, hasty()).await.unwrap();
        early.request(&old, get("/")).await.unwrap();

        let entry = (b"reader".to_vec(), psk(b"another key"), PeerId(7));
        keys.replace([entry]).unwrap();
        early.request(&old, get("/")).await.unwrap();
        assert_eq!(early.statistics().established, 1);

        let late = Node::bind_client(local, hasty()).await.unwrap();
        late.request(&old, get("/")).await.unwrap_err();
        late.request(&new, get("/")).await.unwrap();

        // The same node with other credentials begins anew.
        early.request(&new, get("/")).await.unwrap();
        assert_eq!(early.statistics().established, 2);
        assert_eq!(early.statistics().associations, 1);
    });
}

#[test]
fn peer_that_called_is_no_server_to_call_back() {
    run(async {
        let server = server(echo).await;
        let client = client().await;
        let to_server = target(server.local_addr(), KEY);
        client.request(&to_server, get("/")).await.unwrap();
        // The client proved that it holds a client's key; nobody is a server there.
        let refused = server
            .request(&target(client.local_addr(), KEY), get("/"))
            .await;
        let in_use = hedgerow_endpoint::Error::AddressInUse;
        assert_eq!(refused, Err(RequestFailure::Refused(in_use)));
        client.request(&to_server, get("/")).await.unwrap();
        assert_eq!(client.statistics().established, 1);
    });
}

#[test]
fn disconnect_closes_and_the_next_request_begins_anew() {
    run(async {
        let server = server(echo).await;
        let client = client().await;
        let target = target(server.local_addr(), KEY);
        assert!(!client.disconnect(target.address).await);
        client.request(&target, get("/")).await.unwrap();
        assert!(client.disconnect(target.address).await);
        until(|| server.statistics().associations == 0).await;
        client.request(&target, get("/")).await.unwrap();
        assert_eq!(client.statistics().established, 2);
    });
}
