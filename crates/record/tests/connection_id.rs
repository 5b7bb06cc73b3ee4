//! Records with a connection ID, along the second reader's vectors and against each other
//! (RFC 9146).
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use hedgerow_core::{AeadAlgorithm, DropReason};
use hedgerow_crypto_soft::{SoftAead, SoftCrypto};
use hedgerow_record::{
    ConnectionId, ContentType, DtlsOpener, DtlsRecord, DtlsSealer, EpochNumber, Error,
    MAX_CONNECTION_ID_LEN, MAX_PLAINTEXT_LEN, TrafficKeys,
};

const EPOCH: EpochNumber = EpochNumber(1);

type Case = BTreeMap<String, Vec<u8>>;

/// Reads `case NAME` and `key = hex` lines.
fn cases() -> Vec<(String, Case)> {
    let mut cases = Vec::new();
    for line in include_str!("vectors/cid_record.hex").lines() {
        if let Some(name) = line.strip_prefix("case ") {
            cases.push((name.to_owned(), Case::new()));
        } else if let Some((key, hex)) = line.split_once(" = ") {
            let bytes = (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect();
            let (_, case) = cases.last_mut().unwrap();
            case.insert(key.to_owned(), bytes);
        }
    }
    cases
}

fn keys_of(name: &str, case: &Case) -> TrafficKeys<SoftAead> {
    let algorithm = if name.contains("CCM_8") {
        AeadAlgorithm::Aes128Ccm8
    } else {
        AeadAlgorithm::Aes128Gcm
    };
    TrafficKeys::new(&SoftCrypto, algorithm, &case["key"], &case["write_iv"]).unwrap()
}

fn keys(algorithm: AeadAlgorithm) -> TrafficKeys<SoftAead> {
    let key = vec![7; algorithm.key_len()];
    let iv = vec![9; TrafficKeys::<SoftAead>::iv_len(algorithm)];
    TrafficKeys::new(&SoftCrypto, algorithm, &key, &iv).unwrap()
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn open(
    opener: &mut DtlsOpener<SoftAead>,
    record: &[u8],
) -> Result<(ContentType, Vec<u8>), DropReason> {
    let mut datagram = record.to_vec();
    let len = opener.connection_id().len();
    let (record, rest) = DtlsRecord::decode_with_connection_id(&mut datagram, len)
        .map_err(|_| DropReason::Malformed)?;
    assert!(rest.is_empty());
    let opened = opener.open(record)?;
    Ok((opened.content_type, opened.plaintext.to_vec()))
}

#[test]
fn records_are_those_of_a_second_reading() {
    let (mut sealed, mut opened, mut rejected) = (0, 0, 0);
    for (name, case) in cases() {
        let connection_id = match ConnectionId::new(&case["cid"]) {
            Ok(id) => id,
            Err(error) => {
                // 255 octets are more than is kept here.
                let len = case["cid"].len();
                assert!(len > MAX_CONNECTION_ID_LEN);
                let max = MAX_CONNECTION_ID_LEN;
                assert_eq!(error, Error::ConnectionIdTooLong { len, max });
                continue;
            }
        };
        let epoch = case.get("epoch").map_or(EPOCH, |epoch| {
            EpochNumber(u16::try_from(number(epoch)).unwrap())
        });
        let mut opener =
            DtlsOpener::new(keys_of(&name, &case), epoch).with_connection_id(connection_id);
        if name.starts_with("REJECT_") {
            assert!(open(&mut opener, &case["record"]).is_err(), "{name}");
            rejected += 1;
            continue;
        }
        let real_type = ContentType::from(case["real_type"][0]);
        let content = case.get("content").cloned().unwrap_or_default();
        let found = open(&mut opener, &case["record"]).unwrap();
        assert_eq!(found, (real_type, content.clone()), "{name}");
        opened += 1;
        if case["inner_plaintext"].len() > content.len() + 1 {
            // Padded, which this end never does.
            continue;
        }
        let first = number(&case["sequence_number"]);
        let mut sealer = DtlsSealer::starting_at(keys_of(&name, &case), epoch, first)
            .with_connection_id(connection_id);
        let mut out = vec![0; content.len() + sealer.overhead()];
        let len = sealer.seal(real_type, &content, &mut out).unwrap();
        assert_eq!((len, &out), (out.len(), &case["record"]), "{name}");
        sealed += 1;
    }
    assert_eq!((sealed, opened, rejected), (12, 16, 20));
}

/// 1 octet of type inside, and the ID itself.
#[test]
fn overhead_of_ccm_8_is_29_and_38_with_eight_octets() {
    let overhead = |id: &[u8]| {
        let id = ConnectionId::new(id).unwrap();
        DtlsSealer::new(keys(AeadAlgorithm::Aes128Ccm8), EPOCH)
            .with_connection_id(id)
            .overhead()
    };
    assert_eq!(overhead(&[]), 29);
    assert_eq!(overhead(&[1]), 31);
    assert_eq!(overhead(&[1; 8]), 38);
    assert_eq!(overhead(&[1; 32]), 62);
}

/// RFC 9146 §3: one format in each direction, and no other is taken.
#[test]
fn record_in_the_other_format_is_dropped() {
    let some = ConnectionId::new(b"here").unwrap();
    let other = ConnectionId::new(b"hare").unwrap();
    for (sent, taken) in [
        (some, ConnectionId::EMPTY),
        (ConnectionId::EMPTY, some),
        (other, some),
    ] {
        let algorithm = AeadAlgorithm::Aes128Ccm8;
        let mut sealer = DtlsSealer::new(keys(algorithm), EPOCH).with_connection_id(sent);
        let mut opener = DtlsOpener::new(keys(algorithm), EPOCH).with_connection_id(taken);
        let mut out = [0; 128];
        let len = sealer
            .seal(ContentType::ApplicationData, b"text", &mut out)
            .unwrap();
        let (record, _) =
            DtlsRecord::decode_with_connection_id(&mut out[..len], sent.len()).unwrap();
        assert_eq!(opener.open(record), Err(DropReason::ConnectionIdMismatch));
        assert_eq!(opener.forgeries(), 0);
    }
}

#[test]
fn every_byte_of_a_record_counts() {
    let id = ConnectionId::new(b"conn id!").unwrap();
    for algorithm in AeadAlgorithm::ALL {
        let mut sealer = DtlsSealer::new(keys(algorithm), EPOCH).with_connection_id(id);
        let mut opener = DtlsOpener::new(keys(algorithm), EPOCH).with_connection_id(id);
        for content_type in [ContentType::Handshake, ContentType::ApplicationData] {
            for text in [b"".as_slice(), b"\0\0", b"one", &[5; 300]] {
                let mut record = vec![0; text.len() + sealer.overhead()];
                sealer.seal(content_type, text, &mut record).unwrap();
                // All but the length, which decides where the record ends.
                for at in (0..19).chain(21..record.len()) {
                    let mut changed = record.clone();
                    changed[at] ^= 0x40;
                    assert!(open(&mut opener, &changed).is_err(), "byte {at}");
                }
                assert_eq!(
                    open(&mut opener, &record),
                    Ok((content_type, text.to_vec()))
                );
                assert_eq!(open(&mut opener, &record), Err(DropReason::Replayed));
            }
        }
    }
}

#[test]
fn longest_content_passes_and_a_longer_one_does_not() {
    let id = ConnectionId::new(b"conn id!").unwrap();
    let algorithm = AeadAlgorithm::Aes128Ccm8;
    let mut sealer = DtlsSealer::new(keys(algorithm), EPOCH).with_connection_id(id);
    let mut opener = DtlsOpener::new(keys(algorithm), EPOCH).with_connection_id(id);
    let longest = vec![3; MAX_PLAINTEXT_LEN];
    let mut out = vec![0; MAX_PLAINTEXT_LEN + sealer.overhead()];
    sealer
        .seal(ContentType::ApplicationData, &longest, &mut out)
        .unwrap();
    let (_, text) = open(&mut opener, &out).unwrap();
    assert_eq!(text, longest);
    let longer = [longest, vec![3]].concat();
    let mut out = vec![0; longer.len() + sealer.overhead()];
    assert!(
        sealer
            .seal(ContentType::ApplicationData, &longer, &mut out)
            .is_err()
    );
}
