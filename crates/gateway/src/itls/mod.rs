//! Mode `itls` (docs/specs/itls.md): messages between the outer sessions of Internet ends and of devices. The
//! gateway has no key of what is inside.

mod hops;
mod queue;
mod stream;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hedgerow_core::Instant;
use hedgerow_net::{HopId, Node, Share, Shares};
use hedgerow_proxy::{
    FlowRecord, ItlsEvent, ItlsForwarder, ItlsLimits, ItlsOutcome, ItlsParty, ItlsPolicy,
    ItlsStatistics, OuterSession,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info};

use crate::config::{Itls as Config, Mode};
use crate::registry::Registry;
use crate::server::accept_until_stopped;
use crate::tunnels::Tunnels;
use queue::Queue;
use stream::Stream;

/// What all outer sessions have in common.
pub(crate) struct Itls {
    registry: Arc<Registry>,
    tunnels: Arc<Tunnels>,
    /// The node that calls devices, and the one that those call that come by themselves.
    nodes: Vec<Node>,
    connections_per_user: usize,
    begun: tokio::time::Instant,
    state: Mutex<State>,
    /// Told when a flow was opened, whose end is due some time.
    opened: Notify,
}

struct State {
    forwarder: ItlsForwarder,
    ways: HashMap<OuterSession, Way>,
    hops: HashMap<(usize, HopId), OuterSession>,
    /// The devices whose session is being begun, and where each is once that is known.
    calling: HashMap<usize, Option<SocketAddr>>,
    /// Connections of each user.
    users: HashMap<usize, usize>,
}

/// How messages get to an outer session.
enum Way {
    Hop { node: usize, hop: HopId },
    User(Arc<Queue>),
}

impl Itls {
    pub(crate) fn new(
        config: &Config,
        registry: Arc<Registry>,
        tunnels: Arc<Tunnels>,
        nodes: Vec<Node>,
    ) -> Arc<Self> {
        let limits = ItlsLimits {
            flows: config.flows,
            flows_per_pair: config.flows_per_pair,
            messages: config.messages_per_second.saturating_mul(2),
            messages_per_second: config.messages_per_second,
            device_messages: config.device_messages_per_second.saturating_mul(2),
            device_messages_per_second: config.device_messages_per_second,
            idle_timeout: config.idle_timeout,
            light_layer: config.light,
            ..ItlsLimits::default()
        };
        let state = State {
            forwarder: ItlsForwarder::new(policy(&registry, &tunnels), limits),
            ways: HashMap::new(),
            hops: HashMap::new(),
            calling: HashMap::new(),
            users: HashMap::new(),
        };
        Arc::new(Self {
            registry,
            tunnels,
            nodes,
            connections_per_user: config.connections_per_user,
            begun: tokio::time::Instant::now(),
            state: Mutex::new(state),
            opened: Notify::new(),
        })
    }

    pub(crate) fn statistics(&self) -> ItlsStatistics {
        self.lock().forwarder.statistics()
    }

    /// Takes a place of a user's; `false` if it has all of them.
    fn enter(&self, user: usize) -> bool {
        let mut state = self.lock();
        let taken = state.users.entry(user).or_default();
        let has_place = *taken < self.connections_per_user;
        *taken = taken.saturating_add(usize::from(has_place));
        has_place
    }

    fn leave(&self, user: usize) {
        let mut state = self.lock();
        let taken = state.users.entry(user).or_default();
        *taken = taken.saturating_sub(1);
    }

    /// Notes the outer session of an Internet end.
    fn begin_user(&self, user: usize, takes_flows: bool, queue: Arc<Queue>) -> OuterSession {
        let mut state = self.lock();
        let party = ItlsParty::User(user);
        let session = state
            .forwarder
            .begin_session(self.now(), party, takes_flows);
        state.ways.insert(session, Way::User(queue));
        session
    }

    /// Notes that an outer session is over.
    fn end(&self, session: OuterSession) {
        let mut state = self.lock();
        if let Some(Way::User(queue)) = state.ways.remove(&session) {
            queue.close();
        }
        state.forwarder.end_session(self.now(), session);
        self.settle(&mut state);
    }

    /// Takes a message of an outer session, which may have come beside its records.
    fn take(self: &Arc<Self>, from: OuterSession, message: &[u8], is_light: bool) {
        let mut state = self.lock();
        let now = self.now();
        let outcome = state.forwarder.handle_message(now, from, message, is_light);
        match outcome {
            ItlsOutcome::Deliver(delivery) => {
                let mut out = vec![0; delivery.inner_len().saturating_add(ROOM_FOR_CONTROL)];
                let (to, about) = (delivery.to, (delivery.flow, delivery.inner_len()));
                let lightly = delivery.light_message().is_some();
                if let Some(len) = delivery.encode(&mut out) {
                    out.truncate(len);
                    self.send(&mut state, to, about, out, lightly);
                }
            }
            ItlsOutcome::Await { device } => self.call(&mut state, device),
            ItlsOutcome::Closed => {}
            ItlsOutcome::Dropped(reason) => {
                debug!(reason = reason.label(), mode = "itls", "dropped");
            }
        }
        self.settle(&mut state);
    }

    /// Sends a message, or drops it as a datagram would be.
    fn send(
        &self,
        state: &mut State,
        to: OuterSession,
        (flow, len): (u16, usize),
        message: Vec<u8>,
        lightly: bool,
    ) {
        let is_sent = match state.ways.get(&to) {
            Some(Way::Hop { node, hop }) => self.nodes.get(*node).is_some_and(|node| {
                match lightly {
                    true => node.forward_lightly(*hop, (flow, len), message),
                    false => node.forward(*hop, (flow, len), message),
                }
                .is_ok()
            }),
            Some(Way::User(queue)) => queue.push(&message),
            None => false,
        };
        if !is_sent {
            state.forwarder.count_undelivered(to, flow);
        }
    }

    /// Sends what the forwarder has to say, and writes what has happened to the log.
    fn settle(&self, state: &mut State) {
        let mut out = [0; 1_024];
        while let Some((to, flow, len)) = state.forwarder.poll_transmit(&mut out) {
            let message = out.get(..len).unwrap_or_default().to_vec();
            self.send(state, to, (flow, len), message, false);
        }
        while let Some(event) = state.forwarder.poll_event() {
            self.note(state.forwarder.policy(), event);
        }
    }

    fn note(&self, policy: &ItlsPolicy, event: ItlsEvent) {
        let names = |record: &FlowRecord| {
            let device = policy.name(ItlsParty::Device(record.device)).to_owned();
            (device, policy.name(ItlsParty::User(record.user)).to_owned())
        };
        match event {
            ItlsEvent::Opened(record) => {
                let (device, user) = names(&record);
                let by_device = record.is_of_device;
                info!(target: "hedgerow::audit", user, device, by_device, mode = "itls", "flow opened");
                self.opened.notify_one();
            }
            ItlsEvent::Closed {
                record,
                end,
                lasted,
            } => {
                let (device, user) = names(&record);
                info!(
                    target: "hedgerow::audit",
                    user,
                    device,
                    by_device = record.is_of_device,
                    mode = "itls",
                    messages_to_device = record.to_device,
                    messages_to_user = record.to_user,
                    light = record.light,
                    dropped = record.dropped,
                    ms = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX),
                    ?end,
                    "flow ended"
                );
            }
            ItlsEvent::Refused { from, reason } => {
                let name = policy.name(from);
                info!(target: "hedgerow::audit", from = name, ?reason, mode = "itls", "flow refused");
            }
        }
    }

    fn now(&self) -> Instant {
        let micros = self.begun.elapsed().as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says who may open flows to whom: every user to each device in the mode, and a device to whom it calls.
fn policy(registry: &Registry, tunnels: &Tunnels) -> ItlsPolicy {
    let users: Vec<_> = tunnels.user_names().collect();
    let policy = users.iter().enumerate();
    let policy = policy.fold(ItlsPolicy::new(), |policy, (index, name)| {
        policy.with_user(index, name)
    });
    let devices = registry.entries().iter();
    let devices = devices.filter(|entry| entry.device.has(Mode::Itls));
    devices.fold(policy, |policy, entry| {
        let calls = entry.device.calls.iter();
        let calls: Vec<_> = calls
            .filter_map(|name| users.iter().position(|user| user == name))
            .collect();
        policy.with_device(entry.index, entry.device.name(), &calls)
    })
}

/// The listener for Internet ends.
pub(crate) struct ItlsServer {
    pub(crate) listener: TcpListener,
    pub(crate) tls: TlsAcceptor,
    pub(crate) itls: Arc<Itls>,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) clients: Arc<Shares>,
    pub(crate) stop: watch::Receiver<bool>,
}

impl ItlsServer {
    /// Serves until it is told to stop. The connections end then, which is a truncation for what is inside,
    /// as any end of theirs.
    pub(crate) async fn run(self) {
        let mut streams = JoinSet::new();
        let begin = |stream, from, streams: &mut _| self.begin(stream, from, streams);
        accept_until_stopped(&self.listener, &self.stop, &mut streams, begin).await;
        streams.shutdown().await;
    }

    fn begin(&self, stream: TcpStream, from: SocketAddr, streams: &mut JoinSet<()>) {
        let Some(places) = self.places(from) else {
            debug!(%from, "connection in mode itls closed: as many as configured");
            return;
        };
        let connection = Stream {
            itls: Arc::clone(&self.itls),
            tls: self.tls.clone(),
            from,
        };
        streams.spawn(async move {
            let _places = places;
            connection.run(stream).await;
        });
    }

    fn places(&self, from: SocketAddr) -> Option<(OwnedSemaphorePermit, Share)> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some((place, self.clients.enter(from.ip())?))
    }
}

/// Header, type, options and name of an OPEN.
const ROOM_FOR_CONTROL: usize = 3 + 3 + 63;
