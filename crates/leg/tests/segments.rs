//! Segments against the vectors that `docs/specs/vectors/leg.py` computed from the specification, and
//! against any bytes.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hedgerow_leg::{
    Ack, Body, Data, Name, Open, Parts, Ranges, ResetReason, Role, Segment, SegmentError, StreamId,
};
use proptest::prelude::*;

const VECTORS: &str = include_str!("../../../docs/specs/vectors/leg.txt");

fn vectors(kind: &str) -> BTreeMap<String, Vec<u8>> {
    let prefix = format!("{kind} ");
    let lines = VECTORS
        .lines()
        .filter_map(|line| line.strip_prefix(&prefix));
    lines
        .map(|line| {
            let (name, hex) = line.split_once(" =").unwrap();
            let hex = hex.trim();
            let bytes = (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
            (name.to_owned(), bytes.collect())
        })
        .collect()
}

fn parts<'a>() -> Parts<'a> {
    Parts::default()
}

fn ack(cumulative: u32, window: u16, blocks: &[(u32, u32)]) -> Option<Ack> {
    let mut ranges = Ranges::new();
    for (start, end) in blocks {
        assert!(ranges.insert(*start, *end));
    }
    Some(Ack {
        cumulative,
        window,
        blocks: ranges,
    })
}

fn open<'a>(window: u16, port: u16, name: &'a str, address: Option<&str>) -> Option<Open<'a>> {
    Some(Open {
        window,
        port,
        name: Name::new(name.as_bytes()).unwrap(),
        address: address.map(|address| address.parse::<SocketAddr>().unwrap()),
    })
}

fn data(offset: u32, bytes: &[u8], fin: bool) -> Option<Data<'_>> {
    Some(Data::new(offset, bytes, fin).unwrap())
}

/// What the specification's reader meant by each name.
fn expected(name: &str) -> Segment<'static> {
    let hello: &[u8] = &[0x16, 0x03, 0x03];
    let mut stream = StreamId::new(Role::Gateway, 0x1234, 7);
    let device = StreamId::new(Role::Device, 0x7fff, 0xffff);
    let body = match name {
        "open_by_gateway" => Parts {
            open: open(1024, 5684, "", Some("[2001:db8::1]:443")),
            data: data(0, hello, false),
            ..parts()
        },
        "open_by_gateway_ipv4" => Parts {
            open: open(512, 443, "", Some("192.0.2.33:50000")),
            ..parts()
        },
        "open_by_device" => {
            stream = device;
            Parts {
                open: open(65_535, 0, "upstream-server", None),
                data: data(0, hello, false),
                ..parts()
            }
        }
        "open_and_finish" => {
            stream = device;
            Parts {
                open: open(512, 0, "a", None),
                data: data(0, &[], true),
                ..parts()
            }
        }
        "acknowledgement" => Parts {
            ack: ack(3, 1021, &[]),
            ..parts()
        },
        "acknowledgement_of_four_blocks" => Parts {
            ack: ack(
                100,
                924,
                &[(101, 102), (150, 198), (246, 342), (65_877, 131_412)],
            ),
            ..parts()
        },
        "data" => Parts {
            data: data(0x0102_0304, &[0x17, 0x03, 0x03], false),
            ..parts()
        },
        "data_with_acknowledgement_and_ping" => Parts {
            ack: ack(48, 976, &[(96, 106)]),
            data: data(3, &[0], false),
            ping: true,
            ..parts()
        },
        "finish_alone" => Parts {
            ack: ack(10, 512, &[]),
            data: data(90, &[], true),
            ..parts()
        },
        "finish_with_bytes" => Parts {
            data: data(88, &[0x15, 0x03], true),
            ..parts()
        },
        "last_position" => Parts {
            data: data(0xffff_fffd, &[0], true),
            ..parts()
        },
        "ping" => Parts {
            ack: ack(u32::MAX, 0, &[]),
            ping: true,
            ..parts()
        },
        "reset" | "reset_for_a_reason_not_known" => {
            let reason = match name {
                "reset" => ResetReason::UnknownStream,
                _ => ResetReason::Unknown(200),
            };
            let body = Body::Reset(reason);
            return Segment { stream, body };
        }
        other => panic!("{other} has no counterpart here"),
    };
    Segment {
        stream,
        body: Body::Parts(body),
    }
}

#[test]
fn segments_of_the_second_reader_are_read_and_written() {
    let vectors = vectors("segment");
    assert_eq!(vectors.len(), 14);
    for (name, bytes) in vectors {
        let expected = expected(&name);
        assert_eq!(Segment::decode(&bytes).unwrap(), expected, "{name}");
        let mut out = [0; 64];
        let len = expected.encode(&mut out).unwrap();
        assert_eq!(out[..len], bytes, "{name}");
        for short in 0..len {
            let written = expected.encode(&mut out[..short]);
            assert!(matches!(written, Err(SegmentError::Encode(_))), "{name}");
        }
    }
}

#[test]
fn malformed_segments_of_the_second_reader_are_refused() {
    let vectors = vectors("malformed");
    assert_eq!(vectors.len(), 23);
    for (name, bytes) in vectors {
        assert!(Segment::decode(&bytes).is_err(), "{name}");
    }
}

#[test]
fn what_makes_no_segment_is_not_written() {
    let stream = StreamId::new(Role::Gateway, 1, 1);
    let mut out = [0; 64];
    let mut write = |parts| {
        let body = Body::Parts(parts);
        Segment { stream, body }.encode(&mut out)
    };
    assert_eq!(write(parts()), Err(SegmentError::Empty));
    let nothing = Some(Data {
        offset: 0,
        bytes: &[],
        fin: false,
    });
    let data = nothing;
    assert_eq!(
        write(Parts { data, ..parts() }),
        Err(SegmentError::Flags(0x08))
    );
    let data = Some(Data {
        offset: u32::MAX - 1,
        bytes: &[1],
        fin: false,
    });
    assert!(write(Parts { data, ..parts() }).is_err());
    // A block that begins at the cumulative number, or before it, isn't missing anything.
    let ack = ack(10, 0, &[(5, 20)]);
    assert_eq!(write(Parts { ack, ..parts() }), Err(SegmentError::Blocks));
}

#[test]
fn blocks_too_far_away_for_the_format_are_left_out() {
    let stream = StreamId::new(Role::Gateway, 1, 1);
    let body = Body::Parts(Parts {
        ack: ack(0, 0, &[(10, 20), (70_000, 70_001)]),
        ..parts()
    });
    let mut out = [0; 64];
    let len = Segment { stream, body }.encode(&mut out).unwrap();
    let Body::Parts(read) = Segment::decode(&out[..len]).unwrap().body else {
        panic!("no parts");
    };
    assert_eq!(read.ack, ack(0, 0, &[(10, 20)]));
}

fn any_ack() -> impl Strategy<Value = Ack> {
    let blocks = proptest::collection::vec((1..=u16::MAX, 1..=u16::MAX), 0..=4);
    (0..=u32::MAX - 1_000_000, any::<u16>(), blocks).prop_map(|(cumulative, window, blocks)| {
        let mut ranges = Ranges::new();
        let mut position = cumulative;
        for (gap, len) in blocks {
            let start = position + u32::from(gap);
            position = start + u32::from(len);
            ranges.insert(start, position);
        }
        Ack {
            cumulative,
            window,
            blocks: ranges,
        }
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        stream in any::<u32>(),
        ack in proptest::option::of(any_ack()),
        open in proptest::option::of((
            any::<u16>(), any::<u16>(), "[!-~]{0,15}", proptest::option::of(any::<SocketAddr>()),
        )),
        data in proptest::option::of((0..=u32::MAX - 100, proptest::collection::vec(any::<u8>(), 0..99), any::<bool>())),
        ping in any::<bool>(),
    ) {
        let open = open.as_ref().map(|(window, port, name, address)| Open {
            window: *window,
            port: *port,
            name: Name::new(name.as_bytes()).unwrap(),
            // Flow label and scope don't travel.
            address: address.map(|address| SocketAddr::new(address.ip(), address.port())),
        });
        let data = data.as_ref().map(|(offset, bytes, fin)| Data {
            offset: *offset,
            bytes,
            fin: *fin || bytes.is_empty(),
        });
        let is_empty = ack.is_none() && open.is_none() && data.is_none() && !ping;
        let body = Body::Parts(Parts { ack, open, data, ping });
        let segment = Segment { stream: StreamId::from_bits(stream), body };
        let mut out = [0; 300];
        match segment.encode(&mut out) {
            Ok(len) => prop_assert_eq!(Segment::decode(&out[..len]).unwrap(), segment),
            Err(error) => prop_assert!(is_empty, "{}", error),
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused_and_mean_the_same_when_written(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..80),
        flags in 0x80_u8..0xc0,
    ) {
        if let Some(first) = bytes.first_mut() {
            *first = flags;
        }
        if let Ok(segment) = Segment::decode(&bytes) {
            let mut out = [0; 80];
            let len = segment.encode(&mut out).unwrap();
            prop_assert_eq!(&out[..len], &bytes[..]);
        }
    }
}
