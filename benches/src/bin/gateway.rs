//! Prints requests per second and latencies through the gateway, beside those of a plain HTTP server
//! of hyper that answers the same, as a Markdown table. Clients, gateway, devices and the plain
//! server share one process and its worker threads, and the contenders take turns.
//!
//! `cargo run --release --bin gateway [ROUNDS]`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hedgerow_benches::handshake::IDENTITY;
use hedgerow_benches::versions;
use hedgerow_coap::{Code, ContentFormat, OptionNumber};
use hedgerow_core::{PeerId, Psk};
use hedgerow_gateway::{Config, Device, Gateway, Security};
use hedgerow_net::{
    Credentials, KeyStore, Node, NodeConfig, RequestMessage, ResponseMessage, ServerRequest, Target,
};
use http_body_util::Full;
use hyper::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

/// One request at a time may wait for a device (NSTART), so as many devices as connections.
const DEVICES: usize = 16;

/// Requests a round, all connections together.
const REQUESTS: usize = 960;

/// Message IDs come again after 65,536 requests to one device, and not before their lifetime of 247 s
/// has ended (RFC 7252 §4.4); there are two rounds a contender.
const MAX_ROUNDS: usize = 400;

const BODY: &str = "21.5";

const WORKERS: usize = 2;

fn main() {
    let rounds = std::env::args().nth(1).map_or(40, |rounds| {
        rounds
            .parse()
            .expect("the number of rounds should be a number")
    });
    assert!(rounds <= MAX_ROUNDS, "at most {MAX_ROUNDS} rounds");
    versions::print();
    println!("- {rounds} rounds of {REQUESTS} requests; {WORKERS} worker threads for everything");
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build();
    runtime.unwrap().block_on(run(rounds));
}

async fn run(rounds: usize) {
    let mut devices = Vec::new();
    for number in 0..DEVICES {
        devices.push(device(number).await);
    }
    let addresses: Vec<_> = devices.iter().map(Node::local_addr).collect();
    let mut config = Config::default().with_http(loopback());
    for (number, address) in addresses.iter().enumerate() {
        let security = Security::psk(IDENTITY, &key(number)).unwrap();
        let uri = format!("coaps://{address}");
        let device = Device::new(format!("device{number}"), uri, security);
        config.devices.push(device);
    }
    let gateway = Gateway::start(config).await.unwrap();
    let through = gateway.http_addr().unwrap();
    let plain = plain_server().await;
    let node = Node::bind_client(loopback(), NodeConfig::default())
        .await
        .unwrap();

    let target = |(number, &address)| Target {
        address,
        credentials: Some(Arc::new(credentials(number))),
    };
    let targets: Arc<[Target]> = addresses.iter().enumerate().map(target).collect();

    println!("\n### Requests through the gateway\n");
    println!("| what | connections | requests/s | p50, us | p99, us | ratio of requests/s |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for connections in [1, DEVICES] {
        let mut samples = [const { Vec::new() }; 3];
        for _ in 0..rounds {
            samples[0].push(http_round(plain, connections).await);
            samples[1].push(http_round(through, connections).await);
            samples[2].push(coap_round(&node, &targets, connections).await);
        }
        let names = [
            "plain HTTP server of hyper",
            "GET through the gateway",
            "the same by hedgerow-net alone, without HTTP",
        ];
        let reference = quiet(&samples[0], |round| round.took);
        for (name, rounds) in names.iter().zip(&samples) {
            let took = quiet(rounds, |round| round.took);
            let rate = 1e6 * REQUESTS as f64 / took;
            let (p50, p99) = (
                quiet(rounds, |round| round.p50),
                quiet(rounds, |round| round.p99),
            );
            let ratio = reference / took;
            println!("| {name} | {connections} | {rate:.0} | {p50:.0} | {p99:.0} | {ratio:.2} |");
        }
    }
    gateway.shutdown().await;
}

/// A device that has one reading. It remembers more answers than by default, so that nothing has
/// to time out between two rounds.
async fn device(number: usize) -> Node {
    let exchange = hedgerow_exchange::Config {
        max_seen: 60_000,
        max_seen_bytes: 16 << 20,
        ..hedgerow_exchange::Config::default()
    };
    let mut config = NodeConfig::default();
    config.endpoint.exchange = Arc::new(exchange);
    let keys = KeyStore::new();
    keys.insert(IDENTITY, Psk::new(&key(number)).unwrap(), PeerId(1))
        .unwrap();
    let answer = async |_: ServerRequest| {
        let format = ContentFormat::TEXT_PLAIN.encode();
        ResponseMessage::new(Code::CONTENT)
            .option(OptionNumber::CONTENT_FORMAT, format.as_bytes())
            .payload(BODY)
    };
    Node::bind_server(loopback(), config, keys, move |request| {
        Box::pin(answer(request))
    })
    .await
    .unwrap()
}

/// Each device has a key of its own, or one could play the other.
fn key(number: usize) -> [u8; 16] {
    let mut key = *b"sixteen byte key";
    key[15] = u8::try_from(number).unwrap();
    key
}

fn credentials(number: usize) -> Credentials {
    let psk = Psk::new(&key(number)).unwrap();
    Credentials::new(IDENTITY, psk, PeerId(u32::try_from(number).unwrap())).unwrap()
}

async fn plain_server() -> SocketAddr {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let answer = service_fn(async |_| {
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(
                    BODY.as_bytes(),
                ))))
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    address
}

/// What one round took, in microseconds.
struct Round {
    took: f64,
    p50: f64,
    p99: f64,
}

impl Round {
    fn new(took: Duration, mut latencies: Vec<Duration>) -> Self {
        latencies.sort();
        let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
        Self {
            took: micros(took),
            p50: micros(latencies[latencies.len() / 2]),
            p99: micros(latencies[latencies.len() * 99 / 100]),
        }
    }
}

/// Returns the 10th percentile over the rounds.
fn quiet(rounds: &[Round], figure: impl Fn(&Round) -> f64) -> f64 {
    let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 10]
}

/// Opens the connections, warms them up, and lets each ask one thing after the other.
async fn http_round(server: SocketAddr, connections: usize) -> Round {
    let each = REQUESTS / connections;
    let mut clients = Vec::new();
    for first in 0..connections {
        let mut stream = TcpStream::connect(server).await.unwrap();
        stream.set_nodelay(true).unwrap();
        get(&mut stream, first).await;
        clients.push((first, stream));
    }
    let start = now();
    let asked = clients.into_iter().map(|(first, mut stream)| {
        tokio::spawn(async move {
            let mut latencies = Vec::with_capacity(each);
            for number in 0..each {
                let sent = now();
                get(&mut stream, (first + number) % DEVICES).await;
                latencies.push(sent.elapsed());
            }
            latencies
        })
    });
    let latencies = all(asked.collect()).await;
    Round::new(start.elapsed(), latencies)
}

/// Does the same without HTTP.
async fn coap_round(node: &Node, targets: &Arc<[Target]>, connections: usize) -> Round {
    let each = REQUESTS / connections;
    for target in targets.iter() {
        ask(node, target).await;
    }
    let start = now();
    let asked = (0..connections).map(|first| {
        let (node, targets) = (node.clone(), Arc::clone(targets));
        tokio::spawn(async move {
            let mut latencies = Vec::with_capacity(each);
            for number in 0..each {
                let sent = now();
                ask(&node, &targets[(first + number) % DEVICES]).await;
                latencies.push(sent.elapsed());
            }
            latencies
        })
    });
    let latencies = all(asked.collect()).await;
    Round::new(start.elapsed(), latencies)
}

async fn all(tasks: Vec<tokio::task::JoinHandle<Vec<Duration>>>) -> Vec<Duration> {
    let mut latencies = Vec::with_capacity(REQUESTS);
    for task in tasks {
        latencies.extend(task.await.unwrap());
    }
    latencies
}

async fn ask(node: &Node, target: &Target) {
    let request = RequestMessage::new(Code::GET).path("/temperature");
    let response = node.request(target, request).await.unwrap();
    assert_eq!(response.payload, BODY.as_bytes());
}

/// Sends a GET and reads the whole answer, which is small.
async fn get(stream: &mut TcpStream, device: usize) {
    let request =
        format!("GET /devices/device{device}/temperature HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 1_024];
    let mut len = 0;
    let is_whole = |answer: &[u8]| answer.ends_with(["\r\n\r\n", BODY].concat().as_bytes());
    while !is_whole(&answer[..len]) {
        let read = stream.read(&mut answer[len..]).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer[..len]));
        len += read;
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

#[expect(clippy::disallowed_methods, reason = "measuring is reading a clock")]
fn now() -> Instant {
    Instant::now()
}
