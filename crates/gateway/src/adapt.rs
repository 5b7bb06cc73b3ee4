//! Mode `translate`, the device adapts (docs/specs/translate-device.md): TLS connections of clients that know of no
//! gateway, carried to devices over legs. The gateway has no key of what is inside.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hedgerow_core::ServerName;
use hedgerow_endpoint::LegConfig;
use hedgerow_leg::Role;
use hedgerow_net::{
    LegStream, Node, NodeConfig, RequestFailure, SILENCE_TIMEOUT, Share, Shares, StreamOffer,
    give_up_after,
};
use hedgerow_proxy::{Failure, StreamRefusal, StreamRoute, StreamRoutes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, info};

use self::carried::{Carried, End};
pub(crate) use self::devices::DeviceShares;
use self::devices::Place;
use crate::config::{ConfigError, TlsListener, unchecked};
use crate::registry::{Entry, Registry};
use crate::server::accept_until_stopped;
use crate::services::Shared as LegShared;

mod carried;
mod devices;

/// Counters of all TLS connections to devices that adapt, since the gateway started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdaptStatistics {
    /// Connections that are carried now.
    pub open: u64,
    /// Connections that were carried.
    pub accepted: u64,
    /// Connections for a name that no device has, or that didn't begin with a ClientHello.
    pub refused: u64,
    /// Connections that a limit turned away.
    pub busy: u64,
    /// Connections whose device couldn't be reached.
    pub unreachable: u64,
    /// Connections that ended in order on both sides. TLS may say otherwise.
    pub closed: u64,
    /// Connections that were carried and ended otherwise.
    pub broken: u64,
}

/// One listener.
pub(crate) struct AdaptServer {
    listener: TcpListener,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
}

/// What all connections of a listener have in common.
pub(crate) struct Shared {
    limits: TlsListener,
    routes: StreamRoutes<usize>,
    registry: Arc<Registry>,
    node: Node,
    /// Where devices are that have begun their sessions with the gateway themselves.
    callers: Option<Arc<LegShared>>,
    places: Arc<Semaphore>,
    clients: Arc<Shares>,
    /// What the listeners together take of the devices.
    devices: Arc<DeviceShares>,
    counters: Arc<Mutex<AdaptStatistics>>,
}

/// What the node may use that calls devices for all listeners.
pub(crate) fn hop_config(mut config: NodeConfig) -> NodeConfig {
    config.endpoint.legs = Some(LegConfig {
        max_legs: config.endpoint.max_associations,
        ..LegConfig::new(Role::Gateway)
    });
    config
}

impl Shared {
    pub(crate) fn new(
        limits: TlsListener,
        registry: Arc<Registry>,
        (node, callers): (Node, Option<Arc<LegShared>>),
        devices: Arc<DeviceShares>,
        counters: Arc<Mutex<AdaptStatistics>>,
    ) -> Result<Self, ConfigError> {
        let index = |name: &str| {
            let found = registry.adapt_entry(name).map(|entry| entry.index);
            found.ok_or_else(|| unchecked("unknown to the TLS listener"))
        };
        let mut routes = StreamRoutes::new();
        if let Some(device) = &limits.device {
            routes.with_default(index(device)?);
        }
        for (name, device) in &limits.names {
            let name = ServerName::new(name).map_err(|_| unchecked("not a name"))?;
            routes.with_name(name, index(device)?);
        }
        Ok(Self {
            devices,
            places: Arc::new(Semaphore::new(limits.connections)),
            clients: Arc::new(Shares::new(limits.connections_per_client)),
            routes,
            registry,
            node,
            callers,
            counters,
            limits,
        })
    }

    fn lock(&self) -> MutexGuard<'_, AdaptStatistics> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn places(&self, from: SocketAddr) -> Option<(OwnedSemaphorePermit, Share)> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some((place, self.clients.enter(from.ip())?))
    }

    /// Reads up to where the device is known, and returns what was read with it.
    async fn route(
        &self,
        stream: &mut TcpStream,
    ) -> Result<(usize, Vec<u8>), Option<StreamRefusal>> {
        let mut read = Vec::new();
        let mut part = [0; 1_024];
        let until = Instant::now().checked_add(self.limits.hello_timeout);
        let until = until.ok_or(None)?;
        loop {
            match self.routes.route(&read) {
                StreamRoute::Device(index) => return Ok((*index, read)),
                StreamRoute::Refused(refusal) => return Err(Some(refusal)),
                StreamRoute::Incomplete => {}
            }
            match timeout_at(until, stream.read(&mut part)).await {
                Ok(Ok(len)) if len > 0 => {
                    read.extend_from_slice(part.get(..len).unwrap_or_default());
                }
                _ => return Err(None),
            }
        }
    }

    /// Opens a stream to the device.
    async fn reach(
        &self,
        index: usize,
        from: SocketAddr,
    ) -> Result<(LegStream, Place), StreamRefusal> {
        let most = self.limits.connections_per_device;
        let place = self.devices.enter(index, from.ip(), most, Instant::now());
        let place = place.ok_or(StreamRefusal::Busy)?;
        let entry = self.registry.entries().get(index);
        let entry = entry.ok_or(StreamRefusal::Unreachable)?;
        let offer = StreamOffer {
            port: self.limits.application.port_tag(),
            address: Some(from),
            ..StreamOffer::default()
        };
        match self.open(entry, offer).await {
            Ok(stream) => Ok((stream, place)),
            Err(error) => {
                debug!(%error, "device can't be reached");
                Err(StreamRefusal::Unreachable)
            }
        }
    }

    /// Opens a stream in the session that the device has begun, or else in one that the gateway begins.
    async fn open(&self, entry: &Entry, offer: StreamOffer) -> Result<LegStream, Unopened> {
        if let Some(callers) = &self.callers {
            let opened = callers.open_to(entry.device.name(), offer.clone()).await;
            match opened {
                Err(RequestFailure::NoSession) => {}
                opened => return opened.map_err(Unopened::Stream),
            }
        }
        let target = self.registry.hop_target(entry).await;
        let target = target.map_err(Unopened::Target)?;
        let opened = self.node.open_stream(&target, offer).await;
        opened.map_err(Unopened::Stream)
    }

    async fn serve(&self, mut stream: TcpStream, from: SocketAddr) {
        if stream.set_nodelay(true).is_err() {
            return;
        }
        give_up_after(&stream, SILENCE_TIMEOUT);
        let (index, early) = match self.route(&mut stream).await {
            Ok(found) => found,
            Err(refusal) => return self.refuse(stream, from, refusal).await,
        };
        let (leg, _place) = match self.reach(index, from).await {
            Ok(found) => found,
            Err(refusal) => return self.refuse(stream, from, Some(refusal)).await,
        };
        let entries = self.registry.entries();
        let device = entries
            .get(index)
            .map_or("", |entry| entry.device.name.as_str());
        {
            let mut counters = self.lock();
            counters.accepted = counters.accepted.saturating_add(1);
            counters.open = counters.open.saturating_add(1);
        }
        let application = self.limits.application;
        info!(target: "hedgerow::audit", device, %from, mode = "translate-device", ?application, "connection opened");
        let begun = Instant::now();
        let carried = Carried::new(&self.limits);
        let _open = Open(self);
        let end = carried.carry(stream, leg, &early).await;
        {
            let mut counters = self.lock();
            let count = match end {
                End::Closed => &mut counters.closed,
                _ => &mut counters.broken,
            };
            *count = count.saturating_add(1);
        }
        let (bytes_to_device, bytes_to_client) = carried.bytes();
        info!(
            target: "hedgerow::audit",
            device,
            %from,
            mode = "translate-device",
            bytes_to_device,
            bytes_to_client,
            ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            %end,
            "connection ended"
        );
    }

    /// Says why nothing is carried, as far as it can be said.
    async fn refuse(
        &self,
        mut stream: TcpStream,
        from: SocketAddr,
        refusal: Option<StreamRefusal>,
    ) {
        let Some(refusal) = refusal else {
            return debug!(%from, "no ClientHello in time");
        };
        {
            let mut counters = self.lock();
            let count = match refusal {
                StreamRefusal::Busy => &mut counters.busy,
                StreamRefusal::Unreachable => &mut counters.unreachable,
                _ => &mut counters.refused,
            };
            *count = count.saturating_add(1);
        }
        info!(target: "hedgerow::audit", %from, mode = "translate-device", %refusal, "connection refused");
        let told = async {
            stream.write_all(&refusal.to_record()).await?;
            stream.shutdown().await?;
            // What the client still says would make the system take the alert back.
            let mut part = [0; 512];
            for _ in 0..64 {
                if stream.read(&mut part).await? == 0 {
                    break;
                }
            }
            io::Result::Ok(())
        };
        let _ = timeout(REFUSED_TIMEOUT, told).await;
    }
}

/// Why no stream leads to a device.
#[derive(Debug, thiserror::Error)]
enum Unopened {
    #[error("no address: {0}")]
    Target(Failure),
    #[error(transparent)]
    Stream(RequestFailure),
}

/// Counts a connection for as long as it is there.
struct Open<'s>(&'s Shared);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut counters = self.0.lock();
        counters.open = counters.open.saturating_sub(1);
    }
}

impl AdaptServer {
    pub(crate) const fn new(
        listener: TcpListener,
        shared: Arc<Shared>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            listener,
            shared,
            stop,
        }
    }

    /// Serves until it is told to stop. The connections are cut off then, which their ends notice.
    pub(crate) async fn run(self) {
        let mut connections = JoinSet::new();
        let begin = |stream, from, connections: &mut _| self.begin(stream, from, connections);
        accept_until_stopped(&self.listener, &self.stop, &mut connections, begin).await;
        connections.shutdown().await;
    }

    fn begin(&self, stream: TcpStream, from: SocketAddr, connections: &mut JoinSet<()>) {
        let Some(places) = self.shared.places(from) else {
            debug!(%from, "connection of a TLS client closed: as many as configured");
            let mut counters = self.shared.lock();
            counters.busy = counters.busy.saturating_add(1);
            return;
        };
        let shared = Arc::clone(&self.shared);
        connections.spawn(async move {
            let _places = places;
            shared.serve(stream, from).await;
        });
    }
}

/// How long a refused client is listened to.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(1);
