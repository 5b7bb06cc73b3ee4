//! ClientHello (RFC 5246 §7.4.1.2, in DTLS with the cookie of RFC 6347 §4.2.1).

use hedgerow_core::{Reader, Writer};

use crate::{CipherSuite, Error, Extensions, Protocol, ProtocolVersion, Random};

/// The longest session ID, in bytes (RFC 5246 §7.4.1.2).
pub const MAX_SESSION_ID_LEN: usize = 32;

/// The longest cookie, in bytes (RFC 6347 §4.2.1).
pub const MAX_COOKIE_LEN: usize = 255;

/// A ClientHello's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// The highest version that the client speaks.
    pub client_version: ProtocolVersion,
    /// The client's random bytes.
    pub random: &'a Random,
    /// The session that the client wants to resume; empty for none.
    pub session_id: &'a [u8],
    /// The cookie that the server asked for; empty in the first ClientHello. `None` in TLS, which
    /// has no such field.
    pub cookie: Option<&'a [u8]>,
    /// What the client offers, best first.
    pub cipher_suites: CipherSuites<'a>,
    /// Compression methods; 0 is none.
    pub compression_methods: &'a [u8],
    /// Extensions.
    pub extensions: Extensions<'a>,
}

impl<'a> ClientHello<'a> {
    /// Decodes a body that ends with `body`.
    ///
    /// # Errors
    ///
    /// [`Error`] by the field that is wrong.
    pub fn decode_exact(protocol: Protocol, body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let client_version = ProtocolVersion(reader.u16()?);
        let random = reader.array()?;
        let session_id = take_session_id(&mut reader)?;
        let cookie = match protocol {
            Protocol::Dtls => Some(reader.vector8()?),
            Protocol::Tls => None,
        };
        let cipher_suites = CipherSuites::new(reader.vector16()?)?;
        let compression_methods = reader.vector8()?;
        if compression_methods.is_empty() {
            return Err(Error::NoCompressionMethod);
        }
        let extensions = Extensions::decode_exact(reader.rest())?;
        Ok(Self {
            client_version,
            random,
            session_id,
            cookie,
            cipher_suites,
            compression_methods,
            extensions,
        })
    }

    /// Encodes the body.
    ///
    /// # Errors
    ///
    /// [`Error::Encode`] if a field doesn't fit its length or `out`.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        out.u16(self.client_version.0)?;
        out.bytes(self.random)?;
        out.vector8(self.session_id)?;
        if let Some(cookie) = self.cookie {
            out.vector8(cookie)?;
        }
        out.vector16(self.cipher_suites.bytes)?;
        out.vector8(self.compression_methods)?;
        self.extensions.encode(out)?;
        Ok(())
    }
}

/// A list of cipher suites as the wire has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CipherSuites<'a> {
    bytes: &'a [u8],
}

impl<'a> CipherSuites<'a> {
    /// Takes the list's bytes, two for each suite.
    ///
    /// # Errors
    ///
    /// [`Error::CipherSuitesLength`] if the list is empty or of odd length.
    pub const fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        let len = bytes.len();
        if len == 0 || !len.is_multiple_of(2) {
            return Err(Error::CipherSuitesLength { len });
        }
        Ok(Self { bytes })
    }

    /// Returns the list's bytes as the wire has them.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Walks through the suites, best first.
    pub fn iter(&self) -> impl Iterator<Item = CipherSuite> + use<'a> {
        let (pairs, _) = self.bytes.as_chunks::<2>();
        pairs
            .iter()
            .map(|&pair| CipherSuite(u16::from_be_bytes(pair)))
    }

    /// Says whether `suite` is in the list.
    pub fn contains(&self, suite: CipherSuite) -> bool {
        self.iter().any(|offered| offered == suite)
    }
}

pub(crate) fn take_session_id<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Error> {
    let session_id = reader.vector8()?;
    if session_id.len() > MAX_SESSION_ID_LEN {
        return Err(Error::SessionIdTooLong {
            len: session_id.len(),
        });
    }
    Ok(session_id)
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::ExtensionType;

    /// Written out by hand from RFC 5246 §7.4.1.2 and RFC 6347 §4.2.1.
    fn sample() -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend(0..32);
        body.extend([0]);
        body.extend([3, 0xaa, 0xbb, 0xcc]);
        body.extend([0, 4, 0xc0, 0xa8, 0x00, 0xff]);
        body.extend([1, 0]);
        body.extend([0, 4, 0x00, 0x17, 0, 0]);
        body
    }

    #[test]
    fn fields_stand_where_the_rfcs_put_them() {
        let body = sample();
        let hello = ClientHello::decode_exact(Protocol::Dtls, &body).unwrap();
        assert_eq!(hello.client_version, crate::DTLS_1_2);
        assert_eq!(hello.random[31], 31);
        assert_eq!(hello.session_id, []);
        assert_eq!(hello.cookie, Some([0xaa, 0xbb, 0xcc].as_slice()));
        assert!(
            hello
                .cipher_suites
                .contains(CipherSuite::TLS_PSK_WITH_AES_128_CCM_8)
        );
        assert_eq!(hello.cipher_suites.iter().count(), 2);
        assert!(
            hello
                .extensions
                .find(ExtensionType::EXTENDED_MASTER_SECRET)
                .is_some()
        );
        let mut out = [0; 128];
        let mut writer = Writer::new(&mut out);
        hello.encode(&mut writer).unwrap();
        assert_eq!(writer.written(), body);
    }

    #[test]
    fn body_cut_anywhere_is_refused_except_before_the_extensions() {
        let body = sample();
        for len in 0..body.len() {
            let decoded = ClientHello::decode_exact(Protocol::Dtls, &body[..len]);
            assert_eq!(decoded.is_ok(), len == body.len() - 6, "cut at {len}");
        }
        let mut longer = body;
        longer.push(0);
        assert!(ClientHello::decode_exact(Protocol::Dtls, &longer).is_err());
    }

    #[test]
    fn fields_out_of_range_are_refused() {
        assert!(CipherSuites::new(&[]).is_err());
        assert!(CipherSuites::new(&[0xc0]).is_err());
        let mut body = sample();
        body[34] = 33;
        body.splice(35..35, [0; 33]);
        assert_eq!(
            ClientHello::decode_exact(Protocol::Dtls, &body),
            Err(Error::SessionIdTooLong { len: 33 })
        );
        let mut body = sample();
        let at = body.len() - 8;
        body.splice(at..at + 2, [0]);
        assert_eq!(
            ClientHello::decode_exact(Protocol::Dtls, &body),
            Err(Error::NoCompressionMethod)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(
            flips in proptest::collection::vec((0_usize..60, any::<u8>()), 0..4),
        ) {
            let mut body = sample();
            for (at, value) in flips {
                if let Some(byte) = body.get_mut(at) {
                    *byte = value;
                }
            }
            if let Ok(hello) = ClientHello::decode_exact(Protocol::Dtls, &body) {
                let mut out = [0; 128];
                let mut writer = Writer::new(&mut out);
                hello.encode(&mut writer).unwrap();
                prop_assert_eq!(writer.written(), body.as_slice());
            }
        }

        #[test]
        fn any_bytes_decode_or_are_refused(
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = ClientHello::decode_exact(Protocol::Dtls, &body);
        }
    }
}
