//! The server's part in resumption: which session a ClientHello may have again (RFC 5246 §7.3, RFC
//! 5077, RFC 7627 §5.3).

use core::fmt;

use hedgerow_core::{
    CertificateCredentials, CertificateOwner, CertificateType, ClientCertificates, CryptoProvider,
    Instant, P256_PUBLIC_KEY_LEN, Peer, PskRequest, RawPublicKeyRequest, SHA256_LEN,
    ServerCredentials, Writer,
};
use hedgerow_record::{
    AlertDescription, ClientHello, ExtensionType, KeyExchange, NewSessionTicket, Protocol,
    encode_p256_spki,
};

use crate::CachedSession;
use crate::key_schedule::{MASTER_SECRET_LEN, SecurityParameters};
use crate::negotiation::{Negotiated, server_name};
use crate::session_state::{SessionFacts, SessionId, SessionState, digest_name};
use crate::ticket_keys::{MAX_SEALED_TICKET_LEN, TicketLease};

/// Length of the IDs that a server gives, in bytes.
pub(crate) const SESSION_ID_LEN: usize = 16;

/// What a server's handshake resumes sessions with, and makes them resumable by.
pub struct ServerResumption {
    lease: TicketLease,
    keeps_sessions: bool,
    found: Option<CachedSession>,
}

impl ServerResumption {
    /// Resumes by what was leased: by tickets.
    pub const fn new(lease: TicketLease) -> Self {
        Self {
            lease,
            keeps_sessions: false,
            found: None,
        }
    }

    /// Resumes by session ID as well. `found` is what the caller's [`SessionTable`](crate::SessionTable) has under the
    /// ClientHello's; a client that takes no ticket gets an ID, under which the table is to keep the
    /// session that comes with the established one.
    #[must_use]
    pub fn with_session_ids(mut self, found: Option<CachedSession>) -> Self {
        self.keeps_sessions = true;
        self.found = found;
        self
    }

    /// Does the same for a ClientHello that comes later.
    pub(crate) fn offer_session(&mut self, found: Option<CachedSession>) {
        if self.keeps_sessions {
            self.found = found;
        }
    }
}

impl fmt::Debug for ServerResumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerResumption(..)")
    }
}

/// What a ClientHello says about resumption, kept beyond it.
pub(crate) struct ResumptionOffer {
    pub(crate) session_id: SessionId,
    ticket: OfferedTicket,
    /// Digest of the server's name that the client asks for.
    pub(crate) name_digest: [u8; SHA256_LEN],
}

/// The extension session_ticket of a ClientHello.
#[expect(
    clippy::large_enum_variant,
    reason = "there is no allocator to box it with"
)]
enum OfferedTicket {
    /// The client wants no ticket.
    None,
    /// It wants one.
    Wanted,
    /// It shows one, which no server of this crate has issued.
    Foreign,
    Shown {
        bytes: [u8; MAX_SEALED_TICKET_LEN],
        len: usize,
    },
}

impl ResumptionOffer {
    /// Reads the offer of a hello.
    pub(crate) fn of<P: CryptoProvider>(provider: &P, hello: &ClientHello<'_>) -> Self {
        let ticket = match hello.extensions.find(ExtensionType::SESSION_TICKET) {
            None => OfferedTicket::None,
            Some([]) => OfferedTicket::Wanted,
            Some(ticket) => {
                let mut bytes = [0; MAX_SEALED_TICKET_LEN];
                match bytes.get_mut(..ticket.len()) {
                    Some(place) => {
                        place.copy_from_slice(ticket);
                        let len = ticket.len();
                        OfferedTicket::Shown { bytes, len }
                    }
                    None => OfferedTicket::Foreign,
                }
            }
        };
        Self {
            session_id: SessionId::new(hello.session_id).unwrap_or(SessionId::EMPTY),
            ticket,
            name_digest: digest_name(provider, server_name(hello).ok().flatten()),
        }
    }

    const fn takes_ticket(&self) -> bool {
        !matches!(self.ticket, OfferedTicket::None)
    }
}

/// What a server says in its ServerHello to make a new session resumable.
pub(crate) struct Promise {
    pub(crate) session_id: SessionId,
    pub(crate) issues_ticket: bool,
}

impl Promise {
    pub(crate) const NONE: Self = Self {
        session_id: SessionId::EMPTY,
        issues_ticket: false,
    };
}

impl ServerResumption {
    /// Finds the session that `offer` may have again; `None` for a full handshake, without telling
    /// why.
    ///
    /// # Errors
    ///
    /// The alert that RFC 7627 §5.3 asks for.
    pub(crate) fn find_session<P: CryptoProvider, S: ServerCredentials>(
        &mut self,
        provider: &P,
        credentials: &S,
        protocol: Protocol,
        negotiated: &Negotiated,
        offer: &ResumptionOffer,
        now: Instant,
    ) -> Result<Option<SessionState>, AlertDescription> {
        let found = self.found.take();
        let state = match &offer.ticket {
            OfferedTicket::Shown { bytes, len } => {
                let ticket = bytes.get(..*len).unwrap_or_default();
                self.lease.open(provider, ticket)
            }
            // MUST (RFC 5077 §3.4): beside a ticket, the session ID isn't looked up.
            OfferedTicket::Foreign => None,
            OfferedTicket::None | OfferedTicket::Wanted => found
                .filter(|found| !found.id.is_empty() && found.id == offer.session_id)
                .map(|found| found.state),
        };
        let Some(state) = state.filter(|state| !state.is_expired(now)) else {
            return Ok(None);
        };
        // MUST (RFC 7627 §5.3): a session with the extended master secret isn't resumed by a hello
        // without; all sessions that can be resumed have it.
        if !negotiated.has_extended_master_secret {
            return Err(AlertDescription::HANDSHAKE_FAILURE);
        }
        // MUST (RFC 5246 §7.4.1.3): a resumed session has the suite that it had. It is the one that
        // would be chosen today, so that policy which has changed since is kept.
        let is_allowed = state.protocol == protocol
            && state.suite == negotiated.suite
            && self.is_still_known(provider, credentials, negotiated, offer, &state);
        Ok(is_allowed.then_some(state))
    }

    /// Asks the credentials again who the peer is.
    fn is_still_known<P: CryptoProvider, S: ServerCredentials>(
        &self,
        provider: &P,
        credentials: &S,
        negotiated: &Negotiated,
        offer: &ResumptionOffer,
        state: &SessionState,
    ) -> bool {
        let is_signed = negotiated.key_exchange == KeyExchange::EcdheEcdsa;
        let bind = |key: &[u8]| self.lease.derive_binding(provider, key, &offer.name_digest);
        if !credentials.permits(state.peer) {
            return false;
        }
        // What a full handshake does: whoever may not be nobody is asked.
        let asks_client = |certificates: &dyn CertificateCredentials| {
            certificates.client_certificates() != ClientCertificates::NotRequested
                || !credentials.permits(Peer::Anonymous)
        };
        match state.peer {
            Peer::Psk(_) | Peer::SharedPsk(_) | Peer::EndToEndPsk(_) if !is_signed => {
                let request = PskRequest::new(state.credential(), negotiated.algorithm);
                let store = credentials.psk_store();
                let entry = store.and_then(|store| store.lookup(&request));
                entry.is_some_and(|entry| {
                    Peer::of_psk(entry.psk, entry.peer) == state.peer
                        && state.has_binding(&bind(entry.psk.expose()))
                })
            }
            Peer::RawPublicKey(peer) if is_signed => {
                let key = <&[u8; P256_PUBLIC_KEY_LEN]>::try_from(state.credential());
                let (Some(certificates), Ok(key)) = (credentials.certificates(), key) else {
                    return false;
                };
                let spki = encode_p256_spki(key);
                let request = RawPublicKeyRequest::new(&spki, CertificateOwner::Client, None);
                asks_client(certificates)
                    && certificates.accepts(CertificateType::RawPublicKey)
                    && certificates.peer_of_raw_public_key(&request) == Some(peer)
                    && state.has_binding(&bind(&[]))
            }
            Peer::Anonymous if is_signed => {
                let certificates = credentials.certificates();
                certificates.is_some_and(|certificates| !asks_client(certificates))
                    && state.has_binding(&bind(&[]))
            }
            _ => false,
        }
    }

    /// Says how the session of a full handshake is to be resumed: by a ticket where the client takes
    /// one, or else by an ID.
    pub(crate) fn promise(
        &self,
        protocol: Protocol,
        max_datagram_len: usize,
        negotiated: &Negotiated,
        offer: &ResumptionOffer,
        rng: &mut dyn hedgerow_core::CryptoRng,
    ) -> Promise {
        // SHOULD (RFC 7627 §5.3): what has no extended master secret isn't offered for resumption.
        if !negotiated.has_extended_master_secret {
            return Promise::NONE;
        }
        // The ClientHello that shows the ticket has to be whole in a datagram, and it is longer than the flight
        // that brings the ticket. An ID takes no such room.
        let has_room = protocol == Protocol::Tls || max_datagram_len >= LAST_FLIGHT_LEN;
        if offer.takes_ticket() && self.lease.has_number() && has_room {
            // SHOULD (RFC 5077 §3.4): no session ID beside a ticket.
            return Promise {
                session_id: SessionId::EMPTY,
                issues_ticket: true,
            };
        }
        if self.keeps_sessions {
            return Promise {
                session_id: SessionId::draw(rng, SESSION_ID_LEN),
                issues_ticket: false,
            };
        }
        Promise::NONE
    }

    /// Makes what is kept of a full handshake; nothing where it isn't to be resumed.
    pub(crate) fn session_of(
        &self,
        provider: &impl CryptoProvider,
        protocol: Protocol,
        parameters: &SecurityParameters,
        master_secret: &[u8; MASTER_SECRET_LEN],
        authenticated: &Authenticated<'_>,
        now: Instant,
    ) -> Option<SessionState> {
        let promise = &parameters.promise;
        if !promise.issues_ticket && promise.session_id.is_empty() {
            return None;
        }
        let facts = SessionFacts {
            protocol,
            suite: parameters.suite,
            expires_at: now + self.lease.lifetime(),
            peer: authenticated.peer,
            credential: authenticated.credential,
            binding: self.lease.derive_binding(
                provider,
                authenticated.key,
                authenticated.name_digest,
            ),
        };
        SessionState::new(&facts, master_secret)
    }

    /// Makes the NewSessionTicket that was promised; one with an empty ticket where there is nothing
    /// to be resumed after all.
    pub(crate) fn issue_ticket<P: CryptoProvider>(
        &mut self,
        provider: &P,
        state: Option<&SessionState>,
    ) -> SentTicket {
        let mut ticket = [0; MAX_SEALED_TICKET_LEN];
        let len = state
            .and_then(|state| self.lease.seal(provider, state, &mut ticket))
            .unwrap_or_default();
        let message = NewSessionTicket {
            ticket_lifetime_hint: match len {
                0 => 0,
                _ => u32::try_from(self.lease.lifetime().as_secs()).unwrap_or(u32::MAX),
            },
            ticket: ticket.get(..len).unwrap_or_default(),
        };
        let mut body = [0; MAX_BODY_LEN];
        let mut writer = Writer::new(&mut body);
        // The buffer is made for the longest ticket.
        let encoded = message.encode(&mut writer);
        debug_assert!(encoded.is_ok());
        let len = writer.len();
        SentTicket { body, len }
    }
}

/// Who a peer has proved to be, and by what.
pub(crate) struct Authenticated<'a> {
    pub(crate) peer: Peer,
    /// The PSK identity or the public key.
    pub(crate) credential: &'a [u8],
    /// The pre-shared key; empty otherwise.
    pub(crate) key: &'a [u8],
    pub(crate) name_digest: &'a [u8; SHA256_LEN],
}

/// The longest last flight with a ticket: its record, ChangeCipherSpec's, and a Finished's with a
/// connection ID of 32 bytes.
pub(crate) const LAST_FLIGHT_LEN: usize = (13 + 12 + MAX_BODY_LEN) + 14 + 94;

const MAX_BODY_LEN: usize = NewSessionTicket::MIN_LEN + MAX_SEALED_TICKET_LEN;

/// The NewSessionTicket of a server's last flight: over datagrams it may have to be sent again, for
/// as long as [`Session::keeps_last_flight`](crate::Session::keeps_last_flight) says.
#[derive(Clone)]
pub struct SentTicket {
    body: [u8; MAX_BODY_LEN],
    len: usize,
}

impl SentTicket {
    /// The longest message's body, in bytes.
    pub const MAX_LEN: usize = MAX_BODY_LEN;

    /// Lends the message's body.
    pub(crate) fn body(&self) -> &[u8] {
        self.body.get(..self.len).unwrap_or_default()
    }
}

impl fmt::Debug for SentTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentTicket")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
