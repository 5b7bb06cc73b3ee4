//! Whom a URI means, and what is shown there.

use std::net::SocketAddr;
use std::sync::Arc;

use hedgerow_coap::{CoapUri, UriHost};
use hedgerow_core::{KeyPurpose, KeyScope, PeerId, Psk, SecurityMode};
use hedgerow_net::{AcceptedServer, Credentials};

use crate::arguments::RequestArguments;
use crate::exit::{Class, Failure};
use crate::key_file::Entry;
use crate::via::Way;
use crate::{key_file, key_text};

/// What protects a request.
#[derive(Clone, Debug)]
pub(crate) enum Security {
    /// Nothing (`coap`, NoSec).
    NoSec,
    /// DTLS (`coaps`) or TLS (`coaps+tcp`) with a pre-shared key.
    Psk {
        is_tls: bool,
        identity: String,
        is_shared: bool,
        credentials: Arc<Credentials>,
    },
    /// The same with raw public keys or certificates.
    Certificate {
        is_tls: bool,
        /// The name in the server's certificate; `None` if it is known by its raw public key.
        name: Option<String>,
        credentials: Arc<Credentials>,
    },
}

impl Security {
    /// Returns the security mode (RFC 7252 §9).
    pub(crate) const fn security_mode(&self) -> SecurityMode {
        match self {
            Self::NoSec => SecurityMode::NoSec,
            Self::Psk {
                is_shared: true, ..
            } => SecurityMode::SharedKey,
            Self::Psk { .. } => SecurityMode::MultiKey,
            Self::Certificate { .. } => SecurityMode::Certificate,
        }
    }

    /// Chooses what the URI's scheme and the command line ask for. There is no fallback.
    pub(crate) fn choose(uri: &CoapUri<'_>, arguments: &RequestArguments) -> Result<Self, Failure> {
        let wanted = match arguments.via.via {
            Some(_) => KeyPurpose::EndToEnd,
            None => KeyPurpose::Hop,
        };
        let has_credentials = arguments.user.is_some()
            || arguments.keys.is_some()
            || arguments.certificates.files().is_any();
        match uri.scheme() {
            scheme if scheme.is_secure() => Self::from_arguments(uri, arguments, wanted),
            scheme if has_credentials => {
                let secure = if scheme.is_tcp() {
                    "coaps+tcp"
                } else {
                    "coaps"
                };
                Err(Failure::usage(format!(
                    "a {scheme} URI is not secured, so that credentials have no use: did you mean \
                     {secure}?"
                )))
            }
            _ => Ok(Self::NoSec),
        }
    }

    fn from_arguments(
        uri: &CoapUri<'_>,
        arguments: &RequestArguments,
        wanted: KeyPurpose,
    ) -> Result<Self, Failure> {
        let said = match arguments.end_to_end {
            true => KeyPurpose::EndToEnd,
            false => KeyPurpose::Hop,
        };
        let entry = match (&arguments.user, &arguments.key, &arguments.keys) {
            (Some(user), Some(key), None) => Entry::Psk {
                identity: user.clone(),
                psk: for_purpose(key_text::parse_argument("-k", key)?, said)?,
                is_shared: arguments.shared_key,
            },
            (None, None, Some(path)) => key_file::find(path, uri, wanted)?,
            _ if arguments.certificates.files().is_any() => Entry::Certificates {
                files: arguments.certificates.files(),
                purpose: said,
            },
            _ => {
                return Err(Failure::usage(format!(
                    "a {} URI needs credentials: -u IDENTITY -k KEY, or --keys FILE, or -c FILE \
                     -C FILE for certificates",
                    uri.scheme()
                )));
            }
        };
        check_purpose(uri, arguments, wanted, entry.purpose())?;
        let is_tls = uri.scheme().is_tcp();
        match entry {
            Entry::Psk {
                identity,
                psk,
                is_shared,
            } => {
                let scope = match is_shared {
                    true => KeyScope::Shared,
                    false => KeyScope::OnePeer,
                };
                let psk = psk.with_scope(scope);
                let credentials = Credentials::new(identity.as_bytes(), psk, SERVER)
                    .map_err(|error| Failure::usage(error.to_string()))?;
                Ok(Self::Psk {
                    is_tls,
                    identity,
                    is_shared,
                    credentials: Arc::new(credentials),
                })
            }
            Entry::Certificates { files, purpose } => {
                let server = files.server(uri)?;
                let name = match &server {
                    AcceptedServer::Certificate { name, .. } => Some(name.clone()),
                    _ => None,
                };
                let credentials = Credentials::certificates(files.identity()?, server, SERVER)
                    .map_err(|error| Failure::usage(error.to_string()))?;
                let credentials = match purpose {
                    KeyPurpose::EndToEnd => credentials.with_certificates_end_to_end(),
                    KeyPurpose::Hop => credentials,
                };
                Ok(Self::Certificate {
                    is_tls,
                    name,
                    credentials: Arc::new(credentials),
                })
            }
        }
    }

    /// Returns what the server is shown; `None` in clear.
    pub(crate) fn credentials(&self) -> Option<Arc<Credentials>> {
        match self {
            Self::NoSec => None,
            Self::Psk { credentials, .. } | Self::Certificate { credentials, .. } => {
                Some(Arc::clone(credentials))
            }
        }
    }

    /// Says whether the channel is TLS over TCP.
    pub(crate) const fn is_tls(&self) -> bool {
        match self {
            Self::NoSec => false,
            Self::Psk { is_tls, .. } | Self::Certificate { is_tls, .. } => *is_tls,
        }
    }

    /// Returns the mode's name, as logs have it.
    pub(crate) const fn mode(&self) -> &'static str {
        match self {
            _ if self.is_tls() => self.mode_over_tls(),
            Self::NoSec => "nosec",
            Self::Psk { .. } => "dtls-psk",
            Self::Certificate { name: Some(_), .. } => "dtls-certificate",
            Self::Certificate { .. } => "dtls-raw-public-key",
        }
    }

    /// Returns the same for a channel that is TLS, whatever the URI says.
    pub(crate) const fn mode_over_tls(&self) -> &'static str {
        match self {
            Self::NoSec => "nosec",
            Self::Psk { .. } => "tls-psk",
            Self::Certificate { name: Some(_), .. } => "tls-certificate",
            Self::Certificate { .. } => "tls-raw-public-key",
        }
    }

    /// Says what is in force, for people: with a server that is asked straight, or on this way.
    pub(crate) fn describe(&self, way: Option<&Way>) -> String {
        let (protocol, mode) = (self.protocol(way), self.security_mode());
        match self {
            Self::NoSec => "NoSec, in clear".to_owned(),
            Self::Psk { identity, .. } => {
                format!("{protocol} with a pre-shared key as {identity:?}, {mode}")
            }
            Self::Certificate { name, .. } => match name {
                Some(name) => format!("{protocol} with the certificate of {name:?}, {mode}"),
                None => format!("{protocol} with a raw public key, {mode}"),
            },
        }
    }
}

impl Security {
    /// Says what the session is proved by.
    pub(crate) const fn means(&self) -> &'static str {
        match self {
            Self::NoSec => "nothing",
            Self::Psk { .. } => "a pre-shared key",
            Self::Certificate { name: Some(_), .. } => "certificates",
            Self::Certificate { .. } => "raw public keys",
        }
    }

    /// Returns what is spoken with the server itself.
    fn protocol(&self, way: Option<&Way>) -> &'static str {
        match self.is_tls() || way.is_some_and(Way::is_tls) {
            true => "TLS",
            false if way.is_some_and(Way::is_inside) => "an inner session",
            false => "DTLS",
        }
    }
}

fn for_purpose(psk: Psk, purpose: KeyPurpose) -> Result<Psk, Failure> {
    match purpose {
        KeyPurpose::Hop => Ok(psk),
        KeyPurpose::EndToEnd => psk
            .into_end_to_end()
            .map_err(|error| Failure::usage(format!("-k: {error}"))),
    }
}

/// Refuses what is for the other purpose, and says how it would be said.
fn check_purpose(
    uri: &CoapUri<'_>,
    arguments: &RequestArguments,
    wanted: KeyPurpose,
    given: KeyPurpose,
) -> Result<(), Failure> {
    match (wanted, given) {
        (KeyPurpose::Hop, KeyPurpose::EndToEnd) => Err(Failure::usage(format!(
            "what {uri} is shown is for end-to-end security through a gateway \
             (end_to_end = true), and this request goes straight to it: expected a key for that"
        ))),
        (KeyPurpose::EndToEnd, KeyPurpose::Hop) if arguments.keys.is_some() => {
            Err(Failure::usage(format!(
                "the gateway may have what the file has for {uri}: expected an entry with \
                 end_to_end = true"
            )))
        }
        (KeyPurpose::EndToEnd, KeyPurpose::Hop) => Err(Failure::usage(
            "a gateway that has the key can read everything: expected --end-to-end beside it, if the \
             gateway hasn't",
        )),
        _ => Ok(()),
    }
}

/// Finds the addresses of a URI's host.
pub(crate) async fn resolve(uri: &CoapUri<'_>) -> Result<Vec<SocketAddr>, Failure> {
    let host = match uri.host() {
        UriHost::Ipv4(address) => address.to_string(),
        UriHost::Ipv6 {
            address,
            zone: None,
        } => address.to_string(),
        // The resolver knows the numbers of interfaces.
        UriHost::Ipv6 {
            address,
            zone: Some(zone),
        } => format!("{address}%{zone}"),
        name @ UriHost::Name(_) => name.to_string(),
    };
    let is_encoded = matches!(uri.host(), UriHost::Name(_)) && host.contains('%');
    if is_encoded {
        return Err(Failure::usage(format!(
            "{host}: a host's name is written in ASCII here (xn--... if it has other letters)"
        )));
    }
    hedgerow_net::resolve(&host, uri.port())
        .await
        .map_err(|error| Failure::new(Class::Name, format!("{host} has no address: {error}")))
}

/// There is one server, and nobody asks for its number.
const SERVER: PeerId = PeerId(0);
