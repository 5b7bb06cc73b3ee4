//! Record protection with an AEAD (RFC 5246 §6.2.3.3, as RFC 6347 §4.1.2.1 changes it for DTLS; RFC
//! 6655 §3, RFC 5288 §3, RFC 7905 §2), and as RFC 9146 §5.3 changes it for records with a
//! connection ID: the one place where a nonce is built.

use hedgerow_core::{
    Aead, AeadAlgorithm, ChannelError, CryptoProvider, DropReason, EncodeError, Limit, Misuse,
    Secret, Writer,
};

use crate::{
    ContentType, MAX_CONNECTION_ID_LEN, Protocol, RECORD_HEADER_LEN, RecordSizeLimit,
    TLS_RECORD_HEADER_LEN,
};

/// The longest fixed part of a nonce, in bytes.
const MAX_IV_LEN: usize = 12;

/// seq_num_placeholder(8) tls12_cid(1) cid_length(1) tls12_cid(1) version(2) epoch(2)
/// sequence_number(6) cid length(2) (RFC 9146 §5.3); without a connection ID it is shorter.
const MAX_ADDITIONAL_DATA_LEN: usize = 23 + MAX_CONNECTION_ID_LEN;

/// What stands in front of a protected fragment.
#[derive(Clone, Copy)]
pub(crate) struct Header<'a> {
    pub(crate) protocol: Protocol,
    /// The record's number: epoch and sequence number, or TLS's implicit one.
    pub(crate) number: [u8; 8],
    /// What the record carries. With a connection ID, only who has opened it knows.
    pub(crate) content_type: ContentType,
    /// Empty for the records of RFC 6347 and of TLS.
    pub(crate) connection_id: &'a [u8],
}

impl Header<'_> {
    /// Returns the type that the wire shows.
    const fn outer_type(&self) -> ContentType {
        match self.connection_id {
            [] => self.content_type,
            _ => ContentType::Tls12Cid,
        }
    }

    /// Returns by how much what is encrypted is longer than the content: by the content's type,
    /// where it travels inside (RFC 9146 §4).
    const fn inner_overhead(&self) -> usize {
        match self.connection_id {
            [] => 0,
            _ => 1,
        }
    }
}

/// A cipher with its key, and the fixed part of its nonces: one direction of one epoch.
pub struct TrafficKeys<A> {
    aead: A,
    iv: Secret<MAX_IV_LEN>,
    /// The most plaintext that a record may have, where both ends have agreed on less than 2^14.
    limit: RecordSizeLimit,
}

/// A protected fragment taken apart, ready to be verified.
pub(crate) struct Protected<'d> {
    nonce: [u8; 12],
    additional_data: AdditionalData,
    in_out: &'d mut [u8],
    tag: &'d mut [u8],
}

impl<'d> Protected<'d> {
    /// Lends what was decrypted. Only what was verified is ever asked for.
    pub(crate) fn plaintext(&self) -> &[u8] {
        self.in_out
    }

    /// Returns the first `len` bytes of what was decrypted.
    pub(crate) fn into_plaintext(self, len: usize) -> &'d mut [u8] {
        self.in_out.get_mut(..len).unwrap_or_default()
    }
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
    pub const fn record_overhead(protocol: Protocol, algorithm: AeadAlgorithm) -> usize {
        let header_len = match protocol {
            Protocol::Dtls => RECORD_HEADER_LEN,
            Protocol::Tls => TLS_RECORD_HEADER_LEN,
        };
        header_len
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
        Ok(Self {
            aead,
            iv,
            limit: RecordSizeLimit::MAX,
        })
    }

    /// Sets how much plaintext a record may have, as the handshake that made these keys has agreed
    /// (RFC 8449 §4, RFC 6066 §4): what is longer is neither sealed nor opened.
    #[must_use]
    pub const fn with_limit(mut self, limit: RecordSizeLimit) -> Self {
        self.limit = limit;
        self
    }

    /// Returns the longest content that a record with this connection ID, or with none, can have.
    pub(crate) fn max_plaintext_len(&self, connection_id: &[u8]) -> usize {
        let limit = usize::from(self.limit.as_u16());
        // MUST (RFC 8449 §4): the limit covers all that is encrypted, the type in front of a
        // connection ID's padding too (RFC 9146 §4). The protocol's own limit is one of the content.
        match connection_id {
            [] => limit,
            _ if self.limit == RecordSizeLimit::MAX => limit,
            _ => limit.saturating_sub(1),
        }
    }

    pub(crate) fn algorithm(&self) -> AeadAlgorithm {
        self.aead.algorithm()
    }

    /// Returns by how many bytes a record with this connection ID, or with none, is longer than its
    /// content.
    pub(crate) fn overhead(&self, protocol: Protocol, connection_id: &[u8]) -> usize {
        let cid_overhead = match connection_id.len() {
            0 => 0,
            len => len.saturating_add(1),
        };
        Self::record_overhead(protocol, self.algorithm()).saturating_add(cid_overhead)
    }

    /// Checks that `plaintext` fits a record and the record fits `out`, and returns the record's
    /// length: what can fail without a number being spent.
    pub(crate) fn check(
        &self,
        protocol: Protocol,
        connection_id: &[u8],
        plaintext: &[u8],
        out: &[u8],
    ) -> Result<usize, ChannelError> {
        let max = self.max_plaintext_len(connection_id);
        if plaintext.len() > max {
            let len = plaintext.len();
            return Err(Limit::PlaintextTooLong { len, max }.into());
        }
        let overhead = self.overhead(protocol, connection_id);
        let needed = plaintext.len().saturating_add(overhead);
        if out.len() < needed {
            let available = out.len();
            return Err(Misuse::BufferTooSmall { needed, available }.into());
        }
        Ok(needed)
    }

    /// Seals `plaintext` as the record that `header` begins, at the front of `out`, which
    /// [`Self::check`] has found long enough. The header's number must never come again.
    pub(crate) fn seal(
        &self,
        header: &Header<'_>,
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, ChannelError> {
        let &Header {
            protocol,
            number,
            connection_id,
            ..
        } = header;
        let algorithm = self.algorithm();
        let available = out.len();
        let needed = plaintext
            .len()
            .saturating_add(self.overhead(protocol, connection_id));
        let too_small = Misuse::BufferTooSmall { needed, available };
        let explicit_len = explicit_nonce_len(algorithm);
        let inner_len = plaintext.len().saturating_add(header.inner_overhead());
        let fragment_len = explicit_len
            .saturating_add(inner_len)
            .saturating_add(algorithm.tag_len());
        let mut record = Writer::new(out);
        let head = (|| {
            record.u8(header.outer_type().into())?;
            record.u16(protocol.version().0)?;
            if protocol == Protocol::Dtls {
                record.bytes(&number)?;
                record.bytes(connection_id)?;
            }
            record.u16(u16::try_from(fragment_len).unwrap_or(u16::MAX))?;
            if explicit_len != 0 {
                // MUST (RFC 7925 §B): in DTLS epoch and sequence number are the explicit part;
                // RFC 6655 §3 lets TLS do the same with its sequence number.
                record.bytes(&number)?;
            }
            record.bytes(plaintext)?;
            if !connection_id.is_empty() {
                // RFC 9146 §4: the type, and no padding behind it.
                record.u8(header.content_type.into())?;
            }
            Ok::<_, EncodeError>(())
        })();
        head.map_err(|_| too_small)?;
        let inner_at = record.len().saturating_sub(inner_len);
        record.reserve(algorithm.tag_len()).map_err(|_| too_small)?;
        let (in_out, tag) = record
            .into_written()
            .get_mut(inner_at..)
            .and_then(|protected| protected.split_at_mut_checked(inner_len))
            .ok_or(too_small)?;
        self.aead
            .seal_in_place(
                &self.nonce(number),
                AdditionalData::new(header, inner_len)
                    .ok_or(too_small)?
                    .as_bytes(),
                in_out,
                tag,
            )
            .map_err(|_| Misuse::NotOffered)?;
        Ok(needed)
    }

    /// Takes the fragment of the record that `header` begins apart.
    ///
    /// # Errors
    ///
    /// [`DropReason::Malformed`] if it is too short for nonce and tag, [`DropReason::TooLong`] if its
    /// plaintext is longer than agreed on. Neither costs the cipher anything.
    pub(crate) fn take_apart<'d>(
        &self,
        header: &Header<'_>,
        fragment: &'d mut [u8],
    ) -> Result<Protected<'d>, DropReason> {
        let algorithm = self.algorithm();
        let (explicit, protected) = fragment
            .split_at_mut_checked(explicit_nonce_len(algorithm))
            .ok_or(DropReason::Malformed)?;
        // The peer's explicit part is taken as it stands: OpenSSL starts it at random for GCM.
        let eight = match explicit.first_chunk::<8>() {
            Some(&explicit) => explicit,
            None => header.number,
        };
        // RFC 9146 §4 has padding stay within the limit for records, which RFC 8446 §5.4 gives as
        // that of the content and one octet. A peer that counts a smaller limit of RFC 6066 §4, or
        // of RFC 8449 before RFC 9146 was, without that octet is understood too.
        let max_len = usize::from(self.limit.as_u16()).saturating_add(header.inner_overhead());
        let inner_len = protected
            .len()
            .checked_sub(algorithm.tag_len())
            .ok_or(DropReason::Malformed)?;
        if inner_len > max_len {
            return Err(DropReason::TooLong);
        }
        let (in_out, tag) = protected
            .split_at_mut_checked(inner_len)
            .ok_or(DropReason::Malformed)?;
        Ok(Protected {
            nonce: self.nonce(eight),
            additional_data: AdditionalData::new(header, inner_len).ok_or(DropReason::Malformed)?,
            in_out,
            tag,
        })
    }

    /// Verifies and decrypts in place.
    pub(crate) fn verify(&self, protected: &mut Protected<'_>) -> Result<(), DropReason> {
        self.aead
            .open_in_place(
                &protected.nonce,
                protected.additional_data.as_bytes(),
                protected.in_out,
                protected.tag,
            )
            .map_err(|_| DropReason::AuthenticationFailed)
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

/// Returns how many bytes of the nonce travel in the record: `record_iv_length` of RFC 5246
/// §6.2.3.3.
const fn explicit_nonce_len(algorithm: AeadAlgorithm) -> usize {
    match algorithm {
        AeadAlgorithm::Chacha20Poly1305 => 0,
        _ => 8,
    }
}

/// What a tag covers beside the ciphertext.
struct AdditionalData {
    bytes: [u8; MAX_ADDITIONAL_DATA_LEN],
    len: usize,
}

impl AdditionalData {
    /// RFC 5246 §6.2.3.3, for DTLS with RFC 6347 §4.1.2.1: the sequence number is there epoch and
    /// sequence number. With a connection ID it is that of RFC 9146 §5.3. `len` counts what is
    /// encrypted. `None` for a connection ID that is too long.
    fn new(header: &Header<'_>, len: usize) -> Option<Self> {
        let mut bytes = [0; MAX_ADDITIONAL_DATA_LEN];
        let mut out = Writer::new(&mut bytes);
        let version = header.protocol.version().0;
        let outer_type = header.outer_type().into();
        let written = match header.connection_id {
            [] => out
                .bytes(&header.number)
                .and_then(|()| out.u8(outer_type))
                .and_then(|()| out.u16(version)),
            id => out
                .bytes(&[0xff; 8])
                .and_then(|()| out.u8(outer_type))
                .and_then(|()| out.u8(u8::try_from(id.len()).unwrap_or(u8::MAX)))
                .and_then(|()| out.u8(outer_type))
                .and_then(|()| out.u16(version))
                .and_then(|()| out.bytes(&header.number))
                .and_then(|()| out.bytes(id)),
        };
        written
            .and_then(|()| out.u16(u16::try_from(len).unwrap_or(u16::MAX)))
            .ok()?;
        let len = out.len();
        Some(Self { bytes, len })
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Takes a DTLSInnerPlaintext apart: the content's type, and the content's length. `None` if there
/// are only zeros, or a type that can't be inside (RFC 9146 §4).
pub(crate) fn split_inner_plaintext(inner: &[u8]) -> Option<(ContentType, usize)> {
    let len = inner.iter().rposition(|&octet| octet != 0)?;
    match ContentType::from(*inner.get(len)?) {
        ContentType::Tls12Cid => None,
        real_type => Some((real_type, len)),
    }
}
