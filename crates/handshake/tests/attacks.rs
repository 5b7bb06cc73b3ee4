//! What a server must not tell, and bug patterns of other implementations that these machines have
//! to be immune to, each by its name.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::rc::Rc;

use common::{CLIENT, IDENTITY, Known, Net, PSK, SERVER, Setup, Shown, start, talk};
use hedgerow_core::{DropReason, Instant, PeerFault, Psk, SecureChannel, Writer};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_handshake::{Settings, Timers};
use hedgerow_record::{
    CipherSuite, ContentType, DTLS_1_2, DtlsRecord, EpochNumber, HandshakeType, RecordNumber,
    encode_record,
};
use hedgerow_sim::{Call, Fault, NodeId, Recorder, Tracing, World};

/// What an observer at the network and one inside the server's provider can see of a handshake.
#[derive(Debug, PartialEq)]
struct Observed {
    sent: Vec<(Instant, Vec<u8>)>,
    calls: Vec<Call>,
    ended: Instant,
}

fn observe(shown: Shown, known: Rc<Known>) -> Observed {
    let recorder = Recorder::new(SoftCrypto);
    let mut world: Net<_> = World::new(11);
    world.set_tracing(Tracing::Bytes);
    let mut setup = Setup::new(recorder.clone(), Settings::default());
    setup.client_provider = Recorder::new(SoftCrypto);
    setup.shown = shown;
    setup.known = known;
    let (_, server) = start(&mut world, setup);
    world.run_until_idle().unwrap();
    assert_eq!(
        world.node(server).error(),
        Some(PeerFault::AlertSent { description: 51 }.into())
    );
    Observed {
        sent: world
            .trace()
            .entries()
            .iter()
            .filter(|entry| entry.from == SERVER)
            .map(|entry| (entry.sent, entry.datagram.clone()))
            .collect(),
        calls: recorder.take_calls(),
        ended: world.now(),
    }
}

#[test]
fn wrong_key_unknown_identity_and_forbidden_policy_look_the_same() {
    let wrong_key = observe(
        Shown::new(IDENTITY, b"another 16 bytes"),
        Known::new(IDENTITY, PSK),
    );
    let unknown = observe(Shown::new(b"thermomeder", PSK), Known::new(IDENTITY, PSK));
    let forbidden = observe(
        Shown::new(IDENTITY, PSK),
        Rc::new(Known {
            identity: IDENTITY.to_vec(),
            psk: Psk::new(PSK).unwrap(),
            is_forbidden: true,
            is_permitted: true,
        }),
    );
    let not_permitted = observe(
        Shown::new(IDENTITY, PSK),
        Rc::new(Known {
            identity: IDENTITY.to_vec(),
            psk: Psk::new(PSK).unwrap(),
            is_forbidden: false,
            is_permitted: false,
        }),
    );
    // HelloVerifyRequest, ServerHello's flight, and the alert at the deadline.
    assert_eq!(wrong_key.sent.len(), 3);
    assert!(wrong_key.calls.len() > 30);
    assert!(
        wrong_key
            .calls
            .iter()
            .any(|call| matches!(call, Call::Open { .. }))
    );
    assert_eq!(wrong_key, unknown);
    assert_eq!(wrong_key, forbidden);
    assert_eq!(wrong_key, not_permitted);
}

/// Keys of any length up to 30 bytes look like the dummy's; for longer ones the store says how long
/// its keys are.
#[test]
fn length_of_a_known_key_does_not_show() {
    for len in [1, 16, 30, 31, 48, 64] {
        let key = vec![7; len];
        let wrong_key = observe(
            Shown::new(IDENTITY, b"another 16 bytes"),
            Known::new(IDENTITY, &key),
        );
        let unknown = observe(
            Shown::new(b"thermomeder", b"another 16 bytes"),
            Known::new(IDENTITY, &key),
        );
        assert_eq!(wrong_key, unknown, "key of {len} bytes");
    }
}

/// A suite without a ServerKeyExchange, so that the server's ServerHelloDone has message_seq 2.
fn plain_psk() -> Settings {
    Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM_8])
}

/// Where there is no ServerKeyExchange, both ends' Finished is their fourth message: behind two hellos
/// and ClientKeyExchange, behind HelloVerifyRequest, ServerHello and ServerHelloDone.
const SEQ_OF_FINISHED: u8 = 3;

/// Spoofed copies of the server's last message, half a second apart, make a client send its flight
/// again, but don't use up its own tries.
#[test]
fn spoofed_duplicates_do_not_end_a_handshake_early() {
    let mut world: Net<SoftCrypto> = World::new(1);
    let mut count = 0;
    world
        .direction(SERVER, CLIENT)
        .fault_each(Fault::Drop, move |_| {
            count += 1;
            (3..=6).contains(&count)
        });
    let (client, server) = start(&mut world, Setup::new(SoftCrypto, plain_psk()));
    let second = std::time::Duration::from_secs(1);
    world.run_for(second / 10).unwrap();
    let done = message(HandshakeType::ServerHelloDone, 2, &[]);
    for _ in 0..4 {
        world.run_for(second * 6 / 10).unwrap();
        world.send(SERVER, CLIENT, &plain(9, ContentType::Handshake, &done));
    }
    world.run_until_idle().unwrap();
    talk(&mut world, client, server);
}

/// Spoofed copies go on until the deadline: a client answers no more of them than it has tries.
#[test]
fn answers_to_spoofed_duplicates_are_bounded() {
    let mut world: Net<SoftCrypto> = World::new(1);
    let mut count = 0;
    world
        .direction(SERVER, CLIENT)
        .fault_each(Fault::Drop, move |datagram| {
            let is_spoofed = datagram[9] >= 3;
            count += u64::from(!is_spoofed);
            count > 2 && !is_spoofed
        });
    let _ends = start(&mut world, Setup::new(SoftCrypto, plain_psk()));
    world
        .run_for(std::time::Duration::from_millis(100))
        .unwrap();
    let before = world.account(CLIENT, SERVER).sent;
    let done = message(HandshakeType::ServerHelloDone, 2, &[]);
    for number in 0..100 {
        world
            .run_for(std::time::Duration::from_millis(600))
            .unwrap();
        world.send(
            SERVER,
            CLIENT,
            &plain(0x300 + number, ContentType::Handshake, &done),
        );
    }
    let flights = Timers::default().max_transmissions * 2;
    let sent = world.account(CLIENT, SERVER).sent - before;
    assert!(
        sent > u64::from(Timers::default().max_transmissions),
        "answers none"
    );
    assert!(sent <= u64::from(flights), "{sent} datagrams");
}

/// No honest message comes in clear once only ChangeCipherSpec is missing: a spoofed one ends
/// nothing.
#[test]
fn plain_message_before_change_cipher_spec_is_dropped() {
    for (from, to, nth) in [(CLIENT, SERVER, 3), (SERVER, CLIENT, 3)] {
        let mut world: Net<SoftCrypto> = World::new(1);
        // The flight's last datagram is lost, so that its receiver waits in that state, or loses
        // only what follows the key exchange.
        let mut count = 0;
        world.direction(from, to).rewrite(move |datagram| {
            count += 1;
            let is_hit = count == nth && from == CLIENT;
            if is_hit {
                let len = usize::from(u16::from_be_bytes([datagram[11], datagram[12]]));
                datagram.truncate(13 + len);
            }
            is_hit
        });
        if from == SERVER {
            world.direction(from, to).fault(2, Fault::Drop);
        }
        let (client, server) = start(&mut world, Setup::new(SoftCrypto, plain_psk()));
        world
            .run_for(std::time::Duration::from_millis(200))
            .unwrap();
        let forged = message(HandshakeType::Finished, SEQ_OF_FINISHED, &[0; 12]);
        world.send(from, to, &plain(77, ContentType::Handshake, &forged));
        world.run_until_idle().unwrap();
        talk(&mut world, client, server);
    }
}

fn established(seed: u64) -> (Net<SoftCrypto>, NodeId, NodeId) {
    let mut world: Net<SoftCrypto> = World::new(seed);
    let (client, server) = start(&mut world, Setup::new(SoftCrypto, Settings::default()));
    world.run_until_idle().unwrap();
    (world, client, server)
}

fn plain(number: u64, content_type: ContentType, fragment: &[u8]) -> Vec<u8> {
    let mut out = vec![0; fragment.len() + 13];
    let number = RecordNumber::new(EpochNumber(0), number).unwrap();
    encode_record(
        content_type,
        DTLS_1_2,
        number,
        fragment,
        &mut Writer::new(&mut out),
    )
    .unwrap();
    out
}

fn message(msg_type: HandshakeType, message_seq: u8, body: &[u8]) -> Vec<u8> {
    let len = u8::try_from(body.len()).unwrap();
    let mut bytes = vec![
        msg_type.into(),
        0,
        0,
        len,
        0,
        message_seq,
        0,
        0,
        0,
        0,
        0,
        len,
    ];
    bytes.extend(body);
    bytes
}

/// Plants datagrams that reach `to` in place of the client's or server's n-th one.
fn replace_nth(
    world: &mut Net<SoftCrypto>,
    (from, to): (hedgerow_sim::Address, hedgerow_sim::Address),
    nth: u32,
    mut replace: impl FnMut(&mut Vec<u8>) + 'static,
) {
    let mut count = 0;
    world.direction(from, to).rewrite(move |datagram| {
        count += 1;
        let is_hit = count == nth;
        if is_hit {
            replace(datagram);
        }
        is_hit
    });
}

/// CVE-2019-20786, CVE-2020-24585: data in clear, during the handshake and after it.
#[test]
fn application_data_of_epoch_0_is_never_delivered() {
    let (mut world, client, server) = established(1);
    for (from, to) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        world.send(from, to, &plain(99, ContentType::ApplicationData, b"clear"));
    }
    world.run_until_idle().unwrap();
    for node in [client, server] {
        assert!(world.node(node).seen().plaintexts.is_empty());
        assert_eq!(world.node(node).seen().drops, [DropReason::UnexpectedEpoch]);
    }

    let mut world: Net<SoftCrypto> = World::new(1);
    let (client, _) = start(&mut world, Setup::new(SoftCrypto, Settings::default()));
    world.send(
        SERVER,
        CLIENT,
        &plain(99, ContentType::ApplicationData, b"clear"),
    );
    world.run_until_idle().unwrap();
    assert!(world.node(client).seen().plaintexts.is_empty());
    assert_eq!(
        world.node(client).seen().drops,
        [DropReason::NotEstablished]
    );
}

/// CVE-2021-42141: a Finished in clear, before and after ChangeCipherSpec.
#[test]
fn finished_in_clear_completes_no_handshake() {
    for with_change_cipher_spec in [false, true] {
        for (from, to) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
            let mut world: Net<SoftCrypto> = World::new(1);
            replace_nth(&mut world, (from, to), 3, move |datagram| {
                // Keep what stands before ChangeCipherSpec, drop what follows.
                let mut end = 0;
                while datagram[end] != 20 {
                    let len =
                        usize::from(u16::from_be_bytes([datagram[end + 11], datagram[end + 12]]));
                    end += 13 + len;
                }
                datagram.truncate(if with_change_cipher_spec {
                    end + 14
                } else {
                    end
                });
                let finished = message(HandshakeType::Finished, SEQ_OF_FINISHED, &[0; 12]);
                datagram.extend(plain(50, ContentType::Handshake, &finished));
            });
            // Only the forged datagram goes that way: later ones are lost.
            let mut count = 0;
            world.direction(from, to).fault_each(Fault::Drop, move |_| {
                count += 1;
                count > 3
            });
            let (client, server) = start(&mut world, Setup::new(SoftCrypto, plain_psk()));
            let forged_end = if to == SERVER { server } else { client };
            // It neither completes the handshake nor ends it: verify data that are wrong would.
            let moment = std::time::Duration::from_millis(200);
            world.run_for(moment).unwrap();
            assert!(world.account(from, to).delivered >= 3);
            assert_eq!(world.node(forged_end).error(), None);
            world.run_until_idle().unwrap();
            assert!(!world.node(forged_end).is_established());
        }
    }
}

/// Finished before ChangeCipherSpec, under the right keys: the record has no epoch to belong to.
#[test]
fn finished_without_change_cipher_spec_completes_no_handshake() {
    for (from, to) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        let mut world: Net<SoftCrypto> = World::new(1);
        world.direction(from, to).rewrite(|datagram| {
            let mut kept = Vec::new();
            let mut rest: &mut [u8] = datagram;
            while let Ok((record, after)) = DtlsRecord::decode(rest) {
                if record.content_type != ContentType::ChangeCipherSpec {
                    let mut header = [0; 13];
                    header[0] = record.content_type.into();
                    header[1..3].copy_from_slice(&record.version.0.to_be_bytes());
                    header[3..11].copy_from_slice(&record.number.to_be_bytes());
                    let len = u16::try_from(record.fragment.len()).unwrap();
                    header[11..13].copy_from_slice(&len.to_be_bytes());
                    kept.extend(header);
                    kept.extend(&*record.fragment);
                }
                rest = after;
            }
            *datagram = kept;
            true
        });
        let (client, server) = start(&mut world, Setup::new(SoftCrypto, Settings::default()));
        world.run_until_idle().unwrap();
        let forged_end = if to == SERVER { server } else { client };
        assert!(!world.node(forged_end).is_established());
        assert!(
            world
                .node(forged_end)
                .seen()
                .drops
                .contains(&DropReason::UnexpectedEpoch)
        );
    }
}

/// CVE-2017-7243, "multiple ChangeCipherSpec": stray ones anywhere change nothing.
#[test]
fn stray_change_cipher_specs_change_nothing() {
    let mut world: Net<SoftCrypto> = World::new(1);
    for (from, to) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        world.direction(from, to).rewrite(|datagram| {
            let stray = plain(7, ContentType::ChangeCipherSpec, &[1]);
            let mut changed = stray.clone();
            if datagram[13] == HandshakeType::ClientHello.into() {
                // A server that keeps no state reads the hello at the front of the datagram.
                changed = datagram.clone();
                changed.extend(&stray);
            } else {
                changed.extend(&*datagram);
                changed.extend(&stray);
            }
            *datagram = changed;
            true
        });
    }
    let (client, server) = start(&mut world, Setup::new(SoftCrypto, Settings::default()));
    world.run_until_idle().unwrap();
    talk(&mut world, client, server);
}

/// "ServerHello flight restart", "unexpected ClientHello answered", "HelloVerifyRequest
/// retransmission": what comes twice is not answered twice.
#[test]
fn every_datagram_twice_changes_nothing() {
    let mut world: Net<SoftCrypto> = World::new(1);
    for (from, to) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        world
            .direction(from, to)
            .fault_each(Fault::Duplicate, |_| true);
    }
    let (client, server) = start(&mut world, Setup::new(SoftCrypto, Settings::default()));
    world.run_until_idle().unwrap();
    assert_eq!(world.node(client).seen().established, 1);
    assert_eq!(world.node(server).seen().established, 1);
    assert!(world.account(CLIENT, SERVER).sent <= 5);
    talk(&mut world, client, server);
}

/// The content type is authenticated: data can't be turned into a handshake message. What a peer
/// that has the keys gets for an attempt at renegotiation stands in `vectors.rs`.
#[test]
fn data_is_not_taken_for_a_handshake_message() {
    for from_client in [true, false] {
        let (mut world, client, server) = established(1);
        let (from, to, sender, receiver) = if from_client {
            (CLIENT, SERVER, client, server)
        } else {
            (SERVER, CLIENT, server, client)
        };
        let mut record = [0; 128];
        let len = world.act(sender, |end, _, _| {
            let bytes = message(HandshakeType::HelloRequest, 9, &[]);
            end.session().seal(&bytes, &mut record).unwrap()
        });
        record[0] = ContentType::Handshake.into();
        world.send(from, to, &record[..len]);
        world.run_until_idle().unwrap();
        assert_eq!(
            world.node(receiver).seen().drops.last(),
            Some(&DropReason::AuthenticationFailed)
        );
        talk(&mut world, client, server);
    }
}

/// An alert in clear ends nothing that is established.
#[test]
fn forged_alert_does_not_end_a_session() {
    let (mut world, client, server) = established(1);
    for (from, to) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        world.send(from, to, &plain(9, ContentType::Alert, &[2, 40]));
        world.send(from, to, &plain(10, ContentType::Alert, &[1, 0]));
    }
    world.run_until_idle().unwrap();
    assert_eq!(
        world.node(server).seen().drops,
        [DropReason::IgnoredAlert, DropReason::IgnoredAlert]
    );
    talk(&mut world, client, server);
}

/// Nor does it end a server's handshake: its sender is anybody.
#[test]
fn forged_alert_does_not_end_a_servers_handshake() {
    let mut world: Net<SoftCrypto> = World::new(1);
    let (client, server) = start(&mut world, Setup::new(SoftCrypto, Settings::default()));
    // After 30 ms the server waits for the client's key exchange.
    world.run_for(std::time::Duration::from_millis(35)).unwrap();
    assert!(!world.node(server).is_established());
    world.send(CLIENT, SERVER, &plain(9, ContentType::Alert, &[2, 40]));
    world.run_until_idle().unwrap();
    assert!(
        world
            .node(server)
            .seen()
            .drops
            .contains(&DropReason::IgnoredAlert)
    );
    talk(&mut world, client, server);
}

/// A server gives a handshake with a wrong key up at its deadline, with decrypt_error. By then the
/// client may have begun the next one from the same address, which is none of that alert's business:
/// no server has anything to decrypt before the client's Finished.
#[test]
fn late_refusal_of_the_handshake_before_does_not_end_the_next_one() {
    for after_ms in [5, 15, 25] {
        for description in [20, 51] {
            let mut world: Net<SoftCrypto> = World::new(1);
            let (client, server) = start(&mut world, Setup::new(SoftCrypto, Settings::default()));
            let after = std::time::Duration::from_millis(after_ms);
            world.run_for(after).unwrap();
            let alert = plain(9, ContentType::Alert, &[2, description]);
            world.send(SERVER, CLIENT, &alert);
            world.run_until_idle().unwrap();
            let drops = &world.node(client).seen().drops;
            assert_eq!(drops, &[DropReason::IgnoredAlert], "after {after_ms} ms");
            talk(&mut world, client, server);
        }
    }
}

/// "Invalid HelloVerifyRequest response": a cookie of another address, or none that was made here,
/// gets another HelloVerifyRequest and nothing else.
#[test]
fn cookie_that_was_not_made_here_gets_another_one() {
    let mut world: Net<SoftCrypto> = World::new(1);
    // The second ClientHello's cookie stands behind 13 + 12 + 2 + 32 + 1 bytes.
    replace_nth(&mut world, (CLIENT, SERVER), 2, |datagram| {
        assert_eq!(datagram[60], 16);
        datagram[70] ^= 1;
    });
    let (client, server) = start(&mut world, Setup::new(SoftCrypto, Settings::default()));
    world.run_until_idle().unwrap();
    // The client answers the second HelloVerifyRequest, whose message number is the next one.
    assert!(world.node(client).is_established());
    talk(&mut world, client, server);
}

/// RFC 6347 §4.2.1: a cookie proves one address. The same hello from another gets a cookie of its
/// own.
#[test]
fn cookie_of_another_address_proves_nothing() {
    use hedgerow_core::Env;
    use hedgerow_handshake::{Acceptance, Acceptor};

    let mut world: Net<SoftCrypto> = World::new(1);
    world.set_tracing(Tracing::Bytes);
    let (_, server) = start(&mut world, Setup::new(SoftCrypto, Settings::default()));
    world.run_until_idle().unwrap();
    let hello = world
        .trace()
        .entries()
        .iter()
        .filter(|entry| entry.from == CLIENT)
        .nth(1)
        .unwrap()
        .datagram
        .clone();
    world.act(server, |end, env, _| {
        let acceptor: &Acceptor<_> = &end.server().acceptor;
        let try_from = |env: &mut Env<'_>, address: &[u8]| {
            acceptor.handle_datagram(env, address, &mut hello.clone(), &mut [0; 64])
        };
        let own = try_from(env, CLIENT.as_bytes());
        assert!(matches!(own, Acceptance::Accept(_)));
        let others = try_from(env, b"elsewhere");
        assert!(matches!(others, Acceptance::Answer(44)));
    });
}

/// A second ClientHello may not change what the first one offered (RFC 6347 §4.2.1). Changed once,
/// it only costs a round trip; changed each time in the same way, the transcripts differ.
#[test]
fn second_hello_with_another_offer_is_not_accepted() {
    for times in [1, u32::MAX] {
        let mut world: Net<SoftCrypto> = World::new(1);
        let mut changed = 0;
        world.direction(CLIENT, SERVER).rewrite(move |datagram| {
            let is_hit = datagram[13] == 1 && datagram[60] == 16 && changed < times;
            if is_hit {
                changed += 1;
                // The first suite, behind the cookie and the list's length.
                datagram[80] ^= 1;
            }
            is_hit
        });
        let (client, server) = start(&mut world, Setup::new(SoftCrypto, Settings::default()));
        world.run_until_idle().unwrap();
        assert_eq!(world.node(client).is_established(), times == 1);
        assert_eq!(world.node(server).is_established(), times == 1);
    }
}

/// "Continue after fatal alert": a client that broke off answers nothing any more.
#[test]
fn client_takes_no_extension_that_it_did_not_offer() {
    let mut world: Net<SoftCrypto> = World::new(1);
    world.direction(SERVER, CLIENT).rewrite(|datagram| {
        let at = datagram
            .windows(4)
            .position(|window| window == [0, 0x17, 0, 0]);
        if let Some(at) = at {
            datagram[at + 1] = 0x23;
        }
        at.is_some()
    });
    let (client, _) = start(&mut world, Setup::new(SoftCrypto, Settings::default()));
    world.run_until_idle().unwrap();
    assert_eq!(
        world.node(client).error(),
        Some(PeerFault::AlertSent { description: 110 }.into())
    );
    // Two hellos and the alert.
    assert_eq!(world.account(CLIENT, SERVER).sent, 3);
}

/// An attacker who reflects a client's own records gets nothing from it.
#[test]
fn reflected_record_is_dropped() {
    let (mut world, client, _) = established(1);
    let mut record = [0; 100];
    let len = world.act(client, |end, _, _| {
        end.session().seal(b"mine", &mut record).unwrap()
    });
    world.send(SERVER, CLIENT, &record[..len]);
    world.run_until_idle().unwrap();
    assert_eq!(
        world.node(client).seen().drops,
        [DropReason::AuthenticationFailed]
    );
}
