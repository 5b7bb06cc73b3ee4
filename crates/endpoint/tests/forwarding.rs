//! A gateway's endpoint that hands messages of mode `itls` out and seals those that come from elsewhere; and
//! which sessions are outer ones.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::sync::Arc;

use common::{CLIENT, Driver, IDENTITY, Known, PSK, Place, SERVER, Shown};
use hedgerow_core::{DropReason, Env, Instant, Misuse};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{
    AssociationId, Config, Endpoint, Error, Event, ForwardSecrecy, InnerConfig, SecurityPolicy,
};
use hedgerow_handshake::Settings;
use hedgerow_itls::End;
use hedgerow_record::CipherSuite;
use hedgerow_sim::TestRng;

const MESSAGE: &[u8] = b"\xc1\x81\x00sealed by an end";

fn config(forwards: bool) -> Config {
    Config {
        forwards,
        handshake: Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM_8]),
        ..Config::default()
    }
}

struct Pair {
    /// The one that called, and the one that was called.
    ends: [Driver<SoftCrypto>; 2],
    association: [Option<AssociationId>; 2],
    rng: TestRng,
    now: Instant,
    /// What each has handed out.
    forwarded: [Vec<Vec<u8>>; 2],
    drops: Vec<DropReason>,
}

impl Pair {
    fn new(caller: Config, called: Config) -> Self {
        let mut rng = TestRng::new(1);
        let mut env = Env::new(Instant::ZERO, &mut rng);
        let known = Known::new(&[(IDENTITY, PSK)]);
        let caller = Endpoint::client(SoftCrypto, Known::new(&[]), caller);
        let called = Endpoint::server(SoftCrypto, known, called, &mut env);
        Self {
            ends: [caller, called],
            association: [None, None],
            rng,
            now: Instant::ZERO,
            forwarded: [Vec::new(), Vec::new()],
            drops: Vec::new(),
        }
    }

    fn established(caller: Config, called: Config) -> Self {
        let mut pair = Self::new(caller, called);
        pair.connect();
        pair.run();
        assert!(pair.association.iter().all(Option::is_some));
        pair
    }

    fn connect(&mut self) -> AssociationId {
        let mut env = Env::new(self.now, &mut self.rng);
        let shown = Shown::new(IDENTITY, PSK);
        let connected = self.ends[0].connect(&mut env, Place(SERVER), Some(&shown));
        let association = connected.unwrap();
        self.association[0] = Some(association);
        association
    }

    /// Carries datagrams until there are none.
    fn run(&mut self) {
        let mut out = [0; 1_500];
        loop {
            let mut is_quiet = true;
            for from in [0, 1] {
                while let Some((_, len)) = {
                    let mut env = Env::new(self.now, &mut self.rng);
                    self.ends[from].poll_transmit(&mut env, &mut out)
                } {
                    is_quiet = false;
                    let mut datagram = out[..len].to_vec();
                    self.carry(1 - from, &mut datagram);
                }
            }
            if is_quiet {
                return;
            }
        }
    }

    fn carry(&mut self, to: usize, mut rest: &mut [u8]) {
        let from = Place([SERVER, CLIENT][to]);
        while !rest.is_empty() {
            let mut answer = [0; 64];
            let mut env = Env::new(self.now, &mut self.rng);
            let handled = self.ends[to].handle_datagram(&mut env, from, rest, &mut answer);
            let (consumed, answer_len) = (handled.consumed, handled.answer);
            match handled.event {
                Some(Event::Forwarded {
                    association,
                    message,
                    ..
                }) => {
                    assert_eq!(self.association[to], Some(association));
                    self.forwarded[to].push(message.to_vec());
                }
                Some(Event::Established { association, .. }) => {
                    self.association[to] = Some(association);
                }
                Some(Event::Dropped { reason, .. }) => self.drops.push(reason),
                _ => {}
            }
            if answer_len > 0 {
                self.carry(1 - to, &mut answer[..answer_len]);
            }
            rest = &mut rest[consumed..];
        }
    }

    fn seal(&mut self, from: usize, message: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = [0; 2_000];
        let mut env = Env::new(self.now, &mut self.rng);
        let association = self.association[from].unwrap();
        let sealed = self.ends[from].seal_forwarded(&mut env, association, message, &mut out);
        let (to, len) = sealed?;
        assert_eq!(to.0, [SERVER, CLIENT][from]);
        Ok(out[..len].to_vec())
    }
}

#[test]
fn messages_pass_whoever_began_the_session_and_cost_a_record_each() {
    let mut pair = Pair::established(config(true), config(true));
    for from in [0, 1] {
        let mut datagram = pair.seal(from, MESSAGE).unwrap();
        // docs/specs/itls.md, "Cost": 29 octets of a DTLS record with CCM_8.
        assert_eq!(datagram.len(), MESSAGE.len() + 29);
        let mut again = datagram.clone();
        pair.carry(1 - from, &mut datagram);
        assert_eq!(pair.forwarded[1 - from], [MESSAGE]);
        pair.carry(1 - from, &mut again);
        assert_eq!(pair.forwarded[1 - from].len(), 1);
        assert_eq!(pair.drops.pop(), Some(DropReason::Replayed));
    }
}

#[test]
fn who_is_no_gateway_ignores_them() {
    let mut pair = Pair::established(config(true), config(false));
    let mut datagram = pair.seal(0, MESSAGE).unwrap();
    pair.carry(1, &mut datagram);
    assert!(pair.forwarded[1].is_empty());
    assert_eq!(pair.drops.len(), 1);
}

#[test]
fn nothing_is_sealed_before_a_session_and_nothing_but_messages_of_the_mode() {
    let mut pair = Pair::new(config(true), config(true));
    pair.connect();
    let early = Err(Error::Channel(Misuse::NotEstablished));
    assert_eq!(pair.seal(0, MESSAGE), early);
    pair.run();
    for other in [b"\x40coap".as_slice(), b"\x80segment", b"\x00", b""] {
        assert_eq!(pair.seal(0, other), early, "{other:?}");
    }
    assert!(pair.seal(0, MESSAGE).is_ok());
}

#[test]
fn message_that_fits_no_datagram_of_the_path_is_refused_and_the_session_goes_on() {
    let mut pair = Pair::established(config(true), config(true));
    let mut long = vec![0; 600];
    long[0] = 0xc1;
    assert!(pair.seal(0, &long).is_ok());
    pair.ends[0].datagram_refused(Place(SERVER), 500);
    let Err(Error::MessageTooLong { len: 600, max }) = pair.seal(0, &long) else {
        panic!("too long");
    };
    assert!(max < 500, "{max}");
    let mut datagram = pair.seal(0, &long[..max]).unwrap();
    assert!(datagram.len() < 500);
    pair.carry(1, &mut datagram);
    assert_eq!(pair.forwarded[1].len(), 1);
}

/// A session of two ends has no gateway between, so that nothing is to be forwarded in it.
#[test]
fn session_of_two_ends_carries_none() {
    let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Optional);
    let config = || Config {
        security: Arc::new(policy.clone()),
        ..config(true)
    };
    let mut pair = Pair::new(config(), config());
    pair.ends[1] = {
        let mut env = Env::new(Instant::ZERO, &mut pair.rng);
        let known = Known::end_to_end(&[(IDENTITY, PSK)]);
        Endpoint::server(SoftCrypto, known, config(), &mut env)
    };
    let mut env = Env::new(Instant::ZERO, &mut pair.rng);
    let shown = Shown::end_to_end(IDENTITY, PSK);
    let association = pair.ends[0].connect(&mut env, Place(SERVER), Some(&shown));
    pair.association[0] = Some(association.unwrap());
    pair.run();
    assert!(pair.association[1].is_some(), "established");
    let refused = Err(Error::Channel(Misuse::NotEstablished));
    assert_eq!(pair.seal(0, MESSAGE), refused);
    assert_eq!(pair.seal(1, MESSAGE), refused);
}

/// A key is for a hop at one end and for two ends at the other. The end that knows it for its own takes nothing
/// and seals nothing.
#[test]
fn what_comes_under_an_end_to_end_key_is_not_handed_out() {
    let mut pair = Pair::new(config(true), config(true));
    pair.ends[1] = {
        let mut env = Env::new(Instant::ZERO, &mut pair.rng);
        let known = Known::end_to_end(&[(IDENTITY, PSK)]);
        Endpoint::server(SoftCrypto, known, config(true), &mut env)
    };
    pair.connect();
    pair.run();
    assert!(pair.association[1].is_some(), "established");
    let mut datagram = pair.seal(0, MESSAGE).unwrap();
    pair.carry(1, &mut datagram);
    assert!(pair.forwarded[1].is_empty());
    assert_eq!(pair.drops, [DropReason::NotAcceptable]);
    let refused = Err(Error::Channel(Misuse::NotEstablished));
    assert_eq!(pair.seal(1, MESSAGE), refused);
}

/// docs/specs/end-to-end-keys.md: the key of an outer session is never one of two ends.
#[test]
fn session_under_an_end_to_end_key_is_no_outer_one() {
    let inner = |end| Config {
        inner: Some(InnerConfig::new(hedgerow_itls::Settings::new(end))),
        ..config(false)
    };
    for is_end_to_end in [false, true] {
        let mut pair = Pair::new(inner(End::Internet), inner(End::Device));
        if is_end_to_end {
            let mut env = Env::new(Instant::ZERO, &mut pair.rng);
            let known = Known::end_to_end(&[(IDENTITY, PSK)]);
            pair.ends[1] = Endpoint::server(SoftCrypto, known, inner(End::Device), &mut env);
        }
        let shown = Shown::end_to_end(b"device", b"their other one..");
        for is_established in [false, true] {
            let mut env = Env::new(Instant::ZERO, &mut pair.rng);
            let begun = pair.ends[1].connect_inner(&mut env, Place(CLIENT), b"user", &shown);
            assert_eq!(begun.is_ok(), is_established && !is_end_to_end);
            if begun.is_err() {
                assert_eq!(begun, Err(Error::NoOuterSession));
            }
            if !is_established {
                pair.connect();
                pair.run();
                assert!(pair.association[1].is_some(), "established");
            }
        }
    }
    // The same at the end that has begun it for that.
    let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Optional);
    let caller = Config {
        security: Arc::new(policy),
        ..inner(End::Internet)
    };
    let mut pair = Pair::new(caller, inner(End::Device));
    let mut env = Env::new(Instant::ZERO, &mut pair.rng);
    let shown = Shown::end_to_end(IDENTITY, PSK);
    let association = pair.ends[0].connect(&mut env, Place(SERVER), Some(&shown));
    pair.association[0] = Some(association.unwrap());
    pair.run();
    assert!(pair.association[1].is_some(), "established");
    let mut env = Env::new(Instant::ZERO, &mut pair.rng);
    let another = Shown::end_to_end(b"end", b"the two ends' one");
    let begun = pair.ends[0].connect_inner(&mut env, Place(SERVER), b"device", &another);
    assert_eq!(begun, Err(Error::NoOuterSession));
}
