//! The ends of a TLS connection, and what they prove themselves with.

use std::sync::OnceLock;
use std::time::Duration;

use hedgerow_core::{
    CertificatesOnly, ChannelError, ClientCertificates, ClientCredentials, Credentials,
    CryptoProvider, Env, Event, Instant, P256_PUBLIC_KEY_LEN, PeerId, Psk, SecureStream,
    ServerCredentials, ServerName, SignatureScheme, Signatures, SigningKey, StreamReceived,
    UnixTime,
};
use hedgerow_crypto_soft::{SoftCrypto, SoftSigningKey};
use hedgerow_handshake::{
    Buffers, CertificateName, Settings, Timers, TlsClientHandshake, TlsServerHandshake, TlsSession,
    X509Credentials,
};
use hedgerow_sim::NonceLedger;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, PublicKeyData, SanType};

pub type Provider = NonceLedger<SoftCrypto>;
pub type Aead = <Provider as CryptoProvider>::Aead;

/// A handshake of either role.
trait Handshake {
    fn handle_bytes<'d>(
        &mut self,
        env: &mut Env<'_>,
        bytes: &'d mut [u8],
    ) -> Result<Option<StreamReceived<'d>>, ChannelError>;
    fn handle_end(&mut self) -> Result<(), ChannelError>;
    fn handle_timeout(&mut self, env: &mut Env<'_>) -> Result<(), ChannelError>;
    fn poll_transmit(&mut self, env: &mut Env<'_>, out: &mut [u8]) -> Option<usize>;
    fn poll_timeout(&self) -> Option<Instant>;
    fn is_established(&self) -> bool;
    fn into_session(self: Box<Self>) -> TlsSession<Aead>;
}

macro_rules! handshake {
    ($machine:ident, $credentials:ident) => {
        impl<C: $credentials> Handshake for $machine<Provider, C, Box<[u8]>> {
            fn handle_bytes<'d>(
                &mut self,
                env: &mut Env<'_>,
                bytes: &'d mut [u8],
            ) -> Result<Option<StreamReceived<'d>>, ChannelError> {
                self.handle_bytes(env, bytes)
            }

            fn handle_end(&mut self) -> Result<(), ChannelError> {
                self.handle_end()
            }

            fn handle_timeout(&mut self, env: &mut Env<'_>) -> Result<(), ChannelError> {
                self.handle_timeout(env)
            }

            fn poll_transmit(&mut self, env: &mut Env<'_>, out: &mut [u8]) -> Option<usize> {
                self.poll_transmit(env, out).unwrap()
            }

            fn poll_timeout(&self) -> Option<Instant> {
                self.poll_timeout()
            }

            fn is_established(&self) -> bool {
                self.is_established()
            }

            fn into_session(self: Box<Self>) -> TlsSession<Aead> {
                (*self).into_session().unwrap().session
            }
        }
    };
}

handshake!(TlsClientHandshake, ClientCredentials);
handshake!(TlsServerHandshake, ServerCredentials);

enum Stage {
    Handshake(Box<dyn Handshake>),
    Session(Box<TlsSession<Aead>>),
    Gone,
}

/// One end of a TLS connection: it sends `answer` once it has received `expected` bytes. The server then
/// closes the connection.
pub struct TlsEnd {
    stage: Stage,
    is_server: bool,
    pub answer: Vec<u8>,
    pub expected: usize,
    /// Whether it has said what it had to say.
    pub has_answered: bool,
    arrived: Vec<u8>,
    pub plaintext: Vec<u8>,
    pub is_closed: bool,
    pub failure: Option<ChannelError>,
}

impl TlsEnd {
    pub fn client<C: ClientCredentials + 'static>(
        provider: Provider,
        credentials: C,
        env: &mut Env<'_>,
    ) -> Self {
        let client = TlsClientHandshake::new(provider, credentials, settings(), buffers(), env);
        Self::at(Stage::Handshake(Box::new(client.unwrap())), false)
    }

    pub fn server<S: ServerCredentials + 'static>(
        provider: Provider,
        credentials: S,
        env: &mut Env<'_>,
    ) -> Self {
        let server = TlsServerHandshake::new(provider, credentials, settings(), buffers(), env);
        Self::at(Stage::Handshake(Box::new(server.unwrap())), true)
    }

    fn at(stage: Stage, is_server: bool) -> Self {
        Self {
            stage,
            is_server,
            answer: Vec::new(),
            expected: 0,
            has_answered: false,
            arrived: Vec::new(),
            plaintext: Vec::new(),
            is_closed: false,
            failure: None,
        }
    }

    /// Takes what has become of it.
    pub fn take(&mut self) -> Self {
        std::mem::replace(self, Self::at(Stage::Gone, self.is_server))
    }

    pub fn receive(&mut self, env: &mut Env<'_>, bytes: &[u8]) {
        self.arrived.extend(bytes);
        let env = &mut Env::new(env.now, &mut *env.rng).with_unix_time(NOW);
        while self.failure.is_none() && !self.is_closed && self.take_record(env) {}
    }

    fn take_record(&mut self, env: &mut Env<'_>) -> bool {
        let before = self.arrived.len();
        let received = match &mut self.stage {
            Stage::Handshake(machine) => machine.handle_bytes(env, &mut self.arrived),
            Stage::Session(session) => session.handle_bytes(env, &mut self.arrived),
            Stage::Gone => return false,
        };
        let rest = match received {
            Ok(None) => return false,
            Ok(Some(received)) => {
                match received.event {
                    Some(Event::Plaintext(text)) => self.plaintext.extend_from_slice(text),
                    Some(Event::Closed) => self.is_closed = true,
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
        true
    }

    /// Takes in the end of the stream.
    pub fn handle_end(&mut self) {
        let ended = match &mut self.stage {
            Stage::Handshake(machine) => machine.handle_end(),
            Stage::Session(session) => session.handle_end(),
            Stage::Gone => Ok(()),
        };
        self.failure = self.failure.or(ended.err());
    }

    pub fn handle_timeout(&mut self, env: &mut Env<'_>) {
        let ended = match &mut self.stage {
            Stage::Handshake(machine) => machine.handle_timeout(env),
            Stage::Session(session) => session.handle_timeout(env),
            Stage::Gone => Ok(()),
        };
        self.failure = self.failure.or(ended.err());
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Handshake(machine) if self.failure.is_none() => machine.poll_timeout(),
            _ => None,
        }
    }

    /// Says whether this end has nothing more to send.
    pub fn has_ended(&self) -> bool {
        let has_closed = self.is_server && self.has_answered;
        self.is_closed || self.failure.is_some() || has_closed
    }

    /// Takes out everything that there is to send.
    pub fn transmit(&mut self, env: &mut Env<'_>) -> Vec<u8> {
        let env = &mut Env::new(env.now, &mut *env.rng).with_unix_time(NOW);
        let mut sent = Vec::new();
        self.flush(env, &mut sent);
        self.stage = match std::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::Handshake(machine) if machine.is_established() => {
                Stage::Session(Box::new(machine.into_session()))
            }
            other => other,
        };
        if let Stage::Session(session) = &mut self.stage
            && !self.has_answered
            && self.failure.is_none()
            && self.plaintext.len() >= self.expected
        {
            self.has_answered = true;
            for text in self.answer.chunks(1_000) {
                let mut out = vec![0; text.len() + 64];
                let len = session.seal(text, &mut out).unwrap();
                sent.extend(&out[..len]);
            }
            if self.is_server {
                session.close();
            }
        }
        self.flush(env, &mut sent);
        sent
    }

    fn flush(&mut self, env: &mut Env<'_>, sent: &mut Vec<u8>) {
        let mut out = [0; 4_096];
        loop {
            let len = match &mut self.stage {
                Stage::Handshake(machine) => machine.poll_transmit(env, &mut out),
                Stage::Session(session) => session.poll_transmit(env, &mut out).unwrap(),
                Stage::Gone => None,
            };
            match len {
                Some(len) => sent.extend(&out[..len]),
                None => return,
            }
        }
    }
}

/// The end-to-end key, which the gateway doesn't have.
pub fn psk_client() -> Credentials<'static> {
    let psk = Psk::new(END_TO_END).unwrap().into_end_to_end().unwrap();
    Credentials {
        psk_identity: b"meter",
        psk: Box::leak(Box::new(psk)),
        peer: PeerId(1),
    }
}

pub fn psk_server() -> (&'static [u8], Psk, PeerId) {
    let psk = Psk::new(END_TO_END).unwrap().into_end_to_end().unwrap();
    (b"meter", psk, PeerId(2))
}

pub fn certificate_client() -> impl ClientCredentials {
    let name = CertificateName::Dns(ServerName::new(NAME).unwrap());
    let credentials = X509Credentials::new(SoftCrypto, [&certificates().0[..]]).unwrap();
    CertificatesOnly(credentials.with_server(name, PeerId(1)))
}

pub fn certificate_server() -> impl ServerCredentials {
    certificate_server_of(certificates())
}

/// A server with a certificate of this authority's, by its key, for this name.
pub fn other_certificate_server(authority: u8, name: &str) -> impl ServerCredentials {
    certificate_server_of(&issue(authority, name))
}

fn certificate_server_of(
    (authority, server): &(Vec<u8>, Vec<u8>),
) -> impl ServerCredentials + use<> {
    let credentials = X509Credentials::new(SoftCrypto, [&authority[..]]).unwrap();
    let credentials = credentials.with_identity(key(2), [&server[..]]);
    let mode = ClientCertificates::NotRequested;
    CertificatesOnly(credentials.unwrap().with_client_certificates(mode))
}

/// The authority's certificate and the server's, which are the same in every run: nothing in them is drawn at random.
fn certificates() -> &'static (Vec<u8>, Vec<u8>) {
    static MADE: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
    MADE.get_or_init(|| issue(AUTHORITY, NAME))
}

fn issue(authority: u8, name: &str) -> (Vec<u8>, Vec<u8>) {
    let mut of_authority = params();
    of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let signer = || Subject(key(authority));
    let issued = of_authority.self_signed(&signer()).unwrap();
    let issuer = Issuer::new(of_authority, signer());
    let mut params = params();
    params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
    let server = params.signed_by(&Subject(key(2)), &issuer).unwrap();
    (issued.der().to_vec(), server.der().to_vec())
}

/// The key of the authority that the client trusts.
pub const AUTHORITY: u8 = 1;

fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    params.serial_number = Some(rcgen::SerialNumber::from(7_u64));
    params.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(b"key".to_vec());
    params
}

struct Subject(SoftSigningKey);

impl PublicKeyData for Subject {
    fn der_bytes(&self) -> &[u8] {
        let mut out = [0; P256_PUBLIC_KEY_LEN];
        self.0.write_public_key(&mut out).unwrap();
        Box::leak(Box::new(out))
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Subject {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let mut out = [0; 72];
        let len = SigningKey::sign(&self.0, message, &mut out).unwrap();
        Ok(out[..len].to_vec())
    }
}

fn key(number: u8) -> SoftSigningKey {
    let scheme = SignatureScheme::EcdsaSecp256r1Sha256;
    SoftCrypto.signing_key(scheme, &[number; 32]).unwrap()
}

/// A handshake over a lossy link takes its time, and waits for the hop's.
fn settings() -> Settings {
    Settings::default().with_timers(Timers {
        deadline: Duration::from_secs(3_000),
        ..Timers::default()
    })
}

pub fn buffers() -> Buffers<Box<[u8]>> {
    Buffers {
        incoming: vec![0; 4_096].into(),
        outgoing: vec![0; 4_096].into(),
    }
}

const END_TO_END: &[u8] = b"end-to-end bytes";
pub const NAME: &str = "upstream.example";
const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
