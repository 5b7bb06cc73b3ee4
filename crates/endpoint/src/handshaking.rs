//! A handshake under way, of either role.

use alloc::boxed::Box;
use alloc::vec;

use hedgerow_core::{
    ChannelError, ClientCredentials, CryptoProvider, Env, Instant, Received, ServerCredentials,
};
use hedgerow_handshake::{
    Buffers, CachedSession, ClientHandshake, ClientState, Exporter, ResumableSession, SentTicket,
    ServerHandshake, Session, SessionId, Settings,
};
use hedgerow_record::ConnectionId;

use crate::AssociationId;
use crate::security_policy::Permitted;

/// A handshake's two buffers, which live as long as it does.
pub(crate) type Buffer = Box<[u8]>;

/// A handshake under way.
///
/// It stands beside the association, if there is one already: the session before it goes on until
/// the new one is established.
pub(crate) enum Handshaking<P: CryptoProvider, S, K> {
    Client {
        machine: Box<ClientHandshake<P, Permitted<K>, Buffer>>,
        association: AssociationId,
    },
    Server(Box<ServerHandshake<P, Permitted<S>, Buffer>>),
}

/// A handshake in its table.
pub(crate) struct Entry<P: CryptoProvider, S, K> {
    pub(crate) handshake: Handshaking<P, S, K>,
    /// The connection ID that it has named; empty for none.
    pub(crate) connection_id: ConnectionId,
    /// The time under which the timers have it.
    pub(crate) armed: Option<Instant>,
    /// Whether it stands in the queue of those that may have something to send.
    pub(crate) is_queued: bool,
    /// Until when it is held before it commits the peer to it.
    pub(crate) held_until: Option<Instant>,
    /// Whether it replaces keys near their limits, so that a sign of life doesn't make it needless.
    pub(crate) renews_keys: bool,
}

impl<P: CryptoProvider, S: ServerCredentials, K: ClientCredentials> Handshaking<P, S, K> {
    pub(crate) fn handle_datagram<'d>(
        &mut self,
        env: &mut Env<'_>,
        datagram: &'d mut [u8],
    ) -> Result<Received<'d>, ChannelError> {
        match self {
            Self::Client { machine, .. } => machine.handle_datagram(env, datagram),
            Self::Server(machine) => machine.handle_datagram(env, datagram),
        }
    }

    pub(crate) fn handle_timeout(&mut self, env: &mut Env<'_>) -> Result<(), ChannelError> {
        match self {
            Self::Client { machine, .. } => machine.handle_timeout(env),
            Self::Server(machine) => machine.handle_timeout(env),
        }
    }

    pub(crate) fn poll_transmit(
        &mut self,
        env: &mut Env<'_>,
        out: &mut [u8],
    ) -> Result<Option<usize>, ChannelError> {
        match self {
            Self::Client { machine, .. } => machine.poll_transmit(env, out),
            Self::Server(machine) => machine.poll_transmit(env, out),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Client { machine, .. } => machine.poll_timeout(),
            Self::Server(machine) => machine.poll_timeout(),
        }
    }

    /// Returns the association that a client's handshake belongs to.
    pub(crate) const fn association(&self) -> Option<AssociationId> {
        match self {
            Self::Client { association, .. } => Some(*association),
            Self::Server(_) => None,
        }
    }

    /// Says whether what it sends next is a Finished, which ends the peer's old session
    /// (RFC 6347 §4.2.8).
    pub(crate) const fn is_committing(&self) -> bool {
        match self {
            Self::Client { machine, .. } => match machine.state() {
                ClientState::ExpectChangeCipherSpec | ClientState::ExpectFinished => true,
                // Behind the own Finished, unless the server's comes first.
                ClientState::ExpectNewSessionTicket => !machine.is_resuming(),
                _ => false,
            },
            Self::Server(_) => false,
        }
    }

    /// Takes back that the last record didn't verify.
    pub(crate) fn forgive(&mut self) {
        match self {
            Self::Client { machine, .. } => machine.forgive(),
            Self::Server(machine) => machine.forgive(),
        }
    }

    /// Takes note of what the path carries, in bytes.
    pub(crate) fn limit_datagrams(&mut self, len: usize) {
        match self {
            Self::Client { machine, .. } => machine.limit_datagrams(len),
            Self::Server(machine) => machine.limit_datagrams(len),
        }
    }

    /// Says whether the peer's Finished, which is awaited, would end the peer's old session at once:
    /// where a session is resumed, there is nothing between it and the own one.
    pub(crate) const fn is_resuming(&self) -> bool {
        match self {
            Self::Client { machine, .. } => {
                // Ahead of a new ticket it would be held, and count with the ticket.
                let takes_finished = matches!(
                    machine.state(),
                    ClientState::ExpectNewSessionTicket | ClientState::ExpectFinished
                );
                machine.is_resuming() && takes_finished
            }
            Self::Server(_) => false,
        }
    }

    /// Returns the session that a client's handshake has offered, where nothing has answered that.
    pub(crate) fn into_unanswered(self) -> Option<ResumableSession> {
        match self {
            Self::Client { machine, .. } => machine.into_unanswered(),
            Self::Server(_) => None,
        }
    }

    /// Returns the session of a handshake that is over, and what stays of it.
    pub(crate) fn into_session(self) -> Option<Over<P>> {
        let established = match self {
            Self::Client { machine, .. } => machine.into_session()?,
            Self::Server(machine) => machine.into_session()?,
        };
        Some(Over {
            session: Box::new(established.session),
            ticket: established.ticket.map(Box::new),
            resumable: established.resumable,
            cacheable: established.cacheable,
            session_id: established.session_id,
            is_resumed: established.is_resumed,
            datagram_len: established.datagram_len,
            exporter: established.exporter,
        })
    }
}

/// What a handshake ends in.
pub(crate) struct Over<P: CryptoProvider> {
    pub(crate) session: Box<Session<P::Aead>>,
    /// What a server's last flight carries.
    pub(crate) ticket: Option<Box<SentTicket>>,
    /// What a client can resume the session by.
    pub(crate) resumable: Option<ResumableSession>,
    /// What a server keeps of it.
    pub(crate) cacheable: Option<CachedSession>,
    /// Under which ID a server may have it; empty for none.
    pub(crate) session_id: SessionId,
    pub(crate) is_resumed: bool,
    /// What the flights were packed into, in bytes.
    pub(crate) datagram_len: usize,
    /// To be dropped once something was exported.
    pub(crate) exporter: Exporter<P>,
}

/// Makes buffers of a length that the handshake has asked for.
pub(crate) fn buffers(len: usize) -> Buffers<Buffer> {
    Buffers {
        incoming: vec![0; len].into(),
        outgoing: vec![0; len].into(),
    }
}

/// Makes the buffers of a client that may resume: with room for the ticket that it offers, and for a
/// server's that is longer than those that are kept. A handshake with a message above that fails.
pub(crate) fn resuming_buffers<K: ClientCredentials>(
    settings: &Settings,
    credentials: &K,
    session: Option<&ResumableSession>,
) -> Buffers<Buffer> {
    let ticket_len = session.map_or(0, |session| session.ticket().len());
    let len = Buffers::<Buffer>::client_len(settings, credentials).saturating_add(ticket_len);
    buffers(len.max(ROOM_FOR_A_TICKET))
}

const ROOM_FOR_A_TICKET: usize = 2_048;
