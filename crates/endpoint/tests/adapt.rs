//! Mode `translate`, the device adapts (docs/specs/translate-device.md): a TLS client that knows of no gateway, a
//! gateway without their key, and a device behind a lossy leg.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub
)]

#[path = "adapt/ends.rs"]
mod ends;

mod common;

use std::time::Duration;

use common::{Known, Shown};
use ends::{END_TO_END, Setup, Tampering, USER, Way, contains};
use hedgerow_core::{ChannelError, PeerFault};
use hedgerow_record::{CipherSuite, LegForm, StreamApplication};
use hedgerow_sim::{Conditions, for_each_seed};

fn lossy(loss: f64) -> Conditions {
    Conditions {
        delay: Duration::from_millis(10)..=Duration::from_millis(60),
        loss,
        duplication: 0.1,
        reordering: 0.1,
        reordering_delay: Duration::from_millis(300),
        ..Conditions::default()
    }
}

fn calm() -> Conditions {
    Conditions {
        delay: Duration::from_millis(10)..=Duration::from_millis(10),
        ..Conditions::default()
    }
}

fn connections_through(loss: f64) {
    for_each_seed(0..1_000, |seed| {
        let mut setup = Setup::new(seed, lossy(loss));
        if seed % 2 == 1 {
            setup = setup.http();
        }
        if seed % 3 == 0 {
            setup.form = LegForm::Tls;
        }
        setup.has_alpn = seed % 5 == 0;
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

#[test]
fn every_suite_of_pre_shared_keys_gets_through_in_both_forms() {
    for suite in [
        CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
        CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256,
        CipherSuite::TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256,
    ] {
        for form in [LegForm::Tls, LegForm::Dtls] {
            let mut setup = Setup::new(1, calm());
            (setup.suite, setup.form) = (suite, form);
            setup.run().assert_whole();
            setup.http().run().assert_whole();
        }
    }
}

/// How many records each direction has when nobody interferes: what the cells below go through.
fn records() -> [(Way, usize); 2] {
    // ClientHello, ClientKeyExchange, ChangeCipherSpec, Finished, two of CoAP, Release, close_notify; and back.
    [(Way::ToDevice, 8), (Way::ToClient, 8)]
}

fn each_cell(tampering: impl Fn(Way, usize) -> Tampering, check: impl Fn(&Setup, &ends::Outcome)) {
    for application in [StreamApplication::Coap, StreamApplication::Http] {
        for form in [LegForm::Dtls, LegForm::Tls] {
            for (way, count) in records() {
                for number in 0..count {
                    let mut setup = Setup::new(3, calm());
                    if application == StreamApplication::Http {
                        setup = setup.http();
                    }
                    setup.form = form;
                    setup.tampering = tampering(way, number);
                    let outcome = setup.run();
                    outcome.assert_nothing_wrong();
                    check(&setup, &outcome);
                }
            }
        }
    }
}

/// Whether request and answer arrived, so that what was tampered with came behind them or not at all.
fn is_whole(outcome: &ends::Outcome) -> bool {
    outcome.client().answers.len() == 1 && outcome.device().requests.len() == 1
}

#[test]
fn flipped_bit_of_any_record_is_detected() {
    for byte in [0, 1, 3, 4, 5, 6, 9, 12, 20, 30] {
        each_cell(
            |way, number| Tampering::Flip(way, number, byte),
            |setup, outcome| {
                assert!(
                    outcome.is_detected() || is_whole(outcome),
                    "{:?}",
                    setup.tampering
                );
            },
        );
    }
}

#[test]
fn flipped_octet_on_the_leg_is_detected() {
    for way in [Way::ToDevice, Way::ToClient] {
        for at in (0..420).step_by(7) {
            let mut setup = Setup::new(3, calm());
            setup.tampering = Tampering::FlipOnLeg(way, at);
            let outcome = setup.run();
            outcome.assert_nothing_wrong();
            assert!(outcome.is_detected() || is_whole(&outcome), "{way:?} {at}");
        }
    }
}

#[test]
fn dropped_replayed_reordered_and_reflected_records_are_detected() {
    for kind in 0..4 {
        each_cell(
            |way, number| match kind {
                0 => Tampering::Drop(way, number),
                1 => Tampering::Replay(way, number),
                2 => Tampering::Swap(way, number),
                _ => Tampering::Reflect(way, number + 1),
            },
            |setup, outcome| {
                assert!(
                    outcome.is_detected() || is_whole(outcome),
                    "{:?}",
                    setup.tampering
                );
            },
        );
    }
}

#[test]
fn injected_alerts_end_a_handshake_and_no_session_in_order() {
    const CLOSE: &[u8] = &[21, 3, 3, 0, 2, 1, 0];
    const FATAL: &[u8] = &[21, 3, 3, 0, 2, 2, 40];
    for bytes in [CLOSE, FATAL] {
        each_cell(
            |way, number| Tampering::Inject(way, number, bytes),
            |setup, outcome| {
                assert!(
                    outcome.is_detected() || is_whole(outcome),
                    "{:?}",
                    setup.tampering
                );
            },
        );
    }
}

#[test]
fn end_before_close_notify_is_truncation_and_no_orderly_close() {
    each_cell(Tampering::End, |setup, outcome| {
        let Tampering::End(way, _) = setup.tampering else {
            panic!("another cell");
        };
        assert!(
            outcome.is_truncated(way) || outcome.is_detected() || is_whole(outcome),
            "{:?}",
            setup.tampering
        );
        if outcome.client().answers.is_empty() {
            assert!(!outcome.client().is_closed || outcome.is_detected());
        }
    });
    // In mid-session, of either direction, it is called what it is.
    for (way, number) in [(Way::ToDevice, 6), (Way::ToClient, 6)] {
        let mut setup = Setup::new(3, calm());
        setup.tampering = Tampering::End(way, number);
        assert!(setup.run().is_truncated(way), "{way:?}");
    }
}

/// Without ALPN the gateway alone says which application is meant. Changed, nothing is asked and nothing answered.
#[test]
fn changed_port_tag_turns_no_application_into_the_other() {
    for mut setup in [Setup::new(4, calm()), Setup::new(4, calm()).http()] {
        let meant = setup.application;
        for port in [443, 5_684, 0, 80] {
            setup.port = port;
            let outcome = setup.run();
            outcome.assert_nothing_wrong();
            let is_meant = port == meant.port_tag();
            let requests = outcome.device().requests.len();
            assert_eq!(requests, usize::from(is_meant), "{meant:?} {port}");
            assert_eq!(outcome.client().answers.len(), usize::from(is_meant));
        }
        // With a name in the transcript the tag says nothing.
        setup.has_alpn = true;
        setup.port = 0;
        setup.run().assert_whole();
    }
}

#[test]
fn gateway_with_the_hops_key_or_another_key_is_neither_end() {
    let other: &[u8] = b"another key of two ends";
    let mut wrong = Setup::new(5, calm());
    wrong.client_key = Shown::end_to_end(USER, other);
    let mut unknown = Setup::new(5, calm());
    unknown.client_key = Shown::end_to_end(b"stranger", END_TO_END);
    // The device has the very key, but for one hop: it isn't the one that counts here.
    let mut hop = Setup::new(5, calm());
    hop.device_keys = Known::new(&[(USER, END_TO_END)]);
    let refusals: Vec<_> = [wrong, unknown, hop]
        .map(|setup| {
            let outcome = setup.run();
            assert!(outcome.device().requests.is_empty());
            assert!(!outcome.client().is_established);
            outcome.client().failure
        })
        .into();
    // All three look alike (docs/specs/end-to-end-keys.md).
    let refused = Some(ChannelError::Peer(PeerFault::CredentialsRefused));
    assert_eq!(refusals, [refused; 3]);
}

#[test]
fn gateway_sees_the_handshake_and_nothing_of_what_is_said() {
    for form in [LegForm::Tls, LegForm::Dtls] {
        let mut setup = Setup::new(6, calm()).http();
        setup.form = form;
        let outcome = setup.run();
        outcome.assert_whole();
        assert!(!contains(&outcome.gateway().seen, b"HTTP/1.1"));
    }
}
