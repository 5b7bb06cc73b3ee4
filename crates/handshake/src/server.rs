//! The server's side of a handshake, in either protocol. What differs where the server signs is in
//! [`server_certificates`](crate::server_certificates).

use hedgerow_core::{
    AgreementKey, CryptoProvider, EncodeError, Env, Misuse, Peer, PskRequest, PskStore,
    ServerCredentials, ServerName, Writer,
};
use hedgerow_record::{
    AlertDescription, ClientHello, ExtensionType, Extensions, HandshakeType, MAX_CONNECTION_ID_LEN,
    Random, ServerHello, UNCOMPRESSED_POINT_FORMAT, encode_protocol_names,
};

use crate::ServerState;
use crate::Settings;
use crate::connection_ids::ConnectionIds;
use crate::key_exchange::{
    PublicKey, agree_with, decode_client_key_exchange, encode_server_key_exchange,
};
use crate::key_schedule::{ConnectionEnd, DummyPsk, Secrets, SecurityParameters, psk_or_dummy};
use crate::message::Message;
use crate::negotiation::{Modes, Negotiated, negotiate};
use crate::outgoing::{Outgoing, not_encodable, too_small};
use crate::phase::{Keyed, Phase, Role};
use crate::server_certificates;
use crate::settings::MAX_APPLICATION_PROTOCOLS_LEN;
use crate::transcript::Transcript;

/// Room for the extensions of a ServerHello.
const MAX_EXTENSIONS_LEN: usize =
    5 + 4 + 6 + 2 * 5 + 4 + (6 + MAX_APPLICATION_PROTOCOLS_LEN) + (5 + MAX_CONNECTION_ID_LEN) + 6;

/// What stays the same through all states.
pub(crate) struct Server<P, S> {
    pub(crate) provider: P,
    pub(crate) credentials: S,
    settings: Settings,
    server_random: Random,
    dummy: DummyPsk,
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
                self.answer_hello(env, outgoing, transcript, *hello.random, &negotiated, name)
                    .map(Phase::Early)
                    .map_err(|_| AlertDescription::INTERNAL_ERROR)
            }
            (
                Expect::ClientKeyExchange(parameters, transcript, key),
                HandshakeType::ClientKeyExchange,
            ) => {
                // The client has our flight. Its own comes again by its own timer.
                outgoing.stop_retransmission();
                self.derive_keys(outgoing, parameters, transcript, key.as_ref(), message)
                    .map(Phase::ExpectChangeCipherSpec)
            }
            (Expect::Signed(state), _) => self.handle_signed(state, env, outgoing, message),
            _ => Err(AlertDescription::UNEXPECTED_MESSAGE),
        }
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
        }
    }

    /// Puts ServerHello, with an ephemeral key ServerKeyExchange, and ServerHelloDone into a flight;
    /// where the server signs, also Certificate and CertificateRequest.
    ///
    /// No hint goes out, and so for plain PSK no ServerKeyExchange (RFC 4279 §2): it would tell
    /// anybody whose server this is.
    pub(crate) fn answer_hello<O: Outgoing<P>>(
        &self,
        env: &mut Env<'_>,
        outgoing: &mut O,
        mut transcript: Transcript<P>,
        client_random: Random,
        negotiated: &Negotiated,
        server_name: Option<ServerName<'_>>,
    ) -> Result<Expect<P>, Misuse> {
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
        let block: &[u8] = writer.into_written();
        let extensions = if block.is_empty() {
            Extensions::NONE
        } else {
            Extensions::from_block(block).map_err(|_| Misuse::NotOffered)?
        };
        let hello = ServerHello {
            server_version: O::PROTOCOL.version(),
            random: &self.server_random,
            session_id: &[],
            cipher_suite: negotiated.suite,
            compression_method: 0,
            extensions,
        };
        outgoing.start_flight();
        outgoing.limit_records(record_limits);
        outgoing
            .push_message(&mut transcript, HandshakeType::ServerHello, |out| {
                hello.encode(out).map_err(not_encodable)
            })
            .map_err(too_small)?;
        let parameters = SecurityParameters {
            client_random,
            server_random: self.server_random,
            suite: negotiated.suite,
            key_exchange: negotiated.key_exchange,
            algorithm: negotiated.algorithm,
            has_extended_master_secret: negotiated.has_extended_master_secret,
            application_protocol: negotiated.application_protocol,
            connection_ids: connection_ids.unwrap_or_default(),
            record_limits,
        };
        let key = match negotiated.group {
            Some(group) => {
                let key = self.provider.generate_agreement_key(group, env.rng);
                Some(key.map_err(|_| Misuse::NotOffered)?)
            }
            None => None,
        };
        if let Some(choice) = &negotiated.certificates {
            let key = key.ok_or(Misuse::NotOffered)?;
            return self
                .sign_hello(outgoing, transcript, parameters, choice, server_name, key)
                .map(Expect::Signed);
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
        Ok(Expect::ClientKeyExchange(parameters, transcript, key))
    }

    /// Looks the client's key up and derives all keys, from the dummy where there is none.
    fn derive_keys<O: Outgoing<P>>(
        &self,
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
        Ok(Keyed {
            peer: entry.map(|(_, peer)| peer),
            parameters,
            transcript,
            master,
            opener,
        })
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
