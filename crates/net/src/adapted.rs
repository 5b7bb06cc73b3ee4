//! A device's server for unmodified TLS clients, over the streams that a gateway opens: mode `translate`, the device
//! adapts.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_core::{Peer, ServerCredentials};
use hedgerow_endpoint::{
    AdaptedConfig, AdaptedConnection, AdaptedEvent, AdaptedFault, AdaptedRequest,
};
use hedgerow_http::ResourceResponse;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info};

use crate::clock::{Clock, os_random};
use crate::credentials::SharedCredentials;
use crate::handlers::{Handlers, handler_places};
use crate::provider::{NodeCrypto, with_key_log};
use crate::{
    Handler, IncomingStream, LegStream, Node, RequestMessage, Requester, ResetReason,
    ResponseMessage, ServerRequest,
};

/// A device's server for TLS clients that know of no gateway (docs/specs/translate-device.md): each stream that
/// the gateway opens is a TLS connection, with CoAP over TCP or HTTP/1.1 inside.
#[derive(Clone, Debug)]
pub struct AdaptedServer {
    /// Handshakes, CoAP, HTTP, and the device's names.
    pub connections: Arc<AdaptedConfig>,
    /// Connections at the same time; what comes beyond is refused.
    pub max_connections: usize,
    /// Handlers running at the same time, on all connections together. What comes beyond is answered
    /// with 5.03.
    pub max_handlers: usize,
    /// How long a connection is kept on which nothing is read or asked.
    pub idle_timeout: Duration,
    /// How long the gateway may take for what is written at once, and for the end of a stream.
    pub stall_timeout: Duration,
}

impl Default for AdaptedServer {
    /// Four connections, 16 handlers, two minutes of idleness, 30 s of unread bytes.
    fn default() -> Self {
        Self {
            connections: Arc::default(),
            max_connections: 4,
            max_handlers: 16,
            idle_timeout: Duration::from_secs(120),
            stall_timeout: Duration::from_secs(30),
        }
    }
}

impl AdaptedServer {
    /// Serves the clients whose keys `store` has, until `node` is closed. The streams that are opened to the node are
    /// all this server's.
    pub async fn serve<S, H>(self, node: &Node, store: S, handler: H)
    where
        S: ServerCredentials + Clone + Send + Sync + 'static,
        H: Handler,
    {
        let (handler, config) = (Arc::new(handler), Arc::new(self));
        let places = Arc::new(Semaphore::new(
            config.max_connections.min(Semaphore::MAX_PERMITS),
        ));
        let handler_places = handler_places(config.max_handlers);
        let mut connections = JoinSet::new();
        while let Some(incoming) = node.accept_stream().await {
            while connections.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                debug!("stream refused: as many connections as configured");
                incoming.stream.reset(ResetReason::Limit);
                continue;
            };
            let handlers = Handlers::new(Arc::clone(&handler), Arc::clone(&handler_places));
            let (config, store) = (Arc::clone(&config), store.clone());
            connections.spawn(async move {
                let _place = place;
                serve_stream(&config, incoming, store, handlers).await;
            });
        }
    }
}

/// How a connection ended.
enum End {
    /// In order, or after an alert: the stream's direction ends behind what was said.
    Said(Option<AdaptedFault>),
    /// The stream is of no use any more.
    Broken(io::Error),
}

struct Connection<S, H> {
    machine: AdaptedConnection<NodeCrypto, S, SharedCredentials>,
    handlers: Handlers<H, AdaptedRequest>,
    clock: Clock,
    peer: Peer,
    remote: SocketAddr,
}

async fn serve_stream<S, H>(
    config: &AdaptedServer,
    incoming: IncomingStream,
    store: S,
    handlers: Handlers<H, AdaptedRequest>,
) where
    S: ServerCredentials,
    H: Handler,
{
    let clock = Clock::start();
    let machine = {
        let mut rng = os_random();
        let (connections, port) = (Arc::clone(&config.connections), incoming.offer.port);
        let env = &mut clock.env(&mut rng);
        AdaptedConnection::new(with_key_log(None), store, connections, port, env)
    };
    let Ok(machine) = machine else {
        return incoming.stream.reset(ResetReason::Refused);
    };
    let mut connection = Connection {
        machine,
        handlers,
        clock,
        peer: Peer::Anonymous,
        remote: incoming.remote,
    };
    let mut stream = incoming.stream;
    match connection.run(config, &mut stream).await {
        End::Said(fault) => {
            match fault {
                Some(error) => debug!(%error, "connection of a TLS client failed"),
                None => debug!("connection of a TLS client closed"),
            }
            if stream.shutdown().await.is_ok() {
                let _ = timeout(config.stall_timeout, stream.close()).await;
            }
        }
        End::Broken(error) => {
            debug!(%error, "stream of a TLS client broke");
            stream.reset(ResetReason::Application);
        }
    }
}

impl<S: ServerCredentials, H: Handler> Connection<S, H> {
    async fn run(&mut self, config: &AdaptedServer, stream: &mut LegStream) -> End {
        let mut part = [0; READ_LEN];
        let mut last_used = Instant::now();
        loop {
            let fault = self.advance().err();
            let out = match self.fill() {
                Ok(out) => out,
                Err(fault) => return End::Said(Some(fault)),
            };
            if !out.is_empty() {
                match timeout(config.stall_timeout, stream.write_all(&out)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return End::Broken(error),
                    Err(_) => return End::Broken(io::ErrorKind::TimedOut.into()),
                }
            }
            if fault.is_some() || self.machine.is_over() {
                return End::Said(fault);
            }
            if !out.is_empty() {
                // What waited for that may go on.
                continue;
            }
            let due = self.machine.poll_timeout();
            let wake_at = self.clock.wake_at(due.unwrap_or_default());
            let room = self.machine.room().min(READ_LEN);
            let idle_at = last_used.checked_add(config.idle_timeout);
            let idle_at = idle_at.filter(|_| self.handlers.is_empty());
            tokio::select! {
                read = stream.read(part.get_mut(..room).unwrap_or_default()), if room > 0 => match read {
                    Ok(0) => {
                        let ended = self.machine.handle_end();
                        return End::Said(ended.err());
                    }
                    Ok(len) => {
                        last_used = Instant::now();
                        let bytes = part.get(..len).unwrap_or_default();
                        if let Err(fault) = self.machine.push(bytes) {
                            return End::Broken(io::Error::other(fault));
                        }
                    }
                    Err(error) => return End::Broken(error),
                },
                answered = self.handlers.next(), if !self.handlers.is_empty() => {
                    last_used = Instant::now();
                    if let Some((asked, response)) = answered {
                        self.respond(asked, &response);
                    }
                }
                () = sleep_until(wake_at), if due.is_some() => {
                    let mut rng = os_random();
                    let env = &mut self.clock.env(&mut rng);
                    if let Err(fault) = self.machine.handle_timeout(env) {
                        let _ = self.fill();
                        return End::Said(Some(fault));
                    }
                }
                () = sleep_until_some(idle_at) => self.machine.close(),
            }
        }
    }

    /// Goes through what has arrived, and has requests answered.
    fn advance(&mut self) -> Result<(), AdaptedFault> {
        loop {
            let mut rng = os_random();
            let env = &mut self.clock.env(&mut rng);
            match self.machine.poll(env)? {
                None => return Ok(()),
                Some(AdaptedEvent::Established { peer, application }) => {
                    self.peer = peer;
                    let (suite, form) = (self.machine.suite(), self.machine.form());
                    info!(?peer, ?application, ?suite, ?form, "TLS client established");
                }
                Some(AdaptedEvent::Request {
                    request,
                    method,
                    options,
                    payload,
                }) => {
                    let message = RequestMessage {
                        options,
                        payload,
                        ..RequestMessage::new(method)
                    };
                    self.ask(request, message);
                }
                Some(_) => {}
            }
        }
    }

    /// Has a handler answer a request, or answers it with 5.03 where none may start.
    fn ask(&mut self, asked: AdaptedRequest, message: RequestMessage) {
        let Some(place) = self.handlers.reserve() else {
            let busy = ResponseMessage::new(hedgerow_coap::Code::SERVICE_UNAVAILABLE);
            return self.respond(asked, &busy);
        };
        let request = ServerRequest {
            requester: Requester::Client(self.peer),
            from: self.remote,
            message,
        };
        self.handlers.start(place, asked, request);
    }

    fn respond(&mut self, asked: AdaptedRequest, response: &ResponseMessage) {
        let options: Vec<_> = response
            .options
            .iter()
            .map(|(number, value)| (*number, value.as_slice()))
            .collect();
        let response = ResourceResponse {
            code: response.code,
            options: &options,
            payload: &response.payload,
        };
        let mut rng = os_random();
        let env = &mut self.clock.env(&mut rng);
        if let Err(error) = self.machine.respond(env, asked, &response) {
            debug!(%error, "response can't be sent");
        }
    }

    /// Returns all that is to be sent.
    fn fill(&mut self) -> Result<Vec<u8>, AdaptedFault> {
        let mut out = Vec::new();
        let mut rng = os_random();
        let env = &mut self.clock.env(&mut rng);
        while out.len() < MAX_OUT && self.machine.poll_transmit(env, &mut out)? {}
        Ok(out)
    }
}

async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// How much is read at a time, in bytes.
const READ_LEN: usize = 2_048;

/// How much is made ready to be written at once, in bytes, beside one message.
const MAX_OUT: usize = 16 * 1_024;
