//! CoAP over a stream, with TLS and without it, both roles.
#![allow(
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub
)]

mod stream;

use std::sync::Arc;
use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_core::{ChannelError, Instant, Peer, PeerFault, PeerId};
use hedgerow_endpoint::StreamConfig;
use hedgerow_exchange::{CloseReason, ConnectionConfig, Event, Request, RequestError};
use hedgerow_handshake::{DEFAULT_SUITES, Settings};
use stream::{Came, IDENTITY, PSK, Pair, body};

fn config(change: impl FnOnce(&mut ConnectionConfig)) -> StreamConfig {
    let mut config = StreamConfig::default();
    change(Arc::make_mut(&mut config.connection));
    config
}

/// A pair in clear and one under TLS.
fn pairs(config: &StreamConfig) -> [Pair; 2] {
    [Pair::clear(config), Pair::tls(config)]
}

#[test]
fn request_is_answered_however_the_stream_is_cut() {
    for piece in [1, 2, 3, 7, 64, 1_400, usize::MAX] {
        for mut pair in pairs(&StreamConfig::default()) {
            pair.piece = piece;
            let asked = pair.client.ask(Code::GET, b"");
            pair.settle();
            assert_eq!(pair.client.responses(), [(asked, b"21.5".to_vec())]);
            assert!(pair.client.connection.is_idle() && pair.server.connection.is_idle());
            assert!(pair.client.connection.is_established());
            let is_tls = pair.client.connection.suite().is_some();
            assert_eq!(pair.ledger.seals() > 0, is_tls);
            let peers = [&pair.client, &pair.server].map(|end| end.connection.peer());
            match is_tls {
                true => {
                    assert_eq!(
                        peers,
                        [Peer::Psk(PeerId(1)), Peer::Psk(PeerId(2))].map(Some)
                    );
                    assert_eq!([pair.client.established, pair.server.established], peers);
                }
                false => assert_eq!(peers, [Some(Peer::Anonymous); 2]),
            }
        }
    }
}

/// Everything that one end sends, cut in two at each place.
#[test]
fn each_place_is_a_place_to_cut() {
    for at in 1..400 {
        for mut pair in pairs(&StreamConfig::default()) {
            let asked = pair.client.ask(Code::PUT, &body(40));
            let mut sent = 0;
            while {
                // The first `at` bytes of the client come in one go, and so does the rest.
                pair.piece = if sent < at { at - sent } else { usize::MAX };
                sent = pair.client.sent - pair.client.wire.len();
                pair.step()
            } {}
            assert_eq!(pair.client.responses().len(), 1, "{at}");
            assert_eq!(pair.client.responses()[0].0, asked);
            assert_eq!(pair.server.requests()[0].1, body(40));
        }
    }
}

#[test]
fn every_suite_carries_requests() {
    for suite in DEFAULT_SUITES {
        let config = StreamConfig {
            handshake: Settings::new(&[suite]),
            ..StreamConfig::default()
        };
        let mut pair = Pair::tls(&config);
        pair.client.ask(Code::GET, b"");
        pair.settle();
        assert_eq!(pair.client.responses().len(), 1, "{suite}");
        assert_eq!(pair.server.connection.suite(), Some(suite));
    }
}

/// RFC 8323 §3.3: there is no server's and no client's end once the connection is there.
#[test]
fn server_asks_too_and_is_told_that_there_is_nothing() {
    for mut pair in pairs(&StreamConfig::default()) {
        let asked = pair.server.ask(Code::GET, b"");
        pair.settle();
        let [(request, _)] = pair.client.requests()[..] else {
            panic!("one request");
        };
        let (client, mut env) = pair.client();
        let response = hedgerow_exchange::Response::new(Code::NOT_FOUND);
        client
            .connection
            .respond(&mut env, request, &response)
            .unwrap();
        pair.settle();
        assert_eq!(pair.server.responses(), [(asked, Vec::new())]);
    }
}

/// `decisions.md` 4: bad_record_mac at once, for all of them alike.
#[test]
fn wrong_key_and_unknown_identity_are_refused_alike() {
    let default = StreamConfig::default();
    for shown in [(IDENTITY, &b"another 16 bytes"[..]), (b"thermometre", PSK)] {
        let mut pair = Pair::new(5, &default, &default, Some(shown));
        let asked = pair.client.ask(Code::GET, b"");
        pair.settle();
        let refused = PeerFault::AlertSent { description: 20 };
        assert_eq!(pair.server.failure, Some(refused.into()));
        let failure = pair.client.failure;
        assert_eq!(failure, Some(PeerFault::CredentialsRefused.into()));
        assert_eq!(
            pair.client.failed(),
            [(asked, RequestError::ConnectionClosed)]
        );
        assert!(pair.server.came.is_empty());
        for end in [&pair.client, &pair.server] {
            let reason = CloseReason::TransportClosed;
            assert_eq!(end.events.last(), Some(&Event::Closed { reason }));
            assert_eq!(end.connection.poll_timeout(), None);
        }
    }
}

/// Anybody on the path can end a stream: the ends are told, at whatever place that is.
#[test]
fn cut_off_stream_ends_the_requests_and_says_so() {
    let whole = {
        let mut pair = Pair::tls(&StreamConfig::default());
        pair.client.ask(Code::GET, b"");
        pair.settle();
        pair.server.sent
    };
    for cut in 0..whole {
        let mut pair = Pair::tls(&StreamConfig::default());
        pair.piece = 1;
        let asked = pair.client.ask(Code::GET, b"");
        while pair.server.sent - pair.server.wire.len() < cut && pair.step() {}
        let (client, mut env) = pair.client();
        client.end(&mut env);
        let expected = [PeerFault::Truncated, PeerFault::CredentialsRefused];
        let expected = expected.map(ChannelError::from);
        assert!(expected.contains(&client.failure.unwrap()), "{cut}");
        assert_eq!(client.failed(), [(asked, RequestError::ConnectionClosed)]);
        assert!(client.connection.is_closed());
    }
    let mut pair = Pair::clear(&StreamConfig::default());
    pair.answer = None;
    let asked = pair.client.ask(Code::GET, b"");
    pair.settle();
    let (client, mut env) = pair.client();
    client.end(&mut env);
    assert_eq!(client.failure, None);
    assert_eq!(client.failed(), [(asked, RequestError::ConnectionClosed)]);
}

#[test]
fn large_bodies_go_both_ways_in_blocks_and_by_bert() {
    for max_message_size in [300, 1_152, 8_448, 40_000] {
        let config = config(|config| {
            config.max_message_size = max_message_size;
            config.exchange.max_message_len = max_message_size as usize;
        });
        for mut pair in pairs(&config) {
            pair.piece = 1_400;
            pair.answer = Some(body(30_000));
            let asked = pair.client.ask(Code::PUT, &body(100_000));
            pair.settle();
            assert_eq!(pair.server.requests()[0].1, body(100_000));
            assert_eq!(pair.client.responses(), [(asked, body(30_000))]);
            assert!(pair.client.connection.is_idle());
        }
    }
}

/// A message is split over records of 16,384 bytes at most.
#[test]
fn message_longer_than_a_record_goes_in_several() {
    let config = config(|config| {
        config.max_message_size = 70_000;
        config.exchange.max_message_len = 70_000;
    });
    let mut pair = Pair::tls(&config);
    pair.answer = Some(body(60_000));
    let asked = pair.client.ask(Code::PUT, &body(50_000));
    pair.settle();
    assert_eq!(pair.server.requests()[0].1, body(50_000));
    assert_eq!(pair.client.responses(), [(asked, body(60_000))]);
}

/// A peer that sends and doesn't read is made to wait, and gets everything once it reads.
#[test]
fn peer_that_does_not_read_is_not_read_from() {
    let config = config(|config| {
        config.exchange.max_replies = 4;
        config.exchange.max_incoming = 4;
    });
    for mut pair in pairs(&config) {
        pair.settle();
        pair.client.ask(Code::GET, b"");
        pair.settle();
        // The stream towards the client is full from now on; the client's requests go on coming.
        let (asked, mut taken) = (40, Vec::new());
        for _ in 0..asked {
            pair.client.ask(Code::PUT, &body(900));
        }
        for _ in 0..200 {
            let (client, mut env) = pair.client();
            client.advance(&mut env, usize::MAX);
            stream::hand_over(&mut pair.client, &mut pair.server, 500);
            let (server, mut env) = pair.server();
            // A window of nothing: no byte leaves the server.
            server.advance(&mut env, 0);
            for (request, _) in server.requests().into_iter().skip(1 + taken.len()) {
                taken.push(request);
                let response = hedgerow_exchange::Response::new(Code::CHANGED).payload(b"done");
                server
                    .connection
                    .respond(&mut env, request, &response)
                    .unwrap();
            }
        }
        assert!(taken.len() <= 5, "{}", taken.len());
        assert_eq!(pair.server.connection.room(), 0);
        assert!(!pair.client.wire.is_empty());
        pair.answer = None;
        loop {
            let moved = pair.step();
            let (server, mut env) = pair.server();
            for (request, _) in server.requests().into_iter().skip(1 + taken.len()) {
                taken.push(request);
                let response = hedgerow_exchange::Response::new(Code::CHANGED).payload(b"done");
                server
                    .connection
                    .respond(&mut env, request, &response)
                    .unwrap();
            }
            if !moved && !pair.step() {
                break;
            }
        }
        assert_eq!(pair.client.responses().len(), 1 + asked);
    }
}

/// RFC 8323 §5.5, then RFC 5246 §7.2.1: what is under way is finished, then both close.
#[test]
fn release_lets_requests_end_and_then_closes_in_order() {
    for is_client in [true, false] {
        for mut pair in pairs(&StreamConfig::default()) {
            pair.answer = None;
            let asked = pair.client.ask(Code::GET, b"");
            pair.settle();
            let end = if is_client {
                &mut pair.client
            } else {
                &mut pair.server
            };
            end.connection.release().unwrap();
            pair.settle();
            assert!(!pair.client.connection.accepts_requests());
            assert!(!pair.client.connection.is_closed());
            pair.answer = Some(b"late".to_vec());
            pair.settle();
            assert_eq!(pair.client.responses(), [(asked, b"late".to_vec())]);
            let other = if is_client {
                &mut pair.server
            } else {
                &mut pair.client
            };
            assert!(other.came.contains(&Came::Released));
            let reason = CloseReason::ReleasedByPeer;
            assert_eq!(other.events, [Event::Closed { reason }]);
            let is_tls = other.connection.suite().is_some();
            other.connection.close();
            pair.settle();
            assert_eq!(
                pair.client.is_tls_closed || pair.server.is_tls_closed,
                is_tls
            );
            let (client, mut env) = pair.client();
            client.end(&mut env);
            let (server, mut env) = pair.server();
            server.end(&mut env);
            for end in [&pair.client, &pair.server] {
                assert_eq!(end.failure, None);
                assert!(end.connection.is_closed());
            }
            let end = if is_client {
                &pair.client
            } else {
                &pair.server
            };
            let reason = CloseReason::Released;
            assert_eq!(end.events.last(), Some(&Event::Closed { reason }));
        }
    }
}

#[test]
fn silence_ends_the_handshake_at_its_deadline() {
    let mut pair = Pair::tls(&StreamConfig::default());
    let asked = pair.client.ask(Code::GET, b"");
    pair.piece = 0;
    pair.pass(Duration::from_secs(30));
    assert_eq!([pair.client.failure, pair.server.failure], [None, None]);
    assert!(pair.client.events.is_empty() && pair.server.events.is_empty());
    pair.pass(Duration::from_secs(1));
    let timeout = Some(PeerFault::HandshakeTimeout.into());
    assert_eq!(
        [pair.client.failure, pair.server.failure],
        [timeout, timeout]
    );
    assert_eq!(
        pair.client.failed(),
        [(asked, RequestError::ConnectionClosed)]
    );
}

/// The peer has as long for its CSM as the configuration says, however long the handshake took.
#[test]
fn time_for_the_csm_counts_from_the_handshake() {
    let mut pair = Pair::tls(&StreamConfig::default());
    let is_established = |pair: &Pair| pair.client.connection.peer().is_some();
    pair.piece = 0;
    pair.pass(Duration::from_secs(29));
    pair.piece = 1;
    while !is_established(&pair) {
        assert!(pair.step());
    }
    // The server's CSM is lost in what comes from now on.
    pair.piece = 0;
    let csm_timeout = Some(Instant::ZERO + Duration::from_secs(29 + 30));
    assert_eq!(pair.client.connection.poll_timeout(), csm_timeout);
    pair.pass(Duration::from_secs(29));
    assert!(pair.client.events.is_empty());
    pair.pass(Duration::from_secs(1));
    let reason = CloseReason::CsmTimeout;
    assert_eq!(pair.client.events, [Event::Closed { reason }]);
}

#[test]
fn silent_peer_is_pinged_and_the_request_times_out() {
    for mut pair in pairs(&config(|config| {
        config.exchange.response_timeout = Duration::from_secs(120);
    })) {
        pair.answer = None;
        let asked = pair.client.ask(Code::GET, b"");
        pair.settle();
        pair.piece = 0;
        pair.pass(Duration::from_secs(91));
        let unresponsive = Event::PeerUnresponsive { transmissions: 1 };
        assert_eq!(pair.client.events, [unresponsive]);
        pair.pass(Duration::from_secs(30));
        assert_eq!(
            pair.client.failed(),
            [(asked, RequestError::ResponseTimeout)]
        );
    }
}

#[test]
fn what_is_no_tls_and_what_is_no_coap_ends_the_connection() {
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: example\r\n\r\n"[..],
        b"\xd0\xe1\x02\x21\x20\x20",
    ] {
        let mut pair = Pair::tls(&StreamConfig::default());
        let (server, mut env) = pair.server();
        server.connection.push(bytes);
        server.advance(&mut env, usize::MAX);
        assert!(matches!(
            server.failure,
            Some(ChannelError::Peer(PeerFault::AlertSent { .. }))
        ));
        // An alert, and not a byte of CoAP.
        assert_eq!(server.wire.len(), 7);
        assert_eq!(server.wire[0], 21);
    }
    let mut tls = Pair::tls(&StreamConfig::default());
    let mut clear = Pair::clear(&StreamConfig::default());
    let (client, mut env) = tls.client();
    client.advance(&mut env, usize::MAX);
    stream::hand_over(&mut tls.client, &mut clear.server, usize::MAX);
    let (server, mut env) = clear.server();
    server.advance(&mut env, usize::MAX);
    assert!(server.requests().is_empty());
    assert!(server.connection.is_closed(), "{:?}", server.came);
}

/// RFC 8323 §8.2: off port 5684 a client leaves a server that names no protocol.
#[test]
fn client_insists_on_a_name_where_it_has_to() {
    let strict = StreamConfig {
        requires_protocol_name: true,
        ..StreamConfig::default()
    };
    let nameless = StreamConfig {
        handshake: Settings::default(),
        ..StreamConfig::default()
    };
    let shown = Some((IDENTITY, PSK));
    for (client, server, is_fine) in [
        (&strict, &strict, true),
        (&strict, &nameless, false),
        (&StreamConfig::default(), &nameless, true),
        (&nameless, &strict, true),
    ] {
        let mut pair = Pair::new(5, client, server, shown);
        let asked = pair.client.ask(Code::GET, b"secret");
        pair.settle();
        let failure = (!is_fine).then_some(PeerFault::ProtocolNotNamed.into());
        assert_eq!(pair.client.failure, failure);
        assert_eq!(pair.client.responses().len(), usize::from(is_fine));
        if !is_fine {
            assert!(pair.server.came.is_empty() && pair.server.is_tls_closed);
            assert_eq!(
                pair.client.failed(),
                [(asked, RequestError::ConnectionClosed)]
            );
        }
    }
}

#[test]
fn cancelled_request_leaves_the_others() {
    for mut pair in pairs(&StreamConfig::default()) {
        let first = pair.client.ask(Code::GET, b"");
        let second = pair.client.ask(Code::GET, b"");
        pair.client.connection.cancel(first).unwrap();
        pair.settle();
        let responses = pair.client.responses();
        assert_eq!(responses, [(second, b"21.5".to_vec())]);
        let request = Request::new(Code::CONTENT);
        assert!(pair.client.connection.request(&request).is_err());
    }
}
