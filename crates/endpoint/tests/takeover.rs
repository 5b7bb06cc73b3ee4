//! Who may take an association over: nobody who isn't known to be the one it is with.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{CLIENT, Driver, IDENTITY, Known, PSK, Place, SERVER, Shown, shown};
use hedgerow_core::{DropReason, Env, Instant, SecurityMode};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{AssociationId, Config, ConnectionIdFormat, ConnectionIds};
use hedgerow_endpoint::{Endpoint, Event, SecurityPolicy};
use hedgerow_sim::{Address, TestRng};

const ATTACKER: Address = Address::new(66, 6_666);

/// Endpoints whose datagrams the test carries, and may pass off as somebody else's.
struct Played {
    nodes: BTreeMap<Address, Driver<SoftCrypto>>,
    rng: TestRng,
    now: Instant,
    moved: Vec<(Address, Address)>,
    established: Vec<(Address, AssociationId)>,
}

/// From, to, and what.
type Datagram = (Address, Address, Vec<u8>);

impl Played {
    const fn new(nodes: BTreeMap<Address, Driver<SoftCrypto>>, rng: TestRng, now: Instant) -> Self {
        Self {
            nodes,
            rng,
            now,
            moved: Vec::new(),
            established: Vec::new(),
        }
    }

    fn drive(&mut self, at: Address, from: Address, datagram: &[u8]) -> Vec<Datagram> {
        let mut datagram = datagram.to_vec();
        let mut rest = datagram.as_mut_slice();
        let node = self.nodes.get_mut(&at).unwrap();
        let mut env = Env::new(self.now, &mut self.rng);
        let mut sent = Vec::new();
        while !rest.is_empty() {
            let mut out = [0; 64];
            let handled = node.handle_datagram(&mut env, Place(from), rest, &mut out);
            match handled.event {
                Some(Event::AddressMoved { from, to, .. }) => self.moved.push((from.0, to.0)),
                Some(Event::Established { association, .. }) => {
                    self.established.push((at, association));
                }
                _ => {}
            }
            sent.push((at, from, out[..handled.answer].to_vec()));
            let consumed = handled.consumed;
            rest = &mut rest[consumed..];
        }
        sent.retain(|(_, _, datagram)| !datagram.is_empty());
        sent.extend(self.fetch(at));
        sent
    }

    fn fetch(&mut self, at: Address) -> Vec<Datagram> {
        let node = self.nodes.get_mut(&at).unwrap();
        let mut env = Env::new(self.now, &mut self.rng);
        node.handle_timeout(&mut env);
        let mut out = [0; 1_500];
        let mut sent = Vec::new();
        while let Some((to, len)) = node.poll_transmit(&mut env, &mut out) {
            sent.push((at, to.0, out[..len].to_vec()));
        }
        sent
    }

    /// Carries datagrams until there are none, as far as `route` lets them through: it says from where
    /// and to where, or stops a datagram, which is returned.
    fn carry(
        &mut self,
        mut sent: Vec<Datagram>,
        route: impl Fn(&Datagram) -> Option<(Address, Address)>,
    ) -> Vec<Datagram> {
        let mut stopped = Vec::new();
        while let Some(datagram) = sent.pop() {
            match route(&datagram) {
                Some((from, to)) => sent.extend(self.drive(to, from, &datagram.2)),
                None => stopped.push(datagram),
            }
        }
        stopped
    }
}

/// A node is a server to some and a client to others, and gives both numbers, which are apart. One of
/// its clients, on the path, has the address of its association with a server moved to himself by
/// relaying, and then ends the handshake that he began there.
#[test]
fn association_that_moved_to_a_clients_address_is_not_that_clients() {
    let config = Config {
        connection_ids: ConnectionIds::Both(ConnectionIdFormat::new(0x0102)),
        ..Config::default()
    };
    let mut rng = TestRng::new(1);
    let mut env = Env::new(Instant::from_micros(1_000_000), &mut rng);
    let own_key = b"the attacker's own".as_slice();
    // The attacker is client 2, as the server is server 2.
    let clients = Known::new(&[(b"a", b"key a"), (b"b", b"key b"), (b"attacker", own_key)]);
    let server = Known::new(&[(IDENTITY, PSK)]);
    let nodes = BTreeMap::from([
        (
            CLIENT,
            Endpoint::server(SoftCrypto, clients, config.clone(), &mut env),
        ),
        (
            SERVER,
            Endpoint::server(SoftCrypto, server, config.clone(), &mut env),
        ),
        (
            ATTACKER,
            Endpoint::client(SoftCrypto, Known::new(&[]), config),
        ),
    ]);
    let now = env.now;
    let mut played = Played::new(nodes, rng, now);
    let mut connect = |at: Address, to, shown: &Shown| {
        let node = played.nodes.get_mut(&at).unwrap();
        let mut env = Env::new(now, &mut played.rng);
        node.connect(&mut env, Place(to), Some(shown)).unwrap()
    };
    let own = connect(CLIENT, SERVER, &shown());
    connect(ATTACKER, CLIENT, &Shown::new(b"attacker", own_key));
    let sent = played.fetch(CLIENT);
    played.carry(sent, |(from, to, _)| Some((*from, *to)));
    // The first record of the attacker's last flight is a ClientKeyExchange.
    let sent = played.fetch(ATTACKER);
    let held = played.carry(sent, |(from, to, datagram)| {
        let is_last = *from == ATTACKER && datagram[13] == 16;
        (!is_last).then_some((*from, *to))
    });
    assert_eq!(held.len(), 1);
    assert_eq!(played.established.len(), 2);

    let at_server = played.established.iter().find(|(at, _)| *at == SERVER);
    let at_server = at_server.unwrap().1;
    let mut env = Env::new(now, &mut played.rng);
    let server = played.nodes.get_mut(&SERVER).unwrap();
    server.ping(&mut env, at_server).unwrap();
    let mut sent = played.fetch(SERVER);
    for _ in 0..10 {
        played.now = played.now + Duration::from_secs(1);
        sent.extend(played.fetch(CLIENT));
        // All that the server sends comes from the attacker's address, and back.
        sent = played.carry(sent, |(from, to, _)| match (*from, *to) {
            (SERVER, CLIENT) => Some((ATTACKER, CLIENT)),
            (CLIENT, ATTACKER | SERVER) => Some((CLIENT, SERVER)),
            _ => None,
        });
    }
    assert_eq!(played.moved, [(SERVER, ATTACKER)]);

    let (_, _, flight) = &held[0];
    played.drive(CLIENT, ATTACKER, flight);
    assert_eq!(played.established.len(), 2);
    let node = &played.nodes[&CLIENT];
    assert_eq!(node.dropped(DropReason::NotAcceptable), 1);
    // What it asks of its server still goes there alone.
    let mut env = Env::new(played.now, &mut played.rng);
    let node = played.nodes.get_mut(&CLIENT).unwrap();
    node.ping(&mut env, own).unwrap();
    let sent = played.fetch(CLIENT);
    assert!(!sent.is_empty());
    let answers = played.drive(SERVER, CLIENT, &sent[0].2);
    assert!(!answers.is_empty());
}

/// A key that many have says of two clients at one address only that both have it. The second one gets
/// none of what was for the first; who has a key of his own goes on.
#[test]
fn second_holder_of_a_shared_key_takes_over_nothing() {
    let entries = [(IDENTITY, PSK)];
    for (known, is_one_peer) in [
        (Known::shared(&entries), false),
        (Known::new(&entries), true),
    ] {
        let config = Config {
            security: SecurityPolicy::new(SecurityMode::SharedKey).into(),
            ..Config::default()
        };
        let mut rng = TestRng::new(2);
        let mut env = Env::new(Instant::from_micros(1_000_000), &mut rng);
        let server = Endpoint::server(SoftCrypto, known, config.clone(), &mut env);
        let now = env.now;
        let mut played = Played::new(BTreeMap::from([(SERVER, server)]), rng, now);
        for _ in 0..2 {
            // A node without a memory of the one before.
            let client = Endpoint::client(SoftCrypto, Known::new(&[]), config.clone());
            let client = played.nodes.entry(CLIENT).insert_entry(client).into_mut();
            let mut env = Env::new(now, &mut played.rng);
            client
                .connect(&mut env, Place(SERVER), Some(&shown()))
                .unwrap();
            let sent = played.fetch(CLIENT);
            played.carry(sent, |(from, to, _)| Some((*from, *to)));
        }
        let at_server = played.established.iter().filter(|(at, _)| *at == SERVER);
        let ids: Vec<_> = at_server.map(|(_, id)| *id).collect();
        assert_eq!(ids.len(), 2);
        assert_eq!(ids[0] == ids[1], is_one_peer);
        let server = played.nodes.get_mut(&SERVER).unwrap();
        assert_eq!(server.associations(), 1);
        let closed = match server.poll_event() {
            Some(Event::Closed { association }) => Some(association),
            _ => None,
        };
        assert_eq!(closed, (!is_one_peer).then_some(ids[0]));
    }
}
