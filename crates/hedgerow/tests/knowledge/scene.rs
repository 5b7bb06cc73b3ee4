//! The gateway between relays, and the two ends.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use hedgerow::coap::Code;
use hedgerow::core::{PeerId, Psk, PskAndCertificates};
use hedgerow::endpoint::InnerConfig;
use hedgerow::itls::End;
use hedgerow::net::{
    AcceptedServer, AdaptedServer, Authorities, CertificateStore, Credentials, ForwardSecrecy,
    GatewayTls, GatewayUser, Handler, Identity, InnerTarget, ItlsConfig, KeyLogFile, KeyStore,
    LegConfig, Node, NodeConfig, RawPublicKey, RequestMessage, ResponseMessage, SecurityPolicy,
    ServerCertificates, ServerRequest, StreamConfig, StreamServer, Target,
};
use hedgerow::presets;
use hedgerow_leg::Role;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Semaphore;

use super::authority::{Authority, Owner, Purpose};
use super::gateway::{Program, configuration};
use super::relay::{TcpRelay, UdpRelay};
use crate::support::http::{HttpResponse, http_get};
use crate::support::{loopback, private_file};

/// The device's name at the gateway.
pub const DEVICE: &str = "it";
/// Who the device is where it calls, and what it calls through the gateway.
pub const CALLER: &str = "caller";
pub const SERVICE: &str = "backend";
/// Who the device is where TLS clients reach it in a session that it has begun.
pub const COMER: &str = "comer";
/// The user whom a device may call.
pub const USER: &str = "user";
/// Who asks the device end to end.
pub const IDENTITY: &str = "reader";

/// What is drawn anew for each scene.
pub struct Drawn {
    /// Of the gateway, which calls the device, and of the device, which calls the gateway: for services, so that
    /// TLS clients reach it, and in mode `itls`.
    pub hop_key: [u8; 16],
    pub calling_key: [u8; 16],
    pub coming_key: [u8; 16],
    pub inner_calling_key: [u8; 16],
    /// Of the client and the device, and of the device and the server.
    pub end_to_end_key: [u8; 16],
    pub server_key: [u8; 16],
    /// Letters and digits, as in the configuration.
    pub token: String,
    /// A path without its first slash.
    pub path: String,
    pub request: Vec<u8>,
    /// One part of the response, which is this over and over.
    pub response: [u8; 32],
}

impl Drawn {
    fn new() -> Self {
        Self {
            hop_key: random(),
            calling_key: random(),
            coming_key: random(),
            inner_calling_key: random(),
            end_to_end_key: random(),
            server_key: random(),
            token: hex(&random::<16>()),
            path: hex(&random::<16>()),
            request: random::<200>().to_vec(),
            response: random(),
        }
    }

    /// A body of several blocks.
    pub fn response_body(&self) -> Vec<u8> {
        self.response.repeat(4_096 / self.response.len())
    }
}

/// Random bytes of which the first isn't zero.
fn random<const LEN: usize>() -> [u8; LEN] {
    let mut bytes = [0; LEN];
    while bytes[0] == 0 {
        getrandom::fill(&mut bytes).unwrap();
    }
    bytes
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A device with keys of two kinds, the gateway's program with those of one kind as a process of its own, a
/// server on the Internet, and whatever passes between them written down.
pub struct Scene {
    pub drawn: Arc<Drawn>,
    pub http: TcpRelay,
    pub translate: TcpRelay,
    /// For TLS clients that know of no gateway: of CoAP whose records become DTLS's or stay as they are, of HTTP.
    pub tls: [TcpRelay; 3],
    /// For Internet ends in mode `itls`.
    pub itls: TcpRelay,
    /// Beside HTTP, at the same address and the port that the gateway offers.
    pub carriers: UdpRelay,
    /// Between the gateway and the device that it calls.
    pub device: UdpRelay,
    /// Between the device and the gateway that it calls.
    pub legs: UdpRelay,
    /// The same in mode `itls`.
    pub callers: UdpRelay,
    /// Between the gateway and the server.
    pub server: TcpRelay,
    /// Where the ends' master secrets are written.
    pub client_log: PathBuf,
    pub device_log: PathBuf,
    pub server_log: PathBuf,
    /// Of client and device, where they know each other by raw public keys or certificates.
    pub client_pair: Pair,
    pub device_pair: Pair,
    /// Of the gateway, which it has for hops to devices.
    pub gateway_pair: Pair,
    /// Who vouches for client and device, as PEM.
    authority: String,
    /// Of the gateway, which it shows to Internet ends.
    certificate: String,
    /// Whether devices may have the light outer layer of mode `itls`.
    pub is_light: bool,
    handler: Arc<Holding>,
    program: Program,
    runtime: Runtime,
    /// The device that the gateway calls.
    pub node: Node,
    _server: StreamServer,
}

/// The device's application, which answers when it is told to.
struct Holding {
    has_come: Semaphore,
    may_answer: Semaphore,
}

impl Scene {
    pub fn start(mode: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let drawn = Arc::new(Drawn::new());
        let [client_log, device_log, server_log] = ["client", "device", "server"]
            .map(|end| private_file(&format!("{mode}-{end}.log"), ""));
        let handler = Arc::new(Holding {
            has_come: Semaphore::new(0),
            may_answer: Semaphore::new(0),
        });
        let authority = Authority::new("site");
        let [client_pair, device_pair, gateway_pair] = [
            Pair::new(&authority, CLIENT_NAME, Purpose::Client),
            Pair::new(&authority, DEVICE_NAME, Purpose::Server),
            Pair::new(&authority, "gateway.example", Purpose::Client),
        ];
        let authority = authority.pem;
        let certificates = ServerCertificates::new(device_pair.identity_with_certificate())
            .with_raw_public_key(client_pair.public_key(), PeerId(4))
            .with_names(
                &Authorities::new(authority.as_bytes()).unwrap(),
                [(CLIENT_NAME, PeerId(4))],
            );
        let node = device(&drawn, &device_log, &handler, certificates.unwrap());
        let node = runtime.block_on(node);
        let device = UdpRelay::start(&runtime, node.local_addr());
        let https = runtime.block_on(server(&drawn, &server_log, &handler));
        let server = TcpRelay::start(&runtime, https.local_addr());
        let pair = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
        let certificate = pair.cert.pem();
        let files = [
            private_file(&format!("{mode}.pem"), &certificate),
            private_file(&format!("{mode}.key"), &pair.signing_key.serialize_pem()),
            private_file(&format!("{mode}-hop.key"), &gateway_pair.0.key),
            private_file(&format!("{mode}-device.pub"), &device_pair.0.public_key),
        ];
        let is_light = mode == "itls-light";
        let mut text = configuration(&drawn, device.address, server.address, &files);
        if is_light {
            text = text.replace("[itls]", "[itls]\nlight = true");
        }
        let program = Program::start(mode, &text);
        // Another address of this host, so that a port of the gateway's is free there.
        let elsewhere = |port| SocketAddr::from(([127, 0, 0, 2], port));
        let http = program.address("listening for HTTP");
        let http = TcpRelay::start_at(&runtime, elsewhere(0), http);
        let carriers = program.address("listening for UDP carriers");
        let carriers = UdpRelay::start_at(&runtime, elsewhere(carriers.port()), carriers);
        let records = program.address("listening for records over TCP");
        let translate = TcpRelay::start(&runtime, records);
        let tls = program.addresses("listening for TLS clients");
        let tls: [SocketAddr; 3] = tls.try_into().unwrap();
        let tls = tls.map(|listener| TcpRelay::start(&runtime, listener));
        let itls = program.address("listening for Internet ends");
        let itls = TcpRelay::start(&runtime, itls);
        let legs = program.address("listening for streams of devices");
        let legs = UdpRelay::start(&runtime, legs);
        let callers = program.address("listening for devices");
        let callers = UdpRelay::start(&runtime, callers);
        let scene = Self {
            drawn,
            http,
            translate,
            tls,
            itls,
            carriers,
            device,
            legs,
            callers,
            server,
            client_log,
            device_log,
            server_log,
            client_pair,
            device_pair,
            gateway_pair,
            authority,
            certificate,
            is_light,
            handler,
            program,
            runtime,
            node,
            _server: https,
        };
        // A session of the gateway's own with the same device, in every mode.
        let warm = http_get(scene.http.address, &format!("/devices/{DEVICE}/{WARM}"));
        assert_eq!((warm.status, warm.text()), (200, WARM));
        scene
    }

    /// The process.
    pub fn gateway(&self) -> u32 {
        self.program.id()
    }

    /// Does something in a thread and in the scene's runtime, and tells what comes of it.
    pub fn spawn<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Handle) -> T + Send + 'static,
    ) -> mpsc::Receiver<T> {
        let (told, result) = mpsc::channel();
        let runtime = self.runtime.handle().clone();
        thread::spawn(move || told.send(act(&runtime)));
        result
    }

    /// Waits until the device has a request, which it then holds.
    pub fn wait_until_asked(&self) {
        let came = async { tokio::time::timeout(LIMIT, self.handler.has_come.acquire()).await };
        let came = self.runtime.block_on(came);
        came.expect("the device is asked").unwrap().forget();
    }

    /// Has the device answer.
    pub fn answer(&self) {
        self.handler.may_answer.add_permits(1);
    }

    /// What the device calls the gateway with, and then the server.
    pub fn calling(&self) -> (NodeConfig, Target, Credentials) {
        let mut config = presets::client(LIMIT);
        config.endpoint.legs = Some(LegConfig::new(Role::Device));
        config.key_log = Some(KeyLogFile::open(&self.device_log).unwrap());
        let key = Credentials::new(CALLER, server_key(&self.drawn), PeerId(0)).unwrap();
        let hop = target(&self.legs, CALLER, &self.drawn.calling_key);
        (config, hop, key)
    }

    /// What the device calls the gateway with, so that it is reached in that session.
    pub fn coming(&self) -> Target {
        target(&self.legs, COMER, &self.drawn.coming_key)
    }

    /// What the device calls the gateway with in mode `itls`, and then the Internet end.
    pub fn calling_inside(&self) -> (NodeConfig, InnerTarget) {
        let (mut config, _, key) = self.calling();
        let inner = hedgerow::itls::Settings::new(End::Device);
        config.endpoint.inner = Some(InnerConfig::new(inner));
        let target = InnerTarget {
            gateway: target(&self.callers, CALLER, &self.drawn.inner_calling_key),
            name: USER.to_owned(),
            credentials: Arc::new(key),
        };
        (config, target)
    }

    /// What an Internet end has that the device asks, in place of the server.
    pub fn answering(&self) -> (KeyStore, impl Handler + use<>) {
        let keys = servers_keys(&self.drawn);
        (keys, application(&self.drawn, &self.handler))
    }

    /// What asks the device end to end.
    pub fn end_to_end(&self) -> (NodeConfig, Arc<Credentials>, RequestMessage) {
        let mut config = presets::client(LIMIT).with_security(policy());
        config.key_log = Some(KeyLogFile::open(&self.client_log).unwrap());
        let (key, request) = self.asked();
        (config, key, request)
    }

    /// What the client shows, and whom it wants, where both ends have raw public keys.
    pub fn by_raw_public_key(&self) -> Arc<Credentials> {
        let identity = Some(self.client_pair.identity());
        let device = AcceptedServer::RawPublicKey(self.device_pair.public_key());
        let shown = Credentials::certificates(identity, device, PeerId(0)).unwrap();
        Arc::new(shown.with_certificates_end_to_end())
    }

    /// The same where both have certificates.
    pub fn by_certificate(&self) -> Arc<Credentials> {
        let identity = Some(self.client_pair.identity_with_certificate());
        let device = AcceptedServer::Certificate {
            authorities: Authorities::new(self.authority.as_bytes()).unwrap(),
            name: DEVICE_NAME.to_owned(),
        };
        let shown = Credentials::certificates(identity, device, PeerId(0)).unwrap();
        Arc::new(shown.with_certificates_end_to_end())
    }

    /// What asks the same over TLS.
    pub fn over_tls(&self) -> (StreamConfig, Arc<Credentials>, RequestMessage) {
        let mut config = presets::stream_client(LIMIT).with_security(policy());
        config.key_log = Some(KeyLogFile::open(&self.client_log).unwrap());
        let (key, request) = self.asked();
        (config, key, request)
    }

    fn asked(&self) -> (Arc<Credentials>, RequestMessage) {
        let key = end_to_end_key(&self.drawn);
        let key = Credentials::new(IDENTITY, key, PeerId(0)).unwrap();
        let request = RequestMessage::new(Code::POST)
            .path(&self.drawn.path)
            .payload(self.drawn.request.clone());
        (Arc::new(key), request)
    }

    /// The way of an Internet end in mode `itls` to the gateway.
    pub fn outer(&self) -> ItlsConfig {
        let uri = format!("https://{HOST}:{}", self.itls.address.port());
        let authorities = Authorities::new(self.certificate.as_bytes()).unwrap();
        let tls = GatewayTls::authorities(&authorities).unwrap();
        let mut config = ItlsConfig::new(uri.parse().unwrap(), tls);
        config.user = Some(GatewayUser::with_token(&self.drawn.token).unwrap());
        config
    }
}

pub fn policy() -> SecurityPolicy {
    SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required)
}

fn end_to_end_key(drawn: &Drawn) -> Psk {
    let key = Psk::new(&drawn.end_to_end_key).unwrap();
    key.into_end_to_end().unwrap()
}

fn server_key(drawn: &Drawn) -> Psk {
    let key = Psk::new(&drawn.server_key).unwrap();
    key.into_end_to_end().unwrap()
}

fn servers_keys(drawn: &Drawn) -> KeyStore {
    let keys = KeyStore::new();
    let inserted = keys.insert(CALLER, server_key(drawn), PeerId(3));
    inserted.unwrap();
    keys
}

/// The gateway as a device calls it that is known there by this.
fn target(relay: &UdpRelay, identity: &str, key: &[u8]) -> Target {
    let key = Psk::new(key).unwrap();
    let hop = Credentials::new(identity, key, PeerId(0)).unwrap();
    Target {
        address: relay.address,
        credentials: Some(Arc::new(hop)),
    }
}

/// Starts the device, which serves TLS clients through the gateway's streams too.
async fn device(
    drawn: &Arc<Drawn>,
    log: &Path,
    handler: &Arc<Holding>,
    certificates: ServerCertificates,
) -> Node {
    let keys = KeyStore::new();
    let hop = Psk::new(&drawn.hop_key).unwrap();
    keys.insert("gateway", hop, PeerId(1)).unwrap();
    keys.insert(IDENTITY, end_to_end_key(drawn), PeerId(2))
        .unwrap();
    let mut config = presets::device();
    config.endpoint.legs = Some(LegConfig::new(Role::Device));
    config.key_log = Some(KeyLogFile::open(log).unwrap());
    let store = PskAndCertificates {
        psk: keys,
        certificates: CertificateStore::new(certificates),
    };
    let node = Node::bind_server(loopback(), config, store, application(drawn, handler));
    let node = node.await.unwrap();
    let ends = KeyStore::new();
    ends.insert(IDENTITY, end_to_end_key(drawn), PeerId(2))
        .unwrap();
    let (serving, application) = (node.clone(), application(drawn, handler));
    tokio::spawn(async move {
        let server = AdaptedServer::default();
        server.serve(&serving, ends, application).await;
    });
    node
}

/// Starts the server on the Internet, which the device asks.
async fn server(drawn: &Arc<Drawn>, log: &Path, handler: &Arc<Holding>) -> StreamServer {
    let keys = servers_keys(drawn);
    let mut config = presets::stream_device();
    config.key_log = Some(KeyLogFile::open(log).unwrap());
    let server = StreamServer::bind(loopback(), config, keys, application(drawn, handler));
    server.await.unwrap()
}

/// Answers what was drawn by what was drawn, once it is told to.
fn application(drawn: &Arc<Drawn>, handler: &Arc<Holding>) -> impl Handler + use<> {
    let (drawn, handler) = (Arc::clone(drawn), Arc::clone(handler));
    move |request: ServerRequest| {
        let (drawn, handler) = (Arc::clone(&drawn), Arc::clone(&handler));
        async move {
            if request.message.method == Code::GET {
                return ResponseMessage::new(Code::CONTENT).payload(WARM);
            }
            assert_eq!(request.message.payload, drawn.request);
            handler.has_come.add_permits(1);
            handler.may_answer.acquire().await.unwrap().forget();
            ResponseMessage::new(Code::CHANGED).payload(drawn.response_body())
        }
    }
}

/// A private key of P-256 and a certificate for it.
pub struct Pair(Owner);

impl Pair {
    fn new(authority: &Authority, name: &str, purpose: Purpose) -> Self {
        Self(authority.owner(name, purpose))
    }

    /// The number itself: RFC 5915 §3 has it as an octet string of 32 bytes, behind the version.
    pub fn private_key(&self) -> [u8; 32] {
        const BEFORE: &[u8] = b"\x02\x01\x01\x04\x20";
        let der = rcgen::KeyPair::from_pem(&self.0.key)
            .unwrap()
            .serialize_der();
        let mut windows = der.windows(BEFORE.len());
        let at = windows.position(|window| window == BEFORE).unwrap() + BEFORE.len();
        der[at..at + 32].try_into().unwrap()
    }

    fn identity(&self) -> Arc<Identity> {
        Arc::new(Identity::new(self.0.key.as_bytes()).unwrap())
    }

    fn identity_with_certificate(&self) -> Arc<Identity> {
        let identity = Identity::new(self.0.key.as_bytes()).unwrap();
        let certificate = self.0.certificate.as_bytes();
        Arc::new(identity.with_certificates(certificate).unwrap())
    }

    fn public_key(&self) -> RawPublicKey {
        RawPublicKey::new(self.0.public_key.as_bytes()).unwrap()
    }
}

/// Posts what was drawn to the device through the gateway's HTTP server.
pub fn post(address: SocketAddr, drawn: &Drawn) -> HttpResponse {
    let path = format!("/devices/{DEVICE}/{}", drawn.path);
    let fields = "Content-Type: application/octet-stream\r\n";
    crate::support::http::http(address, "POST", &path, fields, &drawn.request)
}

/// The names in the certificates.
const CLIENT_NAME: &str = "reader.example";
const DEVICE_NAME: &str = "it.example";

/// A resource that answers at once, and what it answers.
pub const WARM: &str = "warm";

/// The gateway's host, which its certificate is for.
const HOST: &str = "localhost";

/// For each step.
pub const LIMIT: Duration = Duration::from_secs(30);
