//! Whether the peer is there, as one that sends Non-confirmable requests alone finds out.
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
use hedgerow_exchange::{Config, Event, Request, RequestError, TransmissionParameters};
use peer::{ACK, CON, End, NON, Owned, get, seconds};

/// An end that may send all at once, so that only the waits for responses take time.
fn end() -> End {
    End::new(Config::new(TransmissionParameters {
        nstart: 8,
        ..TransmissionParameters::default()
    }))
}

fn send_non(end: &mut End, no_response: Option<&[u8]>) -> Owned {
    let option = no_response.map(|value| MessageOption::new(OptionNumber::NO_RESPONSE, value));
    let request = Request::new(Code::POST).options(option.as_slice());
    end.request(&request.non_confirmable()).unwrap();
    end.transmit_one()
}

/// Waits until the last response is overdue, and returns the silences reported on the way.
fn wait_out(end: &mut End) -> Vec<u8> {
    let mut reported = Vec::new();
    while end.exchange.usage().outgoing > 0 {
        end.wait_for_timeout();
        assert_eq!(end.transmit(), None);
        for event in end.events() {
            match event {
                Event::PeerUnresponsive { transmissions } => reported.push(transmissions),
                Event::RequestFailed { error, .. } => {
                    assert_eq!(error, RequestError::ResponseTimeout);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    reported
}

#[test]
fn nonconfirmable_requests_that_wait_in_vain_make_the_peer_unresponsive_once() {
    let mut end = end();
    for _ in 0..3 {
        send_non(&mut end, None);
        end.wait(seconds(1));
        assert_eq!(end.exchange.unanswered_transmissions(), 0);
    }
    assert_eq!(wait_out(&mut end), [2]);
    assert_eq!(end.exchange.unanswered_transmissions(), 3);
    end.exchange.report_silence_again();
    send_non(&mut end, None);
    assert_eq!(wait_out(&mut end), [4]);
}

#[test]
fn request_that_asks_for_silence_tells_nothing_of_the_peer() {
    // RFC 7967 §2: not interested in 2.xx; in nothing at all; a zero, in either form, in everything.
    for (value, reported) in [
        (b"\x02".as_slice(), vec![]),
        (b"\x1a", vec![]),
        (b"", vec![2]),
        (b"\0", vec![2]),
    ] {
        let mut end = end();
        for _ in 0..2 {
            send_non(&mut end, Some(value));
        }
        assert_eq!(wait_out(&mut end), reported, "{value:?}");
    }
}

#[test]
fn peer_that_was_heard_meanwhile_is_there() {
    // It answers another request, sends one of its own, or sends what belongs to nothing.
    let heard: [fn(&mut End); 3] = [
        |end| {
            let other = send_non(end, None);
            let mut answer = other.answer(NON, Code::CHANGED);
            answer.id.0 = 77;
            end.receive(&answer);
        },
        |end| {
            end.receive_request(&get(NON, 9, "x"));
        },
        |end| {
            end.receive(&Owned::new(ACK, Code::EMPTY, 5, &[]));
        },
    ];
    for heard in heard {
        let mut end = end();
        for _ in 0..2 {
            send_non(&mut end, None);
        }
        end.wait(seconds(1));
        heard(&mut end);
        assert_eq!(wait_out(&mut end), []);
        // What was heard before a request says nothing about the time after it.
        for _ in 0..2 {
            send_non(&mut end, None);
        }
        assert_eq!(wait_out(&mut end), [2]);
    }
}

/// A peer that acknowledges and then takes its time has been heard, and one wait of each kind adds
/// up to two.
#[test]
fn acknowledged_request_does_not_count_and_both_kinds_add_up() {
    let mut end = end();
    for _ in 0..2 {
        end.get("a");
        let sent = end.transmit_one();
        end.receive(&sent.answer(ACK, Code::EMPTY));
    }
    assert_eq!(wait_out(&mut end), []);

    send_non(&mut end, None);
    end.wait(Config::default().response_timeout);
    assert_eq!(end.exchange.unanswered_transmissions(), 1);
    end.events();
    end.get("a");
    assert_eq!(end.transmit_one().message_type, CON);
    end.wait_for_timeout();
    let unresponsive = Event::PeerUnresponsive { transmissions: 2 };
    assert_eq!(end.events(), [unresponsive]);
}
