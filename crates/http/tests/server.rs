//! What a client of a device sees, and what hostile ones can do.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use hedgerow_coap::{Code, ContentFormat, OptionNumber};
use hedgerow_http::{HttpServer, Limits, ResourceRequest, ResourceResponse};
use proptest::prelude::*;

fn server() -> HttpServer {
    HttpServer::new(Limits::default())
}

/// The one request that `bytes` are.
fn request(bytes: &[u8]) -> ResourceRequest {
    let mut server = server();
    assert_eq!(server.push(bytes), bytes.len());
    let request = server.poll();
    request.unwrap_or_else(|| panic!("refused: {}", text(&mut server)))
}

/// The status of what is refused, and whether the connection stays open.
fn refused(bytes: &[u8]) -> (String, bool) {
    let mut server = server();
    server.push(bytes);
    let found = server.poll();
    assert_eq!(found, None, "{}", String::from_utf8_lossy(bytes));
    let answer = text(&mut server);
    let line = answer.lines().next().unwrap_or_default();
    (
        line.trim_start_matches("HTTP/1.1 ").to_owned(),
        !server.is_closed(),
    )
}

fn text(server: &mut HttpServer) -> String {
    String::from_utf8(server.take_output()).unwrap()
}

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

/// The answer to `bytes` with a response.
fn answer(bytes: &[u8], code: Code, options: &[(OptionNumber, &[u8])], payload: &[u8]) -> String {
    let mut server = server();
    server.push(bytes);
    server.poll().unwrap();
    server.respond(&ResourceResponse {
        code,
        options,
        payload,
    });
    text(&mut server)
}

fn paths(request: &ResourceRequest) -> Vec<(u16, String)> {
    let options = request.options.iter();
    options
        .map(|(number, value)| (number.0, String::from_utf8_lossy(value).into_owned()))
        .collect()
}

#[test]
fn targets_become_options() {
    let path = OptionNumber::URI_PATH.0;
    let query = OptionNumber::URI_QUERY.0;
    for (target, options) in [
        ("/", vec![]),
        ("/a/b", vec![(path, "a"), (path, "b")]),
        ("/a/", vec![(path, "a"), (path, "")]),
        (
            "/a%20b?c=d&e",
            vec![(path, "a b"), (query, "c=d"), (query, "e")],
        ),
        ("/a?x=/?%26", vec![(path, "a"), (query, "x=/?&")]),
        ("http://lamp.example/a", vec![(path, "a")]),
        ("HTTPS://lamp.example:443", vec![]),
        ("http://[2001:db8::1]:80/a", vec![(path, "a")]),
    ] {
        let found = paths(&request(&get(target)));
        let options: Vec<_> = options
            .into_iter()
            .map(|(number, value)| (number, value.to_owned()))
            .collect();
        assert_eq!(found, options, "{target}");
    }
}

#[test]
fn targets_that_two_readers_take_differently_are_refused() {
    for target in [
        "*",
        "a",
        "//a",
        "/a//b",
        "/.",
        "/a/../b",
        "/%2e%2e/b",
        "/a%2fb",
        "/a%",
        "/a%4",
        "/a%zz",
        "/a%00",
        "/a%0d",
        "/a%ff",
        "/a\\b",
        "/a|b",
        "coap://a/b",
        "http:///a",
        "http://?a",
        "lamp:443",
        "/a#b",
        // What isn't an authority's, in an absolute form.
        "http://a\nX:y/p",
        "http://a\rX:y/p",
        "http://a\t/p",
        "http://a#/b",
        "http://a\\b/p",
        "http://user@a/p",
        "http://a\"/p",
    ] {
        assert_eq!(
            refused(&get(target)),
            ("400 Bad Request".into(), false),
            "{target}"
        );
    }
    let longest = format!("/{}", "a".repeat(255));
    assert_eq!(request(&get(&longest)).options[0].1.len(), 255);
    let longer = format!("/{}", "a".repeat(256));
    assert_eq!(refused(&get(&longer)).0, "414 URI Too Long");
}

#[test]
fn methods_with_bodies_and_formats() {
    let put =
        b"PUT /lamp HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nAccept: text/html, \
        application/cbor;q=0.5\r\nContent-Length: 2\r\n\r\n{}";
    let found = request(put);
    assert_eq!(found.method, Code::PUT);
    assert_eq!(found.payload, b"{}");
    let number = |number| {
        let mut options = found.options.iter();
        let value = &options.find(|(found, _)| *found == number).unwrap().1;
        ContentFormat::decode(value).unwrap()
    };
    assert_eq!(number(OptionNumber::CONTENT_FORMAT), ContentFormat::JSON);
    assert_eq!(number(OptionNumber::ACCEPT), ContentFormat::CBOR);
    for (method, code) in [
        ("GET", Code::GET),
        ("HEAD", Code::GET),
        ("POST", Code::POST),
        ("PUT", Code::PUT),
        ("DELETE", Code::DELETE),
    ] {
        let bytes = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(request(bytes.as_bytes()).method, code);
    }
    // Anything, whatever else, is no preference that CoAP could carry.
    let any = b"GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html, */*;q=0.8\r\n\r\n";
    assert_eq!(request(any).options, []);
    let plain =
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(
        request(plain).options,
        [(OptionNumber::CONTENT_FORMAT, vec![])]
    );
}

#[test]
fn what_the_server_refuses_by_itself() {
    let cases: &[(&str, &str, bool)] = &[
        ("GET / HTTP/1.1\r\n\r\n", "400 Bad Request", false),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n",
            "400 Bad Request",
            false,
        ),
        (
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "400 Bad Request",
            false,
        ),
        (
            "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
            "400 Bad Request",
            false,
        ),
        (
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            "505 HTTP Version Not Supported",
            false,
        ),
        (
            "GET /\tHTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n",
            "400 Bad Request",
            false,
        ),
        (
            "GET / http/1.1\r\nHost: a\r\n\r\n",
            "400 Bad Request",
            false,
        ),
        (
            "get / HTTP/1.1\r\nHost: a\r\n\r\n",
            "501 Not Implemented",
            false,
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            "501 Not Implemented",
            false,
        ),
        (
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "400 Bad Request",
            false,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
            "400 Bad Request",
            false,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
            "400 Bad Request",
            false,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
            "400 Bad Request",
            false,
        ),
        ("GET / HTTP/1.1\r\nHost\r\n\r\n", "400 Bad Request", false),
        (
            "GET / HTTP/1.1\r\nHost: a\u{e9}\r\n\r\n",
            "400 Bad Request",
            false,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n",
            "406 Not Acceptable",
            true,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nAccept: text/plain;q=0\r\n\r\n",
            "406 Not Acceptable",
            true,
        ),
        (
            "GET / HTTP/1.0\r\nIf-Match: \"a\"\r\n\r\n",
            "412 Precondition Failed",
            false,
        ),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n",
            "412 Precondition Failed",
            true,
        ),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\n\r\n",
            "415 Unsupported Media Type",
            true,
        ),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\n\r\n",
            "415 Unsupported Media Type",
            true,
        ),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
            "400 Bad Request",
            false,
        ),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
            "400 Bad Request",
            false,
        ),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
            "400 Bad Request",
            false,
        ),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\nx",
            "501 Not Implemented",
            false,
        ),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4097\r\n\r\n",
            "413 Content Too Large",
            false,
        ),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
            "413 Content Too Large",
            false,
        ),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
            "417 Expectation Failed",
            false,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
            "400 Bad Request",
            false,
        ),
    ];
    for (bytes, status, is_open) in cases {
        assert_eq!(
            refused(bytes.as_bytes()),
            ((*status).to_owned(), *is_open),
            "{bytes}"
        );
    }
    let fields = "X: y\r\n".repeat(32);
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    assert_eq!(
        refused(many.as_bytes()).0,
        "431 Request Header Fields Too Large"
    );
    let long = format!("GET / HTTP/1.1\r\nHost: {}", "a".repeat(2_048));
    assert_eq!(
        refused(long.as_bytes()).0,
        "431 Request Header Fields Too Large"
    );
}

#[test]
fn responses_stand_as_rfc_8075_maps_them() {
    let format = ContentFormat::JSON.encode();
    let options: [(OptionNumber, &[u8]); 3] = [
        (OptionNumber::ETAG, &[0xab, 1]),
        (OptionNumber::CONTENT_FORMAT, format.as_bytes()),
        (OptionNumber::MAX_AGE, &[5]),
    ];
    assert_eq!(
        answer(&get("/"), Code::CONTENT, &options, b"[1]"),
        "HTTP/1.1 200 OK\r\nETag: \"ab01\"\r\nCache-Control: max-age=5\r\n\
         Content-Type: application/json\r\nContent-Length: 3\r\n\r\n[1]"
    );
    let head = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(
        answer(head, Code::CONTENT, &[], b"123"),
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 3\r\n\r\n"
    );
    let put = b"PUT / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(
        answer(put, Code::CHANGED, &[], b""),
        "HTTP/1.1 204 No Content\r\n\r\n"
    );
    let location: [(OptionNumber, &[u8]); 3] = [
        (OptionNumber::LOCATION_PATH, b"a b"),
        (OptionNumber::LOCATION_PATH, b"\r\n"),
        (OptionNumber::LOCATION_QUERY, b"c=d"),
    ];
    assert_eq!(
        answer(put, Code::CREATED, &location, b""),
        "HTTP/1.1 201 Created\r\nLocation: /a%20b/%0D%0A?c=d\r\nContent-Length: 0\r\n\r\n"
    );
    for (code, status) in [
        (Code::NOT_FOUND, "404 Not Found"),
        (Code::UNAUTHORIZED, "403 Forbidden"),
        (Code::METHOD_NOT_ALLOWED, "400 Bad Request"),
        (Code::BAD_OPTION, "400 Bad Request"),
        (Code::INTERNAL_SERVER_ERROR, "500 Internal Server Error"),
        (Code::PROXYING_NOT_SUPPORTED, "502 Bad Gateway"),
    ] {
        let found = answer(&get("/"), code, &[], b"why");
        assert!(
            found.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{found}"
        );
        assert!(found.contains("Content-Type: text/plain;charset=utf-8\r\n"));
        assert!(found.ends_with("\r\n\r\nwhy"));
    }
    let other: [(OptionNumber, &[u8]); 1] = [(OptionNumber::CONTENT_FORMAT, &[0xff, 0xee])];
    let found = answer(&get("/"), Code::CONTENT, &other, b"x");
    assert!(
        found.contains("application/coap-payload;cf=65518\r\n"),
        "{found}"
    );
}

#[test]
fn requests_come_one_after_the_other_in_whatever_pieces() {
    let two = b"\r\nPOST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.0\r\n\r\nGET /c";
    for part in 1..two.len() {
        let mut server = server();
        let mut found = Vec::new();
        let mut rest = &two[..];
        while !rest.is_empty() && !server.is_closed() {
            let taken = server.push(&rest[..part.min(rest.len())]);
            rest = &rest[taken..];
            while let Some(request) = server.poll() {
                assert_eq!(server.room(), 0, "the next one waits");
                assert_eq!(server.poll(), None);
                found.push(paths(&request)[0].1.clone());
                server.respond(&ResourceResponse {
                    code: Code::CONTENT,
                    options: &[],
                    payload: b"x",
                });
            }
        }
        // HTTP/1.0 ends with its answer: what is behind it is nobody's.
        assert_eq!(found, ["a", "b"], "{part}");
        assert!(server.is_closed());
        let answers = text(&mut server);
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2);
        assert_eq!(answers.matches("Connection: close").count(), 1);
    }
}

#[test]
fn what_clients_and_resources_say_is_not_printed() {
    let mut server = server();
    server.push(b"PUT /secret HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nsecret");
    let waiting = format!("{server:?}");
    server.poll().unwrap();
    let response = ResourceResponse {
        code: Code::CONTENT,
        options: &[(OptionNumber::ETAG, b"secret")],
        payload: b"secret",
    };
    server.respond(&response);
    let answered = format!("{server:?}");
    for shown in [waiting, answered, format!("{response:?}")] {
        let bytes = format!("{:?}", b"secret");
        let is_shown = shown.contains("secret") || shown.contains(bytes.trim_matches(['[', ']']));
        assert!(!is_shown, "{shown}");
    }
}

/// A small device pays for each option: how many there are is bounded before they are made.
#[test]
fn more_segments_and_arguments_than_allowed_are_too_long() {
    let most = Limits::default().max_options;
    for (sign, of_path) in [("/a", most), ("&a", 1), ("&", 1)] {
        let rest = match sign {
            "/a" => sign.repeat(of_path - 1),
            _ => format!("?{}", sign.repeat(most - 2)),
        };
        let found = request(&get(&format!("/a{rest}")));
        assert_eq!(found.options.len(), most, "{sign}");
        let more = get(&format!("/a{rest}{sign}"));
        assert_eq!(refused(&more), ("414 URI Too Long".into(), false), "{sign}");
    }
    let limits = Limits {
        max_options: 0,
        ..Limits::default()
    };
    for (target, is_taken) in [("/", true), ("/a", false), ("/?", false)] {
        let mut server = HttpServer::new(limits);
        server.push(&get(target));
        assert_eq!(server.poll().is_some(), is_taken, "{target}");
    }
}

/// A head and a body as long as they may be, behind the empty line that is ignored.
#[test]
fn longest_request_fits_behind_an_empty_line() {
    let limits = Limits::default();
    let begin = format!(
        "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nX: ",
        limits.max_body_len
    );
    let filler = "x".repeat(limits.max_head_len - begin.len() - 4);
    let body = "b".repeat(limits.max_body_len);
    for line in ["", "\r\n"] {
        let whole = format!("{line}{begin}{filler}\r\n\r\n{body}");
        let mut server = server();
        assert_eq!(server.push(whole.as_bytes()), whole.len());
        let request = server.poll().map(|request| request.payload.len());
        assert_eq!(request, Some(limits.max_body_len), "{line:?}");
    }
}

/// No first message of CoAP over TCP is a request, and no request is one of CoAP's: a port tag that somebody
/// changed turns none into the other (docs/specs/translate-device.md).
#[test]
fn first_message_of_coap_is_refused_and_no_request_could_be_one() {
    for first in 0_u8..=255 {
        // RFC 8323 §3.2: the extended length says where the code stands.
        let code_at = match first >> 4 {
            13 => 2,
            14 => 3,
            15 => 5,
            _ => 1,
        };
        // A CSM, whatever its lengths are: the code 7.01 isn't part of any method.
        let mut csm = vec![b'A'; 12];
        csm[0] = first;
        csm[code_at] = 0xe1;
        let mut server = server();
        server.push(&csm);
        assert_eq!(server.poll(), None);
        assert!(server.is_closed(), "{first:#04x}");
        // A request that this server takes: the code would be a letter, a sign or a space.
        if code_at > 1 {
            assert!(!first.is_ascii(), "only 0xd0 and above have one");
        }
    }
    let mut server = server();
    server.push(&[0x00, 0xe1]);
    assert_eq!(server.poll(), None);
    assert!(server.is_closed(), "an empty CSM is enough");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_change_nothing_and_nothing_grows(
        bytes in hostile(), part in 1_usize..40,
    ) {
        let whole = run(&bytes, bytes.len().max(1));
        prop_assert_eq!(run(&bytes, part), whole);
    }
}

/// Bytes that come near to requests.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"GET / HTTP/1.1\r\n".to_vec()),
        Just(b"PUT /a?b HTTP/1.1\r\n".to_vec()),
        Just(b"HEAD /%41 HTTP/1.0\r\n".to_vec()),
        Just(b"Host: a\r\n".to_vec()),
        Just(b"Content-Length: 3\r\n".to_vec()),
        Just(b"Accept: text/plain;q=0.3, a/b\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"abc".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn run(bytes: &[u8], part: usize) -> (Vec<ResourceRequest>, Vec<u8>, bool) {
    let mut server = server();
    let (mut found, mut output) = (Vec::new(), Vec::new());
    for mut rest in bytes.chunks(part) {
        loop {
            let taken = server.push(rest);
            rest = &rest[taken..];
            while let Some(request) = server.poll() {
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
