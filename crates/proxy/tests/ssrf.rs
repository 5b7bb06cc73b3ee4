//! What a client can't reach: the attacks on proxies that open more than they were told to.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::net::IpAddr;

use hedgerow_coap::UriError;
use hedgerow_proxy::{Failure, HcProxy, Methods, TargetError};
use support::{head, proxy};

/// The reason for which each of `targets` is refused.
fn assert_refused(proxy: &HcProxy, error: TargetError, targets: &[&str]) {
    for target in targets {
        let path = format!("/hc/{target}");
        assert_eq!(proxy.resolve_path(&path, None), Err(error), "{path}");
    }
}

#[test]
fn proxy_without_configuration_reaches_nothing() {
    let open = HcProxy::new();
    assert_refused(
        &open,
        TargetError::DestinationDenied,
        &[
            "coap://s.example.com/",
            "coap://127.0.0.1/",
            "coap://%5B::1%5D/",
            "coap://localhost/",
            "coaps://192.0.2.1:5684/.well-known/core",
            "coap://169.254.169.254/latest/meta-data",
        ],
    );
    let absolute = "coap://192.0.2.1/".parse().unwrap();
    assert_eq!(open.resolve(&absolute), Err(TargetError::DestinationDenied));
    assert_eq!(
        open.resolve_path("/devices/lamp", None),
        Err(TargetError::DeviceNotConfigured)
    );
}

#[test]
fn scheme_host_and_port_are_all_part_of_the_permission() {
    assert_refused(
        &proxy(),
        TargetError::DestinationDenied,
        &[
            "coaps://s.example.com/",
            "coap://s.example.com:1234/",
            "coap://s.example.com:5684/",
            "coap://example.com/",
            "coap://x.s.example.com/",
            "coap://s.example.com.evil.example/",
            "coap://s-example.com/",
            "coap://192.0.2.10/",
            "coap://%5B2001:db8::1:0%5D/",
            // A name opens its device's paths under that name alone.
            "coaps://%5B2001:db8::7%5D/",
            "coap://192.0.2.9:61616/",
        ],
    );
}

#[test]
fn numeric_spellings_of_an_address_are_not_names() {
    assert_refused(
        &proxy(),
        TargetError::NumericHost,
        &[
            "coap://2130706433/",
            "coap://127.1/",
            "coap://127.0.1/",
            "coap://0177.0.0.1/",
            "coap://127.0.0.01/",
            "coap://0x7f000001/",
            "coap://0X7F.0.0.1/",
            "coap://127.0.0.0x1/",
            "coap://0x7f.0x0.0x0.0x1/",
            "coap://127.0.0.0x/",
            "coap://256.0.0.1/",
            "coap://1.2.3.4.5/",
            "coap://s.example.com.1/",
            "coap://%32130706433/",
            "coap://0/",
        ],
    );
    // Digits of other scripts, which some resolvers fold.
    assert_refused(
        &proxy(),
        TargetError::HostName,
        &["coap://%EF%BC%91%EF%BC%92%EF%BC%97.1/"],
    );
}

#[test]
fn address_in_another_dress_is_compared_by_what_it_is() {
    let loopback = HcProxy::new()
        .with_destination("coap://127.0.0.1", Methods::GET)
        .unwrap();
    for same in [
        "/hc/coap://127.0.0.1/",
        "/hc/coap://%31%32%37.0.0.1/",
        "/hc/coap://%5B::ffff:127.0.0.1%5D/",
        "/hc/coap://%5B::FFFF:7f00:1%5D/",
        "/hc/coap://%5B0:0:0:0:0:ffff:7f00:0001%5D/",
    ] {
        let target = loopback.resolve_path(same, None).unwrap();
        assert_eq!(
            target.destination().to_string(),
            "coap://127.0.0.1",
            "{same}"
        );
    }
    let others = [
        "coap://%5B::ffff:127.0.0.1%5D/",
        "coap://%5B::127.0.0.1%5D/",
        "coap://%5B64:ff9b::7f00:1%5D/",
        "coap://%5B2002:7f00:1::%5D/",
        "coap://%5B::%5D/",
        "coap://0.0.0.0/",
    ];
    assert_refused(&proxy(), TargetError::DestinationDenied, &others);
}

#[test]
fn multicast_is_refused_in_every_dress() {
    assert_refused(
        &proxy(),
        TargetError::Multicast,
        &[
            "coap://224.0.1.187/",
            "coap://239.255.255.255/",
            "coap://255.255.255.255/",
            "coap://%5Bff02::fd%5D/",
            "coap://%5BFF0E::1%5D/",
            "coap://%5B::ffff:224.0.1.187%5D/",
            "coap://%5B::224.0.1.187%5D/",
            "coap://%5B64:ff9b::e000:1bb%5D/",
            "coap://%5B2002:e000:1bb::1%5D/",
        ],
    );
    let failure = head("GET", "/hc/coap://224.0.1.187/", &[])
        .map(&proxy())
        .unwrap_err();
    assert_eq!(failure.status(), 403);
}

#[test]
fn authority_of_the_check_is_the_authority_of_the_request() {
    use TargetError as E;
    let user = E::Authority(UriError::UserInformation);
    for (target, error) in [
        ("coap://s.example.com@evil.example/", user),
        ("coap://s.example.com:5683@evil.example/", user),
        (
            "coap://evil.example%40s.example.com/",
            E::Authority(UriError::InvalidHost),
        ),
        ("coap://evil.example%2F@s.example.com/", user),
        ("coap://evil.example\\@s.example.com/", E::Character),
        ("coap://evil.example\\.s.example.com/", E::Character),
        (
            "coap://evil.example%5C.s.example.com/",
            E::Authority(UriError::InvalidHost),
        ),
        ("coap://evil.example#@s.example.com/", E::Fragment),
        (
            "coap://evil.example%23.s.example.com/",
            E::Authority(UriError::InvalidHost),
        ),
        (
            "coap://evil.example%3F.s.example.com/",
            E::Authority(UriError::InvalidHost),
        ),
        (
            "coap://evil.example /",
            E::Authority(UriError::InvalidCharacter),
        ),
        (
            "coap://s.example.com%0d%0aHost:evil/",
            E::Authority(UriError::InvalidPort),
        ),
        (
            "coap://s.example.com/../../coap://evil.example/",
            E::DotSegment,
        ),
        ("coap://s.example.com//evil.example/", E::EmptySegment),
        ("coap://evil.example/coap://s.example.com/", E::EmptySegment),
        ("coap://evil.example/s.example.com/", E::DestinationDenied),
    ] {
        let path = format!("/hc/{target}");
        assert_eq!(proxy().resolve_path(&path, None), Err(error), "{path}");
    }
}

#[test]
fn fields_of_the_request_do_not_choose_the_destination() {
    let fields = [
        ("host", "evil.example"),
        ("forwarded", "host=evil.example"),
        ("x-forwarded-host", "evil.example"),
        ("x-original-url", "/hc/coap://evil.example/"),
        ("x-rewrite-url", "/hc/coap://evil.example/"),
        ("x-http-method-override", "DELETE"),
        ("uri-host", "evil.example"),
        ("proxy-uri", "coap://evil.example/"),
    ];
    let uri = "http://evil.example/devices/lamp/on";
    let mapped = head("GET", uri, &fields).map(&proxy()).unwrap();
    let plain = head("GET", "/devices/lamp/on", &[]).map(&proxy()).unwrap();
    assert_eq!(mapped.request, plain.request);
}

#[test]
fn name_leads_to_no_address_that_its_owner_could_abuse() {
    let proxy = proxy()
        .with_destination("coap://localhost", Methods::GET)
        .unwrap();
    let check = |host: &str, address: &str| {
        let path = format!("/hc/coap://{host}/");
        let target = proxy.resolve_path(&path, None).unwrap();
        let address: IpAddr = address.parse().unwrap();
        proxy.check_address(target.destination(), address)
    };
    let denied = Err(Failure::Target(TargetError::DestinationDenied));
    let multicast = Err(Failure::Target(TargetError::Multicast));
    for (host, address, verdict) in [
        ("s.example.com", "192.0.2.55", Ok(())),
        ("s.example.com", "10.0.0.1", Ok(())),
        ("s.example.com", "2001:db8::55", Ok(())),
        ("s.example.com", "fe80::1", Ok(())),
        ("s.example.com", "127.0.0.1", denied),
        ("s.example.com", "127.8.8.8", denied),
        ("s.example.com", "::1", denied),
        ("s.example.com", "::ffff:127.0.0.1", denied),
        ("s.example.com", "::127.0.0.1", denied),
        ("s.example.com", "64:ff9b::127.0.0.1", denied),
        ("s.example.com", "2002:7f00:1::", denied),
        ("s.example.com", "0.0.0.0", denied),
        ("s.example.com", "0.1.2.3", denied),
        ("s.example.com", "::", denied),
        ("s.example.com", "169.254.169.254", denied),
        ("s.example.com", "::ffff:169.254.169.254", denied),
        ("s.example.com", "64:ff9b::a9fe:a9fe", denied),
        ("s.example.com", "224.0.1.187", multicast),
        ("s.example.com", "255.255.255.255", multicast),
        ("s.example.com", "ff02::fd", multicast),
        ("localhost", "127.0.0.1", Ok(())),
        ("localhost", "::1", Ok(())),
        ("localhost", "192.0.2.1", denied),
        ("192.0.2.1", "192.0.2.1", Ok(())),
        ("192.0.2.1", "::ffff:192.0.2.1", Ok(())),
        ("192.0.2.1", "192.0.2.2", denied),
        ("%5B2001:db8::1%5D", "2001:db8::1", Ok(())),
    ] {
        assert_eq!(check(host, address), verdict, "{host} at {address}");
    }
}

#[test]
fn coaps_is_reached_over_https_unless_configured() {
    let mut head = head("GET", "/devices/lamp", &[]);
    head.is_https = false;
    let failure = head.map(&proxy()).unwrap_err();
    assert_eq!(
        (failure, failure.status().as_u16()),
        (Failure::HttpsNeeded, 403)
    );
    assert!(head.map(&proxy().with_coaps_from_http(true)).is_ok());
    head.uri = "/devices/meter".parse().unwrap();
    assert!(head.map(&proxy()).is_ok());
}
