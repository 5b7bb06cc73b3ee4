//! Who has a place among an endpoint's legs (docs/specs/leg.md).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::time::Duration;

use common::legs::{End, config};
use common::{CLIENT, Driver, IDENTITY, Known, PSK, Place, SERVER, Shown, shown};
use hedgerow_core::{DropReason, Env, Instant, SecureChannel, SecurityMode};
use hedgerow_crypto_soft::{SoftAead, SoftCrypto};
use hedgerow_endpoint::{AssociationId, Config, Endpoint, Error, Event, SecurityPolicy};
use hedgerow_handshake::{Buffers, ClientHandshake, Session};
use hedgerow_leg::{
    Ack, Body, Name, Offer, Open, Parts, Ranges, ResetReason, Role, Segment, StreamId,
};
use hedgerow_sim::{Address, Conditions, NodeId, TestRng, World};

const SECOND: Duration = Duration::from_secs(1);

fn segment(stream: StreamId, body: Body<'_>) -> Vec<u8> {
    let mut out = [0; 64];
    let len = Segment { stream, body }.encode(&mut out).unwrap();
    out[..len].to_vec()
}

/// A gateway and those who call it from ports of their own.
struct Gateway {
    world: World<End>,
    called: NodeId,
}

impl Gateway {
    fn new(max_legs: usize, known: Known) -> Self {
        let mut world = World::new(5);
        let mut config = Config {
            security: SecurityPolicy::new(SecurityMode::SharedKey).into(),
            // When silence counts, and how long it may last.
            exchange: Config::default().exchange,
            idle_timeout: Config::default().idle_timeout,
            ..config(Role::Gateway)
        };
        let legs = config.legs.as_mut().unwrap();
        legs.max_legs = max_legs;
        legs.max_legs_per_shared_key = 3;
        let mut rng = TestRng::new(5);
        let env = &mut Env::new(world.now(), &mut rng);
        let provider = world.provider(SoftCrypto, "called");
        let endpoint = Endpoint::server(provider, known, config, env);
        let called = world.add(End::new(SERVER, endpoint), &[SERVER]);
        Self { world, called }
    }

    fn call(&mut self, port: u16, with: &Shown) -> (NodeId, AssociationId) {
        let at = Address::new(1, port);
        let provider = self.world.provider(SoftCrypto, port.to_string().leak());
        let endpoint = Endpoint::client(provider, Known::new(&[]), config(Role::Device));
        let node = self.world.add(End::new(at, endpoint), &[at]);
        let association = self.world.act(node, |end, env, out| {
            let begun = end.endpoint.connect(env, Place(SERVER), Some(with));
            end.flush(env, out);
            begun.unwrap()
        });
        self.world.run_for(SECOND).unwrap();
        (node, association)
    }

    fn open(&mut self, (node, association): (NodeId, AssociationId)) {
        self.world.act(node, |end, env, out| {
            end.open(env, out, association, b"hello");
        });
        self.world.run_for(SECOND).unwrap();
    }

    fn legs(&self) -> usize {
        self.world.node(self.called).endpoint.legs()
    }
}

/// A device's bare session with `server`, which seals what it likes.
fn bare_session(server: &mut Driver<SoftCrypto>, env: &mut Env<'_>) -> Session<SoftAead> {
    let buffers = Buffers {
        incoming: vec![0; 512],
        outgoing: vec![0; 512],
    };
    let settings = config(Role::Device).handshake;
    let mut client = ClientHandshake::new(SoftCrypto, shown(), settings, buffers, env).unwrap();
    let (mut out, mut answer) = ([0; 1_500], [0; 64]);
    while !client.is_established() {
        while let Some(len) = client.poll_transmit(env, &mut out).unwrap() {
            let mut at = 0;
            while at < len {
                let part = &mut out[at..len];
                let handled = server.handle_datagram(env, Place(CLIENT), part, &mut answer);
                at += handled.consumed;
                let back = handled.answer;
                client.handle_datagram(env, &mut answer[..back]).unwrap();
            }
        }
        while let Some((_, len)) = server.poll_transmit(env, &mut out) {
            let mut rest = &mut out[..len];
            while !rest.is_empty() && !client.is_established() {
                rest = client.handle_datagram(env, rest).unwrap().rest;
            }
        }
    }
    client.into_session().unwrap().session
}

#[test]
fn what_opens_no_stream_begins_no_leg() {
    let mut rng = TestRng::new(12);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let known = Known::new(&[(IDENTITY, PSK)]);
    let mut server: Driver<SoftCrypto> =
        Endpoint::server(SoftCrypto, known, config(Role::Gateway), env);
    let mut session = bare_session(&mut server, env);
    // Returns why it was dropped, and the segment that comes back.
    let mut say = |server: &mut Driver<SoftCrypto>, env: &mut Env<'_>, sent: &[u8]| {
        let mut out = [0; 512];
        let len = session.seal(sent, &mut out).unwrap();
        let handled = server.handle_datagram(env, Place(CLIENT), &mut out[..len], &mut [0; 64]);
        let reason = match handled.event {
            Some(Event::Dropped { reason, .. }) => Some(reason),
            _ => None,
        };
        let answer = server.poll_transmit(env, &mut out).map(|(to, len)| {
            assert_eq!(to, Place(CLIENT));
            let opened = session.handle_datagram(env, &mut out[..len]).unwrap();
            let Some(hedgerow_core::Event::Plaintext(segment)) = opened.event else {
                panic!("{:?}", opened.event);
            };
            segment.to_vec()
        });
        assert_eq!(server.poll_transmit(env, &mut out), None);
        (reason, answer)
    };

    let device = StreamId::new(Role::Device, 1, 0);
    let gateway = StreamId::new(Role::Gateway, 1, 0);
    let reset = |stream, reason| segment(stream, Body::Reset(reason));
    let parts = |stream, parts| segment(stream, Body::Parts(parts));
    let ping = Parts {
        ping: true,
        ..Parts::default()
    };
    let acknowledged = Parts {
        ack: Some(Ack {
            cumulative: 1,
            window: 512,
            blocks: Ranges::default(),
        }),
        ..Parts::default()
    };
    let open = Parts {
        open: Some(Open {
            window: 512,
            port: 0,
            name: Name::default(),
            address: None,
        }),
        ..Parts::default()
    };
    let unknown = ResetReason::UnknownStream;
    for (sent, reason, answer) in [
        (vec![0x80], DropReason::Malformed, None),
        // Its OPEN may be under way.
        (parts(device, ping.clone()), DropReason::UnknownStream, None),
        (
            parts(device, acknowledged),
            DropReason::UnknownStream,
            Some(reset(device, unknown)),
        ),
        // Streams that this end would have opened.
        (
            parts(gateway, ping),
            DropReason::UnknownStream,
            Some(reset(gateway, unknown)),
        ),
        (
            parts(gateway, open.clone()),
            DropReason::UnknownStream,
            Some(reset(gateway, unknown)),
        ),
        (
            reset(device, ResetReason::Application),
            DropReason::Unmatched,
            Some(reset(device, ResetReason::Acknowledged)),
        ),
        (
            reset(device, ResetReason::Acknowledged),
            DropReason::Unmatched,
            None,
        ),
    ] {
        let said = say(&mut server, env, &sent);
        assert_eq!(server.legs(), 0, "{sent:02x?}");
        assert_eq!(said, (Some(reason), answer), "{sent:02x?}");
    }
    let said = say(&mut server, env, &parts(device, open));
    assert_eq!((server.legs(), said), (1, (None, None)));
}

/// A device that restarts on another port each time, without a connection ID: the gateway can't know its old
/// associations for dead, and none of them keeps a place.
#[test]
fn peer_of_one_key_has_one_leg_wherever_it_comes_from() {
    let other = Shown::new(b"other", b"another key here");
    let keys: &[(&[u8], &[u8])] = &[(IDENTITY, PSK), (b"other", b"another key here")];
    let mut gateway = Gateway::new(2, Known::new(keys));
    let beside = gateway.call(50_000, &other);
    gateway.open(beside);
    for port in 0..5 {
        let restarted = gateway.call(40_000 + port, &shown());
        gateway.open(restarted);
        assert_eq!(gateway.legs(), 2, "{port}");
    }
    let called = gateway.world.node(gateway.called);
    assert_eq!(called.opened.len(), 6);
    assert_eq!(called.gone.len(), 4);
    assert_eq!(called.endpoint.associations(), 2);
}

/// An OPEN from before a restart that was withheld so far: the peer has begun another session since, and has
/// its leg there.
#[test]
fn old_session_opens_no_stream_once_the_peer_has_its_leg_in_another() {
    let mut gateway = Gateway::new(64, Known::new(&[(IDENTITY, PSK)]));
    let before = gateway.call(40_000, &shown());
    let after = gateway.call(40_001, &shown());
    gateway.open(after);
    gateway.open(before);
    let called = gateway.world.node(gateway.called);
    assert_eq!(called.opened.len(), 1);
    assert_eq!(called.gone, []);
    assert!(called.drops.contains(&DropReason::NotAcceptable));
    assert_eq!(gateway.legs(), 1);
}

/// Several peers have one key, and none of them ends another's streams.
#[test]
fn peers_of_a_shared_key_have_a_leg_each() {
    let mut gateway = Gateway::new(64, Known::shared(&[(IDENTITY, PSK)]));
    for port in 0..3 {
        let one = gateway.call(40_000 + port, &shown());
        gateway.open(one);
    }
    let called = gateway.world.node(gateway.called);
    assert_eq!(called.opened.len(), 3);
    assert_eq!(called.gone, []);
    assert_eq!(gateway.legs(), 3);
}

/// Who has a key that others have too could otherwise take the places of everybody.
#[test]
fn holders_of_a_shared_key_have_so_many_legs_together_and_leave_the_others_theirs() {
    let other = Shown::new(b"other", b"another key here");
    let keys: &[(&[u8], &[u8])] = &[(IDENTITY, PSK), (b"other", b"another key here")];
    let mut gateway = Gateway::new(64, Known::shared(keys));
    for port in 0..4 {
        let one = gateway.call(40_000 + port, &shown());
        gateway.open(one);
    }
    let called = gateway.world.node(gateway.called);
    assert_eq!(called.opened.len(), 3);
    assert!(called.drops.contains(&DropReason::StreamTableFull));
    // Nobody has lost a leg by it, and another key has its own.
    assert_eq!(called.gone, []);
    let beside = gateway.call(50_000, &other);
    gateway.open(beside);
    assert_eq!(gateway.world.node(gateway.called).opened.len(), 4);
    assert_eq!(gateway.legs(), 4);
}

/// A newer session is no reason to end streams: it may be for CoAP alone. The first OPEN there is.
#[test]
fn leg_goes_on_beside_a_newer_session_until_that_has_a_stream() {
    let mut gateway = Gateway::new(64, Known::new(&[(IDENTITY, PSK)]));
    let older = gateway.call(40_000, &shown());
    gateway.open(older);
    let newer = gateway.call(40_001, &shown());
    gateway.open(older);
    let called = gateway.world.node(gateway.called);
    assert_eq!((called.opened.len(), gateway.legs()), (2, 1));
    assert_eq!(called.gone, []);
    gateway.open(newer);
    let called = gateway.world.node(gateway.called);
    assert_eq!((called.opened.len(), gateway.legs()), (3, 1));
    assert_eq!(called.gone.len(), 1);
}

/// Strangers make a gateway open streams. They keep no session of a device that has vanished, and the gateway learns that it
/// has to look for the device elsewhere.
#[test]
fn caller_that_vanished_takes_no_more_streams_and_is_forgotten_in_time() {
    let mut gateway = Gateway::new(64, Known::new(&[(IDENTITY, PSK)]));
    let device = gateway.call(40_000, &shown());
    gateway.open(device);
    let called = gateway.called;
    let (association, _) = gateway.world.node(called).established[0];
    let try_open = |gateway: &mut Gateway| {
        gateway.world.act(called, |end, env, out| {
            let opened = end
                .endpoint
                .open_stream(env, association, &Offer::default());
            end.flush(env, out);
            opened.map(|_| ())
        })
    };
    assert_eq!(try_open(&mut gateway), Ok(()));
    gateway.world.run_for(SECOND).unwrap();
    let at = Address::new(1, 40_000);
    for (from, to) in [(SERVER, at), (at, SERVER)] {
        gateway
            .world
            .direction(from, to)
            .set_conditions(Conditions {
                loss: 1.0,
                ..Conditions::default()
            });
    }
    let vanished = gateway.world.now();
    assert_eq!(try_open(&mut gateway), Ok(()));
    // Nothing is known of its silence yet; then two transmissions have gone unanswered.
    gateway.world.run_for(20 * SECOND).unwrap();
    assert_eq!(try_open(&mut gateway), Err(Error::NoLegs));
    // Each time that a stream has ended another one may be tried, and still the session's time comes.
    let idle_timeout = Config::default().idle_timeout;
    let mut tried = 0;
    while gateway.world.node(called).gone.is_empty() {
        gateway.world.run_for(20 * SECOND).unwrap();
        tried += u32::from(try_open(&mut gateway).is_ok());
        assert!(
            gateway.world.now() < vanished + 2 * idle_timeout,
            "{tried} opened"
        );
    }
    assert!(tried > 0);
    assert_eq!(try_open(&mut gateway), Err(Error::UnknownAssociation));
    assert_eq!(gateway.legs(), 0);
}
