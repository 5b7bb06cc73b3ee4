//! Starting and stopping a gateway.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use hedgerow_coap::Code;
use hedgerow_core::{PeerId, Psk, SecurityMode};
use hedgerow_exchange::ConnectionConfig;
use hedgerow_net::{
    KeyStore, Node, NodeConfig, ResponseMessage, Resumption, SecurityPolicy, ServerRequest, Shares,
    Statistics, StreamClient, StreamConfig, StreamStatistics, UdpCarrierStatistics, UdpCarriers,
};
use hedgerow_proxy::{HcProxy, ItlsStatistics};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::adapt::{self, AdaptServer, AdaptStatistics, DeviceShares};
use crate::config::{Config, ConfigError, Http, HttpsPsk, unchecked};
use crate::http_places::{HttpPlaces, HttpStatistics};
use crate::itls::{Itls, ItlsServer};
use crate::registry::{Carriers, Registry, peer_id};
use crate::server::{Protection, Server};
use crate::service::{Front, Service};
use crate::services::{LegServer, LegStatistics, Shared as LegShared};
use crate::site::HostNames;
use crate::translate::{Shared as TranslateShared, TranslateServer, TranslateStatistics};
use crate::tunnels::{TunnelStatistics, Tunnels};
use crate::ways::Ways;

/// The gateway. See [`Self::start`].
#[derive(Debug)]
pub struct Gateway;

/// Why a gateway didn't start. Nothing listens then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A listener can't be bound.
    #[error("can't listen at {address}: {error}")]
    Listen {
        /// The address of the configuration.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// There can be no UDP socket towards the devices.
    #[error("no UDP socket for the devices: {0}")]
    Socket(io::Error),
}

impl Gateway {
    /// Checks the configuration, binds the listeners, looks for the devices and serves.
    ///
    /// It must be called within a tokio runtime with I/O and time. A name that doesn't resolve is
    /// no error: it is looked up again when its device is asked.
    ///
    /// # Errors
    ///
    /// Each variant of [`StartError`].
    pub async fn start(mut config: Config) -> Result<Running, StartError> {
        config.check()?;
        let proxy = Arc::new(config.proxy()?);
        let http = match &config.http {
            Some(http) => Some((bind(http.listen).await?, http.clone())),
            None => None,
        };
        let https = match &config.https {
            Some(https) => Some((bind(https.listen).await?, https.clone())),
            None => None,
        };
        let https_psk = match &config.https_psk {
            Some(https) => Some((bind(https.listen).await?, client_keys(https)?)),
            None => None,
        };
        let leg = match config.leg.take() {
            Some(leg) => {
                let listeners = config.tls_listeners.iter();
                let inward = listeners.map(|listener| listener.connections_per_device);
                let inward = inward.max().unwrap_or(0);
                Some(LegShared::bind(leg, inward, node_config(&config)).await?)
            }
            None => None,
        };
        let via = config.via.take();
        let via = via.map(|via| Ways::new(via, node_config(&config), config.devices.len()));
        let translate = match config.translate {
            Some(translate) => Some((bind(translate.listen).await?, translate)),
            None => None,
        };
        let node = node_config(&config);
        let mut itls = match config.itls.take() {
            Some(itls) => Some((bind(itls.listen).await?, itls)),
            None => None,
        };
        let mut tls_listeners = Vec::new();
        for limits in std::mem::take(&mut config.tls_listeners) {
            tls_listeners.push((bind(limits.listen).await?, limits));
        }
        let hops = match tls_listeners.is_empty() {
            true => None,
            false => Some(
                bind_node(adapt::hop_config(node.clone()))
                    .await
                    .map_err(StartError::Socket)?,
            ),
        };
        let carriers = Carriers {
            via: via.map(Arc::new),
            node: bind_node(node.clone()).await.map_err(StartError::Socket)?,
            streams: StreamClient::new(streams(&config)),
        };
        let udp = config.udp_carriers.map(|address| {
            let bound = UdpCarriers::bind(address);
            bound.map_err(|error| StartError::Listen { address, error })
        });
        let udp = udp.transpose()?;
        if let Some(udp) = &udp {
            info!(address = %udp.local_addr(), mode = "auto", "listening for UDP carriers");
        }
        let https_psk_keys = config.https_psk.as_ref();
        let tunnels = Tunnels::new(config.users, config.tunnel, https_psk_keys, udp);
        let service = Arc::new(Service {
            tunnels: Arc::clone(&tunnels),
            registry: Arc::new(Registry::new(
                config.devices,
                Arc::clone(&proxy),
                carriers.clone(),
                config.limits.requests_per_device,
                config.certificate.as_ref(),
            )?),
            timeouts: config.timeouts,
            places: Arc::new(Semaphore::new(config.limits.requests)),
            bodies: Semaphore::new(config.limits.requests),
            clients: Arc::new(Shares::new(config.limits.requests_per_client)),
        });
        service.registry.locate_all().await;
        let (stop, stopped) = watch::channel(false);
        let mut running = Running {
            http: None,
            https: None,
            https_psk: None,
            translate: None,
            leg: None,
            itls: None,
            callers: None,
            tls_listeners: Vec::new(),
            adapt: Arc::default(),
            places: Arc::new(HttpPlaces::new(&config.limits)),
            stop,
            servers: JoinSet::new(),
            carriers,
            tunnels,
        };
        let places = Arc::clone(&running.places);
        let start = |servers: &mut JoinSet<()>, (listener, address), security, front| {
            let server = Server {
                listener,
                security,
                front: Arc::new(front),
                service: Arc::clone(&service),
                places: Arc::clone(&places),
                stop: stopped.clone(),
            };
            servers.spawn(server.run());
            Some(address)
        };
        if let Some((listener, http)) = http {
            let front = http_front(&http, listener.1, &proxy);
            info!(address = %listener.1, "listening for HTTP");
            if !listener.1.ip().is_loopback() {
                warn!("plain HTTP beyond this host: whoever reaches it can ask the devices");
            }
            running.http = start(&mut running.servers, listener, Protection::None, front);
        }
        if let Some((listener, https)) = https {
            let front = https_front(listener.1, &proxy);
            let security = Protection::Certificate(TlsAcceptor::from(https.tls));
            info!(address = %listener.1, mode = "tls-certificate", "listening for HTTPS");
            running.https = start(&mut running.servers, listener, security, front);
        }
        if let Some((listener, keys)) = https_psk {
            let front = https_front(listener.1, &proxy);
            let security = Protection::Psk(keys);
            info!(address = %listener.1, mode = "tls-psk", "listening for HTTPS");
            running.https_psk = start(&mut running.servers, listener, security, front);
        }
        if let Some(((listener, address), limits)) = translate {
            let shared = Arc::new(TranslateShared::new(limits, Arc::clone(&service.registry)));
            let server = TranslateServer::new(listener, Arc::clone(&shared), stopped.clone());
            info!(%address, mode = "translate", "listening for records over TCP");
            running.servers.spawn(server.run());
            running.translate = Some((address, shared));
        }
        if let Some(shared) = leg.map(Arc::new) {
            let server = LegServer::new(Arc::clone(&shared), stopped.clone());
            info!(address = %shared.address(), "listening for streams of devices over DTLS");
            running.servers.spawn(server.run());
            running.leg = Some(shared);
        }
        if let Some(((listener, address), config)) = itls.take() {
            let called = match config.listen_devices {
                Some(at) => Some(bind_callers(at, &config, &service.registry, node).await?),
                None => None,
            };
            let nodes = std::iter::once(running.carriers.node.clone()).chain(called.clone());
            let nodes: Vec<_> = nodes.collect();
            let tunnels = Arc::clone(&running.tunnels);
            let registry = Arc::clone(&service.registry);
            let shared = Itls::new(&config, registry, tunnels, nodes.clone());
            for (index, node) in nodes.iter().enumerate() {
                let events = node.hop_events().map_err(unchecked)?;
                let follower = Arc::clone(&shared).follow(index, events, stopped.clone());
                running.servers.spawn(follower);
            }
            let server = ItlsServer {
                listener,
                tls: TlsAcceptor::from(config.tls),
                itls: Arc::clone(&shared),
                places: Arc::new(Semaphore::new(config.connections)),
                clients: Arc::new(Shares::new(config.connections_per_client)),
                stop: stopped.clone(),
            };
            info!(%address, mode = "itls", "listening for Internet ends");
            running.servers.spawn(server.run());
            running.itls = Some((address, shared));
            running.callers = called;
        }
        let adapting = Arc::new(DeviceShares::new(service.registry.entries().len()));
        for ((listener, address), limits) in tls_listeners {
            let Some(node) = hops.clone() else {
                continue;
            };
            let counters = Arc::clone(&running.adapt);
            let registry = Arc::clone(&service.registry);
            let devices = Arc::clone(&adapting);
            let ways = (node, running.leg.clone());
            let shared = adapt::Shared::new(limits, registry, ways, devices, counters)?;
            let server = AdaptServer::new(listener, Arc::new(shared), stopped.clone());
            info!(%address, mode = "translate-device", "listening for TLS clients");
            running.servers.spawn(server.run());
            running.tls_listeners.push(address);
        }
        Ok(running)
    }
}

/// Binds the socket for devices that begin their sessions themselves. Each is known by the number that it
/// has where the gateway calls it.
async fn bind_callers(
    at: SocketAddr,
    config: &crate::Itls,
    registry: &Registry,
    node: NodeConfig,
) -> Result<Node, StartError> {
    let keys = KeyStore::new();
    for caller in &config.callers {
        let mut entries = registry.entries().iter();
        let entry = entries.find(|entry| entry.device.name() == caller.device);
        let entry = entry.ok_or_else(|| unchecked("unknown device"))?;
        let psk = Psk::new(caller.psk.expose()).map_err(unchecked)?;
        keys.insert(caller.psk_identity.clone(), psk, peer_id(entry.index))
            .map_err(unchecked)?;
    }
    let node = node.with_security(SecurityPolicy::default());
    let bound = Node::bind_server(at, node, keys, no_resources).await;
    let failed = |error| StartError::Listen { address: at, error };
    let node = bound.map_err(failed)?;
    info!(address = %node.local_addr(), mode = "itls", "listening for devices");
    Ok(node)
}

/// The gateway has no resources for devices.
async fn no_resources(_: ServerRequest) -> ResponseMessage {
    ResponseMessage::new(Code::NOT_FOUND)
}

/// A gateway that serves. Dropping it ends everything at once; [`Self::shutdown`] does it in order.
pub struct Running {
    http: Option<SocketAddr>,
    https: Option<SocketAddr>,
    https_psk: Option<SocketAddr>,
    translate: Option<(SocketAddr, Arc<TranslateShared>)>,
    leg: Option<Arc<LegShared>>,
    itls: Option<(SocketAddr, Arc<Itls>)>,
    /// The node of the devices that come by themselves.
    callers: Option<Node>,
    tls_listeners: Vec<SocketAddr>,
    adapt: Arc<Mutex<AdaptStatistics>>,
    places: Arc<HttpPlaces>,
    stop: watch::Sender<bool>,
    servers: JoinSet<()>,
    carriers: Carriers,
    tunnels: Arc<Tunnels>,
}

impl fmt::Debug for Running {
    /// Leaves out who may open tunnels, and the rest of what tasks share.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut running = formatter.debug_struct("Running");
        running
            .field("http", &self.http)
            .field("https", &self.https)
            .field("https_psk", &self.https_psk)
            .finish_non_exhaustive()
    }
}

impl Running {
    /// Returns where plain HTTP is listened for, with the port that was taken.
    pub const fn http_addr(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Returns where HTTPS is listened for, with the port that was taken.
    pub const fn https_addr(&self) -> Option<SocketAddr> {
        self.https
    }

    /// Returns where HTTPS with pre-shared keys is listened for, with the port that was taken.
    pub const fn https_psk_addr(&self) -> Option<SocketAddr> {
        self.https_psk
    }

    /// Returns the counters of connections over HTTP and HTTPS that were closed at once.
    pub fn http_statistics(&self) -> HttpStatistics {
        self.places.statistics()
    }

    /// Returns the counters of the CoAP side over UDP: sessions, handshakes, drops.
    pub fn statistics(&self) -> Statistics {
        self.carriers.node.statistics()
    }

    /// Returns the counters of the CoAP side over TCP.
    pub fn stream_statistics(&self) -> StreamStatistics {
        self.carriers.streams.statistics()
    }

    /// Returns where connections in mode `translate` are listened for, with the port that was taken.
    pub fn translate_addr(&self) -> Option<SocketAddr> {
        self.translate.as_ref().map(|(address, _)| *address)
    }

    /// Returns the counters of connections in mode `translate`.
    pub fn translate_statistics(&self) -> TranslateStatistics {
        let shared = self.translate.as_ref().map(|(_, shared)| shared);
        shared.map_or_else(TranslateStatistics::default, |shared| {
            shared.counters.lock().clone()
        })
    }

    /// Returns where UDP carriers are listened for, with the port that was taken.
    pub fn udp_carriers_addr(&self) -> Option<SocketAddr> {
        self.tunnels.udp.as_ref().map(UdpCarriers::local_addr)
    }

    /// Returns the counters of UDP carriers.
    pub fn udp_carrier_statistics(&self) -> UdpCarrierStatistics {
        let udp = self.tunnels.udp.as_ref();
        udp.map_or_else(UdpCarrierStatistics::default, UdpCarriers::statistics)
    }

    /// Returns where streams of devices are listened for, with the port that was taken.
    pub fn leg_addr(&self) -> Option<SocketAddr> {
        self.leg.as_ref().map(|shared| shared.address())
    }

    /// Returns the counters of streams of devices.
    pub fn leg_statistics(&self) -> LegStatistics {
        let shared = self.leg.as_ref();
        shared.map_or_else(LegStatistics::default, |shared| shared.statistics())
    }

    /// Follows the counters of streams of devices; `None` where there are none.
    pub fn follow_leg_statistics(&self) -> Option<watch::Receiver<LegStatistics>> {
        self.leg.as_ref().map(|shared| shared.follow())
    }

    /// Returns where Internet ends in mode `itls` are listened for, with the port that was taken.
    pub fn itls_addr(&self) -> Option<SocketAddr> {
        self.itls.as_ref().map(|(address, _)| *address)
    }

    /// Returns where devices in mode `itls` are listened for, with the port that was taken.
    pub fn itls_devices_addr(&self) -> Option<SocketAddr> {
        self.callers.as_ref().map(Node::local_addr)
    }

    /// Returns the counters of flows in mode `itls`.
    pub fn itls_statistics(&self) -> ItlsStatistics {
        let shared = self.itls.as_ref().map(|(_, shared)| shared);
        shared.map_or_else(ItlsStatistics::default, |shared| shared.statistics())
    }

    /// Returns where TLS clients are listened for whose devices adapt to them, in the order of the configuration.
    pub fn tls_listener_addrs(&self) -> &[SocketAddr] {
        &self.tls_listeners
    }

    /// Returns the counters of TLS connections to devices that adapt.
    pub fn adapt_statistics(&self) -> AdaptStatistics {
        *self.adapt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the counters of tunnels.
    pub fn tunnel_statistics(&self) -> TunnelStatistics {
        self.tunnels.statistics()
    }

    /// Takes no more requests, lets those under way end within the time that the configuration
    /// gives them, and closes the sessions with the devices.
    pub async fn shutdown(mut self) {
        info!("shutting down");
        self.stop.send_replace(true);
        while self.servers.join_next().await.is_some() {}
        if let Some(callers) = &self.callers {
            callers.close().await;
        }
        self.carriers.close().await;
    }
}

/// Returns the keys of the clients that are let in, numbered in the order of the configuration.
fn client_keys(https: &HttpsPsk) -> Result<KeyStore, ConfigError> {
    let keys = KeyStore::new();
    for (number, client) in (0..).zip(&https.clients) {
        let psk = Psk::new(client.psk.expose()).map_err(unchecked)?;
        keys.insert(client.psk_identity.clone(), psk, PeerId(number))
            .map_err(unchecked)?;
    }
    Ok(keys)
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        Ok((listener, local))
    };
    let failed = |error| StartError::Listen { address, error };
    bound.await.map_err(failed)
}

/// Binds the socket for all devices, of both IP versions where the host has both.
pub(crate) async fn bind_node(node: NodeConfig) -> io::Result<Node> {
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    match Node::bind_client(both, node.clone()).await {
        Ok(node) => Ok(node),
        Err(_) => Node::bind_client(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), node).await,
    }
}

/// Returns how CoAP is spoken with devices.
pub(crate) fn node_config(config: &Config) -> NodeConfig {
    let settings = config.endpoint();
    NodeConfig {
        endpoint: hedgerow_endpoint::Config {
            security: Arc::new(security_policy(config)),
            handshake: settings.handshake,
            exchange: Arc::new(settings.exchange),
            connection_ids: config.dtls.connection_ids,
            idle_timeout: config.dtls.idle_timeout,
            resumption: resumption(config),
            ping_idle_after: config.dtls.ping_idle_after,
            forwards: config.itls.is_some(),
            light_layer: config.itls.as_ref().is_some_and(|itls| itls.light),
            ..hedgerow_endpoint::Config::default()
        },
        max_requests: config.limits.requests,
        ..NodeConfig::default()
    }
}

/// What the gateway, which is every device's client, resumes.
const fn resumption(config: &Config) -> Resumption {
    if config.dtls.resumption {
        Resumption::ON
    } else {
        Resumption::OFF
    }
}

/// Returns the policy that follows from the devices: each in the mode that it is configured with or a
/// stronger one, and NoSec only if there is a device without security.
fn security_policy(config: &Config) -> SecurityPolicy {
    // The gateway has no session with a device that is reached end to end alone.
    let devices = config.devices.iter().enumerate();
    let devices = devices.filter(|(_, device)| device.has_hop());
    let modes = devices.map(|(index, device)| (index, device.security.mode()));
    let least = modes.clone().map(|(_, mode)| mode).min();
    let policy = SecurityPolicy::new(least.unwrap_or(SecurityMode::MultiKey));
    modes.fold(policy, |policy, (index, mode)| {
        policy.with_server(peer_id(index), mode)
    })
}

/// Configures the connections to devices over TCP: as the sessions over UDP, as far as that goes.
fn streams(config: &Config) -> StreamConfig {
    let settings = config.endpoint();
    let connection = ConnectionConfig::default();
    // A device that went away without a word is noticed about as fast as one over UDP.
    let patience = config.restart_bound();
    let connection = ConnectionConfig {
        exchange: hedgerow_exchange::Config {
            max_message_len: connection.exchange.max_message_len,
            ..settings.exchange
        },
        ping_after: Some(patience),
        ping_idle_after: config.dtls.ping_idle_after,
        pong_timeout: patience,
        ..connection
    };
    let endpoint = hedgerow_endpoint::StreamConfig::default();
    StreamConfig {
        endpoint: hedgerow_endpoint::StreamConfig {
            security: Arc::new(security_policy(config)),
            handshake: settings.handshake.with_application_protocols(&[b"coap"]),
            connection: Arc::new(connection),
            ..endpoint
        },
        max_requests: config.limits.requests,
        connect_timeout: config.dtls.timers.deadline,
        idle_timeout: config.dtls.idle_timeout,
        resumption: resumption(config),
        ..StreamConfig::default()
    }
}

fn http_front(http: &Http, address: SocketAddr, proxy: &HcProxy) -> Front {
    let passes_coaps = http.passes_coaps(address);
    let proxy = proxy.clone().with_coaps_from_http(passes_coaps);
    Front {
        is_https: false,
        opens_tunnels: passes_coaps,
        proxy: Arc::new(proxy),
        host_names: HostNames::Only(
            http.host_names
                .iter()
                .map(|name| name.to_ascii_lowercase())
                .collect(),
        ),
        base: format!("http://{}", reachable(address)),
    }
}

fn https_front(address: SocketAddr, proxy: &HcProxy) -> Front {
    Front {
        is_https: true,
        opens_tunnels: true,
        proxy: Arc::new(proxy.clone()),
        host_names: HostNames::Any,
        base: format!("https://{}", reachable(address)),
    }
}

/// Returns an address under which this host reaches a listener.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => {
            SocketAddr::from((Ipv4Addr::LOCALHOST, v4.port()))
        }
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            SocketAddr::from((Ipv6Addr::LOCALHOST, v6.port()))
        }
        address => address,
    }
}
