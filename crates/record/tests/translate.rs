//! Mode `translate`: the vectors of docs/specs/translate.md, and what any bytes do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use hedgerow_core::{AeadAlgorithm, DropReason, Writer};
use hedgerow_crypto_soft::{SoftAead, SoftCrypto};
use hedgerow_record::{
    ContentType, DTLS_1_0, DTLS_1_2, DtlsSealer, EpochNumber, Error, FromStream, MAX_NOTICE_LEN,
    MAX_PREFACE_LEN, RecordNumber, RequestedForm, StreamToDatagrams, TrafficKeys, TranslateAnswer,
    TranslateForm, TranslateNotice, TranslatePreface, TranslateStatus, datagram_to_stream,
    encode_record,
};
use proptest::prelude::*;

const VECTORS: &str = include_str!("../../../docs/specs/vectors/translate.txt");

struct Case {
    kind: &'static str,
    name: &'static str,
    fields: Vec<(&'static str, &'static str)>,
}

impl Case {
    fn text(&self, name: &str) -> &'static str {
        let mut fields = self.fields.iter();
        let field = fields.find(|(field, _)| *field == name);
        field
            .unwrap_or_else(|| panic!("{}: no {name}", self.name))
            .1
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        let text = self.text(name);
        let pairs = (0..text.len()).step_by(2);
        pairs
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    fn form(&self) -> TranslateForm {
        match self.text("form") {
            "short" => TranslateForm::Short,
            "long" => TranslateForm::Long,
            other => panic!("form {other}"),
        }
    }
}

fn cases(kind: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
        match line.split_once(" = ") {
            Some(field) => cases.last_mut().unwrap().fields.push(field),
            None => {
                let (kind, name) = line.split_once(' ').unwrap();
                let fields = Vec::new();
                cases.push(Case { kind, name, fields });
            }
        }
    }
    cases.retain(|case| case.kind == kind);
    assert!(!cases.is_empty(), "no {kind}");
    cases
}

/// Reads a stream in parts of `part` bytes.
fn read(
    reader: &mut StreamToDatagrams,
    stream: &[u8],
    part: usize,
    room: usize,
) -> (Vec<Vec<u8>>, Vec<FromStream>) {
    let mut buffer = vec![0; room];
    let (mut datagrams, mut others) = (Vec::new(), Vec::new());
    for part in stream.chunks(part) {
        let mut rest = part;
        loop {
            let (len, found) = reader.read(rest, &mut buffer).unwrap();
            rest = &rest[len..];
            match found {
                None => break assert!(rest.is_empty()),
                Some(FromStream::Datagram(len)) => datagrams.push(buffer[..len].to_vec()),
                Some(other) => others.push(other),
            }
        }
    }
    (datagrams, others)
}

fn to_stream(form: TranslateForm, datagram: &[u8]) -> (Vec<u8>, Vec<(DropReason, usize)>) {
    let mut bytes = datagram.to_vec();
    let mut dropped = Vec::new();
    let len = datagram_to_stream(form, &mut bytes, |drop| {
        dropped.push((drop.reason, drop.len));
    });
    bytes.truncate(len);
    (bytes, dropped)
}

#[test]
fn datagrams_and_streams_of_the_vectors_follow_from_each_other() {
    for case in cases("case") {
        let (form, datagram, stream) = (case.form(), case.bytes("datagram"), case.bytes("stream"));
        assert_eq!(
            to_stream(form, &datagram),
            (stream.clone(), vec![]),
            "{}",
            case.name
        );
        let clear: usize = case.text("clear").parse().unwrap();
        for part in 1..=stream.len() {
            let mut reader = StreamToDatagrams::new(form);
            for _ in 0..clear {
                read(&mut reader, b"\x16\xfe\xfd\x00\x00", 5, 64);
            }
            let (datagrams, others) = read(&mut reader, &stream, part, 1_500);
            assert_eq!(others, []);
            assert_eq!(datagrams, [case.bytes("restored")], "{}", case.name);
            assert!(reader.is_at_border());
        }
    }
}

/// RFC 7925 §B: only where the nonce is the number does a header without it lose nothing.
#[test]
fn what_the_vectors_refuse_is_dropped_with_their_reason() {
    for case in cases("refused") {
        let datagram = case.bytes("datagram");
        let (stream, dropped) = to_stream(case.form(), &datagram);
        assert_eq!(stream, []);
        let [(reason, len)] = dropped[..] else {
            panic!("{}: {dropped:?}", case.name);
        };
        assert_eq!(reason.label(), case.text("reason"), "{}", case.name);
        assert_eq!(len, datagram.len());
    }
}

#[test]
fn prefaces_and_answers_of_the_vectors_decode_from_their_last_byte_on() {
    for case in cases("preface") {
        let (form, bytes) = (case.form(), case.bytes("bytes"));
        let mut out = [0; MAX_PREFACE_LEN];
        let mut writer = Writer::new(&mut out);
        TranslatePreface::encode(form, case.name.as_bytes(), &mut writer).unwrap();
        assert_eq!(writer.written(), bytes);
        for len in 0..bytes.len() {
            assert_eq!(TranslatePreface::decode(&bytes[..len]), Ok(None));
        }
        let longer = [bytes.as_slice(), b"x"].concat();
        let (preface, rest) = TranslatePreface::decode(&longer).unwrap().unwrap();
        assert_eq!(preface.device, case.name.as_bytes());
        assert_eq!(preface.form, RequestedForm::Known(form));
        assert_eq!(rest, b"x");
    }
    for case in cases("answer") {
        let status = match case.name {
            "accepted" => TranslateStatus::Accepted,
            "refused" => TranslateStatus::Refused,
            "busy" => TranslateStatus::Busy,
            _ => TranslateStatus::NotSupported,
        };
        let form = RequestedForm::Known(case.form());
        let answer = TranslateAnswer { form, status };
        let bytes = case.bytes("bytes");
        assert_eq!(answer.encode(), bytes[..]);
        for len in 0..bytes.len() {
            assert_eq!(TranslateAnswer::decode(&bytes[..len]), Ok(None));
        }
        let longer = [bytes.as_slice(), b"x"].concat();
        assert_eq!(
            TranslateAnswer::decode(&longer),
            Ok(Some((answer, &b"x"[..])))
        );
    }
}

#[test]
fn what_is_no_preface_is_refused_at_the_first_byte_that_shows_it() {
    assert_eq!(
        TranslatePreface::decode(b"\x16"),
        Err(Error::NotPreface),
        "a TLS ClientHello"
    );
    assert_eq!(TranslatePreface::decode(b"HGTL"), Err(Error::NotPreface));
    assert_eq!(
        TranslatePreface::decode(b"HGTR\x01\x01\x00"),
        Err(Error::DeviceNameLength { len: 0 })
    );
    assert_eq!(
        TranslatePreface::decode(b"HGTR\x01\x01\x40"),
        Err(Error::DeviceNameLength { len: 64 })
    );
    for (bytes, code) in [(b"HGTR\x02\x01\x01a", 1), (b"HGTR\x01\x03\x01a", 3)] {
        let (preface, _) = TranslatePreface::decode(bytes).unwrap().unwrap();
        assert_eq!(preface.form, RequestedForm::Unknown(code));
    }
    assert_eq!(
        TranslateAnswer::decode(b"HGTR\x02"),
        Err(Error::NotPreface),
        "another version"
    );
}

#[test]
fn notices_of_the_vectors_are_read_and_written() {
    for case in cases("notice") {
        let len = case.text("length").parse().unwrap();
        let notice = match case.name {
            "1" => TranslateNotice::NonceNotRecordNumber { record_len: len },
            _ => TranslateNotice::TooLong { datagram_len: len },
        };
        let mut out = [0; MAX_NOTICE_LEN];
        let mut writer = Writer::new(&mut out);
        notice.encode(case.form(), &mut writer).unwrap();
        assert_eq!(writer.written(), case.bytes("bytes"));
        for part in 1..=writer.len() {
            let mut reader = StreamToDatagrams::new(case.form());
            let (datagrams, others) = read(&mut reader, writer.written(), part, 64);
            assert_eq!(datagrams, [[0; 0]; 0]);
            assert_eq!(others, [FromStream::Notice(notice)]);
            assert!(reader.is_at_border());
        }
    }
}

#[test]
fn framing_that_nobody_writes_ends_the_stream_with_its_header() {
    let fails = |form, bytes: &[u8]| {
        StreamToDatagrams::new(form)
            .read(bytes, &mut [0; 64])
            .unwrap_err()
    };
    let (short, long) = (TranslateForm::Short, TranslateForm::Long);
    for class in [0x0301_u16, 0x0302, 0x0304, 0xfefc, 0x0000, 0x4142] {
        let [v0, v1] = class.to_be_bytes();
        assert_eq!(
            fails(short, &[0x16, v0, v1, 0, 1]),
            Error::UnknownClass { class }
        );
    }
    let mut header = *b"\x17\x03\x03\0\x01\0\0\0\0\0\0\0\0";
    assert_eq!(fails(long, &header), Error::UnknownClass { class: 0x0303 });
    header[1..3].copy_from_slice(b"\xfe\xfd");
    header[11..].copy_from_slice(&0x4801_u16.to_be_bytes());
    let too_long = Error::RecordTooLong {
        len: 0x4801,
        max: 0x4800,
    };
    assert_eq!(fails(long, &header), too_long);
    assert_eq!(fails(short, b"\x17\x03\x03\xc8\x01"), too_long);
    let misplaced = |len| Error::MisplacedNotice { len };
    assert_eq!(fails(short, &[0, 0, 0, 0, 4]), misplaced(4));
    assert_eq!(fails(short, &[0, 0, 0, 0x80, 3]), misplaced(3));
    // Within a datagram.
    let within = b"\x16\xfe\xfd\x80\x01a\0\0\0\0\x03";
    assert_eq!(fails(short, within), misplaced(3));
}

#[test]
fn datagram_without_room_is_dropped_as_a_whole_and_the_next_one_arrives() {
    let data = |number: u8, len: usize| {
        let mut fragment = vec![0, 1, 0, 0, 0, 0, 0, number];
        fragment.resize(len, number);
        fragment
    };
    let mut stream = Vec::new();
    let mut put = |more: u8, fragment: &[u8]| {
        stream.extend([0x17, 3, 3, more, u8::try_from(fragment.len()).unwrap()]);
        stream.extend(fragment);
    };
    // 33 + 43 bytes of 64, and a short record that would have room again; then 64 of 64.
    put(0x80, &data(1, 20));
    put(0x80, &data(2, 30));
    put(0, &data(3, 8));
    put(0x80, &data(4, 8));
    put(0, &data(5, 30));
    put(0, &data(6, 51));
    put(0, &data(7, 52));
    for part in 1..stream.len() {
        let mut reader = StreamToDatagrams::new(TranslateForm::Short);
        let (datagrams, others) = read(&mut reader, &stream, part, 64);
        let lens: Vec<usize> = datagrams.iter().map(Vec::len).collect();
        assert_eq!(lens, [64, 64]);
        let reason = DropReason::TooLong;
        let dropped = |len| FromStream::Dropped { reason, len };
        assert_eq!(others, [dropped(97), dropped(65)]);
    }
}

#[test]
fn record_that_does_not_fit_leaves_the_others_of_its_datagram() {
    let record = |code: u8, version, epoch, fragment: &[u8]| {
        let mut out = [0; 64];
        let mut writer = Writer::new(&mut out);
        let number = RecordNumber::new(EpochNumber(epoch), 5).unwrap();
        encode_record(
            ContentType::from(code),
            version,
            number,
            fragment,
            &mut writer,
        )
        .unwrap();
        writer.written().to_vec()
    };
    let good = record(0x16, DTLS_1_2, 0, b"abc");
    let gcm = record(0x17, DTLS_1_2, 1, &[9; 20]);
    let old = record(0x17, DTLS_1_0, 1, &[9; 20]);
    let late = record(0x17, DTLS_1_2, 2, &[9; 20]);
    let datagram = [&gcm[..], &good, &old, &good, &late, &good[..9]].concat();
    let (stream, dropped) = to_stream(TranslateForm::Short, &datagram);
    assert_eq!(
        stream, b"\x16\xfe\xfd\x80\x03abc\x16\xfe\xfd\x00\x03abc",
        "one datagram still"
    );
    assert_eq!(
        dropped,
        [
            (DropReason::NonceNotRecordNumber, 33),
            (DropReason::UnsupportedVersion, 33),
            (DropReason::UnexpectedEpoch, 33),
            (DropReason::Malformed, 9)
        ]
    );
    // And from the stream: a nonce of epoch 2, one cut short, a connection ID.
    let mut stream = b"\x17\x03\x03\x80\x09\0\x02\0\0\0\0\0\0x".to_vec();
    stream.extend(b"\x17\x03\x03\x80\x07\0\x01\0\0\0\0\0");
    stream.extend(b"\x16\xfe\xfd\x80\x03abc");
    stream.extend(b"\x19\x03\x03\x00\x09\0\x01\0\0\0\0\0\0x");
    for part in 1..stream.len() {
        let mut reader = StreamToDatagrams::new(TranslateForm::Short);
        let (datagrams, others) = read(&mut reader, &stream, part, 256);
        assert_eq!(datagrams, [b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\x03abc"]);
        let dropped = |reason, len| FromStream::Dropped { reason, len };
        assert_eq!(
            others,
            [
                dropped(DropReason::NonceNotRecordNumber, 22),
                dropped(DropReason::Malformed, 20),
                dropped(DropReason::ConnectionIdMismatch, 22)
            ]
        );
    }
}

/// The table of the specification.
#[test]
fn overhead_of_a_record_is_what_the_specification_says() {
    let (short, long) = (TranslateForm::Short, TranslateForm::Long);
    for (algorithm, form, on_tcp, on_udp) in [
        (AeadAlgorithm::Aes128Ccm8, short, 21, 29),
        (AeadAlgorithm::Aes128Ccm, short, 29, 37),
        (AeadAlgorithm::Aes128Gcm, long, 37, 37),
        (AeadAlgorithm::Chacha20Poly1305, long, 29, 29),
    ] {
        let key = vec![7; algorithm.key_len()];
        let iv = vec![7; TrafficKeys::<SoftAead>::iv_len(algorithm)];
        let keys = TrafficKeys::new(&SoftCrypto, algorithm, &key, &iv).unwrap();
        let mut sealer = DtlsSealer::new(keys, EpochNumber(1));
        let mut datagram = [0; 100];
        let len = sealer
            .seal(ContentType::ApplicationData, &[1; 40], &mut datagram)
            .unwrap();
        let (stream, dropped) = to_stream(form, &datagram[..len]);
        assert_eq!(dropped, []);
        assert_eq!(
            (stream.len() - 40, len - 40),
            (on_tcp, on_udp),
            "{algorithm:?}"
        );
        let mut reader = StreamToDatagrams::new(form);
        let (datagrams, _) = read(&mut reader, &stream, 1, 100);
        assert_eq!(datagrams, [&datagram[..len]], "no byte is lost");
    }
}

fn record_strategy(form: TranslateForm) -> impl Strategy<Value = Vec<u8>> {
    let fragment = proptest::collection::vec(any::<u8>(), 0..40);
    (0_u8..25, any::<bool>(), 0_u64..1 << 48, fragment).prop_map(
        move |(code, is_clear, sequence_number, fragment)| {
            let epoch = EpochNumber(u16::from(!is_clear));
            let number = RecordNumber::new(epoch, sequence_number).unwrap();
            let nonce = number.to_be_bytes();
            let fragment = match (form, is_clear) {
                (TranslateForm::Short, false) => [&nonce, &fragment[..]].concat(),
                _ => fragment,
            };
            let mut out = [0; 64];
            let mut writer = Writer::new(&mut out);
            encode_record(
                ContentType::from(code),
                DTLS_1_2,
                number,
                &fragment,
                &mut writer,
            )
            .unwrap();
            writer.written().to_vec()
        },
    )
}

/// What a datagram becomes when its records in clear are numbered from 0.
fn renumbered(records: &[Vec<u8>], next_clear: &mut u64) -> Vec<u8> {
    let mut datagram = Vec::new();
    for record in records {
        let mut record = record.clone();
        if record[3..5] == [0, 0] {
            record[5..11].copy_from_slice(&next_clear.to_be_bytes()[2..]);
            *next_clear += 1;
        }
        datagram.extend(record);
    }
    datagram
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn datagrams_come_back_as_they_went(
        short in proptest::collection::vec(
            proptest::collection::vec(record_strategy(TranslateForm::Short), 1..5), 0..6),
        long in proptest::collection::vec(
            proptest::collection::vec(record_strategy(TranslateForm::Long), 1..5), 0..6),
        part in 1_usize..80,
    ) {
        for (form, datagrams) in [(TranslateForm::Short, short), (TranslateForm::Long, long)] {
            let mut stream = Vec::new();
            let mut expected = Vec::new();
            let mut next_clear = 0;
            for records in &datagrams {
                let datagram = records.concat();
                let (bytes, dropped) = to_stream(form, &datagram);
                prop_assert_eq!(dropped, vec![]);
                prop_assert!(bytes.len() <= datagram.len());
                stream.extend(bytes);
                expected.push(match form {
                    TranslateForm::Short => renumbered(records, &mut next_clear),
                    TranslateForm::Long => datagram,
                });
            }
            let mut reader = StreamToDatagrams::new(form);
            let (found, others) = read(&mut reader, &stream, part, 512);
            prop_assert_eq!(found, expected);
            prop_assert_eq!(others, vec![]);
            prop_assert!(reader.is_at_border());
        }
    }

    #[test]
    fn no_stream_panics_and_parts_change_nothing(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        heads in proptest::collection::vec(
            (0_u8..28, 0_usize..4, 0_u16..40, any::<bool>()), 0..8),
        is_short: bool, room in 0_usize..128, part in 1_usize..40,
    ) {
        let form = if is_short { TranslateForm::Short } else { TranslateForm::Long };
        // Headers that could be, with what the fragments happen to be.
        let mut stream = Vec::new();
        let mut rest = bytes.iter().copied().cycle().take(4_000);
        for (code, class, len, more) in heads {
            stream.push(code);
            stream.extend([[3, 3], [0xfe, 0xfd], [0xfe, 0xff], [0, 0]][class]);
            if !is_short {
                stream.extend([0, u8::from(class == 1), 0, 0, 0, 0, 0, 9]);
            }
            stream.extend((len | if more { 0x8000 } else { 0 }).to_be_bytes());
            stream.extend(rest.by_ref().take(usize::from(len)));
        }
        stream.extend(bytes);
        let run = |part: usize| {
            let mut reader = StreamToDatagrams::new(form);
            let mut buffer = vec![0; room];
            let mut found = Vec::new();
            for part in stream.chunks(part) {
                let mut rest = part;
                loop {
                    match reader.read(rest, &mut buffer) {
                        Err(error) => return (found, Some(error)),
                        Ok((len, None)) => break assert_eq!(len, rest.len()),
                        Ok((len, Some(event))) => {
                            let datagram = match event {
                                FromStream::Datagram(len) => buffer[..len].to_vec(),
                                _ => Vec::new(),
                            };
                            found.push((event, datagram));
                            rest = &rest[len..];
                        }
                    }
                }
            }
            (found, None)
        };
        let (found, error) = run(part);
        prop_assert_eq!(run(stream.len().max(1)), (found.clone(), error));
        // What comes out is a datagram that goes back, numbers in clear aside.
        for (_, datagram) in found {
            let (_, dropped) = to_stream(form, &datagram);
            prop_assert_eq!(dropped, vec![]);
        }
    }

    #[test]
    fn no_datagram_panics_and_nothing_grows(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200), is_short: bool,
        is_like_dtls: bool,
    ) {
        let form = if is_short { TranslateForm::Short } else { TranslateForm::Long };
        if let ([_, version @ .., _, _], true) = (&mut bytes[..], is_like_dtls)
            && let Some(start) = version.first_chunk_mut()
        {
            *start = [0xfe, 0xfd, 0, 1];
        }
        let (stream, _) = to_stream(form, &bytes);
        prop_assert!(stream.len() <= bytes.len());
        let mut reader = StreamToDatagrams::new(form);
        let (datagrams, others) = read(&mut reader, &stream, 7, 256);
        prop_assert_eq!(others, vec![]);
        prop_assert_eq!(datagrams.len(), usize::from(!stream.is_empty()));
    }

    #[test]
    fn no_preface_panics(bytes: Vec<u8>, is_preface: bool) {
        let bytes = if is_preface { [b"HGTR\x01", &bytes[..]].concat() } else { bytes };
        if let Ok(Some((preface, rest))) = TranslatePreface::decode(&bytes) {
            prop_assert_eq!(7 + preface.device.len() + rest.len(), bytes.len());
        }
        if let Ok(Some((answer, rest))) = TranslateAnswer::decode(&bytes) {
            let again = answer.encode();
            prop_assert_eq!([&again, rest].concat(), bytes);
        }
    }
}
