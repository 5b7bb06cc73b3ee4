//! What comes out of an endpoint.

use hedgerow_coap::Message;
use hedgerow_core::{ChannelError, DropReason, Peer};
use hedgerow_exchange::{IncomingRequest, OutgoingRequest, RequestError, ResponseError};
use hedgerow_record::CipherSuite;

/// The name of an association: never given twice by one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssociationId(pub(crate) u64);

/// What happened. Messages lie in the datagram or in the association and are to be read before the
/// next call.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a, A> {
    /// An association is established, for the first time or anew after a restart of the peer.
    Established {
        /// Which one.
        association: AssociationId,
        /// Where its peer is.
        address: A,
        /// Who its peer is.
        peer: Peer,
        /// The suite that was negotiated.
        suite: CipherSuite,
        /// Whether a session was resumed that there was before.
        is_resumed: bool,
    },
    /// An association inside an outer session is established (mode `itls`), for the first time or anew. The
    /// first request may come before it.
    InnerEstablished {
        /// Which one.
        association: AssociationId,
        /// Where the gateway is.
        address: A,
        /// Who its peer is, end to end.
        peer: Peer,
        /// The suite of the inner session.
        suite: hedgerow_itls::Suite,
        /// Whether a key that becomes known later leaves recordings shut.
        has_forward_secrecy: bool,
        /// Whether a session was resumed that there was before.
        is_resumed: bool,
    },
    /// The peer asks for something. It comes once, whatever the network duplicates.
    Request {
        /// The peer's association. One without security is first heard of here.
        association: AssociationId,
        /// Where its peer is.
        address: A,
        /// Who asks.
        peer: Peer,
        /// The request's name, for [`respond`](crate::Endpoint::respond).
        request: IncomingRequest,
        /// The whole request.
        message: Message<'a>,
    },
    /// The whole response to a request of this end.
    Response {
        /// The association.
        association: AssociationId,
        /// The request, which has ended.
        request: OutgoingRequest,
        /// The whole response.
        message: Message<'a>,
    },
    /// A request of this end has ended without a response.
    RequestFailed {
        /// The association.
        association: AssociationId,
        /// The request.
        request: OutgoingRequest,
        /// Why.
        error: RequestError,
    },
    /// A request of the peer has ended without this end knowing that the response got there.
    ResponseFailed {
        /// The association.
        association: AssociationId,
        /// The request.
        request: IncomingRequest,
        /// Why.
        error: ResponseError,
    },
    /// The peer answered a ping.
    Pong {
        /// The association.
        association: AssociationId,
        /// The ping.
        request: OutgoingRequest,
    },
    /// Something happened to a stream of an association's leg.
    Stream {
        /// The association.
        association: AssociationId,
        /// What.
        event: hedgerow_leg::Event,
    },
    /// A message of mode `itls` for the gateway that this is, routing header first. The peer has sent it
    /// under the association's session as it is now.
    Forwarded {
        /// The association.
        association: AssociationId,
        /// The whole message.
        message: &'a [u8],
        /// Whether it came in a datagram of the light outer layer.
        is_light: bool,
    },
    /// The peer of an association has moved to another address, and has shown that it receives
    /// there (RFC 9146 §6). The association goes on.
    AddressMoved {
        /// The association.
        association: AssociationId,
        /// Where the peer was.
        from: A,
        /// Where it is now.
        to: A,
    },
    /// An association could not be established, or came to an end. All its requests have ended, and none of
    /// its streams in order.
    Failed {
        /// The association, which is gone.
        association: AssociationId,
        /// Where its peer was.
        address: A,
        /// Why.
        error: ChannelError,
    },
    /// An association was closed in order, by the peer or for idleness. All its requests have
    /// ended, and none of its streams in order.
    Closed {
        /// The association, which is gone.
        association: AssociationId,
    },
    /// A peer that had not established anything gave up or was given up.
    HandshakeFailed {
        /// Where it is.
        address: A,
        /// Why.
        error: ChannelError,
    },
    /// A datagram, or a part of it, was dropped.
    Dropped {
        /// Where it came from.
        address: A,
        /// Why.
        reason: DropReason,
    },
}
