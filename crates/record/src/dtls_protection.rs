//! Protection of DTLS records: numbers that travel, and a window against replays (RFC 6347 §4.1),
//! with or without a connection ID (RFC 9146).

use hedgerow_core::{Aead, AeadAlgorithm, ChannelError, DropReason, Limit};

use crate::traffic_keys::{Header, split_inner_plaintext};
use crate::{
    ConnectionId, ContentType, DTLS_1_2, DtlsRecord, EpochNumber, Protocol, RecordNumber,
    ReplayWindow, TrafficKeys,
};

/// Seals the records of one epoch, each under the next sequence number.
#[derive(Debug)]
pub struct DtlsSealer<A> {
    keys: TrafficKeys<A>,
    epoch: EpochNumber,
    next_sequence_number: u64,
    connection_id: ConnectionId,
}

impl<A: Aead> DtlsSealer<A> {
    /// Starts `epoch` at sequence number 0.
    pub const fn new(keys: TrafficKeys<A>, epoch: EpochNumber) -> Self {
        Self {
            keys,
            epoch,
            next_sequence_number: 0,
            connection_id: ConnectionId::EMPTY,
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
            connection_id: ConnectionId::EMPTY,
        }
    }

    /// Puts the connection ID that the peer has chosen into every record. [`ConnectionId::EMPTY`],
    /// as which it begins, leaves the records those of RFC 6347.
    #[must_use]
    pub const fn with_connection_id(mut self, connection_id: ConnectionId) -> Self {
        self.connection_id = connection_id;
        self
    }

    /// Returns the connection ID that records carry.
    pub const fn connection_id(&self) -> &ConnectionId {
        &self.connection_id
    }

    /// Returns how many records were sealed in this epoch.
    pub const fn sealed(&self) -> u64 {
        self.next_sequence_number
    }

    /// Returns the longest content that one record can have, in bytes: 2^14, or what the peer takes
    /// (RFC 8449 §4).
    pub fn max_plaintext_len(&self) -> usize {
        self.keys.max_plaintext_len(self.connection_id.as_bytes())
    }

    /// Returns by how many bytes a record is longer than its plaintext.
    pub fn overhead(&self) -> usize {
        self.keys
            .overhead(Protocol::Dtls, self.connection_id.as_bytes())
    }

    /// Returns the cipher in use.
    pub fn algorithm(&self) -> AeadAlgorithm {
        self.keys.algorithm()
    }

    /// Seals `plaintext` as one record at the front of `out` and returns the record's length.
    ///
    /// # Errors
    ///
    /// [`Limit::PlaintextTooLong`] above [`MAX_PLAINTEXT_LEN`](crate::MAX_PLAINTEXT_LEN),
    /// [`Misuse::BufferTooSmall`](hedgerow_core::Misuse::BufferTooSmall) if `out` is shorter than
    /// the record, [`Limit::SequenceNumbersExhausted`] once 2^48 numbers are used. Nothing is
    /// sealed then.
    pub fn seal(
        &mut self,
        content_type: ContentType,
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, ChannelError> {
        let connection_id = self.connection_id.as_bytes();
        self.keys
            .check(Protocol::Dtls, connection_id, plaintext, out)?;
        // MUST (RFC 6347 §4.1): sequence numbers don't wrap; a key out of numbers seals no more.
        let number = RecordNumber::new(self.epoch, self.next_sequence_number)
            .ok_or(Limit::SequenceNumbersExhausted)?;
        // The number is spent before the cipher sees it: whatever happens next, it never comes
        // again under this key.
        self.next_sequence_number = self.next_sequence_number.saturating_add(1);

        let header = Header {
            protocol: Protocol::Dtls,
            number: number.to_be_bytes(),
            content_type,
            connection_id,
        };
        self.keys.seal(&header, plaintext, out)
    }
}

/// A record that was verified.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened<'d> {
    /// What the record carries; with a connection ID, what it says inside.
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
    connection_id: ConnectionId,
}

impl<A: Aead> DtlsOpener<A> {
    /// Starts `epoch` with an empty replay window.
    pub const fn new(keys: TrafficKeys<A>, epoch: EpochNumber) -> Self {
        Self {
            keys,
            epoch,
            window: ReplayWindow::new(),
            forgeries: 0,
            connection_id: ConnectionId::EMPTY,
        }
    }

    /// Takes only records with the connection ID that this end has chosen.
    /// [`ConnectionId::EMPTY`], as which it begins, takes those of RFC 6347 only.
    #[must_use]
    pub const fn with_connection_id(mut self, connection_id: ConnectionId) -> Self {
        self.connection_id = connection_id;
        self
    }

    /// Returns the connection ID that records have to carry.
    pub const fn connection_id(&self) -> &ConnectionId {
        &self.connection_id
    }

    /// Returns how many records of this key did not verify.
    pub const fn forgeries(&self) -> u64 {
        self.forgeries
    }

    /// Takes the last failure back: the record has verified under another key that was in use beside this
    /// one, so that nobody has forged it.
    pub const fn forgive(&mut self) {
        self.forgeries = self.forgeries.saturating_sub(1);
    }

    /// Verifies and decrypts a record in place.
    ///
    /// # Errors
    ///
    /// The reason to drop it: [`DropReason::UnexpectedEpoch`], [`DropReason::UnsupportedVersion`],
    /// [`DropReason::ConnectionIdMismatch`], [`DropReason::Malformed`] if it is too short for nonce
    /// and tag or has no type inside, [`DropReason::TooLong`], [`DropReason::Replayed`],
    /// [`DropReason::TooOld`] or [`DropReason::AuthenticationFailed`]. Only a verified record moves the replay window.
    pub fn open<'d>(&mut self, record: DtlsRecord<'d>) -> Result<Opened<'d>, DropReason> {
        let DtlsRecord {
            content_type,
            version,
            number,
            connection_id,
            fragment,
        } = record;
        if number.epoch() != self.epoch {
            return Err(DropReason::UnexpectedEpoch);
        }
        if version != DTLS_1_2 {
            return Err(DropReason::UnsupportedVersion);
        }
        let has_connection_id = content_type == ContentType::Tls12Cid;
        // MUST (RFC 9146 §3): where a connection ID was agreed on, a record without it is invalid.
        if connection_id != self.connection_id.as_bytes()
            || has_connection_id == connection_id.is_empty()
        {
            return Err(DropReason::ConnectionIdMismatch);
        }
        let header = Header {
            protocol: Protocol::Dtls,
            number: number.to_be_bytes(),
            content_type,
            connection_id,
        };
        let Self {
            keys,
            window,
            forgeries,
            ..
        } = self;
        // MUST (RFC 8449 §4): a record above the limit that this end has named is discarded.
        let mut protected = keys.take_apart(&header, fragment)?;
        let verified = window.verify(number.sequence_number(), || {
            keys.verify(&mut protected)
                .inspect_err(|_| *forgeries = forgeries.saturating_add(1))?;
            let whole_len = protected.plaintext().len();
            if !has_connection_id {
                return Ok((content_type, whole_len));
            }
            split_inner_plaintext(protected.plaintext()).ok_or(DropReason::Malformed)
        })?;
        let (content_type, len) = verified.value;
        Ok(Opened {
            content_type,
            plaintext: protected.into_plaintext(len),
            sequence_number: number.sequence_number(),
            newest: verified.newest,
        })
    }
}
