//! Block-wise transfer in the client's role, RFC 7959: uploads by Block1, downloads by Block2, and
//! one after the other.

use core::borrow::Borrow;

use hedgerow_coap::{Code, Message, MessageOption, MessageType, OptionNumber};

use crate::block_message::{
    AddedOptions, Head, OVERHEAD, block_at, block_of, block_option, block_size, fitting_szx,
    write_message,
};
use crate::client::{Phase, Sent, Transfer, Work};
use crate::exchange::Outcome;
use crate::storage::{Bodies, BodyId, List, Storage};
use crate::{Config, Error, Exchange, RequestError};

/// Which message of the transfer is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// The request fits one message.
    Whole,
    /// The block of the request's body that begins at `offset`.
    Upload {
        offset: usize,
        szx: u8,
        request_tag: Option<u32>,
    },
    /// The block of the response's body that begins where `assembly` ends.
    Download {
        /// The response so far, as one message.
        assembly: BodyId,
        /// Bytes of payload in `assembly`.
        received: usize,
        szx: u8,
        upload: Upload,
    },
}

/// What came before a download.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Upload {
    /// The request went in one message.
    None,
    /// The request went in blocks, with this Request-Tag.
    Done(Option<u32>),
}

impl Upload {
    pub(crate) const fn is_done(self) -> bool {
        matches!(self, Self::Done(_))
    }
}

impl<S: Storage, C: Borrow<Config>> Exchange<S, C> {
    /// Chooses between one message and blocks for a body of `len` bytes.
    pub(crate) fn first_step(&mut self, len: usize, options_len: usize) -> Result<Step, Error> {
        let config = self.config();
        let max_szx = config.block_szx();
        let max_len = self.max_message_len();
        let needed = OVERHEAD.saturating_add(options_len);
        let largest = block_size(max_szx);
        if len <= largest && needed.saturating_add(len) <= max_len {
            return Ok(Step::Whole);
        }
        let szx = fitting_szx(options_len, max_len, max_szx)
            .ok_or(Error::OptionsTooLong { len: options_len })?;
        Ok(self.upload(szx))
    }

    /// Begins an upload, under a Request-Tag that wasn't used before: a block that a stranger
    /// delayed then fits no later upload (RFC 9175 §3.3).
    pub(crate) fn upload(&mut self, szx: u8) -> Step {
        let request_tag = self.config().send_request_tag.then(|| {
            self.last_request_tag = self.last_request_tag.wrapping_add(1);
            self.last_request_tag
        });
        Step::Upload {
            offset: 0,
            szx,
            request_tag,
        }
    }

    /// Writes the current message of a request; `None` if the transfer has outgrown the format.
    pub(crate) fn write_request(
        &self,
        transfer: &Transfer,
        sent: Sent,
        out: &mut [u8],
    ) -> Option<usize> {
        let template = Message::decode(self.bodies.bytes(transfer.template)).ok()?;
        let config = self.config();
        let body = template.payload();
        let preferred = || block_at(0, false, config.block_szx());
        let mut added = AddedOptions::default();
        let mut is_first = true;
        let payload = match transfer.step {
            Step::Whole => {
                added.block2 = preferred().filter(|_| config.negotiate_block2);
                body
            }
            Step::Upload {
                offset,
                szx,
                request_tag,
            } => {
                let (block, more) = block_of(body, offset, szx);
                is_first = offset == 0;
                added.block1 = Some(block_at(offset, more, szx)?);
                added.size1 = u32::try_from(body.len()).ok().filter(|_| is_first);
                added.block2 = preferred().filter(|_| config.negotiate_block2 && !more);
                added.request_tag = request_tag;
                block
            }
            Step::Download {
                received,
                szx,
                upload,
                ..
            } => {
                added.block2 = Some(block_at(received, false, szx)?);
                match upload {
                    // The payload of a FETCH says what is fetched (RFC 8132 §2.3.2). Others have
                    // been carried out, and only their response is asked for (RFC 7959 §2.7).
                    Upload::None if transfer.code == Code::FETCH => body,
                    Upload::None => &[],
                    Upload::Done(request_tag) => {
                        added.request_tag = request_tag;
                        &[]
                    }
                }
            }
        };
        let message_type = match transfer.is_confirmable {
            true => MessageType::Confirmable,
            false => MessageType::NonConfirmable,
        };
        let head = Head {
            message_type,
            code: transfer.code,
            message_id: sent.message_id,
            token: sent.token,
        };
        // MUST (RFC 7959 §2.10): If-None-Match isn't used with a block other than the first.
        let options = template
            .options()
            .filter(|option| is_first || option.number() != OptionNumber::IF_NONE_MATCH);
        write_message(out, head, options, &added, payload).ok()
    }

    /// Takes in a response whose token is right and whose critical options are understood.
    pub(crate) fn handle_response(&mut self, index: usize, message: &Message<'_>) -> Outcome {
        let entry = self.outgoing.as_slice().get(index);
        let Some(Work::Request(transfer)) = entry.map(|entry| &entry.work) else {
            return Outcome::Handled;
        };
        let transfer = *transfer;
        match transfer.step {
            Step::Whole if message.code() == Code::REQUEST_ENTITY_TOO_LARGE => {
                self.handle_too_large(index, &transfer, message, None)
            }
            Step::Whole => self.handle_final(index, message, Upload::None),
            Step::Upload {
                offset,
                szx,
                request_tag,
            } => self.handle_upload(index, &transfer, message, (offset, szx, request_tag)),
            Step::Download {
                assembly,
                received,
                szx,
                upload,
            } => self.handle_block(index, &transfer, message, (assembly, received, szx, upload)),
        }
    }

    fn handle_upload(
        &mut self,
        index: usize,
        transfer: &Transfer,
        message: &Message<'_>,
        (offset, szx, request_tag): (usize, u8, Option<u32>),
    ) -> Outcome {
        let Ok(control) = block_option(message, OptionNumber::BLOCK1) else {
            return self.fail_and_handle(index, RequestError::UnexpectedBlock);
        };
        let next = offset.saturating_add(block_size(szx));
        let is_last = next >= self.body_len(transfer);
        let code = message.code();
        if code == Code::REQUEST_ENTITY_TOO_LARGE && offset == 0 {
            return self.handle_too_large(index, transfer, message, Some(szx));
        }
        if code == Code::REQUEST_ENTITY_INCOMPLETE && self.may_restart(transfer) {
            // The server lost the blocks before this one, and has done nothing with them.
            let step = self.upload(szx);
            self.go_on(index, step, true);
            return Outcome::Handled;
        }
        // A server may also act on each block by itself and answer each with its final code
        // (RFC 7959 §2.3); the rest still has to be sent.
        let goes_on =
            code == Code::CONTINUE || (code.is_success() && control.is_some() && !is_last);
        if !goes_on {
            return self.handle_final(index, message, Upload::Done(request_tag));
        }
        let is_acknowledged = control.is_none_or(|control| {
            block_at(offset, true, szx).map(|b| b.num()) == Some(control.num())
        });
        if is_last || !is_acknowledged {
            return self.fail_and_handle(index, RequestError::UnexpectedBlock);
        }
        // RFC 7959 §2.5: from now on blocks are no larger than the server prefers.
        let szx = control.map_or(szx, |control| control.szx().min(szx));
        let step = Step::Upload {
            offset: next,
            szx,
            request_tag,
        };
        self.go_on(index, step, false);
        Outcome::Handled
    }

    /// Takes 4.13 as the hint that it may be: to try blocks, or smaller ones (RFC 7959 §2.9.3).
    fn handle_too_large(
        &mut self,
        index: usize,
        transfer: &Transfer,
        message: &Message<'_>,
        tried: Option<u8>,
    ) -> Outcome {
        let len = self.body_len(transfer);
        let limit = message
            .option(OptionNumber::SIZE1)
            .and_then(|option| option.as_uint());
        let is_hopeless =
            limit.is_some_and(|limit| usize::try_from(limit).is_ok_and(|limit| limit < len));
        let hint = block_option(message, OptionNumber::BLOCK1)
            .ok()
            .flatten()
            .map(|block| block.szx());
        let max_szx = self.config().block_szx();
        let szx = match tried {
            Some(tried) => hint.filter(|szx| *szx < tried),
            None => (0..=hint.unwrap_or(max_szx).min(max_szx))
                .rev()
                .find(|szx| block_size(*szx) < len),
        };
        match szx {
            Some(szx) if !is_hopeless => {
                let step = self.upload(szx);
                self.go_on(index, step, false);
                Outcome::Handled
            }
            _ => self.deliver(index),
        }
    }

    /// Takes in the response to the whole request: all of it, or its first block.
    fn handle_final(&mut self, index: usize, message: &Message<'_>, upload: Upload) -> Outcome {
        let block = match block_option(message, OptionNumber::BLOCK2) {
            Ok(Some(block)) => block,
            Ok(None) => return self.deliver(index),
            Err(_) => return self.fail_and_handle(index, RequestError::UnexpectedBlock),
        };
        if block.num() != 0 || (block.more() && message.payload().len() != block.size()) {
            return self.fail_and_handle(index, RequestError::UnexpectedBlock);
        }
        if !block.more() {
            return self.deliver(index);
        }
        let config = self.config();
        let received = message.payload().len();
        let announced = message
            .option(OptionNumber::SIZE2)
            .and_then(|option| option.as_uint())
            .and_then(|size| usize::try_from(size).ok());
        let max = config.max_body_len;
        if received > max || announced.is_some_and(|size| size > max) {
            return self.fail_and_handle(index, RequestError::ResponseTooLarge);
        }
        let szx = block.szx().min(config.block_szx());
        let Some(assembly) = self.keep_first_block(message) else {
            return self.fail_and_handle(index, RequestError::NoRoomForBody);
        };
        let step = Step::Download {
            assembly,
            received,
            szx,
            upload,
        };
        self.go_on(index, step, false);
        Outcome::Handled
    }

    fn handle_block(
        &mut self,
        index: usize,
        transfer: &Transfer,
        message: &Message<'_>,
        (assembly, received, szx, upload): (BodyId, usize, u8, Upload),
    ) -> Outcome {
        let Ok(first) = Message::decode(self.bodies.bytes(assembly)) else {
            return self.fail_and_handle(index, RequestError::UnexpectedBlock);
        };
        if message.code() != first.code() {
            return match message.code().is_success() {
                true => self.fail_and_handle(index, RequestError::UnexpectedBlock),
                // What the server says instead of a block is its answer.
                false => self.deliver(index),
            };
        }
        // MUST (RFC 7959 §2.4): blocks are put together only under one ETag.
        let is_same = [OptionNumber::ETAG, OptionNumber::CONTENT_FORMAT]
            .into_iter()
            .all(|number| first.option(number) == message.option(number));
        if !is_same {
            let is_safe = matches!(transfer.code, Code::GET | Code::FETCH);
            return match upload {
                Upload::None if is_safe && self.may_restart(transfer) => {
                    self.bodies.release(assembly);
                    self.go_on(index, Step::Whole, true);
                    Outcome::Handled
                }
                _ => self.fail_and_handle(index, RequestError::RepresentationChanged),
            };
        }
        let block = match block_option(message, OptionNumber::BLOCK2) {
            Ok(Some(block)) if usize::try_from(block.offset()) == Ok(received) => block,
            _ => return self.fail_and_handle(index, RequestError::UnexpectedBlock),
        };
        let payload = message.payload();
        let is_length_right = match block.more() {
            true => payload.len() == block.size(),
            false => payload.len() <= block.size(),
        };
        if !is_length_right {
            return self.fail_and_handle(index, RequestError::UnexpectedBlock);
        }
        let received = received.saturating_add(payload.len());
        if received > self.config().max_body_len {
            return self.fail_and_handle(index, RequestError::ResponseTooLarge);
        }
        let max_total = self.config().max_bodies_len;
        if !self.bodies.append(assembly, payload, max_total) {
            return self.fail_and_handle(index, RequestError::NoRoomForBody);
        }
        let step = Step::Download {
            assembly,
            received,
            szx: block.szx().min(szx),
            upload,
        };
        if block.more() {
            self.go_on(index, step, false);
            return Outcome::Handled;
        }
        // The assembly is lent to the caller, so it must not go with the request.
        self.set_step(index, Step::Whole);
        match self.remove_outgoing(index) {
            Some(request) => Outcome::AssembledResponse(request, assembly),
            None => Outcome::Handled,
        }
    }

    /// Stores the first block of a response without what belongs to the block alone.
    fn keep_first_block(&mut self, message: &Message<'_>) -> Option<BodyId> {
        let options = message.options().filter(|option| {
            !matches!(
                option.number(),
                OptionNumber::BLOCK1
                    | OptionNumber::BLOCK2
                    | OptionNumber::SIZE1
                    | OptionNumber::SIZE2
            )
        });
        self.keep_message(message, options)
    }

    /// Stores a message with `options` instead of its own, as the beginning of a body.
    pub(crate) fn keep_message<'o>(
        &mut self,
        message: &Message<'_>,
        options: impl Iterator<Item = MessageOption<'o>> + Clone,
    ) -> Option<BodyId> {
        // Leaving an option out can lengthen the next one's header by two bytes.
        let options_len = options.clone().fold(0_usize, |len, option| {
            len.saturating_add(5).saturating_add(option.value().len())
        });
        let len = options_len
            .saturating_add(5)
            .saturating_add(message.payload().len());
        let body = self
            .bodies
            .allocate(len, self.config.borrow().max_bodies_len)?;
        let head = Head::kept(message.code());
        let out = self.bodies.bytes_mut(body);
        let added = AddedOptions::default();
        match write_message(out, head, options, &added, message.payload()) {
            Ok(len) => {
                self.bodies.truncate(body, len);
                Some(body)
            }
            Err(_) => {
                self.bodies.release(body);
                None
            }
        }
    }

    fn body_len(&self, transfer: &Transfer) -> usize {
        Message::decode(self.bodies.bytes(transfer.template))
            .map_or(0, |template| template.payload().len())
    }

    fn may_restart(&self, transfer: &Transfer) -> bool {
        transfer.restarts < self.config().max_block_restarts
    }

    /// Queues the next message of a transfer.
    fn go_on(&mut self, index: usize, step: Step, is_restart: bool) {
        self.set_step(index, step);
        if let Some(entry) = self.outgoing.as_mut_slice().get_mut(index) {
            entry.phase = Phase::Queued;
            if let Work::Request(transfer) = &mut entry.work
                && is_restart
            {
                transfer.restarts = transfer.restarts.saturating_add(1);
            }
        }
    }

    pub(crate) fn set_step(&mut self, index: usize, step: Step) {
        let entry = self.outgoing.as_mut_slice().get_mut(index);
        if let Some(Work::Request(transfer)) = entry.map(|entry| &mut entry.work) {
            transfer.step = step;
        }
    }

    /// Ends a request with the response in the datagram.
    fn deliver(&mut self, index: usize) -> Outcome {
        match self.remove_outgoing(index) {
            Some(request) => Outcome::Response(request),
            None => Outcome::Handled,
        }
    }

    fn fail_and_handle(&mut self, index: usize, error: RequestError) -> Outcome {
        self.fail(index, error);
        Outcome::Handled
    }
}
