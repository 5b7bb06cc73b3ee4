//! The records of `hedgerow-record`, in clear and protected.

use hedgerow_core::{AeadAlgorithm, DropReason, Writer};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_record::{
    ContentType, DTLS_1_2, DtlsOpener, DtlsRecord, DtlsSealer, MAX_PLAINTEXT_LEN,
    RECORD_HEADER_LEN, RecordNumber, TrafficKeys, encode_record,
};

type Aead = hedgerow_crypto_soft::SoftAead;

/// Walks through a datagram, encodes its records again, opens them under keys that never sealed
/// them, and seals their fragments, which must open once and not at all with a bit changed.
pub fn dtls_record(input: &[u8]) {
    let mut datagram = input.to_vec();
    let mut rest: &mut [u8] = &mut datagram;
    let mut left = input;
    let mut turn = 0_u8;
    while let Ok((record, behind)) = DtlsRecord::decode(rest) {
        let len = RECORD_HEADER_LEN.saturating_add(record.fragment.len());
        let (wire, after) = left
            .split_at_checked(len)
            .expect("a record lies in its datagram");
        assert_eq!(after, behind);
        encodes_again(&record, wire);
        // Four ciphers for each of a hundred records would make one input take its time.
        if turn < 4 {
            for algorithm in AeadAlgorithm::ALL {
                stays_shut(algorithm, wire);
                protected(
                    algorithm,
                    record.content_type,
                    record.number,
                    record.fragment,
                );
            }
        }
        turn = turn.saturating_add(1);
        (rest, left) = (behind, after);
    }
}

fn encodes_again(record: &DtlsRecord<'_>, wire: &[u8]) {
    if record.fragment.len() > MAX_PLAINTEXT_LEN {
        return;
    }
    let mut out = vec![0; wire.len()];
    let mut writer = Writer::new(&mut out);
    let (kind, version) = (record.content_type, record.version);
    encode_record(kind, version, record.number, record.fragment, &mut writer)
        .expect("it fits where it came from");
    assert_eq!(writer.written(), wire);
}

/// The fuzzer doesn't know the key, so nothing that it makes verifies.
fn stays_shut(algorithm: AeadAlgorithm, wire: &[u8]) {
    let mut wire = wire.to_vec();
    let (record, _) = DtlsRecord::decode(&mut wire).expect("it decoded before");
    let epoch = record.number.epoch();
    let mut opener = DtlsOpener::new(keys(algorithm, 0x55), epoch);
    assert!(opener.open(record).is_err());
}

fn protected(
    algorithm: AeadAlgorithm,
    content_type: ContentType,
    number: RecordNumber,
    plaintext: &[u8],
) {
    let (epoch, sequence_number) = (number.epoch(), number.sequence_number());
    let mut sealer = DtlsSealer::starting_at(keys(algorithm, 7), epoch, sequence_number);
    let mut sealed = vec![0; plaintext.len().saturating_add(sealer.overhead())];
    let Ok(len) = sealer.seal(content_type, plaintext, &mut sealed) else {
        assert!(plaintext.len() > MAX_PLAINTEXT_LEN);
        return;
    };
    assert_eq!(len, sealed.len());
    let mut opener = DtlsOpener::new(keys(algorithm, 7), epoch);
    // The bit that is changed follows from the input; a change in the header's length or major
    // version makes another record of it, which decodes or not.
    let bits = len.saturating_mul(8);
    let at = plaintext.iter().fold(0_usize, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(usize::from(*byte))
    }) % bits;
    let mut forged = sealed.clone();
    if let Some(byte) = forged.get_mut(at / 8) {
        *byte ^= 1 << (at % 8);
    }
    if let Ok((record, _)) = DtlsRecord::decode(&mut forged) {
        assert!(
            opener.open(record).is_err(),
            "bit {at} changed and it opened"
        );
    }
    let mut copy = sealed.clone();
    let (record, rest) = DtlsRecord::decode(&mut copy).expect("our own record");
    assert!(rest.is_empty());
    assert_eq!(record.version, DTLS_1_2);
    assert_eq!(record.number, number);
    let opened = opener.open(record).expect("our own record");
    assert_eq!(opened.plaintext, plaintext);
    assert_eq!(opened.content_type, content_type);
    let (record, _) = DtlsRecord::decode(&mut sealed).expect("our own record");
    assert_eq!(opener.open(record), Err(DropReason::Replayed));
}

fn keys(algorithm: AeadAlgorithm, byte: u8) -> TrafficKeys<Aead> {
    let key = vec![byte; algorithm.key_len()];
    let iv = vec![byte; TrafficKeys::<Aead>::iv_len(algorithm)];
    TrafficKeys::new(&SoftCrypto, algorithm, &key, &iv).expect("keys of the right length")
}
