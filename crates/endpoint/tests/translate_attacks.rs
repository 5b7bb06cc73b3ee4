//! An active gateway in mode `translate`: the table of docs/specs/translate.md, cell by cell, but for
//! what is done to a handshake. The gateway has a `terminate` key for the same device in all of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "common/attacked.rs"]
mod attacked;
#[path = "common/carried.rs"]
mod carried;
mod common;
#[path = "common/records.rs"]
mod records;
#[path = "common/translated.rs"]
mod translated;

use std::sync::Arc;
use std::time::Duration;

use attacked::{
    SECOND, WAYS, ask, attack, config, each_flipped_bit_of_a_record_is_found,
    held_back_record_is_taken_within_the_window, net, nothing_wrong, once,
};
use carried::{DEVICE, GATEWAY, Trio, Way, at, trio};
use common::{CLIENT, SERVER};
use hedgerow_core::DropReason;
use hedgerow_endpoint::TranslateError;
use hedgerow_proxy::NotPermitted;
use hedgerow_record::{Error, TranslateForm, TranslateStatus};
use hedgerow_sim::World;
use records::is_protected_in_stream;
use translated::{Between, Net};

const FORMS: [TranslateForm; 2] = [TranslateForm::Short, TranslateForm::Long];

fn between() -> Between {
    Between::new(TranslateForm::Short, "a", "a")
}

/// A world with a session in it, and one answer.
fn session() -> (Net, Trio) {
    attacked::session(between())
}

fn session_in(form: TranslateForm) -> (Net, Trio) {
    attacked::session(Between::new(form, "a", "a"))
}

fn header_len(form: TranslateForm) -> usize {
    match form {
        TranslateForm::Short => 5,
        TranslateForm::Long => 13,
    }
}

/// Has the gateway say something to one of the ends.
fn say(world: &mut Net, trio: Trio, way: Way, bytes: &[u8]) {
    match way {
        Way::ToDevice => world.send(GATEWAY, DEVICE, bytes),
        Way::ToInternetEnd => trio.act(world, |between, now| between.inject(now, bytes)),
    }
}

/// Does something once, to the first protected record of a way.
fn once_protected(
    way: Way,
    act: impl FnMut(Vec<u8>) -> Vec<Vec<u8>>,
) -> impl FnMut(Way, Vec<u8>) -> Vec<Vec<u8>> {
    once(way, is_protected_in_stream, act)
}

/// To the device all is as without a stream.
#[test]
fn flipped_bit_of_a_protected_record_is_found_wherever_it_is() {
    for form in FORMS {
        let session = || session_in(form);
        let (way, inject) = (Way::ToDevice, |world: &mut Net, trio, bytes: &[u8]| {
            say(world, trio, Way::ToDevice, bytes);
        });
        each_flipped_bit_of_a_record_is_found(session, way, is_protected_in_stream, inject);
    }
}

#[test]
fn forged_alert_under_the_sessions_epoch_is_not_authentic() {
    for form in [TranslateForm::Short, TranslateForm::Long] {
        let inject = |world: &mut Net, trio: Trio, way, datagram: &[u8]| match (way, form) {
            (Way::ToDevice, _) => world.send(GATEWAY, DEVICE, datagram),
            (Way::ToInternetEnd, TranslateForm::Long) => {
                trio.act(world, |between, now| between.inject(now, datagram));
            }
            (Way::ToInternetEnd, TranslateForm::Short) => {
                let record = [&[21, 3, 3], &datagram[11..]].concat();
                trio.act(world, |between, now| between.inject(now, &record));
            }
        };
        let session = || session_in(form);
        attacked::forged_alert_under_the_sessions_epoch_is_not_authentic(session, inject);
    }
}

/// What comes of a bit that is flipped in the stream to the Internet end.
#[derive(Debug, PartialEq)]
enum Flipped {
    /// The record is dropped by the end, or by its adapter.
    Dropped(DropReason),
    DroppedByAdapter(DropReason),
    /// The stream breaks off there.
    UnknownClass,
    /// It goes on elsewhere: nothing more comes of it, or what makes no sense.
    Length,
    /// The record waits for the next one.
    More,
}

impl Flipped {
    fn expected(form: TranslateForm, record: &[u8], octet: usize, bit: u32) -> Self {
        let header_len = header_len(form);
        // Epoch and sequence number stand in front of the length, or behind it as the nonce.
        let number_at = match form {
            TranslateForm::Short => 5,
            TranslateForm::Long => 3,
        };
        let number_octet = octet.checked_sub(number_at);
        match (form, number_octet) {
            (_, _) if octet + 2 == header_len && bit == 7 => Self::More,
            (_, _) if octet + 2 == header_len || octet + 1 == header_len => Self::Length,
            // That is DTLS 1.0's, which the first hellos have.
            (TranslateForm::Long, _) if (octet, bit) == (2, 1) => {
                Self::DroppedByAdapter(DropReason::UnsupportedVersion)
            }
            (_, None) if octet > 0 => Self::UnknownClass,
            (TranslateForm::Short, Some(0 | 1)) => {
                Self::DroppedByAdapter(DropReason::NonceNotRecordNumber)
            }
            // As if it were in clear.
            (TranslateForm::Long, Some(1)) if bit == 0 => {
                Self::Dropped(DropReason::UnexpectedEpoch)
            }
            (TranslateForm::Long, Some(0 | 1)) => {
                Self::DroppedByAdapter(DropReason::UnexpectedEpoch)
            }
            // Lower numbers have all been seen.
            (_, Some(2..8)) if record[octet] & (1 << bit) != 0 => {
                Self::Dropped(DropReason::Replayed)
            }
            _ => Self::Dropped(DropReason::AuthenticationFailed),
        }
    }

    fn check(&self, world: &mut Net, trio: Trio) {
        let is_answered = trio.client(world).responses.len() == 2;
        let drops = trio.client(world).drops.clone();
        let between = trio.between(world);
        let (by_adapter, failed) = (between.dropped.clone(), between.failed);
        match self {
            Self::Dropped(reason) => {
                assert_eq!(
                    (&drops[..], &by_adapter[..], failed),
                    (&[*reason][..], &[][..], None)
                );
            }
            Self::DroppedByAdapter(reason) => {
                assert_eq!(
                    (&drops[..], &by_adapter[..], failed),
                    (&[][..], &[*reason][..], None)
                );
            }
            Self::More => {
                // It came with the answer that was sent again.
                let late = [DropReason::Unmatched];
                assert_eq!(
                    (&drops[..], &by_adapter[..], failed),
                    (&late[..], &[][..], None)
                );
            }
            Self::UnknownClass => {
                let is_class = matches!(
                    failed,
                    Some(TranslateError::Framing(Error::UnknownClass { .. }))
                );
                assert!(is_class && drops.is_empty() && by_adapter.is_empty());
            }
            Self::Length => {
                let forged = [DropReason::AuthenticationFailed, DropReason::Malformed];
                assert!(drops.iter().all(|drop| forged.contains(drop)));
                trio.act(world, |between, _| between.cut());
                let failed = trio.between(world).failed.unwrap();
                let is_within_record = true;
                let is_truncated = failed == TranslateError::Truncated { is_within_record };
                assert!(
                    is_truncated || matches!(failed, TranslateError::Framing(_)),
                    "{failed}"
                );
                assert!(is_truncated || !drops.is_empty());
            }
        }
        assert_eq!(
            is_answered,
            !matches!(self, Self::UnknownClass | Self::Length)
        );
    }
}

#[test]
fn flipped_bit_of_a_protected_record_in_the_stream_is_found_wherever_it_is() {
    for (form, bit) in FORMS
        .into_iter()
        .flat_map(|form| (0..8).map(move |bit| (form, bit)))
    {
        for octet in 0.. {
            let (mut world, trio) = session_in(form);
            let sent = Arc::new(std::sync::Mutex::new(Vec::new()));
            let told = Arc::clone(&sent);
            let flip = once(
                Way::ToInternetEnd,
                is_protected_in_stream,
                move |mut bytes| {
                    told.lock().unwrap().clone_from(&bytes);
                    if let Some(flipped) = bytes.get_mut(octet) {
                        *flipped ^= 1 << bit;
                    }
                    vec![bytes]
                },
            );
            attack(&mut world, trio, flip);
            ask(&mut world, trio, b"2");
            world.run_for(60 * SECOND).unwrap();
            nothing_wrong(&world, trio, b"2", 2);
            let sent = sent.lock().unwrap().clone();
            if octet == sent.len() {
                assert!(octet > header_len(form) + 8 + 8);
                break;
            }
            let expected = Flipped::expected(form, &sent, octet, bit);
            println!("{form:?}, octet {octet}, bit {bit}: {expected:?}");
            expected.check(&mut world, trio);
        }
    }
}

#[test]
fn record_in_the_other_class_is_dropped_in_a_session() {
    let (mut world, trio) = session();
    attack(
        &mut world,
        trio,
        once_protected(Way::ToInternetEnd, |mut bytes| {
            bytes[1..3].copy_from_slice(&[0xfe, 0xfd]);
            vec![bytes]
        }),
    );
    ask(&mut world, trio, b"2");
    world.run_for(10 * SECOND).unwrap();
    nothing_wrong(&world, trio, b"2", 2);
    assert_eq!(trio.client(&world).drops.len(), 1);
    // A record in clear as if it were protected.
    trio.act(&mut world, |between, now| {
        between.inject(now, b"\x16\x03\x03\0\x0c\x14\0\0\0\0\x01\0\0\0\0\0\0");
    });
    world.run_for(SECOND).unwrap();
    let dropped = &trio.between(&world).dropped;
    assert_eq!(*dropped, [DropReason::NonceNotRecordNumber]);
    assert_eq!(trio.client(&world).responses.len(), 2);
    // A protected record to the device as if it were in clear.
    let before = trio.device(&world).drops.len();
    attack(
        &mut world,
        trio,
        once_protected(Way::ToDevice, |mut bytes| {
            bytes[4] = 0;
            vec![bytes]
        }),
    );
    ask(&mut world, trio, b"3");
    world.run_for(10 * SECOND).unwrap();
    assert_eq!(trio.device(&world).handled[&b"3"[..]], 1);
    assert_eq!(trio.device(&world).drops.len(), before + 1);
    assert_eq!(trio.client(&world).responses.len(), 3);
}

#[test]
fn replayed_records_are_dropped_at_both_ends() {
    for form in FORMS {
        let (mut world, trio) = session_in(form);
        attack(&mut world, trio, |_, bytes| vec![bytes.clone(), bytes]);
        ask(&mut world, trio, b"3000");
        world.run_for(30 * SECOND).unwrap();
        nothing_wrong(&world, trio, b"3000", 3_000);
        assert_eq!(trio.client(&world).responses.len(), 2);
        for end in [trio.client(&world), trio.device(&world)] {
            assert!(end.drops.len() >= 3);
            assert!(end.drops.iter().all(|&drop| drop == DropReason::Replayed));
        }
    }
}

#[test]
fn record_held_back_is_taken_within_the_window_and_is_nobody_elses_answer() {
    for way in WAYS {
        let inject = |world: &mut Net, trio, bytes: &[u8]| say(world, trio, way, bytes);
        held_back_record_is_taken_within_the_window(session, way, is_protected_in_stream, inject);
    }
}

#[test]
fn reordered_records_are_matched_by_their_tokens() {
    attacked::reordered_records_are_matched_by_their_tokens(between);
}

#[test]
fn lasting_silence_ends_in_a_timeout() {
    attacked::lasting_silence_ends_in_a_timeout(session);
}

#[test]
fn delayed_request_is_carried_out_late_unless_the_device_asks_for_freshness() {
    attacked::delayed_request_is_carried_out_late_unless_the_device_asks_for_freshness(between);
}

#[test]
fn delayed_request_is_challenged_and_comes_again_once() {
    attacked::delayed_request_is_challenged_and_comes_again_once(between);
}

#[test]
fn records_of_another_session_or_direction_are_dropped() {
    for form in FORMS {
        splice(form);
    }
}

fn splice(form: TranslateForm) {
    let other = Arc::new(std::sync::Mutex::new((Vec::new(), Vec::new())));
    let keep = Arc::clone(&other);
    let (mut elsewhere, its) = {
        let mut world = World::new(12);
        let trio = trio(&mut world, Between::new(form, "a", "a"), &config());
        (world, trio)
    };
    attack(&mut elsewhere, its, move |way, bytes| {
        if is_protected_in_stream(&bytes) {
            match way {
                Way::ToDevice => keep.lock().unwrap().0.clone_from(&bytes),
                Way::ToInternetEnd => keep.lock().unwrap().1.clone_from(&bytes),
            }
        }
        vec![bytes]
    });
    for payload in [b"5", b"6", b"7"] {
        ask(&mut elsewhere, its, payload);
        elsewhere.run_for(3 * SECOND).unwrap();
    }
    let (to_device, to_end) = other.lock().unwrap().clone();
    assert!(!to_device.is_empty() && !to_end.is_empty());

    let (mut world, trio) = session_in(form);
    trio.act(&mut world, |between, now| between.inject(now, &to_end));
    world.send(GATEWAY, DEVICE, &to_device);
    // The device's own record back to it: as it stands in a datagram.
    let mut reflected = to_end.clone();
    if form == TranslateForm::Short {
        reflected = to_end[..1].to_vec();
        reflected.extend([0xfe, 0xfd]);
        reflected.extend(&to_end[5..13]);
        reflected.extend(&to_end[3..]);
    }
    world.send(GATEWAY, DEVICE, &reflected);
    world.run_for(SECOND).unwrap();
    let failed = DropReason::AuthenticationFailed;
    assert_eq!(trio.client(&world).drops, [failed]);
    assert_eq!(trio.device(&world).drops, [failed, failed]);
    ask(&mut world, trio, b"2");
    world.run_for(3 * SECOND).unwrap();
    assert_eq!(trio.client(&world).responses.len(), 2);
}

#[test]
fn other_devices_and_the_gateway_itself_establish_nothing() {
    let leading_to = |device| between().leading_to(device);
    attacked::other_devices_and_the_gateway_itself_establish_nothing(leading_to);
}

#[test]
fn other_form_and_refusals_end_the_connection_and_no_other_form_is_tried() {
    let (mut world, trio) = net(between());
    attack(&mut world, trio, |_, mut bytes| {
        if bytes.starts_with(b"HGTR") {
            bytes[5] = 2;
        }
        vec![bytes]
    });
    ask(&mut world, trio, b"2");
    world.run_for(SECOND).unwrap();
    assert_eq!(trio.between(&world).failed, Some(TranslateError::OtherForm));

    // It says short and writes long.
    let (mut world, trio) = net(between());
    attack(&mut world, trio, |way, bytes| match way {
        Way::ToInternetEnd if !bytes.starts_with(b"HGTR") => {
            vec![[&bytes[..3], &[0; 8], &bytes[3..]].concat()]
        }
        _ => vec![bytes],
    });
    ask(&mut world, trio, b"2");
    world.run_for(120 * SECOND).unwrap();
    assert_eq!(trio.client(&world).established, []);
    assert_eq!(trio.device(&world).established, []);

    for (asked, why, error, status) in [
        ("b", None, TranslateError::Refused, TranslateStatus::Refused),
        (
            "a",
            Some(NotPermitted::Refused),
            TranslateError::Refused,
            TranslateStatus::Refused,
        ),
        (
            "a",
            Some(NotPermitted::Busy),
            TranslateError::Busy,
            TranslateStatus::Busy,
        ),
    ] {
        let between = Between::new(TranslateForm::Short, asked, "a");
        let between = match why {
            Some(why) => between.refusing(why),
            None => between,
        };
        let (mut world, trio) = net(between);
        ask(&mut world, trio, b"2");
        world.run_for(SECOND).unwrap();
        let between = trio.between(&world);
        assert_eq!(
            (between.failed, between.status),
            (Some(error), Some(status))
        );
        assert_eq!(world.account(GATEWAY, DEVICE).sent, 0);
    }
}

#[test]
fn end_of_the_connection_is_no_orderly_close() {
    let (mut world, trio) = session();
    trio.act(&mut world, |between, _| between.cut());
    let failed = trio.between(&world).failed;
    let truncated = TranslateError::Truncated {
        is_within_record: false,
    };
    assert_eq!(failed, Some(truncated));
    world.run_for(SECOND).unwrap();
    assert_eq!(trio.client(&world).closed, 0);
    assert_eq!(trio.device(&world).closed, 0);
    // What is an orderly close: the device's, under the session.
    let (mut world, trio) = session();
    at(&mut world, trio.client, |host, env, out| {
        let (association, _) = host.responses.keys().next().copied().unwrap();
        host.endpoint.close(env, association).unwrap();
        host.flush(env, out);
    });
    world.run_for(SECOND).unwrap();
    assert_eq!(trio.device(&world).closed, 1);
}

#[test]
fn forged_notices_end_a_handshake_at_most() {
    let misnumbered = b"\0\0\0\0\x03\x01\0\x25";
    let (mut world, trio) = net(between());
    ask(&mut world, trio, b"2");
    world.run_for(Duration::from_millis(40)).unwrap();
    trio.act(&mut world, |between, now| between.inject(now, misnumbered));
    world.run_for(SECOND).unwrap();
    let failed = trio.between(&world).failed;
    assert_eq!(failed, Some(TranslateError::NonceNotRecordNumber));

    let (mut world, trio) = session();
    trio.act(&mut world, |between, now| {
        between.inject(now, misnumbered);
        between.inject(now, b"\0\0\0\0\x03\x02\0\x01");
    });
    world.run_for(SECOND).unwrap();
    let between = trio.between(&world);
    assert_eq!(between.failed, None);
    assert_eq!(between.dropped, [DropReason::NonceNotRecordNumber]);
    assert_eq!(between.refused, [1]);
    // Told that a datagram of one byte was too long, the endpoint goes no lower than its bound.
    at(&mut world, trio.client, |host, _, _| {
        host.endpoint.datagram_refused(common::Place(SERVER), 1);
    });
    ask(&mut world, trio, b"2000");
    world.run_for(60 * SECOND).unwrap();
    nothing_wrong(&world, trio, b"2000", 2_000);
    assert_eq!(trio.client(&world).responses.len(), 2);
    assert!(world.account(CLIENT, SERVER).sent < 200);
}
