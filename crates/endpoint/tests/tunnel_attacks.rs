//! An active gateway in mode `tunnel`: the table of docs/specs/tunnel.md, cell by cell. The gateway has a
//! `terminate` key for the same device in all of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "common/attacked.rs"]
mod attacked;
#[path = "common/carried.rs"]
mod carried;
mod common;
#[path = "common/records.rs"]
mod records;
#[path = "common/tunneled.rs"]
mod tunneled;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use attacked::{
    SECOND, WAYS, ask, attack, config, each_flipped_bit_of_a_record_is_found,
    flipped_bits_of_the_handshake_establish_nothing_wrong,
    held_back_record_is_taken_within_the_window, net, nothing_wrong,
    reordered_records_are_matched_by_their_tokens, send,
};
use carried::{DEVICE, GATEWAY, OTHER, Trio, Way, at, device, end, trio};
use common::{IDENTITY, SERVER};
use hedgerow_coap::Code;
use hedgerow_core::{ChannelError, DropReason, PeerFault};
use hedgerow_proxy::{TunnelDrop, TunnelFault};
use hedgerow_sim::World;
use records::{ALERTS, in_clear, is_protected};
use tunneled::{Net, Tunneled, capsule};

/// A world with a session in it, and one answer.
fn session() -> (Net, Trio) {
    attacked::session(Tunneled::new())
}

/// Has the gateway say something to one of the ends.
fn say(world: &mut Net, trio: Trio, way: Way, datagram: &[u8]) {
    match way {
        Way::ToDevice => world.send(GATEWAY, DEVICE, datagram),
        Way::ToInternetEnd => trio.act(world, |between, now| between.inject(now, datagram)),
    }
}

/// The session goes on: another request is answered.
fn goes_on(world: &mut Net, trio: Trio) {
    let before = trio.client(world).responses.len();
    ask(world, trio, b"2");
    world.run_for(60 * SECOND).unwrap();
    nothing_wrong(world, trio, b"2", 2);
    assert_eq!(trio.client(world).responses.len(), before + 1);
    assert_eq!(trio.client(world).established.len(), 1);
}

#[test]
fn flipped_bit_of_a_protected_record_is_found_wherever_it_is() {
    for way in WAYS {
        let inject = |world: &mut Net, trio, datagram: &[u8]| say(world, trio, way, datagram);
        each_flipped_bit_of_a_record_is_found(session, way, is_protected, inject);
    }
}

#[test]
fn flipped_bit_of_the_handshake_in_clear_establishes_nothing_wrong() {
    let net = || net(Tunneled::new());
    flipped_bits_of_the_handshake_establish_nothing_wrong(net, is_protected, 1);
}

#[test]
fn weaker_offer_is_found_out_by_both_ends() {
    attacked::weaker_offer_is_found_out_by_both_ends(Tunneled::new);
}

#[test]
fn replayed_records_are_dropped_at_both_ends() {
    let (mut world, trio) = session();
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

#[test]
fn records_of_another_session_or_direction_are_dropped() {
    let taken = Arc::new(Mutex::new([Vec::new(), Vec::new()]));
    let keep = Arc::clone(&taken);
    let mut elsewhere = World::new(12);
    let its = trio(&mut elsewhere, Tunneled::new(), &config());
    attack(&mut elsewhere, its, move |way, bytes| {
        if is_protected(&bytes) {
            let at = usize::from(way == Way::ToInternetEnd);
            keep.lock().unwrap()[at].clone_from(&bytes);
        }
        vec![bytes]
    });
    for payload in [b"5", b"6", b"7"] {
        ask(&mut elsewhere, its, payload);
        elsewhere.run_for(3 * SECOND).unwrap();
    }
    let [to_device, to_end] = taken.lock().unwrap().clone();
    assert!(!to_device.is_empty() && !to_end.is_empty());

    let (mut world, trio) = session();
    // Each also back to whom it comes from.
    for way in WAYS {
        for datagram in [&to_device, &to_end] {
            say(&mut world, trio, way, datagram);
        }
    }
    world.run_for(SECOND).unwrap();
    let failed = DropReason::AuthenticationFailed;
    assert_eq!(trio.client(&world).drops, [failed, failed]);
    assert_eq!(trio.device(&world).drops, [failed, failed]);
    goes_on(&mut world, trio);
}

/// What this very session sent, back to its sender.
#[test]
fn reflected_records_are_dropped() {
    let (mut world, trio) = session();
    let back = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&back);
    attack(&mut world, trio, move |way, bytes| {
        keep.lock().unwrap().push((way, bytes.clone()));
        vec![bytes]
    });
    ask(&mut world, trio, b"3");
    world.run_for(3 * SECOND).unwrap();
    let sent = std::mem::take(&mut *back.lock().unwrap());
    assert!(sent.len() >= 2);
    for (way, datagram) in &sent {
        let reverse = WAYS[usize::from(*way == Way::ToDevice)];
        say(&mut world, trio, reverse, datagram);
    }
    world.run_for(SECOND).unwrap();
    let drops = [trio.client(&world), trio.device(&world)].map(|end| end.drops.clone());
    assert_eq!(drops.concat().len(), sent.len());
    assert!(drops.iter().all(|drops| !drops.is_empty()));
    for reason in drops.concat() {
        // A number that the other direction has used already is a replay before it is a forgery.
        let is_found = matches!(
            reason,
            DropReason::AuthenticationFailed | DropReason::Replayed
        );
        assert!(is_found, "{reason:?}");
    }
}

#[test]
fn other_devices_and_the_gateway_itself_establish_nothing() {
    let leading_to = |device| Tunneled::new().leading_to(device);
    attacked::other_devices_and_the_gateway_itself_establish_nothing(leading_to);
}

/// In the middle of a session the gateway leads its records to another device, and back.
#[test]
fn session_that_is_led_to_another_device_is_silent_there_and_goes_on_here() {
    let (mut world, trio) = session();
    let other = device(&mut world, OTHER, &[(IDENTITY, common::PSK)], &config());
    let taken = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&taken);
    attack(&mut world, trio, move |way, bytes| match way {
        Way::ToDevice => {
            keep.lock().unwrap().push(bytes);
            Vec::new()
        }
        Way::ToInternetEnd => vec![bytes],
    });
    ask(&mut world, trio, b"5");
    world.run_for(3 * SECOND).unwrap();
    let taken = taken.lock().unwrap().clone();
    assert!(!taken.is_empty());
    for datagram in &taken {
        world.send(GATEWAY, OTHER, datagram);
    }
    world.run_for(Duration::from_millis(500)).unwrap();
    let there = end(&world, other);
    assert!(there.handled.is_empty() && there.established.is_empty());
    assert_eq!(there.drops.len(), taken.len());
    attack(&mut world, trio, |_, bytes| vec![bytes]);
    world.run_for(100 * SECOND).unwrap();
    nothing_wrong(&world, trio, b"5", 5);
    assert_eq!(trio.client(&world).responses.len(), 2);
}

#[test]
fn record_held_back_is_taken_within_the_window_and_is_nobody_elses_answer() {
    for way in WAYS {
        let inject = |world: &mut Net, trio, datagram: &[u8]| say(world, trio, way, datagram);
        held_back_record_is_taken_within_the_window(session, way, is_protected, inject);
    }
}

#[test]
fn reordered_answers_are_matched_by_their_tokens() {
    reordered_records_are_matched_by_their_tokens(Tunneled::new);
}

#[test]
fn lasting_silence_ends_in_a_timeout() {
    attacked::lasting_silence_ends_in_a_timeout(session);
}

#[test]
fn delayed_request_is_carried_out_late_unless_the_device_asks_for_freshness() {
    attacked::delayed_request_is_carried_out_late_unless_the_device_asks_for_freshness(
        Tunneled::new,
    );
}

#[test]
fn delayed_request_is_challenged_and_comes_again_once() {
    attacked::delayed_request_is_challenged_and_comes_again_once(Tunneled::new);
}

#[test]
fn alert_in_clear_ends_a_handshake_at_most() {
    for alert in ALERTS.map(in_clear) {
        let (mut world, trio) = net(Tunneled::new());
        ask(&mut world, trio, b"2");
        world.run_for(Duration::from_millis(40)).unwrap();
        say(&mut world, trio, Way::ToInternetEnd, &alert);
        world.run_for(Duration::from_millis(20)).unwrap();
        assert_eq!(trio.client(&world).established, []);
        assert_eq!(trio.client(&world).closed, 0);
        let received = PeerFault::AlertReceived {
            description: alert[14],
            authenticated: false,
        };
        assert_eq!(trio.client(&world).failed, [received.into()]);

        let (mut world, trio) = session();
        let mut under_epoch_1 = alert.clone();
        under_epoch_1[4] = 1;
        for way in WAYS {
            say(&mut world, trio, way, &alert);
            say(&mut world, trio, way, &under_epoch_1);
        }
        world.run_for(SECOND).unwrap();
        for end in [trio.client(&world), trio.device(&world)] {
            // Too short for nonce and tag.
            let reasons = [DropReason::IgnoredAlert, DropReason::Malformed];
            assert_eq!((&end.drops[..], end.closed), (&reasons[..], 0));
        }
        goes_on(&mut world, trio);
    }
}

/// At whatever time of a handshake it comes.
#[test]
fn forged_alert_under_the_sessions_epoch_is_not_authentic() {
    let inject = |world: &mut Net, trio, way, datagram: &[u8]| say(world, trio, way, datagram);
    attacked::forged_alert_under_the_sessions_epoch_is_not_authentic(session, inject);
}

#[test]
fn alert_in_clear_leaves_the_devices_handshake_alone() {
    attacked::alert_in_clear_leaves_the_devices_handshake_alone(Tunneled::new);
}

/// The end of a tunnel says nothing about the session, wherever in the stream it is.
#[test]
fn end_of_the_tunnel_is_no_orderly_close() {
    for is_within in [false, true] {
        let (mut world, trio) = session();
        if is_within {
            let part = capsule(&[0x17; 30]);
            trio.act(&mut world, |between, now| {
                between.inject_bytes(now, &part[..9])
            });
            world.run_for(SECOND).unwrap();
        }
        trio.act(&mut world, |between, _| between.cut());
        let ended = match is_within {
            true => Err(TunnelFault::Truncated),
            false => Ok(()),
        };
        assert_eq!(trio.between(&world).ended, Some(ended));
        send(&mut world, trio, Code::POST, b"once");
        world.run_for(400 * SECOND).unwrap();
        let client = trio.client(&world);
        assert_eq!((client.closed, trio.device(&world).closed), (0, 0));
        assert_eq!(client.failures, []);
        assert_eq!(client.failed, [PeerFault::HandshakeTimeout.into()]);
    }
    // What is an orderly close: the client's, under the session.
    let (mut world, trio) = session();
    at(&mut world, trio.client, |host, env, out| {
        let (association, _) = host.responses.keys().next().copied().unwrap();
        host.endpoint.close(env, association).unwrap();
        host.flush(env, out);
    });
    world.run_for(SECOND).unwrap();
    assert_eq!(trio.device(&world).closed, 1);
}

/// The gateway writes whatever it likes into the stream.
#[test]
fn capsules_that_make_no_sense_are_dropped_or_end_the_tunnel() {
    let (mut world, trio) = session();
    trio.act(&mut world, |between, now| {
        between.inject_bytes(now, b"\x17\x03abc");
        between.inject_bytes(now, b"\x00\x04\x02abc");
        between.inject(now, b"");
        between.inject(now, b"no record");
    });
    world.run_for(SECOND).unwrap();
    let dropped = [TunnelDrop::UnknownCapsule, TunnelDrop::UnknownContext];
    assert_eq!(trio.between(&world).dropped, dropped);
    assert_eq!(trio.client(&world).drops.len(), 1);
    goes_on(&mut world, trio);

    trio.act(&mut world, |between, now| {
        between.inject_bytes(now, b"\x00\x00")
    });
    world.run_for(SECOND).unwrap();
    let ended = Some(Err(TunnelFault::ContextIdMissing));
    assert_eq!(trio.between(&world).ended, ended);
    assert_eq!(trio.client(&world).closed, 0);
}

/// The mode can't be talked down: a key that is for one hop, as the gateway's is, isn't offered.
#[test]
fn credentials_that_a_gateway_may_have_are_never_shown() {
    let (mut world, trio) = net(Tunneled::new());
    let shown = carried::shown();
    let refused = at(&mut world, trio.client, |host, env, _| {
        host.endpoint
            .connect(env, common::Place(SERVER), Some(&shown))
            .is_err()
    });
    assert!(refused);
    world.run_for(SECOND).unwrap();
    assert_eq!(world.account(GATEWAY, DEVICE).sent, 0);
    let nothing: [ChannelError; 0] = [];
    assert_eq!(trio.client(&world).failed, nothing);
}
