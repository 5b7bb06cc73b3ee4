//! Whom a URI means, and what is shown there.

use std::net::SocketAddr;
use std::sync::Arc;

use hedgerow_coap::{CoapUri, UriHost};
use hedgerow_core::{PeerId, SecurityMode};
use hedgerow_net::Credentials;

use crate::arguments::RequestArguments;
use crate::exit::{Class, Failure};
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
        credentials: Arc<Credentials>,
    },
}

impl Security {
    /// Returns the security mode (RFC 7252 §9).
    pub(crate) const fn security_mode(&self) -> SecurityMode {
        match self {
            Self::NoSec => SecurityMode::NoSec,
            Self::Psk { .. } => SecurityMode::MultiKey,
        }
    }

    /// Chooses what the URI's scheme and the command line ask for. There is no fallback.
    pub(crate) fn choose(uri: &CoapUri<'_>, arguments: &RequestArguments) -> Result<Self, Failure> {
        let has_credentials = arguments.user.is_some() || arguments.keys.is_some();
        match uri.scheme() {
            scheme if scheme.is_secure() => Self::from_arguments(uri, arguments),
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

    fn from_arguments(uri: &CoapUri<'_>, arguments: &RequestArguments) -> Result<Self, Failure> {
        let (identity, psk) = match (&arguments.user, &arguments.key, &arguments.keys) {
            (Some(user), Some(key), None) => (user.clone(), key_text::parse_argument(key)?),
            (None, None, Some(path)) => {
                let entry = key_file::find(path, uri)?;
                (entry.identity, entry.psk)
            }
            _ => {
                return Err(Failure::usage(format!(
                    "a {} URI needs credentials: -u IDENTITY -k KEY, or --keys FILE",
                    uri.scheme()
                )));
            }
        };
        let credentials = Credentials::new(identity.as_bytes(), psk, SERVER)
            .map_err(|error| Failure::usage(error.to_string()))?;
        Ok(Self::Psk {
            is_tls: uri.scheme().is_tcp(),
            identity,
            credentials: Arc::new(credentials),
        })
    }

    /// Returns the mode's name, as logs have it.
    pub(crate) const fn mode(&self) -> &'static str {
        match self {
            Self::NoSec => "nosec",
            Self::Psk { is_tls: true, .. } => "tls-psk",
            Self::Psk { .. } => "dtls-psk",
        }
    }

    /// Says what is in force, for people.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::NoSec => "NoSec, in clear".to_owned(),
            Self::Psk {
                is_tls, identity, ..
            } => {
                let protocol = if *is_tls { "TLS" } else { "DTLS" };
                format!("{protocol} with a pre-shared key as {identity:?}")
            }
        }
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
