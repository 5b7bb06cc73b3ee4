//! The security modes through whole endpoints: who may come in by what, what is refused before it is
//! sent, and who may ride on a session that is there.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_core::{
    CertificateChain, CertificateCredentials, CertificateFault, CertificateOwner, CertificateType,
    ChainRequest, ClientCertificates, ClientCredentials, Credentials, DropReason, Env, Identity,
    IdentityRequest, Instant, KeyScope, Misuse, P256_PUBLIC_KEY_LEN, Peer, PeerFault, PeerId, Psk,
    PskStore, RawPublicKeyRequest, SecurityMode, ServerCredentials, SignatureScheme, Signatures,
    SigningKey, VerifiedChain, Writer,
};
use hedgerow_crypto_soft::{SoftCrypto, SoftSigningKey};
use hedgerow_endpoint::{
    Address, Config, Endpoint, Error, Event, SecurityPolicy, StreamConfig, StreamConnection,
    StreamEvent,
};
use hedgerow_exchange::{Request, Response};
use hedgerow_record::encode_p256_spki;
use hedgerow_sim::TestRng;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Host(u8);

impl Address for Host {
    fn with_bytes<R>(&self, lend: impl FnOnce(&[u8]) -> R) -> R {
        lend(&[self.0])
    }
}

const CLIENT: Host = Host(1);
const SERVER: Host = Host(2);

/// Either end's credentials, of any mode.
#[derive(Clone)]
struct Shown {
    psk: Option<Arc<(&'static [u8], Psk, PeerId)>>,
    certificates: Option<Arc<Own>>,
}

struct Own {
    key: SoftSigningKey,
    /// What a server wants of its clients.
    client_certificates: ClientCertificates,
    /// Shown if it isn't empty, in place of the raw public key.
    chain: Vec<u8>,
    server: Vec<u8>,
    clients: Vec<(Vec<u8>, PeerId)>,
}

impl ClientCredentials for Shown {
    fn pre_shared_key(&self) -> Option<Credentials<'_>> {
        self.psk
            .as_deref()
            .map(|(psk_identity, psk, peer)| Credentials {
                psk_identity,
                psk,
                peer: *peer,
            })
    }

    fn certificates(&self) -> Option<&dyn CertificateCredentials> {
        let own: &dyn CertificateCredentials = self.certificates.as_deref()?;
        Some(own)
    }

    fn is_same(&self, other: &Self) -> bool {
        match (&self.certificates, &other.certificates) {
            (Some(own), Some(other)) => own.server == other.server,
            (None, None) => match (self.pre_shared_key(), other.pre_shared_key()) {
                (Some(one), Some(other)) => ClientCredentials::is_same(&one, &other),
                _ => false,
            },
            _ => false,
        }
    }
}

impl ServerCredentials for Shown {
    fn psk_store(&self) -> Option<&dyn PskStore> {
        let store: &dyn PskStore = self.psk.as_deref()?;
        Some(store)
    }

    fn certificates(&self) -> Option<&dyn CertificateCredentials> {
        ClientCredentials::certificates(self)
    }
}

impl Own {
    fn certificate_type(&self) -> CertificateType {
        match self.chain.is_empty() {
            true => CertificateType::RawPublicKey,
            false => CertificateType::X509,
        }
    }

    fn peer_of(&self, public_key: &[u8], owner: CertificateOwner) -> Option<PeerId> {
        match owner {
            CertificateOwner::Server => (self.server == public_key).then_some(PeerId(9)),
            CertificateOwner::Client => {
                let mut clients = self.clients.iter();
                clients
                    .find(|(key, _)| key == public_key)
                    .map(|&(_, peer)| peer)
            }
        }
    }
}

impl CertificateCredentials for Own {
    fn identity(&self, request: &IdentityRequest<'_>) -> Option<Identity<'_>> {
        (request.certificate_type == self.certificate_type()).then(|| {
            match self.certificate_type() {
                CertificateType::RawPublicKey => Identity::RawPublicKey(&self.key),
                _ => Identity::Certificate(
                    &self.key,
                    CertificateChain::decode_exact(&self.chain).unwrap(),
                ),
            }
        })
    }

    fn peer_of_raw_public_key(&self, request: &RawPublicKeyRequest<'_>) -> Option<PeerId> {
        self.peer_of(request.subject_public_key_info, request.owner)
    }

    fn client_certificates(&self) -> ClientCertificates {
        self.client_certificates
    }

    fn accepts(&self, certificate_type: CertificateType) -> bool {
        certificate_type == self.certificate_type()
    }

    /// A double: the first certificate is its owner's key.
    fn verify_chain(&self, request: &ChainRequest<'_>) -> Result<VerifiedChain, CertificateFault> {
        let first = request.chain.iter().next().unwrap();
        let peer = self.peer_of(&first[..91], request.owner);
        Ok(VerifiedChain {
            peer: peer.ok_or(CertificateFault::NoAccess)?,
            public_key: first[26..91].try_into().unwrap(),
        })
    }
}

fn key(number: u8) -> SoftSigningKey {
    let scheme = SignatureScheme::EcdsaSecp256r1Sha256;
    SoftCrypto.signing_key(scheme, &[number; 32]).unwrap()
}

fn spki(number: u8) -> Vec<u8> {
    let mut public_key = [0; P256_PUBLIC_KEY_LEN];
    key(number).write_public_key(&mut public_key).unwrap();
    encode_p256_spki(&public_key).to_vec()
}

/// Key 1 is the client's, key 2 the server's.
fn own(number: u8, chain: Vec<u8>) -> Shown {
    Shown {
        psk: None,
        certificates: Some(Arc::new(Own {
            key: key(number),
            client_certificates: ClientCertificates::Required,
            chain,
            server: spki(2),
            clients: vec![(spki(1), PeerId(8))],
        })),
    }
}

fn raw(number: u8) -> Shown {
    own(number, Vec::new())
}

/// A chain of more than three thousand bytes, which takes several datagrams.
fn x509(number: u8) -> Shown {
    let mut first = spki(number);
    first.resize(1_200, 7);
    let mut out = vec![0; 8_000];
    let mut writer = Writer::new(&mut out);
    CertificateChain::encode([&first[..], &[8; 1_100], &[9; 1_100]], &mut writer).unwrap();
    own(number, writer.written().to_vec())
}

fn psk(scope: KeyScope) -> Shown {
    let psk = Psk::new(b"sixteen byte key").unwrap().with_scope(scope);
    Shown {
        psk: Some(Arc::new((b"lamp", psk, PeerId(5)))),
        certificates: None,
    }
}

fn least(mode: SecurityMode) -> Config {
    Config {
        security: Arc::new(SecurityPolicy::new(mode)),
        ..Config::default()
    }
}

type End = Endpoint<Host, SoftCrypto, Shown, Shown>;

struct Pair {
    client: End,
    server: End,
    rng: TestRng,
    now: Instant,
    /// Who each end found at the other: the server's finding first.
    peers: [Option<Peer>; 2],
    answered: bool,
    failure: Option<String>,
    /// Who asked, as the server's application sees it.
    asked: Option<Peer>,
}

impl Pair {
    fn new(client: Config, store: Shown, server: Config) -> Self {
        let mut rng = TestRng::new(3);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        Self {
            client: Endpoint::client(SoftCrypto, psk(KeyScope::OnePeer), client),
            server: Endpoint::server(SoftCrypto, store, server, env),
            rng,
            now: Instant::ZERO,
            peers: [None; 2],
            answered: false,
            failure: None,
            asked: None,
        }
    }

    /// Asks once, and lets a minute pass.
    fn ask(&mut self, credentials: &Shown) -> Result<(), Error> {
        let env = &mut Env::new(self.now, &mut self.rng);
        let association = self.client.connect(env, SERVER, Some(credentials))?;
        self.client
            .request(env, association, &Request::new(Code::GET))?;
        let end = self.now + Duration::from_secs(60);
        while self.now < end {
            self.carry();
            self.now = self.now + Duration::from_millis(500);
            let env = &mut Env::new(self.now, &mut self.rng);
            self.client.handle_timeout(env);
            self.server.handle_timeout(env);
        }
        Ok(())
    }

    fn carry(&mut self) {
        let (mut datagram, mut answer) = ([0; 1_500], [0; 64]);
        for _ in 0..20 {
            let env = &mut Env::new(self.now, &mut self.rng);
            while let Some((_, len)) = self.client.poll_transmit(env, &mut datagram) {
                let mut at = 0;
                while at < len {
                    let part = &mut datagram[at..len];
                    let handled = self.server.handle_datagram(env, CLIENT, part, &mut answer);
                    at += handled.consumed;
                    let back = handled.answer;
                    match handled.event {
                        Some(Event::Established { peer, .. }) => self.peers[0] = Some(peer),
                        Some(Event::Request {
                            association,
                            request,
                            peer,
                            ..
                        }) => {
                            self.asked = Some(peer);
                            let response = Response::new(Code::CONTENT);
                            self.server
                                .respond(env, association, request, &response)
                                .unwrap();
                        }
                        _ => {}
                    }
                    if back > 0 {
                        let part = &mut answer[..back];
                        self.client.handle_datagram(env, SERVER, part, &mut [0; 64]);
                    }
                }
            }
            while let Some((_, len)) = self.server.poll_transmit(env, &mut datagram) {
                let mut at = 0;
                while at < len {
                    let part = &mut datagram[at..len];
                    let handled = self.client.handle_datagram(env, SERVER, part, &mut answer);
                    at += handled.consumed;
                    match handled.event {
                        Some(Event::Established { peer, .. }) => self.peers[1] = Some(peer),
                        Some(Event::Response { .. }) => self.answered = true,
                        _ => {}
                    }
                }
            }
        }
        while let Some(event) = self.client.poll_event() {
            if let Event::Failed { error, .. } = event {
                self.failure = Some(error.to_string());
            }
        }
    }
}

#[test]
fn requests_are_answered_in_every_mode_of_a_session() {
    for (client, server, peers) in [
        (
            psk(KeyScope::Shared),
            psk(KeyScope::Shared),
            [Peer::SharedPsk(PeerId(5)), Peer::SharedPsk(PeerId(5))],
        ),
        (
            psk(KeyScope::OnePeer),
            psk(KeyScope::OnePeer),
            [Peer::Psk(PeerId(5)), Peer::Psk(PeerId(5))],
        ),
        (
            raw(1),
            raw(2),
            [Peer::RawPublicKey(PeerId(8)), Peer::RawPublicKey(PeerId(9))],
        ),
        (
            x509(1),
            x509(2),
            [Peer::Certificate(PeerId(8)), Peer::Certificate(PeerId(9))],
        ),
    ] {
        let any = || least(SecurityMode::NoSec);
        let mut pair = Pair::new(any(), server, any());
        pair.ask(&client).unwrap();
        assert!(pair.answered, "{:?}", pair.failure);
        assert_eq!(pair.peers, peers.map(Some));
        assert_eq!(pair.asked, Some(peers[0]));
    }
}

/// What one end seals the other hands out, and what isn't handed out isn't sealed either: nobody's session
/// is no hop.
#[test]
fn messages_of_mode_itls_pass_both_ways_in_every_mode_but_to_nobody() {
    const MESSAGE: &[u8] = b"\xc1\x81\x00sealed by an end";
    let mut open = raw(2);
    let own = open.certificates.as_mut().unwrap();
    Arc::get_mut(own).unwrap().client_certificates = ClientCertificates::NotRequested;
    for (client, server, passes) in [
        (psk(KeyScope::Shared), psk(KeyScope::Shared), true),
        (psk(KeyScope::OnePeer), psk(KeyScope::OnePeer), true),
        (raw(1), raw(2), true),
        (x509(1), x509(2), true),
        (raw(1), open, false),
    ] {
        let forwards = || Config {
            forwards: true,
            ..least(SecurityMode::NoSec)
        };
        let mut pair = Pair::new(forwards(), server, forwards());
        pair.ask(&client).unwrap();
        let [there, _] = pair.peers.map(Option::unwrap);
        assert_eq!(there == Peer::Anonymous, !passes);
        let env = &mut Env::new(pair.now, &mut pair.rng);
        let (mut out, mut answer) = ([0; 1_500], [0; 64]);
        let known = pair.client.connect(env, SERVER, Some(&client)).unwrap();
        let sealed = pair.client.seal_forwarded(env, known, MESSAGE, &mut out);
        let datagram = &mut out[..sealed.unwrap().1];
        let handled = pair
            .server
            .handle_datagram(env, CLIENT, datagram, &mut answer);
        let association = match handled.event {
            Some(Event::Forwarded {
                association,
                message,
                ..
            }) => {
                assert!(passes);
                assert_eq!(message, MESSAGE);
                association
            }
            Some(Event::Dropped { reason, .. }) => {
                assert!(!passes, "{there:?}");
                assert_eq!(reason, DropReason::NotAcceptable);
                continue;
            }
            other => panic!("{there:?}: {other:?}"),
        };
        let sealed = pair
            .server
            .seal_forwarded(env, association, MESSAGE, &mut out);
        let datagram = &mut out[..sealed.unwrap().1];
        let handled = pair
            .client
            .handle_datagram(env, SERVER, datagram, &mut answer);
        let Some(Event::Forwarded { message, .. }) = handled.event else {
            panic!("{there:?}: {:?}", handled.event);
        };
        assert_eq!(message, MESSAGE);
    }
}

#[test]
fn client_refuses_what_is_below_its_policy_before_it_sends_anything() {
    let modes = [
        (None, SecurityMode::NoSec),
        (Some(psk(KeyScope::Shared)), SecurityMode::SharedKey),
        (Some(psk(KeyScope::OnePeer)), SecurityMode::MultiKey),
        (Some(raw(1)), SecurityMode::Certificate),
    ];
    for (credentials, mode) in &modes {
        for bound in SecurityMode::ALL {
            let mut rng = TestRng::new(3);
            let env = &mut Env::new(Instant::ZERO, &mut rng);
            let nobody = psk(KeyScope::OnePeer);
            let mut client: End = Endpoint::client(SoftCrypto, nobody, least(bound));
            let config = StreamConfig {
                security: Arc::new(SecurityPolicy::new(bound)),
                ..StreamConfig::default()
            };
            let begun = client.connect(env, SERVER, credentials.as_ref());
            let stream = StreamConnection::<_, Shown, _>::client(
                SoftCrypto,
                credentials.clone(),
                &config,
                env,
            );
            if *mode >= bound {
                assert!(begun.is_ok() && stream.is_ok(), "{mode} {bound}");
                continue;
            }
            let forbidden = Misuse::ForbiddenMode {
                mode: *mode,
                least: bound,
            };
            assert_eq!(begun, Err(Error::Channel(forbidden)));
            assert_eq!(stream.err(), Some(forbidden));
            assert!(client.poll_transmit(env, &mut [0; 1_500]).is_none());
            assert_eq!((client.associations(), client.handshakes()), (0, 0));
        }
    }
    // What is said about nothing is MultiKey.
    assert_eq!(SecurityPolicy::default().least(), SecurityMode::MultiKey);
}

#[test]
fn stream_server_in_clear_has_to_be_permitted() {
    let mut rng = TestRng::new(3);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    for bound in SecurityMode::ALL {
        let config = StreamConfig {
            security: Arc::new(SecurityPolicy::new(bound)),
            ..StreamConfig::default()
        };
        let server =
            StreamConnection::<_, Shown, Shown>::server(SoftCrypto, None, &config, env).err();
        let forbidden = Misuse::ForbiddenMode {
            mode: SecurityMode::NoSec,
            least: bound,
        };
        let expected = (bound > SecurityMode::NoSec).then_some(forbidden);
        assert_eq!(server, expected);
    }
}

/// The client can't tell a mode that is forbidden from a wrong key.
#[test]
fn server_lets_nobody_in_below_its_policy() {
    let any = || least(SecurityMode::NoSec);
    let mut pair = Pair::new(any(), psk(KeyScope::Shared), Config::default());
    pair.ask(&psk(KeyScope::OnePeer)).unwrap();
    assert_eq!(pair.peers, [None, None]);
    let refused = PeerFault::CredentialsRefused.to_string();
    assert_eq!(pair.failure, Some(refused.clone()));

    let mut pair = Pair::new(
        any(),
        psk(KeyScope::OnePeer),
        least(SecurityMode::Certificate),
    );
    pair.ask(&psk(KeyScope::OnePeer)).unwrap();
    assert_eq!(pair.peers, [None, None]);
    assert_eq!(pair.failure, Some(refused));

    // A single client may have less than the others, or more.
    let policy = SecurityPolicy::new(SecurityMode::Certificate)
        .with_client(PeerId(5), SecurityMode::SharedKey);
    let config = Config {
        security: Arc::new(policy),
        ..Config::default()
    };
    let mut pair = Pair::new(any(), psk(KeyScope::Shared), config);
    pair.ask(&psk(KeyScope::OnePeer)).unwrap();
    assert_eq!(pair.asked, Some(Peer::SharedPsk(PeerId(5))));
    let policy = SecurityPolicy::default().with_client(PeerId(5), SecurityMode::Certificate);
    let config = Config {
        security: Arc::new(policy),
        ..Config::default()
    };
    let mut pair = Pair::new(any(), psk(KeyScope::OnePeer), config);
    pair.ask(&psk(KeyScope::OnePeer)).unwrap();
    assert_eq!(pair.asked, None);
}

/// Who has a key as well as a certificate is known by the certificate, and by the key where the
/// other end has no more.
#[test]
fn stronger_mode_is_taken_where_both_ends_have_it() {
    let both = |number| Shown {
        psk: psk(KeyScope::OnePeer).psk,
        ..raw(number)
    };
    let mut pair = Pair::new(Config::default(), both(2), Config::default());
    pair.ask(&both(1)).unwrap();
    assert_eq!(pair.asked, Some(Peer::RawPublicKey(PeerId(8))));
    let mut pair = Pair::new(Config::default(), both(2), Config::default());
    pair.ask(&psk(KeyScope::OnePeer)).unwrap();
    assert_eq!(pair.asked, Some(Peer::Psk(PeerId(5))));
}

#[test]
fn who_accepts_another_server_does_not_ride_on_its_session() {
    let config = Config::default;
    let mut pair = Pair::new(config(), raw(2), config());
    pair.ask(&raw(1)).unwrap();
    assert!(pair.answered);
    let mut other = raw(1);
    let certificates = other.certificates.as_mut().unwrap();
    Arc::get_mut(certificates).unwrap().server = spki(3);
    let env = &mut Env::new(pair.now, &mut pair.rng);
    let refused = pair.client.connect(env, SERVER, Some(&other));
    assert_eq!(refused, Err(Error::AddressInUse));
    let refused = pair
        .client
        .connect(env, SERVER, Some(&psk(KeyScope::OnePeer)));
    assert_eq!(refused, Err(Error::AddressInUse));
    assert!(pair.client.connect(env, SERVER, Some(&raw(1))).is_ok());
}

#[test]
fn requests_over_tls_are_answered_under_certificates() {
    for (client, server, peer) in [
        (raw(1), raw(2), Peer::RawPublicKey(PeerId(8))),
        (x509(1), x509(2), Peer::Certificate(PeerId(8))),
    ] {
        let mut rng = TestRng::new(3);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let config = StreamConfig::default();
        type Stream = StreamConnection<SoftCrypto, Shown, Shown>;
        let mut client: Stream =
            StreamConnection::client(SoftCrypto, Some(client), &config, env).unwrap();
        let mut server: Stream =
            StreamConnection::server(SoftCrypto, Some(server), &config, env).unwrap();
        let mut established = None;
        let mut message = Vec::new();
        for _ in 0..10 {
            for is_client in [true, false] {
                let (from, to) = match is_client {
                    true => (&mut client, &mut server),
                    false => (&mut server, &mut client),
                };
                let mut bytes = Vec::new();
                while from.poll_transmit(env, &mut message, &mut bytes).unwrap() {}
                let mut rest = &bytes[..];
                loop {
                    let taken = to.push(rest);
                    rest = &rest[taken..];
                    match to.poll(env).unwrap() {
                        Some(StreamEvent::Established(found)) if is_client => {
                            established = Some(found);
                        }
                        Some(_) => {}
                        None if taken == 0 => break,
                        None => {}
                    }
                }
            }
        }
        assert_eq!(established, Some(peer));
        assert!(client.is_established() && server.is_established());
    }
}
