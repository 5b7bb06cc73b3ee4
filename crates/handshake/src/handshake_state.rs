//! The states of both handshakes by name, for those who watch: logs, counters, tests.

/// What a client's handshake waits for, be it a [`ClientHandshake`](crate::ClientHandshake) or a
/// [`TlsClientHandshake`](crate::TlsClientHandshake).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientState {
    /// ServerHello, or HelloVerifyRequest.
    ExpectServerHello {
        /// Whether the ClientHello that is to be answered carries a cookie.
        has_cookie: bool,
    },
    /// Certificate: only where the server signs.
    ExpectCertificate,
    /// ServerKeyExchange, or ServerHelloDone where there is no hint (RFC 4279 §2).
    ExpectServerKeyExchange,
    /// CertificateRequest, or ServerHelloDone where none is asked for: only where the server signs.
    ExpectCertificateRequest,
    /// ServerHelloDone.
    ExpectServerHelloDone,
    /// NewSessionTicket, which the server has promised (RFC 5077 §3.3).
    ExpectNewSessionTicket,
    /// ChangeCipherSpec, the own Finished being sent, or due behind the server's where a session is
    /// resumed.
    ExpectChangeCipherSpec,
    /// Finished.
    ExpectFinished,
    /// Nothing: the session is there to be taken.
    Established,
    /// Nothing: the handshake has failed.
    Failed,
}

/// What a server's handshake waits for, be it a [`ServerHandshake`](crate::ServerHandshake) or a
/// [`TlsServerHandshake`](crate::TlsServerHandshake).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServerState {
    /// ClientHello: only in TLS, since DTLS's acceptor has it before there is a handshake.
    ExpectClientHello,
    /// Certificate: only where the client was asked for one.
    ExpectCertificate,
    /// ClientKeyExchange.
    ExpectClientKeyExchange,
    /// CertificateVerify: only behind a client's certificate.
    ExpectCertificateVerify,
    /// ChangeCipherSpec.
    ExpectChangeCipherSpec,
    /// Finished.
    ExpectFinished,
    /// Nothing: the session is there to be taken.
    Established,
    /// Nothing: the handshake has failed.
    Failed,
}
