//! Connection IDs from the hellos to the records, in every combination (RFC 9146).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::time::Duration;

use common::{CLIENT, Net, SERVER, Setup, start, talk};
use hedgerow_core::{DropReason, SecureChannel};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_handshake::{MIN_DATAGRAM_LEN, Settings};
use hedgerow_record::{ConnectionId, ContentType, DtlsRecord, EpochNumber};
use hedgerow_sim::{Address, Fault, Tracing, World};

fn id(len: u8, first: u8) -> ConnectionId {
    let bytes: Vec<u8> = (0..len).map(|n| first.wrapping_add(n)).collect();
    ConnectionId::new(&bytes).unwrap()
}

fn offers(first: u8) -> [Option<ConnectionId>; 5] {
    [
        None,
        Some(ConnectionId::EMPTY),
        Some(id(1, first)),
        Some(id(8, first)),
        Some(id(32, first)),
    ]
}

/// Every protected record that went from one end to the other: its type and connection ID.
fn protected(
    world: &Net<impl hedgerow_core::CryptoProvider + Clone>,
    from: Address,
    len: usize,
) -> Vec<(ContentType, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in world.trace().entries() {
        if entry.from != from {
            continue;
        }
        let mut bytes = entry.datagram.clone();
        let mut rest: &mut [u8] = &mut bytes;
        while !rest.is_empty() {
            let (record, after) = DtlsRecord::decode_with_connection_id(rest, len).unwrap();
            if record.number.epoch() == EpochNumber(0) {
                assert_ne!(record.content_type, ContentType::Tls12Cid);
            } else {
                found.push((record.content_type, record.connection_id.to_vec()));
            }
            rest = after;
        }
    }
    found
}

#[test]
fn each_direction_carries_what_its_receiver_has_named() {
    for of_client in offers(0x10) {
        for of_server in offers(0x80) {
            let mut world: Net<_> = World::new(9);
            world.set_tracing(Tracing::Bytes);
            let mut setup = Setup::new(SoftCrypto, Settings::default());
            setup.client = setup.client.with_connection_id(of_client);
            setup.server = setup.server.with_connection_id(of_server);
            let (client, server) = start(&mut world, setup);
            world.run_until_idle().unwrap();
            talk(&mut world, client, server);
            let both = of_client.is_some() && of_server.is_some();
            let agreed = |named: Option<ConnectionId>| named.filter(|_| both).unwrap_or_default();
            for (node, from, sent, taken) in [
                (client, CLIENT, agreed(of_server), agreed(of_client)),
                (server, SERVER, agreed(of_client), agreed(of_server)),
            ] {
                let (send, receive, overhead) = world.act(node, |node, _, _| {
                    let session = node.session();
                    let send = *session.send_connection_id();
                    (send, *session.receive_connection_id(), session.overhead())
                });
                assert_eq!((send, receive), (sent, taken));
                // AES-128-GCM, the first of the default suites.
                let with_id = if sent.is_empty() { 0 } else { 1 + sent.len() };
                assert_eq!(overhead, 37 + with_id);
                // Finished, application data.
                let expected = match sent.is_empty() {
                    true => [ContentType::Handshake, ContentType::ApplicationData],
                    false => [ContentType::Tls12Cid; 2],
                };
                let found = protected(&world, from, sent.len());
                let wanted = expected.map(|code| (code, sent.as_bytes().to_vec()));
                assert_eq!(found, wanted, "{of_client:?} {of_server:?}");
            }
        }
    }
}

/// RFC 6347 §4.2.4: whichever datagram is lost, the final flight among them.
#[test]
fn handshake_with_connection_ids_survives_the_loss_of_each_datagram() {
    for (from, to) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        for n in 0.. {
            let mut world: Net<_> = World::new(n);
            world.direction(from, to).fault(n, Fault::Drop);
            let mut setup = Setup::new(SoftCrypto, Settings::default());
            setup.client = setup.client.with_connection_id(Some(id(8, 1)));
            setup.server = setup.server.with_connection_id(Some(id(8, 2)));
            let (client, server) = start(&mut world, setup);
            world.run_until_idle().unwrap();
            assert!(world.node(client).is_established());
            assert!(world.node(server).is_established());
            if world.account(from, to).planted == 0 {
                assert!(n >= 3, "only {n} datagrams were lost");
                break;
            }
            talk(&mut world, client, server);
        }
    }
}

/// The acceptor takes only a ClientHello that is whole in one record.
#[test]
fn longest_connection_ids_fit_the_smallest_datagram() {
    let mut world: Net<_> = World::new(3);
    let settings = Settings::default().with_max_datagram_len(MIN_DATAGRAM_LEN);
    let mut setup = Setup::new(SoftCrypto, settings);
    setup.client = setup.client.with_connection_id(Some(id(32, 1)));
    setup.server = setup.server.with_connection_id(Some(id(32, 2)));
    let (client, server) = start(&mut world, setup);
    world.run_until_idle().unwrap();
    talk(&mut world, client, server);
}

/// Somebody on the path writes the records of one session into the other format.
#[test]
fn record_in_the_other_format_is_dropped_by_a_session() {
    let mut world: Net<_> = World::new(3);
    let mut setup = Setup::new(SoftCrypto, Settings::default());
    setup.client = setup.client.with_connection_id(Some(id(4, 1)));
    setup.server = setup.server.with_connection_id(Some(ConnectionId::EMPTY));
    let (client, server) = start(&mut world, setup);
    world.run_until_idle().unwrap();
    talk(&mut world, client, server);
    // What the client takes has an ID, what the server takes has none.
    let without = *b"\x17\xfe\xfd\0\x01\0\0\0\0\0\x09\0\x02ab";
    let with = *b"\x19\xfe\xfd\0\x01\0\0\0\0\0\x09\x01\x02\x03\x04\0\x02ab";
    world.send(SERVER, CLIENT, &without);
    world.send(CLIENT, SERVER, &with);
    world.run_for(Duration::from_secs(1)).unwrap();
    let drops = |node| world.node(node).seen().drops.last().copied();
    assert_eq!(drops(client), Some(DropReason::ConnectionIdMismatch));
    assert_eq!(drops(server), Some(DropReason::Malformed));
    talk(&mut world, client, server);
}
