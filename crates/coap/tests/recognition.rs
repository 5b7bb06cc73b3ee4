//! Which options count as recognised, RFC 7252 §5.4, and which belong to a cache key, §5.6.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use hedgerow_coap::{Code, Message, MessageId, MessageType, MessageWriter, OptionNumber, Token};

/// Writes a request with these options and hands its decoded form on.
fn with_options<R>(options: &[(OptionNumber, &[u8])], check: impl FnOnce(Message<'_>) -> R) -> R {
    let mut out = [0; 512];
    let (kind, id) = (MessageType::Confirmable, MessageId(1));
    let mut writer = MessageWriter::new(&mut out, kind, Code::GET, id, Token::EMPTY).unwrap();
    for (number, value) in options {
        writer.option(*number, value).unwrap();
    }
    let len = writer.finish();
    check(Message::decode(&out[..len]).unwrap())
}

#[test]
fn critical_option_not_understood_is_found_and_elective_one_is_not() {
    let options: [(OptionNumber, &[u8]); 3] = [
        (OptionNumber::ETAG, b"e"),
        (OptionNumber::URI_PATH, b"a"),
        (OptionNumber::ACCEPT, b"2"),
    ];
    with_options(&options, |message| {
        let found = message.unrecognised_critical(|number| number == OptionNumber::URI_PATH);
        assert_eq!(found.unwrap().number(), OptionNumber::ACCEPT);
        assert_eq!(message.unrecognised_critical(|_| true), None);
        let both = message.unrecognised_options(|number| number == OptionNumber::URI_PATH);
        assert_eq!(both.count(), 2);
    });
}

#[test]
fn repetition_of_an_unrepeatable_option_counts_as_unrecognised() {
    let options: [(OptionNumber, &[u8]); 3] = [
        (OptionNumber::URI_PORT, b"\x16\x33"),
        (OptionNumber::URI_PORT, b"\x16\x34"),
        (OptionNumber::URI_PORT, b"\x16\x35"),
    ];
    with_options(&options, |message| {
        assert_eq!(
            message.option(OptionNumber::URI_PORT).unwrap().as_uint(),
            Some(5683)
        );
        assert_eq!(message.options_numbered(OptionNumber::URI_PORT).count(), 1);
        assert_eq!(message.recognised_options(|_| true).count(), 1);
        let found = message.unrecognised_critical(|_| true).unwrap();
        assert_eq!(found.as_uint(), Some(5684));
    });
}

#[test]
fn repeatable_options_count_as_often_as_they_occur() {
    let options: [(OptionNumber, &[u8]); 3] = [
        (OptionNumber::URI_PATH, b"a"),
        (OptionNumber::URI_PATH, b""),
        (OptionNumber::URI_PATH, b"b"),
    ];
    with_options(&options, |message| {
        assert_eq!(message.unrecognised_critical(|_| true), None);
        let path = message.options_numbered(OptionNumber::URI_PATH);
        let path: Vec<_> = path.map(|option| option.as_str().unwrap()).collect();
        assert_eq!(path, ["a", "", "b"]);
    });
}

#[test]
fn option_of_undefined_length_counts_as_unrecognised() {
    let options: [(OptionNumber, &[u8]); 3] = [
        (OptionNumber::IF_NONE_MATCH, b"x"),
        (OptionNumber::MAX_AGE, b"12345"),
        (OptionNumber::BLOCK2, b"1234"),
    ];
    with_options(&options, |message| {
        assert_eq!(message.recognised_options(|_| true).count(), 0);
        assert_eq!(message.option(OptionNumber::MAX_AGE), None);
        let found = message.unrecognised_critical(|_| true).unwrap();
        assert_eq!(found.number(), OptionNumber::IF_NONE_MATCH);
        let found = message.unrecognised_unsafe(|_| true).unwrap();
        assert_eq!(found.number(), OptionNumber::MAX_AGE);
    });
}

#[test]
fn unsafe_option_not_understood_stops_a_proxy_and_a_safe_one_does_not() {
    let unknown_safe = OptionNumber(65_000 + 1);
    let unknown_unsafe = OptionNumber(65_000 + 2);
    with_options(&[(unknown_safe, b"x")], |message| {
        assert_eq!(message.unrecognised_unsafe(|_| false), None);
    });
    with_options(&[(unknown_safe, b"x"), (unknown_unsafe, b"y")], |message| {
        let found = message.unrecognised_unsafe(|_| false).unwrap();
        assert_eq!(found.number(), unknown_unsafe);
    });
}

#[test]
fn option_not_understood_is_not_hidden_by_its_neighbours() {
    // The second ETag equals the first in number; it may repeat, so both count.
    let options: [(OptionNumber, &[u8]); 2] = [
        (OptionNumber::ETAG, b"1"),
        (OptionNumber::ETAG, b"123456789"),
    ];
    with_options(&options, |message| {
        assert_eq!(message.options_numbered(OptionNumber::ETAG).count(), 1);
        assert_eq!(message.unrecognised_options(|_| true).count(), 1);
    });
}

#[test]
fn cache_key_leaves_out_no_cache_key_options_and_what_the_cache_interprets() {
    let options: [(OptionNumber, &[u8]); 5] = [
        (OptionNumber::URI_HOST, b"h"),
        (OptionNumber::ETAG, b"e"),
        (OptionNumber::URI_PATH, b"a"),
        (OptionNumber::SIZE1, b"1"),
        (OptionNumber(65_000), b"x"),
    ];
    with_options(&options, |message| {
        let key = message.cache_key_options(|number| number == OptionNumber::ETAG);
        let key: Vec<_> = key.map(|option| option.number().0).collect();
        assert_eq!(key, [3, 11, 65_000]);
    });
}
