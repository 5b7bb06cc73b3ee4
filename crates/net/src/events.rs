//! What the events of an endpoint mean for a node and for its log.

use hedgerow_core::Peer;
use hedgerow_endpoint::Event;
use tracing::field::display;
use tracing::{debug, info, trace};

use crate::desk::Desk;
use crate::handlers::{Asked, Handlers};
use crate::mode_label::{DTLS, label};
use crate::path::Path;
use crate::statistics::{Counters, count};
use crate::{
    Handler, InnerSession, RequestFailure, RequestMessage, ResponseMessage, ServerRequest,
};

impl Desk {
    /// Takes note of what happened, and returns the request that is to be refused because too many
    /// handlers run.
    pub(crate) fn note<H: Handler>(
        &mut self,
        handlers: &mut Handlers<H, Asked>,
        counters: &Counters,
        event: Event<'_, Path>,
    ) -> Option<Asked> {
        match event {
            Event::Established {
                association,
                address,
                peer,
                suite,
                is_resumed,
            } => {
                let remote = address.remote;
                let (mode, security) = (label(DTLS, peer), peer.security_mode());
                info!(%remote, ?peer, %suite, is_resumed, mode, %security, "association established");
                count(&counters.established);
                if is_resumed {
                    count(&counters.resumed);
                }
                self.establish(association, address, (suite, peer));
            }
            Event::InnerEstablished {
                association,
                address,
                peer,
                suite,
                has_forward_secrecy,
                is_resumed,
            } => {
                let remote = address.remote;
                info!(%remote, ?peer, ?suite, has_forward_secrecy, is_resumed, mode = "itls", "association established");
                count(&counters.established);
                if is_resumed {
                    count(&counters.resumed);
                }
                let session = InnerSession {
                    suite,
                    peer,
                    has_forward_secrecy,
                };
                self.establish_inner(association, address, session);
            }
            Event::Request {
                association,
                address,
                peer,
                request,
                message,
            } => {
                let asked = Asked {
                    association,
                    request,
                };
                // One that a handshake made is known by now.
                if self.meet(association, address, peer) && peer == Peer::Anonymous {
                    info!(remote = %address.remote, mode = "nosec", "association accepted");
                }
                // What is inside a session is where that is; what a link brings comes from the gateway.
                let from = address.remote.address().or(self.gateway);
                let found = from.zip(handlers.reserve());
                let Some(((from, place), requester)) = found.zip(self.requester(association, peer))
                else {
                    return Some(asked);
                };
                let message = RequestMessage::from_message(&message);
                let request = ServerRequest {
                    requester,
                    from,
                    message,
                };
                handlers.start(place, asked, request);
            }
            Event::Response {
                association,
                request,
                message,
            } => {
                if let Some(waiting) = self.take(association, request) {
                    waiting.end(Ok(ResponseMessage::from_message(&message)));
                }
            }
            Event::RequestFailed {
                association,
                request,
                error,
            } => {
                if let Some(waiting) = self.take(association, request) {
                    waiting.end(Err(error.into()));
                }
            }
            Event::ResponseFailed {
                association, error, ..
            } => {
                let remote = self.remote(association).map(display);
                debug!(remote, %error, "response not delivered");
            }
            Event::Forwarded {
                association,
                message,
                is_light,
            } => {
                if let Some(reason) = self.hops.receive(association, message, is_light) {
                    counters.count_drop(reason);
                }
            }
            Event::AddressMoved {
                association,
                from,
                to,
            } => {
                info!(from = %from.remote, to = %to.remote, "peer has moved");
                count(&counters.moved);
                self.relocate(association, to);
            }
            Event::Failed {
                association,
                address,
                error,
            } => {
                info!(remote = %address.remote, %error, "association failed");
                if self.is_under_way(association) {
                    count(&counters.failed_handshakes);
                }
                self.remove(association, error.into());
            }
            Event::Closed { association } => {
                let remote = self.remote(association).map(display);
                debug!(remote, "association closed");
                self.remove(association, RequestFailure::Closed);
            }
            Event::HandshakeFailed { address, error } => {
                debug!(remote = %address.remote, %error, "handshake failed");
                count(&counters.failed_handshakes);
            }
            Event::Dropped { address, reason } => {
                trace!(remote = %address.remote, reason = reason.label(), "dropped");
                counters.count_drop(reason);
            }
            _ => {}
        }
        None
    }
}
