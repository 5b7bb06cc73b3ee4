//! Peers of idle associations that vanish, are there, or have restarted (RFC 7252 §4.3).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::time::Duration;

use common::{CLIENT, Host, IDENTITY, Known, PSK, Pair, SERVER, body, defaults, pair, shown};
use hedgerow_coap::Code;
use hedgerow_core::{Env, Instant, PeerFault};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{Config, Endpoint};
use hedgerow_sim::{Conditions, TestRng, Tracing, World, for_each_seed};

const SECOND: Duration = Duration::from_secs(1);
const AFTER: Duration = Duration::from_secs(60);

/// MAX_TRANSMIT_WAIT (RFC 7252 §4.8.2), which is when an end that was called knows; one that has called has
/// a handshake fail first.
const WAIT: Duration = Duration::from_secs(93);

fn watchful() -> Config {
    Config {
        ping_idle_after: Some(AFTER),
        ..defaults()
    }
}

type Net = World<Host<SoftCrypto>>;

/// One request, after which both ends have nothing to say.
fn meet(world: &mut Net, config: &Config) -> Pair {
    let pair = pair(world, &SoftCrypto, config);
    world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown(), Code::GET, b"1");
    });
    world.run_for(10 * SECOND).unwrap();
    assert_eq!(world.node(pair.client).responses.len(), 1);
    pair
}

fn cut(world: &mut Net) {
    let from = world.now();
    world.partition(CLIENT, SERVER, from..Instant::from_micros(u64::MAX));
}

#[test]
fn vanished_peer_is_noticed_by_both_ends_within_the_time_stated() {
    for_each_seed(0..100, |seed| {
        let mut world = Net::new(seed);
        let pair = meet(&mut world, &watchful());
        cut(&mut world);
        let before = world.total().sent;
        world.run_for(AFTER + WAIT).unwrap();
        let server = world.node(pair.server);
        assert_eq!(server.failed, [PeerFault::Unresponsive.into()]);
        assert_eq!(
            (server.endpoint.associations(), server.endpoint.handshakes()),
            (0, 0)
        );
        let client = world.node(pair.client);
        assert_eq!(client.failed, [PeerFault::HandshakeTimeout.into()]);
        assert_eq!(
            (client.endpoint.associations(), client.endpoint.handshakes()),
            (0, 0)
        );
        // Five pings of each end at most, and five ClientHellos.
        let sent = world.total().sent - before;
        assert!(sent <= 15, "{sent} datagrams");
        let silent = world.total().sent;
        world.run_for(Duration::from_secs(3_600)).unwrap();
        assert_eq!(world.total().sent, silent);
    });
}

/// A sleepy device answers nothing and loses nothing.
#[test]
fn nobody_is_asked_by_default() {
    let mut world = Net::new(1);
    let pair = meet(&mut world, &defaults());
    cut(&mut world);
    let before = world.total().sent;
    // What is remembered of a request keeps the association a while beyond its idle time.
    world.run_for(Duration::from_secs(3_000)).unwrap();
    assert_eq!(world.total().sent, before);
    assert_eq!(world.node(pair.server).endpoint.associations(), 1);
    assert_eq!(world.node(pair.client).failed, []);
}

/// A ping and its answer for each end in the time configured, and nothing more.
#[test]
fn peers_that_are_there_cost_a_ping_and_its_answer() {
    for_each_seed(0..20, |seed| {
        let mut world = Net::new(seed);
        let pair = meet(&mut world, &watchful());
        let before = world.total().sent;
        world.run_for(Duration::from_secs(900)).unwrap();
        for node in [pair.client, pair.server] {
            assert_eq!(world.node(node).failed, []);
            assert_eq!(world.node(node).endpoint.associations(), 1);
        }
        let sent = world.total().sent - before;
        // One end's ping tells the other one that it is there.
        assert!((2 * 14..=4 * 15).contains(&sent), "{sent} datagrams");
    });
}

/// Answers to an end's own pings don't keep an association that nobody uses.
#[test]
fn signs_of_life_are_no_use() {
    let mut world = Net::new(1);
    let config = Config {
        idle_timeout: Duration::from_secs(1_000),
        ..watchful()
    };
    let pair = pair(&mut world, &SoftCrypto, &config);
    world.act(pair.client, |host, _, _| {
        host.endpoint = Endpoint::client(host.provider.clone(), Known::new(&[]), defaults());
    });
    world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown(), Code::GET, b"1");
    });
    world.run_for(Duration::from_secs(990)).unwrap();
    assert_eq!(world.node(pair.server).endpoint.associations(), 1);
    world.run_for(Duration::from_secs(40)).unwrap();
    assert_eq!(world.node(pair.server).endpoint.associations(), 0);
    assert_eq!(world.node(pair.server).failed, []);
    assert_eq!(world.node(pair.client).closed, 1);
}

/// At 20 % loss each way five transmissions fail with 0.36^5 = 0.6 %; nothing is lost by it but the
/// association, and a client has a new one by the next request.
#[test]
fn lossy_path_is_no_dead_peer() {
    let mut lost = 0;
    for_each_seed(0..200, |seed| {
        let mut world = Net::new(seed);
        let pair = meet(&mut world, &watchful());
        world.set_conditions(Conditions::rough());
        world.run_for(Duration::from_secs(600)).unwrap();
        lost += world.node(pair.server).failed.len();
    });
    // Ten pings in each of 200 runs: 12 are expected, with a standard deviation of 3.5.
    assert!(lost <= 26, "{lost} of 200 associations given up");
}

/// The device has restarted while nobody asked anything: it is met again before anybody does.
#[test]
fn restarted_peer_is_met_again_before_the_next_request() {
    for_each_seed(0..50, |seed| {
        let mut world = Net::new(seed);
        let pair = meet(&mut world, &watchful());
        world.act(pair.server, |host, env, _| {
            let mut rng = TestRng::new(seed + 1);
            let env = &mut Env::new(env.now, &mut rng);
            let known = Known::new(&[(IDENTITY, PSK)]);
            let config = watchful();
            let provider = host.provider.clone();
            host.endpoint = Endpoint::server(provider, known, config, env);
        });
        world.run_for(AFTER + 20 * SECOND).unwrap();
        assert_eq!(world.node(pair.client).established.len(), 2);
        let asked = world.act(pair.client, |host, env, out| {
            host.ask(env, out, &shown(), Code::GET, b"2000")
        });
        world.run_for(SECOND).unwrap();
        let response = &world.node(pair.client).responses[&asked];
        assert_eq!(*response, (Code::CONTENT, body(2_000)));
    });
}

/// Somebody plays everything that a vanished peer has ever said again and again, and forges answers.
#[test]
fn recordings_and_forgeries_give_no_sign_of_life() {
    for (dead, alive) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        let mut world = Net::new(5);
        world.set_tracing(Tracing::Bytes);
        let pair = meet(&mut world, &watchful());
        // So that answers to pings are among the recordings.
        world.run_for(4 * AFTER).unwrap();
        cut(&mut world);
        let entries = world.trace().entries().iter();
        let mut recorded: Vec<Vec<u8>> = entries
            .filter(|entry| entry.from == dead && entry.datagram[0] == 23)
            .map(|entry| entry.datagram.clone())
            .collect();
        assert!(recorded.len() > 2);
        for n in 0..20 {
            let mut forged = recorded[0].clone();
            forged[10] = 200 + n;
            recorded.push(forged);
        }
        let node = if alive == SERVER {
            pair.server
        } else {
            pair.client
        };
        let mut seconds = 0;
        while world.node(node).endpoint.associations() > 0 {
            for datagram in &recorded {
                world.act(node, |host, env, out| {
                    use hedgerow_sim::Node as _;
                    host.handle_datagram(env, dead, alive, &mut datagram.clone(), out);
                });
            }
            world.run_for(5 * SECOND).unwrap();
            seconds += 5;
            assert!(seconds <= 60 + 93 + 5, "still there after {seconds} s");
        }
        assert_eq!(world.node(node).failed.len(), 1);
    }
}
