//! Request bodies put together from their blocks, RFC 7959 §2.5.

use core::borrow::Borrow;

use hedgerow_coap::{BlockValue, Code, Message, OptionNumber};
use hedgerow_core::{DropReason, Env, Instant};

use crate::block_message::{AddedOptions, transfer_key};
use crate::exchange::Outcome;
use crate::server::Asked;
use crate::storage::{Bodies, BodyId, List, Storage};
use crate::{Config, Exchange};

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

impl<S: Storage, C: Borrow<Config>> Exchange<S, C> {
    /// Takes in one block of a request body.
    pub(crate) fn handle_block1(
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
        let szx = block.szx().min(self.config().block_szx());
        let added = AddedOptions {
            block1: BlockValue::new(block.num(), true, szx),
            ..AddedOptions::default()
        };
        self.answer(env, message, Code::CONTINUE, &added, &[])
    }

    pub(crate) fn answer_incomplete(
        &mut self,
        env: &mut Env<'_>,
        message: &Message<'_>,
    ) -> Outcome {
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
