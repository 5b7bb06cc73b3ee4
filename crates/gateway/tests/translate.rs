//! Mode `translate` over loopback: an Internet end, a gateway without its keys, and an ordinary device.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_coap::{Code, OptionNumber};
use hedgerow_core::{DropReason, PeerId, Psk};
use hedgerow_endpoint::{ForwardSecrecy, SecurityPolicy, TranslateError};
use hedgerow_gateway::{Config, Device, Gateway, Mode, Running, Security, Translate};
use hedgerow_handshake::Settings;
use hedgerow_net::{
    CarrierFailure, Credentials, KeyStore, LinkedNode, Node, NodeConfig, RequestMessage,
    TranslateConfig, translated_link,
};
use hedgerow_record::{CipherSuite, TranslateForm};
use support::lines::Lines;
use support::{KEY, Resources, loopback, short_config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::Instant;

/// What the ends have, and nobody between them.
const END_TO_END: &[u8] = b"the ends' own 16";

/// A device with a key for each of the two modes.
async fn device() -> (Node, SocketAddr) {
    let keys = KeyStore::new();
    let psk = Psk::new(KEY).unwrap();
    keys.insert(b"gateway".to_vec(), psk, PeerId(1)).unwrap();
    let psk = Psk::new(END_TO_END).unwrap().into_end_to_end().unwrap();
    keys.insert(b"end".to_vec(), psk, PeerId(2)).unwrap();
    let (resources, _) = Resources::new();
    let node = Node::bind_server(loopback(), NodeConfig::default(), keys, resources)
        .await
        .unwrap();
    let address = node.local_addr();
    (node, address)
}

fn limits() -> Translate {
    Translate::new(loopback())
}

/// A gateway that terminates for the device as well, so that it has a key of its own for it.
async fn gateway(device: SocketAddr, translate: Translate) -> Running {
    let security = Security::psk("gateway", KEY).unwrap();
    let both = Device::new("thermometer", format!("coaps://{device}"), security)
        .with_modes(&[Mode::Terminate, Mode::Translate]);
    let elsewhere = SocketAddr::from(([127, 0, 0, 2], device.port()));
    let security = Security::psk("gateway", b"another 16 bytes").unwrap();
    let terminated = Device::new("meter", format!("coaps://{elsewhere}"), security);
    let config = short_config()
        .with_device(both)
        .with_device(terminated)
        .with_translate(translate);
    Gateway::start(config).await.unwrap()
}

fn node(suites: &[CipherSuite]) -> NodeConfig {
    let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Optional);
    NodeConfig {
        endpoint: hedgerow_endpoint::Config {
            security: Arc::new(policy),
            handshake: Settings::new(suites),
            ..hedgerow_endpoint::Config::default()
        },
        ..NodeConfig::default()
    }
}

fn credentials(key: &[u8]) -> Arc<Credentials> {
    let psk = Psk::new(key).unwrap().into_end_to_end().unwrap();
    Arc::new(Credentials::new(b"end".to_vec(), psk, PeerId(7)).unwrap())
}

fn get(path: &str) -> RequestMessage {
    RequestMessage::new(Code::GET).option(OptionNumber::URI_PATH, path)
}

fn asking(gateway: &Running, device: &str, form: TranslateForm) -> TranslateConfig {
    TranslateConfig::new(gateway.translate_addr().unwrap(), device, form)
}

async fn refusal(gateway: &Running, device: &str) -> CarrierFailure {
    let config = asking(gateway, device, TranslateForm::Short);
    translated_link(&config).await.unwrap_err()
}

#[tokio::test]
async fn requests_reach_the_device_in_either_form() {
    let (_device, address) = device().await;
    let gateway = gateway(address, limits()).await;
    for (form, suite) in [
        (
            TranslateForm::Short,
            CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
        ),
        (
            TranslateForm::Short,
            CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256,
        ),
        (
            TranslateForm::Long,
            CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256,
        ),
        (
            TranslateForm::Long,
            CipherSuite::TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256,
        ),
    ] {
        let config = asking(&gateway, "thermometer", form);
        let link = translated_link(&config).await.unwrap();
        let client = LinkedNode::new(link, node(&[suite]));
        let shown = credentials(END_TO_END);
        let answer = client.request(Some(&shown), get("temperature")).await;
        assert_eq!(answer.unwrap().payload, b"21.5");
        let answer = client.request(Some(&shown), get("history")).await;
        assert_eq!(answer.unwrap().payload, support::history());
        assert_eq!(client.suite().await, Some(suite));
        client.close().await;
    }
    let statistics = gateway.translate_statistics();
    assert_eq!((statistics.accepted, statistics.established), (4, 4));
    assert!(statistics.datagrams_to_devices > 120);
    assert!(statistics.datagrams_from_devices > 120);
    for &reason in DropReason::ALL {
        assert_eq!(statistics.dropped(reason), 0, "{}", reason.label());
    }
    gateway.shutdown().await;
}

#[tokio::test]
async fn keys_of_the_gateway_establish_nothing() {
    let (_device, address) = device().await;
    let gateway = gateway(address, limits()).await;
    let config = asking(&gateway, "thermometer", TranslateForm::Short);
    let link = translated_link(&config).await.unwrap();
    let mut config = node(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM_8]);
    config.endpoint.handshake = config
        .endpoint
        .handshake
        .with_timers(hedgerow_handshake::Timers {
            initial_timeout: Duration::from_millis(100),
            max_transmissions: 2,
            deadline: Duration::from_millis(400),
            ..hedgerow_handshake::Timers::default()
        });
    let client = LinkedNode::new(link, config);
    let shown = credentials(KEY);
    let answer = client.request(Some(&shown), get("temperature")).await;
    assert!(answer.is_err());
    assert_eq!(gateway.translate_statistics().established, 0);
    gateway.shutdown().await;
}

#[tokio::test]
async fn unknown_device_and_another_mode_are_refused_alike() {
    let (_device, address) = device().await;
    let gateway = gateway(address, limits()).await;
    let refused = CarrierFailure::Translate(TranslateError::Refused);
    assert_eq!(refusal(&gateway, "meter").await, refused);
    assert_eq!(refusal(&gateway, "nobody").await, refused);
    assert_eq!(refusal(&gateway, "Thermometer").await, refused);
    let statistics = gateway.translate_statistics();
    assert_eq!((statistics.refused, statistics.accepted), (3, 0));
    gateway.shutdown().await;
}

#[tokio::test]
async fn places_are_bounded_in_all_and_for_a_client_and_a_device() {
    let (_device, address) = device().await;
    for translate in [
        Translate {
            connections_per_device: 2,
            ..limits()
        },
        Translate {
            connections: 2,
            ..limits()
        },
        Translate {
            connections_per_client: 2,
            ..limits()
        },
    ] {
        let is_of_device = translate.connections_per_device == 2;
        let gateway = gateway(address, translate).await;
        let config = asking(&gateway, "thermometer", TranslateForm::Short);
        let _one = translated_link(&config).await.unwrap();
        let two = translated_link(&config).await.unwrap();
        let failure = translated_link(&config).await.unwrap_err();
        match is_of_device {
            true => assert_eq!(failure, CarrierFailure::Translate(TranslateError::Busy)),
            // Closed before anything was read.
            false => assert!(matches!(
                failure,
                CarrierFailure::Connect { .. }
                    | CarrierFailure::Translate(TranslateError::Unanswered)
            )),
        }
        assert_eq!(gateway.translate_statistics().busy, 1);
        drop(two);
        // The place is free once the gateway has seen the end.
        while gateway.translate_statistics().open > 1 {
            tokio::task::yield_now().await;
        }
        while translated_link(&config).await.is_err() {}
        gateway.shutdown().await;
    }
}

/// What the gateway does with bytes that no Internet end sends.
#[tokio::test]
async fn strangers_get_no_answer_or_a_refusal_and_reach_no_device() {
    let silent = UdpSocket::bind(loopback()).await.unwrap();
    let gateway = gateway(silent.local_addr().unwrap(), limits()).await;
    let address = gateway.translate_addr().unwrap();
    for (sent, answer) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], &b""[..]),
        (b"\x16\x03\x01\x00\x05hello", b""),
        (b"HGTR\x01\x01\x00", b""),
        (b"HGTR\x02\x01\x01a", b"HGTR\x01\x01\x03"),
        (b"HGTR\x01\x05\x01a", b"HGTR\x01\x05\x03"),
        (
            b"HGTR\x01\x01\x05meter\x16\xfe\xfd\0\x01a",
            b"HGTR\x01\x01\x01",
        ),
        (b"HGTR\x01\x01\x0bthermometerGET / HT", b"HGTR\x01\x01\x00"),
        (
            b"HGTR\x01\x01\x0bthermometer\0\0\0\0\x03\x01\0\0",
            b"HGTR\x01\x01\x00",
        ),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut read = Vec::new();
        let _ = stream.read_to_end(&mut read).await;
        assert_eq!(read, answer, "{sent:?}");
    }
    let statistics = gateway.translate_statistics();
    assert_eq!((statistics.not_supported, statistics.accepted), (5, 2));
    assert_eq!(statistics.datagrams_to_devices, 0);
    gateway.shutdown().await;
}

#[tokio::test]
async fn preface_that_does_not_come_and_session_that_does_not_end_the_connection() {
    let silent = UdpSocket::bind(loopback()).await.unwrap();
    let translate = Translate {
        preface_timeout: Duration::from_millis(100),
        establish_timeout: Duration::from_millis(100),
        ..limits()
    };
    let gateway = gateway(silent.local_addr().unwrap(), translate).await;
    let address = gateway.translate_addr().unwrap();
    for sent in [
        &b"HGTR\x01\x01\x0btherm"[..],
        b"HGTR\x01\x01\x0bthermometer",
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
    }
    assert_eq!(gateway.translate_statistics().open, 0);
    gateway.shutdown().await;
}

/// Datagrams of strangers to a device have a rate of their own, and long ones aren't split.
#[tokio::test]
async fn what_strangers_send_to_a_device_is_limited() {
    let device = UdpSocket::bind(loopback()).await.unwrap();
    let translate = Translate {
        max_datagram: 100,
        ..limits()
    };
    let begun = Instant::now();
    let gateway = gateway(device.local_addr().unwrap(), translate).await;
    let mut stream = TcpStream::connect(gateway.translate_addr().unwrap())
        .await
        .unwrap();
    let mut sent = b"HGTR\x01\x01\x0bthermometer".to_vec();
    sent.extend(b"\x16\xfe\xfd\x00\x58");
    sent.extend([7; 88]);
    for _ in 0..60 {
        sent.extend(b"\x16\xfe\xfd\x00\x01a");
    }
    stream.write_all(&sent).await.unwrap();
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, *b"HGTR\x01\x01\x00\0\0\0\0\x03\x02\x00\x65");
    // In the order of their numbers, from 0.
    let mut datagram = [0; 64];
    for number in 0..20 {
        let (len, _) = device.recv_from(&mut datagram).await.unwrap();
        assert_eq!(
            datagram[..len],
            [
                &[0x16, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, number][..],
                &[0, 1],
                b"a"
            ]
            .concat()
        );
    }
    loop {
        let statistics = gateway.translate_statistics();
        let sent = statistics.datagrams_to_devices;
        let limited = statistics.dropped(DropReason::RateLimited);
        if sent + limited == 60 {
            // Twenty at once, and another one each tenth of a second.
            let most = 21 + begun.elapsed().as_millis() / 100;
            assert!(sent >= 20 && u128::from(sent) <= most, "{sent} of {most}");
            assert_eq!(statistics.dropped(DropReason::TooLong), 1);
            break;
        }
        tokio::task::yield_now().await;
    }
    gateway.shutdown().await;
}

/// An Internet end that doesn't read keeps nothing that it sends from the device: it may be waiting
/// itself until the gateway reads.
#[tokio::test]
async fn directions_do_not_wait_for_each_other() {
    let device = UdpSocket::bind(loopback()).await.unwrap();
    let gateway = gateway(device.local_addr().unwrap(), limits()).await;
    let mut stream = TcpStream::connect(gateway.translate_addr().unwrap())
        .await
        .unwrap();
    let record = b"\x16\xfe\xfd\x00\x01a";
    stream
        .write_all(b"HGTR\x01\x01\x0bthermometer")
        .await
        .unwrap();
    stream.write_all(record).await.unwrap();
    let mut datagram = [0; 64];
    let (_, gateway_side) = device.recv_from(&mut datagram).await.unwrap();
    // Until the gateway takes no more of the device's, since nobody reads them.
    let mut from_device = b"\x17\xfe\xfd\0\x01\0\0\0\0\0\x01\x04\xb0\0\x01\0\0\0\0\0\x01".to_vec();
    from_device.resize(13 + 1_200, 7);
    let mut seen = 0;
    let mut still = 0;
    while still < 50 {
        for _ in 0..20 {
            device.send_to(&from_device, gateway_side).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        let now = gateway.translate_statistics().datagrams_from_devices;
        still = if now == seen { still + 1 } else { 0 };
        seen = now;
    }
    stream.write_all(record).await.unwrap();
    let heard = device.recv_from(&mut datagram);
    let heard = tokio::time::timeout(Duration::from_secs(10), heard).await;
    assert!(heard.is_ok(), "the device heard nothing");
    gateway.shutdown().await;
}

/// A gateway that stops says what became of each connection.
#[tokio::test]
async fn gateway_that_stops_leaves_the_audit_trail_whole() {
    let lines = Lines::of_process();
    let device = UdpSocket::bind(loopback()).await.unwrap();
    let gateway = gateway(device.local_addr().unwrap(), limits()).await;
    let mut stream = TcpStream::connect(gateway.translate_addr().unwrap())
        .await
        .unwrap();
    let asked = b"HGTR\x01\x01\x0bthermometer\x16\xfe\xfd\x00\x01a";
    stream.write_all(asked).await.unwrap();
    device.recv_from(&mut [0; 64]).await.unwrap();
    gateway.shutdown().await;
    let from = stream.local_addr().unwrap().to_string();
    let told = lines.audited("connection ended", &from);
    assert_eq!(told.len(), 1, "{told:#?}");
    for part in [
        "device=\"thermometer\"",
        "datagrams_to_device=1",
        "end=gateway stopping",
    ] {
        assert!(told[0].contains(part), "{part}: {told:#?}");
    }
}

/// The gateway's word that a datagram was too long makes later ones shorter.
#[tokio::test]
async fn datagrams_get_as_short_as_the_gateway_carries() {
    let (_device, address) = device().await;
    let translate = Translate {
        max_datagram: 500,
        ..limits()
    };
    let gateway = gateway(address, translate).await;
    let config = asking(&gateway, "thermometer", TranslateForm::Short);
    let link = translated_link(&config).await.unwrap();
    let suite = CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256;
    let client = LinkedNode::new(link, node(&[suite]));
    let shown = credentials(END_TO_END);
    let put = RequestMessage::new(Code::PUT)
        .option(OptionNumber::URI_PATH, "stored")
        .payload(vec![7; 3_000]);
    let answer = client.request(Some(&shown), put).await.unwrap();
    assert!(answer.code.is_success(), "{answer:?}");
    let stored = client.request(Some(&shown), get("stored")).await.unwrap();
    assert_eq!(stored.payload, [7; 3_000]);
    let statistics = gateway.translate_statistics();
    assert!(statistics.dropped(DropReason::TooLong) > 0);
    assert!(client.link_drops().too_long > 0);
    client.close().await;
    gateway.shutdown().await;
}

#[test]
fn configuration_says_which_devices_are_reached_how() {
    let text = r#"
        [http]
        enabled = false
        [translate]
        listen = "127.0.0.1:0"
        connections_per_device = 3
        [[device]]
        name = "lamp"
        uri = "coaps://192.0.2.9"
        modes = ["translate"]
    "#;
    let config = Config::from_toml(text, "t", std::path::Path::new(".")).unwrap();
    assert_eq!(config.translate.unwrap().connections_per_device, 3);
    let without = text
        .replace("[translate]", "[coap]")
        .replace("listen = \"127.0.0.1:0\"", "");
    let without = without.replace("connections_per_device = 3", "");
    let mistake = Config::from_toml(&without, "t", std::path::Path::new(".")).unwrap_err();
    assert!(mistake.to_string().contains("[translate]"), "{mistake}");
    let tcp = text.replace("coaps:", "coaps+tcp:");
    let mistake = Config::from_toml(&tcp, "t", std::path::Path::new(".")).unwrap_err();
    assert!(mistake.to_string().contains("coaps://"), "{mistake}");
}
