//! The client's side of a TLS handshake.
//!
//! ```text
//! Client                                   Server
//! ClientHello                 -------->
//!                                          ServerHello
//!                                          Certificate*
//!                                          [ServerKeyExchange]
//!                                          CertificateRequest*
//!                             <--------    ServerHelloDone
//! Certificate*
//! ClientKeyExchange
//! CertificateVerify*
//! [ChangeCipherSpec]
//! Finished                    -------->
//!                                          [ChangeCipherSpec]
//!                             <--------    Finished
//! ```
//!
//! \* only where the server signs (RFC 8422 §2); what it doesn't request isn't sent.

use hedgerow_core::{
    ChannelError, ClientCredentials, CryptoProvider, Env, Instant, Misuse, StreamReceived,
};
use hedgerow_record::Protocol;

use crate::client::{Client, Expect};
use crate::phase::Phase;
use crate::tls_machine::TlsMachine;
use crate::tls_outgoing::TlsOutgoing;
use crate::{Buffers, ClientState, ResumableSession, Settings, TlsEstablished};

/// A client's handshake with one server over a stream.
///
/// `C` gives what the client shows once the server has spoken, pre-shared key or certificate; `B` is
/// a buffer of the caller's, of the length that [`Buffers`] names.
pub struct TlsClientHandshake<P: CryptoProvider, C, B> {
    machine: TlsMachine<P, Client<P, C>, Expect<P>, B>,
}

impl<P, C, B> TlsClientHandshake<P, C, B>
where
    P: CryptoProvider,
    C: ClientCredentials,
    B: AsRef<[u8]> + AsMut<[u8]>,
{
    /// Starts a handshake; its first flight is there to be sent. Of the timers of `settings` only
    /// the deadline counts.
    ///
    /// # Errors
    ///
    /// [`Misuse::BufferTooSmall`] if a buffer is shorter than [`Buffers`] asks for,
    /// [`Misuse::PskIdentityLength`] for an identity longer than 128 bytes, [`Misuse::NotOffered`]
    /// if the settings name no suite that provider and credentials can do, or more application protocols than
    /// [`Settings::with_application_protocols`] allows.
    pub fn new(
        provider: P,
        credentials: C,
        settings: Settings,
        buffers: Buffers<B>,
        env: &mut Env<'_>,
    ) -> Result<Self, Misuse> {
        let client = Client::new(provider, credentials, settings, env)?;
        Self::start(client, settings, buffers, env)
    }

    /// Starts a handshake that takes part in resumption; see
    /// [`ClientHandshake::resuming`](crate::ClientHandshake::resuming).
    ///
    /// # Errors
    ///
    /// Those of [`Self::new`].
    pub fn resuming(
        provider: P,
        credentials: C,
        settings: Settings,
        session: Option<ResumableSession>,
        buffers: Buffers<B>,
        env: &mut Env<'_>,
    ) -> Result<Self, Misuse> {
        let client = Client::new(provider, credentials, settings, env)?.resuming(
            Protocol::Tls,
            session,
            env,
        );
        Self::start(client, settings, buffers, env)
    }

    fn start(
        client: Client<P, C>,
        settings: Settings,
        buffers: Buffers<B>,
        env: &Env<'_>,
    ) -> Result<Self, Misuse> {
        let needed = Buffers::<B>::client_len(&settings, &client.credentials)
            .saturating_add(client.ticket_len());
        let Buffers { incoming, outgoing } = buffers.checked(needed)?;
        let mut outgoing = TlsOutgoing::new(outgoing);
        let state = client.start(&mut outgoing)?;
        let deadline = env.now + settings.timers.deadline;
        Ok(Self {
            machine: TlsMachine::new(incoming, outgoing, state, client, deadline),
        })
    }

    /// Takes in the first record of `bytes`; see
    /// [`SecureStream::handle_bytes`](hedgerow_core::SecureStream::handle_bytes).
    ///
    /// After [`Event::Established`](hedgerow_core::Event::Established), [`Self::into_session`] has
    /// the session, to which the rest of the bytes belongs.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Peer`] where the server broke the protocol or sent a fatal alert. What
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
    /// [`PeerFault::CredentialsRefused`](hedgerow_core::PeerFault::CredentialsRefused) if
    /// credentials were just shown, [`PeerFault::Truncated`](hedgerow_core::PeerFault::Truncated)
    /// before.
    pub fn handle_end(&mut self) -> Result<(), ChannelError> {
        self.machine.handle_end()
    }

    /// Gives the handshake up if its deadline has come.
    ///
    /// # Errors
    ///
    /// [`PeerFault::HandshakeTimeout`](hedgerow_core::PeerFault::HandshakeTimeout) if the server
    /// never came as far as asking for credentials,
    /// [`PeerFault::CredentialsRefused`](hedgerow_core::PeerFault::CredentialsRefused) if it has
    /// been silent since.
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
    pub const fn state(&self) -> ClientState {
        match self.machine.phase() {
            Phase::Early(expect) => expect.state(false),
            Phase::ExpectNewSessionTicket(_) => ClientState::ExpectNewSessionTicket,
            Phase::ExpectChangeCipherSpec(_) => ClientState::ExpectChangeCipherSpec,
            Phase::ExpectFinished(_) => ClientState::ExpectFinished,
            Phase::Established(_) => ClientState::Established,
            Phase::Failed => ClientState::Failed,
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

    /// Returns the session and the buffers once the handshake is over and everything is sent;
    /// `None` before.
    pub fn into_session(self) -> Option<TlsEstablished<P, B>> {
        let (mut established, client, _, session) = self.machine.into_session()?;
        established.resumable = client.into_resumable(session);
        Some(established)
    }
}
