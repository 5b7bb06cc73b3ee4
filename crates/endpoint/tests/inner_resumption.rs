//! Inner sessions that go on over a new outer session, and what is kept for that.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;
#[path = "common/inner.rs"]
mod inner;
#[path = "common/two_ends.rs"]
mod two_ends;

use std::time::Duration;

use common::{Known, Shown, defaults};
use hedgerow_core::{DropReason, Env, Writer};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{Config, Endpoint};
use hedgerow_itls::{CloseReason, Control, End as Which, RoutingHeader};
use inner::{END_KEY, NAME, with_inner};
use two_ends::{At, DEVICE, Ends, INTERNET};

const OTHER_KEY: &[u8] = b"the key of another far end, 32 B";

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The Internet end has lost its way, and the device knows nothing of that.
#[test]
fn session_goes_on_over_another_outer_session_and_is_the_same_association_there() {
    let mut ends = Ends::new(&defaults());
    let before = ends.connect(At(0));
    assert!(ends.ask(before, b"first"));
    ends.ends[INTERNET].end_outer_stream(At(0));
    assert_eq!(ends.ends[INTERNET].resumable_inner_sessions(), 1);
    let after = ends.connect(At(1));
    assert_ne!(after, before);
    assert!(ends.ask(after, b"second"), "{:?}", ends.drops);
    let is_resumed = |end: usize| ends.established[end].iter().map(|it| it.1);
    assert!(is_resumed(INTERNET).eq([false, true]));
    assert!(is_resumed(DEVICE).eq([false, true]));
    let at_device = &ends.established[DEVICE];
    assert_eq!(at_device[0].0, at_device[1].0);
    for end in &mut ends.ends {
        assert_eq!(end.resumable_inner_sessions(), 0);
        assert_eq!((end.associations(), end.inner_flows()), (1, 1));
    }
}

/// Both have lost it: each resumes by what it keeps. The secret serves once.
#[test]
fn session_that_both_ends_have_lost_is_resumed_by_what_each_keeps() {
    let mut ends = Ends::new(&defaults());
    let before = ends.connect(At(0));
    assert!(ends.ask(before, b"first"));
    for end in [INTERNET, DEVICE] {
        ends.ends[end].end_outer_stream(At(0));
        assert_eq!(ends.ends[end].resumable_inner_sessions(), 1);
        assert_eq!(ends.ends[end].associations(), 0);
        ends.open(end, At(0));
    }
    let after = ends.connect(At(0));
    assert!(ends.ask(after, b"second"), "{:?}", ends.drops);
    for end in [INTERNET, DEVICE] {
        let resumed = ends.established[end].iter().map(|it| it.1);
        assert!(resumed.eq([false, true]), "{end}");
        assert_eq!(ends.ends[end].resumable_inner_sessions(), 0);
    }
}

/// An association counts where it is, and nowhere once it is gone.
#[test]
fn resumed_session_counts_at_its_new_source_and_no_longer_at_the_old_one() {
    let config = Config {
        max_associations_per_source: 1,
        ..defaults()
    };
    let mut ends = Ends::new(&config);
    let before = ends.connect(At(0));
    assert!(ends.ask(before, b"first"));
    ends.ends[INTERNET].end_outer_stream(At(0));
    let after = ends.connect(At(1));
    assert!(ends.ask(after, b"second"));
    // Its share at the old place is free again,
    ends.open(INTERNET, At(0));
    let another = ends.connect(At(0));
    assert!(ends.ask(another, b"third"), "{:?}", ends.drops[DEVICE]);
    // and taken at the new one.
    let refused = ends.connect_as(At(1), b"another name");
    assert!(!ends.ask(refused, b"fourth"));
    assert_eq!(ends.drops[DEVICE], [DropReason::RateLimited]);
    // Once it is closed nothing of it is left at either.
    ends.ends[DEVICE].end_outer_stream(At(1));
    ends.ends[DEVICE].end_outer_stream(At(0));
    for gateway in [At(0), At(1)] {
        ends.ends[INTERNET].end_outer_stream(gateway);
        ends.open(INTERNET, gateway);
        ends.open(DEVICE, gateway);
        let again = ends.connect(gateway);
        assert!(ends.ask(again, b"fifth"), "{:?}", ends.drops[DEVICE]);
    }
}

/// docs/specs/itls.md: a secret lives for 24 h at most from the last handshake with an end-to-end key, also at
/// an end that only answers and asks for nothing.
#[test]
fn secret_that_is_too_old_is_forgotten_where_nobody_asks_for_it() {
    let config = Config {
        idle_timeout: 10 * DAY,
        ..defaults()
    };
    // When the outer session is lost, and the only thing that happens afterwards.
    for lost_after in [DAY / 2, DAY - Duration::from_secs(1)] {
        let mut ends = Ends::new(&config);
        let session = ends.connect(At(0));
        assert!(ends.ask(session, b"first"));
        ends.now = ends.now + lost_after;
        for end in &mut ends.ends {
            end.end_outer_stream(At(0));
            assert_eq!(end.resumable_inner_sessions(), 1);
        }
        ends.wait(DAY - lost_after - Duration::from_secs(1));
        for end in &mut ends.ends {
            assert_eq!(end.resumable_inner_sessions(), 1);
            let due = end.poll_timeout().unwrap();
            assert_eq!(due, ends.now + Duration::from_secs(1));
        }
        ends.wait(Duration::from_secs(1));
        for end in &mut ends.ends {
            assert_eq!(end.resumable_inner_sessions(), 0);
        }
    }
    // One that is too old already when it is lost, or given to another endpoint.
    let mut ends = Ends::new(&config);
    let session = ends.connect(At(0));
    assert!(ends.ask(session, b"first"));
    ends.now = ends.now + DAY;
    ends.ends[DEVICE].end_outer_stream(At(0));
    ends.wait(Duration::ZERO);
    assert_eq!(ends.ends[DEVICE].resumable_inner_sessions(), 0);
    ends.ends[INTERNET].end_outer_stream(At(0));
    let kept = ends.ends[INTERNET].take_inner_sessions();
    ends.ends[INTERNET].give_inner_sessions(kept);
    ends.wait(Duration::ZERO);
    assert_eq!(ends.ends[INTERNET].resumable_inner_sessions(), 0);
}

/// Whoever comes again and again, and is cut off each time, takes no other one's place.
#[test]
fn far_end_with_many_sessions_pushes_out_its_own() {
    let mut ends = Ends::new(&defaults());
    let keys: [(&[u8], &[u8]); 2] = [(b"end", END_KEY), (b"other", OTHER_KEY)];
    let mut config = with_inner(defaults(), Which::Device);
    if let Some(inner) = &mut config.inner {
        inner.max_resumable = 3;
    }
    let env = &mut Env::new(ends.now, &mut ends.rng);
    let known = Known::with_end_to_end(&[], &keys);
    ends.ends[DEVICE] = Endpoint::server(SoftCrypto, known, config, env);
    ends.open(DEVICE, At(0));
    let quiet = ends.connect(At(0));
    assert!(ends.ask(quiet, b"first"));
    ends.ends[DEVICE].end_outer_stream(At(0));
    for _ in 0..5 {
        ends.wait(Duration::from_secs(1));
        for end in [INTERNET, DEVICE] {
            ends.open(end, At(1));
        }
        let env = &mut Env::new(ends.now, &mut ends.rng);
        let other = Shown::end_to_end(b"other", OTHER_KEY);
        let connected = ends.ends[INTERNET].connect_inner(env, At(1), NAME, &other);
        assert!(ends.ask(connected.unwrap(), b"again"), "{:?}", ends.drops);
        for end in &mut ends.ends {
            end.end_outer_stream(At(1));
        }
        // It resumes nothing.
        drop(ends.ends[INTERNET].take_inner_sessions());
    }
    assert_eq!(ends.ends[DEVICE].resumable_inner_sessions(), 3);
    ends.ends[INTERNET].end_outer_stream(At(0));
    for end in [INTERNET, DEVICE] {
        ends.open(end, At(0));
    }
    let after = ends.connect(At(0));
    assert!(ends.ask(after, b"second"), "{:?}", ends.drops);
    assert!(ends.established[DEVICE].last().unwrap().1);
}

/// docs/specs/itls.md, "A new outer session": what the gateway says before the far end has answered spends nothing, for
/// it may say so of every hello.
#[test]
fn secret_outlives_a_hello_that_the_gateway_refuses() {
    let mut ends = Ends::new(&defaults());
    let before = ends.connect(At(0));
    assert!(ends.ask(before, b"first"));
    ends.ends[INTERNET].end_outer_stream(At(0));
    let mut hellos = Vec::new();
    for reason in [CloseReason::Gone, CloseReason::Refused, CloseReason::Busy] {
        ends.connect(At(1));
        let (_, hello) = ends.poll(INTERNET).unwrap();
        // Set aside for as long as it is named.
        assert_eq!(ends.ends[INTERNET].resumable_inner_sessions(), 0);
        let (header, _) = RoutingHeader::decode(&hello).unwrap();
        ends.deliver(INTERNET, At(1), &close(header.flow, reason));
        assert_eq!(ends.ends[INTERNET].resumable_inner_sessions(), 1);
        assert_eq!(ends.ends[INTERNET].associations(), 0);
        hellos.push(hello);
    }
    // The outer session is lost before there is an answer.
    ends.connect(At(1));
    hellos.push(ends.poll(INTERNET).unwrap().1);
    ends.ends[INTERNET].end_outer_stream(At(1));
    ends.open(INTERNET, At(1));
    // No hello comes again in another attempt.
    for (index, hello) in hellos.iter().enumerate() {
        assert!(!hellos[..index].contains(hello));
    }
    let after = ends.connect(At(1));
    assert!(ends.ask(after, b"second"), "{:?}", ends.drops);
    let resumed = ends.established[INTERNET].iter().map(|it| it.1);
    assert!(resumed.eq([false, true]));
    // Once the far end has answered it is spent, whatever becomes of the session.
    assert_eq!(ends.ends[INTERNET].resumable_inner_sessions(), 0);
}

/// A refusal keeps nothing alive beyond its time.
#[test]
fn refused_secret_is_forgotten_in_time() {
    let mut ends = Ends::new(&defaults());
    let before = ends.connect(At(0));
    assert!(ends.ask(before, b"first"));
    ends.ends[INTERNET].end_outer_stream(At(0));
    ends.wait(DAY - Duration::from_secs(1));
    ends.connect(At(1));
    let (_, hello) = ends.poll(INTERNET).unwrap();
    let (header, _) = RoutingHeader::decode(&hello).unwrap();
    ends.deliver(INTERNET, At(1), &close(header.flow, CloseReason::Gone));
    assert_eq!(ends.ends[INTERNET].resumable_inner_sessions(), 1);
    ends.wait(Duration::from_secs(1));
    assert_eq!(ends.ends[INTERNET].resumable_inner_sessions(), 0);
}

/// Hellos that name a session and aren't answered: the far end may have forgotten it.
#[test]
fn secret_that_is_not_answered_twice_is_spent() {
    let mut ends = Ends::new(&defaults());
    let before = ends.connect(At(0));
    assert!(ends.ask(before, b"first"));
    ends.ends[INTERNET].end_outer_stream(At(0));
    ends.connect(At(1));
    while ends.poll(INTERNET).is_some() {}
    for seconds in [2, 4] {
        ends.wait(Duration::from_secs(seconds));
    }
    let mut last = None;
    while let Some((_, message)) = ends.poll(INTERNET) {
        last = Some(message);
    }
    let (header, _) = RoutingHeader::decode(&last.unwrap()).unwrap();
    ends.deliver(INTERNET, At(1), &close(header.flow, CloseReason::Gone));
    assert_eq!(ends.ends[INTERNET].associations(), 0);
    assert_eq!(ends.ends[INTERNET].resumable_inner_sessions(), 0);
}

/// The gateway's CLOSE of a flow.
fn close(flow: u16, reason: CloseReason) -> Vec<u8> {
    let mut bytes = [0; 8];
    let mut out = Writer::new(&mut bytes);
    let header = RoutingHeader {
        flow,
        is_control: true,
    };
    header.encode(&mut out).unwrap();
    Control::Close(reason).encode(&mut out).unwrap();
    out.written().to_vec()
}
