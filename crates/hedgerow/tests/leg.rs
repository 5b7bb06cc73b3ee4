//! A device opens a TLS connection through a gateway that copies bytes (`docs/specs/leg.md`): TLS client,
//! leg, DTLS session over a lossy link, and behind the gateway a plain stream and a TLS server. The records go over the
//! leg in either form (`docs/specs/translate-device.md`).
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    missing_docs
)]

#[path = "leg/ends.rs"]
mod ends;
#[path = "leg/forms.rs"]
mod forms;
#[path = "leg/hop.rs"]
mod hop;
#[path = "leg/session.rs"]
mod session;
#[path = "leg/setup.rs"]
mod setup;
#[path = "leg/tampering.rs"]
mod tampering;
#[path = "leg/terminate.rs"]
mod terminate;
#[path = "leg/tries.rs"]
mod tries;

use ends::{
    AUTHORITY, NAME, certificate_client, certificate_server, other_certificate_server, psk_client,
    psk_server,
};
use hedgerow_core::{ChannelError, PeerFault, PeerId, Psk};
use hedgerow_leg::ResetReason;
use hedgerow_record::LegForm;
use hedgerow_sim::for_each_seed;
use session::HOP_KEY;
use setup::{Outcome, Setup, assert_resisted, contains, request, response};
use tampering::{Tampering, WEAKEST, Way, Weakness};
use terminate::{TERMINATE_KEY, UPTIME};

const FORMS: [LegForm; 2] = [LegForm::Tls, LegForm::Dtls];

fn with_a_psk(loss: f64) {
    for form in FORMS {
        for_each_seed(0..1_000, |seed| {
            Setup::new(form, seed, loss).with_a_psk().assert_whole();
        });
    }
}

/// In form `tls`, which is a device's with a TLS engine: the other one is for engines that have no certificates.
fn with_a_certificate(loss: f64) {
    for_each_seed(0..1_000, |seed| {
        let (client, server) = (certificate_client(), certificate_server());
        Setup::new(LegForm::Tls, seed, loss)
            .run(client, server)
            .assert_whole();
    });
}

fn calm(form: LegForm) -> Outcome {
    Setup::new(form, 1, 0.0).with_a_psk()
}

fn attacking(form: LegForm, tampering: Tampering) -> Setup {
    Setup {
        tampering,
        ..Setup::new(form, 1, 0.0)
    }
}

fn attacked(form: LegForm, tampering: Tampering) -> Outcome {
    attacking(form, tampering).with_a_psk()
}

#[test]
fn device_reaches_a_tls_server_with_a_psk_without_loss() {
    with_a_psk(0.0);
}

#[test]
fn device_reaches_a_tls_server_with_a_psk_at_5_percent_loss() {
    with_a_psk(0.05);
}

#[test]
fn device_reaches_a_tls_server_with_a_psk_at_20_percent_loss() {
    with_a_psk(0.2);
}

#[test]
fn device_reaches_a_tls_server_with_an_ecdsa_certificate_without_loss() {
    with_a_certificate(0.0);
}

#[test]
fn device_reaches_a_tls_server_with_an_ecdsa_certificate_at_5_percent_loss() {
    with_a_certificate(0.05);
}

#[test]
fn device_reaches_a_tls_server_with_an_ecdsa_certificate_at_20_percent_loss() {
    with_a_certificate(0.2);
}

#[test]
fn service_that_is_not_listed_is_refused() {
    for form in FORMS {
        let outcome = Setup {
            service: b"other",
            ..Setup::new(form, 1, 0.0)
        }
        .with_a_psk();
        assert_eq!(outcome.reset, Some(ResetReason::Refused));
        assert!(outcome.gateway.copied.is_empty() && outcome.client.plaintext.is_empty());
    }
}

/// What each end says of a record that isn't the other one's.
const BAD_RECORD_MAC: ChannelError = ChannelError::Peer(PeerFault::AlertSent { description: 20 });

/// Whether a byte that went by is of a record under keys, behind its header.
fn is_sealed(calm: &Outcome, form: LegForm, at: usize) -> bool {
    let starts = &calm.gateway.starts;
    let is_switch = |&&(_, start): &&(Way, usize)| calm.gateway.copied[start] == CHANGE_CIPHER_SPEC;
    // Behind the later one of the two, with its header and its one byte.
    let switched = starts.iter().rfind(is_switch).unwrap().1 + 14;
    let is_of_header = starts.iter().any(|&(way, start)| {
        let len = match (way, form) {
            (Way::ToClient, LegForm::Dtls) => 13,
            _ => 5,
        };
        (start..start + len).contains(&at)
    });
    at >= switched && !is_of_header
}

#[test]
fn gateway_that_changes_a_byte_anywhere_ends_the_connection() {
    for form in FORMS {
        let calm = calm(form);
        let mut sealed = 0;
        for at in (0..calm.gateway.copied.len()).step_by(calm.gateway.copied.len() / 80) {
            let outcome = attacked(form, Tampering::Flip(at));
            assert!(assert_resisted("flip", at, &outcome), "byte {at}");
            if is_sealed(&calm, form, at) {
                let failures = [outcome.client.failure, outcome.server.failure];
                assert!(
                    failures.contains(&Some(BAD_RECORD_MAC)),
                    "{at} {failures:?}"
                );
                sealed += 1;
            }
        }
        assert!(sealed > 50, "{sealed}");
    }
}

#[test]
fn gateway_that_ends_the_streams_early_in_order_is_found_out() {
    for form in FORMS {
        let calm = calm(form);
        for at in (1..calm.gateway.copied.len()).step_by(calm.gateway.copied.len() / 40) {
            let tampering = Tampering::End(at);
            let outcome = attacked(form, tampering);
            let truncated = Some(ChannelError::Peer(PeerFault::Truncated));
            let failures = [outcome.client.failure, outcome.server.failure];
            // Leg and gateway called it an orderly end. Whoever still waited for close_notify knows better; and
            // if nobody did, nothing was cut off but the client's answer to the server's.
            let has_all = outcome.client.is_closed
                && outcome.client.plaintext == response()
                && outcome.server.plaintext == request();
            assert!(
                failures.contains(&truncated) || has_all,
                "at {at}: {failures:?}"
            );
            assert!(has_all || at + 100 < calm.gateway.copied.len(), "at {at}");
            assert!(outcome.reset.is_none(), "at {at}");
        }
    }
}

#[test]
fn gateway_that_repeats_or_reorders_is_found_out() {
    for form in FORMS {
        let calm = calm(form);
        let len = calm.gateway.copied.len();
        let [mut tampered, mut detected] = [0, 0];
        for at in (0..len).step_by(len / 40) {
            let cells: [(&str, Tampering); 2] = [
                ("repeat", Tampering::Repeat(at)),
                ("reorder", Tampering::Reorder(at)),
            ];
            for (cell, tampering) in cells {
                let outcome = attacked(form, tampering);
                let is_detected = assert_resisted(cell, at, &outcome);
                let failures = [outcome.client.failure, outcome.server.failure];
                let is_over = outcome.client.is_closed;
                if is_sealed(&calm, form, at) {
                    // A record that isn't whole then, and nothing behind it: the wait ends with the stream.
                    let truncated = Some(ChannelError::Peer(PeerFault::Truncated));
                    let has_reason =
                        failures.contains(&Some(BAD_RECORD_MAC)) || failures.contains(&truncated);
                    assert!(has_reason || is_over, "{cell} {at} {failures:?}");
                }
                let has_tampered = outcome.gateway.tampered.is_some();
                assert!(is_detected || !has_tampered || is_over, "{cell} {at}");
                tampered += u32::from(has_tampered);
                detected += u32::from(is_detected);
            }
        }
        println!("tampered {tampered}, detected {detected}");
        assert!(tampered > 70 && detected > tampered - 5);
    }
}

/// What is left out is found out by what follows on the same way, and nobody else finds it: without the rest of a
/// record its reader waits.
#[test]
fn gateway_that_leaves_a_byte_out_is_found_out_by_what_follows() {
    for form in FORMS {
        let len = calm(form).gateway.copied.len();
        let [mut detected, mut waiting] = [0, 0];
        for at in (0..len).step_by(len / 80) {
            let tampering = Tampering::Drop(at);
            let outcome = attacked(form, tampering);
            let is_detected = assert_resisted("drop", at, &outcome);
            let dropped = outcome.gateway.tampered.unwrap();
            if outcome.gateway.is_followed || !dropped.is_protected {
                let is_over = outcome.client.is_closed;
                assert!(is_detected || is_over, "{at} {dropped:?}");
                detected += 1;
            } else {
                assert!(!is_detected, "{at} {dropped:?}");
                waiting += 1;
            }
        }
        println!("detected {detected}, waiting {waiting}");
        assert!(detected > 60 && waiting > 0);
    }
}

#[test]
fn gateway_that_hands_bytes_on_late_is_not_found_out() {
    for form in FORMS {
        let len = calm(form).gateway.copied.len();
        for at in (0..len).step_by(len / 40) {
            let tampering = Tampering::Delay(at);
            let outcome = attacked(form, tampering);
            assert!(outcome.gateway.tampered.is_some(), "{at}");
            outcome.assert_whole();
        }
    }
}

/// Alerts of the gateway's own end a handshake, in which there are no keys yet, and never look like an end in order;
/// among protected records they are what a forged record is.
#[test]
fn alerts_of_the_gateway_are_found_out() {
    for form in FORMS {
        const CLOSE_NOTIFY: &[u8] = b"\x15\x03\x03\x00\x02\x01\x00";
        const HANDSHAKE_FAILURE: &[u8] = b"\x15\x03\x03\x00\x02\x02\x28";
        // As long as a sealed one.
        const SEALED: &[u8] = b"\x15\x03\x03\x00\x1aneither a nonce nor a tag.";
        let records = calm(form).gateway.records;
        assert!(records > 15, "{records}");
        let [mut in_handshake, mut in_session] = [0, 0];
        for number in 0..records {
            for alert in [CLOSE_NOTIFY, HANDSHAKE_FAILURE, SEALED] {
                let tampering = Tampering::Inject(number, alert);
                let outcome = attacked(form, tampering);
                assert_resisted("inject", number, &outcome);
                let place = outcome.gateway.tampered.unwrap();
                let (client, server) = (&outcome.client, &outcome.server);
                let failure = match place.way {
                    Way::ToServer => server.failure,
                    Way::ToClient => client.failure,
                };
                let sent =
                    |description| Some(ChannelError::Peer(PeerFault::AlertSent { description }));
                let received = |description| {
                    let authenticated = false;
                    Some(ChannelError::Peer(PeerFault::AlertReceived {
                        description,
                        authenticated,
                    }))
                };
                let whole = server.plaintext == request() && client.plaintext == response();
                if place.is_protected {
                    // bad_record_mac
                    assert!(
                        failure == sent(20) || whole,
                        "{number} {place:?} {failure:?}"
                    );
                    in_session += 1;
                } else {
                    let expected = match alert {
                        CLOSE_NOTIFY => received(0),
                        HANDSHAKE_FAILURE => received(40),
                        _ => sent(50),
                    };
                    assert_eq!(failure, expected, "{number} {place:?}");
                    assert!(client.plaintext.is_empty() && server.plaintext.is_empty());
                    in_handshake += 1;
                }
            }
        }
        assert!(in_handshake > 10 && in_session > 30);
    }
}

/// A hello that offers or chooses less than was said: the transcript tells, and nothing is established.
#[test]
fn weaker_offer_is_found_out() {
    for form in FORMS {
        for weakness in [
            Weakness::Suites,
            Weakness::OfferedVersion,
            Weakness::ChosenVersion,
            Weakness::MasterSecret,
        ] {
            let tampering = Tampering::Weaken(weakness);
            let outcome = attacked(form, tampering);
            assert!(outcome.gateway.tampered.is_some());
            assert!(assert_resisted("weaken", 0, &outcome), "{weakness:?}");
            let (client, server) = (&outcome.client, &outcome.server);
            let sent = |description| PeerFault::AlertSent { description };
            let received = |description| PeerFault::AlertReceived {
                description,
                authenticated: false,
            };
            // protocol_version, illegal_parameter, handshake_failure; a Finished that doesn't verify looks as a wrong key.
            let expected = match weakness {
                Weakness::Suites => [PeerFault::CredentialsRefused, sent(20)],
                Weakness::OfferedVersion => [received(70), sent(70)],
                Weakness::ChosenVersion => [sent(47), received(47)],
                Weakness::MasterSecret => [received(40), sent(40)],
            };
            let failures = [client.failure, server.failure];
            let expected = expected.map(|fault| Some(ChannelError::Peer(fault)));
            assert_eq!(failures, expected, "{weakness:?}");
            assert!(client.plaintext.is_empty() && server.plaintext.is_empty());
            // The server did take the weakest suite, as far as it could tell.
            let chosen = contains(
                &outcome.gateway.copied,
                &[&[0], &WEAKEST[..], &[0]].concat(),
            );
            assert_eq!(chosen, weakness == Weakness::Suites, "{weakness:?}");
        }
    }
}

#[test]
fn bytes_of_another_connection_are_found_out() {
    for form in FORMS {
        let other = Setup::new(form, 2, 0.0).with_a_psk();
        let other: &'static [u8] = other.gateway.copied.leak();
        let len = calm(form).gateway.copied.len();
        for at in (0..len - 200).step_by(len / 40) {
            let tampering = Tampering::Splice(at, other);
            let outcome = attacked(form, tampering);
            assert!(outcome.gateway.tampered.is_some(), "{at}");
            assert!(assert_resisted("splice", at, &outcome), "{at}");
            // What the client got first it may already have found wrong otherwise.
            assert_eq!(outcome.server.failure, Some(BAD_RECORD_MAC), "{at}");
            assert!(outcome.client.failure.is_some(), "{at}");
        }
    }
}

#[test]
fn stream_that_the_gateway_gives_up_is_no_end() {
    for form in FORMS {
        let len = calm(form).gateway.copied.len();
        for at in (1..len).step_by(len / 40) {
            let tampering = Tampering::Reset(at);
            let outcome = attacked(form, tampering);
            assert_resisted("reset", at, &outcome);
            assert!(outcome.gateway.tampered.is_some());
            let lost = Some(ResetReason::ConnectionLost);
            assert!(outcome.reset == lost || outcome.client.is_closed, "{at}");
        }
    }
}

/// The gateway leads elsewhere: to a server with another key, and to itself with what it has: the hop's key, and the
/// one with which it has just asked the same device in mode `terminate`, and was answered.
#[test]
fn another_server_is_found_out() {
    for form in FORMS {
        for key in [b"another server's", HOP_KEY, TERMINATE_KEY] {
            let psk = Psk::new(key).unwrap().into_end_to_end().unwrap();
            let server = (b"meter".as_slice(), psk, PeerId(2));
            let setup = Setup {
                terminates: true,
                ..Setup::new(form, 1, 0.0)
            };
            let outcome = setup.run(psk_client(), server);
            assert_eq!(outcome.read, [UPTIME]);
            assert!(assert_resisted("swap", 0, &outcome));
            let refused = PeerFault::CredentialsRefused;
            assert_eq!(outcome.client.failure, Some(refused.into()));
            assert!(outcome.client.plaintext.is_empty() && outcome.server.plaintext.is_empty());
        }
    }
    // In certificate mode: one without a certificate, one of another authority, and the authority's own for another name.
    let setup = Setup::new(LegForm::Tls, 1, 0.0);
    let outcome = setup.run(certificate_client(), psk_server());
    assert!(assert_resisted("swap", 0, &outcome));
    for (authority, name, description) in [
        (AUTHORITY + 2, NAME, BAD_CERTIFICATE),
        (AUTHORITY, "other.example", CERTIFICATE_UNKNOWN),
    ] {
        let server = other_certificate_server(authority, name);
        let outcome = setup.run(certificate_client(), server);
        assert!(assert_resisted("swap", 0, &outcome));
        let refused = PeerFault::AlertSent { description };
        assert_eq!(outcome.client.failure, Some(refused.into()), "{name}");
        assert!(outcome.client.plaintext.is_empty() && outcome.server.plaintext.is_empty());
    }
}

/// RFC 5246 §7.2.2: what a client says of a certificate.
const BAD_CERTIFICATE: u8 = 42;
const CERTIFICATE_UNKNOWN: u8 = 46;

/// RFC 5246 §6.2.1.
const CHANGE_CIPHER_SPEC: u8 = 20;
