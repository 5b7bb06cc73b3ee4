//! Sessions that a server keeps to be resumed by their ID (RFC 5246 §7.3).

use core::fmt;

use hedgerow_core::Instant;

use crate::session_state::{SessionId, SessionState};

/// Sessions under their IDs, as many as `S` has places.
///
/// It is a cache: where there is no place, the session that ends first makes room, and its client
/// does a full handshake. `S` is a slice of the caller's, an array or a box.
pub struct SessionTable<S> {
    slots: S,
}

/// A place for one session.
#[derive(Default)]
pub struct SessionSlot(Option<CachedSession>);

/// A session and the ID under which its client asks for it.
pub struct CachedSession {
    pub(crate) id: SessionId,
    pub(crate) state: SessionState,
}

impl CachedSession {
    /// Puts both together, where there is a session and an ID that it has.
    pub(crate) fn of(id: SessionId, state: Option<SessionState>) -> Option<Self> {
        let state = state.filter(|_| !id.is_empty())?;
        Some(Self { id, state })
    }

    /// Returns the session's ID.
    pub const fn id(&self) -> &SessionId {
        &self.id
    }

    /// Returns when the session can no longer be resumed.
    pub const fn expires_at(&self) -> Instant {
        self.state.expires_at()
    }
}

impl<S: AsRef<[SessionSlot]> + AsMut<[SessionSlot]>> SessionTable<S> {
    /// Makes a table of the places given, which are emptied.
    pub fn new(mut slots: S) -> Self {
        for slot in slots.as_mut() {
            slot.0 = None;
        }
        Self { slots }
    }

    /// Keeps a session, in the place of one that is over, or else of the one that ends first.
    pub fn insert(&mut self, session: CachedSession) {
        self.remove(&session.id);
        let slots = self.slots.as_mut().iter_mut();
        let place = slots.min_by_key(|slot| slot.0.as_ref().map(|kept| kept.state.expires_at()));
        if let Some(place) = place {
            place.0 = Some(session);
        }
    }

    /// Finds the session under an ID, if its time isn't over.
    pub fn find(&self, id: &SessionId, now: Instant) -> Option<CachedSession> {
        self.kept()
            .find(|kept| kept.id == *id && !kept.state.is_expired(now))
            .map(|kept| CachedSession {
                id: kept.id,
                state: kept.state.copied(),
            })
    }

    /// Forgets the session under an ID.
    pub fn remove(&mut self, id: &SessionId) {
        self.forget_if(|kept| kept.id == *id);
    }

    /// Forgets the sessions whose time is over.
    pub fn remove_expired(&mut self, now: Instant) {
        self.forget_if(|kept| kept.state.is_expired(now));
    }

    /// Returns when [`Self::remove_expired`] has something to do, if ever.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.kept().map(CachedSession::expires_at).min()
    }

    /// Returns how many sessions are kept.
    pub fn len(&self) -> usize {
        self.kept().count()
    }

    /// Says whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn kept(&self) -> impl Iterator<Item = &CachedSession> {
        self.slots
            .as_ref()
            .iter()
            .filter_map(|slot| slot.0.as_ref())
    }

    fn forget_if(&mut self, is_over: impl Fn(&CachedSession) -> bool) {
        for slot in self.slots.as_mut() {
            if slot.0.as_ref().is_some_and(&is_over) {
                slot.0 = None;
            }
        }
    }
}

impl<S> fmt::Debug for SessionTable<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionTable(..)")
    }
}

impl fmt::Debug for CachedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedSession")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SessionSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSlot(..)")
    }
}
