//! Outer sessions that come and go, and the associations inside.

use alloc::vec::Vec;

use hedgerow_core::{
    ChannelError, ClientCredentials, CryptoProvider, Env, Instant, Peer, PeerFault,
    ServerCredentials,
};
use hedgerow_handshake::Exporter;
use hedgerow_itls::{CloseReason, Envelope, OUTER_BINDING_LABEL, OUTER_BINDING_LEN, OuterBinding};

use super::channel::{InnerChannel, InnerState};
use super::{Flow, InnerSessions, Kept, Outer, OuterSession, OuterStream, least_missed};
use crate::association::{Association, Channel, Role};
use crate::endpoint::Timer;
use crate::security_policy::check_roles;
use crate::{Address, AssociationId, Endpoint, Error, Event};

impl<A, P, S, K> Endpoint<A, P, S, K>
where
    A: Address,
    P: CryptoProvider + Clone,
    S: ServerCredentials + Clone,
    K: ClientCredentials + Clone,
{
    /// Has datagrams to and from `address` be messages of an outer session that something else protects,
    /// such as TLS. [`connect`](Self::connect) begins inner sessions there from now on. One that was there before has ended.
    ///
    /// # Errors
    ///
    /// [`Error::NoOuterSession`] if the endpoint takes no part in mode `itls`.
    pub fn open_outer_stream(&mut self, address: A, stream: OuterStream) -> Result<(), Error> {
        self.settle();
        if self.config.inner.is_none() {
            return Err(Error::NoOuterSession);
        }
        self.end_outer(Outer::Stream(address));
        let session = OuterSession::new(stream.binding, stream.name, stream.max_message_len);
        self.inner.outers.insert(Outer::Stream(address), session);
        Ok(())
    }

    /// Takes note that an outer session of [`open_outer_stream`](Self::open_outer_stream) has ended, in order or
    /// not. What is inside was cut off: its associations end with [`PeerFault::Truncated`], and can be
    /// resumed over another one.
    pub fn end_outer_stream(&mut self, address: A) {
        self.settle();
        self.end_outer(Outer::Stream(address));
    }

    /// Returns the number of flows of all outer sessions.
    pub fn inner_flows(&self) -> usize {
        self.inner.flows.len()
    }

    /// Returns the number of inner sessions that this end can resume over another outer session.
    pub fn resumable_inner_sessions(&self) -> usize {
        let kept = self.inner.kept.iter();
        kept.filter(|kept| kept.resuming.is_none()).count()
    }

    /// Takes out what can be resumed, for another endpoint of the same clock.
    pub fn take_inner_sessions(&mut self) -> InnerSessions<K> {
        self.settle();
        let mut kept = core::mem::take(&mut self.inner.kept);
        // What this endpoint set aside means nothing to another one.
        kept.retain(|kept| kept.resuming.is_none());
        InnerSessions(kept)
    }

    /// Has sessions be resumed that were [taken](Self::take_inner_sessions) from another endpoint, as many as
    /// there is room for.
    pub fn give_inner_sessions(&mut self, sessions: InnerSessions<K>) {
        let max = self.config.inner.map_or(0, |config| config.max_resumable);
        let room = max.saturating_sub(self.inner.kept.len());
        self.inner.kept.extend(sessions.0.into_iter().take(room));
        self.arm_kept();
    }

    /// Has inner sessions travel in an association's session, which is new. Those in the one before have
    /// ended with it. There are none in a session of two ends, whose key is never an outer one's
    /// (docs/specs/end-to-end-keys.md), and none with nobody.
    pub(crate) fn open_outer(&mut self, id: AssociationId, exporter: &Exporter<P>) {
        let outer = Outer::Association(id);
        self.end_outer(outer);
        let purpose = self.config.security.purpose();
        let Some(found) = self.associations.get_mut(&id) else {
            return;
        };
        found.light = None;
        if !found.may_carry_inner(purpose) {
            return;
        }
        self.open_light(id, exporter);
        if self.config.inner.is_none() {
            return;
        }
        let mut exported = [0; OUTER_BINDING_LEN];
        // MUST (RFC 7627 §5.4): without the extended master secret there is nothing to bind to, and no
        // inner session.
        if exporter
            .export(OUTER_BINDING_LABEL, None, &mut exported)
            .is_ok()
        {
            let session = OuterSession::new(OuterBinding::new(exported), Vec::new(), 0);
            self.inner.outers.insert(outer, session);
        }
    }

    /// Forgets an outer session. Whoever ended it, and however: what is inside was cut off.
    pub(crate) fn end_outer(&mut self, outer: Outer<A>) {
        if self.inner.outers.remove(&outer).is_none() {
            return;
        }
        let flows: Vec<_> = self.inner.flows_of(outer).map(|(flow, _)| flow).collect();
        for flow in flows {
            self.cut_off(outer, flow, PeerFault::Truncated.into());
        }
    }

    /// Ends what a flow leads to, without a word to anybody.
    pub(crate) fn cut_off(&mut self, outer: Outer<A>, flow: u16, error: ChannelError) {
        match self.take_flow(outer, flow) {
            Some(Flow::Initiating(initiating)) => {
                let id = initiating.association;
                // A handshake beside a session that goes on is no loss.
                let is_open = self
                    .associations
                    .get(&id)
                    .is_some_and(|found| found.is_open());
                if !is_open {
                    self.fail_inner(id, error);
                }
            }
            Some(Flow::Open(id)) => self.fail_inner(id, error),
            Some(Flow::HalfOpen(_)) | None => {}
        }
    }

    /// Takes a flow out, with its timer.
    pub(super) fn take_flow(&mut self, outer: Outer<A>, flow: u16) -> Option<Flow<P>> {
        let taken = self.inner.flows.remove(&(outer, flow))?;
        if let Some(at) = taken.due_at() {
            let timer = Timer::Inner(outer, flow);
            self.timers.remove(&(at, timer));
        }
        Some(taken)
    }

    /// Enters a flow, with its timer.
    pub(super) fn enter_flow(&mut self, outer: Outer<A>, number: u16, flow: Flow<P>) {
        if let Some(at) = flow.due_at() {
            let timer = Timer::Inner(outer, number);
            self.timers.insert((at, timer));
        }
        self.inner.flows.insert((outer, number), flow);
    }

    /// Ends an association inside an outer session, and keeps what it can be resumed by if nothing but the
    /// way to its peer was lost.
    pub(crate) fn fail_inner(&mut self, id: AssociationId, error: ChannelError) {
        let Some(found) = self.forget(id) else {
            return;
        };
        let association = *found;
        let address = association.address;
        if error == PeerFault::Truncated.into() {
            self.keep_inner(association);
        }
        self.push_event(Event::Failed {
            association: id,
            address,
            error,
        });
    }

    /// Closes an association inside an outer session in order, as far as it came about.
    pub(crate) fn part_inner(&mut self, association: &mut Association<A, P::Aead, K>) {
        let address = association.address;
        let Channel::Inner(inner) = &mut association.channel else {
            return;
        };
        let (outer, flow) = (inner.outer(address), inner.flow);
        if let InnerState::Open { envelope, .. } = &mut inner.state {
            let mut alert = [0; 64];
            let sealed = super::seal_routed(envelope, flow, Envelope::close, &mut alert);
            if let Ok(len) = sealed {
                self.push_routed(outer, alert.get(..len).unwrap_or_default());
            }
        }
        self.push_close(outer, flow, CloseReason::Done);
    }

    /// Closes in order what is inside an association's session, before that is closed.
    pub(crate) fn part_inside(&mut self, hop: AssociationId) {
        let flows = self.inner.flows_of(Outer::Association(hop));
        let inside: Vec<_> = flows
            .filter_map(|(_, flow)| match flow {
                Flow::Open(id) => Some(*id),
                Flow::Initiating(initiating) => Some(initiating.association),
                Flow::HalfOpen(_) => None,
            })
            .collect();
        for id in inside {
            if self.associations.contains_key(&id) {
                self.remove(id);
                self.push_event(Event::Closed { association: id });
            }
        }
    }

    /// Takes the flows of an association out.
    pub(crate) fn forget_flows(&mut self, id: AssociationId, inner: &InnerChannel<P::Aead>, at: A) {
        self.release_kept(id);
        let outer = inner.outer(at);
        let is_its = |flow: &Flow<P>| match flow {
            Flow::Initiating(initiating) => initiating.association == id,
            Flow::Open(association) => *association == id,
            Flow::HalfOpen(_) => false,
        };
        let flows = self.inner.flows_of(outer);
        let flows: Vec<_> = flows
            .filter(|(_, flow)| is_its(flow))
            .map(|(number, _)| number)
            .collect();
        for flow in flows {
            self.take_flow(outer, flow);
        }
    }

    fn keep_inner(&mut self, association: Association<A, P::Aead, K>) {
        let Some(config) = &self.config.inner else {
            return;
        };
        let (Channel::Inner(inner), role) = (association.channel, association.role) else {
            return;
        };
        let InnerState::Open { envelope, .. } = inner.state else {
            return;
        };
        if config.max_resumable == 0 {
            return;
        }
        let kept = &mut self.inner.kept;
        if kept.len() >= config.max_resumable
            && let Some(index) = least_missed(kept, envelope.peer())
        {
            kept.swap_remove(index);
        }
        let begun_with = match role {
            Role::Client(Some(credentials)) => Some((credentials, inner.name)),
            Role::Client(None) | Role::Server => None,
        };
        kept.push(Kept {
            begun_with,
            vouched_at: inner.vouched_at,
            resumption: envelope.into_resumption(),
            resuming: None,
        });
        self.arm_kept();
    }

    /// Has what is kept be forgotten in time, also where nobody comes to ask for it.
    fn arm_kept(&mut self) {
        if let Some(before) = self.inner.kept_armed.take() {
            self.timers.remove(&(before, Timer::Resumptions));
        }
        if let Some(at) = self.inner.kept.iter().map(Kept::ends_at).min() {
            self.inner.kept_armed = Some(at);
            self.timers.insert((at, Timer::Resumptions));
        }
    }

    /// Forgets what is too old to be resumed.
    pub(crate) fn expire_kept(&mut self, now: Instant) {
        self.inner.kept.retain(|kept| now < kept.ends_at());
        self.arm_kept();
    }

    /// Returns the outer session there is with an address.
    pub(super) fn outer_at(&self, address: A) -> Option<Outer<A>> {
        let stream = Outer::Stream(address);
        if self.inner.outers.contains_key(&stream) {
            return Some(stream);
        }
        let hop = Outer::Association(*self.by_address.get(&address)?);
        self.inner.outers.contains_key(&hop).then_some(hop)
    }

    /// Returns the binding of an outer session and the longest message that it carries now, in bytes.
    pub(super) fn outer_session(&self, outer: Outer<A>) -> Option<(OuterBinding, usize)> {
        let session = self.inner.outers.get(&outer)?;
        let max_len = match outer {
            Outer::Stream(_) => session.max_len,
            Outer::Association(id) => self.associations.get(&id)?.max_plaintext_len(),
        };
        Some((session.binding, max_len))
    }

    /// Has messages fit an outer session again whose path carries less than before.
    pub(crate) fn limit_inner(&mut self, hop: AssociationId) {
        let outer = Outer::Association(hop);
        let Some((_, max_len)) = self.outer_session(outer) else {
            return;
        };
        let inside: Vec<_> = self
            .inner
            .flows_of(outer)
            .filter_map(|(_, flow)| match flow {
                Flow::Open(id) => Some(*id),
                _ => None,
            })
            .collect();
        for id in inside {
            self.limit_one(id, max_len);
        }
    }

    /// Has one association's messages fit, together with the routing header, so many bytes.
    pub(super) fn limit_one(&mut self, id: AssociationId, len: usize) {
        let Some(found) = self.associations.get_mut(&id) else {
            return;
        };
        if let Channel::Inner(inner) = &mut found.channel {
            inner.max_len = inner.max_len.min(len);
        }
        found.limit_messages();
        self.touch(id);
        self.settle();
    }

    /// Returns the association inside the outer session at `address` whose peer the gateway knows as `name`,
    /// begun now if there is none.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect); [`Error::NoOuterSession`] if there is none at the address or it has
    /// no extended master secret, [`Misuse::KeyPurpose`](hedgerow_core::Misuse::KeyPurpose) for credentials that the gateway may have, and
    /// [`Misuse::KeyInBothRoles`](hedgerow_core::Misuse::KeyInBothRoles) for a key by which others come in here.
    pub fn connect_inner(
        &mut self,
        env: &mut Env<'_>,
        address: A,
        name: &[u8],
        credentials: &K,
    ) -> Result<AssociationId, Error> {
        self.settle();
        let config = self.config.inner.ok_or(Error::NoOuterSession)?;
        let outer = self.outer_at(address).ok_or(Error::NoOuterSession)?;
        self.config.security.check_inner(credentials)?;
        check_roles(&self.store, Some(credentials))?;
        for (_, flow) in self.inner.flows_of(outer) {
            let id = match flow {
                Flow::Open(id) => *id,
                Flow::Initiating(initiating) => initiating.association,
                Flow::HalfOpen(_) => continue,
            };
            let Some(found) = self.associations.get(&id) else {
                continue;
            };
            let (Channel::Inner(inner), Role::Client(Some(known))) = (&found.channel, &found.role)
            else {
                continue;
            };
            if inner.name == name {
                return match known.is_same(credentials) {
                    true => Ok(id),
                    false => Err(Error::AddressInUse),
                };
            }
        }
        let max = self.config.max_associations;
        if self.proved_associations() >= max {
            return Err(Error::TooManyAssociations { max });
        }
        let max = config.max_flows;
        if self.inner.flows.len() >= max {
            return Err(Error::TooManyHandshakes { max });
        }
        let id = AssociationId(self.last_association.saturating_add(1));
        self.reserve_kept(env, id, name, credentials);
        let begun = self.begin_inner(env, id, outer, name, credentials);
        let (flow, vouched_at) = begun.inspect_err(|_| self.release_kept(id))?;
        self.last_association = id.0;
        let (_, max_len) = self.outer_session(outer).ok_or(Error::NoOuterSession)?;
        let channel = InnerChannel {
            hop: match outer {
                Outer::Association(hop) => Some(hop),
                Outer::Stream(_) => None,
            },
            flow,
            light: self.wanted_light(outer),
            max_len,
            name: name.to_vec(),
            vouched_at,
            state: InnerState::Expected,
        };
        let channel = Channel::Inner(channel.into());
        let role = Role::Client(Some(credentials.clone()));
        self.add_association(env, id, address, role, channel, Peer::Anonymous);
        Ok(id)
    }

    /// Sets aside, for an association, what a session can be resumed by that was begun so.
    fn reserve_kept(&mut self, env: &Env<'_>, id: AssociationId, name: &[u8], credentials: &K) {
        self.expire_kept(env.now);
        let found = self.inner.kept.iter_mut().find(|kept| {
            let begun_with = kept.begun_with.as_ref();
            let is_its =
                begun_with.is_some_and(|(known, with)| with == name && known.is_same(credentials));
            is_its && kept.resuming.is_none()
        });
        if let Some(kept) = found {
            kept.resuming = Some(id);
        }
    }

    /// Gives back what was set aside for an association, if its session hasn't come about: nothing was sealed by what
    /// comes of it, and the next hello has another random value (docs/specs/itls.md, "A new outer session").
    fn release_kept(&mut self, id: AssociationId) {
        for kept in &mut self.inner.kept {
            if kept.resuming == Some(id) {
                kept.resuming = None;
            }
        }
    }

    /// Forgets what was set aside for an association.
    pub(super) fn spend_kept(&mut self, id: AssociationId) {
        self.inner.kept.retain(|kept| kept.resuming != Some(id));
        self.arm_kept();
    }

    /// Returns whom `connect` asks for at an address, if an outer session is carried there.
    pub(crate) fn outer_stream_name(&self, address: A) -> Option<Vec<u8>> {
        let session = self.inner.outers.get(&Outer::Stream(address))?;
        Some(session.name.clone())
    }
}

impl<P: CryptoProvider> Flow<P> {
    /// Returns when something is due.
    const fn due_at(&self) -> Option<Instant> {
        match self {
            Self::Initiating(initiating) => Some(initiating.next_at),
            Self::HalfOpen(unconfirmed) => Some(unconfirmed.until),
            Self::Open(_) => None,
        }
    }
}
