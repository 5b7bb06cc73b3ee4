//! Messages and offers of the mode `auto` against `docs/specs/vectors/auto.py`, and whatever else comes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::time::Duration;

use hedgerow_core::Instant;
use hedgerow_proxy::{
    CarrierKind, CarrierMessage, CarrierMessageError, CarrierRole, CarrierSelector, ContextId,
    MAX_UDP_CARRIER_MESSAGE_LEN, ProbeNumber, TunnelDecoder, TunnelDrop, TunnelEvent, UDP_CARRIER,
    UdpCarrierOffer, asks_for_udp_carrier, encode_datagram_capsule, encode_echo, encode_probe,
    encode_udp_payload,
};
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

const VECTORS: &str = include_str!("../../../docs/specs/vectors/auto.txt");

struct Case(&'static str, Vec<(&'static str, &'static str)>);

impl Case {
    fn all(kind: &str) -> Vec<Self> {
        let cases = VECTORS.split("\ncase ").skip(1).filter_map(|text| {
            let mut lines = text.lines();
            let name = lines.next()?.strip_prefix(kind)?.strip_prefix(' ')?;
            let lines = lines.filter_map(|line| {
                line.split_once(" = ")
                    .or_else(|| Some((line.strip_suffix(" =")?, "")))
            });
            Some(Self(name, lines.collect()))
        });
        let cases: Vec<_> = cases.collect();
        assert!(!cases.is_empty(), "no vectors of the kind {kind}");
        cases
    }

    fn get(&self, key: &str) -> &'static str {
        let found = self.1.iter().find(|line| line.0 == key);
        found.unwrap_or_else(|| panic!("{} has no {key}", self.0)).1
    }

    fn bytes(&self, key: &str) -> Vec<u8> {
        let digits = self.get(key).as_bytes();
        let pairs = digits
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).unwrap());
        pairs
            .map(|pair| u8::from_str_radix(pair, 16).unwrap())
            .collect()
    }

    fn number(&self, key: &str) -> u64 {
        self.get(key).parse().unwrap()
    }
}

/// What a tunnel's decoder makes of one capsule.
fn event_of<R>(capsule: &[u8], see: impl FnOnce(TunnelEvent<'_>) -> R) -> R {
    let mut decoder = TunnelDecoder::new(1_500).with_probes();
    let mut bytes = capsule;
    let seen = see(decoder.next_event(&mut bytes).unwrap().unwrap());
    assert!(bytes.is_empty());
    seen
}

#[test]
fn payloads_are_as_the_vectors_have_them() {
    for case in Case::all("payload") {
        let (payload, message) = (case.bytes("payload"), case.bytes("message"));
        let mut out = [0; 2_000];
        let len = encode_udp_payload(&payload, &mut out).unwrap();
        assert_eq!(out[..len], message, "{}", case.0);
        assert_eq!(encode_udp_payload(&payload, &mut out[..len - 1]), None);
        let decoded = CarrierMessage::decode_exact(&message);
        assert_eq!(decoded, Ok(CarrierMessage::UdpPayload(&payload)));
        event_of(&case.bytes("capsule"), |event| {
            assert_eq!(event, TunnelEvent::UdpPayload(&payload));
        });
    }
}

#[test]
fn probes_and_echoes_are_as_the_vectors_have_them() {
    for case in Case::all("probe") {
        let (message, echo) = (case.bytes("message"), case.bytes("echo"));
        let number = ProbeNumber(case.number("number"));
        let mut out = [0xff; 2_000];
        assert_eq!(
            encode_probe(number, message.len(), &mut out),
            Some(message.len())
        );
        assert_eq!(out[..message.len()], message, "{}", case.0);
        assert_eq!(
            encode_probe(number, message.len(), &mut out[..message.len() - 1]),
            None
        );
        let Ok(CarrierMessage::Probe(probe)) = CarrierMessage::decode_exact(&message) else {
            panic!("{} is no probe", case.0);
        };
        let len = encode_echo(probe, &mut out).unwrap();
        assert_eq!(out[..len], echo);
        assert_eq!(
            CarrierMessage::decode_exact(&echo),
            Ok(CarrierMessage::Echo(number))
        );
        event_of(&case.bytes("capsule"), |event| {
            assert_eq!(event, TunnelEvent::Probing(CarrierMessage::Probe(probe)));
        });
        // Whoever hasn't asked for probes knows none.
        let capsule = case.bytes("capsule");
        let mut plain = TunnelDecoder::new(1_500);
        let event = plain.next_event(&mut capsule.as_slice()).unwrap().unwrap();
        assert_eq!(event, TunnelEvent::Dropped(TunnelDrop::UnknownContext));
    }
    for len in [8, MAX_UDP_CARRIER_MESSAGE_LEN + 1] {
        assert_eq!(encode_probe(ProbeNumber(0), len, &mut [0; 2_000]), None);
    }
}

#[test]
fn malformed_messages_are_refused() {
    for case in Case::all("malformed") {
        let message = case.bytes("message");
        let malformed = Err(CarrierMessageError::Malformed);
        assert_eq!(
            CarrierMessage::decode_exact(&message),
            malformed,
            "{}",
            case.0
        );
        // In a capsule a probe is no reason to end the tunnel, a missing context is.
        let mut capsule = [0; 2_000];
        let Some((context @ (2 | 4), payload)) = message.split_first() else {
            continue;
        };
        let context = ContextId(u64::from(*context));
        let len = encode_datagram_capsule(context, payload, &mut capsule).unwrap();
        for kept in [1_500, 9] {
            let mut decoder = TunnelDecoder::new(kept).with_probes();
            let event = decoder.next_event(&mut &capsule[..len]).unwrap().unwrap();
            let dropped = TunnelEvent::Dropped(TunnelDrop::MalformedProbe);
            assert_eq!(event, dropped, "{} of {kept}", case.0);
        }
    }
    for case in Case::all("unknown") {
        let unknown = Err(CarrierMessageError::UnknownContext(case.number("context")));
        assert_eq!(
            CarrierMessage::decode_exact(&case.bytes("message")),
            unknown
        );
    }
}

fn headers(field: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(UDP_CARRIER, HeaderValue::from_str(field).unwrap());
    headers
}

#[test]
fn offers_are_as_the_vectors_have_them() {
    for case in Case::all("offer") {
        let offer = UdpCarrierOffer::of(&headers(case.get("field"))).unwrap();
        assert_eq!(u64::from(offer.port()), case.number("port"));
        assert_eq!(offer.identity()[..], case.bytes("identity"));
        assert_eq!(offer.psk().unwrap().expose(), case.bytes("psk"));
        let field = offer.to_field().unwrap();
        assert_eq!(field.to_str().unwrap(), case.get("field"));
        assert!(field.is_sensitive());
        assert_eq!(
            format!("{offer:?}"),
            format!("UdpCarrierOffer(port {})", offer.port())
        );
    }
    for case in Case::all("no_offer") {
        assert!(
            UdpCarrierOffer::of(&headers(case.get("field"))).is_none(),
            "{}",
            case.0
        );
    }
    let mut twice = headers(Case::all("offer")[0].get("field"));
    twice.append(UDP_CARRIER, HeaderValue::from_static("?1"));
    assert!(UdpCarrierOffer::of(&twice).is_none());
    assert!(!asks_for_udp_carrier(&twice));
    assert!(asks_for_udp_carrier(&headers("?1")));
    assert!(!asks_for_udp_carrier(&headers("?0")));
    assert!(!asks_for_udp_carrier(&HeaderMap::new()));
}

/// The round trips of the vectors, told to a selector, give the time after which a probe is overdue.
#[test]
fn probes_are_waited_for_as_long_as_the_vectors_say() {
    for case in Case::all("timeout") {
        let mut now = Instant::ZERO;
        let mut selector = CarrierSelector::new(CarrierRole::Gateway, now);
        for sample in case.get("samples").split(' ') {
            selector.udp_opened(now);
            let (carrier, number) = selector.poll_probe(now).unwrap();
            assert_eq!(carrier, CarrierKind::Udp);
            now = now + Duration::from_millis(sample.parse().unwrap());
            selector.handle_echo(now, carrier, number);
        }
        selector.udp_opened(now);
        for sent in 0..10 {
            let at = now + Duration::from_millis(sent * 200);
            while selector.poll_probe(at).is_some() {}
        }
        // With all ten sent, what is due next is the first one's end.
        let end = selector.poll_timeout().unwrap();
        let due = end.saturating_since(now).as_secs_f64() * 1_000.0;
        let expected: f64 = case.get("timeout").parse().unwrap();
        assert!(
            (due - expected).abs() < 0.01,
            "{}: {due}, not {expected}",
            case.0
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..1_300)) {
        let mut out = [0; 1_400];
        match CarrierMessage::decode_exact(&bytes) {
            Ok(CarrierMessage::UdpPayload(payload)) => {
                let len = encode_udp_payload(payload, &mut out).unwrap();
                let again = CarrierMessage::decode_exact(&out[..len]);
                prop_assert_eq!(again, Ok(CarrierMessage::UdpPayload(payload)));
            }
            Ok(CarrierMessage::Probe(probe)) => {
                let len = encode_echo(probe, &mut out).unwrap();
                prop_assert!(matches!(
                    CarrierMessage::decode_exact(&out[..len]),
                    Ok(CarrierMessage::Echo(_))
                ));
            }
            Ok(CarrierMessage::Echo(_)) | Err(_) => {}
        }
    }

    #[test]
    fn any_field_is_an_offer_or_none(field in "[ -~]{0,120}") {
        if let Some(offer) = UdpCarrierOffer::of(&headers(&field)) {
            let again = offer.to_field().unwrap();
            prop_assert_eq!(again.to_str().unwrap(), field);
        }
    }
}
