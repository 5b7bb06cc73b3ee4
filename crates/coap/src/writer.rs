//! Writing a message into a caller's buffer, RFC 7252 §3 and RFC 8323 §3.2.

use core::fmt;

use crate::frame::ExtendedLength;
use crate::options::PAYLOAD_MARKER;
use crate::{
    Code, EncodeError, Header, MAX_TOKEN_LEN, MessageId, MessageOption, MessageType, OptionNumber,
    Token, UintValue,
};

/// Appends a message to the front of a caller's buffer: header and token first, then options in
/// the order of their numbers, then the payload.
///
/// A call that fails leaves what was written before as it was.
///
/// In the frame of a reliable transport the length stands in front and is known last. The writer
/// leaves as many bytes for it as the longest message needs that fits the buffer; a message that
/// turns out to need fewer is moved to the front by up to four bytes when it is finished. Whoever
/// knows a bound for the message lends a buffer no longer than that, and nothing moves.
pub struct MessageWriter<'a> {
    out: &'a mut [u8],
    len: usize,
    previous: u16,
    is_empty_message: bool,
    framing: Framing,
}

/// What stands in front of the token.
#[derive(Clone, Copy, Debug)]
enum Framing {
    /// Four bytes, all known from the start.
    Datagram,
    /// The length field that room was left for.
    Stream {
        reserved: ExtendedLength,
        token_len: u8,
    },
}

#[expect(
    clippy::len_without_is_empty,
    reason = "the header is written first, so it never is"
)]
impl<'a> MessageWriter<'a> {
    /// Writes header and token.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BufferTooSmall`]; [`EncodeError::ReservedCodeClass`];
    /// [`EncodeError::EmptyWithContent`] for a token with code 0.00.
    pub fn new(
        out: &'a mut [u8],
        message_type: MessageType,
        code: Code,
        message_id: MessageId,
        token: Token,
    ) -> Result<Self, EncodeError> {
        if code.is_reserved() {
            return Err(EncodeError::ReservedCodeClass {
                class: code.class(),
            });
        }
        let is_empty_message = code.is_empty();
        if is_empty_message && !token.is_empty() {
            return Err(EncodeError::EmptyWithContent);
        }
        let header = Header {
            message_type,
            code,
            message_id,
        };
        let [first, second, third, fourth] = header.encode();
        let head = [first | token.len_u8(), second, third, fourth];
        let len = Header::LEN + token.len();
        match out.first_chunk_mut::<{ Header::LEN + MAX_TOKEN_LEN }>() {
            // Twelve bytes at once; what lies behind the token is written over or never sent.
            Some(chunk) => {
                let [a, b, c, d, token_room @ ..] = chunk;
                [*a, *b, *c, *d] = head;
                *token_room = token.padded();
            }
            None => {
                let available = out.len();
                let room = out.get_mut(..len).ok_or(EncodeError::BufferTooSmall {
                    needed: len,
                    available,
                })?;
                let bytes = head.iter().chain(token.as_bytes());
                for (to, from) in room.iter_mut().zip(bytes) {
                    *to = *from;
                }
            }
        }
        Ok(Self {
            out,
            len,
            previous: 0,
            is_empty_message,
            framing: Framing::Datagram,
        })
    }

    /// Begins a message in the frame of a reliable transport (RFC 8323 §3.2): code and token, behind
    /// room for the length. A signaling message may be written too.
    ///
    /// # Errors
    ///
    /// As [`Self::new`]; of the reserved classes only 1 and 6 are refused.
    pub fn new_framed(out: &'a mut [u8], code: Code, token: Token) -> Result<Self, EncodeError> {
        if code.is_reserved() && !code.is_signaling() {
            return Err(EncodeError::ReservedCodeClass {
                class: code.class(),
            });
        }
        let is_empty_message = code.is_empty();
        if is_empty_message && !token.is_empty() {
            return Err(EncodeError::EmptyWithContent);
        }
        let available = out.len();
        let too_small = EncodeError::BufferTooSmall {
            needed: token.len().saturating_add(2),
            available,
        };
        let (reserved, usable) =
            ExtendedLength::for_room(available, token.len()).ok_or(too_small)?;
        let out = out.get_mut(..usable).ok_or(too_small)?;
        let len = 2 + reserved.len() + token.len();
        let head = out.get_mut(1 + reserved.len()..len).ok_or(too_small)?;
        let bytes = [u8::from(code)];
        for (to, from) in head.iter_mut().zip(bytes.iter().chain(token.as_bytes())) {
            *to = *from;
        }
        Ok(Self {
            out,
            len,
            previous: 0,
            is_empty_message,
            framing: Framing::Stream {
                reserved,
                token_len: token.len_u8(),
            },
        })
    }

    /// Appends one option.
    ///
    /// The value's length isn't compared with the option's definition, so that a proxy can pass on
    /// what it received.
    ///
    /// # Errors
    ///
    /// [`EncodeError::OptionOutOfOrder`] if an option with a larger number was written before;
    /// [`EncodeError::OptionTooLong`]; [`EncodeError::BufferTooSmall`];
    /// [`EncodeError::EmptyWithContent`].
    #[inline]
    pub fn option(&mut self, number: OptionNumber, value: &[u8]) -> Result<(), EncodeError> {
        let delta = number
            .0
            .checked_sub(self.previous)
            .ok_or(EncodeError::OptionOutOfOrder {
                number,
                previous: OptionNumber(self.previous),
            })?;
        if self.is_empty_message {
            return Err(EncodeError::EmptyWithContent);
        }
        match (u8::try_from(delta), u8::try_from(value.len())) {
            (Ok(delta @ 0..13), Ok(len @ 0..13)) => {
                let room = self.room(1 + value.len())?;
                if let Some((first, room)) = room.split_first_mut() {
                    *first = (delta << 4) | len;
                    copy_short(room, value);
                }
                self.len += 1 + value.len();
            }
            _ => self.extended_option(delta, value)?,
        }
        self.previous = number.0;
        Ok(())
    }

    /// Appends an option whose value is an unsigned number, in the fewest bytes.
    ///
    /// # Errors
    ///
    /// As [`Self::option`].
    pub fn option_uint(&mut self, number: OptionNumber, value: u32) -> Result<(), EncodeError> {
        self.option(number, UintValue::new(value).as_bytes())
    }

    /// Appends an option as it was decoded from another message.
    ///
    /// # Errors
    ///
    /// As [`Self::option`].
    pub fn copy_option(&mut self, option: MessageOption<'_>) -> Result<(), EncodeError> {
        self.option(option.number(), option.value())
    }

    /// Returns the number of bytes written so far, with those left for a length.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns the number of payload bytes that still fit behind a payload marker.
    pub const fn payload_capacity(&self) -> usize {
        self.out.len().saturating_sub(self.len).saturating_sub(1)
    }

    /// Ends the message without a payload and returns its length in bytes.
    pub fn finish(self) -> usize {
        match self.framing {
            Framing::Datagram => self.len,
            Framing::Stream {
                reserved,
                token_len,
            } => put_length(self.out, self.len, reserved, token_len),
        }
    }

    /// Ends the message with `payload` and returns its length in bytes. Without payload bytes no
    /// marker is written.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BufferTooSmall`], [`EncodeError::EmptyWithContent`].
    pub fn payload(self, payload: &[u8]) -> Result<usize, EncodeError> {
        if payload.len() > self.payload_capacity() {
            return Err(EncodeError::BufferTooSmall {
                needed: payload.len().saturating_add(1),
                available: self.out.len().saturating_sub(self.len),
            });
        }
        self.payload_with(|room| {
            let room = room.get_mut(..payload.len()).unwrap_or_default();
            room.copy_from_slice(payload);
            payload.len()
        })
    }

    /// Ends the message with a payload that `fill` writes to the front of the room it is lent, and
    /// whose length it returns; returns the message's length in bytes.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BufferTooSmall`] if `fill` returns more than it was lent;
    /// [`EncodeError::EmptyWithContent`].
    pub fn payload_with(
        mut self,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<usize, EncodeError> {
        let rest = self.out.get_mut(self.len..).unwrap_or_default();
        let available = rest.len();
        let (marker, room) = match rest.split_first_mut() {
            Some((marker, room)) => (Some(marker), room),
            None => (None, <&mut [u8]>::default()),
        };
        let len = fill(room);
        if len == 0 {
            return Ok(self.finish());
        }
        if self.is_empty_message {
            return Err(EncodeError::EmptyWithContent);
        }
        match marker {
            Some(marker) if len < available => {
                *marker = PAYLOAD_MARKER;
                self.len += 1 + len;
                Ok(self.finish())
            }
            _ => Err(EncodeError::BufferTooSmall {
                needed: len.saturating_add(1),
                available,
            }),
        }
    }

    /// Lends the next `len` bytes of the output without counting them as written.
    #[inline]
    fn room(&mut self, len: usize) -> Result<&mut [u8], EncodeError> {
        let rest = self.out.get_mut(self.len..).unwrap_or_default();
        let available = rest.len();
        rest.get_mut(..len).ok_or(EncodeError::BufferTooSmall {
            needed: len,
            available,
        })
    }

    #[inline(never)]
    fn extended_option(&mut self, delta: u16, value: &[u8]) -> Result<(), EncodeError> {
        let too_long = EncodeError::OptionTooLong { len: value.len() };
        let (delta_nibble, delta) = Extension::new(usize::from(delta)).ok_or(too_long)?;
        let (len_nibble, value_len) = Extension::new(value.len()).ok_or(too_long)?;
        let header_len = 1 + delta.as_bytes().len() + value_len.as_bytes().len();
        let room = self.room(header_len.saturating_add(value.len()))?;
        let (header, value_room) = room.split_at_mut(header_len);
        let first = [(delta_nibble << 4) | len_nibble];
        let bytes = first
            .iter()
            .chain(delta.as_bytes())
            .chain(value_len.as_bytes());
        for (to, from) in header.iter_mut().zip(bytes) {
            *to = *from;
        }
        value_room.copy_from_slice(value);
        self.len += header_len + value.len();
        Ok(())
    }
}

/// How much was written, and nothing of what.
impl fmt::Debug for MessageWriter<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MessageWriter")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// The bytes by which a delta or a length goes on behind its nibble (RFC 7252 §3.1).
enum Extension {
    None,
    One([u8; 1]),
    Two([u8; 2]),
}

impl Extension {
    /// Returns the nibble and what follows; `None` if no two bytes hold it.
    fn new(value: usize) -> Option<(u8, Self)> {
        let value = u32::try_from(value).ok()?;
        match value {
            0..13 => Some((u8::try_from(value).ok()?, Self::None)),
            13..269 => Some((13, Self::One([u8::try_from(value - 13).ok()?]))),
            _ => {
                let extension = u16::try_from(value - 269).ok()?;
                Some((14, Self::Two(extension.to_be_bytes())))
            }
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::One(bytes) => bytes,
            Self::Two(bytes) => bytes,
        }
    }
}

/// Writes the length in front of a framed message of `len` bytes that `reserved` was left for, and
/// returns the length that the message has then.
fn put_length(out: &mut [u8], len: usize, reserved: ExtendedLength, token_len: u8) -> usize {
    let head_len = 2 + reserved.len() + usize::from(token_len);
    // The writer was lent no more than the field left can stand for.
    let Some((extended, nibble, bytes)) = ExtendedLength::for_body(len.saturating_sub(head_len))
    else {
        return len;
    };
    let surplus = reserved.len().saturating_sub(extended.len());
    let start = 1 + extended.len();
    if surplus > 0
        && let Some(message) = out.get_mut(start..len)
    {
        message.copy_within(surplus.min(message.len()).., 0);
    }
    let first = [(nibble << 4) | token_len];
    let field = bytes.iter().take(extended.len());
    for (to, from) in out.iter_mut().zip(first.iter().chain(field)) {
        *to = *from;
    }
    len.saturating_sub(surplus)
}

/// Copies up to 12 bytes between slices of equal length by moves of fixed size: a call of memcpy
/// takes longer than the rest of an option.
#[inline]
fn copy_short(to: &mut [u8], from: &[u8]) {
    if let (Some(first), Some(last)) = (from.first_chunk::<8>(), from.last_chunk::<8>()) {
        copy_ends(to, *first, *last);
    } else if let (Some(first), Some(last)) = (from.first_chunk::<4>(), from.last_chunk::<4>()) {
        copy_ends(to, *first, *last);
    } else if let (Some(first), Some(last)) = (from.first_chunk::<2>(), from.last_chunk::<2>()) {
        copy_ends(to, *first, *last);
    } else if let (Some(to), Some(from)) = (to.first_mut(), from.first()) {
        *to = *from;
    }
}

/// Writes both ends of a value of `N` to `2 * N` bytes; they may overlap.
#[inline]
fn copy_ends<const N: usize>(to: &mut [u8], first: [u8; N], last: [u8; N]) {
    if let Some(room) = to.first_chunk_mut::<N>() {
        *room = first;
    }
    if let Some(room) = to.last_chunk_mut::<N>() {
        *room = last;
    }
}
