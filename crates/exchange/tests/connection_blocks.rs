//! Block-wise transfer and BERT over a reliable transport, RFC 7959 and RFC 8323 §6.
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

use hedgerow_coap::{Code, OptionNumber};
use hedgerow_exchange::{ConnectionConfig, Event, Fixed, RequestError, Storage};
use stream::{Came, End, Owned, body, csm, get};

const BLOCK1: OptionNumber = OptionNumber::BLOCK1;
const BLOCK2: OptionNumber = OptionNumber::BLOCK2;

fn config(max_message_size: u32) -> ConnectionConfig {
    let mut config = ConnectionConfig {
        max_message_size,
        ..ConnectionConfig::default()
    };
    config.exchange.max_message_len = 20_000;
    config
}

/// Carries bytes between two ends in pieces until neither has any left; the server answers each
/// request with its own body, or with `answer` bytes. Returns the response and the longest message
/// in each direction.
fn carry<S: Storage>(
    client: &mut End<S>,
    server: &mut End<S>,
    piece: usize,
    answer: usize,
) -> (Owned, Vec<u8>, [usize; 2]) {
    let (mut response, mut seen, mut longest) = (None, Vec::new(), [0; 2]);
    loop {
        let (to_server, to_client) = (client.bytes(), server.bytes());
        if to_server.is_empty() && to_client.is_empty() {
            return (response.expect("a response"), seen, longest);
        }
        for (max, messages) in longest.iter_mut().zip([&to_server, &to_client]) {
            *max = messages.iter().map(Vec::len).fold(*max, usize::max);
        }
        for bytes in to_server.concat().chunks(piece) {
            for came in server.feed(bytes) {
                if let Came::Request(request, message) = came {
                    seen.clone_from(&message.payload);
                    server.respond(request, Code::CONTENT, &body(answer));
                }
            }
        }
        for bytes in to_client.concat().chunks(piece) {
            for came in client.feed(bytes) {
                if let Came::Response(_, message) = came {
                    assert!(response.is_none());
                    response = Some(message);
                }
            }
        }
    }
}

#[test]
fn bodies_of_30_and_100_kb_go_both_ways_in_blocks() {
    for (len, size, piece) in [
        (30_000, 1_152, 1_400),
        (30_000, 8_448, 16_384),
        (100_000, 1_152, 777),
        (100_000, 8_448, 16_384),
        (100_000, 300, 100_000),
    ] {
        let mut client: End = End::fresh(config(size));
        let mut server: End = End::fresh(config(size));
        client.ask(Code::POST, &body(len));
        let (response, seen, longest) = carry(&mut client, &mut server, piece, len + 1);
        assert_eq!(seen, body(len));
        assert_eq!(response.payload, body(len + 1));
        assert!(
            longest.iter().all(|longest| *longest <= size as usize),
            "{longest:?}"
        );
        // Blocks are as large as the other end takes: with BERT 8 times 1,024 bytes.
        let block = match size {
            300 => 128,
            1_152 => 1_024,
            _ => 8_192,
        };
        assert!(
            longest.iter().all(|longest| *longest >= block),
            "{longest:?}"
        );
        assert!(client.connection.is_idle());
        assert_eq!(client.connection.usage().bodies_len, 0);
    }
}

/// RFC 8323 §6.
#[test]
fn bodies_that_fit_go_in_one_message_however_long() {
    let mut client: End = End::fresh(config(20_000));
    let mut server: End = End::fresh(config(20_000));
    client.ask(Code::POST, &body(15_000));
    let (response, seen, _) = carry(&mut client, &mut server, 1_400, 15_000);
    assert_eq!((seen.len(), response.payload.len()), (15_000, 15_000));
    assert_eq!(server.connection.usage().representations, 0);
    assert!(response.options.is_empty());
}

#[test]
fn fixed_form_carries_bodies_within_its_arrays() {
    type Form = Fixed<3, 0, 400, 3, 4_200>;
    let mut client: End<Form> = End::fresh(config(8_448));
    let mut server: End<Form> = End::fresh(config(8_448));
    client.ask(Code::PUT, &body(4_000));
    let (response, seen, longest) = carry(&mut client, &mut server, 64, 4_100);
    assert_eq!((seen, response.payload), (body(4_000), body(4_100)));
    assert!(longest.iter().all(|longest| *longest <= 400));
}

/// RFC 8323 §6.1.
#[test]
fn figure_13_get_with_bert_blocks() {
    let mut end: End = End::open(config(6_000), 1_152);
    let request = end.ask(Code::GET, b"");
    let whole = body(12_903);
    for (num, more, range) in [
        (0, true, 0..3_072),
        (3, true, 3_072..8_192),
        (8, false, 8_192..12_903),
    ] {
        let asked = end.sent_one();
        let expected = (num > 0).then_some((num, false, 7));
        assert_eq!(asked.block_of(BLOCK2), expected);
        let response = Owned::new(Code::CONTENT, &asked.token)
            .block(BLOCK2, num, more, 7)
            .payload(&whole[range]);
        let came = end.feed_one(&response);
        if !more {
            let (answered, message) = came.response();
            assert_eq!((answered, message.payload), (request, whole.clone()));
        }
    }
}

/// RFC 8323 §6.2.
#[test]
fn figure_14_put_with_bert_blocks() {
    let mut end: End = End::open(config(20_000), 1_152);
    let whole = body(30_259);
    let put = |token, num, more, range| {
        Owned::new(Code::PUT, &[token])
            .option(OptionNumber::URI_PATH, b"options")
            .block(BLOCK1, num, more, 7)
            .payload(&whole[range])
    };
    assert_eq!(end.feed_one(&put(1, 0, true, 0..8_192)), Came::Handled);
    let answer = end.sent_one();
    assert_eq!(answer.code, Code::CONTINUE);
    assert_eq!(answer.block_of(BLOCK1), Some((0, true, 7)));
    assert_eq!(end.feed_one(&put(2, 8, true, 8_192..24_576)), Came::Handled);
    assert_eq!(end.sent_one().block_of(BLOCK1), Some((8, true, 7)));
    let (request, message) = end.feed_one(&put(3, 24, false, 24_576..30_259)).request();
    assert_eq!(message.payload, whole);
    end.respond(request, Code::CHANGED, b"");
    let answer = end.sent_one();
    assert_eq!((answer.code, &answer.token[..]), (Code::CHANGED, &[3][..]));
    assert_eq!(answer.block_of(BLOCK1), Some((24, false, 7)));
}

/// RFC 8323 §6, RFC 7959 §2.3.
#[test]
fn bert_block_that_is_no_multiple_of_1024_is_refused() {
    for len in [0, 1_023, 1_025] {
        let mut end: End = End::open(config(20_000), 1_152);
        let put = Owned::new(Code::PUT, &[1])
            .block(BLOCK1, 0, true, 7)
            .payload(&body(len));
        end.feed_one(&put);
        assert_eq!(end.sent_one().code, Code::BAD_REQUEST, "{len}");
        let request = end.ask(Code::GET, b"");
        let token = end.sent_one().token;
        let response = Owned::new(Code::CONTENT, &token)
            .block(BLOCK2, 0, true, 7)
            .payload(&body(len));
        end.feed_one(&response);
        let error = RequestError::UnexpectedBlock;
        assert_eq!(end.events(), [Event::RequestFailed { request, error }]);
    }
}

/// RFC 8323 §6.
#[test]
fn bert_in_control_usage_may_be_answered_with_single_blocks() {
    // The peer asks with BERT, but takes no message in which two blocks fit.
    let mut end: End = End::open(config(20_000), 1_200);
    let (request, _) = end.feed_one(&get(1).block(BLOCK2, 0, false, 7)).request();
    end.respond(request, Code::CONTENT, &body(3_000));
    let first = end.sent_one();
    assert_eq!(first.block_of(BLOCK2), Some((0, true, 6)));
    assert_eq!(first.payload.len(), 1_024);
    end.feed_one(&get(2).block(BLOCK2, 1, false, 7));
    let second = end.sent_one();
    assert_eq!(second.block_of(BLOCK2), Some((1, true, 6)));
    assert_eq!(second.payload, body(3_000)[1_024..2_048]);
}

/// RFC 8323 §6.
#[test]
fn bert_response_that_fits_says_so_in_its_only_block() {
    let mut end: End = End::open(config(20_000), 9_000);
    let (request, _) = end.feed_one(&get(1).block(BLOCK2, 0, false, 7)).request();
    end.respond(request, Code::CONTENT, &body(5_000));
    let only = end.sent_one();
    assert_eq!(only.block_of(BLOCK2), Some((0, false, 7)));
    assert_eq!(only.payload.len(), 5_000);
    assert_eq!(end.connection.usage().representations, 0);
}

/// RFC 8323 §5.3.2.
#[test]
fn peer_that_does_not_offer_bert_gets_blocks_of_1024() {
    // Max-Message-Size alone is no offer of BERT: Block-Wise-Transfer is missing.
    let mut end: End = End::fresh(config(20_000));
    end.bytes();
    end.feed_one(&Owned::new(Code::CSM, &[]).option(OptionNumber(2), &[0x20, 0x00]));
    end.ask(Code::PUT, &body(20_000));
    let sent = end.sent_one();
    assert_eq!(sent.block_of(BLOCK1), Some((0, true, 6)));
    // Once offered it stays offered (§5.3), for as long as the size allows it.
    end.feed(&csm(1_152));
    end.feed_one(&Owned::new(Code::CSM, &[]).option(OptionNumber(2), &[0x20, 0x00]));
    end.ask(Code::PUT, &body(20_000));
    assert_eq!(end.sent_one().block_of(BLOCK1), Some((0, true, 7)));
}

#[test]
fn upload_goes_on_in_smaller_blocks_when_the_peer_says_so() {
    let mut end: End = End::open(config(20_000), 8_448);
    let whole = body(20_000);
    end.ask(Code::PUT, &whole);
    let first = end.sent_one();
    assert_eq!(first.block_of(BLOCK1), Some((0, true, 7)));
    assert_eq!(first.payload.len(), 8_192);
    let goes_on =
        |token: &[u8], num, szx| Owned::new(Code::CONTINUE, token).block(BLOCK1, num, true, szx);
    end.feed_one(&goes_on(&first.token, 0, 5));
    let second = end.sent_one();
    assert_eq!(second.block_of(BLOCK1), Some((16, true, 5)));
    assert_eq!(second.payload, whole[8_192..8_704]);
    // RFC 8323 §5.3.1: a later CSM replaces the size.
    end.feed(&csm(300));
    end.feed_one(&goes_on(&second.token, 16, 5));
    let third = end.sent_one();
    assert!(third.encode().len() <= 300);
    assert_eq!(third.block_of(BLOCK1), Some((68, true, 3)));
    assert_eq!(third.payload, whole[8_704..8_832]);
}

#[test]
fn request_that_the_peer_cannot_take_fails_and_the_connection_goes_on() {
    let mut end: End = End::open(config(20_000), 40);
    let request = end.ask(Code::PUT, &body(500));
    assert_eq!(end.bytes().len(), 0);
    let error = RequestError::TooLongForPeer;
    assert_eq!(end.events(), [Event::RequestFailed { request, error }]);
    end.feed(&csm(1_152));
    end.ask(Code::PUT, &body(500));
    assert_eq!(end.sent_one().payload.len(), 500);
}

#[test]
fn large_request_refused_with_4_13_is_tried_in_blocks() {
    let mut end: End = End::open(config(20_000), 8_448);
    end.ask(Code::PUT, &body(5_000));
    let whole = end.sent_one();
    assert_eq!((whole.block_of(BLOCK1), whole.payload.len()), (None, 5_000));
    let refused =
        Owned::new(Code::REQUEST_ENTITY_TOO_LARGE, &whole.token).block(BLOCK1, 0, false, 4);
    end.feed_one(&refused);
    let first = end.sent_one();
    assert_eq!(first.block_of(BLOCK1), Some((0, true, 4)));
    assert_eq!(first.payload.len(), 256);
}

#[test]
fn slow_reader_of_a_long_body_holds_nothing_but_that_body() {
    let mut server: End = End::open(config(8_448), 8_448);
    let (request, _) = server.feed_one(&get(1)).request();
    server.respond(request, Code::CONTENT, &body(100_000));
    // The peer fetches nothing for long, and asks for no other block: what is kept expires.
    let held = server.connection.usage();
    assert!(held.bodies_len < 100_100, "{held:?}");
    assert_eq!((held.representations, held.incoming), (1, 1));
    assert_eq!(server.bytes().len(), 1);
    let at = server.connection.poll_timeout().unwrap();
    let seconds = at.saturating_since(server.now).as_secs() + 1;
    server.wait(seconds);
    assert!(server.connection.is_idle());
    assert_eq!(server.connection.usage().bodies_len, 0);
}

#[test]
fn upload_that_stops_is_forgotten_and_told() {
    let mut end: End = End::open(config(8_448), 1_152);
    let put = Owned::new(Code::PUT, &[1])
        .block(BLOCK1, 0, true, 6)
        .payload(&body(1_024));
    end.feed_one(&put);
    assert_eq!(end.sent_one().code, Code::CONTINUE);
    assert_eq!(end.connection.usage().reassemblies, 1);
    end.wait(300);
    assert_eq!(end.events(), [Event::ReassemblyExpired]);
    assert!(end.connection.is_idle());
}

#[test]
fn body_over_the_configured_length_is_refused() {
    let mut config = config(8_448);
    config.exchange.max_body_len = 3_000;
    let mut end: End = End::open(config, 8_448);
    assert!(end.try_ask(Code::PUT, &body(3_001)).is_err());
    let put = Owned::new(Code::PUT, &[1])
        .block(BLOCK1, 0, true, 7)
        .payload(&body(4_096));
    end.feed_one(&put);
    assert_eq!(end.sent_one().code, Code::REQUEST_ENTITY_TOO_LARGE);
    assert_eq!(end.connection.usage().bodies_len, 0);
}
