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
use hedgerow_core::{ChannelError, ClientCredentials, PeerFault, PeerId, Psk, ServerCredentials};
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
    has_tampered: bool,
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
    match tampering {
        Tampering::None | Tampering::Flip(_) | Tampering::End(_) => world.run_until_idle().unwrap(),
        // An end that waits for what was left out asks the other one now and then.
        _ => world.run_for(Duration::from_secs(4_000)).unwrap(),
    }
    let take = |world: &mut World<Side>, at| {
        world.act(at, |side, _, _| {
            (
                side.tls.take(),
                std::mem::take(&mut side.copied),
                side.reset,
                side.has_tampered,
            )
        })
    };
    let (client, _, reset, _) = take(&mut world, device);
    let (server, copied, _, has_tampered) = take(&mut world, gateway);
    Outcome {
        client,
        server,
        copied,
        has_tampered,
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
        for_each_seed(0..1_000, |seed| {
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

/// What an active gateway does to bytes on their way, at places all over a connection: nobody ever takes
/// anything but what the other end sent, and never less than all of it as the end.
fn assert_resisted(cell: &str, at: usize, outcome: &Outcome) -> bool {
    let (client, server) = (&outcome.client, &outcome.server);
    let (request, response) = (REQUEST.repeat(60), RESPONSE.repeat(120));
    assert!(request.starts_with(&server.plaintext), "{cell} {at}");
    assert!(response.starts_with(&client.plaintext), "{cell} {at}");
    let has_all = server.plaintext == request && client.plaintext == response;
    assert!(!client.is_closed || has_all, "{cell} {at}: no end");
    assert!(!server.is_closed || has_all, "{cell} {at}: no end");
    client.failure.is_some() || server.failure.is_some()
}

fn calm(seed: u64) -> Outcome {
    let none = Tampering::None;
    run(seed, 0.0, b"upstream", none, psk_client(), psk_server())
}

#[test]
fn gateway_that_drops_repeats_or_reorders_is_found_out() {
    let len = calm(1).copied.len();
    for at in (0..len).step_by(len / 40) {
        let cells: [(&str, Tampering); 3] = [
            ("drop", Tampering::Drop(at)),
            ("repeat", Tampering::Repeat(at)),
            ("reorder", Tampering::Reorder(at)),
        ];
        for (cell, tampering) in cells {
            let outcome = run(1, 0.0, b"upstream", tampering, psk_client(), psk_server());
            let is_detected = assert_resisted(cell, at, &outcome);
            let is_over = outcome.client.is_closed;
            // Without the rest of a record its reader waits: that is a delay, and no end.
            let waits = cell == "drop" && !is_over;
            assert!(
                is_detected || !outcome.has_tampered || waits || is_over,
                "{cell} {at}"
            );
        }
    }
}

#[test]
fn bytes_of_another_connection_are_found_out() {
    let other: &'static [u8] = calm(2).copied.leak();
    let len = calm(1).copied.len();
    for at in (0..len - 200).step_by(len / 40) {
        let tampering = Tampering::Splice(at, other);
        let outcome = run(1, 0.0, b"upstream", tampering, psk_client(), psk_server());
        assert!(outcome.has_tampered, "{at}");
        assert!(assert_resisted("splice", at, &outcome), "{at}");
    }
}

#[test]
fn stream_that_the_gateway_gives_up_is_no_end() {
    let len = calm(1).copied.len();
    for at in (1..len).step_by(len / 40) {
        let tampering = Tampering::Reset(at);
        let outcome = run(1, 0.0, b"upstream", tampering, psk_client(), psk_server());
        assert_resisted("reset", at, &outcome);
        assert!(outcome.has_tampered);
        let lost = Some(ResetReason::ConnectionLost);
        assert!(outcome.reset == lost || outcome.client.is_closed, "{at}");
    }
}

/// The gateway leads elsewhere: to a server with another key, and to one that has the hop's key, as the gateway
/// has itself.
#[test]
fn another_server_is_found_out() {
    for key in [b"another server's", b"this hop's bytes"] {
        let psk = Psk::new(key).unwrap().into_end_to_end().unwrap();
        let server = (b"meter".as_slice(), psk, PeerId(2));
        let none = Tampering::None;
        let outcome = run(1, 0.0, b"upstream", none, psk_client(), server);
        assert!(assert_resisted("swap", 0, &outcome));
        assert!(outcome.client.plaintext.is_empty() && outcome.server.plaintext.is_empty());
    }
    let none = Tampering::None;
    let outcome = run(
        1,
        0.0,
        b"upstream",
        none,
        certificate_client(),
        psk_server(),
    );
    assert!(assert_resisted("swap", 0, &outcome));
}
