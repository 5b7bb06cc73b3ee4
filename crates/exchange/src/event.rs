//! What comes out of an exchange.

use hedgerow_coap::Message;
use hedgerow_core::DropReason;

use crate::{RequestError, ResponseError};

/// The name of a request of this end, or of a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutgoingRequest(pub(crate) u32);

/// The name of a request of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncomingRequest(pub(crate) u32);

/// What one message of the peer was. Messages with an assembled body lie in the exchange and not
/// in the datagram; either way they are to be read before the next call.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Received<'a> {
    /// A whole request, which has never been handed out before. The application gives it to
    /// [`respond`](crate::Exchange::respond), now or later.
    Request {
        /// Its name.
        request: IncomingRequest,
        /// The request. Where it came in blocks, it has the options of the first one, without
        /// Block1.
        message: Message<'a>,
    },
    /// The whole response to a request of this end, which has ended.
    Response {
        /// The request.
        request: OutgoingRequest,
        /// The response. Where it came in blocks, it has the options of the first one, without
        /// Block2.
        message: Message<'a>,
    },
    /// The peer asked for a sign of life and gets it.
    Ping,
    /// The message moved something on that stays inside: an Acknowledgement, a Reset, a block.
    /// [`poll_event`](crate::Exchange::poll_event) may have more to say.
    Handled,
    /// The message was dropped.
    Dropped(DropReason),
}

/// What happened without a message to hand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A request of this end, or a ping, has ended without a response.
    RequestFailed {
        /// The request.
        request: OutgoingRequest,
        /// Why.
        error: RequestError,
    },
    /// A request of the peer has ended without this end knowing that the response got there.
    ResponseFailed {
        /// The request.
        request: IncomingRequest,
        /// Why.
        error: ResponseError,
    },
    /// The peer answered a ping.
    Pong {
        /// The ping.
        request: OutgoingRequest,
    },
    /// A request body that the peer was sending in blocks was given up: no block came in time.
    ReassemblyExpired,
    /// The peer showed no sign of life. It comes once until the peer shows one.
    PeerUnresponsive {
        /// Transmissions since the last sign of life.
        transmissions: u8,
    },
}
