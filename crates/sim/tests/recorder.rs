//! The recorder lists calls in order, with their lengths.
#![allow(clippy::unwrap_used)]

mod toy;

use hedgerow_core::{Aead, AeadAlgorithm, CryptoError, CryptoProvider, HmacSha256, Sha256};
use hedgerow_sim::{Call, Recorder};
use toy::Toy;

use AeadAlgorithm::{Aes128Ccm8, Chacha20Poly1305};

#[test]
fn every_call_is_listed_in_order_with_its_lengths() {
    let recorder = Recorder::new(Toy);
    // The machine under test owns a clone; the test keeps the recorder.
    let provider = recorder.clone();

    let mut hash = provider.sha256();
    hash.update(&[0; 3]);
    let branch = hash.clone();
    hash.update(&[0; 4]);
    branch.finish();
    hash.finish();
    let mut tag = provider.hmac_sha256(&[0; 5]);
    tag.update(&[0; 6]);
    tag.finish();
    let mut key = [0; 32];
    provider.hkdf_extract(&[0; 7], &[0; 8], &mut key);
    provider.hkdf_expand(&key, &[0; 9], &mut [0; 10]).unwrap();
    let aead = provider.aead(Aes128Ccm8, &[0; 16]).unwrap();
    aead.seal_in_place(&[0; 12], &[0; 13], &mut [0; 11], &mut [0; 8])
        .unwrap();
    let forged = aead.open_in_place(&[0; 12], &[0; 14], &mut [0; 15], &[1; 8]);
    assert_eq!(forged, Err(CryptoError::AuthenticationFailed));
    assert!(provider.aead(Chacha20Poly1305, &[0; 32]).is_err());

    assert_eq!(
        recorder.take_calls(),
        [
            Call::Sha256,
            Call::Sha256Update { len: 3 },
            Call::Sha256Update { len: 4 },
            Call::Sha256Finish,
            Call::Sha256Finish,
            Call::HmacSha256 { key_len: 5 },
            Call::HmacSha256Update { len: 6 },
            Call::HmacSha256Finish,
            Call::HkdfExtract {
                salt_len: 7,
                input_key_len: 8
            },
            Call::HkdfExpand {
                info_len: 9,
                output_len: 10
            },
            Call::Aead {
                algorithm: Aes128Ccm8,
                key_len: 16
            },
            Call::Seal {
                algorithm: Aes128Ccm8,
                additional_data_len: 13,
                len: 11
            },
            Call::Open {
                algorithm: Aes128Ccm8,
                additional_data_len: 14,
                len: 15
            },
            Call::Aead {
                algorithm: Chacha20Poly1305,
                key_len: 32
            },
        ]
    );
    assert_eq!(recorder.take_calls(), []);
}

#[test]
fn results_pass_through_unchanged() {
    let recorder = Recorder::new(Toy);
    let aead = recorder.aead(Aes128Ccm8, &[9; 16]).unwrap();
    let (mut data, mut tag) = ([1, 2, 3], [0xff; 8]);
    aead.seal_in_place(&[0; 12], b"", &mut data, &mut tag)
        .unwrap();
    assert_eq!((data, tag), ([10, 11, 12], [0; 8]));
    aead.open_in_place(&[0; 12], b"", &mut data, &tag).unwrap();
    assert_eq!(data, [1, 2, 3]);
    let mut hash = recorder.sha256();
    hash.update(&[4, 5]);
    assert_eq!(hash.finish(), [9; 32]);
}

#[test]
fn recorders_keep_separate_lists() {
    let (one, two) = (Recorder::new(Toy), Recorder::new(Toy));
    one.sha256();
    assert_eq!(two.take_calls(), []);
    assert_eq!(one.take_calls(), [Call::Sha256]);
}
