//! The hops of a gateway in mode `itls` (docs/specs/itls.md): sessions with devices, whose messages go on elsewhere.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hedgerow_core::{Peer, ServerCredentials};
use hedgerow_endpoint::{AssociationId, Error};
use tokio::sync::mpsc;
use tracing::debug;

use crate::clock::os_random;
use crate::driver::Driver;
use crate::path::{Path, Remote};
use crate::shared::Command;
use crate::{Credentials, Handler, Node, RequestFailure, Target};

/// A session of a node with one peer. A new handshake makes another one of it, also where the association
/// goes on. Never given twice by one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HopId(u64);

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
    /// No session with an address came about.
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

/// The events of a node's hops; see [`Node::hop_events`].
#[derive(Debug)]
pub struct HopEvents {
    events: mpsc::UnboundedReceiver<HopEvent>,
    waiting: Arc<AtomicUsize>,
}

impl HopEvents {
    /// Waits for the next event; `None` once the node is closed.
    pub async fn next(&mut self) -> Option<HopEvent> {
        let event = self.events.recv().await?;
        if is_bounded(&event) {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        Some(event)
    }
}

/// Says whether there can be any number of an event, so that too many are dropped as datagrams are. Of the
/// others there are two for each handshake.
const fn is_bounded(event: &HopEvent) -> bool {
    matches!(event, HopEvent::Message { .. } | HopEvent::TooLong { .. })
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
    events: Option<mpsc::UnboundedSender<HopEvent>>,
    waiting: Arc<AtomicUsize>,
    by_association: BTreeMap<AssociationId, HopId>,
    by_hop: BTreeMap<HopId, AssociationId>,
    last: u64,
}

impl Hops {
    /// Tells somebody of them from now on: of the sessions that there are first, which `sessions` lists.
    pub(crate) fn report_to(
        &mut self,
        events: mpsc::UnboundedSender<HopEvent>,
        waiting: Arc<AtomicUsize>,
        sessions: impl Iterator<Item = (AssociationId, Peer, Remote)>,
    ) {
        self.events = Some(events);
        self.waiting = waiting;
        for (association, peer, remote) in sessions {
            self.begin(association, peer, remote);
        }
    }

    /// Notes a session, in the place of the one before.
    pub(crate) fn begin(&mut self, association: AssociationId, peer: Peer, remote: Remote) {
        self.end(association);
        let Some(remote) = remote.address().filter(|_| self.events.is_some()) else {
            return;
        };
        self.last = self.last.saturating_add(1);
        let hop = HopId(self.last);
        self.by_association.insert(association, hop);
        self.by_hop.insert(hop, association);
        self.tell(HopEvent::Established { hop, peer, remote });
    }

    fn end(&mut self, association: AssociationId) -> bool {
        let Some(hop) = self.by_association.remove(&association) else {
            return false;
        };
        self.by_hop.remove(&hop);
        self.tell(HopEvent::Ended { hop });
        true
    }

    /// Notes that an association is gone.
    pub(crate) fn end_association(&mut self, association: AssociationId, remote: Option<Remote>) {
        if !self.end(association)
            && let Some(remote) = remote.and_then(Remote::address)
        {
            self.tell(HopEvent::Failed { remote });
        }
    }

    /// Hands a message out that came in a session.
    pub(crate) fn receive(&self, association: AssociationId, message: &[u8], is_light: bool) {
        if let Some(&hop) = self.by_association.get(&association) {
            let message = message.to_vec();
            self.tell(HopEvent::Message {
                hop,
                message,
                is_light,
            });
        }
    }

    fn tell(&self, event: HopEvent) {
        let Some(events) = &self.events else {
            return;
        };
        if is_bounded(&event) {
            if self.waiting.load(Ordering::Relaxed) >= MAX_WAITING {
                debug!("message of a hop dropped: too many wait");
                return;
            }
            self.waiting.fetch_add(1, Ordering::Relaxed);
        }
        // Whoever doesn't listen any more needs no word.
        let _ = events.send(event);
    }
}

impl Node {
    /// Returns what happens to the node's sessions from now on, those that there are first. It is for a
    /// gateway whose endpoint [forwards](hedgerow_endpoint::Config::forwards), and whoever asks later takes
    /// it over. Messages that nobody fetches are dropped beyond 1,024.
    ///
    /// # Errors
    ///
    /// [`RequestFailure::NodeStopped`], or [`RequestFailure::TooManyRequests`] if the node's queue is full.
    pub fn hop_events(&self) -> Result<HopEvents, RequestFailure> {
        let (sender, events) = mpsc::unbounded_channel();
        let waiting = Arc::default();
        let command = Command::HopEvents {
            events: sender,
            waiting: Arc::clone(&waiting),
        };
        self.try_command(command)?;
        Ok(HopEvents { events, waiting })
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
    /// is over or the node's queue is full. `flow` and `len` come back with [`HopEvent::TooLong`].
    ///
    /// # Errors
    ///
    /// As for [`Self::begin_hop`].
    pub fn forward(
        &self,
        hop: HopId,
        (flow, len): (u16, usize),
        message: Vec<u8>,
    ) -> Result<(), RequestFailure> {
        self.try_command(Command::Forward(QueuedMessage {
            hop,
            flow,
            len,
            message,
            lightly: false,
        }))
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
        (flow, len): (u16, usize),
        message: Vec<u8>,
    ) -> Result<(), RequestFailure> {
        self.try_command(Command::Forward(QueuedMessage {
            hop,
            flow,
            len,
            message,
            lightly: true,
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
        if let Err(error) = self.connect(Path::to(remote), credentials) {
            debug!(%remote, %error, "no hop");
            if let Some(remote) = remote.address() {
                self.desk.hops.tell(HopEvent::Failed { remote });
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
            self.desk.hops.tell(HopEvent::TooLong { hop, flow, len });
        }
    }
}

/// Messages that wait to be fetched.
const MAX_WAITING: usize = 1_024;
