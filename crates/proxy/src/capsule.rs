//! Capsules on a stream, RFC 9297 §3.

use crate::varint::{self, MAX_VARINT_LEN};

/// The type of a capsule (RFC 9297 §5.4), at most 2^62 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CapsuleType(pub u64);

impl CapsuleType {
    /// DATAGRAM (RFC 9297 §3.5), the only one that is known here.
    pub const DATAGRAM: Self = Self(0x00);
}

/// What a stream of capsules has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capsule<'d> {
    /// A DATAGRAM capsule, whole, with its HTTP Datagram payload.
    Datagram(&'d [u8]),
    /// A DATAGRAM capsule that is longer than is kept. The rest of it is skipped.
    TooLong {
        /// The length of its value, in bytes.
        len: u64,
        /// The first 8 bytes of the value: whatever integer it begins with is in them.
        start: &'d [u8],
    },
    /// A capsule of an unknown type, told once its head is read. Its value is skipped.
    Unknown(CapsuleType),
}

/// The stream ended within a capsule (RFC 9297 §3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream ended within a capsule")]
pub struct TruncatedCapsule;

/// Takes a stream of capsules apart, however it is cut.
///
/// It keeps the one capsule that isn't whole yet, and of that no more than it was made for.
#[derive(Debug)]
pub struct CapsuleDecoder {
    max_value: usize,
    head: Head,
    value: Vec<u8>,
    state: State,
}

/// Where in a capsule the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In type or length.
    ExpectHead,
    /// In the value of a DATAGRAM capsule that is kept, as many bytes before its end.
    ExpectValue { missing: usize },
    /// In the first bytes of one that isn't, of a value of this length.
    ExpectStart { len: u64 },
    /// In a value that nobody wants, as many bytes before its end.
    Skip { missing: u64 },
}

/// The bytes of type and length so far.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    bytes: [u8; 2 * MAX_VARINT_LEN],
    len: usize,
}

impl CapsuleDecoder {
    /// Keeps DATAGRAM capsules whose value has at most `max_value` bytes, and no fewer than 8.
    pub const fn new(max_value: usize) -> Self {
        let max_value = if max_value < MAX_VARINT_LEN {
            MAX_VARINT_LEN
        } else {
            max_value
        };
        Self {
            max_value,
            head: Head {
                bytes: [0; 2 * MAX_VARINT_LEN],
                len: 0,
            },
            value: Vec::new(),
            state: State::ExpectHead,
        }
    }

    /// Takes bytes from the front of `bytes` up to the next capsule, and returns it; `None` once all
    /// are taken. Call it again while it returns something.
    pub fn next_capsule(&mut self, bytes: &mut &[u8]) -> Option<Capsule<'_>> {
        loop {
            match self.state {
                State::ExpectHead => {
                    let (&byte, rest) = bytes.split_first()?;
                    *bytes = rest;
                    let Some((capsule_type, len)) = self.head.push(byte) else {
                        continue;
                    };
                    self.head = Head::default();
                    self.value.clear();
                    // MUST (RFC 9297 §3.2): a capsule of an unknown type is dropped, and the next one
                    // read.
                    if capsule_type != CapsuleType::DATAGRAM {
                        self.state = State::Skip { missing: len };
                        return Some(Capsule::Unknown(capsule_type));
                    }
                    self.state = match usize::try_from(len) {
                        Ok(missing) if missing <= self.max_value => State::ExpectValue { missing },
                        _ => State::ExpectStart { len },
                    };
                }
                State::ExpectValue { missing } => {
                    let missing = self.keep(bytes, missing);
                    if missing > 0 {
                        self.state = State::ExpectValue { missing };
                        return None;
                    }
                    self.state = State::ExpectHead;
                    return Some(Capsule::Datagram(&self.value));
                }
                State::ExpectStart { len } => {
                    // RFC 9297 §3.5: what can't be used isn't buffered. Only its first bytes say
                    // whether it may be there at all.
                    let missing = MAX_VARINT_LEN.saturating_sub(self.value.len());
                    if self.keep(bytes, missing) > 0 {
                        return None;
                    }
                    let missing = len.saturating_sub(to_u64(self.value.len()));
                    self.state = State::Skip { missing };
                    let start = &self.value;
                    return Some(Capsule::TooLong { len, start });
                }
                State::Skip { missing: 0 } => self.state = State::ExpectHead,
                State::Skip { missing } => {
                    if bytes.is_empty() {
                        return None;
                    }
                    let skipped = usize::try_from(missing)
                        .map_or(bytes.len(), |missing| missing.min(bytes.len()));
                    *bytes = bytes.get(skipped..).unwrap_or_default();
                    self.state = State::Skip {
                        missing: missing.saturating_sub(to_u64(skipped)),
                    };
                }
            }
        }
    }

    /// Says whether the stream may end here.
    ///
    /// # Errors
    ///
    /// [`TruncatedCapsule`] if it ends within a capsule.
    pub fn finish(&self) -> Result<(), TruncatedCapsule> {
        // MUST (RFC 9297 §3.3): a stream whose last capsule is cut off is an incomplete message, however
        // orderly it was closed.
        let is_between = matches!(self.state, State::ExpectHead | State::Skip { missing: 0 });
        (is_between && self.head.len == 0)
            .then_some(())
            .ok_or(TruncatedCapsule)
    }

    /// Returns how many bytes it holds of a capsule that isn't whole.
    pub fn buffered_len(&self) -> usize {
        match self.state {
            State::ExpectHead | State::Skip { .. } => self.head.len,
            State::ExpectValue { .. } | State::ExpectStart { .. } => self.value.len(),
        }
    }

    /// Moves up to `missing` bytes to the value and returns how many are missing then.
    fn keep(&mut self, bytes: &mut &[u8], missing: usize) -> usize {
        let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
        self.value.extend_from_slice(taken);
        *bytes = rest;
        missing.saturating_sub(taken.len())
    }
}

impl Head {
    /// Adds a byte, and returns type and length once both are whole.
    fn push(&mut self, byte: u8) -> Option<(CapsuleType, u64)> {
        // Two integers end within the array, so there is always a place for the next byte.
        *self.bytes.get_mut(self.len)? = byte;
        self.len = self.len.saturating_add(1);
        let (capsule_type, rest) = varint::decode(self.bytes.get(..self.len)?)?;
        let (len, _) = varint::decode(rest)?;
        Some((CapsuleType(capsule_type), len))
    }
}

/// Why a capsule can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CapsuleEncodeError {
    /// The buffer is too short.
    #[error("the buffer has {len} bytes, {needed} are needed")]
    NoRoom {
        /// The buffer's length, in bytes.
        len: usize,
        /// What the capsule takes, in bytes.
        needed: usize,
    },
    /// A UDP payload of this many bytes can't be (RFC 9298 §5).
    #[error("a UDP payload has at most 65527 bytes, not {0}")]
    PayloadTooLong(usize),
    /// A context ID above 2^62 - 1.
    #[error("a context ID is at most 2^62 - 1")]
    ContextId,
}

/// Writes the head of a capsule in its shortest form and returns its length.
pub(crate) fn encode_head(capsule_type: CapsuleType, len: u64, out: &mut [u8]) -> Option<usize> {
    let type_len = varint::encode(capsule_type.0, out)?;
    let len_len = varint::encode(len, out.get_mut(type_len..)?)?;
    type_len.checked_add(len_len)
}

pub(crate) fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_of_what_is_skipped() {
        let mut decoder = CapsuleDecoder::new(100);
        // 2^62 - 1 bytes of an unknown type, and as many of a datagram.
        let unknown = [&[0x17][..], &[0xff; 8]].concat();
        let mut bytes = unknown.as_slice();
        let unknown = Capsule::Unknown(CapsuleType(0x17));
        assert_eq!(decoder.next_capsule(&mut bytes), Some(unknown));
        let mut many = [0x55; 4_096].as_slice();
        assert_eq!(decoder.next_capsule(&mut many), None);
        assert_eq!((decoder.buffered_len(), decoder.value.capacity()), (0, 0));
        assert_eq!(decoder.finish(), Err(TruncatedCapsule));

        let mut decoder = CapsuleDecoder::new(100);
        let datagram = [&[0x00][..], &[0xff; 8], &[0x05; 4_096]].concat();
        let mut bytes = datagram.as_slice();
        let len = varint::MAX_VARINT;
        assert_eq!(
            decoder.next_capsule(&mut bytes),
            Some(Capsule::TooLong {
                len,
                start: &[0x05; 8]
            })
        );
        assert_eq!(decoder.next_capsule(&mut bytes), None);
        assert!(decoder.value.capacity() <= 100);
        assert_eq!(decoder.finish(), Err(TruncatedCapsule));
    }
}
