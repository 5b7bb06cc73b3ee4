//! The server's side: requests of the peer, and how each gets its response, RFC 7252 §5.2.
//!
//! ```text
//! ExpectAnswer --respond--> (piggybacked, ended)
//!      | timer: empty ACK
//! Acknowledged --respond--> Queued --NSTART--> ExpectAcknowledgement --ACK--> (ended)
//! ```

use core::borrow::Borrow;
use core::fmt::Write;

use hedgerow_coap::{Code, Header, Message, MessageId, MessageType, OptionNumber};
use hedgerow_core::{DropReason, Env, Instant};

use crate::block_message::{AddedOptions, Framing, Head, OVERHEAD, write_message};
use crate::blocks::Bounds;
use crate::deduplication::{Answer, DeduplicationLimits};
use crate::exchange::{Outcome, Reply};
use crate::freshness::is_unsafe;
use crate::retransmission::Retransmission;
use crate::server_blocks::{Asked, Ruling};
use crate::storage::{List, MessageBuffer, Storage};
use crate::{Config, Echoed, Error, Exchange, IncomingRequest, Response, ResponseError};

/// A request of the peer that was handed out.
#[derive(Debug)]
pub(crate) struct Incoming<M> {
    pub(crate) handle: IncomingRequest,
    pub(crate) message_id: MessageId,
    pub(crate) asked: Asked,
    pub(crate) is_confirmable: bool,
    pub(crate) phase: IncomingPhase<M>,
}

/// Where a response stands.
#[derive(Debug)]
pub(crate) enum IncomingPhase<M> {
    /// The application hasn't answered; the request isn't acknowledged.
    ExpectAnswer { acknowledge_at: Instant },
    /// The application hasn't answered; there is nothing left to acknowledge.
    Acknowledged,
    /// The separate response waits for NSTART or for a message ID.
    Queued(M),
    /// A Non-confirmable response, to be sent at the next chance.
    NonConfirmableDue(M),
    /// A Confirmable separate response, sent until it is acknowledged.
    ExpectAcknowledgement {
        message: M,
        message_id: MessageId,
        retransmission: Retransmission,
    },
    /// Ended without an Acknowledgement.
    Failed(ResponseError),
}

impl<M> IncomingPhase<M> {
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::ExpectAnswer { acknowledge_at } => Some(*acknowledge_at),
            Self::ExpectAcknowledgement { retransmission, .. } => retransmission.poll_timeout(),
            Self::Acknowledged | Self::Queued(_) | Self::NonConfirmableDue(_) | Self::Failed(_) => {
                None
            }
        }
    }

    const fn expects_answer(&self) -> bool {
        matches!(self, Self::ExpectAnswer { .. } | Self::Acknowledged)
    }
}

impl<S: Storage, C: Borrow<Config>> Exchange<S, C> {
    pub(crate) fn handle_request(&mut self, env: &mut Env<'_>, message: &Message<'_>) -> Outcome {
        let id = message.message_id();
        let is_confirmable = message.message_type() == MessageType::Confirmable;
        if let Some(answer) = self.seen.answer(id) {
            // MUST (RFC 7252 §4.5): a duplicate is acknowledged as the first one was, and the
            // request in it is processed only once.
            match answer {
                Answer::Acknowledgement if is_confirmable => {
                    self.reply(Header::acknowledgement(id));
                }
                Answer::Message(_) if is_confirmable => self.reply_stored(id),
                _ => {}
            }
            return Outcome::Dropped(DropReason::Duplicate);
        }
        if self.incoming.is_full() || self.incoming.as_slice().len() >= self.config().max_incoming {
            return Outcome::Dropped(DropReason::ExchangeTableFull);
        }
        let transmission = &self.config().transmission;
        let lifetime = match is_confirmable {
            true => transmission.exchange_lifetime(),
            false => transmission.non_lifetime(),
        };
        let expires = env.now.saturating_add(lifetime);
        if !self.seen.has_room(self.seen_limits())
            || !self
                .seen
                .remember(id, is_confirmable, expires, Answer::Nothing)
        {
            return Outcome::Dropped(DropReason::DeduplicationTableFull);
        }
        match self.screen(env, message) {
            Some(outcome) => outcome,
            None => self.handle_request_blocks(env, message),
        }
    }

    /// Says whether a message with this ID came from the peer before, and is remembered.
    pub fn has_seen(&mut self, now: Instant, id: MessageId) -> bool {
        self.seen.expire(now);
        self.seen.answer(id).is_some()
    }

    /// Remembers the request that a challenge had answered: a duplicate of it that the network
    /// delivers late isn't a new request, since it went out once more as another message.
    ///
    /// A full table remembers nothing.
    pub fn note_challenged(&mut self, now: Instant, echoed: Echoed) {
        self.release_lent();
        self.seen.expire(now);
        let id = echoed.challenged;
        let lifetime = self.config().transmission.exchange_lifetime();
        let expires = now.saturating_add(lifetime);
        if self.seen.answer(id).is_none() && self.seen.has_room(self.seen_limits()) {
            self.seen.remember(id, true, expires, Answer::Nothing);
        }
    }

    fn handle_request_blocks(&mut self, env: &mut Env<'_>, message: &Message<'_>) -> Outcome {
        let bounds = Bounds::datagrams::<S>(self.config.borrow(), self.message_limit);
        match self.blocks.handle_request(bounds, env.now, message) {
            Ruling::HandOut(asked) => Outcome::Request(self.hand_out(env.now, message, asked)),
            Ruling::HandOutBody(asked, body) => {
                Outcome::AssembledRequest(self.hand_out(env.now, message, asked), body)
            }
            Ruling::Answer(answer) => {
                let outcome = self.answer(env, message, answer.code, &answer.added, &[]);
                answer.dropped.map_or(outcome, Outcome::Dropped)
            }
            Ruling::Slice {
                asked,
                body,
                code,
                block2,
            } => {
                let head = self.answer_head(env, message, code);
                let bounds = Bounds::datagrams::<S>(self.config.borrow(), self.message_limit);
                let bytes = head.and_then(|head| {
                    let slice = self.blocks.write_slice(bounds, head, &asked, body, block2);
                    slice.ok().flatten()
                });
                match bytes {
                    Some(bytes) => self.store_answer(message, bytes),
                    None => {
                        let none = AddedOptions::default();
                        self.answer(env, message, Code::BAD_REQUEST, &none, &[])
                    }
                }
            }
        }
    }

    /// Answers what the application needn't see.
    fn screen(&mut self, env: &mut Env<'_>, message: &Message<'_>) -> Option<Outcome> {
        let config = self.config();
        let unknown = config.unrecognised_critical(message);
        if let Some(option) = unknown {
            if message.message_type() == MessageType::NonConfirmable {
                // MUST (RFC 7252 §5.4.1): a Non-confirmable message with an unrecognised critical
                // option is rejected.
                self.reply(Header::reset(message.message_id()));
                return Some(Outcome::Dropped(DropReason::Rejected));
            }
            // MUST (RFC 7252 §5.4.1): in a Confirmable request it leads to 4.02.
            let diagnostic = unrecognised_text(option.number());
            let none = AddedOptions::default();
            return Some(self.answer(env, message, Code::BAD_OPTION, &none, diagnostic.as_bytes()));
        }
        if config.refuses_to_proxy(message) {
            let none = AddedOptions::default();
            return Some(self.answer(env, message, Code::PROXYING_NOT_SUPPORTED, &none, &[]));
        }
        self.challenge(env, message)
    }

    /// Answers a request that has to be fresh and doesn't show that it is.
    fn challenge(&mut self, env: &mut Env<'_>, message: &Message<'_>) -> Option<Outcome> {
        let within = self.config().fresh_within?;
        if !is_unsafe(message.code()) || self.freshness.shows(env.now, within, message) {
            return None;
        }
        // MUST (RFC 9175 §2.3): it isn't processed further, and no block of it is kept.
        let added = AddedOptions {
            echo: Some(self.freshness.challenge(env, within)),
            ..AddedOptions::default()
        };
        self.answer(env, message, Code::UNAUTHORIZED, &added, &[]);
        Some(Outcome::Dropped(DropReason::NotFresh))
    }

    /// Hands a request out: it lies in the datagram.
    fn hand_out(&mut self, now: Instant, message: &Message<'_>, asked: Asked) -> IncomingRequest {
        let handle = IncomingRequest(self.next_handle());
        let is_confirmable = message.message_type() == MessageType::Confirmable;
        let phase = match is_confirmable {
            true => IncomingPhase::ExpectAnswer {
                acknowledge_at: now.saturating_add(self.config().acknowledge_after),
            },
            false => IncomingPhase::Acknowledged,
        };
        // There is room: `handle_request` has looked.
        let _ = self.incoming.push(Incoming {
            handle,
            message_id: message.message_id(),
            asked,
            is_confirmable,
            phase,
        });
        handle
    }

    /// Gives a request of the peer its whole response. It is piggybacked on the Acknowledgement if
    /// that hasn't gone out (RFC 7252 §5.2.1), and separate otherwise; a body that doesn't fit a
    /// message is kept for the blocks that the peer will ask for (RFC 7959 §2.4).
    ///
    /// # Errors
    ///
    /// [`Error::UnknownHandle`] if the request was answered before or belongs to an association
    /// that has ended; [`Error::UnexpectedCode`], [`Error::ReservedOption`],
    /// [`Error::OptionsTooLong`], [`Error::BodyTooLong`], [`Error::NoRoomForBody`] and
    /// [`Error::Encode`] for a response that can't be sent: the request then still waits for one.
    pub fn respond(
        &mut self,
        env: &mut Env<'_>,
        request: IncomingRequest,
        response: &Response<'_>,
    ) -> Result<(), Error> {
        self.release_lent();
        let code = response.content.code;
        if !code.is_response() {
            return Err(Error::UnexpectedCode { code });
        }
        let index = self.find_incoming(request).ok_or(Error::UnknownHandle)?;
        let entry = self.incoming.as_slice().get(index);
        let Some(entry) = entry else {
            return Err(Error::UnknownHandle);
        };
        let (asked, request_id) = (entry.asked, entry.message_id);
        let is_piggybacked = matches!(entry.phase, IncomingPhase::ExpectAnswer { .. })
            && self.seen.answer(request_id).is_some();
        let (message_type, message_id) = match (is_piggybacked, entry.is_confirmable) {
            (true, _) => (MessageType::Acknowledgement, request_id),
            // A separate response gets its message ID when it goes out.
            (false, true) => (MessageType::Confirmable, MessageId(0)),
            (false, false) => (MessageType::NonConfirmable, MessageId(0)),
        };
        let head = Head {
            framing: Framing::Datagram {
                message_type,
                message_id,
            },
            code,
            token: asked.token,
        };
        let bounds = Bounds::datagrams::<S>(self.config.borrow(), self.message_limit);
        let message =
            self.blocks
                .write_response(bounds, env.now, head, &asked, &response.content)?;
        if is_piggybacked {
            self.seen.set_answer(request_id, Answer::Message(message));
            self.reply_stored(request_id);
            self.incoming.remove(index);
        } else if let Some(entry) = self.incoming.as_mut_slice().get_mut(index) {
            entry.phase = IncomingPhase::Queued(message);
        }
        Ok(())
    }

    /// Leaves a request of the peer without a response. A Confirmable one is acknowledged all the
    /// same, so that the peer stops retransmitting.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownHandle`] as for [`Self::respond`].
    pub fn ignore(&mut self, request: IncomingRequest) -> Result<(), Error> {
        self.release_lent();
        let index = self.find_incoming(request).ok_or(Error::UnknownHandle)?;
        let entry = self.incoming.remove(index).ok_or(Error::UnknownHandle)?;
        if matches!(entry.phase, IncomingPhase::ExpectAnswer { .. }) {
            self.acknowledge(entry.message_id);
        }
        Ok(())
    }

    /// Sends empty Acknowledgements for what the application hasn't answered in time.
    pub(crate) fn acknowledge_unanswered(&mut self, now: Instant) {
        for index in 0..self.incoming.as_slice().len() {
            let Some(entry) = self.incoming.as_mut_slice().get_mut(index) else {
                return;
            };
            if let IncomingPhase::ExpectAnswer { acknowledge_at } = entry.phase
                && acknowledge_at <= now
            {
                entry.phase = IncomingPhase::Acknowledged;
                let id = entry.message_id;
                self.acknowledge(id);
            }
        }
    }

    fn acknowledge(&mut self, id: MessageId) {
        self.seen.set_answer(id, Answer::Acknowledgement);
        self.reply(Header::acknowledgement(id));
    }

    /// Answers a request that the application doesn't get to see.
    fn answer(
        &mut self,
        env: &mut Env<'_>,
        message: &Message<'_>,
        code: Code,
        added: &AddedOptions,
        payload: &[u8],
    ) -> Outcome {
        let Some(head) = self.answer_head(env, message, code) else {
            return Outcome::Dropped(DropReason::ExchangeTableFull);
        };
        let mut bytes = S::Message::default();
        let len = OVERHEAD.saturating_add(payload.len());
        let written = bytes.write(len, |out| {
            write_message(out, head, core::iter::empty(), added, payload)
        });
        match written {
            Ok(()) => self.store_answer(message, bytes),
            Err(_) => Outcome::Dropped(DropReason::ExchangeTableFull),
        }
    }

    /// Makes the head of an answer that goes out at once; `None` if no message ID is free.
    fn answer_head(
        &mut self,
        env: &mut Env<'_>,
        message: &Message<'_>,
        code: Code,
    ) -> Option<Head> {
        let (message_type, message_id) = match message.message_type() {
            MessageType::Confirmable => (MessageType::Acknowledgement, message.message_id()),
            _ => {
                let lifetime = self.config().transmission.exchange_lifetime();
                let id = self.message_ids.allocate(env.now, lifetime)?;
                (MessageType::NonConfirmable, id)
            }
        };
        Some(Head {
            framing: Framing::Datagram {
                message_type,
                message_id,
            },
            code,
            token: message.token(),
        })
    }

    /// Stores the answer to a request for duplicates and sends it.
    fn store_answer(&mut self, message: &Message<'_>, bytes: S::Message) -> Outcome {
        let id = message.message_id();
        let answer = match message.message_type() {
            MessageType::Confirmable => Answer::Message(bytes),
            _ => Answer::Once(bytes),
        };
        self.seen.set_answer(id, answer);
        self.reply_stored(id);
        Outcome::Handled
    }

    fn reply_stored(&mut self, id: MessageId) {
        // Where the answer doesn't go out for want of room, the peer's next retransmission gets it.
        let _ = self.replies.push(Reply::Stored(id));
    }

    /// Every request under way may still have to store a message.
    pub(crate) fn seen_limits(&self) -> DeduplicationLimits {
        let config = self.config();
        let under_way = self.incoming.as_slice().len().saturating_add(1);
        DeduplicationLimits {
            max_entries: config.max_seen,
            max_bytes: config.max_seen_bytes,
            reserved_bytes: under_way.saturating_mul(self.max_message_len()),
        }
    }

    fn find_incoming(&self, request: IncomingRequest) -> Option<usize> {
        let mut incoming = self.incoming.as_slice().iter();
        incoming.position(|entry| entry.handle == request && entry.phase.expects_answer())
    }
}

/// Says which option leads to 4.02, for the payload.
pub(crate) fn unrecognised_text(number: OptionNumber) -> heapless::String<32> {
    let mut text = heapless::String::new();
    // The longest name and number fit.
    let _ = write!(text, "option {number} unrecognised");
    text
}

/// Puts a message ID into an encoded message (RFC 7252 §3: its third and fourth byte).
pub(crate) fn set_message_id(message: &mut [u8], id: MessageId) {
    if let Some(place) = message
        .get_mut(2..)
        .and_then(|rest| rest.first_chunk_mut::<2>())
    {
        *place = id.0.to_be_bytes();
    }
}
