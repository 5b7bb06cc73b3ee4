//! An active gateway in mode `itls`, one test for each cell of the table in docs/specs/itls.md. The gateway has
//! a key of its own for the device, by which it asks it in mode `terminate`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;
#[path = "common/inner.rs"]
mod inner;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use common::{Known, Place, SERVER, Shown, body, defaults};
use hedgerow_coap::Code;
use hedgerow_core::{Credentials, DropReason, Env, Peer, PeerFault, PeerId, Psk, WayRefusal};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{AssociationId, Config, Error};
use hedgerow_exchange::OutgoingRequest;
use hedgerow_itls::{
    CloseReason, Control, End, Initiator, InitiatorKey, Open, OuterBinding, Responder,
    RoutingHeader, Settings, is_initiator_hello, is_responder_hello,
};
use hedgerow_sim::{Conditions, TestRng, World};
use inner::{
    END_KEY, HOP_KEY, NAME, Net, Side, Trio, USER, ask_back, at, control, routed, shown, stream,
    trio,
};

type Asked = (AssociationId, OutgoingRequest);

/// Has each test be one of the full outer layer and one of the light one.
macro_rules! in_both_layers {
    ($($name:ident),* $(,)?) => {
        mod full {
            $(#[test] fn $name() { super::$name(false); })*
        }
        mod light {
            $(#[test] fn $name() { super::$name(true); })*
        }
    };
}

in_both_layers!(
    each_flipped_bit_of_a_protected_message_is_detected,
    each_flipped_octet_of_a_hello_is_detected_and_establishes_nothing,
    what_is_dropped_comes_again,
    what_is_delayed_is_taken_while_window_and_request_last,
    replayed_protected_message_is_detected,
    replayed_initiator_hello_costs_a_bounded_half_open_session,
    what_is_reordered_is_taken_within_the_window_and_dropped_beyond,
    message_spliced_into_another_session_or_led_back_is_detected,
    session_carried_on_over_another_outer_session_is_dropped,
    another_device_in_the_place_of_the_right_one_stays_silent,
    gateway_with_a_key_for_terminate_plays_no_end,
    gateway_with_a_key_for_terminate_answers_for_no_device,
    downgraded_suite_group_and_version_are_detected,
    group_taken_out_is_detected_by_a_device_that_needs_none,
    downgraded_mode_is_refused_before_anything_is_sent,
    injected_alerts_and_closes_are_detected,
    close_and_the_end_of_an_outer_session_are_truncations,
    refusal_by_the_gateway_is_told_as_its_own,
    lie_in_the_name_of_an_open_changes_nothing,
    gateway_sees_the_identity_and_no_word_of_what_is_said,
);

fn world(light: bool) -> (Net, Trio) {
    let mut world = World::new(7);
    world.set_conditions(Conditions::default());
    let config = Config {
        light_layer: light,
        ..defaults()
    };
    let trio = trio(&mut world, &config);
    (world, trio)
}

fn ask(world: &mut Net, trio: Trio, payload: &[u8]) -> Asked {
    at(world, trio.internet, |host, env, out| {
        host.ask(env, out, &shown(), Code::POST, payload)
    })
}

/// A session over which something was asked and answered.
fn established(light: bool) -> (Net, Trio) {
    let (mut world, trio) = world(light);
    let asked = ask(&mut world, trio, b"first");
    run(&mut world, 5);
    let internet = trio.internet(&world);
    assert_eq!(internet.responses[&asked], (Code::CHANGED, b"5".to_vec()));
    (world, trio)
}

fn run(world: &mut Net, seconds: u64) {
    world.run_for(Duration::from_secs(seconds)).unwrap();
}

/// The inner message of what is routed, also of what an OPEN carries, and where it begins.
fn inner_of(routed: &[u8]) -> Option<(usize, &[u8])> {
    let (header, rest) = RoutingHeader::decode(routed).unwrap();
    let message = match header.is_control {
        false => rest,
        true => match Control::decode(rest).unwrap() {
            Control::Open(open) => open.message,
            _ => return None,
        },
    };
    Some((routed.len() - message.len(), message))
}

fn is_hello(routed: &[u8]) -> bool {
    inner_of(routed)
        .is_some_and(|(_, message)| is_initiator_hello(message) || is_responder_hello(message))
}

fn is_protected(routed: &[u8]) -> bool {
    inner_of(routed).is_some() && !is_hello(routed)
}

/// Counts of an end's drops for a reason.
fn dropped(world: &Net, trio: Trio, side: Side, reason: DropReason) -> usize {
    let host = match side {
        Side::Internet => trio.internet(world),
        Side::Device => trio.device(world),
    };
    host.drops.iter().filter(|&&other| other == reason).count()
}

/// The request is answered once, although something went on before.
fn assert_answered(world: &Net, trio: Trio, asked: Asked, payload: &[u8]) {
    let internet = trio.internet(world);
    let len = payload.len().to_string().into_bytes();
    assert_eq!(internet.responses[&asked], (Code::CHANGED, len));
    assert_eq!(trio.device(world).handled[payload], 1);
}

fn each_flipped_bit_of_a_protected_message_is_detected(light: bool) {
    for side in [Side::Device, Side::Internet] {
        let (mut world, trio) = established(light);
        let copies = Rc::new(RefCell::new(0));
        let counted = Rc::clone(&copies);
        trio.attack(&mut world, move |to, message| {
            if to != side || !is_protected(&message) || *counted.borrow() > 0 {
                return vec![(to, message)];
            }
            // Each bit behind the routing header, and the message itself last.
            let mut sent = Vec::new();
            for bit in 8..message.len() * 8 {
                let mut flipped = message.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                sent.push((to, flipped));
            }
            *counted.borrow_mut() = sent.len();
            sent.push((to, message));
            sent
        });
        let before = dropped(&world, trio, side, DropReason::AuthenticationFailed);
        let asked = ask(&mut world, trio, b"second");
        run(&mut world, 30);
        assert_answered(&world, trio, asked, b"second");
        let host = match side {
            Side::Internet => trio.internet(&world),
            Side::Device => trio.device(&world),
        };
        let copies = *copies.borrow();
        assert!(copies > 100);
        let failed = dropped(&world, trio, side, DropReason::AuthenticationFailed) - before;
        // Some no longer look like a message of this kind or number.
        assert!(failed > copies / 2, "{failed} of {copies}");
        assert!(host.drops.len() >= copies, "{:?}", host.drops);
        assert_eq!(host.closed, 0);
    }
}

fn each_flipped_octet_of_a_hello_is_detected_and_establishes_nothing(light: bool) {
    let bits = (0..8).map(|bit| 1_u8 << bit);
    let cells = bits.flat_map(|bit| [(bit, Side::Device), (bit, Side::Internet)]);
    for (bit, side) in cells {
        let mut at_octet = 0;
        loop {
            let (mut world, trio) = world(light);
            let flips = at_octet;
            let seen = Rc::new(RefCell::new(0));
            let len = Rc::clone(&seen);
            trio.attack(&mut world, move |to, mut message| {
                if to == side && is_hello(&message) {
                    let (begin, hello) = inner_of(&message).unwrap();
                    *len.borrow_mut() = hello.len();
                    message[begin + flips] ^= bit;
                }
                vec![(to, message)]
            });
            ask(&mut world, trio, b"second");
            run(&mut world, 10);
            let internet = trio.internet(&world);
            assert_eq!(internet.established, [], "octet {at_octet} {bit}");
            assert_eq!(trio.device(&world).handled.len(), 0);
            let known = [Peer::Psk(PeerId(0))];
            assert_eq!(trio.device(&world).established, known);
            at_octet += 1;
            if at_octet == *seen.borrow() {
                assert!(at_octet > 100);
                break;
            }
        }
    }
}

fn what_is_dropped_comes_again(light: bool) {
    let (mut world, trio) = world(light);
    let mut count = 0;
    trio.attack(&mut world, move |to, message| {
        count += 1;
        match count % 5 {
            1 | 2 => Vec::new(),
            _ => vec![(to, message)],
        }
    });
    let asked = ask(&mut world, trio, b"second");
    run(&mut world, 100);
    assert_answered(&world, trio, asked, b"second");
}

fn what_is_delayed_is_taken_while_window_and_request_last(light: bool) {
    let (mut world, trio) = established(light);
    let held = Rc::new(RefCell::new(Vec::new()));
    let keep = Rc::clone(&held);
    trio.attack(&mut world, move |to, message| {
        keep.borrow_mut().push((to, message));
        Vec::new()
    });
    let asked = ask(&mut world, trio, b"late");
    run(&mut world, 20);
    assert_eq!(trio.device(&world).handled.get(b"late".as_slice()), None);
    trio.act(&mut world, |gateway, env, out| {
        gateway.attack = None;
        for (to, message) in held.take() {
            gateway.inject(env, to, &message, out);
        }
    });
    run(&mut world, 1);
    assert_answered(&world, trio, asked, b"late");
}

fn replayed_protected_message_is_detected(light: bool) {
    let (mut world, trio) = established(light);
    trio.attack(&mut world, |to, message| {
        vec![(to, message.clone()), (to, message.clone()), (to, message)]
    });
    let asked = ask(&mut world, trio, b"once");
    run(&mut world, 5);
    assert_answered(&world, trio, asked, b"once");
    for side in [Side::Device, Side::Internet] {
        assert_eq!(dropped(&world, trio, side, DropReason::Replayed), 2);
    }
}

/// A half-open session for each flow on which it comes, 8 at most, until their time is over. On its own flow a
/// live one answers again.
fn replayed_initiator_hello_costs_a_bounded_half_open_session(light: bool) {
    let (mut world, trio) = world(light);
    let asked = ask(&mut world, trio, b"first");
    run(&mut world, 5);
    assert_answered(&world, trio, asked, b"first");
    let seen = trio.gateway(&world).seen.clone();
    let hello = seen
        .iter()
        .find_map(|(_, message)| {
            let (_, message) = inner_of(message)?;
            is_initiator_hello(message).then(|| message.to_vec())
        })
        .unwrap();
    let open = |flow| {
        control(
            flow,
            &Control::Open(Open {
                wants_light_layer: false,
                name: USER,
                message: &hello,
            }),
        )
    };
    // It keeps the answers to itself.
    trio.attack(&mut world, |_, _| Vec::new());
    trio.act(&mut world, |gateway, env, out| {
        for flow in 0..20 {
            gateway.inject(env, Side::Device, &open(101 + 2 * flow), out);
        }
    });
    run(&mut world, 1);
    let device = trio.device(&world);
    assert_eq!(device.endpoint.inner_flows(), 1 + 8, "{:?}", device.drops);
    assert_eq!(device.established.len(), 2);
    assert_eq!(
        dropped(&world, trio, Side::Device, DropReason::HandshakePoolFull),
        12
    );
    run(&mut world, 62);
    assert_eq!(trio.device(&world).endpoint.inner_flows(), 1);
    // Where the session is established it is a duplicate.
    trio.act(&mut world, |gateway, env, out| {
        gateway.inject(env, Side::Device, &open(1), out);
    });
    run(&mut world, 1);
    assert_eq!(
        dropped(&world, trio, Side::Device, DropReason::Duplicate),
        1
    );
    assert_eq!(trio.device(&world).handled[b"first".as_slice()], 1);
}

fn what_is_reordered_is_taken_within_the_window_and_dropped_beyond(light: bool) {
    let (mut world, trio) = established(light);
    let held = Rc::new(RefCell::new(Vec::new()));
    let keep = Rc::clone(&held);
    trio.attack(&mut world, move |to, message| {
        // The first two messages to the device wait. What is in them is sent again in others.
        if to == Side::Device && keep.borrow().len() < 2 {
            keep.borrow_mut().push(message);
            return Vec::new();
        }
        vec![(to, message)]
    });
    let asked = ask(&mut world, trio, b"late");
    run(&mut world, 20);
    assert_answered(&world, trio, asked, b"late");
    let [within, beyond] = held.take().try_into().unwrap();
    let before = trio.device(&world).drops.len();
    trio.act(&mut world, |gateway, env, out| {
        gateway.attack = None;
        gateway.inject(env, Side::Device, &within, out);
    });
    run(&mut world, 1);
    // It was taken: CoAP knows the message, and answers it as before.
    assert_eq!(trio.device(&world).drops[before..], [DropReason::Duplicate]);
    for n in 0..70 {
        ask(&mut world, trio, n.to_string().as_bytes());
        run(&mut world, 1);
    }
    trio.act(&mut world, |gateway, env, out| {
        gateway.inject(env, Side::Device, &beyond, out);
    });
    run(&mut world, 1);
    assert_eq!(dropped(&world, trio, Side::Device, DropReason::TooOld), 1);
    assert_eq!(trio.device(&world).handled[b"late".as_slice()], 1);
}

/// The device has a session of its own with the same peer, under other keys.
fn message_spliced_into_another_session_or_led_back_is_detected(light: bool) {
    let (mut world, trio) = established(light);
    let back = ask_back(&mut world, trio, Code::POST, b"reading");
    run(&mut world, 5);
    let device = trio.device(&world);
    assert_eq!(device.responses[&back], (Code::CHANGED, b"7".to_vec()));
    let flows = trio.gateway(&world).flows().to_vec();
    assert_eq!(flows.len(), 2);
    let ((into, other), (from, own)) = (flows[1], flows[0]);
    trio.attack(&mut world, move |to, message| {
        let Some((_, inner)) = inner_of(&message).filter(|_| is_protected(&message)) else {
            return vec![(to, message)];
        };
        let (spliced, led_back) = match to {
            Side::Device => (routed(other, inner), routed(from, inner)),
            Side::Internet => (routed(into, inner), routed(own, inner)),
        };
        let back = match to {
            Side::Device => Side::Internet,
            Side::Internet => Side::Device,
        };
        vec![(to, spliced), (back, led_back), (to, message)]
    });
    let asked = ask(&mut world, trio, b"second");
    run(&mut world, 5);
    assert_answered(&world, trio, asked, b"second");
    for side in [Side::Device, Side::Internet] {
        let failed = dropped(&world, trio, side, DropReason::AuthenticationFailed);
        let replayed = dropped(&world, trio, side, DropReason::Replayed);
        assert_eq!(failed + replayed, 2, "{side:?}");
        assert!(failed >= 1, "{side:?}");
    }
}

fn session_carried_on_over_another_outer_session_is_dropped(light: bool) {
    let (mut world, trio) = established(light);
    // The Internet end has another stream, and the gateway goes on as if it were the old one.
    at(&mut world, trio.internet, |host, env, out| {
        let stream = stream(2);
        host.endpoint
            .open_outer_stream(Place(SERVER), stream)
            .unwrap();
        host.flush(env, out);
    });
    let internet = trio.internet(&world);
    assert_eq!(internet.failed, [PeerFault::Truncated.into()]);
    let seen = trio.gateway(&world).seen.clone();
    trio.act(&mut world, |gateway, env, out| {
        for (side, message) in seen.iter().filter(|(side, _)| *side == Side::Internet) {
            gateway.inject(env, *side, message, out);
        }
    });
    run(&mut world, 1);
    let internet = trio.internet(&world);
    assert_eq!(internet.endpoint.associations(), 0);
    assert!(dropped(&world, trio, Side::Internet, DropReason::UnknownFlow) >= 2);
    // A session of the new stream takes no message that is bound to the old one.
    let asked = ask(&mut world, trio, b"anew");
    run(&mut world, 10);
    assert_answered(&world, trio, asked, b"anew");
}

fn another_device_in_the_place_of_the_right_one_stays_silent(light: bool) {
    let (mut world, trio) = world(light);
    let other = Known::with_end_to_end(&[(b"gateway", HOP_KEY)], &[(b"end", b"another pair's...")]);
    let settings = Settings::new(End::Device);
    inner::replace_device(&mut world, trio, other, light, settings);
    ask(&mut world, trio, b"second");
    run(&mut world, 70);
    let internet = trio.internet(&world);
    assert_eq!(internet.established, []);
    assert_eq!(internet.failed, [PeerFault::CredentialsRefused.into()]);
    assert_eq!(
        dropped(&world, trio, Side::Device, DropReason::AuthenticationFailed),
        5
    );
    assert_eq!(trio.device(&world).endpoint.inner_flows(), 0);
}

/// The hello of an Internet end with this identity and key.
fn hello_by(identity: &[u8], key: &[u8]) -> Vec<u8> {
    let psk = Psk::new(key).unwrap().into_end_to_end().unwrap();
    let credentials = Credentials {
        psk_identity: identity,
        psk: &psk,
        peer: PeerId(1),
    };
    let mut rng = TestRng::new(3);
    let env = &mut Env::new(hedgerow_core::Instant::ZERO, &mut rng);
    let settings = Settings::new(End::Internet);
    let key = InitiatorKey::EndToEnd(credentials);
    let binding = OuterBinding::new([9; 32]);
    let initiator = Initiator::new(SoftCrypto, settings, key, binding, env).unwrap();
    initiator.hello().to_vec()
}

/// By its own key the gateway asks the device as before, and is known as who it is.
fn gateway_with_a_key_for_terminate_plays_no_end(light: bool) {
    let (mut world, trio) = world(light);
    trio.act(&mut world, |gateway, env, out| gateway.open_hop(env, out));
    run(&mut world, 5);
    // The identity of its own key, an end's with its own key, one that nobody has.
    let hellos = [
        hello_by(b"gateway", HOP_KEY),
        hello_by(b"end", HOP_KEY),
        hello_by(b"nobody", END_KEY),
    ];
    let sent = hellos.len();
    trio.act(&mut world, |gateway, env, out| {
        for (flow, message) in (1..).step_by(2).zip(&hellos) {
            let open = Control::Open(Open {
                wants_light_layer: false,
                name: USER,
                message,
            });
            gateway.inject(env, Side::Device, &control(flow, &open), out);
        }
    });
    run(&mut world, 5);
    let device = trio.device(&world);
    assert_eq!(device.established, [Peer::Psk(PeerId(0))]);
    assert_eq!(device.endpoint.inner_flows(), 0);
    assert_eq!(
        dropped(&world, trio, Side::Device, DropReason::AuthenticationFailed),
        sent
    );
    // Silence.
    let gateway = trio.gateway(&world);
    assert!(gateway.seen.iter().all(|(side, _)| *side == Side::Device));
}

/// What a responder says who has this key under the end's identity. Whoever can't verify the hello answers one of its
/// own making, with the same key: the end has another transcript too.
fn answer_by(key: &'static [u8], hello: &[u8]) -> Vec<u8> {
    let mut rng = TestRng::new(4);
    let env = &mut Env::new(hedgerow_core::Instant::ZERO, &mut rng);
    let store = Known::end_to_end(&[(b"end", key)]);
    let responder = Responder::new(SoftCrypto, Settings::new(End::Device));
    let binding = OuterBinding::new([8; 32]);
    let answer = responder.handle_hello(env, &store, &[], binding, hello);
    match answer {
        Ok(half_open) => half_open.answer().to_vec(),
        Err(reason) => {
            assert_eq!(reason, DropReason::AuthenticationFailed);
            answer_by(key, &hello_by(b"end", key))
        }
    }
}

/// It answers the Internet end's hello itself, by every key that it has: a downgrade to `terminate` inside.
fn gateway_with_a_key_for_terminate_answers_for_no_device(light: bool) {
    // Its own key under the end's identity, and for a check that it plays the part well the end's own.
    for (key, is_established) in [(HOP_KEY, false), (END_KEY, true)] {
        let (mut world, trio) = world(light);
        let answered = Rc::new(RefCell::new(0));
        let count = Rc::clone(&answered);
        trio.attack(&mut world, move |to, message| {
            let Some((_, hello)) = inner_of(&message).filter(|_| to == Side::Device) else {
                return vec![(to, message)];
            };
            if !is_initiator_hello(hello) {
                return Vec::new();
            }
            *count.borrow_mut() += 1;
            vec![(Side::Internet, routed(2, &answer_by(key, hello)))]
        });
        ask(&mut world, trio, b"second");
        run(&mut world, 70);
        let internet = trio.internet(&world);
        assert_eq!(!internet.established.is_empty(), is_established);
        let failed = dropped(
            &world,
            trio,
            Side::Internet,
            DropReason::AuthenticationFailed,
        );
        let answered = *answered.borrow();
        assert_eq!(failed, if is_established { 0 } else { answered });
        assert!(answered >= 1);
        assert_eq!(internet.responses.len(), 0);
        assert_eq!(trio.device(&world).handled.len(), 0);
    }
}

fn downgraded_suite_group_and_version_are_detected(light: bool) {
    type Change = fn(&mut Vec<u8>);
    // The suite list begins at octet 68, the group at 71, its share at 73.
    let cases: [(Change, DropReason); 3] = [
        (|hello| hello[1] = 0, DropReason::UnsupportedVersion),
        (|hello| hello[69] = 2, DropReason::AuthenticationFailed),
        (
            // No group, and the share that goes with it: what an end would send without one.
            |hello| drop(hello.splice(71..74 + 32, [0, 0, 0])),
            DropReason::NotAcceptable,
        ),
    ];
    for (change, reason) in cases {
        let (mut world, trio) = world(light);
        downgrade(&mut world, trio, change);
        ask(&mut world, trio, b"second");
        run(&mut world, 70);
        let internet = trio.internet(&world);
        assert_eq!(internet.established, [], "{reason:?}");
        assert_eq!(internet.failed, [PeerFault::CredentialsRefused.into()]);
        assert_eq!(trio.device(&world).drops, each_hello(reason));
    }
}

/// The reason for each of five hellos, and that of the CLOSE of a flow that the device never had.
const fn each_hello(reason: DropReason) -> [DropReason; 6] {
    let mut reasons = [reason; 6];
    reasons[5] = DropReason::UnknownFlow;
    reasons
}

/// Has the gateway change the initiator's hello.
fn downgrade(world: &mut Net, trio: Trio, change: fn(&mut Vec<u8>)) {
    trio.attack(world, move |to, mut message| {
        if to == Side::Device && is_hello(&message) {
            let (begin, hello) = inner_of(&message).unwrap();
            let mut hello = hello.to_vec();
            change(&mut hello);
            message.truncate(begin);
            message.extend(hello);
        }
        vec![(to, message)]
    });
}

/// A device that lets others do without a key agreement still takes none out of a hello that had one: its MAC
/// is over the group.
fn group_taken_out_is_detected_by_a_device_that_needs_none(light: bool) {
    let (mut world, trio) = world(light);
    let known = Known::with_end_to_end(&[(b"gateway", HOP_KEY)], &[(b"end", END_KEY)]);
    let without = Settings::new(End::Device).without_forward_secrecy();
    inner::replace_device(&mut world, trio, known, light, without);
    downgrade(&mut world, trio, |hello| {
        hello.splice(71..74 + 32, [0, 0, 0]);
    });
    ask(&mut world, trio, b"second");
    run(&mut world, 70);
    assert_eq!(trio.internet(&world).established, []);
    let failed = each_hello(DropReason::AuthenticationFailed);
    assert_eq!(trio.device(&world).drops, failed);
}

/// An end that wants this mode has no other: nothing goes out in clear, or under a key that the gateway has.
fn downgraded_mode_is_refused_before_anything_is_sent(light: bool) {
    let (mut world, trio) = world(light);
    at(&mut world, trio.internet, |host, env, _| {
        let hop = Shown::new(b"gateway", HOP_KEY);
        let refused = host.endpoint.connect(env, Place(SERVER), Some(&hop));
        assert!(matches!(refused, Err(Error::Channel(_))), "{refused:?}");
        let refused = host.endpoint.connect(env, Place(SERVER), None);
        assert!(refused.is_err());
        let refused = host.endpoint.connect_inner(env, Place(SERVER), NAME, &hop);
        assert!(matches!(refused, Err(Error::Channel(_))), "{refused:?}");
    });
    run(&mut world, 5);
    assert_eq!(trio.gateway(&world).seen, []);
}

fn injected_alerts_and_closes_are_detected(light: bool) {
    // Data, alert, confirmation.
    for kind in [0x81, 0xa1, 0xc1] {
        let (mut world, trio) = established(light);
        let (internets, devices) = trio.gateway(&world).flows()[0];
        trio.act(&mut world, |gateway, env, out| {
            // Kind, sequence number, description and a tag that nobody can make.
            let forged = [kind, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8];
            gateway.inject(env, Side::Internet, &routed(internets, &forged), out);
            gateway.inject(env, Side::Device, &routed(devices, &forged), out);
        });
        run(&mut world, 1);
        for side in [Side::Device, Side::Internet] {
            let failed = dropped(&world, trio, side, DropReason::AuthenticationFailed);
            assert_eq!(failed, 1, "{side:?}");
        }
        let asked = ask(&mut world, trio, b"second");
        run(&mut world, 5);
        assert_answered(&world, trio, asked, b"second");
    }
}

/// In order it would be [`Event::Closed`](hedgerow_endpoint::Event::Closed).
fn close_and_the_end_of_an_outer_session_are_truncations(light: bool) {
    let truncated = [PeerFault::Truncated.into()];
    for reason in [CloseReason::Done, CloseReason::Gone, CloseReason::Refused] {
        for side in [Side::Internet, Side::Device] {
            let (mut world, trio) = established(light);
            trio.act(&mut world, |gateway, env, out| {
                gateway.close_flows(env, side, reason, out);
            });
            run(&mut world, 1);
            let host = match side {
                Side::Internet => trio.internet(&world),
                Side::Device => trio.device(&world),
            };
            assert_eq!((host.failed.as_slice(), host.closed), (&truncated[..], 0));
        }
    }
    // The hop in order, by the gateway's own close_notify.
    let (mut world, trio) = established(light);
    trio.act(&mut world, |gateway, env, out| gateway.close_hop(env, out));
    run(&mut world, 1);
    let device = trio.device(&world);
    assert_eq!(
        (device.failed.as_slice(), device.closed),
        (&truncated[..], 1)
    );
    // The stream.
    let (mut world, trio) = established(light);
    at(&mut world, trio.internet, |host, env, out| {
        host.endpoint.end_outer_stream(Place(SERVER));
        host.flush(env, out);
    });
    let internet = trio.internet(&world);
    assert_eq!(
        (internet.failed.as_slice(), internet.closed),
        (&truncated[..], 0)
    );
    // What an end closes itself is in order at the other one.
    let (mut world, trio) = established(light);
    at(&mut world, trio.internet, |host, env, out| {
        let id = host
            .endpoint
            .connect(env, Place(SERVER), Some(&shown()))
            .unwrap();
        host.endpoint.close(env, id).unwrap();
        host.flush(env, out);
    });
    run(&mut world, 1);
    let device = trio.device(&world);
    assert_eq!((device.failed.as_slice(), device.closed), (&[][..], 1));
}

/// A close before the far end is known says what the gateway says, and that it does.
fn refusal_by_the_gateway_is_told_as_its_own(light: bool) {
    for (reason, told) in [
        (CloseReason::Refused, WayRefusal::Refused),
        (CloseReason::Busy, WayRefusal::Busy),
        (CloseReason::Gone, WayRefusal::Gone),
    ] {
        for flow in [2, 0] {
            let (mut world, trio) = world(light);
            trio.attack(&mut world, |_, _| Vec::new());
            ask(&mut world, trio, b"second");
            run(&mut world, 1);
            trio.act(&mut world, |gateway, env, out| {
                let close = control(flow, &Control::Close(reason));
                gateway.inject(env, Side::Internet, &close, out);
            });
            run(&mut world, 1);
            let internet = trio.internet(&world);
            let refused = PeerFault::WayRefused { reason: told };
            assert_eq!(internet.failed, [refused.into()]);
        }
    }
}

/// The name proves nothing, and nothing comes of a wrong one.
fn lie_in_the_name_of_an_open_changes_nothing(light: bool) {
    let (mut world, trio) = world(light);
    trio.attack(&mut world, |to, message| {
        let (header, rest) = RoutingHeader::decode(&message).unwrap();
        let lie = match header.is_control.then(|| Control::decode(rest).unwrap()) {
            Some(Control::Open(open)) => control(
                header.flow,
                &Control::Open(Open {
                    name: b"mallory",
                    ..open
                }),
            ),
            _ => message,
        };
        vec![(to, lie)]
    });
    let asked = ask(&mut world, trio, b"second");
    run(&mut world, 5);
    assert_answered(&world, trio, asked, b"second");
    let known = Peer::EndToEndPsk(PeerId(1));
    assert_eq!(trio.device(&world).established[1], known);
}

/// The positive control is the identity, which the hellos show.
fn gateway_sees_the_identity_and_no_word_of_what_is_said(light: bool) {
    let (mut world, trio) = world(light);
    let secret = b"what the gateway must not read";
    let asked = ask(&mut world, trio, secret);
    run(&mut world, 5);
    assert_answered(&world, trio, asked, secret);
    let seen = &trio.gateway(&world).seen;
    let contains = |part: &[u8]| {
        let mut messages = seen.iter();
        messages.any(|(_, message)| message.windows(part.len()).any(|window| window == part))
    };
    assert!(contains(b"end"));
    for part in [&secret[..8], END_KEY, &body(8)] {
        assert!(!contains(part));
    }
}
