//! What each end of a handshake is given: pre-shared keys, certificates, or both.
//!
//! Whoever has pre-shared keys alone implements [`PskCredentials`] or [`PskStore`] and nothing here.

use crate::{CertificateCredentials, Credentials, PskCredentials, PskStore};

/// What a client has for one server. What it doesn't have it doesn't offer.
pub trait ClientCredentials {
    /// Returns the pre-shared key and what goes with it, if there is one.
    fn pre_shared_key(&self) -> Option<Credentials<'_>>;

    /// Returns how the client proves itself by signing and whom it accepts, if it does.
    fn certificates(&self) -> Option<&dyn CertificateCredentials>;
}

/// What a server has for all its clients. Modes that it doesn't have it doesn't choose.
pub trait ServerCredentials {
    /// Returns where the clients' pre-shared keys are, if there are any.
    fn psk_store(&self) -> Option<&dyn PskStore>;

    /// Returns how the server proves itself by signing and whom it accepts, if it does.
    fn certificates(&self) -> Option<&dyn CertificateCredentials>;
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
}

impl<K: PskStore, C: CertificateCredentials> ServerCredentials for PskAndCertificates<K, C> {
    fn psk_store(&self) -> Option<&dyn PskStore> {
        Some(&self.psk)
    }

    fn certificates(&self) -> Option<&dyn CertificateCredentials> {
        Some(&self.certificates)
    }
}
