//! From a pre-shared key or an agreed secret to the keys of one connection (RFC 4279 §2, RFC 5246
//! §8.1 and §6.3, RFC 7627 §4).

use hedgerow_core::{
    AeadAlgorithm, CryptoProvider, CryptoRng, MAX_PSK_LEN, Misuse, Psk, SHA256_LEN,
    SHARED_SECRET_LEN, Secret, Writer,
};
use hedgerow_record::{CipherSuite, HandshakeType, KeyExchange, Random, TrafficKeys};

use crate::connection_ids::ConnectionIds;
use crate::exporter::Exporter;
use crate::outgoing::ConnectionKeys;
use crate::prf::prf;
use crate::record_limits::RecordLimits;
use crate::server_resumption::Promise;
use crate::session_state::SessionState;

/// Length of a Finished message's body, in bytes (RFC 5246 §7.4.9).
pub(crate) const VERIFY_DATA_LEN: usize = 12;

/// other_secret and psk, each with its length (RFC 4279 §2); what is agreed on isn't longer than the
/// longest psk.
const MAX_PREMASTER_SECRET_LEN: usize = 2 * (2 + MAX_PSK_LEN);

const _: () = assert!(SHARED_SECRET_LEN <= MAX_PSK_LEN);

pub(crate) const MASTER_SECRET_LEN: usize = 48;

/// Keys of HMAC-SHA-256 up to this length are used as they are, longer ones hashed first.
const HMAC_BLOCK_LEN: usize = 64;

/// Two keys of up to 32 bytes and two fixed nonce parts of up to 12.
const MAX_KEY_BLOCK_LEN: usize = 2 * 32 + 2 * 12;

/// What both hellos settle.
pub(crate) struct SecurityParameters {
    pub(crate) client_random: Random,
    pub(crate) server_random: Random,
    pub(crate) suite: CipherSuite,
    pub(crate) key_exchange: KeyExchange,
    pub(crate) algorithm: AeadAlgorithm,
    pub(crate) has_extended_master_secret: bool,
    /// The application protocol that both ends speak, if they have agreed on one (RFC 7301).
    pub(crate) application_protocol: Option<&'static [u8]>,
    /// Both empty where nothing was agreed on.
    pub(crate) connection_ids: ConnectionIds,
    pub(crate) record_limits: RecordLimits,
    /// What the server has said about resumption.
    pub(crate) promise: Promise,
}

impl SecurityParameters {
    /// Derives the master secret and the keys of `end`; `session_hash` is the digest of all
    /// messages up to ClientKeyExchange.
    pub(crate) fn derive_keys<P: CryptoProvider>(
        &self,
        provider: &P,
        secrets: &Secrets<'_>,
        session_hash: &[u8; SHA256_LEN],
        end: ConnectionEnd,
    ) -> Result<(MasterSecret<P>, ConnectionKeys<P::Aead>), Misuse> {
        let (client_random, server_random) = (&self.client_random, &self.server_random);
        let binding = if self.has_extended_master_secret {
            Binding::SessionHash(session_hash)
        } else {
            Binding::Randoms
        };
        let master =
            MasterSecret::derive(provider, secrets, client_random, server_random, &binding);
        self.key_connection(provider, master, end)
    }

    /// Derives the keys of `end` from the master secret of a session that is resumed (RFC 5246 §7.3).
    pub(crate) fn resume_keys<P: CryptoProvider>(
        &self,
        provider: &P,
        session: &SessionState,
        end: ConnectionEnd,
    ) -> Result<(MasterSecret<P>, ConnectionKeys<P::Aead>), Misuse> {
        let master = Secret::fill_with(|bytes| *bytes = *session.master_secret.expose());
        let master = MasterSecret::new(provider, master, &self.client_random);
        self.key_connection(provider, master, end)
    }

    fn key_connection<P: CryptoProvider>(
        &self,
        provider: &P,
        master: MasterSecret<P>,
        end: ConnectionEnd,
    ) -> Result<(MasterSecret<P>, ConnectionKeys<P::Aead>), Misuse> {
        let (client_random, server_random) = (&self.client_random, &self.server_random);
        let algorithm = self.algorithm;
        let keys =
            master.derive_traffic_keys(provider, algorithm, client_random, server_random, end)?;
        Ok((master, keys))
    }
}

/// What the master secret is bound to.
enum Binding<'a> {
    /// Both hellos' random bytes (RFC 5246 §8.1).
    Randoms,
    /// The digest of all messages up to ClientKeyExchange (RFC 7627 §4).
    SessionHash(&'a [u8; SHA256_LEN]),
}

/// Which end of the association this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionEnd {
    Client,
    Server,
}

impl ConnectionEnd {
    /// Returns the other end.
    pub(crate) const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    /// Returns the message by which the peer asks this end for another handshake: only servers send
    /// HelloRequest, only clients ClientHello (RFC 5246 §7.4.1).
    pub(crate) const fn renegotiation_request(self) -> HandshakeType {
        match self {
            Self::Client => HandshakeType::HelloRequest,
            Self::Server => HandshakeType::ClientHello,
        }
    }
}

/// The master secret, ready to key the PRF.
pub(crate) struct MasterSecret<P: CryptoProvider> {
    keyed: P::HmacSha256,
    /// Itself, for what the session is resumed from.
    bytes: Secret<MASTER_SECRET_LEN>,
}

impl<P: CryptoProvider> MasterSecret<P> {
    /// Derives the master secret.
    fn derive(
        provider: &P,
        secrets: &Secrets<'_>,
        client_random: &Random,
        server_random: &Random,
        binding: &Binding<'_>,
    ) -> Self {
        let mut premaster = Secret::<MAX_PREMASTER_SECRET_LEN>::zeroed();
        let len = write_premaster_secret(secrets, premaster.expose_mut());
        // HMAC fills a short key up with zeros itself. Filled up here, keys of up to 30 bytes, with an
        // ephemeral key 28, cost the same calls, so that a known identity's can't be told from the dummy.
        let len = len.max(HMAC_BLOCK_LEN);
        let keyed = provider.hmac_sha256(premaster.expose().get(..len).unwrap_or_default());
        let master = Secret::<MASTER_SECRET_LEN>::fill_with(|bytes| match binding {
            Binding::Randoms => prf(
                &keyed,
                b"master secret",
                &[client_random, server_random],
                bytes,
            ),
            Binding::SessionHash(hash) => {
                prf(&keyed, b"extended master secret", &[*hash], bytes);
            }
        });
        Self::new(provider, master, client_random)
    }

    fn new(provider: &P, bytes: Secret<MASTER_SECRET_LEN>, client_random: &Random) -> Self {
        if let Some(log) = provider.key_log() {
            log.log("CLIENT_RANDOM", client_random, bytes.expose());
        }
        Self {
            keyed: provider.hmac_sha256(bytes.expose()),
            bytes,
        }
    }

    /// Lends the secret itself.
    pub(crate) const fn expose(&self) -> &[u8; MASTER_SECRET_LEN] {
        self.bytes.expose()
    }

    /// Makes what keying material is exported with.
    pub(crate) fn into_exporter(self, parameters: &SecurityParameters) -> Exporter<P> {
        Exporter {
            keyed: self.keyed,
            client_random: parameters.client_random,
            server_random: parameters.server_random,
            has_extended_master_secret: parameters.has_extended_master_secret,
        }
    }

    /// Derives the keys of the connection: what this end seals with and what it opens with.
    fn derive_traffic_keys(
        &self,
        provider: &P,
        algorithm: AeadAlgorithm,
        client_random: &Random,
        server_random: &Random,
        end: ConnectionEnd,
    ) -> Result<ConnectionKeys<P::Aead>, Misuse> {
        let key_len = algorithm.key_len();
        let iv_len = TrafficKeys::<P::Aead>::iv_len(algorithm);
        let mut block = Secret::<MAX_KEY_BLOCK_LEN>::zeroed();
        let len = key_len.saturating_add(iv_len).saturating_mul(2);
        let block = block.expose_mut().get_mut(..len).unwrap_or_default();
        // MUST (RFC 5246 §6.3): the server's random bytes come first here, unlike in the master
        // secret.
        prf(
            &self.keyed,
            b"key expansion",
            &[server_random, client_random],
            block,
        );
        let (keys, ivs) = block.split_at(key_len.saturating_mul(2).min(block.len()));
        let (client_key, server_key) = keys.split_at(key_len.min(keys.len()));
        let (client_iv, server_iv) = ivs.split_at(iv_len.min(ivs.len()));
        let client = TrafficKeys::new(provider, algorithm, client_key, client_iv)?;
        let server = TrafficKeys::new(provider, algorithm, server_key, server_iv)?;
        let (write, read) = match end {
            ConnectionEnd::Client => (client, server),
            ConnectionEnd::Server => (server, client),
        };
        Ok(ConnectionKeys { write, read })
    }

    /// Derives the body of the Finished message that `sender` sends (RFC 5246 §7.4.9).
    pub(crate) fn derive_verify_data(
        &self,
        sender: ConnectionEnd,
        transcript_hash: &[u8; SHA256_LEN],
    ) -> [u8; VERIFY_DATA_LEN] {
        let label: &[u8] = match sender {
            ConnectionEnd::Client => b"client finished",
            ConnectionEnd::Server => b"server finished",
        };
        let mut verify_data = [0; VERIFY_DATA_LEN];
        prf(&self.keyed, label, &[transcript_hash], &mut verify_data);
        verify_data
    }
}

/// What the premaster secret is made of.
pub(crate) enum Secrets<'a> {
    /// A pre-shared key, and in an ephemeral exchange what both ends agreed on.
    Psk {
        psk: &'a [u8],
        agreed: Option<&'a Secret<SHARED_SECRET_LEN>>,
    },
    /// What both ends agreed on, and no more.
    Agreed(&'a Secret<SHARED_SECRET_LEN>),
}

/// Writes the premaster secret and returns how many bytes it takes.
///
/// With a pre-shared key it is other_secret and psk, each with its length (RFC 4279 §2); other_secret
/// is what was agreed on (RFC 5489 §2), or as many zeros as the psk has bytes. Without, it is what
/// was agreed on (RFC 8422 §5.10).
fn write_premaster_secret(
    secrets: &Secrets<'_>,
    out: &mut [u8; MAX_PREMASTER_SECRET_LEN],
) -> usize {
    const ZEROS: [u8; MAX_PSK_LEN] = [0; MAX_PSK_LEN];
    let mut writer = Writer::new(out);
    let written = match secrets {
        Secrets::Psk { psk, agreed } => {
            let other: &[u8] = match agreed {
                Some(agreed) => agreed.expose(),
                None => ZEROS.get(..psk.len()).unwrap_or(&ZEROS),
            };
            writer.vector16(other).and_then(|()| writer.vector16(psk))
        }
        Secrets::Agreed(agreed) => writer.bytes(agreed.expose()),
    };
    let written = written.map(|()| writer.len());
    // A `Psk` is at most MAX_PSK_LEN bytes long, for which the buffer is made.
    written.unwrap_or_default()
}

/// Stands in for a key that isn't there, so that the peer can't tell that it isn't.
///
/// It is drawn for every handshake: a fixed one would be a key that everybody knows.
pub(crate) struct DummyPsk {
    bytes: Secret<MAX_PSK_LEN>,
    len: usize,
}

impl DummyPsk {
    /// Draws a key as long as the store's are; the draw itself is always the same.
    pub(crate) fn draw(rng: &mut dyn CryptoRng, len: usize) -> Self {
        Self {
            bytes: Secret::fill_with(|bytes| rng.fill_bytes(bytes)),
            len: len.clamp(1, MAX_PSK_LEN),
        }
    }

    pub(crate) fn expose(&self) -> &[u8] {
        self.bytes.expose().get(..self.len).unwrap_or_default()
    }
}

/// A client's or a server's key, or what stands in for it.
pub(crate) fn psk_or_dummy<'a>(psk: Option<&'a Psk>, dummy: &'a DummyPsk) -> &'a [u8] {
    psk.map_or_else(|| dummy.expose(), Psk::expose)
}
