//! Answers that the specifications print.

use hedgerow_core::{Aead, AeadAlgorithm, CryptoProvider, HmacSha256, Sha256};
use hex_literal::hex;

/// NIST SP 800-38C, example 3: a 12-byte nonce and an 8-byte tag, the shape that RFC 6655 took.
pub(crate) fn ccm_8_gives_nists_example(provider: &impl CryptoProvider) {
    seals_and_opens(
        provider,
        AeadAlgorithm::Aes128Ccm8,
        &hex!("404142434445464748494a4b4c4d4e4f"),
        &hex!("101112131415161718191a1b"),
        &hex!("000102030405060708090a0b0c0d0e0f10111213"),
        &hex!("202122232425262728292a2b2c2d2e2f3031323334353637"),
        &hex!("e3b201a9f5b71a7a9b1ceaeccd97e70b6176aad9a4428aa5"),
        &hex!("484392fbc1b09951"),
    );
}

/// McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, test case 4.
pub(crate) fn gcm_gives_its_designers_example(provider: &impl CryptoProvider) {
    seals_and_opens(
        provider,
        AeadAlgorithm::Aes128Gcm,
        &hex!("feffe9928665731c6d6a8f9467308308"),
        &hex!("cafebabefacedbaddecaf888"),
        &hex!("feedfacedeadbeeffeedfacedeadbeefabaddad2"),
        &hex!(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
            "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
        ),
        &hex!(
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
            "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091"
        ),
        &hex!("5bc94fbc3221a5db94fae95ae7121a47"),
    );
}

/// RFC 8439 section 2.8.2.
pub(crate) fn chacha20_poly1305_gives_rfc_8439s_example(provider: &impl CryptoProvider) {
    seals_and_opens(
        provider,
        AeadAlgorithm::Chacha20Poly1305,
        &hex!("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"),
        &hex!("070000004041424344454647"),
        &hex!("50515253c0c1c2c3c4c5c6c7"),
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the \
          future, sunscreen would be it.",
        &hex!(
            "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
            "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
            "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
            "3ff4def08e4b7a9de576d26586cec64b6116"
        ),
        &hex!("1ae10b594f09e26a7e902ecbd0600691"),
    );
}

#[expect(
    clippy::too_many_arguments,
    reason = "one known answer has eight parts"
)]
fn seals_and_opens(
    provider: &impl CryptoProvider,
    algorithm: AeadAlgorithm,
    key: &[u8],
    nonce: &[u8],
    additional_data: &[u8],
    plaintext: &[u8],
    ciphertext: &[u8],
    tag: &[u8],
) {
    let cipher = provider.aead(algorithm, key).unwrap();
    assert_eq!(cipher.algorithm(), algorithm);
    let mut in_out = plaintext.to_vec();
    let mut sealed_tag = vec![0; algorithm.tag_len()];
    cipher
        .seal_in_place(nonce, additional_data, &mut in_out, &mut sealed_tag)
        .unwrap();
    assert_eq!(in_out, ciphertext);
    assert_eq!(sealed_tag, tag);
    cipher
        .open_in_place(nonce, additional_data, &mut in_out, tag)
        .unwrap();
    assert_eq!(in_out, plaintext);
}

/// NIST's examples for FIPS 180-4: one block, no input, two blocks, and a million letters.
pub(crate) fn sha256_gives_fips_180s_digests(provider: &impl CryptoProvider) {
    for (input, digest) in [
        (
            &b"abc"[..],
            hex!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ),
        (
            b"",
            hex!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ),
        (
            FIPS_180_448_BITS,
            hex!("248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"),
        ),
        (
            &[b'a'; 1_000_000],
            hex!("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
        ),
    ] {
        assert_eq!(sha256(provider, &[input]), digest);
    }
}

const FIPS_180_448_BITS: &[u8] = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";

/// Every split of inputs that end before, at and after a block's padding boundary.
pub(crate) fn sha256_of_pieces_is_sha256_of_the_whole(provider: &impl CryptoProvider) {
    let input: Vec<u8> = (0..=u8::MAX).cycle().take(131).collect();
    for len in [0, 1, 55, 56, 63, 64, 65, 119, 120, 127, 128, 129, 131] {
        let whole = sha256(provider, &[&input[..len]]);
        for split in 0..=len {
            let (left, right) = input[..len].split_at(split);
            assert_eq!(sha256(provider, &[left, right]), whole, "{split} of {len}");
            let mut begun = provider.sha256();
            begun.update(left);
            let mut clone = begun.clone();
            begun.update(b"only in the original");
            clone.update(right);
            assert_eq!(clone.finish(), whole, "clone at {split} of {len}");
        }
        let single: Vec<&[u8]> = input[..len].chunks(1).collect();
        assert_eq!(sha256(provider, &single), whole, "{len} single bytes");
    }
}

fn sha256(provider: &impl CryptoProvider, pieces: &[&[u8]]) -> [u8; 32] {
    let mut hash = provider.sha256();
    for piece in pieces {
        hash.update(piece);
    }
    hash.finish()
}

/// RFC 4231 section 4, test cases 1 to 7; case 5 prints the first 16 bytes only.
pub(crate) fn hmac_gives_rfc_4231s_tags(provider: &impl CryptoProvider) {
    let counted: Vec<u8> = (1..=25).collect();
    let cases: [(&[u8], &[u8], &[u8]); 7] = [
        (
            &[0x0b; 20],
            b"Hi There",
            &hex!("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        ),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            &hex!("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        ),
        (
            &[0xaa; 20],
            &[0xdd; 50],
            &hex!("773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        ),
        (
            &counted,
            &[0xcd; 50],
            &hex!("82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
        ),
        (
            &[0x0c; 20],
            b"Test With Truncation",
            &hex!("a3b6167473100ee06e0c796c2955552b"),
        ),
        (
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            &hex!("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
        ),
        (
            &[0xaa; 131],
            b"This is a test using a larger than block-size key and a larger than block-size \
              data. The key needs to be hashed before being used by the HMAC algorithm.",
            &hex!("9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"),
        ),
    ];
    for (number, (key, data, tag)) in (1..).zip(cases) {
        let mut hmac = provider.hmac_sha256(key);
        hmac.update(data);
        assert_eq!(&hmac.finish()[..tag.len()], tag, "test case {number}");
    }
}

/// A keyed state cloned before and in the middle of the input gives the same tag.
pub(crate) fn hmac_of_pieces_is_hmac_of_the_whole(provider: &impl CryptoProvider) {
    for key_len in [0, 1, 32, 63, 64, 65, 200] {
        let keyed = provider.hmac_sha256(&vec![0x5a; key_len]);
        let input = [0xc3; 130];
        let mut whole = keyed.clone();
        whole.update(&input);
        let whole = whole.finish();
        for split in [0, 1, 63, 64, 65, 129, 130] {
            let (left, right) = input.split_at(split);
            let mut begun = keyed.clone();
            begun.update(left);
            let mut clone = begun.clone();
            begun.update(b"only in the original");
            clone.update(right);
            assert_eq!(clone.finish(), whole, "key of {key_len}, split at {split}");
        }
    }
}

/// RFC 5869 appendix A.1 to A.3.
pub(crate) fn hkdf_gives_rfc_5869s_keys(provider: &impl CryptoProvider) {
    let bytes = |from: u8, to: u8| (from..=to).collect::<Vec<u8>>();
    let cases = [
        (
            vec![0x0b; 22],
            bytes(0, 0x0c),
            bytes(0xf0, 0xf9),
            hex!("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"),
            hex!(
                "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
                "34007208d5b887185865"
            )
            .to_vec(),
        ),
        (
            bytes(0, 0x4f),
            bytes(0x60, 0xaf),
            bytes(0xb0, 0xff),
            hex!("06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244"),
            hex!(
                "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
                "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
                "cc30c58179ec3e87c14c01d5c1f3434f1d87"
            )
            .to_vec(),
        ),
        (
            vec![0x0b; 22],
            vec![],
            vec![],
            hex!("19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04"),
            hex!(
                "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
                "9d201395faa4b61a96c8"
            )
            .to_vec(),
        ),
    ];
    for (input_key, salt, info, expected_key, expected_output) in cases {
        let mut key = [0; 32];
        provider.hkdf_extract(&salt, &input_key, &mut key);
        assert_eq!(key, expected_key);
        let mut output = vec![0; expected_output.len()];
        provider.hkdf_expand(&key, &info, &mut output).unwrap();
        assert_eq!(output, expected_output);
    }
}
