//! A message as it lies in a datagram, RFC 7252 §3.

use core::fmt;

use crate::options::{PAYLOAD_MARKER, split_option};
use crate::{
    Code, DecodeError, FormatError, Header, MAX_TOKEN_LEN, MessageId, MessageOption, MessageType,
    OptionNumber, Options, Token,
};

/// A decoded message, borrowed from its datagram, or from its [`Frame`](crate::Frame): a reliable
/// transport has neither type nor message ID, and the message is Non-confirmable with ID 0 then.
///
/// Its format is good, but whether type and code go together ([`MessageType::may_carry`]) and
/// whether its critical options are recognised is the message layer's business.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    header: Header,
    token: Token,
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Decodes a datagram, all of it.
    ///
    /// # Errors
    ///
    /// [`DecodeError::TooShort`] and [`DecodeError::UnknownVersion`] for what must be ignored
    /// silently, [`DecodeError::Format`] with the header for what is to be rejected.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, DecodeError> {
        let Some((&[first, code, high, low], body)) = datagram.split_first_chunk() else {
            return Err(DecodeError::TooShort {
                len: datagram.len(),
            });
        };
        // MUST (RFC 7252 §3): messages with unknown version numbers are silently ignored.
        let version = first >> 6;
        if version != 1 {
            return Err(DecodeError::UnknownVersion { version });
        }
        let header = Header {
            message_type: MessageType::from_low_bits(first >> 4),
            code: Code::from(code),
            message_id: MessageId(u16::from_be_bytes([high, low])),
        };
        Self::decode_body(header, first & 0x0f, body)
            .map_err(|reason| DecodeError::Format { header, reason })
    }

    #[inline]
    fn decode_body(header: Header, token_len: u8, body: &'a [u8]) -> Result<Self, FormatError> {
        if header.code.is_empty() {
            // MUST (RFC 7252 §4.1): any byte behind the message ID of an Empty message is a
            // message format error, and its token length is zero.
            return match (token_len, body) {
                (0, []) => Ok(Self {
                    header,
                    token: Token::EMPTY,
                    options: &[],
                    payload: &[],
                }),
                _ => Err(FormatError::EmptyWithContent),
            };
        }
        if header.code.is_reserved() {
            return Err(FormatError::ReservedCodeClass {
                class: header.code.class(),
            });
        }
        let (token, body) = split_token(token_len, body)?;
        let (options, payload) = split_options(body)?;
        Ok(Self {
            header,
            token,
            options,
            payload,
        })
    }

    /// Decodes what a frame of a reliable transport has behind its code: the token, options and
    /// payload of a request or a response (RFC 8323 §3.2).
    pub(crate) fn decode_framed(
        code: Code,
        token_len: u8,
        body: &'a [u8],
    ) -> Result<Self, FormatError> {
        let header = Header {
            message_type: MessageType::NonConfirmable,
            code,
            message_id: MessageId(0),
        };
        Self::decode_body(header, token_len, body)
    }

    /// Returns type, code and message ID.
    pub const fn header(&self) -> Header {
        self.header
    }

    /// Returns the message's type.
    pub const fn message_type(&self) -> MessageType {
        self.header.message_type
    }

    /// Returns the message's code.
    pub const fn code(&self) -> Code {
        self.header.code
    }

    /// Returns the message's ID.
    pub const fn message_id(&self) -> MessageId {
        self.header.message_id
    }

    /// Returns the message's token.
    pub const fn token(&self) -> Token {
        self.token
    }

    /// Iterates over the options as they stand in the message, whatever their lengths and however
    /// often they occur.
    pub const fn options(&self) -> Options<'a> {
        Options::new(self.options)
    }

    /// Returns the option with this number, if its length is one it is defined for.
    ///
    /// Of an option that may not be repeated the first counts, and a wrong length makes it
    /// unrecognised (RFC 7252 §5.4.3 and §5.4.5): look for
    /// [`Self::unrecognised_critical`] options before acting on what is missing.
    pub fn option(&self, number: OptionNumber) -> Option<MessageOption<'a>> {
        self.options_numbered(number).next()
    }

    /// Iterates over the options with this number that count: of one that may not be repeated the
    /// first only, and none whose length isn't defined.
    pub fn options_numbered(
        &self,
        number: OptionNumber,
    ) -> impl Iterator<Item = MessageOption<'a>> + use<'a> {
        let most = if number.is_repeatable() {
            usize::MAX
        } else {
            1
        };
        self.options()
            .skip_while(move |option| option.number() < number)
            .take_while(move |option| option.number() == number)
            .take(most)
            .filter(MessageOption::has_defined_len)
    }

    /// Iterates over the options that count as recognised by an endpoint that understands those
    /// for which `understood` returns true. What [`Self::unrecognised_options`] says is left out.
    pub fn recognised_options<F>(
        &self,
        understood: F,
    ) -> impl Iterator<Item = MessageOption<'a>> + use<'a, F>
    where
        F: Fn(OptionNumber) -> bool,
    {
        self.options()
            .judged(understood)
            .filter_map(|(option, recognised)| recognised.then_some(option))
    }

    /// Iterates over the options that count as unrecognised: those that `understood` doesn't
    /// return true for, those of undefined length (RFC 7252 §5.4.3), and repetitions of what may
    /// not be repeated (§5.4.5).
    pub fn unrecognised_options<F>(
        &self,
        understood: F,
    ) -> impl Iterator<Item = MessageOption<'a>> + use<'a, F>
    where
        F: Fn(OptionNumber) -> bool,
    {
        self.options()
            .judged(understood)
            .filter_map(|(option, recognised)| (!recognised).then_some(option))
    }

    /// Returns the first critical option that counts as unrecognised.
    ///
    /// MUST (RFC 7252 §5.4.1): a Confirmable request that has one is answered with 4.02; any other
    /// message that has one is rejected.
    pub fn unrecognised_critical(
        &self,
        understood: impl Fn(OptionNumber) -> bool,
    ) -> Option<MessageOption<'a>> {
        self.unrecognised_options(understood)
            .find(|option| option.number().is_critical())
    }

    /// Returns the first unsafe option that counts as unrecognised.
    ///
    /// MUST (RFC 7252 §5.7.1): a proxy answers a request that has one with 4.02, and a response
    /// that has one with 5.02.
    pub fn unrecognised_unsafe(
        &self,
        understood: impl Fn(OptionNumber) -> bool,
    ) -> Option<MessageOption<'a>> {
        self.unrecognised_options(understood)
            .find(|option| option.number().is_unsafe())
    }

    /// Iterates over the options of a request that belong to its cache key: all but those marked
    /// NoCacheKey and those that `interpreted` returns true for, which the cache acts on itself as
    /// it does on ETag (RFC 7252 §5.6).
    ///
    /// The method belongs to the key too, and for FETCH the payload (RFC 8132 §2.3.2).
    pub fn cache_key_options<F>(
        &self,
        interpreted: F,
    ) -> impl Iterator<Item = MessageOption<'a>> + use<'a, F>
    where
        F: Fn(OptionNumber) -> bool,
    {
        self.options().filter(move |option| {
            let number = option.number();
            !number.is_no_cache_key() && !interpreted(number)
        })
    }

    /// Returns the payload, empty if there is none.
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Header, token, option numbers and the payload's length; no option's value and no payload, so
/// that what a session protected doesn't end in a log.
impl fmt::Debug for Message<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Numbers<'a>(Options<'a>);
        impl fmt::Debug for Numbers<'_> {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                let numbers = self.0.map(|option| option.number());
                formatter.debug_list().entries(numbers).finish()
            }
        }
        formatter
            .debug_struct("Message")
            .field("header", &self.header)
            .field("token", &self.token)
            .field("options", &Numbers(self.options()))
            .field("payload_len", &self.payload.len())
            .finish()
    }
}

#[inline]
pub(crate) fn split_token(len: u8, body: &[u8]) -> Result<(Token, &[u8]), FormatError> {
    // MUST (RFC 7252 §3): lengths 9 to 15 are processed as a message format error.
    if usize::from(len) > MAX_TOKEN_LEN {
        return Err(FormatError::ReservedTokenLength { len });
    }
    let (token, rest) = body
        .split_at_checked(usize::from(len))
        .ok_or(FormatError::TokenCutOff)?;
    // Eight bytes at once where the body has them, which saves a copy of unknown length.
    let token = match body.first_chunk::<MAX_TOKEN_LEN>() {
        Some(chunk) => Token::from_prefix(*chunk, len),
        None => Token::new(token).ok_or(FormatError::TokenCutOff)?,
    };
    Ok((token, rest))
}

/// Checks every option and returns the options' bytes and the payload.
#[inline]
pub(crate) fn split_options(body: &[u8]) -> Result<(&[u8], &[u8]), FormatError> {
    let mut rest = body;
    let mut previous = 0_u16;
    while let Some((&first, after)) = rest.split_first() {
        if first == PAYLOAD_MARKER {
            // MUST (RFC 7252 §3): a marker followed by a payload of length zero is a message
            // format error.
            if after.is_empty() {
                return Err(FormatError::EmptyPayload);
            }
            let options_len = body.len().saturating_sub(rest.len());
            return Ok((body.get(..options_len).unwrap_or_default(), after));
        }
        let (delta, len) = (first >> 4, first & 0x0f);
        if delta < 13 && len < 13 {
            // Nothing of a short option needs to be kept here: it is read again by its iterator.
            previous = previous
                .checked_add(u16::from(delta))
                .ok_or(FormatError::OptionNumberTooLarge)?;
            rest = after
                .get(usize::from(len)..)
                .ok_or(FormatError::OptionCutOff)?;
        } else {
            let (option, next) = split_option(first, after, previous)?;
            previous = option.number().0;
            rest = next;
        }
    }
    Ok((body, &[]))
}
