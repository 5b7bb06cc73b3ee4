//! What each end of a handshake is given: pre-shared keys, certificates, or both.
//!
//! Whoever has pre-shared keys alone implements [`PskCredentials`] or [`PskStore`] and nothing here.

use crate::{
    CertificateCredentials, Credentials, KeyPurpose, Peer, PskCredentials, PskStore, ServerName,
};

/// What a client has for one server. What it doesn't have it doesn't offer.
pub trait ClientCredentials {
    /// Returns the pre-shared key and what goes with it, if there is one.
    fn pre_shared_key(&self) -> Option<Credentials<'_>>;

    /// Returns how the client proves itself by signing and whom it accepts, if it does.
    fn certificates(&self) -> Option<&dyn CertificateCredentials>;

    /// Returns what [`Self::certificates`] are for: a hop's security, if nothing else is said. Whoever is
    /// accepted as a hop's server may be the gateway.
    fn certificate_purpose(&self) -> KeyPurpose {
        KeyPurpose::Hop
    }

    /// Returns the name to ask a server for (SNI, RFC 6066 §3) where [`Self::certificates`] names none: none, if
    /// nothing else is said. With a pre-shared key it says whom is meant at an address that several share, and
    /// proves nothing.
    fn server_name(&self) -> Option<ServerName<'_>> {
        None
    }

    /// Says whether policy permits a session with a server that is known so: any, if nothing else is
    /// said. A pre-shared key that isn't permitted is not offered.
    fn permits(&self, peer: Peer) -> bool {
        let _ = peer;
        true
    }

    /// Says whether others are the same in all that is shown and accepted, so that whoever has one of
    /// them may ride on a session made with the other. If nothing else is said, only pre-shared keys
    /// can be the same.
    fn is_same(&self, other: &Self) -> bool
    where
        Self: Sized,
    {
        let has_certificates = self.certificates().is_some() || other.certificates().is_some();
        match (self.pre_shared_key(), other.pre_shared_key()) {
            (Some(one), Some(other)) => !has_certificates && one.is_same(&other),
            _ => false,
        }
    }
}

/// What a server has for all its clients. Modes that it doesn't have it doesn't choose.
pub trait ServerCredentials {
    /// Returns where the clients' pre-shared keys are, if there are any.
    fn psk_store(&self) -> Option<&dyn PskStore>;

    /// Returns how the server proves itself by signing and whom it accepts, if it does.
    fn certificates(&self) -> Option<&dyn CertificateCredentials>;

    /// Says whether policy permits a session with a client that is known so: any, if nothing else is
    /// said. Whoever isn't permitted is treated as one that isn't known.
    fn permits(&self, peer: Peer) -> bool {
        let _ = peer;
        true
    }
}

impl<C: PskCredentials> ClientCredentials for C {
    fn pre_shared_key(&self) -> Option<Credentials<'_>> {
        Some(Credentials {
            psk_identity: self.psk_identity(),
            psk: self.psk(),
            peer: self.peer(),
        })
    }

    fn certificates(&self) -> Option<&dyn CertificateCredentials> {
        None
    }
}

impl<S: PskStore> ServerCredentials for S {
    fn psk_store(&self) -> Option<&dyn PskStore> {
        Some(self)
    }

    fn certificates(&self) -> Option<&dyn CertificateCredentials> {
        None
    }
}

/// Certificates or raw public keys, and no pre-shared key.
#[derive(Clone, Copy, Debug)]
pub struct CertificatesOnly<C>(pub C);

impl<C: CertificateCredentials> ClientCredentials for CertificatesOnly<C> {
    fn pre_shared_key(&self) -> Option<Credentials<'_>> {
        None
    }

    fn certificates(&self) -> Option<&dyn CertificateCredentials> {
        Some(&self.0)
    }

    fn is_same(&self, other: &Self) -> bool {
        self.0.is_same(&other.0)
    }
}

impl<C: CertificateCredentials> ServerCredentials for CertificatesOnly<C> {
    fn psk_store(&self) -> Option<&dyn PskStore> {
        None
    }

    fn certificates(&self) -> Option<&dyn CertificateCredentials> {
        Some(&self.0)
    }
}

/// Pre-shared keys beside certificates or raw public keys.
#[derive(Clone, Copy, Debug)]
pub struct PskAndCertificates<K, C> {
    /// A client's [`PskCredentials`] or a server's [`PskStore`].
    pub psk: K,
    /// The other mode.
    pub certificates: C,
}

impl<K: PskCredentials, C: CertificateCredentials> ClientCredentials for PskAndCertificates<K, C> {
    fn pre_shared_key(&self) -> Option<Credentials<'_>> {
        self.psk.pre_shared_key()
    }

    fn certificates(&self) -> Option<&dyn CertificateCredentials> {
        Some(&self.certificates)
    }

    fn is_same(&self, other: &Self) -> bool {
        self.psk.is_same(&other.psk) && self.certificates.is_same(&other.certificates)
    }
}

impl<K: PskStore, C: CertificateCredentials> ServerCredentials for PskAndCertificates<K, C> {
    fn psk_store(&self) -> Option<&dyn PskStore> {
        Some(&self.psk)
    }

    fn certificates(&self) -> Option<&dyn CertificateCredentials> {
        Some(&self.certificates)
    }
}
