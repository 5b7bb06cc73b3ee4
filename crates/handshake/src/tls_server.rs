//! The server's side of a TLS handshake.
//!
//! The flights are drawn in the client's module. A server that can't go on with a client's
//! identity, because it doesn't know it or policy forbids it, goes on with a dummy key: the
//! client's Finished then doesn't open, and the alert is the one for a key that differs.

use hedgerow_core::{
    ChannelError, CryptoProvider, Env, Instant, Misuse, Reader, ServerCredentials, StreamReceived,
};
use hedgerow_record::{ContentType, HandshakeType};

use crate::phase::Phase;
use crate::server::{Expect, Server};
use crate::tls_machine::TlsMachine;
use crate::tls_outgoing::TlsOutgoing;
use crate::{
    Buffers, CachedSession, ServerResumption, ServerState, SessionId, Settings, TlsEstablished,
};

/// A server's handshake with one client over a stream.
///
/// `S` finds the client's key once it has named itself, or has the server's certificate and says
/// which ones it takes; `B` is a buffer of the caller's, of the
/// length that [`Buffers`] names. The stream below has proved the client's address (TCP's own
/// handshake), so there is no acceptor.
pub struct TlsServerHandshake<P: CryptoProvider, S, B> {
    machine: TlsMachine<P, Server<P, S>, Expect<P>, B>,
}

impl<P, S, B> TlsServerHandshake<P, S, B>
where
    P: CryptoProvider,
    S: ServerCredentials,
    B: AsRef<[u8]> + AsMut<[u8]>,
{
    /// Waits for a ClientHello. Of the timers of `settings` only the deadline counts.
    ///
    /// # Errors
    ///
    /// [`Misuse::BufferTooSmall`] if a buffer is shorter than [`Buffers`] asks for.
    pub fn new(
        provider: P,
        credentials: S,
        settings: Settings,
        buffers: Buffers<B>,
        env: &mut Env<'_>,
    ) -> Result<Self, Misuse> {
        let server = Server::new(provider, credentials, settings, env);
        Self::wait(server, settings, buffers, env)
    }

    /// Does what [`Self::new`] does for a server that takes part in resumption; see
    /// [`ServerHandshake::resuming`](crate::ServerHandshake::resuming). Where sessions are kept by their
    /// ID, [`Self::peek_session_id`] and [`Self::offer_session`] find the one that the client asks for.
    ///
    /// # Errors
    ///
    /// Those of [`Self::new`].
    pub fn resuming(
        provider: P,
        credentials: S,
        settings: Settings,
        resumption: ServerResumption,
        buffers: Buffers<B>,
        env: &mut Env<'_>,
    ) -> Result<Self, Misuse> {
        let server = Server::new(provider, credentials, settings, env).resuming(Some(resumption));
        Self::wait(server, settings, buffers, env)
    }

    /// Returns the session ID of the ClientHello that `bytes` begin with, while one is awaited: for the
    /// caller to look up before it hands the bytes in. `None` too where the hello is cut off before it,
    /// with which nobody resumes.
    pub fn peek_session_id(&self, bytes: &[u8]) -> Option<SessionId> {
        let waits = matches!(self.machine.phase(), Phase::Early(Expect::ClientHello));
        waits.then(|| peek_session_id(bytes)).flatten()
    }

    /// Offers a session that the ClientHello to come may ask for by its ID.
    pub fn offer_session(&mut self, found: Option<CachedSession>) {
        if let Some(resumption) = &mut self.machine.role.resumption {
            resumption.offer_session(found);
        }
    }

    fn wait(
        server: Server<P, S>,
        settings: Settings,
        buffers: Buffers<B>,
        env: &Env<'_>,
    ) -> Result<Self, Misuse> {
        let needed = Buffers::<B>::server_len(&settings, &server.credentials);
        let Buffers { incoming, outgoing } = buffers.checked(needed)?;
        let outgoing = TlsOutgoing::new(outgoing);
        let deadline = env.now + settings.timers.deadline;
        Ok(Self {
            machine: TlsMachine::new(incoming, outgoing, Expect::ClientHello, server, deadline),
        })
    }

    /// Takes in the first record of `bytes`; see
    /// [`SecureStream::handle_bytes`](hedgerow_core::SecureStream::handle_bytes).
    ///
    /// After [`Event::Established`](hedgerow_core::Event::Established), [`Self::into_session`] has
    /// the session, which sends the last flight and to which the rest of the bytes belongs.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Peer`] where the client broke the protocol. An identity that isn't known, a
    /// key that differs and a policy that forbids end alike, with bad_record_mac. What
    /// [`Self::poll_transmit`] then writes is still to be sent.
    pub fn handle_bytes<'d>(
        &mut self,
        env: &mut Env<'_>,
        bytes: &'d mut [u8],
    ) -> Result<Option<StreamReceived<'d>>, ChannelError> {
        self.machine.handle_bytes(env, bytes)
    }

    /// Takes in the end of the stream below.
    ///
    /// # Errors
    ///
    /// [`PeerFault::Truncated`](hedgerow_core::PeerFault::Truncated) if the handshake isn't over.
    pub fn handle_end(&mut self) -> Result<(), ChannelError> {
        self.machine.handle_end()
    }

    /// Gives the handshake up if its deadline has come.
    ///
    /// # Errors
    ///
    /// [`PeerFault::HandshakeTimeout`](hedgerow_core::PeerFault::HandshakeTimeout).
    pub fn handle_timeout(&mut self, env: &mut Env<'_>) -> Result<(), ChannelError> {
        self.machine.handle_timeout(env)
    }

    /// Writes the next bytes to send, if any; `out` needs room for
    /// [`MIN_DATAGRAM_LEN`](crate::MIN_DATAGRAM_LEN) bytes.
    ///
    /// # Errors
    ///
    /// [`Misuse::BufferTooSmall`] if not even one record fits.
    pub fn poll_transmit(
        &mut self,
        _env: &mut Env<'_>,
        out: &mut [u8],
    ) -> Result<Option<usize>, ChannelError> {
        self.machine.poll_transmit(out)
    }

    /// Returns when [`Self::handle_timeout`] is due.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.machine.poll_timeout()
    }

    /// Returns what the handshake waits for.
    pub const fn state(&self) -> ServerState {
        match self.machine.phase() {
            Phase::Early(expect) => expect.state(),
            Phase::ExpectNewSessionTicket(_) | Phase::ExpectChangeCipherSpec(_) => {
                ServerState::ExpectChangeCipherSpec
            }
            Phase::ExpectFinished(_) => ServerState::ExpectFinished,
            Phase::Established(_) => ServerState::Established,
            Phase::Failed => ServerState::Failed,
        }
    }

    /// Says whether the handshake is over and [`Self::into_session`] has the session.
    pub const fn is_established(&self) -> bool {
        self.machine.phase().is_established()
    }

    /// Says whether everything that there is to send has been written.
    pub fn is_sent(&self) -> bool {
        self.machine.is_sent()
    }

    /// Returns the session, which has the last flight to send, and the buffers once the handshake
    /// is over; `None` before.
    pub fn into_session(self) -> Option<TlsEstablished<P, B>> {
        let (mut established, _, session_id, session) = self.machine.into_session()?;
        established.cacheable = CachedSession::of(session_id, session);
        established.session_id = session_id;
        Some(established)
    }
}

fn peek_session_id(bytes: &[u8]) -> Option<SessionId> {
    let mut record = Reader::new(bytes);
    let content_type = ContentType::from(record.u8().ok()?);
    let _version_and_length = record.take(4).ok()?;
    let msg_type = HandshakeType::from(record.u8().ok()?);
    if content_type != ContentType::Handshake || msg_type != HandshakeType::ClientHello {
        return None;
    }
    let _length_version_and_random = record.take(3 + 2 + 32).ok()?;
    SessionId::new(record.vector8().ok()?)
}
