//! Certificate and key of the HTTPS listener.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys, ServerConfig};
use zeroize::Zeroize;

/// The listener for HTTPS: TLS 1.2 and 1.3, HTTP/1.1 and HTTP/2.
#[derive(Clone)]
pub struct Https {
    pub(crate) listen: SocketAddr,
    pub(crate) tls: Arc<ServerConfig>,
}

impl fmt::Debug for Https {
    /// Leaves out what TLS holds, the private key with it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut https = formatter.debug_struct("Https");
        https.field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// Why there can be no HTTPS. The texts hold nothing of what was read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpsError {
    /// The certificates aren't PEM, or there is none.
    #[error("no certificate in PEM form: expected -----BEGIN CERTIFICATE-----")]
    Certificate,
    /// The key isn't PEM, or there is none.
    #[error("no private key in PEM form: expected -----BEGIN PRIVATE KEY----- or alike")]
    PrivateKey,
    /// The key doesn't belong to the certificate, or TLS can't use one of them.
    #[error("certificate and private key can't be used together: {0}")]
    Unusable(rustls::Error),
}

impl Https {
    /// Listens at `listen` with a certificate chain, the server's own first, and its private key,
    /// both as PEM.
    ///
    /// # Errors
    ///
    /// Each variant of [`HttpsError`].
    pub fn from_pem(
        listen: SocketAddr,
        certificates: &[u8],
        private_key: &[u8],
    ) -> Result<Self, HttpsError> {
        let chain = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| HttpsError::Certificate)?;
        if chain.is_empty() {
            return Err(HttpsError::Certificate);
        }
        let mut key =
            PrivateKeyDer::from_pem_slice(private_key).map_err(|_| HttpsError::PrivateKey)?;
        // By reference, for whoever takes a key over here drops it without zeroing it.
        let signing_key = any_supported_type(&key);
        key.zeroize();
        let certified = CertifiedKey::new(chain, signing_key.map_err(HttpsError::Unusable)?);
        match certified.keys_match() {
            // Of some kinds of keys it can't be known before they sign.
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(error) => return Err(HttpsError::Unusable(error)),
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(HttpsError::Unusable)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            listen,
            tls: Arc::new(tls),
        })
    }
}
