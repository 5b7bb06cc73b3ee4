//! Records at the limits that two ends have agreed on (RFC 8449 §4, RFC 6066 §4).
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use hedgerow_core::{AeadAlgorithm, ChannelError, DropReason, Limit};
use hedgerow_crypto_soft::{SoftAead, SoftCrypto};
use hedgerow_record::{
    AlertDescription, ConnectionId, ContentType, DtlsOpener, DtlsRecord, DtlsSealer, EpochNumber,
    RecordSizeLimit, TlsOpener, TlsRecord, TlsSealer, TrafficKeys,
};

const LIMITS: [u16; 6] = [64, 65, 512, 1_024, 4_096, 1 << 14];

fn keys(algorithm: AeadAlgorithm, limit: u16) -> TrafficKeys<SoftAead> {
    let key = vec![7; algorithm.key_len()];
    let iv = vec![3; TrafficKeys::<SoftAead>::iv_len(algorithm)];
    TrafficKeys::new(&SoftCrypto, algorithm, &key, &iv)
        .unwrap()
        .with_limit(RecordSizeLimit::new(limit).unwrap())
}

fn too_long(len: usize, max: usize) -> ChannelError {
    Limit::PlaintextTooLong { len, max }.into()
}

fn seal_dtls(sealer: &mut DtlsSealer<SoftAead>, len: usize) -> Result<Vec<u8>, ChannelError> {
    let mut out = vec![0; len + sealer.overhead()];
    let plaintext = vec![5; len];
    let len = sealer.seal(ContentType::ApplicationData, &plaintext, &mut out)?;
    Ok(out[..len].to_vec())
}

fn open_dtls(opener: &mut DtlsOpener<SoftAead>, mut record: Vec<u8>) -> Result<usize, DropReason> {
    let cid_len = opener.connection_id().len();
    let (record, _) = DtlsRecord::decode_with_connection_id(&mut record, cid_len).unwrap();
    opener.open(record).map(|opened| opened.plaintext.len())
}

/// With a connection ID the content's type is encrypted too, and counts.
#[test]
fn dtls_sealer_takes_what_the_peer_takes_and_not_a_byte_more() {
    for algorithm in AeadAlgorithm::ALL {
        for limit in LIMITS {
            for cid in [ConnectionId::EMPTY, ConnectionId::new(b"cid").unwrap()] {
                let max = match (cid.is_empty(), limit) {
                    (true, _) | (_, 16_384) => usize::from(limit),
                    _ => usize::from(limit) - 1,
                };
                let mut sealer =
                    DtlsSealer::new(keys(algorithm, limit), EpochNumber(1)).with_connection_id(cid);
                assert_eq!(sealer.max_plaintext_len(), max);
                assert_eq!(seal_dtls(&mut sealer, max + 1), Err(too_long(max + 1, max)));
                assert_eq!(sealer.sealed(), 0, "no number is spent");
                let record = seal_dtls(&mut sealer, max).unwrap();
                let mut opener =
                    DtlsOpener::new(keys(algorithm, limit), EpochNumber(1)).with_connection_id(cid);
                assert_eq!(open_dtls(&mut opener, record), Ok(max));
            }
        }
    }
}

/// The record is genuine: its length alone has it dropped, it counts as no forgery, its number stays
/// unused, and what follows is read.
#[test]
fn dtls_opener_drops_what_is_above_its_limit_and_reads_on() {
    for algorithm in AeadAlgorithm::ALL {
        for limit in LIMITS.into_iter().filter(|&limit| limit < 1 << 14) {
            let mut sealer = DtlsSealer::new(keys(algorithm, 1 << 14), EpochNumber(1));
            let mut opener = DtlsOpener::new(keys(algorithm, limit), EpochNumber(1));
            let max = usize::from(limit);
            let above = seal_dtls(&mut sealer, max + 1).unwrap();
            assert_eq!(open_dtls(&mut opener, above), Err(DropReason::TooLong));
            assert_eq!(opener.forgeries(), 0);
            let at = seal_dtls(&mut sealer, max).unwrap();
            assert_eq!(open_dtls(&mut opener, at), Ok(max));
        }
    }
}

/// In TLS it is fatal, and no byte is decrypted (RFC 6066 §4).
#[test]
fn tls_record_above_the_limit_is_an_overflow() {
    for algorithm in AeadAlgorithm::ALL {
        for limit in LIMITS {
            let max = usize::from(limit);
            let mut sealer = TlsSealer::new(keys(algorithm, limit));
            assert_eq!(sealer.max_plaintext_len(), max);
            let plaintext = vec![5; max + 1];
            let mut out = vec![0; max + 1 + sealer.overhead()];
            assert_eq!(
                sealer.seal(ContentType::ApplicationData, &plaintext, &mut out),
                Err(too_long(max + 1, max))
            );
            let data = ContentType::ApplicationData;
            let len = sealer.seal(data, &plaintext[..max], &mut out).unwrap();
            let mut opener = TlsOpener::new(keys(algorithm, limit));
            let (record, _) = TlsRecord::decode(&mut out[..len]).unwrap().unwrap();
            assert_eq!(opener.open(record).map(|text| text.len()), Ok(max));

            if limit < 1 << 14 {
                let mut sealer = TlsSealer::new(keys(algorithm, 1 << 14));
                let mut out = vec![0; max + 1 + sealer.overhead()];
                let len = sealer.seal(data, &plaintext, &mut out).unwrap();
                let sealed = out.clone();
                let mut opener = TlsOpener::new(keys(algorithm, limit));
                let (record, _) = TlsRecord::decode(&mut out[..len]).unwrap().unwrap();
                assert_eq!(opener.open(record), Err(AlertDescription::RECORD_OVERFLOW));
                assert_eq!(out, sealed);
            }
        }
    }
}
