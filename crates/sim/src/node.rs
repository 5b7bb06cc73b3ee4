//! What stands at the ends of the network, and how it sends.

use std::fmt;

use hedgerow_core::{Env, Instant};

use crate::ledger::Ledgered;
use crate::{Address, SealsNothing};

/// An end of the network. The world calls it; it answers through the outbox and never waits.
pub trait Node {
    /// What the node seals with: a [`NonceLedger`](crate::NonceLedger) from
    /// [`World::provider`](crate::World::provider), or [`SealsNothing`].
    type Provider: Ledgered;

    /// Takes in a datagram that arrived at `to`, one of the node's addresses. `from` is the source
    /// as seen here, which a NAT may have rewritten.
    fn handle_datagram(
        &mut self,
        env: &mut Env<'_>,
        from: Address,
        to: Address,
        datagram: &mut [u8],
        out: &mut Outbox,
    );

    /// Does what has become due at `env.now`.
    fn handle_timeout(&mut self, env: &mut Env<'_>, out: &mut Outbox);

    /// Returns when [`Self::handle_timeout`] is due, if ever. A time that has passed means now.
    ///
    /// The world asks after every call of this node and at no other time.
    fn poll_timeout(&self) -> Option<Instant>;
}

impl<N: Node + ?Sized> Node for Box<N> {
    type Provider = N::Provider;

    fn handle_datagram(
        &mut self,
        env: &mut Env<'_>,
        from: Address,
        to: Address,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) {
        (**self).handle_datagram(env, from, to, datagram, out);
    }

    fn handle_timeout(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        (**self).handle_timeout(env, out);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (**self).poll_timeout()
    }
}

/// A node made of one closure: it answers datagrams, has no timeout and seals nothing.
///
/// The closure's parameters are those of [`Node::handle_datagram`].
#[derive(Clone, Copy)]
pub struct Responder<F>(pub F);

impl<F> Node for Responder<F>
where
    F: FnMut(&mut Env<'_>, Address, Address, &mut [u8], &mut Outbox),
{
    type Provider = SealsNothing;

    fn handle_datagram(
        &mut self,
        env: &mut Env<'_>,
        from: Address,
        to: Address,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) {
        (self.0)(env, from, to, datagram, out);
    }

    fn handle_timeout(&mut self, _env: &mut Env<'_>, _out: &mut Outbox) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

impl<F> fmt::Debug for Responder<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Responder(..)")
    }
}

/// Collects what a node sends during one call; the network takes it when the call returns.
#[derive(Debug, Default)]
pub struct Outbox {
    outgoing: Vec<Outgoing>,
    spare: Vec<Vec<u8>>,
}

impl Outbox {
    /// Sends a datagram. The network doesn't check that `from` belongs to the sender, so an
    /// attacker's node forges a source by naming it.
    pub fn send(&mut self, from: Address, to: Address, datagram: &[u8]) {
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(datagram);
        self.outgoing.push(Outgoing {
            from,
            to,
            datagram: bytes,
        });
    }

    /// Takes out what was sent and lends the store of spare buffers, so that a long run allocates
    /// no more than its peak of datagrams in flight.
    pub(crate) fn drain(
        &mut self,
    ) -> (impl Iterator<Item = Outgoing> + use<'_>, &mut Vec<Vec<u8>>) {
        (self.outgoing.drain(..), &mut self.spare)
    }

    pub(crate) fn recycle(&mut self, buffer: Vec<u8>) {
        self.spare.push(buffer);
    }
}

/// A datagram on its way from a node to the network.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) datagram: Vec<u8>,
}
