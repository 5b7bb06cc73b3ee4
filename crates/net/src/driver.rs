//! The task that owns a node's carrier and endpoint.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hedgerow_core::ServerCredentials;
use hedgerow_endpoint::{AssociationId, Endpoint, Event};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use tracing::{debug, error, info};

use crate::carrier::{Carrier, ReceiveError, Received, Sent};
use crate::clock::{Clock, os_random};
use crate::credentials::SharedCredentials;
use crate::desk::Desk;
use crate::handlers::{Asked, Handlers, handler_places};
use crate::itls_sessions::KeptFor;
use crate::link::CarrierFailure;
use crate::node::kept_for;
use crate::path::{Path, Remote};
use crate::provider::NodeCrypto;
use crate::shared::{Command, Shared};
use crate::socket::ReceiveBuffers;
use crate::statistics::count;
use crate::{Handler, IncomingStream, NodeConfig, RequestFailure};

/// The endpoint of a node.
pub(crate) type NodeEndpoint<S> = Endpoint<Path, NodeCrypto, S, SharedCredentials>;

/// Moves datagrams between the carrier and the endpoint, and events to whoever waits for them.
pub(crate) struct Driver<S, H> {
    pub(crate) carrier: Carrier,
    pub(crate) endpoint: NodeEndpoint<S>,
    pub(crate) clock: Clock,
    pub(crate) desk: Desk,
    pub(crate) handlers: Handlers<H, Asked>,
    pub(crate) shared: Arc<Shared>,
    /// Where streams go that peers open.
    pub(crate) incoming: mpsc::Sender<IncomingStream>,
    shutdown_timeout: Duration,
    pub(crate) stream_patience: Duration,
    /// Whose inner sessions these are, where the carrier is an outer session.
    sessions_of: Option<KeptFor>,
    pub(crate) out: Vec<u8>,
}

impl<S, H> Driver<S, H>
where
    S: ServerCredentials + Clone,
    H: Handler,
{
    pub(crate) fn new(
        carrier: Carrier,
        endpoint: NodeEndpoint<S>,
        clock: Clock,
        config: &NodeConfig,
        handler: H,
        shared: Arc<Shared>,
        incoming: mpsc::Sender<IncomingStream>,
    ) -> Self {
        let max_message_len = config.endpoint.exchange.max_message_len;
        let max_flight_len = config.endpoint.handshake.max_datagram_len();
        let max_sent_len = max_message_len.saturating_add(MAX_RECORD_OVERHEAD);
        let mut desk = Desk::default();
        if let Carrier::Link(link) = &carrier {
            desk.gateway = link.outer().map(|outer| outer.gateway);
        }
        let sessions_of = match &carrier {
            Carrier::Link(link) => link.outer().map(|outer| kept_for(outer, config)),
            Carrier::Socket(_) => None,
        };
        Self {
            carrier,
            endpoint,
            clock,
            desk,
            handlers: Handlers::new(Arc::new(handler), handler_places(config.max_handlers)),
            shared,
            incoming,
            shutdown_timeout: config.shutdown_timeout,
            stream_patience: config.stream_patience,
            sessions_of,
            out: vec![0; max_sent_len.max(max_flight_len)],
        }
    }

    /// Runs until the node is closed or its last handle is gone.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut buffers = ReceiveBuffers::new();
        let mut errors_in_a_row = 0_u32;
        let mut is_carried = true;
        loop {
            self.flush().await;
            let due = [
                self.endpoint.poll_timeout(),
                self.desk.streams.poll_timeout(),
            ];
            let due = due.into_iter().flatten().min();
            let wake_at = self.clock.wake_at(due.unwrap_or_default());
            tokio::select! {
                received = self.carrier.receive(&mut buffers), if is_carried => match received {
                    Ok(Received::Batch) => {
                        errors_in_a_row = 0;
                        for (meta, datagram) in buffers.datagrams() {
                            let Carrier::Socket(socket) = &self.carrier else {
                                continue;
                            };
                            let (remote, local) = socket.origin(meta);
                            let path = self.desk.path(Remote::At(remote), local);
                            self.handle_datagram(path, datagram).await;
                        }
                    }
                    Ok(Received::Linked(mut datagram)) => {
                        self.handle_datagram(Path::to(Remote::Linked), &mut datagram).await;
                    }
                    // MUST (RFC 6347 §4.1.1.1): what the system would say of a socket of this host's.
                    Ok(Received::Refused(len)) => {
                        self.endpoint.datagram_refused(Path::to(Remote::Linked), len);
                    }
                    Err(ReceiveError::Ended(failure)) => {
                        info!(%failure, "carrier has ended");
                        is_carried = false;
                        self.give_up(failure);
                    }
                    // Where the system reports what came of an earlier datagram, it says nothing
                    // about this one, and nothing that anybody could not forge.
                    Err(ReceiveError::Socket(error)) => {
                        debug!(%error, "receiving failed");
                        errors_in_a_row = errors_in_a_row.saturating_add(1);
                        if errors_in_a_row >= MAX_ERRORS_IN_A_ROW {
                            error!(%error, "socket is unusable");
                            break;
                        }
                    }
                },
                command = commands.recv() => match command {
                    Some(Command::Request(queued)) => self.request(*queued),
                    Some(Command::OpenStream(queued)) => self.open_stream(*queued),
                    Some(Command::HopEvents(reporter)) => self.desk.report_hops(reporter),
                    Some(Command::BeginHop { remote, credentials }) => {
                        self.begin_hop(remote, credentials.as_ref());
                    }
                    Some(Command::Forward(queued)) => self.forward(queued).await,
                    Some(Command::Disconnect { target, done }) => {
                        let is_closed = self.disconnect(target);
                        // Whoever has stopped waiting needs no answer.
                        let _ = done.send(is_closed);
                    }
                    Some(Command::InnerSession { remote, answer }) => {
                        let _ = answer.send(self.desk.inner_session(remote));
                    }
                    Some(Command::Session { remote, answer }) => {
                        let _ = answer.send(self.desk.session(remote));
                    }
                    None => break,
                },
                answered = self.handlers.next(), if !self.handlers.is_empty() => {
                    let mut answered = answered;
                    while let Some((asked, response)) = answered {
                        self.respond(asked, &response);
                        answered = self.handlers.next_ended();
                    }
                }
                () = self.shared.signals.woken() => {
                    if self.shared.signals.is_stopping() {
                        break;
                    }
                    self.cancel_abandoned();
                    self.serve_streams();
                }
                () = sleep_until(wake_at), if due.is_some() => self.handle_timeout(),
            }
        }
        self.handlers.abort();
        if timeout(self.shutdown_timeout, self.close_all())
            .await
            .is_err()
        {
            debug!("shutdown cut short");
        }
        // The queue goes last: whoever waits for the end of the node waits for the end of this.
        drop(commands);
    }

    /// Takes in a datagram, record by record.
    async fn handle_datagram(&mut self, path: Path, datagram: &mut [u8]) {
        count(&self.shared.counters.datagrams_received);
        let mut rest = datagram;
        loop {
            let mut answer = [0; MAX_ANSWER_LEN];
            let (consumed, answer_len) = self.handle_record(path, rest, &mut answer);
            let answer = answer.get(..answer_len).unwrap_or_default();
            if !answer.is_empty() {
                send(&self.carrier, &self.shared, &path, answer).await;
            }
            self.flush().await;
            if consumed == 0 || consumed >= rest.len() {
                return;
            }
            rest = rest.get_mut(consumed..).unwrap_or_default();
        }
    }

    /// Gives the first part of a datagram to the endpoint, and returns the lengths of what it took
    /// and of what it answers.
    fn handle_record(&mut self, path: Path, part: &mut [u8], answer: &mut [u8]) -> (usize, usize) {
        let mut rng = os_random();
        let mut env = self.clock.env(&mut rng);
        let handled = self.endpoint.handle_datagram(&mut env, path, part, answer);
        let (consumed, answer_len) = (handled.consumed, handled.answer);
        let refused = handled.event.and_then(|event| {
            self.desk
                .note(&mut self.handlers, &self.shared.counters, event)
        });
        if let Some(asked) = refused {
            self.refuse(asked);
        }
        (consumed, answer_len)
    }

    /// Sends all that the endpoint has to send, and takes note of all that it has to say.
    async fn flush(&mut self) {
        loop {
            while let Some((path, len)) = self.poll_transmit() {
                let datagram = self.out.get(..len).unwrap_or_default();
                let is_too_long = send(&self.carrier, &self.shared, &path, datagram).await;
                // MUST (RFC 6347 §4.1.1.1): who sees that a datagram is too long for the path tells the
                // layers above.
                if is_too_long {
                    self.endpoint.datagram_refused(path, len);
                }
            }
            let Some(event) = self.endpoint.poll_event() else {
                match self.send_inside() {
                    true => continue,
                    false => break,
                }
            };
            if let Event::Stream { association, event } = event {
                self.note_stream(association, event);
                continue;
            }
            let refused = self
                .desk
                .note(&mut self.handlers, &self.shared.counters, event);
            if let Some(asked) = refused {
                self.refuse(asked);
            }
        }
        let counters = &self.shared.counters;
        let associations = self.endpoint.associations();
        counters.associations.store(associations, Ordering::Relaxed);
        let handshakes = self.endpoint.handshakes();
        counters.handshakes.store(handshakes, Ordering::Relaxed);
        let streams = self.desk.streams.len();
        counters.streams.store(streams, Ordering::Relaxed);
        let handlers = self.handlers.len();
        counters.handlers.store(handlers, Ordering::Relaxed);
    }

    /// Sends what stands at the front of the buffer, and says whether it is too long for the path.
    pub(crate) async fn send_out(&mut self, path: &Path, len: usize) -> bool {
        let datagram = self.out.get(..len).unwrap_or_default();
        send(&self.carrier, &self.shared, path, datagram).await
    }

    fn poll_transmit(&mut self) -> Option<(Path, usize)> {
        let mut rng = os_random();
        let mut env = self.clock.env(&mut rng);
        self.endpoint.poll_transmit(&mut env, &mut self.out)
    }

    fn handle_timeout(&mut self) {
        let mut rng = os_random();
        let mut env = self.clock.env(&mut rng);
        self.endpoint.handle_timeout(&mut env);
        self.serve_streams();
    }

    /// Closes an association in order. One that is gone by itself needs no close.
    pub(crate) fn close(&mut self, association: AssociationId) {
        let mut rng = os_random();
        let mut env = self.clock.env(&mut rng);
        let _ = self.endpoint.close(&mut env, association);
    }

    /// Ends every association once nothing carries it any more.
    fn give_up(&mut self, failure: CarrierFailure) {
        self.keep_sessions();
        for association in self.desk.associations() {
            self.close(association);
            self.desk
                .remove(association, RequestFailure::Carrier(failure));
        }
        if let Carrier::Link(link) = &self.carrier {
            link.leave();
        }
    }

    /// Leaves to the next outer session what can be resumed there.
    fn keep_sessions(&mut self) {
        if self.carrier.check(Remote::Linked).is_err() {
            // What is inside was cut off.
            self.endpoint.end_outer_stream(Path::to(Remote::Linked));
        }
        let sessions = self.endpoint.take_inner_sessions();
        if let (Carrier::Link(link), Some(whose)) = (&self.carrier, &self.sessions_of)
            && let Some(outer) = link.outer()
        {
            outer.sessions.keep(whose.clone(), sessions);
        }
    }

    /// Closes every association in order.
    async fn close_all(&mut self) {
        // Where the outer session is still there, those that nobody has asked for: what is closed in order isn't resumed.
        self.keep_sessions();
        for association in self.desk.associations() {
            self.close(association);
            self.desk.remove(association, RequestFailure::NodeStopped);
            // The endpoint keeps a limited number of partings, so each leaves before the next.
            self.flush().await;
        }
    }
}

/// Sends a datagram, and says whether it is longer than the carrier takes at once.
async fn send(carrier: &Carrier, shared: &Shared, path: &Path, datagram: &[u8]) -> bool {
    let (error, is_too_long) = match carrier.send(path, datagram).await {
        Sent::Away => {
            count(&shared.counters.datagrams_sent);
            return false;
        }
        Sent::Lost(error) => (error, false),
        Sent::TooLong(error) => (error, true),
    };
    count(&shared.counters.send_errors);
    debug!(remote = %path.remote, len = datagram.len(), %error, "sending failed");
    is_too_long
}

/// The longest answer that needs no association, in bytes.
const MAX_ANSWER_LEN: usize = 64;

/// More than any suite adds to a message: 13 bytes of header, 32 of connection ID, 8 of nonce, 1 of
/// type, 16 of tag.
const MAX_RECORD_OVERHEAD: usize = 96;

/// Errors of the receiving socket after which it counts as gone.
const MAX_ERRORS_IN_A_ROW: u32 = 1_000;
