//! Block-wise transfer in the client's role, RFC 7959: uploads by Block1, downloads by Block2, and
//! one after the other.

use hedgerow_coap::{Code, Message, OptionNumber};

use crate::block_message::{
    AddedOptions, BlockSize, Head, WHOLE_REQUEST_OVERHEAD, block_at, block_of, block_option,
    block_size, write_message,
};
use crate::blocks::{Blocks, Bounds};
use crate::echo::{EchoValue, Echoing};
use crate::storage::{Bodies, BodyId, Storage};
use crate::{Error, RequestError};

/// A request with its body, of which the messages are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    /// The whole request as one message.
    pub(crate) template: BodyId,
    pub(crate) code: Code,
    pub(crate) is_confirmable: bool,
    /// Whether any message of it went out, so that the peer may have acted on it.
    pub(crate) was_sent: bool,
    pub(crate) restarts: u8,
    pub(crate) echoing: Echoing,
    pub(crate) step: Step,
}

/// What a response makes of its request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Progress {
    /// The next message of the transfer is to be sent.
    GoesOn,
    /// The response is in the message: the request has ended.
    Ends,
    /// The response is in a body: the request has ended.
    EndsWithBody(BodyId),
    /// The request has ended without a response.
    Fails(RequestError),
}

/// Which message of the transfer is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// The request fits one message.
    Whole,
    /// The block of the request's body that begins at `offset`.
    Upload {
        offset: usize,
        size: BlockSize,
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

impl<S: Storage> Blocks<S> {
    /// Chooses between one message and blocks for a body of `len` bytes.
    pub(crate) fn first_step(
        &mut self,
        bounds: Bounds<'_>,
        len: usize,
        options_len: usize,
    ) -> Result<Step, Error> {
        let needed = WHOLE_REQUEST_OVERHEAD.saturating_add(options_len);
        let is_short = bounds.is_stream() || len <= block_size(bounds.send_szx);
        if is_short && needed.saturating_add(len) <= bounds.send_len {
            return Ok(Step::Whole);
        }
        let size = BlockSize::fitting(options_len, bounds.send_len, bounds.send_szx)
            .ok_or(Error::OptionsTooLong { len: options_len })?;
        Ok(self.upload(bounds, size))
    }

    /// Begins an upload, under a Request-Tag that wasn't used before: a block that a stranger
    /// delayed then fits no later upload (RFC 9175 §3.3).
    pub(crate) fn upload(&mut self, bounds: Bounds<'_>, size: BlockSize) -> Step {
        let request_tag = bounds.config.send_request_tag.then(|| {
            self.last_request_tag = self.last_request_tag.wrapping_add(1);
            self.last_request_tag
        });
        Step::Upload {
            offset: 0,
            size,
            request_tag,
        }
    }

    /// Fits the current message of a request to what the peer takes by now: the first one, and
    /// blocks that it took before.
    pub(crate) fn fit(&mut self, bounds: Bounds<'_>, transfer: &mut Transfer) -> Result<(), Error> {
        let (options_len, len) = self.kept_lens(transfer.template);
        let options_len = options_len.saturating_add(transfer.echoing.option_len());
        match &mut transfer.step {
            Step::Whole => transfer.step = self.first_step(bounds, len, options_len)?,
            Step::Upload { size, .. } => {
                let fitting = BlockSize::fitting(options_len, bounds.send_len, size.szx)
                    .ok_or(Error::OptionsTooLong { len: options_len })?;
                // Blocks before it were no smaller, so it begins where a smaller one does.
                if fitting.len < size.len {
                    *size = fitting;
                }
            }
            Step::Download { upload, .. } => {
                let more = match upload {
                    Upload::None if transfer.code == Code::FETCH => len,
                    Upload::None => 0,
                    Upload::Done(_) => REQUEST_TAG_OVERHEAD,
                };
                let needed = WHOLE_REQUEST_OVERHEAD
                    .saturating_add(options_len)
                    .saturating_add(more);
                if needed > bounds.send_len {
                    return Err(Error::OptionsTooLong { len: options_len });
                }
            }
        }
        Ok(())
    }

    /// Writes the current message of a request; `None` if the transfer has outgrown the format.
    pub(crate) fn write_request(
        &self,
        bounds: Bounds<'_>,
        transfer: &Transfer,
        head: Head,
        out: &mut [u8],
    ) -> Option<usize> {
        let template = Message::decode(self.bodies.bytes(transfer.template)).ok()?;
        let body = template.payload();
        let mut added = AddedOptions {
            echo: transfer.echoing.value(),
            ..AddedOptions::default()
        };
        let mut is_first = true;
        let payload = match transfer.step {
            Step::Whole => {
                added.block2 = bounds.preferred_block2();
                body
            }
            Step::Upload {
                offset,
                size,
                request_tag,
            } => {
                let (block, more) = block_of(body, offset, size.len);
                is_first = offset == 0;
                added.block1 = Some(block_at(offset, more, size.szx)?);
                added.size1 = u32::try_from(body.len()).ok().filter(|_| is_first);
                added.block2 = bounds.preferred_block2().filter(|_| !more);
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
        // MUST (RFC 7959 §2.10): If-None-Match isn't used with a block other than the first.
        let options = template
            .options()
            .filter(|option| is_first || option.number() != OptionNumber::IF_NONE_MATCH);
        write_message(out, head, options, &added, payload).ok()
    }

    /// Takes in a response whose token is right and whose critical options are understood.
    pub(crate) fn handle_response(
        &mut self,
        bounds: Bounds<'_>,
        transfer: &mut Transfer,
        message: &Message<'_>,
    ) -> Progress {
        if let Some(progress) = self.answer_challenge(bounds, transfer, message) {
            return progress;
        }
        let progress = match transfer.step {
            Step::Whole if message.code() == Code::REQUEST_ENTITY_TOO_LARGE => {
                self.handle_too_large(bounds, transfer, message, None)
            }
            Step::Whole => self.handle_final(bounds, transfer, message, Upload::None),
            Step::Upload {
                offset,
                size,
                request_tag,
            } => self.handle_upload(bounds, transfer, message, (offset, size, request_tag)),
            Step::Download {
                assembly,
                received,
                szx,
                upload,
            } => self.handle_block(bounds, transfer, message, (assembly, received, szx, upload)),
        };
        transfer.echoing.go_on();
        progress
    }

    /// Takes in a challenge, 4.01 with Echo: the current message goes out once more with its value
    /// (RFC 9175 §2.3). The server has done nothing with it, whatever its method is.
    fn answer_challenge(
        &mut self,
        bounds: Bounds<'_>,
        transfer: &mut Transfer,
        message: &Message<'_>,
    ) -> Option<Progress> {
        let is_challenge = message.code() == Code::UNAUTHORIZED && transfer.echoing.is_open();
        let value = EchoValue::of(message).filter(|_| is_challenge)?;
        let template = Message::decode(self.bodies.bytes(transfer.template)).ok()?;
        if template.option(OptionNumber::ECHO).is_some() {
            // The application takes part in this itself.
            return None;
        }
        let before = *transfer;
        transfer.echoing = Echoing::Current(value);
        if self.fit(bounds, transfer).is_err() {
            *transfer = before;
            return None;
        }
        Some(Progress::GoesOn)
    }

    /// Gives back what a request holds that has ended.
    pub(crate) fn release_transfer(&mut self, transfer: &Transfer) {
        self.bodies.release(transfer.template);
        if let Step::Download { assembly, .. } = transfer.step {
            self.bodies.release(assembly);
        }
    }

    fn handle_upload(
        &mut self,
        bounds: Bounds<'_>,
        transfer: &mut Transfer,
        message: &Message<'_>,
        (offset, size, request_tag): (usize, BlockSize, Option<u32>),
    ) -> Progress {
        let Ok(control) = block_option(bounds.carrier, message, OptionNumber::BLOCK1) else {
            return Progress::Fails(RequestError::UnexpectedBlock);
        };
        let next = offset.saturating_add(size.len);
        let is_last = next >= self.kept_lens(transfer.template).1;
        let code = message.code();
        if code == Code::REQUEST_ENTITY_TOO_LARGE && offset == 0 {
            return self.handle_too_large(bounds, transfer, message, Some(size.szx));
        }
        if code == Code::REQUEST_ENTITY_INCOMPLETE && may_restart(bounds, transfer) {
            // The server lost the blocks before this one, and has done nothing with them.
            transfer.restarts = transfer.restarts.saturating_add(1);
            transfer.step = self.upload(bounds, size);
            return Progress::GoesOn;
        }
        // A server may also act on each block by itself and answer each with its final code
        // (RFC 7959 §2.3); the rest still has to be sent.
        let goes_on =
            code == Code::CONTINUE || (code.is_success() && control.is_some() && !is_last);
        if !goes_on {
            return self.handle_final(bounds, transfer, message, Upload::Done(request_tag));
        }
        let is_acknowledged = control.is_none_or(|control| {
            block_at(offset, true, size.szx).map(|b| b.num()) == Some(control.num())
        });
        if is_last || !is_acknowledged {
            return Progress::Fails(RequestError::UnexpectedBlock);
        }
        // RFC 7959 §2.5: from now on blocks are no larger than the server prefers.
        let size = match control {
            Some(control) if control.szx() < size.szx => BlockSize::one(control.szx()),
            _ => size,
        };
        transfer.step = Step::Upload {
            offset: next,
            size,
            request_tag,
        };
        Progress::GoesOn
    }

    /// Takes 4.13 as the hint that it may be: to try blocks, or smaller ones (RFC 7959 §2.9.3).
    fn handle_too_large(
        &mut self,
        bounds: Bounds<'_>,
        transfer: &mut Transfer,
        message: &Message<'_>,
        tried: Option<u8>,
    ) -> Progress {
        let len = self.kept_lens(transfer.template).1;
        let limit = message
            .option(OptionNumber::SIZE1)
            .and_then(|option| option.as_uint());
        let is_hopeless =
            limit.is_some_and(|limit| usize::try_from(limit).is_ok_and(|limit| limit < len));
        let hint = block_option(bounds.carrier, message, OptionNumber::BLOCK1)
            .ok()
            .flatten()
            .map(|block| block.szx());
        let max_szx = bounds.config.block_szx();
        let szx = match tried {
            Some(tried) => hint.filter(|szx| *szx < tried),
            None => (0..=hint.unwrap_or(max_szx).min(max_szx))
                .rev()
                .find(|szx| block_size(*szx) < len),
        };
        match szx {
            Some(szx) if !is_hopeless => {
                transfer.step = self.upload(bounds, BlockSize::one(szx));
                Progress::GoesOn
            }
            _ => Progress::Ends,
        }
    }

    /// Takes in the response to the whole request: all of it, or its first block.
    fn handle_final(
        &mut self,
        bounds: Bounds<'_>,
        transfer: &mut Transfer,
        message: &Message<'_>,
        upload: Upload,
    ) -> Progress {
        let block = match block_option(bounds.carrier, message, OptionNumber::BLOCK2) {
            Ok(Some(block)) => block,
            Ok(None) => return Progress::Ends,
            Err(_) => return Progress::Fails(RequestError::UnexpectedBlock),
        };
        if block.num() != 0 || (block.more() && !block.allows_len(message.payload().len())) {
            return Progress::Fails(RequestError::UnexpectedBlock);
        }
        if !block.more() {
            return Progress::Ends;
        }
        let received = message.payload().len();
        let announced = message
            .option(OptionNumber::SIZE2)
            .and_then(|option| option.as_uint())
            .and_then(|size| usize::try_from(size).ok());
        let max = bounds.config.max_body_len;
        if received > max || announced.is_some_and(|size| size > max) {
            return Progress::Fails(RequestError::ResponseTooLarge);
        }
        let szx = block.szx().min(bounds.receive_szx);
        let Some(assembly) = self.keep_first_block(bounds, message) else {
            return Progress::Fails(RequestError::NoRoomForBody);
        };
        transfer.step = Step::Download {
            assembly,
            received,
            szx,
            upload,
        };
        Progress::GoesOn
    }

    fn handle_block(
        &mut self,
        bounds: Bounds<'_>,
        transfer: &mut Transfer,
        message: &Message<'_>,
        (assembly, received, szx, upload): (BodyId, usize, u8, Upload),
    ) -> Progress {
        let Ok(first) = Message::decode(self.bodies.bytes(assembly)) else {
            return Progress::Fails(RequestError::UnexpectedBlock);
        };
        if message.code() != first.code() {
            return match message.code().is_success() {
                true => Progress::Fails(RequestError::UnexpectedBlock),
                // What the server says instead of a block is its answer.
                false => Progress::Ends,
            };
        }
        // MUST (RFC 7959 §2.4): blocks are put together only under one ETag.
        let is_same = [OptionNumber::ETAG, OptionNumber::CONTENT_FORMAT]
            .into_iter()
            .all(|number| first.option(number) == message.option(number));
        if !is_same {
            let is_safe = matches!(transfer.code, Code::GET | Code::FETCH);
            return match upload {
                Upload::None if is_safe && may_restart(bounds, transfer) => {
                    self.bodies.release(assembly);
                    transfer.restarts = transfer.restarts.saturating_add(1);
                    transfer.step = Step::Whole;
                    Progress::GoesOn
                }
                _ => Progress::Fails(RequestError::RepresentationChanged),
            };
        }
        let block = match block_option(bounds.carrier, message, OptionNumber::BLOCK2) {
            Ok(Some(block)) if usize::try_from(block.offset()) == Ok(received) => block,
            _ => return Progress::Fails(RequestError::UnexpectedBlock),
        };
        let payload = message.payload();
        if !block.allows_len(payload.len()) {
            return Progress::Fails(RequestError::UnexpectedBlock);
        }
        let received = received.saturating_add(payload.len());
        if received > bounds.config.max_body_len {
            return Progress::Fails(RequestError::ResponseTooLarge);
        }
        let max_total = bounds.config.max_bodies_len;
        if !self.bodies.append(assembly, payload, max_total) {
            return Progress::Fails(RequestError::NoRoomForBody);
        }
        if block.more() {
            transfer.step = Step::Download {
                assembly,
                received,
                szx: block.szx().min(szx),
                upload,
            };
            return Progress::GoesOn;
        }
        // The assembly is lent to the caller, so it must not go with the request.
        transfer.step = Step::Whole;
        Progress::EndsWithBody(assembly)
    }

    /// Stores the first block of a response without what belongs to the block alone.
    fn keep_first_block(&mut self, bounds: Bounds<'_>, message: &Message<'_>) -> Option<BodyId> {
        let options = message.options().filter(|option| {
            !matches!(
                option.number(),
                OptionNumber::BLOCK1
                    | OptionNumber::BLOCK2
                    | OptionNumber::SIZE1
                    | OptionNumber::SIZE2
            )
        });
        self.keep_message(bounds.config, message, options)
    }
}

fn may_restart(bounds: Bounds<'_>, transfer: &Transfer) -> bool {
    transfer.restarts < bounds.config.max_block_restarts
}

/// The most that a Request-Tag takes, in bytes.
const REQUEST_TAG_OVERHEAD: usize = 8;
