//! What this end and the gateway tell each other about flows. Nothing between the ends rests on it.

use alloc::vec::Vec;

use hedgerow_core::{
    ClientCredentials, CryptoProvider, DropReason, Env, PeerFault, ServerCredentials, WayRefusal,
};
use hedgerow_handshake::smaller_datagram_len;
use hedgerow_itls::{CloseReason, Control, is_initiator_hello};

use super::messages::Taken;
use super::{Flow, Outer};
use crate::association::Channel;
use crate::{Address, AssociationId, Endpoint};

impl<A, P, S, K> Endpoint<A, P, S, K>
where
    A: Address,
    P: CryptoProvider + Clone,
    S: ServerCredentials + Clone,
    K: ClientCredentials + Clone,
{
    /// Takes in what the gateway says of a flow.
    pub(super) fn take_control<'d>(
        &mut self,
        env: &mut Env<'_>,
        outer: Outer<A>,
        address: A,
        flow: u16,
        message: &'d mut [u8],
    ) -> Taken<'d, A> {
        let control = match Control::decode(message) {
            Ok(control) => control,
            Err(reason) => return Taken::Dropped(reason),
        };
        match control {
            Control::Open(open) => {
                let is_known = self.inner.flows.contains_key(&(outer, flow));
                let (wants_light, len) = (open.wants_light_layer, open.message.len());
                let at = message.len().saturating_sub(len);
                let message = message.get_mut(at..).unwrap_or_default();
                if is_known {
                    // One that came again counts as what is in it.
                    return match message.is_empty() {
                        true => Taken::Nothing,
                        false => self.take_message(env, outer, address, flow, message),
                    };
                }
                // The gateway's flows are odd. Without a hello there is nothing that it could lead to.
                if flow.is_multiple_of(2) || !is_initiator_hello(message) {
                    return Taken::Dropped(DropReason::UnexpectedMessage);
                }
                self.take_initiator_hello(env, outer, address, flow, message, wants_light)
            }
            Control::Close(reason) => self.take_close(outer, flow, reason),
            Control::TooLong(len) => self.take_too_long(outer, flow, len.into()),
            Control::User(_) => Taken::Dropped(DropReason::UnexpectedMessage),
        }
    }

    /// A flow that the gateway closes was cut off, whatever it says.
    fn take_close<'d>(&mut self, outer: Outer<A>, flow: u16, reason: CloseReason) -> Taken<'d, A> {
        let refused = PeerFault::WayRefused {
            reason: refusal(reason),
        };
        // On a stream, flow 0 is the stream itself: the gateway doesn't take this end.
        if flow == 0 && matches!(outer, Outer::Stream(_)) {
            let flows = self.inner.flows_of(outer);
            let flows: Vec<_> = flows.map(|(flow, _)| flow).collect();
            for flow in flows {
                self.cut_off_by_gateway(outer, flow, refused);
            }
            return Taken::Nothing;
        }
        match self.inner.flows.contains_key(&(outer, flow)) {
            true => self.cut_off_by_gateway(outer, flow, refused),
            false => return Taken::Dropped(DropReason::UnknownFlow),
        }
        Taken::Nothing
    }

    fn cut_off_by_gateway(&mut self, outer: Outer<A>, flow: u16, refused: PeerFault) {
        let fault = match self.inner.flows.get(&(outer, flow)) {
            Some(Flow::Open(_)) => PeerFault::Truncated,
            _ => refused,
        };
        self.cut_off(outer, flow, fault.into());
    }

    /// The other hop carries less: messages get shorter. It is the gateway's word, so that none gets
    /// shorter than any path allows.
    fn take_too_long<'d>(&mut self, outer: Outer<A>, flow: u16, len: usize) -> Taken<'d, A> {
        let Some(Flow::Open(id)) = self.inner.flows.get(&(outer, flow)) else {
            return Taken::Dropped(DropReason::UnknownFlow);
        };
        let id = *id;
        self.limit_one(id, smaller_datagram_len(len));
        Taken::Nothing
    }

    /// Tells the gateway that a flow has ended.
    pub(super) fn push_close(&mut self, outer: Outer<A>, flow: u16, reason: CloseReason) {
        self.push_control(outer, flow, &Control::Close(reason));
    }

    /// Tells the gateway that an association's flow has ended.
    pub(super) fn close_flow_of(&mut self, id: AssociationId) {
        let Some(found) = self.associations.get(&id) else {
            return;
        };
        if let Channel::Inner(inner) = &found.channel {
            let (outer, flow) = (inner.outer(found.address), inner.flow);
            self.push_close(outer, flow, CloseReason::Done);
        }
    }
}

const fn refusal(reason: CloseReason) -> WayRefusal {
    match reason {
        CloseReason::Refused => WayRefusal::Refused,
        CloseReason::Busy => WayRefusal::Busy,
        CloseReason::Done | CloseReason::UnknownFlow | CloseReason::Gone => WayRefusal::Gone,
    }
}
