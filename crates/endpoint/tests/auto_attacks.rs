//! An active gateway in mode `auto`: the table of docs/specs/auto.md, cell by cell. The gateway has a
//! `terminate` key for the same device in all of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "common/carriers.rs"]
mod carriers;
#[path = "common/given.rs"]
mod given;
#[path = "common/records.rs"]
mod records;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use carriers::{
    Act, Attack, Client, GATEWAY, GATEWAY_UDP, IDENTITY, KEY, Net, Scenario, Seen, Store,
    TERMINATE, To, Way, at, config, end_to_end, ms, run_with,
};
use given::{assert_given, check_reasons};
use hedgerow_core::{DropReason, Env, Instant, PeerFault, Psk};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_proxy::{CarrierKind, CarrierState};
use hedgerow_sim::{TestRng, for_each_seed};
use rand_core::Rng;
use records::{ALERTS, in_clear, is_protected};

const CARRIERS: [CarrierKind; 2] = [CarrierKind::Tcp, CarrierKind::Udp];

/// Twelve requests in seven seconds, of which UDP carries those after two and a half.
fn plain() -> Scenario {
    Scenario::default()
}

fn pass() -> Act {
    Act::Beside(Vec::new())
}

fn drop_it() -> Act {
    Act::Instead(Vec::new())
}

/// How often an attack did what.
type Counts = [u64; 4];

/// Everything that goes on after the handshake has the attack; what it did is checked as if nothing had happened, and
/// whatever came to an end was taken, or dropped for the reason that it should be.
fn attacked(
    seed: u64,
    scenario: &Scenario,
    mut attack: impl FnMut(&Seen<'_>, &mut TestRng, &mut Counts) -> Act,
    look: impl FnOnce(&Net<'_>, Counts),
) {
    let counts = RefCell::new(Counts::default());
    let genuine = RefCell::new([BTreeSet::new(), BTreeSet::new()]);
    let attack = Box::new(|seen: &Seen<'_>, rng: &mut TestRng| {
        let to = usize::from(seen.way == Way::Down);
        genuine.borrow_mut()[to].insert(seen.datagram.to_vec());
        match is_protected(seen.datagram) && seen.asked > 1 {
            true => attack(seen, rng, &mut counts.borrow_mut()),
            false => pass(),
        }
    });
    run_with(seed, scenario, end_to_end(KEY), Some(attack), |net| {
        net.drain();
        net.check();
        for (given, genuine) in net.given.iter().zip(&*genuine.borrow()) {
            check_reasons(given, genuine, scenario.by_connection_id);
        }
        look(net, *counts.borrow());
    });
}

fn dropped(net: &Net<'_>, reason: DropReason) -> [u64; 2] {
    [net.device.dropped(reason), net.client.dropped(reason)]
}

fn slowest(net: &Net<'_>) -> Duration {
    let took = net.answered.iter().skip(1);
    took.map(|(begin, end)| end.saturating_since(*begin))
        .max()
        .unwrap()
}

#[test]
fn flipped_bit_is_found_on_either_carrier_and_in_either_direction() {
    let mut flips = [0_u64; 4];
    for_each_seed(0..100, |seed| {
        let injected = RefCell::new([Vec::new(), Vec::new()]);
        attacked(
            seed,
            &plain(),
            |seen, rng, counts| {
                if !rng.next_u32().is_multiple_of(4) {
                    return pass();
                }
                let mut changed = seen.datagram.to_vec();
                // Behind the record's header, of which the window judges before the tag does.
                let place = 13 + usize::try_from(rng.next_u32()).unwrap() % (changed.len() - 13);
                changed[place] ^= 1 << (rng.next_u32() % 8);
                let carrier = CARRIERS[usize::try_from(rng.next_u32() % 2).unwrap()];
                let (to, index) = match seen.way {
                    Way::Up(CarrierKind::Tcp) => (To::Device(GATEWAY), 0),
                    Way::Up(CarrierKind::Udp) => (To::Device(GATEWAY), 1),
                    Way::Down if carrier == CarrierKind::Tcp => (To::Client(carrier), 2),
                    Way::Down => (To::Client(carrier), 3),
                };
                counts[index] += 1;
                injected.borrow_mut()[index / 2].push(changed.clone());
                Act::Instead(vec![(10, to, changed)])
            },
            |net, counts| {
                assert_given(net, &injected.borrow());
                flips = std::array::from_fn(|index| flips[index] + counts[index]);
            },
        );
    });
    assert!(flips.iter().all(|&flips| flips > 10), "{flips:?}");
}

/// Each record again, at once and much later, on both carriers and from both addresses.
#[test]
fn replay_on_the_other_carrier_is_dropped() {
    for by_connection_id in [false, true] {
        let scenario = Scenario {
            by_connection_id,
            reorders: true,
            ..plain()
        };
        for_each_seed(0..100, |seed| {
            attacked(
                seed,
                &scenario,
                |seen, _, copies| {
                    let (index, tos) = match seen.way {
                        Way::Up(_) => (0, [GATEWAY, GATEWAY_UDP].map(To::Device)),
                        Way::Down => (1, CARRIERS.map(To::Client)),
                    };
                    copies[index] += 4;
                    let again = |to| [5, 700].map(|after| (after, to, seen.datagram.to_vec()));
                    Act::Beside(tos.into_iter().flat_map(again).collect())
                },
                |net, copies| {
                    let replayed = dropped(net, DropReason::Replayed);
                    let nobodys = net.device.dropped(DropReason::UnknownPeer);
                    // Without a connection ID a session is its address's, and nothing at another one.
                    assert_eq!(nobodys > 0, !by_connection_id);
                    for (end, dropped) in
                        [replayed[0] + nobodys, replayed[1]].into_iter().enumerate()
                    {
                        let given = net.given[end].iter().map(|given| &given.record[..]);
                        let given: Vec<_> = given.filter(|record| is_protected(record)).collect();
                        let again = given.len() - given.iter().collect::<BTreeSet<_>>().len();
                        assert_eq!(dropped, u64::try_from(again).unwrap());
                        // What went on both carriers comes to it.
                        assert!(dropped >= copies[end], "{dropped} {copies:?}");
                    }
                    assert_eq!(net.device.associations(), 1);
                },
            );
        });
    }
}

/// What went both ways under keys.
fn recorded(seed: u64) -> [Vec<Vec<u8>>; 2] {
    let mut kept = [Vec::new(), Vec::new()];
    attacked(
        seed,
        &plain(),
        |seen, _, _| {
            kept[usize::from(seen.way == Way::Down)].push(seen.datagram.to_vec());
            pass()
        },
        |_, _| {},
    );
    kept
}

/// Records of another tunnel's session, as they went there and turned round, and this one's turned round.
#[test]
fn splice_of_two_tunnels_and_reflection_are_dropped() {
    for_each_seed(0..50, |seed| {
        let [up, down] = recorded(seed + 10_000);
        let put_in = RefCell::new([Vec::new(), Vec::new()]);
        let mut number = 0;
        attacked(
            seed,
            &plain(),
            |seen, _, injected| {
                number += 1;
                let theirs = [&up[number % up.len()], &down[number % down.len()]];
                let own = seen.datagram.to_vec();
                let carrier = CARRIERS[number % 2];
                let mut sent = vec![
                    (1, To::Device(GATEWAY), theirs[0].clone()),
                    (2, To::Device(GATEWAY), theirs[1].clone()),
                    (1, To::Client(carrier), theirs[0].clone()),
                    (2, To::Client(carrier), theirs[1].clone()),
                ];
                sent.push(match seen.way {
                    Way::Up(carrier) => (0, To::Client(carrier), own),
                    Way::Down => (0, To::Device(GATEWAY), own),
                });
                for (_, to, record) in &sent {
                    let end = usize::from(matches!(to, To::Client(_)));
                    injected[end] += 1;
                    put_in.borrow_mut()[end].push(record.clone());
                }
                Act::Beside(sent)
            },
            |net, injected| {
                assert_given(net, &put_in.borrow());
                let forged = dropped(net, DropReason::AuthenticationFailed);
                let copies = dropped(net, DropReason::Replayed);
                for end in 0..2 {
                    // A number that was seen is dropped before any tag is looked at.
                    assert!(forged[end] > 5 && copies[end] > 0);
                    assert!(forged[end] + copies[end] >= injected[end]);
                }
                assert_eq!((net.established, net.device.associations()), (1, 1));
            },
        );
    });
}

/// What came by UDP is kept back while probes are answered, and then handed over.
#[test]
fn carrier_that_is_held_back_is_a_delay_and_nothing_else() {
    for_each_seed(0..100, |seed| {
        attacked(
            seed,
            &plain(),
            |seen, _, held| match seen.way {
                Way::Up(CarrierKind::Udp) if (3_000..6_000).contains(&seen.at_ms) => {
                    held[0] += 1;
                    let after = 6_000 - seen.at_ms;
                    Act::Instead(vec![(after, To::Device(GATEWAY), seen.datagram.to_vec())])
                }
                _ => pass(),
            },
            |net, held| {
                assert!(held[0] > 0 && slowest(net) > ms(2_000));
                // Nobody can tell: probes say nothing of the gateway's good will.
                assert!(net.was_active(3_000..6_000));
                assert_eq!(dropped(net, DropReason::AuthenticationFailed), [0, 0]);
            },
        );
    });
}

/// A device that takes requests for 2 s: one that is held back before it was challenged is challenged and comes
/// again; one that is held back with the device's Echo value isn't carried out, on whichever carrier it comes.
#[test]
fn request_that_was_held_back_is_refused_where_the_device_asks_for_freshness() {
    let scenario = Scenario {
        fresh_within: Some(ms(2_000)),
        ..plain()
    };
    for_each_seed(0..20, |seed| {
        // Nothing but its length tells the gateway which one has a value.
        let mut shortest = usize::MAX;
        let mut counts = [0_u64; 2];
        let attack: Attack<'_> = Box::new(|seen: &Seen<'_>, _: &mut TestRng| {
            let is_request = is_protected(seen.datagram) && seen.way != Way::Down;
            if !is_request || seen.asked < 2 {
                return pass();
            }
            shortest = shortest.min(seen.datagram.len());
            let has_value = seen.datagram.len() > shortest;
            if (seen.asked, has_value) != (6, true) && (seen.asked, has_value) != (8, false) {
                return pass();
            }
            counts[usize::from(has_value)] += 1;
            let held = (3_000, To::Device(GATEWAY), seen.datagram.to_vec());
            Act::Instead(vec![held])
        });
        run_with(seed, &scenario, end_to_end(KEY), Some(attack), |net| {
            net.drain();
            assert_eq!((net.failed, net.refused, net.closed), (0, None, 0));
            assert_eq!(net.unauthorized, 1);
            assert!(net.executed.values().all(|&times| times == 1));
            let executed: Vec<u32> = net
                .executed
                .keys()
                .map(|number| u32::from_be_bytes(number.as_slice().try_into().unwrap()))
                .collect();
            let all_but_the_sixth: Vec<u32> = (0..12).filter(|&number| number != 5).collect();
            assert_eq!(executed, all_but_the_sixth);
            // Each once, and the sixth again when its value was too old.
            assert_eq!(net.device.dropped(DropReason::NotFresh), 12 + 1);
        });
        assert!(counts.iter().all(|&held| held > 0), "{counts:?}");
    });
}

/// What came by UDP, and what was to go there, is kept back until the ends have gone on over TCP.
#[test]
fn records_of_a_dead_carrier_are_nobodys_second_request_or_answer() {
    let scenario = Scenario {
        blocked: 4_000..9_000,
        ..plain()
    };
    for_each_seed(0..100, |seed| {
        attacked(
            seed,
            &scenario,
            |seen, _, held| {
                let to = match seen.way {
                    Way::Up(CarrierKind::Udp) => To::Device(GATEWAY),
                    Way::Down => To::Client(CarrierKind::Udp),
                    Way::Up(CarrierKind::Tcp) => return pass(),
                };
                if !(3_000..4_000).contains(&seen.at_ms) {
                    return pass();
                }
                held[0] += 1;
                Act::Instead(vec![(6_000, to, seen.datagram.to_vec())])
            },
            |net, held| {
                assert!(held[0] > 0);
                let is_tcp = |it: &&(Instant, CarrierState)| {
                    it.0 > at(4_000) && it.1 == CarrierState::TcpOnly
                };
                assert!(net.states.iter().any(|it| is_tcp(&it)));
            },
        );
    });
}

#[test]
fn drop_on_a_carrier_whose_probes_are_answered_is_made_up_for() {
    for_each_seed(0..100, |seed| {
        attacked(
            seed,
            &plain(),
            |seen, _, _| match seen.way {
                Way::Up(CarrierKind::Udp) if (3_000..5_000).contains(&seen.at_ms) => drop_it(),
                _ => pass(),
            },
            |net, _| {
                assert!(net.was_active(3_000..5_000));
                assert!(slowest(net) > ms(1_900));
            },
        );
    });
}

#[test]
fn drop_that_lasts_ends_in_a_timeout_and_closes_nothing() {
    let scenario = Scenario {
        max_retransmit: 4,
        ..plain()
    };
    for_each_seed(0..20, |seed| {
        let attack = |seen: &Seen<'_>, _: &mut TestRng| match seen.way {
            Way::Up(_) if seen.at_ms > 3_000 => drop_it(),
            _ => pass(),
        };
        run_with(
            seed,
            &scenario,
            end_to_end(KEY),
            Some(Box::new(attack)),
            |net| {
                assert_eq!((net.failed, net.refused, net.closed), (1, None, 0));
                assert!(net.executed.values().all(|&times| times == 1));
            },
        );
    });
}

/// A fatal alert and a close_notify, in clear as of a handshake, and as if they were under keys.
fn alerts() -> Vec<Vec<u8>> {
    let mut forged = vec![21, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 60, 0, 18];
    forged.extend([0x5a; 18]);
    let [fatal, close] = ALERTS.map(in_clear);
    vec![fatal, close, forged]
}

#[test]
fn injected_alerts_and_closes_end_no_session() {
    for_each_seed(0..100, |seed| {
        attacked(
            seed,
            &plain(),
            |_, rng, injected| {
                let alert = &alerts()[usize::try_from(rng.next_u32() % 3).unwrap()];
                injected[0] += 1;
                let mut sent = vec![(1, To::Device(GATEWAY), alert.clone())];
                sent.extend(CARRIERS.map(|carrier| (1, To::Client(carrier), alert.clone())));
                Act::Beside(sent)
            },
            |net, [injected, ..]| {
                let [at_device, at_client] = [0, 1].map(|end| {
                    let given = net.given[end].iter();
                    let alerts = given.filter(|given| alerts().contains(&given.record));
                    u64::try_from(alerts.count()).unwrap()
                });
                assert_eq!([at_device, at_client], [injected, 2 * injected]);
                assert_eq!(net.established, 1);
            },
        );
    });
}

/// The gateway ends a carrier of its own, in order: that says nothing about the session in it.
#[test]
fn close_of_the_udp_carrier_is_no_close_of_the_session() {
    for_each_seed(0..100, |seed| {
        let mut is_done = false;
        attacked(
            seed,
            &plain(),
            |seen, _, _| match seen.way {
                Way::Down if seen.at_ms > 4_000 && !is_done => {
                    is_done = true;
                    Act::Beside(vec![(1, To::Opened(false), Vec::new())])
                }
                _ => pass(),
            },
            |net, _| {
                let mut states = net.states.iter().filter(|it| it.0 > at(4_000));
                assert_eq!(states.next().unwrap().1, CarrierState::TcpOnly);
                assert_eq!((net.established, net.device.associations()), (1, 1));
            },
        );
    });
}

/// Before Finished nothing is authenticated: who could drop the handshake can have it fail as well.
#[test]
fn alert_before_finished_ends_a_handshake_at_most() {
    for_each_seed(0..20, |seed| {
        let mut number = 0;
        let attack = |seen: &Seen<'_>, _: &mut TestRng| match seen.way {
            Way::Up(_) => {
                number += 1;
                match number {
                    2 => Act::Instead(vec![(1, To::Client(CarrierKind::Tcp), alerts().remove(0))]),
                    _ => pass(),
                }
            }
            Way::Down => pass(),
        };
        run_with(
            seed,
            &plain(),
            end_to_end(KEY),
            Some(Box::new(attack)),
            |net| {
                assert!(net.refused.is_some());
                assert_eq!((net.established, net.closed), (0, 0));
                assert!(net.executed.is_empty());
            },
        );
    });
}

/// The device's handshake goes on, at whatever time the alert comes.
#[test]
fn alert_before_finished_leaves_the_devices_handshake_alone() {
    for_each_seed(0..5, |seed| {
        for (before, alert) in (1..=4).flat_map(|n| ALERTS.map(in_clear).map(|alert| (n, alert))) {
            let mut number = 0;
            let attack = |seen: &Seen<'_>, _: &mut TestRng| {
                number += u32::from(matches!(seen.way, Way::Up(_)));
                match seen.way {
                    Way::Up(_) if number == before => {
                        Act::Beside(vec![(1, To::Device(GATEWAY), alert.clone())])
                    }
                    _ => pass(),
                }
            };
            let attack: carriers::Attack<'_> = Box::new(attack);
            run_with(seed, &plain(), end_to_end(KEY), Some(attack), |net| {
                net.drain();
                net.check();
                assert_eq!(net.established, 1);
                // Until an address has proved itself nothing is kept of it (RFC 6347 §4.2.1).
                let reason = match before {
                    ..=2 => DropReason::UnknownPeer,
                    _ => DropReason::IgnoredAlert,
                };
                let given = net.given[0].iter().filter(|given| given.record == alert);
                let reasons: Vec<_> = given.map(|given| given.dropped).collect();
                assert_eq!(reasons, [Some(reason)], "{before}");
            });
        }
    });
}

/// Another device under the same name, with a key of its own, and the gateway itself with the key that it has.
#[test]
fn other_devices_and_the_gateway_itself_establish_nothing() {
    for_each_seed(0..20, |seed| {
        let others = end_to_end(b"another device's");
        for key in [others, Psk::new(TERMINATE).unwrap()] {
            run_with(seed, &plain(), key, None, |net| {
                assert_eq!(net.refused, Some(PeerFault::CredentialsRefused.into()));
                assert_eq!((net.established, net.closed), (0, 0));
                assert!(net.executed.is_empty());
            });
        }
    });
}

/// In mid-session the tunnel leads to another device, whose answers come back.
#[test]
fn device_that_is_swapped_in_mid_session_understands_nothing() {
    for_each_seed(0..50, |seed| {
        let store = Store(vec![(IDENTITY, end_to_end(b"another device's"))]);
        let mut rng = TestRng::new(seed + 20_000);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let mut other = Client::server(SoftCrypto, &store, config(&plain(), true), env);
        let mut swapped = 0;
        attacked(
            seed,
            &plain(),
            |seen, rng, _| match seen.way {
                Way::Up(carrier) if (3_000..6_000).contains(&seen.at_ms) => {
                    swapped += 1;
                    let mut answer = [0; 64];
                    let mut datagram = seen.datagram.to_vec();
                    let env = &mut Env::new(at(seen.at_ms), rng);
                    let handled = other.handle_datagram(env, GATEWAY, &mut datagram, &mut answer);
                    let answer = answer[..handled.answer].to_vec();
                    let answers = (!answer.is_empty()).then_some((5, To::Client(carrier), answer));
                    Act::Instead(answers.into_iter().collect())
                }
                _ => pass(),
            },
            |net, _| assert_eq!(net.established, 1),
        );
        assert!(swapped > 0);
        assert_eq!(other.dropped(DropReason::UnknownPeer), swapped);
    });
}
