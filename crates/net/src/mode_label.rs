//! What the log says about how a peer is known.

use hedgerow_core::{ClientCredentials, Peer};

use crate::Credentials;

/// The words for one carrier: its name with a pre-shared key, with a raw public key, with a
/// certificate, and with a peer that has proved nothing.
type Labels = [&'static str; 4];

pub(crate) const DTLS: Labels = [
    "dtls-psk",
    "dtls-raw-public-key",
    "dtls-certificate",
    "dtls-anonymous",
];

pub(crate) const TLS: Labels = [
    "tls-psk",
    "tls-raw-public-key",
    "tls-certificate",
    "tls-anonymous",
];

/// Returns the word for a session with `peer`.
pub(crate) const fn label(labels: Labels, peer: Peer) -> &'static str {
    let [psk, raw_public_key, certificate, anonymous] = labels;
    match peer {
        Peer::Psk(_) | Peer::SharedPsk(_) | Peer::EndToEndPsk(_) => psk,
        Peer::RawPublicKey(_) => raw_public_key,
        Peer::Certificate(_) => certificate,
        _ => anonymous,
    }
}

/// Returns the word for a session that is to begin: with a certificate or raw public key if there is
/// one, since that is preferred.
pub(crate) fn intended(labels: Labels, credentials: &Credentials) -> &'static str {
    let peer = match (credentials.server(), credentials.pre_shared_key()) {
        (Some(peer), _) => peer,
        (None, Some(psk)) => Peer::of_psk(psk.psk, psk.peer),
        (None, None) => Peer::Anonymous,
    };
    label(labels, peer)
}
