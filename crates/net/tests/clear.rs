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
use hedgerow_core::{DropReason, Peer};
use hedgerow_net::{RequestFailure, Requester, ServerRequest, Target};
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
