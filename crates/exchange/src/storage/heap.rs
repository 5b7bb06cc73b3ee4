//! Containers on the heap: empty ones own no memory.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::storage::sealed::Sealed;
use crate::storage::{Bodies, BodyId, List, Map, MessageBuffer, Queue, Storage};

/// Keeps everything on the heap, and nothing there while idle. The bounds are those of the
/// [`Config`](crate::Config).
#[derive(Debug)]
pub struct Heap(());

impl Sealed for Heap {}

impl Storage for Heap {
    type List<T> = Vec<T>;
    type Queue<T> = VecDeque<T>;
    type Map<V> = BTreeMap<u16, V>;
    type Message = Vec<u8>;
    type Bodies = HeapBodies;
}

impl<T> List<T> for Vec<T> {
    fn as_slice(&self) -> &[T] {
        self
    }

    fn as_mut_slice(&mut self) -> &mut [T] {
        self
    }

    fn push(&mut self, entry: T) -> Result<(), T> {
        self.push(entry);
        Ok(())
    }

    fn remove(&mut self, index: usize) -> Option<T> {
        let entry = (index < self.len()).then(|| self.remove(index));
        if self.is_empty() {
            *self = Self::new();
        }
        entry
    }

    fn is_full(&self) -> bool {
        false
    }
}

impl<T> Queue<T> for VecDeque<T> {
    fn front(&self) -> Option<&T> {
        self.front()
    }

    fn pop_front(&mut self) -> Option<T> {
        let entry = self.pop_front();
        if self.is_empty() {
            *self = Self::new();
        }
        entry
    }

    fn push_back(&mut self, entry: T) -> bool {
        self.push_back(entry);
        true
    }
}

// A tree rather than a hash table: a peer chooses the keys, and no choice makes a tree slow.
impl<V> Map<V> for BTreeMap<u16, V> {
    fn get(&self, key: u16) -> Option<&V> {
        self.get(&key)
    }

    fn get_mut(&mut self, key: u16) -> Option<&mut V> {
        self.get_mut(&key)
    }

    fn insert(&mut self, key: u16, value: V) -> bool {
        self.insert(key, value);
        true
    }

    fn remove(&mut self, key: u16) -> Option<V> {
        let value = self.remove(&key);
        // A tree keeps its last node for what may come, with room for eleven answers.
        if self.is_empty() {
            *self = Self::new();
        }
        value
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn is_full(&self) -> bool {
        false
    }
}

impl MessageBuffer for Vec<u8> {
    const CAPACITY: usize = usize::MAX;

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
        self.resize(max_len, 0);
        let written = fill(self);
        self.truncate(*written.as_ref().unwrap_or(&0));
        self.shrink_to_fit();
        written.map(|_| ())
    }

    fn append(&mut self, bytes: &[u8], max_len: usize) -> bool {
        let needed = self.len().saturating_add(bytes.len());
        if needed > max_len {
            return false;
        }
        // What a peer announces costs nothing before it comes: room grows with what came.
        if needed > self.capacity() {
            let capacity = self.capacity().saturating_mul(2).clamp(needed, max_len);
            self.reserve_exact(capacity.saturating_sub(self.len()));
        }
        self.extend_from_slice(bytes);
        true
    }

    fn clear(&mut self) {
        *self = Self::new();
    }
}

/// A slab of byte vectors; an empty one is free.
#[derive(Debug, Default)]
pub struct HeapBodies {
    slots: Vec<Vec<u8>>,
    total: usize,
}

impl Bodies for HeapBodies {
    fn allocate(&mut self, len: usize, max_total: usize) -> Option<BodyId> {
        if len == 0 || self.total.checked_add(len)? > max_total {
            return None;
        }
        let free = self.slots.iter().position(Vec::is_empty);
        let index = free.unwrap_or(self.slots.len());
        let id = BodyId(u16::try_from(index).ok()?);
        let body = alloc::vec![0; len];
        match self.slots.get_mut(index) {
            Some(slot) => *slot = body,
            None => self.slots.push(body),
        }
        self.total += len;
        Some(id)
    }

    fn append(&mut self, id: BodyId, bytes: &[u8], max_total: usize) -> bool {
        let fits = self
            .total
            .checked_add(bytes.len())
            .is_some_and(|total| total <= max_total);
        match self.slots.get_mut(usize::from(id.0)) {
            Some(slot) if fits => {
                slot.extend_from_slice(bytes);
                self.total += bytes.len();
                true
            }
            _ => false,
        }
    }

    fn truncate(&mut self, id: BodyId, len: usize) {
        if let Some(slot) = self.slots.get_mut(usize::from(id.0)) {
            self.total -= slot.len().saturating_sub(len);
            slot.truncate(len);
        }
    }

    fn bytes(&self, id: BodyId) -> &[u8] {
        self.slots
            .get(usize::from(id.0))
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    fn bytes_mut(&mut self, id: BodyId) -> &mut [u8] {
        self.slots
            .get_mut(usize::from(id.0))
            .map(Vec::as_mut_slice)
            .unwrap_or_default()
    }

    fn release(&mut self, id: BodyId) {
        if let Some(slot) = self.slots.get_mut(usize::from(id.0)) {
            self.total -= slot.len();
            *slot = Vec::new();
        }
        if self.total == 0 {
            self.slots = Vec::new();
        }
    }

    fn total(&self) -> usize {
        self.total
    }
}
