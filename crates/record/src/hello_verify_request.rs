//! HelloVerifyRequest (RFC 6347 §4.2.1).

use hedgerow_core::{Reader, Writer};

use crate::{Error, ProtocolVersion};

/// A HelloVerifyRequest's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelloVerifyRequest<'a> {
    /// A version that says nothing about the one that is negotiated (RFC 6347 §4.2.1).
    pub server_version: ProtocolVersion,
    /// What the client has to send back, up to 255 bytes.
    pub cookie: &'a [u8],
}

impl<'a> HelloVerifyRequest<'a> {
    /// Decodes a body that ends with `body`.
    ///
    /// # Errors
    ///
    /// [`Error::Decode`] if it is cut off or bytes are left over.
    pub fn decode_exact(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let server_version = ProtocolVersion(reader.u16()?);
        let cookie = reader.vector8()?;
        reader.finish()?;
        Ok(Self {
            server_version,
            cookie,
        })
    }

    /// Encodes the body.
    ///
    /// # Errors
    ///
    /// [`Error::Encode`] if the cookie is longer than 255 bytes or `out` is too small.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        out.u16(self.server_version.0)?;
        out.vector8(self.cookie)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DTLS_1_0;

    #[test]
    fn cookie_of_any_length_survives_the_round_trip() {
        let cookie = [0x5a; 255];
        for len in [0, 1, 16, 20, 32, 255] {
            let request = HelloVerifyRequest {
                server_version: DTLS_1_0,
                cookie: &cookie[..len],
            };
            let mut out = [0; 260];
            let mut writer = Writer::new(&mut out);
            request.encode(&mut writer).unwrap();
            assert_eq!(writer.len(), 3 + len);
            let bytes = writer.into_written();
            assert_eq!(HelloVerifyRequest::decode_exact(bytes), Ok(request));
            let short = bytes.len() - 1;
            assert!(HelloVerifyRequest::decode_exact(&bytes[..short]).is_err());
        }
        assert!(HelloVerifyRequest::decode_exact(&[0xfe, 0xff, 1, 2, 3]).is_err());
    }
}
