//! Sessions that are resumed: what a server resumes them with, and which ones a client has.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::time::Duration;

use hedgerow_core::{ClientCredentials, Env, Instant};
use hedgerow_handshake::{
    CachedSession, ResumableSession, ServerResumption, SessionId, SessionSlot, SessionTable,
    TicketKeys,
};

/// Whether sessions are resumed (RFC 5077, RFC 5246 §7.3), and how many are kept for that.
///
/// A resumed session has no forward secrecy beyond that of the one before: whoever learns a ticket key,
/// or the memory of either end, within the time that is given here can read it (`docs/THREATS.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumption {
    /// How many sessions this end keeps as a client, one for each server; 0 takes no part.
    pub max_client_sessions: usize,
    /// How long clients can resume a session with this end after its full handshake, at most
    /// [`TicketKeys::MAX_LIFETIME`]; zero takes no part as a server.
    pub lifetime: Duration,
    /// Whether this end issues and takes tickets as a server.
    pub has_tickets: bool,
    /// How many sessions this end keeps as a server, for clients that take no ticket.
    pub max_server_sessions: usize,
}

impl Resumption {
    /// None, as either end.
    pub const OFF: Self = Self {
        max_client_sessions: 0,
        lifetime: Duration::ZERO,
        has_tickets: false,
        max_server_sessions: 0,
    };

    /// As either end: 1,000 sessions kept as a client, 256 as a server beside tickets, for 8 hours.
    pub const ON: Self = Self {
        max_client_sessions: 1_000,
        lifetime: TicketKeys::DEFAULT_LIFETIME,
        has_tickets: true,
        max_server_sessions: 256,
    };
}

impl Default for Resumption {
    /// [`Self::OFF`]: resumption trades forward secrecy for a cheaper handshake, which is for the
    /// application to choose.
    fn default() -> Self {
        Self::OFF
    }
}

/// What a server resumes sessions with: keys for tickets, and a table of those that have an ID.
pub struct ServerSessions {
    keys: TicketKeys,
    table: Option<SessionTable<Box<[SessionSlot]>>>,
    /// No session in the table is over before.
    first_end: Option<Instant>,
}

impl ServerSessions {
    /// Draws keys and makes room; `None` where a server takes no part.
    pub fn draw(resumption: &Resumption, env: &mut Env<'_>) -> Option<Self> {
        let has_table = resumption.max_server_sessions > 0;
        if resumption.lifetime.is_zero() || !(resumption.has_tickets || has_table) {
            return None;
        }
        let keys = TicketKeys::draw(resumption.lifetime, env);
        let slots = (0..resumption.max_server_sessions).map(|_| SessionSlot::default());
        Some(Self {
            keys: if resumption.has_tickets {
                keys
            } else {
                keys.without_tickets()
            },
            table: has_table.then(|| SessionTable::new(slots.collect())),
            first_end: None,
        })
    }

    /// Returns when [`Self::handle_timeout`] is due. It has to be called then also where no client comes:
    /// keys and sessions that outlive their time undo the forward secrecy of what is long over.
    pub fn poll_timeout(&self) -> Instant {
        let rotate_at = self.keys.poll_timeout();
        self.first_end.map_or(rotate_at, |end| end.min(rotate_at))
    }

    /// Forgets the ticket keys and the sessions whose time is over.
    pub fn handle_timeout(&mut self, env: &mut Env<'_>) {
        self.keys.rotate(env);
        if self.first_end.is_some_and(|end| env.now >= end)
            && let Some(table) = &mut self.table
        {
            table.remove_expired(env.now);
            self.first_end = table.poll_timeout();
        }
    }

    /// Returns how many sessions are kept under an ID.
    pub fn len(&self) -> usize {
        self.table.as_ref().map_or(0, SessionTable::len)
    }

    /// Says whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes what one handshake needs. `wanted` is the session ID of its ClientHello, if that has come.
    pub fn lease(&mut self, wanted: Option<&SessionId>, env: &mut Env<'_>) -> ServerResumption {
        let resumption = ServerResumption::new(self.keys.lease(env));
        if self.table.is_none() {
            return resumption;
        }
        let found = wanted.and_then(|wanted| self.find(wanted, env.now));
        resumption.with_session_ids(found)
    }

    /// Finds the session under an ID.
    pub fn find(&self, id: &SessionId, now: Instant) -> Option<CachedSession> {
        self.table.as_ref()?.find(id, now)
    }

    /// Forgets the session under an ID.
    pub fn forget(&mut self, id: &SessionId) {
        if let Some(table) = &mut self.table {
            table.remove(id);
        }
    }

    /// Keeps a session that has got an ID.
    pub fn keep(&mut self, session: CachedSession) {
        if let Some(table) = &mut self.table {
            self.first_end = earlier(self.first_end, session.expires_at());
            table.insert(session);
        }
    }
}

impl core::fmt::Debug for ServerSessions {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ServerSessions(..)")
    }
}

/// The sessions that a client can resume, by the server's address: one for each, and only for the
/// credentials that it was made with.
pub struct ClientSessions<A, K> {
    sessions: BTreeMap<A, Kept<K>>,
    max: usize,
    /// No session is over before.
    first_end: Option<Instant>,
}

struct Kept<K> {
    credentials: K,
    session: Box<ResumableSession>,
}

impl<A: Ord + Copy, K: ClientCredentials> ClientSessions<A, K> {
    /// Makes a table for so many; with 0, the client takes no part.
    pub const fn new(max: usize) -> Self {
        Self {
            sessions: BTreeMap::new(),
            max,
            first_end: None,
        }
    }

    /// Says whether the client takes part.
    pub const fn is_on(&self) -> bool {
        self.max > 0
    }

    /// Takes out what can be offered to the server at `address`; whoever has other credentials gets
    /// nothing. A handshake that fails never brings it back (RFC 5246 §7.2.2).
    pub fn take(&mut self, address: A, credentials: &K) -> Option<ResumableSession> {
        let is_same = self
            .sessions
            .get(&address)
            .is_some_and(|kept| kept.credentials.is_same(credentials));
        if !is_same {
            return None;
        }
        self.sessions.remove(&address).map(|kept| *kept.session)
    }

    /// Keeps a session, in a full table in the place of the one that ends first.
    pub fn keep(&mut self, address: A, credentials: K, session: ResumableSession) {
        if self.max == 0 {
            return;
        }
        if self.sessions.len() >= self.max && !self.sessions.contains_key(&address) {
            let first = self
                .sessions
                .iter()
                .min_by_key(|(_, kept)| kept.session.expires_at())
                .map(|(&address, _)| address);
            if let Some(first) = first {
                self.sessions.remove(&first);
            }
        }
        self.first_end = earlier(self.first_end, session.expires_at());
        let session = Box::new(session);
        let kept = Kept {
            credentials,
            session,
        };
        self.sessions.insert(address, kept);
    }

    /// Returns when [`Self::handle_timeout`] is due: `Some` from the first session that is kept until a
    /// call which leaves none.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.first_end
    }

    /// Forgets the sessions whose time is over at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.first_end.is_some_and(|end| now >= end) {
            let ends = |kept: &Kept<K>| kept.session.expires_at();
            self.sessions.retain(|_, kept| now < ends(kept));
            self.first_end = self.sessions.values().map(ends).min();
        }
    }

    /// Forgets the session with the server at `address`.
    pub fn forget(&mut self, address: &A) {
        self.sessions.remove(address);
    }

    /// Returns the length of each one's ticket, in bytes; 0 for those that the server keeps.
    pub fn tickets(&self) -> impl Iterator<Item = usize> {
        let kept = self.sessions.values();
        kept.map(|kept| kept.session.ticket().len())
    }

    /// Returns how many are kept.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Says whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }
}

impl<A, K> core::fmt::Debug for ClientSessions<A, K> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ClientSessions")
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}

fn earlier(known: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(known.map_or(other, |known| known.min(other)))
}
