//! Peers that nothing protects, where this end serves them (NoSec, RFC 7252 §9).

use hedgerow_coap::{Code, Message, MessageType};
use hedgerow_core::{
    ClientCredentials, CryptoProvider, DropReason, Env, Instant, Misuse, Peer, ServerCredentials,
};
use hedgerow_exchange::{EchoAcceptance, EchoAcceptor, Echoed};

use crate::association::{Channel, Role, Standing};
use crate::endpoint::Handled;
use crate::{Address, AssociationId, Config, Endpoint};

impl<A, P, S, K> Endpoint<A, P, S, K>
where
    A: Address,
    P: CryptoProvider + Clone,
    S: ServerCredentials + Clone,
    K: ClientCredentials + Clone,
{
    /// Makes an endpoint that serves whoever asks, in clear: **nothing is kept from anybody on the
    /// path, and nobody proves who it is**. It begins associations too, and accepts no handshake.
    ///
    /// A peer gets an association once it has shown that it receives at its address: its first
    /// request is answered by 4.01 with an Echo option (RFC 9175 §2.3), of which nothing is kept, and
    /// goes on when it comes again with the option.
    ///
    /// # Errors
    ///
    /// [`Misuse::ForbiddenMode`] unless [`Config::security`] permits NoSec to everybody.
    pub fn server_without_security(
        provider: P,
        store: S,
        config: Config,
        env: &mut Env<'_>,
    ) -> Result<Self, Misuse> {
        config.security.check_clear_server()?;
        let echo_acceptor = EchoAcceptor::new(provider.clone(), env);
        Ok(Self {
            echo_acceptor: Some(echo_acceptor),
            ..Self::client(provider, store, config)
        })
    }

    /// Gives a message of an unknown sender to the acceptor, if this end serves in clear.
    pub(crate) fn accept_clear<'a>(
        &'a mut self,
        env: &mut Env<'_>,
        from: A,
        datagram: &'a [u8],
        out: &mut [u8],
    ) -> Handled<'a, A> {
        let consumed = datagram.len();
        let Some(acceptor) = &self.echo_acceptor else {
            return self.drop_all(from, consumed, DropReason::UnknownPeer);
        };
        let acceptance =
            from.with_bytes(|address| acceptor.handle_message(env.now, address, datagram, out));
        let (standing, echoed) = match acceptance {
            EchoAcceptance::Answer(answer) => {
                let has_room = self.unproved < self.config.max_unproved_associations;
                if !has_room || !Message::decode(datagram).is_ok_and(|it| is_repeatable(&it)) {
                    return Handled {
                        consumed,
                        answer,
                        event: None,
                    };
                }
                self.unproved = self.unproved.saturating_add(1);
                let allowance = consumed.saturating_mul(MAX_AMPLIFICATION);
                (Standing::Unproved { allowance }, None)
            }
            EchoAcceptance::Drop(reason) => return self.drop_all(from, consumed, reason),
            EchoAcceptance::Accept(_)
                if self.proved_associations() >= self.config.max_associations =>
            {
                return self.drop_all(from, consumed, DropReason::PeerTableFull);
            }
            EchoAcceptance::Accept(_) if !self.has_association_share(from) => {
                return self.drop_all(from, consumed, DropReason::RateLimited);
            }
            EchoAcceptance::Accept(echoed) => (self.proved(env.now), Some(echoed)),
        };
        let id = AssociationId(self.last_association.saturating_add(1));
        self.last_association = id.0;
        let channel = Channel::NoSec(standing);
        self.add_association(env, id, from, Role::Server, channel, Peer::Anonymous);
        if let Some(echoed) = echoed {
            self.note_challenged(env, id, echoed);
        }
        let event = self.handle_message(env, id, datagram);
        Handled {
            consumed,
            answer: 0,
            event,
        }
    }

    /// Gives a message to an association that nothing protects.
    pub(crate) fn drive_clear<'a>(
        &'a mut self,
        env: &mut Env<'_>,
        id: AssociationId,
        from: A,
        datagram: &'a [u8],
        out: &mut [u8],
    ) -> Handled<'a, A> {
        let consumed = datagram.len();
        let mut handled = Handled {
            consumed,
            answer: 0,
            event: None,
        };
        if self.is_challenged(env, id, from, datagram) {
            if let Some(acceptor) = &self.echo_acceptor
                && let EchoAcceptance::Answer(answer) = from
                    .with_bytes(|address| acceptor.handle_message(env.now, address, datagram, out))
            {
                handled.answer = self.take_allowance(id, answer).unwrap_or_default();
            }
            return handled;
        }
        handled.event = self.handle_message(env, id, datagram);
        handled
    }

    /// Notes what a datagram shows of the address it comes from, and says whether it is a request that a
    /// proof has to come with first. One that is only challenged keeps no association from ending when
    /// nobody uses it.
    fn is_challenged(
        &mut self,
        env: &Env<'_>,
        id: AssociationId,
        from: A,
        datagram: &[u8],
    ) -> bool {
        let Some(acceptor) = &self.echo_acceptor else {
            return false;
        };
        let message = Message::decode(datagram).ok();
        // A peer that had several requests under way was challenged for each.
        let echoed = message.and_then(|message| {
            from.with_bytes(|address| acceptor.check(env.now, address, &message))
        });
        if let Some(echoed) = echoed {
            self.prove(env.now, id);
            self.note_challenged(env, id, echoed);
        }
        let Some(found) = self.associations.get_mut(&id) else {
            return false;
        };
        let request = message.filter(|message| message.code().is_request());
        match &mut found.channel {
            Channel::NoSec(Standing::Unproved { allowance }) => {
                let grown = datagram.len().saturating_mul(MAX_AMPLIFICATION);
                *allowance = allowance.saturating_add(grown);
                request.is_some_and(|request| !is_repeatable(&request))
            }
            // Somebody else may have the address by now, or speak for it. What comes again gets what it
            // was answered with then: challenged, a POST would come once more under another message ID.
            Channel::NoSec(Standing::Proved { until }) => {
                *until <= env.now
                    && request.is_some_and(|request| {
                        !found.exchange.has_seen(env.now, request.message_id())
                    })
            }
            _ => false,
        }
    }

    /// Holds a datagram to what an unproved address may get, and puts the challenge in the place of an
    /// answer that is too long. It returns the length of what is left to be sent, if anything is.
    pub(crate) fn bound_unproved(
        &mut self,
        now: Instant,
        id: AssociationId,
        out: &mut [u8],
        len: usize,
    ) -> Option<usize> {
        let found = self.associations.get(&id)?;
        if !found.is_unproved() {
            return Some(len);
        }
        let address = found.address;
        if let Some(len) = self.take_allowance(id, len) {
            return Some(len);
        }
        let acceptor = self.echo_acceptor.as_ref()?;
        let header = Message::decode(out.get(..len)?).ok()?;
        let (kind, message_id, token) =
            (header.message_type(), header.message_id(), header.token());
        // A response of its own names the request by its token alone. It is as good as lost.
        if kind != MessageType::Acknowledgement || header.code().is_empty() {
            return None;
        }
        let len =
            address.with_bytes(|peer| acceptor.challenge(now, peer, message_id, token, out))?;
        self.take_allowance(id, len)
    }

    /// Takes `len` bytes of what may go to an unproved address, if there are as many.
    fn take_allowance(&mut self, id: AssociationId, len: usize) -> Option<usize> {
        if let Some(Channel::NoSec(Standing::Unproved { allowance })) = self.channel_mut(id) {
            *allowance = allowance.checked_sub(len)?;
        }
        Some(len)
    }

    /// Notes that a peer receives at its address, as far as there is room for it among those that do.
    fn prove(&mut self, now: Instant, id: AssociationId) {
        let has_room = self.proved_associations() < self.config.max_associations;
        let proved = self.proved(now);
        let mut was_unproved = false;
        if let Some(Channel::NoSec(standing)) = self.channel_mut(id) {
            was_unproved = matches!(standing, Standing::Unproved { .. });
            if has_room || !was_unproved {
                *standing = proved;
            }
        }
        if was_unproved && has_room {
            self.unproved = self.unproved.saturating_sub(1);
        }
    }

    /// Returns what a proof is worth that came now: as long as a request with it may be repeated.
    fn proved(&self, now: Instant) -> Standing {
        let lifetime = self.config.exchange.transmission.exchange_lifetime();
        Standing::Proved {
            until: now.saturating_add(lifetime),
        }
    }

    fn channel_mut(&mut self, id: AssociationId) -> Option<&mut Channel<P::Aead>> {
        self.associations
            .get_mut(&id)
            .map(|found| &mut found.channel)
    }

    /// Returns the number of associations but those with addresses that have proved nothing.
    pub(crate) fn proved_associations(&self) -> usize {
        self.associations.len().saturating_sub(self.unproved)
    }

    fn note_challenged(&mut self, env: &Env<'_>, id: AssociationId, echoed: Echoed) {
        if let Some(found) = self.associations.get_mut(&id) {
            found.exchange.note_challenged(env.now, echoed);
        }
    }
}

/// Says whether a request may be carried out twice without harm: its method is idempotent (RFC 7252
/// §5.1, RFC 8132 §2, §3).
fn is_repeatable(message: &Message<'_>) -> bool {
    matches!(
        message.code(),
        Code::GET | Code::FETCH | Code::PUT | Code::DELETE | Code::IPATCH
    )
}

/// What an unproved address gets for each byte that came from it, in bytes.
const MAX_AMPLIFICATION: usize = 3;
