//! Where a direction stands: its record's number and its handshake message.

use crate::{EpochNumber, Error, RecordNumber, TLS_HANDSHAKE_HEADER_LEN};

/// The longest fragment of a handshake message in clear that the form `dtls` is written with, in bytes.
pub const MAX_FORM_FRAGMENT_LEN: usize = 1_024;

/// Epoch and number of the next record of a direction.
#[derive(Clone, Debug)]
pub(super) struct Numbering {
    is_protected: bool,
    next: u64,
}

impl Numbering {
    pub(super) const FIRST: Self = Self {
        is_protected: false,
        next: 0,
    };

    pub(super) const fn is_protected(&self) -> bool {
        self.is_protected
    }

    /// Begins the epoch behind a ChangeCipherSpec.
    pub(super) const fn change_cipher_spec(&mut self) {
        self.is_protected = true;
        self.next = 0;
    }

    pub(super) fn take(&mut self) -> Result<RecordNumber, Error> {
        let epoch = EpochNumber(u16::from(self.is_protected));
        let number = RecordNumber::new(epoch, self.next).ok_or(Error::OutOfNumbers)?;
        self.next = self.next.saturating_add(1);
        Ok(number)
    }
}

/// Where the handshake messages in clear of a direction stand.
#[derive(Clone, Debug)]
pub(super) struct Messages {
    /// The number of the message under way, or of the next one; above 16 bits when there are no more.
    message_seq: u32,
    /// The message under way, from when its header is known.
    pub(super) current: Option<Current>,
}

/// A message that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Current {
    pub(super) code: u8,
    pub(super) length: u32,
    /// How much of it has gone.
    pub(super) offset: u32,
}

impl Current {
    pub(super) const fn from_header(header: [u8; TLS_HANDSHAKE_HEADER_LEN]) -> Self {
        let [code, a, b, c] = header;
        Self {
            code,
            length: u32::from_be_bytes([0, a, b, c]),
            offset: 0,
        }
    }

    pub(super) const fn header(self) -> [u8; TLS_HANDSHAKE_HEADER_LEN] {
        let [_, a, b, c] = self.length.to_be_bytes();
        [self.code, a, b, c]
    }

    /// Returns how many bytes are still to go.
    pub(super) const fn left(self) -> u32 {
        self.length.saturating_sub(self.offset)
    }
}

impl Messages {
    pub(super) const NONE: Self = Self {
        message_seq: 0,
        current: None,
    };

    pub(super) fn message_seq(&self) -> Result<u16, Error> {
        u16::try_from(self.message_seq).map_err(|_| Error::OutOfNumbers)
    }

    /// Notes that a fragment of `len` bytes goes, which may be the message's last.
    pub(super) fn advance(&mut self, message: Current, len: u32) {
        let offset = message.offset.saturating_add(len);
        self.current = (offset < message.length).then_some(Current { offset, ..message });
        if self.current.is_none() {
            self.message_seq = self.message_seq.saturating_add(1);
        }
    }
}
