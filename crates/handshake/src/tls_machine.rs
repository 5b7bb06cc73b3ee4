//! A handshake over a stream: records to messages and back, and what ends it at once.

use hedgerow_core::{
    ChannelError, CryptoProvider, DropReason, Env, Event, Instant, PeerFault, StreamReceived,
};
use hedgerow_record::{
    Alert, AlertDescription, ContentType, HandshakeType, TLS_1_2, TlsOpener, TlsRecord,
};

use crate::key_schedule::ConnectionEnd;
use crate::phase::{self, LastFlight, Over, Phase, Role};
use crate::tls_incoming::TlsIncoming;
use crate::tls_outgoing::TlsOutgoing;
use crate::{Buffers, TlsEstablished, TlsSession};

/// How many records in a row may come that move nothing on: warnings, HelloRequests.
pub(crate) const MAX_USELESS_RECORDS: u8 = 16;

/// The handshake of the end `R`, whose states before the keys are `E`.
pub(crate) struct TlsMachine<P: CryptoProvider, R, E, B> {
    incoming: TlsIncoming<B>,
    outgoing: TlsOutgoing<B, P::Aead>,
    phase: Phase<P, E, TlsOpener<P::Aead>>,
    deadline: Instant,
    /// Whether the peer's hello has come, from which on the version is settled.
    has_peer_hello: bool,
    useless_records: u8,
    pub(crate) role: R,
}

impl<P: CryptoProvider, R, E, B> TlsMachine<P, R, E, B> {
    pub(crate) const fn phase(&self) -> &Phase<P, E, TlsOpener<P::Aead>> {
        &self.phase
    }
}

impl<P, R, E, B> TlsMachine<P, R, E, B>
where
    P: CryptoProvider,
    R: Role<P, E>,
    B: AsRef<[u8]> + AsMut<[u8]>,
{
    pub(crate) const fn new(
        incoming: B,
        outgoing: TlsOutgoing<B, P::Aead>,
        state: E,
        role: R,
        deadline: Instant,
    ) -> Self {
        Self {
            incoming: TlsIncoming::new(incoming),
            outgoing,
            phase: Phase::Early(state),
            deadline,
            has_peer_hello: false,
            useless_records: 0,
            role,
        }
    }

    pub(crate) fn handle_bytes<'d>(
        &mut self,
        env: &mut Env<'_>,
        bytes: &'d mut [u8],
    ) -> Result<Option<StreamReceived<'d>>, ChannelError> {
        if self.phase.is_over() {
            return Ok(None);
        }
        let (record, rest) = match TlsRecord::decode(bytes) {
            Ok(Some(decoded)) => decoded,
            Ok(None) => return Ok(None),
            Err(hedgerow_record::Error::RecordTooLong { .. }) => {
                return Err(self.fail(AlertDescription::RECORD_OVERFLOW));
            }
            Err(_) => return Err(self.fail(AlertDescription::PROTOCOL_VERSION)),
        };
        let dropped = match &self.phase {
            Phase::ExpectFinished(_) => self.handle_protected(env, record)?,
            _ => self.handle_plain(env, &record)?,
        };
        if dropped.is_none() {
            self.useless_records = 0;
        } else {
            self.useless_records = self.useless_records.saturating_add(1);
            if self.useless_records > MAX_USELESS_RECORDS {
                return Err(self.fail(AlertDescription::UNEXPECTED_MESSAGE));
            }
        }
        let event = match &self.phase {
            Phase::Established(done) => Some(Event::Established(done.peer)),
            _ => dropped.map(Event::Dropped),
        };
        Ok(Some(StreamReceived { event, rest }))
    }

    /// The stream below has ended.
    pub(crate) fn handle_end(&mut self) -> Result<(), ChannelError> {
        if self.phase.is_over() {
            return Ok(());
        }
        Err(self.end(self.silence(PeerFault::Truncated)))
    }

    pub(crate) fn handle_timeout(&mut self, env: &mut Env<'_>) -> Result<(), ChannelError> {
        if self.phase.is_over() || env.now < self.deadline {
            return Ok(());
        }
        Err(self.end(self.silence(PeerFault::HandshakeTimeout)))
    }

    pub(crate) fn poll_transmit(&mut self, out: &mut [u8]) -> Result<Option<usize>, ChannelError> {
        self.outgoing.poll_transmit(out)
    }

    pub(crate) const fn poll_timeout(&self) -> Option<Instant> {
        if self.phase.is_over() {
            None
        } else {
            Some(self.deadline)
        }
    }

    pub(crate) fn is_sent(&self) -> bool {
        self.outgoing.is_sent()
    }

    /// Returns the session and what stays beside it, with the role and what it may keep of the
    /// session to resume it.
    pub(crate) fn into_session(self) -> Option<Over<TlsEstablished<P, B>, R>> {
        let Phase::Established(done) = self.phase else {
            return None;
        };
        let (sealer, outgoing) = self.outgoing.into_parts()?;
        let established = TlsEstablished {
            session: TlsSession::new(
                sealer,
                done.opener,
                done.answer.map(|answer| answer.verify_data),
                done.peer,
                done.suite,
                done.application_protocol,
                R::END,
            ),
            exporter: done.exporter,
            buffers: Buffers {
                incoming: self.incoming.into_buffer(),
                outgoing,
            },
            is_resumed: done.is_resumed,
            resumable: None,
            cacheable: None,
            session_id: crate::SessionId::EMPTY,
        };
        Some((established, self.role, done.session_id, done.session))
    }

    /// What it means that nothing more comes: `otherwise`, unless this end has just shown
    /// credentials.
    const fn silence(&self, otherwise: PeerFault) -> PeerFault {
        match R::END {
            ConnectionEnd::Client if self.phase.has_used_credentials() => {
                PeerFault::CredentialsRefused
            }
            _ => otherwise,
        }
    }

    fn handle_plain(
        &mut self,
        env: &mut Env<'_>,
        record: &TlsRecord<'_>,
    ) -> Result<Option<DropReason>, ChannelError> {
        // MUST (RFC 5246 §E.1): a first ClientHello's record may name any version of TLS. Whatever
        // comes before a ServerHello may do the same, since nothing is settled yet.
        if self.has_peer_hello && record.version != TLS_1_2 {
            return Err(self.fail(AlertDescription::PROTOCOL_VERSION));
        }
        // MUST (RFC 5246 §6.2.1): a record in clear carries at most 2^14 bytes.
        // MUST (RFC 6066 §4): where both ends have agreed on a length, it carries no more than that.
        if record.fragment.len() > self.outgoing.max_clear_len() {
            return Err(self.fail(AlertDescription::RECORD_OVERFLOW));
        }
        match record.content_type {
            ContentType::Handshake => self.handle_messages(env, record.fragment),
            ContentType::ChangeCipherSpec => self.handle_change_cipher_spec(record.fragment),
            ContentType::Alert => self.handle_alert(record.fragment, false),
            // MUST (RFC 5246 §6): a record of an unexpected type ends the connection.
            _ => Err(self.fail(AlertDescription::UNEXPECTED_MESSAGE)),
        }
    }

    fn handle_protected(
        &mut self,
        env: &mut Env<'_>,
        record: TlsRecord<'_>,
    ) -> Result<Option<DropReason>, ChannelError> {
        let Phase::ExpectFinished(keyed) = &mut self.phase else {
            return Err(self.fail(AlertDescription::INTERNAL_ERROR));
        };
        let content_type = record.content_type;
        let is_known = keyed.peer.is_some();
        let plaintext = match keyed.opener.open(record) {
            // Nobody knows the dummy key; if a record verifies all the same, it proves nothing.
            Ok(_) if !is_known => return Err(self.fail(AlertDescription::BAD_RECORD_MAC)),
            Ok(plaintext) => plaintext,
            Err(description) => return Err(self.fail(description)),
        };
        match content_type {
            ContentType::Handshake => self.handle_messages(env, plaintext),
            ContentType::Alert => self.handle_alert(plaintext, true),
            _ => Err(self.fail(AlertDescription::UNEXPECTED_MESSAGE)),
        }
    }

    fn handle_change_cipher_spec(
        &mut self,
        fragment: &[u8],
    ) -> Result<Option<DropReason>, ChannelError> {
        // A message that has begun under one key must not end under another.
        let is_between_messages = self.incoming.is_empty();
        match core::mem::replace(&mut self.phase, Phase::Failed) {
            Phase::ExpectChangeCipherSpec(keyed) if is_between_messages && *fragment == [1] => {
                self.phase = Phase::ExpectFinished(keyed);
                Ok(None)
            }
            _ => Err(self.fail(AlertDescription::UNEXPECTED_MESSAGE)),
        }
    }

    /// Handles a record of handshake messages.
    fn handle_messages(
        &mut self,
        env: &mut Env<'_>,
        fragment: &[u8],
    ) -> Result<Option<DropReason>, ChannelError> {
        // MUST (RFC 5246 §6.2.1): nobody sends handshake records without content.
        if fragment.is_empty() {
            return Err(self.fail(AlertDescription::UNEXPECTED_MESSAGE));
        }
        let Self {
            incoming,
            outgoing,
            phase,
            has_peer_hello,
            role,
            ..
        } = self;
        let mut dropped = None;
        incoming
            .handle_record(fragment, |message| {
                let is_request = message.msg_type == HandshakeType::HelloRequest;
                if is_request && R::END == ConnectionEnd::Client && message.body.is_empty() {
                    // RFC 5246 §7.4.1.1: ignored while a handshake is under way.
                    dropped = Some(DropReason::UnexpectedMessage);
                    return Ok(true);
                }
                // What returns early leaves the handshake failed.
                let before = core::mem::replace(phase, Phase::Failed);
                *phase = match (before, message.msg_type) {
                    (Phase::Early(state), _) => {
                        role.handle_message(state, env, outgoing, message)?
                    }
                    (Phase::ExpectNewSessionTicket(keyed), HandshakeType::NewSessionTicket) => {
                        let keyed = keyed.handle_new_session_ticket(role, env, message)?;
                        Phase::ExpectChangeCipherSpec(keyed)
                    }
                    (Phase::ExpectFinished(keyed), HandshakeType::Finished) => {
                        let done = keyed.handle_finished(role, outgoing, message)?;
                        if let Some(ticket) = done.answer.as_ref().and_then(LastFlight::ticket) {
                            // The session sends what comes behind it, once this is sent.
                            outgoing
                                .push_hashed(HandshakeType::NewSessionTicket, ticket.body())
                                .map_err(|_| AlertDescription::INTERNAL_ERROR)?;
                        }
                        Phase::Established(done)
                    }
                    _ => return Err(AlertDescription::UNEXPECTED_MESSAGE),
                };
                *has_peer_hello = true;
                Ok(matches!(
                    phase,
                    Phase::Early(_) | Phase::ExpectNewSessionTicket(_)
                ))
            })
            .map_err(|description| self.fail(description))?;
        Ok(dropped)
    }

    fn handle_alert(
        &mut self,
        fragment: &[u8],
        authenticated: bool,
    ) -> Result<Option<DropReason>, ChannelError> {
        let Ok(alert) = Alert::decode_exact(fragment) else {
            return Err(self.fail(AlertDescription::DECODE_ERROR));
        };
        let has_used_credentials = self.phase.has_used_credentials();
        phase::handle_alert(alert, R::END, has_used_credentials, authenticated)
            .map(Some)
            .map_err(|fault| {
                if alert.description == AlertDescription::CLOSE_NOTIFY {
                    // MUST (RFC 5246 §7.2.1): the other side answers with one of its own.
                    self.outgoing
                        .set_alert(Alert::warning(AlertDescription::CLOSE_NOTIFY));
                }
                self.end(fault)
            })
    }

    /// Ends the handshake with an alert to the peer.
    fn fail(&mut self, description: AlertDescription) -> ChannelError {
        self.outgoing.set_alert(Alert::fatal(description));
        self.end(PeerFault::AlertSent {
            description: description.0,
        })
    }

    /// Ends the handshake without a word.
    fn end(&mut self, fault: PeerFault) -> ChannelError {
        self.phase = Phase::Failed;
        fault.into()
    }
}
