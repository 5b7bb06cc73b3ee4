//! Devices that open TLS connections to servers (docs/specs/leg.md): each in a stream of its hop's DTLS session,
//! which goes on as a TCP connection to a service that is listed for the device. The gateway has no key
//! of what is inside, and looks into nothing.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_core::{PeerId, Psk};
use hedgerow_endpoint::LegConfig;
use hedgerow_leg::Role;
use hedgerow_net::{
    IncomingStream, KeyStore, LegStream, Node, NodeConfig, RequestFailure, ResetReason,
    ResponseMessage, SecurityPolicy, ServerRequest, StreamOffer, connect_in_turn, resolve,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{info, warn};

use crate::config::{ConfigError, Leg, LegPeer, LegService, unchecked};
use crate::gateway::StartError;
use crate::leg_form::StreamForm;
use crate::server::stopped;

/// Counters of all streams of devices since the gateway started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LegStatistics {
    /// Streams that are carried now.
    pub open: u64,
    /// Streams for which a TCP connection was made.
    pub connected: u64,
    /// Streams to a service that isn't there, or isn't listed for the device.
    pub refused: u64,
    /// Streams that a limit turned away.
    pub busy: u64,
    /// Streams whose TCP connection wasn't made.
    pub connect_failed: u64,
    /// Streams that ended in order on both sides.
    pub closed: u64,
    /// Streams that were carried and ended otherwise.
    pub broken: u64,
    /// Bytes from devices.
    pub bytes_from_devices: u64,
    /// Bytes to devices.
    pub bytes_to_devices: u64,
}

/// The listener for devices that open streams.
pub(crate) struct LegServer {
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
}

/// What all streams have in common.
pub(crate) struct Shared {
    node: Node,
    peers: Vec<(LegPeer, Arc<Semaphore>)>,
    services: Vec<LegService>,
    places: Arc<Semaphore>,
    connect_timeout: Duration,
    idle_timeout: Duration,
    counters: watch::Sender<LegStatistics>,
}

/// Why a stream that was carried has ended.
#[derive(Debug)]
enum End {
    /// Both directions did, in order.
    Closed,
    /// The device gave it up, or its session was lost.
    Device(io::Error),
    /// The TCP connection broke.
    Service(io::Error),
    /// Records of form `dtls`, or what came back for them, can't be followed.
    Framing(hedgerow_record::Error),
    /// Nothing was carried for too long.
    Idle,
    /// The gateway stops.
    Stopping,
}

impl fmt::Display for End {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => formatter.write_str("closed in order"),
            Self::Device(error) => write!(formatter, "device: {error}"),
            Self::Service(error) => write!(formatter, "service: {}", error.kind()),
            Self::Framing(error) => write!(formatter, "malformed: {error}"),
            Self::Idle => formatter.write_str("idle"),
            Self::Stopping => formatter.write_str("gateway stopping"),
        }
    }
}

impl Shared {
    /// Binds the node that devices call, with room for so many streams that the gateway opens to each of them.
    pub(crate) async fn bind(
        leg: Leg,
        inward: usize,
        config: NodeConfig,
    ) -> Result<Self, StartError> {
        let keys = keys(&leg)?;
        let most = leg.streams_per_device;
        let config = fit(&leg, inward, config);
        let address = leg.listen;
        let node = Node::bind_server(address, config, keys, nothing_here).await;
        let node = node.map_err(|error| StartError::Listen { address, error })?;
        let peers = leg.peers.into_iter();
        Ok(Self {
            node,
            peers: peers
                .map(|peer| (peer, Arc::new(Semaphore::new(most))))
                .collect(),
            services: leg.services,
            places: Arc::new(Semaphore::new(leg.streams)),
            connect_timeout: leg.connect_timeout,
            idle_timeout: leg.idle_timeout,
            counters: watch::Sender::default(),
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.node.local_addr()
    }

    pub(crate) fn statistics(&self) -> LegStatistics {
        *self.counters.borrow()
    }

    pub(crate) fn follow(&self) -> watch::Receiver<LegStatistics> {
        self.counters.subscribe()
    }

    pub(crate) async fn close(&self) {
        self.node.close().await;
    }

    /// Opens a stream to the device that a peer's name stands for, in the session that it has begun.
    ///
    /// # Errors
    ///
    /// [`RequestFailure::NoSession`] if no peer has the name, or it isn't there; others of the node's.
    pub(crate) async fn open_to(
        &self,
        name: &str,
        offer: StreamOffer,
    ) -> Result<LegStream, RequestFailure> {
        let mut peers = (0..).zip(&self.peers);
        let number = peers.find(|(_, (peer, _))| peer.name == name);
        let (number, _) = number.ok_or(RequestFailure::NoSession)?;
        self.node.open_stream_to_caller(PeerId(number), offer).await
    }

    fn count(&self, counter: impl Fn(&mut LegStatistics) -> &mut u64) {
        self.counters.send_modify(|counters| {
            let counter = counter(counters);
            *counter = counter.saturating_add(1);
        });
    }

    /// Finds who has opened a stream, and the service that it names if that is listed for it.
    fn permit(&self, incoming: &IncomingStream) -> Option<Permitted<'_>> {
        let PeerId(number) = incoming.peer.id()?;
        let (peer, places) = self.peers.get(usize::try_from(number).ok()?)?;
        let name = &incoming.offer.name;
        let is_listed = peer.services.contains(name);
        let service = self.services.iter().find(|service| service.name == *name);
        Some(Permitted {
            peer,
            places,
            service: service.filter(|_| is_listed),
        })
    }
}

struct Permitted<'s> {
    peer: &'s LegPeer,
    places: &'s Arc<Semaphore>,
    service: Option<&'s LegService>,
}

impl LegServer {
    pub(crate) const fn new(shared: Arc<Shared>, stop: watch::Receiver<bool>) -> Self {
        Self { shared, stop }
    }

    /// Serves until it is told to stop. The streams end then, and not in order.
    pub(crate) async fn run(self) {
        let mut stop = self.stop.clone();
        let mut flows = JoinSet::new();
        loop {
            tokio::select! {
                () = stopped(&mut stop) => break,
                Some(_) = flows.join_next() => {}
                accepted = self.shared.node.accept_stream() => match accepted {
                    Some(incoming) => self.begin(incoming, &mut flows),
                    None => break,
                },
            }
        }
        while flows.join_next().await.is_some() {}
        self.shared.close().await;
    }

    fn begin(&self, incoming: IncomingStream, flows: &mut JoinSet<()>) {
        let shared = &self.shared;
        let permitted = shared.permit(&incoming);
        let peer = permitted.as_ref().map_or("-", |found| &found.peer.name);
        let asked = incoming.offer.name.as_str();
        let from = incoming.remote;
        let Some((permitted, service)) = permitted
            .as_ref()
            .and_then(|found| Some((found, found.service?)))
        else {
            warn!(target: "hedgerow::audit", device = peer, %from, service = asked, "stream denied");
            shared.count(|counters| &mut counters.refused);
            return incoming.stream.reset(ResetReason::Refused);
        };
        let flow = Flow {
            shared: Arc::clone(shared),
            device: peer.to_owned(),
            service: service.clone(),
            from,
        };
        let places = [Arc::clone(&shared.places), Arc::clone(permitted.places)];
        flows.spawn(flow.enter(places, incoming.stream, self.stop.clone()));
    }
}

/// One stream.
struct Flow {
    shared: Arc<Shared>,
    device: String,
    service: LegService,
    from: SocketAddr,
}

impl Flow {
    /// Runs with a place among all streams and one among those of the device. A device that has come back in a new
    /// session finds the places of its old one taken for as long as their tasks take to notice; the leg bounds how many
    /// streams wait for that.
    async fn enter(
        self,
        [places, own_places]: [Arc<Semaphore>; 2],
        stream: LegStream,
        stop: watch::Receiver<bool>,
    ) {
        let own_place = timeout(PLACE_TIMEOUT, own_places.acquire_owned()).await;
        let (Ok(Ok(_own_place)), Ok(_place)) = (own_place, places.try_acquire_owned()) else {
            let (device, from, service) = (&self.device, self.from, &self.service.name);
            warn!(target: "hedgerow::audit", device, %from, service, "stream denied: as many as configured");
            self.shared.count(|counters| &mut counters.busy);
            return stream.reset(ResetReason::Limit);
        };
        self.run(stream, stop).await;
    }

    /// Connects to the service and copies until something ends it, and leaves a line in the log.
    async fn run(self, stream: LegStream, mut stop: watch::Receiver<bool>) {
        let (device, service) = (self.device.as_str(), self.service.name.as_str());
        let connected = tokio::select! {
            connected = self.connect() => connected,
            () = stopped(&mut stop) => return stream.reset(ResetReason::Application),
        };
        let tcp = match connected {
            Ok(tcp) => tcp,
            Err(error) => {
                warn!(target: "hedgerow::audit", device, service, %error, "service not reached");
                self.shared.count(|counters| &mut counters.connect_failed);
                return stream.reset(ResetReason::ConnectFailed);
            }
        };
        info!(target: "hedgerow::audit", device, service, "stream opened");
        self.shared.count(|counters| &mut counters.connected);
        self.shared.count(|counters| &mut counters.open);
        let start = Instant::now();
        let traffic = Traffic::new();
        let tcp = Connection {
            tcp,
            has_ended: false,
        };
        let end = self.carry(stream, tcp, &traffic, &mut stop).await;
        let Carried { up, down, .. } = *traffic.lock();
        self.shared.counters.send_modify(|counters| {
            counters.open = counters.open.saturating_sub(1);
            let ended = match end {
                End::Closed => &mut counters.closed,
                _ => &mut counters.broken,
            };
            *ended = ended.saturating_add(1);
            counters.bytes_from_devices = counters.bytes_from_devices.saturating_add(up);
            counters.bytes_to_devices = counters.bytes_to_devices.saturating_add(down);
        });
        info!(
            target: "hedgerow::audit",
            device,
            service,
            bytes_up = up,
            bytes_down = down,
            ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
            %end,
            "stream ended"
        );
    }

    /// Connects to the service within the time for it, the look-up of its name included. An address that
    /// doesn't answer leaves time for the others.
    async fn connect(&self) -> io::Result<TcpStream> {
        let end = Instant::now() + self.shared.connect_timeout;
        let addresses = timeout_at(end, resolve(&self.service.host, self.service.port)).await;
        let addresses = addresses.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let stream = connect_in_turn(addresses, end).await?;
        // Handshakes are short messages that wait for each other.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    /// Copies both ways. Each side's orderly end becomes the other's; whatever else ends one side ends
    /// the other one out of order.
    async fn carry(
        &self,
        stream: LegStream,
        mut connection: Connection,
        traffic: &Traffic,
        stop: &mut watch::Receiver<bool>,
    ) -> End {
        let (mut leg_reader, mut leg_writer) = split(stream);
        let (mut tcp_reader, mut tcp_writer) = connection.tcp.split();
        let form = StreamForm::new();
        let up = async {
            let map = |bytes: &[u8], out: &mut Vec<u8>| form.to_server(bytes, out);
            copy(&mut leg_reader, &mut tcp_writer, map, |len| traffic.up(len)).await
        };
        let down = async {
            let map = |bytes: &[u8], out: &mut Vec<u8>| form.to_device(bytes, out);
            let carried = |len| traffic.down(len);
            let copied = copy(&mut tcp_reader, &mut leg_writer, map, carried).await;
            // The same two sides, seen from here.
            copied.map_err(|side| match side {
                Side::Read(error) => Side::Written(error),
                Side::Written(error) => Side::Read(error),
                Side::Framing(error) => Side::Framing(error),
            })
        };
        let both = async { tokio::try_join!(up, down) };
        let end = tokio::select! {
            ended = both => match ended {
                Ok(_) => End::Closed,
                Err(Side::Read(error)) => End::Device(error),
                Err(Side::Written(error)) => End::Service(error),
                Err(Side::Framing(error)) => End::Framing(error),
            },
            () = traffic.idle(self.shared.idle_timeout) => End::Idle,
            () = stopped(stop) => End::Stopping,
        };
        let stream = leg_reader.unsplit(leg_writer);
        match &end {
            // The leg sees to what is left to be acknowledged.
            End::Closed => connection.has_ended = true,
            End::Service(_) | End::Framing(_) => stream.reset(ResetReason::ConnectionLost),
            End::Idle | End::Device(_) => stream.reset(ResetReason::Timeout),
            End::Stopping => stream.reset(ResetReason::Application),
        }
        end
    }
}

/// A TCP connection that is reset unless it has ended in order.
struct Connection {
    tcp: TcpStream,
    has_ended: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The system would end it in order, and a truncation look like the end.
        if !self.has_ended
            && let Err(error) = self.tcp.set_zero_linger()
        {
            warn!(%error, "a TCP connection can't be reset");
        }
    }
}

/// Which side of a copy failed.
enum Side {
    Read(io::Error),
    Written(io::Error),
    /// Neither: what one said has no meaning for the other.
    Framing(hedgerow_record::Error),
}

/// Copies what `map` makes of it until the reader's end, and ends the writer in order then.
async fn copy(
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    map: impl Fn(&[u8], &mut Vec<u8>) -> Result<(), hedgerow_record::Error>,
    carried: impl Fn(usize),
) -> Result<(), Side> {
    let mut out = Vec::new();
    let mut buffer = vec![0; COPY_LEN].into_boxed_slice();
    loop {
        // Nothing more is read before everything is written: a slow side slows the other.
        let len = reader.read(&mut buffer).await.map_err(Side::Read)?;
        let part = buffer.get(..len).unwrap_or_default();
        map(part, &mut out).map_err(Side::Framing)?;
        writer.write_all(&out).await.map_err(Side::Written)?;
        out.clear();
        if len == 0 {
            return writer.shutdown().await.map_err(Side::Written);
        }
        carried(len);
    }
}

/// What a stream has carried.
struct Traffic(Mutex<Carried>);

struct Carried {
    up: u64,
    down: u64,
    last: Instant,
}

impl Traffic {
    fn new() -> Self {
        Self(Mutex::new(Carried {
            up: 0,
            down: 0,
            last: Instant::now(),
        }))
    }

    fn up(&self, len: usize) {
        let mut carried = self.lock();
        carried.up = carried.up.saturating_add(to_u64(len));
        carried.last = Instant::now();
    }

    fn down(&self, len: usize) {
        let mut carried = self.lock();
        carried.down = carried.down.saturating_add(to_u64(len));
        carried.last = Instant::now();
    }

    /// Waits until nothing has been carried for too long.
    async fn idle(&self, after: Duration) {
        loop {
            let end = self.lock().last + after;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Carried> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes of a node's configuration that of the one which devices call.
fn fit(leg: &Leg, inward: usize, mut config: NodeConfig) -> NodeConfig {
    let most = leg.streams_per_device;
    config.endpoint.legs = Some(LegConfig {
        leg: Arc::new(hedgerow_leg::Config {
            // As many again may be on their way out.
            max_streams: most.saturating_add(inward).saturating_mul(2),
            max_incoming: most,
            ..hedgerow_leg::Config::default()
        }),
        max_legs: config.endpoint.max_associations,
        ..LegConfig::new(Role::Gateway)
    });
    config.stream_patience = leg.stream_patience;
    // The policy for devices that the gateway calls says nothing of those that call it.
    config.with_security(SecurityPolicy::default())
}

/// The gateway has no resources of its own.
async fn nothing_here(_: ServerRequest) -> ResponseMessage {
    ResponseMessage::new(Code::NOT_FOUND)
}

/// Returns the hop keys of the devices that are let in, numbered in the order of the configuration.
fn keys(leg: &Leg) -> Result<KeyStore, ConfigError> {
    let keys = KeyStore::new();
    for (number, peer) in (0..).zip(&leg.peers) {
        let psk = Psk::new(peer.psk.expose()).map_err(unchecked)?;
        keys.insert(peer.psk_identity.clone(), psk, PeerId(number))
            .map_err(unchecked)?;
    }
    Ok(keys)
}

fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// How long a stream waits for a place of its device's.
const PLACE_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes that are copied at a time.
const COPY_LEN: usize = 4_096;

#[cfg(test)]
mod tests;
