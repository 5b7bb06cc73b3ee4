//! What both ends' handshakes have in common: records to messages, the order of the phases from
//! the keys on, alerts, the timer and the end.

use hedgerow_core::{
    ChannelError, CryptoProvider, DropReason, Env, Event, Instant, Peer, PeerFault, PeerId,
    Received, ct_eq,
};
use hedgerow_record::{
    Alert, AlertDescription, AlertLevel, CipherSuite, ContentType, DTLS_1_0, DTLS_1_2, DtlsOpener,
    DtlsRecord, DtlsSealer, EpochNumber, HandshakeType,
};

use crate::flight_timer::Due;
use crate::incoming::{Incoming, Message};
use crate::key_schedule::{ConnectionEnd, MasterSecret, VERIFY_DATA_LEN};
use crate::outgoing::Outgoing;
use crate::session::{FINAL_FLIGHT_LIFETIME, FinalFlight};
use crate::transcript::Transcript;
use crate::{Buffers, Established, Session};

/// The handshake of the end `R`, whose states before the keys are `E`.
pub(crate) struct Machine<P: CryptoProvider, R, E, B> {
    incoming: Incoming<B>,
    outgoing: Outgoing<B, P::Aead>,
    phase: Phase<P, E>,
    pub(crate) role: R,
}

/// How far a handshake has come, and what is valid then.
pub(crate) enum Phase<P: CryptoProvider, E> {
    /// The messages before the keys, which differ between the ends.
    Early(E),
    ExpectChangeCipherSpec(Keyed<P>),
    ExpectFinished(Keyed<P>),
    Established(Done<P>),
    Failed,
}

/// What there is once the keys are derived, beside the sealer, which the flights have.
pub(crate) struct Keyed<P: CryptoProvider> {
    /// Whom the peer's Finished proves. `None` where the key is the dummy.
    pub(crate) peer: Option<PeerId>,
    pub(crate) suite: CipherSuite,
    /// All messages before the peer's Finished.
    pub(crate) transcript: Transcript<P>,
    pub(crate) master: MasterSecret<P>,
    pub(crate) opener: DtlsOpener<P::Aead>,
}

/// What makes the session once the peer's Finished has verified.
pub(crate) struct Done<P: CryptoProvider> {
    peer: PeerId,
    suite: CipherSuite,
    sealer: DtlsSealer<P::Aead>,
    opener: DtlsOpener<P::Aead>,
    final_flight: Option<FinalFlight>,
}

/// One end up to the keys. From there on the ends differ by [`Self::END`] alone.
pub(crate) trait Role<P: CryptoProvider, E> {
    const END: ConnectionEnd;

    /// Handles the message whose turn it is and returns the next phase.
    fn handle_message<B: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        state: E,
        outgoing: &mut Outgoing<B, P::Aead>,
        message: &Message<'_>,
    ) -> Result<Phase<P, E>, AlertDescription>;
}

impl<P: CryptoProvider, R, E, B> Machine<P, R, E, B> {
    pub(crate) const fn phase(&self) -> &Phase<P, E> {
        &self.phase
    }

    pub(crate) const fn is_established(&self) -> bool {
        matches!(self.phase, Phase::Established(_))
    }

    const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Established(_) | Phase::Failed)
    }

    const fn is_keyed(&self) -> bool {
        matches!(
            self.phase,
            Phase::ExpectChangeCipherSpec(_) | Phase::ExpectFinished(_)
        )
    }
}

impl<P, R, E, B> Machine<P, R, E, B>
where
    P: CryptoProvider,
    R: Role<P, E>,
    B: AsRef<[u8]> + AsMut<[u8]>,
{
    pub(crate) const fn new(
        incoming: Incoming<B>,
        outgoing: Outgoing<B, P::Aead>,
        state: E,
        role: R,
    ) -> Self {
        Self {
            incoming,
            outgoing,
            phase: Phase::Early(state),
            role,
        }
    }

    pub(crate) fn handle_datagram<'d>(
        &mut self,
        env: &mut Env<'_>,
        datagram: &'d mut [u8],
    ) -> Result<Received<'d>, ChannelError> {
        let Ok((record, rest)) = DtlsRecord::decode(datagram) else {
            return Ok(Received::dropped(DropReason::Malformed, &mut []));
        };
        if self.is_over() {
            return Ok(Received::dropped(DropReason::AfterClose, rest));
        }
        let (dropped, newest) = match record.number.epoch() {
            EpochNumber(0) => (self.handle_plain(env.now, &record)?, false),
            EpochNumber(1) => self.handle_protected(env.now, record)?,
            _ => (Some(DropReason::UnexpectedEpoch), false),
        };
        let event = match &self.phase {
            Phase::Established(done) => Some(Event::Established(Peer::Psk(done.peer))),
            _ => dropped.map(Event::Dropped),
        };
        Ok(Received {
            event,
            newest,
            rest,
        })
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<(), ChannelError> {
        if self.is_over() {
            return Ok(());
        }
        match self.outgoing.handle_timeout(now) {
            Due::Nothing | Due::Retransmit => Ok(()),
            Due::GiveUp if !self.is_keyed() => Err(self.end(PeerFault::HandshakeTimeout)),
            Due::GiveUp => Err(match R::END {
                ConnectionEnd::Client => self.end(PeerFault::CredentialsRefused),
                ConnectionEnd::Server => self.fail(AlertDescription::DECRYPT_ERROR),
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

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        (!self.is_over()).then(|| self.outgoing.timer().poll_timeout())
    }

    pub(crate) fn into_session(self) -> Option<Established<P::Aead, B>> {
        let Phase::Established(done) = self.phase else {
            return None;
        };
        let (next_plain_number, outgoing) = self.outgoing.into_parts();
        Some(Established {
            session: Session::new(
                done.sealer,
                done.opener,
                next_plain_number,
                done.final_flight,
                Peer::Psk(done.peer),
                done.suite,
            ),
            buffers: Buffers {
                incoming: self.incoming.into_buffer(),
                outgoing,
            },
        })
    }

    fn handle_plain(
        &mut self,
        now: Instant,
        record: &DtlsRecord<'_>,
    ) -> Result<Option<DropReason>, ChannelError> {
        if record.version != DTLS_1_0 && record.version != DTLS_1_2 {
            return Ok(Some(DropReason::UnsupportedVersion));
        }
        match record.content_type {
            ContentType::Handshake => self.handle_messages(now, EpochNumber(0), record.fragment),
            ContentType::ChangeCipherSpec if *record.fragment != [1] => {
                Ok(Some(DropReason::Malformed))
            }
            ContentType::ChangeCipherSpec => {
                match core::mem::replace(&mut self.phase, Phase::Failed) {
                    Phase::ExpectChangeCipherSpec(keyed) => {
                        self.phase = Phase::ExpectFinished(keyed);
                        Ok(None)
                    }
                    // A duplicate, or one that overtook the messages before it.
                    phase => {
                        self.phase = phase;
                        Ok(Some(DropReason::UnexpectedMessage))
                    }
                }
            }
            ContentType::Alert => match R::END {
                ConnectionEnd::Client => self.handle_alert(record.fragment, false).map(Some),
                // In clear, anybody can have sent it. A handshake that its client has given up
                // ends at the deadline.
                ConnectionEnd::Server => Ok(Some(DropReason::IgnoredAlert)),
            },
            ContentType::ApplicationData => Ok(Some(DropReason::NotEstablished)),
            _ => Ok(Some(DropReason::UnexpectedMessage)),
        }
    }

    fn handle_protected(
        &mut self,
        now: Instant,
        record: DtlsRecord<'_>,
    ) -> Result<(Option<DropReason>, bool), ChannelError> {
        let Phase::ExpectFinished(keyed) = &mut self.phase else {
            return Ok((Some(DropReason::UnexpectedEpoch), false));
        };
        let opened = match keyed.opener.open(record) {
            Ok(opened) => opened,
            Err(reason) => return Ok((Some(reason), false)),
        };
        if keyed.peer.is_none() {
            // Nobody knows the dummy key; if a record verifies all the same, it proves nothing.
            return Ok((Some(DropReason::AuthenticationFailed), false));
        }
        let dropped = match opened.content_type {
            ContentType::Handshake => {
                self.handle_messages(now, EpochNumber(1), opened.plaintext)?
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
        now: Instant,
        epoch: EpochNumber,
        fragment: &[u8],
    ) -> Result<Option<DropReason>, ChannelError> {
        let Self {
            incoming,
            outgoing,
            phase,
            role,
        } = self;
        let taken = incoming
            .handle_record(epoch, fragment, |message| {
                // What returns early leaves the handshake failed.
                let before = core::mem::replace(phase, Phase::Failed);
                *phase = match (before, message.msg_type) {
                    (Phase::Early(state), _) => role.handle_message(state, outgoing, message)?,
                    (Phase::ExpectFinished(keyed), HandshakeType::Finished) => {
                        Phase::Established(keyed.handle_finished(now, R::END, outgoing, message)?)
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
            // RFC 6347 §4.2.4: the server sends its flight again because it lacks ours.
            ConnectionEnd::Client => self.is_keyed(),
            // RFC 6347 §4.2.4: the client sends its hello again because it lacks ours.
            ConnectionEnd::Server => matches!(self.phase, Phase::Early(_)),
        };
        if taken.flight_again && !taken.advanced && lacks_flight {
            self.outgoing.answer_duplicate(now);
        }
        Ok(taken.dropped)
    }

    /// Handles an alert. A server's is under the client's keys, so the client can only have
    /// sent it after its Finished.
    fn handle_alert(
        &mut self,
        fragment: &[u8],
        authenticated: bool,
    ) -> Result<DropReason, ChannelError> {
        let Ok(alert) = Alert::decode_exact(fragment) else {
            return Ok(DropReason::Malformed);
        };
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
        let has_used_credentials = R::END == ConnectionEnd::Client && self.is_keyed();
        let fault = if refuses_credentials && has_used_credentials {
            PeerFault::CredentialsRefused
        } else {
            PeerFault::AlertReceived {
                description: description.0,
                authenticated,
            }
        };
        Err(self.end(fault))
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

impl<P: CryptoProvider> Keyed<P> {
    /// Ends the handshake of `end` with its peer's Finished.
    fn handle_finished<B: AsRef<[u8]> + AsMut<[u8]>>(
        mut self,
        now: Instant,
        end: ConnectionEnd,
        outgoing: &mut Outgoing<B, P::Aead>,
        message: &Message<'_>,
    ) -> Result<Done<P>, AlertDescription> {
        if message.body.len() != VERIFY_DATA_LEN {
            return Err(AlertDescription::DECODE_ERROR);
        }
        let peer_end = match end {
            ConnectionEnd::Client => ConnectionEnd::Server,
            ConnectionEnd::Server => ConnectionEnd::Client,
        };
        let expected = self
            .master
            .derive_verify_data(peer_end, &self.transcript.hash());
        // MUST (RFC 5246 §7.4.9): a Finished that doesn't fit ends the handshake.
        if !ct_eq(message.body, &expected) {
            return Err(AlertDescription::DECRYPT_ERROR);
        }
        let peer = self.peer.ok_or(AlertDescription::DECRYPT_ERROR)?;
        outgoing.stop_retransmission();
        let sealer = outgoing.take_sealer();
        let final_flight = match end {
            ConnectionEnd::Client => None,
            ConnectionEnd::Server => {
                self.transcript.add_message(message);
                Some(FinalFlight {
                    verify_data: self.master.derive_verify_data(end, &self.transcript.hash()),
                    message_seq: outgoing.take_message_seq(),
                    peer_message_seq: message.message_seq,
                    until: now + FINAL_FLIGHT_LIFETIME,
                    is_due: true,
                })
            }
        };
        Ok(Done {
            peer,
            suite: self.suite,
            sealer: sealer.ok_or(AlertDescription::INTERNAL_ERROR)?,
            opener: self.opener,
            final_flight,
        })
    }
}
