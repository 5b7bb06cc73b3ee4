//! The light outer layer of a hop: which messages travel in datagrams of their own beside the records, and
//! what becomes of those that arrive.

use alloc::boxed::Box;
use core::time::Duration;

use hedgerow_core::{
    Aead, ClientCredentials, CryptoProvider, DropReason, Env, Instant, Secret, ServerCredentials,
    Writer,
};
use hedgerow_handshake::Exporter;
use hedgerow_itls::{
    LIGHT_LAYER_LABEL, LIGHT_LAYER_MATERIAL_LEN, LightLayer, OuterRole, RoutingHeader,
};

use super::{Failures, Flow, Outer};
use crate::association::{Channel, Role};
use crate::endpoint::Handled;
use crate::plaintext::Protocol;
use crate::{Address, AssociationId, Endpoint};

/// Whether a flow has the light outer layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LightFlow {
    /// Nobody asked for it, or this end doesn't have it.
    Off,
    /// This end asked, and takes it. The gateway has not shown yet that it agrees.
    Asked,
    /// Both agree.
    Agreed,
}

/// The light outer layer of one outer session.
pub(crate) struct LightHop<C> {
    layer: LightLayer<C>,
    /// When the first datagram left of those after which none of the other side's has verified.
    unanswered_since: Option<Instant>,
    failures: Failures,
}

impl<C: Aead> LightHop<C> {
    /// Makes the keys; `None` where the outer session gives none.
    pub(super) fn new<P>(provider: &P, exporter: &Exporter<P>, role: OuterRole) -> Option<Box<Self>>
    where
        P: CryptoProvider<Aead = C>,
    {
        let mut material = Secret::<LIGHT_LAYER_MATERIAL_LEN>::zeroed();
        exporter
            .export(LIGHT_LAYER_LABEL, None, material.expose_mut())
            .ok()?;
        let layer = LightLayer::new(provider, &material, role).ok()?;
        Some(Box::new(Self {
            layer,
            unanswered_since: None,
            failures: Failures::new(),
        }))
    }

    /// Writes a datagram with a routed message; `None` for what is to go in a record now: a hello, what is for
    /// the gateway, and whatever there is while nothing comes back.
    pub(crate) fn seal(&mut self, now: Instant, routed: &[u8], out: &mut [u8]) -> Option<usize> {
        let (header, message) = RoutingHeader::decode(routed).ok()?;
        if header.is_control || !self.may_send(now) {
            return None;
        }
        let len = self.layer.seal(header.flow, message, out).ok()?;
        self.unanswered_since.get_or_insert(now);
        Some(len)
    }

    /// Verifies a datagram, and turns its end into the routed message that a record would have carried.
    /// Returns its length.
    fn open(&mut self, now: Instant, datagram: &mut [u8]) -> Result<(u16, usize), DropReason> {
        if !self.failures.has_room(now) {
            return Err(DropReason::RateLimited);
        }
        match self.layer.open(datagram) {
            Ok((flow, message)) => {
                self.unanswered_since = None;
                Ok((flow, message.len()))
            }
            Err(reason) => {
                if reason == DropReason::AuthenticationFailed {
                    self.failures.add();
                }
                Err(reason)
            }
        }
    }

    /// Says whether a datagram may be tried. What carries DTLS's records needn't carry these, the other
    /// side may be at another address by now, which records alone tell, and its layer may take nothing
    /// any more: what is sent again goes by a record.
    fn may_send(&mut self, now: Instant) -> bool {
        let Some(since) = self.unanswered_since else {
            return true;
        };
        let silent = now.saturating_since(since);
        if silent >= LIGHT_PAUSE {
            self.unanswered_since = None;
        }
        !(LIGHT_PATIENCE..LIGHT_PAUSE).contains(&silent)
    }

    pub(crate) const fn wants_new_keys(&self) -> bool {
        self.layer.wants_new_keys()
    }
}

impl<A, P, S, K> Endpoint<A, P, S, K>
where
    A: Address,
    P: CryptoProvider + Clone,
    S: ServerCredentials + Clone,
    K: ClientCredentials + Clone,
{
    /// Has the new session of an association have a light outer layer, if this end has it at all.
    pub(super) fn open_light(&mut self, id: AssociationId, exporter: &Exporter<P>) {
        let has_layer =
            self.config.light_layer && (self.config.inner.is_some() || self.config.forwards);
        let Some(found) = self.associations.get_mut(&id).filter(|_| has_layer) else {
            return;
        };
        let role = match found.role {
            Role::Client(_) => OuterRole::Client,
            Role::Server => OuterRole::Server,
        };
        found.light = LightHop::new(&self.provider, exporter, role);
    }

    /// Says whether an outer session has a light layer.
    pub(super) fn has_light_layer(&self, outer: Outer<A>) -> bool {
        match outer {
            // What TLS protects has no datagrams.
            Outer::Stream(_) => false,
            Outer::Association(id) => {
                let found = self.associations.get(&id);
                found.is_some_and(|found| found.light.is_some())
            }
        }
    }

    /// Returns the association that a datagram beside the records is for: by its address, since it has no
    /// connection ID.
    pub(crate) fn light_hop(&self, from: A, datagram: &[u8]) -> Option<AssociationId> {
        if Protocol::of(datagram) != Protocol::Itls {
            return None;
        }
        let id = *self.by_address.get(&from)?;
        let found = self.associations.get(&id)?;
        found.light.is_some().then_some(id)
    }

    /// Takes in a datagram of a light outer layer.
    pub(crate) fn drive_light<'a>(
        &'a mut self,
        env: &mut Env<'_>,
        id: AssociationId,
        from: A,
        datagram: &'a mut [u8],
    ) -> Handled<'a, A> {
        let consumed = datagram.len();
        let found = self.associations.get_mut(&id);
        let opened = match found.and_then(|found| found.light.as_deref_mut()) {
            Some(light) => light.open(env.now, datagram),
            None => Err(DropReason::NotEstablished),
        };
        let (flow, message_len) = match opened {
            Ok(opened) => opened,
            Err(reason) => {
                if reason == DropReason::AuthenticationFailed {
                    self.renew_keys(env, id);
                }
                return self.drop_all(from, consumed, reason);
            }
        };
        self.note_life(id, from);
        let message = message_at_end(datagram, message_len);
        let event = if self.config.forwards {
            let routed = routed_at_end(datagram, flow, message_len);
            self.hand_out(env, id, routed, true)
        } else {
            let outer = Outer::Association(id);
            if let Some(found) = self.associations.get_mut(&id) {
                found.last_used = env.now;
                found.liveness.hear(env.now);
                self.touch(id);
            }
            if self.agree(outer, flow) {
                let taken = match datagram.get_mut(message) {
                    Some(message) => self.take_message(env, outer, from, flow, message),
                    None => super::messages::Taken::Nothing,
                };
                self.conclude_taken(env, from, taken)
            } else {
                Some(self.count_drop(from, DropReason::UnexpectedMessage))
            }
        };
        Handled {
            consumed,
            answer: 0,
            event,
        }
    }

    /// Notes that the gateway has sent a datagram of a flow; `false` if it had no leave to. Of a flow that there
    /// isn't nobody knows.
    fn agree(&mut self, outer: Outer<A>, flow: u16) -> bool {
        let light = match self.inner.flows.get_mut(&(outer, flow)) {
            None => return true,
            Some(Flow::Initiating(initiating)) => &mut initiating.light,
            Some(Flow::HalfOpen(unconfirmed)) => &mut unconfirmed.light,
            Some(Flow::Open(id)) => {
                let found = self.associations.get_mut(id);
                match found.map(|found| &mut found.channel) {
                    Some(Channel::Inner(inner)) => &mut inner.light,
                    _ => return false,
                }
            }
        };
        if *light == LightFlow::Asked {
            *light = LightFlow::Agreed;
        }
        *light == LightFlow::Agreed
    }
}

/// Returns where the inner message stands in a datagram.
fn message_at_end(datagram: &[u8], len: usize) -> core::ops::Range<usize> {
    let end = datagram.len().saturating_sub(LIGHT_TAG_LEN);
    end.saturating_sub(len)..end
}

/// Writes the routing header to the front of the inner message, in the place of the hop number.
fn routed_at_end(datagram: &mut [u8], flow: u16, len: usize) -> &mut [u8] {
    let header = RoutingHeader {
        flow,
        is_control: false,
    };
    let message = message_at_end(datagram, len);
    let at = message.start.saturating_sub(header.encoded_len());
    let routed = datagram.get_mut(at..message.end).unwrap_or_default();
    // There is room: the datagram has a longer front than that.
    let _ = header.encode(&mut Writer::new(routed));
    routed
}

const LIGHT_TAG_LEN: usize = 8;

/// How long datagrams go out after which none has verified: less than what is sent again takes at
/// least (ACK_TIMEOUT, RFC 7252 §4.8).
const LIGHT_PATIENCE: Duration = Duration::from_secs(2);

/// When one is tried again.
const LIGHT_PAUSE: Duration = Duration::from_secs(60);
