//! The suites that are measured, by everybody's names.

use hedgerow_core::AeadAlgorithm;
use hedgerow_record::CipherSuite;

/// One suite.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// The short name in tables.
    pub name: &'static str,
    /// Our name for it.
    pub suite: CipherSuite,
    /// Its cipher.
    pub algorithm: AeadAlgorithm,
    /// OpenSSL's name for it.
    pub openssl: &'static str,
}

/// Every suite that both ends of every comparison have.
pub const SUITES: [Suite; 4] = [
    Suite {
        name: "CCM_8",
        suite: CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
        algorithm: AeadAlgorithm::Aes128Ccm8,
        openssl: "PSK-AES128-CCM8",
    },
    Suite {
        name: "CCM",
        suite: CipherSuite::TLS_PSK_WITH_AES_128_CCM,
        algorithm: AeadAlgorithm::Aes128Ccm,
        openssl: "PSK-AES128-CCM",
    },
    Suite {
        name: "GCM",
        suite: CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256,
        algorithm: AeadAlgorithm::Aes128Gcm,
        openssl: "PSK-AES128-GCM-SHA256",
    },
    Suite {
        name: "ChaCha20-Poly1305",
        suite: CipherSuite::TLS_PSK_WITH_CHACHA20_POLY1305_SHA256,
        algorithm: AeadAlgorithm::Chacha20Poly1305,
        openssl: "PSK-CHACHA20-POLY1305",
    },
];

/// Lengths of plaintext, in bytes.
pub const LENGTHS: [usize; 4] = [16, 64, 256, 1_024];
