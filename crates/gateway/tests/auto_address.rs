//! Tunnels whose carriers have an address each towards the device, and sessions that outlive their tunnel, over
//! real sockets (`docs/specs/auto.md`; RFC 9146 §6).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "support/carriers.rs"]
mod carriers;
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use carriers::{Relay, TOKEN, across, config, device_with, open_in_clear, post, try_post, until};
use hedgerow_endpoint::{ConnectionIdFormat, ConnectionIds};
use hedgerow_exchange::RequestError;
use hedgerow_gateway::{Config, DeviceAddress};
use hedgerow_net::{LinkCarrier, LinkedNode, Node, NodeConfig, RequestFailure, datagram_link};
use hedgerow_proxy::{CarrierState, TunnelDecoder, TunnelEvent, encode_udp_capsule};
use support::{loopback, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

fn with_ids(mut config: NodeConfig, ids: ConnectionIds) -> NodeConfig {
    config.endpoint.connection_ids = ids;
    config
}

fn each_carrier(config: Config) -> Config {
    let mut config = config.with_udp_carriers(loopback());
    config.tunnel.device_address = DeviceAddress::Carrier;
    config
}

/// Waits until a device has followed a session to another address so often. What proves the address is asked
/// by the device itself.
async fn moved(device: &Node, times: u64) {
    while device.statistics().moved < times {
        tokio::task::yield_now().await;
    }
}

/// A device that gives connection IDs follows the session to the UDP carrier's address, and back.
#[tokio::test]
async fn session_with_a_connection_id_follows_its_carriers_to_their_addresses() {
    let ids = ConnectionIds::Both(ConnectionIdFormat::new(3));
    let (device, seen) = device_with(with_ids(NodeConfig::default(), ids)).await;
    let at = device.local_addr();
    let gateway = start(each_carrier(config(at))).await;
    let relay = Relay::start(&gateway, gateway.http_addr().unwrap()).await;
    let tunnel = open_in_clear(relay.tcp, at, true).await;
    let mut carriers = tunnel.carriers.unwrap();
    let node = LinkedNode::new(tunnel.link, with_ids(across(), ConnectionIds::SendOnly));
    let traffic = || gateway.tunnel_statistics().traffic;
    post(&node, "over tcp").await;
    until(&mut carriers, CarrierState::UdpActive).await;
    assert_eq!(
        (traffic().udp_address_up, device.statistics().moved),
        (0, 0)
    );

    post(&node, "over udp").await;
    moved(&device, 1).await;
    post(&node, "from there").await;
    assert!(traffic().udp_address_up >= 2);

    relay.is_deaf.store(true, Ordering::Relaxed);
    for number in 0..4 {
        post(&node, &format!("blocked {number}")).await;
    }
    until(&mut carriers, CarrierState::TcpOnly).await;
    post(&node, "over tcp again").await;
    moved(&device, 2).await;
    let expected = [
        "over tcp",
        "over udp",
        "from there",
        "blocked 0",
        "blocked 1",
        "blocked 2",
        "blocked 3",
        "over tcp again",
    ];
    assert_eq!(
        *seen.lock().unwrap(),
        expected.map(|it| it.as_bytes().to_vec())
    );
    let statistics = device.statistics();
    assert_eq!((statistics.established, statistics.associations), (1, 1));
    assert_eq!(node.statistics().established, 1);
    gateway.shutdown().await;
    device.close().await;
}

/// A device without connection IDs, and a client without: the session keeps its one address, whatever the
/// gateway is configured with, and nothing is lost by it.
#[tokio::test]
async fn session_without_a_connection_id_keeps_its_one_address() {
    let both = ConnectionIds::Both(ConnectionIdFormat::new(3));
    for (of_device, of_client) in [
        (ConnectionIds::Off, ConnectionIds::SendOnly),
        (both, ConnectionIds::Off),
    ] {
        let (device, seen) = device_with(with_ids(NodeConfig::default(), of_device)).await;
        let at = device.local_addr();
        let gateway = start(each_carrier(config(at))).await;
        let relay = Relay::start(&gateway, gateway.http_addr().unwrap()).await;
        let tunnel = open_in_clear(relay.tcp, at, true).await;
        let mut carriers = tunnel.carriers.unwrap();
        let node = LinkedNode::new(tunnel.link, with_ids(across(), of_client));
        post(&node, "over tcp").await;
        until(&mut carriers, CarrierState::UdpActive).await;
        post(&node, "over udp").await;
        let traffic = gateway.tunnel_statistics().traffic;
        assert!(traffic.udp_datagrams_up > 0);
        assert_eq!(traffic.udp_address_up, 0);
        assert_eq!(seen.lock().unwrap().len(), 2);
        let statistics = device.statistics();
        assert_eq!((statistics.moved, statistics.established), (0, 1));
        gateway.shutdown().await;
        device.close().await;
    }
}

/// A tunnel at one gateway.
async fn tunnel_at(gateway: SocketAddr, device: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(gateway).await.unwrap();
    let request = format!(
        "GET /.well-known/masque/udp/lamp/{}/ HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\n\
         upgrade: connect-udp\r\nauthorization: Bearer {TOKEN}\r\n\r\n",
        device.port()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    stream
}

/// Carries a node's datagrams in a tunnel at the gateway of the moment.
async fn carry(
    mut link: LinkCarrier,
    mut gateway: watch::Receiver<SocketAddr>,
    device: SocketAddr,
) {
    loop {
        let at = *gateway.borrow_and_update();
        let mut stream = tunnel_at(at, device).await;
        let mut decoder = TunnelDecoder::new(65_527);
        let mut buffer = [0; 4_096];
        loop {
            tokio::select! {
                changed = gateway.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                datagram = link.outgoing() => {
                    let Some(datagram) = datagram else { return };
                    let mut capsule = vec![0; datagram.len() + 16];
                    let len = encode_udp_capsule(&datagram, &mut capsule).unwrap();
                    stream.write_all(&capsule[..len]).await.unwrap();
                }
                read = stream.read(&mut buffer) => {
                    // The gateway is gone. Another one is told in time.
                    let Ok(len @ 1..) = read else {
                        if gateway.changed().await.is_err() {
                            return;
                        }
                        break;
                    };
                    let mut bytes = &buffer[..len];
                    while let Some(event) = decoder.next_event(&mut bytes).unwrap() {
                        if let TunnelEvent::UdpPayload(payload) = event {
                            link.deliver(payload);
                        }
                    }
                }
            }
        }
    }
}

/// The next carrier leads to another gateway: one that was started anew, or stands elsewhere. With a connection
/// ID the session goes on from there; without, what was asked ends with an outcome that nobody knows, and what
/// is asked next begins a session.
#[tokio::test]
async fn session_outlives_its_gateway_where_it_has_a_connection_id() {
    let both = ConnectionIds::Both(ConnectionIdFormat::new(3));
    for (of_device, has_one) in [(both, true), (ConnectionIds::Off, false)] {
        let (device, seen) = device_with(with_ids(NodeConfig::default(), of_device)).await;
        let at = device.local_addr();
        let (first, second) = (start(config(at)).await, start(config(at)).await);
        let (tell, gateway) = watch::channel(first.http_addr().unwrap());
        let (link, carrier) = datagram_link(64, 1_400);
        let carrying = tokio::spawn(carry(carrier, gateway, at));
        let mut client = with_ids(across(), ConnectionIds::SendOnly);
        let mut exchange = client.endpoint.exchange.as_ref().clone();
        exchange.transmission.ack_timeout = Duration::from_millis(200);
        client.endpoint.exchange = Arc::new(exchange);
        let node = LinkedNode::new(link, client);
        post(&node, "before").await;
        first.shutdown().await;
        tell.send_replace(second.http_addr().unwrap());

        let asked = try_post(&node, "meanwhile").await;
        match has_one {
            true => {
                asked.unwrap();
                moved(&device, 1).await;
            }
            false => assert!(matches!(
                asked,
                Err(RequestFailure::Exchange(RequestError::AssociationRestarted))
            )),
        }
        post(&node, "after").await;
        let seen = seen.lock().unwrap().clone();
        let statistics = device.statistics();
        if has_one {
            assert_eq!(seen, [&b"before"[..], b"meanwhile", b"after"]);
            assert_eq!((statistics.moved, statistics.established), (1, 1));
        } else {
            assert_eq!(seen, [&b"before"[..], b"after"]);
            assert_eq!((statistics.moved, statistics.established), (0, 2));
        }
        assert_eq!(second.tunnel_statistics().opened, 1);
        carrying.abort();
        second.shutdown().await;
        device.close().await;
    }
}
