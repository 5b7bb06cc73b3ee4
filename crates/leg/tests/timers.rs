//! When a leg sends, again or at all, and when it gives up: one end, driven by hand.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::time::Duration;

use hedgerow_core::{DropReason, Env, Instant};
use hedgerow_leg::{
    Ack, Body, Config, Data, Event, FixedLeg, Offer, Parts, Ranges, Received, Recovery, ResetBy,
    ResetReason, Role, Segment, StreamId,
};
use hedgerow_sim::TestRng;

type End = FixedLeg<2, 2048>;

struct Test {
    end: End,
    rng: TestRng,
    now: Instant,
}

impl Test {
    fn new(role: Role, config: Config) -> Self {
        let mut rng = TestRng::new(1);
        let mut env = Env::new(Instant::ZERO, &mut rng);
        let end = End::new(role, config, &mut env).unwrap();
        Self {
            end,
            rng,
            now: Instant::ZERO,
        }
    }

    fn segment(&mut self) -> Option<Vec<u8>> {
        let mut out = [0; 1024];
        let mut env = Env::new(self.now, &mut self.rng);
        let len = self.end.poll_transmit(&mut env, &mut out).unwrap()?;
        Some(out[..len].to_vec())
    }

    /// Takes all that goes now.
    fn segments(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.segment()).collect()
    }

    fn handle(&mut self, stream: StreamId, parts: Parts<'_>) -> Received {
        let mut out = [0; 1024];
        let body = Body::Parts(parts);
        let len = Segment { stream, body }.encode(&mut out).unwrap();
        self.end.handle_segment(self.now, &out[..len])
    }

    /// Goes to the next timeout and returns how long that took.
    fn wait(&mut self) -> Duration {
        let at = self.end.poll_timeout().unwrap();
        let waited = at.saturating_since(self.now);
        let early = Instant::from_micros(at.as_micros() - 1);
        self.end.handle_timeout(early);
        self.now = early;
        assert_eq!(self.segments(), [[0; 0]; 0], "too early");
        self.now = at;
        self.end.handle_timeout(at);
        waited
    }

    fn opened(config: Config, len: usize) -> (Self, StreamId) {
        let mut test = Self::new(Role::Device, config);
        let stream = test.end.open(test.now, &Offer::default()).unwrap();
        test.end.write(stream, &vec![7; len]).unwrap();
        (test, stream)
    }
}

fn ack(cumulative: u32, blocks: &[(u32, u32)]) -> Parts<'static> {
    let mut ranges = Ranges::new();
    for (start, end) in blocks {
        ranges.insert(*start, *end);
    }
    Parts {
        ack: Some(Ack {
            cumulative,
            window: 2_000,
            blocks: ranges,
        }),
        ..Parts::default()
    }
}

fn data(offset: u32, bytes: &[u8], fin: bool) -> Parts<'_> {
    Parts {
        data: Some(Data { offset, bytes, fin }),
        ..Parts::default()
    }
}

fn config(max_segment_len: usize) -> Config {
    Config {
        max_segment_len,
        ping_after: None,
        ..Config::default()
    }
}

/// RFC 6298 §5.1, §5.5: the timer runs from the first segment on and doubles.
#[test]
fn silence_is_answered_with_the_same_bytes_at_doubled_intervals_and_then_given_up() {
    let (mut test, stream) = Test::opened(config(64), 30);
    let first = test.segments();
    assert_eq!(first.len(), 1);
    let mut waits = Vec::new();
    loop {
        waits.push(test.wait().as_secs());
        let again = test.segments();
        if again != first {
            let reset = Segment::decode(&again[0]).unwrap().body;
            assert_eq!(reset, Body::Reset(ResetReason::Timeout));
            break;
        }
    }
    assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60, 60, 60]);
    let (reason, by) = (ResetReason::Timeout, ResetBy::Leg);
    let event = Event::Reset { stream, reason, by };
    assert_eq!(test.end.poll_event(), Some(event));
    // The RESET isn't answered either, and is forgotten in the end.
    let mut resets = 1;
    while !test.end.is_empty() {
        test.wait();
        resets += test.segments().len();
    }
    assert_eq!(resets, 9);
    assert_eq!(test.end.poll_timeout(), None);
}

#[test]
fn constrained_profile_waits_for_each_segment_at_random() {
    let config = Config {
        recovery: Recovery::CONSTRAINED,
        ..config(64)
    };
    let (mut test, stream) = Test::opened(config, 200);
    let mut offset = 0;
    let mut waits = Vec::new();
    while offset < 200 {
        let sent = test.segments();
        assert_eq!(sent.len(), 1);
        let wait = test.end.poll_timeout().unwrap().saturating_since(test.now);
        assert!((2_000..=3_000).contains(&wait.as_millis()), "{wait:?}");
        waits.push(wait);
        let Body::Parts(Parts {
            data: Some(data),
            ping,
            ..
        }) = Segment::decode(&sent[0]).unwrap().body
        else {
            panic!("no bytes");
        };
        offset = data.end();
        assert_eq!(
            ping,
            offset < 200,
            "more waits, so it is to be acknowledged at once"
        );
        assert_eq!(
            test.handle(stream, ack(offset, &[])),
            Received::Handled(stream)
        );
    }
    waits.dedup();
    assert!(waits.len() > 1, "without a random factor");
    assert_eq!(test.end.poll_timeout(), None);
}

#[test]
fn measured_round_trips_move_the_timer_and_not_below_its_floor() {
    for (round_trip, expected) in [(10, 1_000), (900, 900 + 4 * 450)] {
        let (mut test, stream) = Test::opened(config(64), 30);
        test.segments();
        test.now = test.now + Duration::from_millis(round_trip);
        test.handle(stream, ack(30, &[]));
        test.end.write(stream, b"more").unwrap();
        assert_eq!(test.segments().len(), 1);
        let wait = test.end.poll_timeout().unwrap().saturating_since(test.now);
        assert_eq!(wait, Duration::from_millis(expected));
    }
}

#[test]
fn three_segments_behind_a_gap_bring_its_bytes_again_without_a_timeout() {
    let config = Config {
        recovery: Recovery::Measured {
            initial_timeout: Duration::from_secs(2),
            min_timeout: Duration::from_secs(1),
            initial_window: 8,
        },
        ..config(64)
    };
    let (mut test, stream) = Test::opened(config, 300);
    let first = test.segments();
    assert_eq!(first.len(), 6);
    let Body::Parts(lost) = Segment::decode(&first[1]).unwrap().body else {
        panic!("no parts");
    };
    let lost = lost.data.unwrap();
    test.handle(stream, ack(lost.offset, &[]));
    for behind in [50, 100] {
        test.handle(
            stream,
            ack(lost.offset, &[(lost.end(), lost.end() + behind)]),
        );
        assert_eq!(test.segments(), [[0; 0]; 0]);
    }
    test.handle(stream, ack(lost.offset, &[(lost.end(), lost.end() + 150)]));
    let again = test.segments();
    let Body::Parts(again) = Segment::decode(&again[0]).unwrap().body else {
        panic!("no parts");
    };
    let again = again.data.unwrap();
    assert_eq!(again.offset, lost.offset);
    assert!(again.bytes.starts_with(&lost.bytes[..again.bytes.len()]));
}

#[test]
fn acknowledgement_waits_for_a_second_segment_or_200_ms() {
    let mut test = Test::new(Role::Gateway, config(64));
    let stream = StreamId::new(Role::Device, 1, 0);
    let open = Parts {
        open: Some(hedgerow_leg::Open {
            window: 512,
            port: 0,
            name: Default::default(),
            address: None,
        }),
        ..data(0, b"ab", false)
    };
    assert_eq!(test.handle(stream, open), Received::Handled(stream));
    assert_eq!(test.segments(), [[0; 0]; 0]);
    assert_eq!(test.wait(), Duration::from_millis(200));
    assert_eq!(test.segments().len(), 1);
    test.handle(stream, data(2, b"c", false));
    assert_eq!(test.segments(), [[0; 0]; 0]);
    test.handle(stream, data(3, b"d", false));
    assert_eq!(test.segments().len(), 1, "the second one");
    let twice = test.handle(stream, data(3, b"d", false));
    assert_eq!(twice, Received::Dropped(DropReason::Duplicate));
    assert_eq!(test.segments().len(), 1, "what comes twice");
    test.handle(stream, data(6, b"g", false));
    assert_eq!(test.segments().len(), 1, "what lies behind a gap");
    let ping = Parts {
        ping: true,
        ..Parts::default()
    };
    test.handle(stream, ping);
    assert_eq!(test.segments().len(), 1, "what is asked for");
    test.handle(stream, data(4, b"efg", true));
    assert_eq!(test.segments().len(), 1, "the end");
    assert_eq!(test.end.poll_timeout(), None);
}

#[test]
fn ping_of_the_application_finds_a_silent_end() {
    let (mut test, stream) = Test::opened(config(64), 10);
    test.segments();
    test.handle(stream, ack(10, &[]));
    assert_eq!(test.end.poll_timeout(), None);
    test.end.ping(stream).unwrap();
    assert_eq!(test.segments().len(), 1);
    test.handle(stream, ack(10, &[]));
    assert_eq!(test.end.poll_timeout(), None, "it was answered");
    test.end.ping(stream).unwrap();
    let mut sent = test.segments().len();
    while test.end.poll_event().is_none() {
        test.wait();
        sent += test.segments().len();
    }
    assert_eq!(sent, 1 + 8 + 1, "pings, and the RESET");
}

#[test]
fn silent_end_is_asked_after_a_time_and_once_it_answers_again_after_that_time() {
    let config = Config {
        ping_after: Some(Duration::from_secs(300)),
        ..config(64)
    };
    let (mut test, stream) = Test::opened(config, 10);
    test.segments();
    for _ in 0..3 {
        test.handle(stream, ack(10, &[]));
        assert_eq!(test.wait(), Duration::from_secs(300));
        assert_eq!(test.segments().len(), 1);
        assert_eq!(test.end.poll_event(), None);
    }
    while test.end.poll_event().is_none() {
        test.wait();
        test.segments();
    }
}

#[test]
fn longest_open_fits_the_shortest_segment_and_its_bytes_follow() {
    for bytes in [b"first".as_slice(), b""] {
        let mut test = Test::new(Role::Device, config(48));
        let mut gateway = Test::new(Role::Gateway, config(48));
        let offer = Offer {
            port: 65_535,
            name: hedgerow_leg::Name::new(b"fifteen-octets!").unwrap(),
            address: Some("[2001:db8::1]:443".parse().unwrap()),
        };
        let stream = test.end.open(test.now, &offer).unwrap();
        test.end.write(stream, bytes).unwrap();
        test.end.finish(stream).unwrap();
        let mut read = Vec::new();
        for _ in 0..3 {
            for segment in test.segments() {
                assert!(segment.len() <= 48);
                gateway.end.handle_segment(gateway.now, &segment);
            }
            while gateway.end.poll_event().is_some() {}
            let mut out = [0; 10];
            while let Ok(hedgerow_leg::Read::Bytes(len)) = gateway.end.read(stream, &mut out) {
                read.extend_from_slice(&out[..len]);
            }
            assert_eq!(gateway.end.offer(stream), Ok(offer));
            // The acknowledgement of the OPEN is a late one.
            if let Some(at) = gateway.end.poll_timeout() {
                gateway.now = at;
                gateway.end.handle_timeout(at);
            }
            for segment in gateway.segments() {
                test.end.handle_segment(test.now, &segment);
            }
        }
        assert_eq!(read, bytes);
        let end = gateway.end.read(stream, &mut [0; 10]);
        assert_eq!(end, Ok(hedgerow_leg::Read::End));
    }
}

fn with_window(initial_window: u8) -> Config {
    Config {
        recovery: Recovery::Measured {
            initial_timeout: Duration::from_secs(2),
            min_timeout: Duration::from_secs(1),
            initial_window,
        },
        ..config(64)
    }
}

#[test]
fn expired_timer_sends_whatever_other_streams_have_in_flight() {
    let (mut test, _) = Test::opened(with_window(2), 30);
    let sent = test.segments();
    test.now = test.now + Duration::from_secs(1);
    let second = test.end.open(test.now, &Offer::default()).unwrap();
    test.end.write(second, &[7; 40]).unwrap();
    assert_eq!(test.segments().len(), 1);
    assert_eq!(test.wait(), Duration::from_secs(1));
    assert_eq!(test.segments(), sent, "OPEN and bytes of the first");
}

#[test]
fn rest_of_a_window_waits_for_more_while_bytes_are_in_flight() {
    let (mut test, _) = Test::opened(with_window(100), 1_000);
    let sent = test.segments();
    // 512 positions may go; what is left of them after whole segments would be a short one.
    assert!(sent.iter().all(|segment| segment.len() == 64));
    assert_eq!(sent.len(), 9);
}

#[test]
fn timer_of_a_closed_window_is_not_that_of_the_bytes_that_follow() {
    let (mut test, stream) = Test::opened(with_window(100), 1_000);
    let count = test.segments().len();
    let sent = u32::try_from(49 + 55 * (count - 1)).unwrap();
    let closed = |cumulative, window| Parts {
        ack: Some(Ack {
            cumulative,
            window,
            blocks: Ranges::new(),
        }),
        ..Parts::default()
    };
    test.handle(stream, closed(sent, 0));
    // The rest of the first 512 goes, and then nothing.
    let rest = test.segments().len();
    assert_eq!(rest, 1);
    test.handle(stream, closed(512, 0));
    assert_eq!(test.segments(), [[0; 0]; 0]);
    test.now = test.now + Duration::from_millis(900);
    test.handle(stream, closed(512, 100));
    assert!(!test.segments().is_empty());
    let wait = test.end.poll_timeout().unwrap().saturating_since(test.now);
    assert_eq!(wait, Duration::from_secs(1));
}

#[test]
fn ended_stream_is_remembered_from_its_last_repetition_on() {
    let config = Config {
        linger: Duration::from_secs(100),
        ..config(64)
    };
    let (mut test, stream) = Test::opened(config, 0);
    test.end.finish(stream).unwrap();
    test.segments();
    let end = || Parts {
        ack: ack(1, &[]).ack,
        ..data(0, b"", true)
    };
    test.handle(stream, end());
    let read = test.end.read(stream, &mut [0; 1]);
    assert_eq!(read, Ok(hedgerow_leg::Read::End));
    assert_eq!(test.end.poll_event(), Some(Event::Readable(stream)));
    assert_eq!(test.end.poll_event(), Some(Event::Closed(stream)));
    assert_eq!(test.segments().len(), 1);
    for _ in 0..3 {
        test.now = test.now + Duration::from_secs(70);
        test.end.handle_timeout(test.now);
        let again = test.handle(stream, end());
        assert_eq!(again, Received::Dropped(DropReason::Duplicate));
        assert_eq!(test.segments().len(), 1, "it is acknowledged again");
    }
    assert_eq!(test.wait(), Duration::from_secs(100));
    assert!(test.end.is_empty());
}
