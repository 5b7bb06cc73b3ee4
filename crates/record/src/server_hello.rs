//! ServerHello (RFC 5246 §7.4.1.3).

use hedgerow_core::{Reader, Writer};

use crate::client_hello::take_session_id;
use crate::{CipherSuite, Error, Extensions, ProtocolVersion, Random};

/// A ServerHello's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerHello<'a> {
    /// The version chosen.
    pub server_version: ProtocolVersion,
    /// The server's random bytes.
    pub random: &'a Random,
    /// The session's ID; empty if it can't be resumed.
    pub session_id: &'a [u8],
    /// The suite chosen.
    pub cipher_suite: CipherSuite,
    /// The compression method chosen; 0 is none.
    pub compression_method: u8,
    /// Extensions.
    pub extensions: Extensions<'a>,
}

impl<'a> ServerHello<'a> {
    /// Decodes a body that ends with `body`.
    ///
    /// # Errors
    ///
    /// [`Error`] by the field that is wrong.
    pub fn decode_exact(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        Ok(Self {
            server_version: ProtocolVersion(reader.u16()?),
            random: reader.array()?,
            session_id: take_session_id(&mut reader)?,
            cipher_suite: CipherSuite(reader.u16()?),
            compression_method: reader.u8()?,
            extensions: Extensions::decode_exact(reader.rest())?,
        })
    }

    /// Encodes the body.
    ///
    /// # Errors
    ///
    /// [`Error::Encode`] if a field doesn't fit its length or `out`.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        out.u16(self.server_version.0)?;
        out.bytes(self.random)?;
        out.vector8(self.session_id)?;
        out.u16(self.cipher_suite.0)?;
        out.u8(self.compression_method)?;
        self.extensions.encode(out)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_stand_where_rfc_5246_puts_them() {
        let mut body = vec![0xfe, 0xfd];
        body.extend(0..32);
        body.extend([2, 0x11, 0x22]);
        body.extend([0xc0, 0xa8]);
        body.extend([0]);
        body.extend([0, 5, 0xff, 0x01, 0, 1, 0]);
        let hello = ServerHello::decode_exact(&body).unwrap();
        assert_eq!(hello.session_id, [0x11, 0x22]);
        assert_eq!(hello.cipher_suite, CipherSuite::TLS_PSK_WITH_AES_128_CCM_8);
        assert_eq!(hello.compression_method, 0);
        let mut out = [0; 64];
        let mut writer = Writer::new(&mut out);
        hello.encode(&mut writer).unwrap();
        assert_eq!(writer.written(), body);
        for len in 0..body.len() {
            let whole = len == body.len() - 7;
            assert_eq!(ServerHello::decode_exact(&body[..len]).is_ok(), whole);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(
            body in proptest::collection::vec(any::<u8>(), 34..120), session_id_len in 0_u8..=33,
        ) {
            let mut body = body;
            if let Some(len) = body.get_mut(34) {
                *len = session_id_len;
            }
            if let Ok(hello) = ServerHello::decode_exact(&body) {
                let mut out = [0; 128];
                let mut writer = Writer::new(&mut out);
                hello.encode(&mut writer).unwrap();
                prop_assert_eq!(writer.written(), body.as_slice());
            }
        }
    }
}
