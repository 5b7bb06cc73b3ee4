//! Options on the wire, RFC 7252 §3.1.

use core::iter::FusedIterator;

use crate::{FormatError, OptionNumber, decode_uint};

/// The longest option value that the format can carry, in bytes.
pub const MAX_OPTION_LEN: usize = 65_535 + 269;

/// The byte between options and payload.
pub(crate) const PAYLOAD_MARKER: u8 = 0xff;

/// One option of a message, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageOption<'a> {
    number: OptionNumber,
    value: &'a [u8],
}

impl<'a> MessageOption<'a> {
    /// Puts a number and a value together.
    pub const fn new(number: OptionNumber, value: &'a [u8]) -> Self {
        Self { number, value }
    }

    /// Returns the option's number.
    pub const fn number(&self) -> OptionNumber {
        self.number
    }

    /// Returns the option's value.
    pub const fn value(&self) -> &'a [u8] {
        self.value
    }

    /// Returns the value as an unsigned number; `None` if it needs more than 32 bits.
    pub fn as_uint(&self) -> Option<u32> {
        decode_uint(self.value)
    }

    /// Returns the value as text; `None` if it isn't UTF-8.
    pub fn as_str(&self) -> Option<&'a str> {
        core::str::from_utf8(self.value).ok()
    }

    /// Says whether the value's length is one that the option is defined for (RFC 7252 §5.4.3).
    /// So it is for every option that this crate doesn't know.
    pub fn has_defined_len(&self) -> bool {
        self.number
            .definition()
            .is_none_or(|definition| definition.allows_len(self.value.len()))
    }
}

/// The options of a decoded message, in the order of the message, which is that of their numbers.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Options only, checked when the message was decoded.
    rest: &'a [u8],
    previous: u16,
}

impl<'a> Options<'a> {
    pub(crate) const fn new(checked: &'a [u8]) -> Self {
        Self {
            rest: checked,
            previous: 0,
        }
    }

    /// Says of each option whether it counts as recognised.
    pub(crate) fn judged<F>(
        self,
        understood: F,
    ) -> impl Iterator<Item = (MessageOption<'a>, bool)> + use<'a, F>
    where
        F: Fn(OptionNumber) -> bool,
    {
        let mut previous = None;
        self.map(move |option| {
            let number = option.number;
            // MUST (RFC 7252 §5.4.5): each supernumerary occurrence is treated like an
            // unrecognised option. Equal numbers stand side by side.
            let is_supernumerary = previous == Some(number) && !number.is_repeatable();
            previous = Some(number);
            // MUST (RFC 7252 §5.4.3): so is one whose length is outside the defined range.
            let recognised = understood(number) && !is_supernumerary && option.has_defined_len();
            (option, recognised)
        })
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = MessageOption<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (&first, rest) = self.rest.split_first()?;
        // The bytes were checked, so the error never comes; it would end the iteration.
        let (option, rest) = split_option(first, rest, self.previous).ok()?;
        self.rest = rest;
        self.previous = option.number.0;
        Some(option)
    }
}

impl FusedIterator for Options<'_> {}

/// Takes the option that begins with the byte `first`, which is no payload marker, from `rest`.
#[inline]
pub(crate) fn split_option(
    first: u8,
    rest: &[u8],
    previous: u16,
) -> Result<(MessageOption<'_>, &[u8]), FormatError> {
    let delta = first >> 4;
    let len = first & 0x0f;
    // One byte of header is what nearly every option has.
    let (number, len, rest) = if delta < 13 && len < 13 {
        let number = previous.checked_add(u16::from(delta));
        (number, usize::from(len), rest)
    } else {
        let (delta, rest) = extended(delta, rest, FormatError::ReservedOptionDelta)?;
        let (len, rest) = extended(len, rest, FormatError::ReservedOptionLength)?;
        let number = u32::from(previous).checked_add(delta);
        let number = number.and_then(|number| u16::try_from(number).ok());
        let len = usize::try_from(len).map_err(|_| FormatError::OptionCutOff)?;
        (number, len, rest)
    };
    let number = OptionNumber(number.ok_or(FormatError::OptionNumberTooLarge)?);
    let (value, rest) = rest
        .split_at_checked(len)
        .ok_or(FormatError::OptionCutOff)?;
    Ok((MessageOption { number, value }, rest))
}

/// Reads the extended part of a delta or length whose nibble is given.
#[cold]
#[inline(never)]
fn extended(nibble: u8, rest: &[u8], reserved: FormatError) -> Result<(u32, &[u8]), FormatError> {
    match nibble {
        13 => {
            let (&byte, rest) = rest.split_first().ok_or(FormatError::OptionCutOff)?;
            Ok((u32::from(byte) + 13, rest))
        }
        14 => {
            let (&bytes, rest) = rest.split_first_chunk().ok_or(FormatError::OptionCutOff)?;
            Ok((u32::from(u16::from_be_bytes(bytes)) + 269, rest))
        }
        15 => Err(reserved),
        small => Ok((u32::from(small), rest)),
    }
}
