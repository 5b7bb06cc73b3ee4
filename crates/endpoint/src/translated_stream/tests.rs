use alloc::vec::Vec;

use super::*;

const SHORT: TranslateForm = TranslateForm::Short;

fn opened(form: TranslateForm) -> TranslatedStream {
    let mut stream = TranslatedStream::open("a", form, &mut Vec::new()).unwrap();
    let answer: &[u8] = match form {
        TranslateForm::Short => b"HGTR\x01\x01\x00",
        TranslateForm::Long => b"HGTR\x01\x02\x00",
    };
    let (len, event) = stream.stream_to_datagrams(answer).unwrap();
    assert_eq!((len, event), (7, Some(TranslatedEvent::Accepted)));
    stream
}

#[test]
fn answers_but_the_one_that_was_asked_for_end_the_connection() {
    for (answer, error) in [
        (b"HGTR\x01\x02\x00", TranslateError::OtherForm),
        (b"HGTR\x01\x07\x00", TranslateError::OtherForm),
        (b"HGTR\x01\x01\x01", TranslateError::Refused),
        (b"HGTR\x01\x01\x02", TranslateError::Busy),
        (b"HGTR\x01\x01\x03", TranslateError::NotSupported),
        (b"HGTR\x01\x01\x04", TranslateError::NotAnswered),
        (b"HGTR\x02\x01\x00", TranslateError::NotAnswered),
        (b"\x16\xfe\xfd\0\0\0\0", TranslateError::NotAnswered),
        (b"HTTP/1.", TranslateError::Http),
        (b"\x15\x03\x03\0\x02\x02\x0a", TranslateError::Tls),
        (b"SSH-2.0", TranslateError::NotAnswered),
    ] {
        for part in 1..=7 {
            let mut stream = TranslatedStream::open("a", SHORT, &mut Vec::new()).unwrap();
            let mut outcome = Ok(());
            for part in answer.chunks(part) {
                outcome = stream.stream_to_datagrams(part).map(|_| ());
                if outcome.is_err() {
                    break;
                }
            }
            assert_eq!(outcome, Err(error));
            assert_eq!(stream.stream_to_datagrams(b"x"), Err(error), "and stays so");
            assert_eq!(stream.handle_end(), error);
        }
    }
}

#[test]
fn end_of_the_stream_is_a_truncation_wherever_it_comes() {
    let mut stream = TranslatedStream::open("a", SHORT, &mut Vec::new()).unwrap();
    let truncated = |is_within_record| TranslateError::Truncated { is_within_record };
    assert_eq!(stream.handle_end(), TranslateError::Unanswered);
    stream.stream_to_datagrams(b"HGT").unwrap();
    assert_eq!(stream.handle_end(), TranslateError::Unanswered);
    let mut stream = opened(SHORT);
    assert_eq!(stream.handle_end(), truncated(false));
    for (bytes, is_within_record) in [
        (&b"\x15\x03\x03\0\x08"[..], true),
        (b"\0\x01\0\0\0\0\0", true),
    ] {
        assert_eq!(stream.stream_to_datagrams(bytes), Ok((bytes.len(), None)));
        assert_eq!(stream.handle_end(), truncated(is_within_record));
    }
    let (_, event) = stream.stream_to_datagrams(b"\x05").unwrap();
    assert!(matches!(event, Some(TranslatedEvent::Datagram(_))));
    stream.stream_to_datagrams(b"").unwrap();
    assert_eq!(stream.handle_end(), truncated(false));
    // A record that says that more of its datagram comes.
    stream
        .stream_to_datagrams(b"\x14\xfe\xfd\x80\x01\x01")
        .unwrap();
    assert_eq!(stream.handle_end(), truncated(true));
}

#[test]
fn nonce_that_is_no_number_ends_a_handshake_and_no_session() {
    let gcm = b"\x16\x03\x03\0\x09\xa5\xa5\xa5\xa5\xa5\xa5\xa5\xa5x";
    let notice = b"\0\0\0\0\x03\x01\0\x25";
    for bytes in [&gcm[..], notice] {
        let mut stream = opened(SHORT);
        assert_eq!(
            stream.stream_to_datagrams(bytes),
            Err(TranslateError::NonceNotRecordNumber)
        );
        let mut stream = opened(SHORT);
        let good = b"\x16\x03\x03\0\x09\0\x01\0\0\0\0\0\0x";
        let (_, event) = stream.stream_to_datagrams(good).unwrap();
        assert!(matches!(event, Some(TranslatedEvent::Datagram(_))));
        let (len, event) = stream.stream_to_datagrams(bytes).unwrap();
        assert_eq!(len, bytes.len());
        let reason = DropReason::NonceNotRecordNumber;
        assert_eq!(event, Some(TranslatedEvent::Dropped(reason)));
    }
    let mut stream = opened(TranslateForm::Long);
    let notice = b"\0\0\0\0\0\0\0\0\0\0\0\0\x03\x01\0\x25";
    let (_, event) = stream.stream_to_datagrams(notice).unwrap();
    assert!(matches!(event, Some(TranslatedEvent::Dropped(_))));
}

#[test]
fn notices_are_hints() {
    let mut stream = opened(SHORT);
    let (_, event) = stream
        .stream_to_datagrams(b"\0\0\0\0\x03\x02\x05\xc1")
        .unwrap();
    assert_eq!(event, Some(TranslatedEvent::DatagramRefused { len: 1_473 }));
    let (_, event) = stream.stream_to_datagrams(b"\0\0\0\0\x03\x09\0\0").unwrap();
    let reason = DropReason::UnexpectedMessage;
    assert_eq!(event, Some(TranslatedEvent::Dropped(reason)));
}

#[test]
fn what_the_form_cannot_carry_is_named() {
    let mut stream = opened(SHORT);
    let mut out = b"before".to_vec();
    let gcm = b"\x17\xfe\xfd\0\x01\0\0\0\0\0\x01\0\x09\xa5\xa5\xa5\xa5\xa5\xa5\xa5\xa5x";
    let missing = stream.datagram_to_stream(gcm, &mut out);
    assert_eq!(missing, Some(DropReason::NonceNotRecordNumber));
    let with_id = b"\x19\xfe\xfd\0\x01\0\0\0\0\0\x01id\0\x01x";
    let missing = stream.datagram_to_stream(with_id, &mut out);
    assert_eq!(missing, Some(DropReason::ConnectionIdMismatch));
    assert_eq!(out, b"before");
}
