//! Devices that adapt to TLS clients and begin their sessions with the gateway themselves, from behind a network's NAT
//! (docs/specs/translate-device.md).
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_core::{PeerId, Psk};
use hedgerow_gateway::{
    Config, Device, Leg, LegPeer, LegService, Mode, Running, Security, TlsListener,
};
use hedgerow_handshake::Settings;
use hedgerow_leg::Role;
use hedgerow_net::{
    AdaptedServer, Credentials, ForwardSecrecy, KeyStore, LegConfig, Node, NodeConfig,
    ResponseMessage, SecurityPolicy, ServerRequest, Target, TlsStream,
};
use hedgerow_record::StreamApplication;
use support::{loopback, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The device's own key as the one that calls, and the gateway's as the one that calls the device.
const CALLER: &[u8] = b"the hop's own key";
const CALLED: &[u8] = b"the other hop's key";
const END_TO_END: &[u8] = b"nobody between has it";

/// For what has to happen at all.
const LONG: Duration = Duration::from_secs(20);

/// A gateway with a device of that name where nobody answers, who may come by itself.
async fn gateway(name: &str, at: SocketAddr) -> Running {
    let mut leg = Leg::new(loopback());
    leg.peers.push(LegPeer {
        name: name.to_owned(),
        psk_identity: b"caller".to_vec(),
        psk: Psk::new(CALLER).unwrap(),
        services: Vec::new(),
    });
    if name != "lamp" {
        // A listener that would serve nobody is refused.
        leg.services.push(LegService {
            name: "none".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 9,
        });
    }
    let mut listener = TlsListener::new(loopback(), StreamApplication::Http);
    listener.device = Some("lamp".to_owned());
    let security = Security::psk("gateway", CALLED).unwrap();
    let device = Device::new("lamp", format!("coaps://{at}"), security);
    let mut config = Config::default()
        .with_leg(leg)
        .with_tls_listener(listener)
        .with_device(device.with_modes(&[Mode::TranslateDevice]));
    config.http = None;
    config.dtls.timers.max_transmissions = 3;
    config.dtls.timers.initial_timeout = Duration::from_millis(100);
    start(config).await
}

/// A device that adapts, which nobody can call, and answers with `says`.
async fn caller(running: &Running, key: &[u8], says: &'static str) -> (Node, Target) {
    let mut config = NodeConfig::default();
    config.endpoint.legs = Some(LegConfig::new(Role::Device));
    let node = Node::bind_client(loopback(), config).await.unwrap();
    let credentials = Credentials::new("caller", Psk::new(key).unwrap(), PeerId(1)).unwrap();
    let target = Target {
        address: running.leg_addr().unwrap(),
        credentials: Some(Arc::new(credentials)),
    };
    let ends = KeyStore::new();
    let psk = Psk::new(END_TO_END).unwrap().into_end_to_end().unwrap();
    ends.insert(b"user".to_vec(), psk, PeerId(1)).unwrap();
    let serving = node.clone();
    tokio::spawn(async move {
        let answer = move |_: ServerRequest| async move {
            ResponseMessage::new(Code::CONTENT).payload(says.as_bytes().to_vec())
        };
        AdaptedServer::default().serve(&serving, ends, answer).await;
    });
    node.begin_hop(&target).unwrap();
    (node, target)
}

/// Waits until the device has its session.
async fn established(node: &Node, target: &Target) {
    let there = async {
        while node.suite(target.address).await.is_none() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, there).await.unwrap();
}

/// Asks over TLS and returns what came back.
async fn ask(running: &Running) -> std::io::Result<String> {
    let psk = Psk::new(END_TO_END).unwrap().into_end_to_end().unwrap();
    let credentials = Credentials::new(b"user".to_vec(), psk, PeerId(2)).unwrap();
    let policy = Arc::new(SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required));
    let stream = TcpStream::connect(running.tls_listener_addrs().first().unwrap()).await?;
    let shown = Arc::new(credentials);
    let mut tls = TlsStream::connect(stream, shown, Settings::default(), &policy).await?;
    let text = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    tls.write_all(text).await?;
    let mut answer = String::new();
    tls.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn device_that_has_begun_its_session_is_reached_in_it() {
    // Nobody answers there: the port of a socket that is gone.
    let dead = "127.0.0.1:1".parse().unwrap();
    let running = gateway("lamp", dead).await;
    // Without a session the gateway calls, and nobody is there.
    assert!(timeout(LONG, ask(&running)).await.unwrap().is_err());
    // Who has another key has no session.
    let (stranger, _) = caller(&running, b"some other bytes", "stranger").await;
    assert!(timeout(LONG, ask(&running)).await.unwrap().is_err());
    let (node, target) = caller(&running, CALLER, "one").await;
    established(&node, &target).await;
    let answer = timeout(LONG, ask(&running)).await.unwrap().unwrap();
    assert!(answer.ends_with("\r\n\r\none"), "{answer}");
    // It comes back from another address, without having said that it went.
    let (other, target) = caller(&running, CALLER, "other").await;
    established(&other, &target).await;
    let answer = timeout(LONG, ask(&running)).await.unwrap().unwrap();
    assert!(answer.ends_with("\r\n\r\nother"), "{answer}");
    assert_eq!(running.leg_statistics().refused, 0);
    for node in [node, other, stranger] {
        node.close().await;
    }
    running.shutdown().await;
}

#[tokio::test]
async fn session_of_another_device_is_not_taken() {
    let running = gateway("meter", "127.0.0.1:1".parse().unwrap()).await;
    let (node, target) = caller(&running, CALLER, "meter").await;
    established(&node, &target).await;
    assert!(timeout(LONG, ask(&running)).await.unwrap().is_err());
    node.close().await;
    running.shutdown().await;
}

#[tokio::test]
async fn device_that_has_ended_its_session_is_called_again() {
    let mut config = NodeConfig::default();
    config.endpoint.legs = Some(LegConfig::new(Role::Device));
    let hops = KeyStore::new();
    hops.insert(b"gateway".to_vec(), Psk::new(CALLED).unwrap(), PeerId(1))
        .unwrap();
    let nothing_here = async |_| ResponseMessage::new(Code::NOT_FOUND);
    let called = Node::bind_server(loopback(), config, hops, nothing_here).await;
    let called = called.unwrap();
    let running = gateway("lamp", called.local_addr()).await;
    let (node, target) = caller(&running, CALLER, "caller").await;
    established(&node, &target).await;
    let answer = timeout(LONG, ask(&running)).await.unwrap().unwrap();
    assert!(answer.ends_with("\r\n\r\ncaller"), "{answer}");
    node.close().await;
    // The gateway may not have heard of the end at once.
    let asking = async {
        loop {
            assert!(ask(&running).await.is_err());
        }
    };
    let taking = async { called.accept_stream().await.unwrap() };
    tokio::select! {
        () = asking => {}
        incoming = timeout(LONG, taking) => drop(incoming.unwrap()),
    }
    running.shutdown().await;
    called.close().await;
}
