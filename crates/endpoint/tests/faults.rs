//! What people and attackers do: wrong keys, restarts, floods, stalls.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{CLIENT, Host, IDENTITY, Known, PSK, SERVER, Shown, defaults, pair, shown};
use hedgerow_coap::{Code, MessageOption, OptionNumber};
use hedgerow_core::{DropReason, Instant, Peer, PeerFault, PeerId, SecurityMode};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{Config, Endpoint, Error, SecurityPolicy};
use hedgerow_exchange::{Request, RequestError};
use hedgerow_handshake::Settings;
use hedgerow_record::CipherSuite;
use hedgerow_sim::{Address, Node, TestRng, World};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn wrong_key_fails_the_request_with_a_clear_error() {
    let mut world = World::new(1);
    let pair = pair(&mut world, &SoftCrypto, &defaults());
    let wrong = Shown::new(IDENTITY, b"another 16 bytes");
    world.act(pair.client, |host, env, out| {
        host.ask(env, out, &wrong, Code::GET, b"1");
    });
    world.run_for(40 * SECOND).unwrap();
    let client = world.node(pair.client);
    assert_eq!(client.failed, [PeerFault::CredentialsRefused.into()]);
    assert_eq!(client.endpoint.associations(), 0);
    let server = world.node(pair.server);
    assert_eq!(server.endpoint.handshakes(), 0);
    assert_eq!(server.endpoint.associations(), 0);
    assert_eq!(
        server.handshakes_failed,
        [PeerFault::AlertSent { description: 51 }.into()]
    );
}

/// It would hold a place for a handshake, and a client that still waits for the server's Finished would
/// take the answers for that to its own.
#[test]
fn late_copy_of_the_hello_that_began_a_session_begins_nothing() {
    let mut world = World::new(1);
    let pair = pair(&mut world, &SoftCrypto, &defaults());
    let sent = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&sent);
    world.direction(CLIENT, SERVER).rewrite(move |datagram| {
        seen.lock().unwrap().push(datagram.clone());
        false
    });
    world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown(), Code::GET, b"1");
    });
    world.run_for(SECOND).unwrap();
    let sent = sent.lock().unwrap().clone();
    // Without a cookie, and with it.
    let hello = &sent[1];
    assert!(sent[0].len() < hello.len() && hello[13] == 1);
    let answers = world.account(SERVER, CLIENT).sent;
    world.send(CLIENT, SERVER, hello);
    world.run_for(SECOND).unwrap();
    let server = world.node(pair.server);
    assert_eq!(server.endpoint.handshakes(), 0);
    assert_eq!(server.drops, [DropReason::Duplicate]);
    assert_eq!(world.account(SERVER, CLIENT).sent, answers);
    // Minutes later it is no late copy any more. The cookie is of another time then.
    world.run_for(240 * SECOND).unwrap();
    world.send(CLIENT, SERVER, hello);
    world.run_for(SECOND).unwrap();
    assert_eq!(world.account(SERVER, CLIENT).sent, answers + 1);
}

#[test]
fn absent_server_fails_the_request_within_the_deadline() {
    let mut world = World::new(1);
    let pair = pair(&mut world, &SoftCrypto, &defaults());
    world.partition(
        CLIENT,
        SERVER,
        Instant::ZERO..Instant::from_micros(u64::MAX),
    );
    world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown(), Code::GET, b"1");
    });
    world.run_for(32 * SECOND).unwrap();
    let client = world.node(pair.client);
    assert_eq!(client.failed, [PeerFault::HandshakeTimeout.into()]);
}

/// A device that has lost its sessions: a GET is answered all the same, under a new session, within
/// 12 s and a handshake (ACK_TIMEOUT 2 s, then doubled, and once more before the handshake commits
/// the device, times ACK_RANDOM_FACTOR 1.5).
#[test]
fn restarted_device_is_met_again_within_13_seconds() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        let pair = pair(&mut world, &SoftCrypto, &defaults());
        let shown = shown();
        world.act(pair.client, |host, env, out| {
            host.ask(env, out, &shown, Code::GET, b"1");
        });
        world.run_for(SECOND).unwrap();
        assert_eq!(world.node(pair.client).responses.len(), 1);

        restart(&mut world, pair.server);
        let started = world.now();
        let asked = world.act(pair.client, |host, env, out| {
            host.ask(env, out, &shown, Code::GET, b"2")
        });
        world
            .run_until(|world| world.node(pair.client).responses.contains_key(&asked))
            .unwrap();
        let took = world.now().saturating_since(started);
        assert!(took <= 13 * SECOND, "{took:?}");
        let client = world.node(pair.client);
        assert_eq!(client.established.len(), 2);
        assert_eq!(client.endpoint.associations(), 1);
        assert_eq!(client.failures, []);
    }
}

/// A client that sends a Non-confirmable GET a minute and nothing else: the second one whose response
/// doesn't come within EXCHANGE_LIFETIME, 247 s, begins a handshake, which is held back for 3 s.
#[test]
fn restarted_device_is_met_again_by_nonconfirmable_requests_within_311_seconds() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        let pair = pair(&mut world, &SoftCrypto, &defaults());
        let shown = shown();
        let ask = |world: &mut World<Host<SoftCrypto>>| {
            world.act(pair.client, |host, env, out| {
                let request = Request::new(Code::GET).payload(b"1").non_confirmable();
                host.send(env, out, &shown, &request);
            });
        };
        ask(&mut world);
        world.run_for(SECOND).unwrap();
        assert_eq!(world.node(pair.client).responses.len(), 1);

        restart(&mut world, pair.server);
        let started = world.now();
        while world.node(pair.client).responses.len() == 1 {
            let took = world.now().saturating_since(started);
            assert!(took <= 311 * SECOND, "{took:?}");
            if took.as_secs().is_multiple_of(60) {
                ask(&mut world);
            }
            world.run_for(SECOND).unwrap();
        }
        let client = world.node(pair.client);
        assert_eq!(client.established.len(), 2);
        assert_eq!(client.endpoint.associations(), 1);
        assert_eq!(client.failures, [RequestError::ResponseTimeout; 2]);
    }
}

/// Who asks for no response (RFC 7967) learns nothing from getting none: the session stays.
#[test]
fn silence_that_was_asked_for_begins_no_handshake() {
    let mut world = World::new(3);
    let pair = pair(&mut world, &SoftCrypto, &defaults());
    let shown = shown();
    world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown, Code::GET, b"1");
    });
    world.run_for(SECOND).unwrap();
    let times = world.now()..Instant::from_micros(u64::MAX);
    world.direction(SERVER, CLIENT).partition(times);
    for _ in 0..10 {
        world.act(pair.client, |host, env, out| {
            let options = [MessageOption::new(OptionNumber::NO_RESPONSE, b"\x1a")];
            let request = Request::new(Code::POST).options(&options);
            host.send(env, out, &shown, &request.non_confirmable());
        });
        world.run_for(60 * SECOND).unwrap();
        assert_eq!(world.node(pair.client).endpoint.handshakes(), 0);
    }
    world.run_for(300 * SECOND).unwrap();
    let client = world.node(pair.client);
    assert_eq!(client.failures, [RequestError::ResponseTimeout; 10]);
    assert_eq!(client.endpoint.handshakes(), 0);
    assert_eq!(client.endpoint.associations(), 1);
}

/// A POST may have been done before the restart: it is not sent twice but fails.
#[test]
fn post_during_a_restart_fails_and_is_not_repeated() {
    let mut world = World::new(3);
    let pair = pair(&mut world, &SoftCrypto, &defaults());
    let shown = shown();
    world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown, Code::GET, b"1");
    });
    world.run_for(SECOND).unwrap();
    restart(&mut world, pair.server);
    world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown, Code::POST, b"toggle");
    });
    world.run_for(60 * SECOND).unwrap();
    assert_eq!(
        world.node(pair.client).failures,
        [RequestError::AssociationRestarted]
    );
    assert!(
        !world
            .node(pair.server)
            .handled
            .contains_key(b"toggle".as_slice())
    );
}

/// A session that stands beside a handshake outlives what anybody can send in clear.
#[test]
fn forged_alert_during_a_new_handshake_does_not_end_the_session() {
    let mut world = World::new(3);
    let pair = pair(&mut world, &SoftCrypto, &defaults());
    let shown = shown();
    world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown, Code::GET, b"1");
    });
    world.run_for(SECOND).unwrap();
    // What the client sends is lost for 12 s, long enough for a handshake beside the session.
    let times = world.now()..world.now() + 12 * SECOND;
    world.direction(CLIENT, SERVER).partition(times);
    world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown, Code::POST, b"toggle");
    });
    world
        .run_until(|world| world.node(pair.client).endpoint.handshakes() == 1)
        .unwrap();
    let alert = *b"\x15\xfe\xfd\0\0\0\0\0\0\0\x09\0\x02\x02\x28";
    world.send(SERVER, CLIENT, &alert);
    world.run_for(SECOND / 10).unwrap();
    assert_eq!(world.node(pair.client).endpoint.handshakes(), 0);
    world.run_for(60 * SECOND).unwrap();
    let client = world.node(pair.client);
    assert_eq!(client.failed, []);
    assert_eq!(client.failures, []);
    assert_eq!(client.responses.len(), 2);
    assert_eq!(client.established.len(), 1);
    assert_eq!(world.node(pair.server).handled[b"toggle".as_slice()], 1);
}

/// Some stacks answer no ClientHello from the address of a live session. The handshake that loss
/// began comes to nothing then, and the session goes on, whatever is under way at its deadline.
#[test]
fn session_outlives_a_handshake_that_its_peer_ignores() {
    let mut world = World::new(3);
    let pair = pair(&mut world, &SoftCrypto, &defaults());
    let shown = shown();
    world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown, Code::GET, b"1");
    });
    world.run_for(SECOND).unwrap();
    let mut lost = 0;
    world
        .direction(CLIENT, SERVER)
        .fault_each(hedgerow_sim::Fault::Drop, move |datagram| {
            let is_hello = datagram[0] == 22 && datagram[4] == 0;
            lost += u32::from(!is_hello);
            is_hello || lost <= 3
        });
    for second in 0..60_u32 {
        world.act(pair.client, |host, env, out| {
            host.ask(env, out, &shown, Code::GET, &second.to_be_bytes());
        });
        world.run_for(SECOND).unwrap();
    }
    world.run_for(60 * SECOND).unwrap();
    let client = world.node(pair.client);
    assert_eq!(client.failed, []);
    assert_eq!(client.responses.len(), 61);
    assert_eq!(client.established.len(), 1);
    assert_eq!(world.node(pair.server).established.len(), 1);
}

/// A handshake that finds no place is asked for again: the device isn't lost for good.
#[test]
fn restarted_device_is_met_again_once_the_pool_has_a_place() {
    let config = Config {
        max_handshakes: 1,
        ..defaults()
    };
    let mut world = World::new(3);
    let pair = pair(&mut world, &SoftCrypto, &config);
    let shown = shown();
    world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown, Code::GET, b"1");
    });
    world.run_for(SECOND).unwrap();
    restart(&mut world, pair.server);
    world.act(pair.client, |host, env, out| {
        // Nobody is there: this handshake holds the only place for 31 s.
        let silent = common::Place(Address::new(99, 5684));
        host.endpoint.connect(env, silent, Some(&shown)).unwrap();
        host.ask(env, out, &shown, Code::GET, b"2");
    });
    world.run_for(25 * SECOND).unwrap();
    assert_eq!(world.node(pair.client).established.len(), 1);
    world.run_for(40 * SECOND).unwrap();
    world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown, Code::GET, b"3");
    });
    world.run_for(60 * SECOND).unwrap();
    let client = world.node(pair.client);
    assert_eq!(client.established.len(), 2);
    assert!(client.responses.len() >= 2);
}

/// Two lost transmissions are not a restart: the session lives, and nothing is asked twice.
#[test]
fn two_lost_transmissions_do_not_replace_a_living_session() {
    let mut world = World::new(3);
    let pair = pair(&mut world, &SoftCrypto, &defaults());
    let shown = shown();
    world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown, Code::GET, b"1");
    });
    world.run_for(SECOND).unwrap();
    let mut count = 0;
    world
        .direction(CLIENT, SERVER)
        .fault_each(hedgerow_sim::Fault::Drop, move |_| {
            count += 1;
            count <= 2
        });
    world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown, Code::POST, b"toggle");
    });
    world.run_for(60 * SECOND).unwrap();
    let client = world.node(pair.client);
    assert_eq!(client.failures, []);
    assert_eq!(client.responses.len(), 2);
    assert_eq!(client.established.len(), 1);
    let server = world.node(pair.server);
    assert_eq!(server.handled[b"toggle".as_slice()], 1);
    assert_eq!(server.established.len(), 1);
    assert_eq!(server.endpoint.handshakes(), 0);
}

fn restart(world: &mut World<Host<SoftCrypto>>, server: hedgerow_sim::NodeId) {
    world.act(server, |host, env, out| {
        let known = Known::new(&[(IDENTITY, PSK)]);
        host.endpoint = Endpoint::server(host.provider.clone(), known, defaults(), env);
        host.flush(env, out);
    });
}

/// A client that has lost its session and comes back from the same address is met statelessly; its
/// old association gives way once the new handshake is verified.
#[test]
fn restarted_client_from_the_same_address_is_let_in() {
    let mut world = World::new(3);
    let pair = pair(&mut world, &SoftCrypto, &defaults());
    let shown = shown();
    world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown, Code::GET, b"1");
    });
    world.run_for(SECOND).unwrap();
    world.act(pair.client, |host, env, out| {
        host.endpoint = Endpoint::client(host.provider.clone(), Known::new(&[]), defaults());
        host.responses.clear();
        host.ask(env, out, &shown, Code::GET, b"2");
    });
    world.run_for(SECOND).unwrap();
    assert_eq!(world.node(pair.client).responses.len(), 1);
    let server = world.node(pair.server);
    assert_eq!(server.endpoint.associations(), 1);
    assert_eq!(server.established.len(), 2);
}

/// Adds a client that proves its address and then falls silent: the server's answers to its second
/// hello, and all later ones, are lost.
fn add_stalled_client(world: &mut World<Host<SoftCrypto>>, n: u16) {
    let address = Address::new(100, 10_000 + n);
    let provider = world.provider(SoftCrypto, "stalled client");
    let endpoint = Endpoint::client(provider.clone(), Known::new(&[]), defaults());
    let id = world.add(Host::new(address, provider, endpoint), &[address]);
    let mut count = 0;
    world
        .direction(SERVER, address)
        .fault_each(hedgerow_sim::Fault::Drop, move |_| {
            count += 1;
            count > 1
        });
    world.act(id, |host, env, out| {
        host.ask(env, out, &shown(), Code::GET, b"1");
    });
}

/// 191 clients prove their addresses and then fall silent; one more comes through at once.
#[test]
fn stalled_handshakes_delay_no_other() {
    let mut world = World::new(4);
    let pair = pair(&mut world, &SoftCrypto, &defaults());
    for n in 0..191_u16 {
        add_stalled_client(&mut world, n);
    }
    world.run_for(SECOND / 10).unwrap();
    assert_eq!(world.node(pair.server).endpoint.handshakes(), 191);
    let started = world.now();
    world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown(), Code::GET, b"1");
    });
    world
        .run_until(|world| world.node(pair.client).responses.len() == 1)
        .unwrap();
    let took = world.now().saturating_since(started);
    assert!(took < SECOND / 10, "{took:?}");
    // The deadline frees every place.
    world.run_for(40 * SECOND).unwrap();
    assert_eq!(world.node(pair.server).endpoint.handshakes(), 0);
}

#[test]
fn full_pool_of_handshakes_refuses_with_a_reason_and_keeps_sessions() {
    let config = Config {
        max_handshakes: 4,
        ..defaults()
    };
    let mut world = World::new(4);
    let pair = pair(&mut world, &SoftCrypto, &config);
    for n in 0..6 {
        add_stalled_client(&mut world, n);
    }
    world.run_for(SECOND / 10).unwrap();
    let server = world.node(pair.server);
    assert_eq!(server.endpoint.handshakes(), 3);
    assert_eq!(server.endpoint.dropped(DropReason::HandshakePoolFull), 3);
    // The last place is kept for what this end begins itself.
    world.act(pair.server, |host, env, _| {
        let own = common::Place(Address::new(200, 5684));
        host.endpoint.connect(env, own, Some(&shown())).unwrap();
        let another = common::Place(Address::new(201, 5684));
        let refused = host.endpoint.connect(env, another, Some(&shown()));
        assert_eq!(refused, Err(Error::TooManyHandshakes { max: 4 }));
    });
}

/// Another identity from the same address is another peer: nothing of the one before is its.
#[test]
fn other_identity_at_the_same_address_gets_an_association_of_its_own() {
    let known = Known::new(&[(IDENTITY, PSK), (b"other", b"another 16 bytes")]);
    let mut world = World::new(4);
    let pair = pair(&mut world, &SoftCrypto, &defaults());
    world.act(pair.server, |host, env, _| {
        host.endpoint = Endpoint::server(host.provider.clone(), known, defaults(), env);
    });
    world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown(), Code::GET, b"1");
    });
    world.run_for(SECOND).unwrap();
    world.act(pair.client, |host, env, out| {
        host.endpoint = Endpoint::client(host.provider.clone(), Known::new(&[]), defaults());
        host.responses.clear();
        let other = Shown::new(b"other", b"another 16 bytes");
        host.ask(env, out, &other, Code::GET, b"2");
    });
    world.run_for(SECOND).unwrap();
    let server = world.node(pair.server);
    assert_eq!(
        server.established,
        [Peer::Psk(PeerId(0)), Peer::Psk(PeerId(1))]
    );
    assert_eq!(server.closed, 1);
    assert_eq!(server.endpoint.associations(), 1);
}

/// An end that trusts a session because of the server's key doesn't let it be replaced by whoever
/// comes as a client from there.
#[test]
fn association_with_a_server_is_not_taken_over_by_a_client() {
    let mut world = World::new(4);
    let pair = pair(&mut world, &SoftCrypto, &defaults());
    world.act(pair.client, |host, env, _| {
        let known = Known::new(&[(b"server".as_slice(), PSK)]);
        host.endpoint = Endpoint::server(host.provider.clone(), known, defaults(), env);
    });
    world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown(), Code::GET, b"1");
    });
    world.run_for(SECOND).unwrap();
    world.act(pair.server, |host, env, out| {
        // The server turns client, from the same address, with credentials that would do.
        host.endpoint = Endpoint::client(host.provider.clone(), Known::new(&[]), defaults());
        let shown = Shown::new(b"server", PSK);
        host.endpoint
            .connect(env, common::Place(CLIENT), Some(&shown))
            .unwrap();
        host.flush(env, out);
    });
    world.run_for(SECOND).unwrap();
    let client = world.node(pair.client);
    assert_eq!(client.established, [Peer::Psk(PeerId(2))]);
    assert!(client.endpoint.dropped(DropReason::NotAcceptable) > 0);
}

fn in_clear() -> Config {
    Config {
        security: Arc::new(SecurityPolicy::new(SecurityMode::NoSec)),
        ..defaults()
    }
}

/// RFC 9175 §4.2: tokens are sequential only under a session; in clear they are 8 random bytes.
#[test]
fn tokens_without_security_are_long_and_differ() {
    use hedgerow_coap::Message;
    use hedgerow_core::Env;

    let mut rng = hedgerow_sim::TestRng::new(1);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let mut tokens = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let mut client: common::Driver<_> =
            Endpoint::client(SoftCrypto, Known::new(&[]), in_clear());
        let association = client.connect(env, common::Place(SERVER), None).unwrap();
        client
            .request(env, association, &Request::new(Code::GET))
            .unwrap();
        let mut datagram = [0; 1_500];
        let (_, len) = client.poll_transmit(env, &mut datagram).unwrap();
        let token = Message::decode(&datagram[..len]).unwrap().token();
        assert_eq!(token.as_bytes().len(), 8);
        tokens.insert(token.as_bytes().to_vec());
    }
    assert_eq!(tokens.len(), 20);
}

#[test]
fn idle_association_is_closed_and_comes_back_on_demand() {
    let config = Config {
        idle_timeout: 600 * SECOND,
        ..defaults()
    };
    let mut world = World::new(4);
    let pair = pair(&mut world, &SoftCrypto, &config);
    let shown = shown();
    world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown, Code::GET, b"1");
    });
    world.run_for(700 * SECOND).unwrap();
    assert_eq!(world.node(pair.client).endpoint.associations(), 0);
    assert_eq!(world.node(pair.server).endpoint.associations(), 0);
    world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown, Code::GET, b"2");
    });
    world.run_for(SECOND).unwrap();
    assert_eq!(world.node(pair.client).responses.len(), 2);
}

/// Any bytes from anywhere, and mutated real ones: nothing panics and the tables stay bounded.
#[test]
fn garbage_and_mutations_change_no_table() {
    use hedgerow_core::CryptoRng;

    hedgerow_sim::for_each_seed(0..200, |seed| {
        let mut world = World::new(seed);
        let pair = pair(&mut world, &SoftCrypto, &defaults());
        let mut rng = TestRng::new(seed);
        let rng: &mut dyn CryptoRng = &mut rng;
        world.direction(CLIENT, SERVER).rewrite(move |datagram| {
            let mut dice = [0; 4];
            rng_fill(&mut dice, seed, datagram.len());
            let hit = dice[0] < 64;
            if hit && !datagram.is_empty() {
                let at = usize::from(u16::from_be_bytes([dice[1], dice[2]])) % datagram.len();
                datagram[at] ^= dice[3] | 1;
            }
            hit
        });
        world.act(pair.client, |host, env, out| {
            host.ask(env, out, &shown(), Code::GET, b"2000");
        });
        for _ in 0..50 {
            let mut bytes = [0; 90];
            rng.fill_bytes(&mut bytes);
            bytes[0] = 20 + bytes[0] % 6;
            bytes[1] = 0xfe;
            bytes[2] = 0xfd;
            world.send(CLIENT, SERVER, &bytes);
            world.send(Address::new(9, 9), SERVER, &bytes);
            world.send(SERVER, CLIENT, &bytes);
        }
        world.run_for(300 * SECOND).unwrap();
        assert!(world.node(pair.server).endpoint.associations() <= 1);
        assert!(world.node(pair.server).endpoint.handshakes() <= 1);
    });
}

/// Bytes that follow from the seed and the datagram's length.
fn rng_fill(bytes: &mut [u8; 4], seed: u64, len: usize) {
    let mut value = seed
        ^ u64::try_from(len)
            .unwrap()
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    value ^= value >> 29;
    value = value.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bytes.copy_from_slice(&value.to_be_bytes()[..4]);
}

/// RFC 9147 §4.5.3: an attacker who guesses at tags of 8 bytes brings about a new handshake beside
/// the session, which goes on meanwhile, and no more than one a minute.
#[test]
fn forged_records_bring_about_new_keys_and_do_no_harm() {
    let mut world = World::new(1);
    let suites = [CipherSuite::TLS_PSK_WITH_AES_128_CCM_8];
    let config = Config {
        handshake: Settings::new(&suites),
        ..defaults()
    };
    let pair = pair(&mut world, &SoftCrypto, &config);
    let shown = shown();
    world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown, Code::GET, b"1");
    });
    world.run_for(SECOND).unwrap();
    assert_eq!(world.node(pair.client).established.len(), 1);

    // Records of epoch 1 with whatever tag, from the server's address.
    let forge = |world: &mut World<Host<_>>, count: u64| {
        for number in 0..count {
            let mut record = vec![0x17, 0xfe, 0xfd, 0, 1, 0, 0, 1];
            record.extend(&number.to_be_bytes()[5..]);
            record.extend([0, 24]);
            record.extend([7; 24]);
            world.act(pair.client, |host, env, out| {
                host.handle_datagram(env, SERVER, CLIENT, &mut record, out);
            });
        }
    };
    forge(&mut world, 127);
    world.run_for(SECOND).unwrap();
    assert_eq!(world.node(pair.client).established.len(), 1);
    forge(&mut world, 1);
    // The session is there while the new one is on its way.
    let asked = world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown, Code::GET, b"2")
    });
    world.run_for(5 * SECOND).unwrap();
    let client = world.node(pair.client);
    assert!(client.responses.contains_key(&asked));
    assert_eq!(client.established.len(), 2, "new keys");
    assert_eq!(client.endpoint.associations(), 1);
    assert_eq!(world.node(pair.server).endpoint.associations(), 1);

    // The new session's own 128 come within the same minute, and wait for the next one.
    forge(&mut world, 200);
    world.run_for(5 * SECOND).unwrap();
    assert_eq!(world.node(pair.client).established.len(), 2);
    world.run_for(60 * SECOND).unwrap();
    forge(&mut world, 1);
    world.run_for(5 * SECOND).unwrap();
    assert_eq!(world.node(pair.client).established.len(), 3);
    let client = world.node(pair.client);
    assert!(client.failed.is_empty() && client.closed == 0);
    assert!(world.ledger().seals() > 0);
}
