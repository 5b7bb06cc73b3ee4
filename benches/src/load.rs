//! The load that servers are measured under: requests in a closed loop, and handshakes.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use getrandom::SysRng;
use hedgerow_coap::Code;
use hedgerow_core::{Env, Instant as VirtualInstant, PeerId, Psk};
use hedgerow_crypto_ring::RingCrypto;
use hedgerow_endpoint::{Address, Endpoint, Event};
use hedgerow_exchange::TransmissionParameters;
use hedgerow_handshake::Settings;
use hedgerow_net::{
    Credentials, KeyStore, Node, NodeConfig, RequestMessage, ResponseMessage, ServerRequest, Target,
};
use hedgerow_record::CipherSuite;
use rand_core::UnwrapErr;
use tokio::task::JoinSet;

use crate::handshake::{IDENTITY, PSK};

const SUITE: CipherSuite = CipherSuite::TLS_PSK_WITH_AES_128_CCM_8;

/// What is asked for.
const READING: &[u8; 64] =
    b"{\"temperature\":21.5,\"humidity\":40.25,\"pressure\":1013.25,\"n\":123}";

/// How a node that is measured, or measures, is configured.
///
/// It remembers as many message IDs of a peer as there are, and has room for more sessions than by
/// default; a client may have `nstart` requests outstanding.
fn config(nstart: u8) -> NodeConfig {
    let transmission = TransmissionParameters {
        nstart,
        ..TransmissionParameters::default()
    };
    let mut config = NodeConfig::default();
    config.endpoint.handshake = Settings::new(&[SUITE]);
    config.endpoint.max_associations = 20_000;
    // All of them come from this host.
    config.endpoint.max_associations_per_source = 20_000;
    config.endpoint.max_handshakes_per_source = 256;
    config.endpoint.exchange = Arc::new(hedgerow_exchange::Config {
        max_seen: 65_536,
        max_seen_bytes: 64 << 20,
        ..hedgerow_exchange::Config::new(transmission)
    });
    config
}

/// Runs our server until standard input ends, and prints where it listens.
pub async fn serve() {
    let keys = KeyStore::new();
    let psk = Psk::new(PSK).unwrap();
    keys.insert(IDENTITY, psk, PeerId(1)).unwrap();
    let answer = async |request: ServerRequest| match request.message.method {
        Code::GET => ResponseMessage::new(Code::CONTENT)
            .option(hedgerow_coap::OptionNumber::CONTENT_FORMAT, [])
            .payload(READING.as_slice()),
        _ => ResponseMessage::new(Code::CHANGED),
    };
    let answer = move |request| Box::pin(answer(request));
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let node = Node::bind_server(local, config(1), keys, answer).await;
    let node = node.unwrap();
    println!("{}", node.local_addr());
    let wait = || std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    // The parent has ended, however it did.
    let _ = tokio::task::spawn_blocking(wait).await;
}

/// Clients with a session each, and how many requests each has outstanding.
pub struct Clients {
    nodes: Vec<(Node, Target)>,
    outstanding: u8,
}

impl Clients {
    /// Lets clients call a server, and puts there what they will ask for.
    pub async fn connect(server: SocketAddr, clients: usize, outstanding: u8) -> Self {
        let mut nodes = Vec::new();
        for _ in 0..clients {
            let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let node = Node::bind_client(local, config(outstanding)).await.unwrap();
            let psk = Psk::new(PSK).unwrap();
            let credentials = Credentials::new(IDENTITY, psk, PeerId(2)).unwrap();
            let target = Target {
                address: server,
                credentials: Some(Arc::new(credentials)),
            };
            let put = RequestMessage::new(Code::PUT)
                .path("/reading")
                .payload(READING.as_slice());
            let response = node.request(&target, put).await.unwrap();
            assert!(response.code.is_success(), "{}", response.code);
            assert_eq!(node.suite(server).await, Some(SUITE));
            nodes.push((node, target));
        }
        Self { nodes, outstanding }
    }

    /// Sends so many requests, all clients together, and returns how long that took.
    pub async fn ask(&self, requests: usize) -> Duration {
        let lanes = self.nodes.len() * usize::from(self.outstanding);
        let mut tasks = JoinSet::new();
        let start = now();
        for lane in 0..lanes {
            let (node, target) = self.nodes[lane % self.nodes.len()].clone();
            tasks.spawn(async move {
                for _ in 0..requests / lanes {
                    let get = RequestMessage::new(Code::GET).path("/reading");
                    let response = node.request(&target, get).await.unwrap();
                    assert_eq!(response.payload, READING);
                }
            });
        }
        while let Some(outcome) = tasks.join_next().await {
            outcome.unwrap();
        }
        start.elapsed()
    }

    /// Closes all sessions in order.
    pub async fn close(self) {
        for (node, _) in self.nodes {
            node.close().await;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TheServer;

impl Address for TheServer {
    fn with_bytes<R>(&self, lend: impl FnOnce(&[u8]) -> R) -> R {
        lend(b"server")
    }
}

/// Makes a handshake as client number `n`, and leaves without a goodbye: the server keeps the
/// session. Each client has a loopback address of its own, so that none comes twice.
pub fn shake_hands(server: SocketAddr, n: u16) {
    let [high, low] = n.to_be_bytes();
    let socket = UdpSocket::bind((Ipv4Addr::new(127, 1, high, low), 40_000)).unwrap();
    socket.connect(server).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let psk = Psk::new(PSK).unwrap();
    let credentials = hedgerow_core::Credentials {
        psk_identity: IDENTITY.as_bytes(),
        psk: &psk,
        peer: PeerId(2),
    };
    let start = now();
    let mut client = Endpoint::client(RingCrypto, KeyStore::new(), config(1).endpoint);
    let mut rng = UnwrapErr(SysRng);
    let mut env = Env::new(VirtualInstant::ZERO, &mut rng);
    client
        .connect(&mut env, TheServer, Some(&credentials))
        .unwrap();
    let (mut datagram, mut answer) = ([0; 2_048], [0; 64]);
    loop {
        env.now = VirtualInstant::ZERO + start.elapsed();
        while let Some((_, len)) = client.poll_transmit(&mut env, &mut datagram) {
            // Where the server isn't there yet, it is as if the datagram were lost.
            let _ = socket.send(&datagram[..len]);
        }
        let len = match socket.recv(&mut datagram) {
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        };
        let mut part = &mut datagram[..len];
        while !part.is_empty() {
            let handled = client.handle_datagram(&mut env, TheServer, part, &mut answer);
            if matches!(handled.event, Some(Event::Established { .. })) {
                return;
            }
            let consumed = handled.consumed;
            part = &mut part[consumed..];
        }
        client.handle_timeout(&mut env);
        while let Some(event) = client.poll_event() {
            assert!(!matches!(event, Event::Failed { .. }), "{event:?}");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "measuring is reading a clock")]
fn now() -> Instant {
    Instant::now()
}
