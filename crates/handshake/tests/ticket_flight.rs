//! A server's last flight with a ticket (RFC 5077 §3.3), as it arrives at the client.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::Duration;

use common::{CLIENT, Known, Net, PSK, SERVER, Sessions, Setup, Shared, Shown, start};
use hedgerow_core::{Env, Instant};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_handshake::{Settings, TicketKeys};
use hedgerow_record::ConnectionId;
use hedgerow_sim::{Fault, NodeId, TestRng, Tracing, World};

/// The identity is in the ticket, and with a connection ID the Finished is as long as it can be.
const LONG_IDENTITY: [u8; 128] = [b'i'; 128];

/// The longest last flight: NewSessionTicket, ChangeCipherSpec, Finished.
const LONGEST: usize = (13 + 12 + 6 + 238) + 14 + 94;

fn sessions() -> Shared {
    let mut rng = TestRng::new(5);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    Sessions::new(TicketKeys::draw(TicketKeys::MAX_LIFETIME, env))
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
