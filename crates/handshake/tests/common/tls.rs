//! A client and a server at the two ends of a stream in memory.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub
)]

use hedgerow_core::{
    ChannelError, Credentials, CryptoProvider, Env, Event, PeerId, Psk, SecureStream,
};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_handshake::{Buffers, Settings, TlsClientHandshake, TlsServerHandshake, TlsSession};

pub const PSK: &[u8] = b"a key of 16 byte";
pub const IDENTITY: &[u8] = b"thermometer";

pub type Known = (&'static [u8], Psk, PeerId);
type Client<P> = TlsClientHandshake<P, &'static Credentials<'static>, [u8; 512]>;
type Server<P> = TlsServerHandshake<P, Known, [u8; 512]>;

/// Either end, from its first byte to its last.
pub enum Stage<P: CryptoProvider> {
    Client(Box<Client<P>>),
    Server(Box<Server<P>>),
    Session(TlsSession<P::Aead>),
    Gone,
}

/// One end of a stream.
pub struct End<P: CryptoProvider = SoftCrypto> {
    pub stage: Stage<P>,
    pub arrived: Vec<u8>,
    pub plaintexts: Vec<Vec<u8>>,
    pub closed: bool,
    pub failure: Option<ChannelError>,
}

pub fn buffers() -> Buffers<[u8; 512]> {
    Buffers {
        incoming: [0; 512],
        outgoing: [0; 512],
    }
}

pub fn credentials(identity: &[u8], psk: &[u8]) -> &'static Credentials<'static> {
    let psk_identity = Box::leak(identity.to_vec().into_boxed_slice());
    let psk = Box::leak(Box::new(Psk::new(psk).unwrap()));
    Box::leak(Box::new(Credentials {
        psk_identity,
        psk,
        peer: PeerId(2),
    }))
}

pub fn known(identity: &[u8], psk: &[u8]) -> Known {
    let identity: &[u8] = Box::leak(identity.to_vec().into_boxed_slice());
    (identity, Psk::new(psk).unwrap(), PeerId(1))
}

impl End {
    pub fn client(
        settings: Settings,
        credentials: &'static Credentials<'static>,
        env: &mut Env<'_>,
    ) -> Self {
        Self::client_with(SoftCrypto, settings, credentials, env)
    }

    pub fn server(settings: Settings, known: Known, env: &mut Env<'_>) -> Self {
        Self::server_with(SoftCrypto, settings, known, env)
    }
}

impl<P: CryptoProvider> End<P> {
    pub fn client_with(
        provider: P,
        settings: Settings,
        credentials: &'static Credentials<'static>,
        env: &mut Env<'_>,
    ) -> Self {
        let client = TlsClientHandshake::new(provider, credentials, settings, buffers(), env);
        Self::at(Stage::Client(Box::new(client.unwrap())))
    }

    pub fn server_with(provider: P, settings: Settings, known: Known, env: &mut Env<'_>) -> Self {
        let server = TlsServerHandshake::new(provider, known, settings, buffers(), env);
        Self::at(Stage::Server(Box::new(server.unwrap())))
    }

    pub fn at(stage: Stage<P>) -> Self {
        Self {
            stage,
            arrived: Vec::new(),
            plaintexts: Vec::new(),
            closed: false,
            failure: None,
        }
    }

    pub fn session(&mut self) -> &mut TlsSession<P::Aead> {
        match &mut self.stage {
            Stage::Session(session) => session,
            _ => panic!("not established: {:?}", self.failure),
        }
    }

    /// Takes in bytes as they arrive.
    pub fn receive(&mut self, env: &mut Env<'_>, bytes: &[u8]) {
        self.arrived.extend(bytes);
        while self.failure.is_none() && self.take_record(env) {}
    }

    fn take_record(&mut self, env: &mut Env<'_>) -> bool {
        let before = self.arrived.len();
        let received = match &mut self.stage {
            Stage::Client(client) => client.handle_bytes(env, &mut self.arrived),
            Stage::Server(server) => server.handle_bytes(env, &mut self.arrived),
            Stage::Session(session) => session.handle_bytes(env, &mut self.arrived),
            Stage::Gone => return false,
        };
        let rest = match received {
            Ok(None) => return false,
            Ok(Some(received)) => {
                match received.event {
                    Some(Event::Plaintext(text)) => self.plaintexts.push(text.to_vec()),
                    Some(Event::Closed) => self.closed = true,
                    _ => {}
                }
                received.rest.len()
            }
            Err(error) => {
                self.failure = Some(error);
                return false;
            }
        };
        self.arrived.drain(..before - rest);
        self.become_session();
        true
    }

    fn become_session(&mut self) {
        self.stage = match core::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::Client(client) if client.is_established() => {
                Stage::Session(client.into_session().unwrap().session)
            }
            Stage::Server(server) if server.is_established() => {
                Stage::Session(server.into_session().unwrap().session)
            }
            other => other,
        };
    }

    /// Takes out everything that there is to send.
    pub fn transmit(&mut self, env: &mut Env<'_>) -> Vec<u8> {
        let mut sent = Vec::new();
        let mut out = [0; 256];
        loop {
            let written = match &mut self.stage {
                Stage::Client(client) => client.poll_transmit(env, &mut out),
                Stage::Server(server) => server.poll_transmit(env, &mut out),
                Stage::Session(session) => session.poll_transmit(env, &mut out),
                Stage::Gone => return sent,
            };
            match written.unwrap() {
                Some(len) => sent.extend(&out[..len]),
                None => return sent,
            }
        }
    }

    pub fn seal(&mut self, text: &[u8]) -> Vec<u8> {
        let mut out = vec![0; text.len() + 64];
        let len = self.session().seal(text, &mut out).unwrap();
        out.truncate(len);
        out
    }
}

/// Hands bytes to and fro until nobody has any more, `piece` bytes at a time.
pub fn settle<P: CryptoProvider>(env: &mut Env<'_>, a: &mut End<P>, b: &mut End<P>, piece: usize) {
    loop {
        let from_a = a.transmit(env);
        from_a.chunks(piece).for_each(|bytes| b.receive(env, bytes));
        let from_b = b.transmit(env);
        from_b.chunks(piece).for_each(|bytes| a.receive(env, bytes));
        if from_a.is_empty() && from_b.is_empty() {
            return;
        }
    }
}
