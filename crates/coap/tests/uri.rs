//! URIs to options and back, RFC 7252 §6 and appendix B.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::type_complexity)]

use std::net::SocketAddr;

use hedgerow_coap::{
    CoapUri, Code, EncodeError, Message, MessageId, MessageOption, MessageType, MessageWriter,
    OptionNumber, Scheme, Token, UriError, UriHost,
};
use proptest::prelude::*;

const HOST: OptionNumber = OptionNumber::URI_HOST;
const PORT: OptionNumber = OptionNumber::URI_PORT;
const PATH: OptionNumber = OptionNumber::URI_PATH;
const QUERY: OptionNumber = OptionNumber::URI_QUERY;

fn writer(out: &mut [u8]) -> MessageWriter<'_> {
    let (kind, id) = (MessageType::Confirmable, MessageId(1));
    MessageWriter::new(out, kind, Code::GET, id, Token::EMPTY).unwrap()
}

/// Takes a URI apart and returns its options.
fn options(uri: &str, destination: Option<&str>) -> Vec<(OptionNumber, Vec<u8>)> {
    let destination = destination.map(|address| address.parse().unwrap());
    let mut out = [0; 2048];
    let mut writer = writer(&mut out);
    let uri = CoapUri::parse(uri).unwrap();
    uri.write_options(destination, &[], &mut writer).unwrap();
    let len = writer.finish();
    let message = Message::decode(&out[..len]).unwrap();
    let options = message.options();
    options
        .map(|option| (option.number(), option.value().to_vec()))
        .collect()
}

/// Puts a URI together from options.
fn compose(options: &[(OptionNumber, &[u8])], destination: &str) -> Result<String, UriError> {
    let mut out = [0; 2048];
    let mut writer = writer(&mut out);
    for (number, value) in options {
        writer.option(*number, value).unwrap();
    }
    let len = writer.finish();
    let message = Message::decode(&out[..len]).unwrap();
    let mut text = String::new();
    message.compose_uri(Scheme::Coap, destination.parse().unwrap(), &mut text)?;
    let mut room = [0; 512];
    let len = message
        .compose_uri_into(Scheme::Coap, destination.parse().unwrap(), &mut room)
        .unwrap();
    assert_eq!(&room[..len], text.as_bytes());
    Ok(text)
}

fn owned(options: &[(OptionNumber, &[u8])]) -> Vec<(OptionNumber, Vec<u8>)> {
    options
        .iter()
        .map(|(number, value)| (*number, value.to_vec()))
        .collect()
}

/// RFC 7252 appendix B. In its last example the appendix encodes slashes in the query, which the
/// algorithm of §6.5 (step 8) does not; both forms give the same options.
#[test]
fn appendix_b_composes_and_decomposes() {
    let hello = "こんにちは".as_bytes();
    let cases: [(&str, &[(OptionNumber, &[u8])], &str); 5] = [
        ("[2001:db8::2:1]:5683", &[], "coap://[2001:db8::2:1]/"),
        (
            "[2001:db8::2:1]:5683",
            &[(HOST, b"example.net")],
            "coap://example.net/",
        ),
        (
            "[2001:db8::2:1]:5683",
            &[
                (HOST, b"example.net"),
                (PATH, b".well-known"),
                (PATH, b"core"),
            ],
            "coap://example.net/.well-known/core",
        ),
        (
            "[2001:db8::2:1]:5683",
            &[(HOST, b"xn--18j4d.example"), (PATH, hello)],
            "coap://xn--18j4d.example/%E3%81%93%E3%82%93%E3%81%AB%E3%81%A1%E3%81%AF",
        ),
        (
            "198.51.100.1:61616",
            &[
                (PATH, b""),
                (PATH, b"/"),
                (PATH, b""),
                (PATH, b""),
                (QUERY, b"//"),
                (QUERY, b"?&"),
            ],
            "coap://198.51.100.1:61616//%2F//?//&?%26",
        ),
    ];
    for (destination, expected, uri) in cases {
        assert_eq!(compose(expected, destination).unwrap(), uri);
        assert_eq!(options(uri, Some(destination)), owned(expected));
    }
    let appendix = "coap://198.51.100.1:61616//%2F//?%2F%2F&?%26";
    assert_eq!(options(appendix, None), owned(cases[4].1));
}

/// RFC 7252 §6.3.
#[test]
fn equivalent_uris_give_the_same_options_and_one_normal_form() {
    for uri in [
        "coap://example.com:5683/~sensors/temp.xml",
        "coap://EXAMPLE.com/%7Esensors/temp.xml",
        "coap://EXAMPLE.com:/%7esensors/temp.xml",
        "COAP://ex%41mple.com/./x/../%7esensors/temp.xml",
    ] {
        let expected: [(OptionNumber, &[u8]); 3] = [
            (HOST, b"example.com"),
            (PATH, b"~sensors"),
            (PATH, b"temp.xml"),
        ];
        assert_eq!(options(uri, None), owned(&expected), "{uri}");
        let normal = CoapUri::parse(uri).unwrap().to_string();
        assert_eq!(normal, "coap://example.com/~sensors/temp.xml");
    }
}

#[test]
fn normal_form_elides_default_ports_and_gives_an_empty_path_a_slash() {
    for (uri, normal) in [
        ("coap://h", "coap://h/"),
        ("coaps://h:5684?a&b", "coaps://h/?a&b"),
        ("coaps://h:5683/", "coaps://h:5683/"),
        ("coap+tcp://h:5683", "coap+tcp://h/"),
        (
            "coaps+tcp://[2001:DB8:0:0::1]/a",
            "coaps+tcp://[2001:db8::1]/a",
        ),
        ("coap://h/a%2fb%20c?x=%26%3d", "coap://h/a%2Fb%20c?x=%26="),
        ("coap://h/?", "coap://h/?"),
    ] {
        assert_eq!(CoapUri::parse(uri).unwrap().to_string(), normal);
    }
}

#[test]
fn literal_host_and_port_of_the_destination_need_no_options() {
    assert_eq!(options("coap://192.0.2.1:1234", None), []);
    assert_eq!(options("coap://192.0.2.1:1234", Some("192.0.2.1:1234")), []);
    assert_eq!(options("coap://[::1]", Some("[::1]:5683")), []);
    assert_eq!(
        options("coap://192.0.2.1", Some("[::ffff:192.0.2.1]:5683")),
        []
    );
    assert_eq!(
        compose(&[], "[::ffff:192.0.2.1]:5683").unwrap(),
        "coap://192.0.2.1/"
    );
    let through_proxy = options("coap://[2001:DB8::1]:1234", Some("192.0.2.9:5683"));
    assert_eq!(
        through_proxy,
        owned(&[(HOST, b"[2001:db8::1]"), (PORT, b"\x04\xd2")])
    );
}

#[test]
fn hosts_are_told_apart_as_rfc_3986_does() {
    let host = |uri| CoapUri::parse(uri).unwrap().host();
    assert_eq!(
        host("coap://127.0.0.1"),
        UriHost::Ipv4([127, 0, 0, 1].into())
    );
    assert_eq!(
        host("coap://%31%32%37.0.0.1"),
        UriHost::Ipv4([127, 0, 0, 1].into())
    );
    assert_eq!(host("coap://127.0.0.01"), UriHost::Name("127.0.0.01"));
    assert_eq!(host("coap://1.2.3"), UriHost::Name("1.2.3"));
    assert_eq!(host("coap://1.2.3.256"), UriHost::Name("1.2.3.256"));
    let address = "fe80::1".parse().unwrap();
    let zone = Some("eth0");
    assert_eq!(
        host("coap://[fe80::1%25eth0]:1"),
        UriHost::Ipv6 { address, zone }
    );
}

#[test]
fn ports_come_from_the_uri_or_the_scheme() {
    let port = |uri| CoapUri::parse(uri).unwrap().port();
    assert_eq!(port("coap://h"), 5683);
    assert_eq!(port("coaps://h:"), 5684);
    assert_eq!(port("coaps+tcp://h"), 5684);
    assert_eq!(port("coap://h:065535"), 65535);
}

#[test]
fn texts_that_are_no_coap_uri_are_refused() {
    for (uri, error) in [
        ("", UriError::NotAbsolute),
        ("/path", UriError::NotAbsolute),
        ("http://h/", UriError::UnknownScheme),
        ("coap:h", UriError::MissingHost),
        ("coap:/h", UriError::MissingHost),
        ("coap://", UriError::MissingHost),
        ("coap:///a", UriError::MissingHost),
        ("coap://:5683/a", UriError::MissingHost),
        ("coap://?q", UriError::MissingHost),
        ("coap://h/a#f", UriError::Fragment),
        ("coap://h#", UriError::Fragment),
        ("coap://u@h/", UriError::UserInformation),
        ("coap://h:65536/", UriError::InvalidPort),
        ("coap://h:+1/", UriError::InvalidPort),
        ("coap://h:1:2/", UriError::InvalidPort),
        ("coap://[::1/", UriError::InvalidHost),
        ("coap://[::1]x/", UriError::InvalidHost),
        ("coap://[1.2.3.4]/", UriError::InvalidHost),
        ("coap://[v1.x]/", UriError::InvalidHost),
        ("coap://[fe80::1%25]/", UriError::InvalidHost),
        ("coap://[fe80::1%eth0]/", UriError::InvalidHost),
        ("coap://a%2Fb/", UriError::InvalidHost),
        ("coap://a%00b/", UriError::InvalidHost),
        ("coap://a%25b/", UriError::InvalidHost),
        ("coap://a b/", UriError::InvalidCharacter),
        ("coap://h/a b", UriError::InvalidCharacter),
        ("coap://h/ä", UriError::InvalidCharacter),
        ("coap://h/[", UriError::InvalidCharacter),
        ("coap://h/?\\", UriError::InvalidCharacter),
        ("coap://h/%", UriError::InvalidPercentEncoding),
        ("coap://h/%4", UriError::InvalidPercentEncoding),
        ("coap://h/%4g", UriError::InvalidPercentEncoding),
        ("coap://h/?%zz", UriError::InvalidPercentEncoding),
        ("coap://h/%ff", UriError::NotUtf8),
        ("coap://%ff/", UriError::NotUtf8),
    ] {
        assert_eq!(CoapUri::parse(uri).unwrap_err(), error, "{uri}");
    }
}

#[test]
fn dot_segments_are_resolved_encoded_or_not() {
    let path = |uri: &str| -> Vec<String> {
        let options = options(uri, None)
            .into_iter()
            .filter(|(number, _)| *number == PATH);
        options
            .map(|(_, value)| String::from_utf8(value).unwrap())
            .collect()
    };
    for (uri, expected) in [
        ("coap://h/a/./b", vec!["a", "b"]),
        ("coap://h/a/../b", vec!["b"]),
        ("coap://h/a/%2E%2e/b", vec!["b"]),
        ("coap://h/a/.%2e/../../b", vec!["b"]),
        ("coap://h/..", vec![]),
        ("coap://h/.", vec![]),
        ("coap://h/a/..", vec![]),
        ("coap://h/a/b/..", vec!["a", ""]),
        ("coap://h/a/b/.", vec!["a", "b", ""]),
        ("coap://h/a//../b", vec!["a", "b"]),
        ("coap://h/..a/...", vec!["..a", "..."]),
        ("coap://h//", vec!["", ""]),
        ("coap://h/a/", vec!["a", ""]),
    ] {
        assert_eq!(path(uri), expected, "{uri}");
    }
}

#[test]
fn path_with_dot_segments_is_refused_when_too_deep_and_any_other_is_not() {
    let deep = format!("coap://h{}", "/a".repeat(33));
    assert!(CoapUri::parse(&deep).is_ok());
    let dotted = format!("{deep}/..");
    assert_eq!(
        CoapUri::parse(&dotted).unwrap_err(),
        UriError::PathTooDeep { max: 32 }
    );
    let long = format!("coap://h{}/b", "/a/..".repeat(1000));
    assert_eq!(options(&long, None).len(), 2);
}

#[test]
fn components_end_at_255_decoded_bytes() {
    let (fits, too_long) = ("a".repeat(255), "a".repeat(256));
    let encoded = "%61".repeat(255);
    for fits in [fits.as_str(), encoded.as_str()] {
        assert!(CoapUri::parse(&format!("coap://{fits}/{fits}?{fits}&{fits}")).is_ok());
    }
    let parse = |uri: String| CoapUri::parse(&uri).map(|_| ()).unwrap_err();
    assert_eq!(
        parse(format!("coap://{too_long}/")),
        UriError::HostTooLong { len: 256 }
    );
    assert_eq!(
        parse(format!("coap://h/{too_long}")),
        UriError::SegmentTooLong { len: 256 }
    );
    assert_eq!(
        parse(format!("coap://h/?{too_long}")),
        UriError::ArgumentTooLong { len: 256 }
    );
}

#[test]
fn options_that_make_no_uri_are_refused() {
    let address = "192.0.2.1:5683";
    assert_eq!(
        compose(&[(PATH, b"..")], address),
        Err(UriError::DotSegment)
    );
    assert_eq!(
        compose(&[(PATH, b"a"), (PATH, b".")], address),
        Err(UriError::DotSegment)
    );
    for host in [
        b"a/b".as_slice(),
        b"a%2fb",
        b"u@h",
        b"h:1",
        b"[::1",
        b"\xff",
        b"",
        b"a\0",
    ] {
        let expected = Err(UriError::InvalidOption(HOST));
        assert_eq!(compose(&[(HOST, host)], address), expected, "{host:?}");
    }
    let long = [b'a'; 256];
    assert_eq!(
        compose(&[(PATH, &long)], address),
        Err(UriError::InvalidOption(PATH))
    );
    let port = [1, 0, 0];
    assert_eq!(
        compose(&[(PORT, &port)], address),
        Err(UriError::InvalidOption(PORT))
    );
}

#[test]
fn composed_hosts_are_normal() {
    let address = "192.0.2.1:5683";
    for (host, uri) in [
        ("EXAMPLE.com", "coap://example.com/"),
        ("[2001:DB8:0::1]", "coap://[2001:db8::1]/"),
        ("192.0.2.7", "coap://192.0.2.7/"),
        ("bücher.example", "coap://b%C3%BCcher.example/"),
    ] {
        assert_eq!(compose(&[(HOST, host.as_bytes())], address).unwrap(), uri);
    }
    assert_eq!(
        compose(&[(PORT, b"\x16\x34")], address).unwrap(),
        "coap://192.0.2.1:5684/"
    );
}

#[test]
fn composing_into_too_small_a_buffer_is_refused() {
    let mut out = [0; 64];
    let len = writer(&mut out).finish();
    let message = Message::decode(&out[..len]).unwrap();
    let address: SocketAddr = "192.0.2.1:5683".parse().unwrap();
    let mut room = [0; 16];
    let result = message.compose_uri_into(Scheme::Coap, address, &mut room);
    assert_eq!(result, Err(UriError::OutputFull));
}

#[test]
fn other_options_are_written_in_their_places() {
    let others = [
        MessageOption::new(OptionNumber::IF_MATCH, b"m"),
        MessageOption::new(OptionNumber::OBSERVE, b""),
        MessageOption::new(OptionNumber::CONTENT_FORMAT, b"2"),
        MessageOption::new(OptionNumber::ACCEPT, b"<"),
        MessageOption::new(OptionNumber::SIZE1, b"s"),
    ];
    let mut out = [0; 128];
    let mut writer = writer(&mut out);
    let uri = CoapUri::parse("coap://h:99/a?b").unwrap();
    let destination = Some("192.0.2.1:5683".parse().unwrap());
    uri.write_options(destination, &others, &mut writer)
        .unwrap();
    let len = writer.finish();
    let message = Message::decode(&out[..len]).unwrap();
    let numbers: Vec<_> = message.options().map(|option| option.number().0).collect();
    assert_eq!(numbers, [1, 3, 6, 7, 11, 12, 15, 17, 60]);
}

#[test]
fn other_options_out_of_order_are_refused() {
    let others = [
        MessageOption::new(OptionNumber::SIZE1, b"s"),
        MessageOption::new(OptionNumber::OBSERVE, b""),
    ];
    let mut out = [0; 128];
    let uri = CoapUri::parse("coap://h/a").unwrap();
    let result = uri.write_options(None, &others, &mut writer(&mut out));
    assert!(matches!(result, Err(EncodeError::OptionOutOfOrder { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn options_survive_the_way_through_a_uri(
        path in prop::collection::vec("[a-z/%?&#. ü]{0,6}", 0..6),
        query in prop::collection::vec("[a-z/%?&#= ü]{0,6}", 0..4),
        port in 1..=u16::MAX,
    ) {
        let no_dots = path.iter().all(|segment| segment != "." && segment != "..");
        // One empty segment is the root, which has no options.
        prop_assume!(no_dots && path != [""]);
        let mut expected: Vec<(OptionNumber, &[u8])> = vec![(HOST, b"h.example")];
        expected.extend(path.iter().map(|segment| (PATH, segment.as_bytes())));
        expected.extend(query.iter().map(|argument| (QUERY, argument.as_bytes())));
        let destination = format!("192.0.2.1:{port}");
        let uri = compose(&expected, &destination).unwrap();
        prop_assert_eq!(options(&uri, Some(&destination)), owned(&expected));
        prop_assert_eq!(CoapUri::parse(&uri).unwrap().to_string(), uri);
    }

    #[test]
    fn any_text_parses_or_fails_and_its_normal_form_means_the_same(
        text in "(coap|coaps)://[a-zA-Z0-9.%\\[\\]:]{0,8}(/[a-z.%2eEfF/]{0,12})?(\\?[a-z&%26]{0,8})?",
    ) {
        let Ok(uri) = CoapUri::parse(&text) else { return Ok(()) };
        let normal = uri.to_string();
        let again = CoapUri::parse(&normal).unwrap();
        prop_assert_eq!(again.to_string(), normal.clone());
        prop_assert_eq!(options(&text, None), options(&normal, None));
    }

    #[test]
    fn any_characters_never_panic(text in "\\PC{0,40}") {
        let _ = CoapUri::parse(&text);
        let _ = CoapUri::parse(&format!("coap://{text}"));
    }
}
