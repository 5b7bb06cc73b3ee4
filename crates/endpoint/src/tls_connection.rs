//! A TLS connection from its first byte to its last.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use hedgerow_core::{
    ChannelError, ClientCredentials, CryptoProvider, Env, Event, Instant, Misuse, Peer,
    SecureStream, ServerCredentials, StreamReceived,
};
use hedgerow_handshake::{
    Buffers, CachedSession, ResumableSession, ServerResumption, SessionId, Settings,
    TlsClientHandshake, TlsServerHandshake, TlsSession,
};
use hedgerow_record::{CipherSuite, MAX_TLS_RECORD_LEN};

use crate::SecurityPolicy;
use crate::handshaking::{Buffer, buffers, resuming_buffers};
use crate::security_policy::Permitted;

/// What an idle connection keeps room for, in bytes.
const IDLE_LEN: usize = 1_024;

/// A TLS connection of either role without a socket: a handshake, then the session that it ends in,
/// and the bytes that have arrived and don't make a record yet.
///
/// What arrives goes to [`Self::push`]; [`Self::poll`] then takes it record by record. After any
/// call, errors included, the caller asks [`Self::poll_transmit`] until it returns `None`.
pub struct TlsConnection<P: CryptoProvider, S, K> {
    stage: Stage<P, S, K>,
    arrived: Vec<u8>,
    /// How many bytes at the front of `arrived` have been taken.
    taken: usize,
    is_resumed: bool,
    resumable: Option<Box<ResumableSession>>,
    cacheable: Option<Box<CachedSession>>,
    session_id: SessionId,
}

enum Stage<P: CryptoProvider, S, K> {
    Client(Box<TlsClientHandshake<P, Permitted<K>, Buffer>>),
    Server(Box<TlsServerHandshake<P, Permitted<S>, Buffer>>),
    Session(Box<TlsSession<P::Aead>>),
    /// Between two stages; no call finds it so.
    Gone,
}

/// What one record came to.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsEvent<'a> {
    /// The handshake is over: from now on plaintext can be sealed.
    Established(Peer),
    /// Verified plaintext.
    Plaintext(&'a [u8]),
    /// The peer closed the connection in order; an answer to that is there to be sent.
    Closed,
    /// The record moved something on, or nothing at all.
    Nothing,
}

impl<P, S, K> TlsConnection<P, S, K>
where
    P: CryptoProvider,
    S: ServerCredentials,
    K: ClientCredentials,
{
    /// Begins a handshake as a client, with what `policy` permits.
    ///
    /// # Errors
    ///
    /// Those of [`SecurityPolicy::check_credentials`], and those of
    /// [`TlsClientHandshake::new`].
    pub fn client(
        provider: P,
        credentials: K,
        settings: Settings,
        policy: &Arc<SecurityPolicy>,
        env: &mut Env<'_>,
    ) -> Result<Self, Misuse> {
        policy.check_credentials(Some(&credentials))?;
        let settings = policy.restrict(settings);
        let credentials = Permitted::new(credentials, policy);
        let buffers = buffers(Buffers::<Buffer>::client_len(&settings, &credentials));
        let machine = TlsClientHandshake::new(provider, credentials, settings, buffers, env)?;
        Ok(Self::at(Stage::Client(Box::new(machine))))
    }

    /// Does what [`Self::client`] does and takes part in resumption, with a session to offer if there
    /// is one; [`Self::take_resumable`] then has what comes of it.
    ///
    /// # Errors
    ///
    /// Those of [`Self::client`].
    pub fn client_resuming(
        provider: P,
        credentials: K,
        settings: Settings,
        policy: &Arc<SecurityPolicy>,
        session: Option<ResumableSession>,
        env: &mut Env<'_>,
    ) -> Result<Self, Misuse> {
        policy.check_credentials(Some(&credentials))?;
        let settings = policy.restrict(settings);
        let credentials = Permitted::new(credentials, policy);
        let buffers = resuming_buffers(&settings, &credentials, session.as_ref());
        let machine =
            TlsClientHandshake::resuming(provider, credentials, settings, session, buffers, env)?;
        Ok(Self::at(Stage::Client(Box::new(machine))))
    }

    /// Does what [`Self::server`] does and takes part in resumption. Where sessions are kept by their
    /// ID, [`Self::wanted_session`] says before each [`Self::poll`] which one to offer, and
    /// [`Self::take_cacheable`] which one to keep.
    ///
    /// # Errors
    ///
    /// Those of [`Self::server`].
    pub fn server_resuming(
        provider: P,
        store: S,
        settings: Settings,
        policy: &Arc<SecurityPolicy>,
        resumption: ServerResumption,
        env: &mut Env<'_>,
    ) -> Result<Self, Misuse> {
        let store = Permitted::new(store, policy);
        let buffers = buffers(Buffers::<Buffer>::server_len(&settings, &store));
        let machine =
            TlsServerHandshake::resuming(provider, store, settings, resumption, buffers, env)?;
        Ok(Self::at(Stage::Server(Box::new(machine))))
    }

    /// Returns the ID of the session that a ClientHello which has arrived asks for.
    pub fn wanted_session(&self) -> Option<SessionId> {
        let bytes = self.arrived.get(self.taken..).unwrap_or_default();
        match &self.stage {
            Stage::Server(machine) => machine.peek_session_id(bytes),
            _ => None,
        }
    }

    /// Offers the session that was found under that ID.
    pub fn offer_session(&mut self, found: Option<CachedSession>) {
        if let Stage::Server(machine) = &mut self.stage {
            machine.offer_session(found);
        }
    }

    /// Says whether the session is one that there was before.
    pub const fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Takes out what a client can resume the session by, once it is established.
    pub fn take_resumable(&mut self) -> Option<ResumableSession> {
        self.resumable.take().map(|session| *session)
    }

    /// Returns the ID under which a server may have the session, new or resumed; empty for none. When the
    /// connection ends in a fault, it is to be forgotten (RFC 5246 §7.2.2).
    pub const fn session_id(&self) -> &SessionId {
        &self.session_id
    }

    /// Takes out what a server is to keep of the session, once it is established.
    pub fn take_cacheable(&mut self) -> Option<CachedSession> {
        self.cacheable.take().map(|session| *session)
    }

    /// Waits for the handshake of a client that `policy` permits.
    ///
    /// # Errors
    ///
    /// Those of [`TlsServerHandshake::new`].
    pub fn server(
        provider: P,
        store: S,
        settings: Settings,
        policy: &Arc<SecurityPolicy>,
        env: &mut Env<'_>,
    ) -> Result<Self, Misuse> {
        let store = Permitted::new(store, policy);
        let buffers = buffers(Buffers::<Buffer>::server_len(&settings, &store));
        let machine = TlsServerHandshake::new(provider, store, settings, buffers, env)?;
        Ok(Self::at(Stage::Server(Box::new(machine))))
    }

    const fn at(stage: Stage<P, S, K>) -> Self {
        Self {
            stage,
            arrived: Vec::new(),
            taken: 0,
            is_resumed: false,
            resumable: None,
            cacheable: None,
            session_id: SessionId::EMPTY,
        }
    }

    /// Returns how many bytes [`Self::push`] takes now.
    pub fn room(&self) -> usize {
        let kept = self.arrived.len().saturating_sub(self.taken);
        MAX_TLS_RECORD_LEN.saturating_sub(kept)
    }

    /// Keeps bytes that have arrived and returns how many: no more than make one record whole, so
    /// that a peer can't have this end hold more. The rest comes again after [`Self::poll`].
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        self.arrived.drain(..self.taken);
        self.taken = 0;
        let part = bytes.get(..self.room()).unwrap_or(bytes);
        self.arrived.extend_from_slice(part);
        part.len()
    }

    /// Takes the next record that is there as a whole; `None` if more has to arrive.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Peer`] where it ends the connection.
    pub fn poll(&mut self, env: &mut Env<'_>) -> Result<Option<TlsEvent<'_>>, ChannelError> {
        self.become_session();
        if self.taken >= self.arrived.len() {
            self.taken = 0;
            self.arrived.clear();
            self.arrived.shrink_to(IDLE_LEN);
        }
        let bytes = self.arrived.get_mut(self.taken..).unwrap_or_default();
        let available = bytes.len();
        let received = match &mut self.stage {
            Stage::Client(machine) => machine.handle_bytes(env, bytes),
            Stage::Server(machine) => machine.handle_bytes(env, bytes),
            Stage::Session(session) => session.handle_bytes(env, bytes),
            Stage::Gone => Err(Misuse::Closed.into()),
        }?;
        let Some(StreamReceived { event, rest }) = received else {
            return Ok(None);
        };
        self.taken = self
            .taken
            .saturating_add(available.saturating_sub(rest.len()));
        Ok(Some(match event {
            Some(Event::Plaintext(plaintext)) => TlsEvent::Plaintext(plaintext),
            Some(Event::Established(peer)) => TlsEvent::Established(peer),
            Some(Event::Closed) => TlsEvent::Closed,
            _ => TlsEvent::Nothing,
        }))
    }

    /// Takes in the end of the stream below.
    ///
    /// # Errors
    ///
    /// [`PeerFault::Truncated`](hedgerow_core::PeerFault::Truncated) if the peer hadn't closed in
    /// order, [`PeerFault::CredentialsRefused`](hedgerow_core::PeerFault::CredentialsRefused) if
    /// it was just shown credentials.
    pub fn handle_end(&mut self) -> Result<(), ChannelError> {
        match &mut self.stage {
            Stage::Client(machine) => machine.handle_end(),
            Stage::Server(machine) => machine.handle_end(),
            Stage::Session(session) => session.handle_end(),
            Stage::Gone => Ok(()),
        }
    }

    /// Gives up a handshake whose deadline has come.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Peer`] then.
    pub fn handle_timeout(&mut self, env: &mut Env<'_>) -> Result<(), ChannelError> {
        match &mut self.stage {
            Stage::Client(machine) => machine.handle_timeout(env),
            Stage::Server(machine) => machine.handle_timeout(env),
            Stage::Session(session) => session.handle_timeout(env),
            Stage::Gone => Ok(()),
        }
    }

    /// Returns when [`Self::handle_timeout`] is due, if ever.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Client(machine) => machine.poll_timeout(),
            Stage::Server(machine) => machine.poll_timeout(),
            Stage::Session(session) => session.poll_timeout(),
            Stage::Gone => None,
        }
    }

    /// Writes the next bytes that the connection itself has to send, and returns their number.
    ///
    /// # Errors
    ///
    /// [`Misuse::BufferTooSmall`] if `out` has fewer than
    /// [`MIN_DATAGRAM_LEN`](hedgerow_handshake::MIN_DATAGRAM_LEN) bytes.
    pub fn poll_transmit(
        &mut self,
        env: &mut Env<'_>,
        out: &mut [u8],
    ) -> Result<Option<usize>, ChannelError> {
        let written = match &mut self.stage {
            Stage::Client(machine) => machine.poll_transmit(env, out),
            Stage::Server(machine) => machine.poll_transmit(env, out),
            Stage::Session(session) => return session.poll_transmit(env, out),
            Stage::Gone => return Ok(None),
        }?;
        if written.is_some() {
            return Ok(written);
        }
        // The handshake has no more to say. What its session has, a server's Finished, goes next.
        self.become_session();
        match &mut self.stage {
            Stage::Session(session) => session.poll_transmit(env, out),
            _ => Ok(None),
        }
    }

    /// Protects `plaintext`, of which at most [`Self::max_plaintext_len`] bytes go into one record, and
    /// returns the record's length. The record must be sent next.
    ///
    /// # Errors
    ///
    /// Those of [`SecureStream::seal`], [`Misuse::NotEstablished`] during the handshake.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) -> Result<usize, ChannelError> {
        match &mut self.stage {
            Stage::Session(session) => session.seal(plaintext, out),
            _ => Err(Misuse::NotEstablished.into()),
        }
    }

    /// Closes the connection in order, or gives the handshake up.
    pub fn close(&mut self) {
        if let Stage::Session(session) = &mut self.stage {
            session.close();
        }
    }

    /// Says whether plaintext can be sealed: the handshake is over and nobody has closed.
    pub fn is_open(&self) -> bool {
        self.session().is_some_and(TlsSession::is_open)
    }

    /// Returns who is at the other end, once it is proved.
    pub fn peer(&self) -> Option<Peer> {
        self.session().map(TlsSession::peer)
    }

    /// Returns how many records the key has protected that was used more; see
    /// [`TlsSession::records`].
    pub fn records(&self) -> u64 {
        self.session().map_or(0, TlsSession::records)
    }

    /// Says whether another connection should take this one's place; see
    /// [`TlsSession::wants_new_keys`].
    pub fn wants_new_keys(&self) -> bool {
        self.session().is_some_and(TlsSession::wants_new_keys)
    }

    /// Returns the suite that was negotiated, once the handshake is over.
    pub fn suite(&self) -> Option<CipherSuite> {
        self.session().map(TlsSession::suite)
    }

    /// Returns the application protocol agreed on by name, if any, once the handshake is over.
    pub fn application_protocol(&self) -> Option<&'static [u8]> {
        self.session().and_then(TlsSession::application_protocol)
    }

    /// Returns by how many bytes a record is longer than its plaintext; 0 during the handshake.
    pub fn overhead(&self) -> usize {
        self.session().map_or(0, SecureStream::overhead)
    }

    /// Returns the longest plaintext that one record carries, in bytes; 0 during the handshake.
    pub fn max_plaintext_len(&self) -> usize {
        self.session().map_or(0, SecureStream::max_plaintext_len)
    }

    /// Goes over to the session once the handshake is over and has sent everything.
    pub(crate) fn become_session(&mut self) {
        let is_over = match &self.stage {
            Stage::Client(machine) => machine.is_established() && machine.is_sent(),
            Stage::Server(machine) => machine.is_established() && machine.is_sent(),
            _ => false,
        };
        if !is_over {
            return;
        }
        let established = match core::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::Client(machine) => machine.into_session(),
            Stage::Server(machine) => machine.into_session(),
            _ => None,
        };
        if let Some(established) = established {
            self.is_resumed = established.is_resumed;
            self.resumable = established.resumable.map(Box::new);
            self.cacheable = established.cacheable.map(Box::new);
            self.session_id = established.session_id;
            self.stage = Stage::Session(Box::new(established.session));
        }
    }

    fn session(&self) -> Option<&TlsSession<P::Aead>> {
        match &self.stage {
            Stage::Session(session) => Some(session),
            _ => None,
        }
    }
}
