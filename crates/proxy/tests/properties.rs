//! What holds for any input.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use hedgerow_coap::{Code, MessageOption, OptionNumber};
use hedgerow_proxy::{CoapResponse, HttpRequest, LooseMapping, Target};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use support::{head, options, proxy};

/// Every destination that the tests' proxy may use.
const PERMITTED: [&str; 6] = [
    "coaps://[2001:db8::7]",
    "coap://192.0.2.9:61616",
    "coap://s.example.com",
    "coaps://s.example.com:1234",
    "coap://[2001:db8::1]",
    "coap://192.0.2.1",
];

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(256)
    }
}

/// Pieces of URIs, of which attacks on a resolver are made.
fn uri_text() -> impl Strategy<Value = String> {
    let pieces = [
        "/hc/",
        "/devices/",
        "lamp",
        "meter",
        "coap://",
        "coaps://",
        "coap:",
        "http://",
        "//",
        "/",
        "s.example.com",
        "evil.example",
        "192.0.2.1",
        "192.0.2.9",
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "%5B",
        "%5D",
        "[",
        "]",
        "2001:db8::1",
        "::ffff:192.0.2.1",
        "ff02::1",
        ":",
        ":1234",
        ":5683",
        ":61616",
        "@",
        "user:pw@",
        "..",
        ".",
        "%2e",
        "%2F",
        "%5C",
        "\\",
        "%00",
        "%0d%0a",
        "%",
        "%25",
        "%C3%A4",
        "ä",
        "?",
        "#",
        "&",
        "=",
        "a",
        " ",
        "%2",
        "COAP://",
        "S.EXAMPLE.COM",
    ];
    let starts = select(vec![
        "/hc/coap://",
        "/hc/coaps://",
        "/devices/",
        "coap://",
        "/",
        "",
    ]);
    (starts, vec(select(pieces.to_vec()), 0..8))
        .prop_map(|(start, rest)| start.to_owned() + &rest.concat())
}

fn field() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let names = [
        "accept",
        "accept-encoding",
        "content-type",
        "content-encoding",
        "content-length",
        "transfer-encoding",
        "connection",
        "if-match",
        "if-none-match",
        "content-range",
        "via",
        "host",
        "proxy-uri",
        "x-forwarded-host",
    ];
    let values = [
        "*/*",
        "application/json",
        "text/plain;charset=utf-8",
        "application/coap-payload;cf=7",
        ";q=0.5",
        ", ",
        "\"0a0b\"",
        "W/\"0c\"",
        "*",
        "\"",
        "deflate",
        "gzip",
        "identity;q=0",
        "0",
        "17",
        "99999999999999999999",
        "chunked",
        "if-match",
        "\\",
        "=",
        "text/html",
        "\u{e9}",
    ];
    let value = prop_oneof![
        vec(select(values.to_vec()), 0..5).prop_map(|parts| parts.concat().into_bytes()),
        vec(any::<u8>(), 0..24),
    ];
    (select(names.to_vec()), value)
}

/// What must hold of any target that a request gets.
fn assert_permitted(target: &Target) {
    let destination = target.destination().to_string();
    assert!(PERMITTED.contains(&destination.as_str()), "{destination}");
    match target.device() {
        Some("lamp") => assert_eq!(destination, PERMITTED[0]),
        Some("meter") => {
            assert_eq!(destination, PERMITTED[1]);
            assert_eq!(target.uri_path()[..2], ["v1", "meter"]);
        }
        Some(other) => assert_eq!(other, "lamp or meter"),
        None => assert!(PERMITTED[2..].contains(&destination.as_str())),
    }
    let values = target.uri_path().iter().chain(target.uri_query());
    for value in values {
        assert!(value.len() <= 255 && !value.contains(char::is_control));
    }
    for segment in target.uri_path() {
        assert!(!segment.contains(['/', '\\']) && !matches!(segment.as_str(), "." | ".."));
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_text_leads_to_a_permitted_target_or_nowhere(
        path in prop_oneof![uri_text(), any::<String>()],
        query in proptest::option::of(prop_oneof![uri_text(), any::<String>()]),
    ) {
        if let Ok(target) = proxy().resolve_path(&path, query.as_deref()) {
            assert_permitted(&target);
        }
        if let Ok(uri) = path.parse::<Uri>()
            && let Ok(target) = proxy().resolve(&uri)
        {
            assert_permitted(&target);
        }
    }

    #[test]
    fn any_request_maps_to_a_permitted_target_or_to_a_4xx_or_5xx(
        method in select(vec!["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "X"]),
        uri in uri_text(),
        fields in vec(field(), 0..5),
        body in vec(any::<u8>(), 0..40),
        body_len in proptest::option::of(0u64..3_000_000),
        switches in any::<[bool; 3]>(),
    ) {
        let mut proxy = proxy().with_coap_payload(switches[0]);
        if switches[1] {
            proxy = proxy.with_loose_mapping(LooseMapping::rfc8075());
        }
        let Ok(uri) = uri.parse::<Uri>() else { return Ok(()) };
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(HeaderName::from_static(name), value);
            }
        }
        let http = HttpRequest {
            method: &method,
            uri: &uri,
            headers: &headers,
            body_len,
            is_https: switches[2],
        };
        match proxy.map_request(&http) {
            Ok(mut mapped) => {
                assert_permitted(mapped.request.target());
                let is_set = mapped.request.set_body(body.clone()).is_ok();
                prop_assert_eq!(mapped.request.body(), if is_set { &body[..] } else { &[] });
                // Each option is one that the table of this mapping has, and fits its definition.
                for (number, value) in options(&mapped.request, &[]) {
                    prop_assert!([1, 3, 4, 5, 11, 12, 15, 16, 17].contains(&number.0));
                    prop_assert!(MessageOption::new(number, &value).has_defined_len());
                }
                while mapped.request.next_accept() {}
            }
            Err(failure) => {
                let response = failure.to_response(&method, uri.path());
                prop_assert!(response.status().is_client_error() || response.status().is_server_error());
            }
        }
    }

    #[test]
    fn any_response_maps_to_a_response(
        method in select(vec!["GET", "HEAD", "POST"]),
        code in any::<u8>(),
        fields in vec((select(vec![4u16, 8, 12, 14, 20, 23, 128, 65000, 65001]), vec(any::<u8>(), 0..10)), 0..6),
        payload in vec(any::<u8>(), 0..20),
        age in any::<u32>(),
    ) {
        let request = head(method, "/hc/coap://s.example.com/x", &[("if-none-match", "\"0a\"")]);
        let Ok(request) = request.map(&proxy()) else { return Ok(()) };
        let fields = fields
            .iter()
            .map(|(number, value)| MessageOption::new(OptionNumber(*number), value));
        let response = CoapResponse::new(Code::from(code), fields, &payload).with_age(age);
        let mapped = proxy().map_response(&request.context, &response);
        let status = mapped.status().as_u16();
        prop_assert!((200..=599).contains(&status));
        if method == "HEAD" || matches!(status, 204 | 304) {
            prop_assert!(mapped.body().is_empty());
        }
        if let Some(location) = mapped.headers().get("location") {
            let uri: Uri = location.to_str().unwrap().parse().unwrap();
            assert_permitted(&proxy().resolve(&uri).unwrap());
        }
    }

    #[test]
    fn location_resolves_to_what_the_device_named(
        form in select(vec!["/devices/lamp", "/hc/coap://%5B2001:db8::1%5D", "coap://s.example.com"]),
        path in vec("[^/\\\\\\p{Cc}]{1,12}", 0..5),
        query in vec("[^\\p{Cc}]{0,12}", 0..4),
        ends_in_slash in any::<bool>(),
    ) {
        prop_assume!(path.iter().all(|segment| segment != "." && segment != ".."));
        let mut path = path;
        if ends_in_slash && !path.is_empty() {
            path.push(String::new());
        }
        let proxy = proxy();
        let request = head("POST", form, &[]).map(&proxy).unwrap();
        let paths = path.iter().map(|it| MessageOption::new(OptionNumber::LOCATION_PATH, it.as_bytes()));
        let queries = query.iter().map(|it| MessageOption::new(OptionNumber::LOCATION_QUERY, it.as_bytes()));
        let response = CoapResponse::new(Code::CREATED, paths.chain(queries), b"");
        let mapped = proxy.map_response(&request.context, &response);
        if path.is_empty() && query.is_empty() {
            prop_assert!(!mapped.headers().contains_key("location"));
            return Ok(());
        }
        let location = mapped.headers()["location"].to_str().unwrap();
        let again = proxy.resolve(&location.parse().unwrap()).unwrap();
        prop_assert_eq!(again.destination(), request.request.target().destination());
        prop_assert_eq!(again.uri_path(), path);
        prop_assert_eq!(again.uri_query(), query);
        prop_assert_eq!(again.device(), request.request.target().device());
    }

    #[test]
    fn entity_tag_comes_back_as_it_was(bytes in vec(any::<u8>(), 1..=8)) {
        let proxy = proxy();
        let request = head("GET", "/devices/lamp", &[]).map(&proxy).unwrap();
        let option = MessageOption::new(OptionNumber::ETAG, &bytes);
        let response = CoapResponse::new(Code::CONTENT, [option], b"x");
        let mapped = proxy.map_response(&request.context, &response);
        let tag = mapped.headers()["etag"].to_str().unwrap().to_owned();
        let again = head("GET", "/devices/lamp", &[("if-none-match", &tag)]).map(&proxy).unwrap();
        prop_assert_eq!(again.request.entity_tags()[0].as_bytes(), bytes);
    }
}
