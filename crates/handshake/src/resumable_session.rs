//! What a client keeps of a session to resume it (RFC 5077 §3.1, RFC 5246 §7.3).

use core::fmt;
use core::time::Duration;

use hedgerow_core::{
    CertificateOwner, CertificateType, ClientCredentials, CryptoProvider, Env, Instant,
    P256_PUBLIC_KEY_LEN, Peer, RawPublicKeyRequest, SHA256_LEN, ServerName,
};
use hedgerow_record::{
    AlertDescription, CipherSuite, KeyExchange, NewSessionTicket, Protocol, encode_p256_spki,
};

use crate::Settings;
use crate::certificates::identity_of;
use crate::session_state::{BINDING_LEN, SessionId, SessionState, derive_binding, digest_name};

/// The longest ticket that a client keeps, in bytes.
pub(crate) const MAX_TICKET_LEN: usize = 384;

/// Length of the session ID by whose return a client knows that its ticket was taken, in bytes.
const MARKER_LEN: usize = 8;

/// A session that a client can resume: handed out with an established session and into the next
/// handshake with the same server. Zeroed on drop, printed as `ResumableSession(..)`.
pub struct ResumableSession {
    state: SessionState,
    shown: Shown,
}

/// What the server knows the session by.
#[expect(
    clippy::large_enum_variant,
    reason = "there is no allocator to box it with"
)]
enum Shown {
    Ticket(Ticket),
    Id(SessionId),
}

/// A ticket as the server sent it.
struct Ticket {
    bytes: [u8; MAX_TICKET_LEN],
    len: usize,
}

impl Ticket {
    fn new(ticket: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_TICKET_LEN];
        let len = ticket.len();
        bytes.get_mut(..len)?.copy_from_slice(ticket);
        (len > 0).then_some(Self { bytes, len })
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl ResumableSession {
    /// The longest ticket that is kept, in bytes: the buffers of a handshake that offers a session
    /// have to be as much longer as its ticket is.
    pub const MAX_TICKET_LEN: usize = MAX_TICKET_LEN;

    /// Returns when the session can no longer be resumed.
    pub const fn expires_at(&self) -> Instant {
        self.state.expires_at()
    }

    /// Returns who the server was.
    pub const fn peer(&self) -> Peer {
        self.state.peer()
    }

    /// Returns the suite of the session, which a handshake that resumes it has again.
    pub const fn suite(&self) -> CipherSuite {
        self.state.suite
    }

    /// Returns the ticket; empty where the server keeps the session under an ID.
    pub fn ticket(&self) -> &[u8] {
        match &self.shown {
            Shown::Ticket(ticket) => ticket.as_bytes(),
            Shown::Id(_) => &[],
        }
    }
}

impl fmt::Debug for ResumableSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResumableSession(..)")
    }
}

/// A client's part in resumption, for one handshake.
pub(crate) struct ClientResumption {
    /// The session on offer, and once the server has taken it, the one that is resumed.
    offered: Option<ResumableSession>,
    /// Whether the hello has become one without a ticket, and without asking for one.
    is_withdrawn: bool,
    is_resumed: bool,
    /// What stands in the ClientHello.
    session_id: SessionId,
    /// What the server's flight has brought, worth nothing before its Finished.
    received: Option<Shown>,
    /// When the server wants the session forgotten, as far as it has said.
    hinted_end: Option<Instant>,
}

impl ClientResumption {
    /// Takes part with a session to offer, if `session` is one that can be offered at `now`.
    pub(crate) fn new<P: CryptoProvider, C: ClientCredentials>(
        provider: &P,
        credentials: &C,
        settings: &Settings,
        protocol: Protocol,
        session: Option<ResumableSession>,
        env: &mut Env<'_>,
    ) -> Self {
        let now = env.now;
        let offered = session.filter(|session| {
            let state = &session.state;
            state.protocol == protocol
                && !state.is_expired(now)
                && settings.suites().contains(&state.suite)
                && is_same_server(credentials, state)
                && state.has_binding(&bind(
                    provider,
                    (credentials, settings),
                    state.suite,
                    state.master_secret.expose(),
                ))
        });
        // A ClientHello has to be whole in one datagram for a server that keeps no state.
        let name = asked_name(credentials, settings);
        let hello_len = crate::MIN_DATAGRAM_LEN
            .saturating_add(name.map_or(0, |name| name.as_str().len().saturating_add(9)))
            .saturating_add(MARKER_LEN);
        let offered = offered.filter(|session| {
            let ticket_len = session.ticket().len();
            protocol == Protocol::Tls
                || ticket_len == 0
                || hello_len.saturating_add(ticket_len) <= settings.max_datagram_len()
        });
        let session_id = match offered.as_ref().map(|session| &session.shown) {
            // RFC 5077 §3.4: the server returns it if it takes the ticket.
            Some(Shown::Ticket(_)) => SessionId::draw(env.rng, MARKER_LEN),
            Some(Shown::Id(id)) => *id,
            None => SessionId::EMPTY,
        };
        Self {
            offered,
            is_withdrawn: false,
            is_resumed: false,
            session_id,
            received: None,
            hinted_end: None,
        }
    }

    /// Returns what stands in the ClientHello as session ID.
    pub(crate) fn session_id(&self) -> &[u8] {
        self.session_id.as_bytes()
    }

    /// Takes the ticket out of the hello. A server that keeps sessions may still give an ID, by which the
    /// next hello is short.
    pub(crate) const fn withdraw_ticket(&mut self) {
        self.is_withdrawn = true;
        self.session_id = SessionId::EMPTY;
    }

    /// Says whether the hello has a session_ticket extension.
    pub(crate) const fn takes_ticket(&self) -> bool {
        !self.is_withdrawn
    }

    /// Returns what stands in its session_ticket extension.
    pub(crate) fn ticket(&self) -> &[u8] {
        self.offered
            .as_ref()
            .filter(|_| !self.is_withdrawn)
            .map(ResumableSession::ticket)
            .unwrap_or_default()
    }

    /// Takes in the ServerHello's session ID: returns the session that the server resumes, or forgets
    /// the one that was offered.
    pub(crate) fn handle_session_id(&mut self, session_id: &[u8]) -> Option<&SessionState> {
        self.is_resumed = !session_id.is_empty() && session_id == self.session_id.as_bytes();
        if self.is_resumed {
            return self.resumed();
        }
        self.offered = None;
        self.received = SessionId::new(session_id)
            .filter(|id| !id.is_empty())
            .map(Shown::Id);
        None
    }

    /// Returns the session that the server resumes. Before the ServerHello, and in a full handshake
    /// behind it, there is none.
    pub(crate) fn resumed(&self) -> Option<&SessionState> {
        self.offered
            .as_ref()
            .filter(|_| self.is_resumed)
            .map(|session| &session.state)
    }

    /// Gives back the session on offer, also where its ticket was withdrawn.
    pub(crate) fn into_offered(self) -> Option<ResumableSession> {
        self.offered
    }

    /// Takes in a NewSessionTicket (RFC 5077 §3.3).
    pub(crate) fn handle_new_session_ticket(
        &mut self,
        body: &[u8],
        now: Instant,
    ) -> Result<(), AlertDescription> {
        let message =
            NewSessionTicket::decode_exact(body).map_err(|_| AlertDescription::DECODE_ERROR)?;
        // RFC 5077 §3.3: relative to when the ticket is received; 0 says nothing.
        let hint = Duration::from_secs(message.ticket_lifetime_hint.into());
        self.hinted_end = (!hint.is_zero()).then(|| now + hint);
        if message.ticket.is_empty() {
            // RFC 5077 §3.3: the server has changed its mind.
            return Ok(());
        }
        // RFC 5077 §3.4: beside a ticket the ID counts for nothing, also if the ticket is too long
        // to be kept.
        self.received = Ticket::new(message.ticket).map(Shown::Ticket);
        Ok(())
    }

    /// Makes the session to keep, once the server's Finished has verified. `session` is that
    /// of a full handshake.
    pub(crate) fn into_resumable(self, session: Option<SessionState>) -> Option<ResumableSession> {
        let (mut state, before) = match (self.offered, session) {
            (Some(resumed), _) => (resumed.state, Some(resumed.shown)),
            (None, Some(session)) => (session, None),
            (None, None) => return None,
        };
        let shown = self.received.or(before)?;
        // A ticket may be renewed; the master secret's time goes on from the full handshake.
        if let Some(end) = self.hinted_end {
            state.expires_at = state.expires_at.min(end);
        }
        Some(ResumableSession { state, shown })
    }
}

/// Asks the credentials again whether they take the server for who it was, and policy whether it
/// still permits that.
fn is_same_server<C: ClientCredentials>(credentials: &C, state: &SessionState) -> bool {
    if !credentials.permits(state.peer) {
        return false;
    }
    match state.peer {
        // Two identities may have one key and one server: each has sessions of its own.
        Peer::Psk(_) | Peer::SharedPsk(_) | Peer::EndToEndPsk(_) => {
            credentials.pre_shared_key().is_some_and(|psk| {
                psk.psk_identity == state.credential()
                    && Peer::of_psk(psk.psk, psk.peer) == state.peer
            })
        }
        Peer::RawPublicKey(peer) => {
            let key = <&[u8; P256_PUBLIC_KEY_LEN]>::try_from(state.credential());
            let (Some(certificates), Ok(key)) = (credentials.certificates(), key) else {
                return false;
            };
            let spki = encode_p256_spki(key);
            let name = certificates.server_name();
            let request = RawPublicKeyRequest::new(&spki, CertificateOwner::Server, name);
            certificates.accepts(CertificateType::RawPublicKey)
                && certificates.peer_of_raw_public_key(&request) == Some(peer)
        }
        _ => false,
    }
}

/// Returns the name that a client asks for (RFC 6066 §3): a session isn't resumed under another one.
fn asked_name<'c, C: ClientCredentials>(
    credentials: &'c C,
    settings: &Settings,
) -> Option<ServerName<'c>> {
    credentials
        .certificates()
        .filter(|_| settings.offers_certificates())
        .and_then(|certificates| certificates.server_name())
        .or_else(|| credentials.server_name())
}

/// Binds a session to what this client shows and to the server's name.
pub(crate) fn bind<P: CryptoProvider, C: ClientCredentials>(
    provider: &P,
    (credentials, settings): (&C, &Settings),
    suite: CipherSuite,
    master_secret: &[u8],
) -> [u8; BINDING_LEN] {
    let certificates = credentials.certificates();
    let name = asked_name(credentials, settings);
    let name_digest: [u8; SHA256_LEN] = digest_name(provider, name);
    if suite.key_exchange() != Some(KeyExchange::EcdheEcdsa) {
        let psk = credentials.pre_shared_key();
        let key = psk.map_or(&[][..], |psk| psk.psk.expose());
        return derive_binding(provider, master_secret, key, &name_digest);
    }
    let mut own = [0; P256_PUBLIC_KEY_LEN];
    let mut types = CertificateType::ALL.into_iter();
    let len = types
        .find_map(|certificate_type| identity_of(certificates?, certificate_type, name))
        .and_then(|identity| identity.key().write_public_key(&mut own).ok());
    let own = own.get(..len.unwrap_or_default()).unwrap_or_default();
    derive_binding(provider, master_secret, own, &name_digest)
}
