//! What a provider refuses, with which error, and what it leaves in the buffer.

use hedgerow_core::{Aead, AeadAlgorithm, CryptoError, CryptoProvider, HmacSha256, Sha256};

use super::each_bit_flipped;

const KEY: [u8; 32] = *b"0123456789abcdefghijklmnopqrstuv";
const NONCE: [u8; 12] = *b"nonce of 12.";
const DATA: &[u8] = b"thirteen byte";
// No byte is zero, so that a buffer of zeros can't be mistaken for it.
const PLAINTEXT: &[u8; 37] = b"thirty-seven bytes: two blocks and 5.";

pub(crate) fn key_of_another_length_is_refused(provider: &impl CryptoProvider) {
    for algorithm in AeadAlgorithm::ALL {
        let expected = algorithm.key_len();
        for len in (0..=65).filter(|&len| len != expected) {
            assert_eq!(
                provider.aead(algorithm, &vec![1; len]).err(),
                Some(CryptoError::KeyLength { len, expected })
            );
        }
    }
}

pub(crate) fn nonce_of_another_length_is_refused_and_input_left(provider: &impl CryptoProvider) {
    for algorithm in AeadAlgorithm::ALL {
        let (cipher, sealed, tag) = sealed(provider, algorithm, PLAINTEXT);
        let expected = algorithm.nonce_len();
        for len in (0..=33).filter(|&len| len != expected) {
            let error = Err(CryptoError::NonceLength { len, expected });
            let (nonce, mut in_out) = (vec![2; len], sealed.clone());
            assert_eq!(cipher.open_in_place(&nonce, DATA, &mut in_out, &tag), error);
            assert_eq!(
                cipher.seal_in_place(&nonce, DATA, &mut in_out, &mut tag.clone()),
                error
            );
            assert_eq!(in_out, sealed);
        }
    }
}

pub(crate) fn tag_of_another_length_is_refused_and_input_left(provider: &impl CryptoProvider) {
    for algorithm in AeadAlgorithm::ALL {
        let (cipher, sealed, tag) = sealed(provider, algorithm, PLAINTEXT);
        let expected = algorithm.tag_len();
        for len in (0..=33).filter(|&len| len != expected) {
            // Shorter ones are true prefixes, longer ones begin with the true tag.
            let mut other: Vec<u8> = tag.iter().copied().chain([0; 33]).take(len).collect();
            let error = Err(CryptoError::TagLength { len, expected });
            let mut in_out = sealed.clone();
            assert_eq!(
                cipher.open_in_place(&NONCE, DATA, &mut in_out, &other),
                error
            );
            assert_eq!(
                cipher.seal_in_place(&NONCE, DATA, &mut in_out, &mut other),
                error
            );
            assert_eq!(in_out, sealed);
        }
    }
}

pub(crate) fn what_is_sealed_opens_at_every_short_length(provider: &impl CryptoProvider) {
    let plaintext = [0x77; 140];
    let data = [0x66; 40];
    for algorithm in AeadAlgorithm::ALL {
        let cipher = cipher(provider, algorithm);
        for len in 0..=plaintext.len() {
            let data = &data[..len % data.len()];
            let mut in_out = plaintext[..len].to_vec();
            let mut tag = vec![0; algorithm.tag_len()];
            cipher
                .seal_in_place(&NONCE, data, &mut in_out, &mut tag)
                .unwrap();
            assert!(
                len < 8 || in_out != plaintext[..len],
                "{len} bytes left in clear"
            );
            cipher
                .open_in_place(&NONCE, data, &mut in_out, &tag)
                .unwrap();
            assert_eq!(in_out, plaintext[..len]);
        }
    }
}

pub(crate) fn every_flipped_bit_is_refused_and_leaves_zeros(provider: &impl CryptoProvider) {
    for algorithm in AeadAlgorithm::ALL {
        let (cipher, sealed, tag) = sealed(provider, algorithm, PLAINTEXT);
        for forged in each_bit_flipped(&tag) {
            refused(&cipher, &NONCE, DATA, &sealed, &forged);
        }
        for forged in each_bit_flipped(&sealed) {
            refused(&cipher, &NONCE, DATA, &forged, &tag);
        }
        for forged in each_bit_flipped(DATA) {
            refused(&cipher, &NONCE, &forged, &sealed, &tag);
        }
        for forged in each_bit_flipped(&NONCE) {
            refused(&cipher, &forged, DATA, &sealed, &tag);
        }
        refused(&cipher, &NONCE, b"", &sealed, &tag);
        refused(&cipher, &NONCE, DATA, &sealed[1..], &tag);
        refused(
            &cipher,
            &NONCE,
            DATA,
            &[sealed.clone(), vec![0]].concat(),
            &tag,
        );

        let (cipher, _, tag) = self::sealed(provider, algorithm, b"");
        for forged in each_bit_flipped(&tag) {
            refused(&cipher, &NONCE, DATA, b"", &forged);
        }
    }
}

pub(crate) fn another_key_is_refused_and_leaves_zeros(provider: &impl CryptoProvider) {
    for algorithm in AeadAlgorithm::ALL {
        let (_, sealed, tag) = sealed(provider, algorithm, PLAINTEXT);
        for key in each_bit_flipped(&KEY[..algorithm.key_len()]) {
            let other = provider.aead(algorithm, &key).unwrap();
            refused(&other, &NONCE, DATA, &sealed, &tag);
        }
    }
}

/// Padding must not let a byte pass from the additional data's end to the ciphertext's begin.
pub(crate) fn moved_boundary_between_data_and_ciphertext_is_refused(
    provider: &impl CryptoProvider,
) {
    for algorithm in AeadAlgorithm::ALL {
        let cipher = cipher(provider, algorithm);
        let mut in_out = [0; 16];
        let mut tag = vec![0; algorithm.tag_len()];
        cipher
            .seal_in_place(&NONCE, &[0; 16], &mut in_out, &mut tag)
            .unwrap();
        for len in (0..=48).filter(|&len| len != 16) {
            refused(&cipher, &NONCE, &vec![0; len], &in_out, &tag);
        }
        let joined: Vec<u8> = [[0; 16], in_out].concat();
        for split in (0..=32).filter(|&split| split != 16) {
            let (data, ciphertext) = joined.split_at(split);
            refused(&cipher, &NONCE, data, ciphertext, &tag);
        }
    }
}

/// RFC 3610 §2.1: with a 12-byte nonce three bytes are left for the length.
pub(crate) fn ccm_takes_its_longest_input_and_refuses_one_byte_more(
    provider: &impl CryptoProvider,
) {
    const LEN: usize = 1 << 24;
    for algorithm in [AeadAlgorithm::Aes128Ccm, AeadAlgorithm::Aes128Ccm8] {
        let cipher = cipher(provider, algorithm);
        let mut in_out = vec![0x11; LEN];
        let mut tag = vec![0; algorithm.tag_len()];
        let error = Err(CryptoError::InputTooLong { len: LEN });
        assert_eq!(
            cipher.seal_in_place(&NONCE, DATA, &mut in_out, &mut tag),
            error
        );
        assert_eq!(cipher.open_in_place(&NONCE, DATA, &mut in_out, &tag), error);
        assert!(in_out == vec![0x11; LEN]);

        in_out.pop();
        cipher
            .seal_in_place(&NONCE, DATA, &mut in_out, &mut tag)
            .unwrap();
        cipher
            .open_in_place(&NONCE, DATA, &mut in_out, &tag)
            .unwrap();
        assert!(in_out == vec![0x11; LEN - 1]);
    }
}

/// RFC 5869 §2.3: a counter of one byte gives at most 255 blocks.
pub(crate) fn hkdf_gives_its_longest_output_and_refuses_one_byte_more(
    provider: &impl CryptoProvider,
) {
    const MAX: usize = 255 * 32;
    let key = [3; 32];
    let mut longest = vec![0; MAX];
    provider.hkdf_expand(&key, b"info", &mut longest).unwrap();
    let mut short = [0; 33];
    provider.hkdf_expand(&key, b"info", &mut short).unwrap();
    assert_eq!(short, longest[..33]);
    assert_ne!(longest[MAX - 32..], longest[MAX - 64..MAX - 32]);
    assert_eq!(provider.hkdf_expand(&key, b"info", &mut []), Ok(()));
    assert_eq!(
        provider.hkdf_expand(&key, b"info", &mut vec![0; MAX + 1]),
        Err(CryptoError::OutputTooLong {
            len: MAX + 1,
            max: MAX
        })
    );
}

pub(crate) fn borrowed_provider_is_the_same_provider<P: CryptoProvider>(provider: &P) {
    fn everything<P: CryptoProvider>(provider: &P) -> Vec<Vec<u8>> {
        let (_, ciphertext, tag) = sealed(provider, AeadAlgorithm::Aes128Ccm, PLAINTEXT);
        let mut hash = provider.sha256();
        hash.update(DATA);
        let mut hmac = provider.hmac_sha256(&KEY);
        hmac.update(DATA);
        let mut key = [0; 32];
        provider.hkdf_extract(DATA, &KEY, &mut key);
        let mut output = [0; 50];
        provider.hkdf_expand(&key, DATA, &mut output).unwrap();
        vec![
            ciphertext,
            tag,
            hash.finish().to_vec(),
            hmac.finish().to_vec(),
            key.to_vec(),
            output.to_vec(),
        ]
    }
    assert_eq!(everything(provider), everything(&provider));
}

fn cipher<P: CryptoProvider>(provider: &P, algorithm: AeadAlgorithm) -> P::Aead {
    provider
        .aead(algorithm, &KEY[..algorithm.key_len()])
        .unwrap()
}

/// Returns the cipher with the ciphertext and the tag of `plaintext`.
fn sealed<P: CryptoProvider>(
    provider: &P,
    algorithm: AeadAlgorithm,
    plaintext: &[u8],
) -> (P::Aead, Vec<u8>, Vec<u8>) {
    let cipher = cipher(provider, algorithm);
    let mut in_out = plaintext.to_vec();
    let mut tag = vec![0; algorithm.tag_len()];
    cipher
        .seal_in_place(&NONCE, DATA, &mut in_out, &mut tag)
        .unwrap();
    (cipher, in_out, tag)
}

/// Asserts that the call fails and that the buffer is zeroed.
fn refused(cipher: &impl Aead, nonce: &[u8], data: &[u8], ciphertext: &[u8], tag: &[u8]) {
    let mut in_out = ciphertext.to_vec();
    assert_eq!(
        cipher.open_in_place(nonce, data, &mut in_out, tag),
        Err(CryptoError::AuthenticationFailed)
    );
    assert_eq!(in_out, vec![0; ciphertext.len()]);
}
