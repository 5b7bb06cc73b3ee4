//! Frames and signaling messages of reliable transports, RFC 8323 §3.2 and §5.
#![allow(
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs
)]

use hedgerow_coap::{
    Abort, CoapUri, Code, Csm, EncodeError, FormatError, Frame, FrameError, FrameHeader, Message,
    MessageWriter, OptionNumber, Release, Scheme, Signal, SignalingError, SignalingMessage, Token,
};
use proptest::prelude::*;

fn message(bytes: &[u8]) -> Message<'_> {
    match Frame::decode(bytes).unwrap() {
        (Frame::Message(message), []) => message,
        other => panic!("{other:?}"),
    }
}

fn signaling(bytes: &[u8]) -> SignalingMessage<'_> {
    match Frame::decode(bytes).unwrap() {
        (Frame::Signaling(message), []) => message,
        other => panic!("{other:?}"),
    }
}

fn encoded(signal: Signal<'_>) -> Vec<u8> {
    let mut out = [0; 600];
    let len = signal.encode(Token::from([0x42]), &mut out).unwrap();
    out[..len].to_vec()
}

/// A message without token and options whose body, with its payload marker, has this length.
fn with_body_len(len: usize, room: usize) -> Result<Vec<u8>, EncodeError> {
    let mut out = vec![0xee; room];
    let writer = MessageWriter::new_framed(&mut out, Code::CONTENT, Token::EMPTY)?;
    let written = match len.checked_sub(1) {
        Some(payload) => writer.payload(&vec![7; payload])?,
        None => writer.finish(),
    };
    out.truncate(written);
    Ok(out)
}

#[test]
fn figure_5_message_without_options_and_payload() {
    let bytes = [0x01, 0x43, 0x7f];
    let decoded = message(&bytes);
    assert_eq!(decoded.code(), Code::VALID);
    assert_eq!(decoded.token(), Token::from([0x7f]));
    assert_eq!(decoded.options().count(), 0);
    assert_eq!(decoded.payload(), b"");
    let mut out = [0; 8];
    let writer = MessageWriter::new_framed(&mut out, Code::VALID, Token::from([0x7f])).unwrap();
    let len = writer.finish();
    assert_eq!(out[..len], bytes);
}

#[test]
fn figures_11_and_12_ping_and_pong() {
    for (bytes, code) in [
        ([0x01, 0xe2, 0x42], Code::PING),
        ([0x01, 0xe3, 0x42], Code::PONG),
    ] {
        let decoded = signaling(&bytes);
        assert_eq!(decoded.code(), code);
        assert_eq!(decoded.token(), Token::from([0x42]));
        let signal = decoded.signal().unwrap();
        assert_eq!(signal.code(), code);
        assert_eq!(encoded(signal), bytes);
    }
}

/// RFC 8323 §3.2.
#[test]
fn length_nibble_changes_at_each_boundary() {
    for (len, head) in [
        (0, &[0x00][..]),
        (12, &[0xc0]),
        (13, &[0xd0, 0]),
        (268, &[0xd0, 255]),
        (269, &[0xe0, 0, 0]),
        (65_804, &[0xe0, 0xff, 0xff]),
        (65_805, &[0xf0, 0, 0, 0, 0]),
        (65_806, &[0xf0, 0, 0, 0, 1]),
    ] {
        let exact = head.len() + 1 + len;
        let bytes = with_body_len(len, exact).unwrap();
        assert_eq!(bytes.len(), exact);
        assert!(
            bytes.starts_with(head),
            "{len}: {:02x?}",
            &bytes[..6.min(exact)]
        );
        // Whatever room the buffer has, the same bytes come out.
        for room in [exact + 1, exact + 2, exact + 5, 300, 70_000] {
            if room >= exact {
                assert_eq!(with_body_len(len, room).unwrap(), bytes, "{len} in {room}");
            }
        }
        assert!(matches!(
            with_body_len(len, exact - 1),
            Err(EncodeError::BufferTooSmall { .. })
        ));
        let header = FrameHeader::decode(&bytes[..head.len()]).unwrap();
        assert_eq!(header.message_len(), exact as u64);
        assert_eq!(message(&bytes).payload().len(), len.saturating_sub(1));
    }
}

#[test]
fn every_room_around_a_boundary_is_used_in_full() {
    for around in [15_usize, 271, 65_808] {
        for room in around.saturating_sub(6)..around + 6 {
            let longest = (0..room)
                .rev()
                .find_map(|len| with_body_len(len, room).ok());
            let len = longest.unwrap().len();
            // One byte more of body would need a longer length field than there is room for.
            assert!(room - len <= 2, "{room}: {len}");
            for shorter in room.saturating_sub(12)..room.saturating_sub(7) {
                let bytes = with_body_len(shorter, room).unwrap();
                assert_eq!(message(&bytes).payload().len(), shorter.saturating_sub(1));
            }
        }
    }
}

#[test]
fn longest_length_that_the_field_can_name_is_known_from_five_bytes() {
    let header = FrameHeader::decode(&[0xf8, 0xff, 0xff, 0xff, 0xff]).unwrap();
    assert_eq!(header.message_len(), 1 + 4 + 1 + 8 + 65_805 + 0xffff_ffff);
    let Err(FrameError::Incomplete { needed }) = Frame::decode(&[0xf8, 0xff, 0xff, 0xff, 0xff])
    else {
        panic!("incomplete");
    };
    assert_eq!(needed, 1 + 8 + 65_805 + 0xffff_ffff);
}

#[test]
fn bytes_still_needed_are_named_exactly() {
    let bytes = with_body_len(300, 400).unwrap();
    for cut in 0..bytes.len() {
        let needed = match cut {
            0 => 1,
            1..3 => 3 - cut,
            _ => bytes.len() - cut,
        };
        assert_eq!(
            Frame::decode(&bytes[..cut]).unwrap_err(),
            FrameError::Incomplete { needed },
            "{cut}"
        );
    }
    let mut two = bytes.clone();
    two.extend_from_slice(&[0x00, 0x00]);
    let (_, rest) = Frame::decode(&two).unwrap();
    assert_eq!(rest, [0x00, 0x00]);
}

/// RFC 7252 §3.
#[test]
fn reserved_token_length_shows_in_the_first_byte() {
    for len in 9..=15 {
        let expected = FrameError::Format(FormatError::ReservedTokenLength { len });
        assert_eq!(FrameHeader::decode(&[0xf0 | len]), Err(expected));
    }
}

#[test]
fn reserved_classes_are_format_errors_and_signaling_is_none() {
    for (code, class) in [(0x20, 1), (0xc0, 6)] {
        let error = Frame::decode(&[0x00, code]).unwrap_err();
        let expected = FormatError::ReservedCodeClass { class };
        assert_eq!(error, FrameError::Format(expected));
        let mut out = [0; 8];
        assert!(matches!(
            MessageWriter::new_framed(&mut out, Code::from(code), Token::EMPTY),
            Err(EncodeError::ReservedCodeClass { .. })
        ));
    }
    assert_eq!(signaling(&[0x00, 0xff]).code(), Code::from(0xff));
}

/// RFC 8323 §3.4.
#[test]
fn empty_messages_are_ignored_with_whatever_they_hold() {
    for bytes in [&[0x00, 0x00][..], &[0x11, 0x00, 0x7f, 0xff]] {
        assert!(matches!(Frame::decode(bytes), Ok((Frame::Empty, []))));
    }
    let mut out = [0; 8];
    let empty = MessageWriter::new_framed(&mut out, Code::EMPTY, Token::EMPTY).unwrap();
    assert_eq!(empty.finish(), 2);
    assert_eq!(out[..2], [0, 0]);
    let token = MessageWriter::new_framed(&mut out, Code::EMPTY, Token::from([1]));
    assert_eq!(token.unwrap_err(), EncodeError::EmptyWithContent);
}

#[test]
fn body_of_a_message_is_checked_as_over_udp() {
    let error = Frame::decode(&[0x10, 0x01, 0xff]).unwrap_err();
    assert_eq!(error, FrameError::Format(FormatError::EmptyPayload));
    let error = Frame::decode(&[0x10, 0xe1, 0xf0]).unwrap_err();
    assert_eq!(error, FrameError::Format(FormatError::ReservedOptionDelta));
    let error = Frame::decode(&[0x20, 0x01, 0x13, 0x00]).unwrap_err();
    assert_eq!(error, FrameError::Format(FormatError::OptionCutOff));
}

/// RFC 8323 §5.3.
#[test]
fn csm_carries_size_and_block_wise_transfer() {
    let csm = Csm {
        max_message_size: Some(1_152),
        block_wise_transfer: true,
    };
    let bytes = encoded(Signal::Csm(csm));
    assert_eq!(bytes, [0x41, 0xe1, 0x42, 0x22, 0x04, 0x80, 0x20]);
    let Ok(Signal::Csm(decoded)) = signaling(&bytes).signal() else {
        panic!("a CSM");
    };
    assert_eq!(decoded, csm);
    let none = signaling(&[0x00, 0xe1]).signal();
    assert!(matches!(none, Ok(Signal::Csm(csm)) if csm == Csm::default()));
    // The longest value is four bytes, and zero is none at all.
    for size in [0, 1, u32::MAX] {
        let csm = Csm {
            max_message_size: Some(size),
            block_wise_transfer: false,
        };
        let bytes = encoded(Signal::Csm(csm));
        assert!(matches!(signaling(&bytes).signal(), Ok(Signal::Csm(decoded)) if decoded == csm));
    }
}

/// RFC 8323 §5.6.
#[test]
fn csm_option_of_undefined_length_is_a_bad_csm_option() {
    // Max-Message-Size of five bytes; Block-Wise-Transfer of one.
    for (bytes, number) in [
        (&[0x60, 0xe1, 0x25, 0, 0, 0, 0, 1][..], 2),
        (&[0x20, 0xe1, 0x41, 0], 4),
    ] {
        let error = signaling(bytes).signal().unwrap_err();
        assert_eq!(error, SignalingError::InvalidCsmOption { number });
        assert_eq!(error.bad_csm_option(), Some(number));
    }
}

/// RFC 8323 §5.2.
#[test]
fn critical_options_abort_and_elective_ones_are_ignored() {
    for code in [
        Code::CSM,
        Code::PING,
        Code::PONG,
        Code::RELEASE,
        Code::ABORT,
    ] {
        let critical = [0x10, u8::from(code), 0x10];
        let error = signaling(&critical).signal().unwrap_err();
        let expected = SignalingError::UnrecognisedCriticalOption { code, number: 1 };
        assert_eq!(error, expected);
        assert_eq!(error.bad_csm_option(), (code == Code::CSM).then_some(1));
        let elective = [0x20, u8::from(code), 0x61, 0x00];
        assert_eq!(signaling(&elective).signal().unwrap().code(), code);
    }
    let code = Code::from(0xe6);
    let unknown = signaling(&[0x00, 0xe6]).signal().unwrap_err();
    assert_eq!(unknown, SignalingError::UnknownCode { code });
    assert_eq!(unknown.bad_csm_option(), None);
}

/// RFC 8323 §5.4.1.
#[test]
fn custody_is_empty_or_no_custody() {
    let bytes = encoded(Signal::Ping { custody: true });
    assert_eq!(bytes, [0x11, 0xe2, 0x42, 0x20]);
    let ping = signaling(&bytes).signal();
    assert!(matches!(ping, Ok(Signal::Ping { custody: true })));
    let odd = signaling(&[0x20, 0xe3, 0x21, 0x00]).signal();
    assert!(matches!(odd, Ok(Signal::Pong { custody: false })));
}

/// RFC 8323 §5.5.
#[test]
fn release_carries_addresses_hold_off_and_text() {
    let addresses = ["[2001:db8::1]:5684", "", "b.example"];
    let release = Release::new()
        .with_alternative_addresses(&addresses)
        .with_hold_off(300)
        .with_diagnostic("moving");
    let bytes = encoded(Signal::Release(release));
    let Ok(Signal::Release(decoded)) = signaling(&bytes).signal() else {
        panic!("a Release");
    };
    let decoded_addresses: Vec<_> = decoded.alternative_addresses().collect();
    assert_eq!(decoded_addresses, ["[2001:db8::1]:5684", "b.example"]);
    assert_eq!(decoded.hold_off(), Some(300));
    assert_eq!(decoded.diagnostic(), b"moving");
    assert_eq!(
        Release::new().with_hold_off(u32::MAX).hold_off(),
        Some(Release::MAX_HOLD_OFF)
    );
    // A Hold-Off of four bytes has no defined length, an address has to be UTF-8.
    let odd = [0x70, 0xe4, 0x21, 0xff, 0x24, 1, 1, 1, 1];
    let Ok(Signal::Release(decoded)) = signaling(&odd).signal() else {
        panic!("a Release");
    };
    assert_eq!(decoded.hold_off(), None);
    assert_eq!(decoded.alternative_addresses().count(), 0);
}

/// RFC 8323 §5.6.
#[test]
fn abort_carries_the_bad_option_and_text() {
    let abort = Abort::new("what?").with_bad_csm_option(9);
    let bytes = encoded(Signal::Abort(abort));
    assert_eq!(bytes[..5], [0x81, 0xe5, 0x42, 0x21, 9]);
    let decoded = signaling(&bytes).signal();
    assert!(matches!(decoded, Ok(Signal::Abort(decoded)) if decoded == abort));
}

#[test]
fn tcp_uris_become_options_and_come_back() {
    // RFC 8323 §8.1, §8.2, §8.6, §8.7.
    for (scheme, port) in [(Scheme::CoapTcp, 5683), (Scheme::CoapsTcp, 5684)] {
        let text = format!("{scheme}://example.org/sensors/temperature?u=Cel");
        let uri = CoapUri::parse(&text).unwrap();
        assert_eq!((uri.scheme(), uri.port()), (scheme, port));
        assert!(scheme.is_tcp());
        let destination = format!("192.0.2.1:{port}").parse().unwrap();
        let mut out = [0; 128];
        let mut writer = MessageWriter::new_framed(&mut out, Code::GET, Token::EMPTY).unwrap();
        uri.write_options(Some(destination), &[], &mut writer)
            .unwrap();
        let len = writer.finish();
        let message = message(&out[..len]);
        assert!(message.option(OptionNumber::URI_PORT).is_none());
        let mut composed = String::new();
        message
            .compose_uri(scheme, destination, &mut composed)
            .unwrap();
        assert_eq!(composed, text);
    }
}

/// Options as numbers and values, in order.
fn options() -> impl Strategy<Value = Vec<(u16, Vec<u8>)>> {
    let value = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        prop::collection::vec(any::<u8>(), 265..275),
    ];
    prop::collection::vec((any::<u16>(), value), 0..5).prop_map(|mut options| {
        options.sort_by_key(|(number, _)| *number);
        options
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_written_is_what_is_read(
        code in prop::sample::select(vec![1_u8, 4, 0x45, 0x84, 0xe1, 0xe4, 0xff]),
        token in prop::collection::vec(any::<u8>(), 0..=8),
        options in options(),
        payload in prop::collection::vec(any::<u8>(), 0..300),
        spare in 0_usize..70_000,
    ) {
        let token = Token::new(&token).unwrap();
        let needed: usize = options.iter().map(|(_, value)| value.len() + 5).sum();
        let mut out = vec![0xee; 14 + needed + 1 + payload.len() + spare];
        let mut writer =
            MessageWriter::new_framed(&mut out, Code::from(code), token).unwrap();
        for (number, value) in &options {
            writer.option(OptionNumber(*number), value).unwrap();
        }
        let len = writer.payload(&payload).unwrap();
        let header = FrameHeader::decode(&out).unwrap();
        prop_assert_eq!(header.message_len(), len as u64);
        let (frame, rest) = Frame::decode(&out[..len]).unwrap();
        prop_assert!(rest.is_empty());
        let (decoded, read, body) = match &frame {
            Frame::Message(message) => (message.token(), message.options(), message.payload()),
            Frame::Signaling(message) => (message.token(), message.options(), message.payload()),
            Frame::Empty => panic!("never empty"),
        };
        prop_assert_eq!(decoded, token);
        let read: Vec<_> = read.map(|o| (o.number().0, o.value().to_vec())).collect();
        prop_assert_eq!(read, options);
        prop_assert_eq!(body, payload);
    }

    #[test]
    fn any_bytes_are_read_without_panic_and_say_the_same_whole_or_cut(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = Frame::decode(&bytes);
        let cut = cut.index(bytes.len() + 1);
        match (Frame::decode(&bytes[..cut]), &whole) {
            (Ok((_, rest)), Ok((_, all))) => {
                prop_assert_eq!(cut - rest.len(), bytes.len() - all.len());
            }
            (Ok(_), Err(_)) => panic!("more bytes took a message away"),
            (Err(FrameError::Incomplete { needed }), Ok((_, rest))) => {
                prop_assert!(needed > 0 && cut + needed <= bytes.len() - rest.len());
            }
            (Err(FrameError::Format(reason)), other) => {
                prop_assert_eq!(other.as_ref().err(), Some(&FrameError::Format(reason)));
            }
            (Err(_), Err(_)) => {}
            (Err(error), Ok(_)) => panic!("{error}"),
        }
        if let Ok((Frame::Signaling(message), _)) = &whole {
            let _ = format!("{message:?} {:?}", message.signal());
        }
    }
}
