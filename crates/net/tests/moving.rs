//! A client behind a NAT that gives it another port, over the loopback interface (RFC 9146).
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
use std::sync::atomic::{AtomicUsize, Ordering};

use hedgerow_coap::Code;
use hedgerow_endpoint::{ConnectionIdFormat, ConnectionIds};
use hedgerow_net::{Node, NodeConfig, ServerRequest};
use support::*;
use tokio::net::UdpSocket;

/// Relays between a client and a server, and shows the server one of two ports.
struct Nat {
    inside: SocketAddr,
    outside: [SocketAddr; 2],
    chosen: Arc<AtomicUsize>,
}

impl Nat {
    async fn before(server: SocketAddr) -> Self {
        let bind = async || UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (inner, one, other) = (bind().await, bind().await, bind().await);
        let chosen = Arc::new(AtomicUsize::new(0));
        let nat = Self {
            inside: inner.local_addr().unwrap(),
            outside: [one.local_addr().unwrap(), other.local_addr().unwrap()],
            chosen: Arc::clone(&chosen),
        };
        tokio::spawn(async move {
            let mut client = None;
            let mut from_client = [0; 2_000];
            let (mut to_one, mut to_other) = ([0; 2_000], [0; 2_000]);
            loop {
                let now = || chosen.load(Ordering::SeqCst);
                tokio::select! {
                    Ok((len, from)) = inner.recv_from(&mut from_client) => {
                        client = Some(from);
                        let outer = [&one, &other][now()];
                        outer.send_to(&from_client[..len], server).await.unwrap();
                    }
                    Ok((len, _)) = one.recv_from(&mut to_one) => {
                        if let (Some(client), 0) = (client, now()) {
                            inner.send_to(&to_one[..len], client).await.unwrap();
                        }
                    }
                    Ok((len, _)) = other.recv_from(&mut to_other) => {
                        if let (Some(client), 1) = (client, now()) {
                            inner.send_to(&to_other[..len], client).await.unwrap();
                        }
                    }
                }
            }
        });
        nat
    }
}

fn with_ids(connection_ids: ConnectionIds) -> NodeConfig {
    let mut config = NodeConfig::default();
    config.endpoint.connection_ids = connection_ids;
    config
}

async fn tell_port(request: ServerRequest) -> hedgerow_net::ResponseMessage {
    let port = request.from.port().to_string();
    hedgerow_net::ResponseMessage::new(Code::CONTENT).payload(port.into_bytes())
}

#[test]
fn client_goes_on_without_a_handshake_when_its_port_changes() {
    run(async {
        let local = address("127.0.0.1:0");
        let of_server = with_ids(ConnectionIds::Both(ConnectionIdFormat::new(3)));
        let server = Node::bind_server(local, of_server, keys(), tell_port)
            .await
            .unwrap();
        let nat = Nat::before(server.local_addr()).await;
        let client = Node::bind_client(local, with_ids(ConnectionIds::SendOnly))
            .await
            .unwrap();
        let target = target(nat.inside, KEY);
        let port = async || {
            let response = client.request(&target, get("/")).await.unwrap();
            String::from_utf8(response.payload).unwrap()
        };
        assert_eq!(port().await, nat.outside[0].port().to_string());
        nat.chosen.store(1, Ordering::SeqCst);
        // Served before the new port has proved itself.
        let _ = port().await;
        while server.statistics().moved == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(port().await, nat.outside[1].port().to_string());
        assert_eq!(server.statistics().established, 1);
        assert_eq!(server.statistics().associations, 1);
        assert_eq!(client.statistics().established, 1);
        client.close().await;
        while server.statistics().associations != 0 {
            tokio::task::yield_now().await;
        }
    });
}
