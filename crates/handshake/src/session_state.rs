//! What a session leaves behind to be resumed by: the same for tickets, session IDs and clients, as
//! `docs/specs/session-ticket.md` has it.

use core::fmt;

use hedgerow_core::{
    CryptoProvider, DecodeError, EncodeError, HmacSha256, Instant, MAX_PSK_IDENTITY_LEN,
    P256_PUBLIC_KEY_LEN, Peer, PeerId, Reader, SHA256_LEN, Secret, ServerName, Sha256, Writer,
    ct_eq,
};
use hedgerow_record::{CipherSuite, MAX_SESSION_ID_LEN, Protocol};

use crate::key_schedule::MASTER_SECRET_LEN;

/// The longest credential: a PSK identity, or a raw public key.
const MAX_CREDENTIAL_LEN: usize = MAX_PSK_IDENTITY_LEN;

const _: () = assert!(P256_PUBLIC_KEY_LEN <= MAX_CREDENTIAL_LEN);

pub(crate) const BINDING_LEN: usize = 16;

/// The longest encoded state, in bytes.
pub(crate) const MAX_STATE_LEN: usize =
    1 + 2 + 2 + 1 + 6 + MASTER_SECRET_LEN + 1 + 4 + (1 + MAX_CREDENTIAL_LEN) + BINDING_LEN;

const FORMAT: u8 = 1;
const EXTENDED_MASTER_SECRET: u8 = 1;

/// A session's ID (RFC 5246 §7.4.1.2): up to 32 bytes, chosen by the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId {
    bytes: [u8; MAX_SESSION_ID_LEN],
    len: usize,
}

impl SessionId {
    /// No ID: the session can't be resumed by one.
    pub const EMPTY: Self = Self {
        bytes: [0; MAX_SESSION_ID_LEN],
        len: 0,
    };

    /// Takes an ID of up to 32 bytes; `None` for a longer one.
    pub fn new(id: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_SESSION_ID_LEN];
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        Some(Self {
            bytes,
            len: id.len(),
        })
    }

    /// Fills an ID of `len` bytes.
    pub(crate) fn draw(rng: &mut dyn hedgerow_core::CryptoRng, len: usize) -> Self {
        let mut id = Self::EMPTY;
        if let Some(bytes) = id.bytes.get_mut(..len) {
            rng.fill_bytes(bytes);
            id.len = len;
        }
        id
    }

    /// Lends the ID's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Says whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// What a session can be resumed from, its master secret with it: zeroed on drop, printed as
/// `SessionState(..)`.
pub struct SessionState {
    pub(crate) protocol: Protocol,
    pub(crate) suite: CipherSuite,
    pub(crate) expires_at: Instant,
    pub(crate) master_secret: Secret<MASTER_SECRET_LEN>,
    pub(crate) peer: Peer,
    credential: [u8; MAX_CREDENTIAL_LEN],
    credential_len: usize,
    binding: [u8; BINDING_LEN],
}

/// What a session's state is made of, beside its master secret.
pub(crate) struct SessionFacts<'a> {
    pub(crate) protocol: Protocol,
    pub(crate) suite: CipherSuite,
    pub(crate) expires_at: Instant,
    pub(crate) peer: Peer,
    pub(crate) credential: &'a [u8],
    pub(crate) binding: [u8; BINDING_LEN],
}

impl SessionState {
    /// Puts a state together; `None` for a peer that can't be verified again, or for a credential
    /// that is too long.
    pub(crate) fn new(
        facts: &SessionFacts<'_>,
        master_secret: &[u8; MASTER_SECRET_LEN],
    ) -> Option<Self> {
        if !matches!(
            facts.peer,
            Peer::Anonymous
                | Peer::Psk(_)
                | Peer::SharedPsk(_)
                | Peer::EndToEndPsk(_)
                | Peer::RawPublicKey(_)
        ) {
            return None;
        }
        let mut credential = [0; MAX_CREDENTIAL_LEN];
        let credential_len = facts.credential.len();
        credential
            .get_mut(..credential_len)?
            .copy_from_slice(facts.credential);
        Some(Self {
            protocol: facts.protocol,
            suite: facts.suite,
            // The format counts in seconds. Rounded down, a ticket never lives too long.
            expires_at: from_secs(to_secs(facts.expires_at)),
            master_secret: Secret::fill_with(|bytes| *bytes = *master_secret),
            peer: facts.peer,
            credential,
            credential_len,
            binding: facts.binding,
        })
    }

    /// Makes another one for one handshake; a server's table keeps the first.
    pub(crate) fn copied(&self) -> Self {
        Self {
            protocol: self.protocol,
            suite: self.suite,
            expires_at: self.expires_at,
            master_secret: Secret::fill_with(|bytes| *bytes = *self.master_secret.expose()),
            peer: self.peer,
            credential: self.credential,
            credential_len: self.credential_len,
            binding: self.binding,
        }
    }

    /// Returns who the peer was, and is if the session is resumed.
    pub const fn peer(&self) -> Peer {
        self.peer
    }

    /// Returns when the session can no longer be resumed.
    pub const fn expires_at(&self) -> Instant {
        self.expires_at
    }

    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        now >= self.expires_at
    }

    /// Returns the PSK identity or the public key.
    pub(crate) fn credential(&self) -> &[u8] {
        self.credential
            .get(..self.credential_len)
            .unwrap_or_default()
    }

    pub(crate) fn has_binding(&self, binding: &[u8; BINDING_LEN]) -> bool {
        ct_eq(&self.binding, binding)
    }

    /// Encodes the state, which is then still to be sealed.
    pub(crate) fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        let (kind, peer) = match self.peer {
            Peer::Psk(peer) => (1, peer),
            Peer::RawPublicKey(peer) => (2, peer),
            Peer::SharedPsk(peer) => (3, peer),
            Peer::EndToEndPsk(peer) => (4, peer),
            _ => (0, PeerId(0)),
        };
        out.u8(FORMAT)?;
        out.u16(self.protocol.version().0)?;
        out.u16(self.suite.0)?;
        out.u8(EXTENDED_MASTER_SECRET)?;
        out.u48(to_secs(self.expires_at))?;
        out.bytes(self.master_secret.expose())?;
        out.u8(kind)?;
        out.u32(peer.0)?;
        out.vector8(self.credential())?;
        out.bytes(&self.binding)
    }

    /// Decodes what was sealed by this server; `None` for anything else.
    pub(crate) fn decode_exact(bytes: &[u8]) -> Option<Self> {
        Self::take(&mut Reader::new(bytes)).ok().flatten()
    }

    fn take(reader: &mut Reader<'_>) -> Result<Option<Self>, DecodeError> {
        let format = reader.u8()?;
        let version = reader.u16()?;
        let suite = CipherSuite(reader.u16()?);
        let flags = reader.u8()?;
        let expires_at = from_secs(reader.u48()?);
        let master_secret = reader.array()?;
        let kind = reader.u8()?;
        let number = PeerId(reader.u32()?);
        let credential = reader.vector8()?;
        let binding = *reader.array()?;
        let protocol = [Protocol::Dtls, Protocol::Tls]
            .into_iter()
            .find(|protocol| protocol.version().0 == version);
        let peer = match kind {
            0 => Some(Peer::Anonymous),
            1 => Some(Peer::Psk(number)),
            2 => Some(Peer::RawPublicKey(number)),
            3 => Some(Peer::SharedPsk(number)),
            4 => Some(Peer::EndToEndPsk(number)),
            _ => None,
        };
        let (Some(protocol), Some(peer), FORMAT, EXTENDED_MASTER_SECRET, true) =
            (protocol, peer, format, flags, reader.is_empty())
        else {
            return Ok(None);
        };
        let facts = SessionFacts {
            protocol,
            suite,
            expires_at,
            peer,
            credential,
            binding,
        };
        Ok(Self::new(&facts, master_secret))
    }
}

impl fmt::Debug for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionState(..)")
    }
}

/// Digest of the name under which a server is looked for; zeros without one.
pub(crate) fn digest_name<P: CryptoProvider>(
    provider: &P,
    name: Option<ServerName<'_>>,
) -> [u8; SHA256_LEN] {
    let Some(name) = name else {
        return [0; SHA256_LEN];
    };
    let mut digest = provider.sha256();
    for byte in name.as_str().bytes() {
        digest.update(&[byte.to_ascii_lowercase()]);
    }
    digest.finish()
}

/// Says that a key and a name are the same ones, without being the key.
pub(crate) fn derive_binding<P: CryptoProvider>(
    provider: &P,
    binding_key: &[u8],
    key: &[u8],
    name_digest: &[u8; SHA256_LEN],
) -> [u8; BINDING_LEN] {
    let mut hmac = provider.hmac_sha256(binding_key);
    hmac.update(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_be_bytes());
    hmac.update(key);
    hmac.update(name_digest);
    let mac = hmac.finish();
    let mut binding = [0; BINDING_LEN];
    for (place, byte) in binding.iter_mut().zip(mac) {
        *place = byte;
    }
    binding
}

const MICROS_IN_A_SECOND: u64 = 1_000_000;

const fn to_secs(instant: Instant) -> u64 {
    instant.as_micros() / MICROS_IN_A_SECOND
}

const fn from_secs(secs: u64) -> Instant {
    Instant::from_micros(secs.saturating_mul(MICROS_IN_A_SECOND))
}
