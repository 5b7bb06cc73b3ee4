//! One tunnel, from the upgrade to its end (`docs/specs/tunnel.md`).

use std::collections::VecDeque;
use std::fmt;
use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hedgerow_net::{ConnectedSocket, ReceivedDatagrams, SocketFault, UdpCarrier, UdpCarrierEvent};
use hedgerow_proxy::{
    CarrierKind, CarrierMessage, MAX_UDP_CAPSULE_OVERHEAD, TunnelDecoder, TunnelDrop, TunnelEvent,
    TunnelFault, encode_message_capsule, udp_payload_message,
};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, WriteHalf, split};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::info;

use crate::auto::Auto;
use crate::config::{Mode, TunnelLimits};
use crate::device_side::DeviceSide;
use crate::registry::Registry;
use crate::server::stopped;
use crate::tunnels::{TunnelPlace, TunnelTraffic};

/// A tunnel that was granted. Its stream comes once the client has been told.
pub(crate) struct Tunnel {
    pub(crate) upgrade: OnUpgrade,
    pub(crate) device_side: DeviceSide,
    /// What was offered to a client that has asked for it.
    pub(crate) udp: Option<UdpCarrier>,
    pub(crate) place: TunnelPlace,
    pub(crate) limits: TunnelLimits,
    pub(crate) user: String,
    pub(crate) registry: Arc<Registry>,
    pub(crate) device: String,
    pub(crate) device_index: usize,
    /// How long the upgrade, and the client at the end, may take.
    pub(crate) patience: Duration,
}

/// Why a tunnel ended.
#[derive(Debug)]
enum End {
    /// The client's stream ended between two capsules.
    Closed,
    /// The client's stream has a fault, a truncation among them.
    Fault(TunnelFault),
    /// The connection broke.
    Broken(io::ErrorKind),
    /// Nothing was carried for too long.
    Idle,
    /// The socket can't be used any more.
    Socket(io::ErrorKind),
    /// The gateway stops.
    Stopping,
    /// The client went away before there was a tunnel.
    NotUpgraded,
}

impl fmt::Display for End {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => formatter.write_str("closed by the client"),
            Self::Fault(TunnelFault::Truncated) => {
                formatter.write_str("truncated: the stream ended within a capsule")
            }
            Self::Fault(fault) => write!(formatter, "malformed: {fault}"),
            Self::Broken(kind) => write!(formatter, "connection broken: {kind}"),
            Self::Idle => formatter.write_str("idle"),
            Self::Socket(kind) => write!(formatter, "socket unusable: {kind}"),
            Self::Stopping => formatter.write_str("gateway stopping"),
            Self::NotUpgraded => formatter.write_str("never begun by the client"),
        }
    }
}

impl Tunnel {
    /// Carries datagrams until something ends it, and leaves a line in the log.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        self.place.open();
        let mut udp = self.udp.take();
        let auto = udp.as_ref().map(|udp| Auto::new(udp.sender()));
        let mut audited = Audited {
            start: Instant::now(),
            user: &self.user,
            device: &self.device,
            shared: Shared::new(self.limits, &self.place, auto),
            end: End::Stopping,
        };
        audited.begin();
        audited.end = match timeout(self.patience, &mut self.upgrade).await {
            Ok(Ok(stream)) => {
                let stream = TokioIo::new(stream);
                let carried =
                    audited
                        .shared
                        .carry(stream, &self.device_side, udp.as_mut(), &mut stop);
                let (end, mut writer) = carried.await;
                // MUST (RFC 9298 §3.1): the stream is closed with the socket. Where the client broke the
                // rules it isn't closed in order.
                if !matches!(end, End::Fault(_) | End::Broken(_)) {
                    let _ = timeout(self.patience, writer.shutdown()).await;
                }
                end
            }
            _ => End::NotUpgraded,
        };
        if let End::Fault(fault) = audited.end {
            self.place.count_fault(fault);
        }
        // A name may lead elsewhere by now, if nobody answered.
        if audited.shared.lock().traffic.datagrams_down == 0
            && let Some(entry) = self.registry.entries().get(self.device_index)
        {
            self.registry.forget(entry).await;
        }
    }
}

/// A tunnel's lines in the log, of which the last one is written whatever ends the tunnel.
struct Audited<'t> {
    start: Instant,
    user: &'t str,
    device: &'t str,
    shared: Shared<'t>,
    /// What ended it; it is the gateway itself where nothing else has.
    end: End,
}

impl Audited<'_> {
    fn begin(&self) {
        let (user, device, mode) = (self.user, self.device, Mode::Tunnel.name());
        info!(target: "hedgerow::audit", user, device, mode, "tunnel opened");
    }
}

impl Drop for Audited<'_> {
    fn drop(&mut self) {
        let traffic = self.shared.lock().traffic;
        info!(
            target: "hedgerow::audit",
            user = self.user,
            device = self.device,
            mode = Mode::Tunnel.name(),
            datagrams_up = traffic.datagrams_up,
            bytes_up = traffic.bytes_up,
            datagrams_down = traffic.datagrams_down,
            bytes_down = traffic.bytes_down,
            dropped = traffic.dropped(),
            unknown_capsule = traffic.unknown_capsule,
            unknown_context = traffic.unknown_context,
            too_long = traffic.too_long,
            too_big_for_path = traffic.too_big_for_path,
            icmp_refused = traffic.icmp_refused,
            queue_full = traffic.queue_full,
            foreign_source = traffic.foreign_source,
            has_udp_carrier = self.shared.auto.is_some(),
            udp_datagrams_up = traffic.udp_datagrams_up,
            udp_datagrams_down = traffic.udp_datagrams_down,
            udp_full = traffic.udp_full,
            udp_address_up = traffic.udp_address_up,
            malformed_message = traffic.malformed_message,
            ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX),
            end = %self.end,
            "tunnel ended"
        );
    }
}

/// What the directions of a tunnel have in common.
struct Shared<'t> {
    place: &'t TunnelPlace,
    limits: TunnelLimits,
    state: Mutex<State>,
    queued: Notify,
    auto: Option<Auto>,
}

struct State {
    traffic: TunnelTraffic,
    /// Carrier messages that wait for the client to read.
    queue: VecDeque<Box<[u8]>>,
    queue_len_bytes: usize,
    /// When a datagram was passed on last.
    carried: Instant,
}

impl<'t> Shared<'t> {
    fn new(limits: TunnelLimits, place: &'t TunnelPlace, auto: Option<Auto>) -> Self {
        let state = State {
            traffic: TunnelTraffic::default(),
            queue: VecDeque::new(),
            queue_len_bytes: 0,
            carried: Instant::now(),
        };
        Self {
            place,
            limits,
            state: Mutex::new(state),
            queued: Notify::new(),
            auto,
        }
    }

    /// Carries datagrams until something ends that, and returns what the stream is closed by.
    async fn carry<S: AsyncRead + AsyncWrite>(
        &self,
        stream: S,
        device: &DeviceSide,
        udp: Option<&mut UdpCarrier>,
        stop: &mut watch::Receiver<bool>,
    ) -> (End, WriteHalf<S>) {
        let (mut reader, mut writer) = split(stream);
        let end = tokio::select! {
            end = up(&mut reader, device, self) => end,
            end = receive(Some(device.own()), device, self) => end,
            end = receive(device.udp(), device, self) => end,
            end = down(&mut writer, self) => end,
            end = steer(udp, device, self) => end,
            () = self.idle() => End::Idle,
            () = stopped(stop) => End::Stopping,
        };
        (end, writer)
    }

    /// Counts one, here and among all tunnels'.
    fn count(&self, counter: impl Fn(&mut TunnelTraffic) -> &mut u64) {
        self.add(|traffic| {
            let counter = counter(traffic);
            *counter = counter.saturating_add(1);
        });
    }

    fn add(&self, add: impl Fn(&mut TunnelTraffic)) {
        add(&mut self.lock().traffic);
        self.place.count(add);
    }

    /// Sends a datagram of the device's on its way. What goes over UDP waits for nothing on TCP.
    fn send(&self, datagram: &[u8]) {
        let Some(auto) = &self.auto else {
            return self.queue(udp_payload_message(datagram));
        };
        let sent = auto.send(datagram);
        match sent.udp {
            Some(true) => {
                self.count(|traffic| &mut traffic.udp_datagrams_down);
                self.carried_down(datagram.len());
            }
            Some(false) => self.count(|traffic| &mut traffic.udp_full),
            None => {}
        }
        if let Some(message) = sent.tcp {
            self.queue(message);
        }
    }

    /// Queues a message for TCP, unless the client lags behind.
    fn queue(&self, message: Box<[u8]>) {
        let mut state = self.lock();
        let len_bytes = state.queue_len_bytes.saturating_add(message.len());
        let is_full = state.queue.len() >= self.limits.queue_datagrams;
        if is_full || len_bytes > self.limits.queue_bytes {
            drop(state);
            return self.count(|traffic| &mut traffic.queue_full);
        }
        state.queue_len_bytes = len_bytes;
        state.queue.push_back(message);
        drop(state);
        self.queued.notify_one();
    }

    fn next(&self) -> Option<Box<[u8]>> {
        let mut state = self.lock();
        let message = state.queue.pop_front()?;
        state.queue_len_bytes = state.queue_len_bytes.saturating_sub(message.len());
        Some(message)
    }

    fn carried_up(&self, len: usize) {
        self.lock().carried = Instant::now();
        self.add(|traffic| {
            traffic.datagrams_up = traffic.datagrams_up.saturating_add(1);
            traffic.bytes_up = traffic.bytes_up.saturating_add(to_u64(len));
        });
    }

    fn carried_down(&self, len: usize) {
        self.lock().carried = Instant::now();
        self.add(|traffic| {
            traffic.datagrams_down = traffic.datagrams_down.saturating_add(1);
            traffic.bytes_down = traffic.bytes_down.saturating_add(to_u64(len));
        });
    }

    /// Waits until nothing has been carried for too long. What is dropped keeps no tunnel.
    async fn idle(&self) {
        loop {
            let end = self.lock().carried + self.limits.idle_timeout;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries the client's datagrams to the device. Nothing more is read before one is sent.
async fn up(reader: &mut (impl AsyncRead + Unpin), device: &DeviceSide, to: &Shared<'_>) -> End {
    let mut decoder = TunnelDecoder::new(to.limits.max_datagram);
    if to.auto.is_some() {
        decoder = decoder.with_probes();
    }
    let mut buffer = vec![0; READ_LEN].into_boxed_slice();
    loop {
        let read = match reader.read(&mut buffer).await {
            Ok(0) => return decoder.finish().map_or_else(End::Fault, |()| End::Closed),
            Ok(read) => read,
            Err(error) => return End::Broken(error.kind()),
        };
        let mut bytes = buffer.get(..read).unwrap_or_default();
        loop {
            let payload = match decoder.next_event(&mut bytes) {
                Ok(None) => break,
                Ok(Some(TunnelEvent::UdpPayload(payload))) => {
                    if let Some(auto) = &to.auto {
                        auto.receive(CarrierKind::Tcp, CarrierMessage::UdpPayload(payload));
                    }
                    payload
                }
                Ok(Some(TunnelEvent::Probing(message))) => {
                    if let Some(auto) = &to.auto {
                        auto.receive(CarrierKind::Tcp, message);
                    }
                    continue;
                }
                Ok(Some(TunnelEvent::Dropped(reason))) => {
                    to.count(|traffic| match reason {
                        TunnelDrop::UnknownContext => &mut traffic.unknown_context,
                        TunnelDrop::TooLong => &mut traffic.too_long,
                        TunnelDrop::MalformedProbe => &mut traffic.malformed_message,
                        _ => &mut traffic.unknown_capsule,
                    });
                    continue;
                }
                Err(fault) => return End::Fault(fault),
            };
            if let Err(end) = to_device(device, CarrierKind::Tcp, payload, to).await {
                return end;
            }
        }
    }
}

/// Sends a datagram that came on a carrier to the device, or counts why not.
async fn to_device(
    device: &DeviceSide,
    carrier: CarrierKind,
    payload: &[u8],
    to: &Shared<'_>,
) -> Result<(), End> {
    let (socket, is_beside) = device.choose(carrier, payload);
    let mut sent = socket.send(payload).await;
    if matches!(sent, Err(SocketFault::Refused(_))) {
        // That was about an earlier datagram, and took this one's place.
        to.count(|traffic| &mut traffic.icmp_refused);
        sent = socket.send(payload).await;
    }
    match sent {
        Ok(()) => {
            to.carried_up(payload.len());
            if is_beside {
                to.count(|traffic| &mut traffic.udp_address_up);
            }
        }
        // MUST (RFC 9298 §3.1): nothing is fragmented, what is too big is dropped.
        Err(SocketFault::TooLong) => to.count(|traffic| &mut traffic.too_big_for_path),
        Err(SocketFault::Refused(_)) => to.count(|traffic| &mut traffic.icmp_refused),
        Err(SocketFault::Unusable(error)) => return Err(End::Socket(error.kind())),
        Err(_) => return Err(End::Socket(io::ErrorKind::Other)),
    }
    Ok(())
}

/// Takes in what comes by the UDP carrier, and sends the probes and echoes of both.
async fn steer(udp: Option<&mut UdpCarrier>, device: &DeviceSide, to: &Shared<'_>) -> End {
    let (Some(udp), Some(auto)) = (udp, &to.auto) else {
        return pending().await;
    };
    loop {
        for message in auto.step() {
            to.queue(message);
        }
        let event = tokio::select! {
            event = udp.next() => event,
            () = auto.due() => continue,
        };
        match event {
            Some(UdpCarrierEvent::Opened) => auto.udp_opened(),
            Some(UdpCarrierEvent::Message(message)) => {
                let Ok(message) = CarrierMessage::decode_exact(&message) else {
                    to.count(|traffic| &mut traffic.malformed_message);
                    continue;
                };
                let Some(payload) = auto.receive(CarrierKind::Udp, message) else {
                    continue;
                };
                to.count(|traffic| &mut traffic.udp_datagrams_up);
                if let Err(end) = to_device(device, CarrierKind::Udp, payload, to).await {
                    return end;
                }
            }
            Some(_) => auto.udp_closed(),
            // Nothing comes by UDP any more, and what comes by TCP is still answered.
            None => loop {
                auto.udp_closed();
                for message in auto.step() {
                    to.queue(message);
                }
                auto.due().await;
            },
        }
    }
}

/// Receives the device's datagrams at one of the tunnel's addresses, if there is that one.
async fn receive(socket: Option<&ConnectedSocket>, device: &DeviceSide, to: &Shared<'_>) -> End {
    let Some(socket) = socket else {
        return pending().await;
    };
    let mut received = ReceivedDatagrams::default();
    loop {
        match socket.receive(&mut received).await {
            Ok(()) if received.is_foreign() => to.count(|traffic| &mut traffic.foreign_source),
            Ok(()) => {
                for datagram in received.iter() {
                    device.received(datagram);
                    to.send(datagram);
                }
            }
            // DEVIATES (RFC 9298 §3.1): ICMP doesn't end the tunnel. The socket stays usable, a device
            // that restarts is deaf for a moment, and whoever can send ICMP could end any tunnel.
            Err(SocketFault::Refused(_) | SocketFault::TooLong) => {
                to.count(|traffic| &mut traffic.icmp_refused);
            }
            Err(SocketFault::Unusable(error)) => return End::Socket(error.kind()),
            Err(_) => return End::Socket(io::ErrorKind::Other),
        }
    }
}

/// Writes the device's datagrams to the client, one capsule after the other.
async fn down(writer: &mut (impl AsyncWrite + Unpin), from: &Shared<'_>) -> End {
    let mut capsule = Vec::new();
    loop {
        let Some(message) = from.next() else {
            from.queued.notified().await;
            continue;
        };
        capsule.resize(message.len().saturating_add(MAX_UDP_CAPSULE_OVERHEAD), 0);
        // There is room, for no message is longer than a UDP payload can be and its context ID.
        let Some(len) = encode_message_capsule(&message, &mut capsule) else {
            from.count(|traffic| &mut traffic.too_long);
            continue;
        };
        let written = async {
            writer
                .write_all(capsule.get(..len).unwrap_or_default())
                .await?;
            writer.flush().await
        };
        if let Err(error) = written.await {
            return End::Broken(error.kind());
        }
        // Probes and echoes are nothing that the device has sent, and keep no tunnel.
        if let Ok(CarrierMessage::UdpPayload(payload)) = CarrierMessage::decode_exact(&message) {
            from.carried_down(payload.len());
        }
    }
}

fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// How much of a client's stream is read at once, in bytes.
const READ_LEN: usize = 4 << 10;
