//! Prints what the heap is used for: allocations a job, and bytes a session that is held, of ours and of
//! OpenSSL's. It stands alone, since counting slows allocations down.
//!
//! `cargo run --release --bin heap`. Ends with a failure where the codec or a session allocates. Each
//! figure of memory beside OpenSSL's is taken in a process of its own, which this program starts as
//! `heap hold WHO TRANSPORT SUITE`, so that nothing freed before is used again.

use std::alloc::System;
use std::env;
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::time::Duration;

use hedgerow_benches::child::resident;
use hedgerow_benches::endpoint::{Server, keys};
use hedgerow_benches::matrix::{self, KINDS, Kind, OpenSsl, Sessions, Transport};
use hedgerow_benches::suites::{SUITES, Suite};
use hedgerow_benches::{codec, handshake};
use hedgerow_core::{CryptoProvider, Env, Instant, SecureChannel};
use hedgerow_crypto_ring::RingCrypto;
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_handshake::Session;
use openssl::ssl::SslMode;
use rand_core::UnwrapErr;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SESSIONS: usize = 1_000;

/// How many are held beside OpenSSL's.
const HELD: usize = 4_000;

/// Which of [`KINDS`] are held, by name: both have them.
const HELD_KINDS: [&str; 2] = ["PSK CCM_8", "ECDHE_PSK ChaCha20"];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [hold, who, transport, suite] = &arguments[..]
        && hold == HOLD
    {
        return hold_idle(who, transport, suite);
    }
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
    beside_openssl();
    if forbidden == 0 {
        ExitCode::SUCCESS
    } else {
        println!("\nfailed: codec or sessions allocated {forbidden} times");
        ExitCode::FAILURE
    }
}

const HOLD: &str = "hold";
const SOFT: &str = "crypto-soft";
const RING: &str = "crypto-ring";
const OPENSSL: &str = "OpenSSL";
const RELEASING: &str = "OpenSSL, SSL_MODE_RELEASE_BUFFERS";

fn beside_openssl() {
    println!("\n### Memory of an idle server session, {HELD} held, in bytes each\n");
    println!(
        "| transport, suite | {SOFT}, counted | {SOFT} | {RING}, counted | {RING} | {OPENSSL} \
         | {RELEASING} | ratio of {SOFT} | ratio of {RING} |"
    );
    println!("|{}", " --- |".repeat(9));
    for transport in [Transport::Dtls, Transport::Tls] {
        for suite in HELD_KINDS {
            let transport = format!("{transport:?}");
            let [soft, ring, openssl, releasing] = [SOFT, RING, OPENSSL, RELEASING].map(|who| {
                let program = env::current_exe().unwrap();
                let held = Command::new(program)
                    .args([HOLD, who, &transport, suite])
                    .output()
                    .unwrap();
                assert!(held.status.success(), "{held:?}");
                let text = String::from_utf8(held.stdout).unwrap();
                let mut figures = text.split_whitespace().map(|figure| figure.parse::<f64>());
                [(); 2].map(|()| figures.next().unwrap().unwrap())
            });
            let best = openssl[1].min(releasing[1]);
            println!(
                "| {transport}, {suite} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.3} | {:.3} |",
                soft[0],
                soft[1],
                ring[0],
                ring[1],
                openssl[1],
                releasing[1],
                soft[1] / best,
                ring[1] / best,
            );
        }
    }
}

/// Prints what each of [`HELD`] server ends takes after a record each way: as the allocator counts it,
/// and as the process has grown by them.
fn hold_idle(who: &str, transport: &str, suite: &str) -> ExitCode {
    let transports = [Transport::Dtls, Transport::Tls];
    let transport = transports
        .into_iter()
        .find(|known| format!("{known:?}") == transport);
    let transport = transport.expect("the transport should be one of those measured");
    let kind = KINDS.into_iter().find(|kind| kind.name == suite);
    let kind = kind.expect("the suite should be one of those measured");
    match who {
        SOFT => hold_ours(SoftCrypto, transport, kind),
        RING => hold_ours(RingCrypto, transport, kind),
        OPENSSL => hold_openssl(transport, kind, SslMode::empty()),
        RELEASING => hold_openssl(transport, kind, SslMode::RELEASE_BUFFERS),
        other => panic!("nobody is called {other}"),
    }
    ExitCode::SUCCESS
}

fn hold_ours<P: CryptoProvider + Copy>(provider: P, transport: Transport, kind: Kind) {
    let mut ends = matrix::Ours::new(provider, transport, kind.suite, false);
    let mut next = || {
        let (_, mut sessions) = ends.sessions();
        sessions.exchange();
        sessions
    };
    match transport {
        Transport::Dtls => hold(|| match next() {
            Sessions::Dtls([_, server]) => server,
            Sessions::Tls(_) => unreachable!("it is over DTLS"),
        }),
        Transport::Tls => hold(|| match next() {
            Sessions::Tls([_, server]) => server,
            Sessions::Dtls(_) => unreachable!("it is over TLS"),
        }),
    }
}

fn hold_openssl(transport: Transport, kind: Kind, mode: SslMode) {
    let suite = kind.openssl.expect("OpenSSL should have the suite");
    let ends = OpenSsl::with_mode(transport, suite, mode);
    hold(|| ends.idle_server());
}

fn hold<T>(mut next: impl FnMut() -> T) {
    // What the first ones leave in the allocator's lists and the program's pages isn't the others'.
    drop([(); 50].map(|()| next()));
    let region = Region::new(GLOBAL);
    let before = resident("self");
    let mut held = Vec::with_capacity(HELD);
    for _ in 0..HELD {
        held.push(next());
    }
    let (resident, counted) = (resident("self") - before, live(&region));
    println!(
        "{} {}",
        counted as f64 / HELD as f64,
        resident / HELD as f64
    );
    drop(black_box(held));
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
