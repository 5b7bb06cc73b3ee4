//! A device that wants to know whether a request is fresh, RFC 9175 §2.3.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code
)]

mod support;

use hedgerow_coap::{Code, Message, MessageType, MessageWriter, OptionNumber};
use hedgerow_gateway::{Device, Running, Security};
use hedgerow_proxy::Methods;
use support::{loopback, request, short_config, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;

/// A gateway in front of a device that challenges whatever comes without the right Echo value, and
/// tells which methods it carried out.
async fn gateway() -> (Running, mpsc::UnboundedReceiver<Code>) {
    let socket = UdpSocket::bind(loopback()).await.unwrap();
    let uri = format!("coap://{}", socket.local_addr().unwrap());
    let (carried_out, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut buffer = [0; 1_152];
        loop {
            let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
            let request = Message::decode(&buffer[..len]).unwrap();
            let echo = request.option(OptionNumber::ECHO);
            let is_fresh = echo.is_some_and(|echo| echo.value() == b"now");
            let code = if is_fresh {
                Code::CHANGED
            } else {
                Code::UNAUTHORIZED
            };
            let (ack, id) = (MessageType::Acknowledgement, request.message_id());
            let mut out = [0; 64];
            let mut writer = MessageWriter::new(&mut out, ack, code, id, request.token()).unwrap();
            if is_fresh {
                carried_out.send(request.code()).unwrap();
            } else {
                writer.option(OptionNumber::ECHO, b"now").unwrap();
            }
            let len = writer.finish();
            socket.send_to(&out[..len], from).await.unwrap();
        }
    });
    let device = Device::new("lock", uri, Security::None).with_methods(Methods::ALL);
    (start(short_config().with_device(device)).await, told)
}

#[tokio::test]
async fn first_request_of_a_new_connection_is_fresh() {
    let (gateway, mut told) = gateway().await;
    let at = gateway.http_addr().unwrap();
    let reply = request(at, "POST /devices/lock/bolt", b"open").await;
    assert_eq!(reply.status, 204, "{}", reply.head);
    assert_eq!(told.recv().await, Some(Code::POST));
    assert!(told.try_recv().is_err());
}

/// MUST (RFC 9175 §2.3): an unsafe request that may be old isn't repeated.
#[tokio::test]
async fn later_unsafe_request_is_asked_for_again_over_a_new_connection() {
    let (gateway, mut told) = gateway().await;
    let at = gateway.http_addr().unwrap();
    let mut stream = TcpStream::connect(at).await.unwrap();
    let ask = |method: &str| {
        format!(
            "{method} /devices/lock/bolt HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"
        )
    };
    // Safe ones are repeated whenever they come.
    for _ in 0..2 {
        stream.write_all(ask("GET").as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert_eq!(told.recv().await, Some(Code::GET));
    }
    stream.write_all(ask("POST").as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    // It ends because the gateway closes the connection.
    stream.read_to_end(&mut reply).await.unwrap();
    let reply = String::from_utf8(reply).unwrap().to_ascii_lowercase();
    assert!(reply.starts_with("http/1.1 503 "), "{reply}");
    assert!(reply.contains("retry-after: 0\r\n"), "{reply}");
    assert!(reply.contains("connection: close\r\n"), "{reply}");
    assert!(reply.contains("/problems/freshness-unknown"), "{reply}");
    assert!(told.try_recv().is_err());
}
