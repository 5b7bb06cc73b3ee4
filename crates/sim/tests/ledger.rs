//! The nonce ledger catches what it promises to, and nothing else.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod toy;

use std::panic::{AssertUnwindSafe, catch_unwind};

use hedgerow_core::{Aead, AeadAlgorithm, CryptoError, CryptoProvider, Env, Instant};
use hedgerow_sim::{Address, Ledger, Node, NonceLedger, Outbox, Recorder, World};
use toy::Toy;

use AeadAlgorithm::{Aes128Ccm, Aes128Ccm8, Aes128Gcm};

fn seal(aead: &impl Aead, nonce: [u8; 12]) {
    let mut tag = vec![0; aead.algorithm().tag_len()];
    aead.seal_in_place(&nonce, b"", &mut [1, 2, 3], &mut tag)
        .unwrap();
}

/// Returns what `run` panics with.
fn panic_of(run: impl FnOnce()) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(run)).err()?;
    Some(panic.downcast_ref::<String>().unwrap().clone())
}

#[test]
fn reuse_panics_with_the_seed_and_both_places_and_no_key() {
    let ledger = Ledger::new(77);
    let client = NonceLedger::new(Toy, &ledger, "client");
    let server = NonceLedger::new(Toy, &ledger, "server");
    let first = client.aead(Aes128Ccm8, &[0xab; 16]).unwrap();
    let again = server.aead(Aes128Ccm8, &[0xab; 16]).unwrap();
    seal(&first, [1; 12]);
    let message = panic_of(|| seal(&again, [1; 12])).expect("a reuse that wasn't caught");
    assert!(message.starts_with("seed 77: nonce [01, 01, "), "{message}");
    let place = file!();
    assert!(
        message.contains(&format!("first by client at {place}:")),
        "{message}"
    );
    assert!(
        message.contains(&format!("again by server at {place}:")),
        "{message}"
    );
    assert!(!message.contains("ab, ab"), "{message}");
}

#[test]
fn same_key_bytes_in_a_new_cipher_are_the_same_key() {
    let ledger = Ledger::new(0);
    let provider = NonceLedger::new(Toy, &ledger, "node");
    seal(&provider.aead(Aes128Gcm, &[5; 16]).unwrap(), [0; 12]);
    let again = provider.clone().aead(Aes128Gcm, &[5; 16]).unwrap();
    assert!(panic_of(|| seal(&again, [0; 12])).is_some());
    assert_eq!(ledger.keys(), 1);
}

#[test]
fn both_tag_lengths_of_ccm_share_their_nonces() {
    let ledger = Ledger::new(0);
    let provider = NonceLedger::new(Toy, &ledger, "node");
    seal(&provider.aead(Aes128Ccm, &[5; 16]).unwrap(), [0; 12]);
    let again = provider.aead(Aes128Ccm8, &[5; 16]).unwrap();
    assert!(panic_of(|| seal(&again, [0; 12])).is_some());
}

#[test]
fn other_nonce_other_key_other_cipher_other_world_pass() {
    let ledger = Ledger::new(0);
    let provider = NonceLedger::new(Toy, &ledger, "node");
    let aead = provider.aead(Aes128Ccm8, &[5; 16]).unwrap();
    seal(&aead, [0; 12]);
    seal(&aead, [1; 12]);
    seal(&provider.aead(Aes128Ccm8, &[6; 16]).unwrap(), [0; 12]);
    seal(&provider.aead(Aes128Gcm, &[5; 16]).unwrap(), [0; 12]);
    assert_eq!((ledger.keys(), ledger.seals()), (3, 4));

    let other = NonceLedger::new(Toy, &Ledger::new(1), "node");
    seal(&other.aead(Aes128Ccm8, &[5; 16]).unwrap(), [0; 12]);
}

#[test]
fn opening_and_refused_seals_use_no_nonce() {
    let ledger = Ledger::new(0);
    let provider = NonceLedger::new(Toy, &ledger, "node");
    let aead = provider.aead(Aes128Ccm8, &[5; 16]).unwrap();
    for _ in 0..2 {
        aead.open_in_place(&[0; 12], b"", &mut [1], &[0; 8])
            .unwrap();
        let refused = aead.seal_in_place(&[0; 11], b"", &mut [1], &mut [0; 8]);
        assert!(matches!(refused, Err(CryptoError::NonceLength { .. })));
    }
    assert_eq!(ledger.seals(), 0);
}

#[test]
fn ledger_goes_on_after_a_panic_and_sees_through_a_recorder() {
    let ledger = Ledger::new(0);
    let provider = Recorder::new(NonceLedger::new(Toy, &ledger, "node"));
    let aead = provider.aead(Aes128Gcm, &[5; 16]).unwrap();
    for _ in 0..2 {
        let message = panic_of(|| {
            seal(&aead, [0; 12]);
            seal(&aead, [0; 12]);
        });
        assert!(message.unwrap().contains(file!()));
    }
    assert_eq!(ledger.seals(), 1);
}

const A: Address = Address::new(1, 1);
const B: Address = Address::new(2, 2);

/// Seals under one key whatever arrives, each time with the next number, and sends it back.
struct Sealer {
    provider: NonceLedger<Toy>,
    next: u8,
}

impl Node for Sealer {
    type Provider = NonceLedger<Toy>;

    fn handle_datagram(
        &mut self,
        _env: &mut Env<'_>,
        from: Address,
        to: Address,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) {
        seal(
            &self.provider.aead(Aes128Gcm, &[5; 16]).unwrap(),
            [self.next; 12],
        );
        self.next += 1;
        if self.next < 4 {
            out.send(to, from, datagram);
        }
    }

    fn handle_timeout(&mut self, _env: &mut Env<'_>, _out: &mut Outbox) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

/// Two nodes with one key, the second of which numbers from `first_of_b` on.
fn exchange(first_of_b: u8) -> World<Sealer> {
    let mut world = World::new(78);
    for (address, name, next) in [(A, "a", 0), (B, "b", first_of_b)] {
        let provider = world.provider(Toy, name);
        world.add(Sealer { provider, next }, &[address]);
    }
    world.send(A, B, b"begin");
    world.run_until_idle().unwrap();
    world
}

#[test]
fn world_enters_what_its_nodes_seal_and_panics_at_a_repeat_between_them() {
    let world = exchange(100);
    assert_eq!((world.ledger().keys(), world.ledger().seals()), (1, 1));
    // b seals 1 and 2, a seals 0 and 1.
    let message = panic_of(|| drop(exchange(1))).expect("a repeat that wasn't caught");
    assert!(message.starts_with("seed 78: nonce [01, 01, "), "{message}");
    assert!(message.contains("first by b at "), "{message}");
    assert!(message.contains("again by a at "), "{message}");
}

#[test]
fn world_takes_no_node_that_seals_beside_its_ledger() {
    let beside = || {
        let mut world = World::new(79);
        let provider = NonceLedger::new(Toy, &Ledger::new(79), "a");
        world.add(Sealer { provider, next: 0 }, &[A]);
    };
    let message = panic_of(beside).expect("a node that went unnoticed");
    assert!(
        message.starts_with("seed 79: a node that seals"),
        "{message}"
    );
}
