//! Segments and the machine of `hedgerow-leg`.

use std::time::Duration;

use hedgerow_core::{Env, Instant};
use hedgerow_leg::{Config, Event, FixedLeg, Offer, Read, ResetReason, Role, Segment, StreamId};
use hedgerow_sim::TestRng;

/// Runs a gateway's leg by a script of steps, each an operation, a length and so many bytes, and asserts
/// that it stays within its bounds: streams, segments, and no byte or end out of nothing.
///
/// Operations, by their low three bits: 0 to 2 a segment arrives, 3 one arrives slightly later, 4 the next
/// timeout, 5 events are taken and everything is read, 6 the bytes are written to the newest stream, or to
/// a new one, 7 the newest stream is finished, asked or given up.
pub fn leg(input: &[u8]) {
    let mut end = End::new();
    let mut rest = input;
    while let Some((&[operation, len], after)) = rest.split_first_chunk() {
        let (bytes, after) = after.split_at(usize::from(len).min(after.len()));
        rest = after;
        end.step(operation, bytes);
        end.send();
        assert!(end.leg.len() <= STREAMS, "more streams than allowed");
    }
    assert!(end.read <= end.arrived, "bytes out of nothing");
}

/// The configuration of the fuzzed leg, for whoever writes seeds.
pub const CONFIG: Config = Config {
    max_streams: STREAMS,
    max_incoming: 3,
    send_buffer: 512,
    receive_buffer: 512,
    max_segment_len: 64,
    recovery: hedgerow_leg::Recovery::Measured {
        initial_timeout: Duration::from_secs(2),
        min_timeout: Duration::from_secs(1),
        initial_window: 4,
    },
    max_retransmit: 3,
    max_timeout: Duration::from_secs(60),
    acknowledge_after: Duration::from_millis(200),
    ping_after: Some(Duration::from_secs(600)),
    linger: Duration::from_secs(247),
};

const STREAMS: usize = 4;

struct End {
    leg: FixedLeg<STREAMS, 512, &'static Config>,
    rng: TestRng,
    now: Instant,
    newest: Option<StreamId>,
    /// Bytes of segments that arrived, which bounds what can be read.
    arrived: usize,
    read: usize,
    has_fin: bool,
}

impl End {
    fn new() -> Self {
        let mut rng = TestRng::new(0);
        let mut env = Env::new(Instant::ZERO, &mut rng);
        let leg = FixedLeg::new(Role::Gateway, &CONFIG, &mut env);
        Self {
            leg: leg.expect("a configuration within the bounds"),
            rng,
            now: Instant::ZERO,
            newest: None,
            arrived: 0,
            read: 0,
            has_fin: false,
        }
    }

    fn step(&mut self, operation: u8, bytes: &[u8]) {
        match operation & 7 {
            0..=3 => {
                if operation & 7 == 3 {
                    self.now = self.now + Duration::from_millis(u64::from(operation));
                }
                self.arrive(bytes);
            }
            4 => {
                if let Some(at) = self.leg.poll_timeout() {
                    self.now = self.now.max(at);
                    self.leg.handle_timeout(self.now);
                }
            }
            5 => self.take(),
            6 => {
                let offer = Offer::default();
                self.newest = self.newest.or_else(|| self.leg.open(self.now, &offer).ok());
                if let Some(stream) = self.newest
                    && let Ok(len) = self.leg.write(stream, bytes)
                {
                    assert!(len <= bytes.len());
                }
            }
            _ => {
                let Some(stream) = self.newest else { return };
                // Each may be refused, and none does harm.
                let _ = match operation >> 6 {
                    0 | 1 => self.leg.finish(stream),
                    2 => self.leg.ping(stream),
                    _ => self.leg.reset(self.now, stream, ResetReason::Application),
                };
            }
        }
    }

    fn arrive(&mut self, bytes: &[u8]) {
        if let Ok(segment) = Segment::decode(bytes) {
            let mut out = [0; 300];
            let len = segment.encode(&mut out).expect("it was decoded");
            assert_eq!(&out[..len], bytes, "one segment, one encoding");
            self.has_fin |= bytes[0] & 0x04 != 0;
            self.arrived += bytes.len();
        }
        self.leg.handle_segment(self.now, bytes);
    }

    fn take(&mut self) {
        while let Some(event) = self.leg.poll_event() {
            let (Event::Opened(stream) | Event::Readable(stream)) = event else {
                continue;
            };
            self.newest = Some(stream);
            let mut out = [0; 100];
            while let Ok(read) = self.leg.read(stream, &mut out) {
                match read {
                    Read::Bytes(len) => self.read += len,
                    Read::Blocked => break,
                    Read::End => {
                        assert!(self.has_fin, "an end out of nothing");
                        break;
                    }
                }
            }
        }
    }

    fn send(&mut self) {
        let mut env = Env::new(self.now, &mut self.rng);
        let mut out = [0; 64];
        // Two buffers of single bytes, and what answers, can't need more.
        let mut left = 2_000;
        while let Some(len) = self.leg.poll_transmit(&mut env, &mut out).expect("room") {
            Segment::decode(&out[..len]).expect("what it writes is a segment");
            left -= 1;
            assert_ne!(left, 0, "sends without end");
        }
    }
}
