//! Request bodies put together from their blocks, RFC 7959 §2.5.

use hedgerow_coap::{BlockValue, Code, Message, OptionNumber};
use hedgerow_core::{DropReason, Instant};

use crate::block_message::{AddedOptions, transfer_key};
use crate::blocks::{Blocks, Bounds};
use crate::server_blocks::{Asked, BlockAnswer, Ruling};
use crate::storage::{Bodies, BodyId, List, Storage};

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

impl Reassembly {
    /// Returns when the wait for the next block ends.
    pub(crate) const fn expires(&self) -> Option<Instant> {
        match self.state {
            ReassemblyState::ExpectBlock { expires, .. } => Some(expires),
            ReassemblyState::Expired => None,
        }
    }
}

impl<S: Storage> Blocks<S> {
    /// Takes in one block of a request body.
    pub(crate) fn handle_block1(
        &mut self,
        bounds: Bounds<'_>,
        now: Instant,
        message: &Message<'_>,
        asked: Asked,
        block: BlockValue,
    ) -> Ruling {
        let len = message.payload().len();
        if !block.allows_len(len) {
            return Ruling::answer(Code::BAD_REQUEST);
        }
        let key = transfer_key(self.hash_key, message, |_| false);
        let index = self.find_reassembly(key);
        let acknowledged = BlockValue::new_reliable(block.num(), false, block.szx());
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
                true => self.begin_reassembly(bounds, now, message, key, block),
                false => Ruling::HandOut(asked),
            };
        }
        let reassembly = index.and_then(|index| self.reassemblies.as_slice().get(index));
        let (Some(index), Some(ReassemblyState::ExpectBlock { body, received, .. })) =
            (index, reassembly.map(|reassembly| reassembly.state))
        else {
            return answer_incomplete();
        };
        if self.is_repeated(body, received, message, block) {
            return answer_continue(bounds, block);
        }
        if usize::try_from(block.offset()) != Ok(received) {
            self.remove_reassembly(index);
            return answer_incomplete();
        }
        let received = received.saturating_add(len);
        if received > bounds.config.max_body_len {
            self.remove_reassembly(index);
            return answer_too_large(bounds);
        }
        let max_total = bounds.config.max_bodies_len;
        if !self.bodies.append(body, message.payload(), max_total) {
            self.remove_reassembly(index);
            return refuse_reassembly();
        }
        if !block.more() {
            // The body stays: it is lent to the caller.
            self.reassemblies.remove(index);
            return Ruling::HandOutBody(asked, body);
        }
        let expires = now.saturating_add(bounds.config.block_lifetime);
        if let Some(reassembly) = self.reassemblies.as_mut_slice().get_mut(index) {
            reassembly.state = ReassemblyState::ExpectBlock {
                body,
                received,
                expires,
            };
        }
        answer_continue(bounds, block)
    }

    fn begin_reassembly(
        &mut self,
        bounds: Bounds<'_>,
        now: Instant,
        message: &Message<'_>,
        key: u64,
        block: BlockValue,
    ) -> Ruling {
        let config = bounds.config;
        let max = config.max_body_len;
        let announced = message
            .option(OptionNumber::SIZE1)
            .and_then(|option| option.as_uint())
            .and_then(|size| usize::try_from(size).ok());
        if message.payload().len() > max || announced.is_some_and(|size| size > max) {
            return answer_too_large(bounds);
        }
        let len = self.reassemblies.as_slice().len();
        if self.reassemblies.is_full() || len >= config.max_reassemblies {
            return refuse_reassembly();
        }
        let expires = now.saturating_add(config.block_lifetime);
        let options = message.options().filter(|option| {
            !matches!(
                option.number(),
                OptionNumber::BLOCK1 | OptionNumber::BLOCK2 | OptionNumber::SIZE1
            )
        });
        let Some(body) = self.keep_message(config, message, options) else {
            return refuse_reassembly();
        };
        let _ = self.reassemblies.push(Reassembly {
            key,
            state: ReassemblyState::ExpectBlock {
                body,
                received: message.payload().len(),
                expires,
            },
        });
        answer_continue(bounds, block)
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

    /// Frees the bodies of which no block came in time, and keeps that to be told.
    pub(crate) fn expire_reassemblies(&mut self, now: Instant) {
        for reassembly in self.reassemblies.as_mut_slice() {
            if let ReassemblyState::ExpectBlock { body, expires, .. } = reassembly.state
                && expires <= now
            {
                self.bodies.release(body);
                reassembly.state = ReassemblyState::Expired;
            }
        }
    }

    /// Takes out a body that was given up; it says whether there was one.
    pub(crate) fn poll_expired_reassembly(&mut self) -> bool {
        let mut reassemblies = self.reassemblies.as_slice().iter();
        let expired = reassemblies
            .position(|reassembly| matches!(reassembly.state, ReassemblyState::Expired));
        expired.is_some_and(|index| self.reassemblies.remove(index).is_some())
    }

    fn find_reassembly(&self, key: u64) -> Option<usize> {
        let mut reassemblies = self.reassemblies.as_slice().iter();
        reassemblies.position(|reassembly| {
            reassembly.key == key && matches!(reassembly.state, ReassemblyState::ExpectBlock { .. })
        })
    }

    pub(crate) fn remove_reassembly(&mut self, index: usize) {
        if let Some(reassembly) = self.reassemblies.remove(index)
            && let ReassemblyState::ExpectBlock { body, .. } = reassembly.state
        {
            self.bodies.release(body);
        }
    }
}

fn answer_continue(bounds: Bounds<'_>, block: BlockValue) -> Ruling {
    let szx = block.szx().min(bounds.receive_szx);
    let added = AddedOptions {
        block1: BlockValue::new_reliable(block.num(), true, szx),
        ..AddedOptions::default()
    };
    Ruling::answer_with(Code::CONTINUE, added)
}

/// MUST (RFC 7959 §2.5): blocks that aren't all there lead to 4.08.
pub(crate) fn answer_incomplete() -> Ruling {
    Ruling::answer(Code::REQUEST_ENTITY_INCOMPLETE)
}

fn answer_too_large(bounds: Bounds<'_>) -> Ruling {
    let added = AddedOptions {
        size1: u32::try_from(bounds.config.max_body_len).ok(),
        ..AddedOptions::default()
    };
    Ruling::answer_with(Code::REQUEST_ENTITY_TOO_LARGE, added)
}

/// There is no room now, but there may be later.
fn refuse_reassembly() -> Ruling {
    Ruling::Answer(BlockAnswer {
        code: Code::SERVICE_UNAVAILABLE,
        added: AddedOptions::default(),
        dropped: Some(DropReason::ReassemblyFull),
    })
}
