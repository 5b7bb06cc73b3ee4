//! Requests in clear, to a responder that knows nothing of nodes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code
)]

mod support;

use hedgerow_coap::{Code, Message, MessageId, MessageType, MessageWriter, OptionNumber, Token};
use hedgerow_core::{DropReason, Peer, SecurityMode};
use hedgerow_net::{
    Node, NodeConfig, RequestFailure, RequestMessage, Requester, SecurityPolicy, ServerRequest,
    Target,
};
use support::*;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

/// Answers one request, first with `forged` in place of the token, then as it should.
async fn respond(socket: &UdpSocket, forged: Token) -> Token {
    let mut buffer = [0; 1_500];
    let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
    let request = Message::decode(&buffer[..len]).unwrap();
    assert_eq!(request.message_type(), MessageType::Confirmable);
    let path = request.option(OptionNumber::URI_PATH).unwrap().value();
    for token in [forged, request.token()] {
        let mut out = [0; 1_500];
        let (acknowledgement, id) = (MessageType::Acknowledgement, request.message_id());
        let writer =
            MessageWriter::new(&mut out, acknowledgement, Code::CONTENT, id, token).unwrap();
        let payload = if token == forged { b"forged" } else { path };
        let len = writer.payload(payload).unwrap();
        socket.send_to(&out[..len], from).await.unwrap();
    }
    request.token()
}

#[test]
fn request_in_clear_takes_no_response_with_another_token() {
    run(async {
        let responder = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let client = client().await;
        let target = Target {
            address: responder.local_addr().unwrap(),
            credentials: None,
        };
        let forged = Token::from([1]);
        let (response, token) = tokio::join!(
            client.request(&target, get("/temperature")),
            respond(&responder, forged)
        );
        assert_eq!(response.unwrap().payload, b"temperature");
        assert_eq!(token.len(), 8);
        assert_eq!(client.statistics().dropped(DropReason::Unmatched), 1);
        assert_eq!(client.statistics().associations, 1);

        // The same address with credentials is somebody else, and nothing is under way in clear.
        let secured = support::target(target.address, KEY);
        let mut buffer = [0; 1_500];
        tokio::select! {
            outcome = client.request(&secured, get("/")) => panic!("{outcome:?}"),
            received = responder.recv_from(&mut buffer) => {
                received.unwrap();
                // A record of a handshake, and nothing in clear.
                assert_eq!(buffer[0], 22);
            }
        }
    });
}

/// A server that was called asks in its turn, and is told apart from the node's clients.
#[test]
fn request_of_a_server_that_was_called_says_so() {
    run(async {
        let responder = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = responder.local_addr().unwrap();
        let (asked, mut requests) = mpsc::channel(1);
        let node = server(move |request: ServerRequest| {
            asked.try_send(request.requester).unwrap();
            echo(request)
        })
        .await;
        let target = Target {
            address,
            credentials: None,
        };
        let (response, _) = tokio::join!(
            node.request(&target, get("/temperature")),
            respond(&responder, Token::from([1]))
        );
        response.unwrap();
        assert_eq!(node.suite(address).await, None);

        let mut out = [0; 1_500];
        let (confirmable, id) = (MessageType::Confirmable, MessageId(9));
        let writer = MessageWriter::new(&mut out, confirmable, Code::GET, id, Token::EMPTY);
        let len = writer.unwrap().finish();
        responder
            .send_to(&out[..len], node.local_addr())
            .await
            .unwrap();
        let requester = requests.recv().await.unwrap();
        assert_eq!(requester, Requester::Server(Peer::Anonymous));
    });
}

#[test]
fn secured_request_under_way_keeps_its_address() {
    run(async {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let client = client().await;
        let address = silent.local_addr().unwrap();
        let secured = target(address, KEY);
        let mut buffer = [0; 1_500];
        tokio::select! {
            outcome = client.request(&secured, get("/")) => panic!("{outcome:?}"),
            () = async {
                silent.recv_from(&mut buffer).await.unwrap();
                let in_clear = Target { address, credentials: None };
                let refused = client.request(&in_clear, get("/")).await;
                let in_use = hedgerow_endpoint::Error::AddressInUse;
                assert_eq!(refused, Err(RequestFailure::Refused(in_use)));
            } => {}
        }
    });
}

#[test]
fn server_in_clear_answers_whoever_receives_at_its_address() {
    run(async {
        let local = address("127.0.0.1:0");
        let answer = async |request: ServerRequest| {
            assert_eq!(request.requester, Requester::Client(Peer::Anonymous));
            echo(request).await
        };
        let server = Node::bind_server_without_security(local, any(), answer)
            .await
            .unwrap();
        let client = client().await;
        let target = Target {
            address: server.local_addr(),
            credentials: None,
        };
        let body: Vec<u8> = (0..20_000_u32).map(|at| at.to_le_bytes()[0]).collect();
        for (method, payload) in [
            (Code::GET, Vec::new()),
            (Code::PUT, body.clone()),
            (Code::POST, b"once".to_vec()),
        ] {
            let request = RequestMessage::new(method)
                .path("/x")
                .payload(payload.clone());
            let response = client.request(&target, request).await.unwrap();
            assert_eq!(response.code, Code::CONTENT);
            assert_eq!(response.payload, payload);
        }
        assert_eq!(server.statistics().associations, 1);
        assert_eq!(server.statistics().established, 0);

        // Who wants to know how fresh it is asks for the challenge itself.
        let stranger = support::client().await;
        let request = RequestMessage {
            answers_challenges: false,
            ..get("/x")
        };
        let challenge = stranger.request(&target, request).await.unwrap();
        assert_eq!(challenge.code, Code::UNAUTHORIZED);
        assert_eq!(challenge.values(OptionNumber::ECHO).count(), 1);
        assert_eq!(server.statistics().associations, 1);
    });
}

/// Neither does a secured request become one in clear, nor the other way round.
#[test]
fn server_in_clear_and_secured_server_have_no_ear_for_the_other_kind() {
    run(async {
        let local = address("127.0.0.1:0");
        let clear = Node::bind_server_without_security(local, any(), echo)
            .await
            .unwrap();
        // It has to be permitted.
        let refused = Node::bind_server_without_security(local, NodeConfig::default(), echo).await;
        assert_eq!(
            refused.unwrap_err().kind(),
            std::io::ErrorKind::InvalidInput
        );
        let policy = SecurityPolicy::new(SecurityMode::NoSec);
        let mut config = hasty().with_security(policy);
        config.endpoint.exchange = {
            let mut exchange = hedgerow_exchange::Config::default();
            exchange.transmission.ack_timeout = std::time::Duration::from_millis(20);
            exchange.transmission.max_retransmit = 2;
            exchange.into()
        };
        let client = Node::bind_client(local, config).await.unwrap();
        let secured = support::target(clear.local_addr(), KEY);
        assert_eq!(
            client.request(&secured, get("/")).await,
            Err(RequestFailure::Channel(
                hedgerow_core::PeerFault::HandshakeTimeout.into()
            ))
        );
        let server = server(echo).await;
        let target = Target {
            address: server.local_addr(),
            credentials: None,
        };
        let unanswered = hedgerow_exchange::RequestError::AcknowledgementTimeout;
        assert_eq!(
            client.request(&target, get("/")).await,
            Err(unanswered.into())
        );
        for node in [clear, server] {
            assert_eq!(node.statistics().associations, 0);
        }
    });
}
