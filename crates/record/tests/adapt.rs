//! Mode `translate`, the device adapts: the vectors of docs/specs/translate-device.md, and what any bytes do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use hedgerow_core::{AeadAlgorithm, CryptoProvider};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_record::{
    ContentType, DtlsFormToTls, Error, Mapped, TlsOpener, TlsRecord, TlsToDtlsForm, TrafficKeys,
};
use proptest::prelude::*;

const VECTORS: &str = include_str!("../../../docs/specs/vectors/translate_device.txt");

struct Case {
    kind: &'static str,
    name: &'static str,
    fields: Vec<(&'static str, &'static str)>,
}

impl Case {
    fn text(&self, name: &str) -> &'static str {
        let field = self.fields.iter().find(|(field, _)| *field == name);
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

trait Mapping: Default {
    fn map(&mut self, bytes: &[u8], out: &mut [u8]) -> Result<Mapped, Error>;
}

impl Mapping for TlsToDtlsForm {
    fn map(&mut self, bytes: &[u8], out: &mut [u8]) -> Result<Mapped, Error> {
        self.map(bytes, out)
    }
}

impl Mapping for DtlsFormToTls {
    fn map(&mut self, bytes: &[u8], out: &mut [u8]) -> Result<Mapped, Error> {
        self.map(bytes, out)
    }
}

/// Maps all of `bytes`, read in parts of `part` and written into `room` bytes.
fn mapped<M: Mapping>(bytes: &[u8], part: usize, room: usize) -> (Vec<u8>, Result<(), Error>) {
    let (mut mapping, mut out) = (M::default(), Vec::new());
    for mut rest in bytes.chunks(part) {
        let mut buffer = vec![0; room];
        loop {
            match mapping.map(rest, &mut buffer) {
                Err(error) => return (out, Err(error)),
                Ok(Mapped { read, written }) => {
                    out.extend(&buffer[..written]);
                    rest = &rest[read..];
                    if rest.is_empty() && written < room {
                        break;
                    }
                    assert!(read + written > 0, "it stands still");
                }
            }
        }
    }
    (out, Ok(()))
}

#[test]
fn both_ways_of_the_vectors_in_whatever_pieces() {
    for case in cases("map") {
        let (tls, dtls) = (case.bytes("tls"), case.bytes("dtls"));
        let back = case.bytes("back");
        for (part, room) in [(1, 1), (1, 64), (2, 3), (7, 5), (64, 26), (9_999, 9_999)] {
            let (found, ended) = mapped::<TlsToDtlsForm>(&tls, part, room);
            assert_eq!((found, ended), (dtls.clone(), Ok(())), "{}", case.name);
            let (found, ended) = mapped::<DtlsFormToTls>(&dtls, part, room);
            assert_eq!((found, ended), (back.clone(), Ok(())), "{}", case.name);
        }
    }
}

/// The failure of a stream that breaks the framing, which is said again, and nothing written, whatever else comes.
fn stays_broken<M: Mapping>(bytes: &[u8]) -> Error {
    let (mut mapping, mut room) = (M::default(), vec![0; 20_000]);
    let error = mapping.map(bytes, &mut room).unwrap_err();
    room.fill(0xee);
    for next in [&[][..], &[1], bytes] {
        assert_eq!(mapping.map(next, &mut room), Err(error));
    }
    assert!(room.iter().all(|byte| *byte == 0xee), "{error}");
    error
}

#[test]
fn nothing_is_mapped_behind_what_broke_the_framing() {
    for case in cases("broken_tls") {
        stays_broken::<TlsToDtlsForm>(&case.bytes("bytes"));
    }
    for case in cases("broken_dtls") {
        stays_broken::<DtlsFormToTls>(&case.bytes("bytes"));
    }
    // The gateway leaves a record out, and the one behind it would be the next.
    let record = |number| {
        [
            &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, number, 0, 2][..],
            &[1, 0],
        ]
        .concat()
    };
    let left_out = [record(0), record(2)].concat();
    let error = stays_broken::<DtlsFormToTls>(&left_out);
    assert_eq!(error, Error::NotNextRecord);
}

#[test]
fn handshake_messages_in_clear_are_those_of_the_transcript() {
    for case in cases("map") {
        let mut back = case.bytes("back");
        let (mut rest, mut hashed) = (&mut back[..], Vec::new());
        while let Some((record, behind)) = TlsRecord::decode(rest).unwrap() {
            match record.content_type {
                ContentType::ChangeCipherSpec => break,
                ContentType::Handshake => hashed.extend_from_slice(record.fragment),
                _ => {}
            }
            rest = behind;
        }
        assert_eq!(hashed, case.bytes("transcript"), "{}", case.name);
    }
}

#[test]
fn what_breaks_the_framing_is_found_at_its_last_byte_at_the_latest() {
    for case in cases("broken_tls") {
        for part in [1, 3, 9_999] {
            let (_, ended) = mapped::<TlsToDtlsForm>(&case.bytes("bytes"), part, 64);
            assert!(ended.is_err(), "{}", case.name);
        }
    }
    for case in cases("broken_dtls") {
        for part in [1, 3, 9_999] {
            let (_, ended) = mapped::<DtlsFormToTls>(&case.bytes("bytes"), part, 64);
            assert!(ended.is_err(), "{}", case.name);
        }
    }
}

#[test]
fn additional_data_has_the_headers_number_without_its_epoch() {
    for case in cases("data") {
        let header = case.bytes("header");
        let additional = case.bytes("additional");
        assert_eq!(header[3..5], [0, 1], "epoch 1");
        let mut number = header[3..11].to_vec();
        number[..2].fill(0);
        assert_eq!(additional[..8], number[..]);
        assert_eq!(additional[8], header[0]);
        assert_eq!(additional[9..11], [3, 3]);
        let plaintext: u16 = case.text("plaintext").parse().unwrap();
        assert_eq!(additional[11..], plaintext.to_be_bytes());
    }
}

/// The first protected record, made from the vectors' additional data alone, opens as TLS's record 0.
#[test]
fn record_under_the_vectors_additional_data_opens_as_tls() {
    use hedgerow_core::Aead;
    let case = &cases("data")[0];
    let additional = case.bytes("additional");
    let keys = TrafficKeys::new(&SoftCrypto, AeadAlgorithm::Aes128Ccm8, &[7; 16], &[9; 4]);
    let aead = SoftCrypto
        .aead(AeadAlgorithm::Aes128Ccm8, &[7; 16])
        .unwrap();
    let mut nonce = vec![9; 4];
    nonce.extend([0; 8]);
    let (mut text, mut tag) = ([0x33; 16], [0; 8]);
    aead.seal_in_place(&nonce, &additional, &mut text, &mut tag)
        .unwrap();
    let mut record = case.bytes("header");
    record.extend([0; 8]);
    record.extend(text);
    record.extend(tag);
    let ccs = b"\x14\xfe\xfd\0\0\0\0\0\0\0\0\0\x01\x01";
    let form = [&ccs[..], &record].concat();
    let (mut tls, ended) = mapped::<DtlsFormToTls>(&form, 5, 64);
    assert_eq!(ended, Ok(()));
    let (_, rest) = TlsRecord::decode(&mut tls).unwrap().unwrap();
    let (record, _) = TlsRecord::decode(rest).unwrap().unwrap();
    let mut opener = TlsOpener::new(keys.unwrap());
    assert_eq!(opener.open(record).unwrap(), [0x33; 16]);
}

/// Any client's records: messages cut anywhere, then protected ones.
fn records() -> impl Strategy<Value = Vec<u8>> {
    let message = (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40));
    let messages = proptest::collection::vec(message, 0..6);
    let cuts = proptest::collection::vec(1_usize..60, 1..20);
    let protected = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..4);
    (messages, cuts, protected).prop_map(|(messages, cuts, protected)| {
        let mut clear = Vec::new();
        for (code, body) in messages {
            clear.extend([code, 0, 0, u8::try_from(body.len()).unwrap()]);
            clear.extend(body);
        }
        let mut bytes = Vec::new();
        let mut put = |code: u8, fragment: &[u8]| {
            bytes.extend([code, 3, 3, 0, u8::try_from(fragment.len()).unwrap()]);
            bytes.extend(fragment);
        };
        let (mut rest, mut cuts) = (&clear[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (part, behind) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            put(22, part);
            rest = behind;
        }
        put(20, &[1]);
        protected.iter().for_each(|fragment| put(23, fragment));
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mapping_back_changes_nothing_but_where_clear_records_end(
        bytes in records(), part in 1_usize..70, room in 1_usize..70,
    ) {
        let (form, ended) = mapped::<TlsToDtlsForm>(&bytes, part, room);
        prop_assert_eq!(ended, Ok(()));
        let (back, ended) = mapped::<DtlsFormToTls>(&form, room, part);
        prop_assert_eq!(ended, Ok(()));
        prop_assert_eq!(contents(&back), contents(&bytes));
        // And once more nothing at all.
        let (again, _) = mapped::<TlsToDtlsForm>(&back, part, room);
        prop_assert_eq!(again, form);
    }

    #[test]
    fn pieces_change_nothing_whatever_the_bytes(
        bytes: Vec<u8>, is_near: bool, part in 1_usize..20, room in 1_usize..40,
    ) {
        let mut bytes = bytes;
        if is_near && bytes.len() > 2 {
            bytes[..3].copy_from_slice(&[22, 3, 3]);
        }
        let whole = mapped::<TlsToDtlsForm>(&bytes, bytes.len().max(1), 9_999);
        let parts = mapped::<TlsToDtlsForm>(&bytes, part, room);
        prop_assert_eq!(parts.1, whole.1);
        let whole = mapped::<DtlsFormToTls>(&bytes, bytes.len().max(1), 9_999);
        let parts = mapped::<DtlsFormToTls>(&bytes, part, room);
        prop_assert_eq!(parts.1, whole.1);
    }
}

/// The handshake's bytes in clear, and what comes behind.
fn contents(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut rest, mut clear) = (bytes, Vec::new());
    while let &[22, 3, 3, l0, l1, ref behind @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        clear.extend_from_slice(&behind[..len]);
        rest = &behind[len..];
    }
    (clear, rest.to_vec())
}
