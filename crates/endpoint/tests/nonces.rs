//! What a world's ledger of nonces sees of endpoints: nothing seals twice under one key over loss, a
//! change of address, new keys beside a session and restarts. The ledger panics at a repeat
//! (`hedgerow-sim`'s tests plant some); what is asserted here is that there was something to find.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::Duration;

use common::{CLIENT, Host, IDENTITY, Known, PSK, Pair, SERVER, defaults, pair, patient, shown};
use hedgerow_coap::Code;
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{Config, ConnectionIdFormat, ConnectionIds, Endpoint};
use hedgerow_handshake::Settings;
use hedgerow_record::CipherSuite;
use hedgerow_sim::{Address, Conditions, NodeId, World};

const SECOND: Duration = Duration::from_secs(1);

type Net = World<Host<SoftCrypto>>;

fn ask(world: &mut Net, client: NodeId, code: Code, text: &[u8]) {
    world.act(client, |host, env, out| {
        host.ask(env, out, &shown(), code, text);
    });
}

/// A world with a session in which one request was answered.
fn begun(conditions: Conditions, config: &Config) -> (Net, Pair) {
    let mut world = World::new(1);
    world.set_conditions(conditions);
    let pair = pair(&mut world, &SoftCrypto, config);
    ask(&mut world, pair.client, Code::GET, b"1");
    world.run_until(|world| answered(world, &pair, 1)).unwrap();
    (world, pair)
}

fn answered(world: &Net, pair: &Pair, count: usize) -> bool {
    world.node(pair.client).responses.len() == count
}

/// A key for each direction.
fn is_of_handshakes(world: &Net, handshakes: usize) {
    assert_eq!(world.ledger().keys(), 2 * handshakes);
}

/// CoAP sends a message again by sealing it again.
#[test]
fn retransmitted_messages_are_sealed_under_new_numbers() {
    let (mut world, pair) = begun(Conditions::default(), &patient());
    let before = world.ledger().seals();
    let times = world.now()..world.now() + 10 * SECOND;
    world.partition(CLIENT, SERVER, times);
    ask(&mut world, pair.client, Code::POST, b"again and again");
    world.run_until(|world| answered(world, &pair, 2)).unwrap();
    // At once, after 2 to 3 s, 6 to 9 s and 14 to 21 s, and the response.
    assert!(world.ledger().seals() > before + 3);
    is_of_handshakes(&world, 1);
}

#[test]
fn session_goes_on_counting_across_a_change_of_address() {
    let config = Config {
        connection_ids: ConnectionIds::Both(ConnectionIdFormat::new(0x0102)),
        ..patient()
    };
    for conditions in [Conditions::default(), Conditions::rough()] {
        let (mut world, pair) = begun(conditions, &config);
        for n in 0..5 {
            let now = world.now();
            world.rebind(now, CLIENT, Address::new(7, 1_000 + n));
            ask(&mut world, pair.client, Code::GET, b"4000");
            let count = 2 + usize::from(n);
            world
                .run_until(|world| answered(world, &pair, count))
                .unwrap();
        }
        world.run_for(100 * SECOND).unwrap();
        assert!(world.node(pair.server).moves.len() >= 4);
        assert!(world.ledger().seals() > 60);
        is_of_handshakes(&world, 1);
    }
}

/// Forged tags of 8 bytes bring about a second handshake while the session goes on under its keys.
#[test]
fn new_keys_beside_a_session_share_no_nonce_with_it() {
    let config = Config {
        handshake: Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM_8]),
        ..patient()
    };
    let (mut world, pair) = begun(Conditions::default(), &config);
    for round in 1..4 {
        for number in 0..128_u8 {
            let mut record = vec![0x17, 0xfe, 0xfd, 0, 1, 0, 0, 1, 0, 0, number, 0, 24];
            record.extend([7; 24]);
            world.send(SERVER, CLIENT, &record);
        }
        ask(&mut world, pair.client, Code::GET, b"4000");
        world.run_for(61 * SECOND).unwrap();
        assert!(answered(&world, &pair, 1 + round));
        assert_eq!(world.node(pair.client).established.len(), 1 + round);
        is_of_handshakes(&world, 1 + round);
    }
}

/// An end that has lost everything begins under other keys, and with them at number 0 again.
#[test]
fn restarted_ends_have_other_keys() {
    let (mut world, pair) = begun(Conditions::default(), &defaults());
    world.act(pair.client, |host, _, _| {
        let provider = host.provider.clone();
        host.endpoint = Endpoint::client(provider, Known::new(&[]), defaults());
        host.responses.clear();
    });
    ask(&mut world, pair.client, Code::GET, b"2");
    world.run_for(SECOND).unwrap();
    is_of_handshakes(&world, 2);
    world.act(pair.server, |host, env, _| {
        let known = Known::new(&[(IDENTITY, PSK)]);
        host.endpoint = Endpoint::server(host.provider.clone(), known, defaults(), env);
    });
    ask(&mut world, pair.client, Code::GET, b"3");
    world.run_for(100 * SECOND).unwrap();
    assert_eq!(world.node(pair.server).established.len(), 3);
    is_of_handshakes(&world, 3);
}
