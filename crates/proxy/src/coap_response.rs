//! A CoAP response as the proxy looks at it.

use std::fmt;

use hedgerow_coap::{Code, Message, MessageOption, OptionNumber};

use crate::Failure;

/// A response whose blocks have been put together.
///
/// Its `Debug` output has the length of the payload and not the payload.
#[derive(Clone)]
pub struct CoapResponse<'a> {
    code: Code,
    options: Vec<MessageOption<'a>>,
    payload: &'a [u8],
    age_secs: u32,
}

impl fmt::Debug for CoapResponse<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CoapResponse")
            .field("code", &self.code)
            .field("payload_len", &self.payload.len())
            .finish_non_exhaustive()
    }
}

impl<'a> CoapResponse<'a> {
    /// Puts a response together. Of the options of a block-wise transfer those of its last block
    /// count; the payload is the whole.
    pub fn new(
        code: Code,
        options: impl IntoIterator<Item = MessageOption<'a>>,
        payload: &'a [u8],
    ) -> Self {
        Self {
            code,
            options: options.into_iter().collect(),
            payload,
            age_secs: 0,
        }
    }

    /// Says that the response has lain in a cache for `age_secs` seconds.
    #[must_use]
    pub const fn with_age(mut self, age_secs: u32) -> Self {
        self.age_secs = age_secs;
        self
    }

    /// Returns the code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// Returns the payload.
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Returns how long the response has been in a cache, in seconds.
    pub(crate) const fn age_secs(&self) -> u32 {
        self.age_secs
    }

    /// Iterates over the options of this number that count: of one that may not be repeated the
    /// first, and none of undefined length (RFC 7252 §5.4.3 and §5.4.5).
    pub(crate) fn options(&self, number: OptionNumber) -> impl Iterator<Item = MessageOption<'a>> {
        let most = if number.is_repeatable() {
            usize::MAX
        } else {
            1
        };
        self.options
            .iter()
            .copied()
            .filter(move |option| option.number() == number)
            .take(most)
            .filter(MessageOption::has_defined_len)
    }

    /// Returns the first option of this number that counts.
    pub(crate) fn option(&self, number: OptionNumber) -> Option<MessageOption<'a>> {
        self.options(number).next()
    }

    /// Says whether an option of this number is there, whatever its value is.
    pub(crate) fn contains(&self, number: OptionNumber) -> bool {
        self.options.iter().any(|option| option.number() == number)
    }

    /// Says whether each option of this number has a defined length.
    pub(crate) fn is_well_formed(&self, number: OptionNumber) -> bool {
        let mut options = self.options.iter();
        options.all(|option| option.number() != number || option.has_defined_len())
    }

    /// Refuses a response with an option that must not be passed over.
    pub(crate) fn check_options(&self) -> Result<(), Failure> {
        for (index, option) in self.options.iter().enumerate() {
            let number = option.number();
            let is_known = UNDERSTOOD.contains(&number);
            let before = self.options.iter().take(index);
            let is_supernumerary =
                !number.is_repeatable() && before.into_iter().any(|other| other.number() == number);
            let is_recognised = is_known && !is_supernumerary && option.has_defined_len();
            // MUST (RFC 7252 §5.4.1 and §5.7.1): a response with an unrecognised critical option
            // isn't used, and for one with an unrecognised unsafe option a proxy answers 5.02.
            if !is_recognised && (number.is_critical() || number.is_unsafe()) {
                return Err(Failure::UnrecognisedOption);
            }
        }
        Ok(())
    }
}

impl<'a> From<Message<'a>> for CoapResponse<'a> {
    fn from(message: Message<'a>) -> Self {
        Self::new(message.code(), message.options(), message.payload())
    }
}

/// The options of a response that the proxy acts on, or that the layers below have acted on.
const UNDERSTOOD: [OptionNumber; 9] = [
    OptionNumber::ETAG,
    OptionNumber::OBSERVE,
    OptionNumber::LOCATION_PATH,
    OptionNumber::CONTENT_FORMAT,
    OptionNumber::MAX_AGE,
    OptionNumber::LOCATION_QUERY,
    OptionNumber::BLOCK2,
    OptionNumber::BLOCK1,
    OptionNumber::SIZE2,
];
