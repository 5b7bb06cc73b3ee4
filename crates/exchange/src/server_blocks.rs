//! Block-wise transfer in the server's role, RFC 7959: which of its two halves a request belongs to,
//! and when the state of both ends.

use core::borrow::Borrow;

use hedgerow_coap::{Code, Message, OptionNumber};
use hedgerow_core::{Env, Instant};

use crate::block_message::{AddedOptions, block_option, transfer_key};
use crate::exchange::Outcome;
use crate::reassembly::Reassembly;
use crate::representation::Representation;
use crate::server::Asked;
use crate::storage::{List, Storage};
use crate::{Config, Exchange};

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
            Err(_) => {
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

    /// Frees the state of transfers that nobody went on with.
    pub(crate) fn expire_blocks(&mut self, now: Instant) {
        self.expire_reassemblies(now);
        self.expire_representations(now);
    }

    pub(crate) fn poll_blocks_timeout(&self) -> Option<Instant> {
        let reassemblies = self.reassemblies.as_slice().iter();
        let representations = self.representations.as_slice().iter();
        reassemblies
            .filter_map(Reassembly::expires)
            .chain(representations.map(Representation::expires))
            .min()
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
}
