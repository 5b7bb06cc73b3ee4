//! Connection IDs and the extension that agrees on them (RFC 9146 §3).

use hedgerow_core::{EncodeError, Reader, Writer};

use crate::{ContentType, Error, RECORD_HEADER_LEN};

/// The longest connection ID that is kept, in bytes.
// DEVIATES (RFC 9146 §3): the protocol has IDs of up to 255 bytes. Room for two of that length
// would double a session; no peer known asks for more than 32.
pub const MAX_CONNECTION_ID_LEN: usize = 32;

/// The octets in front of the connection ID: type(1) version(2) epoch(2) sequence_number(6).
const BEFORE_CONNECTION_ID_LEN: usize = RECORD_HEADER_LEN - 2;

/// A connection ID, chosen by whoever receives records with it; empty for none.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// Zeros behind the ID's end, so that the derived comparisons hold.
    bytes: [u8; MAX_CONNECTION_ID_LEN],
    len: u8,
}

impl ConnectionId {
    /// No connection ID: records in the direction that it stands for are those of RFC 6347.
    pub const EMPTY: Self = Self {
        bytes: [0; MAX_CONNECTION_ID_LEN],
        len: 0,
    };

    /// Takes the bytes of an ID.
    ///
    /// # Errors
    ///
    /// [`Error::ConnectionIdTooLong`] above [`MAX_CONNECTION_ID_LEN`].
    pub fn new(id: &[u8]) -> Result<Self, Error> {
        let too_long = Error::ConnectionIdTooLong {
            len: id.len(),
            max: MAX_CONNECTION_ID_LEN,
        };
        let mut bytes = [0; MAX_CONNECTION_ID_LEN];
        bytes
            .get_mut(..id.len())
            .ok_or(too_long)?
            .copy_from_slice(id);
        let len = u8::try_from(id.len()).map_err(|_| too_long)?;
        Ok(Self { bytes, len })
    }

    /// Decodes the data of the connection_id extension.
    ///
    /// # Errors
    ///
    /// [`Error::Decode`] if they are anything but one vector, [`Error::ConnectionIdTooLong`] above
    /// [`MAX_CONNECTION_ID_LEN`].
    pub fn decode_exact(data: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(data);
        let id = reader.vector8()?;
        reader.finish()?;
        Self::new(id)
    }

    /// Encodes the data of the connection_id extension.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if `out` is too small.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.vector8(self.as_bytes())
    }

    /// Lends the ID's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len()).unwrap_or_default()
    }

    /// Returns the ID's length, in bytes.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Says whether there is no ID.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl core::fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ConnectionId(")?;
        for byte in self.as_bytes() {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

/// Returns the connection ID of the record that `datagram` begins with, if it has one; `len` is how
/// long those are that this end gives.
///
/// A driver needs this before it knows which session a datagram is for. Nothing is verified.
pub fn peek_connection_id(datagram: &[u8], len: usize) -> Option<ConnectionId> {
    let (header, rest) = datagram.split_first_chunk::<BEFORE_CONNECTION_ID_LEN>()?;
    let [code, major, ..] = *header;
    if ContentType::from(code) != ContentType::Tls12Cid || major != 0xfe || len == 0 {
        return None;
    }
    ConnectionId::new(rest.get(..len)?).ok()
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use hedgerow_core::DecodeError;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn extension_is_one_vector_and_nothing_else() {
        assert_eq!(
            ConnectionId::decode_exact(&[2, 0xaa, 0xbb])
                .unwrap()
                .as_bytes(),
            [0xaa, 0xbb]
        );
        assert!(ConnectionId::decode_exact(&[0]).unwrap().is_empty());
        for wrong in [&[][..], &[1], &[1, 0xaa, 0xbb], &[0, 0]] {
            assert!(matches!(
                ConnectionId::decode_exact(wrong),
                Err(Error::Decode(
                    DecodeError::UnexpectedEnd { .. } | DecodeError::TrailingBytes { .. }
                ))
            ));
        }
    }

    #[test]
    fn longer_than_32_bytes_is_refused() {
        for len in 0..=255_u8 {
            let mut data = vec![len];
            data.extend(core::iter::repeat_n(7, usize::from(len)));
            let decoded = ConnectionId::decode_exact(&data);
            match len {
                0..=32 => assert_eq!(decoded.unwrap().len(), usize::from(len)),
                _ => assert_eq!(
                    decoded,
                    Err(Error::ConnectionIdTooLong {
                        len: usize::from(len),
                        max: 32
                    })
                ),
            }
        }
    }

    #[test]
    fn only_records_with_a_connection_id_show_one() {
        let datagram = *b"\x19\xfe\xfd\0\x01\0\0\0\0\0\x05abc\0\0";
        let peeked = peek_connection_id(&datagram, 3).unwrap();
        assert_eq!(peeked.as_bytes(), b"abc");
        assert_eq!(peek_connection_id(&datagram, 0), None);
        assert_eq!(peek_connection_id(&datagram[..13], 3), None);
        let mut other = datagram;
        other[0] = 0x17;
        assert_eq!(peek_connection_id(&other, 3), None);
        let mut tls = datagram;
        tls[1] = 3;
        assert_eq!(peek_connection_id(&tls, 3), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn encoded_extension_decodes_to_itself(
            id in proptest::collection::vec(any::<u8>(), 0..=32),
        ) {
            let id = ConnectionId::new(&id).unwrap();
            let mut out = [0; 33];
            let mut writer = Writer::new(&mut out);
            id.encode(&mut writer).unwrap();
            prop_assert_eq!(ConnectionId::decode_exact(writer.written()), Ok(id));
        }

        #[test]
        fn any_bytes_decode_or_are_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..64), len in 0_usize..40,
        ) {
            if let Ok(id) = ConnectionId::decode_exact(&bytes) {
                let again: Vec<u8> = [&bytes[..1], id.as_bytes()].concat();
                prop_assert_eq!(again, bytes.clone());
            }
            let _ = peek_connection_id(&bytes, len);
        }
    }
}
