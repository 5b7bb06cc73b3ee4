//! Application protocols by name (ALPN, RFC 7301 §3.1).

use hedgerow_core::{DecodeError, EncodeError, Reader, Writer};

/// The data of an application_layer_protocol_negotiation extension: names, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolNames<'a> {
    names: &'a [u8],
}

impl<'a> ProtocolNames<'a> {
    /// Decodes an extension's data.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if a name is cut off or empty, there is none, or bytes are left over.
    pub fn decode_exact(data: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(data);
        let names = reader.vector16()?;
        reader.finish()?;
        let mut reader = Reader::new(names);
        loop {
            let name = reader.vector8()?;
            if name.is_empty() {
                return Err(DecodeError::UnexpectedEnd {
                    needed: 1,
                    available: 0,
                });
            }
            if reader.is_empty() {
                return Ok(Self { names });
            }
        }
    }

    /// Walks through the names, best first.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut reader = Reader::new(self.names);
        core::iter::from_fn(move || reader.vector8().ok())
    }

    /// Returns the only name, which is what a server answers with.
    pub fn only(&self) -> Option<&'a [u8]> {
        let mut names = self.iter();
        names.next().filter(|_| names.next().is_none())
    }
}

/// Encodes an extension's data from `names`, best first.
///
/// # Errors
///
/// [`EncodeError`] if a name is longer than 255 bytes or they don't fit.
pub fn encode_protocol_names(names: &[&[u8]], out: &mut Writer<'_>) -> Result<(), EncodeError> {
    out.nested16(|out| names.iter().try_for_each(|name| out.vector8(name)))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_stand_as_rfc_7301_draws_them() {
        let mut out = [0; 32];
        let mut writer = Writer::new(&mut out);
        encode_protocol_names(&[b"coap", b"http/1.1"], &mut writer).unwrap();
        assert_eq!(writer.written(), b"\x00\x0e\x04coap\x08http/1.1");
        let names = ProtocolNames::decode_exact(writer.written()).unwrap();
        assert!(names.iter().eq([&b"coap"[..], b"http/1.1"]));
        assert_eq!(names.only(), None);
        let one = ProtocolNames::decode_exact(b"\x00\x05\x04coap").unwrap();
        assert_eq!(one.only(), Some(&b"coap"[..]));
    }

    #[test]
    fn empty_list_empty_name_and_leftovers_are_refused() {
        for data in [
            &b""[..],
            b"\x00\x00",
            b"\x00\x01\x00",
            b"\x00\x06\x04coap\x00",
            b"\x00\x05\x05coap",
            b"\x00\x05\x04coap!",
        ] {
            assert!(ProtocolNames::decode_exact(data).is_err(), "{data:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn encoded_names_decode(
            names in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 1..12), 1..6)
        ) {
            let mut out = [0; 128];
            let mut writer = Writer::new(&mut out);
            let slices: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
            encode_protocol_names(&slices, &mut writer).unwrap();
            let decoded = ProtocolNames::decode_exact(writer.written()).unwrap();
            prop_assert!(decoded.iter().eq(slices));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            if let Ok(names) = ProtocolNames::decode_exact(&bytes) {
                prop_assert!(names.iter().all(|name| !name.is_empty()));
            }
        }
    }
}
