//! Block-wise transfer in the server's role, RFC 7959: which of its two halves a request belongs to.

use hedgerow_coap::{BlockValue, Code, Message, OptionNumber, Token};
use hedgerow_core::{DropReason, Instant};

use crate::block_message::{AddedOptions, block_option, transfer_key};
use crate::blocks::{Blocks, Bounds};
use crate::storage::{BodyId, Storage};

/// What a response has to take from its request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) token: Token,
    /// The block of the request that is acknowledged by the response.
    pub(crate) block1: Option<BlockValue>,
    /// The block of the response that is asked for.
    pub(crate) block2: Option<BlockValue>,
    pub(crate) wants_size2: bool,
    /// Under what the other blocks of the response will be asked for.
    pub(crate) key: u64,
}

/// What is to be done with a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ruling {
    /// The application answers: the request is in the message.
    HandOut(Asked),
    /// The application answers: the request is in a body.
    HandOutBody(Asked, BodyId),
    /// It is answered at once, and the application doesn't get to see it.
    Answer(BlockAnswer),
    /// It is answered with a block of a response that is kept.
    Slice {
        asked: Asked,
        body: BodyId,
        code: Code,
        block2: BlockValue,
    },
}

/// An answer without a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockAnswer {
    pub(crate) code: Code,
    pub(crate) added: AddedOptions,
    /// Why the request counts as dropped, if it does.
    pub(crate) dropped: Option<DropReason>,
}

impl Ruling {
    pub(crate) fn answer(code: Code) -> Self {
        Self::answer_with(code, AddedOptions::default())
    }

    pub(crate) fn answer_with(code: Code, added: AddedOptions) -> Self {
        Self::Answer(BlockAnswer {
            code,
            added,
            dropped: None,
        })
    }
}

impl<S: Storage> Blocks<S> {
    /// Takes in a request that wasn't seen before and whose critical options are understood.
    pub(crate) fn handle_request(
        &mut self,
        bounds: Bounds<'_>,
        now: Instant,
        message: &Message<'_>,
    ) -> Ruling {
        let option = |number| block_option(bounds.carrier, message, number);
        let blocks = option(OptionNumber::BLOCK1)
            .and_then(|block1| Ok((block1, option(OptionNumber::BLOCK2)?)));
        let (block1, block2) = match blocks {
            Ok(blocks) => blocks,
            // MUST (RFC 7959 §2.2): the reserved size leads to 4.00 in a request. A value that is
            // too long counts as unrecognised and was answered before.
            Err(_) => return Ruling::answer(Code::BAD_REQUEST),
        };
        let asked = Asked {
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
            return self.handle_block1(bounds, now, message, asked, block1);
        }
        if let Some(block2) = block2.filter(|block| block.num() > 0)
            && let Some(ruling) = self.serve_block2(bounds, now, message, &asked, block2)
        {
            return ruling;
        }
        Ruling::HandOut(asked)
    }
}
