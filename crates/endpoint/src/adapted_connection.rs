//! A device's side of a connection with an unmodified TLS client: mode `translate`, the device adapts.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use hedgerow_coap::{Code, MessageOption, OptionNumber};
use hedgerow_core::{
    ChannelError, ClientCredentials, CryptoProvider, Env, Instant, KeyPurpose, Misuse, Peer,
    ServerCredentials, ServerName,
};
use hedgerow_exchange::{IncomingRequest, Received, Response};
use hedgerow_handshake::Settings;
use hedgerow_http::{HttpServer, Limits, ResourceResponse};
use hedgerow_record::{
    Alert, AlertDescription, CipherSuite, ContentType, LegForm, StreamApplication, TLS_1_2,
    client_hello_len, peek_client_hello,
};

use crate::stream_connection::seal_all;
use crate::{
    AdaptedFraming, SecurityPolicy, StreamConfig, StreamConnection, StreamEvent, TlsConnection,
    TlsEvent,
};

/// What a device's connections with TLS clients may use.
#[derive(Clone, Debug)]
pub struct AdaptedConfig {
    /// Handshakes, and CoAP's layer.
    pub stream: StreamConfig,
    /// HTTP's layer.
    pub http: Limits,
    /// The names under which clients look for this device. A client that asks for another one is refused; with
    /// none here, or none asked for, the key alone says that it has found the right device.
    pub names: Arc<[String]>,
}

impl Default for AdaptedConfig {
    /// Clients have to show keys of two ends, under suites with forward secrecy; CoAP and HTTP/1.1; no names.
    fn default() -> Self {
        let policy = SecurityPolicy::default().with_clients_for(KeyPurpose::EndToEnd);
        Self {
            stream: StreamConfig {
                security: Arc::new(policy),
                handshake: Settings::default()
                    .with_application_protocols(&[b"coap", b"http/1.1"])
                    .with_forward_secrecy(),
                ..StreamConfig::default()
            },
            http: Limits::default(),
            names: Arc::default(),
        }
    }
}

/// Why a connection of a TLS client ended otherwise than in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdaptedFault {
    /// The records on the leg can't be followed.
    #[error("records can't be followed: {0}")]
    Framing(hedgerow_record::Error),
    /// The client asks for another server by name.
    #[error("client asks for another name")]
    ServerName,
    /// Neither ALPN nor the port says which application is meant.
    #[error("no application for what the client asks for")]
    NoApplication,
    /// TLS ended it.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

/// A TLS client's connection without a socket: the leg's form of records, TLS as a server, then CoAP over TCP
/// (RFC 8323) or HTTP/1.1, as ALPN and the port's tag say (docs/specs/translate-device.md).
///
/// [`Self::room`] says how much to read of the stream, [`Self::push`] takes it, and [`Self::poll`] goes through it. After
/// any call, errors included, the caller asks [`Self::poll_transmit`] until there is nothing more to send.
pub struct AdaptedConnection<P: CryptoProvider, S, K> {
    framing: AdaptedFraming,
    stage: Stage<P, S, K>,
    /// TLS's bytes that have arrived and that the stage has not taken.
    arrived: Vec<u8>,
    /// What goes out before anything else of the stage: an alert in clear.
    alert: Vec<u8>,
    port_tag: u16,
    config: Arc<AdaptedConfig>,
    /// Room for a message of CoAP.
    message: Vec<u8>,
}

enum Stage<P: CryptoProvider, S, K> {
    /// Until the ClientHello is there as a whole and asks for this device. TLS has none of its bytes yet.
    ExpectName(TlsConnection<P, S, K>),
    Handshake(TlsConnection<P, S, K>),
    Coap(Box<StreamConnection<P, S, K>>),
    Http {
        tls: TlsConnection<P, S, K>,
        http: HttpServer,
        /// Plaintext that HTTP has no room for yet.
        plaintext: Vec<u8>,
    },
    Ended,
}

/// A request's name at its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdaptedRequest {
    /// One of CoAP's.
    Coap(IncomingRequest),
    /// The one that HTTP waits with the next for.
    Http,
}

/// What one step of [`AdaptedConnection::poll`] came to.
#[derive(Debug)]
#[non_exhaustive]
pub enum AdaptedEvent {
    /// The client has proved who it is, and this application is spoken.
    Established {
        /// Who it is.
        peer: Peer,
        /// What is spoken.
        application: StreamApplication,
    },
    /// A request, to be answered by [`AdaptedConnection::respond`].
    Request {
        /// Its name.
        request: AdaptedRequest,
        /// The method, as CoAP has it.
        method: Code,
        /// CoAP's options.
        options: Vec<(OptionNumber, Vec<u8>)>,
        /// The body.
        payload: Vec<u8>,
    },
    /// Something moved on inside.
    Nothing,
}

impl<P, S, K> AdaptedConnection<P, S, K>
where
    P: CryptoProvider,
    S: ServerCredentials,
    K: ClientCredentials,
{
    /// Waits for the ClientHello on a stream that the gateway has opened with `port_tag`.
    ///
    /// # Errors
    ///
    /// Those of [`TlsConnection::server`].
    pub fn new(
        provider: P,
        store: S,
        config: Arc<AdaptedConfig>,
        port_tag: u16,
        env: &mut Env<'_>,
    ) -> Result<Self, Misuse> {
        let stream = &config.stream;
        let tls = TlsConnection::server(provider, store, stream.handshake, &stream.security, env)?;
        Ok(Self {
            framing: AdaptedFraming::device(),
            stage: Stage::ExpectName(tls),
            arrived: Vec::new(),
            alert: Vec::new(),
            port_tag,
            message: Vec::new(),
            config,
        })
    }

    /// Returns how many bytes of the stream [`Self::push`] takes now.
    pub fn room(&self) -> usize {
        match &self.stage {
            Stage::Ended => 0,
            Stage::Coap(coap) if coap.room() == 0 => 0,
            _ => MAX_ARRIVED_LEN.saturating_sub(self.arrived.len()),
        }
    }

    /// Takes bytes of the stream, no more than [`Self::room`] says, and returns how many.
    ///
    /// # Errors
    ///
    /// [`AdaptedFault::Framing`].
    pub fn push(&mut self, bytes: &[u8]) -> Result<usize, AdaptedFault> {
        let part = bytes.get(..self.room()).unwrap_or(bytes);
        let mapped = self.framing.from_leg(part, &mut self.arrived);
        mapped.map_err(|error| self.end(AdaptedFault::Framing(error)))?;
        Ok(part.len())
    }

    /// Goes on with what has arrived; `None` if more has to arrive, or something has to be sent first.
    ///
    /// # Errors
    ///
    /// [`AdaptedFault`] where it ends the connection. [`Self::poll_transmit`] may have an alert.
    pub fn poll(&mut self, env: &mut Env<'_>) -> Result<Option<AdaptedEvent>, AdaptedFault> {
        match core::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::ExpectName(tls) => self.expect_name(tls),
            Stage::Handshake(tls) => self.shake_hands(env, tls),
            Stage::Coap(coap) => self.serve_coap(env, coap),
            Stage::Http {
                tls,
                http,
                plaintext,
            } => self.serve_http(env, tls, http, plaintext),
            Stage::Ended => Ok(None),
        }
    }

    fn expect_name(
        &mut self,
        tls: TlsConnection<P, S, K>,
    ) -> Result<Option<AdaptedEvent>, AdaptedFault> {
        let mut hello = match client_hello_len(&self.arrived, MAX_HELLO_LEN) {
            Ok(Some(len)) => alloc::vec![0; len],
            Ok(None) => {
                self.stage = Stage::ExpectName(tls);
                return Ok(None);
            }
            // What is wrong with it TLS says, with its own alert.
            Err(_) => Vec::new(),
        };
        let name = match peek_client_hello(&self.arrived, &mut hello) {
            Ok(Some(hello)) => hello.server_name(),
            Ok(None) | Err(_) => Ok(None),
        };
        // These bytes go into the transcript as they are: a Finished that verifies proves the name.
        if let Ok(Some(name)) = name
            && !self.is_named(name)
        {
            let alert = Alert::fatal(AlertDescription::UNRECOGNIZED_NAME).encode();
            let [v0, v1] = TLS_1_2.0.to_be_bytes();
            self.alert = alloc::vec![ContentType::Alert.into(), v0, v1, 0, 2];
            self.alert.extend_from_slice(&alert);
            return Err(AdaptedFault::ServerName);
        }
        self.stage = Stage::Handshake(tls);
        Ok(Some(AdaptedEvent::Nothing))
    }

    fn is_named(&self, name: ServerName<'_>) -> bool {
        let names = &self.config.names;
        let is_own = |own: &String| own.eq_ignore_ascii_case(name.as_str());
        names.is_empty() || names.iter().any(is_own)
    }

    fn shake_hands(
        &mut self,
        env: &mut Env<'_>,
        mut tls: TlsConnection<P, S, K>,
    ) -> Result<Option<AdaptedEvent>, AdaptedFault> {
        let is_fed = feed(&mut self.arrived, &mut tls);
        let peer = match tls.poll(env) {
            Ok(Some(TlsEvent::Established(peer))) => peer,
            Ok(found) => {
                let is_over = matches!(found, Some(TlsEvent::Closed));
                let moved = found.is_some() || is_fed;
                self.stage = Stage::Handshake(tls);
                return Ok((moved && !is_over).then_some(AdaptedEvent::Nothing));
            }
            Err(error) => {
                self.stage = Stage::Handshake(tls);
                return Err(error.into());
            }
        };
        tls.become_session();
        let Some(application) =
            StreamApplication::choose(tls.application_protocol(), self.port_tag)
        else {
            tls.close();
            self.stage = Stage::Handshake(tls);
            return Err(AdaptedFault::NoApplication);
        };
        self.stage = match application {
            StreamApplication::Coap => Stage::Coap(Box::new(StreamConnection::over(
                tls,
                &self.config.stream,
                env,
            ))),
            StreamApplication::Http => Stage::Http {
                tls,
                http: HttpServer::new(self.config.http),
                plaintext: Vec::new(),
            },
        };
        Ok(Some(AdaptedEvent::Established { peer, application }))
    }

    fn serve_coap(
        &mut self,
        env: &mut Env<'_>,
        mut coap: Box<StreamConnection<P, S, K>>,
    ) -> Result<Option<AdaptedEvent>, AdaptedFault> {
        let taken = match coap.room() {
            0 => 0,
            _ => coap.push(&self.arrived),
        };
        self.arrived.drain(..taken.min(self.arrived.len()));
        let event = match coap.poll(env) {
            Ok(Some(StreamEvent::Received(Received::Request { request, message }))) => {
                Ok(Some(AdaptedEvent::Request {
                    request: AdaptedRequest::Coap(request),
                    method: message.code(),
                    options: message
                        .options()
                        .map(|option| (option.number(), option.value().to_vec()))
                        .collect(),
                    payload: message.payload().to_vec(),
                }))
            }
            Ok(Some(_)) => Ok(Some(AdaptedEvent::Nothing)),
            Ok(None) => Ok((taken > 0).then_some(AdaptedEvent::Nothing)),
            Err(error) => Err(error.into()),
        };
        // It has no requests of its own that could end.
        while coap.poll_event().is_some() {}
        if coap.is_closed() {
            coap.close();
        }
        self.stage = Stage::Coap(coap);
        event
    }

    fn serve_http(
        &mut self,
        env: &mut Env<'_>,
        mut tls: TlsConnection<P, S, K>,
        mut http: HttpServer,
        mut plaintext: Vec<u8>,
    ) -> Result<Option<AdaptedEvent>, AdaptedFault> {
        let taken = http.push(&plaintext);
        plaintext.drain(..taken.min(plaintext.len()));
        let found = http.poll();
        let event = match found {
            Some(asked) => Ok(Some(AdaptedEvent::Request {
                request: AdaptedRequest::Http,
                method: asked.method,
                options: asked.options,
                payload: asked.payload,
            })),
            // No more is opened than what HTTP has taken.
            None if !plaintext.is_empty() => Ok((taken > 0).then_some(AdaptedEvent::Nothing)),
            None => {
                let is_fed = feed(&mut self.arrived, &mut tls);
                match tls.poll(env) {
                    Ok(Some(TlsEvent::Plaintext(bytes))) => {
                        plaintext.extend_from_slice(bytes);
                        Ok(Some(AdaptedEvent::Nothing))
                    }
                    Ok(Some(_)) => Ok(Some(AdaptedEvent::Nothing)),
                    Ok(None) => Ok(is_fed.then_some(AdaptedEvent::Nothing)),
                    Err(error) => Err(error.into()),
                }
            }
        };
        if http.is_closed() {
            plaintext = Vec::new();
        }
        self.stage = Stage::Http {
            tls,
            http,
            plaintext,
        };
        event
    }

    /// Answers a request.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Exchange`] if CoAP's request isn't waiting, or the response can't be written.
    pub fn respond(
        &mut self,
        env: &mut Env<'_>,
        request: AdaptedRequest,
        response: &ResourceResponse<'_>,
    ) -> Result<(), crate::Error> {
        match (&mut self.stage, request) {
            (Stage::Coap(coap), AdaptedRequest::Coap(request)) => {
                let mut options: Vec<_> = response
                    .options
                    .iter()
                    .map(|(number, value)| MessageOption::new(*number, value))
                    .collect();
                options.sort_by_key(MessageOption::number);
                let response = Response::new(response.code)
                    .options(&options)
                    .payload(response.payload);
                coap.respond(env, request, &response)
            }
            (Stage::Http { http, .. }, AdaptedRequest::Http) => {
                http.respond(response);
                Ok(())
            }
            // The connection has ended meanwhile, and the request with it.
            _ => Ok(()),
        }
    }

    /// Puts the next bytes for the stream behind `out` and says whether there were any.
    ///
    /// # Errors
    ///
    /// [`AdaptedFault::Channel`] if the key has no number left: the connection can only be dropped.
    pub fn poll_transmit(
        &mut self,
        env: &mut Env<'_>,
        out: &mut Vec<u8>,
    ) -> Result<bool, AdaptedFault> {
        let mut bytes = core::mem::take(&mut self.alert);
        if bytes.is_empty() {
            self.write_next(env, &mut bytes)?;
        }
        let mapped = self.framing.to_leg(&bytes, out);
        mapped.map_err(|error| self.end(AdaptedFault::Framing(error)))?;
        Ok(!bytes.is_empty())
    }

    fn write_next(&mut self, env: &mut Env<'_>, out: &mut Vec<u8>) -> Result<(), AdaptedFault> {
        match &mut self.stage {
            Stage::Ended => {}
            Stage::Coap(coap) => {
                coap.poll_transmit(env, &mut self.message, out)?;
            }
            Stage::ExpectName(tls) | Stage::Handshake(tls) => write_own(tls, env, out)?,
            Stage::Http { tls, http, .. } => {
                write_own(tls, env, out)?;
                if out.is_empty() && tls.is_open() {
                    seal_all(tls, &http.take_output(), out)?;
                    if http.is_closed() && out.is_empty() {
                        tls.close();
                        write_own(tls, env, out)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes in the end of the stream.
    ///
    /// # Errors
    ///
    /// [`PeerFault::Truncated`](hedgerow_core::PeerFault::Truncated) unless the client had closed in order.
    pub fn handle_end(&mut self) -> Result<(), AdaptedFault> {
        let ended = match &mut self.stage {
            Stage::Ended => Ok(()),
            Stage::Coap(coap) => coap.handle_end(),
            Stage::ExpectName(tls) | Stage::Handshake(tls) | Stage::Http { tls, .. } => {
                tls.handle_end()
            }
        };
        Ok(ended?)
    }

    /// Does what has become due.
    ///
    /// # Errors
    ///
    /// [`AdaptedFault::Channel`] if the handshake's deadline has come.
    pub fn handle_timeout(&mut self, env: &mut Env<'_>) -> Result<(), AdaptedFault> {
        let done = match &mut self.stage {
            Stage::Ended => Ok(()),
            Stage::Coap(coap) => coap.handle_timeout(env),
            Stage::ExpectName(tls) | Stage::Handshake(tls) | Stage::Http { tls, .. } => {
                tls.handle_timeout(env)
            }
        };
        Ok(done?)
    }

    /// Returns when [`Self::handle_timeout`] is due, if ever.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Ended => None,
            Stage::Coap(coap) => coap.poll_timeout(),
            Stage::ExpectName(tls) | Stage::Handshake(tls) | Stage::Http { tls, .. } => {
                tls.poll_timeout()
            }
        }
    }

    /// Closes the connection in order, or gives the handshake up: [`Self::is_over`] then says so at once.
    pub fn close(&mut self) {
        match &mut self.stage {
            Stage::Coap(coap) => coap.close(),
            Stage::Http { tls, .. } => tls.close(),
            // Established, and of no use: its close_notify may have to go out yet.
            Stage::Handshake(tls) if tls.peer().is_some() => tls.close(),
            Stage::ExpectName(_) | Stage::Handshake(_) => {
                self.stage = Stage::Ended;
                self.arrived = Vec::new();
            }
            Stage::Ended => {}
        }
    }

    /// Says whether this end has closed in order, or has nothing to say any more: once all is sent, the
    /// stream's own direction is to end.
    pub fn is_over(&self) -> bool {
        match &self.stage {
            Stage::Ended => true,
            Stage::Coap(coap) => coap.peer().is_some() && !coap.is_open(),
            Stage::ExpectName(_) => false,
            Stage::Handshake(tls) | Stage::Http { tls, .. } => {
                tls.peer().is_some() && !tls.is_open()
            }
        }
    }

    /// Returns the form of the stream's records, once it is known.
    pub const fn form(&self) -> Option<LegForm> {
        self.framing.form()
    }

    /// Returns the suite that was negotiated, once the handshake is over.
    pub fn suite(&self) -> Option<CipherSuite> {
        match &self.stage {
            Stage::Coap(coap) => coap.suite(),
            Stage::Http { tls, .. } => tls.suite(),
            _ => None,
        }
    }

    fn end(&mut self, fault: AdaptedFault) -> AdaptedFault {
        self.stage = Stage::Ended;
        self.arrived = Vec::new();
        fault
    }
}

/// Gives TLS what it has room for, and says whether that was anything.
fn feed<P, S, K>(arrived: &mut Vec<u8>, tls: &mut TlsConnection<P, S, K>) -> bool
where
    P: CryptoProvider,
    S: ServerCredentials,
    K: ClientCredentials,
{
    let taken = tls.push(arrived);
    arrived.drain(..taken.min(arrived.len()));
    taken > 0
}

/// Writes what TLS itself has to send next.
fn write_own<P, S, K>(
    tls: &mut TlsConnection<P, S, K>,
    env: &mut Env<'_>,
    out: &mut Vec<u8>,
) -> Result<(), ChannelError>
where
    P: CryptoProvider,
    S: ServerCredentials,
    K: ClientCredentials,
{
    let mut bytes = [0; TLS_OUT_LEN];
    if let Some(len) = tls.poll_transmit(env, &mut bytes)? {
        out.extend_from_slice(bytes.get(..len).unwrap_or_default());
    }
    Ok(())
}

/// Bytes that wait to be taken in; more are left with the caller.
const MAX_ARRIVED_LEN: usize = 20 * 1_024;

/// The longest ClientHello, in bytes.
const MAX_HELLO_LEN: usize = 16 * 1_024;

/// Room for what TLS itself has to send at a time.
const TLS_OUT_LEN: usize = 512;
