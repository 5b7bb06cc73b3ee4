//! The server's side of a PSK handshake, in either protocol.

use hedgerow_core::{AgreementKey, CryptoProvider, EncodeError, Env, PskRequest, PskStore, Writer};
use hedgerow_record::{
    AlertDescription, ClientHello, ExtensionType, Extensions, HandshakeType, MAX_CONNECTION_ID_LEN,
    Random, ServerHello, UNCOMPRESSED_POINT_FORMAT, encode_protocol_names,
};

use crate::Settings;
use crate::connection_ids::ConnectionIds;
use crate::key_exchange::{
    PublicKey, agree_with, decode_client_key_exchange, encode_server_key_exchange,
};
use crate::key_schedule::{ConnectionEnd, DummyPsk, Secrets, SecurityParameters, psk_or_dummy};
use crate::message::Message;
use crate::negotiation::{Negotiated, negotiate};
use crate::outgoing::{Outgoing, not_encodable};
use crate::phase::{Keyed, Phase, Role};
use crate::settings::MAX_APPLICATION_PROTOCOLS_LEN;
use crate::transcript::Transcript;

/// Room for the extensions of a ServerHello.
const MAX_EXTENSIONS_LEN: usize =
    5 + 4 + 6 + (6 + MAX_APPLICATION_PROTOCOLS_LEN) + (5 + MAX_CONNECTION_ID_LEN);

/// The provider drew no key, which a working one does.
const NO_KEY: EncodeError = EncodeError::TooLong { len: 0, max: 0 };

/// What stays the same through all states.
pub(crate) struct Server<P, S> {
    provider: P,
    store: S,
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
}

impl<P: CryptoProvider, S: PskStore> Role<P, Expect<P>> for Server<P, S> {
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
                let negotiated = negotiate(&self.settings, O::PROTOCOL, &hello)?;
                let mut transcript = Transcript::new(&self.provider, O::PROTOCOL);
                transcript.add_message(message);
                self.answer_hello(env, outgoing, transcript, *hello.random, &negotiated)
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
            _ => Err(AlertDescription::UNEXPECTED_MESSAGE),
        }
    }
}

impl<P: CryptoProvider, S: PskStore> Server<P, S> {
    /// Draws the server's random bytes and the key that stands in for one that isn't there.
    pub(crate) fn new(provider: P, store: S, settings: Settings, env: &mut Env<'_>) -> Self {
        let mut server_random = [0; 32];
        env.rng.fill_bytes(&mut server_random);
        let dummy = DummyPsk::draw(env.rng, store.usual_psk_len());
        Self {
            settings: settings.within(&provider),
            provider,
            store,
            server_random,
            dummy,
        }
    }

    /// Puts ServerHello, with an ephemeral key ServerKeyExchange, and ServerHelloDone into a flight.
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
    ) -> Result<Expect<P>, EncodeError> {
        let mut block = [0; MAX_EXTENSIONS_LEN];
        let mut writer = Writer::new(&mut block);
        encode_extensions(negotiated, &mut writer)?;
        let connection_ids = ConnectionIds::agree(&self.settings, negotiated.connection_id);
        if let Some(ids) = &connection_ids {
            writer.u16(ExtensionType::CONNECTION_ID.0)?;
            writer.nested16(|out| ids.read.encode(out))?;
        }
        let block: &[u8] = writer.into_written();
        let extensions = if block.is_empty() {
            Extensions::NONE
        } else {
            Extensions::from_block(block).map_err(not_encodable)?
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
        outgoing.push_message(&mut transcript, HandshakeType::ServerHello, |out| {
            hello.encode(out).map_err(not_encodable)
        })?;
        let key = match negotiated.group {
            Some(group) => {
                let key = self
                    .provider
                    .generate_agreement_key(group, env.rng)
                    .map_err(|_| NO_KEY)?;
                let public_key = PublicKey::of(&key).ok_or(NO_KEY)?;
                outgoing.push_message(
                    &mut transcript,
                    HandshakeType::ServerKeyExchange,
                    |out| encode_server_key_exchange(&public_key, out),
                )?;
                Some(key)
            }
            None => None,
        };
        outgoing.push_message(&mut transcript, HandshakeType::ServerHelloDone, |_| Ok(()))?;
        let parameters = SecurityParameters {
            client_random,
            server_random: self.server_random,
            suite: negotiated.suite,
            key_exchange: negotiated.key_exchange,
            algorithm: negotiated.algorithm,
            has_extended_master_secret: negotiated.has_extended_master_secret,
            application_protocol: negotiated.application_protocol,
            connection_ids: connection_ids.unwrap_or_default(),
        };
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
        let entry = self
            .store
            .lookup(&PskRequest::new(psk_identity, parameters.algorithm));
        let (master, keys) = parameters
            .derive_keys(
                &self.provider,
                &Secrets {
                    psk: psk_or_dummy(entry.map(|entry| entry.psk), &self.dummy),
                    agreed: agreed.as_ref(),
                },
                &transcript.hash(),
                Self::END,
            )
            .map_err(|_| AlertDescription::INTERNAL_ERROR)?;
        let opener = outgoing.set_keys(keys, &parameters.connection_ids);
        Ok(Keyed {
            peer: entry.map(|entry| entry.peer),
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
    if let Some(name) = negotiated.application_protocol {
        out.u16(ExtensionType::APPLICATION_LAYER_PROTOCOL_NEGOTIATION.0)?;
        out.nested16(|out| encode_protocol_names(&[name], out))?;
    }
    Ok(())
}
