//! Mode `tunnel` under loss: an Internet end whose datagrams travel in capsules, a gateway that has no key
//! of them, and a device that knows nothing of it. The leg to the device is the lossy one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "common/carried.rs"]
mod carried;
mod common;
#[path = "common/tunneled.rs"]
mod tunneled;

use std::time::Duration;

use carried::{
    DEVICE, GATEWAY, HISTORY, LONG, SHORT, Trio, at, defaults, each_datagram_is_lost_once,
    every_seed_completes_with_its_suite, patient, shown, trio,
};
use common::{CLIENT, SERVER};
use hedgerow_coap::Code;
use hedgerow_endpoint::Config;
use hedgerow_record::CipherSuite;
use hedgerow_sim::World;
use tunneled::{Net, Tunneled};

fn suites() -> impl Iterator<Item = CipherSuite> {
    SHORT.into_iter().chain(LONG)
}

fn set_up(world: &mut Net, suite: CipherSuite, config: fn(CipherSuite) -> Config) -> Trio {
    trio(world, Tunneled::new(), &config(suite))
}

#[test]
fn each_datagram_of_handshake_and_request_is_lost_once_on_the_devices_leg() {
    for suite in suites() {
        each_datagram_is_lost_once(|world| set_up(world, suite, defaults));
    }
}

/// The same datagrams leave the gateway as would leave the client itself.
#[test]
fn gateway_sends_what_the_client_sends_and_nothing_else() {
    for suite in suites() {
        let mut world = World::new(1);
        let trio = set_up(&mut world, suite, defaults);
        let shown = shown();
        at(&mut world, trio.client, |host, env, out| {
            host.ask(env, out, &shown, Code::GET, HISTORY)
        });
        world.run_for(Duration::from_secs(60)).unwrap();
        let ways = [
            ((CLIENT, SERVER), (GATEWAY, DEVICE)),
            ((SERVER, CLIENT), (DEVICE, GATEWAY)),
        ];
        for (own, behind) in ways {
            let own = world.account(own.0, own.1);
            let behind = world.account(behind.0, behind.1);
            assert!(own.sent > 30);
            assert_eq!((own.sent, own.sent_bytes), (behind.sent, behind.sent_bytes));
        }
        let between = trio.between(&world);
        assert_eq!(
            (&*between.dropped, &*between.dropped_by_gateway),
            (&[][..], &[][..])
        );
        assert_eq!(between.ended, None);
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
    set_up(world, CipherSuite::TLS_PSK_WITH_AES_128_CCM_8, defaults)
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
