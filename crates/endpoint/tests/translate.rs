//! Mode `translate` under loss: an Internet end behind its adapter, a gateway without keys, and a
//! device that knows nothing of it. The leg to the device is the lossy one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "common/carried.rs"]
mod carried;
mod common;
#[path = "common/translated.rs"]
mod translated;

use std::time::Duration;

use carried::{
    DEVICE, GATEWAY, HISTORY, Trio, at, defaults, each_datagram_is_lost_once,
    every_seed_completes_with_its_suite, patient, shown, trio,
};
use common::{CLIENT, SERVER};
use hedgerow_coap::Code;
use hedgerow_endpoint::Config;
use hedgerow_record::{CipherSuite, TranslateForm, TranslateStatus};
use hedgerow_sim::World;
use translated::{Between, Net, suites};

fn set_up(
    world: &mut Net,
    (suite, form): (CipherSuite, TranslateForm),
    config: fn(CipherSuite) -> Config,
) -> Trio {
    trio(
        world,
        Between::new(form, "thermometer", "thermometer"),
        &config(suite),
    )
}

#[test]
fn each_datagram_of_handshake_and_request_is_lost_once_on_the_devices_leg() {
    for suite in suites() {
        each_datagram_is_lost_once(|world| set_up(world, suite, defaults));
    }
}

/// The same datagrams leave the gateway as would leave the client itself, and the stream is shorter by
/// 8 bytes a record in the short form.
#[test]
fn gateway_sends_what_the_client_sends_and_nothing_else() {
    for (suite, form) in suites() {
        let mut world = World::new(1);
        let trio = set_up(&mut world, (suite, form), defaults);
        let shown = shown();
        at(&mut world, trio.client, |host, env, out| {
            host.ask(env, out, &shown, Code::GET, HISTORY)
        });
        world.run_for(Duration::from_secs(60)).unwrap();
        for (own, behind) in [
            (
                world.account(CLIENT, SERVER),
                world.account(GATEWAY, DEVICE),
            ),
            (
                world.account(SERVER, CLIENT),
                world.account(DEVICE, GATEWAY),
            ),
        ] {
            assert!(own.sent > 30);
            assert_eq!((own.sent, own.sent_bytes), (behind.sent, behind.sent_bytes));
        }
        let between = trio.between(&world);
        assert_eq!(between.status, Some(TranslateStatus::Accepted));
        assert!(between.is_accepted);
        assert_eq!((between.failed, between.framing), (None, None));
        assert_eq!(between.dropped, []);
        assert_eq!(between.dropped_by_gateway, []);
        assert_eq!(trio.client(&world).drops, [], "{suite}");
        assert_eq!(trio.device(&world).drops, [], "{suite}");
    }
}

fn completes(loss: f64) {
    every_seed_completes_with_its_suite(loss, suites(), |world, suite| {
        set_up(world, suite, patient)
    });
}

#[test]
fn with_15_tries_every_seed_completes_without_loss() {
    completes(0.0);
}

#[test]
fn with_15_tries_every_seed_completes_at_5_percent_loss() {
    completes(0.05);
}

#[test]
fn with_15_tries_every_seed_completes_at_20_percent_loss() {
    completes(0.2);
}

fn set_up_defaults(world: &mut Net) -> Trio {
    let suite = CipherSuite::TLS_PSK_WITH_AES_128_CCM_8;
    set_up(world, (suite, TranslateForm::Short), defaults)
}

#[test]
fn with_rfc_parameters_failures_of_idempotent_requests_stay_within_the_bound() {
    carried::failures_of_idempotent_requests_stay_within_the_bound(set_up_defaults);
}

#[test]
fn with_rfc_parameters_failures_of_post_stay_within_the_bound() {
    carried::failures_of_post_stay_within_the_bound(set_up_defaults);
}

#[test]
fn with_rfc_parameters_failures_of_a_transfer_stay_within_the_bound() {
    carried::failures_of_a_transfer_stay_within_the_bound(set_up_defaults);
}

/// What the gateway tells of a narrow leg, the handshake takes as what a system's send call says.
#[test]
fn handshake_fits_a_leg_that_carries_less() {
    let suite = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8;
    let mut world = World::new(3);
    let between = Between::new(TranslateForm::Short, "a", "a").with_room(300);
    let trio = trio(&mut world, between, &defaults(suite));
    let shown = shown();
    let asked = at(&mut world, trio.client, |host, env, out| {
        host.ask(env, out, &shown, Code::POST, &[7; 600])
    });
    let mut told = 0;
    for _ in 0..2_000 {
        world.run_for(Duration::from_millis(50)).unwrap();
        for len in trio.act(&mut world, |between, _| {
            std::mem::take(&mut between.refused)
        }) {
            assert!(len > 300);
            told += 1;
            at(&mut world, trio.client, |host, env, out| {
                host.endpoint.datagram_refused(common::Place(SERVER), len);
                host.flush(env, out);
            });
        }
    }
    assert!(told > 0, "every datagram was short");
    let client = trio.client(&world);
    assert_eq!(client.responses[&asked], (Code::CHANGED, b"600".to_vec()));
    let longest = world.account(GATEWAY, DEVICE);
    assert!(longest.sent_bytes <= longest.sent * 300);
}
