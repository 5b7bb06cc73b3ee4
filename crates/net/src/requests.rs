//! What the handles of a node ask for, and what its handlers answer.

use std::sync::Arc;

use hedgerow_coap::Code;
use hedgerow_core::ServerCredentials;
use hedgerow_endpoint::{AssociationId, Error};
use hedgerow_exchange::{OutgoingRequest, Request, Response};
use tracing::debug;

use crate::clock::os_random;
use crate::credentials::SharedCredentials;
use crate::driver::Driver;
use crate::handlers::Asked;
use crate::message::borrowed;
use crate::mode_label::{DTLS, intended};
use crate::path::{Path, Remote};
use crate::shared::QueuedRequest;
use crate::statistics::count;
use crate::{Credentials, Handler, RequestFailure, RequestMessage, ResponseMessage};

/// By which association a request goes.
pub(crate) enum Way {
    Open(AssociationId),
    /// One inside this one's session, once that is there.
    AfterHop(AssociationId),
}

impl<S, H> Driver<S, H>
where
    S: ServerCredentials + Clone,
    H: Handler,
{
    /// Sends a request, unless nobody waits for it any more.
    pub(crate) fn request(&mut self, queued: QueuedRequest) {
        if queued.waiting.answer.is_closed() {
            return;
        }
        let sent = self.way(&queued).and_then(|way| match way {
            Way::Open(association) => {
                let request = self.submit(association, &queued.message)?;
                Ok((association, Some(request)))
            }
            Way::AfterHop(hop) => Ok((hop, None)),
        });
        match sent {
            Ok((association, Some(request))) => {
                self.desk.wait(association, request, queued.waiting);
            }
            Ok((hop, None)) => self.desk.inside.wait(hop, queued),
            Err(failure) => queued.waiting.end(Err(failure)),
        }
    }

    fn way(&mut self, queued: &QueuedRequest) -> Result<Way, RequestFailure> {
        self.carrier.check(queued.remote)?;
        let path = Path::to(queued.remote);
        if queued.inside.is_some() && queued.credentials.is_none() {
            return Err(Error::NoOuterSession.into());
        }
        let association = self.connect(path, queued.credentials.as_ref())?;
        match &queued.inside {
            Some(inside) => Ok(self.connect_inside(association, path, inside)?),
            None => Ok(Way::Open(association)),
        }
    }

    fn submit(
        &mut self,
        association: AssociationId,
        message: &RequestMessage,
    ) -> Result<OutgoingRequest, RequestFailure> {
        let options = borrowed(&message.options);
        let mut request = Request::new(message.method)
            .options(&options)
            .payload(&message.payload);
        if !message.is_confirmable {
            request = request.non_confirmable();
        }
        if !message.answers_challenges {
            request = request.hand_out_challenges();
        }
        let mut rng = os_random();
        let mut env = self.clock.env(&mut rng);
        Ok(self.endpoint.request(&mut env, association, &request)?)
    }

    /// Returns the association with a server, begun now if there is none.
    pub(crate) fn connect(
        &mut self,
        path: Path,
        credentials: Option<&Arc<Credentials>>,
    ) -> Result<AssociationId, Error> {
        let found = self.desk.find(path.remote);
        if found.is_some_and(|found| found.path != path) {
            // The peer called this end, and its datagrams belong to that association.
            return Err(Error::AddressInUse);
        }
        let credentials = credentials.map(|credentials| SharedCredentials(Arc::clone(credentials)));
        let mut rng = os_random();
        let mut env = self.clock.env(&mut rng);
        let mut connected = self.endpoint.connect(&mut env, path, credentials.as_ref());
        if let (Err(Error::AddressInUse), Some(found)) = (connected, found)
            && found.is_own
            && found.is_idle
        {
            // Other credentials than before: nothing is under way with the old ones, so they make
            // room.
            self.endpoint.close(&mut env, found.association)?;
            self.desk.remove(found.association, RequestFailure::Closed);
            connected = self.endpoint.connect(&mut env, path, credentials.as_ref());
        }
        let association = connected?;
        if found.is_none_or(|found| found.association != association) {
            match &credentials {
                Some(credentials) => debug!(
                    remote = %path.remote,
                    psk_identity = credentials.0.psk_identity().map(|id| display(id.escape_ascii())),
                    mode = intended(DTLS, &credentials.0),
                    "association begun"
                ),
                None => debug!(remote = %path.remote, mode = "nosec", "association begun"),
            }
        }
        self.desk.add_own(association, path);
        Ok(association)
    }

    /// Closes the association with a server; it says whether there was one.
    pub(crate) fn disconnect(&mut self, remote: Remote) -> bool {
        let found = self.desk.find(remote);
        let Some(found) = found.filter(|found| found.is_own) else {
            return false;
        };
        self.close(found.association);
        self.desk.remove(found.association, RequestFailure::Closed);
        true
    }

    /// Gives up the requests that nobody waits for any more.
    pub(crate) fn cancel_abandoned(&mut self) {
        for key in self.shared.signals.take_abandoned() {
            // One that isn't there has ended, or is still queued and is dropped there.
            let Some((association, request)) = self.desk.abandon(key) else {
                continue;
            };
            let mut rng = os_random();
            let mut env = self.clock.env(&mut rng);
            // It may have ended between the two, and then nothing is left to cancel.
            let _ = self.endpoint.cancel(&mut env, association, request);
        }
    }

    /// Sends a handler's response; 5.00 in place of one that can't be sent.
    pub(crate) fn respond(&mut self, asked: Asked, response: &ResponseMessage) {
        match self.try_respond(asked, response) {
            Ok(()) => {}
            Err(error @ Error::Exchange(hedgerow_exchange::Error::UnknownHandle))
            | Err(error @ Error::UnknownAssociation) => {
                debug!(%error, "response came too late");
            }
            Err(error) => {
                debug!(%error, ?response, "response can't be sent");
                let substitute = ResponseMessage::new(Code::INTERNAL_SERVER_ERROR);
                if let Err(error) = self.try_respond(asked, &substitute) {
                    debug!(%error, "request stays without a response");
                }
            }
        }
    }

    /// Answers a request for which no handler may start.
    pub(crate) fn refuse(&mut self, asked: Asked) {
        count(&self.shared.counters.refused_requests);
        self.respond(asked, &ResponseMessage::new(Code::SERVICE_UNAVAILABLE));
    }

    fn try_respond(&mut self, asked: Asked, response: &ResponseMessage) -> Result<(), Error> {
        let options = borrowed(&response.options);
        let message = Response::new(response.code)
            .options(&options)
            .payload(&response.payload);
        let mut rng = os_random();
        let mut env = self.clock.env(&mut rng);
        self.endpoint
            .respond(&mut env, asked.association, asked.request, &message)
    }
}
