//! The server's side of a PSK handshake, from a verified cookie on.
//!
//! The flights are drawn in the client's module. A server that can't go on with a client's
//! identity, because it doesn't know it or policy forbids it, goes on with a dummy key: each step
//! is then the same as for a key that differs, until the deadline ends it with one alert.

use hedgerow_core::{
    ChannelError, CryptoProvider, EncodeError, Env, Instant, Misuse, PskRequest, PskStore,
    Received, Writer,
};
use hedgerow_record::{
    AlertDescription, DTLS_1_2, EpochNumber, Extensions, HandshakeType, Random, ServerHello,
};

use crate::incoming::{Incoming, Message};
use crate::key_schedule::{ConnectionEnd, DummyPsk, EpochKeys, SecurityParameters, psk_or_dummy};
use crate::machine::{Keyed, Machine, Phase, Role};
use crate::outgoing::{Outgoing, not_encodable};
use crate::psk_messages::decode_client_key_exchange;
use crate::transcript::Transcript;
use crate::{AcceptedHello, Buffers, Established, ServerState, Settings};

/// A server's handshake with one client that has proved its address.
///
/// `S` finds the client's key once it has named itself; `B` is a buffer of the caller's, of the
/// length that [`Buffers`] names.
pub struct ServerHandshake<P: CryptoProvider, S, B> {
    machine: Machine<P, Server<P, S>, ExpectClientKeyExchange<P>, B>,
}

/// What stays the same through all states.
struct Server<P, S> {
    provider: P,
    store: S,
    parameters: SecurityParameters,
    dummy: DummyPsk,
}

/// What a server waits for before the keys.
struct ExpectClientKeyExchange<P: CryptoProvider> {
    transcript: Transcript<P>,
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
        let server = Server {
            provider,
            store,
            parameters: SecurityParameters {
                client_random,
                server_random,
                suite,
                algorithm,
                has_extended_master_secret,
            },
            dummy,
        };
        // MUST (RFC 6347 §4.2.1): the ServerHello's record takes up the ClientHello's number.
        let mut outgoing = Outgoing::new(
            &settings,
            outgoing,
            record_number.sequence_number(),
            // RFC 6347 §4.2.2: the HelloVerifyRequest had the first hello's number, so the
            // ServerHello has the second one's.
            message_seq,
            env.now,
        );
        server
            .send_server_hello(&mut outgoing, &mut transcript, signals_renegotiation)
            .map_err(|_| Misuse::NotOffered)?;
        Ok(Self {
            machine: Machine::new(
                Incoming::new(incoming, message_seq.saturating_add(1)),
                outgoing,
                ExpectClientKeyExchange { transcript },
                server,
            ),
        })
    }

    /// Returns the random bytes of the ClientHello that this handshake answers.
    pub const fn client_random(&self) -> &Random {
        &self.machine.role.parameters.client_random
    }

    /// Takes in the first record of `datagram`; see
    /// [`SecureChannel::handle_datagram`](hedgerow_core::SecureChannel::handle_datagram).
    ///
    /// After [`Event::Established`](hedgerow_core::Event::Established), [`Self::into_session`] has
    /// the session, which sends the last flight and to which the rest of the datagram belongs.
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
        self.machine.handle_datagram(env, datagram)
    }

    /// Sends the flight again, or gives the handshake up.
    ///
    /// # Errors
    ///
    /// [`PeerFault::AlertSent`](hedgerow_core::PeerFault::AlertSent) with decrypt_error if the
    /// client has used credentials that didn't verify by the deadline, whatever was wrong with
    /// them; [`PeerFault::HandshakeTimeout`](hedgerow_core::PeerFault::HandshakeTimeout) if it
    /// never came that far. What [`Self::poll_transmit`] then writes is still to be sent.
    pub fn handle_timeout(&mut self, env: &mut Env<'_>) -> Result<(), ChannelError> {
        self.machine.handle_timeout(env.now)
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
        self.machine.poll_transmit(env.now, out)
    }

    /// Returns when [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.machine.poll_timeout()
    }

    /// Returns what the handshake waits for.
    pub const fn state(&self) -> ServerState {
        match self.machine.phase() {
            Phase::Early(ExpectClientKeyExchange { .. }) => ServerState::ExpectClientKeyExchange,
            Phase::ExpectChangeCipherSpec(_) => ServerState::ExpectChangeCipherSpec,
            Phase::ExpectFinished(_) => ServerState::ExpectFinished,
            Phase::Established(_) => ServerState::Established,
            Phase::Failed => ServerState::Failed,
        }
    }

    /// Says whether the handshake is over and [`Self::into_session`] has the session.
    pub const fn is_established(&self) -> bool {
        self.machine.is_established()
    }

    /// Returns the session, which has the last flight to send, and the buffers once the handshake
    /// is over; `None` before.
    pub fn into_session(self) -> Option<Established<P::Aead, B>> {
        self.machine.into_session()
    }
}

impl<P: CryptoProvider, S: PskStore> Role<P, ExpectClientKeyExchange<P>> for Server<P, S> {
    const END: ConnectionEnd = ConnectionEnd::Server;

    fn handle_message<B: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        state: ExpectClientKeyExchange<P>,
        outgoing: &mut Outgoing<B, P::Aead>,
        message: &Message<'_>,
    ) -> Result<Phase<P, ExpectClientKeyExchange<P>>, AlertDescription> {
        if message.msg_type != HandshakeType::ClientKeyExchange {
            return Err(AlertDescription::UNEXPECTED_MESSAGE);
        }
        // The client has our flight. Its own comes again by its own timer.
        outgoing.stop_retransmission();
        let keyed = self.derive_keys(outgoing, state.transcript, message)?;
        Ok(Phase::ExpectChangeCipherSpec(keyed))
    }
}

impl<P: CryptoProvider, S: PskStore> Server<P, S> {
    /// Puts ServerHello and ServerHelloDone into a flight.
    ///
    /// No ServerKeyExchange goes out: without a hint it is left out (RFC 4279 §2), and a hint
    /// would tell anybody whose server this is.
    fn send_server_hello<B: AsRef<[u8]> + AsMut<[u8]>>(
        &self,
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
        if self.parameters.has_extended_master_secret {
            writer.bytes(&EXTENDED_MASTER_SECRET)?;
        }
        let block: &[u8] = writer.into_written();
        let extensions = if block.is_empty() {
            Extensions::NONE
        } else {
            Extensions::from_block(block).unwrap_or(Extensions::NONE)
        };
        let hello = ServerHello {
            server_version: DTLS_1_2,
            random: &self.parameters.server_random,
            session_id: &[],
            cipher_suite: self.parameters.suite,
            compression_method: 0,
            extensions,
        };
        outgoing.start_flight();
        outgoing.push_message(
            transcript,
            EpochNumber(0),
            HandshakeType::ServerHello,
            |out| hello.encode(out).map_err(not_encodable),
        )?;
        outgoing.push_message(
            transcript,
            EpochNumber(0),
            HandshakeType::ServerHelloDone,
            |_| Ok(()),
        )
    }

    /// Looks the client's key up and derives all keys, from the dummy where there is none.
    fn derive_keys<B: AsRef<[u8]> + AsMut<[u8]>>(
        &self,
        outgoing: &mut Outgoing<B, P::Aead>,
        mut transcript: Transcript<P>,
        message: &Message<'_>,
    ) -> Result<Keyed<P>, AlertDescription> {
        let psk_identity =
            decode_client_key_exchange(message.body).map_err(|_| AlertDescription::DECODE_ERROR)?;
        transcript.add_message(message);
        let entry = self
            .store
            .lookup(&PskRequest::new(psk_identity, self.parameters.algorithm));
        let (master, EpochKeys { sealer, opener }) = self
            .parameters
            .derive_keys(
                &self.provider,
                psk_or_dummy(entry.map(|entry| entry.psk), &self.dummy),
                &transcript.hash(),
                Self::END,
            )
            .map_err(|_| AlertDescription::INTERNAL_ERROR)?;
        outgoing.set_sealer(sealer);
        Ok(Keyed {
            peer: entry.map(|entry| entry.peer),
            suite: self.parameters.suite,
            transcript,
            master,
            opener,
        })
    }
}
