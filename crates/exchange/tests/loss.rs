//! Exchanges over a link that loses, duplicates and reorders, in virtual time.
#![cfg(feature = "alloc")]
#![allow(
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    missing_docs
)]

mod common;

use std::time::Duration;

use common::{Answer, Link, World, body};
use hedgerow_coap::{Code, Message};
use hedgerow_core::DropReason;
use hedgerow_exchange::{
    Config, Fixed, Heap, OutgoingRequest, RequestError, Storage, TransmissionParameters,
};

const BLOCK: usize = 64;
const BLOCKS: usize = 30;

/// A GET answers with a long body, a POST with the body it got, anything else with little; a
/// request for `slow` in its path is answered after the empty Acknowledgement.
fn handler(message: &Message<'_>) -> Answer {
    let path = message
        .option(hedgerow_coap::OptionNumber::URI_PATH)
        .unwrap()
        .value();
    let after = match path.starts_with(b"slow") {
        true => Duration::from_secs(1),
        false => Duration::ZERO,
    };
    let (code, payload) = match message.code() {
        Code::GET if path.ends_with(b"long") => (Code::CONTENT, body(BLOCK * BLOCKS - 7, 1)),
        Code::GET => (Code::CONTENT, b"21.5".to_vec()),
        Code::POST => (Code::CHANGED, message.payload().to_vec()),
        _ => (Code::CHANGED, Vec::new()),
    };
    Answer {
        code,
        payload,
        after,
    }
}

fn config(max_retransmit: u8) -> Config {
    let transmission = TransmissionParameters {
        max_retransmit,
        ..TransmissionParameters::default()
    };
    Config {
        max_block_szx: 2,
        max_message_len: 256,
        ..Config::new(transmission)
    }
}

/// The requests of a run, each with the response it must get.
fn requests<S: Storage>(world: &mut World<S>) -> Vec<(OutgoingRequest, &'static str, Vec<u8>)> {
    let long = body(BLOCK * BLOCKS - 7, 1);
    let upload = body(BLOCK * BLOCKS, 2);
    let both = body(BLOCK * 5 + 1, 3);
    vec![
        (
            world.request(Code::GET, "short", b""),
            "short",
            b"21.5".to_vec(),
        ),
        (world.request(Code::PUT, "slow", b"on"), "slow", Vec::new()),
        (world.request(Code::GET, "long", b""), "long", long.clone()),
        (
            world.request(Code::GET, "slow-long", b""),
            "slow-long",
            long,
        ),
        (
            world.request(Code::PUT, "upload", &upload),
            "upload",
            Vec::new(),
        ),
        (world.request(Code::POST, "both", &both), "both", both),
    ]
}

fn assert_complete<S: Storage>(
    world: &World<S>,
    requests: &[(OutgoingRequest, &'static str, Vec<u8>)],
    run: &str,
) {
    for (request, path, expected) in requests {
        let response = world.responses.get(request);
        let (code, payload) = response
            .unwrap_or_else(|| panic!("{run}: {path} failed: {:?}", world.failures.get(request)));
        assert!(code.is_success(), "{run}: {path} answered {code}");
        assert_eq!(payload, expected, "{run}: {path}");
        assert_eq!(world.handled[path.as_bytes()], 1, "{run}: {path}");
    }
    assert_eq!(world.bodies[b"upload".as_slice()], body(BLOCK * BLOCKS, 2));
    assert_eq!(world.client.usage().outgoing, 0, "{run}");
    assert_eq!(world.client.usage().bodies_len, 0, "{run}");
}

#[test]
fn losing_any_one_message_changes_nothing_for_the_application() {
    let run = |lost| {
        let link = Link {
            lost,
            ..Link::default()
        };
        let mut world = World::<Heap>::new(7, config(4), link, handler);
        let requests = requests(&mut world);
        world.run();
        assert_complete(&world, &requests, &format!("message {lost:?} lost"));
        world.datagrams
    };
    let all = run(None);
    // Five transfers of 30, 30, 30, 6 and 6 blocks, and four messages where a response is separate.
    assert!(all > 2 * (3 * BLOCKS + 10), "{all}");
    for lost in 0..all {
        run(Some(lost));
    }
}

const LOSSY: Link = Link {
    loss_percent: 20,
    duplication_percent: 20,
    jitter: Duration::from_millis(500),
    lost: None,
};

#[test]
fn with_15_retransmissions_every_seed_completes() {
    for seed in 0..1_000 {
        let mut world = World::<Heap>::new(seed, config(15), LOSSY, handler);
        let requests = requests(&mut world);
        world.run();
        assert_complete(&world, &requests, &format!("seed {seed}"));
    }
}

#[test]
fn form_of_fixed_capacity_completes_as_well() {
    for seed in 0..100 {
        let mut world =
            World::<Fixed<8, 256, 256, 10, 2_100>>::new(seed, config(15), LOSSY, handler);
        let requests = requests(&mut world);
        world.run();
        assert_complete(&world, &requests, &format!("seed {seed}"));
    }
}

/// Returns how many of `n` are expected at a share of `p`, and four standard deviations.
fn binomial(n: f64, p: f64) -> (f64, f64) {
    (n * p, 4.0 * (n * p * (1.0 - p)).sqrt())
}

/// Runs every seed with RFC 7252's parameters; returns requests tried and failed.
fn with_defaults(link: Link, path: &'static str, per_seed: usize) -> (f64, f64) {
    let (mut tried, mut failed) = (0, 0);
    for seed in 0..1_000 {
        let mut world = World::<Heap>::new(seed, config(4), link, handler);
        let sent: Vec<_> = (0..per_seed)
            .map(|_| world.request(Code::GET, path, b""))
            .collect();
        world.run();
        for request in sent {
            tried += 1;
            match world.failures.get(&request) {
                None => assert!(world.responses.contains_key(&request), "seed {seed}"),
                Some(error) => {
                    assert_eq!(*error, RequestError::AcknowledgementTimeout, "seed {seed}");
                    failed += 1;
                }
            }
        }
        assert_eq!(
            world.responses.len() + world.failures.len(),
            per_seed,
            "seed {seed}"
        );
    }
    (f64::from(tried), f64::from(failed))
}

#[test]
fn with_the_rfcs_parameters_the_share_of_timeouts_is_the_computed_one() {
    // One transmission is answered if neither it nor its Acknowledgement is lost: 0.8 * 0.8. So it
    // is in vain with 1 - 0.64 = 0.36, and all five (MAX_RETRANSMIT 4) are with 0.36^5 = 0.6 %.
    let loss_only = Link {
        duplication_percent: 0,
        ..LOSSY
    };
    let request = 0.36_f64.powi(5);
    let (tried, failed) = with_defaults(loss_only, "short", 10);
    let (expected, margin) = binomial(tried, request);
    println!(
        "20 % loss: {failed} of {tried} requests failed; {expected:.1} +- {margin:.1} expected"
    );
    assert!((failed - expected).abs() <= margin);

    // A duplicated request is answered twice. It arrives once with 0.8 * 0.8 and twice with
    // 0.8 * 0.2, and its answers are all lost with 0.2 and 0.2^2: 0.2 + 0.64 * 0.2 + 0.16 * 0.04.
    let request = (0.2 + 0.64 * 0.2 + 0.16 * 0.04_f64).powi(5);
    let (tried, failed) = with_defaults(LOSSY, "short", 10);
    let (expected, margin) = binomial(tried, request);
    println!("and 20 % duplication: {failed} of {tried}; {expected:.1} +- {margin:.1} expected");
    assert!((failed - expected).abs() <= margin);

    // A transfer of 30 blocks is 30 such requests in a row.
    let transfer = 1.0 - (1.0 - request).powi(BLOCKS as i32);
    let (tried, failed) = with_defaults(LOSSY, "long", 1);
    let (expected, margin) = binomial(tried, transfer);
    println!("30 blocks: {failed} of {tried} failed; {expected:.1} +- {margin:.1} expected");
    assert!((failed - expected).abs() <= margin);
}

#[test]
fn history_of_30_kb_is_read_and_image_of_100_kb_is_written_over_20_percent_loss() {
    fn meter(message: &Message<'_>) -> Answer {
        let payload = match message.code() {
            Code::GET => body(30_000, 5),
            _ => Vec::new(),
        };
        Answer {
            code: Code::CONTENT,
            payload,
            after: Duration::ZERO,
        }
    }
    let config = Config {
        max_block_szx: 6,
        max_message_len: 1_152,
        ..config(15)
    };
    let image = body(100_000, 6);
    let mut world = World::<Heap>::new(42, config, LOSSY, meter);
    let history = world.request(Code::GET, "history", b"");
    let write = world.request(Code::PUT, "image", &image);
    world.run();
    assert_eq!(world.responses[&history].1, body(30_000, 5));
    assert!(world.responses[&write].0.is_success());
    assert_eq!(world.bodies[b"image".as_slice()], image);
    assert_eq!(world.handled[b"history".as_slice()], 1);
    assert_eq!(world.handled[b"image".as_slice()], 1);
    assert!(world.drops.contains_key(&DropReason::Duplicate));
}

#[test]
fn new_association_at_any_moment_loses_nothing_but_a_post_under_way() {
    let mut failures = 0;
    for steps in 1.. {
        let mut world = World::<Heap>::new(9, config(4), Link::default(), handler);
        let requests = requests(&mut world);
        if world.run_steps(steps) {
            break;
        }
        world.restart();
        world.run();
        for (request, path, expected) in requests {
            let run = format!("{path}, new association after {steps} steps");
            match world.failures.get(&request) {
                Some(error) => {
                    assert_eq!(*error, RequestError::AssociationRestarted, "{run}");
                    assert_eq!(path, "both", "{run}");
                    failures += 1;
                }
                None => assert_eq!(world.responses[&request].1, expected, "{run}"),
            }
            // At most once under each association.
            let handled = world.handled.get(path.as_bytes());
            assert!(handled.is_none_or(|handled| *handled <= 2), "{run}");
        }
        assert_eq!(world.client.usage().bodies_len, 0, "{steps}");
    }
    assert!(failures > 0);
}
