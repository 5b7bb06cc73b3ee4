//! The application of a server.

use core::future::Future;
use std::net::SocketAddr;

use hedgerow_coap::Code;
use hedgerow_core::{Peer, SecurityMode};

use crate::{RequestMessage, ResponseMessage};

/// A request of a peer. It comes once, whatever the network duplicates.
#[derive(Clone, Debug)]
pub struct ServerRequest {
    /// Who asks, by the key that was proved.
    pub requester: Requester,
    /// Where the peer is. It proves nothing.
    pub from: SocketAddr,
    /// The whole request.
    pub message: RequestMessage,
}

/// Who sends a request, by which end began the association that it came over.
///
/// The numbers of clients and those of servers are given apart: whoever checks one has to know
/// which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Requester {
    /// A client that called this node. The number is that of its key in the node's
    /// [`PskStore`](hedgerow_core::PskStore).
    Client(Peer),
    /// A server that this node called, which may ask in its turn (RFC 7252 §2.2). The number is
    /// that of the [`Credentials`](crate::Credentials) it was called with; in clear it is
    /// [`Peer::Anonymous`].
    Server(Peer),
}

impl Requester {
    /// Returns who asks.
    pub const fn peer(self) -> Peer {
        match self {
            Self::Client(peer) | Self::Server(peer) => peer,
        }
    }

    /// Returns the security mode that the peer is known in (RFC 7252 §9).
    pub const fn security_mode(self) -> SecurityMode {
        self.peer().security_mode()
    }
}

/// The application of a server: it answers requests.
///
/// Each request is handled by a task of its own. A handler that panics is answered for with 5.00.
pub trait Handler: Send + Sync + 'static {
    /// Answers a request.
    fn handle(&self, request: ServerRequest) -> impl Future<Output = ResponseMessage> + Send;
}

impl<F, R> Handler for F
where
    F: Fn(ServerRequest) -> R + Send + Sync + 'static,
    R: Future<Output = ResponseMessage> + Send,
{
    fn handle(&self, request: ServerRequest) -> impl Future<Output = ResponseMessage> + Send {
        self(request)
    }
}

/// A node without resources.
pub(crate) struct NoResources;

impl Handler for NoResources {
    async fn handle(&self, _request: ServerRequest) -> ResponseMessage {
        ResponseMessage::new(Code::NOT_FOUND)
    }
}
