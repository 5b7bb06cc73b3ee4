//! What hellos and key exchange messages say about groups and public keys (RFC 8422 §5).

use hedgerow_core::{DecodeError, EncodeError, NamedGroup, Reader, Writer};

use crate::Error;

/// ECCurveType named_curve (RFC 8422 §5.4); the others are deprecated.
const NAMED_CURVE: u8 = 3;

/// ECPointFormat uncompressed (RFC 8422 §5.1.2).
const UNCOMPRESSED: u8 = 0;

/// The data of a supported_groups extension: groups, best first. Unknown ones are left out of
/// [`Self::iter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SupportedGroups<'a> {
    code_points: &'a [u8],
}

impl<'a> SupportedGroups<'a> {
    /// Decodes an extension's data.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the list is empty, of odd length, cut off or not all.
    pub fn decode_exact(data: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(data);
        let code_points = reader.vector16()?;
        reader.finish()?;
        if code_points.is_empty() || !code_points.len().is_multiple_of(2) {
            return Err(DecodeError::UnexpectedEnd {
                needed: 2,
                available: code_points.len() % 2,
            });
        }
        Ok(Self { code_points })
    }

    /// Walks through the groups that have a name here, best first.
    pub fn iter(&self) -> impl Iterator<Item = NamedGroup> + use<'a> {
        let (pairs, _) = self.code_points.as_chunks::<2>();
        pairs
            .iter()
            .filter_map(|&pair| NamedGroup::from_code_point(u16::from_be_bytes(pair)))
    }

    /// Says whether `group` is in the list.
    pub fn contains(&self, group: NamedGroup) -> bool {
        self.iter().any(|offered| offered == group)
    }
}

/// Encodes the data of a supported_groups extension.
///
/// # Errors
///
/// [`EncodeError`] if it doesn't fit.
pub fn encode_supported_groups(
    mut groups: impl Iterator<Item = NamedGroup>,
    out: &mut Writer<'_>,
) -> Result<(), EncodeError> {
    out.nested16(|out| groups.try_for_each(|group| out.u16(group.code_point())))
}

/// The data of an ec_point_formats extension that names the one format there is.
pub const UNCOMPRESSED_POINT_FORMAT: [u8; 2] = [1, UNCOMPRESSED];

/// Says whether the data of an ec_point_formats extension names the uncompressed format.
///
/// # Errors
///
/// [`DecodeError`] if the list is empty, cut off or not all.
pub fn offers_uncompressed_points(data: &[u8]) -> Result<bool, DecodeError> {
    let mut reader = Reader::new(data);
    let formats = reader.vector8()?;
    reader.finish()?;
    if formats.is_empty() {
        return Err(DecodeError::UnexpectedEnd {
            needed: 1,
            available: 0,
        });
    }
    Ok(formats.contains(&UNCOMPRESSED))
}

/// A server's group and public key, as ServerKeyExchange carries them (RFC 8422 §5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerEcdhParams<'a> {
    /// The group, by its code point.
    pub group: u16,
    /// The public key: an uncompressed point, or X25519's 32 bytes.
    pub public_key: &'a [u8],
}

impl<'a> ServerEcdhParams<'a> {
    /// Decodes the parameters at the front.
    ///
    /// # Errors
    ///
    /// [`Error::Decode`] if they are cut off or the key is empty, [`Error::NotNamedCurve`] for a
    /// curve without a name.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let mut ahead = *reader;
        let curve_type = ahead.u8()?;
        if curve_type != NAMED_CURVE {
            return Err(Error::NotNamedCurve { curve_type });
        }
        let group = ahead.u16()?;
        let public_key = decode_public_key(&mut ahead)?;
        *reader = ahead;
        Ok(Self { group, public_key })
    }

    /// Encodes the parameters.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if they don't fit.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.u8(NAMED_CURVE)?;
        out.u16(self.group)?;
        out.vector8(self.public_key)
    }
}

/// Decodes a public key with its length before it, as ClientKeyExchange has it (RFC 8422 §5.7).
///
/// # Errors
///
/// [`DecodeError`] if it is cut off or empty.
pub fn decode_public_key<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let public_key = reader.vector8()?;
    if public_key.is_empty() {
        return Err(DecodeError::UnexpectedEnd {
            needed: 1,
            available: 0,
        });
    }
    Ok(public_key)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_stand_as_rfc_8422_draws_them() {
        let mut out = [0; 16];
        let mut writer = Writer::new(&mut out);
        encode_supported_groups(
            [NamedGroup::X25519, NamedGroup::Secp256r1].into_iter(),
            &mut writer,
        )
        .unwrap();
        assert_eq!(writer.written(), [0, 4, 0, 0x1d, 0, 0x17]);
        let groups = SupportedGroups::decode_exact(&[0, 6, 0, 0x18, 0, 0x17, 0x2a, 0x2a]).unwrap();
        assert!(groups.iter().eq([NamedGroup::Secp256r1]));
        assert!(!groups.contains(NamedGroup::X25519));
        for data in [
            &[][..],
            &[0, 0],
            &[0, 1, 0],
            &[0, 3, 0, 0x17, 0],
            &[0, 2, 0, 0x17, 9],
        ] {
            assert!(SupportedGroups::decode_exact(data).is_err(), "{data:?}");
        }
        assert_eq!(
            offers_uncompressed_points(&UNCOMPRESSED_POINT_FORMAT),
            Ok(true)
        );
        assert_eq!(offers_uncompressed_points(&[2, 1, 2]), Ok(false));
        for data in [&[][..], &[0], &[2, 0], &[1, 0, 0]] {
            assert!(offers_uncompressed_points(data).is_err(), "{data:?}");
        }
    }

    #[test]
    fn curve_without_a_name_and_empty_key_are_refused() {
        let decode = |bytes: &[u8]| {
            ServerEcdhParams::decode(&mut Reader::new(bytes)).map(|params| params.group)
        };
        assert_eq!(decode(&[3, 0, 0x1d, 1, 9]), Ok(0x1d));
        assert_eq!(
            decode(&[1, 0, 0x1d, 1, 9]),
            Err(Error::NotNamedCurve { curve_type: 1 })
        );
        assert!(matches!(decode(&[3, 0, 0x1d, 0]), Err(Error::Decode(_))));
        assert!(matches!(decode(&[3, 0, 0x1d, 2, 9]), Err(Error::Decode(_))));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn encoded_parameters_decode(
            group: u16, key in proptest::collection::vec(any::<u8>(), 1..70)
        ) {
            let params = ServerEcdhParams { group, public_key: &key };
            let mut out = [0; 80];
            let mut writer = Writer::new(&mut out);
            params.encode(&mut writer).unwrap();
            let mut reader = Reader::new(writer.written());
            prop_assert_eq!(ServerEcdhParams::decode(&mut reader), Ok(params));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = ServerEcdhParams::decode(&mut Reader::new(&bytes));
            let _ = offers_uncompressed_points(&bytes);
            let _ = decode_public_key(&mut Reader::new(&bytes));
            if let Ok(groups) = SupportedGroups::decode_exact(&bytes) {
                prop_assert!(groups.iter().count() <= bytes.len() / 2);
            }
        }
    }
}
