//! Streams between two nodes on the loopback interface, and TLS over them.
#![allow(
    dead_code,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod support;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_core::{KeyPurpose, Peer, PeerFault, PeerId, Psk};
use hedgerow_handshake::Settings;
use hedgerow_leg::Role;
use hedgerow_net::{
    Credentials, ForwardSecrecy, IncomingStream, KeyStore, LegConfig, LegStream, Node, NodeConfig,
    RequestFailure, ResetReason, SecurityPolicy, StreamFailure, StreamOffer, Target, TlsStream,
};
use support::{KEY, address, any, echo, keys, run, target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn config(role: Role) -> NodeConfig {
    let mut config = any();
    config.endpoint.legs = Some(LegConfig::new(role));
    config
}

/// A node that has called another one, which stands at the target.
async fn hop(caller: Role, called: Role) -> (Node, Node, Target) {
    hop_with(config(caller), called).await
}

async fn hop_with(caller: NodeConfig, called: Role) -> (Node, Node, Target) {
    let local = address("127.0.0.1:0");
    let server = Node::bind_server(local, config(called), keys(), echo).await;
    let client = Node::bind_client(local, caller).await.unwrap();
    let server = server.unwrap();
    let target = target(server.local_addr(), KEY);
    (client, server, target)
}

async fn pair(name: &str) -> (Node, Node, LegStream, IncomingStream) {
    pair_with(config(Role::Device), name).await
}

async fn pair_with(caller: NodeConfig, name: &str) -> (Node, Node, LegStream, IncomingStream) {
    let (client, server, target) = hop_with(caller, Role::Gateway).await;
    let offer = StreamOffer {
        name: name.to_owned(),
        ..StreamOffer::default()
    };
    let stream = client.open_stream(&target, offer).await.unwrap();
    let incoming = server.accept_stream().await.unwrap();
    (client, server, stream, incoming)
}

fn failure(error: &io::Error) -> StreamFailure {
    *error.get_ref().unwrap().downcast_ref().unwrap()
}

fn body(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251).to_le_bytes()[0]).collect()
}

#[test]
fn bytes_go_both_ways_and_both_ends_close_in_order() {
    run(async {
        let (client, server, mut near, incoming) = pair("upstream").await;
        assert_eq!(incoming.offer.name, "upstream");
        assert_eq!(incoming.offer.port, 0);
        assert_eq!(incoming.peer, Peer::Psk(PeerId(7)));
        let mut far = incoming.stream;
        let sent = body(300_000);
        let expected = sent.clone();
        let answering = tokio::spawn(async move {
            let mut received = Vec::new();
            far.read_to_end(&mut received).await.unwrap();
            assert!(received == expected);
            received.reverse();
            far.write_all(&received).await.unwrap();
            far.close().await.unwrap();
        });
        near.write_all(&sent).await.unwrap();
        near.shutdown().await.unwrap();
        let late = near.write(b"more").await.unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::BrokenPipe);
        let mut received = Vec::new();
        near.read_to_end(&mut received).await.unwrap();
        received.reverse();
        assert!(received == sent);
        answering.await.unwrap();
        drop(near);
        assert_eq!(server.statistics().streams_accepted, 1);
        assert_eq!(client.statistics().streams_reset, 0);
    });
}

#[test]
fn called_device_takes_streams_of_the_gateway_with_port_and_address() {
    run(async {
        let (client, server, target) = hop(Role::Gateway, Role::Device).await;
        let offer = StreamOffer {
            port: 443,
            address: Some(address("[2001:db8::7]:50000")),
            ..StreamOffer::default()
        };
        let mut stream = client.open_stream(&target, offer.clone()).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        let mut incoming = server.accept_stream().await.unwrap();
        assert_eq!(incoming.offer, offer);
        let mut hello = [0; 5];
        incoming.stream.read_exact(&mut hello).await.unwrap();
        assert_eq!(&hello, b"hello");
        // Where nobody takes streams, a few wait and the rest is refused.
        for _ in 0..2 {
            let offer = StreamOffer::default();
            drop(client.open_stream(&target, offer).await.unwrap());
        }
    });
}

#[test]
fn every_end_but_fin_is_an_error_at_the_other_side() {
    run(async {
        let (_client, _server, mut near, incoming) = pair("other").await;
        incoming.stream.reset(ResetReason::Refused);
        let error = near.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let StreamFailure::Reset { reason, .. } = failure(&error) else {
            panic!("{error}");
        };
        assert_eq!(reason, ResetReason::Refused);

        let (_client, _server, mut near, mut incoming) = pair("a").await;
        incoming.stream.write_all(b"half").await.unwrap();
        drop(incoming);
        let error = near.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

        // The hop's session ends in order, and its streams don't.
        let (client, server, near, mut incoming) = pair("a").await;
        assert!(client.disconnect(server.local_addr()).await);
        let error = incoming.stream.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        let error = near.close().await.unwrap_err();
        let closed = StreamFailure::Hop(RequestFailure::Closed);
        assert_eq!(failure(&error), closed);

        let (client, server, mut near, _incoming) = pair("a").await;
        client.close().await;
        let error = near.read_u8().await.unwrap_err();
        let stopped = StreamFailure::Hop(RequestFailure::NodeStopped);
        assert_eq!(failure(&error), stopped);
        server.close().await;
        assert!(server.accept_stream().await.is_none());
    });
}

#[test]
fn end_that_does_not_read_holds_the_other_one_up_and_loses_nothing() {
    run(async {
        let (_client, _server, mut near, mut incoming) = pair("a").await;
        let sent = body(400_000);
        let expected = sent.clone();
        let writing = tokio::spawn(async move {
            near.write_all(&sent).await.unwrap();
            near.close().await
        });
        let wait = tokio::time::timeout(Duration::from_millis(300), async {
            while !writing.is_finished() {
                tokio::task::yield_now().await;
            }
        });
        assert!(wait.await.is_err(), "written without a reader");
        let mut received = Vec::new();
        incoming.stream.read_to_end(&mut received).await.unwrap();
        assert!(received == expected);
        incoming.stream.close().await.unwrap();
        writing.await.unwrap().unwrap();
    });
}

/// It has ended its own direction, is there, and takes nothing of what is left for it.
#[test]
fn end_that_never_takes_the_rest_holds_no_stream() {
    for is_closed in [false, true] {
        run(async move {
            let mut config = config(Role::Device);
            config.stream_patience = Duration::from_millis(200);
            let (client, _server, mut near, mut incoming) = pair_with(config, "a").await;
            let far = &mut incoming.stream;
            far.shutdown().await.unwrap();
            assert_eq!(near.read(&mut [0; 1]).await.unwrap(), 0);
            let more = body(1_000_000);
            let filled = near.write_all(&more);
            let filled = tokio::time::timeout(Duration::from_millis(300), filled).await;
            assert!(filled.is_err(), "written without a reader");
            if is_closed {
                let limit = Duration::from_secs(10);
                let closed = tokio::time::timeout(limit, near.close()).await;
                let error = closed.expect("it hangs").unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            } else {
                near.shutdown().await.unwrap();
                drop(near);
                support::until(|| client.statistics().streams == 0).await;
            }
            // Nothing is read here before, so that the window stays closed.
            let rest = tokio::time::timeout(Duration::from_secs(10), async {
                let mut received = Vec::new();
                far.read_to_end(&mut received).await
            });
            let error = rest.await.expect("it is held").unwrap_err();
            let reason = ResetReason::Timeout;
            let by = hedgerow_net::ResetBy::Peer;
            assert_eq!(failure(&error), StreamFailure::Reset { reason, by });
        });
    }
}

#[test]
fn streams_are_not_for_everybody() {
    run(async {
        let (client, server, target) = hop(Role::Device, Role::Gateway).await;
        let name = |name: &str| StreamOffer {
            name: name.to_owned(),
            ..StreamOffer::default()
        };
        for bad in ["sixteen letters!", "two words", "umläut"] {
            let refused = client.open_stream(&target, name(bad)).await;
            assert_eq!(refused.unwrap_err(), RequestFailure::ServiceName);
        }
        let in_clear = Target {
            credentials: None,
            ..target.clone()
        };
        let refused = client.open_stream(&in_clear, name("a")).await.unwrap_err();
        let no_legs = RequestFailure::Refused(hedgerow_endpoint::Error::NoLegs);
        assert_eq!(refused, no_legs);
        let plain = support::client().await;
        let refused = plain.open_stream(&target, name("a")).await.unwrap_err();
        assert_eq!(refused, no_legs);
        assert_eq!(server.statistics().streams_accepted, 0);
    });
}

fn end_to_end(key: &[u8]) -> Psk {
    Psk::new(key).unwrap().into_end_to_end().unwrap()
}

fn policy() -> Arc<SecurityPolicy> {
    Arc::new(SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required))
}

/// A TLS client at the device's end of a stream, and a TLS server at the gateway's: in the gateway's place
/// for the test's sake, where a TCP connection would go on.
#[test]
fn tls_goes_end_to_end_over_a_stream() {
    run(async {
        let (_client, _server, near, incoming) = pair("upstream").await;
        let store = KeyStore::new();
        let key = end_to_end(b"end-to-end bytes");
        store.insert("meter", key, PeerId(5)).unwrap();
        let key = end_to_end(b"end-to-end bytes");
        let credentials = Credentials::new("meter", key, PeerId(6)).unwrap();
        let settings = Settings::default();
        let policy = policy();
        let (client, server) = tokio::join!(
            TlsStream::connect(near, Arc::new(credentials), settings, &policy),
            TlsStream::accept(incoming.stream, &store, settings, &policy)
        );
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        assert_eq!(client.peer().key_purpose(), Some(KeyPurpose::EndToEnd));
        client.write_all(b"question").await.unwrap();
        let mut question = [0; 8];
        server.read_exact(&mut question).await.unwrap();
        server.write_all(b"answer").await.unwrap();
        let mut answer = [0; 6];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
        drop(server);
        let error = client.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn orderly_end_of_the_stream_is_no_end_of_tls() {
    run(async {
        let (_client, _server, near, mut incoming) = pair("upstream").await;
        let credentials = Credentials::new("m", end_to_end(b"end-to-end bytes"), PeerId(6));
        let handle = tokio::spawn(async move {
            let credentials = Arc::new(credentials.unwrap());
            TlsStream::connect(near, credentials, Settings::default(), &policy()).await
        });
        incoming.stream.shutdown().await.unwrap();
        let error = handle.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let fault = error.get_ref().unwrap().downcast_ref();
        let truncated = hedgerow_core::ChannelError::Peer(PeerFault::Truncated);
        assert_eq!(fault, Some(&truncated));
    });
}
