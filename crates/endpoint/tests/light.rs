//! The light outer layer of mode `itls` on a device's hop (docs/specs/itls.md): when it is used, what it
//! costs, what loss does to it, and what outsiders can't do with it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;
#[path = "common/inner.rs"]
mod inner;
#[path = "light/tries.rs"]
mod tries;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use common::{body, defaults, patient};
use hedgerow_coap::Code;
use hedgerow_core::{DropReason, PeerFault};
use hedgerow_endpoint::{AssociationId, Config, ConnectionIdFormat, ConnectionIds};
use hedgerow_exchange::OutgoingRequest;
use hedgerow_handshake::Settings;
use hedgerow_itls::{Control, Open, RoutingHeader};
use hedgerow_record::CipherSuite;
use hedgerow_sim::{Address, Conditions, Fault, World, for_each_seed};
use inner::{
    DEVICE, GATEWAY, Net, Side, Trio, ask_back, at, control, routed, shown, trio, trio_with,
};

const BOTH: [(Address, Address); 2] = [(GATEWAY, DEVICE), (DEVICE, GATEWAY)];

fn light(config: Config) -> Config {
    Config {
        light_layer: true,
        ..config
    }
}

fn with_ids(config: Config) -> Config {
    Config {
        connection_ids: ConnectionIds::Both(ConnectionIdFormat::new(0x0102)),
        ..config
    }
}

fn world(config: &Config) -> (Net, Trio) {
    let mut world = World::new(7);
    world.set_conditions(Conditions::default());
    let trio = trio(&mut world, config);
    (world, trio)
}

fn ask(world: &mut Net, trio: Trio, payload: &[u8]) -> (AssociationId, OutgoingRequest) {
    at(world, trio.internet, |host, env, out| {
        host.ask(env, out, &shown(), Code::POST, payload)
    })
}

/// Asks for a body of as many bytes as the payload says.
fn ask_for(world: &mut Net, trio: Trio, payload: &[u8]) -> (AssociationId, OutgoingRequest) {
    at(world, trio.internet, |host, env, out| {
        host.ask(env, out, &shown(), Code::GET, payload)
    })
}

fn run(world: &mut Net, seconds: u64) {
    world.run_for(Duration::from_secs(seconds)).unwrap();
}

/// Asks, and has the answer within a second.
fn ask_at_once(world: &mut Net, trio: Trio, payload: &[u8]) {
    let asked = ask(world, trio, payload);
    run(world, 1);
    let len = payload.len().to_string().into_bytes();
    let responses = &trio.internet(world).responses;
    assert_eq!(responses.get(&asked), Some(&(Code::CHANGED, len)));
}

const fn is_light(datagram: &[u8]) -> bool {
    matches!(datagram, [0xc0..=0xff, ..])
}

/// Datagrams of one direction, in the order in which they were sent.
type Sent = Rc<RefCell<Vec<Vec<u8>>>>;

fn record(world: &mut Net, (from, to): (Address, Address)) -> Sent {
    let sent = Sent::default();
    let kept = Rc::clone(&sent);
    world.direction(from, to).rewrite(move |datagram| {
        kept.borrow_mut().push(datagram.clone());
        false
    });
    sent
}

fn lights(sent: &Sent) -> Vec<Vec<u8>> {
    let sent = sent.borrow();
    sent.iter().filter(|it| is_light(it)).cloned().collect()
}

/// A session over which something was asked and answered, and what was sent each way.
fn established(config: &Config) -> (Net, Trio, [Sent; 2]) {
    let (mut world, trio) = world(config);
    let sent = BOTH.map(|way| record(&mut world, way));
    ask_at_once(&mut world, trio, b"first");
    (world, trio, sent)
}

fn drops(world: &Net, trio: Trio, at: Side, reason: DropReason) -> u64 {
    match at {
        Side::Device => trio.device(world).endpoint.dropped(reason),
        Side::Internet => trio.gateway(world).endpoint().dropped(reason),
    }
}

/// Why a side drops what comes, each reason as often as it does.
fn why(
    world: &mut Net,
    trio: Trio,
    at: Side,
    (from, to): (Address, Address),
    datagram: &[u8],
) -> Vec<DropReason> {
    let counts = |world: &Net| {
        let reasons = DropReason::ALL.iter();
        reasons
            .map(|&reason| drops(world, trio, at, reason))
            .collect::<Vec<_>>()
    };
    let before = counts(world);
    world.send(from, to, datagram);
    // As long as it takes.
    world.run_for(Duration::from_millis(11)).unwrap();
    let after = counts(world);
    let more = before.iter().zip(after).zip(DropReason::ALL);
    more.flat_map(|((before, after), &reason)| (*before..after).map(move |_| reason))
        .collect()
}

/// All that either side of the hop dropped.
fn all_drops(world: &Net, trio: Trio, at: Side) -> u64 {
    DropReason::ALL
        .iter()
        .map(|&reason| drops(world, trio, at, reason))
        .sum()
}

#[test]
fn layer_is_used_where_both_sides_of_the_hop_have_it_and_whoever_opens() {
    for (at_device, at_gateway) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut world = World::new(7);
        let config = |has_it| Config {
            light_layer: has_it,
            ..defaults()
        };
        let trio = trio_with(&mut world, &config(at_device), &config(at_gateway));
        let sent = BOTH.map(|way| record(&mut world, way));
        let expected = usize::from(at_device && at_gateway);
        ask_at_once(&mut world, trio, b"first");
        // The device agrees by its answer. The confirmation and the request before are records.
        let counts = [&sent[0], &sent[1]].map(|sent| lights(sent).len());
        assert_eq!(counts, [0, expected], "{at_device} {at_gateway}");
        ask_at_once(&mut world, trio, b"second");
        let counts = [&sent[0], &sent[1]].map(|sent| lights(sent).len());
        assert_eq!(counts, [expected, 2 * expected]);
        // What the device opens it asks for, and the gateway agrees by the answer.
        ask_back(&mut world, trio, Code::POST, b"reading");
        run(&mut world, 1);
        ask_back(&mut world, trio, Code::POST, b"another");
        run(&mut world, 1);
        assert_eq!(trio.device(&world).responses.len(), 2);
        let counts = [&sent[0], &sent[1]].map(|sent| lights(sent).len());
        assert_eq!(counts, [3 * expected, 3 * expected]);
        assert_eq!(all_drops(&world, trio, Side::Device), 0);
        assert_eq!(all_drops(&world, trio, Side::Internet), 0);
    }
}

/// The table of the specification: octets above the plaintext, both legs, numbers below 256.
#[test]
fn messages_cost_what_the_specification_says() {
    for (light_layer, of_device) in [(true, 1 + 2 + 10 + 8), (false, 29 + 1 + 10)] {
        let config = Config {
            light_layer,
            handshake: Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM_8]),
            ..defaults()
        };
        let (mut world, trio, [down, up]) = established(&config);
        let way_in = record(&mut world, (common::CLIENT, common::SERVER));
        let way_out = record(&mut world, (common::SERVER, common::CLIENT));
        ask_at_once(&mut world, trio, b"second");
        for (at_stream, at_hop) in [(way_in, down), (way_out, up)] {
            let at_stream = at_stream.borrow().last().unwrap().len();
            let at_hop = at_hop.borrow().last().unwrap().len();
            // Routing header and inner layer; a length of two octets and TLS's record come to it.
            let plaintext = at_stream - (1 + 10);
            assert_eq!(at_stream + 2 + 21, plaintext + 34);
            assert_eq!(at_hop, plaintext + of_device, "{light_layer}");
        }
    }
}

/// 30 blocks of 1,024 bytes.
const HISTORY: &[u8] = b"30720";

/// Requests in both directions and a long answer at a rate of loss, with delay, duplicates and reordering.
fn completes(loss: f64) {
    let mut datagrams = 0;
    for_each_seed(0..1_000, |seed| {
        let mut world = World::new(seed);
        world.set_conditions(Conditions {
            loss,
            ..Conditions::rough()
        });
        let trio = trio(&mut world, &light(patient()));
        let sent = BOTH.map(|way| record(&mut world, way));
        for n in 1..=3 {
            ask(&mut world, trio, format!("once {n}").as_bytes());
            world
                .run_until(|world| trio.internet(world).responses.len() == n)
                .unwrap();
        }
        let asked = ask_for(&mut world, trio, HISTORY);
        world
            .run_until(|world| trio.internet(world).responses.len() == 4)
            .unwrap();
        let responses = &trio.internet(&world).responses;
        assert_eq!(responses[&asked], (Code::CONTENT, body(30_720)));
        assert_eq!(trio.device(&world).handled[HISTORY], 1);
        ask_back(&mut world, trio, Code::POST, b"reading");
        world
            .run_until(|world| !trio.device(world).responses.is_empty())
            .unwrap();
        for n in 1..=3 {
            let payload = format!("once {n}").into_bytes();
            assert_eq!(trio.device(&world).handled[&payload], 1);
        }
        let handled = &trio.internet(&world).handled;
        assert_eq!(handled[b"reading".as_slice()], 1);
        datagrams += sent.iter().map(|sent| lights(sent).len()).sum::<usize>();
    });
    println!("{datagrams} datagrams beside the records at {loss}");
    // Of each seed's messages the first, a few of a device that begins and what is sent again are records.
    assert!(datagrams >= 8_000, "{datagrams}");
}

#[test]
fn with_15_tries_every_seed_completes_without_loss() {
    completes(0.0);
}

#[test]
fn with_15_tries_every_seed_completes_at_5_percent_loss() {
    completes(0.05);
}

#[test]
fn with_15_tries_every_seed_completes_at_20_percent_loss() {
    completes(0.2);
}

/// From the hop's handshake to the last block, whatever layer a datagram is of.
#[test]
fn each_datagram_of_both_handshakes_and_the_request_is_lost_once() {
    for (from, to) in BOTH {
        for n in 0.. {
            let (mut world, trio) = world(&light(defaults()));
            let sent = record(&mut world, (from, to));
            world.direction(from, to).fault(n, Fault::Drop);
            let asked = ask_for(&mut world, trio, b"3000");
            run(&mut world, 200);
            let internet = trio.internet(&world);
            assert_eq!(internet.responses[&asked], (Code::CONTENT, body(3_000)));
            assert_eq!(trio.device(&world).handled[b"3000".as_slice()], 1, "{n}");
            if world.account(from, to).planted == 0 {
                assert!(n >= 7, "only {n} datagrams were lost");
                assert!(!lights(&sent).is_empty());
                break;
            }
        }
    }
}

/// As a firewall does that knows DTLS.
#[test]
fn what_the_path_does_not_carry_goes_by_records_and_is_tried_once_a_minute() {
    let (mut world, trio, [down, up]) = established(&light(defaults()));
    ask_at_once(&mut world, trio, b"second");
    for (from, to) in BOTH {
        world.direction(from, to).fault_each(Fault::Drop, is_light);
    }
    let before = [&down, &up].map(|sent| lights(sent).len());
    let asked = ask(&mut world, trio, b"third");
    run(&mut world, 20);
    assert!(trio.internet(&world).responses.contains_key(&asked));
    let lost = lights(&down).len() - before[0] + lights(&up).len() - before[1];
    assert!((1..=3).contains(&lost), "{lost}");
    // From now on it takes no time.
    for payload in [b"4th", b"5th", b"6th"] {
        ask_at_once(&mut world, trio, payload);
    }
    let silent = [&down, &up].map(|sent| lights(sent).len());
    run(&mut world, 60);
    let asked = ask(&mut world, trio, b"7th");
    run(&mut world, 20);
    assert!(trio.internet(&world).responses.contains_key(&asked));
    let tried = lights(&down).len() - silent[0];
    assert!((1..=2).contains(&tried), "{tried}");
    assert_eq!(trio.device(&world).failed, []);
}

/// Datagrams beside the records have no connection ID. What is sent again goes by records, which have.
#[test]
fn peer_that_has_moved_gets_through_by_a_record() {
    for (inside, light_layer) in [
        (GATEWAY, false),
        (GATEWAY, true),
        (DEVICE, false),
        (DEVICE, true),
    ] {
        let config = Config {
            light_layer,
            ..with_ids(defaults())
        };
        let (mut world, trio, [down, up]) = established(&config);
        ask_at_once(&mut world, trio, b"second");
        ask_back(&mut world, trio, Code::POST, b"reading");
        run(&mut world, 1);
        world.rebind(world.now(), inside, Address::new(77, 7_777));
        run(&mut world, 0);
        // Who has moved speaks first: nobody else's datagrams get there.
        if inside == GATEWAY {
            ask(&mut world, trio, b"third");
        } else {
            ask_back(&mut world, trio, Code::POST, b"third");
        }
        run(&mut world, 60);
        let [internet, device] = [trio.internet(&world), trio.device(&world)];
        let answered = internet.responses.len() + device.responses.len();
        assert_eq!(answered, 4, "{inside:?} {light_layer}");
        // Both know the new way, and nothing of it is a record any more.
        run(&mut world, 60);
        ask_at_once(&mut world, trio, b"4th");
        let before = [&down, &up].map(|sent| (sent.borrow().len(), lights(sent).len()));
        ask_at_once(&mut world, trio, b"5th");
        let after = [&down, &up].map(|sent| (sent.borrow().len(), lights(sent).len()));
        let more = usize::from(light_layer);
        for (before, after) in before.into_iter().zip(after) {
            assert_eq!(after, (before.0 + 1, before.1 + more), "{inside:?}");
        }
        let internet = trio.internet(&world);
        assert_eq!((internet.failed.len(), internet.established.len()), (0, 2));
    }
}

/// Where a datagram goes, who takes it in there, and one that was sent and has arrived.
fn captured() -> impl Iterator<Item = (Net, Trio, Side, (Address, Address), Vec<u8>)> {
    [Side::Device, Side::Internet].into_iter().map(|at| {
        let (mut world, trio, [down, up]) = established(&light(defaults()));
        ask_at_once(&mut world, trio, b"second");
        let (way, sent) = match at {
            Side::Device => (BOTH[0], down),
            Side::Internet => (BOTH[1], up),
        };
        let datagram = lights(&sent).pop().unwrap();
        (world, trio, at, way, datagram)
    })
}

/// The same with one that was sent and has not arrived: `third`, or the answer to it.
fn withheld() -> impl Iterator<Item = (Net, Trio, Side, (Address, Address), Vec<u8>)> {
    [Side::Device, Side::Internet].into_iter().map(|at| {
        let (mut world, trio, [down, up]) = established(&light(defaults()));
        ask_at_once(&mut world, trio, b"second");
        let (way, sent) = match at {
            Side::Device => (BOTH[0], down),
            Side::Internet => (BOTH[1], up),
        };
        world
            .direction(way.0, way.1)
            .fault_where(0, Fault::Drop, is_light);
        ask(&mut world, trio, b"third");
        world.run_for(Duration::from_millis(500)).unwrap();
        assert_eq!(trio.internet(&world).responses.len(), 2);
        let datagram = lights(&sent).pop().unwrap();
        (world, trio, at, way, datagram)
    })
}

/// What was withheld is taken after all that was not.
fn assert_taken(world: &mut Net, trio: Trio, (from, to): (Address, Address), datagram: &[u8]) {
    world.send(from, to, datagram);
    world.run_for(Duration::from_millis(500)).unwrap();
    assert_eq!(trio.internet(world).responses.len(), 3);
    assert_eq!(trio.device(world).handled[b"third".as_slice()], 1);
    assert_eq!(trio.device(world).established.len(), 2);
}

/// The session goes on, and nothing was taken that nobody sent.
fn assert_unimpressed(world: &mut Net, trio: Trio) {
    ask_at_once(world, trio, b"later");
    let device = trio.device(world);
    assert!(device.handled.values().all(|&count| count == 1));
    assert_eq!(device.handled.len(), 3);
    assert_eq!((device.failed.len(), device.closed), (0, 0));
    assert_eq!(device.established.len(), 2);
}

#[test]
fn replayed_datagram_is_detected() {
    for (mut world, trio, at, (from, to), datagram) in captured() {
        for _ in 0..3 {
            world.send(from, to, &datagram);
        }
        run(&mut world, 1);
        assert_eq!(drops(&world, trio, at, DropReason::Replayed), 3);
        assert_eq!(all_drops(&world, trio, at), 3);
        assert_unimpressed(&mut world, trio);
    }
}

/// The octets in front of the inner message: 1 1 C and flow, reserved and n, hop number.
const fn why_flipped(datagram: &[u8], octet: usize, bit: usize) -> DropReason {
    match (octet, bit) {
        // No datagram of this layer, or of DTLS.
        (0, 6 | 7) => DropReason::Malformed,
        // Control, and what looks like a hello, come in records alone.
        (0, 5) | (3, 7) => DropReason::UnexpectedMessage,
        // Reserved bits, and a length of no octets.
        (1, 0 | 3..) => DropReason::Malformed,
        // All lower numbers were seen.
        (2, bit) if datagram[2] & 1 << bit != 0 => DropReason::Replayed,
        _ => DropReason::AuthenticationFailed,
    }
}

/// A session for each bit of an octet, so that no forgeries call for new keys.
#[test]
fn flipped_bit_anywhere_in_a_datagram_is_detected() {
    for bit in 0..8 {
        for (mut world, trio, at, way, datagram) in withheld() {
            for octet in 0..datagram.len() {
                let mut flipped = datagram.clone();
                flipped[octet] ^= 1 << bit;
                let why = why(&mut world, trio, at, way, &flipped);
                let expected = why_flipped(&datagram, octet, bit);
                assert_eq!(why, [expected], "{at:?}, octet {octet}, bit {bit}");
            }
            assert_taken(&mut world, trio, way, &datagram);
        }
    }
}

#[test]
fn truncated_and_lengthened_datagrams_are_detected() {
    for (mut world, trio, at, (from, to), datagram) in withheld() {
        for len in 1..datagram.len() {
            let expected = match len {
                // No room for a tag behind header and hop number.
                ..=10 => DropReason::Malformed,
                11 => DropReason::UnexpectedMessage,
                _ => DropReason::AuthenticationFailed,
            };
            let why = why(&mut world, trio, at, (from, to), &datagram[..len]);
            assert_eq!(why, [expected], "{at:?} {len}");
        }
        let longer = [datagram.as_slice(), &[0]].concat();
        let why = why(&mut world, trio, at, (from, to), &longer);
        assert_eq!(why, [DropReason::AuthenticationFailed], "{at:?}");
        assert_taken(&mut world, trio, (from, to), &datagram);
    }
}

/// The same messages without a layer, and datagrams that somebody made up.
#[test]
fn injected_datagrams_are_detected() {
    for (mut world, trio, at, (from, to), datagram) in captured() {
        let inner = &datagram[3..datagram.len() - 8];
        let close = control(1, &Control::Close(hedgerow_itls::CloseReason::Done));
        let injected = [
            routed(1, inner),
            close.clone(),
            [close.as_slice(), &[0; 30]].concat(),
            [0xc1; 60].to_vec(),
            // The right number and nothing behind it but a tag.
            [&[0xc1, 1, 200][..], &[0; 9]].concat(),
        ];
        for (n, datagram) in injected.iter().enumerate() {
            let why = why(&mut world, trio, at, (from, to), datagram);
            // Only the last one looks like one of the layer's.
            let expected = match n {
                4 => DropReason::AuthenticationFailed,
                _ => DropReason::Malformed,
            };
            assert_eq!(why, [expected], "{at:?} {n}");
        }
        assert_unimpressed(&mut world, trio);
    }
}

/// Of the session before, which had the same flow, and of the other direction.
#[test]
fn datagram_of_another_outer_session_or_led_back_is_detected() {
    for (mut world, trio, at, (from, to), datagram) in withheld() {
        let other = match at {
            Side::Device => Side::Internet,
            Side::Internet => Side::Device,
        };
        // A number that the other direction has used already is a replay before it is a forgery.
        let expected = match at {
            Side::Device => DropReason::Replayed,
            Side::Internet => DropReason::AuthenticationFailed,
        };
        let why = why(&mut world, trio, other, (to, from), &datagram);
        assert_eq!(why, [expected], "{at:?}");
        let reason = DropReason::AuthenticationFailed;
        trio.act(&mut world, |gateway, env, out| gateway.open_hop(env, out));
        run(&mut world, 10);
        ask(&mut world, trio, b"anew");
        run(&mut world, 10);
        let before = drops(&world, trio, at, reason);
        world.send(from, to, &datagram);
        run(&mut world, 1);
        assert_eq!(drops(&world, trio, at, reason), before + 1);
        let taken = trio.device(&world).handled.get(b"third".as_slice());
        assert_eq!(taken.is_some(), at == Side::Internet);
        assert_eq!(trio.device(&world).handled[b"anew".as_slice()], 1);
    }
}

/// Whoever can write the device's address sends it no more than 1,024 forgeries a second to try, and the
/// records that come meanwhile are taken.
#[test]
fn forgeries_take_1024_tries_a_second_and_no_record_waits_for_them() {
    let (mut world, trio, _) = established(&light(defaults()));
    for n in 0..1_100_u16 {
        let mut forged = [0xc1; 40];
        forged[1] = 2;
        forged[2..4].copy_from_slice(&(0x1000 + n).to_be_bytes());
        world.send(GATEWAY, DEVICE, &forged);
    }
    let asked = ask(&mut world, trio, b"second");
    run(&mut world, 20);
    let reason = DropReason::AuthenticationFailed;
    assert_eq!(drops(&world, trio, Side::Device, reason), 1_024);
    let limited = drops(&world, trio, Side::Device, DropReason::RateLimited);
    assert!((76..=78).contains(&limited), "{limited}");
    assert!(trio.internet(&world).responses.contains_key(&asked));
    // They come all the time now. What is asked as a light datagram is tried with them or limited; a transmission later it
    // goes as a record, and is answered while they still come.
    let before = drops(&world, trio, Side::Device, DropReason::RateLimited);
    let down = record(&mut world, (GATEWAY, DEVICE));
    let asked = ask(&mut world, trio, b"third");
    for part in 0..120_u16 {
        for n in 0..200_u16 {
            let mut forged = [0xc1; 40];
            forged[1] = 2;
            forged[2..4].copy_from_slice(&(0x2000 + part * 200 + n).to_be_bytes());
            world.send(GATEWAY, DEVICE, &forged);
        }
        world.run_for(Duration::from_millis(50)).unwrap();
    }
    assert!(trio.internet(&world).responses.contains_key(&asked));
    // application_data, or tls12_cid.
    let is_record = |datagram: &Vec<u8>| matches!(datagram[0], 23 | 25);
    assert!(down.borrow().iter().any(is_record));
    let limited = drops(&world, trio, Side::Device, DropReason::RateLimited);
    assert!(limited > before + 10_000, "{limited}");
}

/// 2^7 (RFC 9147 §4.5.3), at the side that begins handshakes. What is inside goes on after a hello.
#[test]
fn forgeries_have_the_hop_make_new_keys() {
    let (mut world, trio, _) = established(&light(defaults()));
    for n in 0..130_u8 {
        let mut forged = [0xc1; 40];
        forged[1..4].copy_from_slice(&[2, 0x10, n]);
        world.send(DEVICE, GATEWAY, &forged);
    }
    run(&mut world, 10);
    let device = trio.device(&world);
    assert_eq!(device.established.len(), 3);
    assert_eq!(device.failed, [PeerFault::Truncated.into()]);
    let asked = ask(&mut world, trio, b"second");
    run(&mut world, 10);
    assert!(trio.internet(&world).responses.contains_key(&asked));
}

/// Taking the option out of OPEN, or putting it in, is the gateway's to do and costs it a layer, nobody else: an
/// end takes no datagram of a flow on which it wasn't asked, and says what it says by records.
#[test]
fn gateway_that_asks_for_less_or_more_than_it_does_changes_what_the_hop_costs_alone() {
    let option = |wants: bool| {
        move |to: Side, message: Vec<u8>| {
            let (header, rest) = RoutingHeader::decode(&message).unwrap();
            match header.is_control.then(|| Control::decode(rest).unwrap()) {
                Some(Control::Open(open)) if to == Side::Device => {
                    let wants_light_layer = wants;
                    let open = Open {
                        wants_light_layer,
                        ..open
                    };
                    vec![(to, control(header.flow, &Control::Open(open)))]
                }
                _ => vec![(to, message)],
            }
        }
    };
    // Not asked for, and sent all the same.
    let (mut world, trio) = world(&light(defaults()));
    let up = record(&mut world, BOTH[1]);
    trio.attack(&mut world, option(false));
    let asked = ask(&mut world, trio, b"second");
    run(&mut world, 20);
    assert!(trio.internet(&world).responses.contains_key(&asked));
    let dropped = drops(&world, trio, Side::Device, DropReason::UnexpectedMessage);
    assert!(dropped >= 1);
    assert_eq!(lights(&up).len(), 0);
    // Asked for by a gateway that takes none: its forwarder drops them.
    let mut world = World::new(7);
    let trio = trio_with(&mut world, &light(defaults()), &defaults());
    let up = record(&mut world, BOTH[1]);
    trio.attack(&mut world, option(true));
    let asked = ask(&mut world, trio, b"second");
    run(&mut world, 20);
    assert!(trio.internet(&world).responses.contains_key(&asked));
    assert!((1..=2).contains(&lights(&up).len()));
}
