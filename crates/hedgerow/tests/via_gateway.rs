//! The mode `tunnel` as a whole: the program, a gateway that has another key for the device, and the
//! device.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, dead_code)]

mod support;

use std::fs;
use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hedgerow::core::{PeerId, Psk};
use hedgerow::devices::{DeviceServer, Lamp, Thermometer};
use hedgerow::gateway::{
    Config, Device as Behind, Gateway, Https, Mode, Running, Security, Translate, User,
};
use hedgerow::handshake::Settings;
use hedgerow::net::{
    CarrierFailure, Credentials, ForwardSecrecy, GatewayTls, GatewayUser, Handler, KeyStore,
    LinkedNode, Node, NodeConfig, Passage, RequestFailure, RequestMessage, ResponseMessage,
    SecurityPolicy, ServerRequest, Tunnel, TunnelConfig, TunnelTarget,
};
use hedgerow::presets;
use hedgerow::proxy::Methods;
use hedgerow::record::CipherSuite;
use support::facade::{facade, key_entry};
use support::http::http_get;
use support::{Finished, IDENTITY, KEY, hedgerow, loopback};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

const GATEWAY_KEY: &str = "the gateway's own key";
const TOKEN: &str = "0123456789abcdef";

fn end_to_end(key: &str) -> Psk {
    Psk::new(key.as_bytes()).unwrap().into_end_to_end().unwrap()
}

/// A device with two keys and a gateway with one of them, in a runtime of their own.
struct Setup {
    runtime: Runtime,
    gateway: Option<Running>,
    device: SocketAddr,
    _node: Option<Node>,
}

impl Setup {
    fn new(handler: impl Handler) -> Self {
        Self::with_config(presets::device(), handler, |config| config)
    }

    fn with_config(
        device: NodeConfig,
        handler: impl Handler,
        change: impl FnOnce(Config) -> Config,
    ) -> Self {
        let runtime = Runtime::new().unwrap();
        let keys = KeyStore::new();
        let gateway_key = Psk::new(GATEWAY_KEY.as_bytes()).unwrap();
        keys.insert("gateway", gateway_key, PeerId(1)).unwrap();
        keys.insert(IDENTITY, end_to_end(KEY), PeerId(2)).unwrap();
        let node = Node::bind_server(loopback(), device, keys, handler);
        let node = runtime.block_on(node).unwrap();
        let mut setup = Self::with_device(runtime, node.local_addr(), change);
        setup._node = Some(node);
        setup
    }

    fn with_device(
        runtime: Runtime,
        device: SocketAddr,
        change: impl FnOnce(Config) -> Config,
    ) -> Self {
        let security = || Security::psk("gateway", GATEWAY_KEY.as_bytes()).unwrap();
        let both = Behind::new("it", format!("coaps://{device}"), security())
            .with_methods(Methods::ALL)
            .with_modes(&[Mode::Terminate, Mode::Tunnel, Mode::Translate]);
        let other = Security::psk("gateway", b"one more key of its own").unwrap();
        let shut = Behind::new("shut", "coaps://127.0.0.1:9", other);
        let config = Config::default()
            .with_http(loopback())
            .with_device(both)
            .with_device(shut)
            .with_user(User::with_token("robot", TOKEN.as_bytes()))
            .with_translate(Translate::new(loopback()))
            .with_udp_carriers(loopback());
        let gateway = runtime.block_on(Gateway::start(change(config))).unwrap();
        Self {
            runtime,
            gateway: Some(gateway),
            device,
            _node: None,
        }
    }

    fn gateway(&self) -> &Running {
        self.gateway.as_ref().unwrap()
    }

    fn http(&self) -> SocketAddr {
        self.gateway().http_addr().unwrap()
    }

    /// The device by its name at the gateway.
    fn uri(&self, path: &str) -> String {
        format!("coaps://it:{}{path}", self.device.port())
    }

    /// Asks through the gateway, with the token and the right key.
    fn ask(&self, arguments: &[&str]) -> Finished {
        self.ask_with(arguments, KEY, TOKEN)
    }

    /// Asks in mode `translate`, with the right key.
    fn ask_translated(&self, arguments: &[&str]) -> Finished {
        let gateway = format!("tcp://{}", self.gateway().translate_addr().unwrap());
        let shown = ["-u", IDENTITY, "-k", KEY, "--end-to-end"];
        let way = ["--via", &gateway, "--mode", "translate"];
        hedgerow(&[arguments, &shown[..], &way[..]].concat())
    }

    fn ask_with(&self, arguments: &[&str], key: &str, token: &str) -> Finished {
        let gateway = format!("http://{}", self.http());
        let token = file(&format!("token-{token}-{}", self.device.port()), token);
        let shown = ["-u", IDENTITY, "-k", key, "--end-to-end"];
        let way = [
            "--via",
            &gateway,
            "--mode",
            "tunnel",
            "--token-file",
            &token,
        ];
        hedgerow(&[arguments, &shown[..], &way[..]].concat())
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            self.runtime.block_on(gateway.shutdown());
        }
    }
}

/// A private file of this test's own.
fn file(name: &str, content: &str) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).unwrap();
    #[cfg(unix)]
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn device_is_read_and_written_past_a_gateway_that_terminates_for_others() {
    let setup = Setup::new(DeviceServer::new(Lamp::new()));
    let state = setup.uri("/state");
    let put = setup.ask(&["put", "-e", "on", "-t", "text", &state]);
    assert_eq!(put.code(), 0, "{put:?}");
    let told = "end to end in mode tunnel through http://127.0.0.1:";
    assert!(put.stderr().contains(told), "{put:?}");
    assert!(put.stderr().contains("TLS_ECDHE_PSK"), "{put:?}");
    let get = setup.ask(&["get", &state]);
    assert_eq!((get.code(), get.stdout(), get.stderr()), (0, "on", ""));
    // By its address too.
    let by_address = format!("coaps://{}/state", setup.device);
    let json = setup.ask(&["get", "--json", &by_address]).json();
    assert_eq!(json["payload"]["data"], "on");
    assert_eq!(json["security"]["forward_secrecy"], true);
    assert_eq!(json["via"]["mode"], "tunnel");
    assert_eq!(json["via"]["carrier"], "http/1.1");
    assert_eq!(json["via"]["address"], setup.http().to_string());
    assert!(json["address"].is_null());
    // The same device, with the gateway's key.
    let terminated = http_get(setup.http(), "/devices/it/state");
    assert_eq!((terminated.status, terminated.text()), (200, "on"));
    let statistics = setup.gateway().tunnel_statistics();
    assert_eq!(statistics.opened, 3);
    assert!(statistics.traffic.datagrams_up > 0 && statistics.traffic.datagrams_down > 0);
}

#[test]
fn records_are_translated_in_either_form() {
    let setup = Setup::new(DeviceServer::new(Lamp::new()));
    let state = setup.uri("/state");
    let put = setup.ask_translated(&["put", "-e", "on", "-t", "text", &state]);
    assert_eq!(put.code(), 0, "{put:?}");
    let told = "end to end in mode translate through tcp://127.0.0.1:";
    assert!(put.stderr().contains(told), "{put:?}");
    assert!(put.stderr().contains("AES_128_CCM"), "{put:?}");
    let long = ["get", "--json", "--form", "long", &state];
    let json = setup.ask_translated(&long).json();
    assert_eq!(json["payload"]["data"], "on");
    assert_eq!(json["via"]["mode"], "translate");
    assert_eq!(json["via"]["carrier"], "tcp/long");
    assert_eq!(json["security"]["forward_secrecy"], true);
    assert_eq!(setup.gateway().translate_statistics().established, 2);
}

#[test]
fn what_a_translating_gateway_refuses_is_told() {
    let setup = Setup::new(DeviceServer::new(Thermometer));
    let told = |asked: Finished, code: i32, text: &str| {
        assert_eq!(asked.code(), code, "{asked:?}");
        assert!(asked.stderr().contains(text), "{asked:?}");
    };
    for uri in ["coaps://other/", "coaps://shut:9/"] {
        told(
            setup.ask_translated(&["get", uri]),
            7,
            "or not in mode translate",
        );
    }
    let temperature = setup.uri("/temperature");
    let with_token = ["get", "--token-file", "x", &temperature];
    told(setup.ask_translated(&with_token), 2, "--token-file");
    let with_id = ["get", "--connection-id", &temperature];
    told(setup.ask_translated(&with_id), 2, "--connection-id");
    let shown = [
        "get",
        &temperature,
        "-u",
        IDENTITY,
        "-k",
        KEY,
        "--end-to-end",
    ];
    let ask = |way: &[&str]| hedgerow(&[&shown[..], way].concat());
    let http = setup.http();
    let port = format!("tcp://{http}");
    told(
        ask(&["--via", &port, "--mode", "translate", "-B", "4"]),
        6,
        "speaks HTTP and not mode translate: is it the address that [translate]",
    );
    // And one that closes, as a gateway does that has no room.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("tcp://{}", other.local_addr().unwrap());
    let closing = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    told(
        ask(&["--via", &port, "--mode", "translate", "-B", "4"]),
        6,
        "it closed without an answer",
    );
    closing.join().unwrap();
    let url = format!("http://{http}");
    told(
        ask(&["--via", &url, "--mode", "translate"]),
        2,
        "expected tcp://",
    );
    told(
        ask(&["--via", &url, "--mode", "tunnel", "--form", "long"]),
        2,
        "--form",
    );
}

#[test]
fn key_file_says_which_key_is_for_which_way() {
    let setup = Setup::new(DeviceServer::new(Thermometer));
    let entry = |uri: &str, identity: &str, key: &str, rest: &str| {
        format!("[[key]]\nuri = \"{uri}\"\nidentity = \"{identity}\"\nkey = \"{key}\"\n{rest}\n")
    };
    let behind = setup.uri("");
    let straight = format!("coaps://{}", setup.device);
    let text = entry(&behind, IDENTITY, KEY, "end_to_end = true")
        + &entry(&straight, "gateway", GATEWAY_KEY, "");
    let keys = file("ways.toml", &text);
    let token = file("ways-token", TOKEN);
    let gateway = format!("http://{}", setup.http());
    let way = [
        "--via",
        &gateway,
        "--mode",
        "tunnel",
        "--token-file",
        &token,
    ];
    let temperature = setup.uri("/temperature");
    let asked = hedgerow(&[&["get", &temperature, "--keys", &keys], &way[..]].concat());
    assert_eq!((asked.code(), asked.stdout()), (0, "21.0"), "{asked:?}");
    let temperature = format!("{straight}/temperature");
    let asked = hedgerow(&["get", &temperature, "--keys", &keys]);
    assert_eq!((asked.code(), asked.stdout()), (0, "21.0"), "{asked:?}");
    // The other way round the file's key isn't shown.
    let asked = hedgerow(&[&["get", &temperature, "--keys", &keys], &way[..]].concat());
    assert_eq!(asked.code(), 2, "{asked:?}");
}

#[test]
fn gateway_over_https_is_known_by_its_certificate() {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let https = Https::from_pem(loopback(), certificate.as_bytes(), key.as_bytes()).unwrap();
    let device = DeviceServer::new(Thermometer);
    let setup = Setup::with_config(presets::device(), device, |mut config| {
        config.https = Some(https);
        config
    });
    let port = setup.gateway().https_addr().unwrap().port();
    let (gateway, temperature) = (
        format!("https://localhost:{port}"),
        setup.uri("/temperature"),
    );
    let authority = file("via-authority.pem", &certificate);
    let token = file("https-token", TOKEN);
    let ask = |more: &[&str]| {
        let key = ["-u", IDENTITY, "-k", KEY, "--end-to-end", "--json"];
        let way = ["get", &temperature, "--via", &gateway, "--mode", "tunnel"];
        hedgerow(&[&way, &key[..], &["--token-file", &token], more].concat())
    };
    let trusted = ask(&["--gateway-authority", &authority]);
    assert_eq!(trusted.code(), 0, "{trusted:?}");
    assert_eq!(trusted.json()["via"]["carrier"], "https/2");
    let stranger = ask(&[]);
    assert_eq!(stranger.code(), 5, "{stranger:?}");
    let json = stranger.json();
    let message = json["error"]["message"].as_str().unwrap();
    assert!(message.contains("--gateway-authority FILE"), "{message}");
    assert_eq!(setup.gateway().tunnel_statistics().opened, 1);
}

#[test]
fn each_refusal_says_whose_it_is() {
    let setup = Setup::new(DeviceServer::new(Thermometer));
    let temperature = setup.uri("/temperature");
    let told = |finished: &Finished, code: i32, text: &str| {
        assert_eq!(finished.code(), code, "{finished:?}");
        assert!(finished.stderr().contains(text), "{finished:?}");
    };
    let wrong_token = setup.ask_with(&["get", &temperature], KEY, "fedcba9876543210");
    told(&wrong_token, 5, "doesn't know this token");
    let port = setup.device.port();
    for uri in [
        format!("coaps://other:{port}/"),
        "coaps://it:1/".to_owned(),
        "coaps://shut:9/".to_owned(),
    ] {
        told(&setup.ask(&["get", &uri]), 7, "or not in mode tunnel");
    }
    let wrong_key = ["get", "-B", "4", &temperature];
    let wrong_key = setup.ask_with(&wrong_key, "sixteen byte kez", TOKEN);
    told(&wrong_key, 5, "credentials refused or not answered by it:");
}

#[test]
fn silence_is_the_device_s_where_the_gateway_answers() {
    let asleep = UdpSocket::bind(loopback()).unwrap();
    let address = asleep.local_addr().unwrap();
    let setup = Setup::with_device(Runtime::new().unwrap(), address, |config| config);
    let silent = setup.ask(&["get", "-B", "2", &setup.uri("/temperature")]);
    assert_eq!(silent.code(), 4, "{silent:?}");
    assert!(
        silent.stderr().contains("The gateway answered"),
        "{silent:?}"
    );
    // Something did come to the device.
    asleep.set_nonblocking(true).unwrap();
    assert!(asleep.recv(&mut [0; 2_000]).unwrap() > 0);
}

#[test]
fn device_without_forward_secrecy_has_to_be_permitted_and_is_named() {
    let mut plain = presets::device();
    plain.endpoint.handshake = Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM_8]);
    let setup = Setup::with_config(plain, DeviceServer::new(Thermometer), |config| config);
    let temperature = setup.uri("/temperature");
    let refused = setup.ask(&["get", "-B", "4", &temperature]);
    assert_eq!(refused.code(), 6, "{refused:?}");
    assert!(
        refused.stderr().contains("--allow-no-forward-secrecy"),
        "{refused:?}"
    );
    assert_eq!(refused.stdout(), "");
    let permitted = ["get", &temperature, "--allow-no-forward-secrecy"];
    let told = setup.ask(&permitted);
    assert_eq!((told.code(), told.stdout()), (0, "21.0"));
    assert!(told.stderr().contains("no forward secrecy"), "{told:?}");
    let json = setup.ask(&[&permitted[..], &["--json"]].concat()).json();
    assert_eq!(json["security"]["forward_secrecy"], false);
}

#[test]
fn gateway_that_stops_in_the_middle_ends_what_waits() {
    let asked = Arc::new(Notify::new());
    let came = Arc::clone(&asked);
    let handler = move |_: ServerRequest| {
        let came = Arc::clone(&came);
        async move {
            came.notify_one();
            std::future::pending::<ResponseMessage>().await
        }
    };
    let mut setup = Setup::with_config(presets::device(), handler, |mut config| {
        config.timeouts.shutdown = Duration::from_millis(100);
        config
    });
    let uri = format!("http://{}", setup.http()).parse().unwrap();
    let mut config = TunnelConfig::new(uri, GatewayTls::nobody().unwrap());
    config.user = Some(GatewayUser::with_token(TOKEN).unwrap());
    let target = TunnelTarget::new("it", setup.device.port()).unwrap();
    let gateway = setup.gateway.take().unwrap();
    setup.runtime.block_on(async {
        let tunnel = Tunnel::open(&config, &target).await.unwrap();
        let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required);
        let node = LinkedNode::new(tunnel.link, NodeConfig::default().with_security(policy));
        let key = Credentials::new(IDENTITY, end_to_end(KEY), PeerId(1)).unwrap();
        let key = Arc::new(key);
        let get = RequestMessage::new(hedgerow::coap::Code::GET);
        let asking = tokio::spawn({
            let node = node.clone();
            async move { node.request(Some(&key), get).await }
        });
        asked.notified().await;
        gateway.shutdown().await;
        let outcome = asking.await.unwrap();
        assert!(
            matches!(
                outcome,
                Err(RequestFailure::Carrier(
                    CarrierFailure::Closed | CarrierFailure::Truncated
                ))
            ),
            "{outcome:?}"
        );
        node.close().await;
    });
}

/// Any HTTP program reaches the device end to end: HTTP ends on the user's own machine.
#[test]
fn facade_maps_http_for_the_user_and_the_gateway_carries_datagrams() {
    let setup = Setup::new(DeviceServer::new(Lamp::new()));
    let wrong = format!("coaps://other:{}", setup.device.port());
    let (other_key, end_to_end) = ("some other sixteen bytes", "end_to_end = true");
    let text = key_entry(&setup.uri(""), IDENTITY, KEY, end_to_end)
        + &key_entry(&wrong, IDENTITY, other_key, end_to_end)
        + &key_entry("coaps://127.0.0.1:1", "gateway", GATEWAY_KEY, "");
    let keys = file("facade.toml", &text);
    let token = file("facade-token", TOKEN);
    let tunnel = format!("http://{}", setup.http());
    let translate = format!("tcp://{}", setup.gateway().translate_addr().unwrap());
    for way in [
        &["--mode", "tunnel", "--via", &tunnel, "--token-file", &token][..],
        &["--mode", "auto", "--via", &tunnel, "--token-file", &token],
        &["--mode", "translate", "--via", &translate],
        &["--mode", "translate", "--via", &translate, "--form", "long"],
    ] {
        let (_child, http, lines) = facade(&[way, &["--keys", &keys]].concat(), 2);
        let listed = format!("/devices/it/  {}", setup.uri(""));
        assert!(lines[0].contains(&listed), "{lines:?}");
        assert!(lines[1].contains("/devices/other/"), "{lines:?}");
        let text = "Content-Type: text/plain\r\n";
        let put = support::http::http(http, "PUT", "/devices/it/state", text, b"on");
        assert_eq!(put.status, 204, "{way:?}");
        let get = http_get(http, "/devices/it/state");
        assert_eq!((get.status, get.text()), (200, "on"));
        let refused = http_get(http, "/devices/other/state");
        assert_eq!(refused.status, 502);
        assert!(
            refused
                .text()
                .contains("the gateway before the device has no such device"),
            "{}",
            refused.text()
        );
        assert_eq!(http_get(http, "/devices/nobody/state").status, 404);
    }
    // One way serves all requests of a facade.
    assert_eq!(setup.gateway().tunnel_statistics().opened, 2);
    assert_eq!(setup.gateway().translate_statistics().accepted, 2);
    assert_eq!(setup.gateway().statistics().established, 0);
}

#[test]
fn facade_says_what_it_leaves_out_and_tells_devices_of_one_host_apart() {
    let end_to_end = "end_to_end = true";
    let text = key_entry("coaps://it", IDENTITY, KEY, end_to_end)
        + &key_entry(
            "coaps://it:4000",
            IDENTITY,
            "some other sixteen bytes",
            end_to_end,
        )
        + "[[key]]\nuri = \"coaps://valve\"\nauthority = \"ca.pem\"\nend_to_end = true\n";
    let keys = file("facade-names.toml", &text);
    let way = ["--mode", "translate", "--via", "tcp://127.0.0.1:1"];
    let (mut child, _, lines) = facade(&[&way, &["--keys", &keys][..]].concat(), 2);
    assert!(
        lines[0].contains("/devices/it-5684/  coaps://it:5684"),
        "{lines:?}"
    );
    assert!(
        lines[1].contains("/devices/it-4000/  coaps://it:4000"),
        "{lines:?}"
    );
    let mut stderr = std::io::BufReader::new(child.0.stderr.take().unwrap());
    let mut said = String::new();
    std::io::BufRead::read_line(&mut stderr, &mut said).unwrap();
    assert!(said.contains("coaps://valve:5684: left out"), "{said}");
}

#[test]
fn facade_takes_no_key_that_a_gateway_may_have_and_listens_on_this_host_alone() {
    let hop = format!("[[key]]\nuri = \"coaps://it\"\nidentity = \"i\"\nkey = \"{KEY}\"\n");
    let keys = file("facade-hop.toml", &hop);
    let way = [
        "--via",
        "http://127.0.0.1:1",
        "--mode",
        "tunnel",
        "--keys",
        &keys,
    ];
    let refused = hedgerow(&[&["facade"], &way[..]].concat());
    assert_eq!(refused.code(), 2);
    assert!(
        refused
            .stderr()
            .contains("expected entries with end_to_end"),
        "{refused:?}"
    );
    let listen = ["--listen", "0.0.0.0:0"];
    let refused = hedgerow(&[&["facade"], &way[..], &listen].concat());
    assert_eq!(refused.code(), 2);
    assert!(
        refused.stderr().contains("expected a loopback address"),
        "{refused:?}"
    );
    let refused = hedgerow(&["facade", "--keys", &keys]);
    assert_eq!(refused.code(), 2);
    assert!(
        refused.stderr().contains("expected --via GATEWAY"),
        "{refused:?}"
    );
    // In code too: a gateway behind another one holds end-to-end keys and no others.
    let config = |key: Psk| {
        let uri = "http://127.0.0.1:1".parse().unwrap();
        let security = Security::Psk {
            identity: b"i".to_vec(),
            key,
            is_shared: false,
        };
        let mut config = Config::default().with_device(Behind::new("it", "coaps://it", security));
        config.via = Some(hedgerow::gateway::Via {
            passage: Passage::Tunnel(TunnelConfig::new(uri, GatewayTls::nobody().unwrap())),
            forward_secrecy: ForwardSecrecy::Required,
        });
        config
    };
    assert_eq!(config(end_to_end(KEY)).check(), Ok(()));
    let refused = config(Psk::new(KEY.as_bytes()).unwrap()).check();
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("a key that a gateway may have")
    );
}
