//! One connection in mode `translate`.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_core::DropReason;
use hedgerow_net::{ConnectedSocket, ReceivedDatagrams, SocketFault};
use hedgerow_proxy::{Opening, ToDevice, Translator};
use hedgerow_record::{RequestedForm, TranslateAnswer, TranslateForm, TranslateStatus};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info};

use super::rate::Rate;
use super::statistics::add;
use super::{Permitted, Shared};

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
        let begun = Instant::now();
        let device = accepted.device.name.clone();
        let form = match accepted.translator.form() {
            TranslateForm::Short => "short",
            TranslateForm::Long => "long",
        };
        {
            let mut counters = self.shared.counters.lock();
            add(&mut counters.accepted);
            add(&mut counters.open);
        }
        let open = Open(&self.shared);
        let from = self.from;
        info!(target: "hedgerow::audit", device, %from, mode = "translate", form, "connection opened");
        let mut carried = Carried::new(&self.shared, accepted, begun);
        let end = carried.carry(&mut stream, &socket).await;
        drop(open);
        info!(
            target: "hedgerow::audit",
            device,
            %from,
            mode = "translate",
            form,
            is_established = carried.translator.is_established(),
            datagrams_to_device = carried.to_device,
            datagrams_from_device = carried.from_device,
            dropped = carried.dropped,
            ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            %end,
            "connection ended"
        );
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

/// Counts a connection for as long as it is there.
struct Open<'f>(&'f Shared);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut counters = self.0.counters.lock();
        counters.open = counters.open.saturating_sub(1);
    }
}

/// A connection that carries records.
struct Carried<'f> {
    shared: &'f Shared,
    device: Permitted,
    translator: Translator,
    early: Vec<u8>,
    /// What goes to the device, once it has shown a session.
    rate: Rate,
    datagram: Vec<u8>,
    begun: Instant,
    heard: Instant,
    to_device: u64,
    from_device: u64,
    dropped: u64,
}

impl<'f> Carried<'f> {
    fn new(shared: &'f Shared, accepted: Accepted, now: Instant) -> Self {
        Self {
            shared,
            device: accepted.device,
            translator: accepted.translator,
            early: accepted.early,
            rate: Rate::new(BURST, PER_SECOND, now),
            datagram: vec![0; shared.limits.max_datagram],
            begun: now,
            heard: now,
            to_device: 0,
            from_device: 0,
            dropped: 0,
        }
    }

    async fn carry(&mut self, stream: &mut TcpStream, socket: &ConnectedSocket) -> End {
        let mut part = vec![0; READ_LEN];
        let mut received = ReceivedDatagrams::default();
        let early = std::mem::take(&mut self.early);
        let (mut reader, mut writer) = stream.split();
        let mut told = match self.send_to_device(&early, socket).await {
            Ok(told) => told,
            Err(end) => return end,
        };
        loop {
            if !told.is_empty() {
                match timeout(WRITE_TIMEOUT, writer.write_all(&told)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return End::Broken(error.kind()),
                    Err(_) => return End::Broken(io::ErrorKind::TimedOut),
                }
            }
            let (due, end) = self.due();
            told = tokio::select! {
                () = sleep_until(due) => return end,
                read = reader.read(&mut part) => match read {
                    Ok(0) => return End::Closed,
                    Err(error) => return End::Broken(error.kind()),
                    Ok(len) => {
                        let part = part.get(..len).unwrap_or_default();
                        match self.send_to_device(part, socket).await {
                            Ok(told) => told,
                            Err(end) => return end,
                        }
                    }
                },
                heard = socket.receive(&mut received) => match heard {
                    Ok(()) => self.take_from_device(&received),
                    Err(SocketFault::Unusable(error)) => return End::Socket(error.kind()),
                    // Anybody can make up an ICMP message.
                    Err(_) => {
                        add(&mut self.shared.counters.lock().unreachable);
                        Vec::new()
                    }
                },
            };
        }
    }

    /// Returns when the connection ends if nothing happens, and why.
    fn due(&self) -> (Instant, End) {
        let limits = &self.shared.limits;
        let (from, after, end) = match self.translator.is_established() {
            true => (self.heard, limits.idle_timeout, End::Idle),
            false => (self.begun, limits.establish_timeout, End::NotEstablished),
        };
        (from.checked_add(after).unwrap_or(from), end)
    }

    /// Sends what the Internet end's bytes come to, and returns what it is to be told.
    async fn send_to_device(
        &mut self,
        bytes: &[u8],
        socket: &ConnectedSocket,
    ) -> Result<Vec<u8>, End> {
        let mut told = Vec::new();
        let mut rest = bytes;
        loop {
            let read = self.translator.read_stream(rest, &mut self.datagram);
            let (len, found) = read.map_err(End::Framing)?;
            rest = rest.get(len..).unwrap_or_default();
            match found {
                None => return Ok(told),
                Some(ToDevice::Dropped { reason, len }) => {
                    self.count_drop(reason);
                    if reason == DropReason::TooLong {
                        told.extend(self.translator.too_long(len));
                    }
                }
                Some(ToDevice::Datagram(_)) if !self.passes() => {
                    self.count_drop(DropReason::RateLimited);
                }
                Some(ToDevice::Datagram(len)) => {
                    let datagram = self.datagram.get(..len).unwrap_or_default();
                    match socket.send(datagram).await {
                        Ok(()) => {
                            self.to_device = self.to_device.saturating_add(1);
                            add(&mut self.shared.counters.lock().datagrams_to_devices);
                        }
                        Err(SocketFault::TooLong) => {
                            self.count_drop(DropReason::TooLong);
                            told.extend(self.translator.too_long(len));
                        }
                        Err(SocketFault::Unusable(error)) => return Err(End::Socket(error.kind())),
                        Err(_) => add(&mut self.shared.counters.lock().unreachable),
                    }
                }
            }
        }
    }

    fn passes(&mut self) -> bool {
        match self.translator.is_established() {
            true => self.rate.take(Instant::now()),
            false => self.shared.passes_stranger(self.device.index),
        }
    }

    /// Returns what the stream carries of the device's datagrams.
    fn take_from_device(&mut self, received: &ReceivedDatagrams) -> Vec<u8> {
        let was_established = self.translator.is_established();
        let mut told = Vec::new();
        for datagram in received.iter() {
            self.from_device = self.from_device.saturating_add(1);
            add(&mut self.shared.counters.lock().datagrams_from_devices);
            let mut bytes = datagram.to_vec();
            let mut dropped = Vec::new();
            let translator = &mut self.translator;
            if translator.translate_datagram(&mut bytes, |reason| dropped.push(reason)) {
                self.heard = Instant::now();
            }
            for reason in dropped {
                self.count_drop(reason);
            }
            told.extend(bytes);
        }
        if self.translator.is_established() && !was_established {
            add(&mut self.shared.counters.lock().established);
        }
        told
    }

    fn count_drop(&mut self, reason: DropReason) {
        self.dropped = self.dropped.saturating_add(1);
        self.shared.counters.lock().count_drop(reason);
        debug!(
            device = self.device.name,
            reason = reason.label(),
            mode = "translate",
            "dropped"
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

/// Datagrams that one connection may send to a device at once, and a second, where it has a session.
const BURST: u32 = 50;
const PER_SECOND: u32 = 25;

/// How much of the stream is read at once, in bytes.
const READ_LEN: usize = 4_096;

/// How long the Internet end may take to read one datagram.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of a refused connection is read, in bytes, and for how long.
const REFUSED_LEN: usize = 16_384;
const REFUSED_TIMEOUT: Duration = Duration::from_secs(1);
