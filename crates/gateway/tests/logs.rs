//! What is logged of a request, and what never is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use support::lines::Lines;
use support::{Resources, device, get, loopback, psk_device, request, short_config, start};

// One test in this file: the lines of others would be among them.
#[tokio::test]
async fn a_request_is_one_line_without_query_fields_bodies_and_keys() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let (resources, _told) = Resources::new();
    let node = device(loopback(), resources).await;
    let gateway = start(short_config().with_device(psk_device("meter", node.local_addr()))).await;
    let at = gateway.http_addr().unwrap();
    get(&gateway, "/devices/meter/temperature?token=query-secret").await;
    let put = "PUT /devices/meter/a\r\nauthorization: field-secret";
    request(at, put, b"body-secret").await;
    get(&gateway, "/hc/coap://user:password-secret@192.0.2.1/").await;
    get(&gateway, "/hc/coap://192.0.2.1/").await;
    get(&gateway, "/devices/meter/%0a\u{85}x").await;
    gateway.shutdown().await;
    let lines = lines.all();
    let access: Vec<_> = lines
        .iter()
        .filter(|it| it.contains("hedgerow::access"))
        .collect();
    assert_eq!(access.len(), 5, "{access:#?}");
    for part in [
        "method=GET",
        "path=\"/devices/meter/temperature\"",
        "device=\"meter\"",
        "mode=\"terminate\"",
        "security=\"psk\"",
        "security_mode=\"MultiKey\"",
        "status=200",
        "ms=",
    ] {
        assert!(access[0].contains(part), "{part}: {}", access[0]);
    }
    assert!(access[2].contains("path=\"(hidden)\""), "{}", access[2]);
    assert!(access[3].contains("status=403"), "{}", access[3]);
    let audit: Vec<_> = lines
        .iter()
        .filter(|it| it.contains("hedgerow::audit"))
        .collect();
    assert_eq!(audit.len(), 3, "{audit:#?}");
    assert!(
        audit[1].contains("path=\"/hc/coap://192.0.2.1/\""),
        "{}",
        audit[1]
    );
    let configured = lines
        .iter()
        .find(|it| it.contains("device configured"))
        .unwrap();
    assert!(
        configured.contains("mode=\"terminate\" security=\"psk\" security_mode=MultiKey"),
        "{configured}"
    );
    for line in lines.iter().filter(|line| line.contains(" hedgerow")) {
        for secret in ["secret", "sixteen byte key", "7369787465656e"] {
            assert!(!line.contains(secret), "{line}");
        }
        assert!(!line.contains(char::is_control), "{line}");
    }
}
