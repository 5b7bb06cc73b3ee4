//! Both ends of certificate mode in either protocol, messages by hand between them, and doubles for
//! their credentials.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub
)]

use std::time::Duration;

use hedgerow_core::{
    CertificateChain, CertificateCredentials, CertificateFault, CertificateOwner, CertificateType,
    CertificatesOnly, ChainRequest, ChannelError, ClientCertificates, CryptoError, Env, Event,
    Identity, IdentityRequest, Instant, P256_PUBLIC_KEY_LEN, Peer, PeerFault, PeerId,
    RawPublicKeyRequest, SHA256_LEN, SecureChannel, SecureStream, ServerName, SignatureScheme,
    Signatures, SigningKey, UnixTime, VerifiedChain, Writer,
};
use hedgerow_crypto_soft::{SoftAead, SoftCrypto, SoftSigningKey};
use hedgerow_handshake::{
    Acceptance, Acceptor, Buffers, ClientHandshake, ServerHandshake, Session, Settings,
    TlsClientHandshake, TlsServerHandshake, TlsSession,
};
use hedgerow_record::{Protocol, encode_p256_spki};
use hedgerow_sim::TestRng;

pub const PROTOCOLS: [Protocol; 2] = [Protocol::Dtls, Protocol::Tls];
pub const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

pub type Shared = &'static dyn CertificateCredentials;
pub type Credentials = CertificatesOnly<Shared>;
type Bytes = Box<[u8]>;

pub fn buffers(len: usize) -> Buffers<Bytes> {
    Buffers {
        incoming: vec![0; len].into(),
        outgoing: vec![0; len].into(),
    }
}

/// A key that is the same in each run.
pub fn key(number: u8) -> SoftSigningKey {
    let scheme = SignatureScheme::EcdsaSecp256r1Sha256;
    SoftCrypto.signing_key(scheme, &[number; 32]).unwrap()
}

pub fn public_key(key: &dyn SigningKey) -> [u8; P256_PUBLIC_KEY_LEN] {
    let mut out = [0; P256_PUBLIC_KEY_LEN];
    key.write_public_key(&mut out).unwrap();
    out
}

pub fn spki(key: &dyn SigningKey) -> Vec<u8> {
    encode_p256_spki(&public_key(key)).to_vec()
}

pub fn chain(certificates: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![0; 20_000];
    let mut writer = Writer::new(&mut out);
    CertificateChain::encode(certificates.iter().copied(), &mut writer).unwrap();
    writer.written().to_vec()
}

/// Shows one public key and signs with another.
pub struct Impostor {
    pub shown: SoftSigningKey,
    pub signing: SoftSigningKey,
}

impl SigningKey for Impostor {
    fn scheme(&self) -> SignatureScheme {
        self.signing.scheme()
    }

    fn write_public_key(&self, out: &mut [u8]) -> Result<usize, CryptoError> {
        self.shown.write_public_key(out)
    }

    fn sign(&self, message: &[u8], out: &mut [u8]) -> Result<usize, CryptoError> {
        self.signing.sign(message, out)
    }

    fn sign_digest(&self, digest: &[u8; SHA256_LEN], out: &mut [u8]) -> Result<usize, CryptoError> {
        self.signing.sign_digest(digest, out)
    }
}

/// Credentials whose every answer is set.
pub struct Double {
    pub raw: Option<Box<dyn SigningKey>>,
    /// Names and the certificates shown under them; an empty name stands for any.
    pub chains: Vec<(&'static str, Box<dyn SigningKey>, Vec<u8>)>,
    /// Raw public keys, the end that may show each, and whose they are.
    pub known: Vec<(Vec<u8>, CertificateOwner, PeerId)>,
    pub accepts: &'static [CertificateType],
    pub verdict: Result<VerifiedChain, CertificateFault>,
    pub name: Option<&'static str>,
    pub clients: ClientCertificates,
}

impl Default for Double {
    fn default() -> Self {
        Self {
            raw: None,
            chains: Vec::new(),
            known: Vec::new(),
            accepts: &[],
            verdict: Err(CertificateFault::UnknownAuthority),
            name: None,
            clients: ClientCertificates::Required,
        }
    }
}

impl Double {
    /// Shows and accepts raw public keys: `peer`'s from `owner`.
    pub fn raw(
        own: impl SigningKey + 'static,
        owner: CertificateOwner,
        peer: &[u8],
        id: u32,
    ) -> Self {
        Self {
            raw: Some(Box::new(own)),
            known: vec![(peer.to_vec(), owner, PeerId(id))],
            accepts: &[CertificateType::RawPublicKey],
            ..Self::default()
        }
    }

    /// Shows a chain and takes any other to be of `peer`.
    pub fn x509(own: impl SigningKey + 'static, peer: &dyn SigningKey, id: u32) -> Self {
        Self {
            chains: vec![(
                "",
                Box::new(own),
                chain(&[b"a certificate", b"its authority"]),
            )],
            accepts: &[CertificateType::X509],
            verdict: Ok(VerifiedChain {
                peer: PeerId(id),
                public_key: public_key(peer),
            }),
            ..Self::default()
        }
    }

    pub fn share(self) -> Shared {
        Box::leak(Box::new(self))
    }
}

impl CertificateCredentials for Double {
    fn identity(&self, request: &IdentityRequest<'_>) -> Option<Identity<'_>> {
        if request.certificate_type == CertificateType::RawPublicKey {
            return self.raw.as_deref().map(Identity::RawPublicKey);
        }
        let wanted = request.server_name.map_or("", |name| name.as_str());
        let found = self.chains.iter();
        let (_, key, chain) = found
            .into_iter()
            .find(|(name, ..)| name.is_empty() || *name == wanted)?;
        let chain = CertificateChain::decode_exact(chain).unwrap();
        Some(Identity::Certificate(&**key, chain))
    }

    fn peer_of_raw_public_key(&self, request: &RawPublicKeyRequest<'_>) -> Option<PeerId> {
        let is_client = request.owner == CertificateOwner::Client;
        assert_eq!(
            request.server_name.is_some(),
            self.name.is_some() && !is_client
        );
        let mut known = self.known.iter();
        known
            .find(|(key, owner, _)| {
                key == request.subject_public_key_info && *owner == request.owner
            })
            .map(|&(_, _, peer)| peer)
    }

    fn accepts(&self, certificate_type: CertificateType) -> bool {
        self.accepts.contains(&certificate_type)
    }

    fn verify_chain(&self, request: &ChainRequest<'_>) -> Result<VerifiedChain, CertificateFault> {
        assert_eq!(request.unix_time, Some(NOW));
        let is_client = request.owner == CertificateOwner::Client;
        assert_eq!(
            request.server_name.is_some(),
            self.name.is_some() && !is_client
        );
        self.verdict
    }

    fn server_name(&self) -> Option<ServerName<'_>> {
        self.name.map(|name| ServerName::new(name).unwrap())
    }

    fn client_certificates(&self) -> ClientCertificates {
        self.clients
    }
}

enum Stage {
    DtlsIdle(Acceptor<SoftCrypto>, Credentials),
    DtlsClient(Box<ClientHandshake<SoftCrypto, Credentials, Bytes>>),
    DtlsServer(Box<ServerHandshake<SoftCrypto, Credentials, Bytes>>),
    DtlsSession(Box<Session<SoftAead>>),
    TlsClient(Box<TlsClientHandshake<SoftCrypto, Credentials, Bytes>>),
    TlsServer(Box<TlsServerHandshake<SoftCrypto, Credentials, Bytes>>),
    TlsSession(Box<TlsSession<SoftAead>>),
    Gone,
}

/// One end of a handshake and what becomes of it.
pub struct End {
    stage: Stage,
    settings: Settings,
    rng: TestRng,
    now: Instant,
    /// Datagrams to be sent before those that the machine has.
    answers: Vec<Vec<u8>>,
    arrived: Vec<u8>,
    pub unix_time: Option<UnixTime>,
    pub peer: Option<Peer>,
    pub failure: Option<ChannelError>,
    pub plaintexts: Vec<Vec<u8>>,
    /// What the flights were packed into in the end.
    pub datagram_len: usize,
}

impl End {
    fn at(stage: Stage, settings: Settings, seed: u64) -> Self {
        Self {
            stage,
            settings,
            rng: TestRng::new(seed),
            now: Instant::ZERO,
            answers: Vec::new(),
            arrived: Vec::new(),
            unix_time: Some(NOW),
            peer: None,
            failure: None,
            plaintexts: Vec::new(),
            datagram_len: 0,
        }
    }

    pub fn client(protocol: Protocol, credentials: Shared, settings: Settings) -> Self {
        let mut rng = TestRng::new(1);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let credentials = CertificatesOnly(credentials);
        let buffers = buffers(5_000);
        let stage = match protocol {
            Protocol::Dtls => Stage::DtlsClient(Box::new(
                ClientHandshake::new(SoftCrypto, credentials, settings, buffers, env).unwrap(),
            )),
            Protocol::Tls => Stage::TlsClient(Box::new(
                TlsClientHandshake::new(SoftCrypto, credentials, settings, buffers, env).unwrap(),
            )),
        };
        Self::at(stage, settings, 2)
    }

    pub fn server(protocol: Protocol, credentials: Shared, settings: Settings) -> Self {
        Self::server_with_seed(protocol, credentials, settings, 3)
    }

    pub fn server_with_seed(
        protocol: Protocol,
        credentials: Shared,
        settings: Settings,
        seed: u64,
    ) -> Self {
        let mut rng = TestRng::new(seed);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let credentials = CertificatesOnly(credentials);
        let stage = match protocol {
            Protocol::Dtls => {
                Stage::DtlsIdle(Acceptor::new(SoftCrypto, settings, env), credentials)
            }
            Protocol::Tls => {
                let buffers = buffers(5_000);
                Stage::TlsServer(Box::new(
                    TlsServerHandshake::new(SoftCrypto, credentials, settings, buffers, env)
                        .unwrap(),
                ))
            }
        };
        Self::at(stage, settings, seed + 1)
    }

    /// Takes in a datagram, or bytes of a stream.
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.failure.is_some() {
            return;
        }
        let env = &mut Env::new(self.now, &mut self.rng);
        env.unix_time = self.unix_time;
        if let Stage::DtlsIdle(acceptor, credentials) = &self.stage {
            let mut out = [0; 100];
            let (mut datagram, credentials) = (bytes.to_vec(), *credentials);
            match acceptor.handle_datagram_with(&credentials, env, b"", &mut datagram, &mut out) {
                Acceptance::Answer(len) => self.answers.push(out[..len].to_vec()),
                Acceptance::Refuse { len, description } => {
                    self.answers.push(out[..len].to_vec());
                    self.failure = Some(PeerFault::AlertSent { description }.into());
                }
                Acceptance::Accept(hello) => {
                    let (settings, buffers) = (self.settings, buffers(5_000));
                    self.stage = Stage::DtlsServer(Box::new(
                        ServerHandshake::new(
                            SoftCrypto,
                            credentials,
                            settings,
                            hello,
                            buffers,
                            env,
                        )
                        .unwrap(),
                    ));
                }
                Acceptance::Drop(_) => {}
            }
            return;
        }
        self.arrived.extend(bytes);
        while self.failure.is_none() && self.take_record() {}
    }

    /// Handles the first record of what has arrived; `false` if there is none.
    fn take_record(&mut self) -> bool {
        let env = &mut Env::new(self.now, &mut self.rng);
        env.unix_time = self.unix_time;
        let before = self.arrived.len();
        if before == 0 {
            return false;
        }
        let bytes = &mut self.arrived;
        let outcome = match &mut self.stage {
            Stage::DtlsClient(client) => client
                .handle_datagram(env, bytes)
                .map(|r| (r.event, r.rest.len())),
            Stage::DtlsServer(server) => server
                .handle_datagram(env, bytes)
                .map(|r| (r.event, r.rest.len())),
            Stage::DtlsSession(session) => session
                .handle_datagram(env, bytes)
                .map(|r| (r.event, r.rest.len())),
            Stage::TlsClient(client) => client
                .handle_bytes(env, bytes)
                .map(|r| r.map_or((None, before), |r| (r.event, r.rest.len()))),
            Stage::TlsServer(server) => server
                .handle_bytes(env, bytes)
                .map(|r| r.map_or((None, before), |r| (r.event, r.rest.len()))),
            Stage::TlsSession(session) => session
                .handle_bytes(env, bytes)
                .map(|r| r.map_or((None, before), |r| (r.event, r.rest.len()))),
            Stage::DtlsIdle(..) | Stage::Gone => return false,
        };
        let rest = match outcome {
            Ok((event, rest)) => {
                match event {
                    Some(Event::Established(peer)) => self.peer = Some(peer),
                    Some(Event::Plaintext(text)) => self.plaintexts.push(text.to_vec()),
                    _ => {}
                }
                rest
            }
            Err(error) => {
                self.failure = Some(error);
                return false;
            }
        };
        self.arrived.drain(..before - rest);
        self.become_session();
        rest < before
    }

    fn become_session(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::DtlsClient(end) if end.is_established() => {
                let established = end.into_session().unwrap();
                self.datagram_len = established.datagram_len;
                Stage::DtlsSession(Box::new(established.session))
            }
            Stage::DtlsServer(end) if end.is_established() => {
                let established = end.into_session().unwrap();
                self.datagram_len = established.datagram_len;
                Stage::DtlsSession(Box::new(established.session))
            }
            Stage::TlsClient(end) if end.is_established() => {
                Stage::TlsSession(Box::new(end.into_session().unwrap().session))
            }
            Stage::TlsServer(end) if end.is_established() => {
                Stage::TlsSession(Box::new(end.into_session().unwrap().session))
            }
            other => other,
        };
        // What the session says is what the event said.
        match &self.stage {
            Stage::DtlsSession(session) => assert_eq!(Some(session.peer()), self.peer),
            Stage::TlsSession(session) => assert_eq!(Some(session.peer()), self.peer),
            _ => {}
        }
    }

    /// Takes out the datagrams that there are to send, or pieces of the stream.
    pub fn transmit(&mut self) -> Vec<Vec<u8>> {
        let mut sent = std::mem::take(&mut self.answers);
        let mut out = vec![0; 1_200];
        loop {
            let env = &mut Env::new(self.now, &mut self.rng);
            let written = match &mut self.stage {
                Stage::DtlsClient(end) => end.poll_transmit(env, &mut out),
                Stage::DtlsServer(end) => end.poll_transmit(env, &mut out),
                Stage::DtlsSession(end) => end.poll_transmit(env, &mut out),
                Stage::TlsClient(end) => end.poll_transmit(env, &mut out),
                Stage::TlsServer(end) => end.poll_transmit(env, &mut out),
                Stage::TlsSession(end) => end.poll_transmit(env, &mut out),
                Stage::DtlsIdle(..) | Stage::Gone => return sent,
            };
            match written.unwrap() {
                Some(len) => sent.push(out[..len].to_vec()),
                None => return sent,
            }
        }
    }

    /// Gives the peer what is there to be sent.
    pub fn send_to(&mut self, peer: &mut Self) {
        for bytes in self.transmit() {
            peer.receive(&bytes);
        }
    }

    /// The path carries no datagram above `len` bytes, as somebody says.
    pub fn limit_datagrams(&mut self, len: usize) {
        match &mut self.stage {
            Stage::DtlsClient(end) => end.limit_datagrams(len),
            Stage::DtlsServer(end) => end.limit_datagrams(len),
            _ => {}
        }
    }

    /// Lets a second pass.
    pub fn wait(&mut self) {
        self.now = self.now + Duration::from_secs(1);
        let env = &mut Env::new(self.now, &mut self.rng);
        let waited = match &mut self.stage {
            Stage::DtlsClient(end) => end.handle_timeout(env),
            Stage::DtlsServer(end) => end.handle_timeout(env),
            _ => Ok(()),
        };
        self.failure = self.failure.or(waited.err());
    }

    pub fn seal(&mut self, text: &[u8]) -> Vec<u8> {
        self.try_seal(text).unwrap()
    }

    pub fn try_seal(&mut self, text: &[u8]) -> Result<Vec<u8>, ChannelError> {
        let mut out = vec![0; text.len() + 96];
        let len = match &mut self.stage {
            Stage::DtlsSession(session) => session.seal(text, &mut out),
            Stage::TlsSession(session) => session.seal(text, &mut out),
            _ => panic!("not established: {:?}", self.failure),
        }?;
        out.truncate(len);
        Ok(out)
    }

    /// The most plaintext that a record of this end can have.
    pub fn max_plaintext_len(&self) -> usize {
        match &self.stage {
            Stage::DtlsSession(session) => session.max_plaintext_len(),
            Stage::TlsSession(session) => session.max_plaintext_len(),
            _ => panic!("not established: {:?}", self.failure),
        }
    }
}

/// Hands over what there is until nobody has any more, without a clock.
pub fn settle(client: &mut End, server: &mut End) {
    loop {
        let to_server = client.transmit();
        to_server.iter().for_each(|bytes| server.receive(bytes));
        let to_client = server.transmit();
        to_client.iter().for_each(|bytes| client.receive(bytes));
        if to_server.is_empty() && to_client.is_empty() {
            return;
        }
    }
}

/// A handshake message: its type and its body.
pub type Message = (u8, Vec<u8>);

/// Takes a flight apart into the messages in clear, whole or in parts, and what is not a message.
pub fn take_apart(protocol: Protocol, flight: &[Vec<u8>]) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    let mut stream = Vec::new();
    let mut has_changed = false;
    for mut bytes in flight.iter().map(Vec::as_slice) {
        while !bytes.is_empty() {
            let header = if protocol == Protocol::Dtls { 13 } else { 5 };
            let len = usize::from(u16::from_be_bytes([bytes[header - 2], bytes[header - 1]]));
            let (record, rest) = bytes.split_at(header + len);
            bytes = rest;
            has_changed |= record[0] == 20;
            if record[0] != 22 || has_changed {
                continue;
            }
            let fragment = &record[header..];
            match protocol {
                Protocol::Tls => stream.extend(fragment),
                // A part behind another of the same message is in its order here.
                Protocol::Dtls if fragment[6..9] == [0, 0, 0] => {
                    messages.push((fragment[0], fragment[12..].to_vec()));
                }
                Protocol::Dtls => messages.last_mut().unwrap().1.extend(&fragment[12..]),
            }
        }
    }
    let mut rest = &stream[..];
    while rest.len() >= 4 {
        let len = usize::from(rest[2]) * 256 + usize::from(rest[3]);
        messages.push((rest[0], rest[4..4 + len].to_vec()));
        rest = &rest[4 + len..];
    }
    messages
}

/// Puts messages into records, numbered from `first_seq` on.
pub fn put_together(protocol: Protocol, messages: &[Message], first_seq: u8) -> Vec<Vec<u8>> {
    let numbered = messages.iter().zip(first_seq..);
    let record = |((kind, body), seq): (&Message, u8)| {
        let len = u16::try_from(body.len()).unwrap();
        let [high, low] = len.to_be_bytes();
        let mut message = vec![*kind, 0, high, low];
        if protocol == Protocol::Dtls {
            message.extend([0, seq, 0, 0, 0, 0, high, low]);
        }
        message.extend(body);
        let [high, low] = u16::try_from(message.len()).unwrap().to_be_bytes();
        let mut record = match protocol {
            Protocol::Tls => vec![22, 3, 3],
            Protocol::Dtls => vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, seq + 10],
        };
        record.extend([high, low]);
        record.extend(message);
        record
    };
    numbered.map(record).collect()
}

/// Says which alert ended a handshake.
pub fn alert_sent(end: &End) -> Option<u8> {
    match end.failure {
        Some(ChannelError::Peer(PeerFault::AlertSent { description })) => Some(description),
        _ => None,
    }
}
