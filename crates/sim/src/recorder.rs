//! Lists what is asked of a provider.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hedgerow_core::{
    Aead, AeadAlgorithm, AgreementKey, CryptoError, CryptoProvider, CryptoRng, HmacSha256,
    KeyAgreement, KeyLog, NamedGroup, SHA256_LEN, SHARED_SECRET_LEN, Secret, Sha256,
    SignatureScheme, Signatures,
};

/// A call of a provider, or of something that it made: its kind and its lengths in bytes. Keys,
/// nonces and data aren't kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Call {
    /// [`CryptoProvider::aead`].
    Aead {
        /// The algorithm.
        algorithm: AeadAlgorithm,
        /// Length of the key.
        key_len: usize,
    },
    /// [`Aead::seal_in_place`].
    Seal {
        /// The algorithm.
        algorithm: AeadAlgorithm,
        /// Length of the additional data.
        additional_data_len: usize,
        /// Length of the plaintext.
        len: usize,
    },
    /// [`Aead::open_in_place`], whatever came of it.
    Open {
        /// The algorithm.
        algorithm: AeadAlgorithm,
        /// Length of the additional data.
        additional_data_len: usize,
        /// Length of the ciphertext without its tag.
        len: usize,
    },
    /// [`CryptoProvider::sha256`].
    Sha256,
    /// [`Sha256::update`].
    Sha256Update {
        /// Length taken in.
        len: usize,
    },
    /// [`Sha256::finish`].
    Sha256Finish,
    /// [`CryptoProvider::hmac_sha256`].
    HmacSha256 {
        /// Length of the key.
        key_len: usize,
    },
    /// [`HmacSha256::update`].
    HmacSha256Update {
        /// Length taken in.
        len: usize,
    },
    /// [`HmacSha256::finish`].
    HmacSha256Finish,
    /// [`CryptoProvider::hkdf_extract`].
    HkdfExtract {
        /// Length of the salt.
        salt_len: usize,
        /// Length of the input key.
        input_key_len: usize,
    },
    /// [`CryptoProvider::hkdf_expand`].
    HkdfExpand {
        /// Length of the info.
        info_len: usize,
        /// Length asked for.
        output_len: usize,
    },
    /// [`KeyAgreement::generate_agreement_key`].
    GenerateAgreementKey {
        /// The group.
        group: NamedGroup,
    },
    /// [`AgreementKey::agree`], whatever came of it.
    Agree {
        /// The group.
        group: NamedGroup,
    },
    /// [`Signatures::verify`] or [`Signatures::verify_digest`], whatever came of it.
    Verify {
        /// The scheme.
        scheme: SignatureScheme,
    },
}

/// A provider that lists the calls made of it, and of the ciphers and digests that it made, in
/// order. Clones share the list.
///
/// Tests compare the lists of several failures that nobody may be able to tell apart.
#[derive(Clone, Debug)]
pub struct Recorder<P> {
    provider: P,
    calls: Calls,
}

impl<P: CryptoProvider> Recorder<P> {
    /// Wraps a provider, with an empty list.
    pub fn new(provider: P) -> Self {
        Self {
            provider,
            calls: Calls::default(),
        }
    }

    /// Takes out the calls listed so far; the list is empty afterwards.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock())
    }
}

impl<P: CryptoProvider> CryptoProvider for Recorder<P> {
    type Aead = Recorded<P::Aead>;
    type Sha256 = Recorded<P::Sha256>;
    type HmacSha256 = Recorded<P::HmacSha256>;

    fn aead(&self, algorithm: AeadAlgorithm, key: &[u8]) -> Result<Self::Aead, CryptoError> {
        self.calls.push(Call::Aead {
            algorithm,
            key_len: key.len(),
        });
        let inner = self.provider.aead(algorithm, key)?;
        Ok(self.calls.record(inner))
    }

    fn key_log(&self) -> Option<&dyn KeyLog> {
        self.provider.key_log()
    }

    fn sha256(&self) -> Self::Sha256 {
        self.calls.push(Call::Sha256);
        self.calls.record(self.provider.sha256())
    }

    fn hmac_sha256(&self, key: &[u8]) -> Self::HmacSha256 {
        self.calls.push(Call::HmacSha256 { key_len: key.len() });
        self.calls.record(self.provider.hmac_sha256(key))
    }

    fn hkdf_extract(&self, salt: &[u8], input_key: &[u8], key: &mut [u8; SHA256_LEN]) {
        self.calls.push(Call::HkdfExtract {
            salt_len: salt.len(),
            input_key_len: input_key.len(),
        });
        self.provider.hkdf_extract(salt, input_key, key);
    }

    fn hkdf_expand(
        &self,
        key: &[u8; SHA256_LEN],
        info: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.calls.push(Call::HkdfExpand {
            info_len: info.len(),
            output_len: output.len(),
        });
        self.provider.hkdf_expand(key, info, output)
    }
}

impl<P: CryptoProvider> KeyAgreement for Recorder<P> {
    type AgreementKey = Recorded<P::AgreementKey>;

    fn offers_group(&self, group: NamedGroup) -> bool {
        self.provider.offers_group(group)
    }

    fn generate_agreement_key(
        &self,
        group: NamedGroup,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self::AgreementKey, CryptoError> {
        self.calls.push(Call::GenerateAgreementKey { group });
        let inner = self.provider.generate_agreement_key(group, rng)?;
        Ok(self.calls.record(inner))
    }

    fn agreement_key(
        &self,
        group: NamedGroup,
        private_key: &[u8],
    ) -> Result<Self::AgreementKey, CryptoError> {
        let inner = self.provider.agreement_key(group, private_key)?;
        Ok(self.calls.record(inner))
    }
}

impl<P: CryptoProvider> Signatures for Recorder<P> {
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
        self.calls.push(Call::Verify { scheme });
        self.provider.verify(scheme, public_key, message, signature)
    }

    fn verify_digest(
        &self,
        scheme: SignatureScheme,
        public_key: &[u8],
        digest: &[u8; SHA256_LEN],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.calls.push(Call::Verify { scheme });
        self.provider
            .verify_digest(scheme, public_key, digest, signature)
    }
}

impl<K: AgreementKey> AgreementKey for Recorded<K> {
    fn group(&self) -> NamedGroup {
        self.inner.group()
    }

    fn write_public_key(&self, out: &mut [u8]) -> Result<usize, CryptoError> {
        self.inner.write_public_key(out)
    }

    fn agree(&self, peer_public_key: &[u8]) -> Result<Secret<SHARED_SECRET_LEN>, CryptoError> {
        self.calls.push(Call::Agree {
            group: self.inner.group(),
        });
        self.inner.agree(peer_public_key)
    }
}

/// A cipher, digest or tag of a [`Recorder`].
#[derive(Clone, Debug)]
pub struct Recorded<T> {
    inner: T,
    calls: Calls,
}

impl<A: Aead> Aead for Recorded<A> {
    fn algorithm(&self) -> AeadAlgorithm {
        self.inner.algorithm()
    }

    // Keeps the place that a nonce ledger inside a recorder names.
    #[track_caller]
    fn seal_in_place(
        &self,
        nonce: &[u8],
        additional_data: &[u8],
        in_out: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.calls.push(Call::Seal {
            algorithm: self.inner.algorithm(),
            additional_data_len: additional_data.len(),
            len: in_out.len(),
        });
        self.inner
            .seal_in_place(nonce, additional_data, in_out, tag)
    }

    fn open_in_place(
        &self,
        nonce: &[u8],
        additional_data: &[u8],
        in_out: &mut [u8],
        tag: &[u8],
    ) -> Result<(), CryptoError> {
        self.calls.push(Call::Open {
            algorithm: self.inner.algorithm(),
            additional_data_len: additional_data.len(),
            len: in_out.len(),
        });
        self.inner
            .open_in_place(nonce, additional_data, in_out, tag)
    }
}

impl<H: Sha256> Sha256 for Recorded<H> {
    fn update(&mut self, bytes: &[u8]) {
        self.calls.push(Call::Sha256Update { len: bytes.len() });
        self.inner.update(bytes);
    }

    fn finish(self) -> [u8; SHA256_LEN] {
        self.calls.push(Call::Sha256Finish);
        self.inner.finish()
    }
}

impl<H: HmacSha256> HmacSha256 for Recorded<H> {
    fn update(&mut self, bytes: &[u8]) {
        self.calls.push(Call::HmacSha256Update { len: bytes.len() });
        self.inner.update(bytes);
    }

    fn finish(self) -> [u8; SHA256_LEN] {
        self.calls.push(Call::HmacSha256Finish);
        self.inner.finish()
    }
}

/// The list that everything made by one recorder shares.
#[derive(Clone, Debug, Default)]
struct Calls(Arc<Mutex<Vec<Call>>>);

impl Calls {
    fn push(&self, call: Call) {
        self.lock().push(call);
    }

    fn record<T>(&self, inner: T) -> Recorded<T> {
        Recorded {
            inner,
            calls: self.clone(),
        }
    }

    /// A panic of the test that holds the lock leaves the list whole.
    fn lock(&self) -> MutexGuard<'_, Vec<Call>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
