//! The messages of one flight, until they have been sent.

use hedgerow_core::{CryptoProvider, EncodeError, Reader, Writer};
use hedgerow_record::HandshakeType;

use crate::transcript::Transcript;

/// What a flight consists of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    ChangeCipherSpec,
    Message {
        /// Whether it goes out under the new keys.
        is_protected: bool,
        msg_type: HandshakeType,
        message_seq: u16,
        body: &'a [u8],
    },
}

/// The body of ChangeCipherSpec (RFC 5246 §7.1).
pub(crate) const CHANGE_CIPHER_SPEC_BODY: [u8; 1] = [1];

const CHANGE_CIPHER_SPEC: u8 = 0;
const PLAIN_MESSAGE: u8 = 1;
const PROTECTED_MESSAGE: u8 = 2;

/// The items of a flight. Each stands in the buffer as kind(1), for a message msg_type(1)
/// message_seq(2) length(2) body.
pub(crate) struct FlightBuffer<B> {
    buffer: B,
    len: usize,
    has_changed_cipher_spec: bool,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> FlightBuffer<B> {
    pub(crate) const fn new(buffer: B) -> Self {
        Self {
            buffer,
            len: 0,
            has_changed_cipher_spec: false,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn clear(&mut self) {
        self.len = 0;
    }

    pub(crate) fn into_buffer(self) -> B {
        self.buffer
    }

    /// Adds a message to the flight and to the transcript.
    pub(crate) fn push_message<P: CryptoProvider>(
        &mut self,
        transcript: &mut Transcript<P>,
        msg_type: HandshakeType,
        message_seq: u16,
        body: impl FnOnce(&mut Writer<'_>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let body_at = self.push(msg_type, message_seq, body)?;
        let body = self.buffer.as_ref().get(body_at..self.len);
        transcript.add(msg_type, message_seq, body.unwrap_or_default());
        Ok(())
    }

    /// Adds a message to the flight alone, and returns where its body begins.
    pub(crate) fn push(
        &mut self,
        msg_type: HandshakeType,
        message_seq: u16,
        body: impl FnOnce(&mut Writer<'_>) -> Result<(), EncodeError>,
    ) -> Result<usize, EncodeError> {
        let kind = match self.has_changed_cipher_spec {
            false => PLAIN_MESSAGE,
            true => PROTECTED_MESSAGE,
        };
        let start = self.len;
        let mut writer = Writer::new(self.buffer.as_mut().get_mut(start..).unwrap_or_default());
        writer.u8(kind)?;
        writer.u8(msg_type.into())?;
        writer.u16(message_seq)?;
        let body_at = writer.len().saturating_add(2);
        writer.nested16(body)?;
        let end = writer.len();
        self.len = start.saturating_add(end);
        Ok(start.saturating_add(body_at))
    }

    /// Adds ChangeCipherSpec to the flight.
    pub(crate) fn push_change_cipher_spec(&mut self) -> Result<(), EncodeError> {
        let mut writer = Writer::new(self.buffer.as_mut().get_mut(self.len..).unwrap_or_default());
        writer.u8(CHANGE_CIPHER_SPEC)?;
        self.has_changed_cipher_spec = true;
        self.len = self.len.saturating_add(1);
        Ok(())
    }

    /// Reads the item at `at` and returns it with the place of the next one.
    pub(crate) fn item_at(&self, at: usize) -> Option<(Item<'_>, usize)> {
        let mut reader = Reader::new(self.buffer.as_ref().get(at..self.len)?);
        let kind = reader.u8().ok()?;
        let item = if kind == CHANGE_CIPHER_SPEC {
            Item::ChangeCipherSpec
        } else {
            Item::Message {
                is_protected: kind == PROTECTED_MESSAGE,
                msg_type: HandshakeType::from(reader.u8().ok()?),
                message_seq: reader.u16().ok()?,
                body: reader.vector16().ok()?,
            }
        };
        Some((item, self.len.saturating_sub(reader.len())))
    }
}
