//! Block-wise transfer as a peer sees it, RFC 7959.
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

mod peer;

use std::collections::HashSet;

use hedgerow_coap::{Code, MessageOption, OptionNumber};
use hedgerow_core::DropReason;
use hedgerow_exchange::{Config, Event, OutgoingRequest, Request, RequestError, Response};
use peer::{ACK, CON, Came, End, NON, Owned, get, request, seconds};

const BLOCK1: OptionNumber = OptionNumber::BLOCK1;
const BLOCK2: OptionNumber = OptionNumber::BLOCK2;

fn end() -> End {
    End::new(Config::default())
}

fn body(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index / 7) as u8).collect()
}

fn put_block(id: u16, num: u32, more: bool, size: usize, body: &[u8]) -> Owned {
    let start = num as usize * size;
    let end = (start + size).min(body.len());
    request(CON, Code::PUT, id, "a")
        .block(BLOCK1, num, more, size)
        .payload(&body[start..end])
}

/// Hands a request in and returns what the exchange itself answers.
fn answered(end: &mut End, message: &Owned) -> Owned {
    assert_eq!(end.receive(message), Came::Handled);
    end.transmit_one()
}

#[test]
fn blocks_are_put_together_and_come_out_as_one_request() {
    let body = body(150);
    let mut end = end();
    for num in 0..2 {
        let block = put_block(num as u16, num, true, 64, &body).uint(OptionNumber::SIZE1, 150);
        let answer = answered(&mut end, &block);
        assert_eq!(answer.code, Code::CONTINUE);
        assert_eq!(answer.block_of(BLOCK1), Some((num, true, 64)));
    }
    let Came::Request(request, received) = end.receive(&put_block(2, 2, false, 64, &body)) else {
        panic!("a request");
    };
    assert_eq!(received.payload, body);
    assert_eq!(
        received.options,
        [(OptionNumber::URI_PATH.0, b"a".to_vec())]
    );
    // The transfer has ended: its body is only lent, and an old block finds nothing.
    assert_eq!(end.exchange.usage().reassemblies, 0);
    let late = answered(&mut end, &put_block(9, 1, true, 64, &body));
    assert_eq!(late.code, Code::REQUEST_ENTITY_INCOMPLETE);
    end.respond(request, Code::CHANGED, b"");
    let answer = end.transmit_one();
    assert_eq!(answer.code, Code::CHANGED);
    assert_eq!(answer.block_of(BLOCK1), Some((2, false, 64)));
    assert_eq!(end.exchange.usage().bodies_len, 0);
}

#[test]
fn body_that_was_lent_is_given_back_at_the_next_message() {
    let body = body(100);
    let mut end = end();
    for (index, tag) in [(0, 1), (1, 2), (2, 3)] {
        let tagged = |id, num, more| {
            put_block(id, num, more, 64, &body).uint(OptionNumber::REQUEST_TAG, tag)
        };
        assert_eq!(end.receive(&tagged(2 * index, 0, true)), Came::Handled);
        let last = end.receive(&tagged(2 * index + 1, 1, false));
        assert!(matches!(last, Came::Request(..)));
        // One body and its options, never two.
        assert!(end.exchange.usage().bodies_len < 150);
    }
}

#[test]
fn if_none_match_stands_in_the_first_block_only() {
    let body = body(100);
    let mut end = end();
    let first = put_block(1, 0, true, 64, &body).option(OptionNumber::IF_NONE_MATCH, &[]);
    answered(&mut end, &first);
    let Came::Request(_, received) = end.receive(&put_block(2, 1, false, 64, &body)) else {
        panic!("a request");
    };
    assert_eq!(received.payload, body);
    assert!(received.value(OptionNumber::IF_NONE_MATCH).is_some());
}

#[test]
fn single_block_is_a_request_of_its_own() {
    let mut end = end();
    let request = end.receive_request(&put_block(1, 0, false, 64, &body(10)));
    end.respond(request, Code::CHANGED, b"");
    assert_eq!(end.transmit_one().block_of(BLOCK1), Some((0, false, 64)));
}

#[test]
fn server_says_which_block_size_it_prefers() {
    let mut end = End::new(Config {
        max_block_szx: 1,
        ..Config::default()
    });
    let body = body(256);
    let answer = answered(&mut end, &put_block(1, 0, true, 128, &body));
    assert_eq!(answer.block_of(BLOCK1), Some((0, true, 32)));
    for num in 4..7 {
        answered(&mut end, &put_block(num, u32::from(num), true, 32, &body));
    }
    let came = end.receive(&put_block(9, 7, false, 32, &body));
    assert!(matches!(came, Came::Request(_, received) if received.payload == body));
}

#[test]
fn gap_leads_to_4_08_and_frees_the_body() {
    let body = body(256);
    let mut end = end();
    answered(&mut end, &put_block(1, 0, true, 64, &body));
    let answer = answered(&mut end, &put_block(2, 2, true, 64, &body));
    assert_eq!(answer.code, Code::REQUEST_ENTITY_INCOMPLETE);
    assert_eq!(end.exchange.usage().bodies_len, 0);
    let answer = answered(&mut end, &put_block(3, 1, true, 64, &body));
    assert_eq!(answer.code, Code::REQUEST_ENTITY_INCOMPLETE);
}

#[test]
fn block_sent_anew_under_another_message_id_is_taken_once() {
    let body = body(150);
    let mut end = end();
    answered(&mut end, &put_block(1, 0, true, 64, &body));
    for id in 2..4 {
        let answer = answered(&mut end, &put_block(id, 1, true, 64, &body));
        assert_eq!(answer.code, Code::CONTINUE);
    }
    let came = end.receive(&put_block(5, 2, false, 64, &body));
    assert!(matches!(came, Came::Request(_, received) if received.payload == body));
}

#[test]
fn new_first_block_overwrites_what_there_was() {
    let (old, new) = (vec![1; 150], body(150));
    let mut end = end();
    answered(&mut end, &put_block(1, 0, true, 64, &old));
    answered(&mut end, &put_block(2, 1, true, 64, &old));
    answered(&mut end, &put_block(3, 0, true, 64, &new));
    assert_eq!(end.exchange.usage().reassemblies, 1);
    answered(&mut end, &put_block(4, 1, true, 64, &new));
    let came = end.receive(&put_block(5, 2, false, 64, &new));
    assert!(matches!(came, Came::Request(_, received) if received.payload == new));
}

#[test]
fn different_request_tags_content_formats_and_paths_are_different_bodies() {
    let (first, second) = (vec![1; 100], vec![2; 100]);
    let tagged = |id, num, more, tag: u32, body: &[u8]| {
        put_block(id, num, more, 64, body).uint(OptionNumber::REQUEST_TAG, tag)
    };
    let mut end = end();
    answered(&mut end, &tagged(1, 0, true, 1, &first));
    answered(&mut end, &tagged(2, 0, true, 2, &second));
    let came = end.receive(&tagged(3, 1, false, 1, &first));
    assert!(matches!(came, Came::Request(_, received) if received.payload == first));
    // MUST (RFC 7959 §2.3): blocks of another Content-Format aren't put together with these.
    let other = tagged(4, 1, false, 2, &second).uint(OptionNumber::CONTENT_FORMAT, 60);
    let answer = answered(&mut end, &other);
    assert_eq!(answer.code, Code::REQUEST_ENTITY_INCOMPLETE);
    let came = end.receive(&tagged(5, 1, false, 2, &second));
    assert!(matches!(came, Came::Request(_, received) if received.payload == second));
}

#[test]
fn body_over_the_limit_leads_to_4_13_with_the_limit() {
    let config = Config {
        max_body_len: 100,
        ..Config::default()
    };
    let body = body(256);
    let mut end = End::new(config);
    let announced = put_block(1, 0, true, 64, &body).uint(OptionNumber::SIZE1, 101);
    let answer = answered(&mut end, &announced);
    assert_eq!(answer.code, Code::REQUEST_ENTITY_TOO_LARGE);
    assert_eq!(answer.value(OptionNumber::SIZE1), Some([100].as_slice()));
    answered(&mut end, &put_block(2, 0, true, 64, &body));
    let answer = answered(&mut end, &put_block(3, 1, true, 64, &body));
    assert_eq!(answer.code, Code::REQUEST_ENTITY_TOO_LARGE);
    assert_eq!(end.exchange.usage().bodies_len, 0);
}

#[test]
fn blocks_that_break_the_format_lead_to_4_00() {
    let body = body(256);
    let mut end = end();
    let short = put_block(1, 0, true, 64, &body).payload(&[1; 63]);
    let long = put_block(2, 0, false, 64, &body).payload(&[1; 65]);
    let reserved = get(CON, 3, "a").option(BLOCK2, &[0x07]);
    for message in [short, long, reserved] {
        assert_eq!(answered(&mut end, &message).code, Code::BAD_REQUEST);
    }
    let too_long = get(CON, 4, "a").option(BLOCK2, &[0, 0, 0, 6]);
    assert_eq!(answered(&mut end, &too_long).code, Code::BAD_OPTION);
}

#[test]
fn bodies_being_received_are_bounded_and_expire() {
    let body = body(256);
    let mut end = End::new(Config {
        max_reassemblies: 1,
        ..Config::default()
    });
    answered(&mut end, &put_block(1, 0, true, 64, &body));
    let other = put_block(2, 0, true, 64, &body).uint(OptionNumber::REQUEST_TAG, 1);
    assert_eq!(
        end.receive(&other),
        Came::Dropped(DropReason::ReassemblyFull)
    );
    assert_eq!(end.transmit_one().code, Code::SERVICE_UNAVAILABLE);
    end.wait(seconds(247));
    assert_eq!(end.events(), [Event::ReassemblyExpired]);
    assert_eq!(end.exchange.usage().bodies_len, 0);
    let late = put_block(3, 1, true, 64, &body);
    let answer = answered(&mut end, &late);
    assert_eq!(answer.code, Code::REQUEST_ENTITY_INCOMPLETE);
}

#[test]
fn nonconfirmable_blocks_are_answered_without_confirmation() {
    let body = body(100);
    let mut end = end();
    let mut block = put_block(1, 0, true, 64, &body);
    block.message_type = NON;
    let answer = answered(&mut end, &block);
    assert_eq!((answer.message_type, answer.code), (NON, Code::CONTINUE));
    let usage = end.exchange.usage();
    assert_eq!(usage.seen_bytes, 0);
}

#[test]
fn long_response_goes_in_blocks_of_one_etag_from_one_run_of_the_handler() {
    let body = body(2_500);
    let mut end = end();
    let request = end.receive_request(&get(CON, 1, "a").uint(OptionNumber::SIZE2, 0));
    end.respond(request, Code::CONTENT, &body);
    let first = end.transmit_one();
    assert_eq!(first.block_of(BLOCK2), Some((0, true, 1_024)));
    assert_eq!(
        first.value(OptionNumber::SIZE2),
        Some(2_500_u16.to_be_bytes().as_slice())
    );
    let etag = first.value(OptionNumber::ETAG).unwrap().to_vec();
    assert_eq!(etag.len(), 8);
    // Any block, in any order, and smaller ones: nothing reaches the application.
    for (id, num, size, more) in [
        (2, 2, 1_024, false),
        (3, 1, 1_024, true),
        (4, 39, 64, false),
    ] {
        let slice = answered(&mut end, &get(CON, id, "a").block(BLOCK2, num, false, size));
        assert_eq!(slice.code, Code::CONTENT);
        assert_eq!(slice.block_of(BLOCK2), Some((num, more, size)));
        assert_eq!(slice.value(OptionNumber::ETAG), Some(etag.as_slice()));
        assert_eq!(slice.value(OptionNumber::SIZE2), None);
        let start = num as usize * size;
        assert_eq!(slice.payload, body[start..(start + size).min(2_500)]);
    }
    let behind = answered(&mut end, &get(CON, 5, "a").block(BLOCK2, 3, false, 1_024));
    assert_eq!(behind.code, Code::BAD_REQUEST);
}

#[test]
fn each_block_fetched_keeps_the_response_for_another_lifetime() {
    let mut end = end();
    let request = end.receive_request(&get(CON, 1, "a"));
    end.respond(request, Code::CONTENT, &body(2_500));
    end.transmit_one();
    for id in 2..5 {
        end.wait(seconds(200));
        answered(&mut end, &get(CON, id, "a").block(BLOCK2, 1, false, 1_024));
    }
}

#[test]
fn response_of_a_post_is_fetched_with_or_without_its_content_format() {
    let mut end = end();
    let post = request_post(1)
        .uint(OptionNumber::CONTENT_FORMAT, 60)
        .payload(b"x");
    let request = end.receive_request(&post);
    end.respond(request, Code::CHANGED, &body(2_500));
    end.transmit_one();
    let next = request_post(2).block(BLOCK2, 1, false, 1_024);
    assert_eq!(answered(&mut end, &next).payload, body(2_500)[1_024..2_048]);
    let next = Owned {
        id: hedgerow_coap::MessageId(3),
        ..next
    };
    let next = next.uint(OptionNumber::CONTENT_FORMAT, 60);
    assert_eq!(answered(&mut end, &next).payload, body(2_500)[1_024..2_048]);
}

#[test]
fn etag_of_the_application_is_kept() {
    let mut end = end();
    let request = end.receive_request(&get(CON, 1, "a"));
    let etag = [MessageOption::new(OptionNumber::ETAG, b"own")];
    let body = body(2_000);
    let response = Response::new(Code::CONTENT).options(&etag).payload(&body);
    end.try_respond(request, &response).unwrap();
    let first = end.transmit_one();
    assert_eq!(first.value(OptionNumber::ETAG), Some(b"own".as_slice()));
    assert_eq!(first.options.len(), 2);
}

#[test]
fn size_asked_for_in_the_first_request_is_used() {
    let mut end = end();
    let request = end.receive_request(&get(CON, 1, "a").block(BLOCK2, 0, false, 16));
    end.respond(request, Code::CONTENT, &body(20));
    let first = end.transmit_one();
    assert_eq!(first.block_of(BLOCK2), Some((0, true, 16)));
    assert_eq!(first.payload.len(), 16);
}

#[test]
fn forgotten_response_is_made_again_where_that_is_safe() {
    let body = body(2_500);
    let mut end = end();
    let request = end.receive_request(&get(CON, 1, "a"));
    end.respond(request, Code::CONTENT, &body);
    let first = end.transmit_one();
    end.wait(seconds(248));
    assert_eq!(end.exchange.usage().bodies_len, 0);
    let request = end.receive_request(&get(CON, 2, "a").block(BLOCK2, 1, false, 1_024));
    end.respond(request, Code::CONTENT, &body);
    let second = end.transmit_one();
    assert_eq!(second.block_of(BLOCK2), Some((1, true, 1_024)));
    assert_eq!(second.payload, body[1_024..2_048]);
    assert_eq!(
        second.value(OptionNumber::ETAG),
        first.value(OptionNumber::ETAG)
    );
    // A POST must not be carried out again for the sake of a block.
    let post = request_post(3).block(BLOCK2, 1, false, 1_024);
    let answer = answered(&mut end, &post);
    assert_eq!(answer.code, Code::REQUEST_ENTITY_INCOMPLETE);
}

fn request_post(id: u16) -> Owned {
    request(CON, Code::POST, id, "a")
}

#[test]
fn error_is_answered_whole_whichever_block_was_asked_for() {
    let mut end = end();
    let request = end.receive_request(&get(CON, 1, "a").block(BLOCK2, 4, false, 64));
    end.respond(request, Code::NOT_FOUND, b"no such thing");
    let answer = end.transmit_one();
    assert_eq!(
        (answer.code, answer.block_of(BLOCK2)),
        (Code::NOT_FOUND, None)
    );
    assert_eq!(answer.payload, b"no such thing");
}

#[test]
fn validation_without_a_body_is_answered_whichever_block_was_asked_for() {
    let mut end = end();
    let request = end.receive_request(&get(CON, 1, "a").block(BLOCK2, 4, false, 64));
    end.respond(request, Code::VALID, b"");
    let answer = end.transmit_one();
    assert_eq!((answer.code, answer.block_of(BLOCK2)), (Code::VALID, None));
}

#[test]
fn block_size_over_the_largest_counts_as_the_largest() {
    let mut end = End::new(Config {
        max_block_szx: u8::MAX,
        ..Config::default()
    });
    let request = end.receive_request(&get(CON, 1, "a"));
    end.respond(request, Code::CONTENT, &body(2_000));
    assert_eq!(end.transmit_one().block_of(BLOCK2), Some((0, true, 1_024)));
    end.send(Code::PUT, "a", &body(2_000));
    assert_eq!(end.transmit_one().block_of(BLOCK1), Some((0, true, 1_024)));
}

#[test]
fn kept_responses_are_bounded_and_the_oldest_makes_room() {
    let mut end = End::new(Config {
        max_representations: 2,
        ..Config::default()
    });
    for (id, path) in [(1, "a"), (2, "b"), (3, "c")] {
        let request = end.receive_request(&get(CON, id, path));
        end.respond(request, Code::CONTENT, &body(2_000));
        end.transmit_one();
        end.wait(seconds(1));
        assert!(end.exchange.usage().representations <= 2);
    }
    answered(&mut end, &get(CON, 4, "b").block(BLOCK2, 1, false, 1_024));
    end.receive_request(&get(CON, 5, "a").block(BLOCK2, 1, false, 1_024));
}

#[test]
fn late_response_goes_in_blocks_too() {
    let body = body(1_500);
    let mut end = end();
    let request = end.receive_request(&get(CON, 1, "a"));
    end.wait_for_timeout();
    end.transmit_one();
    end.respond(request, Code::CONTENT, &body);
    let first = end.transmit_one();
    assert_eq!(first.message_type, CON);
    assert_eq!(first.block_of(BLOCK2), Some((0, true, 1_024)));
    end.receive(&first.answer(ACK, Code::EMPTY));
    let rest = answered(&mut end, &get(CON, 2, "a").block(BLOCK2, 1, false, 1_024));
    assert_eq!(rest.payload, body[1_024..]);
}

/// Answers a request with the block it asks for.
fn block_answer(sent: &Owned, body: &[u8], etag: &[u8], size: usize) -> Owned {
    let (num, _, asked) = sent.block_of(BLOCK2).unwrap_or((0, false, size));
    let start = num as usize * asked;
    let size = size.min(asked);
    let end = (start + size).min(body.len());
    sent.answer(ACK, Code::CONTENT)
        .option(OptionNumber::ETAG, etag)
        .block(BLOCK2, (start / size) as u32, end < body.len(), size)
        .payload(&body[start..end])
}

fn failed(request: OutgoingRequest, error: RequestError) -> [Event; 1] {
    [Event::RequestFailed { request, error }]
}

#[test]
fn client_follows_blocks_and_their_size_and_uses_no_token_twice() {
    let body = body(300);
    let mut end = end();
    let request = end.get("a");
    let mut tokens = HashSet::new();
    // The server goes down to blocks of 64 at the second one.
    for (expected, size) in [
        (None, 128),
        (Some((1, false, 128)), 64),
        (Some((3, false, 64)), 64),
    ] {
        let sent = end.transmit_one();
        assert_eq!(sent.block_of(BLOCK2), expected);
        assert!(tokens.insert(sent.token));
        assert_eq!(
            end.receive(&block_answer(&sent, &body, b"e", size)),
            Came::Handled
        );
    }
    let sent = end.transmit_one();
    let Came::Response(ended, response) = end.receive(&block_answer(&sent, &body, b"e", 64)) else {
        panic!("a response");
    };
    assert_eq!(ended, request);
    assert_eq!(response.payload, body);
    assert_eq!(response.options, [(OptionNumber::ETAG.0, b"e".to_vec())]);
    end.wait(seconds(0));
    assert_eq!(end.exchange.usage().bodies_len, 0);
}

#[test]
fn size_is_negotiated_early_where_configured() {
    let mut end = End::new(Config {
        negotiate_block2: true,
        max_block_szx: 2,
        ..Config::default()
    });
    end.get("a");
    assert_eq!(end.transmit_one().block_of(BLOCK2), Some((0, false, 64)));
}

#[test]
fn changed_etag_starts_over_and_fails_in_the_end() {
    let (old, new) = (vec![1; 300], body(300));
    let mut end = end();
    let request = end.get("a");
    let sent = end.transmit_one();
    end.receive(&block_answer(&sent, &old, b"old", 128));
    let sent = end.transmit_one();
    end.receive(&block_answer(&sent, &new, b"new", 128));
    // From the first block on, under the new ETag.
    for _ in 0..2 {
        let sent = end.transmit_one();
        assert_eq!(
            end.receive(&block_answer(&sent, &new, b"new", 128)),
            Came::Handled
        );
    }
    let sent = end.transmit_one();
    let came = end.receive(&block_answer(&sent, &new, b"new", 128));
    assert!(matches!(came, Came::Response(r, response) if r == request && response.payload == new));

    let request = end.get("a");
    for etag in 0..10_u8 {
        if let Some(sent) = end.transmit() {
            end.receive(&block_answer(&sent, &new, &[etag], 128));
        }
    }
    assert_eq!(
        end.events(),
        failed(request, RequestError::RepresentationChanged)
    );
    assert_eq!(end.exchange.usage().bodies_len, 0);
}

#[test]
fn changed_etag_never_starts_a_post_over() {
    let mut end = end();
    let request = end.send(Code::POST, "a", b"x");
    for etag in 0..2_u8 {
        let sent = end.transmit_one();
        end.receive(&block_answer(&sent, &body(300), &[etag], 128));
    }
    assert_eq!(end.transmit(), None);
    assert_eq!(
        end.events(),
        failed(request, RequestError::RepresentationChanged)
    );
}

#[test]
fn payload_of_a_fetch_goes_with_every_block_and_that_of_a_post_does_not() {
    for (method, expected) in [(Code::FETCH, b"which".as_slice()), (Code::POST, b"")] {
        let mut end = end();
        end.send(method, "a", b"which");
        let sent = end.transmit_one();
        assert_eq!(sent.payload, b"which");
        end.receive(&block_answer(&sent, &body(300), b"e", 128));
        assert_eq!(end.transmit_one().payload, expected);
    }
}

#[test]
fn download_under_way_begins_anew_under_a_new_association() {
    let mut end = end();
    let request = end.get("a");
    let sent = end.transmit_one();
    end.receive(&block_answer(&sent, &body(300), b"e", 128));
    end.restart();
    assert!(end.exchange.usage().bodies_len < 100);
    for expected in [None, Some((1, false, 128))] {
        let sent = end.transmit_one();
        assert_eq!(sent.block_of(BLOCK2), expected);
        end.receive(&block_answer(&sent, &body(300), b"e", 128));
    }
    let sent = end.transmit_one();
    let came = end.receive(&block_answer(&sent, &body(300), b"e", 128));
    assert!(
        matches!(came, Came::Response(r, response) if r == request && response.payload == body(300))
    );
}

#[test]
fn response_over_the_limit_is_refused_at_once_or_as_it_grows() {
    let config = || Config {
        max_body_len: 200,
        ..Config::default()
    };
    let mut end = End::new(config());
    let request = end.get("a");
    let sent = end.transmit_one();
    let announced = block_answer(&sent, &body(300), b"e", 128).uint(OptionNumber::SIZE2, 201);
    end.receive(&announced);
    assert_eq!(
        end.events(),
        failed(request, RequestError::ResponseTooLarge)
    );

    let mut end = End::new(config());
    let request = end.get("a");
    for _ in 0..2 {
        let sent = end.transmit_one();
        end.receive(&block_answer(&sent, &body(300), b"e", 128));
    }
    assert_eq!(
        end.events(),
        failed(request, RequestError::ResponseTooLarge)
    );
    assert_eq!(end.exchange.usage().bodies_len, 0);
}

#[test]
fn blocks_out_of_place_or_of_the_wrong_length_fail_the_request() {
    let body = body(300);
    let wrong: [fn(Owned) -> Owned; 4] = [
        |answer| {
            Owned {
                options: Vec::new(),
                ..answer
            }
            .block(BLOCK2, 2, true, 128)
        },
        |answer| {
            Owned {
                options: Vec::new(),
                ..answer
            }
            .block(BLOCK2, 0, true, 128)
        },
        |answer| answer.payload(&[1; 127]),
        |answer| {
            Owned {
                options: Vec::new(),
                ..answer
            }
            .option(BLOCK2, &[0x1f])
        },
    ];
    for (index, wrong) in wrong.iter().enumerate() {
        let mut end = end();
        let request = end.get("a");
        let sent = end.transmit_one();
        let mut first = block_answer(&sent, &body, b"e", 128);
        first
            .options
            .retain(|(number, _)| *number != OptionNumber::ETAG.0);
        end.receive(&first);
        let sent = end.transmit_one();
        let mut answer = block_answer(&sent, &body, b"e", 128);
        answer
            .options
            .retain(|(number, _)| *number != OptionNumber::ETAG.0);
        end.receive(&wrong(answer));
        let error = RequestError::UnexpectedBlock;
        assert_eq!(end.events(), failed(request, error), "{index}");
    }
}

#[test]
fn error_in_the_middle_of_a_download_is_the_response() {
    let mut end = end();
    let request = end.get("a");
    let sent = end.transmit_one();
    end.receive(&block_answer(&sent, &body(300), b"e", 128));
    let sent = end.transmit_one();
    let answer = sent.answer(ACK, Code::NOT_FOUND);
    assert_eq!(
        end.receive(&answer),
        Came::Response(request, answer.clone())
    );
    assert_eq!(end.exchange.usage().bodies_len, 0);
}

fn continued(sent: &Owned, size: usize) -> Owned {
    let (num, more, _) = sent.block_of(BLOCK1).unwrap();
    sent.answer(ACK, Code::CONTINUE)
        .block(BLOCK1, num, more, size)
}

#[test]
fn upload_goes_on_in_the_size_that_the_server_prefers() {
    let body = body(2_100);
    let mut end = end();
    let options = [MessageOption::new(OptionNumber::IF_NONE_MATCH, &[])];
    let content = Request::new(Code::PUT).options(&options).payload(&body);
    let request = end.request(&content).unwrap();
    let first = end.transmit_one();
    assert_eq!(first.block_of(BLOCK1), Some((0, true, 1_024)));
    assert_eq!(
        first.value(OptionNumber::SIZE1),
        Some(2_100_u16.to_be_bytes().as_slice())
    );
    assert!(first.value(OptionNumber::IF_NONE_MATCH).is_some());
    let mut received = first.payload.clone();
    let mut previous = first;
    loop {
        end.receive(&continued(&previous, 256));
        let block = end.transmit_one();
        let (num, more, size) = block.block_of(BLOCK1).unwrap();
        assert_eq!(size, 256);
        assert_eq!(num as usize * size, received.len());
        // MUST (RFC 7959 §2.10): If-None-Match stands in the first block only.
        assert_eq!(block.value(OptionNumber::IF_NONE_MATCH), None);
        assert_eq!(block.value(OptionNumber::SIZE1), None);
        received.extend_from_slice(&block.payload);
        previous = block;
        if !more {
            break;
        }
    }
    assert_eq!(received, body);
    let answer = previous
        .answer(ACK, Code::CHANGED)
        .block(BLOCK1, 8, false, 256);
    assert!(matches!(end.receive(&answer), Came::Response(ended, _) if ended == request));
}

#[test]
fn too_large_is_a_hint_to_try_blocks_or_smaller_ones() {
    let body = body(700);
    let mut end = end();
    let request = end.send(Code::PUT, "a", &body);
    let whole = end.transmit_one();
    assert_eq!((whole.block_of(BLOCK1), whole.payload.len()), (None, 700));
    end.receive(&whole.answer(ACK, Code::REQUEST_ENTITY_TOO_LARGE));
    let first = end.transmit_one();
    assert_eq!(first.block_of(BLOCK1), Some((0, true, 512)));
    let hint = first
        .answer(ACK, Code::REQUEST_ENTITY_TOO_LARGE)
        .block(BLOCK1, 0, true, 64);
    end.receive(&hint);
    let first = end.transmit_one();
    assert_eq!(first.block_of(BLOCK1), Some((0, true, 64)));
    // No smaller size is named, so this is the answer.
    let answer = first
        .answer(ACK, Code::REQUEST_ENTITY_TOO_LARGE)
        .block(BLOCK1, 0, true, 64);
    assert!(matches!(end.receive(&answer), Came::Response(ended, _) if ended == request));

    let request = end.send(Code::PUT, "a", &body);
    let whole = end.transmit_one();
    let hopeless = whole
        .answer(ACK, Code::REQUEST_ENTITY_TOO_LARGE)
        .uint(OptionNumber::SIZE1, 699);
    assert!(matches!(end.receive(&hopeless), Came::Response(ended, _) if ended == request));
}

#[test]
fn incomplete_starts_the_upload_over_as_often_as_configured() {
    let body = body(2_100);
    let mut end = end();
    let request = end.send(Code::PUT, "a", &body);
    let mut tags = HashSet::new();
    for _ in 0..2 {
        let first = end.transmit_one();
        assert_eq!(first.block_of(BLOCK1), Some((0, true, 1_024)));
        assert!(tags.insert(first.value(OptionNumber::REQUEST_TAG).unwrap().to_vec()));
        end.receive(&continued(&first, 1_024));
        let second = end.transmit_one();
        end.receive(&second.answer(ACK, Code::REQUEST_ENTITY_INCOMPLETE));
    }
    let first = end.transmit_one();
    let answer = first.answer(ACK, Code::REQUEST_ENTITY_INCOMPLETE);
    assert!(matches!(end.receive(&answer), Came::Response(ended, _) if ended == request));
}

#[test]
fn acknowledgement_of_another_block_or_of_one_too_many_fails_the_upload() {
    for num in [1, 7] {
        let mut end = end();
        let request = end.send(Code::PUT, "a", &body(2_100));
        let first = end.transmit_one();
        let wrong = first
            .answer(ACK, Code::CONTINUE)
            .block(BLOCK1, num, true, 1_024);
        end.receive(&wrong);
        let error = RequestError::UnexpectedBlock;
        assert_eq!(end.events(), failed(request, error));
    }
    let mut end = end();
    let request = end.send(Code::PUT, "a", &body(1_100));
    let first = end.transmit_one();
    end.receive(&continued(&first, 1_024));
    let last = end.transmit_one();
    end.receive(&continued(&last, 1_024));
    let error = RequestError::UnexpectedBlock;
    assert_eq!(end.events(), failed(request, error));
}

#[test]
fn server_that_acts_on_each_block_gets_them_all() {
    let body = body(200);
    let mut end = End::new(Config {
        max_block_szx: 2,
        ..Config::default()
    });
    let request = end.send(Code::PUT, "a", &body);
    for num in 0..3 {
        let block = end.transmit_one();
        let answer = block
            .answer(ACK, Code::CHANGED)
            .block(BLOCK1, num, false, 64);
        assert_eq!(end.receive(&answer), Came::Handled);
    }
    let last = end.transmit_one();
    assert_eq!(last.block_of(BLOCK1), Some((3, false, 64)));
    let answer = last.answer(ACK, Code::CHANGED).block(BLOCK1, 3, false, 64);
    assert!(matches!(end.receive(&answer), Came::Response(ended, _) if ended == request));
}

#[test]
fn download_after_an_upload_repeats_neither_body_nor_block1() {
    let (up, down) = (body(100), vec![9; 150]);
    let mut end = End::new(Config {
        max_block_szx: 2,
        ..Config::default()
    });
    let request = end.send(Code::POST, "a", &up);
    let first = end.transmit_one();
    end.receive(&continued(&first, 64));
    let last = end.transmit_one();
    let answer = last
        .answer(ACK, Code::CHANGED)
        .block(BLOCK1, 1, false, 64)
        .block(BLOCK2, 0, true, 64)
        .payload(&down[..64]);
    assert_eq!(end.receive(&answer), Came::Handled);
    let next = end.transmit_one();
    assert_eq!((next.code, next.payload.len()), (Code::POST, 0));
    assert_eq!(next.block_of(BLOCK1), None);
    assert_eq!(next.block_of(BLOCK2), Some((1, false, 64)));
    assert_eq!(
        next.value(OptionNumber::REQUEST_TAG),
        first.value(OptionNumber::REQUEST_TAG)
    );
    let answer = next
        .answer(ACK, Code::CHANGED)
        .block(BLOCK2, 1, true, 64)
        .payload(&down[64..128]);
    end.receive(&answer);
    let next = end.transmit_one();
    let answer = next
        .answer(ACK, Code::CHANGED)
        .block(BLOCK2, 2, false, 64)
        .payload(&down[128..]);
    let came = end.receive(&answer);
    assert!(
        matches!(came, Came::Response(r, response) if r == request && response.payload == down)
    );
}
