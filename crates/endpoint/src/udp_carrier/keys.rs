//! Identities and keys of UDP carriers.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use hedgerow_core::{PeerId, Psk, PskCredentials, PskEntry, PskRequest, PskStore};

use super::UdpCarrierId;

/// The keys that a gateway has offered. A handshake takes the table as it stands when it begins.
#[derive(Clone, Default)]
pub(super) struct OfferedKeys(Arc<BTreeMap<Vec<u8>, OfferedKey>>);

#[derive(Clone)]
struct OfferedKey {
    id: UdpCarrierId,
    psk: Arc<Psk>,
}

impl OfferedKeys {
    pub(super) fn insert(&mut self, identity: &[u8], id: UdpCarrierId, psk: Psk) {
        let psk = Arc::new(psk);
        Arc::make_mut(&mut self.0).insert(identity.to_vec(), OfferedKey { id, psk });
    }

    pub(super) fn remove(&mut self, id: UdpCarrierId) {
        Arc::make_mut(&mut self.0).retain(|_, entry| entry.id != id);
    }

    pub(super) fn has(&self, id: UdpCarrierId) -> bool {
        self.0.values().any(|entry| entry.id == id)
    }
}

impl PskStore for OfferedKeys {
    fn lookup(&self, request: &PskRequest<'_>) -> Option<PskEntry<'_>> {
        let OfferedKey { id, psk } = self.0.get(request.psk_identity)?;
        let peer = PeerId(id.0);
        Some(PskEntry { psk, peer })
    }

    fn usual_psk_len(&self) -> usize {
        USUAL_KEY_LEN
    }
}

/// The key that a client was offered.
pub(super) struct OwnKey {
    pub(super) identity: Vec<u8>,
    pub(super) psk: Psk,
}

impl PskCredentials for OwnKey {
    fn psk_identity(&self) -> &[u8] {
        &self.identity
    }

    fn psk(&self) -> &Psk {
        &self.psk
    }

    /// There is one server under this key.
    fn peer(&self) -> PeerId {
        PeerId(0)
    }
}

/// What every offered key has, in bytes.
const USUAL_KEY_LEN: usize = 32;
