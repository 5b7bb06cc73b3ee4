//! Record protection through the public interface, with real ciphers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use hedgerow_core::{AeadAlgorithm, ChannelError, DropReason, Limit, Misuse};
use hedgerow_crypto_soft::{SoftAead, SoftCrypto};
use hedgerow_record::{
    ContentType, DtlsOpener, DtlsRecord, DtlsSealer, EpochNumber, MAX_PLAINTEXT_LEN,
    MAX_SEQUENCE_NUMBER, Protocol, TrafficKeys,
};

const EPOCH: EpochNumber = EpochNumber(1);

fn keys(algorithm: AeadAlgorithm) -> TrafficKeys<SoftAead> {
    let key = vec![7; algorithm.key_len()];
    let iv = vec![9; TrafficKeys::<SoftAead>::iv_len(algorithm)];
    TrafficKeys::new(&SoftCrypto, algorithm, &key, &iv).unwrap()
}

fn seal(sealer: &mut DtlsSealer<SoftAead>, text: &[u8]) -> Result<Vec<u8>, ChannelError> {
    let mut out = vec![0; text.len() + sealer.overhead()];
    let len = sealer.seal(ContentType::ApplicationData, text, &mut out)?;
    assert_eq!(len, out.len());
    Ok(out)
}

fn open(opener: &mut DtlsOpener<SoftAead>, record: &[u8]) -> Result<(Vec<u8>, bool), DropReason> {
    let mut datagram = record.to_vec();
    let (record, rest) = DtlsRecord::decode(&mut datagram).unwrap();
    assert!(rest.is_empty());
    let opened = opener.open(record)?;
    assert_eq!(opened.content_type, ContentType::ApplicationData);
    Ok((opened.plaintext.to_vec(), opened.newest))
}

/// The comparison draft's example for a 6-byte plaintext has 35 bytes; RFC 7925 §B for the nonce.
#[test]
fn ccm_8_record_has_its_published_length_and_explicit_nonce() {
    let mut sealer = DtlsSealer::starting_at(keys(AeadAlgorithm::Aes128Ccm8), EPOCH, 5);
    let record = seal(&mut sealer, b"sixby!").unwrap();
    assert_eq!(record.len(), 35);
    assert_eq!(
        record[..21],
        *b"\x17\xfe\xfd\x00\x01\x00\x00\x00\x00\x00\x05\x00\x16\x00\x01\x00\x00\x00\x00\x00\x05"
    );
}

#[test]
fn overhead_is_29_37_37_and_29_bytes() {
    let overhead = |algorithm| TrafficKeys::<SoftAead>::record_overhead(Protocol::Dtls, algorithm);
    assert_eq!(overhead(AeadAlgorithm::Aes128Ccm8), 29);
    assert_eq!(overhead(AeadAlgorithm::Aes128Ccm), 37);
    assert_eq!(overhead(AeadAlgorithm::Aes128Gcm), 37);
    assert_eq!(overhead(AeadAlgorithm::Chacha20Poly1305), 29);
}

#[test]
fn sealed_record_opens_once_and_no_changed_one_does() {
    for algorithm in AeadAlgorithm::ALL {
        let mut sealer = DtlsSealer::new(keys(algorithm), EPOCH);
        let mut opener = DtlsOpener::new(keys(algorithm), EPOCH);
        for text in [b"".as_slice(), b"one", &[5; 300]] {
            let record = seal(&mut sealer, text).unwrap();
            // All but the length, which decides where the record ends.
            for at in (0..11).chain(13..record.len()) {
                let mut changed = record.clone();
                changed[at] ^= 0x40;
                let outcome = DtlsRecord::decode(&mut changed)
                    .map_err(|_| DropReason::Malformed)
                    .and_then(|(record, _)| opener.open(record).map(|_| ()));
                assert!(outcome.is_err(), "byte {at} of {algorithm:?}");
            }
            assert_eq!(open(&mut opener, &record), Ok((text.to_vec(), true)));
            assert_eq!(open(&mut opener, &record), Err(DropReason::Replayed));
        }
        assert!(opener.forgeries() > 0);
    }
}

/// RFC 6347 §4.1: sequence numbers don't wrap.
#[test]
fn key_out_of_numbers_seals_no_more() {
    for algorithm in AeadAlgorithm::ALL {
        let last = MAX_SEQUENCE_NUMBER;
        let mut sealer = DtlsSealer::starting_at(keys(algorithm), EPOCH, last - 1);
        let mut opener = DtlsOpener::new(keys(algorithm), EPOCH);
        for _ in 0..2 {
            let record = seal(&mut sealer, b"last").unwrap();
            assert_eq!(open(&mut opener, &record), Ok((b"last".to_vec(), true)));
        }
        for _ in 0..3 {
            assert_eq!(
                seal(&mut sealer, b"more"),
                Err(Limit::SequenceNumbersExhausted.into())
            );
        }
    }
}

#[test]
fn refused_seal_spends_no_number() {
    let mut sealer = DtlsSealer::new(keys(AeadAlgorithm::Aes128Ccm8), EPOCH);
    let long = vec![0; MAX_PLAINTEXT_LEN + 1];
    let mut out = vec![0; 20_000];
    assert_eq!(
        sealer.seal(ContentType::ApplicationData, &long, &mut out),
        Err(Limit::PlaintextTooLong {
            len: MAX_PLAINTEXT_LEN + 1,
            max: MAX_PLAINTEXT_LEN
        }
        .into())
    );
    assert_eq!(
        sealer.seal(ContentType::ApplicationData, b"ab", &mut out[..30]),
        Err(Misuse::BufferTooSmall {
            needed: 31,
            available: 30
        }
        .into())
    );
    let record = seal(&mut sealer, b"ab").unwrap();
    assert_eq!(record[5..11], [0; 6]);
    let record = seal(&mut sealer, &long[..MAX_PLAINTEXT_LEN]).unwrap();
    assert_eq!(record[5..11], [0, 0, 0, 0, 0, 1]);
}

#[test]
fn record_of_another_epoch_or_too_short_is_dropped() {
    let mut sealer = DtlsSealer::new(keys(AeadAlgorithm::Aes128Gcm), EpochNumber(2));
    let mut opener = DtlsOpener::new(keys(AeadAlgorithm::Aes128Gcm), EPOCH);
    let record = seal(&mut sealer, b"two").unwrap();
    assert_eq!(open(&mut opener, &record), Err(DropReason::UnexpectedEpoch));
    for len in 0_u8..24 {
        let mut short = b"\x17\xfe\xfd\x00\x01\0\0\0\0\0\x01\0".to_vec();
        short.push(len);
        short.extend(vec![0; usize::from(len)]);
        assert_eq!(open(&mut opener, &short), Err(DropReason::Malformed));
    }
    assert_eq!(opener.forgeries(), 0);
}
