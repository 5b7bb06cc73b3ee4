//! What the client shows and accepts in certificate mode, from the files that the user names.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hedgerow_coap::{CoapUri, UriHost};
use hedgerow_core::CertificateOwner;
use hedgerow_net::{AcceptedServer, Authorities, Identity, IdentityError, RawPublicKey};
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::private_file;

/// The files of certificate mode, and the name wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    /// Own certificates; the private key may stand there too.
    pub(crate) certificate: Option<PathBuf>,
    /// The own private key.
    pub(crate) private_key: Option<PathBuf>,
    /// Authorities to trust.
    pub(crate) authorities: Vec<PathBuf>,
    /// The server's raw public key.
    pub(crate) server_key: Option<PathBuf>,
    pub(crate) server_name: Option<String>,
}

impl Files {
    /// Says whether there is anything of certificate mode.
    pub(crate) const fn is_any(&self) -> bool {
        self.certificate.is_some()
            || self.private_key.is_some()
            || !self.authorities.is_empty()
            || self.server_key.is_some()
            || self.server_name.is_some()
    }

    /// Reads what this end shows: nothing, if there is neither certificate nor key.
    pub(crate) fn identity(&self) -> Result<Option<Arc<Identity>>, Failure> {
        // As with libcoap's client, one file may hold both.
        let Some(key_path) = self.private_key.as_ref().or(self.certificate.as_ref()) else {
            return Ok(None);
        };
        private_file::warn_if_readable_by_others(key_path);
        let mut identity = read(key_path, Identity::new)?;
        if let Some(path) = &self.certificate {
            identity = read(path, |bytes| identity.with_certificates(bytes))?;
            identity.check(CertificateOwner::Client).map_err(|fault| {
                Failure::usage(format!("{}: {fault}, so nothing was sent", path.display()))
            })?;
        }
        Ok(Some(Arc::new(identity)))
    }

    /// Reads how the server is to be known.
    pub(crate) fn server(&self, uri: &CoapUri<'_>) -> Result<AcceptedServer, Failure> {
        match (&self.server_key, self.authorities.split_first()) {
            (Some(path), None) if self.server_name.is_none() => {
                read(path, RawPublicKey::new).map(AcceptedServer::RawPublicKey)
            }
            (None, Some((first, others))) => {
                let mut authorities = read(first, Authorities::new)?;
                for path in others {
                    authorities = authorities.and(read(path, Authorities::new)?);
                }
                let name = self.server_name.clone();
                Ok(AcceptedServer::Certificate {
                    authorities,
                    name: name.unwrap_or_else(|| name_of(uri)),
                })
            }
            (None, None) => Err(Failure::usage(
                "nothing says how the server is known: -C FILE with its authority's certificate, \
                 or --server-key FILE with its raw public key",
            )),
            _ => Err(Failure::usage(
                "a server is known by its raw public key (--server-key) or by an authority and a \
                 name (-C, --server-name), not by both",
            )),
        }
    }
}

/// Returns the name that a server's certificate carries if nothing else is said: the URI's host, or
/// its authority where the host is an address (RFC 7252 §9.1.3.3).
fn name_of(uri: &CoapUri<'_>) -> String {
    if let name @ UriHost::Name(_) = uri.host() {
        return name.to_string();
    }
    let text = uri.to_string();
    let authority = text.split_once("://").map_or("", |(_, rest)| rest);
    let end = authority.find(['/', '?']).unwrap_or(authority.len());
    authority.get(..end).unwrap_or_default().to_owned()
}

fn read<T>(
    path: &Path,
    take: impl FnOnce(&[u8]) -> Result<T, IdentityError>,
) -> Result<T, Failure> {
    let content = fs::read(path).map_err(|error| Failure::file(path, &error))?;
    take(&Zeroizing::new(content))
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_the_host_or_the_authority_of_an_address() {
        for (uri, name) in [
            ("coaps://Lamp.example:4000/a?b", "lamp.example"),
            ("coaps://192.0.2.7:4000/a", "192.0.2.7:4000"),
            ("coaps://[2001:db8::7]", "[2001:db8::7]"),
            ("coaps+tcp://[2001:db8::7]:1?x", "[2001:db8::7]:1"),
        ] {
            assert_eq!(name_of(&CoapUri::parse(uri).unwrap()), name);
        }
    }
}
