//! What comes out of an exchange.

use hedgerow_coap::{Abort, Message, Release};
use hedgerow_core::DropReason;

use crate::{CloseReason, RequestError, ResponseError};

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
    /// The peer of a reliable transport wants the connection to end in order (RFC 8323 §5.5). No
    /// more requests can be made; what is under way goes on, and
    /// [`Event::Closed`] comes when it has ended.
    Release {
        /// Where to connect instead, when, and why.
        release: Release<'a>,
    },
    /// The peer of a reliable transport has ended the connection (RFC 8323 §5.6).
    Abort {
        /// Why.
        abort: Abort<'a>,
    },
    /// Nothing of the bytes of a reliable transport was taken in: so much waits to be sent that
    /// there is no room for another answer. Once
    /// [`poll_transmit`](crate::Connection::poll_transmit) has written some of it, the same bytes are
    /// to be given again.
    Blocked,
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
    /// The peer of a reliable transport answered a ping, and says that it has processed everything
    /// sent before (RFC 8323 §5.4.1).
    CustodyPong {
        /// The ping.
        request: OutgoingRequest,
    },
    /// The connection over a reliable transport has ended, and so have all requests: nothing is left
    /// to be sent, and the transport is to be closed if it isn't. It comes once and last.
    Closed {
        /// Why.
        reason: CloseReason,
    },
    /// A request body that the peer was sending in blocks was given up: no block came in time.
    ReassemblyExpired,
    /// The peer showed no sign of life. It comes once until the peer shows one.
    PeerUnresponsive {
        /// Transmissions since the last sign of life; over a reliable transport, pings.
        transmissions: u8,
    },
}
