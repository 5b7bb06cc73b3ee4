//! A ClientHello at the front of a TLS connection, for whoever has to know it before anybody answers.

use hedgerow_core::{Reader, ServerName, Writer};

use crate::{
    ClientHello, ContentType, Error, ExtensionType, HandshakeType, MAX_PLAINTEXT_LEN, Protocol,
    TlsHandshakeMessage, decode_server_name,
};

/// Reads the ClientHello that a TLS connection begins with, in however many records; `None` while it isn't
/// there as a whole. `hello` is room for it in one piece: a longer one is refused.
///
/// # Errors
///
/// [`Error::NotTls`], [`Error::RecordTooLong`], [`Error::NotClientHello`], [`Error::HelloTooLong`], from the
/// first byte on that shows it; those of [`ClientHello::decode_exact`].
pub fn peek_client_hello<'h>(
    bytes: &[u8],
    hello: &'h mut [u8],
) -> Result<Option<ClientHello<'h>>, Error> {
    let max = hello.len();
    let mut records = Reader::new(bytes);
    let mut hello = Writer::new(hello);
    loop {
        if hello
            .written()
            .first()
            .is_some_and(|&code| HandshakeType::from(code) != HandshakeType::ClientHello)
        {
            return Err(Error::NotClientHello);
        }
        let wanted = TlsHandshakeMessage::peek_len(hello.written());
        if let Some(len) = wanted.filter(|&len| len > max) {
            return Err(Error::HelloTooLong { len, max });
        }
        if wanted.is_some_and(|len| len <= hello.len()) {
            break;
        }
        let Some(fragment) = take_fragment(&mut records)? else {
            return Ok(None);
        };
        // What is behind the ClientHello isn't its.
        let left = wanted.unwrap_or(max).saturating_sub(hello.len());
        hello.bytes(fragment.get(..left).unwrap_or(fragment))?;
    }
    let hello: &'h [u8] = hello.into_written();
    match TlsHandshakeMessage::decode(hello) {
        Some((message, _)) => ClientHello::decode_exact(Protocol::Tls, message.body).map(Some),
        None => Ok(None),
    }
}

/// Takes the next record's part of the message; `None` if it hasn't come whole.
fn take_fragment<'a>(records: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Error> {
    let bytes = records.rest();
    if let Some(&code) = bytes.first()
        && ContentType::from(code) != ContentType::Handshake
    {
        return Err(match bytes.get(1) {
            // Something that isn't TLS at all says so.
            Some(&major) if major != TLS_MAJOR => Error::NotTls {
                version: u16::from_be_bytes([major, bytes.get(2).copied().unwrap_or_default()]),
            },
            _ => Error::NotClientHello,
        });
    }
    let Some(&[_, major, minor, l0, l1]) = bytes.first_chunk::<5>() else {
        return Ok(None);
    };
    if major != TLS_MAJOR {
        return Err(Error::NotTls {
            version: u16::from_be_bytes([major, minor]),
        });
    }
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    if len > MAX_PLAINTEXT_LEN {
        return Err(Error::RecordTooLong {
            len,
            max: MAX_PLAINTEXT_LEN,
        });
    }
    if len == 0 {
        // RFC 5246 §6.2.1 forbids it, and it would let a client send for ever.
        return Err(Error::EmptyHandshakeRecord);
    }
    let mut ahead = *records;
    let fragment = ahead.array::<5>().and_then(|_| ahead.take(len)).ok();
    if fragment.is_some() {
        *records = ahead;
    }
    Ok(fragment)
}

impl<'a> ClientHello<'a> {
    /// Returns the name of the host that the client wants (RFC 6066 §3), if it says one; see
    /// [`decode_server_name`].
    ///
    /// # Errors
    ///
    /// Those of [`decode_server_name`].
    pub fn server_name(&self) -> Result<Option<ServerName<'a>>, Error> {
        match self.extensions.find(ExtensionType::SERVER_NAME) {
            Some(data) => decode_server_name(data),
            None => Ok(None),
        }
    }
}

const TLS_MAJOR: u8 = 3;

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// A ClientHello with one suite and the name of a host, in records of `len` bytes at most.
    fn hello(name: &[u8], len: usize) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0xc0, 0xa8, 1, 0]);
        let name_len = u8::try_from(name.len()).unwrap();
        body.extend([0, name_len + 9, 0, 0, 0, name_len + 5]);
        body.extend([0, name_len + 3, 0, 0, name_len]);
        body.extend(name);
        let mut message = vec![1, 0, 0, u8::try_from(body.len()).unwrap()];
        message.extend(body);
        let records = message.chunks(len).flat_map(|part| {
            let len = u8::try_from(part.len()).unwrap();
            [&[22, 3, 1, 0, len], part].concat()
        });
        records.collect()
    }

    fn name_of(bytes: &[u8], room: usize) -> Result<Option<Vec<u8>>, Error> {
        let mut scratch = vec![0; room];
        let hello = peek_client_hello(bytes, &mut scratch)?;
        Ok(hello.map(|hello| match hello.server_name() {
            Ok(Some(name)) => name.as_str().as_bytes().to_vec(),
            _ => Vec::new(),
        }))
    }

    #[test]
    fn name_is_found_in_whatever_pieces_and_records_it_comes() {
        for len in 1..80 {
            let bytes = hello(b"lamp.example", len);
            for cut in 0..bytes.len() {
                assert_eq!(name_of(&bytes[..cut], 512), Ok(None), "{len} {cut}");
            }
            assert_eq!(name_of(&bytes, 512), Ok(Some(b"lamp.example".to_vec())));
            let behind = [&bytes[..], &[20, 3, 3, 0, 1, 1]].concat();
            assert_eq!(name_of(&behind, 512), Ok(Some(b"lamp.example".to_vec())));
        }
    }

    #[test]
    fn address_is_no_name_and_what_is_no_client_hello_is_refused_early() {
        assert_eq!(name_of(&hello(b"192.0.2.1", 99), 512), Ok(Some(vec![])));
        let http = name_of(b"GET", 512);
        assert!(matches!(http, Err(Error::NotTls { version: 0x4554 })));
        assert_eq!(name_of(b"\x15", 512), Err(Error::NotClientHello));
        assert_eq!(
            name_of(b"\x16\x03\x03\x00\x01\x02", 512),
            Err(Error::NotClientHello)
        );
        assert_eq!(
            name_of(b"\x16\x03\x03\x00\x00", 512),
            Err(Error::EmptyHandshakeRecord)
        );
        assert_eq!(
            name_of(b"\x16\x03\x03\x00\x04\x01\x00\x02\x00", 512),
            Err(Error::HelloTooLong { len: 516, max: 512 })
        );
        let whole = hello(b"a", 99);
        assert_eq!(name_of(&whole, whole.len() - 5), Ok(Some(b"a".to_vec())));
        assert!(name_of(&whole, whole.len() - 6).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, room in 0_usize..100) {
            let _ = name_of(&bytes, room);
        }

        #[test]
        fn broken_hellos_are_read_or_refused(
            at in 0_usize..90, value: u8, len in 1_usize..90,
        ) {
            let mut bytes = hello(b"lamp.example", len);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            let _ = name_of(&bytes, 256);
        }
    }
}
