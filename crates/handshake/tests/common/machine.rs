//! The four machines under test, and what each of them is by name.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

use hedgerow_core::{Env, SecureChannel, SecureStream};
use hedgerow_crypto_soft::{SoftAead, SoftCrypto};
use hedgerow_handshake::{
    Acceptor, ClientHandshake, ClientState, ServerHandshake, ServerState, Session,
    TlsClientHandshake, TlsServerHandshake, TlsSession,
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
}

impl Kx {
    pub fn name(self) -> &'static str {
        match self {
            Self::Psk => "PSK",
            Self::EcdhePsk => "ECDHE_PSK",
        }
    }

    pub fn suite(self) -> CipherSuite {
        match self {
            Self::Psk => CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
            Self::EcdhePsk => CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256,
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
        match self.side {
            Side::Client => &[
                "ServerHello",
                "ServerKeyExchange",
                "ServerHelloDone",
                "ChangeCipherSpec",
                "Finished",
                "Established",
                "Closed",
            ],
            Side::Server => &[
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

/// The machine, from its first byte to its last.
pub enum Machine {
    Acceptor(Box<Acceptor<SoftCrypto>>),
    DtlsClient(Box<ClientHandshake<SoftCrypto, Shown, Bytes>>),
    DtlsServer(Box<ServerHandshake<SoftCrypto, Store, Bytes>>),
    DtlsSession(Box<Session<SoftAead>>),
    TlsClient(Box<TlsClientHandshake<SoftCrypto, Shown, Bytes>>),
    TlsServer(Box<TlsServerHandshake<SoftCrypto, Store, Bytes>>),
    TlsSession(Box<TlsSession<SoftAead>>),
    Gone,
}

impl Machine {
    pub fn state(&self) -> &'static str {
        let client = |state| match state {
            ClientState::ExpectServerHello { .. } => "ServerHello",
            ClientState::ExpectServerKeyExchange => "ServerKeyExchange",
            ClientState::ExpectServerHelloDone => "ServerHelloDone",
            ClientState::ExpectChangeCipherSpec => "ChangeCipherSpec",
            ClientState::ExpectFinished => "Finished",
            ClientState::Failed => "Closed",
            _ => "?",
        };
        let server = |state| match state {
            ServerState::ExpectClientHello => "ClientHello",
            ServerState::ExpectClientKeyExchange => "ClientKeyExchange",
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
            Self::DtlsSession(machine) => session(machine.is_open()),
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
                Self::DtlsSession(machine) => machine.poll_transmit(env, &mut out),
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

    pub fn become_session(&mut self) {
        *self = match std::mem::replace(self, Self::Gone) {
            Self::DtlsClient(machine) => {
                Self::DtlsSession(Box::new(machine.into_session().unwrap().session))
            }
            Self::DtlsServer(machine) => {
                Self::DtlsSession(Box::new(machine.into_session().unwrap().session))
            }
            Self::TlsClient(machine) => {
                Self::TlsSession(Box::new(machine.into_session().unwrap().session))
            }
            Self::TlsServer(machine) => {
                Self::TlsSession(Box::new(machine.into_session().unwrap().session))
            }
            other => other,
        };
    }
}
