//! The extension server_name (RFC 6066 §3).

use hedgerow_core::{EncodeError, Reader, ServerName, Writer};

use crate::Error;
use crate::certificate::not_empty;

/// NameType host_name.
const HOST_NAME: u8 = 0;

/// Decodes a client's extension and returns the host's name; `None` if there is none among the
/// names, or if it isn't a DNS name.
///
/// An IP address, which some clients send against the RFC, counts as no name.
///
/// # Errors
///
/// [`Error::Decode`] if the list or a name is empty, cut off or not all,
/// [`Error::DuplicateServerName`] if there are two names of a host.
pub fn decode_server_name(data: &[u8]) -> Result<Option<ServerName<'_>>, Error> {
    let mut reader = Reader::new(data);
    let list = not_empty(reader.vector16()?)?;
    reader.finish()?;
    let mut names = Reader::new(list);
    let mut host_name = None;
    while !names.is_empty() {
        let name_type = names.u8()?;
        // Names of all types, also of those to come, begin with a length of 16 bits.
        let name = not_empty(names.vector16()?)?;
        // MUST (RFC 6066 §3): no two names of one type.
        if name_type == HOST_NAME && host_name.replace(name).is_some() {
            return Err(Error::DuplicateServerName);
        }
    }
    Ok(host_name
        .and_then(|name| core::str::from_utf8(name).ok())
        .and_then(|name| ServerName::new(name).ok()))
}

/// Encodes a client's extension.
///
/// # Errors
///
/// [`EncodeError`] if it doesn't fit.
pub fn encode_server_name(name: ServerName<'_>, out: &mut Writer<'_>) -> Result<(), EncodeError> {
    out.nested16(|out| {
        out.u8(HOST_NAME)?;
        out.vector16(name.as_str().as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn name_stands_as_rfc_6066_draws_it() {
        let name = ServerName::new("lamp.example").unwrap();
        let mut out = [0; 32];
        let mut writer = Writer::new(&mut out);
        encode_server_name(name, &mut writer).unwrap();
        assert_eq!(writer.written(), b"\0\x0f\0\0\x0clamp.example");
        assert_eq!(decode_server_name(writer.written()), Ok(Some(name)));
        // A name of another type before it.
        let data = b"\0\x09\x07\0\x01x\0\0\x02\x61\x62";
        assert_eq!(decode_server_name(data), Ok(ServerName::new("ab").ok()));
    }

    #[test]
    fn address_counts_as_absent_and_two_names_are_refused() {
        for data in [&b"\0\x0c\0\0\x09192.0.2.1"[..], b"\0\x04\0\0\x01\xff"] {
            assert_eq!(decode_server_name(data), Ok(None));
        }
        let twice = b"\0\x08\0\0\x01a\0\0\x01b";
        assert_eq!(decode_server_name(twice), Err(Error::DuplicateServerName));
        for data in [
            &b""[..],
            b"\0\0",
            b"\0\x03\0\0\0",
            b"\0\x04\0\0\x02a",
            b"\0\x04\0\0\x01ab",
        ] {
            assert!(decode_server_name(data).is_err(), "{data:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = decode_server_name(&bytes);
        }
    }
}
