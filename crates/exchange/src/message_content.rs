//! What an application gives to be sent.

use hedgerow_coap::{Code, MessageOption, OptionNumber};

use crate::Error;

/// A whole request: method, options in ascending order of their numbers, and a body of any length.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub(crate) content: Content<'a>,
    pub(crate) is_confirmable: bool,
    pub(crate) hands_out_challenges: bool,
}

impl<'a> Request<'a> {
    /// Makes a Confirmable request without options and payload.
    pub const fn new(method: Code) -> Self {
        Self {
            content: Content::new(method),
            is_confirmable: true,
            hands_out_challenges: false,
        }
    }

    /// Sets the options, in ascending order of their numbers. Block options, sizes and Request-Tag
    /// are the exchange's own.
    #[must_use]
    pub const fn options(mut self, options: &'a [MessageOption<'a>]) -> Self {
        self.content.options = options;
        self
    }

    /// Sets the body. One that doesn't fit a message goes in blocks.
    #[must_use]
    pub const fn payload(mut self, payload: &'a [u8]) -> Self {
        self.content.payload = payload;
        self
    }

    /// Leaves a challenge of the server (4.01 with an Echo option, RFC 9175 §2.3) to the application.
    ///
    /// Otherwise it is answered without a word, which says to the server that the request is fresh:
    /// a proxy that doesn't know that of an unsafe request has to ask its own client first.
    #[must_use]
    pub const fn hand_out_challenges(mut self) -> Self {
        self.hands_out_challenges = true;
        self
    }

    /// Makes the request Non-confirmable: it is never retransmitted.
    #[must_use]
    pub const fn non_confirmable(mut self) -> Self {
        self.is_confirmable = false;
        self
    }
}

/// A whole response: code, options in ascending order of their numbers, and a body of any length.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    pub(crate) content: Content<'a>,
}

impl<'a> Response<'a> {
    /// Makes a response without options and payload.
    pub const fn new(code: Code) -> Self {
        Self {
            content: Content::new(code),
        }
    }

    /// Sets the options, in ascending order of their numbers. Block options and sizes are the
    /// exchange's own; so is ETag where a body goes in blocks and has none.
    #[must_use]
    pub const fn options(mut self, options: &'a [MessageOption<'a>]) -> Self {
        self.content.options = options;
        self
    }

    /// Sets the body. One that doesn't fit a message goes in blocks.
    #[must_use]
    pub const fn payload(mut self, payload: &'a [u8]) -> Self {
        self.content.payload = payload;
        self
    }
}

/// Code, options and payload, without anything that belongs to one message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content<'a> {
    pub(crate) code: Code,
    pub(crate) options: &'a [MessageOption<'a>],
    pub(crate) payload: &'a [u8],
}

impl Content<'_> {
    const fn new(code: Code) -> Self {
        Self {
            code,
            options: &[],
            payload: &[],
        }
    }

    /// Refuses options that the exchange writes itself and returns a bound on the length of those
    /// given, in bytes.
    pub(crate) fn check_options(&self) -> Result<usize, Error> {
        let mut len = 0_usize;
        for option in self.options {
            let number = option.number();
            if matches!(
                number,
                OptionNumber::BLOCK1
                    | OptionNumber::BLOCK2
                    | OptionNumber::SIZE1
                    | OptionNumber::SIZE2
                    | OptionNumber::REQUEST_TAG
            ) {
                return Err(Error::ReservedOption { number });
            }
            len = len.saturating_add(MAX_OPTION_HEADER_LEN + option.value().len());
        }
        Ok(len)
    }

    pub(crate) fn has_etag(&self) -> bool {
        self.options
            .iter()
            .any(|option| option.number() == OptionNumber::ETAG)
    }
}

/// One byte, and two each for an extended delta and an extended length (RFC 7252 §3.1).
const MAX_OPTION_HEADER_LEN: usize = 5;
