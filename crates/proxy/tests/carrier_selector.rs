//! The selection of the mode `auto` on paths in virtual time (`docs/specs/auto.md`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "support/carrier_bench.rs"]
mod carrier_bench;

use std::time::Duration;

use carrier_bench::{Bench, blocked, losing_every, ms, secs, steady};
use hedgerow_core::Instant;
use hedgerow_proxy::{
    CarrierChoice, CarrierKind, CarrierRole, CarrierSelector, CarrierState, ProbeNumber,
};

#[test]
fn good_udp_carrier_is_taken_after_ten_probes() {
    let mut bench = Bench::new(steady(ms(30)), steady(ms(40)));
    bench.run(ms(1_829));
    assert_eq!(bench.state(), CarrierState::Probing);
    bench.run(secs(60));
    // Ten probes, 200 ms apart, and the last one's echo.
    assert_eq!(
        bench.states,
        [
            (ms(0), CarrierState::TcpOnly),
            (ms(0), CarrierState::Probing),
            (ms(1_830), CarrierState::UdpActive),
        ]
    );
    for (at, choice) in &bench.chosen {
        let expected = match *at < ms(1_830) {
            true => CarrierChoice::Tcp,
            false => CarrierChoice::Udp,
        };
        assert_eq!(*choice, expected, "{at:?}");
    }
    // A probe a second under use.
    let late = bench
        .probes
        .iter()
        .filter(|(at, carrier)| *at >= secs(10) && *at < secs(20) && *carrier == CarrierKind::Udp);
    assert_eq!(late.count(), 10);
}

#[test]
fn no_udp_carrier_is_tried_again_ever_more_seldom() {
    let mut bench = Bench::new(steady(ms(30)), steady(ms(40)));
    bench.opens = false;
    bench.run(secs(1_100));
    let at = [0, 2, 6, 14, 30, 62, 126, 254, 510, 766, 1_022].map(secs);
    assert_eq!(bench.opened, at);
    assert!(bench.chosen.iter().all(|it| it.1 == CarrierChoice::Tcp));
    assert!(bench.probes.is_empty());
}

#[test]
fn blocked_udp_carrier_is_left_within_three_seconds() {
    let mut bench = Bench::new(blocked(secs(20), secs(100), ms(30)), steady(ms(40)));
    bench.run(secs(60));
    let suspect = bench.states[3];
    let left = bench.states[4];
    assert_eq!(suspect.1, CarrierState::UdpSuspect);
    assert!(
        suspect.0 > secs(20) && suspect.0 <= ms(21_500),
        "{suspect:?}"
    );
    assert_eq!(left.1, CarrierState::TcpOnly);
    assert!(left.0 <= secs(23), "{left:?}");
    for (at, choice) in &bench.chosen {
        if (suspect.0..left.0).contains(at) {
            // While in doubt TCP has a copy of each.
            assert_eq!(*choice, CarrierChoice::Both, "{at:?}");
        } else if *at > left.0 {
            assert_eq!(*choice, CarrierChoice::Tcp, "{at:?}");
        }
    }
    // A dead one is opened anew, not only probed: the address may have changed.
    assert!(bench.opened.len() > 1);
    bench.run(secs(400));
    assert_eq!(bench.state(), CarrierState::UdpActive);
}

#[test]
fn one_lost_probe_makes_a_doubt_that_the_next_one_ends() {
    let mut bench = Bench::new(blocked(secs(20), secs(21), ms(30)), steady(ms(40)));
    bench.run(secs(40));
    let states: Vec<_> = bench.states.iter().map(|it| it.1).collect();
    assert_eq!(
        states[2..],
        [
            CarrierState::UdpActive,
            CarrierState::UdpSuspect,
            CarrierState::UdpActive
        ]
    );
    assert_eq!(bench.changes(), 1);
}

/// One of ten is the most that may be lost to come in, and ten of 32 drive out.
#[test]
fn loss_at_either_threshold_changes_at_most_once() {
    for (n, ends_on_udp) in [(20, true), (10, true), (6, true), (5, false), (4, false)] {
        let mut bench = Bench::new(losing_every(n, ms(30)), steady(ms(40)));
        bench.run(secs(1_800));
        let is_udp =
            bench.state() != CarrierState::TcpOnly && bench.state() != CarrierState::Probing;
        assert_eq!(is_udp, ends_on_udp, "one of {n}");
        let expected = usize::from(ends_on_udp);
        assert_eq!(bench.changes(), expected, "one of {n}");
    }
    // Within the gap what is there stays there: a carrier that was taken goes on with a fifth lost.
    for (n, stays) in [(5, true), (4, true), (3, false), (2, false)] {
        let mut count = 0;
        let way = Box::new(move |now: Duration| {
            count += u32::from(now > secs(10));
            (count == 0 || count % n != 0).then_some(ms(30))
        });
        let mut bench = Bench::new(way, steady(ms(40)));
        bench.run(secs(300));
        assert_eq!(bench.changes(), if stays { 1 } else { 2 }, "one of {n}");
    }
}

#[test]
fn delay_has_a_gap_between_coming_in_and_going_out() {
    let with_delay = |udp| {
        let mut bench = Bench::new(steady(ms(udp)), steady(ms(400)));
        bench.run(secs(300));
        bench
    };
    // 1.25 x 400 + 50 = 550.
    assert_eq!(with_delay(550).changes(), 1);
    assert_eq!(with_delay(551).changes(), 0);
    // Up to 2 x 400 + 200 = 1000 a carrier that has become slower is kept.
    for (later, changes) in [(990, 1), (1_010, 2)] {
        let way = Box::new(move |now: Duration| {
            // Slowly, so that no probe is overdue meanwhile.
            let grown = u64::try_from(now.as_millis()).unwrap() / 100;
            Some(ms((400 + grown).min(later)))
        });
        let mut bench = Bench::new(way, steady(ms(400)));
        bench.run(secs(200));
        assert_eq!(bench.changes(), changes, "{later} ms: {:?}", bench.states);
        assert!(
            bench
                .states
                .iter()
                .all(|it| it.1 != CarrierState::UdpSuspect)
        );
    }
}

/// What comes and goes costs at most one change in each rest, which grows.
#[test]
fn flapping_path_is_left_alone() {
    let way = Box::new(|now: Duration| (now.as_secs() / 8).is_multiple_of(2).then_some(ms(20)));
    let mut bench = Bench::new(way, steady(ms(40)));
    bench.run(secs(3_600));
    // 2 + 4 + ... + 256, and then one pair in more than 256 s.
    assert!(
        bench.changes() <= 2 * (8 + 3_600 / 256),
        "{}",
        bench.changes()
    );
    assert!(bench.changes() >= 2);
}

#[test]
fn idle_carrier_is_asked_seldom_and_at_once_when_used() {
    let mut bench = Bench::new(steady(ms(30)), steady(ms(40)));
    bench.run(secs(20));
    bench.every = None;
    bench.run(secs(100));
    let idle = bench
        .probes
        .iter()
        .filter(|(at, carrier)| *at > secs(35) && *carrier == CarrierKind::Udp);
    assert!((4..=5).contains(&idle.count()));
    // What is sent first goes both ways, for the last echo is old, and asks.
    bench.every = Some(ms(100));
    bench.next_datagram = bench.now;
    let before = bench.probes.len();
    bench.run(ms(100_500));
    let first = bench.chosen.iter().find(|it| it.0 >= secs(100)).unwrap();
    assert_eq!(first.1, CarrierChoice::Both);
    assert!(bench.probes[before].0 == secs(100));
    assert_eq!(bench.chosen.last().unwrap().1, CarrierChoice::Udp);
}

#[test]
fn what_is_too_long_goes_over_tcp() {
    let mut bench = Bench::new(steady(ms(30)), steady(ms(40)));
    bench.run(secs(10));
    let now = bench.now;
    assert_eq!(bench.selector.choose(now, 1_151), CarrierChoice::Udp);
    assert_eq!(bench.selector.choose(now, 1_152), CarrierChoice::Tcp);
    // One long datagram doesn't drive the others there.
    for _ in 0..32 {
        assert_eq!(bench.selector.choose(now, 100), CarrierChoice::Udp);
    }
    assert_eq!(bench.selector.choose(now, 100), CarrierChoice::Tcp);
}

#[test]
fn gateway_opens_nothing_and_measures_for_itself() {
    let mut selector = CarrierSelector::new(CarrierRole::Gateway, Instant::ZERO);
    assert_eq!(selector.poll_timeout(), None);
    assert!(!selector.poll_open(Instant::ZERO));
    selector.udp_opened(Instant::ZERO);
    assert_eq!(selector.state(), CarrierState::Probing);
    assert!(selector.poll_probe(Instant::ZERO).is_some());
    selector.udp_closed(Instant::ZERO);
    assert_eq!(selector.state(), CarrierState::TcpOnly);
    assert!(!selector.poll_open(Instant::ZERO + secs(1_000)));
}

#[test]
fn echo_that_answers_nothing_changes_nothing() {
    let now = Instant::ZERO;
    let mut selector = CarrierSelector::new(CarrierRole::Client, now);
    selector.udp_opened(now);
    let (carrier, number) = selector.poll_probe(now).unwrap();
    assert_eq!(carrier, CarrierKind::Udp);
    assert!(!selector.handle_echo(now, CarrierKind::Udp, ProbeNumber(99)));
    // Nor does one on the wrong carrier, or twice.
    assert!(!selector.handle_echo(now, CarrierKind::Tcp, number));
    assert!(selector.handle_echo(now, carrier, number));
    assert!(!selector.handle_echo(now, carrier, number));
    assert_eq!(selector.state(), CarrierState::Probing);
}
