//! How long mode `itls` takes to the first answer: the table "Round trips" of docs/specs/itls.md, in virtual time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;
#[path = "common/inner.rs"]
mod inner;

use std::time::Duration;

use common::{CLIENT, SERVER, defaults};
use hedgerow_coap::Code;
use hedgerow_sim::{Conditions, World};
use inner::{DEVICE, GATEWAY, Net, Trio, at, shown, trio};

/// One way on the Internet end's hop and on the device's.
const NEAR: Duration = Duration::from_millis(50);
const FAR: Duration = Duration::from_millis(70);
/// A round trip between the ends, over both hops.
const BOTH: Duration = Duration::from_millis(2 * (50 + 70));

fn world() -> (Net, Trio) {
    let mut world = World::new(7);
    let trio = trio(&mut world, &defaults());
    for (one, other, delay) in [(CLIENT, SERVER, NEAR), (GATEWAY, DEVICE, FAR)] {
        for (from, to) in [(one, other), (other, one)] {
            world.direction(from, to).set_conditions(Conditions {
                delay: delay..=delay,
                ..Conditions::default()
            });
        }
    }
    (world, trio)
}

/// Asks, and returns how long the answer took, to a millisecond.
fn time_of_an_answer(world: &mut Net, trio: Trio, payload: &[u8]) -> Duration {
    let begin = world.now();
    let asked = at(world, trio.internet, |host, env, out| {
        host.ask(env, out, &shown(), Code::POST, payload)
    });
    while !trio.internet(world).responses.contains_key(&asked) {
        world.run_for(Duration::from_millis(1)).unwrap();
        let took = world.now().saturating_since(begin);
        assert!(took < Duration::from_secs(2), "no answer");
    }
    assert_eq!(trio.device(world).handled[payload], 1);
    world.now().saturating_since(begin)
}

/// One round trip for the two hellos, and one for request and answer.
#[test]
fn one_round_trip_establishes_the_inner_session_where_both_outer_ones_are_there() {
    let (mut world, trio) = world();
    trio.act(&mut world, |gateway, env, out| gateway.open_hop(env, out));
    world.run_for(Duration::from_secs(5)).unwrap();
    let before = trio.gateway(&world).hops;
    assert_eq!(time_of_an_answer(&mut world, trio, b"first"), 2 * BOTH);
    assert_eq!(time_of_an_answer(&mut world, trio, b"second"), BOTH);
    assert_eq!(trio.gateway(&world).hops, before);
}

/// The gateway begins its own session when OPEN arrives: three round trips on the device's hop, one of them for the
/// cookie, and OPEN follows with nothing in between.
#[test]
fn session_with_the_device_in_full_takes_three_round_trips_of_its_hop_more() {
    let (mut world, trio) = world();
    let hop = 3 * 2 * FAR;
    let took = time_of_an_answer(&mut world, trio, b"first");
    assert_eq!(took, 2 * BOTH + hop);
    assert_eq!(trio.gateway(&world).hops, 1);
}
