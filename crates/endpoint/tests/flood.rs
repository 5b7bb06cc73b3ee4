//! A flood of first flights. It has no test harness, since it counts the heap of its process, and
//! the harness allocates when it likes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::alloc::System;

use common::{IDENTITY, Known, PSK, Place, SERVER, Shown, shown};
use hedgerow_core::{Env, Instant, SecurityMode};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{Config, Endpoint, SecurityPolicy};
use hedgerow_sim::{Address, TestRng};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A recorded first flight from another address, and ClientHellos without end: nothing is kept.
fn main() {
    spoofed_hellos_leave_the_heap_where_it_was_and_are_not_amplified();
    spoofed_requests_in_clear_leave_the_heap_where_it_was_and_are_not_amplified();
    println!("test result: ok. 2 passed; 0 failed");
}

fn spoofed_hellos_leave_the_heap_where_it_was_and_are_not_amplified() {
    let mut rng = TestRng::new(1);
    let known = Known::new(&[(IDENTITY, PSK)]);
    let mut env = Env::new(Instant::ZERO, &mut rng);
    let mut server: Endpoint<Place, _, Known, Shown> =
        Endpoint::server(SoftCrypto, known, Config::default(), &mut env);
    let hello = first_hello();
    let mut datagram = hello.clone();
    let mut out = [0; 64];
    let (mut bytes_in, mut bytes_out) = (0, 0);

    let region = Region::new(GLOBAL);
    for n in 0..100_000_u32 {
        let port = n.to_be_bytes();
        let from = Place(Address::new(n, u16::from_be_bytes([port[2], port[3]])));
        datagram.copy_from_slice(&hello);
        // Another random, so that no two hellos are the same.
        datagram[27..31].copy_from_slice(&port);
        let handled = server.handle_datagram(&mut env, from, &mut datagram, &mut out);
        assert_eq!(handled.consumed, hello.len());
        assert!(handled.answer <= 3 * hello.len());
        bytes_in += hello.len();
        bytes_out += handled.answer;
    }
    let change = region.change();
    println!("100,000 hellos: {bytes_in} bytes in, {bytes_out} bytes out, heap {change:?}");
    assert!(bytes_out > 0);
    assert!(bytes_out <= 3 * bytes_in);
    assert_eq!(change.bytes_allocated, change.bytes_deallocated);
    assert_eq!(change.allocations, 0);
    assert_eq!(server.handshakes(), 0);
    assert_eq!(server.associations(), 0);
    assert!(server.poll_timeout().is_none());
}

fn spoofed_requests_in_clear_leave_the_heap_where_it_was_and_are_not_amplified() {
    let mut rng = TestRng::new(1);
    let mut env = Env::new(Instant::ZERO, &mut rng);
    let config = Config {
        security: SecurityPolicy::new(SecurityMode::NoSec).into(),
        ..Config::default()
    };
    let mut server: Endpoint<Place, _, Known, Shown> =
        Endpoint::server_without_security(SoftCrypto, Known::new(&[]), config, &mut env).unwrap();
    let mut out = [0; 64];
    let (mut bytes_in, mut bytes_out) = (0, 0);
    // GET, POST, a ping, noise, an Echo value that is made up; with short and long tokens.
    let requests: [&[u8]; 6] = [
        b"\x41\x01\x00\x00\x07\xb4rate",
        b"\x52\x02\x00\x00\x07\x08\xb1x\xffon",
        b"\x48\x01\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08",
        b"\x40\x00\x00\x00",
        b"\x44\x01\x00\x00\xff",
        b"\x40\x01\x00\x00\xb1x\xd8\xe401234567",
    ];

    let region = Region::new(GLOBAL);
    for n in 0..100_000_u32 {
        let [.., high, low] = n.to_be_bytes();
        let from = Place(Address::new(n, u16::from_be_bytes([high, low])));
        let request = requests[usize::try_from(n).unwrap() % requests.len()];
        let mut datagram = [0; 64];
        let datagram = &mut datagram[..request.len()];
        datagram.copy_from_slice(request);
        datagram[2..4].copy_from_slice(&[high, low]);
        let handled = server.handle_datagram(&mut env, from, datagram, &mut out);
        assert_eq!(handled.consumed, request.len());
        assert!(handled.answer <= 3 * request.len());
        bytes_in += request.len();
        bytes_out += handled.answer;
    }
    let change = region.change();
    println!("100,000 requests: {bytes_in} bytes in, {bytes_out} bytes out, heap {change:?}");
    assert!(bytes_out > 0);
    assert!(bytes_out <= 3 * bytes_in);
    assert_eq!(change.bytes_allocated, change.bytes_deallocated);
    assert_eq!(change.allocations, 0);
    assert_eq!(server.associations(), 0);
    assert!(server.poll_timeout().is_none());
}

fn first_hello() -> Vec<u8> {
    let mut rng = TestRng::new(2);
    let mut env = Env::new(Instant::ZERO, &mut rng);
    let mut client: Endpoint<Place, _, Known, Shown> =
        Endpoint::client(SoftCrypto, Known::new(&[]), Config::default());
    client
        .connect(&mut env, Place(SERVER), Some(&shown()))
        .unwrap();
    let mut datagram = [0; 1_500];
    let (_, len) = client.poll_transmit(&mut env, &mut datagram).unwrap();
    datagram[..len].to_vec()
}
