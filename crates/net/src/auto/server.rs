//! The gateway's UDP socket for all UDP carriers.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hedgerow_crypto_ring::RingCrypto;
use hedgerow_endpoint::{UdpCarrierId, UdpCarrierServer, UdpCarrierServerEvent};
use hedgerow_proxy::UdpCarrierOffer;
use http::HeaderValue;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;
use tracing::debug;

use super::RECORD_BUFFER_LEN;
use super::outgoing::{OutgoingReceiver, OutgoingSender, Room, outgoing_queue};
use crate::clock::{Clock, os_random};
use crate::path::{Path, Remote};
use crate::socket::{NodeSocket, ReceiveBuffers};

/// The UDP carriers of a gateway: one socket, and a task that owns their sessions. It ends when the last
/// handle and the last [`UdpCarrier`] are dropped.
#[derive(Clone)]
pub struct UdpCarriers {
    local: SocketAddr,
    shared: Arc<Shared>,
    control: mpsc::UnboundedSender<Control>,
    messages: OutgoingSender,
}

/// Counters of all UDP carriers since the gateway started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpCarrierStatistics {
    /// Carriers that there are now.
    pub open: u64,
    /// Carriers that were opened.
    pub opened: u64,
    /// Messages that came under a carrier's key.
    pub received: u64,
    /// Messages that were sent.
    pub sent: u64,
    /// Messages for which a tunnel, or the socket's task, had no room.
    pub queue_full: u64,
    /// Messages that were not sent, because the carrier had ended or the system refused.
    pub not_sent: u64,
    /// Datagrams that were dropped: malformed, replayed, forged, from nowhere.
    pub dropped: u64,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last_id: u32,
    statistics: UdpCarrierStatistics,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, counter: impl FnOnce(&mut UdpCarrierStatistics) -> &mut u64) {
        let mut state = self.lock();
        let counter = counter(&mut state.statistics);
        *counter = counter.saturating_add(1);
    }
}

/// What the task is told. There are as many as tunnels come and go.
enum Control {
    Offer(UdpCarrierId, Box<UdpCarrierOffer>, Slot),
    Withdraw(UdpCarrierId),
}

/// What the task tells a tunnel.
struct Slot {
    messages: mpsc::Sender<Box<[u8]>>,
    /// Which of the offer's sessions there is, counted from 1; 0 for none.
    session: watch::Sender<u64>,
    sessions: u64,
}

impl UdpCarriers {
    /// Listens for UDP carriers, of which there are none before something is offered. Port 0 takes a
    /// free one; the wildcard address of IPv6 stands for IPv4 too. It has to run within a tokio runtime
    /// with I/O and time.
    ///
    /// # Errors
    ///
    /// Those of the system when it makes and binds the socket.
    pub fn bind(local: SocketAddr) -> io::Result<Self> {
        let socket = NodeSocket::bind(local)?;
        let local = socket.local_addr();
        let (control, controls) = mpsc::unbounded_channel();
        let (messages, outgoing) = outgoing_queue();
        let shared = Arc::new(Shared::default());
        let clock = Clock::start();
        let mut rng = os_random();
        let task = Task {
            socket,
            server: UdpCarrierServer::new(RingCrypto, &mut clock.env(&mut rng)),
            slots: BTreeMap::new(),
            clock,
            shared: Arc::clone(&shared),
        };
        tokio::spawn(task.run(controls, outgoing));
        Ok(Self {
            local,
            shared,
            control,
            messages,
        })
    }

    /// Returns where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Draws an offer for one tunnel. It stands until what is returned is dropped, and so does the
    /// carrier that is made of it.
    pub fn offer(&self) -> Option<UdpCarrier> {
        let id = {
            let mut state = self.shared.lock();
            // No number is given twice, for what waits in a queue has nothing else.
            state.last_id = state.last_id.checked_add(1)?;
            UdpCarrierId(state.last_id)
        };
        let offer = UdpCarrierOffer::draw(self.local.port(), &mut os_random());
        let field = offer.to_field()?;
        let (messages, incoming) = mpsc::channel(INCOMING_PLACES);
        let (session, sessions) = watch::channel(0);
        let slot = Slot {
            messages,
            session,
            sessions: 0,
        };
        let offered = Control::Offer(id, Box::new(offer), slot);
        self.control.send(offered).ok()?;
        Some(UdpCarrier {
            field,
            incoming,
            sessions,
            sender: UdpCarrierSender {
                id,
                shared: Arc::clone(&self.shared),
                messages: self.messages.clone(),
            },
            _withdrawal: Withdrawal {
                id,
                control: self.control.clone(),
            },
        })
    }

    /// Returns the counters.
    pub fn statistics(&self) -> UdpCarrierStatistics {
        self.shared.lock().statistics
    }
}

impl fmt::Debug for UdpCarriers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "UdpCarriers({})", self.local)
    }
}

/// One tunnel's offer, and its carrier once the client has opened one.
pub struct UdpCarrier {
    field: HeaderValue,
    incoming: mpsc::Receiver<Box<[u8]>>,
    sessions: watch::Receiver<u64>,
    sender: UdpCarrierSender,
    _withdrawal: Withdrawal,
}

/// Takes the offer back.
struct Withdrawal {
    id: UdpCarrierId,
    control: mpsc::UnboundedSender<Control>,
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        // A task that is gone has no carrier either.
        let _ = self.control.send(Control::Withdraw(self.id));
    }
}

/// What comes by a tunnel's UDP carrier.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UdpCarrierEvent {
    /// There is a carrier, another one than before.
    Opened,
    /// There is none any more.
    Closed,
    /// A message of the client's.
    Message(Box<[u8]>),
}

impl UdpCarrier {
    /// Returns the field that makes the offer, in the response that grants the tunnel.
    pub const fn field(&self) -> &HeaderValue {
        &self.field
    }

    /// Returns what sends on it.
    pub fn sender(&self) -> UdpCarrierSender {
        self.sender.clone()
    }

    /// Waits for what comes next; `None` once nothing will. Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<UdpCarrierEvent> {
        tokio::select! {
            // What came before an end may be told after it: it is the tunnel's all the same.
            biased;
            changed = self.sessions.changed() => {
                changed.ok()?;
                match *self.sessions.borrow_and_update() {
                    0 => Some(UdpCarrierEvent::Closed),
                    _ => Some(UdpCarrierEvent::Opened),
                }
            }
            message = self.incoming.recv() => message.map(UdpCarrierEvent::Message),
        }
    }
}

impl fmt::Debug for UdpCarrier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "UdpCarrier({})", self.sender.id.0)
    }
}

/// Sends messages on a tunnel's UDP carrier.
#[derive(Clone)]
pub struct UdpCarrierSender {
    id: UdpCarrierId,
    shared: Arc<Shared>,
    messages: OutgoingSender,
}

impl UdpCarrierSender {
    /// Hands a message over, without waiting. It is dropped and counted where there is no room, or no
    /// carrier; whether it was taken is returned. Where all places are taken, the tunnel with the most messages gives up its
    /// oldest one, unless that is this tunnel.
    pub fn send(&self, message: Box<[u8]>) -> bool {
        let room = self.messages.send(self.id, message);
        if room != Room::Free {
            self.shared.count(|statistics| &mut statistics.queue_full);
        }
        room != Room::None
    }
}

impl fmt::Debug for UdpCarrierSender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "UdpCarrierSender({})", self.id.0)
    }
}

/// Owns socket and sessions.
struct Task {
    socket: NodeSocket,
    server: UdpCarrierServer<Path, RingCrypto>,
    slots: BTreeMap<UdpCarrierId, Slot>,
    clock: Clock,
    shared: Arc<Shared>,
}

impl Task {
    async fn run(
        mut self,
        mut controls: mpsc::UnboundedReceiver<Control>,
        mut outgoing: OutgoingReceiver,
    ) {
        let mut buffers = ReceiveBuffers::new();
        let mut errors_in_a_row = 0_u32;
        loop {
            self.flush().await;
            let due = self.server.poll_timeout();
            let wake_at = self.clock.wake_at(due.unwrap_or_default());
            tokio::select! {
                control = controls.recv() => match control {
                    Some(control) => self.control(control),
                    None => return,
                },
                received = self.socket.receive(&mut buffers) => match received {
                    Ok(()) => {
                        errors_in_a_row = 0;
                        // An offer is there before the client that has read it.
                        while let Ok(control) = controls.try_recv() {
                            self.control(control);
                        }
                        for (meta, datagram) in buffers.datagrams() {
                            let (remote, local) = self.socket.origin(meta);
                            let path = Path { remote: Remote::At(remote), local };
                            self.handle_datagram(path, datagram).await;
                        }
                    }
                    // About an earlier datagram, and anybody's word.
                    Err(error) => {
                        debug!(%error, "receiving failed");
                        errors_in_a_row = errors_in_a_row.saturating_add(1);
                        if errors_in_a_row >= MAX_ERRORS_IN_A_ROW {
                            tracing::error!(%error, "socket of UDP carriers is unusable");
                            return;
                        }
                    }
                },
                (id, message) = outgoing.next() => self.send(id, &message).await,
                () = sleep_until(wake_at), if due.is_some() => {
                    let mut rng = os_random();
                    self.server.handle_timeout(&mut self.clock.env(&mut rng));
                }
            }
        }
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::Offer(id, offer, slot) => {
                if let Some(psk) = offer.psk() {
                    self.server.offer(id, offer.identity(), psk);
                    self.slots.insert(id, slot);
                }
            }
            Control::Withdraw(id) => {
                let mut rng = os_random();
                self.server.withdraw(&mut self.clock.env(&mut rng), id);
                self.slots.remove(&id);
            }
        }
        self.count_open();
    }

    async fn handle_datagram(&mut self, from: Path, datagram: &mut [u8]) {
        let mut rest = datagram;
        while !rest.is_empty() {
            let mut answer = [0; MAX_ANSWER_LEN];
            let answer_len = {
                let mut rng = os_random();
                let mut env = self.clock.env(&mut rng);
                let handled = self
                    .server
                    .handle_datagram(&mut env, from, rest, &mut answer);
                rest = handled.rest;
                if let Some(event) = handled.event {
                    note(&mut self.slots, &self.shared, event);
                }
                handled.answer
            };
            let answer = answer.get(..answer_len).unwrap_or_default();
            if !answer.is_empty()
                && let Err(error) = self.socket.send(&from, answer).await
            {
                debug!(%error, "sending failed");
            }
            self.flush().await;
        }
        self.count_open();
    }

    /// Sends what the sessions have to say for themselves.
    async fn flush(&mut self) {
        let mut out = [0; RECORD_BUFFER_LEN];
        loop {
            let written = {
                let mut rng = os_random();
                self.server
                    .poll_transmit(&mut self.clock.env(&mut rng), &mut out)
            };
            let Some((to, len)) = written else {
                return;
            };
            let datagram = out.get(..len).unwrap_or_default();
            if let Err(error) = self.socket.send(&to, datagram).await {
                debug!(%error, "sending failed");
            }
        }
    }

    async fn send(&mut self, id: UdpCarrierId, message: &[u8]) {
        let mut out = [0; RECORD_BUFFER_LEN];
        let Ok((to, len)) = self.server.seal(id, message, &mut out) else {
            self.shared.count(|statistics| &mut statistics.not_sent);
            // A key that is used up has ended the carrier.
            if let Some(slot) = self.slots.get(&id).filter(|_| !self.server.is_open(id)) {
                slot.session
                    .send_if_modified(|session| std::mem::take(session) != 0);
            }
            return;
        };
        let datagram = out.get(..len).unwrap_or_default();
        match self.socket.send(&to, datagram).await {
            Ok(()) => self.shared.count(|statistics| &mut statistics.sent),
            Err(error) => {
                debug!(%error, "sending failed");
                self.shared.count(|statistics| &mut statistics.not_sent);
            }
        }
    }

    fn count_open(&self) {
        let open = u64::try_from(self.server.sessions()).unwrap_or(u64::MAX);
        self.shared.lock().statistics.open = open;
    }
}

fn note(
    slots: &mut BTreeMap<UdpCarrierId, Slot>,
    shared: &Shared,
    event: UdpCarrierServerEvent<'_>,
) {
    match event {
        UdpCarrierServerEvent::Opened { id, replaced } => {
            shared.count(|statistics| &mut statistics.opened);
            if let Some(slot) = replaced.and_then(|replaced| slots.get(&replaced)) {
                slot.session.send_replace(0);
            }
            if let Some(slot) = slots.get_mut(&id) {
                slot.sessions = slot.sessions.saturating_add(1);
                slot.session.send_replace(slot.sessions);
            }
        }
        UdpCarrierServerEvent::Closed(id) => {
            if let Some(slot) = slots.get(&id) {
                slot.session.send_replace(0);
            }
        }
        UdpCarrierServerEvent::Message(id, message) => {
            shared.count(|statistics| &mut statistics.received);
            let sent = slots
                .get(&id)
                .map(|slot| slot.messages.try_send((&*message).into()));
            if !matches!(sent, Some(Ok(()))) {
                shared.count(|statistics| &mut statistics.queue_full);
            }
        }
        UdpCarrierServerEvent::Dropped(reason) => {
            debug!(?reason, "dropped from a UDP carrier");
            shared.count(|statistics| &mut statistics.dropped);
        }
    }
}

/// Messages that wait for one tunnel.
const INCOMING_PLACES: usize = 128;

/// The longest answer to an address without proof, in bytes.
const MAX_ANSWER_LEN: usize = 64;

/// Errors of the receiving socket after which it counts as gone.
const MAX_ERRORS_IN_A_ROW: u32 = 1_000;
