//! How much plaintext a record may carry (RFC 8449 §4, RFC 6066 §4).

use hedgerow_core::{EncodeError, Reader, Writer};

use crate::{Error, MAX_PLAINTEXT_LEN};

/// The smallest limit that an end may name, in bytes (RFC 8449 §4).
pub const MIN_RECORD_SIZE_LIMIT: u16 = 64;

/// 2^14, the most that an end of version 1.2 may name (RFC 8449 §4).
const MAX_RECORD_SIZE_LIMIT: u16 = 1 << 14;

const _: () = assert!(MAX_PLAINTEXT_LEN == 1 << 14);

/// The most plaintext that an end takes in one protected record: the data of the record_size_limit
/// extension (RFC 8449 §4).
///
/// With a connection ID the octet of the content's type is part of the plaintext (RFC 9146 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordSizeLimit(u16);

impl RecordSizeLimit {
    /// 2^14 bytes: no limit but the protocol's own.
    pub const MAX: Self = Self(MAX_RECORD_SIZE_LIMIT);

    /// Takes a limit in bytes; `None` below [`MIN_RECORD_SIZE_LIMIT`]. Above 2^14 it is 2^14.
    pub const fn new(len: u16) -> Option<Self> {
        if len < MIN_RECORD_SIZE_LIMIT {
            return None;
        }
        // MUST (RFC 8449 §4): no end names more than the protocol's maximum.
        Some(if len > MAX_RECORD_SIZE_LIMIT {
            Self::MAX
        } else {
            Self(len)
        })
    }

    /// Decodes the extension's data. What a peer names above 2^14 is taken as 2^14: a client may
    /// mean another version, and records don't grow by it.
    ///
    /// # Errors
    ///
    /// [`Error::RecordSizeLimitTooSmall`] below [`MIN_RECORD_SIZE_LIMIT`], [`Error::Decode`] if the
    /// data is anything but one number.
    pub fn decode_exact(data: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(data);
        let limit = reader.u16()?;
        reader.finish()?;
        Self::new(limit).ok_or(Error::RecordSizeLimitTooSmall { limit })
    }

    /// Encodes the extension's data.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if `out` is too small.
    pub fn encode(self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.u16(self.0)
    }

    /// Returns the limit, in bytes.
    pub const fn as_u16(self) -> u16 {
        self.0
    }
}

/// The most that a record may carry in either direction, as a client asks for it: the data of the
/// max_fragment_length extension (RFC 6066 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MaxFragmentLength {
    /// 2^9 bytes.
    Len512,
    /// 2^10 bytes.
    Len1024,
    /// 2^11 bytes.
    Len2048,
    /// 2^12 bytes.
    Len4096,
}

impl MaxFragmentLength {
    /// All of them, from the smallest up.
    pub const ALL: [Self; 4] = [Self::Len512, Self::Len1024, Self::Len2048, Self::Len4096];

    /// Decodes the extension's data.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownMaxFragmentLength`] for a code that stands for no length, [`Error::Decode`]
    /// if the data is anything but one code.
    pub fn decode_exact(data: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(data);
        let code = reader.u8()?;
        reader.finish()?;
        Self::ALL
            .into_iter()
            .find(|length| length.code() == code)
            .ok_or(Error::UnknownMaxFragmentLength { code })
    }

    /// Encodes the extension's data.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if `out` is too small.
    pub fn encode(self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.u8(self.code())
    }

    /// Returns the length, in bytes.
    pub const fn as_u16(self) -> u16 {
        match self {
            Self::Len512 => 1 << 9,
            Self::Len1024 => 1 << 10,
            Self::Len2048 => 1 << 11,
            Self::Len4096 => 1 << 12,
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Len512 => 1,
            Self::Len1024 => 2,
            Self::Len2048 => 3,
            Self::Len4096 => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(
        encode: impl FnOnce(&mut Writer<'_>) -> Result<(), EncodeError>,
    ) -> std::vec::Vec<u8> {
        let mut out = [0; 4];
        let mut writer = Writer::new(&mut out);
        encode(&mut writer).unwrap();
        writer.written().to_vec()
    }

    /// Each value there is, against RFC 8449 §4's `uint16`.
    #[test]
    fn limit_is_one_number_of_at_least_64() {
        for limit in 0..=u16::MAX {
            let data = limit.to_be_bytes();
            match RecordSizeLimit::decode_exact(&data) {
                Err(error) => {
                    assert!(limit < 64);
                    assert_eq!(error, Error::RecordSizeLimitTooSmall { limit });
                }
                Ok(decoded) if limit <= 16_384 => {
                    assert!(limit >= 64);
                    assert_eq!(encoded(|out| decoded.encode(out)), data);
                }
                Ok(decoded) => assert_eq!(decoded, RecordSizeLimit::MAX),
            }
        }
        for wrong in [&[][..], &[1], &[1, 0, 0]] {
            assert!(matches!(
                RecordSizeLimit::decode_exact(wrong),
                Err(Error::Decode(_))
            ));
        }
        // Known answers: 2^14, and the 64 that is the least.
        assert_eq!(
            encoded(|out| RecordSizeLimit::MAX.encode(out)),
            [0x40, 0x00]
        );
        let least = RecordSizeLimit::new(64).unwrap();
        assert_eq!(encoded(|out| least.encode(out)), [0x00, 0x40]);
        assert_eq!(RecordSizeLimit::new(63), None);
    }

    /// Each code there is, against RFC 6066 §4's `2^9(1), 2^10(2), 2^11(3), 2^12(4)`.
    #[test]
    fn fragment_length_is_one_of_four_codes() {
        for code in 0..=u8::MAX {
            let decoded = MaxFragmentLength::decode_exact(&[code]);
            match code {
                1..=4 => {
                    let length = decoded.unwrap();
                    assert_eq!(length.as_u16(), 256 << code);
                    assert_eq!(encoded(|out| length.encode(out)), [code]);
                }
                _ => assert_eq!(decoded, Err(Error::UnknownMaxFragmentLength { code })),
            }
        }
        for wrong in [&[][..], &[1, 1]] {
            assert!(matches!(
                MaxFragmentLength::decode_exact(wrong),
                Err(Error::Decode(_))
            ));
        }
    }
}
