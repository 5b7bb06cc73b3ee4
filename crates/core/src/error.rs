//! The three groups of channel errors. Noise is in none of them: see
//! [`DropReason`](crate::DropReason).

use crate::{KeyPurpose, SecurityMode};

/// Why a channel refused a call or came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The peer, or its silence, ended the channel.
    #[error(transparent)]
    Peer(#[from] PeerFault),
    /// The caller asked for what can't be done; reading the code fixes it.
    #[error(transparent)]
    Misuse(#[from] Misuse),
    /// A limit of the protocol or of this end was reached.
    #[error(transparent)]
    Limit(#[from] Limit),
}

/// How a peer ended a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerFault {
    /// The peer broke the protocol; this end sent the alert named and closed.
    #[error(
        "{}: alert {description} sent",
        certificate_fault(*.description).unwrap_or("peer broke the protocol")
    )]
    AlertSent {
        /// The alert's code point (RFC 5246 §7.2).
        description: u8,
    },
    /// The peer sent a fatal alert.
    #[error(
        "peer sent alert {description}{}{}",
        match certificate_fault(*.description) {
            Some(_) => ", which refuses this end's certificate or key",
            None => "",
        },
        if *.authenticated { "" } else { " (unauthenticated: anybody on the path can have sent it)" }
    )]
    AlertReceived {
        /// The alert's code point (RFC 5246 §7.2).
        description: u8,
        /// Whether the alert came in a record that was verified.
        authenticated: bool,
    },
    /// Nothing that belongs to a handshake came back.
    #[error("no answer to the handshake")]
    HandshakeTimeout,
    /// The peer fell silent, or sent an alert that fits, right after credentials were used.
    ///
    /// A server that doesn't know the identity, one whose key differs and one that is gone can't be
    /// told apart here, by design (`docs/THREATS.md`).
    #[error("credentials refused or not answered")]
    CredentialsRefused,
    /// What is below, a stream or an outer session, ended although the peer had not closed (RFC 5246 §7.2.1). Anybody on the path
    /// can do that, so what came before may not be all.
    #[error("stream cut off: the peer had not closed it")]
    Truncated,
    /// The gateway between refused the way to the peer, or closed it before the peer was known (mode
    /// `itls`). It is the gateway's word, and says nothing of the peer.
    #[error("the gateway {reason}")]
    WayRefused {
        /// What it says.
        reason: WayRefusal,
    },
    /// The peer agreed on no application protocol by name, where one is needed: CoAP over TLS on
    /// any port but 5684 (RFC 8323 §8.2).
    #[error("peer names no application protocol (ALPN), which it has to on this port")]
    ProtocolNotNamed,
    /// More records than the key is good for did not verify, whoever sent them; the key is given up
    /// (RFC 9147 §4.5.3).
    #[error("too many records that did not verify")]
    TooManyForgeries,
    /// The peer of an idle association answered none of the pings that asked for a sign of life (RFC 7252
    /// §4.3).
    #[error("no sign of life")]
    Unresponsive,
}

/// Why a gateway gives no way to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum WayRefusal {
    /// It knows no such peer or doesn't allow it, and doesn't say which.
    #[error("refuses the way to the peer: it knows none by that name, or doesn't allow it")]
    Refused,
    /// A limit of its own.
    #[error("has no room for another way to a peer")]
    Busy,
    /// The other side is gone, or can't be had.
    #[error("has lost the way to the peer")]
    Gone,
}

/// Says what an alert that an end sends tells about the other's certificate, if it does (RFC 5246
/// §7.2.2). A raw public key that isn't known has no alert of its own (RFC 7925 §6).
const fn certificate_fault(description: u8) -> Option<&'static str> {
    Some(match description {
        42 => "certificate is malformed, or a signature in it does not fit",
        43 => "certificate is of a kind, or for a purpose, that is not accepted",
        44 => "certificate is revoked",
        45 => "certificate is not valid at this time",
        46 => "certificate is for another name",
        48 => "certificate's authority is not trusted",
        49 => "certificate's owner has no access",
        _ => return None,
    })
}

/// What a caller did that can't be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misuse {
    /// The output buffer is too small; nothing was written and nothing changed.
    #[error("output buffer of {available} bytes is too small: {needed} needed")]
    BufferTooSmall {
        /// Bytes needed.
        needed: usize,
        /// Bytes given.
        available: usize,
    },
    /// Application data was given before the channel is established.
    #[error("channel is not established")]
    NotEstablished,
    /// The channel is closed.
    #[error("channel is closed")]
    Closed,
    /// A pre-shared key is empty or too long.
    #[error("pre-shared key of {len} bytes: 1 to {max} needed")]
    PskLength {
        /// Length given, in bytes.
        len: usize,
        /// Longest length, in bytes.
        max: usize,
    },
    /// A PSK identity is too long.
    #[error("PSK identity of {len} bytes: at most {max} fit")]
    PskIdentityLength {
        /// Length given, in bytes.
        len: usize,
        /// Longest length, in bytes.
        max: usize,
    },
    /// Keying material was asked for and can't be had: without the extended master secret it would
    /// not be this connection's alone (RFC 7627 §5.4).
    #[error("no keying material can be exported without the extended master secret")]
    ExporterUnavailable,
    /// A label of the protocol's own was given to an exporter (RFC 5705 §4).
    #[error("label belongs to the protocol itself")]
    ReservedLabel,
    /// What should be a server's name isn't a DNS name.
    #[error("not a DNS name")]
    ServerName,
    /// Credentials of a security mode below the least that is permitted, or none.
    #[error("security mode {mode} is not permitted: {least} or more is")]
    ForbiddenMode {
        /// The mode of what was given.
        mode: SecurityMode,
        /// The least that is permitted.
        least: SecurityMode,
    },
    /// A key for end-to-end security is too short to be worth trying a dictionary in vain.
    #[error("end-to-end key of {len} bytes: {min} random ones or more needed")]
    EndToEndKeyLength {
        /// Length given, in bytes.
        len: usize,
        /// Shortest length, in bytes.
        min: usize,
    },
    /// A key that many have was given for end-to-end security: any of them could play an end.
    #[error("a key that others have too can't be used end to end")]
    SharedEndToEndKey,
    /// Credentials for one purpose were given for the other. What a gateway has must not secure
    /// anything against it, and what it must not have must not be shown on a hop.
    #[error("{given} credentials given for {wanted} security: a key is for one of them")]
    KeyPurpose {
        /// What the credentials are for.
        given: KeyPurpose,
        /// What the association is for.
        wanted: KeyPurpose,
    },
    /// An end-to-end key is also one by which this end's own clients come in: whoever is between
    /// could lead this end to itself.
    #[error(
        "end-to-end key is used as a client and as a server: expected one key for each direction"
    )]
    KeyInBothRoles,
    /// The provider doesn't offer what the configuration asks for.
    #[error("the crypto provider does not offer what the configuration asks for")]
    NotOffered,
}

/// A limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Limit {
    /// The key has no record number left; it never seals again.
    #[error("record numbers of this key are used up")]
    SequenceNumbersExhausted,
    /// The key has sealed as many records as its cipher is good for (RFC 9147 §4.5.3); a new handshake
    /// makes a new one.
    #[error("key has sealed {max} records, which is its limit")]
    KeyUsedUp {
        /// The limit.
        max: u64,
    },
    /// The plaintext is longer than one record carries.
    #[error("plaintext of {len} bytes is longer than one record carries: {max}")]
    PlaintextTooLong {
        /// Length given, in bytes.
        len: usize,
        /// Longest length, in bytes.
        max: usize,
    },
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn messages_say_what_was_wrong() {
        let fault = PeerFault::AlertReceived {
            description: 40,
            authenticated: false,
        };
        assert_eq!(
            ChannelError::from(fault).to_string(),
            "peer sent alert 40 (unauthenticated: anybody on the path can have sent it)"
        );
        let fault = PeerFault::AlertSent { description: 48 };
        assert_eq!(
            fault.to_string(),
            "certificate's authority is not trusted: alert 48 sent"
        );
        let fault = PeerFault::AlertReceived {
            description: 49,
            authenticated: true,
        };
        assert_eq!(
            fault.to_string(),
            "peer sent alert 49, which refuses this end's certificate or key"
        );
        let limit = Limit::PlaintextTooLong {
            len: 20_000,
            max: 16_384,
        };
        assert_eq!(
            ChannelError::from(limit).to_string(),
            "plaintext of 20000 bytes is longer than one record carries: 16384"
        );
    }
}
