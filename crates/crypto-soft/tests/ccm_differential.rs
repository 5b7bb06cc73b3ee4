//! Our CCM against that of the `ccm` crate, in every shape that RFC 3610 §2.1 allows.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use aes::Aes128Enc;
use ccm::aead::array::ArraySize;
use ccm::consts::{U4, U6, U7, U8, U9, U10, U11, U12, U13, U14, U16};
use ccm::{AeadInOut, Ccm, KeyInit};
use hedgerow_core::CryptoError;
use hedgerow_crypto_soft::{AesCcm, CcmLength, CcmNonceLength, CcmTagLength};
use proptest::prelude::{ProptestConfig, any};
use proptest::{collection, prop_assert_eq, proptest};

struct Packet<'p> {
    key: [u8; 16],
    /// As many of its bytes as the shape has are the nonce.
    nonce: [u8; 13],
    data: &'p [u8],
    plaintext: &'p [u8],
}

/// Seals by both, opens by each what the other sealed, and returns ours.
fn compare<const TAG: usize, const NONCE: usize, M, N>(packet: &Packet<'_>) -> (Vec<u8>, Vec<u8>)
where
    CcmLength<TAG>: CcmTagLength,
    CcmLength<NONCE>: CcmNonceLength,
    M: ArraySize + ccm::TagSize,
    N: ArraySize + ccm::NonceSize,
{
    let (data, nonce) = (packet.data, &packet.nonce[..NONCE]);
    let ours = AesCcm::<TAG, NONCE>::new(&packet.key).unwrap();
    let theirs = Ccm::<Aes128Enc, M, N>::new(&packet.key.into());
    let their_nonce = nonce.try_into().unwrap();

    let (mut sealed, mut tag) = (packet.plaintext.to_vec(), vec![0; TAG]);
    ours.seal_in_place(nonce, data, &mut sealed, &mut tag)
        .unwrap();
    let mut in_out = packet.plaintext.to_vec();
    let their_tag = theirs
        .encrypt_inout_detached(their_nonce, data, (&mut in_out[..]).into())
        .unwrap();
    assert_eq!((&sealed, &tag[..]), (&in_out, &their_tag[..]));

    ours.open_in_place(nonce, data, &mut in_out, &their_tag)
        .unwrap();
    assert_eq!(in_out, packet.plaintext);
    in_out.copy_from_slice(&sealed);
    let our_tag = tag[..].try_into().unwrap();
    theirs
        .decrypt_inout_detached(their_nonce, data, (&mut in_out[..]).into(), our_tag)
        .unwrap();
    assert_eq!(in_out, packet.plaintext);
    (sealed, tag)
}

type Compare = fn(&Packet<'_>) -> (Vec<u8>, Vec<u8>);

macro_rules! every_nonce {
    ($tag:literal $size:ident) => {
        [
            compare::<$tag, 7, $size, U7>,
            compare::<$tag, 8, $size, U8>,
            compare::<$tag, 9, $size, U9>,
            compare::<$tag, 10, $size, U10>,
            compare::<$tag, 11, $size, U11>,
            compare::<$tag, 12, $size, U12>,
            compare::<$tag, 13, $size, U13>,
        ]
    };
}

/// By tag length, 4 to 16 bytes, and then by nonce length, 7 to 13 bytes.
const SHAPES: [[Compare; 7]; 7] = [
    every_nonce!(4 U4),
    every_nonce!(6 U6),
    every_nonce!(8 U8),
    every_nonce!(10 U10),
    every_nonce!(12 U12),
    every_nonce!(14 U14),
    every_nonce!(16 U16),
];

/// Bytes that differ from place to place.
fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_packet_in_any_shape_is_sealed_alike(
        key in any::<[u8; 16]>(),
        nonce in any::<[u8; 13]>(),
        (tag_shape, nonce_shape) in (0..7usize, 0..7usize),
        data in collection::vec(any::<u8>(), 0..=300),
        plaintext in collection::vec(any::<u8>(), 0..=2100),
    ) {
        let packet = Packet { key, nonce, data: &data, plaintext: &plaintext };
        SHAPES[tag_shape][nonce_shape](&packet);
    }

    /// RFC 3610 §2.5: of a packet that isn't what was sealed, nothing is to be had.
    #[test]
    fn a_changed_bit_anywhere_is_refused(
        key in any::<[u8; 16]>(),
        nonce in any::<[u8; 13]>(),
        data in collection::vec(any::<u8>(), 0..=300),
        plaintext in collection::vec(any::<u8>(), 0..=2100),
        place in any::<usize>(),
        bit in 0..8,
    ) {
        let packet = Packet { key, nonce, data: &data, plaintext: &plaintext };
        let (sealed, tag) = compare::<8, 13, U8, U13>(&packet);
        let mut parts = [nonce.to_vec(), data.clone(), sealed, tag];
        let place = place % parts.iter().map(Vec::len).sum::<usize>();
        *parts.iter_mut().flatten().nth(place).unwrap() ^= 1u8 << bit;
        let [nonce, data, mut in_out, tag] = parts;
        let ours = AesCcm::<8, 13>::new(&key).unwrap();
        let opened = ours.open_in_place(&nonce, &data, &mut in_out, &tag);
        prop_assert_eq!(opened, Err(CryptoError::AuthenticationFailed));
        prop_assert_eq!(in_out, vec![0; plaintext.len()]);
    }
}

/// Every border between blocks and between batches of 2, 4, 8, 30 and 64 blocks is in it.
#[test]
fn every_length_up_to_2100_bytes_is_sealed_alike() {
    let (plaintext, data) = (bytes(2100), bytes(300));
    for len in 0..=plaintext.len() {
        compare::<8, 12, U8, U12>(&Packet {
            key: [0x5a; 16],
            nonce: [0xa5; 13],
            data: &data[..len % 301],
            plaintext: &plaintext[..len],
        });
    }
}

/// RFC 3610 §2.2: from 65,280 bytes on, the length takes six bytes.
#[test]
fn additional_data_around_the_border_of_its_encoding_is_sealed_alike() {
    let data = bytes(0x1_0021);
    for len in (0xfee0..0xff20).chain(0xfff0..=0x1_0021) {
        SHAPES[2][5](&Packet {
            key: [0x5a; 16],
            nonce: [0xa5; 13],
            data: &data[..len],
            plaintext: b"payload",
        });
    }
}

#[test]
fn every_shape_seals_short_packets_alike() {
    let (plaintext, data) = (bytes(33), bytes(31));
    for compare in SHAPES.iter().flatten() {
        for len in [0, 1, 15, 16, 17, 31, 32, 33] {
            for data_len in [0, 1, 13, 14, 15, 30, 31] {
                compare(&Packet {
                    key: [0x5a; 16],
                    nonce: *b"13 bytes long",
                    data: &data[..data_len],
                    plaintext: &plaintext[..len],
                });
            }
        }
    }
}

/// The counter's lowest byte, and then its lowest two, run over.
#[test]
fn long_packets_are_sealed_alike() {
    let plaintext = bytes((1 << 20) + (1 << 12) + 5);
    let packet = |plaintext| Packet {
        key: [0x5a; 16],
        nonce: [0xff; 13],
        data: b"data",
        plaintext,
    };
    compare::<16, 7, U16, U7>(&packet(&plaintext));
    compare::<16, 12, U16, U12>(&packet(&plaintext));
    compare::<16, 13, U16, U13>(&packet(&plaintext[..(1 << 16) - 1]));
}
