//! What has become due, and what is sent.

use core::time::Duration;

use hedgerow_core::{ClientCredentials, CryptoProvider, Env, ServerCredentials};

use crate::association::{Channel, Role};
use crate::endpoint::Speaker;
use crate::{Address, AssociationId, Endpoint, Event};

impl<A, P, S, K> Endpoint<A, P, S, K>
where
    A: Address,
    P: CryptoProvider + Clone,
    S: ServerCredentials + Clone,
    K: ClientCredentials + Clone,
{
    pub(crate) fn expire_association(&mut self, env: &mut Env<'_>, id: AssociationId) {
        let Some(found) = self.associations.get_mut(&id) else {
            return;
        };
        let idle_timeout = found.idle_timeout(self.config.idle_timeout);
        found.armed = None;
        if env.now >= found.last_used + idle_timeout {
            let threshold = self.config.exchange.unanswered_threshold;
            let is_gone = matches!(found.role, Role::Server) && found.leg_is_silent(threshold);
            if (found.is_done() || is_gone) && found.is_open() {
                self.remove(id);
                self.push_event(Event::Closed { association: id });
                return;
            }
            // Something is under way that ends by its own timers.
            found.last_used = env.now;
        }
        let ping_idle_after = self.config.ping_idle_after;
        if found
            .ping_due_at(ping_idle_after)
            .is_some_and(|at| at <= env.now)
        {
            let ping = found.exchange.ping(env).ok();
            found.liveness.ask(env.now, ping);
        }
        let mut is_silent = false;
        if found.is_open() {
            found.exchange.handle_timeout(env);
            if let Some(leg) = found.leg.as_deref_mut() {
                let before = leg.silence();
                leg.handle_timeout(env.now);
                // Another timer's expiry says nothing about a stream that was silent before.
                let threshold = self.config.exchange.unanswered_threshold;
                is_silent = leg.silence() > before.max(threshold.saturating_sub(1));
            }
        }
        if self.collect_events(id) || is_silent {
            self.meet_again(env, id);
        }
        self.touch(id);
        self.settle();
    }

    pub(crate) fn expire_handshake(&mut self, env: &mut Env<'_>, address: A) {
        let Some(entry) = self.handshakes.get_mut(&address) else {
            return;
        };
        entry.armed = None;
        if entry.held_until.is_some_and(|until| env.now >= until) {
            entry.held_until = None;
        }
        match entry.handshake.handle_timeout(env) {
            Ok(()) => self.arm_handshake(address),
            Err(error) => self.fail_handshake(env, address, error),
        }
    }

    /// Begins a handshake beside a session whose peer doesn't answer: it may have restarted and
    /// know nothing of the session.
    fn meet_again(&mut self, env: &mut Env<'_>, id: AssociationId) {
        let Some(found) = self.associations.get(&id) else {
            return;
        };
        let address = found.address;
        let (Role::Client(Some(credentials)), Channel::Session(_)) = (&found.role, &found.channel)
        else {
            return;
        };
        let credentials = credentials.clone();
        let is_free = !self.handshakes.contains_key(&address);
        if is_free && self.start_handshake(env, address, id, &credentials).is_ok() {
            self.hold_handshake(env, address);
        } else if let Some(found) = self.associations.get_mut(&id) {
            // A full pool leaves the session as it is; the next silence asks for a place again.
            found.exchange.report_silence_again();
        }
    }

    /// Begins a handshake beside a session whose keys come near their limits, if this end is the one
    /// that can. The session goes on until the new one is verified (RFC 9147 §4.5.3).
    pub(crate) fn renew_keys(&mut self, env: &mut Env<'_>, id: AssociationId) {
        let Some(found) = self.associations.get_mut(&id) else {
            return;
        };
        if !found.wants_new_keys() || env.now < found.next_renewal_at {
            return;
        }
        let address = found.address;
        // Whoever forges can also spoil handshakes; it makes this end begin one a minute at most.
        found.next_renewal_at = env.now + RENEWAL_PAUSE;
        let Role::Client(Some(credentials)) = &found.role else {
            return;
        };
        let credentials = credentials.clone();
        let is_free = !self.handshakes.contains_key(&address);
        if is_free
            && self.start_handshake(env, address, id, &credentials).is_ok()
            && let Some(entry) = self.handshakes.get_mut(&address)
        {
            entry.renews_keys = true;
        }
    }

    /// Holds a handshake back before it commits the peer.
    ///
    /// Loss looks like a restart at first: at 20 % each way two transmissions in a row go
    /// unanswered in 13 % of all cases. The third leaves together with the ClientHello; if it is
    /// answered, the session lives and the handshake is given up before it has changed anything.
    fn hold_handshake(&mut self, env: &Env<'_>, address: A) {
        let hold = self.config.exchange.transmission.longest_timeout();
        if let Some(entry) = self.handshakes.get_mut(&address) {
            entry.held_until = Some(env.now + hold);
        }
        self.arm_handshake(address);
    }

    pub(crate) fn transmit_association(
        &mut self,
        env: &mut Env<'_>,
        id: AssociationId,
        out: &mut [u8],
    ) -> Option<(A, usize)> {
        let found = self.associations.get_mut(&id)?;
        found.is_queued = false;
        if matches!(found.channel, Channel::Inner(_)) {
            return self.transmit_inner(env, id, out);
        }
        let address = found.address;
        let probe = match found.poll_probe(env, out) {
            Ok(probe) => probe,
            Err(error) => {
                self.fail_association(id, error);
                return None;
            }
        };
        if let Some(sent) = probe {
            found.is_queued = true;
            self.queue.push_back(Speaker::Association(id));
            self.arm_association(id);
            return Some(sent);
        }
        match found.poll_transmit(env, &mut self.scratch, out) {
            Ok(Some(len)) => {
                found.is_queued = true;
                let copy_to = found.take_copy(len);
                self.queue.push_back(Speaker::Association(id));
                self.arm_association(id);
                if let Some(copy_to) = copy_to {
                    // The same record, sealed once: whichever comes second is a replay.
                    self.push_parting(copy_to, out.get(..len).unwrap_or_default());
                }
                self.renew_keys(env, id);
                let len = self.bound_unproved(env.now, id, out, len)?;
                Some((address, len))
            }
            Ok(None) => {
                self.arm_association(id);
                None
            }
            Err(error) => {
                self.fail_association(id, error);
                None
            }
        }
    }

    pub(crate) fn transmit_handshake(
        &mut self,
        env: &mut Env<'_>,
        address: A,
        out: &mut [u8],
    ) -> Option<(A, usize)> {
        let entry = self.handshakes.get_mut(&address)?;
        entry.is_queued = false;
        if entry.held_until.is_some() && entry.handshake.is_committing() {
            return None;
        }
        let sent = entry.handshake.poll_transmit(env, out).ok().flatten()?;
        // It may have more to say, and its timer starts when its flight has left.
        self.arm_handshake(address);
        Some((address, sent))
    }
}

/// How long a handshake for new keys isn't tried again.
pub(crate) const RENEWAL_PAUSE: Duration = Duration::from_secs(60);
