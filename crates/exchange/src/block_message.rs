//! Writing one message of an exchange: the application's options with the exchange's own among
//! them, and a slice of the body.

use hedgerow_coap::{
    BlockValue, Code, EncodeError, Message, MessageId, MessageOption, MessageType, MessageWriter,
    OptionNumber, Token, UintValue,
};

use crate::blocks::Carrier;
use crate::echo::EchoValue;
use crate::keyed_hash::HashKey;

/// What belongs to one message and not to the whole request or response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) framing: Framing,
    pub(crate) code: Code,
    pub(crate) token: Token,
}

/// What the carrier wants of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Framing {
    /// RFC 7252 §3.
    Datagram {
        message_type: MessageType,
        message_id: MessageId,
    },
    /// RFC 8323 §3.2.
    Stream,
}

impl Head {
    /// The head under which a whole request or response is kept. It is never sent.
    pub(crate) const fn kept(code: Code) -> Self {
        Self {
            framing: Framing::Datagram {
                message_type: MessageType::NonConfirmable,
                message_id: MessageId(0),
            },
            code,
            token: Token::EMPTY,
        }
    }
}

/// The options that the exchange adds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AddedOptions {
    pub(crate) etag: Option<[u8; 8]>,
    pub(crate) block2: Option<BlockValue>,
    pub(crate) block1: Option<BlockValue>,
    pub(crate) size2: Option<u32>,
    pub(crate) size1: Option<u32>,
    pub(crate) echo: Option<EchoValue>,
    pub(crate) request_tag: Option<u32>,
}

/// The most that head, added options and payload marker take, in bytes: 4 and 8 for header and
/// token, 10 for ETag, 5 for each block option, 6 for each size, 8 for Request-Tag, 1. An Echo is
/// counted where there is one.
pub(crate) const OVERHEAD: usize = 4 + 8 + 10 + 2 * 5 + 2 * 6 + 8 + 1;

/// The most that they take in a request that goes in one message: header, token, Block2 and payload
/// marker.
pub(crate) const WHOLE_REQUEST_OVERHEAD: usize = 4 + 8 + 5 + 1;

/// The most that they take in a response that goes in one message: header, token, both block options,
/// one size and payload marker.
pub(crate) const WHOLE_RESPONSE_OVERHEAD: usize = 4 + 8 + 2 * 5 + 6 + 1;

/// Writes a message and returns its length in bytes.
pub(crate) fn write_message<'o>(
    out: &mut [u8],
    head: Head,
    options: impl Iterator<Item = MessageOption<'o>>,
    added: &AddedOptions,
    payload: &[u8],
) -> Result<usize, EncodeError> {
    let block2 = added.block2.map(BlockValue::encode);
    let block1 = added.block1.map(BlockValue::encode);
    let size2 = added.size2.map(UintValue::new);
    let size1 = added.size1.map(UintValue::new);
    let request_tag = added.request_tag.map(UintValue::new);
    let added: [(OptionNumber, Option<&[u8]>); 7] = [
        (
            OptionNumber::ETAG,
            added.etag.as_ref().map(|tag| tag.as_slice()),
        ),
        (
            OptionNumber::BLOCK2,
            block2.as_ref().map(UintValue::as_bytes),
        ),
        (
            OptionNumber::BLOCK1,
            block1.as_ref().map(UintValue::as_bytes),
        ),
        (OptionNumber::SIZE2, size2.as_ref().map(UintValue::as_bytes)),
        (OptionNumber::SIZE1, size1.as_ref().map(UintValue::as_bytes)),
        (
            OptionNumber::ECHO,
            added.echo.as_ref().map(EchoValue::as_bytes),
        ),
        (
            OptionNumber::REQUEST_TAG,
            request_tag.as_ref().map(UintValue::as_bytes),
        ),
    ];
    let mut added = added
        .into_iter()
        .filter_map(|(number, value)| value.map(|value| (number, value)))
        .peekable();
    let mut writer = match head.framing {
        Framing::Datagram {
            message_type,
            message_id,
        } => MessageWriter::new(out, message_type, head.code, message_id, head.token)?,
        Framing::Stream => MessageWriter::new_framed(out, head.code, head.token)?,
    };
    for option in options {
        while let Some((number, value)) = added.next_if(|(number, _)| *number < option.number()) {
            writer.option(number, value)?;
        }
        writer.copy_option(option)?;
    }
    for (number, value) in added {
        writer.option(number, value)?;
    }
    writer.payload(payload)
}

/// Returns the size exponent of the largest blocks that fit a message beside `options_len` bytes of
/// options, at most `max_szx`; `None` if not even 16 bytes do.
pub(crate) fn fitting_szx(options_len: usize, max_message_len: usize, max_szx: u8) -> Option<u8> {
    let room = max_message_len.checked_sub(OVERHEAD.checked_add(options_len)?)?;
    (0..=max_szx.min(BlockValue::MAX_SZX))
        .rev()
        .find(|szx| block_size(*szx) <= room)
}

/// How much of a body one message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockSize {
    pub(crate) szx: u8,
    /// In bytes: for BERT a multiple of 1,024 (RFC 8323 §6).
    pub(crate) len: usize,
}

impl BlockSize {
    /// Makes the size of one block.
    pub(crate) const fn one(szx: u8) -> Self {
        Self {
            szx,
            len: block_size(szx),
        }
    }

    /// Chooses the largest size up to `max_szx` with which a block fits a message beside
    /// `options_len` bytes of options; `None` if not even 16 bytes do.
    pub(crate) fn fitting(options_len: usize, max_message_len: usize, max_szx: u8) -> Option<Self> {
        if max_szx >= BlockValue::BERT_SZX {
            let room = max_message_len.saturating_sub(OVERHEAD.checked_add(options_len)?);
            let len = room - room % block_size(BlockValue::MAX_SZX);
            // One block alone needs no BERT.
            if len > block_size(BlockValue::MAX_SZX) {
                let szx = BlockValue::BERT_SZX;
                return Some(Self { szx, len });
            }
        }
        fitting_szx(options_len, max_message_len, max_szx).map(Self::one)
    }
}

/// Returns the size of a block, in bytes; for BERT that of the blocks that it counts in.
pub(crate) const fn block_size(szx: u8) -> usize {
    16 << if szx < BlockValue::MAX_SZX {
        szx
    } else {
        BlockValue::MAX_SZX
    }
}

/// Makes the value for the block that begins `offset` bytes into a body; `None` beyond 2^20 blocks.
pub(crate) fn block_at(offset: usize, more: bool, szx: u8) -> Option<BlockValue> {
    let num = u32::try_from(offset / block_size(szx)).ok()?;
    BlockValue::new_reliable(num, more, szx)
}

/// Returns the slice of up to `len` bytes at `offset` of `body`, and whether more follow.
pub(crate) fn block_of(body: &[u8], offset: usize, len: usize) -> (&[u8], bool) {
    let rest = body.get(offset..).unwrap_or_default();
    match rest.split_at_checked(len) {
        Some((block, after)) => (block, !after.is_empty()),
        None => (rest, false),
    }
}

/// Returns the hash under which the blocks of one request, or of one response, belong together:
/// method and cache key, without what differs from block to block (RFC 7959 §2.4, §2.5).
///
/// If-None-Match stands in the first block only (RFC 7959 §2.10). The payload isn't part of it.
pub(crate) fn transfer_key(
    key: HashKey,
    message: &Message<'_>,
    ignored: impl Fn(OptionNumber) -> bool,
) -> u64 {
    let mut hasher = key.hasher();
    hasher.update(&[u8::from(message.code())]);
    let options = message.cache_key_options(|number| {
        matches!(
            number,
            OptionNumber::BLOCK1
                | OptionNumber::BLOCK2
                | OptionNumber::OBSERVE
                | OptionNumber::IF_NONE_MATCH
        ) || ignored(number)
    });
    for option in options {
        hasher.update_u32(u32::from(option.number().0));
        hasher.update_u32(u32::try_from(option.value().len()).unwrap_or(u32::MAX));
        hasher.update(option.value());
    }
    hasher.finish()
}

/// Decodes a block option whose length was checked before; `Err` for the reserved size.
pub(crate) fn block_option(
    carrier: Carrier,
    message: &Message<'_>,
    number: OptionNumber,
) -> Result<Option<BlockValue>, hedgerow_coap::BlockError> {
    message
        .option(number)
        .map(|option| match carrier {
            Carrier::Datagrams => BlockValue::decode(option.value()),
            Carrier::Stream => BlockValue::decode_reliable(option.value()),
        })
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_rng::TestRng;

    fn head() -> Head {
        Head {
            framing: Framing::Datagram {
                message_type: MessageType::Confirmable,
                message_id: MessageId(1),
            },
            code: Code::PUT,
            token: Token::from([1, 2, 3, 4, 5, 6, 7, 8]),
        }
    }

    #[test]
    fn added_options_stand_in_order_and_stay_within_the_overhead() {
        let options = [
            MessageOption::new(OptionNumber::URI_PATH, b"a"),
            MessageOption::new(OptionNumber::ACCEPT, &[0]),
            MessageOption::new(OptionNumber(65_001), b"zz"),
        ];
        let block = BlockValue::new(BlockValue::MAX_NUM, true, 6);
        let added = AddedOptions {
            etag: Some([9; 8]),
            block2: block,
            block1: block,
            size2: Some(u32::MAX),
            size1: Some(u32::MAX),
            request_tag: Some(u32::MAX),
            echo: None,
        };
        let mut out = [0; 128];
        let len = write_message(&mut out, head(), options.into_iter(), &added, b"p").unwrap();
        let message = Message::decode(&out[..len]).unwrap();
        let numbers: std::vec::Vec<_> = message.options().map(|o| o.number().0).collect();
        assert_eq!(numbers, [4, 11, 17, 23, 27, 28, 60, 292, 65_001]);
        assert_eq!(message.payload(), b"p");
        let without = write_message(
            &mut out,
            head(),
            core::iter::empty(),
            &AddedOptions::default(),
            b"",
        );
        assert_eq!(without, Ok(12));
        let alone = write_message(&mut out, head(), core::iter::empty(), &added, b"").unwrap();
        assert!(alone < OVERHEAD, "{alone}");
    }

    #[test]
    fn blocks_are_as_large_as_the_message_allows() {
        assert_eq!(fitting_szx(0, 1_152, 6), Some(6));
        assert_eq!(fitting_szx(1_152 - 1_024 - OVERHEAD, 1_152, 6), Some(6));
        assert_eq!(fitting_szx(1_152 - 1_023 - OVERHEAD, 1_152, 6), Some(5));
        assert_eq!(fitting_szx(0, 1_152, 2), Some(2));
        assert_eq!(fitting_szx(0, OVERHEAD + 15, 6), None);
        assert_eq!(fitting_szx(usize::MAX, 1_152, 6), None);
    }

    #[test]
    fn bert_takes_as_many_blocks_as_the_message_allows() {
        let bert = |len| Some(BlockSize { szx: 7, len });
        assert_eq!(BlockSize::fitting(0, 8_192 + OVERHEAD, 7), bert(8_192));
        assert_eq!(BlockSize::fitting(0, 8_191 + OVERHEAD, 7), bert(7_168));
        assert_eq!(
            BlockSize::fitting(1, 2_048 + OVERHEAD, 7),
            Some(BlockSize::one(6))
        );
        assert_eq!(BlockSize::fitting(0, 8_192, 6), Some(BlockSize::one(6)));
        assert_eq!(BlockSize::fitting(0, OVERHEAD, 7), None);
        assert_eq!(block_at(8_192, true, 7).map(BlockValue::num), Some(8));
    }

    #[test]
    fn key_follows_the_resource_and_not_the_block() {
        let key = HashKey::new(&mut TestRng::new(1));
        let hash = |path: &[u8], num: u32, tag: u32| {
            let options = [MessageOption::new(OptionNumber::URI_PATH, path)];
            let added = AddedOptions {
                block1: BlockValue::new(num, true, 6),
                size1: (num == 0).then_some(5),
                request_tag: Some(tag),
                ..AddedOptions::default()
            };
            let mut out = [0; 64];
            let len = write_message(&mut out, head(), options.into_iter(), &added, &[]).unwrap();
            transfer_key(key, &Message::decode(&out[..len]).unwrap(), |_| false)
        };
        assert_eq!(hash(b"a", 0, 1), hash(b"a", 7, 1));
        assert_ne!(hash(b"a", 0, 1), hash(b"b", 0, 1));
        assert_ne!(hash(b"a", 0, 1), hash(b"a", 0, 2));
    }
}
