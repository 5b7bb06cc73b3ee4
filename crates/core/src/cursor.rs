//! Byte cursors for fixed binary headers: network byte order, checked, without allocation.

/// Why bytes from a peer could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input ended inside a field.
    #[error("input ended: {needed} bytes needed, {available} left")]
    UnexpectedEnd {
        /// Length of the field that was cut off, in bytes.
        needed: usize,
        /// Bytes that were left.
        available: usize,
    },
    /// Bytes were left where the input should have ended.
    #[error("{count} bytes left over")]
    TrailingBytes {
        /// How many bytes were left.
        count: usize,
    },
}

/// Why a value could not be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The output buffer is too small.
    #[error("output full: {needed} bytes needed, {available} left")]
    BufferTooSmall {
        /// Length of the field that did not fit, in bytes.
        needed: usize,
        /// Bytes that were left in the output.
        available: usize,
    },
    /// A value doesn't fit the length field that stands before it.
    #[error("{len} bytes do not fit a length field that ends at {max}")]
    TooLong {
        /// Length of the value, in bytes.
        len: usize,
        /// The largest length that the field can hold.
        max: usize,
    },
}

/// Reads fields from the front of a byte slice.
///
/// A failed read takes nothing: the same bytes can be read again.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the front of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns what has not been read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Says whether everything has been read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Returns the number of bytes not read yet.
    pub const fn len(&self) -> usize {
        self.rest.len()
    }

    /// Takes `len` bytes.
    ///
    /// # Errors
    ///
    /// [`DecodeError::UnexpectedEnd`] if fewer are left; so for all methods that take a field.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(DecodeError::UnexpectedEnd {
                needed: len,
                available: self.rest.len(),
            })?;
        self.rest = rest;
        Ok(head)
    }

    /// Takes `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], DecodeError> {
        let (head, rest) =
            self.rest
                .split_first_chunk::<N>()
                .ok_or(DecodeError::UnexpectedEnd {
                    needed: N,
                    available: self.rest.len(),
                })?;
        self.rest = rest;
        Ok(head)
    }

    /// Takes one byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|&[byte]| byte)
    }

    /// Takes a 16-bit number.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array::<2>().map(|&bytes| u16::from_be_bytes(bytes))
    }

    /// Takes a 24-bit number.
    pub fn u24(&mut self) -> Result<u32, DecodeError> {
        self.array::<3>()
            .map(|&[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// Takes a 32-bit number.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array::<4>().map(|&bytes| u32::from_be_bytes(bytes))
    }

    /// Takes a 48-bit number.
    pub fn u48(&mut self) -> Result<u64, DecodeError> {
        self.array::<6>()
            .map(|&[a, b, c, d, e, f]| u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }

    /// Takes a 64-bit number.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array::<8>().map(|&bytes| u64::from_be_bytes(bytes))
    }

    /// Takes a vector with an 8-bit length in bytes before it.
    pub fn vector8(&mut self) -> Result<&'a [u8], DecodeError> {
        self.vector(|reader| reader.u8().map(usize::from))
    }

    /// Takes a vector with a 16-bit length in bytes before it.
    pub fn vector16(&mut self) -> Result<&'a [u8], DecodeError> {
        self.vector(|reader| reader.u16().map(usize::from))
    }

    /// Takes a vector with a 24-bit length in bytes before it.
    pub fn vector24(&mut self) -> Result<&'a [u8], DecodeError> {
        self.vector(|reader| {
            let len = reader.u24()?;
            Ok(usize::try_from(len).unwrap_or(usize::MAX))
        })
    }

    /// Ends the reading.
    ///
    /// # Errors
    ///
    /// [`DecodeError::TrailingBytes`] if something was not read.
    pub const fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(DecodeError::TrailingBytes { count }),
        }
    }

    fn vector(
        &mut self,
        len: impl FnOnce(&mut Self) -> Result<usize, DecodeError>,
    ) -> Result<&'a [u8], DecodeError> {
        let mut ahead = *self;
        let len = len(&mut ahead)?;
        let value = ahead.take(len)?;
        *self = ahead;
        Ok(value)
    }
}

/// Writes fields to the front of a caller's buffer.
///
/// A failed write leaves the length as it was.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    /// Starts at the front of `out`.
    pub const fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    /// Returns the number of bytes written.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Says whether nothing has been written.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the number of bytes that still fit.
    pub const fn remaining(&self) -> usize {
        self.out.len().saturating_sub(self.len)
    }

    /// Lends what has been written.
    pub fn written(&self) -> &[u8] {
        self.out.get(..self.len).unwrap_or_default()
    }

    /// Ends the writing and returns what has been written.
    pub fn into_written(self) -> &'a mut [u8] {
        self.out.get_mut(..self.len).unwrap_or_default()
    }

    /// Makes room for `len` bytes and lends them.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BufferTooSmall`] if they don't fit; so for all methods that write a field.
    pub fn reserve(&mut self, len: usize) -> Result<&mut [u8], EncodeError> {
        let available = self.remaining();
        let room = self
            .out
            .get_mut(self.len..)
            .and_then(|rest| rest.get_mut(..len))
            .ok_or(EncodeError::BufferTooSmall {
                needed: len,
                available,
            })?;
        self.len = self.len.saturating_add(len);
        Ok(room)
    }

    /// Writes `bytes` as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.reserve(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Writes one byte.
    pub fn u8(&mut self, value: u8) -> Result<(), EncodeError> {
        self.bytes(&[value])
    }

    /// Writes a 16-bit number.
    pub fn u16(&mut self, value: u16) -> Result<(), EncodeError> {
        self.bytes(&value.to_be_bytes())
    }

    /// Writes the low 24 bits of a number.
    ///
    /// # Errors
    ///
    /// Also [`EncodeError::TooLong`] if the number needs more than 24 bits.
    pub fn u24(&mut self, value: u32) -> Result<(), EncodeError> {
        let [0, bytes @ ..] = value.to_be_bytes() else {
            return Err(EncodeError::TooLong {
                len: usize::try_from(value).unwrap_or(usize::MAX),
                max: 0xff_ffff,
            });
        };
        self.bytes(&bytes)
    }

    /// Writes a 32-bit number.
    pub fn u32(&mut self, value: u32) -> Result<(), EncodeError> {
        self.bytes(&value.to_be_bytes())
    }

    /// Writes the low 48 bits of a number.
    ///
    /// # Errors
    ///
    /// Also [`EncodeError::TooLong`] if the number needs more than 48 bits.
    pub fn u48(&mut self, value: u64) -> Result<(), EncodeError> {
        let [0, 0, bytes @ ..] = value.to_be_bytes() else {
            return Err(EncodeError::TooLong {
                len: usize::try_from(value).unwrap_or(usize::MAX),
                max: usize::try_from(0xffff_ffff_ffff_u64).unwrap_or(usize::MAX),
            });
        };
        self.bytes(&bytes)
    }

    /// Writes a 64-bit number.
    pub fn u64(&mut self, value: u64) -> Result<(), EncodeError> {
        self.bytes(&value.to_be_bytes())
    }

    /// Writes `bytes` with their length in 8 bits before them.
    ///
    /// # Errors
    ///
    /// Also [`EncodeError::TooLong`] if there are more than 255.
    pub fn vector8(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let len = u8::try_from(bytes.len()).map_err(|_| EncodeError::TooLong {
            len: bytes.len(),
            max: 0xff,
        })?;
        self.whole(|writer| {
            writer.u8(len)?;
            writer.bytes(bytes)
        })
    }

    /// Writes `bytes` with their length in 16 bits before them.
    ///
    /// # Errors
    ///
    /// Also [`EncodeError::TooLong`] if there are more than 65,535.
    pub fn vector16(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let len = u16::try_from(bytes.len()).map_err(|_| EncodeError::TooLong {
            len: bytes.len(),
            max: 0xffff,
        })?;
        self.whole(|writer| {
            writer.u16(len)?;
            writer.bytes(bytes)
        })
    }

    /// Writes `bytes` with their length in 24 bits before them.
    ///
    /// # Errors
    ///
    /// Also [`EncodeError::TooLong`] if there are more than 2^24 - 1.
    pub fn vector24(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let too_long = EncodeError::TooLong {
            len: bytes.len(),
            max: 0xff_ffff,
        };
        let len = u32::try_from(bytes.len()).map_err(|_| too_long)?;
        self.whole(|writer| {
            writer.u24(len).map_err(|error| match error {
                EncodeError::TooLong { .. } => too_long,
                full => full,
            })?;
            writer.bytes(bytes)
        })
    }

    /// Writes a 16-bit length and after it what `body` writes.
    ///
    /// # Errors
    ///
    /// Those of `body`, and [`EncodeError::TooLong`] if it writes more than 65,535 bytes.
    pub fn nested16(
        &mut self,
        body: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.whole(|writer| {
            let start = writer.len;
            writer.u16(0)?;
            body(writer)?;
            let len = writer.len.saturating_sub(start).saturating_sub(2);
            let prefix =
                u16::try_from(len).map_err(|_| EncodeError::TooLong { len, max: 0xffff })?;
            if let Some(place) = writer
                .out
                .get_mut(start..)
                .and_then(|rest| rest.first_chunk_mut::<2>())
            {
                *place = prefix.to_be_bytes();
            }
            Ok(())
        })
    }

    fn whole(
        &mut self,
        body: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let start = self.len;
        body(self).inspect_err(|_| self.len = start)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn every_number_reads_back_as_written() {
        let mut out = [0; 64];
        let mut writer = Writer::new(&mut out);
        writer.u8(0x12).unwrap();
        writer.u16(0x1234).unwrap();
        writer.u24(0x12_3456).unwrap();
        writer.u32(0x1234_5678).unwrap();
        writer.u48(0x1234_5678_9abc).unwrap();
        writer.u64(0x1234_5678_9abc_def0).unwrap();
        writer.vector8(b"ab").unwrap();
        writer.vector16(b"cde").unwrap();
        writer.vector24(b"fg").unwrap();
        let len = writer.len();
        assert_eq!(len, 1 + 2 + 3 + 4 + 6 + 8 + 3 + 5 + 5);

        let mut reader = Reader::new(&out[..len]);
        assert_eq!(reader.u8(), Ok(0x12));
        assert_eq!(reader.u16(), Ok(0x1234));
        assert_eq!(reader.u24(), Ok(0x12_3456));
        assert_eq!(reader.u32(), Ok(0x1234_5678));
        assert_eq!(reader.u48(), Ok(0x1234_5678_9abc));
        assert_eq!(reader.u64(), Ok(0x1234_5678_9abc_def0));
        assert_eq!(reader.vector8(), Ok(b"ab".as_slice()));
        assert_eq!(reader.vector16(), Ok(b"cde".as_slice()));
        assert_eq!(reader.vector24(), Ok(b"fg".as_slice()));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn failed_read_takes_nothing() {
        let mut reader = Reader::new(&[0, 5, 1]);
        let end = DecodeError::UnexpectedEnd {
            needed: 5,
            available: 1,
        };
        assert_eq!(reader.vector16(), Err(end));
        assert_eq!(reader.rest(), &[0, 5, 1]);
        assert!(reader.u32().is_err());
        assert_eq!(reader.take(3), Ok([0, 5, 1].as_slice()));
    }

    #[test]
    fn left_over_bytes_are_counted() {
        let reader = Reader::new(&[1, 2]);
        assert_eq!(
            reader.finish(),
            Err(DecodeError::TrailingBytes { count: 2 })
        );
    }

    #[test]
    fn failed_write_leaves_the_length() {
        let mut out = [0; 4];
        let mut writer = Writer::new(&mut out);
        writer.u8(1).unwrap();
        assert_eq!(
            writer.vector16(b"ab"),
            Err(EncodeError::BufferTooSmall {
                needed: 2,
                available: 1
            })
        );
        assert!(writer.nested16(|inner| inner.bytes(b"ab")).is_err());
        assert_eq!(writer.written(), &[1]);
        writer.vector16(b"z").unwrap();
        assert_eq!(writer.into_written(), &[1, 0, 1, b'z']);
    }

    #[test]
    fn numbers_too_wide_for_their_field_are_refused() {
        let mut out = [0; 16];
        let mut writer = Writer::new(&mut out);
        assert!(writer.u24(0x0100_0000).is_err());
        assert!(writer.u48(1 << 48).is_err());
        let long: Vec<u8> = std::vec![0; 256];
        assert!(matches!(
            writer.vector8(&long),
            Err(EncodeError::TooLong { len: 256, max: 255 })
        ));
        assert!(writer.is_empty());
    }

    #[test]
    fn nested_length_is_filled_in_behind() {
        let mut out = [0xff; 8];
        let mut writer = Writer::new(&mut out);
        writer
            .nested16(|inner| {
                inner.u8(9)?;
                inner.nested16(|_| Ok(()))
            })
            .unwrap();
        assert_eq!(writer.written(), &[0, 3, 9, 0, 0]);
    }
}
