//! What both ends of a handshake are configured with.

use core::time::Duration;

use hedgerow_core::{AeadAlgorithm, KeyAgreement, NamedGroup};
use hedgerow_record::{
    CipherSuite, ConnectionId, KeyExchange, MAX_CONNECTION_ID_LEN, MaxFragmentLength, Protocol,
    RECORD_HEADER_LEN, RecordSizeLimit,
};

/// The most suites that one end offers or accepts.
pub const MAX_SUITES: usize = 12;

/// Room for the names of application protocols, each with its length, in bytes.
pub(crate) const MAX_APPLICATION_PROTOCOLS_LEN: usize = 4 * 33;

/// The smallest datagram in which every flight of this crate can be sent, in bytes.
///
/// The longest record that can't be split is a protected Finished: header, connection ID, explicit
/// nonce, handshake header, verify data and tag come to 94 bytes. A ClientHello has to be whole in
/// one datagram for a server that keeps no state; with all suites, limits of records, a connection
/// ID and a cookie of 32 bytes each it takes 213, and a server's name with its header more.
pub const MIN_DATAGRAM_LEN: usize = 224;

/// Suites with pre-shared keys in order of preference: forward secrecy and full tags first, CCM_8 for
/// peers that have nothing else.
pub const DEFAULT_SUITES: [CipherSuite; 8] = [
    CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256,
    CipherSuite::TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_PSK_WITH_AES_128_CCM,
    CipherSuite::TLS_PSK_WITH_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256,
    CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
];

/// Suites with certificates or raw public keys in order of preference, full tags first.
pub const DEFAULT_CERTIFICATE_SUITES: [CipherSuite; 3] = [
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8,
];

/// Groups in order of preference.
pub const DEFAULT_GROUPS: [NamedGroup; 2] = [NamedGroup::X25519, NamedGroup::Secp256r1];

/// Whether the master secret must cover the whole handshake (RFC 7627).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ExtendedMasterSecret {
    /// A peer without it is refused.
    #[default]
    Required,
    /// It is used where the peer has it; for old peers.
    Accepted,
}

/// Timers of the handshake (RFC 6347 §4.2.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timers {
    /// How long the first transmission of a flight waits for its answer.
    pub initial_timeout: Duration,
    /// Where doubling of the timeout ends.
    pub max_timeout: Duration,
    /// How often a flight is sent before the handshake is given up, at least 1.
    pub max_transmissions: u8,
    /// When the handshake is given up in any case, counted from its start.
    pub deadline: Duration,
}

impl Default for Timers {
    /// 1 s doubled up to 60 s as RFC 6347 §4.2.4.1 has it; five transmissions, whose timeouts come
    /// to the deadline of 31 s.
    fn default() -> Self {
        Self {
            initial_timeout: Duration::from_secs(1),
            max_timeout: Duration::from_secs(60),
            max_transmissions: 5,
            deadline: Duration::from_secs(31),
        }
    }
}

/// What one end offers or accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    suites: [CipherSuite; MAX_SUITES],
    suite_count: usize,
    groups: [Option<NamedGroup>; DEFAULT_GROUPS.len()],
    /// Whether peers without the extended master secret are refused.
    pub extended_master_secret: ExtendedMasterSecret,
    /// Timers of the handshake.
    pub timers: Timers,
    max_datagram_len: usize,
    application_protocols: &'static [&'static [u8]],
    #[cfg(test)]
    has_bare_hello: bool,
    connection_id: Option<ConnectionId>,
    record_size_limit: Option<RecordSizeLimit>,
    max_fragment_length: Option<MaxFragmentLength>,
}

impl Default for Settings {
    /// [`DEFAULT_SUITES`] and [`DEFAULT_CERTIFICATE_SUITES`], those with forward secrecy and full
    /// tags first, those with certificates before those with pre-shared keys, CCM_8 last; extended
    /// master secret required, default timers, datagrams of up to 1,200 bytes, which fit every IPv6
    /// path.
    fn default() -> Self {
        Self::new(&[
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM,
            CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256,
            CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256,
            CipherSuite::TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256,
            CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256,
            CipherSuite::TLS_PSK_WITH_AES_128_CCM,
            CipherSuite::TLS_PSK_WITH_CHACHA20_POLY1305_SHA256,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8,
            CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256,
            CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
        ])
    }
}

impl Settings {
    /// Default settings with the suites given, best first. An end uses those of them that it has
    /// credentials for.
    ///
    /// Suites that are not implemented are left out, and so is what goes beyond [`MAX_SUITES`].
    pub fn new(suites: &[CipherSuite]) -> Self {
        let mut settings = Self {
            suites: [CipherSuite(0); MAX_SUITES],
            suite_count: 0,
            groups: DEFAULT_GROUPS.map(Some),
            extended_master_secret: ExtendedMasterSecret::default(),
            timers: Timers::default(),
            max_datagram_len: 1_200,
            application_protocols: &[],
            #[cfg(test)]
            has_bare_hello: false,
            connection_id: None,
            record_size_limit: None,
            max_fragment_length: None,
        };
        let known = suites.iter().filter(|suite| suite.aead().is_some());
        for (place, suite) in settings.suites.iter_mut().zip(known) {
            *place = *suite;
            settings.suite_count = settings.suite_count.saturating_add(1);
        }
        settings
    }

    /// Sets the groups for ephemeral key agreement, best first; without any, no suite with forward
    /// secrecy is offered or accepted; without P-256 none with certificates, whose keys they go for
    /// too (RFC 8422 §5.1.1). What goes beyond the number of groups that there are is left out.
    #[must_use]
    pub fn with_groups(mut self, groups: &[NamedGroup]) -> Self {
        let mut chosen = groups.iter().copied();
        self.groups = [(); DEFAULT_GROUPS.len()].map(|()| chosen.next());
        self
    }

    /// Sets the longest datagram that a flight is packed into, in bytes; at least
    /// [`MIN_DATAGRAM_LEN`].
    #[must_use]
    pub fn with_max_datagram_len(mut self, len: usize) -> Self {
        self.max_datagram_len = len.max(MIN_DATAGRAM_LEN);
        self
    }

    /// Sets the timers.
    #[must_use]
    pub const fn with_timers(mut self, timers: Timers) -> Self {
        self.timers = timers;
        self
    }

    /// Sets whether the extended master secret is required.
    #[must_use]
    pub const fn with_extended_master_secret(mut self, mode: ExtendedMasterSecret) -> Self {
        self.extended_master_secret = mode;
        self
    }

    /// Sets the application protocols that a TLS client offers and a TLS server chooses from, best
    /// first (RFC 7301); at most four, with names of at most 32 bytes. By default there are none. DTLS
    /// ignores them: over datagrams CoAP needs no name (RFC 7252 §9).
    ///
    /// A server without any ignores what clients offer; a client's offer that has none of the
    /// server's is refused.
    #[must_use]
    pub const fn with_application_protocols(mut self, names: &'static [&'static [u8]]) -> Self {
        self.application_protocols = names;
        self
    }

    /// Sets what this end offers, or answers a client that offers it, for connection IDs (RFC 9146
    /// §3). TLS ignores it.
    ///
    /// With `None`, as it begins, there are none in either direction. With an ID, the peer's
    /// records have to carry it: it must tell the session apart from all others of this end, so
    /// that it is chosen for each handshake anew, and all that one socket receives have one length.
    /// With [`ConnectionId::EMPTY`], this end sends with the peer's ID and wants none itself.
    #[must_use]
    pub const fn with_connection_id(mut self, connection_id: Option<ConnectionId>) -> Self {
        self.connection_id = connection_id;
        self
    }

    /// Sets the most plaintext that this end takes in a protected record (RFC 8449), as an end with
    /// small buffers has to. A client offers it; a server answers with it whoever offers one, or with
    /// 2^14 where nothing is set. A peer that doesn't know the extension may send longer records.
    ///
    /// CoAP needs about 50 bytes beside a block of 16 or more: below some 100 bytes there is no
    /// block-wise transfer.
    #[must_use]
    pub const fn with_record_size_limit(mut self, limit: Option<RecordSizeLimit>) -> Self {
        self.record_size_limit = limit;
        self
    }

    /// Sets what a client asks of servers that know only the older extension (RFC 6066 §4), which
    /// limits both directions. A server answers it whatever it is set to, unless the client has
    /// offered a record size limit too.
    #[must_use]
    pub const fn with_max_fragment_length(mut self, length: Option<MaxFragmentLength>) -> Self {
        self.max_fragment_length = length;
        self
    }

    /// Returns the most plaintext that this end takes in a protected record, if it is limited.
    pub const fn record_size_limit(&self) -> Option<RecordSizeLimit> {
        self.record_size_limit
    }

    /// Returns the length that a client asks for, if any.
    pub const fn max_fragment_length(&self) -> Option<MaxFragmentLength> {
        self.max_fragment_length
    }

    /// Returns the connection ID that this end names, if it takes part.
    pub const fn connection_id(&self) -> Option<ConnectionId> {
        self.connection_id
    }

    /// Returns the length of the connection IDs in records that arrive, in bytes.
    pub(crate) fn connection_id_len(&self) -> usize {
        self.connection_id.map_or(0, |id| id.len())
    }

    pub(crate) fn application_protocols(&self, protocol: Protocol) -> &'static [&'static [u8]] {
        match protocol {
            Protocol::Dtls => &[],
            Protocol::Tls => self.application_protocols,
        }
    }

    /// Returns the suites, best first.
    pub fn suites(&self) -> &[CipherSuite] {
        self.suites.get(..self.suite_count).unwrap_or_default()
    }

    /// Returns the longest datagram that a flight is packed into, in bytes.
    pub const fn max_datagram_len(&self) -> usize {
        self.max_datagram_len
    }

    /// Leaves everything out of a ClientHello that the bare protocol has no need of, so that its bytes
    /// can be compared with a formula. No user can ask for it.
    #[cfg(test)]
    pub(crate) const fn with_bare_hello(mut self) -> Self {
        self.has_bare_hello = true;
        self
    }

    #[cfg(test)]
    pub(crate) const fn has_bare_hello(&self) -> bool {
        self.has_bare_hello
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "only tests have hellos that differ")]
    pub(crate) const fn has_bare_hello(&self) -> bool {
        false
    }

    /// Returns the groups, best first.
    pub fn groups(&self) -> impl Iterator<Item = NamedGroup> + '_ {
        self.groups.iter().flatten().copied()
    }

    /// Says whether a suite with an ephemeral key is among those offered.
    pub(crate) fn offers_agreement(&self) -> bool {
        self.suites()
            .iter()
            .any(|suite| suite.key_exchange() != Some(KeyExchange::Psk))
    }

    /// Says whether a suite with certificates or raw public keys is among those offered.
    pub(crate) fn offers_certificates(&self) -> bool {
        self.suites()
            .iter()
            .any(|suite| suite.key_exchange() == Some(KeyExchange::EcdheEcdsa))
    }

    /// Leaves out the groups and suites that `provider` can't do.
    pub(crate) fn within(mut self, provider: &impl KeyAgreement) -> Self {
        self.groups = self
            .groups
            .map(|group| group.filter(|&group| provider.offers_group(group)));
        let has_groups = self.groups().next().is_some();
        let has_p256 = self.groups().any(|group| group == NamedGroup::Secp256r1);
        self.keep_suites(|key_exchange| match key_exchange {
            KeyExchange::Psk => true,
            // RFC 8422 §5.1.1: the groups that a client names go for certificates too.
            KeyExchange::EcdheEcdsa => has_p256,
            _ => has_groups,
        })
    }

    /// Leaves out the suites without forward secrecy: those whose keys come from a pre-shared key alone
    /// (RFC 4279 §7.1).
    #[must_use]
    pub fn with_forward_secrecy(self) -> Self {
        self.keep_suites(|key_exchange| key_exchange != KeyExchange::Psk)
    }

    /// Leaves out the suites whose records don't carry epoch and sequence number as their explicit
    /// nonce: all but those with AES-CCM (RFC 7925 appendix B, RFC 6655 §3).
    #[must_use]
    pub fn with_record_numbers_as_nonces(self) -> Self {
        self.keep(|suite| {
            matches!(
                suite.aead(),
                Some(AeadAlgorithm::Aes128Ccm | AeadAlgorithm::Aes128Ccm8)
            )
        })
    }

    /// Leaves out the suites that this end has no credentials for.
    pub(crate) fn with_credentials(self, has_psk: bool, has_certificates: bool) -> Self {
        self.keep_suites(|key_exchange| match key_exchange {
            KeyExchange::EcdheEcdsa => has_certificates,
            _ => has_psk,
        })
    }

    fn keep_suites(self, is_kept: impl Fn(KeyExchange) -> bool) -> Self {
        self.keep(|suite| suite.key_exchange().is_some_and(&is_kept))
    }

    fn keep(mut self, is_kept: impl Fn(CipherSuite) -> bool) -> Self {
        let suites = self.suites;
        let kept = suites
            .iter()
            .take(self.suite_count)
            .filter(|suite| is_kept(**suite));
        let mut count = 0_usize;
        for (place, suite) in self.suites.iter_mut().zip(kept) {
            *place = *suite;
            count = count.saturating_add(1);
        }
        self.suite_count = count;
        self
    }

    pub(crate) fn accepts(&self, suite: CipherSuite) -> Option<AeadAlgorithm> {
        self.suites()
            .contains(&suite)
            .then(|| suite.aead())
            .flatten()
    }
}

const _: () =
    assert!(MIN_DATAGRAM_LEN > RECORD_HEADER_LEN + MAX_CONNECTION_ID_LEN + 1 + 8 + 12 + 12 + 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_whose_nonces_are_record_numbers_are_those_with_ccm() {
        let kept = Settings::default().with_record_numbers_as_nonces();
        assert_eq!(
            kept.suites(),
            [
                CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM,
                CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256,
                CipherSuite::TLS_PSK_WITH_AES_128_CCM,
                CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8,
                CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256,
                CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
            ]
        );
    }

    #[test]
    fn unknown_suites_are_left_out_and_order_is_kept() {
        let settings = Settings::new(&[
            CipherSuite(0x1301),
            CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
            CipherSuite::TLS_PSK_WITH_AES_128_CCM,
        ]);
        assert_eq!(
            settings.suites(),
            [
                CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
                CipherSuite::TLS_PSK_WITH_AES_128_CCM
            ]
        );
    }

    #[test]
    fn suites_of_plain_keys_are_left_out_for_forward_secrecy() {
        let settings = Settings::default().with_forward_secrecy();
        assert!(!settings.suites().is_empty());
        for suite in settings.suites() {
            assert_ne!(suite.key_exchange(), Some(KeyExchange::Psk), "{suite}");
        }
        let plain = Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM_8]);
        assert!(plain.with_forward_secrecy().suites().is_empty());
    }

    #[test]
    fn default_has_the_suites_of_both_modes_in_the_order_of_each() {
        let settings = Settings::default();
        assert_eq!(
            settings.with_credentials(true, false).suites(),
            DEFAULT_SUITES
        );
        assert_eq!(
            settings.with_credentials(false, true).suites(),
            DEFAULT_CERTIFICATE_SUITES
        );
    }

    #[test]
    fn default_deadline_is_the_sum_of_the_default_timeouts() {
        let timers = Timers::default();
        let sum: Duration = (0..u32::from(timers.max_transmissions))
            .map(|n| (timers.initial_timeout * 2_u32.pow(n)).min(timers.max_timeout))
            .sum();
        assert_eq!(sum, timers.deadline);
    }
}
