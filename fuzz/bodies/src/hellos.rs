//! The hellos of `hedgerow-record`.

use hedgerow_core::Writer;
use hedgerow_record::{ClientHello, Error, Extensions, HelloVerifyRequest, Protocol, ServerHello};

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
    }
    assert_eq!(len, extensions.as_bytes().len());
}
