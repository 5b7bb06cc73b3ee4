//! Certificate mode through real sockets: raw public keys and X.509, over UDP and TCP.
#![allow(
    dead_code,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub
)]

#[path = "support/authority.rs"]
mod authority;
mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use authority::{Authority, Owner, Purpose, Time};
use hedgerow_core::{
    CertificateFault, CertificateOwner, CertificatesOnly, ChannelError, Misuse, PeerFault, PeerId,
    PskAndCertificates, SecurityMode, ServerCredentials,
};
use hedgerow_net::{
    AcceptedServer, Authorities, CertificateStore, Credentials, Identity, IdentityError, Node,
    NodeConfig, RawPublicKey, RequestFailure, Requester, ResponseMessage, SecurityPolicy,
    ServerCertificates, ServerRequest, StreamClient, StreamConfig, StreamServer, Target,
};
use support::{KEY, address, get, keys, psk, run};

const LOCAL: &str = "127.0.0.1:0";

fn identity(owner: &Owner) -> Arc<Identity> {
    let identity = Identity::new(owner.key.as_bytes()).unwrap();
    Arc::new(
        identity
            .with_certificates(owner.certificate.as_bytes())
            .unwrap(),
    )
}

/// The same key without its certificate.
fn raw_identity(owner: &Owner) -> Arc<Identity> {
    Arc::new(Identity::new(owner.key.as_bytes()).unwrap())
}

fn raw_key(owner: &Owner) -> RawPublicKey {
    RawPublicKey::new(owner.public_key.as_bytes()).unwrap()
}

fn trusted(authority: &Authority) -> Authorities {
    Authorities::new(authority.pem.as_bytes()).unwrap()
}

fn named(authority: &Authority, name: &str) -> AcceptedServer {
    AcceptedServer::Certificate {
        authorities: trusted(authority),
        name: name.to_owned(),
    }
}

fn credentials(identity: Option<Arc<Identity>>, server: AcceptedServer) -> Arc<Credentials> {
    Arc::new(Credentials::certificates(identity, server, PeerId(1)).unwrap())
}

/// Says who asked, and in which mode.
async fn whoami(request: ServerRequest) -> ResponseMessage {
    let Requester::Client(peer) = request.requester else {
        panic!("a server asked");
    };
    assert_eq!(peer, request.requester.peer());
    let mode = request.requester.security_mode();
    ResponseMessage::new(hedgerow_coap::Code::CONTENT).payload(format!("{peer:?} {mode}"))
}

/// A server over UDP and one over TCP with the same credentials.
struct Servers {
    node: Node,
    streams: StreamServer,
}

impl Servers {
    async fn start<S>(store: S) -> Self
    where
        S: ServerCredentials + Clone + Send + Sync + 'static,
    {
        let node = Node::bind_server(address(LOCAL), NodeConfig::default(), store.clone(), whoami);
        let streams = StreamServer::bind(address(LOCAL), StreamConfig::default(), store, whoami);
        Self {
            node: node.await.unwrap(),
            streams: streams.await.unwrap(),
        }
    }

    /// Asks both, and expects that the same comes of it.
    async fn ask(&self, credentials: &Arc<Credentials>) -> Result<String, RequestFailure> {
        let policy = || SecurityPolicy::default();
        self.ask_with(credentials, policy).await
    }

    async fn ask_with(
        &self,
        credentials: &Arc<Credentials>,
        policy: impl Fn() -> SecurityPolicy,
    ) -> Result<String, RequestFailure> {
        let target = |address: SocketAddr| Target {
            address,
            credentials: Some(Arc::clone(credentials)),
        };
        let config = support::hasty().with_security(policy());
        let client = Node::bind_client(address(LOCAL), config).await.unwrap();
        let over_udp = target(self.node.local_addr());
        let udp = client.request(&over_udp, get("/")).await;
        let mut config = StreamConfig::default().with_security(policy());
        config.protocol_name = hedgerow_net::ProtocolName::Optional;
        let streams = StreamClient::new(config);
        let over_tcp = target(self.streams.local_addr());
        let tcp = streams.request(&over_tcp, get("/")).await;
        if udp.is_ok() {
            let peer = client.peer(over_udp.address).await.unwrap();
            assert_eq!(Some(peer), streams.peer(&over_tcp));
        }
        assert_eq!(udp, tcp);
        udp.map(|response| String::from_utf8(response.payload).unwrap())
    }
}

fn alert_sent(description: u8) -> Result<String, RequestFailure> {
    let fault = PeerFault::AlertSent { description };
    Err(RequestFailure::Channel(ChannelError::Peer(fault)))
}

#[test]
fn raw_public_keys_of_both_ends_prove_who_they_are() {
    run(async {
        let authority = Authority::new("unused");
        let server = authority.owner("server", Purpose::Server);
        let client = authority.owner("client", Purpose::Client);
        let certificates = ServerCertificates::new(raw_identity(&server))
            .with_raw_public_key(raw_key(&client), PeerId(7));
        let servers = Servers::start(CertificatesOnly(CertificateStore::new(certificates))).await;
        let shown = Some(raw_identity(&client));
        let accepted = AcceptedServer::RawPublicKey(raw_key(&server));
        let who = servers.ask(&credentials(shown.clone(), accepted)).await;
        assert_eq!(who, Ok("RawPublicKey(PeerId(7)) Certificate".to_owned()));

        // Another server's key.
        let other = AcceptedServer::RawPublicKey(raw_key(&client));
        let who = servers.ask(&credentials(shown, other)).await;
        assert_eq!(who, alert_sent(40));
    });
}

#[test]
fn certificates_of_both_ends_prove_who_they_are() {
    run(async {
        let authority = Authority::new("site");
        let stranger = Authority::new("stranger");
        let server = authority.owner("lamp.example", Purpose::Server);
        let client = authority.owner("reader.example", Purpose::Client);
        let certificates = ServerCertificates::new(identity(&server))
            .with_names(&trusted(&authority), [("reader.example", PeerId(7))])
            .unwrap();
        let servers = Servers::start(CertificatesOnly(CertificateStore::new(certificates))).await;
        let shown = || Some(identity(&client));
        let right = credentials(shown(), named(&authority, "lamp.example"));
        let who = servers.ask(&right).await;
        assert_eq!(who, Ok("Certificate(PeerId(7)) Certificate".to_owned()));

        let wrong_name = credentials(shown(), named(&authority, "other.example"));
        assert_eq!(servers.ask(&wrong_name).await, alert_sent(46));
        let wrong_authority = credentials(shown(), named(&stranger, "lamp.example"));
        assert_eq!(servers.ask(&wrong_authority).await, alert_sent(48));
        // A client that the server doesn't know, and one without a certificate.
        let other = stranger.owner("reader.example", Purpose::Client);
        let other = credentials(Some(identity(&other)), named(&authority, "lamp.example"));
        assert!(servers.ask(&other).await.is_err());
        let nobody = credentials(None, named(&authority, "lamp.example"));
        assert!(servers.ask(&nobody).await.is_err());
    });
}

#[test]
fn server_is_known_by_the_authority_of_a_coap_uri_and_its_expired_certificate_is_refused() {
    run(async {
        let authority = Authority::new("site");
        let name = "coaps://[2001:db8::7]:5684";
        let client = authority.owner("reader.example", Purpose::Client);
        for (time, expected) in [(Time::Now, None), (Time::Over, Some(45))] {
            let server = authority.owner_in(name, Purpose::Server, time);
            let certificates = ServerCertificates::new(identity(&server))
                .with_raw_public_key(raw_key(&client), PeerId(8));
            let store = CertificatesOnly(CertificateStore::new(certificates));
            let servers = Servers::start(store).await;
            // Each direction has a kind of its own.
            let shown = Some(raw_identity(&client));
            let accepted = named(&authority, "[2001:db8::7]:5684");
            let who = servers.ask(&credentials(shown, accepted)).await;
            match expected {
                None => assert_eq!(who, Ok("RawPublicKey(PeerId(8)) Certificate".to_owned())),
                Some(alert) => assert_eq!(who, alert_sent(alert)),
            }
            let fault = identity(&server).check(CertificateOwner::Server).err();
            assert_eq!(fault, expected.map(|_| CertificateFault::NotValidNow));
        }
    });
}

#[test]
fn server_takes_keys_beside_certificates_and_policy_decides_among_them() {
    run(async {
        let authority = Authority::new("site");
        let server = authority.owner("lamp.example", Purpose::Server);
        let client = authority.owner("reader.example", Purpose::Client);
        let certificates = ServerCertificates::new(identity(&server))
            .with_names(&trusted(&authority), [("reader.example", PeerId(3))])
            .unwrap();
        let store = PskAndCertificates {
            psk: keys(),
            certificates: CertificateStore::new(certificates),
        };
        let servers = Servers::start(store).await;
        let by_key = Arc::new(Credentials::new("reader", psk(KEY), PeerId(1)).unwrap());
        let who = servers.ask(&by_key).await;
        assert_eq!(who, Ok("Psk(PeerId(7)) MultiKey".to_owned()));
        let shown = Some(identity(&client));
        let accepted = named(&authority, "lamp.example");
        let both = Credentials::certificates(shown, accepted.clone(), PeerId(1))
            .unwrap()
            .with_psk("reader", psk(KEY), PeerId(1))
            .unwrap();
        let who = servers.ask(&Arc::new(both)).await;
        assert_eq!(who, Ok("Certificate(PeerId(3)) Certificate".to_owned()));
        // Nothing leaves for a key where certificates are wanted.
        let strict = || SecurityPolicy::new(SecurityMode::Certificate);
        let forbidden = Misuse::ForbiddenMode {
            mode: SecurityMode::MultiKey,
            least: SecurityMode::Certificate,
        };
        let refused = RequestFailure::Refused(forbidden.into());
        assert_eq!(servers.ask_with(&by_key, strict).await, Err(refused));
    });
}

#[test]
fn replaced_certificates_count_from_the_next_handshake_on() {
    run(async {
        let authority = Authority::new("site");
        let server = authority.owner("lamp.example", Purpose::Server);
        let client = authority.owner("reader.example", Purpose::Client);
        let store = CertificateStore::new(ServerCertificates::new(identity(&server)));
        let servers = Servers::start(CertificatesOnly(store.clone())).await;
        let shown = Some(raw_identity(&client));
        let shown = credentials(shown, named(&authority, "lamp.example"));
        assert!(servers.ask(&shown).await.is_err());
        store.replace(
            ServerCertificates::new(identity(&server))
                .with_raw_public_key(raw_key(&client), PeerId(5)),
        );
        let who = servers.ask(&shown).await;
        assert_eq!(who, Ok("RawPublicKey(PeerId(5)) Certificate".to_owned()));
    });
}

/// A server that asks nobody needs a policy that says so.
#[test]
fn anonymous_clients_come_in_only_where_policy_permits_it() {
    run(async {
        let authority = Authority::new("site");
        let server = authority.owner("lamp.example", Purpose::Server);
        let nobody = credentials(None, named(&authority, "lamp.example"));
        let target = |node: &Node| Target {
            address: node.local_addr(),
            credentials: Some(Arc::clone(&nobody)),
        };
        let certificates = || {
            let open = ServerCertificates::new(identity(&server)).with_anybody();
            // Whom it could know, if somebody showed something.
            open.with_raw_public_key(raw_key(&server), PeerId(9))
        };
        for (least, is_let_in) in [
            (SecurityMode::NoSec, true),
            (SecurityMode::SharedKey, false),
        ] {
            let config = NodeConfig::default().with_security(SecurityPolicy::new(least));
            let store = CertificatesOnly(CertificateStore::new(certificates()));
            let node = Node::bind_server(address(LOCAL), config, store, whoami);
            let node = node.await.unwrap();
            let client = Node::bind_client(address(LOCAL), support::hasty());
            let outcome = client
                .await
                .unwrap()
                .request(&target(&node), get("/"))
                .await;
            let who = outcome.map(|response| response.payload).ok();
            let expected = is_let_in.then(|| b"Anonymous NoSec".to_vec());
            assert_eq!(who, expected);
        }
    });
}

#[test]
fn files_are_read_in_each_form_and_others_are_refused() {
    let authority = Authority::new("site");
    let owner = authority.owner("lamp.example", Purpose::Server);
    let other = authority.owner("other.example", Purpose::Server);
    let key = rcgen::KeyPair::from_pem(&owner.key).unwrap();
    // PKCS #8 in PEM and DER.
    let from_pem = Identity::new(owner.key.as_bytes()).unwrap();
    let from_der = Identity::new(&key.serialize_der()).unwrap();
    assert_eq!(from_pem.raw_public_key(), from_der.raw_public_key());
    assert_eq!(raw_key(&owner), from_pem.raw_public_key());
    // SEC 1, as `openssl ecparam -genkey` writes it.
    let sec1 = "-----BEGIN EC PRIVATE KEY-----\n\
        MHcCAQEEINYzPiHf0epSzBcfg4bq8qbJGvrROpQckadS1NELF5rnoAoGCCqGSM49\n\
        AwEHoUQDQgAEUetyKwCOAXWXITK86AnqRYNchwiTJjCgYaGH++O262NdV8lk9WQr\n\
        TRNaae00uPshs6C95UtMeW2WNRFyYtDoSA==\n-----END EC PRIVATE KEY-----\n";
    let sec1 = Identity::new(sec1.as_bytes()).unwrap().raw_public_key();
    assert_eq!(sec1.as_bytes()[27..31], [0x51, 0xeb, 0x72, 0x2b]);
    // A public key is a SubjectPublicKeyInfo, or what a certificate is for.
    let from_certificate = RawPublicKey::new(owner.certificate.as_bytes()).unwrap();
    assert_eq!(from_certificate, raw_key(&owner));
    let from_der = RawPublicKey::new(raw_key(&owner).as_bytes()).unwrap();
    assert_eq!(from_der, raw_key(&owner));

    let fault = |key: &[u8]| Identity::new(key).map(|_| ()).unwrap_err();
    for text in [&b""[..], b"text", owner.certificate.as_bytes(), &[0x30; 50]] {
        assert_eq!(fault(text), IdentityError::PrivateKey);
        let is_certificate = text == owner.certificate.as_bytes();
        assert_eq!(RawPublicKey::new(text).is_ok(), is_certificate);
        assert_eq!(Authorities::new(text).is_ok(), is_certificate);
    }
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    assert_eq!(
        fault(p384.serialize_pem().as_bytes()),
        IdentityError::PrivateKey
    );
    let p384 = RawPublicKey::new(p384.public_key_pem().as_bytes());
    assert_eq!(p384, Err(IdentityError::PublicKey));
    let mut off_curve = *raw_key(&owner).as_bytes().last_chunk::<91>().unwrap();
    off_curve[90] ^= 1;
    assert_eq!(RawPublicKey::new(&off_curve), Err(IdentityError::PublicKey));

    let with = |certificates: &str| {
        let identity = Identity::new(owner.key.as_bytes()).unwrap();
        identity
            .with_certificates(certificates.as_bytes())
            .map(|identity| identity.has_certificates())
    };
    assert_eq!(with(&owner.certificate), Ok(true));
    assert_eq!(
        with(&(owner.certificate.clone() + &authority.pem)),
        Ok(true)
    );
    assert_eq!(with(&other.certificate), Err(IdentityError::KeyMismatch));
    assert_eq!(with("text"), Err(IdentityError::Certificate));
    let long = [&owner.certificate[..], &authority.pem.repeat(4)].concat();
    let too_long = IdentityError::ChainTooLong { len: 5, max: 4 };
    assert_eq!(with(&long), Err(too_long));
    let named = |name: &str| {
        let server = AcceptedServer::Certificate {
            authorities: trusted(&authority),
            name: name.to_owned(),
        };
        Credentials::certificates(None, server, PeerId(1)).map(|_| ())
    };
    assert_eq!(named("lamp.example"), Ok(()));
    for name in ["", "a b", "coaps://lamp"] {
        assert_eq!(named(name), Err(IdentityError::Name), "{name}");
    }
}

#[test]
fn certificate_is_checked_for_the_role_that_it_is_to_play() {
    let authority = Authority::new("site");
    let client = identity(&authority.owner("reader.example", Purpose::Client));
    assert_eq!(client.check(CertificateOwner::Client), Ok(()));
    let unsupported = Err(CertificateFault::Unsupported);
    assert_eq!(client.check(CertificateOwner::Server), unsupported);
    let both = identity(&authority.owner("reader.example", Purpose::Both));
    assert_eq!(both.check(CertificateOwner::Server), Ok(()));
    let raw = raw_identity(&authority.owner("reader.example", Purpose::Both));
    assert_eq!(raw.check(CertificateOwner::Client), Ok(()));
    // Nothing of the key shows.
    assert_eq!(
        format!("{both:?}"),
        "Identity { has_certificates: true, .. }"
    );
}
