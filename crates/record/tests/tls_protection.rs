//! Protection of TLS records through the public interface, with real ciphers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use hedgerow_core::{AeadAlgorithm, ChannelError, Limit, Misuse};
use hedgerow_crypto_soft::{SoftAead, SoftCrypto};
use hedgerow_record::{
    AlertDescription, ContentType, MAX_PLAINTEXT_LEN, MAX_TLS_RECORD_LEN, Protocol, TlsOpener,
    TlsRecord, TlsSealer, TrafficKeys,
};

fn keys(algorithm: AeadAlgorithm) -> TrafficKeys<SoftAead> {
    let key = vec![7; algorithm.key_len()];
    let iv = vec![9; TrafficKeys::<SoftAead>::iv_len(algorithm)];
    TrafficKeys::new(&SoftCrypto, algorithm, &key, &iv).unwrap()
}

fn seal(sealer: &mut TlsSealer<SoftAead>, text: &[u8]) -> Result<Vec<u8>, ChannelError> {
    let mut out = vec![0; text.len() + sealer.overhead()];
    let len = sealer.seal(ContentType::ApplicationData, text, &mut out)?;
    assert_eq!(len, out.len());
    Ok(out)
}

fn open(opener: &mut TlsOpener<SoftAead>, record: &[u8]) -> Result<Vec<u8>, AlertDescription> {
    let mut bytes = record.to_vec();
    let (record, rest) = TlsRecord::decode(&mut bytes).unwrap().unwrap();
    assert!(rest.is_empty());
    opener.open(record).map(|plaintext| plaintext.to_vec())
}

/// The comparison draft counts 21 bytes for CCM_8.
#[test]
fn overhead_is_21_29_29_and_21_bytes() {
    let overhead = |algorithm| TrafficKeys::<SoftAead>::record_overhead(Protocol::Tls, algorithm);
    assert_eq!(overhead(AeadAlgorithm::Aes128Ccm8), 21);
    assert_eq!(overhead(AeadAlgorithm::Aes128Ccm), 29);
    assert_eq!(overhead(AeadAlgorithm::Aes128Gcm), 29);
    assert_eq!(overhead(AeadAlgorithm::Chacha20Poly1305), 21);
}

#[test]
fn explicit_nonce_is_the_sequence_number() {
    let mut sealer = TlsSealer::starting_at(keys(AeadAlgorithm::Aes128Ccm8), 0x0102_0304_0506_0708);
    let record = seal(&mut sealer, b"sixby!").unwrap();
    assert_eq!(
        record[..13],
        *b"\x17\x03\x03\x00\x16\x01\x02\x03\x04\x05\x06\x07\x08"
    );
    let record = seal(&mut sealer, b"").unwrap();
    assert_eq!(record[12], 9);
}

#[test]
fn records_open_in_their_order_and_once() {
    for algorithm in AeadAlgorithm::ALL {
        let mut sealer = TlsSealer::new(keys(algorithm));
        let records: Vec<_> = [b"".as_slice(), b"one", &[5; 300], &[6; MAX_PLAINTEXT_LEN]]
            .map(|text| (text.to_vec(), seal(&mut sealer, text).unwrap()))
            .into();
        let mut opener = TlsOpener::new(keys(algorithm));
        for (text, record) in &records {
            assert_eq!(open(&mut opener, record).as_ref(), Ok(text));
        }
        // Replayed, left out and swapped records differ in nothing but their place.
        for order in [[0, 0], [1, 0], [0, 2]] {
            let mut opener = TlsOpener::new(keys(algorithm));
            let outcomes = order.map(|at| open(&mut opener, &records[at].1));
            assert_eq!(outcomes[1], Err(AlertDescription::BAD_RECORD_MAC));
        }
    }
}

/// RFC 5246 §7.2.2: bad_record_mac is always fatal, so nothing opens after it.
#[test]
fn no_changed_record_opens_and_none_after_it() {
    for algorithm in AeadAlgorithm::ALL {
        let first = seal(&mut TlsSealer::new(keys(algorithm)), b"first").unwrap();
        // All but the length, which decides where the record ends.
        for at in (0..3).chain(5..first.len()) {
            let mut opener = TlsOpener::new(keys(algorithm));
            let mut changed = first.clone();
            changed[at] ^= 0x40;
            let outcome = match TlsRecord::decode(&mut changed) {
                Ok(Some((record, _))) => opener.open(record).map(|_| ()),
                _ => continue,
            };
            let expected = match at {
                1 | 2 => AlertDescription::PROTOCOL_VERSION,
                _ => AlertDescription::BAD_RECORD_MAC,
            };
            assert_eq!(outcome, Err(expected), "byte {at} of {algorithm:?}");
            let again = open(&mut opener, &first);
            assert_eq!(again, Err(AlertDescription::BAD_RECORD_MAC));
        }
    }
}

/// RFC 5246 §6.1: sequence numbers don't wrap.
#[test]
fn key_out_of_numbers_seals_no_more() {
    let mut sealer = TlsSealer::starting_at(keys(AeadAlgorithm::Aes128Gcm), u64::MAX);
    seal(&mut sealer, b"last").unwrap();
    for _ in 0..3 {
        assert_eq!(
            seal(&mut sealer, b"more"),
            Err(Limit::SequenceNumbersExhausted.into())
        );
    }
}

#[test]
fn refused_seal_spends_no_number() {
    let mut sealer = TlsSealer::new(keys(AeadAlgorithm::Aes128Ccm8));
    let long = vec![0; MAX_PLAINTEXT_LEN + 1];
    let mut out = vec![0; MAX_TLS_RECORD_LEN];
    assert_eq!(
        sealer.seal(ContentType::ApplicationData, &long, &mut out),
        Err(Limit::PlaintextTooLong {
            len: MAX_PLAINTEXT_LEN + 1,
            max: MAX_PLAINTEXT_LEN
        }
        .into())
    );
    assert_eq!(
        sealer.seal(ContentType::ApplicationData, b"ab", &mut out[..22]),
        Err(Misuse::BufferTooSmall {
            needed: 23,
            available: 22
        }
        .into())
    );
    let record = seal(&mut sealer, b"ab").unwrap();
    assert_eq!(record[5..13], [0; 8]);
}

#[test]
fn fragment_of_the_wrong_length_is_refused() {
    for len in 0..24_u8 {
        let mut opener = TlsOpener::new(keys(AeadAlgorithm::Aes128Gcm));
        let mut short = vec![0x17, 3, 3, 0, len];
        short.extend(vec![0; usize::from(len)]);
        assert_eq!(
            open(&mut opener, &short),
            Err(AlertDescription::BAD_RECORD_MAC)
        );
    }
    let mut opener = TlsOpener::new(keys(AeadAlgorithm::Aes128Gcm));
    let mut long = vec![0x17, 3, 3, 0x40, 25];
    long.extend(vec![0; 0x4000 + 25]);
    assert_eq!(
        open(&mut opener, &long),
        Err(AlertDescription::RECORD_OVERFLOW)
    );
}
