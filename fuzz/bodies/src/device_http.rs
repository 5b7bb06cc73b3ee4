//! The HTTP server of a device.

use hedgerow_coap::{Code, OptionNumber};
use hedgerow_http::{HttpServer, Limits, ResourceRequest, ResourceResponse};

/// The first byte says in which pieces the rest comes. The pieces change nothing; no more is kept than the limits
/// say; options are what CoAP allows; each answer is one head and the body that it promises.
pub fn device_http(input: &[u8]) {
    let Some((&part, bytes)) = input.split_first() else {
        return;
    };
    let whole = run(bytes, bytes.len().max(1));
    let parts = run(bytes, usize::from(part).saturating_add(1));
    assert_eq!(whole, parts);
    for request in &whole.0 {
        assert!(request.payload.len() <= LIMITS.max_body_len);
        for (number, value) in &request.options {
            let is_text = matches!(*number, OptionNumber::URI_PATH | OptionNumber::URI_QUERY);
            assert!(value.len() <= 255 && (!is_text || core::str::from_utf8(value).is_ok()));
        }
    }
    let answers = String::from_utf8(whole.1).expect("text alone");
    let heads = answers.matches("HTTP/1.1 ").count();
    assert!(heads >= whole.0.len());
}

fn run(bytes: &[u8], part: usize) -> (Vec<ResourceRequest>, Vec<u8>, bool) {
    let mut server = HttpServer::new(LIMITS);
    let (mut found, mut output) = (Vec::new(), Vec::new());
    for mut rest in bytes.chunks(part) {
        loop {
            let room = server.room();
            let taken = server.push(rest);
            assert!(taken <= room && room <= LIMITS.max_head_len + LIMITS.max_body_len);
            rest = &rest[taken..];
            while let Some(request) = server.poll() {
                assert_eq!(server.room(), 0);
                found.push(request);
                server.respond(&ResourceResponse {
                    code: Code::CONTENT,
                    options: &[],
                    payload: b"x",
                });
            }
            output.extend(server.take_output());
            if rest.is_empty() || server.is_closed() {
                break;
            }
        }
    }
    (found, output, server.is_closed())
}

const LIMITS: Limits = Limits {
    max_head_len: 256,
    max_fields: 8,
    max_options: 8,
    max_body_len: 64,
};
