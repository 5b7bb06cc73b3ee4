//! Mode `translate`, the device adapts (docs/specs/translate-device.md): TLS connections of clients that know of no
//! gateway, carried to devices over legs. The gateway has no key of what is inside.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hedgerow_core::ServerName;
use hedgerow_endpoint::{AdaptedFraming, LegConfig};
use hedgerow_leg::Role;
use hedgerow_net::{LegStream, Node, NodeConfig, ResetReason, Share, Shares, StreamOffer};
use hedgerow_proxy::{StreamRefusal, StreamRoute, StreamRoutes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, info};

use crate::config::{ConfigError, TlsListener, unchecked};
use crate::registry::Registry;
use crate::server::stopped;

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
    places: Arc<Semaphore>,
    clients: Arc<Shares>,
    devices: Vec<Arc<Semaphore>>,
    counters: Arc<Mutex<AdaptStatistics>>,
}

/// Why a connection that was carried has ended.
#[derive(Debug)]
enum End {
    Closed,
    Framing(hedgerow_record::Error),
    Client(io::Error),
    Device(io::Error),
    Idle,
}

impl fmt::Display for End {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => formatter.write_str("closed in order"),
            Self::Framing(error) => write!(formatter, "malformed: {error}"),
            Self::Client(error) => write!(formatter, "client: {}", error.kind()),
            Self::Device(error) => write!(formatter, "device: {error}"),
            Self::Idle => formatter.write_str("idle"),
        }
    }
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
        node: Node,
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
        let device = |_| Arc::new(Semaphore::new(limits.connections_per_device));
        Ok(Self {
            devices: registry.entries().iter().map(device).collect(),
            places: Arc::new(Semaphore::new(limits.connections)),
            clients: Arc::new(Shares::new(limits.connections_per_client)),
            routes,
            registry,
            node,
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
    ) -> Result<(LegStream, OwnedSemaphorePermit), StreamRefusal> {
        let share = self.devices.get(index).ok_or(StreamRefusal::Unreachable)?;
        let place = Arc::clone(share).try_acquire_owned();
        let place = place.map_err(|_| StreamRefusal::Busy)?;
        let entry = self.registry.entries().get(index);
        let entry = entry.ok_or(StreamRefusal::Unreachable)?;
        let target = self.registry.hop_target(entry).await;
        let target = target.map_err(|_| StreamRefusal::Unreachable)?;
        let offer = StreamOffer {
            port: self.limits.application.port_tag(),
            address: Some(from),
            ..StreamOffer::default()
        };
        let opened = self.node.open_stream(&target, offer).await;
        match opened {
            Ok(stream) => Ok((stream, place)),
            Err(error) => {
                debug!(%error, "device can't be reached");
                Err(StreamRefusal::Unreachable)
            }
        }
    }

    async fn serve(&self, mut stream: TcpStream, from: SocketAddr) {
        if stream.set_nodelay(true).is_err() {
            return;
        }
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
        let mut carried = Carried {
            framing: AdaptedFraming::gateway(self.limits.form),
            to_device: 0,
            to_client: 0,
        };
        let _open = Open(self);
        let end = carried
            .carry(stream, leg, &early, self.limits.idle_timeout)
            .await;
        {
            let mut counters = self.lock();
            let count = match end {
                End::Closed => &mut counters.closed,
                _ => &mut counters.broken,
            };
            *count = count.saturating_add(1);
        }
        info!(
            target: "hedgerow::audit",
            device,
            %from,
            mode = "translate-device",
            bytes_to_device = carried.to_device,
            bytes_to_client = carried.to_client,
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

/// Counts a connection for as long as it is there.
struct Open<'s>(&'s Shared);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut counters = self.0.lock();
        counters.open = counters.open.saturating_sub(1);
    }
}

/// A connection that is carried.
struct Carried {
    framing: AdaptedFraming,
    to_device: u64,
    to_client: u64,
}

impl Carried {
    /// Carries bytes until both directions have ended in order, or something else has. A direction is read only as far
    /// as the other side takes it.
    async fn carry(
        &mut self,
        mut stream: TcpStream,
        mut leg: LegStream,
        early: &[u8],
        idle: Duration,
    ) -> End {
        let end = self.copy(&mut stream, &mut leg, early, idle).await;
        match end {
            End::Closed => {
                let _ = timeout(CLOSE_TIMEOUT, leg.close()).await;
            }
            _ => {
                // No orderly end may come of this: the client's system says "reset".
                let _ = stream.set_zero_linger();
                leg.reset(ResetReason::ConnectionLost);
            }
        }
        end
    }

    async fn copy(
        &mut self,
        stream: &mut TcpStream,
        leg: &mut LegStream,
        early: &[u8],
        idle: Duration,
    ) -> End {
        if let Err(end) = self.give_device(early, leg).await {
            return end;
        }
        let (mut up, mut down) = ([0; READ_LEN], [0; READ_LEN]);
        let (mut client_ended, mut device_ended) = (false, false);
        while !(client_ended && device_ended) {
            tokio::select! {
                read = stream.read(&mut up), if !client_ended => match read {
                    Ok(0) => {
                        client_ended = true;
                        if let Err(error) = leg.shutdown().await {
                            return End::Device(error);
                        }
                    }
                    Ok(len) => {
                        let bytes = up.get(..len).unwrap_or_default();
                        if let Err(end) = self.give_device(bytes, leg).await {
                            return end;
                        }
                    }
                    Err(error) => return End::Client(error),
                },
                read = leg.read(&mut down), if !device_ended => match read {
                    Ok(0) => {
                        device_ended = true;
                        if let Err(error) = stream.shutdown().await {
                            return End::Client(error);
                        }
                    }
                    Ok(len) => {
                        let bytes = down.get(..len).unwrap_or_default();
                        if let Err(end) = self.give_client(bytes, stream).await {
                            return end;
                        }
                    }
                    Err(error) => return End::Device(error),
                },
                () = sleep(idle) => return End::Idle,
            }
        }
        End::Closed
    }

    async fn give_device(&mut self, bytes: &[u8], leg: &mut LegStream) -> Result<(), End> {
        let mut out = Vec::new();
        self.framing.to_leg(bytes, &mut out).map_err(End::Framing)?;
        self.to_device = self.to_device.saturating_add(len_u64(bytes));
        match timeout(STALL_TIMEOUT, leg.write_all(&out)).await {
            Ok(written) => written.map_err(End::Device),
            Err(_) => Err(End::Device(io::ErrorKind::TimedOut.into())),
        }
    }

    async fn give_client(&mut self, bytes: &[u8], stream: &mut TcpStream) -> Result<(), End> {
        let mut out = Vec::new();
        self.framing
            .from_leg(bytes, &mut out)
            .map_err(End::Framing)?;
        self.to_client = self.to_client.saturating_add(len_u64(&out));
        match timeout(STALL_TIMEOUT, stream.write_all(&out)).await {
            Ok(written) => written.map_err(End::Client),
            Err(_) => Err(End::Client(io::ErrorKind::TimedOut.into())),
        }
    }
}

fn len_u64(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
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
        let mut stop = self.stop.clone();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stopped(&mut stop) => break,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, from)) => self.begin(stream, from, &mut connections),
                    Err(error) => {
                        // Out of file descriptors: accepting again at once would only spin.
                        debug!(%error, "connection not accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
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

/// How much is read at a time, in bytes.
const READ_LEN: usize = 4_096;

/// How long either side may take for what is written at once.
const STALL_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a stream may take to close that has ended in both directions.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a refused client is listened to.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(1);

/// How long nothing is accepted after an error.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
