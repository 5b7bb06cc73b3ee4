//! Messages in the byte stream of a reliable transport, RFC 8323 §3.2.

use crate::{Code, FormatError, MAX_TOKEN_LEN, Message, SignalingMessage};

/// The length fields in front of a message, which say how long it is before the rest of it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameHeader {
    extended: ExtendedLength,
    token_len: u8,
    /// Options, payload marker and payload, in bytes.
    body_len: u64,
}

impl FrameHeader {
    /// The most bytes that [`Self::decode`] needs to see.
    pub const MAX_LEN: usize = 1 + 4;

    /// Decodes the length fields at the front of `stream`, which may end anywhere.
    ///
    /// # Errors
    ///
    /// [`FrameError::Incomplete`] if a length field isn't all there;
    /// [`FormatError::ReservedTokenLength`] as soon as the first byte is.
    pub fn decode(stream: &[u8]) -> Result<Self, FrameError> {
        let Some((&first, rest)) = stream.split_first() else {
            return Err(FrameError::Incomplete { needed: 1 });
        };
        let token_len = first & 0x0f;
        // MUST (RFC 7252 §3): lengths 9 to 15 are processed as a message format error.
        if usize::from(token_len) > MAX_TOKEN_LEN {
            return Err(FormatError::ReservedTokenLength { len: token_len }.into());
        }
        let extended = ExtendedLength::of_nibble(first >> 4);
        let needed = extended.len().saturating_sub(rest.len());
        let body_len = match extended {
            ExtendedLength::None => Some(u64::from(first >> 4)),
            ExtendedLength::One => rest.first().map(|byte| u64::from(*byte)),
            ExtendedLength::Two => rest
                .first_chunk()
                .map(|bytes| u64::from(u16::from_be_bytes(*bytes))),
            ExtendedLength::Four => rest
                .first_chunk()
                .map(|bytes| u64::from(u32::from_be_bytes(*bytes))),
        };
        let body_len = body_len.ok_or(FrameError::Incomplete { needed })?;
        Ok(Self {
            extended,
            token_len,
            body_len: body_len.saturating_add(extended.first()),
        })
    }

    /// Returns the length of the whole message in bytes, from its first byte to the end of the
    /// payload: what Max-Message-Size bounds (RFC 8323 §5.3.1).
    pub fn message_len(&self) -> u64 {
        self.body_len
            .saturating_add(2)
            .saturating_add(u64::from(self.token_len).saturating_add(self.extended.len_u64()))
    }
}

/// One message of a byte stream, borrowed from it.
#[derive(Clone, Copy, Debug)]
pub enum Frame<'a> {
    /// An Empty message, code 0.00.
    ///
    /// MUST (RFC 8323 §3.4): it is ignored, and so is whatever it holds.
    Empty,
    /// A request or a response. Its type is Non-confirmable and its message ID is 0: a reliable
    /// transport has neither.
    Message(Message<'a>),
    /// A signaling message, code 7.00 to 7.31.
    Signaling(SignalingMessage<'a>),
}

impl<'a> Frame<'a> {
    /// Decodes the message at the front of `stream`, which may end anywhere, and returns it with
    /// the bytes behind it.
    ///
    /// Whoever limits the length of messages asks [`FrameHeader::decode`] first: it knows the length
    /// before the message is there.
    ///
    /// # Errors
    ///
    /// [`FrameError::Incomplete`] if the message isn't all there; [`FrameError::Format`] if it is
    /// and doesn't decode, or if its first byte shows that it won't.
    pub fn decode(stream: &'a [u8]) -> Result<(Self, &'a [u8]), FrameError> {
        let header = FrameHeader::decode(stream)?;
        let len = usize::try_from(header.message_len()).unwrap_or(usize::MAX);
        let Some((message, rest)) = stream.split_at_checked(len) else {
            return Err(FrameError::Incomplete {
                needed: len.saturating_sub(stream.len()),
            });
        };
        let message = message.get(1_usize.saturating_add(header.extended.len())..);
        let Some((&code, body)) = message.and_then(<[u8]>::split_first) else {
            return Err(FrameError::Incomplete { needed: 1 });
        };
        let code = Code::from(code);
        let frame = if code.is_empty() {
            Self::Empty
        } else if code.is_signaling() {
            let signaling = SignalingMessage::decode_framed(code, header.token_len, body)?;
            Self::Signaling(signaling)
        } else {
            Self::Message(Message::decode_framed(code, header.token_len, body)?)
        };
        Ok((frame, rest))
    }
}

/// Why there is no message at the front of a byte stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// More bytes are needed.
    #[error("{needed} bytes more needed")]
    Incomplete {
        /// The fewest bytes with which the same call gets further.
        needed: usize,
    },
    /// A message format error. The stream can't be read on: the connection is to be aborted
    /// (RFC 8323 §5.6).
    #[error("message format error: {0}")]
    Format(#[from] FormatError),
}

/// How many bytes of length follow the first byte (RFC 8323 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ExtendedLength {
    None,
    One,
    Two,
    Four,
}

impl ExtendedLength {
    const ALL: [Self; 4] = [Self::None, Self::One, Self::Two, Self::Four];

    const fn of_nibble(nibble: u8) -> Self {
        match nibble {
            13 => Self::One,
            14 => Self::Two,
            15 => Self::Four,
            _ => Self::None,
        }
    }

    /// Returns its own length, in bytes.
    pub(crate) const fn len(self) -> usize {
        match self {
            Self::None => 0,
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    const fn len_u64(self) -> u64 {
        match self {
            Self::None => 0,
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// Returns the smallest length that it stands for.
    const fn first(self) -> u64 {
        match self {
            Self::None => 0,
            Self::One => 13,
            Self::Two => 269,
            Self::Four => 65_805,
        }
    }

    /// Returns the largest length that it stands for.
    const fn last(self) -> u64 {
        match self {
            Self::None => 12,
            Self::One => 268,
            Self::Two => 65_804,
            Self::Four => 65_805 + 0xffff_ffff,
        }
    }

    fn holds(self, body_len: usize) -> bool {
        u64::try_from(body_len).is_ok_and(|len| (self.first()..=self.last()).contains(&len))
    }

    /// Chooses the length field for the longest message that fits `available` bytes, and returns it
    /// with how many of them messages can use that have no longer one.
    pub(crate) fn for_room(available: usize, token_len: usize) -> Option<(Self, usize)> {
        Self::ALL.into_iter().rev().find_map(|extended| {
            let prefix = 2_usize
                .checked_add(extended.len())?
                .checked_add(token_len)?;
            let room = available.checked_sub(prefix)?;
            let first = usize::try_from(extended.first()).ok()?;
            let last = usize::try_from(extended.last()).unwrap_or(usize::MAX);
            (room >= first).then(|| (extended, prefix.saturating_add(room.min(last))))
        })
    }

    /// Chooses the length field for a body, and returns it with the nibble and the bytes behind it,
    /// of which [`Self::len`] count.
    pub(crate) fn for_body(body_len: usize) -> Option<(Self, u8, [u8; 4])> {
        let extended = Self::ALL
            .into_iter()
            .find(|extended| extended.holds(body_len))?;
        let above = u64::try_from(body_len)
            .ok()?
            .checked_sub(extended.first())?;
        let [a, b, c, d] = u32::try_from(above).ok()?.to_be_bytes();
        Some(match extended {
            Self::None => (extended, d, [0; 4]),
            Self::One => (extended, 13, [d, 0, 0, 0]),
            Self::Two => (extended, 14, [c, d, 0, 0]),
            Self::Four => (extended, 15, [a, b, c, d]),
        })
    }
}
