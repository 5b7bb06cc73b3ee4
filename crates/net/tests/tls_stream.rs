//! TLS as a byte stream, both ends in one process.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hedgerow_core::{ChannelError, Peer, PeerFault, PeerId, Psk};
use hedgerow_handshake::{Settings, Timers};
use hedgerow_net::{Credentials, KeyStore, TlsStream};
use hedgerow_record::CipherSuite;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};

type Stream = TlsStream<DuplexStream>;

fn keys() -> KeyStore {
    let keys = KeyStore::new();
    let psk = Psk::new(b"sixteen byte key").unwrap();
    keys.insert("browser", psk, PeerId(7)).unwrap();
    keys
}

fn credentials(identity: &str, psk: &[u8]) -> Arc<Credentials> {
    let psk = Psk::new(psk).unwrap();
    Arc::new(Credentials::new(identity, psk, PeerId(9)).unwrap())
}

async fn shake_hands(
    capacity: usize,
    credentials: Arc<Credentials>,
) -> (io::Result<Stream>, io::Result<Stream>) {
    const NAMES: &[&[u8]] = &[b"http/1.1"];
    let (a, b) = duplex(capacity);
    let settings = Settings::default().with_application_protocols(NAMES);
    let keys = keys();
    let policy = Arc::default();
    tokio::join!(
        TlsStream::connect(a, credentials, settings, &policy),
        TlsStream::accept(b, &keys, settings, &policy)
    )
}

async fn pair(capacity: usize) -> (Stream, Stream) {
    let shown = credentials("browser", b"sixteen byte key");
    let (client, server) = shake_hands(capacity, shown).await;
    (client.unwrap(), server.unwrap())
}

fn fault(error: &io::Error) -> Option<PeerFault> {
    match error.get_ref()?.downcast_ref()? {
        ChannelError::Peer(fault) => Some(*fault),
        _ => None,
    }
}

#[tokio::test]
async fn bytes_go_both_ways_through_any_pipe_and_end_in_order() {
    for capacity in [1, 7, 1_000, 1 << 20] {
        let (mut client, mut server) = pair(capacity).await;
        assert_eq!(server.peer(), Peer::Psk(PeerId(7)));
        assert_eq!(client.peer(), Peer::Psk(PeerId(9)));
        let suite = CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256;
        assert_eq!(client.suite(), Some(suite));
        assert_eq!(client.application_protocol(), Some(&b"http/1.1"[..]));
        let len = if capacity == 1 { 2_000 } else { 100_000 };
        let body: Vec<u8> = (0..len).map(|at: u32| at.to_be_bytes()[3]).collect();
        let echo = async {
            let mut bytes = vec![0; body.len()];
            server.read_exact(&mut bytes).await.unwrap();
            server.write_all(&bytes).await.unwrap();
            server.flush().await.unwrap();
            // What the client closes in order ends in order.
            let mut rest = Vec::new();
            server.read_to_end(&mut rest).await.unwrap();
            assert!(rest.is_empty());
        };
        let ask = async {
            client.write_all(&body).await.unwrap();
            client.flush().await.unwrap();
            let mut bytes = vec![0; body.len()];
            client.read_exact(&mut bytes).await.unwrap();
            assert_eq!(bytes, body);
            client.shutdown().await.unwrap();
        };
        tokio::join!(echo, ask);
    }
}

/// RFC 5246 §7.2.1: a stream that ends without close_notify was cut off.
#[tokio::test]
async fn truncation_is_an_error() {
    let (mut client, server) = pair(1_000).await;
    drop(server);
    let error = client.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(fault(&error), Some(PeerFault::Truncated));
}

/// What is written goes out before; the end in order is whoever shuts down's to say, and nobody says it by going.
#[tokio::test]
async fn dropping_gives_up_and_shutting_down_before_it_ends_in_order() {
    for shuts_down in [false, true] {
        let (mut client, mut server) = pair(1_000).await;
        server.write_all(b"all of it").await.unwrap();
        server.flush().await.unwrap();
        if shuts_down {
            server.shutdown().await.unwrap();
        }
        drop(server);
        let mut text = Vec::new();
        let read = client.read_to_end(&mut text).await;
        assert_eq!(text, b"all of it");
        let is_end = read.map_err(|error| fault(&error));
        let expected = match shuts_down {
            true => Ok(9),
            false => Err(Some(PeerFault::Truncated)),
        };
        assert_eq!(is_end, expected);
    }
}

#[tokio::test]
async fn wrong_key_and_unknown_identity_are_told_apart_by_nobody() {
    for shown in [
        credentials("browser", b"another 16 bytes"),
        credentials("nobody", b"sixteen byte key"),
    ] {
        let (client, server) = shake_hands(1_000, shown).await;
        let client = client.unwrap_err();
        assert_eq!(client.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(fault(&client), Some(PeerFault::CredentialsRefused));
        let refused = Some(PeerFault::AlertSent { description: 20 });
        assert_eq!(fault(&server.unwrap_err()), refused);
    }
}

#[tokio::test]
async fn changed_byte_ends_the_stream_and_the_peer_is_told() {
    let (a, mut middle_a) = duplex(100_000);
    let (mut middle_b, b) = duplex(100_000);
    let relay = async {
        let mut bytes = vec![0; 10_000];
        let mut from_client = 0;
        loop {
            let mut answer = vec![0; 10_000];
            tokio::select! {
                read = middle_a.read(&mut bytes) => {
                    let len = read.unwrap();
                    if len == 0 {
                        return;
                    }
                    from_client += 1;
                    // ClientHello, then the rest of the handshake, then data.
                    if from_client == 3 {
                        bytes[len - 1] ^= 1;
                    }
                    middle_b.write_all(&bytes[..len]).await.unwrap();
                }
                read = middle_b.read(&mut answer) => {
                    let len = read.unwrap();
                    if len == 0 {
                        return;
                    }
                    middle_a.write_all(&answer[..len]).await.unwrap();
                }
            }
        }
    };
    let settings = Settings::default();
    let keys = keys();
    let shown = credentials("browser", b"sixteen byte key");
    let policy = Arc::default();
    let ends = async {
        let (client, server) = tokio::join!(
            TlsStream::connect(a, shown, settings, &policy),
            TlsStream::accept(b, &keys, settings, &policy)
        );
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        client.write_all(b"money for Alice").await.unwrap();
        client.flush().await.unwrap();
        let error = server.read_u8().await.unwrap_err();
        let refused = PeerFault::AlertSent { description: 20 };
        assert_eq!(fault(&error), Some(refused));
        let error = client.read_u8().await.unwrap_err();
        let told = PeerFault::AlertReceived {
            description: 20,
            authenticated: true,
        };
        assert_eq!(fault(&error), Some(told));
    };
    tokio::select! {
        () = relay => {}
        () = ends => return,
    }
    unreachable!("the relay ended first");
}

#[tokio::test]
async fn handshake_that_nobody_answers_ends_at_its_deadline() {
    let (a, _b) = duplex(1_000);
    let shown = credentials("browser", b"sixteen byte key");
    let timers = Timers {
        deadline: Duration::from_millis(20),
        ..Timers::default()
    };
    let settings = Settings::default().with_timers(timers);
    let error = TlsStream::connect(a, shown, settings, &Arc::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(fault(&error), Some(PeerFault::HandshakeTimeout));
}

/// A stream that takes nothing until it is told to, and wakes the task that asked last, as sockets do.
struct Gated {
    inner: DuplexStream,
    gate: Arc<Mutex<Gate>>,
}

#[derive(Default)]
struct Gate {
    is_shut: bool,
    waiting: Option<Waker>,
}

impl Gate {
    fn open(&mut self) {
        self.is_shut = false;
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }
}

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, out)
    }
}

impl AsyncWrite for Gated {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut gate = self.gate.lock().unwrap();
        if gate.is_shut {
            gate.waiting = Some(context.waker().clone());
            return Poll::Pending;
        }
        drop(gate);
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// The half that reads has something to send too, and asks when it can; the half that writes is woken
/// all the same.
#[tokio::test]
async fn writing_half_is_woken_although_the_reading_half_asked_after_it() {
    let (a, b) = duplex(1 << 20);
    let gate = Arc::new(Mutex::new(Gate::default()));
    let gated = Gated {
        inner: a,
        gate: Arc::clone(&gate),
    };
    let shown = credentials("browser", b"sixteen byte key");
    let (keys, policy) = (keys(), Arc::default());
    let (client, server) = tokio::join!(
        TlsStream::connect(gated, shown, Settings::default(), &policy),
        TlsStream::accept(b, &keys, Settings::default(), &policy)
    );
    let (mut reader, mut writer) = tokio::io::split(client.unwrap());
    let mut server = server.unwrap();
    gate.lock().unwrap().is_shut = true;
    let writing = tokio::spawn(async move {
        // The first is sealed and waits; the second waits for the first.
        writer.write_all(b"one").await.unwrap();
        writer.write_all(b"two").await.unwrap();
        writer.flush().await.unwrap();
    });
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(gate.lock().unwrap().waiting.is_some());
    // Nothing comes to be read, and what waits to be sent is tried in passing.
    let reading = tokio::spawn(async move {
        let mut byte = [0; 1];
        let _ = reader.read(&mut byte).await;
    });
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    gate.lock().unwrap().open();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(writing.is_finished(), "the half that writes still waits");
    let mut bytes = [0; 6];
    server.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"onetwo");
    reading.abort();
}
