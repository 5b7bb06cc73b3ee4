//! What the handshakes of both ends and both framings have in common: the order of the phases from
//! the keys on, Finished, and what alerts mean.

use hedgerow_core::{CryptoProvider, DropReason, Env, Peer, PeerFault, ct_eq};
use hedgerow_record::{Alert, AlertDescription, AlertLevel, CipherSuite, HandshakeType};

use crate::exporter::Exporter;
use crate::key_schedule::{ConnectionEnd, MasterSecret, SecurityParameters, VERIFY_DATA_LEN};
use crate::message::Message;
use crate::outgoing::Outgoing;
use crate::server_resumption::SentTicket;
use crate::session_state::{SessionId, SessionState};
use crate::transcript::Transcript;

/// How far a handshake has come, and what is valid then. `E` are the states before the keys, `O`
/// opens the peer's records.
pub(crate) enum Phase<P: CryptoProvider, E, O> {
    /// The messages before the keys, which differ between the ends.
    Early(E),
    /// Only a client, and only where the server has promised it.
    ExpectNewSessionTicket(Keyed<P, O>),
    ExpectChangeCipherSpec(Keyed<P, O>),
    ExpectFinished(Keyed<P, O>),
    Established(Done<P, O>),
    Failed,
}

impl<P: CryptoProvider, E, O> Phase<P, E, O> {
    pub(crate) const fn is_established(&self) -> bool {
        matches!(self, Self::Established(_))
    }

    pub(crate) const fn is_over(&self) -> bool {
        matches!(self, Self::Established(_) | Self::Failed)
    }

    /// Returns what there is with the keys, while the peer's Finished is awaited.
    const fn keyed(&self) -> Option<&Keyed<P, O>> {
        match self {
            Self::ExpectNewSessionTicket(keyed)
            | Self::ExpectChangeCipherSpec(keyed)
            | Self::ExpectFinished(keyed) => Some(keyed),
            _ => None,
        }
    }

    /// Says whether credentials were used that the peer's Finished is to answer for: not where a
    /// session is resumed.
    pub(crate) const fn has_used_credentials(&self) -> bool {
        matches!(self.keyed(), Some(keyed) if !keyed.is_abbreviated)
    }

    /// Says whether a session is being resumed.
    pub(crate) const fn is_abbreviated(&self) -> bool {
        matches!(self.keyed(), Some(keyed) if keyed.is_abbreviated)
    }
}

/// What there is once the keys are derived, beside the sealer, which the flights have.
pub(crate) struct Keyed<P: CryptoProvider, O> {
    /// Who the peer is, once its Finished has verified. `None` where the key is the dummy.
    pub(crate) peer: Option<Peer>,
    pub(crate) parameters: SecurityParameters,
    /// All messages before the peer's Finished.
    pub(crate) transcript: Transcript<P>,
    pub(crate) master: MasterSecret<P>,
    pub(crate) opener: O,
    /// Whether a session is resumed: then the server's Finished comes first (RFC 5246 §7.3).
    pub(crate) is_abbreviated: bool,
    /// What a new session can be resumed from.
    pub(crate) session: Option<SessionState>,
}

/// What makes the session once the peer's Finished has verified.
pub(crate) struct Done<P: CryptoProvider, O> {
    pub(crate) peer: Peer,
    pub(crate) suite: CipherSuite,
    pub(crate) application_protocol: Option<&'static [u8]>,
    pub(crate) opener: O,
    pub(crate) exporter: Exporter<P>,
    /// The flight that this end still has to send, if its peer's Finished came first.
    pub(crate) answer: Option<LastFlight>,
    /// What a new session can be resumed from, beside a ticket.
    pub(crate) session: Option<SessionState>,
    pub(crate) session_id: SessionId,
    pub(crate) is_resumed: bool,
}

/// What a handshake ends in: the session with what stays beside it, the role, the ID of a new session
/// and what it can be resumed from.
pub(crate) type Over<S, R> = (S, R, SessionId, Option<SessionState>);

/// The last flight of a handshake: ChangeCipherSpec and Finished, a server's ticket before them.
pub(crate) struct LastFlight {
    pub(crate) verify_data: [u8; VERIFY_DATA_LEN],
    /// The number of the Finished; the ticket's is the one before.
    pub(crate) message_seq: u16,
    pub(crate) ticket: Option<SentTicket>,
}

impl LastFlight {
    pub(crate) const fn ticket(&self) -> Option<&SentTicket> {
        self.ticket.as_ref()
    }
}

/// One end up to the keys. From there on the ends differ by [`Self::END`] alone.
pub(crate) trait Role<P: CryptoProvider, E> {
    const END: ConnectionEnd;

    /// Handles the message whose turn it is and returns the next phase.
    fn handle_message<O: Outgoing<P>>(
        &mut self,
        state: E,
        env: &mut Env<'_>,
        outgoing: &mut O,
        message: &Message<'_>,
    ) -> Result<Phase<P, E, O::Opener>, AlertDescription>;

    /// Handles a NewSessionTicket: a client's alone.
    fn handle_new_session_ticket(
        &mut self,
        _env: &Env<'_>,
        _message: &Message<'_>,
    ) -> Result<(), AlertDescription> {
        Err(AlertDescription::UNEXPECTED_MESSAGE)
    }

    /// Makes the NewSessionTicket that this end has promised: a server's alone.
    fn issue_ticket(&mut self, _session: Option<&SessionState>) -> Option<SentTicket> {
        None
    }
}

impl<P: CryptoProvider, O> Keyed<P, O> {
    /// Goes on with a NewSessionTicket.
    pub(crate) fn handle_new_session_ticket<E, R: Role<P, E>>(
        mut self,
        role: &mut R,
        env: &Env<'_>,
        message: &Message<'_>,
    ) -> Result<Self, AlertDescription> {
        role.handle_new_session_ticket(env, message)?;
        // MUST (RFC 5077 §3.3): the ticket is in the hash that the Finished messages are made of.
        self.transcript.add_message(message);
        Ok(self)
    }

    /// Ends the handshake with the peer's Finished.
    pub(crate) fn handle_finished<E, R: Role<P, E>, S: Outgoing<P>>(
        mut self,
        role: &mut R,
        outgoing: &mut S,
        message: &Message<'_>,
    ) -> Result<Done<P, O>, AlertDescription> {
        let end = R::END;
        if message.body.len() != VERIFY_DATA_LEN {
            return Err(AlertDescription::DECODE_ERROR);
        }
        let expected = self
            .master
            .derive_verify_data(end.peer(), &self.transcript.hash());
        // MUST (RFC 5246 §7.4.9): a Finished that doesn't fit ends the handshake.
        if !ct_eq(message.body, &expected) {
            return Err(AlertDescription::DECRYPT_ERROR);
        }
        let peer = self.peer.ok_or(AlertDescription::DECRYPT_ERROR)?;
        // RFC 5246 §7.3: the client's Finished comes first, but the server's where a session is
        // resumed.
        let is_first = (end == ConnectionEnd::Client) != self.is_abbreviated;
        let mut session = self.session;
        let mut answer = None;
        if !is_first {
            self.transcript.add_message(message);
            let mut ticket = None;
            if self.parameters.promise.issues_ticket && !self.is_abbreviated {
                // MUST (RFC 5077 §3.3): only now, the client's Finished being verified.
                ticket = role.issue_ticket(session.take().as_ref());
            }
            if let Some(ticket) = &ticket {
                let message_seq = outgoing.take_message_seq();
                let msg_type = HandshakeType::NewSessionTicket;
                self.transcript.add(msg_type, message_seq, ticket.body());
            }
            answer = Some(LastFlight {
                verify_data: self.master.derive_verify_data(end, &self.transcript.hash()),
                message_seq: outgoing.take_message_seq(),
                ticket,
            });
        }
        Ok(Done {
            peer,
            suite: self.parameters.suite,
            application_protocol: self.parameters.application_protocol,
            opener: self.opener,
            exporter: self.master.into_exporter(&self.parameters),
            answer,
            session,
            session_id: self.parameters.promise.session_id,
            is_resumed: self.is_abbreviated,
        })
    }
}

/// Says what an alert during the handshake of `end` means: the reason to drop it, or how it ends
/// the handshake.
///
/// A server's alert is under the client's keys, so the client can only have sent it after its
/// Finished. `has_used_credentials` says whether this end has come as far as showing some.
pub(crate) fn handle_alert(
    alert: Alert,
    end: ConnectionEnd,
    has_used_credentials: bool,
    authenticated: bool,
) -> Result<DropReason, PeerFault> {
    let description = alert.description;
    if alert.level == AlertLevel::Warning && description != AlertDescription::CLOSE_NOTIFY {
        return Ok(DropReason::IgnoredAlert);
    }
    let refuses_credentials = matches!(
        description,
        AlertDescription::BAD_RECORD_MAC
            | AlertDescription::DECRYPT_ERROR
            | AlertDescription::UNKNOWN_PSK_IDENTITY
    );
    let has_shown = end == ConnectionEnd::Client && has_used_credentials;
    Err(if refuses_credentials && has_shown {
        PeerFault::CredentialsRefused
    } else {
        PeerFault::AlertReceived {
            description: description.0,
            authenticated,
        }
    })
}
