//! Which security modes and which keys may be used, and by whom.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use hedgerow_core::{
    CertificateCredentials, ClientCredentials, Credentials, KeyPurpose, Misuse, Peer, PeerId,
    PskStore, SecurityMode, ServerCredentials, ServerName,
};
use hedgerow_handshake::Settings;

/// The least security mode (RFC 7252 §9), for everybody and for single peers; and what the keys
/// are for, a hop or end-to-end security (`docs/specs/end-to-end-keys.md`).
///
/// Below the least mode nothing is established: a client refuses credentials before it sends anything and a
/// server before it believes them, and at a server what is forbidden looks like an identity that it
/// doesn't know. Nothing is ever established in a weaker mode instead of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityPolicy {
    least: SecurityMode,
    clients: BTreeMap<PeerId, SecurityMode>,
    servers: BTreeMap<PeerId, SecurityMode>,
    purpose: KeyPurpose,
    /// What the keys of clients are for; `None` for whatever they say.
    client_purpose: Option<KeyPurpose>,
    forward_secrecy: ForwardSecrecy,
}

/// Whether end-to-end security may do without forward secrecy. A gateway between the ends sees every
/// handshake: without it, a recording is readable once a key becomes known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ForwardSecrecy {
    /// No suite without it is offered.
    #[default]
    Required,
    /// Suites with plain pre-shared keys are offered too.
    Optional,
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
            purpose: KeyPurpose::Hop,
            client_purpose: None,
            forward_secrecy: ForwardSecrecy::Optional,
        }
    }

    /// Says that what this end begins is secured end to end, through whatever is between: with
    /// credentials for that alone, in mode MultiKey or above, and with forward secrecy unless that is
    /// optional. Without this it is secured for a hop, and with a hop's credentials alone.
    #[must_use]
    pub const fn for_end_to_end(mut self, forward_secrecy: ForwardSecrecy) -> Self {
        self.purpose = KeyPurpose::EndToEnd;
        self.forward_secrecy = forward_secrecy;
        self
    }

    /// Says what the pre-shared keys of clients have to be for. Without this both purposes are served:
    /// where a gateway hands datagrams on, the key alone tells whether it or somebody behind it asks.
    #[must_use]
    pub const fn with_clients_for(mut self, purpose: KeyPurpose) -> Self {
        self.client_purpose = Some(purpose);
        self
    }

    /// Returns what associations are for that this end begins.
    pub const fn purpose(&self) -> KeyPurpose {
        self.purpose
    }

    /// Returns whether what this end begins end to end has to have forward secrecy.
    pub const fn forward_secrecy(&self) -> ForwardSecrecy {
        self.forward_secrecy
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
        let is_for_it = match (self.client_purpose, peer.key_purpose()) {
            (Some(wanted), Some(given)) => wanted == given,
            _ => true,
        };
        is_for_it && peer.security_mode() >= self.least_of(&self.clients, peer)
    }

    /// Says whether a server that is known so may be talked to.
    pub fn permits_server(&self, peer: Peer) -> bool {
        let is_for_it = peer.key_purpose().is_none_or(|given| given == self.purpose);
        is_for_it && peer.security_mode() >= self.least_of_server(peer)
    }

    /// Returns the least mode of a server: an end that nobody can play but itself, if it is one.
    fn least_of_server(&self, peer: Peer) -> SecurityMode {
        let least = self.least_of(&self.servers, peer);
        match self.purpose {
            KeyPurpose::Hop => least,
            KeyPurpose::EndToEnd => least.max(SecurityMode::MultiKey),
        }
    }

    fn least_of(&self, single: &BTreeMap<PeerId, SecurityMode>, peer: Peer) -> SecurityMode {
        let own = peer.id().and_then(|id| single.get(&id));
        own.copied().unwrap_or(self.least)
    }

    /// Checks what a client is about to show; `None` speaks in clear.
    ///
    /// # Errors
    ///
    /// If nothing of it may be shown: [`Misuse::KeyPurpose`] if it is for the other purpose, and
    /// [`Misuse::ForbiddenMode`] if its mode isn't permitted.
    pub fn check_credentials<K: ClientCredentials>(
        &self,
        credentials: Option<&K>,
    ) -> Result<(), Misuse> {
        // Who signs is known in the mode that stands above all others.
        let signs = credentials.is_some_and(|credentials| credentials.certificates().is_some());
        let purpose = credentials.map(ClientCredentials::certificate_purpose);
        if signs && purpose == Some(self.purpose) {
            return Ok(());
        }
        match credentials.and_then(ClientCredentials::pre_shared_key) {
            Some(psk) => self.check_server(Peer::of_psk(psk.psk, psk.peer)),
            None => match purpose.filter(|_| signs) {
                Some(given) => Err(self.wrong_purpose(given)),
                None => self.check_server(Peer::Anonymous),
            },
        }
    }

    /// Says whether credentials may begin an inner session, which is end to end whatever this end's other
    /// associations are for.
    pub(crate) fn check_inner<K: ClientCredentials>(&self, credentials: &K) -> Result<(), Misuse> {
        let shown = credentials.pre_shared_key().ok_or(Misuse::NotOffered)?;
        let (given, wanted) = (shown.psk.purpose(), KeyPurpose::EndToEnd);
        if given != wanted {
            return Err(Misuse::KeyPurpose { given, wanted });
        }
        let peer = Peer::of_psk(shown.psk, shown.peer);
        let least = self
            .least_of(&self.servers, peer)
            .max(SecurityMode::MultiKey);
        let mode = peer.security_mode();
        match mode >= least {
            true => Ok(()),
            false => Err(Misuse::ForbiddenMode { mode, least }),
        }
    }

    const fn wrong_purpose(&self, given: KeyPurpose) -> Misuse {
        Misuse::KeyPurpose {
            given,
            wanted: self.purpose,
        }
    }

    /// Checks whether a server that will be known so may be talked to.
    fn check_server(&self, peer: Peer) -> Result<(), Misuse> {
        if self.permits_server(peer) {
            return Ok(());
        }
        match peer.key_purpose() {
            Some(given) if given != self.purpose => Err(self.wrong_purpose(given)),
            _ => Err(Misuse::ForbiddenMode {
                mode: peer.security_mode(),
                least: self.least_of_server(peer),
            }),
        }
    }

    /// Leaves the suites that a client may offer.
    pub(crate) fn restrict(&self, settings: Settings) -> Settings {
        match (self.purpose, self.forward_secrecy) {
            (KeyPurpose::EndToEnd, ForwardSecrecy::Required) => settings.with_forward_secrecy(),
            _ => settings,
        }
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

/// Refuses an end-to-end key by which clients come in too: whoever is between could hand this end's
/// own call back to it.
///
/// # Errors
///
/// [`Misuse::KeyInBothRoles`].
pub(crate) fn check_roles<S, K>(store: &S, credentials: Option<&K>) -> Result<(), Misuse>
where
    S: ServerCredentials,
    K: ClientCredentials,
{
    let shown = credentials.and_then(ClientCredentials::pre_shared_key);
    let shown = shown.filter(|shown| shown.psk.purpose() == KeyPurpose::EndToEnd);
    match (shown, store.psk_store()) {
        (Some(shown), Some(store)) if store.has_key(shown.psk) => Err(Misuse::KeyInBothRoles),
        _ => Ok(()),
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
        let is_for_it = self.certificate_purpose() == self.policy.purpose;
        self.credentials.certificates().filter(|_| is_for_it)
    }

    fn certificate_purpose(&self) -> KeyPurpose {
        self.credentials.certificate_purpose()
    }

    fn server_name(&self) -> Option<ServerName<'_>> {
        self.credentials.server_name()
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

    #[test]
    fn servers_are_of_the_purpose_and_clients_of_any_unless_one_is_said() {
        let id = PeerId(1);
        let hop = SecurityPolicy::new(SecurityMode::NoSec);
        let end_to_end = hop.clone().for_end_to_end(ForwardSecrecy::Required);
        for (peer, on_a_hop, end_to_end_too) in [
            (Peer::Anonymous, true, false),
            (Peer::SharedPsk(id), true, false),
            (Peer::Psk(id), true, false),
            (Peer::EndToEndPsk(id), false, true),
            (Peer::RawPublicKey(id), true, true),
            (Peer::Certificate(id), true, true),
        ] {
            assert_eq!(hop.permits_server(peer), on_a_hop, "{peer:?}");
            assert_eq!(end_to_end.permits_server(peer), end_to_end_too, "{peer:?}");
            assert!(hop.permits_client(peer), "{peer:?}");
        }
        let ends = hop.clone().with_clients_for(KeyPurpose::EndToEnd);
        assert!(ends.permits_client(Peer::EndToEndPsk(id)));
        assert!(!ends.permits_client(Peer::Psk(id)));
        assert!(ends.permits_client(Peer::RawPublicKey(id)));
        let hops = hop.with_clients_for(KeyPurpose::Hop);
        assert!(!hops.permits_client(Peer::EndToEndPsk(id)));
    }
}
