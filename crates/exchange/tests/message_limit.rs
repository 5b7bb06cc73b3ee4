//! Messages that fit what carries them: the records that a peer takes (RFC 8449), the path.
#![cfg(feature = "alloc")]
#![allow(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    missing_docs
)]

mod common;

use std::time::Duration;

use common::{Answer, Link, World, body};
use hedgerow_coap::{Code, Message};
use hedgerow_core::Env;
use hedgerow_exchange::{
    Config, Error, Fixed, Heap, Request, RequestError, Storage, TransmissionParameters,
};

fn handler(message: &Message<'_>) -> Answer {
    let (code, payload) = match message.code() {
        Code::GET => (Code::CONTENT, body(700, 1)),
        Code::POST => (Code::CHANGED, message.payload().to_vec()),
        _ => (Code::CHANGED, b"ok".to_vec()),
    };
    Answer {
        code,
        payload,
        after: Duration::ZERO,
    }
}

fn world<S: Storage>(max_block_szx: u8) -> World<S> {
    let config = Config {
        max_block_szx,
        max_message_len: 256,
        ..Config::new(TransmissionParameters::default())
    };
    World::new(3, config, Link::default(), handler)
}

/// Uploads and downloads, before the limit is known and after, over every pair of limits.
fn both_ends_keep_to_the_limit<S: Storage>() {
    for to_server in [96, 100, 128, 200, 65_535] {
        for to_client in [96, 127, 180, 65_535] {
            let name = format!("{to_server} {to_client}");
            let mut world = world::<S>(3);
            // Given before a handshake is over, a request learns the limit when its turn comes.
            let early = world.request(Code::POST, "early", &body(90, 2));
            world.client.limit_messages(to_server);
            world.server.limit_messages(to_client);
            let up = world.request(Code::POST, "up", &body(700, 5));
            let down = world.request(Code::GET, "down", b"");
            world.run();
            assert_eq!(
                world.responses[&early],
                (Code::CHANGED, body(90, 2)),
                "{name}"
            );
            assert_eq!(
                world.responses[&up],
                (Code::CHANGED, body(700, 5)),
                "{name}"
            );
            assert_eq!(
                world.responses[&down],
                (Code::CONTENT, body(700, 1)),
                "{name}"
            );
            let [of_server, of_client] = world.longest;
            assert!(of_server <= to_client && of_client <= to_server, "{name}");
        }
    }
}

#[test]
fn both_ends_keep_to_the_limit_on_the_heap() {
    both_ends_keep_to_the_limit::<Heap>();
}

#[test]
fn both_ends_keep_to_the_limit_in_arrays() {
    both_ends_keep_to_the_limit::<Fixed<8, 256, 256, 8, 1_200>>();
}

/// 64 bytes, the least that RFC 8449 §4 allows: too little for a block, enough for a reading.
#[test]
fn what_cannot_fit_is_refused_and_what_fits_is_sent() {
    let mut world = world::<Heap>(6);
    let waiting = world.request(Code::PUT, "waiting", &body(60, 1));
    world.client.limit_messages(64);
    world.server.limit_messages(64);
    let short = world.request(Code::PUT, "short", b"21.5 degrees");
    world.run();
    assert_eq!(world.responses[&short], (Code::CHANGED, b"ok".to_vec()));
    assert_eq!(world.failures[&waiting], RequestError::TooLongForPeer);
    assert!(world.longest[1] <= 64);
    let mut env = Env::new(world.now, &mut world.rng);
    let long = body(60, 1);
    let refused = world
        .client
        .request(&mut env, &Request::new(Code::PUT).payload(&long));
    assert!(
        matches!(refused, Err(Error::OptionsTooLong { .. })),
        "{refused:?}"
    );
}

/// What is agreed on with a new session counts for what is sent anew under it.
#[test]
fn limit_of_a_new_session_counts_for_requests_sent_anew() {
    let mut world = world::<Heap>(6);
    let up = world.request(Code::PUT, "up", &body(150, 9));
    world.flush();
    assert!(world.longest[1] > 150);
    world.longest = [0; 2];
    world.client.limit_messages(100);
    world.restart();
    world.run();
    assert_eq!(world.responses[&up], (Code::CHANGED, b"ok".to_vec()));
    assert!(world.longest[1] <= 100, "{:?}", world.longest);
}

/// A datagram was refused in the middle: what may be sent twice is sent anew in smaller blocks and arrives
/// whole, if need be twice; a POST isn't touched.
#[test]
fn message_that_has_become_too_long_is_sent_anew_where_that_is_safe() {
    for sent_before in 1..12 {
        let mut world = world::<Heap>(3);
        world.link.lost = Some(sent_before);
        let up = world.request(Code::PUT, "up", &body(700, 9));
        let down = world.request(Code::GET, "down", b"");
        while world.datagrams < sent_before {
            assert!(!world.run_steps(1));
        }
        world.client.limit_messages(110);
        world.longest = [0; 2];
        world.run();
        assert_eq!(world.responses[&up], (Code::CHANGED, b"ok".to_vec()));
        assert_eq!(world.responses[&down], (Code::CONTENT, body(700, 1)));
        assert_eq!(world.bodies[b"up".as_slice()], body(700, 9));
        assert!(world.handled[b"up".as_slice()] <= 2);
        assert!(world.longest[1] <= 110, "{:?}", world.longest);
    }
    let mut world = world::<Heap>(3);
    world.link.lost = Some(0);
    let post = world.request(Code::POST, "post", &body(60, 9));
    world.flush();
    world.longest = [0; 2];
    world.client.limit_messages(70);
    world.run();
    assert_eq!(world.responses[&post], (Code::CHANGED, body(60, 9)));
    assert!(world.longest[1] > 70);
    assert_eq!(world.handled[b"post".as_slice()], 1);
}
