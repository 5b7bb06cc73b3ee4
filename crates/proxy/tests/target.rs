//! From URIs to targets, RFC 8075 §5 and RFC 7252 §6.4.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use hedgerow_coap::{Scheme, UriError};
use hedgerow_proxy::{ConfigError, HcProxy, Limits, Methods, TargetError};
use support::proxy;

/// Resolves a URI and prints what it is resolved to: destination, path, query.
fn resolve(uri: &str) -> Result<String, TargetError> {
    let target = proxy().resolve(&uri.parse().unwrap())?;
    Ok(format!(
        "{} {:?} {:?}",
        target.destination(),
        target.uri_path(),
        target.uri_query()
    ))
}

/// RFC 8075 §5.3.1.
#[test]
fn examples_of_rfc_8075_section_5_resolve_to_their_target() {
    for (uri, target) in [
        // §5.3
        (
            "https://p.example.com/hc/coap://s.example.com/light",
            r#"coap://s.example.com ["light"] []"#,
        ),
        // §5.3.2
        (
            "https://p.example.com/hc/coap://%5B2001:db8::1%5D/light?on",
            r#"coap://[2001:db8::1] ["light"] ["on"]"#,
        ),
        // RFC 7252 §10.2: the request target is a CoAP URI itself.
        (
            "coap://s.example.com/light?on",
            r#"coap://s.example.com ["light"] ["on"]"#,
        ),
    ] {
        assert_eq!(resolve(uri).as_deref(), Ok(target), "{uri}");
    }
    // §5.3.1: without a scheme, and nothing agreed beforehand.
    assert_eq!(
        resolve("https://p.example.com/hc/s.example.com/light"),
        Err(TargetError::SchemeMissing)
    );
}

#[test]
fn one_destination_has_many_spellings() {
    for spelling in [
        "/hc/coap://s.example.com/",
        "/hc/coap://s.example.com",
        "/hc/COAP://S.Example.COM/",
        "/hc/coap://s.example.com:5683/",
        "/hc/coap://s.example.com:/",
        "/hc/coap://s.example.com:05683/",
        "/hc/coap://%73.example.com/",
        "/hc/coap://%53.example.com/",
        "coap://S.example.com",
        "http://gateway/hc/coap://s.example.com/",
    ] {
        let expected = "coap://s.example.com [] []";
        assert_eq!(resolve(spelling).as_deref(), Ok(expected), "{spelling}");
    }
    for spelling in [
        "/hc/coap://%5B2001:db8::1%5D/",
        "/hc/coap://%5b2001:DB8:0::0001%5d:5683/",
        "coap://[2001:db8::1]/",
    ] {
        let expected = "coap://[2001:db8::1] [] []";
        assert_eq!(resolve(spelling).as_deref(), Ok(expected), "{spelling}");
    }
}

#[test]
fn names_stand_for_the_base_uri_of_a_device() {
    for (uri, target) in [
        ("/devices/lamp", r#"coaps://[2001:db8::7] [] []"#),
        ("/devices/lamp/", r#"coaps://[2001:db8::7] [] []"#),
        ("/devices/l%61mp/a", r#"coaps://[2001:db8::7] ["a"] []"#),
        (
            "/devices/lamp/a/b?c=d&e",
            r#"coaps://[2001:db8::7] ["a", "b"] ["c=d", "e"]"#,
        ),
        (
            "/devices/meter",
            r#"coap://192.0.2.9:61616 ["v1", "meter"] []"#,
        ),
        (
            "/devices/meter/now",
            r#"coap://192.0.2.9:61616 ["v1", "meter", "now"] []"#,
        ),
    ] {
        assert_eq!(resolve(uri).as_deref(), Ok(target), "{uri}");
    }
    for unknown in [
        "/devices/Lamp/",
        "/devices/",
        "/devices//lamp",
        "/devices/la/mp",
    ] {
        assert_eq!(
            resolve(unknown),
            Err(TargetError::DeviceNotConfigured),
            "{unknown}"
        );
    }
    let target = proxy().resolve_path("/devices/lamp/x", None).unwrap();
    assert_eq!(target.device(), Some("lamp"));
    assert_eq!(target.destination().scheme(), Scheme::Coaps);
    assert_eq!(target.destination().port(), 5684);
    assert_eq!(target.uri_host(), None);
}

#[test]
fn components_are_decoded_exactly_once() {
    for (uri, target) in [
        ("/devices/lamp/a%20b", r#"["a b"] []"#),
        ("/devices/lamp/%252e%252e", r#"["%2e%2e"] []"#),
        ("/devices/lamp/a%252Fb", r#"["a%2Fb"] []"#),
        ("/devices/lamp/%E2%82%AC", r#"["€"] []"#),
        ("/devices/lamp/a+b", r#"["a+b"] []"#),
        ("/devices/lamp/...", r#"["..."] []"#),
        ("/devices/lamp/.a", r#"[".a"] []"#),
        // RFC 7252 §6.4, step 8: what is left of a slash at the end is a segment.
        ("/devices/lamp/a/", r#"["a", ""] []"#),
        ("/devices/lamp?a%26b&c%3Dd", r#"[] ["a&b", "c=d"]"#),
        ("/devices/lamp?a/../b", r#"[] ["a/../b"]"#),
        ("/devices/lamp?", r#"[] [""]"#),
        ("/devices/lamp?a&&b", r#"[] ["a", "", "b"]"#),
    ] {
        let expected = format!("coaps://[2001:db8::7] {target}");
        assert_eq!(resolve(uri), Ok(expected), "{uri}");
    }
}

/// RFC 7252 §5.10.1.
#[test]
fn paths_that_two_readers_could_take_differently_are_refused() {
    use TargetError as E;
    for (path, error) in [
        ("/devices/lamp/..", E::DotSegment),
        ("/devices/lamp/.", E::DotSegment),
        ("/devices/lamp/a/../b", E::DotSegment),
        ("/devices/lamp/%2e%2E", E::DotSegment),
        ("/devices/lamp/.%2e/x", E::DotSegment),
        ("/devices/../devices/lamp", E::DeviceNotConfigured),
        ("/devices/lamp//", E::EmptySegment),
        ("/devices/lamp//a", E::EmptySegment),
        ("/devices/lamp/a//b", E::EmptySegment),
        ("/devices/lamp/a//", E::EmptySegment),
        ("/devices/lamp/a%2fb", E::EncodedSlash),
        ("/devices/lamp/..%2fb", E::EncodedSlash),
        ("/devices/lamp/a%5Cb", E::EncodedSlash),
        ("/devices/lamp/a%00", E::ControlCharacter),
        ("/devices/lamp/a%0d%0a", E::ControlCharacter),
        ("/devices/lamp/%7f", E::ControlCharacter),
        ("/devices/lamp/%", E::PercentEncoding),
        ("/devices/lamp/%2", E::PercentEncoding),
        ("/devices/lamp/%+1", E::PercentEncoding),
        ("/devices/lamp/%zz", E::PercentEncoding),
        ("/devices/lamp/%ff", E::NotUtf8),
        ("/devices/lamp/%c0%ae%c0%ae", E::NotUtf8),
        ("/devices/lamp/a\\b", E::Character),
        ("/devices/lamp/a b", E::Character),
        ("/devices/lamp/a#b", E::Fragment),
        ("/devices/lamp/é", E::Character),
        ("/devices/lamp/a?b", E::Character),
        ("/other", E::NotMapped),
        ("/devices", E::NotMapped),
        ("/hc", E::NotMapped),
        ("/HC/coap://s.example.com/", E::NotMapped),
        ("/x/../hc/coap://s.example.com/", E::NotMapped),
        ("//hc/coap://s.example.com/", E::NotMapped),
        ("", E::NotMapped),
    ] {
        assert_eq!(proxy().resolve_path(path, None), Err(error), "{path}");
    }
    for (query, error) in [
        ("a%0a", E::ControlCharacter),
        ("a%", E::PercentEncoding),
        ("a#b", E::Fragment),
        ("%ff", E::NotUtf8),
        ("a b", E::Character),
    ] {
        let found = proxy().resolve_path("/devices/lamp", Some(query));
        assert_eq!(found, Err(error), "{query}");
    }
}

#[test]
fn target_uris_that_are_not_coap_uris_are_refused() {
    use TargetError as E;
    for (target, error) in [
        ("", E::SchemeMissing),
        ("s.example.com/", E::SchemeMissing),
        ("s.example.com:5683/", E::SchemeMissing),
        ("//s.example.com/", E::SchemeMissing),
        ("coap%3A//s.example.com/", E::SchemeMissing),
        ("http://s.example.com/", E::UnknownScheme),
        ("coaps+ws://s.example.com/", E::UnknownScheme),
        ("file:///etc/passwd", E::UnknownScheme),
        // A front end that merges slashes.
        ("coap:/s.example.com/", E::Authority(UriError::MissingHost)),
        ("coap://", E::Authority(UriError::MissingHost)),
        ("coap:///path", E::Authority(UriError::MissingHost)),
        (
            "coap://u@s.example.com/",
            E::Authority(UriError::UserInformation),
        ),
        (
            "coap://u:p@s.example.com/",
            E::Authority(UriError::UserInformation),
        ),
        (
            "coap://s.example.com:99999/",
            E::Authority(UriError::InvalidPort),
        ),
        (
            "coap://s.example.com:0/",
            E::Authority(UriError::InvalidPort),
        ),
        (
            "coap://s.example.com:+1/",
            E::Authority(UriError::InvalidPort),
        ),
        (
            "coap://s.example.com%3A1234/",
            E::Authority(UriError::InvalidHost),
        ),
        (
            "coap://s.example.com%2Fx/",
            E::Authority(UriError::InvalidHost),
        ),
        (
            "coap://s.example.com%00/",
            E::Authority(UriError::InvalidHost),
        ),
        ("coap://s.example.com./", E::HostName),
        ("coap://s..example.com/", E::HostName),
        ("coap://s.example.com%C3%A4/", E::HostName),
        ("coap://[2001:db8::1]/", E::Character),
        (
            "coap://%5B2001:db8::1/",
            E::Authority(UriError::InvalidHost),
        ),
        (
            "coap://%5B2001:db8::1%5D%5D/",
            E::Authority(UriError::InvalidHost),
        ),
        ("coap://%5Bfe80::1%25eth0%5D/", E::ZoneIdentifier),
        ("coap://s.example.com/a#b", E::Fragment),
        ("coap://s.example.com?on", E::Character),
    ] {
        let path = format!("/hc/{target}");
        assert_eq!(proxy().resolve_path(&path, None), Err(error), "{path}");
    }
}

#[test]
fn lengths_end_at_255_bytes_and_at_the_limit() {
    let limits = Limits {
        uri: 600,
        ..Limits::default()
    };
    let proxy = proxy().with_limits(limits);
    let resolve = |path: &str, query: Option<&str>| {
        proxy
            .resolve_path(&format!("/devices/lamp/{path}"), query)
            .map(|_| ())
    };
    let (most, over) = ("a".repeat(255), "a".repeat(256));
    assert_eq!(resolve(&most, Some(&most)), Ok(()));
    assert_eq!(
        resolve(&over, None),
        Err(TargetError::SegmentTooLong { len: 256 })
    );
    assert_eq!(
        resolve("", Some(&over)),
        Err(TargetError::ArgumentTooLong { len: 256 })
    );
    // What counts is the length behind the decoding.
    assert_eq!(resolve(&"%61".repeat(255), None), Ok(()));
    let rest = "b".repeat(600 - 2 * 256 - 1);
    assert_eq!(resolve(&format!("{most}/{most}/{rest}"), None), Ok(()));
    assert_eq!(
        resolve(&format!("{most}/{most}/{rest}b"), None),
        Err(TargetError::UriTooLong { len: 601, max: 600 })
    );
}

#[test]
fn configuration_names_what_is_wrong_with_it() {
    let device = |name: &str, uri: &str| {
        HcProxy::new()
            .with_device(name, uri, Methods::GET)
            .map(|_| ())
    };
    for name in ["", ".", "..", "a/b", "a b", "ä", &"a".repeat(64)] {
        assert_eq!(
            device(name, "coap://h"),
            Err(ConfigError::DeviceName),
            "{name}"
        );
    }
    assert_eq!(device(&"a".repeat(63), "coap://h"), Ok(()));
    for (uri, error) in [
        ("coap://h?a", ConfigError::UnusedPart),
        ("h", ConfigError::Uri(TargetError::SchemeMissing)),
        ("coap+ws://h", ConfigError::Uri(TargetError::UnknownScheme)),
        (
            "coap://224.0.1.187",
            ConfigError::Uri(TargetError::Multicast),
        ),
        ("coap://127.1", ConfigError::Uri(TargetError::NumericHost)),
        ("coap://h/a/../b", ConfigError::Uri(TargetError::DotSegment)),
    ] {
        assert_eq!(device("d", uri), Err(error), "{uri}");
    }
    let destination = |uri: &str| {
        let proxy = HcProxy::new().with_destination("coap://h", Methods::GET);
        proxy
            .unwrap()
            .with_destination(uri, Methods::GET)
            .map(|_| ())
    };
    assert_eq!(destination("coap://H:5683/"), Err(ConfigError::Twice));
    assert_eq!(destination("coap://h:5684/"), Ok(()));
    assert_eq!(destination("coap://g/path"), Err(ConfigError::UnusedPart));
    let proxy = proxy();
    assert!(
        proxy
            .clone()
            .with_device("lamp", "coap://h", Methods::GET)
            .is_err()
    );
    assert_eq!(proxy.device_names().collect::<Vec<_>>(), ["lamp", "meter"]);
    let meter = proxy.device_destination("meter").unwrap();
    assert_eq!(meter.to_string(), "coap://192.0.2.9:61616");
}
