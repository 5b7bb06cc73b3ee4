//! The hellos of `hedgerow-record`.

use hedgerow_core::Writer;
use hedgerow_record::{
    ClientHello, Error, ExtensionType, Extensions, HelloVerifyRequest, MIN_RECORD_SIZE_LIMIT,
    MaxFragmentLength, Protocol, RecordSizeLimit, ServerHello,
};

/// Takes the input for the body of each kind of hello; what decodes must encode to the same bytes.
pub fn hellos(input: &[u8]) {
    for protocol in [Protocol::Dtls, Protocol::Tls] {
        if let Ok(hello) = ClientHello::decode_exact(protocol, input) {
            same(input, |out| hello.encode(out));
            extensions(&hello.extensions);
            assert_eq!(hello.cookie.is_some(), protocol == Protocol::Dtls);
            assert_eq!(
                hello.cipher_suites.iter().count().checked_mul(2),
                Some(hello.cipher_suites.as_bytes().len())
            );
            assert!(
                hello
                    .cipher_suites
                    .iter()
                    .all(|suite| hello.cipher_suites.contains(suite))
            );
        }
    }
    if let Ok(hello) = ServerHello::decode_exact(input) {
        same(input, |out| hello.encode(out));
        extensions(&hello.extensions);
    }
    if let Ok(request) = HelloVerifyRequest::decode_exact(input) {
        same(input, |out| request.encode(out));
    }
}

fn same(input: &[u8], encode: impl FnOnce(&mut Writer<'_>) -> Result<(), Error>) {
    let mut out = vec![0; input.len()];
    let mut writer = Writer::new(&mut out);
    encode(&mut writer).expect("it fits where it came from");
    assert_eq!(writer.written(), input);
}

/// Each extension stands there once and is found by its type.
fn extensions(extensions: &Extensions<'_>) {
    let mut len = 0_usize;
    for extension in extensions.iter() {
        assert_eq!(
            extensions.find(extension.extension_type),
            Some(extension.data)
        );
        len = len.saturating_add(4).saturating_add(extension.data.len());
        record_limits(extension.extension_type, extension.data);
    }
    assert_eq!(len, extensions.as_bytes().len());
}

/// What limits records is one of the lengths allowed, and encodes to the same bytes.
fn record_limits(extension_type: ExtensionType, data: &[u8]) {
    match extension_type {
        ExtensionType::RECORD_SIZE_LIMIT => {
            if let Ok(limit) = RecordSizeLimit::decode_exact(data) {
                assert!((MIN_RECORD_SIZE_LIMIT..=1 << 14).contains(&limit.as_u16()));
                if limit != RecordSizeLimit::MAX {
                    same(data, |out| Ok(limit.encode(out)?));
                }
            }
        }
        ExtensionType::MAX_FRAGMENT_LENGTH => {
            if let Ok(length) = MaxFragmentLength::decode_exact(data) {
                assert!((1 << 9..=1 << 12).contains(&length.as_u16()));
                same(data, |out| Ok(length.encode(out)?));
            }
        }
        _ => {}
    }
}
