//! A selector of carriers on paths in virtual time.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::Duration;

use hedgerow_core::Instant;
use hedgerow_proxy::{
    CarrierChoice, CarrierKind, CarrierRole, CarrierSelector, CarrierState, ProbeNumber,
};

/// What a carrier does with a probe that leaves at a time: how long its echo takes, if it comes.
pub type Way = Box<dyn FnMut(Duration) -> Option<Duration>>;

/// A selector between two ways, and what it has done.
pub struct Bench {
    pub selector: CarrierSelector,
    pub now: Instant,
    pub udp: Way,
    pub tcp: Way,
    /// Whether a UDP carrier can be opened.
    pub opens: bool,
    pub echoes: BTreeSet<(Instant, CarrierKind, ProbeNumber)>,
    /// Each state, from when on.
    pub states: Vec<(Duration, CarrierState)>,
    pub probes: Vec<(Duration, CarrierKind)>,
    pub opened: Vec<Duration>,
    /// How often a datagram is sent, if at all, and what was chosen for each.
    pub every: Option<Duration>,
    pub next_datagram: Instant,
    pub chosen: Vec<(Duration, CarrierChoice)>,
}

impl Bench {
    pub fn new(udp: Way, tcp: Way) -> Self {
        Self {
            selector: CarrierSelector::new(CarrierRole::Client, Instant::ZERO),
            now: Instant::ZERO,
            udp,
            tcp,
            opens: true,
            echoes: BTreeSet::new(),
            states: vec![(Duration::ZERO, CarrierState::TcpOnly)],
            probes: Vec::new(),
            opened: Vec::new(),
            every: Some(ms(100)),
            next_datagram: Instant::ZERO,
            chosen: Vec::new(),
        }
    }

    pub fn since(&self) -> Duration {
        self.now.saturating_since(Instant::ZERO)
    }

    pub fn state(&self) -> CarrierState {
        self.selector.state()
    }

    pub fn note(&mut self) {
        let state = self.selector.state();
        if self.states.last().unwrap().1 != state {
            self.states.push((self.since(), state));
        }
    }

    /// Runs until `end`, in the order in which things are due.
    pub fn run(&mut self, end: Duration) {
        let end = Instant::ZERO + end;
        loop {
            while self.selector.poll_open(self.now) {
                self.opened.push(self.since());
                match self.opens {
                    true => self.selector.udp_opened(self.now),
                    false => self.selector.udp_closed(self.now),
                }
                self.note();
            }
            while let Some((carrier, number)) = self.selector.poll_probe(self.now) {
                let since = self.since();
                self.probes.push((since, carrier));
                let way = match carrier {
                    CarrierKind::Udp => &mut self.udp,
                    CarrierKind::Tcp => &mut self.tcp,
                };
                if let Some(after) = way(since) {
                    self.echoes.insert((self.now + after, carrier, number));
                }
            }
            let datagram = self.every.map(|_| self.next_datagram);
            let echo = self.echoes.first().map(|echo| echo.0);
            let due = [datagram, echo, self.selector.poll_timeout()];
            let due = due.into_iter().flatten().min();
            let Some(due) = due.filter(|due| *due <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(due);
            while let Some(&(at, carrier, number)) = self.echoes.first()
                && at <= self.now
            {
                self.echoes.pop_first();
                self.selector.handle_echo(self.now, carrier, number);
                self.note();
            }
            self.selector.handle_timeout(self.now);
            self.note();
            if let Some(every) = self.every.filter(|_| self.next_datagram <= self.now) {
                let choice = self.selector.choose(self.now, 100);
                self.chosen.push((self.since(), choice));
                self.next_datagram = self.now + every;
            }
        }
    }

    pub fn changes(&self) -> usize {
        let active = |state: CarrierState| {
            matches!(state, CarrierState::UdpActive | CarrierState::UdpSuspect)
        };
        self.states
            .windows(2)
            .filter(|pair| active(pair[0].1) != active(pair[1].1))
            .count()
    }
}

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub fn steady(delay: Duration) -> Way {
    Box::new(move |_| Some(delay))
}

/// Loses every `n`th probe.
pub fn losing_every(n: u32, delay: Duration) -> Way {
    let mut count = 0;
    Box::new(move |_| {
        count += 1;
        (count % n != 0).then_some(delay)
    })
}

/// Is deaf from one time to another.
pub fn blocked(from: Duration, to: Duration, delay: Duration) -> Way {
    Box::new(move |now| (now < from || now >= to).then_some(delay))
}
