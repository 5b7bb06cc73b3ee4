//! A gateway's part in mode `itls` (docs/specs/itls.md): messages of a hop's session that go on elsewhere. The
//! endpoint opens and seals the records that they travel in, and reads nothing of them.

use hedgerow_core::{
    ClientCredentials, CryptoProvider, DropReason, Env, Misuse, SecureChannel, ServerCredentials,
};

use crate::association::Channel;
use crate::plaintext::Protocol;
use crate::{Address, AssociationId, Endpoint, Error, Event};

impl<A, P, S, K> Endpoint<A, P, S, K>
where
    A: Address,
    P: CryptoProvider + Clone,
    S: ServerCredentials + Clone,
    K: ClientCredentials + Clone,
{
    /// Seals a message of mode `itls` in one record of an association's session, routing header first. Returns
    /// where the datagram in `out` goes, and its length; it is to be sent at once, and never a second time.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownAssociation`]; [`Error::Channel`] while there is no session, or none of a hop with a
    /// known peer, and for a message that isn't one of this mode; [`Error::MessageTooLong`] for what the record
    /// or the path doesn't carry; [`Error::Sealing`] once the key is used up.
    pub fn seal_forwarded(
        &mut self,
        env: &mut Env<'_>,
        association: AssociationId,
        message: &[u8],
        out: &mut [u8],
    ) -> Result<(A, usize), Error> {
        self.seal_on_hop(env, association, message, false, out)
    }

    /// As [`Self::seal_forwarded`], in a datagram of the light outer layer where the hop has one, the message is
    /// no hello, and the peer isn't silent; in a record otherwise. It is for a flow on which both sides of the hop
    /// have agreed to it. What is too long doesn't depend on which it is.
    ///
    /// # Errors
    ///
    /// As [`Self::seal_forwarded`].
    pub fn seal_lightly(
        &mut self,
        env: &mut Env<'_>,
        association: AssociationId,
        message: &[u8],
        out: &mut [u8],
    ) -> Result<(A, usize), Error> {
        self.seal_on_hop(env, association, message, true, out)
    }

    fn seal_on_hop(
        &mut self,
        env: &mut Env<'_>,
        association: AssociationId,
        message: &[u8],
        is_light: bool,
        out: &mut [u8],
    ) -> Result<(A, usize), Error> {
        self.settle();
        let purpose = self.config.security.purpose();
        let found = self.use_association(env.now, association)?;
        let is_hop = found.may_carry_inner(purpose);
        let Channel::Session(session) = &mut found.channel else {
            return Err(Misuse::NotEstablished.into());
        };
        if !is_hop || Protocol::of(message) != Protocol::Itls {
            return Err(Misuse::NotEstablished.into());
        }
        let path_len = found.path_len.unwrap_or(usize::MAX);
        let max = path_len
            .saturating_sub(session.overhead())
            .min(session.max_plaintext_len());
        if message.len() > max {
            let len = message.len();
            return Err(Error::MessageTooLong { len, max });
        }
        let light = found.light.as_deref_mut().filter(|_| is_light);
        let len = match light.and_then(|light| light.seal(env.now, message, out)) {
            Some(len) => len,
            None => session.seal(message, out).map_err(Error::Sealing)?,
        };
        let address = found.address;
        if let Some(copy_to) = found.take_copy(len) {
            // The same record, sealed once: whichever comes second is a replay.
            self.push_parting(copy_to, out.get(..len).unwrap_or_default());
        }
        self.renew_keys(env, association);
        self.touch(association);
        Ok((address, len))
    }

    /// Hands a message out that is to be forwarded.
    pub(crate) fn hand_out<'a>(
        &mut self,
        env: &Env<'_>,
        id: AssociationId,
        message: &'a [u8],
        is_light: bool,
    ) -> Option<Event<'a, A>> {
        let purpose = self.config.security.purpose();
        let found = self.associations.get(&id)?;
        if !found.may_carry_inner(purpose) {
            // Nothing can be sent back: a key of two ends is no hop's.
            let address = found.address;
            return Some(self.count_drop(address, DropReason::NotAcceptable));
        }
        self.touch(id);
        let found = self.associations.get_mut(&id)?;
        found.last_used = env.now;
        found.liveness.hear(env.now);
        Some(Event::Forwarded {
            association: id,
            message,
            is_light,
        })
    }
}
