//! The message layer as a peer sees it, RFC 7252 §4.
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

use hedgerow_coap::{Code, OptionNumber};
use hedgerow_core::{DropReason, Env};
use hedgerow_exchange::{
    Config, Error, Event, HeapExchange, Request, RequestError, Response, ResponseError, TokenKind,
    TransmissionParameters,
};
use peer::{ACK, CON, Came, End, NON, Owned, RST, get, request, seconds};

fn end() -> End {
    End::new(Config::default())
}

#[test]
fn ping_is_answered_with_a_reset() {
    let mut end = end();
    assert_eq!(end.receive_bytes(&[0x40, 0, 0x12, 0x34]), Came::Ping);
    assert_eq!(end.transmit_bytes().unwrap(), [0x70, 0, 0x12, 0x34]);
}

#[test]
fn ping_of_this_end_ends_with_a_pong_or_a_timeout() {
    for message_type in [RST, ACK] {
        let mut end = end();
        let mut env = Env::new(end.now, &mut end.rng);
        let request = end.exchange.ping(&mut env).unwrap();
        let ping = end.transmit_one();
        assert_eq!((ping.message_type, ping.code), (CON, Code::EMPTY));
        assert_eq!(
            end.receive(&ping.answer(message_type, Code::EMPTY)),
            Came::Handled
        );
        assert_eq!(end.events(), [Event::Pong { request }]);
    }
    let mut end = end();
    let mut env = Env::new(end.now, &mut end.rng);
    let request = end.exchange.ping(&mut env).unwrap();
    for _ in 0..5 {
        end.transmit_one();
        end.wait_for_timeout();
    }
    let error = RequestError::AcknowledgementTimeout;
    assert!(
        end.events()
            .contains(&Event::RequestFailed { request, error })
    );
}

#[test]
fn format_errors_are_reset_where_confirmable_and_ignored_elsewhere() {
    let mut end = end();
    // A token length of 9, an option cut off, a reserved class, an empty message with a token.
    for (second, rest) in [(0x49, 0x01), (0x40, 0x01), (0x40, 0x20), (0x41, 0x00)] {
        let con = [second, rest, 7, 8, 0xd0];
        assert_eq!(end.receive_bytes(&con), Came::Dropped(DropReason::Rejected));
        assert_eq!(end.transmit_bytes().unwrap(), [0x70, 0, 7, 8]);
        for kind in [0x10, 0x20, 0x30] {
            let other = [second | kind, rest, 7, 8, 0xd0];
            assert_eq!(
                end.receive_bytes(&other),
                Came::Dropped(DropReason::Malformed)
            );
            assert_eq!(end.transmit_bytes(), None);
        }
    }
    assert_eq!(
        end.receive_bytes(&[0x40, 1, 7]),
        Came::Dropped(DropReason::Malformed)
    );
    assert_eq!(
        end.receive_bytes(&[0x80, 1, 7, 8]),
        Came::Dropped(DropReason::UnsupportedVersion)
    );
    assert_eq!(end.transmit_bytes(), None);
}

#[test]
fn types_and_codes_that_do_not_go_together_are_ignored() {
    let mut end = end();
    for (message_type, code) in [(NON, Code::EMPTY), (ACK, Code::GET), (RST, Code::CONTENT)] {
        let message = Owned::new(message_type, code, 5, &[]);
        assert_eq!(
            end.receive(&message),
            Came::Dropped(DropReason::UnexpectedMessage)
        );
        assert_eq!(end.transmit(), None);
    }
}

#[test]
fn unmatched_response_is_reset_where_confirmable_and_ignored_elsewhere() {
    let mut end = end();
    let response = Owned::new(CON, Code::CONTENT, 5, &[9]);
    assert_eq!(end.receive(&response), Came::Dropped(DropReason::Rejected));
    assert_eq!(end.transmit_one(), Owned::new(RST, Code::EMPTY, 5, &[]));
    for message_type in [NON, ACK] {
        let response = Owned::new(message_type, Code::CONTENT, 5, &[9]);
        assert_eq!(end.receive(&response), Came::Dropped(DropReason::Unmatched));
    }
    for message_type in [RST, ACK] {
        let empty = Owned::new(message_type, Code::EMPTY, 5, &[]);
        assert_eq!(end.receive(&empty), Came::Dropped(DropReason::Unmatched));
    }
    assert_eq!(end.transmit(), None);
}

#[test]
fn retransmissions_double_their_wait_and_end_in_a_typed_timeout() {
    let config = Config::new(TransmissionParameters {
        ack_random_percent: 100,
        ..TransmissionParameters::default()
    });
    let mut end = End::new(config);
    let request = end.get("a");
    let first = end.transmit_bytes().unwrap();
    let mut waits = Vec::new();
    let mut unresponsive = Vec::new();
    for transmission in 1.. {
        assert_eq!(end.exchange.unanswered_transmissions(), transmission);
        waits.push(end.wait_for_timeout().as_secs());
        for event in end.events() {
            match event {
                Event::PeerUnresponsive { transmissions } => unresponsive.push(transmissions),
                other => {
                    let error = RequestError::AcknowledgementTimeout;
                    assert_eq!(other, Event::RequestFailed { request, error });
                }
            }
        }
        match end.transmit_bytes() {
            Some(again) => assert_eq!(again, first),
            None => break,
        }
    }
    assert_eq!(waits, [2, 4, 8, 16, 32]);
    assert_eq!(unresponsive, [2]);
    assert!(end.exchange.is_idle());
}

#[test]
fn any_sign_of_life_makes_the_peer_responsive_again() {
    let mut end = end();
    end.get("a");
    end.transmit_one();
    end.wait_for_timeout();
    end.transmit_one();
    end.receive_request(&get(CON, 9, "x"));
    assert_eq!(end.exchange.unanswered_transmissions(), 0);
    end.wait_for_timeout();
    assert!(end.events().is_empty());
}

#[test]
fn only_nstart_interactions_are_outstanding() {
    for nstart in [1, 3] {
        let mut end = End::new(Config::new(TransmissionParameters {
            nstart,
            ..TransmissionParameters::default()
        }));
        for _ in 0..5 {
            end.get("a");
        }
        let sent: Vec<_> = std::iter::from_fn(|| end.transmit()).collect();
        assert_eq!(sent.len(), usize::from(nstart));
        // An empty Acknowledgement ends the interaction; the response may take its time.
        end.receive(&sent[0].answer(ACK, Code::EMPTY));
        end.transmit_one();
    }
}

#[test]
fn duplicate_of_a_piggybacked_answer_is_replayed_byte_for_byte() {
    let mut end = end();
    let message = get(CON, 5, "a");
    let request = end.receive_request(&message);
    // Not answered yet: there is nothing to replay.
    assert_eq!(end.receive(&message), Came::Dropped(DropReason::Duplicate));
    assert_eq!(end.transmit(), None);
    end.respond(request, Code::CONTENT, b"21.5");
    let answer = end.transmit_bytes().unwrap();
    for _ in 0..3 {
        assert_eq!(end.receive(&message), Came::Dropped(DropReason::Duplicate));
        assert_eq!(end.transmit_bytes().unwrap(), answer);
        assert_eq!(end.transmit_bytes(), None);
    }
    let answer = Owned::from_view(&hedgerow_coap::Message::decode(&answer).unwrap());
    assert_eq!(answer, message.answer(ACK, Code::CONTENT).payload(b"21.5"));
}

#[test]
fn late_answer_is_separate_and_duplicates_get_the_empty_acknowledgement() {
    let mut end = end();
    let message = get(CON, 5, "a");
    let request = end.receive_request(&message);
    assert_eq!(end.wait_for_timeout(), Config::default().acknowledge_after);
    assert_eq!(end.transmit_one(), message.answer(ACK, Code::EMPTY));
    assert_eq!(end.receive(&message), Came::Dropped(DropReason::Duplicate));
    assert_eq!(end.transmit_one(), message.answer(ACK, Code::EMPTY));

    end.wait(seconds(10));
    end.respond(request, Code::CONTENT, b"21.5");
    let response = end.transmit_bytes().unwrap();
    end.wait_for_timeout();
    assert_eq!(end.transmit_bytes().unwrap(), response);
    let response = Owned::from_view(&hedgerow_coap::Message::decode(&response).unwrap());
    assert_eq!(
        (response.message_type, response.token),
        (CON, message.token)
    );
    assert_eq!(
        end.receive(&response.answer(ACK, Code::EMPTY)),
        Came::Handled
    );
    assert_eq!(end.exchange.usage().incoming, 0);
    assert_eq!(end.receive(&message), Came::Dropped(DropReason::Duplicate));
    assert_eq!(end.transmit_one(), message.answer(ACK, Code::EMPTY));
}

#[test]
fn separate_response_that_is_reset_or_not_acknowledged_is_reported() {
    let mut end = end();
    let separate = |end: &mut End, id| {
        let request = end.receive_request(&get(CON, id, "a"));
        end.wait_for_timeout();
        end.transmit_one();
        end.respond(request, Code::CONTENT, b"21.5");
        (request, end.transmit_one())
    };
    let (request, response) = separate(&mut end, 5);
    assert_eq!(
        end.receive(&response.answer(RST, Code::EMPTY)),
        Came::Handled
    );
    let error = ResponseError::Reset;
    assert_eq!(end.events(), [Event::ResponseFailed { request, error }]);

    let (request, _) = separate(&mut end, 6);
    while end.exchange.usage().incoming > 0 {
        end.wait_for_timeout();
        end.transmit();
        for event in end.events() {
            if let Event::ResponseFailed {
                request: failed,
                error,
            } = event
            {
                assert_eq!(
                    (failed, error),
                    (request, ResponseError::AcknowledgementTimeout)
                );
            }
        }
    }
}

#[test]
fn nonconfirmable_request_gets_one_nonconfirmable_response_and_duplicates_nothing() {
    let mut end = end();
    let message = get(NON, 5, "a");
    let request = end.receive_request(&message);
    end.respond(request, Code::CONTENT, b"21.5");
    let response = end.transmit_one();
    assert_eq!(
        (response.message_type, response.token),
        (NON, message.token)
    );
    assert_eq!(end.receive(&message), Came::Dropped(DropReason::Duplicate));
    assert_eq!(end.transmit(), None);
    assert_eq!(end.exchange.usage().incoming, 0);
}

#[test]
fn message_id_is_a_new_one_when_its_lifetime_has_ended() {
    for (message_type, lifetime) in [(CON, 247), (NON, 145)] {
        let mut end = end();
        let message = get(message_type, 5, "a");
        let request = end.receive_request(&message);
        end.respond(request, Code::CONTENT, b"1");
        end.transmit_one();
        end.now = end.now + (seconds(lifetime) - MICROSECOND);
        assert_eq!(end.receive(&message), Came::Dropped(DropReason::Duplicate));
        end.transmit();
        end.now = end.now + MICROSECOND;
        end.receive_request(&message);
    }
}

const MICROSECOND: std::time::Duration = std::time::Duration::from_micros(1);

#[test]
fn full_table_refuses_new_requests_and_evicts_nothing() {
    let mut end = End::new(Config {
        max_seen: 3,
        ..Config::default()
    });
    let mut answers = Vec::new();
    for id in 0..3 {
        let request = end.receive_request(&get(CON, id, "a"));
        end.respond(request, Code::CONTENT, &[b'0' + id as u8]);
        answers.push(end.transmit_bytes().unwrap());
    }
    for _ in 0..2 {
        assert_eq!(
            end.receive(&get(CON, 3, "a")),
            Came::Dropped(DropReason::DeduplicationTableFull)
        );
        assert_eq!(end.transmit(), None);
    }
    for (id, answer) in answers.iter().enumerate() {
        end.receive(&get(CON, id as u16, "a"));
        assert_eq!(end.transmit_bytes().as_ref(), Some(answer));
    }
    end.wait(seconds(247));
    end.receive_request(&get(CON, 3, "a"));
}

#[test]
fn byte_budget_of_stored_answers_holds_before_a_handler_runs() {
    let mut end = End::new(Config {
        max_seen_bytes: 3_000,
        ..Config::default()
    });
    let mut handled = 0;
    for id in 0..20 {
        if let Came::Request(request, _) = end.receive(&get(CON, id, "a")) {
            handled += 1;
            end.respond(request, Code::CONTENT, &[7; 500]);
            end.transmit_one();
        }
        assert!(end.exchange.usage().seen_bytes <= 3_000);
    }
    // 3,000 bytes hold four answers of about 510 bytes while 1,152 are kept for the next.
    assert_eq!(handled, 4);
}

#[test]
fn full_table_of_requests_is_refused_and_a_retransmission_accepted_later() {
    let mut end = End::new(Config {
        max_incoming: 2,
        ..Config::default()
    });
    let first = end.receive_request(&get(CON, 1, "a"));
    end.receive_request(&get(CON, 2, "a"));
    let third = get(CON, 3, "a");
    assert_eq!(
        end.receive(&third),
        Came::Dropped(DropReason::ExchangeTableFull)
    );
    end.respond(first, Code::CONTENT, b"");
    end.transmit_one();
    end.receive_request(&third);
}

#[test]
fn answers_that_nobody_fetches_are_bounded() {
    let mut end = End::new(Config {
        max_replies: 2,
        ..Config::default()
    });
    for _ in 0..2 {
        assert_eq!(end.receive_bytes(&[0x40, 0, 1, 2]), Came::Ping);
    }
    assert_eq!(
        end.receive_bytes(&[0x40, 0, 1, 2]),
        Came::Dropped(DropReason::RateLimited)
    );
    end.transmit();
    assert_eq!(end.receive_bytes(&[0x40, 0, 1, 2]), Came::Ping);
}

#[test]
fn sender_refuses_when_all_message_ids_were_used_within_their_lifetime() {
    let mut end = end();
    let start = end.now;
    let mut ids = HashSet::new();
    for _ in 0..65_536 {
        let request = end
            .request(&Request::new(Code::GET).non_confirmable())
            .unwrap();
        assert!(ids.insert(end.transmit().unwrap().id));
        end.exchange.cancel(request).unwrap();
        end.events();
    }
    let until = start + seconds(247);
    let refused = end.request(&Request::new(Code::GET));
    assert_eq!(refused, Err(Error::MessageIdsExhausted { until }));
    end.wait(seconds(247));
    end.get("a");
    end.transmit_one();
}

#[test]
fn tokens_are_sequence_numbers_or_eight_random_bytes() {
    let mut end = end();
    for expected in 1..=3 {
        end.get("a");
        let sent = end.transmit_one();
        assert_eq!(sent.token.as_bytes(), [expected]);
        end.receive(&sent.answer(ACK, Code::CONTENT));
    }
    let mut end = End::new(Config {
        tokens: TokenKind::Unpredictable,
        ..Config::default()
    });
    let mut tokens = HashSet::new();
    for _ in 0..100 {
        end.get("a");
        let sent = end.transmit_one();
        assert_eq!(sent.token.len(), 8);
        assert!(tokens.insert(sent.token));
        end.receive(&sent.answer(ACK, Code::CONTENT));
    }
}

#[test]
fn idle_exchange_is_small_and_holds_nothing() {
    assert!(size_of::<HeapExchange<&Config>>() <= 512);
    let mut end = end();
    let request = end.receive_request(&request(CON, Code::PUT, 5, "a").payload(&[1; 900]));
    end.respond(request, Code::CHANGED, b"");
    end.transmit_one();
    let get = end.get("a");
    let sent = end.transmit_one();
    assert!(
        matches!(end.receive(&sent.answer(ACK, Code::CONTENT)), Came::Response(r, _) if r == get)
    );
    assert!(end.exchange.is_idle());
    // One timer clears what is remembered of the peer, and then none is left.
    end.wait_for_timeout();
    assert_eq!(end.exchange.usage(), hedgerow_exchange::Usage::default());
    assert_eq!(end.exchange.poll_timeout(), None);
}

#[test]
fn buffer_too_small_changes_nothing() {
    let mut end = end();
    end.get("a");
    let mut env = Env::new(end.now, &mut end.rng);
    let refused = end.exchange.poll_transmit(&mut env, &mut [0; 1_151]);
    assert!(matches!(refused, Err(Error::Encode(_))));
    end.transmit_one();
}

#[test]
fn calls_that_make_no_sense_are_refused() {
    let mut end = end();
    let code = Code::CONTENT;
    assert_eq!(
        end.request(&Request::new(code)),
        Err(Error::UnexpectedCode { code })
    );
    let number = OptionNumber::BLOCK2;
    let block = [hedgerow_coap::MessageOption::new(number, &[])];
    assert_eq!(
        end.request(&Request::new(Code::GET).options(&block)),
        Err(Error::ReservedOption { number })
    );
    let request = end.receive_request(&get(CON, 5, "a"));
    let code = Code::GET;
    assert_eq!(
        end.try_respond(request, &Response::new(code)),
        Err(Error::UnexpectedCode { code })
    );
    end.respond(request, Code::CONTENT, b"");
    assert_eq!(
        end.try_respond(request, &Response::new(Code::CONTENT)),
        Err(Error::UnknownHandle)
    );
    let long = vec![0; 200_000];
    assert!(matches!(
        end.request(&Request::new(Code::PUT).payload(&long)),
        Err(Error::BodyTooLong { len: 200_000, .. })
    ));
    for _ in 0..64 {
        end.get("a");
    }
    assert_eq!(
        end.request(&Request::new(Code::GET)),
        Err(Error::TooManyRequests)
    );
    assert!(end.transmit().is_some());
}
