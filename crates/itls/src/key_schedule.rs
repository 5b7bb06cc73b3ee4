//! The key schedule of TLS 1.3 with a pre-shared key (RFC 8446 §7.1), with labels of our own.

use hedgerow_core::{CryptoError, CryptoProvider, HmacSha256, SHA256_LEN, Secret, Sha256, Writer};

use crate::hello::{HELLO_MAC_LEN, IdentityKind, initiator_random};
use crate::inner_message::{Opener, Role, SESSION_ID_LEN, Sealer, SessionId};
use crate::number::NumberedKey;
use crate::suite::Suite;

pub(crate) type Hash = [u8; SHA256_LEN];

/// The secret of a pre-shared key, from which the binder comes.
pub(crate) struct EarlySecret(Secret<SHA256_LEN>);

impl EarlySecret {
    pub(crate) fn new<P: CryptoProvider>(provider: &P, key: &[u8]) -> Self {
        Self(extract(provider, &ZEROS, key))
    }

    /// The MAC of an initiator hello, over the hash of what it covers.
    pub(crate) fn binder<P: CryptoProvider>(
        &self,
        provider: &P,
        kind: IdentityKind,
        covered: &Hash,
    ) -> Result<[u8; HELLO_MAC_LEN], CryptoError> {
        // A key and a session's secret never make the same MAC (RFC 8446 §7.1).
        let label: &[u8] = match kind {
            IdentityKind::Key => b"ext binder",
            IdentityKind::Session => b"res binder",
        };
        let nothing = provider.sha256().finish();
        let binder = expand_label(provider, &self.0, label, &nothing)?;
        finished(provider, &binder, covered)
    }

    /// `shared` is `None` without a group.
    pub(crate) fn handshake<P: CryptoProvider>(
        &self,
        provider: &P,
        shared: Option<&Secret<SHA256_LEN>>,
    ) -> Result<HandshakeSecret, CryptoError> {
        let salt = derived(provider, &self.0)?;
        let shared = shared.map_or(&ZEROS, Secret::expose);
        Ok(HandshakeSecret(extract(provider, salt.expose(), shared)))
    }
}

/// The secret that takes in the key agreement.
pub(crate) struct HandshakeSecret(Secret<SHA256_LEN>);

impl HandshakeSecret {
    /// The MAC of a responder hello, over the hash of the initiator's and of what it covers.
    pub(crate) fn responder_mac<P: CryptoProvider>(
        &self,
        provider: &P,
        transcript: &Hash,
    ) -> Result<[u8; HELLO_MAC_LEN], CryptoError> {
        let secret = expand_label(provider, &self.0, b"r hs traffic", transcript)?;
        finished(provider, &secret, transcript)
    }

    /// Everything that the session has, from the hash of both hellos.
    pub(crate) fn session<P: CryptoProvider>(
        &self,
        provider: &P,
        transcript: &Hash,
    ) -> Result<SessionSecrets, CryptoError> {
        let salt = derived(provider, &self.0)?;
        let master = extract(provider, salt.expose(), &ZEROS);
        let derive = |label: &[u8]| expand_label(provider, &master, label, transcript);
        let mut id = [0; SESSION_ID_LEN];
        expand_label_into(provider, &master, b"session id", transcript, &mut id)?;
        Ok(SessionSecrets {
            initiator: derive(b"i ap traffic")?,
            responder: derive(b"r ap traffic")?,
            initiator_resumption: derive(b"i res")?,
            responder_resumption: derive(b"r res")?,
            id: SessionId(id),
        })
    }
}

/// What one session has, before it is put into ciphers.
pub(crate) struct SessionSecrets {
    pub(crate) initiator: Secret<SHA256_LEN>,
    pub(crate) responder: Secret<SHA256_LEN>,
    pub(crate) initiator_resumption: Secret<SHA256_LEN>,
    pub(crate) responder_resumption: Secret<SHA256_LEN>,
    pub(crate) id: SessionId,
}

impl SessionSecrets {
    pub(crate) fn sealer<P: CryptoProvider>(
        &self,
        provider: &P,
        suite: Suite,
        sender: Role,
    ) -> Result<Sealer<P::Aead>, CryptoError> {
        let key = self.key(provider, suite, sender)?;
        Ok(Sealer::new(key, self.id, sender, 0))
    }

    pub(crate) fn opener<P: CryptoProvider>(
        &self,
        provider: &P,
        suite: Suite,
        sender: Role,
    ) -> Result<Opener<P::Aead>, CryptoError> {
        let key = self.key(provider, suite, sender)?;
        Ok(Opener::new(key, self.id, sender, suite))
    }

    fn key<P: CryptoProvider>(
        &self,
        provider: &P,
        suite: Suite,
        sender: Role,
    ) -> Result<NumberedKey<P::Aead>, CryptoError> {
        let (mut key, mut iv) = (Secret::<KEY_LEN>::zeroed(), Secret::<IV_LEN>::zeroed());
        self.derive_key(provider, sender, key.expose_mut(), iv.expose_mut())?;
        NumberedKey::new(provider, suite.algorithm(), key.expose(), iv.expose())
    }

    fn derive_key<P: CryptoProvider>(
        &self,
        provider: &P,
        sender: Role,
        key: &mut [u8; KEY_LEN],
        iv: &mut [u8; IV_LEN],
    ) -> Result<(), CryptoError> {
        let secret = match sender {
            Role::Initiator => &self.initiator,
            Role::Responder => &self.responder,
        };
        expand_label_into(provider, secret, b"key", &[], key)?;
        expand_label_into(provider, secret, b"iv", &[], iv)
    }

    /// Gives what opens the session's messages, and nothing that another session comes from, to the provider's key
    /// log, if there is one.
    pub(crate) fn log<P: CryptoProvider>(
        &self,
        provider: &P,
        initiator_hello: &[u8],
    ) -> Result<(), CryptoError> {
        let (Some(log), Some(random)) = (provider.key_log(), initiator_random(initiator_hello))
        else {
            return Ok(());
        };
        let mut logged = Secret::<LOGGED_LEN>::zeroed();
        let mut out = Writer::new(logged.expose_mut());
        let (len, max) = (LOGGED_LEN, LOGGED_LEN);
        let too_long = |_| CryptoError::OutputTooLong { len, max };
        out.bytes(&self.id.0).map_err(too_long)?;
        for sender in [Role::Initiator, Role::Responder] {
            let (mut key, mut iv) = (Secret::<KEY_LEN>::zeroed(), Secret::<IV_LEN>::zeroed());
            self.derive_key(provider, sender, key.expose_mut(), iv.expose_mut())?;
            out.bytes(key.expose()).map_err(too_long)?;
            out.bytes(iv.expose()).map_err(too_long)?;
        }
        log.log(INNER_KEYS_LABEL, random, logged.expose());
        Ok(())
    }
}

/// SHA-256 of several pieces one after the other.
pub(crate) fn hash<P: CryptoProvider>(provider: &P, pieces: &[&[u8]]) -> Hash {
    let mut sha256 = provider.sha256();
    for piece in pieces {
        sha256.update(piece);
    }
    sha256.finish()
}

fn extract<P: CryptoProvider>(provider: &P, salt: &[u8], key: &[u8]) -> Secret<SHA256_LEN> {
    Secret::fill_with(|secret| provider.hkdf_extract(salt, key, secret))
}

fn derived<P: CryptoProvider>(
    provider: &P,
    secret: &Secret<SHA256_LEN>,
) -> Result<Secret<SHA256_LEN>, CryptoError> {
    expand_label(provider, secret, b"derived", &provider.sha256().finish())
}

/// HMAC under the secret's finished key, cut to the length of a hello's MAC (RFC 8446 §4.4.4).
fn finished<P: CryptoProvider>(
    provider: &P,
    secret: &Secret<SHA256_LEN>,
    transcript: &Hash,
) -> Result<[u8; HELLO_MAC_LEN], CryptoError> {
    let key = expand_label(provider, secret, b"finished", &[])?;
    let mut hmac = provider.hmac_sha256(key.expose());
    hmac.update(transcript);
    let mut mac = [0; HELLO_MAC_LEN];
    for (place, octet) in mac.iter_mut().zip(hmac.finish()) {
        *place = octet;
    }
    Ok(mac)
}

fn expand_label<P: CryptoProvider>(
    provider: &P,
    secret: &Secret<SHA256_LEN>,
    label: &[u8],
    context: &[u8],
) -> Result<Secret<SHA256_LEN>, CryptoError> {
    let mut out = Secret::zeroed();
    expand_label_into(provider, secret, label, context, out.expose_mut())?;
    Ok(out)
}

/// HKDF-Expand-Label (RFC 8446 §7.1).
fn expand_label_into<P: CryptoProvider>(
    provider: &P,
    secret: &Secret<SHA256_LEN>,
    label: &[u8],
    context: &[u8],
    out: &mut [u8],
) -> Result<(), CryptoError> {
    let mut bytes = [0; MAX_HKDF_LABEL_LEN];
    let mut info = Writer::new(&mut bytes);
    let label_len = LABEL_PREFIX.len().saturating_add(label.len());
    let len = out.len();
    let max = usize::from(u16::MAX);
    let written = (|| {
        info.u16(u16::try_from(len).ok()?).ok()?;
        info.u8(u8::try_from(label_len).ok()?).ok()?;
        info.bytes(LABEL_PREFIX).ok()?;
        info.bytes(label).ok()?;
        info.vector8(context).ok()
    })();
    written.ok_or(CryptoError::OutputTooLong { len, max })?;
    provider.hkdf_expand(secret.expose(), info.written(), out)
}

/// What a session's line in a key log begins with.
const INNER_KEYS_LABEL: &str = "ITLS_INNER_KEYS";
const KEY_LEN: usize = 16;
const IV_LEN: usize = 12;
/// Session ID; key and IV of the initiator, and of the responder.
const LOGGED_LEN: usize = SESSION_ID_LEN + 2 * (KEY_LEN + IV_LEN);
const LABEL_PREFIX: &[u8] = b"itls1 ";
/// length(2), label with its length(1 + 6 + 12), context with its length(1 + 32)
const MAX_HKDF_LABEL_LEN: usize = 2 + 1 + 18 + 1 + SHA256_LEN;
const ZEROS: [u8; SHA256_LEN] = [0; SHA256_LEN];
