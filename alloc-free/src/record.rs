//! `hedgerow-record`: a record opened and sealed, the handshake messages in and out.

use hedgerow_core::{AeadAlgorithm, Reader, Writer};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_record::{
    Alert, ClientHello, ContentType, DTLS_1_2, DtlsOpener, DtlsRecord, DtlsSealer, EpochNumber,
    HandshakeFragment, HandshakeType, HelloVerifyRequest, Protocol, ServerHello, TrafficKeys,
    encode_handshake_header, encode_record,
};

pub(crate) fn enter(bytes: &mut [u8]) -> usize {
    let mut out = [0; 256];
    for algorithm in AeadAlgorithm::ALL {
        if let Some(len) = protect(algorithm, bytes, &mut out) {
            return len;
        }
    }
    copy(bytes, &mut out).unwrap_or_default()
}

fn protect(algorithm: AeadAlgorithm, bytes: &mut [u8], out: &mut [u8]) -> Option<usize> {
    let key = [7; 32];
    let keys = || {
        let key = key.get(..algorithm.key_len())?;
        let iv = key.get(..TrafficKeys::<hedgerow_crypto_soft::SoftAead>::iv_len(algorithm))?;
        TrafficKeys::new(&SoftCrypto, algorithm, key, iv).ok()
    };
    let (record, _) = DtlsRecord::decode(bytes).ok()?;
    let mut opener = DtlsOpener::new(keys()?, EpochNumber(1));
    let opened = opener.open(record).ok()?;
    let mut sealer = DtlsSealer::new(keys()?, EpochNumber(1));
    sealer.seal(opened.content_type, opened.plaintext, out).ok()
}

/// Decodes a record in clear, its messages one by one, and encodes them again.
fn copy(bytes: &mut [u8], out: &mut [u8]) -> Option<usize> {
    let (record, _) = DtlsRecord::decode(bytes).ok()?;
    let mut writer = Writer::new(out);
    if record.content_type == ContentType::Alert {
        let alert = Alert::decode_exact(record.fragment).ok()?.encode();
        let number = record.number;
        encode_record(ContentType::Alert, DTLS_1_2, number, &alert, &mut writer).ok()?;
    }
    let mut messages = Reader::new(record.fragment);
    while let Ok(part) = HandshakeFragment::decode(&mut messages) {
        let seq = part.message_seq;
        let offset = part.fragment_offset;
        encode_handshake_header(part.msg_type, part.length, seq, offset, 0, &mut writer).ok()?;
        let body = part.whole()?;
        match part.msg_type {
            HandshakeType::ClientHello => ClientHello::decode_exact(Protocol::Dtls, body)
                .ok()?
                .encode(&mut writer),
            HandshakeType::ServerHello => ServerHello::decode_exact(body).ok()?.encode(&mut writer),
            HandshakeType::HelloVerifyRequest => HelloVerifyRequest::decode_exact(body)
                .ok()?
                .encode(&mut writer),
            _ => return None,
        }
        .ok()?;
    }
    Some(writer.len())
}
