//! An active gateway in mode `translate`, the device adapts: the table of docs/specs/translate-device.md, cell by
//! cell. A TLS client knows of no gateway, and the gateway, which has the hop's key, hasn't theirs.
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
#[path = "common/records.rs"]
mod records;

use std::time::Duration;

use common::{IDENTITY, Known, PSK, Shown};
use ends::{END_TO_END, Outcome, Setup, UPTIME, USER, contains};
use hedgerow_core::{ChannelError, Env, Instant, PeerFault, Writer};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{
    AdaptedConnection, AdaptedFault, ForwardSecrecy, SecurityPolicy, TlsConnection,
};
use hedgerow_handshake::Settings;
use hedgerow_record::{CipherSuite, ClientHello, Extensions, LegForm, Protocol, StreamApplication};
use hedgerow_sim::{Conditions, TestRng};
use records::{OFFER, weaken_offer};
use tampering::{Tampering, Way};

fn calm() -> Conditions {
    Conditions {
        delay: Duration::from_millis(10)..=Duration::from_millis(10),
        ..Conditions::default()
    }
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
            (setup.suites, setup.form) = (vec![suite], form);
            setup.run().assert_whole();
            setup.http().run().assert_whole();
        }
    }
}

const WAYS: [Way; 2] = [Way::ToDevice, Way::ToClient];

/// One record of a connection, and what a gateway does to it.
struct Cell {
    application: StreamApplication,
    form: LegForm,
    way: Way,
    number: usize,
    /// The records of its direction when nobody interferes.
    records: Vec<Vec<u8>>,
}

impl Cell {
    /// Goes through all of them.
    fn each(mut visit: impl FnMut(&Self)) {
        for application in [StreamApplication::Coap, StreamApplication::Http] {
            for form in [LegForm::Dtls, LegForm::Tls] {
                let whole = setup(application, form).run();
                whole.assert_whole();
                for (way, records) in WAYS.into_iter().zip(whole.records()) {
                    for number in 0..records.len() {
                        let records = records.clone();
                        visit(&Self {
                            application,
                            form,
                            way,
                            number,
                            records,
                        });
                    }
                }
            }
        }
    }

    /// Runs the connection with this done to it, and looks whether it was.
    fn run(&self, tampering: Tampering) -> Outcome {
        let mut setup = setup(self.application, self.form);
        setup.tampering = tampering;
        let outcome = setup.run();
        assert!(outcome.has_fired(), "{tampering:?}");
        outcome.assert_nothing_wrong();
        outcome
    }

    fn record(&self) -> &[u8] {
        &self.records[self.number]
    }

    fn change_cipher_spec(&self) -> usize {
        let mut kinds = self.records.iter().map(|record| record[0]);
        kinds.position(|kind| kind == 20).unwrap()
    }

    fn is_protected(&self) -> bool {
        self.number > self.change_cipher_spec()
    }

    fn is_last(&self) -> bool {
        self.number + 1 == self.records.len()
    }

    /// Whether request or answer isn't through before this record is.
    fn is_needed(&self) -> bool {
        let is_data = |number: &usize| self.records[*number][0] == 23;
        let data: Vec<_> = (0..self.records.len()).filter(is_data).collect();
        // CoAP's client has a CSM to send before the request, and a Release when it has the answer.
        let last = match (self.application, self.way) {
            (StreamApplication::Coap, Way::ToDevice) => data[1],
            _ => data[data.len() - 1],
        };
        self.number <= last
    }
}

fn setup(application: StreamApplication, form: LegForm) -> Setup {
    let mut setup = Setup::new(3, calm());
    if application == StreamApplication::Http {
        setup = setup.http();
    }
    setup.form = form;
    setup
}

/// RFC 5246 §7.2.2.
const BAD_RECORD_MAC: PeerFault = PeerFault::AlertSent { description: 20 };

/// Whether the client waited for what doesn't come any more, until the gateway went.
fn has_waited_in_vain(outcome: &Outcome) -> bool {
    [
        ChannelError::Peer(PeerFault::Truncated),
        ChannelError::Peer(PeerFault::CredentialsRefused),
    ]
    .map(Some)
    .contains(&outcome.client().failure)
}

/// Each octet of what carries CoAP. What carries HTTP are records like those, and longer.
const fn step(application: StreamApplication) -> usize {
    match application {
        StreamApplication::Coap => 1,
        _ => 5,
    }
}

/// Type, nonce, ciphertext and tag of what is protected: bad_record_mac. The length, and all of the handshake:
/// some fault.
#[test]
fn flipped_bit_of_any_record_is_detected() {
    Cell::each(|cell| {
        // The minor version is no part of what form `dtls` carries, and of the first record anything (RFC 5246 §E.1).
        let octets = (0..cell.record().len()).step_by(step(cell.application));
        let octets = octets.filter(|octet| *octet != 2);
        // All bits of one record under keys in each direction, of the others one of each octet.
        let is_chosen = cell.number == cell.change_cipher_spec() + 2;
        let bits = |octet| match is_chosen {
            true => (0..8).map(|bit| (octet, bit)).collect(),
            false => vec![(octet, u32::try_from((octet + cell.number) % 8).unwrap())],
        };
        for (byte, bit) in octets.flat_map(bits) {
            let tampering = Tampering::Flip(cell.way, cell.number, byte, bit);
            let outcome = cell.run(tampering);
            let is_sealed = cell.is_protected() && !(1..5).contains(&byte);
            if is_sealed {
                assert_eq!(
                    outcome.fault(cell.way),
                    Some(BAD_RECORD_MAC),
                    "{tampering:?}"
                );
            }
            if cell.is_needed() {
                assert!(outcome.is_detected(), "{tampering:?}");
            }
        }
    });
}

/// Nothing authenticates the minor version that form `dtls` leaves out; anywhere else another one isn't TLS 1.2's.
#[test]
fn flipped_minor_version_is_detected_or_isnt_carried() {
    const PROTOCOL_VERSION: PeerFault = PeerFault::AlertSent { description: 70 };
    Cell::each(|cell| {
        let outcome = cell.run(Tampering::Flip(cell.way, cell.number, 2, 2));
        let isnt_carried = cell.form == LegForm::Dtls && cell.way == Way::ToDevice;
        if isnt_carried || cell.number == 0 {
            outcome.assert_whole();
        } else if cell.is_needed() {
            let fault = outcome.fault(cell.way);
            assert_eq!(
                fault,
                Some(PROTOCOL_VERSION),
                "{:?} {}",
                cell.way,
                cell.number
            );
        }
    });
}

#[test]
fn changed_octet_of_either_hello_establishes_nothing() {
    for form in [LegForm::Dtls, LegForm::Tls] {
        let whole = setup(StreamApplication::Coap, form).run();
        for (way, records) in WAYS.into_iter().zip(whole.records()) {
            // Behind the record's header, which the transcript leaves out (RFC 5246 §7.4.9).
            for byte in 5..records[0].len() {
                let mut setup = setup(StreamApplication::Coap, form);
                setup.tampering = Tampering::Flip(way, 0, byte, 2);
                let outcome = setup.run();
                assert!(outcome.has_fired() && outcome.is_detected());
                let (client, device) = (outcome.client(), outcome.device());
                assert!(
                    !client.is_established && device.application.is_none(),
                    "{form:?} {way:?} {byte}"
                );
            }
        }
    }
}

/// The gateway takes the better suite out of the offer. The device then chooses the other one, and both ends find
/// out before anything is said.
#[test]
fn weaker_offer_is_found_out_by_both_ends() {
    let [better, worse] = OFFER.map(|suite| suite.0.to_be_bytes());
    for form in [LegForm::Dtls, LegForm::Tls] {
        let mut setup = setup(StreamApplication::Coap, form);
        setup.suites = OFFER.to_vec();
        let whole = setup.run();
        whole.assert_whole();
        let [to_device, to_client] = whole.records();
        assert!(contains(&to_client[0], &better) && !contains(&to_client[0], &worse));
        let mut hello = to_device[0].clone();
        assert!(weaken_offer(&mut hello));
        setup.other[0] = vec![hello];
        setup.tampering = Tampering::Splice(Way::ToDevice, 0);
        let outcome = setup.run();
        let chosen = &outcome.records()[1][0];
        assert!(contains(chosen, &worse) && !contains(chosen, &better));
        let (client, device) = (outcome.client(), outcome.device());
        assert!(!client.is_established && device.application.is_none());
        assert_eq!(outcome.fault(Way::ToDevice), Some(BAD_RECORD_MAC));
        assert_eq!(client.failure, Some(PeerFault::CredentialsRefused.into()));
    }
}

/// In form `dtls` each record says its number, which the device holds against its own count.
#[test]
fn changed_number_of_any_record_is_detected_by_the_device() {
    Cell::each(|cell| {
        if cell.way == Way::ToDevice && cell.form == LegForm::Dtls {
            let outcome = cell.run(Tampering::Renumber(cell.way, cell.number));
            let fault = AdaptedFault::Framing(hedgerow_record::Error::NotNextRecord);
            assert_eq!(outcome.device().fault, Some(fault), "{}", cell.number);
        }
    });
}

/// Each octet of form `dtls` until request and answer are through, on the leg's own headers and numbers too.
#[test]
fn flipped_octet_on_the_leg_is_detected() {
    for application in [StreamApplication::Coap, StreamApplication::Http] {
        let whole = setup(application, LegForm::Dtls).run();
        for (way, records) in WAYS.into_iter().zip(whole.records()) {
            let mut cell = Cell {
                application,
                form: LegForm::Dtls,
                way,
                number: 0,
                records,
            };
            // One record on the leg for one of TLS: no message is longer than a fragment.
            let ends = whole.leg_ends(way);
            assert_eq!(ends.len(), cell.records.len());
            let mut at = 0;
            for end in ends {
                while at < *end {
                    let outcome = cell.run(Tampering::FlipOnLeg(way, at));
                    assert!(outcome.is_detected() || !cell.is_needed(), "{way:?} {at}");
                    at += step(application);
                }
                cell.number += 1;
            }
        }
    }
}

#[test]
fn dropped_replayed_reordered_and_reflected_records_are_detected() {
    Cell::each(|cell| {
        let (way, number) = (cell.way, cell.number);
        for tampering in [
            Tampering::Drop(way, number),
            Tampering::Replay(way, number),
            Tampering::Swap(way, number),
            Tampering::Reflect(way, number),
        ] {
            // Nothing has come before the ClientHello.
            let is_first = (way, number) == (Way::ToDevice, 0);
            if is_first && matches!(tampering, Tampering::Reflect(..)) {
                continue;
            }
            let outcome = cell.run(tampering);
            if cell.is_needed() {
                assert!(outcome.is_detected(), "{tampering:?}");
            }
            // What is missing shows by the next record, if there is one before the client has got anything back.
            let is_missing = matches!(tampering, Tampering::Drop(..) | Tampering::Swap(..));
            if cell.is_protected() && cell.is_needed() {
                assert!(
                    outcome.fault(way) == Some(BAD_RECORD_MAC)
                        || is_missing && has_waited_in_vain(&outcome),
                    "{tampering:?} {:?}",
                    outcome.fault(way)
                );
            }
        }
    });
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
            for (index, way) in WAYS.into_iter().enumerate() {
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
                    assert!(outcome.has_fired(), "{form:?} {way:?} {number}");
                    assert!(outcome.is_detected(), "{form:?} {way:?} {number}");
                    let kinds = own[index][..number].iter().map(|record| record[0]);
                    if kinds.into_iter().any(|kind| kind == 20) {
                        assert_eq!(outcome.fault(way), Some(BAD_RECORD_MAC), "{way:?} {number}");
                    }
                }
                // Hello, Finished and at least two of the application.
                assert!(protected >= 4, "{way:?} {protected}");
            }
        }
    }
}

#[test]
fn delayed_records_are_accepted_while_the_connection_lasts() {
    Cell::each(|cell| {
        cell.run(Tampering::Delay(cell.way, cell.number))
            .assert_whole();
    });
}

#[test]
fn one_form_for_the_other_establishes_nothing() {
    for application in [StreamApplication::Coap, StreamApplication::Http] {
        for form in [LegForm::Dtls, LegForm::Tls] {
            for way in WAYS {
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
    let extension = [0, 0, 0, name_len + 5, 0, name_len + 3, 0, 0, name_len];
    // Behind the headers of the record and of the handshake message.
    let decoded = ClientHello::decode_exact(Protocol::Tls, &hello[9..]).unwrap();
    let block = [decoded.extensions.as_bytes(), &extension, name.as_bytes()].concat();
    let extensions = Extensions::from_block(&block).unwrap();
    let mut body = [0; 512];
    let mut writer = Writer::new(&mut body);
    let with_name = ClientHello {
        extensions,
        ..decoded
    };
    with_name.encode(&mut writer).unwrap();
    let body = writer.into_written();
    let [of_record, of_message] =
        [body.len() + 4, body.len()].map(|len| u16::try_from(len).unwrap().to_be_bytes());
    [&hello[..3], &of_record, &[1, 0], &of_message, body].concat()
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

const CLOSE: &[u8] = &[21, 3, 3, 0, 2, 1, 0];
const FATAL: &[u8] = &[21, 3, 3, 0, 2, 2, 40];

/// In a handshake nobody can tell whose it is; in a session it is a record that doesn't verify.
#[test]
fn injected_alerts_end_a_handshake_and_no_session_in_order() {
    Cell::each(|cell| {
        for bytes in [CLOSE, FATAL] {
            let outcome = cell.run(Tampering::Inject(cell.way, cell.number, bytes));
            let fault = outcome.fault(cell.way);
            if cell.is_protected() {
                assert_eq!(
                    fault,
                    Some(BAD_RECORD_MAC),
                    "{:?} {}",
                    cell.way,
                    cell.number
                );
            } else {
                let received = PeerFault::AlertReceived {
                    description: bytes[6],
                    authenticated: false,
                };
                assert_eq!(fault, Some(received), "{:?} {}", cell.way, cell.number);
                assert!(!outcome.client().is_established);
            }
        }
        // In the place of the close_notify.
        if cell.is_last() && cell.way == Way::ToClient {
            let mut setup = setup(cell.application, cell.form);
            setup.other[1] = vec![CLOSE.to_vec(); cell.records.len()];
            setup.tampering = Tampering::Splice(cell.way, cell.number);
            let outcome = setup.run();
            outcome.assert_nothing_wrong();
            assert!(outcome.has_fired() && !outcome.client().is_closed);
            assert_eq!(outcome.fault(cell.way), Some(BAD_RECORD_MAC));
        }
    });
}

#[test]
fn end_before_close_notify_is_truncation_and_no_orderly_close() {
    Cell::each(|cell| {
        let outcome = cell.run(Tampering::End(cell.way, cell.number));
        match cell.way {
            // With the device's close_notify the client has all, and is told so (RFC 5246 §7.2.1): its own goes nowhere.
            Way::ToDevice if cell.is_last() => outcome.assert_whole(),
            Way::ToDevice => assert!(outcome.is_truncated(cell.way), "{}", cell.number),
            Way::ToClient => {
                assert!(!outcome.client().is_closed, "{}", cell.number);
                // A server that is silent behind the client's Finished may have refused its key (RFC 4279 §2).
                let is_handshake = !outcome.client().is_established;
                assert!(
                    outcome.is_truncated(cell.way) || is_handshake && has_waited_in_vain(&outcome),
                    "{}",
                    cell.number
                );
            }
        }
        // A close_notify that is kept back is no other thing than an end.
        if cell.is_last() && cell.way == Way::ToClient {
            let outcome = cell.run(Tampering::Drop(cell.way, cell.number));
            assert!(outcome.is_truncated(cell.way) && !outcome.client().is_closed);
        }
    });
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
    // The gateway itself calls, with what it has for the hop and for `terminate`: it is one key, which has just given it
    // an answer of the same device.
    let mut gateway = Setup::new(5, calm());
    gateway.terminates = true;
    gateway.client_key = Shown::end_to_end(IDENTITY, PSK);
    gateway.device_keys = Known::with_end_to_end(&[(IDENTITY, PSK)], &[(USER, END_TO_END)]);
    let mut control = gateway.clone();
    control.device_keys = Known::end_to_end(&[(IDENTITY, PSK)]);
    assert!(control.run().client().is_established);
    let refusals: Vec<_> = [wrong, unknown, hop, gateway]
        .map(|setup| {
            let outcome = setup.run();
            assert!(outcome.device().requests.is_empty());
            assert!(!outcome.client().is_established);
            let read: &[&[u8]] = if setup.terminates { &[UPTIME] } else { &[] };
            assert_eq!(outcome.gateway().read, read);
            outcome.client().failure
        })
        .into();
    // All look alike (docs/specs/end-to-end-keys.md).
    let refused = Some(ChannelError::Peer(PeerFault::CredentialsRefused));
    assert_eq!(refusals, [refused; 4]);
}

/// A TLS server in the device's place, which takes any identity and permits any key.
#[test]
fn gateway_with_the_hops_key_is_no_server_for_the_client() {
    type Tls = TlsConnection<SoftCrypto, Known, Shown>;
    fn pass(
        from: &mut Tls,
        to: &mut Tls,
        env: &mut Env<'_>,
        fault: &mut Option<ChannelError>,
    ) -> bool {
        let mut bytes = [0; 1_024];
        let mut moved = false;
        while let Some(len) = from.poll_transmit(env, &mut bytes).unwrap() {
            moved = true;
            assert_eq!(to.push(&bytes[..len]), len);
            loop {
                match to.poll(env) {
                    Ok(None) => break,
                    Ok(Some(_)) => {}
                    Err(error) => {
                        *fault = Some(error);
                        break;
                    }
                }
            }
        }
        moved
    }
    // The hop's key is the gateway's for `terminate` too.
    let mut asking = Setup::new(5, calm());
    asking.terminates = true;
    let asked = asking.run();
    asked.assert_whole();
    assert_eq!(asked.gateway().read, [UPTIME]);
    for (key, is_the_device) in [(PSK, false), (END_TO_END, true)] {
        let mut rng = TestRng::stream(5, 1);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let settings = Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM_8]);
        let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Optional);
        let shown = Shown::end_to_end(USER, END_TO_END);
        let client = Tls::client(SoftCrypto, shown, settings, &policy.into(), env);
        let keys = Known::new(&[(USER, key), (IDENTITY, key)]);
        let any = SecurityPolicy::default().into();
        let server = Tls::server(SoftCrypto, keys, settings, &any, env);
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        let (mut at_client, mut at_server) = (None, None);
        while pass(&mut client, &mut server, env, &mut at_server)
            | pass(&mut server, &mut client, env, &mut at_client)
        {}
        let is_open = (client.is_open(), server.is_open());
        assert_eq!(is_open, (is_the_device, is_the_device));
        let refused = ChannelError::Peer(PeerFault::CredentialsRefused);
        assert_eq!(at_client, (!is_the_device).then_some(refused));
    }
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
