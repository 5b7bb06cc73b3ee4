//! The mode `auto` with ends that nobody here wrote (docs/specs/auto.md): libcoap's server as the device of a
//! session whose carriers change, and OpenSSL and GnuTLS as a client's UDP carrier, byte by byte.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_core::{PeerId, Psk};
use hedgerow_net::{
    Credentials, ForwardSecrecy, GatewayTls, GatewayUser, LinkedNode, NodeConfig, RequestMessage,
    SecurityPolicy, Tunnel, TunnelConfig, TunnelTarget,
};
use hedgerow_proxy::CarrierState;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};

use super::auto_carrier;
use super::cell::enter;
use super::coap::{Build, IDENTITY, expect_code};
use super::gateway::start_gateway;
use super::peers::{Transport, free_address, wait_for_port};
use super::program;
use crate::child::{Echo, Running};
use crate::table::Table;

/// For one command, and for one change of carrier.
const LIMIT: Duration = Duration::from_secs(40);

pub(super) const TOKEN: &str = "interop-token-0123456789";

/// The ends' own, long enough for a mode end to end.
const KEY: &str = "an end's own key";

/// Enters every cell.
pub(super) fn run(table: &mut Table) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ready = program::build()
        .and_then(|program| Ok((program, runtime.map_err(|error| error.to_string())?)));
    let (program, runtime) = match ready {
        Ok(ready) => ready,
        Err(error) => {
            enter(table, "auto", || Err(error));
            return;
        }
    };
    for (build, address) in [(Build::OpenSsl, "session"), (Build::GnuTls, "carrier")] {
        let name = format!(
            "client -> gateway ({address}) -> libcoap ({}) while carriers change",
            build.suffix()
        );
        enter(table, &name, || {
            let scene = Scene::start(&program, build, address)?;
            runtime.block_on(scene.change_carriers())
        });
    }
    for (name, peer) in auto_carrier::PEERS {
        enter(table, &format!("{name} as the UDP carrier"), || {
            let scene = Scene::start(&program, Build::OpenSsl, "session")?;
            peer(&scene)
        });
    }
}

/// A libcoap server, and a gateway that has no key of it.
pub(super) struct Scene {
    _server: Running,
    gateway: Running,
    pub(super) device: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) udp: SocketAddr,
}

impl Scene {
    fn start(program: &Path, build: Build, device_address: &str) -> Result<Self, String> {
        let plain = free_address()?;
        let mut command = Command::new(format!("coap-server-{}", build.suffix()));
        command
            .args(["-A", "127.0.0.1", "-p", &plain.port().to_string()])
            .args(["-d", "10", "-k", KEY, "-h", "hint"])
            .stdin(Stdio::null());
        let server = Running::start(&mut command, Echo::Hidden)?;
        let device = SocketAddr::new(plain.ip(), plain.port().saturating_add(1));
        wait_for_port(Transport::Dtls, plain.port(), &server)?;
        let (http, udp) = (free_address()?, free_address()?);
        let folder = std::env::temp_dir().join(format!("hedgerow-auto-{}", http.port()));
        let text = format!(
            r#"
[http]
listen = "{http}"

[tunnel]
udp = "{udp}"
device_address = "{device_address}"

[[user]]
name = "interop"
token = "{TOKEN}"

[[device]]
name = "real"
uri = "coaps://{device}"
modes = ["tunnel"]
"#
        );
        let gateway = start_gateway(program, &folder, &text, http.port())?;
        Ok(Self {
            _server: server,
            gateway,
            device,
            http,
            udp,
        })
    }

    /// One session with the device, over TCP, over UDP, while UDP is blocked, over TCP again and over UDP again.
    async fn change_carriers(self) -> Result<String, String> {
        let relay = Relay::start(&self).await?;
        let tls = GatewayTls::nobody().map_err(|error| error.to_string())?;
        let uri = format!("http://{}", relay.http);
        let uri = uri.parse().map_err(|error| format!("{uri}: {error}"))?;
        let user = GatewayUser::with_token(TOKEN).map_err(|error| error.to_string())?;
        let config = TunnelConfig {
            user: Some(user),
            wants_udp_carrier: true,
            ..TunnelConfig::new(uri, tls)
        };
        let target = TunnelTarget::new("real", self.device.port());
        let target = target.map_err(|error| error.to_string())?;
        let tunnel = Tunnel::open(&config, &target).await;
        let tunnel = tunnel.map_err(|error| error.to_string())?;
        let mut carriers = tunnel.carriers.ok_or("no offer of a UDP carrier")?;
        let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Optional);
        let node = LinkedNode::new(tunnel.link, NodeConfig::default().with_security(policy));
        write_and_read(&node, "over tcp").await?;
        let mut changes = 0;
        for is_deaf in [false, true, false] {
            relay.is_deaf.store(is_deaf, Ordering::Relaxed);
            if is_deaf {
                for number in 0..3 {
                    write_and_read(&node, &format!("blocked {number}")).await?;
                }
            }
            let state = match is_deaf {
                true => CarrierState::TcpOnly,
                false => CarrierState::UdpActive,
            };
            let waited = timeout(LIMIT, carriers.wait_for(|now| *now == state)).await;
            waited
                .map_err(|_| format!("never {}", state.name()))?
                .map_err(|error| error.to_string())?;
            changes += 1;
            write_and_read(&node, &format!("{}, {changes}", state.name())).await?;
        }
        let statistics = node.statistics();
        if statistics.established != 1 {
            return Err(format!("{} sessions", statistics.established));
        }
        node.close().await;
        drop(node);
        let ended = timeout(LIMIT, async {
            while !self.gateway.output().contains("tunnel ended") {
                sleep(Duration::from_millis(20)).await;
            }
        });
        let log = match ended.await {
            Ok(()) => self.gateway.output(),
            Err(_) => return Err(format!("no end: {}", self.gateway.output())),
        };
        // libcoap 4.3 has no connection IDs: whatever is configured, there is one address.
        for (name, is_wanted) in [("udp_datagrams_up=", true), ("udp_address_up=", false)] {
            let count = count_of(&log, name).ok_or_else(|| format!("no {name}: {log}"))?;
            if (count > 0) != is_wanted {
                return Err(format!("{name}{count}"));
            }
        }
        let dropped = relay.dropped.load(Ordering::Relaxed);
        Ok(format!(
            "one session, {changes} changes of carrier, {dropped} datagrams swallowed"
        ))
    }
}

/// The number behind a name in a line of the log, which may be coloured.
fn count_of(log: &str, name: &str) -> Option<u64> {
    let (_, rest) = log.rsplit_once(name)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Writes the device's resource and reads it back.
async fn write_and_read(node: &LinkedNode, text: &str) -> Result<(), String> {
    let psk = Psk::new(KEY.as_bytes()).and_then(Psk::into_end_to_end);
    let psk = psk.map_err(|error| error.to_string())?;
    let credentials = Credentials::new(IDENTITY, psk, PeerId(1));
    let credentials = Arc::new(credentials.map_err(|error| error.to_string())?);
    let ask = async |request: RequestMessage| {
        let asked = timeout(LIMIT, node.request(Some(&credentials), request)).await;
        let asked = asked.map_err(|_| format!("{text:?}: no answer"))?;
        asked.map_err(|error| format!("{text:?}: {error}"))
    };
    let write = RequestMessage::new(Code::PUT)
        .path("/example_data")
        .payload(text);
    let written = ask(write).await?;
    expect_code(&written, Code::CHANGED).or_else(|_| expect_code(&written, Code::CREATED))?;
    let read = ask(RequestMessage::new(Code::GET).path("/example_data")).await?;
    if read.payload != text.as_bytes() {
        return Err(format!("{text:?} became {:?}", read.payload));
    }
    Ok(())
}

/// The gateway as clients reach it: TCP as it is, UDP unless it is blocked.
struct Relay {
    http: SocketAddr,
    is_deaf: Arc<AtomicBool>,
    dropped: Arc<AtomicU64>,
}

impl Relay {
    async fn start(scene: &Scene) -> Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        let elsewhere = Ipv4Addr::new(127, 0, 0, 2);
        let listener = TcpListener::bind((elsewhere, 0)).await.map_err(text)?;
        let http = listener.local_addr().map_err(text)?;
        let to = scene.http;
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let Ok(mut far) = TcpStream::connect(to).await else {
                    return;
                };
                tokio::spawn(async move { copy_bidirectional(&mut near, &mut far).await });
            }
        });
        // A client goes to the address of its TCP connection, and to the port that was offered.
        let near = UdpSocket::bind((elsewhere, scene.udp.port())).await;
        let near = Arc::new(near.map_err(text)?);
        let (is_deaf, dropped) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (deaf, swallowed, to) = (Arc::clone(&is_deaf), Arc::clone(&dropped), scene.udp);
        tokio::spawn(async move {
            let mut ways: Vec<(SocketAddr, Arc<UdpSocket>)> = Vec::new();
            let mut buffer = vec![0; 2_048];
            while let Ok((len, from)) = near.recv_from(&mut buffer).await {
                if deaf.load(Ordering::Relaxed) {
                    swallowed.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let way = match ways.iter().find(|way| way.0 == from) {
                    Some(way) => Arc::clone(&way.1),
                    None => {
                        let Some(far) = way_back(&near, from, to, &deaf).await else {
                            return;
                        };
                        ways.push((from, Arc::clone(&far)));
                        far
                    }
                };
                let _ = way.send(buffer.get(..len).unwrap_or_default()).await;
            }
        });
        Ok(Self {
            http,
            is_deaf,
            dropped,
        })
    }
}

/// A socket of a client's own towards the gateway, whose datagrams go back to it.
async fn way_back(
    near: &Arc<UdpSocket>,
    client: SocketAddr,
    gateway: SocketAddr,
    is_deaf: &Arc<AtomicBool>,
) -> Option<Arc<UdpSocket>> {
    let far = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.ok()?;
    far.connect(gateway).await.ok()?;
    let far = Arc::new(far);
    let (near, back, is_deaf) = (Arc::clone(near), Arc::clone(&far), Arc::clone(is_deaf));
    tokio::spawn(async move {
        let mut buffer = vec![0; 2_048];
        while let Ok(len) = back.recv(&mut buffer).await {
            if !is_deaf.load(Ordering::Relaxed) {
                let datagram = buffer.get(..len).unwrap_or_default();
                let _ = near.send_to(datagram, client).await;
            }
        }
    });
    Some(far)
}
