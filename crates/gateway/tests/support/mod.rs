//! Devices, gateways and an HTTP client for tests, all on loopback and with short timers.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

pub(crate) mod lines;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hedgerow_coap::{Code, ContentFormat, OptionNumber};
use hedgerow_core::{PeerId, Psk};
use hedgerow_gateway::{Config, Device, Gateway, Running, Security};
use hedgerow_net::{
    Handler, KeyStore, Node, NodeConfig, RequestMessage, ResponseMessage, ServerRequest,
};
use hedgerow_proxy::Methods;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};

pub(crate) const KEY: &[u8] = b"sixteen byte key";

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// Timers short enough for what is never answered. A client's handshakes end by the number of their
/// transmissions, of which a pause of the machine costs one, and not by the deadline, which would pass meanwhile.
pub(crate) fn short_config() -> Config {
    let mut config = Config::default().with_http(loopback());
    config.coap.transmission.ack_timeout = Duration::from_millis(100);
    config.coap.transmission.max_retransmit = 3;
    config.dtls.timers.initial_timeout = Duration::from_millis(200);
    config.dtls.timers.max_transmissions = 3;
    config.dtls.timers.deadline = Duration::from_secs(5);
    config.timeouts.request = Duration::from_secs(20);
    config
}

pub(crate) fn psk_device(name: &str, at: SocketAddr) -> Device {
    let security = Security::psk("gateway", KEY).unwrap();
    Device::new(name, format!("coaps://{at}"), security).with_methods(Methods::ALL)
}

pub(crate) async fn start(config: Config) -> Running {
    Gateway::start(config).await.unwrap()
}

/// A device with a few resources, and what its test holds of it.
#[derive(Clone)]
pub(crate) struct Resources {
    stored: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    pub(crate) posts: Arc<AtomicUsize>,
    /// Told of each request for `slow`, which waits for a permit.
    pub(crate) begun: mpsc::UnboundedSender<()>,
    pub(crate) go_on: Arc<Semaphore>,
}

impl Resources {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<()>) {
        let (begun, told) = mpsc::unbounded_channel();
        let resources = Self {
            stored: Arc::default(),
            posts: Arc::default(),
            begun,
            go_on: Arc::new(Semaphore::new(0)),
        };
        (resources, told)
    }

    async fn answer(&self, message: RequestMessage) -> ResponseMessage {
        let segments = message.values(OptionNumber::URI_PATH);
        let path: Vec<_> = segments.map(String::from_utf8_lossy).collect();
        let path = path.join("/");
        let text = |text: &str| {
            let format = ContentFormat::TEXT_PLAIN.encode();
            ResponseMessage::new(Code::CONTENT)
                .option(OptionNumber::CONTENT_FORMAT, format.as_bytes())
                .payload(text)
        };
        match (message.method, path.as_str()) {
            (Code::GET, "temperature") => {
                let query = message.values(OptionNumber::URI_QUERY).next();
                text(if query == Some(b"unit=F") {
                    "70.7"
                } else {
                    "21.5"
                })
            }
            (_, "temperature") => ResponseMessage::new(Code::METHOD_NOT_ALLOWED),
            (Code::GET, "history") => ResponseMessage::new(Code::CONTENT).payload(history()),
            (Code::GET, "formats") => {
                let json = ContentFormat::JSON.encode();
                if message.values(OptionNumber::ACCEPT).next() == Some(json.as_bytes()) {
                    ResponseMessage::new(Code::NOT_ACCEPTABLE)
                } else {
                    text("no JSON")
                }
            }
            (Code::GET, "slow") => {
                let _ = self.begun.send(());
                self.go_on.acquire().await.unwrap().forget();
                text("at last")
            }
            (Code::POST, "items") => {
                self.posts.fetch_add(1, Ordering::SeqCst);
                ResponseMessage::new(Code::CREATED)
                    .option(OptionNumber::LOCATION_PATH, "items")
                    .option(OptionNumber::LOCATION_PATH, "1")
            }
            (Code::POST, "json") => {
                let format = message.values(OptionNumber::CONTENT_FORMAT).next();
                if format == Some(ContentFormat::JSON.encode().as_bytes()) {
                    ResponseMessage::new(Code::CHANGED)
                } else {
                    ResponseMessage::new(Code::UNSUPPORTED_CONTENT_FORMAT)
                }
            }
            (Code::PUT, _) => {
                self.stored.lock().unwrap().insert(path, message.payload);
                ResponseMessage::new(Code::CHANGED)
            }
            (Code::DELETE, _) => {
                self.stored.lock().unwrap().remove(&path);
                ResponseMessage::new(Code::DELETED)
            }
            (Code::GET, _) => match self.stored.lock().unwrap().get(&path) {
                Some(body) => ResponseMessage::new(Code::CONTENT).payload(body.clone()),
                None => ResponseMessage::new(Code::NOT_FOUND),
            },
            _ => ResponseMessage::new(Code::METHOD_NOT_ALLOWED),
        }
    }
}

impl Handler for Resources {
    async fn handle(&self, request: ServerRequest) -> ResponseMessage {
        self.answer(request.message).await
    }
}

/// 30 kB that differ from place to place.
pub(crate) fn history() -> Vec<u8> {
    numbered(30_000)
}

pub(crate) fn numbered(len: usize) -> Vec<u8> {
    (0_u32..).flat_map(u32::to_be_bytes).take(len).collect()
}

pub(crate) fn keys() -> KeyStore {
    let keys = KeyStore::new();
    keys.insert("gateway", Psk::new(KEY).unwrap(), PeerId(1))
        .unwrap();
    keys
}

pub(crate) async fn device(at: SocketAddr, resources: Resources) -> Node {
    Node::bind_server(at, NodeConfig::default(), keys(), resources)
        .await
        .unwrap()
}

/// A response over HTTP.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The problem's type, and the whole text.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(
            self.field("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        self.text()
    }
}

/// Sends one request on a connection of its own.
pub(crate) async fn request(at: SocketAddr, head: &str, body: &[u8]) -> Reply {
    let stream = TcpStream::connect(at).await.unwrap();
    request_on(stream, head, body).await
}

/// Sends a request line, fields after it, and a body whose length is added if it isn't empty.
pub(crate) async fn request_on(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    head: &str,
    body: &[u8],
) -> Reply {
    let (line, fields) = head.split_once("\r\n").unwrap_or((head, ""));
    let mut text = format!("{line} HTTP/1.1\r\nconnection: close\r\n");
    if !fields.to_ascii_lowercase().contains("host:") {
        text.push_str("host: localhost\r\n");
    }
    if !fields.is_empty() {
        text.push_str(fields);
        text.push_str("\r\n");
    }
    if !body.is_empty() {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    // A server that refuses may close before all is sent.
    let _ = stream.write_all(body).await;
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply).await;
    parse(&reply)
}

pub(crate) async fn get(gateway: &Running, path: &str) -> Reply {
    request(gateway.http_addr().unwrap(), &format!("GET {path}"), b"").await
}

fn parse(reply: &[u8]) -> Reply {
    let end = reply
        .windows(4)
        .position(|it| it == b"\r\n\r\n")
        .expect("a whole head");
    let head = String::from_utf8(reply[..end].to_vec()).unwrap();
    let status = head[9..12].parse().unwrap();
    Reply {
        status,
        head,
        body: reply[end + 4..].to_vec(),
    }
}
