//! HTTPS with a certificate made for the test, over HTTP/1.1 and HTTP/2.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use hedgerow_gateway::{Https, HttpsError, Running};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use support::{Resources, device, loopback, psk_device, request_on, short_config, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

type Pair = rcgen::CertifiedKey<rcgen::KeyPair>;

async fn connect(gateway: &Running, pair: &Pair, protocol: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(pair.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(gateway.https_addr().unwrap())
        .await
        .unwrap();
    let name = ServerName::try_from("gateway.example").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.unwrap()
}

#[tokio::test]
async fn https_serves_http1_and_http2() {
    let pair = rcgen::generate_simple_self_signed(["gateway.example".to_owned()]).unwrap();
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let (resources, _told) = Resources::new();
    let node = device(loopback(), resources).await;
    let mut config = short_config().with_device(psk_device("meter", node.local_addr()));
    config.http = None;
    let https = Https::from_pem(loopback(), certificate.as_bytes(), key.as_bytes());
    config.https = Some(https.unwrap());
    let gateway = start(config).await;
    assert_eq!(gateway.http_addr(), None);

    let stream = connect(&gateway, &pair, b"http/1.1").await;
    let head = "GET /devices/meter/temperature\r\nhost: gateway.example";
    let reply = request_on(stream, head, b"").await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "21.5"));

    let stream = connect(&gateway, &pair, b"h2").await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let io = TokioIo::new(stream);
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
    let (mut sender, connection) = handshake.await.unwrap();
    let connection = tokio::spawn(connection);
    let body = support::numbered(20_000);
    let uri = "https://gateway.example/devices/meter/image";
    let put = Request::put(uri)
        .body(Full::new(Bytes::from(body.clone())))
        .unwrap();
    assert_eq!(sender.send_request(put).await.unwrap().status(), 204);
    let get = Request::get(uri).body(Full::new(Bytes::new())).unwrap();
    let reply = sender.send_request(get).await.unwrap();
    assert_eq!(reply.collect().await.unwrap().to_bytes(), body);
    // A page that isn't the gateway's may not change anything over HTTP/2 either.
    let put = Request::put(uri).header("origin", "https://evil.example");
    let put = put.body(Full::new(Bytes::new())).unwrap();
    assert_eq!(sender.send_request(put).await.unwrap().status(), 403);
    gateway.shutdown().await;
    connection.await.unwrap().unwrap();
}

#[tokio::test]
async fn devices_answer_keeps_its_place_until_it_is_read() {
    let pair = rcgen::generate_simple_self_signed(["gateway.example".to_owned()]).unwrap();
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let (resources, _told) = Resources::new();
    let node = device(loopback(), resources).await;
    let mut config = short_config().with_device(psk_device("meter", node.local_addr()));
    let https = Https::from_pem(loopback(), certificate.as_bytes(), key.as_bytes());
    config.https = Some(https.unwrap());
    config.limits.requests = 1;
    let gateway = start(config).await;
    let stream = connect(&gateway, &pair, b"h2").await;
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(100)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let get = Request::get("https://gateway.example/devices/meter/history");
    let get = get.body(Full::new(Bytes::new())).unwrap();
    let unread = sender.send_request(get).await.unwrap();
    assert_eq!(unread.status(), 200);
    let reply = support::get(&gateway, "/devices/meter/temperature").await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_eq!(
        unread.collect().await.unwrap().to_bytes(),
        support::history()
    );
    while support::get(&gateway, "/devices/meter/temperature")
        .await
        .status
        == 503
    {}
}

#[tokio::test]
async fn http2_client_that_falls_silent_is_cut_off() {
    let pair = rcgen::generate_simple_self_signed(["gateway.example".to_owned()]).unwrap();
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let mut config = short_config();
    let https = Https::from_pem(loopback(), certificate.as_bytes(), key.as_bytes());
    config.https = Some(https.unwrap());
    config.timeouts.head = std::time::Duration::from_millis(50);
    let gateway = start(config).await;
    let mut stream = connect(&gateway, &pair, b"h2").await;
    // The preface and empty SETTINGS (RFC 9113 §3.4), and then not even an answer to PING.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(preface).await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    // A client that doesn't even begin is cut off alike.
    let mut stream = TcpStream::connect(gateway.https_addr().unwrap())
        .await
        .unwrap();
    let _ = stream.read_to_end(&mut rest).await;
}

#[test]
fn certificate_and_key_have_to_be_a_pair() {
    let make = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (one, other) = (make(), make());
    let (certificate, key) = (one.cert.pem(), one.signing_key.serialize_pem());
    let from = |certificate: &str, key: &str| {
        Https::from_pem(loopback(), certificate.as_bytes(), key.as_bytes()).map(|_| ())
    };
    assert_eq!(from(&certificate, &key), Ok(()));
    assert_eq!(from("", &key), Err(HttpsError::Certificate));
    assert_eq!(from(&certificate, ""), Err(HttpsError::PrivateKey));
    let strangers = other.signing_key.serialize_pem();
    assert!(matches!(
        from(&certificate, &strangers),
        Err(HttpsError::Unusable(_))
    ));
}
