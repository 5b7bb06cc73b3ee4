//! The DTLS 1.2 record header (RFC 6347 §4.1).

use hedgerow_core::{DecodeError, Writer};

use crate::{
    ContentType, Error, MAX_CIPHERTEXT_LEN, MAX_PLAINTEXT_LEN, ProtocolVersion, RecordNumber,
};

/// type(1) version(2) epoch(2) sequence_number(6) length(2). A connection ID stands before the
/// length and isn't counted (RFC 9146 §4).
pub const RECORD_HEADER_LEN: usize = 13;

/// What stands in front of connection ID and length.
const NUMBERED_LEN: usize = RECORD_HEADER_LEN - 2;

/// One record in the place where its datagram has it.
#[derive(Debug, PartialEq, Eq)]
pub struct DtlsRecord<'d> {
    /// What the record carries.
    pub content_type: ContentType,
    /// The version in the header. Some peers put DTLS 1.0 into their first records.
    pub version: ProtocolVersion,
    /// Epoch and sequence number.
    pub number: RecordNumber,
    /// The connection ID, which [`ContentType::Tls12Cid`] alone has; empty otherwise.
    pub connection_id: &'d [u8],
    /// The payload: plaintext in epoch 0, protected afterwards.
    pub fragment: &'d mut [u8],
}

impl<'d> DtlsRecord<'d> {
    /// Decodes the first record of `datagram`, none of whose records has a connection ID, and
    /// returns it with the bytes behind it.
    ///
    /// # Errors
    ///
    /// [`Error::Decode`] if the datagram ends inside the record, [`Error::NotDtls`] for a major
    /// version other than 254, [`Error::RecordTooLong`] for a length above
    /// [`MAX_CIPHERTEXT_LEN`], [`Error::UnexpectedConnectionId`] for [`ContentType::Tls12Cid`]. The
    /// rest of the datagram can't be trusted then.
    pub fn decode(datagram: &'d mut [u8]) -> Result<(Self, &'d mut [u8]), Error> {
        Self::decode_with_connection_id(datagram, 0)
    }

    /// Decodes the first record of `datagram` and returns it with the bytes behind it. If its type
    /// is [`ContentType::Tls12Cid`], its connection ID has `connection_id_len` bytes: the record
    /// doesn't say, and only who gave the ID knows (RFC 9146 §4).
    ///
    /// # Errors
    ///
    /// Those of [`Self::decode`]; [`Error::UnexpectedConnectionId`] if `connection_id_len` is 0.
    pub fn decode_with_connection_id(
        datagram: &'d mut [u8],
        connection_id_len: usize,
    ) -> Result<(Self, &'d mut [u8]), Error> {
        let available = datagram.len();
        let cut_off = |needed| DecodeError::UnexpectedEnd { needed, available };
        let Some((&mut header, body)) = datagram.split_first_chunk_mut::<NUMBERED_LEN>() else {
            return Err(Error::Decode(cut_off(RECORD_HEADER_LEN)));
        };
        let [code, major, minor, n0, n1, n2, n3, n4, n5, n6, n7] = header;
        let content_type = ContentType::from(code);
        let version = u16::from_be_bytes([major, minor]);
        if major != 0xfe {
            return Err(Error::NotDtls { version });
        }
        let connection_id_len = match (content_type, connection_id_len) {
            (ContentType::Tls12Cid, 0) => return Err(Error::UnexpectedConnectionId),
            (ContentType::Tls12Cid, len) => len,
            _ => 0,
        };
        let header_len = RECORD_HEADER_LEN.saturating_add(connection_id_len);
        let (connection_id, body) = body
            .split_at_mut_checked(connection_id_len)
            .ok_or_else(|| cut_off(header_len))?;
        let (&mut [high, low], body) = body
            .split_first_chunk_mut::<2>()
            .ok_or_else(|| cut_off(header_len))?;
        let len = usize::from(u16::from_be_bytes([high, low]));
        if len > MAX_CIPHERTEXT_LEN {
            return Err(Error::RecordTooLong {
                len,
                max: MAX_CIPHERTEXT_LEN,
            });
        }
        let available = body.len();
        let (fragment, rest) =
            body.split_at_mut_checked(len)
                .ok_or(DecodeError::UnexpectedEnd {
                    needed: len,
                    available,
                })?;
        let record = Self {
            content_type,
            version: ProtocolVersion(version),
            number: RecordNumber::from_be_bytes([n0, n1, n2, n3, n4, n5, n6, n7]),
            connection_id,
            fragment,
        };
        Ok((record, rest))
    }
}

/// Encodes an unprotected record, as epoch 0 has them.
///
/// # Errors
///
/// [`Error::Encode`] if `out` is too small, [`Error::RecordTooLong`] if `fragment` is longer than
/// [`MAX_PLAINTEXT_LEN`].
pub fn encode_record(
    content_type: ContentType,
    version: ProtocolVersion,
    number: RecordNumber,
    fragment: &[u8],
    out: &mut Writer<'_>,
) -> Result<(), Error> {
    if fragment.len() > MAX_PLAINTEXT_LEN {
        return Err(Error::RecordTooLong {
            len: fragment.len(),
            max: MAX_PLAINTEXT_LEN,
        });
    }
    let record_len = RECORD_HEADER_LEN.saturating_add(fragment.len());
    let mut record = Writer::new(out.reserve(record_len)?);
    record.u8(content_type.into())?;
    record.u16(version.0)?;
    record.bytes(&number.to_be_bytes())?;
    record.vector16(fragment)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{DTLS_1_0, DTLS_1_2, EpochNumber};

    #[test]
    fn header_stands_as_rfc_6347_draws_it() {
        let mut out = [0; 32];
        let mut writer = Writer::new(&mut out);
        let number = RecordNumber::new(EpochNumber(1), 0x0102_0304_0506).unwrap();
        encode_record(
            ContentType::ApplicationData,
            DTLS_1_2,
            number,
            b"hi",
            &mut writer,
        )
        .unwrap();
        assert_eq!(
            writer.written(),
            b"\x17\xfe\xfd\x00\x01\x01\x02\x03\x04\x05\x06\x00\x02hi"
        );
    }

    #[test]
    fn record_cut_anywhere_is_refused() {
        let whole = *b"\x16\xfe\xff\0\0\0\0\0\0\0\x01\0\x03abc";
        for len in 0..whole.len() {
            let mut cut = whole;
            assert!(matches!(
                DtlsRecord::decode(&mut cut[..len]),
                Err(Error::Decode(DecodeError::UnexpectedEnd { .. }))
            ));
        }
        let mut datagram = [whole.as_slice(), b"next"].concat();
        let (record, rest) = DtlsRecord::decode(&mut datagram).unwrap();
        assert_eq!(record.version, DTLS_1_0);
        assert_eq!(record.fragment, b"abc");
        assert_eq!(rest, b"next");
    }

    #[test]
    fn connection_id_stands_between_number_and_length() {
        let whole = *b"\x19\xfe\xfd\0\x01\0\0\0\0\0\x05idid\0\x03abc";
        for len in 0..whole.len() {
            let mut cut = whole;
            assert!(matches!(
                DtlsRecord::decode_with_connection_id(&mut cut[..len], 4),
                Err(Error::Decode(DecodeError::UnexpectedEnd { .. }))
            ));
        }
        let mut datagram = [whole.as_slice(), b"next"].concat();
        let (record, rest) = DtlsRecord::decode_with_connection_id(&mut datagram, 4).unwrap();
        assert_eq!(record.content_type, ContentType::Tls12Cid);
        assert_eq!(record.number.sequence_number(), 5);
        assert_eq!(record.connection_id, b"idid");
        assert_eq!(record.fragment, b"abc");
        assert_eq!(rest, b"next");
        let mut unexpected = whole;
        assert_eq!(
            DtlsRecord::decode(&mut unexpected).unwrap_err(),
            Error::UnexpectedConnectionId
        );
        // Other types have none, whatever length is expected.
        let mut plain = *b"\x16\xfe\xfd\0\0\0\0\0\0\0\x01\0\x03abc";
        let (record, _) = DtlsRecord::decode_with_connection_id(&mut plain, 4).unwrap();
        assert_eq!(
            (record.connection_id, &*record.fragment),
            (&[][..], &b"abc"[..])
        );
    }

    #[test]
    fn tls_version_and_overlong_length_are_refused() {
        let mut tls = *b"\x16\x03\x03\0\0\0\0\0\0\0\x01\0\0";
        assert_eq!(
            DtlsRecord::decode(&mut tls).unwrap_err(),
            Error::NotDtls { version: 0x0303 }
        );
        let mut long = *b"\x16\xfe\xfd\0\0\0\0\0\0\0\x01\x48\x01";
        assert_eq!(
            DtlsRecord::decode(&mut long).unwrap_err(),
            Error::RecordTooLong {
                len: 0x4801,
                max: 0x4800
            }
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn encoded_record_decodes_to_itself(
            code: u8, minor: u8, number: [u8; 8],
            fragment in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            // In clear no record has a connection ID.
            prop_assume!(code != 0x19);
            let version = ProtocolVersion(u16::from_be_bytes([0xfe, minor]));
            let number = RecordNumber::from_be_bytes(number);
            let mut out = [0; 96];
            let mut writer = Writer::new(&mut out);
            encode_record(ContentType::from(code), version, number, &fragment, &mut writer).unwrap();
            let (record, rest) = DtlsRecord::decode(writer.into_written()).unwrap();
            prop_assert_eq!(u8::from(record.content_type), code);
            prop_assert_eq!(record.version, version);
            prop_assert_eq!(record.number, number);
            prop_assert_eq!(&*record.fragment, fragment.as_slice());
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn any_bytes_decode_or_are_refused(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..128),
            has_connection_id: bool, connection_id_len in 0_usize..40,
        ) {
            let total = bytes.len();
            if let (true, Some(code)) = (has_connection_id, bytes.first_mut()) {
                *code = 0x19;
            }
            let decoded = DtlsRecord::decode_with_connection_id(&mut bytes, connection_id_len);
            if let Ok((record, rest)) = decoded {
                let header_len = RECORD_HEADER_LEN + record.connection_id.len();
                prop_assert_eq!(header_len + record.fragment.len() + rest.len(), total);
            }
        }
    }
}
