//! Flights over paths that drop long datagrams without a word, or say so (RFC 6347 §4.1.1.1).
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/certificates.rs"]
mod certificates;
mod common;

use std::collections::BTreeSet;

use common::{CLIENT, IDENTITY, Net, PSK, SERVER, Setup, Shown, start, talk};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_handshake::{MIN_DATAGRAM_LEN, Settings, Timers};
use hedgerow_record::{ConnectionId, Protocol};
use hedgerow_sim::{Conditions, World, for_each_seed};

use certificates::{Double, End, chain, key};

/// A chain of two, which fills two datagrams of the usual length.
fn credentials(own: u8, peer: u8, id: u32) -> Double {
    let mut double = Double::x509(key(own), &key(peer), id);
    double.chains[0].2 = chain(&[&[0xcc; 900], &[0xdd; 700]]);
    double
}

fn ends(settings: Settings) -> (End, End) {
    (
        End::client(Protocol::Dtls, credentials(1, 2, 2).share(), settings),
        End::server(Protocol::Dtls, credentials(2, 1, 1).share(), settings),
    )
}

/// Runs a handshake over a path that drops what is longer than `max`, and returns the seconds it took
/// and what got lost on the way to the server and to the client.
fn run(client: &mut End, server: &mut End, max: usize) -> (u32, [usize; 2]) {
    let mut lost = [0; 2];
    for seconds in 0..60 {
        loop {
            let to_server = client.transmit();
            for bytes in &to_server {
                match bytes.len() > max {
                    true => lost[0] += 1,
                    false => server.receive(bytes),
                }
            }
            let to_client = server.transmit();
            for bytes in &to_client {
                match bytes.len() > max {
                    true => lost[1] += 1,
                    false => client.receive(bytes),
                }
            }
            if to_server.is_empty() && to_client.is_empty() {
                break;
            }
        }
        if client.peer.is_some() && server.peer.is_some() {
            return (seconds, lost);
        }
        client.wait();
        server.wait();
        assert_eq!((client.failure, server.failure), (None, None), "{max}");
    }
    panic!("no handshake through {max} bytes");
}

/// Both ends have a flight that is too long, and both find out by themselves, within the default timers.
#[test]
fn flight_lost_repeatedly_is_packed_smaller_until_it_gets_through() {
    for (max, found) in [
        (1_199, 548),
        (600, 548),
        (548, 548),
        (547, MIN_DATAGRAM_LEN),
        (256, MIN_DATAGRAM_LEN),
        (MIN_DATAGRAM_LEN, MIN_DATAGRAM_LEN),
    ] {
        let (mut client, mut server) = ends(Settings::default());
        let (seconds, lost) = run(&mut client, &mut server, max);
        assert!(lost[0] > 0 && lost[1] > 0, "{max}: {lost:?}");
        assert!(seconds <= 14, "{max}: {seconds} s");
        assert_eq!(client.datagram_len, found, "{max}");
        assert_eq!(server.datagram_len, found, "{max}");
    }
}

/// Without a word of the path and without loss nothing gets smaller, and a flight that is short anyhow
/// has not been lost for its length.
#[test]
fn nothing_shrinks_without_a_reason() {
    let (mut client, mut server) = ends(Settings::default());
    assert_eq!(run(&mut client, &mut server, 1_200), (0, [0, 0]));
    assert_eq!((client.datagram_len, server.datagram_len), (1_200, 1_200));
    for_each_seed(0..50, |seed| {
        let mut world: Net<SoftCrypto> = World::new(seed);
        world.set_conditions(Conditions::rough());
        let settings = Settings::default().with_timers(patient());
        let (client, server) = start(&mut world, Setup::new(SoftCrypto, settings));
        world.run_until_idle().unwrap();
        for node in [client, server] {
            let len = world.node(node).seen().datagram_len;
            assert!(len == 1_200, "{len} at seed {seed}");
        }
    });
}

/// What is told counts at once, for both roles, whoever is told.
#[test]
fn path_that_says_what_it_carries_costs_no_time() {
    for max in [1_000, 300, MIN_DATAGRAM_LEN] {
        let (mut client, mut server) = ends(Settings::default());
        // The server exists from the second hello on.
        for _ in 0..2 {
            client.send_to(&mut server);
            if server.datagram_len == 0 {
                server.limit_datagrams(max);
            }
            client.limit_datagrams(max);
            let flight = server.transmit();
            assert!(flight.iter().all(|bytes| bytes.len() <= max));
            flight.iter().for_each(|bytes| client.receive(bytes));
        }
        let (seconds, lost) = run(&mut client, &mut server, max);
        assert_eq!((seconds, lost), (0, [0, 0]));
        assert_eq!((client.datagram_len, server.datagram_len), (max, max));
    }
}

/// The handshake message in a datagram: message_seq, offset, length of the part, and of the whole.
fn parts(datagrams: &[Vec<u8>]) -> Vec<(u16, usize, usize, usize, Vec<u8>)> {
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |sum, &byte| sum * 256 + usize::from(byte))
    };
    let mut found = Vec::new();
    for mut bytes in datagrams.iter().map(Vec::as_slice) {
        while !bytes.is_empty() {
            let len = 13 + number(&bytes[11..13]);
            if bytes[0] == 22 && bytes[3..5] == [0, 0] {
                let message = &bytes[13..len];
                let seq = u16::from_be_bytes([message[4], message[5]]);
                let (whole, offset) = (number(&message[1..4]), number(&message[6..9]));
                found.push((
                    seq,
                    offset,
                    number(&message[9..12]),
                    whole,
                    bytes[5..11].to_vec(),
                ));
            }
            bytes = &bytes[len..];
        }
    }
    found
}

/// RFC 6347 §4.2.3: the same messages in other fragments, §4.2.1: under record numbers that were never
/// used. A refusal in the middle of a flight has it begin anew.
#[test]
fn repacked_flight_has_the_same_messages_in_new_records() {
    let (mut client, mut server) = ends(Settings::default());
    client.send_to(&mut server);
    server.send_to(&mut client);
    client.send_to(&mut server);
    let long = server.transmit();
    server.limit_datagrams(400);
    let short = server.transmit();
    assert!(long.iter().any(|bytes| bytes.len() > 1_000));
    assert!(short.iter().all(|bytes| bytes.len() <= 400));
    let (of_long, of_short) = (parts(&long), parts(&short));
    let messages = |parts: &[(u16, usize, usize, usize, Vec<u8>)]| {
        let seqs = parts.iter().map(|(seq, _, _, whole, _)| (*seq, *whole));
        seqs.collect::<BTreeSet<_>>()
    };
    assert_eq!(messages(&of_long), messages(&of_short));
    assert!(of_short.len() > of_long.len());
    let mut numbers = BTreeSet::new();
    for (_, _, _, _, number) in of_long.iter().chain(&of_short) {
        assert!(numbers.insert(number.clone()), "a record number came twice");
    }
    // The first datagram of one, the rest of the other: fragments of both make the messages.
    client.receive(&long[0]);
    short.iter().for_each(|bytes| client.receive(bytes));
    let (_, lost) = run(&mut client, &mut server, 1_200);
    assert_eq!(lost, [0, 0]);
}

/// Anybody may say that the path carries nothing: it goes no lower than the least, proves nothing, and
/// draws no more flights than duplicates do.
#[test]
fn forged_refusals_neither_shrink_below_the_least_nor_multiply_flights() {
    let settings = Settings::default();
    let (mut client, mut server) = ends(settings);
    client.send_to(&mut server);
    server.send_to(&mut client);
    client.send_to(&mut server);
    let mut flights = usize::from(!server.transmit().is_empty());
    for len in (0..1_200).rev() {
        server.limit_datagrams(len);
        let flight = server.transmit();
        flights += usize::from(!flight.is_empty());
        let least = len.max(MIN_DATAGRAM_LEN);
        assert!(flight.iter().all(|bytes| bytes.len() <= least));
    }
    let most = 1 + usize::from(Timers::default().max_transmissions);
    assert!(flights <= most, "{flights} flights");
    assert_eq!(server.peer, None);
    let (_, lost) = run(&mut client, &mut server, 1_200);
    assert_eq!(lost, [0, 0]);
    assert_eq!(server.datagram_len, MIN_DATAGRAM_LEN);
}

fn patient() -> Timers {
    Timers {
        max_transmissions: 30,
        deadline: std::time::Duration::from_secs(4_000),
        ..Timers::default()
    }
}

/// A long identity and connection IDs make the client's last flight longer than the path, and a P-256 key the
/// server's: every seed ends in a session, at 20 % loss on top.
#[test]
fn every_seed_completes_through_a_narrow_path_that_loses_too() {
    for_each_seed(0..1000, |seed| {
        let mut world: Net<SoftCrypto> = World::new(seed);
        world.set_conditions(Conditions {
            max_datagram_len: 230,
            ..Conditions::rough()
        });
        let id = |byte| Some(ConnectionId::new(&[byte; 32]).unwrap());
        let settings = Settings::default()
            .with_groups(&[hedgerow_core::NamedGroup::Secp256r1])
            .with_timers(patient());
        let mut setup = Setup::new(SoftCrypto, settings);
        setup.client = setup.client.with_connection_id(id(1));
        setup.server = setup.server.with_connection_id(id(2));
        let identity = [b'i'; 128];
        setup.shown = Shown::new(&identity, PSK);
        setup.known = common::Known::new(&identity, PSK);
        let (client, server) = start(&mut world, setup);
        world.run_until_idle().unwrap();
        assert!(world.account(CLIENT, SERVER).too_long > 0);
        assert!(world.account(SERVER, CLIENT).too_long > 0);
        world.set_conditions(Conditions::default());
        talk(&mut world, client, server);
        assert_ne!(identity.as_slice(), IDENTITY);
    });
}
