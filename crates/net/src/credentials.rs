//! Whom a request is for, and what is shown there.

use core::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use hedgerow_core::{MAX_PSK_IDENTITY_LEN, Misuse, PeerId, Psk, PskCredentials, ct_eq};

/// What this end shows a server: an identity and the key that goes with it.
pub struct Credentials {
    psk_identity: Vec<u8>,
    psk: Psk,
    peer: PeerId,
}

impl Credentials {
    /// Puts an identity of up to [`MAX_PSK_IDENTITY_LEN`] bytes, its key, and the application's own
    /// number for the server together: [`Requester::Server`](crate::Requester::Server) names it.
    ///
    /// # Errors
    ///
    /// [`Misuse::PskIdentityLength`] if the identity is longer.
    pub fn new(psk_identity: impl Into<Vec<u8>>, psk: Psk, peer: PeerId) -> Result<Self, Misuse> {
        let psk_identity = psk_identity.into();
        check_identity(&psk_identity)?;
        Ok(Self {
            psk_identity,
            psk,
            peer,
        })
    }
}

impl Credentials {
    /// Says whether others are the same in all that is shown and known.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.psk_identity == other.psk_identity
            && self.peer == other.peer
            && ct_eq(self.psk.expose(), other.psk.expose())
    }
}

impl PskCredentials for Credentials {
    fn psk_identity(&self) -> &[u8] {
        &self.psk_identity
    }

    fn psk(&self) -> &Psk {
        &self.psk
    }

    fn peer(&self) -> PeerId {
        self.peer
    }
}

/// The application's number for the server, and no more.
impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// Whom a request is for: by datagrams if a [`Node`](crate::Node) is asked, over a stream if a
/// [`StreamClient`](crate::StreamClient) is.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where the server is.
    pub address: SocketAddr,
    /// What it is shown; `None` speaks to it in clear (`coap` or `coap+tcp`, NoSec).
    pub credentials: Option<Arc<Credentials>>,
}

/// Credentials that an endpoint and its handshakes hold together with the application.
#[derive(Clone)]
pub(crate) struct SharedCredentials(pub(crate) Arc<Credentials>);

impl PskCredentials for SharedCredentials {
    fn psk_identity(&self) -> &[u8] {
        self.0.psk_identity()
    }

    fn psk(&self) -> &Psk {
        self.0.psk()
    }

    fn peer(&self) -> PeerId {
        self.0.peer()
    }
}

pub(crate) const fn check_identity(psk_identity: &[u8]) -> Result<(), Misuse> {
    if psk_identity.len() > MAX_PSK_IDENTITY_LEN {
        return Err(Misuse::PskIdentityLength {
            len: psk_identity.len(),
            max: MAX_PSK_IDENTITY_LEN,
        });
    }
    Ok(())
}
