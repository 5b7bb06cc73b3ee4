//! Nodes and streams that resume sessions over the loopback interface.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code
)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hedgerow_core::{Peer, PeerId};
use hedgerow_net::{
    Node, NodeConfig, Requester, Resumption, ServerRequest, StreamClient, StreamConfig,
    StreamServer,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use support::{KEY, address, echo, get, keys, run, target, until};

const LOCAL: &str = "127.0.0.1:0";

const WAYS: [Resumption; 2] = [
    Resumption::ON,
    Resumption {
        has_tickets: false,
        ..Resumption::ON
    },
];

async fn answer(request: ServerRequest) -> hedgerow_net::ResponseMessage {
    // Whoever resumes is who it was.
    assert_eq!(request.requester, Requester::Client(Peer::Psk(PeerId(7))));
    echo(request).await
}

/// The server ends the connection, as a restart of the way between would; the client's next request
/// opens another one.
#[test]
fn stream_client_resumes_by_ticket_and_by_id() {
    run(async {
        for resumption in WAYS {
            let config = StreamConfig {
                resumption,
                idle_timeout: core::time::Duration::from_millis(50),
                ..StreamConfig::default()
            };
            let server = StreamServer::bind(address(LOCAL), config.clone(), keys(), answer)
                .await
                .unwrap();
            let client = StreamClient::new(config);
            let target = target(server.local_addr(), KEY);
            for n in 0..3 {
                client.request(&target, get("/")).await.unwrap();
                until(|| client.statistics().connections == 0).await;
                assert_eq!(client.statistics().established, n + 1);
                assert_eq!(client.statistics().resumed, n);
                until(|| server.statistics().resumed == n).await;
            }
        }
    });
}

#[test]
fn stream_server_without_the_session_answers_in_a_full_handshake() {
    run(async {
        let config = StreamConfig {
            resumption: Resumption::ON,
            idle_timeout: core::time::Duration::from_millis(50),
            ..StreamConfig::default()
        };
        let server = StreamServer::bind(address(LOCAL), config.clone(), keys(), answer)
            .await
            .unwrap();
        let client = StreamClient::new(config.clone());
        let target = target(server.local_addr(), KEY);
        client.request(&target, get("/")).await.unwrap();
        until(|| client.statistics().connections == 0).await;
        let at = server.local_addr();
        server.close().await;
        let server = StreamServer::bind(at, config, keys(), answer)
            .await
            .unwrap();
        client.request(&target, get("/")).await.unwrap();
        assert_eq!(client.statistics().established, 2);
        assert_eq!(server.statistics().resumed, 0);
    });
}

#[test]
fn node_resumes_with_a_server_that_it_has_left() {
    run(async {
        for resumption in WAYS {
            let mut config = NodeConfig::default();
            config.endpoint.resumption = resumption;
            config.endpoint.idle_timeout = core::time::Duration::from_millis(50);
            // Message IDs are remembered for so long, and with them the association.
            let exchange = &mut config.endpoint.exchange;
            let mut changed = hedgerow_exchange::Config::clone(exchange);
            changed.transmission.ack_timeout = core::time::Duration::from_millis(10);
            *exchange = changed.into();
            let server = Node::bind_server(address(LOCAL), config.clone(), keys(), answer)
                .await
                .unwrap();
            let client = Node::bind_client(address(LOCAL), config).await.unwrap();
            let target = target(server.local_addr(), KEY);
            for n in 0..3 {
                client.request(&target, get("/")).await.unwrap();
                until(|| client.statistics().associations == 0).await;
                assert_eq!(client.statistics().established, n + 1);
                assert_eq!(client.statistics().resumed, n);
            }
        }
    });
}

/// Passes streams on to `server`. Once told to, it changes a byte of what the client sends and keeps what the
/// server says to that from the client.
async fn relay(server: SocketAddr, changes: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind(LOCAL).await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(server).await.unwrap();
            tokio::spawn(pass(client, server, Arc::clone(&changes)));
        }
    });
    at
}

async fn pass(mut client: TcpStream, mut server: TcpStream, changes: Arc<AtomicBool>) {
    let (mut up, mut down) = ([0; 4_096], [0; 4_096]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let len = read.unwrap_or(0);
                if len == 0 {
                    return;
                }
                let is_last = changes.swap(false, Ordering::Relaxed);
                up[len - 1] ^= u8::from(is_last);
                server.write_all(&up[..len]).await.unwrap();
                if is_last {
                    while server.read(&mut down).await.is_ok_and(|len| len > 0) {}
                    return;
                }
            }
            read = server.read(&mut down) => {
                let len = read.unwrap_or(0);
                if len == 0 {
                    return;
                }
                client.write_all(&down[..len]).await.unwrap();
            }
        }
    }
}

/// The client never hears the alert and offers the session again.
#[test]
fn session_id_is_forgotten_after_a_fatal_alert() {
    run(async {
        let config = StreamConfig {
            resumption: WAYS[1],
            ..StreamConfig::default()
        };
        let server = StreamServer::bind(address(LOCAL), config.clone(), keys(), answer)
            .await
            .unwrap();
        let changes = Arc::new(AtomicBool::new(false));
        let through = relay(server.local_addr(), Arc::clone(&changes)).await;
        let client = StreamClient::new(config);
        let target = target(through, KEY);
        client.request(&target, get("/")).await.unwrap();
        changes.store(true, Ordering::Relaxed);
        client.request(&target, get("/")).await.unwrap_err();
        until(|| client.statistics().connections == 0).await;
        until(|| server.statistics().connections == 0).await;
        client.request(&target, get("/")).await.unwrap();
        assert_eq!(client.statistics().established, 2);
        assert_eq!(server.statistics().resumed, 0);
    });
}
