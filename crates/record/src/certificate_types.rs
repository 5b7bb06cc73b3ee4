//! The extensions client_certificate_type and server_certificate_type (RFC 7250 §3).

use hedgerow_core::{CertificateType, DecodeError, EncodeError, Reader, Writer};

use crate::certificate::not_empty;

/// A client's data of either extension: types, best first. Unknown ones are left out of
/// [`Self::iter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateTypes<'a> {
    code_points: &'a [u8],
}

impl<'a> CertificateTypes<'a> {
    /// What the absence of the extension means.
    pub const X509: CertificateTypes<'static> = CertificateTypes { code_points: &[0] };

    /// Decodes an extension's data.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the list is empty, cut off or not all.
    pub fn decode_exact(data: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(data);
        let code_points = not_empty(reader.vector8()?)?;
        reader.finish()?;
        Ok(Self { code_points })
    }

    /// Walks through the types that have a name here, best first.
    pub fn iter(&self) -> impl Iterator<Item = CertificateType> + use<'a> {
        self.code_points
            .iter()
            .filter_map(|&code_point| CertificateType::from_code_point(code_point))
    }

    /// Says whether `certificate_type` is in the list.
    pub fn contains(&self, certificate_type: CertificateType) -> bool {
        self.iter().any(|offered| offered == certificate_type)
    }
}

/// Encodes a client's data of either extension.
///
/// # Errors
///
/// [`EncodeError`] if it doesn't fit.
pub fn encode_certificate_types(
    types: impl Iterator<Item = CertificateType> + Clone,
    out: &mut Writer<'_>,
) -> Result<(), EncodeError> {
    let count = types.clone().count();
    let len = u8::try_from(count).map_err(|_| EncodeError::TooLong {
        len: count,
        max: 0xff,
    })?;
    out.u8(len)?;
    for certificate_type in types {
        out.u8(certificate_type.code_point())?;
    }
    Ok(())
}

/// Decodes a server's data of either extension: the one type that it has chosen, `None` for one
/// without a name here.
///
/// # Errors
///
/// [`DecodeError`] unless it is one byte.
pub fn decode_certificate_type(data: &[u8]) -> Result<Option<CertificateType>, DecodeError> {
    let mut reader = Reader::new(data);
    let code_point = reader.u8()?;
    reader.finish()?;
    Ok(CertificateType::from_code_point(code_point))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_and_choices_stand_as_rfc_7250_draws_them() {
        let mut out = [0; 8];
        let mut writer = Writer::new(&mut out);
        encode_certificate_types(CertificateType::ALL.into_iter(), &mut writer).unwrap();
        assert_eq!(writer.written(), [2, 2, 0]);
        let types = CertificateTypes::decode_exact(&[3, 1, 0, 2]).unwrap();
        assert!(
            types
                .iter()
                .eq([CertificateType::X509, CertificateType::RawPublicKey])
        );
        assert!(!CertificateTypes::X509.contains(CertificateType::RawPublicKey));
        for data in [&[][..], &[0], &[1], &[1, 2, 0]] {
            assert!(CertificateTypes::decode_exact(data).is_err(), "{data:?}");
        }
        let raw = Some(CertificateType::RawPublicKey);
        assert_eq!(decode_certificate_type(&[2]), Ok(raw));
        assert_eq!(decode_certificate_type(&[1]), Ok(None));
        assert!(decode_certificate_type(&[]).is_err());
        assert!(decode_certificate_type(&[1, 2]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = decode_certificate_type(&bytes);
            if let Ok(types) = CertificateTypes::decode_exact(&bytes) {
                prop_assert!(types.iter().count() < bytes.len());
            }
        }
    }
}
