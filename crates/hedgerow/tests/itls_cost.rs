//! What a message of mode `itls` costs on the wire, by the program's own parts: TLS in front of the gateway, DTLS behind
//! it (docs/specs/itls.md, "Cost").
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code,
    unreachable_pub
)]

#[path = "support/relay.rs"]
mod relay;
mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hedgerow::coap::Code;
use hedgerow::core::{PeerId, Psk};
use hedgerow::endpoint::ConnectionIds;
use hedgerow::gateway::{Config, Device, Gateway, Itls, Mode, Security, User};
use hedgerow::handshake::Settings;
use hedgerow::net::{
    Authorities, Credentials, ForwardSecrecy, GatewayTls, GatewayUser, ItlsConfig, KeyStore,
    LinkedNode, Node, RequestMessage, ResponseMessage, SecurityPolicy, ServerRequest, itls_link,
};
use hedgerow::presets;
use hedgerow::record::CipherSuite;
use relay::{Sender, TcpRelay, UdpRelay};
use support::{IDENTITY, KEY, loopback};
use tokio::runtime::Runtime;

const GATEWAY_KEY: &[u8] = b"the gateway's own key";
const TOKEN: &str = "0123456789abcdef";
const LIMIT: Duration = Duration::from_secs(20);
const ANSWER: &[u8] = b"twenty-one and a half degrees";

/// Octets above the plaintext, for flows up to 30 and fewer than 256 messages: the inner header, number and tag; the
/// routing header; and the outer session's.
const INNER: usize = 1 + 1 + 8;
const ROUTING: usize = 1;
/// Header, explicit nonce and tag of AES-128-CCM_8 (RFC 6655).
const DTLS: usize = 13 + 8 + 8;
/// TLS 1.3's header, content type and tag (RFC 8446 §5.2), and a message's length before it.
const TLS: usize = 5 + 1 + 16 + 2;

async fn answer(_: ServerRequest) -> ResponseMessage {
    ResponseMessage::new(Code::CONTENT).payload(ANSWER)
}

#[test]
fn message_costs_on_both_hops_what_the_specification_says() {
    let runtime = Runtime::new().unwrap();
    let keys = KeyStore::new();
    let hop = Psk::new(GATEWAY_KEY).unwrap();
    keys.insert("gateway", hop, PeerId(1)).unwrap();
    let end_to_end = || Psk::new(KEY.as_bytes()).unwrap().into_end_to_end().unwrap();
    keys.insert(IDENTITY, end_to_end(), PeerId(2)).unwrap();
    let mut config = presets::device();
    config.endpoint.handshake = Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM_8]);
    config.endpoint.connection_ids = ConnectionIds::Off;
    let device = runtime.block_on(Node::bind_server(loopback(), config, keys, answer));
    let dtls = UdpRelay::start(&runtime, device.as_ref().unwrap().local_addr());
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let itls = Itls::from_pem(loopback(), certificate.as_bytes(), key.as_bytes()).unwrap();
    let security = Security::psk("gateway", GATEWAY_KEY).unwrap();
    let behind = Device::new("it", format!("coaps://{}", dtls.address), security);
    let config = Config::default()
        .with_http(loopback())
        .with_device(behind.with_modes(&[Mode::Itls]))
        .with_user(User::with_token("user", TOKEN.as_bytes()))
        .with_itls(itls);
    let gateway = runtime.block_on(Gateway::start(config)).unwrap();
    let tls = TcpRelay::start(&runtime, gateway.itls_addr().unwrap());
    let authorities = Authorities::new(certificate.as_bytes()).unwrap();
    let trust = GatewayTls::authorities(&authorities).unwrap();
    let uri = format!("https://localhost:{}", tls.address.port());
    let mut way = ItlsConfig::new(uri.parse().unwrap(), trust);
    way.user = Some(GatewayUser::with_token(TOKEN).unwrap());
    // What the driver hands to TLS and takes from it.
    let messages = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&messages);
    let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required);
    let node = runtime.block_on(async {
        let opened = itls_link(&way, "it").await.unwrap();
        let link = opened
            .link
            .observed(move |message| seen.lock().unwrap().push(message.len()));
        LinkedNode::new(link, presets::client(LIMIT).with_security(policy))
    });
    let key = Arc::new(Credentials::new(IDENTITY, end_to_end(), PeerId(1)).unwrap());
    let ask = || {
        let get = RequestMessage::new(Code::GET).path("/x");
        let asked = runtime.block_on(node.request(Some(&key), get)).unwrap();
        assert_eq!(asked.payload, ANSWER);
    };
    // The handshakes, and whatever comes only once: the confirmation, session tickets of TLS.
    ask();
    ask();
    let octets_over_tls = || -> Vec<usize> {
        let kept = tls.recording.lock().unwrap();
        kept.iter().map(Vec::len).collect()
    };
    let datagrams = || dtls.flows().concat();
    messages.lock().unwrap().clear();
    let (tls_before, dtls_before) = (octets_over_tls(), datagrams().len());
    for _ in 0..10 {
        ask();
    }
    let carried = messages.lock().unwrap().clone();
    assert_eq!(carried.len(), 20, "a request and its response, ten times");
    let (request, response) = (carried[0], carried[1]);
    assert!(carried.chunks(2).all(|pair| pair == [request, response]));
    // CoAP: header, token, Uri-Path of one character; header, token, marker and payload (RFC 7252 §3).
    let coap_request = request - ROUTING - INNER;
    let token = coap_request - 4 - 2;
    assert!(token <= 8, "{coap_request}");
    assert_eq!(response - ROUTING - INNER, 4 + token + 1 + ANSWER.len());
    let tls_after = octets_over_tls();
    let spent: Vec<_> = tls_after
        .iter()
        .zip(&tls_before)
        .map(|(a, b)| a - b)
        .collect();
    assert_eq!(spent, [10 * (request + TLS), 10 * (response + TLS)]);
    let datagrams = &datagrams()[dtls_before..];
    let of = |sender: Sender| {
        let its = datagrams.iter().filter(move |(from, _)| *from == sender);
        its.map(|(_, datagram)| datagram.len()).collect::<Vec<_>>()
    };
    assert_eq!(of(Sender::Client), [request + DTLS; 10]);
    assert_eq!(of(Sender::Server), [response + DTLS; 10]);
    // The table's sums.
    assert_eq!((DTLS + ROUTING + INNER, TLS + ROUTING + INNER), (40, 35));
    runtime.block_on(async {
        node.close().await;
        gateway.shutdown().await;
    });
}
