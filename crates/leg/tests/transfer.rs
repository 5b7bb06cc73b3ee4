//! Bytes over links that lose, repeat and reorder, in virtual time.
#![cfg(feature = "alloc")]
#![allow(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod common;

use std::time::Duration;

use common::{DEVICE, GATEWAY, Heap, HeapHop, Hop, body, lossy};
use hedgerow_leg::{Config, Fixed, Recovery, ResetBy, ResetReason, Storage};
use hedgerow_sim::{Conditions, for_each_seed};

fn config(max_segment_len: usize, max_retransmit: u8) -> Config {
    Config {
        max_segment_len,
        max_retransmit,
        send_buffer: 4_096,
        receive_buffer: 4_096,
        ping_after: None,
        // As long as the other end may try, a minute apart.
        linger: Duration::from_secs(60) * (u32::from(max_retransmit) + 1),
        ..Config::default()
    }
}

/// A stream from the device and one from the gateway, bytes in both directions on both.
fn run_both_ways<S: Storage>(
    seed: u64,
    config: Config,
    conditions: Conditions,
    len: usize,
) -> Hop<S> {
    let mut hop = Hop::<S>::new(seed, config, conditions);
    let (from_device, from_gateway) = (body(len, 1), body(len / 2, 2));
    for at in [hop.gateway, hop.device] {
        hop.world.act(at, |end, _, _| end.app.reply = body(len, 3));
    }
    let device = hop.open(hop.device, &from_device);
    let gateway = hop.open(hop.gateway, &from_gateway);
    hop.world.run_until_idle().unwrap();
    hop.assert_carried(hop.gateway, device, &from_device);
    hop.assert_carried(hop.device, device, &body(len, 3));
    hop.assert_carried(hop.device, gateway, &from_gateway);
    hop.assert_carried(hop.gateway, gateway, &body(len, 3));
    for at in [hop.gateway, hop.device] {
        let end = hop.world.node(at);
        assert!(end.leg.is_empty(), "something is left");
        assert!(end.longest <= config.max_segment_len);
    }
    hop
}

#[test]
fn every_seed_completes_with_generous_tries() {
    for loss in [0.0, 0.05, 0.2] {
        for_each_seed(0..1_000, |seed| {
            run_both_ways::<Heap>(seed, config(64, 30), lossy(loss), 1_500);
        });
    }
}

#[test]
fn transfers_of_30_kb_complete_in_long_and_in_the_shortest_segments() {
    for loss in [0.0, 0.05, 0.2] {
        for_each_seed(0..100, |seed| {
            run_both_ways::<Heap>(seed, config(1_024, 30), lossy(loss), 30_000);
        });
        for_each_seed(0..5, |seed| {
            run_both_ways::<Heap>(seed, config(48, 30), lossy(loss), 30_000);
        });
    }
}

#[test]
fn form_of_fixed_capacity_and_the_constrained_profile_complete_as_well() {
    for_each_seed(0..100, |seed| {
        run_both_ways::<Fixed<2, 512>>(seed, config(64, 30), lossy(0.2), 3_000);
    });
    for_each_seed(0..100, |seed| {
        let config = Config {
            recovery: Recovery::CONSTRAINED,
            ..config(64, 30)
        };
        run_both_ways::<Heap>(seed, config, lossy(0.2), 600);
    });
}

#[test]
fn losing_any_one_segment_changes_nothing_for_the_application() {
    let run = |lost: Option<(bool, u64)>| {
        let mut hop = HeapHop::new(7, config(64, 8), Conditions::default());
        hop.world
            .act(hop.gateway, |end, _, _| end.app.reply = body(500, 3));
        if let Some((from_device, n)) = lost {
            let (from, to) = match from_device {
                true => (DEVICE, GATEWAY),
                false => (GATEWAY, DEVICE),
            };
            let direction = hop.world.direction(from, to);
            direction.fault(n, hedgerow_sim::Fault::Drop);
        }
        let stream = hop.open(hop.device, &body(700, 1));
        hop.world.run_until_idle().unwrap();
        hop.assert_carried(hop.gateway, stream, &body(700, 1));
        hop.assert_carried(hop.device, stream, &body(500, 3));
        let sent = |from, to| hop.world.account(from, to).sent;
        (sent(DEVICE, GATEWAY), sent(GATEWAY, DEVICE))
    };
    let (from_device, from_gateway) = run(None);
    assert!(from_device > 14 && from_gateway > 9);
    for n in 0..from_device {
        run(Some((true, n)));
    }
    for n in 0..from_gateway {
        run(Some((false, n)));
    }
}

/// Returns how many of `n` are expected at a share of `p`, and four standard deviations.
fn binomial(n: f64, p: f64) -> (f64, f64) {
    (n * p, 4.0 * (n * p * (1.0 - p)).sqrt())
}

#[test]
fn with_few_tries_each_transfer_completes_or_times_out_as_computed() {
    // One segment that is answered by one: OPEN with 20 bytes and the end, and its acknowledgement. A
    // transmission is in vain with 1 - 0.8 * 0.8 = 0.36, all five with 0.36^5 = 0.6 %.
    let conditions = Conditions {
        loss: 0.2,
        ..Conditions::default()
    };
    let config = Config {
        recovery: Recovery::CONSTRAINED,
        ..config(64, 4)
    };
    let (mut tried, mut failed) = (0_u32, 0_u32);
    for_each_seed(0..1_000, |seed| {
        for part in 0..5 {
            let mut hop = HeapHop::new(seed * 5 + part, config, conditions.clone());
            hop.world
                .act(hop.gateway, |end, _, _| end.app.is_one_way = true);
            let stream = hop.open(hop.device, &body(20, 1));
            hop.world.run_until_idle().unwrap();
            tried += 1;
            let (received, ended, _) = hop.outcome(hop.gateway, stream);
            match hop.outcome(hop.device, stream).2 {
                None => assert!(ended && received == body(20, 1), "hangs"),
                Some((reason, by)) => {
                    assert_eq!((reason, by), (ResetReason::Timeout, ResetBy::Leg));
                    failed += 1;
                }
            }
        }
    });
    let (expected, margin) = binomial(f64::from(tried), 0.36_f64.powi(5));
    println!("{failed} of {tried} failed, {expected:.1} +- {margin:.1} expected");
    assert!((f64::from(failed) - expected).abs() <= margin);
}

#[test]
fn with_default_tries_no_transfer_hangs() {
    let mut failed = 0;
    for_each_seed(0..1_000, |seed| {
        let mut hop = HeapHop::new(seed, config(64, 8), lossy(0.2));
        let stream = hop.open(hop.device, &body(3_000, 1));
        hop.world.run_until_idle().unwrap();
        let (received, ended, reset) = hop.outcome(hop.gateway, stream);
        let (_, _, own) = hop.outcome(hop.device, stream);
        assert!(body(3_000, 1).starts_with(received));
        match (reset, own) {
            (None, None) => assert!(ended && received.len() == 3_000, "seed {seed} hangs"),
            _ => failed += 1,
        }
    });
    // A segment needs 9 transmissions in vain, 0.36^9 = 0.01 %, and 70 of them are sent; most of those are
    // acknowledged by later ones as well.
    let (expected, margin) = binomial(1_000.0, 1.0 - (1.0 - 0.36_f64.powi(9)).powi(80));
    println!("{failed} of 1000 failed, {expected:.1} + {margin:.1} at most expected");
    assert!(f64::from(failed) <= expected + margin);
}

#[test]
fn slow_reader_loses_nothing_and_is_sent_no_more_than_it_has_room_for() {
    for_each_seed(0..30, |seed| {
        for (bytes, pause) in [(7, 30), (200, 5_000)] {
            let config = Config {
                receive_buffer: 512,
                ..config(64, 30)
            };
            let mut hop = HeapHop::new(seed, config, lossy(0.05));
            let slow = Some((bytes, Duration::from_millis(pause)));
            hop.world.act(hop.gateway, |end, _, _| end.app.slow = slow);
            let stream = hop.open(hop.device, &body(5_000, 1));
            hop.world.run_until_idle().unwrap();
            hop.assert_carried(hop.gateway, stream, &body(5_000, 1));
        }
    });
}

#[test]
fn window_that_is_closed_for_long_costs_few_probes() {
    let mut hop = HeapHop::new(1, config(64, 8), Conditions::default());
    let stream = hop.world.act(hop.device, |end, env, out| {
        let stream = end.open(env.now, body(6_000, 1));
        end.drive(env, out);
        stream
    });
    hop.world
        .act(hop.gateway, |end, _, _| end.app.unread.insert(stream));
    hop.world.run_for(Duration::from_secs(60)).unwrap();
    let before = hop.world.account(DEVICE, GATEWAY).sent;
    hop.world.run_for(Duration::from_secs(3_600)).unwrap();
    let probes = hop.world.account(DEVICE, GATEWAY).sent - before;
    assert!((58..=64).contains(&probes), "{probes}, one a minute");
    let (_, _, reset) = hop.outcome(hop.device, stream);
    assert_eq!(reset, None, "a closed window is no silence");
    hop.world.act(hop.gateway, |end, env, out| {
        end.app.unread.clear();
        end.drive(env, out);
    });
    hop.world.run_until_idle().unwrap();
    hop.assert_carried(hop.gateway, stream, &body(6_000, 1));
}

#[test]
fn loss_on_one_stream_does_not_stall_another() {
    let mut hop = HeapHop::new(3, config(64, 8), Conditions::default());
    let first = hop.open(hop.device, &body(2_000, 1));
    let second = hop.open(hop.device, &body(2_000, 2));
    // From now on, everything of the first stream is lost.
    let number = first.bits().to_be_bytes();
    let drop = move |datagram: &[u8]| datagram.get(1..5) == Some(number.as_slice());
    let direction = hop.world.direction(DEVICE, GATEWAY);
    direction.fault_each(hedgerow_sim::Fault::Drop, drop);
    hop.world.run_for(Duration::from_secs(8)).unwrap();
    let (received, ended, _) = hop.outcome(hop.gateway, second);
    assert!(ended && received == body(2_000, 2));
    assert!(!hop.outcome(hop.gateway, first).1);
    hop.world.run_until_idle().unwrap();
    let (_, _, reset) = hop.outcome(hop.device, first);
    assert_eq!(reset.unwrap().0, ResetReason::Timeout);
    let at = hop.world.node(hop.gateway).app.ended_at[&second];
    println!("second stream ended after {} ms", at.as_micros() / 1_000);
}

#[test]
fn efficiency_without_loss() {
    for (segment, most) in [(64, 1.60), (1_024, 1.05)] {
        let config = Config {
            send_buffer: 32_768,
            receive_buffer: 32_768,
            ..config(segment, 8)
        };
        let mut hop = HeapHop::new(1, config, Conditions::default());
        let stream = hop.open(hop.device, &body(1_000_000, 1));
        hop.world.run_until_idle().unwrap();
        hop.assert_carried(hop.gateway, stream, &body(1_000_000, 1));
        let total = hop.world.total();
        let ratio = total.sent_bytes as f64 / 1_000_000.0;
        let at = hop.world.node(hop.gateway).app.ended_at[&stream];
        println!(
            "segments of {segment}: {} segments, {ratio:.4} bytes a byte of payload, {} ms",
            total.sent,
            at.as_micros() / 1_000
        );
        assert!(ratio < most);
        let lost = hop.world.account(DEVICE, GATEWAY).sent_bytes;
        assert!(lost > 1_000_000);
    }
}
