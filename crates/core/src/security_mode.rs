//! The four security modes of CoAP.

use core::fmt;

/// How a CoAP node knows its peers, weakest first: the modes of RFC 7252 §9 by the names that
/// implementations had for them before the RFC, which divides its PreSharedKey mode no further.
///
/// What a mode secures, and against whom, is in `docs/THREATS.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecurityMode {
    /// Nobody has proved anything (the RFC's NoSec). It is also the mode of a client that a server
    /// let in without asking who it is: its records are protected, and anybody can be at their end.
    NoSec,
    /// A pre-shared key that many have (the RFC's PreSharedKey, with one key for a group of nodes):
    /// each of them can play any other.
    SharedKey,
    /// A pre-shared key that one peer alone has (the RFC's PreSharedKey).
    MultiKey,
    /// A private key that nobody else has, known by its raw public key or by an X.509 certificate
    /// (the RFC's RawPublicKey and Certificate).
    Certificate,
}

impl SecurityMode {
    /// Every mode, the weakest first.
    pub const ALL: [Self; 4] = [
        Self::NoSec,
        Self::SharedKey,
        Self::MultiKey,
        Self::Certificate,
    ];

    /// Returns the mode's name, for people and for logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoSec => "NoSec",
            Self::SharedKey => "SharedKey",
            Self::MultiKey => "MultiKey",
            Self::Certificate => "Certificate",
        }
    }
}

impl fmt::Display for SecurityMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;
    use crate::{KeyScope, Peer, PeerId, Psk};

    #[test]
    fn modes_are_in_order_and_say_their_names() {
        assert!(SecurityMode::ALL.is_sorted());
        let names = SecurityMode::ALL.map(|mode| mode.to_string());
        assert_eq!(names, ["NoSec", "SharedKey", "MultiKey", "Certificate"]);
    }

    #[test]
    fn mode_follows_from_what_was_proved() {
        let id = PeerId(3);
        let own = Psk::new(b"key").unwrap();
        let shared = Psk::new(b"key").unwrap().with_scope(KeyScope::Shared);
        let end_to_end = Psk::new(&[7; 16]).unwrap().into_end_to_end().unwrap();
        for (peer, mode) in [
            (Peer::Anonymous, SecurityMode::NoSec),
            (Peer::of_psk(&shared, id), SecurityMode::SharedKey),
            (Peer::of_psk(&own, id), SecurityMode::MultiKey),
            (Peer::of_psk(&end_to_end, id), SecurityMode::MultiKey),
            (Peer::RawPublicKey(id), SecurityMode::Certificate),
            (Peer::Certificate(id), SecurityMode::Certificate),
        ] {
            assert_eq!(peer.security_mode(), mode, "{peer:?}");
            let known = (peer != Peer::Anonymous).then_some(id);
            assert_eq!(peer.id(), known);
        }
    }
}
