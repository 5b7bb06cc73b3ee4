//! The server's side of a PSK handshake, in either protocol.

use hedgerow_core::{CryptoProvider, EncodeError, Env, PskRequest, PskStore, Writer};
use hedgerow_record::{
    AlertDescription, ClientHello, ExtensionType, Extensions, HandshakeType, Random, ServerHello,
    encode_protocol_names,
};

use crate::Settings;
use crate::key_schedule::{ConnectionEnd, DummyPsk, SecurityParameters, psk_or_dummy};
use crate::message::Message;
use crate::negotiation::{Negotiated, negotiate};
use crate::outgoing::{Outgoing, not_encodable};
use crate::phase::{Keyed, Phase, Role};
use crate::psk_messages::decode_client_key_exchange;
use crate::settings::MAX_APPLICATION_PROTOCOLS_LEN;
use crate::transcript::Transcript;

/// Room for the extensions of a ServerHello.
const MAX_EXTENSIONS_LEN: usize = 5 + 4 + 4 + 2 + MAX_APPLICATION_PROTOCOLS_LEN;

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
    ClientKeyExchange(SecurityParameters, Transcript<P>),
}

impl<P: CryptoProvider, S: PskStore> Role<P, Expect<P>> for Server<P, S> {
    const END: ConnectionEnd = ConnectionEnd::Server;

    fn handle_message<O: Outgoing<P>>(
        &mut self,
        state: Expect<P>,
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
                self.answer_hello(outgoing, transcript, *hello.random, &negotiated)
                    .map(Phase::Early)
                    .map_err(|_| AlertDescription::INTERNAL_ERROR)
            }
            (
                Expect::ClientKeyExchange(parameters, transcript),
                HandshakeType::ClientKeyExchange,
            ) => {
                // The client has our flight. Its own comes again by its own timer.
                outgoing.stop_retransmission();
                self.derive_keys(outgoing, &parameters, transcript, message)
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
            provider,
            store,
            settings,
            server_random,
            dummy,
        }
    }

    /// Puts ServerHello and ServerHelloDone into a flight.
    ///
    /// No ServerKeyExchange goes out: without a hint it is left out (RFC 4279 §2), and a hint
    /// would tell anybody whose server this is.
    pub(crate) fn answer_hello<O: Outgoing<P>>(
        &self,
        outgoing: &mut O,
        mut transcript: Transcript<P>,
        client_random: Random,
        negotiated: &Negotiated,
    ) -> Result<Expect<P>, EncodeError> {
        let mut block = [0; MAX_EXTENSIONS_LEN];
        let mut writer = Writer::new(&mut block);
        encode_extensions(negotiated, &mut writer)?;
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
        outgoing.push_message(&mut transcript, HandshakeType::ServerHelloDone, |_| Ok(()))?;
        let parameters = SecurityParameters {
            client_random,
            server_random: self.server_random,
            suite: negotiated.suite,
            algorithm: negotiated.algorithm,
            has_extended_master_secret: negotiated.has_extended_master_secret,
            application_protocol: negotiated.application_protocol,
        };
        Ok(Expect::ClientKeyExchange(parameters, transcript))
    }

    /// Looks the client's key up and derives all keys, from the dummy where there is none.
    fn derive_keys<O: Outgoing<P>>(
        &self,
        outgoing: &mut O,
        parameters: &SecurityParameters,
        mut transcript: Transcript<P>,
        message: &Message<'_>,
    ) -> Result<Keyed<P, O::Opener>, AlertDescription> {
        let psk_identity =
            decode_client_key_exchange(message.body).map_err(|_| AlertDescription::DECODE_ERROR)?;
        transcript.add_message(message);
        let entry = self
            .store
            .lookup(&PskRequest::new(psk_identity, parameters.algorithm));
        let (master, keys) = parameters
            .derive_keys(
                &self.provider,
                psk_or_dummy(entry.map(|entry| entry.psk), &self.dummy),
                &transcript.hash(),
                Self::END,
            )
            .map_err(|_| AlertDescription::INTERNAL_ERROR)?;
        Ok(Keyed {
            peer: entry.map(|entry| entry.peer),
            suite: parameters.suite,
            application_protocol: parameters.application_protocol,
            transcript,
            master,
            opener: outgoing.set_keys(keys),
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
    if let Some(name) = negotiated.application_protocol {
        out.u16(ExtensionType::APPLICATION_LAYER_PROTOCOL_NEGOTIATION.0)?;
        out.nested16(|out| encode_protocol_names(&[name], out))?;
    }
    Ok(())
}
