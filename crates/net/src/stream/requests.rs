//! What a connection's users ask for, and what its handlers answer.

use std::sync::Arc;

use hedgerow_coap::Code;
use hedgerow_core::ServerCredentials;
use hedgerow_endpoint::Error;
use hedgerow_exchange::{
    CloseReason, IncomingRequest, OutgoingRequest, Request, RequestError, Response,
};
use tracing::debug;

use crate::clock::os_random;
use crate::message::borrowed;
use crate::shared::Waiting;
use crate::statistics::count;
use crate::stream::connection::Connection;
use crate::{Handler, RequestFailure, RequestMessage, ResponseMessage};

/// A request on its way to a connection's task. The message is shared with who asks, who may ask
/// again over another connection.
pub(crate) struct Queued {
    pub(crate) message: Arc<RequestMessage>,
    pub(crate) waiting: Waiting,
}

/// Says whether a connection ended without a fault of either end in CoAP.
const fn is_orderly(reason: CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::Released | CloseReason::ReleasedByPeer | CloseReason::TransportClosed
    )
}

/// Says that no byte of a request was sent, because the connection ended in order before.
pub(crate) const NOT_SENT: RequestFailure =
    RequestFailure::Exchange(RequestError::ConnectionReleased);

impl<S, H> Connection<S, H>
where
    S: ServerCredentials,
    H: Handler,
{
    /// Sends a request, unless nobody waits for it any more.
    pub(super) fn request(&mut self, queued: Queued) {
        let Queued { message, waiting } = queued;
        if waiting.answer.is_closed() {
            return;
        }
        if self.parts.link.signals.is_stopping() {
            return waiting.end(Err(RequestFailure::NodeStopped));
        }
        if !self.parts.machine.accepts_requests() {
            let error = match self.parts.machine.close_reason() {
                // Another connection would fare the same: what is there doesn't speak CoAP.
                Some(reason) if !is_orderly(reason) => RequestError::ConnectionAborted,
                _ => RequestError::ConnectionReleased,
            };
            let failure = self.failure(error);
            return waiting.end(Err(failure));
        }
        match self.submit(&message) {
            Ok(request) => {
                self.waiting.insert(request, waiting);
            }
            Err(error) => waiting.end(Err(error.into())),
        }
    }

    fn submit(&mut self, message: &RequestMessage) -> Result<OutgoingRequest, Error> {
        let options = borrowed(&message.options);
        let mut request = Request::new(message.method)
            .options(&options)
            .payload(&message.payload);
        if !message.answers_challenges {
            request = request.hand_out_challenges();
        }
        self.parts.machine.request(&request)
    }

    /// Says why a request got no response.
    pub(super) fn failure(&self, error: RequestError) -> RequestFailure {
        match (self.ending.error, error) {
            _ if self.ending.is_unresponsive => RequestError::ResponseTimeout.into(),
            (Some(fault), RequestError::ConnectionClosed | RequestError::ConnectionReleased) => {
                fault.into()
            }
            (None, RequestError::ConnectionClosed) => RequestFailure::Closed,
            (_, error) => error.into(),
        }
    }

    /// Gives up the requests that nobody waits for any more.
    pub(super) fn cancel_abandoned(&mut self) {
        for key in self.parts.link.signals.take_abandoned() {
            let mut waiting = self.waiting.iter();
            let request = waiting.find(|(_, waiting)| waiting.key == key);
            if let Some(request) = request.map(|(request, _)| *request) {
                self.waiting.remove(&request);
                // It may have ended by itself.
                let _ = self.parts.machine.cancel(request);
            }
        }
    }

    /// Ends every request because this end stops.
    pub(super) fn stop_waiting(&mut self) {
        while let Some((request, waiting)) = self.waiting.pop_first() {
            let _ = self.parts.machine.cancel(request);
            waiting.end(Err(RequestFailure::NodeStopped));
        }
    }

    /// Ends every request because the connection has ended.
    pub(super) fn end_waiting(&mut self) {
        let failure = self.failure(RequestError::ConnectionClosed);
        while let Some((_, waiting)) = self.waiting.pop_first() {
            waiting.end(Err(failure));
        }
    }

    /// Gives a response to the machine, or 5.00 where it can't be sent.
    pub(super) fn respond(&mut self, asked: IncomingRequest, response: &ResponseMessage) {
        match self.try_respond(asked, response) {
            Ok(()) => {}
            Err(error @ Error::Exchange(hedgerow_exchange::Error::UnknownHandle)) => {
                debug!(%error, "response came too late");
            }
            Err(error) => {
                debug!(%error, ?response, "response can't be sent");
                let substitute = ResponseMessage::new(Code::INTERNAL_SERVER_ERROR);
                if let Err(error) = self.try_respond(asked, &substitute) {
                    debug!(%error, "request stays without a response");
                    // Nothing fits what the peer takes. Its place is free again.
                    let _ = self.parts.machine.ignore(asked);
                }
            }
        }
    }

    /// Answers a request for which no handler may start.
    pub(super) fn refuse(&mut self, asked: IncomingRequest) {
        count(&self.parts.counters.refused_requests);
        self.respond(asked, &ResponseMessage::new(Code::SERVICE_UNAVAILABLE));
    }

    fn try_respond(
        &mut self,
        asked: IncomingRequest,
        response: &ResponseMessage,
    ) -> Result<(), Error> {
        let options = borrowed(&response.options);
        let message = Response::new(response.code)
            .options(&options)
            .payload(&response.payload);
        let mut rng = os_random();
        let mut env = self.parts.clock.env(&mut rng);
        self.parts.machine.respond(&mut env, asked, &message)
    }
}
