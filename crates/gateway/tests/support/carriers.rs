//! Tunnels with two carriers for tests: the program's client, a relay that can be deaf to UDP, a device that
//! counts.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_core::{PeerId, Psk};
use hedgerow_gateway::{Config, Device, Https, Mode, Running, Security, User};
use hedgerow_net::{
    Authorities, Credentials, ForwardSecrecy, GatewayTls, GatewayUser, KeyStore, LinkedNode, Node,
    NodeConfig, RequestFailure, RequestMessage, ResponseMessage, SecurityPolicy, ServerRequest,
    Tunnel, TunnelConfig, TunnelHttp, TunnelTarget,
};
use hedgerow_proxy::CarrierState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::support::{loopback, short_config, start};

pub(crate) const TOKEN: &str = "0123456789abcdef";
pub(crate) const KEY: &[u8; 16] = b"an end's own key";

/// What the device has seen: each request's payload, and from where.
pub(crate) type Seen = Arc<Mutex<Vec<Vec<u8>>>>;

pub(crate) async fn device() -> (Node, Seen) {
    device_with(NodeConfig::default()).await
}

pub(crate) async fn device_with(config: NodeConfig) -> (Node, Seen) {
    let keys = KeyStore::new();
    let psk = Psk::new(KEY).unwrap().into_end_to_end().unwrap();
    keys.insert("reader", psk, PeerId(7)).unwrap();
    let seen = Seen::default();
    let count = Arc::clone(&seen);
    let handler = move |request: ServerRequest| {
        let count = Arc::clone(&count);
        async move {
            count.lock().unwrap().push(request.message.payload.clone());
            ResponseMessage::new(Code::CHANGED).payload(request.message.payload)
        }
    };
    let node = Node::bind_server(loopback(), config, keys, handler);
    (node.await.unwrap(), seen)
}

pub(crate) fn config(device: SocketAddr) -> Config {
    let lamp = Device::new("lamp", format!("coaps://{device}"), Security::EndToEnd);
    let config = short_config().with_user(User::with_token("robot", TOKEN.as_bytes()));
    config.with_device(lamp.with_modes(&[Mode::Tunnel]))
}

/// A gateway as clients reach it at 127.0.0.2, by relays for TCP and, until it is deaf, for UDP.
pub(crate) struct Relay {
    pub(crate) tcp: SocketAddr,
    /// Whether nothing passes over TCP any more.
    pub(crate) is_stuck: Arc<AtomicBool>,
    pub(crate) is_deaf: Arc<AtomicBool>,
    /// Datagrams that came while it was.
    pub(crate) dropped: Arc<AtomicUsize>,
    /// Bytes after which what goes to clients over TCP ends.
    last_words: watch::Sender<Option<&'static [u8]>>,
}

impl Relay {
    pub(crate) async fn start(gateway: &Running, to: SocketAddr) -> Self {
        Self::start_at(Ipv4Addr::new(127, 0, 0, 2), gateway, to).await
    }

    pub(crate) async fn start_at(elsewhere: Ipv4Addr, gateway: &Running, to: SocketAddr) -> Self {
        let listener = TcpListener::bind((elsewhere, 0)).await.unwrap();
        let tcp = listener.local_addr().unwrap();
        let is_stuck = Arc::<AtomicBool>::default();
        let stuck = Arc::clone(&is_stuck);
        let (last_words, words) = watch::channel(None);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(to).await.unwrap();
                let (near, far) = (near.into_split(), far.into_split());
                let (_, never) = watch::channel(None);
                tokio::spawn(pass(near.0, far.1, Arc::clone(&stuck), never));
                tokio::spawn(pass(far.0, near.1, Arc::clone(&stuck), words.clone()));
            }
        });
        let to = gateway.udp_carriers_addr().unwrap();
        // The client goes where its TCP connection leads, to the port that was offered.
        let near = UdpSocket::bind((elsewhere, to.port())).await.unwrap();
        let (is_deaf, dropped) = (Arc::default(), Arc::default());
        tokio::spawn(relay_udp(
            near,
            to,
            Arc::clone(&is_deaf),
            Arc::clone(&dropped),
        ));
        Self {
            tcp,
            is_stuck,
            is_deaf,
            dropped,
            last_words,
        }
    }

    /// Ends what goes to clients over TCP, in the middle of a capsule or between two.
    pub(crate) fn end_tcp(&self, is_within_capsule: bool) {
        let words: &[u8] = if is_within_capsule { b"\0" } else { b"" };
        self.last_words.send_replace(Some(words));
    }
}

/// Relays bytes until it is stuck, or until the last words are said.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    is_stuck: Arc<AtomicBool>,
    mut last_words: watch::Receiver<Option<&'static [u8]>>,
) {
    let mut buffer = [0; 4_096];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            Ok(()) = last_words.changed() => {
                let words = last_words.borrow_and_update().unwrap_or_default();
                let _ = to.write_all(words).await;
                break;
            }
        };
        let Ok(len @ 1..) = read else { break };
        if is_stuck.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if to.write_all(&buffer[..len]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

/// Relays each client's datagrams by a socket of its own.
async fn relay_udp(
    near: UdpSocket,
    to: SocketAddr,
    is_deaf: Arc<AtomicBool>,
    dropped: Arc<AtomicUsize>,
) {
    let near = Arc::new(near);
    let mut ways: Vec<(SocketAddr, Arc<UdpSocket>)> = Vec::new();
    let mut buffer = [0; 2_048];
    while let Ok((len, from)) = near.recv_from(&mut buffer).await {
        if is_deaf.load(Ordering::Relaxed) {
            dropped.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let way = match ways.iter().find(|way| way.0 == from) {
            Some(way) => Arc::clone(&way.1),
            None => {
                let far = UdpSocket::bind(loopback()).await.unwrap();
                far.connect(to).await.unwrap();
                let far = Arc::new(far);
                let (back, near) = (Arc::clone(&far), Arc::clone(&near));
                let is_deaf = Arc::clone(&is_deaf);
                tokio::spawn(async move {
                    let mut buffer = [0; 2_048];
                    while let Ok(len) = back.recv(&mut buffer).await {
                        if !is_deaf.load(Ordering::Relaxed) {
                            let _ = near.send_to(&buffer[..len], from).await;
                        }
                    }
                });
                ways.push((from, Arc::clone(&far)));
                far
            }
        };
        let _ = way.send(&buffer[..len]).await;
    }
}

pub(crate) async fn open(
    gateway: &str,
    tls: GatewayTls,
    device: SocketAddr,
    http: TunnelHttp,
    wants_udp_carrier: bool,
) -> Tunnel {
    let config = TunnelConfig {
        user: Some(GatewayUser::with_token(TOKEN).unwrap()),
        http,
        wants_udp_carrier,
        ..TunnelConfig::new(gateway.parse().unwrap(), tls)
    };
    let target = TunnelTarget::new("lamp", device.port()).unwrap();
    Tunnel::open(&config, &target).await.unwrap()
}

pub(crate) async fn open_in_clear(gateway: SocketAddr, device: SocketAddr, wants: bool) -> Tunnel {
    let (uri, tls) = (format!("http://{gateway}"), GatewayTls::nobody().unwrap());
    open(&uri, tls, device, TunnelHttp::Http1, wants).await
}

/// A gateway whose certificate has the relay's address.
pub(crate) async fn over_https(mut config: Config) -> (Running, GatewayTls) {
    let pair = rcgen::generate_simple_self_signed(["127.0.0.2".to_owned()]).unwrap();
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let https = Https::from_pem(loopback(), certificate.as_bytes(), key.as_bytes());
    config.https = Some(https.unwrap());
    let authorities = Authorities::new(certificate.as_bytes()).unwrap();
    (
        start(config).await,
        GatewayTls::authorities(&authorities).unwrap(),
    )
}

pub(crate) fn across() -> NodeConfig {
    let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required);
    NodeConfig::default().with_security(policy)
}

/// Asks the device to do something that isn't idempotent.
pub(crate) async fn post(node: &LinkedNode, what: &str) {
    let answer = try_post(node, what).await.unwrap();
    assert_eq!(answer.payload, what.as_bytes());
}

/// The same, whatever becomes of it.
pub(crate) async fn try_post(
    node: &LinkedNode,
    what: &str,
) -> Result<ResponseMessage, RequestFailure> {
    let psk = Psk::new(KEY).unwrap().into_end_to_end().unwrap();
    let credentials = Arc::new(Credentials::new("reader", psk, PeerId(1)).unwrap());
    let request = RequestMessage::new(Code::POST).path("/do").payload(what);
    let asked = timeout(
        Duration::from_secs(20),
        node.request(Some(&credentials), request),
    );
    asked.await.unwrap()
}

pub(crate) async fn until(
    tunnel: &mut tokio::sync::watch::Receiver<CarrierState>,
    state: CarrierState,
) {
    // A carrier that was found wanting is measured again after 2, 4, 8 and 16 s.
    let waited = timeout(Duration::from_secs(60), tunnel.wait_for(|it| *it == state)).await;
    waited
        .unwrap_or_else(|_| panic!("never {}", state.name()))
        .unwrap();
}
