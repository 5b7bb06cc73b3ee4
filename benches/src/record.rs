//! One record of application data sealed and opened again with `hedgerow-record`, of DTLS and of TLS.

use hedgerow_core::{Aead, AeadAlgorithm, CryptoProvider};
use hedgerow_record::{
    ContentType, DtlsOpener, DtlsRecord, DtlsSealer, EpochNumber, TlsOpener, TlsRecord, TlsSealer,
    TrafficKeys,
};

/// Both ends of one direction.
pub struct Records<A> {
    sealer: DtlsSealer<A>,
    opener: DtlsOpener<A>,
    datagram: [u8; 1_200],
}

impl<A: Aead> Records<A> {
    /// Sets the keys up.
    pub fn new<P: CryptoProvider<Aead = A>>(provider: &P, algorithm: AeadAlgorithm) -> Self {
        let keys = || keys(provider, algorithm);
        Self {
            sealer: DtlsSealer::new(keys(), EpochNumber(1)),
            opener: DtlsOpener::new(keys(), EpochNumber(1)),
            datagram: [0; 1_200],
        }
    }

    /// Seals `plaintext`, opens it, copies it out as OpenSSL does, and returns its length.
    pub fn pass(&mut self, plaintext: &[u8], out: &mut [u8]) -> usize {
        let sealed = self
            .sealer
            .seal(ContentType::ApplicationData, plaintext, &mut self.datagram);
        let datagram = &mut self.datagram[..sealed.unwrap()];
        let (record, _) = DtlsRecord::decode(datagram).unwrap();
        let opened = self.opener.open(record).unwrap();
        out[..opened.plaintext.len()].copy_from_slice(opened.plaintext);
        opened.plaintext.len()
    }
}

/// Both ends of one direction of a stream.
pub struct TlsRecords<A> {
    sealer: TlsSealer<A>,
    opener: TlsOpener<A>,
    bytes: [u8; 1_200],
}

impl<A: Aead> TlsRecords<A> {
    /// Sets the keys up.
    pub fn new<P: CryptoProvider<Aead = A>>(provider: &P, algorithm: AeadAlgorithm) -> Self {
        Self {
            sealer: TlsSealer::new(keys(provider, algorithm)),
            opener: TlsOpener::new(keys(provider, algorithm)),
            bytes: [0; 1_200],
        }
    }

    /// Seals `plaintext`, opens it, copies it out as OpenSSL does, and returns its length.
    pub fn pass(&mut self, plaintext: &[u8], out: &mut [u8]) -> usize {
        let sealed = self
            .sealer
            .seal(ContentType::ApplicationData, plaintext, &mut self.bytes);
        let bytes = &mut self.bytes[..sealed.unwrap()];
        let (record, _) = TlsRecord::decode(bytes).unwrap().unwrap();
        let opened = self.opener.open(record).unwrap();
        out[..opened.len()].copy_from_slice(opened);
        opened.len()
    }
}

fn keys<P: CryptoProvider>(provider: &P, algorithm: AeadAlgorithm) -> TrafficKeys<P::Aead> {
    let key = &[7; 32][..algorithm.key_len()];
    let iv = &[5; 12][..TrafficKeys::<P::Aead>::iv_len(algorithm)];
    TrafficKeys::new(provider, algorithm, key, iv).unwrap()
}

#[cfg(test)]
mod tests {
    use hedgerow_crypto_ring::RingCrypto;
    use hedgerow_crypto_soft::SoftCrypto;

    use super::*;

    #[test]
    fn records_come_out_as_they_went_in() {
        let mut out = [0; 64];
        for algorithm in AeadAlgorithm::ALL {
            assert_eq!(
                Records::new(&SoftCrypto, algorithm).pass(b"text", &mut out),
                4
            );
            assert_eq!(&out[..4], b"text");
            assert_eq!(
                Records::new(&RingCrypto, algorithm).pass(b"more", &mut out),
                4
            );
            assert_eq!(&out[..4], b"more");
            let mut soft = TlsRecords::new(&SoftCrypto, algorithm);
            let mut ring = TlsRecords::new(&RingCrypto, algorithm);
            // The second has the next sequence number at both ends.
            for text in [b"over", b"tls!"] {
                assert_eq!(soft.pass(text, &mut out), 4);
                assert_eq!(&out[..4], text);
                assert_eq!(ring.pass(text, &mut out), 4);
                assert_eq!(&out[..4], text);
            }
        }
    }
}
