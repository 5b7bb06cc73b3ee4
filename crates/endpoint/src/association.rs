//! One peer: its channel and its exchange.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

use hedgerow_coap::Header;
use hedgerow_core::{Aead, ChannelError, Env, Instant, KeyPurpose, Peer, SecureChannel};
use hedgerow_exchange::HeapExchange;
use hedgerow_handshake::{SentTicket, Session, SessionId};
use hedgerow_record::{ConnectionId, Random};

use crate::Address;
use crate::candidate::{Candidate, Due, PROBE_PAUSE};
use crate::inner::{InnerChannel, LightHop};
use crate::legs::AssociationLeg;
use crate::liveness::Liveness;

/// What protects the messages of an association.
pub(crate) enum Channel<A> {
    /// Nothing does, as configured.
    NoSec(Standing),
    /// A handshake is under way, and nothing is sent or taken.
    Expected,
    /// A session.
    Session(Box<Session<A>>),
    /// An inner session, within another association's session or a stream.
    Inner(Box<InnerChannel<A>>),
}

/// What a peer in clear has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// That it receives at its address, or this end called it there. What it asks anew is taken as far
    /// as `until`.
    Proved { until: Instant },
    /// Nothing: so many bytes more may go there.
    Unproved { allowance: usize },
}

/// Which end began an association, and what it takes to begin it again.
pub(crate) enum Role<K> {
    /// This end, with these credentials; `None` without security.
    Client(Option<K>),
    /// The peer.
    Server,
}

/// One peer.
pub(crate) struct Association<A, C, K> {
    pub(crate) address: A,
    pub(crate) role: Role<K>,
    pub(crate) channel: Channel<C>,
    /// What the last flight of the session's handshake carries, as long as it may be sent again.
    pub(crate) ticket: Option<Box<SentTicket>>,
    /// Under which ID this end may have the session to be resumed, if it is the server.
    pub(crate) session_id: Option<Box<SessionId>>,
    pub(crate) peer: Peer,
    /// Which of the endpoint's sessions it has: a later one has a higher number.
    pub(crate) session_number: u64,
    pub(crate) exchange: HeapExchange<Arc<hedgerow_exchange::Config>>,
    /// The light outer layer of the session, if it is one of mode `itls` that has it.
    pub(crate) light: Option<Box<LightHop<C>>>,
    /// Boxed and begun with the first stream: most associations have none.
    pub(crate) leg: Option<Box<AssociationLeg>>,
    pub(crate) last_used: Instant,
    pub(crate) liveness: Liveness,
    /// The time under which the timers have it.
    pub(crate) armed: Option<Instant>,
    /// Whether it stands in the queue of those that may have something to send.
    pub(crate) is_queued: bool,
    /// Where the peer seems to be now, unless that is `address`.
    pub(crate) candidate: Option<Box<Candidate<A>>>,
    /// When a handshake for new keys may begin, after one that came to nothing.
    pub(crate) next_renewal_at: Instant,
    /// The longest datagram that the path seems to carry, in bytes, if that is known to be less than
    /// what is configured.
    pub(crate) path_len: Option<usize>,
    /// When a candidate's probe may begin.
    pub(crate) next_probe_at: Instant,
    /// The ClientHello that began the session, if the peer has begun it.
    pub(crate) hello: Option<Hello>,
}

/// A ClientHello that has done what it was for. A copy that the network delivers late would otherwise
/// begin a handshake that nobody finishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The end of its random bytes, of which the front may be a clock's.
    random: [u8; 8],
    until: Instant,
}

impl Hello {
    pub(crate) fn new(random: &Random, now: Instant) -> Self {
        Self {
            random: tail(random),
            until: now.saturating_add(COPY_LIFETIME),
        }
    }

    /// Says whether a ClientHello with these random bytes can be a copy of it.
    pub(crate) fn may_have_copy(&self, random: &Random, now: Instant) -> bool {
        now < self.until && tail(random) == self.random
    }
}

fn tail(random: &Random) -> [u8; 8] {
    random.last_chunk().copied().unwrap_or_default()
}

/// How long the network may take with a copy: 2 x MSL, as for the last flight (RFC 6347 §4.2.4). After
/// that a client that repeats its random bytes, against all rules, is met again.
const COPY_LIFETIME: Duration = Duration::from_secs(240);

impl<A: Address, C: Aead, K> Association<A, C, K> {
    /// Returns the connection ID that the peer's records carry; empty for none.
    pub(crate) fn connection_id(&self) -> ConnectionId {
        match &self.channel {
            Channel::Session(session) => *session.receive_connection_id(),
            Channel::NoSec(_) | Channel::Expected | Channel::Inner(_) => ConnectionId::EMPTY,
        }
    }

    /// Has messages fit the records that the session's peer takes and the datagrams that the path
    /// carries, and with them the last flight of the session's handshake.
    pub(crate) fn limit_messages(&mut self) {
        if let (Channel::Session(session), Some(len)) = (&mut self.channel, self.path_len) {
            session.limit_datagrams(len);
        }
        if matches!(self.channel, Channel::Expected) {
            return;
        }
        let longest = self.max_plaintext_len();
        self.exchange.limit_messages(longest);
        self.limit_segments(longest);
    }

    /// Returns the longest plaintext that the channel takes and the path carries, in bytes.
    pub(crate) fn max_plaintext_len(&self) -> usize {
        let (longest, overhead) = match &self.channel {
            Channel::Session(session) => (session.max_plaintext_len(), session.overhead()),
            Channel::Inner(inner) => (inner.max_plaintext_len(), 0),
            Channel::NoSec(_) | Channel::Expected => (usize::MAX, 0),
        };
        let path_len = self.path_len.unwrap_or(usize::MAX);
        longest.min(path_len.saturating_sub(overhead))
    }

    /// Says whether the session's keys come near their limits.
    pub(crate) fn wants_new_keys(&self) -> bool {
        match &self.channel {
            Channel::Session(session) => {
                let light = self.light.as_deref();
                session.wants_new_keys() || light.is_some_and(LightHop::wants_new_keys)
            }
            Channel::Inner(inner) => inner.wants_new_keys(),
            Channel::NoSec(_) | Channel::Expected => false,
        }
    }

    /// Says whether the peer is in clear and has proved nothing.
    pub(crate) const fn is_unproved(&self) -> bool {
        matches!(self.channel, Channel::NoSec(Standing::Unproved { .. }))
    }

    /// Returns how long the association is kept without a message: one that has proved nothing no longer
    /// than its messages may be repeated.
    pub(crate) fn idle_timeout(&self, configured: Duration) -> Duration {
        match self.is_unproved() {
            true => configured.min(self.exchange.config().transmission.exchange_lifetime()),
            false => configured,
        }
    }

    /// Says whether its keys are for one hop, and no end's. `begun_for` is what the sessions are for that this
    /// end begins. Keys of certificates don't say: at a client it is what it began the session for.
    pub(crate) fn is_for_a_hop(&self, begun_for: KeyPurpose) -> bool {
        match self.role {
            Role::Client(_) => begun_for == KeyPurpose::Hop,
            Role::Server => self.peer.key_purpose() != Some(KeyPurpose::EndToEnd),
        }
    }

    /// Says whether there is a session with somebody who is known, under a hop's keys: what mode `itls` can
    /// travel in.
    pub(crate) fn may_carry_inner(&self, begun_for: KeyPurpose) -> bool {
        matches!(self.channel, Channel::Session(_))
            && self.peer != Peer::Anonymous
            && self.is_for_a_hop(begun_for)
    }

    /// Says whether messages can be sent and taken.
    pub(crate) fn is_open(&self) -> bool {
        match &self.channel {
            Channel::Expected => false,
            Channel::Inner(inner) => inner.is_open(),
            Channel::NoSec(_) | Channel::Session(_) => true,
        }
    }

    /// Says whether nothing is under way, but for a ping that nobody asked for.
    pub(crate) fn is_done(&self) -> bool {
        if !self.has_no_stream() {
            return false;
        }
        let usage = self.exchange.usage();
        if self.liveness.is_asked() {
            return usage.outgoing <= 1
                && [usage.incoming, usage.replies, usage.seen] == [0; 3]
                && [usage.reassemblies, usage.representations] == [0; 2];
        }
        // Message IDs that are remembered keep a late duplicate from running a handler again.
        self.exchange.is_idle() && usage.seen == 0
    }

    /// Returns when the peer is to be asked for a sign of life: under a session alone, where nobody
    /// else can give one.
    pub(crate) fn ping_due_at(&self, ping_idle_after: Option<Duration>) -> Option<Instant> {
        match self.channel {
            Channel::Session(_) => self.liveness.due_at(ping_idle_after),
            // The gateway answers for its own hop, and requests for the far end.
            Channel::NoSec(_) | Channel::Expected | Channel::Inner(_) => None,
        }
    }

    /// Returns when something is due, before idleness ends the association.
    pub(crate) fn poll_timeout(
        &self,
        idle_at: Instant,
        ping_idle_after: Option<Duration>,
    ) -> Instant {
        if !self.is_open() {
            // The handshake has a timer of its own, and ends one way or the other.
            return idle_at;
        }
        let max_retransmit = self.exchange.config().transmission.max_retransmit;
        let candidate = self.candidate.as_deref();
        let candidate =
            candidate.and_then(|found| found.poll_timeout(max_retransmit, self.probe_len()));
        let ping = self.ping_due_at(ping_idle_after);
        let leg = self.poll_leg_timeout();
        [self.exchange.poll_timeout(), leg, candidate, ping]
            .into_iter()
            .flatten()
            .fold(idle_at, Instant::min)
    }

    /// Returns the length of a probe's datagram.
    fn probe_len(&self) -> usize {
        match &self.channel {
            Channel::Session(session) => session.overhead().saturating_add(Header::LEN),
            Channel::NoSec(_) | Channel::Expected | Channel::Inner(_) => 0,
        }
    }

    /// Writes the candidate's probe if it is due, and returns where it goes.
    pub(crate) fn poll_probe(
        &mut self,
        env: &mut Env<'_>,
        out: &mut [u8],
    ) -> Result<Option<(A, usize)>, ChannelError> {
        let parameters = self.exchange.config().transmission;
        let probe_len = self.probe_len();
        let Some(candidate) = self.candidate.as_deref_mut() else {
            return Ok(None);
        };
        let message_id = match candidate.due(env.now, parameters.max_retransmit, probe_len) {
            Due::Nothing => return Ok(None),
            Due::GiveUp => {
                self.candidate = None;
                return Ok(None);
            }
            Due::Probe(Some(message_id)) => message_id,
            Due::Probe(None) => {
                self.next_probe_at = env.now.saturating_add(PROBE_PAUSE);
                match self.exchange.take_unpredictable_message_id(env) {
                    Some(message_id) => message_id,
                    None => {
                        self.candidate = None;
                        return Ok(None);
                    }
                }
            }
        };
        let Channel::Session(session) = &mut self.channel else {
            return Ok(None);
        };
        let len = session.seal(&Header::ping(message_id).encode(), out)?;
        candidate.probe_sent(env, message_id, len, &parameters);
        Ok(Some((candidate.address, len)))
    }

    /// Returns where else a datagram of `len` bytes goes: to a candidate, which is likely to be
    /// right, as far as its allowance reaches.
    pub(crate) fn take_copy(&mut self, len: usize) -> Option<A> {
        let probe_len = self.probe_len();
        let candidate = self.candidate.as_deref_mut()?;
        candidate
            .take_copy(len, probe_len)
            .then_some(candidate.address)
    }

    /// Writes the next datagram, if there is one. `scratch` holds the message before it is sealed.
    pub(crate) fn poll_transmit(
        &mut self,
        env: &mut Env<'_>,
        scratch: &mut [u8],
        out: &mut [u8],
    ) -> Result<Option<usize>, ChannelError> {
        match &mut self.channel {
            Channel::Expected | Channel::Inner(_) => Ok(None),
            Channel::NoSec(_) => Ok(self.exchange.poll_transmit(env, out).ok().flatten()),
            Channel::Session(session) => {
                if session
                    .keeps_last_flight()
                    .is_none_or(|until| env.now >= until)
                {
                    self.ticket = None;
                }
                if let Some(len) = session.poll_transmit_with(self.ticket.as_deref(), out)? {
                    return Ok(Some(len));
                }
                match self.exchange.poll_transmit(env, scratch) {
                    Ok(Some(len)) => {
                        let message = scratch.get(..len).unwrap_or_default();
                        session.seal(message, out).map(Some)
                    }
                    Ok(None) | Err(_) => self.poll_segment(env, scratch, out),
                }
            }
        }
    }
}
