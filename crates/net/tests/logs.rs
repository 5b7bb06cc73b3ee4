//! What stands in the log, and what never does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code
)]

mod support;

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use hedgerow_coap::OptionNumber;
use hedgerow_core::{PeerId, SecurityMode};
use hedgerow_net::{
    Credentials, KeyStore, Node, SecurityPolicy, StreamClient, StreamConfig, StreamServer, Target,
};
use support::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Keeps each event as a line.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(Level, String)>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("hedgerow")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let level = *event.metadata().level();
        self.0.lock().unwrap().push((level, line.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

const IDENTITY: &[u8] = b"quite\nsecret-name";
const WRONG_KEY: &[u8] = b"secret-wrong-key";
const RIGHT_KEY: &[u8] = b"secret-right-key";

/// The same over TLS with a wrong key and the right one, and over TCP in clear.
async fn over_streams() {
    let keys = KeyStore::new();
    keys.insert(IDENTITY, psk(RIGHT_KEY), PeerId(7)).unwrap();
    let local = address("127.0.0.1:0");
    let any = SecurityPolicy::new(SecurityMode::NoSec);
    let config = StreamConfig::default().with_security(any);
    let tls = StreamServer::bind(local, config.clone(), keys, echo);
    let tls = tls.await.unwrap();
    let clear = StreamServer::bind_without_security(local, config.clone(), echo);
    let clear = clear.await.unwrap();
    for key in [Some(WRONG_KEY), Some(RIGHT_KEY), None] {
        let credentials = key.map(|key| Credentials::new(IDENTITY, psk(key), PeerId(1)).unwrap());
        let server = if key.is_some() { &tls } else { &clear };
        let target = Target {
            address: server.local_addr(),
            credentials: credentials.map(Arc::new),
        };
        let client = StreamClient::new(config.clone());
        let request = get("/secret-path")
            .option(OptionNumber::URI_QUERY, "secret-query")
            .payload("secret-payload");
        let answered = client.request(&target, request).await;
        assert_eq!(answered.is_ok(), key != Some(WRONG_KEY));
        client.close().await;
        until(|| server.statistics().connections == 0).await;
    }
}

#[test]
fn log_tells_what_happened_and_no_secret() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    run(async {
        let keys = KeyStore::new();
        keys.insert(IDENTITY, psk(RIGHT_KEY), PeerId(7)).unwrap();
        let local = address("127.0.0.1:0");
        let server = Node::bind_server(local, hasty(), keys, echo).await.unwrap();
        for key in [WRONG_KEY, RIGHT_KEY] {
            let client = Node::bind_client(local, hasty()).await.unwrap();
            let credentials = Credentials::new(IDENTITY, psk(key), PeerId(1)).unwrap();
            let target = Target {
                address: server.local_addr(),
                credentials: Some(Arc::new(credentials)),
            };
            let request = get("/secret-path")
                .option(OptionNumber::URI_QUERY, "secret-query")
                .payload("secret-payload");
            let answered = client.request(&target, request).await;
            assert_eq!(answered.is_ok(), key == RIGHT_KEY);
            client.close().await;
        }
        until(|| server.statistics().failed_handshakes == 1).await;
        until(|| server.statistics().associations == 0).await;
        server.close().await;
        over_streams().await;
    });

    let lines = log.0.lock().unwrap();
    let all: String = lines
        .iter()
        .map(|(level, line)| format!("{level} {line}\n"))
        .collect();
    for expected in [
        "association established",
        "suite=TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256",
        "mode=\"dtls-psk\"",
        "peer=Psk(PeerId(7))",
        "association failed",
        "error=credentials refused or not answered",
        "association closed remote=127.0.0.1:",
        "handshake failed",
        "reason=\"authentication_failed\"",
        "psk_identity=quite\\nsecret-name",
        "message=connection begun remote=127.0.0.1:",
        "connection established",
        "mode=\"tls-psk\"",
        "mode=\"nosec\"",
        "peer=Anonymous",
        "server without security",
        "connection failed",
        "handshake failed remote=127.0.0.1:",
        "error=peer broke the protocol: alert 20 sent",
        "connection closed",
        "reason=released by the peer",
    ] {
        assert!(all.contains(expected), "{expected} is missing in\n{all}");
    }
    for (level, line) in lines.iter() {
        let rest = match *level {
            // Here alone the identity may show, on one line.
            Level::DEBUG => line.replace("quite\\nsecret-name", ""),
            _ => line.clone(),
        };
        assert!(!rest.contains("secret"), "{level} {line}");
        assert!(!rest.contains('\n'), "{level} {line}");
    }
}
