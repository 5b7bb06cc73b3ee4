//! What strangers can take of a device that adapts to TLS clients, and for how long (docs/specs/translate-device.md).
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_core::{PeerId, Psk};
use hedgerow_gateway::{Config, Device, Gateway, Mode, Running, Security, TlsListener};
use hedgerow_leg::Role;
use hedgerow_net::{KeyStore, LegConfig, Node, NodeConfig, ResetReason, ResponseMessage};
use hedgerow_record::{LegForm, StreamApplication};
use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

const HOP: &[u8] = b"the hop's own key";

/// Less than what a client has to close, by default.
const SOON: Duration = Duration::from_secs(20);

async fn soon<F: Future>(what: F) -> F::Output {
    timeout(SOON, what).await.unwrap()
}

fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A device whose streams the test takes.
async fn device() -> Node {
    let mut config = NodeConfig::default();
    config.endpoint.legs = Some(LegConfig::new(Role::Device));
    let hops = KeyStore::new();
    hops.insert(b"gateway".to_vec(), Psk::new(HOP).unwrap(), PeerId(1))
        .unwrap();
    let nothing_here = async |_| ResponseMessage::new(Code::NOT_FOUND);
    let node = Node::bind_server(local(), config, hops, nothing_here).await;
    node.unwrap()
}

/// A gateway with a listener for that one device.
async fn gateway(device: &Node, change: impl FnOnce(&mut TlsListener)) -> Running {
    gateway_with(device, 1, change).await
}

/// The same with several listeners.
async fn gateway_with(
    device: &Node,
    listeners: usize,
    change: impl FnOnce(&mut TlsListener),
) -> Running {
    let mut listener = TlsListener::new(local(), StreamApplication::Http);
    listener.form = LegForm::Tls;
    listener.device = Some("lamp".to_owned());
    change(&mut listener);
    let security = Security::Psk {
        identity: b"gateway".to_vec(),
        key: Psk::new(HOP).unwrap(),
        is_shared: true,
    };
    let at = format!("coaps://{}", device.local_addr());
    let device =
        Device::new("lamp", at, security).with_modes(&[Mode::Terminate, Mode::TranslateDevice]);
    let mut config = Config::default().with_device(device);
    for _ in 0..listeners {
        config = config.with_tls_listener(listener.clone());
    }
    config.http = None;
    Gateway::start(config).await.unwrap()
}

/// A ClientHello without a name, as far as the gateway reads it.
fn hello() -> Vec<u8> {
    let mut record = vec![22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3];
    record.extend([7; 32]);
    record.extend([0, 0, 2, 0xc0, 0xa8, 1, 0]);
    record
}

fn address(running: &Running) -> SocketAddr {
    *running.tls_listener_addrs().first().unwrap()
}

/// A client that has said its hello.
async fn begin(running: &Running) -> TcpStream {
    let mut client = TcpStream::connect(address(running)).await.unwrap();
    client.write_all(&hello()).await.unwrap();
    client
}

async fn end(running: Running, device: Node) {
    running.shutdown().await;
    device.close().await;
}

#[tokio::test]
async fn silent_client_keeps_no_place_once_the_device_has_ended() {
    let device = device().await;
    let running = gateway(&device, |listener| {
        listener.connections_per_device = 1;
        listener.closing_timeout = Duration::from_millis(200);
    })
    .await;
    let mut client = begin(&running).await;
    let mut stream = soon(device.accept_stream()).await.unwrap().stream;
    stream.shutdown().await.unwrap();
    assert_eq!(soon(client.read(&mut [0])).await.unwrap(), 0);
    // It doesn't end its own direction, and the device is told that nobody waits for it.
    let mut read = Vec::new();
    assert!(soon(stream.read_to_end(&mut read)).await.is_err());
    let statistics = running.adapt_statistics();
    assert_eq!((statistics.open, statistics.broken), (0, 1));
    // The only place with the device is free again.
    let _other = begin(&running).await;
    assert!(soon(device.accept_stream()).await.is_some());
    end(running, device).await;
}

#[tokio::test]
async fn stream_that_fails_behind_the_devices_end_ends_the_connection() {
    let device = device().await;
    let running = gateway(&device, |_| {}).await;
    let mut client = begin(&running).await;
    let mut stream = soon(device.accept_stream()).await.unwrap().stream;
    stream.shutdown().await.unwrap();
    assert_eq!(soon(client.read(&mut [0])).await.unwrap(), 0);
    stream.reset(ResetReason::Application);
    soon(async {
        while running.adapt_statistics().open > 0 {
            yield_now().await;
        }
    })
    .await;
    end(running, device).await;
}

#[tokio::test]
async fn client_that_only_connects_costs_the_device_nothing() {
    let device = device().await;
    let running = gateway(&device, |listener| {
        listener.hello_timeout = Duration::from_millis(200);
    })
    .await;
    let mut client = TcpStream::connect(address(&running)).await.unwrap();
    let mut read = Vec::new();
    let _ = soon(client.read_to_end(&mut read)).await;
    assert_eq!(read, b"");
    let statistics = running.adapt_statistics();
    assert_eq!((statistics.accepted, statistics.unreachable), (0, 0));
    end(running, device).await;
}

/// A client at an address of this host that has said its hello to a listener.
async fn begin_from(listener: SocketAddr, last_octet: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let from = SocketAddr::from(([127, 0, 0, last_octet], 0));
    socket.bind(from).unwrap();
    let mut client = socket.connect(listener).await.unwrap();
    client.write_all(&hello()).await.unwrap();
    client
}

/// Connects from an address of this host, and waits until that is over.
async fn try_from(running: &Running, last_octet: u8) {
    let mut client = begin_from(address(running), last_octet).await;
    // An alert, or a reset.
    let mut read = Vec::new();
    let _ = client.shutdown().await;
    let _ = soon(client.read_to_end(&mut read)).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn source_that_opens_too_much_leaves_the_device_to_others() {
    let device = device().await;
    let running = gateway(&device, |_| {}).await;
    let refusing = device.clone();
    tokio::spawn(async move {
        while let Some(incoming) = refusing.accept_stream().await {
            incoming.stream.reset(ResetReason::Refused);
        }
    });
    let begun = Instant::now();
    for _ in 0..40 {
        try_from(&running, 1).await;
    }
    let refilled = begun.elapsed().as_millis() / 200;
    let statistics = running.adapt_statistics();
    assert!(statistics.accepted >= 10, "{statistics:?}");
    assert!(
        u128::from(statistics.accepted) <= 11 + refilled,
        "{statistics:?}"
    );
    assert_eq!(statistics.accepted + statistics.busy, 40);
    try_from(&running, 2).await;
    assert_eq!(running.adapt_statistics().accepted, statistics.accepted + 1);
    end(running, device).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn device_has_its_places_once_and_one_source_half_of_them() {
    let device = device().await;
    let running = gateway_with(&device, 2, |_| {}).await;
    let &[one, other] = running.tls_listener_addrs() else {
        unreachable!()
    };
    // Internal_error: a limit.
    let busy = [21, 3, 3, 0, 2, 2, 80];
    let mut kept = Vec::new();
    for (listener, last_octet, is_served) in [
        (one, 1, true),
        (other, 1, true),
        (one, 1, false),
        (other, 1, false),
        (one, 2, true),
        (other, 3, true),
        // All four are taken, whoever asks and where.
        (one, 4, false),
        (other, 4, false),
    ] {
        let mut client = begin_from(listener, last_octet).await;
        if is_served {
            kept.push((client, soon(device.accept_stream()).await.unwrap()));
            continue;
        }
        client.shutdown().await.unwrap();
        let mut read = Vec::new();
        soon(client.read_to_end(&mut read)).await.unwrap();
        assert_eq!(read, busy, "127.0.0.{last_octet}");
    }
    let statistics = running.adapt_statistics();
    assert_eq!((statistics.open, statistics.busy), (4, 4));
    end(running, device).await;
}

#[tokio::test]
async fn client_that_reads_nothing_is_heard_all_the_same() {
    let device = device().await;
    let running = gateway(&device, |_| {}).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut client = socket.connect(address(&running)).await.unwrap();
    client.write_all(&hello()).await.unwrap();
    let stream = soon(device.accept_stream()).await.unwrap().stream;
    let (mut reader, mut writer) = split(stream);
    soon(reader.read_exact(&mut vec![0; hello().len()]))
        .await
        .unwrap();
    let written = Arc::new(AtomicUsize::new(0));
    let progress = Arc::clone(&written);
    let writing = tokio::spawn(async move {
        while writer.write_all(&[7; 4_096]).await.is_ok() {
            progress.fetch_add(1, Ordering::Relaxed);
        }
    });
    // Nothing moves down any more once so many octets have gone up in the meantime.
    let (mut before, mut stalled) = (0, 0);
    while stalled < 50 {
        client.write_all(b"x").await.unwrap();
        soon(reader.read_exact(&mut [0])).await.unwrap();
        let now = written.load(Ordering::Relaxed);
        stalled = if now == before { stalled + 1 } else { 0 };
        before = now;
    }
    assert!(before > 0);
    end(running, device).await;
    writing.await.unwrap();
}
