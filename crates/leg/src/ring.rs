//! Bytes by their offset in a stream, in a buffer that is used round and round.

use crate::storage::Buffer;

/// A buffer that holds the bytes of `capacity` offsets in a row.
#[derive(Debug)]
pub(crate) struct Ring<B> {
    buffer: B,
    capacity: u16,
}

impl<B: Buffer> Ring<B> {
    pub(crate) fn new(capacity: u16) -> Self {
        let most = u16::try_from(B::CAPACITY).unwrap_or(u16::MAX);
        Self {
            buffer: B::default(),
            capacity: capacity.min(most),
        }
    }

    /// Returns how many bytes fit.
    pub(crate) const fn capacity(&self) -> u16 {
        self.capacity
    }

    /// Puts `bytes` where `offset` and what follows it belong; at most `capacity` of them.
    pub(crate) fn put(&mut self, offset: u32, bytes: &[u8]) {
        let (at, first) = self.split(offset, bytes.len());
        let room = self.buffer.room(usize::from(self.capacity));
        let (head, tail) = bytes.split_at_checked(first).unwrap_or((bytes, &[]));
        copy(room.get_mut(at..), head);
        copy(room.get_mut(..), tail);
    }

    /// Fills `out` with the bytes from `offset` on, which must have been put there.
    pub(crate) fn get(&self, offset: u32, out: &mut [u8]) {
        let (at, first) = self.split(offset, out.len());
        let room = self.buffer.as_slice();
        if let Some((head, tail)) = out.split_at_mut_checked(first) {
            copy(Some(head), room.get(at..).unwrap_or_default());
            copy(Some(tail), room);
        }
    }

    /// Says whether the bytes from `offset` on are these.
    pub(crate) fn holds(&self, offset: u32, bytes: &[u8]) -> bool {
        let (at, first) = self.split(offset, bytes.len());
        let room = self.buffer.as_slice();
        let (head, tail) = bytes.split_at_checked(first).unwrap_or((bytes, &[]));
        room.get(at..).is_some_and(|room| room.starts_with(head)) && room.starts_with(tail)
    }

    /// Gives the room back; what was in it is gone.
    pub(crate) fn release(&mut self) {
        self.buffer.release();
    }

    /// Returns where `offset` lies, and how many of `len` bytes come before the buffer's end.
    fn split(&self, offset: u32, len: usize) -> (usize, usize) {
        let capacity = u32::from(self.capacity).max(1);
        let at = usize::try_from(offset % capacity).unwrap_or_default();
        let first = usize::from(self.capacity).saturating_sub(at).min(len);
        (at, first)
    }
}

/// Copies as much as both have.
fn copy(to: Option<&mut [u8]>, from: &[u8]) {
    for (to, from) in to.unwrap_or_default().iter_mut().zip(from) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::Ring;
    use crate::storage::FixedBuffer;

    #[test]
    fn bytes_come_out_by_their_offset_also_across_the_end() {
        let mut ring = Ring::<FixedBuffer<16>>::new(10);
        for offset in 0..40 {
            let bytes: [u8; 7] = core::array::from_fn(|n| u8::try_from(n).unwrap() + 100);
            ring.put(offset, &bytes);
            let mut out = [0; 7];
            ring.get(offset, &mut out);
            assert_eq!(out, bytes);
            assert!(ring.holds(offset, &bytes) && ring.holds(offset + 3, &bytes[3..]));
            assert!(!ring.holds(offset, &bytes[1..]));
        }
    }

    #[test]
    fn capacity_is_the_smaller_of_both() {
        assert_eq!(Ring::<FixedBuffer<16>>::new(1_000).capacity(), 16);
        assert_eq!(Ring::<FixedBuffer<16>>::new(8).capacity(), 8);
    }
}
