//! Requests of this end and pings, and which response belongs to which: by the token alone
//! (RFC 8323 §3.3).

use core::borrow::Borrow;

use hedgerow_coap::{Message, Token};
use hedgerow_core::{DropReason, Instant};

use crate::block_message::AddedOptions;
use crate::client_blocks::{Progress, Step, Transfer};
use crate::connection::receive::Outcome;
use crate::connection::{Connection, State};
use crate::echo::Echoing;
use crate::storage::{List, Storage};
use crate::{ConnectionConfig, Error, Event, OutgoingRequest, Request, RequestError};

/// A request of this end, or a ping.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) handle: OutgoingRequest,
    pub(crate) work: PendingWork,
    pub(crate) phase: PendingPhase,
}

#[derive(Debug)]
pub(crate) enum PendingWork {
    Ping { custody: bool, was_sent: bool },
    Request(Transfer),
}

/// Where the current message stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PendingPhase {
    Queued,
    ExpectResponse {
        token: Token,
        sent_at: Instant,
        until: Instant,
    },
    /// The ping was answered.
    Pong {
        custody: bool,
    },
    /// Ended without a response.
    Failed(RequestError),
}

impl Pending {
    pub(crate) const fn is_under_way(&self) -> bool {
        matches!(
            self.phase,
            PendingPhase::Queued | PendingPhase::ExpectResponse { .. }
        )
    }

    /// Says whether any message of it went out.
    pub(crate) const fn was_sent(&self) -> bool {
        match &self.work {
            PendingWork::Ping { was_sent, .. } => *was_sent,
            PendingWork::Request(transfer) => transfer.was_sent,
        }
    }

    /// Returns the event to report if this has ended without a response.
    pub(crate) const fn ended(&self) -> Option<Event> {
        let request = self.handle;
        match self.phase {
            PendingPhase::Failed(error) => Some(Event::RequestFailed { request, error }),
            PendingPhase::Pong { custody: false } => Some(Event::Pong { request }),
            PendingPhase::Pong { custody: true } => Some(Event::CustodyPong { request }),
            _ => None,
        }
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|until| until <= now) {
            self.phase = PendingPhase::Failed(RequestError::ResponseTimeout);
        }
    }

    pub(crate) const fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            PendingPhase::ExpectResponse { until, .. } => Some(until),
            _ => None,
        }
    }

    /// Returns when the request was sent whose response is waited for.
    pub(crate) const fn sent_at(&self) -> Option<Instant> {
        match (&self.work, self.phase) {
            (PendingWork::Request(_), PendingPhase::ExpectResponse { sent_at, .. }) => {
                Some(sent_at)
            }
            _ => None,
        }
    }
}

impl<S: Storage, C: Borrow<ConnectionConfig>> Connection<S, C> {
    /// Takes in a whole request, to be sent in blocks if its body doesn't fit a message that the
    /// peer takes. It ends with [`Received::Response`](crate::Received::Response) or
    /// [`Event::RequestFailed`]. Whether it is Confirmable makes no difference: it is sent once, over
    /// a transport that delivers it.
    ///
    /// # Errors
    ///
    /// [`Error::ConnectionEnding`] if either end has released or aborted the connection;
    /// [`Error::TooManyRequests`], [`Error::BodyTooLong`], [`Error::NoRoomForBody`] where a bound is
    /// reached; [`Error::UnexpectedCode`], [`Error::ReservedOption`] and [`Error::Encode`] for a
    /// request that can't be sent.
    pub fn request(&mut self, request: &Request<'_>) -> Result<OutgoingRequest, Error> {
        self.release_lent();
        let code = request.content.code;
        if !code.is_request() {
            return Err(Error::UnexpectedCode { code });
        }
        self.check_room_for_request()?;
        let options_len = request.content.check_options()?;
        let none = AddedOptions::default();
        let config = &self.config.borrow().exchange;
        let template = self
            .blocks
            .keep(config, &request.content, &none, options_len)?;
        Ok(self.push_outgoing(PendingWork::Request(Transfer {
            template,
            code,
            is_confirmable: true,
            was_sent: false,
            restarts: 0,
            echoing: Echoing::new(request.hands_out_challenges),
            // How long a message may be is known when it is sent.
            step: Step::Whole,
        })))
    }

    /// Sends a Ping (RFC 8323 §5.4). It ends with [`Event::Pong`], [`Event::CustodyPong`] or
    /// [`Event::RequestFailed`]. With `custody` the peer is asked to answer only when it has processed
    /// everything that was sent before (§5.4.1).
    ///
    /// # Errors
    ///
    /// [`Error::TooManyRequests`], [`Error::ConnectionEnding`].
    pub fn ping(&mut self, custody: bool) -> Result<OutgoingRequest, Error> {
        self.release_lent();
        self.check_room_for_request()?;
        let was_sent = false;
        Ok(self.push_outgoing(PendingWork::Ping { custody, was_sent }))
    }

    /// Gives a request up. It ends with [`Event::RequestFailed`] and [`RequestError::Cancelled`]; a
    /// response that still comes is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownHandle`] if it has ended.
    pub fn cancel(&mut self, request: OutgoingRequest) -> Result<(), Error> {
        self.release_lent();
        let mut outgoing = self.outgoing.as_mut_slice().iter_mut();
        let entry = outgoing
            .find(|entry| entry.handle == request && entry.is_under_way())
            .ok_or(Error::UnknownHandle)?;
        entry.phase = PendingPhase::Failed(RequestError::Cancelled);
        Ok(())
    }

    fn check_room_for_request(&self) -> Result<(), Error> {
        if !self.accepts_requests() {
            return Err(Error::ConnectionEnding);
        }
        let len = self.outgoing.as_slice().len();
        if self.outgoing.is_full() || len >= self.config().exchange.max_outgoing {
            return Err(Error::TooManyRequests);
        }
        Ok(())
    }

    fn push_outgoing(&mut self, work: PendingWork) -> OutgoingRequest {
        let handle = OutgoingRequest(self.next_handle());
        // There is room: the caller has looked.
        let _ = self.outgoing.push(Pending {
            handle,
            work,
            phase: PendingPhase::Queued,
        });
        handle
    }

    /// Takes a request out and gives back what it holds.
    pub(crate) fn remove_outgoing(&mut self, index: usize) -> Option<OutgoingRequest> {
        let entry = self.outgoing.remove(index)?;
        if let PendingWork::Request(transfer) = entry.work {
            self.blocks.release_transfer(&transfer);
        }
        Some(entry.handle)
    }

    pub(crate) fn handle_response(&mut self, message: &Message<'_>) -> Outcome {
        let bounds = Self::bounds(self.config.borrow(), self.peer);
        let mut outgoing = self.outgoing.as_mut_slice().iter_mut().enumerate();
        let found = outgoing.find_map(|(index, entry)| match (&mut entry.work, entry.phase) {
            (PendingWork::Request(transfer), PendingPhase::ExpectResponse { token, .. })
                if token == message.token() =>
            {
                Some((index, transfer, &mut entry.phase))
            }
            _ => None,
        });
        let Some((index, transfer, phase)) = found else {
            return Outcome::Dropped(DropReason::Unmatched);
        };
        if bounds.config.unrecognised_critical(message).is_some() {
            // MUST (RFC 7252 §5.4.1): a response with an unrecognised critical option is rejected.
            // Nothing in it is ill-formed, so the connection goes on.
            *phase = PendingPhase::Failed(RequestError::UnrecognisedCriticalOption);
            return Outcome::Handled;
        }
        let (ended, body) = match self.blocks.handle_response(bounds, transfer, message) {
            Progress::GoesOn => {
                *phase = PendingPhase::Queued;
                return Outcome::Handled;
            }
            Progress::Fails(error) => {
                *phase = PendingPhase::Failed(error);
                return Outcome::Handled;
            }
            Progress::Ends => (self.remove_outgoing(index), None),
            Progress::EndsWithBody(body) => (self.remove_outgoing(index), Some(body)),
        };
        match (ended, body) {
            (Some(request), None) => Outcome::Response(request),
            (Some(request), Some(body)) => Outcome::AssembledResponse(request, body),
            (None, _) => Outcome::Handled,
        }
    }

    /// Says whether requests may go out: the peer's CSM has come, or needn't be waited for.
    pub(crate) fn may_send_requests(&self) -> bool {
        match self.state {
            State::ExpectCsm { .. } => !self.config().wait_for_csm,
            State::Open | State::Finishing | State::ReleasedByPeer { .. } => true,
            State::Released { .. } | State::Aborting(_) | State::Closed { .. } => false,
        }
    }
}
