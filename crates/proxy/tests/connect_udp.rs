//! Requests for tunnels, and what they get.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use hedgerow_proxy::{
    ConnectUdp, ConnectUdpError, ConnectUdpRequest, HcProxy, Methods, TunnelForm, TunnelRefusal,
    UdpTarget,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};

const VECTORS: &str = include_str!("../../../docs/specs/vectors/tunnel.txt");

type Fields<'a> = &'a [(&'a str, &'a str)];

const UPGRADE: Fields<'_> = &[
    ("host", "example.org"),
    ("connection", "Upgrade"),
    ("upgrade", "connect-udp"),
    ("capsule-protocol", "?1"),
];

fn headers(fields: Fields<'_>) -> HeaderMap {
    let parse = |(name, value): &(&str, &str)| {
        let name: HeaderName = name.parse().unwrap();
        (name, HeaderValue::from_str(value).unwrap())
    };
    fields.iter().map(parse).collect()
}

fn decide(
    version: Version,
    method: &Method,
    uri: &str,
    fields: Fields<'_>,
    protocol: Option<&str>,
) -> Option<Result<ConnectUdp, ConnectUdpError>> {
    let uri: Uri = uri.parse().unwrap();
    let request = ConnectUdpRequest {
        method,
        uri: &uri,
        version,
        headers: &headers(fields),
        protocol,
    };
    request.decide()
}

fn upgrade(uri: &str, fields: Fields<'_>) -> Option<Result<ConnectUdp, ConnectUdpError>> {
    decide(Version::HTTP_11, &Method::GET, uri, fields, None)
}

fn connect(uri: &str, fields: Fields<'_>) -> Option<Result<ConnectUdp, ConnectUdpError>> {
    let protocol = Some("connect-udp");
    decide(Version::HTTP_2, &Method::CONNECT, uri, fields, protocol)
}

fn target(host: &str, port: &str) -> Result<UdpTarget, ConnectUdpError> {
    let uri = format!("https://example.org/.well-known/masque/udp/{host}/{port}/");
    connect(&uri, &[]).unwrap().map(|asked| asked.target)
}

/// Says whether a target is the device `lamp` at `uri`: by its name, and by its host.
fn is_lamp_at(target: &UdpTarget, uri: &str) -> (bool, bool) {
    let proxy = HcProxy::new().with_device("lamp", uri, Methods::GET);
    let proxy = proxy.unwrap();
    let destination = proxy.device_destination("lamp").unwrap();
    (
        target.is_device("lamp", destination),
        target.is_at(destination),
    )
}

/// RFC 9298 §3.2 to §3.5, as the second reader wrote them.
#[test]
fn requests_and_responses_are_those_of_the_vectors() {
    let mut seen = 0;
    for case in VECTORS
        .split("\n\n")
        .filter(|it| it.starts_with("case request"))
    {
        let value = |key: &str| {
            let mut lines = case.lines().filter_map(|line| line.split_once(" = "));
            lines.find(|(found, _)| *found == key).unwrap().1
        };
        let lines = |key: &str| -> Vec<&str> {
            let lines = case.lines().filter_map(|line| line.split_once(" = "));
            lines
                .filter(|(found, _)| *found == key)
                .map(|(_, value)| value)
                .collect()
        };
        let http1 = lines("http1");
        let path = http1[0].strip_prefix("GET ").unwrap();
        let path = path.strip_suffix(" HTTP/1.1").unwrap();
        let fields: Vec<_> = http1[1..]
            .iter()
            .map(|it| it.split_once(": ").unwrap())
            .collect();
        let over_http1 = upgrade(path, &fields).unwrap().unwrap();
        assert_eq!(over_http1.form, TunnelForm::Upgrade);

        let http2: Vec<_> = lines("http2")
            .iter()
            .map(|it| it.split_once(" = ").unwrap())
            .collect();
        let pseudo = |name: &str| http2.iter().find(|(found, _)| *found == name).unwrap().1;
        let uri = format!(
            "{}://{}{}",
            pseudo(":scheme"),
            pseudo(":authority"),
            pseudo(":path")
        );
        let method = Method::from_bytes(pseudo(":method").as_bytes()).unwrap();
        let fields: Vec<_> = http2
            .iter()
            .copied()
            .filter(|(it, _)| !it.starts_with(':'))
            .collect();
        let protocol = Some(pseudo(":protocol"));
        let over_http2 = decide(Version::HTTP_2, &method, &uri, &fields, protocol);
        let over_http2 = over_http2.unwrap().unwrap();
        assert_eq!(over_http2.form, TunnelForm::ExtendedConnect);
        assert_eq!(over_http1.target, over_http2.target);

        let (host, port) = (value("target_host"), value("target_port"));
        assert_eq!(over_http1.target.port().to_string(), port);
        let authority = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        match host {
            // Names of devices, which are no hosts' names by themselves.
            "lamp" | "lamp_1" => assert!(
                is_lamp_at(&over_http1.target, &format!("coaps://[2001:db8::1]:{port}")).0
                    == (host == "lamp")
            ),
            _ => assert_eq!(
                is_lamp_at(&over_http1.target, &format!("coaps://{authority}:{port}")),
                (false, true),
                "{host}"
            ),
        }
        seen += 1;
    }
    assert_eq!(seen, 5);

    let case = VECTORS
        .split("\n\n")
        .find(|it| it.starts_with("case response"));
    let (http1, http2): (Vec<_>, Vec<_>) = case
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .partition(|(key, _)| key.starts_with("http1"));
    for (form, expected) in [
        (TunnelForm::Upgrade, http1),
        (TunnelForm::ExtendedConnect, http2),
    ] {
        let response = form.to_response();
        let mut found = vec![response.status().as_u16().to_string()];
        for (name, value) in response.headers() {
            found.push(format!("{name}: {}", value.to_str().unwrap()));
        }
        found.sort();
        let mut expected: Vec<_> = expected
            .iter()
            .map(|(_, value)| (*value).to_owned())
            .collect();
        expected.sort();
        assert_eq!(found, expected);
    }
}

/// RFC 9298 §3.2, RFC 9297 §3.2.
#[test]
fn malformed_upgrades_are_refused() {
    use ConnectUdpError as Error;
    let path = "/.well-known/masque/udp/192.0.2.6/443/";
    assert!(upgrade(path, UPGRADE).unwrap().is_ok());
    let absolute = format!("https://example.org{path}");
    assert!(upgrade(&absolute, UPGRADE).unwrap().is_ok());
    let many: Fields<'_> = &[
        ("host", "example.org"),
        ("connection", "keep-alive, UPGRADE"),
        ("upgrade", "Connect-UDP"),
    ];
    assert!(upgrade(path, many).unwrap().is_ok());

    let without = |name: &str| -> Vec<(&str, &str)> {
        UPGRADE
            .iter()
            .copied()
            .filter(|(it, _)| *it != name)
            .collect()
    };
    let with = |field: (&'static str, &'static str)| [UPGRADE, &[field]].concat();
    for (fields, error) in [
        (without("host"), Error::Host),
        (with(("host", "other.example")), Error::Host),
        (without("connection"), Error::Connection),
        (without("upgrade"), Error::Protocol),
        (with(("upgrade", "websocket")), Error::Protocol),
        (
            with(("content-length", "0")),
            Error::ContentField {
                name: "Content-Length",
            },
        ),
        (
            with(("content-type", "text/plain")),
            Error::ContentField {
                name: "Content-Type",
            },
        ),
        (
            with(("transfer-encoding", "chunked")),
            Error::ContentField {
                name: "Transfer-Encoding",
            },
        ),
    ] {
        assert_eq!(upgrade(path, &fields), Some(Err(error)), "{fields:?}");
    }
    let post = decide(Version::HTTP_11, &Method::POST, path, UPGRADE, None);
    assert_eq!(post, Some(Err(Error::Method)));
    let old = decide(Version::HTTP_10, &Method::GET, path, UPGRADE, None);
    assert_eq!(old, Some(Err(Error::Version)));
    // No tunnel is asked for, and one elsewhere than the template says.
    assert_eq!(upgrade("/devices/lamp/on", &without("upgrade")), None);
    assert_eq!(
        upgrade("/devices/lamp/on", UPGRADE),
        Some(Err(Error::Template))
    );
    let websocket = [
        ("host", "a"),
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
    ];
    assert_eq!(upgrade("/devices/lamp/on", &websocket), None);
}

/// RFC 9298 §3.4, RFC 9297 §3.2.
#[test]
fn malformed_extended_connects_are_refused() {
    use ConnectUdpError as Error;
    let uri = "https://example.org/.well-known/masque/udp/192.0.2.6/443/";
    let ask = |method, uri, protocol| decide(Version::HTTP_2, method, uri, &[], protocol);
    let connect_udp = Some("connect-udp");
    assert!(ask(&Method::CONNECT, uri, connect_udp).unwrap().is_ok());
    assert_eq!(ask(&Method::GET, uri, None), Some(Err(Error::Method)));
    assert_eq!(ask(&Method::CONNECT, uri, None), Some(Err(Error::Protocol)));
    let other = Some("connect-ip");
    assert_eq!(
        ask(&Method::CONNECT, uri, other),
        Some(Err(Error::Protocol))
    );
    let path = "/.well-known/masque/udp/192.0.2.6/443/";
    assert_eq!(
        ask(&Method::CONNECT, path, connect_udp),
        Some(Err(Error::Host))
    );
    let plain = "example.org:443";
    assert_eq!(ask(&Method::CONNECT, plain, None), None);
    let fields = [("content-length", "5")];
    let error = Error::ContentField {
        name: "Content-Length",
    };
    assert_eq!(connect(uri, &fields), Some(Err(error)));
}

/// RFC 9298 §2 and §3: the variables.
#[test]
fn targets_have_one_spelling() {
    let denied = Err(ConnectUdpError::TargetHost);
    for host in [
        "",
        "2001:db8::42",
        "%5B2001%3Adb8%3A%3A42%5D",
        "fe80%3A%3A1%25eth0",
        "a%20b",
        "a%2Fb",
        "a%00",
        "%C3%A4",
        "a%",
        "a%2",
        "*",
        "a%3Ab",
    ] {
        assert_eq!(target(host, "443"), denied.clone(), "{host}");
    }
    assert_eq!(target(&"a".repeat(254), "443"), denied);
    for port in [
        "",
        "0",
        "65536",
        "+443",
        "-1",
        "4 43",
        "%34%343x",
        "99999999999999999999",
    ] {
        let uri = format!("https://example.org/.well-known/masque/udp/a/{port}/");
        let Ok(uri) = uri.parse::<Uri>() else {
            continue;
        };
        let found = connect(&uri.to_string(), &[]).unwrap();
        assert_eq!(found, Err(ConnectUdpError::TargetPort), "{port}");
    }
    // Once, and only once.
    assert_eq!(target("%6Camp", "%35684"), target("lamp", "5684"));
    assert_eq!(target("%256Camp", "5684"), denied);
    let mapped = target("%3A%3Affff%3A192.0.2.6", "443").unwrap();
    assert_eq!(Ok(mapped), target("192.0.2.6", "443"));
    for path in [
        "a/443",
        "a/443/b",
        "a/443//",
        "a//443/",
        "a/b/443/",
        "a",
        "",
        "a/443/?x=1",
    ] {
        let uri = format!("https://example.org/.well-known/masque/udp/{path}");
        assert_eq!(
            connect(&uri, &[]),
            Some(Err(ConnectUdpError::Template)),
            "{path}"
        );
    }
}

#[test]
fn target_is_a_device_by_name_or_host_and_always_by_its_port() {
    let asked = |host: &str| target(host, "5684").unwrap();
    assert_eq!(
        is_lamp_at(&asked("lamp"), "coaps://192.0.2.7"),
        (true, false)
    );
    assert_eq!(
        is_lamp_at(&asked("LAMP"), "coaps://192.0.2.7"),
        (false, false)
    );
    assert_eq!(
        is_lamp_at(&asked("192.0.2.7"), "coaps://192.0.2.7"),
        (false, true)
    );
    assert_eq!(
        is_lamp_at(&asked("192.0.2.8"), "coaps://192.0.2.7"),
        (false, false)
    );
    let host = "Lamp.Example";
    assert_eq!(
        is_lamp_at(&asked(host), "coaps://lamp.example"),
        (false, true)
    );
    assert_eq!(
        is_lamp_at(&asked(host), "coaps://a.lamp.example"),
        (false, false)
    );
    for uri in [
        "coaps://192.0.2.7:5685",
        "coap://192.0.2.7:5684",
        "coaps+tcp://192.0.2.7:5684",
    ] {
        for host in ["lamp", "192.0.2.7"] {
            assert_eq!(
                is_lamp_at(&asked(host), uri),
                (false, false),
                "{host} {uri}"
            );
        }
    }
}

/// RFC 9110 §15.5.2: the challenge; RFC 9298 §3.1: Proxy-Status.
#[test]
fn refusals_have_their_status_and_fields() {
    let at = "/.well-known/masque/udp/192.0.2.6/443/";
    let busy = TunnelRefusal::TooMany {
        retry_after_secs: 2,
    };
    for (refusal, status, field) in [
        (TunnelRefusal::Malformed(ConnectUdpError::Host), 400, None),
        (TunnelRefusal::HttpsNeeded, 403, None),
        (TunnelRefusal::CrossSite, 403, None),
        (
            TunnelRefusal::TooManyGuesses {
                retry_after_secs: 30,
            },
            429,
            Some(("retry-after", "30")),
        ),
        (
            TunnelRefusal::Unauthorized,
            401,
            Some((
                "www-authenticate",
                "Basic realm=\"hedgerow\", charset=\"UTF-8\"",
            )),
        ),
        (
            TunnelRefusal::TargetDenied,
            403,
            Some(("proxy-status", "hedgerow; error=destination_ip_prohibited")),
        ),
        (
            TunnelRefusal::TooManyOfUser {
                retry_after_secs: 2,
            },
            429,
            Some(("retry-after", "2")),
        ),
        (busy, 503, Some(("retry-after", "2"))),
        (
            TunnelRefusal::NameNotResolved,
            502,
            Some(("proxy-status", "hedgerow; error=dns_error")),
        ),
        (
            TunnelRefusal::Unroutable,
            502,
            Some(("proxy-status", "hedgerow; error=destination_ip_unroutable")),
        ),
    ] {
        let response = refusal.to_response(&Method::GET, at);
        assert_eq!(response.status(), StatusCode::from_u16(status).unwrap());
        if let Some((name, value)) = field {
            assert_eq!(response.headers()[name], value, "{refusal}");
        }
        // RFC 9297 §3.4: the field goes with no response but one that begins capsules.
        assert!(!response.headers().contains_key("capsule-protocol"));
        let json = String::from_utf8(response.into_body().into_owned()).unwrap();
        assert!(json.contains(&format!("\"status\":{status}")), "{json}");
    }
    let response = TunnelRefusal::Unauthorized.to_response(&Method::GET, at);
    let challenges = response.headers().get_all("www-authenticate");
    assert_eq!(challenges.iter().count(), 2);
}
