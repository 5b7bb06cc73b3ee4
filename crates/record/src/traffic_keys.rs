//! Record protection with an AEAD (RFC 5246 §6.2.3.3, as RFC 6347 §4.1.2.1 changes it for DTLS; RFC
//! 6655 §3, RFC 5288 §3, RFC 7905 §2): the one place where a nonce is built.

use hedgerow_core::{
    Aead, AeadAlgorithm, ChannelError, CryptoProvider, DropReason, Limit, Misuse, Secret, Writer,
};

use crate::{ContentType, MAX_PLAINTEXT_LEN, Protocol, RECORD_HEADER_LEN, TLS_RECORD_HEADER_LEN};

/// The longest fixed part of a nonce, in bytes.
const MAX_IV_LEN: usize = 12;

/// seq64(8) type(1) version(2) length(2) (RFC 5246 §6.2.3.3).
const ADDITIONAL_DATA_LEN: usize = 13;

/// A cipher with its key, and the fixed part of its nonces: one direction of one epoch.
pub struct TrafficKeys<A> {
    aead: A,
    iv: Secret<MAX_IV_LEN>,
}

/// A protected fragment taken apart, ready to be verified.
pub(crate) struct Protected<'d> {
    nonce: [u8; 12],
    additional_data: [u8; ADDITIONAL_DATA_LEN],
    in_out: &'d mut [u8],
    tag: &'d mut [u8],
}

impl<'d> Protected<'d> {
    /// Returns what was decrypted. Only what was verified is ever asked for.
    pub(crate) fn into_plaintext(self) -> &'d mut [u8] {
        self.in_out
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
        Ok(Self { aead, iv })
    }

    pub(crate) fn algorithm(&self) -> AeadAlgorithm {
        self.aead.algorithm()
    }

    /// Checks that `plaintext` fits a record and the record fits `out`, and returns the record's
    /// length: what can fail without a number being spent.
    pub(crate) fn check(
        &self,
        protocol: Protocol,
        plaintext: &[u8],
        out: &[u8],
    ) -> Result<usize, ChannelError> {
        if plaintext.len() > MAX_PLAINTEXT_LEN {
            return Err(Limit::PlaintextTooLong {
                len: plaintext.len(),
                max: MAX_PLAINTEXT_LEN,
            }
            .into());
        }
        let overhead = Self::record_overhead(protocol, self.algorithm());
        let needed = plaintext.len().saturating_add(overhead);
        if out.len() < needed {
            let available = out.len();
            return Err(Misuse::BufferTooSmall { needed, available }.into());
        }
        Ok(needed)
    }

    /// Seals `plaintext` as the record `number` of `protocol` at the front of `out`, which
    /// [`Self::check`] has found long enough. `number` must never come again.
    pub(crate) fn seal(
        &self,
        protocol: Protocol,
        number: [u8; 8],
        content_type: ContentType,
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, ChannelError> {
        let algorithm = self.algorithm();
        let available = out.len();
        let needed = plaintext
            .len()
            .saturating_add(Self::record_overhead(protocol, algorithm));
        let too_small = Misuse::BufferTooSmall { needed, available };
        let explicit_len = explicit_nonce_len(algorithm);
        let fragment_len = explicit_len
            .saturating_add(plaintext.len())
            .saturating_add(algorithm.tag_len());
        let mut record = Writer::new(out);
        let head = (|| {
            record.u8(content_type.into())?;
            record.u16(protocol.version().0)?;
            if protocol == Protocol::Dtls {
                record.bytes(&number)?;
            }
            record.u16(u16::try_from(fragment_len).unwrap_or(u16::MAX))?;
            if explicit_len != 0 {
                // MUST (RFC 7925 §B): in DTLS epoch and sequence number are the explicit part;
                // RFC 6655 §3 lets TLS do the same with its sequence number.
                record.bytes(&number)?;
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
        self.aead
            .seal_in_place(
                &self.nonce(number),
                &additional_data(protocol, number, content_type, plaintext.len()),
                in_out,
                tag,
            )
            .map_err(|_| Misuse::NotOffered)?;
        Ok(needed)
    }

    /// Takes the fragment of the record `number` apart; `None` if it is too short for nonce and
    /// tag, or its plaintext too long.
    pub(crate) fn take_apart<'d>(
        &self,
        protocol: Protocol,
        number: [u8; 8],
        content_type: ContentType,
        fragment: &'d mut [u8],
    ) -> Option<Protected<'d>> {
        let algorithm = self.algorithm();
        let (explicit, protected) = fragment.split_at_mut_checked(explicit_nonce_len(algorithm))?;
        // The peer's explicit part is taken as it stands: OpenSSL starts it at random for GCM.
        let eight = match explicit.first_chunk::<8>() {
            Some(&explicit) => explicit,
            None => number,
        };
        let plaintext_len = protected
            .len()
            .checked_sub(algorithm.tag_len())
            .filter(|&len| len <= MAX_PLAINTEXT_LEN)?;
        let (in_out, tag) = protected.split_at_mut_checked(plaintext_len)?;
        Some(Protected {
            nonce: self.nonce(eight),
            additional_data: additional_data(protocol, number, content_type, plaintext_len),
            in_out,
            tag,
        })
    }

    /// Verifies and decrypts in place.
    pub(crate) fn verify(&self, protected: &mut Protected<'_>) -> Result<(), DropReason> {
        self.aead
            .open_in_place(
                &protected.nonce,
                &protected.additional_data,
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

/// RFC 5246 §6.2.3.3, for DTLS with RFC 6347 §4.1.2.1: the sequence number is there epoch and sequence
/// number. The length is the plaintext's.
fn additional_data(
    protocol: Protocol,
    number: [u8; 8],
    content_type: ContentType,
    plaintext_len: usize,
) -> [u8; ADDITIONAL_DATA_LEN] {
    let [n0, n1, n2, n3, n4, n5, n6, n7] = number;
    let [major, minor] = protocol.version().0.to_be_bytes();
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
