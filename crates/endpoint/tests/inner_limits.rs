//! What one gateway can use up of an end's part in mode `itls`: nothing of another gateway's.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;
#[path = "common/inner.rs"]
mod inner;
#[path = "common/two_ends.rs"]
mod two_ends;

use std::time::Duration;

use common::{Known, Shown, defaults};
use hedgerow_core::{
    ClientCredentials as _, DropReason, Env, Instant, Misuse, Psk, PskEntry, PskRequest, PskStore,
};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{Endpoint, Error, OuterStream};
use hedgerow_itls::{Control, End as Which, Open, OuterBinding, RoutingHeader, is_initiator_hello};
use inner::{END_KEY, NAME, USER, control, routed, shown, with_inner};
use two_ends::{At, DEVICE, Ends, INTERNET};

/// A protected message that nobody has made: kind, sequence number, and a tag with something before it.
const FORGED: [u8; 11] = [0x81, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8];

/// docs/specs/itls.md, "Limits": what is beyond isn't opened, be it forged or honest.
#[test]
fn a_gateway_s_forgeries_take_1024_tries_a_second_and_none_from_another_gateway() {
    let mut ends = Ends::new(&defaults());
    let (one, other) = (ends.connect(At(0)), ends.connect(At(1)));
    assert!(ends.ask(one, b"first") && ends.ask(other, b"first"));
    for _ in 0..1_024 {
        ends.deliver(DEVICE, At(0), &routed(1, &FORGED));
    }
    assert_eq!(
        ends.drops[DEVICE],
        [DropReason::AuthenticationFailed; 1_024]
    );
    ends.deliver(DEVICE, At(0), &routed(1, &FORGED));
    assert_eq!(ends.drops[DEVICE][1_024..], [DropReason::RateLimited]);
    assert!(
        ends.ask(other, b"second"),
        "{:?}",
        ends.drops[DEVICE].last()
    );
    assert!(!ends.ask(one, b"second"));
    assert_eq!(ends.drops[DEVICE][1_024..], [DropReason::RateLimited; 2]);
    ends.drops[DEVICE].clear();
    for (millis, reason) in [
        (999, DropReason::RateLimited),
        (1, DropReason::AuthenticationFailed),
    ] {
        ends.now = ends.now + Duration::from_millis(millis);
        ends.deliver(DEVICE, At(0), &routed(1, &FORGED));
        assert_eq!(ends.drops[DEVICE].pop(), Some(reason), "{millis} ms");
    }
    // The honest message comes again.
    let before = ends.answered;
    ends.wait(Duration::from_secs(3));
    ends.carry();
    assert_eq!(ends.answered, before + 1);
}

/// Hellos count as well: theirs are codes that don't verify.
#[test]
fn hellos_that_do_not_verify_are_forgeries_too() {
    let mut ends = Ends::new(&defaults());
    let hello = hello(&mut ends, At(0));
    let mut forged = hello.clone();
    *forged.last_mut().unwrap() ^= 1;
    for _ in 0..1_024 {
        ends.deliver(DEVICE, At(0), &open(1, &forged));
    }
    assert_eq!(
        ends.drops[DEVICE],
        [DropReason::AuthenticationFailed; 1_024]
    );
    ends.deliver(DEVICE, At(0), &open(1, &hello));
    assert_eq!(ends.drops[DEVICE][1_024..], [DropReason::RateLimited]);
    assert_eq!(ends.ends[DEVICE].inner_flows(), 0);
    let other = ends.connect(At(1));
    assert!(ends.ask(other, b"first"));
}

#[test]
fn a_gateway_s_replays_fill_its_own_half_open_places_alone() {
    let mut ends = Ends::new(&defaults());
    let hello = hello(&mut ends, At(0));
    for place in 0..8 {
        ends.deliver(DEVICE, At(0), &open(101 + 2 * place, &hello));
        while ends.poll(DEVICE).is_some() {}
    }
    assert_eq!(ends.drops[DEVICE], []);
    assert_eq!(ends.ends[DEVICE].inner_flows(), 8);
    ends.deliver(DEVICE, At(0), &open(201, &hello));
    assert_eq!(ends.drops[DEVICE], [DropReason::HandshakePoolFull]);
    let other = ends.connect(At(1));
    assert!(ends.ask(other, b"first"), "{:?}", ends.drops[DEVICE]);
    // The gateway's own places are free after 62 s.
    ends.wait(Duration::from_secs(61));
    ends.deliver(DEVICE, At(0), &open(201, &hello));
    assert_eq!(ends.drops[DEVICE], [DropReason::HandshakePoolFull; 2]);
    ends.wait(Duration::from_secs(1));
    assert_eq!(ends.ends[DEVICE].inner_flows(), 1);
    ends.deliver(DEVICE, At(0), &open(201, &hello));
    assert_eq!(ends.ends[DEVICE].inner_flows(), 2);
}

/// Whatever the gateways are, there are no more flows than configured.
#[test]
fn flows_are_bounded_over_all_gateways() {
    let mut ends = Ends::new(&defaults());
    let mut config = with_inner(defaults(), Which::Device);
    if let Some(inner) = &mut config.inner {
        inner.max_flows = 10;
    }
    let known = Known::with_end_to_end(&[], &[(b"end", END_KEY)]);
    let env = &mut Env::new(ends.now, &mut ends.rng);
    ends.ends[DEVICE] = Endpoint::server(SoftCrypto, known, config, env);
    ends.open(DEVICE, At(0));
    ends.open(DEVICE, At(1));
    let hello = hello(&mut ends, At(0));
    for gateway in [At(0), At(1)] {
        for place in 0..8 {
            ends.deliver(DEVICE, gateway, &open(101 + 2 * place, &hello));
        }
    }
    assert_eq!(ends.ends[DEVICE].inner_flows(), 10);
    assert_eq!(ends.drops[DEVICE], [DropReason::HandshakePoolFull; 6]);
}

/// The gateway's word that the other hop carries less; no shorter than any path allows, whatever it says.
#[test]
fn too_long_shortens_the_messages_of_its_flow_alone() {
    for (said, longest) in [(600, 599), (0, 600)] {
        let mut ends = Ends::new(&defaults());
        let (one, other) = (ends.connect(At(0)), ends.connect(At(1)));
        let body = [7; 1_000];
        assert!(ends.ask(one, &body) && ends.ask(other, &body));
        assert!(ends.lens.iter().any(|&len| len > 1_000));
        let said = Control::TooLong(said);
        ends.deliver(INTERNET, At(0), &control(2, &said));
        ends.lens.clear();
        assert!(ends.ask(one, &body));
        let sent = ends.lens.iter().copied().max().unwrap();
        assert!((64..=longest).contains(&sent), "{sent}");
        ends.lens.clear();
        assert!(ends.ask(other, &body));
        assert!(ends.lens.iter().any(|&len| len > 1_000));
        assert_eq!(ends.drops[INTERNET], []);
        ends.deliver(INTERNET, At(0), &control(99, &said));
        assert_eq!(ends.drops[INTERNET], [DropReason::UnknownFlow]);
    }
}

/// One key, by which others come in too.
#[derive(Clone)]
struct Own(Shown);

impl PskStore for Own {
    fn lookup(&self, _: &PskRequest<'_>) -> Option<PskEntry<'_>> {
        None
    }

    fn has_key(&self, psk: &Psk) -> bool {
        let own = self.0.pre_shared_key();
        own.is_some_and(|own| own.psk.has_same_bytes(psk))
    }
}

/// The gateway could lead the call back to who made it.
#[test]
fn key_by_which_others_come_in_begins_no_inner_session() {
    for (store, begins) in [
        (shown(), false),
        (Shown::end_to_end(b"device", b"another pair's..."), true),
    ] {
        let config = with_inner(defaults(), Which::Internet);
        let mut end: Endpoint<At, SoftCrypto, Own, Shown> =
            Endpoint::client(SoftCrypto, Own(store), config);
        let stream = OuterStream {
            binding: OuterBinding::new([1; 32]),
            name: NAME.to_vec(),
            max_message_len: 1_400,
        };
        end.open_outer_stream(At(0), stream).unwrap();
        let mut rng = hedgerow_sim::TestRng::new(1);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let begun = end.connect_inner(env, At(0), NAME, &shown());
        assert_eq!(begun.is_ok(), begins);
        if !begins {
            assert_eq!(begun, Err(Error::Channel(Misuse::KeyInBothRoles)));
        }
        let mut out = [0; 1_500];
        assert_eq!(end.poll_transmit(env, &mut out).is_some(), begins);
    }
}

/// The first hello of a session that goes no further.
fn hello(ends: &mut Ends, gateway: At) -> Vec<u8> {
    ends.connect(gateway);
    let (_, message) = ends.poll(INTERNET).unwrap();
    let (_, rest) = RoutingHeader::decode(&message).unwrap();
    let Control::Open(open) = Control::decode(rest).unwrap() else {
        panic!("no OPEN");
    };
    assert!(is_initiator_hello(open.message));
    open.message.to_vec()
}

fn open(flow: u16, message: &[u8]) -> Vec<u8> {
    let open = Open {
        wants_light_layer: false,
        name: USER,
        message,
    };
    control(flow, &Control::Open(open))
}
