//! Mode `itls`, a device begins: a DTLS client of the gateway reaches an Internet end that has come to the gateway by
//! TLS (docs/specs/itls.md).
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code,
    unreachable_pub
)]

#[path = "support/relay.rs"]
mod relay;
mod support;

use std::io::{BufRead as _, BufReader, Lines};
use std::net::SocketAddr;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hedgerow::coap::{Code, OptionNumber};
use hedgerow::core::{ChannelError, Peer, PeerFault, PeerId, Psk, WayRefusal};
use hedgerow::gateway::{Config, Device, Gateway, Itls, ItlsCaller, Mode, Running, Security, User};
use hedgerow::net::{
    Authorities, Credentials, ForwardSecrecy, GatewayTls, GatewayUser, InnerTarget, ItlsConfig,
    KeyStore, LinkedNode, Node, NodeConfig, RequestFailure, RequestMessage, Requester,
    ResponseMessage, SecurityPolicy, ServerRequest, Target, itls_link,
};
use hedgerow::presets;
use relay::TcpRelay;
use support::facade::Child;
use support::{Finished, hedgerow, loopback, private_file};
use tokio::runtime::Runtime;

const TOKEN: &str = "0123456789abcdef";
const DEVICE: &str = "lamp";
const USER: &str = "robot";
/// Of the device's session with the gateway.
const HOP_KEY: &[u8] = b"the hop's own one";
/// Of the two ends, where the device begins, and where the Internet end does.
const FROM_DEVICE: &[u8] = b"what the two ends have";
const TO_DEVICE: &[u8] = b"the two ends' other one";

struct Scene {
    runtime: Runtime,
    gateway: Option<Running>,
    certificate: String,
    device: Node,
}

impl Scene {
    fn new() -> Self {
        Self::with_device(presets::device())
    }

    fn with_device(config: NodeConfig) -> Self {
        let runtime = Runtime::new().unwrap();
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        let itls = Itls::from_pem(loopback(), certificate.as_bytes(), key.as_bytes());
        let caller = ItlsCaller {
            device: DEVICE.to_owned(),
            psk_identity: DEVICE.into(),
            psk: Psk::new(HOP_KEY).unwrap(),
        };
        let security = Security::psk("gateway", b"which is not used here").unwrap();
        let device = Device::new(DEVICE, "coaps://127.0.0.1:9", security)
            .with_modes(&[Mode::Itls])
            .with_call(USER);
        let config_of_gateway = Config::default()
            .with_http(loopback())
            .with_device(device)
            .with_user(User::with_token(USER, TOKEN.as_bytes()))
            .with_user(User::with_token("alice", b"another-token-of-hers"))
            .with_itls(itls.unwrap().with_caller(loopback(), caller));
        let gateway = runtime.block_on(Gateway::start(config_of_gateway));
        let keys = KeyStore::new();
        keys.insert("user", end_to_end(TO_DEVICE), PeerId(8))
            .unwrap();
        let device = Node::bind_server(loopback(), config, keys, answering("the device"));
        let device = runtime.block_on(device).unwrap();
        Self {
            gateway: Some(gateway.unwrap()),
            certificate,
            device,
            runtime,
        }
    }

    fn gateway(&self) -> &Running {
        self.gateway.as_ref().unwrap()
    }

    fn config(&self, at: SocketAddr) -> ItlsConfig {
        let authorities = Authorities::new(self.certificate.as_bytes()).unwrap();
        let tls = GatewayTls::authorities(&authorities).unwrap();
        let mut config = ItlsConfig::new(uri(at).parse().unwrap(), tls);
        config.user = Some(GatewayUser::with_token(TOKEN).unwrap());
        config.takes_flows = true;
        config
    }

    /// An Internet end that has come, asks the device and is asked.
    fn internet_end(&self, config: &ItlsConfig) -> LinkedNode {
        let keys = KeyStore::new();
        keys.insert("lamp's", end_to_end(FROM_DEVICE), PeerId(5))
            .unwrap();
        self.runtime.block_on(async {
            let opened = itls_link(config, DEVICE).await.unwrap();
            LinkedNode::serving(opened.link, client(), keys, answering("the user"))
        })
    }

    fn listener(&self) -> SocketAddr {
        self.gateway().itls_addr().unwrap()
    }

    /// What the device is told by whom the gateway calls so.
    fn call(&self, name: &str, request: RequestMessage) -> Result<ResponseMessage, RequestFailure> {
        let hop = Credentials::new(DEVICE, Psk::new(HOP_KEY).unwrap(), PeerId(1)).unwrap();
        let end = Credentials::new("lamp's", end_to_end(FROM_DEVICE), PeerId(2)).unwrap();
        let target = InnerTarget {
            gateway: Target {
                address: self.gateway().itls_devices_addr().unwrap(),
                credentials: Some(Arc::new(hop)),
            },
            name: name.to_owned(),
            credentials: Arc::new(end),
        };
        let asked = self.device.request_inside(&target, request);
        self.runtime
            .block_on(async { tokio::time::timeout(LIMIT, asked).await.unwrap() })
    }

    /// The same once who is called has been noted by the gateway.
    fn call_until_there(&self, name: &str) -> ResponseMessage {
        // The gateway lets a device open ten flows at once: the pauses get longer, up to 24 s.
        for turn in 0..6 {
            match self.call(name, get()) {
                Ok(response) => return response,
                Err(failure) => assert_eq!(failure, refused(WayRefusal::Gone)),
            }
            std::thread::sleep(Duration::from_millis(100) * 3_u32.pow(turn));
        }
        panic!("nobody came");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            self.runtime.block_on(gateway.shutdown());
        }
    }
}

fn answering(who: &'static str) -> impl Fn(ServerRequest) -> std::future::Ready<ResponseMessage> {
    move |request: ServerRequest| {
        let known = match request.requester {
            Requester::Client(Peer::EndToEndPsk(PeerId(number))) => number,
            _ => 0,
        };
        let told = format!("{who} to {known}");
        std::future::ready(ResponseMessage::new(Code::CONTENT).payload(told))
    }
}

fn end_to_end(key: &[u8]) -> Psk {
    Psk::new(key).and_then(Psk::into_end_to_end).unwrap()
}

fn client() -> NodeConfig {
    let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required);
    presets::client(LIMIT).with_security(policy)
}

fn uri(at: SocketAddr) -> String {
    format!("https://localhost:{}", at.port())
}

fn get() -> RequestMessage {
    RequestMessage::new(Code::GET).path("/x")
}

fn refused(reason: WayRefusal) -> RequestFailure {
    RequestFailure::Channel(ChannelError::Peer(PeerFault::WayRefused { reason }))
}

#[test]
fn device_that_begins_is_answered_and_can_be_asked_over_the_session_that_it_has_begun() {
    let scene = Scene::new();
    // Nobody has come yet, and whom the device may not call is as one that there isn't.
    let gone = refused(WayRefusal::Gone);
    assert_eq!(scene.call(USER, get()).unwrap_err(), gone);
    for name in ["alice", "nobody"] {
        let failure = scene.call(name, get()).unwrap_err();
        assert_eq!(failure, refused(WayRefusal::Refused), "{name}");
    }
    let end = scene.internet_end(&scene.config(scene.listener()));
    let response = scene.call_until_there(USER);
    assert_eq!(response.payload, b"the user to 5");
    // A second request goes inside the same session.
    assert_eq!(scene.call(USER, get()).unwrap().payload, b"the user to 5");
    assert_eq!(end.statistics().established, 1);
    // The device's address, at which the gateway's configuration looks for it, leads nowhere.
    let key = Credentials::new("user", end_to_end(TO_DEVICE), PeerId(3));
    let key = Arc::new(key.unwrap());
    let asked = scene.runtime.block_on(end.request(Some(&key), get()));
    assert_eq!(asked.unwrap().payload, b"the device to 8");
    assert_eq!(end.statistics().established, 2);
    let statistics = scene.gateway().itls_statistics();
    assert_eq!((statistics.opened, statistics.open), (2, 2));
}

/// An end that doesn't say that it takes flows has none, and one without the key hears nothing that it believes.
#[test]
fn end_that_takes_no_flows_or_has_another_key_is_not_reached() {
    let scene = Scene::new();
    let mut config = scene.config(scene.listener());
    config.takes_flows = false;
    let end = scene.internet_end(&config);
    let key = Credentials::new("user", end_to_end(b"no key of the device"), PeerId(3));
    let key = Arc::new(key.unwrap());
    // Its word is there, so that the gateway knows it, but no device is found by that.
    let asked = end.request(Some(&key), get());
    let asked = async { tokio::time::timeout(Duration::from_millis(100), asked).await };
    assert!(!matches!(scene.runtime.block_on(asked), Ok(Ok(_))));
    let gone = refused(WayRefusal::Gone);
    assert_eq!(scene.call(USER, get()).unwrap_err(), gone);
    assert_eq!(end.statistics().established, 0);
}

/// The connection of the Internet end is lost, and the next one has the same sessions, each begun by another end.
#[test]
fn sessions_are_resumed_once_there_is_another_outer_session() {
    let scene = Scene::new();
    let between = Runtime::new().unwrap();
    let relay = TcpRelay::start(&between, scene.listener());
    let mut config = scene.config(relay.address);
    let before = scene.internet_end(&config);
    scene.call_until_there(USER);
    let key = Credentials::new("user", end_to_end(TO_DEVICE), PeerId(3));
    let key = Arc::new(key.unwrap());
    let ask = |end: &LinkedNode, key: &Arc<Credentials>| {
        let asked = end.request(Some(key), get());
        let asked = async { tokio::time::timeout(LIMIT, asked).await.unwrap() };
        scene.runtime.block_on(asked)
    };
    assert_eq!(ask(&before, &key).unwrap().payload, b"the device to 8");
    assert_eq!(before.statistics().established, 2);
    // Both sides of it see that it is gone.
    between.shutdown_timeout(LIMIT);
    scene.runtime.block_on(before.ended());
    assert!(before.has_ended());
    while scene.gateway().itls_statistics().open > 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(before);
    config.gateway = uri(scene.listener()).parse().unwrap();
    let after = scene.internet_end(&config);
    // What is asked shows that the gateway knows the new end, so that it refuses no call to it.
    assert_eq!(ask(&after, &key).unwrap().payload, b"the device to 8");
    assert_eq!(scene.call(USER, get()).unwrap().payload, b"the user to 5");
    let counted = |end: hedgerow::net::Statistics| (end.established, end.resumed);
    assert_eq!(counted(after.statistics()), (2, 2));
    // With the gateway, and twice with the other end.
    assert_eq!(counted(scene.device.statistics()), (5, 2));
}

/// docs/specs/itls.md, "A new outer session": the far end may have forgotten the session.
#[test]
fn session_that_the_device_has_forgotten_begins_anew() {
    let mut config = presets::device();
    let inner = config.endpoint.inner.as_mut().unwrap();
    inner.max_resumable = 0;
    let scene = Scene::with_device(config);
    let between = Runtime::new().unwrap();
    let relay = TcpRelay::start(&between, scene.listener());
    let mut config = scene.config(relay.address);
    let ask = |end: &LinkedNode, number| {
        let key = Credentials::new("user", end_to_end(TO_DEVICE), PeerId(number));
        let key = Arc::new(key.unwrap());
        let asked = end.request(Some(&key), get());
        let asked = async { tokio::time::timeout(LIMIT, asked).await.unwrap() };
        let response = scene.runtime.block_on(asked).unwrap();
        assert_eq!(response.payload, b"the device to 8");
    };
    let before = scene.internet_end(&config);
    scene.call_until_there(USER);
    ask(&before, 3);
    between.shutdown_timeout(LIMIT);
    scene.runtime.block_on(before.ended());
    drop(before);
    config.gateway = uri(scene.listener()).parse().unwrap();
    let after = scene.internet_end(&config);
    // Two hellos that name the session go unanswered, and the third one, with the key, is answered.
    ask(&after, 3);
    assert_eq!(
        (after.statistics().established, after.statistics().resumed),
        (1, 0)
    );
}

/// The program as an Internet end, and what it writes down.
fn listening(scene: &Scene) -> (Child, Lines<BufReader<ChildStdout>>) {
    let port = scene.listener().port();
    let authority = private_file(&format!("itls-listen-{port}.pem"), &scene.certificate);
    let token = private_file(&format!("itls-listen-token-{port}"), TOKEN);
    let mut child = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(["listen", "--mode", "itls", "--via", &uri(scene.listener())])
        .args(["-u", "another", "-k", "0x00112233445566778899aabbccddeeff"])
        .args(["-u", "lamp's", "-k", str::from_utf8(FROM_DEVICE).unwrap()])
        .args(["-e", "go on", "--gateway-authority"])
        .arg(authority)
        .arg("--token-file")
        .arg(token)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (Child(child), lines)
}

/// The program as a device that begins.
fn fetch(scene: &Scene, keys: [&[u8]; 2], uri: &str, more: &[&str]) -> Finished {
    let [hop_key, key] = keys.map(|key| str::from_utf8(key).unwrap());
    let gateway = scene.gateway().itls_devices_addr().unwrap();
    let via = format!("coaps://{gateway}");
    let line = ["fetch", "--mode", "itls", "--via", &via, uri];
    let shown = ["--hop-user", DEVICE, "--hop-key", hop_key, "-u", "lamp's"];
    hedgerow(&[&line[..], &shown, &["-k", key], more].concat())
}

/// The program is the Internet end.
#[test]
fn program_writes_down_what_devices_say() {
    let scene = Scene::new();
    let (_child, mut lines) = listening(&scene);
    assert_eq!(scene.call_until_there(USER).payload, b"go on");
    let post = RequestMessage::new(Code::POST)
        .path("/reports/today")
        .option(OptionNumber::URI_QUERY, "unit=C")
        .payload("21.5\n");
    let response = scene.call(USER, post).unwrap();
    assert_eq!((response.code, response.payload.len()), (Code::CHANGED, 0));
    let refused = scene.call(USER, RequestMessage::new(Code::DELETE).path("/x"));
    assert_eq!(refused.unwrap().code, Code::METHOD_NOT_ALLOWED);
    let mut next =
        || -> serde_json::Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let first = next();
    assert_eq!(
        (&first["identity"], &first["method"]),
        (&"lamp's".into(), &"GET".into())
    );
    let second = next();
    assert_eq!(second["path"], "reports/today");
    assert_eq!(second["query"], "unit=C");
    assert_eq!(second["payload_len"], 5);
    assert_eq!(second["payload"]["data"], "21.5\n");
    assert_eq!(next()["method"], "DELETE");
}

/// The program is both ends, with a gateway between that has a key for the one hop, and a user for the other.
#[test]
fn program_asks_as_a_device_that_begins() {
    let scene = Scene::new();
    let (_child, mut lines) = listening(&scene);
    scene.call_until_there(USER);
    let keys = [HOP_KEY, FROM_DEVICE];
    let finished = fetch(&scene, keys, "coaps://robot/config?unit=C", &[]);
    assert_eq!(
        (finished.code(), finished.stdout()),
        (0, "go on"),
        "{finished:?}"
    );
    // Under the name that the gateway has, whatever the URI's host.
    let more = ["-e", "21.5", "--service", USER];
    let finished = fetch(&scene, keys, "coaps://any/reports/today", &more);
    assert_eq!(
        (finished.code(), finished.stdout()),
        (0, ""),
        "{finished:?}"
    );
    let mut next =
        || -> serde_json::Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    next();
    let get = next();
    assert_eq!(
        (&get["method"], &get["path"]),
        (&"GET".into(), &"config".into())
    );
    assert_eq!(get["query"], "unit=C");
    let post = next();
    assert_eq!(post["identity"], "lamp's");
    assert_eq!(
        (&post["method"], &post["path"]),
        (&"POST".into(), &"reports/today".into())
    );
    assert_eq!(post["payload"]["data"], "21.5");
}

#[test]
fn program_as_a_device_says_who_failed() {
    let scene = Scene::new();
    let keys = [HOP_KEY, FROM_DEVICE];
    for (uri, keys, more, code, told) in [
        (
            "coaps://robot/x",
            keys,
            &[][..],
            6,
            "\"robot\" isn't there now",
        ),
        (
            "coaps://alice/x",
            keys,
            &[],
            7,
            "may call nobody named \"alice\"",
        ),
        (
            "coaps://x/x",
            keys,
            &["--service", "nobody"],
            7,
            "nobody named \"nobody\"",
        ),
        (
            "https://robot/x",
            keys,
            &[],
            2,
            "expected coaps://NAME/path",
        ),
        (
            "coaps://robot/x",
            keys,
            &["--form", "tls"],
            2,
            "are for TLS to a server",
        ),
        ("coaps://robot/x", [HOP_KEY, HOP_KEY], &[], 2, "are one key"),
    ] {
        let finished = fetch(&scene, keys, uri, more);
        assert_eq!(finished.code(), code, "{told}: {finished:?}");
        assert!(finished.stderr().contains(told), "{finished:?}");
        assert!(finished.stdout().is_empty(), "{finished:?}");
    }
    // The mode of before has what it had.
    let gateway = "coaps://127.0.0.1:1";
    let line = [
        "fetch",
        "--via",
        gateway,
        "--hop-user",
        "a",
        "--hop-key",
        "b",
    ];
    let shown = ["-u", "c", "-k", "sixteen bytes of", "https://robot/x"];
    for (more, told) in [(&[][..], "expected --service"), (&["-e", "x"], "-e: ")] {
        let finished = hedgerow(&[&line[..], &shown, more].concat());
        assert_eq!(finished.code(), 2, "{finished:?}");
        assert!(finished.stderr().contains(told), "{finished:?}");
    }
}

/// What either end has of the other is never told, so that both are known by silence: for so long that no load is taken for it.
#[test]
fn program_as_a_device_tells_the_two_keys_apart() {
    let scene = Scene::new();
    let _listening = listening(&scene);
    scene.call_until_there(USER);
    let asked = |keys| fetch(&scene, keys, "coaps://robot/x", &["-B", "12"]);
    let (hop, inner) = std::thread::scope(|scope| {
        let hop = scope.spawn(|| asked([b"no key of the hop", FROM_DEVICE]));
        let inner = scope.spawn(|| asked([HOP_KEY, b"no key of the ends"]));
        (hop.join().unwrap(), inner.join().unwrap())
    });
    assert_eq!(hop.code(), 5, "{hop:?}");
    assert!(
        hop.stderr().contains("refuses --hop-user and --hop-key"),
        "{hop:?}"
    );
    assert_eq!(inner.code(), 4, "{inner:?}");
    assert!(
        inner.stderr().contains("no answer from \"robot\""),
        "{inner:?}"
    );
    assert!(inner.stderr().contains("are -u and -k those"), "{inner:?}");
}

/// For each request.
const LIMIT: Duration = Duration::from_secs(20);
