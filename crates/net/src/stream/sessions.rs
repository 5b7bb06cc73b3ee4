//! The sessions of connections over streams, shared by the tasks of a client or a server.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hedgerow_core::{Env, ServerCredentials};
use hedgerow_endpoint::{ClientSessions, ServerSessions};
use hedgerow_handshake::{ResumableSession, ServerResumption};

use crate::credentials::SharedCredentials;
use crate::stream::connection::Machine;

/// What a client can resume.
pub(crate) type OfClient = Arc<Mutex<ClientSessions<SocketAddr, SharedCredentials>>>;

/// What a server resumes.
pub(crate) type OfServer = Arc<Mutex<ServerSessions>>;

/// A connection's part in resumption.
pub(crate) enum Sessions {
    None,
    Client {
        sessions: OfClient,
        credentials: SharedCredentials,
        address: SocketAddr,
    },
    Server(OfServer),
}

impl Sessions {
    /// Finds what the ClientHello that has arrived asks for by its ID.
    pub(crate) fn offer<S: ServerCredentials>(&self, machine: &mut Machine<S>, env: &Env<'_>) {
        if let Self::Server(sessions) = self
            && let Some(wanted) = machine.wanted_session()
        {
            let found = lock(sessions).find(&wanted, env.now);
            machine.offer_session(found);
        }
    }

    /// Keeps what the established session leaves to be resumed by.
    pub(crate) fn keep<S: ServerCredentials>(&self, machine: &mut Machine<S>) {
        match self {
            Self::None => {}
            Self::Client {
                sessions,
                credentials,
                address,
            } => {
                if let Some(session) = machine.take_resumable() {
                    lock(sessions).keep(*address, credentials.clone(), session);
                }
            }
            Self::Server(sessions) => {
                if let Some(session) = machine.take_cacheable() {
                    lock(sessions).keep(session);
                }
            }
        }
    }

    /// Forgets the session of a connection that was ended by a fault (RFC 5246 §7.2).
    pub(crate) fn forget(&self) {
        if let Self::Client {
            sessions, address, ..
        } = self
        {
            lock(sessions).forget(address);
        }
    }
}

/// Takes out what can be offered to a server; `None` where the client takes no part.
pub(crate) fn take(
    sessions: &OfClient,
    address: SocketAddr,
    credentials: &SharedCredentials,
) -> Option<Option<ResumableSession>> {
    let mut sessions = lock(sessions);
    let is_on = sessions.is_on();
    is_on.then(|| sessions.take(address, credentials))
}

/// Takes what one handshake of a server needs.
pub(crate) fn lease(sessions: &OfServer, env: &mut Env<'_>) -> ServerResumption {
    lock(sessions).lease(None, env)
}

/// Whoever panicked with the lock has changed nothing by halves.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
