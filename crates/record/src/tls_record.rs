//! The TLS 1.2 record header (RFC 5246 §6.2.1).

use hedgerow_core::Writer;

use crate::{ContentType, Error, MAX_CIPHERTEXT_LEN, MAX_PLAINTEXT_LEN, ProtocolVersion};

/// type(1) version(2) length(2).
pub const TLS_RECORD_HEADER_LEN: usize = 5;

/// The longest record, in bytes: room for this much holds any record whole.
pub const MAX_TLS_RECORD_LEN: usize = TLS_RECORD_HEADER_LEN + MAX_CIPHERTEXT_LEN;

/// One record in the place where its stream has it.
#[derive(Debug, PartialEq, Eq)]
pub struct TlsRecord<'d> {
    /// What the record carries.
    pub content_type: ContentType,
    /// The version in the header.
    pub version: ProtocolVersion,
    /// The payload: plaintext before ChangeCipherSpec, protected afterwards.
    pub fragment: &'d mut [u8],
}

impl<'d> TlsRecord<'d> {
    /// Decodes the record at the front of `bytes` and returns it with the bytes behind it; `None`
    /// while it isn't there as a whole.
    ///
    /// # Errors
    ///
    /// [`Error::NotTls`] for a major version other than 3, [`Error::RecordTooLong`] for a length
    /// above [`MAX_CIPHERTEXT_LEN`], both as soon as the header is there. The stream can't be
    /// followed any further then.
    pub fn decode(bytes: &'d mut [u8]) -> Result<Option<(Self, &'d mut [u8])>, Error> {
        let Some((&mut header, body)) = bytes.split_first_chunk_mut::<TLS_RECORD_HEADER_LEN>()
        else {
            return Ok(None);
        };
        let [code, major, minor, high, low] = header;
        let version = u16::from_be_bytes([major, minor]);
        if major != 3 {
            return Err(Error::NotTls { version });
        }
        let len = usize::from(u16::from_be_bytes([high, low]));
        if len > MAX_CIPHERTEXT_LEN {
            return Err(Error::RecordTooLong {
                len,
                max: MAX_CIPHERTEXT_LEN,
            });
        }
        let Some((fragment, rest)) = body.split_at_mut_checked(len) else {
            return Ok(None);
        };
        let record = Self {
            content_type: ContentType::from(code),
            version: ProtocolVersion(version),
            fragment,
        };
        Ok(Some((record, rest)))
    }
}

/// Encodes an unprotected record.
///
/// # Errors
///
/// [`Error::Encode`] if `out` is too small, [`Error::RecordTooLong`] if `fragment` is longer than
/// [`MAX_PLAINTEXT_LEN`].
pub fn encode_tls_record(
    content_type: ContentType,
    version: ProtocolVersion,
    fragment: &[u8],
    out: &mut Writer<'_>,
) -> Result<(), Error> {
    if fragment.len() > MAX_PLAINTEXT_LEN {
        return Err(Error::RecordTooLong {
            len: fragment.len(),
            max: MAX_PLAINTEXT_LEN,
        });
    }
    let record_len = TLS_RECORD_HEADER_LEN.saturating_add(fragment.len());
    let mut record = Writer::new(out.reserve(record_len)?);
    record.u8(content_type.into())?;
    record.u16(version.0)?;
    record.vector16(fragment)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::TLS_1_2;

    #[test]
    fn header_stands_as_rfc_5246_draws_it() {
        let mut out = [0; 16];
        let mut writer = Writer::new(&mut out);
        encode_tls_record(ContentType::Handshake, TLS_1_2, b"abc", &mut writer).unwrap();
        assert_eq!(writer.written(), b"\x16\x03\x03\x00\x03abc");
    }

    #[test]
    fn record_waits_until_it_is_whole() {
        let mut bytes = *b"\x17\x03\x03\x00\x03abcd";
        for len in 0..8 {
            assert_eq!(TlsRecord::decode(&mut bytes[..len]), Ok(None), "{len}");
        }
        let (record, rest) = TlsRecord::decode(&mut bytes).unwrap().unwrap();
        assert_eq!(record.content_type, ContentType::ApplicationData);
        assert_eq!((&*record.fragment, &*rest), (&b"abc"[..], &b"d"[..]));
    }

    #[test]
    fn what_cannot_be_tls_is_refused_with_its_header() {
        assert_eq!(
            TlsRecord::decode(&mut [b'G', b'E', b'T', b' ', b'/']),
            Err(Error::NotTls { version: 0x4554 })
        );
        assert_eq!(
            TlsRecord::decode(&mut [0x17, 3, 3, 0x48, 0x01]),
            Err(Error::RecordTooLong {
                len: 0x4801,
                max: 0x4800
            })
        );
        assert_eq!(TlsRecord::decode(&mut [0x17, 3, 3, 0x48, 0x00]), Ok(None));
        let mut out = [0; MAX_PLAINTEXT_LEN + 8];
        let long = [0; MAX_PLAINTEXT_LEN + 1];
        let encoded = encode_tls_record(
            ContentType::Handshake,
            TLS_1_2,
            &long,
            &mut Writer::new(&mut out),
        );
        assert!(matches!(encoded, Err(Error::RecordTooLong { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn encoded_records_decode(
            code: u8, version in 0x0300_u16..0x0400,
            fragment in proptest::collection::vec(any::<u8>(), 0..64),
            rest in proptest::collection::vec(any::<u8>(), 0..8),
        ) {
            let mut bytes = [0; 80];
            let mut writer = Writer::new(&mut bytes);
            let version = ProtocolVersion(version);
            encode_tls_record(ContentType::from(code), version, &fragment, &mut writer).unwrap();
            writer.bytes(&rest).unwrap();
            let (record, behind) = TlsRecord::decode(writer.into_written()).unwrap().unwrap();
            prop_assert_eq!(record.content_type, ContentType::from(code));
            prop_assert_eq!(record.version, version);
            prop_assert_eq!(record.fragment.to_vec(), fragment);
            prop_assert_eq!(behind.to_vec(), rest);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let mut bytes = bytes;
            let total = bytes.len();
            if let Ok(Some((record, rest))) = TlsRecord::decode(&mut bytes) {
                prop_assert_eq!(
                    TLS_RECORD_HEADER_LEN + record.fragment.len() + rest.len(), total
                );
            }
        }
    }
}
