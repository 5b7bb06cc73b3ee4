//! What policy forbids, at either end: as if the key or the certificate weren't there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "common/certificates.rs"]
mod certificates;

use hedgerow_core::{
    CertificateCredentials, CertificateOwner, ChannelError, ClientCertificates, ClientCredentials,
    Credentials, Env, Event, Instant, KeyScope, Misuse, Peer, PeerFault, PeerId, Psk, PskStore,
    SecureStream, SecurityMode, ServerCredentials,
};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_handshake::{Settings, TlsClientHandshake, TlsServerHandshake};
use hedgerow_sim::TestRng;

use certificates::{Double, Shared, buffers, key, spki};

const HANDSHAKE_FAILURE: u8 = 40;
const ACCESS_DENIED: u8 = 49;
const BAD_RECORD_MAC: u8 = 20;

/// Either end's credentials, and the least mode that it permits.
#[derive(Clone, Copy)]
struct Policed {
    psk: Option<&'static (&'static [u8], Psk, PeerId)>,
    certificates: Option<Shared>,
    least: SecurityMode,
}

impl ClientCredentials for Policed {
    fn pre_shared_key(&self) -> Option<Credentials<'_>> {
        self.psk.map(|(psk_identity, psk, peer)| Credentials {
            psk_identity,
            psk,
            peer: *peer,
        })
    }

    fn certificates(&self) -> Option<&dyn CertificateCredentials> {
        self.certificates
    }

    fn permits(&self, peer: Peer) -> bool {
        peer.security_mode() >= self.least
    }
}

impl ServerCredentials for Policed {
    fn psk_store(&self) -> Option<&dyn PskStore> {
        let entry: &dyn PskStore = self.psk?;
        Some(entry)
    }

    fn certificates(&self) -> Option<&dyn CertificateCredentials> {
        self.certificates
    }

    fn permits(&self, peer: Peer) -> bool {
        peer.security_mode() >= self.least
    }
}

fn psk(scope: KeyScope) -> Policed {
    let psk = Psk::new(b"sixteen byte key").unwrap().with_scope(scope);
    let entry: (&[u8], _, _) = (b"lamp", psk, PeerId(4));
    Policed {
        psk: Some(Box::leak(Box::new(entry))),
        certificates: None,
        least: SecurityMode::NoSec,
    }
}

fn certificates(certificates: Double) -> Policed {
    Policed {
        psk: None,
        certificates: Some(certificates.share()),
        least: SecurityMode::NoSec,
    }
}

type Outcome = Result<Peer, ChannelError>;

/// Runs a handshake and returns what each end came to; the server's first.
fn run(client: Policed, server: Policed) -> Result<[Option<Outcome>; 2], Misuse> {
    let mut rng = TestRng::new(5);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    env.unix_time = Some(certificates::NOW);
    let settings = Settings::default();
    let mut client = TlsClientHandshake::new(SoftCrypto, client, settings, buffers(5_000), env)?;
    let mut server = TlsServerHandshake::new(SoftCrypto, server, settings, buffers(5_000), env)?;
    let mut outcomes = [None, None];
    let mut out = [0; 5_000];
    macro_rules! carry {
        ($from:ident, $to:ident, $place:expr) => {
            while let Ok(Some(len)) = $from.poll_transmit(env, &mut out) {
                let mut rest = &mut out[..len];
                while !rest.is_empty() && outcomes[$place].is_none() {
                    match $to.handle_bytes(env, rest) {
                        Ok(received) => {
                            let received = received.unwrap();
                            if let Some(Event::Established(peer)) = received.event {
                                outcomes[$place] = Some(Ok(peer));
                            }
                            rest = received.rest;
                        }
                        Err(error) => {
                            outcomes[$place] = Some(Err(error));
                            break;
                        }
                    }
                }
            }
        };
    }
    for _ in 0..3 {
        carry!(client, server, 0);
        carry!(server, client, 1);
    }
    // A server's last flight comes from its session.
    if let Some(established) = server.into_session() {
        let mut server = established.session;
        carry!(server, client, 1);
    }
    Ok(outcomes)
}

fn sent(description: u8) -> Option<Outcome> {
    Some(Err(PeerFault::AlertSent { description }.into()))
}

#[test]
fn each_mode_is_permitted_up_to_its_own_place() {
    for (client, server, mode) in [
        (
            psk(KeyScope::Shared),
            psk(KeyScope::Shared),
            SecurityMode::SharedKey,
        ),
        (
            psk(KeyScope::OnePeer),
            psk(KeyScope::OnePeer),
            SecurityMode::MultiKey,
        ),
        (
            certificates(raw_client()),
            certificates(raw_server()),
            SecurityMode::Certificate,
        ),
        (
            certificates(Double::x509(key(1), &key(2), 2)),
            certificates(Double::x509(key(2), &key(1), 1)),
            SecurityMode::Certificate,
        ),
    ] {
        for least in SecurityMode::ALL {
            let [at_server, _] = run(client, Policed { least, ..server }).unwrap();
            let is_let_in = matches!(at_server, Some(Ok(peer)) if peer.security_mode() == mode);
            assert_eq!(
                is_let_in,
                mode >= least,
                "{mode} where {least} is the least"
            );
            let outcome = run(Policed { least, ..client }, server);
            let is_taken =
                matches!(outcome, Ok([_, Some(Ok(peer))]) if peer.security_mode() == mode);
            assert_eq!(is_taken, mode >= least, "{mode} where {least} is the least");
            if mode < least {
                // Nothing is left to offer.
                assert_eq!(outcome, Err(Misuse::NotOffered));
            }
        }
    }
}

fn raw_client() -> Double {
    Double::raw(key(1), CertificateOwner::Server, &spki(&key(2)), 2)
}

fn raw_server() -> Double {
    Double::raw(key(2), CertificateOwner::Client, &spki(&key(1)), 1)
}

/// A store's doubles that forbid everybody by number, whatever the mode.
#[derive(Clone, Copy)]
struct Nobody(Policed);

impl ServerCredentials for Nobody {
    fn psk_store(&self) -> Option<&dyn PskStore> {
        self.0.psk_store()
    }

    fn certificates(&self) -> Option<&dyn CertificateCredentials> {
        ServerCredentials::certificates(&self.0)
    }

    fn permits(&self, _peer: Peer) -> bool {
        false
    }
}

#[test]
fn owner_who_is_not_permitted_gets_the_alert_of_one_who_is_not_known() {
    let x509 = || certificates(Double::x509(key(1), &key(2), 2));
    let x509_server = certificates(Double::x509(key(2), &key(1), 1));
    for (client, server, alert) in [
        (
            certificates(raw_client()),
            certificates(raw_server()),
            HANDSHAKE_FAILURE,
        ),
        (x509(), x509_server, ACCESS_DENIED),
        (
            psk(KeyScope::OnePeer),
            psk(KeyScope::OnePeer),
            BAD_RECORD_MAC,
        ),
    ] {
        let mut rng = TestRng::new(5);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        env.unix_time = Some(certificates::NOW);
        let settings = Settings::default();
        let mut client =
            TlsClientHandshake::new(SoftCrypto, client, settings, buffers(5_000), env).unwrap();
        let mut server =
            TlsServerHandshake::new(SoftCrypto, Nobody(server), settings, buffers(5_000), env)
                .unwrap();
        let mut out = [0; 5_000];
        let mut failure = None;
        for _ in 0..3 {
            while let Ok(Some(len)) = client.poll_transmit(env, &mut out) {
                let mut rest = &mut out[..len];
                while !rest.is_empty() && failure.is_none() {
                    match server.handle_bytes(env, rest) {
                        Ok(received) => rest = received.unwrap().rest,
                        Err(error) => {
                            failure = Some(error);
                            break;
                        }
                    }
                }
            }
            while let Ok(Some(len)) = server.poll_transmit(env, &mut out) {
                let mut rest = &mut out[..len];
                while !rest.is_empty() {
                    match client.handle_bytes(env, rest) {
                        Ok(received) => rest = received.unwrap().rest,
                        Err(_) => break,
                    }
                }
            }
        }
        let expected = PeerFault::AlertSent { description: alert };
        assert_eq!(failure, Some(expected.into()));
    }
}

/// A server that would let anybody in asks all the same where policy wants to know who it is.
#[test]
fn client_has_to_show_a_certificate_where_policy_wants_to_know_it() {
    let server = |least| Policed {
        least,
        ..certificates(Double {
            clients: ClientCertificates::NotRequested,
            ..raw_server()
        })
    };
    let outcome = run(certificates(raw_client()), server(SecurityMode::NoSec)).unwrap();
    assert_eq!(outcome[0], Some(Ok(Peer::Anonymous)));
    let outcome = run(certificates(raw_client()), server(SecurityMode::MultiKey)).unwrap();
    assert_eq!(outcome[0], Some(Ok(Peer::RawPublicKey(PeerId(1)))));
    let mut nameless = raw_client();
    nameless.raw = None;
    let outcome = run(certificates(nameless), server(SecurityMode::MultiKey)).unwrap();
    assert_eq!(outcome[0], sent(HANDSHAKE_FAILURE));
}

/// A client with a key and a certificate offers what policy permits, and no more.
#[test]
fn client_offers_no_key_that_is_not_permitted() {
    let both = |own: Double, least| Policed {
        certificates: Some(own.share()),
        least,
        ..psk(KeyScope::OnePeer)
    };
    let server = psk(KeyScope::OnePeer);
    let outcome = run(both(raw_client(), SecurityMode::MultiKey), server).unwrap();
    assert_eq!(outcome[1], Some(Ok(Peer::Psk(PeerId(4)))));
    let outcome = run(both(raw_client(), SecurityMode::Certificate), server).unwrap();
    assert_eq!(outcome[0], sent(HANDSHAKE_FAILURE));
}
