//! Where a leg keeps its streams and their bytes: in arrays of fixed capacity, or on the heap.

/// The containers of one form, implemented by [`Fixed`](crate::Fixed) and, with the feature `alloc`, by
/// `Heap` alone.
pub trait Storage: sealed::Sealed {
    /// The table of streams.
    type Table<T>: Table<T>;
    /// The bytes of one direction of a stream.
    type Buffer: Buffer;
}

pub(crate) mod sealed {
    /// Keeps the containers' traits free to change.
    pub trait Sealed {}
}

/// A short table.
pub trait Table<T>: Default {
    /// The most entries that the form can hold.
    const CAPACITY: usize;

    /// Lends the entries.
    fn as_slice(&self) -> &[T];

    /// Lends the entries for writing.
    fn as_mut_slice(&mut self) -> &mut [T];

    /// Appends an entry; it says whether there was room.
    fn push(&mut self, entry: T) -> bool;

    /// Keeps the entries that `keep` chooses.
    fn retain(&mut self, keep: impl FnMut(&T) -> bool);
}

/// Room for the bytes of one direction.
pub trait Buffer: Default {
    /// The most bytes that the form can hold.
    const CAPACITY: usize;

    /// Lends the room, which is empty where none was asked for.
    fn as_slice(&self) -> &[u8];

    /// Lends `len` bytes of room; fewer where the form has less.
    fn room(&mut self, len: usize) -> &mut [u8];

    /// Gives the room back.
    fn release(&mut self);
}

/// Keeps everything in arrays whose sizes are part of the type: `STREAMS` streams, each with `BYTES`
/// bytes to be sent and `BYTES` bytes received, at least 512.
#[derive(Debug)]
pub struct Fixed<const STREAMS: usize, const BYTES: usize>(());

impl<const N: usize, const B: usize> sealed::Sealed for Fixed<N, B> {}

impl<const N: usize, const B: usize> Storage for Fixed<N, B> {
    type Table<T> = heapless::Vec<T, N>;
    type Buffer = FixedBuffer<B>;
}

impl<T, const N: usize> Table<T> for heapless::Vec<T, N> {
    const CAPACITY: usize = N;

    fn as_slice(&self) -> &[T] {
        self
    }

    fn as_mut_slice(&mut self) -> &mut [T] {
        self
    }

    fn push(&mut self, entry: T) -> bool {
        self.push(entry).is_ok()
    }

    fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.retain(keep);
    }
}

/// An array of bytes.
#[derive(Debug)]
pub struct FixedBuffer<const B: usize>([u8; B]);

impl<const B: usize> Default for FixedBuffer<B> {
    fn default() -> Self {
        Self([0; B])
    }
}

impl<const B: usize> Buffer for FixedBuffer<B> {
    const CAPACITY: usize = B;

    fn as_slice(&self) -> &[u8] {
        &self.0
    }

    fn room(&mut self, len: usize) -> &mut [u8] {
        let len = len.min(B);
        self.0.get_mut(..len).unwrap_or_default()
    }

    fn release(&mut self) {}
}

#[cfg(feature = "alloc")]
pub(crate) mod heap {
    use alloc::vec::Vec;

    use super::{Buffer, Storage, Table, sealed};

    /// Keeps streams and bytes on the heap. A stream without bytes has no buffer there.
    #[derive(Debug)]
    pub struct Heap(());

    impl sealed::Sealed for Heap {}

    impl Storage for Heap {
        type Table<T> = Vec<T>;
        type Buffer = Vec<u8>;
    }

    impl<T> Table<T> for Vec<T> {
        const CAPACITY: usize = usize::MAX;

        fn as_slice(&self) -> &[T] {
            self
        }

        fn as_mut_slice(&mut self) -> &mut [T] {
            self
        }

        fn push(&mut self, entry: T) -> bool {
            self.push(entry);
            true
        }

        fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
            self.retain(keep);
            if self.is_empty() {
                *self = Self::new();
            }
        }
    }

    impl Buffer for Vec<u8> {
        const CAPACITY: usize = usize::MAX;

        fn as_slice(&self) -> &[u8] {
            self
        }

        fn room(&mut self, len: usize) -> &mut [u8] {
            if self.len() < len {
                self.resize(len, 0);
            }
            self.get_mut(..len).unwrap_or_default()
        }

        fn release(&mut self) {
            *self = Self::new();
        }
    }
}
