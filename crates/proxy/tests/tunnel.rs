//! Tunnels' streams against the vectors of `docs/specs/vectors/tunnel.py`, and whatever else comes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use hedgerow_proxy::{
    Capsule, CapsuleDecoder, CapsuleEncodeError, CapsuleType, ContextId, MAX_UDP_CAPSULE_OVERHEAD,
    MAX_UDP_PAYLOAD_LEN, TunnelDecoder, TunnelDrop, TunnelEvent, TunnelFault,
    encode_datagram_capsule, encode_udp_capsule,
};
use proptest::collection::vec;
use proptest::prelude::*;

const VECTORS: &str = include_str!("../../../docs/specs/vectors/tunnel.txt");

/// What the vectors' reader keeps, in bytes.
const KEPT: usize = 16;

struct Case {
    kind: &'static str,
    name: &'static str,
    lines: Vec<(&'static str, &'static str)>,
}

impl Case {
    fn all(kind: &'static str) -> Vec<Self> {
        let mut cases: Vec<Self> = Vec::new();
        for line in VECTORS.lines() {
            if let Some(case) = line.strip_prefix("case ") {
                let (kind, name) = case.split_once(' ').unwrap();
                let lines = Vec::new();
                cases.push(Self { kind, name, lines });
            } else if let Some((key, value)) = line.split_once(" =") {
                let value = value.strip_prefix(' ').unwrap_or(value);
                cases.last_mut().unwrap().lines.push((key, value));
            }
        }
        cases.retain(|case| case.kind == kind);
        assert!(!cases.is_empty(), "no vectors of the kind {kind}");
        cases
    }

    fn get(&self, key: &str) -> &'static str {
        let mut lines = self.lines.iter();
        let line = lines.find(|(found, _)| *found == key);
        line.unwrap_or_else(|| panic!("{} has no {key}", self.name))
            .1
    }

    fn bytes(&self, key: &str) -> Vec<u8> {
        bytes(self.get(key))
    }
}

fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    let pairs = pairs.map(|pair| std::str::from_utf8(pair).unwrap());
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

/// Reads a stream in pieces and says what came, in the words of the vectors.
fn read<'s>(
    pieces: impl IntoIterator<Item = &'s [u8]>,
    kept: usize,
) -> (Vec<String>, &'static str) {
    let mut decoder = TunnelDecoder::new(kept);
    let mut events = Vec::new();
    for mut piece in pieces {
        loop {
            match decoder.next_event(&mut piece) {
                Ok(Some(TunnelEvent::UdpPayload(payload))) => {
                    let digits: String = payload.iter().map(|it| format!("{it:02x}")).collect();
                    events.push(format!("udp {digits}"));
                }
                Ok(Some(TunnelEvent::Dropped(reason))) => {
                    events.push(format!("dropped {}", reason.name()));
                }
                Ok(Some(TunnelEvent::Probing(message))) => panic!("not asked for: {message:?}"),
                Ok(None) => break,
                Err(TunnelFault::ContextIdMissing) => return (events, "malformed"),
                Err(TunnelFault::PayloadTooLong) => return (events, "abort"),
                Err(other) => panic!("{other:?}"),
            }
            assert!(decoder.buffered_len() <= kept + 16);
        }
        assert!(piece.is_empty());
    }
    match decoder.finish() {
        Ok(()) => (events, "clean"),
        Err(fault) => {
            assert_eq!(fault, TunnelFault::Truncated);
            (events, "truncated")
        }
    }
}

/// RFC 9000 §16, through the one place where a capsule has an integer of any value.
#[test]
fn integers_are_those_of_the_second_reader() {
    for case in Case::all("varint") {
        let (form, value) = (case.bytes("bytes"), case.get("value").parse().unwrap());
        let stream = [form.as_slice(), &[0x00]].concat();
        let mut decoder = CapsuleDecoder::new(100);
        let mut rest = stream.as_slice();
        let found = match decoder.next_capsule(&mut rest) {
            Some(Capsule::Unknown(CapsuleType(found))) => found,
            Some(Capsule::Datagram([])) => 0,
            other => panic!("{}: {other:?}", case.name),
        };
        assert_eq!(found, value, "{}", case.name);
        if case.get("form") == "minimal" {
            let mut out = [0; 32];
            let context = ContextId(value);
            let len = encode_datagram_capsule(context, b"", &mut out).unwrap();
            assert_eq!(&out[2..len], form, "{}", case.name);
        }
    }
}

/// RFC 9297 §3.5, RFC 9298 §5.
#[test]
fn datagrams_are_written_as_the_second_reader_writes_them() {
    for case in Case::all("datagram") {
        let context = ContextId(case.get("context").parse().unwrap());
        let (payload, expected) = (case.bytes("payload"), case.bytes("bytes"));
        let mut out = vec![0; expected.len()];
        let len = encode_datagram_capsule(context, &payload, &mut out);
        assert_eq!((len, out.as_slice()), (Ok(expected.len()), &*expected));
        let short = &mut out[..expected.len() - 1];
        let no_room = CapsuleEncodeError::NoRoom {
            len: expected.len() - 1,
            needed: expected.len(),
        };
        assert_eq!(
            encode_datagram_capsule(context, &payload, short),
            Err(no_room)
        );
        if context == ContextId::UDP_PAYLOAD {
            let mut out = vec![0; payload.len() + MAX_UDP_CAPSULE_OVERHEAD];
            assert_eq!(encode_udp_capsule(&payload, &mut out), Ok(expected.len()));
        }
    }
}

/// RFC 9298 §5: 65,527 bytes, and no more.
#[test]
fn longest_udp_payload_passes_and_no_longer_one() {
    for case in Case::all("longest") {
        let payload_len: usize = case.get("payload_len").parse().unwrap();
        assert_eq!(payload_len, MAX_UDP_PAYLOAD_LEN);
        let payload = vec![0x5a; payload_len];
        let mut out = vec![0; payload_len + MAX_UDP_CAPSULE_OVERHEAD];
        let len = encode_udp_capsule(&payload, &mut out).unwrap();
        assert_eq!(len, out.len());
        assert_eq!(&out[..len - payload_len], case.bytes("head"));
        let mut decoder = TunnelDecoder::new(usize::MAX);
        let event = decoder.next_event(&mut out.as_slice());
        assert_eq!(event, Ok(Some(TunnelEvent::UdpPayload(&payload))));
    }
    let mut out = vec![0; 70_000];
    let payload = vec![0; MAX_UDP_PAYLOAD_LEN + 1];
    let too_long = Err(CapsuleEncodeError::PayloadTooLong(payload.len()));
    assert_eq!(encode_udp_capsule(&payload, &mut out), too_long);
    let context = ContextId((1 << 62) - 1);
    assert!(encode_datagram_capsule(context, b"", &mut out).is_ok());
    let too_large = Err(CapsuleEncodeError::ContextId);
    let context = ContextId(1 << 62);
    assert_eq!(encode_datagram_capsule(context, b"", &mut out), too_large);
}

/// RFC 9297 §3.2 and §3.3, RFC 9298 §5: unknown types and contexts, what is too long, what is cut.
#[test]
fn streams_are_read_as_the_second_reader_reads_them() {
    for case in Case::all("stream") {
        let stream = case.bytes("stream");
        let events: Vec<_> = case
            .lines
            .iter()
            .filter(|(key, _)| *key == "event")
            .collect();
        let events: Vec<_> = events
            .iter()
            .map(|(_, event)| (*event).to_owned())
            .collect();
        let expected = (events, case.get("end"));
        assert_eq!(read([stream.as_slice()], KEPT), expected, "{}", case.name);
        // A byte at a time it is the same stream.
        assert_eq!(read(stream.chunks(1), KEPT), expected, "{}", case.name);
    }
}

#[test]
fn every_reason_has_a_name_of_its_own() {
    let names = TunnelDrop::ALL.map(TunnelDrop::name);
    let expected = [
        "unknown_capsule",
        "unknown_context",
        "too_long",
        "malformed_probe",
    ];
    assert_eq!(names, expected);
}

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(512)
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn payloads_come_out_as_they_went_in(
        payloads in vec(vec(any::<u8>(), 0..200), 0..6),
        cut in 1_usize..50,
    ) {
        let mut stream = Vec::new();
        let mut expected = Vec::new();
        for payload in &payloads {
            let mut out = [0; 200 + MAX_UDP_CAPSULE_OVERHEAD];
            let len = encode_udp_capsule(payload, &mut out).unwrap();
            stream.extend_from_slice(&out[..len]);
            let digits: String = payload.iter().map(|it| format!("{it:02x}")).collect();
            expected.push(format!("udp {digits}"));
        }
        prop_assert_eq!(read(stream.chunks(cut), 200), (expected, "clean"));
    }

    #[test]
    fn any_bytes_are_read_alike_however_they_are_cut(
        stream in vec(prop_oneof![Just(0_u8), Just(1), Just(0x40), any::<u8>()], 0..120),
        cut in 1_usize..40,
    ) {
        prop_assert_eq!(read([stream.as_slice()], KEPT), read(stream.chunks(cut), KEPT));
    }

    #[test]
    fn cut_stream_never_ends_in_order(
        payload in vec(any::<u8>(), 0..100),
        cut in 1_usize..100,
    ) {
        let mut out = [0; 100 + MAX_UDP_CAPSULE_OVERHEAD];
        let len = encode_udp_capsule(&payload, &mut out).unwrap();
        let cut = cut.min(len - 1);
        let (events, end) = read([&out[..cut]], 100);
        prop_assert_eq!((events.len(), end), (0, "truncated"));
    }
}
