//! TLS clients that know of no gateway, through a whole gateway on loopback to devices that adapt
//! (docs/specs/translate-device.md).
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs
)]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_core::{ChannelError, Peer, PeerFault, PeerId, Psk, ServerName};
use hedgerow_gateway::{Config, Device, Gateway, Mode, Running, Security, TlsListener};
use hedgerow_handshake::Settings;
use hedgerow_leg::Role;
use hedgerow_net::{
    AdaptedGateway, AdaptedServer, CarrierFailure, Credentials, ForwardSecrecy, KeyStore,
    LegConfig, Node, NodeConfig, Passage, RequestFailure, RequestMessage, ResponseMessage,
    SecurityPolicy, ServerRequest, TlsStream,
};
use hedgerow_record::{LegForm, StreamApplication};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HOP: &[u8] = b"the hop's own key";
const END_TO_END: &[u8] = b"nobody between has it";

async fn nothing_here(_: ServerRequest) -> ResponseMessage {
    ResponseMessage::new(Code::NOT_FOUND)
}

/// A device that adapts, and says its name.
async fn device(name: &'static str) -> Node {
    let mut config = NodeConfig::default();
    config.endpoint.legs = Some(LegConfig::new(Role::Device));
    let hops = KeyStore::new();
    hops.insert(b"gateway".to_vec(), Psk::new(HOP).unwrap(), PeerId(1))
        .unwrap();
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let node = Node::bind_server(local, config, hops, nothing_here).await;
    let node = node.unwrap();
    let ends = KeyStore::new();
    let psk = Psk::new(END_TO_END).unwrap().into_end_to_end().unwrap();
    ends.insert(b"user".to_vec(), psk, PeerId(1)).unwrap();
    let serving = node.clone();
    tokio::spawn(async move {
        let says = move |_: ServerRequest| async move {
            ResponseMessage::new(Code::CONTENT).payload(name.as_bytes().to_vec())
        };
        AdaptedServer::default().serve(&serving, ends, says).await;
    });
    node
}

fn configured(name: &str, at: SocketAddr, modes: &[Mode]) -> Device {
    let security = Security::Psk {
        identity: b"gateway".to_vec(),
        key: Psk::new(HOP).unwrap(),
        is_shared: true,
    };
    Device::new(name, format!("coaps://{at}"), security).with_modes(modes)
}

const BOTH: &[Mode] = &[Mode::Terminate, Mode::TranslateDevice];

async fn gateway(form: LegForm) -> (Running, [Node; 2]) {
    gateway_with(form, BOTH).await
}

async fn gateway_with(form: LegForm, modes: &[Mode]) -> (Running, [Node; 2]) {
    let devices = [device("lamp").await, device("meter").await];
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut listener = TlsListener::new(local, StreamApplication::Http);
    listener.form = form;
    listener.device = Some("meter".to_owned());
    listener.names = vec![("lamp.example".to_owned(), "lamp".to_owned())];
    let mut config = Config::default().with_tls_listener(listener);
    config.http = None;
    config.dtls.timers.deadline = Duration::from_secs(3);
    for (node, name) in devices.iter().zip(["lamp", "meter"]) {
        config = config.with_device(configured(name, node.local_addr(), modes));
    }
    (Gateway::start(config).await.unwrap(), devices)
}

/// Asks over TLS and returns what came back.
async fn ask(running: &Running, key: &[u8]) -> std::io::Result<String> {
    let psk = Psk::new(key).unwrap().into_end_to_end().unwrap();
    let credentials = Credentials::new(b"user".to_vec(), psk, PeerId(2)).unwrap();
    let policy = Arc::new(SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required));
    let stream = TcpStream::connect(running.tls_listener_addrs()[0]).await?;
    let shown = Arc::new(credentials);
    let mut tls = TlsStream::connect(stream, shown, Settings::default(), &policy).await?;
    let text = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    tls.write_all(text).await?;
    let mut answer = Vec::new();
    tls.read_to_end(&mut answer).await?;
    Ok(String::from_utf8(answer).unwrap())
}

#[tokio::test]
async fn client_without_a_name_reaches_the_default_device_in_both_forms() {
    for (form, modes) in [
        (LegForm::Dtls, BOTH),
        (LegForm::Tls, BOTH),
        // Its key is for the hop alone then, and a shared one counts as weaker than what there would be by default.
        (LegForm::Dtls, &[Mode::TranslateDevice]),
    ] {
        let (running, devices) = gateway_with(form, modes).await;
        let answer = ask(&running, END_TO_END).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nmeter"), "{answer}");
        let statistics = running.adapt_statistics();
        assert_eq!((statistics.accepted, statistics.refused), (1, 0));
        running.shutdown().await;
        for device in devices {
            device.close().await;
        }
    }
}

#[tokio::test]
async fn another_key_gets_nothing() {
    let (running, _devices) = gateway(LegForm::Dtls).await;
    assert!(ask(&running, b"another key of two").await.is_err());
    // The hop's key is no key of two ends.
    assert!(ask(&running, HOP).await.is_err());
    running.shutdown().await;
}

/// Our own client asks for the device by the URI's host, by CoAP over the stream. What isn't a host's name, such as
/// an address, isn't asked for, and leads to the port's own device.
#[tokio::test]
async fn passage_asks_for_the_device_by_its_name() {
    let (running, _devices) = gateway(LegForm::Dtls).await;
    let port = running.tls_listener_addrs()[0].port();
    let passage = Passage::Adapted(AdaptedGateway::new("127.0.0.1", port));
    let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required);
    let config = NodeConfig::default().with_security(policy);
    let shown = |key: &[u8]| {
        let psk = Psk::new(key).unwrap().into_end_to_end().unwrap();
        Arc::new(Credentials::new("user", psk, PeerId(2)).unwrap())
    };
    for (host, device) in [
        ("lamp.example", "lamp"),
        ("LAMP.example", "lamp"),
        ("192.0.2.7", "meter"),
    ] {
        let opened = passage.open(host, 5684, config.clone()).await.unwrap();
        assert_eq!(opened.gateway, running.tls_listener_addrs()[0]);
        let (node, shown) = (opened.node, shown(END_TO_END));
        for _ in 0..2 {
            let request = RequestMessage::new(Code::GET);
            let response = node.request(Some(&shown), request).await.unwrap();
            assert_eq!(response.payload, device.as_bytes(), "{host}");
        }
        // One connection serves both.
        assert_eq!(node.established(), 1);
        assert!(node.suite(Some(&shown)).await.is_some());
        assert_eq!(
            node.peer(Some(&shown)).await,
            Some(Peer::EndToEndPsk(PeerId(2)))
        );
        node.close().await;
    }
    let refused = async |host: &str, key: &[u8]| {
        let opened = passage.open(host, 5684, config.clone()).await.unwrap();
        let request = RequestMessage::new(Code::GET);
        let outcome = opened.node.request(Some(&shown(key)), request).await;
        opened.node.close().await;
        outcome.unwrap_err()
    };
    // No device of this name; and a key that isn't the two ends'.
    let failure = refused("other.example", END_TO_END).await;
    let RequestFailure::Channel(ChannelError::Peer(PeerFault::AlertReceived {
        description, ..
    })) = failure
    else {
        panic!("{failure}");
    };
    assert_eq!(description, 112);
    let failure = refused("lamp.example", b"another key of two").await;
    let refused = ChannelError::Peer(PeerFault::CredentialsRefused);
    assert_eq!(failure, RequestFailure::Channel(refused));
    running.shutdown().await;
    let gone = passage
        .open("lamp.example", 5684, config.clone())
        .await
        .unwrap();
    let (shown, request) = (shown(END_TO_END), RequestMessage::new(Code::GET));
    let gone = gone.node.request(Some(&shown), request).await;
    assert!(matches!(
        gone,
        Err(RequestFailure::Carrier(CarrierFailure::Connect { .. }))
    ));
}

/// A ClientHello for a name, as far as the gateway reads it.
fn hello(name: &str) -> Vec<u8> {
    let name = ServerName::new(name).unwrap();
    let len = u8::try_from(name.as_str().len()).unwrap();
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0xc0, 0xa8, 1, 0]);
    body.extend([0, len + 9, 0, 0, 0, len + 5, 0, len + 3, 0, 0, len]);
    body.extend(name.as_str().as_bytes());
    let len = u8::try_from(body.len()).unwrap();
    let mut record = vec![22, 3, 1, 0, len + 4, 1, 0, 0, len];
    record.extend(body);
    record
}

/// One that leads to the default device.
fn hello_without_a_name() -> Vec<u8> {
    let mut record = vec![22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3];
    record.extend([7; 32]);
    record.extend([0, 0, 2, 0xc0, 0xa8, 1, 0]);
    record
}

/// Sends these bytes and returns all that comes back.
async fn said_to(running: &Running, bytes: &[u8]) -> Vec<u8> {
    let at = running.tls_listener_addrs()[0];
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

/// The default device is gone. What answers is the lamp's TLS, which has none of the suites that are offered: a
/// gateway never says so.
#[tokio::test]
async fn name_in_the_hello_leads_to_its_device_and_no_name_to_the_default() {
    const HANDSHAKE_FAILURE: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];
    let (running, devices) = gateway(LegForm::Dtls).await;
    devices[1].close().await;
    for name in ["lamp.example", "LAMP.Example"] {
        assert_eq!(said_to(&running, &hello(name)).await, HANDSHAKE_FAILURE);
    }
    // Without a name nobody is there.
    assert!(ask(&running, END_TO_END).await.is_err());
    let statistics = running.adapt_statistics();
    assert_eq!((statistics.accepted, statistics.refused), (3, 0));
    running.shutdown().await;
}

#[tokio::test]
async fn name_without_a_device_and_what_is_no_tls_end_before_any_device_is_asked() {
    let (running, _devices) = gateway(LegForm::Dtls).await;
    let alert = [21, 3, 3, 0, 2, 2, 112];
    for (bytes, expected) in [
        (hello("other.example"), &alert[..]),
        (b"GET / HTTP/1.1\r\n".to_vec(), b""),
    ] {
        assert_eq!(said_to(&running, &bytes).await, expected);
    }
    let statistics = running.adapt_statistics();
    assert_eq!((statistics.accepted, statistics.refused), (0, 2));
    running.shutdown().await;
}

#[tokio::test]
async fn device_that_sleeps_gives_a_reset_and_no_orderly_end() {
    let (running, devices) = gateway(LegForm::Dtls).await;
    devices[1].close().await;
    // No octet of the gateway's own, and no end: RFC 5246 §7.2.1 has an end in order say close_notify.
    let mut stream = TcpStream::connect(running.tls_listener_addrs()[0])
        .await
        .unwrap();
    stream.write_all(&hello_without_a_name()).await.unwrap();
    let mut answer = Vec::new();
    let outcome = stream.read_to_end(&mut answer).await;
    assert_eq!(answer, b"");
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::ConnectionReset);
    // Nor does a TLS client take it for one.
    let asked = ask(&running, END_TO_END).await;
    assert_eq!(asked.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(running.adapt_statistics().closed, 0);
    running.shutdown().await;
}

#[test]
fn configuration_names_listener_devices_and_what_is_wrong() {
    let text = |listener: &str| {
        format!(
            "[http]\nenabled = false\n[[tls_listener]]\nlisten = \"127.0.0.1:5684\"\n{listener}\n\
             [[device]]\nname = \"lamp\"\nuri = \"coaps://[2001:db8::7]\"\nmodes = [\"translate-device\"]\n\
             security = \"psk\"\npsk_identity = \"g\"\npsk = \"0x746f7020736563726574206b65792121\"\n"
        )
    };
    let parse = |listener: &str| {
        let folder = std::path::Path::new("");
        Config::from_toml(&text(listener), "hedgerow.toml", folder)
    };
    let good = "application = \"http\"\nform = \"tls\"\nnames = [\"lamp.example=lamp\"]";
    let listeners = parse(good).unwrap().tls_listeners;
    assert_eq!(listeners[0].application, StreamApplication::Http);
    assert_eq!(listeners[0].form, LegForm::Tls);
    let names = [("lamp.example".to_owned(), "lamp".to_owned())];
    assert_eq!(listeners[0].names, names);
    for (listener, what) in [
        ("device = \"lamp\"", "application"),
        ("application = \"coap\"", "leads nowhere"),
        (
            "application = \"coap\"\ndevice = \"other\"",
            "expected a device",
        ),
        ("application = \"coap\"\nnames = [\"lamp\"]", "NAME=DEVICE"),
        (
            "application = \"coap\"\nnames = [\"192.0.2.1=lamp\"]",
            "DNS name",
        ),
        (
            "application = \"coap\"\nnames = [\"a.b=lamp\", \"A.b=lamp\"]",
            "twice",
        ),
    ] {
        let error = parse(listener).unwrap_err().to_string();
        assert!(error.contains(what), "{listener}: {error}");
    }
}
