//! The client's side of a DTLS handshake.
//!
//! ```text
//! Client                                   Server          timer
//! ClientHello                 -------->                    client's, flight 1
//!                             <--------    HelloVerifyRequest   none: stateless
//! ClientHello (cookie)        -------->                    client's, flight 3
//!                                          ServerHello
//!                                          Certificate*
//!                                          [ServerKeyExchange]
//!                                          CertificateRequest*
//!                             <--------    ServerHelloDone server's, flight 4
//! Certificate*
//! ClientKeyExchange
//! CertificateVerify*
//! [ChangeCipherSpec]
//! Finished                    -------->                    client's, flight 5
//!                                          [ChangeCipherSpec]
//!                             <--------    Finished        none: sent again on request
//! ```
//!
//! \* only where the server signs (RFC 8422 §2); what it doesn't request isn't sent.
//!
//! A server that asks for no cookie answers the first ClientHello with its ServerHello.
//!
//! Where the server issues a ticket, NewSessionTicket comes before its ChangeCipherSpec (RFC 5077
//! §3.1). Where it resumes a session, its Finished comes first (RFC 5246 §7.3), and the client's is the
//! flight that is sent again on request (RFC 6347 §4.2.4):
//!
//! ```text
//! ClientHello (cookie)        -------->                    client's, flight 3
//!                                          ServerHello
//!                                          [NewSessionTicket]
//!                                          [ChangeCipherSpec]
//!                             <--------    Finished        server's, flight 4
//! [ChangeCipherSpec]
//! Finished                    -------->                    none: sent again on request
//! ```

use hedgerow_core::{
    ChannelError, ClientCredentials, CryptoProvider, Env, Instant, Misuse, Received,
};
use hedgerow_record::Protocol;

use crate::client::{Client, Expect};
use crate::dtls_incoming::DtlsIncoming;
use crate::dtls_machine::DtlsMachine;
use crate::dtls_outgoing::DtlsOutgoing;
use crate::key_schedule::ConnectionEnd;
use crate::phase::Phase;
use crate::{Buffers, ClientState, Established, ResumableSession, Settings};

/// A client's handshake with one server.
///
/// `C` gives what the client shows once the server has spoken, pre-shared key or certificate; `B` is
/// a buffer of the caller's, of the length that [`Buffers`] names.
pub struct ClientHandshake<P: CryptoProvider, C, B> {
    machine: DtlsMachine<P, Client<P, C>, Expect<P>, B>,
}

impl<P, C, B> ClientHandshake<P, C, B>
where
    P: CryptoProvider,
    C: ClientCredentials,
    B: AsRef<[u8]> + AsMut<[u8]>,
{
    /// Starts a handshake; its first flight is there to be sent.
    ///
    /// # Errors
    ///
    /// [`Misuse::BufferTooSmall`] if a buffer is shorter than [`Buffers`] asks for,
    /// [`Misuse::PskIdentityLength`] for an identity longer than 128 bytes, [`Misuse::NotOffered`]
    /// if the settings name no suite that provider and credentials can do.
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

    /// Starts a handshake that takes part in resumption (RFC 5077, RFC 5246 §7.3): it offers `session`,
    /// if there is one and it still fits credentials, settings and time, and the
    /// [`Established`] one brings what it can be resumed by in its turn, unless the server doesn't
    /// take part. The server may answer with a full handshake in any case.
    ///
    /// The buffers have to be longer by the ticket; and a ticket isn't offered where the ClientHello
    /// might not fit a datagram with it.
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
            Protocol::Dtls,
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
        let mut outgoing = DtlsOutgoing::new(&settings, outgoing, 0, 0, env.now);
        let state = client.start(&mut outgoing)?;
        Ok(Self {
            machine: DtlsMachine::new(
                DtlsIncoming::new(incoming, 0, ConnectionEnd::Client),
                outgoing,
                Phase::Early(state),
                client,
                settings.connection_id_len(),
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

    /// Sends the flight again, or gives the handshake up. A first ClientHello with a ticket that nothing has
    /// answered twice goes on without it: the path may drop what is long without a word.
    ///
    /// # Errors
    ///
    /// [`PeerFault::HandshakeTimeout`](hedgerow_core::PeerFault::HandshakeTimeout) if the server
    /// never came as far as asking for credentials,
    /// [`PeerFault::CredentialsRefused`](hedgerow_core::PeerFault::CredentialsRefused) if it has
    /// been silent since.
    pub fn handle_timeout(&mut self, env: &mut Env<'_>) -> Result<(), ChannelError> {
        self.machine.handle_timeout(env.now)?;
        if self.machine.outgoing().has_lost_long_client_hello() {
            self.withdraw_ticket()?;
        }
        Ok(())
    }

    /// Takes the ticket out of a first ClientHello that seems to be too long for the path. Behind a
    /// HelloVerifyRequest the server may know it already and be under way with it.
    fn withdraw_ticket(&mut self) -> Result<(), Misuse> {
        if self.machine.role.ticket_len() == 0 || self.machine.role.has_cookie() {
            return Ok(());
        }
        self.machine
            .start_again(|client, outgoing| client.start_without_ticket(outgoing))
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

    /// Takes back that the last record didn't verify: it has verified under the session that this handshake
    /// runs beside, so that it counts as no forgery here.
    pub fn forgive(&mut self) {
        self.machine.forgive();
    }

    /// Takes note that the path carries no datagram above `len` bytes, as a refusal to send one or a
    /// router's message has it. A flight in longer ones is there to be sent anew, fragmented as
    /// it takes (RFC 6347 §4.1.1.1); its messages keep their numbers, its records get new ones.
    ///
    /// Nothing goes below [`MIN_DATAGRAM_LEN`](crate::MIN_DATAGRAM_LEN), and what is known stays known
    /// until the handshake is over. A handshake also finds out by itself: a flight that is lost
    /// repeatedly is packed into smaller datagrams, but for a ClientHello, which a server without
    /// state takes only whole: it goes without its ticket.
    pub fn limit_datagrams(&mut self, len: usize) {
        if self.machine.outgoing().has_longer_client_hello(len) {
            // A hello that is made once more, and shorter, fits its buffer.
            let withdrawn = self.withdraw_ticket();
            debug_assert!(withdrawn.is_ok());
        }
        self.machine.limit_datagrams(len);
    }

    /// Returns when [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.machine.poll_timeout()
    }

    /// Says whether the server resumes the session that was offered.
    pub const fn is_resuming(&self) -> bool {
        self.machine.phase().is_abbreviated()
    }

    /// Returns what the handshake waits for.
    pub const fn state(&self) -> ClientState {
        match self.machine.phase() {
            Phase::Early(expect) => expect.state(self.machine.role.has_cookie()),
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

    /// Gives back the session on offer where the handshake is given up before its ServerHello: the
    /// server may still resume it. `None` from then on.
    pub fn into_unanswered(self) -> Option<ResumableSession> {
        match self.state() {
            ClientState::ExpectServerHello { .. } => self.machine.role.into_offered(),
            _ => None,
        }
    }

    /// Returns the session and the buffers once the handshake is over; `None` before.
    pub fn into_session(self) -> Option<Established<P, B>> {
        let (mut established, client, _, session) = self.machine.into_session()?;
        established.resumable = client.into_resumable(session);
        Some(established)
    }
}
