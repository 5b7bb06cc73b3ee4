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
use hedgerow_core::{ChannelError, Env, Instant, PeerFault};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{AdaptedConnection, AdaptedFault};
use hedgerow_record::{CipherSuite, LegForm, StreamApplication};
use hedgerow_sim::{Conditions, TestRng, for_each_seed};

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

/// All that the gateway has of another connection of the same two ends, under the same keys: each record takes the place of
/// the one with its number.
#[test]
fn record_of_another_connection_is_detected() {
    for application in [StreamApplication::Coap, StreamApplication::Http] {
        for form in [LegForm::Dtls, LegForm::Tls] {
            let run = |seed, other, tampering| {
                let mut setup = Setup::new(seed, calm());
                if application == StreamApplication::Http {
                    setup = setup.http();
                }
                (setup.form, setup.other, setup.tampering) = (form, other, tampering);
                setup.run()
            };
            let none = || [Vec::new(), Vec::new()];
            let before = run(7, none(), Tampering::None);
            before.assert_whole();
            let other = before.records();
            let own = run(3, none(), Tampering::None).records();
            for (index, way) in [Way::ToDevice, Way::ToClient].into_iter().enumerate() {
                assert!(own[index].len() >= 5, "{way:?}");
                let mut protected = 0;
                for number in 0..own[index].len().min(other[index].len()) {
                    let outcome = run(3, other.clone(), Tampering::Splice(way, number));
                    outcome.assert_nothing_wrong();
                    if own[index][number] == other[index][number] {
                        outcome.assert_whole();
                        continue;
                    }
                    protected += 1;
                    assert!(outcome.is_detected(), "{form:?} {way:?} {number}");
                }
                // Hello, Finished and at least two of the application.
                assert!(protected >= 4, "{way:?} {protected}");
            }
        }
    }
}

#[test]
fn delayed_records_are_accepted_while_the_connection_lasts() {
    each_cell(Tampering::Delay, |setup, outcome| {
        outcome.assert_whole();
        // Each direction has at least five.
        let is_there = matches!(setup.tampering, Tampering::Delay(_, 0..5));
        assert!(outcome.has_delayed() || !is_there, "{:?}", setup.tampering);
    });
}

#[test]
fn one_form_for_the_other_establishes_nothing() {
    for application in [StreamApplication::Coap, StreamApplication::Http] {
        for form in [LegForm::Dtls, LegForm::Tls] {
            for way in [Way::ToDevice, Way::ToClient] {
                let mut setup = Setup::new(8, calm());
                if application == StreamApplication::Http {
                    setup = setup.http();
                }
                (setup.form, setup.tampering) = (form, Tampering::OtherForm(way));
                let outcome = setup.run();
                outcome.assert_nothing_wrong();
                let (client, device) = (outcome.client(), outcome.device());
                assert!(!client.is_established && device.application.is_none());
                assert!(client.failure.is_some(), "{form:?} {way:?}");
                assert!(way == Way::ToClient || device.fault.is_some(), "{form:?}");
            }
        }
    }
}

/// Another device that knows the same user, with a key of its own as it has to be.
#[test]
fn another_device_hasnt_the_key() {
    let mut setup = Setup::new(9, calm());
    setup.device_keys = Known::end_to_end(&[(USER, b"the key of another device")]);
    let outcome = setup.run();
    assert!(!outcome.client().is_established && outcome.device().application.is_none());
    let refused = ChannelError::Peer(PeerFault::CredentialsRefused);
    assert_eq!(outcome.client().failure, Some(refused));
    assert!(outcome.device().fault.is_some());
}

/// A ClientHello with a name in it that it hadn't (RFC 6066 §3).
fn named(hello: &[u8], name: &str) -> Vec<u8> {
    let name_len = u8::try_from(name.len()).unwrap();
    let mut extension = vec![0, 0, 0, name_len + 5, 0, name_len + 3, 0, 0, name_len];
    extension.extend_from_slice(name.as_bytes());
    let mut hello = hello.to_vec();
    // Record header, handshake header, version, random, session ID, cipher suites, compression methods.
    let session_id = 5 + 4 + 2 + 32;
    let suites = session_id + 1 + usize::from(hello[session_id]);
    let suites_len = u16::from_be_bytes([hello[suites], hello[suites + 1]]);
    let compression = suites + 2 + usize::from(suites_len);
    let extensions = compression + 1 + usize::from(hello[compression]);
    // Each length that counts it; of the handshake message's three octets the last two.
    for at in [3, 7, extensions] {
        let len = u16::from_be_bytes([hello[at], hello[at + 1]]);
        let len = len + u16::try_from(extension.len()).unwrap();
        hello[at..at + 2].copy_from_slice(&len.to_be_bytes());
    }
    hello.extend(extension);
    hello
}

#[test]
fn device_looks_itself_whether_the_name_is_its_own() {
    const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 3, 0, 2, 2, 112];
    let setup = |names: &[&str]| {
        let mut setup = Setup::new(10, calm());
        setup.form = LegForm::Tls;
        setup.names = names.iter().map(ToString::to_string).collect();
        setup
    };
    let whole = setup(&["lamp.example"]).run();
    // Who asks for none is served; the key tells that the device is the right one.
    whole.assert_whole();
    let hello = whole.records()[0][0].clone();
    for (names, asked, is_own) in [
        (&["lamp.example"][..], "lamp.example", true),
        (&["lamp.example"], "LAMP.Example", true),
        (&["meter.example", "lamp.example"], "lamp.example", true),
        (&[], "lamp.example", true),
        (&["meter.example"], "lamp.example", false),
        (&["lamp.example"], "lamp.example.org", false),
        (&["lamp.example"], "amp.example", false),
    ] {
        let hello = named(&hello, asked);
        let mut rng = TestRng::stream(10, 1);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let config = setup(names).config();
        let keys = Known::end_to_end(&[(USER, END_TO_END)]);
        let connection =
            AdaptedConnection::<_, _, Shown>::new(SoftCrypto, keys, config, 5_684, env);
        let mut connection = connection.unwrap();
        let mut fault = None;
        for octet in hello {
            assert_eq!(connection.push(&[octet]), Ok(1));
            while fault.is_none() {
                match connection.poll(env) {
                    Ok(None) => break,
                    Ok(Some(_)) => {}
                    Err(error) => fault = Some(error),
                }
            }
        }
        let mut out = Vec::new();
        while connection.poll_transmit(env, &mut out).unwrap() {}
        match is_own {
            // A handshake record: the ServerHello.
            true => assert_eq!((fault, out[0]), (None, 22), "{asked}"),
            false => {
                assert_eq!(fault, Some(AdaptedFault::ServerName), "{asked}");
                assert_eq!(out, UNRECOGNIZED_NAME, "{asked}");
            }
        }
    }
    // A gateway that puts the right name in has changed the transcript. Had it left the wrong one, the device
    // would have said so.
    for (name, fault) in [
        ("lamp.example", None),
        ("meter.example", Some(AdaptedFault::ServerName)),
    ] {
        let mut setup = setup(&["lamp.example"]);
        setup.other[0] = vec![named(&hello, name)];
        setup.tampering = Tampering::Splice(Way::ToDevice, 0);
        let outcome = setup.run();
        outcome.assert_nothing_wrong();
        assert!(!outcome.client().is_established && outcome.client().failure.is_some());
        let found = outcome.device().fault;
        assert!(
            found.is_some() && (fault.is_none() || fault == found),
            "{found:?}"
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
