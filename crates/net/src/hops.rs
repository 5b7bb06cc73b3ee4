//! The hops of a gateway in mode `itls` (docs/specs/itls.md): sessions with devices, whose messages go on elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use hedgerow_core::{DropReason, Peer, ServerCredentials};
use hedgerow_endpoint::{AssociationId, Error};
use tracing::debug;

use crate::clock::os_random;
use crate::driver::Driver;
use crate::hop_queue::{HopListener, HopReporter, hop_queue};
use crate::path::{Path, Remote};
use crate::shared::Command;
use crate::{Credentials, Handler, Node, RequestFailure, Target};

/// A session of a node with one peer. A new handshake makes another one of it, also where the association
/// goes on. Never given twice by one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HopId(u64);

#[cfg(test)]
impl HopId {
    pub(crate) const fn new(number: u64) -> Self {
        Self(number)
    }
}

/// What happens to the sessions of a node that forwards messages.
#[derive(Debug, PartialEq, Eq)]
pub enum HopEvent {
    /// There is a session.
    Established {
        /// Which one.
        hop: HopId,
        /// Who its peer is.
        peer: Peer,
        /// Where it is.
        remote: SocketAddr,
    },
    /// A session is over, for whatever reason.
    Ended {
        /// Which one.
        hop: HopId,
    },
    /// No session came about that [`Node::begin_hop`] was to begin.
    Failed {
        /// The address.
        remote: SocketAddr,
    },
    /// A message of mode `itls`, routing header first.
    Message {
        /// The session that it came in.
        hop: HopId,
        /// The whole message.
        message: Vec<u8>,
        /// Whether it came beside the session's records, in a datagram of its light outer layer.
        is_light: bool,
    },
    /// A message fitted no record or no datagram of the path.
    TooLong {
        /// The session that it was for.
        hop: HopId,
        /// What [`Node::forward`] was told of it.
        flow: u16,
        /// The same.
        len: usize,
    },
}

impl HopEvent {
    /// Returns the session that it is about, if it is about one.
    pub(crate) const fn hop(&self) -> Option<HopId> {
        match self {
            Self::Established { hop, .. }
            | Self::Ended { hop }
            | Self::Message { hop, .. }
            | Self::TooLong { hop, .. } => Some(*hop),
            Self::Failed { .. } => None,
        }
    }
}

/// The events of a node's hops; see [`Node::hop_events`].
pub struct HopEvents(HopListener);

impl HopEvents {
    /// Waits for the next event; `None` once the node is closed. Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<HopEvent> {
        self.0.next().await
    }
}

impl fmt::Debug for HopEvents {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HopEvents(..)")
    }
}

/// A message for a hop.
pub(crate) struct QueuedMessage {
    hop: HopId,
    flow: u16,
    len: usize,
    message: Vec<u8>,
    lightly: bool,
}

/// The hops of a node, if somebody wants to know of them.
#[derive(Default)]
pub(crate) struct Hops {
    reporter: Option<HopReporter>,
    by_association: BTreeMap<AssociationId, (HopId, Peer)>,
    by_hop: BTreeMap<HopId, AssociationId>,
    /// What [`Node::begin_hop`] has begun and what came of it is to be told: not of what was begun for a
    /// request, or without security.
    awaited: BTreeMap<AssociationId, SocketAddr>,
    last: u64,
}

impl Hops {
    /// Tells somebody of them from now on: of the sessions that there are first, which `sessions` lists.
    pub(crate) fn report_to(
        &mut self,
        reporter: HopReporter,
        sessions: impl Iterator<Item = (AssociationId, Peer, Remote)>,
    ) {
        // Whoever listened before knows no more of them, and whoever does now knew none.
        self.by_association.clear();
        self.by_hop.clear();
        self.reporter = Some(reporter);
        for (association, peer, remote) in sessions {
            self.begin(association, peer, remote);
        }
    }

    /// Notes a session, in the place of the one before.
    pub(crate) fn begin(&mut self, association: AssociationId, peer: Peer, remote: Remote) {
        self.awaited.remove(&association);
        self.end(association);
        let (Some(remote), Some(reporter)) = (remote.address(), &self.reporter) else {
            return;
        };
        self.last = self.last.saturating_add(1);
        let hop = HopId(self.last);
        self.by_association.insert(association, (hop, peer));
        self.by_hop.insert(hop, association);
        reporter.tell(HopEvent::Established { hop, peer, remote });
    }

    fn end(&mut self, association: AssociationId) {
        let Some((hop, _)) = self.by_association.remove(&association) else {
            return;
        };
        self.by_hop.remove(&hop);
        if let Some(reporter) = &self.reporter {
            reporter.end(hop);
        }
    }

    /// Notes that an association is gone.
    pub(crate) fn end_association(&mut self, association: AssociationId) {
        self.end(association);
        if let Some(remote) = self.awaited.remove(&association) {
            self.fail(remote);
        }
    }

    fn fail(&self, remote: SocketAddr) {
        if let Some(reporter) = &self.reporter {
            reporter.tell(HopEvent::Failed { remote });
        }
    }

    /// Hands a message out that came in a session, and says why one was dropped if one was.
    pub(crate) fn receive(
        &self,
        association: AssociationId,
        message: &[u8],
        is_light: bool,
    ) -> Option<DropReason> {
        self.tell_of(association, |hop| HopEvent::Message {
            hop,
            message: message.to_vec(),
            is_light,
        })
    }

    fn tell_of(
        &self,
        association: AssociationId,
        event: impl FnOnce(HopId) -> HopEvent,
    ) -> Option<DropReason> {
        let known = self.by_association.get(&association);
        match (known, &self.reporter) {
            (Some(&(hop, peer)), Some(reporter)) => reporter.message(peer, event(hop)),
            _ => Some(DropReason::NotAcceptable),
        }
    }
}

impl Node {
    /// Returns what happens to the node's sessions from now on, those that there are first. It is for a
    /// gateway whose endpoint [forwards](hedgerow_endpoint::Config::forwards), and whoever asks later takes
    /// it over. Messages that nobody fetches are dropped beyond 1,024, of the peer that has most of them.
    ///
    /// # Errors
    ///
    /// [`RequestFailure::NodeStopped`], or [`RequestFailure::TooManyRequests`] if the node's queue is full.
    pub fn hop_events(&self) -> Result<HopEvents, RequestFailure> {
        let (reporter, listener) = hop_queue();
        self.try_command(Command::HopEvents(reporter))?;
        Ok(HopEvents(listener))
    }

    /// Begins a session with a device unless there is one. [`HopEvent::Established`] or [`HopEvent::Failed`]
    /// follows if there was none.
    ///
    /// # Errors
    ///
    /// [`RequestFailure::NodeStopped`], or [`RequestFailure::TooManyRequests`] if the node's queue is full.
    pub fn begin_hop(&self, target: &Target) -> Result<(), RequestFailure> {
        self.try_command(Command::BeginHop {
            remote: Remote::to(target.address),
            credentials: target.credentials.clone(),
        })
    }

    /// Sends a message of mode `itls` in one record of a session; it is lost, as a datagram may be, if that
    /// is over or the node's queue is full. `place`, its flow and length, comes back with [`HopEvent::TooLong`].
    ///
    /// # Errors
    ///
    /// As for [`Self::begin_hop`].
    pub fn forward(
        &self,
        hop: HopId,
        place: (u16, usize),
        message: Vec<u8>,
    ) -> Result<(), RequestFailure> {
        self.forward_as(hop, place, message, false)
    }

    /// As [`Self::forward`], in a datagram of the session's light outer layer where that can be
    /// ([`hedgerow_endpoint::Config::light_layer`]). It is for flows on which both sides have agreed to it.
    ///
    /// # Errors
    ///
    /// As for [`Self::begin_hop`].
    pub fn forward_lightly(
        &self,
        hop: HopId,
        place: (u16, usize),
        message: Vec<u8>,
    ) -> Result<(), RequestFailure> {
        self.forward_as(hop, place, message, true)
    }

    fn forward_as(
        &self,
        hop: HopId,
        (flow, len): (u16, usize),
        message: Vec<u8>,
        lightly: bool,
    ) -> Result<(), RequestFailure> {
        self.try_command(Command::Forward(QueuedMessage {
            hop,
            flow,
            len,
            message,
            lightly,
        }))
    }
}

impl<S, H> Driver<S, H>
where
    S: ServerCredentials + Clone,
    H: Handler,
{
    /// Begins a session for the hop to a device.
    pub(crate) fn begin_hop(&mut self, remote: Remote, credentials: Option<&Arc<Credentials>>) {
        let connected = self.connect(Path::to(remote), credentials);
        let Some(address) = remote.address() else {
            return;
        };
        match connected {
            Ok(association) => {
                if self.desk.peer(association).is_none() {
                    self.desk.hops.awaited.insert(association, address);
                }
            }
            Err(error) => {
                debug!(%remote, %error, "no hop");
                self.desk.hops.fail(address);
            }
        }
    }

    /// Sends a message in a hop's session.
    pub(crate) async fn forward(&mut self, queued: QueuedMessage) {
        let QueuedMessage {
            hop,
            flow,
            len,
            message,
            lightly,
        } = queued;
        let Some(&association) = self.desk.hops.by_hop.get(&hop) else {
            return;
        };
        let sealed = {
            let mut rng = os_random();
            let mut env = self.clock.env(&mut rng);
            let (endpoint, out) = (&mut self.endpoint, &mut self.out);
            match lightly {
                true => endpoint.seal_lightly(&mut env, association, &message, out),
                false => endpoint.seal_forwarded(&mut env, association, &message, out),
            }
        };
        let too_long = match sealed {
            Ok((path, sealed_len)) => {
                let is_too_long = self.send_out(&path, sealed_len).await;
                if is_too_long {
                    // MUST (RFC 6347 §4.1.1.1): who sees that a datagram is too long for the path tells the
                    // layers above.
                    self.endpoint.datagram_refused(path, sealed_len);
                }
                is_too_long
            }
            Err(Error::MessageTooLong { .. }) => true,
            Err(error) => {
                debug!(%error, "message not sent");
                false
            }
        };
        if too_long {
            let told = |hop| HopEvent::TooLong { hop, flow, len };
            if let Some(reason) = self.desk.hops.tell_of(association, told) {
                self.shared.counters.count_drop(reason);
            }
        }
    }
}
