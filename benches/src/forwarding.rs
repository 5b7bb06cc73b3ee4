//! What stands between two ends and is measured: a gateway in all of its modes, and a plain relay of TCP
//! connections. Each is a process of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_core::Psk;
use hedgerow_gateway::{
    Config, Device, Gateway, Https, Itls, Leg, LegPeer, LegService, Mode, Running, Security,
    TlsListener, Translate, User,
};
use hedgerow_handshake::Settings;
use hedgerow_net::NodeConfig;
use hedgerow_record::{CipherSuite, LegForm, StreamApplication};
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509Name};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::handshake::IDENTITY;

/// The argument of [`serve`] for a gateway; the addresses follow that [`start_gateway`] takes.
pub const GATEWAY: &str = "gateway";

/// The same for a gateway whose hops in mode `itls` have the light outer layer.
pub const LIGHT_GATEWAY: &str = "light-gateway";

/// The argument of [`serve`] for a relay; the address that it relays to follows.
pub const RELAY: &str = "relay";

/// Ends, and devices: one request at a time may wait for a device (NSTART).
pub const LANES: usize = 16;

/// What a device answers.
pub const BODY: &str = "21.5";

/// What it is asked for.
pub const PATH: &str = "/temperature";

/// Returns that by which the gateway knows the user of an end.
pub fn token(number: usize) -> String {
    format!("0123456789abcdef{number}")
}

/// By which devices know the ends.
pub const END_IDENTITY: &str = "end";

/// Between all of them.
pub const SUITE: CipherSuite = CipherSuite::TLS_PSK_WITH_AES_128_CCM_8;

/// Returns the name of a device at the gateway.
pub fn device_name(number: usize) -> String {
    format!("device{number}")
}

/// Returns the name of the same device over TLS, at the gateway.
pub fn stream_device_name(number: usize) -> String {
    format!("stream-device{number}")
}

/// What devices ask the gateway for that reach a server through it.
pub const SERVICE: &str = "backend";

/// Returns the key with which the gateway calls a device.
pub fn hop_key(number: usize) -> Psk {
    Psk::new(&key(b'h', number)).unwrap()
}

/// Returns the same of a device over TLS.
pub fn stream_hop_key(number: usize) -> Psk {
    Psk::new(&key(b's', number)).unwrap()
}

/// Returns the key with which a device calls the gateway.
pub fn leg_key(number: usize) -> Psk {
    Psk::new(&key(b'l', number)).unwrap()
}

/// Returns the key that an end and a device have, and nobody between them.
pub fn end_key(number: usize) -> Psk {
    let key = Psk::new(&key(b'e', number)).unwrap();
    key.into_end_to_end().unwrap()
}

/// Returns the key that a device and the server behind the gateway have, and nobody between them.
pub fn service_key(number: usize) -> Psk {
    let key = Psk::new(&key(b'b', number)).unwrap();
    key.into_end_to_end().unwrap()
}

/// Each device has keys of its own, or one could play the other.
fn key(purpose: u8, number: usize) -> [u8; 16] {
    let mut key = *b"sixteen byte key";
    key[14] = purpose;
    key[15] = u8::try_from(number).unwrap();
    key
}

/// How every node is configured: one suite, and more answers remembered than by default, so that
/// nothing has to time out between two rounds.
pub fn node() -> NodeConfig {
    let exchange = hedgerow_exchange::Config {
        max_seen: 60_000,
        max_seen_bytes: 16 << 20,
        ..hedgerow_exchange::Config::default()
    };
    let mut config = NodeConfig::default();
    config.endpoint.handshake = Settings::new(&[SUITE]);
    config.endpoint.exchange = Arc::new(exchange);
    config
}

/// Runs what is measured until standard input ends, and prints where it is reached, a line each.
pub async fn serve(arguments: &[String]) {
    let (what, rest) = arguments.split_first().unwrap();
    let addresses = rest.iter().map(|address| address.parse().unwrap());
    let addresses: Vec<SocketAddr> = addresses.collect();
    let wait = || std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    // The parent has ended, however it did.
    let ended = tokio::task::spawn_blocking(wait);
    if what == RELAY {
        tokio::select! {
            () = relay(addresses[0]) => {}
            _ = ended => {}
        }
    } else {
        let surroundings = Surroundings::from_addresses(&addresses);
        let (_gateway, lines) = start_gateway(&surroundings, what == LIGHT_GATEWAY).await;
        for line in lines {
            println!("{line}");
        }
        let _ = ended.await;
    }
}

/// What a gateway stands before.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The server that devices reach.
    pub service: SocketAddr,
    /// Devices over DTLS, one for each of [`LANES`].
    pub devices: Vec<SocketAddr>,
    /// The same over TLS.
    pub stream_devices: Vec<SocketAddr>,
}

impl Surroundings {
    /// Returns all addresses, in the order in which they stand here.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses = vec![self.service];
        addresses.extend(&self.devices);
        addresses.extend(&self.stream_devices);
        addresses
    }

    fn from_addresses(addresses: &[SocketAddr]) -> Self {
        let (service, devices) = addresses.split_first().unwrap();
        let (devices, stream_devices) = devices.split_at(LANES);
        Self {
            service: *service,
            devices: devices.to_vec(),
            stream_devices: stream_devices.to_vec(),
        }
    }
}

/// How many lines say where a gateway is reached.
pub const GATEWAY_LINES: usize = 6 + 2 * LANES;

/// Starts a gateway before these devices, and says where it is reached: its certificate with `|` between the
/// lines, and the addresses for plain HTTP, HTTPS, modes `translate` and `itls`, devices that call, and TLS clients
/// of each device in either form. With `light` its hops in mode `itls` have the light outer layer.
pub async fn start_gateway(surroundings: &Surroundings, light: bool) -> (Running, Vec<String>) {
    let (certificate, private_key) = certificate();
    let https = Https::from_pem(loopback(), &certificate, &private_key).unwrap();
    let mut itls = Itls::from_pem(loopback(), &certificate, &private_key).unwrap();
    itls.connections_per_client = itls.connections;
    itls.connections_per_user = itls.connections;
    itls.light = light;
    let mut config = gateway(surroundings).with_itls(itls);
    config.https = Some(https);
    let gateway = Gateway::start(config).await.unwrap();
    let addresses = [
        gateway.http_addr(),
        gateway.https_addr(),
        gateway.translate_addr(),
        gateway.itls_addr(),
        gateway.leg_addr(),
    ]
    .map(Option::unwrap);
    let certificate = String::from_utf8(certificate).unwrap();
    let mut lines = vec![certificate.replace('\n', "|")];
    let addresses = addresses.iter().chain(gateway.tls_listener_addrs());
    lines.extend(addresses.map(SocketAddr::to_string));
    assert_eq!(lines.len(), GATEWAY_LINES);
    (gateway, lines)
}

/// A gateway that has every mode for every device. Its limits are those of many clients, for they all come from
/// this host.
fn gateway(surroundings: &Surroundings) -> Config {
    let mut translate = Translate::new(loopback());
    translate.connections_per_client = translate.connections;
    let mut config = Config::default()
        .with_http(loopback())
        .with_udp_carriers(loopback())
        .with_translate(translate)
        .with_leg(leg(surroundings.service));
    config.dtls.suites = vec![SUITE];
    config.limits.connections_per_client = config.limits.connections;
    config.tunnel.tunnels = 256;
    config.tunnel.tunnels_per_user = 256;
    // Connections are kept from turn to turn, however long the others take.
    config.timeouts.head = Duration::from_secs(600);
    let security = |key| Security::Psk {
        identity: IDENTITY.as_bytes().to_vec(),
        key,
        is_shared: false,
    };
    for (number, address) in surroundings.devices.iter().enumerate() {
        let uri = format!("coaps://{address}");
        let device = Device::new(device_name(number), uri, security(hop_key(number)));
        let user = User::with_token(format!("end{number}"), token(number).as_bytes());
        config = config.with_user(user).with_device(device.with_modes(&[
            Mode::Terminate,
            Mode::Tunnel,
            Mode::Translate,
            Mode::Itls,
            Mode::TranslateDevice,
        ]));
    }
    for (number, address) in surroundings.stream_devices.iter().enumerate() {
        let uri = format!("coaps+tcp://{address}");
        let security = security(stream_hop_key(number));
        config = config.with_device(Device::new(stream_device_name(number), uri, security));
    }
    for form in [LegForm::Dtls, LegForm::Tls] {
        for number in 0..LANES {
            let mut listener = TlsListener::new(loopback(), StreamApplication::Http);
            listener.form = form;
            listener.device = Some(device_name(number));
            config = config.with_tls_listener(listener);
        }
    }
    config
}

/// Lets every device reach the one server.
fn leg(service: SocketAddr) -> Leg {
    let mut leg = Leg::new(loopback());
    for number in 0..LANES {
        leg.peers.push(LegPeer {
            // A device of this name would be reached in the session that the peer has begun.
            name: format!("caller{number}"),
            psk_identity: device_name(number).into_bytes(),
            psk: leg_key(number),
            services: vec![SERVICE.to_owned()],
        });
    }
    leg.services.push(LegService {
        name: SERVICE.to_owned(),
        host: service.ip().to_string(),
        port: service.port(),
    });
    leg
}

/// A certificate for this host and its private key, as PEM.
fn certificate() -> (Vec<u8>, Vec<u8>) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", "gateway").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    let [from, until] = [0, 30].map(|days| Asn1Time::days_from_now(days).unwrap());
    builder.set_not_before(&from).unwrap();
    builder.set_not_after(&until).unwrap();
    let host = SubjectAlternativeName::new()
        .ip("127.0.0.1")
        .build(&builder.x509v3_context(None, None))
        .unwrap();
    builder.append_extension(host).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let certificate = builder.build().to_pem().unwrap();
    (certificate, key.private_key_to_pem_pkcs8().unwrap())
}

async fn relay(to: SocketAddr) {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        near.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            let mut far = TcpStream::connect(to).await.unwrap();
            far.set_nodelay(true).unwrap();
            let _ = copy_bidirectional(&mut near, &mut far).await;
        });
    }
}

/// Returns a free port of this host's.
pub fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}
