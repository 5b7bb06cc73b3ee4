//! Peers that nothing protects, where this end serves them (NoSec, RFC 7252 §9).

use hedgerow_coap::Message;
use hedgerow_core::{
    ClientCredentials, CryptoProvider, DropReason, Env, Misuse, Peer, ServerCredentials,
};
use hedgerow_exchange::{EchoAcceptance, EchoAcceptor, Echoed};

use crate::association::{Channel, Role};
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
        let echoed = match acceptance {
            EchoAcceptance::Answer(answer) => {
                return Handled {
                    consumed,
                    answer,
                    event: None,
                };
            }
            EchoAcceptance::Drop(reason) => return self.drop_all(from, consumed, reason),
            EchoAcceptance::Accept(echoed) => echoed,
        };
        if self.associations.len() >= self.config.max_associations {
            return self.drop_all(from, consumed, DropReason::PeerTableFull);
        }
        let id = AssociationId(self.last_association.saturating_add(1));
        self.last_association = id.0;
        self.add_association(env, id, from, Role::Server, Channel::NoSec, Peer::Anonymous);
        self.note_challenged(env, id, echoed);
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
    ) -> Handled<'a, A> {
        // A peer that had several requests under way was challenged for each.
        let echoed = self.echo_acceptor.as_ref().and_then(|acceptor| {
            let message = Message::decode(datagram).ok()?;
            from.with_bytes(|address| acceptor.check(env.now, address, &message))
        });
        if let Some(echoed) = echoed {
            self.note_challenged(env, id, echoed);
        }
        Handled {
            consumed: datagram.len(),
            answer: 0,
            event: self.handle_message(env, id, datagram),
        }
    }

    fn note_challenged(&mut self, env: &Env<'_>, id: AssociationId, echoed: Echoed) {
        if let Some(found) = self.associations.get_mut(&id) {
            found.exchange.note_challenged(env.now, echoed);
        }
    }
}
