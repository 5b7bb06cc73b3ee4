//! Protection of DTLS records: numbers that travel, and a window against replays (RFC 6347 §4.1).

use hedgerow_core::{Aead, AeadAlgorithm, ChannelError, DropReason, Limit};

use crate::{
    ContentType, DTLS_1_2, DtlsRecord, EpochNumber, Protocol, RecordNumber, ReplayWindow,
    TrafficKeys,
};

/// Seals the records of one epoch, each under the next sequence number.
#[derive(Debug)]
pub struct DtlsSealer<A> {
    keys: TrafficKeys<A>,
    epoch: EpochNumber,
    next_sequence_number: u64,
}

impl<A: Aead> DtlsSealer<A> {
    /// Starts `epoch` at sequence number 0.
    pub const fn new(keys: TrafficKeys<A>, epoch: EpochNumber) -> Self {
        Self {
            keys,
            epoch,
            next_sequence_number: 0,
        }
    }

    /// Starts `epoch` at a later sequence number; never at one that was used under the same key.
    pub const fn starting_at(
        keys: TrafficKeys<A>,
        epoch: EpochNumber,
        next_sequence_number: u64,
    ) -> Self {
        Self {
            keys,
            epoch,
            next_sequence_number,
        }
    }

    /// Returns by how many bytes a record is longer than its plaintext.
    pub fn overhead(&self) -> usize {
        TrafficKeys::<A>::record_overhead(Protocol::Dtls, self.keys.algorithm())
    }

    /// Returns the cipher in use.
    pub fn algorithm(&self) -> AeadAlgorithm {
        self.keys.algorithm()
    }

    /// Seals `plaintext` as one record at the front of `out` and returns the record's length.
    ///
    /// # Errors
    ///
    /// [`Limit::PlaintextTooLong`] above [`MAX_PLAINTEXT_LEN`], [`Misuse::BufferTooSmall`] if
    /// `out` is shorter than the record, [`Limit::SequenceNumbersExhausted`] once 2^48 numbers
    /// are used. Nothing is sealed then.
    pub fn seal(
        &mut self,
        content_type: ContentType,
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, ChannelError> {
        self.keys.check(Protocol::Dtls, plaintext, out)?;
        // MUST (RFC 6347 §4.1): sequence numbers don't wrap; a key out of numbers seals no more.
        let number = RecordNumber::new(self.epoch, self.next_sequence_number)
            .ok_or(Limit::SequenceNumbersExhausted)?;
        // The number is spent before the cipher sees it: whatever happens next, it never comes
        // again under this key.
        self.next_sequence_number = self.next_sequence_number.saturating_add(1);

        let number = number.to_be_bytes();
        self.keys
            .seal(Protocol::Dtls, number, content_type, plaintext, out)
    }
}

/// A record that was verified.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened<'d> {
    /// What the record carries.
    pub content_type: ContentType,
    /// The plaintext, where the datagram had the ciphertext.
    pub plaintext: &'d mut [u8],
    /// The record's sequence number.
    pub sequence_number: u64,
    /// Whether the sequence number is higher than every one verified before.
    pub newest: bool,
}

/// Opens the records of one epoch.
#[derive(Debug)]
pub struct DtlsOpener<A> {
    keys: TrafficKeys<A>,
    epoch: EpochNumber,
    window: ReplayWindow,
    forgeries: u64,
}

impl<A: Aead> DtlsOpener<A> {
    /// Starts `epoch` with an empty replay window.
    pub const fn new(keys: TrafficKeys<A>, epoch: EpochNumber) -> Self {
        Self {
            keys,
            epoch,
            window: ReplayWindow::new(),
            forgeries: 0,
        }
    }

    /// Returns how many records of this key did not verify.
    pub const fn forgeries(&self) -> u64 {
        self.forgeries
    }

    /// Verifies and decrypts a record in place.
    ///
    /// # Errors
    ///
    /// The reason to drop it: [`DropReason::UnexpectedEpoch`], [`DropReason::UnsupportedVersion`],
    /// [`DropReason::Malformed`] if it is too short for nonce and tag, [`DropReason::Replayed`],
    /// [`DropReason::TooOld`] or [`DropReason::AuthenticationFailed`]. Only a verified record
    /// moves the replay window.
    pub fn open<'d>(&mut self, record: DtlsRecord<'d>) -> Result<Opened<'d>, DropReason> {
        let DtlsRecord {
            content_type,
            version,
            number,
            fragment,
        } = record;
        if number.epoch() != self.epoch {
            return Err(DropReason::UnexpectedEpoch);
        }
        if version != DTLS_1_2 {
            return Err(DropReason::UnsupportedVersion);
        }
        let eight = number.to_be_bytes();
        let Self {
            keys,
            window,
            forgeries,
            ..
        } = self;
        let mut protected = keys
            .take_apart(Protocol::Dtls, eight, content_type, fragment)
            .ok_or(DropReason::Malformed)?;
        let verified = window.verify(number.sequence_number(), || {
            keys.verify(&mut protected)
                .inspect_err(|_| *forgeries = forgeries.saturating_add(1))
        })?;
        Ok(Opened {
            content_type,
            plaintext: protected.into_plaintext(),
            sequence_number: number.sequence_number(),
            newest: verified.newest,
        })
    }
}
