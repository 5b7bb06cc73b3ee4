//! A message as it lies in a datagram, RFC 7252 §3.

use crate::options::{PAYLOAD_MARKER, split_option};
use crate::{
    Code, DecodeError, FormatError, Header, MAX_TOKEN_LEN, MessageId, MessageOption, MessageType,
    OptionNumber, Options, Token,
};

/// A decoded message, borrowed from its datagram.
///
/// Its format is good, but whether type and code go together ([`MessageType::may_carry`]) and
/// whether its critical options are recognised is the message layer's business.
#[derive(Clone, Copy, Debug)]
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

    /// Returns the first option with this number, as it stands in the message.
    pub fn option(&self, number: OptionNumber) -> Option<MessageOption<'a>> {
        self.options()
            .take_while(|option| option.number() <= number)
            .find(|option| option.number() == number)
    }

    /// Returns the payload, empty if there is none.
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

#[inline]
fn split_token(len: u8, body: &[u8]) -> Result<(Token, &[u8]), FormatError> {
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
fn split_options(body: &[u8]) -> Result<(&[u8], &[u8]), FormatError> {
    let mut rest = body;
    let mut previous = 0;
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
        let (option, next) = split_option(first, after, previous)?;
        previous = option.number().0;
        rest = next;
    }
    Ok((body, &[]))
}
