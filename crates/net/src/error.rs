//! Why a request got no response.

use std::net::SocketAddr;

use hedgerow_core::ChannelError;
use hedgerow_exchange::RequestError;

/// Why a request got no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestFailure {
    /// The association with the peer couldn't be established, or came to an end.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The peer closed the association in order before it answered.
    #[error("association closed before the response came")]
    Closed,
    /// The exchange ended without a response.
    #[error(transparent)]
    Exchange(#[from] RequestError),
    /// The request wasn't sent.
    #[error(transparent)]
    Refused(#[from] hedgerow_endpoint::Error),
    /// As many requests are under way as the node's configuration allows.
    #[error("as many requests under way as configured: {max}")]
    TooManyRequests {
        /// The configured number.
        max: usize,
    },
    /// The node's socket can't send to this address: it is of the other IP version, or no address
    /// of a single peer.
    #[error("no datagram can be sent to {address} from this socket")]
    UnusableAddress {
        /// The address.
        address: SocketAddr,
    },
    /// The node was closed.
    #[error("node is closed")]
    NodeStopped,
}
