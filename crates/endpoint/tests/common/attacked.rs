//! What tests of an active gateway have in common: a session that is attacked, and what may never come
//! of it.

#![allow(dead_code, unreachable_pub)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_core::{DropReason, Peer, PeerFault, PeerId};
use hedgerow_endpoint::{Config, ForwardSecrecy, SecurityPolicy};
use hedgerow_exchange::TransmissionParameters;
use hedgerow_handshake::Settings;
use hedgerow_record::CipherSuite;
use hedgerow_sim::{Address, World};

use super::carried::{
    Attack, Carrying, DEVICE, GATEWAY, Net, OTHER, TERMINATE, Trio, Way, at, defaults, device, end,
    end_to_end, trio,
};
use super::common::{IDENTITY, body, fresh};
use super::records::{ALERTS, OFFER, forged_alert, in_clear, weaken_offer};

pub const WAYS: [Way; 2] = [Way::ToDevice, Way::ToInternetEnd];
pub const SECOND: Duration = Duration::from_secs(1);
pub const CCM_8: CipherSuite = CipherSuite::TLS_PSK_WITH_AES_128_CCM_8;

/// The ends want security end to end, with the suite alone that RFC 7252 makes mandatory.
pub fn config() -> Config {
    let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Optional);
    Config {
        security: Arc::new(policy),
        ..defaults(CCM_8)
    }
}

pub fn net<B: Carrying>(between: B) -> (Net<B>, Trio) {
    let mut world = World::new(11);
    let trio = trio(&mut world, between, &config());
    (world, trio)
}

/// Asks for a body of the length that `payload` names.
pub fn ask<B: Carrying>(world: &mut Net<B>, trio: Trio, payload: &[u8]) {
    send(world, trio, Code::GET, payload);
}

pub fn send<B: Carrying>(world: &mut Net<B>, trio: Trio, code: Code, payload: &[u8]) {
    let shown = end_to_end();
    at(world, trio.client, |host, env, out| {
        host.ask(env, out, &shown, code, payload)
    });
}

/// A world with a session in it, and one answer.
pub fn session<B: Carrying>(between: B) -> (Net<B>, Trio) {
    session_with(between, &config())
}

pub fn session_with<B: Carrying>(between: B, config: &Config) -> (Net<B>, Trio) {
    let mut world = World::new(11);
    let trio = trio(&mut world, between, config);
    ask(&mut world, trio, b"1");
    world.run_for(3 * SECOND).unwrap();
    assert_eq!(
        trio.client(&world).established,
        [Peer::EndToEndPsk(PeerId(2))]
    );
    assert_eq!(trio.client(&world).responses.len(), 1);
    assert_eq!(trio.client(&world).drops, []);
    (world, trio)
}

pub fn attack<B: Carrying>(
    world: &mut Net<B>,
    trio: Trio,
    attack: impl FnMut(Way, Vec<u8>) -> Vec<Vec<u8>> + 'static,
) {
    let attack: Attack = Box::new(attack);
    trio.act(world, |between, _| *between.attack() = Some(attack));
}

/// Whatever was done, who asked has the right answer or none, and nothing was done twice.
pub fn nothing_wrong<B: Carrying>(world: &Net<B>, trio: Trio, asked: &[u8], len: usize) {
    for (code, answer) in trio.client(world).responses.values() {
        assert_eq!(*code, Code::CONTENT);
        assert!(*answer == body(1) || *answer == body(len));
    }
    let handled = trio.device(world).handled.get(asked);
    assert!(handled.is_none_or(|&count| count == 1));
    assert_eq!(trio.client(world).closed + trio.device(world).closed, 0);
}

/// Does something once, to the first of a way that `matches`.
pub fn once(
    way: Way,
    matches: impl Fn(&[u8]) -> bool,
    mut act: impl FnMut(Vec<u8>) -> Vec<Vec<u8>>,
) -> impl FnMut(Way, Vec<u8>) -> Vec<Vec<u8>> {
    let mut is_done = false;
    move |this, bytes| {
        if is_done || this != way || !matches(&bytes) {
            return vec![bytes];
        }
        is_done = true;
        act(bytes)
    }
}

/// Each byte of each datagram of the handshake that is in clear, or each `step`-th: what is established has the ends' own
/// keys, and a message that says something else ends in nothing established.
pub fn flipped_bits_of_the_handshake_establish_nothing_wrong<B: Carrying>(
    net: impl Fn() -> (Net<B>, Trio),
    is_protected: impl Fn(&[u8]) -> bool + Copy + 'static,
    step: usize,
) {
    let mut unestablished = 0;
    for way in WAYS {
        for n in 0.. {
            let mut len = 0;
            for at in (0..).step_by(step) {
                let (mut world, trio) = net();
                let seen = Arc::new(Mutex::new(0));
                let told = Arc::clone(&seen);
                let mut count = 0;
                attack(&mut world, trio, move |this, mut datagram| {
                    if this == way && !is_protected(&datagram) {
                        if count == n {
                            *told.lock().unwrap() = datagram.len();
                            if let Some(byte) = datagram.get_mut(at) {
                                *byte ^= 1 << (at % 8);
                            }
                        }
                        count += 1;
                    }
                    vec![datagram]
                });
                ask(&mut world, trio, b"2");
                world.run_for(120 * SECOND).unwrap();
                nothing_wrong(&world, trio, b"2", 2);
                len = *seen.lock().unwrap();
                let is_answered = trio.client(&world).responses.len() == 1;
                assert!(is_answered || !trio.client(&world).failed.is_empty());
                // A device that believes in a session has verified the client's Finished.
                let established =
                    [trio.client(&world), trio.device(&world)].map(|end| end.established.len());
                assert!(established[1] >= established[0]);
                unestablished += usize::from(established[0] == 0);
                if at >= len {
                    assert!(is_answered, "nothing was flipped");
                    break;
                }
            }
            if len == 0 {
                assert!(n >= 3, "{n} datagrams in clear");
                break;
            }
        }
    }
    assert!(
        unestablished > 60 / step,
        "{unestablished} handshakes failed"
    );
}

/// Each bit of each octet of a record under keys, between what was there before and the record itself.
pub fn each_flipped_bit_of_a_record_is_found<B: Carrying>(
    session: impl Fn() -> (Net<B>, Trio),
    way: Way,
    is_protected: impl Fn(&[u8]) -> bool + Copy + 'static,
    inject: impl Fn(&mut Net<B>, Trio, &[u8]),
) {
    // A session for each, so that no forgeries call for new keys (RFC 9147 §4.5.3).
    for bit in 0..8 {
        let (mut world, trio) = session();
        let record = withheld(&mut world, trio, way, is_protected);
        assert!(record.len() > 13 + 8 + 8);
        for octet in 0..record.len() {
            let mut flipped = record.clone();
            flipped[octet] ^= 1 << bit;
            let before = drops(&world, trio, way).len();
            inject(&mut world, trio, &flipped);
            world.run_for(Duration::from_millis(25)).unwrap();
            assert_eq!(
                drops(&world, trio, way)[before..],
                why_flipped(&record, octet, &flipped),
                "{way:?}, octet {octet}, bit {bit}"
            );
        }
        inject(&mut world, trio, &record);
        world.run_for(Duration::from_millis(50)).unwrap();
        nothing_wrong(&world, trio, b"2", 2);
        assert_eq!(trio.client(&world).responses.len(), 2, "{way:?} {bit}");
    }
}

/// Why such a record is dropped, and once more where it looks like two.
fn why_flipped(record: &[u8], octet: usize, flipped: &[u8]) -> Vec<DropReason> {
    let len = |record: &[u8]| u16::from_be_bytes([record[11], record[12]]);
    match octet {
        // The higher part is the same in every version of DTLS.
        1 => vec![DropReason::Malformed],
        2 => vec![DropReason::UnsupportedVersion],
        3 | 4 => vec![DropReason::UnexpectedEpoch],
        // All numbers before it were seen.
        5..=10 if flipped[5..11] < record[5..11] => vec![DropReason::Replayed],
        11 | 12 if len(flipped) > len(record) => vec![DropReason::Malformed],
        // Nonce and tag, 8 octets each.
        11 | 12 if len(flipped) < 16 => vec![DropReason::Malformed; 2],
        11 | 12 => vec![DropReason::AuthenticationFailed, DropReason::Malformed],
        _ => vec![DropReason::AuthenticationFailed],
    }
}

/// Asks, and keeps the request or its answer.
fn withheld<B: Carrying>(
    world: &mut Net<B>,
    trio: Trio,
    way: Way,
    is_protected: impl Fn(&[u8]) -> bool + 'static,
) -> Vec<u8> {
    let held = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&held);
    let hold = once(way, is_protected, move |record| {
        *keep.lock().unwrap() = record;
        Vec::new()
    });
    attack(world, trio, hold);
    ask(world, trio, b"2");
    world.run_for(Duration::from_millis(200)).unwrap();
    let held = held.lock().unwrap().clone();
    assert!(!held.is_empty());
    held
}

fn drops<B: Carrying>(world: &Net<B>, trio: Trio, way: Way) -> &[DropReason] {
    match way {
        Way::ToDevice => &trio.device(world).drops,
        Way::ToInternetEnd => &trio.client(world).drops,
    }
}

/// Within the window a record that was held back counts, as DTLS has it; CoAP has no use for an answer
/// that came before, and carries no request out twice. Beyond the window it is too old.
pub fn held_back_record_is_taken_within_the_window<B: Carrying>(
    session: impl Fn() -> (Net<B>, Trio),
    way: Way,
    is_protected: impl Fn(&[u8]) -> bool + Copy + 'static,
    inject: impl Fn(&mut Net<B>, Trio, &[u8]),
) {
    for requests in [1, 70] {
        let (mut world, trio) = session();
        let held = withheld(&mut world, trio, way, is_protected);
        world.run_for(5 * SECOND).unwrap();
        for _ in 1..requests {
            ask(&mut world, trio, b"2");
            world.run_for(5 * SECOND).unwrap();
        }
        let answers = trio.client(&world).responses.len();
        assert_eq!(answers, requests + 1);
        let before = WAYS.map(|way| drops(&world, trio, way).len());
        inject(&mut world, trio, &held);
        world.run_for(SECOND).unwrap();
        assert_eq!(trio.client(&world).responses.len(), answers);
        let handled = trio.device(&world).handled[&b"2"[..]];
        assert_eq!(usize::try_from(handled), Ok(requests));
        let (unmatched, too_old) = (vec![DropReason::Unmatched], vec![DropReason::TooOld]);
        let expected = match (way, requests) {
            // The request is one that was answered, and so is what it gets.
            (Way::ToDevice, 1) => [vec![DropReason::Duplicate], unmatched],
            (Way::ToDevice, _) => [too_old, Vec::new()],
            (Way::ToInternetEnd, 1) => [Vec::new(), unmatched],
            (Way::ToInternetEnd, _) => [Vec::new(), too_old],
        };
        let [of_device, of_client] =
            [0, 1].map(|end| &drops(&world, trio, WAYS[end])[before[end]..]);
        assert_eq!(
            [of_device, of_client],
            [&expected[0][..], &expected[1]],
            "{way:?} {requests}"
        );
    }
}

/// Whoever it comes from, and at whatever time: a server's handshake goes on, and its session comes about.
pub fn alert_in_clear_leaves_the_devices_handshake_alone<B: Carrying>(between: impl Fn() -> B) {
    let mut ignored = 0;
    for alert in ALERTS.map(in_clear) {
        for after in (10..200).step_by(10) {
            let (mut world, trio) = net(between());
            ask(&mut world, trio, b"2");
            world.run_for(Duration::from_millis(after)).unwrap();
            let is_established = !trio.device(&world).established.is_empty();
            world.send(GATEWAY, DEVICE, &alert);
            world.run_for(3 * SECOND).unwrap();
            nothing_wrong(&world, trio, b"2", 2);
            assert_eq!(trio.client(&world).responses.len(), 1, "after {after} ms");
            let drops = &trio.device(&world).drops;
            assert_eq!(drops.len(), 1, "after {after} ms");
            ignored += usize::from(!is_established && drops[0] == DropReason::IgnoredAlert);
        }
    }
    assert!(ignored >= 6, "{ignored} came in the midst of a handshake");
}

/// With a nonce and a tag, so that it is tried under the session's keys: neither a fatal alert nor a close.
pub fn forged_alert_under_the_sessions_epoch_is_not_authentic<B: Carrying>(
    session: impl Fn() -> (Net<B>, Trio),
    inject: impl Fn(&mut Net<B>, Trio, Way, &[u8]),
) {
    let (mut world, trio) = session();
    for way in WAYS {
        inject(&mut world, trio, way, &forged_alert());
    }
    world.run_for(SECOND).unwrap();
    for end in [trio.client(&world), trio.device(&world)] {
        assert_eq!(end.drops, [DropReason::AuthenticationFailed]);
        assert_eq!((end.closed, end.failed.len()), (0, 0));
    }
    ask(&mut world, trio, b"2");
    world.run_for(3 * SECOND).unwrap();
    nothing_wrong(&world, trio, b"2", 2);
    assert_eq!(trio.client(&world).responses.len(), 2);
    assert_eq!(trio.client(&world).established.len(), 1);
}

/// The gateway takes the better suite out of the offer.
pub fn weaker_offer_is_found_out_by_both_ends<B: Carrying>(between: impl Fn() -> B) {
    let config = Config {
        handshake: Settings::new(&OFFER),
        ..config()
    };
    for is_attacked in [false, true] {
        let mut world = World::new(11);
        let trio = trio(&mut world, between(), &config);
        let weakened = Arc::new(Mutex::new(0));
        let count = Arc::clone(&weakened);
        if is_attacked {
            attack(&mut world, trio, move |way, mut bytes| {
                if way == Way::ToDevice && weaken_offer(&mut bytes) {
                    *count.lock().unwrap() += 1;
                }
                vec![bytes]
            });
        }
        ask(&mut world, trio, b"2");
        world.run_for(120 * SECOND).unwrap();
        assert_eq!(*weakened.lock().unwrap() > 0, is_attacked);
        let established = usize::from(!is_attacked);
        assert_eq!(trio.client(&world).established.len(), established);
        assert_eq!(trio.device(&world).established.len(), established);
        assert_eq!(trio.client(&world).responses.len(), established);
    }
}

/// Another device with the same identity and a key of its own; and the gateway in the device's place, with the
/// key that it has for `terminate`.
pub fn other_devices_and_the_gateway_itself_establish_nothing<B: Carrying>(
    leading_to: impl Fn(Address) -> B,
) {
    for psk in [&b"another device's"[..], TERMINATE] {
        let (mut world, trio) = net(leading_to(OTHER));
        let other = device(&mut world, OTHER, &[(IDENTITY, psk)], &config());
        ask(&mut world, trio, b"2");
        world.run_for(120 * SECOND).unwrap();
        for end in [trio.client(&world), end(&world, other), trio.device(&world)] {
            assert_eq!(end.established, []);
            assert!(end.handled.is_empty() && end.responses.is_empty());
        }
        assert_eq!(end(&world, other).handshakes_failed.len(), 1);
        let failed = &trio.client(&world).failed;
        assert_eq!(*failed, [PeerFault::CredentialsRefused.into()]);
    }
}

/// Answers that come in the other order are still each its own request's.
pub fn reordered_records_are_matched_by_their_tokens<B: Carrying>(between: impl Fn() -> B) {
    for way in WAYS {
        // Two requests under way at once.
        let transmission = TransmissionParameters {
            nstart: 2,
            ..TransmissionParameters::default()
        };
        let config = Config {
            exchange: Arc::new(hedgerow_exchange::Config::new(transmission)),
            ..config()
        };
        let mut world = World::new(11);
        let trio = trio(&mut world, between(), &config);
        ask(&mut world, trio, b"1");
        world.run_for(3 * SECOND).unwrap();
        let mut held: Option<Vec<u8>> = None;
        attack(&mut world, trio, move |this, bytes| {
            if this != way {
                return vec![bytes];
            }
            match held.take() {
                Some(first) => vec![bytes, first],
                None => {
                    held = Some(bytes);
                    Vec::new()
                }
            }
        });
        let shown = end_to_end();
        let asked = at(&mut world, trio.client, |host, env, out| {
            [b"21", b"22"].map(|payload| host.ask(env, out, &shown, Code::GET, payload))
        });
        // Too short for a retransmission.
        world.run_for(SECOND).unwrap();
        let responses = &trio.client(&world).responses;
        for (asked, len) in asked.iter().zip([21, 22]) {
            assert_eq!(responses[asked], (Code::CONTENT, body(len)), "{way:?}");
        }
        for end in [trio.client(&world), trio.device(&world)] {
            assert_eq!(end.drops, [], "{way:?}");
        }
    }
}

/// A request that the gateway keeps for as long as it likes, while nobody asks for anything else, is carried
/// out when it comes: that is what Echo is for (RFC 9175 §2), where the device asks for it.
pub fn delayed_request_is_carried_out_late_unless_the_device_asks_for_freshness<B: Carrying>(
    between: impl Fn() -> B,
) {
    for (fresh_within, delay, is_carried_out) in [
        (None, 400 * SECOND, true),
        (Some(10 * SECOND), 400 * SECOND, false),
        (Some(10 * SECOND), SECOND, true),
    ] {
        let (mut world, trio) = session_with(between(), &fresh(config(), fresh_within));
        // The request, or what comes after the challenge: the request with an Echo value.
        let mut passing = u32::from(fresh_within.is_some());
        let held = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&held);
        attack(&mut world, trio, move |way, bytes| {
            if way == Way::ToInternetEnd {
                return vec![bytes];
            }
            if passing > 0 {
                passing -= 1;
                return vec![bytes];
            }
            keep.lock().unwrap().get_or_insert(bytes);
            Vec::new()
        });
        send(&mut world, trio, Code::POST, b"unlock");
        world.run_for(delay).unwrap();
        assert!(!trio.device(&world).handled.contains_key(&b"unlock"[..]));
        let held = held.lock().unwrap().clone().unwrap();
        world.send(GATEWAY, DEVICE, &held);
        world.run_for(SECOND).unwrap();
        let device = trio.device(&world);
        assert_eq!(
            device.handled.contains_key(&b"unlock"[..]),
            is_carried_out,
            "{fresh_within:?}, {delay:?}"
        );
        // Without a value once, and with one that is too old.
        let refused = fresh_within.map_or(0, |_| 1 + u64::from(!is_carried_out));
        assert_eq!(device.endpoint.dropped(DropReason::NotFresh), refused);
        // After so long whoever asked has given up.
        let answers = usize::from(delay == SECOND);
        assert_eq!(trio.client(&world).responses.len(), 1 + answers);
    }
}

/// What is held back for longer than the device takes, and then comes while the client still waits: the request
/// itself is challenged and comes again, once; with the value it is refused for good.
pub fn delayed_request_is_challenged_and_comes_again_once<B: Carrying>(between: impl Fn() -> B) {
    for (held, code, count) in [(0, Code::CHANGED, 1), (1, Code::UNAUTHORIZED, 0)] {
        let (mut world, trio) = session_with(between(), &fresh(config(), Some(10 * SECOND)));
        let kept = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&kept);
        let mut passing = held;
        attack(&mut world, trio, move |way, bytes| {
            if way == Way::ToInternetEnd || passing > 0 {
                passing -= i32::from(way == Way::ToDevice);
                return vec![bytes];
            }
            keep.lock().unwrap().get_or_insert(bytes);
            Vec::new()
        });
        send(&mut world, trio, Code::POST, b"unlock");
        world.run_for(20 * SECOND).unwrap();
        assert_eq!(trio.client(&world).responses.len(), 1);
        trio.act(&mut world, |between, _| *between.attack() = None);
        let kept = kept.lock().unwrap().clone().unwrap();
        world.send(GATEWAY, DEVICE, &kept);
        world.run_for(60 * SECOND).unwrap();
        let device = trio.device(&world);
        let refused = device.endpoint.dropped(DropReason::NotFresh);
        assert_eq!(refused, if held == 0 { 1 } else { 2 });
        let carried_out = device.handled.get(&b"unlock"[..]);
        assert_eq!(carried_out.copied().unwrap_or(0), count, "{held}");
        let responses = trio.client(&world).responses.values();
        let codes: Vec<Code> = responses.map(|(code, _)| *code).collect();
        assert_eq!((codes.len(), codes[1]), (2, code), "{held}");
    }
}

pub fn lasting_silence_ends_in_a_timeout<B: Carrying>(session: impl Fn() -> (Net<B>, Trio)) {
    for way in WAYS {
        let (mut world, trio) = session();
        attack(&mut world, trio, move |this, bytes| match this == way {
            true => Vec::new(),
            false => vec![bytes],
        });
        send(&mut world, trio, Code::POST, b"once");
        world.run_for(400 * SECOND).unwrap();
        let client = trio.client(&world);
        assert_eq!(client.responses.len(), 1);
        // The client asks the silent device for a new session first, and nobody answers that either.
        assert_eq!(client.failures, [], "{way:?}");
        let failed = [PeerFault::HandshakeTimeout.into()];
        assert_eq!(client.failed, failed, "{way:?}");
        let handled = trio.device(&world).handled.get(&b"once"[..]);
        assert_eq!(
            handled.copied().unwrap_or(0),
            u32::from(way == Way::ToInternetEnd)
        );
        assert_eq!(client.closed + trio.device(&world).closed, 0);
    }
}
