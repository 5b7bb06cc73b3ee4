//! The task of one connection: its socket, its machine, and who waits for what.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use hedgerow_core::{Instant, Peer, SecurityMode, ServerCredentials};
use hedgerow_endpoint::{StreamConnection, StreamEvent};
use hedgerow_exchange::{Event, IncomingRequest, OutgoingRequest, Received};
use hedgerow_record::CipherSuite;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::sleep_until;
use tracing::{debug, info, trace};

use crate::clock::{Clock, os_random};
use crate::credentials::NamedCredentials;
use crate::handlers::Handlers;
use crate::mode_label::{TLS, label};
use crate::shared::{Signals, Waiting};
use crate::statistics::count;
use crate::stream::StreamConfig;
use crate::stream::ending::Ending;
use crate::stream::progress::Progress;
use crate::stream::requests::Queued;
use crate::stream::sessions::Sessions;
use crate::stream::statistics::StreamCounters;
use crate::stream::transfer::MAX_BACKLOG;
use crate::{Handler, RequestMessage, Requester, ServerRequest, Share};

/// A connection's machine.
pub(crate) type Machine<S> = StreamConnection<crate::provider::NodeCrypto, S, NamedCredentials>;

/// What a connection's task shares with those who use it.
#[derive(Debug, Default)]
pub(crate) struct Link {
    pub(crate) signals: Signals,
    /// The suite and who is there, once TLS is established.
    pub(crate) session: OnceLock<(CipherSuite, Peer)>,
    /// For how many seconds the peer, which has released, wants no other connection.
    pub(crate) hold_off: OnceLock<u32>,
}

/// Which end opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// The places that a connection takes among all of its kind.
pub(crate) struct Admission {
    /// Until it is established; with the share of its source.
    pub(crate) handshake: Option<(OwnedSemaphorePermit, Share)>,
    /// The share of its source, which is held to the end.
    pub(crate) _share: Option<Share>,
    /// From then on.
    pub(crate) held: Option<OwnedSemaphorePermit>,
    pub(crate) places: Arc<Semaphore>,
}

/// What a connection is made of.
pub(crate) struct Parts<S, H> {
    pub(crate) stream: TcpStream,
    pub(crate) remote: SocketAddr,
    pub(crate) machine: Machine<S>,
    pub(crate) side: Side,
    pub(crate) admission: Admission,
    pub(crate) handlers: Handlers<H, IncomingRequest>,
    pub(crate) link: Arc<Link>,
    pub(crate) counters: Arc<StreamCounters>,
    pub(crate) clock: Clock,
    pub(crate) config: Arc<StreamConfig>,
    pub(crate) sessions: Sessions,
}

/// Moves bytes between a socket and a machine, and messages to whoever waits for them.
pub(crate) struct Connection<S, H> {
    pub(super) parts: Parts<S, H>,
    pub(super) waiting: BTreeMap<OutgoingRequest, Waiting>,
    /// Room for one message in clear.
    pub(super) message: Vec<u8>,
    /// What waits to be written, and how much of it has been.
    pub(super) out: Vec<u8>,
    pub(super) written: usize,
    pub(super) last_used: Instant,
    pub(super) progress: Progress,
    pub(super) is_established: bool,
    /// Whether anything was asked over it, by either end.
    pub(super) has_been_asked: bool,
    /// Whether the peer, or the system, has ended the stream.
    pub(super) is_at_end: bool,
    /// Since when an end from this side is under way.
    pub(super) stopping_since: Option<Instant>,
    pub(super) ending: Ending,
}

impl<S, H> Connection<S, H>
where
    S: ServerCredentials,
    H: Handler,
{
    pub(crate) fn new(parts: Parts<S, H>) -> Self {
        parts.counters.connections.fetch_add(1, Ordering::Relaxed);
        let now = parts.clock.now();
        Self {
            parts,
            waiting: BTreeMap::new(),
            message: Vec::new(),
            out: Vec::new(),
            written: 0,
            last_used: now,
            progress: Progress::begin(now),
            is_established: false,
            has_been_asked: false,
            is_at_end: false,
            stopping_since: None,
            ending: Ending::default(),
        }
    }

    /// Runs until the connection has ended; `commands` are the requests of this end. `retire` is called
    /// once it takes no more of them.
    pub(crate) async fn run(
        mut self,
        mut commands: Option<mpsc::Receiver<Queued>>,
        retire: impl Fn(),
    ) {
        loop {
            if self.parts.link.signals.is_stopping() {
                self.stop();
            }
            self.renew_keys();
            self.advance();
            self.write();
            if !self.parts.machine.accepts_requests() || self.is_over() {
                retire();
                if let Some(commands) = &mut commands {
                    commands.close();
                }
            }
            if self.is_over() {
                break;
            }
            let due = self.poll_timeout();
            let wake_at = self.parts.clock.wake_at(due.unwrap_or_default());
            let (wants_bytes, has_output) = (self.wants_bytes(), self.has_output());
            tokio::select! {
                _ = self.parts.stream.readable(), if wants_bytes => self.read(),
                _ = self.parts.stream.writable(), if has_output => {}
                queued = next(&mut commands) => match queued {
                    Some(queued) => self.request(queued),
                    // Closed, and every request that was in it is taken.
                    None => commands = None,
                },
                answered = self.parts.handlers.next(), if !self.parts.handlers.is_empty() => {
                    let mut answered = answered;
                    while let Some((asked, response)) = answered {
                        self.respond(asked, &response);
                        answered = self.parts.handlers.next_ended();
                    }
                    self.last_used = self.parts.clock.now();
                }
                () = self.parts.link.signals.woken() => {
                    self.cancel_abandoned();
                }
                () = sleep_until(wake_at), if due.is_some() => self.handle_timeout(),
            }
        }
        // What nobody has seen the end of by now came after it.
        self.end_waiting();
        if let Some(commands) = &mut commands {
            while let Some(queued) = commands.recv().await {
                self.request(queued);
            }
        }
        self.finish().await;
    }

    /// Ends the connection in order when its keys come near their limit. A client's next request opens
    /// another one, and what is under way ends first.
    fn renew_keys(&mut self) {
        let machine = &mut self.parts.machine;
        if self.is_established && machine.accepts_requests() && machine.wants_new_keys() {
            debug!(remote = %self.parts.remote, "keys come near their limit");
            // It takes requests, so that it takes this.
            let _ = machine.release();
        }
    }

    /// Does all that can be done without waiting.
    fn advance(&mut self) {
        loop {
            let before = self.out.len();
            self.take_in();
            while let Some(event) = self.parts.machine.poll_event() {
                self.note(event);
            }
            self.fill();
            if self.out.len() == before {
                break;
            }
        }
    }

    /// Goes through the bytes that have arrived.
    pub(super) fn take_in(&mut self) {
        let mut rng = os_random();
        let mut env = self.parts.clock.env(&mut rng);
        while self.ending.error.is_none() {
            self.establish();
            let parts = &mut self.parts;
            parts.sessions.offer(&mut parts.machine, &env);
            let received = match parts.machine.poll(&mut env) {
                Ok(Some(StreamEvent::Received(received))) => received,
                Ok(Some(_)) => continue,
                Ok(None) => return,
                Err(error) => {
                    parts.sessions.forget(&parts.machine.session_id());
                    self.ending.error = Some(error);
                    return;
                }
            };
            self.last_used = env.now;
            self.has_been_asked |= matches!(
                received,
                Received::Request { .. } | Received::Response { .. }
            );
            match received {
                Received::Request { request, message } => match parts.handlers.reserve() {
                    Some(place) => {
                        let message = RequestMessage::from_message(&message);
                        let peer = parts.machine.peer();
                        let peer = peer.unwrap_or(Peer::Anonymous);
                        let request_of_peer = ServerRequest {
                            requester: match parts.side {
                                Side::Client => Requester::Server(peer),
                                Side::Server => Requester::Client(peer),
                            },
                            from: parts.remote,
                            message,
                        };
                        parts.handlers.start(place, request, request_of_peer);
                    }
                    None => self.refuse(request),
                },
                Received::Response { request, message } => {
                    if let Some(waiting) = self.waiting.remove(&request) {
                        waiting.end(Ok(crate::ResponseMessage::from_message(&message)));
                    }
                }
                Received::Release { release } => {
                    if let Some(seconds) = release.hold_off() {
                        let _ = parts.link.hold_off.set(seconds);
                    }
                    debug!(remote = %parts.remote, "peer releases the connection");
                }
                Received::Abort { abort } => {
                    // The text is the peer's and may be anything.
                    let text = abort.diagnostic();
                    debug!(remote = %parts.remote, ?text, "peer aborts the connection");
                }
                Received::Dropped(reason) => {
                    trace!(remote = %parts.remote, reason = reason.label(), "dropped");
                }
                _ => {}
            }
        }
    }

    fn note(&mut self, event: Event) {
        let remote = self.parts.remote;
        match event {
            Event::RequestFailed { request, error } => {
                let failure = self.failure(error);
                if let Some(waiting) = self.waiting.remove(&request) {
                    waiting.end(Err(failure));
                }
            }
            Event::ResponseFailed { error, .. } => {
                debug!(%remote, %error, "response not delivered");
            }
            Event::PeerUnresponsive { .. } => {
                self.ending.is_unresponsive = true;
                self.parts.machine.abort("no sign of life");
            }
            Event::Closed { reason } => {
                self.ending.reason = Some(reason);
                self.parts.machine.close();
            }
            _ => {}
        }
    }

    /// Asks the machine for what it has to send, as far as the peer takes it.
    fn fill(&mut self) {
        let mut rng = os_random();
        let mut env = self.parts.clock.env(&mut rng);
        while self.backlog() < MAX_BACKLOG {
            let (message, out) = (&mut self.message, &mut self.out);
            let had_none = out.len() == self.written;
            match self.parts.machine.poll_transmit(&mut env, message, out) {
                Ok(true) if had_none => self.progress = Progress::begin(env.now),
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    self.ending.error.get_or_insert(error);
                    return;
                }
            }
        }
    }

    /// Takes note of the end of the handshake and of the peer's CSM.
    fn establish(&mut self) {
        let parts = &mut self.parts;
        if self.is_established || !parts.machine.is_established() {
            return;
        }
        self.is_established = true;
        parts.sessions.keep(&mut parts.machine, parts.clock);
        parts.admission.handshake = None;
        let (remote, peer) = (parts.remote, parts.machine.peer());
        if parts.admission.held.is_none() {
            let place = Arc::clone(&parts.admission.places).try_acquire_owned();
            parts.admission.held = place.ok();
        }
        if parts.admission.held.is_none() {
            count(&parts.counters.refused_connections);
            debug!(%remote, "connection refused: too many");
            return parts.machine.abort("too many connections");
        }
        count(&parts.counters.established);
        let is_resumed = parts.machine.is_resumed();
        if is_resumed {
            count(&parts.counters.resumed);
        }
        let peer = peer.unwrap_or(Peer::Anonymous);
        match parts.machine.suite() {
            Some(suite) => {
                let _ = parts.link.session.set((suite, peer));
                let (mode, security) = (label(TLS, peer), peer.security_mode());
                info!(%remote, ?peer, %suite, is_resumed, mode, %security, "connection established");
            }
            None => {
                let security = SecurityMode::NoSec;
                info!(%remote, ?peer, mode = "nosec", %security, "connection established");
            }
        }
    }
}

impl<S, H> Drop for Connection<S, H> {
    fn drop(&mut self) {
        let connections = &self.parts.counters.connections;
        connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits for the next request, or for ever if there can't be one.
async fn next(commands: &mut Option<mpsc::Receiver<Queued>>) -> Option<Queued> {
    match commands {
        Some(commands) => commands.recv().await,
        None => core::future::pending().await,
    }
}
