//! How much one key may be used (RFC 9147 §4.5.3 and appendix B, whose reasoning holds for the same
//! ciphers in DTLS 1.2 and TLS 1.2).

use hedgerow_core::AeadAlgorithm;

/// The bounds of one key in one direction: from when on it should be replaced, and where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageLimits {
    /// Records sealed after which new keys are wanted.
    pub rekey_records: u64,
    /// Records sealed after which the key seals no more.
    pub max_records: u64,
    /// Records that didn't verify after which new keys are wanted.
    pub rekey_forgeries: u64,
    /// Records that didn't verify after which the key opens no more. In TLS it is the first.
    pub max_forgeries: u64,
}

impl UsageLimits {
    /// Returns the limits of a cipher.
    ///
    /// - GCM: 2^24.5 records (RFC 8446 §5.5), 2^36 forgeries.
    /// - ChaCha20-Poly1305: as many records as there are numbers, 2^36 forgeries.
    /// - CCM: 2^23 records, 2^23.5 forgeries (RFC 9147 §B.1, §B.2).
    /// - CCM_8: 2^23 records. Its tag of 8 bytes lets one forgery in 2^64 pass, so that new keys are
    ///   wanted after the 2^7 that RFC 9147 §B.3 derives for the usual margin. Ending the session there
    ///   would let anybody end it with 128 datagrams; it ends at 2^20 instead, up to which a forgery
    ///   has passed with a probability of 2^-44.
    pub const fn of(algorithm: AeadAlgorithm) -> Self {
        match algorithm {
            AeadAlgorithm::Chacha20Poly1305 => Self::halves(1 << 48, 1 << 36),
            AeadAlgorithm::Aes128Ccm => Self::halves(1 << 23, 11_863_283),
            AeadAlgorithm::Aes128Ccm8 => Self {
                rekey_forgeries: 1 << 7,
                ..Self::halves(1 << 23, 1 << 20)
            },
            // GCM, and what is not known: the strictest for records that has a tag of 16 bytes.
            _ => Self::halves(23_726_566, 1 << 36),
        }
    }

    /// Wants new keys halfway to where the old ones end.
    const fn halves(max_records: u64, max_forgeries: u64) -> Self {
        Self {
            rekey_records: max_records / 2,
            max_records,
            rekey_forgeries: max_forgeries / 2,
            max_forgeries,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9147 §4.5.3: 2^24.5 = 23,726,566.4 and 2^23.5 = 11,863,283.2, rounded down.
    #[test]
    fn limits_are_those_of_the_rfc_and_wanted_before_they_come() {
        let square = |n: u128| n * n;
        let gcm = UsageLimits::of(AeadAlgorithm::Aes128Gcm);
        assert!(square(gcm.max_records.into()) <= 1 << 49);
        assert!(square(u128::from(gcm.max_records) + 1) > 1 << 49);
        let ccm = UsageLimits::of(AeadAlgorithm::Aes128Ccm);
        assert!(square(ccm.max_forgeries.into()) <= 1 << 47);
        assert!(square(u128::from(ccm.max_forgeries) + 1) > 1 << 47);
        assert_eq!(
            UsageLimits::of(AeadAlgorithm::Aes128Ccm8).rekey_forgeries,
            128
        );
        for algorithm in AeadAlgorithm::ALL {
            let limits = UsageLimits::of(algorithm);
            assert!(limits.rekey_records < limits.max_records);
            assert!(limits.rekey_forgeries < limits.max_forgeries);
        }
    }
}
