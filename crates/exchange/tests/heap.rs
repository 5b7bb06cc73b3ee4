//! What stays on the heap of an idle exchange. It stands alone in its file, since it counts the heap
//! of its process.
#![cfg(feature = "alloc")]
#![allow(
    dead_code,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    missing_docs
)]

mod common;

use std::alloc::System;

use common::Rng;
use hedgerow_coap::{Code, MessageId, MessageType, MessageWriter, Token};
use hedgerow_core::{Env, Instant};
use hedgerow_exchange::{Config, HeapExchange, Received, Response};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn answered_requests_leave_nothing_on_the_heap_once_their_lifetime_has_ended() {
    let config = Config::default();
    let mut rng = Rng(1);
    let mut env = Env::new(Instant::ZERO, &mut rng);
    let mut exchange = HeapExchange::new(&config, &mut env);
    let (mut datagram, mut out) = ([0; 64], vec![0; config.max_message_len]);

    let region = Region::new(GLOBAL);
    for number in 0..20 {
        let (kind, id) = (MessageType::Confirmable, MessageId(number));
        let token = Token::from([7]);
        let writer = MessageWriter::new(&mut datagram, kind, Code::GET, id, token).unwrap();
        let len = writer.finish();
        let Received::Request { request, .. } = exchange.handle_message(&mut env, &datagram[..len])
        else {
            panic!("a request");
        };
        let response = Response::new(Code::CONTENT).payload(b"21.5");
        exchange.respond(&mut env, request, &response).unwrap();
        assert!(
            exchange
                .poll_transmit(&mut env, &mut out)
                .unwrap()
                .is_some()
        );
    }
    let change = region.change();
    assert!(change.bytes_allocated > change.bytes_deallocated);

    // The answers are remembered for duplicates as long as those may come.
    env.now = env.now + config.transmission.exchange_lifetime();
    exchange.handle_timeout(&mut env);
    let change = region.change();
    assert_eq!(change.bytes_allocated, change.bytes_deallocated);
}
