//! Requests and responses as a peer sees them, RFC 7252 §5, and new associations, §9.1.
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

use hedgerow_coap::{Code, MessageOption, OptionNumber};
use hedgerow_core::DropReason;
use hedgerow_exchange::{
    Config, Error, Event, Request, RequestError, Response, ResponseError, TransmissionParameters,
};
use peer::{ACK, CON, Came, End, NON, Owned, RST, get, request, seconds};

fn end() -> End {
    End::new(Config::default())
}

fn failed(request: hedgerow_exchange::OutgoingRequest, error: RequestError) -> [Event; 1] {
    [Event::RequestFailed { request, error }]
}

#[test]
fn piggybacked_response_matches_by_message_id_and_token() {
    let mut end = end();
    let request = end.get("a");
    let sent = end.transmit_one();
    let right = sent.answer(ACK, Code::CONTENT).payload(b"21.5");
    let mut other_id = right.clone();
    other_id.id.0 ^= 1;
    let mut other_token = right.clone();
    other_token.token = hedgerow_coap::Token::from([99]);
    for wrong in [other_id, other_token] {
        assert_eq!(end.receive(&wrong), Came::Dropped(DropReason::Unmatched));
    }
    assert_eq!(end.receive(&right), Came::Response(request, right.clone()));
    assert_eq!(end.receive(&right), Came::Dropped(DropReason::Unmatched));
    assert_eq!(end.transmit(), None);
}

#[test]
fn separate_response_matches_by_token_before_after_and_without_the_acknowledgement() {
    for (is_acknowledged, message_type) in [(true, CON), (true, NON), (false, CON), (false, NON)] {
        let mut end = end();
        let request = end.get("a");
        let sent = end.transmit_one();
        if is_acknowledged {
            end.receive(&sent.answer(ACK, Code::EMPTY));
            end.wait(seconds(100));
            assert_eq!(end.transmit(), None);
        }
        let mut response = sent.answer(message_type, Code::CONTENT).payload(b"1");
        response.id.0 = 77;
        assert_eq!(
            end.receive(&response),
            Came::Response(request, response.clone())
        );
        match message_type {
            CON => {
                assert_eq!(end.transmit_one(), response.answer(ACK, Code::EMPTY));
                // The Acknowledgement was lost, so the response comes again.
                assert_eq!(end.receive(&response), Came::Dropped(DropReason::Duplicate));
                assert_eq!(end.transmit_one(), response.answer(ACK, Code::EMPTY));
            }
            _ => {
                assert_eq!(end.receive(&response), Came::Dropped(DropReason::Unmatched));
                assert_eq!(end.transmit(), None);
            }
        }
        if !is_acknowledged {
            assert_eq!(
                end.receive(&sent.answer(ACK, Code::EMPTY)),
                Came::Dropped(DropReason::Unmatched)
            );
        }
        end.wait(seconds(1_000));
        assert!(end.events().is_empty());
    }
}

#[test]
fn acknowledged_request_without_a_response_times_out() {
    let mut end = end();
    let request = end.get("a");
    let sent = end.transmit_one();
    end.receive(&sent.answer(ACK, Code::EMPTY));
    assert_eq!(end.wait_for_timeout(), Config::default().response_timeout);
    assert_eq!(end.events(), failed(request, RequestError::ResponseTimeout));
}

#[test]
fn reset_ends_a_request() {
    for is_confirmable in [true, false] {
        let mut end = end();
        let content = Request::new(Code::GET);
        let request = end
            .request(&match is_confirmable {
                true => content,
                false => content.non_confirmable(),
            })
            .unwrap();
        let sent = end.transmit_one();
        assert_eq!(end.receive(&sent.answer(RST, Code::EMPTY)), Came::Handled);
        assert_eq!(end.events(), failed(request, RequestError::Reset));
    }
}

#[test]
fn cancelled_request_is_reported_and_its_response_reset() {
    let mut end = end();
    let request = end.get("a");
    let sent = end.transmit_one();
    end.exchange.cancel(request).unwrap();
    assert_eq!(end.events(), failed(request, RequestError::Cancelled));
    assert_eq!(end.exchange.cancel(request), Err(Error::UnknownHandle));
    let response = sent.answer(CON, Code::CONTENT);
    assert_eq!(end.receive(&response), Came::Dropped(DropReason::Rejected));
    assert_eq!(end.transmit_one(), response.answer(RST, Code::EMPTY));
}

#[test]
fn nonconfirmable_requests_to_a_silent_peer_keep_to_probing_rate() {
    let mut end = End::new(Config::new(TransmissionParameters {
        probing_rate: 2,
        ..TransmissionParameters::default()
    }));
    let request = || Request::new(Code::GET).non_confirmable();
    end.request(&request()).unwrap();
    end.request(&request()).unwrap();
    let first = end.transmit_bytes().unwrap();
    assert_eq!(end.transmit_bytes(), None);
    // Five bytes (header and token) at two bytes a second.
    assert_eq!(first.len(), 5);
    assert_eq!(end.wait_for_timeout().as_millis(), 2_500);
    assert!(end.transmit_bytes().is_some());
    assert_eq!(end.exchange.usage().outgoing, 2);
}

#[test]
fn unrecognised_critical_option_is_refused_before_the_application_sees_it() {
    let mut end = end();
    let critical = get(CON, 5, "a").option(OptionNumber(65_001), b"x");
    assert_eq!(end.receive(&critical), Came::Handled);
    let answer = end.transmit_bytes().unwrap();
    let decoded = Owned::from_view(&hedgerow_coap::Message::decode(&answer).unwrap());
    assert_eq!(
        decoded,
        critical
            .answer(ACK, Code::BAD_OPTION)
            .payload(b"option 65001 unrecognised")
    );
    assert_eq!(end.receive(&critical), Came::Dropped(DropReason::Duplicate));
    assert_eq!(end.transmit_bytes().unwrap(), answer);

    let critical = get(NON, 6, "a").option(OptionNumber(65_001), b"x");
    assert_eq!(end.receive(&critical), Came::Dropped(DropReason::Rejected));
    assert_eq!(end.transmit_one(), critical.answer(RST, Code::EMPTY));

    // A critical option of a length that isn't defined, and one too many, count as unrecognised.
    for (id, message) in [
        get(CON, 7, "a").option(OptionNumber::ACCEPT, &[1, 2, 3]),
        get(CON, 8, "a")
            .option(OptionNumber::ACCEPT, &[1])
            .option(OptionNumber::ACCEPT, &[1]),
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(end.receive(message), Came::Handled, "{id}");
        assert_eq!(end.transmit_one().code, Code::BAD_OPTION);
    }
    assert_eq!(end.exchange.usage().incoming, 0);
}

#[test]
fn elective_options_and_those_the_application_understands_pass() {
    const OWN: OptionNumber = OptionNumber(65_001);
    let mut end = End::new(Config {
        understood_options: &[OWN],
        ..Config::default()
    });
    let message = get(CON, 5, "a")
        .option(OptionNumber(65_000), b"elective")
        .option(OWN, b"critical")
        .uint(OptionNumber::OBSERVE, 0);
    let came = end.receive(&message);
    assert!(matches!(came, Came::Request(_, received) if received == message));

    let request = end.get("a");
    let sent = end.transmit_one();
    let response = sent
        .answer(ACK, Code::CONTENT)
        .uint(OptionNumber::OBSERVE, 5)
        .option(OptionNumber(65_000), b"elective");
    assert_eq!(
        end.receive(&response),
        Came::Response(request, response.clone())
    );
}

#[test]
fn unrecognised_critical_option_in_a_response_ends_the_request() {
    for message_type in [ACK, CON, NON] {
        let mut end = end();
        let request = end.get("a");
        let sent = end.transmit_one();
        let response = sent
            .answer(message_type, Code::CONTENT)
            .option(OptionNumber(65_001), b"x");
        end.receive(&response);
        let rejection = (message_type == CON).then(|| response.answer(RST, Code::EMPTY));
        assert_eq!(end.transmit(), rejection);
        let error = RequestError::UnrecognisedCriticalOption;
        assert_eq!(end.events(), failed(request, error));
    }
}

#[test]
fn proxy_options_are_refused_unless_the_application_is_a_proxy() {
    for option in [OptionNumber::PROXY_URI, OptionNumber::PROXY_SCHEME] {
        let message = get(CON, 5, "a").option(option, b"coap");
        let mut end = end();
        assert_eq!(end.receive(&message), Came::Handled);
        assert_eq!(end.transmit_one().code, Code::PROXYING_NOT_SUPPORTED);
        let mut end = End::new(Config {
            is_proxy: true,
            ..Config::default()
        });
        end.receive_request(&message);
    }
}

#[test]
fn ignored_request_is_acknowledged_and_never_comes_again() {
    let mut end = end();
    let message = get(CON, 5, "a");
    let request = end.receive_request(&message);
    end.exchange.ignore(request).unwrap();
    assert_eq!(end.transmit_one(), message.answer(ACK, Code::EMPTY));
    assert_eq!(end.receive(&message), Came::Dropped(DropReason::Duplicate));
    assert_eq!(end.exchange.usage().incoming, 0);
}

#[test]
fn both_roles_work_at_once_with_the_same_message_ids_and_tokens() {
    let mut end = end();
    let request = end.get("a");
    let sent = end.transmit_one();
    // The peer happens to use the same message ID and the same token.
    let mut theirs = get(CON, sent.id.0, "b");
    theirs.token = sent.token;
    let incoming = end.receive_request(&theirs);
    end.respond(incoming, Code::CONTENT, b"theirs");
    let answer = end.transmit_one();
    assert_eq!(answer, theirs.answer(ACK, Code::CONTENT).payload(b"theirs"));
    let response = sent.answer(ACK, Code::CONTENT).payload(b"ours");
    assert_eq!(
        end.receive(&response),
        Came::Response(request, response.clone())
    );
}

#[test]
fn new_association_sends_get_put_and_delete_anew_and_fails_the_others() {
    let mut end = End::new(Config::new(TransmissionParameters {
        nstart: 10,
        ..TransmissionParameters::default()
    }));
    let methods = [Code::GET, Code::PUT, Code::DELETE, Code::POST, Code::FETCH];
    let requests = methods.map(|method| end.send(method, "a", b""));
    let old: Vec<_> = std::iter::from_fn(|| end.transmit()).collect();
    assert_eq!(old.len(), 5);
    // A request that is only acknowledged is under way too.
    end.receive(&old[0].answer(ACK, Code::EMPTY));
    end.restart();
    let error = RequestError::AssociationRestarted;
    let expected = [requests[3], requests[4]].map(|request| failed(request, error)[0]);
    assert_eq!(end.events(), expected);
    let new: Vec<_> = std::iter::from_fn(|| end.transmit()).collect();
    assert_eq!(new.len(), 3);
    for (old, new) in old.iter().zip(&new) {
        assert_eq!((old.code, &old.options), (new.code, &new.options));
        assert!(old.token != new.token && old.id != new.id);
    }
    // An answer to the old message ends nothing.
    let late = old[1].answer(ACK, Code::CHANGED);
    assert_eq!(end.receive(&late), Came::Dropped(DropReason::Unmatched));
    let right = new[1].answer(ACK, Code::CHANGED);
    assert!(matches!(end.receive(&right), Came::Response(request, _) if request == requests[1]));
}

#[test]
fn post_that_never_went_out_survives_a_new_association() {
    let mut end = end();
    end.get("first");
    let post = end.send(Code::POST, "second", b"x");
    let sent = end.transmit_one();
    end.restart();
    assert!(end.events().is_empty());
    let again = end.transmit_one();
    assert_eq!(again.code, Code::GET);
    assert_ne!(again.id, sent.id);
    end.receive(&again.answer(ACK, Code::CONTENT));
    let second = end.transmit_one();
    assert_eq!(second.code, Code::POST);
    let response = second.answer(ACK, Code::CHANGED);
    assert!(matches!(end.receive(&response), Came::Response(request, _) if request == post));
}

#[test]
fn new_association_forgets_the_peers_messages_and_fails_their_requests() {
    let mut end = end();
    let message = get(CON, 5, "a");
    let request = end.receive_request(&message);
    end.restart();
    let error = ResponseError::AssociationRestarted;
    assert_eq!(end.events(), [Event::ResponseFailed { request, error }]);
    assert_eq!(
        end.try_respond(request, &Response::new(Code::CONTENT)),
        Err(Error::UnknownHandle)
    );
    assert_eq!(end.transmit(), None);
    end.receive_request(&message);
}

#[test]
fn upload_begins_anew_under_a_new_association_and_another_request_tag() {
    let mut end = end();
    let body = vec![7; 3_000];
    end.send(Code::PUT, "a", &body);
    let first = end.transmit_one();
    let tag = first.value(OptionNumber::REQUEST_TAG).unwrap().to_vec();
    let continued = first
        .answer(ACK, Code::CONTINUE)
        .block(OptionNumber::BLOCK1, 0, true, 1_024);
    end.receive(&continued);
    assert_eq!(
        end.transmit_one().block_of(OptionNumber::BLOCK1),
        Some((1, true, 1_024))
    );
    end.restart();
    let again = end.transmit_one();
    assert_eq!(again.block_of(OptionNumber::BLOCK1), Some((0, true, 1_024)));
    assert_ne!(again.value(OptionNumber::REQUEST_TAG).unwrap(), tag);
}

#[test]
fn options_of_the_application_go_out_as_given() {
    let mut end = end();
    let options = [
        MessageOption::new(OptionNumber::IF_NONE_MATCH, &[]),
        MessageOption::new(OptionNumber::URI_PATH, b"a"),
        MessageOption::new(OptionNumber::URI_PATH, b"b"),
    ];
    end.request(&Request::new(Code::PUT).options(&options).payload(b"p"))
        .unwrap();
    let sent = end.transmit_one();
    let expected = request(CON, Code::PUT, 0, "a")
        .option(OptionNumber::URI_PATH, b"b")
        .option(OptionNumber::IF_NONE_MATCH, &[]);
    assert_eq!(sent.options, expected.options);
    assert_eq!(sent.payload, b"p");
    let unordered = [options[1], options[0]];
    assert!(matches!(
        end.request(&Request::new(Code::PUT).options(&unordered)),
        Err(Error::Encode(_))
    ));
    assert_eq!(end.exchange.usage().outgoing, 1);
}
