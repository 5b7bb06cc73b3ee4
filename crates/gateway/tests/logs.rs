//! What is logged of a request, and what never is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use support::{Resources, device, get, loopback, psk_device, request, short_config, start};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Keeps every event at every level as a line.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut line = Line(format!("{} {}", metadata.level(), metadata.target()));
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

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
    let lines = lines.0.lock().unwrap();
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
