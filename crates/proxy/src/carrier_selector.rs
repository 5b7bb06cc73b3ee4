//! Which of two carriers an end of a tunnel sends on (`docs/specs/auto.md`).
//!
//! ```text
//!               ready              good enough
//! TcpOnly -----------> Probing -----------------> UdpActive <--> UdpSuspect
//!    ^ ^                  |                           |              |
//!    | +------------------+ not good enough           | worse        | silent
//!    +------------------------------------------------+--------------+
//! ```
//!
//! Timers: the rest in `TcpOnly`, the next probe on each carrier, and the oldest unanswered probe's
//! end. Messages are the driver's; the machine says when a probe is to be sent and with which number.

use std::time::Duration;

use hedgerow_core::Instant;

use crate::carrier_message::{MAX_UDP_CARRIER_PAYLOAD_LEN, ProbeNumber};
use crate::probe_history::ProbeHistory;
use crate::tcp_probes::TcpProbes;

/// One of the two carriers of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CarrierKind {
    /// Capsules in HTTP over TLS and TCP.
    Tcp,
    /// Records of DTLS over UDP.
    Udp,
}

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CarrierChoice {
    /// Over TCP.
    Tcp,
    /// Over UDP.
    Udp,
    /// Over both: one may arrive, and the second copy is dropped as replayed.
    Both,
}

/// What the selection thinks of the carriers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CarrierState {
    /// There is no UDP carrier, or it isn't good enough.
    TcpOnly,
    /// There is one, and it is being measured.
    Probing,
    /// UDP carries what fits.
    UdpActive,
    /// A probe is overdue: both carry.
    UdpSuspect,
}

impl CarrierState {
    /// Returns the name that logs have for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TcpOnly => "tcp only",
            Self::Probing => "probing",
            Self::UdpActive => "udp active",
            Self::UdpSuspect => "udp suspect",
        }
    }
}

/// Which end of a tunnel it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CarrierRole {
    /// The client, which opens UDP carriers.
    Client,
    /// The gateway, to which they come.
    Gateway,
}

/// The selection of one end of one tunnel, for what that end sends.
#[derive(Debug)]
pub struct CarrierSelector {
    role: CarrierRole,
    state: State,
    /// How long the next rest is.
    rest: Duration,
    next_number: ProbeNumber,
    udp: ProbeHistory,
    tcp: TcpProbes,
    /// When a datagram went either way last.
    used: Instant,
    /// When a probe on UDP was answered last.
    heard: Instant,
}

/// The states, each with what is valid in it.
#[derive(Clone, Copy, Debug)]
enum State {
    /// There is no UDP carrier. The client opens one then.
    Absent {
        until: Instant,
    },
    /// The client is opening one.
    Opening,
    /// There is one that isn't good enough. It is measured anew then.
    Resting {
        until: Instant,
    },
    /// It is measured: so many probes were sent.
    Probing {
        sent: u8,
        next: Instant,
    },
    Active {
        since: Instant,
        next: Instant,
    },
    Suspect {
        since: Instant,
        next: Instant,
    },
}

impl CarrierSelector {
    /// Begins with TCP alone. The client wants a UDP carrier at once.
    pub fn new(role: CarrierRole, now: Instant) -> Self {
        Self {
            role,
            state: State::Absent { until: now },
            rest: FIRST_REST,
            next_number: ProbeNumber(0),
            udp: ProbeHistory::default(),
            tcp: TcpProbes::default(),
            used: now,
            heard: now,
        }
    }

    /// Returns what is thought of the carriers.
    pub const fn state(&self) -> CarrierState {
        match self.state {
            State::Absent { .. } | State::Opening | State::Resting { .. } => CarrierState::TcpOnly,
            State::Probing { .. } => CarrierState::Probing,
            State::Active { .. } => CarrierState::UdpActive,
            State::Suspect { .. } => CarrierState::UdpSuspect,
        }
    }

    /// Says, once, that a client is to open a UDP carrier now.
    pub fn poll_open(&mut self, now: Instant) -> bool {
        let is_due = matches!(self.state, State::Absent { until } if until <= now);
        if is_due && self.role == CarrierRole::Client {
            self.state = State::Opening;
            return true;
        }
        false
    }

    /// A UDP carrier is there, its session verified; another one than before.
    pub fn udp_opened(&mut self, now: Instant) {
        self.probe_anew(now);
    }

    /// There is no UDP carrier any more, or none came about.
    pub fn udp_closed(&mut self, now: Instant) {
        if matches!(self.state, State::Absent { .. }) {
            return;
        }
        self.leave(now);
        if let State::Resting { until } = self.state {
            self.state = State::Absent { until };
        }
    }

    /// A datagram came, on whichever carrier.
    pub fn received(&mut self, now: Instant) {
        self.use_now(now);
    }

    /// Chooses for a datagram of `len` bytes that is sent now.
    pub fn choose(&mut self, now: Instant, len: usize) -> CarrierChoice {
        self.use_now(now);
        let choice = match self.state {
            _ if len > MAX_UDP_CARRIER_PAYLOAD_LEN => CarrierChoice::Tcp,
            State::Active { .. } | State::Suspect { .. } if self.tcp.is_overtaken_enough() => {
                self.tcp.ask_behind_last(now);
                CarrierChoice::Tcp
            }
            State::Suspect { .. } => CarrierChoice::Both,
            State::Active { .. } if now.saturating_since(self.heard) > STALE_AFTER => {
                CarrierChoice::Both
            }
            State::Active { .. } => CarrierChoice::Udp,
            _ => CarrierChoice::Tcp,
        };
        if choice != CarrierChoice::Udp {
            self.tcp.count_tcp();
        }
        if choice != CarrierChoice::Tcp {
            self.tcp.count_udp(now);
        }
        choice
    }

    /// Returns the next probe to send, if one is due.
    pub fn poll_probe(&mut self, now: Instant) -> Option<(CarrierKind, ProbeNumber)> {
        let interval = self.interval(now);
        let due = match &mut self.state {
            State::Probing { sent, next } if *next <= now && *sent < ENTRY_PROBES => {
                *sent = sent.saturating_add(1);
                Some(next)
            }
            State::Active { next, .. } | State::Suspect { next, .. } if *next <= now => Some(next),
            _ => None,
        };
        if let Some(next) = due {
            *next = now + interval;
            let number = self.take_number();
            self.udp.sent(number, now);
            return Some((CarrierKind::Udp, number));
        }
        if self.tcp.next.is_some_and(|next| next <= now) {
            self.tcp.next = match self.state() {
                CarrierState::TcpOnly => None,
                CarrierState::Probing => Some(now + INTERVAL),
                _ if self.tcp.has_unknown() => Some(now + INTERVAL),
                _ => Some(now + IDLE_INTERVAL),
            };
            if self.tcp.make_place(now) {
                let number = self.take_number();
                self.tcp.probe(number, now);
                return Some((CarrierKind::Tcp, number));
            }
        }
        None
    }

    /// An echo came on a carrier. One that nobody waits for changes nothing, and is `false`.
    pub fn handle_echo(&mut self, now: Instant, carrier: CarrierKind, number: ProbeNumber) -> bool {
        match carrier {
            CarrierKind::Tcp => self.tcp.handle_echo(now, number),
            CarrierKind::Udp => {
                self.handle_timeout(now);
                let Some(is_in_time) = self.udp.handle_echo(now, number) else {
                    return false;
                };
                if is_in_time {
                    self.heard = now;
                    if let State::Suspect { since, .. } = self.state {
                        let next = now + INTERVAL;
                        self.state = State::Active { since, next };
                    }
                }
                self.judge(now);
                true
            }
        }
    }

    /// Takes note of the time: of probes that are overdue, and of rests that are over.
    pub fn handle_timeout(&mut self, now: Instant) {
        let lost = self.udp.expire(now);
        if let (true, State::Active { since, .. }) = (lost, self.state) {
            self.state = State::Suspect { since, next: now };
        }
        if matches!(self.state, State::Resting { until } if until <= now) {
            self.probe_anew(now);
        }
        self.judge(now);
    }

    /// Returns when [`Self::handle_timeout`], [`Self::poll_probe`] or [`Self::poll_open`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = match self.state {
            State::Absent { until } if self.role == CarrierRole::Client => Some(until),
            State::Absent { .. } | State::Opening => None,
            State::Resting { until } => Some(until),
            State::Probing { sent, next } => (sent < ENTRY_PROBES).then_some(next),
            State::Active { next, .. } | State::Suspect { next, .. } => Some(next),
        };
        let tcp = self.tcp.next;
        [own, tcp, self.udp.next_end()].into_iter().flatten().min()
    }

    /// A datagram ends a pause: the carrier is asked at once whether it is still there.
    fn use_now(&mut self, now: Instant) {
        let was_idle = now.saturating_since(self.used) > IDLE_AFTER;
        self.used = now;
        if let (true, State::Active { next, .. }) = (was_idle, &mut self.state) {
            *next = now;
        }
    }

    fn interval(&self, now: Instant) -> Duration {
        match self.state {
            State::Active { .. } if now.saturating_since(self.used) > IDLE_AFTER => IDLE_INTERVAL,
            State::Active { .. } => INTERVAL,
            _ => FAST_INTERVAL,
        }
    }

    fn take_number(&mut self) -> ProbeNumber {
        let number = self.next_number;
        self.next_number = ProbeNumber(number.0.saturating_add(1));
        number
    }

    fn probe_anew(&mut self, now: Instant) {
        self.udp.begin();
        self.state = State::Probing { sent: 0, next: now };
        self.tcp.next = Some(now);
    }

    /// Goes back to TCP and rests, twice as long as before unless UDP was good for long.
    fn leave(&mut self, now: Instant) {
        let since = match self.state {
            State::Active { since, .. } | State::Suspect { since, .. } => Some(since),
            _ => None,
        };
        if since.is_some_and(|since| now.saturating_since(since) >= LASTING) {
            self.rest = FIRST_REST;
        }
        let until = now + self.rest;
        self.rest = self.rest.saturating_mul(2).min(LONGEST_REST);
        self.udp.begin();
        self.tcp.next = None;
        self.state = State::Resting { until };
    }

    /// Compares what was measured with what the state asks for.
    fn judge(&mut self, now: Instant) {
        match self.state {
            State::Probing { .. } if self.udp.judged() >= usize::from(ENTRY_PROBES) => {
                let is_good =
                    self.udp.lost() <= ENTRY_LOSSES && !self.is_slower(ENTRY_PERCENT, ENTRY_EXTRA);
                if !is_good {
                    return self.leave(now);
                }
                let next = now + INTERVAL;
                self.heard = now;
                self.state = State::Active { since: now, next };
            }
            State::Active { .. } | State::Suspect { .. } if self.is_bad() => {
                let is_dead = self.udp.lost_in_a_row() >= DEAD_AFTER;
                self.leave(now);
                // The address may have changed, so that this session never comes back to life.
                if let (true, CarrierRole::Client, State::Resting { until }) =
                    (is_dead, self.role, self.state)
                {
                    self.state = State::Absent { until };
                }
            }
            _ => {}
        }
    }

    fn is_bad(&self) -> bool {
        self.udp.lost_in_a_row() >= DEAD_AFTER
            || self.udp.lost() >= EXIT_LOSSES
            || self.is_slower(EXIT_PERCENT, EXIT_EXTRA)
    }

    /// Says whether UDP's round trip is above so many percent of TCP's and so much in addition.
    fn is_slower(&self, percent: u32, extra: Duration) -> bool {
        match (self.udp.smoothed(), self.tcp.smoothed()) {
            (Some(udp), Some(tcp)) => udp > tcp.saturating_mul(percent) / 100 + extra,
            _ => false,
        }
    }
}

/// Between two probes, under use.
const INTERVAL: Duration = Duration::from_secs(1);
/// Between two probes in `Probing` and `UdpSuspect`.
const FAST_INTERVAL: Duration = Duration::from_millis(200);
/// Between two probes where nothing is carried.
const IDLE_INTERVAL: Duration = Duration::from_secs(15);
/// When nothing is carried any more.
const IDLE_AFTER: Duration = Duration::from_secs(10);
/// When the last echo is too old to rely on UDP alone.
const STALE_AFTER: Duration = Duration::from_secs(3);
/// How many probes are sent in `Probing`, and how many of them may be lost.
const ENTRY_PROBES: u8 = 10;
const ENTRY_LOSSES: usize = 1;
/// How much slower than TCP a UDP carrier may be to be chosen.
const ENTRY_PERCENT: u32 = 125;
const ENTRY_EXTRA: Duration = Duration::from_millis(50);
/// How many of the last 32 probes may not be lost.
const EXIT_LOSSES: usize = 10;
/// How much slower than TCP it may become.
const EXIT_PERCENT: u32 = 200;
const EXIT_EXTRA: Duration = Duration::from_millis(200);
/// How many probes lost in a row make it dead.
const DEAD_AFTER: usize = 4;
/// The rest after the first failure, the longest, and what makes the next one the first again.
const FIRST_REST: Duration = Duration::from_secs(2);
const LONGEST_REST: Duration = Duration::from_secs(256);
const LASTING: Duration = Duration::from_secs(60);
