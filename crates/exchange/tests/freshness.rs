//! A server that wants requests to be fresh, RFC 9175 §2.3.
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

use std::time::Duration;

use hedgerow_coap::{Code, OptionNumber};
use hedgerow_core::DropReason;
use hedgerow_exchange::Config;
use peer::{ACK, CON, Came, End, NON, Owned, request, seconds};

const ECHO: OptionNumber = OptionNumber::ECHO;
const NOT_FRESH: Came = Came::Dropped(DropReason::NotFresh);
const WITHIN: Duration = seconds(10);
const MICROSECOND: Duration = Duration::from_micros(1);

fn server() -> End {
    End::new(Config {
        fresh_within: Some(WITHIN),
        ..Config::default()
    })
}

fn post(id: u16) -> Owned {
    request(CON, Code::POST, id, "lock").payload(b"open")
}

/// Has the server refuse a request, and returns the value that it gives for it.
fn challenged(end: &mut End, sent: &Owned) -> Vec<u8> {
    assert_eq!(end.receive(sent), NOT_FRESH);
    let answer = end.transmit_one();
    assert_eq!(
        (answer.code, answer.token),
        (Code::UNAUTHORIZED, sent.token)
    );
    answer.value(ECHO).unwrap().to_vec()
}

fn is_taken(end: &mut End, sent: &Owned) -> bool {
    match end.receive(sent) {
        Came::Request(request, whole) => {
            assert_eq!(whole.payload, sent.payload);
            end.respond(request, Code::CHANGED, b"");
            assert_eq!(end.transmit_one().code, Code::CHANGED);
            true
        }
        came => {
            assert_eq!(came, NOT_FRESH);
            assert!(end.transmit_one().value(ECHO).is_some());
            false
        }
    }
}

/// RFC 7252 §5.1 and RFC 8132 §2 say which methods are safe.
#[test]
fn unsafe_methods_are_challenged_and_safe_ones_are_not() {
    for message_type in [CON, NON] {
        let mut end = server();
        for (id, method) in [
            (1, Code::POST),
            (2, Code::PUT),
            (3, Code::DELETE),
            (4, Code::PATCH),
            (5, Code::IPATCH),
        ] {
            let sent = request(message_type, method, id, "a");
            let value = challenged(&mut end, &sent);
            assert!((1..=40).contains(&value.len()));
            let again = request(message_type, method, 10 + id, "a").option(ECHO, &value);
            assert!(is_taken(&mut end, &again));
        }
        for (id, method) in [(21, Code::GET), (22, Code::FETCH)] {
            assert!(is_taken(&mut end, &request(message_type, method, id, "a")));
        }
    }
    // Nobody asked for it.
    assert!(is_taken(&mut End::new(Config::default()), &post(1)));
}

/// (t1 - t0) < T (RFC 9175 §2.3), and a value is good for T/2 at least when it is given out.
#[test]
fn value_is_good_for_as_long_as_is_configured_and_no_longer() {
    let mut end = server();
    let first = challenged(&mut end, &post(1));
    end.wait(WITHIN / 2 - MICROSECOND);
    assert_eq!(challenged(&mut end, &post(2)), first);
    end.wait(MICROSECOND);
    let second = challenged(&mut end, &post(3));
    assert_ne!(second, first);
    end.wait(WITHIN / 2 - MICROSECOND);
    assert!(is_taken(&mut end, &post(4).option(ECHO, &first)));
    end.wait(MICROSECOND);
    assert!(!is_taken(&mut end, &post(5).option(ECHO, &first)));
    assert!(is_taken(&mut end, &post(6).option(ECHO, &second)));
    end.wait(WITHIN);
    assert!(!is_taken(&mut end, &post(7).option(ECHO, &second)));
}

#[test]
fn value_of_somebody_else_is_none() {
    let mut end = server();
    let value = challenged(&mut end, &post(1));
    let mut id = 1;
    let mut others: Vec<Vec<u8>> = (0..value.len() * 8)
        .map(|bit| {
            let mut other = value.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            other
        })
        .collect();
    others.extend([value[1..].to_vec(), [&value[..], &[0]].concat(), vec![0; 8]]);
    for other in others {
        id += 1;
        assert!(!is_taken(&mut end, &post(id).option(ECHO, &other)));
    }
    assert!(is_taken(&mut end, &post(id + 1).option(ECHO, &value)));
    // The security association is part of the endpoint.
    end.restart();
    assert!(!is_taken(&mut end, &post(1).option(ECHO, &value)));
}

/// A duplicate is answered as the first one was, however old it is by then (RFC 7252 §4.5).
#[test]
fn duplicates_get_the_answer_that_there_was() {
    let mut end = server();
    let value = challenged(&mut end, &post(1));
    let again = post(2).option(ECHO, &value);
    assert!(is_taken(&mut end, &again));
    end.wait(2 * WITHIN);
    for (sent, code) in [(post(1), Code::UNAUTHORIZED), (again, Code::CHANGED)] {
        assert_eq!(end.receive(&sent), Came::Dropped(DropReason::Duplicate));
        assert_eq!(end.transmit_one().code, code);
    }
}

/// Each block has to be fresh, and none is kept that isn't.
#[test]
fn upload_goes_on_where_its_value_gets_too_old() {
    let body: Vec<u8> = (0..150).collect();
    let mut server = server();
    let mut client = End::new(Config {
        max_block_szx: 2,
        ..Config::default()
    });
    let asked = client.send(Code::PUT, "a", &body);
    let mut challenges = 0;
    for _ in 0..20 {
        let sent = client.transmit_one();
        let before = server.exchange.usage().reassemblies;
        match server.receive(&sent) {
            Came::Request(request, whole) => {
                assert_eq!(whole.payload, body);
                server.respond(request, Code::CHANGED, b"");
                let done = server.transmit_one();
                let came = client.receive(&done);
                assert!(matches!(came, Came::Response(answered, _) if answered == asked));
                // The first one, and after 6 s each the third.
                assert_eq!(challenges, 2);
                return;
            }
            Came::Dropped(reason) => {
                assert_eq!(reason, DropReason::NotFresh);
                assert_eq!(server.exchange.usage().reassemblies, before);
                challenges += 1;
            }
            came => assert_eq!(came, Came::Handled),
        }
        let answer = server.transmit_one();
        assert_eq!(answer.message_type, ACK);
        assert_eq!(client.receive(&answer), Came::Handled);
        if answer.code == Code::CONTINUE {
            server.wait(seconds(6));
            client.wait(seconds(6));
        }
    }
    panic!("no end of it");
}
