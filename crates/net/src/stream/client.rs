//! The handle of a client over streams.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use hedgerow_core::{Peer, ServerName};
use hedgerow_endpoint::ClientSessions;
use hedgerow_record::CipherSuite;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use crate::clock::{Clock, os_random};
use crate::credentials::NamedCredentials;
use crate::handler::NoResources;
use crate::handlers::{Handlers, handler_places};
use crate::mode_label::{TLS, intended};
use crate::path::canonical;
use crate::shared::{AbandonOnDrop, RequestKey, Waiting};
use crate::statistics::count;
use crate::stream::connection::{Admission, Connection, Link, Machine, Parts, Side};
use crate::stream::requests::{NOT_SENT, Queued};
use crate::stream::sessions::{self, OfClient, Sessions};
use crate::stream::statistics::StreamCounters;
use crate::stream::table::{Table, whole_seconds};
use crate::stream::{StreamConfig, StreamStatistics};
use crate::{KeyStore, RequestFailure, RequestMessage, ResponseMessage, Target};

/// A CoAP client over TCP (`coap+tcp`) and TLS (`coaps+tcp`), RFC 8323.
///
/// It opens a connection for each target address and credentials when the first request comes, uses it
/// again for the next ones, and closes it after a while without any. This is a handle; clones of it are
/// the same client. Its connections end in order when [`Self::close`] is called or its last handle is
/// dropped.
#[derive(Clone, Debug)]
pub struct StreamClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    max_requests: usize,
    last_key: AtomicU64,
}

/// What a client and its tasks share.
#[derive(Debug)]
struct Shared {
    config: Arc<StreamConfig>,
    table: Table,
    counters: Arc<StreamCounters>,
    connections: Arc<Semaphore>,
    handlers: Arc<Semaphore>,
    clock: Clock,
    sessions: OfClient,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.table.close();
    }
}

impl StreamClient {
    /// Makes a client without a connection. What a server asks of it is answered with 4.04.
    ///
    /// Requests have to be made within a tokio runtime with I/O and time.
    pub fn new(config: StreamConfig) -> Self {
        let max_requests = config.max_requests.clamp(1, Semaphore::MAX_PERMITS / 2);
        let max_connections = config.max_connections.clamp(1, MAX_CONNECTIONS);
        let max_sessions = config.resumption.max_client_sessions;
        let shared = Shared {
            handlers: handler_places(config.max_handlers),
            config: Arc::new(StreamConfig {
                max_connections,
                ..config
            }),
            table: Table::default(),
            counters: Arc::default(),
            connections: Arc::new(Semaphore::new(max_connections)),
            clock: Clock::start(),
            sessions: Arc::new(Mutex::new(ClientSessions::new(max_sessions))),
        };
        Self {
            inner: Arc::new(Inner {
                shared: Arc::new(shared),
                places: Arc::new(Semaphore::new(max_requests)),
                max_requests,
                last_key: AtomicU64::new(0),
            }),
        }
    }

    /// Sends a request and waits for the whole response.
    ///
    /// A connection that ended in order before the request went out is replaced by a new one, once.
    /// Dropping the future cancels the request. Its time is bounded by the configuration's timers
    /// alone: wrap it in [`tokio::time::timeout`] for less. Whether the request is confirmable makes no
    /// difference (RFC 8323 §4.2).
    ///
    /// # Errors
    ///
    /// Each [`RequestFailure`] has its condition.
    pub async fn request(
        &self,
        target: &Target,
        request: RequestMessage,
    ) -> Result<ResponseMessage, RequestFailure> {
        let target = Target {
            address: canonical(target.address),
            credentials: target.credentials.clone(),
        };
        let ip = target.address.ip();
        if target.address.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
            let address = target.address;
            return Err(RequestFailure::UnusableAddress { address });
        }
        let message = Arc::new(request);
        self.hold_off(&target).await?;
        match self.try_request(&target, &message).await {
            // Its end, or that the server wants no other, came in between.
            Err(NOT_SENT | RequestFailure::HeldOff { .. }) => {
                self.hold_off(&target).await?;
                self.try_request(&target, &message).await
            }
            outcome => outcome,
        }
    }

    /// Waits until a server wants to be connected to again, if that isn't longer than a connection may
    /// take.
    ///
    /// RFC 8323 §5.5: Hold-Off asks the peer not to connect again for so long.
    async fn hold_off(&self, target: &Target) -> Result<(), RequestFailure> {
        let shared = &self.inner.shared;
        let Some(left) = shared.table.held_off(target, shared.clock.now()) else {
            return Ok(());
        };
        if left > shared.config.connect_timeout {
            let seconds = whole_seconds(left);
            return Err(RequestFailure::HeldOff { seconds });
        }
        sleep(left).await;
        Ok(())
    }

    async fn try_request(
        &self,
        target: &Target,
        message: &Arc<RequestMessage>,
    ) -> Result<ResponseMessage, RequestFailure> {
        let inner = &*self.inner;
        let too_many = RequestFailure::TooManyRequests {
            max: inner.max_requests,
        };
        let place = Arc::clone(&inner.places);
        let place = place.try_acquire_owned().map_err(|_| too_many)?;
        let shared = &inner.shared;
        let max = shared.config.max_connections;
        let open = |id, link, commands| {
            let opening = Opening {
                id,
                target: target.clone(),
                link,
                shared: Arc::clone(shared),
            };
            tokio::spawn(opening.run(commands));
        };
        let key = RequestKey(inner.last_key.fetch_add(1, Ordering::Relaxed));
        let (answer, response) = oneshot::channel();
        let queued = Queued {
            message: Arc::clone(message),
            waiting: Waiting { key, answer, place },
        };
        let in_use = shared.table.submit(
            target,
            shared.clock.now(),
            queued,
            max,
            inner.max_requests,
            open,
        )?;
        let mut guard = AbandonOnDrop {
            signals: &in_use.handle.link.signals,
            key: Some(key),
        };
        let outcome = response.await;
        guard.key = None;
        outcome.unwrap_or(Err(RequestFailure::NodeStopped))
    }

    /// Returns the suite that protects the connection to a target: `None` if there is no connection, or
    /// nothing protects it.
    pub fn suite(&self, target: &Target) -> Option<CipherSuite> {
        let target = Target {
            address: canonical(target.address),
            credentials: target.credentials.clone(),
        };
        let link = self.inner.shared.table.link(&target)?;
        link.session.get().map(|&(suite, _)| suite)
    }

    /// Returns who is at the other end of the connection to a target, as it has proved: `None` if there
    /// is no connection, or nothing protects it.
    pub fn peer(&self, target: &Target) -> Option<Peer> {
        let link = self.inner.shared.table.link(target)?;
        link.session.get().map(|&(_, peer)| peer)
    }

    /// Returns the client's counters.
    pub fn statistics(&self) -> StreamStatistics {
        let free = self.inner.places.available_permits();
        let requests = self.inner.max_requests.saturating_sub(free);
        self.inner.shared.counters.snapshot(requests)
    }

    /// Closes all connections in order and waits until that is done, or the time that the configuration
    /// gives it is over. Requests under way end with [`RequestFailure::NodeStopped`], and so do later
    /// ones.
    pub async fn close(&self) {
        let shared = &self.inner.shared;
        shared.table.close();
        // Every connection has a place until its end.
        let all = u32::try_from(shared.config.max_connections).unwrap_or(u32::MAX);
        let _ = shared.connections.acquire_many(all).await;
    }
}

/// A connection that is to be opened.
struct Opening {
    id: u64,
    target: Target,
    link: Arc<Link>,
    shared: Arc<Shared>,
}

impl Opening {
    async fn run(self, mut commands: mpsc::Receiver<Queued>) {
        let remote = self.target.address;
        let opened = tokio::select! {
            opened = self.open() => opened,
            () = self.stopped() => Err(RequestFailure::NodeStopped),
        };
        match opened {
            Ok(connection) => {
                let retire = || {
                    if let Some(seconds) = self.link.hold_off.get() {
                        let now = self.shared.clock.now();
                        self.shared.table.hold_off(remote, now, *seconds);
                    }
                    self.shared.table.retire(self.id);
                };
                connection.run(Some(commands), retire).await;
            }
            Err(failure) => {
                self.shared.table.retire(self.id);
                count(&self.shared.counters.failed);
                info!(%remote, %failure, "connection failed");
                commands.close();
                while let Some(queued) = commands.recv().await {
                    queued.waiting.end(Err(failure));
                }
            }
        }
    }

    async fn stopped(&self) {
        while !self.link.signals.is_stopping() {
            self.link.signals.woken().await;
        }
    }

    async fn open(&self) -> Result<Connection<KeyStore, NoResources>, RequestFailure> {
        let shared = &self.shared;
        // Nothing is connected for what policy forbids.
        let policy = &shared.config.endpoint.security;
        policy
            .check_credentials(self.target.credentials.as_deref())
            .map_err(hedgerow_endpoint::Error::from)?;
        if let Some(name) = &shared.config.server_name {
            ServerName::new(name).map_err(hedgerow_endpoint::Error::from)?;
        }
        let opened = async {
            // One that was closed to make room for this one may still be there.
            let place = Arc::clone(&shared.connections).acquire_owned().await;
            let place = place.map_err(|_| RequestFailure::NodeStopped)?;
            let stream = TcpStream::connect(self.target.address)
                .await
                .map_err(|error| RequestFailure::Connect { kind: error.kind() })?;
            Ok::<_, RequestFailure>((place, stream))
        };
        let opened = timeout(shared.config.connect_timeout, opened).await;
        let (place, stream) = opened.map_err(|_| RequestFailure::ConnectTimeout)??;
        // Each write is a whole message or more: there is nothing to wait for.
        let _ = stream.set_nodelay(true);
        self.connection(place, stream)
    }

    fn connection(
        &self,
        place: OwnedSemaphorePermit,
        stream: TcpStream,
    ) -> Result<Connection<KeyStore, NoResources>, RequestFailure> {
        let shared = &self.shared;
        let (clock, mut rng) = (shared.clock, os_random());
        let mut env = clock.env(&mut rng);
        let remote: SocketAddr = self.target.address;
        let config = hedgerow_endpoint::StreamConfig {
            requires_protocol_name: shared.config.protocol_name.is_required(remote.port()),
            ..shared.config.endpoint.clone()
        };
        let named = |credentials| NamedCredentials {
            credentials,
            name: shared.config.server_name.clone(),
        };
        let credentials = self.target.credentials.clone().map(named);
        if let Some(NamedCredentials { credentials, .. }) = &credentials {
            debug!(
                %remote,
                psk_identity = credentials.psk_identity().map(|id| display(id.escape_ascii())),
                mode = intended(TLS, credentials),
                "connection begun"
            );
        } else {
            debug!(%remote, mode = "nosec", "connection begun");
        }
        let provider = shared.config.provider();
        let offered = credentials
            .as_ref()
            .and_then(|credentials| sessions::take(&shared.sessions, remote, credentials));
        let (machine, sessions) = match (credentials, offered) {
            (Some(credentials), Some(session)) => (
                Machine::client_resuming(provider, credentials.clone(), &config, session, &mut env),
                Sessions::Client {
                    sessions: Arc::clone(&shared.sessions),
                    credentials,
                    address: remote,
                },
            ),
            (credentials, _) => (
                Machine::client(provider, credentials, &config, &mut env),
                Sessions::None,
            ),
        };
        let machine: Machine<KeyStore> = machine.map_err(hedgerow_endpoint::Error::from)?;
        Ok(Connection::new(Parts {
            stream,
            remote,
            machine,
            side: Side::Client,
            admission: Admission {
                handshake: None,
                _share: None,
                held: Some(place),
                places: Arc::clone(&shared.connections),
            },
            handlers: Handlers::new(Arc::new(NoResources), Arc::clone(&shared.handlers)),
            link: Arc::clone(&self.link),
            counters: Arc::clone(&shared.counters),
            clock,
            config: Arc::clone(&shared.config),
            sessions,
        }))
    }
}

/// More than a host has descriptors for.
const MAX_CONNECTIONS: usize = 1 << 24;
