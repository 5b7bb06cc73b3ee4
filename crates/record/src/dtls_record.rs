//! The DTLS 1.2 record header (RFC 6347 §4.1).

use hedgerow_core::{DecodeError, Writer};

use crate::{
    ContentType, Error, MAX_CIPHERTEXT_LEN, MAX_PLAINTEXT_LEN, ProtocolVersion, RecordNumber,
};

/// type(1) version(2) epoch(2) sequence_number(6) length(2).
pub const RECORD_HEADER_LEN: usize = 13;

/// One record in the place where its datagram has it.
#[derive(Debug, PartialEq, Eq)]
pub struct DtlsRecord<'d> {
    /// What the record carries.
    pub content_type: ContentType,
    /// The version in the header. Some peers put DTLS 1.0 into their first records.
    pub version: ProtocolVersion,
    /// Epoch and sequence number.
    pub number: RecordNumber,
    /// The payload: plaintext in epoch 0, protected afterwards.
    pub fragment: &'d mut [u8],
}

impl<'d> DtlsRecord<'d> {
    /// Decodes the first record of `datagram` and returns it with the bytes behind it.
    ///
    /// # Errors
    ///
    /// [`Error::Decode`] if the datagram ends inside the record, [`Error::NotDtls`] for a major
    /// version other than 254, [`Error::RecordTooLong`] for a length above
    /// [`MAX_CIPHERTEXT_LEN`]. The rest of the datagram can't be trusted then.
    pub fn decode(datagram: &'d mut [u8]) -> Result<(Self, &'d mut [u8]), Error> {
        let available = datagram.len();
        let Some((&mut header, body)) = datagram.split_first_chunk_mut::<RECORD_HEADER_LEN>()
        else {
            return Err(Error::Decode(DecodeError::UnexpectedEnd {
                needed: RECORD_HEADER_LEN,
                available,
            }));
        };
        let [
            code,
            major,
            minor,
            n0,
            n1,
            n2,
            n3,
            n4,
            n5,
            n6,
            n7,
            high,
            low,
        ] = header;
        let version = u16::from_be_bytes([major, minor]);
        if major != 0xfe {
            return Err(Error::NotDtls { version });
        }
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
            content_type: ContentType::from(code),
            version: ProtocolVersion(version),
            number: RecordNumber::from_be_bytes([n0, n1, n2, n3, n4, n5, n6, n7]),
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
        ) {
            let total = bytes.len();
            if let Ok((record, rest)) = DtlsRecord::decode(&mut bytes) {
                prop_assert_eq!(RECORD_HEADER_LEN + record.fragment.len() + rest.len(), total);
            }
        }
    }
}
