//! A server's challenges as it sees them answered, RFC 9175 §2.3.
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
mod stream;

use hedgerow_coap::{Code, MessageOption, OptionNumber};
use hedgerow_exchange::{Config, ConnectionConfig, Event, Request, RequestError};
use peer::{ACK, CON, Came, End, NON, Owned, seconds};

const ECHO: OptionNumber = OptionNumber::ECHO;
const BLOCK1: OptionNumber = OptionNumber::BLOCK1;
const BLOCK2: OptionNumber = OptionNumber::BLOCK2;

fn end() -> End {
    End::new(Config::default())
}

fn challenge(sent: &Owned, value: &[u8]) -> Owned {
    sent.answer(ACK, Code::UNAUTHORIZED).option(ECHO, value)
}

/// Challenges the message and returns the one that comes instead.
fn challenged(end: &mut End, sent: &Owned, value: &[u8]) -> Owned {
    assert_eq!(end.receive(&challenge(sent, value)), Came::Handled);
    let again = end.transmit_one();
    assert_ne!(again.id, sent.id);
    assert_ne!(again.token, sent.token);
    assert_eq!(again.value(ECHO), Some(value));
    assert_eq!(again.payload, sent.payload);
    assert_eq!(again.message_type, sent.message_type);
    again
}

/// Whatever the method is, since the server has done nothing yet.
#[test]
fn challenged_request_goes_out_once_more_with_the_value() {
    for (method, message_type) in [(Code::GET, ACK), (Code::PUT, ACK), (Code::POST, CON)] {
        let mut end = end();
        let request = end.send(method, "a", b"body");
        let sent = end.transmit_one();
        assert_eq!(sent.value(ECHO), None);
        let again = challenged(&mut end, &sent, b"01234567");
        let answer = again.answer(message_type, Code::CHANGED);
        assert_eq!(
            end.receive(&answer),
            Came::Response(request, answer.clone())
        );
        // The first message's answer fits nothing any more.
        let late = sent.answer(ACK, Code::CHANGED);
        assert!(matches!(end.receive(&late), Came::Dropped(_)));
    }
}

#[test]
fn non_confirmable_request_is_answered_for_too() {
    let mut end = end();
    let options = [MessageOption::new(OptionNumber::URI_PATH, b"a")];
    let request = Request::new(Code::GET).options(&options).non_confirmable();
    let request = end.request(&request).unwrap();
    let sent = end.transmit_one();
    let mut challenge = sent.answer(NON, Code::UNAUTHORIZED).option(ECHO, b"x");
    challenge.id.0 = 77;
    assert_eq!(end.receive(&challenge), Came::Handled);
    let again = end.transmit_one();
    assert_eq!(again.message_type, NON);
    assert_eq!(again.value(ECHO), Some(b"x".as_slice()));
    let mut answer = again.answer(NON, Code::CONTENT);
    answer.id.0 = 78;
    assert_eq!(end.receive(&answer), Came::Response(request, answer));
}

/// MUST (RFC 9175 §2.2.1): a value has 1 to 40 bytes.
#[test]
fn server_that_is_never_content_ends_the_request() {
    let mut end = end();
    let request = end.get("a");
    let sent = end.transmit_one();
    let again = challenged(&mut end, &sent, &[7; 40]);
    let second = challenge(&again, b"other");
    assert_eq!(
        end.receive(&second),
        Came::Response(request, second.clone())
    );
    assert_eq!(end.transmit(), None);

    for value in [&[][..], &[7; 41]] {
        let request = end.get("a");
        let sent = end.transmit_one();
        let odd = challenge(&sent, value);
        assert_eq!(end.receive(&odd), Came::Response(request, odd.clone()));
    }
}

#[test]
fn refusal_without_a_value_and_a_value_elsewhere_challenge_nothing() {
    for (code, value) in [(Code::UNAUTHORIZED, None), (Code::FORBIDDEN, Some(b"x"))] {
        let mut end = end();
        let request = end.get("a");
        let mut answer = end.transmit_one().answer(ACK, code);
        if let Some(value) = value {
            answer = answer.option(ECHO, value);
        }
        assert_eq!(
            end.receive(&answer),
            Came::Response(request, answer.clone())
        );
    }
}

#[test]
fn application_that_asks_for_challenges_gets_them() {
    let mut end = end();
    let request = end
        .request(&Request::new(Code::POST).hand_out_challenges())
        .unwrap();
    let refused = challenge(&end.transmit_one(), b"x");
    assert_eq!(
        end.receive(&refused),
        Came::Response(request, refused.clone())
    );

    let own = [MessageOption::new(ECHO, b"own")];
    let request = end.request(&Request::new(Code::GET).options(&own)).unwrap();
    let refused = challenge(&end.transmit_one(), b"x");
    assert_eq!(
        end.receive(&refused),
        Came::Response(request, refused.clone())
    );
}

/// Every block carries the value from then on, and each may be told that it has become stale.
#[test]
fn upload_carries_the_value_in_every_block() {
    let body: Vec<u8> = (0..150).collect();
    let mut end = End::new(Config {
        max_block_szx: 2,
        ..Config::default()
    });
    let request = end.send(Code::PUT, "a", &body);
    let sent = end.transmit_one();
    let mut current = challenged(&mut end, &sent, b"first");
    assert_eq!(current.block_of(BLOCK1), Some((0, true, 64)));
    assert_eq!(
        current.value(OptionNumber::REQUEST_TAG),
        sent.value(OptionNumber::REQUEST_TAG)
    );
    let goes_on = current
        .answer(ACK, Code::CONTINUE)
        .block(BLOCK1, 0, true, 64);
    assert_eq!(end.receive(&goes_on), Came::Handled);
    current = end.transmit_one();
    assert_eq!(current.block_of(BLOCK1), Some((1, true, 64)));
    assert_eq!(current.value(ECHO), Some(b"first".as_slice()));
    current = challenged(&mut end, &current, b"second");
    assert_eq!(current.block_of(BLOCK1), Some((1, true, 64)));
    let goes_on = current
        .answer(ACK, Code::CONTINUE)
        .block(BLOCK1, 1, true, 64);
    assert_eq!(end.receive(&goes_on), Came::Handled);
    current = end.transmit_one();
    assert_eq!(current.value(ECHO), Some(b"second".as_slice()));
    let done = current
        .answer(ACK, Code::CHANGED)
        .block(BLOCK1, 2, false, 64);
    assert_eq!(end.receive(&done), Came::Response(request, done.clone()));
}

#[test]
fn download_goes_on_after_a_challenge_in_its_middle() {
    let mut end = end();
    let request = end.get("a");
    let sent = end.transmit_one();
    let first = sent
        .answer(ACK, Code::CONTENT)
        .block(BLOCK2, 0, true, 64)
        .payload(&[1; 64]);
    assert_eq!(end.receive(&first), Came::Handled);
    let next = end.transmit_one();
    let again = challenged(&mut end, &next, b"x");
    assert_eq!(again.block_of(BLOCK2), Some((1, false, 64)));
    let last = again
        .answer(ACK, Code::CONTENT)
        .block(BLOCK2, 1, false, 64)
        .payload(&[2; 6]);
    let Came::Response(answered, whole) = end.receive(&last) else {
        panic!("a response");
    };
    assert_eq!((answered, whole.payload.len()), (request, 70));
}

/// What fitted a message without the value is cut into blocks with it.
#[test]
fn value_that_leaves_too_little_room_makes_blocks() {
    let mut end = End::new(Config {
        max_message_len: 128,
        max_block_szx: 2,
        ..Config::default()
    });
    let request = end.send(Code::PUT, "a", &[5; 64]);
    let sent = end.transmit_one();
    assert_eq!(sent.block_of(BLOCK1), None);
    assert_eq!(end.receive(&challenge(&sent, &[9; 40])), Came::Handled);
    let again = end.transmit_one();
    assert_eq!(again.block_of(BLOCK1), Some((0, true, 16)));
    assert_eq!(again.value(ECHO), Some([9; 40].as_slice()));

    // Where nothing fits beside it, the application is told what the server said.
    end.exchange.cancel(request).unwrap();
    end.events();
    let long = [MessageOption::new(OptionNumber::URI_PATH, &[b'a'; 60])];
    let request = Request::new(Code::GET).options(&long);
    let request = end.request(&request).unwrap();
    let refused = challenge(&end.transmit_one(), &[9; 40]);
    assert_eq!(
        end.receive(&refused),
        Came::Response(request, refused.clone())
    );
}

/// MUST (RFC 9175 §2.3): the value is for the endpoint that it came from, session included.
#[test]
fn value_doesnt_outlive_its_session() {
    let mut end = end();
    end.get("a");
    let sent = end.transmit_one();
    challenged(&mut end, &sent, b"x");
    end.restart();
    let anew = end.transmit_one();
    assert_eq!(anew.value(ECHO), None);
    challenged(&mut end, &anew, b"y");
}

#[test]
fn request_that_was_sent_anew_is_retransmitted_and_given_up_as_any_other() {
    let mut end = end();
    let request = end.get("a");
    let sent = end.transmit_one();
    let again = challenged(&mut end, &sent, b"x");
    let mut transmissions = 1;
    while end.events().is_empty() {
        end.wait(seconds(10));
        while let Some(repeated) = end.transmit() {
            assert_eq!(repeated, again);
            transmissions += 1;
        }
        if transmissions == 5 {
            end.wait(seconds(60));
            let error = RequestError::AcknowledgementTimeout;
            let events = end.events();
            assert!(events.contains(&Event::RequestFailed { request, error }));
            return;
        }
    }
}

#[test]
fn challenge_over_a_stream_is_answered_too() {
    let mut line = stream::End::<hedgerow_exchange::Heap>::open(ConnectionConfig::default(), 2_000);
    let request = line.ask(Code::POST, b"body");
    let sent = line.sent_one();
    let refused = stream::Owned::new(Code::UNAUTHORIZED, &sent.token).option(ECHO, b"fresh?");
    assert!(matches!(line.feed_one(&refused), stream::Came::Handled));
    let again = line.sent_one();
    assert_ne!(again.token, sent.token);
    assert_eq!(again.value(ECHO), Some(b"fresh?".as_slice()));
    assert_eq!(again.payload, b"body");
    let done = stream::Owned::new(Code::CHANGED, &again.token);
    let (answered, _) = line.feed_one(&done).response();
    assert_eq!(answered, request);
}
