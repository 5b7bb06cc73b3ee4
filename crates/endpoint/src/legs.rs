//! Legs: streams of bytes in an association's session, beside CoAP (docs/specs/leg.md).

use alloc::boxed::Box;
use alloc::sync::Arc;

use hedgerow_core::{
    ClientCredentials, CryptoProvider, DropReason, Env, Instant, KeyPurpose, Peer, SecureChannel,
    ServerCredentials,
};
use hedgerow_leg::{
    Body, HeapLeg, MIN_SEGMENT_LEN, Offer, Read, Received, ResetReason, Role as LegRole, Segment,
    StreamId,
};

use crate::association::{Association, Channel, Role};
use crate::routing::is_one_peer;
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
    /// OPENs are dropped. A peer that is known for one has one, in its newest session with a stream: that ends
    /// the association that had it before.
    pub max_legs: usize,
    /// Legs at the same time with those who began their sessions with one key that several have: they can't be
    /// told apart, and each has one. Beyond it their OPENs are dropped.
    pub max_legs_per_shared_key: usize,
}

impl LegConfig {
    /// 64 legs, 16 for one shared key, with the defaults of [`hedgerow_leg::Config`].
    pub fn new(role: LegRole) -> Self {
        Self {
            role,
            leg: Arc::default(),
            max_legs: 64,
            max_legs_per_shared_key: 16,
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
    /// clear or with a peer for whom no gateway stands in between: the leg itself authenticates nothing; or if
    /// the peer has its leg in a session that is newer, or has begun the session itself and fallen silent in it; [`Error::TooManyLegs`], [`Error::Leg`].
    pub fn open_stream(
        &mut self,
        env: &mut Env<'_>,
        association: AssociationId,
        offer: &Offer<'_>,
    ) -> Result<StreamId, Error> {
        self.settle();
        let found = self.associations.get(&association);
        let found = found.ok_or(Error::UnknownAssociation)?;
        let is_own = !matches!(found.role, Role::Server);
        // This end can't find out by a new handshake whether the peer is still there.
        if !is_own && found.leg_is_silent(self.config.exchange.unanswered_threshold) {
            return Err(Error::NoLegs);
        }
        let stream = self.leg(env, association)?.open(env.now, offer)?;
        // What is refused keeps no session, and neither does what is sent to a peer that only its own calls bring back.
        if is_own {
            self.use_association(env.now, association)?;
        }
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

    /// Returns how many bytes written to a stream wait to be sent or acknowledged; see
    /// [`hedgerow_leg::Leg::unacknowledged`].
    ///
    /// # Errors
    ///
    /// As [`Self::write_stream`].
    pub fn unacknowledged_in_stream(
        &self,
        association: AssociationId,
        stream: StreamId,
    ) -> Result<usize, Error> {
        let found = self.associations.get(&association);
        let leg = found.and_then(|found| found.leg.as_deref());
        Ok(leg
            .ok_or(Error::UnknownAssociation)?
            .unacknowledged(stream)?)
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
    pub fn legs(&self) -> usize {
        self.legs.len()
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
        let found = self.associations.get(&association);
        let found = found.ok_or(Error::UnknownAssociation)?;
        if self.config.legs.is_none() || !found.may_have_leg(self.config.security.purpose()) {
            return Err(Error::NoLegs);
        }
        if found.leg.is_none() {
            self.begin_leg(env, association)?;
        }
        let found = self.associations.get_mut(&association);
        found
            .and_then(|found| found.leg.as_deref_mut())
            .ok_or(Error::NoLegs)
    }

    fn begin_leg(&mut self, env: &mut Env<'_>, association: AssociationId) -> Result<(), Error> {
        if let Some((older, session_number)) = self.leg_of_same_peer(association) {
            let found = self.associations.get(&association);
            if found.is_some_and(|found| found.session_number < session_number) {
                // A segment of an old session could be an OPEN from before a restart.
                return Err(Error::NoLegs);
            }
            // The peer is here now, and nothing of its old session is taken any more.
            self.remove(older);
            self.push_event(Event::Closed { association: older });
        }
        let config = self.config.legs.as_ref().ok_or(Error::NoLegs)?;
        if self.legs.len() >= config.max_legs {
            return Err(Error::TooManyLegs {
                max: config.max_legs,
            });
        }
        let max = config.max_legs_per_shared_key;
        if self.legs_of_shared_key(association) >= max {
            return Err(Error::TooManyLegs { max });
        }
        let leg = AssociationLeg::new(config.role, Arc::clone(&config.leg), env)?;
        let found = self.associations.get_mut(&association);
        let found = found.ok_or(Error::UnknownAssociation)?;
        found.leg = Some(Box::new(leg));
        found.limit_messages();
        self.legs.insert(association);
        Ok(())
    }

    /// Finds the leg of another association with whoever has begun this one, and the number of its session:
    /// not where several can be known by one key.
    fn leg_of_same_peer(&self, association: AssociationId) -> Option<(AssociationId, u64)> {
        let found = self.associations.get(&association)?;
        if !matches!(found.role, Role::Server) || !is_one_peer(found.peer) {
            return None;
        }
        let others = self.legs.iter().filter(|&&id| id != association);
        others
            .filter_map(|id| Some((*id, self.associations.get(id)?)))
            .find(|(_, other)| matches!(other.role, Role::Server) && other.peer == found.peer)
            .map(|(id, other)| (id, other.session_number))
    }

    /// Returns how many legs there are with those who are known by the same key as whoever has begun this
    /// association, where several are: none otherwise.
    fn legs_of_shared_key(&self, association: AssociationId) -> usize {
        let Some(found) = self.associations.get(&association) else {
            return 0;
        };
        if !matches!(found.role, Role::Server) || is_one_peer(found.peer) {
            return 0;
        }
        let legs = self.legs.iter().filter_map(|id| self.associations.get(id));
        legs.filter(|other| matches!(other.role, Role::Server) && other.peer == found.peer)
            .count()
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
        let (address, has_leg) = (found.address, found.leg.is_some());
        let dropped = match has_leg {
            true => None,
            false => self.meet_first_segment(id, segment),
        };
        let received = match dropped {
            Some(reason) => Received::Dropped(reason),
            None => match self.leg(env, id) {
                Ok(leg) => leg.handle_segment(env.now, segment),
                Err(Error::TooManyLegs { .. }) => Received::Dropped(DropReason::StreamTableFull),
                Err(_) => Received::Dropped(DropReason::NotAcceptable),
            },
        };
        // What has ended beside it was looked after.
        self.touch(id);
        match received {
            Received::Handled(_) => None,
            Received::Dropped(reason) => Some(self.count_drop(address, reason)),
        }
    }

    /// Says why a segment begins no leg where there is none: only an OPEN of the peer's does. The others are
    /// answered without a leg.
    fn meet_first_segment(&mut self, id: AssociationId, segment: &[u8]) -> Option<DropReason> {
        let purpose = self.config.security.purpose();
        let role = self.config.legs.as_ref()?.role;
        let found = self.associations.get_mut(&id)?;
        if !found.may_have_leg(purpose) {
            return Some(DropReason::NotAcceptable);
        }
        let Ok(segment) = Segment::decode(segment) else {
            return Some(DropReason::Malformed);
        };
        if segment.opens_at(role) {
            return None;
        }
        let address = found.address;
        if let (Some(reason), Channel::Session(session)) =
            (segment.unknown_at(role), &mut found.channel)
        {
            let answer = Segment {
                stream: segment.stream,
                body: Body::Reset(reason),
            };
            let (mut plain, mut record) = ([0; MIN_SEGMENT_LEN], [0; 128]);
            let len = answer.encode(&mut plain).unwrap_or_default();
            let plain = plain.get(..len).unwrap_or_default();
            if let Ok(len) = session.seal(plain, &mut record) {
                self.push_parting(address, record.get(..len).unwrap_or_default());
            }
        }
        Some(match segment.body {
            Body::Reset(_) => DropReason::Unmatched,
            Body::Parts(_) => DropReason::UnknownStream,
        })
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
    /// Says whether the peer has left so many transmissions on a stream in a row unanswered.
    pub(crate) fn leg_is_silent(&self, threshold: u8) -> bool {
        let leg = self.leg.as_deref();
        leg.is_some_and(|leg| leg.silence() >= threshold.max(1))
    }

    /// Says whether there can be a leg: under the session of one hop, or while one is awaited. A key has one
    /// purpose (docs/specs/end-to-end-keys.md), and the hop's has to be another than that of whatever
    /// travels in a stream. `begun_for` is what the sessions are for that this end begins.
    fn may_have_leg(&self, begun_for: KeyPurpose) -> bool {
        self.is_for_a_hop(begun_for)
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
