//! The handshake header and fragments (RFC 6347 §4.2.2).

use hedgerow_core::{EncodeError, Reader, Writer};

use crate::Error;

/// msg_type(1) length(3) message_seq(2) fragment_offset(3) fragment_length(3).
pub const HANDSHAKE_HEADER_LEN: usize = 12;

/// What a handshake message is (RFC 5246 §7.4, RFC 6347 §4.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandshakeType {
    /// 0
    HelloRequest,
    /// 1
    ClientHello,
    /// 2
    ServerHello,
    /// 3
    HelloVerifyRequest,
    /// 4 (RFC 5077 §3.3)
    NewSessionTicket,
    /// 11
    Certificate,
    /// 12
    ServerKeyExchange,
    /// 13
    CertificateRequest,
    /// 14
    ServerHelloDone,
    /// 15
    CertificateVerify,
    /// 16
    ClientKeyExchange,
    /// 20
    Finished,
    /// Any other code point.
    Unknown(u8),
}

impl From<u8> for HandshakeType {
    fn from(code: u8) -> Self {
        match code {
            0 => Self::HelloRequest,
            1 => Self::ClientHello,
            2 => Self::ServerHello,
            3 => Self::HelloVerifyRequest,
            4 => Self::NewSessionTicket,
            11 => Self::Certificate,
            12 => Self::ServerKeyExchange,
            13 => Self::CertificateRequest,
            14 => Self::ServerHelloDone,
            15 => Self::CertificateVerify,
            16 => Self::ClientKeyExchange,
            20 => Self::Finished,
            other => Self::Unknown(other),
        }
    }
}

impl From<HandshakeType> for u8 {
    fn from(msg_type: HandshakeType) -> Self {
        match msg_type {
            HandshakeType::HelloRequest => 0,
            HandshakeType::ClientHello => 1,
            HandshakeType::ServerHello => 2,
            HandshakeType::HelloVerifyRequest => 3,
            HandshakeType::NewSessionTicket => 4,
            HandshakeType::Certificate => 11,
            HandshakeType::ServerKeyExchange => 12,
            HandshakeType::CertificateRequest => 13,
            HandshakeType::ServerHelloDone => 14,
            HandshakeType::CertificateVerify => 15,
            HandshakeType::ClientKeyExchange => 16,
            HandshakeType::Finished => 20,
            HandshakeType::Unknown(other) => other,
        }
    }
}

/// A handshake message, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeFragment<'a> {
    /// What the message is.
    pub msg_type: HandshakeType,
    /// The whole message's length, in bytes, below 2^24.
    pub length: u32,
    /// The message's number in its sender's handshake.
    pub message_seq: u16,
    /// Where this part begins in the message, in bytes.
    pub fragment_offset: u32,
    /// This part's bytes.
    pub fragment: &'a [u8],
}

impl<'a> HandshakeFragment<'a> {
    /// Takes the first handshake message or part off a record; one record may carry several.
    ///
    /// # Errors
    ///
    /// [`Error::Decode`] if the record ends inside it, [`Error::FragmentOutOfBounds`] if it
    /// reaches past the message's own length.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let mut ahead = *reader;
        let msg_type = HandshakeType::from(ahead.u8()?);
        let length = ahead.u24()?;
        let message_seq = ahead.u16()?;
        let fragment_offset = ahead.u24()?;
        let fragment_length = ahead.u24()?;
        if fragment_offset.saturating_add(fragment_length) > length {
            return Err(Error::FragmentOutOfBounds {
                offset: fragment_offset,
                len: fragment_length,
                total: length,
            });
        }
        let fragment = ahead.take(usize::try_from(fragment_length).unwrap_or(usize::MAX))?;
        *reader = ahead;
        Ok(Self {
            msg_type,
            length,
            message_seq,
            fragment_offset,
            fragment,
        })
    }

    /// Returns the message's body if this part is all of it.
    pub fn whole(&self) -> Option<&'a [u8]> {
        (usize::try_from(self.length) == Ok(self.fragment.len())).then_some(self.fragment)
    }
}

/// Encodes a handshake header for `fragment_length` bytes at `fragment_offset` of a message of
/// `length` bytes.
///
/// # Errors
///
/// [`EncodeError`] if a number needs more than 24 bits or `out` is too small.
pub fn encode_handshake_header(
    msg_type: HandshakeType,
    length: u32,
    message_seq: u16,
    fragment_offset: u32,
    fragment_length: u32,
    out: &mut Writer<'_>,
) -> Result<(), EncodeError> {
    let mut header = Writer::new(out.reserve(HANDSHAKE_HEADER_LEN)?);
    header.u8(msg_type.into())?;
    header.u24(length)?;
    header.u16(message_seq)?;
    header.u24(fragment_offset)?;
    header.u24(fragment_length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn several_messages_in_one_record_come_one_by_one() {
        let record = [
            14, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, // ServerHelloDone, whole
            16, 0, 0, 5, 0, 3, 0, 0, 2, 0, 0, 1, 0x77, // one byte of a message of five
        ];
        let mut reader = Reader::new(&record);
        let done = HandshakeFragment::decode(&mut reader).unwrap();
        assert_eq!(done.msg_type, HandshakeType::ServerHelloDone);
        assert_eq!(done.whole(), Some([].as_slice()));
        let part = HandshakeFragment::decode(&mut reader).unwrap();
        assert_eq!(part.message_seq, 3);
        assert_eq!(part.fragment_offset, 2);
        assert_eq!(part.whole(), None);
        assert!(reader.is_empty());
    }

    #[test]
    fn fragment_past_its_message_is_refused() {
        let record = [20, 0, 0, 12, 0, 0, 0, 0, 8, 0, 0, 5, 1, 2, 3, 4, 5];
        assert_eq!(
            HandshakeFragment::decode(&mut Reader::new(&record)),
            Err(Error::FragmentOutOfBounds {
                offset: 8,
                len: 5,
                total: 12
            })
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn header_decodes_to_what_was_encoded(
            code: u8, message_seq: u16, offset in 0_u32..0x10_0000, behind in 0_u32..0x1000,
            fragment in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let len = u32::try_from(fragment.len()).unwrap();
            let length = offset + len + behind;
            let mut out = [0; 64];
            let mut writer = Writer::new(&mut out);
            let msg_type = HandshakeType::from(code);
            encode_handshake_header(msg_type, length, message_seq, offset, len, &mut writer).unwrap();
            writer.bytes(&fragment).unwrap();
            let written = writer.into_written();
            let mut reader = Reader::new(written);
            let decoded = HandshakeFragment::decode(&mut reader).unwrap();
            prop_assert_eq!(u8::from(decoded.msg_type), code);
            prop_assert_eq!(decoded.message_seq, message_seq);
            prop_assert_eq!(decoded.length, length);
            prop_assert_eq!(decoded.fragment_offset, offset);
            prop_assert_eq!(decoded.fragment, fragment.as_slice());
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn any_bytes_decode_within_their_bounds(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut reader = Reader::new(&bytes);
            while let Ok(part) = HandshakeFragment::decode(&mut reader) {
                let len = u32::try_from(part.fragment.len()).unwrap();
                prop_assert!(part.fragment_offset + len <= part.length);
            }
        }
    }
}
