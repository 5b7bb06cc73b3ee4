//! Chains of X.509 certificates in whole handshakes (RFC 7925 §4.4), with certificates that are made
//! here, the same in each run.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/certificates.rs"]
mod certificates;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hedgerow_core::{
    CertificateChain, CertificateCredentials, CertificateOwner, ChainRequest, ClientCertificates,
    CryptoError, CryptoRng, Peer, PeerId, SHA256_LEN, ServerName, SignatureScheme, Signatures,
    SigningKey, UnixTime,
};
use hedgerow_crypto_soft::{SoftCrypto, SoftSigningKey};
use hedgerow_handshake::{CertificateName, Settings, X509Credentials, X509Error};
use hedgerow_record::Protocol;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyIdMethod, KeyUsagePurpose, NameConstraints, PublicKeyData, SanType, SerialNumber,
    SignatureAlgorithm,
};

use certificates::{Double, End, NOW, PROTOCOLS, Shared, alert_sent, chain, key, settle};

const BAD_CERTIFICATE: u8 = 42;
const UNSUPPORTED_CERTIFICATE: u8 = 43;
const CERTIFICATE_EXPIRED: u8 = 45;
const CERTIFICATE_UNKNOWN: u8 = 46;
const UNKNOWN_CA: u8 = 48;
const ACCESS_DENIED: u8 = 49;

/// A public key as certificates are made with.
struct Subject {
    bytes: Vec<u8>,
    algorithm: &'static SignatureAlgorithm,
    key: Option<SoftSigningKey>,
}

impl Subject {
    fn p256(number: u8) -> Self {
        Self {
            bytes: certificates::public_key(&key(number)).to_vec(),
            algorithm: &rcgen::PKCS_ECDSA_P256_SHA256,
            key: Some(key(number)),
        }
    }
}

impl PublicKeyData for Subject {
    fn der_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

impl rcgen::SigningKey for Subject {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let mut out = [0; 72];
        let len = self.key.as_ref().unwrap().sign(message, &mut out).unwrap();
        Ok(out[..len].to_vec())
    }
}

/// The parameters of a certificate from 2026 to 2030; [`NOW`] is in January 2027.
fn params(name: &str, sans: &[SanType]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = sans.to_vec();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    params.serial_number = Some(SerialNumber::from(7_u64));
    params.key_identifier_method = KeyIdMethod::PreSpecified(name.as_bytes().to_vec());
    params
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

/// An authority: its certificate, and what signs for it.
struct Authority {
    certificate: Vec<u8>,
    issuer: Issuer<'static, Subject>,
}

impl Authority {
    fn root(name: &str, number: u8) -> Self {
        let params = authority_params(name);
        let certificate = params.self_signed(&Subject::p256(number)).unwrap();
        Self {
            certificate: certificate.der().to_vec(),
            issuer: Issuer::new(params, Subject::p256(number)),
        }
    }

    fn below(&self, params: CertificateParams, number: u8) -> Self {
        Self {
            certificate: self.sign(&params, &Subject::p256(number)),
            issuer: Issuer::new(params, Subject::p256(number)),
        }
    }

    fn sign(&self, params: &CertificateParams, subject: &Subject) -> Vec<u8> {
        params
            .signed_by(subject, &self.issuer)
            .unwrap()
            .der()
            .to_vec()
    }
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn uri(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

fn dns_name(name: &str) -> CertificateName<'_> {
    CertificateName::Dns(ServerName::new(name).unwrap())
}

/// RFC 7925 §4.4.2.
const EUI_64: &str = "00-11-22-33-44-55-66-77";

type Own = X509Credentials<SoftCrypto, SoftSigningKey>;

/// Names, authorities and certificates of a client and a server that accept each other.
struct Scene {
    root: Authority,
    server: CertificateParams,
    client: CertificateParams,
    name: CertificateName<'static>,
    clients: Vec<(CertificateName<'static>, PeerId)>,
}

impl Scene {
    fn new() -> Self {
        let mut server = params("ignored", &[dns("lamp.example")]);
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let mut client = params("ignored", &[dns(EUI_64)]);
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Self {
            root: Authority::root("root", 10),
            server,
            client,
            name: dns_name("lamp.example"),
            clients: vec![
                (dns_name("other.example"), PeerId(5)),
                (dns_name(EUI_64), PeerId(6)),
            ],
        }
    }

    fn client_credentials(&self, certificates: &[&[u8]]) -> Own {
        X509Credentials::new(SoftCrypto, [&self.root.certificate[..]])
            .unwrap()
            .with_identity(key(1), certificates.iter().copied())
            .unwrap()
            .with_server(self.name, PeerId(7))
    }

    fn server_credentials(&self, certificates: &[&[u8]]) -> Own {
        let credentials = X509Credentials::new(SoftCrypto, [&self.root.certificate[..]])
            .unwrap()
            .with_identity(key(2), certificates.iter().copied())
            .unwrap();
        let mut clients = self.clients.iter();
        clients
            .by_ref()
            .fold(credentials, |credentials, &(name, peer)| {
                credentials.with_client(name, peer)
            })
    }

    fn run(&self, protocol: Protocol) -> (End, End) {
        let client = self.root.sign(&self.client, &Subject::p256(1));
        let server = self.root.sign(&self.server, &Subject::p256(2));
        self.run_with(protocol, &[&client], &[&server])
    }

    fn run_with(&self, protocol: Protocol, client: &[&[u8]], server: &[&[u8]]) -> (End, End) {
        run(
            protocol,
            share(self.client_credentials(client)),
            share(self.server_credentials(server)),
        )
    }

    /// Expects that the client refuses the server's certificate with an alert.
    fn client_refuses(&self, alert: u8) {
        for protocol in PROTOCOLS {
            let (client, server) = self.run(protocol);
            assert_eq!(alert_sent(&client), Some(alert), "{protocol:?}");
            assert_eq!((client.peer, server.peer), (None, None));
        }
    }

    /// Expects that the server refuses the client's certificate with an alert.
    fn server_refuses(&self, alert: u8) {
        for protocol in PROTOCOLS {
            let (client, server) = self.run(protocol);
            assert_eq!(alert_sent(&server), Some(alert), "{protocol:?}");
            assert_eq!((client.peer, server.peer), (None, None));
        }
    }

    fn is_established(&self) {
        for protocol in PROTOCOLS {
            let (client, server) = self.run(protocol);
            assert_eq!(
                client.peer,
                Some(Peer::Certificate(PeerId(7))),
                "{:?}",
                client.failure
            );
            assert_eq!(
                server.peer,
                Some(Peer::Certificate(PeerId(6))),
                "{:?}",
                server.failure
            );
        }
    }
}

fn share(credentials: impl CertificateCredentials + 'static) -> Shared {
    Box::leak(Box::new(credentials))
}

fn run(protocol: Protocol, client: Shared, server: Shared) -> (End, End) {
    let mut client = End::client(protocol, client, Settings::default());
    let mut server = End::server(protocol, server, Settings::default());
    settle(&mut client, &mut server);
    (client, server)
}

#[test]
fn both_ends_are_known_by_the_names_in_their_certificates() {
    Scene::new().is_established();
}

/// RFC 7925 §4.4.4: three certificates below the authority that is trusted.
#[test]
fn chain_of_three_is_followed_and_one_without_its_middle_is_not() {
    let scene = Scene::new();
    let first = scene.root.below(authority_params("first"), 11);
    let second = first.below(authority_params("second"), 12);
    let server = second.sign(&scene.server, &Subject::p256(2));
    let client = second.sign(&scene.client, &Subject::p256(1));
    let (first, second) = (&first.certificate[..], &second.certificate[..]);
    for protocol in PROTOCOLS {
        let (end, _) = scene.run_with(
            protocol,
            &[&client, second, first],
            &[&server, second, first],
        );
        assert_eq!(end.peer, Some(Peer::Certificate(PeerId(7))));
        let (end, _) = scene.run_with(protocol, &[&client, second, first], &[&server, second]);
        assert_eq!(alert_sent(&end), Some(UNKNOWN_CA));
        let (_, end) = scene.run_with(protocol, &[&client, first], &[&server, second, first]);
        assert_eq!(alert_sent(&end), Some(UNKNOWN_CA));
        // With the authority itself, as some peers send it.
        let root = &scene.root.certificate[..];
        let (end, _) = scene.run_with(
            protocol,
            &[&client, second, first],
            &[&server, second, first, root],
        );
        assert_eq!(end.peer, Some(Peer::Certificate(PeerId(7))));
        // More than anybody looks at.
        let long = [&server, second, first, root, root];
        let (end, _) = scene.run_with(protocol, &[&client, second, first], &long);
        assert_eq!(alert_sent(&end), Some(UNSUPPORTED_CERTIFICATE));
    }
}

#[test]
fn authority_that_is_not_trusted_is_refused() {
    let scene = Scene::new();
    // The same name, another key; and a certificate that vouches for itself.
    let stranger = Authority::root("root", 13);
    let unrelated = Authority::root("stranger", 13);
    let client = scene.root.sign(&scene.client, &Subject::p256(1));
    let server = scene.root.sign(&scene.server, &Subject::p256(2));
    for protocol in PROTOCOLS {
        let own = [
            unrelated.sign(&scene.server, &Subject::p256(2)),
            scene
                .server
                .self_signed(&Subject::p256(2))
                .unwrap()
                .der()
                .to_vec(),
        ];
        for own in &own {
            let (end, _) = scene.run_with(protocol, &[&client], &[own]);
            assert_eq!(alert_sent(&end), Some(UNKNOWN_CA));
            let (end, _) = scene.run_with(protocol, &[&client], &[own, &unrelated.certificate]);
            assert_eq!(alert_sent(&end), Some(UNKNOWN_CA));
        }
        let own = unrelated.sign(&scene.client, &Subject::p256(1));
        let (_, end) = scene.run_with(protocol, &[&own], &[&server]);
        assert_eq!(alert_sent(&end), Some(UNKNOWN_CA));
        let forged = stranger.sign(&scene.server, &Subject::p256(2));
        let (end, _) = scene.run_with(protocol, &[&client], &[&forged]);
        assert_eq!(alert_sent(&end), Some(BAD_CERTIFICATE));
        let forged = stranger.sign(&scene.client, &Subject::p256(1));
        let (_, end) = scene.run_with(protocol, &[&forged], &[&server]);
        assert_eq!(alert_sent(&end), Some(BAD_CERTIFICATE));
    }
}

/// An authority may say how many stand below it, and whoever isn't one signs for nobody.
#[test]
fn limits_of_an_authority_hold() {
    let scene = Scene::new();
    let client = scene.root.sign(&scene.client, &Subject::p256(1));
    let mut limited = authority_params("limited");
    limited.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let limited = scene.root.below(limited, 11);
    let below = limited.below(authority_params("below"), 12);
    let server = below.sign(&scene.server, &Subject::p256(2));
    let leaf = scene.root.below(params("leaf", &[]), 14);
    let by_leaf = leaf.sign(&scene.server, &Subject::p256(2));
    let mut named = authority_params("named");
    named.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("elsewhere.example".into())],
        excluded_subtrees: Vec::new(),
    });
    let named = scene.root.below(named, 15);
    let misnamed = named.sign(&scene.server, &Subject::p256(2));
    for protocol in PROTOCOLS {
        for (chain, alert) in [
            (
                vec![&server[..], &below.certificate, &limited.certificate],
                BAD_CERTIFICATE,
            ),
            (vec![&by_leaf[..], &leaf.certificate], BAD_CERTIFICATE),
            (vec![&misnamed[..], &named.certificate], CERTIFICATE_UNKNOWN),
        ] {
            let (end, _) = scene.run_with(protocol, &[&client], &chain);
            assert_eq!(alert_sent(&end), Some(alert));
        }
    }
}

#[test]
fn certificate_counts_from_its_first_second_to_its_last() {
    // 2026-01-01 and 2030-01-01.
    const FROM: u64 = 1_767_225_600;
    const TO: u64 = 1_893_456_000;
    let scene = Scene::new();
    let certificate = scene.root.sign(&scene.server, &Subject::p256(2));
    let own = scene.root.sign(&scene.client, &Subject::p256(1));
    let (client, server) = (
        share(scene.client_credentials(&[&own])),
        share(scene.server_credentials(&[&certificate])),
    );
    for protocol in PROTOCOLS {
        let at = |client_time: Option<u64>, server_time: Option<u64>| {
            let mut client = End::client(protocol, client, Settings::default());
            let mut server = End::server(protocol, server, Settings::default());
            client.unix_time = client_time.map(UnixTime::from_secs);
            server.unix_time = server_time.map(UnixTime::from_secs);
            settle(&mut client, &mut server);
            (alert_sent(&client), alert_sent(&server))
        };
        let now = Some(NOW.as_secs());
        for secs in [FROM, TO] {
            assert_eq!(at(Some(secs), Some(secs)), (None, None));
        }
        for secs in [0, FROM - 1, TO + 1, u64::MAX] {
            assert_eq!(at(Some(secs), now), (Some(CERTIFICATE_EXPIRED), None));
            assert_eq!(at(now, Some(secs)), (None, Some(CERTIFICATE_EXPIRED)));
        }
        // Without a clock nobody can say.
        assert_eq!(at(None, now), (Some(CERTIFICATE_UNKNOWN), None));
        assert_eq!(at(now, None), (None, Some(CERTIFICATE_UNKNOWN)));
    }
}

/// RFC 7925 §4.4.1.
#[test]
fn server_has_to_have_the_one_name_that_is_wanted() {
    for sans in [
        vec![],
        vec![dns("other.example")],
        vec![dns("x.lamp.example")],
        vec![dns("*.example")],
        vec![dns("lamp.example"), dns("other.example")],
        vec![uri("coaps://lamp.example/")],
    ] {
        let mut scene = Scene::new();
        scene.server.subject_alt_names = sans;
        scene.client_refuses(CERTIFICATE_UNKNOWN);
    }
    // A wildcard of the kind that browsers take.
    let mut scene = Scene::new();
    scene.name = dns_name("lamp.site.example");
    scene.server.subject_alt_names = vec![dns("*.site.example")];
    scene.client_refuses(CERTIFICATE_UNKNOWN);
    // The common name doesn't count, and letters are alike in either case.
    let mut scene = Scene::new();
    scene.server = params("lamp.example", &[]);
    scene.client_refuses(CERTIFICATE_UNKNOWN);
    let mut scene = Scene::new();
    scene.server.subject_alt_names = vec![dns("LAMP.example")];
    scene.is_established();
}

/// RFC 7252 §9.1.3.3: a server without a DNS name, by the authority of its URI.
#[test]
fn server_may_be_known_by_a_coap_uri() {
    let mut scene = Scene::new();
    scene.name = CertificateName::CoapAuthority("[2001:db8::7]:5684");
    scene.client_refuses(CERTIFICATE_UNKNOWN);
    scene.server.subject_alt_names = vec![
        uri("https://[2001:db8::7]:5684/"),
        uri("coaps://[2001:db8::7]:5684.evil.example/"),
    ];
    scene.client_refuses(CERTIFICATE_UNKNOWN);
    scene.server.subject_alt_names = vec![uri("coap://other/"), uri("coaps://[2001:DB8::7]:5684/")];
    scene.is_established();
}

#[test]
fn client_that_is_not_on_the_list_has_no_access() {
    let mut scene = Scene::new();
    scene.client.subject_alt_names = vec![dns("00-11-22-33-44-55-66-78")];
    scene.server_refuses(ACCESS_DENIED);
    let mut scene = Scene::new();
    scene.clients.clear();
    scene.server_refuses(ACCESS_DENIED);
}

#[test]
fn client_with_the_names_of_two_peers_has_no_access() {
    let mut scene = Scene::new();
    scene.client.subject_alt_names = vec![dns(EUI_64), uri("coaps://[2001:db8::8]/")];
    scene.is_established();
    let second = CertificateName::CoapAuthority("[2001:db8::8]");
    scene.clients.push((second, PeerId(6)));
    scene.is_established();
    scene.clients.push((second, PeerId(8)));
    scene.server_refuses(ACCESS_DENIED);
}

/// Authorities of one name and several keys make many ways through a chain. Whoever sends one has
/// proved nothing, so few signatures are checked for it.
#[test]
fn signatures_of_one_chain_are_few_whatever_is_in_it() {
    let scene = Scene::new();
    let stranger = Authority::root("root", 13);
    let server = stranger.sign(&scene.server, &Subject::p256(2));
    let others =
        [14, 15, 16].map(|number| stranger.below(authority_params("root"), number).certificate);
    let checks = Arc::new(AtomicUsize::new(0));
    let credentials = X509Credentials::new(
        Counting(Arc::clone(&checks)),
        [&scene.root.certificate[..], &scene.root.certificate],
    )
    .unwrap()
    .with_server(scene.name, PeerId(7));
    let list = chain(&[&server, &others[0], &others[1], &others[2]]);
    let certificates = CertificateChain::decode_exact(&list).unwrap();
    let request = ChainRequest::new(certificates, CertificateOwner::Server, None, Some(NOW));
    assert!(credentials.verify_chain(&request).is_err());
    assert_eq!(checks.load(Ordering::Relaxed), 6);
    // The next chain is looked at afresh.
    let server = scene.root.sign(&scene.server, &Subject::p256(2));
    let list = chain(&[&server]);
    let certificates = CertificateChain::decode_exact(&list).unwrap();
    let request = ChainRequest::new(certificates, CertificateOwner::Server, None, Some(NOW));
    assert_eq!(
        credentials.verify_chain(&request).map(|chain| chain.peer),
        Ok(PeerId(7))
    );
}

/// Counts the signatures that are checked.
struct Counting(Arc<AtomicUsize>);

impl Signatures for Counting {
    type SigningKey = SoftSigningKey;

    fn generate_signing_key(
        &self,
        scheme: SignatureScheme,
        rng: &mut dyn CryptoRng,
    ) -> Result<SoftSigningKey, CryptoError> {
        SoftCrypto.generate_signing_key(scheme, rng)
    }

    fn signing_key(
        &self,
        scheme: SignatureScheme,
        private_key: &[u8],
    ) -> Result<SoftSigningKey, CryptoError> {
        SoftCrypto.signing_key(scheme, private_key)
    }

    fn verify(
        &self,
        scheme: SignatureScheme,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        SoftCrypto.verify(scheme, public_key, message, signature)
    }

    fn verify_digest(
        &self,
        scheme: SignatureScheme,
        public_key: &[u8],
        digest: &[u8; SHA256_LEN],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        SoftCrypto.verify_digest(scheme, public_key, digest, signature)
    }
}

/// RFC 7925 §4.4.4: a server's certificate is no client's, nor the other way round.
#[test]
fn certificate_for_another_purpose_is_refused() {
    let mut scene = Scene::new();
    scene.server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    scene.client_refuses(UNSUPPORTED_CERTIFICATE);
    let mut scene = Scene::new();
    scene.client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    scene.server_refuses(UNSUPPORTED_CERTIFICATE);
    // Where the extension is absent, any purpose will do (RFC 5280 §4.2.1.12).
    let mut scene = Scene::new();
    scene.server.extended_key_usages.clear();
    scene.client.extended_key_usages.clear();
    scene.is_established();
    // An authority isn't an end.
    let mut scene = Scene::new();
    scene.server.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    scene.client_refuses(UNSUPPORTED_CERTIFICATE);
}

/// RFC 7252 §9.1.3.3: the key is one of P-256.
#[test]
fn key_of_another_kind_is_refused() {
    let scene = Scene::new();
    let others = [
        Subject {
            bytes: [&[4][..], &[7; 96]].concat(),
            algorithm: &rcgen::PKCS_ECDSA_P384_SHA384,
            key: None,
        },
        Subject {
            // RSAPublicKey with a modulus of 256 bytes.
            bytes: [
                b"\x30\x82\x01\x0a\x02\x82\x01\x01\0".as_slice(),
                &[0xc7; 256],
                b"\x02\x03\x01\0\x01",
            ]
            .concat(),
            algorithm: &rcgen::PKCS_RSA_SHA256,
            key: None,
        },
    ];
    for protocol in PROTOCOLS {
        for other in &others {
            // A server that shows such a certificate and signs with what it has.
            let shown = chain(&[&scene.root.sign(&scene.server, other)]);
            let mut server = Double::x509(key(2), &key(1), 1);
            server.chains[0].2 = shown;
            let own = scene.root.sign(&scene.client, &Subject::p256(1));
            let client = share(scene.client_credentials(&[&own]));
            let (end, _) = run(protocol, client, server.share());
            assert_eq!(alert_sent(&end), Some(UNSUPPORTED_CERTIFICATE));

            let shown = chain(&[&scene.root.sign(&scene.client, other)]);
            let mut client = Double::x509(key(1), &key(2), 2);
            client.chains[0].2 = shown;
            let own = scene.root.sign(&scene.server, &Subject::p256(2));
            let server = share(scene.server_credentials(&[&own]));
            let (_, end) = run(protocol, client.share(), server);
            assert_eq!(alert_sent(&end), Some(UNSUPPORTED_CERTIFICATE));
        }
    }
}

/// A certificate in order, shown by somebody who has another key; and bytes that aren't one.
#[test]
fn stolen_or_broken_certificate_proves_nothing() {
    let scene = Scene::new();
    let server_s = scene.root.sign(&scene.server, &Subject::p256(2));
    let client_s = scene.root.sign(&scene.client, &Subject::p256(1));
    for protocol in PROTOCOLS {
        let mut broken = server_s.clone();
        let last = broken.len() - 1;
        broken[last] ^= 1;
        for (shown, alert) in [
            (&server_s, 51),
            (&broken, BAD_CERTIFICATE),
            (&b"no certificate".to_vec(), BAD_CERTIFICATE),
        ] {
            let mut thief = Double::x509(key(66), &key(1), 1);
            thief.chains[0].2 = chain(&[shown]);
            let client = share(scene.client_credentials(&[&client_s]));
            let (end, _) = run(protocol, client, thief.share());
            assert_eq!(alert_sent(&end), Some(alert));
            assert_eq!(end.peer, None);
        }
        let mut thief = Double::x509(key(66), &key(2), 2);
        thief.chains[0].2 = chain(&[&client_s]);
        let server = share(scene.server_credentials(&[&server_s]));
        let (_, end) = run(protocol, thief.share(), server);
        assert_eq!(alert_sent(&end), Some(51));
        assert_eq!(end.peer, None);
    }
}

#[test]
fn server_may_leave_its_clients_anonymous() {
    let scene = Scene::new();
    let certificate = scene.root.sign(&scene.server, &Subject::p256(2));
    for protocol in PROTOCOLS {
        let server = scene
            .server_credentials(&[&certificate])
            .with_client_certificates(ClientCertificates::NotRequested);
        let client = X509Credentials::new(SoftCrypto, [&scene.root.certificate[..]])
            .unwrap()
            .with_server(scene.name, PeerId(7));
        let (client, server) = run(protocol, share(client), share(server));
        assert_eq!(client.peer, Some(Peer::Certificate(PeerId(7))));
        assert_eq!(server.peer, Some(Peer::Anonymous));
    }
}

#[test]
fn what_is_no_certificate_or_another_key_s_is_not_taken_in() {
    let scene = Scene::new();
    let certificate = scene.root.sign(&scene.server, &Subject::p256(2));
    let refused = X509Credentials::new(SoftCrypto, [&b"authority"[..]]).err();
    assert_eq!(refused, Some(X509Error::NotACertificate));
    let own = |key: SoftSigningKey, certificates: &[&[u8]]| {
        X509Credentials::new(SoftCrypto, [])
            .unwrap()
            .with_identity(key, certificates.iter().copied())
            .err()
    };
    assert_eq!(own(key(2), &[&certificate]), None);
    assert_eq!(own(key(1), &[&certificate]), Some(X509Error::KeyMismatch));
    assert_eq!(own(key(2), &[]), Some(X509Error::Empty));
    assert_eq!(own(key(2), &[b"x"]), Some(X509Error::NotACertificate));
    let credentials = scene.server_credentials(&[&certificate]);
    assert_eq!(
        format!("{credentials:?}"),
        "X509Credentials { has_identity: true, authorities: 1, clients: 2, .. }"
    );
}
