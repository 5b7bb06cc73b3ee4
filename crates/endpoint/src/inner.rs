//! Inner sessions (mode `itls`, docs/specs/itls.md): associations whose messages are sealed for the far end
//! and travel inside an outer session with a gateway.
//!
//! An outer session is an association's DTLS session, or a stream that something else protects and
//! carries. Flows of it lead to handshakes under way, to half-open ones, and to associations.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use hedgerow_core::{Aead, ChannelError, CryptoProvider, Instant, Misuse, Peer, Writer};
use hedgerow_itls::{
    Envelope, HalfOpen, Initiator, OuterBinding, Resumption, RoutingHeader, SessionId, Settings,
};

use crate::AssociationId;

mod channel;
mod control;
mod handshake;
mod light;
mod messages;
mod tables;

pub(crate) use channel::InnerChannel;
use light::LightFlow;
pub(crate) use light::LightHop;

/// How an endpoint takes part in mode `itls`.
#[derive(Clone, Copy, Debug)]
pub struct InnerConfig {
    /// Which end this is, suites and group. Where it does without forward secrecy, both ends have to.
    pub settings: Settings,
    /// When hellos come again.
    pub timers: InnerTimers,
    /// Inner sessions of one outer session that were answered and wait for the initiator's confirmation. What
    /// is beyond is dropped: a gateway that replays hellos takes no place of another gateway's.
    pub max_half_open: usize,
    /// Flows of all outer sessions, half-open ones among them.
    pub max_flows: usize,
    /// Sessions that ended with their outer session and can be resumed over another one, for 24 h at
    /// most; 0 for none. The oldest of whoever has most makes room.
    pub max_resumable: usize,
}

impl InnerConfig {
    /// The specification's timers, 8 half-open sessions of each outer one, 256 flows, 16 sessions to resume.
    pub const fn new(settings: Settings) -> Self {
        Self {
            settings,
            timers: InnerTimers::new(),
            max_half_open: 8,
            max_flows: 256,
            max_resumable: 16,
        }
    }
}

/// When an initiator sends its hello again and gives up, and how long a responder waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InnerTimers {
    /// How often a hello is sent in all: the pauses are 2, 4, 8, 16 and 32 s, and no longer than 60 s.
    pub transmissions: u8,
    /// How long a half-open session lives.
    pub half_open: Duration,
}

impl InnerTimers {
    /// Five transmissions, so that 62 s after the first one the initiator gives up, and 62 s.
    pub const fn new() -> Self {
        Self {
            transmissions: 5,
            half_open: Duration::from_secs(62),
        }
    }

    /// Returns the pause after so many transmissions.
    fn pause(transmissions: u8) -> Duration {
        let doublings = u32::from(transmissions.saturating_sub(1)).min(5);
        let pause = FIRST_PAUSE.saturating_mul(1 << doublings);
        pause.min(LONGEST_PAUSE)
    }
}

impl Default for InnerTimers {
    fn default() -> Self {
        Self::new()
    }
}

/// An outer session that an endpoint has no part in: what goes to its address is carried and protected by
/// something else, such as TLS over a stream.
#[derive(Clone, Debug)]
pub struct OuterStream {
    /// What its exporter gave.
    pub binding: OuterBinding,
    /// Whom [`connect`](crate::Endpoint::connect) asks the gateway for.
    pub name: Vec<u8>,
    /// The longest message that it carries, in bytes.
    pub max_message_len: usize,
}

/// What an inner session travels in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outer<A> {
    /// The session of an association with the gateway.
    Association(AssociationId),
    /// What is carried to and from this address.
    Stream(A),
}

/// What there is of inner sessions beside their associations.
pub(crate) struct InnerTables<A, P: CryptoProvider, K> {
    outers: BTreeMap<Outer<A>, OuterSession>,
    flows: BTreeMap<(Outer<A>, u16), Flow<P>>,
    kept: Vec<Kept<K>>,
    /// The time under which the timers have what is kept: no later than the first of it ends.
    kept_armed: Option<Instant>,
    /// An inner message between its seal and the outer one.
    scratch: Vec<u8>,
}

struct OuterSession {
    binding: OuterBinding,
    /// What `connect` asks for, on a stream.
    name: Vec<u8>,
    /// The longest message, where the outer session is a stream.
    max_len: usize,
    last_flow: u16,
    /// What didn't verify of this one. The keys of all that is inside end with it, so that another one in its
    /// place may begin anew.
    failures: Failures,
}

impl OuterSession {
    const fn new(binding: OuterBinding, name: Vec<u8>, max_len: usize) -> Self {
        Self {
            binding,
            name,
            max_len,
            last_flow: 0,
            failures: Failures::new(),
        }
    }
}

/// What a flow leads to.
enum Flow<P: CryptoProvider> {
    Initiating(Box<Initiating<P>>),
    HalfOpen(Box<Unconfirmed<P>>),
    Open(AssociationId),
}

/// A session that this end begins.
struct Initiating<P: CryptoProvider> {
    initiator: Initiator<P>,
    association: AssociationId,
    /// Whether a session is resumed that there was before.
    is_resuming: bool,
    /// When the ends last proved themselves with their key.
    vouched_at: Instant,
    light: LightFlow,
    transmissions: u8,
    next_at: Instant,
}

/// A session that was answered, and that the initiator hasn't confirmed.
struct Unconfirmed<P: CryptoProvider> {
    half_open: HalfOpen<P::Aead>,
    /// The session that is resumed.
    resumed: Option<SessionId>,
    vouched_at: Instant,
    light: LightFlow,
    until: Instant,
}

/// What inner sessions can be resumed by whose outer session has ended, for an endpoint that has the next
/// one.
pub struct InnerSessions<K>(Vec<Kept<K>>);

impl<K> Default for InnerSessions<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K> InnerSessions<K> {
    /// Forgets those that are too old to be resumed, and returns when the next one is; `None` if there are none.
    pub fn expire(&mut self, now: Instant) -> Option<Instant> {
        self.0.retain(|kept| now < kept.ends_at());
        self.0.iter().map(Kept::ends_at).min()
    }
}

impl<K> fmt::Debug for InnerSessions<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InnerSessions(..)")
    }
}

/// What is left of a session whose outer session ended.
struct Kept<K> {
    /// What this end began it with, and whom it asked the gateway for.
    begun_with: Option<(K, Vec<u8>)>,
    vouched_at: Instant,
    resumption: Resumption,
    /// The association whose hello names it now. It is there for another one if that comes to nothing before the far
    /// end has answered.
    resuming: Option<AssociationId>,
}

impl<K> Kept<K> {
    fn ends_at(&self) -> Instant {
        self.vouched_at.saturating_add(RESUMPTION_LIFETIME)
    }
}

/// Returns which of the sessions makes room for one more of `peer`: the oldest of whoever has most then, so that nobody
/// pushes out what others can resume.
fn least_missed<K>(kept: &[Kept<K>], peer: Peer) -> Option<usize> {
    let held_by = |other: Peer| {
        let its = kept.iter().filter(|kept| kept.resumption.peer() == other);
        its.count().saturating_add(usize::from(other == peer))
    };
    let counts = kept.iter().map(|kept| held_by(kept.resumption.peer()));
    let most = counts.clone().max()?;
    let oldest = counts.zip(kept).enumerate();
    let oldest = oldest.filter(|(_, (count, _))| *count == most);
    let oldest = oldest.min_by_key(|(_, (_, kept))| kept.vouched_at);
    oldest.map(|(index, _)| index)
}

impl<A: Ord + Copy, P: CryptoProvider, K> InnerTables<A, P, K> {
    pub(crate) const fn new() -> Self {
        Self {
            outers: BTreeMap::new(),
            flows: BTreeMap::new(),
            kept: Vec::new(),
            kept_armed: None,
            scratch: Vec::new(),
        }
    }

    /// Returns how many half-open sessions an outer session has.
    fn half_open(&self, outer: Outer<A>) -> usize {
        let is_half_open = |flow: &&Flow<P>| matches!(flow, Flow::HalfOpen(_));
        let flows = self.flows_of(outer).map(|(_, flow)| flow);
        flows.filter(is_half_open).count()
    }

    /// Says whether one more message of an outer session may be tried.
    fn has_room_for_failure(&mut self, outer: Outer<A>, now: Instant) -> bool {
        let session = self.outers.get_mut(&outer);
        session.is_some_and(|session| session.failures.has_room(now))
    }

    /// Returns the flows of an outer session.
    fn flows_of(&self, outer: Outer<A>) -> impl Iterator<Item = (u16, &Flow<P>)> {
        let flows = self.flows.range((outer, 0)..=(outer, u16::MAX));
        flows.map(|(&(_, number), flow)| (number, flow))
    }

    /// Returns a number for a flow that this end opens: an even one that isn't 0.
    fn free_flow(&mut self, outer: Outer<A>) -> Option<u16> {
        let session = self.outers.get_mut(&outer)?;
        // No more flows than `max_flows` are there, so that a free number is near.
        for _ in 0..=self.flows.len() {
            session.last_flow = session.last_flow.checked_add(2).unwrap_or(2);
            if !self.flows.contains_key(&(outer, session.last_flow)) {
                return Some(session.last_flow);
            }
        }
        None
    }
}

/// Messages of one outer session that didn't verify, within a second.
struct Failures {
    since: Instant,
    count: u32,
}

impl Failures {
    const fn new() -> Self {
        Self {
            since: Instant::ZERO,
            count: 0,
        }
    }

    /// Says whether one more may be tried.
    fn has_room(&mut self, now: Instant) -> bool {
        if now.saturating_since(self.since) >= Duration::from_secs(1) {
            self.since = now;
            self.count = 0;
        }
        self.count < MAX_FAILURES_PER_SECOND
    }

    fn add(&mut self) {
        self.count = self.count.saturating_add(1);
    }
}

/// Seals one message of a flow, behind its routing header.
fn seal_routed<C: Aead>(
    envelope: &mut Envelope<C>,
    flow: u16,
    seal: impl FnOnce(&mut Envelope<C>, &mut [u8]) -> Result<usize, ChannelError>,
    out: &mut [u8],
) -> Result<usize, ChannelError> {
    let is_control = false;
    let header = RoutingHeader { flow, is_control };
    let (needed, available) = (header.encoded_len(), out.len());
    let too_small = |_| Misuse::BufferTooSmall { needed, available };
    let mut writer = Writer::new(out);
    header.encode(&mut writer).map_err(too_small)?;
    let sealed = seal(envelope, out.get_mut(needed..).unwrap_or_default())?;
    Ok(needed.saturating_add(sealed))
}

const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often the hello of a session to resume is sent before a handshake with the key follows: the far end
/// may have forgotten the session.
const RESUMING_TRANSMISSIONS: u8 = 2;

/// How long a session can be resumed after the last handshake with an end-to-end key.
const RESUMPTION_LIFETIME: Duration = Duration::from_secs(24 * 3_600);

/// With tags of 8 octets the chance of a forgery grows with what is tried (docs/specs/itls.md, limits).
const MAX_FAILURES_PER_SECOND: u32 = 1_024;
