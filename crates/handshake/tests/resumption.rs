//! Abbreviated handshakes by ticket and by session ID: what resumes, what must not, and what is lost
//! on the way.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/certificates.rs"]
mod certificates;
#[allow(clippy::duplicate_mod)]
mod common;
#[path = "common/resuming.rs"]
mod resuming;

use std::time::Duration;

use hedgerow_core::{
    CertificateCredentials, CertificateOwner, CertificatesOnly, ClientCertificates,
    ClientCredentials, Credentials, Env, Instant, KeyScope, Peer, PeerFault, PeerId, Psk, PskEntry,
    PskRequest, PskStore, SecurityMode, ServerCredentials, ServerName,
};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_handshake::{
    Acceptance, Acceptor, ClientHandshake, DEFAULT_CERTIFICATE_SUITES, DEFAULT_SUITES,
    ExtendedMasterSecret, ResumableSession, Settings, TicketKeys, Timers,
};
use hedgerow_record::{CipherSuite, ConnectionId, Protocol};
use hedgerow_sim::{Conditions, Fault, Ledger, NonceLedger, TestRng, World, for_each_seed};

use certificates::{Double, key, spki};
use common::{
    CLIENT, IDENTITY, Net, PSK, SERVER, Sessions, Setup, Shown, buffers, peer, start, talk,
};
use resuming::{Failure, Outcome, PROTOCOLS, Sender, Stand};

const HANDSHAKE_FAILURE: u8 = 40;
const ILLEGAL_PARAMETER: u8 = 47;

fn untouched() -> impl FnMut(Sender, usize, &mut Vec<u8>) {
    |_, _, _| {}
}

/// A server's store of one client, whose everything may change.
#[derive(Clone)]
struct Store {
    identity: Vec<u8>,
    psk: Vec<u8>,
    /// Another identity with the same key.
    alias: Option<Vec<u8>>,
    peer: PeerId,
    forbids: Option<hedgerow_core::AeadAlgorithm>,
    entry: std::rc::Rc<Psk>,
}

impl Store {
    fn new(identity: &[u8], psk: &[u8], peer: u32) -> Self {
        Self {
            identity: identity.to_vec(),
            psk: psk.to_vec(),
            alias: None,
            peer: PeerId(peer),
            forbids: None,
            entry: Psk::new(psk).unwrap().into(),
        }
    }
}

impl PskStore for Store {
    fn lookup(&self, request: &PskRequest<'_>) -> Option<PskEntry<'_>> {
        let is_alias = self.alias.as_deref() == Some(request.psk_identity);
        let is_known = is_alias || self.identity == request.psk_identity;
        (is_known && self.forbids != Some(request.algorithm)).then_some(PskEntry {
            psk: &self.entry,
            peer: self.peer,
        })
    }
}

/// One connection with the usual key.
fn connect(
    stand: &mut Stand<SoftCrypto>,
    settings: Settings,
    store: &Store,
    session: Option<ResumableSession>,
) -> Result<Outcome, Failure> {
    connect_changed(
        stand,
        (settings, settings),
        store,
        session,
        &mut untouched(),
    )
}

fn connect_changed(
    stand: &mut Stand<SoftCrypto>,
    settings: (Settings, Settings),
    store: &Store,
    session: Option<ResumableSession>,
    change: resuming::Change<'_>,
) -> Result<Outcome, Failure> {
    let psk = Psk::new(&store.psk).unwrap();
    let shown = Credentials {
        psk_identity: IDENTITY,
        psk: &psk,
        peer: PeerId(2),
    };
    stand.connect(shown, store, settings, session, change)
}

fn known() -> Store {
    Store::new(IDENTITY, PSK, 1)
}

/// Both protocols, by ticket and by ID.
fn for_each_way(mut test: impl FnMut(Stand<SoftCrypto>)) {
    for protocol in PROTOCOLS {
        for by_ticket in [true, false] {
            test(Stand::new(SoftCrypto, protocol, by_ticket));
        }
    }
}

#[test]
fn every_psk_suite_resumes_by_ticket_and_by_id_in_both_protocols() {
    for suite in DEFAULT_SUITES {
        for_each_way(|mut stand| {
            let settings = Settings::new(&[suite]);
            let full = connect(&mut stand, settings, &known(), None).unwrap();
            assert!(!full.is_resumed());
            let mut session = full.resumable.unwrap();
            let mut exported = vec![full.exported];
            // A session may be resumed more than once.
            for _ in 0..3 {
                stand.pass(Duration::from_secs(60));
                let resumed = connect(&mut stand, settings, &known(), Some(session)).unwrap();
                assert!(resumed.is_resumed());
                assert_eq!(resumed.suite, suite);
                assert_eq!(resumed.peer_of_client, Peer::Psk(PeerId(2)));
                assert_eq!(resumed.peer_of_server, Peer::Psk(PeerId(1)));
                // Keys are those of the connection and not of the session.
                assert!(!exported.contains(&resumed.exported));
                exported.push(resumed.exported);
                session = resumed.resumable.unwrap();
            }
        });
    }
}

#[test]
fn raw_public_keys_resume_while_they_are_known() {
    for suite in DEFAULT_CERTIFICATE_SUITES {
        for_each_way(|mut stand| {
            let settings = (Settings::new(&[suite]), Settings::new(&[suite]));
            let client = || {
                CertificatesOnly(
                    Double::raw(key(1), CertificateOwner::Server, &spki(&key(2)), 2).share(),
                )
            };
            let server = || {
                CertificatesOnly(
                    Double::raw(key(2), CertificateOwner::Client, &spki(&key(1)), 1).share(),
                )
            };
            let connect = |stand: &mut Stand<_>, client, server, session| {
                let outcome = stand.connect(client, server, settings, session, &mut untouched());
                outcome.unwrap()
            };
            let full = connect(&mut stand, client(), server(), None);
            let resumed = connect(&mut stand, client(), server(), full.resumable);
            assert!(resumed.is_resumed());
            assert_eq!(resumed.peer_of_client, Peer::RawPublicKey(PeerId(2)));
            assert_eq!(resumed.peer_of_server, Peer::RawPublicKey(PeerId(1)));
            // The server knows the key under another number by now.
            let server_knows_other = CertificatesOnly(
                Double::raw(key(2), CertificateOwner::Client, &spki(&key(1)), 9).share(),
            );
            let other = connect(&mut stand, client(), server_knows_other, resumed.resumable);
            assert!(!other.is_resumed());
            assert_eq!(other.peer_of_server, Peer::RawPublicKey(PeerId(9)));
            // The client has another key.
            let client_knows_other = CertificatesOnly(
                Double::raw(key(1), CertificateOwner::Server, &spki(&key(2)), 8).share(),
            );
            let other = connect(&mut stand, client_knows_other, server(), other.resumable);
            assert!(!other.is_resumed());
            // A server that asks for no certificate any more.
            let asks_nobody = Double {
                clients: ClientCertificates::NotRequested,
                ..Double::raw(key(2), CertificateOwner::Client, &spki(&key(1)), 1)
            };
            let asks_nobody = CertificatesOnly(asks_nobody.share());
            let other = connect(&mut stand, client(), asks_nobody, other.resumable);
            assert!(!other.is_resumed());
            assert_eq!(other.peer_of_server, Peer::Anonymous);
            let other = connect(&mut stand, client(), asks_nobody, other.resumable);
            assert!(other.is_resumed());
            assert_eq!(other.peer_of_server, Peer::Anonymous);
        });
    }
}

/// The chain isn't kept, and without it nothing can be verified again: neither a client's nor a
/// server's.
#[test]
fn sessions_with_x509_certificates_are_not_resumed() {
    for_each_way(|mut stand| {
        stand.unix_time = Some(certificates::NOW);
        let settings = Settings::new(&DEFAULT_CERTIFICATE_SUITES);
        let client = CertificatesOnly(Double::x509(key(1), &key(2), 2).share());
        let server = CertificatesOnly(Double::x509(key(2), &key(1), 1).share());
        let outcome = stand
            .connect(client, server, (settings, settings), None, &mut untouched())
            .unwrap();
        assert_eq!(outcome.peer_of_server, Peer::Certificate(PeerId(1)));
        assert!(outcome.resumable.is_none() && outcome.is_cached.is_none());
    });
}

/// A store whose server asks for a security mode at least.
struct AtLeast<'s>(&'s Store, SecurityMode);

impl ServerCredentials for AtLeast<'_> {
    fn psk_store(&self) -> Option<&dyn PskStore> {
        Some(self.0)
    }

    fn certificates(&self) -> Option<&dyn CertificateCredentials> {
        None
    }

    fn permits(&self, peer: Peer) -> bool {
        peer.security_mode() >= self.1
    }
}

#[test]
fn policy_of_modes_counts_for_resumptions() {
    for_each_way(|mut stand| {
        let settings = Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM_8]);
        let shared = || Psk::new(PSK).unwrap().with_scope(KeyScope::Shared);
        let mut store = known();
        store.entry = shared().into();
        let psk = shared();
        let shown = Credentials {
            psk_identity: IDENTITY,
            psk: &psk,
            peer: PeerId(2),
        };
        let mut session = None;
        for (least, is_permitted) in [
            (SecurityMode::SharedKey, true),
            (SecurityMode::SharedKey, true),
            (SecurityMode::MultiKey, false),
        ] {
            let is_first = session.is_none();
            let server = AtLeast(&store, least);
            let both = (settings, settings);
            let outcome = stand.connect(shown, server, both, session.take(), &mut untouched());
            assert_eq!(outcome.is_ok(), is_permitted);
            if let Ok(outcome) = outcome {
                assert_eq!(outcome.is_resumed(), !is_first);
                assert_eq!(outcome.peer_of_server, Peer::SharedPsk(PeerId(1)));
                session = outcome.resumable;
            }
        }
    });
}

/// A session that was made with a key for one purpose isn't resumed where the same bytes are for
/// the other.
#[test]
fn purpose_of_the_key_counts_for_resumptions() {
    for_each_way(|mut stand| {
        let settings = Settings::default();
        let hop = || Psk::new(&[7; 16]).unwrap();
        let end_to_end = || hop().into_end_to_end().unwrap();
        let mut session = None;
        for (psk, at_server, is_resumed, peer) in [
            (hop(), hop(), false, Peer::Psk(PeerId(1))),
            (hop(), end_to_end(), false, Peer::EndToEndPsk(PeerId(1))),
            (
                end_to_end(),
                end_to_end(),
                false,
                Peer::EndToEndPsk(PeerId(1)),
            ),
            (
                end_to_end(),
                end_to_end(),
                true,
                Peer::EndToEndPsk(PeerId(1)),
            ),
        ] {
            let mut store = known();
            store.entry = at_server.into();
            let shown = Credentials {
                psk_identity: IDENTITY,
                psk: &psk,
                peer: PeerId(2),
            };
            let both = (settings, settings);
            let outcome = stand
                .connect(shown, &store, both, session.take(), &mut untouched())
                .unwrap();
            assert_eq!(outcome.is_resumed(), is_resumed);
            assert_eq!(outcome.peer_of_server, peer);
            session = outcome.resumable;
        }
    });
}

#[test]
fn either_end_that_takes_no_part_makes_a_full_handshake() {
    for_each_way(|mut stand| {
        let settings = Settings::default();
        let session = connect(&mut stand, settings, &known(), None)
            .unwrap()
            .resumable;
        let keys = stand.keys.take();
        let full = connect(&mut stand, settings, &known(), session).unwrap();
        assert!(!full.is_resumed() && full.resumable.is_none() && full.is_cached.is_none());
        stand.keys = keys;
        stand.client_resumes = false;
        let full = connect(&mut stand, settings, &known(), None).unwrap();
        assert!(!full.is_resumed() && full.resumable.is_none());
    });
}

/// A restarted server has other keys, and no table.
#[test]
fn server_without_the_session_makes_a_full_handshake_and_a_new_session() {
    for_each_way(|mut stand| {
        let settings = Settings::default();
        let session = connect(&mut stand, settings, &known(), None)
            .unwrap()
            .resumable;
        let mut restarted = Stand::new(SoftCrypto, stand.protocol, stand.table.is_none());
        restarted.pass(Duration::from_secs(1));
        restarted.draw_new_keys();
        let full = connect(&mut restarted, settings, &known(), session).unwrap();
        assert!(!full.is_resumed());
        if stand.table.is_none() {
            let again = connect(&mut restarted, settings, &known(), full.resumable).unwrap();
            assert!(again.is_resumed());
        }
    });
}

/// Each is one reason for which a server must not resume, or a client must not offer.
#[test]
fn what_has_changed_since_makes_a_full_handshake() {
    let other_key = Store::new(IDENTITY, b"another sixteen!", 1);
    let other_number = Store::new(IDENTITY, PSK, 7);
    for_each_way(|mut stand| {
        let suite = CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256;
        let settings = Settings::new(&[suite, CipherSuite::TLS_PSK_WITH_AES_128_CCM]);
        let session = |stand: &mut Stand<_>| {
            let full = connect(stand, settings, &known(), None).unwrap();
            full.resumable
        };
        // The key of the identity was replaced, at both ends.
        let kept = session(&mut stand);
        let outcome = connect(&mut stand, settings, &other_key, kept).unwrap();
        assert!(!outcome.is_resumed());
        // The client is somebody else now, under the same key.
        let kept = session(&mut stand);
        let psk = Psk::new(PSK).unwrap();
        let shown = Credentials {
            psk_identity: b"another",
            psk: &psk,
            peer: PeerId(2),
        };
        let mut both = known();
        both.alias = Some(b"another".to_vec());
        let changed = &mut untouched();
        let outcome = stand.connect(shown, &both, (settings, settings), kept, changed);
        let outcome = outcome.unwrap();
        assert!(!outcome.is_resumed());
        // It was replaced at the server alone: the client offers the session and shows the old key.
        let kept = session(&mut stand);
        let mut replaced = known();
        replaced.entry = Psk::new(b"another sixteen!").unwrap().into();
        let Err(Failure(_, failure)) = connect(&mut stand, settings, &replaced, kept) else {
            panic!("the old key still counts")
        };
        assert!(stand.protocol == Protocol::Dtls || failure.is_some());
        // The identity is another peer's now.
        let kept = session(&mut stand);
        let outcome = connect(&mut stand, settings, &other_number, kept).unwrap();
        assert!(!outcome.is_resumed());
        assert_eq!(outcome.peer_of_server, Peer::Psk(PeerId(7)));
        // The suite is no longer the server's choice, or the client's offer.
        let newer = Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM, suite]);
        let kept = session(&mut stand);
        let both = (settings, newer);
        let outcome = connect_changed(&mut stand, both, &known(), kept, &mut untouched()).unwrap();
        assert!(!outcome.is_resumed());
        let kept = session(&mut stand);
        let only_new = Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM]);
        let outcome = connect(&mut stand, only_new, &known(), kept).unwrap();
        assert!(!outcome.is_resumed());
        // Its time is over, by either clock.
        let kept = session(&mut stand);
        stand.pass(Duration::from_secs(3_599));
        let outcome = connect(&mut stand, settings, &known(), kept).unwrap();
        assert!(outcome.is_resumed());
        let kept = session(&mut stand);
        stand.pass(Duration::from_secs(3_600));
        let outcome = connect(&mut stand, settings, &known(), kept).unwrap();
        assert!(!outcome.is_resumed());
    });
}

/// The usual key for a server that shares its address with others (RFC 6066 §3).
struct Named<'k>(Credentials<'k>, Option<&'static str>);

impl ClientCredentials for Named<'_> {
    fn pre_shared_key(&self) -> Option<Credentials<'_>> {
        self.0.pre_shared_key()
    }

    fn certificates(&self) -> Option<&dyn CertificateCredentials> {
        None
    }

    fn server_name(&self) -> Option<ServerName<'_>> {
        self.1.map(|name| ServerName::new(name).unwrap())
    }
}

/// A server may have several names under one address and key: a session of one isn't offered to another.
#[test]
fn name_is_asked_for_with_a_key_too_and_sessions_are_of_one_name() {
    for_each_way(|mut stand| {
        let settings = Settings::default();
        let psk = Psk::new(PSK).unwrap();
        let shown = |name| {
            let key = Credentials {
                psk_identity: IDENTITY,
                psk: &psk,
                peer: PeerId(2),
            };
            Named(key, name)
        };
        let mut connect = |name: Option<&'static str>, session| {
            // RFC 6066 §3: a list with one host_name; extension type 0.
            let list = name.map(|name| {
                let len = u8::try_from(name.len()).unwrap();
                let mut list = vec![0, 0, 0, len + 5, 0, len + 3, 0, 0, len];
                list.extend(name.as_bytes());
                list
            });
            let mut is_asked_for = false;
            let change = &mut |from: Sender, _: usize, bytes: &mut Vec<u8>| {
                let has = |list: &Vec<u8>| bytes.windows(list.len()).any(|part| part == list);
                is_asked_for |= from == Sender::Client && list.as_ref().is_some_and(has);
            };
            let outcome =
                stand.connect(shown(name), known(), (settings, settings), session, change);
            let outcome = outcome.unwrap();
            assert_eq!(is_asked_for, name.is_some());
            outcome
        };
        let (lamp, meter) = (Some("lamp.example"), Some("meter.example"));
        for (first, second, is_resumed) in [
            (lamp, lamp, true),
            (lamp, meter, false),
            (lamp, None, false),
            (None, lamp, false),
            (None, None, true),
        ] {
            let kept = connect(first, None).resumable;
            let outcome = connect(second, kept);
            assert_eq!(outcome.is_resumed(), is_resumed, "{first:?} {second:?}");
        }
    });
}

/// An identity that was removed, or whose algorithm policy has forbidden, gets what a stranger gets.
#[test]
fn revoked_identity_does_not_resume() {
    for_each_way(|mut stand| {
        let settings = Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM_8]);
        for revoke in [
            |store: &mut Store| store.identity.push(0),
            |store: &mut Store| {
                store.forbids = Some(hedgerow_core::AeadAlgorithm::Aes128Ccm8);
            },
        ] {
            let session = connect(&mut stand, settings, &known(), None)
                .unwrap()
                .resumable;
            let mut store = known();
            revoke(&mut store);
            assert!(connect(&mut stand, settings, &store, session).is_err());
        }
    });
}

/// A ticket with any bit changed, and any prefix of one: a full handshake, which nothing betrays. The
/// client's transcript then differs from the server's, so that the handshake fails at its end, but a
/// server that resumed would send ChangeCipherSpec in its first flight.
#[test]
fn forged_and_truncated_tickets_are_not_opened() {
    for protocol in PROTOCOLS {
        let mut stand = Stand::new(SoftCrypto, protocol, true);
        let settings = Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM]);
        let full = connect(&mut stand, settings, &known(), None).unwrap();
        let ticket = full.resumable.as_ref().unwrap().ticket().to_vec();
        assert_eq!(ticket.len(), 110 + IDENTITY.len());
        let env = &mut Env::new(stand.now, &mut stand.rng);
        let keys = stand.keys.as_mut().unwrap();
        for at in 0..ticket.len() * 8 {
            let mut forged = ticket.clone();
            forged[at / 8] ^= 1 << (at % 8);
            assert!(!keys.lease(env).opens(&SoftCrypto, &forged), "bit {at}");
        }
        for len in 0..ticket.len() {
            assert!(!keys.lease(env).opens(&SoftCrypto, &ticket[..len]), "{len}");
        }
        let longer = [&ticket[..], &[0]].concat();
        assert!(!keys.lease(env).opens(&SoftCrypto, &longer));
        assert!(keys.lease(env).opens(&SoftCrypto, &ticket));
    }
}

#[test]
fn changed_ticket_in_the_hello_is_answered_like_no_ticket() {
    for protocol in PROTOCOLS {
        let mut stand = Stand::new(SoftCrypto, protocol, true);
        let settings = Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM]);
        let full = connect(&mut stand, settings, &known(), None).unwrap();
        let session = full.resumable.unwrap();
        let ticket = session.ticket().to_vec();
        let both = (settings, settings);
        let mut answers = Vec::new();
        let mut change = |sender, _, bytes: &mut Vec<u8>| {
            let found = bytes.windows(ticket.len()).position(|part| part == ticket);
            match (sender, found) {
                // The same change in both hellos of DTLS: the cookie covers it.
                (Sender::Client, Some(at)) => bytes[at + 40] ^= 1,
                (Sender::Server, _) => answers.push(bytes.clone()),
                _ => {}
            }
        };
        let outcome = connect_changed(&mut stand, both, &known(), Some(session), &mut change);
        assert!(outcome.is_err());
        // ServerHello and ServerHelloDone, and the same length as without any ticket.
        let answer = answers.into_iter().find(|bytes| bytes.len() > 60).unwrap();
        let without = full.flights.iter();
        let without =
            without.filter(|(sender, bytes)| *sender == Sender::Server && bytes.len() > 60);
        assert_eq!(answer.len(), without.clone().next().unwrap().1.len());
    }
}

/// RFC 7627 §5.3, each of its aborts.
#[test]
fn extended_master_secret_missing_on_a_resumption_aborts() {
    for_each_way(|mut stand| {
        let settings = Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM])
            .with_extended_master_secret(ExtendedMasterSecret::Accepted);
        let session = connect(&mut stand, settings, &known(), None)
            .unwrap()
            .resumable;
        let both = (settings, settings);
        // A hello without it: its extension becomes one that nobody knows.
        let mut change = |sender, _, bytes: &mut Vec<u8>| {
            if sender == Sender::Client {
                rename_extension(bytes, [0x00, 0x17, 0, 0], [0x5a, 0x5a, 0, 0]);
            }
        };
        let Err(Failure(end, failure)) =
            connect_changed(&mut stand, both, &known(), session, &mut change)
        else {
            panic!("resumed without the extended master secret");
        };
        let sent = PeerFault::AlertSent {
            description: HANDSHAKE_FAILURE,
        };
        let received = PeerFault::AlertReceived {
            description: HANDSHAKE_FAILURE,
            authenticated: false,
        };
        // It is the server that ends it, before the client has a ServerHello to look at.
        let expected = match stand.protocol {
            Protocol::Dtls => (Sender::Client, Some(received.into())),
            Protocol::Tls => (Sender::Server, Some(sent.into())),
        };
        assert_eq!((end, failure), expected);
        // A ServerHello without it.
        let session = connect(&mut stand, settings, &known(), None)
            .unwrap()
            .resumable;
        let mut change = |sender, _, bytes: &mut Vec<u8>| {
            if sender == Sender::Server {
                drop_extended_master_secret(stand_protocol(bytes), bytes);
            }
        };
        let Err(Failure(end, failure)) =
            connect_changed(&mut stand, both, &known(), session, &mut change)
        else {
            panic!("resumed without the extended master secret");
        };
        assert_eq!((end, failure), (Sender::Client, Some(sent.into())));
    });
}

/// RFC 5246 §7.4.1.3: a session is resumed with its own suite.
#[test]
fn server_that_resumes_with_another_suite_is_refused() {
    for_each_way(|mut stand| {
        let settings = Settings::new(&[
            CipherSuite::TLS_PSK_WITH_AES_128_CCM,
            CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
        ]);
        let session = connect(&mut stand, settings, &known(), None)
            .unwrap()
            .resumable;
        let both = (settings, settings);
        let mut change = |sender, _, bytes: &mut Vec<u8>| {
            if sender == Sender::Server {
                // session_id(16 or 8), cipher_suite, compression
                let at = bytes.windows(3).position(|part| part == [0xc0, 0xa4, 0]);
                if let Some(at) = at {
                    bytes[at + 1] = 0xa8;
                }
            }
        };
        let Err(Failure(end, failure)) =
            connect_changed(&mut stand, both, &known(), session, &mut change)
        else {
            panic!("another suite was taken");
        };
        let fault = PeerFault::AlertSent {
            description: ILLEGAL_PARAMETER,
        };
        assert_eq!((end, failure), (Sender::Client, Some(fault.into())));
    });
}

fn rename_extension(bytes: &mut [u8], from: [u8; 4], to: [u8; 4]) {
    if let Some(at) = bytes.windows(4).position(|part| part == from) {
        bytes[at..at + 4].copy_from_slice(&to);
    }
}

fn stand_protocol(bytes: &[u8]) -> Protocol {
    match bytes[1] {
        0xfe => Protocol::Dtls,
        _ => Protocol::Tls,
    }
}

/// Takes the extension out of a ServerHello at the front of a flight, lengths and all.
fn drop_extended_master_secret(protocol: Protocol, bytes: &mut Vec<u8>) {
    let (record, header) = match protocol {
        Protocol::Dtls => (13, 12),
        Protocol::Tls => (5, 4),
    };
    if bytes[record] != 2 {
        return;
    }
    let body = record + header;
    let session_id_len = usize::from(bytes[body + 34]);
    let block = body + 35 + session_id_len + 3;
    let Some(at) = bytes[block..]
        .windows(4)
        .position(|part| part == [0, 0x17, 0, 0])
    else {
        return;
    };
    bytes.drain(block + at..block + at + 4);
    let mut lengths = vec![block, record - 2, record + 2];
    if protocol == Protocol::Dtls {
        lengths.push(record + 10);
    }
    for at in lengths {
        let len = u16::from_be_bytes([bytes[at], bytes[at + 1]]) - 4;
        bytes[at..at + 2].copy_from_slice(&len.to_be_bytes());
    }
}

#[test]
fn ticket_lives_through_one_rotation_and_not_two() {
    let mut rng = TestRng::new(3);
    let mut stand = Stand::new(SoftCrypto, Protocol::Dtls, true);
    let settings = Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM]);
    stand.pass(Duration::from_secs(3_000));
    let session = connect(&mut stand, settings, &known(), None)
        .unwrap()
        .resumable
        .unwrap();
    let ticket = session.ticket().to_vec();
    let mut opens = |secs: u64| {
        let env = &mut Env::new(Instant::from_micros(secs * 1_000_000), &mut rng);
        stand
            .keys
            .as_mut()
            .unwrap()
            .lease(env)
            .opens(&SoftCrypto, &ticket)
    };
    assert!(opens(3_600));
    assert!(opens(6_599));
    assert!(opens(7_199));
    assert!(!opens(7_200));
}

/// Leases spend numbers; a ticket issued under each has a name and number that no other has.
#[test]
fn no_two_tickets_have_one_nonce() {
    for protocol in PROTOCOLS {
        let ledger = Ledger::new(1);
        let provider = NonceLedger::new(SoftCrypto, &ledger, "tickets");
        let mut stand = Stand::new(provider.clone(), protocol, true);
        let settings = Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM]);
        let (psk, store) = (Psk::new(PSK).unwrap(), known());
        let shown = || Credentials {
            psk_identity: IDENTITY,
            psk: &psk,
            peer: PeerId(2),
        };
        let mut tickets = std::collections::BTreeSet::new();
        let mut session = None;
        for n in 0..20 {
            let change = &mut untouched();
            // Every other one resumes, and gets no new ticket.
            let offered = session.take();
            let resumed = stand
                .connect(shown(), &store, (settings, settings), offered, change)
                .unwrap();
            assert_eq!(resumed.is_resumed(), n % 2 == 1);
            let kept = resumed.resumable.unwrap();
            tickets.insert(kept.ticket()[..12].to_vec());
            session = (n % 2 == 0).then_some(kept);
        }
        assert_eq!(tickets.len(), 10);
        assert!(ledger.seals() > 80);
    }
}

/// A table keeps no more than it has places for; the session that ends first goes.
#[test]
fn full_table_forgets_the_session_that_ends_first() {
    let mut stand = Stand::new(SoftCrypto, Protocol::Tls, false);
    let settings = Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM]);
    let mut kept = Vec::new();
    for _ in 0..5 {
        stand.pass(Duration::from_secs(1));
        let full = connect(&mut stand, settings, &known(), None).unwrap();
        kept.push((full.is_cached.unwrap(), full.resumable));
    }
    let now = stand.now;
    let table = stand.table.as_mut().unwrap();
    assert_eq!(table.len(), 4);
    assert!(table.find(&kept[0].0, now).is_none());
    assert!(table.find(&kept[1].0, now).is_some());
    table.remove(&kept[1].0);
    assert_eq!(table.len(), 3);
    table.remove_expired(now + Duration::from_secs(3_599));
    assert_eq!(table.len(), 1);
    let (_, session) = kept.pop().unwrap();
    assert!(
        connect(&mut stand, settings, &known(), session)
            .unwrap()
            .is_resumed()
    );
}

/// RFC 9146 §3: connection IDs belong to the connection. Mbed TLS forgot them on a resumption (Mbed
/// TLS issue 5872).
#[test]
fn connection_ids_are_agreed_on_anew() {
    for by_ticket in [true, false] {
        let mut stand = Stand::new(SoftCrypto, Protocol::Dtls, by_ticket);
        let settings = Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM]);
        let with = |id: &[u8]| settings.with_connection_id(ConnectionId::new(id).ok());
        let mut session = None;
        for (a, b) in [(b"aa", b"bb"), (b"cc", b"dd"), (b"ee", b"ff")] {
            let both = (with(a), with(b));
            let change = &mut untouched();
            let outcome =
                connect_changed(&mut stand, both, &known(), session.take(), change).unwrap();
            // Protected records of each end carry what the other has named.
            for (sender, bytes) in &outcome.flights {
                let named: &[u8] = match sender {
                    Sender::Client => b,
                    Sender::Server => a,
                };
                let has_cid = bytes.windows(3).position(|part| part == [25, 0xfe, 0xfd]);
                if let Some(at) = has_cid {
                    assert_eq!(&bytes[at + 11..at + 13], named);
                }
            }
            let with_cid = outcome.flights.iter();
            let with_cid =
                with_cid.filter(|(_, bytes)| bytes.windows(3).any(|part| part == [25, 0xfe, 0xfd]));
            assert_eq!(with_cid.count(), 2);
            session = outcome.resumable;
        }
        // And without, on a session that had them.
        let outcome = connect(&mut stand, settings, &known(), session).unwrap();
        assert!(outcome.is_resumed());
        let none = |bytes: &[u8]| !bytes.windows(3).any(|part| part == [25, 0xfe, 0xfd]);
        assert!(outcome.flights.iter().all(|(_, bytes)| none(bytes)));
    }
}

/// RFC 7301 §3.2: the protocol is the connection's, not the session's.
#[test]
fn application_protocol_is_negotiated_anew() {
    let mut stand = Stand::new(SoftCrypto, Protocol::Tls, true);
    let settings = Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM]);
    let coap = settings.with_application_protocols(&[b"coap"]);
    let session = connect(&mut stand, coap, &known(), None).unwrap().resumable;
    let resumed = connect(&mut stand, coap, &known(), session).unwrap();
    assert!(resumed.is_resumed());
    let hello = &resumed.flights[1].1;
    assert!(hello.windows(4).any(|part| part == b"coap"));
    let other = settings.with_application_protocols(&[b"http/1.1"]);
    let both = (coap, other);
    let change = &mut untouched();
    let refused = connect_changed(&mut stand, both, &known(), resumed.resumable, change);
    assert!(refused.is_err());
}

fn patient() -> Timers {
    Timers {
        max_transmissions: 15,
        deadline: Duration::from_secs(2_000),
        ..Timers::default()
    }
}

fn sessions(by_ticket: bool) -> common::Shared {
    let mut rng = TestRng::new(5);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let keys = TicketKeys::draw(TicketKeys::MAX_LIFETIME, env);
    Sessions::new(if by_ticket {
        keys
    } else {
        keys.without_tickets()
    })
}

fn session_of<P: hedgerow_core::CryptoProvider + Clone>(
    world: &mut Net<P>,
    client: hedgerow_sim::NodeId,
) -> ResumableSession {
    let mut session = None;
    world.act(client, |end, _, _| session = end.client().resumable.take());
    session.unwrap()
}

/// Each datagram of a full handshake with a ticket or an ID, and then of an abbreviated one, is lost
/// once, either way; nothing seals twice under one nonce.
#[test]
fn each_datagram_is_lost_once_and_recovered() {
    for by_ticket in [true, false] {
        for max_datagram_len in [1_200, 400] {
            for (from, to) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
                for is_resumed in [false, true] {
                    let mut lost = 0;
                    for n in 0.. {
                        let ledger = Ledger::new(n);
                        let provider = NonceLedger::new(SoftCrypto, &ledger, "both ends");
                        let settings = Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM_8])
                            .with_max_datagram_len(max_datagram_len);
                        let shared = sessions(by_ticket);
                        let mut world: Net<_> = World::new(n);
                        if !is_resumed {
                            world.direction(from, to).fault(n, Fault::Drop);
                        }
                        let setup = Setup::new(provider.clone(), settings);
                        let (client, server) = start(&mut world, setup.resuming(None, &shared));
                        world.run_until_idle().unwrap();
                        let mut planted = world.account(from, to).planted;
                        if !is_resumed && planted == 0 {
                            break;
                        }
                        talk(&mut world, client, server);
                        let session = session_of(&mut world, client);
                        assert_eq!(session.ticket().is_empty(), !by_ticket);
                        let mut world: Net<_> = World::new(n + 10_000);
                        if is_resumed {
                            world.direction(from, to).fault(n, Fault::Drop);
                        }
                        let setup = Setup::new(provider, settings);
                        let setup = setup.resuming(Some(session), &shared);
                        let (client, server) = start(&mut world, setup);
                        world.run_until_idle().unwrap();
                        if is_resumed {
                            planted = world.account(from, to).planted;
                        } else if max_datagram_len == 1_200 {
                            // Hello, hello with cookie, the last flight; cookie and one flight.
                            assert_eq!(world.account(CLIENT, SERVER).sent, 3);
                            assert_eq!(world.account(SERVER, CLIENT).sent, 2);
                        }
                        assert_eq!(peer(&mut world, server), Peer::Psk(PeerId(1)));
                        if planted == 0 {
                            break;
                        }
                        talk(&mut world, client, server);
                        lost += 1;
                    }
                    assert!(lost >= 2, "{lost} datagrams were lost");
                }
            }
        }
    }
}

#[test]
fn resumption_completes_at_20_percent_loss_for_every_seed() {
    for by_ticket in [true, false] {
        for_each_seed(0..200, |seed| {
            let ledger = Ledger::new(seed);
            let provider = NonceLedger::new(SoftCrypto, &ledger, "both ends");
            let settings = Settings::default().with_timers(patient());
            let shared = sessions(by_ticket);
            let mut session = None;
            for round in 0..3 {
                let mut world: Net<_> = World::new(seed + round * 100_000);
                world.set_conditions(Conditions::rough());
                let setup = Setup::new(provider.clone(), settings);
                let setup = setup.resuming(session.take(), &shared);
                let (client, server) = start(&mut world, setup);
                world.run_until_idle().unwrap();
                world.set_conditions(Conditions::default());
                talk(&mut world, client, server);
                assert_eq!(world.node(client).seen().established, 1);
                assert_eq!(world.node(server).seen().established, 1);
                session = Some(session_of(&mut world, client));
            }
        });
    }
}

#[test]
fn resumption_survives_reordering_and_duplication() {
    for_each_seed(0..200, |seed| {
        let shared = sessions(true);
        let settings = Settings::default().with_max_datagram_len(600);
        let mut session = None;
        for round in 0..2 {
            let mut world: Net<SoftCrypto> = World::new(seed + round * 100_000);
            world.set_conditions(Conditions {
                loss: 0.0,
                duplication: 0.5,
                reordering: 0.5,
                ..Conditions::rough()
            });
            let setup = Setup::new(SoftCrypto, settings).resuming(session.take(), &shared);
            let (client, server) = start(&mut world, setup);
            world.run_until_idle().unwrap();
            world.set_conditions(Conditions::default());
            talk(&mut world, client, server);
            session = Some(session_of(&mut world, client));
        }
    });
}

/// The formula of `docs/WIRE.md` for TLS; that for DTLS is compared in the crate's own tests.
#[test]
fn resumed_tls_handshake_has_the_bytes_of_the_formula() {
    for (by_ticket, t, m) in [(true, 110 + IDENTITY.len(), 8), (false, 0, 16)] {
        let mut stand = Stand::new(SoftCrypto, Protocol::Tls, by_ticket);
        let settings = Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM_8]);
        let full = connect(&mut stand, settings, &known(), None).unwrap();
        let resumed = connect(&mut stand, settings, &known(), full.resumable).unwrap();
        let lens: Vec<usize> = resumed.flights.iter().map(|(_, f)| f.len()).collect();
        assert_eq!(lens, [62 + m + t, 47 + 11 + m + 6 + 37, 6 + 37]);
        assert_eq!(lens.iter().sum::<usize>(), 206 + 2 * m + t);
    }
}

const HANDSHAKE: u8 = 22;
const NEW_SESSION_TICKET: u8 = 4;

/// The records of a flight over TLS.
fn split_tls(flight: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let mut rest = flight;
    while !rest.is_empty() {
        let len = 5 + usize::from(u16::from_be_bytes([rest[3], rest[4]]));
        let (record, behind) = rest.split_at(len);
        records.push(record.to_vec());
        rest = behind;
    }
    records
}

/// A NewSessionTicket with a ticket of four bytes, in a record in clear.
fn new_session_ticket() -> Vec<u8> {
    let body = [0, 0, 0, 60, 0, 4, 1, 2, 3, 4];
    let mut record = vec![HANDSHAKE, 3, 3, 0, 14, NEW_SESSION_TICKET, 0, 0, 10];
    record.extend(body);
    record
}

fn is_new_session_ticket(record: &[u8]) -> bool {
    record[0] == HANDSHAKE && record[5] == NEW_SESSION_TICKET
}

/// RFC 5077 §3.3: the message has one place, and only where it was promised. Each line is where it
/// stands or lacks, and the end that must not go on; the reaction is RFC 5246 §7.2.2's.
#[test]
fn new_session_ticket_elsewhere_than_promised_ends_the_handshake() {
    type Alter = fn(usize, &mut Vec<Vec<u8>>);
    let lines: [(&str, bool, bool, Sender, Alter); 8] = [
        (
            "promised and left out",
            true,
            false,
            Sender::Client,
            |n, records| {
                if n == 3 {
                    records.retain(|it| !is_new_session_ticket(it));
                }
            },
        ),
        ("twice", true, false, Sender::Client, |n, records| {
            if n == 3 {
                let again = records[0].clone();
                records.insert(1, again);
            }
        }),
        (
            "behind ChangeCipherSpec",
            true,
            false,
            Sender::Client,
            |n, records| {
                if n == 3 {
                    records.swap(0, 1);
                }
            },
        ),
        (
            "not promised, full",
            false,
            false,
            Sender::Client,
            |n, records| {
                if n == 3 {
                    records.insert(0, new_session_ticket());
                }
            },
        ),
        (
            "before ServerHelloDone",
            true,
            false,
            Sender::Client,
            |n, records| {
                if n == 1 {
                    records.insert(1, new_session_ticket());
                }
            },
        ),
        (
            "before ServerHello",
            true,
            false,
            Sender::Client,
            |n, records| {
                if n == 1 {
                    records.insert(0, new_session_ticket());
                }
            },
        ),
        (
            "not promised, abbreviated",
            true,
            true,
            Sender::Client,
            |n, records| {
                if n == 1 {
                    records.insert(1, new_session_ticket());
                }
            },
        ),
        ("a client's", true, true, Sender::Server, |n, records| {
            if n == 2 {
                records.insert(0, new_session_ticket());
            }
        }),
    ];
    for (what, by_ticket, is_abbreviated, fails, alter) in lines {
        let mut stand = Stand::new(SoftCrypto, Protocol::Tls, by_ticket);
        let settings = Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM]);
        let session = match is_abbreviated {
            true => {
                connect(&mut stand, settings, &known(), None)
                    .unwrap()
                    .resumable
            }
            false => None,
        };
        let mut change = |_, n, bytes: &mut Vec<u8>| {
            let mut records = split_tls(bytes);
            alter(n, &mut records);
            *bytes = records.concat();
        };
        let both = (settings, settings);
        let outcome = connect_changed(&mut stand, both, &known(), session, &mut change);
        let Err(Failure(end, error)) = outcome else {
            panic!("{what}: established");
        };
        let unexpected = PeerFault::AlertSent { description: 10 };
        assert_eq!((end, error), (fails, Some(unexpected.into())), "{what}");
    }
}

/// RFC 5077 §3.3: a server may promise a ticket and change its mind; there is then nothing to resume.
#[test]
fn empty_ticket_is_no_ticket() {
    let mut stand = Stand::new(SoftCrypto, Protocol::Tls, true);
    let settings = Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM]);
    let mut change = |_, n, bytes: &mut Vec<u8>| {
        if n == 3 {
            let mut records = split_tls(bytes);
            records[0] = vec![
                HANDSHAKE,
                3,
                3,
                0,
                10,
                NEW_SESSION_TICKET,
                0,
                0,
                6,
                0,
                0,
                0,
                0,
                0,
                0,
            ];
            *bytes = records.concat();
        }
    };
    // The transcripts differ, so that the client's check of the Finished is what ends it: the message
    // itself is in order.
    let both = (settings, settings);
    let outcome = connect_changed(&mut stand, both, &known(), None, &mut change);
    let Err(Failure(Sender::Client, Some(error))) = outcome else {
        panic!("the Finished doesn't cover the ticket");
    };
    assert_eq!(error, PeerFault::AlertSent { description: 51 }.into());
}

/// Californium resumed sessions for whoever had an ID, without asking for a cookie (CVE-2022-2576): a
/// ticket or an ID, however good, proves no address.
#[test]
fn session_to_resume_is_no_cookie() {
    for by_ticket in [true, false] {
        let mut stand = Stand::new(SoftCrypto, Protocol::Dtls, by_ticket);
        let settings = Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM]);
        let session = connect(&mut stand, settings, &known(), None)
            .unwrap()
            .resumable;
        let resumed = connect(&mut stand, settings, &known(), session).unwrap();
        assert!(resumed.is_resumed());
        let (first, second) = (&resumed.flights[0].1, &resumed.flights[2].1);
        let mut rng = TestRng::new(9);
        let env = &mut Env::new(stand.now, &mut rng);
        // The same server after a restart of its front: none of its cookies is good.
        let acceptor = Acceptor::new(SoftCrypto, settings, env);
        for hello in [first, second] {
            let mut out = [0; 64];
            let answer = acceptor.handle_datagram(env, b"x", &mut hello.clone(), &mut out);
            let Acceptance::Answer(len) = answer else {
                panic!("a session was taken for a cookie");
            };
            // HelloVerifyRequest, and three times what came at most.
            assert_eq!((out[13], len), (3, 44));
        }
    }
}

/// A ClientHello as it stands in a datagram: message_seq, session ID, and whether the ticket is in it.
fn hello_of(datagram: &[u8], ticket: &[u8]) -> (u16, Vec<u8>, bool) {
    assert_eq!((datagram[0], datagram[13]), (22, 1));
    let seq = u16::from_be_bytes([datagram[17], datagram[18]]);
    let id = &datagram[13 + 12 + 34..];
    let id = id[1..=usize::from(id[0])].to_vec();
    let has_ticket = datagram.windows(ticket.len()).any(|part| part == ticket);
    (seq, id, has_ticket)
}

/// A first hello that nothing answers twice goes on without its ticket, as the first message of a handshake;
/// the session isn't lost for it. One with a cookie stays: the server may be under way with it.
#[test]
fn hello_that_nothing_answers_goes_on_without_its_ticket() {
    for has_cookie in [false, true] {
        let mut stand = Stand::new(SoftCrypto, Protocol::Dtls, true);
        let settings = Settings::default();
        let session = connect(&mut stand, settings, &known(), None).unwrap();
        let session = session.resumable.unwrap();
        let ticket = session.ticket().to_vec();
        let mut rng = TestRng::new(9);
        let env = &mut Env::new(stand.now, &mut rng);
        let shown = Shown::new(IDENTITY, PSK);
        let session = Some(session);
        let client =
            ClientHandshake::resuming(SoftCrypto, shown, settings, session, buffers(), env);
        let mut client = client.unwrap();
        let mut out = [0; 1_500];
        let mut lens = Vec::new();
        let mut seen = Vec::new();
        for sent in 0..4 {
            let len = client.poll_transmit(env, &mut out).unwrap().unwrap();
            lens.push(len);
            seen.push(hello_of(&out[..len], &ticket));
            assert_eq!(client.poll_transmit(env, &mut out), Ok(None));
            if has_cookie && sent == 0 {
                let acceptor = Acceptor::new(SoftCrypto, settings, env);
                let mut answer = [0; 100];
                let accepted = acceptor.handle_datagram(env, b"x", &mut out[..len], &mut answer);
                let Acceptance::Answer(len) = accepted else {
                    panic!("no cookie");
                };
                client.handle_datagram(env, &mut answer[..len]).unwrap();
                continue;
            }
            env.now = client.poll_timeout().unwrap();
            client.handle_timeout(env).unwrap();
        }
        let [first, _, third, fourth] = &seen[..] else {
            panic!("not four hellos");
        };
        assert!(first.2 && seen[1].2 && !first.1.is_empty() && first.0 == 0);
        if has_cookie {
            assert_eq!(seen[1], (1, first.1.clone(), true));
            assert_eq!((third, fourth), (&seen[1], &seen[1]));
        } else {
            assert_eq!(seen[1], *first);
            assert_eq!((third, fourth), (&(0, Vec::new(), false), third));
            // Neither the ticket nor the extension that asks for one, nor the session ID beside it.
            assert_eq!(lens[2], lens[1] - 8 - 4 - ticket.len());
        }
        let given_back = client.into_unanswered().unwrap();
        assert_eq!(given_back.ticket(), ticket);
    }
}
