//! A device opens a TLS connection through a gateway that copies bytes (`docs/specs/leg.md`): TLS client,
//! leg, DTLS session over a lossy link, and behind the gateway a plain stream and a TLS server.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    missing_docs
)]

#[path = "leg/ends.rs"]
mod ends;
#[path = "leg/hop.rs"]
mod hop;

use std::time::Duration;

use ends::{TlsEnd, certificate_client, certificate_server, psk_client, psk_server};
use hedgerow_core::{ChannelError, ClientCredentials, PeerFault, ServerCredentials};
use hedgerow_leg::ResetReason;
use hedgerow_sim::{Conditions, World, for_each_seed};
use hop::{DEVICE, GATEWAY, Side, Tampering};

const REQUEST: &[u8] = b"a request that nobody in between reads, several records of it. ";
const RESPONSE: &[u8] = b"the server's answer, which is as secret and somewhat longer. ";

fn conditions(loss: f64) -> Conditions {
    Conditions {
        delay: Duration::from_millis(10)..=Duration::from_millis(60),
        loss,
        duplication: 0.1,
        reordering: 0.1,
        reordering_delay: Duration::from_millis(300),
        ..Conditions::default()
    }
}

/// What became of a connection at both ends, and what the gateway saw.
struct Outcome {
    client: TlsEnd,
    server: TlsEnd,
    copied: Vec<u8>,
    reset: Option<ResetReason>,
}

fn run<C, S>(
    seed: u64,
    loss: f64,
    service: &'static [u8],
    tampering: Tampering,
    client: C,
    server: S,
) -> Outcome
where
    C: ClientCredentials + 'static,
    S: ServerCredentials + 'static,
{
    let mut world = World::new(seed);
    world.set_conditions(conditions(loss));
    let (mut device, gateway) = Side::pair(&mut world, client, server, tampering);
    device.wanted = service;
    let device = world.add(device, &[DEVICE]);
    let gateway = world.add(gateway, &[GATEWAY]);
    let request = REQUEST.repeat(60);
    let response = RESPONSE.repeat(120);
    world.act(gateway, |side, _, _| {
        side.tls.answer = response.clone();
        side.tls.expected = request.len();
    });
    world.act(device, |side, env, out| {
        side.tls.answer = request.clone();
        side.open(env, out);
    });
    world.run_until_idle().unwrap();
    let take = |world: &mut World<Side>, at| {
        world.act(at, |side, _, _| {
            (
                side.tls.take(),
                std::mem::take(&mut side.copied),
                side.reset,
            )
        })
    };
    let (client, _, reset) = take(&mut world, device);
    let (server, copied, _) = take(&mut world, gateway);
    Outcome {
        client,
        server,
        copied,
        reset,
    }
}

impl Outcome {
    fn assert_whole(&self) {
        assert_eq!(self.client.failure, None);
        assert_eq!(self.server.failure, None);
        assert!(self.server.plaintext == REQUEST.repeat(60));
        assert!(self.client.plaintext == RESPONSE.repeat(120));
        assert!(
            self.client.is_closed && self.server.is_closed,
            "not in order"
        );
        assert_eq!(self.reset, None);
        // The positive control for the search: the hellos went by in clear.
        assert!(contains(&self.copied, b"\x16\x03"));
        for secret in [REQUEST, RESPONSE] {
            assert!(
                !contains(&self.copied, &secret[..16]),
                "the gateway read it"
            );
        }
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn device_reaches_a_tls_server_with_a_psk_through_any_weather() {
    for loss in [0.0, 0.05, 0.2] {
        for_each_seed(0..30, |seed| {
            let none = Tampering::None;
            run(seed, loss, b"upstream", none, psk_client(), psk_server()).assert_whole();
        });
    }
}

#[test]
fn device_reaches_a_tls_server_with_an_ecdsa_certificate_through_any_weather() {
    for loss in [0.0, 0.05, 0.2] {
        for_each_seed(0..10, |seed| {
            let (client, server) = (certificate_client(), certificate_server());
            run(seed, loss, b"upstream", Tampering::None, client, server).assert_whole();
        });
    }
}

#[test]
fn service_that_is_not_listed_is_refused() {
    let none = Tampering::None;
    let outcome = run(1, 0.0, b"other", none, psk_client(), psk_server());
    assert_eq!(outcome.reset, Some(ResetReason::Refused));
    assert!(outcome.copied.is_empty() && outcome.client.plaintext.is_empty());
}

#[test]
fn gateway_that_changes_a_byte_anywhere_ends_the_connection() {
    let calm = run(
        1,
        0.0,
        b"upstream",
        Tampering::None,
        psk_client(),
        psk_server(),
    );
    for at in (0..calm.copied.len()).step_by(calm.copied.len() / 40) {
        let tampering = Tampering::Flip(at);
        let outcome = run(1, 0.0, b"upstream", tampering, psk_client(), psk_server());
        let failures = [outcome.client.failure, outcome.server.failure];
        assert!(failures.iter().any(Option::is_some), "byte {at}");
        assert!(
            REQUEST.repeat(60).starts_with(&outcome.server.plaintext),
            "byte {at}"
        );
        assert!(
            RESPONSE.repeat(120).starts_with(&outcome.client.plaintext),
            "byte {at}"
        );
    }
}

#[test]
fn gateway_that_ends_the_streams_early_in_order_is_found_out() {
    let calm = run(
        1,
        0.0,
        b"upstream",
        Tampering::None,
        psk_client(),
        psk_server(),
    );
    for at in (1..calm.copied.len()).step_by(calm.copied.len() / 40) {
        let tampering = Tampering::End(at);
        let outcome = run(1, 0.0, b"upstream", tampering, psk_client(), psk_server());
        let truncated = Some(ChannelError::Peer(PeerFault::Truncated));
        let failures = [outcome.client.failure, outcome.server.failure];
        // Leg and gateway called it an orderly end. Whoever still waited for close_notify knows better; and
        // if nobody did, nothing was cut off but the client's answer to the server's.
        let has_all = outcome.client.is_closed
            && outcome.client.plaintext == RESPONSE.repeat(120)
            && outcome.server.plaintext == REQUEST.repeat(60);
        assert!(
            failures.contains(&truncated) || has_all,
            "at {at}: {failures:?}"
        );
        assert!(has_all || at + 100 < calm.copied.len(), "at {at}");
        assert!(outcome.reset.is_none(), "at {at}");
    }
}
