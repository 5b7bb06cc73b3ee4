//! Clients and servers over TCP and TLS on the loopback interface.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code
)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_core::{ChannelError, Peer, PeerFault, PeerId, SecurityMode};
use hedgerow_exchange::RequestError;
use hedgerow_handshake::{DEFAULT_SUITES, Settings, Timers};
use hedgerow_net::{
    Credentials, Handler, KeyStore, ProtocolName, RequestFailure, RequestMessage, Requester,
    ResponseMessage, SecurityPolicy, ServerRequest, StreamClient, StreamConfig, StreamServer,
    Target,
};
use support::{KEY, address, echo, get, keys, psk, run, target, until};
use tokio::net::TcpSocket;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

const LOCAL: &str = "127.0.0.1:0";

async fn tls_server(config: StreamConfig, handler: impl Handler) -> StreamServer {
    StreamServer::bind(address(LOCAL), config, keys(), handler)
        .await
        .unwrap()
}

async fn clear_server(config: StreamConfig, handler: impl Handler) -> StreamServer {
    StreamServer::bind_without_security(address(LOCAL), config.with_security(any()), handler)
        .await
        .unwrap()
}

/// Any security mode.
fn any() -> SecurityPolicy {
    SecurityPolicy::new(SecurityMode::NoSec)
}

fn in_clear(address: SocketAddr) -> Target {
    Target {
        address,
        credentials: None,
    }
}

fn client() -> StreamClient {
    StreamClient::new(StreamConfig::default().with_security(any()))
}

fn with_settings(settings: Settings) -> StreamConfig {
    let mut config = StreamConfig::default();
    config.endpoint.handshake = settings.with_application_protocols(&[b"coap"]);
    config
}

fn body(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

#[test]
fn each_suite_carries_requests_over_one_connection() {
    run(async {
        for suite in DEFAULT_SUITES {
            let config = with_settings(Settings::new(&[suite]));
            let answer = async |request: ServerRequest| {
                let reader = Peer::Psk(PeerId(7));
                assert_eq!(request.requester, Requester::Client(reader));
                echo(request).await
            };
            let server = tls_server(config.clone(), answer).await;
            let client = StreamClient::new(config);
            let target = target(server.local_addr(), KEY);
            assert_eq!(client.suite(&target), None);
            for number in 0..3 {
                let request = get("/").payload([number]);
                let response = client.request(&target, request).await.unwrap();
                assert_eq!(
                    (response.code, response.payload),
                    (Code::CONTENT, vec![number])
                );
            }
            assert_eq!(client.suite(&target), Some(suite));
            assert_eq!(client.statistics().established, 1);
            assert_eq!(server.statistics().established, 1);
            client.close().await;
            until(|| server.statistics().connections == 0).await;
            assert_eq!(server.statistics().failed, 0);
        }
    });
}

#[test]
fn large_bodies_and_many_requests_at_once_in_both_modes() {
    run(async {
        let answer = async |request: ServerRequest| {
            let len = request.message.payload.len();
            assert_eq!(request.message.payload, body(len));
            ResponseMessage::new(Code::CHANGED).payload(body(30_000))
        };
        let (tls, clear) = (
            tls_server(StreamConfig::default(), answer).await,
            clear_server(StreamConfig::default(), answer).await,
        );
        let client = client();
        let targets = [target(tls.local_addr(), KEY), in_clear(clear.local_addr())];
        for target in targets {
            let upload = RequestMessage::new(Code::PUT).payload(body(100_000));
            let response = client.request(&target, upload).await.unwrap();
            assert_eq!(response.payload, body(30_000));
            let mut tasks = JoinSet::new();
            for len in 0..20 {
                let (client, target) = (client.clone(), target.clone());
                let request = RequestMessage::new(Code::PUT).payload(body(len));
                tasks.spawn(async move { client.request(&target, request).await });
            }
            while let Some(response) = tasks.join_next().await {
                assert_eq!(response.unwrap().unwrap().payload, body(30_000));
            }
        }
        assert_eq!(client.statistics().established, 2);
        assert_eq!(clear.statistics().established, 1);
    });
}

#[test]
fn wrong_key_and_unknown_identity_end_in_the_same_error() {
    run(async {
        let server = tls_server(StreamConfig::default(), echo).await;
        for (identity, key) in [("reader", &b"another key"[..]), ("stranger", KEY)] {
            let client = client();
            let credentials = Credentials::new(identity, psk(key), PeerId(1)).unwrap();
            let target = Target {
                address: server.local_addr(),
                credentials: Some(Arc::new(credentials)),
            };
            let failure = client.request(&target, get("/")).await.unwrap_err();
            let refused = ChannelError::Peer(PeerFault::CredentialsRefused);
            assert_eq!(failure, RequestFailure::Channel(refused));
            until(|| client.statistics().failed == 1).await;
            assert_eq!(client.statistics().requests, 0);
        }
        until(|| server.statistics().failed == 2).await;
        assert_eq!(server.statistics().established, 0);
        // The right key gets in as before, and beside a connection with another one.
        let client = client();
        let right = target(server.local_addr(), KEY);
        let wrong = target(server.local_addr(), b"another key");
        assert!(client.request(&right, get("/")).await.is_ok());
        assert!(client.request(&wrong, get("/")).await.is_err());
        assert!(client.request(&right, get("/")).await.is_ok());
        assert_eq!(client.statistics().established, 1);
    });
}

/// One mode never stands in for the other.
#[test]
fn clear_and_secured_ends_do_not_understand_each_other() {
    run(async {
        let asked = async |_: ServerRequest| -> ResponseMessage { panic!("asked") };
        let mut config = StreamConfig::default();
        let connection = Arc::make_mut(&mut config.endpoint.connection);
        connection.csm_timeout = Duration::from_millis(300);
        let tls = tls_server(config.clone(), asked).await;
        let clear = clear_server(config.clone(), asked).await;
        let client = StreamClient::new(config);
        let failure = client.request(&in_clear(tls.local_addr()), get("/")).await;
        assert!(failure.is_err(), "{failure:?}");
        let secured = target(clear.local_addr(), KEY);
        let failure = client.request(&secured, get("/")).await.unwrap_err();
        assert!(matches!(failure, RequestFailure::Channel(_)), "{failure}");
        assert_eq!(client.statistics().established, 0);
    });
}

#[test]
fn nobody_listening_is_said_at_once() {
    run(async {
        // Bound, so that nobody else gets the port, and not listening.
        let bound = TcpSocket::new_v4().unwrap();
        bound.bind(address(LOCAL)).unwrap();
        let nobody = bound.local_addr().unwrap();
        let client = client();
        let kind = ErrorKind::ConnectionRefused;
        for target in [in_clear(nobody), target(nobody, KEY)] {
            let failure = client.request(&target, get("/")).await.unwrap_err();
            assert_eq!(failure, RequestFailure::Connect { kind });
            assert_eq!(failure.to_string(), "can't connect: connection refused");
        }
        let group = address("224.0.1.187:5683");
        let failure = client
            .request(&in_clear(group), get("/"))
            .await
            .unwrap_err();
        assert_eq!(failure, RequestFailure::UnusableAddress { address: group });
    });
}

/// RFC 8323 §8.2.
#[test]
fn server_without_a_protocol_name_is_left_off_port_5684() {
    run(async {
        let mut nameless = StreamConfig::default();
        nameless.endpoint.handshake = Settings::default();
        let server = tls_server(nameless, echo).await;
        let target = target(server.local_addr(), KEY);
        let failure = client().request(&target, get("/")).await.unwrap_err();
        let unnamed = ChannelError::Peer(PeerFault::ProtocolNotNamed);
        assert_eq!(failure, RequestFailure::Channel(unnamed));
        let lenient = StreamClient::new(StreamConfig {
            protocol_name: ProtocolName::Optional,
            ..StreamConfig::default()
        });
        assert!(lenient.request(&target, get("/")).await.is_ok());
    });
}

#[test]
fn idle_connection_is_released_and_the_next_request_opens_another() {
    run(async {
        let short = StreamConfig {
            idle_timeout: Duration::from_millis(30),
            ..StreamConfig::default()
        };
        let long = StreamConfig::default();
        // Whichever end is the first to be tired of it.
        for (of_server, of_client) in [(&short, &long), (&long, &short)] {
            let server = tls_server(of_server.clone(), echo).await;
            let client = StreamClient::new(of_client.clone());
            let target = target(server.local_addr(), KEY);
            for number in 1..4 {
                client.request(&target, get("/")).await.unwrap();
                assert_eq!(client.statistics().established, number);
                until(|| server.statistics().connections == 0).await;
                until(|| client.statistics().connections == 0).await;
            }
            assert_eq!(
                (client.statistics().failed, server.statistics().failed),
                (0, 0)
            );
        }
    });
}

/// A client asks once it has the server's CSM, so that a server's impatience has to be longer than the way back and forth.
#[test]
fn server_waits_for_the_request_that_a_connection_was_opened_for() {
    run(async {
        let short = StreamConfig {
            idle_timeout: Duration::from_millis(3),
            ..StreamConfig::default()
        };
        let server = clear_server(short, echo).await;
        let mut stream = TcpStream::connect(server.local_addr()).unwrap();
        stream.write_all(CSM).unwrap();
        // Its CSM, and no Release within the time that a slow path takes.
        let mut got = Vec::new();
        let mut quiet = 0;
        stream
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        while quiet < 6 {
            let mut byte = [0];
            match stream.read(&mut byte) {
                Ok(0) => panic!("ended: {got:02x?}"),
                Ok(_) => got.push(byte[0]),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    quiet += 1;
                }
            }
        }
        assert_eq!(got.get(1), Some(&0xe1), "{got:02x?}");
        assert!(!got.contains(&RELEASE), "{got:02x?}");
        // It is asked, and tired at once then.
        stream.write_all(b"\x01\x01\x07").unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let (mut byte, mut answer) = ([0], Vec::new());
        while byte != [RELEASE] {
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        assert!(answer.contains(&0x45), "{answer:02x?}");
    });
}

/// Requests that race with the end of a connection are asked again on a new one.
#[test]
fn no_request_is_lost_to_an_idle_timeout() {
    run(async {
        let short = StreamConfig {
            idle_timeout: Duration::from_millis(3),
            ..StreamConfig::default()
        };
        let server = clear_server(short, echo).await;
        let client = client();
        let target = in_clear(server.local_addr());
        // Pauses about as long as the server's patience.
        for pause in (1..=4_500).step_by(15) {
            client.request(&target, get("/")).await.unwrap();
            tokio::time::sleep(Duration::from_micros(pause)).await;
        }
        assert!(client.statistics().established > 1);
    });
}

#[test]
fn connections_of_a_client_are_bounded() {
    run(async {
        let config = StreamConfig {
            max_connections: 1,
            ..StreamConfig::default()
        };
        let go_on = Arc::new(Notify::new());
        let waiting = Arc::clone(&go_on);
        let slow = move |_: ServerRequest| {
            let waiting = Arc::clone(&waiting);
            async move {
                waiting.notified().await;
                ResponseMessage::new(Code::CONTENT)
            }
        };
        let first = clear_server(StreamConfig::default(), echo).await;
        let second = clear_server(StreamConfig::default(), slow).await;
        let client = StreamClient::new(config.with_security(any()));
        let (first, second) = (in_clear(first.local_addr()), in_clear(second.local_addr()));
        client.request(&first, get("/")).await.unwrap();
        // The first is idle and makes room.
        let asked = tokio::spawn({
            let client = client.clone();
            async move { client.request(&second, get("/")).await }
        });
        until(|| client.statistics().established == 2).await;
        let failure = client.request(&first, get("/")).await.unwrap_err();
        assert_eq!(failure, RequestFailure::TooManyConnections { max: 1 });
        go_on.notify_one();
        asked.await.unwrap().unwrap();
        client.request(&first, get("/")).await.unwrap();
        until(|| client.statistics().connections == 1).await;
    });
}

#[test]
fn connections_and_handlers_of_a_server_are_bounded() {
    run(async {
        let config = StreamConfig {
            max_connections: 1,
            max_handlers: 1,
            ..StreamConfig::default()
        };
        let hang = async |_: ServerRequest| -> ResponseMessage {
            core::future::pending::<()>().await;
            unreachable!()
        };
        let server = tls_server(config, hang).await;
        let target = target(server.local_addr(), KEY);
        let first = client();
        let asked = tokio::spawn({
            let (client, target) = (first.clone(), target.clone());
            async move { client.request(&target, get("/")).await }
        });
        // Only the handler that hangs keeps the second request from one.
        let refused = loop {
            let hasty =
                tokio::time::timeout(Duration::from_millis(200), first.request(&target, get("/")));
            if let Ok(response) = hasty.await {
                break response.unwrap();
            }
            asked.abort();
        };
        assert_eq!(refused.code, Code::SERVICE_UNAVAILABLE);
        assert!(server.statistics().refused_requests >= 1);
        let failure = client().request(&target, get("/")).await.unwrap_err();
        let aborted = RequestError::ConnectionAborted;
        assert_eq!(failure, RequestFailure::Exchange(aborted));
        assert_eq!(server.statistics().refused_connections, 1);
        assert_eq!(server.statistics().established, 1);
    });
}

#[test]
fn dropped_request_is_given_up_and_the_connection_stays() {
    run(async {
        let answer = async |request: ServerRequest| {
            if request.message.payload == b"hang" {
                core::future::pending::<()>().await;
            }
            echo(request).await
        };
        let server = tls_server(StreamConfig::default(), answer).await;
        let client = client();
        let target = target(server.local_addr(), KEY);
        client.request(&target, get("/")).await.unwrap();
        let hang = client.request(&target, get("/").payload("hang"));
        let given_up = tokio::time::timeout(Duration::from_millis(20), hang).await;
        assert!(given_up.is_err());
        until(|| client.statistics().requests == 0).await;
        client.request(&target, get("/")).await.unwrap();
        assert_eq!(client.statistics().established, 1);
    });
}

#[test]
fn closing_ends_requests_and_says_goodbye() {
    run(async {
        for is_client in [true, false] {
            let asked_for = Arc::new(AtomicUsize::new(0));
            let hang = {
                let asked_for = Arc::clone(&asked_for);
                move |_: ServerRequest| {
                    asked_for.fetch_add(1, Ordering::Relaxed);
                    core::future::pending::<ResponseMessage>()
                }
            };
            let server = tls_server(StreamConfig::default(), hang).await;
            let client = client();
            let target = target(server.local_addr(), KEY);
            let asked = tokio::spawn({
                let (client, target) = (client.clone(), target.clone());
                async move { client.request(&target, get("/")).await }
            });
            // One that hasn't left when the server says goodbye goes elsewhere.
            until(|| asked_for.load(Ordering::Relaxed) == 1).await;
            assert_eq!(server.statistics().established, 1);
            match is_client {
                true => client.close().await,
                false => server.close().await,
            }
            let failure = asked.await.unwrap().unwrap_err();
            if is_client {
                assert_eq!(failure, RequestFailure::NodeStopped);
                let later = client.request(&target, get("/")).await.unwrap_err();
                assert_eq!(later, RequestFailure::NodeStopped);
                until(|| server.statistics().connections == 0).await;
            } else {
                let closed = [RequestFailure::Closed, PeerFault::Truncated.into_failure()];
                assert!(closed.contains(&failure), "{failure:?}");
                let later = client.request(&target, get("/")).await.unwrap_err();
                let kind = ErrorKind::ConnectionRefused;
                assert_eq!(later, RequestFailure::Connect { kind });
            }
        }
    });
}

trait IntoFailure {
    fn into_failure(self) -> RequestFailure;
}

impl IntoFailure for PeerFault {
    fn into_failure(self) -> RequestFailure {
        RequestFailure::Channel(self.into())
    }
}

#[test]
fn dropping_the_last_handle_ends_everything() {
    run(async {
        let server = tls_server(StreamConfig::default(), echo).await;
        let (local, client) = (server.local_addr(), client());
        let target = target(local, KEY);
        client.request(&target, get("/")).await.unwrap();
        drop(client);
        until(|| server.statistics().connections == 0).await;
        drop(server);
        until(|| TcpStream::connect(local).is_err()).await;
    });
}

/// Whoever begins and doesn't go on is put out by the deadline.
#[test]
fn silent_clients_are_put_out_and_delay_nobody() {
    run(async {
        let timers = Timers {
            deadline: Duration::from_millis(700),
            ..Timers::default()
        };
        let mut config = with_settings(Settings::default().with_timers(timers));
        Arc::make_mut(&mut config.endpoint.connection).csm_timeout = timers.deadline;
        config.max_connections = 2;
        for server in [
            tls_server(config.clone(), echo).await,
            clear_server(config, echo).await,
        ] {
            let local = server.local_addr();
            let mut silent = Vec::new();
            for bytes in [&b""[..], b"\x16", b"\x00", b"\x16\x03\x01\x00\x40\x01"] {
                let mut stream = TcpStream::connect(local).unwrap();
                stream.write_all(bytes).unwrap();
                silent.push(stream);
            }
            let either = client();
            let (secured, clear) = (target(local, KEY), in_clear(local));
            loop {
                let (one, other) = tokio::join!(
                    either.request(&secured, get("/")),
                    either.request(&clear, get("/"))
                );
                assert!(one.is_err() || other.is_err());
                // Unless the machine stood still until the deadline.
                if one.is_ok() || other.is_ok() {
                    break;
                }
            }
            either.close().await;
            until(|| server.statistics().connections == 0).await;
            assert_eq!(server.statistics().refused_connections, 0);
        }
    });
}

/// The first bytes of an end in clear: its CSM.
const CSM: &[u8] = b"\x00\xe1";

#[test]
fn peer_that_does_not_read_is_cut_off() {
    run(async {
        let config = StreamConfig {
            stall_timeout: Duration::from_millis(200),
            ..StreamConfig::default()
        };
        let large =
            async |_: ServerRequest| ResponseMessage::new(Code::CONTENT).payload(body(7_000));
        let server = clear_server(config, large).await;
        let mut stream = TcpStream::connect(server.local_addr()).unwrap();
        stream.write_all(CSM).unwrap();
        let written = tokio::task::spawn_blocking(move || {
            let mut sent = 0_u64;
            // GETs without end, whose answers nobody reads.
            while stream.write_all(&b"\x01\x01\x07".repeat(1_000)).is_ok() {
                sent += 1_000;
            }
            sent
        })
        .await
        .unwrap();
        // It isn't read from for long either: what it wrote lies in the system's buffers.
        assert!(written < 10_000_000, "{written}");
        until(|| server.statistics().connections == 0).await;
    });
}

#[test]
fn half_closed_and_reset_streams_end_the_connection() {
    run(async {
        let server = clear_server(StreamConfig::default(), echo).await;
        let mut stream = TcpStream::connect(server.local_addr()).unwrap();
        stream.write_all(CSM).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        assert_eq!(got.get(1), Some(&0xe1), "{got:?}");
        until(|| server.statistics().connections == 0).await;

        let stream = TcpStream::connect(server.local_addr()).unwrap();
        socket2::SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(stream);
        until(|| server.statistics().connections == 0).await;
        assert!(
            client()
                .request(&in_clear(server.local_addr()), get("/"))
                .await
                .is_ok()
        );
    });
}

/// The code 7.04.
const RELEASE: u8 = 0xe4;

/// The first bytes of a message that never ends keep no place for ever.
#[test]
fn half_a_message_does_not_keep_an_idle_connection() {
    run(async {
        let config = StreamConfig {
            idle_timeout: Duration::from_millis(30),
            ..StreamConfig::default()
        };
        let server = clear_server(config, echo).await;
        let mut stream = TcpStream::connect(server.local_addr()).unwrap();
        stream.write_all(CSM).unwrap();
        // A GET that says it is 12 bytes long, and ends after 3.
        stream.write_all(b"\xc0\x01\xb1").unwrap();
        let mut byte = [0];
        while byte != [RELEASE] {
            stream.read_exact(&mut byte).unwrap();
        }
        drop(stream);
        until(|| server.statistics().connections == 0).await;
    });
}

/// RFC 8323 §5.6: what breaks the format is answered by an Abort.
#[test]
fn no_coap_is_answered_by_an_abort() {
    run(async {
        let server = clear_server(StreamConfig::default(), echo).await;
        let mut stream = TcpStream::connect(server.local_addr()).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        assert!(got.contains(&0xe5), "{got:?}");
        until(|| server.statistics().connections == 0).await;
    });
}

/// A store that is changed counts from the next handshake on.
#[test]
fn keys_can_be_changed_while_a_server_runs() {
    run(async {
        let keys = KeyStore::new();
        let config = StreamConfig::default();
        let server = StreamServer::bind(address(LOCAL), config, keys.clone(), echo)
            .await
            .unwrap();
        let target = target(server.local_addr(), KEY);
        assert!(client().request(&target, get("/")).await.is_err());
        keys.insert("reader", psk(KEY), PeerId(7)).unwrap();
        assert!(client().request(&target, get("/")).await.is_ok());
    });
}

/// TLS 1.2 has no new keys within a connection, so that another one takes its place.
#[test]
fn connection_is_replaced_before_its_keys_are_used_up_and_no_request_is_lost() {
    run(async {
        for (client_max, server_max) in [(20, u64::MAX), (u64::MAX, 20)] {
            let config = |max_records| {
                let mut config = StreamConfig::default().with_security(any());
                config.endpoint.max_records = max_records;
                config
            };
            let server = tls_server(config(server_max), echo).await;
            let client = StreamClient::new(config(client_max));
            let target = target(server.local_addr(), KEY);
            for round in 0..25_u32 {
                let mut asked = JoinSet::new();
                // Fewer than a connection takes, for a request goes to another one once: whatever runs when, the
                // second one isn't used up by the others.
                for n in (round * 8..).take(8) {
                    let (client, target) = (client.clone(), target.clone());
                    asked.spawn(async move {
                        let request = RequestMessage::new(Code::POST).payload(n.to_string());
                        let response = client.request(&target, request).await.unwrap();
                        assert_eq!(response.payload, n.to_string().as_bytes());
                    });
                }
                while let Some(outcome) = asked.join_next().await {
                    outcome.unwrap();
                }
            }
            let established = client.statistics().established;
            assert!((5..100).contains(&established), "{established}");
            client.close().await;
        }
    });
}

/// Takes a connection in clear, answers one request, and releases with Hold-Off: not before it says.
fn serve_once_and_hold_off(listener: &TcpListener, seconds: u16) -> Instant {
    let (mut stream, _) = listener.accept().unwrap();
    // A CSM without options: length 0, code 7.01.
    stream.write_all(&[0x00, 0xe1]).unwrap();
    let mut bytes = Vec::new();
    let mut byte = [0; 1];
    // The request's path is its last option, and it has no payload.
    while !bytes.ends_with(b"time") {
        stream.read_exact(&mut byte).unwrap();
        bytes.extend_from_slice(&byte);
    }
    // The client's CSM comes first: a nibble for its length, one for its token's.
    let csm_len = usize::from(bytes[0] >> 4) + 2;
    let request = &bytes[csm_len..];
    let token_len = usize::from(request[0] & 0x0f);
    let mut answer = vec![request[0] & 0x0f, 0x45];
    answer.extend_from_slice(&request[2..2 + token_len]);
    // 7.04 with option 4 of two bytes.
    let [high, low] = seconds.to_be_bytes();
    answer.extend_from_slice(&[0x30, 0xe4, 0x42, high, low]);
    let released = Instant::now();
    stream.write_all(&answer).unwrap();
    // The client closes.
    let _ = stream.read_to_end(&mut bytes);
    released
}

/// RFC 8323 §5.5: who releases with Hold-Off wants no connection for so long.
#[test]
fn server_that_asks_for_it_is_not_connected_to_again() {
    run(async {
        let listener = TcpListener::bind(LOCAL).unwrap();
        let target = in_clear(listener.local_addr().unwrap());
        let serving = tokio::task::spawn_blocking(move || {
            serve_once_and_hold_off(&listener, 3_000);
            listener
        });
        let client = client();
        client.request(&target, get("time")).await.unwrap();
        let listener = serving.await.unwrap();
        let refused = client.request(&target, get("time")).await.unwrap_err();
        let RequestFailure::HeldOff { seconds } = refused else {
            panic!("{refused}");
        };
        assert!((2_900..=3_000).contains(&seconds), "{seconds}");
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        // A server elsewhere is another one.
        let other = clear_server(StreamConfig::default(), echo).await;
        let elsewhere = in_clear(other.local_addr());
        client.request(&elsewhere, get("time")).await.unwrap();
    });
}

/// A short Hold-Off is waited for.
#[test]
fn short_hold_off_delays_the_next_connection() {
    run(async {
        let listener = TcpListener::bind(LOCAL).unwrap();
        let target = in_clear(listener.local_addr().unwrap());
        let serving = tokio::task::spawn_blocking(move || {
            let released = serve_once_and_hold_off(&listener, 1);
            serve_once_and_hold_off(&listener, 0);
            released.elapsed()
        });
        let client = client();
        for _ in 0..2 {
            client.request(&target, get("time")).await.unwrap();
        }
        assert!(serving.await.unwrap() >= Duration::from_millis(900));
    });
}

/// Whoever takes all of his share leaves the others theirs.
#[test]
fn connections_of_one_source_are_bounded() {
    run(async {
        let config = StreamConfig {
            max_connections_per_source: 1,
            ..StreamConfig::default()
        };
        let server = clear_server(config, echo).await;
        let local = server.local_addr();
        let first = TcpStream::connect(local).unwrap();
        until(|| server.statistics().connections == 1).await;
        // It is closed without a word.
        let mut second = TcpStream::connect(local).unwrap();
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            second.read_to_end(&mut bytes).map(|_| bytes)
        });
        let read = read.await.unwrap();
        assert!(read.is_err() || read.is_ok_and(|bytes| bytes.is_empty()));
        assert_eq!(server.statistics().refused_connections, 1);
        assert_eq!(server.statistics().connections, 1);
        drop(first);
        until(|| server.statistics().connections == 0).await;
        client().request(&in_clear(local), get("/")).await.unwrap();
    });
}
