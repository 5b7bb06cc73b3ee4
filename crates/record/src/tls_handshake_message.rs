//! The handshake header of TLS (RFC 5246 §7.4), without DTLS's numbers and fragments.

use hedgerow_core::{EncodeError, Writer};

use crate::HandshakeType;

/// msg_type(1) length(3).
pub const TLS_HANDSHAKE_HEADER_LEN: usize = 4;

/// A whole handshake message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsHandshakeMessage<'a> {
    /// What the message is.
    pub msg_type: HandshakeType,
    /// The message's body.
    pub body: &'a [u8],
}

impl<'a> TlsHandshakeMessage<'a> {
    /// Returns the whole length of the message that `bytes` begin with, header included, once its
    /// header is there.
    pub fn peek_len(bytes: &[u8]) -> Option<usize> {
        let &[_, a, b, c] = bytes.first_chunk::<TLS_HANDSHAKE_HEADER_LEN>()?;
        let body_len = usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?;
        TLS_HANDSHAKE_HEADER_LEN.checked_add(body_len)
    }

    /// Takes the message at the front of `bytes` and returns it with the bytes behind it; `None`
    /// while it isn't there as a whole.
    pub fn decode(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (message, rest) = bytes.split_at_checked(Self::peek_len(bytes)?)?;
        let (&[code, ..], body) = message.split_first_chunk::<TLS_HANDSHAKE_HEADER_LEN>()?;
        let msg_type = HandshakeType::from(code);
        Some((Self { msg_type, body }, rest))
    }
}

/// Encodes the header of a message of `length` bytes.
///
/// # Errors
///
/// [`EncodeError`] if `length` needs more than 24 bits or `out` is too small.
pub fn encode_tls_handshake_header(
    msg_type: HandshakeType,
    length: u32,
    out: &mut Writer<'_>,
) -> Result<(), EncodeError> {
    let mut header = Writer::new(out.reserve(TLS_HANDSHAKE_HEADER_LEN)?);
    header.u8(msg_type.into())?;
    header.u24(length)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn message_waits_until_it_is_whole() {
        let bytes = [20, 0, 0, 2, 0xaa, 0xbb, 14];
        for len in 0..6 {
            assert_eq!(TlsHandshakeMessage::decode(&bytes[..len]), None, "{len}");
        }
        let (message, rest) = TlsHandshakeMessage::decode(&bytes).unwrap();
        assert_eq!(message.msg_type, HandshakeType::Finished);
        assert_eq!((message.body, rest), (&[0xaa, 0xbb][..], &[14][..]));
        let mut out = [0; 4];
        let mut writer = Writer::new(&mut out);
        encode_tls_handshake_header(HandshakeType::Finished, 2, &mut writer).unwrap();
        assert_eq!(out, bytes[..4]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            if let Some((message, rest)) = TlsHandshakeMessage::decode(&bytes) {
                prop_assert_eq!(
                    TLS_HANDSHAKE_HEADER_LEN + message.body.len() + rest.len(), bytes.len()
                );
            }
        }
    }
}
