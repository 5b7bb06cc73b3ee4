//! The key exchange messages of plain PSK (RFC 4279 §2).

use hedgerow_core::{DecodeError, EncodeError, Reader, Writer};

/// Decodes a ServerKeyExchange's identity hint, which may be any bytes.
pub(crate) fn decode_server_key_exchange(body: &[u8]) -> Result<&[u8], DecodeError> {
    decode_only_vector16(body)
}

/// Decodes a ClientKeyExchange's PSK identity, which may be any bytes.
pub(crate) fn decode_client_key_exchange(body: &[u8]) -> Result<&[u8], DecodeError> {
    decode_only_vector16(body)
}

/// Encodes a ClientKeyExchange.
pub(crate) fn encode_client_key_exchange(
    psk_identity: &[u8],
    out: &mut Writer<'_>,
) -> Result<(), EncodeError> {
    out.vector16(psk_identity)
}

fn decode_only_vector16(body: &[u8]) -> Result<&[u8], DecodeError> {
    let mut reader = Reader::new(body);
    let vector = reader.vector16()?;
    reader.finish()?;
    Ok(vector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_is_a_vector_and_nothing_behind_it() {
        let mut out = [0; 8];
        let mut writer = Writer::new(&mut out);
        encode_client_key_exchange(b"ab", &mut writer).unwrap();
        assert_eq!(writer.written(), [0, 2, b'a', b'b']);
        assert_eq!(
            decode_client_key_exchange(&[0, 2, b'a', b'b']),
            Ok(b"ab".as_slice())
        );
        assert!(decode_client_key_exchange(&[0, 2, b'a']).is_err());
        assert!(decode_server_key_exchange(&[0, 1, b'a', 0]).is_err());
        assert_eq!(decode_server_key_exchange(&[0, 0]), Ok([].as_slice()));
    }
}
