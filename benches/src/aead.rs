//! One packet sealed, or opened, in place: 12-byte nonce, 13 bytes of additional data as a DTLS
//! record has them, the key set up before.

use hedgerow_core::{Aead, AeadAlgorithm, CryptoProvider};
use openssl::cipher::{Cipher, CipherRef};
use openssl::cipher_ctx::CipherCtx;
use ring::aead::{AES_128_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

const KEY: [u8; 32] = [7; 32];
const ADDITIONAL_DATA: [u8; 13] = [3; 13];

/// Whoever seals and opens.
pub trait Packets {
    /// Seals `in_out` under the next nonce.
    fn seal(&mut self, in_out: &mut [u8], tag: &mut [u8]);

    /// Opens what was sealed under the first nonce.
    fn open(&mut self, in_out: &mut [u8], tag: &[u8]);
}

/// A counter in the place where a DTLS nonce has one.
#[derive(Default)]
struct Counter(u64);

impl Counter {
    fn next(&mut self) -> [u8; 12] {
        let mut nonce = [5; 12];
        nonce[4..].copy_from_slice(&self.0.to_be_bytes());
        self.0 += 1;
        nonce
    }

    fn first() -> [u8; 12] {
        Self(0).next()
    }
}

/// A cipher of one of our providers.
pub struct Ours<A> {
    cipher: A,
    counter: Counter,
}

impl<A: Aead> Ours<A> {
    /// Sets the key up.
    pub fn new<P: CryptoProvider<Aead = A>>(provider: &P, algorithm: AeadAlgorithm) -> Self {
        let cipher = provider.aead(algorithm, &KEY[..algorithm.key_len()]);
        Self {
            cipher: cipher.unwrap(),
            counter: Counter::default(),
        }
    }
}

impl<A: Aead> Packets for Ours<A> {
    fn seal(&mut self, in_out: &mut [u8], tag: &mut [u8]) {
        let nonce = self.counter.next();
        let sealed = self
            .cipher
            .seal_in_place(&nonce, &ADDITIONAL_DATA, in_out, tag);
        sealed.unwrap();
    }

    fn open(&mut self, in_out: &mut [u8], tag: &[u8]) {
        let nonce = Counter::first();
        let opened = self
            .cipher
            .open_in_place(&nonce, &ADDITIONAL_DATA, in_out, tag);
        opened.unwrap();
    }
}

/// OpenSSL's EVP interface, the key schedule kept in its contexts.
pub struct OpenSsl {
    sealer: CipherCtx,
    opener: CipherCtx,
    is_ccm: bool,
    counter: Counter,
}

impl OpenSsl {
    /// Sets the key up for both directions.
    pub fn new(algorithm: AeadAlgorithm) -> Self {
        let is_ccm = matches!(
            algorithm,
            AeadAlgorithm::Aes128Ccm | AeadAlgorithm::Aes128Ccm8
        );
        let cipher: &CipherRef = match algorithm {
            AeadAlgorithm::Aes128Gcm => Cipher::aes_128_gcm(),
            AeadAlgorithm::Chacha20Poly1305 => Cipher::chacha20_poly1305(),
            _ => Cipher::aes_128_ccm(),
        };
        let key = &KEY[..algorithm.key_len()];
        let (mut sealer, mut opener) = (CipherCtx::new().unwrap(), CipherCtx::new().unwrap());
        sealer.encrypt_init(Some(cipher), None, None).unwrap();
        opener.decrypt_init(Some(cipher), None, None).unwrap();
        for context in [&mut sealer, &mut opener] {
            context.set_iv_length(algorithm.nonce_len()).unwrap();
            if is_ccm {
                context.set_tag_length(algorithm.tag_len()).unwrap();
            }
        }
        sealer.encrypt_init(None, Some(key), None).unwrap();
        opener.decrypt_init(None, Some(key), None).unwrap();
        Self {
            sealer,
            opener,
            is_ccm,
            counter: Counter::default(),
        }
    }
}

impl Packets for OpenSsl {
    fn seal(&mut self, in_out: &mut [u8], tag: &mut [u8]) {
        let context = &mut self.sealer;
        let len = in_out.len();
        context
            .encrypt_init(None, None, Some(&self.counter.next()))
            .unwrap();
        if self.is_ccm {
            context.set_data_len(len).unwrap();
        }
        context.cipher_update(&ADDITIONAL_DATA, None).unwrap();
        context.cipher_update_inplace(in_out, len).unwrap();
        context.cipher_final(&mut []).unwrap();
        context.tag(tag).unwrap();
    }

    fn open(&mut self, in_out: &mut [u8], tag: &[u8]) {
        let context = &mut self.opener;
        let len = in_out.len();
        context
            .decrypt_init(None, None, Some(&Counter::first()))
            .unwrap();
        context.set_tag(tag).unwrap();
        if self.is_ccm {
            context.set_data_len(len).unwrap();
        }
        context.cipher_update(&ADDITIONAL_DATA, None).unwrap();
        context.cipher_update_inplace(in_out, len).unwrap();
        // CCM verifies in its one update and has nothing to do at the end.
        if !self.is_ccm {
            context.cipher_final(&mut []).unwrap();
        }
    }
}

/// ring by itself, for what it has.
pub struct Ring {
    key: LessSafeKey,
    counter: Counter,
}

impl Ring {
    /// Sets the key up; `None` for CCM, which ring lacks.
    pub fn new(algorithm: AeadAlgorithm) -> Option<Self> {
        let cipher = match algorithm {
            AeadAlgorithm::Aes128Gcm => &AES_128_GCM,
            AeadAlgorithm::Chacha20Poly1305 => &CHACHA20_POLY1305,
            _ => return None,
        };
        let key = UnboundKey::new(cipher, &KEY[..algorithm.key_len()]).unwrap();
        Some(Self {
            key: LessSafeKey::new(key),
            counter: Counter::default(),
        })
    }
}

impl Packets for Ring {
    fn seal(&mut self, in_out: &mut [u8], tag: &mut [u8]) {
        let nonce = Nonce::assume_unique_for_key(self.counter.next());
        let data = Aad::from(ADDITIONAL_DATA);
        let sealed = self.key.seal_in_place_separate_tag(nonce, data, in_out);
        tag.copy_from_slice(sealed.unwrap().as_ref());
    }

    fn open(&mut self, in_out: &mut [u8], tag: &[u8]) {
        let nonce = Nonce::assume_unique_for_key(Counter::first());
        let (data, tag) = (Aad::from(ADDITIONAL_DATA), tag.try_into().unwrap());
        let opened = self
            .key
            .open_in_place_separate_tag(nonce, data, tag, in_out, 0..);
        opened.unwrap();
    }
}

/// A job that seals the same buffer over and over.
pub fn seal_job(
    mut packets: impl Packets,
    algorithm: AeadAlgorithm,
    len: usize,
) -> impl FnMut() -> u8 {
    let mut in_out = vec![9; len];
    let mut tag = vec![0; algorithm.tag_len()];
    move || {
        packets.seal(&mut in_out, &mut tag);
        tag[0]
    }
}

/// A job that copies a sealed packet and opens the copy.
pub fn open_job(
    mut packets: impl Packets,
    algorithm: AeadAlgorithm,
    len: usize,
) -> impl FnMut() -> u8 {
    let mut sealed = vec![9; len];
    let mut tag = vec![0; algorithm.tag_len()];
    packets.seal(&mut sealed, &mut tag);
    let mut in_out = vec![0; len];
    move || {
        in_out.copy_from_slice(&sealed);
        packets.open(&mut in_out, &tag);
        in_out[0]
    }
}

#[cfg(test)]
mod tests {
    use hedgerow_crypto_ring::RingCrypto;
    use hedgerow_crypto_soft::SoftCrypto;

    use super::*;

    #[test]
    fn all_libraries_seal_to_the_same_bytes_and_open_them() {
        for algorithm in AeadAlgorithm::ALL {
            let mut contenders: Vec<Box<dyn Packets>> = vec![
                Box::new(Ours::new(&SoftCrypto, algorithm)),
                Box::new(Ours::new(&RingCrypto, algorithm)),
                Box::new(OpenSsl::new(algorithm)),
            ];
            if let Some(ring) = Ring::new(algorithm) {
                contenders.push(Box::new(ring));
            }
            let plaintext = [9; 100];
            let mut sealed = Vec::new();
            for contender in &mut contenders {
                let mut in_out = plaintext;
                let mut tag = vec![0; algorithm.tag_len()];
                contender.seal(&mut in_out, &mut tag);
                let both = [in_out.to_vec(), tag.clone()].concat();
                contender.open(&mut in_out, &tag);
                assert_eq!(in_out, plaintext);
                sealed.push(both);
            }
            assert!(
                sealed.windows(2).all(|pair| pair[0] == pair[1]),
                "{algorithm:?}"
            );
        }
    }
}
