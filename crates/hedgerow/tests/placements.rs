//! Who starts, and where the gateway stands: every cell of docs/specs/placements.md that claims to be served,
//! over the loopback interface, with a relay where the border of the device's network is.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub
)]

#[path = "placements/calling.rs"]
mod calling;
#[path = "support/relay.rs"]
mod relay;
mod support;
#[path = "placements/tls_client.rs"]
mod tls_client;

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hedgerow::coap::Code;
use hedgerow::core::{KeyPurpose, Peer, PeerId, Psk};
use hedgerow::endpoint::ConnectionIds;
use hedgerow::gateway::{
    Config, Device, Gateway, Itls, Leg, LegPeer, LegService, Mode, Running, Security, TlsListener,
    Translate as Translating, User,
};
use hedgerow::handshake::Settings;
use hedgerow::net::{
    AdaptedServer, Authorities, Credentials, ForwardSecrecy, GatewayTls, GatewayUser, Handler,
    ItlsConfig, KeyStore, LegConfig, LinkedNode, Node, NodeConfig, RequestMessage, Requester,
    ResponseMessage, SecurityPolicy, ServerRequest, TlsStream, TranslateConfig, Tunnel,
    TunnelConfig, TunnelTarget, itls_link, translated_link,
};
use hedgerow::presets;
use hedgerow::proxy::CarrierState;
use hedgerow::record::{StreamApplication, TranslateForm};
use hedgerow_leg::Role;
use relay::{TcpRelay, UdpRelay};
use support::http::http_get;
use support::{IDENTITY, KEY, hedgerow, loopback, private_file};
use tls_client::TlsClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Starts {
    HttpSide,
    Device,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    Inside,
    Outside,
}

/// What a mode is to a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    Serves,
    Unfit,
    NotYet,
}

use Claim::{NotYet, Serves, Unfit};

struct Cell {
    starts: Starts,
    stands: Stands,
    is_trusted: bool,
    claims: [Claim; WAYS.len()],
}

/// How one is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Terminate,
    Tunnel,
    Translate,
    TranslateDevice,
    Itls,
    Auto,
    TlsInDtls,
}

impl Way {
    /// Whether the gateway has a session of its own with who answers, which the ends' is inside of.
    const fn is_inside_a_hop(self) -> bool {
        matches!(self, Self::TranslateDevice | Self::Itls)
    }
}

/// In the order of the table's columns.
const WAYS: [(&str, Way); 7] = [
    ("terminate", Way::Terminate),
    ("tunnel", Way::Tunnel),
    ("translate", Way::Translate),
    ("translate-device", Way::TranslateDevice),
    ("itls", Way::Itls),
    ("auto", Way::Auto),
    ("TLS inside DTLS", Way::TlsInDtls),
];

const fn cell(
    starts: Starts,
    stands: Stands,
    is_trusted: bool,
    claims: [Claim; WAYS.len()],
) -> Cell {
    Cell {
        starts,
        stands,
        is_trusted,
        claims,
    }
}

const CELLS: [Cell; 8] = [
    cell(
        Starts::HttpSide,
        Stands::Inside,
        true,
        [Serves, Serves, Serves, Serves, Serves, Serves, Unfit],
    ),
    cell(
        Starts::HttpSide,
        Stands::Inside,
        false,
        [Unfit, Serves, Serves, Serves, Serves, Serves, Unfit],
    ),
    cell(
        Starts::HttpSide,
        Stands::Outside,
        true,
        [Serves, Serves, Serves, Serves, Serves, Serves, Unfit],
    ),
    cell(
        Starts::HttpSide,
        Stands::Outside,
        false,
        [Unfit, Serves, Serves, Serves, Serves, Serves, Unfit],
    ),
    cell(
        Starts::Device,
        Stands::Inside,
        true,
        [NotYet, Serves, Serves, Serves, Serves, Serves, Serves],
    ),
    cell(
        Starts::Device,
        Stands::Inside,
        false,
        [Unfit, Serves, Serves, Serves, Serves, Serves, Serves],
    ),
    cell(
        Starts::Device,
        Stands::Outside,
        true,
        [NotYet, Serves, Serves, Serves, Serves, Serves, Serves],
    ),
    cell(
        Starts::Device,
        Stands::Outside,
        false,
        [Unfit, Serves, Serves, Serves, Serves, Serves, Serves],
    ),
];

/// The page's table is this one.
#[test]
fn page_claims_what_is_run() {
    let page = include_str!("../../../docs/specs/placements.md");
    let mut rows = page
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(str::trim).collect::<Vec<_>>()
        });
    let mut head = vec!["starts", "gateway", "trusted"];
    head.extend(WAYS.map(|(name, _)| name));
    assert_eq!(rows.next(), Some(head));
    let rows: Vec<_> = rows.skip(1).collect();
    let cells = CELLS.iter().map(|cell| {
        let mut row = vec![
            match cell.starts {
                Starts::HttpSide => "HTTP side",
                Starts::Device => "device",
            },
            match cell.stands {
                Stands::Inside => "inside",
                Stands::Outside => "outside",
            },
            if cell.is_trusted { "yes" } else { "no" },
        ];
        row.extend(cell.claims.map(|claim| match claim {
            Serves => "serves",
            Unfit => "unfit",
            NotYet => "not yet",
        }));
        row
    });
    assert_eq!(rows, cells.collect::<Vec<_>>());
    // Every combination is there once.
    for (at, cell) in CELLS.iter().enumerate() {
        let is_same = |other: &Cell| {
            (other.starts, other.stands, other.is_trusted)
                == (cell.starts, cell.stands, cell.is_trusted)
        };
        assert_eq!(CELLS.iter().position(is_same), Some(at));
    }
}

fn run(starts: Starts, stands: Stands) {
    let cells = CELLS
        .iter()
        .filter(|cell| (cell.starts, cell.stands) == (starts, stands));
    let mut count = 0;
    for cell in cells {
        for ((name, way), claim) in WAYS.iter().zip(cell.claims) {
            println!(
                "{starts:?} starts, {stands:?}, trusted {}: {name}",
                cell.is_trusted
            );
            match (claim, way, starts) {
                (Serves, Way::TlsInDtls, _) => serves_by_https(cell),
                (Serves, Way::Itls, Starts::Device) => {
                    serves(cell, *way);
                    calling::serves_a_device_that_calls(cell);
                }
                (Serves, _, _) => serves(cell, *way),
                // The device that starts has nothing here that it could ask.
                (Unfit, Way::Terminate, Starts::HttpSide) => is_refused(cell),
                (Unfit | NotYet, _, _) => continue,
            }
            count += 1;
        }
    }
    assert!(count >= 12, "{count} were run");
}

#[test]
fn http_side_starts_and_the_gateway_is_inside() {
    run(Starts::HttpSide, Stands::Inside);
}

#[test]
fn http_side_starts_and_the_gateway_is_outside() {
    run(Starts::HttpSide, Stands::Outside);
}

#[test]
fn device_starts_and_the_gateway_is_inside() {
    run(Starts::Device, Stands::Inside);
}

#[test]
fn device_starts_and_the_gateway_is_outside() {
    run(Starts::Device, Stands::Outside);
}

/// The gateway, the end that answers, and the border of the device's network where it stands between those
/// that talk.
struct Scene {
    gateway: Option<Running>,
    answering: Node,
    /// Between the gateway and who answers.
    udp: Option<UdpRelay>,
    /// Whether the border is between who starts and the gateway.
    is_before_starting: bool,
    /// Of the gateway, which it shows to Internet ends.
    certificate: String,
    runtime: Runtime,
}

impl Scene {
    fn start(cell: &Cell, way: Way) -> Self {
        let runtime = Runtime::new().unwrap();
        let answering = runtime.block_on(answering(cell.is_trusted, way));
        // The border lies before the device: before who answers if the gateway is outside, and if the device
        // starts it is the other way round.
        let (is_before_answering, is_before_starting) = match (cell.starts, cell.stands) {
            (Starts::HttpSide, Stands::Outside) | (Starts::Device, Stands::Inside) => (true, false),
            (Starts::Device, Stands::Outside) => (false, true),
            (Starts::HttpSide, Stands::Inside) => (false, false),
        };
        let address = answering.local_addr();
        let udp = is_before_answering.then(|| UdpRelay::start(&runtime, address));
        let seen = udp.as_ref().map_or(address, |relay| relay.address);
        let security = Security::psk("gateway", GATEWAY_KEY.as_bytes()).unwrap();
        let mut modes = vec![Mode::Terminate, Mode::Tunnel, Mode::Translate];
        match way {
            Way::TranslateDevice => modes.push(Mode::TranslateDevice),
            Way::Itls => modes.push(Mode::Itls),
            _ => {}
        }
        let behind = Device::new(NAME, format!("coaps://{seen}"), security).with_modes(&modes);
        let mut config = Config::default()
            .with_http(loopback())
            .with_device(behind)
            .with_user(User::with_token("user", TOKEN.as_bytes()))
            .with_translate(Translating::new(loopback()))
            .with_udp_carriers(loopback());
        if way == Way::TranslateDevice {
            let mut listener = TlsListener::new(loopback(), StreamApplication::Http);
            listener.device = Some(NAME.to_owned());
            config = config.with_tls_listener(listener);
        }
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        if way == Way::Itls {
            let itls = Itls::from_pem(loopback(), certificate.as_bytes(), key.as_bytes());
            config = config.with_itls(itls.unwrap());
        }
        config.dtls.connection_ids = ConnectionIds::SendOnly;
        config.dtls.timers.deadline = Duration::from_secs(2);
        let gateway = runtime.block_on(Gateway::start(config)).unwrap();
        Self {
            gateway: Some(gateway),
            answering,
            udp,
            is_before_starting,
            certificate,
            runtime,
        }
    }

    fn gateway(&self) -> &Running {
        self.gateway.as_ref().unwrap()
    }

    /// Where the gateway's listener is reached by who starts.
    fn reached(&self, listener: SocketAddr) -> SocketAddr {
        match self.is_before_starting {
            true => TcpRelay::start(&self.runtime, listener).address,
            false => listener,
        }
    }

    /// Opens a tunnel, which has a second carrier in use if it is to be so.
    fn open_tunnel(&self, is_auto: bool) -> Tunnel {
        let mut http = self.gateway().http_addr().unwrap();
        if self.is_before_starting {
            // Both carriers lead to one address, and to the port that the gateway offers.
            let elsewhere = |port| SocketAddr::from(([127, 0, 0, 2], port));
            http = TcpRelay::start_at(&self.runtime, elsewhere(0), http).address;
            let udp = self.gateway().udp_carriers_addr().unwrap();
            UdpRelay::start_at(&self.runtime, elsewhere(udp.port()), udp);
        }
        let uri = format!("http://{http}").parse().unwrap();
        let mut config = TunnelConfig::new(uri, GatewayTls::nobody().unwrap());
        config.user = Some(GatewayUser::with_token(TOKEN).unwrap());
        config.wants_udp_carrier = is_auto;
        let target = TunnelTarget::new(NAME, self.port()).unwrap();
        self.runtime.block_on(async {
            let tunnel = Tunnel::open(&config, &target).await.unwrap();
            if is_auto {
                let mut carriers = tunnel.carriers.clone().expect("an offer");
                let active = carriers.wait_for(|state| *state == CarrierState::UdpActive);
                let active = tokio::time::timeout(LIMIT, active).await;
                active.expect("UDP carries").unwrap();
            }
            tunnel
        })
    }

    /// Opens the outer session of mode `itls` with the gateway.
    fn open_outer(&self) -> LinkedNode {
        let outer = self.reached(self.gateway().itls_addr().unwrap());
        let uri = format!("https://localhost:{}", outer.port());
        let authorities = Authorities::new(self.certificate.as_bytes()).unwrap();
        let tls = GatewayTls::authorities(&authorities).unwrap();
        let mut config = ItlsConfig::new(uri.parse().unwrap(), tls);
        config.user = Some(GatewayUser::with_token(TOKEN).unwrap());
        let opened = self.runtime.block_on(itls_link(&config, NAME)).unwrap();
        enter(self, || LinkedNode::new(opened.link, client()))
    }

    /// The way by which the gateway reaches who answers, as seen from the gateway.
    fn port(&self) -> u16 {
        let address = self.udp.as_ref().map(|relay| relay.address);
        address.unwrap_or(self.answering.local_addr()).port()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            self.runtime.block_on(gateway.shutdown());
        }
    }
}

/// Who is asked: it tells by which key the one who asks has come in. With a gateway that isn't trusted it takes
/// no key that the gateway has, or for the session around the ends' alone.
async fn answering(is_trusted: bool, way: Way) -> Node {
    let keys = KeyStore::new();
    let hop = Psk::new(GATEWAY_KEY.as_bytes()).unwrap();
    keys.insert("gateway", hop, PeerId(1)).unwrap();
    keys.insert(IDENTITY, end_to_end(), PeerId(2)).unwrap();
    let mut config = presets::device();
    if !is_trusted && !way.is_inside_a_hop() {
        let policy = SecurityPolicy::default().with_clients_for(KeyPurpose::EndToEnd);
        config = config.with_security(policy);
    }
    if way == Way::TranslateDevice {
        config.endpoint.legs = Some(LegConfig::new(Role::Device));
    }
    let node = Node::bind_server(loopback(), config, keys, telling(is_trusted));
    let node = node.await.unwrap();
    if way == Way::TranslateDevice {
        let ends = KeyStore::new();
        ends.insert(IDENTITY, end_to_end(), PeerId(2)).unwrap();
        let serving = node.clone();
        tokio::spawn(async move {
            let server = AdaptedServer::default();
            server.serve(&serving, ends, telling(is_trusted)).await;
        });
    }
    node
}

fn telling(is_trusted: bool) -> impl Handler {
    move |request: ServerRequest| async move {
        let told = match request.requester {
            Requester::Client(Peer::Psk(PeerId(1))) if !is_trusted => {
                return ResponseMessage::new(Code::FORBIDDEN);
            }
            Requester::Client(Peer::Psk(PeerId(1))) => HOP,
            Requester::Client(Peer::EndToEndPsk(PeerId(2))) => END_TO_END,
            _ => "somebody",
        };
        let told = format!("{told} at {}", request.from.port());
        ResponseMessage::new(Code::CONTENT).payload(told)
    }
}

fn end_to_end() -> Psk {
    Psk::new(KEY.as_bytes()).unwrap().into_end_to_end().unwrap()
}

fn policy() -> SecurityPolicy {
    SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required)
}

/// Requests are answered, and where a border translates addresses they change in between.
fn serves(cell: &Cell, way: Way) {
    let scene = Scene::start(cell, way);
    match way {
        Way::Terminate => {
            let http = scene.gateway().http_addr().unwrap();
            let ask = || {
                let response = http_get(http, &format!("/devices/{NAME}/x"));
                assert_eq!(response.status, 200, "{response:?}");
                response.text().to_owned()
            };
            again(&scene, HOP, ask, Address::MayChange, 1);
        }
        Way::Tunnel | Way::Auto => {
            let tunnel = scene.open_tunnel(way == Way::Auto);
            let mut node = client();
            node.endpoint.connection_ids = ConnectionIds::SendOnly;
            let node = enter(&scene, || LinkedNode::new(tunnel.link, node));
            again(
                &scene,
                END_TO_END,
                || ask(&scene, &node),
                Address::MayChange,
                1,
            );
        }
        Way::Translate => {
            let records = scene.reached(scene.gateway().translate_addr().unwrap());
            let config = TranslateConfig::new(records, NAME, TranslateForm::Short);
            let link = scene.runtime.block_on(translated_link(&config)).unwrap();
            let node = enter(&scene, || LinkedNode::new(link, config.fit(client())));
            again(&scene, END_TO_END, || ask(&scene, &node), Address::Stays, 1);
        }
        Way::TranslateDevice => {
            let to = scene.reached(scene.gateway().tls_listener_addrs()[0]);
            let client = TlsClient::connect(to, IDENTITY, end_to_end(), policy());
            let client = RefCell::new(scene.runtime.block_on(client));
            let ask = || scene.runtime.block_on(client.borrow_mut().get("/x"));
            again(&scene, END_TO_END, ask, Address::MayChangeUnseen, 1);
        }
        Way::Itls => {
            let node = scene.open_outer();
            let ask = || ask(&scene, &node);
            // The hop's session, and the ends'.
            again(&scene, END_TO_END, ask, Address::MayChange, 2);
        }
        Way::TlsInDtls => panic!("it has a scene of its own"),
    }
    if way.is_inside_a_hop() && !cell.is_trusted {
        // The gateway's own session with who answers gets it nothing.
        let http = scene.gateway().http_addr().unwrap();
        let refused = http_get(http, &format!("/devices/{NAME}/x"));
        assert_eq!(refused.status, 403, "{refused:?}");
    }
    // In these modes the program serves HTTP before the mode.
    if cell.starts == Starts::HttpSide && matches!(way, Way::Tunnel | Way::Translate | Way::Itls) {
        serves_http(&scene, way);
    }
}

/// What an HTTP client asks is answered by the device, end to end: the program stands on the user's own
/// machine, with the user's key.
fn serves_http(scene: &Scene, way: Way) {
    let uri = format!("coaps://{NAME}:{}", scene.port());
    let entry = format!(
        "[[key]]\nuri = \"{uri}\"\nidentity = \"{IDENTITY}\"\nkey = \"{KEY}\"\nend_to_end = true"
    );
    let keys = private_file("placements.toml", &entry);
    let token = private_file("placements-token", TOKEN);
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    command
        .args(["facade", "--listen", "127.0.0.1:0", "--keys"])
        .arg(&keys);
    match way {
        Way::Tunnel => {
            let gateway = format!("http://{}", scene.gateway().http_addr().unwrap());
            let way = ["--mode", "tunnel", "--via", &gateway, "--token-file"];
            command.args(way).arg(&token);
        }
        Way::Translate => {
            let gateway = format!("tcp://{}", scene.gateway().translate_addr().unwrap());
            command.args(["--mode", "translate", "--via", &gateway]);
        }
        Way::Itls => {
            let port = scene.gateway().itls_addr().unwrap().port();
            let gateway = format!("https://localhost:{port}");
            let authority = private_file("placements.pem", &scene.certificate);
            let way = ["--mode", "itls", "--via", &gateway, "--gateway-authority"];
            command.args(way).arg(&authority);
            command.arg("--token-file").arg(&token);
        }
        other => panic!("{other:?} isn't run"),
    }
    let mut facade = Child(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    let stdout = facade.0.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let http = line
        .strip_prefix("http://")
        .and_then(|rest| rest.split('/').next());
    let http = http.unwrap().parse().unwrap();
    let response = http_get(http, &format!("/devices/{NAME}/x"));
    assert_eq!(response.status, 200, "{response:?}");
    assert!(response.text().starts_with(END_TO_END), "{response:?}");
}

/// What the device asks is answered by an HTTPS server, end to end: the program is the device.
fn serves_by_https(cell: &Cell) {
    assert_eq!(cell.starts, Starts::Device);
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind(loopback())).unwrap();
    let mut server = listener.local_addr().unwrap();
    runtime.spawn(answer_https(listener));
    if cell.stands == Stands::Inside {
        server = TcpRelay::start(&runtime, server).address;
    }
    let mut leg = Leg::new(loopback());
    leg.peers.push(LegPeer {
        name: NAME.to_owned(),
        psk_identity: NAME.into(),
        psk: Psk::new(GATEWAY_KEY.as_bytes()).unwrap(),
        services: vec![SERVICE.to_owned()],
    });
    leg.services.push(LegService {
        name: SERVICE.to_owned(),
        host: server.ip().to_string(),
        port: server.port(),
    });
    let config = Config::default().with_http(loopback()).with_leg(leg);
    let gateway = runtime.block_on(Gateway::start(config)).unwrap();
    let mut reached = gateway.leg_addr().unwrap();
    if cell.stands == Stands::Outside {
        reached = UdpRelay::start(&runtime, reached).address;
    }
    let via = format!("coaps://{reached}");
    let way = ["fetch", "--via", &via, "--service", SERVICE];
    let hop = ["--hop-user", NAME, "--hop-key", GATEWAY_KEY];
    let end = ["-u", IDENTITY, "-k", KEY, "https://backend.example/"];
    let fetched = hedgerow(&[&way[..], &hop, &end].concat());
    assert_eq!(
        (fetched.code(), fetched.stdout()),
        (0, END_TO_END),
        "{fetched:?}"
    );
    runtime.block_on(gateway.shutdown());
}

/// A server that answers whoever has the end-to-end key.
async fn answer_https(listener: TcpListener) {
    let keys = KeyStore::new();
    keys.insert(IDENTITY, end_to_end(), PeerId(1)).unwrap();
    let settings = Settings::default().with_application_protocols(&[b"http/1.1"]);
    let policy = SecurityPolicy::default().with_clients_for(KeyPurpose::EndToEnd);
    let policy = Arc::new(policy);
    while let Ok((tcp, _)) = listener.accept().await {
        let mut tls = TlsStream::accept(tcp, &keys, settings, &policy)
            .await
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tls.read_u8().await.unwrap());
        }
        let len = END_TO_END.len();
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n{END_TO_END}");
        tls.write_all(text.as_bytes()).await.unwrap();
        let _ = tls.shutdown().await;
        let _ = tls.read(&mut [0]).await;
    }
}

/// A child that is stopped however the test ends.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a mode's session outlives a change of address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Address {
    MayChange,
    /// Who answers isn't told of it above the stream.
    MayChangeUnseen,
    Stays,
}

/// Asks again and again in one session. If there is a border that translates addresses, and the mode bears that,
/// who answers sees another address in the end, once that has proved itself, and no session but those that there
/// were.
fn again(scene: &Scene, who: &str, ask: impl Fn() -> String, address: Address, sessions: u64) {
    let is_changed = scene.udp.is_some() && address != Address::Stays;
    let first = ask();
    if let (true, Some(udp)) = (is_changed, &scene.udp) {
        udp.rebind();
    }
    let second = ask();
    let has_moved = || scene.answering.statistics().moved == u64::from(is_changed);
    for _ in 0..12_000 {
        if has_moved() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(has_moved());
    let third = ask();
    for told in [&first, &second, &third] {
        assert!(told.starts_with(&format!("{who} at ")), "{told}");
    }
    let is_seen = is_changed && address == Address::MayChange;
    assert_eq!(first != third, is_seen, "{first}, {third}");
    assert_eq!(scene.answering.statistics().established, sessions);
}

/// The gateway can't ask who wants security end to end.
fn is_refused(cell: &Cell) {
    let scene = Scene::start(cell, Way::Terminate);
    let http = scene.gateway().http_addr().unwrap();
    let refused = http_get(http, &format!("/devices/{NAME}/x"));
    assert!(matches!(refused.status, 502 | 504), "{refused:?}");
    assert_eq!(scene.answering.statistics().established, 0);
}

fn client() -> NodeConfig {
    presets::client(LIMIT).with_security(policy())
}

fn enter<T>(scene: &Scene, act: impl FnOnce() -> T) -> T {
    let _entered = scene.runtime.enter();
    act()
}

fn ask(scene: &Scene, node: &LinkedNode) -> String {
    let key = Credentials::new(IDENTITY, end_to_end(), PeerId(1)).unwrap();
    let key = Arc::new(key);
    let get = RequestMessage::new(Code::GET).path("/x");
    let response = scene.runtime.block_on(node.request(Some(&key), get));
    String::from_utf8(response.unwrap().payload).unwrap()
}

/// What the device asks for.
const SERVICE: &str = "backend";

/// The name of who answers at the gateway.
const NAME: &str = "it";
const GATEWAY_KEY: &str = "the gateway's own key";
const TOKEN: &str = "0123456789abcdef";

/// What is told of who asks.
const HOP: &str = "a hop";
const END_TO_END: &str = "the other end";

/// For each request.
const LIMIT: Duration = Duration::from_secs(20);
