//! The tables of associations and handshakes, their timers, and what waits to be fetched.

use alloc::boxed::Box;
use alloc::sync::Arc;

use hedgerow_core::{
    ChannelError, ClientCredentials, CryptoProvider, DropReason, Env, Instant, Peer, PeerFault,
    SecureChannel, ServerCredentials,
};
use hedgerow_exchange::{Event as ExchangeEvent, HeapExchange, OutgoingRequest, RequestError};
use hedgerow_handshake::{Buffers, ClientHandshake, SentTicket};
use hedgerow_record::ConnectionId;

use crate::association::{Association, Channel, Role};
use crate::endpoint::{Handled, Speaker, Timer};
use crate::handshaking::{Buffer, Entry, Handshaking, buffers, resuming_buffers};
use crate::inner::Outer;
use crate::liveness::Liveness;
use crate::moving::Owner;
use crate::security_policy::Permitted;
use crate::{Address, AssociationId, Endpoint, Error, Event};

/// Alerts and closes of peers that are gone, waiting to be sent.
const MAX_PARTINGS: usize = 256;

impl<A, P, S, K> Endpoint<A, P, S, K>
where
    A: Address,
    P: CryptoProvider + Clone,
    S: ServerCredentials + Clone,
    K: ClientCredentials + Clone,
{
    pub(crate) fn start_handshake(
        &mut self,
        env: &mut Env<'_>,
        address: A,
        association: AssociationId,
        credentials: &K,
    ) -> Result<(), Error> {
        if self.handshakes.len() >= self.config.max_handshakes {
            return Err(Error::TooManyHandshakes {
                max: self.config.max_handshakes,
            });
        }
        let connection_id = self.draw_connection_id(env)?;
        let settings = self.config.security.restrict(self.config.handshake);
        let settings = settings.with_connection_id(connection_id);
        let session = self.client_sessions.take(address, credentials);
        let credentials = Permitted::new(credentials.clone(), &self.config.security);
        let provider = self.provider.clone();
        let machine = if self.client_sessions.is_on() {
            let buffers = resuming_buffers(&settings, &credentials, session.as_ref());
            ClientHandshake::resuming(provider, credentials, settings, session, buffers, env)
        } else {
            let len = Buffers::<Buffer>::client_len(&settings, &credentials);
            ClientHandshake::new(provider, credentials, settings, buffers(len), env)
        }?;
        self.add_handshake(
            address,
            Handshaking::Client {
                machine: Box::new(machine),
                association,
            },
            connection_id.unwrap_or_default(),
        );
        Ok(())
    }

    pub(crate) fn add_handshake(
        &mut self,
        address: A,
        handshake: Handshaking<P, S, K>,
        connection_id: ConnectionId,
    ) {
        self.take_handshake(address);
        self.claim_connection_id(connection_id, Owner::Handshake(address));
        let entry = Entry {
            handshake,
            connection_id,
            armed: None,
            is_queued: false,
            held_until: None,
            renews_keys: false,
        };
        self.handshakes.insert(address, entry);
        self.arm_handshake(address);
    }

    /// Takes a handshake out, with its timer and its connection ID.
    pub(crate) fn take_handshake(&mut self, address: A) -> Option<Handshaking<P, S, K>> {
        let entry = self.handshakes.remove(&address)?;
        self.release_connection_id(entry.connection_id, Owner::Handshake(address));
        if let Some(at) = entry.armed {
            self.timers.remove(&(at, Timer::Handshake(address)));
        }
        Some(entry.handshake)
    }

    /// Ends a handshake that isn't wanted any more, and keeps the session that it has offered to nobody
    /// who answered.
    pub(crate) fn give_up_handshake(&mut self, address: A) {
        let Some(handshake) = self.take_handshake(address) else {
            return;
        };
        let role = handshake
            .association()
            .and_then(|id| self.associations.get(&id))
            .map(|found| &found.role);
        if let Some(Role::Client(Some(credentials))) = role {
            let credentials = credentials.clone();
            if let Some(session) = handshake.into_unanswered() {
                self.client_sessions.keep(address, credentials, session);
            }
        }
    }

    pub(crate) fn add_association(
        &mut self,
        env: &mut Env<'_>,
        id: AssociationId,
        address: A,
        role: Role<K>,
        channel: Channel<P::Aead>,
        peer: Peer,
    ) {
        let exchange = match channel {
            Channel::NoSec(_) => Arc::clone(&self.clear_exchange),
            Channel::Expected | Channel::Session(_) | Channel::Inner(_) => {
                Arc::clone(&self.config.exchange)
            }
        };
        let mut association = Association {
            address,
            role,
            channel,
            ticket: None,
            session_id: None,
            peer,
            session_number: 0,
            exchange: HeapExchange::new(exchange, env),
            light: None,
            leg: None,
            last_used: env.now,
            liveness: Liveness::new(env.now),
            next_renewal_at: env.now,
            armed: None,
            is_queued: false,
            candidate: None,
            next_probe_at: Instant::ZERO,
            hello: None,
            path_len: None,
        };
        association.limit_messages();
        self.claim_connection_id(association.connection_id(), Owner::Association(id));
        self.count_source(&association.role, address, 1);
        // The address is the gateway's, and belongs to the association with it.
        let is_inner = matches!(association.channel, Channel::Inner(_));
        self.associations.insert(id, Box::new(association));
        if !is_inner {
            self.by_address.insert(address, id);
        }
        self.touch(id);
        self.settle();
    }

    /// Takes an association out, with what is left to tell its peer.
    pub(crate) fn remove(&mut self, id: AssociationId) {
        self.part_inside(id);
        let Some(mut found) = self.forget(id) else {
            return;
        };
        self.part_inner(&mut found);
        if let Channel::Session(session) = &mut found.channel {
            session.close();
            // A last flight may be due before the close_notify.
            let mut record = [0; 128 + SentTicket::MAX_LEN];
            let ticket = found.ticket.as_deref();
            while let Ok(Some(len)) = session.poll_transmit_with(ticket, &mut record) {
                self.push_parting(found.address, record.get(..len).unwrap_or_default());
            }
        }
    }

    /// Takes an association out, with its timer, its handshake and its connection ID.
    pub(crate) fn forget(&mut self, id: AssociationId) -> Option<Box<Association<A, P::Aead, K>>> {
        let found = self.associations.remove(&id)?;
        self.count_source(&found.role, found.address, -1);
        if found.leg.is_some() {
            self.legs.remove(&id);
        }
        if found.is_unproved() {
            self.unproved = self.unproved.saturating_sub(1);
        }
        if self.by_address.get(&found.address) == Some(&id) {
            self.by_address.remove(&found.address);
        }
        self.release_connection_id(found.connection_id(), Owner::Association(id));
        if let Some(at) = found.armed {
            self.timers.remove(&(at, Timer::Association(id)));
        }
        let is_own = self
            .handshakes
            .get(&found.address)
            .is_some_and(|entry| entry.handshake.association() == Some(id));
        if is_own {
            self.take_handshake(found.address);
        }
        match &found.channel {
            Channel::Inner(inner) => self.forget_flows(id, inner, found.address),
            _ => self.end_outer(Outer::Association(id)),
        }
        Some(found)
    }

    /// Counts an association that a peer began, by where it is.
    pub(crate) fn count_source(&mut self, role: &Role<K>, address: A, change: isize) {
        let (Role::Server, Some(source)) = (role, address.source()) else {
            return;
        };
        let counted = self.by_source.entry(source).or_default();
        *counted = counted.saturating_add_signed(change);
        if *counted == 0 {
            self.by_source.remove(&source);
        }
    }

    /// Says whether a peer at `address` may begin one more association.
    pub(crate) fn has_association_share(&self, address: A) -> bool {
        let counted = address
            .source()
            .and_then(|source| self.by_source.get(&source));
        counted.is_none_or(|counted| *counted < self.config.max_associations_per_source)
    }

    /// Says whether a peer at `address` may begin one more handshake. The table is short.
    pub(crate) fn has_handshake_share(&self, address: A) -> bool {
        let Some(source) = address.source() else {
            return true;
        };
        let from_there = self.handshakes.iter().filter(|(other, entry)| {
            entry.handshake.association().is_none() && other.source() == Some(source)
        });
        from_there.count() < self.config.max_handshakes_per_source
    }

    pub(crate) fn fail_association(&mut self, association: AssociationId, error: ChannelError) {
        if let Some(found) = self.forget(association) {
            // MUST (RFC 5246 §7.2): what has ended in a fatal alert isn't resumed.
            self.client_sessions.forget(&found.address);
            // MUST (RFC 5246 §7.2.2): the server forgets its ID too. Silence isn't an alert.
            if let (Some(sessions), Some(id)) = (&mut self.server_sessions, &found.session_id)
                && error != PeerFault::Unresponsive.into()
            {
                sessions.forget(id);
            }
            self.push_event(Event::Failed {
                association,
                address: found.address,
                error,
            });
        }
    }

    /// Ends a handshake that a message has broken off.
    ///
    /// Such a message comes in clear, and anybody can have sent it: a session that stands beside the
    /// handshake outlives it, and the next silence asks for another one.
    pub(crate) fn break_off_handshake(
        &mut self,
        env: &mut Env<'_>,
        address: A,
        error: ChannelError,
    ) {
        let beside = self
            .handshakes
            .get(&address)
            .and_then(|entry| entry.handshake.association())
            .and_then(|id| self.associations.get_mut(&id))
            .filter(|found| found.is_open());
        match beside {
            Some(found) => {
                found.exchange.report_silence_again();
                self.take_handshake(address);
            }
            None => self.fail_handshake(env, address, error),
        }
    }

    /// Ends a handshake that can't go on, and the association that waits for it.
    pub(crate) fn fail_handshake(&mut self, env: &mut Env<'_>, address: A, error: ChannelError) {
        let Some(mut handshake) = self.take_handshake(address) else {
            return;
        };
        let mut alert = [0; 128];
        if let Ok(Some(len)) = handshake.poll_transmit(env, &mut alert) {
            self.push_parting(address, alert.get(..len).unwrap_or_default());
        }
        let Some(id) = handshake.association() else {
            self.push_event(Event::HandshakeFailed { address, error });
            return;
        };
        // A session whose peer has answered in the meantime needs no new one, even if the next
        // request is under way.
        let threshold = self.config.exchange.unanswered_threshold;
        let has_recovered = self.associations.get(&id).is_some_and(|found| {
            found.is_open()
                && found.exchange.unanswered_transmissions() < threshold
                && !found.is_silent_on_streams(threshold)
        });
        if !has_recovered {
            self.fail_association(id, error);
        }
    }

    pub(crate) fn use_association(
        &mut self,
        now: Instant,
        id: AssociationId,
    ) -> Result<&mut Association<A, P::Aead, K>, Error> {
        let found = self
            .associations
            .get_mut(&id)
            .ok_or(Error::UnknownAssociation)?;
        found.last_used = now;
        Ok(found)
    }

    /// Notes that an association's timer and output may have changed. Its event may still be
    /// lent, so that the next call looks after it.
    pub(crate) fn touch(&mut self, id: AssociationId) {
        // A message of an inner session concerns two: the association, and the one whose session it came in.
        if !self.touched.contains(&id) {
            self.touched.push_back(id);
        }
    }

    pub(crate) fn settle(&mut self) {
        // What is touched meanwhile is for the next call.
        for _ in 0..self.touched.len() {
            if let Some(id) = self.touched.pop_front() {
                self.settle_one(id);
            }
        }
    }

    fn settle_one(&mut self, id: AssociationId) {
        let Some(found) = self.associations.get_mut(&id) else {
            return;
        };
        if !found.is_queued {
            found.is_queued = true;
            self.queue.push_back(Speaker::Association(id));
        }
        self.arm_association(id);
        // A silent peer is noticed when a timer expires, and then this isn't the first to ask.
        let _ = self.collect_events(id);
    }

    /// Passes on what an exchange and a leg have to say, and returns whether its peer doesn't answer.
    pub(crate) fn collect_events(&mut self, id: AssociationId) -> bool {
        self.collect_stream_events(id);
        let mut is_unresponsive = false;
        while let Some(event) = self
            .associations
            .get_mut(&id)
            .and_then(|found| found.exchange.poll_event())
        {
            let event = match event {
                ExchangeEvent::RequestFailed { request, error }
                    if let Some(is_silent) = self.end_ping(id, request) =>
                {
                    let is_gone = is_silent && error == RequestError::AcknowledgementTimeout;
                    // A handshake beside the session asks too, and has a deadline of its own.
                    if is_gone && !self.has_handshake(id) {
                        self.fail_association(id, PeerFault::Unresponsive.into());
                        return false;
                    }
                    continue;
                }
                ExchangeEvent::Pong { request } if self.end_ping(id, request).is_some() => {
                    continue;
                }
                ExchangeEvent::RequestFailed { request, error } => Event::RequestFailed {
                    association: id,
                    request,
                    error,
                },
                ExchangeEvent::ResponseFailed { request, error } => Event::ResponseFailed {
                    association: id,
                    request,
                    error,
                },
                ExchangeEvent::Pong { request } => Event::Pong {
                    association: id,
                    request,
                },
                ExchangeEvent::PeerUnresponsive { .. } => {
                    is_unresponsive = true;
                    continue;
                }
                _ => continue,
            };
            self.push_event(event);
        }
        is_unresponsive
    }

    /// Takes in the end of a request, if it is the ping that this end has sent by itself; see
    /// [`Liveness::end`].
    fn end_ping(&mut self, id: AssociationId, request: OutgoingRequest) -> Option<bool> {
        self.associations.get_mut(&id)?.liveness.end(request)
    }

    /// Says whether a handshake runs beside an association's session.
    fn has_handshake(&self, id: AssociationId) -> bool {
        let found = self.associations.get(&id);
        found
            .and_then(|found| self.handshakes.get(&found.address))
            .is_some_and(|entry| entry.handshake.association() == Some(id))
    }

    pub(crate) fn arm_association(&mut self, id: AssociationId) {
        let Some(found) = self.associations.get_mut(&id) else {
            return;
        };
        let idle_timeout = found.idle_timeout(self.config.idle_timeout);
        let at = found.poll_timeout(found.last_used + idle_timeout, self.config.ping_idle_after);
        if found.armed == Some(at) {
            return;
        }
        if let Some(before) = found.armed.replace(at) {
            self.timers.remove(&(before, Timer::Association(id)));
        }
        self.timers.insert((at, Timer::Association(id)));
    }

    /// Sets a handshake's timer, and lets it speak.
    pub(crate) fn arm_handshake(&mut self, address: A) {
        let Some(entry) = self.handshakes.get_mut(&address) else {
            return;
        };
        if !entry.is_queued {
            entry.is_queued = true;
            self.queue.push_back(Speaker::Handshake(address));
        }
        let at = [entry.handshake.poll_timeout(), entry.held_until]
            .into_iter()
            .flatten()
            .min();
        if entry.armed == at {
            return;
        }
        if let Some(before) = core::mem::replace(&mut entry.armed, at) {
            self.timers.remove(&(before, Timer::Handshake(address)));
        }
        if let Some(at) = at {
            self.timers.insert((at, Timer::Handshake(address)));
        }
    }

    pub(crate) fn push_event(&mut self, event: Event<'static, A>) {
        if self.events.len() >= self.config.max_events {
            self.lost_events = self.lost_events.saturating_add(1);
        } else {
            self.events.push_back(event);
        }
    }

    pub(crate) fn push_parting(&mut self, address: A, datagram: &[u8]) {
        if self.partings.len() < MAX_PARTINGS {
            self.partings.push_back((address, datagram.to_vec()));
        }
    }

    pub(crate) fn drop_all<'a>(
        &mut self,
        address: A,
        consumed: usize,
        reason: DropReason,
    ) -> Handled<'a, A> {
        let event = self.count_drop(address, reason);
        Handled {
            consumed,
            answer: 0,
            event: Some(event),
        }
    }

    pub(crate) fn count_drop<'a>(&mut self, address: A, reason: DropReason) -> Event<'a, A> {
        count(&mut self.drops, reason);
        Event::Dropped { address, reason }
    }
}

pub(crate) fn count(drops: &mut [u64], reason: DropReason) {
    if let Some(drops) = drops.get_mut(reason.index()) {
        *drops = drops.saturating_add(1);
    }
}
