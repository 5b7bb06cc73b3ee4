//! Both providers give the same bytes, accept the same and refuse with the same errors.
//!
//! AES-CCM isn't asked here: it is the same code in both.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use hedgerow_core::{Aead, AeadAlgorithm, CryptoError, CryptoProvider, HmacSha256, Sha256};
use hedgerow_crypto_ring::RingCrypto;
use hedgerow_crypto_soft::SoftCrypto;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any};
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;
use proptest::{prop_assert, prop_assert_eq, prop_assume, proptest};

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x4865_6467_6572_6f77),
        ..ProptestConfig::default()
    }
}

/// The algorithms for which the providers don't share their code.
fn algorithm() -> impl Strategy<Value = AeadAlgorithm> {
    select(&[AeadAlgorithm::Aes128Gcm, AeadAlgorithm::Chacha20Poly1305][..])
}

/// Mostly the length that fits, sometimes another one.
fn length(fitting: usize) -> impl Strategy<Value = usize> {
    (0..8u8, 0..40usize).prop_map(move |(die, other)| if die == 0 { other } else { fitting })
}

/// Everything a caller sees of a seal and of an open: the result, the buffer and the tag.
type Outcome = (Result<(), CryptoError>, Vec<u8>, Vec<u8>);

fn seal(cipher: &impl Aead, nonce: &[u8], data: &[u8], input: &[u8], tag_len: usize) -> Outcome {
    let (mut in_out, mut tag) = (input.to_vec(), vec![0xee; tag_len]);
    let result = cipher.seal_in_place(nonce, data, &mut in_out, &mut tag);
    (result, in_out, tag)
}

fn open(cipher: &impl Aead, nonce: &[u8], data: &[u8], input: &[u8], tag: &[u8]) -> Outcome {
    let mut in_out = input.to_vec();
    let result = cipher.open_in_place(nonce, data, &mut in_out, tag);
    (result, in_out, tag.to_vec())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn ciphers_agree_on_every_length(
        (algorithm, key_len, nonce_len, tag_len) in algorithm().prop_flat_map(|algorithm| (
            select(vec![algorithm]),
            length(algorithm.key_len()),
            length(algorithm.nonce_len()),
            length(algorithm.tag_len()),
        )),
        bytes in vec(any::<u8>(), 80),
        data in vec(any::<u8>(), 0..100),
        plaintext in vec(any::<u8>(), 0..600),
    ) {
        let (key, nonce) = (&bytes[..key_len], &bytes[40..40 + nonce_len]);
        match (SoftCrypto.aead(algorithm, key), RingCrypto.aead(algorithm, key)) {
            (Ok(soft), Ok(ring)) => {
                let sealed = seal(&soft, nonce, &data, &plaintext, tag_len);
                prop_assert_eq!(&sealed, &seal(&ring, nonce, &data, &plaintext, tag_len));
                let opened = open(&soft, nonce, &data, &sealed.1, &sealed.2);
                prop_assert_eq!(&opened, &open(&ring, nonce, &data, &sealed.1, &sealed.2));
                if sealed.0.is_ok() {
                    prop_assert_eq!(opened.0, Ok(()));
                    prop_assert_eq!(opened.1, plaintext);
                }
            }
            (soft, ring) => prop_assert_eq!(soft.err().unwrap(), ring.err().unwrap()),
        }
    }

    #[test]
    fn ciphers_agree_on_what_is_forged(
        algorithm in algorithm(),
        key in vec(any::<u8>(), 32),
        nonce in vec(any::<u8>(), 12),
        data in vec(any::<u8>(), 0..100),
        plaintext in vec(any::<u8>(), 0..600),
        part in 0..4usize,
        at in any::<Index>(),
        change in 1..=u8::MAX,
    ) {
        let key = &key[..algorithm.key_len()];
        let soft = SoftCrypto.aead(algorithm, key).unwrap();
        let ring = RingCrypto.aead(algorithm, key).unwrap();
        let (_, ciphertext, tag) = seal(&ring, &nonce, &data, &plaintext, algorithm.tag_len());
        let mut parts = [nonce, data, ciphertext, tag];
        prop_assume!(!parts[part].is_empty());
        let at = at.index(parts[part].len());
        parts[part][at] ^= change;
        let [nonce, data, ciphertext, tag] = &parts;
        let refused = open(&soft, nonce, data, ciphertext, tag);
        prop_assert_eq!(&refused, &open(&ring, nonce, data, ciphertext, tag));
        prop_assert_eq!(refused.0, Err(CryptoError::AuthenticationFailed));
        prop_assert!(refused.1.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn hashes_agree_however_the_input_is_split(
        soft_pieces in vec(vec(any::<u8>(), 0..150), 0..8),
        cuts in vec(any::<Index>(), 0..8),
        key in vec(any::<u8>(), 0..200),
    ) {
        // The same input, cut in other places for the other provider.
        let input = soft_pieces.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let ring_pieces = cuts.windows(2).map(|ends| &input[ends[0]..ends[1]]);

        let (mut soft, mut soft_hmac) = (SoftCrypto.sha256(), SoftCrypto.hmac_sha256(&key));
        for piece in &soft_pieces {
            soft.update(piece);
            soft_hmac.update(piece);
        }
        let (mut ring, mut ring_hmac) = (RingCrypto.sha256(), RingCrypto.hmac_sha256(&key));
        for piece in ring_pieces {
            ring.update(piece);
            ring_hmac.update(piece);
        }
        prop_assert_eq!(soft.finish(), ring.finish());
        prop_assert_eq!(soft_hmac.finish(), ring_hmac.finish());
    }

    #[test]
    fn key_derivation_agrees(
        salt in vec(any::<u8>(), 0..100),
        input_key in vec(any::<u8>(), 0..100),
        info in vec(any::<u8>(), 0..100),
        len in select(vec![0, 1, 31, 32, 33, 64, 100, 1000, 8159, 8160, 8161, 9000]),
    ) {
        let (mut soft_key, mut ring_key) = ([0; 32], [1; 32]);
        SoftCrypto.hkdf_extract(&salt, &input_key, &mut soft_key);
        RingCrypto.hkdf_extract(&salt, &input_key, &mut ring_key);
        prop_assert_eq!(soft_key, ring_key);

        let (mut soft, mut ring) = (vec![0; len], vec![0; len]);
        prop_assert_eq!(
            SoftCrypto.hkdf_expand(&soft_key, &info, &mut soft),
            RingCrypto.hkdf_expand(&ring_key, &info, &mut ring)
        );
        prop_assert_eq!(soft, ring);
    }
}
