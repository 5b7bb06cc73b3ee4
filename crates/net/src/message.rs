//! Whole requests and responses that own their bytes.

use core::fmt;

use hedgerow_coap::{Code, Message, MessageOption, MessageType, OptionNumber};

/// An option's number and value.
pub type OwnedOption = (OptionNumber, Vec<u8>);

/// A whole request.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestMessage {
    /// The method.
    pub method: Code,
    /// The options. Those of one number stay in their order; numbers needn't ascend. Block options,
    /// sizes and Request-Tag are written by the node itself.
    pub options: Vec<OwnedOption>,
    /// The body, of any length that the configuration allows.
    pub payload: Vec<u8>,
    /// Whether the request is retransmitted until it is acknowledged.
    pub is_confirmable: bool,
    /// Whether a challenge of the server (4.01 with an Echo option, RFC 9175 §2.3) is answered by
    /// sending the request once more, which says that it is fresh. If not, the challenge is the
    /// response.
    pub answers_challenges: bool,
}

/// A whole response.
#[derive(Clone, PartialEq, Eq)]
pub struct ResponseMessage {
    /// The response code.
    pub code: Code,
    /// The options, as in [`RequestMessage::options`]; those of a received response ascend.
    pub options: Vec<OwnedOption>,
    /// The body, of any length that the configuration allows.
    pub payload: Vec<u8>,
}

impl RequestMessage {
    /// Makes a Confirmable request without options and payload.
    pub const fn new(method: Code) -> Self {
        Self {
            method,
            options: Vec::new(),
            payload: Vec::new(),
            is_confirmable: true,
            answers_challenges: true,
        }
    }

    /// Adds an option.
    #[must_use]
    pub fn option(mut self, number: OptionNumber, value: impl Into<Vec<u8>>) -> Self {
        self.options.push((number, value.into()));
        self
    }

    /// Adds one Uri-Path option for each segment between the slashes of `path`, which is taken as
    /// it is: nothing in it is percent-decoded.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        let segments = path.split('/').filter(|segment| !segment.is_empty());
        self.options
            .extend(segments.map(|segment| (OptionNumber::URI_PATH, segment.as_bytes().to_vec())));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Vec<u8>>) -> Self {
        self.payload = payload.into();
        self
    }

    /// Iterates over the values of the options with this number.
    pub fn values(&self, number: OptionNumber) -> impl Iterator<Item = &[u8]> {
        values(&self.options, number)
    }

    pub(crate) fn from_message(message: &Message<'_>) -> Self {
        Self {
            method: message.code(),
            options: owned(message),
            payload: message.payload().to_vec(),
            is_confirmable: message.message_type() == MessageType::Confirmable,
            answers_challenges: true,
        }
    }
}

impl ResponseMessage {
    /// Makes a response without options and payload.
    pub const fn new(code: Code) -> Self {
        Self {
            code,
            options: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// Adds an option.
    #[must_use]
    pub fn option(mut self, number: OptionNumber, value: impl Into<Vec<u8>>) -> Self {
        self.options.push((number, value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Vec<u8>>) -> Self {
        self.payload = payload.into();
        self
    }

    /// Iterates over the values of the options with this number.
    pub fn values(&self, number: OptionNumber) -> impl Iterator<Item = &[u8]> {
        values(&self.options, number)
    }

    pub(crate) fn from_message(message: &Message<'_>) -> Self {
        Self {
            code: message.code(),
            options: owned(message),
            payload: message.payload().to_vec(),
        }
    }
}

/// Lends options in the order in which they are written.
pub(crate) fn borrowed(options: &[OwnedOption]) -> Vec<MessageOption<'_>> {
    let mut options: Vec<_> = options
        .iter()
        .map(|(number, value)| MessageOption::new(*number, value))
        .collect();
    options.sort_by_key(MessageOption::number);
    options
}

/// The method, the numbers of the options and the payload's length: what a session protected
/// doesn't end in a log.
impl fmt::Debug for RequestMessage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RequestMessage")
            .field("method", &self.method)
            .field("options", &numbers(&self.options))
            .field("payload_len", &self.payload.len())
            .field("is_confirmable", &self.is_confirmable)
            .field("answers_challenges", &self.answers_challenges)
            .finish()
    }
}

/// The code, the numbers of the options and the payload's length.
impl fmt::Debug for ResponseMessage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ResponseMessage")
            .field("code", &self.code)
            .field("options", &numbers(&self.options))
            .field("payload_len", &self.payload.len())
            .finish()
    }
}

fn owned(message: &Message<'_>) -> Vec<OwnedOption> {
    message
        .options()
        .map(|option| (option.number(), option.value().to_vec()))
        .collect()
}

fn values(options: &[OwnedOption], number: OptionNumber) -> impl Iterator<Item = &[u8]> {
    options
        .iter()
        .filter(move |(found, _)| *found == number)
        .map(|(_, value)| value.as_slice())
}

fn numbers(options: &[OwnedOption]) -> Vec<OptionNumber> {
    options.iter().map(|(number, _)| *number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_neither_values_nor_payload() {
        let request = RequestMessage::new(Code::PUT)
            .path("/lamp/secret-place")
            .payload("secret-value");
        let response = ResponseMessage::new(Code::CONTENT)
            .option(OptionNumber::ETAG, "secret")
            .payload("secret-value");
        for text in [format!("{request:?}"), format!("{response:?}")] {
            assert!(text.contains("payload_len: 12"), "{text}");
            assert!(!text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn options_are_sorted_by_number_and_keep_their_order_within_one() {
        let request = RequestMessage::new(Code::GET)
            .option(OptionNumber::ACCEPT, [50])
            .path("/b/a");
        let order: Vec<_> = borrowed(&request.options)
            .iter()
            .map(|option| (option.number(), option.value().to_vec()))
            .collect();
        assert_eq!(
            order,
            [
                (OptionNumber::URI_PATH, b"b".to_vec()),
                (OptionNumber::URI_PATH, b"a".to_vec()),
                (OptionNumber::ACCEPT, vec![50]),
            ]
        );
    }
}
