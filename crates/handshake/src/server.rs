//! The server's side of a PSK handshake, from a verified cookie on.
//!
//! The flights are drawn in the client's module. A server that can't go on with a client's
//! identity, because it doesn't know it or policy forbids it, goes on with a dummy key: each step
//! is then the same as for a key that differs, until the deadline ends it with one alert.

use hedgerow_core::{
    AeadAlgorithm, ChannelError, CryptoProvider, DropReason, EncodeError, Env, Event, Instant,
    Misuse, Peer, PeerFault, PeerId, PskRequest, PskStore, Received, Writer, ct_eq,
};
use hedgerow_record::{
    Alert, AlertDescription, CipherSuite, ContentType, DTLS_1_0, DTLS_1_2, DtlsRecord, EpochNumber,
    Extensions, HandshakeType, Random, RecordOpener, RecordSealer, ServerHello,
};

use crate::incoming::{Incoming, Message, Taken};
use crate::key_schedule::{
    Binding, ConnectionEnd, DummyPsk, EpochKeys, MasterSecret, VERIFY_DATA_LEN, psk_or_dummy,
};
use crate::outgoing::{Due, Outgoing};
use crate::psk_messages::decode_client_key_exchange;
use crate::session::{FINAL_FLIGHT_LIFETIME, FinalFlight};
use crate::transcript::Transcript;
use crate::{AcceptedHello, Buffers, Established, ServerState, Session, Settings};

/// A server's handshake with one client that has proved its address.
///
/// `S` finds the client's key once it has named itself; `B` is a buffer of the caller's, of the
/// length that [`Buffers`] names.
pub struct ServerHandshake<P: CryptoProvider, S, B> {
    incoming: Incoming<B>,
    outgoing: Outgoing<B, P::Aead>,
    state: State<P>,
    side: Side<P, S>,
}

/// What stays the same through all states.
struct Side<P, S> {
    provider: P,
    store: S,
    client_random: Random,
    server_random: Random,
    suite: CipherSuite,
    algorithm: AeadAlgorithm,
    has_extended_master_secret: bool,
    next_message_seq: u16,
    dummy: DummyPsk,
}

enum State<P: CryptoProvider> {
    ExpectClientKeyExchange {
        transcript: Transcript<P>,
    },
    ExpectChangeCipherSpec(Keyed<P>),
    ExpectFinished(Keyed<P>),
    Established {
        peer: PeerId,
        sealer: RecordSealer<P::Aead>,
        opener: RecordOpener<P::Aead>,
        final_flight: FinalFlight,
    },
    Failed,
}

/// What there is once the keys are derived. `peer` is `None` where the key is the dummy.
struct Keyed<P: CryptoProvider> {
    peer: Option<PeerId>,
    transcript: Transcript<P>,
    master: MasterSecret<P>,
    sealer: RecordSealer<P::Aead>,
    opener: RecordOpener<P::Aead>,
}

impl<P, S, B> ServerHandshake<P, S, B>
where
    P: CryptoProvider,
    S: PskStore,
    B: AsRef<[u8]> + AsMut<[u8]>,
{
    /// Answers a ClientHello that an [`Acceptor`](crate::Acceptor) has accepted; its first flight
    /// is there to be sent.
    ///
    /// # Errors
    ///
    /// [`Misuse::BufferTooSmall`] if a buffer is shorter than [`Buffers`] asks for.
    pub fn new(
        provider: P,
        store: S,
        settings: Settings,
        hello: AcceptedHello<P>,
        buffers: Buffers<B>,
        env: &mut Env<'_>,
    ) -> Result<Self, Misuse> {
        let Buffers { incoming, outgoing } = buffers.checked()?;
        let AcceptedHello {
            mut transcript,
            client_random,
            suite,
            algorithm,
            has_extended_master_secret,
            signals_renegotiation,
            message_seq,
            record_number,
        } = hello;
        let mut server_random = [0; 32];
        env.rng.fill_bytes(&mut server_random);
        let dummy = DummyPsk::draw(env.rng, store.usual_psk_len());
        let mut side = Side {
            provider,
            store,
            client_random,
            server_random,
            suite,
            algorithm,
            has_extended_master_secret,
            // RFC 6347 §4.2.2: the HelloVerifyRequest had the first hello's number, so the
            // ServerHello has the second one's.
            next_message_seq: message_seq,
            dummy,
        };
        // MUST (RFC 6347 §4.2.1): the ServerHello's record takes up the ClientHello's number.
        let mut outgoing = Outgoing::new(
            &settings,
            outgoing,
            record_number.sequence_number(),
            env.now,
        );
        side.send_server_hello(&mut outgoing, &mut transcript, signals_renegotiation)
            .map_err(|_| Misuse::NotOffered)?;
        Ok(Self {
            incoming: Incoming::new(incoming, message_seq.saturating_add(1)),
            outgoing,
            state: State::ExpectClientKeyExchange { transcript },
            side,
        })
    }

    /// Returns the random bytes of the ClientHello that this handshake answers.
    pub const fn client_random(&self) -> &Random {
        &self.side.client_random
    }

    /// Takes in the first record of `datagram`; see
    /// [`SecureChannel::handle_datagram`](hedgerow_core::SecureChannel::handle_datagram).
    ///
    /// After [`Event::Established`], [`Self::into_session`] has the session, which sends the last
    /// flight and to which the rest of the datagram belongs.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Peer`] where the client broke the protocol. What [`Self::poll_transmit`]
    /// then writes is still to be sent.
    pub fn handle_datagram<'d>(
        &mut self,
        env: &mut Env<'_>,
        datagram: &'d mut [u8],
    ) -> Result<Received<'d>, ChannelError> {
        let Ok((record, rest)) = DtlsRecord::decode(datagram) else {
            return Ok(Received::dropped(DropReason::Malformed, &mut []));
        };
        if matches!(self.state, State::Failed | State::Established { .. }) {
            return Ok(Received::dropped(DropReason::AfterClose, rest));
        }
        let (dropped, newest) = match record.number.epoch() {
            EpochNumber(0) => (self.handle_plain(env, &record)?, false),
            EpochNumber(1) => self.handle_protected(env, record)?,
            _ => (Some(DropReason::UnexpectedEpoch), false),
        };
        let event = match self.state {
            State::Established { peer, .. } => Some(Event::Established(Peer::Psk(peer))),
            _ => dropped.map(Event::Dropped),
        };
        Ok(Received {
            event,
            newest,
            rest,
        })
    }

    /// Sends the flight again, or gives the handshake up.
    ///
    /// # Errors
    ///
    /// [`PeerFault::AlertSent`] with decrypt_error if the client has used credentials that didn't
    /// verify by the deadline, whatever was wrong with them; [`PeerFault::HandshakeTimeout`] if
    /// it never came that far. What [`Self::poll_transmit`] then writes is still to be sent.
    pub fn handle_timeout(&mut self, env: &mut Env<'_>) -> Result<(), ChannelError> {
        if matches!(self.state, State::Failed | State::Established { .. }) {
            return Ok(());
        }
        match self.outgoing.handle_timeout(env.now) {
            Due::Nothing | Due::Retransmit => Ok(()),
            Due::GiveUp => {
                let has_used_credentials = matches!(
                    self.state,
                    State::ExpectChangeCipherSpec(_) | State::ExpectFinished(_)
                );
                if has_used_credentials {
                    return self.fail(AlertDescription::DECRYPT_ERROR);
                }
                self.state = State::Failed;
                Err(PeerFault::HandshakeTimeout.into())
            }
        }
    }

    /// Writes the next datagram to send, if any; `out` needs room for
    /// [`MIN_DATAGRAM_LEN`](crate::MIN_DATAGRAM_LEN) bytes.
    ///
    /// # Errors
    ///
    /// [`Misuse::BufferTooSmall`] if not even one record fits.
    pub fn poll_transmit(
        &mut self,
        env: &mut Env<'_>,
        out: &mut [u8],
    ) -> Result<Option<usize>, ChannelError> {
        self.outgoing.poll_transmit(env.now, out)
    }

    /// Returns when [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Failed | State::Established { .. } => None,
            _ => Some(self.outgoing.timer().poll_timeout()),
        }
    }

    /// Returns what the handshake waits for.
    pub const fn state(&self) -> ServerState {
        match self.state {
            State::ExpectClientKeyExchange { .. } => ServerState::ExpectClientKeyExchange,
            State::ExpectChangeCipherSpec(_) => ServerState::ExpectChangeCipherSpec,
            State::ExpectFinished(_) => ServerState::ExpectFinished,
            State::Established { .. } => ServerState::Established,
            State::Failed => ServerState::Failed,
        }
    }

    /// Says whether the handshake is over and [`Self::into_session`] has the session.
    pub const fn is_established(&self) -> bool {
        matches!(self.state, State::Established { .. })
    }

    /// Returns the session, which has the last flight to send, and the buffers once the handshake
    /// is over; `None` before.
    pub fn into_session(self) -> Option<Established<P::Aead, B>> {
        let State::Established {
            peer,
            sealer,
            opener,
            final_flight,
        } = self.state
        else {
            return None;
        };
        let (next_plain_number, outgoing) = self.outgoing.into_parts();
        Some(Established {
            session: Session::new(
                sealer,
                opener,
                next_plain_number,
                Some(final_flight),
                Peer::Psk(peer),
                self.side.suite,
            ),
            buffers: Buffers {
                incoming: self.incoming.into_buffer(),
                outgoing,
            },
        })
    }

    fn handle_plain(
        &mut self,
        env: &mut Env<'_>,
        record: &DtlsRecord<'_>,
    ) -> Result<Option<DropReason>, ChannelError> {
        if record.version != DTLS_1_0 && record.version != DTLS_1_2 {
            return Ok(Some(DropReason::UnsupportedVersion));
        }
        match record.content_type {
            ContentType::Handshake => {
                let Self {
                    incoming,
                    outgoing,
                    state,
                    side,
                } = self;
                let taken = incoming.handle_record(EpochNumber(0), record.fragment, |message| {
                    side.handle_message(env.now, state, outgoing, message)
                });
                self.conclude(env.now, taken)
            }
            ContentType::ChangeCipherSpec if *record.fragment != [1] => {
                Ok(Some(DropReason::Malformed))
            }
            ContentType::ChangeCipherSpec => {
                match core::mem::replace(&mut self.state, State::Failed) {
                    State::ExpectChangeCipherSpec(keyed) => {
                        self.state = State::ExpectFinished(keyed);
                        Ok(None)
                    }
                    // A duplicate, or one that overtook the messages before it.
                    state => {
                        self.state = state;
                        Ok(Some(DropReason::UnexpectedMessage))
                    }
                }
            }
            // In clear, anybody can have sent it. A handshake that its client has given up ends
            // at the deadline.
            ContentType::Alert => Ok(Some(DropReason::IgnoredAlert)),
            ContentType::ApplicationData => Ok(Some(DropReason::NotEstablished)),
            _ => Ok(Some(DropReason::UnexpectedMessage)),
        }
    }

    fn handle_protected(
        &mut self,
        env: &mut Env<'_>,
        record: DtlsRecord<'_>,
    ) -> Result<(Option<DropReason>, bool), ChannelError> {
        let State::ExpectFinished(keyed) = &mut self.state else {
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
                let Self {
                    incoming,
                    outgoing,
                    state,
                    side,
                } = self;
                let taken = incoming.handle_record(EpochNumber(1), opened.plaintext, |message| {
                    side.handle_message(env.now, state, outgoing, message)
                });
                self.conclude(env.now, taken)?
            }
            ContentType::Alert => Some(self.handle_alert(opened.plaintext)?),
            ContentType::ApplicationData => Some(DropReason::NotEstablished),
            _ => Some(DropReason::UnexpectedMessage),
        };
        Ok((dropped, opened.newest))
    }

    /// Draws the consequences of a record of handshake messages.
    fn conclude(
        &mut self,
        now: Instant,
        taken: Result<Taken, AlertDescription>,
    ) -> Result<Option<DropReason>, ChannelError> {
        match taken {
            Ok(taken) => {
                if matches!(self.state, State::ExpectChangeCipherSpec(_)) {
                    // Nothing honest comes in clear any more. A forged message must neither end
                    // the handshake nor wait for its turn in the next epoch.
                    self.incoming.change_epoch(EpochNumber(1));
                }
                if taken.flight_again && matches!(self.state, State::ExpectClientKeyExchange { .. })
                {
                    // RFC 6347 §4.2.4: the client sends its hello again because it lacks ours.
                    self.outgoing.answer_duplicate(now);
                }
                Ok(taken.dropped)
            }
            Err(description) => self.fail(description).map(|()| None),
        }
    }

    fn fail(&mut self, description: AlertDescription) -> Result<(), ChannelError> {
        self.outgoing.set_alert(Alert::fatal(description));
        self.state = State::Failed;
        Err(PeerFault::AlertSent {
            description: description.0,
        }
        .into())
    }

    /// Handles an alert under the client's keys, which it can only have sent after its Finished.
    fn handle_alert(&mut self, fragment: &[u8]) -> Result<DropReason, ChannelError> {
        match Alert::decode_exact(fragment) {
            Err(_) => Ok(DropReason::Malformed),
            Ok(alert)
                if alert.level == hedgerow_record::AlertLevel::Warning
                    && alert.description != AlertDescription::CLOSE_NOTIFY =>
            {
                Ok(DropReason::IgnoredAlert)
            }
            Ok(alert) => {
                self.state = State::Failed;
                Err(PeerFault::AlertReceived {
                    description: alert.description.0,
                    authenticated: true,
                }
                .into())
            }
        }
    }
}

impl<P: CryptoProvider, S: PskStore> Side<P, S> {
    /// Puts ServerHello and ServerHelloDone into a flight.
    ///
    /// No ServerKeyExchange goes out: without a hint it is left out (RFC 4279 §2), and a hint
    /// would tell anybody whose server this is.
    fn send_server_hello<B: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        outgoing: &mut Outgoing<B, P::Aead>,
        transcript: &mut Transcript<P>,
        signals_renegotiation: bool,
    ) -> Result<(), EncodeError> {
        const EXTENDED_MASTER_SECRET: [u8; 4] = [0x00, 0x17, 0x00, 0x00];
        // MUST (RFC 5746 §3.6): the answer to the signal is an empty renegotiated_connection.
        const RENEGOTIATION_INFO: [u8; 5] = [0xff, 0x01, 0x00, 0x01, 0x00];

        let mut block = [0; EXTENDED_MASTER_SECRET.len() + RENEGOTIATION_INFO.len()];
        let mut writer = Writer::new(&mut block);
        if signals_renegotiation {
            writer.bytes(&RENEGOTIATION_INFO)?;
        }
        if self.has_extended_master_secret {
            writer.bytes(&EXTENDED_MASTER_SECRET)?;
        }
        let block: &[u8] = writer.into_written();
        let extensions = if block.is_empty() {
            Extensions::NONE
        } else {
            Extensions::from_block(block).unwrap_or(Extensions::NONE)
        };
        let server_random = self.server_random;
        let hello = ServerHello {
            server_version: DTLS_1_2,
            random: &server_random,
            session_id: &[],
            cipher_suite: self.suite,
            compression_method: 0,
            extensions,
        };
        outgoing.start_flight();
        let message_seq = self.take_message_seq();
        let body = outgoing.push_message(
            EpochNumber(0),
            HandshakeType::ServerHello,
            message_seq,
            |out| {
                hello.encode(out).map_err(|error| match error {
                    hedgerow_record::Error::Encode(error) => error,
                    _ => EncodeError::TooLong { len: 0, max: 0 },
                })
            },
        )?;
        transcript.add(HandshakeType::ServerHello, message_seq, body);
        let message_seq = self.take_message_seq();
        let body = outgoing.push_message(
            EpochNumber(0),
            HandshakeType::ServerHelloDone,
            message_seq,
            |_| Ok(()),
        )?;
        transcript.add(HandshakeType::ServerHelloDone, message_seq, body);
        Ok(())
    }

    fn take_message_seq(&mut self) -> u16 {
        let message_seq = self.next_message_seq;
        self.next_message_seq = message_seq.saturating_add(1);
        message_seq
    }

    /// Handles the message whose turn it is.
    fn handle_message<B: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        now: Instant,
        state: &mut State<P>,
        outgoing: &mut Outgoing<B, P::Aead>,
        message: &Message<'_>,
    ) -> Result<(), AlertDescription> {
        let next = match (core::mem::replace(state, State::Failed), message.msg_type) {
            (State::ExpectClientKeyExchange { transcript }, HandshakeType::ClientKeyExchange) => {
                // The client has our flight. Its own comes again by its own timer.
                outgoing.stop_retransmission();
                State::ExpectChangeCipherSpec(self.derive_keys(transcript, message)?)
            }
            (State::ExpectFinished(keyed), HandshakeType::Finished) => {
                self.handle_finished(now, keyed, message)?
            }
            _ => return Err(AlertDescription::UNEXPECTED_MESSAGE),
        };
        *state = next;
        Ok(())
    }

    /// Looks the client's key up and derives all keys, from the dummy where there is none.
    fn derive_keys(
        &self,
        mut transcript: Transcript<P>,
        message: &Message<'_>,
    ) -> Result<Keyed<P>, AlertDescription> {
        let psk_identity =
            decode_client_key_exchange(message.body).map_err(|_| AlertDescription::DECODE_ERROR)?;
        transcript.add_message(message);
        let entry = self
            .store
            .lookup(&PskRequest::new(psk_identity, self.algorithm));
        let session_hash = transcript.hash();
        let binding = if self.has_extended_master_secret {
            Binding::SessionHash(&session_hash)
        } else {
            Binding::Randoms
        };
        let master = MasterSecret::<P>::derive(
            &self.provider,
            psk_or_dummy(entry.map(|entry| entry.psk), &self.dummy),
            &self.client_random,
            &self.server_random,
            &binding,
        );
        let EpochKeys { sealer, opener } = master
            .derive_traffic_keys(
                &self.provider,
                self.algorithm,
                &self.client_random,
                &self.server_random,
                ConnectionEnd::Server,
            )
            .map_err(|_| AlertDescription::INTERNAL_ERROR)?;
        Ok(Keyed {
            peer: entry.map(|entry| entry.peer),
            transcript,
            master,
            sealer,
            opener,
        })
    }

    fn handle_finished(
        &mut self,
        now: Instant,
        keyed: Keyed<P>,
        message: &Message<'_>,
    ) -> Result<State<P>, AlertDescription> {
        let Keyed {
            peer,
            mut transcript,
            master,
            sealer,
            opener,
        } = keyed;
        if message.body.len() != VERIFY_DATA_LEN {
            return Err(AlertDescription::DECODE_ERROR);
        }
        let expected = master.derive_verify_data(ConnectionEnd::Client, &transcript.hash());
        // MUST (RFC 5246 §7.4.9): a Finished that doesn't fit ends the handshake.
        if !ct_eq(message.body, &expected) {
            return Err(AlertDescription::DECRYPT_ERROR);
        }
        let peer = peer.ok_or(AlertDescription::DECRYPT_ERROR)?;
        transcript.add_message(message);
        Ok(State::Established {
            peer,
            sealer,
            opener,
            final_flight: FinalFlight {
                verify_data: master.derive_verify_data(ConnectionEnd::Server, &transcript.hash()),
                message_seq: self.take_message_seq(),
                peer_message_seq: message.message_seq,
                until: now + FINAL_FLIGHT_LIFETIME,
                is_due: true,
            },
        })
    }
}
