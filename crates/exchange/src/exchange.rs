//! The machine of one association: what it remembers, and where a message goes first.

use core::borrow::Borrow;
use core::fmt;

use hedgerow_coap::{Header, Message, MessageId, MessageType};
use hedgerow_core::{DropReason, Env, Instant};

use crate::blocks::Blocks;
use crate::client::{Expired, Outgoing, Phase, Work};
use crate::deduplication::Deduplication;
use crate::freshness::Freshness;
use crate::liveness::Liveness;
use crate::message_ids::MessageIds;
use crate::retransmission::Expiry;
use crate::server::{Incoming, IncomingPhase};
use crate::storage::{Bodies, BodyId, List, Storage};
use crate::tokens::Tokens;
use crate::{
    Config, Event, IncomingRequest, OutgoingRequest, Received, RequestError, ResponseError,
};

/// The exchanges with one peer over one association, in both roles at once.
///
/// Everything the peer sends goes to [`Self::handle_message`], as one decrypted datagram a call.
/// After any call the caller asks [`Self::poll_event`] and [`Self::poll_transmit`] until both
/// return `None`, and calls [`Self::handle_timeout`] when [`Self::poll_timeout`] says so.
///
/// `S` is `Heap` or [`Fixed`](crate::Fixed); `C` is a [`Config`] or borrows as one,
/// so that thousands of exchanges can share it.
pub struct Exchange<S: Storage, C: Borrow<Config> = Config> {
    pub(crate) config: C,
    pub(crate) message_ids: MessageIds,
    pub(crate) tokens: Tokens,
    pub(crate) seen: Deduplication<S>,
    pub(crate) outgoing: S::List<Outgoing>,
    pub(crate) incoming: S::List<Incoming<S::Message>>,
    pub(crate) replies: S::List<Reply>,
    pub(crate) blocks: Blocks<S>,
    /// Which of the peer's requests are fresh, where that is asked for.
    pub(crate) freshness: Freshness,
    pub(crate) last_handle: u32,
    pub(crate) liveness: Liveness,
    /// What lies below carries no longer messages, in bytes.
    pub(crate) message_limit: u16,
}

/// An answer that waits to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    /// An empty message.
    Empty(Header),
    /// What the deduplication table has stored for this message of the peer.
    Stored(MessageId),
}

/// What a message turned out to be, before its view is lent.
pub(crate) enum Outcome {
    Handled,
    Ping,
    Dropped(DropReason),
    /// The request lies in the datagram.
    Request(IncomingRequest),
    /// The request lies in a body.
    AssembledRequest(IncomingRequest, BodyId),
    /// The response lies in the datagram.
    Response(OutgoingRequest),
    /// The response lies in a body.
    AssembledResponse(OutgoingRequest, BodyId),
}

impl<S: Storage, C: Borrow<Config>> Exchange<S, C> {
    /// Begins an association: draws its first message ID and its hash key.
    pub fn new(config: C, env: &mut Env<'_>) -> Self {
        Self {
            config,
            message_ids: MessageIds::new(env.rng),
            tokens: Tokens::default(),
            seen: Deduplication::default(),
            outgoing: S::List::default(),
            incoming: S::List::default(),
            replies: S::List::default(),
            blocks: Blocks::new(env.rng),
            freshness: Freshness::default(),
            last_handle: 0,
            liveness: Liveness::ALIVE,
            message_limit: u16::MAX,
        }
    }

    /// Takes in one message of the peer, all of its datagram.
    ///
    /// Nothing is allocated for bytes that don't decode. A request comes out at most once, however
    /// often the peer sends it (RFC 7252 §4.5).
    pub fn handle_message<'a>(&'a mut self, env: &mut Env<'_>, datagram: &'a [u8]) -> Received<'a> {
        self.release_lent();
        self.seen.expire(env.now);
        // Whoever doesn't fetch the answers gets no more of them.
        if self.replies.is_full() || self.replies.as_slice().len() >= self.config().max_replies {
            return Received::Dropped(DropReason::RateLimited);
        }
        let message = match Message::decode(datagram) {
            Ok(message) => message,
            Err(error) => {
                let reason = match error.rejectable() {
                    // MUST (RFC 7252 §4.2): a Confirmable message with a format error is rejected
                    // with a Reset; other types are ignored.
                    Some(header) if header.message_type == MessageType::Confirmable => {
                        self.reply(Header::reset(header.message_id));
                        DropReason::Rejected
                    }
                    _ => error.drop_reason(),
                };
                return Received::Dropped(reason);
            }
        };
        self.liveness.hear();
        match self.dispatch(env, &message) {
            Outcome::Handled => Received::Handled,
            Outcome::Ping => Received::Ping,
            Outcome::Dropped(reason) => Received::Dropped(reason),
            Outcome::Request(request) => Received::Request { request, message },
            Outcome::Response(request) => Received::Response { request, message },
            Outcome::AssembledRequest(request, body) => match self.blocks.lend(body) {
                Some(message) => Received::Request { request, message },
                None => Received::Dropped(DropReason::Malformed),
            },
            Outcome::AssembledResponse(request, body) => match self.blocks.lend(body) {
                Some(message) => Received::Response { request, message },
                None => Received::Dropped(DropReason::Malformed),
            },
        }
    }

    fn dispatch(&mut self, env: &mut Env<'_>, message: &Message<'_>) -> Outcome {
        let code = message.code();
        let id = message.message_id();
        if !message.message_type().may_carry(code) {
            return Outcome::Dropped(DropReason::UnexpectedMessage);
        }
        match message.message_type() {
            MessageType::Confirmable if code.is_empty() => {
                self.reply(Header::reset(id));
                Outcome::Ping
            }
            MessageType::Confirmable | MessageType::NonConfirmable if code.is_request() => {
                self.handle_request(env, message)
            }
            MessageType::Confirmable | MessageType::NonConfirmable => {
                self.handle_separate_response(env.now, message)
            }
            MessageType::Acknowledgement if code.is_empty() => {
                self.handle_acknowledgement(env.now, id)
            }
            MessageType::Acknowledgement => self.handle_piggybacked_response(message),
            MessageType::Reset => self.handle_reset(id),
        }
    }

    fn handle_acknowledgement(&mut self, now: Instant, id: MessageId) -> Outcome {
        if let Some(index) = self.incoming_awaiting(id) {
            self.incoming.remove(index);
            return Outcome::Handled;
        }
        let until = now.saturating_add(self.config().response_timeout);
        let heard = self.liveness.heard();
        let outgoing = self.outgoing.as_mut_slice().iter_mut();
        for entry in outgoing {
            if let Phase::ExpectAcknowledgement { sent, .. } = entry.phase
                && sent.message_id == id
            {
                entry.phase = match entry.work {
                    // A peer may acknowledge a ping instead of resetting it; it is there.
                    Work::Ping => Phase::Pong,
                    Work::Request(_) => Phase::ExpectResponse {
                        sent,
                        outstanding_until: None,
                        until,
                        heard,
                    },
                };
                return Outcome::Handled;
            }
        }
        Outcome::Dropped(DropReason::Unmatched)
    }

    fn handle_reset(&mut self, id: MessageId) -> Outcome {
        if let Some(index) = self.incoming_awaiting(id) {
            if let Some(entry) = self.incoming.as_mut_slice().get_mut(index) {
                entry.phase = IncomingPhase::Failed(ResponseError::Reset);
            }
            return Outcome::Handled;
        }
        let outgoing = self.outgoing.as_mut_slice().iter_mut();
        for entry in outgoing {
            if entry.phase.sent().is_some_and(|sent| sent.message_id == id) {
                entry.phase = match entry.work {
                    Work::Ping => Phase::Pong,
                    Work::Request(_) => Phase::Failed(RequestError::Reset),
                };
                return Outcome::Handled;
            }
        }
        Outcome::Dropped(DropReason::Unmatched)
    }

    /// Takes a message ID that the peer can't tell beforehand, for an Empty message that the caller
    /// sends by itself, and whose answer it keeps from [`Self::handle_message`]. `None` if all are
    /// in use (RFC 7252 §4.4).
    pub fn take_unpredictable_message_id(&mut self, env: &mut Env<'_>) -> Option<MessageId> {
        let lifetime = self.config().transmission.exchange_lifetime();
        self.message_ids
            .allocate_unpredictable(env.now, lifetime, env.rng)
    }

    /// Does what has become due: retransmissions, empty Acknowledgements, and giving up.
    pub fn handle_timeout(&mut self, env: &mut Env<'_>) {
        self.release_lent();
        self.seen.expire(env.now);
        self.acknowledge_unanswered(env.now);
        let max_retransmit = self.config().transmission.max_retransmit;
        let mut has_expired = false;
        for entry in self.incoming.as_mut_slice() {
            if let IncomingPhase::ExpectAcknowledgement { retransmission, .. } = &mut entry.phase {
                let expiry = retransmission.expire(env.now, max_retransmit);
                has_expired |= expiry != Expiry::Waiting;
                if expiry == Expiry::GivenUp {
                    entry.phase = IncomingPhase::Failed(ResponseError::AcknowledgementTimeout);
                }
            }
        }
        for entry in self.outgoing.as_mut_slice() {
            has_expired |= match entry.phase.expire(env.now, max_retransmit) {
                Expired::Nothing => false,
                Expired::Acknowledgement => true,
                Expired::Response { heard } => {
                    let is_in_vain = self.liveness.is_silent_since(heard)
                        && entry.work.counts_as_unanswered(&self.blocks.bodies);
                    if is_in_vain {
                        self.liveness.count_unanswered();
                    }
                    is_in_vain
                }
            };
        }
        if has_expired {
            let threshold = self.config().unanswered_threshold;
            self.liveness.judge(threshold);
        }
        self.blocks.expire(env.now);
    }

    /// Returns when [`Self::handle_timeout`] is due, if ever.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let config = self.config();
        let slack = config.transmission.exchange_lifetime() / EXPIRY_SLACK_DIVISOR;
        let is_waiting = self.has_queued();
        let incoming = self.incoming.as_slice().iter();
        let incoming = incoming.filter_map(|entry| entry.phase.poll_timeout());
        let outgoing = self.outgoing.as_slice().iter();
        let outgoing = outgoing.filter_map(|entry| entry.phase.poll_timeout(is_waiting));
        let message_ids = (is_waiting && self.outstanding() < self.nstart())
            .then(|| self.message_ids.next_free_at());
        incoming
            .chain(outgoing)
            .chain(message_ids)
            .chain(self.seen.poll_timeout(slack))
            .chain(self.blocks.poll_timeout())
            .min()
    }

    /// Returns the next thing to know that isn't a message.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.release_lent();
        if let Some(transmissions) = self.liveness.poll_report() {
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
        let failed = incoming
            .enumerate()
            .find_map(|(index, entry)| match entry.phase {
                IncomingPhase::Failed(error) => Some((index, entry.handle, error)),
                _ => None,
            });
        if let Some((index, request, error)) = failed {
            self.incoming.remove(index);
            return Some(Event::ResponseFailed { request, error });
        }
        self.blocks
            .poll_expired_reassembly()
            .then_some(Event::ReassemblyExpired)
    }

    /// Says whether nothing is under way and nothing but message IDs is remembered.
    ///
    /// An idle exchange may still know messages that the peer can repeat. Without a session that
    /// ends with it, whoever drops one within EXCHANGE_LIFETIME of its last message lets a late
    /// duplicate run a handler again: drop it once [`Usage::seen`] is zero as well.
    pub fn is_idle(&self) -> bool {
        self.outgoing.as_slice().is_empty()
            && self.incoming.as_slice().is_empty()
            && self.replies.as_slice().is_empty()
            && self.blocks.is_idle()
    }

    /// Returns how much the exchange holds.
    pub fn usage(&self) -> Usage {
        Usage {
            outgoing: self.outgoing.as_slice().len(),
            incoming: self.incoming.as_slice().len(),
            replies: self.replies.as_slice().len(),
            reassemblies: self.blocks.reassemblies.as_slice().len(),
            representations: self.blocks.representations.as_slice().len(),
            seen: self.seen.len(),
            seen_bytes: self.seen.stored_bytes(),
            bodies_len: self.blocks.bodies.total(),
            buffered_len: 0,
        }
    }

    /// Lends the configuration.
    pub fn config(&self) -> &Config {
        self.config.borrow()
    }

    /// Returns the longest message that is sent, in bytes: what the configuration says, or less
    /// where the form can't hold it.
    pub(crate) fn max_message_len(&self) -> usize {
        self.config().sent_len::<S>(self.message_limit)
    }

    pub(crate) fn next_handle(&mut self) -> u32 {
        self.last_handle = self.last_handle.wrapping_add(1);
        self.last_handle
    }

    /// Queues an empty message. There is room: see [`Self::handle_message`].
    pub(crate) fn reply(&mut self, header: Header) {
        // An empty message that is lost here is one lost on the way: the peer asks again.
        let _ = self.replies.push(Reply::Empty(header));
    }

    pub(crate) fn release_lent(&mut self) {
        self.blocks.release_lent();
    }

    fn incoming_awaiting(&self, id: MessageId) -> Option<usize> {
        let incoming = self.incoming.as_slice().iter();
        incoming
            .enumerate()
            .find_map(|(index, entry)| match entry.phase {
                IncomingPhase::ExpectAcknowledgement { message_id, .. } if message_id == id => {
                    Some(index)
                }
                _ => None,
            })
    }
}

impl<S: Storage, C: Borrow<Config>> fmt::Debug for Exchange<S, C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Exchange")
            .field("usage", &self.usage())
            .field("unanswered", &self.unanswered_transmissions())
            .finish_non_exhaustive()
    }
}

/// How much an exchange holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Requests of this end, and pings.
    pub outgoing: usize,
    /// Requests of the peer.
    pub incoming: usize,
    /// Answers waiting to be sent.
    pub replies: usize,
    /// Bodies being received.
    pub reassemblies: usize,
    /// Responses kept for later blocks.
    pub representations: usize,
    /// Message IDs of the peer remembered.
    pub seen: usize,
    /// Responses stored for duplicates, in bytes.
    pub seen_bytes: usize,
    /// All bodies, in bytes.
    pub bodies_len: usize,
    /// A message of a reliable transport that isn't all there, in bytes.
    pub buffered_len: usize,
}

/// Forgetting message IDs waits for a sixteenth of their lifetime, so that one timer clears many.
const EXPIRY_SLACK_DIVISOR: u32 = 16;
