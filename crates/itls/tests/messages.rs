//! Inner messages: replay, order, splicing, close, cost.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod ends;

use ends::{DEVICES, INTERNETS, Outcome, open, pair, pair_of, plain, sealed};
use hedgerow_core::{DropReason, Limit, Misuse, PeerFault, Secret};
use hedgerow_crypto_soft::{SoftAead, SoftCrypto};
use hedgerow_itls::{
    End, Envelope, HalfOpen, LIGHT_LAYER_MATERIAL_LEN, LightLayer, MAX_PLAINTEXT_LEN, OuterRole,
    RoutingHeader, Suite,
};
use proptest::prelude::*;

fn text(bytes: &[u8]) -> Outcome {
    Outcome::Plaintext(bytes.to_vec())
}

fn dropped(reason: DropReason) -> Outcome {
    Outcome::Dropped(reason)
}

#[test]
fn no_bit_of_a_message_can_be_flipped() {
    for suite in Suite::ALL {
        let settings = plain(End::Internet).with_only_suite(suite);
        let (mut left, mut right) = pair_of(settings, plain(End::Device));
        let message = sealed(&mut left, b"to be or not");
        for bit in 0..message.len() * 8 {
            let mut flipped = message.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                matches!(open(&mut right, &DEVICES, &flipped), Outcome::Dropped(_)),
                "bit {bit}"
            );
        }
        for len in 0..message.len() {
            assert!(matches!(
                open(&mut right, &DEVICES, &message[..len]),
                Outcome::Dropped(_)
            ));
        }
        assert_eq!(open(&mut right, &DEVICES, &message), text(b"to be or not"));
    }
}

#[test]
fn replayed_message_is_dropped_and_late_ones_are_taken_once_within_the_window() {
    let (mut left, mut right) = pair();
    let messages: Vec<_> = (0..100_u8).map(|n| sealed(&mut left, &[n])).collect();
    assert_eq!(open(&mut right, &DEVICES, &messages[99]), text(&[99]));
    assert_eq!(
        open(&mut right, &DEVICES, &messages[99]),
        dropped(DropReason::Replayed)
    );
    // The confirmation had number 0, so that these are 1 to 100; 100 - 63 is the oldest in the window.
    assert_eq!(open(&mut right, &DEVICES, &messages[36]), text(&[36]));
    assert_eq!(
        open(&mut right, &DEVICES, &messages[36]),
        dropped(DropReason::Replayed)
    );
    assert_eq!(
        open(&mut right, &DEVICES, &messages[35]),
        dropped(DropReason::TooOld)
    );
    assert_eq!(right.forgeries(), 0);
}

#[test]
fn forged_high_number_locks_nobody_out() {
    let (mut left, mut right) = pair();
    let mut forged = vec![0x86];
    forged.extend([0xff; 6]);
    forged.extend([0; 20]);
    let failed = dropped(DropReason::AuthenticationFailed);
    assert_eq!(open(&mut right, &DEVICES, &forged), failed);
    assert_eq!(right.forgeries(), 1);
    let message = sealed(&mut left, b"text");
    assert_eq!(open(&mut right, &DEVICES, &message), text(b"text"));
}

#[test]
fn message_of_another_session_is_dropped() {
    let (mut left, _) = pair();
    let (_, mut other) = pair_of(
        plain(End::Internet).with_preferred_suite(Suite::Aes128Ccm),
        plain(End::Device),
    );
    let message = sealed(&mut left, b"text");
    let failed = dropped(DropReason::AuthenticationFailed);
    assert_eq!(open(&mut other, &DEVICES, &message), failed);
}

#[test]
fn only_a_close_that_verifies_is_an_orderly_one() {
    let (mut left, mut right) = pair();
    let late = sealed(&mut left, b"late");
    let mut close = [0; 16];
    assert_eq!(
        left.close(&mut close[..10]),
        Err(Misuse::BufferTooSmall {
            needed: 11,
            available: 10
        }
        .into())
    );
    assert!(left.is_open());
    let len = left.close(&mut close).unwrap();
    assert_eq!(len, 11);
    let mut forged = close[..len].to_vec();
    forged[2] ^= 1;
    assert_eq!(
        open(&mut right, &DEVICES, &forged),
        dropped(DropReason::AuthenticationFailed)
    );
    // A plain octet of close, and the alert's kind in the clear, are nothing.
    for noise in [&[0xa1, 0x00, 0x00][..], &[0x00], &[0x15, 3, 3, 0, 2, 1, 0]] {
        assert_eq!(
            open(&mut right, &DEVICES, noise),
            dropped(DropReason::Malformed)
        );
    }
    assert!(right.is_open());
    assert_eq!(open(&mut right, &DEVICES, &close[..len]), Outcome::Closed);
    assert_eq!(
        open(&mut right, &DEVICES, &late),
        dropped(DropReason::AfterClose)
    );
    let closed = Err(Misuse::Closed.into());
    assert_eq!(right.seal(b"more", &mut [0; 64]), closed);
    assert_eq!(left.seal(b"more", &mut [0; 64]), closed);
    assert_eq!(left.close(&mut [0; 64]), closed);
}

#[test]
fn another_alert_ends_the_session_and_is_no_orderly_close() {
    let (mut left, mut right) = pair();
    let mut alert = [0; 16];
    let len = left.close_with_alert(80, &mut alert).unwrap();
    assert!(!left.is_open());
    let description = 80;
    let authenticated = true;
    let fault = PeerFault::AlertReceived {
        description,
        authenticated,
    };
    let failed = Outcome::Failed(fault.into());
    assert_eq!(open(&mut right, &DEVICES, &alert[..len]), failed);
    assert!(!right.is_open());
}

/// What docs/specs/itls.md says that a message costs.
#[test]
fn message_costs_what_is_stated() {
    for (suite, tag) in [(Suite::Aes128Ccm8, 8), (Suite::Aes128Ccm, 16)] {
        let settings = plain(End::Internet).with_only_suite(suite);
        let (mut left, _) = pair_of(settings, plain(End::Device));
        let mut numbers = 1..;
        let mut overhead_at = |wanted: u64| {
            for number in numbers.by_ref() {
                let overhead = left.overhead();
                assert_eq!(left.max_plaintext_len(overhead + 5), 5);
                assert_eq!(sealed(&mut left, b"x").len(), overhead + 1);
                if number == wanted {
                    return overhead;
                }
            }
            panic!("no more numbers");
        };
        assert_eq!(overhead_at(255), 1 + 1 + tag);
        assert_eq!(overhead_at(256), 1 + 2 + tag);
        assert_eq!(overhead_at(65_535), 1 + 2 + tag);
        assert_eq!(overhead_at(65_536), 1 + 3 + tag);
    }
    let routing = |flow| {
        RoutingHeader {
            flow,
            is_control: false,
        }
        .encoded_len()
    };
    assert_eq!((routing(30), routing(31)), (1, 3));
    let material = Secret::<LIGHT_LAYER_MATERIAL_LEN>::fill_with(|bytes| bytes.fill(1));
    let light = LightLayer::new(&SoftCrypto, &material, OuterRole::Client).unwrap();
    // 1 header, 2 hop number, 8 tag; with the inner 10 the 21 of the specification.
    assert_eq!((light.overhead(30), light.overhead(31)), (11, 13));
}

#[test]
fn what_does_not_fit_spends_no_number() {
    let (mut left, mut right) = pair();
    let long = vec![0; MAX_PLAINTEXT_LEN + 1];
    let (len, max) = (long.len(), MAX_PLAINTEXT_LEN);
    let refused = Err(Limit::PlaintextTooLong { len, max }.into());
    assert_eq!(left.seal(&long, &mut vec![0; 20_000]), refused);
    let (needed, available) = (14, 13);
    let refused = Err(Misuse::BufferTooSmall { needed, available }.into());
    assert_eq!(left.seal(b"text", &mut [0; 13]), refused);
    let longest = sealed(&mut left, &long[..MAX_PLAINTEXT_LEN]);
    assert_eq!(longest[..2], [0x81, 1]);
    assert_eq!(
        open(&mut right, &DEVICES, &longest),
        text(&long[..MAX_PLAINTEXT_LEN])
    );
    let too_long = [&[0x81, 2][..], &long, &[0; 8]].concat();
    assert_eq!(
        open(&mut right, &DEVICES, &too_long),
        dropped(DropReason::TooLong)
    );
}

/// For short tags: 128 ask for new keys, 2^20 end the session.
#[test]
fn forgeries_ask_for_new_keys_and_end_the_session_late() {
    let (mut left, mut right) = pair();
    let mut forged = sealed(&mut left, b"");
    forged[3] ^= 1;
    let failed = dropped(DropReason::AuthenticationFailed);
    for count in 1..1_u64 << 20 {
        assert_eq!(open(&mut right, &DEVICES, &forged), failed);
        assert_eq!(right.wants_new_keys(), count >= 128, "{count}");
    }
    let end = Outcome::Failed(PeerFault::TooManyForgeries.into());
    assert_eq!(open(&mut right, &DEVICES, &forged), end);
    assert!(!right.is_open());
    assert!(left.is_open());
    assert_eq!(
        open(&mut right, &DEVICES, &forged),
        dropped(DropReason::AfterClose)
    );
}

#[cfg(target_pointer_width = "64")]
#[test]
fn idle_sessions_are_small() {
    // Two expanded AES keys are most of it. A change here is one of every table of sessions.
    assert_eq!(size_of::<Envelope<SoftAead>>(), ENVELOPE_SIZE);
    assert_eq!(size_of::<HalfOpen<SoftAead>>(), HALF_OPEN_SIZE);
}

#[cfg(target_pointer_width = "64")]
const ENVELOPE_SIZE: usize = 624;
#[cfg(target_pointer_width = "64")]
const HALF_OPEN_SIZE: usize = 832;

fn layers() -> [LightLayer<SoftAead>; 2] {
    let material = Secret::<LIGHT_LAYER_MATERIAL_LEN>::fill_with(|bytes| {
        for (place, n) in bytes.iter_mut().zip(0..) {
            *place = n;
        }
    });
    [OuterRole::Client, OuterRole::Server]
        .map(|role| LightLayer::new(&SoftCrypto, &material, role).unwrap())
}

#[test]
fn light_datagram_is_opened_once_by_the_other_side_and_no_bit_of_it_can_be_flipped() {
    let [mut client, mut server] = layers();
    let (mut left, _) = pair();
    for flow in [3, 30, 31, 65_535] {
        let message = sealed(&mut left, b"inner");
        let mut out = [0; 64];
        let len = client.seal(flow, &message, &mut out).unwrap();
        let datagram = out[..len].to_vec();
        for bit in 0..len * 8 {
            let mut flipped = datagram.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(server.open(&mut flipped).is_err(), "bit {bit}");
        }
        for short in 0..len {
            assert!(server.open(&mut datagram[..short].to_vec()).is_err());
        }
        let mut copy = datagram.clone();
        assert_eq!(
            client.open(&mut copy),
            Err(DropReason::AuthenticationFailed)
        );
        let mut copy = datagram.clone();
        let (opened_flow, opened) = server.open(&mut copy).unwrap();
        assert_eq!((opened_flow, &*opened), (flow, message.as_slice()));
        assert_eq!(
            server.open(&mut datagram.clone()),
            Err(DropReason::Replayed)
        );
    }
    assert!(server.forgeries() > 0);
}

/// As with inner messages: 128 ask for a new outer session, 2^20 end this one's light layer.
#[test]
fn forged_light_datagrams_are_counted_up_to_a_limit() {
    let [mut client, mut server] = layers();
    let mut out = [0; 16];
    let len = client.seal(3, &[0x81], &mut out).unwrap();
    let honest = out[..len].to_vec();
    out[len - 1] ^= 1;
    for count in 1..=1_u64 << 20 {
        let mut copy = out;
        let opened = server.open(&mut copy[..len]);
        assert_eq!(opened, Err(DropReason::AuthenticationFailed));
        assert_eq!(server.wants_new_keys(), count >= 128, "{count}");
    }
    let opened = server.open(&mut honest.clone()).map(|(flow, _)| flow);
    assert_eq!(opened, Err(DropReason::AfterClose));
    assert_eq!(server.forgeries(), 1 << 20);
    assert!(!client.wants_new_keys());
}

#[test]
fn hellos_and_control_do_not_travel_in_light_datagrams() {
    let [mut client, mut server] = layers();
    let mut out = [0; 64];
    for hello in [&[1, 1, 1][..], &[2, 1, 2], &[]] {
        let refused = client.seal(3, hello, &mut out);
        assert_eq!(refused, Err(Misuse::NotEstablished.into()));
    }
    let needed = 14;
    let refused = Err(Misuse::BufferTooSmall {
        needed,
        available: 13,
    }
    .into());
    assert_eq!(client.seal(3, &[0x81, 0, 1], &mut out[..13]), refused);
    let len = client.seal(3, &[0x81, 0, 1], &mut out).unwrap();
    out[0] |= 0x20;
    assert_eq!(
        server.open(&mut out[..len]),
        Err(DropReason::UnexpectedMessage)
    );
    assert_eq!(server.forgeries(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// However the network drops, repeats and reorders: each message comes at most once, as it was.
    #[test]
    fn messages_come_once_and_unchanged(
        order in proptest::collection::vec(0..80_usize, 0..200),
        len in 0..50_usize,
    ) {
        let (mut left, mut right) = pair();
        let texts: Vec<Vec<u8>> = (0..80_u8).map(|n| vec![n; len]).collect();
        let messages: Vec<_> = texts.iter().map(|text| sealed(&mut left, text)).collect();
        let mut delivered = [false; 80];
        for at in order {
            match open(&mut right, &DEVICES, &messages[at]) {
                Outcome::Plaintext(text) => {
                    prop_assert!(!delivered[at]);
                    prop_assert_eq!(&text, &texts[at]);
                    delivered[at] = true;
                }
                Outcome::Dropped(DropReason::Replayed) => prop_assert!(delivered[at]),
                Outcome::Dropped(reason) => prop_assert_eq!(reason, DropReason::TooOld),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }

    #[test]
    fn any_bytes_are_dropped(mut bytes in proptest::collection::vec(any::<u8>(), 0..100), first in 0x80..=0xff_u8) {
        if let Some(place) = bytes.first_mut() {
            *place = first;
        }
        let (mut left, mut right) = pair();
        prop_assert!(matches!(open(&mut right, &DEVICES, &bytes), Outcome::Dropped(_)));
        prop_assert!(matches!(open(&mut left, &INTERNETS, &bytes), Outcome::Dropped(_)));
        let [_, mut server] = layers();
        prop_assert!(server.open(&mut bytes).is_err());
    }
}
