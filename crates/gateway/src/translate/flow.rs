//! One connection in mode `translate`.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hedgerow_core::DropReason;
use hedgerow_net::{ConnectedSocket, ReceivedDatagrams, SocketFault};
use hedgerow_proxy::{Opening, ToDevice, Translator};
use hedgerow_record::{RequestedForm, TranslateAnswer, TranslateForm, TranslateStatus};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use super::statistics::add;
use super::{Permitted, Shared};
use crate::progress::overdue;
use crate::rate::Rate;

/// A connection, from its first byte to its end.
pub(super) struct Flow {
    pub(super) shared: Arc<Shared>,
    pub(super) from: SocketAddr,
}

/// Why a connection ended.
#[derive(Debug)]
enum End {
    /// The Internet end's stream ended.
    Closed,
    /// It can't be followed.
    Framing(hedgerow_record::Error),
    /// It broke, or nobody read from it.
    Broken(io::ErrorKind),
    /// The device has shown no session in time.
    NotEstablished,
    /// The device has said nothing for too long.
    Idle,
    /// The socket can't be used any more.
    Socket(io::ErrorKind),
    /// The gateway stops.
    Stopping,
}

impl fmt::Display for End {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => formatter.write_str("closed by the client"),
            Self::Framing(error) => write!(formatter, "malformed: {error}"),
            Self::Broken(kind) => write!(formatter, "connection broken: {kind}"),
            Self::NotEstablished => formatter.write_str("no session in time"),
            Self::Idle => formatter.write_str("idle"),
            Self::Socket(kind) => write!(formatter, "socket unusable: {kind}"),
            Self::Stopping => formatter.write_str("gateway stopping"),
        }
    }
}

/// A connection that was accepted.
struct Accepted {
    device: Permitted,
    translator: Translator,
    /// What was read behind the preface.
    early: Vec<u8>,
}

impl Flow {
    pub(super) async fn run(self, mut stream: TcpStream) {
        // Records are written whole, so waiting for more to send only delays them.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let opened = timeout(self.shared.limits.preface_timeout, self.open(&mut stream)).await;
        let Ok(Some(accepted)) = opened else {
            return;
        };
        let Some(socket) = self.reach(&accepted, &mut stream).await else {
            return;
        };
        let mut carried = Carried::new(&self, &accepted.device, accepted.translator);
        let end = carried.carry(&accepted.early, &mut stream, &socket).await;
        carried.end = end;
        if carried.leads_nowhere()
            && let Some(entry) = self.shared.registry.entries().get(accepted.device.index)
            && self.shared.looks_up_anew(entry.index)
        {
            self.shared.registry.forget(entry).await;
        }
    }

    /// Reads the preface and answers it, unless it is accepted.
    async fn open(&self, stream: &mut TcpStream) -> Option<Accepted> {
        let mut read = Vec::new();
        let mut part = [0; 512];
        loop {
            let len = stream.read(&mut part).await.ok().filter(|&len| len > 0)?;
            read.extend_from_slice(part.get(..len)?);
            match Translator::open(&read, |name| self.shared.permit(name)) {
                Ok(Opening::Incomplete) => {}
                Ok(Opening::Accepted {
                    device,
                    translator,
                    consumed,
                    ..
                }) => {
                    return Some(Accepted {
                        device,
                        translator,
                        early: read.split_off(consumed.min(read.len())),
                    });
                }
                Ok(Opening::Refused { answer, status }) => {
                    self.count_refusal(status);
                    let from = self.from;
                    info!(target: "hedgerow::audit", %from, mode = "translate", ?status, "connection refused");
                    refuse(stream, &answer).await;
                    return None;
                }
                Err(error) => {
                    add(&mut self.shared.counters.lock().not_supported);
                    debug!(from = %self.from, %error, "not a connection of mode translate");
                    return None;
                }
            }
        }
    }

    fn count_refusal(&self, status: TranslateStatus) {
        let mut counters = self.shared.counters.lock();
        add(match status {
            TranslateStatus::Refused => &mut counters.refused,
            TranslateStatus::Busy => &mut counters.busy,
            _ => &mut counters.not_supported,
        });
    }

    /// Opens the way to the device and says so, or that there is none now.
    async fn reach(&self, accepted: &Accepted, stream: &mut TcpStream) -> Option<ConnectedSocket> {
        let entry = self.shared.registry.entries().get(accepted.device.index)?;
        let socket = match self.shared.registry.locate(entry).await {
            Ok(address) => ConnectedSocket::connect(address).ok(),
            Err(_) => None,
        };
        let status = match socket {
            Some(_) => TranslateStatus::Accepted,
            None => TranslateStatus::Busy,
        };
        let form = RequestedForm::Known(accepted.translator.form());
        let answer = TranslateAnswer { form, status }.encode();
        if socket.is_none() {
            add(&mut self.shared.counters.lock().busy);
            refuse(stream, &answer).await;
            return None;
        }
        let written = timeout(WRITE_TIMEOUT, stream.write_all(&answer)).await;
        socket.filter(|_| matches!(written, Ok(Ok(()))))
    }
}

/// A connection that carries records. Whatever ends it, dropping it leaves a line in the log.
struct Carried<'f> {
    shared: &'f Shared,
    from: SocketAddr,
    device: &'f Permitted,
    form: &'static str,
    begun: Instant,
    state: Mutex<State>,
    /// Notices wait to be written.
    told: Notify,
    /// The device has sent application data for the first time.
    established: Notify,
    /// What ended it; it is the gateway itself where nothing else has.
    end: End,
}

struct State {
    translator: Translator,
    /// What goes to the device, once it has shown a session.
    rate: Rate,
    heard: Instant,
    /// Notices that wait to be written.
    notices: Vec<u8>,
    to_device: u64,
    from_device: u64,
    dropped: u64,
}

impl<'f> Carried<'f> {
    fn new(flow: &'f Flow, device: &'f Permitted, translator: Translator) -> Self {
        let begun = Instant::now();
        let form = match translator.form() {
            TranslateForm::Short => "short",
            TranslateForm::Long => "long",
        };
        {
            let mut counters = flow.shared.counters.lock();
            add(&mut counters.accepted);
            add(&mut counters.open);
        }
        let (name, from) = (&device.name, flow.from);
        info!(target: "hedgerow::audit", device = name, %from, mode = "translate", form, "connection opened");
        Self {
            shared: &flow.shared,
            from,
            device,
            form,
            begun,
            state: Mutex::new(State {
                translator,
                rate: Rate::new(BURST, INTERVAL, begun),
                heard: begun,
                notices: Vec::new(),
                to_device: 0,
                from_device: 0,
                dropped: 0,
            }),
            told: Notify::new(),
            established: Notify::new(),
            end: End::Stopping,
        }
    }

    /// Carries records until something ends that.
    ///
    /// Both directions go on by themselves: an Internet end that waits until the gateway reads may be
    /// one that the gateway waits for.
    async fn carry(&self, early: &[u8], stream: &mut TcpStream, socket: &ConnectedSocket) -> End {
        let (reader, writer) = stream.split();
        tokio::select! {
            end = self.up(early, reader, socket) => end,
            end = self.down(writer, socket) => end,
            end = overdue(|| self.due(), &self.established) => end,
        }
    }

    /// Carries the Internet end's records to the device.
    async fn up(&self, early: &[u8], mut reader: ReadHalf<'_>, socket: &ConnectedSocket) -> End {
        let mut datagram = vec![0; self.shared.limits.max_datagram];
        if let Err(end) = self.send_to_device(early, &mut datagram, socket).await {
            return end;
        }
        let mut part = vec![0; READ_LEN];
        loop {
            let len = match reader.read(&mut part).await {
                Ok(0) => return End::Closed,
                Err(error) => return End::Broken(error.kind()),
                Ok(len) => len,
            };
            let part = part.get(..len).unwrap_or_default();
            if let Err(end) = self.send_to_device(part, &mut datagram, socket).await {
                return end;
            }
        }
    }

    /// Carries the device's datagrams to the Internet end, and what the gateway has to say.
    async fn down(&self, mut writer: WriteHalf<'_>, socket: &ConnectedSocket) -> End {
        let mut received = ReceivedDatagrams::default();
        loop {
            let bytes = tokio::select! {
                () = self.told.notified() => std::mem::take(&mut self.lock().notices),
                heard = socket.receive(&mut received) => match heard {
                    Ok(()) => self.take_from_device(&received),
                    Err(SocketFault::Unusable(error)) => return End::Socket(error.kind()),
                    // Anybody can make up an ICMP message.
                    Err(_) => {
                        add(&mut self.shared.counters.lock().unreachable);
                        continue;
                    }
                },
            };
            match timeout(WRITE_TIMEOUT, writer.write_all(&bytes)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return End::Broken(error.kind()),
                Err(_) => return End::Broken(io::ErrorKind::TimedOut),
            }
        }
    }

    /// Returns when the connection ends if nothing happens, and why.
    fn due(&self) -> (Instant, End) {
        let limits = &self.shared.limits;
        let state = self.lock();
        let (from, after, end) = match state.translator.is_established() {
            true => (state.heard, limits.idle_timeout, End::Idle),
            false => (self.begun, limits.establish_timeout, End::NotEstablished),
        };
        (from.checked_add(after).unwrap_or(from), end)
    }

    /// Sends what the Internet end's bytes come to. `datagram` is the same in every call.
    async fn send_to_device(
        &self,
        bytes: &[u8],
        datagram: &mut [u8],
        socket: &ConnectedSocket,
    ) -> Result<(), End> {
        let mut rest = bytes;
        loop {
            let read = self.lock().translator.read_stream(rest, datagram);
            let (len, found) = read.map_err(End::Framing)?;
            rest = rest.get(len..).unwrap_or_default();
            match found {
                None => return Ok(()),
                Some(ToDevice::Dropped { reason, len }) => {
                    self.count_drop(reason);
                    if reason == DropReason::TooLong {
                        self.tell_too_long(len);
                    }
                }
                Some(ToDevice::Datagram(_)) if !self.passes() => {
                    self.count_drop(DropReason::RateLimited);
                }
                Some(ToDevice::Datagram(len)) => {
                    let datagram = datagram.get(..len).unwrap_or_default();
                    match socket.send(datagram).await {
                        Ok(()) => {
                            add(&mut self.lock().to_device);
                            add(&mut self.shared.counters.lock().datagrams_to_devices);
                        }
                        Err(SocketFault::TooLong) => {
                            self.count_drop(DropReason::TooLong);
                            self.tell_too_long(len);
                        }
                        Err(SocketFault::Unusable(error)) => return Err(End::Socket(error.kind())),
                        Err(_) => add(&mut self.shared.counters.lock().unreachable),
                    }
                }
            }
        }
    }

    fn passes(&self) -> bool {
        let mut state = self.lock();
        match state.translator.is_established() {
            true => state.rate.take(Instant::now()),
            false => self.shared.passes_stranger(self.device.index),
        }
    }

    /// Has the Internet end told that a datagram was too long, unless it doesn't read what it was told
    /// before.
    fn tell_too_long(&self, len: usize) {
        let mut state = self.lock();
        let notice = state.translator.too_long(len);
        if state.notices.len() < MAX_NOTICES_LEN {
            state.notices.extend(notice);
            drop(state);
            self.told.notify_one();
        }
    }

    /// Returns what the stream carries of the device's datagrams.
    fn take_from_device(&self, received: &ReceivedDatagrams) -> Vec<u8> {
        let mut told = Vec::new();
        let mut dropped = Vec::new();
        let mut state = self.lock();
        let was_established = state.translator.is_established();
        for datagram in received.iter() {
            add(&mut state.from_device);
            add(&mut self.shared.counters.lock().datagrams_from_devices);
            let mut bytes = datagram.to_vec();
            let translator = &mut state.translator;
            if translator.translate_datagram(&mut bytes, |reason| dropped.push(reason)) {
                state.heard = Instant::now();
            }
            told.extend(bytes);
        }
        let is_established = state.translator.is_established();
        drop(state);
        for reason in dropped {
            self.count_drop(reason);
        }
        if is_established && !was_established {
            add(&mut self.shared.counters.lock().established);
            self.established.notify_one();
        }
        told
    }

    fn count_drop(&self, reason: DropReason) {
        add(&mut self.lock().dropped);
        self.shared.counters.lock().count_drop(reason);
        debug!(
            device = self.device.name,
            reason = reason.label(),
            mode = "translate",
            "dropped"
        );
    }

    /// Says whether something was sent and no application data of the device came: it may be elsewhere by
    /// now.
    fn leads_nowhere(&self) -> bool {
        let state = self.lock();
        state.to_device > 0 && !state.translator.is_established()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Carried<'_> {
    fn drop(&mut self) {
        {
            let mut counters = self.shared.counters.lock();
            counters.open = counters.open.saturating_sub(1);
        }
        let state = self.state.get_mut();
        let state = state.unwrap_or_else(PoisonError::into_inner);
        info!(
            target: "hedgerow::audit",
            device = self.device.name,
            from = %self.from,
            mode = "translate",
            form = self.form,
            is_established = state.translator.is_established(),
            datagrams_to_device = state.to_device,
            datagrams_from_device = state.from_device,
            dropped = state.dropped,
            ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            end = %self.end,
            "connection ended"
        );
    }
}

/// Says no, and waits for the end: an answer that bytes are still on the way against would be lost.
async fn refuse(stream: &mut TcpStream, answer: &[u8]) {
    let refused = async {
        stream.write_all(answer).await?;
        stream.shutdown().await?;
        let mut left = REFUSED_LEN;
        let mut part = [0; 512];
        while left > 0 {
            match stream.read(&mut part).await? {
                0 => break,
                len => left = left.saturating_sub(len),
            }
        }
        io::Result::Ok(())
    };
    let _ = timeout(REFUSED_TIMEOUT, refused).await;
}

/// Datagrams that one connection may send to a device at once, and how long each takes after that, where
/// it has a session.
const BURST: u32 = 50;
const INTERVAL: Duration = Duration::from_millis(40);

/// Notices that may wait, in bytes, before others aren't told.
const MAX_NOTICES_LEN: usize = 128;

/// How much of the stream is read at once, in bytes.
const READ_LEN: usize = 4_096;

/// How long the Internet end may take to read one datagram.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of a refused connection is read, in bytes, and for how long.
const REFUSED_LEN: usize = 16_384;
const REFUSED_TIMEOUT: Duration = Duration::from_secs(1);
