//! What tests of an active gateway have in common: a session that is attacked, and what may never come
//! of it.

#![allow(dead_code, unreachable_pub)]

use std::sync::Arc;
use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_core::{Peer, PeerId};
use hedgerow_endpoint::{Config, ForwardSecrecy, SecurityPolicy};
use hedgerow_record::CipherSuite;
use hedgerow_sim::World;

use super::carried::{Attack, Carrying, Net, Trio, Way, at, defaults, end_to_end, trio};
use super::common::body;

pub const SECOND: Duration = Duration::from_secs(1);
pub const CCM_8: CipherSuite = CipherSuite::TLS_PSK_WITH_AES_128_CCM_8;

/// The ends want security end to end, with the suite alone that RFC 7252 makes mandatory.
pub fn config() -> Config {
    let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Optional);
    Config {
        security: Arc::new(policy),
        ..defaults(CCM_8)
    }
}

pub fn net<B: Carrying>(between: B) -> (Net<B>, Trio) {
    let mut world = World::new(11);
    let trio = trio(&mut world, between, &config());
    (world, trio)
}

/// Asks for a body of the length that `payload` names.
pub fn ask<B: Carrying>(world: &mut Net<B>, trio: Trio, payload: &[u8]) {
    send(world, trio, Code::GET, payload);
}

pub fn send<B: Carrying>(world: &mut Net<B>, trio: Trio, code: Code, payload: &[u8]) {
    let shown = end_to_end();
    at(world, trio.client, |host, env, out| {
        host.ask(env, out, &shown, code, payload)
    });
}

/// A world with a session in it, and one answer.
pub fn session<B: Carrying>(between: B) -> (Net<B>, Trio) {
    let (mut world, trio) = net(between);
    ask(&mut world, trio, b"1");
    world.run_for(3 * SECOND).unwrap();
    assert_eq!(
        trio.client(&world).established,
        [Peer::EndToEndPsk(PeerId(2))]
    );
    assert_eq!(trio.client(&world).responses.len(), 1);
    assert_eq!(trio.client(&world).drops, []);
    (world, trio)
}

pub fn attack<B: Carrying>(
    world: &mut Net<B>,
    trio: Trio,
    attack: impl FnMut(Way, Vec<u8>) -> Vec<Vec<u8>> + 'static,
) {
    let attack: Attack = Box::new(attack);
    trio.act(world, |between, _| *between.attack() = Some(attack));
}

/// Whatever was done, who asked has the right answer or none, and nothing was done twice.
pub fn nothing_wrong<B: Carrying>(world: &Net<B>, trio: Trio, asked: &[u8], len: usize) {
    for (code, answer) in trio.client(world).responses.values() {
        assert_eq!(*code, Code::CONTENT);
        assert!(*answer == body(1) || *answer == body(len));
    }
    let handled = trio.device(world).handled.get(asked);
    assert!(handled.is_none_or(|&count| count == 1));
    assert_eq!(trio.client(world).closed + trio.device(world).closed, 0);
}

/// Does something once, to the first of a way that `matches`.
pub fn once(
    way: Way,
    matches: impl Fn(&[u8]) -> bool,
    mut act: impl FnMut(Vec<u8>) -> Vec<Vec<u8>>,
) -> impl FnMut(Way, Vec<u8>) -> Vec<Vec<u8>> {
    let mut is_done = false;
    move |this, bytes| {
        if is_done || this != way || !matches(&bytes) {
            return vec![bytes];
        }
        is_done = true;
        act(bytes)
    }
}
