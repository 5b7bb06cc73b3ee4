//! What is known of the datagrams that a tunnel's end sent on TCP (`docs/specs/auto.md`, "Overtaking").

use std::collections::VecDeque;
use std::time::Duration;

use hedgerow_core::Instant;

use crate::carrier_message::ProbeNumber;
use crate::probe_history::RoundTrip;

/// Probes on TCP, by which delays are compared and by which is known what has arrived.
#[derive(Debug, Default)]
pub(crate) struct TcpProbes {
    round_trip: RoundTrip,
    under_way: VecDeque<TcpProbe>,
    /// When the next one is due.
    pub(crate) next: Option<Instant>,
    /// Datagrams sent on TCP, and how many of them have arrived for certain.
    sent: u64,
    arrived: u64,
    /// Datagrams sent on UDP, and how many of them when the first that may not have arrived on TCP left.
    udp_sent: u64,
    udp_before: u64,
}

#[derive(Clone, Copy, Debug)]
struct TcpProbe {
    number: ProbeNumber,
    at: Instant,
    /// What had been sent on TCP and on UDP before it.
    sent: u64,
    udp_sent: u64,
}

impl TcpProbes {
    pub(crate) fn smoothed(&self) -> Option<Duration> {
        self.round_trip.smoothed()
    }

    /// Counts a datagram that goes on TCP.
    pub(crate) fn count_tcp(&mut self) {
        if !self.has_unknown() {
            self.udp_before = self.udp_sent;
        }
        self.sent = self.sent.saturating_add(1);
    }

    /// Counts a datagram that goes on UDP, and wants a probe behind the first one that may overtake and behind
    /// each eighth: the echo of each lets as many more go there, so that not all wait for the last one's.
    pub(crate) fn count_udp(&mut self, now: Instant) {
        if self.has_unknown() {
            if self.udp_sent == self.udp_before {
                self.ask(now);
            }
            self.ask_behind(now, STRIDE);
        }
        self.udp_sent = self.udp_sent.saturating_add(1);
    }

    /// Says whether something was sent of which it isn't known that it has arrived.
    pub(crate) const fn has_unknown(&self) -> bool {
        self.sent > self.arrived
    }

    /// Says whether as many datagrams as may overtake one on TCP are on their way already.
    pub(crate) const fn is_overtaken_enough(&self) -> bool {
        self.has_unknown() && self.udp_sent.saturating_sub(self.udp_before) >= MAX_OVERTAKING
    }

    /// Wants a probe soon, unless one is under way behind all that was sent on TCP.
    fn ask(&mut self, now: Instant) {
        let newest = self.under_way.back();
        if newest.is_none_or(|probe| probe.sent < self.sent) {
            self.next = Some(now);
        }
    }

    /// Wants a probe soon behind what went on UDP last: a second one behind the same datagrams would let no
    /// more of them go there.
    pub(crate) fn ask_behind_last(&mut self, now: Instant) {
        self.ask_behind(now, 1);
    }

    /// Wants a probe soon if as many datagrams went on UDP since the last one under way.
    fn ask_behind(&mut self, now: Instant, datagrams: u64) {
        let newest = self.under_way.back();
        let since = |probe: &TcpProbe| self.udp_sent.saturating_sub(probe.udp_sent);
        if newest.is_none_or(|probe| since(probe) >= datagrams) {
            self.next = Some(now);
        }
    }

    /// Says whether one more probe can be waited for.
    ///
    /// Those under way keep their places: if the newest took the oldest one's, each would be forgotten before
    /// its echo came wherever more are asked for than have places in TCP's round trip. Only one so
    /// old that its echo won't come gives its place up. If it does come, later ones' echoes say as much.
    pub(crate) fn make_place(&mut self, now: Instant) -> bool {
        let oldest = self.under_way.front();
        let is_lost = oldest.is_some_and(|probe| now.saturating_since(probe.at) >= LOST_AFTER);
        if is_lost {
            self.under_way.pop_front();
        }
        self.under_way.len() < MAX_TCP_PROBES
    }

    pub(crate) fn probe(&mut self, number: ProbeNumber, now: Instant) {
        self.under_way.push_back(TcpProbe {
            number,
            at: now,
            sent: self.sent,
            udp_sent: self.udp_sent,
        });
    }

    /// What was sent before the probe has arrived, for TCP keeps order.
    pub(crate) fn handle_echo(&mut self, now: Instant, number: ProbeNumber) -> bool {
        let found = self.under_way.iter().position(|it| it.number == number);
        let Some(probe) = found.and_then(|at| self.under_way.drain(..=at).next_back()) else {
            return false;
        };
        self.round_trip.add(now.saturating_since(probe.at));
        self.arrived = self.arrived.max(probe.sent);
        self.udp_before = match self.has_unknown() {
            // Whatever hasn't arrived left after the probe.
            true => self.udp_before.max(probe.udp_sent),
            false => self.udp_sent,
        };
        true
    }
}

/// How many datagrams on UDP may overtake one on TCP: half of the narrowest replay window.
const MAX_OVERTAKING: u64 = 32;
/// Of those, how many leave from one probe to the next.
const STRIDE: u64 = 8;
/// Probes on TCP that are waited for, and for how long.
const MAX_TCP_PROBES: usize = 16;
const LOST_AFTER: Duration = Duration::from_secs(60);
