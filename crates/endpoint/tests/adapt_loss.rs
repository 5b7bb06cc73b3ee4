//! Mode `translate`, the device adapts (docs/specs/translate-device.md), under loss: a TLS client that knows of no
//! gateway, a gateway without their key, and a device behind a lossy leg.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub
)]

#[path = "adapt/ends.rs"]
mod ends;
#[path = "adapt/tampering.rs"]
mod tampering;

mod common;

use common::{CLIENT, SERVER, body};
use ends::Setup;
use hedgerow_endpoint::{Config, LegConfig};
use hedgerow_handshake::Settings;
use hedgerow_leg::Role;
use hedgerow_record::{CipherSuite, LegForm, StreamApplication};
use hedgerow_sim::{Address, Conditions, for_each_seed};

/// What is asked: by GET or by POST, in one record or in as much as 30 blocks of 1,024 bytes have.
fn asking(setup: Setup, kind: u64) -> Setup {
    let long = 30 * 1_024;
    // HTTP's server takes no longer body from anybody.
    let longest = match setup.application {
        StreamApplication::Coap => long,
        StreamApplication::Http => 4_096,
    };
    let posted = match kind % 4 {
        0 | 2 => None,
        1 => Some(body(20)),
        _ => Some(body(longest)),
    };
    let answer = match kind % 4 {
        2 => body(long),
        _ => setup.answer,
    };
    Setup {
        posted,
        answer,
        ..setup
    }
}

fn connections_through(loss: f64) {
    for_each_seed(0..1_000, |seed| {
        let conditions = Conditions {
            loss,
            ..Conditions::rough()
        };
        let mut setup = Setup::new(seed, conditions);
        if seed % 2 == 1 {
            setup = setup.http();
        }
        if seed % 3 == 0 {
            setup.form = LegForm::Tls;
        }
        setup.has_alpn = seed % 5 == 0;
        let setup = asking(setup, seed / 2);
        let outcome = setup.run();
        outcome.assert_whole();
        assert_eq!(outcome.device().application, Some(setup.application));
        assert_eq!(outcome.device().form, Some(setup.form));
    });
}

#[test]
fn unmodified_client_gets_through_without_loss() {
    connections_through(0.0);
}

#[test]
fn unmodified_client_gets_through_one_loss_in_twenty() {
    connections_through(0.05);
}

#[test]
fn unmodified_client_gets_through_one_loss_in_five() {
    connections_through(0.2);
}

/// Loses datagram after datagram of a direction of the leg, one in each run, until there is none with the number.
fn lose_each_once(setup: &Setup, (from, to): (Address, Address)) {
    for n in 0.. {
        let mut setup = setup.clone();
        (setup.seed, setup.lost) = (n, Some((from, to, n)));
        let outcome = setup.run();
        outcome.assert_whole();
        if outcome.world.account(from, to).planted == 0 {
            // Three of the hop's handshake, two flights of TLS's, one of the application at least.
            assert!(n >= 6, "only {n} datagrams were lost");
            return;
        }
    }
}

#[test]
fn each_datagram_is_lost_once() {
    for kind in 0..4 {
        for way in [(CLIENT, SERVER), (SERVER, CLIENT)] {
            let setup = Setup::new(0, Conditions::default());
            lose_each_once(&asking(setup.clone(), kind), way);
            lose_each_once(&asking(setup.http(), kind), way);
        }
    }
}

/// The hop with RFC 6347's timers and five transmissions, and a leg with its own.
fn defaults(role: Role) -> Config {
    Config {
        handshake: Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM_8]),
        legs: Some(LegConfig::new(role)),
        ..Config::default()
    }
}

/// Runs one connection a seed, checks that each ends, and returns how many failed.
fn failures(kind_of: impl Fn(u64) -> u64) -> u32 {
    let mut failed = 0;
    for_each_seed(0..1_000, |seed| {
        let mut setup = Setup::new(seed, Conditions::rough());
        if seed % 2 == 1 {
            setup = setup.http();
        }
        setup.hop = defaults;
        let outcome = asking(setup, kind_of(seed)).run();
        outcome.assert_nothing_wrong();
        assert!(!outcome.has_hung());
        if outcome.client().answers.is_empty() {
            assert!(outcome.client().failure.is_some());
            failed += 1;
        } else {
            assert_eq!(outcome.device().requests.len(), 1);
        }
    });
    failed
}

/// Four standard deviations above what is expected of 1,000 at a share of `p`.
fn bound(p: f64) -> f64 {
    1_000.0 * p + 4.0 * (1_000.0 * p * (1.0 - p)).sqrt()
}

/// At 20 % loss each way a transmission is in vain with 1 - 0.8 * 0.8 = 0.36. The hop's handshake has three exchanges
/// of five transmissions; each segment of the leg nine, and there are no more than `segments` both ways.
fn share(segments: i32) -> f64 {
    1.0 - (1.0 - 0.36_f64.powi(5)).powi(3) * (1.0 - 0.36_f64.powi(9)).powi(segments)
}

/// GET and POST do not differ here: the leg gives up, and not the application.
#[test]
fn with_default_tries_failures_of_a_small_request_stay_within_the_bound() {
    let (failed, bound) = (failures(|seed| seed / 2 % 2), bound(share(20)));
    println!("GET, POST: {failed} of 1000 failed at 20 % loss each way; bound {bound:.0}");
    assert!(f64::from(failed) <= bound, "{failed} of 1000 failed");
}

#[test]
fn with_default_tries_failures_of_a_transfer_stay_within_the_bound() {
    let (failed, bound) = (failures(|_| 2), bound(share(80)));
    println!("30 blocks: {failed} of 1000 failed at 20 % loss each way; bound {bound:.0}");
    assert!(f64::from(failed) <= bound, "{failed} of 1000 failed");
}
