//! How many datagrams on UDP overtake those on TCP, in virtual time (`docs/specs/auto.md`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "support/carrier_bench.rs"]
mod carrier_bench;

use std::time::Duration;

use carrier_bench::{Bench, blocked, losing_every, ms, secs, steady};
use hedgerow_core::Instant;
use hedgerow_proxy::{CarrierChoice, CarrierKind, CarrierRole, CarrierSelector, CarrierState};

/// At most 32 datagrams pass one on TCP that may still be on its way, however slow TCP is.
#[test]
fn overtaking_is_bounded() {
    for tcp_delay in [ms(40), secs(1), secs(5)] {
        let mut bench = Bench::new(steady(ms(30)), steady(tcp_delay));
        bench.every = Some(ms(5));
        bench.run(secs(30));
        assert_eq!(bench.state(), CarrierState::UdpActive);
        // A datagram on TCP takes half of the round trip.
        let one_way = tcp_delay / 2;
        let mut arrival = Duration::ZERO;
        for (index, (at, choice)) in bench.chosen.iter().enumerate() {
            if *choice != CarrierChoice::Tcp {
                continue;
            }
            arrival = arrival.max(*at + one_way);
            let passed = bench.chosen[index..]
                .iter()
                .filter(|later| later.1 == CarrierChoice::Udp && later.0 + ms(15) < arrival);
            assert!(passed.count() <= 32, "{tcp_delay:?} at {at:?}");
        }
        if tcp_delay == ms(40) {
            assert_eq!(bench.chosen.last().unwrap().1, CarrierChoice::Udp);
        }
    }
}

/// How many datagrams of a hundred went on UDP alone, from then on.
fn share_on_udp(bench: &Bench, from: Duration) -> usize {
    let late: Vec<_> = bench.chosen.iter().filter(|it| it.0 >= from).collect();
    let by_udp = late.iter().filter(|it| it.1 == CarrierChoice::Udp);
    by_udp.count() * 100 / late.len()
}

fn probes_on_tcp(bench: &Bench) -> usize {
    let probes = bench.probes.iter();
    probes.filter(|it| it.1 == CarrierKind::Tcp).count()
}

/// However slow TCP is, UDP carries what it may: everything, where 32 datagrams take longer than an echo, and
/// otherwise 32 for each echo. Few probes are needed for it.
#[test]
fn slow_tcp_keeps_datagrams_from_udp_no_longer_than_it_must() {
    for (per_second, round_trip) in [
        (200, 40),
        (200, 150),
        (200, 200),
        (200, 240),
        (200, 1_000),
        (200, 5_000),
        (50, 600),
        (50, 1_000),
        (20, 1_000),
        (20, 3_000),
        (5, 5_000),
    ] {
        let mut bench = Bench::new(steady(ms(30)), steady(ms(round_trip)));
        bench.every = Some(ms(1_000 / per_second));
        bench.run(secs(60));
        let in_one_round_trip = usize::try_from(per_second * round_trip / 1_000).unwrap();
        let share = share_on_udp(&bench, secs(30));
        let probes = probes_on_tcp(&bench);
        println!("{per_second}/s, {round_trip} ms: {share} % on UDP, {probes} probes");
        // As many may have left before the next probe as go there from one to the next.
        let least = match in_one_round_trip {
            ..32 => 100,
            _ => 3_200 / (in_one_round_trip + 9),
        };
        assert!(
            share >= least,
            "{per_second}/s, {round_trip} ms: {share} %, at least {least} % expected"
        );
        // One a second, and beside that one behind each eighth of the 32 that go there in a round trip.
        let most = 60 + 4 * usize::try_from(60_000 / round_trip).unwrap();
        assert!(
            probes <= most,
            "{per_second}/s, {round_trip} ms: {probes} probes, at most {most} expected"
        );
    }
}

/// An echo that never comes, as where it found no room on its way, is made up for by a later one.
#[test]
fn lost_probes_on_tcp_keep_nothing_from_udp() {
    let mut bench = Bench::new(steady(ms(30)), losing_every(2, ms(100)));
    bench.every = Some(ms(5));
    bench.run(secs(60));
    assert_eq!(share_on_udp(&bench, secs(30)), 100);

    // All of half a minute, more than there are places; what is longest lost gives up its place.
    let mut bench = Bench::new(steady(ms(30)), blocked(Duration::ZERO, secs(30), ms(100)));
    bench.every = Some(ms(5));
    bench.run(secs(120));
    assert_eq!(share_on_udp(&bench, secs(90)), 100);
    let probes = probes_on_tcp(&bench);
    assert!(probes < 60, "{probes}");
}

/// A UDP carrier that replaces another one changes nothing of what is known of TCP.
#[test]
fn carrier_that_is_replaced_lets_no_more_overtake() {
    let mut now = Instant::ZERO;
    let mut selector = CarrierSelector::new(CarrierRole::Gateway, now);
    assert_eq!(selector.choose(now, 100), CarrierChoice::Tcp);
    let mut of_first = None;
    for _ in 0..3 {
        selector.udp_opened(now);
        // Good on UDP, and without an echo on TCP.
        for _ in 0..10 {
            while let Some((carrier, number)) = selector.poll_probe(now) {
                match carrier {
                    CarrierKind::Udp => assert!(selector.handle_echo(now, carrier, number)),
                    CarrierKind::Tcp => of_first = of_first.or(Some(number)),
                }
            }
            now = now + ms(200);
        }
        assert_eq!(selector.state(), CarrierState::UdpActive);
    }
    for _ in 0..32 {
        assert_eq!(selector.choose(now, 100), CarrierChoice::Udp);
    }
    let mut asked = 0;
    for _ in 0..100 {
        assert_eq!(selector.choose(now, 100), CarrierChoice::Tcp);
        while let Some((carrier, _)) = selector.poll_probe(now) {
            asked += u32::from(carrier == CarrierKind::Tcp);
        }
    }
    // One is behind all 32.
    assert_eq!(asked, 1);
    // The echo of the first one still counts, and tells of nothing that was sent later.
    assert!(selector.handle_echo(now, CarrierKind::Tcp, of_first.unwrap()));
    assert_eq!(selector.choose(now, 100), CarrierChoice::Tcp);
}
