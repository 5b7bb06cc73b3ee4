//! What a gateway without keys knows of DTLS records, and writes itself.

#![allow(dead_code, unreachable_pub)]

use hedgerow_record::CipherSuite;

/// Whether a record is under the keys of a session's first epoch.
pub fn is_protected(record: &[u8]) -> bool {
    record[1..5] == [0xfe, 0xfd, 0, 1]
}

/// The same of a record in a stream that a gateway translates, in either form.
pub fn is_protected_in_stream(record: &[u8]) -> bool {
    record[1..3] == [3, 3] || is_protected(record)
}

/// What a client offers whose offer is to be weakened, the better one first.
pub const OFFER: [CipherSuite; 2] = [
    CipherSuite::TLS_PSK_WITH_AES_128_CCM,
    CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
];

/// Takes the better one of [`OFFER`] out of a ClientHello: it becomes a suite that nobody has. Says whether
/// it was there.
pub fn weaken_offer(bytes: &mut [u8]) -> bool {
    let offer = OFFER.map(|suite| suite.0.to_be_bytes()).concat();
    let found = bytes.windows(4).position(|at| *at == offer);
    if let Some(at) = found {
        bytes[at..at + 2].copy_from_slice(&[0xfa, 0xfa]);
    }
    found.is_some()
}

/// handshake_failure, and a close_notify that nobody authenticated (RFC 5246 §7.2).
pub const ALERTS: [[u8; 2]; 2] = [[2, 40], [1, 0]];

/// A record of type alert of epoch 1 with as much in it as a sealed one: the nonce, which is its number, two octets
/// and a tag.
pub fn forged_alert() -> Vec<u8> {
    const EPOCH_AND_NUMBER: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 60];
    let header = [&[21, 0xfe, 0xfd], &EPOCH_AND_NUMBER[..], &[0, 18]].concat();
    [&header[..], &EPOCH_AND_NUMBER, &[0x5a; 10]].concat()
}

/// A record with an alert in clear.
pub fn in_clear(alert: [u8; 2]) -> Vec<u8> {
    let header = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 99, 0, 2];
    [&header[..], &alert].concat()
}
