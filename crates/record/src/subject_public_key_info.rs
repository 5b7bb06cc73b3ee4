//! SubjectPublicKeyInfo of P-256 keys, which in DER has one form (RFC 5480 §2, RFC 7250 §3).

use hedgerow_core::P256_PUBLIC_KEY_LEN;

/// Length of the SubjectPublicKeyInfo of a P-256 key, in bytes.
pub const P256_SPKI_LEN: usize = PREFIX.len() + P256_PUBLIC_KEY_LEN;

/// SEQUENCE { SEQUENCE { id-ecPublicKey, secp256r1 }, BIT STRING without unused bits, of which the
/// point follows.
const PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The first byte of an uncompressed point (RFC 8422 §5.4.1).
const UNCOMPRESSED: u8 = 4;

/// Returns the point in `subject_public_key_info`, whose coordinates are not checked; `None` for any
/// other key than one of P-256 with an uncompressed point.
pub fn decode_p256_spki(subject_public_key_info: &[u8]) -> Option<&[u8; P256_PUBLIC_KEY_LEN]> {
    let point = subject_public_key_info.strip_prefix(&PREFIX)?;
    let point: &[u8; P256_PUBLIC_KEY_LEN] = point.try_into().ok()?;
    (point.first() == Some(&UNCOMPRESSED)).then_some(point)
}

/// Makes the SubjectPublicKeyInfo of a P-256 key from its uncompressed point.
pub fn encode_p256_spki(public_key: &[u8; P256_PUBLIC_KEY_LEN]) -> [u8; P256_SPKI_LEN] {
    let mut spki = [0; P256_SPKI_LEN];
    let (prefix, point) = spki.split_at_mut(PREFIX.len());
    prefix.copy_from_slice(&PREFIX);
    point.copy_from_slice(public_key);
    spki
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_keys_forms_and_lengths_are_refused() {
        let mut point = [7; P256_PUBLIC_KEY_LEN];
        point[0] = 4;
        let spki = encode_p256_spki(&point);
        assert_eq!(decode_p256_spki(&spki), Some(&point));
        for len in 0..spki.len() {
            assert_eq!(decode_p256_spki(&spki[..len]), None);
        }
        for at in 0..=PREFIX.len() {
            let mut other = spki;
            other[at] ^= 1;
            assert_eq!(decode_p256_spki(&other), None, "byte {at}");
        }
        let mut longer = spki.to_vec();
        longer.push(0);
        assert_eq!(decode_p256_spki(&longer), None);
    }
}
