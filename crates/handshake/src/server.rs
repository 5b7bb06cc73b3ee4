//! The server's side of a handshake, in either protocol. What differs where the server signs is in
//! [`server_certificates`](crate::server_certificates).

use hedgerow_core::{
    AgreementKey, CryptoProvider, EncodeError, Env, Misuse, Peer, PskRequest, PskStore, SHA256_LEN,
    ServerCredentials, ServerName, Writer,
};
use hedgerow_record::{
    AlertDescription, ClientHello, ExtensionType, Extensions, HandshakeType, MAX_CONNECTION_ID_LEN,
    Protocol, Random, ServerHello, UNCOMPRESSED_POINT_FORMAT, encode_protocol_names,
};

use crate::ServerState;
use crate::Settings;
use crate::connection_ids::ConnectionIds;
use crate::key_exchange::{
    PublicKey, agree_with, decode_client_key_exchange, encode_server_key_exchange,
};
use crate::key_schedule::{
    ConnectionEnd, DummyPsk, MasterSecret, Secrets, SecurityParameters, psk_or_dummy,
};
use crate::message::Message;
use crate::negotiation::{Modes, Negotiated, negotiate};
use crate::outgoing::{Outgoing, not_encodable, too_small};
use crate::phase::{Keyed, Phase, Role};
use crate::server_certificates;
use crate::server_resumption::{
    Authenticated, Promise, ResumptionOffer, SentTicket, ServerResumption,
};
use crate::session_state::SessionState;
use crate::settings::MAX_APPLICATION_PROTOCOLS_LEN;
use crate::transcript::Transcript;

/// Room for the extensions of a ServerHello.
const MAX_EXTENSIONS_LEN: usize = 5
    + 4
    + 6
    + 2 * 5
    + 4
    + 4
    + (6 + MAX_APPLICATION_PROTOCOLS_LEN)
    + (5 + MAX_CONNECTION_ID_LEN)
    + 6;

/// What stays the same through all states.
pub(crate) struct Server<P, S> {
    pub(crate) provider: P,
    pub(crate) credentials: S,
    settings: Settings,
    server_random: Random,
    dummy: DummyPsk,
    /// `None` where this server takes no part in resumption.
    pub(crate) resumption: Option<ServerResumption>,
    /// Digest of the server's name that the client asks for.
    name_digest: [u8; SHA256_LEN],
}

/// A ClientHello that a server answers.
pub(crate) struct Hello<'a, P: CryptoProvider> {
    pub(crate) transcript: Transcript<P>,
    pub(crate) client_random: Random,
    pub(crate) negotiated: &'a Negotiated,
    pub(crate) server_name: Option<ServerName<'a>>,
    pub(crate) offer: &'a ResumptionOffer,
}

/// Why a ClientHello isn't answered.
pub(crate) enum Refusal {
    Misuse(Misuse),
    Alert(AlertDescription),
}

impl From<Misuse> for Refusal {
    fn from(misuse: Misuse) -> Self {
        Self::Misuse(misuse)
    }
}

/// What a server waits for before the keys.
pub(crate) enum Expect<P: CryptoProvider> {
    /// Only in TLS: DTLS's acceptor has it before there is a handshake.
    ClientHello,
    /// With the server's ephemeral key, in an ephemeral exchange.
    ClientKeyExchange(SecurityParameters, Transcript<P>, Option<P::AgreementKey>),
    /// The server has signed; what is valid then is in the state inside.
    Signed(server_certificates::Expect<P>),
}

impl<P: CryptoProvider> Expect<P> {
    pub(crate) const fn state(&self) -> ServerState {
        match self {
            Self::ClientHello => ServerState::ExpectClientHello,
            Self::ClientKeyExchange(..) => ServerState::ExpectClientKeyExchange,
            Self::Signed(expect) => expect.state(),
        }
    }
}

impl<P: CryptoProvider, S: ServerCredentials> Role<P, Expect<P>> for Server<P, S> {
    const END: ConnectionEnd = ConnectionEnd::Server;

    fn handle_message<O: Outgoing<P>>(
        &mut self,
        state: Expect<P>,
        env: &mut Env<'_>,
        outgoing: &mut O,
        message: &Message<'_>,
    ) -> Result<Phase<P, Expect<P>, O::Opener>, AlertDescription> {
        match (state, message.msg_type) {
            (Expect::ClientHello, HandshakeType::ClientHello) => {
                let hello = ClientHello::decode_exact(O::PROTOCOL, message.body)
                    .map_err(|_| AlertDescription::DECODE_ERROR)?;
                let modes = Modes::of(&self.credentials);
                let negotiated = negotiate(&self.settings, O::PROTOCOL, &modes, &hello)?;
                let name = negotiated.server_name(&hello);
                let mut transcript = Transcript::new(&self.provider, O::PROTOCOL);
                transcript.add_message(message);
                let answered = Hello {
                    transcript,
                    client_random: *hello.random,
                    negotiated: &negotiated,
                    server_name: name,
                    offer: &ResumptionOffer::of(&self.provider, &hello),
                };
                self.answer_hello(env, outgoing, answered)
                    .map_err(|refusal| match refusal {
                        Refusal::Alert(description) => description,
                        Refusal::Misuse(_) => AlertDescription::INTERNAL_ERROR,
                    })
            }
            (
                Expect::ClientKeyExchange(parameters, transcript, key),
                HandshakeType::ClientKeyExchange,
            ) => {
                // The client has our flight. Its own comes again by its own timer.
                outgoing.stop_retransmission();
                self.derive_keys(env, outgoing, parameters, transcript, key.as_ref(), message)
                    .map(Phase::ExpectChangeCipherSpec)
            }
            (Expect::Signed(state), _) => self.handle_signed(state, env, outgoing, message),
            _ => Err(AlertDescription::UNEXPECTED_MESSAGE),
        }
    }

    fn issue_ticket(&mut self, session: Option<&SessionState>) -> Option<SentTicket> {
        let resumption = self.resumption.as_mut()?;
        Some(resumption.issue_ticket(&self.provider, session))
    }
}

impl<P: CryptoProvider, S: ServerCredentials> Server<P, S> {
    /// Draws the server's random bytes and the key that stands in for one that isn't there.
    pub(crate) fn new(provider: P, credentials: S, settings: Settings, env: &mut Env<'_>) -> Self {
        let mut server_random = [0; 32];
        env.rng.fill_bytes(&mut server_random);
        let usual_psk_len = credentials.psk_store().map(PskStore::usual_psk_len);
        let dummy = DummyPsk::draw(env.rng, usual_psk_len.unwrap_or_default());
        Self {
            settings: settings.within(&provider),
            provider,
            credentials,
            server_random,
            dummy,
            resumption: None,
            name_digest: [0; SHA256_LEN],
        }
    }

    /// Takes part in resumption.
    pub(crate) fn resuming(mut self, resumption: Option<ServerResumption>) -> Self {
        self.resumption = resumption;
        self
    }

    /// Answers a ClientHello: resumes a session, or begins a full handshake.
    pub(crate) fn answer_hello<O: Outgoing<P>>(
        &mut self,
        env: &mut Env<'_>,
        outgoing: &mut O,
        hello: Hello<'_, P>,
    ) -> Result<Phase<P, Expect<P>, O::Opener>, Refusal> {
        self.name_digest = hello.offer.name_digest;
        let Some(resumption) = &mut self.resumption else {
            return self.begin(env, outgoing, hello, Promise::NONE);
        };
        let found = resumption
            .find_session(
                &self.provider,
                &self.credentials,
                O::PROTOCOL,
                hello.negotiated,
                hello.offer,
                env.now,
            )
            .map_err(Refusal::Alert)?;
        if let Some(session) = found {
            return self
                .resume(outgoing, hello, &session)
                .map(Phase::ExpectChangeCipherSpec);
        }
        let promise = resumption.promise(
            O::PROTOCOL,
            self.settings.max_datagram_len(),
            hello.negotiated,
            hello.offer,
            env.rng,
        );
        self.begin(env, outgoing, hello, promise)
    }

    /// Puts ServerHello, ChangeCipherSpec and Finished into a flight (RFC 5246 §7.3). The client's
    /// ChangeCipherSpec and Finished answer it.
    fn resume<O: Outgoing<P>>(
        &self,
        outgoing: &mut O,
        hello: Hello<'_, P>,
        session: &SessionState,
    ) -> Result<Keyed<P, O::Opener>, Refusal> {
        let mut transcript = hello.transcript;
        // A ticket isn't renewed: it would end no later than the one that there is.
        let promise = Promise {
            session_id: hello.offer.session_id,
            issues_ticket: false,
        };
        outgoing.start_flight();
        // RFC 6066 §3, RFC 7250 §4, RFC 8422 §4: what names and keys are about has no answer where
        // nobody shows any.
        let negotiated = Negotiated {
            certificates: None,
            has_point_formats: false,
            ..*hello.negotiated
        };
        let parameters = self.push_server_hello(
            outgoing,
            &mut transcript,
            hello.client_random,
            &negotiated,
            promise,
        )?;
        let (master, keys) = parameters.resume_keys(&self.provider, session, Self::END)?;
        let verify_data = master.derive_verify_data(Self::END, &transcript.hash());
        outgoing.push_change_cipher_spec().map_err(too_small)?;
        let opener = outgoing.set_keys(keys, &parameters.connection_ids);
        outgoing
            .push_message(&mut transcript, HandshakeType::Finished, |out| {
                out.bytes(&verify_data)
            })
            .map_err(too_small)?;
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

    /// Puts a ServerHello into the flight.
    fn push_server_hello<O: Outgoing<P>>(
        &self,
        outgoing: &mut O,
        transcript: &mut Transcript<P>,
        client_random: Random,
        negotiated: &Negotiated,
        promise: Promise,
    ) -> Result<SecurityParameters, Misuse> {
        let mut block = [0; MAX_EXTENSIONS_LEN];
        let mut writer = Writer::new(&mut block);
        encode_extensions(negotiated, &mut writer).map_err(too_small)?;
        let connection_ids = ConnectionIds::agree(&self.settings, negotiated.connection_id);
        if let Some(ids) = &connection_ids {
            writer
                .u16(ExtensionType::CONNECTION_ID.0)
                .and_then(|()| writer.nested16(|out| ids.read.encode(out)))
                .map_err(too_small)?;
        }
        let record_limits = negotiated.limit_offer.agree(&self.settings);
        negotiated
            .limit_offer
            .encode_answer(&record_limits, &mut writer)
            .map_err(too_small)?;
        if promise.issues_ticket {
            // MUST (RFC 5077 §3.2): an empty extension announces the ticket.
            writer
                .u16(ExtensionType::SESSION_TICKET.0)
                .and_then(|()| writer.vector16(&[]))
                .map_err(too_small)?;
        }
        let block: &[u8] = writer.into_written();
        let extensions = if block.is_empty() {
            Extensions::NONE
        } else {
            Extensions::from_block(block).map_err(|_| Misuse::NotOffered)?
        };
        let hello = ServerHello {
            server_version: O::PROTOCOL.version(),
            random: &self.server_random,
            session_id: promise.session_id.as_bytes(),
            cipher_suite: negotiated.suite,
            compression_method: 0,
            extensions,
        };
        outgoing.limit_records(record_limits);
        outgoing
            .push_message(transcript, HandshakeType::ServerHello, |out| {
                hello.encode(out).map_err(not_encodable)
            })
            .map_err(too_small)?;
        Ok(SecurityParameters {
            client_random,
            server_random: self.server_random,
            suite: negotiated.suite,
            key_exchange: negotiated.key_exchange,
            algorithm: negotiated.algorithm,
            has_extended_master_secret: negotiated.has_extended_master_secret,
            application_protocol: negotiated.application_protocol,
            connection_ids: connection_ids.unwrap_or_default(),
            record_limits,
            promise,
        })
    }

    /// Puts ServerHello, with an ephemeral key ServerKeyExchange, and ServerHelloDone into a flight;
    /// where the server signs, also Certificate and CertificateRequest.
    ///
    /// No hint goes out, and so for plain PSK no ServerKeyExchange (RFC 4279 §2): it would tell
    /// anybody whose server this is.
    fn begin<O: Outgoing<P>>(
        &self,
        env: &mut Env<'_>,
        outgoing: &mut O,
        hello: Hello<'_, P>,
        promise: Promise,
    ) -> Result<Phase<P, Expect<P>, O::Opener>, Refusal> {
        let Hello {
            mut transcript,
            client_random,
            negotiated,
            server_name,
            ..
        } = hello;
        outgoing.start_flight();
        let parameters = self.push_server_hello(
            outgoing,
            &mut transcript,
            client_random,
            negotiated,
            promise,
        )?;
        let key = match negotiated.group {
            Some(group) => {
                let key = self.provider.generate_agreement_key(group, env.rng);
                Some(key.map_err(|_| Misuse::NotOffered)?)
            }
            None => None,
        };
        if let Some(choice) = &negotiated.certificates {
            let key = key.ok_or(Misuse::NotOffered)?;
            let state =
                self.sign_hello(outgoing, transcript, parameters, choice, server_name, key)?;
            return Ok(Phase::Early(Expect::Signed(state)));
        }
        if let Some(key) = &key {
            let public_key = PublicKey::of(key).ok_or(Misuse::NotOffered)?;
            outgoing
                .push_message(&mut transcript, HandshakeType::ServerKeyExchange, |out| {
                    encode_server_key_exchange(&public_key, out)
                })
                .map_err(too_small)?;
        }
        outgoing
            .push_message(&mut transcript, HandshakeType::ServerHelloDone, |_| Ok(()))
            .map_err(too_small)?;
        let state = Expect::ClientKeyExchange(parameters, transcript, key);
        Ok(Phase::Early(state))
    }

    /// Looks the client's key up and derives all keys, from the dummy where there is none.
    fn derive_keys<O: Outgoing<P>>(
        &self,
        env: &Env<'_>,
        outgoing: &mut O,
        parameters: SecurityParameters,
        mut transcript: Transcript<P>,
        key: Option<&P::AgreementKey>,
        message: &Message<'_>,
    ) -> Result<Keyed<P, O::Opener>, AlertDescription> {
        let group = key.map(AgreementKey::group);
        let (psk_identity, client_key) = decode_client_key_exchange(group, message.body)?;
        let agreed = match (key, &client_key) {
            (Some(key), Some(client_key)) => Some(agree_with(key, client_key)?),
            _ => None,
        };
        transcript.add_message(message);
        let request = PskRequest::new(psk_identity, parameters.algorithm);
        let store = self.credentials.psk_store();
        // What policy forbids isn't there, so that it looks like an identity that isn't known.
        let entry = store
            .and_then(|store| store.lookup(&request))
            .map(|entry| (entry.psk, Peer::of_psk(entry.psk, entry.peer)))
            .filter(|&(_, peer)| self.credentials.permits(peer));
        let (master, keys) = parameters
            .derive_keys(
                &self.provider,
                &Secrets::Psk {
                    psk: psk_or_dummy(entry.map(|(psk, _)| psk), &self.dummy),
                    agreed: agreed.as_ref(),
                },
                &transcript.hash(),
                Self::END,
            )
            .map_err(|_| AlertDescription::INTERNAL_ERROR)?;
        let opener = outgoing.set_keys(keys, &parameters.connection_ids);
        let session = entry.and_then(|(psk, peer)| {
            let authenticated = Authenticated {
                peer,
                credential: psk_identity,
                key: psk.expose(),
                name_digest: &self.name_digest,
            };
            self.session_of(O::PROTOCOL, &parameters, &master, &authenticated, env)
        });
        Ok(Keyed {
            peer: entry.map(|(_, peer)| peer),
            parameters,
            transcript,
            master,
            opener,
            is_abbreviated: false,
            session,
        })
    }

    /// Makes what is kept of a full handshake, if its session is to be resumed.
    pub(crate) fn session_of(
        &self,
        protocol: Protocol,
        parameters: &SecurityParameters,
        master: &MasterSecret<P>,
        authenticated: &Authenticated<'_>,
        env: &Env<'_>,
    ) -> Option<SessionState> {
        self.resumption.as_ref()?.session_of(
            &self.provider,
            protocol,
            parameters,
            master.expose(),
            authenticated,
            env.now,
        )
    }

    pub(crate) const fn name_digest(&self) -> &[u8; SHA256_LEN] {
        &self.name_digest
    }
}

fn encode_extensions(negotiated: &Negotiated, out: &mut Writer<'_>) -> Result<(), EncodeError> {
    if negotiated.signals_renegotiation {
        // MUST (RFC 5746 §3.6): the answer to the signal is an empty renegotiated_connection.
        out.u16(ExtensionType::RENEGOTIATION_INFO.0)?;
        out.vector16(&[0])?;
    }
    if negotiated.has_extended_master_secret {
        out.u16(ExtensionType::EXTENDED_MASTER_SECRET.0)?;
        out.u16(0)?;
    }
    if negotiated.has_point_formats {
        // RFC 8422 §5.2: answers the client's extension, where a suite with a group is chosen.
        out.u16(ExtensionType::EC_POINT_FORMATS.0)?;
        out.vector16(&UNCOMPRESSED_POINT_FORMAT)?;
    }
    if let Some(choice) = &negotiated.certificates {
        choice.encode_extensions(out)?;
    }
    if let Some(name) = negotiated.application_protocol {
        out.u16(ExtensionType::APPLICATION_LAYER_PROTOCOL_NEGOTIATION.0)?;
        out.nested16(|out| encode_protocol_names(&[name], out))?;
    }
    Ok(())
}
