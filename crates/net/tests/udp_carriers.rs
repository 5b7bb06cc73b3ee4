//! A gateway's socket for UDP carriers, with clients driven by hand (`docs/specs/auto.md`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code
)]

mod support;

use std::time::Duration;

use getrandom::SysRng;
use hedgerow_core::{Env, Instant};
use hedgerow_crypto_ring::RingCrypto;
use hedgerow_endpoint::{UdpCarrierClient, UdpCarrierReceived};
use hedgerow_net::{UdpCarrier, UdpCarrierEvent, UdpCarriers};
use hedgerow_proxy::{UDP_CARRIER, UdpCarrierOffer};
use http::HeaderMap;
use rand_core::UnwrapErr;
use support::{address, run};
use tokio::net::UdpSocket;

type Client = UdpCarrierClient<RingCrypto>;

/// Lends randomness; on loopback nothing waits for a timer.
fn with_env<R>(act: impl FnOnce(&mut Env<'_>) -> R) -> R {
    let mut rng = UnwrapErr(SysRng);
    act(&mut Env::new(Instant::ZERO, &mut rng))
}

fn client_of(carrier: &UdpCarrier) -> Client {
    let mut headers = HeaderMap::new();
    headers.insert(UDP_CARRIER, carrier.field().clone());
    let offer = UdpCarrierOffer::of(&headers).unwrap();
    let psk = offer.psk().unwrap();
    with_env(|env| Client::new(RingCrypto, offer.identity(), psk, env)).unwrap()
}

async fn flush(client: &mut Client, socket: &UdpSocket) {
    let mut out = [0; 1_500];
    while let Some(len) = with_env(|env| client.poll_transmit(env, &mut out)) {
        socket.send(&out[..len]).await.unwrap();
    }
}

/// Finishes a client's handshake over a socket, which others may have used before.
async fn open(client: &mut Client, socket: &UdpSocket) {
    let mut buffer = [0; 2_048];
    flush(client, socket).await;
    while !client.is_open() {
        let len = socket.recv(&mut buffer).await.unwrap();
        let mut rest = &mut buffer[..len];
        while !rest.is_empty() {
            (_, rest) = with_env(|env| client.handle_datagram(env, rest));
        }
        flush(client, socket).await;
    }
}

async fn say(client: &mut Client, socket: &UdpSocket, message: &[u8]) {
    let mut out = [0; 1_500];
    let len = client.seal(message, &mut out).unwrap();
    socket.send(&out[..len]).await.unwrap();
}

async fn hear(client: &mut Client, socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 2_048];
    loop {
        let len = socket.recv(&mut buffer).await.unwrap();
        let (what, _) = with_env(|env| client.handle_datagram(env, &mut buffer[..len]));
        if let UdpCarrierReceived::Message(message) = what {
            return message.to_vec();
        }
    }
}

fn message(text: &[u8]) -> Option<UdpCarrierEvent> {
    Some(UdpCarrierEvent::Message(text.into()))
}

/// A tunnel whose carrier another one's handshake ends, at the same address, is told so, and has one
/// again as soon as its client opens it from elsewhere.
#[test]
fn tunnel_is_told_that_another_ones_handshake_has_ended_its_carrier() {
    run(async {
        let carriers = UdpCarriers::bind(address("127.0.0.1:0")).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(carriers.local_addr()).await.unwrap();
        let (mut first, mut second) = (carriers.offer().unwrap(), carriers.offer().unwrap());

        let mut client = client_of(&first);
        open(&mut client, &socket).await;
        assert_eq!(first.next().await, Some(UdpCarrierEvent::Opened));
        say(&mut client, &socket, b"first").await;
        assert_eq!(first.next().await, message(b"first"));

        let mut other = client_of(&second);
        open(&mut other, &socket).await;
        assert_eq!(second.next().await, Some(UdpCarrierEvent::Opened));
        assert_eq!(first.next().await, Some(UdpCarrierEvent::Closed));
        let statistics = carriers.statistics();
        assert_eq!((statistics.open, statistics.opened), (1, 2));

        // The offer stands.
        let elsewhere = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        elsewhere.connect(carriers.local_addr()).await.unwrap();
        let mut client = client_of(&first);
        open(&mut client, &elsewhere).await;
        assert_eq!(first.next().await, Some(UdpCarrierEvent::Opened));
        say(&mut other, &socket, b"second").await;
        assert_eq!(second.next().await, message(b"second"));
        assert!(first.sender().send(b"to the first"[..].into()));
        assert_eq!(hear(&mut client, &elsewhere).await, b"to the first");
        assert_eq!(carriers.statistics().open, 2);
    });
}

/// One tunnel's session in place of its own one is no end, and an offer that is gone takes its carrier along.
#[test]
fn carrier_in_place_of_its_own_is_opened_and_never_closed() {
    run(async {
        let carriers = UdpCarriers::bind(address("127.0.0.1:0")).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(carriers.local_addr()).await.unwrap();
        let mut carrier = carriers.offer().unwrap();
        for _ in 0..2 {
            let mut client = client_of(&carrier);
            open(&mut client, &socket).await;
            assert_eq!(carrier.next().await, Some(UdpCarrierEvent::Opened));
            say(&mut client, &socket, b"here").await;
            assert_eq!(carrier.next().await, message(b"here"));
        }
        let statistics = carriers.statistics();
        assert_eq!((statistics.open, statistics.opened), (1, 2));
        drop(carrier);
        while carriers.statistics().open > 0 {
            tokio::task::yield_now().await;
        }
    });
}

/// What one tunnel has for its client takes no place that another one needs.
#[tokio::test]
async fn tunnel_with_much_to_send_leaves_room_to_another() {
    let carriers = UdpCarriers::bind(address("127.0.0.1:0")).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(carriers.local_addr()).await.unwrap();
    let (greedy, mut modest) = (carriers.offer().unwrap(), carriers.offer().unwrap());
    let mut client = client_of(&modest);
    let heard = tokio::time::timeout(Duration::from_secs(60), async {
        open(&mut client, &socket).await;
        assert_eq!(modest.next().await, Some(UdpCarrierEvent::Opened));
        // One thread, and nothing that is waited for: none of it leaves before all is said.
        let taken = (0..2_000).filter(|_| greedy.sender().send(b"much"[..].into()));
        assert_eq!(taken.count(), 1_024);
        assert!(modest.sender().send(b"little"[..].into()));
        hear(&mut client, &socket).await
    });
    assert_eq!(heard.await.unwrap(), b"little");
    // Those that were refused, and the one that made room.
    assert_eq!(carriers.statistics().queue_full, 977);
}
