//! Certificate mode on a host: what a client has for one server, and a server for all its clients.

use core::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use hedgerow_core::{
    CertificateCredentials, CertificateFault, CertificateOwner, CertificateType, ChainRequest,
    ClientCertificates, Identity as Shown, IdentityRequest, Peer, PeerId, RawPublicKeyRequest,
    ServerName, VerifiedChain,
};
use hedgerow_crypto_ring::RingCrypto;
use hedgerow_handshake::{CertificateName, X509Credentials};

use crate::{Authorities, Identity, IdentityError, RawPublicKey};

/// How a client knows the server that it calls.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcceptedServer {
    /// By its raw public key (RFC 7250).
    RawPublicKey(RawPublicKey),
    /// By a certificate that one of the authorities vouches for.
    Certificate {
        /// Whom to trust.
        authorities: Authorities,
        /// The name that the certificate has to carry: a DNS name, which the server is told too
        /// (SNI), or the authority of a CoAP URI such as `[2001:db8::7]:5684` (RFC 7252 §9.1.3.3).
        name: String,
    },
}

/// A client's certificate mode for one server.
pub(crate) struct ClientSide {
    identity: Option<Arc<Identity>>,
    server: AcceptedServer,
    /// Where a certificate is wanted.
    verifier: Option<X509Credentials<RingCrypto>>,
    peer: PeerId,
}

impl ClientSide {
    pub(crate) fn new(
        identity: Option<Arc<Identity>>,
        server: AcceptedServer,
        peer: PeerId,
    ) -> Result<Self, IdentityError> {
        let verifier = match &server {
            AcceptedServer::RawPublicKey(_) => None,
            AcceptedServer::Certificate { authorities, name } => Some(
                authorities
                    .credentials()?
                    .with_server(certificate_name(name)?, peer),
            ),
        };
        Ok(Self {
            identity,
            server,
            verifier,
            peer,
        })
    }

    pub(crate) const fn peer(&self) -> PeerId {
        self.peer
    }

    /// Returns how the server will be known.
    pub(crate) const fn server(&self) -> Peer {
        match self.server {
            AcceptedServer::RawPublicKey(_) => Peer::RawPublicKey(self.peer),
            AcceptedServer::Certificate { .. } => Peer::Certificate(self.peer),
        }
    }
}

impl CertificateCredentials for ClientSide {
    /// Whoever has a certificate shows that: a server that knows it by its name doesn't know its key.
    fn identity(&self, request: &IdentityRequest<'_>) -> Option<Shown<'_>> {
        let identity = self.identity.as_deref()?;
        match (request.certificate_type, identity.chain()) {
            (CertificateType::X509, Some(chain)) => Some(Shown::Certificate(&identity.key, chain)),
            (CertificateType::RawPublicKey, None) => Some(Shown::RawPublicKey(&identity.key)),
            _ => None,
        }
    }

    fn peer_of_raw_public_key(&self, request: &RawPublicKeyRequest<'_>) -> Option<PeerId> {
        match &self.server {
            AcceptedServer::RawPublicKey(key) => (request.owner == CertificateOwner::Server
                && key.as_bytes() == request.subject_public_key_info)
                .then_some(self.peer),
            AcceptedServer::Certificate { .. } => None,
        }
    }

    fn accepts(&self, certificate_type: CertificateType) -> bool {
        match self.server {
            AcceptedServer::RawPublicKey(_) => certificate_type == CertificateType::RawPublicKey,
            AcceptedServer::Certificate { .. } => certificate_type == CertificateType::X509,
        }
    }

    fn verify_chain(&self, request: &ChainRequest<'_>) -> Result<VerifiedChain, CertificateFault> {
        match &self.verifier {
            Some(verifier) => verifier.verify_chain(request),
            None => Err(CertificateFault::Unsupported),
        }
    }

    fn server_name(&self) -> Option<ServerName<'_>> {
        self.verifier.as_ref()?.server_name()
    }

    fn is_same(&self, other: &Self) -> bool {
        let is_same_identity = match (&self.identity, &other.identity) {
            (Some(own), Some(other)) => own.is_same(other),
            (None, None) => true,
            _ => false,
        };
        is_same_identity && self.server == other.server && self.peer == other.peer
    }
}

/// What a server shows, and whom it lets in by certificate or raw public key.
pub struct ServerCertificates {
    identity: Arc<Identity>,
    clients: Vec<(RawPublicKey, PeerId)>,
    /// Those known by a name that an authority vouches for.
    named: Option<X509Credentials<RingCrypto>>,
    client_certificates: ClientCertificates,
}

impl ServerCertificates {
    /// Shows `identity`, and lets nobody in yet. Clients are shown its certificates or, if they ask for
    /// that or there are none, its raw public key.
    pub const fn new(identity: Arc<Identity>) -> Self {
        Self {
            identity,
            clients: Vec::new(),
            named: None,
            client_certificates: ClientCertificates::Required,
        }
    }

    /// Lets in the client that has a raw public key.
    #[must_use]
    pub fn with_raw_public_key(mut self, key: RawPublicKey, peer: PeerId) -> Self {
        self.clients.push((key, peer));
        self
    }

    /// Lets in the clients that `authorities` vouch for under one of the names, each a DNS name, an
    /// EUI-64 such as `00-11-22-33-44-55-66-77` (RFC 7925 §4.4.2) or the authority of a CoAP URI. A
    /// certificate with the names of two of them is refused.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Name`].
    pub fn with_names<'n>(
        mut self,
        authorities: &Authorities,
        names: impl IntoIterator<Item = (&'n str, PeerId)>,
    ) -> Result<Self, IdentityError> {
        let mut named = authorities.credentials()?;
        for (name, peer) in names {
            named = named.with_client(certificate_name(name)?, peer);
        }
        self.named = Some(named);
        Ok(self)
    }

    /// Lets in everybody, without asking who it is. It takes effect where the node's
    /// [`SecurityPolicy`](crate::SecurityPolicy) permits clients that have proved nothing, NoSec.
    #[must_use]
    pub const fn with_anybody(mut self) -> Self {
        self.client_certificates = ClientCertificates::NotRequested;
        self
    }
}

impl fmt::Debug for ServerCertificates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ServerCertificates")
            .field("identity", &self.identity)
            .field("raw_public_keys", &self.clients.len())
            .field("client_certificates", &self.client_certificates)
            .finish_non_exhaustive()
    }
}

/// The certificate mode of a server, to be changed while a node runs: alone as
/// [`CertificatesOnly`](hedgerow_core::CertificatesOnly), or beside a [`KeyStore`](crate::KeyStore) as
/// [`PskAndCertificates`](hedgerow_core::PskAndCertificates).
///
/// All clones are one store, and each holds on to what was there when it was made, as those of a
/// [`KeyStore`](crate::KeyStore) do: a change counts from the next handshake on.
#[derive(Debug)]
pub struct CertificateStore {
    current: Arc<RwLock<Arc<ServerCertificates>>>,
    seen: Arc<ServerCertificates>,
}

impl CertificateStore {
    /// Begins with these.
    pub fn new(certificates: ServerCertificates) -> Self {
        let seen = Arc::new(certificates);
        Self {
            current: Arc::new(RwLock::new(Arc::clone(&seen))),
            seen,
        }
    }

    /// Replaces all at once.
    pub fn replace(&self, certificates: ServerCertificates) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(certificates);
    }
}

impl Clone for CertificateStore {
    fn clone(&self) -> Self {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Self {
            current: Arc::clone(&self.current),
            seen: Arc::clone(&current),
        }
    }
}

impl CertificateCredentials for CertificateStore {
    fn identity(&self, request: &IdentityRequest<'_>) -> Option<Shown<'_>> {
        let identity = &*self.seen.identity;
        match request.certificate_type {
            CertificateType::RawPublicKey => Some(Shown::RawPublicKey(&identity.key)),
            _ => Some(Shown::Certificate(&identity.key, identity.chain()?)),
        }
    }

    fn peer_of_raw_public_key(&self, request: &RawPublicKeyRequest<'_>) -> Option<PeerId> {
        let mut clients = self.seen.clients.iter();
        clients
            .find(|(key, _)| {
                request.owner == CertificateOwner::Client
                    && key.as_bytes() == request.subject_public_key_info
            })
            .map(|&(_, peer)| peer)
    }

    fn accepts(&self, certificate_type: CertificateType) -> bool {
        match certificate_type {
            CertificateType::RawPublicKey => !self.seen.clients.is_empty(),
            _ => self.seen.named.is_some(),
        }
    }

    fn verify_chain(&self, request: &ChainRequest<'_>) -> Result<VerifiedChain, CertificateFault> {
        match &self.seen.named {
            Some(named) => named.verify_chain(request),
            None => Err(CertificateFault::Unsupported),
        }
    }

    fn client_certificates(&self) -> ClientCertificates {
        self.seen.client_certificates
    }
}

/// Takes a name as people write it.
fn certificate_name(name: &str) -> Result<CertificateName<'_>, IdentityError> {
    if let Ok(name) = ServerName::new(name) {
        return Ok(CertificateName::Dns(name));
    }
    let is_authority = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#' | b'@'));
    is_authority
        .then_some(CertificateName::CoapAuthority(name))
        .ok_or(IdentityError::Name)
}
