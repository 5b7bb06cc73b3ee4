//! Catches a nonce that seals twice under one key.

use std::collections::HashMap;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hedgerow_core::{
    Aead, AeadAlgorithm, CryptoError, CryptoProvider, CryptoRng, KeyAgreement, KeyLog, NamedGroup,
    SHA256_LEN, SignatureScheme, Signatures,
};

/// Every pair of key and nonce that sealed in one world. Clones share it.
///
/// Each [`World`](crate::World) has one, and takes no node that seals without it. It keeps copies of
/// keys, which only keys of tests may be.
#[derive(Clone)]
pub struct Ledger {
    seed: u64,
    pages: Arc<Mutex<Pages>>,
}

impl Ledger {
    /// Opens an empty ledger for machines outside a world; `seed` is what a panic names, to repeat
    /// the run.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            pages: Arc::default(),
        }
    }

    /// Returns how many seals were entered. A test that trusts the ledger asserts that it isn't 0.
    pub fn seals(&self) -> usize {
        self.lock().seals.len()
    }

    /// Returns how many different keys were put into a cipher.
    pub fn keys(&self) -> usize {
        self.lock().keys.len()
    }

    fn enter_key(&self, algorithm: AeadAlgorithm, key: &[u8]) -> usize {
        let keys = &mut self.lock().keys;
        let next = keys.len();
        *keys
            .entry((Cipher::of(algorithm), key.into()))
            .or_insert(next)
    }

    /// Enters a seal, or returns where the same pair sealed before.
    fn enter_seal(&self, key: usize, nonce: &[u8], site: Site) -> Result<(), Site> {
        use std::collections::hash_map::Entry;

        match self.lock().seals.entry((key, Nonce::new(nonce))) {
            Entry::Occupied(first) => Err(*first.get()),
            Entry::Vacant(free) => {
                free.insert(site);
                Ok(())
            }
        }
    }

    /// A panic of the test that holds the lock leaves the pages whole.
    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("seed", &self.seed)
            .field("keys", &self.keys())
            .field("seals", &self.seals())
            .finish()
    }
}

/// A provider that enters every seal in a [`Ledger`] and panics at a pair of key and nonce that
/// sealed before, naming the seed and both places.
///
/// A key is its bytes: the same bytes in another cipher object, at another node or after a restart
/// are the same key. CCM with 8 and with 16 bytes of tag encrypt alike, so that they count as one
/// cipher.
#[derive(Clone, Debug)]
pub struct NonceLedger<P> {
    provider: P,
    ledger: Ledger,
    node: &'static str,
}

impl<P: CryptoProvider> NonceLedger<P> {
    /// Wraps the provider of the node that a panic is to call `node`. In a world,
    /// [`World::provider`](crate::World::provider) does.
    pub fn new(provider: P, ledger: &Ledger, node: &'static str) -> Self {
        Self {
            provider,
            ledger: ledger.clone(),
            node,
        }
    }
}

impl<P: CryptoProvider> CryptoProvider for NonceLedger<P> {
    type Aead = LedgerAead<P::Aead>;
    type Sha256 = P::Sha256;
    type HmacSha256 = P::HmacSha256;

    fn aead(&self, algorithm: AeadAlgorithm, key: &[u8]) -> Result<Self::Aead, CryptoError> {
        let aead = self.provider.aead(algorithm, key)?;
        Ok(LedgerAead {
            aead,
            key: self.ledger.enter_key(algorithm, key),
            ledger: self.ledger.clone(),
            node: self.node,
        })
    }

    fn key_log(&self) -> Option<&dyn KeyLog> {
        self.provider.key_log()
    }

    fn sha256(&self) -> Self::Sha256 {
        self.provider.sha256()
    }

    fn hmac_sha256(&self, key: &[u8]) -> Self::HmacSha256 {
        self.provider.hmac_sha256(key)
    }

    fn hkdf_extract(&self, salt: &[u8], input_key: &[u8], key: &mut [u8; SHA256_LEN]) {
        self.provider.hkdf_extract(salt, input_key, key);
    }

    fn hkdf_expand(
        &self,
        key: &[u8; SHA256_LEN],
        info: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.provider.hkdf_expand(key, info, output)
    }
}

impl<P: CryptoProvider> KeyAgreement for NonceLedger<P> {
    type AgreementKey = P::AgreementKey;

    fn offers_group(&self, group: NamedGroup) -> bool {
        self.provider.offers_group(group)
    }

    fn generate_agreement_key(
        &self,
        group: NamedGroup,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self::AgreementKey, CryptoError> {
        self.provider.generate_agreement_key(group, rng)
    }

    fn agreement_key(
        &self,
        group: NamedGroup,
        private_key: &[u8],
    ) -> Result<Self::AgreementKey, CryptoError> {
        self.provider.agreement_key(group, private_key)
    }
}

impl<P: CryptoProvider> Signatures for NonceLedger<P> {
    type SigningKey = P::SigningKey;

    fn generate_signing_key(
        &self,
        scheme: SignatureScheme,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self::SigningKey, CryptoError> {
        self.provider.generate_signing_key(scheme, rng)
    }

    fn signing_key(
        &self,
        scheme: SignatureScheme,
        private_key: &[u8],
    ) -> Result<Self::SigningKey, CryptoError> {
        self.provider.signing_key(scheme, private_key)
    }

    fn verify(
        &self,
        scheme: SignatureScheme,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.provider.verify(scheme, public_key, message, signature)
    }

    fn verify_digest(
        &self,
        scheme: SignatureScheme,
        public_key: &[u8],
        digest: &[u8; SHA256_LEN],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.provider
            .verify_digest(scheme, public_key, digest, signature)
    }
}

/// What a [`Node`](crate::Node) may seal with: a [`NonceLedger`], or [`SealsNothing`]. Nobody else can
/// implement it, so that no node of a world seals without the ledger.
pub trait Ledgered: private::Sealed {
    /// Whether there is anything to enter.
    const SEALS: bool;
}

impl<P> Ledgered for NonceLedger<P> {
    const SEALS: bool = true;
}

/// Says of a [`Node`](crate::Node) that it has no keys.
#[derive(Clone, Copy, Debug)]
pub enum SealsNothing {}

impl Ledgered for SealsNothing {
    const SEALS: bool = false;
}

mod private {
    pub trait Sealed {}
    impl<P> Sealed for super::NonceLedger<P> {}
    impl Sealed for super::SealsNothing {}
}

/// A cipher of a [`NonceLedger`].
#[derive(Debug)]
pub struct LedgerAead<A> {
    aead: A,
    key: usize,
    ledger: Ledger,
    node: &'static str,
}

impl<A: Aead> Aead for LedgerAead<A> {
    fn algorithm(&self) -> AeadAlgorithm {
        self.aead.algorithm()
    }

    /// Seals, and enters the seal.
    ///
    /// # Panics
    ///
    /// If the nonce sealed before under the same key.
    #[track_caller]
    fn seal_in_place(
        &self,
        nonce: &[u8],
        additional_data: &[u8],
        in_out: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), CryptoError> {
        let site = Site {
            node: self.node,
            location: Location::caller(),
        };
        // A refused seal uses no nonce: its caller may try again.
        self.aead
            .seal_in_place(nonce, additional_data, in_out, tag)?;
        if let Err(first) = self.ledger.enter_seal(self.key, nonce, site) {
            #[expect(
                clippy::panic,
                reason = "a nonce that sealed twice has to fail the test, whatever its caller does"
            )]
            {
                panic!(
                    "seed {}: nonce {nonce:02x?} of key {} sealed twice: first by {first}, \
                     again by {site}",
                    self.ledger.seed, self.key
                );
            }
        }
        Ok(())
    }

    fn open_in_place(
        &self,
        nonce: &[u8],
        additional_data: &[u8],
        in_out: &mut [u8],
        tag: &[u8],
    ) -> Result<(), CryptoError> {
        self.aead.open_in_place(nonce, additional_data, in_out, tag)
    }
}

#[derive(Default)]
struct Pages {
    keys: HashMap<(Cipher, Box<[u8]>), usize>,
    seals: HashMap<(usize, Nonce), Site>,
}

/// What a nonce must be unique for, together with the key's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Cipher {
    /// The tag's length is in CCM's first block but not in its key stream (RFC 3610 §2.3), so that
    /// CCM and CCM_8 share theirs.
    Aes128Ccm,
    Other(AeadAlgorithm),
}

impl Cipher {
    const fn of(algorithm: AeadAlgorithm) -> Self {
        match algorithm {
            AeadAlgorithm::Aes128Ccm | AeadAlgorithm::Aes128Ccm8 => Self::Aes128Ccm,
            other => Self::Other(other),
        }
    }
}

/// A nonce of up to 24 bytes in a fixed array: a seal is entered without an allocation.
#[derive(PartialEq, Eq, Hash)]
struct Nonce {
    len: usize,
    bytes: [u8; 24],
}

impl Nonce {
    fn new(nonce: &[u8]) -> Self {
        let mut bytes = [0; 24];
        for (to, from) in bytes.iter_mut().zip(nonce) {
            *to = *from;
        }
        Self {
            len: nonce.len(),
            bytes,
        }
    }
}

/// Where a seal was asked for.
#[derive(Clone, Copy)]
struct Site {
    node: &'static str,
    location: &'static Location<'static>,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.node, self.location)
    }
}
