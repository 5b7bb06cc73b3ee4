//! Record protection with an AEAD (RFC 5246 §6.2.3.3 as RFC 6347 §4.1.2.1 changes it, RFC 6655 §3,
//! RFC 5288 §3, RFC 7905 §2): the one place where a DTLS nonce is built.

use hedgerow_core::{
    Aead, AeadAlgorithm, ChannelError, CryptoProvider, DropReason, Limit, Misuse, Secret, Writer,
};

use crate::{
    ContentType, DTLS_1_2, DtlsRecord, EpochNumber, MAX_PLAINTEXT_LEN, RECORD_HEADER_LEN,
    RecordNumber, ReplayWindow,
};

/// The longest fixed part of a nonce, in bytes.
const MAX_IV_LEN: usize = 12;

/// seq64(8) type(1) version(2) length(2) (RFC 5246 §6.2.3.3).
const ADDITIONAL_DATA_LEN: usize = 13;

/// A cipher with its key, and the fixed part of its nonces: one direction of one epoch.
pub struct TrafficKeys<A> {
    aead: A,
    iv: Secret<MAX_IV_LEN>,
}

impl<A: Aead> TrafficKeys<A> {
    /// Returns the length of the fixed part of the nonce that the key block has to give, in bytes:
    /// `fixed_iv_length` of RFC 5246 §6.2.3.3.
    pub const fn iv_len(algorithm: AeadAlgorithm) -> usize {
        match algorithm {
            AeadAlgorithm::Chacha20Poly1305 => 12,
            _ => 4,
        }
    }

    /// Returns by how many bytes a record is longer than its plaintext.
    pub const fn record_overhead(algorithm: AeadAlgorithm) -> usize {
        RECORD_HEADER_LEN
            .saturating_add(explicit_nonce_len(algorithm))
            .saturating_add(algorithm.tag_len())
    }

    /// Puts a key and the fixed part of its nonces together.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotOffered`] if the provider refuses the key or `iv` isn't
    /// [`Self::iv_len`] bytes long.
    pub fn new<P: CryptoProvider<Aead = A>>(
        provider: &P,
        algorithm: AeadAlgorithm,
        key: &[u8],
        iv: &[u8],
    ) -> Result<Self, Misuse> {
        if iv.len() != Self::iv_len(algorithm) {
            return Err(Misuse::NotOffered);
        }
        let aead = provider
            .aead(algorithm, key)
            .map_err(|_| Misuse::NotOffered)?;
        let iv = Secret::fill_with(|bytes| {
            for (place, byte) in bytes.iter_mut().zip(iv) {
                *place = *byte;
            }
        });
        Ok(Self { aead, iv })
    }

    fn algorithm(&self) -> AeadAlgorithm {
        self.aead.algorithm()
    }

    /// Builds a nonce from the fixed part and eight bytes: the explicit part that the record
    /// carries, or the record's number where nothing is carried (RFC 7905 §2).
    fn nonce(&self, eight: [u8; 8]) -> [u8; 12] {
        let [i0, i1, i2, i3, i4, i5, i6, i7, i8, i9, i10, i11] = *self.iv.expose();
        let [e0, e1, e2, e3, e4, e5, e6, e7] = eight;
        match self.algorithm() {
            AeadAlgorithm::Chacha20Poly1305 => [
                i0,
                i1,
                i2,
                i3,
                i4 ^ e0,
                i5 ^ e1,
                i6 ^ e2,
                i7 ^ e3,
                i8 ^ e4,
                i9 ^ e5,
                i10 ^ e6,
                i11 ^ e7,
            ],
            _ => [i0, i1, i2, i3, e0, e1, e2, e3, e4, e5, e6, e7],
        }
    }
}

impl<A> core::fmt::Debug for TrafficKeys<A> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("TrafficKeys(..)")
    }
}

/// Seals the records of one epoch, each under the next sequence number.
#[derive(Debug)]
pub struct RecordSealer<A> {
    keys: TrafficKeys<A>,
    epoch: EpochNumber,
    next_sequence_number: u64,
}

impl<A: Aead> RecordSealer<A> {
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
        TrafficKeys::<A>::record_overhead(self.keys.algorithm())
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
        if plaintext.len() > MAX_PLAINTEXT_LEN {
            return Err(Limit::PlaintextTooLong {
                len: plaintext.len(),
                max: MAX_PLAINTEXT_LEN,
            }
            .into());
        }
        let algorithm = self.keys.algorithm();
        let available = out.len();
        let needed = plaintext.len().saturating_add(self.overhead());
        let too_small = Misuse::BufferTooSmall { needed, available };
        let out = out.get_mut(..needed).ok_or(too_small)?;

        // MUST (RFC 6347 §4.1): sequence numbers don't wrap; a key out of numbers seals no more.
        let number = RecordNumber::new(self.epoch, self.next_sequence_number)
            .ok_or(Limit::SequenceNumbersExhausted)?;
        // The number is spent before the cipher sees it: whatever happens next, it never comes
        // again under this key.
        self.next_sequence_number = self.next_sequence_number.saturating_add(1);

        let mut record = Writer::new(out);
        let fragment_len = needed.saturating_sub(RECORD_HEADER_LEN);
        let head = (|| {
            record.u8(content_type.into())?;
            record.u16(DTLS_1_2.0)?;
            record.bytes(&number.to_be_bytes())?;
            record.u16(u16::try_from(fragment_len).unwrap_or(u16::MAX))?;
            if explicit_nonce_len(algorithm) != 0 {
                // MUST (RFC 7925 §B): epoch and sequence number are the explicit part.
                record.bytes(&number.to_be_bytes())?;
            }
            record.bytes(plaintext)
        })();
        head.map_err(|_| too_small)?;
        let plaintext_at = record.len().saturating_sub(plaintext.len());
        record.reserve(algorithm.tag_len()).map_err(|_| too_small)?;
        let (in_out, tag) = record
            .into_written()
            .get_mut(plaintext_at..)
            .and_then(|protected| protected.split_at_mut_checked(plaintext.len()))
            .ok_or(too_small)?;
        self.keys
            .aead
            .seal_in_place(
                &self.keys.nonce(number.to_be_bytes()),
                &additional_data(number, content_type, plaintext.len()),
                in_out,
                tag,
            )
            .map_err(|_| Misuse::NotOffered)?;
        Ok(needed)
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
pub struct RecordOpener<A> {
    keys: TrafficKeys<A>,
    epoch: EpochNumber,
    window: ReplayWindow,
    forgeries: u64,
}

impl<A: Aead> RecordOpener<A> {
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
        let algorithm = self.keys.algorithm();
        let (explicit, protected) = fragment
            .split_at_mut_checked(explicit_nonce_len(algorithm))
            .ok_or(DropReason::Malformed)?;
        // The peer's explicit part is taken as it stands: OpenSSL starts it at random for GCM.
        let eight = match explicit.first_chunk::<8>() {
            Some(&explicit) => explicit,
            None => number.to_be_bytes(),
        };
        let plaintext_len = protected
            .len()
            .checked_sub(algorithm.tag_len())
            .filter(|&len| len <= MAX_PLAINTEXT_LEN)
            .ok_or(DropReason::Malformed)?;
        let (in_out, tag) = protected
            .split_at_mut_checked(plaintext_len)
            .ok_or(DropReason::Malformed)?;
        let nonce = self.keys.nonce(eight);
        let additional_data = additional_data(number, content_type, plaintext_len);

        let Self {
            keys,
            window,
            forgeries,
            ..
        } = self;
        let verified = window.verify(number.sequence_number(), || {
            keys.aead
                .open_in_place(&nonce, &additional_data, in_out, tag)
                .map_err(|_| {
                    *forgeries = forgeries.saturating_add(1);
                    DropReason::AuthenticationFailed
                })
        })?;
        Ok(Opened {
            content_type,
            plaintext: in_out,
            sequence_number: number.sequence_number(),
            newest: verified.newest,
        })
    }
}

/// Returns how many bytes of the nonce travel in the record: `record_iv_length` of RFC 5246
/// §6.2.3.3.
const fn explicit_nonce_len(algorithm: AeadAlgorithm) -> usize {
    match algorithm {
        AeadAlgorithm::Chacha20Poly1305 => 0,
        _ => 8,
    }
}

/// RFC 5246 §6.2.3.3 with RFC 6347 §4.1.2.1: the sequence number there is epoch and sequence
/// number here, and the length is the plaintext's.
fn additional_data(
    number: RecordNumber,
    content_type: ContentType,
    plaintext_len: usize,
) -> [u8; ADDITIONAL_DATA_LEN] {
    let [n0, n1, n2, n3, n4, n5, n6, n7] = number.to_be_bytes();
    let [major, minor] = DTLS_1_2.0.to_be_bytes();
    let [high, low] = u16::try_from(plaintext_len)
        .unwrap_or(u16::MAX)
        .to_be_bytes();
    [
        n0,
        n1,
        n2,
        n3,
        n4,
        n5,
        n6,
        n7,
        content_type.into(),
        major,
        minor,
        high,
        low,
    ]
}
