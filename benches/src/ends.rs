//! The ends of what is measured in `src/bin/modes.rs`: how each way to a device is opened, asked and closed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_core::{PeerId, SecurityMode};
use hedgerow_handshake::Settings;
use hedgerow_net::{
    Credentials, ForwardSecrecy, KeyStore, LinkedNode, Node, NodeConfig, Passage, PassageNode,
    RequestMessage, SecurityPolicy, StreamOffer, Target, TlsStream, Tunnel, TunnelConfig,
    TunnelTarget,
};
use hedgerow_proxy::CarrierState;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::forwarding::{
    self, BODY, END_IDENTITY, LANES, PATH, SERVICE, SUITE, device_name, loopback,
};

/// What is sent and comes back through the plain relay: as many bytes as records of such a request and
/// its response have.
const ECHOED: usize = 48;

/// Longer than anything here takes; what takes longer hangs, and the run says which it is.
const PATIENCE: Duration = Duration::from_secs(30);

/// How devices are reached.
pub enum Way {
    /// Nothing but an echo, through the plain relay.
    Relay(SocketAddr),
    /// HTTP, which ends at the gateway, for devices with these names.
    Http(SocketAddr, fn(usize) -> String),
    /// The same over TLS.
    Https(SocketAddr, TlsConnector),
    /// A tunnel, with a second carrier if its configuration asks for one.
    Tunnel(TunnelConfig),
    /// A mode that has nothing to be waited for but itself: one for each end, or one for all.
    Passages(Vec<Passage>),
    /// TLS, as if the gateway were the device: where it listens for each.
    Tls(Vec<SocketAddr>),
    /// The other way round: a device each, with its session with the gateway, that opens TLS connections to a server.
    Leg(Vec<(Node, Target)>),
}

/// Bytes in order.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// One end with its connection.
pub enum Lane {
    /// By [`Way::Relay`].
    Echo(TcpStream),
    /// By all that carry HTTP, and what is asked for.
    Http(Box<dyn Stream>, String),
    /// By [`Way::Tunnel`] or [`Way::Passages`].
    Linked(Linked),
}

/// An end that speaks CoAP with a device.
pub struct Linked {
    client: Client,
    credentials: Arc<Credentials>,
    carriers: Option<watch::Receiver<CarrierState>>,
}

/// What asks the device: a tunnel that is to tell of its carriers isn't opened by a passage.
enum Client {
    Tunnel(LinkedNode),
    Passage(PassageNode),
}

impl Way {
    /// Makes a connection for a device, as far as the gateway has a part in it: a handshake with the device is none,
    /// except where the gateway learns of the device from that alone.
    pub async fn open(&self, number: usize, device: SocketAddr) -> Lane {
        let opened = timeout(PATIENCE, Box::pin(self.begin(number, device))).await;
        opened.expect("a connection should be there in time")
    }

    async fn begin(&self, number: usize, device: SocketAddr) -> Lane {
        match self {
            Self::Relay(at) => {
                let mut lane = Lane::Echo(connect(*at).await);
                // So that the relay has connected too.
                lane.ask().await;
                lane
            }
            Self::Http(at, name) => {
                let stream = connect(*at).await;
                greeted(Box::new(stream), &name(number)).await
            }
            Self::Https(at, tls) => {
                let name = at.ip().into();
                let stream = tls.connect(name, connect(*at).await).await.unwrap();
                greeted(Box::new(stream), &device_name(number)).await
            }
            Self::Tunnel(config) => {
                let target = TunnelTarget::new(&device_name(number), device.port()).unwrap();
                let mut tunnel = Tunnel::open(config, &target).await.unwrap();
                assert_eq!(tunnel.carriers.is_some(), config.wants_udp_carrier);
                if let Some(carriers) = &mut tunnel.carriers {
                    let there = carriers.wait_for(|state| *state != CarrierState::TcpOnly);
                    there.await.unwrap();
                }
                Lane::Linked(Linked {
                    client: Client::Tunnel(LinkedNode::new(tunnel.link, node())),
                    credentials: credentials(number),
                    carriers: tunnel.carriers,
                })
            }
            Self::Passages(passages) => {
                let (name, passage) = (device_name(number), &passages[number % passages.len()]);
                let opened = passage.open(&name, device.port(), node()).await;
                Lane::Linked(Linked {
                    client: Client::Passage(opened.unwrap().node),
                    credentials: credentials(number),
                    carriers: None,
                })
            }
            Self::Tls(listeners) => {
                let stream = connect(listeners[number]).await;
                let shown = credentials(number);
                Lane::Http(end_to_end(stream, shown).await, PATH.to_owned())
            }
            Self::Leg(callers) => {
                let (node, gateway) = &callers[number];
                let offer = StreamOffer {
                    name: SERVICE.to_owned(),
                    ..StreamOffer::default()
                };
                let stream = node.open_stream(gateway, offer).await.unwrap();
                let key = forwarding::service_key(number);
                let shown = Credentials::new(device_name(number), key, PeerId(1)).unwrap();
                let stream = end_to_end(stream, Arc::new(shown)).await;
                Lane::Http(stream, PATH.to_owned())
            }
        }
    }
}

/// An HTTP connection on which the gateway has said something.
async fn greeted(mut stream: Box<dyn Stream>, name: &str) -> Lane {
    get(&mut stream, "/healthz", "ok\n").await;
    Lane::Http(stream, format!("/devices/{name}{PATH}"))
}

/// TLS between the two ends.
async fn end_to_end(stream: impl Stream + 'static, shown: Arc<Credentials>) -> Box<dyn Stream> {
    let (settings, policy) = (Settings::new(&[SUITE]), Arc::new(policy()));
    let tls = TlsStream::connect(stream, shown, settings, &policy);
    Box::new(tls.await.unwrap())
}

impl Lane {
    /// Asks one thing and waits for the answer.
    pub async fn ask(&mut self) {
        let asked = timeout(PATIENCE, Box::pin(self.ask_patiently())).await;
        asked.expect("an answer should be there in time");
    }

    async fn ask_patiently(&mut self) {
        match self {
            Self::Echo(stream) => {
                let mut echoed = [7; ECHOED];
                stream.write_all(&echoed).await.unwrap();
                stream.read_exact(&mut echoed).await.unwrap();
            }
            Self::Http(stream, path) => get(stream, path, BODY).await,
            Self::Linked(linked) => {
                let request = RequestMessage::new(Code::GET).path(PATH);
                let credentials = Some(&linked.credentials);
                let response = match &linked.client {
                    Client::Tunnel(node) => node.request(credentials, request).await,
                    Client::Passage(node) => node.request(credentials, request).await,
                };
                assert_eq!(response.unwrap().payload, BODY.as_bytes());
            }
        }
    }

    /// Waits until it uses the carrier that it is for.
    pub async fn ready(&mut self) {
        if let Self::Linked(linked) = self
            && let Some(carriers) = &mut linked.carriers
        {
            let active = carriers.wait_for(|state| *state == CarrierState::UdpActive);
            let active = timeout(PATIENCE, active).await;
            active.expect("UDP should be good in time").unwrap();
        }
    }

    /// Says whether it uses the carrier that it is for.
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Linked(linked) => {
                let carriers = linked.carriers.as_ref();
                carriers.is_none_or(|state| *state.borrow() == CarrierState::UdpActive)
            }
            Self::Echo(_) | Self::Http(..) => true,
        }
    }

    /// Ends the connection.
    pub async fn close(self) {
        let closed = timeout(PATIENCE, Box::pin(self.close_patiently())).await;
        closed.expect("a connection should end in time");
    }

    async fn close_patiently(self) {
        match self {
            Self::Echo(stream) => finish(stream).await,
            Self::Http(stream, _) => finish(stream).await,
            Self::Linked(linked) => match linked.client {
                Client::Tunnel(node) => node.close().await,
                Client::Passage(node) => node.close().await,
            },
        }
    }
}

/// Starts what the plain relay leads to, and returns where.
pub async fn echo() -> SocketAddr {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let mut bytes = [0; ECHOED];
                while let Ok(len) = stream.read(&mut bytes).await {
                    if len == 0 || stream.write_all(&bytes[..len]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    at
}

/// Starts a TLS server that answers every request with a reading, for devices with their keys, and returns where.
pub async fn service() -> SocketAddr {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let at = listener.local_addr().unwrap();
    let keys = KeyStore::new();
    // It doesn't matter here who it is.
    for number in 0..LANES {
        let identity = device_name(number);
        let inserted = keys.insert(identity, forwarding::service_key(number), PeerId(1));
        inserted.unwrap();
    }
    let policy = Arc::new(policy());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (keys, policy) = (keys.clone(), Arc::clone(&policy));
            tokio::spawn(async move {
                let settings = Settings::new(&[SUITE]);
                let accepted = TlsStream::accept(stream, &keys, settings, &policy).await;
                serve(accepted.unwrap()).await;
            });
        }
    });
    at
}

/// Answers until the other end closes.
async fn serve(mut stream: impl Stream) {
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    let (mut request, mut len) = ([0; 1_024], 0);
    while let Ok(read) = stream.read(&mut request[len..]).await {
        if read == 0 {
            let _ = stream.shutdown().await;
            return;
        }
        len += read;
        if request[..len].ends_with(b"\r\n\r\n") {
            stream.write_all(answer.as_bytes()).await.unwrap();
            len = 0;
        }
    }
}

async fn finish(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    stream.shutdown().await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

/// Sends a GET and reads the whole answer, which is small.
async fn get(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str, body: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let end = format!("\r\n\r\n{body}");
    let (mut answer, mut len) = ([0; 1_024], 0);
    while !answer[..len].ends_with(end.as_bytes()) {
        let read = stream.read(&mut answer[len..]).await.unwrap();
        len += read;
        let text = String::from_utf8_lossy(&answer[..len]);
        assert!(read > 0 && text.starts_with("HTTP/1.1 200 "), "{text}");
    }
}

async fn connect(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn credentials(number: usize) -> Arc<Credentials> {
    let credentials = Credentials::new(END_IDENTITY, forwarding::end_key(number), PeerId(1));
    Arc::new(credentials.unwrap())
}

/// An end, which speaks with devices alone.
fn node() -> NodeConfig {
    forwarding::node().with_security(policy())
}

/// Handshakes of the ends aren't measured, so that they take the cheapest one.
const fn policy() -> SecurityPolicy {
    SecurityPolicy::new(SecurityMode::MultiKey).for_end_to_end(ForwardSecrecy::Optional)
}
