//! Why a datagram, a record or a message was dropped without an error.

/// Declares the reasons once, with the label under which logs and metrics count each.
macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// Why input was dropped and nothing else happened.
        ///
        /// Dropping is what a datagram protocol does with noise (RFC 6347 §4.1.2.7, RFC 7252
        /// §4.2): it isn't an error, it is counted, and the count says what goes on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum DropReason {
            $($(#[$doc])* $name,)*
        }

        impl DropReason {
            /// Every reason, in the order of its [`Self::index`].
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the label for logs and metrics: lower case, words joined by `_`.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }
        }
    };
}

drop_reasons! {
    /// The bytes don't decode.
    Malformed = "malformed",
    /// A version that this end doesn't speak.
    UnsupportedVersion = "unsupported_version",
    /// A record number that was seen before (RFC 6347 §4.1.2.6).
    Replayed = "replayed",
    /// A record number older than the replay window.
    TooOld = "too_old",
    /// The tag, and so the key, the nonce or the bytes, is wrong. It doesn't say which.
    AuthenticationFailed = "authentication_failed",
    /// A record with another connection ID than agreed on, with one where none was agreed on, or
    /// without one where one was (RFC 9146 §3).
    ConnectionIdMismatch = "connection_id_mismatch",
    /// A record of an epoch that has no keys now.
    UnexpectedEpoch = "unexpected_epoch",
    /// A well-formed message that has no place in this state.
    UnexpectedMessage = "unexpected_message",
    /// A handshake message that was handled before.
    Duplicate = "duplicate",
    /// A ClientHello not whole in one record before the address is proved.
    FragmentedHello = "fragmented_hello",
    /// A cookie that this server didn't make, or no longer accepts.
    InvalidCookie = "invalid_cookie",
    /// Nothing in the offer is acceptable, and the address isn't proved, so no alert may answer.
    NotAcceptable = "not_acceptable",
    /// A record whose explicit nonce isn't its number, where the number travels in the nonce alone
    /// (mode `translate`).
    NonceNotRecordNumber = "nonce_not_record_number",
    /// An inner message of mode `itls` over another outer session than the one that it is bound to.
    BindingMismatch = "binding_mismatch",
    /// What only the other end can send, from an end of this kind: led back to its sender.
    Reflected = "reflected",
    /// No association with this address, and the bytes don't start one.
    UnknownPeer = "unknown_peer",
    /// No room for the answer within what an unproved address may get.
    AmplificationLimit = "amplification_limit",
    /// The table of peers is full.
    PeerTableFull = "peer_table_full",
    /// The pool of handshakes under way is full.
    HandshakePoolFull = "handshake_pool_full",
    /// The table of a leg's streams is full.
    StreamTableFull = "stream_table_full",
    /// A segment of a stream that isn't known.
    UnknownStream = "unknown_stream",
    /// A message of mode `itls` on a flow that leads nowhere.
    UnknownFlow = "unknown_flow",
    /// A message of mode `itls` that a gateway hadn't fetched when there were too many.
    HopQueueFull = "hop_queue_full",
    /// The table of messages already seen is full, and nothing live is evicted.
    DeduplicationTableFull = "deduplication_table_full",
    /// The table of requests under way is full.
    ExchangeTableFull = "exchange_table_full",
    /// The reassembly buffer has no room for this message.
    ReassemblyFull = "reassembly_full",
    /// A response, acknowledgement or reset that matches nothing that was sent.
    Unmatched = "unmatched",
    /// A message that this end rejected with a Reset (RFC 7252 §4.2).
    Rejected = "rejected",
    /// A request that has to be fresh and didn't show that it is: it was answered by a challenge (RFC 9175 §2.3).
    NotFresh = "not_fresh",
    /// A message longer than this end accepts.
    TooLong = "too_long",
    /// Application data before the handshake has ended.
    NotEstablished = "not_established",
    /// Anything after the peer's close_notify, or after this end closed.
    AfterClose = "after_close",
    /// An alert that carries no authentication, or a warning that changes nothing.
    IgnoredAlert = "ignored_alert",
    /// More arrived from this source than its share allows.
    RateLimited = "rate_limited",
}

impl DropReason {
    /// Returns the reason's place in [`Self::ALL`], for arrays of counters.
    pub fn index(self) -> usize {
        Self::ALL
            .iter()
            .position(|&reason| reason == self)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::DropReason;

    #[test]
    fn labels_and_indices_are_unique() {
        let labels: BTreeSet<_> = DropReason::ALL.iter().map(|r| r.label()).collect();
        assert_eq!(labels.len(), DropReason::ALL.len());
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
    }
}
