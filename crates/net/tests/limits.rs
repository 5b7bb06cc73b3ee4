//! What a node does when somebody gives up, or asks for too much.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code
)]

mod support;

use std::sync::Arc;

use hedgerow_coap::{Code, OptionNumber};
use hedgerow_net::{Handler, Node, NodeConfig, RequestFailure, ResponseMessage, ServerRequest};
use support::*;
use tokio::sync::mpsc;

/// A handler that reports each request; at `/never` it gives no answer.
fn reporting() -> (impl Handler, mpsc::Receiver<()>) {
    let (entered, reports) = mpsc::channel(64);
    let handler = move |request: ServerRequest| {
        let entered = entered.clone();
        async move {
            entered.send(()).await.unwrap();
            let mut path = request.message.values(OptionNumber::URI_PATH);
            if path.next() == Some(b"never") {
                std::future::pending::<()>().await;
            }
            ResponseMessage::new(Code::CONTENT)
        }
    };
    (handler, reports)
}

fn with_nstart(nstart: u8) -> NodeConfig {
    let mut config = NodeConfig::default();
    let mut exchange = (*config.endpoint.exchange).clone();
    exchange.transmission.nstart = nstart;
    config.endpoint.exchange = Arc::new(exchange);
    config
}

#[test]
fn dropped_request_makes_room_for_the_next() {
    run(async {
        let (handler, mut reports) = reporting();
        let server = server(handler).await;
        let config = NodeConfig {
            max_requests: 1,
            ..with_nstart(1)
        };
        let client = Node::bind_client(address("127.0.0.1:0"), config)
            .await
            .unwrap();
        let target = target(server.local_addr(), KEY);
        tokio::select! {
            _ = client.request(&target, get("/never")) => panic!("never answered"),
            report = reports.recv() => report.unwrap(),
        }
        until(|| client.statistics().requests == 0).await;
        let response = client.request(&target, get("/soon")).await.unwrap();
        assert_eq!(response.code, Code::CONTENT);
    });
}

#[test]
fn request_beyond_the_bound_is_refused() {
    run(async {
        let (handler, mut reports) = reporting();
        let server = server(handler).await;
        let config = NodeConfig {
            max_requests: 1,
            ..NodeConfig::default()
        };
        let client = Node::bind_client(address("127.0.0.1:0"), config)
            .await
            .unwrap();
        let target = target(server.local_addr(), KEY);
        let under_way = client.request(&target, get("/never"));
        tokio::select! {
            _ = under_way => panic!("never answered"),
            () = async {
                reports.recv().await.unwrap();
                let refused = client.request(&target, get("/")).await;
                assert_eq!(refused, Err(RequestFailure::TooManyRequests { max: 1 }));
            } => {}
        }
    });
}

#[test]
fn handler_beyond_the_bound_is_refused_with_5_03() {
    run(async {
        let (handler, mut reports) = reporting();
        let config = NodeConfig {
            max_handlers: 1,
            ..NodeConfig::default()
        };
        let local = address("127.0.0.1:0");
        let server = Node::bind_server(local, config, keys(), handler)
            .await
            .unwrap();
        let client = Node::bind_client(local, with_nstart(2)).await.unwrap();
        let target = target(server.local_addr(), KEY);
        tokio::select! {
            _ = client.request(&target, get("/never")) => panic!("never answered"),
            () = async {
                reports.recv().await.unwrap();
                let response = client.request(&target, get("/")).await.unwrap();
                assert_eq!(response.code, Code::SERVICE_UNAVAILABLE);
            } => {}
        }
        assert_eq!(server.statistics().refused_requests, 1);
    });
}

#[test]
fn handler_that_fails_is_answered_for_with_5_00() {
    run(async {
        let server = server(async |request: ServerRequest| {
            let mut path = request.message.values(OptionNumber::URI_PATH);
            match path.next() {
                Some(b"panic") => panic!("planted in the handler"),
                // A sender of its own writes this option.
                Some(b"reserved") => {
                    ResponseMessage::new(Code::CONTENT).option(OptionNumber::BLOCK2, [6])
                }
                Some(b"no-response") => ResponseMessage::new(Code::GET),
                Some(b"too-long") => {
                    ResponseMessage::new(Code::CONTENT).payload(vec![0; 1_000_000])
                }
                _ => ResponseMessage::new(Code::CONTENT),
            }
        })
        .await;
        let client = client().await;
        let target = target(server.local_addr(), KEY);
        for path in ["/panic", "/reserved", "/no-response", "/too-long"] {
            let response = client.request(&target, get(path)).await.unwrap();
            assert_eq!(response.code, Code::INTERNAL_SERVER_ERROR, "{path}");
        }
        let response = client.request(&target, get("/")).await.unwrap();
        assert_eq!(response.code, Code::CONTENT);
    });
}

#[test]
fn closing_a_server_tells_its_clients() {
    run(async {
        let (handler, mut reports) = reporting();
        let server = server(handler).await;
        let client = client().await;
        let target = target(server.local_addr(), KEY);
        let (failure, ()) = tokio::join!(client.request(&target, get("/never")), async {
            reports.recv().await.unwrap();
            server.close().await;
        });
        // Only a close_notify makes this out of silence.
        assert_eq!(failure, Err(RequestFailure::Closed));
        assert_eq!(server.statistics().associations, 0);
    });
}

#[test]
fn closing_a_client_ends_its_requests_and_tells_its_servers() {
    run(async {
        let (handler, mut reports) = reporting();
        let server = server(handler).await;
        let client = client().await;
        let target = target(server.local_addr(), KEY);
        let (failure, ()) = tokio::join!(client.request(&target, get("/never")), async {
            reports.recv().await.unwrap();
            client.close().await;
        });
        assert_eq!(failure, Err(RequestFailure::NodeStopped));
        until(|| server.statistics().associations == 0).await;
        let refused = client.request(&target, get("/")).await;
        assert_eq!(refused, Err(RequestFailure::NodeStopped));
        client.close().await;
    });
}

#[test]
fn last_handle_closes_the_node() {
    run(async {
        let server = server(echo).await;
        let client = client().await;
        let other = client.clone();
        let target = target(server.local_addr(), KEY);
        drop(client);
        other.request(&target, get("/")).await.unwrap();
        assert_eq!(server.statistics().associations, 1);
        drop(other);
        until(|| server.statistics().associations == 0).await;
    });
}
