//! Legs: streams of bytes in an association's session, beside CoAP (docs/specs/leg.md).

use alloc::boxed::Box;
use alloc::sync::Arc;

use hedgerow_core::{
    ClientCredentials, CryptoProvider, DropReason, Env, Instant, KeyPurpose, Peer, SecureChannel,
    ServerCredentials,
};
use hedgerow_leg::{
    HeapLeg, MIN_SEGMENT_LEN, Offer, Read, Received, ResetReason, Role as LegRole, StreamId,
};

use crate::association::{Association, Channel, Role};
use crate::{Address, AssociationId, Endpoint, Error, Event};

/// The legs of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegConfig {
    /// Which end of every leg this is.
    pub role: LegRole,
    /// Bounds and timers of each. Its longest segment is cut to what session and path carry, and to the
    /// longest message of [`Config::exchange`](crate::Config::exchange).
    pub leg: Arc<hedgerow_leg::Config>,
    /// Legs at the same time: associations that have had a stream. Beyond it no stream is opened, and
    /// segments are dropped.
    pub max_legs: usize,
}

impl LegConfig {
    /// 64 legs with the defaults of [`hedgerow_leg::Config`].
    pub fn new(role: LegRole) -> Self {
        Self {
            role,
            leg: Arc::default(),
            max_legs: 64,
        }
    }
}

/// An association's leg. It lives as long as the association, also while it has no stream: it remembers
/// which streams there were.
pub(crate) type AssociationLeg = HeapLeg<Arc<hedgerow_leg::Config>>;

impl<A, P, S, K> Endpoint<A, P, S, K>
where
    A: Address,
    P: CryptoProvider + Clone,
    S: ServerCredentials + Clone,
    K: ClientCredentials + Clone,
{
    /// Opens a stream in an association's session. It is opened at once for this end: bytes may be written,
    /// and leave when there is a session. Whether the peer takes it shows in what comes back.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownAssociation`]; [`Error::NoLegs`] if the endpoint has none, or the association is in
    /// clear or with a peer for whom no gateway stands in between: the leg itself authenticates nothing;
    /// [`Error::TooManyLegs`], [`Error::Leg`].
    pub fn open_stream(
        &mut self,
        env: &mut Env<'_>,
        association: AssociationId,
        offer: &Offer<'_>,
    ) -> Result<StreamId, Error> {
        self.settle();
        self.use_association(env.now, association)?;
        let stream = self.leg(env, association)?.open(env.now, offer)?;
        self.touch(association);
        Ok(stream)
    }

    /// Lends what a stream was opened for.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownAssociation`], [`Error::Leg`].
    pub fn stream_offer(
        &self,
        association: AssociationId,
        stream: StreamId,
    ) -> Result<Offer<'_>, Error> {
        let found = self.associations.get(&association);
        let leg = found.and_then(|found| found.leg.as_deref());
        Ok(leg.ok_or(Error::UnknownAssociation)?.offer(stream)?)
    }

    /// Takes bytes to be sent on a stream and returns how many there was room for; see
    /// [`hedgerow_leg::Leg::write`].
    ///
    /// # Errors
    ///
    /// [`Error::UnknownAssociation`], [`Error::Leg`].
    pub fn write_stream(
        &mut self,
        association: AssociationId,
        stream: StreamId,
        bytes: &[u8],
    ) -> Result<usize, Error> {
        self.with_leg(association, |leg| leg.write(stream, bytes))
    }

    /// Moves the next bytes of a stream to the front of `out`; see [`hedgerow_leg::Leg::read`].
    ///
    /// # Errors
    ///
    /// As [`Self::write_stream`].
    pub fn read_stream(
        &mut self,
        association: AssociationId,
        stream: StreamId,
        out: &mut [u8],
    ) -> Result<Read, Error> {
        self.with_leg(association, |leg| leg.read(stream, out))
    }

    /// Ends this end's direction of a stream in order, behind what was written.
    ///
    /// # Errors
    ///
    /// As [`Self::write_stream`].
    pub fn finish_stream(
        &mut self,
        association: AssociationId,
        stream: StreamId,
    ) -> Result<(), Error> {
        self.with_leg(association, |leg| leg.finish(stream))
    }

    /// Gives a stream up; the peer is told why.
    ///
    /// # Errors
    ///
    /// As [`Self::write_stream`].
    pub fn reset_stream(
        &mut self,
        env: &Env<'_>,
        association: AssociationId,
        stream: StreamId,
        reason: ResetReason,
    ) -> Result<(), Error> {
        self.with_leg(association, |leg| leg.reset(env.now, stream, reason))
    }

    /// Returns the number of legs.
    pub const fn legs(&self) -> usize {
        self.legs
    }

    fn with_leg<R>(
        &mut self,
        association: AssociationId,
        call: impl FnOnce(&mut AssociationLeg) -> Result<R, hedgerow_leg::Error>,
    ) -> Result<R, Error> {
        self.settle();
        let found = self.associations.get_mut(&association);
        let leg = found.and_then(|found| found.leg.as_deref_mut());
        let outcome = call(leg.ok_or(Error::UnknownAssociation)?)?;
        self.touch(association);
        Ok(outcome)
    }

    /// Returns an association's leg, begun now if there is none.
    fn leg(
        &mut self,
        env: &mut Env<'_>,
        association: AssociationId,
    ) -> Result<&mut AssociationLeg, Error> {
        let config = self.config.legs.as_ref().ok_or(Error::NoLegs)?;
        let found = self.associations.get_mut(&association);
        let found = found.ok_or(Error::UnknownAssociation)?;
        if !found.may_have_leg(self.config.security.purpose()) {
            return Err(Error::NoLegs);
        }
        if found.leg.is_none() {
            if self.legs >= config.max_legs {
                return Err(Error::TooManyLegs {
                    max: config.max_legs,
                });
            }
            let leg = AssociationLeg::new(config.role, Arc::clone(&config.leg), env)?;
            found.leg = Some(Box::new(leg));
            self.legs = self.legs.saturating_add(1);
            found.limit_messages();
        }
        found.leg.as_deref_mut().ok_or(Error::NoLegs)
    }

    /// Gives a segment to an association's leg.
    pub(crate) fn handle_segment<'a>(
        &mut self,
        env: &mut Env<'_>,
        id: AssociationId,
        segment: &[u8],
    ) -> Option<Event<'a, A>> {
        self.touch(id);
        let found = self.associations.get_mut(&id)?;
        found.last_used = env.now;
        found.liveness.hear(env.now);
        let address = found.address;
        let received = match self.leg(env, id) {
            Ok(leg) => leg.handle_segment(env.now, segment),
            Err(Error::TooManyLegs { .. }) => Received::Dropped(DropReason::StreamTableFull),
            Err(_) => Received::Dropped(DropReason::NotAcceptable),
        };
        match received {
            Received::Handled(_) => None,
            Received::Dropped(reason) => Some(self.count_drop(address, reason)),
        }
    }

    /// Passes on what an association's leg has to say.
    pub(crate) fn collect_stream_events(&mut self, id: AssociationId) {
        while let Some(event) = self
            .associations
            .get_mut(&id)
            .and_then(|found| found.leg.as_deref_mut()?.poll_event())
        {
            self.push_event(Event::Stream {
                association: id,
                event,
            });
        }
    }
}

impl<A: Address, C: hedgerow_core::Aead, K> Association<A, C, K> {
    /// Says whether there can be a leg: under the session of one hop, or while one is awaited. A key has one
    /// purpose (docs/specs/end-to-end-keys.md), and the hop's has to be another than that of whatever
    /// travels in a stream. `begun_for` is what the sessions are for that this end begins.
    fn may_have_leg(&self, begun_for: KeyPurpose) -> bool {
        let is_hop = match self.role {
            Role::Client(_) => begun_for == KeyPurpose::Hop,
            Role::Server => self.peer.key_purpose() != Some(KeyPurpose::EndToEnd),
        };
        is_hop
            && match &self.channel {
                Channel::NoSec(_) | Channel::Inner(_) => false,
                Channel::Expected => true,
                Channel::Session(_) => self.peer != Peer::Anonymous,
            }
    }

    /// Has segments fit, where a plaintext may have `longest` bytes.
    pub(crate) fn limit_segments(&mut self, longest: usize) {
        let Some(leg) = self.leg.as_deref_mut() else {
            return;
        };
        let configured = leg.config().max_segment_len;
        let longest = longest
            .min(configured)
            .min(self.exchange.config().max_message_len);
        // No record is so short that it isn't allowed.
        let _ = leg.set_max_segment_len(longest.max(MIN_SEGMENT_LEN));
    }

    /// Returns when the leg has something due.
    pub(crate) fn poll_leg_timeout(&self) -> Option<Instant> {
        self.leg.as_deref()?.poll_timeout()
    }

    /// Says whether no stream is in the table, in whatever phase.
    pub(crate) fn has_no_stream(&self) -> bool {
        self.leg.as_deref().is_none_or(AssociationLeg::is_empty)
    }

    /// Says whether a stream's segments have gone unanswered so often that the peer may have restarted.
    pub(crate) fn is_silent_on_streams(&self, threshold: u8) -> bool {
        let leg = self.leg.as_deref();
        leg.is_some_and(|leg| leg.silence() >= threshold)
    }

    /// Seals the leg's next segment, if there is one.
    pub(crate) fn poll_segment(
        &mut self,
        env: &mut Env<'_>,
        scratch: &mut [u8],
        out: &mut [u8],
    ) -> Result<Option<usize>, hedgerow_core::ChannelError> {
        let (Channel::Session(session), Some(leg)) = (&mut self.channel, self.leg.as_deref_mut())
        else {
            return Ok(None);
        };
        match leg.poll_transmit(env, scratch) {
            Ok(Some(len)) => session
                .seal(scratch.get(..len).unwrap_or_default(), out)
                .map(Some),
            Ok(None) | Err(_) => Ok(None),
        }
    }
}
