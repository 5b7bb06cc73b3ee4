//! The stateless front of a server without security, RFC 9175 §2.3 and §2.4.
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
use hedgerow_core::{DropReason, Env, Instant};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_exchange::{Config, EchoAcceptance, EchoAcceptor, Echoed};
use peer::{ACK, CON, Came, End, NON, Owned, RST, Rng, get};

const ECHO: OptionNumber = OptionNumber::ECHO;
const HERE: &[u8] = b"192.0.2.1:4711";

fn acceptor(seed: u64) -> EchoAcceptor<SoftCrypto> {
    let mut rng = Rng(seed);
    EchoAcceptor::new(SoftCrypto, &mut Env::new(Instant::ZERO, &mut rng))
}

#[derive(Debug)]
enum Front {
    Answer(Owned),
    Accept(Echoed),
    Drop(DropReason),
}

fn ask(acceptor: &EchoAcceptor<SoftCrypto>, now: Instant, peer: &[u8], datagram: &[u8]) -> Front {
    let mut out = [0; 24];
    match acceptor.handle_message(now, peer, datagram, &mut out) {
        EchoAcceptance::Answer(len) => {
            assert!(len <= 3 * datagram.len());
            let message = hedgerow_coap::Message::decode(&out[..len]).unwrap();
            Front::Answer(Owned::from_view(&message))
        }
        EchoAcceptance::Accept(echoed) => Front::Accept(echoed),
        EchoAcceptance::Drop(reason) => Front::Drop(reason),
    }
}

fn challenge(acceptor: &EchoAcceptor<SoftCrypto>, now: Instant, request: &Owned) -> Owned {
    match ask(acceptor, now, HERE, &request.encode()) {
        Front::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn with_echo(request: &Owned, challenge: &Owned) -> Vec<u8> {
    let mut again = request.clone();
    again.id.0 = again.id.0.wrapping_add(1);
    again.option(ECHO, challenge.value(ECHO).unwrap()).encode()
}

#[test]
fn request_is_challenged_and_accepted_with_the_value() {
    let (acceptor, now) = (acceptor(1), Instant::ZERO);
    for (message_type, answer_type) in [(CON, ACK), (NON, NON)] {
        let request = get(message_type, 7, "a");
        let first = challenge(&acceptor, now, &request);
        assert_eq!(
            (first.code, first.token),
            (Code::UNAUTHORIZED, request.token)
        );
        assert_eq!(first.message_type, answer_type);
        assert_eq!(first.id == request.id, message_type == CON);
        // Whatever the network duplicates gets the same answer.
        assert_eq!(challenge(&acceptor, now, &request), first);
        let again = with_echo(&request, &first);
        assert!(matches!(
            ask(&acceptor, now, HERE, &again),
            Front::Accept(_)
        ));
    }
}

/// MUST (RFC 9175 §2.3): a value that this end didn't make, or made long ago, proves nothing.
#[test]
fn value_of_another_address_time_or_server_is_challenged_again() {
    let (right, now) = (acceptor(1), Instant::from_micros(59_000_000));
    let request = get(CON, 7, "a");
    let again = with_echo(&request, &challenge(&right, now, &request));
    let later = |seconds| now + Duration::from_secs(seconds);
    assert!(matches!(
        ask(&right, later(60), HERE, &again),
        Front::Accept(_)
    ));
    let changed = {
        let mut first = challenge(&right, now, &request);
        first.options[0].1[7] ^= 1;
        with_echo(&request, &first)
    };
    let renamed = {
        let mut first = challenge(&right, now, &request);
        first.options[0].1[1] ^= 1;
        with_echo(&request, &first)
    };
    let short = get(CON, 8, "a").option(ECHO, b"0").encode();
    let long = get(CON, 8, "a").option(ECHO, &[0; 40]).encode();
    for (what, front) in [
        ("another port", ask(&right, now, b"192.0.2.1:4712", &again)),
        ("too late", ask(&right, later(61), HERE, &again)),
        ("another server", ask(&acceptor(2), now, HERE, &again)),
        ("a changed digest", ask(&right, now, HERE, &changed)),
        ("another message ID", ask(&right, now, HERE, &renamed)),
        ("too short", ask(&right, now, HERE, &short)),
        ("too long", ask(&right, now, HERE, &long)),
    ] {
        let Front::Answer(answer) = front else {
            panic!("{what}: {front:?}");
        };
        assert_eq!(answer.code, Code::UNAUTHORIZED, "{what}");
        assert!(answer.value(ECHO).is_some(), "{what}");
    }
}

/// MUST (RFC 7252 §4.2, §4.3): Confirmable messages without context are rejected, a ping too.
#[test]
fn what_is_no_request_is_reset_or_dropped() {
    let (acceptor, now) = (acceptor(1), Instant::ZERO);
    let ping = Owned::new(CON, Code::EMPTY, 9, b"");
    let response = Owned::new(CON, Code::CONTENT, 9, b"x");
    for message in [ping, response] {
        let reset = challenge(&acceptor, now, &message);
        assert_eq!((reset.message_type, reset.id.0), (RST, 9));
    }
    // A token of nine bytes.
    let Front::Answer(reset) = ask(&acceptor, now, HERE, &[0x49, 1, 0, 9]) else {
        panic!("a reset");
    };
    assert_eq!(reset.message_type, RST);
    for (datagram, reason) in [
        (
            Owned::new(ACK, Code::EMPTY, 9, b"").encode(),
            DropReason::Unmatched,
        ),
        (
            Owned::new(RST, Code::EMPTY, 9, b"").encode(),
            DropReason::Unmatched,
        ),
        (
            Owned::new(NON, Code::CONTENT, 9, b"x").encode(),
            DropReason::Unmatched,
        ),
        (
            Owned::new(ACK, Code::GET, 9, b"x").encode(),
            DropReason::UnexpectedMessage,
        ),
        (vec![0x59, 1, 0, 9], DropReason::Malformed),
        (vec![0x40], DropReason::Malformed),
        (vec![0x16, 0xfe, 0xfd, 0, 0], DropReason::UnsupportedVersion),
        // There is no room for an answer that would help.
        (vec![0x40, 1, 0, 9], DropReason::AmplificationLimit),
    ] {
        let front = ask(&acceptor, now, HERE, &datagram);
        assert!(
            matches!(front, Front::Drop(found) if found == reason),
            "{front:?}"
        );
    }
    // Two bytes more are enough.
    let root = Owned::new(CON, Code::GET, 9, b"xy");
    assert!(challenge(&acceptor, now, &root).value(ECHO).is_some());
}

#[test]
fn duplicate_of_the_challenged_request_comes_too_late() {
    let (acceptor, now) = (acceptor(1), Instant::ZERO);
    let request = get(CON, 7, "a");
    let again = with_echo(&request, &challenge(&acceptor, now, &request));
    let Front::Accept(echoed) = ask(&acceptor, now, HERE, &again) else {
        panic!("accepted");
    };
    let mut end = End::new(Config::default());
    let at = end.now;
    end.exchange.note_challenged(at, echoed);
    assert!(matches!(end.receive_bytes(&again), Came::Request(..)));
    assert_eq!(end.receive(&request), Came::Dropped(DropReason::Duplicate));
    assert_eq!(
        end.receive_bytes(&again),
        Came::Dropped(DropReason::Duplicate)
    );
}
