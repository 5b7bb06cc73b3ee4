//! Tunnels through a gateway that does what a test says: how they are asked for, what they carry, and
//! what becomes of each way in which they fail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code
)]

mod support;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hedgerow_coap::Code;
use hedgerow_core::{ChannelError, PeerFault, PeerId};
use hedgerow_net::{
    Authorities, CarrierFailure, CertificateReason, Credentials, ForwardSecrecy, GatewayTls,
    GatewayUser, KeyStore, LinkedNode, Node, NodeConfig, RequestFailure, ResponseMessage,
    SecurityPolicy, ServerRequest, Tunnel, TunnelConfig, TunnelHttp, TunnelTarget,
};
use hedgerow_proxy::{
    ConnectUdpRequest, ContextId, TunnelDecoder, TunnelEvent, TunnelForm, encode_datagram_capsule,
    encode_udp_capsule,
};
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use support::{KEY, address, get, hasty, psk, run};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

/// What the gateway does.
#[derive(Clone, Copy, Debug)]
enum Conduct {
    /// It carries datagrams.
    Carry,
    /// It answers with a status, and with an error of RFC 9209.
    Refuse(u16, Option<&'static str>),
    /// It grants the tunnel, writes this, and ends it in order.
    SayAndClose(&'static [u8]),
}

/// A gateway, and how many requests came to it.
struct Gateway {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Gateway {
    async fn start(conduct: Conduct, device: SocketAddr, is_http2: bool) -> Self {
        Self::start_with(conduct, device, is_http2, None).await
    }

    async fn start_with(
        conduct: Conduct,
        device: SocketAddr,
        is_http2: bool,
        tls: Option<Arc<ServerConfig>>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, counter) = (tls.clone(), Arc::clone(&counter));
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, conduct, device, is_http2, counter).await,
                        Some(tls) => {
                            if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                                serve(stream, conduct, device, is_http2, counter).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, asked }
    }

    fn config(&self, is_http2: bool) -> TunnelConfig {
        let uri = format!("http://{}", self.address).parse().unwrap();
        TunnelConfig {
            http: match is_http2 {
                true => TunnelHttp::Http2,
                false => TunnelHttp::Http1,
            },
            ..TunnelConfig::new(uri, any_tls())
        }
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    conduct: Conduct,
    device: SocketAddr,
    is_http2: bool,
    asked: Arc<AtomicUsize>,
) {
    let service = service_fn(move |request| {
        asked.fetch_add(1, Ordering::Relaxed);
        async move { Ok::<_, io::Error>(answer(request, conduct, device)) }
    });
    let io = TokioIo::new(stream);
    // However the client ends it.
    let _ = match is_http2 {
        true => {
            http2::Builder::new(TokioExecutor::new())
                .enable_connect_protocol()
                .serve_connection(io, service)
                .await
        }
        false => {
            http1::Builder::new()
                .serve_connection(io, service)
                .with_upgrades()
                .await
        }
    };
}

fn answer(
    mut request: Request<Incoming>,
    conduct: Conduct,
    device: SocketAddr,
) -> Response<Empty<Bytes>> {
    if let Conduct::Refuse(status, error) = conduct {
        let mut response = Response::new(Empty::new());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(error) = error {
            response
                .headers_mut()
                .insert("proxy-status", error.parse().unwrap());
        }
        return response;
    }
    // What a gateway makes of the request, by the rules of RFC 9298 §3.
    let protocol = request.extensions().get::<Protocol>();
    let decided = ConnectUdpRequest {
        method: request.method(),
        uri: request.uri(),
        version: request.version(),
        headers: request.headers(),
        protocol: protocol
            .map(AsRef::as_ref)
            .map(|name| str::from_utf8(name).unwrap()),
    };
    let tunnel = decided.decide().unwrap().unwrap();
    assert_eq!(tunnel.target.port(), 5684);
    assert_eq!(request.headers()["capsule-protocol"], "?1");
    assert_eq!(request.headers()["authorization"], "Bearer token");
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let stream = TokioIo::new(upgrade.await.unwrap());
        match conduct {
            Conduct::SayAndClose(bytes) => {
                let mut stream = stream;
                stream.write_all(bytes).await.unwrap();
                stream.shutdown().await.unwrap();
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
            _ => carry(stream, device).await,
        }
    });
    tunnel.form.to_response().map(|()| Empty::new())
}

/// Carries datagrams, with something beside them that isn't to be passed on.
async fn carry(stream: impl AsyncRead + AsyncWrite, device: SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(device).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut decoder = TunnelDecoder::new(2_000);
    let (mut buffer, mut datagram) = ([0; 1_000], [0; 2_000]);
    loop {
        tokio::select! {
            read = reader.read(&mut buffer) => {
                let mut bytes = match read {
                    Ok(len) if len > 0 => &buffer[..len],
                    _ => return,
                };
                while let Some(event) = decoder.next_event(&mut bytes).unwrap() {
                    if let TunnelEvent::UdpPayload(payload) = event {
                        let _ = socket.send(payload).await;
                    }
                }
            }
            Ok(len) = socket.recv(&mut datagram) => {
                let mut capsules = [0; 2_100];
                let other = encode_datagram_capsule(ContextId(2), b"else", &mut capsules).unwrap();
                let payload = &datagram[..len];
                let len = encode_udp_capsule(payload, &mut capsules[other..]).unwrap();
                // In two writes, which HTTP/2 makes two frames of.
                let (one, two) = capsules[..other + len].split_at(9);
                for part in [one, two] {
                    if writer.write_all(part).await.is_err() || writer.flush().await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

fn pair() -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

fn tls_of(pair: &rcgen::CertifiedKey<rcgen::KeyPair>) -> GatewayTls {
    let authorities = Authorities::new(pair.cert.pem().as_bytes()).unwrap();
    GatewayTls::authorities(&authorities).unwrap()
}

fn any_tls() -> GatewayTls {
    tls_of(&pair())
}

fn server_tls(pair: &rcgen::CertifiedKey<rcgen::KeyPair>) -> Arc<ServerConfig> {
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(pair.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

fn as_user(config: TunnelConfig) -> TunnelConfig {
    TunnelConfig {
        user: Some(GatewayUser::with_token("token").unwrap()),
        ..config
    }
}

fn target() -> TunnelTarget {
    TunnelTarget::new("thermometer", 5684).unwrap()
}

fn across() -> NodeConfig {
    hasty().with_security(SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required))
}

fn key() -> Arc<Credentials> {
    let psk = psk(KEY).into_end_to_end().unwrap();
    Arc::new(Credentials::new("reader", psk, PeerId(1)).unwrap())
}

/// Answers with so many bytes that they go block by block.
async fn history(_: ServerRequest) -> ResponseMessage {
    ResponseMessage::new(Code::CONTENT).payload([7; 5_000])
}

async fn device() -> Node {
    let keys = KeyStore::new();
    let psk = psk(KEY).into_end_to_end().unwrap();
    keys.insert("reader", psk, PeerId(7)).unwrap();
    Node::bind_server(address("127.0.0.1:0"), NodeConfig::default(), keys, history)
        .await
        .unwrap()
}

/// Nobody is there, and nothing says so.
async fn nobody() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

async fn open(gateway: &Gateway, is_http2: bool) -> Result<Tunnel, CarrierFailure> {
    Tunnel::open(&as_user(gateway.config(is_http2)), &target()).await
}

#[test]
fn requests_go_end_to_end_over_http1_and_http2() {
    for is_http2 in [false, true] {
        run(async move {
            let device = device().await;
            let gateway = Gateway::start(Conduct::Carry, device.local_addr(), is_http2).await;
            let tunnel = open(&gateway, is_http2).await.unwrap();
            assert_eq!(tunnel.form == TunnelForm::ExtendedConnect, is_http2);
            assert_eq!(tunnel.gateway, gateway.address);
            let node = LinkedNode::new(tunnel.link, across());
            let response = node.request(Some(&key()), get("/")).await.unwrap();
            assert_eq!(response.payload, [7; 5_000]);
            // Each datagram came with one in another context.
            let received = node.statistics().datagrams_received;
            assert!(node.link_drops().not_passed_on >= received);
            node.close().await;
            device.close().await;
        });
    }
}

/// The gateway's first frame is seen when it comes, and not once the time for it is over.
#[test]
fn http2_tunnel_opens_at_once() {
    run(async {
        let nobody = nobody().await.local_addr().unwrap();
        let gateway = Gateway::start(Conduct::Carry, nobody, true).await;
        let mut config = as_user(gateway.config(true));
        config.connect_timeout = Duration::from_secs(15);
        // More than the test has, if each took so long.
        for _ in 0..5 {
            Tunnel::open(&config, &target()).await.unwrap();
        }
    });
}

/// A half-open connection: nobody says that the gateway is gone (RFC 9113 §6.7).
#[test]
fn gateway_that_falls_silent_is_given_up() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let config = TunnelConfig {
            http: TunnelHttp::Http2,
            silence_timeout: Duration::from_secs(2),
            ..as_user(TunnelConfig::new(uri.parse().unwrap(), any_tls()))
        };
        let silent = Arc::new(Notify::new());
        let begins = Arc::clone(&silent);
        let gateway = tokio::spawn(async move {
            let device = nobody().await.local_addr().unwrap();
            let answer = |request| async move {
                Ok::<_, io::Error>(answer(request, Conduct::Carry, device))
            };
            let (stream, _) = listener.accept().await.unwrap();
            let mut builder = http2::Builder::new(TokioExecutor::new());
            let connection = builder
                .enable_connect_protocol()
                .serve_connection(TokioIo::new(stream), service_fn(answer));
            tokio::pin!(connection);
            tokio::select! {
                _ = &mut connection => panic!("ended by the client"),
                () = begins.notified() => std::future::pending::<()>().await,
            }
        });
        let tunnel = Tunnel::open(&config, &target()).await.unwrap();
        let node = LinkedNode::new(tunnel.link, across());
        assert!(!node.has_ended());
        silent.notify_one();
        while !node.has_ended() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let failure = node.request(Some(&key()), get("/")).await.unwrap_err();
        assert_eq!(failure, CarrierFailure::Truncated.into());
        gateway.abort();
    });
}

#[test]
fn gateway_is_known_by_its_certificate() {
    run(async {
        let device = device().await;
        let pair = pair();
        for is_http2 in [false, true] {
            let mut tls = ServerConfig::clone(&server_tls(&pair));
            if !is_http2 {
                tls.alpn_protocols = vec![b"http/1.1".to_vec()];
            }
            let tls = Some(Arc::new(tls));
            let to = device.local_addr();
            let gateway = Gateway::start_with(Conduct::Carry, to, is_http2, tls).await;
            let config = |host: &str, tls| {
                let uri = format!("https://{host}:{}", gateway.address.port());
                as_user(TunnelConfig::new(uri.parse().unwrap(), tls))
            };
            let tunnel = Tunnel::open(&config("localhost", tls_of(&pair)), &target()).await;
            let node = LinkedNode::new(tunnel.unwrap().link, across());
            assert!(node.request(Some(&key()), get("/")).await.is_ok());
            node.close().await;
            let asked = gateway.asked.load(Ordering::Relaxed);
            for (host, tls, reason) in [
                ("localhost", any_tls(), CertificateReason::Authority),
                ("127.0.0.1", tls_of(&pair), CertificateReason::Name),
            ] {
                let refused = Tunnel::open(&config(host, tls), &target()).await;
                let failure = CarrierFailure::GatewayCertificate { reason };
                assert_eq!(refused.unwrap_err(), failure);
            }
            // The user's token wasn't shown to it.
            assert_eq!(gateway.asked.load(Ordering::Relaxed), asked);
        }
        device.close().await;
    });
}

#[test]
fn refusals_are_told_apart() {
    let prohibited = Some("gateway; error=destination_ip_prohibited");
    for (status, error, failure) in [
        (401, None, CarrierFailure::UserRefused { status: 401 }),
        (403, prohibited, CarrierFailure::TargetDenied),
        (404, None, CarrierFailure::NoTunnels { status: 404 }),
        (502, None, CarrierFailure::Unreachable { status: 502 }),
        (503, None, CarrierFailure::Busy { status: 503 }),
    ] {
        for is_http2 in [false, true] {
            run(async move {
                let nobody = nobody().await;
                let to = nobody.local_addr().unwrap();
                let gateway = Gateway::start(Conduct::Refuse(status, error), to, is_http2).await;
                assert_eq!(open(&gateway, is_http2).await.unwrap_err(), failure);
                assert_eq!(gateway.asked.load(Ordering::Relaxed), 1);
            });
        }
    }
}

/// RFC 9298 §3.3: over HTTP/1.1 a tunnel begins with 101 alone.
#[test]
fn status_200_over_http1_is_no_tunnel() {
    run(async {
        let nobody = nobody().await;
        let to = nobody.local_addr().unwrap();
        let gateway = Gateway::start(Conduct::Refuse(200, None), to, false).await;
        let failure = CarrierFailure::NoTunnels { status: 200 };
        assert_eq!(open(&gateway, false).await.unwrap_err(), failure);
    });
}

/// RFC 8441 §3: nothing is asked of a server that hasn't said that it knows `:protocol`.
#[test]
fn http2_without_extended_connect_is_asked_for_nothing() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = Gateway {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
        };
        let asked = Arc::clone(&gateway.asked);
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(move |_| {
                asked.fetch_add(1, Ordering::Relaxed);
                async { Ok::<_, io::Error>(Response::new(Empty::<Bytes>::new())) }
            });
            http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await
        });
        let refused = open(&gateway, true).await.unwrap_err();
        assert_eq!(refused, CarrierFailure::NoExtendedConnect);
        assert_eq!(gateway.asked.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn what_is_no_gateway_is_told_apart() {
    run(async {
        // Nothing listens there.
        let bound = TcpSocket::new_v4().unwrap();
        bound.bind(address("127.0.0.1:0")).unwrap();
        let free_address = bound.local_addr().unwrap();
        let config = |scheme: &str, address: SocketAddr| {
            let uri = format!("{scheme}://localhost:{}", address.port());
            as_user(TunnelConfig::new(uri.parse().unwrap(), any_tls()))
        };
        let refused = Tunnel::open(&config("http", free_address), &target()).await;
        let kind = io::ErrorKind::ConnectionRefused;
        assert_eq!(refused.unwrap_err(), CarrierFailure::Connect { kind });
        // HTTP where TLS is expected, and something that speaks neither.
        let nobody = nobody().await;
        let plain = Gateway::start(Conduct::Carry, nobody.local_addr().unwrap(), false).await;
        let refused = Tunnel::open(&config("https", plain.address), &target()).await;
        assert_eq!(refused.unwrap_err(), CarrierFailure::Tls);
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let other_address = other.local_addr().unwrap();
        let speaking = tokio::spawn(async move {
            let (mut stream, _) = other.accept().await.unwrap();
            stream.write_all(b"220 mail.example\r\n").await.unwrap();
            stream.read_to_end(&mut Vec::new()).await
        });
        let refused = Tunnel::open(&config("http", other_address), &target()).await;
        assert_eq!(refused.unwrap_err(), CarrierFailure::Http);
        speaking.await.unwrap().unwrap();
        // One that takes the connection and says nothing.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent_address = silent.local_addr().unwrap();
        let mut config = config("http", silent_address);
        config.connect_timeout = Duration::from_millis(500);
        let refused = Tunnel::open(&config, &target()).await;
        assert_eq!(refused.unwrap_err(), CarrierFailure::ConnectTimeout);
    });
}

#[test]
fn token_is_not_sent_in_clear_beyond_this_host() {
    run(async {
        // RFC 5737: an address for documents. Nothing is sent there.
        let uri = "http://192.0.2.1:8080".parse().unwrap();
        let refused = Tunnel::open(&as_user(TunnelConfig::new(uri, any_tls())), &target()).await;
        assert_eq!(refused.unwrap_err(), CarrierFailure::InClear);
    });
}

#[test]
fn end_of_a_tunnel_is_in_order_only_between_two_capsules() {
    for (said, failure) in [
        (b"".as_slice(), CarrierFailure::Closed),
        (&[0, 4, 0, 1, 2, 3], CarrierFailure::Closed),
        (&[0, 4, 0, 1], CarrierFailure::Truncated),
        (&[0], CarrierFailure::Truncated),
        (&[0, 0], CarrierFailure::Malformed),
    ] {
        for is_http2 in [false, true] {
            run(async move {
                let nobody = nobody().await;
                let to = nobody.local_addr().unwrap();
                let gateway = Gateway::start(Conduct::SayAndClose(said), to, is_http2).await;
                let tunnel = open(&gateway, is_http2).await.unwrap();
                let node = LinkedNode::new(
                    tunnel.link,
                    NodeConfig::default().with_security(
                        SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required),
                    ),
                );
                let told = node.request(Some(&key()), get("/")).await;
                assert_eq!(told, Err(RequestFailure::Carrier(failure)), "{said:?}");
                node.close().await;
            });
        }
    }
}

#[test]
fn device_that_sleeps_is_not_the_tunnel_s_end() {
    run(async {
        let nobody = nobody().await;
        let gateway = Gateway::start(Conduct::Carry, nobody.local_addr().unwrap(), false).await;
        let tunnel = open(&gateway, false).await.unwrap();
        let node = LinkedNode::new(tunnel.link, across());
        let outcome = node.request(Some(&key()), get("/")).await;
        let timeout = ChannelError::Peer(PeerFault::HandshakeTimeout);
        assert_eq!(outcome, Err(RequestFailure::Channel(timeout)));
    });
}
