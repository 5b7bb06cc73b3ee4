//! Responses handed out block by block, RFC 7959 §2.4.

use hedgerow_coap::{BlockValue, Code, EncodeError, Message};
use hedgerow_core::Instant;

use crate::Error;
use crate::block_message::{
    AddedOptions, BlockSize, Head, OVERHEAD, WHOLE_RESPONSE_OVERHEAD, block_at, block_of,
    block_size, write_message,
};
use crate::blocks::{Blocks, Bounds};
use crate::message_content::Content;
use crate::reassembly::answer_incomplete;
use crate::server_blocks::{Asked, Ruling};
use crate::storage::{Bodies, BodyId, List, MessageBuffer, Storage};

/// A response kept for the blocks that haven't been asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Representation {
    key: u64,
    body: BodyId,
    expires: Instant,
}

impl Representation {
    /// Returns when the response is forgotten.
    pub(crate) const fn expires(&self) -> Instant {
        self.expires
    }
}

impl<S: Storage> Blocks<S> {
    /// Answers a request for a later block from the response kept; `None` if the application has to
    /// make the response again.
    pub(crate) fn serve_block2(
        &mut self,
        bounds: Bounds<'_>,
        now: Instant,
        message: &Message<'_>,
        asked: &Asked,
        block2: BlockValue,
    ) -> Option<Ruling> {
        let expires = now.saturating_add(bounds.config.block_lifetime);
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
            return (!is_safe).then(answer_incomplete);
        };
        let code = Message::decode(self.bodies.bytes(body)).ok()?.code();
        Some(Ruling::Slice {
            asked: *asked,
            body,
            code,
            block2,
        })
    }

    /// Writes the message that answers a request: the whole response, or the block asked for.
    pub(crate) fn write_response(
        &mut self,
        bounds: Bounds<'_>,
        now: Instant,
        head: Head,
        asked: &Asked,
        content: &Content<'_>,
    ) -> Result<S::Message, Error> {
        let options_len = content.check_options()?;
        let max_len = bounds.send_len;
        let payload = content.payload;
        let size = block2_size(bounds, asked.block2, options_len);
        let fits_message = options_len
            .saturating_add(WHOLE_RESPONSE_OVERHEAD)
            .saturating_add(payload.len())
            <= max_len;
        // An error says the same whichever block was asked for, and so does 2.03 without a body.
        let block2 = asked
            .block2
            .filter(|_| content.code.is_success() && !payload.is_empty());
        let is_first = block2.is_none_or(|block| block.num() == 0);
        let one_block = || block_size(size.map_or(bounds.send_szx, |size| size.szx));
        let is_unbound = match (bounds.is_stream(), block2) {
            (true, None) => true,
            // RFC 8323 §6: the last BERT block may be of any length.
            (_, Some(block)) => block.is_bert(),
            (false, None) => false,
        };
        let fits_block = is_unbound || payload.len() <= one_block();
        if fits_message && fits_block && is_first {
            let added = AddedOptions {
                block2: block2.and_then(|block| {
                    let szx = size.map(|size| size.szx);
                    block_at(0, false, if is_unbound { block.szx() } else { szx? })
                }),
                block1: asked.block1,
                size2: u32::try_from(payload.len())
                    .ok()
                    .filter(|_| asked.wants_size2),
                ..AddedOptions::default()
            };
            let len = options_len
                .saturating_add(WHOLE_RESPONSE_OVERHEAD)
                .saturating_add(payload.len());
            return write_bytes(len, |out| {
                let options = content.options.iter().copied();
                write_message(out, head, options, &added, payload)
            });
        }
        let size = size.ok_or(Error::OptionsTooLong { len: options_len })?;
        let first = BlockValue::new_reliable(0, false, size.szx);
        let Some(block2) = block2.or(first) else {
            return Err(Error::OptionsTooLong { len: options_len });
        };
        let body = self.keep_response(bounds, now, asked.key, content, options_len)?;
        if let Some(bytes) = self.write_slice(bounds, head, asked, body, block2)? {
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
        bounds: Bounds<'_>,
        now: Instant,
        key: u64,
        content: &Content<'_>,
        options_len: usize,
    ) -> Result<BodyId, Error> {
        if let Some(index) = self.find_representation(key) {
            self.remove_representation(index);
        }
        let max = bounds.config.max_representations.max(1);
        while self.representations.is_full() || self.representations.as_slice().len() >= max {
            if !self.remove_oldest_representation() {
                break;
            }
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
            match self.keep(bounds.config, content, &added, options_len) {
                Err(Error::NoRoomForBody { .. }) if self.remove_oldest_representation() => {}
                other => break other?,
            }
        };
        let expires = now.saturating_add(bounds.config.block_lifetime);
        let _ = self
            .representations
            .push(Representation { key, body, expires });
        Ok(body)
    }

    /// Writes one block of a response kept; `None` if it lies behind the end.
    pub(crate) fn write_slice(
        &self,
        bounds: Bounds<'_>,
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
        let size = block2_size(bounds, Some(block2), options_len)
            .ok_or(Error::OptionsTooLong { len: options_len })?;
        let offset = match usize::try_from(block2.offset()) {
            Ok(offset) if offset < payload.len() => offset,
            _ => return Ok(None),
        };
        let (block, more) = block_of(payload, offset, size.len);
        let added = AddedOptions {
            block2: block_at(offset, more, size.szx),
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

    /// Forgets the responses whose blocks nobody asked for in time.
    pub(crate) fn expire_representations(&mut self, now: Instant) {
        while let Some(index) = self
            .representations
            .as_slice()
            .iter()
            .position(|representation| representation.expires <= now)
        {
            self.remove_representation(index);
        }
    }

    fn find_representation(&self, key: u64) -> Option<usize> {
        let mut representations = self.representations.as_slice().iter();
        representations.position(|representation| representation.key == key)
    }

    /// Makes room; it says whether there was anything to remove.
    fn remove_oldest_representation(&mut self) -> bool {
        let representations = self.representations.as_slice().iter();
        let oldest = representations
            .enumerate()
            .min_by_key(|(_, representation)| representation.expires)
            .map(|(index, _)| index);
        if let Some(index) = oldest {
            self.remove_representation(index);
        }
        oldest.is_some()
    }

    pub(crate) fn remove_representation(&mut self, index: usize) {
        if let Some(representation) = self.representations.remove(index) {
            self.bodies.release(representation.body);
        }
    }
}

/// Chooses the size of a response's blocks: as asked, or smaller (RFC 7959 §2.4).
fn block2_size(
    bounds: Bounds<'_>,
    asked: Option<BlockValue>,
    options_len: usize,
) -> Option<BlockSize> {
    let max_szx = bounds.send_szx;
    let max_szx = asked.map_or(max_szx, |block| block.szx().min(max_szx));
    BlockSize::fitting(options_len, bounds.send_len, max_szx)
}

/// Writes a message of up to `max_len` bytes into a buffer of its own.
fn write_bytes<M: MessageBuffer>(
    max_len: usize,
    fill: impl FnOnce(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<M, Error> {
    let mut bytes = M::default();
    bytes.write(max_len, fill)?;
    Ok(bytes)
}
