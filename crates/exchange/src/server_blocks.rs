//! Block-wise transfer in the server's role, RFC 7959: request bodies put together from Block1,
//! response bodies handed out by Block2.

use core::borrow::Borrow;

use hedgerow_coap::{BlockError, BlockValue, Code, Message, OptionNumber};
use hedgerow_core::{DropReason, Env, Instant};

use crate::block_message::{
    AddedOptions, Head, OVERHEAD, block_at, block_of, block_option, block_size, fitting_szx,
    transfer_key, write_message,
};
use crate::exchange::Outcome;
use crate::message_content::Content;
use crate::server::Asked;
use crate::storage::{Bodies, BodyId, List, MessageBuffer, Storage};
use crate::{Config, Error, Exchange};

/// A request body of which blocks are still missing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reassembly {
    key: u64,
    state: ReassemblyState,
}

#[derive(Clone, Copy, Debug)]
enum ReassemblyState {
    /// Waits for the block that begins at `received`.
    ExpectBlock {
        body: BodyId,
        received: usize,
        expires: Instant,
    },
    /// Given up; the application is to be told.
    Expired,
}

/// A response kept for the blocks that haven't been asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Representation {
    key: u64,
    body: BodyId,
    expires: Instant,
}

impl<S: Storage, C: Borrow<Config>> Exchange<S, C> {
    /// Takes in a request that wasn't seen before and whose critical options are understood.
    pub(crate) fn handle_request_blocks(
        &mut self,
        env: &mut Env<'_>,
        message: &Message<'_>,
    ) -> Outcome {
        let blocks = block_option(message, OptionNumber::BLOCK1)
            .and_then(|block1| Ok((block1, block_option(message, OptionNumber::BLOCK2)?)));
        let (block1, block2) = match blocks {
            Ok(blocks) => blocks,
            // MUST (RFC 7959 §2.2): the reserved size leads to 4.00 in a request. A value that is
            // too long counts as unrecognised and was answered before.
            Err(BlockError::ReservedSize | _) => {
                let none = AddedOptions::default();
                return self.answer(env, message, Code::BAD_REQUEST, &none, &[]);
            }
        };
        let asked = Asked {
            message_id: message.message_id(),
            token: message.token(),
            block1: None,
            block2,
            wants_size2: message.option(OptionNumber::SIZE2).is_some(),
            // Clients differ in whether they repeat Content-Format when they ask for later blocks.
            key: transfer_key(self.hash_key, message, |number| {
                number == OptionNumber::CONTENT_FORMAT
            }),
        };
        if let Some(block1) = block1 {
            return self.handle_block1(env, message, asked, block1);
        }
        if let Some(block2) = block2.filter(|block| block.num() > 0)
            && let Some(outcome) = self.serve_block2(env, message, &asked, block2)
        {
            return outcome;
        }
        Outcome::Request(self.hand_out(env.now, message, asked))
    }

    fn handle_block1(
        &mut self,
        env: &mut Env<'_>,
        message: &Message<'_>,
        asked: Asked,
        block: BlockValue,
    ) -> Outcome {
        let len = message.payload().len();
        let is_length_right = match block.more() {
            // MUST (RFC 7959 §2.3): with M set the payload is exactly as long as a block.
            true => len == block.size(),
            false => len <= block.size(),
        };
        if !is_length_right {
            let none = AddedOptions::default();
            return self.answer(env, message, Code::BAD_REQUEST, &none, &[]);
        }
        let key = transfer_key(self.hash_key, message, |_| false);
        let index = self.find_reassembly(key);
        let acknowledged = BlockValue::new(block.num(), false, block.szx());
        let asked = Asked {
            block1: acknowledged,
            ..asked
        };
        if block.num() == 0 {
            // RFC 7959 §2.5: a new sequence for the resource overwrites the one before.
            if let Some(index) = index {
                self.remove_reassembly(index);
            }
            return match block.more() {
                true => self.begin_reassembly(env, message, key, block),
                false => Outcome::Request(self.hand_out(env.now, message, asked)),
            };
        }
        let reassembly = index.and_then(|index| self.reassemblies.as_slice().get(index));
        let (Some(index), Some(ReassemblyState::ExpectBlock { body, received, .. })) =
            (index, reassembly.map(|reassembly| reassembly.state))
        else {
            return self.answer_incomplete(env, message);
        };
        if self.is_repeated(body, received, message, block) {
            return self.answer_continue(env, message, block);
        }
        if usize::try_from(block.offset()) != Ok(received) {
            self.remove_reassembly(index);
            return self.answer_incomplete(env, message);
        }
        let received = received.saturating_add(len);
        let max_total = self.config().max_bodies_len;
        if received > self.config().max_body_len {
            self.remove_reassembly(index);
            return self.answer_too_large(env, message);
        }
        if !self.bodies.append(body, message.payload(), max_total) {
            self.remove_reassembly(index);
            return self.refuse_reassembly(env, message);
        }
        if !block.more() {
            // The body stays: it is lent to the caller.
            self.reassemblies.remove(index);
            return Outcome::AssembledRequest(self.hand_out(env.now, message, asked), body);
        }
        let expires = env.now.saturating_add(self.config().block_lifetime);
        if let Some(reassembly) = self.reassemblies.as_mut_slice().get_mut(index) {
            reassembly.state = ReassemblyState::ExpectBlock {
                body,
                received,
                expires,
            };
        }
        self.answer_continue(env, message, block)
    }

    fn begin_reassembly(
        &mut self,
        env: &mut Env<'_>,
        message: &Message<'_>,
        key: u64,
        block: BlockValue,
    ) -> Outcome {
        let config = self.config();
        let max = config.max_body_len;
        let announced = message
            .option(OptionNumber::SIZE1)
            .and_then(|option| option.as_uint())
            .and_then(|size| usize::try_from(size).ok());
        if message.payload().len() > max || announced.is_some_and(|size| size > max) {
            return self.answer_too_large(env, message);
        }
        let len = self.reassemblies.as_slice().len();
        if self.reassemblies.is_full() || len >= config.max_reassemblies {
            return self.refuse_reassembly(env, message);
        }
        let expires = env.now.saturating_add(config.block_lifetime);
        let options = message.options().filter(|option| {
            !matches!(
                option.number(),
                OptionNumber::BLOCK1 | OptionNumber::BLOCK2 | OptionNumber::SIZE1
            )
        });
        let Some(body) = self.keep_message(message, options) else {
            return self.refuse_reassembly(env, message);
        };
        let _ = self.reassemblies.push(Reassembly {
            key,
            state: ReassemblyState::ExpectBlock {
                body,
                received: message.payload().len(),
                expires,
            },
        });
        self.answer_continue(env, message, block)
    }

    /// Says whether a block is the one taken in last, sent anew under another message ID.
    fn is_repeated(
        &self,
        body: BodyId,
        received: usize,
        message: &Message<'_>,
        block: BlockValue,
    ) -> bool {
        let payload = message.payload();
        let end = usize::try_from(block.offset()).map(|offset| offset + payload.len());
        block.more() && end == Ok(received) && self.bodies.bytes(body).ends_with(payload)
    }

    fn answer_continue(
        &mut self,
        env: &mut Env<'_>,
        message: &Message<'_>,
        block: BlockValue,
    ) -> Outcome {
        let szx = block.szx().min(self.config().max_block_szx);
        let added = AddedOptions {
            block1: BlockValue::new(block.num(), true, szx),
            ..AddedOptions::default()
        };
        self.answer(env, message, Code::CONTINUE, &added, &[])
    }

    fn answer_incomplete(&mut self, env: &mut Env<'_>, message: &Message<'_>) -> Outcome {
        // MUST (RFC 7959 §2.5): blocks that aren't all there lead to 4.08.
        let none = AddedOptions::default();
        self.answer(env, message, Code::REQUEST_ENTITY_INCOMPLETE, &none, &[])
    }

    fn answer_too_large(&mut self, env: &mut Env<'_>, message: &Message<'_>) -> Outcome {
        let added = AddedOptions {
            size1: u32::try_from(self.config().max_body_len).ok(),
            ..AddedOptions::default()
        };
        self.answer(env, message, Code::REQUEST_ENTITY_TOO_LARGE, &added, &[])
    }

    /// There is no room now, but there may be later.
    fn refuse_reassembly(&mut self, env: &mut Env<'_>, message: &Message<'_>) -> Outcome {
        let none = AddedOptions::default();
        self.answer(env, message, Code::SERVICE_UNAVAILABLE, &none, &[]);
        Outcome::Dropped(DropReason::ReassemblyFull)
    }

    /// Answers a request for a later block from the response kept; `None` if the application has to
    /// make the response again.
    fn serve_block2(
        &mut self,
        env: &mut Env<'_>,
        message: &Message<'_>,
        asked: &Asked,
        block2: BlockValue,
    ) -> Option<Outcome> {
        let expires = env.now.saturating_add(self.config().block_lifetime);
        let mut representations = self.representations.as_mut_slice().iter_mut();
        let kept = representations
            .find(|representation| representation.key == asked.key)
            .map(|representation| {
                representation.expires = expires;
                representation.body
            });
        let Some(body) = kept else {
            // Making it again runs the handler again, which only a safe method allows.
            let is_safe = matches!(message.code(), Code::GET | Code::FETCH);
            return (!is_safe).then(|| self.answer_incomplete(env, message));
        };
        let code = Message::decode(self.bodies.bytes(body)).ok()?.code();
        let head = self.answer_head(env, message, code);
        let bytes =
            head.and_then(|head| self.write_slice(head, asked, body, block2).ok().flatten());
        Some(match (head, bytes) {
            (Some(head), Some(bytes)) => {
                self.store_answer(message.message_id(), head.message_type, bytes)
            }
            _ => {
                let none = AddedOptions::default();
                self.answer(env, message, Code::BAD_REQUEST, &none, &[])
            }
        })
    }

    /// Writes the message that answers a request: the whole response, or the block asked for.
    pub(crate) fn write_response(
        &mut self,
        now: Instant,
        head: Head,
        asked: &Asked,
        content: &Content<'_>,
    ) -> Result<S::Message, Error> {
        let options_len = content.check_options()?;
        let max_len = self.max_message_len();
        let payload = content.payload;
        let szx = self.block2_szx(asked.block2, options_len);
        let fits_message = options_len
            .saturating_add(OVERHEAD)
            .saturating_add(payload.len())
            <= max_len;
        // An error says the same whichever block was asked for.
        let block2 = asked.block2.filter(|_| content.code.is_success());
        let is_first = block2.is_none_or(|block| block.num() == 0);
        let fits_block = payload.len() <= block_size(szx.unwrap_or(self.config().max_block_szx));
        if fits_message && fits_block && is_first {
            let added = AddedOptions {
                block2: block2.and_then(|_| block_at(0, false, szx?)),
                block1: asked.block1,
                size2: u32::try_from(payload.len())
                    .ok()
                    .filter(|_| asked.wants_size2),
                ..AddedOptions::default()
            };
            let len = options_len
                .saturating_add(OVERHEAD)
                .saturating_add(payload.len());
            return write_bytes(len, |out| {
                let options = content.options.iter().copied();
                write_message(out, head, options, &added, payload)
            });
        }
        let szx = szx.ok_or(Error::OptionsTooLong { len: options_len })?;
        let first = BlockValue::new(0, false, szx);
        let Some(block2) = block2.or(first) else {
            return Err(Error::OptionsTooLong { len: options_len });
        };
        let body = self.keep_response(now, asked.key, content, options_len)?;
        if let Some(bytes) = self.write_slice(head, asked, body, block2)? {
            return Ok(bytes);
        }
        // The peer asked for a block behind the end.
        let head = Head {
            code: Code::BAD_REQUEST,
            ..head
        };
        write_bytes(OVERHEAD, |out| {
            write_message(
                out,
                head,
                core::iter::empty(),
                &AddedOptions::default(),
                &[],
            )
        })
    }

    /// Stores a response under its key, in place of an older one and, where there is no room, of
    /// the one that expires first.
    fn keep_response(
        &mut self,
        now: Instant,
        key: u64,
        content: &Content<'_>,
        options_len: usize,
    ) -> Result<BodyId, Error> {
        if let Some(index) = self.find_representation(key) {
            self.remove_representation(index);
        }
        let max = self.config().max_representations;
        while self.representations.is_full() || self.representations.as_slice().len() >= max.max(1)
        {
            self.remove_oldest_representation();
        }
        let etag = (content.code.is_success() && !content.has_etag()).then(|| {
            let mut hasher = self.hash_key.hasher();
            hasher.update(&[u8::from(content.code)]);
            hasher.update(content.payload);
            hasher.finish().to_be_bytes()
        });
        let added = AddedOptions {
            etag,
            ..AddedOptions::default()
        };
        let body = loop {
            match self.keep(content, &added, options_len) {
                Err(Error::NoRoomForBody { .. }) if !self.representations.as_slice().is_empty() => {
                    self.remove_oldest_representation();
                }
                other => break other?,
            }
        };
        let expires = now.saturating_add(self.config().block_lifetime);
        let _ = self
            .representations
            .push(Representation { key, body, expires });
        Ok(body)
    }

    /// Writes one block of a response kept; `None` if it lies behind the end.
    fn write_slice(
        &self,
        head: Head,
        asked: &Asked,
        body: BodyId,
        block2: BlockValue,
    ) -> Result<Option<S::Message>, Error> {
        let bytes = self.bodies.bytes(body);
        let Ok(template) = Message::decode(bytes) else {
            return Ok(None);
        };
        let payload = template.payload();
        let options_len = bytes.len().saturating_sub(payload.len());
        let szx = self
            .block2_szx(Some(block2), options_len)
            .ok_or(Error::OptionsTooLong { len: options_len })?;
        let offset = match usize::try_from(block2.offset()) {
            Ok(offset) if offset < payload.len() => offset,
            _ => return Ok(None),
        };
        let (block, more) = block_of(payload, offset, szx);
        let added = AddedOptions {
            block2: block_at(offset, more, szx),
            block1: asked.block1,
            size2: u32::try_from(payload.len())
                .ok()
                .filter(|_| asked.wants_size2),
            ..AddedOptions::default()
        };
        let len = options_len
            .saturating_add(OVERHEAD)
            .saturating_add(block.len());
        write_bytes(len, |out| {
            write_message(out, head, template.options(), &added, block)
        })
        .map(Some)
    }

    /// Chooses the size of a response's blocks: as asked, or smaller (RFC 7959 §2.4).
    fn block2_szx(&self, asked: Option<BlockValue>, options_len: usize) -> Option<u8> {
        let max_szx = self.config().max_block_szx;
        let max_szx = asked.map_or(max_szx, |block| block.szx().min(max_szx));
        fitting_szx(options_len, self.max_message_len(), max_szx)
    }

    /// Frees the state of transfers that nobody went on with.
    pub(crate) fn expire_blocks(&mut self, now: Instant) {
        for reassembly in self.reassemblies.as_mut_slice() {
            if let ReassemblyState::ExpectBlock { body, expires, .. } = reassembly.state
                && expires <= now
            {
                self.bodies.release(body);
                reassembly.state = ReassemblyState::Expired;
            }
        }
        while let Some(index) = self
            .representations
            .as_slice()
            .iter()
            .position(|representation| representation.expires <= now)
        {
            self.remove_representation(index);
        }
    }

    pub(crate) fn poll_blocks_timeout(&self) -> Option<Instant> {
        let reassemblies = self.reassemblies.as_slice().iter();
        let reassemblies = reassemblies.filter_map(|reassembly| match reassembly.state {
            ReassemblyState::ExpectBlock { expires, .. } => Some(expires),
            ReassemblyState::Expired => None,
        });
        let representations = self.representations.as_slice().iter();
        reassemblies
            .chain(representations.map(|representation| representation.expires))
            .min()
    }

    /// Takes out a body that was given up; it says whether there was one.
    pub(crate) fn poll_expired_reassembly(&mut self) -> bool {
        let mut reassemblies = self.reassemblies.as_slice().iter();
        let expired = reassemblies
            .position(|reassembly| matches!(reassembly.state, ReassemblyState::Expired));
        expired.is_some_and(|index| self.reassemblies.remove(index).is_some())
    }

    /// Frees the state of every transfer in the server's role.
    pub(crate) fn clear_blocks(&mut self) {
        while !self.reassemblies.as_slice().is_empty() {
            self.remove_reassembly(0);
        }
        while !self.representations.as_slice().is_empty() {
            self.remove_representation(0);
        }
    }

    fn find_reassembly(&self, key: u64) -> Option<usize> {
        let mut reassemblies = self.reassemblies.as_slice().iter();
        reassemblies.position(|reassembly| {
            reassembly.key == key && matches!(reassembly.state, ReassemblyState::ExpectBlock { .. })
        })
    }

    fn remove_reassembly(&mut self, index: usize) {
        if let Some(reassembly) = self.reassemblies.remove(index)
            && let ReassemblyState::ExpectBlock { body, .. } = reassembly.state
        {
            self.bodies.release(body);
        }
    }

    fn find_representation(&self, key: u64) -> Option<usize> {
        let mut representations = self.representations.as_slice().iter();
        representations.position(|representation| representation.key == key)
    }

    fn remove_oldest_representation(&mut self) {
        let representations = self.representations.as_slice().iter();
        let oldest = representations
            .enumerate()
            .min_by_key(|(_, representation)| representation.expires)
            .map(|(index, _)| index);
        if let Some(index) = oldest {
            self.remove_representation(index);
        }
    }

    fn remove_representation(&mut self, index: usize) {
        if let Some(representation) = self.representations.remove(index) {
            self.bodies.release(representation.body);
        }
    }
}

/// Writes a message of up to `max_len` bytes into a buffer of its own.
fn write_bytes<M: MessageBuffer>(
    max_len: usize,
    fill: impl FnOnce(&mut [u8]) -> Result<usize, hedgerow_coap::EncodeError>,
) -> Result<M, Error> {
    let mut bytes = M::default();
    bytes.write(max_len, fill)?;
    Ok(bytes)
}
