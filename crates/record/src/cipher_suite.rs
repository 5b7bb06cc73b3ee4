//! Cipher suites and what they mean for records.

use core::fmt;

use hedgerow_core::AeadAlgorithm;

/// A cipher suite by its code point. Unknown ones are kept as they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CipherSuite(pub u16);

impl CipherSuite {
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
        match self {
            Self::TLS_PSK_WITH_AES_128_GCM_SHA256 => Some(AeadAlgorithm::Aes128Gcm),
            Self::TLS_PSK_WITH_AES_128_CCM => Some(AeadAlgorithm::Aes128Ccm),
            Self::TLS_PSK_WITH_AES_128_CCM_8 => Some(AeadAlgorithm::Aes128Ccm8),
            Self::TLS_PSK_WITH_CHACHA20_POLY1305_SHA256 => Some(AeadAlgorithm::Chacha20Poly1305),
            _ => None,
        }
    }

    /// Returns the registered name of a suite that is implemented.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::TLS_PSK_WITH_AES_128_GCM_SHA256 => Some("TLS_PSK_WITH_AES_128_GCM_SHA256"),
            Self::TLS_PSK_WITH_AES_128_CCM => Some("TLS_PSK_WITH_AES_128_CCM"),
            Self::TLS_PSK_WITH_AES_128_CCM_8 => Some("TLS_PSK_WITH_AES_128_CCM_8"),
            Self::TLS_PSK_WITH_CHACHA20_POLY1305_SHA256 => {
                Some("TLS_PSK_WITH_CHACHA20_POLY1305_SHA256")
            }
            _ => None,
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
