//! Paths that carry less than is configured: what the system refuses to send, and what a handshake has
//! found out (RFC 6347 §4.1.1.1).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::time::Duration;

use common::{
    CLIENT, Host, IDENTITY, Known, PSK, Pair, Place, SERVER, Shown, body, defaults, pair, shown,
};
use hedgerow_coap::Code;
use hedgerow_core::{CryptoProvider, Env};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{Config, Endpoint, Resumption};
use hedgerow_handshake::MIN_DATAGRAM_LEN;
use hedgerow_sim::{Address, Conditions, TestRng, Tracing, World, for_each_seed};

fn longest<P: CryptoProvider + Clone>(world: &World<Host<P>>, from: Address) -> usize {
    let entries = world.trace().entries().iter();
    let lens = entries
        .filter(|entry| entry.from == from)
        .map(|entry| entry.datagram.len());
    lens.max().unwrap()
}

/// The first refusal is all that it costs: no timeout, no failure, and no datagram above what is sent.
#[test]
fn upload_goes_on_in_smaller_blocks_once_the_system_has_refused_one() {
    for sends in [1_050, 600, 300, 224] {
        let mut world = World::new(7);
        world.set_tracing(Tracing::Bytes);
        let pair = pair(&mut world, &SoftCrypto, &defaults());
        world.act(pair.client, |host, _, _| host.sends = sends);
        let shown = shown();
        let image = body(5_000);
        let upload = world.act(pair.client, |host, env, out| {
            host.ask(env, out, &shown, Code::PUT, &image)
        });
        world.run_for(Duration::from_secs(8)).unwrap();
        let client = world.node(pair.client);
        assert_eq!(
            client.responses[&upload],
            (Code::CHANGED, b"5000".to_vec()),
            "{sends}"
        );
        assert!(
            (1..=3).contains(&client.refused),
            "{sends}: {}",
            client.refused
        );
        assert_eq!(world.node(pair.server).handled[&image], 1);
        assert!(longest(&world, CLIENT) <= sends);
    }
}

/// A response that was made already stays as long as it is; the request for it is asked anew, under a new
/// session at the latest, and answered in smaller blocks.
#[test]
fn download_ends_well_where_the_server_is_refused() {
    let mut world = World::new(7);
    world.set_tracing(Tracing::Bytes);
    let pair = pair(&mut world, &SoftCrypto, &defaults());
    world.act(pair.server, |host, _, _| host.sends = 600);
    let shown = shown();
    let asked = world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown, Code::GET, b"5000")
    });
    world.run_for(Duration::from_secs(100)).unwrap();
    let client = world.node(pair.client);
    assert_eq!(client.responses[&asked], (Code::CONTENT, body(5_000)));
    assert!(world.node(pair.server).refused > 0);
    assert!(longest(&world, SERVER) <= 600);
}

/// An identity that makes the client's last flight 250 bytes long.
const LONG_IDENTITY: [u8; 128] = [b'i'; 128];

fn pair_with_a_long_identity(world: &mut World<Host<SoftCrypto>>) -> Pair {
    pair_with_long_tickets(world, &defaults())
}

/// A ticket has its client's identity in it.
fn pair_with_long_tickets(world: &mut World<Host<SoftCrypto>>, config: &Config) -> Pair {
    let mut rng = TestRng::stream(world.seed(), 77);
    let env = &mut Env::new(world.now(), &mut rng);
    let known = Known::new(&[(IDENTITY, PSK), (&LONG_IDENTITY, PSK)]);
    let [at_server, at_client] = ["server", "client"].map(|name| world.provider(SoftCrypto, name));
    let server = Endpoint::server(at_server.clone(), known, config.clone(), env);
    let client = Endpoint::client(at_client.clone(), Known::new(&[]), config.clone());
    Pair {
        server: world.add(Host::new(SERVER, at_server, server), &[SERVER]),
        client: world.add(Host::new(CLIENT, at_client, client), &[CLIENT]),
    }
}

/// Nobody says anything: the handshake finds out by itself, and what it has found holds for the messages
/// under the session, so that an upload fits although its blocks of 1,024 bytes never would.
#[test]
fn what_the_handshake_has_found_out_holds_for_the_session() {
    for_each_seed(0..100, |seed| {
        let mut world = World::new(seed);
        world.set_tracing(Tracing::Bytes);
        world.direction(CLIENT, SERVER).set_conditions(Conditions {
            max_datagram_len: 230,
            ..Conditions::default()
        });
        let pair = pair_with_a_long_identity(&mut world);
        let shown = Shown::new(&LONG_IDENTITY, PSK);
        let image = body(2_000);
        let upload = world.act(pair.client, |host, env, out| {
            host.ask(env, out, &shown, Code::PUT, &image)
        });
        world.run_for(Duration::from_secs(60)).unwrap();
        let client = world.node(pair.client);
        assert_eq!(client.responses[&upload], (Code::CHANGED, b"2000".to_vec()));
        assert!(world.account(CLIENT, SERVER).too_long > 0);
        assert_eq!(client.failures, []);
    });
}

fn resuming() -> Config {
    Config {
        resumption: Resumption::ON,
        ..defaults()
    }
}

/// The server's last flight with this identity: NewSessionTicket, ChangeCipherSpec, Finished.
const LONG_FLIGHT: usize = (13 + 12 + 6 + 238) + 14 + 61;

/// Asks once and closes; returns how many datagrams the server has sent for that.
fn ask_and_close(world: &mut World<Host<SoftCrypto>>, pair: &Pair, body: &[u8]) -> u64 {
    let shown = Shown::new(&LONG_IDENTITY, PSK);
    let before = world.account(SERVER, CLIENT).sent;
    let asked = world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown, Code::GET, body)
    });
    world.run_for(Duration::from_secs(40)).unwrap();
    let client = world.node(pair.client);
    assert!(client.responses.contains_key(&asked));
    assert_eq!(client.failed, []);
    let sent = world.account(SERVER, CLIENT).sent - before;
    world.act(pair.client, |host, env, out| {
        let id = host.endpoint.connect(env, Place(SERVER), Some(&shown));
        host.endpoint.close(env, id.unwrap()).unwrap();
        host.flush(env, out);
    });
    world.run_for(Duration::from_secs(1)).unwrap();
    sent
}

/// The way to the client carries less than the flight that brings the ticket, and nobody says so, or the
/// system does: the handshake completes, and what it has brought is good for the next one.
#[test]
fn ticket_gets_through_a_path_that_its_flight_is_too_long_for() {
    for is_refused in [false, true] {
        for max in [LONG_FLIGHT, LONG_FLIGHT - 1, 300, 225, MIN_DATAGRAM_LEN] {
            let mut world = World::new(7);
            world.set_tracing(Tracing::Bytes);
            let pair = pair_with_long_tickets(&mut world, &resuming());
            if is_refused {
                world.act(pair.server, |host, _, _| host.sends = max);
            } else {
                world.direction(SERVER, CLIENT).set_conditions(Conditions {
                    max_datagram_len: max,
                    ..Conditions::default()
                });
            }
            let name = format!("{max}, refused: {is_refused}");
            // Cookie, first flight, last flight, response; the flight twice in vain, and two pieces.
            let expected = match (max, is_refused) {
                (LONG_FLIGHT, _) => 4,
                (_, false) => 4 + 3,
                (_, true) => 4 + 1,
            };
            assert_eq!(ask_and_close(&mut world, &pair, b"1"), expected, "{name}");
            let client = &world.node(pair.client).endpoint;
            let tickets: Vec<_> = client.resumable_tickets().collect();
            assert_eq!(tickets, [238], "{name}");
            // Cookie, flight, response.
            assert_eq!(ask_and_close(&mut world, &pair, b"2"), 3, "{name}");
            let refused = u32::from(is_refused && max < LONG_FLIGHT);
            assert_eq!(world.node(pair.server).refused, refused, "{name}");
            let too_long = world.account(SERVER, CLIENT).too_long;
            assert_eq!(too_long, u64::from(expected == 7) * 2, "{name}");
            assert_eq!(world.node(pair.server).endpoint.associations(), 0);
        }
    }
}

/// Either way carries less than a ClientHello with the ticket, which can't be split: the client goes on
/// without, and the session that it gets by an ID is resumed from then on.
#[test]
fn client_hello_that_is_too_long_goes_on_without_its_ticket() {
    for is_refused in [false, true] {
        for max in [300, MIN_DATAGRAM_LEN] {
            let mut world = World::new(7);
            world.set_tracing(Tracing::Bytes);
            let pair = pair_with_long_tickets(&mut world, &resuming());
            if is_refused {
                for node in [pair.client, pair.server] {
                    world.act(node, |host, _, _| host.sends = max);
                }
            } else {
                world.set_conditions(Conditions {
                    max_datagram_len: max,
                    ..Conditions::default()
                });
            }
            let name = format!("{max}, refused: {is_refused}");
            let tickets = |world: &World<Host<SoftCrypto>>| -> Vec<usize> {
                let client = &world.node(pair.client).endpoint;
                client.resumable_tickets().collect()
            };
            ask_and_close(&mut world, &pair, b"1");
            assert_eq!(tickets(&world), [238], "{name}");
            let refused = world.node(pair.client).refused;
            // Cookie, flight, last flight, response: two hellos were too long. So is the client's last flight
            // for the shortest path, while the server repeats its own twice.
            let is_repeated = max == MIN_DATAGRAM_LEN && !is_refused;
            let expected = if is_repeated { 6 } else { 4 };
            let sent = ask_and_close(&mut world, &pair, b"2");
            assert_eq!(sent, expected, "{name}");
            assert_eq!(tickets(&world), [0], "{name}");
            // By the ID: cookie, flight, response.
            assert_eq!(ask_and_close(&mut world, &pair, b"3"), 3, "{name}");
            let more = world.node(pair.client).refused - refused;
            assert_eq!(more, u32::from(is_refused), "{name}");
        }
    }
}

/// Refusals for whoever, as long as they please, make nothing and end nothing.
#[test]
fn refusals_prove_nothing_and_end_nothing() {
    let mut world = World::new(7);
    let pair = pair(&mut world, &SoftCrypto, &defaults());
    let shown = shown();
    world.act(pair.server, |host, env, out| {
        for len in (0..3_000).rev() {
            host.endpoint.datagram_refused(Place(CLIENT), len);
        }
        host.flush(env, out);
        assert_eq!(
            (host.endpoint.associations(), host.endpoint.handshakes()),
            (0, 0)
        );
    });
    let asked = world.act(pair.client, |host, env, out| {
        let asked = host.ask(env, out, &shown, Code::GET, b"2000");
        for len in (0..3_000).rev() {
            host.endpoint.datagram_refused(Place(SERVER), len);
        }
        host.flush(env, out);
        asked
    });
    world.run_for(Duration::from_secs(60)).unwrap();
    let client = world.node(pair.client);
    assert_eq!(client.responses[&asked], (Code::CONTENT, body(2_000)));
    assert_eq!(client.established.len(), 1);
}
