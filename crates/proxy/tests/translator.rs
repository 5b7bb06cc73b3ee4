//! Mode `translate` at the gateway (docs/specs/translate.md): what it does to a protected record depends on
//! that record alone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use hedgerow_core::{DropReason, Writer};
use hedgerow_proxy::{Opening, ToDevice, Translator};
use hedgerow_record::{
    ContentType, DTLS_1_2, EpochNumber, RecordNumber, TranslateForm, TranslatePreface,
    encode_record,
};
use proptest::collection::vec;
use proptest::prelude::*;

const FORMS: [TranslateForm; 2] = [TranslateForm::Short, TranslateForm::Long];

/// As much as a datagram has room for here, in bytes.
const ROOM: usize = 1_200;

fn fresh(form: TranslateForm) -> Translator {
    let mut bytes = [0; 100];
    let mut writer = Writer::new(&mut bytes);
    TranslatePreface::encode(form, b"lamp", &mut writer).unwrap();
    match Translator::open(writer.written(), |_| Ok(())).unwrap() {
        Opening::Accepted { translator, .. } => translator,
        _ => panic!("it was permitted"),
    }
}

/// A protected record as an end writes it under a suite whose explicit nonce is the record's number.
fn protected(sequence_number: u64, len: usize) -> Vec<u8> {
    let number = RecordNumber::new(EpochNumber(1), sequence_number).unwrap();
    let mut fragment = number.to_be_bytes().to_vec();
    fragment.extend((0..len).map(|at| (at % 251).to_le_bytes()[0]));
    let mut out = vec![0; fragment.len() + 13];
    let mut writer = Writer::new(&mut out);
    let application = ContentType::ApplicationData;
    encode_record(application, DTLS_1_2, number, &fragment, &mut writer).unwrap();
    writer.written().to_vec()
}

/// A ClientHello's record, as far as a gateway looks at it.
fn in_clear(sequence_number: u64) -> Vec<u8> {
    let number = RecordNumber::new(EpochNumber(0), sequence_number).unwrap();
    let mut out = [0; 100];
    let mut writer = Writer::new(&mut out);
    let handshake = ContentType::Handshake;
    encode_record(handshake, DTLS_1_2, number, &[1; 30], &mut writer).unwrap();
    writer.written().to_vec()
}

/// What a gateway makes of a datagram of its device.
fn to_stream(translator: &mut Translator, datagram: &[u8]) -> (Vec<u8>, Vec<DropReason>) {
    let (mut bytes, mut drops) = (datagram.to_vec(), Vec::new());
    translator.translate_datagram(&mut bytes, |reason| drops.push(reason));
    (bytes, drops)
}

/// What a gateway makes of whole datagrams on the stream.
fn to_device(translator: &mut Translator, stream: &[u8]) -> Vec<Result<Vec<u8>, DropReason>> {
    let (mut room, mut rest, mut found) = ([0; ROOM], stream, Vec::new());
    loop {
        let (len, event) = translator.read_stream(rest, &mut room).unwrap();
        rest = &rest[len..];
        match event {
            None => break,
            Some(ToDevice::Datagram(len)) => found.push(Ok(room[..len].to_vec())),
            Some(ToDevice::Dropped { reason, .. }) => found.push(Err(reason)),
        }
    }
    assert!(translator.is_at_border());
    found
}

/// Datagrams of one to three protected records, some of them too long or with a nonce that is no number.
fn datagrams() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let numbers = prop_oneof![0..40_u64, Just((1 << 48) - 1)];
    let record = (numbers, 0..500_usize, 0..10_u8).prop_map(|(number, len, fault)| {
        let mut record = protected(number, len);
        if fault == 0 {
            record[13] ^= 0x5a;
        }
        record
    });
    let datagram = vec(record, 1..4).prop_map(|records| records.concat());
    vec(datagram, 1..12)
}

/// The order in which they arrive: any, some never and some more than once.
fn order() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    vec(any::<prop::sample::Index>(), 1..30)
}

proptest! {
    #[test]
    fn protected_records_leave_nothing_behind_at_the_gateway(
        datagrams in datagrams(),
        order in order(),
        hellos in 0..5_u64,
    ) {
        for form in FORMS {
            let mut used = fresh(form);
            // A handshake came before; its records are numbered in the short form, and these alone.
            for number in 0..hellos {
                let (stream, drops) = to_stream(&mut fresh(form), &in_clear(number));
                prop_assert_eq!(drops, []);
                prop_assert_eq!(to_device(&mut used, &stream), [Ok(in_clear(number))]);
            }
            for index in &order {
                let datagram = index.get(&datagrams);
                let from_device = to_stream(&mut used, datagram);
                prop_assert_eq!(&from_device, &to_stream(&mut fresh(form), datagram));
                let (stream, drops) = from_device;
                // Of a nonce that is no number it gives notice, which an Internet end never sends back.
                if !drops.is_empty() {
                    continue;
                }
                let found = to_device(&mut used, &stream);
                prop_assert_eq!(&found, &to_device(&mut fresh(form), &stream));
                // And what arrives is what was sent.
                if datagram.len() <= ROOM {
                    prop_assert_eq!(found, [Ok(datagram.clone())]);
                } else {
                    prop_assert_eq!(found, [Err(DropReason::TooLong)]);
                }
            }
            // The counter of records in clear stands where the handshake left it.
            let (stream, _) = to_stream(&mut fresh(form), &in_clear(hellos));
            prop_assert_eq!(to_device(&mut used, &stream), [Ok(in_clear(hellos))]);
        }
    }
}

/// Both ways of a connection: a header and a notice under way, a counter, lengths. What a gateway with
/// 256 connections keeps of them is less than 64 KiB, the datagrams under way aside.
#[test]
fn translator_has_room_for_no_record() {
    let len = size_of::<Translator>();
    println!("{len} bytes for each connection");
    assert!(len <= 128, "{len} bytes");
}
