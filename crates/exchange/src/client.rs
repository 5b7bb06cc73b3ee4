//! The client's side: requests under way, and which response belongs to which, RFC 7252 §5.3.2.
//!
//! ```text
//! Queued --NSTART--> ExpectAcknowledgement --ACK--> ExpectResponse --response--> (ended)
//!   ^   \               |  retransmits by timer        |
//!   |    --NON--> NonConfirmableDue --sent-------------+
//!   +--------------- next block ----------------------/
//! ```

use core::borrow::Borrow;

use hedgerow_coap::{Header, Message, MessageId, MessageType, Token};
use hedgerow_core::{DropReason, Env, Instant};

use crate::block_message::AddedOptions;
use crate::blocks::Bounds;
use crate::client_blocks::{Progress, Transfer};
use crate::deduplication::Answer;
use crate::echo::Echoing;
use crate::exchange::Outcome;
use crate::liveness::Heard;
use crate::retransmission::{Expiry, Retransmission};
use crate::storage::{List, Storage};
use crate::{Config, Error, Event, Exchange, OutgoingRequest, Request, RequestError};

/// A request of this end, or a ping.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) handle: OutgoingRequest,
    pub(crate) work: Work,
    pub(crate) phase: Phase,
}

/// What the messages are for.
#[derive(Debug)]
pub(crate) enum Work {
    Ping,
    Request(Transfer),
}

/// Where the current message of a request stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Phase {
    /// Waits for NSTART or for a message ID.
    Queued,
    /// A Confirmable message, sent until it is acknowledged.
    ExpectAcknowledgement {
        sent: Sent,
        retransmission: Retransmission,
    },
    /// A Non-confirmable message, to be sent at the next chance.
    NonConfirmableDue { sent: Sent },
    /// Sent for the last time; the response is to come.
    ExpectResponse {
        sent: Sent,
        /// Until when it counts as outstanding; `None` if it doesn't any more.
        outstanding_until: Option<Instant>,
        until: Instant,
        /// What had been heard of the peer when the message was sent or acknowledged.
        heard: Heard,
    },
    /// The ping was answered.
    Pong,
    /// Ended without a response.
    Failed(RequestError),
}

/// For what a request, or a ping, has waited in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    Nothing,
    /// For the Acknowledgement of one transmission.
    Acknowledgement,
    /// For the response. `heard` is what had been heard of the peer when the wait began.
    Response {
        heard: Heard,
    },
}

/// By what the current message is recognised in its answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) message_id: MessageId,
    pub(crate) token: Token,
}

impl Phase {
    pub(crate) const fn sent(&self) -> Option<Sent> {
        match self {
            Self::ExpectAcknowledgement { sent, .. }
            | Self::NonConfirmableDue { sent }
            | Self::ExpectResponse { sent, .. } => Some(*sent),
            Self::Queued | Self::Pong | Self::Failed(_) => None,
        }
    }

    pub(crate) const fn is_outstanding(&self) -> bool {
        match self {
            Self::ExpectAcknowledgement { .. } | Self::NonConfirmableDue { .. } => true,
            Self::ExpectResponse {
                outstanding_until, ..
            } => outstanding_until.is_some(),
            Self::Queued | Self::Pong | Self::Failed(_) => false,
        }
    }

    /// Does what is due, and says what was waited for in vain.
    pub(crate) fn expire(&mut self, now: Instant, max_retransmit: u8) -> Expired {
        match self {
            Self::ExpectAcknowledgement { retransmission, .. } => {
                match retransmission.expire(now, max_retransmit) {
                    Expiry::Waiting => Expired::Nothing,
                    Expiry::Due => Expired::Acknowledgement,
                    Expiry::GivenUp => {
                        *self = Self::Failed(RequestError::AcknowledgementTimeout);
                        Expired::Acknowledgement
                    }
                }
            }
            Self::ExpectResponse {
                outstanding_until,
                until,
                heard,
                ..
            } => {
                *outstanding_until = outstanding_until.filter(|instant| *instant > now);
                if *until > now {
                    return Expired::Nothing;
                }
                let heard = *heard;
                *self = Self::Failed(RequestError::ResponseTimeout);
                Expired::Response { heard }
            }
            Self::Queued | Self::NonConfirmableDue { .. } | Self::Pong | Self::Failed(_) => {
                Expired::Nothing
            }
        }
    }

    /// Returns when [`Self::expire`] is due; `is_waiting` says whether others wait for NSTART.
    pub(crate) fn poll_timeout(&self, is_waiting: bool) -> Option<Instant> {
        match self {
            Self::ExpectAcknowledgement { retransmission, .. } => retransmission.poll_timeout(),
            Self::ExpectResponse {
                outstanding_until,
                until,
                ..
            } => {
                let outstanding = outstanding_until.filter(|_| is_waiting);
                Some(outstanding.map_or(*until, |instant| instant.min(*until)))
            }
            Self::Queued | Self::NonConfirmableDue { .. } | Self::Pong | Self::Failed(_) => None,
        }
    }
}

impl Outgoing {
    /// Returns the event to report if this has ended without a response.
    pub(crate) const fn ended(&self) -> Option<Event> {
        let request = self.handle;
        match self.phase {
            Phase::Failed(error) => Some(Event::RequestFailed { request, error }),
            Phase::Pong => Some(Event::Pong { request }),
            _ => None,
        }
    }
}

impl<S: Storage, C: Borrow<Config>> Exchange<S, C> {
    /// Takes in a whole request, to be sent as soon as NSTART allows: in blocks if its body doesn't
    /// fit a message. It ends with [`Received::Response`](crate::Received::Response) or
    /// [`Event::RequestFailed`].
    ///
    /// # Errors
    ///
    /// [`Error::TooManyRequests`], [`Error::MessageIdsExhausted`], [`Error::BodyTooLong`],
    /// [`Error::NoRoomForBody`] where a bound is reached; [`Error::UnexpectedCode`],
    /// [`Error::ReservedOption`], [`Error::OptionsTooLong`] and [`Error::Encode`] for a request
    /// that can't be sent.
    pub fn request(
        &mut self,
        env: &mut Env<'_>,
        request: &Request<'_>,
    ) -> Result<OutgoingRequest, Error> {
        self.release_lent();
        let code = request.content.code;
        if !code.is_request() {
            return Err(Error::UnexpectedCode { code });
        }
        self.check_room_for_request(env.now)?;
        let options_len = request.content.check_options()?;
        let bounds = Bounds::datagrams::<S>(self.config.borrow(), self.message_limit);
        let len = request.content.payload.len();
        let step = self.blocks.first_step(bounds, len, options_len)?;
        let none = AddedOptions::default();
        let content = &request.content;
        let template = self
            .blocks
            .keep(bounds.config, content, &none, options_len)?;
        let transfer = Transfer {
            template,
            code,
            is_confirmable: request.is_confirmable,
            was_sent: false,
            restarts: 0,
            echoing: Echoing::new(request.hands_out_challenges),
            step,
        };
        Ok(self.push_outgoing(Work::Request(transfer)))
    }

    /// Asks the peer for a sign of life: an Empty Confirmable message (RFC 7252 §4.3). It ends with
    /// [`Event::Pong`] or [`Event::RequestFailed`].
    ///
    /// # Errors
    ///
    /// [`Error::TooManyRequests`], [`Error::MessageIdsExhausted`].
    pub fn ping(&mut self, env: &mut Env<'_>) -> Result<OutgoingRequest, Error> {
        self.release_lent();
        self.check_room_for_request(env.now)?;
        Ok(self.push_outgoing(Work::Ping))
    }

    /// Gives a request up. It ends with [`Event::RequestFailed`] and [`RequestError::Cancelled`];
    /// a response that still comes is rejected.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownHandle`] if it has ended.
    pub fn cancel(&mut self, request: OutgoingRequest) -> Result<(), Error> {
        self.release_lent();
        let mut outgoing = self.outgoing.as_mut_slice().iter_mut();
        let entry = outgoing
            .find(|entry| entry.handle == request && entry.ended().is_none())
            .ok_or(Error::UnknownHandle)?;
        entry.phase = Phase::Failed(RequestError::Cancelled);
        Ok(())
    }

    fn check_room_for_request(&self, now: Instant) -> Result<(), Error> {
        let len = self.outgoing.as_slice().len();
        if self.outgoing.is_full() || len >= self.config().max_outgoing {
            return Err(Error::TooManyRequests);
        }
        let until = self.message_ids.next_free_at();
        if now < until {
            return Err(Error::MessageIdsExhausted { until });
        }
        Ok(())
    }

    fn push_outgoing(&mut self, work: Work) -> OutgoingRequest {
        let handle = OutgoingRequest(self.next_handle());
        let entry = Outgoing {
            handle,
            work,
            phase: Phase::Queued,
        };
        // There is room: the caller has looked.
        let _ = self.outgoing.push(entry);
        handle
    }

    /// Takes a request out and gives back what it holds.
    pub(crate) fn remove_outgoing(&mut self, index: usize) -> Option<OutgoingRequest> {
        let entry = self.outgoing.remove(index)?;
        if let Work::Request(transfer) = entry.work {
            self.blocks.release_transfer(&transfer);
        }
        Some(entry.handle)
    }

    pub(crate) fn handle_piggybacked_response(&mut self, message: &Message<'_>) -> Outcome {
        // MUST (RFC 7252 §5.3.2): in a piggybacked response both message ID and token match.
        let index = self.find_outgoing(|phase| {
            matches!(phase, Phase::ExpectAcknowledgement { sent, .. }
                if sent.message_id == message.message_id() && sent.token == message.token())
        });
        let Some(index) = index else {
            return Outcome::Dropped(DropReason::Unmatched);
        };
        if self.has_unknown_option(message) {
            // An Acknowledgement is rejected by ignoring it (RFC 7252 §4.2). Retransmitting would
            // bring the same response again, so the request ends here.
            self.fail(index, RequestError::UnrecognisedCriticalOption);
            return Outcome::Handled;
        }
        self.handle_response(index, message)
    }

    pub(crate) fn handle_separate_response(
        &mut self,
        now: Instant,
        message: &Message<'_>,
    ) -> Outcome {
        let id = message.message_id();
        let is_confirmable = message.message_type() == MessageType::Confirmable;
        if let Some(answer) = self.seen.answer(id) {
            if is_confirmable && matches!(answer, Answer::Acknowledgement) {
                self.reply(Header::acknowledgement(id));
            }
            return Outcome::Dropped(DropReason::Duplicate);
        }
        // A separate response may overtake the Acknowledgement, or make up for a lost one
        // (RFC 7252 §5.2.2).
        let index = self.find_outgoing(|phase| {
            matches!(phase, Phase::ExpectAcknowledgement { sent, .. }
                | Phase::ExpectResponse { sent, .. } if sent.token == message.token())
        });
        let Some(index) = index else {
            return self.reject(message, DropReason::Unmatched);
        };
        if self.has_unknown_option(message) {
            self.fail(index, RequestError::UnrecognisedCriticalOption);
            return self.reject(message, DropReason::Unmatched);
        }
        if is_confirmable {
            self.reply(Header::acknowledgement(id));
            let lifetime = self.config().transmission.exchange_lifetime();
            let expires = now.saturating_add(lifetime);
            // Where the table is full, a duplicate will be reset: the token is used up by then.
            if self.seen.has_room(self.seen_limits()) {
                self.seen
                    .remember(id, true, expires, Answer::Acknowledgement);
            }
        }
        self.handle_response(index, message)
    }

    /// Lets a response move its request on.
    fn handle_response(&mut self, index: usize, message: &Message<'_>) -> Outcome {
        let bounds = Bounds::datagrams::<S>(self.config.borrow(), self.message_limit);
        let entry = self.outgoing.as_mut_slice().get_mut(index);
        let Some(Outgoing {
            work: Work::Request(transfer),
            phase,
            ..
        }) = entry
        else {
            return Outcome::Handled;
        };
        match self.blocks.handle_response(bounds, transfer, message) {
            Progress::GoesOn => {
                *phase = Phase::Queued;
                Outcome::Handled
            }
            Progress::Fails(error) => {
                *phase = Phase::Failed(error);
                Outcome::Handled
            }
            Progress::Ends => match self.remove_outgoing(index) {
                Some(request) => Outcome::Response(request),
                None => Outcome::Handled,
            },
            Progress::EndsWithBody(body) => match self.remove_outgoing(index) {
                Some(request) => Outcome::AssembledResponse(request, body),
                None => Outcome::Handled,
            },
        }
    }

    /// Rejects a response: a Confirmable one with a Reset, another by ignoring it.
    fn reject(&mut self, message: &Message<'_>, ignored: DropReason) -> Outcome {
        // MUST (RFC 7252 §4.2): a Confirmable message that lacks context is rejected.
        if message.message_type() == MessageType::Confirmable {
            self.reply(Header::reset(message.message_id()));
            return Outcome::Dropped(DropReason::Rejected);
        }
        Outcome::Dropped(ignored)
    }

    fn has_unknown_option(&self, message: &Message<'_>) -> bool {
        self.config().unrecognised_critical(message).is_some()
    }

    pub(crate) fn fail(&mut self, index: usize, error: RequestError) {
        if let Some(entry) = self.outgoing.as_mut_slice().get_mut(index) {
            entry.phase = Phase::Failed(error);
        }
    }

    fn find_outgoing(&self, is_sought: impl Fn(&Phase) -> bool) -> Option<usize> {
        let mut outgoing = self.outgoing.as_slice().iter();
        // A ping has no token and no response.
        outgoing.position(|entry| matches!(entry.work, Work::Request(_)) && is_sought(&entry.phase))
    }
}
