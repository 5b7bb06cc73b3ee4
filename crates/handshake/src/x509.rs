//! Credentials with X.509 chains, which `rustls-webpki` verifies (RFC 5280 §6, RFC 7925 §4.4).
//!
//! It stands in this crate and not with a provider because it takes its signatures from any of them
//! and so runs wherever there is an allocator; what calls it knows it as a trait of `core` alone.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU8, Ordering};

use hedgerow_core::{
    CertificateChain, CertificateCredentials, CertificateFault, CertificateOwner, CertificateType,
    ChainRequest, ClientCertificates, Identity, IdentityRequest, NoSigningKey, P256_PUBLIC_KEY_LEN,
    PeerId, RawPublicKeyRequest, ServerName, SignatureScheme, Signatures, SigningKey,
    VerifiedChain, Writer,
};
use hedgerow_record::decode_p256_spki;
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, DnsName, InvalidSignature, SignatureVerificationAlgorithm,
    TrustAnchor, UnixTime, alg_id,
};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// The longest chain that is looked at, its owner's certificate included: RFC 7925 §4.4.4 asks for
/// three and lets longer ones be refused; the fourth is the trusted authority's own, which some peers
/// send along.
const MAX_CHAIN: usize = 4;

/// How many signatures are checked for one chain, whatever ways through it a peer makes possible: the
/// three of the longest, and as many more for authorities of one name.
const MAX_SIGNATURE_CHECKS: u8 = 6;

/// A name that a certificate has to carry in its subjectAltName. The subject's common name never
/// counts (RFC 7925 §4.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateName<'a> {
    /// The only dNSName, without wildcard (RFC 7925 §4.4.1). A client's EUI-64 (§4.4.2), for which
    /// the RFC gives no form, goes as one too: `00-11-22-33-44-55-66-77`.
    Dns(ServerName<'a>),
    /// The authority of a `coap` or `coaps` URI (RFC 7252 §9.1.3.3), such as `[2001:db8::7]:5684`,
    /// letter for letter except for case; for servers without a DNS name.
    CoapAuthority(&'a str),
}

/// Why certificates can't be taken into credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum X509Error {
    /// It isn't a certificate, or not one of those that webpki reads.
    #[error("not a certificate in DER, or not one of version 3")]
    NotACertificate,
    /// No certificate was given.
    #[error("no certificate given")]
    Empty,
    /// The first certificate isn't for the key, or not for one of P-256.
    #[error("the first certificate is not for this key")]
    KeyMismatch,
}

/// Certificate mode with X.509 chains: authorities to trust, an own certificate, and whom to let in.
///
/// Signatures are ECDSA on P-256 with SHA-256, in chains as in handshakes (RFC 7252 §9.1.3.3).
/// Revocation isn't checked (RFC 7925 §4.4.3), nor is the extension keyUsage of any certificate,
/// which webpki doesn't look at; basic constraints, name constraints and the extended key usage are.
/// Without wall-clock time in [`Env`](hedgerow_core::Env) no chain is accepted.
///
/// A chain has at most four certificates, and at most six signatures are checked for it: its sender
/// has proved nothing by then.
pub struct X509Credentials<P, K = NoSigningKey> {
    provider: P,
    authorities: Vec<TrustAnchor<'static>>,
    own: Option<Own<K>>,
    server: Option<(Name, PeerId)>,
    clients: Vec<(Name, PeerId)>,
    client_certificates: ClientCertificates,
}

struct Own<K> {
    key: K,
    /// In the form that a Certificate message has.
    chain: Vec<u8>,
}

/// Returns the public key of a certificate in DER, as a SubjectPublicKeyInfo in DER; `None` if it
/// isn't a certificate of version 3. Nothing of it is verified.
pub fn certificate_public_key(certificate: &[u8]) -> Option<Vec<u8>> {
    let certificate = CertificateDer::from(certificate);
    let certificate = EndEntityCert::try_from(&certificate).ok()?;
    Some(certificate.subject_public_key_info().to_vec())
}

/// A [`CertificateName`] to keep.
#[derive(PartialEq, Eq)]
enum Name {
    Dns(String),
    CoapAuthority(String),
}

impl<P> X509Credentials<P> {
    /// Trusts the authorities given, each by its certificate in DER. It shows nothing and lets nobody
    /// in yet.
    ///
    /// # Errors
    ///
    /// [`X509Error::NotACertificate`].
    pub fn new<'c>(
        provider: P,
        authorities: impl IntoIterator<Item = &'c [u8]>,
    ) -> Result<Self, X509Error> {
        let authorities = authorities
            .into_iter()
            .map(|certificate| {
                let certificate = CertificateDer::from(certificate);
                anchor_from_trusted_cert(&certificate)
                    .map(|anchor| anchor.to_owned())
                    .map_err(|_| X509Error::NotACertificate)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            provider,
            authorities,
            own: None,
            server: None,
            clients: Vec::new(),
            client_certificates: ClientCertificates::Required,
        })
    }

    /// Adds the key that this end signs with and its certificates in DER, the key's own first, the
    /// trusted authority's left out.
    ///
    /// # Errors
    ///
    /// [`X509Error::Empty`], [`X509Error::NotACertificate`], [`X509Error::KeyMismatch`].
    pub fn with_identity<'c, K: SigningKey>(
        self,
        key: K,
        certificates: impl IntoIterator<Item = &'c [u8]>,
    ) -> Result<X509Credentials<P, K>, X509Error> {
        let certificates: Vec<&[u8]> = certificates.into_iter().collect();
        let first = CertificateDer::from(*certificates.first().ok_or(X509Error::Empty)?);
        let first = EndEntityCert::try_from(&first).map_err(|_| X509Error::NotACertificate)?;
        let mut public_key = [0; P256_PUBLIC_KEY_LEN];
        let is_own = key.scheme() == SignatureScheme::EcdsaSecp256r1Sha256
            && key.write_public_key(&mut public_key).is_ok()
            && decode_p256_spki(&first.subject_public_key_info()) == Some(&public_key);
        if !is_own {
            return Err(X509Error::KeyMismatch);
        }
        let lens = certificates.iter().map(|certificate| certificate.len());
        let len = lens.fold(0_usize, |sum, len| {
            sum.saturating_add(len).saturating_add(3)
        });
        let mut chain = vec![0; len];
        CertificateChain::encode(certificates, &mut Writer::new(&mut chain))
            .map_err(|_| X509Error::NotACertificate)?;
        Ok(X509Credentials {
            provider: self.provider,
            authorities: self.authorities,
            own: Some(Own { key, chain }),
            server: self.server,
            clients: self.clients,
            client_certificates: self.client_certificates,
        })
    }
}

impl<P, K> X509Credentials<P, K> {
    /// For a client: sets whose certificate the server has to show. A DNS name also goes out in the
    /// ClientHello.
    #[must_use]
    pub fn with_server(mut self, name: CertificateName<'_>, peer: PeerId) -> Self {
        self.server = Some((Name::new(name), peer));
        self
    }

    /// For a server: lets in the client whose certificate carries a name. A certificate that carries
    /// names of several peers is nobody's, and refused.
    #[must_use]
    pub fn with_client(mut self, name: CertificateName<'_>, peer: PeerId) -> Self {
        self.clients.push((Name::new(name), peer));
        self
    }

    /// For a server: sets whether clients have to show a certificate, which they have to if nothing
    /// is said.
    #[must_use]
    pub const fn with_client_certificates(mut self, mode: ClientCertificates) -> Self {
        self.client_certificates = mode;
        self
    }
}

impl<P, K> CertificateCredentials for X509Credentials<P, K>
where
    P: Signatures + Send + Sync,
    K: SigningKey,
{
    fn identity(&self, request: &IdentityRequest<'_>) -> Option<Identity<'_>> {
        let own = self
            .own
            .as_ref()
            .filter(|_| request.certificate_type == CertificateType::X509)?;
        let chain = CertificateChain::decode_exact(&own.chain).ok()?;
        Some(Identity::Certificate(&own.key, chain))
    }

    fn peer_of_raw_public_key(&self, _request: &RawPublicKeyRequest<'_>) -> Option<PeerId> {
        None
    }

    fn accepts(&self, certificate_type: CertificateType) -> bool {
        certificate_type == CertificateType::X509
    }

    fn verify_chain(&self, request: &ChainRequest<'_>) -> Result<VerifiedChain, CertificateFault> {
        let certificates: Vec<CertificateDer<'_>> = request
            .chain
            .iter()
            .take(MAX_CHAIN.saturating_add(1))
            .map(CertificateDer::from)
            .collect();
        let (first, intermediates) = certificates
            .split_first()
            .filter(|_| certificates.len() <= MAX_CHAIN)
            .ok_or(CertificateFault::Unsupported)?;
        let first = EndEntityCert::try_from(first).map_err(|error| fault_of(&error))?;
        let public_key = *decode_p256_spki(&first.subject_public_key_info())
            .ok_or(CertificateFault::Unsupported)?;
        // SHOULD (RFC 7252 §9.1.3.3): where there is a clock, validity is checked. Here there is no
        // mode without: a certificate that never ends is a key that can't be got rid of.
        let now = request.unix_time.ok_or(CertificateFault::TimeUnknown)?;
        let now = UnixTime::since_unix_epoch(core::time::Duration::from_secs(now.as_secs()));
        let usage = match request.owner {
            CertificateOwner::Server => KeyUsage::server_auth(),
            CertificateOwner::Client => KeyUsage::client_auth(),
        };
        first
            .verify_for_usage(
                &[&EcdsaP256 {
                    provider: &self.provider,
                    checks_left: AtomicU8::new(MAX_SIGNATURE_CHECKS),
                }],
                &self.authorities,
                intermediates,
                now,
                usage,
                None,
                None,
            )
            .map_err(|error| fault_of(&error))?;
        let peer = match request.owner {
            CertificateOwner::Server => {
                let (name, peer) = self.server.as_ref().ok_or(CertificateFault::OtherName)?;
                name.is_of(&first)
                    .then_some(*peer)
                    .ok_or(CertificateFault::OtherName)?
            }
            CertificateOwner::Client => {
                let mut peers = self.clients.iter().filter(|(name, _)| name.is_of(&first));
                let &(_, peer) = peers.next().ok_or(CertificateFault::NoAccess)?;
                // The order of a list doesn't decide who somebody is.
                if peers.any(|&(_, other)| other != peer) {
                    return Err(CertificateFault::NoAccess);
                }
                peer
            }
        };
        Ok(VerifiedChain { peer, public_key })
    }

    fn server_name(&self) -> Option<ServerName<'_>> {
        match &self.server {
            Some((Name::Dns(name), _)) => ServerName::new(name).ok(),
            _ => None,
        }
    }

    fn client_certificates(&self) -> ClientCertificates {
        self.client_certificates
    }

    /// A chain is for one key, so that keys needn't be compared.
    fn is_same(&self, other: &Self) -> bool {
        self.own.as_ref().map(|own| &own.chain) == other.own.as_ref().map(|own| &own.chain)
            && self.authorities == other.authorities
            && self.server == other.server
            && self.clients == other.clients
            && self.client_certificates == other.client_certificates
    }
}

/// Whether there is an own certificate and how many others are trusted, and no more.
impl<P, K> fmt::Debug for X509Credentials<P, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("X509Credentials")
            .field("has_identity", &self.own.is_some())
            .field("authorities", &self.authorities.len())
            .field("clients", &self.clients.len())
            .finish_non_exhaustive()
    }
}

impl Name {
    fn new(name: CertificateName<'_>) -> Self {
        match name {
            CertificateName::Dns(name) => Self::Dns(name.as_str().into()),
            CertificateName::CoapAuthority(authority) => Self::CoapAuthority(authority.into()),
        }
    }

    /// Says whether a certificate that was verified carries the name.
    fn is_of(&self, certificate: &EndEntityCert<'_>) -> bool {
        match self {
            Self::Dns(wanted) => {
                let mut names = certificate.valid_dns_names();
                // MUST (RFC 7925 §4.4.1): a certificate has neither several names nor wildcards.
                let is_only =
                    names.next().is_some_and(|name| !name.contains('*')) && names.next().is_none();
                let is_wanted = DnsName::try_from(wanted.as_str()).is_ok_and(|wanted| {
                    certificate
                        .verify_is_valid_for_subject_name(&wanted.into())
                        .is_ok()
                });
                is_only && is_wanted
            }
            // RFC 7252 §9.1.3.3: one of the URIs, by its authority.
            Self::CoapAuthority(wanted) => certificate
                .valid_uri_names()
                .filter_map(authority_of)
                .any(|authority| authority.eq_ignore_ascii_case(wanted)),
        }
    }
}

/// Returns the authority of a `coap` or `coaps` URI.
fn authority_of(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once("://")?;
    let is_coap = scheme.eq_ignore_ascii_case("coap") || scheme.eq_ignore_ascii_case("coaps");
    let authority = rest.split(['/', '?', '#']).next()?;
    (is_coap && !authority.is_empty()).then_some(authority)
}

/// What a certificate that webpki has refused suffers from.
const fn fault_of(error: &webpki::Error) -> CertificateFault {
    use webpki::Error;
    match error {
        Error::CertExpired { .. } | Error::CertNotValidYet { .. } => CertificateFault::NotValidNow,
        Error::UnknownIssuer
        | Error::MaximumPathBuildCallsExceeded
        | Error::MaximumPathDepthExceeded
        | Error::MaximumSignatureChecksExceeded => CertificateFault::UnknownAuthority,
        Error::RequiredEkuNotFoundContext(_)
        | Error::CaUsedAsEndEntity
        | Error::UnsupportedCertVersion
        | Error::UnsupportedCriticalExtension
        | Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            CertificateFault::Unsupported
        }
        Error::CertNotValidForName(_) | Error::NameConstraintViolation => {
            CertificateFault::OtherName
        }
        _ => CertificateFault::Malformed,
    }
}

/// A provider's ECDSA on P-256 with SHA-256, as webpki asks for it, for one chain: webpki's own limit
/// of 100 signatures is too much for what anybody may send.
struct EcdsaP256<'a, P> {
    provider: &'a P,
    /// Read and written by one thread: webpki's trait asks for what could be shared.
    checks_left: AtomicU8,
}

impl<P> fmt::Debug for EcdsaP256<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EcdsaP256")
    }
}

impl<P: Signatures + Send + Sync> SignatureVerificationAlgorithm for EcdsaP256<'_, P> {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let left = self.checks_left.load(Ordering::Relaxed);
        let left = left.checked_sub(1).ok_or(InvalidSignature)?;
        self.checks_left.store(left, Ordering::Relaxed);
        self.provider
            .verify(
                SignatureScheme::EcdsaSecp256r1Sha256,
                public_key,
                message,
                signature,
            )
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P256
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA256
    }
}

#[cfg(test)]
mod tests {
    use super::authority_of;

    #[test]
    fn authority_is_that_of_a_coap_uri() {
        for (uri, authority) in [
            (
                "coaps://[2001:db8::7]:5684/lamp",
                Some("[2001:db8::7]:5684"),
            ),
            ("COAP://lamp.example", Some("lamp.example")),
            ("coaps://lamp?x", Some("lamp")),
            ("https://lamp.example/", None),
            ("coaps:lamp", None),
            ("coaps:///lamp", None),
        ] {
            assert_eq!(authority_of(uri), authority, "{uri}");
        }
    }
}
