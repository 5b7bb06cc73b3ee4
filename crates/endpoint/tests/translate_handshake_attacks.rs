//! An active gateway in mode `translate` that changes the handshake: those cells of the table of
//! docs/specs/translate.md. The gateway has a `terminate` key for the same device in all of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "common/attacked.rs"]
mod attacked;
#[path = "common/carried.rs"]
mod carried;
mod common;
#[path = "common/records.rs"]
mod records;
#[path = "common/translated.rs"]
mod translated;

use std::sync::Arc;
use std::time::Duration;

use attacked::{
    CCM_8, SECOND, ask, attack, flipped_bits_of_the_handshake_establish_nothing_wrong, net,
    nothing_wrong,
};
use carried::{DEVICE, GATEWAY, TERMINATE, Way};
use common::{CLIENT, Host, IDENTITY, Known, PSK, SERVER, Shown};
use hedgerow_coap::Code;
use hedgerow_core::{ChannelError, DropReason, Env, KeyPurpose, Peer, PeerFault, PeerId};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{Config, Endpoint, SecurityPolicy, TranslateError};
use hedgerow_record::TranslateForm;
use hedgerow_sim::{TestRng, World};
use records::{ALERTS, in_clear, is_protected_in_stream};
use translated::Between;

fn between() -> Between {
    Between::new(TranslateForm::Short, "a", "a")
}

/// The preface's answer goes through it too. In the long form all is as on the UDP leg, so that every third byte does.
#[test]
fn flipped_bit_of_the_handshake_in_clear_establishes_nothing_wrong() {
    for (form, step) in [(TranslateForm::Short, 1), (TranslateForm::Long, 3)] {
        let net = || net(Between::new(form, "a", "a"));
        flipped_bits_of_the_handshake_establish_nothing_wrong(net, is_protected_in_stream, step);
    }
}

/// Gives each record in clear another sequence number.
fn renumber(bytes: &mut [u8], next: &mut impl FnMut(u64) -> u64) {
    let mut at = 0;
    while let Some(header) = bytes.get_mut(at..at + 13) {
        let len = u16::from_be_bytes([header[11], header[12]]) & 0x7fff;
        if header[3..5] == [0, 0] {
            let mut number = [0; 8];
            number[2..].copy_from_slice(&header[5..11]);
            let number = next(u64::from_be_bytes(number)).to_be_bytes();
            header[5..11].copy_from_slice(&number[2..]);
        }
        at += 13 + usize::from(len);
    }
}

/// No computation takes the numbers of epoch 0 in, and our ends keep no window for it.
#[test]
fn changed_numbers_in_clear_change_nothing() {
    for (form, way) in [
        // In the short form a number in clear isn't carried to the Internet end.
        (TranslateForm::Short, Way::ToDevice),
        (TranslateForm::Long, Way::ToDevice),
        (TranslateForm::Long, Way::ToInternetEnd),
    ] {
        for is_same in [false, true] {
            let (mut world, trio) = net(Between::new(form, "a", "a"));
            let changed = Arc::new(std::sync::Mutex::new(0));
            let count = Arc::clone(&changed);
            attack(&mut world, trio, move |this, mut bytes| {
                if this == way && !bytes.starts_with(b"HGTR") {
                    renumber(&mut bytes, &mut |number| {
                        *count.lock().unwrap() += 1;
                        match is_same {
                            true => 1_000,
                            false => 1_000 + 7 * number,
                        }
                    });
                }
                vec![bytes]
            });
            ask(&mut world, trio, b"2");
            world.run_for(120 * SECOND).unwrap();
            assert!(*changed.lock().unwrap() >= 3, "{form:?} {way:?}");
            nothing_wrong(&world, trio, b"2", 2);
            assert_eq!(trio.client(&world).responses.len(), 1);
            for end in [trio.client(&world), trio.device(&world)] {
                assert_eq!(end.established.len(), 1, "{form:?} {way:?}");
                assert_eq!(end.drops, [], "{form:?} {way:?}");
            }
        }
    }
}

#[test]
fn weaker_offer_is_found_out_by_both_ends() {
    attacked::weaker_offer_is_found_out_by_both_ends(between);
}

/// A record in clear as the short form has it: without its number.
fn in_short_form(record: &[u8]) -> Vec<u8> {
    [&record[..3], &record[11..]].concat()
}

#[test]
fn alert_in_clear_ends_a_handshake_at_most() {
    for datagram in ALERTS.map(in_clear) {
        let alert = in_short_form(&datagram);
        let (mut world, trio) = net(between());
        ask(&mut world, trio, b"2");
        world.run_for(Duration::from_millis(40)).unwrap();
        assert!(trio.between(&world).is_accepted);
        trio.act(&mut world, |between, now| between.inject(now, &alert));
        world.run_for(Duration::from_millis(20)).unwrap();
        assert_eq!(trio.client(&world).established, []);
        assert_eq!(trio.client(&world).closed, 0);
        let received = PeerFault::AlertReceived {
            description: datagram[14],
            authenticated: false,
        };
        assert_eq!(trio.client(&world).failed, [received.into()]);

        let (mut world, trio) = attacked::session(between());
        trio.act(&mut world, |between, now| between.inject(now, &alert));
        world.send(GATEWAY, DEVICE, &datagram);
        world.run_for(SECOND).unwrap();
        for end in [trio.client(&world), trio.device(&world)] {
            assert_eq!(end.drops, [DropReason::IgnoredAlert]);
        }
        ask(&mut world, trio, b"2");
        world.run_for(3 * SECOND).unwrap();
        nothing_wrong(&world, trio, b"2", 2);
        assert_eq!(
            trio.client(&world).responses.len(),
            2,
            "the session goes on"
        );
    }
}

#[test]
fn alert_in_clear_leaves_the_devices_handshake_alone() {
    attacked::alert_in_clear_leaves_the_devices_handshake_alone(between);
}

/// The gateway calls the device itself, by its key for `terminate`: the device serves it for what it is, and a device
/// that is there for two ends alone doesn't.
#[test]
fn gateway_is_known_to_the_device_as_a_hop_or_not_at_all() {
    for (shown, is_for_ends_alone, established) in [
        (
            Shown::new(b"terminate", TERMINATE),
            false,
            Some(Peer::Psk(PeerId(0))),
        ),
        (Shown::new(b"terminate", TERMINATE), true, None),
        (Shown::new(IDENTITY, TERMINATE), false, None),
        (Shown::new(IDENTITY, TERMINATE), true, None),
        // What the other end would be known as.
        (
            Shown::new(IDENTITY, PSK),
            true,
            Some(Peer::EndToEndPsk(PeerId(1))),
        ),
    ] {
        let mut world: World<Host<SoftCrypto>> = World::new(13);
        let mut rng = TestRng::stream(13, 77);
        let env = &mut Env::new(world.now(), &mut rng);
        let policy = match is_for_ends_alone {
            true => SecurityPolicy::default().with_clients_for(KeyPurpose::EndToEnd),
            false => SecurityPolicy::default(),
        };
        let at_device = Config {
            security: Arc::new(policy),
            ..carried::defaults(CCM_8)
        };
        let known = Known::with_end_to_end(&[(b"terminate", TERMINATE)], &[(IDENTITY, PSK)]);
        let provider = world.provider(SoftCrypto, "device");
        let server = Endpoint::server(provider.clone(), known, at_device, env);
        let device = world.add(Host::new(SERVER, provider, server), &[SERVER]);
        let provider = world.provider(SoftCrypto, "gateway");
        let caller = Endpoint::client(provider.clone(), Known::new(&[]), carried::defaults(CCM_8));
        let gateway = world.add(Host::new(CLIENT, provider, caller), &[CLIENT]);
        world.act(gateway, |host, env, out| {
            host.ask(env, out, &shown, Code::GET, b"2")
        });
        world.run_for(120 * SECOND).unwrap();
        let (gateway, device) = (world.node(gateway), world.node(device));
        assert_eq!(device.established, Vec::from_iter(established));
        assert_eq!(device.handled.len(), usize::from(established.is_some()));
        assert_eq!(gateway.responses.len(), usize::from(established.is_some()));
        if established.is_none() {
            let refused = ChannelError::Peer(PeerFault::CredentialsRefused);
            assert_eq!(gateway.failed, [refused]);
        }
    }
}

/// A device whose nonces are no record numbers, as OpenSSL's GCM has them, in the short form: the gateway
/// can't carry its Finished and says so, and the end names what is wrong.
#[test]
fn device_with_other_nonces_is_named_as_such() {
    let (mut world, trio) = net(between());
    world.direction(DEVICE, GATEWAY).rewrite(|datagram| {
        let protected = datagram.windows(4).position(|at| at == [0xfe, 0xfd, 0, 1]);
        if let Some(at) = protected {
            datagram[at + 12..at + 20].copy_from_slice(&[0xa5; 8]);
        }
        protected.is_some()
    });
    ask(&mut world, trio, b"2");
    world.run_for(10 * SECOND).unwrap();
    let between = trio.between(&world);
    assert_eq!(between.failed, Some(TranslateError::NonceNotRecordNumber));
    assert!(
        between
            .dropped_by_gateway
            .contains(&DropReason::NonceNotRecordNumber)
    );
    assert_eq!(trio.client(&world).established, []);
}
