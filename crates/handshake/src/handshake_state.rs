//! The states of both handshakes by name, for those who watch: logs, counters, tests.

/// What a [`ClientHandshake`](crate::ClientHandshake) waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientState {
    /// ServerHello, or HelloVerifyRequest.
    ExpectServerHello {
        /// Whether the ClientHello that is to be answered carries a cookie.
        has_cookie: bool,
    },
    /// ServerKeyExchange, or ServerHelloDone where there is no hint (RFC 4279 §2).
    ExpectServerKeyExchange,
    /// ServerHelloDone.
    ExpectServerHelloDone,
    /// ChangeCipherSpec, the own Finished being sent.
    ExpectChangeCipherSpec,
    /// Finished.
    ExpectFinished,
    /// Nothing: the session is there to be taken.
    Established,
    /// Nothing: the handshake has failed.
    Failed,
}

/// What a [`ServerHandshake`](crate::ServerHandshake) waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServerState {
    /// ClientKeyExchange.
    ExpectClientKeyExchange,
    /// ChangeCipherSpec.
    ExpectChangeCipherSpec,
    /// Finished.
    ExpectFinished,
    /// Nothing: the session is there to be taken.
    Established,
    /// Nothing: the handshake has failed.
    Failed,
}
