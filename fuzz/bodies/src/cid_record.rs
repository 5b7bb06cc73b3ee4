//! Records of `hedgerow-record` with a connection ID.

use hedgerow_core::{Aead, AeadAlgorithm, CryptoProvider, DropReason, Writer};
use hedgerow_crypto_soft::{SoftAead, SoftCrypto};
use hedgerow_record::{
    ConnectionId, ContentType, DtlsOpener, DtlsRecord, DtlsSealer, EpochNumber,
    MAX_CONNECTION_ID_LEN, MAX_PLAINTEXT_LEN, RECORD_HEADER_LEN, RecordNumber, TrafficKeys,
    peek_connection_id,
};

/// Reads a datagram as one that arrives where connection IDs have the length that the first byte
/// says. Its records stay shut under keys that never sealed them. Its own bytes, sealed with the
/// connection ID, open once and not at all with a bit changed; sealed as a whole
/// DTLSInnerPlaintext, by a second coding of RFC 9146 §5.3, they come out as what stands before the
/// last octet that isn't zero.
pub fn cid_record(input: &[u8]) {
    let Some((&first, datagram)) = input.split_first() else {
        return;
    };
    let len = usize::from(first) % (MAX_CONNECTION_ID_LEN + 2);
    let peeked = peek_connection_id(datagram, len);
    let mut copy = datagram.to_vec();
    let (mut rest, mut left) = (copy.as_mut_slice(), datagram);
    let mut is_first = true;
    while let Ok((record, behind)) = DtlsRecord::decode_with_connection_id(rest, len) {
        let has_id = record.content_type == ContentType::Tls12Cid;
        let id_len = record.connection_id.len();
        assert_eq!(id_len, if has_id { len } else { 0 });
        if let (true, Some(peeked)) = (is_first && has_id, peeked) {
            assert_eq!(peeked.as_bytes(), record.connection_id);
        }
        let whole = RECORD_HEADER_LEN + id_len + record.fragment.len();
        let (wire, after) = left
            .split_at_checked(whole)
            .expect("a record lies in its datagram");
        assert_eq!(after, behind);
        if let (true, Ok(id)) = (is_first, ConnectionId::new(record.connection_id)) {
            for algorithm in AeadAlgorithm::ALL {
                stays_shut(algorithm, id, wire, len);
            }
        }
        is_first = false;
        (rest, left) = (behind, after);
    }
    let (id, text) = datagram
        .split_at_checked(len.min(MAX_CONNECTION_ID_LEN))
        .unwrap_or((&[1], datagram));
    let Ok(id) = ConnectionId::new(id) else {
        return;
    };
    if text.len() <= MAX_PLAINTEXT_LEN && !id.is_empty() {
        for algorithm in AeadAlgorithm::ALL {
            opens_once(algorithm, id, text);
            sealed_by_another(algorithm, id, text);
        }
    }
}

/// The fuzzer doesn't know the key, so nothing that it makes verifies, in either format.
fn stays_shut(algorithm: AeadAlgorithm, id: ConnectionId, wire: &[u8], len: usize) {
    for expected in [id, ConnectionId::EMPTY] {
        let mut wire = wire.to_vec();
        let (record, _) =
            DtlsRecord::decode_with_connection_id(&mut wire, len).expect("it decoded before");
        let epoch = record.number.epoch();
        let mut opener = DtlsOpener::new(keys(algorithm, 0x55), epoch).with_connection_id(expected);
        assert!(opener.open(record).is_err());
    }
}

fn opens_once(algorithm: AeadAlgorithm, id: ConnectionId, text: &[u8]) {
    let content_type = ContentType::ApplicationData;
    let mut sealer = DtlsSealer::new(keys(algorithm, 7), EPOCH).with_connection_id(id);
    let mut sealed = vec![0; text.len() + sealer.overhead()];
    let len = sealer
        .seal(content_type, text, &mut sealed)
        .expect("there is room");
    assert_eq!(len, sealed.len());
    let mut opener = DtlsOpener::new(keys(algorithm, 7), EPOCH).with_connection_id(id);
    let sum = text.iter().fold(0_usize, |sum, &byte| {
        sum.wrapping_mul(31).wrapping_add(usize::from(byte))
    });
    let at = sum % (len * 8);
    let mut forged = sealed.clone();
    forged[at / 8] ^= 1 << (at % 8);
    if let Ok((record, _)) = DtlsRecord::decode_with_connection_id(&mut forged, id.len()) {
        assert!(
            opener.open(record).is_err(),
            "bit {at} changed and it opened"
        );
    }
    let mut copy = sealed.clone();
    let (record, rest) =
        DtlsRecord::decode_with_connection_id(&mut copy, id.len()).expect("our own record");
    assert!(rest.is_empty());
    let opened = opener.open(record).expect("our own record");
    assert_eq!(
        (opened.content_type, &*opened.plaintext),
        (content_type, text)
    );
    let (record, _) =
        DtlsRecord::decode_with_connection_id(&mut sealed, id.len()).expect("our own record");
    assert_eq!(opener.open(record), Err(DropReason::Replayed));
}

/// What a peer may put inside: padding of any length, any type, or nothing.
fn sealed_by_another(algorithm: AeadAlgorithm, id: ConnectionId, inner: &[u8]) {
    let number = RecordNumber::new(EPOCH, 5).expect("a small number");
    let bytes = number.to_be_bytes();
    let is_chacha = algorithm == AeadAlgorithm::Chacha20Poly1305;
    let explicit: &[u8] = if is_chacha { &[] } else { &bytes };
    let mut nonce = [7; 12];
    for (place, byte) in nonce[4..].iter_mut().zip(bytes) {
        *place = if is_chacha { *place ^ byte } else { byte };
    }
    let inner_len = u16::try_from(inner.len()).expect("no more than a record carries");
    let id_len = u8::try_from(id.len()).expect("32 at most");
    let additional_data = [
        &[0xff; 8][..],
        &[25, id_len, 25, 0xfe, 0xfd],
        &bytes,
        id.as_bytes(),
        &inner_len.to_be_bytes(),
    ]
    .concat();
    let mut text = inner.to_vec();
    let mut tag = vec![0; algorithm.tag_len()];
    let key = vec![7; algorithm.key_len()];
    let aead = SoftCrypto
        .aead(algorithm, &key)
        .expect("a key of the right length");
    aead.seal_in_place(&nonce, &additional_data, &mut text, &mut tag)
        .expect("it seals");
    let fragment = [explicit, &text, &tag].concat();
    let mut out = vec![0; RECORD_HEADER_LEN + id.len() + fragment.len()];
    let mut writer = Writer::new(&mut out);
    let written = writer
        .bytes(&[25, 0xfe, 0xfd])
        .and_then(|()| writer.bytes(&bytes))
        .and_then(|()| writer.bytes(id.as_bytes()))
        .and_then(|()| writer.vector16(&fragment));
    written.expect("there is room");
    let (record, _) =
        DtlsRecord::decode_with_connection_id(&mut out, id.len()).expect("a whole record");
    let mut opener = DtlsOpener::new(keys(algorithm, 7), EPOCH).with_connection_id(id);
    let opened = opener.open(record);
    let unpadded = inner.iter().rposition(|&octet| octet != 0);
    match unpadded.map(|at| inner.split_at(at)) {
        Some((content, [code, ..])) if *code != 25 => {
            let opened = opened.expect("it verifies and has a type");
            assert_eq!(opened.content_type, ContentType::from(*code));
            assert_eq!(opened.plaintext, content);
        }
        _ => assert_eq!(opened, Err(DropReason::Malformed)),
    }
    assert_eq!(opener.forgeries(), 0);
}

fn keys(algorithm: AeadAlgorithm, byte: u8) -> TrafficKeys<SoftAead> {
    let key = vec![byte; algorithm.key_len()];
    let iv = vec![byte; TrafficKeys::<SoftAead>::iv_len(algorithm)];
    TrafficKeys::new(&SoftCrypto, algorithm, &key, &iv).expect("keys of the right length")
}

const EPOCH: EpochNumber = EpochNumber(1);
