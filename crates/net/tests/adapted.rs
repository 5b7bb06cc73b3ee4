//! A TLS client that knows of no gateway, what a gateway does with its bytes, and a device, on the loopback
//! interface (docs/specs/translate-device.md).
#![allow(
    dead_code,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod support;

use std::sync::Arc;

use hedgerow_coap::Code;
use hedgerow_core::{PeerId, Psk};
use hedgerow_endpoint::AdaptedFraming;
use hedgerow_handshake::Settings;
use hedgerow_leg::Role;
use hedgerow_net::{
    AdaptedServer, Credentials, ForwardSecrecy, KeyStore, LegConfig, Node, NodeConfig,
    ResponseMessage, SecurityPolicy, ServerRequest, StreamOffer, TlsStream,
};
use hedgerow_record::LegForm;
use support::{KEY, address, any, echo, keys, run, target};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};

const END_TO_END: &[u8] = b"nobody between has it";

fn config(role: Role) -> NodeConfig {
    let mut config = any();
    config.endpoint.legs = Some(LegConfig::new(role));
    config
}

async fn reading(request: ServerRequest) -> ResponseMessage {
    assert!(request.message.options.len() <= 2);
    ResponseMessage::new(Code::CONTENT).payload(b"21.5".to_vec())
}

/// Carries bytes as a gateway does, until one side ends.
async fn carry<L>(form: LegForm, mut client: DuplexStream, mut leg: L)
where
    L: AsyncRead + AsyncWrite + Unpin,
{
    let mut framing = AdaptedFraming::gateway(form);
    let (mut up, mut down) = ([0; 1_000], [0; 1_000]);
    loop {
        let mut out = Vec::new();
        tokio::select! {
            len = client.read(&mut up) => match len.unwrap() {
                0 => break leg.shutdown().await.unwrap(),
                len => {
                    framing.to_leg(&up[..len], &mut out).unwrap();
                    leg.write_all(&out).await.unwrap();
                }
            },
            len = leg.read(&mut down) => match len.unwrap_or(0) {
                0 => break,
                len => {
                    framing.from_leg(&down[..len], &mut out).unwrap();
                    if client.write_all(&out).await.is_err() {
                        break;
                    }
                }
            },
        }
    }
}

/// What a client gets back for `text` over a port.
async fn ask(form: LegForm, port: u16, key: &[u8], text: &[u8]) -> std::io::Result<Vec<u8>> {
    let local = address("127.0.0.1:0");
    let device = Node::bind_server(local, config(Role::Device), keys(), echo).await;
    let device = device.unwrap();
    let store = KeyStore::new();
    let psk = Psk::new(END_TO_END).unwrap().into_end_to_end().unwrap();
    store.insert(b"user".to_vec(), psk, PeerId(1)).unwrap();
    let serving = device.clone();
    let server = tokio::spawn(async move {
        AdaptedServer::default()
            .serve(&serving, store, reading)
            .await;
    });
    let gateway = Node::bind_client(local, config(Role::Gateway))
        .await
        .unwrap();
    let offer = StreamOffer {
        port,
        ..StreamOffer::default()
    };
    let leg = gateway
        .open_stream(&target(device.local_addr(), KEY), offer)
        .await
        .unwrap();
    let (near, far) = duplex(4_096);
    tokio::spawn(carry(form, far, leg));
    let psk = Psk::new(key).unwrap().into_end_to_end().unwrap();
    let credentials = Credentials::new(b"user".to_vec(), psk, PeerId(2)).unwrap();
    let policy = Arc::new(SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required));
    let connected =
        TlsStream::connect(near, Arc::new(credentials), Settings::default(), &policy).await;
    let outcome = match connected {
        Ok(mut stream) => {
            stream.write_all(text).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.map(|_| answer)
        }
        Err(error) => Err(error),
    };
    gateway.close().await;
    device.close().await;
    server.await.unwrap();
    outcome
}

#[test]
fn http_client_asks_a_device_end_to_end_in_both_forms() {
    run(async {
        for form in [LegForm::Tls, LegForm::Dtls] {
            let text = b"GET /temperature HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            let answer = ask(form, 443, END_TO_END, text).await.unwrap();
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(answer.ends_with("\r\n\r\n21.5"), "{answer}");
        }
    });
}

#[test]
fn coap_client_asks_a_device_end_to_end() {
    run(async {
        // An empty CSM, GET /t with a token, and a Release (RFC 8323 §3.2, §5).
        let text = b"\x00\xe1\x21\x01\x07\xb1t\x00\xe4";
        let answer = ask(LegForm::Dtls, 5_684, END_TO_END, text).await.unwrap();
        let expected = b"\x51\x45\x07\xff21.5";
        assert!(
            answer.windows(expected.len()).any(|part| part == expected),
            "{answer:02x?}"
        );
    });
}

#[test]
fn another_key_gets_nowhere() {
    run(async {
        let refused = ask(LegForm::Dtls, 443, b"another key of two", b"").await;
        assert!(refused.is_err());
    });
}
