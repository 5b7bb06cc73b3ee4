//! State-machine bugs that were found in other implementations, each by its name: a machine of either
//! protocol and either role has to be immune to it.
//!
//! The patterns' names are those of the public state-machine fuzzers for DTLS; the classes carry an
//! example each. Where a test of another file has the case already, this table points to it.
//!
//! | pattern or class | test |
//! | --- | --- |
//! | early Finished; Finished before ChangeCipherSpec | [`early_finished`], [`finished_before_change_cipher_spec`]; `attacks`: `finished_without_change_cipher_spec_completes_no_handshake` |
//! | multiple ChangeCipherSpec; crash on CCS; CCS without handshake (CVE-2017-7243) | [`multiple_change_cipher_spec`], [`change_cipher_spec_that_is_none`], [`change_cipher_spec_without_handshake`] |
//! | handshake restarted; ServerHello flight restart | [`handshake_restarted`], [`server_hello_flight_restart`] |
//! | invalid handshake start | [`invalid_handshake_start`] |
//! | invalid HelloVerifyRequest response; cookie bypass (CVE-2022-2576) | `attacks`: `cookie_that_was_not_made_here_gets_another_one`, `cookie_of_another_address_proves_nothing`, `second_hello_with_another_offer_is_not_accepted`; on the way to a resumption `resumption`: `session_to_resume_is_no_cookie` |
//! | HelloVerifyRequest retransmission | [`hello_verify_request_retransmission`] |
//! | insecure renegotiation; assert as input check (short renegotiation hello) | [`insecure_renegotiation`], [`short_renegotiation_hello`] |
//! | invalid Finished accepted as retransmission | [`invalid_finished_accepted_as_retransmission`] |
//! | continue after close_notify; continue after fatal alert | [`continue_after_close_notify`], [`continue_after_fatal_alert`] |
//! | alert in clear, forged | [`forged_alert_ends_an_association`]; `attacks`: `forged_alert_does_not_end_a_session` |
//! | multiple ServerKeyExchange | [`multiple_server_key_exchange`] |
//! | DH without ServerKeyExchange | [`ecdhe_without_server_key_exchange`] |
//! | multiple or reordered Certificate and CertificateRequest; unrequested certificate; wrong reaction to CertificateRequest | [`certificates_have_no_place_in_psk`]; with certificates: missing until they are there |
//! | unexpected ClientHello answered | [`unexpected_client_hello_answered`] |
//! | retransmitted flight 5 | [`retransmitted_flight_5`]; `flights`: `lost_final_flight_is_sent_again_for_240_seconds_and_no_longer` |
//! | completion with invalid message_seq | [`completion_with_invalid_message_seq`] |
//! | epoch 0 application data (CVE-2019-20786, CVE-2020-24585) | [`application_data_in_clear`]; `attacks`: `application_data_of_epoch_0_is_never_delivered` |
//! | mismatched epochs (CVE-2021-42141) | [`handshake_with_mismatched_epochs`]; `attacks`: `finished_in_clear_completes_no_handshake` |
//! | length and fragment_length trusted (CVE-2026-9267) | [`fragment_lengths_trusted`] |
//! | reassembly keyed by type | [`reassembly_keyed_by_type`] |
//! | reassembly memory (CVE-2014-3506) | [`reassembly_memory`]; `alloc-free`: the handshake has no allocator to exhaust |
//! | state stuck after a failed handshake (CVE-2020-27222) | [`stuck_after_failed_handshake`]; `endpoint`: `stalled_handshakes_delay_no_other` |
//! | epoch or sequence wrap | `record`: `key_out_of_numbers_seals_no_more` in both protocols, `highest_number_is_accepted_once`; [`hello_near_the_last_record_number`]; there is no second epoch |
//! | zero or weak random (CVE-2020-11501) | [`zero_or_weak_random`] |
//! | version or suite confusion | [`unoffered_suite_and_version`] and `states`, contents of the hellos |
//! | nonce reuse | each test in a `World`, which has a ledger of all seals; by name in `hedgerow-endpoint`'s `nonces` |
//! | authentication logic | `attacks`: `wrong_key_unknown_identity_and_forbidden_policy_look_the_same`; `flights`: `server_that_knows_the_identity_of_another_is_not_fooled_by_its_key` |
//! | endless loop; useless records | `tls`: `useless_records_are_borne_only_so_long` |
//! | unbounded memory before authentication, amplification | `endpoint`: `spoofed_hellos_leave_the_heap_where_it_was_and_are_not_amplified`, `full_pool_of_handshakes_refuses_with_a_reason_and_keeps_sessions` |
//! | stall by one peer | `endpoint`: `stalled_handshakes_delay_no_other` |
//! | connection IDs lost on a resumption (Mbed TLS issue 5872) | `resumption`: `connection_ids_are_agreed_on_anew`; `endpoint`: `resumed_sessions_have_connection_ids_of_their_own` |
//! | session resumed without its binding: other suite, no extended master secret (RFC 7627 §5.3), replaced key | `resumption`: `server_that_resumes_with_another_suite_is_refused`, `extended_master_secret_missing_on_a_resumption_aborts`, `what_has_changed_since_makes_a_full_handshake` |
//! | NewSessionTicket out of its place | `resumption`: `new_session_ticket_elsewhere_than_promised_ends_the_handshake`; `states` |
//! | connection ID confusion | missing until connection IDs are there |
//! | CoAP option delta, length and number | `coap`: `reserved_delta_and_length_are_format_errors`, `options_cut_off_anywhere_are_format_errors` |
//! | extended token length | `coap`: `token_lengths_0_and_8_decode_and_9_to_15_are_format_errors` |
//! | parser lengths and pointers | fuzz targets of `fuzz/`, replayed by its own tests |
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;
#[path = "common/scripted.rs"]
mod scripted;

use hedgerow_core::{ChannelError, Env, Instant, Misuse, PeerFault};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_handshake::{ClientHandshake, Settings, TlsServerHandshake};
use hedgerow_record::{HandshakeType, Protocol};
use hedgerow_sim::TestRng;

use common::{IDENTITY, Known, PSK, Shown, Store, buffers};
use scripted::{Form, Kind, Kx, Outcome, Sent, Setup, Side, Stand};

const PROTOCOLS: [Protocol; 2] = [Protocol::Dtls, Protocol::Tls];

/// Each kind of machine on this side, or on both.
fn kinds(side: Option<Side>) -> Vec<Kind> {
    let mut kinds = Vec::new();
    for protocol in PROTOCOLS {
        for kx in [Kx::Psk, Kx::EcdhePsk] {
            let sides = [Side::Client, Side::Server].into_iter();
            for side in sides.filter(|own| side.is_none_or(|side| side == *own)) {
                kinds.push(Kind { protocol, side, kx });
            }
        }
    }
    kinds
}

fn in_state(kind: Kind, state: &str) -> Stand {
    let mut stand = Stand::in_state(kind, state, &Setup::default());
    stand.wait();
    stand
}

/// The states before a machine waits for ChangeCipherSpec.
fn early_states(kind: Kind) -> impl Iterator<Item = &'static str> {
    kind.states()
        .iter()
        .copied()
        .take_while(|&state| state != "ChangeCipherSpec")
}

/// Puts a message in under the peer's next numbers.
fn put(stand: &mut Stand, form: Form, name: &str) -> Outcome {
    put_numbered(stand, form, name, stand.next_seq)
}

fn put_numbered(stand: &mut Stand, form: Form, name: &str, seq: u16) -> Outcome {
    let (content_type, payload) = stand.payload(name, seq);
    let record = stand.record(form, content_type, &payload);
    stand.take(name, &record)
}

const fn alert_sent(description: u8) -> Option<ChannelError> {
    Some(ChannelError::Peer(PeerFault::AlertSent { description }))
}

const UNEXPECTED_MESSAGE: u8 = 10;

/// The message must not be taken: DTLS drops it and the honest handshake completes, or the machine
/// ends with unexpected_message; TLS always ends.
fn assert_not_taken(stand: &mut Stand, outcome: &Outcome, what: &str) {
    let kind = stand.kind;
    assert!(outcome.plaintexts.is_empty(), "{kind:?} {what}");
    match outcome.error {
        None => {
            assert!(kind.is_dtls(), "{kind:?} {what}: {outcome:?}");
            assert_eq!(stand.complete(), Ok(()), "{kind:?} {what}");
        }
        error => {
            assert_eq!(error, alert_sent(UNEXPECTED_MESSAGE), "{kind:?} {what}");
            assert_ended(stand, what);
        }
    }
}

/// Nothing moves a machine that has ended, not even the rest of an honest handshake.
fn assert_ended(stand: &mut Stand, what: &str) {
    assert_eq!(stand.state(), "Closed", "{:?} {what}", stand.kind);
    for name in stand
        .kind
        .states()
        .iter()
        .filter(|name| !matches!(**name, "Established" | "Closed"))
    {
        for form in [Form::Clear, Form::Protected] {
            let outcome = put(stand, form, name);
            assert!(outcome.sent.is_empty(), "{:?} {what} {name}", stand.kind);
        }
    }
    let outcome = put(stand, Form::Protected, "application_data");
    assert!(outcome.plaintexts.is_empty() && outcome.sent.is_empty());
    assert_eq!(stand.state(), "Closed", "{:?} {what}", stand.kind);
}

#[test]
fn early_finished() {
    for kind in kinds(None) {
        for state in early_states(kind).filter(|&state| state != "ClientHello") {
            for form in [Form::Clear, Form::Protected] {
                if form == Form::Protected && !kind.is_dtls() {
                    continue;
                }
                let mut stand = in_state(kind, state);
                let outcome = put(&mut stand, form, "Finished");
                assert_not_taken(&mut stand, &outcome, state);
            }
        }
    }
}

#[test]
fn finished_before_change_cipher_spec() {
    for kind in kinds(None) {
        for form in [Form::Clear, Form::Protected] {
            let mut stand = in_state(kind, "ChangeCipherSpec");
            let outcome = put(&mut stand, form, "Finished");
            if kind.is_dtls() {
                assert_eq!(stand.state(), "ChangeCipherSpec", "{kind:?}");
                assert_not_taken(&mut stand, &outcome, "Finished");
            } else {
                // A protected one is bytes in clear that make no message, or the wrong one.
                assert!(
                    outcome.error.is_some() || stand.state() == "ChangeCipherSpec",
                    "{kind:?}"
                );
            }
            assert_eq!(stand.state() == "Established", kind.is_dtls(), "{kind:?}");
        }
    }
}

#[test]
fn multiple_change_cipher_spec() {
    for kind in kinds(None) {
        for form in [Form::Clear, Form::Protected] {
            let mut stand = in_state(kind, "Finished");
            let outcome = put(&mut stand, form, "ChangeCipherSpec");
            if kind.is_dtls() {
                assert_not_taken(&mut stand, &outcome, "ChangeCipherSpec");
                let outcome = put(&mut stand, form, "ChangeCipherSpec");
                assert_eq!(outcome.error, None);
                assert_eq!(stand.talk(), Ok(()));
            } else {
                assert!(matches!(
                    outcome.error,
                    Some(ChannelError::Peer(PeerFault::AlertSent { .. }))
                ));
                assert_ended(&mut stand, "ChangeCipherSpec");
            }
        }
    }
}

/// "Crash on CCS": bodies that are none, in every state.
#[test]
fn change_cipher_spec_that_is_none() {
    for kind in kinds(None) {
        for &state in kind.states().iter().filter(|state| **state != "Closed") {
            for body in [&[][..], &[0], &[2], &[1, 1], &[1; 300]] {
                let mut stand = in_state(kind, state);
                let record = stand.record(Form::Clear, 20, body);
                let outcome = stand.feed(&record);
                if kind.is_dtls() {
                    assert_eq!(outcome.error, None, "{kind:?} {state}");
                    assert_eq!(stand.complete(), Ok(()), "{kind:?} {state}");
                } else {
                    assert!(outcome.error.is_some(), "{kind:?} {state}");
                    assert_ended(&mut stand, state);
                }
            }
        }
    }
}

#[test]
fn change_cipher_spec_without_handshake() {
    for kind in kinds(None) {
        for state in early_states(kind) {
            let mut stand = in_state(kind, state);
            let outcome = put(&mut stand, Form::Clear, "ChangeCipherSpec");
            assert_not_taken(&mut stand, &outcome, state);
        }
    }
}

/// A second ClientHello in a handshake starts none, and mixes into none.
#[test]
fn handshake_restarted() {
    for kind in kinds(Some(Side::Server)) {
        for state in ["ClientKeyExchange", "ChangeCipherSpec"] {
            let mut stand = in_state(kind, state);
            let outcome = put(&mut stand, Form::Clear, "ClientHello");
            assert_not_taken(&mut stand, &outcome, state);
            if !kind.is_dtls() {
                continue;
            }
            // The number of the first one: at most the same flight again.
            let mut stand = in_state(kind, state);
            let outcome = put_numbered(&mut stand, Form::Clear, "ClientHello", 1);
            assert!(outcome.sent.is_empty() || outcome.sent == stand.last_flight);
            assert_eq!(stand.state(), state);
            assert_eq!(stand.complete(), Ok(()), "{state}");
        }
    }
}

#[test]
fn server_hello_flight_restart() {
    for kind in kinds(Some(Side::Client)) {
        for state in ["ServerKeyExchange", "ServerHelloDone", "ChangeCipherSpec"] {
            let mut stand = in_state(kind, state);
            let outcome = put(&mut stand, Form::Clear, "ServerHello");
            assert_not_taken(&mut stand, &outcome, state);
            if !kind.is_dtls() {
                continue;
            }
            // The whole flight once more under its own numbers is no new one.
            let mut stand = in_state(kind, state);
            let flight = stand.last_flight.clone();
            for (seq, name) in (1..).zip(["ServerHello", "ServerKeyExchange", "ServerHelloDone"]) {
                if seq < stand.next_seq {
                    let outcome = put_numbered(&mut stand, Form::Clear, name, seq);
                    assert!(
                        outcome.sent.is_empty() || outcome.sent == flight,
                        "{state} {name}"
                    );
                }
            }
            assert_eq!(stand.state(), state);
            assert_eq!(stand.complete(), Ok(()), "{state}");
        }
    }
}

#[test]
fn invalid_handshake_start() {
    for kind in kinds(Some(Side::Server)) {
        for name in [
            "ClientKeyExchange",
            "Finished",
            "Certificate",
            "HelloRequest",
            "ServerHello",
        ] {
            let mut stand = in_state(kind, "ClientHello");
            let outcome = put(&mut stand, Form::Clear, name);
            assert_not_taken(&mut stand, &outcome, name);
        }
    }
    for kind in kinds(Some(Side::Client)) {
        for name in [
            "ServerKeyExchange",
            "ServerHelloDone",
            "Finished",
            "Certificate",
            "ClientHello",
        ] {
            let mut stand = in_state(kind, "ServerHello");
            let outcome = put(&mut stand, Form::Clear, name);
            assert_not_taken(&mut stand, &outcome, name);
        }
    }
}

/// A server makes the same cookie for the same hello and keeps nothing; a client answers a request
/// for a cookie three times at most, so that nobody can make it send hellos for ever.
#[test]
fn hello_verify_request_retransmission() {
    for kx in [Kx::Psk, Kx::EcdhePsk] {
        let (protocol, side) = (Protocol::Dtls, Side::Server);
        let mut stand = Stand::new(Kind { protocol, side, kx }, &Setup::default());
        for _ in 0..3 {
            stand.fetch_cookie("");
            assert_eq!(stand.state(), "ClientHello");
        }
        assert_eq!(stand.complete(), Ok(()));

        let side = Side::Client;
        let mut stand = Stand::new(Kind { protocol, side, kx }, &Setup::default());
        // One was answered on the way here. The same again, under its old number, is not.
        let again = put_numbered(&mut stand, Form::Clear, "HelloVerifyRequest", 0);
        assert!(again.sent.is_empty() && again.error.is_none());
        for _ in 0..2 {
            let outcome = put(&mut stand, Form::Clear, "HelloVerifyRequest");
            assert!(matches!(outcome.sent[..], [Sent::Message(1, _)]));
        }
        let outcome = put(&mut stand, Form::Clear, "HelloVerifyRequest");
        assert_eq!(outcome.error, alert_sent(UNEXPECTED_MESSAGE));
    }
}

/// A request for renegotiation gets a warning, what would carry one out gets nowhere, and what is
/// agreed on stays.
#[test]
fn insecure_renegotiation() {
    for kind in kinds(None) {
        let request = match kind.side {
            Side::Client => "HelloRequest",
            Side::Server => "ClientHello",
        };
        let mut stand = in_state(kind, "Established");
        for _ in 0..3 {
            let outcome = put_numbered(&mut stand, Form::Protected, request, 0);
            assert_eq!(outcome.sent, [Sent::Alert(1, 100)], "{kind:?}");
            assert_eq!(stand.talk(), Ok(()), "{kind:?}");
        }
        let clear = put_numbered(&mut stand, Form::Clear, request, 0);
        assert!(clear.plaintexts.is_empty());
        assert_eq!(stand.state() == "Established", kind.is_dtls());
        for name in [
            "ClientKeyExchange",
            "ServerHello",
            "Finished",
            "ChangeCipherSpec",
        ] {
            let mut stand = in_state(kind, "Established");
            let outcome = put(&mut stand, Form::Protected, name);
            assert_not_taken(&mut stand, &outcome, name);
        }
    }
}

/// A hello of any length below its own, under the session's keys.
#[test]
fn short_renegotiation_hello() {
    for kind in kinds(None) {
        let (name, code) = match kind.side {
            Side::Client => ("HelloRequest", HandshakeType::HelloRequest),
            Side::Server => ("ClientHello", HandshakeType::ClientHello),
        };
        let stand = in_state(kind, "Established");
        let (_, message) = stand.payload(name, 0);
        for len in 0..message.len() {
            let mut stand = in_state(kind, "Established");
            let record = stand.record(Form::Protected, 22, &message[..len]);
            let outcome = stand.feed(&record);
            if kind.is_dtls() {
                assert_eq!(outcome.error, None, "{kind:?} {len}");
                assert_eq!(stand.talk(), Ok(()), "{kind:?} {len}");
            } else {
                assert_eq!(
                    outcome.error,
                    alert_sent(UNEXPECTED_MESSAGE),
                    "{kind:?} {len}"
                );
            }
        }
        // As short as its own header says.
        for body_len in 0..8 {
            let mut stand = in_state(kind, "Established");
            let message = stand.message(code.into(), 0, &vec![0; body_len]);
            let record = stand.record(Form::Protected, 22, &message);
            let outcome = stand.feed(&record);
            assert_eq!(outcome.error, None, "{kind:?} {body_len}");
            assert_eq!(outcome.sent, [Sent::Alert(1, 100)], "{kind:?} {body_len}");
            assert_eq!(stand.talk(), Ok(()));
        }
    }
}

/// After the handshake a Finished that is wrong doesn't count for the peer's again: in DTLS only a
/// server resends, and only for the number of the Finished that it took.
#[test]
fn invalid_finished_accepted_as_retransmission() {
    for kind in kinds(None) {
        for name in ["Finished", "Finished:wrong_verify_data"] {
            for ahead in [0, 1] {
                let mut stand = in_state(kind, "Established");
                let seq = stand.next_seq + ahead;
                let outcome = put_numbered(&mut stand, Form::Protected, name, seq);
                assert_not_taken(&mut stand, &outcome, name);
                assert!(outcome.sent.len() <= 1, "{kind:?}: {outcome:?}");
            }
        }
        if kind.is_dtls() {
            // In clear, a Finished is nobody's.
            let mut stand = in_state(kind, "Established");
            let seq = stand.next_seq - 1;
            let outcome = put_numbered(&mut stand, Form::Clear, "Finished", seq);
            assert!(outcome.sent.is_empty(), "{kind:?}");
            assert_eq!(stand.talk(), Ok(()));
        }
        // During it, a wrong one ends the handshake (RFC 5246 §7.4.9).
        let mut stand = in_state(kind, "Finished");
        let outcome = put(&mut stand, Form::Protected, "Finished:wrong_verify_data");
        assert_eq!(outcome.error, alert_sent(51), "{kind:?}");
        assert_ended(&mut stand, "wrong Finished");
    }
}

#[test]
fn continue_after_close_notify() {
    for kind in kinds(None) {
        let mut stand = in_state(kind, "Established");
        let outcome = put(&mut stand, Form::Protected, "close_notify");
        assert!(
            outcome.is_closed && outcome.sent == [Sent::Alert(1, 0)],
            "{kind:?}"
        );
        assert_eq!(stand.hear(b"late"), Err(Misuse::Closed.into()));
        assert_ended(&mut stand, "close_notify");

        // Closed by this end, which then takes no data either.
        let mut stand = in_state(kind, "Established");
        assert_eq!(stand.close().sent, [Sent::Alert(1, 0)]);
        assert_eq!(stand.hear(b"late"), Err(Misuse::Closed.into()));
        assert_ended(&mut stand, "close");

        // During the handshake. A DTLS server takes no alert in clear.
        for state in early_states(kind) {
            let mut stand = in_state(kind, state);
            let outcome = put(&mut stand, Form::Clear, "close_notify");
            if kind.is_dtls() && kind.side == Side::Server {
                assert_eq!(stand.complete(), Ok(()), "{kind:?} {state}");
                continue;
            }
            assert_eq!(outcome.sent, [Sent::Alert(1, 0)], "{kind:?} {state}");
            assert_ended(&mut stand, state);
        }
        let mut stand = in_state(kind, "Finished");
        let outcome = put(&mut stand, Form::Protected, "close_notify");
        assert_eq!(outcome.sent, [Sent::Alert(1, 0)], "{kind:?}");
        assert_ended(&mut stand, "close_notify before Finished");
    }
}

#[test]
fn continue_after_fatal_alert() {
    for kind in kinds(None) {
        for state in ["Finished", "Established"] {
            let mut stand = in_state(kind, state);
            let outcome = put(&mut stand, Form::Protected, "alert_fatal");
            assert_eq!(
                outcome.error,
                Some(
                    PeerFault::AlertReceived {
                        description: 40,
                        authenticated: true
                    }
                    .into()
                ),
                "{kind:?} {state}"
            );
            assert!(outcome.sent.is_empty());
            assert_ended(&mut stand, state);
        }
        for state in early_states(kind) {
            let mut stand = in_state(kind, state);
            put(&mut stand, Form::Clear, "alert_fatal");
            match (kind.protocol, kind.side) {
                (Protocol::Dtls, Side::Server) => assert_eq!(stand.complete(), Ok(())),
                _ => assert_ended(&mut stand, state),
            }
        }
    }
}

/// An alert in clear counts for nothing where the peer's own are protected, nor anywhere at a server
/// over datagrams: its sender is anybody.
#[test]
fn forged_alert_ends_an_association() {
    for kind in kinds(None).into_iter().filter(|kind| kind.is_dtls()) {
        for &state in kind.states().iter().filter(|state| **state != "Closed") {
            let has_protected_alerts = matches!(state, "Finished" | "Established");
            if !has_protected_alerts && kind.side == Side::Client {
                continue;
            }
            for name in ["alert_fatal", "close_notify", "alert_warning"] {
                let mut stand = in_state(kind, state);
                let outcome = put(&mut stand, Form::Clear, name);
                assert!(outcome.error.is_none() && outcome.sent.is_empty());
                assert_eq!(stand.complete(), Ok(()), "{kind:?} {state} {name}");
            }
        }
    }
}

#[test]
fn multiple_server_key_exchange() {
    for kind in kinds(Some(Side::Client)) {
        for state in ["ServerHelloDone", "ChangeCipherSpec"] {
            let mut stand = in_state(kind, state);
            let outcome = put(&mut stand, Form::Clear, "ServerKeyExchange");
            assert_not_taken(&mut stand, &outcome, state);
        }
    }
}

/// "DH without ServerKeyExchange".
#[test]
fn ecdhe_without_server_key_exchange() {
    for kind in kinds(Some(Side::Client)) {
        let mut stand = in_state(kind, "ServerKeyExchange");
        let outcome = put(&mut stand, Form::Clear, "ServerHelloDone");
        match kind.kx {
            // RFC 4279 §2: only a hint was left out.
            Kx::Psk => assert_eq!(stand.complete(), Ok(())),
            _ => assert_not_taken(&mut stand, &outcome, "ServerHelloDone"),
        }
    }
}

/// "Unrequested certificate", "reordered Certificate and CertificateRequest", "wrong reaction to
/// CertificateRequest", where no certificate is agreed on.
#[test]
fn certificates_have_no_place_in_psk() {
    for kind in kinds(None) {
        for state in early_states(kind).chain(["ChangeCipherSpec"]) {
            for names in [
                &["Certificate"][..],
                &["CertificateRequest"],
                &["CertificateVerify"],
                &["CertificateRequest", "Certificate"],
            ] {
                let mut stand = in_state(kind, state);
                for name in names {
                    let outcome = put(&mut stand, Form::Clear, name);
                    assert!(
                        outcome
                            .sent
                            .iter()
                            .all(|sent| matches!(sent, Sent::Alert(2, _))),
                        "{kind:?} {state} {name}: {outcome:?}"
                    );
                }
                match stand.state() {
                    "Closed" => assert_ended(&mut stand, state),
                    other => assert_eq!((other, stand.complete()), (state, Ok(()))),
                }
            }
        }
    }
}

#[test]
fn unexpected_client_hello_answered() {
    for kind in kinds(Some(Side::Client)) {
        for &state in kind.states().iter().filter(|state| **state != "Closed") {
            for form in [Form::Clear, Form::Protected] {
                if form == Form::Protected && !matches!(state, "Finished" | "Established") {
                    continue;
                }
                let mut stand = in_state(kind, state);
                let outcome = put(&mut stand, form, "ClientHello");
                assert!(
                    outcome
                        .sent
                        .iter()
                        .all(|sent| matches!(sent, Sent::Alert(2, _))),
                    "{kind:?} {state}: {outcome:?}"
                );
                assert!(
                    outcome.error.is_some() || kind.is_dtls(),
                    "{kind:?} {state}"
                );
            }
        }
    }
}

/// The client's last flight once more, in new records: a server that waits for it takes it once,
/// and one that has it sends its own again.
#[test]
fn retransmitted_flight_5() {
    for kx in [Kx::Psk, Kx::EcdhePsk] {
        let (protocol, side) = (Protocol::Dtls, Side::Server);
        let kind = Kind { protocol, side, kx };
        for state in ["ChangeCipherSpec", "Finished", "Established"] {
            let mut stand = in_state(kind, state);
            let flight = stand.last_flight.clone();
            let again = put_numbered(&mut stand, Form::Clear, "ClientKeyExchange", 2);
            assert!(again.sent.is_empty() && again.error.is_none(), "{state}");
            assert_eq!(stand.state(), state);
            if state == "Established" {
                let again = put(&mut stand, Form::Clear, "ChangeCipherSpec");
                assert!(again.sent.is_empty() && again.error.is_none());
                let again = put_numbered(&mut stand, Form::Protected, "Finished", 3);
                assert_eq!(again.sent, flight);
                assert_eq!(again.sent.len(), 2);
            }
            assert_eq!(stand.complete(), Ok(()), "{state}");
        }
    }
}

/// The message whose turn it is counts under its own number alone.
#[test]
fn completion_with_invalid_message_seq() {
    for kind in kinds(None).into_iter().filter(|kind| kind.is_dtls()) {
        // An acceptor has no number to expect.
        for &state in kind.states().iter().filter(|state| {
            !matches!(
                **state,
                "ClientHello" | "ChangeCipherSpec" | "Established" | "Closed"
            )
        }) {
            let form = match state {
                "Finished" => Form::Protected,
                _ => Form::Clear,
            };
            let next = in_state(kind, state).next_seq;
            for seq in [
                0,
                next - 1,
                next + 1,
                next + 2,
                next + 7,
                next + 0x100,
                u16::MAX,
            ] {
                let mut stand = in_state(kind, state);
                let flight = stand.last_flight.clone();
                let outcome = put_numbered(&mut stand, form, state, seq);
                assert_eq!(stand.state(), state, "{kind:?} {seq}");
                assert_eq!(outcome.error, None, "{kind:?} {state} {seq}");
                assert!(outcome.sent.is_empty() || outcome.sent == flight);
                if state == "Finished" {
                    assert_eq!(stand.complete(), Ok(()), "{kind:?} {seq}");
                }
            }
        }
    }
}

#[test]
fn application_data_in_clear() {
    for kind in kinds(None) {
        for &state in kind.states() {
            if state == "Closed" {
                continue;
            }
            let mut stand = in_state(kind, state);
            let outcome = put(&mut stand, Form::Clear, "application_data");
            assert!(outcome.plaintexts.is_empty(), "{kind:?} {state}");
            match kind.is_dtls() {
                true => assert_eq!(stand.complete(), Ok(()), "{kind:?} {state}"),
                false => assert!(outcome.error.is_some(), "{kind:?} {state}"),
            }
        }
        // Under the right keys, but before Finished.
        let mut stand = in_state(kind, "Finished");
        let outcome = put(&mut stand, Form::Protected, "application_data");
        assert!(outcome.plaintexts.is_empty(), "{kind:?}");
        assert_not_taken(&mut stand, &outcome, "data before Finished");
    }
}

/// A Finished in an epoch other than the one that ChangeCipherSpec began.
#[test]
fn handshake_with_mismatched_epochs() {
    for kind in kinds(None).into_iter().filter(|kind| kind.is_dtls()) {
        for epoch in [0, 2, 3, u16::MAX] {
            let mut stand = in_state(kind, "Finished");
            let (content_type, payload) = stand.payload("Finished", stand.next_seq);
            let record = match epoch {
                0 => stand.clear_record(stand.next_number, content_type, &payload),
                _ => stand.sealed_record(epoch, 0, content_type, &payload),
            };
            let outcome = stand.feed(&record);
            assert_ne!(stand.state(), "Established", "{kind:?} {epoch}");
            assert_not_taken(&mut stand, &outcome, "Finished in another epoch");
        }
    }
}

/// Headers that claim more than there is, and parts that reach beyond their message.
#[test]
fn fragment_lengths_trusted() {
    for kind in kinds(None).into_iter().filter(|kind| kind.is_dtls()) {
        for state in early_states(kind) {
            let body_len = in_state(kind, state).payload(state, 0).1.len() - 12;
            let len = u32::try_from(body_len).unwrap();
            for (length, offset, part) in [
                (len, 0_u32, len + 1),
                (len, 0, 0xff_ffff),
                (len, 1, len),
                (len, 0xff_ffff, 1),
                (0, 0, len.max(1)),
                (0xff_ffff, 0, 0xff_ffff),
                (0xff_ffff, 0, len),
                (0xff_ffff, 0xff_ff00, 0xff),
            ] {
                let mut stand = in_state(kind, state);
                let (_, mut message) = stand.payload(state, stand.next_seq);
                message[1..4].copy_from_slice(&length.to_be_bytes()[1..]);
                message[6..9].copy_from_slice(&offset.to_be_bytes()[1..]);
                message[9..12].copy_from_slice(&part.to_be_bytes()[1..]);
                let record = stand.record(Form::Clear, 22, &message);
                let outcome = stand.feed(&record);
                assert_eq!(
                    outcome.error, None,
                    "{kind:?} {state} {length} {offset} {part}"
                );
                assert_eq!(stand.state(), state, "{kind:?} {length} {offset} {part}");
                assert_eq!(
                    stand.complete(),
                    Ok(()),
                    "{kind:?} {state} {length} {offset} {part}"
                );
            }
        }
    }
    // TLS: a message longer than any of its handshake ends it as soon as its length is known.
    for kind in kinds(None).into_iter().filter(|kind| !kind.is_dtls()) {
        for state in early_states(kind) {
            let mut stand = in_state(kind, state);
            let (_, message) = stand.payload(state, 0);
            let record = stand.record(Form::Clear, 22, &[message[0], 0xff, 0xff, 0xff, 0]);
            let outcome = stand.feed(&record);
            assert_eq!(outcome.error, alert_sent(47), "{kind:?} {state}");
            assert_ended(&mut stand, state);
        }
    }
}

/// Two parts of the same type under two numbers are two messages.
#[test]
fn reassembly_keyed_by_type() {
    for kind in kinds(None).into_iter().filter(|kind| kind.is_dtls()) {
        let state = match kind.side {
            Side::Client => "ServerHello",
            Side::Server => "ClientKeyExchange",
        };
        let mut stand = in_state(kind, state);
        let (_, message) = stand.payload(state, stand.next_seq);
        let (header, body) = message.split_at(12);
        let (front, back) = body.split_at(body.len() / 2);
        let part = |seq: u16, offset: usize, bytes: &[u8]| {
            let mut part = header[..4].to_vec();
            part.extend(seq.to_be_bytes());
            part.extend(&u32::try_from(offset).unwrap().to_be_bytes()[1..]);
            part.extend(&u32::try_from(bytes.len()).unwrap().to_be_bytes()[1..]);
            part.extend(bytes);
            part
        };
        let next = stand.next_seq;
        for part in [part(next, 0, front), part(next + 1, front.len(), back)] {
            let record = stand.record(Form::Clear, 22, &part);
            let outcome = stand.feed(&record);
            assert_eq!(outcome.error, None, "{kind:?}");
            assert_eq!(stand.state(), state, "{kind:?}");
        }
        // Only the part that belongs to it makes the first message whole.
        let record = stand.record(Form::Clear, 22, &part(next, front.len(), back));
        let outcome = stand.take(state, &record);
        assert_eq!(outcome.error, None, "{kind:?}");
        assert_ne!(stand.state(), state, "{kind:?}");
        assert_eq!(stand.complete(), Ok(()), "{kind:?}");
    }
}

/// Whatever many messages claim, the caller's buffer is all that they get, and the message whose
/// turn it is gets it first.
#[test]
fn reassembly_memory() {
    for kind in kinds(None).into_iter().filter(|kind| kind.is_dtls()) {
        for state in early_states(kind).filter(|&state| state != "ClientHello") {
            for length in [100_u32, 500, 512, 513, 0xffff, 0xff_ffff] {
                let mut stand = in_state(kind, state);
                let next = stand.next_seq;
                for seq in (next + 1..next + 40).chain([u16::MAX]) {
                    let mut part = vec![20];
                    part.extend(&length.to_be_bytes()[1..]);
                    part.extend(seq.to_be_bytes());
                    part.extend([0, 0, 0, 0, 0, 1, 0x5a]);
                    let record = stand.record(Form::Clear, 22, &part);
                    let outcome = stand.feed(&record);
                    assert_eq!(outcome.error, None, "{kind:?} {state}");
                    assert!(outcome.sent.is_empty());
                }
                assert_eq!(stand.state(), state);
                // Parts that stay unfinished hold up nothing; the honest messages come whole.
                assert_eq!(stand.complete(), Ok(()), "{kind:?} {state} {length}");
            }
        }
    }
}

/// A handshake that failed leaves nothing behind that the next one could meet.
#[test]
fn stuck_after_failed_handshake() {
    for kind in kinds(None) {
        for name in ["Finished:wrong_verify_data", "Finished"] {
            let mut stand = in_state(kind, "Finished");
            if name == "Finished" {
                let honest = stand.payload("Finished", stand.next_seq);
                stand.spoil_keys();
                let record = stand.record(Form::Protected, honest.0, &honest.1);
                stand.feed(&record);
            } else {
                put(&mut stand, Form::Protected, name);
            }
            assert_ne!(stand.state(), "Established", "{kind:?}");
            // The same client, by its identity, and the same server once more.
            assert_eq!(in_state(kind, "Established").talk(), Ok(()), "{kind:?}");
        }
    }
    // One acceptor: a hello that is refused, then one that is not.
    let (protocol, side) = (Protocol::Dtls, Side::Server);
    for kx in [Kx::Psk, Kx::EcdhePsk] {
        let setup = Setup {
            hello: "no_common_suite",
            ..Setup::default()
        };
        let mut stand = Stand::new(Kind { protocol, side, kx }, &setup);
        let refused = put(&mut stand, Form::Clear, "ClientHello:no_common_suite");
        assert_eq!(refused.error, alert_sent(40));
        stand.fetch_cookie("");
        assert_eq!(stand.complete(), Ok(()));
    }
}

/// The server's records go on from the hello's number, which nobody authenticates: near the end it
/// would leave none for the handshake.
#[test]
fn hello_near_the_last_record_number() {
    let (protocol, side) = (Protocol::Dtls, Side::Server);
    for kx in [Kx::Psk, Kx::EcdhePsk] {
        for number in [1 << 47, (1 << 48) - 1] {
            let mut stand = in_state(Kind { protocol, side, kx }, "ClientHello");
            let (content_type, payload) = stand.payload("ClientHello", 1);
            let record = stand.clear_record(number, content_type, &payload);
            let outcome = stand.take("ClientHello", &record);
            assert!(outcome.error.is_none() && outcome.sent.is_empty());
            assert_eq!(stand.state(), "ClientHello");
            assert_eq!(stand.complete(), Ok(()));
        }
    }
}

/// All 32 bytes of both randoms come from the caller's source and differ from one handshake to the
/// next.
#[test]
fn zero_or_weak_random() {
    let mut rng = TestRng::new(9);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let settings = Settings::new(&[Kx::Psk.suite()]);
    let mut randoms = Vec::new();
    for _ in 0..8 {
        let shown = Shown::new(IDENTITY, PSK);
        let mut client = ClientHandshake::new(SoftCrypto, shown, settings, buffers(), env).unwrap();
        let mut out = [0; 512];
        client.poll_transmit(env, &mut out).unwrap().unwrap();
        // Behind the headers of record and message and the version.
        randoms.push(out[27..59].to_vec());

        let store = Store(Known::new(IDENTITY, PSK));
        let mut server =
            TlsServerHandshake::new(SoftCrypto, store, settings, buffers(), env).unwrap();
        let (protocol, side) = (Protocol::Tls, Side::Server);
        let kind = Kind {
            protocol,
            side,
            kx: Kx::Psk,
        };
        let mut peer = Stand::new(kind, &Setup::default());
        let (content_type, hello) = peer.payload("ClientHello", 0);
        let mut record = peer.record(Form::Clear, content_type, &hello);
        server.handle_bytes(env, &mut record).unwrap();
        server.poll_transmit(env, &mut out).unwrap().unwrap();
        randoms.push(out[11..43].to_vec());
    }
    // A byte that stays the same in sixteen draws of a good source is one in 2^120.
    for at in 0..32 {
        let bytes = randoms.iter().map(|random| random[at]);
        assert!(
            bytes.clone().any(|byte| byte != randoms[0][at]),
            "byte {at}"
        );
        assert!(bytes.clone().any(|byte| byte != 0), "byte {at}");
    }
    let mut distinct = randoms.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), randoms.len());
}

/// What a client didn't offer isn't taken from a server, nor does a server go below its settings.
#[test]
fn unoffered_suite_and_version() {
    for kind in kinds(None) {
        let (state, names) = match kind.side {
            Side::Client => (
                "ServerHello",
                &[
                    "ServerHello:suite_not_offered",
                    "ServerHello:scsv_chosen",
                    "ServerHello:other_version",
                    "ServerHello:aead_suite_with_other_version",
                ][..],
            ),
            Side::Server => (
                "ClientHello",
                &["ClientHello:no_common_suite", "ClientHello:lower_version"][..],
            ),
        };
        for name in names {
            let setup = Setup {
                hello: name.split_once(':').unwrap().1,
                ..Setup::default()
            };
            let mut stand = Stand::in_state(kind, state, &setup);
            let outcome = put(&mut stand, Form::Clear, name);
            assert!(
                matches!(
                    outcome.error,
                    Some(ChannelError::Peer(PeerFault::AlertSent {
                        description: 40 | 47 | 70
                    }))
                ),
                "{kind:?} {name}: {outcome:?}"
            );
            assert!(matches!(outcome.sent[..], [Sent::Alert(2, _)]));
        }
    }
}
