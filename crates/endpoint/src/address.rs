//! Where peers are.

use crate::Source;

/// An address as the driver's socket has it, together with whatever belongs to the path: an answer
/// leaves for the value that its question came from.
pub trait Address: Copy + Ord + core::fmt::Debug {
    /// Lends the bytes that a cookie binds: equal for the same peer, different for others.
    fn with_bytes<R>(&self, lend: impl FnOnce(&[u8]) -> R) -> R;

    /// Returns the source that the address belongs to, of which each has a share; `None`, if nothing else
    /// is said, for addresses that have none.
    fn source(&self) -> Option<Source> {
        None
    }
}
