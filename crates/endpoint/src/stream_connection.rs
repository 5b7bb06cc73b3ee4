//! A CoAP connection over a stream: TLS or nothing, and RFC 8323's layer on top.

use alloc::sync::Arc;
use alloc::vec::Vec;

use hedgerow_coap::Release;
use hedgerow_core::{
    ChannelError, ClientCredentials, CryptoProvider, Env, Instant, Misuse, Peer, PeerFault,
    ServerCredentials,
};
use hedgerow_exchange::{
    CloseReason, ConnectionConfig, HeapConnection, IncomingRequest, OutgoingRequest, Received,
    Request, Response, TokenKind,
};
use hedgerow_handshake::{CachedSession, ResumableSession, ServerResumption, SessionId, Settings};
use hedgerow_record::CipherSuite;

use crate::{Error, SecurityPolicy, TlsConnection, TlsEvent};

/// Bytes that wait to be taken in without TLS; more are left with the caller.
const MAX_ARRIVED_LEN: usize = 16 * 1_024;

/// Room for what TLS itself has to send at a time.
const TLS_OUT_LEN: usize = 512;

/// The configuration of connections over a stream.
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// Which security modes may be used, and by whom.
    pub security: Arc<SecurityPolicy>,
    /// Suites, deadline and application protocols of handshakes. By default the name is `coap`
    /// (RFC 8323 §8.2).
    pub handshake: Settings,
    /// What each connection may use, shared by all. Where there is no security, tokens are
    /// unpredictable whatever it says.
    pub connection: Arc<ConnectionConfig>,
    /// Records under one key after which the connection wants to be replaced by another, unless half of
    /// what the cipher is good for (RFC 9147 §4.5.3) comes before.
    pub max_records: u64,
    /// Whether a client insists on a server that agrees on the application protocol by name, as it
    /// must at any port but 5684 (RFC 8323 §8.2). Servers take clients without a name either way.
    pub requires_protocol_name: bool,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            security: Arc::default(),
            handshake: Settings::default().with_application_protocols(&[b"coap"]),
            connection: Arc::new(ConnectionConfig::default()),
            max_records: u64::MAX,
            requires_protocol_name: false,
        }
    }
}

/// A CoAP connection over a stream without a socket, of either role: `coap+tcp` or `coaps+tcp`.
///
/// [`Self::room`] says how much of the stream to read, [`Self::push`] takes it, and [`Self::poll`]
/// then goes through it message by message. After any call, errors included, the caller asks
/// [`Self::poll_event`] until it returns `None` and [`Self::poll_transmit`] until there is nothing
/// more to send, and then [`Self::poll`] again, which may have waited for that; it comes back when
/// [`Self::poll_timeout`] says so. Whoever's stream takes no more bytes asks for none: this end then
/// reads no more of the peer's either, as soon as `max_replies` answers wait.
pub struct StreamConnection<P: CryptoProvider, S, K> {
    tls: Option<TlsConnection<P, S, K>>,
    exchange: HeapConnection<Arc<ConnectionConfig>>,
    /// Plaintext that has not been taken in yet.
    arrived: Vec<u8>,
    /// How many bytes at its front have been.
    taken: usize,
    max_records: u64,
    requires_protocol_name: bool,
}

/// What one step of [`StreamConnection::poll`] came to.
#[derive(Debug)]
#[non_exhaustive]
pub enum StreamEvent<'a> {
    /// TLS is established, and the peer proved to be this.
    Established(Peer),
    /// What a message of the peer was.
    Received(Received<'a>),
    /// The peer closed TLS in order: no more comes from it.
    Closed,
    /// Something moved on inside.
    Nothing,
}

impl<P, S, K> StreamConnection<P, S, K>
where
    P: CryptoProvider,
    S: ServerCredentials,
    K: ClientCredentials,
{
    /// Begins as the end that opened the stream; `credentials` of `None` speaks in clear
    /// (`coap+tcp`).
    ///
    /// # Errors
    ///
    /// Those of [`TlsConnection::client`]; [`Misuse::ForbiddenMode`] in clear, unless
    /// [`StreamConfig::security`] permits it.
    pub fn client(
        provider: P,
        credentials: Option<K>,
        config: &StreamConfig,
        env: &mut Env<'_>,
    ) -> Result<Self, Misuse> {
        let tls = match credentials {
            Some(shown) => Some(TlsConnection::client(
                provider,
                shown,
                config.handshake,
                &config.security,
                env,
            )?),
            None => {
                config.security.check_credentials::<K>(None)?;
                None
            }
        };
        Ok(Self {
            requires_protocol_name: config.requires_protocol_name,
            ..Self::new(tls, config, env)
        })
    }

    /// Begins as the end that opened the stream, over TLS, and takes part in resumption, with a session
    /// to offer if there is one.
    ///
    /// # Errors
    ///
    /// Those of [`TlsConnection::client`].
    pub fn client_resuming(
        provider: P,
        credentials: K,
        config: &StreamConfig,
        session: Option<ResumableSession>,
        env: &mut Env<'_>,
    ) -> Result<Self, Misuse> {
        let (settings, policy) = (config.handshake, &config.security);
        let tls =
            TlsConnection::client_resuming(provider, credentials, settings, policy, session, env)?;
        Ok(Self {
            requires_protocol_name: config.requires_protocol_name,
            ..Self::new(Some(tls), config, env)
        })
    }

    /// Begins as the end that accepted the stream, over TLS, and takes part in resumption; see
    /// [`TlsConnection::server_resuming`].
    ///
    /// # Errors
    ///
    /// Those of [`TlsConnection::server`].
    pub fn server_resuming(
        provider: P,
        store: S,
        config: &StreamConfig,
        resumption: ServerResumption,
        env: &mut Env<'_>,
    ) -> Result<Self, Misuse> {
        let (settings, policy) = (config.handshake, &config.security);
        let tls =
            TlsConnection::server_resuming(provider, store, settings, policy, resumption, env)?;
        Ok(Self::new(Some(tls), config, env))
    }

    /// Returns the ID of the session that a ClientHello which has arrived asks for.
    pub fn wanted_session(&self) -> Option<SessionId> {
        self.tls.as_ref()?.wanted_session()
    }

    /// Offers the session that was found under that ID.
    pub fn offer_session(&mut self, found: Option<CachedSession>) {
        if let Some(tls) = &mut self.tls {
            tls.offer_session(found);
        }
    }

    /// Says whether TLS has resumed a session that there was before.
    pub fn is_resumed(&self) -> bool {
        self.tls.as_ref().is_some_and(TlsConnection::is_resumed)
    }

    /// Takes out what a client can resume the session by, once TLS is established.
    pub fn take_resumable(&mut self) -> Option<ResumableSession> {
        self.tls.as_mut()?.take_resumable()
    }

    /// Returns the ID under which a server may have the session; see [`TlsConnection::session_id`].
    pub fn session_id(&self) -> SessionId {
        let tls = self.tls.as_ref();
        tls.map_or(SessionId::EMPTY, |tls| *tls.session_id())
    }

    /// Takes out what a server is to keep of the session, once TLS is established.
    pub fn take_cacheable(&mut self) -> Option<CachedSession> {
        self.tls.as_mut()?.take_cacheable()
    }

    /// Begins as the end that accepted the stream; `store` of `None` speaks in clear.
    ///
    /// # Errors
    ///
    /// Those of [`TlsConnection::server`]; [`Misuse::ForbiddenMode`] in clear, unless
    /// [`StreamConfig::security`] permits it.
    pub fn server(
        provider: P,
        store: Option<S>,
        config: &StreamConfig,
        env: &mut Env<'_>,
    ) -> Result<Self, Misuse> {
        let tls = match store {
            Some(store) => Some(TlsConnection::server(
                provider,
                store,
                config.handshake,
                &config.security,
                env,
            )?),
            None => {
                config.security.check_clear_server()?;
                None
            }
        };
        Ok(Self::new(tls, config, env))
    }

    /// Begins over TLS that is established, as the end that accepted the stream.
    pub(crate) fn over(
        tls: TlsConnection<P, S, K>,
        config: &StreamConfig,
        env: &mut Env<'_>,
    ) -> Self {
        let mut connection = Self::new(Some(tls), config, env);
        connection.exchange.handle_transport_established(env);
        connection
    }

    fn new(tls: Option<TlsConnection<P, S, K>>, config: &StreamConfig, env: &mut Env<'_>) -> Self {
        let mut connection = Arc::clone(&config.connection);
        if tls.is_none() && connection.exchange.tokens != TokenKind::Unpredictable {
            // RFC 7252 §5.3.1: without security a token is all that an attacker off the path lacks.
            Arc::make_mut(&mut connection).exchange.tokens = TokenKind::Unpredictable;
        }
        Self {
            tls,
            exchange: HeapConnection::new(connection, env),
            arrived: Vec::new(),
            taken: 0,
            max_records: config.max_records,
            requires_protocol_name: false,
        }
    }

    /// Returns how many bytes [`Self::push`] takes now: none while so much waits to be sent that the
    /// peer is to wait too.
    pub fn room(&self) -> usize {
        if self.exchange.is_blocked() {
            return 0;
        }
        match &self.tls {
            Some(tls) => tls.room(),
            None => {
                let kept = self.arrived.len().saturating_sub(self.taken);
                MAX_ARRIVED_LEN.saturating_sub(kept)
            }
        }
    }

    /// Keeps bytes that have arrived and returns how many: at least as many as [`Self::room`] says.
    /// The rest comes again after [`Self::poll`].
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        match &mut self.tls {
            Some(tls) => tls.push(bytes),
            None => {
                self.drop_taken();
                let room = MAX_ARRIVED_LEN.saturating_sub(self.arrived.len());
                let part = bytes.get(..room).unwrap_or(bytes);
                self.arrived.extend_from_slice(part);
                part.len()
            }
        }
    }

    /// Takes in one message or one record of what has arrived; `None` if more has to arrive, or
    /// something has to be sent first.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Peer`] where TLS ends the connection. [`Self::poll_transmit`] may have an
    /// alert, [`Self::poll_event`] has what became of the requests.
    pub fn poll(&mut self, env: &mut Env<'_>) -> Result<Option<StreamEvent<'_>>, ChannelError> {
        if self.taken < self.arrived.len() {
            if self.exchange.is_blocked() {
                return Ok(None);
            }
            let bytes = self.arrived.get(self.taken..).unwrap_or_default();
            let (received, rest) = self.exchange.handle_bytes(env, bytes);
            self.taken = self.arrived.len().saturating_sub(rest.len());
            return Ok(Some(StreamEvent::Received(received)));
        }
        self.drop_taken();
        let Some(tls) = &mut self.tls else {
            return Ok(None);
        };
        match tls.poll(env) {
            Ok(None) => Ok(None),
            Ok(Some(TlsEvent::Plaintext(plaintext))) => {
                self.arrived.extend_from_slice(plaintext);
                Ok(Some(StreamEvent::Nothing))
            }
            Ok(Some(TlsEvent::Established(peer))) => {
                self.exchange.handle_transport_established(env);
                tls.become_session();
                if self.requires_protocol_name && tls.application_protocol().is_none() {
                    // MUST (RFC 8323 §8.2): off port 5684, a server that agrees on no name is left.
                    tls.close();
                    self.exchange.handle_transport_closed();
                    return Err(PeerFault::ProtocolNotNamed.into());
                }
                Ok(Some(StreamEvent::Established(peer)))
            }
            Ok(Some(TlsEvent::Closed)) => {
                self.exchange.handle_transport_closed();
                Ok(Some(StreamEvent::Closed))
            }
            Ok(Some(TlsEvent::Nothing)) => Ok(Some(StreamEvent::Nothing)),
            Err(error) => {
                self.exchange.handle_transport_closed();
                Err(error)
            }
        }
    }

    /// Takes in the end of the stream below.
    ///
    /// # Errors
    ///
    /// Those of [`TlsConnection::handle_end`].
    pub fn handle_end(&mut self) -> Result<(), ChannelError> {
        let ended = self.tls.as_mut().map_or(Ok(()), TlsConnection::handle_end);
        self.exchange.handle_transport_closed();
        ended
    }

    /// Does what has become due.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Peer`] if the handshake's deadline has come.
    pub fn handle_timeout(&mut self, env: &mut Env<'_>) -> Result<(), ChannelError> {
        if let Some(tls) = &mut self.tls
            && let Err(error) = tls.handle_timeout(env)
        {
            self.exchange.handle_transport_closed();
            return Err(error);
        }
        if self.peer().is_some() {
            self.exchange.handle_timeout(env);
        }
        Ok(())
    }

    /// Returns when [`Self::handle_timeout`] is due, if ever.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let tls = self.tls.as_ref().and_then(TlsConnection::poll_timeout);
        // The handshake has a deadline of its own; what comes behind it counts from its end.
        let exchange = self.peer().and_then(|_| self.exchange.poll_timeout());
        [tls, exchange].into_iter().flatten().min()
    }

    /// Returns what happened without a message to hand out.
    pub fn poll_event(&mut self) -> Option<hedgerow_exchange::Event> {
        self.exchange.poll_event()
    }

    /// Puts the next bytes to send behind `out` and says whether there were any; all of them are to be
    /// sent, in order. `message` is room for one message in clear: it grows to what that takes, and is
    /// best given again.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Limit`] if the key has no number left: the connection can only be dropped.
    pub fn poll_transmit(
        &mut self,
        env: &mut Env<'_>,
        message: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<bool, ChannelError> {
        let written = self.write_next(env, message, out);
        if written.is_err() {
            // Nothing leaves any more, so that no request may go on waiting.
            self.exchange.handle_transport_closed();
        }
        written
    }

    fn write_next(
        &mut self,
        env: &mut Env<'_>,
        message: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<bool, ChannelError> {
        let start = out.len();
        if let Some(tls) = &mut self.tls {
            let mut bytes = [0; TLS_OUT_LEN];
            if let Some(len) = tls.poll_transmit(env, &mut bytes)? {
                out.extend_from_slice(bytes.get(..len).unwrap_or_default());
                return Ok(true);
            }
            if !tls.is_open() {
                return Ok(false);
            }
        }
        let room = self.message_room();
        if message.len() < room {
            message.resize(room, 0);
        }
        // With so much room, writing doesn't fail.
        let len = match self.exchange.poll_transmit(env, message) {
            Ok(Some(len)) => len,
            Ok(None) | Err(_) => return Ok(false),
        };
        let written = message.get(..len).unwrap_or_default();
        match &mut self.tls {
            Some(tls) => seal_all(tls, written, out)?,
            None => out.extend_from_slice(written),
        }
        Ok(out.len() > start)
    }

    /// Closes the connection in order as far as TLS goes. CoAP's own end is [`Self::release`].
    pub fn close(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.close();
        }
    }

    /// Sends a request; see [`hedgerow_exchange::Connection::request`].
    ///
    /// # Errors
    ///
    /// [`Error::Exchange`].
    pub fn request(&mut self, request: &Request<'_>) -> Result<OutgoingRequest, Error> {
        Ok(self.exchange.request(request)?)
    }

    /// Gives up a request of this end.
    ///
    /// # Errors
    ///
    /// [`Error::Exchange`] if it isn't under way.
    pub fn cancel(&mut self, request: OutgoingRequest) -> Result<(), Error> {
        Ok(self.exchange.cancel(request)?)
    }

    /// Answers a request of the peer.
    ///
    /// # Errors
    ///
    /// [`Error::Exchange`] if it isn't waiting, or the response can't be written.
    pub fn respond(
        &mut self,
        env: &mut Env<'_>,
        request: IncomingRequest,
        response: &Response<'_>,
    ) -> Result<(), Error> {
        Ok(self.exchange.respond(env, request, response)?)
    }

    /// Leaves a request of the peer without an answer.
    ///
    /// # Errors
    ///
    /// [`Error::Exchange`] if it isn't waiting.
    pub fn ignore(&mut self, request: IncomingRequest) -> Result<(), Error> {
        Ok(self.exchange.ignore(request)?)
    }

    /// Asks the peer for a sign of life (RFC 8323 §5.4).
    ///
    /// # Errors
    ///
    /// [`Error::Exchange`].
    pub fn ping(&mut self) -> Result<OutgoingRequest, Error> {
        Ok(self.exchange.ping(false)?)
    }

    /// Ends the connection in order once what is under way has ended (RFC 8323 §5.5).
    ///
    /// # Errors
    ///
    /// [`Error::Exchange`].
    pub fn release(&mut self) -> Result<(), Error> {
        Ok(self.exchange.release(&Release::default())?)
    }

    /// Ends the connection at once, with a text for whoever looks into it on the other side; see
    /// [`hedgerow_exchange::Connection::abort`].
    pub fn abort(&mut self, diagnostic: &str) {
        self.exchange.abort(diagnostic);
    }

    /// Says whether the peer has shown to be one that speaks CoAP: its CSM has come, under TLS if there
    /// is to be any.
    pub fn is_established(&self) -> bool {
        self.exchange.is_established()
    }

    /// Says whether a request can be sent now, or once the peer's settings have come.
    pub fn accepts_requests(&self) -> bool {
        self.exchange.accepts_requests()
    }

    /// Says whether nothing is under way in either direction.
    pub fn is_idle(&self) -> bool {
        self.exchange.is_idle()
    }

    /// Returns why CoAP's layer has ended, or is ending by an Abort.
    pub const fn close_reason(&self) -> Option<CloseReason> {
        self.exchange.close_reason()
    }

    /// Says whether CoAP's layer has ended.
    pub fn is_closed(&self) -> bool {
        self.exchange.is_closed()
    }

    /// Says whether TLS can send: the handshake is over and nobody has closed.
    pub(crate) fn is_open(&self) -> bool {
        self.tls.as_ref().is_none_or(TlsConnection::is_open)
    }

    /// Returns who is at the other end: `None` until TLS is established, [`Peer::Anonymous`] without
    /// it.
    pub fn peer(&self) -> Option<Peer> {
        match &self.tls {
            Some(tls) => tls.peer(),
            None => Some(Peer::Anonymous),
        }
    }

    /// Says whether another connection should take this one's place, since its keys come near their limit.
    /// TLS 1.2 has no other way to new keys: release this one, and what is under way ends first.
    pub fn wants_new_keys(&self) -> bool {
        let tls = self.tls.as_ref();
        tls.is_some_and(|tls| tls.wants_new_keys() || tls.records() >= self.max_records)
    }

    /// Returns the suite that was negotiated; `None` without TLS, or before it is established.
    pub fn suite(&self) -> Option<CipherSuite> {
        self.tls.as_ref().and_then(TlsConnection::suite)
    }

    /// Returns the room that the longest message takes, in bytes.
    fn message_room(&self) -> usize {
        const LEAST: usize = 128;
        self.exchange.config().exchange.max_message_len.max(LEAST)
    }

    fn drop_taken(&mut self) {
        self.arrived.drain(..self.taken.min(self.arrived.len()));
        self.taken = 0;
        if self.arrived.is_empty() {
            self.arrived = Vec::new();
        }
    }
}

/// Seals `message` into as many records as it takes.
pub(crate) fn seal_all<P, S, K>(
    tls: &mut TlsConnection<P, S, K>,
    message: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ChannelError>
where
    P: CryptoProvider,
    S: ServerCredentials,
    K: ClientCredentials,
{
    for part in message.chunks(tls.max_plaintext_len().max(1)) {
        let start = out.len();
        out.resize(
            start
                .saturating_add(part.len())
                .saturating_add(tls.overhead()),
            0,
        );
        let room = out.get_mut(start..).unwrap_or_default();
        let sealed = tls.seal(part, room);
        out.truncate(start.saturating_add(sealed.unwrap_or(0)));
        sealed?;
    }
    Ok(())
}
