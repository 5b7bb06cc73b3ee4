//! The table of flows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hedgerow_core::{DropReason, Instant};
use hedgerow_itls::{CloseReason, Control, RoutingHeader};

use super::delivery::{ItlsContent, ItlsDelivery};
use super::event::{FlowEnd, ItlsEvent, ItlsOutcome};
use super::flow::{Flow, FlowId, Light, Other};
use super::limits::ItlsLimits;
use super::policy::{ItlsParty, ItlsPolicy};
use super::rate::Rate;
use super::statistics::{ItlsStatistics, add};

/// An outer session: never given twice by one forwarder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OuterSession(u64);

/// Every flow of a gateway in mode `itls`, and no session: which message goes where, under which number.
///
/// Its caller tells it of outer sessions and gives it what comes out of their records. After every call it
/// fetches messages with [`Self::poll_transmit`] and events with [`Self::poll_event`], and it comes back
/// when [`Self::poll_timeout`] says.
#[derive(Debug)]
pub struct ItlsForwarder {
    pub(super) policy: ItlsPolicy,
    pub(super) limits: ItlsLimits,
    pub(super) sessions: BTreeMap<OuterSession, Outer>,
    pub(super) flows: BTreeMap<FlowId, Flow>,
    /// When to look whether a flow is idle: not moved with every message.
    pub(super) idle: BTreeSet<(Instant, FlowId)>,
    /// What each party may open, whichever session it has: one that comes again goes on where it was. The
    /// parties are those of the configuration.
    pub(super) openings: BTreeMap<ItlsParty, Rate>,
    /// What each device may be sent, on all flows.
    pub(super) to_device: BTreeMap<usize, Rate>,
    /// What a device may be sent by one user, on all flows of the two: it outlives them, so that another flow brings
    /// no more.
    pub(super) of_pairs: BTreeMap<(usize, usize), Rate>,
    pub(super) outgoing: VecDeque<Outgoing>,
    pub(super) events: VecDeque<ItlsEvent>,
    pub(super) last_session: u64,
    pub(super) last_flow: u64,
    pub(super) statistics: ItlsStatistics,
}

#[derive(Debug)]
pub(super) struct Outer {
    pub(super) party: ItlsParty,
    pub(super) takes_flows: bool,
    pub(super) flows: BTreeMap<u16, FlowId>,
    /// The number that the gateway gave last.
    pub(super) last_number: u16,
}

#[derive(Debug)]
pub(super) enum Outgoing {
    Open {
        flow: FlowId,
        message: Vec<u8>,
    },
    Close {
        to: OuterSession,
        number: u16,
        reason: CloseReason,
    },
}

impl ItlsForwarder {
    /// Makes one without sessions.
    pub fn new(policy: ItlsPolicy, limits: ItlsLimits) -> Self {
        Self {
            policy,
            limits,
            sessions: BTreeMap::new(),
            flows: BTreeMap::new(),
            idle: BTreeSet::new(),
            openings: BTreeMap::new(),
            to_device: BTreeMap::new(),
            of_pairs: BTreeMap::new(),
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
            last_session: 0,
            last_flow: 0,
            statistics: ItlsStatistics::default(),
        }
    }

    /// Takes note of an outer session that is established, and opens the flows that wait for it. How many
    /// there are is the caller's to bound.
    ///
    /// A later one of the same party is another session beside the earlier: flows stay where they are, and
    /// new ones go to the newest that `takes_flows`.
    pub fn begin_session(
        &mut self,
        now: Instant,
        party: ItlsParty,
        takes_flows: bool,
    ) -> OuterSession {
        self.last_session = self.last_session.saturating_add(1);
        let session = OuterSession(self.last_session);
        let outer = Outer {
            party,
            takes_flows,
            flows: BTreeMap::new(),
            last_number: 0,
        };
        self.sessions.insert(session, outer);
        if let (ItlsParty::Device(device), true) = (party, takes_flows) {
            for id in self.awaiting(device) {
                self.reach(now, id, session);
            }
        }
        session
    }

    /// Takes note that an outer session is over: every flow of it ends, which its other end is told.
    pub fn end_session(&mut self, now: Instant, session: OuterSession) {
        let Some(outer) = self.sessions.get(&session) else {
            return;
        };
        let party = outer.party;
        for id in outer.flows.values().copied().collect::<Vec<_>>() {
            self.tell(id, Some(session), CloseReason::Gone);
            self.close(now, id, FlowEnd::SessionOver(party));
        }
        self.sessions.remove(&session);
        // Nothing can be sent there any more.
        self.outgoing.retain(|out| match out {
            Outgoing::Close { to, .. } => *to != session,
            Outgoing::Open { .. } => true,
        });
    }

    /// Takes note that no session with a device comes about: flows that wait for it end.
    pub fn unreachable(&mut self, now: Instant, device: usize) {
        for id in self.awaiting(device) {
            add(&mut self.statistics.gone);
            self.tell(id, None, CloseReason::Gone);
            self.close(now, id, FlowEnd::Unreachable);
        }
    }

    /// Takes a message of an outer session: the plaintext of a record of it, or, with `is_light`, header
    /// and inner message of a datagram of its light outer layer.
    pub fn handle_message<'m>(
        &'m mut self,
        now: Instant,
        from: OuterSession,
        message: &'m [u8],
        is_light: bool,
    ) -> ItlsOutcome<'m> {
        let (header, rest) = match RoutingHeader::decode(message) {
            Ok(read) => read,
            Err(reason) => return self.drop(None, reason),
        };
        let Some(outer) = self.sessions.get(&from) else {
            return self.drop(None, DropReason::UnknownPeer);
        };
        let known = outer.flows.get(&header.flow).copied();
        if !header.is_control {
            return match known {
                Some(id) => self.pass_inner(now, id, from, rest, is_light),
                None => {
                    self.statistics.count_drop(DropReason::UnknownFlow);
                    ItlsOutcome::Deliver(close(from, header.flow, CloseReason::UnknownFlow))
                }
            };
        }
        if is_light {
            return self.drop(known, DropReason::UnexpectedMessage);
        }
        match (Control::decode(rest), known) {
            (Ok(Control::Open(open)), Some(id)) => self.open_again(now, id, from, &open),
            (Ok(Control::Open(open)), None) => self.open(now, from, header.flow, &open),
            (Ok(Control::Close(reason)), Some(id)) => self.pass_close(now, id, from, reason),
            // A close is never answered, so that none goes back and forth.
            (Ok(Control::Close(_)), None) => self.drop(None, DropReason::UnknownFlow),
            // The gateway's alone, or of a stream's first message.
            (Ok(_), known) => self.drop(known, DropReason::UnexpectedMessage),
            (Err(reason), known) => self.drop(known, reason),
        }
    }

    /// Returns what the sender is to be told where an inner message of `len` bytes on a flow didn't fit
    /// the hop that it went to: `to` and `flow` of its delivery.
    pub fn too_long(
        &mut self,
        to: OuterSession,
        flow: u16,
        len: usize,
    ) -> Option<ItlsDelivery<'static>> {
        self.statistics.count_drop(DropReason::TooLong);
        let id = *self.sessions.get(&to)?.flows.get(&flow)?;
        let found = self.flows.get_mut(&id)?;
        add(&mut found.record.dropped);
        let sender = found.side_opposite(to)?;
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        Some(ItlsDelivery {
            to: sender.session,
            flow: sender.number,
            content: ItlsContent::Control(Control::TooLong(len)),
            has_light_layer: false,
        })
    }

    /// Counts a message that the caller had to drop, for a peer that doesn't read or a queue that is full: `to`
    /// and `flow` of its delivery.
    pub fn count_undelivered(&mut self, to: OuterSession, flow: u16) {
        add(&mut self.statistics.undelivered);
        let outer = self.sessions.get(&to);
        let id = outer.and_then(|outer| outer.flows.get(&flow));
        if let Some(flow) = id.and_then(|id| self.flows.get_mut(id)) {
            add(&mut flow.record.dropped);
        }
    }

    /// Closes flows without a message.
    pub fn handle_timeout(&mut self, now: Instant) {
        for _ in 0..self.idle.len() {
            let Some(&(_, id)) = self.idle.first().filter(|&&(at, _)| at <= now) else {
                return;
            };
            let Some(flow) = self.flows.get_mut(&id) else {
                continue;
            };
            let due = flow.used_at.saturating_add(self.limits.idle_timeout);
            self.idle.remove(&(flow.armed, id));
            if due > now {
                flow.armed = due;
                self.idle.insert((due, id));
                continue;
            }
            self.tell(id, None, CloseReason::Done);
            self.close(now, id, FlowEnd::Idle);
        }
    }

    /// Returns when [`Self::handle_timeout`] is due, if ever.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.idle.first().map(|&(at, _)| at)
    }

    /// Writes the next message that comes of no other: `out` has room for 64 bytes more than the longest
    /// message that was taken. Returns where it goes, on which flow, and its length.
    pub fn poll_transmit(&mut self, out: &mut [u8]) -> Option<(OuterSession, u16, usize)> {
        while let Some(outgoing) = self.outgoing.pop_front() {
            let delivery = match &outgoing {
                Outgoing::Close { to, number, reason } => close(*to, *number, *reason),
                Outgoing::Open { flow, message } => {
                    // One that was closed again needs none.
                    let Some(flow) = self.flows.get(flow) else {
                        continue;
                    };
                    let Some(delivery) = flow.open_delivery(&self.policy, message) else {
                        continue;
                    };
                    delivery
                }
            };
            if let Some(len) = delivery.encode(out) {
                return Some((delivery.to, delivery.flow, len));
            }
        }
        None
    }

    /// Returns the next thing for the audit trail.
    pub fn poll_event(&mut self) -> Option<ItlsEvent> {
        self.events.pop_front()
    }

    /// Returns the counters.
    pub fn statistics(&self) -> ItlsStatistics {
        let mut statistics = self.statistics.clone();
        statistics.open = u64::try_from(self.flows.len()).unwrap_or(u64::MAX);
        statistics
    }

    /// Returns who the names belong to.
    pub const fn policy(&self) -> &ItlsPolicy {
        &self.policy
    }

    /// Passes an inner message on.
    pub(super) fn pass_inner<'m>(
        &mut self,
        now: Instant,
        id: FlowId,
        from: OuterSession,
        message: &'m [u8],
        is_light: bool,
    ) -> ItlsOutcome<'m> {
        let Some(flow) = self.flows.get_mut(&id) else {
            return self.drop(None, DropReason::UnknownFlow);
        };
        if let (true, Some(side)) = (is_light, flow.side_mut(from)) {
            match side.light {
                Light::Off => return self.drop(Some(id), DropReason::UnexpectedMessage),
                // Whoever was asked agrees by the first one.
                Light::Asked | Light::Agreed => side.light = Light::Agreed,
            }
        }
        let Some(to) = flow.side_opposite(from) else {
            return self.drop(Some(id), DropReason::NotEstablished);
        };
        if !self.count_passed(now, id, to.session) {
            return self.drop(Some(id), DropReason::RateLimited);
        }
        if is_light {
            add(&mut self.statistics.light);
            if let Some(flow) = self.flows.get_mut(&id) {
                add(&mut flow.record.light);
            }
        }
        ItlsOutcome::Deliver(ItlsDelivery {
            to: to.session,
            flow: to.number,
            content: ItlsContent::Inner(message),
            has_light_layer: to.light == Light::Agreed,
        })
    }

    fn pass_close<'m>(
        &mut self,
        now: Instant,
        id: FlowId,
        from: OuterSession,
        reason: CloseReason,
    ) -> ItlsOutcome<'m> {
        let party = self.sessions.get(&from).map(|outer| outer.party);
        let to = self
            .flows
            .get(&id)
            .and_then(|flow| flow.side_opposite(from));
        if let Some(party) = party {
            self.close(now, id, FlowEnd::ClosedBy(party, reason));
        }
        match to {
            Some(to) => ItlsOutcome::Deliver(close(to.session, to.number, reason)),
            None => ItlsOutcome::Closed,
        }
    }

    /// Returns the flows that wait for a session with a device.
    pub(super) fn awaiting(&self, device: usize) -> Vec<FlowId> {
        let flows = self.flows.iter();
        let waiting = flows.filter(
            |(_, flow)| matches!(flow.other, Other::Awaited { device: other, .. } if other == device),
        );
        waiting.map(|(id, _)| *id).collect()
    }

    /// Counts a message that goes to a session; `false` if it may not go there now.
    pub(super) fn count_passed(&mut self, now: Instant, id: FlowId, to: OuterSession) -> bool {
        let party = self.sessions.get(&to).map(|outer| outer.party);
        let Some(flow) = self.flows.get_mut(&id) else {
            return false;
        };
        flow.used_at = now;
        match party {
            Some(ItlsParty::Device(device)) => {
                let limits = &self.limits;
                let of_all = self.to_device.entry(device).or_insert_with(|| {
                    let per_second = limits.device_messages_per_second;
                    Rate::per_second(limits.device_messages, per_second, now)
                });
                let pair = (flow.record.device, flow.record.user);
                let of_pair = self.of_pairs.entry(pair).or_insert_with(|| {
                    Rate::per_second(limits.messages, limits.messages_per_second, now)
                });
                // Whoever is past its own takes nothing of what is for all.
                if !of_pair.take(now) || !of_all.take(now) {
                    return false;
                }
                add(&mut flow.record.to_device);
                add(&mut self.statistics.to_devices);
            }
            Some(ItlsParty::User(_)) => {
                add(&mut flow.record.to_user);
                add(&mut self.statistics.to_users);
            }
            None => return false,
        }
        true
    }

    /// Has the ends of a flow told why it ends, but for the one at `except`.
    pub(super) fn tell(&mut self, id: FlowId, except: Option<OuterSession>, reason: CloseReason) {
        let Some(flow) = self.flows.get(&id) else {
            return;
        };
        for side in flow.sides() {
            if Some(side.session) != except {
                self.outgoing.push_back(Outgoing::Close {
                    to: side.session,
                    number: side.number,
                    reason,
                });
            }
        }
    }

    /// Takes a flow out.
    pub(super) fn close(&mut self, now: Instant, id: FlowId, end: FlowEnd) {
        let Some(flow) = self.flows.remove(&id) else {
            return;
        };
        self.idle.remove(&(flow.armed, id));
        for side in flow.sides() {
            if let Some(outer) = self.sessions.get_mut(&side.session) {
                outer.flows.remove(&side.number);
            }
        }
        self.events.push_back(ItlsEvent::Closed {
            record: flow.record,
            end,
            lasted: now.saturating_since(flow.opened_at),
        });
    }

    pub(super) fn drop<'m>(&mut self, flow: Option<FlowId>, reason: DropReason) -> ItlsOutcome<'m> {
        if let Some(flow) = flow.and_then(|id| self.flows.get_mut(&id)) {
            add(&mut flow.record.dropped);
        }
        self.statistics.count_drop(reason);
        ItlsOutcome::Dropped(reason)
    }
}

pub(super) const fn close<'m>(
    to: OuterSession,
    flow: u16,
    reason: CloseReason,
) -> ItlsDelivery<'m> {
    ItlsDelivery {
        to,
        flow,
        content: ItlsContent::Control(Control::Close(reason)),
        has_light_layer: false,
    }
}
