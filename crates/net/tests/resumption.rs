//! Nodes and streams that resume sessions over the loopback interface.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code
)]

mod support;

use hedgerow_core::{Peer, PeerId};
use hedgerow_net::{
    Node, NodeConfig, Requester, Resumption, ServerRequest, StreamClient, StreamConfig,
    StreamServer,
};
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
