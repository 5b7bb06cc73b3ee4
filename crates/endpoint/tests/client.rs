//! What an endpoint does with the servers that it calls.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::sync::Arc;

use hedgerow_coap::{Code, Message};
use hedgerow_core::{Env, Instant, PeerId, Psk, PskCredentials, SecurityMode};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{Address, Config, Endpoint, Error, SecurityPolicy};
use hedgerow_exchange::Request;
use hedgerow_sim::TestRng;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(u8);

impl Address for Place {
    fn with_bytes<R>(&self, lend: impl FnOnce(&[u8]) -> R) -> R {
        lend(&[self.0])
    }
}

type Store = &'static (&'static [u8], Psk, PeerId);

#[derive(Clone, Copy)]
struct Shown {
    psk_identity: &'static [u8],
    psk: &'static Psk,
    peer: PeerId,
}

impl PskCredentials for Shown {
    fn psk_identity(&self) -> &[u8] {
        self.psk_identity
    }

    fn psk(&self) -> &Psk {
        self.psk
    }

    fn peer(&self) -> PeerId {
        self.peer
    }
}

fn psk(key: &[u8]) -> &'static Psk {
    Box::leak(Box::new(Psk::new(key).unwrap()))
}

fn client() -> Endpoint<Place, SoftCrypto, Store, Shown> {
    let nobody: Store = Box::leak(Box::new((&[][..], Psk::new(b"x").unwrap(), PeerId(0))));
    let config = Config {
        security: Arc::new(SecurityPolicy::new(SecurityMode::NoSec)),
        ..Config::default()
    };
    Endpoint::client(SoftCrypto, nobody, config)
}

#[test]
fn tokens_in_clear_are_eight_bytes_that_do_not_count_up() {
    let mut rng = TestRng::new(1);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let mut client = client();
    let mut out = [0; 2_048];
    let mut tokens = Vec::new();
    for place in [Place(1), Place(2)] {
        let association = client.connect(env, place, None).unwrap();
        let request = Request::new(Code::GET).non_confirmable();
        client.request(env, association, &request).unwrap();
        let (_, len) = client.poll_transmit(env, &mut out).unwrap();
        let token = Message::decode(&out[..len]).unwrap().token();
        tokens.push(u64::from_be_bytes(token.as_bytes().try_into().unwrap()));
    }
    assert!(tokens[0].abs_diff(tokens[1]) > 1 << 32, "{tokens:x?}");
}

#[test]
fn association_serves_only_who_shows_the_same_credentials() {
    let mut rng = TestRng::new(2);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let mut client = client();
    let shown = |psk_identity, key, peer| Shown {
        psk_identity,
        psk: psk(key),
        peer: PeerId(peer),
    };
    let first = shown(b"reader", b"sixteen byte key", 1);
    let association = client.connect(env, Place(1), Some(&first)).unwrap();
    let same = shown(b"reader", b"sixteen byte key", 1);
    assert_eq!(client.connect(env, Place(1), Some(&same)), Ok(association));
    for other in [
        shown(b"writer", b"sixteen byte key", 1),
        shown(b"reader", b"sixteen byte kez", 1),
        shown(b"reader", b"sixteen byte", 1),
        shown(b"reader", b"sixteen byte key", 2),
    ] {
        let refused = client.connect(env, Place(1), Some(&other));
        assert_eq!(refused, Err(Error::AddressInUse));
    }
}
