//! `hedgerow` without a command: three simulated devices and a gateway in front of them.

use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use hedgerow::devices::{Device, DeviceServer, Lamp, Meter, Thermometer};
use hedgerow::presets;
use hedgerow_core::{PeerId, Psk};
use hedgerow_gateway::{Config, Gateway, Mode, Running, Security, StartError, Translate, User};
use hedgerow_net::{Handler, KeyStore, Node, StreamServer};
use hedgerow_proxy::Methods;

use crate::demo_adapt::{self, Listeners};
use crate::demo_itls::Certificate;
use crate::demo_keys::{self, END_TO_END_IDENTITY, IDENTITY, KeyFiles, KeyText, ServerKeys};
use crate::demo_leg::{SERVICE, TARIFF, Tariff};
use crate::demo_modes::{self, Stage};
use crate::exit::{Class, Failure};
use crate::gateway;
use crate::shutdown::Shutdown;

/// Runs the demonstration until it is asked to end.
pub(crate) async fn run(listen: SocketAddr) -> Result<(), Failure> {
    let mut shutdown = Shutdown::listen().map_err(|error| local(&error))?;
    let lamp = Methods::GET | Methods::PUT | Methods::POST;
    let meter = Methods::GET | Methods::PUT | Methods::DELETE;
    let devices = [
        Simulated::start("thermometer", Methods::GET, Thermometer).await?,
        Simulated::start("lamp", lamp, Lamp::new()).await?,
        Simulated::start("meter", meter, Meter::new()).await?,
    ];
    let token = demo_keys::draw().map_err(|error| local(&error))?;
    let tariff = Tariff::start().await?;
    let certificate = Certificate::draw()?;
    let gateway = start_gateway(listen, &devices, &token, &tariff, &certificate).await?;
    let listening = Listening::of(&gateway, listen)?;
    let [thermometer, ..] = &devices;
    let modes = demo_modes::show(&Stage {
        http: reachable(listening.http),
        translate: listening.translate,
        tls: listening.tls,
        itls: listening.itls,
        certificate: &certificate.pem,
        leg: listening.leg,
        tariff: &tariff,
        token: &token,
        device: thermometer.name,
        port: thermometer.node.local_addr().port(),
        identity: END_TO_END_IDENTITY,
        key: &thermometer.end_to_end_key,
    })
    .await?;
    // Written last: whatever fails before leaves nothing behind.
    let keys = devices.each_ref().map(Simulated::keys);
    let [of_thermometer, of_lamp, _] = &devices;
    let others = [
        (END_TO_END_KEYS[0], of_thermometer.end_to_end_key.as_bytes()),
        (END_TO_END_KEYS[1], of_lamp.end_to_end_key.as_bytes()),
        (TOKEN, token.as_bytes()),
        (AUTHORITY, certificate.pem.as_bytes()),
        (HOP_KEY, tariff.hop_key.as_bytes()),
        (TARIFF_KEY, tariff.key.as_bytes()),
    ];
    let files = KeyFiles::write(&keys, &others).map_err(|error| local(&error))?;
    print(&invitation(&listening, &devices, &files, &modes));
    shutdown.requested().await;
    print("\nClosing.\n");
    drop(files);
    gateway.shutdown().await;
    drop(tariff);
    for device in devices {
        device.node.close().await;
        device.tcp.close().await;
    }
    Ok(())
}

/// Where the gateway listens.
struct Listening {
    http: SocketAddr,
    translate: SocketAddr,
    tls: Listeners,
    itls: SocketAddr,
    leg: SocketAddr,
}

impl Listening {
    fn of(gateway: &Running, listen: SocketAddr) -> Result<Self, Failure> {
        let absent = || Failure::new(Class::Local, "the gateway doesn't listen for each mode");
        Ok(Self {
            http: gateway.http_addr().unwrap_or(listen),
            translate: gateway.translate_addr().ok_or_else(absent)?,
            tls: Listeners::of(gateway.tls_listener_addrs()).ok_or_else(absent)?,
            itls: gateway.itls_addr().ok_or_else(absent)?,
            leg: gateway.leg_addr().ok_or_else(absent)?,
        })
    }
}

/// A simulated device that runs.
struct Simulated {
    name: &'static str,
    methods: Methods,
    node: Node,
    /// The same device over TLS.
    tcp: StreamServer,
    /// What people use. The gateway has a key of its own, which never leaves the process.
    key: KeyText,
    /// What people use through the gateway, which hasn't got it.
    end_to_end_key: KeyText,
    gateway_key: KeyText,
}

impl Simulated {
    async fn start(
        name: &'static str,
        methods: Methods,
        device: impl Device + Send + 'static,
    ) -> Result<Self, Failure> {
        let draw = || demo_keys::draw().map_err(|error| local(&error));
        let (key, end_to_end_key, gateway_key) = (draw()?, draw()?, draw()?);
        let store = KeyStore::new();
        for (identity, key, peer) in [(GATEWAY_IDENTITY, &gateway_key, 1), (IDENTITY, &key, 2)] {
            let psk = Psk::new(key.as_bytes()).map_err(|error| misuse(&error))?;
            store
                .insert(identity, psk, PeerId(peer))
                .map_err(|error| Failure::new(Class::Local, error.to_string()))?;
        }
        let psk = Psk::new(end_to_end_key.as_bytes())
            .and_then(Psk::into_end_to_end)
            .map_err(|error| misuse(&error))?;
        store
            .insert(END_TO_END_IDENTITY, psk, PeerId(3))
            .map_err(|error| Failure::new(Class::Local, error.to_string()))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Arc::new(DeviceServer::new(device));
        let handler = move |request| {
            let server = Arc::clone(&server);
            async move { server.handle(request).await }
        };
        let config = presets::device();
        let node = Node::bind_server(address, config, store.clone(), handler.clone())
            .await
            .map_err(|error| local(&error))?;
        // Ends with the node, as all its streams do.
        let (streams, ends, answers) = (node.clone(), store.clone(), handler.clone());
        let adapted = presets::adapted_device(demo_adapt::names(name));
        tokio::spawn(async move { adapted.serve(&streams, ends, answers).await });
        let tcp = StreamServer::bind(address, presets::stream_device(), store, handler)
            .await
            .map_err(|error| local(&error))?;
        Ok(Self {
            name,
            methods,
            node,
            tcp,
            key,
            end_to_end_key,
            gateway_key,
        })
    }

    fn keys(&self) -> ServerKeys<'_> {
        ServerKeys {
            name: self.name,
            uris: vec![self.uri(), self.tcp_uri()],
            key: &self.key,
            behind_gateway: (self.uri_at_gateway(), &self.end_to_end_key),
        }
    }

    /// Its name, as the gateway's configuration has it, with its port.
    fn uri_at_gateway(&self) -> String {
        format!("coaps://{}:{}", self.name, self.node.local_addr().port())
    }

    fn uri(&self) -> String {
        format!("coaps://{}", self.node.local_addr())
    }

    fn tcp_uri(&self) -> String {
        format!("coaps+tcp://{}", self.tcp.local_addr())
    }
}

async fn start_gateway(
    listen: SocketAddr,
    devices: &[Simulated],
    token: &str,
    tariff: &Tariff,
    certificate: &Certificate,
) -> Result<Running, Failure> {
    let user = User::with_token(IDENTITY, token.as_bytes());
    let translate = Translate::new((Ipv4Addr::LOCALHOST, 0).into());
    let mut config = Config::default()
        .with_http(listen)
        .with_user(user)
        .with_translate(translate)
        .with_udp_carriers((Ipv4Addr::LOCALHOST, 0).into())
        .with_itls(certificate.listener()?)
        .with_leg(tariff.leg().map_err(|error| misuse(&error))?);
    let names: Vec<_> = devices.iter().map(|device| device.name).collect();
    for listener in Listeners::configure(&names) {
        config = config.with_tls_listener(listener);
    }
    for device in devices {
        let security = Security::psk(GATEWAY_IDENTITY, device.gateway_key.as_bytes())
            .map_err(|error| misuse(&error))?;
        let described = hedgerow_gateway::Device::new(device.name, device.uri(), security);
        let examples = examples(device.name).iter();
        let described = described.with_modes(&[
            Mode::Terminate,
            Mode::Tunnel,
            Mode::Translate,
            Mode::TranslateDevice,
            Mode::Itls,
        ]);
        let described = examples.fold(described.with_methods(device.methods), |it, example| {
            it.with_example(*example)
        });
        config = config.with_device(described);
    }
    Gateway::start(config).await.map_err(|error| match &error {
        StartError::Listen { address, error } if error.kind() == ErrorKind::AddrInUse => {
            let (ip, port) = (address.ip(), address.port());
            let next = SocketAddr::new(ip, port.checked_add(1).unwrap_or(8_080));
            let any = SocketAddr::new(ip, 0);
            let message = format!(
                "{address} is taken by another program: choose another port with --listen {next}, \
                 or any that is free with --listen {any}"
            );
            Failure::new(Class::Local, message)
        }
        _ => gateway::explain(error),
    })
}

/// Says what runs, and what to try.
fn invitation(
    listening: &Listening,
    devices: &[Simulated; 3],
    files: &KeyFiles,
    modes: &str,
) -> String {
    let [behind, ..] = devices.each_ref().map(Simulated::uri_at_gateway);
    let Listening {
        http,
        translate,
        tls,
        itls,
        leg,
    } = listening;
    let adapted = tls.coap;
    let tls_clients = tls_clients(*tls, devices, files);
    let [token, authority] = [TOKEN, AUTHORITY].map(|name| quoted(&files.other(name)));
    let [hop_key, tariff_key] =
        [HOP_KEY, TARIFF_KEY].map(|name| quoted_argument(&files.other(name)));
    let [thermometer, lamp, meter] = devices.each_ref().map(Simulated::uri);
    let [_, _, meter_tcp] = devices.each_ref().map(Simulated::tcp_uri);
    let program = std::env::current_exe().unwrap_or_else(|_| "hedgerow".into());
    let program = quoted(&program);
    let keys = quoted(files.all());
    let bare = quoted(&files.of("thermometer"));
    let reachable = reachable(*http);
    let place = thermometer.trim_start_matches("coaps://");
    format!(
        r#"Hedgerow: three simulated devices, and a gateway from HTTP in front of them.

  gateway      http://{http}/
  thermometer  {thermometer}
  lamp         {lamp}
  meter        {meter}
  keys         {keys}
               drawn for this run, readable by you alone, removed at the end

Through the gateway, which speaks DTLS with each device under that device's own key:

  curl http://{http}/devices/thermometer/temperature
  curl -H 'Accept: application/json' http://{http}/devices/thermometer/temperature
  curl -X PUT -H 'Content-Type: text/plain' -d on http://{http}/devices/lamp/state
  curl http://{http}/devices/lamp/state
  curl http://{http}/devices/meter/history
  head -c 100000 /dev/urandom > image
  curl -T image -H 'Content-Type: application/octet-stream' http://{http}/devices/meter/firmware
  curl http://{http}/devices/meter/firmware; echo; sha256sum image

Straight to a device:

  {program} get --keys {keys} {thermometer}/temperature
  {program} get --keys {keys} {lamp}/.well-known/core
  {program} put --keys {keys} {lamp}/brightness -t text -e 40

The same over TCP and TLS; each device listens there too, at a port of its own:

  {program} get --keys {keys} {meter_tcp}/reading

Through the gateway, which has another key and reads nothing, in each of its modes:

  {program} get --keys {keys} --via http://{reachable} --mode tunnel --token-file {token} {behind}/temperature
  {program} get --keys {keys} --via tcp://{translate} --mode translate {behind}/temperature
  {program} get --keys {keys} --via tcp://{adapted} --mode translate-device {behind}/temperature
  {program} get --keys {keys} --via http://{reachable} --mode auto --token-file {token} {behind}/temperature
  {program} get --keys {keys} --via https://{itls} --mode itls --gateway-authority {authority} --token-file {token} {behind}/temperature

{tls_clients}
The other way, a device asks an HTTPS server through the gateway, with TLS inside DTLS:

  {program} fetch --via coaps://{leg} --service {SERVICE} --hop-user {IDENTITY} --hop-key {hop_key} -u {END_TO_END_IDENTITY} -k {tariff_key} https://{SERVICE}.example/{TARIFF}

What the gateway saw of one GET in each mode, asked just now:

{modes}
With other programs (whoever else uses this machine can read the key on their command lines):

  coap-client-openssl -m get -u {IDENTITY} -k "$(cat {bare})" {thermometer}/temperature
  openssl s_client -dtls1_2 -connect {place} -cipher PSK-AES128-CCM8 -psk_identity {IDENTITY} -psk "$(od -An -v -tx1 {bare} | tr -d ' \n')"

Ctrl-C ends it.
"#
    )
}

/// Says how TLS clients that know of no gateway reach the devices through it: with HTTP, and with CoAP.
fn tls_clients(listening: Listeners, devices: &[Simulated; 3], files: &KeyFiles) -> String {
    let [thermometer, lamp, _] = devices.each_ref().map(|device| device.name);
    let [of_thermometer, of_lamp] = END_TO_END_KEYS.map(|name| quoted(&files.other(name)));
    let asked = |path: &str, device: &str| {
        format!(r"'GET {path} HTTP/1.1\r\nHost: {device}\r\nConnection: close\r\n\r\n'")
    };
    let Listeners { http, coap } = listening;
    let client = format!("openssl s_client -quiet -tls1_2 -connect {http}");
    let key = |file: &str| format!(r#"-psk "$(od -An -v -tx1 {file} | tr -d ' \n')""#);
    format!(
        r#"Through the gateway with TLS programs that know of none: it carries their records to the device, which adapts to them.
Who asks for no name reaches the {thermometer}, who asks for one that device, and each has the right one by its key:

  printf {} | {client} -psk_identity {END_TO_END_IDENTITY} {}
  printf {} | {client} -servername {lamp} -psk_identity {END_TO_END_IDENTITY} {}
  coap-client-openssl -m get -u {END_TO_END_IDENTITY} -k "$(cat {of_thermometer})" coaps+tcp://{coap}/temperature
"#,
        asked("/temperature", thermometer),
        key(&of_thermometer),
        asked("/state", lamp),
        key(&of_lamp),
    )
}

/// Where a gateway is reached from this host that may listen at all addresses.
fn reachable(http: SocketAddr) -> SocketAddr {
    match http {
        SocketAddr::V4(at) if at.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, at.port()).into(),
        SocketAddr::V6(at) if at.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, at.port()).into(),
        other => other,
    }
}

/// Quotes what stands for a file's content on the command line.
fn quoted_argument(path: &Path) -> String {
    quoted(Path::new(&format!("@{}", path.display())))
}

/// Quotes a path for a shell where it needs it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "/._-+@%,:".contains(char);
    if text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Paths that the gateway's page offers.
fn examples(name: &str) -> &'static [&'static str] {
    match name {
        "thermometer" => &["/temperature"],
        "lamp" => &["/state", "/brightness"],
        _ => &["/reading", "/history"],
    }
}

/// Writes to standard output. Where that can't be written to, nobody reads it.
fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

fn local(error: &io::Error) -> Failure {
    Failure::new(Class::Local, error.to_string())
}

fn misuse(error: &hedgerow_core::Misuse) -> Failure {
    Failure::new(Class::Local, error.to_string())
}

const GATEWAY_IDENTITY: &str = "gateway";

/// Files beside the keys: what the gateway knows the user by, its certificate, and what a device shows the gateway and
/// then the server.
const TOKEN: &str = "token";
const AUTHORITY: &str = "gateway.pem";
const HOP_KEY: &str = "hop.key";
const TARIFF_KEY: &str = "tariff.key";

/// Files with the bare keys that the gateway hasn't, for other programs: the thermometer's, the lamp's.
const END_TO_END_KEYS: [&str; 2] = ["thermometer.end-to-end.key", "lamp.end-to-end.key"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_a_shell() {
        assert_eq!(
            quoted(Path::new("/run/hedgerow-0a/keys.toml")),
            "/run/hedgerow-0a/keys.toml"
        );
        assert_eq!(quoted(Path::new("/my files/it's")), r"'/my files/it'\''s'");
    }
}
