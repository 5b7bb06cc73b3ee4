//! From CoAP responses to HTTP responses: RFC 8075 §6 and §7, RFC 7252 §10.2.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use hedgerow_coap::{Code, ContentFormat, MessageOption, OptionNumber};
use hedgerow_proxy::{CoapResponse, HcProxy, Limits, MappedRequest, Methods, ReasonPhrase};
use http::Response;
use support::{map, proxy};

const CONTENT_FORMAT: OptionNumber = OptionNumber::CONTENT_FORMAT;
const ETAG: OptionNumber = OptionNumber::ETAG;
const MAX_AGE: OptionNumber = OptionNumber::MAX_AGE;
const LOCATION_PATH: OptionNumber = OptionNumber::LOCATION_PATH;
const LOCATION_QUERY: OptionNumber = OptionNumber::LOCATION_QUERY;

type Option<'a> = (OptionNumber, &'a [u8]);

fn respond(
    proxy: &HcProxy,
    request: &MappedRequest,
    code: Code,
    options: &[Option<'_>],
    payload: &[u8],
) -> Response<Vec<u8>> {
    let options = options
        .iter()
        .map(|(number, value)| MessageOption::new(*number, value));
    let response = CoapResponse::new(code, options, payload);
    proxy
        .map_response(&request.context, &response)
        .map(|body| body.into_owned())
}

/// The response to a GET of the lamp.
fn get(code: Code, options: &[Option<'_>], payload: &[u8]) -> Response<Vec<u8>> {
    let request = map("GET", "/devices/lamp/state", &[]).unwrap();
    respond(&proxy(), &request, code, options, payload)
}

fn field<'r>(response: &'r Response<Vec<u8>>, name: &str) -> &'r str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().unwrap())
}

fn problem_type(response: &Response<Vec<u8>>) -> String {
    assert_eq!(field(response, "content-type"), "application/problem+json");
    let json = String::from_utf8(response.body().clone()).unwrap();
    let (_, rest) = json.split_once("{\"type\":\"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

/// RFC 8075 §7.
#[test]
fn codes_map_as_table_2_of_rfc_8075_says() {
    for (class, detail, without_payload, with_payload) in [
        (2, 1, 201, 201),
        (2, 2, 204, 200),
        (2, 4, 204, 200),
        (2, 5, 200, 200),
        (4, 0, 400, 400),
        (4, 1, 403, 403),
        (4, 2, 500, 500),
        (4, 3, 403, 403),
        (4, 4, 404, 404),
        (4, 5, 400, 400),
        (4, 6, 406, 406),
        (4, 12, 412, 412),
        (4, 13, 413, 413),
        (4, 15, 415, 415),
        (5, 0, 500, 500),
        (5, 1, 501, 501),
        (5, 2, 502, 502),
        (5, 3, 503, 503),
        (5, 4, 504, 504),
        (5, 5, 502, 502),
        // RFC 8132 §4, RFC 8516, RFC 8768 §5.
        (4, 9, 409, 409),
        (4, 22, 422, 422),
        (4, 29, 429, 429),
        (5, 8, 508, 508),
        // Never mapped (note 10): block-wise transfer is over when a response gets here.
        (2, 31, 502, 502),
        (4, 8, 502, 502),
        // RFC 7252 §5.2: unknown codes count as the generic one of their class.
        (2, 30, 502, 502),
        (4, 30, 400, 400),
        (5, 30, 500, 500),
        // No response codes at all.
        (0, 0, 502, 502),
        (0, 1, 502, 502),
        (3, 0, 502, 502),
        (7, 0, 502, 502),
    ] {
        let code = Code::new(class, detail).unwrap();
        let found = (
            get(code, &[], b"").status().as_u16(),
            get(code, &[], b"payload").status().as_u16(),
        );
        assert_eq!(found, (without_payload, with_payload), "{code}");
    }
}

#[test]
fn valid_is_304_only_for_a_tag_of_the_client() {
    let headers = [("if-none-match", "\"0a\", \"0b\"")];
    for method in ["GET", "HEAD"] {
        let request = map(method, "/devices/lamp", &headers).unwrap();
        let options: [Option<'_>; 2] = [(ETAG, &[11]), (MAX_AGE, &[5])];
        let response = respond(&proxy(), &request, Code::VALID, &options, b"");
        assert_eq!(response.status(), 304);
        assert_eq!(field(&response, "etag"), "\"0b\"");
        assert_eq!(field(&response, "cache-control"), "max-age=5");
        assert_eq!(field(&response, "content-type"), "");
        assert_eq!(field(&response, "vary"), "accept");
        // A payload is against RFC 7252 §5.9.1.3 and is left out.
        let response = respond(&proxy(), &request, Code::VALID, &options, b"x");
        assert_eq!(
            (response.status().as_u16(), response.body().len()),
            (304, 0)
        );
    }
    let request = map("GET", "/devices/lamp", &headers).unwrap();
    let foreign: &[Option<'_>] = &[(ETAG, &[12])];
    for options in [&[], foreign] {
        let response = respond(&proxy(), &request, Code::VALID, options, b"");
        assert_eq!(response.status(), 502);
        assert_eq!(problem_type(&response), "/problems/invalid-response");
    }
    assert_eq!(get(Code::VALID, &[(ETAG, &[11])], b"").status(), 502);
}

#[test]
fn bad_option_is_the_clients_only_if_its_fields_became_critical_options() {
    for (field, status) in [
        (None, 500),
        (Some(("accept", "*/*")), 500),
        (Some(("if-none-match", "\"0a\"")), 500),
        (Some(("accept", "application/json")), 400),
        (Some(("if-match", "\"0a\"")), 400),
    ] {
        let headers: Vec<_> = field.into_iter().collect();
        let request = map("GET", "/devices/lamp", &headers).unwrap();
        let response = respond(&proxy(), &request, Code::BAD_OPTION, &[], b"");
        assert_eq!(response.status(), status, "{headers:?}");
    }
}

#[test]
fn method_not_allowed_has_the_reason_phrase_of_note_7() {
    let response = get(Code::METHOD_NOT_ALLOWED, &[], b"no\r\nway");
    assert_eq!(response.status(), 400);
    let phrase = response.extensions().get::<ReasonPhrase>().unwrap();
    // The diagnostic payload stays out of it (RFC 8075 §6.6).
    assert_eq!(phrase.0, "CoAP server returned 4.05");
    assert!(
        get(Code::NOT_FOUND, &[], b"")
            .extensions()
            .get::<ReasonPhrase>()
            .is_none()
    );
}

#[test]
fn retry_after_is_max_age_if_there_is_one() {
    for code in [Code::SERVICE_UNAVAILABLE, Code::TOO_MANY_REQUESTS] {
        let response = get(code, &[(MAX_AGE, &[1, 0])], b"");
        assert_eq!(field(&response, "retry-after"), "256");
        assert_eq!(field(&response, "cache-control"), "no-store");
        assert_eq!(field(&get(code, &[], b""), "retry-after"), "");
        assert_eq!(
            field(&get(code, &[(MAX_AGE, &[])], b""), "retry-after"),
            "0"
        );
    }
    let other = get(Code::INTERNAL_SERVER_ERROR, &[(MAX_AGE, &[9])], b"");
    assert_eq!(field(&other, "retry-after"), "");
}

#[test]
fn content_format_becomes_type_and_coding() {
    for (value, media_type, coding) in [
        (Some(0), "text/plain;charset=utf-8", ""),
        (Some(40), "application/link-format", ""),
        (Some(50), "application/json", ""),
        (Some(60), "application/cbor", ""),
        (Some(18), "application/cose;cose-type=\"cose-sign1\"", ""),
        (Some(11050), "application/json", "deflate"),
        // RFC 8075 §6.2
        (Some(65001), "application/coap-payload;cf=65001", ""),
        (None, "application/octet-stream", ""),
    ] {
        let format = value.map(|value| ContentFormat(value).encode());
        let options: Vec<Option<'_>> = format
            .iter()
            .map(|format| (CONTENT_FORMAT, format.as_bytes()))
            .collect();
        let response = get(Code::CONTENT, &options, b"x");
        assert_eq!(field(&response, "content-type"), media_type);
        assert_eq!(field(&response, "content-encoding"), coding);
        assert_eq!(response.body(), b"x");
    }
    // Without a payload there is nothing to describe.
    let empty = get(Code::CONTENT, &[(CONTENT_FORMAT, &[50])], b"");
    assert_eq!(field(&empty, "content-type"), "");
    // A value of undefined length counts as not there.
    let long = get(Code::CONTENT, &[(CONTENT_FORMAT, &[0, 0, 50])], b"x");
    assert_eq!(field(&long, "content-type"), "application/octet-stream");
}

/// RFC 7252 §10.2.2.
#[test]
fn freshness_is_max_age_less_the_time_in_a_cache() {
    let cache_control = |options: &[Option<'_>]| {
        field(&get(Code::CONTENT, options, b"x"), "cache-control").to_owned()
    };
    assert_eq!(cache_control(&[]), "max-age=60");
    assert_eq!(cache_control(&[(MAX_AGE, &[30])]), "max-age=30");
    assert_eq!(
        cache_control(&[(MAX_AGE, &[0xff; 4])]),
        "max-age=4294967295"
    );
    assert_eq!(cache_control(&[(MAX_AGE, &[])]), "no-cache, max-age=0");
    let request = map("GET", "/devices/lamp", &[]).unwrap();
    for (age, expected) in [
        (1, "max-age=59"),
        (60, "no-cache, max-age=0"),
        (99, "no-cache, max-age=0"),
    ] {
        let response = CoapResponse::new(Code::CONTENT, [], b"x").with_age(age);
        let mapped = proxy().map_response(&request.context, &response);
        assert_eq!(mapped.headers()["cache-control"], expected);
        assert!(!mapped.headers().contains_key("age"));
    }
    let vary = get(Code::CONTENT, &[], b"x");
    let vary: Vec<_> = vary.headers().get_all("vary").iter().collect();
    assert_eq!(vary, ["accept", "accept-encoding"]);
    for code in [
        Code::CREATED,
        Code::CHANGED,
        Code::DELETED,
        Code::NOT_FOUND,
        Code::from(0x5e),
    ] {
        let response = get(code, &[(MAX_AGE, &[30])], b"x");
        assert_eq!(field(&response, "cache-control"), "no-store", "{code}");
    }
    // An unknown success is a success, of which nothing more is known (RFC 7252 §5.2).
    let post = map("POST", "/devices/lamp", &[]).unwrap();
    let response = respond(
        &proxy(),
        &post,
        Code::from(0x5e),
        &[(CONTENT_FORMAT, &[50])],
        b"x",
    );
    assert_eq!(
        (response.status().as_u16(), response.body().len()),
        (204, 0)
    );
    assert_eq!(field(&response, "content-type"), "");
    assert_eq!(field(&response, "cache-control"), "no-store");
    let response = respond(&proxy(), &post, Code::CONTENT, &[(MAX_AGE, &[30])], b"x");
    assert_eq!(field(&response, "cache-control"), "no-store");
}

#[test]
fn entity_tag_belongs_to_representations() {
    let tag: Option<'_> = (ETAG, &[0xde, 0xad]);
    assert_eq!(field(&get(Code::CONTENT, &[tag], b"x"), "etag"), "\"dead\"");
    assert_eq!(field(&get(Code::CHANGED, &[tag], b"x"), "etag"), "");
    assert_eq!(field(&get(Code::NOT_FOUND, &[tag], b"x"), "etag"), "");
    assert_eq!(field(&get(Code::CONTENT, &[(ETAG, &[])], b"x"), "etag"), "");
    assert_eq!(
        field(&get(Code::CONTENT, &[(ETAG, &[1; 9])], b"x"), "etag"),
        ""
    );
    // What was given out comes back as it was.
    let headers = [("if-none-match", "\"dead\"")];
    let request = map("GET", "/devices/lamp", &headers).unwrap().request;
    assert_eq!(request.entity_tags()[0].as_bytes(), [0xde, 0xad]);
}

#[test]
fn diagnostic_payload_becomes_text() {
    let response = get(Code::NOT_FOUND, &[], "no such lämp".as_bytes());
    assert_eq!(field(&response, "content-type"), "text/plain;charset=utf-8");
    assert_eq!(response.body(), "no such lämp".as_bytes());
    let response = get(Code::NOT_FOUND, &[], b"no such l\xe4mp");
    assert_eq!(response.body(), "no such l\u{fffd}mp".as_bytes());
    // With a format it isn't a diagnostic payload (RFC 7252 §5.5.2).
    let response = get(Code::NOT_FOUND, &[(CONTENT_FORMAT, &[1, 1])], &[0xa0]);
    assert_eq!(
        field(&response, "content-type"),
        "application/concise-problem-details+cbor"
    );
    assert_eq!(response.body(), &[0xa0]);
    // Without a payload a problem says that the device answered, and what.
    let response = get(Code::NOT_FOUND, &[], b"");
    assert_eq!(
        String::from_utf8(response.body().clone()).unwrap(),
        "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404,\
         \"detail\":\"the device answered 4.04 Not Found\",\"instance\":\"/devices/lamp/state\"}"
    );
}

#[test]
fn head_has_the_fields_of_get_and_no_body() {
    let request = map("HEAD", "/devices/lamp", &[]).unwrap();
    let options: [Option<'_>; 2] = [(CONTENT_FORMAT, &[50]), (ETAG, &[1])];
    let response = respond(&proxy(), &request, Code::CONTENT, &options, b"{}");
    assert_eq!(response.status(), 200);
    assert_eq!(field(&response, "content-type"), "application/json");
    assert_eq!(field(&response, "content-length"), "2");
    assert_eq!(field(&response, "etag"), "\"01\"");
    assert!(response.body().is_empty());
    for payload in [b"".as_slice(), b"diagnostic"] {
        let response = respond(&proxy(), &request, Code::NOT_FOUND, &[], payload);
        assert_eq!(response.status(), 404);
        assert_ne!(field(&response, "content-length"), "");
        assert!(response.body().is_empty());
    }
    let failure = request
        .context
        .map_failure(hedgerow_proxy::Failure::DeviceTimeout);
    assert!(failure.body().is_empty());
}

#[test]
fn location_leads_back_through_the_proxy_in_the_clients_form() {
    let created = |uri: &str, options: &[Option<'_>]| {
        let request = map("POST", uri, &[]).unwrap();
        let response = respond(&proxy(), &request, Code::CREATED, options, b"");
        assert_eq!(response.status(), 201);
        field(&response, "location").to_owned()
    };
    let path: [Option<'_>; 2] = [
        (LOCATION_PATH, b"log"),
        (LOCATION_PATH, "a b?ä%".as_bytes()),
    ];
    let query: [Option<'_>; 2] = [(LOCATION_QUERY, b"n=1"), (LOCATION_QUERY, b"x&y/z")];
    let both = [path[0], path[1], query[0], query[1]];
    for (uri, options, expected) in [
        (
            "/devices/lamp/log",
            &path[..],
            "/devices/lamp/log/a%20b%3F%C3%A4%25",
        ),
        (
            "/devices/lamp/log",
            &both,
            "/devices/lamp/log/a%20b%3F%C3%A4%25?n=1&x%26y/z",
        ),
        // RFC 7252 §5.10.7: without Location-Path the path is "/".
        ("/devices/lamp/log", &query, "/devices/lamp/?n=1&x%26y/z"),
        ("/devices/lamp/log", &[], ""),
        (
            "/devices/lamp/log",
            &[(LOCATION_PATH, b"")],
            "/devices/lamp/",
        ),
        (
            "/hc/coap://S.Example.com:5683/log",
            &path[..1],
            "/hc/coap://s.example.com/log",
        ),
        (
            "/hc/coap://%5B2001:db8::1%5D/log",
            &path[..1],
            "/hc/coap://%5B2001:db8::1%5D/log",
        ),
        (
            "coap://s.example.com/log",
            &path[..1],
            "coap://s.example.com/log",
        ),
    ] {
        assert_eq!(created(uri, options), expected, "{uri}");
    }
    for options in [
        [(LOCATION_PATH, b"..".as_slice()), (LOCATION_PATH, b"x")],
        [(LOCATION_PATH, b"."), (LOCATION_PATH, b"x")],
        [(LOCATION_PATH, b""), (LOCATION_PATH, b"x")],
        [(LOCATION_PATH, b"a/b"), (LOCATION_PATH, b"x")],
        [
            (LOCATION_PATH, b"a\r\nSet-Cookie: x=y"),
            (LOCATION_PATH, b"x"),
        ],
        [(LOCATION_PATH, b"\xff"), (LOCATION_PATH, b"x")],
        [(LOCATION_PATH, &[b'a'; 256]), (LOCATION_PATH, b"x")],
    ] {
        assert_eq!(created("/devices/lamp/log", &options), "", "{options:?}");
    }
}

#[test]
fn location_outside_a_devices_base_is_not_given_out() {
    let proxy = HcProxy::new()
        .with_device("d", "coap://192.0.2.77/base", Methods::ALL)
        .unwrap();
    let request = support::head("POST", "/devices/d/x", &[])
        .map(&proxy)
        .unwrap();
    let location = |segments: &[&str]| {
        let options: Vec<Option<'_>> = segments
            .iter()
            .map(|segment| (LOCATION_PATH, segment.as_bytes()))
            .collect();
        let response = respond(&proxy, &request, Code::CREATED, &options, b"");
        field(&response, "location").to_owned()
    };
    assert_eq!(location(&["base", "x", "1"]), "/devices/d/x/1");
    assert_eq!(location(&["base"]), "/devices/d/");
    assert_eq!(location(&["other"]), "");
    assert_eq!(location(&[""]), "");
    // "/devices/d/" is "/base", and nothing that the proxy takes is "/base/".
    assert_eq!(location(&["base", ""]), "");
    assert_eq!(location(&["bases", "x"]), "");
}

/// RFC 7252 §5.10.7.
#[test]
fn location_is_for_201_and_reserved_options_beside_it_are_an_error() {
    let location: Option<'_> = (LOCATION_PATH, b"x");
    assert_eq!(field(&get(Code::CHANGED, &[location], b""), "location"), "");
    for number in [128, 132, 136, 140] {
        let reserved: Option<'_> = (OptionNumber(number), b"");
        let response = get(Code::CREATED, &[location, reserved], b"");
        assert_eq!(response.status(), 502);
        assert_eq!(get(Code::CREATED, &[reserved], b"").status(), 201);
    }
}

/// RFC 7252 §5.4.1, §5.7.1.
#[test]
fn options_that_must_not_be_passed_over_make_a_502() {
    let cases: [(&[Option<'_>], u16); 14] = [
        // Critical, unsafe, both, neither; all unknown.
        (&[(OptionNumber(65001), b"")], 502),
        (&[(OptionNumber(65002), b"")], 502),
        (&[(OptionNumber(65003), b"")], 502),
        (&[(OptionNumber(65000), b"")], 200),
        (&[(OptionNumber(65004), b"")], 200),
        // Known, but no part of a response that this proxy understands.
        (&[(OptionNumber::IF_MATCH, b"")], 502),
        (&[(OptionNumber::PROXY_URI, b"coap://evil.example")], 502),
        (&[(OptionNumber::OSCORE, b"")], 502),
        (&[(OptionNumber::NO_RESPONSE, b"")], 502),
        // RFC 7252 §5.4.3 and §5.4.5: of undefined length, or once too often.
        (&[(MAX_AGE, &[0; 5])], 502),
        (&[(MAX_AGE, &[1]), (MAX_AGE, &[2])], 502),
        (&[(CONTENT_FORMAT, &[50]), (CONTENT_FORMAT, &[60])], 200),
        // Left over from block-wise transfer and observation, which are over.
        (
            &[
                (OptionNumber::OBSERVE, &[1]),
                (OptionNumber::BLOCK2, &[0x26]),
            ],
            200,
        ),
        (
            &[(OptionNumber::ECHO, b"x"), (OptionNumber::SIZE2, &[1])],
            200,
        ),
    ];
    for (options, status) in cases {
        let response = get(Code::CONTENT, options, b"x");
        assert_eq!(response.status(), status, "{options:?}");
        if status == 502 {
            assert_eq!(problem_type(&response), "/problems/unrecognised-option");
        }
    }
    let twice: [Option<'_>; 2] = [(CONTENT_FORMAT, &[50]), (CONTENT_FORMAT, &[60])];
    let twice = get(Code::CONTENT, &twice, b"x");
    assert_eq!(field(&twice, "content-type"), "application/json");
}

#[test]
fn responses_end_at_the_limit() {
    let limits = Limits {
        response_body: 10,
        ..Limits::default()
    };
    let proxy = proxy().with_limits(limits);
    let request = map("GET", "/devices/lamp", &[]).unwrap();
    let status = |len| {
        let payload = vec![b'x'; len];
        respond(&proxy, &request, Code::CONTENT, &[], &payload)
            .status()
            .as_u16()
    };
    assert_eq!((status(10), status(11)), (200, 502));
}

#[test]
fn devices_content_is_kept_apart_from_the_gateways_pages() {
    let svg = ContentFormat::SVG.encode();
    for response in [
        get(
            Code::CONTENT,
            &[(CONTENT_FORMAT, svg.as_bytes())],
            b"<svg/>",
        ),
        get(Code::NOT_FOUND, &[], b"<script>"),
        get(Code::NOT_FOUND, &[], b""),
        get(Code::VALID, &[], b""),
    ] {
        assert_eq!(field(&response, "x-content-type-options"), "nosniff");
        let policy = field(&response, "content-security-policy");
        assert_eq!(policy, "default-src 'none'; sandbox");
    }
}
