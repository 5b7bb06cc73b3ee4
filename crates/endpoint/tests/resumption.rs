//! Endpoints that resume sessions: on reconnect, beside a session, after a restart, and not at all.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::time::Duration;

use common::{
    CLIENT, Host, IDENTITY, Known, PSK, Pair, Place, SERVER, Shown, defaults, pair, shown,
};
use hedgerow_coap::Code;
use hedgerow_core::{Env, Instant, PeerFault};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{
    Config, ConnectionIdFormat, ConnectionIds, Endpoint, Resumption, ServerSessions,
};
use hedgerow_sim::{Conditions, Fault, TestRng, World, for_each_seed};

const SECOND: Duration = Duration::from_secs(1);

fn with(resumption: Resumption) -> Config {
    Config {
        resumption,
        ..defaults()
    }
}

/// By ticket, and by session ID.
const WAYS: [Resumption; 2] = [
    Resumption::ON,
    Resumption {
        has_tickets: false,
        ..Resumption::ON
    },
];

/// Asks the server once and returns how many datagrams it has sent for that.
fn ask(world: &mut World<Host<SoftCrypto>>, pair: &Pair, shown: &Shown, body: &[u8]) -> u64 {
    let before = world.account(SERVER, CLIENT).sent;
    let asked = world.act(pair.client, |host, env, out| {
        host.ask(env, out, shown, Code::GET, body)
    });
    world.run_for(20 * SECOND).unwrap();
    assert!(world.node(pair.client).responses.contains_key(&asked));
    world.account(SERVER, CLIENT).sent - before
}

fn close(world: &mut World<Host<SoftCrypto>>, pair: &Pair) {
    world.act(pair.client, |host, env, out| {
        let id = host
            .endpoint
            .connect(env, Place(SERVER), Some(&shown()))
            .unwrap();
        host.endpoint.close(env, id).unwrap();
        host.flush(env, out);
    });
    world.run_for(SECOND).unwrap();
}

/// Three datagrams of the server's for a full handshake: cookie, first flight, last flight. Two for an
/// abbreviated one. The response is one more.
const FULL: u64 = 3 + 1;
const RESUMED: u64 = 2 + 1;

#[test]
fn client_that_comes_back_resumes_its_session() {
    for way in WAYS {
        let mut world = World::new(1);
        let pair = pair(&mut world, &SoftCrypto, &with(way));
        assert_eq!(ask(&mut world, &pair, &shown(), b"1"), FULL);
        for n in 0..3 {
            assert_eq!(world.node(pair.client).endpoint.resumable_sessions(), 1);
            close(&mut world, &pair);
            assert_eq!(ask(&mut world, &pair, &shown(), &[n]), RESUMED);
        }
        let server = world.node(pair.server);
        assert_eq!(server.established.len(), 4);
        assert!(
            server
                .established
                .iter()
                .all(|&peer| peer == server.established[0])
        );
    }
}

#[test]
fn idle_association_comes_back_by_its_session() {
    let mut world = World::new(1);
    let config = Config {
        idle_timeout: 300 * SECOND,
        ..with(Resumption::ON)
    };
    let pair = pair(&mut world, &SoftCrypto, &config);
    assert_eq!(ask(&mut world, &pair, &shown(), b"1"), FULL);
    world.run_for(2_000 * SECOND).unwrap();
    assert_eq!(world.node(pair.client).endpoint.associations(), 0);
    assert_eq!(ask(&mut world, &pair, &shown(), b"2"), RESUMED);
    // And not for ever.
    world.run_for(Resumption::ON.lifetime).unwrap();
    assert_eq!(ask(&mut world, &pair, &shown(), b"3"), FULL);
}

#[test]
fn nothing_is_resumed_unless_both_ends_take_part() {
    let as_client = Resumption {
        lifetime: Duration::ZERO,
        ..Resumption::ON
    };
    let as_server = Resumption {
        max_client_sessions: 0,
        ..Resumption::ON
    };
    for way in [Resumption::OFF, as_client, as_server] {
        let mut world = World::new(1);
        let pair = pair(&mut world, &SoftCrypto, &with(way));
        assert_eq!(ask(&mut world, &pair, &shown(), b"1"), FULL);
        close(&mut world, &pair);
        assert_eq!(world.node(pair.client).endpoint.resumable_sessions(), 0);
        assert_eq!(ask(&mut world, &pair, &shown(), b"2"), FULL);
    }
}

/// Whoever can't show the key doesn't ride on the session of somebody who can.
#[test]
fn other_credentials_get_no_session() {
    let mut world = World::new(1);
    let pair = pair(&mut world, &SoftCrypto, &with(Resumption::ON));
    ask(&mut world, &pair, &shown(), b"1");
    close(&mut world, &pair);
    let wrong = Shown::new(IDENTITY, b"another 16 bytes");
    world.act(pair.client, |host, env, out| {
        host.ask(env, out, &wrong, Code::GET, b"2");
    });
    world.run_for(40 * SECOND).unwrap();
    let client = world.node(pair.client);
    assert_eq!(client.failed, [PeerFault::CredentialsRefused.into()]);
}

fn restart(world: &mut World<Host<SoftCrypto>>, pair: &Pair, known: &Known, config: &Config) {
    world.act(pair.server, |host, env, _| {
        let mut rng = TestRng::new(4_711);
        let env = &mut Env::new(env.now, &mut rng);
        let provider = host.provider.clone();
        host.endpoint = Endpoint::server(provider, known.clone(), config.clone(), env);
    });
}

/// The new server has neither keys nor table: the same exchange becomes a full handshake, and the
/// request that waits is answered.
#[test]
fn restarted_server_falls_back_in_the_same_exchange() {
    for way in WAYS {
        let mut world = World::new(1);
        let config = with(way);
        let pair = pair(&mut world, &SoftCrypto, &config);
        ask(&mut world, &pair, &shown(), b"1");
        close(&mut world, &pair);
        restart(&mut world, &pair, &Known::new(&[(IDENTITY, PSK)]), &config);
        assert_eq!(ask(&mut world, &pair, &shown(), b"2"), FULL);
        close(&mut world, &pair);
        assert_eq!(ask(&mut world, &pair, &shown(), b"3"), RESUMED);
    }
}

/// The identity is gone from the store: the ticket and the session ID are worth nothing.
#[test]
fn revoked_identity_is_refused_with_its_session() {
    for way in WAYS {
        let mut world = World::new(1);
        let config = with(way);
        let pair = pair(&mut world, &SoftCrypto, &config);
        let known = Known::new(&[(IDENTITY, PSK)]);
        restart(&mut world, &pair, &known, &config);
        ask(&mut world, &pair, &shown(), b"1");
        close(&mut world, &pair);
        known.forget_all();
        world.act(pair.client, |host, env, out| {
            host.ask(env, out, &shown(), Code::GET, b"2");
        });
        world.run_for(40 * SECOND).unwrap();
        let client = world.node(pair.client);
        assert_eq!(client.failed, [PeerFault::CredentialsRefused.into()]);
        assert_eq!(client.responses.len(), 1);
    }
}

/// Mbed TLS forgot the connection IDs on a resumption (Mbed TLS issue 5872).
#[test]
fn resumed_sessions_have_connection_ids_of_their_own() {
    let config = Config {
        connection_ids: ConnectionIds::Both(ConnectionIdFormat::new(1)),
        ..with(Resumption::ON)
    };
    let mut world = World::new(1);
    let pair = pair(&mut world, &SoftCrypto, &config);
    assert_eq!(ask(&mut world, &pair, &shown(), b"1"), FULL);
    close(&mut world, &pair);
    assert_eq!(ask(&mut world, &pair, &shown(), b"2"), RESUMED);
    assert_eq!(ask(&mut world, &pair, &shown(), b"3"), 1);
    let drops = &world.node(pair.server).drops;
    assert!(drops.is_empty(), "{drops:?}");
}

/// A session that lives is not replaced because two transmissions were lost and the third one takes
/// its time, also where the handshake that begins then would be an abbreviated one and over by then.
#[test]
fn lost_transmissions_do_not_replace_a_living_session_by_a_resumed_one() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        let pair = pair(&mut world, &SoftCrypto, &with(Resumption::ON));
        ask(&mut world, &pair, &shown(), b"1");
        let is_data = |datagram: &[u8]| datagram[0] == 23;
        let mut sent = 0;
        let direction = world.direction(CLIENT, SERVER);
        direction.fault_each(Fault::Drop, move |datagram| {
            sent += u32::from(is_data(datagram));
            is_data(datagram) && sent <= 2
        });
        direction.fault_each(Fault::Delay(SECOND), is_data);
        let asked = world.act(pair.client, |host, env, out| {
            host.ask(env, out, &shown(), Code::POST, b"once")
        });
        world.run_for(60 * SECOND).unwrap();
        let client = world.node(pair.client);
        assert_eq!(client.established.len(), 1);
        assert!(client.responses.contains_key(&asked));
        let server = world.node(pair.server);
        assert_eq!(server.handled[b"once".as_slice()], 1);
        assert_eq!(server.established.len(), 1);
        assert_eq!(client.endpoint.handshakes(), 0);
    }
}

/// What nobody has answered is still there to be resumed.
#[test]
fn handshake_given_up_before_its_server_hello_keeps_the_session() {
    let mut world = World::new(1);
    let pair = pair(&mut world, &SoftCrypto, &with(Resumption::ON));
    ask(&mut world, &pair, &shown(), b"1");
    // Five seconds in which nothing arrives at the server.
    let from = world.now();
    world.partition(CLIENT, SERVER, from..from + 5 * SECOND);
    world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown(), Code::POST, b"once");
    });
    world
        .run_until(|world| world.node(pair.client).endpoint.handshakes() == 1)
        .unwrap();
    assert_eq!(world.node(pair.client).endpoint.resumable_sessions(), 0);
    world
        .run_until(|world| world.node(pair.client).endpoint.handshakes() == 0)
        .unwrap();
    let client = world.node(pair.client);
    assert_eq!(client.established.len(), 1);
    assert_eq!(client.endpoint.resumable_sessions(), 1);
}

/// A handshake that is held sends no Finished, also where a ticket is to come behind it.
#[test]
fn ticket_to_come_does_not_end_the_hold() {
    for way in WAYS {
        let mut world = World::new(1);
        let config = with(way);
        let pair = pair(&mut world, &SoftCrypto, &config);
        ask(&mut world, &pair, &shown(), b"1");
        // The server loses its memory, so that the handshake beside the session is a full one.
        restart(&mut world, &pair, &Known::new(&[(IDENTITY, PSK)]), &config);
        world.act(pair.client, |host, env, out| {
            host.ask(env, out, &shown(), Code::GET, b"2");
        });
        world
            .run_until(|world| world.node(pair.server).endpoint.handshakes() == 1)
            .unwrap();
        let begun = world.now();
        world
            .run_until(|world| world.node(pair.client).established.len() == 2)
            .unwrap();
        let hold = config.exchange.transmission.longest_timeout();
        let took = world.now().saturating_since(begun);
        assert!(took + SECOND >= hold, "{took:?} of {hold:?}");
    }
}

#[test]
fn requests_over_resumed_sessions_are_answered_under_loss() {
    for way in WAYS {
        for_each_seed(0..100, |seed| {
            let mut world = World::new(seed);
            let config = Config {
                resumption: way,
                ..common::patient()
            };
            let pair = pair(&mut world, &SoftCrypto, &config);
            world.set_conditions(Conditions::rough());
            for n in 0..3_u8 {
                let asked = world.act(pair.client, |host, env, out| {
                    host.ask(env, out, &shown(), Code::POST, &[n])
                });
                world
                    .run_until(|world| world.node(pair.client).responses.contains_key(&asked))
                    .unwrap();
                close(&mut world, &pair);
                // A late copy of a hello begins a handshake at the server, whose flights the client's
                // next handshake from the same port would take for its own: it ends first.
                world.run_for(1_000 * SECOND).unwrap();
            }
            let server = world.node(pair.server);
            assert!((0..3).all(|n: u8| server.handled[&vec![n]] == 1));
        });
    }
}

/// Neither end keeps anything longer than it is good for, also where nothing happens any more: what is
/// kept is what a recording can be read with.
#[test]
fn sessions_are_forgotten_at_their_end() {
    for way in WAYS {
        let mut world = World::new(1);
        let pair = pair(&mut world, &SoftCrypto, &with(way));
        ask(&mut world, &pair, &shown(), b"1");
        close(&mut world, &pair);
        assert_eq!(world.node(pair.client).endpoint.resumable_sessions(), 1);
        let cached = usize::from(!way.has_tickets);
        assert_eq!(world.node(pair.server).endpoint.cached_sessions(), cached);
        world.run_for(way.lifetime).unwrap();
        assert_eq!(world.node(pair.server).endpoint.cached_sessions(), 0);
        // A client learns how long with a ticket alone.
        if !way.has_tickets {
            world.run_for(24 * 3_600 * SECOND - way.lifetime).unwrap();
        }
        assert_eq!(world.node(pair.client).endpoint.resumable_sessions(), 0);
    }
}

/// A ticket key is gone at its time without any ClientHello that asks for one.
#[test]
fn ticket_keys_change_without_clients() {
    let mut rng = TestRng::new(1);
    let mut env = Env::new(Instant::ZERO, &mut rng);
    let mut sessions = ServerSessions::draw(&Resumption::ON, &mut env).unwrap();
    for _ in 0..3 {
        let due = sessions.poll_timeout();
        assert_eq!(due, env.now + Resumption::ON.lifetime);
        env.now = due;
        sessions.handle_timeout(&mut env);
    }
}
