//! What the gateway says for itself, without authentication.

use hedgerow_core::Writer;

use super::form::{NOTICE_LEN, TranslateForm};
use crate::{Error, RECORD_HEADER_LEN};

/// The longest notice, in bytes, header and all.
pub const MAX_NOTICE_LEN: usize = RECORD_HEADER_LEN + NOTICE_LEN;

/// The gateway's word about what it couldn't carry: a hint, since nothing authenticates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TranslateNotice {
    /// A record of the device has a nonce that isn't its number.
    NonceNotRecordNumber {
        /// The record's length, in bytes.
        record_len: u16,
    },
    /// A datagram towards the device was too long, and was dropped.
    TooLong {
        /// The datagram's length, in bytes.
        datagram_len: u16,
    },
    /// Something that this end doesn't know.
    Unknown(u8),
}

impl TranslateNotice {
    /// Makes the notice for a datagram of so many bytes, which was too long.
    pub fn too_long(len: usize) -> Self {
        Self::TooLong {
            datagram_len: u16::try_from(len).unwrap_or(u16::MAX),
        }
    }

    /// Makes the notice for a record of so many bytes, whose nonce isn't its number.
    pub fn nonce_not_record_number(len: usize) -> Self {
        Self::NonceNotRecordNumber {
            record_len: u16::try_from(len).unwrap_or(u16::MAX),
        }
    }

    /// Encodes the notice with its header.
    ///
    /// # Errors
    ///
    /// [`Error::Encode`] if `out` is too small; [`MAX_NOTICE_LEN`] is enough.
    pub fn encode(self, form: TranslateForm, out: &mut Writer<'_>) -> Result<(), Error> {
        let (reason, len) = match self {
            Self::NonceNotRecordNumber { record_len } => (1, record_len),
            Self::TooLong { datagram_len } => (2, datagram_len),
            Self::Unknown(reason) => (reason, 0),
        };
        let header_len = form.header_len();
        let mut notice = Writer::new(out.reserve(header_len.saturating_add(NOTICE_LEN))?);
        notice.reserve(header_len.saturating_sub(2))?.fill(0);
        notice.u16(3)?;
        notice.u8(reason)?;
        notice.u16(len)?;
        Ok(())
    }

    pub(super) const fn decode([reason, high, low]: [u8; NOTICE_LEN]) -> Self {
        let len = u16::from_be_bytes([high, low]);
        match reason {
            1 => Self::NonceNotRecordNumber { record_len: len },
            2 => Self::TooLong { datagram_len: len },
            other => Self::Unknown(other),
        }
    }
}
