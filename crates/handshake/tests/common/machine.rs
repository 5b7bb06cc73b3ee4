//! The four machines under test, and what each of them is by name.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

use hedgerow_core::{
    CertificateChain, CertificateCredentials, CertificateFault, CertificateType, ChainRequest,
    ClientCertificates, Env, Identity, IdentityRequest, P256_PUBLIC_KEY_LEN, PeerId,
    PskAndCertificates, PskStore, RawPublicKeyRequest, SecureStream, ServerCredentials,
    VerifiedChain,
};
use hedgerow_crypto_soft::{SoftAead, SoftCrypto, SoftSigningKey};
use hedgerow_handshake::{
    Acceptor, CachedSession, ClientHandshake, ClientState, ResumableSession, SentTicket,
    ServerHandshake, ServerState, Session, TlsClientHandshake, TlsServerHandshake, TlsSession,
};
use hedgerow_record::{CipherSuite, Protocol};

use crate::common::{Bytes, Shown, Store};

/// Which end the machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kx {
    Psk,
    EcdhePsk,
    /// Both ends with raw public keys.
    EcdheEcdsa,
    /// A full handshake with PSK whose server promises a ticket (RFC 5077 §3.1, figure 1).
    PskTicket,
    /// An abbreviated handshake, of a session of PSK that the server keeps under its ID (RFC 5246
    /// §7.3, figure 2).
    ResumedId,
    /// The same by a ticket, with no new one.
    ResumedTicket,
    /// The same with a new one (RFC 5077 §3.1, figure 2): no server of this crate does that.
    ResumedNewTicket,
}

impl Kx {
    pub fn name(self) -> &'static str {
        match self {
            Self::Psk => "PSK",
            Self::EcdhePsk => "ECDHE_PSK",
            Self::EcdheEcdsa => "ECDHE_ECDSA",
            Self::PskTicket => "PSK_TICKET",
            Self::ResumedId => "RESUMED_ID",
            Self::ResumedTicket => "RESUMED_TICKET",
            Self::ResumedNewTicket => "RESUMED_NEW_TICKET",
        }
    }

    /// Says whether keys come from a PSK alone, be it in this handshake or an earlier one.
    pub fn is_psk(self) -> bool {
        !matches!(self, Self::EcdhePsk | Self::EcdheEcdsa)
    }

    pub fn is_resumed(self) -> bool {
        matches!(
            self,
            Self::ResumedId | Self::ResumedTicket | Self::ResumedNewTicket
        )
    }

    /// Says whether both ends take part in resumption.
    pub fn has_resumption(self) -> bool {
        self == Self::PskTicket || self.is_resumed()
    }

    pub fn suite(self) -> CipherSuite {
        match self {
            Self::EcdhePsk => CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256,
            Self::EcdheEcdsa => CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM,
            _ => CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
        }
    }
}

/// What makes a stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub protocol: Protocol,
    pub side: Side,
    pub kx: Kx,
}

impl Kind {
    pub fn machine(self) -> &'static str {
        match (self.protocol, self.side) {
            (Protocol::Dtls, Side::Client) => "dtls-client",
            (Protocol::Dtls, Side::Server) => "dtls-server",
            (Protocol::Tls, Side::Client) => "tls-client",
            (Protocol::Tls, Side::Server) => "tls-server",
        }
    }

    pub fn is_dtls(self) -> bool {
        self.protocol == Protocol::Dtls
    }

    /// The machine's states in their order, by the message that each expects.
    pub fn states(self) -> &'static [&'static str] {
        match (self.side, self.kx) {
            (Side::Client, Kx::EcdheEcdsa) => &[
                "ServerHello",
                "Certificate",
                "ServerKeyExchange",
                "CertificateRequest",
                "ServerHelloDone",
                "ChangeCipherSpec",
                "Finished",
                "Established",
                "Closed",
            ],
            (Side::Server, Kx::EcdheEcdsa) => &[
                "ClientHello",
                "Certificate",
                "ClientKeyExchange",
                "CertificateVerify",
                "ChangeCipherSpec",
                "Finished",
                "Established",
                "Closed",
            ],
            (Side::Client, Kx::PskTicket) => &[
                "ServerHello",
                "ServerKeyExchange",
                "ServerHelloDone",
                "NewSessionTicket",
                "ChangeCipherSpec",
                "Finished",
                "Established",
                "Closed",
            ],
            (Side::Client, Kx::ResumedNewTicket) => &[
                "ServerHello",
                "NewSessionTicket",
                "ChangeCipherSpec",
                "Finished",
                "Established",
                "Closed",
            ],
            (Side::Client, Kx::ResumedId | Kx::ResumedTicket) => &[
                "ServerHello",
                "ChangeCipherSpec",
                "Finished",
                "Established",
                "Closed",
            ],
            (Side::Server, Kx::ResumedId | Kx::ResumedTicket | Kx::ResumedNewTicket) => &[
                "ClientHello",
                "ChangeCipherSpec",
                "Finished",
                "Established",
                "Closed",
            ],
            (Side::Client, _) => &[
                "ServerHello",
                "ServerKeyExchange",
                "ServerHelloDone",
                "ChangeCipherSpec",
                "Finished",
                "Established",
                "Closed",
            ],
            (Side::Server, _) => &[
                "ClientHello",
                "ClientKeyExchange",
                "ChangeCipherSpec",
                "Finished",
                "Established",
                "Closed",
            ],
        }
    }
}

/// What a machine has for each key exchange; the suite decides.
pub type ShownByAll = PskAndCertificates<Shown, LongTermKeys>;

/// A long-term key, made once, and whose public key is accepted: raw, or in what stands for an X.509
/// certificate and is compared alone.
pub struct LongTermKeys {
    pub key: &'static SoftSigningKey,
    pub peer: &'static [u8],
    pub clients: ClientCertificates,
    /// The own certificate, the peer's and the peer's key.
    pub x509: Option<(&'static [u8], &'static [u8], [u8; P256_PUBLIC_KEY_LEN])>,
}

impl LongTermKeys {
    fn certificate_type(&self) -> CertificateType {
        match self.x509 {
            Some(_) => CertificateType::X509,
            None => CertificateType::RawPublicKey,
        }
    }
}

impl CertificateCredentials for LongTermKeys {
    fn identity(&self, request: &IdentityRequest<'_>) -> Option<Identity<'_>> {
        (request.certificate_type == self.certificate_type()).then(|| match self.x509 {
            Some((own, ..)) => {
                Identity::Certificate(self.key, CertificateChain::decode_exact(own).unwrap())
            }
            None => Identity::RawPublicKey(self.key),
        })
    }

    fn accepts(&self, certificate_type: CertificateType) -> bool {
        certificate_type == self.certificate_type()
    }

    fn client_certificates(&self) -> ClientCertificates {
        self.clients
    }

    fn verify_chain(&self, request: &ChainRequest<'_>) -> Result<VerifiedChain, CertificateFault> {
        match (self.x509, request.chain.as_bytes()) {
            (Some((_, peer, public_key)), shown) if shown == peer => Ok(VerifiedChain {
                peer: PeerId(5),
                public_key,
            }),
            (_, shown) if shown == OTHER_KIND_OF_CERTIFICATE => Err(CertificateFault::Unsupported),
            _ => Err(CertificateFault::UnknownAuthority),
        }
    }

    fn peer_of_raw_public_key(&self, request: &RawPublicKeyRequest<'_>) -> Option<PeerId> {
        (request.subject_public_key_info == self.peer).then_some(PeerId(5))
    }
}

/// As [`ShownByAll`], for a server.
pub struct KnownByAll {
    pub store: Store,
    pub certificates: LongTermKeys,
}

impl ServerCredentials for KnownByAll {
    fn psk_store(&self) -> Option<&dyn PskStore> {
        self.store.psk_store()
    }

    fn certificates(&self) -> Option<&dyn CertificateCredentials> {
        Some(&self.certificates)
    }
}

/// What stands for certificates of client and server, and for one with a key that isn't of P-256.
pub const CERTIFICATES: [&[u8]; 2] = [b"\0\0\x0cthe client's", b"\0\0\x0cthe server's"];
pub const OTHER_KIND_OF_CERTIFICATE: &[u8] = b"\0\0\x03RSA";

/// The machine, from its first byte to its last.
pub enum Machine {
    Acceptor(Box<Acceptor<SoftCrypto>>),
    DtlsClient(Box<ClientHandshake<SoftCrypto, ShownByAll, Bytes>>),
    DtlsServer(Box<ServerHandshake<SoftCrypto, KnownByAll, Bytes>>),
    /// With the ticket that its handshake's last flight carries.
    DtlsSession(Box<Session<SoftAead>>, Option<Box<SentTicket>>),
    TlsClient(Box<TlsClientHandshake<SoftCrypto, ShownByAll, Bytes>>),
    TlsServer(Box<TlsServerHandshake<SoftCrypto, KnownByAll, Bytes>>),
    TlsSession(Box<TlsSession<SoftAead>>),
    Gone,
}

impl Machine {
    pub fn state(&self) -> &'static str {
        let client = |state| match state {
            ClientState::ExpectServerHello { .. } => "ServerHello",
            ClientState::ExpectCertificate => "Certificate",
            ClientState::ExpectServerKeyExchange => "ServerKeyExchange",
            ClientState::ExpectCertificateRequest => "CertificateRequest",
            ClientState::ExpectServerHelloDone => "ServerHelloDone",
            ClientState::ExpectNewSessionTicket => "NewSessionTicket",
            ClientState::ExpectChangeCipherSpec => "ChangeCipherSpec",
            ClientState::ExpectFinished => "Finished",
            ClientState::Failed => "Closed",
            _ => "?",
        };
        let server = |state| match state {
            ServerState::ExpectClientHello => "ClientHello",
            ServerState::ExpectCertificate => "Certificate",
            ServerState::ExpectClientKeyExchange => "ClientKeyExchange",
            ServerState::ExpectCertificateVerify => "CertificateVerify",
            ServerState::ExpectChangeCipherSpec => "ChangeCipherSpec",
            ServerState::ExpectFinished => "Finished",
            ServerState::Failed => "Closed",
            _ => "?",
        };
        let session = |is_open| if is_open { "Established" } else { "Closed" };
        match self {
            Self::Acceptor(_) => "ClientHello",
            Self::DtlsClient(machine) => client(machine.state()),
            Self::TlsClient(machine) => client(machine.state()),
            Self::DtlsServer(machine) => server(machine.state()),
            Self::TlsServer(machine) => server(machine.state()),
            Self::DtlsSession(machine, _) => session(machine.is_open()),
            Self::TlsSession(machine) => session(machine.is_open()),
            Self::Gone => "?",
        }
    }

    pub fn transmit(&mut self, env: &mut Env<'_>, raw: &mut Vec<Vec<u8>>) {
        let mut out = vec![0; 1200];
        loop {
            let written = match self {
                Self::DtlsClient(machine) => machine.poll_transmit(env, &mut out),
                Self::DtlsServer(machine) => machine.poll_transmit(env, &mut out),
                Self::DtlsSession(machine, ticket) => {
                    machine.poll_transmit_with(ticket.as_deref(), &mut out)
                }
                Self::TlsClient(machine) => machine.poll_transmit(env, &mut out),
                Self::TlsServer(machine) => machine.poll_transmit(env, &mut out),
                Self::TlsSession(machine) => machine.poll_transmit(env, &mut out),
                Self::Acceptor(_) | Self::Gone => Ok(None),
            };
            match written.unwrap() {
                Some(len) => raw.push(out[..len].to_vec()),
                None => return,
            }
        }
    }

    /// Goes over to the session; what it can be resumed by is handed out.
    pub fn become_session(&mut self) -> (Option<ResumableSession>, Option<CachedSession>) {
        let mut left = (None, None);
        *self = match std::mem::replace(self, Self::Gone) {
            Self::DtlsClient(machine) => {
                let done = machine.into_session().unwrap();
                left = (done.resumable, done.cacheable);
                Self::DtlsSession(Box::new(done.session), done.ticket.map(Box::new))
            }
            Self::DtlsServer(machine) => {
                let done = machine.into_session().unwrap();
                left = (done.resumable, done.cacheable);
                Self::DtlsSession(Box::new(done.session), done.ticket.map(Box::new))
            }
            Self::TlsClient(machine) => {
                let done = machine.into_session().unwrap();
                left = (done.resumable, done.cacheable);
                Self::TlsSession(Box::new(done.session))
            }
            Self::TlsServer(machine) => {
                let done = machine.into_session().unwrap();
                left = (done.resumable, done.cacheable);
                Self::TlsSession(Box::new(done.session))
            }
            other => other,
        };
        left
    }
}
