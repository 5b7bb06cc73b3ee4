//! HTTPS whose clients prove themselves with pre-shared keys.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::io;
use std::path::Path;
use std::sync::Arc;

use hedgerow_core::{PeerId, Psk};
use hedgerow_gateway::{Config, HttpsClient, HttpsPsk, Running};
use hedgerow_handshake::Settings;
use hedgerow_net::{Credentials, TlsStream};
use support::{Resources, device, loopback, psk_device, request_on, short_config, start};
use tokio::net::TcpStream;

const KEY: &[u8] = b"a browser's key!";

async fn connect(
    gateway: &Running,
    identity: &str,
    key: &[u8],
    names: &'static [&'static [u8]],
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(gateway.https_psk_addr().unwrap()).await?;
    let psk = Psk::new(key).unwrap();
    let credentials = Credentials::new(identity, psk, PeerId(1)).unwrap();
    let settings = Settings::default().with_application_protocols(names);
    TlsStream::connect(stream, Arc::new(credentials), settings, &Arc::default()).await
}

#[tokio::test]
async fn clients_with_a_key_are_served_and_no_others() {
    let (resources, _told) = Resources::new();
    let node = device(loopback(), resources).await;
    let mut config = short_config().with_device(psk_device("meter", node.local_addr()));
    config.http = None;
    config.https_psk = Some(HttpsPsk {
        listen: loopback(),
        clients: vec![HttpsClient {
            psk_identity: b"dashboard".to_vec(),
            psk: Psk::new(KEY).unwrap(),
        }],
    });
    let gateway = start(config).await;
    assert_eq!((gateway.http_addr(), gateway.https_addr()), (None, None));

    const OFFERS: [&[&[u8]]; 3] = [&[], &[b"http/1.1"], &[b"h2", b"http/1.1"]];
    for names in OFFERS {
        let stream = connect(&gateway, "dashboard", KEY, names).await.unwrap();
        let head = "GET /devices/meter/temperature\r\nhost: gateway.example";
        let reply = request_on(stream, head, b"").await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "21.5"));
    }
    // 20 kB up and down, in records and blocks.
    let body = support::numbered(20_000);
    let stream = connect(&gateway, "dashboard", KEY, &[]).await.unwrap();
    let head = "PUT /devices/meter/image\r\nhost: gateway.example";
    assert_eq!(request_on(stream, head, &body).await.status, 204);
    let stream = connect(&gateway, "dashboard", KEY, &[]).await.unwrap();
    let head = "GET /devices/meter/image\r\nhost: gateway.example";
    assert_eq!(request_on(stream, head, b"").await.body, body);

    for (identity, key) in [("dashboard", &b"another 16 bytes"[..]), ("nobody", KEY)] {
        let refused = connect(&gateway, identity, key, &[]).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    }
    // RFC 7301 §3.2: a client that speaks nothing else than HTTP/2 is told so.
    let refused = connect(&gateway, "dashboard", KEY, &[b"h2"]).await;
    assert!(refused.unwrap_err().to_string().contains("alert 120"));
    // The device's own key opens nothing here.
    let refused = connect(&gateway, "gateway", support::KEY, &[]).await;
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    gateway.shutdown().await;
}

fn parse(lines: &str) -> Result<Config, String> {
    let text = format!(
        "{lines}\n[[device]]\nname = \"lamp\"\nuri = \"coaps://127.0.0.1\"\nmode = \"terminate\"\n\
         security = \"psk\"\npsk_identity = \"lamp\"\npsk = \"0x000102030405060708090a0b0c0d0e0f\"\n"
    );
    Config::from_toml(&text, "test.toml", Path::new("")).map_err(|error| error.to_string())
}

#[test]
fn configuration_names_clients_and_its_mistakes_have_their_lines() {
    let config = parse(
        "[https_psk]\nlisten = \"127.0.0.1:8444\"\n[[https_psk.client]]\n\
         psk_identity = \"dashboard\"\npsk = \"a browser's key!\"\n",
    );
    let https = config.unwrap().https_psk.unwrap();
    assert_eq!(https.listen.port(), 8444);
    assert_eq!(https.clients[0].psk_identity, b"dashboard");
    assert!(!format!("{https:?}").contains("key!"));

    for (lines, mistake) in [
        (
            "[https_psk]\nlisten = \"127.0.0.1:8444\"\n",
            "test.toml:1:1: https_psk.client: missing: expected one [[https_psk.client]] or more",
        ),
        (
            "[https_psk]\nlisten = \"127.0.0.1:8444\"\nclient = []\n",
            "https_psk.client: nobody is let in: expected one client or more",
        ),
        (
            "[https_psk]\n[[https_psk.client]]\npsk_identity = \"a\"\npsk = \"b\"\n",
            "test.toml:1:1: https_psk.listen: missing: expected an address and a port",
        ),
        (
            "[https_psk]\nlisten = \"127.0.0.1:8444\"\n[[https_psk.client]]\npsk = \"b\"\n",
            "test.toml:3:1: client.psk_identity: missing: expected the identity of a client",
        ),
        (
            "[https_psk]\nlisten = \"127.0.0.1:8444\"\n[[https_psk.client]]\npsk_identity = \"a\"\n\
             psk = \"0x000102030405060708090a0b0c0d0e0f\"\n",
            "test.toml:5:7: client.psk: another client or device has this key",
        ),
        (
            "[https_psk]\nlisten = \"127.0.0.1:8444\"\n[[https_psk.client]]\npsk_identity = \"a\"\n\
             psk = \"b\"\n[[https_psk.client]]\npsk_identity = \"a\"\npsk = \"c\"\n",
            "test.toml:7:16: client.psk_identity: stands here twice",
        ),
    ] {
        let found = parse(lines).unwrap_err();
        assert!(found.contains(mistake), "{found}");
    }
}
