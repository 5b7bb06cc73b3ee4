//! Where an exchange keeps what it remembers: on the heap, or in arrays of fixed capacity.

#[cfg(feature = "alloc")]
pub(crate) mod heap;

pub(crate) mod fixed;

/// The containers of one form, heap or fixed. It is implemented by `Heap` (with the feature `alloc`)
/// and [`Fixed`](crate::Fixed) alone.
///
/// The machine is written once, over these. Bounds from the configuration are the machine's
/// business; a container adds the bound that its form has by nature.
pub trait Storage: sealed::Sealed {
    /// A short table, searched from its front.
    type List<T>: List<T>;
    /// A queue as long as the deduplication table.
    type Queue<T>: Queue<T>;
    /// The deduplication table.
    type Map<V>: Map<V>;
    /// One message.
    type Message: MessageBuffer;
    /// Request and response bodies.
    type Bodies: Bodies;
}

pub(crate) mod sealed {
    /// Keeps the containers' traits free to change.
    pub trait Sealed {}
}

/// A short table in the order of insertion.
pub trait List<T>: Default {
    /// Lends the entries.
    fn as_slice(&self) -> &[T];

    /// Lends the entries for writing.
    fn as_mut_slice(&mut self) -> &mut [T];

    /// Appends an entry, or gives it back if the list is full.
    ///
    /// # Errors
    ///
    /// The entry itself, if there is no room for it.
    fn push(&mut self, entry: T) -> Result<(), T>;

    /// Takes an entry out; those behind it move up.
    fn remove(&mut self, index: usize) -> Option<T>;

    /// Says whether the form itself has no more room.
    fn is_full(&self) -> bool;
}

/// A queue.
pub trait Queue<T>: Default {
    /// Returns the oldest entry.
    fn front(&self) -> Option<&T>;

    /// Takes the oldest entry out.
    fn pop_front(&mut self) -> Option<T>;

    /// Appends an entry; it says whether there was room.
    fn push_back(&mut self, entry: T) -> bool;
}

/// A table from message IDs to values.
pub trait Map<V>: Default {
    /// Returns the value of `key`.
    fn get(&self, key: u16) -> Option<&V>;

    /// Returns the value of `key` for writing.
    fn get_mut(&mut self, key: u16) -> Option<&mut V>;

    /// Adds a value; it says whether there was room.
    fn insert(&mut self, key: u16, value: V) -> bool;

    /// Takes a value out.
    fn remove(&mut self, key: u16) -> Option<V>;

    /// Returns the number of values.
    fn len(&self) -> usize;

    /// Says whether the form itself has no more room.
    fn is_full(&self) -> bool;
}

/// The bytes of one message.
pub trait MessageBuffer: Default {
    /// The longest message that the form can hold, in bytes.
    const CAPACITY: usize;

    /// Lends the message.
    fn as_slice(&self) -> &[u8];

    /// Lends the message for writing.
    fn as_mut_slice(&mut self) -> &mut [u8];

    /// Lends room for `max_len` bytes to `fill` and keeps as many as it returns; none if it fails.
    ///
    /// # Errors
    ///
    /// Those of `fill`, which sees less room where the form has less.
    fn write<E>(
        &mut self,
        max_len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E>;

    /// Appends to a message that will have up to `max_len` bytes, and never takes room for more; it
    /// says whether there was room.
    fn append(&mut self, bytes: &[u8], max_len: usize) -> bool;

    /// Gives the message's room back.
    fn clear(&mut self);
}

/// The name of a body in its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyId(pub(crate) u16);

/// A pool of bodies. A body that is in use is never empty.
pub trait Bodies: Default {
    /// Sets up a body of `len` zero bytes if all bodies together stay within `max_total` bytes.
    fn allocate(&mut self, len: usize, max_total: usize) -> Option<BodyId>;

    /// Appends to a body under the same condition; it says whether there was room.
    fn append(&mut self, id: BodyId, bytes: &[u8], max_total: usize) -> bool;

    /// Cuts a body to its first `len` bytes.
    fn truncate(&mut self, id: BodyId, len: usize);

    /// Lends a body.
    fn bytes(&self, id: BodyId) -> &[u8];

    /// Lends a body for writing.
    fn bytes_mut(&mut self, id: BodyId) -> &mut [u8];

    /// Gives a body's room back.
    fn release(&mut self, id: BodyId);

    /// Returns the length of all bodies together, in bytes.
    fn total(&self) -> usize;
}
