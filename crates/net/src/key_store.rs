//! The keys of a server on a host.

use core::fmt;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use hedgerow_core::{Misuse, PeerId, Psk, PskEntry, PskRequest, PskStore};

use crate::credentials::check_identity;

/// The keys of clients by their identities, to be changed while a node runs.
///
/// All clones are one store: what is changed in one is changed in all. For
/// [`lookup`](PskStore::lookup), which lends a key, each clone holds on to the keys as they were
/// when it was made. A node clones its store for each handshake, so a change counts from the next
/// handshake on, and sessions keep the keys they have.
pub struct KeyStore {
    current: Arc<RwLock<Arc<Entries>>>,
    seen: Arc<Entries>,
}

impl KeyStore {
    /// Makes an empty store, which lets nobody in.
    pub fn new() -> Self {
        let seen = Arc::new(Entries::new());
        Self {
            current: Arc::new(RwLock::new(Arc::clone(&seen))),
            seen,
        }
    }

    /// Adds a key, or replaces the one that the identity had. `peer` is the application's own number
    /// for the client that holds it: [`Requester::Client`](crate::Requester::Client) names it.
    ///
    /// # Errors
    ///
    /// [`Misuse::PskIdentityLength`] if the identity is longer than 128 bytes.
    pub fn insert(
        &self,
        psk_identity: impl Into<Vec<u8>>,
        psk: Psk,
        peer: PeerId,
    ) -> Result<(), Misuse> {
        let psk_identity = psk_identity.into();
        check_identity(&psk_identity)?;
        self.change(|entries| {
            entries.insert(psk_identity, Arc::new(Entry { psk, peer }));
        });
        Ok(())
    }

    /// Takes an identity out; it says whether there was one.
    pub fn remove(&self, psk_identity: &[u8]) -> bool {
        self.change(|entries| entries.remove(psk_identity).is_some())
    }

    /// Replaces all keys at once.
    ///
    /// # Errors
    ///
    /// [`Misuse::PskIdentityLength`] if an identity is longer than 128 bytes; the store stays as it
    /// was.
    pub fn replace(
        &self,
        entries: impl IntoIterator<Item = (Vec<u8>, Psk, PeerId)>,
    ) -> Result<(), Misuse> {
        let mut replacement = Entries::new();
        for (psk_identity, psk, peer) in entries {
            check_identity(&psk_identity)?;
            replacement.insert(psk_identity, Arc::new(Entry { psk, peer }));
        }
        self.change(|entries| *entries = replacement);
        Ok(())
    }

    fn change<R>(&self, change: impl FnOnce(&mut Entries) -> R) -> R {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut current))
    }
}

impl Default for KeyStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for KeyStore {
    fn clone(&self) -> Self {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Self {
            current: Arc::clone(&self.current),
            seen: Arc::clone(&current),
        }
    }
}

impl PskStore for KeyStore {
    fn lookup(&self, request: &PskRequest<'_>) -> Option<PskEntry<'_>> {
        let entry = self.seen.get(request.psk_identity)?;
        Some(PskEntry {
            psk: &entry.psk,
            peer: entry.peer,
        })
    }

    /// The longest key's length: in most stores all keys are as long as each other.
    fn usual_psk_len(&self) -> usize {
        let lens = self.seen.values().map(|entry| entry.psk.expose().len());
        lens.max().unwrap_or(16)
    }
}

/// The number of keys, and no more.
impl fmt::Debug for KeyStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("KeyStore")
            .field("len", &self.clone().seen.len())
            .finish_non_exhaustive()
    }
}

// A hash table with a secret key: where an unknown identity is compared with none, nothing of the
// known ones shows in the time it takes.
type Entries = HashMap<Vec<u8>, Arc<Entry>>;

struct Entry {
    psk: Psk,
    peer: PeerId,
}

#[cfg(test)]
mod tests {
    use hedgerow_core::AeadAlgorithm;

    use super::*;

    fn peer_of(store: &KeyStore, psk_identity: &[u8]) -> Option<PeerId> {
        let request = PskRequest::new(psk_identity, AeadAlgorithm::Aes128Ccm8);
        store.lookup(&request).map(|entry| entry.peer)
    }

    #[test]
    fn change_counts_from_the_next_clone_on() {
        let store = KeyStore::new();
        let handshake = store.clone();
        let psk = Psk::new(b"key").unwrap();
        handshake.insert("lamp", psk, PeerId(1)).unwrap();
        assert_eq!(peer_of(&handshake, b"lamp"), None);
        let next = store.clone();
        assert_eq!(peer_of(&next, b"lamp"), Some(PeerId(1)));
        assert!(store.remove(b"lamp"));
        assert!(!store.remove(b"lamp"));
        assert_eq!(peer_of(&next, b"lamp"), Some(PeerId(1)));
        assert_eq!(peer_of(&next.clone(), b"lamp"), None);
    }

    #[test]
    fn replacement_with_a_long_identity_changes_nothing() {
        let psk = || Psk::new(b"key").unwrap();
        let store = KeyStore::new();
        store.insert("lamp", psk(), PeerId(1)).unwrap();
        let replacement = [
            (b"meter".to_vec(), psk(), PeerId(2)),
            (vec![b'x'; 129], psk(), PeerId(3)),
        ];
        let refused = store.replace(replacement);
        assert_eq!(
            refused,
            Err(Misuse::PskIdentityLength { len: 129, max: 128 })
        );
        assert_eq!(peer_of(&store.clone(), b"lamp"), Some(PeerId(1)));
        assert_eq!(peer_of(&store.clone(), b"meter"), None);
        store
            .replace([(b"meter".to_vec(), psk(), PeerId(2))])
            .unwrap();
        assert_eq!(peer_of(&store.clone(), b"lamp"), None);
    }

    #[test]
    fn debug_shows_neither_keys_nor_identities() {
        let store = KeyStore::new();
        let psk = Psk::new(b"secret").unwrap();
        store.insert("name", psk, PeerId(1)).unwrap();
        assert_eq!(format!("{store:?}"), "KeyStore { len: 1, .. }");
    }
}
