//! Protection of TLS records: numbers that both ends count (RFC 5246 §6.1), and no second chance
//! for a record that doesn't verify (§7.2.2).

use hedgerow_core::{Aead, AeadAlgorithm, ChannelError, Limit};

use crate::traffic_keys::Header;
use crate::{
    AlertDescription, ContentType, Protocol, TLS_1_2, TLS_RECORD_HEADER_LEN, TlsRecord, TrafficKeys,
};

/// Seals the records of one direction, each under the next sequence number.
#[derive(Debug)]
pub struct TlsSealer<A> {
    keys: TrafficKeys<A>,
    /// `None` once the last number is spent.
    next_sequence_number: Option<u64>,
}

impl<A: Aead> TlsSealer<A> {
    /// Starts at sequence number 0 (RFC 5246 §6.1).
    pub const fn new(keys: TrafficKeys<A>) -> Self {
        Self::starting_at(keys, 0)
    }

    /// Starts at a later sequence number; never at one that was used under the same key.
    pub const fn starting_at(keys: TrafficKeys<A>, next_sequence_number: u64) -> Self {
        Self {
            keys,
            next_sequence_number: Some(next_sequence_number),
        }
    }

    /// Returns how many records were sealed.
    pub const fn sealed(&self) -> u64 {
        match self.next_sequence_number {
            Some(next) => next,
            None => u64::MAX,
        }
    }

    /// Returns the longest content that one record can have, in bytes: 2^14, or what the peer takes
    /// (RFC 8449 §4).
    pub fn max_plaintext_len(&self) -> usize {
        self.keys.max_plaintext_len(&[])
    }

    /// Returns by how many bytes a record is longer than its plaintext.
    pub fn overhead(&self) -> usize {
        TrafficKeys::<A>::record_overhead(Protocol::Tls, self.keys.algorithm())
    }

    /// Returns the cipher in use.
    pub fn algorithm(&self) -> AeadAlgorithm {
        self.keys.algorithm()
    }

    /// Seals `plaintext` as one record at the front of `out` and returns the record's length.
    ///
    /// The record must be sent: the peer counts, and a number left out ends the connection.
    ///
    /// # Errors
    ///
    /// [`Limit::PlaintextTooLong`] above [`MAX_PLAINTEXT_LEN`](crate::MAX_PLAINTEXT_LEN),
    /// [`Misuse::BufferTooSmall`](hedgerow_core::Misuse::BufferTooSmall) if `out` is shorter than
    /// the record, [`Limit::SequenceNumbersExhausted`] once 2^64 numbers are used. Nothing is
    /// sealed then.
    pub fn seal(
        &mut self,
        content_type: ContentType,
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, ChannelError> {
        self.keys.check(Protocol::Tls, &[], plaintext, out)?;
        // MUST (RFC 5246 §6.1): sequence numbers don't wrap; a key out of numbers seals no more.
        let number = self
            .next_sequence_number
            .ok_or(Limit::SequenceNumbersExhausted)?;
        // The number is spent before the cipher sees it: whatever happens next, it never comes
        // again under this key.
        self.next_sequence_number = number.checked_add(1);
        self.keys
            .seal(&header(number, content_type), plaintext, out)
    }
}

/// Opens the records of one direction, in their order.
#[derive(Debug)]
pub struct TlsOpener<A> {
    keys: TrafficKeys<A>,
    next_sequence_number: Option<u64>,
}

impl<A: Aead> TlsOpener<A> {
    /// Starts at sequence number 0.
    pub const fn new(keys: TrafficKeys<A>) -> Self {
        Self {
            keys,
            next_sequence_number: Some(0),
        }
    }

    /// Returns how many records were opened; 0 once one didn't verify.
    pub fn opened(&self) -> u64 {
        self.next_sequence_number.unwrap_or_default()
    }

    /// Verifies and decrypts the next record in place and returns its plaintext.
    ///
    /// # Errors
    ///
    /// The alert to end the connection with: protocol_version, record_overflow for a fragment that
    /// is too long, bad_record_mac for everything else that is wrong (RFC 5246 §7.2.2). The opener
    /// opens nothing more then.
    pub fn open<'d>(&mut self, record: TlsRecord<'d>) -> Result<&'d mut [u8], AlertDescription> {
        let TlsRecord {
            content_type,
            version,
            fragment,
        } = record;
        let number = self
            .next_sequence_number
            .take()
            .ok_or(AlertDescription::BAD_RECORD_MAC)?;
        if version != TLS_1_2 {
            return Err(AlertDescription::PROTOCOL_VERSION);
        }
        let overhead = TrafficKeys::<A>::record_overhead(Protocol::Tls, self.keys.algorithm());
        let longest = self.keys.max_plaintext_len(&[]).saturating_add(overhead);
        // MUST (RFC 5246 §6.2.3): what holds more than 2^14 bytes of plaintext isn't opened.
        // MUST (RFC 8449 §4): what holds more than this end has named is a record_overflow.
        if fragment.len().saturating_add(TLS_RECORD_HEADER_LEN) > longest {
            return Err(AlertDescription::RECORD_OVERFLOW);
        }
        let plaintext_len = fragment
            .len()
            .saturating_add(TLS_RECORD_HEADER_LEN)
            .saturating_sub(overhead);
        let mut protected = self
            .keys
            .take_apart(&header(number, content_type), fragment)
            .map_err(|_| AlertDescription::BAD_RECORD_MAC)?;
        self.keys
            .verify(&mut protected)
            .map_err(|_| AlertDescription::BAD_RECORD_MAC)?;
        self.next_sequence_number = number.checked_add(1);
        Ok(protected.into_plaintext(plaintext_len))
    }
}

const fn header(number: u64, content_type: ContentType) -> Header<'static> {
    Header {
        protocol: Protocol::Tls,
        number: number.to_be_bytes(),
        content_type,
        connection_id: &[],
    }
}
