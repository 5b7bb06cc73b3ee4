//! A ClientHello at the front of a TLS connection, for whoever has to know it before anybody answers.

use hedgerow_core::{Reader, ServerName, Writer};

use crate::{
    ClientHello, ContentType, Error, ExtensionType, HandshakeType, MAX_PLAINTEXT_LEN, Protocol,
    TLS_HANDSHAKE_HEADER_LEN, TlsHandshakeMessage, decode_server_name,
};

/// The most records that a ClientHello at the front of a connection may come in. Clients send it in one, or
/// in a few; each costs whoever looks for its end again and again as its bytes come.
pub const MAX_HELLO_RECORDS: usize = 128;

/// Returns the length of the ClientHello that a TLS connection begins with, in bytes with its header, once it is
/// there as a whole. It looks at no more than [`MAX_HELLO_RECORDS`] headers and keeps nothing, so that
/// it may be asked whenever bytes have come.
///
/// # Errors
///
/// [`Error::NotTls`], [`Error::RecordTooLong`], [`Error::EmptyHandshakeRecord`], [`Error::NotClientHello`], from the
/// first byte on that shows it; [`Error::HelloTooLong`] for one of more than `max` bytes;
/// [`Error::TooManyHelloRecords`].
pub fn client_hello_len(bytes: &[u8], max: usize) -> Result<Option<usize>, Error> {
    Walk::new(bytes).find_end(max)
}

/// Reads the ClientHello that a TLS connection begins with, in however many records; `None` while it isn't
/// there as a whole. `hello` is room for it in one piece: a longer one is refused.
///
/// # Errors
///
/// Those of [`client_hello_len`], and those of [`ClientHello::decode_exact`].
pub fn peek_client_hello<'h>(
    bytes: &[u8],
    hello: &'h mut [u8],
) -> Result<Option<ClientHello<'h>>, Error> {
    let Some(len) = client_hello_len(bytes, hello.len())? else {
        return Ok(None);
    };
    let mut records = Reader::new(bytes);
    let mut hello = Writer::new(hello);
    while hello.len() < len {
        let Some(fragment) = take_fragment(&mut records)? else {
            return Ok(None);
        };
        // What is behind the ClientHello isn't its.
        let left = len.saturating_sub(hello.len());
        hello.bytes(fragment.get(..left).unwrap_or(fragment))?;
    }
    let hello: &'h [u8] = hello.into_written();
    match TlsHandshakeMessage::decode(hello) {
        Some((message, _)) => ClientHello::decode_exact(Protocol::Tls, message.body).map(Some),
        None => Ok(None),
    }
}

/// A walk over the records at the front of a connection.
struct Walk<'a> {
    records: Reader<'a>,
    /// Records that were taken.
    taken: usize,
    /// Bytes of the message in them.
    len: usize,
    /// As much of the message's header as they have.
    header: [u8; TLS_HANDSHAKE_HEADER_LEN],
}

impl<'a> Walk<'a> {
    const fn new(bytes: &'a [u8]) -> Self {
        Self {
            records: Reader::new(bytes),
            taken: 0,
            len: 0,
            header: [0; TLS_HANDSHAKE_HEADER_LEN],
        }
    }

    fn header(&self) -> &[u8] {
        self.header.get(..self.len).unwrap_or(&self.header)
    }

    fn find_end(&mut self, max: usize) -> Result<Option<usize>, Error> {
        loop {
            if self
                .header()
                .first()
                .is_some_and(|&code| HandshakeType::from(code) != HandshakeType::ClientHello)
            {
                return Err(Error::NotClientHello);
            }
            let wanted = TlsHandshakeMessage::peek_len(self.header());
            if let Some(len) = wanted.filter(|&len| len > max) {
                return Err(Error::HelloTooLong { len, max });
            }
            if wanted.is_some_and(|len| len <= self.len) {
                return Ok(wanted);
            }
            if self.taken >= MAX_HELLO_RECORDS {
                return Err(Error::TooManyHelloRecords {
                    max: MAX_HELLO_RECORDS,
                });
            }
            let Some(fragment) = take_fragment(&mut self.records)? else {
                return Ok(None);
            };
            self.taken = self.taken.saturating_add(1);
            for (at, &byte) in self.header.iter_mut().skip(self.len).zip(fragment) {
                *at = byte;
            }
            self.len = self.len.saturating_add(fragment.len());
        }
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

    /// Whoever sends a long hello byte by byte, each in a record of its own, has it looked for with every byte.
    #[test]
    fn looking_for_the_end_again_and_again_is_little_work() {
        let steps = |bytes: &[u8]| {
            let mut walk = Walk::new(bytes);
            let found = walk.find_end(16_384);
            (found, walk.taken)
        };
        let mut message = vec![1, 0, 0x3f, 0xfc];
        message.resize(16_384, 7);
        // One octet a record is refused early, and in as many records as allowed each byte costs at most as many steps.
        for (part, is_taken) in [(1, false), (127, false), (128, true), (16_384, true)] {
            let records = message.chunks(part).flat_map(|part| {
                let [a, b] = u16::try_from(part.len()).unwrap().to_be_bytes();
                [&[22, 3, 1, a, b], part].concat()
            });
            let bytes: Vec<u8> = records.collect();
            let mut all = 0;
            let mut refused_at = None;
            for len in 0..=bytes.len() {
                let (found, taken) = steps(&bytes[..len]);
                assert!(taken <= MAX_HELLO_RECORDS);
                all += taken;
                match found {
                    Ok(None) => assert_eq!(refused_at, None),
                    Ok(Some(found)) => assert_eq!((found, len), (16_384, bytes.len())),
                    Err(error) => {
                        let max = MAX_HELLO_RECORDS;
                        assert_eq!(error, Error::TooManyHelloRecords { max });
                        refused_at = refused_at.or(Some(len));
                        if len > MAX_HELLO_RECORDS * (5 + part) {
                            break;
                        }
                    }
                }
            }
            assert_eq!(refused_at.is_none(), is_taken, "{part}");
            let most = MAX_HELLO_RECORDS * (16_384 + 6 * MAX_HELLO_RECORDS);
            assert!(all <= most, "{part}: {all}");
            if part == 1 {
                assert_eq!(refused_at, Some(6 * MAX_HELLO_RECORDS));
                assert!(all <= 6 * MAX_HELLO_RECORDS * MAX_HELLO_RECORDS, "{all}");
            }
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
