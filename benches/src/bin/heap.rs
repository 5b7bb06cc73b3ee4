//! Prints what the heap is used for: allocations a job, and bytes a session that is held. It stands
//! alone, since counting slows allocations down.
//!
//! `cargo run --release --bin heap`. Ends with a failure where the codec or a session allocates.

use std::alloc::System;
use std::process::ExitCode;
use std::time::Duration;

use hedgerow_benches::endpoint::{Server, keys};
use hedgerow_benches::suites::{SUITES, Suite};
use hedgerow_benches::{codec, handshake};
use hedgerow_core::{CryptoProvider, Env, Instant, SecureChannel};
use hedgerow_crypto_ring::RingCrypto;
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_handshake::Session;
use rand_core::UnwrapErr;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SESSIONS: usize = 1_000;

fn main() -> ExitCode {
    let mut datagram = [0; 128];
    let (encode, len) = allocations(|| codec::encode(&mut datagram));
    let (decode, _) = allocations(|| codec::decode(&datagram[..len]));
    println!("### Allocations\n");
    println!("| what | crypto-soft | crypto-ring |");
    println!("| --- | --- | --- |");
    println!("| encode a CoAP message | {encode} | {encode} |");
    println!("| decode a CoAP message | {decode} | {decode} |");
    let mut forbidden = encode + decode;
    for suite in SUITES {
        let soft = jobs(handshake::Ends::new(SoftCrypto, suite.suite));
        let ring = jobs(handshake::Ends::new(RingCrypto, suite.suite));
        let name = suite.name;
        println!("| {name} handshake, both ends | {} | {} |", soft.0, ring.0);
        println!(
            "| {name} record, sealed and opened by sessions | {} | {} |",
            soft.1, ring.1
        );
        forbidden += soft.1 + ring.1;
    }
    println!("\n### Heap of a server's session, {SESSIONS} held, in bytes each\n");
    println!("| suite | provider | DTLS session alone | after one request | idle for 600 s |");
    println!("| --- | --- | --- | --- | --- |");
    for suite in SUITES {
        let (alone, fresh, idle) = held(SoftCrypto, suite);
        println!(
            "| {} | crypto-soft | {alone} | {fresh} | {idle} |",
            suite.name
        );
        let (alone, fresh, idle) = held(RingCrypto, suite);
        println!(
            "| {} | crypto-ring | {alone} | {fresh} | {idle} |",
            suite.name
        );
    }
    if forbidden == 0 {
        ExitCode::SUCCESS
    } else {
        println!("\nfailed: codec or sessions allocated {forbidden} times");
        ExitCode::FAILURE
    }
}

/// Counts the allocations of a handshake, and of a record through its sessions.
fn jobs<P: CryptoProvider + Copy>(mut ends: handshake::Ends<P>) -> (usize, usize) {
    let (handshake, mut sessions) = allocations(|| ends.run());
    let mut rng = UnwrapErr(getrandom::SysRng);
    let (record, ()) = allocations(|| {
        let mut datagram = [0; 128];
        let len = sessions.client.seal(&[9; 64], &mut datagram).unwrap();
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let received = sessions.server.handle_datagram(env, &mut datagram[..len]);
        assert!(received.unwrap().newest);
    });
    (handshake, record)
}

/// Returns the bytes that a session takes by itself, and those of heap that a server has for each:
/// after its first request, and when everything that a request leaves behind has timed out.
fn held<P: CryptoProvider + Copy>(provider: P, suite: Suite) -> (usize, usize, usize) {
    let region = Region::new(GLOBAL);
    let ciphers = [0, 1].map(|_| {
        let key = [7; 32];
        provider
            .aead(suite.algorithm, &key[..suite.algorithm.key_len()])
            .unwrap()
    });
    let alone = size_of::<Session<P::Aead>>() + live(&region);
    drop(ciphers);
    let keys = keys();
    let mut server = Server::new(provider, suite.suite, &keys);
    let region = Region::new(GLOBAL);
    for _ in 0..SESSIONS {
        server.meet_client();
    }
    let fresh = live(&region);
    server.wait(Duration::from_secs(600));
    assert_eq!(server.sessions(), SESSIONS);
    (alone, fresh / SESSIONS, live(&region) / SESSIONS)
}

fn live(region: &Region<'_, System>) -> usize {
    let change = region.change();
    change.bytes_allocated - change.bytes_deallocated
}

fn allocations<T>(job: impl FnOnce() -> T) -> (usize, T) {
    let region = Region::new(GLOBAL);
    let result = job();
    let change = region.change();
    (change.allocations + change.reallocations, result)
}
