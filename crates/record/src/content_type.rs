//! What records carry, and how much of it.

/// The most plaintext that one record carries, in bytes (RFC 5246 §6.2.1).
pub const MAX_PLAINTEXT_LEN: usize = 1 << 14;

/// The longest protected fragment, in bytes (RFC 5246 §6.2.3).
pub const MAX_CIPHERTEXT_LEN: usize = MAX_PLAINTEXT_LEN + 2048;

/// What a record carries (RFC 5246 §6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ContentType {
    /// 0x14
    ChangeCipherSpec,
    /// 0x15
    Alert,
    /// 0x16
    Handshake,
    /// 0x17
    ApplicationData,
    /// 0x19: a protected record with a connection ID, whose real type is inside (RFC 9146 §4).
    Tls12Cid,
    /// Any other code point.
    Unknown(u8),
}

impl From<u8> for ContentType {
    fn from(code: u8) -> Self {
        match code {
            0x14 => Self::ChangeCipherSpec,
            0x15 => Self::Alert,
            0x16 => Self::Handshake,
            0x17 => Self::ApplicationData,
            0x19 => Self::Tls12Cid,
            other => Self::Unknown(other),
        }
    }
}

impl From<ContentType> for u8 {
    fn from(content_type: ContentType) -> Self {
        match content_type {
            ContentType::ChangeCipherSpec => 0x14,
            ContentType::Alert => 0x15,
            ContentType::Handshake => 0x16,
            ContentType::ApplicationData => 0x17,
            ContentType::Tls12Cid => 0x19,
            ContentType::Unknown(other) => other,
        }
    }
}
