//! One stream: its two directions, what is due, and where in its life it stands.

use core::net::SocketAddr;

use hedgerow_core::Instant;

use crate::receive::ReceiveHalf;
use crate::send::SendHalf;
use crate::storage::Buffer;
use crate::{Config, Name, Open, ResetBy, ResetReason, StreamId};

/// What a stream is opened for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer<'a> {
    /// The port where the connection came in at the gateway; 0 from a device.
    pub port: u16,
    /// The service that a device wants to reach; empty from a gateway.
    pub name: Name<'a>,
    /// The peer's address, for information.
    pub address: Option<SocketAddr>,
}

/// A stream in a leg's table.
#[derive(Debug)]
pub(crate) struct Stream<B> {
    pub(crate) id: StreamId,
    pub(crate) phase: Phase,
    pub(crate) send: SendHalf<B>,
    pub(crate) receive: ReceiveHalf<B>,
    pub(crate) acknowledgement: Acknowledgement,
    /// Its OPEN, which goes with the segment at offset 0 until something comes back.
    pub(crate) opening: Opening,
    offer: StoredOffer,
    /// When the timer expires, and how often it did with no progress since.
    pub(crate) timer: Option<Instant>,
    pub(crate) tries: u8,
    /// How often the timer expired with nothing heard of the other end since, on whatever stream.
    pub(crate) silence: u8,
    /// How often the other end's closed window was asked for in a row.
    pub(crate) probes: u8,
    /// The next segment goes whatever is in flight: the timer expired.
    pub(crate) is_forced: bool,
    pub(crate) ping: Ping,
    pub(crate) last_heard: Instant,
    pub(crate) news: News,
}

/// Where in its life a stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// From the first OPEN until both directions have ended in order.
    Open,
    /// Ended in order; repeats are acknowledged until then.
    Lingering(Instant),
    /// Given up; a RESET goes at that time, until one comes back.
    Resetting {
        reason: ResetReason,
        at: Instant,
        tries: u8,
    },
    /// Given up by the other end; the application is still to be told.
    Ended,
}

/// Whether the opener's OPEN has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// At the next chance.
    Due,
    /// It went, and nothing has come back.
    Sent,
    /// Something of the stream has come from the other end, which is to be acknowledged from now on.
    Heard,
}

/// What is owed to the other end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Acknowledgement {
    /// Now.
    pub(crate) is_due: bool,
    /// Then, unless something goes before.
    pub(crate) at: Option<Instant>,
    /// Segments with bytes since the last one.
    pub(crate) segments: u8,
}

/// Whether the other end has to be asked for an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ping {
    /// No.
    None,
    /// At the next chance.
    Due,
    /// It was, and the timer runs.
    Sent,
}

/// What the application is to be told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct News {
    pub(crate) opened: bool,
    pub(crate) readable: bool,
    /// A write found too little room.
    pub(crate) wants_room: bool,
    pub(crate) writable: bool,
    pub(crate) ending: Option<Ending>,
}

/// How a stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Closed,
    Reset(ResetReason, ResetBy),
}

#[derive(Debug)]
struct StoredOffer {
    port: u16,
    name: heapless::Vec<u8, { Name::MAX_LEN }>,
    address: Option<SocketAddr>,
}

impl<B: Buffer> Stream<B> {
    pub(crate) fn new(
        id: StreamId,
        offer: &Offer<'_>,
        opening: Opening,
        config: &Config,
        now: Instant,
    ) -> Self {
        let mut name = heapless::Vec::new();
        // A name is no longer than this.
        let _ = name.extend_from_slice(offer.name.as_bytes());
        Self {
            id,
            phase: Phase::Open,
            send: SendHalf::new(config.send_buffer),
            receive: ReceiveHalf::new(config.receive_buffer),
            acknowledgement: Acknowledgement::default(),
            opening,
            offer: StoredOffer {
                port: offer.port,
                name,
                address: offer.address,
            },
            timer: None,
            tries: 0,
            silence: 0,
            probes: 0,
            is_forced: false,
            ping: Ping::None,
            last_heard: now,
            news: News::default(),
        }
    }

    /// Lends what the stream was opened for.
    pub(crate) fn offer(&self) -> Offer<'_> {
        Offer {
            port: self.offer.port,
            // It was a name before.
            name: Name::new(&self.offer.name).unwrap_or_default(),
            address: self.offer.address,
        }
    }

    /// Returns the OPEN part, while it has to go.
    pub(crate) fn open_part(&self) -> Option<Open<'_>> {
        let offer = self.offer();
        (self.opening != Opening::Heard).then(|| Open {
            window: self.receive.window(),
            port: offer.port,
            name: offer.name,
            address: offer.address,
        })
    }

    /// Says whether the application may still use it.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Gives the stream up, and tells the other end until it answers.
    pub(crate) fn reset(&mut self, reason: ResetReason, now: Instant) {
        self.forget();
        self.phase = Phase::Resetting {
            reason,
            at: now,
            tries: 0,
        };
    }

    /// Gives the stream up because the other end did, or broke a rule, and notes it for the application.
    pub(crate) fn fail(&mut self, reason: ResetReason, by: ResetBy, now: Instant) {
        match by {
            ResetBy::Leg => self.reset(reason, now),
            ResetBy::Peer => {
                self.forget();
                self.phase = Phase::Ended;
            }
        }
        self.news.ending = Some(Ending::Reset(reason, by));
    }

    /// Ends the stream if both directions have ended in order.
    pub(crate) fn end_if_complete(&mut self, config: &Config) {
        if self.is_open() && self.send.is_complete() && self.receive.is_end_read() {
            self.phase = Phase::Lingering(self.last_heard.saturating_add(config.linger));
            self.timer = None;
            self.news.ending = Some(Ending::Closed);
        }
    }

    /// Notes an acknowledgement to be sent at once.
    pub(crate) fn acknowledge_now(&mut self) {
        self.acknowledgement.is_due = true;
    }

    /// Says whether the timer has something to wait for.
    pub(crate) fn awaits_something(&self) -> bool {
        self.send.is_outstanding() || self.opening == Opening::Sent || self.ping == Ping::Sent
    }

    /// Returns when the other end has been silent for so long that it is asked.
    pub(crate) fn silent_at(&self, config: &Config) -> Option<Instant> {
        let is_waiting = self.is_open()
            && self.opening == Opening::Heard
            && self.timer.is_none()
            && self.ping == Ping::None;
        let after = config.ping_after.filter(|_| is_waiting)?;
        Some(self.last_heard.saturating_add(after))
    }

    /// Returns when something becomes due.
    pub(crate) fn poll_timeout(&self, config: &Config) -> Option<Instant> {
        match self.phase {
            Phase::Ended => None,
            Phase::Resetting { at, .. } => Some(at),
            Phase::Open => {
                let silent = self.silent_at(config);
                let times = [self.timer, self.acknowledgement.at, silent];
                times.into_iter().flatten().min()
            }
            Phase::Lingering(until) => [Some(until), self.acknowledgement.at]
                .into_iter()
                .flatten()
                .min(),
        }
    }

    fn forget(&mut self) {
        self.send.clear();
        self.receive.clear();
        self.acknowledgement = Acknowledgement::default();
        self.timer = None;
        self.ping = Ping::None;
        self.news = News::default();
    }
}
