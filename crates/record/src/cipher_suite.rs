//! Cipher suites and what they mean for records.

use core::fmt;

use hedgerow_core::AeadAlgorithm;

/// A cipher suite by its code point. Unknown ones are kept as they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CipherSuite(pub u16);

impl CipherSuite {
    /// 0xC02B (RFC 5289 §3.2).
    pub const TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: Self = Self(0xc02b);
    /// 0xC0AC (RFC 7251 §2).
    pub const TLS_ECDHE_ECDSA_WITH_AES_128_CCM: Self = Self(0xc0ac);
    /// 0xC0AE (RFC 7251 §2): the suite that RFC 7252 §9.1.3.2 makes mandatory for raw public keys and
    /// certificates.
    pub const TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8: Self = Self(0xc0ae);
    /// 0xD001 (RFC 8442 §3).
    pub const TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256: Self = Self(0xd001);
    /// 0xD003 (RFC 8442 §3).
    pub const TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256: Self = Self(0xd003);
    /// 0xD005 (RFC 8442 §3).
    pub const TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256: Self = Self(0xd005);
    /// 0xCCAC (RFC 7905 §2).
    pub const TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256: Self = Self(0xccac);
    /// 0x00A8 (RFC 5487 §2).
    pub const TLS_PSK_WITH_AES_128_GCM_SHA256: Self = Self(0x00a8);
    /// 0xC0A4 (RFC 6655 §4).
    pub const TLS_PSK_WITH_AES_128_CCM: Self = Self(0xc0a4);
    /// 0xC0A8 (RFC 6655 §4): the suite that RFC 7252 §9.1.3.1 makes mandatory for PSK.
    pub const TLS_PSK_WITH_AES_128_CCM_8: Self = Self(0xc0a8);
    /// 0xCCAB (RFC 7905 §2).
    pub const TLS_PSK_WITH_CHACHA20_POLY1305_SHA256: Self = Self(0xccab);
    /// 0x00FF: not a suite but the signal of RFC 5746 §3.3.
    pub const TLS_EMPTY_RENEGOTIATION_INFO_SCSV: Self = Self(0x00ff);

    /// Returns the cipher that protects this suite's records; `None` for what isn't implemented.
    pub const fn aead(self) -> Option<AeadAlgorithm> {
        match self.parameters() {
            Some((_, algorithm, _)) => Some(algorithm),
            None => None,
        }
    }

    /// Returns how this suite's secret comes about; `None` for what isn't implemented.
    pub const fn key_exchange(self) -> Option<KeyExchange> {
        match self.parameters() {
            Some((key_exchange, ..)) => Some(key_exchange),
            None => None,
        }
    }

    /// Returns the registered name of a suite that is implemented.
    pub const fn name(self) -> Option<&'static str> {
        match self.parameters() {
            Some((.., name)) => Some(name),
            None => None,
        }
    }

    const fn parameters(self) -> Option<(KeyExchange, AeadAlgorithm, &'static str)> {
        use AeadAlgorithm::{Aes128Ccm, Aes128Ccm8, Aes128Gcm, Chacha20Poly1305};
        use KeyExchange::{EcdheEcdsa, EcdhePsk, Psk};

        Some(match self {
            Self::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => (
                EcdheEcdsa,
                Aes128Gcm,
                "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            ),
            Self::TLS_ECDHE_ECDSA_WITH_AES_128_CCM => {
                (EcdheEcdsa, Aes128Ccm, "TLS_ECDHE_ECDSA_WITH_AES_128_CCM")
            }
            Self::TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8 => {
                (EcdheEcdsa, Aes128Ccm8, "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8")
            }
            Self::TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256 => {
                (EcdhePsk, Aes128Gcm, "TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256")
            }
            Self::TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256 => (
                EcdhePsk,
                Aes128Ccm8,
                "TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256",
            ),
            Self::TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256 => {
                (EcdhePsk, Aes128Ccm, "TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256")
            }
            Self::TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256 => (
                EcdhePsk,
                Chacha20Poly1305,
                "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256",
            ),
            Self::TLS_PSK_WITH_AES_128_GCM_SHA256 => {
                (Psk, Aes128Gcm, "TLS_PSK_WITH_AES_128_GCM_SHA256")
            }
            Self::TLS_PSK_WITH_AES_128_CCM => (Psk, Aes128Ccm, "TLS_PSK_WITH_AES_128_CCM"),
            Self::TLS_PSK_WITH_AES_128_CCM_8 => (Psk, Aes128Ccm8, "TLS_PSK_WITH_AES_128_CCM_8"),
            Self::TLS_PSK_WITH_CHACHA20_POLY1305_SHA256 => (
                Psk,
                Chacha20Poly1305,
                "TLS_PSK_WITH_CHACHA20_POLY1305_SHA256",
            ),
            _ => return None,
        })
    }
}

/// How the ends come to a secret, and what proves them to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyExchange {
    /// The pre-shared key alone (RFC 4279 §2): no forward secrecy.
    Psk,
    /// The pre-shared key and an ephemeral agreement (RFC 5489 §2).
    EcdhePsk,
    /// An ephemeral agreement that the server signs with the key of its certificate, or with its raw
    /// public key (RFC 8422 §2.1).
    EcdheEcdsa,
}

impl KeyExchange {
    /// Says whether a recording stays secret when a long-term key becomes known later.
    pub const fn has_forward_secrecy(self) -> bool {
        match self {
            Self::Psk => false,
            Self::EcdhePsk | Self::EcdheEcdsa => true,
        }
    }
}

impl fmt::Debug for CipherSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for CipherSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#06x}", self.0),
        }
    }
}
