//! Tunnels with two carriers over real sockets: the program's client, a relay that can be deaf to UDP, a
//! device that counts (`docs/specs/auto.md`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_core::{PeerId, Psk};
use hedgerow_gateway::{Config, Device, Https, Mode, Running, Security, User};
use hedgerow_net::{
    Authorities, Credentials, ForwardSecrecy, GatewayTls, GatewayUser, KeyStore, LinkedNode, Node,
    NodeConfig, RequestMessage, ResponseMessage, SecurityPolicy, ServerRequest, Tunnel,
    TunnelConfig, TunnelHttp, TunnelTarget,
};
use hedgerow_proxy::CarrierState;
use support::{loopback, short_config, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

const TOKEN: &str = "0123456789abcdef";
const KEY: &[u8; 16] = b"an end's own key";

/// What the device has seen: each request's payload, and from where.
type Seen = Arc<Mutex<Vec<Vec<u8>>>>;

async fn device() -> (Node, Seen) {
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
    let node = Node::bind_server(loopback(), NodeConfig::default(), keys, handler);
    (node.await.unwrap(), seen)
}

fn config(device: SocketAddr) -> Config {
    let lamp = Device::new("lamp", format!("coaps://{device}"), Security::EndToEnd);
    let config = short_config().with_user(User::with_token("robot", TOKEN.as_bytes()));
    config.with_device(lamp.with_modes(&[Mode::Tunnel]))
}

/// A gateway as clients reach it at 127.0.0.2, by relays for TCP and, until it is deaf, for UDP.
struct Relay {
    tcp: SocketAddr,
    /// Whether nothing passes over TCP any more.
    is_stuck: Arc<AtomicBool>,
    is_deaf: Arc<AtomicBool>,
    /// Datagrams that came while it was.
    dropped: Arc<AtomicUsize>,
}

impl Relay {
    async fn start(gateway: &Running, to: SocketAddr) -> Self {
        Self::start_at(Ipv4Addr::new(127, 0, 0, 2), gateway, to).await
    }

    async fn start_at(elsewhere: Ipv4Addr, gateway: &Running, to: SocketAddr) -> Self {
        let listener = TcpListener::bind((elsewhere, 0)).await.unwrap();
        let tcp = listener.local_addr().unwrap();
        let is_stuck = Arc::<AtomicBool>::default();
        let stuck = Arc::clone(&is_stuck);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(to).await.unwrap();
                let (near, far) = (near.into_split(), far.into_split());
                tokio::spawn(pass(near.0, far.1, Arc::clone(&stuck)));
                tokio::spawn(pass(far.0, near.1, Arc::clone(&stuck)));
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
        }
    }
}

/// Relays bytes until it is stuck.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, is_stuck: Arc<AtomicBool>) {
    let mut buffer = [0; 4_096];
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
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

async fn open(
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

async fn open_in_clear(gateway: SocketAddr, device: SocketAddr, wants: bool) -> Tunnel {
    let (uri, tls) = (format!("http://{gateway}"), GatewayTls::nobody().unwrap());
    open(&uri, tls, device, TunnelHttp::Http1, wants).await
}

/// A gateway whose certificate has the relay's address.
async fn over_https(mut config: Config) -> (Running, GatewayTls) {
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

fn across() -> NodeConfig {
    let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required);
    NodeConfig::default().with_security(policy)
}

/// Asks the device to do something that isn't idempotent.
async fn post(node: &LinkedNode, what: &str) {
    let psk = Psk::new(KEY).unwrap().into_end_to_end().unwrap();
    let credentials = Arc::new(Credentials::new("reader", psk, PeerId(1)).unwrap());
    let request = RequestMessage::new(Code::POST).path("/do").payload(what);
    let asked = timeout(
        Duration::from_secs(20),
        node.request(Some(&credentials), request),
    );
    assert_eq!(asked.await.unwrap().unwrap().payload, what.as_bytes());
}

async fn until(tunnel: &mut tokio::sync::watch::Receiver<CarrierState>, state: CarrierState) {
    let waited = timeout(Duration::from_secs(20), tunnel.wait_for(|it| *it == state)).await;
    waited
        .unwrap_or_else(|_| panic!("never {}", state.name()))
        .unwrap();
}

/// One session, one device-side socket, each request once: over TCP, over UDP, while UDP is blocked, and
/// after that.
#[tokio::test]
async fn session_goes_on_while_carriers_change_over_http1() {
    session_goes_on(TunnelHttp::Http1).await;
}

#[tokio::test]
async fn session_goes_on_while_carriers_change_over_http2() {
    session_goes_on(TunnelHttp::Http2).await;
}

async fn session_goes_on(http: TunnelHttp) {
    let (device, seen) = device().await;
    let at = device.local_addr();
    let (gateway, tls) = over_https(config(at).with_udp_carriers(loopback())).await;
    let relay = Relay::start(&gateway, gateway.https_addr().unwrap()).await;
    let uri = format!("https://{}", relay.tcp);
    let tunnel = open(&uri, tls, at, http, true).await;
    let mut carriers = tunnel.carriers.unwrap();
    let node = LinkedNode::new(tunnel.link, across());
    post(&node, "over tcp").await;
    until(&mut carriers, CarrierState::UdpActive).await;
    let before = gateway.tunnel_statistics().traffic;
    post(&node, "over udp").await;
    let after = gateway.tunnel_statistics().traffic;
    assert!(after.udp_datagrams_up > before.udp_datagrams_up);
    assert_eq!(gateway.udp_carrier_statistics().open, 1);

    relay.is_deaf.store(true, Ordering::Relaxed);
    // Whatever the first ones meet, none takes longer than one retransmission.
    for number in 0..4 {
        post(&node, &format!("blocked {number}")).await;
    }
    until(&mut carriers, CarrierState::TcpOnly).await;
    assert!(relay.dropped.load(Ordering::Relaxed) > 0);
    post(&node, "over tcp again").await;

    relay.is_deaf.store(false, Ordering::Relaxed);
    until(&mut carriers, CarrierState::UdpActive).await;
    let before = gateway.tunnel_statistics().traffic;
    post(&node, "over udp again").await;
    let after = gateway.tunnel_statistics().traffic;
    assert!(after.udp_datagrams_up > before.udp_datagrams_up);

    // Nothing twice, nothing lost, one session of one peer.
    let expected = [
        "over tcp",
        "over udp",
        "blocked 0",
        "blocked 1",
        "blocked 2",
        "blocked 3",
        "over tcp again",
        "over udp again",
    ];
    assert_eq!(
        *seen.lock().unwrap(),
        expected.map(|it| it.as_bytes().to_vec())
    );
    assert_eq!(device.statistics().associations, 1);
    assert_eq!(gateway.tunnel_statistics().opened, 1);
    assert!(gateway.udp_carrier_statistics().opened >= 2);

    // The carrier ends with its tunnel.
    node.close().await;
    drop(node);
    let ended = async {
        while gateway.udp_carrier_statistics().open + gateway.tunnel_statistics().open > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), ended).await.unwrap();
    gateway.shutdown().await;
    device.close().await;
}

#[tokio::test]
async fn udp_that_is_blocked_from_the_start_costs_nothing() {
    let (device, seen) = device().await;
    let at = device.local_addr();
    let gateway = start(config(at).with_udp_carriers(loopback())).await;
    let relay = Relay::start(&gateway, gateway.http_addr().unwrap()).await;
    relay.is_deaf.store(true, Ordering::Relaxed);
    let tunnel = open_in_clear(relay.tcp, at, true).await;
    let carriers = tunnel.carriers.unwrap();
    let node = LinkedNode::new(tunnel.link, across());
    for number in 0..20 {
        post(&node, &number.to_string()).await;
    }
    assert_eq!(seen.lock().unwrap().len(), 20);
    assert_eq!(*carriers.borrow(), CarrierState::TcpOnly);
    assert_eq!(gateway.udp_carrier_statistics().opened, 0);
    let traffic = gateway.tunnel_statistics().traffic;
    assert_eq!((traffic.udp_datagrams_up, traffic.dropped()), (0, 0));
    gateway.shutdown().await;
    device.close().await;
}

#[tokio::test]
async fn offer_needs_both_ends() {
    let (device, _) = device().await;
    let at = device.local_addr();
    // A gateway with UDP carriers, and a client that doesn't ask.
    let gateway = start(config(at).with_udp_carriers(loopback())).await;
    let tunnel = open_in_clear(gateway.http_addr().unwrap(), at, false).await;
    assert!(tunnel.carriers.is_none());
    let node = LinkedNode::new(tunnel.link, across());
    post(&node, "as ever").await;
    gateway.shutdown().await;
    // A client that asks, and a gateway without.
    let gateway = start(config(at)).await;
    assert_eq!(gateway.udp_carriers_addr(), None);
    let tunnel = open_in_clear(gateway.http_addr().unwrap(), at, true).await;
    assert!(tunnel.carriers.is_none());
    let node = LinkedNode::new(tunnel.link, across());
    post(&node, "as ever").await;
    gateway.shutdown().await;
    device.close().await;
}

/// What one flow's carriers lose makes no other flow wait, on TCP or on UDP.
#[tokio::test]
async fn flow_is_not_stalled_by_another_flows_loss() {
    let (device, seen) = device().await;
    let at = device.local_addr();
    let gateway = start(config(at).with_udp_carriers(loopback())).await;
    let http = gateway.http_addr().unwrap();
    let good = Relay::start(&gateway, http).await;
    let bad = Relay::start_at(Ipv4Addr::new(127, 0, 0, 3), &gateway, http).await;
    let lost = open_in_clear(bad.tcp, at, true).await;
    let lost = LinkedNode::new(lost.link, across());
    post(&lost, "before").await;
    let tunnel = open_in_clear(good.tcp, at, true).await;
    let mut carriers = tunnel.carriers.unwrap();
    let node = LinkedNode::new(tunnel.link, across());
    post(&node, "before").await;

    bad.is_stuck.store(true, Ordering::Relaxed);
    bad.is_deaf.store(true, Ordering::Relaxed);
    let waiting = tokio::spawn(async move { post(&lost, "lost").await });
    for state in [CarrierState::Probing, CarrierState::UdpActive] {
        until(&mut carriers, state).await;
        for number in 0..20 {
            let asked = Instant::now();
            post(&node, &format!("{number}")).await;
            // No retransmission, which waits for 2 s (RFC 7252 section 4.8).
            assert!(
                asked.elapsed() < Duration::from_secs(1),
                "{state:?}, {number}"
            );
        }
    }
    assert!(!waiting.is_finished());
    assert!(!seen.lock().unwrap().contains(&b"lost".to_vec()));
    waiting.abort();
    gateway.shutdown().await;
    device.close().await;
}
