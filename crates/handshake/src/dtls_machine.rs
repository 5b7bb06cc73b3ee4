//! A handshake over datagrams: records to messages and back, the timer, and what is dropped.

use hedgerow_core::{
    ChannelError, CryptoProvider, DropReason, Env, Event, Instant, Misuse, PeerFault, Received,
};
use hedgerow_record::{
    Alert, AlertDescription, ContentType, DTLS_1_0, DTLS_1_2, DtlsOpener, DtlsRecord, EpochNumber,
    HandshakeType,
};

use crate::dtls_incoming::DtlsIncoming;
use crate::dtls_outgoing::DtlsOutgoing;
use crate::dtls_session::ForgeryGuard;
use crate::early_finished::EarlyFinished;
use crate::final_flight::FinalFlight;
use crate::flight_timer::Due;
use crate::key_schedule::ConnectionEnd;
use crate::outgoing::Outgoing;
use crate::phase::{self, Over, Phase, Role};
use crate::server_resumption::SentTicket;
use crate::{Buffers, Established, Session};

/// The handshake of the end `R`, whose states before the keys are `E`.
pub(crate) struct DtlsMachine<P: CryptoProvider, R, E, B> {
    incoming: DtlsIncoming<B>,
    outgoing: DtlsOutgoing<B, P::Aead>,
    phase: Phase<P, E, DtlsOpener<P::Aead>>,
    early_finished: EarlyFinished,
    final_flight: Option<(FinalFlight, Option<SentTicket>)>,
    guard: ForgeryGuard,
    connection_id_len: usize,
    pub(crate) role: R,
}

impl<P: CryptoProvider, R, E, B> DtlsMachine<P, R, E, B> {
    pub(crate) const fn phase(&self) -> &Phase<P, E, DtlsOpener<P::Aead>> {
        &self.phase
    }
}

impl<P, R, E, B> DtlsMachine<P, R, E, B>
where
    P: CryptoProvider,
    R: Role<P, E>,
    B: AsRef<[u8]> + AsMut<[u8]>,
{
    /// `connection_id_len` is that of the connection ID that this end has named; the peer may have
    /// declined it.
    pub(crate) const fn new(
        incoming: DtlsIncoming<B>,
        outgoing: DtlsOutgoing<B, P::Aead>,
        phase: Phase<P, E, DtlsOpener<P::Aead>>,
        role: R,
        connection_id_len: usize,
    ) -> Self {
        Self {
            incoming,
            outgoing,
            phase,
            early_finished: EarlyFinished::NEW,
            final_flight: None,
            guard: ForgeryGuard::NEW,
            connection_id_len,
            role,
        }
    }

    pub(crate) fn handle_datagram<'d>(
        &mut self,
        env: &mut Env<'_>,
        datagram: &'d mut [u8],
    ) -> Result<Received<'d>, ChannelError> {
        let decoded = DtlsRecord::decode_with_connection_id(datagram, self.connection_id_len);
        let Ok((record, rest)) = decoded else {
            return Ok(Received::dropped(DropReason::Malformed, &mut []));
        };
        if self.phase.is_over() {
            return Ok(Received::dropped(DropReason::AfterClose, rest));
        }
        let (dropped, newest) = match record.number.epoch() {
            EpochNumber(0) => {
                let dropped = self.handle_plain(env, &record)?;
                self.handle_early_finished(env)?;
                (dropped, false)
            }
            EpochNumber(1) => self.handle_protected(env, record)?,
            _ => (Some(DropReason::UnexpectedEpoch), false),
        };
        let event = match &self.phase {
            Phase::Established(done) => Some(Event::Established(done.peer)),
            _ => dropped.map(Event::Dropped),
        };
        Ok(Received {
            event,
            newest,
            rest,
        })
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<(), ChannelError> {
        if self.phase.is_over() {
            return Ok(());
        }
        match self.outgoing.handle_timeout(now) {
            Due::Nothing | Due::Retransmit => Ok(()),
            Due::GiveUp => Err(match (R::END, &self.phase) {
                // The client has sent its Finished, but none that verifies.
                (ConnectionEnd::Server, Phase::ExpectFinished(_)) => {
                    self.fail(AlertDescription::DECRYPT_ERROR)
                }
                (_, phase) if !phase.has_used_credentials() => {
                    self.end(PeerFault::HandshakeTimeout)
                }
                (ConnectionEnd::Client, _) => self.end(PeerFault::CredentialsRefused),
                (ConnectionEnd::Server, _) => self.fail(AlertDescription::DECRYPT_ERROR),
            }),
        }
    }

    pub(crate) fn poll_transmit(
        &mut self,
        now: Instant,
        out: &mut [u8],
    ) -> Result<Option<usize>, ChannelError> {
        self.outgoing.poll_transmit(now, out)
    }

    pub(crate) fn forgive(&mut self) {
        if let Phase::ExpectFinished(keyed) | Phase::ExpectNewSessionTicket(keyed) = &mut self.phase
        {
            keyed.opener.forgive();
            self.guard.forgive();
        }
    }

    pub(crate) const fn outgoing(&self) -> &DtlsOutgoing<B, P::Aead> {
        &self.outgoing
    }

    /// Begins the handshake anew, before anything has answered it.
    pub(crate) fn start_again(
        &mut self,
        start: impl FnOnce(&mut R, &mut DtlsOutgoing<B, P::Aead>) -> Result<E, Misuse>,
    ) -> Result<(), Misuse> {
        self.outgoing.forget_numbers();
        self.phase = Phase::Early(start(&mut self.role, &mut self.outgoing)?);
        Ok(())
    }

    pub(crate) fn limit_datagrams(&mut self, len: usize) {
        self.outgoing.limit_datagrams(len);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        (!self.phase.is_over()).then(|| self.outgoing.timer().poll_timeout())
    }

    /// Returns the session and what stays beside it, with the role and what it may keep of the
    /// session to resume it.
    pub(crate) fn into_session(self) -> Option<Over<Established<P, B>, R>> {
        let Phase::Established(done) = self.phase else {
            return None;
        };
        let mut outgoing = self.outgoing;
        let sealer = outgoing.take_sealer()?;
        let datagram_len = outgoing.datagram_len();
        let (next_plain_number, outgoing) = outgoing.into_parts();
        let (final_flight, ticket) = match self.final_flight {
            Some((mut flight, ticket)) => {
                flight.limit(datagram_len);
                (Some(flight), ticket)
            }
            None => (None, None),
        };
        let established = Established {
            datagram_len,
            session: Session::new(
                sealer,
                done.opener,
                next_plain_number,
                final_flight,
                done.peer,
                done.suite,
                R::END,
            ),
            exporter: done.exporter,
            buffers: Buffers {
                incoming: self.incoming.into_buffer(),
                outgoing,
            },
            ticket,
            is_resumed: done.is_resumed,
            resumable: None,
            cacheable: None,
            session_id: crate::SessionId::EMPTY,
        };
        Some((established, self.role, done.session_id, done.session))
    }

    fn handle_plain(
        &mut self,
        env: &mut Env<'_>,
        record: &DtlsRecord<'_>,
    ) -> Result<Option<DropReason>, ChannelError> {
        if record.version != DTLS_1_0 && record.version != DTLS_1_2 {
            return Ok(Some(DropReason::UnsupportedVersion));
        }
        // MUST (RFC 5246 §6.2.1): a record in clear carries at most 2^14 bytes.
        // MUST (RFC 6066 §4): where both ends have agreed on a length, it carries no more than that.
        if record.fragment.len() > self.outgoing.max_clear_len() {
            return Ok(Some(DropReason::TooLong));
        }
        match record.content_type {
            ContentType::Handshake => self.handle_messages(env, EpochNumber(0), record.fragment),
            ContentType::ChangeCipherSpec if *record.fragment != [1] => {
                Ok(Some(DropReason::Malformed))
            }
            ContentType::ChangeCipherSpec => {
                match core::mem::replace(&mut self.phase, Phase::Failed) {
                    Phase::ExpectChangeCipherSpec(keyed) => {
                        self.phase = Phase::ExpectFinished(keyed);
                        Ok(None)
                    }
                    phase @ Phase::ExpectNewSessionTicket(_) => {
                        self.phase = phase;
                        self.early_finished.hold_change_cipher_spec();
                        Ok(None)
                    }
                    // A duplicate, or one that overtook the messages before it.
                    phase => {
                        self.phase = phase;
                        Ok(Some(DropReason::UnexpectedMessage))
                    }
                }
            }
            ContentType::Alert => match (R::END, &self.phase) {
                // In clear, anybody can have sent it. A handshake that its client has given up
                // ends at the deadline, and behind ChangeCipherSpec a server protects its alerts.
                (ConnectionEnd::Server, _) | (_, Phase::ExpectFinished(_)) => {
                    Ok(Some(DropReason::IgnoredAlert))
                }
                (ConnectionEnd::Client, _) => self.handle_alert(record.fragment, false).map(Some),
            },
            ContentType::ApplicationData => Ok(Some(DropReason::NotEstablished)),
            _ => Ok(Some(DropReason::UnexpectedMessage)),
        }
    }

    fn handle_protected(
        &mut self,
        env: &mut Env<'_>,
        record: DtlsRecord<'_>,
    ) -> Result<(Option<DropReason>, bool), ChannelError> {
        let (keyed, is_early) = match &mut self.phase {
            Phase::ExpectFinished(keyed) => (keyed, false),
            Phase::ExpectNewSessionTicket(keyed) => (keyed, true),
            _ => return Ok((Some(DropReason::UnexpectedEpoch), false)),
        };
        let algorithm = keyed.parameters.algorithm;
        if !self.guard.may_try(algorithm, env.now) {
            return Ok((Some(DropReason::RateLimited), false));
        }
        let opened = match keyed.opener.open(record) {
            Ok(opened) => opened,
            Err(reason) => {
                // Counted for the dummy key too: a peer must not learn which it is.
                if reason == DropReason::AuthenticationFailed {
                    self.guard.failed();
                }
                return Ok((Some(reason), false));
            }
        };
        if keyed.peer.is_none() {
            // Nobody knows the dummy key; if a record verifies all the same, it proves nothing.
            return Ok((Some(DropReason::AuthenticationFailed), false));
        }
        if is_early {
            let is_held = self.early_finished.hold(&opened);
            let dropped = (!is_held).then_some(DropReason::UnexpectedEpoch);
            return Ok((dropped, opened.newest));
        }
        let dropped = match opened.content_type {
            ContentType::Handshake => {
                self.handle_messages(env, EpochNumber(1), opened.plaintext)?
            }
            ContentType::Alert => Some(self.handle_alert(opened.plaintext, true)?),
            ContentType::ApplicationData => Some(DropReason::NotEstablished),
            _ => Some(DropReason::UnexpectedMessage),
        };
        Ok((dropped, opened.newest))
    }

    /// Handles a record of handshake messages and draws its consequences.
    fn handle_messages(
        &mut self,
        env: &mut Env<'_>,
        epoch: EpochNumber,
        fragment: &[u8],
    ) -> Result<Option<DropReason>, ChannelError> {
        let Self {
            incoming,
            outgoing,
            phase,
            final_flight,
            role,
            ..
        } = self;
        let taken = incoming
            .handle_record(epoch, fragment, |message| {
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
                        let mut done = keyed.handle_finished(role, outgoing, message)?;
                        Outgoing::<P>::stop_retransmission(outgoing);
                        *final_flight = done.answer.take().map(|answer| {
                            let flight = FinalFlight::new(&answer, message.message_seq, env.now);
                            (flight, answer.ticket)
                        });
                        Phase::Established(done)
                    }
                    _ => return Err(AlertDescription::UNEXPECTED_MESSAGE),
                };
                // Nothing honest comes in clear any more once only ChangeCipherSpec is missing. A
                // forged message must neither end the handshake nor wait for the next epoch.
                Ok(match phase {
                    Phase::ExpectChangeCipherSpec(_) => EpochNumber(1),
                    _ => epoch,
                })
            })
            .map_err(|description| self.fail(description))?;
        let lacks_flight = match R::END {
            // RFC 6347 §4.2.4: the server sends its flight again because it lacks ours. Where a
            // session is resumed, ours comes behind its Finished.
            ConnectionEnd::Client => self.phase.has_used_credentials(),
            // RFC 6347 §4.2.4: the client sends its hello again because it lacks ours.
            ConnectionEnd::Server => {
                matches!(self.phase, Phase::Early(_)) || self.phase.is_abbreviated()
            }
        };
        if taken.flight_again && !taken.advanced && lacks_flight {
            self.outgoing.answer_duplicate(env.now);
        }
        Ok(taken.dropped)
    }

    /// Goes on with what came before the ticket, once that is whole.
    fn handle_early_finished(&mut self, env: &mut Env<'_>) -> Result<(), ChannelError> {
        if self.early_finished.has_changed_cipher_spec() {
            self.phase = match core::mem::replace(&mut self.phase, Phase::Failed) {
                Phase::ExpectChangeCipherSpec(keyed) => Phase::ExpectFinished(keyed),
                phase => phase,
            };
        }
        if let Phase::ExpectFinished(_) = self.phase
            && let Some(finished) = self.early_finished.take_finished()
        {
            self.handle_messages(env, EpochNumber(1), &finished)?;
        }
        Ok(())
    }

    fn handle_alert(
        &mut self,
        fragment: &[u8],
        authenticated: bool,
    ) -> Result<DropReason, ChannelError> {
        let Ok(alert) = Alert::decode_exact(fragment) else {
            return Ok(DropReason::Malformed);
        };
        // A server has nothing to decrypt before the client's Finished. Such an alert ends the handshake
        // before this one, which the same two addresses had: the server gives that up at its deadline.
        let is_late = R::END == ConnectionEnd::Client
            && !self.phase.has_used_credentials()
            && matches!(
                alert.description,
                AlertDescription::BAD_RECORD_MAC | AlertDescription::DECRYPT_ERROR
            );
        if is_late {
            return Ok(DropReason::IgnoredAlert);
        }
        let has_used_credentials = self.phase.has_used_credentials();
        phase::handle_alert(alert, R::END, has_used_credentials, authenticated).map_err(|fault| {
            if alert.description == AlertDescription::CLOSE_NOTIFY {
                // MUST (RFC 5246 §7.2.1): the other side answers with a close_notify of its own.
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
