//! Whom a request is for, and what is shown there.

use core::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use hedgerow_core::{
    CertificateCredentials, ClientCredentials, Credentials as PskOf, KeyPurpose,
    MAX_PSK_IDENTITY_LEN, Misuse, Peer, PeerId, Psk, ServerName,
};

use crate::certificates::ClientSide;
use crate::{AcceptedServer, Identity, IdentityError};

/// What this end has for one server: a pre-shared key and the identity that goes with it, its own raw
/// public key or certificate and the server's, or both.
pub struct Credentials {
    psk: Option<OwnPsk>,
    certificates: Option<ClientSide>,
    certificate_purpose: KeyPurpose,
}

struct OwnPsk {
    identity: Vec<u8>,
    key: Psk,
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
        let identity = psk_identity.into();
        check_identity(&identity)?;
        Ok(Self {
            psk: Some(OwnPsk {
                identity,
                key: psk,
                peer,
            }),
            certificates: None,
            certificate_purpose: KeyPurpose::Hop,
        })
    }

    /// Puts an own raw public key or certificate, whom to take for the server by what, and the
    /// application's own number for the server together. Without an `identity` the server is known,
    /// and the server doesn't know who calls.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Name`] if the name wanted is none that a certificate can carry.
    pub fn certificates(
        identity: Option<Arc<Identity>>,
        server: AcceptedServer,
        peer: PeerId,
    ) -> Result<Self, IdentityError> {
        Ok(Self {
            psk: None,
            certificates: Some(ClientSide::new(identity, server, peer)?),
            certificate_purpose: KeyPurpose::Hop,
        })
    }

    /// Says that the raw public key or certificate is for end-to-end security, and so is whom this end
    /// accepts: a device, and by no name or authority the gateway before it. A pre-shared key says
    /// so of itself ([`Psk::into_end_to_end`]).
    #[must_use]
    pub const fn with_certificates_end_to_end(mut self) -> Self {
        self.certificate_purpose = KeyPurpose::EndToEnd;
        self
    }

    /// Adds a pre-shared key for a server that may not take certificates. A node whose
    /// [`SecurityPolicy`](crate::SecurityPolicy) wants certificates doesn't offer it.
    ///
    /// # Errors
    ///
    /// [`Misuse::PskIdentityLength`] if the identity is longer than [`MAX_PSK_IDENTITY_LEN`] bytes.
    pub fn with_psk(
        mut self,
        psk_identity: impl Into<Vec<u8>>,
        psk: Psk,
        peer: PeerId,
    ) -> Result<Self, Misuse> {
        self.psk = Self::new(psk_identity, psk, peer)?.psk;
        Ok(self)
    }

    /// Returns how the server will be known by a raw public key or certificate, if it will.
    pub(crate) fn server(&self) -> Option<Peer> {
        self.certificates.as_ref().map(ClientSide::server)
    }

    /// Returns the PSK identity, if there is one.
    pub(crate) fn psk_identity(&self) -> Option<&[u8]> {
        self.psk.as_ref().map(|psk| psk.identity.as_slice())
    }
}

impl ClientCredentials for Credentials {
    fn pre_shared_key(&self) -> Option<PskOf<'_>> {
        self.psk.as_ref().map(|psk| PskOf {
            psk_identity: &psk.identity,
            psk: &psk.key,
            peer: psk.peer,
        })
    }

    fn certificates(&self) -> Option<&dyn CertificateCredentials> {
        let certificates: &dyn CertificateCredentials = self.certificates.as_ref()?;
        Some(certificates)
    }

    fn certificate_purpose(&self) -> KeyPurpose {
        self.certificate_purpose
    }

    fn is_same(&self, other: &Self) -> bool {
        let is_same_psk = match (self.pre_shared_key(), other.pre_shared_key()) {
            (Some(one), Some(other)) => one.is_same(&other),
            (None, None) => true,
            _ => false,
        };
        let is_same_side = match (&self.certificates, &other.certificates) {
            (Some(one), Some(other)) => one.is_same(other),
            (None, None) => true,
            _ => false,
        };
        is_same_psk && is_same_side && self.certificate_purpose == other.certificate_purpose
    }
}

/// Of which kind it is, with the application's number for the server, and no more.
impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("psk", &self.psk.as_ref().map(|psk| psk.peer))
            .field(
                "certificates",
                &self.certificates.as_ref().map(ClientSide::peer),
            )
            .finish()
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

/// The same, with the name of the server that is meant where no certificate has one.
#[derive(Clone)]
pub(crate) struct NamedCredentials {
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) name: Option<Arc<str>>,
}

impl ClientCredentials for NamedCredentials {
    fn pre_shared_key(&self) -> Option<PskOf<'_>> {
        self.credentials.pre_shared_key()
    }

    fn certificates(&self) -> Option<&dyn CertificateCredentials> {
        ClientCredentials::certificates(&*self.credentials)
    }

    fn certificate_purpose(&self) -> KeyPurpose {
        self.credentials.certificate_purpose()
    }

    fn server_name(&self) -> Option<ServerName<'_>> {
        ServerName::new(self.name.as_deref()?).ok()
    }

    fn is_same(&self, other: &Self) -> bool {
        self.credentials.is_same(&other.credentials) && self.name == other.name
    }
}

impl ClientCredentials for SharedCredentials {
    fn pre_shared_key(&self) -> Option<PskOf<'_>> {
        self.0.pre_shared_key()
    }

    fn certificates(&self) -> Option<&dyn CertificateCredentials> {
        ClientCredentials::certificates(&*self.0)
    }

    fn certificate_purpose(&self) -> KeyPurpose {
        self.0.certificate_purpose()
    }

    fn is_same(&self, other: &Self) -> bool {
        self.0.is_same(&other.0)
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
