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
    ChannelError, CryptoProvider, EncodeError, Env, Instant, Misuse, PskCredentials, Received,
    Writer,
};
use hedgerow_record::{
    AlertDescription, CipherSuite, CipherSuites, ClientHello, DTLS_1_2, EpochNumber, ExtensionType,
    Extensions, HandshakeType, HelloVerifyRequest, MAX_COOKIE_LEN, Random, ServerHello,
};

use crate::incoming::{Incoming, Message};
use crate::key_schedule::{ConnectionEnd, EpochKeys, SecurityParameters};
use crate::machine::{Keyed, Machine, Phase, Role};
use crate::outgoing::{Outgoing, not_encodable};
use crate::psk_messages::{decode_server_key_exchange, encode_client_key_exchange};
use crate::settings::MAX_SUITES;
use crate::transcript::Transcript;
use crate::{Buffers, ClientState, Established, ExtendedMasterSecret, Settings};

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
    machine: Machine<P, Client<P, C>, Expect<P>, B>,
}

/// What stays the same through all states.
struct Client<P, C> {
    provider: P,
    credentials: C,
    settings: Settings,
    client_random: Random,
    cookies: u8,
}

/// What a client waits for before the keys.
#[expect(
    clippy::enum_variant_names,
    reason = "the messages' names, all of which begin with their sender's"
)]
enum Expect<P: CryptoProvider> {
    ServerHello(Transcript<P>),
    ServerKeyExchange(SecurityParameters, Transcript<P>),
    ServerHelloDone(SecurityParameters, Transcript<P>),
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
        let client = Client {
            provider,
            credentials,
            settings,
            client_random,
            cookies: 0,
        };
        let mut outgoing = Outgoing::new(&settings, outgoing, 0, 0, env.now);
        let transcript = client
            .start_client_hello(&mut outgoing, &[])
            .map_err(|_| Misuse::NotOffered)?;
        Ok(Self {
            machine: Machine::new(
                Incoming::new(incoming, 0),
                outgoing,
                Expect::ServerHello(transcript),
                client,
            ),
        })
    }

    /// Takes in the first record of `datagram`; see
    /// [`SecureChannel::handle_datagram`](hedgerow_core::SecureChannel::handle_datagram).
    ///
    /// After [`Event::Established`](hedgerow_core::Event::Established), [`Self::into_session`] has
    /// the session, to which the rest of the datagram belongs.
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
        self.machine.handle_datagram(env, datagram)
    }

    /// Sends the flight again, or gives the handshake up.
    ///
    /// # Errors
    ///
    /// [`PeerFault::HandshakeTimeout`](hedgerow_core::PeerFault::HandshakeTimeout) if the server
    /// never came as far as asking for credentials,
    /// [`PeerFault::CredentialsRefused`](hedgerow_core::PeerFault::CredentialsRefused) if it has
    /// been silent since.
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
    pub const fn state(&self) -> ClientState {
        match self.machine.phase() {
            Phase::Early(Expect::ServerHello(_)) => ClientState::ExpectServerHello {
                has_cookie: self.machine.role.cookies > 0,
            },
            Phase::Early(Expect::ServerKeyExchange(..)) => ClientState::ExpectServerKeyExchange,
            Phase::Early(Expect::ServerHelloDone(..)) => ClientState::ExpectServerHelloDone,
            Phase::ExpectChangeCipherSpec(_) => ClientState::ExpectChangeCipherSpec,
            Phase::ExpectFinished(_) => ClientState::ExpectFinished,
            Phase::Established(_) => ClientState::Established,
            Phase::Failed => ClientState::Failed,
        }
    }

    /// Says whether the handshake is over and [`Self::into_session`] has the session.
    pub const fn is_established(&self) -> bool {
        self.machine.is_established()
    }

    /// Returns the session and the buffers once the handshake is over; `None` before.
    pub fn into_session(self) -> Option<Established<P::Aead, B>> {
        self.machine.into_session()
    }
}

impl<P: CryptoProvider, C: PskCredentials> Role<P, Expect<P>> for Client<P, C> {
    const END: ConnectionEnd = ConnectionEnd::Client;

    fn handle_message<B: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        state: Expect<P>,
        outgoing: &mut Outgoing<B, P::Aead>,
        message: &Message<'_>,
    ) -> Result<Phase<P, Expect<P>>, AlertDescription> {
        let body = message.body;
        let next = match (state, message.msg_type) {
            (Expect::ServerHello(_), HandshakeType::HelloVerifyRequest) => {
                self.handle_hello_verify_request(outgoing, body)?
            }
            (Expect::ServerHello(mut transcript), HandshakeType::ServerHello) => {
                let parameters = self.handle_server_hello(body)?;
                transcript.add_message(message);
                Expect::ServerKeyExchange(parameters, transcript)
            }
            (
                Expect::ServerKeyExchange(parameters, mut transcript),
                HandshakeType::ServerKeyExchange,
            ) => {
                // RFC 4279 §5.2: the hint helps to choose among identities; the caller has chosen.
                decode_server_key_exchange(body).map_err(|_| AlertDescription::DECODE_ERROR)?;
                transcript.add_message(message);
                Expect::ServerHelloDone(parameters, transcript)
            }
            (
                Expect::ServerKeyExchange(parameters, mut transcript)
                | Expect::ServerHelloDone(parameters, mut transcript),
                HandshakeType::ServerHelloDone,
            ) => {
                if !body.is_empty() {
                    return Err(AlertDescription::DECODE_ERROR);
                }
                transcript.add_message(message);
                let keyed = self.send_finished(outgoing, &parameters, transcript)?;
                return Ok(Phase::ExpectChangeCipherSpec(keyed));
            }
            _ => return Err(AlertDescription::UNEXPECTED_MESSAGE),
        };
        Ok(Phase::Early(next))
    }
}

impl<P: CryptoProvider, C: PskCredentials> Client<P, C> {
    /// Puts a ClientHello into a new flight and starts the transcript with it.
    fn start_client_hello<B: AsRef<[u8]> + AsMut<[u8]>>(
        &self,
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
        let hello = ClientHello {
            client_version: DTLS_1_2,
            random: &self.client_random,
            session_id: &[],
            cookie: Some(cookie),
            cipher_suites: CipherSuites::new(writer.written()).map_err(not_encodable)?,
            compression_methods: &[0],
            extensions: Extensions::from_block(&EXTENDED_MASTER_SECRET_EXTENSION)
                .map_err(not_encodable)?,
        };
        outgoing.start_flight();
        // MUST (RFC 6347 §4.2.6): only the ClientHello that the server goes on with counts.
        let mut transcript = Transcript::new(&self.provider);
        outgoing.push_message(
            &mut transcript,
            EpochNumber(0),
            HandshakeType::ClientHello,
            |out| hello.encode(out).map_err(not_encodable),
        )?;
        Ok(transcript)
    }

    fn handle_hello_verify_request<B: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        outgoing: &mut Outgoing<B, P::Aead>,
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

    fn handle_server_hello(&self, body: &[u8]) -> Result<SecurityParameters, AlertDescription> {
        let hello = ServerHello::decode_exact(body).map_err(|_| AlertDescription::DECODE_ERROR)?;
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
        Ok(SecurityParameters {
            client_random: self.client_random,
            server_random: *hello.random,
            suite: hello.cipher_suite,
            algorithm,
            has_extended_master_secret,
        })
    }

    /// Sends ClientKeyExchange, ChangeCipherSpec and Finished.
    fn send_finished<B: AsRef<[u8]> + AsMut<[u8]>>(
        &self,
        outgoing: &mut Outgoing<B, P::Aead>,
        parameters: &SecurityParameters,
        mut transcript: Transcript<P>,
    ) -> Result<Keyed<P>, AlertDescription> {
        let internal = |_| AlertDescription::INTERNAL_ERROR;

        outgoing.start_flight();
        let identity = self.credentials.psk_identity();
        outgoing
            .push_message(
                &mut transcript,
                EpochNumber(0),
                HandshakeType::ClientKeyExchange,
                |out| encode_client_key_exchange(identity, out),
            )
            .map_err(internal)?;

        let session_hash = transcript.hash();
        let (master, EpochKeys { sealer, opener }) = parameters
            .derive_keys(
                &self.provider,
                self.credentials.psk().expose(),
                &session_hash,
                Self::END,
            )
            .map_err(|_| AlertDescription::INTERNAL_ERROR)?;
        let verify_data = master.derive_verify_data(Self::END, &session_hash);

        outgoing.push_change_cipher_spec().map_err(internal)?;
        outgoing.set_sealer(sealer);
        outgoing
            .push_message(
                &mut transcript,
                EpochNumber(1),
                HandshakeType::Finished,
                |out| out.bytes(&verify_data),
            )
            .map_err(internal)?;
        Ok(Keyed {
            peer: Some(self.credentials.peer()),
            suite: parameters.suite,
            transcript,
            master,
            opener,
        })
    }
}
