//! The ciphers of inner messages, and how much one key of theirs may be used.

use hedgerow_core::AeadAlgorithm;

/// A cipher for inner messages, by its number in the hellos.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// AES-128-CCM with a tag of 8 bytes, the default.
    Aes128Ccm8,
    /// AES-128-CCM with a tag of 16 bytes.
    Aes128Ccm,
}

impl Suite {
    /// Every suite, the default first.
    pub const ALL: [Self; 2] = [Self::Aes128Ccm8, Self::Aes128Ccm];

    /// Returns the number of the suite.
    pub const fn code_point(self) -> u8 {
        match self {
            Self::Aes128Ccm8 => 0x01,
            Self::Aes128Ccm => 0x02,
        }
    }

    /// Returns the suite of a number, if there is one.
    pub fn from_code_point(code_point: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|suite| suite.code_point() == code_point)
    }

    /// Returns its cipher.
    pub const fn algorithm(self) -> AeadAlgorithm {
        match self {
            Self::Aes128Ccm8 => AeadAlgorithm::Aes128Ccm8,
            Self::Aes128Ccm => AeadAlgorithm::Aes128Ccm,
        }
    }

    /// Returns how many messages that don't verify one key stands (RFC 9147 §4.5.3; for the short tag
    /// `docs/THREATS.md` says why it is not 2^7).
    pub(crate) const fn max_forgeries(self) -> u64 {
        match self {
            Self::Aes128Ccm8 => 1 << 20,
            Self::Aes128Ccm => 11_863_283,
        }
    }

    /// Returns after how many of them new keys are wanted.
    pub(crate) const fn rekey_forgeries(self) -> u64 {
        match self {
            Self::Aes128Ccm8 => 1 << 7,
            Self::Aes128Ccm => self.max_forgeries() / 2,
        }
    }
}

/// How many messages one key of AES-CCM seals (RFC 9147 §4.5.3, §B.1).
pub const MAX_MESSAGES: u64 = 1 << 23;

/// After how many of them new keys are wanted.
pub(crate) const REKEY_MESSAGES: u64 = MAX_MESSAGES / 2;
