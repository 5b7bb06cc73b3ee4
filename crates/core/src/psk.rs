//! Pre-shared keys, what they are for, and where they come from.

use core::fmt;

use crate::{AeadAlgorithm, Misuse, PeerId, Secret, ct_eq};

/// The longest pre-shared key, in bytes: what RFC 4279 §5.3 asks every implementation to support.
pub const MAX_PSK_LEN: usize = 64;

/// The longest PSK identity, in bytes: what RFC 4279 §5.3 asks every implementation to support.
pub const MAX_PSK_IDENTITY_LEN: usize = 128;

/// The shortest pre-shared key for end-to-end security, in bytes. Whoever is between the ends sees
/// every handshake and may try a dictionary on it (RFC 4279 §7.2); 128 random bits have none.
pub const MIN_END_TO_END_PSK_LEN: usize = 16;

/// A pre-shared key of 1 to [`MAX_PSK_LEN`] bytes: zeroed on drop, printed as `Psk(..)`.
pub struct Psk {
    bytes: Secret<MAX_PSK_LEN>,
    len: usize,
    holders: Holders,
}

/// Who has a key. No key is for end-to-end security and shared.
#[derive(Clone, Copy)]
enum Holders {
    Hop(KeyScope),
    Ends,
}

/// How many peers have a pre-shared key, which decides between the modes
/// [`MultiKey`](crate::SecurityMode::MultiKey) and [`SharedKey`](crate::SecurityMode::SharedKey).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum KeyScope {
    /// One peer has it, and this end.
    #[default]
    OnePeer,
    /// Many have it, and each can play any other.
    Shared,
}

/// What a key is for, and so who has none of it: `docs/specs/end-to-end-keys.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum KeyPurpose {
    /// The security of one hop, such as between a gateway and a device.
    #[default]
    Hop,
    /// Security between two ends through a gateway, which has nothing of the key.
    EndToEnd,
}

impl KeyPurpose {
    /// Returns the purpose as people and logs have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hop => "hop",
            Self::EndToEnd => "end-to-end",
        }
    }
}

impl fmt::Display for KeyPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Psk {
    /// Copies a key of 1 to [`MAX_PSK_LEN`] bytes, which one peer has.
    ///
    /// # Errors
    ///
    /// [`Misuse::PskLength`] if `key` is empty or longer.
    pub fn new(key: &[u8]) -> Result<Self, Misuse> {
        let mut bytes = Secret::<MAX_PSK_LEN>::zeroed();
        match bytes.expose_mut().get_mut(..key.len()) {
            Some(head) if !key.is_empty() => head.copy_from_slice(key),
            _ => {
                return Err(Misuse::PskLength {
                    len: key.len(),
                    max: MAX_PSK_LEN,
                });
            }
        }
        Ok(Self {
            bytes,
            len: key.len(),
            holders: Holders::Hop(KeyScope::OnePeer),
        })
    }

    /// Says how many have the key. To say [`KeyScope::Shared`] of one for end-to-end security takes
    /// that back: it is a hop's key then.
    #[must_use]
    pub const fn with_scope(mut self, scope: KeyScope) -> Self {
        self.holders = match (self.holders, scope) {
            (Holders::Ends, KeyScope::OnePeer) => Holders::Ends,
            (_, scope) => Holders::Hop(scope),
        };
        self
    }

    /// Says that the key is for end-to-end security: two ends have it, and nobody between them. It has
    /// to be as good as 128 random bits; that its length allows for them is all that is checked.
    ///
    /// # Errors
    ///
    /// [`Misuse::SharedEndToEndKey`] if many have the key, and [`Misuse::EndToEndKeyLength`] if it is
    /// shorter than [`MIN_END_TO_END_PSK_LEN`].
    pub fn into_end_to_end(mut self) -> Result<Self, Misuse> {
        if self.scope() == KeyScope::Shared {
            return Err(Misuse::SharedEndToEndKey);
        }
        if self.len < MIN_END_TO_END_PSK_LEN {
            return Err(Misuse::EndToEndKeyLength {
                len: self.len,
                min: MIN_END_TO_END_PSK_LEN,
            });
        }
        self.holders = Holders::Ends;
        Ok(self)
    }

    /// Returns how many have the key.
    pub const fn scope(&self) -> KeyScope {
        match self.holders {
            Holders::Hop(scope) => scope,
            Holders::Ends => KeyScope::OnePeer,
        }
    }

    /// Returns what the key is for.
    pub const fn purpose(&self) -> KeyPurpose {
        match self.holders {
            Holders::Hop(_) => KeyPurpose::Hop,
            Holders::Ends => KeyPurpose::EndToEnd,
        }
    }

    /// Says whether another key has the same bytes, without a hint of where they differ.
    pub fn has_same_bytes(&self, other: &Self) -> bool {
        ct_eq(self.expose(), other.expose())
    }

    /// Lends the key's bytes.
    pub fn expose(&self) -> &[u8] {
        self.bytes.expose().get(..self.len).unwrap_or_default()
    }
}

impl fmt::Debug for Psk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Psk(..)")
    }
}

/// What a client shows a server.
pub trait PskCredentials {
    /// Returns the identity that the client names, up to [`MAX_PSK_IDENTITY_LEN`] bytes.
    fn psk_identity(&self) -> &[u8];

    /// Returns the key that goes with it.
    fn psk(&self) -> &Psk;

    /// Returns the application's own number for the server.
    fn peer(&self) -> PeerId;
}

impl<C: PskCredentials + ?Sized> PskCredentials for &C {
    fn psk_identity(&self) -> &[u8] {
        (**self).psk_identity()
    }

    fn psk(&self) -> &Psk {
        (**self).psk()
    }

    fn peer(&self) -> PeerId {
        (**self).peer()
    }
}

/// Credentials that stand elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// The identity that the client names.
    pub psk_identity: &'a [u8],
    /// The key that goes with it.
    pub psk: &'a Psk,
    /// The application's own number for the server.
    pub peer: PeerId,
}

impl Credentials<'_> {
    /// Says whether others are the same; of the key, without a hint of where it differs.
    pub(crate) fn is_same(&self, other: &Credentials<'_>) -> bool {
        self.psk_identity == other.psk_identity
            && self.peer == other.peer
            && self.psk.scope() == other.psk.scope()
            && self.psk.purpose() == other.psk.purpose()
            && self.psk.has_same_bytes(other.psk)
    }
}

impl PskCredentials for Credentials<'_> {
    fn psk_identity(&self) -> &[u8] {
        self.psk_identity
    }

    fn psk(&self) -> &Psk {
        self.psk
    }

    fn peer(&self) -> PeerId {
        self.peer
    }
}

/// What a server asks of its store once a client has named itself.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PskRequest<'a> {
    /// The identity as the client sent it: any bytes, also none (RFC 4279 §5.1).
    pub psk_identity: &'a [u8],
    /// The record protection that both sides agreed on.
    pub algorithm: AeadAlgorithm,
}

impl<'a> PskRequest<'a> {
    /// Asks for the key of `psk_identity` under `algorithm`.
    pub const fn new(psk_identity: &'a [u8], algorithm: AeadAlgorithm) -> Self {
        Self {
            psk_identity,
            algorithm,
        }
    }
}

/// A key and the name under which the application knows its owner.
#[derive(Clone, Copy, Debug)]
pub struct PskEntry<'a> {
    /// The key; its scope says whether this peer alone has it.
    pub psk: &'a Psk,
    /// The application's own number for the peer.
    pub peer: PeerId,
}

/// Where a server finds the key of an identity.
///
/// `None` stands for an unknown identity and for one that policy forbids alike: the handshake goes
/// on with a dummy key, so that the peer can't tell these from a wrong key.
pub trait PskStore {
    /// Returns the entry that `request` may use.
    fn lookup(&self, request: &PskRequest<'_>) -> Option<PskEntry<'_>>;

    /// Returns the length that the store's keys have, in bytes: the dummy for unknown identities
    /// gets it. It matters for keys longer than 28 bytes, which cost the key schedule more work
    /// (`docs/THREATS.md`). 16 if nothing else is said.
    fn usual_psk_len(&self) -> usize {
        16
    }

    /// Says whether a key of the store has the same bytes as `psk`, whatever its identity. An end
    /// that calls with an end-to-end key asks its own store so: a gateway could reflect the call
    /// to it. A store that can't tell, as if nothing else is said, leaves that to the application.
    fn has_key(&self, psk: &Psk) -> bool {
        let _ = psk;
        false
    }
}

impl<S: PskStore + ?Sized> PskStore for &S {
    fn lookup(&self, request: &PskRequest<'_>) -> Option<PskEntry<'_>> {
        (**self).lookup(request)
    }

    fn has_key(&self, psk: &Psk) -> bool {
        (**self).has_key(psk)
    }

    fn usual_psk_len(&self) -> usize {
        (**self).usual_psk_len()
    }
}

/// One key for one identity, enough for a device.
impl PskStore for (&[u8], Psk, PeerId) {
    fn lookup(&self, request: &PskRequest<'_>) -> Option<PskEntry<'_>> {
        (self.0 == request.psk_identity).then_some(PskEntry {
            psk: &self.1,
            peer: self.2,
        })
    }

    fn usual_psk_len(&self) -> usize {
        self.1.expose().len()
    }

    fn has_key(&self, psk: &Psk) -> bool {
        self.1.has_same_bytes(psk)
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    #[test]
    fn key_length_is_1_to_64_bytes() {
        assert_eq!(Psk::new(&[7; 64]).unwrap().expose(), &[7; 64]);
        assert_eq!(Psk::new(&[7]).unwrap().expose(), &[7]);
        for len in [0, 65] {
            assert_eq!(
                Psk::new(&[7; 65][..len]).unwrap_err(),
                Misuse::PskLength { len, max: 64 }
            );
        }
    }

    #[test]
    fn end_to_end_key_is_long_enough_and_not_shared() {
        let of = |len: usize| Psk::new(&[7; 64][..len]).unwrap();
        for len in [16, 64] {
            let psk = of(len).into_end_to_end().unwrap();
            assert_eq!(psk.purpose(), KeyPurpose::EndToEnd);
            assert_eq!(psk.scope(), KeyScope::OnePeer);
        }
        for len in [1, 15] {
            let refused = of(len).into_end_to_end().map(|_| ());
            assert_eq!(refused, Err(Misuse::EndToEndKeyLength { len, min: 16 }));
        }
        let shared = of(16).with_scope(KeyScope::Shared);
        let refused = shared.into_end_to_end().map(|_| ());
        assert_eq!(refused, Err(Misuse::SharedEndToEndKey));
    }

    #[test]
    fn key_that_is_said_to_be_shared_is_no_end_to_end_key_any_more() {
        let end_to_end = || Psk::new(&[7; 16]).unwrap().into_end_to_end().unwrap();
        let shared = end_to_end().with_scope(KeyScope::Shared);
        assert_eq!(
            (shared.purpose(), shared.scope()),
            (KeyPurpose::Hop, KeyScope::Shared)
        );
        let still = end_to_end().with_scope(KeyScope::OnePeer);
        assert_eq!(still.purpose(), KeyPurpose::EndToEnd);
    }

    #[test]
    fn keys_of_two_purposes_are_not_the_same_credentials() {
        let (hop, end_to_end) = (
            Psk::new(&[7; 16]).unwrap(),
            Psk::new(&[7; 16]).unwrap().into_end_to_end().unwrap(),
        );
        let with = |psk| Credentials {
            psk_identity: b"id",
            psk,
            peer: PeerId(1),
        };
        assert!(with(&hop).is_same(&with(&hop)));
        assert!(!with(&hop).is_same(&with(&end_to_end)));
        assert!(hop.has_same_bytes(&end_to_end));
    }

    #[test]
    fn key_prints_no_byte_of_itself() {
        assert_eq!(format!("{:?}", Psk::new(b"secretPSK").unwrap()), "Psk(..)");
    }

    #[test]
    fn one_entry_store_knows_its_identity_alone() {
        let store = (b"id".as_slice(), Psk::new(b"key").unwrap(), PeerId(5));
        let request = PskRequest::new(b"id", AeadAlgorithm::Aes128Ccm);
        assert_eq!(store.lookup(&request).unwrap().peer, PeerId(5));
        let request = PskRequest::new(b"other", AeadAlgorithm::Aes128Ccm);
        assert!(store.lookup(&request).is_none());
    }
}
