//! How a flow is opened.

use hedgerow_core::{DropReason, Instant};
use hedgerow_itls::{CloseReason, MAX_INITIATOR_HELLO_LEN, Open};

use super::event::{FlowEnd, FlowRecord, ItlsEvent, ItlsOutcome};
use super::flow::{Flow, FlowId, Light, Other, Side};
use super::forwarder::{ItlsForwarder, OuterSession, Outgoing, close};
use super::policy::ItlsParty;
use super::rate::Rate;
use super::statistics::add;

impl ItlsForwarder {
    /// Takes an OPEN of a flow that there isn't.
    pub(super) fn open<'m>(
        &'m mut self,
        now: Instant,
        from: OuterSession,
        number: u16,
        open: &Open<'m>,
    ) -> ItlsOutcome<'m> {
        // The gateway's own numbers are odd, and 0 is the stream's.
        if number == 0 || number % 2 == 1 {
            return self.drop(None, DropReason::UnexpectedMessage);
        }
        let Some(outer) = self.sessions.get(&from) else {
            return self.drop(None, DropReason::UnknownPeer);
        };
        let party = outer.party;
        let limits = &self.limits;
        let openings = self
            .openings
            .entry(party)
            .or_insert_with(|| Rate::new(limits.openings, limits.opening_interval, now));
        if !openings.take(now) {
            // Counted and not noted: whoever asks without end would write the trail.
            add(&mut self.statistics.busy);
            return ItlsOutcome::Deliver(close(from, number, CloseReason::Busy));
        }
        let has_room = outer.flows.len() < self.limits.flows_per_session
            && self.flows.len() < self.limits.flows;
        if !has_room {
            return self.refuse(from, number, party, CloseReason::Busy);
        }
        // One that isn't known and one that isn't allowed look alike.
        let Some(wanted) = self.policy.find(party, open.name) else {
            return self.refuse(from, number, party, CloseReason::Refused);
        };
        let (device, user) = match (party, wanted) {
            (ItlsParty::User(user), ItlsParty::Device(device))
            | (ItlsParty::Device(device), ItlsParty::User(user)) => (device, user),
            // The policy has no such pair.
            _ => return self.refuse(from, number, party, CloseReason::Refused),
        };
        let of_pair = self.flows.values();
        let of_pair =
            of_pair.filter(|flow| (flow.record.device, flow.record.user) == (device, user));
        if of_pair.count() >= self.limits.flows_per_pair {
            return self.refuse(from, number, party, CloseReason::Busy);
        }
        let light = match open.wants_light_layer && self.limits.light_layer {
            true => Light::Agreed,
            false => Light::Off,
        };
        let opener = Side {
            session: from,
            number,
            // What is protected by TLS has no datagrams.
            light: match party {
                ItlsParty::Device(_) => light,
                ItlsParty::User(_) => Light::Off,
            },
        };
        let record = FlowRecord {
            device,
            user,
            is_of_device: matches!(party, ItlsParty::Device(_)),
            to_device: 0,
            to_user: 0,
            light: 0,
            dropped: 0,
        };
        match (self.newest(wanted), wanted) {
            (Some(to), _) => {
                let Some(side) = self.take_number(to, wanted) else {
                    return self.refuse(from, number, party, CloseReason::Busy);
                };
                let id = self.add_flow(now, opener, Other::Open(side), record);
                // The flow stays: its opener sends the OPEN again, as one that the network lost.
                if !self.count_passed(now, id, to) {
                    return self.drop(Some(id), DropReason::RateLimited);
                }
                let flow = self.flows.get(&id);
                match flow.and_then(|flow| flow.open_delivery(&self.policy, open.message)) {
                    Some(delivery) => ItlsOutcome::Deliver(delivery),
                    None => ItlsOutcome::Dropped(DropReason::UnknownFlow),
                }
            }
            (None, ItlsParty::Device(device)) => {
                if open.message.len() > MAX_AWAITED_LEN {
                    return self.drop(None, DropReason::TooLong);
                }
                let message = open.message.to_vec();
                self.add_flow(now, opener, Other::Awaited { device, message }, record);
                ItlsOutcome::Await { device }
            }
            (None, ItlsParty::User(_)) => self.refuse(from, number, party, CloseReason::Gone),
        }
    }

    /// Takes an OPEN of a flow that is open: its inner message alone counts. Over a hop that loses messages
    /// the first one may not have arrived, so that the opener's goes on as an OPEN.
    pub(super) fn open_again<'m>(
        &'m mut self,
        now: Instant,
        id: FlowId,
        from: OuterSession,
        open: &Open<'m>,
    ) -> ItlsOutcome<'m> {
        let Some(flow) = self.flows.get_mut(&id) else {
            return self.drop(None, DropReason::UnknownFlow);
        };
        if flow.opener.session != from {
            return match open.message.is_empty() {
                true => self.drop(Some(id), DropReason::UnexpectedMessage),
                false => self.pass_inner(now, id, from, open.message, false),
            };
        }
        let to = match &mut flow.other {
            Other::Awaited { device, message } => {
                let device = *device;
                if open.message.len() > MAX_AWAITED_LEN {
                    return self.drop(Some(id), DropReason::TooLong);
                }
                *message = open.message.to_vec();
                flow.used_at = now;
                return ItlsOutcome::Await { device };
            }
            Other::Open(to) => to.session,
        };
        if !self.count_passed(now, id, to) {
            return self.drop(Some(id), DropReason::RateLimited);
        }
        let flow = self.flows.get(&id);
        match flow.and_then(|flow| flow.open_delivery(&self.policy, open.message)) {
            Some(delivery) => ItlsOutcome::Deliver(delivery),
            None => ItlsOutcome::Dropped(DropReason::UnknownFlow),
        }
    }

    /// Opens a flow that has waited for a session with its device.
    pub(super) fn reach(&mut self, now: Instant, id: FlowId, session: OuterSession) {
        let Some(flow) = self.flows.get(&id) else {
            return;
        };
        let device = ItlsParty::Device(flow.record.device);
        let Some(side) = self.take_number(session, device) else {
            add(&mut self.statistics.busy);
            self.tell(id, None, CloseReason::Busy);
            self.close(now, id, FlowEnd::Unreachable);
            return;
        };
        if let Some(outer) = self.sessions.get_mut(&session) {
            outer.flows.insert(side.number, id);
        }
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        let waited = std::mem::replace(&mut flow.other, Other::Open(side));
        if !self.count_passed(now, id, session) {
            self.drop(Some(id), DropReason::RateLimited);
            return;
        }
        if let Other::Awaited { message, .. } = waited {
            self.outgoing
                .push_back(Outgoing::Open { flow: id, message });
        }
    }

    /// Returns the session to which flows for a party are opened.
    pub(super) fn newest(&self, party: ItlsParty) -> Option<OuterSession> {
        let mut sessions = self.sessions.iter().rev();
        let (session, _) = sessions.find(|(_, outer)| outer.party == party && outer.takes_flows)?;
        Some(*session)
    }

    /// Returns a number of the gateway's for one more flow of a session, if it may have one.
    ///
    /// Low numbers make short headers. One that was given up lately isn't given again: what the network
    /// delivers late would belong to another flow.
    pub(super) fn take_number(&mut self, session: OuterSession, party: ItlsParty) -> Option<Side> {
        let outer = self.sessions.get_mut(&session)?;
        if outer.flows.len() >= self.limits.flows_per_session {
            return None;
        }
        let is_free = |number: &u16| !outer.flows.contains_key(number);
        let short = (1..=LAST_SHORT).step_by(2);
        let later = short.clone().filter(|number| *number > outer.last_number);
        let number = later
            .chain(short)
            .chain((LAST_SHORT..=u16::MAX).step_by(2))
            .find(is_free)?;
        outer.last_number = number;
        let light = match (party, self.limits.light_layer) {
            (ItlsParty::Device(_), true) => Light::Asked,
            _ => Light::Off,
        };
        Some(Side {
            session,
            number,
            light,
        })
    }

    pub(super) fn add_flow(
        &mut self,
        now: Instant,
        opener: Side,
        other: Other,
        record: FlowRecord,
    ) -> FlowId {
        // What is whole again is made anew when it is wanted.
        self.of_pairs.retain(|_, rate| !rate.is_whole(now));
        self.last_flow = self.last_flow.saturating_add(1);
        let id = FlowId(self.last_flow);
        let armed = now.saturating_add(self.limits.idle_timeout);
        let flow = Flow {
            opener,
            other,
            record,
            opened_at: now,
            used_at: now,
            armed,
        };
        for side in flow.sides() {
            if let Some(outer) = self.sessions.get_mut(&side.session) {
                outer.flows.insert(side.number, id);
            }
        }
        self.flows.insert(id, flow);
        self.idle.insert((armed, id));
        add(&mut self.statistics.opened);
        self.events.push_back(ItlsEvent::Opened(record));
        id
    }

    pub(super) fn refuse<'m>(
        &mut self,
        to: OuterSession,
        number: u16,
        from: ItlsParty,
        reason: CloseReason,
    ) -> ItlsOutcome<'m> {
        add(match reason {
            CloseReason::Refused => &mut self.statistics.refused,
            CloseReason::Busy => &mut self.statistics.busy,
            _ => &mut self.statistics.gone,
        });
        self.events.push_back(ItlsEvent::Refused { from, reason });
        ItlsOutcome::Deliver(close(to, number, reason))
    }
}

/// The highest number of the gateway's that fits one octet of header.
const LAST_SHORT: u16 = 29;

/// The longest inner message that waits for a device's session, in bytes.
const MAX_AWAITED_LEN: usize = MAX_INITIATOR_HELLO_LEN;
