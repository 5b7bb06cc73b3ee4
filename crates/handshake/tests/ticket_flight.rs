//! A server's last flight with a ticket, which is kept after the handshake and sent again without its
//! buffer (RFC 6347 §4.2.4): on paths that it is too long for, in short records, under every loss.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::Duration;

use common::{CLIENT, Known, Net, PSK, Phase, SERVER, Sessions, Setup, Shared, Shown, start, talk};
use hedgerow_core::{DropReason, Env, Instant, SecureChannel};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_handshake::{MIN_DATAGRAM_LEN, Settings, TicketKeys, Timers};
use hedgerow_record::{ConnectionId, MaxFragmentLength, RecordSizeLimit};
use hedgerow_sim::{
    Address, Conditions, Fault, Ledger, NodeId, NonceLedger, TestRng, Tracing, World, for_each_seed,
};

/// The identity is in the ticket, and with a connection ID the Finished is as long as it can be.
const LONG_IDENTITY: [u8; 128] = [b'i'; 128];

/// The longest last flight: NewSessionTicket, ChangeCipherSpec, Finished.
const LONGEST: usize = (13 + 12 + 6 + 238) + 14 + 94;

fn sessions() -> Shared {
    let mut rng = TestRng::new(5);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    Sessions::new(TicketKeys::draw(TicketKeys::MAX_LIFETIME, env))
}

/// The server keeps its flight for 240 s: what loss tests ask for has to be asked for often enough.
fn patient() -> Timers {
    Timers {
        max_transmissions: 30,
        max_timeout: Duration::from_secs(10),
        deadline: Duration::from_secs(2_000),
        ..Timers::default()
    }
}

fn longest() -> Settings {
    let id = ConnectionId::new(&[7; 32]).unwrap();
    Settings::default().with_connection_id(Some(id))
}

type Stand = (Net<SoftCrypto>, NodeId, NodeId);

/// Both ends, with the client's first hello under way.
fn stand(world: Net<SoftCrypto>, settings: Settings) -> Stand {
    stand_with(world, settings, settings)
}

fn stand_with(mut world: Net<SoftCrypto>, of_client: Settings, of_server: Settings) -> Stand {
    world.set_tracing(Tracing::Bytes);
    let mut setup = Setup::new(SoftCrypto, of_client).resuming(None, &sessions());
    setup.server = of_server;
    setup.shown = Shown::new(&LONG_IDENTITY, PSK);
    setup.known = Known::new(&LONG_IDENTITY, PSK);
    let (client, server) = start(&mut world, setup);
    (world, client, server)
}

fn has_ticket(world: &mut Net<SoftCrypto>, client: NodeId) -> bool {
    let mut found = false;
    world.act(client, |end, _, _| {
        let resumable = &end.client().resumable;
        found = resumable
            .as_ref()
            .is_some_and(|session| !session.ticket().is_empty());
    });
    found
}

/// Runs to the end: both are established, the client holds its ticket, and data goes both ways.
fn finish((world, client, server): &mut Stand) {
    world.run_until_idle().unwrap();
    let errors = [*client, *server].map(|node| world.node(node).error());
    assert_eq!(errors, [None, None]);
    world.set_conditions(Conditions::default());
    for (from, to) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        world
            .direction(from, to)
            .set_conditions(Conditions::default());
    }
    talk(world, *client, *server);
    assert!(has_ticket(world, *client));
}

/// A record as it was sent: type, epoch, fragment.
type Record = (u8, u16, Vec<u8>);

fn records(datagram: &[u8]) -> Vec<Record> {
    let mut found = Vec::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        // The last record of a datagram may have a connection ID of 32 bytes before its length.
        let at = if rest[0] == 25 { 11 + 32 } else { 11 };
        let len = usize::from(u16::from_be_bytes([rest[at], rest[at + 1]]));
        let epoch = u16::from_be_bytes([rest[3], rest[4]]);
        found.push((rest[0], epoch, rest[at + 2..at + 2 + len].to_vec()));
        rest = &rest[at + 2 + len..];
    }
    found
}

const NEW_SESSION_TICKET: u8 = 4;

/// Says whether a datagram is of the server's last flight.
fn is_of_last_flight(datagram: &[u8]) -> bool {
    records(datagram).iter().any(|(kind, epoch, fragment)| {
        *kind == 20 || *epoch == 0 && *kind == 22 && fragment[0] == NEW_SESSION_TICKET
    })
}

/// The datagrams of the server's last flight, in the order in which they left.
fn last_flight(world: &Net<SoftCrypto>) -> Vec<Vec<u8>> {
    let entries = world.trace().entries().iter();
    let sent = entries.filter(|entry| entry.from == SERVER && !entry.is_duplicate);
    let mut sent: Vec<_> = sent.map(|entry| (entry.sent, &entry.datagram)).collect();
    sent.sort_by_key(|(at, _)| *at);
    let datagrams = sent.into_iter().map(|(_, datagram)| datagram.clone());
    datagrams
        .filter(|datagram| is_of_last_flight(datagram))
        .collect()
}

fn narrow(max_datagram_len: usize) -> Conditions {
    Conditions {
        max_datagram_len,
        ..Conditions::default()
    }
}

/// Nobody says anything: the flight is lost twice and goes out in pieces the third time.
#[test]
fn flight_lost_repeatedly_is_split() {
    for max in [LONGEST - 1, 300, MIN_DATAGRAM_LEN] {
        let mut stand = stand(World::new(7), longest());
        stand
            .0
            .direction(SERVER, CLIENT)
            .set_conditions(narrow(max));
        finish(&mut stand);
        let sent = last_flight(&stand.0);
        let lens: Vec<_> = sent.iter().map(Vec::len).collect();
        assert_eq!(lens[..2], [LONGEST, LONGEST], "{max}");
        assert_eq!(lens.len(), 4, "{max}: {lens:?}");
        assert!(lens[2..].iter().all(|&len| len <= MIN_DATAGRAM_LEN));
    }
}

/// Each order of the flight's records, each in a datagram of its own and each coming once: nothing waits for
/// another sending.
#[test]
fn records_complete_the_handshake_in_any_order() {
    let orders = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    for order in orders {
        let (mut world, client, server) = stand(World::new(7), longest());
        let direction = world.direction(SERVER, CLIENT);
        direction.fault_each(Fault::Drop, |datagram| {
            is_of_last_flight(datagram) && datagram.len() == LONGEST
        });
        world
            .run_until(|world| world.node(server).is_established())
            .unwrap();
        let [flight] = &last_flight(&world)[..] else {
            panic!("not one datagram");
        };
        let (ticket, rest) = flight.split_at(13 + 12 + 244);
        let (change_cipher_spec, finished) = rest.split_at(14);
        let records = [ticket, change_cipher_spec, finished].map(<[u8]>::to_vec);
        for (arrived, at) in order.into_iter().enumerate() {
            assert!(!world.node(client).is_established(), "{order:?}: {arrived}");
            world.send(SERVER, CLIENT, &records[at]);
            world.run_for(Duration::from_millis(15)).unwrap();
        }
        // A Finished ahead of its ChangeCipherSpec is dropped where the ticket is there already.
        let is_held = order != [0, 2, 1];
        assert_eq!(world.node(client).is_established(), is_held, "{order:?}");
        assert_eq!(has_ticket(&mut world, client), is_held);
    }
}

/// On a wide path without loss it stays one datagram.
#[test]
fn nothing_is_split_without_a_reason() {
    let mut stand = stand(World::new(7), longest());
    finish(&mut stand);
    let lens: Vec<_> = last_flight(&stand.0).iter().map(Vec::len).collect();
    assert_eq!(lens, [LONGEST]);
}

/// What the handshake was told of the path holds for its last flight, from the first time on.
#[test]
fn flight_keeps_to_what_the_handshake_knows_of_the_path() {
    for max in [LONGEST - 1, 300, MIN_DATAGRAM_LEN] {
        let mut stand = stand(World::new(7), longest());
        tell_server(&mut stand, max);
        stand
            .0
            .direction(SERVER, CLIENT)
            .set_conditions(narrow(max));
        finish(&mut stand);
        assert_eq!(stand.0.account(SERVER, CLIENT).too_long, 0);
        assert_eq!(last_flight(&stand.0).len(), 2, "{max}");
    }
}

/// Tells the server, as soon as it exists, what its path carries.
fn tell_server((world, _, server): &mut Stand, max: usize) {
    let server = *server;
    let is_there = |world: &Net<SoftCrypto>| match world.node(server) {
        common::End::Server(node) => matches!(node.phase, Phase::Handshaking(_)),
        common::End::Client(_) => false,
    };
    world.run_until(is_there).unwrap();
    world.act(server, |end, _, _| {
        if let Phase::Handshaking(handshake) = &mut end.server().phase {
            handshake.limit_datagrams(max);
        }
    });
}

/// A caller's buffer that is shorter than the flight splits it too, and one that nothing fits says so.
#[test]
fn flight_fits_the_buffer_that_it_is_written_to() {
    let (mut world, client, server) = stand(World::new(7), longest());
    // The first sending is lost, so that there is another one to look at.
    world
        .direction(SERVER, CLIENT)
        .fault_where(0, Fault::Drop, is_of_last_flight);
    world
        .run_until(|world| world.node(server).is_established())
        .unwrap();
    let mut asked = Vec::new();
    world.act(client, |end, env, _| {
        env.now = env.now + Duration::from_secs(1);
        let Phase::Handshaking(handshake) = &mut end.client().phase else {
            panic!("established without the last flight");
        };
        handshake.handle_timeout(env).unwrap();
        let mut out = [0; 1_500];
        while let Some(len) = handshake.poll_transmit(env, &mut out).unwrap() {
            asked.push(out[..len].to_vec());
        }
    });
    let mut pieces = Vec::new();
    world.act(server, |end, env, _| {
        env.now = env.now + Duration::from_secs(1);
        let server = end.server();
        let (ticket, Phase::Established(session)) = (server.ticket.clone(), &mut server.phase)
        else {
            panic!("not established");
        };
        for datagram in &mut asked {
            let mut rest = &mut datagram[..];
            while !rest.is_empty() {
                rest = session.handle_datagram(env, rest).unwrap().rest;
            }
        }
        let none = session.poll_transmit_with(ticket.as_ref(), &mut [0; 25]);
        assert!(none.is_err());
        let mut out = [0; MIN_DATAGRAM_LEN];
        while let Some(len) = session
            .poll_transmit_with(ticket.as_ref(), &mut out)
            .unwrap()
        {
            pieces.push(out[..len].to_vec());
        }
    });
    assert_eq!(pieces.len(), 2);
    for piece in &pieces {
        world.send(SERVER, CLIENT, piece);
    }
    finish(&mut (world, client, server));
}

/// Runs a handshake in which datagrams come to harm, by sender and number, and returns how many there were
/// to harm.
fn with_faults(faults: &[(Address, u64, Fault)], settings: Settings, told: Option<usize>) -> usize {
    let mut stand = stand(World::new(11), settings);
    stand
        .0
        .direction(SERVER, CLIENT)
        .set_conditions(narrow(MIN_DATAGRAM_LEN));
    for &(from, n, fault) in faults {
        let to = if from == CLIENT { SERVER } else { CLIENT };
        stand.0.direction(from, to).fault(n, fault);
    }
    if let Some(len) = told {
        tell_server(&mut stand, len);
    }
    stand.0.run_until_idle().unwrap();
    let planted = [(CLIENT, SERVER), (SERVER, CLIENT)]
        .map(|(from, to)| usize::try_from(stand.0.account(from, to).planted).unwrap());
    let planted = planted.iter().sum();
    // What has met no datagram of the handshake would meet the data behind it.
    if planted == faults.len() {
        finish(&mut stand);
    }
    planted
}

/// Each datagram of the handshake is lost, doubled, or arrives after what was sent behind it; then each two
/// of them, in each combination.
#[test]
fn every_datagram_and_every_pair_may_be_lost_doubled_or_late() {
    let settings = longest().with_timers(patient());
    let faults = [
        Fault::Drop,
        Fault::Duplicate,
        Fault::Delay(Duration::from_millis(700)),
    ];
    for told in [None, Some(MIN_DATAGRAM_LEN)] {
        let mut singles = Vec::new();
        for from in [CLIENT, SERVER] {
            for fault in faults {
                for n in 0.. {
                    if with_faults(&[(from, n, fault)], settings, told) == 0 {
                        break;
                    }
                    singles.push((from, n, fault));
                }
            }
        }
        // The first hello is under way already. Two sendings of the flight are too long; one is in pieces.
        let datagrams = if told.is_none() { 5 + 6 } else { 2 + 4 };
        assert_eq!(singles.len(), 3 * datagrams);
        let mut pairs = 0;
        for (at, &first) in singles.iter().enumerate() {
            for &second in &singles[at + 1..] {
                pairs += usize::from(with_faults(&[first, second], settings, told) == 2);
            }
        }
        println!("{told:?}: {} datagrams, {pairs} pairs", singles.len());
        assert!(pairs >= singles.len() * (singles.len() - 1) / 2);
    }
}

/// The pieces of one sending in any order, and of two sendings with a piece missing in each: the client
/// needs each of them once.
#[test]
fn pieces_complete_the_handshake_in_any_order() {
    for delays in [[0, 0], [0, 300], [300, 0]] {
        for lost in [[false, false], [true, false], [false, true]] {
            let settings = longest();
            let mut stand = stand(World::new(7), settings);
            tell_server(&mut stand, MIN_DATAGRAM_LEN);
            let world = &mut stand.0;
            for (piece, (millis, is_lost)) in (0..).zip(delays.into_iter().zip(lost)) {
                let delay = Fault::Delay(Duration::from_millis(millis));
                let direction = world.direction(SERVER, CLIENT);
                direction.fault_where(piece, delay, is_of_last_flight);
                if is_lost {
                    direction.fault_where(piece, Fault::Drop, is_of_last_flight);
                    // The other one of the next sending.
                    direction.fault_where(3 - piece, Fault::Drop, is_of_last_flight);
                }
            }
            finish(&mut stand);
            let sent = last_flight(&stand.0).len();
            let expected = if lost == [false, false] { 2 } else { 4 };
            assert_eq!(sent, expected, "{delays:?} {lost:?}");
        }
    }
}

/// Two sendings have the same message in other fragments, under record numbers of their own.
#[test]
fn no_record_number_comes_twice() {
    let ledger = Ledger::new(3);
    let provider = NonceLedger::new(SoftCrypto, &ledger, "both ends");
    let mut world: Net<NonceLedger<SoftCrypto>> = World::new(7);
    world.set_tracing(Tracing::Bytes);
    world
        .direction(SERVER, CLIENT)
        .set_conditions(narrow(MIN_DATAGRAM_LEN));
    let mut setup = Setup::new(provider, longest()).resuming(None, &sessions());
    setup.shown = Shown::new(&LONG_IDENTITY, PSK);
    setup.known = Known::new(&LONG_IDENTITY, PSK);
    let (client, server) = start(&mut world, setup);
    world.run_until_idle().unwrap();
    assert!(world.node(client).is_established() && world.node(server).is_established());
    let mut seen = std::collections::BTreeSet::new();
    let entries = world.trace().entries().iter();
    for entry in entries.filter(|entry| entry.from == SERVER && !entry.is_duplicate) {
        let mut rest = &entry.datagram[..];
        while !rest.is_empty() {
            let at = if rest[0] == 25 { 11 + 32 } else { 11 };
            let len = usize::from(u16::from_be_bytes([rest[at], rest[at + 1]]));
            // The first ServerHello takes up the number of the hello, as HelloVerifyRequest did.
            let is_verify_request = rest[0] == 22 && rest[13] == 3;
            assert!(is_verify_request || seen.insert(rest[3..11].to_vec()));
            rest = &rest[at + 2 + len..];
        }
    }
}

/// MUST (RFC 6066 §4), MUST (RFC 8449 §4): no record of the flight is longer than agreed on, in clear or
/// protected, the first time and again.
#[test]
fn every_record_of_the_flight_keeps_to_the_length_agreed_on() {
    let limited = |len| longest().with_record_size_limit(Some(RecordSizeLimit::new(len).unwrap()));
    let cases = [
        (
            longest().with_max_fragment_length(Some(MaxFragmentLength::Len512)),
            512,
        ),
        (limited(64), 64),
        (limited(65), 65),
        (limited(100), 100),
        (limited(255), 255),
        (limited(512), 512),
    ];
    for (of_client, max) in cases {
        for max_datagram_len in [1_500, LONGEST - 1, MIN_DATAGRAM_LEN] {
            let mut stand = stand_with(World::new(7), of_client, longest());
            stand
                .0
                .direction(SERVER, CLIENT)
                .set_conditions(narrow(max_datagram_len));
            finish(&mut stand);
            let mut is_split = false;
            for datagram in last_flight(&stand.0) {
                for (kind, epoch, fragment) in records(&datagram) {
                    // Nonce and tag of AES-128-GCM; the type in front of them counts.
                    let overhead = if epoch == 0 { 0 } else { 8 + 16 };
                    assert!(fragment.len() - overhead <= max, "{max}: {kind}");
                    is_split |= kind == 22 && epoch == 0 && fragment.len() < 12 + 244;
                }
            }
            assert!(is_split || max >= 255);
        }
    }
}

/// At 20 % loss, in pieces from the first time on or from the third, and on a path that takes no other:
/// every seed ends in a session.
#[test]
fn every_seed_completes_in_pieces_under_loss() {
    for told in [None, Some(MIN_DATAGRAM_LEN)] {
        for max_datagram_len in [1_500, MIN_DATAGRAM_LEN] {
            for_each_seed(0..250, |seed| {
                let mut stand = stand(World::new(seed), longest().with_timers(patient()));
                stand.0.set_conditions(Conditions::rough());
                stand
                    .0
                    .direction(SERVER, CLIENT)
                    .set_conditions(Conditions {
                        max_datagram_len,
                        ..Conditions::rough()
                    });
                if let Some(len) = told {
                    tell_server(&mut stand, len);
                }
                finish(&mut stand);
            });
        }
    }
}

/// What somebody without the keys puts between the pieces spoils no more than what is in clear: fragments
/// that contradict, ChangeCipherSpecs and records of the next epoch ahead of their time.
#[test]
fn forged_pieces_do_not_complete_a_handshake() {
    for at_of in 0..3 {
        let mut stand = stand(World::new(7), longest());
        tell_server(&mut stand, MIN_DATAGRAM_LEN);
        let (world, client, server) = &mut stand;
        // The pieces are late, so that what is forged comes first.
        world
            .direction(SERVER, CLIENT)
            .fault_each(Fault::Delay(Duration::from_millis(300)), is_of_last_flight);
        let (client, server) = (*client, *server);
        world
            .run_until(|world| world.node(server).is_established())
            .unwrap();
        let forged: Vec<Vec<u8>> = match at_of {
            // ChangeCipherSpec, and a Finished under keys of nobody's.
            0 => vec![
                [&[20, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 99, 0, 1][..], &[1]].concat(),
                [
                    &[22, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 0, 48][..],
                    &[0x5a; 48],
                ]
                .concat(),
            ],
            // A fragment of another length than the ticket's: the real ones contradict it, and a later
            // sending doesn't help. It is in clear, so that it may cost the handshake but nothing more.
            1 => vec![
                [
                    &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 99, 0, 22][..],
                    &[4, 0, 0, 100, 0, 5, 0, 0, 0, 0, 0, 10],
                    &[0x5a; 10],
                ]
                .concat(),
            ],
            // A Finished in clear.
            _ => vec![
                [
                    &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 99, 0, 24][..],
                    &[20, 0, 0, 12, 0, 6, 0, 0, 0, 0, 0, 12],
                    &[0x5a; 12],
                ]
                .concat(),
            ],
        };
        for datagram in &forged {
            world.send(SERVER, CLIENT, datagram);
        }
        world.run_for(Duration::from_millis(100)).unwrap();
        assert!(!world.node(client).is_established());
        world.run_for(Duration::from_secs(1)).unwrap();
        if at_of != 1 {
            finish(&mut stand);
        }
    }
}

/// Whoever has the keys and asks with each record gets the flight twice a second, and none behind 240 s.
#[test]
fn requests_for_the_flight_are_answered_at_a_bounded_rate() {
    let timers = Timers {
        initial_timeout: Duration::from_millis(10),
        max_timeout: Duration::from_millis(10),
        max_transmissions: u8::MAX,
        deadline: Duration::from_secs(1_000),
    };
    let of_client = longest().with_timers(timers);
    let mut stand = stand_with(World::new(7), of_client, longest());
    let (world, _, server) = &mut stand;
    world
        .direction(SERVER, CLIENT)
        .fault_each(Fault::Drop, is_of_last_flight);
    world.run_for(Duration::from_secs(10)).unwrap();
    let asked = world.account(CLIENT, SERVER).sent;
    assert!(asked > 200, "{asked}");
    let seconds = 3;
    let sent = last_flight(world);
    assert!(sent.len() <= 2 * (2 * seconds + 1), "{}", sent.len());
    assert!(sent.len() >= 4);
    let drops = &world.node(*server).seen().drops;
    assert!(drops.contains(&DropReason::RateLimited));
}

/// A refusal has the flight sent anew once, however often it is said and how short it is.
#[test]
fn refusals_draw_the_flight_once_more() {
    let mut stand = stand(World::new(7), longest());
    let (world, _, server) = &mut stand;
    world
        .direction(SERVER, CLIENT)
        .fault_each(Fault::Drop, is_of_last_flight);
    let server = *server;
    world
        .run_until(|world| world.node(server).is_established())
        .unwrap();
    let mut lens = Vec::new();
    world.act(server, |end, _, _| {
        let server = end.server();
        let (ticket, Phase::Established(session)) = (server.ticket.clone(), &mut server.phase)
        else {
            panic!("not established");
        };
        for len in (0..1_500).rev() {
            session.limit_datagrams(len);
            let mut out = [0; 1_500];
            while let Some(len) = session
                .poll_transmit_with(ticket.as_ref(), &mut out)
                .unwrap()
            {
                lens.push(len);
            }
        }
    });
    assert_eq!(lens.len(), 2, "{lens:?}");
    assert!(lens.iter().all(|&len| len <= MIN_DATAGRAM_LEN));
}
