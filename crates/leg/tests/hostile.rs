//! A leg whose other end breaks the rules, restarts, or falls silent. The hop session lets none but that
//! end in; the machine is attacked here as if it weren't there.
#![cfg(feature = "alloc")]
#![allow(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod common;

use std::time::Duration;

use common::{DEVICE, End, GATEWAY, Heap, HeapHop, Machine, body, lossy};
use hedgerow_core::{DropReason, Env, Instant};
use hedgerow_leg::{
    Ack, Body, Config, Data, Error, Event, Leg, Name, Offer, Open, Parts, Ranges, Read, Received,
    ResetBy, ResetReason, Role, Segment, StreamId,
};
use hedgerow_sim::{Conditions, Fault, TestRng, for_each_seed};
use proptest::prelude::*;

const CONFIG: Config = Config {
    max_streams: 4,
    max_incoming: 2,
    send_buffer: 1_024,
    receive_buffer: 1_024,
    max_segment_len: 64,
    recovery: hedgerow_leg::Recovery::CONSTRAINED,
    max_retransmit: 4,
    max_timeout: Duration::from_secs(60),
    acknowledge_after: Duration::from_millis(200),
    ping_after: None,
    linger: Duration::from_secs(60),
};

/// One end, and a hostile one that writes segments by hand.
struct Victim {
    leg: Machine,
    rng: TestRng,
    now: Instant,
}

impl Victim {
    fn new(config: Config) -> Self {
        let mut rng = TestRng::new(1);
        let leg = Leg::new(
            Role::Gateway,
            config,
            &mut Env::new(Instant::ZERO, &mut rng),
        );
        Self {
            leg: leg.unwrap(),
            rng,
            now: Instant::ZERO,
        }
    }

    fn receive(&mut self, stream: StreamId, parts: Parts<'_>) -> Received {
        let body = Body::Parts(parts);
        self.receive_segment(&Segment { stream, body })
    }

    fn receive_segment(&mut self, segment: &Segment<'_>) -> Received {
        let mut out = [0; 2_048];
        let len = segment.encode(&mut out).unwrap();
        self.leg.handle_segment(self.now, &out[..len])
    }

    /// Opens a stream with some bytes from the device.
    fn opened(&mut self, counter: u16) -> StreamId {
        let stream = StreamId::new(Role::Device, 1, counter);
        let received = self.receive(stream, opening(data(0, b"0123456789", false)));
        assert_eq!(received, Received::Handled(stream));
        assert_eq!(self.leg.poll_event(), Some(Event::Opened(stream)));
        assert_eq!(self.leg.poll_event(), Some(Event::Readable(stream)));
        stream
    }

    fn sent(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut out = [0; 2_048];
        let mut env = Env::new(self.now, &mut self.rng);
        while let Some(len) = self.leg.poll_transmit(&mut env, &mut out).unwrap() {
            all.push(out[..len].to_vec());
            assert!(all.len() < 1_000, "sends without end");
        }
        all
    }

    /// Returns the RESETs that go now.
    fn resets(&mut self) -> Vec<(StreamId, ResetReason)> {
        let sent = self.sent();
        let segments = sent.iter().map(|bytes| Segment::decode(bytes).unwrap());
        segments
            .filter_map(|segment| match segment.body {
                Body::Reset(reason) => Some((segment.stream, reason)),
                Body::Parts(_) => None,
            })
            .collect()
    }

    fn assert_fails(&mut self, stream: StreamId, reason: ResetReason) {
        let by = ResetBy::Leg;
        let event = Event::Reset { stream, reason, by };
        assert_eq!(self.leg.poll_event(), Some(event));
        assert_eq!(self.resets(), [(stream, reason)]);
        let read = self.leg.read(stream, &mut [0; 100]);
        assert_eq!(read, Err(Error::UnknownStream), "no bytes, and no end");
    }
}

fn data(offset: u32, bytes: &[u8], fin: bool) -> Parts<'_> {
    Parts {
        data: Some(Data { offset, bytes, fin }),
        ..Parts::default()
    }
}

fn opening(parts: Parts<'_>) -> Parts<'_> {
    Parts {
        open: Some(Open {
            window: 512,
            port: 443,
            name: Name::default(),
            address: None,
        }),
        ..parts
    }
}

fn ack(cumulative: u32, window: u16, blocks: &[(u32, u32)]) -> Parts<'static> {
    let mut ranges = Ranges::new();
    for (start, end) in blocks {
        ranges.insert(*start, *end);
    }
    Parts {
        ack: Some(Ack {
            cumulative,
            window,
            blocks: ranges,
        }),
        ..Parts::default()
    }
}

#[test]
fn each_broken_rule_ends_the_stream_with_its_reason() {
    use ResetReason::{BadAcknowledgement, FinalSize, FlowControl, Inconsistent};
    let attacks: [(&str, Vec<Parts<'_>>, ResetReason); 9] = [
        (
            "beyond the limit",
            vec![data(1_024, b"x", false)],
            FlowControl,
        ),
        (
            "beyond the limit in part",
            vec![data(1_020, b"xxxxx", false)],
            FlowControl,
        ),
        ("end before bytes", vec![data(5, b"", true)], FinalSize),
        (
            "bytes behind the end",
            vec![data(20, b"", true), data(20, b"x", false)],
            FinalSize,
        ),
        (
            "two ends",
            vec![data(20, b"", true), data(21, b"", true)],
            FinalSize,
        ),
        ("other bytes", vec![data(8, b"xx", false)], Inconsistent),
        ("never sent", vec![ack(1, 0, &[])], BadAcknowledgement),
        (
            "block never sent",
            vec![ack(0, 0, &[(1, 2)])],
            BadAcknowledgement,
        ),
        (
            "all positions",
            vec![ack(u32::MAX, 0, &[])],
            BadAcknowledgement,
        ),
    ];
    for (name, parts, reason) in attacks {
        let mut victim = Victim::new(CONFIG);
        let stream = victim.opened(0);
        let bystander = victim.opened(1);
        for part in parts {
            assert_eq!(
                victim.receive(stream, part),
                Received::Handled(stream),
                "{name}"
            );
        }
        victim.assert_fails(stream, reason);
        let mut out = [0; 100];
        assert_eq!(
            victim.leg.read(bystander, &mut out),
            Ok(Read::Bytes(10)),
            "{name}"
        );
    }
}

#[test]
fn acknowledgement_of_unsent_bytes_is_found_among_sent_ones() {
    let mut victim = Victim::new(CONFIG);
    let stream = victim.opened(0);
    victim.leg.write(stream, &[7; 300]).unwrap();
    assert_eq!(victim.sent().len(), 1);
    // Optimistic: 48 positions were sent, and 200 more wait.
    victim.receive(stream, ack(100, 1_000, &[]));
    victim.assert_fails(stream, ResetReason::BadAcknowledgement);
}

#[test]
fn window_that_is_taken_back_changes_nothing() {
    let config = Config {
        recovery: Config::default().recovery,
        ..CONFIG
    };
    let mut victim = Victim::new(config);
    let stream = victim.opened(0);
    victim.leg.write(stream, &[7; 200]).unwrap();
    victim.receive(stream, ack(0, 0, &[]));
    victim.receive(stream, ack(0, 100, &[]));
    // The OPEN had promised 512.
    assert_eq!(victim.sent().len(), 2, "a congestion window full");
}

#[test]
fn blocks_that_are_taken_back_are_sent_again_after_the_timeout() {
    let config = Config {
        recovery: Config::default().recovery,
        ..CONFIG
    };
    let mut victim = Victim::new(config);
    let stream = victim.opened(0);
    victim.leg.write(stream, &body(96, 1)).unwrap();
    assert_eq!(victim.sent().len(), 2);
    victim.receive(stream, ack(0, 1_000, &[(48, 96)]));
    assert_eq!(victim.sent(), [[0; 0]; 0]);
    victim.now = victim.leg.poll_timeout().unwrap();
    victim.leg.handle_timeout(victim.now);
    victim.sent();
    victim.receive(stream, ack(48, 1_000, &[]));
    let again = victim.sent();
    let Body::Parts(parts) = Segment::decode(&again[0]).unwrap().body else {
        panic!("no parts");
    };
    let again = parts.data.unwrap();
    assert_eq!((again.offset, again.bytes), (48, &body(96, 1)[48..]));
}

#[test]
fn full_table_refuses_and_keeps_nothing() {
    let mut victim = Victim::new(CONFIG);
    victim.opened(0);
    victim.opened(1);
    for counter in 2..100 {
        let stream = StreamId::new(Role::Device, 1, counter);
        let received = victim.receive(stream, opening(data(0, b"x", false)));
        assert_eq!(received, Received::Dropped(DropReason::StreamTableFull));
        if counter < 6 {
            assert_eq!(victim.resets(), [(stream, ResetReason::Limit)]);
        }
        assert_eq!(victim.leg.len(), 2);
    }
    assert_eq!(victim.sent().len(), 4, "RESETs that wait");
    // Its own streams have room left, and later the same OPEN has, too.
    victim.leg.open(victim.now, &Offer::default()).unwrap();
    let first = StreamId::new(Role::Device, 1, 0);
    victim
        .leg
        .reset(victim.now, first, ResetReason::Refused)
        .unwrap();
    assert!(victim.resets().contains(&(first, ResetReason::Refused)));
    let body = Body::Reset(ResetReason::Acknowledged);
    let answer = Segment {
        stream: first,
        body,
    };
    assert_eq!(victim.receive_segment(&answer), Received::Handled(first));
    victim.opened(2);
}

#[test]
fn reset_of_any_stream_is_answered_and_an_answer_is_not() {
    let mut victim = Victim::new(CONFIG);
    let known = victim.opened(0);
    let unknown = StreamId::new(Role::Device, 7, 7);
    for stream in [known, unknown] {
        let reset = |reason| Segment {
            stream,
            body: Body::Reset(reason),
        };
        victim.sent();
        victim.receive_segment(&reset(ResetReason::Acknowledged));
        assert_eq!(victim.resets(), []);
        victim.receive_segment(&reset(ResetReason::Application));
        assert_eq!(victim.resets(), [(stream, ResetReason::Acknowledged)]);
    }
    let event = Event::Reset {
        stream: known,
        reason: ResetReason::Application,
        by: ResetBy::Peer,
    };
    assert_eq!(victim.leg.poll_event(), Some(event));
    assert!(victim.leg.is_empty());
}

#[test]
fn unknown_streams_are_answered_only_where_they_were_known() {
    let mut victim = Victim::new(CONFIG);
    let stream = StreamId::new(Role::Device, 1, 0);
    let dropped = Received::Dropped(DropReason::UnknownStream);
    // Its OPEN may be under way.
    assert_eq!(victim.receive(stream, data(10, b"x", false)), dropped);
    assert_eq!(victim.resets(), []);
    assert_eq!(victim.receive(stream, ack(0, 0, &[])), dropped);
    assert_eq!(victim.resets(), [(stream, ResetReason::UnknownStream)]);
    let own = StreamId::new(Role::Gateway, 1, 0);
    assert_eq!(victim.receive(own, data(10, b"x", false)), dropped);
    assert_eq!(victim.resets(), [(own, ResetReason::UnknownStream)]);
    // An OPEN for a stream that only this end could open.
    assert_eq!(victim.receive(own, opening(Parts::default())), dropped);
    assert!(victim.leg.is_empty());
}

#[test]
fn late_open_does_not_open_a_stream_again() {
    let mut victim = Victim::new(CONFIG);
    let stream = victim.opened(0);
    let reset = Segment {
        stream,
        body: Body::Reset(ResetReason::Application),
    };
    victim.receive_segment(&reset);
    while victim.leg.poll_event().is_some() {}
    victim.sent();
    assert!(victim.leg.is_empty());
    let late = victim.receive(stream, opening(data(0, b"0123456789", false)));
    assert_eq!(late, Received::Dropped(DropReason::Duplicate));
    assert_eq!(victim.resets(), [(stream, ResetReason::UnknownStream)]);
    assert!(victim.leg.is_empty());
}

#[test]
fn new_incarnation_ends_the_streams_of_the_old_one_and_those_of_this_end() {
    let mut victim = Victim::new(CONFIG);
    let old = victim.opened(0);
    let own = victim.leg.open(victim.now, &Offer::default()).unwrap();
    let new = StreamId::new(Role::Device, 7, 0);
    let received = victim.receive(new, opening(data(0, b"new", false)));
    assert_eq!(received, Received::Handled(new));
    for stream in [old, own] {
        let (reason, by) = (ResetReason::UnknownStream, ResetBy::Peer);
        let event = Event::Reset { stream, reason, by };
        assert_eq!(victim.leg.poll_event(), Some(event));
    }
    assert_eq!(victim.leg.poll_event(), Some(Event::Opened(new)));
    assert_eq!(victim.leg.len(), 1);
    let earlier = StreamId::new(Role::Device, 1, 9);
    let received = victim.receive(earlier, opening(Parts::default()));
    assert_eq!(received, Received::Dropped(DropReason::Duplicate));
}

#[test]
fn lingering_stream_makes_room_for_a_new_one() {
    let config = Config {
        max_streams: 1,
        ..CONFIG
    };
    let conditions = Conditions::default();
    let mut hop = HeapHop::new(1, config, conditions);
    for n in 0..5 {
        let stream = hop.open(hop.device, &body(100, n));
        hop.world.run_for(Duration::from_secs(1)).unwrap();
        hop.assert_carried(hop.gateway, stream, &body(100, n));
        assert_eq!(hop.world.node(hop.gateway).leg.len(), 1);
    }
}

#[test]
fn lost_reset_is_sent_again_until_it_is_answered() {
    let mut hop = HeapHop::new(1, CONFIG, Conditions::default());
    let stream = hop.open(hop.device, &body(5_000, 1));
    hop.world
        .act(hop.gateway, |end, _, _| end.app.is_one_way = true);
    hop.world.run_for(Duration::from_millis(200)).unwrap();
    let is_reset = |datagram: &[u8]| datagram.first() == Some(&0x82);
    let direction = hop.world.direction(GATEWAY, DEVICE);
    for n in 0..3 {
        direction.fault_where(n, Fault::Drop, is_reset);
    }
    hop.world.act(hop.gateway, |end, env, out| {
        let reason = ResetReason::ConnectionLost;
        end.leg.reset(env.now, stream, reason).unwrap();
        end.drive(env, out);
    });
    hop.world.run_until_idle().unwrap();
    let reset = hop.outcome(hop.device, stream).2;
    assert_eq!(reset, Some((ResetReason::ConnectionLost, ResetBy::Peer)));
    for at in [hop.gateway, hop.device] {
        assert!(hop.world.node(at).leg.is_empty());
    }
}

/// Where the path is cut: after which datagram from each end, of those that a calm run has.
#[test]
fn truncation_at_any_point_is_never_an_orderly_end() {
    let sent = body(600, 1);
    let mut complete = 0;
    for cut in 0..60 {
        let config = Config {
            ping_after: Some(Duration::from_secs(60)),
            ..CONFIG
        };
        let mut hop = HeapHop::new(1, config, Conditions::default());
        let count = std::cell::Cell::new(0);
        let drop = move |_: &[u8]| {
            count.set(count.get() + 1);
            count.get() > cut
        };
        hop.world
            .direction(DEVICE, GATEWAY)
            .fault_each(Fault::Drop, drop);
        let stream = hop.open(hop.device, &sent);
        hop.world.run_until_idle().unwrap();
        let (received, ended, reset) = hop.outcome(hop.gateway, stream);
        assert!(sent.starts_with(received), "{cut}");
        assert_eq!(ended, received.len() == sent.len() && ended, "{cut}");
        if ended {
            complete += 1;
        } else {
            let opened = hop.world.node(hop.gateway).app.opened.contains(&stream);
            assert!(!opened || reset.is_some(), "{cut} hangs");
        }
    }
    assert!((1..50).contains(&complete), "{complete}");
}

#[test]
fn restart_in_the_middle_ends_old_streams_and_lets_new_ones_be() {
    for_each_seed(0..200, |seed| {
        let config = Config {
            max_streams: 8,
            max_incoming: 8,
            max_retransmit: 20,
            linger: Duration::from_secs(1_200),
            ping_after: Some(Duration::from_secs(60)),
            ..CONFIG
        };
        let mut hop = HeapHop::new(seed, config, lossy(0.1));
        for at in [hop.gateway, hop.device] {
            hop.world.act(at, |end, _, _| end.session = Some(0));
        }
        let old = hop.open(hop.device, &body(3_000, 1));
        let from_gateway = hop.open(hop.gateway, &body(3_000, 2));
        let moment = Duration::from_millis(seed * 17);
        hop.world.run_for(moment).unwrap();
        let new = hop.world.act(hop.device, |end, env, out| {
            *end = End::<Heap>::new(Role::Device, config, env);
            end.session = Some(1);
            let stream = end.open(env.now, body(3_000, 3));
            end.drive(env, out);
            stream
        });
        hop.world.run_until_idle().unwrap();
        hop.assert_carried(hop.gateway, new, &body(3_000, 3));
        for (stream, sent) in [(old, body(3_000, 1)), (from_gateway, Vec::new())] {
            let (received, ended, reset) = hop.outcome(hop.gateway, stream);
            assert!(sent.starts_with(received), "bytes of another stream");
            let was_opened = hop
                .world
                .node(hop.gateway)
                .app
                .sending
                .contains_key(&stream);
            assert!(!was_opened || ended || reset.is_some(), "{stream:?} hangs");
        }
        let at_device = hop.outcome(hop.device, from_gateway).0;
        assert!(body(3_000, 2).starts_with(at_device));
    });
}

#[test]
fn lost_session_ends_all_streams_and_none_in_order() {
    let mut hop = HeapHop::new(1, CONFIG, Conditions::default());
    let stream = hop.open(hop.device, &body(5_000, 1));
    hop.world.run_for(Duration::from_millis(100)).unwrap();
    hop.world.act(hop.gateway, |end, env, out| {
        end.leg.handle_session_lost(env.now);
        end.drive(env, out);
        assert!(end.leg.is_empty());
        assert_eq!(end.leg.poll_timeout(), None);
    });
    let (_, ended, reset) = hop.outcome(hop.gateway, stream);
    assert!(!ended && reset.is_some());
}

/// A segment that may come from anybody, about the streams that exist and others.
fn any_segment() -> impl Strategy<Value = Vec<u8>> {
    let stream = (any::<bool>(), 0_u16..3, 0_u16..3);
    let number = prop_oneof![0_u32..200, 900_u32..1_200, any::<u32>()];
    let blocks = proptest::collection::vec((1_u16..200, 1_u16..200), 0..4);
    let ack = proptest::option::of((number.clone(), any::<u16>(), blocks));
    let bytes = (number, 0_usize..60, any::<bool>());
    let bytes = proptest::option::of(bytes);
    let kind = (any::<bool>(), any::<bool>(), 0_u8..20, 0_u8..16);
    (stream, ack, bytes, kind).prop_map(|(stream, ack, bytes, kind)| {
        let (is_device, incarnation, counter) = stream;
        let role = match is_device {
            true => Role::Device,
            false => Role::Gateway,
        };
        let stream = StreamId::new(role, incarnation, counter);
        let (has_open, ping, reset, reason) = kind;
        let zeros = [0; 60];
        let data = bytes.and_then(|(offset, len, fin)| Data::new(offset, &zeros[..len], fin).ok());
        let ack = ack.map(|(cumulative, window, blocks)| {
            let mut ranges = Ranges::new();
            let mut position = cumulative.min(u32::MAX - 2_000);
            for (gap, len) in blocks {
                let start = position + u32::from(gap);
                position = start + u32::from(len);
                ranges.insert(start, position);
            }
            Ack {
                cumulative: cumulative.min(u32::MAX - 2_000),
                window,
                blocks: ranges,
            }
        });
        let open = has_open.then(|| Open {
            window: 100,
            port: 1,
            name: Name::default(),
            address: None,
        });
        let body = match reset {
            0 => Body::Reset(ResetReason::from_number(reason)),
            _ => Body::Parts(Parts {
                ack,
                open,
                data,
                ping: ping || (data.is_none() && !has_open),
            }),
        };
        let mut out = [0; 256];
        let len = Segment { stream, body }.encode(&mut out).unwrap();
        out[..len].to_vec()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_comes_the_machine_stays_within_its_bounds(
        steps in proptest::collection::vec((any_segment(), 0_u8..8, 0_u64..5_000), 1..60),
    ) {
        let mut victim = Victim::new(CONFIG);
        let mut has_fin = false;
        for n in 0..2 {
            let own = victim.leg.open(victim.now, &Offer::default()).unwrap();
            victim.leg.write(own, &body(300, n)).unwrap();
        }
        let mut read = 0_usize;
        for (segment, action, pause) in steps {
            has_fin |= segment[0] & 0x04 != 0;
            victim.leg.handle_segment(victim.now, &segment);
            match action {
                0 => {
                    victim.now = victim.now + Duration::from_millis(pause);
                    victim.leg.handle_timeout(victim.now);
                }
                1 => {
                    if let Some(at) = victim.leg.poll_timeout() {
                        victim.now = victim.now.max(at);
                        victim.leg.handle_timeout(victim.now);
                    }
                }
                2..5 => {
                    while let Some(event) = victim.leg.poll_event() {
                        if let Event::Readable(stream) | Event::Opened(stream) = event {
                            let mut out = [0xff; 100];
                            match victim.leg.read(stream, &mut out) {
                                Ok(Read::Bytes(len)) => {
                                    read += len;
                                    prop_assert_eq!(&out[..len], &vec![0; len][..]);
                                }
                                Ok(Read::End) => prop_assert!(has_fin, "an end out of nothing"),
                                Ok(Read::Blocked) | Err(_) => {}
                            }
                            let _ = victim.leg.write(stream, b"answer");
                            let _ = victim.leg.finish(stream);
                        }
                    }
                }
                _ => {}
            }
            let sent = victim.sent();
            for bytes in &sent {
                prop_assert!(bytes.len() <= 64);
                prop_assert!(Segment::decode(bytes).is_ok());
            }
            // What came may at most let the rest of a window go on each stream, and answers.
            prop_assert!(sent.len() <= 60, "{} segments", sent.len());
            prop_assert!(victim.leg.len() <= 4);
        }
        prop_assert!(read <= 60 * 100);
    }

    #[test]
    fn any_bytes_do_no_harm(
        steps in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 1..20),
    ) {
        let mut victim = Victim::new(CONFIG);
        for bytes in steps {
            victim.leg.handle_segment(victim.now, &bytes);
            victim.sent();
            prop_assert!(victim.leg.len() <= 4);
        }
    }
}
