//! Two ends talk as `docs/specs/vectors/leg.py` computed it from the specification.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used)]

use std::convert::Infallible;

use hedgerow_core::{Env, Instant};
use hedgerow_leg::{Config, Event, FixedLeg, Name, Offer, Read, Received, Role, StreamId};

const VECTORS: &str = include_str!("../../../docs/specs/vectors/leg.txt");

/// Draws 0x02, 0x03, 0x04 and so on: the incarnation is 0x0203.
struct Counting(u8);

impl rand_core::TryRng for Counting {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from(self.try_next_u32()?))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for byte in bytes {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Counting {}

type End = FixedLeg<1, 1024>;

/// The conversation, in order: whether it is the device's, and the segment.
fn conversation() -> Vec<(bool, Vec<u8>)> {
    let lines = VECTORS.lines().filter_map(|line| {
        let (who, rest) = line.split_once(' ')?;
        let hex = rest.split_once(" = ")?.1;
        let bytes = (0..hex.len()).step_by(2);
        let bytes = bytes.map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
        match who {
            "device" | "gateway" => Some((who == "device", bytes.collect())),
            _ => None,
        }
    });
    lines.collect()
}

/// Takes what `from` sends, compares it with the next of the conversation and gives it to `to`.
fn pass(
    from: &mut End,
    to: &mut End,
    env: &mut Env<'_>,
    expected: &mut impl Iterator<Item = (bool, Vec<u8>)>,
) -> usize {
    let mut out = [0; 64];
    let mut count = 0;
    while let Some(len) = from.poll_transmit(env, &mut out).unwrap() {
        let (_, next) = expected.next().expect("more than was computed");
        assert_eq!(out[..len], next);
        assert!(matches!(
            to.handle_segment(env.now, &out[..len]),
            Received::Handled(_)
        ));
        count += 1;
    }
    count
}

fn read_all(end: &mut End, stream: StreamId) -> (Vec<u8>, bool) {
    let mut all = Vec::new();
    let mut out = [0; 50];
    loop {
        match end.read(stream, &mut out).unwrap() {
            Read::Bytes(len) => all.extend_from_slice(&out[..len]),
            Read::Blocked => return (all, false),
            Read::End => return (all, true),
        }
    }
}

#[test]
fn both_ends_say_what_the_second_reader_computed() {
    let conversation = conversation();
    let order: Vec<bool> = conversation
        .iter()
        .map(|(is_device, _)| *is_device)
        .collect();
    assert_eq!(order, [true, true, false, true, false]);
    let mut expected = conversation.into_iter();
    let mut rng = Counting(2);
    let mut env = Env::new(Instant::ZERO, &mut rng);
    let config = Config {
        max_segment_len: 64,
        ..Config::default()
    };
    let mut device = End::new(Role::Device, config, &mut env).unwrap();
    let mut gateway = End::new(Role::Gateway, config, &mut env).unwrap();

    let name = Name::new(b"api").unwrap();
    let offer = Offer {
        name,
        ..Offer::default()
    };
    let stream = device.open(env.now, &offer).unwrap();
    let request: Vec<u8> = (0..90).collect();
    assert_eq!(device.write(stream, &request), Ok(90));
    assert_eq!(pass(&mut device, &mut gateway, &mut env, &mut expected), 2);
    assert_eq!(device.unacknowledged(stream), Ok(90));
    assert_eq!(gateway.poll_event(), Some(Event::Opened(stream)));
    assert_eq!(gateway.offer(stream), Ok(offer));
    assert_eq!(read_all(&mut gateway, stream), (request, false));

    let response: Vec<u8> = (0xa0..0xaa).collect();
    gateway.write(stream, &response).unwrap();
    gateway.finish(stream).unwrap();
    assert_eq!(pass(&mut gateway, &mut device, &mut env, &mut expected), 1);
    assert_eq!(device.unacknowledged(stream), Ok(0));
    assert_eq!(gateway.unacknowledged(stream), Ok(response.len()));
    assert_eq!(read_all(&mut device, stream), (response, true));
    device.finish(stream).unwrap();
    assert_eq!(pass(&mut device, &mut gateway, &mut env, &mut expected), 1);
    assert_eq!(read_all(&mut gateway, stream), (Vec::new(), true));
    assert_eq!(pass(&mut gateway, &mut device, &mut env, &mut expected), 1);
    assert_eq!(expected.next(), None);

    for end in [&mut device, &mut gateway] {
        let events = std::iter::from_fn(|| end.poll_event());
        assert_eq!(events.last(), Some(Event::Closed(stream)));
    }
}
