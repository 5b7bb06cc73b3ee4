//! The inner handshake: what it establishes, and what an active gateway can't make of it.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod ends;

use ends::{
    DEVICES, IDENTITY, INTERNETS, KEY, Outcome, Store, end_to_end, established, initiator, open,
    pair_of, plain, respond, respond_with, sealed, store, with_env,
};
use hedgerow_core::{Credentials, DropReason, KeyPurpose, Misuse, NamedGroup, Peer, PeerId, Psk};
use hedgerow_crypto_soft::{SoftAead, SoftCrypto};
use hedgerow_itls::{
    End, Envelope, Initiator, InitiatorKey, InitiatorStep, MAX_HANDSHAKE_FAILURES,
    MAX_INITIATOR_HELLO_LEN, MAX_RESPONDER_HELLO_LEN, OuterBinding, Responder, ResponderStep,
    Resumption, Settings, Suite,
};
use hedgerow_sim::{Ledger, NonceLedger, Recorder};
use proptest::prelude::*;

fn talk(left: &mut Envelope<SoftAead>, right: &mut Envelope<SoftAead>) {
    for text in [&b""[..], b"x", &[7; 1000]] {
        let there = sealed(left, text);
        assert_eq!(
            open(right, &DEVICES, &there),
            Outcome::Plaintext(text.to_vec())
        );
        let back = sealed(right, text);
        assert_eq!(
            open(left, &INTERNETS, &back),
            Outcome::Plaintext(text.to_vec())
        );
    }
}

#[test]
fn either_end_begins_in_every_group_and_suite() {
    let groups = [None, Some(NamedGroup::X25519), Some(NamedGroup::Secp256r1)];
    for (first, second) in [(End::Internet, End::Device), (End::Device, End::Internet)] {
        for group in groups {
            for suite in Suite::ALL {
                let of = |end| match group {
                    None => plain(end),
                    Some(group) => Settings::new(end).with_group(group),
                };
                let (mine, theirs) = (of(first).with_only_suite(suite), of(second));
                let (mut left, mut right) = pair_of(mine, theirs);
                assert_eq!((left.suite(), right.suite()), (suite, suite));
                assert_eq!(left.has_forward_secrecy(), group.is_some());
                assert_eq!(right.has_forward_secrecy(), group.is_some());
                assert_eq!(left.peer(), Peer::EndToEndPsk(PeerId(2)));
                assert_eq!(right.peer(), Peer::EndToEndPsk(PeerId(1)));
                assert_eq!(left.session_id(), right.session_id());
                talk(&mut left, &mut right);
            }
        }
    }
}

#[test]
fn responder_takes_its_own_first_suite() {
    let preferring = Settings::new(End::Device).with_preferred_suite(Suite::Aes128Ccm);
    let (left, right) = pair_of(Settings::new(End::Internet), preferring);
    assert_eq!(
        (left.suite(), right.suite()),
        (Suite::Aes128Ccm, Suite::Aes128Ccm)
    );
    let (left, _) = pair_of(Settings::new(End::Internet), Settings::new(End::Device));
    assert_eq!(left.suite(), Suite::Aes128Ccm8);
}

/// The sizes that docs/specs/itls.md states.
#[test]
fn hellos_have_the_stated_lengths() {
    for (settings, first, second) in [
        (Settings::new(End::Internet), 131, 119),
        (
            Settings::new(End::Internet).with_group(NamedGroup::Secp256r1),
            164,
            152,
        ),
        (plain(End::Internet), 99, 87),
    ] {
        let initiator = initiator(settings, 1);
        assert_eq!(initiator.hello().len(), first);
        let half_open = respond(plain(End::Device), initiator.hello(), 2).unwrap();
        assert_eq!(half_open.answer().len(), second);
        assert!(first <= MAX_INITIATOR_HELLO_LEN && second <= MAX_RESPONDER_HELLO_LEN);
    }
}

#[test]
fn without_forward_secrecy_both_ends_have_to_say_so() {
    let asking = initiator(plain(End::Internet), 1);
    let refused = respond(Settings::new(End::Device), asking.hello(), 2);
    assert_eq!(refused.err(), Some(DropReason::NotAcceptable));
    // A responder that does without takes a group all the same.
    let (left, _) = pair_of(Settings::new(End::Internet), plain(End::Device));
    assert!(left.has_forward_secrecy());
}

#[test]
fn keys_of_a_hop_and_long_identities_are_refused_before_anything_is_sent() {
    let hop = Psk::new(&KEY).unwrap();
    let good = end_to_end(&KEY);
    let begin = |psk_identity, psk| {
        let peer = PeerId(2);
        let credentials = Credentials {
            psk_identity,
            psk,
            peer,
        };
        let key = InitiatorKey::EndToEnd(credentials);
        let settings = Settings::new(End::Internet);
        with_env(1, |env| {
            Initiator::new(SoftCrypto, settings, key, INTERNETS, env)
        })
        .err()
    };
    let (given, wanted) = (KeyPurpose::Hop, KeyPurpose::EndToEnd);
    assert_eq!(
        begin(IDENTITY, &hop),
        Some(Misuse::KeyPurpose { given, wanted })
    );
    let too_long = Misuse::PskIdentityLength { len: 129, max: 128 };
    assert_eq!(begin(&[b'a'; 129], &good), Some(too_long));
    assert_eq!(begin(&[b'a'; 128], &good), None);
}

/// Unknown identity, wrong key, and a hop's key such as a gateway's for `terminate`: the same calls of
/// the provider, the same reason, no answer.
#[test]
fn what_a_responder_refuses_looks_the_same() {
    let hello = initiator(Settings::new(End::Internet), 1).hello().to_vec();
    let recorder = Recorder::new(SoftCrypto);
    let responder = Responder::new(recorder.clone(), Settings::new(End::Device));
    let ask = |store: Store| {
        recorder.take_calls();
        let answer = with_env(2, |env| {
            responder.handle_hello(env, &store, &[], DEVICES, &hello)
        });
        (answer.err(), recorder.take_calls())
    };
    let unknown = ask((b"another", end_to_end(&KEY), PeerId(1)));
    let wrong = ask((IDENTITY, end_to_end(&[1; 16]), PeerId(1)));
    let hop = ask((IDENTITY, Psk::new(&KEY).unwrap(), PeerId(1)));
    assert_eq!(unknown.0, Some(DropReason::AuthenticationFailed));
    assert_eq!(unknown, wrong);
    assert_eq!(unknown, hop);
    let (known, calls) = ask(store());
    assert_eq!(known, None);
    assert!(calls.len() > unknown.1.len());
}

#[test]
fn no_bit_of_an_initiator_hello_can_be_flipped() {
    let hello = initiator(Settings::new(End::Internet), 1).hello().to_vec();
    for bit in 0..hello.len() * 8 {
        let mut flipped = hello.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(
            respond(plain(End::Device), &flipped, 2).is_err(),
            "bit {bit}"
        );
    }
    for len in 0..hello.len() {
        assert!(
            respond(plain(End::Device), &hello[..len], 2).is_err(),
            "length {len}"
        );
    }
}

#[test]
fn no_bit_of_a_responder_hello_can_be_flipped() {
    for settings in [plain(End::Internet), Settings::new(End::Internet)] {
        let first = initiator(settings, 1);
        let answer = respond(plain(End::Device), first.hello(), 2).unwrap();
        let answer = answer.answer().to_vec();
        for bit in 0..answer.len() * 8 {
            let mut flipped = answer.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let step = initiator(settings, 1).handle_message(&INTERNETS, &flipped);
            assert!(matches!(step, InitiatorStep::Waiting(..)), "bit {bit}");
        }
        // The same initiator still takes the true one.
        let InitiatorStep::Waiting(first, _) = first.handle_message(&INTERNETS, &answer[1..])
        else {
            panic!("not waiting");
        };
        established(first.handle_message(&INTERNETS, &answer));
    }
}

#[test]
fn forged_answers_end_the_attempt_after_a_number() {
    let mut waiting = initiator(Settings::new(End::Internet), 1);
    let mut forged = respond(plain(End::Device), waiting.hello(), 2)
        .unwrap()
        .answer()
        .to_vec();
    forged[10] ^= 1;
    for _ in 1..MAX_HANDSHAKE_FAILURES {
        let InitiatorStep::Waiting(next, reason) = waiting.handle_message(&INTERNETS, &forged)
        else {
            panic!("not waiting");
        };
        assert_eq!(reason, DropReason::AuthenticationFailed);
        waiting = next;
    }
    let end = waiting.handle_message(&INTERNETS, &forged);
    assert!(matches!(
        end,
        InitiatorStep::GivenUp(DropReason::AuthenticationFailed)
    ));
}

/// A gateway leads what an end sent back to it, as a hello and as an answer.
#[test]
fn nothing_is_led_back_to_its_sender() {
    let device = initiator(Settings::new(End::Device), 1);
    // Even where the key was stored in both roles against the rule.
    let led_back = respond(Settings::new(End::Device), device.hello(), 2);
    assert_eq!(led_back.err(), Some(DropReason::Reflected));
    let own = device.hello().to_vec();
    let InitiatorStep::Waiting(device, reason) = device.handle_message(&INTERNETS, &own) else {
        panic!("not waiting");
    };
    assert_eq!(reason, DropReason::UnexpectedMessage);
    // An end octet that the gateway rewrites breaks the MAC.
    let mut rewritten = own;
    rewritten[2] = 1;
    let answer = respond(Settings::new(End::Device), &rewritten, 2);
    assert_eq!(answer.err(), Some(DropReason::AuthenticationFailed));
    drop(device);

    let (mut left, mut right) = pair_of(plain(End::Internet), plain(End::Device));
    let message = sealed(&mut left, b"text");
    let failed = Outcome::Dropped(DropReason::AuthenticationFailed);
    assert_eq!(open(&mut left, &INTERNETS, &message), failed);
    // The responder has seen the initiator's number 0, and its own next one is 1.
    sealed(&mut right, b"text");
    let message = sealed(&mut right, b"text");
    assert_eq!(open(&mut right, &DEVICES, &message), failed);
}

#[test]
fn answer_to_another_hello_establishes_nothing() {
    let (first, second) = (
        initiator(Settings::new(End::Internet), 1),
        initiator(Settings::new(End::Internet), 3),
    );
    let answer = respond(plain(End::Device), first.hello(), 2).unwrap();
    let step = second.handle_message(&INTERNETS, answer.answer());
    assert!(matches!(
        step,
        InitiatorStep::Waiting(_, DropReason::AuthenticationFailed)
    ));
}

/// Each end's binding is in the transcript: replaced in a hello, or left and the message carried over
/// another outer session.
#[test]
fn outer_bindings_are_the_hellos_own() {
    let other = OuterBinding::new([0x33; 32]);
    let waiting = initiator(plain(End::Internet), 1);
    let half_open = respond(plain(End::Device), waiting.hello(), 2).unwrap();
    let answer = half_open.answer().to_vec();
    let InitiatorStep::Waiting(waiting, reason) = waiting.handle_message(&other, &answer) else {
        panic!("established over another outer session");
    };
    assert_eq!(reason, DropReason::BindingMismatch);
    let mut envelope = established(waiting.handle_message(&INTERNETS, &answer));
    let first = sealed(&mut envelope, b"first");
    let mut copy = first.clone();
    let step = half_open.handle_message(&other, &mut copy);
    let ResponderStep::Waiting(half_open, DropReason::BindingMismatch) = step else {
        panic!("confirmed over another outer session");
    };
    let mut copy = first.clone();
    let step = half_open.handle_message(&DEVICES, &mut copy);
    let ResponderStep::Established(mut right, Ok(_)) = step else {
        panic!("not confirmed");
    };
    let next = sealed(&mut envelope, b"next");
    let dropped = Outcome::Dropped(DropReason::BindingMismatch);
    assert_eq!(open(&mut right, &other, &next), dropped);
    assert_eq!(right.forgeries(), 0);
    assert_eq!(
        open(&mut right, &DEVICES, &next),
        Outcome::Plaintext(b"next".to_vec())
    );
}

#[test]
fn half_open_session_delivers_nothing_that_does_not_verify_and_gives_up() {
    let waiting = initiator(plain(End::Internet), 1);
    let mut half_open = respond(plain(End::Device), waiting.hello(), 2).unwrap();
    let mut envelope = established(waiting.handle_message(&INTERNETS, half_open.answer()));
    let first = sealed(&mut envelope, b"first");
    // Its own hello and noise don't count.
    for mut noise in [
        half_open.answer().to_vec(),
        vec![],
        vec![0x81],
        vec![0xff; 40],
    ] {
        let step = half_open.handle_message(&DEVICES, &mut noise);
        let ResponderStep::Waiting(next, DropReason::Malformed) = step else {
            panic!("{step:?}");
        };
        half_open = next;
    }
    for failure in 1..=MAX_HANDSHAKE_FAILURES {
        let mut forged = first.clone();
        forged[3] ^= 1;
        match half_open.handle_message(&DEVICES, &mut forged) {
            ResponderStep::Waiting(next, DropReason::AuthenticationFailed) => half_open = next,
            ResponderStep::GivenUp(_) => {
                assert_eq!(failure, MAX_HANDSHAKE_FAILURES);
                return;
            }
            step => panic!("{step:?}"),
        }
    }
    panic!("never gave up");
}

#[test]
fn first_message_that_arrives_confirms_whichever_it_is() {
    let waiting = initiator(plain(End::Internet), 1);
    let half_open = respond(plain(End::Device), waiting.hello(), 2).unwrap();
    let mut envelope = established(waiting.handle_message(&INTERNETS, half_open.answer()));
    let first = sealed(&mut envelope, b"late");
    let mut second = sealed(&mut envelope, b"early");
    let step = half_open.handle_message(&DEVICES, &mut second);
    let ResponderStep::Established(mut right, Ok(_)) = step else {
        panic!("not confirmed");
    };
    assert_eq!(
        open(&mut right, &DEVICES, &first),
        Outcome::Plaintext(b"late".to_vec())
    );
}

#[test]
fn repeated_hello_is_known_and_a_new_one_isnt() {
    let hello = initiator(plain(End::Internet), 1).hello().to_vec();
    let other = initiator(plain(End::Internet), 5).hello().to_vec();
    let responder = Responder::new(SoftCrypto, plain(End::Device));
    let half_open = respond(plain(End::Device), &hello, 2).unwrap();
    assert!(responder.is_answered_by(&half_open, &hello));
    assert!(!responder.is_answered_by(&half_open, &other));
    // Answered anew, the same hello makes another session.
    let again = respond(plain(End::Device), &hello, 3).unwrap();
    assert_ne!(half_open.answer(), again.answer());
}

/// Both ends have a new outer session in turn, and resume from their side.
#[test]
fn session_is_resumed_from_either_side_with_new_keys() {
    let (left, right) = pair_of(Settings::new(End::Internet), Settings::new(End::Device));
    let anew = OuterBinding::new([0x44; 32]);
    let resume = |from: &Envelope<SoftAead>, to: &Envelope<SoftAead>, end, far_end| {
        let key = InitiatorKey::Session(from.resumption());
        let initiator = with_env(7, |env| {
            Initiator::new(SoftCrypto, Settings::new(end), key, anew, env).unwrap()
        });
        assert_eq!(initiator.hello().len(), 99, "no key agreement");
        let responder = Responder::new(SoftCrypto, Settings::new(far_end));
        let sessions = [to.resumption()];
        let half_open = with_env(8, |env| {
            responder.handle_hello(env, &store(), &sessions, DEVICES, initiator.hello())
        });
        let half_open = half_open?;
        let envelope = established(initiator.handle_message(&anew, half_open.answer()));
        assert_eq!(envelope.peer(), from.peer());
        assert!(envelope.has_forward_secrecy());
        Ok::<_, DropReason>((envelope.session_id(), half_open))
    };
    let (one, _) = resume(&left, &right, End::Internet, End::Device).unwrap();
    let (other, _) = resume(&right, &left, End::Device, End::Internet).unwrap();
    assert!(one != other && one != left.session_id() && other != left.session_id());
    // Its own secret isn't one that an end accepts, whatever the hello says of ends.
    let failed = Some(DropReason::AuthenticationFailed);
    assert_eq!(
        resume(&left, &left, End::Internet, End::Device).err(),
        failed
    );
    // Nor is another session's.
    let (_, stranger) = pair_of(plain(End::Internet), plain(End::Device));
    assert_eq!(
        resume(&left, &stranger, End::Internet, End::Device).err(),
        failed
    );
}

/// A session that isn't known, and one by that ID with other secrets.
#[test]
fn what_cannot_be_resumed_looks_the_same() {
    let (left, _) = pair_of(Settings::new(End::Internet), Settings::new(End::Device));
    let key = InitiatorKey::Session(left.resumption());
    let settings = Settings::new(End::Internet);
    let initiator = with_env(7, |env| {
        Initiator::new(SoftCrypto, settings, key, INTERNETS, env).unwrap()
    });
    let recorder = Recorder::new(SoftCrypto);
    let responder = Responder::new(recorder.clone(), Settings::new(End::Device));
    let ask = |sessions: &[&Resumption]| {
        recorder.take_calls();
        let hello = initiator.hello();
        let answer = with_env(8, |env| {
            responder.handle_hello(env, &store(), sessions, DEVICES, hello)
        });
        (answer.err(), recorder.take_calls())
    };
    let unknown = ask(&[]);
    assert_eq!(unknown.0, Some(DropReason::AuthenticationFailed));
    // Its own side's secret is the wrong one.
    assert_eq!(ask(&[left.resumption()]), unknown);
}

#[test]
fn session_without_forward_secrecy_is_not_resumed_where_it_is_required() {
    let (left, right) = pair_of(plain(End::Internet), plain(End::Device));
    let begin = |settings| {
        let key = InitiatorKey::Session(left.resumption());
        with_env(7, |env| {
            Initiator::new(SoftCrypto, settings, key, INTERNETS, env)
        })
    };
    let refused = begin(Settings::new(End::Internet));
    assert_eq!(refused.err(), Some(Misuse::NotOffered));
    let initiator = begin(plain(End::Internet)).unwrap();
    let ask = |settings| {
        let responder = Responder::new(SoftCrypto, settings);
        let sessions = [right.resumption()];
        with_env(8, |env| {
            responder.handle_hello(env, &store(), &sessions, DEVICES, initiator.hello())
        })
        .err()
    };
    assert_eq!(
        ask(Settings::new(End::Device)),
        Some(DropReason::AuthenticationFailed)
    );
    assert_eq!(ask(plain(End::Device)), None);
}

#[test]
fn no_nonce_seals_twice() {
    let ledger = Ledger::new(0);
    let provider = NonceLedger::new(SoftCrypto, &ledger, "end");
    for seed in 0..5 {
        let psk = end_to_end(&KEY);
        let credentials = Credentials {
            psk_identity: IDENTITY,
            psk: &psk,
            peer: PeerId(2),
        };
        let key = InitiatorKey::EndToEnd(credentials);
        let settings = plain(End::Internet);
        let initiator = with_env(seed, |env| {
            Initiator::new(provider.clone(), settings, key, INTERNETS, env).unwrap()
        });
        let half_open =
            respond_with(&provider, plain(End::Device), initiator.hello(), 100 + seed).unwrap();
        let mut left = established(initiator.handle_message(&INTERNETS, half_open.answer()));
        let mut out = [0; 64];
        let len = left.seal(b"first", &mut out).unwrap();
        let step = half_open.handle_message(&DEVICES, &mut out[..len]);
        let ResponderStep::Established(mut right, Ok(_)) = step else {
            panic!("not confirmed");
        };
        for _ in 0..300 {
            left.seal(b"there", &mut out).unwrap();
            right.seal(b"back", &mut out).unwrap();
        }
        left.close(&mut out).unwrap();
        right.close(&mut out).unwrap();
    }
    assert_eq!(ledger.seals(), 5 * 603);
    assert_eq!(ledger.keys(), 10);
}

#[test]
fn nothing_prints_a_key() {
    let (left, _) = pair_of(plain(End::Internet), plain(End::Device));
    let waiting = initiator(plain(End::Internet), 1);
    let printed = format!("{left:?} {waiting:?} {INTERNETS:?} {:?}", left.resumption());
    assert!(!printed.contains("165, 165"), "{printed}");
    assert!(!printed.contains("17, 17"), "{printed}");
    assert!(printed.contains("OuterBinding(..)"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_dropped(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0..4_u8) {
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        if let Some(version) = bytes.get_mut(1) {
            *version = 1;
        }
        prop_assert!(respond(plain(End::Device), &bytes, 2).is_err());
        let step = initiator(plain(End::Internet), 1).handle_message(&INTERNETS, &bytes);
        prop_assert!(matches!(step, InitiatorStep::Waiting(..)));
    }
}
