//! Keys for a hop and keys for end-to-end security: what is refused before it is sent, who comes in
//! by what, and which suites are offered.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_core::{
    CertificateCredentials, CertificateOwner, CertificateType, ClientCredentials, Credentials, Env,
    Identity, IdentityRequest, Instant, KeyPurpose, KeyScope, Misuse, Peer, PeerId, Psk, PskStore,
    RawPublicKeyRequest, SecurityMode, ServerCredentials,
};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{
    Address, Config, Endpoint, Error, Event, ForwardSecrecy, SecurityPolicy, StreamConfig,
    StreamConnection,
};
use hedgerow_exchange::{Request, Response};
use hedgerow_handshake::Settings;
use hedgerow_record::{CipherSuite, KeyExchange};
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

/// Either end's credentials.
#[derive(Clone)]
struct Shown {
    psk: Option<Arc<(&'static [u8], Psk, PeerId)>>,
    /// What a client's certificates are for, if it has any.
    certificates: Option<KeyPurpose>,
}

/// Credentials of which nothing but that they are there is asked.
struct AnyCertificates;

impl CertificateCredentials for AnyCertificates {
    fn identity(&self, _: &IdentityRequest<'_>) -> Option<Identity<'_>> {
        None
    }

    fn peer_of_raw_public_key(&self, request: &RawPublicKeyRequest<'_>) -> Option<PeerId> {
        (request.owner == CertificateOwner::Server).then_some(PeerId(9))
    }

    fn accepts(&self, certificate_type: CertificateType) -> bool {
        certificate_type == CertificateType::RawPublicKey
    }
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
        self.certificates?;
        Some(&AnyCertificates)
    }

    fn certificate_purpose(&self) -> KeyPurpose {
        self.certificates.unwrap_or_default()
    }
}

impl ServerCredentials for Shown {
    fn psk_store(&self) -> Option<&dyn PskStore> {
        let store: &dyn PskStore = self.psk.as_deref()?;
        Some(store)
    }

    fn certificates(&self) -> Option<&dyn CertificateCredentials> {
        None
    }
}

fn shown(psk: Psk) -> Shown {
    Shown {
        psk: Some(Arc::new((b"reader", psk, PeerId(5)))),
        certificates: None,
    }
}

fn hop() -> Psk {
    Psk::new(b"sixteen byte key").unwrap()
}

fn end_to_end() -> Psk {
    Psk::new(b"key of both ends")
        .unwrap()
        .into_end_to_end()
        .unwrap()
}

fn certificates(purpose: KeyPurpose) -> Shown {
    Shown {
        psk: None,
        certificates: Some(purpose),
    }
}

fn with(policy: SecurityPolicy) -> Config {
    Config {
        security: Arc::new(policy),
        ..Config::default()
    }
}

fn across(forward_secrecy: ForwardSecrecy) -> SecurityPolicy {
    SecurityPolicy::new(SecurityMode::NoSec).for_end_to_end(forward_secrecy)
}

type End = Endpoint<Host, SoftCrypto, Shown, Shown>;

/// Tries to begin an association of each kind, and says how it was refused.
fn refused(policy: &SecurityPolicy, credentials: Option<&Shown>) -> Option<Misuse> {
    let mut rng = TestRng::new(3);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let other = shown(Psk::new(b"somebody else's.").unwrap());
    let mut client: End = Endpoint::client(SoftCrypto, other, with(policy.clone()));
    let begun = client.connect(env, SERVER, credentials);
    let config = StreamConfig {
        security: Arc::new(policy.clone()),
        ..StreamConfig::default()
    };
    let stream =
        StreamConnection::<_, Shown, _>::client(SoftCrypto, credentials.cloned(), &config, env);
    match (begun, stream.err()) {
        (Ok(_), None) => {
            let mut first = [0; 1_500];
            let (_, len) = client.poll_transmit(env, &mut first).unwrap_or((SERVER, 0));
            assert_eq!(len > 0, credentials.is_some());
            None
        }
        (Err(Error::Channel(refused)), Some(on_a_stream)) => {
            assert_eq!(refused, on_a_stream);
            assert!(client.poll_transmit(env, &mut [0; 1_500]).is_none());
            assert_eq!((client.associations(), client.handshakes()), (0, 0));
            Some(refused)
        }
        (begun, stream) => unreachable!("{begun:?}, {stream:?}"),
    }
}

#[test]
fn client_refuses_the_other_purpose_before_it_sends_anything() {
    let on_a_hop = SecurityPolicy::new(SecurityMode::NoSec);
    let across = across(ForwardSecrecy::Required);
    let shared = || hop().with_scope(KeyScope::Shared);
    let wrong = |given, wanted| Some(Misuse::KeyPurpose { given, wanted });
    let hop_across = wrong(KeyPurpose::Hop, KeyPurpose::EndToEnd);
    let end_on_a_hop = wrong(KeyPurpose::EndToEnd, KeyPurpose::Hop);
    for (credentials, as_hop, as_end) in [
        (shown(hop()), None, hop_across),
        (shown(shared()), None, hop_across),
        (shown(end_to_end()), end_on_a_hop, None),
        (certificates(KeyPurpose::Hop), None, hop_across),
        (certificates(KeyPurpose::EndToEnd), end_on_a_hop, None),
    ] {
        assert_eq!(refused(&on_a_hop, Some(&credentials)), as_hop);
        assert_eq!(refused(&across, Some(&credentials)), as_end);
    }
    assert_eq!(refused(&on_a_hop, None), None);
    let in_clear = Misuse::ForbiddenMode {
        mode: SecurityMode::NoSec,
        least: SecurityMode::MultiKey,
    };
    assert_eq!(refused(&across, None), Some(in_clear));
}

/// Of a key and certificates for different purposes that which fits is shown, and nothing else.
#[test]
fn what_is_for_the_other_purpose_is_not_offered_beside_what_is_not() {
    let both = Shown {
        certificates: Some(KeyPurpose::Hop),
        ..shown(end_to_end())
    };
    let offered = |policy| suites_offered(&policy, Settings::default(), &both);
    let with_keys = |suites: &[CipherSuite], wanted: KeyExchange| {
        suites.iter().all(|suite| {
            let is_signed = suite.key_exchange() == Some(KeyExchange::EcdheEcdsa);
            is_signed == (wanted == KeyExchange::EcdheEcdsa)
        })
    };
    let across = offered(across(ForwardSecrecy::Optional));
    assert!(!across.is_empty() && with_keys(&across, KeyExchange::Psk));
    let on_a_hop = offered(SecurityPolicy::default());
    assert!(!on_a_hop.is_empty() && with_keys(&on_a_hop, KeyExchange::EcdheEcdsa));
}

/// Returns the suites of the first ClientHello.
fn suites_offered(
    policy: &SecurityPolicy,
    handshake: Settings,
    credentials: &Shown,
) -> Vec<CipherSuite> {
    let mut rng = TestRng::new(3);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let config = Config {
        handshake,
        ..with(policy.clone())
    };
    let other = shown(Psk::new(b"somebody else's.").unwrap());
    let mut client: End = Endpoint::client(SoftCrypto, other, config);
    client.connect(env, SERVER, Some(credentials)).unwrap();
    let mut hello = [0; 1_500];
    client.poll_transmit(env, &mut hello).unwrap();
    // Behind 13 bytes of record header, 12 of handshake header, version, random, an empty session ID
    // and an empty cookie: the length of the suites, and the suites (RFC 6347 §4.2.1).
    let at = 13 + 12 + 2 + 32 + 1 + 1;
    let len = usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
    let suites = hello[at + 2..at + 2 + len].chunks(2);
    let suites = suites.map(|pair| CipherSuite(u16::from_be_bytes([pair[0], pair[1]])));
    // The signal of RFC 5746 is none.
    suites
        .filter(|suite| suite.key_exchange().is_some())
        .collect()
}

#[test]
fn suites_without_forward_secrecy_are_offered_end_to_end_only_if_that_is_said() {
    let has_plain = |policy: SecurityPolicy, psk: Psk| {
        let suites = suites_offered(&policy, Settings::default(), &shown(psk));
        assert!(!suites.is_empty());
        let mut suites = suites.iter();
        suites.any(|suite| suite.key_exchange() == Some(KeyExchange::Psk))
    };
    assert!(has_plain(SecurityPolicy::default(), hop()));
    assert!(!has_plain(across(ForwardSecrecy::Required), end_to_end()));
    assert!(has_plain(across(ForwardSecrecy::Optional), end_to_end()));
}

#[test]
fn nothing_is_sent_where_no_suite_is_left() {
    let mut rng = TestRng::new(3);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let config = Config {
        handshake: Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM_8]),
        ..with(across(ForwardSecrecy::Required))
    };
    let mut client: End = Endpoint::client(SoftCrypto, shown(hop()), config);
    let begun = client.connect(env, SERVER, Some(&shown(end_to_end())));
    assert_eq!(begun, Err(Error::Channel(Misuse::NotOffered)));
    assert!(client.poll_transmit(env, &mut [0; 1_500]).is_none());
}

/// Whoever is between two ends could hand a call back to who made it.
#[test]
fn end_to_end_key_of_one_s_own_clients_is_not_shown_to_a_server() {
    let mut rng = TestRng::new(3);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    for (store, begins) in [(end_to_end(), false), (hop(), true)] {
        let policy = across(ForwardSecrecy::Required);
        let mut end: End = Endpoint::server(SoftCrypto, shown(store), with(policy), env);
        let begun = end.connect(env, SERVER, Some(&shown(end_to_end())));
        assert_eq!(begun.is_ok(), begins);
        if !begins {
            assert_eq!(begun, Err(Error::Channel(Misuse::KeyInBothRoles)));
            assert!(end.poll_transmit(env, &mut [0; 1_500]).is_none());
        }
    }
}

/// Asks once, and returns as whom the server's application knows who asked.
fn ask(client: &SecurityPolicy, credentials: &Shown, server: SecurityPolicy) -> Option<Peer> {
    let mut rng = TestRng::new(3);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let mut device: End = Endpoint::server(SoftCrypto, credentials.clone(), with(server), env);
    let other = shown(Psk::new(b"somebody else's.").unwrap());
    let mut caller: End = Endpoint::client(SoftCrypto, other, with(client.clone()));
    let association = caller.connect(env, SERVER, Some(credentials)).unwrap();
    caller
        .request(env, association, &Request::new(Code::GET))
        .unwrap();
    let (mut asked, mut now) = (None, Instant::ZERO);
    while now < Instant::ZERO + Duration::from_secs(60) {
        let (mut datagram, mut answer) = ([0; 1_500], [0; 64]);
        let env = &mut Env::new(now, &mut rng);
        while let Some((_, len)) = caller.poll_transmit(env, &mut datagram) {
            let mut at = 0;
            while at < len {
                let part = &mut datagram[at..len];
                let handled = device.handle_datagram(env, CLIENT, part, &mut answer);
                at += handled.consumed;
                let back = handled.answer;
                if let Some(Event::Request {
                    association,
                    request,
                    peer,
                    ..
                }) = handled.event
                {
                    asked = Some(peer);
                    let response = Response::new(Code::CONTENT);
                    device
                        .respond(env, association, request, &response)
                        .unwrap();
                }
                if back > 0 {
                    caller.handle_datagram(env, SERVER, &mut answer[..back], &mut [0; 64]);
                }
            }
        }
        while let Some((_, len)) = device.poll_transmit(env, &mut datagram) {
            let mut at = 0;
            while at < len {
                let part = &mut datagram[at..len];
                at += caller
                    .handle_datagram(env, SERVER, part, &mut answer)
                    .consumed;
            }
        }
        now = now + Duration::from_millis(500);
        let env = &mut Env::new(now, &mut rng);
        caller.handle_timeout(env);
        device.handle_timeout(env);
    }
    asked
}

#[test]
fn server_knows_clients_by_what_their_keys_are_for_and_lets_in_whom_policy_permits() {
    let on_a_hop = SecurityPolicy::default();
    let across = across(ForwardSecrecy::Required);
    let (as_hop, as_end) = (Peer::Psk(PeerId(5)), Peer::EndToEndPsk(PeerId(5)));
    let any = SecurityPolicy::default;
    let only = |purpose| any().with_clients_for(purpose);
    for (client, psk, server, asked) in [
        (&on_a_hop, hop(), any(), Some(as_hop)),
        (&across, end_to_end(), any(), Some(as_end)),
        (&on_a_hop, hop(), only(KeyPurpose::EndToEnd), None),
        (
            &across,
            end_to_end(),
            only(KeyPurpose::EndToEnd),
            Some(as_end),
        ),
        (&across, end_to_end(), only(KeyPurpose::Hop), None),
        (&on_a_hop, hop(), only(KeyPurpose::Hop), Some(as_hop)),
    ] {
        assert_eq!(ask(client, &shown(psk), server), asked);
    }
}
