//! Hello extensions (RFC 5246 §7.4.1.4).

use hedgerow_core::{EncodeError, Reader, Writer};

use crate::Error;

/// The most extensions that one hello may carry.
///
/// Peers send about a dozen. The bound keeps the search for duplicates short, since the message
/// comes from an address that has proved nothing.
pub const MAX_EXTENSIONS: usize = 64;

/// An extension by its code point. Unknown ones are kept as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExtensionType(pub u16);

impl ExtensionType {
    /// RFC 6066 §3.
    pub const SERVER_NAME: Self = Self(0x0000);
    /// RFC 6066 §4.
    pub const MAX_FRAGMENT_LENGTH: Self = Self(0x0001);
    /// RFC 8422 §5.1.1, there still with its name elliptic_curves in RFC 4492.
    pub const SUPPORTED_GROUPS: Self = Self(0x000a);
    /// RFC 8422 §5.1.2.
    pub const EC_POINT_FORMATS: Self = Self(0x000b);
    /// RFC 5246 §7.4.1.4.1.
    pub const SIGNATURE_ALGORITHMS: Self = Self(0x000d);
    /// RFC 7301 §3.1.
    pub const APPLICATION_LAYER_PROTOCOL_NEGOTIATION: Self = Self(0x0010);
    /// RFC 7250 §3.
    pub const CLIENT_CERTIFICATE_TYPE: Self = Self(0x0013);
    /// RFC 7250 §3.
    pub const SERVER_CERTIFICATE_TYPE: Self = Self(0x0014);
    /// RFC 7627 §5.1.
    pub const EXTENDED_MASTER_SECRET: Self = Self(0x0017);
    /// RFC 8449 §4.
    pub const RECORD_SIZE_LIMIT: Self = Self(0x001c);
    /// RFC 5077 §3.2.
    pub const SESSION_TICKET: Self = Self(0x0023);
    /// RFC 9146 §3. The code point 53 of its drafts means something else.
    pub const CONNECTION_ID: Self = Self(0x0036);
    /// RFC 5746 §3.2.
    pub const RENEGOTIATION_INFO: Self = Self(0xff01);
}

/// One extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    /// Which extension it is.
    pub extension_type: ExtensionType,
    /// Its data, as the extension's own document defines them.
    pub data: &'a [u8],
}

/// The extensions of a hello, checked to be well formed, each at most once.
///
/// A hello without the block and one with an empty block differ on the wire, and so in the
/// transcript; both are kept apart here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Extensions<'a> {
    block: Option<&'a [u8]>,
}

impl<'a> Extensions<'a> {
    /// No extensions block at all.
    pub const NONE: Self = Self { block: None };

    /// Takes the inside of an extensions block, without the block's length.
    ///
    /// # Errors
    ///
    /// [`Error::Decode`] if an extension is cut off, [`Error::DuplicateExtension`] if one stands
    /// twice, [`Error::TooManyExtensions`] above [`MAX_EXTENSIONS`].
    pub fn from_block(block: &'a [u8]) -> Result<Self, Error> {
        let mut types = [ExtensionType(0); MAX_EXTENSIONS];
        let mut seen = 0_usize;
        let mut reader = Reader::new(block);
        while !reader.is_empty() {
            let extension = take_extension(&mut reader)?;
            let before = types.get(..seen).unwrap_or_default();
            // MUST (RFC 5246 §7.4.1.4): no extension stands twice in a hello.
            if before.contains(&extension.extension_type) {
                return Err(Error::DuplicateExtension {
                    extension_type: extension.extension_type.0,
                });
            }
            let place = types.get_mut(seen).ok_or(Error::TooManyExtensions {
                max: MAX_EXTENSIONS,
            })?;
            *place = extension.extension_type;
            seen = seen.saturating_add(1);
        }
        Ok(Self { block: Some(block) })
    }

    /// Decodes what stands at the end of a hello: nothing, or a block that fills the rest.
    ///
    /// # Errors
    ///
    /// Those of [`Self::from_block`], and [`Error::Decode`] for bytes behind the block.
    pub fn decode_exact(rest: &'a [u8]) -> Result<Self, Error> {
        if rest.is_empty() {
            return Ok(Self::NONE);
        }
        let mut reader = Reader::new(rest);
        let block = reader.vector16()?;
        reader.finish()?;
        Self::from_block(block)
    }

    /// Encodes the block with its length, or nothing where there is no block.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if it doesn't fit.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        match self.block {
            Some(block) => out.vector16(block),
            None => Ok(()),
        }
    }

    /// Returns the inside of the block; empty where there is no block.
    pub const fn as_bytes(&self) -> &'a [u8] {
        match self.block {
            Some(block) => block,
            None => &[],
        }
    }

    /// Returns the data of the extension named, if it is there.
    pub fn find(&self, extension_type: ExtensionType) -> Option<&'a [u8]> {
        self.iter()
            .find(|extension| extension.extension_type == extension_type)
            .map(|extension| extension.data)
    }

    /// Walks through the extensions in the order of the wire.
    pub fn iter(&self) -> impl Iterator<Item = Extension<'a>> + use<'a> {
        let mut reader = Reader::new(self.block.unwrap_or_default());
        core::iter::from_fn(move || take_extension(&mut reader).ok())
    }
}

fn take_extension<'a>(reader: &mut Reader<'a>) -> Result<Extension<'a>, Error> {
    let extension_type = ExtensionType(reader.u16()?);
    let data = reader.vector16()?;
    Ok(Extension {
        extension_type,
        data,
    })
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn extensions_are_found_by_type() {
        let extensions =
            Extensions::decode_exact(&[0, 9, 0, 0x17, 0, 0, 0xff, 1, 0, 1, 0]).unwrap();
        assert_eq!(
            extensions.find(ExtensionType::EXTENDED_MASTER_SECRET),
            Some([].as_slice())
        );
        assert_eq!(
            extensions.find(ExtensionType::RENEGOTIATION_INFO),
            Some([0].as_slice())
        );
        assert_eq!(extensions.find(ExtensionType(5)), None);
        assert_eq!(extensions.iter().count(), 2);
    }

    #[test]
    fn absent_and_empty_block_stay_apart() {
        let absent = Extensions::decode_exact(&[]).unwrap();
        let empty = Extensions::decode_exact(&[0, 0]).unwrap();
        assert_ne!(absent, empty);
        let mut out = [0; 4];
        let mut writer = Writer::new(&mut out);
        absent.encode(&mut writer).unwrap();
        assert_eq!(writer.len(), 0);
        empty.encode(&mut writer).unwrap();
        assert_eq!(writer.written(), [0, 0]);
    }

    /// RFC 5246 §7.4.1.4.
    #[test]
    fn duplicate_cut_off_and_too_many_are_refused() {
        assert_eq!(
            Extensions::from_block(&[0, 23, 0, 0, 0, 23, 0, 0]),
            Err(Error::DuplicateExtension { extension_type: 23 })
        );
        assert!(Extensions::from_block(&[0, 23, 0, 1]).is_err());
        assert!(Extensions::decode_exact(&[0, 0, 1]).is_err());
        let block = |count: u8| -> Vec<u8> { (0..count).flat_map(|n| [1, n, 0, 0]).collect() };
        assert!(Extensions::from_block(&block(64)).is_ok());
        assert_eq!(
            Extensions::from_block(&block(65)),
            Err(Error::TooManyExtensions { max: 64 })
        );
    }
}
