//! CoAP under a session whose records are short (RFC 8449, RFC 6066 §4): no message is too long for
//! them, in either direction.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use common::{CLIENT, SERVER, body, defaults, pair, shown};
use hedgerow_coap::Code;
use hedgerow_core::{CryptoProvider, DropReason};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::Config;
use hedgerow_record::{MaxFragmentLength, RecordSizeLimit};
use hedgerow_sim::{Address, Tracing, World};

use common::Host;

/// AES-128-GCM, the first of the default suites.
const OVERHEAD: usize = 37;

/// The longest datagram that went from one end to the other.
fn longest<P: CryptoProvider + Clone>(world: &World<Host<P>>, from: Address) -> usize {
    let entries = world.trace().entries().iter();
    let lens = entries
        .filter(|entry| entry.from == from)
        .filter(|entry| entry.datagram[0] == 23)
        .map(|entry| entry.datagram.len());
    lens.max().unwrap()
}

/// Requests given before the handshake have learned the limit by the time they leave.
fn bodies_go_both_ways(config: &Config, max: usize) {
    let mut world = World::new(5);
    world.set_tracing(Tracing::Bytes);
    let pair = pair(&mut world, &SoftCrypto, config);
    let shown = shown();
    let small = world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown, Code::POST, b"one")
    });
    let large = world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown, Code::GET, b"3000")
    });
    let image = body(3_000);
    let upload = world.act(pair.client, |host, env, out| {
        host.ask(env, out, &shown, Code::PUT, &image)
    });
    world.run_for(std::time::Duration::from_secs(60)).unwrap();
    let client = world.node(pair.client);
    assert_eq!(client.responses[&small], (Code::CHANGED, b"3".to_vec()));
    assert_eq!(client.responses[&large], (Code::CONTENT, body(3_000)));
    assert_eq!(client.responses[&upload], (Code::CHANGED, b"3000".to_vec()));
    assert_eq!(client.failures, []);
    assert!(longest(&world, CLIENT) <= OVERHEAD + max);
    assert!(longest(&world, SERVER) <= OVERHEAD + max);
    for node in [pair.client, pair.server] {
        assert_eq!(world.node(node).endpoint.dropped(DropReason::TooLong), 0);
    }
}

#[test]
fn bodies_go_both_ways_in_records_of_the_size_agreed_on() {
    for limit in [96_u16, 128, 200, 600] {
        let mut config = defaults();
        let limited = RecordSizeLimit::new(limit);
        config.handshake = config.handshake.with_record_size_limit(limited);
        bodies_go_both_ways(&config, usize::from(limit));
    }
}

#[test]
fn bodies_go_both_ways_in_fragments_of_the_length_agreed_on() {
    let mut config = defaults();
    let length = Some(MaxFragmentLength::Len512);
    config.handshake = config.handshake.with_max_fragment_length(length);
    bodies_go_both_ways(&config, 512);
}
