//! Requests of the peer, and how each gets its response over the same connection
//! (RFC 8323 §3.3).

use core::borrow::Borrow;

use hedgerow_coap::{Code, Message};
use hedgerow_core::{DropReason, Env};

use crate::block_message::{AddedOptions, Framing, Head, OVERHEAD, write_message};
use crate::connection::Connection;
use crate::connection::receive::Outcome;
use crate::connection::signals::Outbound;
use crate::server::unrecognised_text;
use crate::server_blocks::{Asked, Ruling};
use crate::storage::{List, MessageBuffer, Storage};
use crate::{ConnectionConfig, Error, IncomingRequest, Response};

/// A request of the peer that was handed out.
#[derive(Debug)]
pub(crate) struct Incoming<M> {
    pub(crate) handle: IncomingRequest,
    pub(crate) asked: Asked,
    pub(crate) phase: IncomingPhase<M>,
}

/// Where a response stands.
#[derive(Debug)]
pub(crate) enum IncomingPhase<M> {
    /// The application hasn't answered.
    ExpectAnswer,
    /// The response waits to be sent.
    Queued(M),
    /// The connection has ended first.
    Failed,
}

impl<S: Storage, C: Borrow<ConnectionConfig>> Connection<S, C> {
    pub(crate) fn handle_request(&mut self, env: &mut Env<'_>, message: &Message<'_>) -> Outcome {
        let config = &self.config.borrow().exchange;
        if let Some(option) = config.unrecognised_critical(message) {
            // MUST (RFC 7252 §5.4.1): an unrecognised critical option in a request leads to 4.02.
            let text = unrecognised_text(option.number());
            let none = AddedOptions::default();
            return self.answer(message, Code::BAD_OPTION, &none, text.as_bytes());
        }
        if config.refuses_to_proxy(message) {
            return self.answer_plainly(message, Code::PROXYING_NOT_SUPPORTED);
        }
        if self.is_incoming_full() {
            // Nothing comes again over a reliable transport, so silence would leave the peer waiting.
            self.answer_plainly(message, Code::SERVICE_UNAVAILABLE);
            return Outcome::Dropped(DropReason::ExchangeTableFull);
        }
        let bounds = Self::bounds(self.config.borrow(), self.peer);
        match self.blocks.handle_request(bounds, env.now, message) {
            Ruling::HandOut(asked) => Outcome::Request(self.hand_out(asked)),
            Ruling::HandOutBody(asked, body) => {
                Outcome::AssembledRequest(self.hand_out(asked), body)
            }
            Ruling::Answer(answer) => {
                let outcome = self.answer(message, answer.code, &answer.added, &[]);
                answer.dropped.map_or(outcome, Outcome::Dropped)
            }
            Ruling::Slice {
                asked,
                body,
                code,
                block2,
            } => {
                let head = head(message, code);
                let slice = self.blocks.write_slice(bounds, head, &asked, body, block2);
                match slice {
                    Ok(Some(bytes)) => self.push_answer(bytes),
                    _ => self.answer_plainly(message, Code::BAD_REQUEST),
                }
            }
        }
    }

    /// Gives a request of the peer its whole response. A body that doesn't fit a message that the
    /// peer takes is kept for the blocks that it will ask for (RFC 7959 §2.4).
    ///
    /// # Errors
    ///
    /// [`Error::UnknownHandle`] if the request was answered before or the connection has ended;
    /// [`Error::UnexpectedCode`], [`Error::ReservedOption`], [`Error::OptionsTooLong`],
    /// [`Error::BodyTooLong`], [`Error::NoRoomForBody`] and [`Error::Encode`] for a response that
    /// can't be sent: the request then still waits for one.
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
        let entry = self.incoming.as_mut_slice().get_mut(index);
        let entry = entry.ok_or(Error::UnknownHandle)?;
        let head = Head {
            framing: Framing::Stream,
            code,
            token: entry.asked.token,
        };
        let bounds = Self::bounds(self.config.borrow(), self.peer);
        let content = &response.content;
        let message = self
            .blocks
            .write_response(bounds, env.now, head, &entry.asked, content)?;
        entry.phase = IncomingPhase::Queued(message);
        Ok(())
    }

    /// Leaves a request of the peer without a response. Nothing tells the peer: it waits until it
    /// gives up.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownHandle`] as for [`Self::respond`].
    pub fn ignore(&mut self, request: IncomingRequest) -> Result<(), Error> {
        self.release_lent();
        let index = self.find_incoming(request).ok_or(Error::UnknownHandle)?;
        self.incoming.remove(index).ok_or(Error::UnknownHandle)?;
        Ok(())
    }

    fn hand_out(&mut self, asked: Asked) -> IncomingRequest {
        let handle = IncomingRequest(self.next_handle());
        // There is room: `handle_request` has looked.
        let _ = self.incoming.push(Incoming {
            handle,
            asked,
            phase: IncomingPhase::ExpectAnswer,
        });
        handle
    }

    fn answer_plainly(&mut self, message: &Message<'_>, code: Code) -> Outcome {
        self.answer(message, code, &AddedOptions::default(), &[])
    }

    /// Answers a request that the application doesn't get to see.
    fn answer(
        &mut self,
        message: &Message<'_>,
        code: Code,
        added: &AddedOptions,
        payload: &[u8],
    ) -> Outcome {
        let mut bytes = S::Message::default();
        let len = OVERHEAD.saturating_add(payload.len());
        let written = bytes.write(len, |out| {
            let none = core::iter::empty();
            write_message(out, head(message, code), none, added, payload)
        });
        match written {
            Ok(()) => self.push_answer(bytes),
            Err(_) => Outcome::Dropped(DropReason::ExchangeTableFull),
        }
    }

    fn push_answer(&mut self, bytes: S::Message) -> Outcome {
        // There is room: `handle_bytes` has looked.
        match self.outbox.push(Outbound::Message(bytes)) {
            Ok(()) => Outcome::Handled,
            Err(_) => Outcome::Dropped(DropReason::ExchangeTableFull),
        }
    }

    fn find_incoming(&self, request: IncomingRequest) -> Option<usize> {
        let mut incoming = self.incoming.as_slice().iter();
        incoming.position(|entry| {
            entry.handle == request && matches!(entry.phase, IncomingPhase::ExpectAnswer)
        })
    }
}

/// Makes the head of the answer to a request.
fn head(message: &Message<'_>, code: Code) -> Head {
    Head {
        framing: Framing::Stream,
        code,
        token: message.token(),
    }
}
