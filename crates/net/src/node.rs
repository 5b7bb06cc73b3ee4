//! The handle of a node.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hedgerow_core::{Peer, PeerId, ServerCredentials};
use hedgerow_endpoint::Endpoint;
use hedgerow_record::CipherSuite;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tracing::{debug, warn};

use crate::carrier::Carrier;
use crate::clock::{Clock, os_random};
use crate::driver::{Driver, NodeEndpoint};
use crate::handler::NoResources;
use crate::inside::Inside;
use crate::itls_sessions::KeptFor;
use crate::legs::{QueuedStream, StreamTo};
use crate::link::{DatagramLink, OuterLink};
use crate::path::{Path, Remote};
use crate::provider::with_key_log;
use crate::shared::{AbandonOnDrop, Command, QueuedRequest, RequestKey, Shared, Waiting};
use crate::socket::NodeSocket;
use crate::{
    Credentials, Handler, IncomingStream, InnerSession, KeyStore, LegStream, NodeConfig,
    RequestFailure, RequestMessage, ResponseMessage, Statistics, StreamOffer, Target,
};

/// A CoAP node: one UDP socket, and a task that drives everything behind it.
///
/// This is a handle; clones of it are the same node. The node shuts down in order when
/// [`Self::close`] is called or its last handle is dropped.
#[derive(Clone, Debug)]
pub struct Node {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    commands: mpsc::Sender<Command>,
    places: Arc<Semaphore>,
    max_requests: usize,
    last_key: AtomicU64,
    shared: Arc<Shared>,
    /// Streams that peers have opened and nobody has taken.
    incoming: Mutex<mpsc::Receiver<IncomingStream>>,
    local: SocketAddr,
}

impl Node {
    /// Binds a node that sends requests and accepts no peer. What a server asks of it over the
    /// association is answered with 4.04.
    ///
    /// The port 0 takes a free one; the wildcard address of IPv6 stands for IPv4 too. It has to run
    /// within a tokio runtime with I/O and time.
    ///
    /// # Errors
    ///
    /// Those of the system when it makes and binds the socket.
    pub async fn bind_client(local: SocketAddr, config: NodeConfig) -> io::Result<Self> {
        let socket = NodeSocket::bind(local)?;
        let endpoint = Endpoint::client(
            with_key_log(config.key_log.clone()),
            KeyStore::new(),
            own_events(&config),
        );
        let carrier = Carrier::Socket(socket);
        Ok(Self::start(
            carrier,
            endpoint,
            Clock::start(),
            config,
            NoResources,
        ))
    }

    /// Makes a node whose datagrams a link carries. Peers are accepted inside an outer session alone.
    pub(crate) fn over<S, H>(link: DatagramLink, config: NodeConfig, store: S, handler: H) -> Self
    where
        S: ServerCredentials + Clone + Send + 'static,
        H: Handler,
    {
        let mut endpoint = Endpoint::client(
            with_key_log(config.key_log.clone()),
            store,
            own_events(&config),
        );
        if let Some(outer) = link.outer()
            && let Err(error) =
                endpoint.open_outer_stream(Path::to(Remote::Linked), outer.stream.clone())
        {
            // Without it nothing can be asked, and each request says so.
            debug!(%error, "link carries no outer session");
        }
        let clock = match link.outer() {
            Some(outer) => {
                let sessions = outer.sessions.take(&kept_for(outer, &config));
                endpoint.give_inner_sessions(sessions);
                outer.sessions.clock()
            }
            None => Clock::start(),
        };
        let carrier = Carrier::Link(link);
        Self::start(carrier, endpoint, clock, config, handler)
    }

    /// Binds a node that accepts peers whose keys `store` has, gives their requests to `handler`,
    /// and sends requests too.
    ///
    /// `store` is cloned for each handshake; see [`KeyStore`].
    ///
    /// # Errors
    ///
    /// As [`Self::bind_client`].
    pub async fn bind_server<S, H>(
        local: SocketAddr,
        config: NodeConfig,
        store: S,
        handler: H,
    ) -> io::Result<Self>
    where
        S: ServerCredentials + Clone + Send + 'static,
        H: Handler,
    {
        let socket = NodeSocket::bind(local)?;
        let clock = Clock::start();
        let mut rng = os_random();
        let mut env = clock.env(&mut rng);
        let endpoint = Endpoint::server(
            with_key_log(config.key_log.clone()),
            store,
            own_events(&config),
            &mut env,
        );
        let carrier = Carrier::Socket(socket);
        Ok(Self::start(carrier, endpoint, clock, config, handler))
    }

    /// Binds a node that gives the requests of **whoever asks, in clear**, to `handler`: nobody proves who
    /// it is, and whoever is on the path reads and changes everything (NoSec, RFC 7252 §9). It sends
    /// requests too.
    ///
    /// A peer is answered once it has shown that it receives at its address, by an Echo option
    /// (RFC 9175 §2.3). Peers in clear and secured ones need a node each, with a port each.
    ///
    /// # Errors
    ///
    /// As [`Self::bind_client`]; [`io::ErrorKind::InvalidInput`] unless the configuration's
    /// [`SecurityPolicy`](hedgerow_endpoint::SecurityPolicy) permits NoSec.
    pub async fn bind_server_without_security<H>(
        local: SocketAddr,
        config: NodeConfig,
        handler: H,
    ) -> io::Result<Self>
    where
        H: Handler,
    {
        let socket = NodeSocket::bind(local)?;
        let clock = Clock::start();
        let mut rng = os_random();
        let mut env = clock.env(&mut rng);
        let endpoint = Endpoint::server_without_security(
            with_key_log(config.key_log.clone()),
            KeyStore::new(),
            own_events(&config),
            &mut env,
        )
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        warn!(address = %socket.local_addr(), mode = "nosec", "serving in clear: nothing is kept secret");
        let carrier = Carrier::Socket(socket);
        Ok(Self::start(carrier, endpoint, clock, config, handler))
    }

    fn start<S, H>(
        carrier: Carrier,
        endpoint: NodeEndpoint<S>,
        clock: Clock,
        config: NodeConfig,
        handler: H,
    ) -> Self
    where
        S: ServerCredentials + Clone + Send + 'static,
        H: Handler,
    {
        let max_requests = config.max_requests.clamp(1, Semaphore::MAX_PERMITS / 2);
        let (sender, commands) = mpsc::channel(max_requests.saturating_add(SPARE_COMMANDS));
        let shared = Arc::new(Shared::default());
        let local = match &carrier {
            Carrier::Socket(socket) => socket.local_addr(),
            // Nobody asks: its handle has no such method.
            Carrier::Link(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        };
        let (accepted, incoming) = mpsc::channel(MAX_INCOMING);
        let driver = Driver::new(
            carrier,
            endpoint,
            clock,
            &config,
            handler,
            shared.clone(),
            accepted,
        );
        tokio::spawn(driver.run(commands));
        Self {
            inner: Arc::new(Inner {
                commands: sender,
                places: Arc::new(Semaphore::new(max_requests)),
                max_requests,
                last_key: AtomicU64::new(0),
                shared,
                incoming: Mutex::new(incoming),
                local,
            }),
        }
    }

    /// Sends a request and waits for the whole response.
    ///
    /// The association with the target is begun if there is none. Dropping the future cancels the
    /// request. Its time is bounded by the configuration's timers alone: wrap it in
    /// [`tokio::time::timeout`] for less.
    ///
    /// # Errors
    ///
    /// Each [`RequestFailure`] has its condition.
    pub async fn request(
        &self,
        target: &Target,
        request: RequestMessage,
    ) -> Result<ResponseMessage, RequestFailure> {
        let remote = Remote::to(target.address);
        self.request_to(remote, target.credentials.clone(), request)
            .await
    }

    pub(crate) async fn request_to(
        &self,
        remote: Remote,
        credentials: Option<Arc<Credentials>>,
        request: RequestMessage,
    ) -> Result<ResponseMessage, RequestFailure> {
        self.queue_request(remote, credentials, None, request).await
    }

    pub(crate) async fn queue_request(
        &self,
        remote: Remote,
        credentials: Option<Arc<Credentials>>,
        inside: Option<Inside>,
        request: RequestMessage,
    ) -> Result<ResponseMessage, RequestFailure> {
        let inner = &*self.inner;
        let too_many = RequestFailure::TooManyRequests {
            max: inner.max_requests,
        };
        let place = Arc::clone(&inner.places);
        let place = place.try_acquire_owned().map_err(|_| too_many)?;
        let key = RequestKey(inner.last_key.fetch_add(1, Ordering::Relaxed));
        let (answer, response) = oneshot::channel();
        let waiting = Waiting { key, answer, place };
        let command = Command::Request(Box::new(QueuedRequest {
            remote,
            credentials,
            inside,
            message: request,
            waiting,
        }));
        inner
            .commands
            .try_send(command)
            .map_err(|error| match error {
                TrySendError::Full(_) => too_many,
                TrySendError::Closed(_) => RequestFailure::NodeStopped,
            })?;
        let mut guard = AbandonOnDrop {
            signals: &inner.shared.signals,
            key: Some(key),
        };
        let outcome = response.await;
        guard.key = None;
        outcome.unwrap_or(Err(RequestFailure::NodeStopped))
    }

    /// Opens a stream to the other end of a hop, inside the session with the target, which is begun if there
    /// is none. It returns at once: whether the other end takes the stream shows when it is read.
    ///
    /// # Errors
    ///
    /// [`RequestFailure::ServiceName`]; [`RequestFailure::Refused`] if the node has no legs, the target is in
    /// clear, or a table is full; others as [`Self::request`].
    pub async fn open_stream(
        &self,
        target: &Target,
        offer: StreamOffer,
    ) -> Result<LegStream, RequestFailure> {
        let to = StreamTo::Called {
            remote: Remote::to(target.address),
            credentials: target.credentials.clone(),
        };
        self.queue_stream(to, offer).await
    }

    /// Opens a stream to a peer that has begun its session with this node itself, wherever it is, in the newest of its
    /// sessions. A key that several have is nobody's here.
    ///
    /// # Errors
    ///
    /// [`RequestFailure::NoSession`]; others as [`Self::open_stream`].
    pub async fn open_stream_to_caller(
        &self,
        peer: PeerId,
        offer: StreamOffer,
    ) -> Result<LegStream, RequestFailure> {
        self.queue_stream(StreamTo::Caller(peer), offer).await
    }

    async fn queue_stream(
        &self,
        to: StreamTo,
        offer: StreamOffer,
    ) -> Result<LegStream, RequestFailure> {
        let (answer, opened) = oneshot::channel();
        let command = Command::OpenStream(Box::new(QueuedStream { to, offer, answer }));
        let sent = self.inner.commands.send(command).await;
        sent.map_err(|_| RequestFailure::NodeStopped)?;
        opened.await.unwrap_or(Err(RequestFailure::NodeStopped))
    }

    /// Waits for the next stream that a peer opens; `None` once the node is closed. A few wait to be
    /// taken; what comes beyond is refused.
    pub async fn accept_stream(&self) -> Option<IncomingStream> {
        self.inner.incoming.lock().await.recv().await
    }

    /// Gives the task something to do, unless its queue is full.
    pub(crate) fn try_command(&self, command: Command) -> Result<(), RequestFailure> {
        let sent = self.inner.commands.try_send(command);
        sent.map_err(|error| match error {
            TrySendError::Full(_) => RequestFailure::TooManyRequests {
                max: self.inner.max_requests,
            },
            TrySendError::Closed(_) => RequestFailure::NodeStopped,
        })
    }

    /// Closes the association with the server at `address` in order; requests to it end with
    /// [`RequestFailure::Closed`]. It says whether there was one.
    ///
    /// The next request begins anew, so that new credentials count at once.
    pub async fn disconnect(&self, address: SocketAddr) -> bool {
        let (done, outcome) = oneshot::channel();
        let command = Command::Disconnect {
            target: Remote::to(address),
            done,
        };
        if self.inner.commands.send(command).await.is_err() {
            return false;
        }
        outcome.await.unwrap_or(false)
    }

    /// Returns the suite that protects the session with the peer at `address`: `None` if there is
    /// no session, or nothing protects it.
    pub async fn suite(&self, address: SocketAddr) -> Option<CipherSuite> {
        let session = self.session(Remote::to(address)).await;
        session.map(|(suite, _)| suite)
    }

    /// Returns who is at the other end of the session with `address`, as it has proved: `None` if there
    /// is no session.
    pub async fn peer(&self, address: SocketAddr) -> Option<Peer> {
        let session = self.session(Remote::to(address)).await;
        session.map(|(_, peer)| peer)
    }

    pub(crate) async fn inner_session(&self, remote: Remote) -> Option<InnerSession> {
        let (answer, session) = oneshot::channel();
        let command = Command::InnerSession { remote, answer };
        self.inner.commands.send(command).await.ok()?;
        session.await.ok().flatten()
    }

    pub(crate) async fn session(&self, remote: Remote) -> Option<(CipherSuite, Peer)> {
        let (answer, session) = oneshot::channel();
        let command = Command::Session { remote, answer };
        self.inner.commands.send(command).await.ok()?;
        session.await.ok().flatten()
    }

    /// Returns the address of the node's socket.
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.local
    }

    /// Returns the node's counters.
    pub fn statistics(&self) -> Statistics {
        let free = self.inner.places.available_permits();
        let requests = self.inner.max_requests.saturating_sub(free);
        self.inner.shared.counters.snapshot(requests)
    }

    /// Closes all associations in order and waits until that is done, or the time that the
    /// configuration gives it is over.
    ///
    /// Requests under way end with [`RequestFailure::NodeStopped`], running handlers are dropped.
    pub async fn close(&self) {
        self.inner.shared.signals.stop();
        self.inner.commands.closed().await;
    }
}

/// Says whose inner sessions a node has. Without any of its own it has none to resume.
pub(crate) fn kept_for(outer: &OuterLink, config: &NodeConfig) -> KeptFor {
    let inner = config.endpoint.inner;
    KeptFor {
        device: outer.stream.name.clone(),
        requires_forward_secrecy: inner
            .is_none_or(|inner| inner.settings.requires_forward_secrecy()),
    }
}

/// Events are fetched after every call; a bound on them could only lose some.
fn own_events(config: &NodeConfig) -> hedgerow_endpoint::Config {
    hedgerow_endpoint::Config {
        max_events: usize::MAX,
        ..config.endpoint.clone()
    }
}

/// Streams that wait to be taken.
const MAX_INCOMING: usize = 16;

/// Commands beside requests that wait at the same time; who comes later waits too.
const SPARE_COMMANDS: usize = 16;
