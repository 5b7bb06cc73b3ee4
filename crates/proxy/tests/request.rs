//! From HTTP requests to CoAP requests: RFC 8075 §6, RFC 7252 §10.2.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::type_complexity)]

mod support;

use hedgerow_coap::{BlockValue, Code, ContentFormat, MessageOption, OptionNumber};
use hedgerow_proxy::{
    CoapResponse, EntityTag, Failure, HttpRequest, IfMatch, LooseMapping, Methods, PatchMapping,
    TargetError,
};
use support::{head, map, options, proxy};

const JSON: (&str, &str) = ("content-type", "application/json");

/// RFC 7252 §10.2.1.
#[test]
fn methods_become_those_of_rfc_7252_section_10_2() {
    for (method, code) in [
        ("GET", Code::GET),
        ("HEAD", Code::GET),
        ("POST", Code::POST),
        ("PUT", Code::PUT),
        ("DELETE", Code::DELETE),
    ] {
        let mapped = map(method, "/devices/lamp/on", &[]).unwrap();
        assert_eq!(mapped.request.method(), code, "{method}");
    }
    for method in ["OPTIONS", "TRACE", "CONNECT", "PATCH", "PROPFIND", "get"] {
        let failure = map(method, "/devices/lamp/on", &[]).unwrap_err();
        assert_eq!(failure, Failure::MethodNotImplemented, "{method}");
        assert_eq!(failure.status(), 501);
    }
}

#[test]
fn method_that_a_target_does_not_take_is_answered_with_allow() {
    let failure = map("PUT", "/devices/meter", &[]).unwrap_err();
    let allowed = Methods::GET;
    assert_eq!(failure, Failure::MethodNotAllowed { allowed });
    let response = failure.to_response(&http::Method::PUT, "/devices/meter");
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "GET, HEAD");

    let head = head("PATCH", "/devices/lamp", &[JSON]);
    let patch = |mapping| head.map(&proxy().with_patch(mapping));
    let code = |mapping| patch(mapping).unwrap().request.method();
    assert_eq!(code(PatchMapping::Patch), Code::PATCH);
    assert_eq!(code(PatchMapping::Ipatch), Code::IPATCH);
    assert_eq!(
        patch(PatchMapping::Refused).unwrap_err(),
        Failure::MethodNotImplemented
    );
    // Allow doesn't list what would be answered with 501.
    let none = hedgerow_proxy::HcProxy::new()
        .with_device("d", "coap://h", Methods::PATCH | Methods::PUT)
        .unwrap();
    let failure = support::head("GET", "/devices/d", &[])
        .map(&none)
        .unwrap_err();
    let allowed = Methods::PUT;
    assert_eq!(failure, Failure::MethodNotAllowed { allowed });
}

#[test]
fn options_come_in_the_order_of_their_numbers_with_others_between_them() {
    let headers = [
        JSON,
        ("if-match", "\"0a0b\", \"0c\""),
        ("accept", "application/cbor"),
        ("via", "1.1 front"),
    ];
    let mut mapped = map("PUT", "/hc/coap://s.example.com/a/b?c=d&e", &headers).unwrap();
    mapped.request.set_body(b"{}".to_vec()).unwrap();
    let block1 = BlockValue::new(0, true, 6).unwrap().encode();
    let others = [
        MessageOption::new(OptionNumber::BLOCK1, block1.as_bytes()),
        MessageOption::new(OptionNumber::SIZE1, &[2]),
        MessageOption::new(OptionNumber::REQUEST_TAG, b"t"),
    ];
    let expected: [(u16, &[u8]); 13] = [
        (1, &[0x0a, 0x0b]),
        (1, &[0x0c]),
        (3, b"s.example.com"),
        (11, b"a"),
        (11, b"b"),
        (12, &[50]),
        (15, b"c=d"),
        (15, b"e"),
        (16, &[16]),
        (17, &[60]),
        (27, block1.as_bytes()),
        (60, &[2]),
        (292, b"t"),
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|(number, value)| (OptionNumber(*number), value.to_vec()))
        .collect();
    assert_eq!(options(&mapped.request, &others), expected);

    let echo = [MessageOption::new(OptionNumber::OBSERVE, &[])];
    let mapped = map("GET", "/devices/lamp/a", &[("if-none-match", "\"01\"")]).unwrap();
    let expected = [
        (OptionNumber::ETAG, vec![1]),
        (OptionNumber::OBSERVE, vec![]),
        (OptionNumber::URI_PATH, b"a".to_vec()),
    ];
    assert_eq!(options(&mapped.request, &echo), expected);
}

/// RFC 8075 §6.1.
#[test]
fn content_type_and_coding_become_one_content_format() {
    let strict = |media_type: &str, coding: Option<&str>| {
        let mut headers = vec![("content-type", media_type)];
        headers.extend(coding.map(|coding| ("content-encoding", coding)));
        let mapped = map("PUT", "/devices/lamp", &headers)?;
        Ok(mapped.request.content_format().map(|format| format.0))
    };
    let refused = Err(Failure::UnsupportedMediaType);
    for (media_type, coding, expected) in [
        // RFC 8075, appendix A
        ("text/plain;charset=utf-8", None, Ok(Some(0))),
        ("application/link-format", None, Ok(Some(40))),
        ("application/xml", None, Ok(Some(41))),
        ("application/octet-stream", None, Ok(Some(42))),
        ("application/exi", None, Ok(Some(47))),
        ("application/json", None, Ok(Some(50))),
        ("application/cbor", None, Ok(Some(60))),
        ("unknown/media-type", None, refused),
        ("application/soap+xml", None, refused),
        ("Application/JSON; charset=UTF-8", None, Ok(Some(50))),
        ("application/json;charset=utf-16", None, refused),
        ("application/json;version=2", None, refused),
        ("text/plain", None, Ok(Some(0))),
        ("text/plain; charset=us-ascii", None, Ok(Some(0))),
        ("text/plain; charset=iso-8859-1", None, refused),
        ("text/plain; charset=\"utf-8;x\"", None, refused),
        ("text/plain; charset=\"utf-8\\\"\"", None, refused),
        (
            "application/cose; cose-type=\"cose-sign1\"",
            None,
            Ok(Some(18)),
        ),
        ("application/cose", None, refused),
        ("application/json", Some("deflate"), Ok(Some(11050))),
        ("application/json", Some("identity"), Ok(Some(50))),
        ("application/json", Some("gzip"), refused),
        ("application/json", Some("deflate, gzip"), refused),
        ("application/json", Some(""), Ok(Some(50))),
        ("*/*", None, refused),
        ("application/*", None, refused),
        ("json", None, refused),
        ("", None, refused),
        ("application/json, text/plain", None, refused),
        ("application/x-www-form-urlencoded", None, refused),
        ("application/coap-payload;cf=60", None, refused),
    ] {
        assert_eq!(
            strict(media_type, coding),
            expected,
            "{media_type} {coding:?}"
        );
    }
    assert_eq!(Failure::UnsupportedMediaType.status(), 415);
    // No body type at all is no option at all; a coding without a type can't be mapped.
    let none = map("PUT", "/devices/lamp", &[]).unwrap();
    assert_eq!(none.request.content_format(), None);
    let coded = map("PUT", "/devices/lamp", &[("content-encoding", "deflate")]);
    assert_eq!(coded.unwrap_err(), Failure::UnsupportedMediaType);
}

#[test]
fn loose_table_of_rfc_8075_section_6_3_generalises_where_configured() {
    let loose = proxy().with_loose_mapping(LooseMapping::rfc8075());
    for (media_type, expected) in [
        ("application/somesubtype+xml", 41),
        ("application/soap+xml;charset=utf-8", 41),
        ("application/somesubtype+json", 50),
        ("application/somesubtype+cbor", 60),
        ("text/xml", 41),
        ("text/somesubtype", 0),
        ("text/html;charset=utf-8", 0),
        ("text/html;charset=iso-8859-1", 42),
        ("image/webp", 42),
        ("application/+xml", 42),
        // What has a number of its own keeps it.
        ("application/senml+json", 110),
        ("image/png", 23),
    ] {
        let head = head("POST", "/devices/lamp", &[("content-type", media_type)]);
        let format = head.map(&loose).unwrap().request.content_format();
        assert_eq!(format, Some(ContentFormat(expected)), "{media_type}");
    }
    let coded = [("content-type", "text/csv"), ("content-encoding", "gzip")];
    let refused = Err(Failure::UnsupportedMediaType);
    assert_eq!(
        head("POST", "/devices/lamp", &coded)
            .map(&loose)
            .map(|_| ()),
        refused
    );
    // The fallback to octets doesn't open what isn't configured.
    let by_number = head(
        "POST",
        "/devices/lamp",
        &[("content-type", "application/coap-payload;cf=60")],
    );
    assert_eq!(by_number.map(&loose).map(|_| ()), refused);
    let own = LooseMapping::new([("text/*".to_owned(), "application/octet-stream".to_owned())]);
    let own = proxy().with_loose_mapping(own);
    let csv = head("POST", "/devices/lamp", &[("content-type", "text/csv")]);
    let format = csv.map(&own).unwrap().request.content_format();
    assert_eq!(format, Some(ContentFormat::OCTET_STREAM));
    let webp = head("POST", "/devices/lamp", &[("content-type", "image/webp")]);
    assert_eq!(webp.map(&own).map(|_| ()), refused);
}

#[test]
fn coap_payload_passes_by_number_where_configured() {
    let proxy = proxy().with_coap_payload(true);
    let map = |media_type: &str, coding: Option<&str>| {
        let mut headers = vec![("content-type", media_type)];
        headers.extend(coding.map(|coding| ("content-encoding", coding)));
        let mapped = head("PUT", "/devices/lamp", &headers).map(&proxy)?;
        Ok(mapped.request.content_format().map(|format| format.0))
    };
    assert_eq!(
        map("application/coap-payload;cf=65001", None),
        Ok(Some(65001))
    );
    assert_eq!(
        map("application/coap-payload; CF=\"60\"", None),
        Ok(Some(60))
    );
    let refused = Err(Failure::UnsupportedMediaType);
    for wrong in ["", ";cf=65536", ";cf=-1", ";cf=+1", ";cf=1;cf=2", ";cf="] {
        let media_type = format!("application/coap-payload{wrong}");
        assert_eq!(map(&media_type, None), refused, "{wrong}");
    }
    assert_eq!(
        map("application/coap-payload;cf=60", Some("deflate")),
        refused
    );
}

#[test]
fn get_goes_through_the_formats_that_a_client_accepts() {
    let headers = [("accept", "application/json, text/plain;q=0.5, */*;q=0.1")];
    let mut request = map("GET", "/devices/lamp", &headers).unwrap().request;
    assert_eq!(request.accept(), Some(ContentFormat::JSON));
    assert!(request.next_accept());
    assert_eq!(request.accept(), Some(ContentFormat::TEXT_PLAIN));
    assert!(request.next_accept());
    assert_eq!(request.accept(), None);
    assert!(!request.next_accept());
    // A POST can't be tried again, so it asks for nothing that the client could do without.
    let mut request = map("POST", "/devices/lamp", &headers).unwrap().request;
    assert_eq!(request.accept(), None);
    assert!(!request.next_accept());
    let headers = [("accept", "application/json")];
    let request = map("POST", "/devices/lamp", &headers).unwrap().request;
    assert_eq!(request.accept(), Some(ContentFormat::JSON));
}

#[test]
fn conditions_become_those_that_coap_has() {
    let tag = |bytes: &[u8]| EntityTag::new(bytes).unwrap();
    let request = |method: &str, name: &str, value: &str| {
        map(method, "/devices/lamp", &[(name, value)]).map(|mapped| mapped.request)
    };
    let tags = request("GET", "if-none-match", "\"0a\", W/\"0b0c\", \"other\"").unwrap();
    assert_eq!(tags.entity_tags(), [tag(&[10]), tag(&[11, 12])]);
    assert!(!tags.if_none_match());
    assert!(
        request("PUT", "if-none-match", "*")
            .unwrap()
            .if_none_match()
    );
    let any = request("GET", "if-none-match", "*").unwrap();
    assert!(!any.if_none_match() && any.entity_tags().is_empty());
    assert_eq!(
        request("PUT", "if-match", "*").unwrap().if_match(),
        [IfMatch::Exists]
    );
    let strong = request("DELETE", "if-match", "W/\"0a\", \"0b\", \"other\"").unwrap();
    assert_eq!(strong.if_match(), [IfMatch::Tag(tag(&[11]))]);

    let many = ["\"0a\""; 9].join(",");
    for (method, name, value, failure) in [
        (
            "PUT",
            "if-none-match",
            "\"0a\"",
            Failure::PreconditionNotMapped,
        ),
        ("PUT", "if-match", "W/\"0a\"", Failure::PreconditionFailed),
        ("PUT", "if-match", "\"other\"", Failure::PreconditionFailed),
        (
            "PUT",
            "if-match",
            "",
            Failure::InvalidField { name: "If-Match" },
        ),
        (
            "PUT",
            "if-match",
            "0a",
            Failure::InvalidField { name: "If-Match" },
        ),
        (
            "PUT",
            "if-match",
            &many,
            Failure::InvalidField { name: "If-Match" },
        ),
        (
            "GET",
            "if-none-match",
            "x",
            Failure::InvalidField {
                name: "If-None-Match",
            },
        ),
    ] {
        assert_eq!(
            request(method, name, value),
            Err(failure),
            "{name}: {value}"
        );
    }
    let many = request("GET", "if-none-match", &many).unwrap();
    assert_eq!(many.entity_tags().len(), 8);
    let dates = [
        ("if-modified-since", "Sat, 29 Oct 1994 19:43:31 GMT"),
        ("if-unmodified-since", "Sat, 29 Oct 1994 19:43:31 GMT"),
        ("range", "bytes=0-1"),
    ];
    let plain = map("GET", "/devices/lamp", &[]).unwrap();
    assert_eq!(map("GET", "/devices/lamp", &dates).unwrap(), plain);
}

#[test]
fn body_is_bounded_by_its_announced_and_its_real_length() {
    let limits = hedgerow_proxy::Limits {
        request_body: 10,
        ..Default::default()
    };
    let proxy = proxy().with_limits(limits);
    let too_large = Failure::RequestBodyTooLarge { max: 10 };
    assert_eq!(too_large.status(), 413);
    for (length, ok) in [("10", true), ("11", false), ("18446744073709551616", false)] {
        let mapped = head("PUT", "/devices/lamp", &[("content-length", length)]).map(&proxy);
        assert_eq!(
            mapped.map(|_| ()),
            if ok { Ok(()) } else { Err(too_large) },
            "{length}"
        );
    }
    let mut unannounced = head("PUT", "/devices/lamp", &[]);
    let mut request = unannounced.map(&proxy).unwrap().request;
    assert_eq!(request.set_body(vec![0; 10]), Ok(()));
    assert_eq!(request.set_body(vec![0; 11]), Err(too_large));
    unannounced.body_len = Some(11);
    assert_eq!(unannounced.map(&proxy).map(|_| ()), Err(too_large));
}

#[test]
fn body_goes_where_coap_has_one() {
    for method in ["GET", "HEAD", "DELETE"] {
        let with_length = map(method, "/devices/lamp", &[("content-length", "1")]);
        assert_eq!(
            with_length.unwrap_err(),
            Failure::UnexpectedBody,
            "{method}"
        );
        assert!(map(method, "/devices/lamp", &[("content-length", "0")]).is_ok());
        let mut request = map(method, "/devices/lamp", &[JSON]).unwrap().request;
        assert_eq!(request.content_format(), None);
        assert_eq!(
            request.set_body(b"x".to_vec()),
            Err(Failure::UnexpectedBody)
        );
        assert_eq!(request.set_body(Vec::new()), Ok(()));
    }
    // Without a body its type says nothing, as with curl -d ''.
    let form = ("content-type", "application/x-www-form-urlencoded");
    let empty = map("POST", "/devices/lamp", &[form, ("content-length", "0")]).unwrap();
    assert_eq!(empty.request.content_format(), None);
    let mut request = map("POST", "/devices/lamp", &[JSON]).unwrap().request;
    request.set_body(Vec::new()).unwrap();
    assert_eq!(request.content_format(), None);
    // What is called UTF-8 has to be.
    let text = ("content-type", "text/plain");
    let mut request = map("PUT", "/devices/lamp", &[text]).unwrap().request;
    assert_eq!(
        request.set_body(vec![0xe9]),
        Err(Failure::UnsupportedMediaType)
    );
    assert_eq!(request.set_body("é".into()), Ok(()));
    assert_eq!(request.body(), "é".as_bytes());
}

/// RFC 9110 §7.6.1.
#[test]
fn contradictory_framing_and_smuggled_fields_are_refused() {
    let invalid = |name| Err(Failure::InvalidField { name });
    let length = invalid("Content-Length");
    let cases: [(&[(&str, &str)], Result<(), Failure>); 18] = [
        (&[("content-length", "3"), ("content-length", "4")], length),
        (&[("content-length", "3"), ("content-length", "3")], length),
        (&[("content-length", "3, 3")], length),
        (&[("content-length", "+3")], length),
        (&[("content-length", "-3")], length),
        (&[("content-length", "0x3")], length),
        (&[("content-length", " 3")], length),
        (&[("content-length", "")], length),
        (
            &[("content-length", "3"), ("transfer-encoding", "chunked")],
            length,
        ),
        (&[("transfer-encoding", "chunked")], Ok(())),
        (
            &[JSON, ("content-type", "text/plain")],
            invalid("Content-Type"),
        ),
        (
            &[("content-type", "application/json\u{e9}")],
            invalid("Content-Type"),
        ),
        (
            &[("if-match", "\"0a\""), ("connection", "close, If-Match")],
            invalid("Connection"),
        ),
        (&[("connection", "content-length")], invalid("Connection")),
        (&[("connection", "keep-alive, te")], Ok(())),
        (
            &[("content-range", "bytes 0-1/2")],
            invalid("Content-Range"),
        ),
        (&[("if-match", "\"0a\""), ("if-match", "\"0b\"")], Ok(())),
        (&[("accept", "\u{e9}")], Ok(())),
    ];
    for (headers, expected) in cases {
        let found = map("PUT", "/devices/lamp", headers).map(|_| ());
        assert_eq!(found, expected, "{headers:?}");
    }
}

#[test]
fn nothing_else_of_a_request_becomes_an_option() {
    let headers = [
        ("authorization", "Bearer secret"),
        ("cookie", "session=secret"),
        ("proxy-authorization", "Basic secret"),
        ("user-agent", "agent"),
        ("referer", "https://secret.example/"),
        ("x-forwarded-for", "198.51.100.7"),
        ("te", "trailers"),
        ("upgrade", "h2c"),
        ("keep-alive", "timeout=5"),
        ("cache-control", "no-store"),
        ("observe", "0"),
        ("oscore", "AA"),
        ("expect", "100-continue"),
    ];
    let plain = map("GET", "/devices/lamp/x", &[]).unwrap();
    let full = map("GET", "/devices/lamp/x", &headers).unwrap();
    assert_eq!(full, plain);
    let expected = [(OptionNumber::URI_PATH, b"x".to_vec())];
    assert_eq!(options(&full.request, &[]), expected);
}

#[test]
fn debug_output_has_no_payload_query_or_field() {
    let headers = [("authorization", "Bearer secret"), JSON];
    let head = head("PUT", "/devices/lamp/x?token=secret", &headers);
    let http = HttpRequest {
        method: &head.method,
        uri: &head.uri,
        headers: &head.headers,
        body_len: None,
        is_https: true,
    };
    let mut mapped = proxy().map_request(&http).unwrap();
    mapped.request.set_body(b"secret".to_vec()).unwrap();
    let response = CoapResponse::new(Code::CONTENT, [], b"secret");
    let bytes = format!("{:?}", b"secret");
    let inner = bytes.trim_matches(['[', ']']);
    for text in [
        format!("{http:?}"),
        format!("{mapped:?}"),
        format!("{response:?}"),
    ] {
        assert!(!text.contains("secret") && !text.contains(inner), "{text}");
    }
}

#[test]
fn request_is_repeatable_where_twice_is_once() {
    for (method, headers, expected) in [
        ("GET", None, true),
        ("PUT", None, true),
        ("DELETE", None, true),
        ("POST", None, false),
        ("PUT", Some(("if-none-match", "*")), false),
        ("DELETE", Some(("if-match", "\"0a\"")), false),
        ("GET", Some(("if-match", "\"0a\"")), true),
    ] {
        let headers: Vec<_> = headers.into_iter().collect();
        let request = map(method, "/devices/lamp", &headers).unwrap().request;
        assert_eq!(request.is_repeatable(), expected, "{method} {headers:?}");
    }
}

#[test]
fn target_errors_have_the_status_of_their_kind() {
    for (uri, status) in [
        ("/nothing", 404),
        ("/devices/unknown", 404),
        ("/hc/coap://elsewhere.example/", 403),
        ("/hc/coap://%5Bff02::1%5D/", 403),
        ("/hc/ftp://s.example.com/", 400),
        ("/devices/lamp/../x", 400),
    ] {
        let failure = map("GET", uri, &[]).unwrap_err();
        assert_eq!(failure.status(), status, "{uri}");
    }
    let long = format!("/devices/lamp/{}", "a".repeat(256));
    let failure = map("GET", &long, &[]).unwrap_err();
    assert_eq!(
        failure,
        Failure::Target(TargetError::SegmentTooLong { len: 256 })
    );
    assert_eq!(failure.status(), 414);
}
