//! One connection of a TLS client that is carried to a device.

use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hedgerow_endpoint::AdaptedFraming;
use hedgerow_net::{LegStream, ResetReason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::config::TlsListener;
use crate::progress::overdue;

/// A connection that is carried.
pub(super) struct Carried<'l> {
    limits: &'l TlsListener,
    state: Mutex<State>,
    /// The device has ended its direction.
    told_end: Notify,
}

/// Why a connection that was carried has ended.
#[derive(Debug)]
pub(super) enum End {
    Closed,
    Framing(hedgerow_record::Error),
    Client(io::Error),
    Device(io::Error),
    /// The device has ended its direction, and the client not.
    Unanswered,
    Idle,
}

struct State {
    framing: AdaptedFraming,
    to_device: u64,
    to_client: u64,
    /// When something was carried last.
    used: Instant,
    /// When the device ended its direction.
    device_ended: Option<Instant>,
}

impl fmt::Display for End {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => formatter.write_str("closed in order"),
            Self::Framing(error) => write!(formatter, "malformed: {error}"),
            Self::Client(error) => write!(formatter, "client: {}", error.kind()),
            Self::Device(error) => write!(formatter, "device: {error}"),
            Self::Unanswered => formatter.write_str("closed by the device alone"),
            Self::Idle => formatter.write_str("idle"),
        }
    }
}

impl<'l> Carried<'l> {
    pub(super) fn new(limits: &'l TlsListener) -> Self {
        Self {
            state: Mutex::new(State {
                framing: AdaptedFraming::gateway(limits.form),
                to_device: 0,
                to_client: 0,
                used: Instant::now(),
                device_ended: None,
            }),
            told_end: Notify::new(),
            limits,
        }
    }

    /// Returns how many bytes of TLS went to the device and to the client.
    pub(super) fn bytes(&self) -> (u64, u64) {
        let state = self.lock();
        (state.to_device, state.to_client)
    }

    /// Carries bytes until both directions have ended in order, or something else has.
    pub(super) async fn carry(&self, mut stream: TcpStream, leg: LegStream, early: &[u8]) -> End {
        let end = self.copy(&mut stream, &leg, early).await;
        match end {
            End::Closed => {
                let _ = timeout(CLOSE_TIMEOUT, leg.close()).await;
            }
            // The client has got the device's own end, and may still be reading what came before it.
            End::Unanswered | End::Device(_) if self.has_device_ended() => {
                leg.reset(ResetReason::Timeout);
            }
            _ => {
                // No orderly end may come of this: the client's system says "reset".
                let _ = stream.set_zero_linger();
                leg.reset(ResetReason::ConnectionLost);
            }
        }
        end
    }

    /// Both directions go on by themselves: a client that waits until the device reads may be one that the device
    /// waits for. A direction is read only as far as the other side takes it.
    async fn copy(&self, stream: &mut TcpStream, leg: &LegStream, early: &[u8]) -> End {
        let (reader, writer) = stream.split();
        let both = async { tokio::try_join!(self.up(early, reader, leg), self.down(leg, writer)) };
        tokio::select! {
            ended = both => ended.map_or_else(|end| end, |_| End::Closed),
            // Neither a client that says nothing nor one that reads nothing hides it.
            error = leg.failed() => End::Device(error),
            end = overdue(|| self.due(), &self.told_end) => end,
        }
    }

    /// Carries the client's bytes to the device.
    async fn up(
        &self,
        early: &[u8],
        mut reader: ReadHalf<'_>,
        mut leg: &LegStream,
    ) -> Result<(), End> {
        self.give_device(early, leg).await?;
        let mut part = [0; READ_LEN];
        loop {
            let len = reader.read(&mut part).await.map_err(End::Client)?;
            if len == 0 {
                return leg.shutdown().await.map_err(End::Device);
            }
            self.give_device(part.get(..len).unwrap_or_default(), leg)
                .await?;
        }
    }

    /// Carries the device's bytes to the client.
    async fn down(&self, mut leg: &LegStream, mut writer: WriteHalf<'_>) -> Result<(), End> {
        let mut part = [0; READ_LEN];
        loop {
            let len = leg.read(&mut part).await.map_err(End::Device)?;
            if len == 0 {
                writer.shutdown().await.map_err(End::Client)?;
                self.lock().device_ended = Some(Instant::now());
                self.told_end.notify_one();
                return Ok(());
            }
            self.give_client(part.get(..len).unwrap_or_default(), &mut writer)
                .await?;
        }
    }

    async fn give_device(&self, bytes: &[u8], mut leg: &LegStream) -> Result<(), End> {
        let mut out = Vec::new();
        {
            let mut state = self.lock();
            let mapped = state.framing.to_leg(bytes, &mut out);
            mapped.map_err(End::Framing)?;
            state.to_device = state.to_device.saturating_add(len_u64(bytes));
            state.used = Instant::now();
        }
        match timeout(STALL_TIMEOUT, leg.write_all(&out)).await {
            Ok(written) => written.map_err(End::Device),
            Err(_) => Err(End::Device(io::ErrorKind::TimedOut.into())),
        }
    }

    async fn give_client(&self, bytes: &[u8], writer: &mut WriteHalf<'_>) -> Result<(), End> {
        let mut out = Vec::new();
        {
            let mut state = self.lock();
            let mapped = state.framing.from_leg(bytes, &mut out);
            mapped.map_err(End::Framing)?;
            state.to_client = state.to_client.saturating_add(len_u64(&out));
            state.used = Instant::now();
        }
        match timeout(STALL_TIMEOUT, writer.write_all(&out)).await {
            Ok(written) => written.map_err(End::Client),
            Err(_) => Err(End::Client(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Returns when the connection ends if nothing happens, and why.
    fn due(&self) -> (Instant, End) {
        let state = self.lock();
        let (from, after, end) = match state.device_ended {
            // Counted from there, whatever the client still says: nobody listens to it any more, and it may say
            // that byte by byte.
            Some(ended) => (ended, self.limits.closing_timeout, End::Unanswered),
            None => (state.used, self.limits.idle_timeout, End::Idle),
        };
        (from.checked_add(after).unwrap_or(from), end)
    }

    fn has_device_ended(&self) -> bool {
        self.lock().device_ended.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn len_u64(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// How much is read at a time, in bytes.
const READ_LEN: usize = 4_096;

/// How long either side may take for what is written at once.
const STALL_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a stream may take to close that has ended in both directions.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);
