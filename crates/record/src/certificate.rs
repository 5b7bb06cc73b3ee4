//! Certificate messages (RFC 5246 §7.4.2, RFC 7250 §3) and CertificateRequest (RFC 5246 §7.4.4).

use hedgerow_core::{CertificateChain, DecodeError, EncodeError, Reader, Writer};

use crate::SignatureAlgorithms;

/// ClientCertificateType ecdsa_sign (RFC 8422 §5.5), which raw public keys of ECDSA come under too.
pub const ECDSA_SIGN: u8 = 64;

/// Decodes a Certificate message that carries X.509 certificates; a client's may carry none.
///
/// # Errors
///
/// [`DecodeError`] if a certificate is empty or cut off, or bytes are left over.
pub fn decode_certificates(body: &[u8]) -> Result<CertificateChain<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let list = reader.vector24()?;
    reader.finish()?;
    CertificateChain::decode_exact(list)
}

/// Encodes a Certificate message that carries X.509 certificates.
///
/// # Errors
///
/// [`EncodeError`] if they don't fit.
pub fn encode_certificates(
    chain: &CertificateChain<'_>,
    out: &mut Writer<'_>,
) -> Result<(), EncodeError> {
    out.vector24(chain.as_bytes())
}

/// Decodes a Certificate message that carries a raw public key: its SubjectPublicKeyInfo.
///
/// # Errors
///
/// [`DecodeError`] if it is empty or cut off, or bytes are left over.
pub fn decode_raw_public_key(body: &[u8]) -> Result<&[u8], DecodeError> {
    let mut reader = Reader::new(body);
    let subject_public_key_info = reader.vector24()?;
    reader.finish()?;
    not_empty(subject_public_key_info)
}

/// Encodes a Certificate message that carries a raw public key.
///
/// # Errors
///
/// [`EncodeError`] if it doesn't fit.
pub fn encode_raw_public_key(
    subject_public_key_info: &[u8],
    out: &mut Writer<'_>,
) -> Result<(), EncodeError> {
    out.vector24(subject_public_key_info)
}

/// What a server asks of its client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateRequest<'a> {
    /// Kinds of certificates, each by its code point.
    pub certificate_types: &'a [u8],
    /// What the client may sign with.
    pub signature_algorithms: SignatureAlgorithms<'a>,
    /// Names of authorities in DER, each with its length in two bytes; empty if any will do.
    pub certificate_authorities: &'a [u8],
}

impl<'a> CertificateRequest<'a> {
    /// Decodes a body that ends with `body`.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if a list is cut off or one of the first two is empty, or bytes are left over.
    pub fn decode_exact(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let certificate_types = not_empty(reader.vector8()?)?;
        let signature_algorithms = SignatureAlgorithms::decode(&mut reader)?;
        let certificate_authorities = reader.vector16()?;
        reader.finish()?;
        let mut names = Reader::new(certificate_authorities);
        while !names.is_empty() {
            not_empty(names.vector16()?)?;
        }
        Ok(Self {
            certificate_types,
            signature_algorithms,
            certificate_authorities,
        })
    }

    /// Encodes the body.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if a list doesn't fit.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.vector8(self.certificate_types)?;
        self.signature_algorithms.encode(out)?;
        out.vector16(self.certificate_authorities)
    }
}

/// Refuses a vector that the protocol wants to hold something.
pub(crate) const fn not_empty(vector: &[u8]) -> Result<&[u8], DecodeError> {
    if vector.is_empty() {
        return Err(DecodeError::UnexpectedEnd {
            needed: 1,
            available: 0,
        });
    }
    Ok(vector)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn certificates_stand_as_rfc_5246_draws_them() {
        let body = b"\0\0\x0b\0\0\x03own\0\0\x02ca";
        let chain = decode_certificates(body).unwrap();
        assert!(chain.iter().eq([&b"own"[..], b"ca"]));
        let mut out = [0; 32];
        let mut writer = Writer::new(&mut out);
        encode_certificates(&chain, &mut writer).unwrap();
        assert_eq!(writer.written(), body);
        assert!(decode_certificates(b"\0\0\0").unwrap().is_empty());
        for body in [
            &b""[..],
            b"\0\0",
            b"\0\0\x03\0\0\0",
            b"\0\0\0x",
            b"\0\0\x04\0\0\x02x",
        ] {
            assert!(decode_certificates(body).is_err(), "{body:?}");
        }
    }

    #[test]
    fn raw_public_key_stands_as_rfc_7250_draws_it() {
        let mut out = [0; 8];
        let mut writer = Writer::new(&mut out);
        encode_raw_public_key(b"key", &mut writer).unwrap();
        assert_eq!(writer.written(), b"\0\0\x03key");
        assert_eq!(decode_raw_public_key(b"\0\0\x03key"), Ok(&b"key"[..]));
        for body in [&b""[..], b"\0\0\0", b"\0\0\x03ke", b"\0\0\x02key"] {
            assert!(decode_raw_public_key(body).is_err(), "{body:?}");
        }
    }

    #[test]
    fn request_stands_as_rfc_5246_draws_it() {
        let body = b"\x02\x40\x01\0\x04\x04\x03\x04\x01\0\x04\0\x02ca";
        let request = CertificateRequest::decode_exact(body).unwrap();
        assert_eq!(request.certificate_types, [ECDSA_SIGN, 1]);
        assert_eq!(request.certificate_authorities, b"\0\x02ca");
        for body in [
            &b"\0\0\x02\x04\x03\0\0"[..],
            b"\x01\x40\0\0\0\0",
            b"\x01\x40\0\x01\x04\0\0",
            b"\x01\x40\0\x02\x04\x03\0\x02\0\0",
            b"\x01\x40\0\x02\x04\x03\0\x03\0\x02x",
            b"\x01\x40\0\x02\x04\x03\0\0\0",
            b"\x01\x40\0\x02\x04\x03",
        ] {
            assert!(CertificateRequest::decode_exact(body).is_err(), "{body:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(
            types in proptest::collection::vec(any::<u8>(), 0..4),
            algorithms in proptest::collection::vec(any::<u8>(), 0..5),
            names in proptest::collection::vec(any::<u8>(), 0..6),
        ) {
            let mut out = [0; 32];
            let mut writer = Writer::new(&mut out);
            writer.vector8(&types).unwrap();
            writer.vector16(&algorithms).unwrap();
            writer.vector16(&names).unwrap();
            if let Ok(request) = CertificateRequest::decode_exact(writer.written()) {
                let mut again = [0; 32];
                let mut encoder = Writer::new(&mut again);
                request.encode(&mut encoder).unwrap();
                prop_assert_eq!(encoder.written(), writer.written());
            }
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = CertificateRequest::decode_exact(&bytes);
            let _ = decode_raw_public_key(&bytes);
            if let Ok(chain) = decode_certificates(&bytes) {
                prop_assert!(chain.iter().all(|certificate| !certificate.is_empty()));
            }
        }
    }
}
