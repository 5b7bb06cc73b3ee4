//! The client's side of a PSK handshake.
//!
//! ```text
//! Client                                   Server          timer
//! ClientHello                 -------->                    client's, flight 1
//!                             <--------    HelloVerifyRequest   none: stateless
//! ClientHello (cookie)        -------->                    client's, flight 3
//!                                          ServerHello
//!                                          [ServerKeyExchange]
//!                             <--------    ServerHelloDone server's, flight 4
//! ClientKeyExchange
//! [ChangeCipherSpec]
//! Finished                    -------->                    client's, flight 5
//!                                          [ChangeCipherSpec]
//!                             <--------    Finished        none: sent again on request
//! ```
//!
//! A server that asks for no cookie answers the first ClientHello with its ServerHello.

use hedgerow_core::{
    AeadAlgorithm, ChannelError, CryptoProvider, DropReason, EncodeError, Env, Event, Instant,
    Misuse, Peer, PeerFault, PskCredentials, Received, Writer, ct_eq,
};
use hedgerow_record::{
    Alert, AlertDescription, AlertLevel, CipherSuite, CipherSuites, ClientHello, ContentType,
    DTLS_1_0, DTLS_1_2, DtlsRecord, EpochNumber, ExtensionType, Extensions, HandshakeType,
    HelloVerifyRequest, MAX_COOKIE_LEN, Random, RecordOpener, RecordSealer, ServerHello,
};

use crate::incoming::{Incoming, Message, Taken};
use crate::key_schedule::{Binding, ConnectionEnd, EpochKeys, MasterSecret, VERIFY_DATA_LEN};
use crate::outgoing::{Due, Outgoing};
use crate::psk_messages::{decode_server_key_exchange, encode_client_key_exchange};
use crate::settings::MAX_SUITES;
use crate::transcript::Transcript;
use crate::{Buffers, ClientState, Established, ExtendedMasterSecret, Session, Settings};

/// How many HelloVerifyRequests one handshake answers: one, and two more for cookies that a server
/// no longer accepts when they come back.
const MAX_COOKIES: u8 = 3;

/// Extension type and an empty body.
const EXTENDED_MASTER_SECRET_EXTENSION: [u8; 4] = [0x00, 0x17, 0x00, 0x00];

/// A client's handshake with one server.
///
/// `C` gives identity and key once the server has spoken; `B` is a buffer of the caller's, of the
/// length that [`Buffers`] names.
pub struct ClientHandshake<P: CryptoProvider, C, B> {
    incoming: Incoming<B>,
    outgoing: Outgoing<B, P::Aead>,
    state: State<P>,
    side: Side<P, C>,
}

/// What stays the same through all states.
struct Side<P, C> {
    provider: P,
    credentials: C,
    settings: Settings,
    client_random: Random,
    next_message_seq: u16,
    cookies: u8,
}

enum State<P: CryptoProvider> {
    ExpectServerHello {
        transcript: Transcript<P>,
    },
    ExpectServerKeyExchange(Negotiated<P>),
    ExpectServerHelloDone(Negotiated<P>),
    ExpectChangeCipherSpec(Keyed<P>),
    ExpectFinished(Keyed<P>),
    Established {
        sealer: RecordSealer<P::Aead>,
        opener: RecordOpener<P::Aead>,
        suite: CipherSuite,
    },
    Failed,
}

/// What both ends agree on after ServerHello.
struct Negotiated<P: CryptoProvider> {
    transcript: Transcript<P>,
    server_random: Random,
    suite: CipherSuite,
    algorithm: AeadAlgorithm,
    has_extended_master_secret: bool,
}

/// What there is once the keys are derived.
struct Keyed<P: CryptoProvider> {
    expected_verify_data: [u8; VERIFY_DATA_LEN],
    opener: RecordOpener<P::Aead>,
    suite: CipherSuite,
}

impl<P, C, B> ClientHandshake<P, C, B>
where
    P: CryptoProvider,
    C: PskCredentials,
    B: AsRef<[u8]> + AsMut<[u8]>,
{
    /// Starts a handshake; its first flight is there to be sent.
    ///
    /// # Errors
    ///
    /// [`Misuse::BufferTooSmall`] if a buffer is shorter than [`Buffers`] asks for,
    /// [`Misuse::PskIdentityLength`] for an identity longer than 128 bytes, [`Misuse::NotOffered`]
    /// if the settings name no suite.
    pub fn new(
        provider: P,
        credentials: C,
        settings: Settings,
        buffers: Buffers<B>,
        env: &mut Env<'_>,
    ) -> Result<Self, Misuse> {
        let identity_len = credentials.psk_identity().len();
        if identity_len > hedgerow_core::MAX_PSK_IDENTITY_LEN {
            return Err(Misuse::PskIdentityLength {
                len: identity_len,
                max: hedgerow_core::MAX_PSK_IDENTITY_LEN,
            });
        }
        if settings.suites().is_empty() {
            return Err(Misuse::NotOffered);
        }
        let Buffers { incoming, outgoing } = buffers.checked()?;
        let mut client_random = [0; 32];
        // DEVIATES (RFC 5246 §7.4.1.2): all 32 bytes are random; the time in the first four says
        // nothing to a peer and something to an observer.
        env.rng.fill_bytes(&mut client_random);
        let mut side = Side {
            provider,
            credentials,
            settings,
            client_random,
            next_message_seq: 0,
            cookies: 0,
        };
        let mut outgoing = Outgoing::new(&settings, outgoing, 0, env.now);
        let transcript = side
            .start_client_hello(&mut outgoing, &[])
            .map_err(|_| Misuse::NotOffered)?;
        Ok(Self {
            incoming: Incoming::new(incoming, 0),
            outgoing,
            state: State::ExpectServerHello { transcript },
            side,
        })
    }

    /// Takes in the first record of `datagram`; see
    /// [`SecureChannel::handle_datagram`](hedgerow_core::SecureChannel::handle_datagram).
    ///
    /// After [`Event::Established`], [`Self::into_session`] has the session, to which the rest of
    /// the datagram belongs.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Peer`] where the server broke the protocol or sent a fatal alert. What
    /// [`Self::poll_transmit`] then writes is still to be sent.
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
            State::Established { .. } => Some(Event::Established(self.peer())),
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
    /// [`PeerFault::HandshakeTimeout`] if the server never came as far as asking for credentials,
    /// [`PeerFault::CredentialsRefused`] if it has been silent since.
    pub fn handle_timeout(&mut self, env: &mut Env<'_>) -> Result<(), ChannelError> {
        if matches!(self.state, State::Failed | State::Established { .. }) {
            return Ok(());
        }
        match self.outgoing.handle_timeout(env.now) {
            Due::Nothing | Due::Retransmit => Ok(()),
            Due::GiveUp => {
                let fault = if self.has_sent_finished() {
                    PeerFault::CredentialsRefused
                } else {
                    PeerFault::HandshakeTimeout
                };
                self.state = State::Failed;
                Err(fault.into())
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
    pub const fn state(&self) -> ClientState {
        match self.state {
            State::ExpectServerHello { .. } => ClientState::ExpectServerHello {
                has_cookie: self.side.cookies > 0,
            },
            State::ExpectServerKeyExchange(_) => ClientState::ExpectServerKeyExchange,
            State::ExpectServerHelloDone(_) => ClientState::ExpectServerHelloDone,
            State::ExpectChangeCipherSpec(_) => ClientState::ExpectChangeCipherSpec,
            State::ExpectFinished(_) => ClientState::ExpectFinished,
            State::Established { .. } => ClientState::Established,
            State::Failed => ClientState::Failed,
        }
    }

    /// Says whether the handshake is over and [`Self::into_session`] has the session.
    pub const fn is_established(&self) -> bool {
        matches!(self.state, State::Established { .. })
    }

    /// Returns the session and the buffers once the handshake is over; `None` before.
    pub fn into_session(self) -> Option<Established<P::Aead, B>> {
        let peer = self.peer();
        let State::Established {
            sealer,
            opener,
            suite,
        } = self.state
        else {
            return None;
        };
        let (next_plain_number, outgoing) = self.outgoing.into_parts();
        Some(Established {
            session: Session::new(sealer, opener, next_plain_number, None, peer, suite),
            buffers: Buffers {
                incoming: self.incoming.into_buffer(),
                outgoing,
            },
        })
    }

    fn peer(&self) -> Peer {
        Peer::Psk(self.side.credentials.peer())
    }

    const fn has_sent_finished(&self) -> bool {
        matches!(
            self.state,
            State::ExpectChangeCipherSpec(_) | State::ExpectFinished(_)
        )
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
                    side.handle_message(state, outgoing, message)
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
            ContentType::Alert => self.handle_alert(record.fragment, false).map(Some),
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
        let dropped = match opened.content_type {
            ContentType::Handshake => {
                let Self {
                    incoming,
                    outgoing,
                    state,
                    side,
                } = self;
                let taken = incoming.handle_record(EpochNumber(1), opened.plaintext, |message| {
                    side.handle_message(state, outgoing, message)
                });
                self.conclude(env.now, taken)?
            }
            ContentType::Alert => Some(self.handle_alert(opened.plaintext, true)?),
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
                if taken.flight_again && !taken.advanced && self.has_sent_finished() {
                    // RFC 6347 §4.2.4: the server sends its flight again because it lacks ours.
                    self.outgoing.answer_duplicate(now);
                }
                Ok(taken.dropped)
            }
            Err(description) => {
                self.outgoing.set_alert(Alert::fatal(description));
                self.state = State::Failed;
                Err(PeerFault::AlertSent {
                    description: description.0,
                }
                .into())
            }
        }
    }

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
        let fault = if refuses_credentials && self.has_sent_finished() {
            PeerFault::CredentialsRefused
        } else {
            PeerFault::AlertReceived {
                description: description.0,
                authenticated,
            }
        };
        self.state = State::Failed;
        Err(fault.into())
    }
}

impl<P: CryptoProvider, C: PskCredentials> Side<P, C> {
    /// Puts a ClientHello into a new flight and starts the transcript with it.
    fn start_client_hello<B: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        outgoing: &mut Outgoing<B, P::Aead>,
        cookie: &[u8],
    ) -> Result<Transcript<P>, EncodeError> {
        let mut suites = [0; 2 * (MAX_SUITES + 1)];
        let mut writer = Writer::new(&mut suites);
        for suite in self.settings.suites() {
            writer.u16(suite.0)?;
        }
        // MUST (RFC 5746 §3.4): the signal stands in every ClientHello that isn't a renegotiation.
        writer.u16(CipherSuite::TLS_EMPTY_RENEGOTIATION_INFO_SCSV.0)?;
        let message_seq = self.take_message_seq();
        let hello = ClientHello {
            client_version: DTLS_1_2,
            random: &self.client_random,
            session_id: &[],
            cookie,
            cipher_suites: CipherSuites::new(writer.written()).map_err(not_encodable)?,
            compression_methods: &[0],
            extensions: Extensions::from_block(&EXTENDED_MASTER_SECRET_EXTENSION)
                .map_err(not_encodable)?,
        };
        outgoing.start_flight();
        let body = outgoing.push_message(
            EpochNumber(0),
            HandshakeType::ClientHello,
            message_seq,
            |out| hello.encode(out).map_err(not_encodable),
        )?;
        // MUST (RFC 6347 §4.2.6): only the ClientHello that the server goes on with counts.
        let mut transcript = Transcript::new(&self.provider);
        transcript.add(HandshakeType::ClientHello, message_seq, body);
        Ok(transcript)
    }

    fn take_message_seq(&mut self) -> u16 {
        let message_seq = self.next_message_seq;
        self.next_message_seq = message_seq.saturating_add(1);
        message_seq
    }

    /// Handles the message whose turn it is.
    fn handle_message<B: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        state: &mut State<P>,
        outgoing: &mut Outgoing<B, P::Aead>,
        message: &Message<'_>,
    ) -> Result<(), AlertDescription> {
        let body = message.body;
        let next = match (core::mem::replace(state, State::Failed), message.msg_type) {
            (State::ExpectServerHello { .. }, HandshakeType::HelloVerifyRequest) => {
                self.handle_hello_verify_request(outgoing, body)?
            }
            (State::ExpectServerHello { transcript }, HandshakeType::ServerHello) => {
                let negotiated = self.handle_server_hello(transcript, message)?;
                State::ExpectServerKeyExchange(negotiated)
            }
            (State::ExpectServerKeyExchange(mut negotiated), HandshakeType::ServerKeyExchange) => {
                // RFC 4279 §5.2: the hint helps to choose among identities; the caller has chosen.
                decode_server_key_exchange(body).map_err(|_| AlertDescription::DECODE_ERROR)?;
                negotiated.transcript.add_message(message);
                State::ExpectServerHelloDone(negotiated)
            }
            (
                State::ExpectServerKeyExchange(mut negotiated)
                | State::ExpectServerHelloDone(mut negotiated),
                HandshakeType::ServerHelloDone,
            ) => {
                if !body.is_empty() {
                    return Err(AlertDescription::DECODE_ERROR);
                }
                negotiated.transcript.add_message(message);
                State::ExpectChangeCipherSpec(self.send_finished(outgoing, negotiated)?)
            }
            (State::ExpectFinished(keyed), HandshakeType::Finished) => {
                if body.len() != VERIFY_DATA_LEN {
                    return Err(AlertDescription::DECODE_ERROR);
                }
                // MUST (RFC 5246 §7.4.9): a Finished that doesn't fit ends the handshake.
                if !ct_eq(body, &keyed.expected_verify_data) {
                    return Err(AlertDescription::DECRYPT_ERROR);
                }
                outgoing.stop_retransmission();
                State::Established {
                    sealer: outgoing
                        .take_sealer()
                        .ok_or(AlertDescription::INTERNAL_ERROR)?,
                    opener: keyed.opener,
                    suite: keyed.suite,
                }
            }
            _ => return Err(AlertDescription::UNEXPECTED_MESSAGE),
        };
        *state = next;
        Ok(())
    }

    fn handle_hello_verify_request<B: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        outgoing: &mut Outgoing<B, P::Aead>,
        body: &[u8],
    ) -> Result<State<P>, AlertDescription> {
        // MUST (RFC 6347 §4.2.1): its version says nothing about the one that is negotiated.
        let request =
            HelloVerifyRequest::decode_exact(body).map_err(|_| AlertDescription::DECODE_ERROR)?;
        if self.cookies >= MAX_COOKIES {
            return Err(AlertDescription::UNEXPECTED_MESSAGE);
        }
        self.cookies = self.cookies.saturating_add(1);
        let mut cookie = [0; MAX_COOKIE_LEN];
        let cookie = cookie
            .get_mut(..request.cookie.len())
            .ok_or(AlertDescription::DECODE_ERROR)?;
        cookie.copy_from_slice(request.cookie);
        let transcript = self
            .start_client_hello(outgoing, cookie)
            .map_err(|_| AlertDescription::INTERNAL_ERROR)?;
        Ok(State::ExpectServerHello { transcript })
    }

    fn handle_server_hello(
        &self,
        mut transcript: Transcript<P>,
        message: &Message<'_>,
    ) -> Result<Negotiated<P>, AlertDescription> {
        let hello =
            ServerHello::decode_exact(message.body).map_err(|_| AlertDescription::DECODE_ERROR)?;
        if hello.server_version != DTLS_1_2 {
            return Err(AlertDescription::PROTOCOL_VERSION);
        }
        let algorithm = self
            .settings
            .accepts(hello.cipher_suite)
            .ok_or(AlertDescription::ILLEGAL_PARAMETER)?;
        if hello.compression_method != 0 {
            return Err(AlertDescription::ILLEGAL_PARAMETER);
        }
        for extension in hello.extensions.iter() {
            match (extension.extension_type, extension.data) {
                (ExtensionType::EXTENDED_MASTER_SECRET, [])
                | (ExtensionType::RENEGOTIATION_INFO, [0]) => {}
                (ExtensionType::EXTENDED_MASTER_SECRET, _) => {
                    return Err(AlertDescription::DECODE_ERROR);
                }
                // MUST (RFC 5746 §3.4): a first handshake has nothing to be bound to.
                (ExtensionType::RENEGOTIATION_INFO, _) => {
                    return Err(AlertDescription::HANDSHAKE_FAILURE);
                }
                // MUST (RFC 5246 §7.4.1.4): a server answers only what was offered.
                _ => return Err(AlertDescription::UNSUPPORTED_EXTENSION),
            }
        }
        let has_extended_master_secret = hello
            .extensions
            .find(ExtensionType::EXTENDED_MASTER_SECRET)
            .is_some();
        if !has_extended_master_secret
            && self.settings.extended_master_secret == ExtendedMasterSecret::Required
        {
            return Err(AlertDescription::HANDSHAKE_FAILURE);
        }
        let server_random = *hello.random;
        transcript.add_message(message);
        Ok(Negotiated {
            transcript,
            server_random,
            suite: hello.cipher_suite,
            algorithm,
            has_extended_master_secret,
        })
    }

    /// Sends ClientKeyExchange, ChangeCipherSpec and Finished.
    fn send_finished<B: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        outgoing: &mut Outgoing<B, P::Aead>,
        negotiated: Negotiated<P>,
    ) -> Result<Keyed<P>, AlertDescription> {
        let Negotiated {
            mut transcript,
            server_random,
            suite,
            algorithm,
            has_extended_master_secret,
        } = negotiated;
        let internal = |_| AlertDescription::INTERNAL_ERROR;

        outgoing.start_flight();
        let message_seq = self.take_message_seq();
        let identity = self.credentials.psk_identity();
        let body = outgoing
            .push_message(
                EpochNumber(0),
                HandshakeType::ClientKeyExchange,
                message_seq,
                |out| encode_client_key_exchange(identity, out),
            )
            .map_err(internal)?;
        transcript.add(HandshakeType::ClientKeyExchange, message_seq, body);

        let session_hash = transcript.hash();
        let binding = if has_extended_master_secret {
            Binding::SessionHash(&session_hash)
        } else {
            Binding::Randoms
        };
        let master = MasterSecret::<P>::derive(
            &self.provider,
            self.credentials.psk().expose(),
            &self.client_random,
            &server_random,
            &binding,
        );
        let EpochKeys { sealer, opener } = master
            .derive_traffic_keys(
                &self.provider,
                algorithm,
                &self.client_random,
                &server_random,
                ConnectionEnd::Client,
            )
            .map_err(|_| AlertDescription::INTERNAL_ERROR)?;
        let verify_data = master.derive_verify_data(ConnectionEnd::Client, &session_hash);

        outgoing.push_change_cipher_spec().map_err(internal)?;
        outgoing.set_sealer(sealer);
        let message_seq = self.take_message_seq();
        let body = outgoing
            .push_message(
                EpochNumber(1),
                HandshakeType::Finished,
                message_seq,
                |out| out.bytes(&verify_data),
            )
            .map_err(internal)?;
        transcript.add(HandshakeType::Finished, message_seq, body);
        Ok(Keyed {
            expected_verify_data: master
                .derive_verify_data(ConnectionEnd::Server, &transcript.hash()),
            opener,
            suite,
        })
    }
}

/// The fields of a hello are made here and fit; what can fail is the room for them.
fn not_encodable(error: hedgerow_record::Error) -> EncodeError {
    match error {
        hedgerow_record::Error::Encode(error) => error,
        _ => EncodeError::TooLong { len: 0, max: 0 },
    }
}
