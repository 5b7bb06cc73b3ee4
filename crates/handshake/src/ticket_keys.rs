//! The keys that a server seals its tickets with, and the one place where a ticket's nonce is built.

use core::fmt;
use core::time::Duration;

use hedgerow_core::{
    Aead, AeadAlgorithm, CryptoProvider, CryptoRng, EncodeError, Env, Instant, Reader, SHA256_LEN,
    Secret, Writer,
};

use crate::session_state::{BINDING_LEN, MAX_STATE_LEN, SessionState, derive_binding};

const ALGORITHM: AeadAlgorithm = AeadAlgorithm::Aes128Ccm;
const KEY_LEN: usize = ALGORITHM.key_len();
const NONCE_LEN: usize = ALGORITHM.nonce_len();
const TAG_LEN: usize = ALGORITHM.tag_len();

const KEY_NAME_LEN: usize = 8;

/// key_name(8) number(4).
const HEADER_LEN: usize = KEY_NAME_LEN + 4;

/// The longest ticket that a server of this crate issues, in bytes.
pub(crate) const MAX_SEALED_TICKET_LEN: usize = HEADER_LEN + MAX_STATE_LEN + TAG_LEN;

/// What a server resumes sessions with: ticket keys that rotate, and the key of its bindings
/// (`docs/specs/session-ticket.md`). Zeroed on drop; two servers never have the same.
///
/// Every handshake gets a [`TicketLease`] of it.
pub struct TicketKeys {
    lifetime: Duration,
    issues_tickets: bool,
    binding_key: Secret<SHA256_LEN>,
    current: TicketKey,
    previous: Option<TicketKey>,
    rotate_at: Instant,
}

/// One key, with its name and its next number.
struct TicketKey {
    name: [u8; KEY_NAME_LEN],
    key: Secret<KEY_LEN>,
    next_number: u32,
}

impl TicketKey {
    fn draw(rng: &mut dyn CryptoRng) -> Self {
        let mut name = [0; KEY_NAME_LEN];
        rng.fill_bytes(&mut name);
        Self {
            name,
            key: Secret::fill_with(|bytes| rng.fill_bytes(bytes)),
            next_number: 0,
        }
    }

    fn opener(&self) -> OpeningKey {
        OpeningKey {
            name: self.name,
            key: copied(&self.key),
        }
    }
}

impl TicketKeys {
    /// The longest time for which a session can be resumed (RFC 5246 §F.1.4).
    pub const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

    /// The time for which it can be unless something else is said.
    pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(8 * 60 * 60);

    /// Draws keys for sessions that can be resumed for `lifetime` after their full handshake: whole
    /// seconds, at least one, at most [`Self::MAX_LIFETIME`]. Whoever learns the memory of this end
    /// can read sessions with tickets that are up to two lifetimes old.
    pub fn draw(lifetime: Duration, env: &mut Env<'_>) -> Self {
        let lifetime = Duration::from_secs(lifetime.as_secs())
            .clamp(Duration::from_secs(1), Self::MAX_LIFETIME);
        Self {
            lifetime,
            issues_tickets: true,
            binding_key: Secret::fill_with(|bytes| env.rng.fill_bytes(bytes)),
            current: TicketKey::draw(env.rng),
            previous: None,
            rotate_at: env.now + lifetime,
        }
    }

    /// Issues and takes no tickets: what remains is resumption by session ID.
    #[must_use]
    pub const fn without_tickets(mut self) -> Self {
        self.issues_tickets = false;
        self
    }

    /// Returns how long a session can be resumed after its full handshake.
    pub const fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Returns when [`Self::rotate`] has something to do.
    pub const fn poll_timeout(&self) -> Instant {
        self.rotate_at
    }

    /// Replaces the key that seals once its time is over, and forgets the one before.
    pub fn rotate(&mut self, env: &mut Env<'_>) {
        if env.now < self.rotate_at {
            return;
        }
        let retired = core::mem::replace(&mut self.current, TicketKey::draw(env.rng));
        // After a long silence the key that was current has outlived its tickets as well.
        let is_useful = env.now < self.rotate_at + self.lifetime;
        self.previous = is_useful.then_some(retired);
        self.rotate_at = env.now + self.lifetime;
    }

    /// Hands out what one handshake needs, and spends the number of the ticket that it may issue.
    pub fn lease(&mut self, env: &mut Env<'_>) -> TicketLease {
        self.rotate(env);
        // A number is spent before anything is sealed with it: it never comes again under its key.
        let number = self.current.next_number;
        let number = number.checked_add(1).map(|next| {
            self.current.next_number = next;
            number
        });
        TicketLease {
            lifetime: self.lifetime,
            binding_key: copied(&self.binding_key),
            number: number.filter(|_| self.issues_tickets),
            current: self.current.opener(),
            previous: self
                .previous
                .as_ref()
                .filter(|_| self.issues_tickets)
                .map(TicketKey::opener),
            takes_tickets: self.issues_tickets,
        }
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKeys(..)")
    }
}

/// What one handshake of a server needs of its [`TicketKeys`]: the keys as they are now and the
/// number of one ticket.
pub struct TicketLease {
    lifetime: Duration,
    binding_key: Secret<SHA256_LEN>,
    number: Option<u32>,
    current: OpeningKey,
    previous: Option<OpeningKey>,
    takes_tickets: bool,
}

struct OpeningKey {
    name: [u8; KEY_NAME_LEN],
    key: Secret<KEY_LEN>,
}

impl TicketLease {
    pub(crate) const fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Says whether a ticket can be issued.
    pub(crate) const fn has_number(&self) -> bool {
        self.number.is_some()
    }

    /// Derives what binds a session to a key and a name.
    pub(crate) fn derive_binding<P: CryptoProvider>(
        &self,
        provider: &P,
        key: &[u8],
        name_digest: &[u8; SHA256_LEN],
    ) -> [u8; BINDING_LEN] {
        derive_binding(provider, self.binding_key.expose(), key, name_digest)
    }

    /// Seals a ticket at the front of `out` and returns its length. It can be done once.
    pub(crate) fn seal<P: CryptoProvider>(
        &mut self,
        provider: &P,
        state: &SessionState,
        out: &mut [u8; MAX_SEALED_TICKET_LEN],
    ) -> Option<usize> {
        let sealed = self.try_seal(provider, state, out);
        if sealed.is_none() {
            // The state must not go out in clear.
            out.fill(0);
        }
        sealed
    }

    fn try_seal<P: CryptoProvider>(
        &mut self,
        provider: &P,
        state: &SessionState,
        out: &mut [u8; MAX_SEALED_TICKET_LEN],
    ) -> Option<usize> {
        let number = self.number.take()?;
        let key = &self.current;
        let aead = provider.aead(ALGORITHM, key.key.expose()).ok()?;
        let mut header = [0; HEADER_LEN];
        write_header(&key.name, number, &mut header).ok()?;
        let mut writer = Writer::new(out);
        writer.bytes(&header).ok()?;
        state.encode(&mut writer).ok()?;
        writer.reserve(TAG_LEN).ok()?;
        let ticket = writer.into_written();
        let len = ticket.len();
        let (_, sealed) = ticket.split_at_mut_checked(HEADER_LEN)?;
        let (in_out, tag) = sealed.split_at_mut_checked(sealed.len().checked_sub(TAG_LEN)?)?;
        aead.seal_in_place(&nonce(number), &header, in_out, tag)
            .ok()?;
        Some(len)
    }

    /// Says whether a ticket is one of this server's, whether or not its session could be resumed.
    pub fn opens<P: CryptoProvider>(&self, provider: &P, ticket: &[u8]) -> bool {
        self.open(provider, ticket).is_some()
    }

    /// Opens a ticket; `None` if no key of this server has sealed it.
    pub(crate) fn open<P: CryptoProvider>(
        &self,
        provider: &P,
        ticket: &[u8],
    ) -> Option<SessionState> {
        if !self.takes_tickets {
            return None;
        }
        let (header, sealed) = ticket.split_first_chunk::<HEADER_LEN>()?;
        let (state, tag) = sealed.split_last_chunk::<TAG_LEN>()?;
        let mut fields = Reader::new(header);
        let name = fields.array::<KEY_NAME_LEN>().ok()?;
        let number = fields.u32().ok()?;
        let key = [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .find(|key| key.name == *name)?;
        let aead = provider.aead(ALGORITHM, key.key.expose()).ok()?;
        let mut opened = Secret::<MAX_STATE_LEN>::zeroed();
        let opened = opened.expose_mut().get_mut(..state.len())?;
        opened.copy_from_slice(state);
        aead.open_in_place(&nonce(number), header, opened, tag)
            .ok()?;
        SessionState::decode_exact(opened)
    }
}

impl fmt::Debug for TicketLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketLease(..)")
    }
}

fn write_header(
    name: &[u8; KEY_NAME_LEN],
    number: u32,
    out: &mut [u8; HEADER_LEN],
) -> Result<(), EncodeError> {
    let mut writer = Writer::new(out);
    writer.bytes(name)?;
    writer.u32(number)
}

/// The one place where a ticket's nonce is built: from the number, which its key never gives twice.
fn nonce(number: u32) -> [u8; NONCE_LEN] {
    let [a, b, c, d] = number.to_be_bytes();
    let mut nonce = [0; NONCE_LEN];
    if let Some(last) = nonce.last_chunk_mut() {
        *last = [a, b, c, d];
    }
    nonce
}

fn copied<const N: usize>(secret: &Secret<N>) -> Secret<N> {
    Secret::fill_with(|bytes| *bytes = *secret.expose())
}
