//! Why a request got no response.

use std::io;
use std::net::SocketAddr;

use hedgerow_core::ChannelError;
use hedgerow_exchange::RequestError;

use crate::CarrierFailure;

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
    /// Nothing can be sent to this address: it is no address of a single peer, or of another IP
    /// version than the node's socket.
    #[error("nothing can be sent to {address} from here")]
    UnusableAddress {
        /// The address.
        address: SocketAddr,
    },
    /// The system couldn't connect a stream to the target.
    #[error("can't connect: {kind}")]
    Connect {
        /// What the system says.
        kind: io::ErrorKind,
    },
    /// The target didn't accept a stream within the configured time.
    #[error("no connection in time")]
    ConnectTimeout,
    /// The server released its connection and asked for no other for so long (RFC 8323 §5.5).
    #[error("the server wants no connection for another {seconds} s")]
    HeldOff {
        /// What is left of the time, in seconds, rounded up.
        seconds: u64,
    },
    /// As many connections are open and in use as the configuration allows.
    #[error("as many connections in use as configured: {max}")]
    TooManyConnections {
        /// The configured number.
        max: usize,
    },
    /// What carries the datagrams didn't come about, or ended before the response came.
    #[error(transparent)]
    Carrier(#[from] CarrierFailure),
    /// The name is none that a service can have: more than 15 characters, or one outside 0x21 to 0x7e.
    #[error("not a name of a service")]
    ServiceName,
    /// The peer has begun no session with this node, or none that is left.
    #[error("the peer has no session here")]
    NoSession,
    /// The node was closed.
    #[error("node is closed")]
    NodeStopped,
}
