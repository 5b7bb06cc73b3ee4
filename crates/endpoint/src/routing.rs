//! Which machine a datagram is for.

use alloc::boxed::Box;

use hedgerow_core::{
    ClientCredentials, CryptoProvider, DropReason, Env, Event as ChannelEvent, Peer, SecureChannel,
    ServerCredentials,
};
use hedgerow_exchange::Received;
use hedgerow_handshake::{Acceptance, ServerHandshake, ServerState};
use hedgerow_record::EpochNumber;

use crate::association::{Channel, Hello, Role};
use crate::candidate::Candidate;
use crate::endpoint::Handled;
use crate::handshaking::{Handshaking, Over, buffers};
use crate::inner::Outer;
use crate::moving::Owner;
use crate::peek::first_epoch;
use crate::plaintext::Protocol;
use crate::security_policy::Permitted;
use crate::{Address, AssociationId, Endpoint, Event};

/// What a handshake made of a record.
struct Attempt<A> {
    consumed: usize,
    established: Option<Event<'static, A>>,
    dropped: Option<DropReason>,
}

impl<A, P, S, K> Endpoint<A, P, S, K>
where
    A: Address,
    P: CryptoProvider + Clone,
    S: ServerCredentials + Clone,
    K: ClientCredentials + Clone,
{
    /// Gives a ClientHello to the acceptor, which keeps nothing of it until its sender has proved
    /// its address.
    pub(crate) fn accept<'a>(
        &mut self,
        env: &mut Env<'_>,
        from: A,
        datagram: &mut [u8],
        out: &mut [u8],
    ) -> Handled<'a, A> {
        let consumed = datagram.len();
        let Some(acceptor) = &self.acceptor else {
            return self.drop_all(from, consumed, DropReason::UnknownPeer);
        };
        let credentials = Permitted::new(self.store.clone(), &self.config.security);
        let acceptance = from.with_bytes(|address| {
            acceptor.handle_datagram_with(&credentials, env, address, datagram, out)
        });
        let hello = match acceptance {
            Acceptance::Answer(answer) | Acceptance::Refuse { len: answer, .. } => {
                return Handled {
                    consumed,
                    answer,
                    event: None,
                };
            }
            Acceptance::Drop(reason) => return self.drop_all(from, consumed, reason),
            Acceptance::Accept(hello) => hello,
        };
        let is_new = !self.handshakes.contains_key(&from);
        // Whoever has an address and no key can fill its share of the pool, but not this end's own.
        let max = self.config.max_handshakes;
        if is_new && self.handshakes.len() >= max.saturating_sub(max / 4) {
            return self.drop_all(from, consumed, DropReason::HandshakePoolFull);
        }
        let known = self.by_address.get(&from);
        if is_new && !self.has_handshake_share(from)
            || known.is_none() && !self.has_association_share(from)
        {
            return self.drop_all(from, consumed, DropReason::RateLimited);
        }
        let role = known.and_then(|id| self.associations.get(id));
        if role.is_some_and(|found| matches!(found.role, Role::Client(_))) {
            // This end trusts the session there because of the server's key. Whoever comes as a
            // client from the same address has proved something else.
            return self.drop_all(from, consumed, DropReason::NotAcceptable);
        }
        if known.is_none() && self.proved_associations() >= self.config.max_associations {
            return self.drop_all(from, consumed, DropReason::PeerTableFull);
        }
        let Ok(connection_id) = self.draw_connection_id(env) else {
            return self.drop_all(from, consumed, DropReason::HandshakePoolFull);
        };
        let settings = self.config.handshake.with_connection_id(connection_id);
        // Chains need more room, and only whoever asked for them under a proved address gets it.
        let len = hello.buffer_len(&settings, &credentials);
        let provider = self.provider.clone();
        let buffers = buffers(len);
        let machine = match &mut self.server_sessions {
            Some(sessions) => {
                let resumption = sessions.lease(Some(hello.session_id()), env);
                ServerHandshake::resuming(
                    provider,
                    credentials,
                    settings,
                    resumption,
                    hello,
                    buffers,
                    env,
                )
            }
            None => ServerHandshake::new(provider, credentials, settings, hello, buffers, env),
        };
        match machine {
            // A hello that doesn't fit the session it wants (RFC 7627 §5.3).
            Ok(mut machine) if machine.state() == ServerState::Failed => Handled {
                consumed,
                answer: machine.poll_transmit(env, out).ok().flatten().unwrap_or(0),
                event: None,
            },
            Ok(machine) => {
                let handshake = Handshaking::Server(Box::new(machine));
                self.add_handshake(from, handshake, connection_id.unwrap_or_default());
                Handled {
                    consumed,
                    answer: 0,
                    event: None,
                }
            }
            Err(_) => self.drop_all(from, consumed, DropReason::NotAcceptable),
        }
    }

    /// A handshake runs beside a session: the record may belong to either.
    pub(crate) fn drive_both<'a>(
        &'a mut self,
        env: &mut Env<'_>,
        from: A,
        association: AssociationId,
        datagram: &'a mut [u8],
    ) -> Handled<'a, A> {
        let is_open = self
            .associations
            .get(&association)
            .is_some_and(|found| found.is_open());
        if first_epoch(datagram) == Some(EpochNumber(0)) || !is_open {
            return self.drive_handshake(env, from, datagram);
        }
        // An attempt to open destroys the record, so the session's copy is taken before.
        let mut copy = datagram.to_vec();
        let attempt = self.give_handshake(env, from, &mut copy);
        if !attempt.dropped.is_some_and(may_be_for_another_session) {
            return self.conclude(from, attempt);
        }
        let tried = (attempt.dropped == Some(DropReason::AuthenticationFailed)).then_some(from);
        self.drive_session_after(env, association, from, datagram, tried)
    }

    pub(crate) fn drive_handshake<'a>(
        &mut self,
        env: &mut Env<'_>,
        from: A,
        datagram: &mut [u8],
    ) -> Handled<'a, A> {
        let attempt = self.give_handshake(env, from, datagram);
        self.conclude(from, attempt)
    }

    fn conclude<'a>(&mut self, from: A, attempt: Attempt<A>) -> Handled<'a, A> {
        let event = match attempt.dropped {
            Some(reason) => Some(self.count_drop(from, reason)),
            None => attempt.established,
        };
        Handled {
            consumed: attempt.consumed,
            answer: 0,
            event,
        }
    }

    /// Gives a record to the handshake under way with `from`.
    fn give_handshake(&mut self, env: &mut Env<'_>, from: A, datagram: &mut [u8]) -> Attempt<A> {
        let len = datagram.len();
        let mut attempt = Attempt {
            consumed: len,
            established: None,
            dropped: None,
        };
        let Some(entry) = self.handshakes.get_mut(&from) else {
            attempt.dropped = Some(DropReason::UnknownPeer);
            return attempt;
        };
        // Held back as a Finished of this end's would be: the session beside it may yet show that it
        // lives, and the record may be its own. The server's flight comes again.
        if entry.held_until.is_some()
            && entry.handshake.is_resuming()
            && first_epoch(datagram) != Some(EpochNumber(0))
        {
            attempt.dropped = Some(DropReason::UnexpectedEpoch);
            return attempt;
        }
        match entry.handshake.handle_datagram(env, datagram) {
            Ok(received) => {
                attempt.consumed = len.saturating_sub(received.rest.len());
                match received.event {
                    Some(ChannelEvent::Established(peer)) => {
                        attempt.established = self.establish(env, from, peer);
                    }
                    Some(ChannelEvent::Dropped(reason)) => attempt.dropped = Some(reason),
                    _ => {}
                }
                self.arm_handshake(from);
            }
            Err(error) => self.break_off_handshake(env, from, error),
        }
        attempt
    }

    /// Turns a handshake that is over into the association's session.
    fn establish(&mut self, env: &mut Env<'_>, from: A, peer: Peer) -> Option<Event<'static, A>> {
        let handshake = self.take_handshake(from)?;
        let known = handshake
            .association()
            .or_else(|| self.by_address.get(&from).copied());
        let is_server = handshake.association().is_none();
        let is_own_client = known
            .and_then(|id| self.associations.get(&id))
            .is_some_and(|found| matches!(found.role, Role::Client(_)));
        if is_server && is_own_client {
            // As when a hello comes: the server that this end called may have moved here since. Numbers
            // of clients and of servers are apart, so that equal ones say nothing.
            return Some(self.count_drop(from, DropReason::NotAcceptable));
        }
        let hello = match &handshake {
            Handshaking::Server(machine) => Some(Hello::new(machine.client_random(), env.now)),
            Handshaking::Client { .. } => None,
        };
        let Over {
            session,
            ticket,
            resumable,
            cacheable,
            session_id,
            is_resumed,
            datagram_len,
            exporter,
        } = handshake.into_session()?;
        if let (Some(sessions), Some(cacheable)) = (&mut self.server_sessions, cacheable) {
            sessions.keep(cacheable);
        }
        // Anything less than was configured is what the handshake has found out about the path.
        let path_len =
            Some(datagram_len).filter(|&len| len < self.config.handshake.max_datagram_len());
        let suite = session.suite();
        let stranger = known.filter(|id| {
            self.associations.get(id).is_some_and(|found| {
                found.is_open() && (found.peer != peer || is_server && !is_one_peer(peer))
            })
        });
        // A place among the associations is kept for the one that is to stay.
        let has_room = self.proved_associations() < self.config.max_associations;
        let known = match stranger {
            // Its peer has moved on, without a word so far; it says where to in its next record.
            Some(association)
                if has_room && is_server && self.is_found_by_connection_id(association) =>
            {
                None
            }
            Some(association) => {
                // Another identity at the same address takes over nothing of the one before.
                self.forget(association);
                self.push_event(Event::Closed { association });
                None
            }
            None => known,
        };
        let id = match known {
            Some(id) => {
                let before = self.associations.get(&id)?.connection_id();
                self.release_connection_id(before, Owner::Association(id));
                let after = *session.receive_connection_id();
                self.claim_connection_id(after, Owner::Association(id));
                // The handshake has proved the address that it was with.
                self.rehome(id, from);
                let found = self.associations.get_mut(&id)?;
                let had_session = found.is_open();
                found.channel = Channel::Session(session);
                found.ticket = ticket;
                found.peer = peer;
                found.last_used = env.now;
                found.liveness.hear(env.now);
                if let Some(leg) = found.leg.as_deref_mut() {
                    leg.hear();
                }
                // What was known of the way to this address stays known.
                found.path_len = found.path_len.into_iter().chain(path_len).min();
                found.limit_messages();
                if had_session {
                    found.exchange.restart_association(env);
                }
                id
            }
            None => {
                let id = AssociationId(self.last_association.saturating_add(1));
                self.last_association = id.0;
                let channel = Channel::Session(session);
                self.add_association(env, id, from, Role::Server, channel, peer);
                let found = self.associations.get_mut(&id)?;
                found.ticket = ticket;
                found.path_len = path_len;
                found.limit_messages();
                id
            }
        };
        self.last_session = self.last_session.saturating_add(1);
        if let Some(found) = self.associations.get_mut(&id) {
            found.session_number = self.last_session;
            found.session_id = (!session_id.is_empty()).then(|| Box::new(session_id));
            found.hello = hello;
        }
        let role = self.associations.get(&id).map(|found| &found.role);
        if let (Some(Role::Client(Some(credentials))), Some(resumable)) = (role, resumable) {
            let credentials = credentials.clone();
            self.client_sessions.keep(from, credentials, resumable);
        }
        self.open_outer(id, &exporter);
        self.touch(id);
        Some(Event::Established {
            association: id,
            address: from,
            peer,
            suite,
            is_resumed,
        })
    }

    pub(crate) fn drive_session<'a>(
        &'a mut self,
        env: &mut Env<'_>,
        id: AssociationId,
        from: A,
        datagram: &'a mut [u8],
    ) -> Handled<'a, A> {
        self.drive_session_after(env, id, from, datagram, None)
    }

    /// Gives a record to a session, after the handshake with `tried` has failed to verify it: if the session
    /// does, that was no forgery.
    fn drive_session_after<'a>(
        &'a mut self,
        env: &mut Env<'_>,
        id: AssociationId,
        from: A,
        datagram: &'a mut [u8],
        tried: Option<A>,
    ) -> Handled<'a, A> {
        let len = datagram.len();
        let Some(found) = self.associations.get_mut(&id) else {
            return Handled {
                consumed: len,
                answer: 0,
                event: None,
            };
        };
        let address = found.address;
        let Channel::Session(session) = &mut found.channel else {
            return self.drop_all(from, len, DropReason::NotEstablished);
        };
        let (consumed, newest, event) = match session.handle_datagram(env, datagram) {
            Ok(received) => (
                len.saturating_sub(received.rest.len()),
                received.newest,
                received.event,
            ),
            Err(error) => {
                self.fail_association(id, error);
                return Handled {
                    consumed: len,
                    answer: 0,
                    event: None,
                };
            }
        };
        self.touch(id);
        let is_verified = matches!(
            event,
            Some(ChannelEvent::Plaintext(_) | ChannelEvent::Closed)
        );
        if let (true, Some(entry)) = (
            is_verified,
            tried.and_then(|address| self.handshakes.get_mut(&address)),
        ) {
            entry.handshake.forgive();
        }
        let moved = match &event {
            Some(ChannelEvent::Plaintext(message)) if self.is_proof(id, message) => {
                self.move_address(id)
            }
            _ => None,
        };
        if newest {
            self.note_source(env, id, from, consumed);
        }
        let event = match event {
            Some(ChannelEvent::Plaintext(_)) if moved.is_some() => moved,
            Some(ChannelEvent::Plaintext(message)) => {
                self.note_life(id, address);
                self.handle_plaintext(env, id, message)
            }
            Some(ChannelEvent::Dropped(reason)) => {
                if reason == DropReason::AuthenticationFailed {
                    self.renew_keys(env, id);
                }
                Some(self.count_drop(from, reason))
            }
            Some(ChannelEvent::Closed) => {
                // Whatever the gateway says, what is inside was cut off.
                self.end_outer(Outer::Association(id));
                self.remove(id);
                Some(Event::Closed { association: id })
            }
            _ => None,
        };
        Handled {
            consumed,
            answer: 0,
            event,
        }
    }

    /// Takes note that the session of an association with `address` lives after all. Once a Finished has left
    /// it is too late to say so: the peer may have ended the session already.
    pub(crate) fn note_life(&mut self, id: AssociationId, address: A) {
        let is_needless = self.handshakes.get(&address).is_some_and(|entry| {
            entry.handshake.association() == Some(id)
                && !entry.renews_keys
                && (entry.held_until.is_some() || !entry.handshake.is_committing())
        });
        if is_needless {
            self.give_up_handshake(address);
            if let Some(found) = self.associations.get_mut(&id) {
                found.exchange.report_silence_again();
            }
        }
    }

    /// Gives a session's plaintext to what speaks its protocol in the association.
    fn handle_plaintext<'a>(
        &'a mut self,
        env: &mut Env<'_>,
        id: AssociationId,
        plaintext: &'a mut [u8],
    ) -> Option<Event<'a, A>> {
        let found = self.associations.get_mut(&id);
        if let Some(leg) = found.and_then(|found| found.leg.as_deref_mut()) {
            leg.hear();
        }
        match Protocol::of(plaintext) {
            Protocol::Leg if self.config.legs.is_some() => self.handle_segment(env, id, plaintext),
            Protocol::Itls if self.config.forwards => self.hand_out(env, id, plaintext, false),
            Protocol::Itls if self.config.inner.is_some() => {
                let address = self.associations.get(&id)?.address;
                self.handle_routed(env, Outer::Association(id), address, plaintext)
            }
            Protocol::Coap | Protocol::Leg | Protocol::Itls | Protocol::Unknown => {
                self.handle_message(env, id, plaintext)
            }
        }
    }

    /// Gives one message to an association's exchange.
    pub(crate) fn handle_message<'a>(
        &'a mut self,
        env: &mut Env<'_>,
        id: AssociationId,
        message: &'a [u8],
    ) -> Option<Event<'a, A>> {
        self.touch(id);
        let found = self.associations.get_mut(&id)?;
        // An answer to a ping of this end's own isn't use.
        if !(found.liveness.is_asked() && Candidate::<A>::is_guess(message)) {
            found.last_used = env.now;
        }
        found.liveness.hear(env.now);
        let (address, peer) = (found.address, found.peer);
        let is_guess = found.candidate.is_some() && Candidate::<A>::is_guess(message);
        match found.exchange.handle_message(env, message) {
            Received::Request { request, message } => Some(Event::Request {
                association: id,
                address,
                peer,
                request,
                message,
            }),
            Received::Response { request, message } => Some(Event::Response {
                association: id,
                request,
                message,
            }),
            Received::Dropped(reason) => {
                if is_guess && reason == DropReason::Unmatched {
                    // Whoever answers what wasn't asked may be guessing at a probe.
                    found.candidate = None;
                }
                crate::tables::count(&mut self.drops, reason);
                Some(Event::Dropped { address, reason })
            }
            _ => None,
        }
    }
}

/// Says whether a record that a handshake drops for `reason` may belong to the session beside it.
pub(crate) const fn may_be_for_another_session(reason: DropReason) -> bool {
    matches!(
        reason,
        // Both sessions use epoch 1, so that a number may be old to one and new to the other, and
        // their suites may differ, so that a record may be too short for one of them.
        DropReason::AuthenticationFailed
            | DropReason::UnexpectedEpoch
            | DropReason::Malformed
            | DropReason::Replayed
            | DropReason::TooOld
            // Each has agreed on limits and connection IDs of its own.
            | DropReason::ConnectionIdMismatch
            | DropReason::TooLong
            // Forgeries of the new key are no reason to drop what the old one may verify.
            | DropReason::RateLimited
    )
}

/// Says whether whoever is known so now is who was known so before: not where many can be.
pub(crate) const fn is_one_peer(peer: Peer) -> bool {
    match peer {
        Peer::Anonymous | Peer::SharedPsk(_) => false,
        Peer::Psk(_) | Peer::EndToEndPsk(_) | Peer::RawPublicKey(_) | Peer::Certificate(_) => true,
        // A kind that is new here proves nothing yet.
        _ => false,
    }
}
