//! Who waits for what: associations, and the requests under way on them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use hedgerow_core::{Peer, PeerId};
use hedgerow_endpoint::AssociationId;
use hedgerow_exchange::OutgoingRequest;
use hedgerow_record::CipherSuite;

use crate::hop_queue::HopReporter;
use crate::hops::Hops;
use crate::inside::InsideRequests;
use crate::legs::Streams;
use crate::path::{Path, Remote};
use crate::shared::{RequestKey, Waiting};
use crate::{InnerSession, RequestFailure, Requester};

/// The node's own tables. They follow the endpoint's by its events.
#[derive(Default)]
pub(crate) struct Desk {
    associations: BTreeMap<AssociationId, Known>,
    paths: BTreeMap<Path, AssociationId>,
    pub(crate) streams: Streams,
    pub(crate) hops: Hops,
    /// Sessions that there have been.
    sessions: u64,
    pub(crate) inside: InsideRequests,
    /// Where the gateway is that a link leads to.
    pub(crate) gateway: Option<SocketAddr>,
    under_way: BTreeMap<RequestKey, (AssociationId, OutgoingRequest)>,
}

/// An association.
struct Known {
    path: Path,
    /// Whether this end began it.
    is_own: bool,
    /// The suite of its session and who is there, once there is one.
    session: Option<(CipherSuite, Peer)>,
    /// How many sessions there had been when it began.
    begun: u64,
    /// What is known of its inner session, if it has one.
    inner: Option<InnerSession>,
    requests: BTreeMap<OutgoingRequest, Waiting>,
}

/// An association that is there already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) association: AssociationId,
    pub(crate) path: Path,
    /// Whether this end began it.
    pub(crate) is_own: bool,
    /// Whether no request of this end is under way.
    pub(crate) is_idle: bool,
}

impl Desk {
    /// Returns the path of a datagram. What comes from a peer that this end called belongs to the
    /// association with it, whichever address of this end the system had chosen.
    pub(crate) fn path(&self, remote: Remote, local: Option<IpAddr>) -> Path {
        let called = Path {
            remote,
            local: None,
        };
        if self.paths.contains_key(&called) {
            return called;
        }
        Path { remote, local }
    }

    /// Finds an association with a peer, on whatever path.
    pub(crate) fn find(&self, remote: Remote) -> Option<Found> {
        let lowest = Path {
            remote,
            local: None,
        };
        let (path, association) = self.paths.range(lowest..).next()?;
        let known = self.associations.get(association)?;
        (path.remote == remote).then_some(Found {
            association: *association,
            path: *path,
            is_own: known.is_own,
            is_idle: known.requests.is_empty(),
        })
    }

    /// Notes an association that this end began, unless it is known.
    pub(crate) fn add_own(&mut self, association: AssociationId, path: Path) {
        self.entry(association, path, true);
    }

    /// Notes an association that this end began inside the session at `path`, unless it is known.
    pub(crate) fn add_inside(&mut self, association: AssociationId, path: Path) {
        self.enter(association, path, true);
    }

    /// Notes that an association is established.
    pub(crate) fn establish(
        &mut self,
        association: AssociationId,
        path: Path,
        session: (CipherSuite, Peer),
    ) {
        self.relocate(association, path);
        self.sessions = self.sessions.saturating_add(1);
        let begun = self.sessions;
        let known = self.entry(association, path, false);
        known.session = Some(session);
        known.begun = begun;
        self.hops.begin(association, session.1, path.remote);
        self.inside.release(association);
    }

    /// Notes that an association inside an outer session is established. Its path is the outer session's.
    pub(crate) fn establish_inner(
        &mut self,
        association: AssociationId,
        path: Path,
        session: InnerSession,
    ) {
        self.enter(association, path, false).inner = Some(session);
    }

    /// Notes an association that the peer began in clear, or inside an outer session, unless it is known; it says
    /// whether it was new.
    pub(crate) fn meet(&mut self, association: AssociationId, path: Path, peer: Peer) -> bool {
        let is_new = !self.associations.contains_key(&association);
        if is_new && peer == Peer::Anonymous {
            self.entry(association, path, false);
        } else if is_new {
            self.enter(association, path, false);
        }
        is_new
    }

    /// Notes that the peer of an association has moved.
    pub(crate) fn relocate(&mut self, association: AssociationId, path: Path) {
        let Some(known) = self.associations.get_mut(&association) else {
            return;
        };
        let before = std::mem::replace(&mut known.path, path);
        if self.paths.get(&before) == Some(&association) {
            self.paths.remove(&before);
        }
        // What this end called is found by its path alone.
        let occupant = self.paths.get(&path);
        let occupant = occupant.and_then(|other| self.associations.get(other));
        if occupant.is_none_or(|other| !other.is_own) {
            self.paths.insert(path, association);
        }
    }

    fn entry(&mut self, association: AssociationId, path: Path, is_own: bool) -> &mut Known {
        self.paths.insert(path, association);
        self.enter(association, path, is_own)
    }

    /// As [`Self::entry`], and leaves the path to whose it is.
    fn enter(&mut self, association: AssociationId, path: Path, is_own: bool) -> &mut Known {
        self.associations
            .entry(association)
            .or_insert_with(|| Known {
                path,
                is_own,
                session: None,
                begun: 0,
                inner: None,
                requests: BTreeMap::new(),
            })
    }

    /// Forgets an association and ends its requests and streams.
    pub(crate) fn remove(&mut self, association: AssociationId, failure: RequestFailure) {
        self.streams.end_association(association, failure);
        let known = self.associations.remove(&association);
        self.hops.end_association(association);
        self.inside.end(association, failure);
        let Some(known) = known else {
            return;
        };
        // Another identity may have come to the same path before the end of the old one is told.
        if self.paths.get(&known.path) == Some(&association) {
            self.paths.remove(&known.path);
        }
        for waiting in known.requests.into_values() {
            self.under_way.remove(&waiting.key);
            waiting.end(Err(failure));
        }
    }

    /// Says whether an association is known that has never been established.
    pub(crate) fn is_under_way(&self, association: AssociationId) -> bool {
        self.associations
            .get(&association)
            .is_some_and(|known| known.session.is_none() && known.inner.is_none())
    }

    /// Returns what is known of the inner session of the association that this end began with a peer.
    pub(crate) fn inner_session(&self, remote: Remote) -> Option<InnerSession> {
        let found = self.find(remote)?;
        self.associations.get(&found.association)?.inner
    }

    /// Returns the suite of the session with a peer and who it is, if there is one.
    pub(crate) fn session(&self, remote: Remote) -> Option<(CipherSuite, Peer)> {
        let found = self.find(remote)?;
        self.associations.get(&found.association)?.session
    }

    /// Tells somebody of all sessions, now and from now on.
    pub(crate) fn report_hops(&mut self, reporter: HopReporter) {
        let known = self.associations.iter();
        let sessions = known.filter_map(|(association, known)| {
            let (_, peer) = known.session?;
            Some((*association, peer, known.path.remote))
        });
        self.hops.report_to(reporter, sessions);
    }

    /// Returns who has proved to be the peer of an association.
    pub(crate) fn peer(&self, association: AssociationId) -> Option<Peer> {
        let (_, peer) = self.associations.get(&association)?.session?;
        Some(peer)
    }

    /// Finds the newest session that a peer has begun which is known by a key of its own.
    pub(crate) fn newest_session_of_caller(&self, peer: PeerId) -> Option<AssociationId> {
        let known = self.associations.iter();
        let of_caller = known.filter(|(_, known)| {
            let is_it = matches!(
                known.session,
                Some((_, Peer::Psk(id) | Peer::RawPublicKey(id) | Peer::Certificate(id))) if id == peer
            );
            is_it && !known.is_own
        });
        let newest = of_caller.max_by_key(|(_, known)| known.begun);
        newest.map(|(association, _)| *association)
    }

    /// Says in which role the peer of an association asks.
    pub(crate) fn requester(&self, association: AssociationId, peer: Peer) -> Option<Requester> {
        let known = self.associations.get(&association)?;
        Some(match known.is_own {
            true => Requester::Server(peer),
            false => Requester::Client(peer),
        })
    }

    pub(crate) fn associations(&self) -> Vec<AssociationId> {
        self.associations.keys().copied().collect()
    }

    /// Returns where the peer of an association is.
    pub(crate) fn remote(&self, association: AssociationId) -> Option<Remote> {
        let known = self.associations.get(&association)?;
        Some(known.path.remote)
    }

    /// Notes who waits for the response to a request.
    pub(crate) fn wait(
        &mut self,
        association: AssociationId,
        request: OutgoingRequest,
        waiting: Waiting,
    ) {
        if let Some(known) = self.associations.get_mut(&association) {
            self.under_way.insert(waiting.key, (association, request));
            known.requests.insert(request, waiting);
        }
    }

    /// Takes out who waits for the response to a request.
    pub(crate) fn take(
        &mut self,
        association: AssociationId,
        request: OutgoingRequest,
    ) -> Option<Waiting> {
        let known = self.associations.get_mut(&association)?;
        let waiting = known.requests.remove(&request)?;
        self.under_way.remove(&waiting.key);
        Some(waiting)
    }

    /// Forgets a request that nobody waits for, and returns its names.
    pub(crate) fn abandon(&mut self, key: RequestKey) -> Option<(AssociationId, OutgoingRequest)> {
        let (association, request) = self.under_way.get(&key).copied()?;
        self.take(association, request)?;
        Some((association, request))
    }
}
