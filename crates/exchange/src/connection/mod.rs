//! The machine of one connection over a reliable transport, RFC 8323: what it remembers, and when
//! it ends.
//!
//! ```text
//! ExpectCsm --peer's CSM--> Open --release--> Finishing --no request left--> Released
//!     |                      | \                                               |  ^ timer
//!     |                      |  --peer's Release--> ReleasedByPeer             |  |
//!     |                      |                            | nothing left,     |  |
//!     |                      |                            | timer             |  |
//!     +--anything else-------+--fault--> Aborting --sent--> Closed <-----------+--+
//! ```

pub(crate) mod config;
mod inbox;
mod message_size;
mod receive;
mod requests;
mod responses;
mod signals;
mod transmit;

use core::borrow::Borrow;
use core::fmt;

use hedgerow_core::{Env, Instant};

use crate::blocks::Blocks;
use crate::connection::config::{ConnectionConfig, PeerSettings};
use crate::connection::inbox::Inbox;
use crate::connection::requests::{Pending, PendingPhase};
use crate::connection::responses::{Incoming, IncomingPhase};
use crate::connection::signals::{Outbound, Probe};
use crate::storage::{Bodies, List, Storage};
use crate::tokens::Tokens;
use crate::{CloseReason, Event, RequestError, ResponseError, Usage};

/// The requests and responses of one connection over a reliable transport, in both roles at once.
///
/// Everything the peer sends goes to [`Self::handle_bytes`], cut anywhere. After any call the caller
/// asks [`Self::poll_event`] and [`Self::poll_transmit`] until both return `None`, as far as the
/// transport takes it, and calls [`Self::handle_timeout`] when [`Self::poll_timeout`] says so. It
/// tells the end of the transport to [`Self::handle_transport_closed`], and closes the transport after
/// [`Event::Closed`].
///
/// `S` is `Heap` or [`Fixed`](crate::Fixed); `C` is a [`ConnectionConfig`] or borrows as one.
///
/// Both ends may send requests, whichever of them opened the transport (RFC 8323 §3.3). An end that
/// serves nothing answers each with 5.01.
///
/// ```
/// use hedgerow_coap::{Code, MessageOption, OptionNumber};
/// use hedgerow_core::{Env, Instant};
/// use hedgerow_exchange::{ConnectionConfig, FixedConnection, Received, Request, Response};
///
/// # struct Rng(u64);
/// # impl rand_core::TryRng for Rng {
/// #     type Error = core::convert::Infallible;
/// #     fn try_next_u32(&mut self) -> Result<u32, Self::Error> { self.0 += 1; Ok(self.0 as u32) }
/// #     fn try_next_u64(&mut self) -> Result<u64, Self::Error> { self.0 += 1; Ok(self.0) }
/// #     fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Self::Error> {
/// #         dst.fill(7); Ok(())
/// #     }
/// # }
/// # impl rand_core::TryCryptoRng for Rng {}
/// # let mut rng = Rng(0);
/// let mut env = Env::new(Instant::ZERO, &mut rng);
/// let config = ConnectionConfig::default();
/// // 4 entries a table, messages of 256 bytes, 4 bodies of 512 bytes.
/// type Device<'c> = FixedConnection<4, 256, 4, 512, &'c ConnectionConfig>;
/// let mut client = Device::new(&config, &mut env);
/// let mut server = Device::new(&config, &mut env);
/// let path = [MessageOption::new(OptionNumber::URI_PATH, b"temperature")];
/// let sent = client.request(&Request::new(Code::GET).options(&path))?;
///
/// let mut out = [0; 256];
/// let mut answer = None;
/// while answer.is_none() {
///     while let Some(len) = client.poll_transmit(&mut env, &mut out)? {
///         let (received, _) = server.handle_bytes(&mut env, &out[..len]);
///         if let Received::Request { request, .. } = received {
///             let response = Response::new(Code::CONTENT).payload(b"21.5");
///             server.respond(&mut env, request, &response)?;
///         }
///     }
///     while let Some(len) = server.poll_transmit(&mut env, &mut out)? {
///         let (received, _) = client.handle_bytes(&mut env, &out[..len]);
///         if let Received::Response { request, message } = received {
///             assert_eq!(request, sent);
///             answer = Some(message.payload().to_vec());
///         }
///     }
/// }
/// assert_eq!(answer.as_deref(), Some(&b"21.5"[..]));
/// # Ok::<(), hedgerow_exchange::Error>(())
/// ```
pub struct Connection<S: Storage, C: Borrow<ConnectionConfig> = ConnectionConfig> {
    config: C,
    state: State,
    peer: PeerSettings,
    tokens: Tokens,
    blocks: Blocks<S>,
    inbox: Inbox<S::Message>,
    outgoing: S::List<Pending>,
    incoming: S::List<Incoming<S::Message>>,
    outbox: S::List<Outbound<S::Message>>,
    /// The Release that goes out once no request of this end is left.
    release: S::Message,
    last_handle: u32,
    last_received: Instant,
    probe: Probe,
}

/// How far the connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The peer's first message is to come.
    ExpectCsm {
        until: Instant,
        /// Whether this end has released already.
        is_releasing: bool,
    },
    Open,
    /// This end has released: its requests are finished first.
    Finishing,
    /// The Release is sent, or about to be: the peer closes the connection.
    Released {
        until: Option<Instant>,
    },
    /// The peer has released: what is under way is finished, within bounds.
    ReleasedByPeer {
        until: Instant,
    },
    /// The Abort waits to be sent.
    Aborting(CloseReason),
    Closed {
        reason: CloseReason,
        is_reported: bool,
    },
}

impl<S: Storage, C: Borrow<ConnectionConfig>> Connection<S, C> {
    /// Begins a connection whose transport is established. This end's CSM is the first message to be
    /// sent, whichever end opened the transport (RFC 8323 §3.3).
    pub fn new(config: C, env: &mut Env<'_>) -> Self {
        let until = env.now.saturating_add(config.borrow().csm_timeout);
        let mut outbox = S::List::default();
        let _ = outbox.push(Outbound::Csm);
        Self {
            config,
            state: State::ExpectCsm {
                until,
                is_releasing: false,
            },
            peer: PeerSettings::BASE,
            tokens: Tokens::default(),
            blocks: Blocks::new(env.rng),
            inbox: Inbox::default(),
            outgoing: S::List::default(),
            incoming: S::List::default(),
            outbox,
            release: S::Message::default(),
            last_handle: 0,
            last_received: env.now,
            probe: Probe::None,
        }
    }

    /// Counts the time for the peer's CSM from now on: for a transport that took a while to be
    /// established, such as one with a handshake.
    pub fn handle_transport_established(&mut self, env: &Env<'_>) {
        let from_now = env.now.saturating_add(self.config.borrow().csm_timeout);
        if let State::ExpectCsm { until, .. } = &mut self.state {
            *until = from_now;
        }
    }

    /// Does what has become due: requests without a response, a CSM or a close that didn't come, and
    /// the ping of a silent peer.
    pub fn handle_timeout(&mut self, env: &mut Env<'_>) {
        self.release_lent();
        match self.state {
            State::ExpectCsm { until, .. } if until <= env.now => {
                self.abort_for(CloseReason::CsmTimeout);
            }
            State::Released { until: Some(until) } if until <= env.now => {
                self.end(CloseReason::Released);
            }
            State::ReleasedByPeer { until } if until <= env.now => {
                self.end(CloseReason::ReleasedByPeer);
            }
            _ => {}
        }
        for entry in self.outgoing.as_mut_slice() {
            entry.expire(env.now);
        }
        self.expire_probe(env.now);
        self.blocks.expire(env.now);
    }

    /// Returns when [`Self::handle_timeout`] is due, if ever.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let state = match self.state {
            State::ExpectCsm { until, .. } | State::ReleasedByPeer { until } => Some(until),
            State::Released { until } => until,
            _ => None,
        };
        let outgoing = self.outgoing.as_slice().iter();
        outgoing
            .filter_map(Pending::poll_timeout)
            .chain(state)
            .chain(self.poll_probe_timeout())
            .chain(self.blocks.poll_timeout())
            .min()
    }

    /// Returns the next thing to know that isn't a message.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.release_lent();
        self.advance();
        if let Probe::Unanswered { transmissions } = self.probe {
            self.probe = Probe::Reported;
            return Some(Event::PeerUnresponsive { transmissions });
        }
        let outgoing = self.outgoing.as_slice().iter();
        let ended = outgoing
            .enumerate()
            .find_map(|(index, entry)| Some((index, entry.ended()?)));
        if let Some((index, event)) = ended {
            self.remove_outgoing(index);
            return Some(event);
        }
        let incoming = self.incoming.as_slice().iter();
        let failed = incoming.enumerate().find_map(|(index, entry)| {
            matches!(entry.phase, IncomingPhase::Failed).then_some((index, entry.handle))
        });
        if let Some((index, request)) = failed {
            self.incoming.remove(index);
            let error = ResponseError::ConnectionClosed;
            return Some(Event::ResponseFailed { request, error });
        }
        if self.blocks.poll_expired_reassembly() {
            return Some(Event::ReassemblyExpired);
        }
        match &mut self.state {
            State::Closed {
                reason,
                is_reported,
            } if !*is_reported => {
                *is_reported = true;
                Some(Event::Closed { reason: *reason })
            }
            _ => None,
        }
    }

    /// Ends everything because the transport was closed, by the peer or by a fault.
    pub fn handle_transport_closed(&mut self) {
        self.release_lent();
        let reason = match self.state {
            State::Released { .. } => CloseReason::Released,
            State::ReleasedByPeer { .. } => CloseReason::ReleasedByPeer,
            State::Aborting(reason) => reason,
            State::ExpectCsm { .. } | State::Open | State::Finishing => {
                CloseReason::TransportClosed
            }
            State::Closed { .. } => return,
        };
        self.end(reason);
    }

    /// Says whether requests are taken: neither end has released or aborted the connection.
    pub const fn accepts_requests(&self) -> bool {
        matches!(
            self.state,
            State::Open
                | State::ExpectCsm {
                    is_releasing: false,
                    ..
                }
        )
    }

    /// Says whether the connection has ended and nothing is left to be sent.
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Says whether the peer's CSM has come.
    pub const fn is_established(&self) -> bool {
        matches!(
            self.state,
            State::Open | State::Finishing | State::Released { .. } | State::ReleasedByPeer { .. }
        )
    }

    /// Says whether nothing is under way and nothing waits to be sent.
    pub fn is_idle(&self) -> bool {
        self.outgoing.as_slice().is_empty()
            && self.incoming.as_slice().is_empty()
            && self.outbox.as_slice().is_empty()
            && self.blocks.is_idle()
    }

    /// Returns the longest message that the peer takes, in bytes: what its CSM said, or the base
    /// value.
    pub const fn peer_max_message_size(&self) -> u32 {
        self.peer.max_message_size
    }

    /// Returns how much the connection holds.
    pub fn usage(&self) -> Usage {
        Usage {
            outgoing: self.outgoing.as_slice().len(),
            incoming: self.incoming.as_slice().len(),
            replies: self.outbox.as_slice().len(),
            reassemblies: self.blocks.reassemblies.as_slice().len(),
            representations: self.blocks.representations.as_slice().len(),
            seen: 0,
            seen_bytes: 0,
            bodies_len: self.blocks.bodies.total(),
            buffered_len: self.inbox.len(),
        }
    }

    /// Lends the configuration.
    pub fn config(&self) -> &ConnectionConfig {
        self.config.borrow()
    }

    /// Goes from one stage of the orderly end to the next, where nothing holds it up.
    fn advance(&mut self) {
        let has_requests = self.outgoing.as_slice().iter().any(Pending::is_under_way);
        match self.state {
            State::Finishing if !has_requests => {
                let release = core::mem::take(&mut self.release);
                // Full for now: it goes out when the queue has moved on.
                match self.outbox.push(Outbound::Release(release)) {
                    Ok(()) => self.state = State::Released { until: None },
                    Err(Outbound::Release(release)) => self.release = release,
                    Err(_) => {}
                }
            }
            // SHOULD (RFC 8323 §5.5): the requests that came before the Release are answered first.
            State::ReleasedByPeer { .. }
                if !has_requests
                    && self.incoming.as_slice().is_empty()
                    && self.outbox.as_slice().is_empty() =>
            {
                self.end(CloseReason::ReleasedByPeer);
            }
            State::Aborting(reason) if self.outbox.as_slice().is_empty() => self.end(reason),
            _ => {}
        }
    }

    /// Returns why the connection has ended, or is ending by an Abort; `None` while it goes on, or ends
    /// in order.
    pub const fn close_reason(&self) -> Option<CloseReason> {
        match self.state {
            State::Aborting(reason) | State::Closed { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// Ends the connection: nothing more is sent.
    fn end(&mut self, reason: CloseReason) {
        let error = match reason {
            CloseReason::Released | CloseReason::ReleasedByPeer | CloseReason::TransportClosed => {
                RequestError::ConnectionClosed
            }
            _ => RequestError::ConnectionAborted,
        };
        self.drop_everything(error);
        self.state = State::Closed {
            reason,
            is_reported: false,
        };
    }

    /// Fails every request in both directions and forgets what waits.
    fn drop_everything(&mut self, error: RequestError) {
        for entry in self.outgoing.as_mut_slice() {
            if entry.is_under_way() {
                entry.phase = PendingPhase::Failed(error);
            }
        }
        for entry in self.incoming.as_mut_slice() {
            entry.phase = IncomingPhase::Failed;
        }
        self.outbox = S::List::default();
        self.release = S::Message::default();
        self.inbox.clear();
        self.blocks.clear();
        self.probe = Probe::None;
    }

    fn next_handle(&mut self) -> u32 {
        self.last_handle = self.last_handle.wrapping_add(1);
        self.last_handle
    }

    fn release_lent(&mut self) {
        self.blocks.release_lent();
        self.inbox.release();
    }
}

impl<S: Storage, C: Borrow<ConnectionConfig>> fmt::Debug for Connection<S, C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connection")
            .field("state", &self.state)
            .field("peer", &self.peer)
            .field("usage", &self.usage())
            .finish_non_exhaustive()
    }
}
