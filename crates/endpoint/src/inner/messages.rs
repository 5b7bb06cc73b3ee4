//! Messages of outer sessions: which flow they are for, and how an association's own go out.

use alloc::vec;
use alloc::vec::Vec;

use hedgerow_core::{
    ClientCredentials, CryptoProvider, DropReason, Env, Instant, SecureChannel, ServerCredentials,
    Writer,
};
use hedgerow_itls::{
    CloseReason, Control, Envelope, MAX_FLOW_NAME_LEN, MAX_INITIATOR_HELLO_LEN, RoutingHeader,
    is_initiator_hello,
};

use super::channel::InnerState;
use super::light::LightFlow;
use super::{Flow, Outer, seal_routed};
use crate::association::{Channel, Role};
use crate::endpoint::{Handled, Speaker};
use crate::{Address, AssociationId, Endpoint, Event};

/// What became of a message of an outer session.
pub(super) enum Taken<'d, A> {
    Nothing,
    Dropped(DropReason),
    Event(Event<'static, A>),
    /// An association's plaintext.
    Message(AssociationId, &'d mut [u8]),
}

impl<A, P, S, K> Endpoint<A, P, S, K>
where
    A: Address,
    P: CryptoProvider + Clone,
    S: ServerCredentials + Clone,
    K: ClientCredentials + Clone,
{
    /// Says whether what comes from an address is carried and protected by something else.
    pub(crate) fn has_outer_stream(&self, from: A) -> bool {
        self.inner.outers.contains_key(&Outer::Stream(from))
    }

    /// Takes in one message of an outer session that something else carries.
    pub(crate) fn drive_outer_stream<'a>(
        &'a mut self,
        env: &mut Env<'_>,
        from: A,
        message: &'a mut [u8],
    ) -> Handled<'a, A> {
        let consumed = message.len();
        let event = self.handle_routed(env, Outer::Stream(from), from, message);
        Handled {
            consumed,
            answer: 0,
            event,
        }
    }

    /// Takes in one message of an outer session with the gateway at `address`.
    pub(crate) fn handle_routed<'a>(
        &'a mut self,
        env: &mut Env<'_>,
        outer: Outer<A>,
        address: A,
        message: &'a mut [u8],
    ) -> Option<Event<'a, A>> {
        let taken = self.take_routed(env, outer, address, message);
        self.conclude_taken(env, address, taken)
    }

    /// Draws the conclusion of what was made of a message.
    pub(super) fn conclude_taken<'a>(
        &'a mut self,
        env: &mut Env<'_>,
        address: A,
        taken: Taken<'a, A>,
    ) -> Option<Event<'a, A>> {
        match taken {
            Taken::Nothing => None,
            Taken::Dropped(reason) => Some(self.count_drop(address, reason)),
            Taken::Event(event) => Some(event),
            Taken::Message(id, plaintext) => {
                self.note_address(id, address);
                self.handle_message(env, id, plaintext)
            }
        }
    }

    fn take_routed<'d>(
        &mut self,
        env: &mut Env<'_>,
        outer: Outer<A>,
        address: A,
        message: &'d mut [u8],
    ) -> Taken<'d, A> {
        if let Outer::Association(hop) = outer
            && let Some(found) = self.associations.get_mut(&hop)
        {
            found.last_used = env.now;
            found.liveness.hear(env.now);
            self.touch(hop);
        }
        if !self.inner.outers.contains_key(&outer) {
            return Taken::Dropped(DropReason::NotAcceptable);
        }
        let (header, message) = match RoutingHeader::decode_mut(message) {
            Ok(read) => read,
            Err(reason) => return Taken::Dropped(reason),
        };
        match header.is_control {
            true => self.take_control(env, outer, address, header.flow, message),
            false => self.take_message(env, outer, address, header.flow, message),
        }
    }

    /// Takes in an inner message.
    pub(super) fn take_message<'d>(
        &mut self,
        env: &mut Env<'_>,
        outer: Outer<A>,
        address: A,
        flow: u16,
        message: &'d mut [u8],
    ) -> Taken<'d, A> {
        if !self.inner.flows.contains_key(&(outer, flow)) {
            self.push_close(outer, flow, CloseReason::UnknownFlow);
            return Taken::Dropped(DropReason::UnknownFlow);
        }
        if is_initiator_hello(message) {
            return self.take_initiator_hello(env, outer, address, flow, message, false);
        }
        if !self.inner.has_room_for_failure(outer, env.now) {
            return Taken::Dropped(DropReason::RateLimited);
        }
        match self.inner.flows.get(&(outer, flow)) {
            None => Taken::Dropped(DropReason::UnknownFlow),
            Some(Flow::Initiating(_)) => self.take_responder_hello(env, outer, flow, message),
            Some(Flow::HalfOpen(_)) => self.take_confirmation(env, outer, address, flow, message),
            Some(Flow::Open(id)) => {
                let id = *id;
                self.open_message(env, outer, id, message)
            }
        }
    }

    fn open_message<'d>(
        &mut self,
        env: &mut Env<'_>,
        outer: Outer<A>,
        id: AssociationId,
        message: &'d mut [u8],
    ) -> Taken<'d, A> {
        let binding = self.outer_session(outer).map(|(binding, _)| binding);
        let found = self.associations.get_mut(&id);
        let (Some(binding), Some(Channel::Inner(inner))) =
            (binding, found.map(|found| &mut found.channel))
        else {
            return Taken::Dropped(DropReason::UnknownFlow);
        };
        let InnerState::Open { envelope, .. } = &mut inner.state else {
            return Taken::Dropped(DropReason::NotEstablished);
        };
        let outcome = envelope.open(&binding, message);
        self.conclude_inner(env, outer, id, outcome)
    }

    /// An association is where its outer session is.
    pub(super) fn note_address(&mut self, id: AssociationId, address: A) {
        let Some(found) = self.associations.get_mut(&id) else {
            return;
        };
        let before = core::mem::replace(&mut found.address, address);
        if before == address || !matches!(found.role, Role::Server) {
            return;
        }
        self.count_source(&Role::Server, before, -1);
        self.count_source(&Role::Server, address, 1);
    }

    /// Writes the next message of an association inside an outer session, if there is one.
    pub(crate) fn transmit_inner(
        &mut self,
        env: &mut Env<'_>,
        id: AssociationId,
        out: &mut [u8],
    ) -> Option<(A, usize)> {
        let room = self.scratch.len().saturating_add(ROOM_FOR_HEADERS);
        let mut routed = core::mem::take(&mut self.inner.scratch);
        routed.resize(room, 0);
        let sent = self
            .seal_inner(env, id, &mut routed)
            .and_then(|(outer, len)| {
                let light = self.has_agreed(id).then_some(env.now);
                let routed = routed.get(..len).unwrap_or_default();
                let sent = self.seal_outer(outer, light, routed, out);
                if let Outer::Association(hop) = outer {
                    if let Some(found) = self.associations.get_mut(&hop) {
                        found.last_used = env.now;
                    }
                    self.renew_keys(env, hop);
                }
                sent
            });
        self.inner.scratch = routed;
        self.arm_association(id);
        sent
    }

    /// Seals an association's next message end to end.
    fn seal_inner(
        &mut self,
        env: &mut Env<'_>,
        id: AssociationId,
        routed: &mut [u8],
    ) -> Option<(Outer<A>, usize)> {
        let found = self.associations.get_mut(&id)?;
        let address = found.address;
        let Channel::Inner(inner) = &mut found.channel else {
            return None;
        };
        let (outer, flow) = (inner.outer(address), inner.flow);
        let InnerState::Open { envelope, confirms } = &mut inner.state else {
            return None;
        };
        let message = found.exchange.poll_transmit(env, &mut self.scratch);
        let message = message.ok().flatten();
        let sealed = match message {
            Some(len) => {
                let message = self.scratch.get(..len).unwrap_or_default();
                seal_routed(
                    envelope,
                    flow,
                    |envelope, out| envelope.seal(message, out),
                    routed,
                )
            }
            // The other end waits for a first message.
            None if *confirms => seal_routed(envelope, flow, Envelope::seal_confirmation, routed),
            None => return None,
        };
        *confirms = false;
        found.is_queued = true;
        self.queue.push_back(Speaker::Association(id));
        match sealed {
            Ok(len) => {
                self.renew_inner(env, id);
                Some((outer, len))
            }
            Err(error) => {
                self.close_flow_of(id);
                self.fail_inner(id, error);
                None
            }
        }
    }

    /// Says whether an association's messages may travel in datagrams beside the records.
    fn has_agreed(&self, id: AssociationId) -> bool {
        let channel = self.associations.get(&id).map(|found| &found.channel);
        matches!(channel, Some(Channel::Inner(inner)) if inner.light == LightFlow::Agreed)
    }

    /// Seals a message for the gateway, and returns where the datagram goes and its length. With the time it
    /// is by the light outer layer if that may be now.
    fn seal_outer(
        &mut self,
        outer: Outer<A>,
        light: Option<Instant>,
        routed: &[u8],
        out: &mut [u8],
    ) -> Option<(A, usize)> {
        match outer {
            Outer::Stream(address) => {
                out.get_mut(..routed.len())?.copy_from_slice(routed);
                Some((address, routed.len()))
            }
            Outer::Association(hop) => {
                let found = self.associations.get_mut(&hop)?;
                let Channel::Session(session) = &mut found.channel else {
                    return None;
                };
                let lightly = match (light, found.light.as_deref_mut()) {
                    (Some(now), Some(light)) => light.seal(now, routed, out),
                    _ => None,
                };
                let len = match lightly {
                    Some(len) => len,
                    None => session.seal(routed, out).ok()?,
                };
                let address = found.address;
                if let Some(copy_to) = found.take_copy(len) {
                    // The same record, sealed once: whichever comes second is a replay.
                    self.push_parting(copy_to, out.get(..len).unwrap_or_default());
                }
                Some((address, len))
            }
        }
    }

    /// Sends a message to the gateway as soon as something can be sent. Where there is no room it is lost,
    /// as any datagram may be.
    pub(super) fn push_routed(&mut self, outer: Outer<A>, routed: &[u8]) {
        let mut datagram = vec![0; routed.len().saturating_add(ROOM_FOR_A_RECORD)];
        if let Some((address, len)) = self.seal_outer(outer, None, routed, &mut datagram) {
            self.push_parting(address, datagram.get(..len).unwrap_or_default());
        }
    }

    /// Sends what is for the gateway itself.
    pub(super) fn push_control(&mut self, outer: Outer<A>, flow: u16, control: &Control<'_>) {
        let mut bytes: Vec<u8> = vec![0; LONGEST_CONTROL];
        let mut writer = Writer::new(&mut bytes);
        let header = RoutingHeader {
            flow,
            is_control: true,
        };
        let written = header
            .encode(&mut writer)
            .and_then(|()| control.encode(&mut writer));
        if written.is_ok() {
            self.push_routed(outer, writer.written());
        }
    }
}

/// Routing header, inner header and tag.
const ROOM_FOR_HEADERS: usize = 3 + 7 + 16;

/// The longest that a record is above its plaintext: header, connection ID, explicit nonce and tag.
const ROOM_FOR_A_RECORD: usize = 13 + 255 + 8 + 16 + 32;

/// An OPEN with the longest name and hello.
const LONGEST_CONTROL: usize = 3 + 3 + MAX_FLOW_NAME_LEN + MAX_INITIATOR_HELLO_LEN;
