//! Signatures in handshake messages, and the lists of what may be signed with (RFC 5246 §4.7,
//! §7.4.1.4.1).

use hedgerow_core::{DecodeError, EncodeError, Reader, SignatureScheme, Writer};

/// A hash and a signature algorithm by their code points, the hash first. Unknown ones are kept as
/// they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SignatureAndHashAlgorithm(pub u16);

impl SignatureAndHashAlgorithm {
    /// sha256 with ecdsa (RFC 5246 §7.4.1.4.1).
    pub const ECDSA_SHA256: Self = Self(0x0403);

    /// Returns the scheme that these code points have in TLS 1.2; `None` for what isn't implemented.
    ///
    /// They don't name a curve: the certificate does.
    pub const fn scheme(self) -> Option<SignatureScheme> {
        match self {
            Self::ECDSA_SHA256 => Some(SignatureScheme::EcdsaSecp256r1Sha256),
            _ => None,
        }
    }
}

/// A list of algorithms, best first: a signature_algorithms extension's data, and a part of
/// CertificateRequest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureAlgorithms<'a> {
    pairs: &'a [u8],
}

impl<'a> SignatureAlgorithms<'a> {
    /// The only one that this project signs and verifies with (RFC 7925 §4.3).
    pub const ECDSA_SHA256: SignatureAlgorithms<'static> = SignatureAlgorithms { pairs: &[4, 3] };

    /// Decodes a list at the front.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if it is empty, of odd length or cut off.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut ahead = *reader;
        let pairs = ahead.vector16()?;
        if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
            return Err(DecodeError::UnexpectedEnd {
                needed: 2,
                available: pairs.len() % 2,
            });
        }
        *reader = ahead;
        Ok(Self { pairs })
    }

    /// Decodes an extension's data.
    ///
    /// # Errors
    ///
    /// Those of [`Self::decode`], and [`DecodeError::TrailingBytes`].
    pub fn decode_exact(data: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(data);
        let algorithms = Self::decode(&mut reader)?;
        reader.finish()?;
        Ok(algorithms)
    }

    /// Encodes the list, which is all of the extension's data.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if it doesn't fit.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.vector16(self.pairs)
    }

    /// Walks through the algorithms, best first.
    pub fn iter(&self) -> impl Iterator<Item = SignatureAndHashAlgorithm> + use<'a> {
        let (pairs, _) = self.pairs.as_chunks::<2>();
        pairs
            .iter()
            .map(|&pair| SignatureAndHashAlgorithm(u16::from_be_bytes(pair)))
    }

    /// Says whether `algorithm` is in the list.
    pub fn contains(&self, algorithm: SignatureAndHashAlgorithm) -> bool {
        self.iter().any(|offered| offered == algorithm)
    }
}

/// A signature with its algorithm, as ServerKeyExchange ends with it and CertificateVerify consists
/// of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigitallySigned<'a> {
    /// What it is made with.
    pub algorithm: SignatureAndHashAlgorithm,
    /// The signature, in the algorithm's own encoding.
    pub signature: &'a [u8],
}

impl<'a> DigitallySigned<'a> {
    /// Decodes a signature at the front.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if it is cut off.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut ahead = *reader;
        let algorithm = SignatureAndHashAlgorithm(ahead.u16()?);
        let signature = ahead.vector16()?;
        *reader = ahead;
        Ok(Self {
            algorithm,
            signature,
        })
    }

    /// Encodes the signature.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if it doesn't fit.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.u16(self.algorithm.0)?;
        out.vector16(self.signature)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// RFC 7252 §9.1.3.2, figure 14.
    #[test]
    fn extension_has_the_bytes_that_rfc_7252_prints() {
        let mut out = [0; 8];
        let mut writer = Writer::new(&mut out);
        SignatureAlgorithms::ECDSA_SHA256
            .encode(&mut writer)
            .unwrap();
        assert_eq!(writer.written(), [0, 2, 4, 3]);
        let algorithms = SignatureAlgorithms::decode_exact(&[0, 4, 8, 7, 4, 3]).unwrap();
        assert!(algorithms.contains(SignatureAndHashAlgorithm::ECDSA_SHA256));
        assert!(
            algorithms
                .iter()
                .map(|algorithm| algorithm.0)
                .eq([0x0807, 0x0403])
        );
        for data in [&[][..], &[0, 0], &[0, 1, 4], &[0, 2, 4], &[0, 2, 4, 3, 0]] {
            assert!(SignatureAlgorithms::decode_exact(data).is_err(), "{data:?}");
        }
    }

    #[test]
    fn scheme_is_known_for_one_algorithm() {
        let scheme = SignatureAndHashAlgorithm::ECDSA_SHA256.scheme();
        assert_eq!(scheme, Some(SignatureScheme::EcdsaSecp256r1Sha256));
        // sha1 with ecdsa, sha256 with rsa, sha384 with ecdsa.
        for code_point in [0x0203, 0x0401, 0x0503] {
            assert_eq!(SignatureAndHashAlgorithm(code_point).scheme(), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn encoded_signature_decodes(
            code_point: u16, signature in proptest::collection::vec(any::<u8>(), 0..80)
        ) {
            let algorithm = SignatureAndHashAlgorithm(code_point);
            let signed = DigitallySigned { algorithm, signature: &signature };
            let mut out = [0; 90];
            let mut writer = Writer::new(&mut out);
            signed.encode(&mut writer).unwrap();
            let mut reader = Reader::new(writer.written());
            prop_assert_eq!(DigitallySigned::decode(&mut reader), Ok(signed));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = DigitallySigned::decode(&mut Reader::new(&bytes));
            if let Ok(algorithms) = SignatureAlgorithms::decode_exact(&bytes) {
                prop_assert!(algorithms.iter().count() <= bytes.len() / 2);
            }
        }
    }
}
