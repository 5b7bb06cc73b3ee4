//! The client's side of a handshake, in either protocol. What differs where the server signs is in
//! [`client_certificates`](crate::client_certificates).

use hedgerow_core::{
    CertificateType, ClientCredentials, Credentials, CryptoProvider, EncodeError, Env, Misuse,
    Peer, SHA256_LEN, ServerName, Writer,
};
use hedgerow_record::{
    AlertDescription, CipherSuite, CipherSuites, ClientHello, ExtensionType, Extensions,
    HandshakeType, HelloVerifyRequest, KeyExchange, MAX_CONNECTION_ID_LEN, MAX_COOKIE_LEN,
    Protocol, ProtocolNames, Random, ServerHello, UNCOMPRESSED_POINT_FORMAT, encode_protocol_names,
    encode_supported_groups, offers_uncompressed_points,
};

use crate::client_certificates::{self, ChosenTypes};
use crate::connection_ids::{ConnectionIds, decode_offer};
use crate::key_exchange::{
    PublicKey, agree, decode_server_key_exchange, encode_client_key_exchange,
};
use crate::key_schedule::{ConnectionEnd, Secrets, SecurityParameters};
use crate::message::Message;
use crate::outgoing::{Outgoing, not_encodable};
use crate::phase::{Keyed, Phase, Role};
use crate::record_limits::{LimitAnswer, encode_offer};
use crate::resumable_session::{ClientResumption, MAX_TICKET_LEN, bind};
use crate::server_resumption::Promise;
use crate::session_state::{SessionFacts, SessionState};
use crate::settings::{DEFAULT_GROUPS, MAX_APPLICATION_PROTOCOLS_LEN, MAX_SUITES};
use crate::transcript::Transcript;
use crate::{ClientState, ExtendedMasterSecret, ResumableSession, Settings, TicketKeys};

/// How many HelloVerifyRequests one handshake answers: one, and two more for cookies that a server
/// no longer accepts when they come back.
const MAX_COOKIES: u8 = 3;

/// Room for the extensions of a ClientHello.
const MAX_EXTENSIONS_LEN: usize = 4
    + (6 + 2 * DEFAULT_GROUPS.len())
    + 6
    + (6 + MAX_APPLICATION_PROTOCOLS_LEN)
    + (5 + MAX_CONNECTION_ID_LEN)
    + (5 + 6)
    + 8
    + 2 * (5 + CertificateType::ALL.len())
    + (4 + MAX_TICKET_LEN)
    + (9 + ServerName::MAX_LEN);

/// What stays the same through all states.
pub(crate) struct Client<P, C> {
    pub(crate) provider: P,
    pub(crate) credentials: C,
    pub(crate) settings: Settings,
    client_random: Random,
    cookies: u8,
    /// `None` where this client takes no part in resumption.
    pub(crate) resumption: Option<ClientResumption>,
}

/// What a client waits for before the keys.
pub(crate) enum Expect<P: CryptoProvider> {
    ServerHello(Transcript<P>),
    ServerKeyExchange(SecurityParameters, Transcript<P>),
    ServerHelloDone(SecurityParameters, Transcript<P>, Option<PublicKey>),
    /// The server signs; what is valid then is in the state inside.
    Signed(client_certificates::Expect<P>),
}

impl<P: CryptoProvider> Expect<P> {
    pub(crate) const fn state(&self, has_cookie: bool) -> ClientState {
        match self {
            Self::ServerHello(_) => ClientState::ExpectServerHello { has_cookie },
            Self::ServerKeyExchange(..) => ClientState::ExpectServerKeyExchange,
            Self::ServerHelloDone(..) => ClientState::ExpectServerHelloDone,
            Self::Signed(expect) => expect.state(),
        }
    }
}

impl<P: CryptoProvider, C: ClientCredentials> Role<P, Expect<P>> for Client<P, C> {
    const END: ConnectionEnd = ConnectionEnd::Client;

    fn handle_message<O: Outgoing<P>>(
        &mut self,
        state: Expect<P>,
        env: &mut Env<'_>,
        outgoing: &mut O,
        message: &Message<'_>,
    ) -> Result<Phase<P, Expect<P>, O::Opener>, AlertDescription> {
        let body = message.body;
        let next = match (state, message.msg_type) {
            (Expect::ServerHello(_), HandshakeType::HelloVerifyRequest)
                if O::PROTOCOL == Protocol::Dtls =>
            {
                self.handle_hello_verify_request(outgoing, body)?
            }
            (Expect::ServerHello(mut transcript), HandshakeType::ServerHello) => {
                let (parameters, types) = self.handle_server_hello(O::PROTOCOL, body)?;
                outgoing.limit_records(parameters.record_limits);
                transcript.add_message(message);
                if let Some(session) = self.resumed_session() {
                    let keyed = self.resume(outgoing, session, parameters, transcript)?;
                    return Ok(expect_last_flight(keyed));
                }
                if parameters.key_exchange == KeyExchange::EcdheEcdsa {
                    Expect::Signed(client_certificates::Expect::new(
                        parameters, transcript, types,
                    ))
                } else {
                    Expect::ServerKeyExchange(parameters, transcript)
                }
            }
            (Expect::Signed(state), _) => {
                return self.handle_signed(state, env, outgoing, message);
            }
            (
                Expect::ServerKeyExchange(parameters, mut transcript),
                HandshakeType::ServerKeyExchange,
            ) => {
                let is_offered = |group| self.settings.groups().any(|offered| offered == group);
                let public_key =
                    decode_server_key_exchange(parameters.key_exchange, is_offered, body)?;
                transcript.add_message(message);
                Expect::ServerHelloDone(parameters, transcript, public_key)
            }
            (Expect::ServerKeyExchange(parameters, transcript), HandshakeType::ServerHelloDone)
                // RFC 4279 §2: without a hint there is no ServerKeyExchange. With an ephemeral key
                // there is one (RFC 5489 §2).
                if parameters.key_exchange == KeyExchange::Psk =>
            {
                let keyed =
                    self.handle_server_hello_done(env, outgoing, parameters, transcript, None, message)?;
                return Ok(expect_last_flight(keyed));
            }
            (
                Expect::ServerHelloDone(parameters, transcript, public_key),
                HandshakeType::ServerHelloDone,
            ) => {
                let public_key = public_key.as_ref();
                let keyed = self.handle_server_hello_done(
                    env, outgoing, parameters, transcript, public_key, message,
                )?;
                return Ok(expect_last_flight(keyed));
            }
            _ => return Err(AlertDescription::UNEXPECTED_MESSAGE),
        };
        Ok(Phase::Early(next))
    }

    fn handle_new_session_ticket(
        &mut self,
        env: &Env<'_>,
        message: &Message<'_>,
    ) -> Result<(), AlertDescription> {
        match &mut self.resumption {
            Some(resumption) => resumption.handle_new_session_ticket(message.body, env.now),
            None => Err(AlertDescription::UNEXPECTED_MESSAGE),
        }
    }
}

impl<P: CryptoProvider, C: ClientCredentials> Client<P, C> {
    /// Draws the client's random bytes.
    ///
    /// # Errors
    ///
    /// [`Misuse::PskIdentityLength`], or [`Misuse::NotOffered`] if the settings name no suite.
    pub(crate) fn new(
        provider: P,
        credentials: C,
        settings: Settings,
        env: &mut Env<'_>,
    ) -> Result<Self, Misuse> {
        let psk = permitted_psk(&credentials);
        let identity_len = psk.map_or(0, |psk| psk.psk_identity.len());
        if identity_len > hedgerow_core::MAX_PSK_IDENTITY_LEN {
            return Err(Misuse::PskIdentityLength {
                len: identity_len,
                max: hedgerow_core::MAX_PSK_IDENTITY_LEN,
            });
        }
        let has_certificates = credentials.certificates().is_some();
        let settings = settings
            .within(&provider)
            .with_credentials(psk.is_some(), has_certificates);
        if settings.suites().is_empty() {
            return Err(Misuse::NotOffered);
        }
        let mut client_random = [0; 32];
        // DEVIATES (RFC 5246 §7.4.1.2): all 32 bytes are random; the time in the first four says
        // nothing to a peer and something to an observer.
        env.rng.fill_bytes(&mut client_random);
        Ok(Self {
            provider,
            credentials,
            settings,
            client_random,
            cookies: 0,
            resumption: None,
        })
    }

    /// Takes part in resumption, with a session to offer if there is one.
    pub(crate) fn resuming(
        mut self,
        protocol: Protocol,
        session: Option<ResumableSession>,
        env: &mut Env<'_>,
    ) -> Self {
        self.resumption = Some(ClientResumption::new(
            &self.provider,
            &self.credentials,
            &self.settings,
            protocol,
            session,
            env,
        ));
        self
    }

    /// Returns by how many bytes a ticket makes the ClientHello longer.
    pub(crate) fn ticket_len(&self) -> usize {
        self.resumption
            .as_ref()
            .map_or(0, |resumption| resumption.ticket().len())
    }

    /// Puts a first ClientHello without the ticket in the place of one with it.
    pub(crate) fn start_without_ticket<O: Outgoing<P>>(
        &mut self,
        outgoing: &mut O,
    ) -> Result<Expect<P>, Misuse> {
        if let Some(resumption) = &mut self.resumption {
            resumption.withdraw_ticket();
        }
        self.start(outgoing)
    }

    /// Makes the session to keep, once the server's Finished has verified.
    pub(crate) fn into_resumable(self, session: Option<SessionState>) -> Option<ResumableSession> {
        self.resumption?.into_resumable(session)
    }

    /// Gives back the session on offer.
    pub(crate) fn into_offered(self) -> Option<ResumableSession> {
        self.resumption?.into_offered()
    }

    /// Says whether the ClientHello carries a cookie.
    pub(crate) const fn has_cookie(&self) -> bool {
        self.cookies > 0
    }

    /// Puts the first ClientHello into a flight.
    pub(crate) fn start<O: Outgoing<P>>(&self, outgoing: &mut O) -> Result<Expect<P>, Misuse> {
        self.start_client_hello(outgoing, &[])
            .map(Expect::ServerHello)
            .map_err(|_| Misuse::NotOffered)
    }

    /// Puts a ClientHello into a new flight and starts the transcript with it.
    fn start_client_hello<O: Outgoing<P>>(
        &self,
        outgoing: &mut O,
        cookie: &[u8],
    ) -> Result<Transcript<P>, EncodeError> {
        let mut suites = [0; 2 * (MAX_SUITES + 1)];
        let mut writer = Writer::new(&mut suites);
        for suite in self.settings.suites() {
            writer.u16(suite.0)?;
        }
        // MUST (RFC 5746 §3.4): the signal stands in every ClientHello that isn't a renegotiation.
        if !self.settings.has_bare_hello() {
            writer.u16(CipherSuite::TLS_EMPTY_RENEGOTIATION_INFO_SCSV.0)?;
        }
        let mut block = [0; MAX_EXTENSIONS_LEN];
        let mut extensions = Writer::new(&mut block);
        self.encode_extensions(O::PROTOCOL, &mut extensions)?;
        let hello = ClientHello {
            client_version: O::PROTOCOL.version(),
            random: &self.client_random,
            session_id: self
                .resumption
                .as_ref()
                .map(ClientResumption::session_id)
                .unwrap_or_default(),
            cookie: (O::PROTOCOL == Protocol::Dtls).then_some(cookie),
            cipher_suites: CipherSuites::new(writer.written()).map_err(not_encodable)?,
            compression_methods: &[0],
            extensions: if extensions.is_empty() {
                Extensions::NONE
            } else {
                Extensions::from_block(extensions.written()).map_err(not_encodable)?
            },
        };
        outgoing.start_flight();
        // MUST (RFC 6347 §4.2.6): only the ClientHello that the server goes on with counts.
        let mut transcript = Transcript::new(&self.provider, O::PROTOCOL);
        outgoing.push_message(&mut transcript, HandshakeType::ClientHello, |out| {
            hello.encode(out).map_err(not_encodable)
        })?;
        Ok(transcript)
    }

    fn encode_extensions(
        &self,
        protocol: Protocol,
        out: &mut Writer<'_>,
    ) -> Result<(), EncodeError> {
        if !self.settings.has_bare_hello() {
            out.u16(ExtensionType::EXTENDED_MASTER_SECRET.0)?;
            out.u16(0)?;
        }
        if self.settings.offers_agreement() {
            out.u16(ExtensionType::SUPPORTED_GROUPS.0)?;
            out.nested16(|out| encode_supported_groups(self.settings.groups(), out))?;
            // MUST (RFC 8422 §5.1): if this is sent, it names the uncompressed format.
            out.u16(ExtensionType::EC_POINT_FORMATS.0)?;
            out.vector16(&UNCOMPRESSED_POINT_FORMAT)?;
        }
        self.certificate_offer().encode(out)?;
        let names = self.settings.application_protocols(protocol);
        if !names.is_empty() {
            out.u16(ExtensionType::APPLICATION_LAYER_PROTOCOL_NEGOTIATION.0)?;
            out.nested16(|out| encode_protocol_names(names, out))?;
        }
        if let (Protocol::Dtls, Some(id)) = (protocol, self.settings.connection_id()) {
            out.u16(ExtensionType::CONNECTION_ID.0)?;
            out.nested16(|out| id.encode(out))?;
        }
        if let Some(resumption) = &self.resumption
            && resumption.takes_ticket()
        {
            // MUST (RFC 5077 §3.2): without a ticket to show, an empty one says that one is wanted.
            out.u16(ExtensionType::SESSION_TICKET.0)?;
            out.vector16(resumption.ticket())?;
        }
        encode_offer(&self.settings, out)
    }

    fn handle_hello_verify_request<O: Outgoing<P>>(
        &mut self,
        outgoing: &mut O,
        body: &[u8],
    ) -> Result<Expect<P>, AlertDescription> {
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
        Ok(Expect::ServerHello(transcript))
    }

    fn handle_server_hello(
        &mut self,
        protocol: Protocol,
        body: &[u8],
    ) -> Result<(SecurityParameters, ChosenTypes), AlertDescription> {
        let hello = ServerHello::decode_exact(body).map_err(|_| AlertDescription::DECODE_ERROR)?;
        if hello.server_version != protocol.version() {
            // MUST (RFC 8442 §3): its suites in another version are an illegal_parameter.
            let is_for_1_2_alone = matches!(hello.cipher_suite.0, 0xd001..=0xd005);
            return Err(if is_for_1_2_alone {
                AlertDescription::ILLEGAL_PARAMETER
            } else {
                AlertDescription::PROTOCOL_VERSION
            });
        }
        let algorithm = self
            .settings
            .accepts(hello.cipher_suite)
            .ok_or(AlertDescription::ILLEGAL_PARAMETER)?;
        if hello.compression_method != 0 {
            return Err(AlertDescription::ILLEGAL_PARAMETER);
        }
        let resumed_suite = self
            .resumption
            .as_mut()
            .and_then(|resumption| resumption.handle_session_id(hello.session_id))
            .map(|session| session.suite);
        // MUST (RFC 5246 §7.4.1.3): a session is resumed with the suite that it had.
        if resumed_suite.is_some_and(|suite| suite != hello.cipher_suite) {
            return Err(AlertDescription::ILLEGAL_PARAMETER);
        }
        let mut promise = Promise::NONE;
        let offered = self.settings.application_protocols(protocol);
        let mut application_protocol = None;
        let mut connection_ids = None;
        let mut limit_answer = LimitAnswer::default();
        let certificate_offer = self.certificate_offer();
        let mut types = ChosenTypes::default();
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
                (ExtensionType::EC_POINT_FORMATS, data) if self.settings.offers_agreement() => {
                    // RFC 8422 §5.2: without the uncompressed format the key that follows couldn't
                    // be read.
                    if !offers_uncompressed_points(data)
                        .map_err(|_| AlertDescription::DECODE_ERROR)?
                    {
                        return Err(AlertDescription::ILLEGAL_PARAMETER);
                    }
                }
                (ExtensionType::APPLICATION_LAYER_PROTOCOL_NEGOTIATION, data)
                    if !offered.is_empty() =>
                {
                    application_protocol = Some(answered_protocol(offered, data)?);
                }
                (ExtensionType::CONNECTION_ID, data)
                    if protocol == Protocol::Dtls && self.settings.connection_id().is_some() =>
                {
                    let named = decode_offer(data).map_err(|_| AlertDescription::DECODE_ERROR)?;
                    // The server won't go on without an ID that is longer than this end can send.
                    let named = named.ok_or(AlertDescription::HANDSHAKE_FAILURE)?;
                    connection_ids = ConnectionIds::agree(&self.settings, Some(named));
                }
                (ExtensionType::SESSION_TICKET, data)
                    if self
                        .resumption
                        .as_ref()
                        .is_some_and(ClientResumption::takes_ticket) =>
                {
                    if !data.is_empty() {
                        return Err(AlertDescription::DECODE_ERROR);
                    }
                    promise.issues_ticket = true;
                }
                (extension_type, data)
                    if limit_answer.takes(&self.settings, extension_type, data)? => {}
                (extension_type, data)
                    if certificate_offer.takes(&mut types, extension_type, data)? => {}
                // MUST (RFC 5246 §7.4.1.4): a server answers only what was offered.
                _ => return Err(AlertDescription::UNSUPPORTED_EXTENSION),
            }
        }
        let has_extended_master_secret = hello
            .extensions
            .find(ExtensionType::EXTENDED_MASTER_SECRET)
            .is_some();
        // MUST (RFC 7627 §5.3): all sessions that are offered have the extended master secret.
        if !has_extended_master_secret && resumed_suite.is_some() {
            return Err(AlertDescription::HANDSHAKE_FAILURE);
        }
        if !has_extended_master_secret
            && self.settings.extended_master_secret == ExtendedMasterSecret::Required
        {
            return Err(AlertDescription::HANDSHAKE_FAILURE);
        }
        let parameters = SecurityParameters {
            client_random: self.client_random,
            server_random: *hello.random,
            suite: hello.cipher_suite,
            key_exchange: hello
                .cipher_suite
                .key_exchange()
                .ok_or(AlertDescription::ILLEGAL_PARAMETER)?,
            algorithm,
            has_extended_master_secret,
            application_protocol,
            connection_ids: connection_ids.unwrap_or_default(),
            record_limits: limit_answer.into_limits(),
            promise,
        };
        Ok((parameters, types))
    }

    /// Answers the server's flight with ClientKeyExchange, ChangeCipherSpec and Finished.
    fn handle_server_hello_done<O: Outgoing<P>>(
        &self,
        env: &mut Env<'_>,
        outgoing: &mut O,
        parameters: SecurityParameters,
        mut transcript: Transcript<P>,
        server_key: Option<&PublicKey>,
        message: &Message<'_>,
    ) -> Result<Keyed<P, O::Opener>, AlertDescription> {
        let internal = |_| AlertDescription::INTERNAL_ERROR;
        if !message.body.is_empty() {
            return Err(AlertDescription::DECODE_ERROR);
        }
        transcript.add_message(message);
        let agreement = match server_key {
            Some(server_key) => Some(agree(&self.provider, env, server_key)?),
            None => None,
        };
        let (public_key, agreed) = match &agreement {
            Some((public_key, agreed)) => (Some(public_key), Some(agreed)),
            None => (None, None),
        };

        outgoing.start_flight();
        let credentials =
            permitted_psk(&self.credentials).ok_or(AlertDescription::INTERNAL_ERROR)?;
        outgoing
            .push_message(&mut transcript, HandshakeType::ClientKeyExchange, |out| {
                encode_client_key_exchange(credentials.psk_identity, public_key, out)
            })
            .map_err(internal)?;

        let session_hash = transcript.hash();
        let secrets = Secrets::Psk {
            psk: credentials.psk.expose(),
            agreed,
        };
        let peer = Peer::of_psk(credentials.psk, credentials.peer);
        self.send_finished(
            env,
            outgoing,
            parameters,
            transcript,
            &secrets,
            &session_hash,
            (peer, &[]),
        )
    }

    /// Derives the keys and ends the flight with ChangeCipherSpec and Finished. `session_hash` is the
    /// digest of all messages up to ClientKeyExchange.
    #[expect(
        clippy::too_many_arguments,
        reason = "what both hellos, both keys and the peer's proof have come to"
    )]
    pub(crate) fn send_finished<O: Outgoing<P>>(
        &self,
        env: &Env<'_>,
        outgoing: &mut O,
        parameters: SecurityParameters,
        mut transcript: Transcript<P>,
        secrets: &Secrets<'_>,
        session_hash: &[u8; SHA256_LEN],
        (peer, public_key): (Peer, &[u8]),
    ) -> Result<Keyed<P, O::Opener>, AlertDescription> {
        let internal = |_| AlertDescription::INTERNAL_ERROR;
        let (master, keys) = parameters
            .derive_keys(&self.provider, secrets, session_hash, Self::END)
            .map_err(|_| AlertDescription::INTERNAL_ERROR)?;
        let verify_data = master.derive_verify_data(Self::END, &transcript.hash());

        outgoing.push_change_cipher_spec().map_err(internal)?;
        let opener = outgoing.set_keys(keys, &parameters.connection_ids);
        outgoing
            .push_message(&mut transcript, HandshakeType::Finished, |out| {
                out.bytes(&verify_data)
            })
            .map_err(internal)?;
        let can_be_resumed = self.resumption.is_some() && parameters.has_extended_master_secret;
        let session = can_be_resumed.then(|| {
            // What `is_same_server` asks for again: the own identity, or the server's key.
            let identity = match parameters.key_exchange {
                KeyExchange::EcdheEcdsa => None,
                _ => self.credentials.pre_shared_key(),
            };
            let facts = SessionFacts {
                protocol: O::PROTOCOL,
                suite: parameters.suite,
                expires_at: env.now + TicketKeys::MAX_LIFETIME,
                peer,
                credential: identity.map_or(public_key, |psk| psk.psk_identity),
                binding: bind(
                    &self.provider,
                    (&self.credentials, &self.settings),
                    parameters.suite,
                    master.expose(),
                ),
            };
            SessionState::new(&facts, master.expose())
        });
        Ok(Keyed {
            peer: Some(peer),
            parameters,
            transcript,
            master,
            opener,
            is_abbreviated: false,
            session: session.flatten(),
        })
    }

    /// Returns the session that the server resumes, once its ServerHello has said so.
    fn resumed_session(&self) -> Option<&SessionState> {
        self.resumption.as_ref()?.resumed()
    }

    /// Derives the keys of a session that is resumed. This end's Finished comes behind the server's.
    fn resume<O: Outgoing<P>>(
        &self,
        outgoing: &mut O,
        session: &SessionState,
        parameters: SecurityParameters,
        transcript: Transcript<P>,
    ) -> Result<Keyed<P, O::Opener>, AlertDescription> {
        let (master, keys) = parameters
            .resume_keys(&self.provider, session, Self::END)
            .map_err(|_| AlertDescription::INTERNAL_ERROR)?;
        let opener = outgoing.set_keys(keys, &parameters.connection_ids);
        Ok(Keyed {
            peer: Some(session.peer()),
            parameters,
            transcript,
            master,
            opener,
            is_abbreviated: true,
            session: None,
        })
    }
}

/// RFC 5077 §3.3: what a server has promised comes before its ChangeCipherSpec, and nothing else
/// does.
pub(crate) fn expect_last_flight<P: CryptoProvider, E, O>(keyed: Keyed<P, O>) -> Phase<P, E, O> {
    if keyed.parameters.promise.issues_ticket {
        Phase::ExpectNewSessionTicket(keyed)
    } else {
        Phase::ExpectChangeCipherSpec(keyed)
    }
}

/// Returns the pre-shared key of a client, if policy permits what it proves.
fn permitted_psk<C: ClientCredentials>(credentials: &C) -> Option<Credentials<'_>> {
    credentials
        .pre_shared_key()
        .filter(|psk| credentials.permits(Peer::of_psk(psk.psk, psk.peer)))
}

/// MUST (RFC 7301 §3.1): a server answers with exactly one name, and §3.2: with one of the client's.
fn answered_protocol(
    offered: &'static [&'static [u8]],
    data: &[u8],
) -> Result<&'static [u8], AlertDescription> {
    let names = ProtocolNames::decode_exact(data).map_err(|_| AlertDescription::DECODE_ERROR)?;
    names
        .only()
        .and_then(|answer| offered.iter().find(|&&name| name == answer))
        .copied()
        .ok_or(AlertDescription::ILLEGAL_PARAMETER)
}
