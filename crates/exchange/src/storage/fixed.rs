//! Containers of fixed capacity, without an allocator.

use core::fmt;

use crate::storage::sealed::Sealed;
use crate::storage::{Bodies, BodyId, List, Map, MessageBuffer, Queue, Storage};

/// Keeps everything in arrays whose sizes are part of the type.
///
/// - `ENTRIES`: requests under way in each direction, answers waiting to be sent, bodies being
///   received, and representations kept for later blocks: each of these tables has as many.
/// - `SEEN`: message IDs remembered, which bounds the requests taken in within EXCHANGE_LIFETIME.
/// - `MESSAGE`: the longest response message, in bytes; one is kept per ID remembered. Over a reliable
///   transport it is the longest message at all.
/// - `BODIES`: bodies held at once. A request being sent takes one, a response being received
///   another, and so do an upload being received and a response that is handed out in blocks.
/// - `BODY`: the longest body, with its options and 14 bytes more.
pub struct Fixed<
    const ENTRIES: usize,
    const SEEN: usize,
    const MESSAGE: usize,
    const BODIES: usize,
    const BODY: usize,
>(());

impl<const E: usize, const S: usize, const M: usize, const N: usize, const B: usize> fmt::Debug
    for Fixed<E, S, M, N, B>
{
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Fixed")
    }
}

impl<const E: usize, const S: usize, const M: usize, const N: usize, const B: usize> Sealed
    for Fixed<E, S, M, N, B>
{
}

impl<const E: usize, const S: usize, const M: usize, const N: usize, const B: usize> Storage
    for Fixed<E, S, M, N, B>
{
    type List<T> = heapless::Vec<T, E>;
    type Queue<T> = heapless::Deque<T, S>;
    type Map<V> = heapless::LinearMap<u16, V, S>;
    type Message = heapless::Vec<u8, M>;
    type Bodies = FixedBodies<N, B>;
}

impl<T, const N: usize> List<T> for heapless::Vec<T, N> {
    fn as_slice(&self) -> &[T] {
        self
    }

    fn as_mut_slice(&mut self) -> &mut [T] {
        self
    }

    fn push(&mut self, entry: T) -> Result<(), T> {
        self.push(entry)
    }

    fn remove(&mut self, index: usize) -> Option<T> {
        (index < self.len()).then(|| self.remove(index))
    }

    fn is_full(&self) -> bool {
        self.is_full()
    }
}

impl<T, const N: usize> Queue<T> for heapless::Deque<T, N> {
    fn front(&self) -> Option<&T> {
        self.front()
    }

    fn pop_front(&mut self) -> Option<T> {
        self.pop_front()
    }

    fn push_back(&mut self, entry: T) -> bool {
        self.push_back(entry).is_ok()
    }
}

impl<V, const N: usize> Map<V> for heapless::LinearMap<u16, V, N> {
    fn get(&self, key: u16) -> Option<&V> {
        self.get(&key)
    }

    fn get_mut(&mut self, key: u16) -> Option<&mut V> {
        self.get_mut(&key)
    }

    fn insert(&mut self, key: u16, value: V) -> bool {
        self.insert(key, value).is_ok()
    }

    fn remove(&mut self, key: u16) -> Option<V> {
        self.remove(&key)
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn is_full(&self) -> bool {
        self.len() >= N
    }
}

impl<const N: usize> MessageBuffer for heapless::Vec<u8, N> {
    const CAPACITY: usize = N;

    fn as_slice(&self) -> &[u8] {
        self
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        self
    }

    fn write<E>(
        &mut self,
        max_len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        self.clear();
        // The length is at most the capacity, so this always fits.
        let _ = self.resize(max_len.min(N), 0);
        let written = fill(self);
        self.truncate(*written.as_ref().unwrap_or(&0));
        written.map(|_| ())
    }

    fn append(&mut self, bytes: &[u8], max_len: usize) -> bool {
        self.len().saturating_add(bytes.len()) <= max_len && self.extend_from_slice(bytes).is_ok()
    }

    fn clear(&mut self) {
        self.clear();
    }
}

/// `N` bodies of up to `B` bytes, which stay where they are; an empty one is free.
#[derive(Debug)]
pub struct FixedBodies<const N: usize, const B: usize>([heapless::Vec<u8, B>; N]);

impl<const N: usize, const B: usize> Default for FixedBodies<N, B> {
    fn default() -> Self {
        Self([const { heapless::Vec::new() }; N])
    }
}

impl<const N: usize, const B: usize> FixedBodies<N, B> {
    fn slot(&mut self, id: BodyId) -> Option<&mut heapless::Vec<u8, B>> {
        self.0.get_mut(usize::from(id.0))
    }
}

impl<const N: usize, const B: usize> Bodies for FixedBodies<N, B> {
    fn allocate(&mut self, len: usize, max_total: usize) -> Option<BodyId> {
        if len == 0 || self.total().checked_add(len)? > max_total {
            return None;
        }
        let index = self.0.iter().position(|slot| slot.is_empty())?;
        let id = BodyId(u16::try_from(index).ok()?);
        self.slot(id)?.resize(len, 0).ok()?;
        Some(id)
    }

    fn append(&mut self, id: BodyId, bytes: &[u8], max_total: usize) -> bool {
        self.total()
            .checked_add(bytes.len())
            .is_some_and(|total| total <= max_total)
            && self
                .slot(id)
                .is_some_and(|slot| slot.extend_from_slice(bytes).is_ok())
    }

    fn truncate(&mut self, id: BodyId, len: usize) {
        if let Some(slot) = self.slot(id) {
            slot.truncate(len);
        }
    }

    fn bytes(&self, id: BodyId) -> &[u8] {
        self.0
            .get(usize::from(id.0))
            .map(|slot| slot.as_slice())
            .unwrap_or_default()
    }

    fn bytes_mut(&mut self, id: BodyId) -> &mut [u8] {
        self.slot(id)
            .map(|slot| slot.as_mut_slice())
            .unwrap_or_default()
    }

    fn release(&mut self, id: BodyId) {
        if let Some(slot) = self.slot(id) {
            slot.clear();
        }
    }

    fn total(&self) -> usize {
        self.0.iter().map(|slot| slot.len()).sum()
    }
}
