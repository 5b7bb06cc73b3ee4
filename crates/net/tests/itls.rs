//! The Internet end of mode `itls`: a node over TLS with a gateway, which a test plays together with the device.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code
)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use hedgerow_coap::Code;
use hedgerow_core::{Env, Instant, KeyPurpose, Misuse, Peer, PeerId};
use hedgerow_crypto_ring::RingCrypto;
use hedgerow_endpoint::{Address, Config, Endpoint, Event, InnerConfig, OuterStream};
use hedgerow_exchange::Response;
use hedgerow_itls::{
    Control, End, OUTER_BINDING_LABEL, Open, OuterBinding, RoutingHeader, Settings, Suite, User,
};
use hedgerow_net::{
    Authorities, CarrierFailure, CertificateReason, Credentials, ForwardSecrecy, GatewayTls,
    GatewayUser, ITLS_ALPN, ItlsConfig, KeyStore, LinkedNode, RequestFailure, SecurityPolicy,
    itls_link,
};
use rustls::ServerConfig;
use support::{get, hasty, psk, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

const DEVICE: &str = "thermometer";
const END_KEY: &[u8] = b"the two ends' one";

/// What a gateway does with an end that has come by TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conduct {
    /// It plays the device.
    Play,
    /// It doesn't know the user.
    Refuse,
    /// It ends the stream once something was asked.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Here;

impl Address for Here {
    fn with_bytes<R>(&self, lend: impl FnOnce(&[u8]) -> R) -> R {
        lend(b"here")
    }
}

fn pair() -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

fn tls_of(pair: &rcgen::CertifiedKey<rcgen::KeyPair>) -> GatewayTls {
    let authorities = Authorities::new(pair.cert.pem().as_bytes()).unwrap();
    GatewayTls::authorities(&authorities).unwrap()
}

/// What a gateway has seen.
#[derive(Debug, Default)]
struct Seen {
    shown: Vec<u8>,
    takes_flows: bool,
    names: Vec<Vec<u8>>,
    /// Whether each hello named the gateway's own side of the outer session.
    is_bound: Vec<bool>,
    bytes: Vec<u8>,
}

struct Gateway {
    address: SocketAddr,
    tls: GatewayTls,
    seen: mpsc::UnboundedReceiver<Seen>,
}

impl Gateway {
    async fn start(conduct: Conduct, alpn: &'static [u8]) -> Self {
        let pair = pair();
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(pair.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![pair.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = match alpn {
            b"" => Vec::new(),
            name => vec![name.to_vec()],
        };
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, seen) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if let Ok(stream) = acceptor.accept(stream).await {
                    tokio::spawn(serve(stream, conduct, sender.clone()));
                }
            }
        });
        Self {
            address,
            tls: tls_of(&pair),
            seen,
        }
    }

    fn config(&self) -> ItlsConfig {
        let uri = format!("https://localhost:{}", self.address.port());
        let mut config = ItlsConfig::new(uri.parse().unwrap(), self.tls.clone());
        config.user = Some(GatewayUser::with_token("token").unwrap());
        config
    }
}

type Stream = tokio_rustls::server::TlsStream<TcpStream>;

async fn read(stream: &mut Stream) -> Option<Vec<u8>> {
    let len = stream.read_u16().await.ok()?;
    let mut message = vec![0; usize::from(len)];
    stream.read_exact(&mut message).await.ok()?;
    Some(message)
}

async fn write(stream: &mut Stream, message: &[u8]) {
    let mut framed = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    stream.write_all(&framed).await.unwrap();
    stream.flush().await.unwrap();
}

/// What is for the device has an odd number there, one above the end's.
fn renumbered(message: &[u8], up: bool) -> Vec<u8> {
    let (header, rest) = RoutingHeader::decode(message).unwrap();
    let flow = if up { header.flow + 1 } else { header.flow - 1 };
    let mut bytes = [0; 2_000];
    let mut out = hedgerow_core::Writer::new(&mut bytes);
    RoutingHeader { flow, ..header }.encode(&mut out).unwrap();
    out.bytes(rest).unwrap();
    out.written().to_vec()
}

async fn serve(mut stream: Stream, conduct: Conduct, sender: mpsc::UnboundedSender<Seen>) {
    let mut seen = Seen::default();
    let binding = stream
        .get_ref()
        .1
        .export_keying_material([0; 32], OUTER_BINDING_LABEL, None)
        .unwrap();
    let first = read(&mut stream).await.unwrap();
    let (header, rest) = RoutingHeader::decode(&first).unwrap();
    assert_eq!((header.flow, header.is_control), (0, true));
    let Control::User(User { takes_flows, shown }) = Control::decode(rest).unwrap() else {
        panic!("something else came first");
    };
    (seen.shown, seen.takes_flows) = (shown.to_vec(), takes_flows);
    if conduct == Conduct::Refuse {
        write(&mut stream, b"\xe0\x02\x02").await;
        stream.shutdown().await.unwrap();
        let _ = sender.send(seen);
        return;
    }
    let store = KeyStore::new();
    let config = Config {
        inner: Some(InnerConfig::new(Settings::new(End::Device))),
        ..Config::default()
    };
    let mut device: Device = Endpoint::client(RingCrypto, store.clone(), config);
    // A key that comes while the device runs counts from the next hello on.
    let key = psk(END_KEY).into_end_to_end().unwrap();
    store.insert("end", key, PeerId(4)).unwrap();
    let hop = OuterStream {
        binding: OuterBinding::new([9; 32]),
        name: Vec::new(),
        max_message_len: 1_400,
    };
    device.open_outer_stream(Here, hop).unwrap();
    while let Some(mut message) = read(&mut stream).await {
        seen.bytes.extend_from_slice(&message);
        let (header, rest) = RoutingHeader::decode(&message).unwrap();
        if header.is_control
            && let Ok(Control::Open(Open { name, message, .. })) = Control::decode(rest)
        {
            seen.names.push(name.to_vec());
            seen.is_bound.push(message[36..68] == binding);
        }
        message = renumbered(&message, true);
        let Some(answers) = play(&mut device, &mut message, conduct) else {
            break;
        };
        for answer in answers {
            let answer = renumbered(&answer, false);
            seen.bytes.extend_from_slice(&answer);
            write(&mut stream, &answer).await;
        }
    }
    let _ = sender.send(seen);
}

type Device = Endpoint<Here, RingCrypto, KeyStore, hedgerow_core::Credentials<'static>>;

/// Gives a message to the device and returns what it sends; `None` once it was asked something and the
/// gateway wants to end.
fn play(device: &mut Device, message: &mut [u8], conduct: Conduct) -> Option<Vec<Vec<u8>>> {
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let handled = device.handle_datagram(env, Here, message, &mut [0; 64]);
    if let Some(Event::Request {
        association,
        request,
        peer,
        ..
    }) = handled.event
    {
        assert_eq!(peer, Peer::EndToEndPsk(PeerId(4)));
        if conduct == Conduct::End {
            return None;
        }
        let response = Response::new(Code::CONTENT).payload(b"21.5 degrees");
        device
            .respond(env, association, request, &response)
            .unwrap();
    }
    let mut answers = Vec::new();
    let mut out = [0; 2_000];
    while let Some((_, len)) = device.poll_transmit(env, &mut out) {
        answers.push(out[..len].to_vec());
    }
    Some(answers)
}

fn credentials() -> Arc<Credentials> {
    let key = psk(END_KEY).into_end_to_end().unwrap();
    Credentials::new(b"end".as_slice(), key, PeerId(1))
        .unwrap()
        .into()
}

fn across() -> hedgerow_net::NodeConfig {
    hasty().with_security(SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn device_answers_and_the_gateway_learns_who_asks_and_no_word_of_it() {
    run(async {
        let mut gateway = Gateway::start(Conduct::Play, ITLS_ALPN).await;
        let opened = itls_link(&gateway.config(), DEVICE).await.unwrap();
        assert_eq!(opened.gateway, gateway.address);
        let node = LinkedNode::new(opened.link, across());
        for _ in 0..3 {
            let response = node.request(Some(&credentials()), get("temperature")).await;
            assert_eq!(response.unwrap().payload, b"21.5 degrees");
        }
        let session = node.inner_session().await.unwrap();
        assert_eq!(session.suite, Suite::Aes128Ccm8);
        assert!(session.has_forward_secrecy);
        assert_eq!(node.peer().await, Some(Peer::EndToEndPsk(PeerId(1))));
        assert_eq!(node.suite().await, None);
        node.close().await;
        let seen = gateway.seen.recv().await.unwrap();
        assert_eq!(seen.shown, b"Bearer token");
        assert!(!seen.takes_flows);
        assert_eq!(seen.names, [b"thermometer"]);
        assert_eq!(seen.is_bound, [true]);
        // The identity is the positive control for the search.
        assert!(contains(&seen.bytes, b"end"));
        assert!(!contains(&seen.bytes, b"21.5") && !contains(&seen.bytes, b"temperature"));
    });
}

#[test]
fn gateway_that_does_not_know_the_user_says_so() {
    run(async {
        let gateway = Gateway::start(Conduct::Refuse, ITLS_ALPN).await;
        let opened = itls_link(&gateway.config(), DEVICE).await.unwrap();
        let node = LinkedNode::new(opened.link, across());
        let response = node.request(Some(&credentials()), get("temperature")).await;
        let failure = RequestFailure::Carrier(CarrierFailure::UserUnknown);
        assert_eq!(response, Err(failure));
        assert!(node.has_ended());
    });
}

#[test]
fn end_of_the_outer_session_ends_what_is_under_way() {
    run(async {
        let gateway = Gateway::start(Conduct::End, ITLS_ALPN).await;
        let opened = itls_link(&gateway.config(), DEVICE).await.unwrap();
        let node = LinkedNode::new(opened.link, across());
        let response = node.request(Some(&credentials()), get("temperature")).await;
        assert!(matches!(
            response,
            Err(RequestFailure::Carrier(
                CarrierFailure::Closed | CarrierFailure::Truncated
            ))
        ));
    });
}

#[test]
fn gateways_that_are_none_of_this_mode_are_told_apart() {
    run(async {
        for alpn in [b"http/1.1".as_slice(), b""] {
            let gateway = Gateway::start(Conduct::Play, alpn).await;
            let refused = itls_link(&gateway.config(), DEVICE).await.unwrap_err();
            assert_eq!(refused, CarrierFailure::NoItls);
        }
        let gateway = Gateway::start(Conduct::Play, ITLS_ALPN).await;
        let mut config = gateway.config();
        config.tls = tls_of(&pair());
        let refused = itls_link(&config, DEVICE).await.unwrap_err();
        let reason = CertificateReason::Authority;
        assert_eq!(refused, CarrierFailure::GatewayCertificate { reason });
        let mut config = gateway.config();
        config.gateway = format!("http://{}", gateway.address).parse().unwrap();
        let refused = itls_link(&config, DEVICE).await.unwrap_err();
        assert_eq!(refused, CarrierFailure::InClear);
        let refused = itls_link(&gateway.config(), &"a".repeat(64)).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused, CarrierFailure::TargetDenied);
    });
}

#[test]
fn key_that_the_gateway_may_have_and_none_are_refused() {
    run(async {
        let gateway = Gateway::start(Conduct::Play, ITLS_ALPN).await;
        let opened = itls_link(&gateway.config(), DEVICE).await.unwrap();
        let node = LinkedNode::new(opened.link, across());
        let hop = Credentials::new(b"end".as_slice(), psk(END_KEY), PeerId(1)).unwrap();
        let refused = node.request(Some(&hop.into()), get("temperature")).await;
        let misuse = Misuse::KeyPurpose {
            given: KeyPurpose::Hop,
            wanted: KeyPurpose::EndToEnd,
        };
        let expected = RequestFailure::Refused(misuse.into());
        assert_eq!(refused, Err(expected));
        assert!(node.request(None, get("temperature")).await.is_err());
    });
}
