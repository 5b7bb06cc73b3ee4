//! The fixed part of a message, RFC 7252 §3.

use crate::Code;

/// The type of a message (RFC 7252 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// Wants an Acknowledgement or a Reset: CON.
    Confirmable,
    /// Wants neither: NON.
    NonConfirmable,
    /// Acknowledges a Confirmable message: ACK.
    Acknowledgement,
    /// Says that a message could not be processed: RST.
    Reset,
}

impl MessageType {
    /// Returns the type's number on the wire, 0 to 3.
    pub const fn number(self) -> u8 {
        match self {
            Self::Confirmable => 0,
            Self::NonConfirmable => 1,
            Self::Acknowledgement => 2,
            Self::Reset => 3,
        }
    }

    /// Returns the type with the number that the low two bits of `bits` hold.
    pub(crate) const fn from_low_bits(bits: u8) -> Self {
        match bits & 0b11 {
            0 => Self::Confirmable,
            1 => Self::NonConfirmable,
            2 => Self::Acknowledgement,
            _ => Self::Reset,
        }
    }

    /// Says whether a message of this type may carry `code` (RFC 7252 §4.3, table 1).
    ///
    /// An Empty Confirmable message counts as allowed: it is a ping, to be answered with a Reset.
    pub const fn may_carry(self, code: Code) -> bool {
        match self {
            Self::Confirmable => !code.is_reserved(),
            Self::NonConfirmable => code.is_request() || code.is_response(),
            Self::Acknowledgement => code.is_empty() || code.is_response(),
            Self::Reset => code.is_empty(),
        }
    }
}

/// A message ID: it tells duplicates and matches Acknowledgement and Reset (RFC 7252 §4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u16);

impl MessageId {
    /// Returns the ID that follows, 0 after 65,535.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// The four bytes that every message begins with, without the token's length (RFC 7252 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// The message's type.
    pub message_type: MessageType,
    /// The message's code.
    pub code: Code,
    /// The message's ID.
    pub message_id: MessageId,
}

impl Header {
    /// Length of the header, in bytes.
    pub const LEN: usize = 4;

    /// Makes the header of an Acknowledgement of `message_id` that carries no response.
    pub const fn acknowledgement(message_id: MessageId) -> Self {
        Self::empty(MessageType::Acknowledgement, message_id)
    }

    /// Makes the header of a Reset for `message_id`.
    pub const fn reset(message_id: MessageId) -> Self {
        Self::empty(MessageType::Reset, message_id)
    }

    /// Makes the header of a ping: an Empty Confirmable message (RFC 7252 §4.3).
    pub const fn ping(message_id: MessageId) -> Self {
        Self::empty(MessageType::Confirmable, message_id)
    }

    /// Returns the header as bytes with a token length of zero. For an Empty message these four
    /// bytes are the whole message (RFC 7252 §4.1).
    pub fn encode(self) -> [u8; Self::LEN] {
        let [high, low] = self.message_id.0.to_be_bytes();
        let first = VERSION_BITS | (self.message_type.number() << 4);
        [first, u8::from(self.code), high, low]
    }

    const fn empty(message_type: MessageType, message_id: MessageId) -> Self {
        Self {
            message_type,
            code: Code::EMPTY,
            message_id,
        }
    }
}

/// Version 1 in the two bits where the first byte has it.
const VERSION_BITS: u8 = 0b0100_0000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_carry_what_table_1_allows() {
        use MessageType::{Acknowledgement, Confirmable, NonConfirmable, Reset};
        for (message_type, request, response, empty) in [
            (Confirmable, true, true, true),
            (NonConfirmable, true, true, false),
            (Acknowledgement, false, true, true),
            (Reset, false, false, true),
        ] {
            assert_eq!(message_type.may_carry(Code::GET), request);
            assert_eq!(message_type.may_carry(Code::CONTENT), response);
            assert_eq!(message_type.may_carry(Code::EMPTY), empty);
            assert!(!message_type.may_carry(Code::from(0x20)));
        }
    }

    #[test]
    fn empty_messages_are_four_bytes() {
        let id = MessageId(0x7d35);
        assert_eq!(Header::ping(id).encode(), [0x40, 0, 0x7d, 0x35]);
        assert_eq!(Header::acknowledgement(id).encode(), [0x60, 0, 0x7d, 0x35]);
        assert_eq!(Header::reset(id).encode(), [0x70, 0, 0x7d, 0x35]);
    }

    #[test]
    fn message_ids_wrap() {
        assert_eq!(MessageId(0xffff).next(), MessageId(0));
        assert_eq!(MessageId(7).next(), MessageId(8));
    }
}
