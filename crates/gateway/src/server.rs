//! Listening, and the connections that come of it.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hedgerow_core::{Peer, PeerId};
use hedgerow_net::{KeyStore, TlsStream};
use http::header::CONNECTION;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::pin;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use crate::config::HttpsPsk;
use crate::http_places::HttpPlaces;
use crate::progress::{Activity, Overdue, RequestGuard, hold};
use crate::service::{Asker, Front, Service};

/// One bound listener.
pub(crate) struct Server {
    pub(crate) listener: TcpListener,
    pub(crate) security: Protection,
    pub(crate) front: Arc<Front>,
    pub(crate) service: Arc<Service>,
    pub(crate) places: Arc<HttpPlaces>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// What protects the connections of a listener.
#[derive(Clone)]
pub(crate) enum Protection {
    None,
    /// The gateway's certificate; clients prove nothing.
    Certificate(TlsAcceptor),
    /// The clients' pre-shared keys, which prove both ends.
    Psk(KeyStore),
}

impl Server {
    /// Serves until it is told to stop, and then as long as requests under way may take.
    pub(crate) async fn run(self) {
        let mut connections = JoinSet::new();
        let begin = |stream, from, connections: &mut _| self.connect(stream, from, connections);
        accept_until_stopped(&self.listener, &self.stop, &mut connections, begin).await;
        drop(self.listener);
        let all = async { while connections.join_next().await.is_some() {} };
        if timeout(self.service.timeouts.shutdown, all).await.is_err() {
            connections.shutdown().await;
        }
    }

    fn connect(&self, stream: TcpStream, from: SocketAddr, connections: &mut JoinSet<()>) {
        let place = match self.places.enter(from.ip()) {
            Ok(place) => place,
            Err(reason) => return debug!(%from, %reason, "connection closed"),
        };
        let connection = Connection {
            security: self.security.clone(),
            front: Arc::clone(&self.front),
            service: Arc::clone(&self.service),
            client: from.ip(),
            psk_client: None,
            stop: self.stop.clone(),
        };
        connections.spawn(async move {
            let _place = place;
            if let Err(error) = connection.serve(stream).await {
                debug!(%from, %error, "connection ended");
            }
        });
    }
}

struct Connection {
    security: Protection,
    front: Arc<Front>,
    service: Arc<Service>,
    client: IpAddr,
    psk_client: Option<PeerId>,
    stop: watch::Receiver<bool>,
}

impl Connection {
    async fn serve(mut self, stream: TcpStream) -> io::Result<()> {
        // Answers are written whole, so waiting for more to send only delays them.
        stream.set_nodelay(true)?;
        match &self.security {
            Protection::None => self.serve_http1(stream).await,
            Protection::Certificate(tls) => {
                let stream = self.in_time(tls.accept(stream)).await?;
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                if is_http2 {
                    self.serve_http2(stream).await
                } else {
                    self.serve_http1(stream).await
                }
            }
            Protection::Psk(keys) => {
                // Each client has a key of its own: that is the least by default.
                let policy = Arc::default();
                let accepted = TlsStream::accept(stream, keys, HttpsPsk::settings(), &policy);
                let stream = self.in_time(accepted).await?;
                debug!(
                    client = %self.client,
                    peer = ?stream.peer(),
                    suite = stream.suite().map(tracing::field::display),
                    mode = "tls-psk",
                    "client proved itself"
                );
                self.psk_client = match stream.peer() {
                    Peer::Psk(client) => Some(client),
                    _ => None,
                };
                self.serve_http1(stream).await
            }
        }
    }

    /// Waits for a handshake as long as for a request's head.
    async fn in_time<S>(&self, accepted: impl Future<Output = io::Result<S>>) -> io::Result<S> {
        let accepted = timeout(self.service.timeouts.head, accepted).await;
        accepted.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn serve_http1<S>(&self, stream: S) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = Arc::new(Activity::new());
        let tunnels = TunnelTasks::default();
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.service.timeouts.head)
            .max_buf_size(MAX_HEAD_LEN)
            .max_headers(MAX_FIELDS)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(|request| self.answer(activity.request(), &tunnels, request)),
            )
            .with_upgrades();
        let outcome = self.drive(connection, &activity).await;
        // However the connection ended, its tunnels end by themselves then, and say so.
        tunnels.ended().await;
        outcome
    }

    async fn serve_http2<S>(&self, stream: S) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let activity = Arc::new(Activity::new());
        let tunnels = TunnelTasks::default();
        let mut builder = http2::Builder::new(TokioExecutor::new());
        if self.service.tunnels.are_offered() {
            // RFC 8441 §3: a client may ask for tunnels only where it was told so.
            builder.enable_connect_protocol();
        }
        let connection = builder
            .timer(TokioTimer::new())
            .max_send_buf_size(MAX_SEND_BUFFER_LEN)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_LIST_LEN)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(|request| self.answer(activity.request(), &tunnels, request)),
            );
        let outcome = self.drive(connection, &activity).await;
        // However the connection ended, its tunnels end by themselves then, and say so.
        tunnels.ended().await;
        outcome
    }

    /// Answers a request in a task of its own or not, as the version of HTTP has it. The body owns
    /// the guard, so that the request isn't over before its answer has been read.
    fn answer(
        &self,
        guard: RequestGuard,
        tunnels: &TunnelTasks,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send + use<> {
        let (front, service) = (Arc::clone(&self.front), Arc::clone(&self.service));
        let asker = Asker {
            client: self.client,
            psk_client: self.psk_client,
            is_fresh: guard.is_fresh(),
        };
        let (tunnels, stop) = (tunnels.clone(), self.stop.clone());
        async move {
            let (answer, tunnel) = service.answer(&front, asker, request).await;
            if let Some(tunnel) = tunnel {
                // The connection is kept for the tunnel as for a request without an answer.
                tunnels.spawn(async move {
                    tunnel.run(stop).await;
                    drop(guard);
                });
                return Ok(answer.map(Full::new));
            }
            // HTTP/2 has no field for it, and its connection ends all the same.
            if answer.headers().contains_key(CONNECTION) {
                guard.end_connection();
            }
            let guard = guard.answered();
            Ok(answer.map(|body| Full::new(hold(body, guard))))
        }
    }

    /// Drives a connection until it ends, nothing is asked for too long, an answer isn't read, or
    /// the gateway stops. What has been begun may end then, unless nobody reads it.
    async fn drive<C>(&self, connection: C, activity: &Activity) -> io::Result<()>
    where
        C: Closing,
    {
        pin!(connection);
        let mut stop = self.stop.clone();
        let timeouts = self.service.timeouts;
        let (mut is_closing, mut is_stopping) = (false, false);
        loop {
            tokio::select! {
                outcome = connection.as_mut() => return outcome.map_err(io::Error::other),
                () = activity.ended(), if !is_closing => {}
                () = stopped(&mut stop), if !is_stopping => {
                    is_stopping = true;
                    activity.begin_anew();
                }
                overdue = activity.overdue(timeouts.head, timeouts.answer) => {
                    if is_closing || overdue == Overdue::Reader {
                        return Err(io::Error::from(io::ErrorKind::TimedOut));
                    }
                }
            }
            is_closing = true;
            connection.as_mut().graceful_shutdown();
        }
    }
}

/// A connection that can be told to end once what it has begun is over.
trait Closing: Future<Output = hyper::Result<()>> {
    fn graceful_shutdown(self: Pin<&mut Self>);
}

impl<I, S, B> Closing for http1::UpgradeableConnection<I, S>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        Self::graceful_shutdown(self);
    }
}

impl<I, S, B, E> Closing for http2::Connection<I, S, E>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        Self::graceful_shutdown(self);
    }
}

/// The tunnels of one connection, which end with it at the latest.
#[derive(Clone, Default)]
struct TunnelTasks(Arc<Mutex<JoinSet<()>>>);

impl TunnelTasks {
    fn spawn(&self, tunnel: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(tunnel);
    }

    async fn ended(self) {
        let mut tasks = {
            let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *tasks)
        };
        while tasks.join_next().await.is_some() {}
    }
}

/// Waits until the gateway stops, in order or because nobody holds it any more.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Gives each connection that comes to `begin`, with the tasks that serve them, until the gateway stops.
/// Tasks that have ended are taken out meanwhile; those left at the end are the caller's.
pub(crate) async fn accept_until_stopped(
    listener: &TcpListener,
    stop: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
    begin: impl Fn(TcpStream, SocketAddr, &mut JoinSet<()>),
) {
    let mut stop = stop.clone();
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => begin(stream, from, tasks),
                Err(error) => {
                    // Out of file descriptors: accepting again at once would only spin.
                    debug!(%error, "connection not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// How long nothing is accepted after an error.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The longest head of an HTTP/1.1 request, in bytes.
const MAX_HEAD_LEN: usize = 16 * 1_024;

/// The most fields of a request's head.
const MAX_FIELDS: usize = 64;

/// The longest head of an HTTP/2 request, in bytes as RFC 9113 §6.5.2 counts them.
const MAX_HEADER_LIST_LEN: u32 = 16 * 1_024;

/// The most of one HTTP/2 stream that waits to be sent, in bytes.
const MAX_SEND_BUFFER_LEN: usize = 64 << 10;

/// The most requests under way on one HTTP/2 connection.
const MAX_STREAMS: u32 = 32;

#[cfg(test)]
mod tests;
