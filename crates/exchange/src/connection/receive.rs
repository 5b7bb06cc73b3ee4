//! What comes in: from the bytes of the stream to what a message turned out to be.

use core::borrow::Borrow;

use hedgerow_coap::{Frame, FrameError, Message, Signal};
use hedgerow_core::{DropReason, Env};

use crate::connection::inbox::Taken;
use crate::connection::responses::IncomingPhase;
use crate::connection::signals::Probe;
use crate::connection::{Connection, State};
use crate::storage::{BodyId, List, Storage};
use crate::{CloseReason, ConnectionConfig, IncomingRequest, OutgoingRequest, Received};

/// What a message turned out to be, before its view is lent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Handled,
    Ping,
    Release,
    Abort,
    Dropped(DropReason),
    /// The request lies in the message.
    Request(IncomingRequest),
    /// The request lies in a body.
    AssembledRequest(IncomingRequest, BodyId),
    /// The response lies in the message.
    Response(OutgoingRequest),
    /// The response lies in a body.
    AssembledResponse(OutgoingRequest, BodyId),
}

impl<S: Storage, C: Borrow<ConnectionConfig>> Connection<S, C> {
    /// Takes in bytes of the stream, up to the end of one message at most, and returns what the
    /// message was with the bytes not taken. They may be cut anywhere; of a message that isn't all
    /// there the beginning is kept, and [`Received::Handled`] returned.
    ///
    /// It is called again as long as bytes are left, but for [`Received::Blocked`]: nothing was taken
    /// then, and [`Self::poll_transmit`] is to be called first. A message longer than this end's
    /// Max-Message-Size aborts the connection before it is kept.
    pub fn handle_bytes<'a, 'd: 'a>(
        &'a mut self,
        env: &mut Env<'_>,
        data: &'d [u8],
    ) -> (Received<'a>, &'d [u8]) {
        self.release_lent();
        if matches!(self.state, State::Aborting(_) | State::Closed { .. }) {
            return (Received::Dropped(DropReason::AfterClose), &[]);
        }
        if data.is_empty() {
            return (Received::Handled, data);
        }
        if self.is_blocked() {
            return (Received::Blocked, data);
        }
        self.last_received = env.now;
        if !matches!(self.probe, Probe::ExpectPong { .. }) {
            self.probe = Probe::None;
        }
        let max = self.own_max_message_size();
        let max_len = usize::try_from(max).unwrap_or(usize::MAX);
        match self.inbox.take(data, max_len) {
            Taken::Message { message, rest } => match self.handle_frame(env, message) {
                Ok((outcome, frame)) => (lend(outcome, frame, &mut self.blocks), rest),
                Err(reason) => (Received::Dropped(reason), &[]),
            },
            Taken::Kept { rest } => {
                let mut inbox = core::mem::take(&mut self.inbox);
                let handled = self.handle_frame(env, inbox.lend());
                let outcome = handled.map(|(outcome, _)| outcome);
                self.inbox = inbox;
                let frame = Frame::decode(self.inbox.lend());
                match (outcome, frame) {
                    (Ok(outcome), Ok((frame, _))) => (lend(outcome, frame, &mut self.blocks), rest),
                    (Err(reason), _) => (Received::Dropped(reason), &[]),
                    (Ok(_), Err(_)) => (Received::Dropped(DropReason::Malformed), &[]),
                }
            }
            Taken::Incomplete => (Received::Handled, &[]),
            Taken::TooLong { len } => {
                self.abort_for(CloseReason::MessageTooLong { len, max });
                (Received::Dropped(DropReason::TooLong), &[])
            }
            Taken::Format(error) => {
                self.abort_for(CloseReason::Format(error));
                (Received::Dropped(DropReason::Malformed), &[])
            }
        }
    }

    /// Says whether [`Self::handle_bytes`] would take nothing in, since too much waits to be sent.
    /// The transport needn't be read meanwhile, which makes the peer wait.
    pub fn is_blocked(&self) -> bool {
        let max = self.config().exchange.max_replies.max(1);
        if self.outbox.is_full() || self.outbox.as_slice().len() >= max {
            return true;
        }
        // Responses that wait make room when they are sent; a request that waits for its
        // application doesn't, and is no reason to let this end's own responses wait.
        let incoming = self.incoming.as_slice();
        self.is_incoming_full()
            && incoming
                .iter()
                .any(|entry| matches!(entry.phase, IncomingPhase::Queued(_)))
    }

    pub(crate) fn is_incoming_full(&self) -> bool {
        let len = self.incoming.as_slice().len();
        self.incoming.is_full() || len >= self.config().exchange.max_incoming
    }

    /// Handles a whole message; an error has aborted the connection.
    fn handle_frame<'m>(
        &mut self,
        env: &mut Env<'_>,
        message: &'m [u8],
    ) -> Result<(Outcome, Frame<'m>), DropReason> {
        let frame = match Frame::decode(message) {
            Ok((frame, _)) => frame,
            Err(error) => {
                // RFC 8323 §5.6: a message with a syntax violation is rejected by an Abort.
                if let FrameError::Format(error) = error {
                    self.abort_for(CloseReason::Format(error));
                }
                return Err(DropReason::Malformed);
            }
        };
        let outcome = match &frame {
            // MUST (RFC 8323 §3.4): Empty messages can always be sent and are ignored.
            Frame::Empty => Outcome::Handled,
            Frame::Signaling(signaling) => self.handle_signaling(env.now, signaling),
            // MUST (RFC 8323 §3.3): a missing CSM aborts the connection, also before a request.
            Frame::Message(_) if !self.is_established() => {
                self.abort_for(CloseReason::MissingCsm);
                Outcome::Dropped(DropReason::UnexpectedMessage)
            }
            Frame::Message(message) => self.handle_message(env, message),
        };
        Ok((outcome, frame))
    }

    fn handle_message(&mut self, env: &mut Env<'_>, message: &Message<'_>) -> Outcome {
        match message.code().is_request() {
            true => self.handle_request(env, message),
            false => self.handle_response(message),
        }
    }
}

/// Puts the view of a message to what it turned out to be.
fn lend<'a, S: Storage>(
    outcome: Outcome,
    frame: Frame<'a>,
    blocks: &'a mut crate::blocks::Blocks<S>,
) -> Received<'a> {
    match (outcome, frame) {
        (Outcome::Handled, _) => Received::Handled,
        (Outcome::Ping, _) => Received::Ping,
        (Outcome::Dropped(reason), _) => Received::Dropped(reason),
        (Outcome::Request(request), Frame::Message(message)) => {
            Received::Request { request, message }
        }
        (Outcome::Response(request), Frame::Message(message)) => {
            Received::Response { request, message }
        }
        (Outcome::AssembledRequest(request, body), _) => match blocks.lend(body) {
            Some(message) => Received::Request { request, message },
            None => Received::Dropped(DropReason::Malformed),
        },
        (Outcome::AssembledResponse(request, body), _) => match blocks.lend(body) {
            Some(message) => Received::Response { request, message },
            None => Received::Dropped(DropReason::Malformed),
        },
        (Outcome::Release | Outcome::Abort, Frame::Signaling(message)) => match message.signal() {
            Ok(Signal::Release(release)) => Received::Release { release },
            Ok(Signal::Abort(abort)) => Received::Abort { abort },
            _ => Received::Handled,
        },
        _ => Received::Dropped(DropReason::Malformed),
    }
}
