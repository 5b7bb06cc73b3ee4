//! Whole handshakes over a simulated network: each suite, each loss, each failure.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::time::Duration;

use common::{CLIENT, IDENTITY, Known, Net, PSK, SERVER, Setup, Shown, peer, start, talk};
use hedgerow_core::{ChannelError, DropReason, Peer, PeerFault, PeerId, SecureChannel};
use hedgerow_crypto_soft::{SoftAead, SoftCrypto};
use hedgerow_handshake::{DEFAULT_SUITES, ExtendedMasterSecret, Session, Settings, Timers};
use hedgerow_record::CipherSuite;
use hedgerow_sim::{Conditions, Fault, World, for_each_seed};

fn settings(suite: CipherSuite) -> Settings {
    Settings::new(&[suite])
}

#[test]
fn every_suite_is_negotiated_and_data_goes_both_ways() {
    for suite in DEFAULT_SUITES {
        let mut world: Net<SoftCrypto> = World::new(1);
        let (client, server) = start(&mut world, Setup::new(SoftCrypto, settings(suite)));
        world.run_until_idle().unwrap();
        for node in [client, server] {
            world.act(node, |end, _, _| assert_eq!(end.session().suite(), suite));
        }
        assert_eq!(peer(&mut world, client), Peer::Psk(PeerId(2)));
        assert_eq!(peer(&mut world, server), Peer::Psk(PeerId(1)));
        talk(&mut world, client, server);
    }
}

#[test]
fn server_chooses_by_its_own_order() {
    let mut world: Net<SoftCrypto> = World::new(1);
    let mut setup = Setup::new(SoftCrypto, Settings::default());
    setup.client = Settings::new(&[
        CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
        CipherSuite::TLS_PSK_WITH_AES_128_CCM,
    ]);
    let (client, _) = start(&mut world, setup);
    world.run_until_idle().unwrap();
    world.act(client, |end, _, _| {
        assert_eq!(end.session().suite(), CipherSuite::TLS_PSK_WITH_AES_128_CCM);
    });
}

/// The sum of `protocols`' formula for TLS_PSK_WITH_AES_128_CCM_8 without extensions, plus SCSV and
/// extended master secret in each ClientHello (2 + 6), plus renegotiation_info and extended master
/// secret in the ServerHello (2 for the block's length, 5, 4).
#[test]
fn bytes_on_the_wire_are_the_sum_of_their_fields() {
    let mut world: Net<SoftCrypto> = World::new(1);
    let suite = CipherSuite::TLS_PSK_WITH_AES_128_CCM_8;
    start(&mut world, Setup::new(SoftCrypto, settings(suite)));
    world.run_until_idle().unwrap();
    let (cookie, identity) = (16, u64::try_from(IDENTITY.len()).unwrap());
    let client_hello = 13 + 12 + 42 + 2 + 6;
    let hello_verify_request = 13 + 12 + 3 + cookie;
    let server_hello_and_done = 63 + 11 + 25;
    let client_flight = (27 + identity) + 14 + 53;
    let server_flight = 14 + 53;
    assert_eq!(
        world.account(CLIENT, SERVER).sent_bytes,
        client_hello + (client_hello + cookie) + client_flight
    );
    assert_eq!(
        world.account(SERVER, CLIENT).sent_bytes,
        hello_verify_request + server_hello_and_done + server_flight
    );
    assert_eq!(world.account(CLIENT, SERVER).sent, 3);
    assert_eq!(world.account(SERVER, CLIENT).sent, 3);
}

#[test]
fn each_datagram_of_each_flight_is_lost_once_and_recovered() {
    for suite in DEFAULT_SUITES {
        for max_datagram_len in [1_200, 128] {
            for (from, to) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
                for n in 0.. {
                    let mut world: Net<_> = World::new(n);
                    let settings = settings(suite).with_max_datagram_len(max_datagram_len);
                    world.direction(from, to).fault(n, Fault::Drop);
                    let (client, server) = start(&mut world, Setup::new(SoftCrypto, settings));
                    world.run_until_idle().unwrap();
                    if world.account(from, to).planted == 0 {
                        assert!(n >= 3, "only {n} datagrams were lost");
                        break;
                    }
                    talk(&mut world, client, server);
                    assert!(world.ledger().seals() >= 4);
                }
            }
        }
    }
}

/// Small datagrams make every flight several datagrams; the ServerHello needs two fragments.
#[test]
fn fragmented_flight_survives_reordering_and_duplication() {
    for_each_seed(0..200, |seed| {
        let mut world: Net<SoftCrypto> = World::new(seed);
        world.set_conditions(Conditions {
            loss: 0.0,
            duplication: 0.5,
            reordering: 0.5,
            ..Conditions::rough()
        });
        let settings = Settings::default().with_max_datagram_len(128);
        let (client, server) = start(&mut world, Setup::new(SoftCrypto, settings));
        world.run_until_idle().unwrap();
        world.set_conditions(Conditions::default());
        talk(&mut world, client, server);
    });
}

fn patient() -> Timers {
    Timers {
        max_transmissions: 15,
        deadline: Duration::from_secs(2_000),
        ..Timers::default()
    }
}

#[test]
fn with_15_tries_every_seed_completes_at_20_percent_loss() {
    for_each_seed(0..1000, |seed| {
        let mut world: Net<_> = World::new(seed);
        world.set_conditions(Conditions::rough());
        let settings = Settings::default().with_timers(patient());
        let (client, server) = start(&mut world, Setup::new(SoftCrypto, settings));
        world.run_until_idle().unwrap();
        world.set_conditions(Conditions::default());
        talk(&mut world, client, server);
        assert_eq!(world.node(client).seen().established, 1);
        assert_eq!(world.node(server).seen().established, 1);
    });
}

/// With the default timers each seed ends, one way or the other, and the share that fails is what
/// loss alone explains.
///
/// At loss p = 0.2 each way a flight and its answer get through together with 0.64, so that five
/// transmissions all fail with 0.36^5 = 0.6 %. Three exchanges have to succeed, so that a
/// handshake fails with at most 3 x 0.6 % = 1.8 %; duplication only helps. Over 1,000 seeds that is
/// 18.1 with a standard deviation of 4.2: 18 + 4 x 4.2 is 35.
#[test]
fn with_default_timers_every_seed_ends_and_failures_stay_within_the_bound() {
    let mut failed = 0_u32;
    for_each_seed(0..1000, |seed| {
        let mut world: Net<SoftCrypto> = World::new(seed);
        world.set_conditions(Conditions::rough());
        let (client, _) = start(&mut world, Setup::new(SoftCrypto, Settings::default()));
        world.run_until_idle().unwrap();
        match world.node(client).error() {
            None => assert!(world.node(client).is_established()),
            Some(error) => {
                failed += 1;
                assert!(matches!(
                    error,
                    ChannelError::Peer(PeerFault::HandshakeTimeout | PeerFault::CredentialsRefused)
                ));
            }
        }
    });
    println!("{failed} of 1000 handshakes timed out at 20 % loss each way; bound 35");
    assert!(failed <= 35, "{failed} of 1000 failed");
}

#[test]
fn wrong_key_and_unknown_identity_end_at_the_deadline_on_both_sides() {
    let cases = [
        Shown::new(IDENTITY, b"another 16 bytes"),
        Shown::new(b"stranger", PSK),
        Shown::new(b"", PSK),
    ];
    for shown in cases {
        let mut world: Net<SoftCrypto> = World::new(5);
        let mut setup = Setup::new(SoftCrypto, Settings::default());
        setup.shown = shown;
        let (client, server) = start(&mut world, setup);
        world.run_until_idle().unwrap();
        assert_eq!(
            world.node(client).error(),
            Some(PeerFault::CredentialsRefused.into())
        );
        assert_eq!(
            world.node(server).error(),
            Some(PeerFault::AlertSent { description: 51 }.into())
        );
        assert!(
            world
                .node(server)
                .seen()
                .drops
                .contains(&DropReason::AuthenticationFailed)
        );
        assert!(world.now().as_micros() <= 32_000_000, "{:?}", world.now());
    }
}

#[test]
fn silent_server_times_the_client_out() {
    let mut world: Net<SoftCrypto> = World::new(5);
    world
        .direction(CLIENT, SERVER)
        .fault_each(Fault::Drop, |_| true);
    let (client, _) = start(&mut world, Setup::new(SoftCrypto, Settings::default()));
    world.run_until_idle().unwrap();
    assert_eq!(
        world.node(client).error(),
        Some(PeerFault::HandshakeTimeout.into())
    );
    assert_eq!(world.account(CLIENT, SERVER).sent, 5);
    assert_eq!(world.now().as_micros(), 31_000_000);
}

#[test]
fn offer_without_common_suite_or_extended_master_secret_is_refused_with_an_alert() {
    let mut world: Net<SoftCrypto> = World::new(5);
    let mut setup = Setup::new(
        SoftCrypto,
        settings(CipherSuite::TLS_PSK_WITH_AES_128_CCM_8),
    );
    setup.server = settings(CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256);
    let (client, server) = start(&mut world, setup);
    world.run_until_idle().unwrap();
    assert_eq!(
        world.node(client).error(),
        Some(
            PeerFault::AlertReceived {
                description: 40,
                authenticated: false
            }
            .into()
        )
    );
    assert_eq!(world.node(server).seen().alerts_sent, 1);
}

/// Takes the extended master secret out of every ClientHello by giving the extension another type,
/// as an attacker on the path would.
fn strip_extended_master_secret(world: &mut Net<SoftCrypto>) {
    world.direction(CLIENT, SERVER).rewrite(|datagram| {
        let at = datagram
            .windows(4)
            .position(|window| window == [0, 0x17, 0, 0]);
        if let Some(at) = at {
            datagram[at + 1] = 0x99;
        }
        at.is_some()
    });
}

/// RFC 7627 §5: whoever requires it refuses, either end. Where both go on without it the keys are
/// the same on both sides, and only the Finished shows that somebody changed the hello
/// (RFC 5246 §7.4.9).
#[test]
fn stripped_extended_master_secret_is_refused_or_detected_by_the_finished() {
    use ExtendedMasterSecret::{Accepted, Required};

    for (client_mode, server_mode, refusal) in [
        (Accepted, Required, Some((40, SERVER))),
        (Required, Accepted, Some((40, CLIENT))),
        (Accepted, Accepted, None),
    ] {
        let mut world: Net<SoftCrypto> = World::new(5);
        strip_extended_master_secret(&mut world);
        let mut setup = Setup::new(SoftCrypto, Settings::default());
        setup.client = setup.client.with_extended_master_secret(client_mode);
        setup.server = setup.server.with_extended_master_secret(server_mode);
        let (client, server) = start(&mut world, setup);
        world.run_until_idle().unwrap();
        assert!(!world.node(client).is_established());
        assert!(!world.node(server).is_established());
        match refusal {
            Some((_, SERVER)) => assert_eq!(world.node(server).seen().alerts_sent, 1),
            Some((description, _)) => assert_eq!(
                world.node(client).error(),
                Some(PeerFault::AlertSent { description }.into())
            ),
            None => assert_eq!(
                world.node(server).error(),
                Some(PeerFault::AlertSent { description: 51 }.into())
            ),
        }
    }
}

/// RFC 5246 §7.2.1.
#[test]
fn close_notify_closes_both_ends_and_nothing_is_sealed_afterwards() {
    let mut world: Net<SoftCrypto> = World::new(5);
    let (client, server) = start(&mut world, Setup::new(SoftCrypto, Settings::default()));
    world.run_until_idle().unwrap();
    world.act(client, |end, env, out| {
        end.session().close();
        let mut record = [0; 100];
        let len = end.session().poll_transmit(env, &mut record).unwrap();
        out.send(CLIENT, SERVER, &record[..len.unwrap()]);
    });
    world.run_until_idle().unwrap();
    assert!(world.node(server).seen().closed);
    world.act(server, |end, _, _| {
        assert!(end.session().seal(b"late", &mut [0; 100]).is_err());
    });
    // The server answers with a close_notify of its own, which the closed client drops.
    assert_eq!(
        world.node(client).seen().drops.last(),
        Some(&DropReason::AfterClose)
    );
}

/// RFC 6347 §4.1.2.6.
#[test]
fn record_seen_before_or_changed_in_any_bit_is_dropped() {
    let mut world: Net<SoftCrypto> = World::new(5);
    let (client, server) = start(&mut world, Setup::new(SoftCrypto, Settings::default()));
    world.run_until_idle().unwrap();
    let mut record = [0; 100];
    let len = world.act(client, |end, _, _| {
        end.session().seal(b"once", &mut record).unwrap()
    });
    let record = &record[..len];
    for bit in 0..len * 8 {
        let mut forged = record.to_vec();
        forged[bit / 8] ^= 1 << (bit % 8);
        world.send(CLIENT, SERVER, &forged);
    }
    world.run_until_idle().unwrap();
    assert_eq!(world.node(server).seen().plaintexts.len(), 0);
    let before = world.node(server).seen().drops.len();
    // A forged length splits the datagram, so that there may be a drop more than a datagram.
    assert!(before >= len * 8);
    world.send(CLIENT, SERVER, record);
    world.send(CLIENT, SERVER, record);
    world.run_until_idle().unwrap();
    assert_eq!(world.node(server).seen().plaintexts, [b"once".to_vec()]);
    assert_eq!(
        world.node(server).seen().drops.last(),
        Some(&DropReason::Replayed)
    );
}

/// The client sends its last flight again about 1, 3, 7, 15, 31, 63, 123, 183 and 243 s after the
/// first time. The server's answers 3 to 10 are lost, or 3 to 11.
#[test]
fn lost_final_flight_is_sent_again_for_240_seconds_and_no_longer() {
    for (last_lost, is_established) in [(10, true), (11, false)] {
        let mut world: Net<SoftCrypto> = World::new(5);
        let timers = Timers {
            deadline: Duration::from_secs(1_000),
            max_transmissions: 12,
            ..Timers::default()
        };
        let mut setup = Setup::new(SoftCrypto, Settings::default());
        setup.client = setup.client.with_timers(timers);
        let mut sent = 0;
        world
            .direction(SERVER, CLIENT)
            .fault_each(Fault::Drop, move |_| {
                sent += 1;
                (3..=last_lost).contains(&sent)
            });
        let (client, server) = start(&mut world, setup);
        world.run_until_idle().unwrap();
        assert!(world.node(server).is_established());
        assert_eq!(world.node(client).is_established(), is_established);
    }
}

#[test]
fn idle_session_stays_small() {
    let size = size_of::<Session<SoftAead>>();
    println!("Session<SoftAead>: {size} bytes");
    assert!(size <= 600, "{size}");
}

#[test]
fn server_that_knows_the_identity_of_another_is_not_fooled_by_its_key() {
    let mut world: Net<SoftCrypto> = World::new(5);
    let mut setup = Setup::new(SoftCrypto, Settings::default());
    setup.known = Known::new(b"lamp", PSK);
    let (client, server) = start(&mut world, setup);
    world.run_until_idle().unwrap();
    assert!(!world.node(client).is_established());
    assert!(!world.node(server).is_established());
}
