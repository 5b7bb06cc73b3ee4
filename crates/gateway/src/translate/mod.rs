//! Mode `translate` (docs/specs/translate.md): TCP connections whose records go on as a device's
//! datagrams. The gateway has no key of what is inside.

mod flow;
mod statistics;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hedgerow_net::{Share, Shares};
use hedgerow_proxy::NotPermitted;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::debug;

use crate::config::Translate;
use crate::rate::Rate;
use crate::registry::Registry;
use crate::server::accept_until_stopped;
use flow::Flow;
use statistics::{Counters, add};

pub use statistics::TranslateStatistics;

/// The listener for connections in mode `translate`.
pub(crate) struct TranslateServer {
    listener: TcpListener,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
}

/// What all connections have in common.
pub(crate) struct Shared {
    limits: Translate,
    registry: Arc<Registry>,
    pub(crate) counters: Counters,
    places: Arc<Semaphore>,
    clients: Arc<Shares>,
    /// In the registry's order.
    devices: Vec<DeviceShare>,
}

/// What all connections to one device have in common.
struct DeviceShare {
    places: Arc<Semaphore>,
    /// What goes to the device from connections on which it has shown no session.
    strangers: Mutex<Rate>,
    /// How often such connections have its name looked up anew.
    look_ups: Mutex<Rate>,
}

/// A device that a connection is for, and the connection's place with it.
struct Permitted {
    index: usize,
    name: String,
    _place: OwnedSemaphorePermit,
}

impl Shared {
    pub(crate) fn new(limits: Translate, registry: Arc<Registry>) -> Self {
        let now = Instant::now();
        let devices = registry.entries().iter().map(|_| DeviceShare {
            places: Arc::new(Semaphore::new(limits.connections_per_device)),
            strangers: Mutex::new(Rate::new(STRANGERS_BURST, STRANGERS_INTERVAL, now)),
            look_ups: Mutex::new(Rate::new(1, LOOK_UP_INTERVAL, now)),
        });
        Self {
            devices: devices.collect(),
            places: Arc::new(Semaphore::new(limits.connections)),
            clients: Arc::new(Shares::new(limits.connections_per_client)),
            counters: Counters::default(),
            registry,
            limits,
        }
    }

    /// Finds the device of a preface and takes a place with it.
    fn permit(&self, name: &str) -> Result<Permitted, NotPermitted> {
        let entry = self.registry.translate_entry(name);
        let entry = entry.ok_or(NotPermitted::Refused)?;
        let share = self.devices.get(entry.index).ok_or(NotPermitted::Refused)?;
        let place = Arc::clone(&share.places).try_acquire_owned();
        Ok(Permitted {
            index: entry.index,
            name: entry.device.name.clone(),
            _place: place.map_err(|_| NotPermitted::Busy)?,
        })
    }

    /// Says whether a stranger's datagram may go to a device now.
    fn passes_stranger(&self, index: usize) -> bool {
        self.devices
            .get(index)
            .is_some_and(|share| take(&share.strangers))
    }

    /// Says whether a device's name may be looked up again because a connection led nowhere. Anybody
    /// can have one that does.
    fn looks_up_anew(&self, index: usize) -> bool {
        self.devices
            .get(index)
            .is_some_and(|share| take(&share.look_ups))
    }
}

fn take(rate: &Mutex<Rate>) -> bool {
    let mut rate = rate.lock().unwrap_or_else(PoisonError::into_inner);
    rate.take(Instant::now())
}

impl TranslateServer {
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

    /// Serves until it is told to stop. The connections end then: what is lost of them is as lost as
    /// any datagram.
    pub(crate) async fn run(self) {
        let mut flows = JoinSet::new();
        let begin = |stream, from, flows: &mut _| self.begin(stream, from, flows);
        accept_until_stopped(&self.listener, &self.stop, &mut flows, begin).await;
        flows.shutdown().await;
    }

    fn begin(&self, stream: TcpStream, from: SocketAddr, flows: &mut JoinSet<()>) {
        let Some(places) = self.places(from) else {
            debug!(%from, "connection in mode translate closed: as many as configured");
            add(&mut self.shared.counters.lock().busy);
            return;
        };
        let flow = Flow {
            shared: Arc::clone(&self.shared),
            from,
        };
        flows.spawn(async move {
            let _places = places;
            flow.run(stream).await;
        });
    }

    fn places(&self, from: SocketAddr) -> Option<(OwnedSemaphorePermit, Share)> {
        let place = Arc::clone(&self.shared.places).try_acquire_owned().ok()?;
        Some((place, self.shared.clients.enter(from.ip())?))
    }
}

/// Datagrams that strangers may send to a device at once, and how long each takes after that.
const STRANGERS_BURST: u32 = 20;
const STRANGERS_INTERVAL: Duration = Duration::from_millis(100);

/// How long a device's address stays at least, whatever connections of strangers come to.
const LOOK_UP_INTERVAL: Duration = Duration::from_secs(10);
