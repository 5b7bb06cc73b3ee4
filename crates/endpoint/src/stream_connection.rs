//! A CoAP connection over a stream: TLS or nothing, and RFC 8323's layer on top.

use alloc::sync::Arc;
use alloc::vec::Vec;

use hedgerow_coap::Release;
use hedgerow_core::{
    ChannelError, CryptoProvider, Env, Instant, Misuse, Peer, PskCredentials, PskStore,
};
use hedgerow_exchange::{
    ConnectionConfig, HeapConnection, IncomingRequest, OutgoingRequest, Received, Request,
    Response, TokenKind,
};
use hedgerow_handshake::Settings;
use hedgerow_record::CipherSuite;

use crate::{Error, TlsConnection, TlsEvent};

/// Bytes that wait to be taken in without TLS; more are left with the caller.
const MAX_ARRIVED_LEN: usize = 16 * 1_024;

/// Room for what TLS itself has to send at a time.
const TLS_OUT_LEN: usize = 512;

/// The configuration of connections over a stream.
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// Suites, deadline and application protocols of handshakes. By default the name is `coap`
    /// (RFC 8323 §8.2).
    pub handshake: Settings,
    /// What each connection may use, shared by all. Where there is no security, tokens are
    /// unpredictable whatever it says.
    pub connection: Arc<ConnectionConfig>,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            handshake: Settings::default().with_application_protocols(&[b"coap"]),
            connection: Arc::new(ConnectionConfig::default()),
        }
    }
}

/// A CoAP connection over a stream without a socket, of either role: `coap+tcp` or `coaps+tcp`.
///
/// What arrives goes to [`Self::push`]; [`Self::poll`] then takes it message by message. After any
/// call, errors included, the caller asks [`Self::poll_transmit`] until there is nothing more to send,
/// [`Self::poll_event`] until it returns `None`, and comes back when [`Self::poll_timeout`] says so.
pub struct StreamConnection<P: CryptoProvider, S, K> {
    tls: Option<TlsConnection<P, S, K>>,
    exchange: HeapConnection<Arc<ConnectionConfig>>,
    /// Plaintext that has not been taken in yet.
    arrived: Vec<u8>,
    /// How many bytes at its front have been.
    taken: usize,
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
    S: PskStore,
    K: PskCredentials,
{
    /// Begins as the end that opened the stream; `credentials` of `None` speaks in clear
    /// (`coap+tcp`).
    ///
    /// # Errors
    ///
    /// Those of [`TlsConnection::client`].
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
                env,
            )?),
            None => None,
        };
        Ok(Self::new(tls, config, env))
    }

    /// Begins as the end that accepted the stream; `store` of `None` speaks in clear.
    ///
    /// # Errors
    ///
    /// Those of [`TlsConnection::server`].
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
                env,
            )?),
            None => None,
        };
        Ok(Self::new(tls, config, env))
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
        }
    }

    /// Keeps bytes that have arrived and returns how many; the rest comes again after
    /// [`Self::poll`].
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
            Ok(Some(TlsEvent::Established(peer))) => Ok(Some(StreamEvent::Established(peer))),
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
        self.exchange.handle_timeout(env);
        Ok(())
    }

    /// Returns when [`Self::handle_timeout`] is due, if ever.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let tls = self.tls.as_ref().and_then(TlsConnection::poll_timeout);
        [tls, self.exchange.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Returns what happened without a message to hand out.
    pub fn poll_event(&mut self) -> Option<hedgerow_exchange::Event> {
        self.exchange.poll_event()
    }

    /// Puts the next bytes to send behind `out` and says whether there were any; all of them are to be
    /// sent, in order. `message` is room for one message in clear, and is cleared.
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
        message.clear();
        message.resize(room, 0);
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

    /// Says whether a request can be sent now, or once the peer's settings have come.
    pub fn accepts_requests(&self) -> bool {
        self.exchange.accepts_requests()
    }

    /// Says whether nothing is under way in either direction.
    pub fn is_idle(&self) -> bool {
        self.exchange.is_idle()
    }

    /// Says whether CoAP's layer has ended.
    pub fn is_closed(&self) -> bool {
        self.exchange.is_closed()
    }

    /// Returns who is at the other end: `None` until TLS is established, [`Peer::Anonymous`] without
    /// it.
    pub fn peer(&self) -> Option<Peer> {
        match &self.tls {
            Some(tls) => tls.peer(),
            None => Some(Peer::Anonymous),
        }
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
fn seal_all<P, S, K>(
    tls: &mut TlsConnection<P, S, K>,
    message: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ChannelError>
where
    P: CryptoProvider,
    S: PskStore,
    K: PskCredentials,
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
