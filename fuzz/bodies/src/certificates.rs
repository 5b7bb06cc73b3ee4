//! The messages about certificates of `hedgerow-record`, and what hellos say about them.

use hedgerow_core::{EncodeError, Reader, Writer};
use hedgerow_record::{
    CertificateRequest, CertificateTypes, DigitallySigned, ServerEcdhParams, SignatureAlgorithms,
    decode_certificate_type, decode_certificates, decode_p256_spki, decode_raw_public_key,
    decode_server_name, encode_certificate_types, encode_certificates, encode_p256_spki,
    encode_raw_public_key, encode_server_name,
};

/// Takes the input for each of them. What decodes must encode to the same bytes, but for what an
/// encoder leaves out: names and types that aren't known here.
pub fn certificates(input: &[u8]) {
    if let Ok(chain) = decode_certificates(input) {
        same(input, |out| encode_certificates(&chain, out));
        let lens = chain.iter().map(|certificate| {
            assert!(!certificate.is_empty());
            certificate.len() + 3
        });
        assert_eq!(lens.sum::<usize>(), chain.as_bytes().len());
        assert_eq!(chain.is_empty(), chain.iter().next().is_none());
    }
    if let Ok(spki) = decode_raw_public_key(input) {
        same(input, |out| encode_raw_public_key(spki, out));
        p256(spki);
    }
    p256(input);
    if let Ok(request) = CertificateRequest::decode_exact(input) {
        same(input, |out| request.encode(out));
    }
    if let Ok(algorithms) = SignatureAlgorithms::decode_exact(input) {
        same(input, |out| algorithms.encode(out));
        assert!(algorithms.iter().all(|one| algorithms.contains(one)));
    }
    let mut reader = Reader::new(input);
    if let Ok(signed) = DigitallySigned::decode(&mut reader) {
        front(input, &reader, |out| signed.encode(out));
    }
    let mut reader = Reader::new(input);
    if let Ok(params) = ServerEcdhParams::decode(&mut reader) {
        front(input, &reader, |out| params.encode(out));
        assert!(!params.public_key.is_empty());
    }
    if let Ok(types) = CertificateTypes::decode_exact(input) {
        let known: Vec<_> = types.iter().collect();
        let mut out = vec![0; input.len()];
        let mut writer = Writer::new(&mut out);
        let written = encode_certificate_types(known.iter().copied(), &mut writer);
        written.expect("no more than there were");
        let again = CertificateTypes::decode_exact(writer.written());
        match again {
            Ok(again) => assert!(again.iter().eq(types.iter())),
            Err(_) => assert_eq!(types.iter().count(), 0),
        }
    }
    if let Ok(Some(one)) = decode_certificate_type(input) {
        assert_eq!(input, [one.code_point()]);
    }
    if let Ok(Some(name)) = decode_server_name(input) {
        let mut out = vec![0; input.len()];
        let mut writer = Writer::new(&mut out);
        let written = encode_server_name(name, &mut writer);
        written.expect("it fits where it came from");
        assert_eq!(decode_server_name(writer.written()), Ok(Some(name)));
    }
}

fn p256(spki: &[u8]) {
    if let Some(public_key) = decode_p256_spki(spki) {
        assert_eq!(encode_p256_spki(public_key), *spki);
    }
}

fn same(input: &[u8], encode: impl FnOnce(&mut Writer<'_>) -> Result<(), EncodeError>) {
    let mut out = vec![0; input.len()];
    let mut writer = Writer::new(&mut out);
    encode(&mut writer).expect("it fits where it came from");
    assert_eq!(writer.written(), input);
}

/// As [`same`], for what stands before the rest of a message.
fn front(
    input: &[u8],
    reader: &Reader<'_>,
    encode: impl FnOnce(&mut Writer<'_>) -> Result<(), EncodeError>,
) {
    let taken = input.len() - reader.len();
    same(&input[..taken], encode);
}
