//! The message format against RFC 7252's own examples, at its boundaries, and by properties.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::type_complexity
)]

use hedgerow_coap::{
    Code, DecodeError, EncodeError, FormatError, Header, Message, MessageId, MessageOption,
    MessageType, MessageWriter, OptionNumber, Token,
};
use proptest::prelude::*;

fn format_error(datagram: &[u8]) -> FormatError {
    match Message::decode(datagram) {
        Err(DecodeError::Format { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

/// RFC 7252, figure 16 and its siblings in appendix A: header bytes and what they mean.
#[test]
fn appendix_a_messages_decode_and_encode() {
    let (confirmable, acknowledgement) = (MessageType::Confirmable, MessageType::Acknowledgement);
    let non_confirmable = MessageType::NonConfirmable;
    let temperature = (OptionNumber::URI_PATH, b"temperature".as_slice());
    let cases: [(
        &[u8],
        MessageType,
        Code,
        u16,
        &[u8],
        Option<(OptionNumber, &[u8])>,
        &[u8],
    ); 6] = [
        (
            b"\x40\x01\x7d\x34\xbbtemperature",
            confirmable,
            Code::GET,
            0x7d34,
            b"",
            Some(temperature),
            b"",
        ),
        (
            b"\x60\x45\x7d\x34\xff22.3 C",
            acknowledgement,
            Code::CONTENT,
            0x7d34,
            b"",
            None,
            b"22.3 C",
        ),
        (
            b"\x41\x01\x7d\x35\x20\xbbtemperature",
            confirmable,
            Code::GET,
            0x7d35,
            b"\x20",
            Some(temperature),
            b"",
        ),
        (
            b"\x61\x45\x7d\x35\x20\xff22.3 C",
            acknowledgement,
            Code::CONTENT,
            0x7d35,
            b"\x20",
            None,
            b"22.3 C",
        ),
        (
            b"\x60\x00\x7d\x38",
            acknowledgement,
            Code::EMPTY,
            0x7d38,
            b"",
            None,
            b"",
        ),
        (
            b"\x51\x45\xad\x7b\x75\xff22.3 C",
            non_confirmable,
            Code::CONTENT,
            0xad7b,
            b"\x75",
            None,
            b"22.3 C",
        ),
    ];
    for (bytes, message_type, code, id, token, option, payload) in cases {
        let message = Message::decode(bytes).unwrap();
        assert_eq!(message.message_type(), message_type);
        assert_eq!(message.code(), code);
        assert_eq!(message.message_id(), MessageId(id));
        assert_eq!(message.token().as_bytes(), token);
        assert_eq!(message.payload(), payload);
        let options: Vec<_> = message.options().map(|o| (o.number(), o.value())).collect();
        assert_eq!(options, Vec::from_iter(option));

        let mut out = [0; 64];
        let token = Token::new(token).unwrap();
        let mut writer =
            MessageWriter::new(&mut out, message_type, code, MessageId(id), token).unwrap();
        if let Some((number, value)) = option {
            writer.option(number, value).unwrap();
        }
        let len = writer.payload(payload).unwrap();
        assert_eq!(&out[..len], bytes);
    }
}

#[test]
fn datagrams_without_a_header_are_not_rejectable() {
    for len in 0..=3 {
        let error = Message::decode(&[0x40, 1, 2][..len]).unwrap_err();
        assert_eq!(error, DecodeError::TooShort { len });
        assert_eq!(error.rejectable(), None);
    }
}

#[test]
fn unknown_versions_are_not_rejectable_whatever_follows() {
    for first in [0x00, 0x80, 0xc0, 0xcf] {
        let error = Message::decode(&[first, 0x20, 0, 1, 0xff]).unwrap_err();
        assert_eq!(
            error,
            DecodeError::UnknownVersion {
                version: first >> 6
            }
        );
        assert_eq!(error.rejectable(), None);
    }
}

#[test]
fn format_errors_keep_type_and_message_id() {
    let error = Message::decode(&[0x49, 0x01, 0x12, 0x34]).unwrap_err();
    let header = Header {
        message_type: MessageType::Confirmable,
        code: Code::GET,
        message_id: MessageId(0x1234),
    };
    assert_eq!(error.rejectable(), Some(header));
}

#[test]
fn token_lengths_0_and_8_decode_and_9_to_15_are_format_errors() {
    let message = Message::decode(b"\x48\x01\0\0ABCDEFGH").unwrap();
    assert_eq!(message.token(), Token::from(*b"ABCDEFGH"));
    assert!(Message::decode(b"\x40\x01\0\0").unwrap().token().is_empty());
    assert_eq!(
        format_error(b"\x48\x01\0\0ABCDEFG"),
        FormatError::TokenCutOff
    );
    for len in 9..=15 {
        let mut datagram = [0x41; 32];
        datagram[0] = 0x40 | len;
        datagram[1] = 1;
        assert_eq!(
            format_error(&datagram),
            FormatError::ReservedTokenLength { len }
        );
    }
}

#[test]
fn empty_message_with_anything_behind_it_is_a_format_error() {
    assert_eq!(
        format_error(&[0x40, 0, 0, 1, 0]),
        FormatError::EmptyWithContent
    );
    assert_eq!(
        format_error(&[0x41, 0, 0, 1, 7]),
        FormatError::EmptyWithContent
    );
    assert_eq!(
        format_error(&[0x41, 0, 0, 1]),
        FormatError::EmptyWithContent
    );
    assert!(Message::decode(&[0x70, 0, 0, 1]).is_ok());
}

#[test]
fn reserved_code_classes_are_format_errors() {
    for class in 0..8 {
        let datagram = [0x40, (class << 5) | 1, 0, 1];
        let reserved = matches!(class, 1 | 6 | 7);
        assert_eq!(
            Message::decode(&datagram).is_err(),
            reserved,
            "class {class}"
        );
    }
    assert_eq!(
        format_error(&[0x40, 0xe1, 0, 1]),
        FormatError::ReservedCodeClass { class: 7 }
    );
}

#[test]
fn marker_without_payload_is_a_format_error() {
    assert_eq!(format_error(b"\x40\x01\0\0\xff"), FormatError::EmptyPayload);
    assert_eq!(
        format_error(b"\x40\x01\0\0\xb1a\xff"),
        FormatError::EmptyPayload
    );
    assert_eq!(
        Message::decode(b"\x40\x01\0\0\xff\xff").unwrap().payload(),
        b"\xff"
    );
}

#[test]
fn reserved_delta_and_length_are_format_errors() {
    assert_eq!(
        format_error(b"\x40\x01\0\0\xf0"),
        FormatError::ReservedOptionDelta
    );
    assert_eq!(
        format_error(b"\x40\x01\0\0\x0fabc"),
        FormatError::ReservedOptionLength
    );
    assert_eq!(
        format_error(b"\x40\x01\0\0\xfe"),
        FormatError::ReservedOptionDelta
    );
}

#[test]
fn options_cut_off_anywhere_are_format_errors() {
    // Delta 14 (300), length 13 (20): header of four bytes, value of twenty.
    let mut datagram = Vec::from(*b"\x40\x01\0\0\xed\x00\x1f\x07");
    datagram.extend([0x61; 20]);
    assert!(Message::decode(&datagram).is_ok());
    for len in 5..datagram.len() {
        assert_eq!(
            format_error(&datagram[..len]),
            FormatError::OptionCutOff,
            "{len}"
        );
    }
}

#[test]
fn option_number_over_65535_is_a_format_error() {
    // 65,535 in one delta is 14 with 65,266 behind it.
    let datagram = *b"\x40\x01\0\0\xe0\xfe\xf2";
    let number = Message::decode(&datagram)
        .unwrap()
        .options()
        .next()
        .unwrap()
        .number();
    assert_eq!(number, OptionNumber(65_535));
    assert_eq!(
        format_error(b"\x40\x01\0\0\xe0\xfe\xf3"),
        FormatError::OptionNumberTooLarge
    );
    assert_eq!(
        format_error(b"\x40\x01\0\0\xe0\xfe\xf2\x10"),
        FormatError::OptionNumberTooLarge
    );
    assert_eq!(
        format_error(b"\x40\x01\0\0\xe0\xff\xff"),
        FormatError::OptionNumberTooLarge
    );
    assert_eq!(
        format_error(b"\x40\x01\0\0\xe0\xfe\xf2\xd0\x00"),
        FormatError::OptionNumberTooLarge
    );
}

#[test]
fn deltas_and_lengths_change_form_at_13_and_269() {
    let value = vec![0x5a; 65_804];
    let mut out = vec![0; 70_000];
    for delta in [0, 12, 13, 268, 269, 65_535] {
        for len in [0, 1, 2, 3, 4, 7, 8, 9, 12, 13, 268, 269, 65_535, 65_804] {
            let mut writer = writer(&mut out);
            writer.option(OptionNumber(delta), &value[..len]).unwrap();
            let end = writer.finish();
            let extension = |n: usize| usize::from(n >= 13) + usize::from(n >= 269);
            let delta_extension = extension(usize::from(delta));
            assert_eq!(end, 4 + 1 + delta_extension + extension(len) + len);
            let message = Message::decode(&out[..end]).unwrap();
            let options: Vec<_> = message.options().collect();
            assert_eq!(
                options,
                [MessageOption::new(OptionNumber(delta), &value[..len])]
            );
        }
    }
}

#[test]
fn option_value_over_65804_bytes_is_refused() {
    let mut out = vec![0; 70_000];
    let mut writer = writer(&mut out);
    let value = vec![0; 65_805];
    let result = writer.option(OptionNumber(1), &value);
    assert_eq!(result, Err(EncodeError::OptionTooLong { len: 65_805 }));
}

#[test]
fn options_out_of_order_are_refused_and_change_nothing() {
    let mut out = [0; 32];
    let mut writer = writer(&mut out);
    writer.option(OptionNumber::URI_PATH, b"a").unwrap();
    let result = writer.option(OptionNumber::URI_HOST, b"h");
    assert_eq!(
        result,
        Err(EncodeError::OptionOutOfOrder {
            number: OptionNumber::URI_HOST,
            previous: OptionNumber::URI_PATH,
        })
    );
    writer.option(OptionNumber::URI_PATH, b"b").unwrap();
    let len = writer.finish();
    assert_eq!(&out[..len], b"\x40\x01\0\0\xb1a\x01b");
}

#[test]
fn every_buffer_too_small_is_refused_and_the_exact_one_is_not() {
    let write = |out: &mut [u8]| -> Result<usize, EncodeError> {
        let (code, id) = (Code::GET, MessageId(1));
        let token = Token::from([1, 2, 3]);
        let mut writer = MessageWriter::new(out, MessageType::Confirmable, code, id, token)?;
        writer.option(OptionNumber::URI_PATH, b"abc")?;
        writer.option(OptionNumber::PROXY_URI, b"coap://example/a/long/one")?;
        writer.payload(b"xyz")
    };
    let mut out = [0; 64];
    let whole = write(&mut out).unwrap();
    for len in 0..whole {
        let mut small = vec![0; len];
        let result = write(&mut small);
        assert!(
            matches!(result, Err(EncodeError::BufferTooSmall { .. })),
            "{len}"
        );
    }
    let mut exact = vec![0; whole];
    assert_eq!(write(&mut exact), Ok(whole));
    assert_eq!(exact, &out[..whole]);
}

#[test]
fn empty_message_is_written_without_token_options_and_payload() {
    let mut out = [0; 32];
    let (kind, id) = (MessageType::Reset, MessageId(1));
    let new = MessageWriter::new(&mut out, kind, Code::EMPTY, id, Token::from([1]));
    assert!(matches!(new, Err(EncodeError::EmptyWithContent)));
    let mut writer = MessageWriter::new(&mut out, kind, Code::EMPTY, id, Token::EMPTY).unwrap();
    let refused = Err(EncodeError::EmptyWithContent);
    assert_eq!(writer.option(OptionNumber::ETAG, b"x"), refused);
    assert_eq!(writer.option(OptionNumber(1000), b"x"), refused);
    assert_eq!(writer.payload(b"x").map(|_| ()), refused);
    let new = MessageWriter::new(&mut out, kind, Code::from(0xe0), id, Token::EMPTY);
    assert!(matches!(
        new,
        Err(EncodeError::ReservedCodeClass { class: 7 })
    ));
}

#[test]
fn payload_can_be_written_in_place() {
    let mut out = [0; 8];
    let writer = writer(&mut out);
    assert_eq!(writer.payload_capacity(), 3);
    let len = writer
        .payload_with(|room| {
            room.copy_from_slice(b"abc");
            3
        })
        .unwrap();
    assert_eq!(&out[..len], b"\x40\x01\0\0\xffabc");
}

#[test]
fn payload_longer_than_its_room_is_refused() {
    let mut out = [0; 8];
    let result = writer(&mut out).payload_with(|_| 4);
    assert_eq!(
        result,
        Err(EncodeError::BufferTooSmall {
            needed: 5,
            available: 4
        })
    );
    let mut out = [0; 4];
    assert_eq!(writer(&mut out).payload_with(|_| 0), Ok(4));
    assert!(writer(&mut out).payload_with(|_| usize::MAX).is_err());
}

#[test]
fn debug_output_shows_no_payload_and_no_option_value() {
    let message = Message::decode(b"\x41\x02\0\x01\x20\xb6secret\xffhidden").unwrap();
    let text = format!("{message:?}");
    assert!(
        text.contains("Uri-Path") && text.contains("payload_len: 6"),
        "{text}"
    );
    assert!(!text.contains("115") && !text.contains("secret"), "{text}");
    assert!(!text.contains("104") && !text.contains("hidden"), "{text}");
}

fn writer(out: &mut [u8]) -> MessageWriter<'_> {
    let (kind, id) = (MessageType::Confirmable, MessageId(0));
    MessageWriter::new(out, kind, Code::GET, id, Token::EMPTY).unwrap()
}

/// Writes what `message` means into a new buffer.
fn encode_again(message: &Message<'_>) -> Vec<u8> {
    let mut out = vec![0; 4096];
    let header = message.header();
    let mut writer = MessageWriter::new(
        &mut out,
        header.message_type,
        header.code,
        header.message_id,
        message.token(),
    )
    .unwrap();
    for option in message.options() {
        writer.copy_option(option).unwrap();
    }
    let len = writer.payload(message.payload()).unwrap();
    out.truncate(len);
    out
}

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn encoded_messages_decode_to_what_was_encoded(
        message_type in prop::sample::select(vec![
            MessageType::Confirmable,
            MessageType::NonConfirmable,
            MessageType::Acknowledgement,
            MessageType::Reset,
        ]),
        code in (1..=255_u8).prop_map(Code::from).prop_filter("reserved", |c| !c.is_reserved()),
        id in any::<u16>(),
        token in prop::collection::vec(any::<u8>(), 0..=8),
        mut options in prop::collection::vec(
            (
                prop_oneof![0..30_u16, 240..300_u16, any::<u16>()],
                prop::collection::vec(any::<u8>(), 0..40),
            ),
            0..12,
        ),
        payload in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        options.sort_by_key(|(number, _)| *number);
        let mut out = vec![0; 1024];
        let token = Token::new(&token).unwrap();
        let id = MessageId(id);
        let mut writer = MessageWriter::new(&mut out, message_type, code, id, token).unwrap();
        for (number, value) in &options {
            writer.option(OptionNumber(*number), value).unwrap();
        }
        let len = writer.payload(&payload).unwrap();
        let message = Message::decode(&out[..len]).unwrap();
        prop_assert_eq!(message.header(), Header { message_type, code, message_id: id });
        prop_assert_eq!(message.token(), token);
        prop_assert_eq!(message.payload(), &payload);
        let decoded: Vec<_> =
            message.options().map(|o| (o.number().0, o.value().to_vec())).collect();
        prop_assert_eq!(decoded, options);
        prop_assert_eq!(encode_again(&message), &out[..len]);
    }

    #[test]
    fn any_bytes_decode_or_fail_and_what_decodes_means_the_same_again(
        header in prop_oneof![Just(0x40_u8), Just(0x51), Just(0x64), any::<u8>()],
        rest in prop::collection::vec(
            prop_oneof![any::<u8>(), prop::sample::select(vec![0x00, 0x0d, 0xd1, 0xe0, 0xff])],
            0..48,
        ),
    ) {
        let mut datagram = vec![header];
        datagram.extend(rest);
        let Ok(message) = Message::decode(&datagram) else {
            return Ok(());
        };
        // No delta or length has two forms, so meaning the same is being the same.
        prop_assert_eq!(encode_again(&message), datagram);
    }
}
