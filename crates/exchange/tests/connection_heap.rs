//! What a connection keeps on the heap. It stands alone in its file, since it counts the heap of its
//! process.
#![cfg(feature = "alloc")]
#![allow(
    dead_code,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    missing_docs
)]

mod stream;

use std::alloc::System;

use hedgerow_coap::Code;
use hedgerow_core::{Env, Instant};
use hedgerow_exchange::{ConnectionConfig, HeapConnection, Received, Request, Response};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use stream::{Owned, Rng, body, csm, get};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes on the heap since `region` began.
fn held(region: &Region<'_, System>) -> isize {
    let change = region.change();
    change.bytes_allocated as isize - change.bytes_deallocated as isize
}

#[test]
fn idle_connection_keeps_nothing_and_half_a_message_costs_what_came_of_it() {
    let config = ConnectionConfig {
        max_message_size: 1_000_000,
        ..ConnectionConfig::default()
    };
    let mut rng = Rng(1);
    let mut env = Env::new(Instant::ZERO, &mut rng);
    let mut out = vec![0; config.exchange.max_message_len];
    let (settings, question) = (csm(8_448), get(1).encode());
    let long = Owned::new(Code::POST, &[2])
        .payload(&body(900_000))
        .encode();

    let region = Region::new(GLOBAL);
    let mut connection = HeapConnection::new(&config, &mut env);
    connection.handle_bytes(&mut env, &settings);
    for _ in 0..20 {
        let (received, _) = connection.handle_bytes(&mut env, &question);
        let Received::Request { request, .. } = received else {
            panic!("a request");
        };
        let response = Response::new(Code::CONTENT).payload(b"21.5");
        connection.respond(&mut env, request, &response).unwrap();
        let asked = connection.request(&Request::new(Code::GET)).unwrap();
        while let Ok(Some(_)) = connection.poll_transmit(&mut env, &mut out) {}
        connection.cancel(asked).unwrap();
        while connection.poll_event().is_some() {}
        assert!(connection.is_idle());
        assert_eq!(held(&region), 0);
    }

    // The length announced is no reason to set room aside.
    for (piece, came) in long[..16_000].chunks(100).zip(1..) {
        connection.handle_bytes(&mut env, piece);
        assert!(
            held(&region) <= 2 * 100 * came,
            "{} after {came}",
            held(&region)
        );
    }
    let (received, _) = connection.handle_bytes(&mut env, &long[16_000..]);
    let Received::Request { request, message } = received else {
        panic!("a request");
    };
    assert_eq!(message.payload().len(), 900_000);
    connection.ignore(request).unwrap();
    assert_eq!(held(&region), 0);
    println!(
        "{} bytes in the connection itself",
        size_of::<HeapConnection<&ConnectionConfig>>()
    );
}
