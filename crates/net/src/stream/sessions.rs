//! The sessions of connections over streams, shared by the tasks of a client or a server.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hedgerow_core::{Env, Instant, ServerCredentials};
use hedgerow_endpoint::{ClientSessions, ServerSessions};
use hedgerow_handshake::{ResumableSession, ServerResumption, SessionId};
use tokio::time::sleep_until;

use crate::clock::{Clock, os_random};
use crate::credentials::NamedCredentials;
use crate::stream::connection::Machine;

/// What a client can resume.
pub(crate) type OfClient = Arc<Mutex<ClientSessions<SocketAddr, NamedCredentials>>>;

/// What a server resumes.
pub(crate) type OfServer = Arc<Mutex<ServerSessions>>;

/// A connection's part in resumption.
pub(crate) enum Sessions {
    None,
    Client {
        sessions: OfClient,
        credentials: NamedCredentials,
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

    /// Keeps what the established session leaves to be resumed by. It has to run within a runtime.
    pub(crate) fn keep<S: ServerCredentials>(&self, machine: &mut Machine<S>, clock: Clock) {
        match self {
            Self::None => {}
            Self::Client {
                sessions,
                credentials,
                address,
            } => {
                if let Some(session) = machine.take_resumable() {
                    let mut kept = lock(sessions);
                    let is_first = kept.poll_timeout().is_none();
                    kept.keep(*address, credentials.clone(), session);
                    drop(kept);
                    if is_first {
                        forget_in_time(sessions, clock, |sessions, clock| {
                            sessions.handle_timeout(clock.now());
                            sessions.poll_timeout()
                        });
                    }
                }
            }
            Self::Server(sessions) => {
                if let Some(session) = machine.take_cacheable() {
                    lock(sessions).keep(session);
                }
            }
        }
    }

    /// Forgets the session of a connection that was ended by a fault. `id` is what a server may have it
    /// under.
    pub(crate) fn forget(&self, id: &SessionId) {
        match self {
            Self::None => {}
            Self::Client {
                sessions, address, ..
            } => lock(sessions).forget(address),
            // MUST (RFC 5246 §7.2.2): after a fatal alert, the server forgets the session's ID.
            Self::Server(sessions) => lock(sessions).forget(id),
        }
    }
}

/// Takes out what can be offered to a server; `None` where the client takes no part.
pub(crate) fn take(
    sessions: &OfClient,
    address: SocketAddr,
    credentials: &NamedCredentials,
) -> Option<Option<ResumableSession>> {
    let mut sessions = lock(sessions);
    let is_on = sessions.is_on();
    is_on.then(|| sessions.take(address, credentials))
}

/// Takes what one handshake of a server needs.
pub(crate) fn lease(sessions: &OfServer, env: &mut Env<'_>) -> ServerResumption {
    lock(sessions).lease(None, env)
}

/// Has a server's keys and sessions forgotten at their time, whether or not anybody connects.
pub(crate) fn forget_in_time_of_server(sessions: &OfServer, clock: Clock) {
    forget_in_time(sessions, clock, |sessions, clock| {
        let mut rng = os_random();
        sessions.handle_timeout(&mut clock.env(&mut rng));
        Some(sessions.poll_timeout())
    });
}

/// Runs `handle_timeout` when it is due, as long as there are sessions and it says when that is next.
fn forget_in_time<T: Send + 'static>(
    sessions: &Arc<Mutex<T>>,
    clock: Clock,
    handle_timeout: impl Fn(&mut T, Clock) -> Option<Instant> + Send + 'static,
) {
    let sessions = Arc::downgrade(sessions);
    tokio::spawn(async move {
        loop {
            let Some(due) = sessions
                .upgrade()
                .and_then(|sessions| handle_timeout(&mut lock(&sessions), clock))
            else {
                return;
            };
            // What is kept later may be due earlier.
            let latest = clock.now() + TICK;
            sleep_until(clock.wake_at(due.min(latest))).await;
        }
    });
}

/// How much longer than its time a session may be kept.
const TICK: Duration = Duration::from_secs(60);

/// Whoever panicked with the lock has changed nothing by halves.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_done_until_nothing_is_left() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let left = Arc::new(Mutex::new(3_u8));
            forget_in_time(&left, Clock::start(), |left, clock| {
                *left -= 1;
                (*left > 0).then(|| clock.now())
            });
            let all = async {
                while *lock(&left) > 0 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(TICK, all).await.unwrap();
        });
    }
}
