//! Which security modes may be used, and by whom.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use hedgerow_core::{
    CertificateCredentials, ClientCredentials, Credentials, Misuse, Peer, PeerId, PskStore,
    SecurityMode, ServerCredentials,
};

/// The least security mode (RFC 7252 §9), for everybody and for single peers.
///
/// Below it nothing is established: a client refuses credentials before it sends anything and a
/// server before it believes them, and at a server what is forbidden looks like an identity that it
/// doesn't know. Nothing is ever established in a weaker mode instead of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityPolicy {
    least: SecurityMode,
    clients: BTreeMap<PeerId, SecurityMode>,
    servers: BTreeMap<PeerId, SecurityMode>,
}

impl Default for SecurityPolicy {
    /// [`SecurityMode::MultiKey`] for everybody.
    fn default() -> Self {
        Self::new(SecurityMode::MultiKey)
    }
}

impl SecurityPolicy {
    /// Permits a mode, and those above, to everybody.
    pub const fn new(least: SecurityMode) -> Self {
        Self {
            least,
            clients: BTreeMap::new(),
            servers: BTreeMap::new(),
        }
    }

    /// Sets another least mode for one client, by the application's own number for it.
    #[must_use]
    pub fn with_client(mut self, client: PeerId, least: SecurityMode) -> Self {
        self.clients.insert(client, least);
        self
    }

    /// Sets another least mode for one server, by the application's own number for it. Numbers of
    /// clients and of servers are apart.
    #[must_use]
    pub fn with_server(mut self, server: PeerId, least: SecurityMode) -> Self {
        self.servers.insert(server, least);
        self
    }

    /// Returns the least mode of all who have none of their own. It is that of peers in clear too,
    /// who have no number.
    pub const fn least(&self) -> SecurityMode {
        self.least
    }

    /// Says whether a client that is known so may come in.
    pub fn permits_client(&self, peer: Peer) -> bool {
        peer.security_mode() >= self.least_of(&self.clients, peer)
    }

    /// Says whether a server that is known so may be talked to.
    pub fn permits_server(&self, peer: Peer) -> bool {
        peer.security_mode() >= self.least_of(&self.servers, peer)
    }

    fn least_of(&self, single: &BTreeMap<PeerId, SecurityMode>, peer: Peer) -> SecurityMode {
        let own = peer.id().and_then(|id| single.get(&id));
        own.copied().unwrap_or(self.least)
    }

    /// Checks what a client is about to show; `None` speaks in clear.
    ///
    /// # Errors
    ///
    /// [`Misuse::ForbiddenMode`] if nothing of it is permitted.
    pub fn check_credentials<K: ClientCredentials>(
        &self,
        credentials: Option<&K>,
    ) -> Result<(), Misuse> {
        // Who signs is known in the mode that stands above all others.
        if credentials.is_some_and(|credentials| credentials.certificates().is_some()) {
            return Ok(());
        }
        let psk = credentials.and_then(ClientCredentials::pre_shared_key);
        self.check_server(psk.map_or(Peer::Anonymous, |psk| Peer::of_psk(psk.psk, psk.peer)))
    }

    /// Checks whether a server that will be known so may be talked to.
    fn check_server(&self, peer: Peer) -> Result<(), Misuse> {
        if self.permits_server(peer) {
            return Ok(());
        }
        Err(Misuse::ForbiddenMode {
            mode: peer.security_mode(),
            least: self.least_of(&self.servers, peer),
        })
    }

    /// Checks whether clients in clear may come in.
    ///
    /// # Errors
    ///
    /// [`Misuse::ForbiddenMode`] if not.
    pub fn check_clear_server(&self) -> Result<(), Misuse> {
        if self.permits_client(Peer::Anonymous) {
            return Ok(());
        }
        Err(Misuse::ForbiddenMode {
            mode: SecurityMode::NoSec,
            least: self.least,
        })
    }
}

/// Either end's credentials, as far as policy permits them.
#[derive(Clone)]
pub(crate) struct Permitted<C> {
    credentials: C,
    policy: Arc<SecurityPolicy>,
}

impl<C> Permitted<C> {
    pub(crate) fn new(credentials: C, policy: &Arc<SecurityPolicy>) -> Self {
        Self {
            credentials,
            policy: Arc::clone(policy),
        }
    }
}

impl<S: ServerCredentials> ServerCredentials for Permitted<S> {
    fn psk_store(&self) -> Option<&dyn PskStore> {
        self.credentials.psk_store()
    }

    fn certificates(&self) -> Option<&dyn CertificateCredentials> {
        self.credentials.certificates()
    }

    fn permits(&self, peer: Peer) -> bool {
        self.credentials.permits(peer) && self.policy.permits_client(peer)
    }
}

impl<K: ClientCredentials> ClientCredentials for Permitted<K> {
    fn pre_shared_key(&self) -> Option<Credentials<'_>> {
        self.credentials.pre_shared_key()
    }

    fn certificates(&self) -> Option<&dyn CertificateCredentials> {
        self.credentials.certificates()
    }

    fn permits(&self, peer: Peer) -> bool {
        self.credentials.permits(peer) && self.policy.permits_server(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_s_own_mode_counts_before_that_of_all_and_in_its_role_alone() {
        let policy = SecurityPolicy::default()
            .with_client(PeerId(1), SecurityMode::SharedKey)
            .with_client(PeerId(2), SecurityMode::Certificate)
            .with_server(PeerId(3), SecurityMode::SharedKey);
        for (peer, as_client, as_server) in [
            (Peer::Anonymous, false, false),
            (Peer::SharedPsk(PeerId(1)), true, false),
            (Peer::SharedPsk(PeerId(3)), false, true),
            (Peer::SharedPsk(PeerId(4)), false, false),
            (Peer::Psk(PeerId(2)), false, true),
            (Peer::Psk(PeerId(4)), true, true),
            (Peer::RawPublicKey(PeerId(2)), true, true),
            (Peer::Certificate(PeerId(2)), true, true),
        ] {
            assert_eq!(policy.permits_client(peer), as_client, "{peer:?}");
            assert_eq!(policy.permits_server(peer), as_server, "{peer:?}");
        }
        assert!(SecurityPolicy::new(SecurityMode::NoSec).permits_client(Peer::Anonymous));
    }
}
