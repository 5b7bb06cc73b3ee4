//! Finding the messages in a byte stream that comes in pieces, RFC 8323 §3.2.

use hedgerow_coap::{FormatError, FrameError, FrameHeader};

use crate::storage::MessageBuffer;

/// Keeps the beginning of a message until the rest is there, and nothing else.
#[derive(Debug, Default)]
pub(crate) struct Inbox<M> {
    bytes: M,
    /// Whether a whole message was lent to the caller.
    is_lent: bool,
}

/// What the next bytes of the stream were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken<'d> {
    /// They begin with this message, which needn't be kept.
    Message { message: &'d [u8], rest: &'d [u8] },
    /// The message in the inbox is whole.
    Kept { rest: &'d [u8] },
    /// They are all kept, and more are needed.
    Incomplete,
    /// The message is too long. Nothing of it is kept.
    TooLong { len: u64 },
    /// The message's length can't be read.
    Format(FormatError),
}

impl<M: MessageBuffer> Inbox<M> {
    /// Takes bytes in up to the end of the next message, which may be `max_len` bytes long.
    pub(crate) fn take<'d>(&mut self, data: &'d [u8], max_len: usize) -> Taken<'d> {
        if self.bytes.as_slice().is_empty() {
            let len = match message_len(data, max_len) {
                Ok(Some(len)) => len,
                Ok(None) => return self.keep(data, max_len),
                Err(other) => return other,
            };
            return match data.split_at_checked(len) {
                Some((message, rest)) => Taken::Message { message, rest },
                None => self.keep(data, len),
            };
        }
        let mut rest = data;
        // The length fields first, byte by byte: no more than the message itself is kept.
        let len = loop {
            match message_len(self.bytes.as_slice(), max_len) {
                Ok(Some(len)) => break len,
                Ok(None) => {}
                Err(other) => return other,
            }
            let Some((first, after)) = rest.split_first() else {
                return Taken::Incomplete;
            };
            self.keep(
                core::slice::from_ref(first),
                max_len.max(FrameHeader::MAX_LEN),
            );
            rest = after;
        };
        let missing = len.saturating_sub(self.bytes.as_slice().len());
        let (bytes, rest) = rest.split_at_checked(missing).unwrap_or((rest, &[]));
        match self.keep(bytes, len) {
            Taken::Incomplete if bytes.len() == missing => Taken::Kept { rest },
            other => other,
        }
    }

    fn keep<'d>(&mut self, bytes: &[u8], max_len: usize) -> Taken<'d> {
        match self.bytes.append(bytes, max_len.max(FrameHeader::MAX_LEN)) {
            true => Taken::Incomplete,
            // The form has less room than `max_len`, which the machine's bound rules out.
            false => Taken::TooLong {
                len: u64::try_from(max_len).unwrap_or(u64::MAX),
            },
        }
    }

    /// Lends the whole message until [`Self::release`].
    pub(crate) fn lend(&mut self) -> &[u8] {
        self.is_lent = true;
        self.bytes.as_slice()
    }

    pub(crate) fn release(&mut self) {
        if self.is_lent {
            self.clear();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.is_lent = false;
    }

    /// Returns the bytes kept.
    pub(crate) fn len(&self) -> usize {
        self.bytes.as_slice().len()
    }
}

/// Returns the length of the message that `bytes` begin with, if they tell.
fn message_len<'d>(bytes: &[u8], max_len: usize) -> Result<Option<usize>, Taken<'d>> {
    let header = match FrameHeader::decode(bytes) {
        Ok(header) => header,
        Err(FrameError::Format(error)) => return Err(Taken::Format(error)),
        Err(_) => return Ok(None),
    };
    let len = header.message_len();
    match usize::try_from(len) {
        Ok(fits) if fits <= max_len => Ok(Some(fits)),
        _ => Err(Taken::TooLong { len }),
    }
}
