//! The server's side of a DTLS handshake, from a verified cookie on.
//!
//! The flights are drawn in the client's module. A server that can't go on with a client's
//! identity, because it doesn't know it or policy forbids it, goes on with a dummy key: each step
//! is then the same as for a key that differs, until the deadline ends it with one alert.

use hedgerow_core::{
    ChannelError, CryptoProvider, Env, Instant, Misuse, Received, ServerCredentials,
};
use hedgerow_record::{Alert, Random};

use crate::dtls_incoming::DtlsIncoming;
use crate::dtls_machine::DtlsMachine;
use crate::dtls_outgoing::DtlsOutgoing;
use crate::key_schedule::ConnectionEnd;
use crate::phase::Phase;
use crate::server::{Expect, Hello, Refusal, Server};
use crate::{
    AcceptedHello, Buffers, CachedSession, Established, ServerResumption, ServerState, Settings,
};

/// A server's handshake with one client that has proved its address.
///
/// `S` finds the client's key once it has named itself, or has the server's certificate and says
/// which ones it takes; `B` is a buffer of the caller's, of the
/// length that [`Buffers`] names.
pub struct ServerHandshake<P: CryptoProvider, S, B> {
    machine: DtlsMachine<P, Server<P, S>, Expect<P>, B>,
    client_random: Random,
}

impl<P, S, B> ServerHandshake<P, S, B>
where
    P: CryptoProvider,
    S: ServerCredentials,
    B: AsRef<[u8]> + AsMut<[u8]>,
{
    /// Answers a ClientHello that an [`Acceptor`](crate::Acceptor) has accepted; its first flight
    /// is there to be sent.
    ///
    /// `settings` are the acceptor's, but for the connection ID: that is this handshake's own.
    ///
    /// # Errors
    ///
    /// [`Misuse::BufferTooSmall`] if a buffer is shorter than [`Buffers`] asks for,
    /// [`Misuse::NotOffered`] if the hello was accepted with other credentials than these.
    pub fn new(
        provider: P,
        credentials: S,
        settings: Settings,
        hello: AcceptedHello<P>,
        buffers: Buffers<B>,
        env: &mut Env<'_>,
    ) -> Result<Self, Misuse> {
        let server = Server::new(provider, credentials, settings, env);
        Self::answer(server, settings, hello, buffers, env)
    }

    /// Does what [`Self::new`] does for a server that takes part in resumption (RFC 5077, RFC 5246
    /// §7.3): the handshake resumes what `resumption` has or opens, if it still may be, and makes a new
    /// session resumable.
    ///
    /// A hello that offers a session and doesn't fit it leaves the handshake [`ServerState::Failed`],
    /// with an alert to be sent (RFC 7627 §5.3).
    ///
    /// # Errors
    ///
    /// Those of [`Self::new`].
    pub fn resuming(
        provider: P,
        credentials: S,
        settings: Settings,
        resumption: ServerResumption,
        hello: AcceptedHello<P>,
        buffers: Buffers<B>,
        env: &mut Env<'_>,
    ) -> Result<Self, Misuse> {
        let server = Server::new(provider, credentials, settings, env).resuming(Some(resumption));
        Self::answer(server, settings, hello, buffers, env)
    }

    fn answer(
        mut server: Server<P, S>,
        settings: Settings,
        hello: AcceptedHello<P>,
        buffers: Buffers<B>,
        env: &mut Env<'_>,
    ) -> Result<Self, Misuse> {
        let needed = hello.buffer_len(&settings, &server.credentials);
        let Buffers { incoming, outgoing } = buffers.checked(needed)?;
        let AcceptedHello {
            transcript,
            client_random,
            negotiated,
            message_seq,
            record_number,
            server_name,
            offer,
        } = hello;
        let server_name = server_name.as_name();
        // MUST (RFC 6347 §4.2.1): the ServerHello's record takes up the ClientHello's number.
        let mut outgoing = DtlsOutgoing::new(
            &settings,
            outgoing,
            record_number.sequence_number(),
            // RFC 6347 §4.2.2: the HelloVerifyRequest had the first hello's number, so the
            // ServerHello has the second one's.
            message_seq,
            env.now,
        );
        let answered = Hello {
            transcript,
            client_random,
            negotiated: &negotiated,
            server_name,
            offer: &offer,
        };
        let phase = match server.answer_hello(env, &mut outgoing, answered) {
            Ok(phase) => phase,
            Err(Refusal::Misuse(misuse)) => return Err(misuse),
            Err(Refusal::Alert(description)) => {
                outgoing.set_alert(Alert::fatal(description));
                Phase::Failed
            }
        };
        let mut incoming = DtlsIncoming::new(
            incoming,
            message_seq.saturating_add(1),
            ConnectionEnd::Server,
        );
        if phase.is_abbreviated() {
            incoming = incoming.expecting_finished();
        }
        Ok(Self {
            machine: DtlsMachine::new(
                incoming,
                outgoing,
                phase,
                server,
                settings.connection_id_len(),
            ),
            client_random,
        })
    }

    /// Returns the random bytes of the ClientHello that this handshake answers.
    pub const fn client_random(&self) -> &Random {
        &self.client_random
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
    /// state takes only whole.
    pub fn limit_datagrams(&mut self, len: usize) {
        self.machine.limit_datagrams(len);
    }

    /// Returns when [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
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

    /// Returns the session, which has the last flight to send, and the buffers once the handshake
    /// is over; `None` before.
    pub fn into_session(self) -> Option<Established<P, B>> {
        let (mut established, _, session_id, session) = self.machine.into_session()?;
        established.cacheable = CachedSession::of(session_id, session);
        established.session_id = session_id;
        Some(established)
    }
}
