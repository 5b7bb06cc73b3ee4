//! Private keys, certificates and raw public keys as they stand in files.

use core::fmt;

use hedgerow_core::{
    CertificateChain, CertificateCredentials, CertificateFault, CertificateOwner, ChainRequest,
    P256_PUBLIC_KEY_LEN, SignatureScheme, Signatures, SigningKey, UnixTime, Writer,
};
use hedgerow_crypto_ring::RingCrypto;
use hedgerow_handshake::{X509Credentials, certificate_public_key};
use hedgerow_record::{decode_p256_spki, encode_p256_spki};
use p256::SecretKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use zeroize::{Zeroize, Zeroizing};

use crate::clock::unix_time;

/// A key of the kind that nodes sign with.
pub(crate) type NodeSigningKey = <RingCrypto as Signatures>::SigningKey;

/// Why a key or a certificate can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// No private key is there, or one of another kind.
    #[error(
        "no private key for ECDSA on P-256 (PKCS #8 or SEC 1, PEM or DER, without a passphrase)"
    )]
    PrivateKey,
    /// No public key is there, or one of another kind.
    #[error("no public key on P-256 (a SubjectPublicKeyInfo or a certificate, PEM or DER)")]
    PublicKey,
    /// No certificate is there, or what is there is none.
    #[error("no X.509 certificate of version 3 (PEM or DER)")]
    Certificate,
    /// The first certificate is for another key.
    #[error("the first certificate is not for this private key")]
    KeyMismatch,
    /// More certificates than a peer has to take.
    #[error("{len} certificates, of which at most {max} can be shown")]
    ChainTooLong {
        /// How many there are.
        len: usize,
        /// How many can be shown.
        max: usize,
    },
    /// A name that no certificate can be asked for.
    #[error("neither a DNS name nor the authority of a coaps URI")]
    Name,
}

/// An end's private key, and the certificates for it if there are any. Without certificates its raw
/// public key is what it shows (RFC 7250).
pub struct Identity {
    pub(crate) key: NodeSigningKey,
    public_key: [u8; P256_PUBLIC_KEY_LEN],
    /// In the form that a Certificate message has; empty for none.
    chain: Vec<u8>,
}

impl Identity {
    /// Takes a private key from the bytes of a file: PKCS #8 or SEC 1, PEM or DER.
    ///
    /// # Errors
    ///
    /// [`IdentityError::PrivateKey`].
    pub fn new(private_key: &[u8]) -> Result<Self, IdentityError> {
        let secret = read_private_key(private_key).ok_or(IdentityError::PrivateKey)?;
        let scalar = Zeroizing::new(secret.to_bytes());
        let scheme = SignatureScheme::EcdsaSecp256r1Sha256;
        let key = RingCrypto.signing_key(scheme, &scalar);
        let key = key.map_err(|_| IdentityError::PrivateKey)?;
        let mut public_key = [0; P256_PUBLIC_KEY_LEN];
        key.write_public_key(&mut public_key)
            .map_err(|_| IdentityError::PrivateKey)?;
        Ok(Self {
            key,
            public_key,
            chain: Vec::new(),
        })
    }

    /// Adds the certificates for the key, its own first, from the bytes of a file: PEM, or one in DER.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Certificate`], [`IdentityError::KeyMismatch`] if the first is for another key,
    /// [`IdentityError::ChainTooLong`].
    pub fn with_certificates(mut self, certificates: &[u8]) -> Result<Self, IdentityError> {
        let certificates = read_certificates(certificates)?;
        let len = certificates.len();
        if len > MAX_SHOWN {
            let max = MAX_SHOWN;
            return Err(IdentityError::ChainTooLong { len, max });
        }
        let first = certificates.first().ok_or(IdentityError::Certificate)?;
        if RawPublicKey::of_certificate(first)? != self.raw_public_key() {
            return Err(IdentityError::KeyMismatch);
        }
        if certificates
            .iter()
            .any(|der| certificate_public_key(der).is_none())
        {
            return Err(IdentityError::Certificate);
        }
        let lens = certificates
            .iter()
            .map(|der| der.len().saturating_add(LEN_OF_LEN));
        let mut chain = vec![0; lens.sum()];
        let ders = certificates.iter().map(|der| &**der);
        CertificateChain::encode(ders, &mut Writer::new(&mut chain))
            .map_err(|_| IdentityError::Certificate)?;
        self.chain = chain;
        Ok(self)
    }

    /// Returns the public key that peers without certificates know this end by.
    pub fn raw_public_key(&self) -> RawPublicKey {
        RawPublicKey(encode_p256_spki(&self.public_key))
    }

    /// Says whether there are certificates.
    pub const fn has_certificates(&self) -> bool {
        !self.chain.is_empty()
    }

    /// Says whether this end may show its certificate in a role now: its time, and what it is for.
    /// Whether the other end trusts it is another question. Without certificates there is nothing
    /// to check.
    ///
    /// # Errors
    ///
    /// [`CertificateFault::NotValidNow`], [`CertificateFault::Unsupported`] if it is for the other
    /// role, [`CertificateFault::Malformed`].
    pub fn check(&self, role: CertificateOwner) -> Result<(), CertificateFault> {
        self.check_at(role, unix_time())
    }

    fn check_at(
        &self,
        role: CertificateOwner,
        unix_time: Option<UnixTime>,
    ) -> Result<(), CertificateFault> {
        let Some(chain) = self.chain() else {
            return Ok(());
        };
        let nobody: [&[u8]; 0] = [];
        let trusting_nobody =
            X509Credentials::new(RingCrypto, nobody).map_err(|_| CertificateFault::Malformed)?;
        let request = ChainRequest::new(chain, role, None, unix_time);
        match trusting_nobody.verify_chain(&request) {
            // All else was looked at before.
            Err(CertificateFault::UnknownAuthority) | Ok(_) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// Returns the certificates, if there are any.
    pub(crate) fn chain(&self) -> Option<CertificateChain<'_>> {
        CertificateChain::decode_exact(&self.chain)
            .ok()
            .filter(|chain| !chain.is_empty())
    }

    /// Says whether others show the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.public_key == other.public_key && self.chain == other.chain
    }
}

/// That there is one, and no more.
impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Identity")
            .field("has_certificates", &self.has_certificates())
            .finish_non_exhaustive()
    }
}

/// A peer's public key on P-256, by which it is known without certificates (RFC 7250).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RawPublicKey([u8; SPKI_LEN]);

impl RawPublicKey {
    /// Takes a public key from the bytes of a file: a SubjectPublicKeyInfo or a certificate, of which
    /// the key alone counts, PEM or DER.
    ///
    /// # Errors
    ///
    /// [`IdentityError::PublicKey`].
    pub fn new(bytes: &[u8]) -> Result<Self, IdentityError> {
        if let Ok(key) = Self::of_spki(bytes) {
            return Ok(key);
        }
        if let Ok(spki) = SubjectPublicKeyInfoDer::from_pem_slice(bytes) {
            return Self::of_spki(&spki);
        }
        let certificates = read_certificates(bytes).map_err(|_| IdentityError::PublicKey)?;
        let first = certificates.first().ok_or(IdentityError::PublicKey)?;
        Self::of_certificate(first).map_err(|_| IdentityError::PublicKey)
    }

    /// Returns the key as a SubjectPublicKeyInfo in DER.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn of_spki(spki: &[u8]) -> Result<Self, IdentityError> {
        let point = decode_p256_spki(spki).ok_or(IdentityError::PublicKey)?;
        // A point that is on no curve is no key.
        p256::PublicKey::from_sec1_bytes(point).map_err(|_| IdentityError::PublicKey)?;
        Ok(Self(encode_p256_spki(point)))
    }

    fn of_certificate(der: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let spki = certificate_public_key(der);
        Self::of_spki(&spki.ok_or(IdentityError::Certificate)?)
    }
}

impl fmt::Debug for RawPublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RawPublicKey(")?;
        let point = self.0.iter().skip(SPKI_LEN.saturating_sub(8));
        point
            .into_iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))?;
        formatter.write_str(")")
    }
}

/// Authorities whose certificates are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorities(Vec<CertificateDer<'static>>);

impl Authorities {
    /// Takes one or more authorities' certificates from the bytes of a file: PEM, or one in DER.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Certificate`].
    pub fn new(certificates: &[u8]) -> Result<Self, IdentityError> {
        let authorities = Self(read_certificates(certificates)?);
        authorities.credentials()?;
        Ok(authorities)
    }

    /// Puts those of another file beside these.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    pub(crate) fn certificates(&self) -> impl Iterator<Item = CertificateDer<'static>> + '_ {
        self.0.iter().cloned()
    }

    /// Returns credentials that trust these, and nobody by name yet.
    pub(crate) fn credentials(&self) -> Result<X509Credentials<RingCrypto>, IdentityError> {
        X509Credentials::new(RingCrypto, self.0.iter().map(|der| &**der))
            .map_err(|_| IdentityError::Certificate)
    }
}

/// Reads certificates in PEM, or one in DER; at least one.
fn read_certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let certificates = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| IdentityError::Certificate)?;
    let certificates = match certificates.is_empty() {
        true => vec![CertificateDer::from(bytes.to_vec())],
        false => certificates,
    };
    Ok(certificates)
}

fn read_private_key(bytes: &[u8]) -> Option<SecretKey> {
    let mut der = match PrivateKeyDer::from_pem_slice(bytes) {
        Ok(der) => der,
        Err(_) => PrivateKeyDer::try_from(bytes.to_vec()).ok()?,
    };
    let key = match &der {
        PrivateKeyDer::Pkcs8(der) => {
            use p256::pkcs8::DecodePrivateKey as _;
            SecretKey::from_pkcs8_der(der.secret_pkcs8_der()).ok()
        }
        PrivateKeyDer::Sec1(der) => SecretKey::from_sec1_der(der.secret_sec1_der()).ok(),
        _ => None,
    };
    der.zeroize();
    key
}

const SPKI_LEN: usize = 91;
const LEN_OF_LEN: usize = 3;

/// As many as this project's other ends look at.
const MAX_SHOWN: usize = 4;
