//! A device of mode `itls` that wants requests to be fresh (RFC 9175 §2.3), and a gateway that holds them back.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;
#[path = "common/inner.rs"]
mod inner;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use common::{defaults, fresh};
use hedgerow_coap::Code;
use hedgerow_core::DropReason;
use hedgerow_endpoint::Config;
use hedgerow_sim::World;
use inner::{Net, Side, at, shown, trio};

type Case = (Option<u64>, i32, Code, u32);

fn in_both_layers<const N: usize>(cases: [Case; N]) -> impl Iterator<Item = (bool, Case)> {
    let each = move |light_layer| cases.into_iter().map(move |case| (light_layer, case));
    [false, true].into_iter().flat_map(each)
}

fn run(world: &mut Net, seconds: u64) {
    world.run_for(Duration::from_secs(seconds)).unwrap();
}

/// Held back: the request, then the request with the device's Echo value (RFC 9175 §2.3), both for longer than
/// the device takes. What has no value is challenged and comes again; what has an old one is refused for good.
#[test]
fn delayed_request_is_carried_out_late_unless_the_device_asks_for_freshness() {
    for (light_layer, (fresh_within, held, code, carried_out)) in in_both_layers([
        (None, 0, Code::CHANGED, 1),
        (Some(10), 0, Code::CHANGED, 1),
        (Some(10), 1, Code::UNAUTHORIZED, 0),
        (Some(30), 1, Code::CHANGED, 1),
    ]) {
        let within = fresh_within.map(Duration::from_secs);
        let config = Config {
            light_layer,
            ..fresh(defaults(), within)
        };
        let mut world = World::new(7);
        let trio = trio(&mut world, &config);
        at(&mut world, trio.internet, |host, env, out| {
            host.ask(env, out, &shown(), Code::GET, b"4")
        });
        run(&mut world, 5);
        assert_eq!(trio.internet(&world).responses.len(), 1);
        let kept = Rc::new(RefCell::new(None));
        let keep = Rc::clone(&kept);
        let mut passing = held;
        trio.attack(&mut world, move |to, message| {
            if to == Side::Internet || passing > 0 {
                passing -= i32::from(to == Side::Device);
                return vec![(to, message)];
            }
            keep.borrow_mut().get_or_insert(message);
            Vec::new()
        });
        let asked = at(&mut world, trio.internet, |host, env, out| {
            host.ask(env, out, &shown(), Code::POST, b"unlock")
        });
        run(&mut world, 20);
        assert!(!trio.device(&world).handled.contains_key(&b"unlock"[..]));
        trio.act(&mut world, |gateway, env, out| {
            gateway.attack = None;
            let kept = kept.take().unwrap();
            gateway.inject(env, Side::Device, &kept, out);
        });
        run(&mut world, 60);
        let name = format!("{light_layer}, {fresh_within:?}, {held}");
        let [internet, device] = [trio.internet(&world), trio.device(&world)];
        assert_eq!(internet.responses[&asked].0, code, "{name}");
        let count = device.handled.get(&b"unlock"[..]).copied().unwrap_or(0);
        assert_eq!(count, carried_out, "{name}");
        let refused = device.endpoint.dropped(DropReason::NotFresh);
        let too_old = u64::from(code == Code::UNAUTHORIZED);
        assert_eq!(refused, fresh_within.map_or(0, |_| 1 + too_old), "{name}");
    }
}
