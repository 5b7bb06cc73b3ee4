//! The two forms of a record's header on the stream.

use crate::{ContentType, DTLS_1_0, DTLS_1_2, EpochNumber, Error, MAX_CIPHERTEXT_LEN};
use crate::{ProtocolVersion, RECORD_HEADER_LEN, RecordNumber, TLS_1_2, TLS_RECORD_HEADER_LEN};

/// How records stand on the stream, for the whole of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TranslateForm {
    /// 5 bytes: the number of a protected record is its explicit nonce, as CCM and CCM_8 have it
    /// (RFC 7925 appendix B).
    Short,
    /// 13 bytes: number and all, for every suite.
    Long,
}

impl TranslateForm {
    /// Returns the length of a record's header on the stream, in bytes.
    pub const fn header_len(self) -> usize {
        match self {
            Self::Short => TLS_RECORD_HEADER_LEN,
            Self::Long => RECORD_HEADER_LEN,
        }
    }

    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Short => 1,
            Self::Long => 2,
        }
    }

    pub(super) const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Short),
            2 => Some(Self::Long),
            _ => None,
        }
    }
}

/// A record's header on the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamHeader {
    pub(super) content_type: ContentType,
    pub(super) class: Class,
    pub(super) fragment_len: usize,
    /// Whether the next record belongs to the same datagram.
    pub(super) has_more: bool,
}

/// What a header on the stream says of version and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Epoch 0, short form: whoever takes it from the stream numbers it.
    Clear(ProtocolVersion),
    /// Epoch 1, short form: the number is the explicit nonce.
    Protected,
    /// Long form.
    Numbered(ProtocolVersion, RecordNumber),
    /// The gateway's own word.
    Notice,
}

impl StreamHeader {
    /// Decodes a header from the first bytes of `header`, of which there are as many as the form
    /// has.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownClass`], [`Error::RecordTooLong`], [`Error::MisplacedNotice`] for a notice
    /// that isn't 3 bytes or is part of a datagram.
    pub(super) fn decode(
        form: TranslateForm,
        header: [u8; RECORD_HEADER_LEN],
    ) -> Result<Self, Error> {
        let [code, v0, v1, n0, n1, n2, n3, n4, n5, n6, n7, l0, l1] = header;
        let (number, len) = match form {
            TranslateForm::Short => ([0; 8], [n0, n1]),
            TranslateForm::Long => ([n0, n1, n2, n3, n4, n5, n6, n7], [l0, l1]),
        };
        let version = ProtocolVersion(u16::from_be_bytes([v0, v1]));
        let class = match (form, version) {
            (_, NOTICE) if code == 0 => Class::Notice,
            (TranslateForm::Short, TLS_1_2) => Class::Protected,
            (TranslateForm::Short, DTLS_1_0 | DTLS_1_2) => Class::Clear(version),
            (TranslateForm::Long, DTLS_1_0 | DTLS_1_2) => {
                Class::Numbered(version, RecordNumber::from_be_bytes(number))
            }
            (_, ProtocolVersion(class)) => return Err(Error::UnknownClass { class }),
        };
        let len = u16::from_be_bytes(len);
        let has_more = len & MORE != 0;
        let fragment_len = usize::from(len & !MORE);
        if fragment_len > MAX_CIPHERTEXT_LEN {
            return Err(Error::RecordTooLong {
                len: fragment_len,
                max: MAX_CIPHERTEXT_LEN,
            });
        }
        if class == Class::Notice && (has_more || fragment_len != NOTICE_LEN) {
            return Err(Error::MisplacedNotice { len: fragment_len });
        }
        Ok(Self {
            content_type: ContentType::from(code),
            class,
            fragment_len,
            has_more,
        })
    }

    /// Encodes the header and returns it with its length.
    pub(super) fn encode(&self) -> ([u8; RECORD_HEADER_LEN], usize) {
        let (version, number) = match self.class {
            Class::Clear(version) => (version, None),
            Class::Protected => (TLS_1_2, None),
            Class::Numbered(version, number) => (version, Some(number)),
            Class::Notice => (NOTICE, None),
        };
        let [v0, v1] = version.0.to_be_bytes();
        // 18,432 at most, which leaves the highest bit free.
        let len = u16::try_from(self.fragment_len).unwrap_or(!MORE);
        let [l0, l1] = if self.has_more { len | MORE } else { len }.to_be_bytes();
        let code = u8::from(self.content_type);
        match number.map(RecordNumber::to_be_bytes) {
            None => (
                [code, v0, v1, l0, l1, 0, 0, 0, 0, 0, 0, 0, 0],
                TLS_RECORD_HEADER_LEN,
            ),
            Some([n0, n1, n2, n3, n4, n5, n6, n7]) => (
                [code, v0, v1, n0, n1, n2, n3, n4, n5, n6, n7, l0, l1],
                RECORD_HEADER_LEN,
            ),
        }
    }
}

/// The highest epoch that there is without renegotiation.
pub(super) const PROTECTED_EPOCH: EpochNumber = EpochNumber(1);

/// The length of epoch and sequence number where they stand in front of a fragment.
pub(super) const EXPLICIT_NONCE_LEN: usize = 8;

/// reason(1) length(2)
pub(super) const NOTICE_LEN: usize = 3;

/// Stands in the length of a record that isn't the last of its datagram. No length needs the bit.
const MORE: u16 = 0x8000;

const NOTICE: ProtocolVersion = ProtocolVersion(0);
