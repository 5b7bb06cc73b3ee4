//! Inner handshakes: when hellos go out and come again, and what they become.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hedgerow_core::{
    ChannelError, ClientCredentials, CryptoProvider, DropReason, Env, Event as ChannelEvent,
    Instant, Misuse, Peer, PeerFault, PskEntry, PskRequest, PskStore, Received, ServerCredentials,
    Writer,
};
use hedgerow_itls::{
    CloseReason, Control, Envelope, Initiator, InitiatorKey, InitiatorStep, MAX_FLOW_NAME_LEN,
    MAX_INITIATOR_HELLO_LEN, Open, Responder, ResponderStep, Resumption, RoutingHeader, SessionId,
    resumed_session,
};

use super::channel::{InnerChannel, InnerState};
use super::light::LightFlow;
use super::messages::Taken;
use super::{
    Flow, Initiating, InnerTimers, Outer, RESUMING_TRANSMISSIONS, RESUMPTION_LIFETIME, Unconfirmed,
};
use crate::association::{Channel, Role};
use crate::security_policy::SecurityPolicy;
use crate::timers::RENEWAL_PAUSE;
use crate::{Address, AssociationId, Endpoint, Error, Event};

/// The keys of a store under which others may begin inner sessions here.
struct EndKeys<'a, S> {
    credentials: &'a S,
    policy: &'a SecurityPolicy,
}

impl<S: ServerCredentials> PskStore for EndKeys<'_, S> {
    fn lookup(&self, request: &PskRequest<'_>) -> Option<PskEntry<'_>> {
        let entry = self.credentials.psk_store()?.lookup(request)?;
        let peer = Peer::of_psk(entry.psk, entry.peer);
        let is_permitted = self.credentials.permits(peer) && self.policy.permits_client(peer);
        is_permitted.then_some(entry)
    }

    fn usual_psk_len(&self) -> usize {
        let store = self.credentials.psk_store();
        store.map_or(16, PskStore::usual_psk_len)
    }
}

impl<A, P, S, K> Endpoint<A, P, S, K>
where
    A: Address,
    P: CryptoProvider + Clone,
    S: ServerCredentials + Clone,
    K: ClientCredentials + Clone,
{
    /// Opens a flow with a hello, and returns its number and when the ends last proved themselves.
    pub(super) fn begin_inner(
        &mut self,
        env: &mut Env<'_>,
        id: AssociationId,
        outer: Outer<A>,
        name: &[u8],
        credentials: &K,
    ) -> Result<(u16, Instant), Error> {
        let mut kept = self.inner.kept.iter();
        let kept = kept.find(|kept| kept.resuming == Some(id));
        let is_resuming = kept.is_some();
        let (key, vouched_at) = match kept {
            Some(kept) => (InitiatorKey::Session(&kept.resumption), kept.vouched_at),
            None => {
                let credentials = credentials.pre_shared_key().ok_or(Misuse::NotOffered)?;
                (InitiatorKey::EndToEnd(credentials), env.now)
            }
        };
        let initiator = self.new_initiator(env, outer, key)?;
        let initiating = Initiating {
            initiator,
            association: id,
            is_resuming,
            vouched_at,
            light: self.wanted_light(outer),
            transmissions: 0,
            next_at: env.now,
        };
        let flow = self.open_flow(env, outer, name, initiating)?;
        Ok((flow, vouched_at))
    }

    fn new_initiator(
        &self,
        env: &mut Env<'_>,
        outer: Outer<A>,
        key: InitiatorKey<'_>,
    ) -> Result<Initiator<P>, Error> {
        let config = self.config.inner.ok_or(Error::NoOuterSession)?;
        let (binding, _) = self.outer_session(outer).ok_or(Error::NoOuterSession)?;
        let provider = self.provider.clone();
        Ok(Initiator::new(
            provider,
            config.settings,
            key,
            binding,
            env,
        )?)
    }

    fn open_flow(
        &mut self,
        env: &Env<'_>,
        outer: Outer<A>,
        name: &[u8],
        mut initiating: Initiating<P>,
    ) -> Result<u16, Error> {
        if name.len() > MAX_FLOW_NAME_LEN {
            return Err(Error::FlowName);
        }
        let flow = self.inner.free_flow(outer).ok_or(Error::NoOuterSession)?;
        self.send_hello(env, outer, flow, name, &mut initiating);
        self.enter_flow(outer, flow, Flow::Initiating(Box::new(initiating)));
        Ok(flow)
    }

    /// Sends OPEN with the hello, the same octets each time, and sets the timer.
    fn send_hello(
        &mut self,
        env: &Env<'_>,
        outer: Outer<A>,
        flow: u16,
        name: &[u8],
        initiating: &mut Initiating<P>,
    ) {
        let open = Control::Open(Open {
            wants_light_layer: initiating.light != LightFlow::Off,
            name,
            message: initiating.initiator.hello(),
        });
        self.push_control(outer, flow, &open);
        initiating.transmissions = initiating.transmissions.saturating_add(1);
        initiating.next_at = env
            .now
            .saturating_add(InnerTimers::pause(initiating.transmissions));
    }

    /// Does what is due for a flow.
    pub(crate) fn expire_inner(&mut self, env: &mut Env<'_>, outer: Outer<A>, flow: u16) {
        let Some(config) = self.config.inner else {
            return;
        };
        let due = match self.inner.flows.get(&(outer, flow)) {
            Some(Flow::Initiating(initiating)) => initiating.next_at <= env.now,
            Some(Flow::HalfOpen(unconfirmed)) => unconfirmed.until <= env.now,
            Some(Flow::Open(_)) | None => false,
        };
        if !due {
            return;
        }
        let Some(Flow::Initiating(mut initiating)) = self.take_flow(outer, flow) else {
            return;
        };
        let id = initiating.association;
        let known = self
            .associations
            .get(&id)
            .map(|found| (&found.channel, &found.role));
        let Some((Channel::Inner(inner), Role::Client(Some(credentials)))) = known else {
            return;
        };
        let (name, credentials) = (inner.name.clone(), credentials.clone());
        if initiating.is_resuming && initiating.transmissions >= RESUMING_TRANSMISSIONS {
            // The far end may have forgotten the session. The key is what both have for good.
            self.push_close(outer, flow, CloseReason::Done);
            self.spend_kept(id);
            match self.begin_inner(env, id, outer, &name, &credentials) {
                Ok((flow, vouched_at)) => {
                    let light = self.wanted_light(outer);
                    self.expect_on(id, (flow, light), vouched_at);
                }
                Err(_) => self.give_up_inner(id),
            }
            return;
        }
        if initiating.transmissions >= config.timers.transmissions {
            self.push_close(outer, flow, CloseReason::Done);
            self.give_up_inner(id);
            return;
        }
        self.send_hello(env, outer, flow, &name, &mut initiating);
        self.enter_flow(outer, flow, Flow::Initiating(initiating));
    }

    /// Has an association that isn't open wait for another flow.
    fn expect_on(
        &mut self,
        id: AssociationId,
        (flow, light): (u16, LightFlow),
        vouched_at: Instant,
    ) {
        let found = self.associations.get_mut(&id);
        if let Some(Channel::Inner(inner)) = found.map(|found| &mut found.channel)
            && !inner.is_open()
        {
            inner.flow = flow;
            inner.light = light;
            inner.vouched_at = vouched_at;
        }
    }

    /// Ends an association whose hello nobody answers. A session that goes on beside stays.
    fn give_up_inner(&mut self, id: AssociationId) {
        let found = self.associations.get(&id);
        if found.is_some_and(|found| !found.is_open()) {
            self.fail_inner(id, PeerFault::CredentialsRefused.into());
        }
    }

    /// Begins a handshake for new keys beside a session whose keys come near their limits, if this end is the
    /// one that began it.
    pub(super) fn renew_inner(&mut self, env: &mut Env<'_>, id: AssociationId) {
        let Some(config) = self.config.inner else {
            return;
        };
        let Some(found) = self.associations.get_mut(&id) else {
            return;
        };
        let wants_new_keys = found.wants_new_keys();
        if !wants_new_keys || env.now < found.next_renewal_at {
            return;
        }
        // Whoever forges can also spoil handshakes; it makes this end begin one a minute at most.
        found.next_renewal_at = env.now.saturating_add(RENEWAL_PAUSE);
        let Some(found) = self.associations.get(&id) else {
            return;
        };
        let Channel::Inner(inner) = &found.channel else {
            return;
        };
        let InnerState::Open { envelope, .. } = &inner.state else {
            return;
        };
        let (outer, name) = (inner.outer(found.address), inner.name.clone());
        let vouched_at = inner.vouched_at;
        let is_own = matches!(found.role, Role::Client(_));
        let is_fresh = env.now < vouched_at.saturating_add(RESUMPTION_LIFETIME);
        if !is_own || self.inner.flows.len() >= config.max_flows {
            return;
        }
        // Without a secret that is fresh enough the key gives the other end a new association.
        if !is_fresh {
            self.close_flow_of(id);
            self.fail_inner(id, PeerFault::Truncated.into());
            return;
        }
        let key = InitiatorKey::Session(envelope.resumption());
        let Ok(initiator) = self.new_initiator(env, outer, key) else {
            return;
        };
        let initiating = Initiating {
            initiator,
            association: id,
            is_resuming: true,
            vouched_at,
            light: self.wanted_light(outer),
            transmissions: 0,
            next_at: env.now,
        };
        // A hello that can't be sent leaves the session as it is.
        let _ = self.open_flow(env, outer, &name, initiating);
    }

    /// Gives a responder's hello to the handshake that waits for it.
    pub(super) fn take_responder_hello<'d>(
        &mut self,
        env: &mut Env<'_>,
        outer: Outer<A>,
        flow: u16,
        message: &[u8],
    ) -> Taken<'d, A> {
        let Some((binding, _)) = self.outer_session(outer) else {
            return Taken::Dropped(DropReason::UnknownPeer);
        };
        let Some(Flow::Initiating(initiating)) = self.take_flow(outer, flow) else {
            return Taken::Dropped(DropReason::UnexpectedMessage);
        };
        let Initiating {
            initiator,
            association,
            is_resuming,
            vouched_at,
            light,
            transmissions,
            next_at,
        } = *initiating;
        match initiator.handle_message(&binding, message) {
            InitiatorStep::Established(envelope) => {
                self.spend_kept(association);
                let vouched_at = if is_resuming { vouched_at } else { env.now };
                let beside =
                    self.settle_inner(env, association, outer, (flow, light), vouched_at, envelope);
                if let Some(before) = beside {
                    self.take_flow(outer, before);
                    self.push_close(outer, before, CloseReason::Done);
                }
                self.established(association, is_resuming)
            }
            InitiatorStep::Waiting(initiator, reason) => {
                self.note_failure(outer, reason);
                let waiting = Initiating {
                    initiator,
                    association,
                    is_resuming,
                    vouched_at,
                    light,
                    transmissions,
                    next_at,
                };
                self.enter_flow(outer, flow, Flow::Initiating(Box::new(waiting)));
                Taken::Dropped(reason)
            }
            InitiatorStep::GivenUp(reason) => {
                self.note_failure(outer, reason);
                self.push_close(outer, flow, CloseReason::Done);
                self.spend_kept(association);
                self.give_up_inner(association);
                Taken::Dropped(reason)
            }
        }
    }

    /// Puts a session into its association, and returns the flow of the one that it replaces.
    fn settle_inner(
        &mut self,
        env: &mut Env<'_>,
        id: AssociationId,
        outer: Outer<A>,
        (flow, light): (u16, LightFlow),
        vouched_at: Instant,
        envelope: Envelope<P::Aead>,
    ) -> Option<u16> {
        let max_len = self.outer_session(outer).map(|(_, max_len)| max_len);
        let found = self.associations.get_mut(&id)?;
        let Channel::Inner(inner) = &mut found.channel else {
            return None;
        };
        let before = inner.is_open().then_some(inner.flow);
        found.peer = envelope.peer();
        inner.flow = flow;
        inner.light = light;
        inner.vouched_at = vouched_at;
        inner.max_len = max_len.unwrap_or(inner.max_len);
        inner.state = InnerState::Open {
            envelope,
            confirms: true,
        };
        found.last_used = env.now;
        found.limit_messages();
        if before.is_some() {
            // MUST (RFC 7252 §9.1.1): nothing is retransmitted under other keys.
            found.exchange.restart_association(env);
        }
        self.enter_flow(outer, flow, Flow::Open(id));
        self.touch(id);
        before
    }

    fn established<'d>(&self, id: AssociationId, is_resumed: bool) -> Taken<'d, A> {
        match self.inner_established(id, is_resumed) {
            Some(event) => Taken::Event(event),
            None => Taken::Nothing,
        }
    }

    pub(super) fn inner_established(
        &self,
        id: AssociationId,
        is_resumed: bool,
    ) -> Option<Event<'static, A>> {
        let found = self.associations.get(&id)?;
        let Channel::Inner(inner) = &found.channel else {
            return None;
        };
        let InnerState::Open { envelope, .. } = &inner.state else {
            return None;
        };
        Some(Event::InnerEstablished {
            association: id,
            address: found.address,
            peer: found.peer,
            suite: envelope.suite(),
            has_forward_secrecy: envelope.has_forward_secrecy(),
            is_resumed,
        })
    }

    /// Returns what this end asks for on a flow that it opens.
    pub(super) fn wanted_light(&self, outer: Outer<A>) -> LightFlow {
        match self.has_light_layer(outer) {
            true => LightFlow::Asked,
            false => LightFlow::Off,
        }
    }

    /// Answers an initiator's hello on a flow that leads nowhere yet.
    pub(super) fn take_initiator_hello<'d>(
        &mut self,
        env: &mut Env<'_>,
        outer: Outer<A>,
        address: A,
        flow: u16,
        message: &[u8],
        wants_light: bool,
    ) -> Taken<'d, A> {
        let (Some(config), Some((binding, _))) = (self.config.inner, self.outer_session(outer))
        else {
            return Taken::Dropped(DropReason::UnknownPeer);
        };
        let responder = Responder::new(self.provider.clone(), config.settings);
        if let Some(known) = self.inner.flows.get(&(outer, flow)) {
            let Flow::HalfOpen(unconfirmed) = known else {
                return Taken::Dropped(DropReason::Duplicate);
            };
            // The same octets get the same answer, and others none.
            if !responder.is_answered_by(&unconfirmed.half_open, message) {
                return Taken::Dropped(DropReason::UnexpectedMessage);
            }
            let answer = unconfirmed.half_open.answer().to_vec();
            self.push_message(outer, flow, &answer);
            return Taken::Nothing;
        }
        // A resumed session takes its association over, and needs no place.
        let is_full = self.proved_associations() >= self.config.max_associations;
        if self.inner.half_open(outer) >= config.max_half_open
            || self.inner.flows.len() >= config.max_flows
        {
            return Taken::Dropped(DropReason::HandshakePoolFull);
        }
        if is_full {
            return Taken::Dropped(DropReason::PeerTableFull);
        }
        if !self.has_association_share(address) || !self.inner.has_room_for_failure(outer, env.now)
        {
            return Taken::Dropped(DropReason::RateLimited);
        }
        self.expire_kept(env.now);
        let sessions = self.resumable(env.now);
        let resumed = resumed_session(message);
        let vouched_at = resumed
            .and_then(|id| sessions.iter().find(|(_, it)| it.session_id() == id))
            .map_or(env.now, |&(vouched_at, _)| vouched_at);
        let sessions: Vec<&Resumption> = sessions.into_iter().map(|(_, it)| it).collect();
        // A clone for each handshake, as with DTLS: a store may lend the keys of when it was cloned.
        let store = self.store.clone();
        let keys = EndKeys {
            credentials: &store,
            policy: &self.config.security,
        };
        let answered = responder.handle_hello(env, &keys, &sessions, binding, message);
        match answered {
            Ok(half_open) => {
                let answer = half_open.answer().to_vec();
                let unconfirmed = Unconfirmed {
                    half_open,
                    resumed,
                    vouched_at,
                    light: match wants_light && self.has_light_layer(outer) {
                        true => LightFlow::Agreed,
                        false => LightFlow::Off,
                    },
                    until: env.now.saturating_add(config.timers.half_open),
                };
                self.enter_flow(outer, flow, Flow::HalfOpen(Box::new(unconfirmed)));
                self.push_message(outer, flow, &answer);
                Taken::Nothing
            }
            Err(reason) => {
                self.note_failure(outer, reason);
                Taken::Dropped(reason)
            }
        }
    }

    /// Lends what the far ends may resume, and when each proved itself with its key.
    fn resumable(&self, now: Instant) -> Vec<(Instant, &Resumption)> {
        let kept = self.inner.kept.iter();
        let kept = kept.filter(|kept| kept.resuming.is_none());
        let kept = kept.map(|kept| (kept.vouched_at, &kept.resumption));
        let live = self.inner.flows.values().filter_map(|flow| {
            let Flow::Open(id) = flow else {
                return None;
            };
            let Channel::Inner(inner) = &self.associations.get(id)?.channel else {
                return None;
            };
            match &inner.state {
                InnerState::Open { envelope, .. } => {
                    Some((inner.vouched_at, envelope.resumption()))
                }
                InnerState::Expected => None,
            }
        });
        kept.chain(live)
            .filter(|(vouched_at, session)| {
                let is_fresh = now < vouched_at.saturating_add(RESUMPTION_LIFETIME);
                let peer = session.peer();
                is_fresh && self.store.permits(peer) && self.config.security.permits_client(peer)
            })
            .collect()
    }

    /// Gives a protected message to a half-open session: the first that verifies confirms it.
    pub(super) fn take_confirmation<'d>(
        &mut self,
        env: &mut Env<'_>,
        outer: Outer<A>,
        address: A,
        flow: u16,
        message: &'d mut [u8],
    ) -> Taken<'d, A> {
        let Some((binding, _)) = self.outer_session(outer) else {
            return Taken::Dropped(DropReason::UnknownPeer);
        };
        let Some(Flow::HalfOpen(unconfirmed)) = self.take_flow(outer, flow) else {
            return Taken::Dropped(DropReason::UnexpectedMessage);
        };
        let Unconfirmed {
            half_open,
            resumed,
            vouched_at,
            light,
            until,
        } = *unconfirmed;
        let (envelope, outcome) = match half_open.handle_message(&binding, message) {
            ResponderStep::Established(envelope, outcome) => (envelope, outcome),
            ResponderStep::Waiting(half_open, reason) => {
                self.note_failure(outer, reason);
                let waiting = Unconfirmed {
                    half_open,
                    resumed,
                    vouched_at,
                    light,
                    until,
                };
                self.enter_flow(outer, flow, Flow::HalfOpen(Box::new(waiting)));
                return Taken::Dropped(reason);
            }
            ResponderStep::GivenUp(reason) => {
                self.note_failure(outer, reason);
                self.push_close(outer, flow, CloseReason::Done);
                return Taken::Dropped(reason);
            }
        };
        let on = (flow, light);
        let admitted = self.admit_inner(env, outer, address, on, resumed, vouched_at, envelope);
        let Some(id) = admitted else {
            self.push_close(outer, flow, CloseReason::Busy);
            return Taken::Dropped(DropReason::PeerTableFull);
        };
        if let Some(event) = self.inner_established(id, resumed.is_some()) {
            self.push_event(event);
        }
        self.conclude_inner(env, outer, id, outcome)
    }

    /// Finds or makes the association of a session that its initiator has confirmed.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is another thing that a session consists of"
    )]
    fn admit_inner(
        &mut self,
        env: &mut Env<'_>,
        outer: Outer<A>,
        address: A,
        (flow, light): (u16, LightFlow),
        resumed: Option<SessionId>,
        vouched_at: Instant,
        envelope: Envelope<P::Aead>,
    ) -> Option<AssociationId> {
        // What it replaces is forgotten now that it is confirmed.
        if let Some(resumed) = resumed {
            let kept = &mut self.inner.kept;
            kept.retain(|kept| kept.resumption.session_id() != resumed);
        }
        if let Some((id, before)) = resumed.and_then(|resumed| self.find_session(resumed)) {
            let found = self.associations.get_mut(&id)?;
            if let Channel::Inner(inner) = &mut found.channel {
                inner.hop = hop_of(outer);
            }
            self.note_address(id, address);
            self.settle_inner(env, id, outer, (flow, light), vouched_at, envelope);
            self.set_confirmed(id);
            self.take_flow(before.0, before.1);
            self.push_close(before.0, before.1, CloseReason::Done);
            return Some(id);
        }
        if self.proved_associations() >= self.config.max_associations {
            return None;
        }
        let (_, max_len) = self.outer_session(outer)?;
        let id = AssociationId(self.last_association.saturating_add(1));
        self.last_association = id.0;
        let peer = envelope.peer();
        let channel = InnerChannel {
            hop: hop_of(outer),
            flow,
            light,
            max_len,
            name: Vec::new(),
            vouched_at,
            state: InnerState::Open {
                envelope,
                confirms: false,
            },
        };
        let channel = Channel::Inner(Box::new(channel));
        self.add_association(env, id, address, Role::Server, channel, peer);
        self.enter_flow(outer, flow, Flow::Open(id));
        Some(id)
    }

    fn set_confirmed(&mut self, id: AssociationId) {
        let found = self.associations.get_mut(&id);
        if let Some(Channel::Inner(inner)) = found.map(|found| &mut found.channel)
            && let InnerState::Open { confirms, .. } = &mut inner.state
        {
            *confirms = false;
        }
    }

    /// Returns the association of a live session, and its flow.
    fn find_session(&self, session: SessionId) -> Option<(AssociationId, (Outer<A>, u16))> {
        self.inner.flows.iter().find_map(|(&flow, leads_to)| {
            let Flow::Open(id) = leads_to else {
                return None;
            };
            let Channel::Inner(inner) = &self.associations.get(id)?.channel else {
                return None;
            };
            let InnerState::Open { envelope, .. } = &inner.state else {
                return None;
            };
            (envelope.session_id() == session).then_some((*id, flow))
        })
    }

    /// Draws the conclusion of what an open session made of a message.
    pub(super) fn conclude_inner<'d>(
        &mut self,
        env: &mut Env<'_>,
        outer: Outer<A>,
        id: AssociationId,
        outcome: Result<Received<'d>, ChannelError>,
    ) -> Taken<'d, A> {
        self.touch(id);
        match outcome.map(|received| received.event) {
            Ok(Some(ChannelEvent::Plaintext(plaintext))) => Taken::Message(id, plaintext),
            Ok(Some(ChannelEvent::Dropped(reason))) => {
                if self.note_failure(outer, reason) {
                    self.renew_inner(env, id);
                }
                Taken::Dropped(reason)
            }
            Ok(Some(ChannelEvent::Closed)) => {
                self.remove(id);
                Taken::Event(Event::Closed { association: id })
            }
            Ok(_) => Taken::Nothing,
            Err(error) => {
                self.close_flow_of(id);
                self.fail_inner(id, error);
                Taken::Nothing
            }
        }
    }

    /// Counts what didn't verify of an outer session, and says whether that is so.
    pub(super) fn note_failure(&mut self, outer: Outer<A>, reason: DropReason) -> bool {
        let is_failure = reason == DropReason::AuthenticationFailed;
        if let Some(session) = self.inner.outers.get_mut(&outer).filter(|_| is_failure) {
            session.failures.add();
        }
        is_failure
    }

    /// Sends an inner message that is no plaintext of an association: a hello.
    fn push_message(&mut self, outer: Outer<A>, flow: u16, message: &[u8]) {
        let mut bytes = [0; MAX_INITIATOR_HELLO_LEN + 3];
        let mut writer = Writer::new(&mut bytes);
        let header = RoutingHeader {
            flow,
            is_control: false,
        };
        let written = header
            .encode(&mut writer)
            .and_then(|()| writer.bytes(message));
        if written.is_ok() {
            self.push_routed(outer, writer.written());
        }
    }
}

const fn hop_of<A: Copy>(outer: Outer<A>) -> Option<AssociationId> {
    match outer {
        Outer::Association(hop) => Some(hop),
        Outer::Stream(_) => None,
    }
}
