//! Why a call is refused.

use hedgerow_core::{ChannelError, Misuse};

/// Why an endpoint refused a call. Nothing changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such association, or there is none any more.
    #[error("no such association")]
    UnknownAssociation,
    /// The table of associations is full.
    #[error("as many associations as configured: {max}")]
    TooManyAssociations {
        /// The configured number.
        max: usize,
    },
    /// The pool of handshakes is full.
    #[error("as many handshakes under way as configured: {max}")]
    TooManyHandshakes {
        /// The configured number.
        max: usize,
    },
    /// The random source gave no connection ID that isn't in use, again and again.
    #[error("no connection ID found that is not in use")]
    NoConnectionId,
    /// The peer at this address came of its own accord and can't be a server at the same time, or
    /// it was called with other credentials.
    #[error("address belongs to an association of another kind or with other credentials")]
    AddressInUse,
    /// The endpoint has no legs, or the association can't have one.
    #[error("no streams there")]
    NoLegs,
    /// As many associations with a leg as configured.
    #[error("as many legs as configured: {max}")]
    TooManyLegs {
        /// The configured number.
        max: usize,
    },
    /// The message fits no record, or no datagram that the path carries.
    #[error("message of {len} bytes: at most {max} fit")]
    MessageTooLong {
        /// Its length, in bytes.
        len: usize,
        /// The longest one, in bytes.
        max: usize,
    },
    /// The session doesn't seal any more.
    #[error(transparent)]
    Sealing(ChannelError),
    /// The leg refused.
    #[error(transparent)]
    Leg(#[from] hedgerow_leg::Error),
    /// There is no outer session for an inner one: the endpoint takes no part in mode `itls`, none is
    /// established at the address, or it has no extended master secret.
    #[error("no outer session there that an inner one could travel in")]
    NoOuterSession,
    /// The name by which a gateway is to know the peer is too long.
    #[error("name is longer than a gateway takes")]
    FlowName,
    /// The exchange refused.
    #[error(transparent)]
    Exchange(#[from] hedgerow_exchange::Error),
    /// The channel refused.
    #[error(transparent)]
    Channel(#[from] Misuse),
}
