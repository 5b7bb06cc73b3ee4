//! Streams in an association's session, beside CoAP (docs/specs/leg.md).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::legs::{End, Hop, config, other};
use common::{CLIENT, IDENTITY, Known, PSK, Place, SERVER, Shown, body, shown};
use hedgerow_coap::Code;
use hedgerow_core::{DropReason, Env, KeyPurpose};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{
    Config, ConnectionIdFormat, ConnectionIds, Endpoint, Error, ForwardSecrecy, SecurityPolicy,
};
use hedgerow_exchange::Request;
use hedgerow_leg::{Offer, ResetReason, Role};
use hedgerow_sim::{Address, Conditions, TestRng, Tracing, World, for_each_seed};

const SECOND: Duration = Duration::from_secs(1);

fn lossy(loss: f64) -> Conditions {
    Conditions {
        loss,
        ..Conditions::rough()
    }
}

/// Streams of both ends, and CoAP, under one session.
fn share_a_session(loss: f64, caller: Role) {
    for_each_seed(0..1_000, |seed| {
        let mut hop = Hop::new(seed, caller, lossy(loss));
        let reply = body(900);
        for at in [hop.caller, hop.called] {
            hop.world.act(at, |end, _, _| end.reply = reply.clone());
        }
        let first = hop.open(hop.caller, &body(3_000));
        let called = hop.called;
        hop.world
            .run_until(|world| !world.node(called).established.is_empty())
            .unwrap();
        let second = hop.open(hop.called, &body(2_000));
        let association = hop.association;
        hop.world.act(hop.caller, |end, env, out| {
            let request = Request::new(Code::GET);
            end.endpoint.request(env, association, &request).unwrap();
            end.flush(env, out);
        });
        hop.world.run_for(600 * SECOND).unwrap();
        hop.assert_carried(hop.called, first, &body(3_000));
        hop.assert_carried(hop.caller, first, &reply);
        hop.assert_carried(hop.caller, second, &body(2_000));
        hop.assert_carried(hop.called, second, &reply);
        assert_eq!(hop.world.node(hop.called).requests, 1);
        assert_eq!(hop.world.node(hop.caller).established.len(), 1);
        assert_eq!(first.opener(), caller);
        assert_eq!(second.opener(), other(caller));
    });
}

#[test]
fn streams_of_either_end_and_coap_share_a_session_without_loss() {
    share_a_session(0.0, Role::Device);
    share_a_session(0.0, Role::Gateway);
}

#[test]
fn streams_of_either_end_and_coap_share_a_session_at_5_percent_loss() {
    share_a_session(0.05, Role::Device);
    share_a_session(0.05, Role::Gateway);
}

#[test]
fn streams_of_either_end_and_coap_share_a_session_at_20_percent_loss() {
    share_a_session(0.2, Role::Device);
    share_a_session(0.2, Role::Gateway);
}

/// Forged records bring about a new session in mid-stream. Whatever of the old one is still under way
/// isn't taken, and the streams go on.
#[test]
fn stream_goes_on_in_a_new_session_and_nothing_of_the_old_one_is_taken() {
    for (loss, caller) in [(0.0, Role::Device), (0.2, Role::Gateway)] {
        for_each_seed(0..30, |seed| {
            let mut hop = Hop::new(seed, caller, lossy(loss));
            hop.world.set_tracing(Tracing::Bytes);
            let reply = body(9_000);
            hop.world
                .act(hop.called, |end, _, _| end.reply = reply.clone());
            let stream = hop.open(hop.caller, &body(100_000));
            let called = hop.called;
            hop.world
                .run_until(|world| {
                    let received = world.node(called).received.get(&stream);
                    received.is_some_and(|received| received.len() > 5_000)
                })
                .unwrap();
            for number in 0..=u8::MAX {
                let mut record = vec![0x17, 0xfe, 0xfd, 0, 1, 0, 0, 9, 0, 0, number, 0, 24];
                record.extend([7; 24]);
                hop.world.send(SERVER, CLIENT, &record);
            }
            let caller = hop.caller;
            let before = hop.world.trace().entries().len();
            hop.world
                .run_until(|world| {
                    let (caller, called) = (world.node(caller), world.node(called));
                    caller.established.len() == 2 && called.established.len() == 2
                })
                .unwrap();
            assert!(
                !hop.world.node(called).ended.contains(&stream),
                "not in mid-stream"
            );
            // Records of the old session, some of which never arrived, come once more.
            let is_data = |datagram: &[u8]| datagram[0] == 23 && datagram[4] == 1;
            let entries = hop.world.trace().entries()[before.saturating_sub(60)..].iter();
            let old: Vec<_> = entries
                .filter(|entry| entry.from == CLIENT && is_data(&entry.datagram))
                .map(|entry| entry.datagram.clone())
                .take(10)
                .collect();
            assert!(!old.is_empty());
            let drops = hop.world.node(called).drops.len();
            for record in &old {
                hop.world.send(CLIENT, SERVER, record);
            }
            hop.world.run_for(Duration::from_millis(1)).unwrap();
            hop.world.run_for(600 * SECOND).unwrap();
            let noted = &hop.world.node(called).drops[drops..];
            let refused = noted.iter().filter(|reason| {
                matches!(
                    reason,
                    DropReason::AuthenticationFailed
                        | DropReason::RateLimited
                        | DropReason::TooOld
                        | DropReason::Replayed
                )
            });
            assert!(refused.count() >= old.len() / 2, "{noted:?}");
            hop.assert_carried(hop.called, stream, &body(100_000));
            hop.assert_carried(hop.caller, stream, &reply);
        });
    }
}

/// The called end has forgotten everything: the caller notices by its stream alone, begins a session, and
/// hears that the stream is unknown.
#[test]
fn stream_of_an_end_that_restarted_ends_out_of_order() {
    let mut own = config(Role::Device);
    own.exchange = Arc::default();
    let mut hop = Hop::with(7, &own, &config(Role::Gateway), lossy(0.0));
    hop.world
        .act(hop.called, |end, _, _| end.reply = body(30_000));
    let stream = hop.open(hop.caller, &body(30_000));
    hop.world.run_for(SECOND).unwrap();
    let begun = hop.world.node(hop.called).received[&stream].len();
    assert!(begun > 0 && begun < 30_000, "{begun}");
    hop.world.act(hop.called, |end, env, _| {
        let known = Known::new(&[(IDENTITY, PSK)]);
        let mut rng = TestRng::new(9);
        let env = &mut Env::new(env.now, &mut rng);
        let provider = hedgerow_sim::World::<End>::new(1).provider(SoftCrypto, "restarted");
        let endpoint = Endpoint::server(provider, known, config(Role::Gateway), env);
        *end = End::new(SERVER, endpoint);
    });
    hop.world.run_for(120 * SECOND).unwrap();
    let caller = hop.world.node(hop.caller);
    assert_eq!(caller.established.len(), 2);
    assert_eq!(caller.reset.get(&stream), Some(&ResetReason::UnknownStream));
    assert!(!caller.ended.contains(&stream));
    assert!(hop.world.node(hop.called).opened.is_empty());
}

/// A stream whose segments nobody takes, in a session that is alive: whatever timer expires, no handshake
/// begins. In one where nothing else is heard, each takes two silent expiries, and the new session ends the silence.
#[test]
fn silent_stream_in_a_session_that_is_heard_begins_no_handshake() {
    for (ping_idle_after, most) in [(Some(SECOND), 0), (None, 4)] {
        let own = Config {
            exchange: Arc::default(),
            ping_idle_after,
            ..config(Role::Device)
        };
        let mut called = config(Role::Gateway);
        called.legs = None;
        let mut hop = Hop::with(7, &own, &called, lossy(0.0));
        hop.world.run_for(SECOND).unwrap();
        hop.open(hop.caller, b"hello");
        hop.world.set_tracing(Tracing::Bytes);
        hop.world.run_for(200 * SECOND).unwrap();
        let caller = hop.world.node(hop.caller);
        let sessions = caller.established.len() - 1;
        assert!(sessions <= most, "{sessions}");
        assert_eq!(sessions == 0, most == 0);
        let is_hello = |datagram: &[u8]| datagram[0] == 22 && datagram[13] == 1;
        let entries = hop.world.trace().entries().iter();
        let hellos = entries.filter(|entry| entry.from == CLIENT && is_hello(&entry.datagram));
        let hellos = hellos.count();
        assert!(hellos <= 4 * most, "{hellos}");
    }
}

#[test]
fn end_of_the_association_is_no_end_of_a_stream() {
    let mut hop = Hop::new(7, Role::Device, lossy(0.0));
    let stream = hop.open(hop.caller, &body(30_000));
    hop.world.run_for(SECOND).unwrap();
    let association = hop.association;
    hop.world.act(hop.caller, |end, env, out| {
        end.endpoint.close(env, association).unwrap();
        assert_eq!(end.endpoint.legs(), 0);
        assert_eq!(
            end.endpoint.write_stream(association, stream, b"more"),
            Err(Error::UnknownAssociation)
        );
        end.flush(env, out);
    });
    hop.world.run_for(60 * SECOND).unwrap();
    let called = hop.world.node(hop.called);
    assert_eq!(called.gone.len(), 1);
    assert_eq!(called.endpoint.legs(), 0);
    assert!(!called.ended.contains(&stream) && !called.closed.contains(&stream));
}

#[test]
fn association_with_a_stream_is_not_idle_and_one_without_is() {
    let mut own = config(Role::Device);
    own.idle_timeout = 60 * SECOND;
    let mut hop = Hop::with(3, &own, &config(Role::Gateway), lossy(0.0));
    hop.world.run_for(SECOND).unwrap();
    let association = hop.association;
    let stream = hop.world.act(hop.caller, |end, env, out| {
        let opened = end
            .endpoint
            .open_stream(env, association, &Offer::default())
            .unwrap();
        end.endpoint
            .write_stream(association, opened, b"hello")
            .unwrap();
        end.flush(env, out);
        opened
    });
    hop.world.run_for(3_000 * SECOND).unwrap();
    assert_eq!(hop.world.node(hop.caller).endpoint.associations(), 1);
    hop.world.act(hop.caller, |end, env, out| {
        let reason = ResetReason::Application;
        let reset = end.endpoint.reset_stream(env, association, stream, reason);
        reset.unwrap();
        end.flush(env, out);
    });
    hop.world.run_for(300 * SECOND).unwrap();
    assert_eq!(hop.world.node(hop.caller).endpoint.associations(), 0);
    let called = hop.world.node(hop.called);
    let reasons: Vec<_> = called.reset.values().collect();
    assert_eq!(reasons, [&ResetReason::Application]);
}

/// Whoever asks for streams in vain doesn't keep the session by that.
#[test]
fn refused_stream_does_not_put_off_the_idle_end() {
    let mut own = config(Role::Device);
    own.idle_timeout = 60 * SECOND;
    let leg = hedgerow_leg::Config {
        max_streams: 0,
        ..hedgerow_leg::Config::default()
    };
    own.legs.as_mut().unwrap().leg = Arc::new(leg);
    let mut hop = Hop::with(3, &own, &config(Role::Gateway), lossy(0.0));
    hop.world.run_for(SECOND).unwrap();
    let association = hop.association;
    let full = hedgerow_leg::Error::TooManyStreams;
    for nth in 0..40 {
        hop.world.act(hop.caller, |end, env, out| {
            let offer = Offer::default();
            let refused = end.endpoint.open_stream(env, association, &offer);
            assert!(nth > 0 || refused == Err(Error::Leg(full)), "{refused:?}");
            end.flush(env, out);
        });
        hop.world.run_for(10 * SECOND).unwrap();
    }
    assert_eq!(hop.world.node(hop.caller).endpoint.associations(), 0);
}

#[test]
fn streams_go_on_at_another_address() {
    let ids = ConnectionIds::Both(ConnectionIdFormat::new(0x0102));
    let [own, peer] = [Role::Device, Role::Gateway].map(|role| Config {
        connection_ids: ids,
        ..config(role)
    });
    let mut hop = Hop::with(3, &own, &peer, lossy(0.05));
    let reply = body(9_000);
    hop.world
        .act(hop.called, |end, _, _| end.reply = reply.clone());
    let stream = hop.open(hop.caller, &body(100_000));
    hop.world.run_for(2 * SECOND).unwrap();
    let now = hop.world.now();
    hop.world.rebind(now, CLIENT, Address::new(7, 1_111));
    hop.world.run_for(600 * SECOND).unwrap();
    assert_eq!(hop.world.node(hop.called).moved, 1);
    assert_eq!(hop.world.node(hop.called).established.len(), 1);
    hop.assert_carried(hop.called, stream, &body(100_000));
    hop.assert_carried(hop.caller, stream, &reply);
}

#[test]
fn segments_keep_to_what_the_path_carries() {
    let mut own = config(Role::Device);
    let leg = hedgerow_leg::Config {
        max_segment_len: 4_096,
        ..hedgerow_leg::Config::default()
    };
    own.legs.as_mut().unwrap().leg = Arc::new(leg);
    let longest = own.exchange.max_message_len + 29;
    let mut hop = Hop::with(3, &own, &config(Role::Gateway), lossy(0.0));
    let first = hop.open(hop.caller, &body(100_000));
    hop.world.run_for(60 * SECOND).unwrap();
    hop.assert_carried(hop.called, first, &body(100_000));
    assert_eq!(hop.world.node(hop.caller).longest, longest);
    hop.world.act(hop.caller, |end, _, _| {
        end.sends = 300;
        end.longest = 0;
    });
    let second = hop.open(hop.caller, &body(100_000));
    hop.world.run_for(60 * SECOND).unwrap();
    hop.assert_carried(hop.called, second, &body(100_000));
    let longest = hop.world.node(hop.caller).longest;
    assert!((100..=300).contains(&longest), "{longest}");
}

#[test]
fn tables_are_bounded_and_what_is_off_stays_off() {
    // No legs at the called end: segments are ignored as CoAP's unknown version, and the stream times out.
    let mut called = config(Role::Gateway);
    called.legs = None;
    let mut hop = Hop::with(3, &config(Role::Device), &called, lossy(0.0));
    hop.open(hop.caller, b"hello");
    hop.world.run_for(20 * SECOND).unwrap();
    assert_eq!(hop.world.node(hop.called).endpoint.legs(), 0);
    assert!(hop.world.node(hop.called).opened.is_empty());

    // No place for another leg.
    let mut called = config(Role::Gateway);
    called.legs.as_mut().unwrap().max_legs = 0;
    let mut hop = Hop::with(3, &config(Role::Device), &called, lossy(0.0));
    hop.open(hop.caller, b"hello");
    hop.world.run_for(20 * SECOND).unwrap();
    let drops = &hop.world.node(hop.called).drops;
    assert!(drops.contains(&DropReason::StreamTableFull), "{drops:?}");
    let association = hop.world.node(hop.called).established[0].0;
    hop.world.act(hop.called, |end, env, _| {
        let refused = end
            .endpoint
            .open_stream(env, association, &Offer::default());
        assert_eq!(refused, Err(Error::TooManyLegs { max: 0 }));
    });

    // More streams than agreed on.
    let mut own = config(Role::Device);
    let leg = hedgerow_leg::Config {
        max_streams: 2,
        ..hedgerow_leg::Config::default()
    };
    own.legs.as_mut().unwrap().leg = Arc::new(leg);
    let mut hop = Hop::with(3, &own, &config(Role::Gateway), lossy(0.0));
    let association = hop.association;
    hop.world.act(hop.caller, |end, env, _| {
        for _ in 0..2 {
            let offer = Offer::default();
            end.endpoint.open_stream(env, association, &offer).unwrap();
        }
        let refused = end
            .endpoint
            .open_stream(env, association, &Offer::default());
        let full = hedgerow_leg::Error::TooManyStreams;
        assert_eq!(refused, Err(Error::Leg(full)));
    });
}

#[test]
fn no_stream_is_opened_in_clear_nor_under_a_key_of_two_ends() {
    let mut rng = TestRng::new(1);
    let env = &mut Env::new(World::<End>::new(1).now(), &mut rng);
    let policy = SecurityPolicy::new(hedgerow_core::SecurityMode::NoSec);
    let in_clear = Config {
        security: Arc::new(policy),
        ..config(Role::Device)
    };
    let mut client: Endpoint<Place, _, _, Shown> =
        Endpoint::client(SoftCrypto, Known::new(&[]), in_clear);
    let association = client.connect(env, Place(SERVER), None).unwrap();
    assert_eq!(
        client.open_stream(env, association, &Offer::default()),
        Err(Error::NoLegs)
    );
    let mut client: Endpoint<Place, _, _, Shown> =
        Endpoint::client(SoftCrypto, Known::new(&[]), common::defaults());
    let association = client.connect(env, Place(SERVER), Some(&shown())).unwrap();
    assert_eq!(
        client.open_stream(env, association, &Offer::default()),
        Err(Error::NoLegs)
    );

    // At the end that begins, what it begins has one purpose; at the other end the key tells.
    let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Optional);
    let mut for_two_ends = config(Role::Device);
    for_two_ends.security = Arc::new(policy);
    let shown = Shown::end_to_end(IDENTITY, PSK);
    let mut client: Endpoint<Place, _, _, Shown> =
        Endpoint::client(SoftCrypto, Known::new(&[]), for_two_ends);
    let association = client.connect(env, Place(SERVER), Some(&shown)).unwrap();
    assert_eq!(
        client.open_stream(env, association, &Offer::default()),
        Err(Error::NoLegs)
    );
}

/// Whoever comes with a key of two ends is behind the gateway, and no gateway.
#[test]
fn segments_under_a_key_of_two_ends_are_dropped() {
    let known = Known::end_to_end(&[(IDENTITY, PSK)]);
    let mut hop = Hop::of(
        3,
        &config(Role::Gateway),
        &config(Role::Device),
        lossy(0.0),
        known,
    );
    hop.open(hop.caller, b"hello");
    hop.world.run_for(20 * SECOND).unwrap();
    let called = hop.world.node(hop.called);
    assert_eq!(called.established.len(), 1);
    assert_eq!(
        called.established[0].1.key_purpose(),
        Some(KeyPurpose::EndToEnd)
    );
    assert!(
        called.drops.contains(&DropReason::NotAcceptable),
        "{:?}",
        called.drops
    );
    assert_eq!(called.endpoint.legs(), 0);
    assert!(called.opened.is_empty());
}
