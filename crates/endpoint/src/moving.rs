//! Connection IDs, and peers whose address changes (RFC 9146 §3, §6).

use alloc::boxed::Box;

use hedgerow_core::{ClientCredentials, CryptoProvider, Env, ServerCredentials};
use hedgerow_record::ConnectionId;

use crate::association::{Channel, Role};
use crate::candidate::Candidate;
use crate::{Address, AssociationId, ConnectionIds, Endpoint, Error, Event};

/// Whose connection ID it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner<A> {
    /// A handshake with this address: until it is over, the address is a part of it.
    Handshake(A),
    Association(AssociationId),
}

/// How often a connection ID is drawn until one is found that isn't in use.
const MAX_DRAWS: usize = 16;

impl<A, P, S, K> Endpoint<A, P, S, K>
where
    A: Address,
    P: CryptoProvider + Clone,
    S: ServerCredentials + Clone,
    K: ClientCredentials + Clone,
{
    /// Draws the connection ID that a handshake names, one that nobody else has here; `None` for a
    /// handshake without.
    pub(crate) fn draw_connection_id(
        &self,
        env: &mut Env<'_>,
    ) -> Result<Option<ConnectionId>, Error> {
        let format = match self.config.connection_ids {
            ConnectionIds::Off => return Ok(None),
            ConnectionIds::SendOnly => return Ok(Some(ConnectionId::EMPTY)),
            ConnectionIds::Both(format) => format,
        };
        for _ in 0..MAX_DRAWS {
            let id = format.draw(env.rng);
            if !self.by_connection_id.contains_key(&id) {
                return Ok(Some(id));
            }
        }
        Err(Error::NoConnectionId)
    }

    /// Gives a connection ID to its owner. An empty one tells nobody apart and is left out.
    pub(crate) fn claim_connection_id(&mut self, id: ConnectionId, owner: Owner<A>) {
        if !id.is_empty() {
            self.by_connection_id.insert(id, owner);
        }
    }

    /// Frees a connection ID, if `owner` has it.
    pub(crate) fn release_connection_id(&mut self, id: ConnectionId, owner: Owner<A>) {
        if self.by_connection_id.get(&id) == Some(&owner) {
            self.by_connection_id.remove(&id);
        }
    }

    /// Notes where a verified record of `len` bytes came from that is newer than every one before.
    pub(crate) fn note_source(&mut self, env: &Env<'_>, id: AssociationId, from: A, len: usize) {
        let Some(found) = self.associations.get_mut(&id) else {
            return;
        };
        // MUST (RFC 9146 §6): neither an older record nor one that doesn't verify moves an address;
        // the caller has seen to both.
        if from == found.address || found.connection_id().is_empty() {
            // The newest word is that the peer is where it was.
            found.candidate = None;
            return;
        }
        match found.candidate.as_deref_mut() {
            Some(candidate) if candidate.address == from => candidate.receive(len),
            // Of two candidates the newer one counts.
            _ => {
                let at = found.next_probe_at.max(env.now);
                found.candidate = Some(Box::new(Candidate::new(from, len, at)));
            }
        }
        self.touch(id);
    }

    /// Says whether a verified message shows that an association's candidate receives.
    pub(crate) fn is_proof(&self, id: AssociationId, message: &[u8]) -> bool {
        let found = self.associations.get(&id);
        found
            .and_then(|found| found.candidate.as_deref())
            .is_some_and(|candidate| candidate.is_answered_by(message))
    }

    /// Moves an association to its candidate, which has shown that it receives.
    pub(crate) fn move_address<'a>(&mut self, id: AssociationId) -> Option<Event<'a, A>> {
        let found = self.associations.get_mut(&id)?;
        let to = found.candidate.take()?.address;
        let from = found.address;
        self.rehome(id, to);
        self.touch(id);
        Some(Event::AddressMoved {
            association: id,
            from,
            to,
        })
    }

    /// Gives an association another address.
    pub(crate) fn rehome(&mut self, id: AssociationId, to: A) {
        let Some(found) = self.associations.get_mut(&id) else {
            return;
        };
        let from = core::mem::replace(&mut found.address, to);
        let is_server = matches!(found.role, Role::Server);
        found.candidate = None;
        if from != to {
            // Nothing is known of the way there.
            found.path_len = None;
            if let Some(leg) = found.leg.as_deref_mut() {
                leg.handle_path_change();
            }
            found.limit_messages();
        }
        if is_server {
            self.count_source(&Role::Server, from, -1);
            self.count_source(&Role::Server, to, 1);
        }
        if self.by_address.get(&from) == Some(&id) {
            self.by_address.remove(&from);
        }
        self.claim_address(id, to);
    }

    /// Enters an association under its address, unless another one stands there that has nothing but
    /// its address to be found by, or that this end called: it is by the address that it is asked.
    fn claim_address(&mut self, id: AssociationId, address: A) {
        let occupant = self.by_address.get(&address).filter(|&&other| other != id);
        let needs_it = occupant
            .and_then(|other| self.associations.get(other))
            .is_some_and(|other| {
                other.connection_id().is_empty() || matches!(other.role, Role::Client(_))
            });
        if !needs_it {
            self.by_address.insert(address, id);
        }
    }

    /// Says whether an association outlives the loss of its address to somebody else: its peer's
    /// records name it wherever they come from.
    pub(crate) fn is_found_by_connection_id(&self, id: AssociationId) -> bool {
        self.associations.get(&id).is_some_and(|found| {
            matches!(found.channel, Channel::Session(_)) && !found.connection_id().is_empty()
        })
    }
}
