//! The keys of a server on a host.

use core::fmt;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use hedgerow_core::{KeyPurpose, Misuse, PeerId, Psk, PskEntry, PskRequest, PskStore};

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
    /// [`Misuse::PskIdentityLength`] if the identity is longer than 128 bytes, and
    /// [`KeyStoreError::TwoPurposes`] or [`KeyStoreError::TwoPeers`] if another entry has the same key and
    /// one of them is for end-to-end security. The store stays as it was then.
    pub fn insert(
        &self,
        psk_identity: impl Into<Vec<u8>>,
        psk: Psk,
        peer: PeerId,
    ) -> Result<(), KeyStoreError> {
        self.change(|entries| add(entries, psk_identity.into(), Entry { psk, peer }))
    }

    /// Takes an identity out; it says whether there was one.
    pub fn remove(&self, psk_identity: &[u8]) -> bool {
        self.change(|entries| entries.remove(psk_identity).is_some())
    }

    /// Replaces all keys at once.
    ///
    /// # Errors
    ///
    /// Those of [`Self::insert`]; the store stays as it was.
    pub fn replace(
        &self,
        entries: impl IntoIterator<Item = (Vec<u8>, Psk, PeerId)>,
    ) -> Result<(), KeyStoreError> {
        let mut replacement = Entries::new();
        for (psk_identity, psk, peer) in entries {
            add(&mut replacement, psk_identity, Entry { psk, peer })?;
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

    /// Asks the keys of now, not those of when this clone was made.
    fn has_key(&self, psk: &Psk) -> bool {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        // All of them are compared, wherever the first one stands.
        let same = current
            .values()
            .filter(|entry| entry.psk.has_same_bytes(psk));
        same.count() > 0
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

/// Why a key can't be in a store. None of these errors holds a part of a key; identities are escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyStoreError {
    /// The entry alone is wrong.
    #[error(transparent)]
    Misuse(#[from] Misuse),
    /// Two entries have one key, which is said to be for a hop at one and for end-to-end security at the
    /// other.
    #[error(
        "identities \"{one}\" and \"{other}\" have one key, for a hop and end to end: expected two keys"
    )]
    TwoPurposes {
        /// The identity that was to be added.
        one: String,
        /// The one that is there.
        other: String,
    },
    /// Two peers have one end-to-end key, which belongs to one pair.
    #[error(
        "identities \"{one}\" and \"{other}\" are two peers with one end-to-end key: expected one key for each"
    )]
    TwoPeers {
        /// The identity that was to be added.
        one: String,
        /// The one that is there.
        other: String,
    },
}

/// Adds an entry, or replaces the one of its identity, as far as it goes with the others.
fn add(entries: &mut Entries, psk_identity: Vec<u8>, entry: Entry) -> Result<(), KeyStoreError> {
    check_identity(&psk_identity)?;
    let is_end_to_end = |entry: &Entry| entry.psk.purpose() == KeyPurpose::EndToEnd;
    for (other_identity, other) in entries.iter() {
        let is_apart = *other_identity != psk_identity;
        let concerns = is_end_to_end(&entry) || is_end_to_end(other);
        if !(is_apart && concerns && entry.psk.has_same_bytes(&other.psk)) {
            continue;
        }
        let one = psk_identity.escape_ascii().to_string();
        let other_identity = other_identity.escape_ascii().to_string();
        if entry.psk.purpose() != other.psk.purpose() {
            return Err(KeyStoreError::TwoPurposes {
                one,
                other: other_identity,
            });
        }
        if entry.peer != other.peer {
            return Err(KeyStoreError::TwoPeers {
                one,
                other: other_identity,
            });
        }
    }
    entries.insert(psk_identity, Arc::new(entry));
    Ok(())
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
            Err(Misuse::PskIdentityLength { len: 129, max: 128 }.into())
        );
        assert_eq!(peer_of(&store.clone(), b"lamp"), Some(PeerId(1)));
        assert_eq!(peer_of(&store.clone(), b"meter"), None);
        store
            .replace([(b"meter".to_vec(), psk(), PeerId(2))])
            .unwrap();
        assert_eq!(peer_of(&store.clone(), b"lamp"), None);
    }

    #[test]
    fn end_to_end_key_is_no_other_entry_s() {
        let hop = || Psk::new(b"sixteen byte key").unwrap();
        let end_to_end = || hop().into_end_to_end().unwrap();
        let store = KeyStore::new();
        store.insert("gateway", hop(), PeerId(1)).unwrap();
        // Of a hop's keys nothing is said here: SharedKey is many with one of them.
        store.insert("neighbour", hop(), PeerId(2)).unwrap();
        let refused = store.insert("reader", end_to_end(), PeerId(3)).unwrap_err();
        assert!(matches!(refused, KeyStoreError::TwoPurposes { .. }));
        let text = refused.to_string();
        assert!(
            text.contains("\"reader\"") && !text.contains("sixteen"),
            "{text}"
        );
        assert_eq!(peer_of(&store.clone(), b"reader"), None);

        let store = KeyStore::new();
        store.insert("reader", end_to_end(), PeerId(3)).unwrap();
        assert_eq!(
            store.insert("writer", end_to_end(), PeerId(4)),
            Err(KeyStoreError::TwoPeers {
                one: "writer".to_owned(),
                other: "reader".to_owned()
            })
        );
        let refused = store.insert("gateway", hop(), PeerId(1)).unwrap_err();
        assert!(matches!(refused, KeyStoreError::TwoPurposes { .. }));
        // The same peer under another identity, and another key in the place of this one.
        store.insert("alias", end_to_end(), PeerId(3)).unwrap();
        assert!(store.remove(b"alias"));
        store.insert("reader", hop(), PeerId(3)).unwrap();
        let refused = store.replace([
            (b"gateway".to_vec(), hop(), PeerId(1)),
            (b"reader".to_vec(), end_to_end(), PeerId(3)),
        ]);
        assert!(matches!(refused, Err(KeyStoreError::TwoPurposes { .. })));
        assert_eq!(peer_of(&store.clone(), b"gateway"), None);
    }

    #[test]
    fn store_is_asked_for_a_key_as_it_is_now() {
        let store = KeyStore::new();
        let before = store.clone();
        let psk = || Psk::new(b"sixteen byte key").unwrap();
        assert!(!before.has_key(&psk()));
        store.insert("lamp", psk(), PeerId(1)).unwrap();
        store
            .insert("meter", Psk::new(b"another one").unwrap(), PeerId(2))
            .unwrap();
        assert!(before.has_key(&psk()));
        assert!(!before.has_key(&Psk::new(b"sixteen byte kez").unwrap()));
    }

    #[test]
    fn debug_shows_neither_keys_nor_identities() {
        let store = KeyStore::new();
        let psk = Psk::new(b"secret").unwrap();
        store.insert("name", psk, PeerId(1)).unwrap();
        assert_eq!(format!("{store:?}"), "KeyStore { len: 1, .. }");
    }
}
