//! What each source of datagrams may take of a server's tables.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    dead_code
)]

mod common;

use std::net::{IpAddr, SocketAddr};

use common::{IDENTITY, Known, PSK, Shown, get, shown};
use hedgerow_coap::{Message, OptionNumber};
use hedgerow_core::{DropReason, Env, Instant, SecurityMode};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{Address, Config, Endpoint, Event, SecurityPolicy, Source};
use hedgerow_sim::TestRng;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(SocketAddr);

impl Address for Place {
    fn with_bytes<R>(&self, lend: impl FnOnce(&[u8]) -> R) -> R {
        lend(self.0.to_string().as_bytes())
    }

    fn source(&self) -> Option<Source> {
        Some(Source::of(self.0.ip()))
    }
}

fn at(place: &str) -> Place {
    Place(place.parse().unwrap())
}

type Driver = Endpoint<Place, SoftCrypto, Known, Shown>;

#[test]
fn ipv4_address_and_ipv6_network_are_one_source_each() {
    let source = |address: &str| Source::of(address.parse::<IpAddr>().unwrap());
    assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
    assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1:2:3"));
    assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
}

/// Begins a handshake with the server, past the cookie; returns why it was dropped, if it was.
fn begin(server: &mut Driver, rng: &mut TestRng, from: Place) -> Option<DropReason> {
    let mut env = Env::new(Instant::ZERO, rng);
    let mut client: Driver = Endpoint::client(SoftCrypto, Known::new(&[]), Config::default());
    let there = at("198.51.100.1:5684");
    client.connect(&mut env, there, Some(&shown())).unwrap();
    let (mut datagram, mut answer) = ([0; 1_500], [0; 64]);
    let mut dropped = None;
    for _ in 0..2 {
        let (_, len) = client.poll_transmit(&mut env, &mut datagram).unwrap();
        let handled = server.handle_datagram(&mut env, from, &mut datagram[..len], &mut answer);
        let len = handled.answer;
        if let Some(Event::Dropped { reason, .. }) = handled.event {
            dropped = Some(reason);
        }
        if len > 0 {
            client.handle_datagram(&mut env, there, &mut answer[..len], &mut [0; 64]);
        }
    }
    dropped
}

#[test]
fn handshakes_of_one_source_leave_the_others_theirs() {
    let mut rng = TestRng::new(1);
    let config = Config {
        max_handshakes_per_source: 2,
        ..Config::default()
    };
    let known = Known::new(&[(IDENTITY, PSK)]);
    let mut env = Env::new(Instant::ZERO, &mut rng);
    let mut server = Endpoint::server(SoftCrypto, known, config, &mut env);
    let mut begin = |from| begin(&mut server, &mut rng, at(from));
    assert_eq!(begin("192.0.2.1:1"), None);
    assert_eq!(begin("192.0.2.1:2"), None);
    assert_eq!(begin("192.0.2.1:3"), Some(DropReason::RateLimited));
    assert_eq!(begin("192.0.2.2:3"), None);
    assert_eq!(begin("[2001:db8::1]:1"), None);
    assert_eq!(begin("[2001:db8::2]:1"), None);
    assert_eq!(begin("[2001:db8::3]:1"), Some(DropReason::RateLimited));
    // A hello that comes again is no new handshake.
    assert_eq!(server.handshakes(), 5);
}

#[test]
fn associations_of_one_source_leave_the_others_theirs() {
    let mut rng = TestRng::new(1);
    let mut env = Env::new(Instant::ZERO, &mut rng);
    let config = Config {
        security: SecurityPolicy::new(SecurityMode::NoSec).into(),
        max_associations_per_source: 1,
        ..Config::default()
    };
    let known = Known::new(&[]);
    let mut server: Driver =
        Endpoint::server_without_security(SoftCrypto, known, config, &mut env).unwrap();
    let mut enter = |server: &mut Driver, from| {
        let mut out = [0; 64];
        let mut request = get(1, None);
        let first = server.handle_datagram(&mut env, at(from), &mut request, &mut out);
        let len = first.answer;
        let challenge = Message::decode(&out[..len]).unwrap();
        let echo = challenge.option(OptionNumber::ECHO).unwrap().value();
        let mut again = get(2, Some(echo));
        let mut none = [0; 64];
        let handled = server.handle_datagram(&mut env, at(from), &mut again, &mut none);
        match handled.event.unwrap() {
            Event::Request { association, .. } => Ok(association),
            Event::Dropped { reason, .. } => Err(reason),
            other => panic!("{other:?}"),
        }
    };
    let first = enter(&mut server, "192.0.2.1:1").unwrap();
    let limited = Err(DropReason::RateLimited);
    assert_eq!(enter(&mut server, "192.0.2.1:2"), limited);
    assert!(enter(&mut server, "192.0.2.2:2").is_ok());
    // The place is free again when the association is gone.
    server
        .close(&mut Env::new(Instant::ZERO, &mut TestRng::new(2)), first)
        .unwrap();
    assert!(enter(&mut server, "192.0.2.1:2").is_ok());
}
