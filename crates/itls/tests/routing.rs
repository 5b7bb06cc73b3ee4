//! What the gateway reads, against the vectors of the specification and against any bytes.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod second_reader;

use hedgerow_core::{DropReason, EncodeError, Writer};
use hedgerow_itls::{
    CloseReason, Control, MAX_FLOW_NAME_LEN, MAX_USER_LEN, Open, RoutingHeader, User,
};
use proptest::prelude::*;
use second_reader::{bytes, lines};

#[test]
fn routed_messages_of_the_second_reader_are_read_and_written() {
    let routed = lines("routed");
    assert_eq!(routed.len(), 10);
    let open = |wants_light_layer, name, message| {
        Some(Control::Open(Open {
            wants_light_layer,
            name,
            message,
        }))
    };
    for (name, value) in routed {
        let (flow, control) = match name.as_str() {
            "inner" => (0, None),
            "inner_30" => (30, None),
            "inner_31" => (31, None),
            "inner_65535" => (65_535, None),
            "open" => (2, open(false, b"thermometer", &[1, 1])),
            "open_light" => (2, open(true, b"a", &[1, 1])),
            "open_without_name" => (300, open(false, b"", &[])),
            "close" => (2, Some(Control::Close(CloseReason::Refused))),
            "too_long" => (2, Some(Control::TooLong(1400))),
            "user" => (
                0,
                Some(Control::User(User {
                    takes_flows: true,
                    shown: b"Bearer mF_9.B5f-4.1JqM",
                })),
            ),
            other => panic!("{other} has no counterpart here"),
        };
        let value = bytes(&value);
        let (header, rest) = RoutingHeader::decode(&value).unwrap();
        let is_control = control.is_some();
        assert_eq!(header, RoutingHeader { flow, is_control }, "{name}");
        assert_eq!(header.encoded_len(), value.len() - rest.len());
        let mut out = [0; 100];
        let mut writer = Writer::new(&mut out);
        header.encode(&mut writer).unwrap();
        match control {
            None => {
                assert_eq!(rest, [0x81, 0, b'a', b'b', b'c']);
                writer.bytes(rest).unwrap();
            }
            Some(control) => {
                assert_eq!(Control::decode(rest), Ok(control), "{name}");
                control.encode(&mut writer).unwrap();
            }
        }
        assert_eq!(writer.written(), value, "{name}");
    }
}

#[test]
fn malformed_messages_of_the_second_reader_are_refused() {
    let malformed = lines("malformed");
    assert_eq!(malformed.len(), 15);
    for (name, value) in malformed {
        let value = bytes(&value);
        let read = RoutingHeader::decode(&value).and_then(|(header, rest)| {
            assert!(header.is_control, "{name} was read");
            Control::decode(rest)
        });
        assert_eq!(read, Err(DropReason::Malformed), "{name}");
    }
}

#[test]
fn name_that_does_not_fit_is_not_written() {
    let open = |name| {
        Control::Open(Open {
            wants_light_layer: false,
            name,
            message: &[],
        })
    };
    let mut out = [0; 100];
    let name = [b'a'; MAX_FLOW_NAME_LEN + 1];
    let (len, max) = (name.len(), MAX_FLOW_NAME_LEN);
    let refused = open(&name).encode(&mut Writer::new(&mut out));
    assert_eq!(refused, Err(EncodeError::TooLong { len, max }));
    let longest = open(&name[1..]);
    let mut writer = Writer::new(&mut out);
    longest.encode(&mut writer).unwrap();
    assert_eq!(Control::decode(writer.written()), Ok(longest));
}

#[test]
fn user_that_does_not_fit_is_not_written_and_none_is_printed() {
    let shown = [b'a'; MAX_USER_LEN + 1];
    let user = |shown| {
        Control::User(User {
            takes_flows: false,
            shown,
        })
    };
    let mut out = [0; MAX_USER_LEN + 2];
    let (len, max) = (shown.len(), MAX_USER_LEN);
    let refused = user(&shown).encode(&mut Writer::new(&mut out));
    assert_eq!(refused, Err(EncodeError::TooLong { len, max }));
    let longest = user(&shown[1..]);
    let mut writer = Writer::new(&mut out);
    longest.encode(&mut writer).unwrap();
    assert_eq!(Control::decode(writer.written()), Ok(longest));
    assert_eq!(
        format!("{:?}", user(b"secret")),
        "User(User { takes_flows: false, .. })"
    );
}

#[test]
fn reason_that_is_not_known_counts_as_gone() {
    for code in 4..=u8::MAX {
        let bytes = [2, code];
        assert_eq!(
            Control::decode(&bytes),
            Ok(Control::Close(CloseReason::Gone))
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused_and_mean_the_same_when_written(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..100),
        first in 0xc0..=0xff_u8,
        kind in 0..5_u8,
    ) {
        if let Some(place) = bytes.first_mut() {
            *place = first;
        }
        let type_at = if first & 0x1f == 0x1f { 3 } else { 1 };
        if let Some(place) = bytes.get_mut(type_at) {
            *place = kind;
        }
        let Ok((header, rest)) = RoutingHeader::decode(&bytes) else {
            return Ok(());
        };
        let mut out = [0; 100];
        let mut writer = Writer::new(&mut out);
        header.encode(&mut writer).unwrap();
        prop_assert_eq!(writer.len(), header.encoded_len());
        let mut copy = bytes.clone();
        let mut same = rest.to_vec();
        let read = RoutingHeader::decode_mut(&mut copy);
        prop_assert_eq!(read, Ok((header, same.as_mut_slice())));
        if let (true, Ok(control)) = (header.is_control, Control::decode(rest)) {
            control.encode(&mut writer).unwrap();
            let (read, again) = RoutingHeader::decode(writer.written()).unwrap();
            prop_assert_eq!(read, header);
            prop_assert_eq!(Control::decode(again), Ok(control));
        } else {
            writer.bytes(rest).unwrap();
            prop_assert_eq!(writer.written(), &bytes[..]);
        }
    }
}
