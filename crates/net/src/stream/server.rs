//! The handle of a server over streams.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hedgerow_core::{DropReason, ServerCredentials};
use hedgerow_endpoint::ServerSessions;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::clock::{Clock, os_random};
use crate::handlers::{Handlers, handler_places};
use crate::path::canonical;
use crate::shared::Signals;
use crate::statistics::count;
use crate::stream::connection::{Admission, Connection, Link, Machine, Parts, Side};
use crate::stream::sessions::{self, OfServer, Sessions};
use crate::stream::statistics::StreamCounters;
use crate::stream::{StreamConfig, StreamStatistics};
use crate::{Handler, KeyStore, Shares};

/// A CoAP server over TCP (`coap+tcp`) or TLS (`coaps+tcp`), RFC 8323: one listener, and a task for
/// each connection.
///
/// This is a handle; clones of it are the same server. It shuts down in order when [`Self::close`] is
/// called or its last handle is dropped.
#[derive(Clone, Debug)]
pub struct StreamServer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    local: SocketAddr,
    signals: Arc<Signals>,
    counters: Arc<StreamCounters>,
    /// Closed when the listener's task has ended.
    ended: watch::Receiver<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.signals.stop();
    }
}

impl StreamServer {
    /// Listens for clients whose keys `store` has (`coaps+tcp`), and gives their requests to `handler`.
    /// Nobody gets in without TLS.
    ///
    /// `store` is cloned for each handshake; see [`KeyStore`]. The port 0 takes a free one; the wildcard
    /// address of IPv6 stands for IPv4 too. It has to run within a tokio runtime with I/O and time.
    ///
    /// # Errors
    ///
    /// Those of the system when it makes and binds the socket.
    pub async fn bind<S, H>(
        local: SocketAddr,
        config: StreamConfig,
        store: S,
        handler: H,
    ) -> io::Result<Self>
    where
        S: ServerCredentials + Clone + Send + 'static,
        H: Handler,
    {
        Self::start(local, config, Some(store), handler)
    }

    /// Listens for clients in clear (`coap+tcp`, NoSec), and gives their requests to `handler`: whoever
    /// is on the path reads and changes everything, and anybody may ask.
    ///
    /// # Errors
    ///
    /// As [`Self::bind`]; [`io::ErrorKind::InvalidInput`] unless the configuration's
    /// [`SecurityPolicy`](hedgerow_endpoint::SecurityPolicy) permits NoSec.
    pub async fn bind_without_security<H: Handler>(
        local: SocketAddr,
        config: StreamConfig,
        handler: H,
    ) -> io::Result<Self> {
        let policy = &config.endpoint.security;
        policy
            .check_clear_server()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        warn!(%local, mode = "nosec", "server without security");
        Self::start(local, config, None::<KeyStore>, handler)
    }

    fn start<S, H>(
        local: SocketAddr,
        config: StreamConfig,
        store: Option<S>,
        handler: H,
    ) -> io::Result<Self>
    where
        S: ServerCredentials + Clone + Send + 'static,
        H: Handler,
    {
        let listener = listen(local)?;
        let local = listener.local_addr()?;
        let signals = Arc::new(Signals::default());
        let counters = Arc::new(StreamCounters::default());
        let (end, ended) = watch::channel(());
        let places = |max: usize| Arc::new(Semaphore::new(max.clamp(1, Semaphore::MAX_PERMITS)));
        let clock = Clock::start();
        let mut rng = os_random();
        let sessions = ServerSessions::draw(&config.resumption, &mut clock.env(&mut rng))
            .map(|sessions| Arc::new(Mutex::new(sessions)));
        if let Some(sessions) = &sessions {
            sessions::forget_in_time_of_server(sessions, clock);
        }
        let acceptor = Acceptor {
            listener,
            store,
            handler: Arc::new(handler),
            handshakes: places(config.max_handshakes),
            connections: places(config.max_connections),
            handshake_shares: Arc::new(Shares::new(config.max_handshakes_per_source)),
            connection_shares: Arc::new(Shares::new(config.max_connections_per_source)),
            handlers: handler_places(config.max_handlers),
            config: Arc::new(config),
            signals: Arc::clone(&signals),
            counters: Arc::clone(&counters),
            clock,
            sessions,
            tasks: JoinSet::new(),
            links: HashMap::new(),
        };
        tokio::spawn(async move {
            acceptor.run().await;
            drop(end);
        });
        Ok(Self {
            inner: Arc::new(Inner {
                local,
                signals,
                counters,
                ended,
            }),
        })
    }

    /// Returns the address of the listener.
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.local
    }

    /// Returns the server's counters.
    pub fn statistics(&self) -> StreamStatistics {
        self.inner.counters.snapshot(0)
    }

    /// Accepts no more, releases all connections in order and waits until that is done, or the time that
    /// the configuration gives it is over. Running handlers are dropped.
    pub async fn close(&self) {
        self.inner.signals.stop();
        let mut ended = self.inner.ended.clone();
        // It fails once the task has ended, and not before.
        while ended.changed().await.is_ok() {}
    }
}

/// The task that accepts connections.
struct Acceptor<S, H> {
    listener: TcpListener,
    store: Option<S>,
    handler: Arc<H>,
    handshakes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    handshake_shares: Arc<Shares>,
    connection_shares: Arc<Shares>,
    handlers: Arc<Semaphore>,
    config: Arc<StreamConfig>,
    signals: Arc<Signals>,
    counters: Arc<StreamCounters>,
    clock: Clock,
    sessions: Option<OfServer>,
    tasks: JoinSet<()>,
    links: HashMap<Id, Arc<Link>>,
}

impl<S, H> Acceptor<S, H>
where
    S: ServerCredentials + Clone + Send + 'static,
    H: Handler,
{
    async fn run(mut self) {
        while !self.signals.is_stopping() {
            tokio::select! {
                accepted = accept(&self.listener, &self.handshakes) => match accepted {
                    Ok((place, stream, remote)) => self.start(place, stream, canonical(remote)),
                    Err(error) => {
                        debug!(%error, "accepting failed");
                        // Out of descriptors, most likely: some of them come back.
                        sleep(PAUSE).await;
                    }
                },
                ended = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                    self.forget(ended);
                }
                () = self.signals.woken() => {}
            }
        }
        for link in self.links.values() {
            link.signals.stop();
        }
        let limit = self.config.shutdown_timeout.saturating_add(GRACE);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(limit, all).await.is_err() {
            debug!("shutdown cut short");
        }
    }

    fn forget(&mut self, ended: Option<Result<(Id, ()), tokio::task::JoinError>>) {
        let id = match ended {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
            None => return,
        };
        self.links.remove(&id);
    }

    fn start(&mut self, place: OwnedSemaphorePermit, stream: TcpStream, remote: SocketAddr) {
        let mut rng = os_random();
        let mut env = self.clock.env(&mut rng);
        let shares = [&self.handshake_shares, &self.connection_shares];
        let [Some(handshake), Some(share)] = shares.map(|shares| shares.enter(remote.ip())) else {
            count(&self.counters.refused_connections);
            let reason = DropReason::RateLimited.label();
            return debug!(%remote, reason, "connection refused: too many from there");
        };
        let _ = stream.set_nodelay(true);
        let store = self.store.clone();
        let (provider, config) = (self.config.provider(), &self.config.endpoint);
        let machine = match (store, &self.sessions) {
            (Some(store), Some(sessions)) => {
                let resumption = sessions::lease(sessions, &mut env);
                Machine::server_resuming(provider, store, config, resumption, &mut env)
            }
            (store, _) => Machine::server(provider, store, config, &mut env),
        };
        let machine: Machine<S> = match machine {
            Ok(machine) => machine,
            Err(error) => return warn!(%error, "configuration can't be used"),
        };
        let link = Arc::new(Link::default());
        let connection = Connection::new(Parts {
            stream,
            remote,
            machine,
            side: Side::Server,
            admission: Admission {
                handshake: Some((place, handshake)),
                _share: Some(share),
                held: None,
                places: Arc::clone(&self.connections),
            },
            handlers: Handlers::new(Arc::clone(&self.handler), Arc::clone(&self.handlers)),
            link: Arc::clone(&link),
            counters: Arc::clone(&self.counters),
            clock: self.clock,
            config: Arc::clone(&self.config),
            sessions: match &self.sessions {
                Some(sessions) => Sessions::Server(Arc::clone(sessions)),
                None => Sessions::None,
            },
        });
        let task = self.tasks.spawn(connection.run(None, || {}));
        self.links.insert(task.id(), link);
    }
}

/// Accepts a connection once there is a place for its handshake.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(OwnedSemaphorePermit, TcpStream, SocketAddr)> {
    let place = Arc::clone(places).acquire_owned().await;
    let place = place.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
    let (stream, remote) = listener.accept().await?;
    Ok((place, stream, remote))
}

/// Makes a listener. The wildcard address of IPv6 stands for IPv4 too.
fn listen(local: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(local),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if local.is_ipv6() {
        socket.set_only_v6(!local.ip().is_unspecified())?;
    }
    // A port whose last connections linger can be taken again; one that is listened on can't.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&local.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Connections that the system keeps for this end to accept.
const BACKLOG: i32 = 1_024;

/// How long to wait when the system has no connection to give.
const PAUSE: Duration = Duration::from_millis(100);

/// What the sockets may take to close, beyond the time for the connections.
const GRACE: Duration = Duration::from_secs(1);
