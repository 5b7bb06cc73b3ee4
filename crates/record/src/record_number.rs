//! Epoch and sequence number of a record (RFC 6347 §4.1).

/// The largest sequence number of an epoch, 2^48 - 1.
pub const MAX_SEQUENCE_NUMBER: u64 = 0xffff_ffff_ffff;

/// Counts changes of keys on one side of an association.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EpochNumber(pub u16);

/// An epoch and a 48-bit sequence number in it, as the 64 bits that the wire, the additional data
/// and the nonce have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RecordNumber(u64);

impl RecordNumber {
    /// Puts epoch and sequence number together; `None` past [`MAX_SEQUENCE_NUMBER`].
    pub fn new(epoch: EpochNumber, sequence_number: u64) -> Option<Self> {
        (sequence_number <= MAX_SEQUENCE_NUMBER)
            .then(|| Self((u64::from(epoch.0) << 48) | sequence_number))
    }

    /// Reads the eight bytes of the wire.
    pub const fn from_be_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }

    /// Returns the eight bytes of the wire.
    pub const fn to_be_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// Returns the epoch.
    pub const fn epoch(self) -> EpochNumber {
        let [high, low, ..] = self.0.to_be_bytes();
        EpochNumber(u16::from_be_bytes([high, low]))
    }

    /// Returns the sequence number within the epoch.
    pub const fn sequence_number(self) -> u64 {
        self.0 & MAX_SEQUENCE_NUMBER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_splits_into_epoch_and_sequence_number() {
        let number = RecordNumber::new(EpochNumber(1), 5).unwrap();
        assert_eq!(number.to_be_bytes(), [0, 1, 0, 0, 0, 0, 0, 5]);
        assert_eq!(RecordNumber::from_be_bytes(number.to_be_bytes()), number);
        assert_eq!(number.epoch(), EpochNumber(1));
        assert_eq!(number.sequence_number(), 5);
    }

    #[test]
    fn sequence_number_ends_at_48_bits() {
        assert!(RecordNumber::new(EpochNumber(7), MAX_SEQUENCE_NUMBER).is_some());
        assert!(RecordNumber::new(EpochNumber(7), MAX_SEQUENCE_NUMBER + 1).is_none());
    }
}
