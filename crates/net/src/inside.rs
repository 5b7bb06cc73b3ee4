//! Requests to an Internet end inside a node's own session with a gateway (mode `itls`, docs/specs/itls.md): the
//! device begins.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use hedgerow_core::ServerCredentials;
use hedgerow_endpoint::{AssociationId, Error};

use crate::clock::os_random;
use crate::credentials::SharedCredentials;
use crate::driver::Driver;
use crate::path::{Path, Remote};
use crate::requests::Way;
use crate::shared::QueuedRequest;
use crate::{Credentials, Handler, Node, RequestFailure, RequestMessage, ResponseMessage, Target};

/// Whom a device asks through a gateway that can't read it: an Internet end, which the gateway knows by a name.
#[derive(Clone, Debug)]
pub struct InnerTarget {
    /// The gateway, and what it is shown: a key of the hop, and no other.
    pub gateway: Target,
    /// What the gateway calls the Internet end: a user of its configuration. At most 63 bytes.
    pub name: String,
    /// What the Internet end is shown: an end-to-end key, which the gateway hasn't.
    pub credentials: Arc<Credentials>,
}

/// Whom a request is for that goes inside a session.
pub(crate) struct Inside {
    name: String,
    credentials: Arc<Credentials>,
}

/// Requests that go inside a session, until that is there.
#[derive(Default)]
pub(crate) struct InsideRequests {
    waiting: BTreeMap<AssociationId, Vec<QueuedRequest>>,
    ready: VecDeque<QueuedRequest>,
}

impl InsideRequests {
    /// Has a request wait for the session of an association. Each has a place among the node's requests.
    pub(crate) fn wait(&mut self, hop: AssociationId, queued: QueuedRequest) {
        self.waiting.entry(hop).or_default().push(queued);
    }

    /// Notes that an association has a session.
    pub(crate) fn release(&mut self, hop: AssociationId) {
        self.ready
            .extend(self.waiting.remove(&hop).unwrap_or_default());
    }

    /// Notes that an association is gone.
    pub(crate) fn end(&mut self, hop: AssociationId, failure: RequestFailure) {
        for queued in self.waiting.remove(&hop).unwrap_or_default() {
            queued.waiting.end(Err(failure));
        }
    }

    /// Returns the next request whose session is there.
    pub(crate) fn next_ready(&mut self) -> Option<QueuedRequest> {
        self.ready.pop_front()
    }
}

impl Node {
    /// Sends a request to an Internet end, inside the session with a gateway and inside another one that only the
    /// two ends have a key of, and waits for the whole response. Both sessions are begun if there are none, the
    /// inner one only where the node takes part in mode `itls` ([`Config::inner`](hedgerow_endpoint::Config::inner)).
    ///
    /// # Errors
    ///
    /// Those of [`Self::request`], and [`RequestFailure::Refused`] with
    /// [`Error::NoOuterSession`](hedgerow_endpoint::Error::NoOuterSession) for a node that takes no part, a gateway
    /// in clear, or one without the extended master secret. That the gateway doesn't let the device reach this end,
    /// or that it isn't there, is [`PeerFault::WayRefused`](hedgerow_core::PeerFault::WayRefused).
    pub async fn request_inside(
        &self,
        target: &InnerTarget,
        request: RequestMessage,
    ) -> Result<ResponseMessage, RequestFailure> {
        let inside = Inside {
            name: target.name.clone(),
            credentials: Arc::clone(&target.credentials),
        };
        let (remote, shown) = (
            Remote::to(target.gateway.address),
            target.gateway.credentials.clone(),
        );
        self.queue_request(remote, shown, Some(inside), request)
            .await
    }
}

impl<S, H> Driver<S, H>
where
    S: ServerCredentials + Clone,
    H: Handler,
{
    /// Returns the association inside the session of `hop`, begun now if there is none and as soon as there can be
    /// one.
    pub(crate) fn connect_inside(
        &mut self,
        hop: AssociationId,
        path: Path,
        inside: &Inside,
    ) -> Result<Way, Error> {
        if self.desk.peer(hop).is_none() {
            return Ok(Way::AfterHop(hop));
        }
        let credentials = SharedCredentials(Arc::clone(&inside.credentials));
        let name = inside.name.as_bytes();
        let mut rng = os_random();
        let mut env = self.clock.env(&mut rng);
        let association = self
            .endpoint
            .connect_inner(&mut env, path, name, &credentials)?;
        self.desk.add_inside(association, path);
        Ok(Way::Open(association))
    }

    /// Sends the requests whose session has come about; it says whether there were any.
    pub(crate) fn send_inside(&mut self) -> bool {
        let mut any = false;
        while let Some(queued) = self.desk.inside.next_ready() {
            self.request(queued);
            any = true;
        }
        any
    }
}
