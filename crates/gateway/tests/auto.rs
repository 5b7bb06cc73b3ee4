//! Tunnels with two carriers over real sockets: the program's client, a relay that can be deaf to UDP, a
//! device that counts (`docs/specs/auto.md`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "support/carriers.rs"]
mod carriers;
mod support;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use carriers::{Relay, across, config, device, open, open_in_clear, over_https, post, until};
use hedgerow_net::{LinkedNode, NodeConfig, TunnelHttp};
use hedgerow_proxy::CarrierState;
use support::{loopback, start};
use tokio::time::timeout;

/// One session, one device-side socket, each request once: over TCP, over UDP, while UDP is blocked, and
/// after that.
#[tokio::test]
async fn session_goes_on_while_carriers_change_over_http1() {
    session_goes_on(TunnelHttp::Http1).await;
}

#[tokio::test]
async fn session_goes_on_while_carriers_change_over_http2() {
    session_goes_on(TunnelHttp::Http2).await;
}

async fn session_goes_on(http: TunnelHttp) {
    let (device, seen) = device().await;
    let at = device.local_addr();
    let (gateway, tls) = over_https(config(at).with_udp_carriers(loopback())).await;
    let relay = Relay::start(&gateway, gateway.https_addr().unwrap()).await;
    let uri = format!("https://{}", relay.tcp);
    let tunnel = open(&uri, tls, at, http, true).await;
    let mut carriers = tunnel.carriers.unwrap();
    let node = LinkedNode::new(tunnel.link, across());
    post(&node, "over tcp").await;
    until(&mut carriers, CarrierState::UdpActive).await;
    let before = gateway.tunnel_statistics().traffic;
    post(&node, "over udp").await;
    let after = gateway.tunnel_statistics().traffic;
    assert!(after.udp_datagrams_up > before.udp_datagrams_up);
    assert_eq!(gateway.udp_carrier_statistics().open, 1);

    relay.is_deaf.store(true, Ordering::Relaxed);
    // Whatever the first ones meet, none takes longer than one retransmission.
    for number in 0..4 {
        post(&node, &format!("blocked {number}")).await;
    }
    until(&mut carriers, CarrierState::TcpOnly).await;
    assert!(relay.dropped.load(Ordering::Relaxed) > 0);
    post(&node, "over tcp again").await;

    relay.is_deaf.store(false, Ordering::Relaxed);
    until(&mut carriers, CarrierState::UdpActive).await;
    let before = gateway.tunnel_statistics().traffic;
    post(&node, "over udp again").await;
    let after = gateway.tunnel_statistics().traffic;
    assert!(after.udp_datagrams_up > before.udp_datagrams_up);

    // Nothing twice, nothing lost, one session of one peer.
    let expected = [
        "over tcp",
        "over udp",
        "blocked 0",
        "blocked 1",
        "blocked 2",
        "blocked 3",
        "over tcp again",
        "over udp again",
    ];
    assert_eq!(
        *seen.lock().unwrap(),
        expected.map(|it| it.as_bytes().to_vec())
    );
    assert_eq!(device.statistics().associations, 1);
    assert_eq!(gateway.tunnel_statistics().opened, 1);
    assert!(gateway.udp_carrier_statistics().opened >= 2);

    // The carrier ends with its tunnel.
    node.close().await;
    drop(node);
    let ended = async {
        while gateway.udp_carrier_statistics().open + gateway.tunnel_statistics().open > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), ended).await.unwrap();
    gateway.shutdown().await;
    device.close().await;
}

#[tokio::test]
async fn udp_that_is_blocked_from_the_start_costs_nothing() {
    let (device, seen) = device().await;
    let at = device.local_addr();
    let gateway = start(config(at).with_udp_carriers(loopback())).await;
    let relay = Relay::start(&gateway, gateway.http_addr().unwrap()).await;
    relay.is_deaf.store(true, Ordering::Relaxed);
    let tunnel = open_in_clear(relay.tcp, at, true).await;
    let carriers = tunnel.carriers.unwrap();
    let node = LinkedNode::new(tunnel.link, across());
    for number in 0..20 {
        post(&node, &number.to_string()).await;
    }
    assert_eq!(seen.lock().unwrap().len(), 20);
    assert_eq!(*carriers.borrow(), CarrierState::TcpOnly);
    assert_eq!(gateway.udp_carrier_statistics().opened, 0);
    let traffic = gateway.tunnel_statistics().traffic;
    assert_eq!((traffic.udp_datagrams_up, traffic.dropped()), (0, 0));
    gateway.shutdown().await;
    device.close().await;
}

#[tokio::test]
async fn offer_needs_both_ends() {
    let (device, _) = device().await;
    let at = device.local_addr();
    // A gateway with UDP carriers, and a client that doesn't ask.
    let gateway = start(config(at).with_udp_carriers(loopback())).await;
    let tunnel = open_in_clear(gateway.http_addr().unwrap(), at, false).await;
    assert!(tunnel.carriers.is_none());
    let node = LinkedNode::new(tunnel.link, across());
    post(&node, "as ever").await;
    gateway.shutdown().await;
    // A client that asks, and a gateway without.
    let gateway = start(config(at)).await;
    assert_eq!(gateway.udp_carriers_addr(), None);
    let tunnel = open_in_clear(gateway.http_addr().unwrap(), at, true).await;
    assert!(tunnel.carriers.is_none());
    let node = LinkedNode::new(tunnel.link, across());
    post(&node, "as ever").await;
    gateway.shutdown().await;
    device.close().await;
}

/// An end that sends again no sooner than after a minute.
fn patient() -> NodeConfig {
    let mut config = across();
    let mut exchange = config.endpoint.exchange.as_ref().clone();
    exchange.transmission.ack_timeout = Duration::from_secs(60);
    config.endpoint.exchange = Arc::new(exchange);
    config
}

/// What one flow's carriers lose makes no other flow wait, on TCP or on UDP.
#[tokio::test]
async fn flow_is_not_stalled_by_another_flows_loss() {
    let (device, seen) = device().await;
    let at = device.local_addr();
    let gateway = start(config(at).with_udp_carriers(loopback())).await;
    let http = gateway.http_addr().unwrap();
    let good = Relay::start(&gateway, http).await;
    let bad = Relay::start_at(Ipv4Addr::new(127, 0, 0, 3), &gateway, http).await;
    let lost = open_in_clear(bad.tcp, at, true).await;
    let lost = LinkedNode::new(lost.link, across());
    post(&lost, "before").await;
    let tunnel = open_in_clear(good.tcp, at, true).await;
    let mut carriers = tunnel.carriers.unwrap();
    let node = LinkedNode::new(tunnel.link, patient());
    post(&node, "before").await;

    bad.is_stuck.store(true, Ordering::Relaxed);
    bad.is_deaf.store(true, Ordering::Relaxed);
    let waiting = tokio::spawn(async move { post(&lost, "lost").await });
    // What is lost would come again after the test has given up.
    for number in 0..20 {
        post(&node, &format!("{number}")).await;
    }
    until(&mut carriers, CarrierState::UdpActive).await;
    for number in 0..20 {
        post(&node, &format!("{number} over udp")).await;
    }
    assert!(!waiting.is_finished());
    assert!(!seen.lock().unwrap().contains(&b"lost".to_vec()));
    waiting.abort();
    gateway.shutdown().await;
    device.close().await;
}
