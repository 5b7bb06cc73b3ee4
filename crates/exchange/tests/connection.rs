//! The rules of RFC 8323 for one connection, each by name.
#![cfg(feature = "alloc")]
#![allow(
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    missing_docs
)]

mod stream;

use std::time::Duration;

use hedgerow_coap::{Abort, Code, Csm, FormatError, OptionNumber, Release, Signal, SignalingError};
use hedgerow_core::DropReason;
use hedgerow_exchange::{
    CloseReason, Config, ConnectionConfig, Error, Event, Fixed, RequestError, ResponseError,
    TokenKind,
};
use stream::{Came, End, Owned, abort, csm, get, release, signal};

fn end() -> End {
    End::open(ConnectionConfig::default(), 1_152)
}

fn closed(reason: CloseReason) -> Event {
    Event::Closed { reason }
}

/// RFC 8323 §3.3.
#[test]
fn csm_is_the_first_message_sent() {
    let mut end: End = End::fresh(ConnectionConfig {
        wait_for_csm: false,
        ..ConnectionConfig::default()
    });
    end.ask(Code::GET, b"");
    let sent = end.bytes();
    // Max-Message-Size of 8,448 and Block-Wise-Transfer.
    assert_eq!(sent[0], [0x40, 0xe1, 0x22, 0x21, 0x00, 0x20]);
    assert_eq!(Owned::decode(&sent[1]).code, Code::GET);
    assert_eq!(sent.len(), 2);
}

/// RFC 8323 §3.3.
#[test]
fn neither_end_waits_for_the_others_csm() {
    let mut end: End = End::fresh(ConnectionConfig::default());
    assert!(!end.connection.is_established());
    assert_eq!(end.sent_one().code, Code::CSM);
    assert_eq!(end.feed(&[0x00, 0xe1]), [Came::Handled]);
    assert!(end.connection.is_established());
    // A CSM without options leaves the base value.
    assert_eq!(end.connection.peer_max_message_size(), 1_152);
}

/// RFC 8323 §3.3.
#[test]
fn requests_wait_for_the_peers_csm_unless_told_otherwise() {
    let mut end: End = End::fresh(ConnectionConfig::default());
    end.ask(Code::GET, b"");
    assert_eq!(end.sent_one().code, Code::CSM);
    end.feed(&csm(1_152));
    assert_eq!(end.sent_one().code, Code::GET);
}

/// RFC 8323 §3.3.
#[test]
fn first_message_that_is_no_csm_aborts() {
    let ping = signal(Signal::Ping { custody: false }, &[1]);
    for first in [
        get(1).encode(),
        ping,
        release(Release::new()),
        vec![0, 0xe6],
    ] {
        let mut end: End = End::fresh(ConnectionConfig::default());
        let came = end.feed(&first);
        assert_eq!(came, [Came::Dropped(DropReason::UnexpectedMessage)]);
        let (option, text) = end.sent_abort();
        assert_eq!((option, text.as_str()), (None, "no CSM first"));
        assert_eq!(end.events(), [closed(CloseReason::MissingCsm)]);
        assert!(end.connection.is_closed());
    }
}

/// RFC 8323 §3.3.
#[test]
fn abort_leaves_the_csm_the_first_message() {
    let mut end: End = End::fresh(ConnectionConfig::default());
    end.connection.abort("no");
    let codes: Vec<_> = end.sent().iter().map(|message| message.code).collect();
    assert_eq!(codes, [Code::CSM, Code::ABORT]);
}

/// RFC 8323 §3.3.
#[test]
fn csm_that_does_not_come_aborts() {
    let mut end: End = End::fresh(ConnectionConfig::default());
    end.bytes();
    let at = end.connection.poll_timeout().unwrap();
    assert_eq!(at.saturating_since(end.now), Duration::from_secs(30));
    end.wait(30);
    assert_eq!(end.sent_abort().1, "no CSM in time");
    assert_eq!(end.events(), [closed(CloseReason::CsmTimeout)]);
}

/// RFC 8323 §5.6.
#[test]
fn peers_abort_may_be_its_first_message() {
    let mut end: End = End::fresh(ConnectionConfig::default());
    let came = end.feed(&abort(Abort::new("full")));
    assert!(matches!(&came[..], [Came::Abort { diagnostic, .. }] if diagnostic == b"full"));
    assert_eq!(end.events(), [closed(CloseReason::AbortedByPeer)]);
    assert_eq!(end.bytes(), [[0_u8; 0]; 0]);
}

/// RFC 8323 §5.3.
#[test]
fn settings_are_cumulative_and_replaced() {
    let mut end = end();
    let only_size = Csm {
        max_message_size: Some(700),
        block_wise_transfer: false,
    };
    end.feed(&signal(Signal::Csm(only_size), &[]));
    assert_eq!(end.connection.peer_max_message_size(), 700);
    end.feed(&signal(Signal::Csm(Csm::default()), &[]));
    assert_eq!(end.connection.peer_max_message_size(), 700);
}

/// RFC 8323 §3.3.
#[test]
fn both_ends_send_requests_on_one_connection() {
    let mut one = end();
    let mut other = end();
    let asked = one.ask(Code::GET, b"");
    let asked_back = other.ask(Code::POST, b"x");
    let (to_other, to_one) = (one.bytes().concat(), other.bytes().concat());
    let (request, message) = other.feed(&to_other).remove(0).request();
    assert_eq!(message.code, Code::GET);
    let (request_back, message) = one.feed(&to_one).remove(0).request();
    assert_eq!(
        (message.code, message.payload.as_slice()),
        (Code::POST, &b"x"[..])
    );
    other.respond(request, Code::CONTENT, b"21.5");
    one.respond(request_back, Code::CHANGED, b"");
    let (to_other, to_one) = (one.bytes().concat(), other.bytes().concat());
    let (answered, message) = one.feed(&to_one).remove(0).response();
    assert_eq!(
        (answered, message.payload.as_slice()),
        (asked, &b"21.5"[..])
    );
    let (answered, message) = other.feed(&to_other).remove(0).response();
    assert_eq!((answered, message.code), (asked_back, Code::CHANGED));
    assert!(one.connection.is_idle() && other.connection.is_idle());
}

/// RFC 8323 §3.3.
#[test]
fn responses_come_in_any_order_and_match_by_token() {
    let mut end = end();
    let asked: Vec<_> = (0..3).map(|_| end.ask(Code::GET, b"")).collect();
    let tokens: Vec<_> = end
        .sent()
        .into_iter()
        .map(|message| message.token)
        .collect();
    assert_eq!(tokens, [vec![1], vec![2], vec![3]]);
    for index in [2, 0, 1] {
        let (answered, _) = end
            .feed_one(&Owned::new(Code::CONTENT, &tokens[index]))
            .response();
        assert_eq!(answered, asked[index]);
    }
    let late = end.feed_one(&Owned::new(Code::CONTENT, &tokens[0]));
    assert_eq!(late, Came::Dropped(DropReason::Unmatched));
}

#[test]
fn tokens_are_sequential_or_unpredictable_as_configured() {
    let mut config = ConnectionConfig::default();
    config.exchange.tokens = TokenKind::Unpredictable;
    let mut end: End = End::open(config, 1_152);
    end.ask(Code::GET, b"");
    end.connection.ping(false).unwrap();
    let sent = end.sent();
    assert_ne!(sent[0].token, sent[1].token);
    assert!(sent.iter().all(|message| message.token.len() == 8));
}

/// RFC 8323 §3.4.
#[test]
fn empty_messages_are_ignored() {
    let mut end: End = End::fresh(ConnectionConfig::default());
    assert_eq!(end.feed(&[0, 0]), [Came::Handled]);
    assert!(!end.connection.is_established());
    end.feed(&csm(1_152));
    assert_eq!(
        end.feed(&[0, 0, 0, 0, 0x11, 0, 7, 9]),
        [Came::Handled, Came::Handled, Came::Handled]
    );
    let codes: Vec<_> = end.sent().iter().map(|message| message.code).collect();
    assert_eq!(codes, [Code::CSM]);
}

/// RFC 8323 §5.2.
#[test]
fn unknown_critical_signaling_option_aborts() {
    for code in [Code::PING, Code::PONG, Code::RELEASE, Code::from(0xff)] {
        let mut end = end();
        let message = Owned::new(code, &[1]).option(OptionNumber(9), b"");
        let came = end.feed_one(&message);
        assert_eq!(came, Came::Dropped(DropReason::UnexpectedMessage));
        let (option, text) = end.sent_abort();
        assert_eq!(option, None);
        assert!(text.contains("critical option 9"), "{text}");
        let error = SignalingError::UnrecognisedCriticalOption { code, number: 9 };
        assert_eq!(end.events(), [closed(CloseReason::Signaling(error))]);
    }
}

/// RFC 8323 §5.6.
#[test]
fn bad_csm_option_is_named_in_the_abort() {
    let mut end: End = End::fresh(ConnectionConfig::default());
    end.feed_one(&Owned::new(Code::CSM, &[]).option(OptionNumber(11), b"x"));
    assert_eq!(end.sent_abort().0, Some(11));
    let mut end: End = End::open(ConnectionConfig::default(), 1_152);
    end.feed_one(&Owned::new(Code::CSM, &[]).option(OptionNumber(2), &[1; 5]));
    assert_eq!(end.sent_abort().0, Some(2));
    let error = SignalingError::InvalidCsmOption { number: 2 };
    assert_eq!(end.events(), [closed(CloseReason::Signaling(error))]);
}

/// RFC 8323 §5.4.
#[test]
fn elective_signaling_options_and_unknown_codes_are_ignored() {
    let mut end = end();
    let ping = Owned::new(Code::PING, &[5]).option(OptionNumber(8), b"?");
    assert_eq!(end.feed_one(&ping), Came::Ping);
    assert_eq!(end.sent_one(), Owned::new(Code::PONG, &[5]));
    let unknown = end.feed_one(&Owned::new(Code::from(0xe6), &[]));
    assert_eq!(unknown, Came::Dropped(DropReason::UnexpectedMessage));
    assert!(end.connection.accepts_requests());
}

/// RFC 8323 §5.4.
#[test]
fn ping_is_answered_with_its_token() {
    let mut end = end();
    assert_eq!(end.feed(&[0x01, 0xe2, 0x42]), [Came::Ping]);
    assert_eq!(end.bytes(), [[0x01, 0xe3, 0x42]]);
}

/// RFC 8323 §5.4.
#[test]
fn pong_ends_its_ping_and_no_other() {
    let mut end = end();
    let one = end.connection.ping(false).unwrap();
    let other = end.connection.ping(true).unwrap();
    let sent = end.sent();
    assert_eq!(sent[0], Owned::new(Code::PING, &[1]));
    assert_eq!(
        sent[1],
        Owned::new(Code::PING, &[2]).option(OptionNumber(2), b"")
    );
    let stray = end.feed_one(&Owned::new(Code::PONG, &[9]));
    assert_eq!(stray, Came::Dropped(DropReason::Unmatched));
    end.feed(&signal(Signal::Pong { custody: true }, &[2]));
    end.feed(&signal(Signal::Pong { custody: false }, &[1]));
    let events = end.events();
    assert_eq!(
        events,
        [
            Event::Pong { request: one },
            Event::CustodyPong { request: other }
        ]
    );
}

#[test]
fn ping_without_pong_ends_after_the_pong_timeout() {
    let mut end = end();
    let request = end.connection.ping(false).unwrap();
    end.bytes();
    end.wait(29);
    assert_eq!(end.events(), []);
    end.wait(1);
    let error = RequestError::ResponseTimeout;
    assert_eq!(end.events(), [Event::RequestFailed { request, error }]);
    assert!(end.connection.accepts_requests());
}

/// RFC 8323 §5.4.1.
#[test]
fn custody_pong_waits_for_the_requests_before_it() {
    let mut end = end();
    let (before, _) = end.feed_one(&get(1)).request();
    end.feed(&signal(Signal::Ping { custody: true }, &[7]));
    let (after, _) = end.feed_one(&get(2)).request();
    end.respond(after, Code::CONTENT, b"");
    assert_eq!(end.sent_one().token, [2]);
    // A Ping without Custody isn't held up.
    end.feed(&signal(Signal::Ping { custody: false }, &[8]));
    assert_eq!(end.sent_one(), Owned::new(Code::PONG, &[8]));
    // Nor does a request behind the Ping hold one up.
    end.feed_one(&get(3)).request();
    end.respond(before, Code::CONTENT, b"");
    let sent = end.sent();
    assert_eq!(sent[0].token, [1]);
    assert_eq!(
        sent[1],
        Owned::new(Code::PONG, &[7]).option(OptionNumber(2), b"")
    );
    assert_eq!(sent.len(), 2);
}

/// RFC 8323 §5.4.1.
#[test]
fn custody_pongs_that_wait_never_keep_this_end_from_reading() {
    let mut config = ConnectionConfig::default();
    config.exchange.max_replies = 3;
    let mut end: End = End::open(config, 1_152);
    end.feed_one(&get(1)).request();
    for token in 0..20 {
        let came = end.feed(&signal(Signal::Ping { custody: true }, &[token]));
        assert_eq!(came, [Came::Ping]);
        let sent = end.sent();
        // Two wait for the application; the others say nothing about it.
        match token {
            0 | 1 => assert_eq!(sent, []),
            _ => assert_eq!(sent, [Owned::new(Code::PONG, &[token])]),
        }
        assert!(!end.connection.is_blocked());
    }
}

/// RFC 8323 §3.4.
#[test]
fn silent_peer_is_pinged_while_a_request_waits() {
    let mut end = end();
    end.wait(1_000);
    assert_eq!(end.bytes().len(), 0);
    end.ask(Code::GET, b"");
    end.bytes();
    end.wait(59);
    assert_eq!(end.bytes().len(), 0);
    end.wait(1);
    let ping = end.sent_one();
    assert_eq!(ping.code, Code::PING);
    // A Pong shows that the peer is there, and the next silence is waited for.
    assert_eq!(
        end.feed_one(&Owned::new(Code::PONG, &ping.token)),
        Came::Handled
    );
    assert_eq!(end.events(), []);
    end.wait(60);
    assert_eq!(end.sent_one().code, Code::PING);
    end.wait(30);
    let event = Event::PeerUnresponsive { transmissions: 1 };
    assert_eq!(end.events(), [event]);
    end.wait(1);
    assert_eq!((end.events().len(), end.bytes().len()), (0, 0));
}

/// RFC 8323 §3.4.
#[test]
fn anything_after_the_ping_shows_that_the_peer_is_there() {
    let mut end = end();
    end.ask(Code::GET, b"");
    end.bytes();
    end.wait(60);
    assert_eq!(end.sent_one().code, Code::PING);
    end.wait(1);
    end.feed_one(&get(1));
    end.wait(29);
    assert_eq!(end.events(), []);
}

#[test]
fn request_without_response_ends_after_the_response_timeout() {
    let mut config = ConnectionConfig::default();
    config.exchange.response_timeout = Duration::from_secs(20);
    let mut end: End = End::open(config, 1_152);
    let request = end.ask(Code::GET, b"");
    let token = end.sent_one().token;
    end.wait(20);
    let error = RequestError::ResponseTimeout;
    assert_eq!(end.events(), [Event::RequestFailed { request, error }]);
    let late = end.feed_one(&Owned::new(Code::CONTENT, &token));
    assert_eq!(late, Came::Dropped(DropReason::Unmatched));
    assert!(end.connection.is_idle());
}

/// RFC 8323 §5.5.
#[test]
fn release_waits_for_the_requests_under_way() {
    let mut end = end();
    let asked = end.ask(Code::GET, b"");
    let token = end.sent_one().token;
    let (incoming, _) = end.feed_one(&get(9)).request();
    let addresses = ["b.example:5684"];
    let going = Release::new()
        .with_alternative_addresses(&addresses)
        .with_hold_off(60);
    end.connection.release(&going).unwrap();
    assert_eq!(end.try_ask(Code::GET, b""), Err(Error::ConnectionEnding));
    assert_eq!(end.connection.ping(false), Err(Error::ConnectionEnding));
    assert_eq!(end.connection.release(&going), Err(Error::ConnectionEnding));
    assert_eq!(end.bytes().len(), 0);
    let (answered, _) = end.feed_one(&Owned::new(Code::CONTENT, &token)).response();
    assert_eq!(answered, asked);
    assert_eq!(end.bytes(), [release(going)]);
    // The peer's requests are answered until it closes.
    end.respond(incoming, Code::CONTENT, b"late");
    assert_eq!(end.sent_one().payload, b"late");
    assert!(!end.connection.is_closed());
    end.connection.handle_transport_closed();
    assert_eq!(end.events(), [closed(CloseReason::Released)]);
}

/// RFC 8323 §5.5.
#[test]
fn release_ends_by_itself_if_the_peer_does_not_close() {
    let mut end = end();
    end.connection.release(&Release::new()).unwrap();
    assert_eq!(end.sent_one().code, Code::RELEASE);
    end.wait(29);
    assert!(!end.connection.is_closed());
    end.wait(1);
    assert_eq!(end.events(), [closed(CloseReason::Released)]);
}

/// RFC 8323 §3.3.
#[test]
fn release_before_the_peers_csm_still_wants_the_csm() {
    let mut end: End = End::fresh(ConnectionConfig::default());
    end.connection.release(&Release::new()).unwrap();
    assert_eq!(end.sent_one().code, Code::CSM);
    assert!(!end.connection.accepts_requests());
    end.feed(&csm(1_152));
    assert_eq!(end.sent_one().code, Code::RELEASE);
}

/// RFC 8323 §5.5.
#[test]
fn peers_release_is_handed_out_and_closes_when_all_is_answered() {
    let mut end = end();
    end.ask(Code::GET, b"");
    let token = end.sent_one().token;
    let (incoming, _) = end.feed_one(&get(9)).request();
    let unsent = end.ask(Code::GET, b"");
    let addresses = ["a.example", "[2001:db8::7]:1"];
    let going = Release::new()
        .with_alternative_addresses(&addresses)
        .with_hold_off(5)
        .with_diagnostic("bye");
    let came = end.feed(&release(going));
    assert_eq!(
        came,
        [Came::Release {
            addresses: addresses.map(str::to_owned).to_vec(),
            hold_off: Some(5),
            diagnostic: b"bye".to_vec(),
        }]
    );
    assert_eq!(end.try_ask(Code::GET, b""), Err(Error::ConnectionEnding));
    let failed = Event::RequestFailed {
        request: unsent,
        error: RequestError::ConnectionReleased,
    };
    assert_eq!(end.events(), [failed]);
    end.respond(incoming, Code::CONTENT, b"");
    assert_eq!(end.sent_one().token, [9]);
    assert_eq!(end.events(), []);
    end.feed_one(&Owned::new(Code::CONTENT, &token)).response();
    assert_eq!(end.events(), [closed(CloseReason::ReleasedByPeer)]);
}

/// What is under way when the peer releases is given its time and no more.
#[test]
fn silent_peer_that_has_released_is_not_waited_for() {
    let mut end = end();
    let asked = end.ask(Code::GET, b"");
    end.sent_one();
    end.feed(&release(Release::new()));
    let until = end.connection.poll_timeout().unwrap();
    assert_eq!(until, end.now + std::time::Duration::from_secs(30));
    end.wait(29);
    assert_eq!(end.events(), []);
    // Another Release gives no more time.
    end.feed(&release(Release::new()));
    end.wait(1);
    let failed = Event::RequestFailed {
        request: asked,
        error: RequestError::ConnectionClosed,
    };
    let closed = closed(CloseReason::ReleasedByPeer);
    assert_eq!(end.events(), [failed, closed]);
    assert!(end.connection.is_closed());
}

/// RFC 8323 §5.6.
#[test]
fn abort_goes_out_with_its_text_and_nothing_else() {
    let mut end = end();
    let asked = end.ask(Code::GET, b"");
    end.bytes();
    let (incoming, _) = end.feed_one(&get(1)).request();
    let (queued, _) = end.feed_one(&get(2)).request();
    end.respond(queued, Code::CONTENT, b"never sent");
    end.connection.abort("out of memory");
    let came = end.feed(&get(3).encode());
    assert_eq!(came, [Came::Dropped(DropReason::AfterClose)]);
    assert_eq!(end.sent_abort(), (None, "out of memory".to_owned()));
    let error = ResponseError::ConnectionClosed;
    assert_eq!(
        end.events(),
        [
            Event::RequestFailed {
                request: asked,
                error: RequestError::ConnectionAborted
            },
            Event::ResponseFailed {
                request: incoming,
                error
            },
            Event::ResponseFailed {
                request: queued,
                error
            },
            closed(CloseReason::Aborted),
        ]
    );
    assert_eq!(end.connection.usage().bodies_len, 0);
}

/// RFC 8323 §5.6.
#[test]
fn peers_abort_ends_everything() {
    let mut end = end();
    let request = end.ask(Code::GET, b"");
    end.bytes();
    let came = end.feed(&abort(Abort::new("bad").with_bad_csm_option(2)));
    assert_eq!(
        came,
        [Came::Abort {
            bad_csm_option: Some(2),
            diagnostic: b"bad".to_vec()
        }]
    );
    let error = RequestError::ConnectionAborted;
    assert_eq!(
        end.events(),
        [
            Event::RequestFailed { request, error },
            closed(CloseReason::AbortedByPeer)
        ]
    );
    assert_eq!(end.bytes().len(), 0);
    assert_eq!(end.connection.poll_timeout(), None);
}

/// RFC 8323 §5.6.
#[test]
fn syntax_violation_aborts() {
    for (bytes, error) in [
        (&[0x10, 0x01, 0xff][..], FormatError::EmptyPayload),
        (&[0x00, 0x20], FormatError::ReservedCodeClass { class: 1 }),
        (&[0x0f], FormatError::ReservedTokenLength { len: 15 }),
    ] {
        for is_split in [false, true] {
            let mut end = end();
            let came = match is_split {
                false => end.feed(bytes),
                true => bytes.iter().flat_map(|byte| end.feed(&[*byte])).collect(),
            };
            assert_eq!(came.last(), Some(&Came::Dropped(DropReason::Malformed)));
            assert_eq!(end.sent_abort().1, error.to_string());
            assert_eq!(end.events(), [closed(CloseReason::Format(error))]);
        }
    }
}

/// RFC 8323 §5.3.1.
#[test]
fn message_over_max_message_size_aborts_before_it_is_kept() {
    let config = ConnectionConfig {
        max_message_size: 200,
        ..ConnectionConfig::default()
    };
    let at_bound = Owned::new(Code::POST, &[1]).payload(&[7; 195]);
    assert_eq!(at_bound.encode().len(), 200);
    let mut end: End = End::open(config.clone(), 1_152);
    end.feed_one(&at_bound).request();
    // Three bytes say how long it will be.
    let over = Owned::new(Code::POST, &[1]).payload(&[7; 196]).encode();
    for pieces in [vec![&over[..2]], vec![&over[..1], &over[1..2]]] {
        let mut end: End = End::open(config.clone(), 1_152);
        let mut came = Vec::new();
        for piece in pieces {
            came.extend(end.feed(piece));
        }
        assert_eq!(came.last(), Some(&Came::Dropped(DropReason::TooLong)));
        assert_eq!(
            end.sent_abort().1,
            "message of 201 bytes, at most 200 taken"
        );
        let reason = CloseReason::MessageTooLong { len: 201, max: 200 };
        assert_eq!(end.events(), [closed(reason)]);
        assert_eq!(end.connection.usage().buffered_len, 0);
    }
}

#[test]
fn announced_length_costs_no_memory_before_it_comes() {
    let config = ConnectionConfig {
        max_message_size: u32::MAX,
        ..ConnectionConfig::default()
    };
    let mut end: End = End::open(config, 1_152);
    assert_eq!(end.feed(&[0xf0, 0xff, 0, 0, 0, 0x02]), [Came::Handled]);
    assert_eq!(end.connection.usage().buffered_len, 6);
}

/// RFC 7252 §5.4.1.
#[test]
fn unknown_critical_option_in_a_request_leads_to_4_02() {
    let mut end = end();
    let request = get(1).option(OptionNumber(65_001), b"x");
    assert_eq!(end.feed_one(&request), Came::Handled);
    let answer = end.sent_one();
    assert_eq!(
        (answer.code, answer.token.as_slice()),
        (Code::BAD_OPTION, &[1][..])
    );
    assert_eq!(answer.payload, b"option 65001 unrecognised");
}

/// RFC 7252 §5.4.1.
#[test]
fn unknown_critical_option_in_a_response_rejects_it() {
    let mut end = end();
    let request = end.ask(Code::GET, b"");
    let token = end.sent_one().token;
    let response = Owned::new(Code::CONTENT, &token).option(OptionNumber(65_001), b"x");
    assert_eq!(end.feed_one(&response), Came::Handled);
    let error = RequestError::UnrecognisedCriticalOption;
    assert_eq!(end.events(), [Event::RequestFailed { request, error }]);
    assert!(end.connection.accepts_requests());
}

/// RFC 7252 §5.10.2.
#[test]
fn proxy_options_lead_to_5_05_where_there_is_no_proxy() {
    let mut end = end();
    end.feed_one(&get(1).option(OptionNumber::PROXY_SCHEME, b"http"));
    assert_eq!(end.sent_one().code, Code::PROXYING_NOT_SUPPORTED);
}

#[test]
fn split_anywhere_is_the_same_as_whole() {
    let stream = [
        csm(4_000),
        vec![0, 0],
        get(1).encode(),
        signal(Signal::Ping { custody: false }, &[8]),
        get(2).payload(&[3; 400]).encode(),
    ]
    .concat();
    let messages = |came: &[Came]| -> Vec<Came> {
        came.iter()
            .filter(|came| **came != Came::Handled)
            .cloned()
            .collect()
    };
    let mut whole: End = End::fresh(ConnectionConfig::default());
    let expected = messages(&whole.feed(&stream));
    let expected_sent = whole.bytes();
    assert_eq!(expected.len(), 3);
    for size in [1, 2, 3, 5, 17, 100] {
        let mut end: End = End::fresh(ConnectionConfig::default());
        let mut came = Vec::new();
        for piece in stream.chunks(size) {
            came.extend(end.feed(piece));
        }
        assert_eq!(messages(&came), expected, "pieces of {size}");
        assert_eq!(end.bytes(), expected_sent);
        assert_eq!(end.connection.usage().buffered_len, 0);
    }
}

#[test]
fn queue_of_requests_is_bounded() {
    let mut config = ConnectionConfig::default();
    config.exchange.max_outgoing = 2;
    let mut end: End = End::open(config, 1_152);
    let first = end.ask(Code::GET, b"");
    end.connection.ping(false).unwrap();
    assert_eq!(end.try_ask(Code::GET, b""), Err(Error::TooManyRequests));
    assert_eq!(end.connection.ping(false), Err(Error::TooManyRequests));
    end.connection.cancel(first).unwrap();
    assert_eq!(end.connection.cancel(first), Err(Error::UnknownHandle));
    assert_eq!(end.events().len(), 1);
    end.ask(Code::GET, b"");
}

#[test]
fn slow_reader_makes_this_end_stop_reading() {
    let mut config = ConnectionConfig::default();
    config.exchange.max_replies = 3;
    let mut end: End = End::open(config, 1_152);
    let ping = |token| signal(Signal::Ping { custody: false }, &[token]);
    let stream: Vec<u8> = (0..5).flat_map(ping).collect();
    // The transport takes nothing, so nothing is fetched.
    let came = end.feed(&stream);
    assert_eq!(came, [Came::Ping, Came::Ping, Came::Ping, Came::Blocked]);
    assert!(end.connection.is_blocked());
    assert_eq!(end.transmit(), Some(vec![0x01, 0xe3, 0]));
    let came = end.feed(&stream[9..]);
    assert_eq!(came, [Came::Ping, Came::Blocked]);
    let tokens: Vec<_> = end
        .sent()
        .into_iter()
        .map(|message| message.token)
        .collect();
    assert_eq!(tokens, [[1], [2], [3]]);
    assert_eq!(end.feed(&stream[12..]), [Came::Ping]);
}

#[test]
fn responses_that_wait_block_requests_and_requests_that_wait_get_5_03() {
    let mut config = ConnectionConfig::default();
    config.exchange.max_incoming = 2;
    let mut end: End = End::open(config, 1_152);
    let (first, _) = end.feed_one(&get(1)).request();
    end.feed_one(&get(2)).request();
    // The application is slow: this end's own responses must still get in.
    let came = end.feed_one(&get(3));
    assert_eq!(came, Came::Dropped(DropReason::ExchangeTableFull));
    let refused = end.sent_one();
    assert_eq!(
        (refused.code, refused.token),
        (Code::SERVICE_UNAVAILABLE, vec![3])
    );
    // The peer is slow: what is done waits for it.
    end.respond(first, Code::CONTENT, b"");
    assert_eq!(end.feed(&get(4).encode()), [Came::Blocked]);
    assert_eq!(end.sent_one().token, [1]);
    end.feed_one(&get(4)).request();
}

#[test]
fn transport_that_closes_fails_what_is_under_way() {
    let mut end = end();
    let request = end.ask(Code::GET, b"");
    let (incoming, _) = end.feed_one(&get(1)).request();
    end.feed(&get(2).encode()[..3]);
    end.connection.handle_transport_closed();
    end.connection.handle_transport_closed();
    assert_eq!(
        end.events(),
        [
            Event::RequestFailed {
                request,
                error: RequestError::ConnectionClosed
            },
            Event::ResponseFailed {
                request: incoming,
                error: ResponseError::ConnectionClosed
            },
            closed(CloseReason::TransportClosed),
        ]
    );
    let usage = end.connection.usage();
    assert_eq!((usage.buffered_len, usage.bodies_len), (0, 0));
    assert_eq!(end.try_ask(Code::GET, b""), Err(Error::ConnectionEnding));
}

#[test]
fn ignored_request_frees_its_place_and_says_nothing() {
    let mut end = end();
    let (request, _) = end.feed_one(&get(1)).request();
    end.connection.ignore(request).unwrap();
    assert_eq!(end.connection.ignore(request), Err(Error::UnknownHandle));
    assert_eq!(end.bytes().len(), 0);
    assert!(end.connection.is_idle());
}

#[test]
fn fixed_form_offers_what_it_can_hold() {
    let mut end: End<Fixed<2, 0, 200, 2, 300>> = End::fresh(ConnectionConfig::default());
    let offered = end.sent_one();
    assert_eq!(offered.value(OptionNumber(2)), Some(&[200][..]));
    end.feed(&csm(8_000));
    // What arrives in pieces is put together in the array.
    let request = get(1).payload(&[5; 180]).encode();
    assert_eq!(end.feed(&request[..50]), [Came::Handled]);
    assert_eq!(end.connection.usage().buffered_len, 50);
    let (name, _) = end.feed(&request[50..]).remove(0).request();
    end.respond(name, Code::CONTENT, &[6; 250]);
    let first = end.sent_one();
    assert!(first.encode().len() <= 200);
    assert!(first.block_of(OptionNumber::BLOCK2).unwrap().1);
    assert_eq!(
        end.connection.config().exchange.max_body_len,
        Config::default().max_body_len
    );
}

/// RFC 8323 §3.4: an idle connection is looked after where it is configured, by one ping at a time.
#[test]
fn silent_peer_of_an_idle_connection_is_pinged_where_configured() {
    let mut end: End = End::open(
        ConnectionConfig {
            ping_idle_after: Some(Duration::from_secs(100)),
            ..ConnectionConfig::default()
        },
        1_152,
    );
    for _ in 0..5 {
        end.wait(99);
        assert_eq!(end.bytes().len(), 0);
        end.wait(1);
        let ping = end.sent_one();
        assert_eq!(ping.code, Code::PING);
        end.feed_one(&Owned::new(Code::PONG, &ping.token));
        assert_eq!(end.events(), []);
    }
    end.wait(100);
    assert_eq!(end.sent_one().code, Code::PING);
    end.wait(30);
    let event = Event::PeerUnresponsive { transmissions: 1 };
    assert_eq!(end.events(), [event]);
    end.wait(1_000);
    assert_eq!((end.events().len(), end.bytes().len()), (0, 0));
}
