//! The client's end of a tunnel with two carriers.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hedgerow_crypto_ring::RingCrypto;
use hedgerow_endpoint::{UdpCarrierClient, UdpCarrierReceived};
use hedgerow_proxy::{
    CarrierChoice, CarrierKind, CarrierMessage, CarrierRole, CarrierState, TunnelCarriers,
    TunnelDecoder, UdpCarrierOffer, encode_message_capsule, udp_payload_message,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{sleep_until, timeout};
use tracing::{debug, info, trace};

use super::RECORD_BUFFER_LEN;
use crate::clock::{Clock, os_random};
use crate::connected_socket::{ConnectedSocket, ReceivedDatagrams};
use crate::link::{CarrierFailure, LinkCarrier, LinkIncoming, LinkOutgoing};
use crate::link_stream::{SHUTDOWN_TIMEOUT, shut_down, write_messages};
use crate::tunnel::read_capsules;

/// What a tunnel with two carriers is made of, once it was granted with an offer.
pub(crate) struct AutoTunnel {
    pub(crate) offer: UdpCarrierOffer,
    /// Where the TCP connection leads to; the UDP carrier leads to the same host.
    pub(crate) gateway: SocketAddr,
    pub(crate) max_datagram_len: usize,
    pub(crate) places: usize,
    /// Where it is told what is thought of the carriers.
    pub(crate) state: watch::Sender<CarrierState>,
}

/// What the directions have in common.
struct Shared {
    carriers: Mutex<TunnelCarriers>,
    clock: Clock,
    /// Where messages wait for their carriers, as long as the node is there.
    queues: Mutex<Option<Queues>>,
    /// Something may be due earlier than before.
    changed: Notify,
    state: watch::Sender<CarrierState>,
}

/// Messages that wait for the TCP carrier, and for the UDP carrier.
struct Queues {
    tcp: mpsc::Sender<Box<[u8]>>,
    udp: mpsc::Sender<Box<[u8]>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, TunnelCarriers> {
        self.carriers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a message, and gives the node what is for it.
    fn receive(&self, carrier: CarrierKind, message: CarrierMessage<'_>, incoming: &LinkIncoming) {
        let payload = self
            .lock()
            .handle_message(self.clock.now(), carrier, message);
        match payload {
            Some(payload) => incoming.deliver(payload),
            None => self.changed.notify_one(),
        }
    }

    /// Hands a message to a carrier; where it has no room it is dropped, as by UDP, and `false`.
    fn send(&self, carrier: CarrierKind, message: Box<[u8]>) -> bool {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.as_ref().map(|queues| match carrier {
            CarrierKind::Tcp => &queues.tcp,
            CarrierKind::Udp => &queues.udp,
        });
        queue.is_some_and(|queue| queue.try_send(message).is_ok())
    }

    /// Takes no more messages; those that wait still leave.
    fn close(&self) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        *queues = None;
    }

    fn tell_state(&self) {
        let state = self.lock().state();
        let is_new = self.state.send_if_modified(|told| {
            let is_new = *told != state;
            *told = state;
            is_new
        });
        if is_new {
            info!(state = state.name(), mode = "auto", "carriers");
        }
    }
}

/// Carries datagrams until either side ends, and says which did.
pub(crate) async fn carry<S>(stream: S, carrier: LinkCarrier, tunnel: AutoTunnel)
where
    S: AsyncRead + AsyncWrite,
{
    let AutoTunnel {
        offer,
        gateway,
        max_datagram_len,
        places,
        state,
    } = tunnel;
    let clock = Clock::start();
    let (tcp, to_tcp) = mpsc::channel(places.max(MIN_PLACES));
    let (udp, to_udp) = mpsc::channel(places.max(MIN_PLACES));
    let shared = Shared {
        carriers: Mutex::new(TunnelCarriers::new(CarrierRole::Client, clock.now())),
        clock,
        queues: Mutex::new(Some(Queues { tcp, udp })),
        changed: Notify::new(),
        state,
    };
    let (reader, mut writer) = tokio::io::split(stream);
    let (outgoing, incoming) = carrier.split();
    let mut udp_end = UdpEnd {
        offer,
        gateway,
        open: None,
    };
    let failure = {
        let mut decoder = TunnelDecoder::new(max_datagram_len).with_probes();
        let reading = read_capsules(reader, &mut decoder, &incoming, |message| {
            shared.receive(CarrierKind::Tcp, message, &incoming);
        });
        let running = udp_end.run(to_udp, &incoming, &shared);
        let writing = write(&mut writer, to_tcp);
        tokio::pin!(reading, running, writing);
        tokio::select! {
            failure = &mut reading => failure,
            () = send(outgoing, &incoming, &shared) => {
                // What the node has said last, such as that it closes a session, is still to leave.
                shared.close();
                let leaving = async { tokio::join!(running, writing) };
                let _ = timeout(SHUTDOWN_TIMEOUT, leaving).await;
                CarrierFailure::Gone
            }
            () = &mut running => CarrierFailure::Gone,
            () = &mut writing => {
                // What a gateway said before it closed is still to be read.
                timeout(SHUTDOWN_TIMEOUT, reading)
                    .await
                    .unwrap_or(CarrierFailure::Truncated)
            }
        }
    };
    debug!(%failure, mode = "auto", "tunnel ended");
    udp_end.close(&shared).await;
    shut_down(&mut writer).await;
    incoming.end(failure);
}

/// Chooses for each datagram of the node, until the node is gone.
async fn send(mut outgoing: LinkOutgoing, incoming: &LinkIncoming, shared: &Shared) {
    while let Some(datagram) = outgoing.next().await {
        let choice = shared.lock().choose(shared.clock.now(), &datagram);
        let message = udp_payload_message(&datagram);
        if choice == CarrierChoice::Both && !shared.send(CarrierKind::Udp, message.clone()) {
            incoming.count_full_outwards();
        }
        let carrier = match choice {
            CarrierChoice::Udp => CarrierKind::Udp,
            CarrierChoice::Tcp | CarrierChoice::Both => CarrierKind::Tcp,
        };
        if !shared.send(carrier, message) {
            incoming.count_full_outwards();
        }
        shared.changed.notify_one();
    }
}

/// Writes messages until nothing can be written any more.
async fn write(writer: &mut (impl AsyncWrite + Unpin), mut messages: mpsc::Receiver<Box<[u8]>>) {
    let written = write_messages(writer, &mut messages, BUFFER_LEN, append).await;
    if let Err(error) = written {
        debug!(%error, "tunnel can't be written to");
    }
}

fn append(capsules: &mut Vec<u8>, message: &[u8]) {
    let start = capsules.len();
    let room = message.len().saturating_add(MAX_HEAD_LEN);
    capsules.resize(start.saturating_add(room), 0);
    let out = capsules.get_mut(start..).unwrap_or_default();
    let len = encode_message_capsule(message, out).unwrap_or_default();
    capsules.truncate(start.saturating_add(len));
}

/// The UDP carrier, while there is one, and the timers of both.
struct UdpEnd {
    offer: UdpCarrierOffer,
    gateway: SocketAddr,
    open: Option<Open>,
}

struct Open {
    socket: ConnectedSocket,
    client: UdpCarrierClient<RingCrypto>,
}

impl UdpEnd {
    /// Goes on until nobody is left who sends anything.
    async fn run(
        &mut self,
        mut messages: mpsc::Receiver<Box<[u8]>>,
        incoming: &LinkIncoming,
        shared: &Shared,
    ) {
        let mut received = ReceivedDatagrams::default();
        loop {
            self.step(shared).await;
            let client = self
                .open
                .as_ref()
                .and_then(|open| open.client.poll_timeout());
            let due = [client, shared.lock().poll_timeout()];
            let due = due.into_iter().flatten().min();
            let wake_at = shared.clock.wake_at(due.unwrap_or_default());
            let socket = self.open.as_ref().map(|open| &open.socket);
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => self.seal(&message).await,
                    None => return,
                },
                () = shared.changed.notified() => {}
                () = sleep_until(wake_at), if due.is_some() => {}
                result = receive(socket, &mut received), if socket.is_some() => {
                    if let Err(error) = result {
                        // ICMP, which anybody can send: probes say what is lost.
                        trace!(%error, "receiving failed");
                        continue;
                    }
                    let datagrams: Vec<_> = received.iter().map(<[u8]>::to_vec).collect();
                    for mut datagram in datagrams {
                        self.handle_datagram(&mut datagram, incoming, shared).await;
                    }
                }
            }
        }
    }

    /// Does all that is due.
    async fn step(&mut self, shared: &Shared) {
        let now = shared.clock.now();
        let wants_open = {
            let mut carriers = shared.lock();
            carriers.handle_timeout(now);
            carriers.poll_open(now)
        };
        if wants_open {
            self.open = self.begin(shared);
        }
        if let Some(open) = &mut self.open {
            let mut rng = os_random();
            let mut env = shared.clock.env(&mut rng);
            if open.client.poll_timeout().is_some_and(|at| at <= env.now) {
                open.client.handle_timeout(&mut env);
            }
        }
        self.flush(shared).await;
        let is_closed = self
            .open
            .as_ref()
            .is_some_and(|open| open.client.is_closed());
        if is_closed || wants_open && self.open.is_none() {
            self.open = None;
            shared.lock().udp_closed(now);
        }
        loop {
            let message = shared.lock().poll_message(now);
            match message {
                // One that finds no room is a probe lost.
                Some((CarrierKind::Tcp, message)) => drop(shared.send(CarrierKind::Tcp, message)),
                Some((CarrierKind::Udp, message)) => self.seal(&message).await,
                None => break,
            }
        }
        shared.tell_state();
    }

    fn begin(&self, shared: &Shared) -> Option<Open> {
        let address = SocketAddr::new(self.gateway.ip(), self.offer.port());
        let socket = ConnectedSocket::connect(address)
            .inspect_err(|error| debug!(%error, "no socket for a UDP carrier"))
            .ok()?;
        let mut rng = os_random();
        let mut env = shared.clock.env(&mut rng);
        let identity = self.offer.identity();
        let client = UdpCarrierClient::new(RingCrypto, identity, self.offer.psk()?, &mut env);
        let client = client.ok()?;
        Some(Open { socket, client })
    }

    async fn handle_datagram(
        &mut self,
        datagram: &mut [u8],
        incoming: &LinkIncoming,
        shared: &Shared,
    ) {
        let mut rest = datagram;
        while !rest.is_empty() {
            let Some(open) = &mut self.open else {
                return;
            };
            let mut rng = os_random();
            let mut env = shared.clock.env(&mut rng);
            let now = env.now;
            let (received, left) = open.client.handle_datagram(&mut env, rest);
            match received {
                UdpCarrierReceived::Opened => shared.lock().udp_opened(now),
                UdpCarrierReceived::Message(message) => {
                    match CarrierMessage::decode_exact(message) {
                        Ok(message) => shared.receive(CarrierKind::Udp, message, incoming),
                        Err(error) => {
                            trace!(%error, "dropped from the UDP carrier");
                            incoming.count_not_passed_on();
                        }
                    }
                }
                UdpCarrierReceived::Dropped(reason) => {
                    trace!(?reason, "dropped from the UDP carrier");
                }
                UdpCarrierReceived::Closed | UdpCarrierReceived::Nothing => {}
            }
            rest = left;
        }
        self.flush(shared).await;
    }

    /// Sends what the handshake or the session has to say for itself.
    async fn flush(&mut self, shared: &Shared) {
        let Some(open) = &mut self.open else {
            return;
        };
        let mut out = [0; RECORD_BUFFER_LEN];
        loop {
            let written = {
                let mut rng = os_random();
                let mut env = shared.clock.env(&mut rng);
                open.client.poll_transmit(&mut env, &mut out)
            };
            let Some(len) = written else {
                return;
            };
            give(&open.socket, out.get(..len).unwrap_or_default()).await;
        }
    }

    async fn seal(&mut self, message: &[u8]) {
        let mut out = [0; RECORD_BUFFER_LEN];
        if let Some(open) = &mut self.open
            && let Ok(len) = open.client.seal(message, &mut out)
        {
            give(&open.socket, out.get(..len).unwrap_or_default()).await;
        }
    }

    async fn close(self, shared: &Shared) {
        if let Some(open) = self.open {
            let mut out = [0; RECORD_BUFFER_LEN];
            let written = {
                let mut rng = os_random();
                let mut env = shared.clock.env(&mut rng);
                open.client.close(&mut env, &mut out)
            };
            if let Some(len) = written {
                give(&open.socket, out.get(..len).unwrap_or_default()).await;
            }
        }
    }
}

async fn receive(
    socket: Option<&ConnectedSocket>,
    received: &mut ReceivedDatagrams,
) -> Result<(), crate::SocketFault> {
    match socket {
        Some(socket) => socket.receive(received).await,
        None => std::future::pending().await,
    }
}

/// Sends a datagram, or loses it: the probes will tell.
async fn give(socket: &ConnectedSocket, datagram: &[u8]) {
    let mut sent = socket.send(datagram).await;
    if matches!(sent, Err(crate::SocketFault::Refused(_))) {
        // That was about an earlier one, and took this one's place.
        sent = socket.send(datagram).await;
    }
    if let Err(error) = sent {
        trace!(%error, "sending failed");
    }
}

/// What is written at once, in bytes, at least.
const BUFFER_LEN: usize = 16 * 1_024;

/// Type and length of a capsule, in bytes, at most.
const MAX_HEAD_LEN: usize = 16;

/// Messages that wait for a carrier, at least: probes and echoes are among them.
const MIN_PLACES: usize = 32;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;
    use crate::link::datagram_link;

    #[tokio::test]
    async fn what_a_node_says_last_still_leaves() {
        // Nobody answers there, so that all goes on TCP.
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let gateway = silent.local_addr().unwrap();
        let tunnel = AutoTunnel {
            offer: UdpCarrierOffer::draw(gateway.port(), &mut os_random()),
            gateway,
            max_datagram_len: 100,
            places: 4,
            state: watch::Sender::new(CarrierState::TcpOnly),
        };
        let (link, carrier) = datagram_link(4, 100);
        let (stream, mut far) = duplex(1_024);
        assert_eq!((link.send(b"a"), link.send(b"close")), (Ok(()), Ok(())));
        drop(link);
        carry(stream, carrier, tunnel).await;
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"\x00\x02\x00a\x00\x06\x00close");
    }
}
